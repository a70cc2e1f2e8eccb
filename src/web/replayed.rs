//! What changed rules would have done, for people. Never counts: `api/replay` does.
//! Read `rules.rs` next.

use crate::api::impact::grouped;
use crate::api::replay::report::{Change, Move, NotJudged, Report};
use crate::render::visible_line;

/// How far back a replay may begin, and what that is called.
pub const SINCES: [(&str, &str); 4] = [
    ("1d", "last day"),
    ("7d", "last 7 days"),
    ("30d", "last 30 days"),
    ("1h", "last hour"),
];

/// Different statements that are listed; the API has them all.
const CHANGES_MAX: usize = 50;

pub struct Replayed {
    pub statements: String,
    pub judged: String,
    /// Statements whose verdict changes.
    pub moved: String,
    /// Empty: all of it was judged.
    pub judged_to: String,
    pub moves: Vec<MoveShown>,
    pub changes: Vec<ChangeShown>,
    pub besides: String,
    pub decided_by: Vec<(String, String)>,
    pub not_judged: Vec<NotJudgedShown>,
    pub asking: String,
}

pub struct MoveShown {
    pub from: String,
    pub to: String,
    pub count: String,
}

pub struct ChangeShown {
    pub count: String,
    pub from: String,
    pub rule_before: String,
    pub to: String,
    pub rule: String,
    pub id: String,
    pub principal: String,
    pub text: String,
    pub fingerprint: String,
}

pub struct NotJudgedShown {
    pub count: String,
    pub why: &'static str,
    pub id: String,
}

impl Replayed {
    pub fn of(report: &Report) -> Self {
        let moved = report.verdicts.iter().filter(|moved| moved.from != moved.to);
        let more = report.changed.len().saturating_sub(CHANGES_MAX);
        Self {
            statements: grouped(report.statements),
            judged: grouped(report.judged),
            moved: grouped(moved.map(|moved| moved.count).sum()),
            judged_to: report.judged_to.clone().unwrap_or_default(),
            moves: report.verdicts.iter().map(MoveShown::of).collect(),
            changes: report
                .changed
                .iter()
                .take(CHANGES_MAX)
                .map(ChangeShown::of)
                .collect(),
            besides: match (more, report.changed_besides) {
                (0, 0) => String::new(),
                (more, besides) => format!(
                    "{} further shapes of statements change; {} statements were not told apart. `countersign policy replay --json` lists them.",
                    grouped(more as u64),
                    grouped(besides)
                ),
            },
            decided_by: report
                .decided_by
                .iter()
                .map(|(rule, count)| (visible_line(rule), grouped(*count)))
                .collect(),
            not_judged: report.not_judged.iter().map(NotJudgedShown::of).collect(),
            asking: visible_line(&report.asking_a_catalog.join(", ")),
        }
    }
}

impl MoveShown {
    fn of(moved: &Move) -> Self {
        Self {
            from: visible_line(&moved.from),
            to: visible_line(&moved.to),
            count: grouped(moved.count),
        }
    }
}

impl ChangeShown {
    fn of(change: &Change) -> Self {
        Self {
            count: grouped(change.count),
            from: visible_line(&change.from),
            rule_before: visible_line(&change.rule_before),
            to: visible_line(&change.to),
            rule: visible_line(&change.rule),
            id: change.example.id.clone(),
            principal: visible_line(&change.example.principal),
            text: visible_line(&change.example.text),
            fingerprint: change.fingerprint.clone(),
        }
    }
}

impl NotJudgedShown {
    fn of(told: &NotJudged) -> Self {
        Self {
            count: grouped(told.count),
            why: told.why,
            id: told.example.id.clone(),
        }
    }
}
