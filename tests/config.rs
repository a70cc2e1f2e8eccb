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
        .upstream
        .users
        .iter()
        .map(|user| user.name.as_str())
        .collect();
    assert_eq!(users, ["app"]);
    let without_users = |mut config: Config| {
        config.upstream.users.clear();
        format!("{config:?}")
    };
    assert_eq!(without_users(shipped), without_users(bare));
}

#[test]
fn every_key_of_the_shipped_file_that_is_commented_out_is_known() {
    let text = std::fs::read_to_string("countersign.toml").expect("the shipped file");
    let is_setting = |line: &str| {
        line.starts_with("# ") && (line.contains("_file = \"") || line.contains("user = \"countersign"))
    };
    let all: String = text
        .lines()
        .map(|line| if is_setting(line) { &line[2..] } else { line })
        .map(|line| line.replace("tls = \"off\"", "tls = \"required\"") + "\n")
        .collect();
    let all = all.replace("tls = \"disable\"", "tls = \"verify-full\"");
    let config = parse(&all, &[]).expect("the commented keys are known too");
    assert!(matches!(config.listen.tls, ListenTls::Required { .. }));
    assert!(config.api.certificate.is_some());
    let catalog = config.catalog.expect("it is configured");
    assert_eq!(catalog.pace.refresh, Duration::from_secs(5));
    assert_eq!(catalog.pace.stale_after, Duration::from_secs(30));
    assert!(catalog.trusted_file.is_some());
    assert!(matches!(
        config.upstream.tls,
        UpstreamTls::VerifyFull { ca_file: Some(_) }
    ));
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
    assert_eq!(config.listen.address.port(), 1);
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
        .upstream
        .users
        .iter()
        .map(|user| user.password.read().expect("readable").to_string())
        .collect();
    assert_eq!(secrets, ["from-variable", "from-file", "third"]);
    assert!(!format!("{config:?}").contains("from-variable"));
    assert!(matches!(config.upstream.users[2].password, Secret::Given(_)));
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
fn an_open_address_without_tls_gives_a_warning() {
    let config = parse("[api]\naddress = \"0.0.0.0:6480\"", &[]).expect("right");
    assert!(
        config.warnings[0].contains("tokens cross the network in the clear"),
        "{:?}",
        config.warnings
    );
}
