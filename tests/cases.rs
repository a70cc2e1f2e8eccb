//! Behaviour as data: every file under `tests/cases/` is checked by the function of its kind.
//!
//! A case is a title and indented lines, and ends at an empty line. Kinds: `classify`, `classify_mysql`, `locks`,
//! `rules`.

#[path = "support/catalog.rs"]
mod catalog;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign::clock::Timestamp;
use countersign::identity::principal::{Peer, PersonName, PrincipalName, Profile, SessionId};
use countersign::policy::{ColumnLabels, Redaction, RuleSet, Verdict, evaluate};
use countersign::sql::action::{Action, Breadth, CancelTarget, Class, Effect, Judgement, TableName};
use countersign::sql::bound::{bound_mysql, bound_postgres};
use countersign::sql::lock::{self, TableLock};
use countersign::sql::mysql_state::{Charset, MysqlState, ServerKind, SqlModes};
use countersign::sql::parse::PARSER_STACK_BYTES;
use countersign::sql::statement::{Encoding, LexingState, PathTrust, Role};
use countersign::sql::{judge_mysql, judge_postgres};

use catalog::{HandMade, Names};

/// Title, then key and rest of each line.
struct Case {
    place: String,
    lines: Vec<(String, String)>,
}

impl Case {
    fn all<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> {
        let key = key.to_owned();
        self.lines
            .iter()
            .filter(move |(known, _)| *known == key)
            .map(|(_, rest)| rest.as_str())
    }

    fn one(&self, key: &str) -> Option<&str> {
        self.all(key).next()
    }
}

fn cases(kind: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cases")
        .join(kind);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of cases")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files.iter().flat_map(|file| read(file)).collect()
}

fn read(file: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(file).expect("a case file");
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let mut cases: Vec<Case> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
    {
        match line.strip_prefix("  ") {
            Some(line) => {
                let (key, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
                let case = cases.last_mut().expect("a title above");
                // A line of a file keeps its indentation.
                let rest = if key == "|" { rest } else { rest.trim_start() };
                case.lines.push((key.to_owned(), rest.to_owned()));
            }
            None => cases.push(Case {
                place: format!("{name}: {line}"),
                lines: Vec::new(),
            }),
        }
    }
    cases
}

/// `\n`, `\t`, `\xHH` and `\u{…}` as Rust spells them, and `\\`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let (taken, piece): (usize, Vec<u8>) = match rest.as_bytes().first() {
            Some(b'n') => (1, vec![b'\n']),
            Some(b't') => (1, vec![b'\t']),
            Some(b'r') => (1, vec![b'\r']),
            Some(b'x') => (3, vec![u8::from_str_radix(&rest[1..3], 16).expect("two digits")]),
            Some(b'u') => {
                let end = rest.find('}').expect("a brace");
                let code = u32::from_str_radix(&rest[2..end], 16).expect("digits");
                (
                    end + 1,
                    char::from_u32(code)
                        .expect("a character")
                        .to_string()
                        .into_bytes(),
                )
            }
            Some(b'\\') => (1, vec![b'\\']),
            _ => panic!("unknown escape in `{text}`"),
        };
        bytes.extend(piece);
        rest = &rest[taken..];
    }
    bytes.extend(rest.as_bytes());
    bytes
}

/// Keys: `catalog LINE` (tests/support/catalog.rs), `path shadowing`, `role changed`, `strings escaping`, `encoding sql_ascii|other`, `prepared NAME = SQL`; `sql` or `bytes` (with
/// escapes); then `action CLASS TABLES|- rows=all|bounded` for every statement, and where they matter `verb`,
/// `functions`, `columns`, `rows`, `behind`, `why` (a piece of a reason), `effect`, `secret`, `parse unsafe`, `cancels`, `copies_in`,
/// `commits`.
fn check_classify(case: &Case) {
    let lexing = LexingState {
        standard_conforming_strings: case.one("strings") != Some("escaping"),
        encoding: match case.one("encoding") {
            None => Encoding::Utf8,
            Some("sql_ascii") => Encoding::SqlAscii,
            Some(_) => Encoding::Other,
        },
        path: match case.one("path") {
            Some("shadowing") => PathTrust::Shadowing,
            _ => PathTrust::Safe,
        },
        role: match case.one("role") {
            Some("changed") => Role::Changed,
            _ => Role::AsLoggedIn,
        },
    };
    let mut names = Names {
        prepared: HashMap::new(),
        catalog: HandMade::of(case.all("catalog")),
    };
    for prepared in case.all("prepared") {
        let (name, sql) = prepared.split_once(" = ").expect("NAME = SQL");
        let judged = judge_postgres(sql.as_bytes(), lexing, &names);
        names
            .prepared
            .insert(name.to_owned(), Arc::new(judged.actions[0].clone()));
    }
    let bytes = bytes_of(case);
    let judgement = judge_postgres(&bytes, lexing, &names);
    check_judgement(case, &bytes, &judgement);
    assert_eq!(
        judgement,
        judge_postgres(&bytes, lexing, &names),
        "{}: judged twice, told twice",
        case.place
    );
}

/// As for `classify`, but for what the text is read under: `server mariadb|mysql VERSION`, as 101119, else neither is
/// known; `modes` as sql_mode has them; `charset` as character_set_client has it.
fn check_classify_mysql(case: &Case) {
    let mut state = MysqlState::default_mysql();
    if let Some(server) = case.one("server") {
        let (kind, version) = server.split_once(' ').expect("KIND VERSION");
        state.kind = match kind {
            "mariadb" => ServerKind::Mariadb,
            "mysql" => ServerKind::Mysql,
            other => panic!("{}: no server `{other}`", case.place),
        };
        state.version = Some(version.parse().expect("a version"));
    }
    state.modes = SqlModes::of(case.one("modes").unwrap_or_default());
    state.charset = Charset::of(case.one("charset").unwrap_or("utf8mb4"));
    let mut names: HashMap<String, Arc<Action>> = HashMap::new();
    for prepared in case.all("prepared") {
        let (name, sql) = prepared.split_once(" = ").expect("NAME = SQL");
        let judged = judge_mysql(sql.as_bytes(), &state, &());
        names.insert(name.to_owned(), Arc::new(judged.actions[0].clone()));
    }
    let bytes = bytes_of(case);
    let judgement = judge_mysql(&bytes, &state, &names);
    check_judgement(case, &bytes, &judgement);
    if let Some(same) = case.one("same") {
        let same = judge_mysql(same.as_bytes(), &state, &names);
        assert_eq!(judgement.fingerprint, same.fingerprint, "{}", case.place);
    }
}

fn bytes_of(case: &Case) -> Vec<u8> {
    match case.one("bytes") {
        Some(escaped) => unescape(escaped),
        None => case.all("sql").collect::<Vec<_>>().join("\n").into_bytes(),
    }
}

/// What is said of a text against the lines of its case.
fn check_judgement(case: &Case, bytes: &[u8], judgement: &Judgement) {
    let place = &case.place;
    let actions: Vec<String> = judgement.actions.iter().map(shown).collect();
    assert_eq!(
        actions,
        case.all("action").collect::<Vec<_>>(),
        "{place}: {:?}",
        reasons(judgement)
    );
    let all = |pick: fn(&Action) -> Vec<String>| judgement.actions.iter().flat_map(pick).collect::<Vec<_>>();
    if let Some(verb) = case.one("verb") {
        assert_eq!(judgement.actions[0].verb, verb, "{place}");
    }
    if let Some(functions) = case.one("functions") {
        let found = all(|action| action.functions.iter().map(ToString::to_string).collect());
        assert_eq!(found.join(" "), functions, "{place}");
    }
    if let Some(columns) = case.one("columns") {
        assert_eq!(
            all(|action| action.columns.iter().cloned().collect()).join(" "),
            columns,
            "{place}"
        );
    }
    if let Some(rows) = case.one("rows") {
        let found = judgement.actions.iter().filter_map(|action| action.rows).max();
        assert_eq!(
            found.map_or("-".to_owned(), |rows| rows.to_string()),
            rows,
            "{place}"
        );
    }
    if let Some(behind) = case.one("behind") {
        let found = all(|action| action.behind.iter().map(ToString::to_string).collect());
        assert_eq!(found.join(" "), behind, "{place}");
    }
    let steps: Vec<String> = judgement.actions.iter().map(steps).collect();
    let wanted: Vec<&str> = case.all("steps").collect();
    if !wanted.is_empty() {
        assert_eq!(steps, wanted, "{place}");
    }
    for why in case.all("why") {
        let reasons = reasons(judgement);
        assert!(
            reasons.iter().any(|reason| reason.contains(why)),
            "{place}: `{why}` not in {reasons:?}"
        );
    }
    let effects = all(|action| action.effects.iter().map(effect).collect());
    let wanted: Vec<&str> = case.all("effect").collect();
    if !wanted.is_empty() {
        assert_eq!(effects, wanted, "{place}");
    }
    let secrets: Vec<&str> = judgement
        .actions
        .iter()
        .flat_map(|action| action.secrets.iter())
        .map(|range| std::str::from_utf8(&bytes[range.clone()]).expect("text"))
        .collect();
    let wanted: Vec<String> = case
        .all("secret")
        .map(|secret| secret.replace("\\n", "\n"))
        .collect();
    assert_eq!(secrets, wanted, "{place}");
    if let Some(parse) = case.one("parse") {
        let safe = judgement.actions.iter().all(|action| action.parse_is_safe);
        assert_eq!(if safe { "safe" } else { "unsafe" }, parse, "{place}");
    }
    let cancels = judgement
        .actions
        .iter()
        .find_map(|action| action.cancels.as_ref())
        .map(|target| match target {
            CancelTarget::Pid(pid) => pid.to_string(),
            CancelTarget::Parameter(number) => format!("${number}"),
        });
    assert_eq!(cancels.as_deref(), case.one("cancels"), "{place}");
    let copies_in = judgement.actions.iter().any(|action| action.copies_in);
    assert_eq!(copies_in, case.one("copies_in").is_some(), "{place}");
    if case.one("commits").is_some() {
        assert!(judgement.actions.iter().any(|action| action.commits), "{place}");
    }
}

/// What it does, as runs are made; behind a `|` why it may reach further.
fn steps(action: &Action) -> String {
    let words: Vec<&str> = action.steps.words.iter().copied().collect();
    let beyond = action.steps.beyond.as_deref().unwrap_or_default();
    let told = format!("{} | {beyond}", words.join(", "));
    told.trim_end_matches(" | ").trim_start().to_owned()
}

fn shown(action: &Action) -> String {
    let tables: Vec<String> = action.tables.iter().map(ToString::to_string).collect();
    let tables = if tables.is_empty() {
        "-".to_owned()
    } else {
        tables.join(",")
    };
    let rows = match action.breadth {
        Breadth::Bounded => "bounded",
        Breadth::Unbounded => "all",
    };
    match action.class {
        Class::Write => format!("{} {tables} rows={rows}", action.class),
        _ => format!("{} {tables}", action.class),
    }
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::BeginsTransaction => "begins".to_owned(),
        Effect::EndsTransaction { commits: true } => "commits".to_owned(),
        Effect::EndsTransaction { commits: false } => "rolls back".to_owned(),
        Effect::RollsBackToSavepoint => "rolls back to savepoint".to_owned(),
        Effect::ChangesMeaning => "changes meaning".to_owned(),
        Effect::ChangesValues => "changes values".to_owned(),
        Effect::Prepares { name, inner } => format!("prepares {name} {}", inner.class),
        Effect::Deallocates { name: Some(name) } => format!("deallocates {name}"),
        Effect::Deallocates { name: None } => "deallocates all".to_owned(),
        Effect::DiscardsAll => "discards all".to_owned(),
        Effect::RunsCursor => "runs cursor".to_owned(),
        Effect::ProxySetting { name, value } => format!("proxy {name} {value}"),
    }
}

fn reasons(judgement: &Judgement) -> Vec<String> {
    judgement
        .actions
        .iter()
        .flat_map(|action| action.reasons.clone())
        .collect()
}

/// Readers are recursive; they are tested on the stack that they are promised.
fn on_a_large_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new()
        .stack_size(PARSER_STACK_BYTES)
        .spawn(work);
    if let Err(panic) = thread.expect("a thread").join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn statements_are_what_their_cases_say() {
    on_a_large_stack(|| check_all("classify", 150, check_classify));
}

#[test]
fn mysql_statements_are_what_their_cases_say() {
    on_a_large_stack(|| check_all("classify_mysql", 60, check_classify_mysql));
}

/// Keys: `sql`; `lock TABLE MODE` for every table, in order; `says` is a piece of what one of them blocks, `more` a piece
/// of why there may be more. `also` and `alone` are for the comparison with a real server, in `impact.rs`.
fn check_locks(case: &Case) {
    let place = &case.place;
    let sql = case.one("sql").expect(place);
    let judgement = judge_postgres(sql.as_bytes(), LexingState::default_postgres(), &());
    let locks = lock::locks(sql.as_bytes(), &judgement);
    let found: Vec<String> = locks
        .tables
        .iter()
        .map(|lock| format!("{} {}", lock.table, lock.mode))
        .collect();
    let mut wanted: Vec<&str> = case.all("lock").collect();
    let mut sorted: Vec<&str> = found.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(sorted, wanted, "{place}");
    let blocks: Vec<String> = locks.tables.iter().map(TableLock::blocks).collect();
    for piece in case.all("says") {
        assert!(
            blocks.iter().any(|said| said.contains(piece)),
            "{place}: `{piece}` not in {blocks:?}"
        );
    }
    match (case.one("more"), locks.not_known) {
        (None, None) => {}
        (Some(piece), Some(why)) => assert!(why.contains(piece), "{place}: {why}"),
        (wanted, found) => panic!("{place}: more is {found:?}, not {wanted:?}"),
    }
}

#[test]
fn locks_are_what_their_cases_say() {
    on_a_large_stack(|| check_all("locks", 100, check_locks));
}

/// Every wrong case is told, not only the first.
fn check_all(kind: &str, least: usize, check: fn(&Case)) {
    let cases = cases(kind);
    assert!(cases.len() >= least, "cases are missing");
    let wrong = cases
        .iter()
        .filter(|case| std::panic::catch_unwind(|| check(case)).is_err());
    assert_eq!(wrong.count(), 0, "cases are wrong");
}

/// Keys in order: `| line of the rule file` or `shipped NAME`; then either `error LINE:COLUMN piece of the message` and
/// `next piece`, or any of `principal`, `database`, `label NAME=VALUE`, `source ADDRESS`, `at TIME` and what a catalog would
/// say, `rows N` and `behind SCHEMA.TABLE` (`-` for nothing), which stay as they are set, and `sql` with what is said of
/// it: `verdict OUTCOME RULE`, `people`, `wait` in seconds, `why`.
fn check_rules(case: &Case) {
    let place = &case.place;
    let file: String = case.all("|").map(|line| format!("{line}\n")).collect();
    let rules = match case.one("shipped") {
        Some(name) => Ok(RuleSet::shipped(name)),
        None => RuleSet::parse(&file, "rules.toml"),
    };
    if let Some(error) = case.one("error") {
        let found = rules.expect_err(place);
        let (at, piece) = error.split_once(' ').unwrap_or((error, ""));
        assert_eq!(format!("{}:{}", found.line, found.column), at, "{place}: {found}");
        assert!(found.message.contains(piece), "{place}: {found}");
        assert!(
            !found.next_step.is_empty() && found.next_step.contains(case.one("next").unwrap_or_default()),
            "{place}"
        );
        return;
    }
    let rules = rules.expect(place);
    let mut peer = peer();
    let mut now = Timestamp::from_micros(0);
    let (mut rows, mut behind) = (None, BTreeSet::new());
    let mut said: Option<Verdict> = None;
    for (key, rest) in &case.lines {
        let verdict = || {
            said.as_ref()
                .unwrap_or_else(|| panic!("{place}: `{key}` above any `sql`"))
        };
        match key.as_str() {
            "|" | "shipped" => {}
            "principal" => peer.principal = PrincipalName::parse(rest).expect(place),
            "database" => peer.database.clone_from(rest),
            "label" => {
                let (label, value) = rest.split_once('=').expect(place);
                peer.labels.insert(label.to_owned(), value.to_owned());
            }
            "source" => peer.source = rest.parse().expect(place),
            "at" => now = Timestamp::parse(rest).expect(place),
            "rows" => rows = rest.parse().ok(),
            "behind" => {
                let name = rest.split_once('.').map(|(schema, name)| TableName {
                    schema: Some(schema.to_owned()),
                    name: name.to_owned(),
                });
                behind = name.into_iter().collect();
            }
            "sql" => {
                let mut judgement = judge_postgres(rest.as_bytes(), LexingState::default_postgres(), &());
                for action in &mut judgement.actions {
                    (action.rows, action.behind) = (rows, behind.clone());
                }
                said = Some(evaluate(&rules, &judgement, &peer, now));
            }
            "verdict" => {
                let found = verdict();
                assert_eq!(
                    format!("{} {}", found.outcome(), found.rule),
                    *rest,
                    "{place}: {found:?}"
                );
                assert_eq!(found.allowed().is_some(), rest.starts_with("allow"), "{place}");
            }
            "people" => assert_eq!(verdict().requirement.people().to_string(), *rest, "{place}"),
            "wait" => assert_eq!(
                verdict().wait.map_or(0, |wait| wait.as_secs()).to_string(),
                *rest,
                "{place}"
            ),
            "why" => assert!(
                verdict().reasons.iter().any(|reason| reason.contains(rest)),
                "{place}"
            ),
            _ => panic!("{place}: unknown key `{key}`"),
        }
    }
}

fn peer() -> Peer {
    Peer {
        principal: PrincipalName::parse("agent").expect("a name"),
        owner: PersonName::parse("owner").expect("a name"),
        profile: Profile::Standard,
        labels: std::collections::BTreeMap::new(),
        session: SessionId(1),
        source: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        upstream: "main".to_owned(),
        database: "postgres".to_owned(),
        database_user: "app".to_owned(),
    }
}

#[test]
fn rules_say_what_their_cases_say() {
    on_a_large_stack(|| check_all("rules", 25, check_rules));
}

/// What an operator has listed runs unseen, and yet may read any table: then no value is known to stay clear of labels.
#[test]
fn what_runs_listed_code_or_sets_a_user_variable_may_reach_tables_that_it_does_not_name() {
    let lines = [
        "table public.customers(id, ssn)",
        "table public.orders(id, note)",
        "table public.shown(id)",
        "reading public.shown listed is a view that calls one",
        "function public.find_customer(text) listed reads customers",
        "function public.whole(record) listed reads customers",
        "function public.similar(text, text) harmless",
        "operator public.===(text, text) listed reads customers",
        "type public.checked listed reads customers",
    ];
    let names = Names {
        prepared: HashMap::new(),
        catalog: HandMade::of(lines.into_iter()),
    };
    let labels = "[[column]]\ntable = \"public.customers\"\ncolumns = [\"ssn\"]\nlabels = [\"pii\"]\n";
    let labels = ColumnLabels::parse(labels, "labels.toml").expect("labels");
    for (text, class, withheld) in [
        ("SELECT find_customer($1)", Class::Read, true),
        (
            "SELECT id FROM orders WHERE find_customer(note) = $1",
            Class::Read,
            true,
        ),
        ("SELECT id FROM orders o WHERE o.whole = $1", Class::Read, true),
        ("SELECT id FROM orders WHERE note === $1", Class::Read, true),
        ("SELECT $1::checked", Class::Read, true),
        ("SELECT id FROM shown WHERE id = $1", Class::Read, true),
        ("PREPARE p AS SELECT find_customer($1)", Class::Read, true),
        (
            "SELECT id FROM orders WHERE similar(note, $1)",
            Class::Read,
            false,
        ),
        ("SELECT id FROM orders WHERE note = $1", Class::Read, false),
    ] {
        let judgement = judge_postgres(text.as_bytes(), LexingState::default_postgres(), &names);
        assert_eq!(
            judgement.class(),
            class,
            "{text}: {:?}",
            judgement.actions[0].reasons
        );
        assert!(
            judgement.actions[0].reasons.is_empty(),
            "nobody need see it: {text}"
        );
        let redaction = Redaction::of(&labels, &judgement, || bound_postgres(text.as_bytes()));
        assert_eq!(!redaction.withheld(1).is_empty(), withheld, "{text}");
        assert_eq!(redaction.hides_answers(), withheld, "{text}");
    }
    for (text, withheld) in [
        ("SET @s = ?", true),
        ("SET @a = 1, @s = CONCAT('a', ?)", true),
        ("SELECT @s := ?", true),
        ("SELECT id FROM orders WHERE note = (@s := ?)", true),
        ("SELECT ? INTO @s", true),
        ("PREPARE p FROM 'SET @s = ?'", true),
        ("SET time_zone = '+00:00'", false),
        ("SELECT @s", false),
        ("SELECT id FROM orders WHERE note = ?", false),
    ] {
        let state = MysqlState::default_mysql();
        let judgement = judge_mysql(text.as_bytes(), &state, &());
        let redaction = Redaction::of(&labels, &judgement, || bound_mysql(text.as_bytes(), &state));
        assert_eq!(!redaction.withheld(1).is_empty(), withheld, "{text}");
    }
}
