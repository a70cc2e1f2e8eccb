//! Any text is judged without an abort, the same way every time, and never more kindly for what is put around it.
//!
//! Input: one byte for the settings it is judged under, then the text.
#![no_main]

#[path = "../../tests/support/oracle.rs"]
mod oracle;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{LazyLock, Mutex};

use countersign::clock::Timestamp;
use countersign::hold::masked;
use countersign::identity::principal::{Peer, PersonName, PrincipalName, Profile, SessionId};
use countersign::policy::{ColumnLabels, Outcome, Redaction, RuleSet, evaluate};
use countersign::sql::action::{Class, Judgement};
use countersign::sql::bound::bound_postgres;
use countersign::sql::classify::postgres::second;
use countersign::sql::lex::postgres::{Kind, scan};
use countersign::sql::parse::PARSER_STACK_BYTES;
use countersign::sql::statement::{Encoding, LexingState, PathTrust, Role};
use countersign::sql::{PARSE_BYTES_MAX, judge_postgres};
use libfuzzer_sys::fuzz_target;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

/// What the texts here are made longer by, at most.
const ROOM_BYTES: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let Some((settings, text)) = bytes.split_first() else {
        return;
    };
    let lexing = lexing(*settings);
    let (text, bytes) = (text.to_vec(), text.to_vec());
    // A thread that has read nothing yet, and one that has read everything before this text.
    let cold = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES);
    let cold = cold
        .spawn(move || judge_postgres(&text, lexing, &()))
        .expect("a thread");
    let cold = cold.join().expect("no panic leaves a judgement");
    WARM.run(move || check(&bytes, lexing, &cold));
});

fn lexing(settings: u8) -> LexingState {
    LexingState {
        standard_conforming_strings: settings & 1 == 0,
        encoding: [
            Encoding::Utf8,
            Encoding::SqlAscii,
            Encoding::Utf8,
            Encoding::Other,
        ][usize::from(settings >> 1 & 3)],
        path: if settings & 8 == 0 {
            PathTrust::Safe
        } else {
            PathTrust::Shadowing
        },
        role: if settings & 16 == 0 {
            Role::AsLoggedIn
        } else {
            Role::Changed
        },
    }
}

fn check(bytes: &[u8], lexing: LexingState, cold: &Judgement) {
    let judged = judge_postgres(bytes, lexing, &());
    assert_eq!(
        &judged, cold,
        "judged otherwise by a thread that has read other texts before"
    );
    assert_eq!(
        judge_postgres(bytes, lexing, &()),
        judged,
        "judged otherwise the second time"
    );
    assert!(!masked(bytes, &judged).is_empty() || bytes.is_empty());
    let verdict = outcome(&STRICT, &judged);
    assert!(
        verdict >= outcome(&DEFAULT, &judged),
        "what strict rules let pass, the default ones let pass too"
    );
    let Ok(text) = std::str::from_utf8(bytes) else {
        assert_eq!(judged.class(), Class::Unknown, "not text, and understood");
        return;
    };
    if lexing.encoding == Encoding::Other {
        assert_eq!(
            judged.class(),
            Class::Unknown,
            "an encoding that is not read, and understood"
        );
    }
    shows_every_token(text, lexing, &judged);
    if let Some(missing) = oracle::missing(text, &judged.actions) {
        panic!("{missing} is not in what is said: {judged:?}");
    }
    tables_agree(text, &judged);
    counts_agree(text, lexing, &judged);
    harder_settings_are_never_kinder(text, lexing, &judged);
    assert_eq!(
        withheld(text, lexing),
        withheld(text, lexing),
        "withheld otherwise the second time"
    );
    if text.len() + ROOM_BYTES < PARSE_BYTES_MAX {
        blanks_change_nothing(text, lexing, &judged);
        nothing_hides_a_drop(text, lexing);
        nothing_shows_a_labelled_value(text, lexing);
        nothing_becomes_less_inside_another(text, lexing, &judged);
    }
}

/// A reviewer sees each statement's span: outside of spans there is nothing but semicolons, blanks and comments.
fn shows_every_token(text: &str, lexing: LexingState, judged: &Judgement) {
    let scan = scan(text, lexing.standard_conforming_strings);
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
        let (start, end) = (token.start as usize, token.end as usize);
        let is_shown = judged
            .actions
            .iter()
            .any(|action| action.span.start <= start && end <= action.span.end);
        assert!(is_shown, "a token at {start} that no reviewer sees: {judged:?}");
    }
}

/// What may pass as a read has as many statements for our scanner, the grammar and sqlparser.
fn counts_agree(text: &str, lexing: LexingState, judged: &Judgement) {
    if judged.class() > Class::Read {
        return;
    }
    assert_eq!(
        scan(text, lexing.standard_conforming_strings).statements,
        judged.actions.len()
    );
    if let Ok(statements) = Parser::parse_sql(&PostgreSqlDialect {}, text) {
        assert_eq!(
            statements.len(),
            judged.actions.len(),
            "two readers count different statements"
        );
    }
}

/// What passes as a read reads no table that only sqlparser sees.
fn tables_agree(text: &str, judged: &Judgement) {
    if judged.class() > Class::Read {
        return;
    }
    let Ok(statements) = Parser::parse_sql(&PostgreSqlDialect {}, text) else {
        return;
    };
    for (statement, action) in statements.iter().zip(&judged.actions) {
        assert_eq!(
            second::objection(std::slice::from_ref(statement), std::slice::from_ref(action)),
            None,
            "the two readers differ, and it passes: {action:?}"
        );
    }
}

fn harder_settings_are_never_kinder(text: &str, lexing: LexingState, judged: &Judgement) {
    let plain = judge_postgres(text.as_bytes(), LexingState::default_postgres(), &());
    // Under trusted settings a word means the server's own function, so only this direction holds.
    if outcome(&DEFAULT, judged) == Outcome::Allow {
        assert_eq!(
            outcome(&DEFAULT, &plain),
            Outcome::Allow,
            "{lexing:?} is kinder than the plain settings"
        );
    }
}

fn blanks_change_nothing(text: &str, lexing: LexingState, judged: &Judgement) {
    let before = outcome(&DEFAULT, judged);
    for around in [
        format!("{text};"),
        format!("{text}\n"),
        format!(" \n{text}"),
        format!("{text}\n ; ;"),
    ] {
        let after = judge_postgres(around.as_bytes(), lexing, &());
        if before == Outcome::Allow {
            assert_eq!(
                outcome(&DEFAULT, &after),
                before,
                "allowed, but not with blanks around it: {after:?}"
            );
            assert_eq!(after.class(), judged.class());
        }
    }
    let commented = judge_postgres(format!("/**/{text}").as_bytes(), lexing, &());
    if outcome(&DEFAULT, &commented) == Outcome::Allow {
        assert_eq!(before, Outcome::Allow, "a comment lets it pass");
    }
}

/// Whatever stands before or behind it, a DROP is seen.
fn nothing_hides_a_drop(text: &str, lexing: LexingState) {
    for with_drop in [
        format!("{text}\n; DROP TABLE x"),
        format!("DROP TABLE x;{text}"),
        format!("DROP TABLE x\n;\n{text}"),
    ] {
        let judged = judge_postgres(with_drop.as_bytes(), lexing, &());
        assert_ne!(
            outcome(&DEFAULT, &judged),
            Outcome::Allow,
            "a DROP passes: {judged:?}"
        );
    }
}

fn withheld(text: &str, lexing: LexingState) -> Redaction {
    let judged = judge_postgres(text.as_bytes(), lexing, &());
    Redaction::of(&LABELS, &judged, || bound_postgres(text.as_bytes()))
}

/// Whatever stands before or behind it, a value that goes to a labelled column is withheld.
fn nothing_shows_a_labelled_value(text: &str, lexing: LexingState) {
    for with_value in [
        format!("{text}\n; UPDATE persons SET ssn = $1"),
        format!("UPDATE persons SET ssn = $1;{text}"),
    ] {
        let labels = withheld(&with_value, lexing);
        assert!(
            labels.withheld(1).iter().any(|label| label == "pii"),
            "a value of a person is kept: {labels:?}"
        );
    }
}

/// A statement that is more than a read, or that does not pass, is so as a part of another.
fn nothing_becomes_less_inside_another(text: &str, lexing: LexingState, judged: &Judgement) {
    let [action] = judged.actions.as_slice() else {
        return;
    };
    // What the grammar does not read by itself may be two halves of something harmless, and one word a column.
    let words = scan(text, lexing.standard_conforming_strings).tokens;
    let words = words.iter().filter(|token| token.kind != Kind::Semicolon).count();
    if judged.class() <= Class::Read || words < 2 || pg_raw_parse::parse(text).is_err() {
        return;
    }
    let statement = &text[action.span.clone()];
    for whole in [
        format!("SELECT * FROM ({statement}\n) q"),
        format!("WITH q AS ({statement}\n) SELECT 1"),
        format!("SELECT 1 WHERE EXISTS ({statement}\n)"),
        format!("SELECT ({statement}\n)"),
        format!("EXPLAIN ANALYZE {statement}"),
        format!("DECLARE c CURSOR FOR {statement}"),
        format!("COPY ({statement}\n) TO STDOUT"),
        format!("CREATE TABLE made AS {statement}"),
        format!("SELECT 1 UNION ALL ({statement}\n)"),
    ] {
        let within = judge_postgres(whole.as_bytes(), lexing, &());
        assert!(within.class() > Class::Read, "{action:?} became {within:?}");
        let (alone, within) = (outcome(&DEFAULT, judged), outcome(&DEFAULT, &within));
        assert!(within >= alone, "{alone:?} of {action:?} became {within:?}");
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
    database: "postgres".to_owned(),
    database_user: "app".to_owned(),
});

type Work = Box<dyn FnOnce() + Send>;

/// One thread for the whole run, with the stack of a parser thread: what it remembers grows as a proxy's does.
struct Warm {
    work: Mutex<(Sender<Work>, Receiver<()>)>,
}

static WARM: LazyLock<Warm> = LazyLock::new(|| {
    let (work, works) = channel::<Work>();
    let (is_done, done) = channel();
    let thread = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES);
    thread
        .spawn(move || {
            for work in works {
                work();
                is_done.send(()).expect("the fuzzer waits");
            }
        })
        .expect("a thread");
    Warm {
        work: Mutex::new((work, done)),
    }
});

impl Warm {
    fn run(&self, work: impl FnOnce() + Send + 'static) {
        let channels = self.work.lock().expect("a failed check ends the process");
        channels.0.send(Box::new(work)).expect("the thread lives");
        channels.1.recv().expect("the thread lives");
    }
}
