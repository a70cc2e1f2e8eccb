//! The settings: what is wrong is said with its place and the next step; what is right means what the file says.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use countersign::config::reader::Override;
use countersign::config::{AuditMode, Config, ConfigError, ListenTls, RulesFile, Secret, UpstreamTls};

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables = variables
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    Config::parse(
        "countersign.toml",
        text,
        Path::new("/etc/cs"),
        Override::from_variables(variables),
    )
}

/// One case: a title, then `| line of the file`, `set VARIABLE=value`, `error text` and `next text`.
fn check_error(case: &str) {
    let (mut text, mut variables, mut errors, mut next) = (String::new(), Vec::new(), Vec::new(), None);
    let title = case.lines().next().expect("a case has a title");
    for line in case.lines().skip(1).map(str::trim_start) {
        if let Some(line) = line.strip_prefix('|') {
            text.push_str(line.strip_prefix(' ').unwrap_or(line));
            text.push('\n');
        } else if let Some(setting) = line.strip_prefix("set ") {
            variables.push(setting.split_once('=').expect("set NAME=value"));
        } else if let Some(error) = line.strip_prefix("error ") {
            errors.push(error.to_owned());
        } else if let Some(step) = line.strip_prefix("next ") {
            next = Some(step.trim().to_owned());
        } else {
            panic!("{title}: cannot read the line `{line}`");
        }
    }
    let Err(ConfigError::Wrong(complaints)) = parse(&text, &variables) else {
        panic!("{title}: was accepted");
    };
    let said: Vec<String> = complaints.iter().map(ToString::to_string).collect();
    assert_eq!(said, errors, "{title}");
    if let Some(next) = next {
        assert_eq!(complaints[0].next_step, next, "{title}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_the_next_step() {
    let cases = std::fs::read_to_string("tests/cases/config/errors.case").expect("the case file");
    cases.split("\n\n").for_each(check_error);
}

#[test]
fn the_shipped_file_loads_and_says_the_defaults() {
    let text = std::fs::read_to_string("countersign.toml").expect("the shipped file");
    let shipped = parse(&text, &[]).expect("the shipped file is right");
    let bare = parse("", &[]).expect("nothing is required");
    let users: Vec<&str> = shipped
        .postgres
        .upstream
        .users
        .iter()
        .map(|user| user.name.as_str())
        .collect();
    assert_eq!(users, ["app"]);
    let without_users = |mut config: Config| {
        config.postgres.upstream.users.clear();
        format!("{config:?}")
    };
    assert_eq!(without_users(shipped), without_users(bare));
}

#[test]
fn every_key_of_the_shipped_file_that_is_commented_out_is_known() {
    let text = std::fs::read_to_string("countersign.toml").expect("the shipped file");
    let is_key = |word: &str| {
        word.chars()
            .all(|letter| letter.is_ascii_lowercase() || letter == '_')
    };
    let is_setting = |line: &str| {
        let rest = line.strip_prefix("# ").unwrap_or("");
        rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| is_key(key))
    };
    let all: String = text
        .lines()
        .map(|line| if is_setting(line) { &line[2..] } else { line })
        .map(|line| line.replace("tls = \"off\"", "tls = \"required\"") + "\n")
        .collect();
    let all = all.replace("tls = \"disable\"", "tls = \"verify-full\"");
    let config = parse(&all, &[]).expect("the commented keys are known too");
    assert!(config.api.certificate.is_some());
    for front in [&config.postgres, &config.mysql] {
        assert!(matches!(front.listen.tls, ListenTls::Required { .. }));
        let catalog = front.catalog.as_ref().expect("it is configured");
        assert_eq!(catalog.pace.refresh, Duration::from_secs(5));
        assert_eq!(catalog.pace.stale_after, Duration::from_secs(30));
        assert!(catalog.trusted_file.is_some());
        assert!(matches!(
            front.upstream.tls,
            UpstreamTls::VerifyFull { ca_file: Some(_) }
        ));
    }
}

#[test]
fn retention_is_a_day_or_more_and_for_ever_where_nobody_says() {
    let kept = |text: &str| parse(text, &[]).map(|config| config.journal().retention);
    assert!(matches!(kept(""), Ok(None)));
    let days = std::time::Duration::from_secs(400 * 86_400);
    assert!(matches!(kept("[audit]\nretention = \"400d\"\n"), Ok(Some(found)) if found == days));
    for wrong in ["400", "23h", "1y", "", "-1d"] {
        let error = kept(&format!("[audit]\nretention = \"{wrong}\"\n")).expect_err(wrong);
        assert!(
            error.to_string().contains("no retention of a day or more"),
            "{wrong}: {error}"
        );
    }
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let text = "data_dir = \"/a\"\n[limits]\nwait_seconds = 10\n[listen]\naddress = \"127.0.0.1:1\"";
    let variables = [
        ("COUNTERSIGN__DATA_DIR".to_owned(), "/b".to_owned()),
        ("COUNTERSIGN__LIMITS__WAIT_SECONDS".to_owned(), "20".to_owned()),
        ("PATH".to_owned(), "/bin".to_owned()),
    ];
    let mut overrides = Override::from_variables(variables.into_iter());
    overrides.push(Override::from_flag("--data-dir", "data_dir", "/c".to_owned()));
    let config = Config::parse("countersign.toml", text, Path::new("/"), overrides).expect("right");
    assert_eq!(config.data_dir, Path::new("/c"));
    assert_eq!(config.limits.wait, Duration::from_secs(20));
    assert_eq!(config.postgres.listen.address.port(), 1);
}

#[test]
fn relative_paths_of_the_file_start_at_its_folder() {
    let text = "data_dir = \"data\"\n[rules]\nfile = \"mine.toml\"\n[audit]\nmode = \"durable\"";
    let config = parse(text, &[("COUNTERSIGN__API__ADDRESS", "[::1]:0")]).expect("right");
    assert_eq!(config.data_dir, Path::new("/etc/cs/data"));
    assert_eq!(config.rules, RulesFile::File("/etc/cs/mine.toml".into()));
    assert_eq!(config.audit, AuditMode::Durable);
    assert!(config.api.address.is_ipv6());
}

#[test]
fn a_password_comes_from_its_variable_or_its_file_and_is_never_printed() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let file = folder.path().join("app.password");
    std::fs::write(&file, "from-file\n").expect("written");
    let text = format!(
        "[[upstream.users]]\nname = \"App-1\"\npassword_file = {file:?}\n[[upstream.users]]\nname = \"ro\"\npassword_file = {file:?}"
    );
    let variables = [
        ("COUNTERSIGN__UPSTREAM__USERS__APP_1__PASSWORD", "from-variable"),
        ("COUNTERSIGN__UPSTREAM__USERS__OPS__PASSWORD", "third"),
    ];
    let config = parse(&text, &variables).expect("right");
    let secrets: Vec<String> = config
        .postgres
        .upstream
        .users
        .iter()
        .map(|user| user.password.read().expect("readable").to_string())
        .collect();
    assert_eq!(secrets, ["from-variable", "from-file", "third"]);
    assert!(!format!("{config:?}").contains("from-variable"));
    assert!(matches!(
        config.postgres.upstream.users[2].password,
        Secret::Given(_)
    ));
}

#[test]
fn a_protocol_is_served_if_anybody_can_log_in_to_its_server() {
    let served = |text: &str, variables: &[(&str, &str)]| {
        let config = parse(text, variables).expect("right");
        let settings = config.proxy().expect("no file is named");
        (settings.postgres.is_some(), settings.mysql.is_some())
    };
    let (postgres, mysql) = (
        "[[upstream.users]]\nname = \"app\"\n",
        "[[mysql.upstream.users]]\nname = \"app\"\n",
    );
    assert_eq!(served("", &[]), (false, false));
    assert_eq!(served(postgres, &[]), (true, false));
    assert_eq!(served(mysql, &[]), (false, true));
    assert_eq!(served(&format!("{postgres}{mysql}"), &[]), (true, true));
    let variable = [("COUNTERSIGN__MYSQL__UPSTREAM__USERS__APP__PASSWORD", "x")];
    assert_eq!(served("", &variable), (false, true));
    let passing = "[mysql.listen]\ncert_file = \"a\"\nkey_file = \"b\"\n\
                   [[mysql.upstream.pass_through]]\nuser = \"carol\"\nowner = \"carol\"\n";
    assert_eq!(served(passing, &[]), (false, true));
}

#[test]
fn the_sections_of_mysql_are_read_as_those_of_postgres() {
    let sections = |prefix: &str| {
        format!(
            "[{prefix}listen]\naddress = \"127.0.0.1:7001\"\ncert_file = \"a\"\nkey_file = \"b\"\nclient_ca_file = \"c\"\n\
             [{prefix}upstream]\nname = \"n\"\nhost = \"db\"\nport = 7002\ntls = \"verify-ca\"\nca_file = \"d\"\ndatabases = [\"shop\"]\n\
             [[{prefix}upstream.users]]\nname = \"app\"\npassword_file = \"e\"\n\
             [[{prefix}upstream.pass_through]]\nuser = \"carol\"\nowner = \"carol\"\n\
             [{prefix}catalog]\nuser = \"app\"\nrefresh_seconds = 2\ntrusted_file = \"f\"\n"
        )
    };
    let of = |front: countersign::config::Front| {
        format!("{:?} {:?} {:?}", front.listen, front.upstream, front.catalog)
    };
    let postgres = parse(&sections(""), &[]).expect("right");
    let mysql = parse(&sections("mysql."), &[]).expect("right");
    assert_eq!(of(mysql.mysql), of(postgres.postgres));
    let bare = parse("", &[]).expect("right").mysql;
    assert_eq!(bare.listen.address.to_string(), "127.0.0.1:6433");
    assert_eq!((bare.upstream.name.as_str(), bare.upstream.port), ("mysql", 3306));
}

#[test]
fn a_user_of_both_servers_is_decided_for_by_nobody_who_knows_a_password_of_it() {
    let sections = |prefix: &str, known_to: &str| {
        format!(
            "[{prefix}listen]\ncert_file = \"a\"\nkey_file = \"b\"\n\
             [[{prefix}upstream.pass_through]]\nuser = \"carol\"\nowner = \"carol\"\nknown_to = [\"{known_to}\"]\n"
        )
    };
    let text = sections("", "dave") + &sections("mysql.", "erin");
    let users = parse(&text, &[]).expect("right").desk().pass_through;
    let known: Vec<String> = users[0].has_seen_secret.iter().map(ToString::to_string).collect();
    assert_eq!((users.len(), known.join(" ").as_str()), (1, "dave erin"));
}

#[test]
fn a_secret_that_everybody_can_read_gives_a_warning() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let file = folder.path().join("app.password");
    std::fs::write(&file, "x").expect("written");
    let text = format!("[[upstream.users]]\nname = \"app\"\npassword_file = {file:?}");
    for (mode, warnings) in [(0o644, 1), (0o600, 0)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("owned");
        assert_eq!(
            parse(&text, &[]).expect("right").warnings.len(),
            warnings,
            "{mode:o}"
        );
    }
}

#[test]
fn a_secret_of_mysql_that_everybody_can_read_gives_a_warning() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let file = folder.path().join("app.password");
    std::fs::write(&file, "x").expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("owned");
    let text = format!(
        "[[mysql.upstream.users]]\nname = \"app\"\npassword_file = {file:?}\n[mysql.catalog]\nuser = \"reader\"\npassword_file = {file:?}"
    );
    assert_eq!(parse(&text, &[]).expect("right").warnings.len(), 2);
}

#[test]
fn mysql_is_warned_of_as_postgres_is() {
    let text = "[mysql.listen]\naddress = \"0.0.0.0:6433\"";
    let warnings = parse(text, &[]).expect("right").warnings;
    assert!(warnings[0].contains("set mysql.listen.tls"), "{warnings:?}");
    let text = "[mysql.listen]\ncert_file = \"a\"\nkey_file = \"b\"\n[mysql.upstream]\nhost = \"db.example\"\n\
                [[mysql.upstream.pass_through]]\nuser = \"carol\"\nowner = \"carol\"";
    let warnings = parse(text, &[]).expect("right").warnings;
    assert!(warnings[0].contains("set mysql.upstream.tls"), "{warnings:?}");
}

#[test]
fn an_open_address_without_tls_gives_a_warning() {
    let config = parse("[api]\naddress = \"0.0.0.0:6480\"", &[]).expect("right");
    assert!(
        config.warnings[0].contains("tokens cross the network in the clear"),
        "{:?}",
        config.warnings
    );
}

#[test]
fn a_proxy_that_vouches_for_everybody_is_warned_of() {
    let proxies = |list: &str| format!("[api]\ntrusted_proxies = {list}\n");
    let warnings = |list: &str| parse(&proxies(list), &[]).expect("right").warnings;
    assert_eq!(warnings("[\"10.0.0.5\", \"127.0.0.2\"]"), Vec::<String>::new());
    for tools in ["127.0.0.1", "::1", "127.0.0.0/8"] {
        let told = warnings(&format!("[\"10.0.0.5\", \"{tools}\"]"));
        assert!(
            told.len() == 1 && told[0].contains("commands and health checks"),
            "{told:?}"
        );
    }
    for everybody in ["0.0.0.0/0", "::/0", "10.0.0.0/23", "2001:db8::/63"] {
        let told = warnings(&format!("[\"10.0.0.5\", \"{everybody}\"]"));
        assert!(
            told.len() == 1 && told[0].contains(everybody) && told[0].contains("name the addresses"),
            "{told:?}"
        );
    }
    let by_variable = [("COUNTERSIGN__API__TRUSTED_PROXIES", "10.0.0.5, 10.0.0.6")];
    let config = parse("", &by_variable).expect("right");
    assert!(config.api.trusted_proxies.holds([10, 0, 0, 6].into()));
    assert!(!config.api.trusted_proxies.holds([10, 0, 0, 7].into()));
    let header = |name: &str| format!("{}forwarded_header = \"{name}\"\n", proxies("[\"10.0.0.5\"]"));
    let default = parse(&proxies("[\"10.0.0.5\"]"), &[]).expect("right").api;
    let named = |name: &str| parse(&header(name), &[]).expect("right").api;
    assert_eq!(named("X-Forwarded-For").trusted_proxies, default.trusted_proxies);
    assert_ne!(named("Forwarded").trusted_proxies, default.trusted_proxies);
    assert!(parse(&header("X-Real-IP"), &[]).is_err());
}
