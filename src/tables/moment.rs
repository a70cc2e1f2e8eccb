//! Times, dates and intervals as microseconds: read, shown, cut and taken apart, always in UTC.
//! Never asks for a time zone: what a client sets is not heeded. Read `types.rs` next.

use time::{Date, Month, OffsetDateTime};

pub const SECOND_MICROS: i64 = 1_000_000;
pub const DAY_MICROS: i64 = 86_400 * SECOND_MICROS;
/// What a month counts where no date says how long it is, as in PostgreSQL.
pub const MONTH_DAYS: i64 = 30;

/// A written interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub months: i64,
    pub rest_micros: i64,
}

impl Span {
    pub fn micros(self) -> i64 {
        let months = self.months.saturating_mul(MONTH_DAYS * DAY_MICROS);
        self.rest_micros.saturating_add(months)
    }

    /// `1 hour`, `2 days 03:04:05`, `1 mon -2 h`, `PT1H30M`; a number alone counts seconds.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(iso) = text.strip_prefix('P') {
            return Self::parse_iso(iso);
        }
        let spaced = spaced(text);
        let mut words = spaced.split_whitespace().peekable();
        let mut span = Self::default();
        let mut is_empty = true;
        while let Some(word) = words.next() {
            is_empty = false;
            if word == "ago" {
                span = Self {
                    months: -span.months,
                    rest_micros: -span.rest_micros,
                };
            } else if word.contains(':') {
                span.rest_micros = span.rest_micros.checked_add(clock(word)?)?;
            } else {
                let unit =
                    words.next_if(|unit| unit.starts_with(|letter: char| letter.is_ascii_alphabetic()));
                span.add(word.parse().ok()?, unit.unwrap_or("s"))?;
            }
        }
        (!is_empty).then_some(span)
    }

    fn parse_iso(text: &str) -> Option<Self> {
        let mut span = Self::default();
        let (mut number, mut is_time) = (String::new(), false);
        for letter in text.chars() {
            match letter {
                'T' => is_time = true,
                '0'..='9' | '.' | '-' | '+' => number.push(letter),
                unit => {
                    let unit = match (unit, is_time) {
                        ('Y', _) => "y",
                        ('M', false) => "mon",
                        ('W', _) => "w",
                        ('D', _) => "d",
                        ('H', _) => "h",
                        ('M', true) => "m",
                        ('S', _) => "s",
                        _ => return None,
                    };
                    span.add(std::mem::take(&mut number).parse().ok()?, unit)?;
                }
            }
        }
        number.is_empty().then_some(span)
    }

    pub fn add(&mut self, count: f64, unit: &str) -> Option<()> {
        let lower = unit.to_ascii_lowercase();
        let months = match lower.as_str() {
            "y" | "yr" | "yrs" | "year" | "years" => 12.0,
            "mon" | "mons" | "month" | "months" => 1.0,
            "quarter" => 3.0,
            "decade" | "decades" => 120.0,
            "century" | "centuries" => 1200.0,
            _ => 0.0,
        };
        if months > 0.0 {
            let all = count * months;
            self.months = self.months.checked_add(all.trunc() as i64)?;
            let days = all.fract() * MONTH_DAYS as f64;
            self.rest_micros = self.rest_micros.checked_add((days * DAY_MICROS as f64) as i64)?;
            return Some(());
        }
        let micros = match lower.as_str() {
            "us" | "usec" | "microsecond" | "microseconds" => 1,
            "ms" | "msec" | "millisecond" | "milliseconds" => 1000,
            "s" | "sec" | "secs" | "second" | "seconds" => SECOND_MICROS,
            "m" | "min" | "mins" | "minute" | "minutes" => 60 * SECOND_MICROS,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600 * SECOND_MICROS,
            "d" | "day" | "days" => DAY_MICROS,
            "w" | "week" | "weeks" => 7 * DAY_MICROS,
            _ => return None,
        };
        let all = (count * micros as f64).round();
        if all.abs() > i64::MAX as f64 / 2.0 {
            return None;
        }
        self.rest_micros = self.rest_micros.checked_add(all as i64)?;
        Some(())
    }
}

/// A blank wherever a number meets a unit: `1h30m`.
fn spaced(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut last = ' ';
    for letter in text.chars() {
        let meets = last.is_ascii_digit() && letter.is_ascii_alphabetic()
            || last.is_ascii_alphabetic() && letter.is_ascii_digit();
        if meets {
            out.push(' ');
        }
        out.push(letter);
        last = letter;
    }
    out
}

/// `hh:mm[:ss[.ffffff]]`, with a sign.
fn clock(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = text.split(':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let seconds = parts.next().map_or(Some(0), seconds)?;
    if parts.next().is_some() || !(0..60).contains(&minutes) || hours.abs() > 1 << 32 {
        return None;
    }
    Some(sign * ((hours * 60 + minutes) * 60 * SECOND_MICROS + seconds))
}

fn seconds(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    if !(0..=60).contains(&whole) || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let padded: String = part.chars().chain("000000".chars()).take(6).collect();
    Some(whole * SECOND_MICROS + padded.parse::<i64>().ok()?)
}

fn now_micros() -> i64 {
    crate::clock::Timestamp::now().micros()
}

/// A time as PostgreSQL reads it: ISO 8601 with a blank or a `T`, an offset or none (UTC), or a word such as `now`.
pub fn parse(text: &str) -> Option<i64> {
    let today = || now_micros().div_euclid(DAY_MICROS) * DAY_MICROS;
    match text.to_ascii_lowercase().as_str() {
        "now" => return Some(now_micros()),
        "today" => return Some(today()),
        "yesterday" => return Some(today() - DAY_MICROS),
        "tomorrow" => return Some(today() + DAY_MICROS),
        "epoch" => return Some(0),
        _ => {}
    }
    let mut parts = text.get(..10)?.split('-');
    let year: i32 = parts.next()?.parse().ok()?;
    let month = Month::try_from(parts.next()?.parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(year, month, parts.next()?.parse().ok()?).ok()?;
    let day = date.midnight().assume_utc().unix_timestamp() * SECOND_MICROS;
    let rest = text.get(10..)?;
    if rest.is_empty() {
        return Some(day);
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?.trim();
    let clock_end = rest
        .find(|letter: char| !letter.is_ascii_digit() && letter != ':' && letter != '.')
        .unwrap_or(rest.len());
    let (time, zone) = rest.split_at(clock_end);
    let zone = zone.trim();
    let offset = match zone {
        "" | "Z" | "z" => 0,
        utc if utc.eq_ignore_ascii_case("utc") || utc.eq_ignore_ascii_case("gmt") => 0,
        offset => zone_offset(offset)?,
    };
    let time = if time.contains(':') {
        clock(time)?
    } else {
        clock(&format!("{time}:00"))?
    };
    day.checked_add(time)?.checked_sub(offset)
}

/// `+02`, `+0230`, `+02:30`.
fn zone_offset(text: &str) -> Option<i64> {
    let digits: String = text.get(1..)?.chars().filter(|letter| *letter != ':').collect();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || ![1, 2, 4, 6].contains(&digits.len()) {
        return None;
    }
    let part = |from: usize| {
        digits
            .get(from..from + 2)
            .map_or(Some(0), |part| part.parse::<i64>().ok())
    };
    let hours = if digits.len() == 1 {
        digits.parse().ok()?
    } else {
        part(0)?
    };
    let all = (hours * 3600 + part(2)? * 60 + part(4)?) * SECOND_MICROS;
    match text.as_bytes().first()? {
        b'+' => Some(all),
        b'-' => Some(-all),
        _ => None,
    }
}

fn civil(micros: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()
}

/// As PostgreSQL prints it in UTC: `2026-01-31 23:59:59.5+00`.
pub fn show(micros: i64) -> String {
    match civil(micros) {
        Some(at) => format!(
            "{} {:02}:{:02}:{:02}{}+00",
            show_day(at.date()),
            at.hour(),
            at.minute(),
            at.second(),
            fraction(micros.rem_euclid(SECOND_MICROS))
        ),
        None => (if micros < 0 { "-infinity" } else { "infinity" }).to_owned(),
    }
}

pub fn show_date(micros: i64) -> String {
    civil(micros).map_or_else(|| "infinity".to_owned(), |at| show_day(at.date()))
}

fn show_day(date: Date) -> String {
    format!(
        "{:04}-{:02}-{:02}",
        date.year(),
        u8::from(date.month()),
        date.day()
    )
}

fn fraction(micros: i64) -> String {
    if micros == 0 {
        return String::new();
    }
    format!(".{micros:06}").trim_end_matches('0').to_owned()
}

/// As PostgreSQL prints an interval: `3 days 04:05:06.7`.
pub fn show_interval(micros: i64) -> String {
    let (days, rest) = (micros / DAY_MICROS, micros % DAY_MICROS);
    let mut shown = match days {
        0 => String::new(),
        1 | -1 => format!("{days} day"),
        _ => format!("{days} days"),
    };
    if rest != 0 || days == 0 {
        if !shown.is_empty() {
            shown.push(' ');
        }
        let sign = if rest < 0 { "-" } else { "" };
        let rest = rest.abs();
        let seconds = rest / SECOND_MICROS;
        shown.push_str(&format!(
            "{sign}{:02}:{:02}:{:02}{}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            fraction(rest % SECOND_MICROS)
        ));
    }
    shown
}

/// A time, some months and the rest later; the day is the month's last where it has no such day.
pub fn add(micros: i64, span: Span) -> Option<i64> {
    let at = civil(micros)?;
    let months = i64::from(at.year()) * 12 + i64::from(u8::from(at.month())) - 1 + span.months;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
    let (year, month) = (
        i32::try_from(year).ok()?,
        Month::try_from(u8::try_from(month).ok()?).ok()?,
    );
    let day = at.day().min(month.length(year));
    let date = Date::from_calendar_date(year, month, day).ok()?;
    let moved = date.midnight().assume_utc().unix_timestamp() * SECOND_MICROS;
    moved
        .checked_add(micros.rem_euclid(DAY_MICROS))?
        .checked_add(span.rest_micros)
}

/// `date_trunc`. `None`: no such unit.
pub fn trunc(unit: &str, micros: i64) -> Option<i64> {
    let plain = |size: i64| Some(micros.div_euclid(size) * size);
    match unit.to_ascii_lowercase().trim_end_matches('s') {
        "microsecond" => return Some(micros),
        "millisecond" => return plain(1000),
        "second" => return plain(SECOND_MICROS),
        "minute" => return plain(60 * SECOND_MICROS),
        "hour" => return plain(3600 * SECOND_MICROS),
        "day" => return plain(DAY_MICROS),
        _ => {}
    }
    let date = civil(micros)?.date();
    let (year, month) = (date.year(), u8::from(date.month()));
    let first = |year: i32, month: u8| Date::from_calendar_date(year, Month::try_from(month).ok()?, 1).ok();
    let date = match unit.to_ascii_lowercase().as_str() {
        "week" | "weeks" => {
            let back = i64::from(date.weekday().number_days_from_monday());
            return Some((micros.div_euclid(DAY_MICROS) - back) * DAY_MICROS);
        }
        "month" | "months" => first(year, month)?,
        "quarter" => first(year, (month - 1) / 3 * 3 + 1)?,
        "year" | "years" => first(year, 1)?,
        "decade" | "decades" => first(year.div_euclid(10) * 10, 1)?,
        "century" | "centuries" => first((year - 1).div_euclid(100) * 100 + 1, 1)?,
        _ => return None,
    };
    Some(date.midnight().assume_utc().unix_timestamp() * SECOND_MICROS)
}

/// `extract` from a time. `None`: no such field.
pub fn part(field: &str, micros: i64) -> Option<f64> {
    let at = civil(micros)?;
    let date = at.date();
    let in_minute = micros.rem_euclid(60 * SECOND_MICROS) as f64;
    Some(match field.to_ascii_lowercase().as_str() {
        "epoch" => micros as f64 / SECOND_MICROS as f64,
        "microsecond" | "microseconds" => in_minute,
        "millisecond" | "milliseconds" => in_minute / 1000.0,
        "second" | "seconds" => in_minute / SECOND_MICROS as f64,
        "minute" | "minutes" => f64::from(at.minute()),
        "hour" | "hours" => f64::from(at.hour()),
        "day" | "days" => f64::from(date.day()),
        "dow" => f64::from(date.weekday().number_days_from_sunday()),
        "isodow" => f64::from(date.weekday().number_from_monday()),
        "doy" => f64::from(date.ordinal()),
        "week" | "weeks" => f64::from(date.iso_week()),
        "isoyear" => f64::from(date.to_iso_week_date().0),
        "month" | "months" => f64::from(u8::from(date.month())),
        "quarter" => f64::from((u8::from(date.month()) - 1) / 3 + 1),
        "year" | "years" => f64::from(date.year()),
        "decade" | "decades" => f64::from(date.year().div_euclid(10)),
        "century" | "centuries" => f64::from((date.year() - 1).div_euclid(100) + 1),
        "timezone" | "timezone_hour" | "timezone_minute" => 0.0,
        _ => return None,
    })
}

/// `extract` from an interval. `None`: no such field.
pub fn interval_part(field: &str, micros: i64) -> Option<f64> {
    let in_minute = (micros % (60 * SECOND_MICROS)) as f64;
    Some(match field.to_ascii_lowercase().as_str() {
        "epoch" => micros as f64 / SECOND_MICROS as f64,
        "microsecond" | "microseconds" => in_minute,
        "millisecond" | "milliseconds" => in_minute / 1000.0,
        "second" | "seconds" => in_minute / SECOND_MICROS as f64,
        "minute" | "minutes" => (micros / (60 * SECOND_MICROS) % 60) as f64,
        "hour" | "hours" => (micros % DAY_MICROS / (3600 * SECOND_MICROS)) as f64,
        "day" | "days" => (micros / DAY_MICROS) as f64,
        "month" | "months" | "year" | "years" => 0.0,
        _ => return None,
    })
}

/// `to_char`, of the patterns that reports use; other letters stand for themselves.
pub fn to_char(micros: i64, pattern: &str) -> Option<String> {
    let at = civil(micros)?;
    let mut out = String::new();
    let mut rest = pattern;
    let month = at.month().to_string();
    let day = at.weekday().to_string();
    let patterns: [(&str, String); 20] = [
        ("YYYY", format!("{:04}", at.year())),
        ("YY", format!("{:02}", at.year() % 100)),
        ("MM", format!("{:02}", u8::from(at.month()))),
        ("Month", format!("{month:<9}")),
        ("Mon", month.chars().take(3).collect()),
        ("DDD", format!("{:03}", at.ordinal())),
        ("DD", format!("{:02}", at.day())),
        ("Day", format!("{day:<9}")),
        ("Dy", day.chars().take(3).collect()),
        ("HH24", format!("{:02}", at.hour())),
        ("HH12", format!("{:02}", (at.hour() + 11) % 12 + 1)),
        ("HH", format!("{:02}", (at.hour() + 11) % 12 + 1)),
        ("MI", format!("{:02}", at.minute())),
        ("SS", format!("{:02}", at.second())),
        ("MS", format!("{:03}", at.millisecond())),
        ("US", format!("{:06}", at.microsecond())),
        ("AM", (if at.hour() < 12 { "AM" } else { "PM" }).to_owned()),
        ("IW", format!("{:02}", at.date().iso_week())),
        ("TZ", "UTC".to_owned()),
        ("OF", "+00".to_owned()),
    ];
    while let Some(letter) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').unwrap_or(quoted.len());
            out.push_str(&quoted[..end]);
            rest = quoted.get(end + 1..).unwrap_or_default();
        } else if let Some((name, value)) = patterns.iter().find(|(name, _)| rest.starts_with(name)) {
            out.push_str(value);
            rest = &rest[name.len()..];
        } else {
            out.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        parse(text).expect("a time")
    }

    #[test]
    fn times_are_read_in_every_usual_spelling() {
        let same = [
            "2026-02-01T00:30:00Z",
            "2026-02-01 00:30:00+00",
            "2026-02-01 02:30+02",
            "2026-01-31 22:00:00.000-0230",
            "2026-02-01 00:30:00 UTC",
        ];
        for text in same {
            assert_eq!(show(at(text)), "2026-02-01 00:30:00+00", "{text}");
        }
        for wrong in [
            "",
            "2026-13-01",
            "2026-01-01 25:61",
            "yes",
            "2026-01-01 10:00 Mars",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn months_end_on_their_last_day() {
        let span = Span::parse("1 month 2 hours").expect("a span");
        assert_eq!(
            show(add(at("2026-01-31"), span).expect("in range")),
            "2026-02-28 02:00:00+00"
        );
    }

    #[test]
    fn spans_are_read_in_every_usual_spelling() {
        for text in [
            "1 day 90 minutes",
            "25:30:00",
            "P1DT1H30M",
            "1d 1h30m",
            "-25:30 ago",
        ] {
            assert_eq!(
                Span::parse(text).map(Span::micros),
                Some(91_800 * SECOND_MICROS),
                "{text}"
            );
        }
        assert_eq!(Span::parse("1 fortnight"), None);
        assert_eq!(show_interval(91_800 * SECOND_MICROS), "1 day 01:30:00");
    }

    #[test]
    fn times_are_cut_and_taken_apart() {
        let time = at("2026-08-19 17:45:12.5");
        let cut = |unit| trunc(unit, time).map(show);
        assert_eq!(cut("week"), Some("2026-08-17 00:00:00+00".to_owned()));
        assert_eq!(cut("quarter"), Some("2026-07-01 00:00:00+00".to_owned()));
        assert_eq!(cut("hour"), Some("2026-08-19 17:00:00+00".to_owned()));
        assert_eq!(cut("moon"), None);
        assert_eq!(part("second", time), Some(12.5));
        assert_eq!(part("dow", time), Some(3.0));
        assert_eq!(
            to_char(time, "DD Mon YYYY \"at\" HH24:MI"),
            Some("19 Aug 2026 at 17:45".to_owned())
        );
    }
}
