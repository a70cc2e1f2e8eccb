//! The impact of a request in words, one fact each, the same for pages and terminals.
//! Never shows a name with what could hide in it. Read `card.rs` for what stands around it.

use crate::catalog::impact::{Cascade, Impact, Lock, Status, Table, Trigger, Written};
use crate::render::visible_line;

/// Label and facts of each part that has any.
pub fn impact_parts(impact: &Impact) -> Vec<(&'static str, Vec<String>)> {
    let triggers = impact.triggers.iter().map(trigger_text).collect();
    let parts = [
        ("impact", touched(impact)),
        ("reaches", reached(impact)),
        ("drops", dropped(impact)),
        ("triggers", with_more(triggers, impact.triggers_more)),
        ("locks", locked(impact)),
    ];
    parts.into_iter().filter(|(_, texts)| !texts.is_empty()).collect()
}

fn touched(impact: &Impact) -> Vec<String> {
    let mut texts = Vec::new();
    match (impact.status, impact.estimated_rows) {
        (Status::Estimating, _) => texts.push("being estimated: look again in a moment".to_owned()),
        (Status::Done, Some(rows)) if impact.writes.is_empty() => {
            texts.push(format!("returns about {} rows", grouped(rows)));
        }
        (Status::Done, Some(_)) => {
            texts.extend(impact.writes.iter().map(|write| written_text(write, impact)))
        }
        (Status::Done, None) => {
            let why = impact.no_estimate.as_deref().unwrap_or("not asked for");
            texts.push(format!("no estimate: {}", visible_line(why)));
        }
    }
    if impact.tables.is_empty() {
        texts.push("names no table that exists".to_owned());
    }
    texts.extend(impact.tables.iter().map(table_text));
    if let Some(why) = &impact.not_read
        && impact.no_estimate.as_ref() != Some(why)
    {
        texts.push(format!("not read: {}", visible_line(why)));
    }
    texts
}

fn written_text(written: &Written, impact: &Impact) -> String {
    let verb = match written.operation.as_str() {
        "insert" => "inserts",
        "update" => "updates",
        "delete" => "deletes",
        "merge" => "merges",
        other => other,
    };
    let known = impact
        .tables
        .iter()
        .find(|table| same_name(&table.name, &written.table));
    let share = known
        .and_then(|table| table.rows)
        .filter(|all| *all > 0 && verb != "inserts")
        .map_or(String::new(), |all| {
            let percent = u128::from(written.rows) * 100 / u128::from(all);
            match percent {
                0 => ", under 1 %".to_owned(),
                percent => format!(", {} %", percent.min(100)),
            }
        });
    format!(
        "{verb} about {} rows of {}{share}",
        grouped(written.rows),
        visible_line(&written.table)
    )
}

/// A plan gives names without their schemas.
fn same_name(full: &str, name: &str) -> bool {
    full == name || full.rsplit_once('.').is_some_and(|(_, last)| last == name)
}

fn table_text(table: &Table) -> String {
    let name = visible_line(&table.name);
    let mut text = match table.kind.as_deref() {
        None | Some("table") => name,
        Some(kind) => format!("{name} ({kind})"),
    };
    if let Some(rows) = table.rows {
        text.push_str(&format!(": {} rows", grouped(rows)));
    }
    match (table.bytes, table.index_bytes) {
        (Some(bytes), Some(indexes)) if indexes > 0 => {
            text.push_str(&format!(", {} and {} of indexes", sized(bytes), sized(indexes)));
        }
        (Some(bytes), _) => text.push_str(&format!(", {}", sized(bytes))),
        (None, _) => {}
    }
    text
}

fn reached(impact: &Impact) -> Vec<String> {
    let text = |cascade: &Cascade| {
        let rows = cascade
            .rows
            .map_or(String::new(), |rows| format!(" ({} rows)", grouped(rows)));
        format!(
            "{}{rows}: {}, by {}",
            visible_line(&cascade.table),
            cascade.then,
            visible_line(&cascade.constraint)
        )
    };
    with_more(impact.cascades.iter().map(text).collect(), impact.cascades_more)
}

fn dropped(impact: &Impact) -> Vec<String> {
    if impact.dependents.is_empty() {
        return Vec::new();
    }
    let head = if impact.cascade {
        "CASCADE takes along:"
    } else {
        "fails, because of:"
    };
    let names = impact.dependents.iter().map(|name| visible_line(name)).collect();
    let mut texts = vec![head.to_owned()];
    texts.extend(with_more(names, impact.dependents_more));
    texts
}

fn trigger_text(trigger: &Trigger) -> String {
    format!(
        "{} of {}: {}, runs {}",
        visible_line(&trigger.name),
        visible_line(&trigger.table),
        trigger.timing,
        visible_line(&trigger.function)
    )
}

fn locked(impact: &Impact) -> Vec<String> {
    let text = |lock: &Lock| format!("{}: {}", lock.mode, visible_line(&lock.blocks));
    let mut texts: Vec<String> = impact.locks.iter().map(text).collect();
    match &impact.locks_not_known {
        Some(why) if impact.status == Status::Estimating => texts.push(visible_line(why)),
        Some(why) => texts.push(format!("not known: {}", visible_line(why))),
        None if texts.is_empty() => texts.push("none that others wait for".to_owned()),
        None => {}
    }
    texts
}

fn with_more(mut texts: Vec<String>, more: u64) -> Vec<String> {
    if more > 0 {
        texts.push(format!("and {} more", grouped(more)));
    }
    texts
}

/// `48112904` as `48,112,904`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Two digits at least, in the largest unit that has them.
pub fn sized(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    let mut size = bytes;
    let mut unit = "bytes";
    for next in UNITS {
        if size < 10_240 {
            break;
        }
        size /= 1_024;
        unit = next;
    }
    format!("{} {unit}", grouped(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes_are_read_at_a_glance() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(48_112_904), "48,112,904");
        assert_eq!(sized(8_192), "8,192 bytes");
        assert_eq!(sized(21 << 30), "21 GB");
        assert_eq!(sized(u64::MAX), "16,383 PB");
    }
}
