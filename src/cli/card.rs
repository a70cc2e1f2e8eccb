//! A request for a person at a terminal, in the order in which a reviewer reads: verdict, statement, parameters,
//! impact, who, transaction, rule, what was said. Never shows a statement in part. Read `requests.rs` next.

use std::fmt::Write as _;

use super::impact::impact_lines;
use crate::api::card::{Card, Need, ParameterValue, Remark, Said};
use crate::api::requests::ScopeBody;
use crate::clock::Timestamp;
use crate::render::{Layout, Line, Mark, visible, visible_bytes, visible_line};

/// Whether a terminal is asked for colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    Plain,
    Coloured,
}

impl Ink {
    /// Colours on a terminal only, and only where nobody has asked for none (no-color.org).
    pub fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match !refused && std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            true => Self::Coloured,
            false => Self::Plain,
        }
    }
}

/// The whole card; `earlier` are requests of the same shape, newest first.
pub fn card_text(card: &Card, earlier: &[Card], now: Timestamp, ink: Ink) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        // Writing into a String cannot fail.
        let _written = writeln!(text, "{label:<12} {value}");
    };
    line(&card.id, &verdict_line(card, now));
    line("", "");
    let bytes = card.bytes();
    let rendered = card.rendered(&bytes, Layout::Laid);
    for shown in &rendered.lines {
        line(
            &format!("{:>12}", shown.number),
            &format!("│ {}", line_text(shown, ink)),
        );
        for note in &shown.notes {
            line("", &format!("│ ^ {note}"));
        }
    }
    line("", "");
    for (label, value) in facts(card, earlier, now) {
        line(label, &value);
    }
    text
}

/// Everything but the statement, in the order of the card: a name, or none where it goes on, and a line.
pub fn facts(card: &Card, earlier: &[Card], now: Timestamp) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let mut line = |label: &'static str, value: &str| facts.push((label, value.to_owned()));
    let bytes = card.bytes();
    let rendered = card.rendered(&bytes, Layout::Laid);
    for note in &rendered.notes {
        line("note", note);
    }
    line("digest", &card.digest);
    if card.copies_in {
        line(
            "data",
            "the client's data follows the statement and is not in the digest",
        );
    }
    let parameters: Vec<String> = card.parameters.iter().map(parameter_text).collect();
    line("parameters", parameters.first().map_or("none", String::as_str));
    parameters
        .iter()
        .skip(1)
        .for_each(|parameter| line("", parameter));
    if card.withheld {
        let next = format!(
            "withheld; to see them, which is recorded: countersign show {} --reveal",
            card.id
        );
        line("", &next);
    }
    if !card.column_labels.is_empty() {
        line("labels", &card.column_labels.join(", "));
    }
    for (label, text) in impact_lines(&card.impact) {
        line(label, &text);
    }
    line("who", &who(card));
    for (name, value) in &card.claimed {
        line(
            "claimed",
            &format!("{} = {} (not verified)", visible_line(name), visible_line(value)),
        );
    }
    line("transaction", &transaction_text(card, now));
    for (name, value) in &card.facts {
        line(
            "session",
            &format!("{} = {}", visible_line(name), visible_line(value)),
        );
    }
    let place = if card.rule_line == 0 {
        String::new()
    } else {
        format!(", line {}", card.rule_line)
    };
    line("rule", &format!("{}{place}", visible_line(&card.rule)));
    card.reasons
        .iter()
        .for_each(|reason| line("", &visible_line(reason)));
    for (number, need) in card.requirement.iter().enumerate() {
        line(if number == 0 { "decides" } else { "" }, &need_text(need));
    }
    for delegation in &card.delegations {
        let (from, to) = (visible_line(&delegation.from), visible_line(&delegation.to));
        line("", &format!("{to} instead of {from}"));
    }
    if !card.escalate_to.is_empty() && card.escalated_at.is_none() {
        let next = visible_line(&card.escalate_to.join(" or "));
        line("", &format!("{next} if it is escalated"));
    }
    for (label, value) in standing_lines(card) {
        line(label, &value);
    }
    for said in &card.decisions {
        line("said", &format!("{}  {}", said.at, said_by(said)));
    }
    for remark in &card.discussion {
        for (label, value) in remark_lines(remark) {
            line(label, &value);
        }
    }
    for other in earlier.iter().filter(|other| !other.decisions.is_empty()) {
        let said: Vec<String> = other.decisions.iter().map(said_by).collect();
        line(
            "before",
            &format!(
                "{}  {}  {}  {}",
                other.created_at,
                other.id,
                other.state,
                said.join("; ")
            ),
        );
    }
    if let Some(outcome) = outcome_text(card) {
        line("outcome", &outcome);
    }
    facts
}

/// What a standing grant has to do with it, or could have.
fn standing_lines(card: &Card) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(by) = &card.covered_by {
        let words = format!(
            "standing grant {}, use {} of {}, made by {} in {}",
            by.grant,
            by.number,
            by.uses_max,
            by.made_by.join(", "),
            by.decided_in
        );
        lines.push(("covered by", words));
    }
    if let Some(grant) = &card.standing_grant {
        lines.push(("made", format!("standing grant {grant}")));
    }
    match (&card.template, &card.decided_each_time) {
        (Some(template), _) => {
            let mut template = visible(template);
            if !card.parameters.is_empty() {
                template.push_str("  (and any parameters)");
            }
            lines.extend(template.lines().enumerate().map(|(number, text)| {
                let label = if number == 0 { "may vary" } else { "" };
                (label, text.to_owned())
            }));
        }
        (None, Some(why)) => lines.push(("may vary", format!("nothing: {}", visible_line(why)))),
        (None, None) => {}
    }
    lines
}

/// One part of what an approval takes.
fn need_text(need: &Need) -> String {
    let filled = need.by.len().min(need.needed as usize);
    let by = if need.by.is_empty() {
        String::new()
    } else {
        format!(" ({})", need.by.join(", "))
    };
    format!("{filled} of {} by {}{by}", need.needed, visible_line(&need.group))
}

/// What was said besides: who, when, and the text line by line.
fn remark_lines(remark: &Remark) -> Vec<(&'static str, String)> {
    let by = visible_line(remark.by.as_deref().unwrap_or("countersign"));
    let claimed = if remark.kind == "reply" {
        " (not verified)"
    } else {
        ""
    };
    let to = remark
        .to
        .as_ref()
        .map_or(String::new(), |to| format!(" to {}", visible_line(to)));
    let mut lines = remark.text.lines();
    let first = lines
        .next()
        .map_or(String::new(), |text| format!(": {}", visible_line(text)));
    let head = format!("{}  {} by {by}{to}{claimed}{first}", remark.at, remark.kind);
    let rest = lines.map(|text| ("", format!("    {}", visible_line(text))));
    [("remark", head)].into_iter().chain(rest).collect()
}

/// What one person said.
pub fn said_by(said: &Said) -> String {
    let alone = if said.break_glass {
        " alone (break glass)"
    } else {
        ""
    };
    let reason = if said.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", visible_line(&said.reason))
    };
    let seen = if said.token_seen_by.is_empty() {
        String::new()
    } else {
        format!(
            ", signed in by what has been seen or lately set by {}",
            said.token_seen_by.join(", ")
        )
    };
    let scope = match said.scope.as_ref().map(ScopeBody::words) {
        Some(words) if !words.is_empty() => format!(", {words}"),
        Some(_) | None => String::new(),
    };
    let guards = said.guards.as_ref().map_or(String::new(), |guards| {
        let timeout = |name: &str, time: &Option<String>| time.as_ref().map(|time| format!("{name} {time}"));
        let parts = [
            timeout("lock_timeout", &guards.lock_timeout),
            timeout("statement_timeout", &guards.statement_timeout),
            guards.rows_max.map(|rows| format!("rows_max {rows}")),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        format!(", with {}", parts.join(", "))
    });
    format!(
        "{}{alone}{scope}{guards} by {} over {}{seen}{reason}",
        said.decision, said.by, said.channel
    )
}

/// So much of a statement stands in a list.
const LIST_LETTERS_MAX: usize = 200;

/// One line of a list.
pub fn list_line(card: &Card, now: Timestamp) -> String {
    // What follows a line comment stands outside of it.
    let mut lines = statement_lines(card);
    lines.retain(|line| !line.trim().is_empty());
    let whole = lines.join(" ⏎ ");
    let statement = match whole.char_indices().nth(LIST_LETTERS_MAX) {
        Some((at, _)) => format!("{}… ({} bytes in all)", &whole[..at], card.bytes().len()),
        None => whole,
    };
    format!(
        "{}  {}  {}\n        {}",
        card.id,
        verdict_line(card, now),
        visible_line(&card.principal),
        statement
    )
}

fn verdict_line(card: &Card, now: Timestamp) -> String {
    let (risk, class) = (card.risk.to_uppercase(), card.class.to_uppercase());
    let database = format!(
        "{}/{}",
        visible_line(&card.upstream),
        visible_line(&card.database)
    );
    let state = match card.state.as_str() {
        "detached" => "DETACHED (nobody waits; approved, the same bytes run once when sent again)".to_owned(),
        other => other.to_uppercase(),
    };
    let is_open = matches!(card.state.as_str(), "pending" | "detached");
    let left = if is_open {
        format!("  {}", time_left(&card.expires_at, now))
    } else {
        String::new()
    };
    format!("{risk}  {class}  {database}  {state}{left}")
}

fn time_left(until: &str, now: Timestamp) -> String {
    let Some(until) = Timestamp::parse(until) else {
        return format!("until {until}");
    };
    let seconds = until.since(now).as_secs();
    format!("{}:{:02} left", seconds / 60, seconds % 60)
}

/// One line of the statement.
fn line_text(line: &Line<'_>, ink: Ink) -> String {
    let mut text = " ".repeat(usize::from(line.indent));
    for piece in &line.pieces {
        match (ink, colour(piece.mark)) {
            (Ink::Coloured, Some(colour)) => {
                // Writing into a String cannot fail.
                let _written = write!(text, "\x1b[{colour}m{}\x1b[0m", piece.text);
            }
            (Ink::Coloured, None) | (Ink::Plain, _) => text.push_str(&piece.text),
        }
    }
    text
}

/// How a terminal shows a mark: SGR parameters (ECMA-48). A comment that runs is never dimmed.
fn colour(mark: Mark) -> Option<&'static str> {
    match mark {
        Mark::Plain | Mark::Name => None,
        Mark::Keyword => Some("1"),
        Mark::Text => Some("32"),
        Mark::Number | Mark::Parameter => Some("36"),
        Mark::Value => Some("35"),
        Mark::Comment => Some("2"),
        Mark::Executable => Some("1;33"),
        Mark::Hidden | Mark::Disguised => Some("1;7;33"),
        Mark::Risky => Some("1;31"),
    }
}

/// The message as it came, whole, by its own lines; what could hide is written out.
fn statement_lines(card: &Card) -> Vec<String> {
    let shown = visible_bytes(&card.bytes());
    shown.lines().map(str::to_owned).collect()
}

fn parameter_text(parameter: &ParameterValue) -> String {
    let value = parameter.value_text();
    format!(
        "${} {} = {value}",
        parameter.index,
        visible_line(&parameter.type_name)
    )
}

fn who(card: &Card) -> String {
    format!(
        "{} (verified), owner {}, from {}, as database user {}, session {}",
        card.principal,
        card.owner,
        card.source,
        visible_line(&card.database_user),
        card.session
    )
}

fn transaction_text(card: &Card, now: Timestamp) -> String {
    let transaction = &card.transaction;
    let age = transaction
        .opened_at
        .as_deref()
        .and_then(Timestamp::parse)
        .map(|opened| now.since(opened).as_secs());
    let mut text = match (transaction.state.as_str(), age) {
        ("idle", _) => "none open".to_owned(),
        ("open", Some(seconds)) => format!("open for {seconds} s: its locks stay held"),
        (other, _) => other.to_owned(),
    };
    if transaction.wrote {
        text.push_str("; it has written, so an approval is good only while its client waits");
    }
    if card.state == "pending" {
        let _written = write!(text, "; its client waits: {}", time_left(&card.wait_ends_at, now));
    }
    text
}

fn outcome_text(card: &Card) -> Option<String> {
    let outcome = card.outcome.as_ref()?;
    Some(match (&outcome.sqlstate, &outcome.why) {
        (Some(sqlstate), _) => {
            format!(
                "{sqlstate}: {}",
                visible_line(outcome.message.as_deref().unwrap_or_default())
            )
        }
        (None, Some(why)) => visible_line(why),
        (None, None) => {
            let rows = outcome
                .rows
                .map_or(String::new(), |rows| format!(", {rows} rows"));
            format!(
                "{}{rows}",
                visible_line(outcome.tag.as_deref().unwrap_or_default())
            )
        }
    })
}
