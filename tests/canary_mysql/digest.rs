//! The server's own list of the words of the last text: performance_schema shows it with literals taken out.

use countersign::sql::lex::mysql::words::is_function_word;
use countersign::sql::lex::mysql::{Kind, Scan, name_of};
use countersign::sql::mysql_state::MysqlState;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

const LAST: &str = "SELECT DIGEST_TEXT FROM performance_schema.events_statements_history \
    JOIN performance_schema.threads USING (THREAD_ID) \
    WHERE PROCESSLIST_ID = CONNECTION_ID() ORDER BY EVENT_ID DESC LIMIT 1";

/// `None` where the server could not parse it.
pub async fn last(conn: &mut Conn) -> Option<String> {
    let found: Option<Option<String>> = conn.query_first(LAST).await.expect("the history");
    found.expect("a row")
}

/// A word that both have: a name as such, any other word, a sign.
#[derive(Debug, PartialEq)]
pub enum Piece {
    Name(String),
    /// Also what may turn out to be a name.
    Word(String),
    Keyword,
    Sign(String),
}

/// Literals, lists of them, signs of numbers and user variables are joined or left out by the server.
pub fn of_tokens(text: &str, scan: &Scan, state: &MysqlState) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (at, token) in scan.tokens.iter().enumerate() {
        let word = token.text(text);
        match token.kind {
            Kind::Word if word == "\\N" || word.eq_ignore_ascii_case("null") => {}
            Kind::Word => {
                let is_call = scan
                    .tokens
                    .get(at + 1)
                    .is_some_and(|next| next.kind == Kind::Open);
                pieces.push(match is_call && is_function_word(word) {
                    true => Piece::Keyword,
                    false => Piece::Word(word.to_owned()),
                });
            }
            Kind::Name => pieces.push(Piece::Name(name_of(*token, text, state))),
            // The server has no word for it in its list.
            Kind::Operator if word == "||" && state.modes.pipes_as_concat => {}
            Kind::Operator if word == "<>" => pieces.push(Piece::Sign("!=".to_owned())),
            Kind::Operator | Kind::Mark if !["+", "-"].contains(&word) => {
                pieces.push(Piece::Sign(word.to_owned()))
            }
            Kind::Operator
            | Kind::Mark
            | Kind::Text
            | Kind::Introducer
            | Kind::Number
            | Kind::Hex
            | Kind::Bits
            | Kind::Parameter
            | Kind::Variable
            | Kind::At
            | Kind::Comma
            | Kind::Semicolon
            | Kind::Open
            | Kind::Close => {}
        }
    }
    pieces
}

/// Whether the server's words are ours, one by one.
pub fn agrees(digest: &str, ours: &[Piece]) -> bool {
    let theirs = of_digest(digest);
    theirs.len() == ours.len()
        && theirs.iter().zip(ours).all(|pair| match pair {
            (Piece::Name(theirs), Piece::Name(ours) | Piece::Word(ours)) => once(theirs) == once(ours),
            (Piece::Keyword, Piece::Word(_) | Piece::Keyword) => true,
            (Piece::Sign(theirs), Piece::Sign(ours)) => theirs == ours,
            _ => false,
        })
}

/// The server shows a name as it is written between its quotes, and so with each quote in it twice.
fn once(name: &str) -> String {
    name.replace("``", "`").replace("\"\"", "\"")
}

fn of_digest(digest: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    // How the server shows further rows of literals.
    let digest = digest.replace("/* , ... */", "");
    let mut rest = digest.trim_start();
    while !rest.is_empty() {
        let quoted = rest.trim_start_matches('@');
        let at_signs = rest.len() - quoted.len();
        let end = match quoted.strip_prefix('`') {
            Some(name) => at_signs + 2 + end_of_name(name),
            None => rest.find(' ').unwrap_or(rest.len()),
        };
        let piece = &rest[..end];
        if let Some(name) = piece.strip_prefix('`') {
            pieces.push(Piece::Name(name[..name.len() - 1].to_owned()));
        } else if !is_left_out(piece) {
            let is_word = piece.chars().any(char::is_alphabetic);
            pieces.push(match is_word {
                true => Piece::Keyword,
                false => Piece::Sign(piece.to_owned()),
            });
        }
        rest = rest[end..].trim_start();
    }
    pieces
}

/// Where the backquote stands that ends the name; two in a row are part of it.
fn end_of_name(name: &str) -> usize {
    let mut at = 0;
    while let Some(found) = name[at..].find('`') {
        at += found;
        if !name[at + 1..].starts_with('`') {
            return at;
        }
        at += 2;
    }
    panic!("no end of `{name}");
}

fn is_left_out(piece: &str) -> bool {
    let known = ["...", "+", "-", ",", "(", ")", "NULL", ";"];
    known.contains(&piece)
        || piece.starts_with(['?', '@'])
        || (piece.starts_with('(') && piece.ends_with([')', ',']))
}
