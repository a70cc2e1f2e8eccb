//! What `log histogram` and `log facets` print for people: bars as wide as the terminal may be.
//! Never asks the log. Read `log.rs` next.

use std::fmt::Write as _;

use serde_json::Value;

use super::log::plain;

/// Letters of the longest bar, so that a line fits a terminal of 80.
const BAR_WIDTH: u64 = 40;

/// A line a bar: its beginning, the bar, and the counts.
pub fn histogram(found: &Value) -> String {
    let buckets = found["buckets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let most = buckets
        .iter()
        .map(|bucket| counts(bucket).iter().sum())
        .max()
        .unwrap_or(0);
    let mut lines = String::new();
    for bucket in buckets {
        let [allow, hold, deny, other] = counts(bucket);
        let [allow_bar, hold_bar, deny_bar, other_bar] = widths([allow, hold, deny, other], most);
        let bar = [
            ("█", allow_bar),
            ("▓", hold_bar),
            ("▒", deny_bar),
            ("·", other_bar),
        ]
        .map(|(letter, width)| letter.repeat(width))
        .concat();
        let sum = allow + hold + deny + other;
        let said = if sum == 0 {
            String::new()
        } else {
            format!("{sum} ({allow} allow, {hold} hold, {deny} deny)")
        };
        let line = format!("{:<25} {bar} {said}", plain(&bucket["start"]));
        writeln!(lines, "{}", line.trim_end()).expect("writing to a String cannot fail");
    }
    let seconds = found["bucket_seconds"].as_u64().unwrap_or(0);
    let legend = format!("a bar is {seconds} s · █ allow ▓ hold ▒ deny · records without a verdict\n");
    if buckets.is_empty() {
        "no record matches\n".to_owned()
    } else {
        lines + &legend
    }
}

fn counts(bucket: &Value) -> [u64; 4] {
    ["allow", "hold", "deny", "other"].map(|name| bucket[name].as_u64().unwrap_or(0))
}

/// How wide each part is. What is there at all is seen: a single denial among thousands of reads counts.
fn widths(parts: [u64; 4], most: u64) -> [usize; 4] {
    parts.map(|part| {
        let width = (part * BAR_WIDTH).checked_div(most).unwrap_or(0);
        let width = if part > 0 { width.max(1) } else { 0 };
        usize::try_from(width).unwrap_or(0)
    })
}

/// A paragraph a key: its values with their counts.
pub fn facets(found: &Value) -> String {
    let mut lines = format!("{} records\n", found["records"].as_u64().unwrap_or(0));
    for facet in found["facets"].as_array().into_iter().flatten() {
        let values = facet["values"].as_array().map(Vec::as_slice).unwrap_or_default();
        if values.is_empty() {
            continue;
        }
        writeln!(lines, "\n{}", plain(&facet["key"])).expect("writing to a String cannot fail");
        for value in values {
            writeln!(
                lines,
                "{:>12}  {}",
                value["records"].as_u64().unwrap_or(0),
                plain(&value["value"])
            )
            .expect("writing to a String cannot fail");
        }
        let others = facet["others"].as_u64().unwrap_or(0);
        if others > 0 {
            writeln!(lines, "{others:>12}  others").expect("writing to a String cannot fail");
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_denial_among_many_reads_is_seen() {
        assert_eq!(widths([100_000, 0, 1, 0], 100_001), [39, 0, 1, 0]);
        assert_eq!(widths([0, 0, 0, 0], 0), [0; 4]);
    }
}
