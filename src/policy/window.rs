//! Parts of the day and days of the week in which a rule speaks.
//! Never reads a clock: it is told the moment. Read `rule.rs` next.

use chrono::{DateTime, Offset as _, TimeZone as _};
use chrono_tz::Tz;

use crate::clock::Timestamp;

/// A part of the day on some days of the week, by the clocks of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Minutes since midnight.
    pub from: u32,
    /// Minutes since midnight, exclusive; smaller than `from` means past midnight.
    pub until: u32,
    /// Monday is 0.
    pub days: Vec<u8>,
    /// `None`: UTC.
    pub zone: Option<Tz>,
}

impl Window {
    pub fn holds(&self, now: Timestamp) -> bool {
        let minutes = now.micros().div_euclid(60_000_000) + self.offset_minutes(now);
        let day = minutes.div_euclid(24 * 60);
        let minute = u32::try_from(minutes.rem_euclid(24 * 60)).unwrap_or(0);
        let past_midnight = self.until < self.from && minute < self.until;
        let inside = if self.from < self.until {
            (self.from..self.until).contains(&minute)
        } else {
            minute >= self.from || minute < self.until
        };
        // The small hours of a window that passes midnight belong to the day it began. 1970-01-01 was a Thursday.
        let began = day - i64::from(past_midnight);
        let weekday = u8::try_from((began + 3).rem_euclid(7)).unwrap_or(0);
        inside && self.days.contains(&weekday)
    }

    /// What the zone's clocks are ahead of UTC at a moment. A moment has one local time, summer time or not; that a local
    /// time may have two moments or none does not matter here.
    fn offset_minutes(&self, now: Timestamp) -> i64 {
        let moment = DateTime::from_timestamp_micros(now.micros());
        let offset = self.zone.zip(moment).map(|(zone, moment)| {
            let offset = zone.offset_from_utc_datetime(&moment.naive_utc());
            i64::from(offset.fix().local_minus_utc()).div_euclid(60)
        });
        offset.unwrap_or(0)
    }
}

/// `08:00-18:00` as minutes since midnight; `None` for anything else.
pub fn clock_times(text: &str) -> Option<(u32, u32)> {
    let (from, until) = text.split_once('-')?;
    let (from, until) = (clock_time(from)?, clock_time(until)?);
    (from != until && from < 24 * 60).then_some((from, until))
}

fn clock_time(text: &str) -> Option<u32> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let time = hours * 60 + minutes;
    (minutes < 60 && time <= 24 * 60).then_some(time)
}
