//! Whether everything is well: statements, log and its tree, anchors, messages, limits. Never tells a cause that may hold a
//! secret: those are in the log of `serve`. Read `api/health.rs` next.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::moments::{Moment, span};
use super::page::{Shell, Trouble, Visitor, shown};
use super::reports;
use crate::api::Rooms;
use crate::api::health::readyz;
use crate::api::impact::{grouped, sized};
use crate::api::labels::{NotFound, not_found};
use crate::api::requests::desk_problem;
use crate::clock::Timestamp;
use crate::identity::directory::Scope;
use crate::journal::tree::pruned::duration_text;
use crate::journal::{AnchorStatus, TreeStatus};
use crate::notify;
use crate::policy::ColumnLabels;
use crate::render::visible_line;
use crate::telemetry::Metrics;

/// A checkpoint over new records comes within a minute; twice that means that signing fails. Units: seconds.
const UNSIGNED_SECONDS_MAX: u64 = 120;
/// Less room than this on the log's disk is soon none: a busy proxy writes a gigabyte in hours. Units: bytes.
const ROOM_BYTES_MIN: u64 = 2 << 30;

/// Names of a file of labels with mistakes that are shown; `countersign catalog status` has them all.
const LABELS_SHOWN_MAX: usize = 20;

/// Something that is well or is not, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    name: String,
    is_well: bool,
    words: String,
}

impl Check {
    fn of(name: &str, is_well: bool, words: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            is_well,
            words: words.into(),
        }
    }
}

/// A limit, and how often it was reached.
struct Reached {
    name: &'static str,
    times: String,
    is_never: bool,
    advice: &'static str,
}

struct ChannelShown {
    name: String,
    kind: &'static str,
    word: &'static str,
    is_well: bool,
    waiting: String,
    failed: String,
    dropped: String,
    delivered: Option<Moment>,
}

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage {
    shell: Shell,
    is_ready: bool,
    checks: Vec<Check>,
    log: Vec<Check>,
    last: Option<Moment>,
    channels: Vec<ChannelShown>,
    limits: Vec<Reached>,
    sessions: String,
    held: String,
    rules_file: String,
    rules: usize,
    generation: String,
    version: &'static str,
    csp_reports: u64,
}

pub async fn page(visitor: Visitor, State(rooms): State<Rooms>) -> Result<Response, Trouble> {
    visitor.caller.needs(Scope::Read)?;
    let (status, axum::Json(health)) = readyz(State(rooms.clone())).await;
    let checks = health
        .checks
        .into_iter()
        .map(|(name, word)| Check::of(&name, word == "ok", word.clone()));
    let labels = rooms.labels.load();
    let checks = checks.chain(of_labels(&labels, not_found(&labels, &rooms.catalogs)));
    let channels = rooms.notifier.status().await.map_err(desk_problem)?;
    let rules = rooms.rules.load_full();
    let (now, tree) = (Timestamp::now(), rooms.journal.tree());
    let mut log = of_tree(&tree, now);
    log.extend(tree.anchors.iter().map(|anchor| of_anchor(anchor, &tree)));
    log.push(Check::of("kept records", true, kept(&tree)));
    log.extend(of_room(rooms.journal.room()));
    Ok(shown(&StatusPage {
        shell: Shell::of(&visitor, &rooms, "status", "Status").await?,
        is_ready: status.is_success(),
        checks: checks.collect(),
        log,
        last: tree.signed.map(|(_, at)| Moment::of(at, now)),
        channels: channels
            .into_iter()
            .map(|channel| of_channel(channel, now))
            .collect(),
        limits: limits(&rooms.metrics),
        sessions: rooms.metrics.sessions_active.get().to_string(),
        held: rooms.metrics.held.get().to_string(),
        rules_file: visible_line(&rules.file),
        rules: rules.len(),
        generation: rules
            .generation
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        version: env!("CARGO_PKG_VERSION"),
        csp_reports: reports::count(),
    }))
}

/// Whether everything that is labelled is there to be withheld.
fn of_labels(labels: &ColumnLabels, compared: Option<NotFound>) -> Option<Check> {
    if labels.is_empty() {
        return None;
    }
    let file = visible_line(&labels.file);
    let (is_well, words) = match compared {
        None => (
            true,
            format!("{file}; no catalog has been read yet to compare it with"),
        ),
        Some(found) if found.words.is_empty() => {
            (true, format!("{file}; everything that it names was found"))
        }
        Some(found) => {
            let more = found.words.len().saturating_sub(LABELS_SHOWN_MAX);
            let mut names: Vec<String> = found.words.into_iter().take(LABELS_SHOWN_MAX).collect();
            names.extend((more > 0).then(|| format!("{more} more")));
            let words = format!(
                "{file} names what no database read so far has ({}), and what is misspelt is not withheld: {}",
                visible_line(&found.places.join(", ")),
                visible_line(&names.join("; "))
            );
            (false, words)
        }
    };
    Some(Check::of("labels", is_well, words))
}

/// What of the log is signed and anchored, and since when the rest waits.
fn of_tree(tree: &TreeStatus, now: Timestamp) -> Vec<Check> {
    let (size, age) = match tree.signed {
        Some((size, at)) => (size, now.since(at).as_secs()),
        None => (0, 0),
    };
    let unsigned = tree.records.saturating_sub(size);
    let is_late = unsigned > 0 && age > UNSIGNED_SECONDS_MAX;
    let checkpoint = match tree.signed {
        Some(_) => format!("{} ago, over {} records", span(age), grouped(size)),
        None => "none has been signed yet".to_owned(),
    };
    let tail = match (unsigned, is_late) {
        (0, _) => "nothing: every record is signed".to_owned(),
        (records, false) => format!("{} records, signed within a minute", grouped(records)),
        (records, true) => format!(
            "{} records and no checkpoint for {}: signing fails, the log of `countersign serve` says why",
            grouped(records),
            span(age)
        ),
    };
    let unanchored = grouped(tree.records.saturating_sub(tree.anchored));
    let anchored = match tree.anchors.is_empty() {
        true => format!(
            "all {unanchored} records: no anchor is configured, so who holds the key can rewrite them; name one in `[audit] anchors`"
        ),
        false => format!("{unanchored} records"),
    };
    let is_behind = tree.anchors.iter().any(|anchor| anchor.failed.is_some());
    vec![
        Check::of("last checkpoint", tree.signed.is_some() && !is_late, checkpoint),
        Check::of("unsigned tail", !is_late, tail),
        Check::of(
            "unanchored tail",
            !tree.anchors.is_empty() && !is_behind,
            anchored,
        ),
    ]
}

fn kept(tree: &TreeStatus) -> String {
    let since = tree
        .oldest
        .map_or_else(String::new, |oldest| format!("since {oldest}"));
    match (tree.pruned, tree.retention) {
        (0, None) => format!("all {since}"),
        (0, Some(retention)) => format!("all {since}, for {}", duration_text(retention)),
        (gone, retention) => format!(
            "{since}{}; {} older ones are pruned, and their roots are kept",
            retention.map_or_else(String::new, |retention| format!(
                ", for {}",
                duration_text(retention)
            )),
            grouped(gone)
        ),
    }
}

fn of_anchor(anchor: &AnchorStatus, tree: &TreeStatus) -> Check {
    let size = tree.signed.map_or(0, |(size, _)| size);
    let behind = size.saturating_sub(anchor.taken);
    let words = match &anchor.failed {
        Some(cause) => format!(
            "{}: {} records behind; it did not take the last checkpoint and is asked again: {}",
            visible_line(&anchor.name),
            grouped(behind),
            visible_line(cause)
        ),
        None => format!(
            "{}: holds a checkpoint over {} records",
            visible_line(&anchor.name),
            grouped(anchor.taken)
        ),
    };
    Check::of("anchor", anchor.failed.is_none(), words)
}

fn of_room(room: Option<u64>) -> Option<Check> {
    let room = room?;
    Some(match room < ROOM_BYTES_MIN {
        true => Check::of(
            "room on the log's disk",
            false,
            format!("{}: make room, a full disk stops statements", sized(room)),
        ),
        false => Check::of("room on the log's disk", true, sized(room)),
    })
}

fn of_channel(channel: notify::Status, now: Timestamp) -> ChannelShown {
    let report = channel.report;
    let (word, is_well) = match (&report.disabled_at, &report.last_error) {
        (Some(_), _) => ("switched off: it answered 410 Gone", false),
        (None, Some(_)) => ("failing, tried again", false),
        (None, None) => ("ok", report.failed == 0 && report.dropped == 0),
    };
    ChannelShown {
        name: visible_line(&report.name),
        kind: channel.kind,
        word,
        is_well,
        waiting: grouped(report.waiting),
        failed: grouped(report.failed),
        dropped: grouped(report.dropped),
        delivered: report.delivered_at.map(|at| Moment::of(at, now)),
    }
}

/// What a person may have to do something about.
fn limits(metrics: &Metrics) -> Vec<Reached> {
    let reached = |name, times: u64, advice| Reached {
        name,
        times: grouped(times),
        is_never: times == 0,
        advice,
    };
    vec![
        reached(
            "statements refused because the log could not be written",
            metrics.refusals("log_unavailable"),
            "look at the disk and at the log of `countersign serve`",
        ),
        reached(
            "failed writes of the log",
            metrics.journal_errors.get(),
            "look at the disk",
        ),
        reached(
            "statements refused because their agent had too many held",
            metrics.refusals("too_many_held"),
            "find the agent in the log: outcome:refused",
        ),
        reached(
            "statements refused because they could not be read exactly",
            metrics.refusals("unreadable"),
            "find them in the log: outcome:refused",
        ),
        reached(
            "runs stopped because they reached more rows than approved",
            metrics.refusals("too_many_rows"),
            "find them in the log",
        ),
        reached(
            "held statements that nobody decided in time",
            metrics.refusals("expired"),
            "see who may decide, on the rules' page",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(records: u64, signed: Option<(u64, i64)>, anchors: Vec<AnchorStatus>) -> TreeStatus {
        TreeStatus {
            records,
            signed: signed.map(|(size, at)| (size, Timestamp::from_micros(at * 1_000_000))),
            anchored: anchors.iter().map(|anchor| anchor.taken).min().unwrap_or(0),
            anchors,
            pruned: 0,
            oldest: None,
            retention: None,
        }
    }

    fn wells(checks: &[Check]) -> Vec<bool> {
        checks.iter().map(|check| check.is_well).collect()
    }

    #[test]
    fn a_tail_is_unwell_once_signing_is_late_and_not_before() {
        let now = Timestamp::from_micros(1_000_000_000);
        let anchor = || vec![AnchorStatus::of("/mnt/anchor", 10)];
        assert_eq!(
            wells(&of_tree(&tree(12, Some((10, 970)), anchor()), now)),
            [true; 3]
        );
        let late = of_tree(&tree(12, Some((10, 700)), anchor()), now);
        assert_eq!(wells(&late), [false, false, true]);
        assert!(late[1].words.contains("no checkpoint for 5 min"), "{late:?}");
        // Nothing new has come since: that it is old is no fault.
        assert_eq!(
            wells(&of_tree(&tree(10, Some((10, 1)), anchor()), now)),
            [true; 3]
        );
        assert_eq!(
            wells(&of_tree(&tree(3, None, Vec::new()), now)),
            [false, true, false]
        );
    }

    #[test]
    fn labels_are_unwell_once_a_catalog_lacks_what_they_name() {
        let text = "[[column]]\ntable = \"a.b\"\ncolumns = [\"c\"]\nlabels = [\"pii\"]\n";
        let labels = ColumnLabels::parse(text, "labels.toml").expect("labels");
        let compared = |words: usize| {
            let words = (0..words).map(|number| format!("the table `a.{number}`"));
            let found = NotFound {
                words: words.collect(),
                places: vec!["shop".to_owned(), "crm".to_owned()],
            };
            of_labels(&labels, Some(found)).expect("there are labels")
        };
        assert_eq!(of_labels(&ColumnLabels::default(), None), None);
        assert!(of_labels(&labels, None).is_some_and(|check| check.is_well));
        assert!(compared(0).is_well);
        let one = compared(1);
        assert!(!one.is_well && one.words.contains("(shop, crm)"), "{one:?}");
        let many = compared(LABELS_SHOWN_MAX + 2).words;
        assert!(
            many.contains("`a.19`; 2 more") && !many.contains("`a.20`"),
            "{many}"
        );
    }

    #[test]
    fn an_anchor_that_fails_says_how_far_it_is_behind() {
        let failing = AnchorStatus {
            failed: Some("it answered 503".to_owned()),
            ..AnchorStatus::of("https://audit.example.com/checkpoints", 4)
        };
        let tree = tree(12, Some((10, 990)), vec![failing.clone()]);
        let check = of_anchor(&failing, &tree);
        assert!(!check.is_well);
        assert!(
            check.words.contains("6 records behind") && check.words.contains("503"),
            "{check:?}"
        );
        let checks = of_tree(&tree, Timestamp::from_micros(1_000_000_000));
        assert_eq!(checks[2].words, "8 records");
        assert!(!checks[2].is_well);
    }
}
