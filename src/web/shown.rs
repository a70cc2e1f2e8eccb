//! Statements and requests as pages show them: the renderer's lines, and rows of a list.
//! Never cuts a statement that can be decided beside it. Read `card.rs` next.

use serde::Serialize;

use super::moments::{Moment, countdown, span};
use crate::api::card::Card;
use crate::api::impact::grouped;
use crate::clock::Timestamp;
use crate::render::{Layout, Line, Mark, Piece, Reading, Statement, visible_line};

/// Lines that are laid out by the browser at a time, so that a megabyte scrolls.
const CHUNK_LINES: usize = 100;
/// Letters of a statement in a list.
const SUMMARY_LETTERS: usize = 220;
/// Longer statements have no marks in a list. Units: bytes.
const SUMMARY_MARKED_MAX: usize = 16 << 10;

/// A piece for a template: what it says, and the class by which the style sheet knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PieceShown {
    pub text: String,
    /// Empty: nothing to mark.
    pub mark: &'static str,
    pub why: String,
}

impl PieceShown {
    fn of(piece: &Piece<'_>) -> Self {
        Self {
            text: piece.text.clone().into_owned(),
            mark: match piece.mark {
                Mark::Plain | Mark::Name => "",
                Mark::Hidden if piece.text == "⟦TAB⟧" => "tab",
                mark => mark.as_str(),
            },
            why: piece.why.as_deref().unwrap_or_default().to_owned(),
        }
    }
}

pub struct LineShown {
    pub number: usize,
    pub indent: u8,
    pub pieces: Vec<PieceShown>,
    pub notes: Vec<String>,
}

impl LineShown {
    fn of(line: &Line<'_>) -> Self {
        let mut pieces: Vec<PieceShown> = Vec::new();
        for piece in &line.pieces {
            let piece = PieceShown::of(piece);
            match pieces.last_mut() {
                Some(last) if last.mark.is_empty() && piece.mark.is_empty() => {
                    last.text.push_str(&piece.text)
                }
                _ => pieces.push(piece),
            }
        }
        Self {
            number: line.number,
            indent: line.indent,
            pieces,
            notes: line.notes.iter().map(|note| note.clone().into_owned()).collect(),
        }
    }
}

/// A whole statement for a page.
pub struct StatementShown {
    pub chunks: Vec<Vec<LineShown>>,
    pub lines: usize,
    pub bytes: String,
    pub notes: Vec<String>,
}

impl StatementShown {
    pub fn of(rendered: &Statement<'_>, bytes: usize) -> Self {
        let chunks = rendered.lines.chunks(CHUNK_LINES);
        Self {
            chunks: chunks
                .map(|lines| lines.iter().map(LineShown::of).collect())
                .collect(),
            lines: rendered.lines.len(),
            bytes: grouped(bytes as u64),
            notes: rendered.notes.clone(),
        }
    }

    /// A text of which only its protocol is known.
    pub fn of_text(text: &[u8], reading: &Reading) -> Self {
        Self::of(&Statement::of(text, reading, Layout::Laid, &[]), text.len())
    }
}

/// The beginning of a statement, for a list.
pub fn summary(card: &Card) -> (Vec<PieceShown>, bool) {
    let bytes = card.bytes();
    match bytes.get(..SUMMARY_MARKED_MAX) {
        // Only what can be shown is laid out: its rest may be a megabyte.
        Some(beginning) => {
            let beginning = Statement::of(beginning, &Reading::Unknown, Layout::AsReceived, &[]);
            let (pieces, _is_cut) = summary_of(&beginning);
            (pieces, true)
        }
        None => summary_of(&card.rendered(&bytes, Layout::AsReceived)),
    }
}

pub fn summary_of(whole: &Statement<'_>) -> (Vec<PieceShown>, bool) {
    let mut pieces = Vec::new();
    let mut letters = 0;
    let is_blank = |line: &Line<'_>| line.pieces.iter().all(|piece| piece.text.trim().is_empty());
    for line in whole.lines.iter().filter(|line| !is_blank(line)) {
        if !pieces.is_empty() {
            letters += 1;
            pieces.push(PieceShown {
                // What follows a line comment stands outside of it.
                text: " ⏎ ".to_owned(),
                mark: "",
                why: String::new(),
            });
        }
        for piece in &line.pieces {
            let mut piece = PieceShown::of(piece);
            let length = piece.text.chars().count();
            if letters + length > SUMMARY_LETTERS {
                piece.text = piece
                    .text
                    .chars()
                    .take(SUMMARY_LETTERS.saturating_sub(letters))
                    .collect();
                pieces.push(piece);
                return (pieces, true);
            }
            letters += length;
            pieces.push(piece);
        }
    }
    (pieces, false)
}

/// A risk or a state as icon and word; colour is the style sheet's.
pub fn risk_sign(risk: &str) -> &'static str {
    match risk {
        "critical" => "◆",
        "high" => "▲",
        "medium" => "■",
        _low => "●",
    }
}

/// What a state means, for people.
pub fn state_words(state: &str) -> &'static str {
    match state {
        "pending" => "its client waits",
        "detached" => "its client has left: approved, the same bytes run once when sent again",
        "approved" => "approved, about to run",
        "running" => "running",
        "finished" => "has run",
        "failed" => "the server refused it",
        "outcome_unknown" => "whether it ran is not known",
        "denied" => "denied",
        "expired" => "nobody decided in time",
        "withdrawn" => "withdrawn",
        "stale" => "approved, then something it depends on changed",
        "grant" => "approved; the same bytes run once when sent again",
        "redeemed" => "has run when sent again",
        "lapsed" => "approved, and never sent again",
        _other => "",
    }
}

/// One request in a list.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub id: String,
    pub state: String,
    pub state_words: &'static str,
    pub risk: String,
    pub sign: &'static str,
    pub class: String,
    pub place: String,
    pub principal: String,
    pub rule: String,
    pub held_since: i64,
    pub held: String,
    pub is_open: bool,
    pub until: i64,
    pub left: String,
    pub pieces: Vec<PieceShown>,
    pub is_cut: bool,
    pub impact: String,
    pub said: String,
}

impl Row {
    pub fn of(card: &Card, now: Timestamp) -> Self {
        let (pieces, is_cut) = summary(card);
        let is_open = matches!(card.state.as_str(), "pending" | "detached");
        let created = Moment::parse(&card.created_at, now);
        let until = Timestamp::parse(&card.expires_at).unwrap_or(now);
        let age = Timestamp::parse(&card.created_at).map_or(0, |at| now.since(at).as_secs());
        let said = card.decisions.iter().map(|said| {
            let word = if said.decision == "approve" {
                "approved"
            } else {
                "denied"
            };
            format!("{word} by {}", said.by)
        });
        Self {
            id: card.id.clone(),
            state: card.state.clone(),
            state_words: state_words(&card.state),
            sign: risk_sign(&card.risk),
            risk: card.risk.clone(),
            class: card.class.clone(),
            place: format!(
                "{}/{}",
                visible_line(&card.upstream),
                visible_line(&card.database)
            ),
            principal: visible_line(&card.principal),
            rule: visible_line(&card.rule),
            held_since: created.millis,
            held: span(age),
            is_open,
            until: until.micros() / 1_000,
            left: countdown(until, now),
            pieces,
            is_cut,
            impact: impact_line(card),
            said: said.collect::<Vec<_>>().join(", "),
        }
    }
}

/// The impact in a few words: rows and the strongest lock.
fn impact_line(card: &Card) -> String {
    let impact = &card.impact;
    let mut words = Vec::new();
    if let Some(written) = impact.writes.first() {
        words.push(format!(
            "{} ~{} rows of {}",
            visible_line(&written.operation),
            grouped(written.rows),
            visible_line(&written.table)
        ));
    } else if let Some(rows) = impact.estimated_rows {
        words.push(format!("~{} rows", grouped(rows)));
    } else if let Some(table) = impact.tables.iter().find(|table| table.rows.is_some()) {
        words.push(format!(
            "{}: {} rows",
            visible_line(&table.name),
            grouped(table.rows.unwrap_or_default())
        ));
    }
    if let Some(lock) = impact.locks.first() {
        words.push(lock.mode.clone());
    }
    words.join(" · ")
}
