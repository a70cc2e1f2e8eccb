//! Any text is a rule set, or a mistake with its place in the text. What loads judges every statement, the same way each
//! time, and a message never more kindly than its strictest statement, unless a rule asks how many there are.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use countersign::clock::Timestamp;
use countersign::identity::principal::{Peer, PersonName, PrincipalName, Profile, SessionId};
use countersign::policy::{RuleError, RuleSet, evaluate};
use countersign::sql::action::Judgement;
use countersign::sql::judge_postgres;
use countersign::sql::statement::LexingState;
use libfuzzer_sys::fuzz_target;

/// Of every class, with and without names.
const STATEMENTS: [&str; 12] = [
    "BEGIN",
    "SET search_path = app",
    "SELECT id, name FROM app.customers WHERE id = 1",
    "SELECT pg_sleep(1)",
    "INSERT INTO orders VALUES (1)",
    "DELETE FROM app.orders",
    "DROP TABLE orders",
    "COPY orders TO STDOUT",
    "DO $$ BEGIN END $$",
    "GRANT ALL ON orders TO public",
    "VACUUM FULL",
    "not a statement",
];

static JUDGED: LazyLock<Vec<Judgement>> = LazyLock::new(|| {
    let judged = |text: &&str| judge_postgres(text.as_bytes(), LexingState::default_postgres(), &());
    let mut all: Vec<Judgement> = STATEMENTS.iter().map(judged).collect();
    // As a catalog would tell them.
    let mut known = all[2].clone();
    for action in &mut known.actions {
        action.rows = Some(u64::MAX);
        action.behind = action.tables.clone();
    }
    all.push(known);
    all
});

static PEER: LazyLock<Peer> = LazyLock::new(|| Peer {
    principal: PrincipalName::parse("agent").expect("a name"),
    owner: PersonName::parse("nobody").expect("a name"),
    profile: Profile::Standard,
    labels: [("env".to_owned(), "prod".to_owned())].into(),
    session: SessionId(0),
    source: IpAddr::V6(Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped()),
    upstream: "main".to_owned(),
    database: "shop".to_owned(),
    database_user: "app".to_owned(),
});

/// Moments of a week, and the ends of time.
const MOMENTS: [i64; 6] = [
    0,
    1_795_340_400_000_000,
    1_795_500_000_000_000,
    -1,
    i64::MIN,
    i64::MAX,
];

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match (
        RuleSet::parse(text, "rules.toml"),
        RuleSet::parse(text, "rules.toml"),
    ) {
        (Ok(rules), Ok(again)) => {
            assert_eq!((rules.generation, rules.len()), (again.generation, again.len()));
            MOMENTS
                .iter()
                .for_each(|moment| check(text, &rules, &again, Timestamp::from_micros(*moment)));
        }
        (Err(error), Err(again)) => {
            assert_eq!(error, again);
            stands_in(text, &error);
        }
        (one, other) => panic!("loads and does not: {one:?}, {other:?}"),
    }
});

fn check(text: &str, rules: &RuleSet, again: &RuleSet, now: Timestamp) {
    let verdicts: Vec<_> = JUDGED
        .iter()
        .map(|judged| evaluate(rules, judged, &PEER, now))
        .collect();
    for (judged, verdict) in JUDGED.iter().zip(&verdicts) {
        assert_eq!(&evaluate(again, judged, &PEER, now), verdict);
        assert!(verdict.line as usize <= text.lines().count());
        assert_eq!(
            verdict.line == 0,
            verdict.rule.as_str() == "no-rule" && !text.contains("no-rule")
        );
    }
    if text.contains("statements") {
        return;
    }
    for (one, first) in JUDGED.iter().zip(&verdicts) {
        for (other, second) in JUDGED.iter().zip(&verdicts) {
            let mut both = one.clone();
            both.actions.extend(other.actions.iter().cloned());
            let verdict = evaluate(rules, &both, &PEER, now);
            assert_eq!(verdict.outcome(), first.outcome().max(second.outcome()));
        }
    }
}

/// The place is in the text, and the words fit on a line.
fn stands_in(text: &str, error: &RuleError) {
    let line = text
        .split('\n')
        .nth(error.line.checked_sub(1).expect("from 1") as usize);
    let line = line.unwrap_or_else(|| panic!("no line {} in the text: {error:?}", error.line));
    assert!(
        (1..=line.chars().count() + 1).contains(&(error.column as usize)),
        "{error:?}"
    );
    assert!(
        !error.message.contains('\n') && !error.next_step.is_empty(),
        "{error:?}"
    );
}
