//! From bytes to a judgement: checks the bytes, puts our own scanner in front, asks the server's grammar, and lets a
//! second reader object. Never panics and never aborts, whatever the bytes are; what it cannot read is `Unknown`.
//! Read `classify/postgres.rs` next.
//!
//! Why two readers: libpg_query is PostgreSQL's own grammar and is right where the two differ, so it alone says what a
//! statement is; sqlparser shares no code with it, so where it sees more than a read, a mistake of ours is likely.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use tokio::sync::oneshot;

use crate::sql::action::{Action, Breadth, Class, Judgement};
use crate::sql::classify::postgres::setting::Followed;
use crate::sql::classify::postgres::{self, Classified, Context};
use crate::sql::lex::postgres::{Kind, Scan, scan};
use crate::sql::mysql_state::MysqlState;
use crate::sql::names::{KnownNames, NamesThen};
use crate::sql::statement::{Encoding, LexingState};
use crate::sql::{PARSE_BYTES_MAX, seen};

/// Stack of every thread that reads statements. Units: bytes. The caps of `lex` keep readers below a tenth of it.
pub const PARSER_STACK_BYTES: usize = 64 << 20;
/// Texts that wait for a parser thread; more are `Unknown` at once rather than late.
const PARSER_QUEUE_MAX: usize = 256;
/// A text of 256 KiB takes a few milliseconds; this is for a machine that has stopped.
const PARSER_WAIT: Duration = Duration::from_secs(10);

/// Judges the exact bytes of one Query message, or of one Parse.
pub fn judge_postgres(text: &[u8], lexing: LexingState, names: &dyn KnownNames) -> Judgement {
    let judged = catch_unwind(AssertUnwindSafe(|| judge(text, lexing, names)));
    let failed = || unreadable(text, "cannot be read: a reader failed".to_owned());
    judged.map_or_else(|_| failed(), |(judgement, _)| judgement)
}

/// The same, with the state that the text leaves behind by its own words. For judging without a server, which alone
/// knows the true state.
pub fn judge_and_follow(text: &[u8], lexing: LexingState, names: &dyn KnownNames) -> (Judgement, Followed) {
    let judged = catch_unwind(AssertUnwindSafe(|| judge(text, lexing, names)));
    let failed = || unreadable(text, "cannot be read: a reader failed".to_owned());
    judged.unwrap_or_else(|_| (failed(), Followed::default()))
}

fn judge(bytes: &[u8], lexing: LexingState, names: &dyn KnownNames) -> (Judgement, Followed) {
    let nothing = Followed::default();
    let text = match readable(bytes, lexing.encoding) {
        Ok(text) => text,
        Err(reason) => return (unreadable(bytes, reason.to_owned()), nothing),
    };
    let scan = scan(text, lexing.standard_conforming_strings);
    if let Some(refused) = scan.refused {
        return (
            unknown(text, &scan, format!("cannot be read safely: {refused}")),
            nothing,
        );
    }
    if scan.tokens.is_empty() {
        let judgement = Judgement {
            actions: Vec::new(),
            depends_on_names: false,
            fingerprint: fingerprint(text, &scan),
            sorts: [0; 32],
        };
        return (judgement, nothing);
    }
    let tree = match pg_raw_parse::parse(text) {
        Ok(tree) => tree,
        Err(error) => {
            let reason = format!("cannot be parsed: {}", complaint(&error.to_string()));
            return (unknown(text, &scan, reason), nothing);
        }
    };
    let context = Context {
        text,
        tokens: &scan.tokens,
        path: lexing.path,
        role: lexing.role,
        names,
    };
    let Classified {
        mut actions,
        depends_on_names,
        followed,
    } = postgres::classify(&tree, context);
    if let Some(objection) = objection(text, &scan, &actions) {
        for action in &mut actions {
            action.class = action.class.max(Class::Unknown);
            action.breadth = Breadth::Unbounded;
            action.reasons.push(objection.clone());
        }
    }
    mark_secrets(&mut actions, &secrets(text, &scan));
    let judgement = Judgement {
        actions,
        depends_on_names,
        fingerprint: fingerprint(text, &scan),
        sorts: lists(&scan),
    };
    (judgement, followed)
}

/// The statements of a text as the second reader has them, for those who write their own. Under the same limits, so on a
/// stack of `PARSER_STACK_BYTES`. Errors: why it cannot be read, as the end of a sentence about it.
pub fn trees(bytes: &[u8]) -> Result<Vec<sqlparser::ast::Statement>, String> {
    let text = readable(bytes, Encoding::Utf8).map_err(str::to_owned)?;
    if let Some(refused) = scan(text, true).refused {
        return Err(format!("cannot be read safely: {refused}"));
    }
    let read = catch_unwind(|| -> Result<_, ParserError> {
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location()?;
        let parser = Parser::new(&PostgreSqlDialect {});
        parser
            .with_tokens_with_locations(with_tables_spelled_out(tokens))
            .parse_statements()
    });
    match read {
        Ok(Ok(statements)) => Ok(statements),
        Ok(Err(error)) => Err(format!("cannot be parsed: {error}")),
        Err(_) => Err("cannot be read: a reader failed".to_owned()),
    }
}

/// `TABLE t`, where a query may begin, is `SELECT * FROM t`. The parser knows it inside other queries alone, and loses the
/// two words behind the table's name.
fn with_tables_spelled_out(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut spelled = Vec::with_capacity(tokens.len());
    let mut begins_query = true;
    for token in tokens {
        let keyword = match &token.token {
            Token::Word(word) if word.quote_style.is_none() => word.keyword,
            _ => Keyword::NoKeyword,
        };
        if begins_query && keyword == Keyword::TABLE {
            for part in [
                Token::make_keyword("SELECT"),
                Token::Mul,
                Token::make_keyword("FROM"),
            ] {
                spelled.push(TokenWithSpan::new(part, token.span));
            }
            begins_query = false;
            continue;
        }
        begins_query = match &token.token {
            Token::Whitespace(_) => begins_query,
            Token::SemiColon | Token::LParen | Token::RParen => true,
            _ => matches!(
                keyword,
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::ALL | Keyword::DISTINCT
            ),
        };
        spelled.push(token);
    }
    spelled
}

/// Strict: what is not exactly readable is never repaired.
fn readable(bytes: &[u8], encoding: Encoding) -> Result<&str, &'static str> {
    if bytes.len() > PARSE_BYTES_MAX {
        return Err("is too long to be read");
    }
    if bytes.contains(&0) {
        return Err("holds a zero byte");
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "is not valid UTF-8")?;
    match encoding {
        Encoding::Utf8 => Ok(text),
        Encoding::SqlAscii if text.is_ascii() => Ok(text),
        Encoding::SqlAscii => Err("is not plain ASCII while client_encoding is SQL_ASCII"),
        Encoding::Other => Err("is sent under a client_encoding other than UTF8"),
    }
}

/// What the second reader, or our own count, holds against a message that might otherwise pass.
fn objection(text: &str, scan: &Scan, actions: &[Action]) -> Option<String> {
    let strictest = actions.iter().map(|action| action.class).max()?;
    if strictest > Class::Write {
        return None;
    }
    if scan.statements != actions.len() {
        return Some("our scanner and the server's grammar count different statements".to_owned());
    }
    let shape = seen::shape(text, scan, actions);
    if shape.as_deref().is_some_and(seen::has) {
        return None;
    }
    // Where sqlparser cannot read what the server accepts, the server's grammar decides.
    let statements = Parser::parse_sql(&PostgreSqlDialect {}, text).ok()?;
    let objection = postgres::second::objection(&statements, actions);
    if let (None, Some(shape)) = (&objection, shape) {
        seen::keep(shape);
    }
    objection
}

/// One action that stands for a whole text nobody could read.
fn unknown(text: &str, scan: &Scan, reason: String) -> Judgement {
    let mut actions = vec![postgres::unknown_action(0..text.len(), reason)];
    mark_secrets(&mut actions, &secrets(text, scan));
    Judgement {
        actions,
        depends_on_names: may_execute(text.as_bytes()),
        fingerprint: fingerprint(text, scan),
        sorts: [0; 32],
    }
}

/// Not even text: nothing in it can be told from a secret, so it is fingerprinted and kept as bytes.
pub(super) fn unreadable(bytes: &[u8], reason: String) -> Judgement {
    Judgement {
        actions: vec![postgres::unknown_action(0..bytes.len(), reason)],
        depends_on_names: may_execute(bytes),
        fingerprint: Sha256::digest(bytes).into(),
        sorts: [0; 32],
    }
}

/// Whether what nobody could read may run a prepared statement. The word is always spelled like this.
fn may_execute(bytes: &[u8]) -> bool {
    const WORD: &[u8] = b"execute";
    bytes
        .windows(WORD.len())
        .any(|word| word.eq_ignore_ascii_case(WORD))
}

/// The token shape: words folded, literals and parameters one sign, lists of literals one literal.
fn fingerprint(text: &str, scan: &Scan) -> [u8; 32] {
    let mut shape = Vec::with_capacity(text.len());
    let mut last_literal = false;
    let mut pending_comma = false;
    for token in &scan.tokens {
        let literal = matches!(token.kind, Kind::Text | Kind::Number | Kind::Parameter);
        if token.kind == Kind::Comma && last_literal {
            pending_comma = true;
            continue;
        }
        if literal && last_literal && pending_comma {
            pending_comma = false;
            continue;
        }
        if std::mem::take(&mut pending_comma) {
            shape.push(b',');
        }
        match token.kind {
            Kind::Text | Kind::Number | Kind::Parameter => shape.push(b'?'),
            Kind::Word => shape.extend(token.text(text).bytes().map(|byte| byte.to_ascii_lowercase())),
            Kind::Name
            | Kind::Operator
            | Kind::Comma
            | Kind::Semicolon
            | Kind::Open
            | Kind::Close
            | Kind::Mark => {
                shape.extend(token.text(text).bytes());
            }
        }
        shape.push(b' ');
        last_literal = literal;
    }
    Sha256::digest(&shape).into()
}

/// Which of the literals that a fingerprint counts as one are lists; zeros if none is.
fn lists(scan: &Scan) -> [u8; 32] {
    let mut lists = Vec::new();
    let (mut places, mut is_behind, mut has_comma) = (0u32, false, false);
    for token in &scan.tokens {
        match token.kind {
            Kind::Text | Kind::Number | Kind::Parameter if is_behind && has_comma => {
                if lists.last() != Some(&places) {
                    lists.push(places);
                }
                has_comma = false;
            }
            Kind::Text | Kind::Number | Kind::Parameter => {
                places += 1;
                (is_behind, has_comma) = (true, false);
            }
            Kind::Comma => has_comma = true,
            Kind::Word
            | Kind::Name
            | Kind::Operator
            | Kind::Semicolon
            | Kind::Open
            | Kind::Close
            | Kind::Mark => (is_behind, has_comma) = (false, false),
        }
    }
    if lists.is_empty() {
        return [0; 32];
    }
    let places: Vec<u8> = lists.iter().flat_map(|place| place.to_be_bytes()).collect();
    Sha256::digest(&places).into()
}

/// Byte ranges of strings that hold a password, a verifier or a connection string with one.
fn secrets(text: &str, scan: &Scan) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, token) in scan.tokens.iter().enumerate() {
        if token.kind != Kind::Text {
            continue;
        }
        let before = at.checked_sub(1).and_then(|before| scan.tokens.get(before));
        let follows_password = before.is_some_and(|before| {
            let word = before.text(text).trim_matches('"');
            matches!(before.kind, Kind::Word | Kind::Name) && is_secret_word(word)
        });
        let follows_secret = before.is_some_and(|before| found.last() == Some(&before.range()));
        if follows_password || follows_secret || carries_secret(token.text(text)) {
            found.push(token.range());
        }
    }
    found
}

fn is_secret_word(word: &str) -> bool {
    let known = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "sslpassword",
        "passcode",
    ];
    known.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// A connection string with a password: `password=…` or `scheme://user:password@host`; or a stored verifier.
pub(super) fn carries_secret(literal: &str) -> bool {
    let lower = literal.to_ascii_lowercase();
    let keyword = lower.match_indices("password").any(|(at, word)| {
        let rest = lower[at + word.len()..].trim_start();
        rest.starts_with('=')
    });
    let uri = lower.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?', ' ']).next().unwrap_or_default();
        authority
            .rsplit_once('@')
            .is_some_and(|(user, _)| user.contains(':'))
    });
    keyword || uri || lower.contains("scram-sha-256$")
}

pub(super) fn mark_secrets(actions: &mut [Action], secrets: &[Range<usize>]) {
    for secret in secrets {
        for action in &mut *actions {
            if secret.start < action.span.end && action.span.start < secret.end {
                action.secrets.push(secret.clone());
            }
        }
    }
}

/// What the grammar says, without the piece of text that it points at: that may be a secret.
fn complaint(message: &str) -> String {
    let message = message.strip_prefix("Invalid statement: ").unwrap_or(message);
    let message = message.split(" at or near ").next().unwrap_or_default();
    message.replace(['\n', '\r'], " ")
}

struct Job {
    work: Box<dyn FnOnce() -> Judgement + Send>,
    answer: oneshot::Sender<Judgement>,
}

/// Threads with large stacks for texts too long to be judged in place. They end when this value is dropped.
pub struct ParserThreads {
    jobs: SyncSender<Job>,
}

impl ParserThreads {
    /// Starts `count` threads, at least one. A thread that cannot be started leaves its work to the others; with none
    /// at all every text is `Unknown`.
    pub fn start(count: usize) -> Self {
        let (jobs, queue) = sync_channel::<Job>(PARSER_QUEUE_MAX);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..count.max(1) {
            let queue = Arc::clone(&queue);
            let started = std::thread::Builder::new()
                .name(format!("parser-{number}"))
                .stack_size(PARSER_STACK_BYTES)
                .spawn(move || work(&queue));
            if let Err(error) = started {
                tracing::error!(%error, "a parser thread could not be started");
            }
        }
        Self { jobs }
    }

    /// A full queue, a thread that is gone and a wait that is over all give `Unknown`.
    pub async fn judge(&self, text: Arc<[u8]>, lexing: LexingState, names: NamesThen) -> Judgement {
        let its = Arc::clone(&text);
        self.apart(&text, move || judge_postgres(&its, lexing, &names))
            .await
    }

    /// The same for a text of MySQL or MariaDB.
    pub async fn judge_mysql(&self, text: Arc<[u8]>, state: MysqlState, names: NamesThen) -> Judgement {
        let its = Arc::clone(&text);
        self.apart(&text, move || crate::sql::judge_mysql(&its, &state, &names))
            .await
    }

    async fn apart(&self, text: &[u8], work: impl FnOnce() -> Judgement + Send + 'static) -> Judgement {
        let (answer, judged) = oneshot::channel();
        let job = Job {
            work: Box::new(work),
            answer,
        };
        if self.jobs.try_send(job).is_err() {
            return not_now(text, "cannot be read now: too many long texts wait");
        }
        match tokio::time::timeout(PARSER_WAIT, judged).await {
            Ok(Ok(judgement)) => judgement,
            Ok(Err(_)) | Err(_) => not_now(text, "cannot be read now: the parser did not answer"),
        }
    }
}

/// Unknown for the moment only: as if it depended on names, so that nobody remembers it for the text.
fn not_now(text: &[u8], reason: &str) -> Judgement {
    Judgement {
        depends_on_names: true,
        ..unreadable(text, reason.to_owned())
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A caller that has gone away needs no answer.
        let _ = job.answer.send((job.work)());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_of_the_grammar_shows_nothing_of_the_text() {
        let judged = judge_postgres(
            b"ALTER ROLE x PASSWORD a 'hunter2'",
            LexingState::default_postgres(),
            &(),
        );
        assert!(
            judged.actions[0]
                .reasons
                .iter()
                .all(|reason| !reason.contains("hunter2")),
            "{judged:?}"
        );
        assert_eq!(judged.class(), Class::Unknown);
    }

    #[test]
    fn the_fingerprint_forgets_literals_and_nothing_else() {
        let print =
            |text: &str| judge_postgres(text.as_bytes(), LexingState::default_postgres(), &()).fingerprint;
        assert_eq!(
            print("SELECT * FROM t WHERE a IN (1, 2)"),
            print("select *  from t /* x */ where a in ($1)")
        );
        assert_eq!(print("SELECT 'a'"), print("SELECT $$b$$"));
        assert_ne!(print("SELECT a FROM t"), print("SELECT a FROM u"));
        assert_ne!(print("SELECT \"A\""), print("SELECT \"a\""));
        assert_ne!(print("SELECT f(1, 2)"), print("SELECT f(1, a)"));
    }

    #[test]
    fn a_name_that_ends_in_another_blank_is_shown_with_it() {
        for text in [
            "DROP TABLE t\u{a0}",
            "DROP TABLE t\u{2003}",
            "\u{a0}DROP",
            "DROP TABLE t\u{85};",
        ] {
            let judged = judge_postgres(text.as_bytes(), LexingState::default_postgres(), &());
            assert_eq!(&text[judged.actions[0].span.clone()], text.trim_end_matches(';'));
        }
    }

    #[test]
    fn long_texts_are_judged_on_threads_of_their_own() {
        let threads = ParserThreads::start(2);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let text = format!("SELECT 1 WHERE a IN ({}1)", "1,".repeat(20_000));
        let judged = runtime.block_on(threads.judge(
            text.into_bytes().into(),
            LexingState::default_postgres(),
            NamesThen::default(),
        ));
        assert_eq!(judged.class(), Class::Read);
    }
}
