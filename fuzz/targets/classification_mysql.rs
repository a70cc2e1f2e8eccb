//! Any MySQL text is judged without an abort, the same way every time, and never more kindly for what is put around it or
//! for knowing less of the server.
//!
//! Input: one byte for the settings it is judged under, then the text.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use countersign::clock::Timestamp;
use countersign::hold::masked;
use countersign::identity::principal::{Peer, PersonName, PrincipalName, Profile, SessionId};
use countersign::policy::{ColumnLabels, Outcome, Redaction, RuleSet, evaluate};
use countersign::sql::action::{Class, Judgement};
use countersign::sql::bound::bound_mysql;
use countersign::sql::lex::mysql::words::is_reserved;
use countersign::sql::lex::mysql::{Kind, scan};
use countersign::sql::mysql_state::{Charset, MysqlState, ServerKind, SqlModes, TableNames};
use countersign::sql::parse::PARSER_STACK_BYTES;
use countersign::sql::{PARSE_BYTES_MAX, judge_mysql};
use libfuzzer_sys::fuzz_target;

/// What the texts here are made longer by, at most.
const ROOM_BYTES: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let Some((settings, text)) = bytes.split_first() else {
        return;
    };
    let (state, text) = (state(*settings), text.to_vec());
    let thread = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES);
    let thread = thread.spawn(move || check(&text, &state)).expect("a thread");
    thread.join().expect("every check holds");
});

fn state(settings: u8) -> MysqlState {
    let is_set = |bit: u8| settings & bit != 0;
    let (kind, version) = SERVERS[usize::from(settings & 3)];
    MysqlState {
        kind,
        version,
        modes: SqlModes {
            ansi_quotes: is_set(4),
            no_backslash_escapes: is_set(8),
            ignore_space: is_set(16),
            pipes_as_concat: is_set(32),
            ..SqlModes::default()
        },
        charset: [Charset::Utf8mb4, Charset::Utf8mb3, Charset::Ascii, Charset::Other]
            [usize::from(settings >> 6)],
        table_names: TableNames::AsWritten,
    }
}

const SERVERS: [(ServerKind, Option<u32>); 4] = [
    (ServerKind::Unknown, None),
    (ServerKind::Mariadb, Some(101_119)),
    (ServerKind::Mysql, Some(80_036)),
    (ServerKind::Mariadb, Some(100_618)),
];

fn check(bytes: &[u8], state: &MysqlState) {
    let judged = judge_mysql(bytes, state, &());
    assert_eq!(
        judge_mysql(bytes, state, &()),
        judged,
        "judged otherwise the second time"
    );
    assert!(!masked(bytes, &judged).is_empty() || bytes.is_empty());
    assert!(
        outcome(&STRICT, &judged) >= outcome(&DEFAULT, &judged),
        "what strict rules let pass, the default ones let pass too"
    );
    let Ok(text) = std::str::from_utf8(bytes) else {
        assert_eq!(judged.class(), Class::Unknown, "not text, and understood");
        return;
    };
    if state.charset == Charset::Other {
        assert_eq!(
            judged.class(),
            Class::Unknown,
            "a character set that is not read, and understood"
        );
        return;
    }
    shows_every_token(text, state, &judged);
    knowing_less_is_never_kinder(text, state, &judged);
    assert_eq!(
        withheld(text, state),
        withheld(text, state),
        "withheld otherwise the second time"
    );
    if text.len() + ROOM_BYTES < PARSE_BYTES_MAX {
        blanks_change_nothing(text, state, &judged);
        nothing_hides_a_drop(text, state);
        nothing_shows_a_labelled_value(text, state);
        nothing_becomes_less_inside_another(text, state, &judged);
    }
}

/// A reviewer sees each statement's span: outside of spans there is nothing but semicolons, blanks and comments.
fn shows_every_token(text: &str, state: &MysqlState, judged: &Judgement) {
    let scan = scan(text, 0, state);
    for action in &judged.actions {
        assert!(
            text.get(action.span.clone()).is_some(),
            "a span that cuts a character"
        );
        for secret in &action.secrets {
            assert!(
                text.get(secret.clone()).is_some(),
                "a secret that cuts a character"
            );
        }
    }
    for token in scan.tokens.iter().filter(|token| token.kind != Kind::Semicolon) {
        let range = token.range();
        let is_shown = judged
            .actions
            .iter()
            .any(|action| action.span.start <= range.start && range.end <= action.span.end);
        assert!(is_shown, "a token at {range:?} that no reviewer sees: {judged:?}");
    }
    if judged.class() < Class::Unknown {
        assert_eq!(scan.statements().count(), judged.actions.len());
    }
}

/// Of a server whose kind is not known, only what every kind reads alike passes.
fn knowing_less_is_never_kinder(text: &str, state: &MysqlState, judged: &Judgement) {
    if state.kind != ServerKind::Unknown || outcome(&DEFAULT, judged) != Outcome::Allow {
        return;
    }
    for (kind, version) in SERVERS {
        let known = MysqlState {
            kind,
            version,
            ..*state
        };
        let known = judge_mysql(text.as_bytes(), &known, &());
        assert_eq!(
            outcome(&DEFAULT, &known),
            Outcome::Allow,
            "held for {kind:?}, and not where the kind is unknown: {known:?}"
        );
    }
}

/// A semicolon directly behind `--` would end a comment before it begins, so each is put behind a line feed.
fn blanks_change_nothing(text: &str, state: &MysqlState, judged: &Judgement) {
    let before = outcome(&DEFAULT, judged);
    for around in [
        format!("{text}\n"),
        format!(" \n{text}"),
        format!("{text}\n;"),
        format!("{text}\n ; ;"),
    ] {
        let after = judge_mysql(around.as_bytes(), state, &());
        if before == Outcome::Allow {
            assert_eq!(
                outcome(&DEFAULT, &after),
                before,
                "allowed, but not with blanks around it: {after:?}"
            );
            assert_eq!(after.class(), judged.class());
        }
    }
}

/// Whatever stands before or behind it, a DROP is seen.
fn nothing_hides_a_drop(text: &str, state: &MysqlState) {
    for with_drop in [
        format!("{text}\n; DROP TABLE x"),
        format!("DROP TABLE x;{text}"),
        format!("DROP TABLE x\n;\n{text}"),
    ] {
        let judged = judge_mysql(with_drop.as_bytes(), state, &());
        assert_ne!(
            outcome(&DEFAULT, &judged),
            Outcome::Allow,
            "a DROP passes: {judged:?}"
        );
    }
}

fn withheld(text: &str, state: &MysqlState) -> Redaction {
    let judged = judge_mysql(text.as_bytes(), state, &());
    Redaction::of(&LABELS, &judged, || bound_mysql(text.as_bytes(), state))
}

/// Whatever stands behind it, a value that goes to a labelled column is withheld.
fn nothing_shows_a_labelled_value(text: &str, state: &MysqlState) {
    let labels = withheld(&format!("UPDATE persons SET ssn = ?;{text}"), state);
    assert!(
        labels.withheld(1).iter().any(|label| label == "pii"),
        "a value of a person is kept: {labels:?}"
    );
}

/// A statement that is more than a read is so as a part of another, unless its words may be names there, as in RESTART.
fn nothing_becomes_less_inside_another(text: &str, state: &MysqlState, judged: &Judgement) {
    let [action] = judged.actions.as_slice() else {
        return;
    };
    let statement = &text[action.span.clone()];
    let first = scan(statement, 0, state).tokens.first().copied();
    let is_keyword = first.is_some_and(|first| is_reserved(first.text(statement)));
    if action.class <= Class::Read || action.class == Class::Unknown || !is_keyword {
        return;
    }
    for whole in [
        format!("SELECT * FROM ({statement}\n) q"),
        format!("WITH q AS ({statement}\n) SELECT 1"),
        format!("SELECT 1 WHERE EXISTS ({statement}\n)"),
        format!("SELECT ({statement}\n)"),
        format!("ANALYZE {statement}"),
        format!("CREATE TABLE made AS {statement}"),
        format!("SELECT 1 UNION ALL ({statement}\n)"),
        format!("SET STATEMENT max_statement_time = 1 FOR {statement}"),
    ] {
        let within = judge_mysql(whole.as_bytes(), state, &());
        assert!(within.class() > Class::Read, "{action:?} became {within:?}");
    }
}

fn outcome(rules: &RuleSet, judged: &Judgement) -> Outcome {
    evaluate(rules, judged, &PEER, Timestamp::from_micros(0)).outcome()
}

static LABELS: LazyLock<ColumnLabels> = LazyLock::new(|| {
    let text = "[[column]]\ntable = \"public.persons\"\ncolumns = [\"ssn\"]\nlabels = [\"pii\"]\n\
                [[column]]\ntable = \"public.c*\"\ncolumns = [\"a\", \"email\"]\nlabels = [\"other\"]\n";
    ColumnLabels::parse(text, "labels.toml").expect("labels")
});
static DEFAULT: LazyLock<RuleSet> = LazyLock::new(|| RuleSet::shipped("default"));
static STRICT: LazyLock<RuleSet> = LazyLock::new(|| RuleSet::shipped("strict"));
static PEER: LazyLock<Peer> = LazyLock::new(|| Peer {
    principal: PrincipalName::parse("agent").expect("a name"),
    owner: PersonName::parse("nobody").expect("a name"),
    profile: Profile::Standard,
    labels: Default::default(),
    session: SessionId(0),
    source: IpAddr::V4(Ipv4Addr::LOCALHOST),
    upstream: "main".to_owned(),
    database: "app".to_owned(),
    database_user: "app".to_owned(),
});
