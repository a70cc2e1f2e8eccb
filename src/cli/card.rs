//! A request for a person at a terminal, in the order in which a reviewer reads: verdict, statement, parameters,
//! impact, who, transaction, rule, what was said. Never shows a statement in part. Read `requests.rs` next.

use std::fmt::Write as _;

use base64::Engine as _;

use super::impact::impact_lines;
use super::render::{visible, visible_bytes, visible_line};
use crate::api::card::{Card, ParameterValue, Said};
use crate::clock::Timestamp;

/// The whole card; `earlier` are requests of the same shape, newest first.
pub fn card_text(card: &Card, earlier: &[Card], now: Timestamp) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        // Writing into a String cannot fail.
        let _written = writeln!(text, "{label:<12} {value}");
    };
    line(&card.id, &verdict_line(card, now));
    line("", "");
    for (number, statement) in statement_lines(card).iter().enumerate() {
        line(&format!("{:>12}", number + 1), &format!("│ {statement}"));
    }
    line("", "");
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
    let decides = if card.approvers.is_empty() {
        "every approver".to_owned()
    } else {
        or_none(&card.approvers)
    };
    line(
        "decides",
        &format!("{decides}; approvals needed: {}", card.approvals_needed),
    );
    for (label, value) in standing_lines(card) {
        line(label, &value);
    }
    for said in &card.decisions {
        line("said", &format!("{}  {}", said.at, said_by(said)));
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
    text
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

/// What one person said.
pub fn said_by(said: &Said) -> String {
    let reason = if said.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", visible_line(&said.reason))
    };
    let seen = if said.token_seen_by.is_empty() {
        String::new()
    } else {
        format!(", by a token that {} has seen", said.token_seen_by.join(", "))
    };
    let scope = said.scope.as_ref().map_or(String::new(), |scope| {
        format!(
            ", {} times within {} min for the {}",
            scope.uses, scope.minutes, scope.whose
        )
    });
    format!(
        "{}{scope} by {} over {}{seen}{reason}",
        said.decision, said.by, said.channel
    )
}

/// One line of a list.
pub fn list_line(card: &Card, now: Timestamp) -> String {
    let statement = statement_lines(card).join(" ");
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

/// The message as it came, whole, by lines; what could hide is written out.
fn statement_lines(card: &Card) -> Vec<String> {
    let shown = match (&card.text, &card.text_base64) {
        (Some(text), _) => visible(text),
        (None, Some(encoded)) => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(encoded);
            decoded.map_or_else(|_| visible(encoded), |bytes| visible_bytes(&bytes))
        }
        (None, None) => String::new(),
    };
    shown.lines().map(str::to_owned).collect()
}

fn parameter_text(parameter: &ParameterValue) -> String {
    let value = match (&parameter.value, &parameter.hex) {
        (Some(value), _) => format!("'{}'", visible_line(value)),
        (None, Some(hex)) => format!("\\x{hex} ({} bytes, not decoded)", parameter.bytes),
        (None, None) => "NULL".to_owned(),
    };
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

fn or_none(words: &[String]) -> String {
    if words.is_empty() {
        return "no table".to_owned();
    }
    words
        .iter()
        .map(|word| visible_line(word))
        .collect::<Vec<_>>()
        .join(", ")
}
