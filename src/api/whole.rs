//! Reads whole numbers as JSON Schema has them: 15, 15.0 and 1.5e1 are one integer. Never rounds.
//! Read `read.rs` for the rest of what a call brings.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// Above it some whole numbers have no float of their own: 2 to the 53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A whole number that is there.
pub fn whole<'de, D: Deserializer<'de>, N: TryFrom<u64>>(from: D) -> Result<N, D::Error> {
    from.deserialize_any(Whole(PhantomData))
}

/// A whole number that may be left out.
pub fn maybe_whole<'de, D: Deserializer<'de>, N: TryFrom<u64>>(from: D) -> Result<Option<N>, D::Error> {
    from.deserialize_option(MaybeWhole(PhantomData))
}

struct Whole<N>(PhantomData<N>);

struct MaybeWhole<N>(PhantomData<N>);

impl<N: TryFrom<u64>> Visitor<'_> for Whole<N> {
    type Value = N;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, not below 0")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<N, E> {
        match N::try_from(number) {
            Ok(fits) => Ok(fits),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<N, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<N, E> {
        if number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&number) {
            self.visit_u64(number as u64)
        } else {
            Err(E::invalid_value(Unexpected::Float(number), &self))
        }
    }

    /// In a query everything is text.
    fn visit_str<E: Error>(self, text: &str) -> Result<N, E> {
        match (text.parse::<u64>(), text.parse::<f64>()) {
            (Ok(number), _) => self.visit_u64(number),
            (Err(_), Ok(number)) => self.visit_f64(number),
            (Err(_), Err(_)) => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

impl<'de, N: TryFrom<u64>> Visitor<'de> for MaybeWhole<N> {
    type Value = Option<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, not below 0, or nothing")
    }

    fn visit_none<E: Error>(self) -> Result<Option<N>, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<N>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Option<N>, D::Error> {
        whole(from).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Numbers {
        #[serde(deserialize_with = "whole")]
        uses: u32,
        #[serde(default, deserialize_with = "maybe_whole")]
        rows: Option<u64>,
    }

    fn read(text: &str) -> Option<(u32, Option<u64>)> {
        let numbers: Numbers = serde_json::from_str(text).ok()?;
        Some((numbers.uses, numbers.rows))
    }

    #[test]
    fn a_whole_number_is_read_however_it_is_written_and_nothing_is_rounded() {
        for text in ["15", "15.0", "1.5e1", "150e-1"] {
            let read = read(&format!("{{\"uses\":{text},\"rows\":{text}}}"));
            assert_eq!(read, Some((15, Some(15))), "{text}");
        }
        assert_eq!(read(r#"{"uses":0.0}"#), Some((0, None)));
        assert_eq!(read(r#"{"uses":1,"rows":null}"#), Some((1, None)));
        assert_eq!(
            read(r#"{"uses":1,"rows":18446744073709551615}"#),
            Some((1, Some(u64::MAX)))
        );
        for text in [
            "15.5",
            "-1",
            "-1.0",
            "4294967296",
            "4294967296.0",
            "1e19",
            "1e30",
            "true",
            "\"x\"",
            "null",
            "[]",
            "NaN",
        ] {
            assert_eq!(read(&format!("{{\"uses\":{text}}}")), None, "{text}");
        }
        // 2 to the 53 and one more are the same float.
        assert_eq!(read(r#"{"uses":1,"rows":9007199254740994.0}"#), None);
    }
}
