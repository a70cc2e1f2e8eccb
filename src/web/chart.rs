//! A histogram as bars that lead to their span of time, and the same as a table. Never needs a script or a style of its
//! own: the bars are SVG made here. Read `journal/summary.rs` for what is counted.

use super::moments::{Moment, span};
use crate::api::impact::grouped;
use crate::clock::Timestamp;
use crate::journal::{Bucket, Histogram};

/// Of one bar with the gap behind it, and of the bar. Units: the drawing's own.
const STEP: usize = 10;
const BAR: usize = 8;
/// The drawing's height. Units: its own.
const HEIGHT: f64 = 100.0;
/// What is there is seen, be it one of a million. Units: the drawing's own.
const PART_MIN: f64 = 2.5;

pub struct Chart {
    pub width: usize,
    pub bars: Vec<Bar>,
    /// Most records in one bar.
    pub tallest: String,
    /// How long one bar is.
    pub step: String,
    pub from: Moment,
    pub to: Moment,
    /// Before this some is not counted.
    pub partial_before: Option<Moment>,
}

pub struct Bar {
    pub x: usize,
    pub width: usize,
    pub step: usize,
    /// From the ground upwards.
    pub parts: Vec<Part>,
    pub href: String,
    pub at: Moment,
    pub allow: String,
    pub hold: String,
    pub deny: String,
    pub other: String,
    pub is_empty: bool,
}

pub struct Part {
    pub verdict: &'static str,
    pub y: String,
    pub height: String,
}

impl Chart {
    /// `None`: there is nothing to draw. `href` leads to a span of time.
    pub fn of(
        histogram: &Histogram,
        now: Timestamp,
        href: impl Fn(Timestamp, Timestamp) -> String,
    ) -> Option<Self> {
        let tallest = histogram
            .buckets
            .iter()
            .map(total)
            .max()
            .filter(|most| *most > 0)?;
        let step = i64::try_from(histogram.bucket_seconds)
            .ok()?
            .checked_mul(1_000_000)?;
        let end = |bucket: &Bucket| Timestamp::from_micros(bucket.start.micros().saturating_add(step));
        let (first, last) = (histogram.buckets.first()?, histogram.buckets.last()?);
        let bars = histogram.buckets.iter().enumerate();
        Some(Self {
            width: histogram.buckets.len() * STEP,
            bars: bars
                .map(|(place, bucket)| Bar {
                    x: place * STEP,
                    width: BAR,
                    step: STEP,
                    parts: parts(bucket, tallest),
                    href: href(bucket.start, end(bucket)),
                    at: Moment::of(bucket.start, now),
                    allow: grouped(bucket.allow),
                    hold: grouped(bucket.hold),
                    deny: grouped(bucket.deny),
                    other: grouped(bucket.other),
                    is_empty: total(bucket) == 0,
                })
                .collect(),
            tallest: grouped(tallest),
            step: span(histogram.bucket_seconds),
            from: Moment::of(first.start, now),
            to: Moment::of(end(last), now),
            partial_before: histogram.partial_before.map(|before| Moment::of(before, now)),
        })
    }
}

fn total(bucket: &Bucket) -> u64 {
    bucket.allow + bucket.hold + bucket.deny + bucket.other
}

/// Denials and holds stand on the ground, where few of them are still seen below many others.
fn parts(bucket: &Bucket, tallest: u64) -> Vec<Part> {
    let counts = [
        ("deny", bucket.deny),
        ("hold", bucket.hold),
        ("allow", bucket.allow),
        ("other", bucket.other),
    ];
    let some = || counts.iter().filter(|(_, count)| *count > 0);
    // What the least height takes is missing to the whole.
    let room = HEIGHT - PART_MIN * some().count() as f64;
    let mut ground = HEIGHT;
    some()
        .map(|(verdict, count)| {
            let height = PART_MIN + room * (*count as f64 / tallest as f64);
            ground -= height;
            Part {
                verdict,
                y: format!("{ground:.2}"),
                height: format!("{height:.2}"),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(at: i64, counts: [u64; 4]) -> Bucket {
        let [allow, hold, deny, other] = counts;
        Bucket {
            start: Timestamp::from_micros(at * 1_000_000),
            allow,
            hold,
            deny,
            other,
        }
    }

    #[test]
    fn one_denial_among_a_million_is_seen_and_no_bar_is_higher_than_the_drawing() {
        let histogram = Histogram {
            buckets: vec![
                bucket(0, [1_000_000, 0, 1, 500_000]),
                bucket(60, [0; 4]),
                bucket(120, [1, 1, 1, 1]),
            ],
            bucket_seconds: 60,
            partial_before: None,
        };
        let now = Timestamp::from_micros(200_000_000);
        let chart = Chart::of(&histogram, now, |since, until| {
            format!("{}-{}", since.micros(), until.micros())
        })
        .unwrap();
        assert_eq!((chart.width, chart.tallest.as_str()), (30, "1,500,001"));
        assert_eq!(chart.bars[2].href, "120000000-180000000");
        assert!(chart.bars[1].is_empty && chart.bars[1].parts.is_empty());
        for bar in &chart.bars {
            for part in &bar.parts {
                let (y, height): (f64, f64) = (part.y.parse().unwrap(), part.height.parse().unwrap());
                assert!(y >= -0.01 && height >= PART_MIN && y + height <= HEIGHT + 0.01);
            }
        }
        let denied = &chart.bars[0].parts[0];
        assert_eq!(denied.verdict, "deny");
    }

    #[test]
    fn nothing_is_no_drawing() {
        let histogram = Histogram {
            buckets: vec![bucket(0, [0; 4])],
            bucket_seconds: 1,
            partial_before: None,
        };
        let now = Timestamp::from_micros(0);
        assert!(Chart::of(&histogram, now, |_, _| String::new()).is_none());
        assert!(Chart::of(&Histogram::default(), now, |_, _| String::new()).is_none());
    }
}
