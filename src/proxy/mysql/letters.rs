//! In which character set a client writes, by the collation that it names at log-in. Never asks the server: `session.rs` asks
//! which one it has really taken. Read `login.rs` next.

use mysql_common::collations::{Collation, CollationId};

use crate::sql::mysql_state::Charset;

/// The collations that stand for a character set where one byte must do.
const UTF8MB4_GENERAL_CI: u8 = 45;
const UTF8MB3_GENERAL_CI: u8 = 33;

/// MariaDB numbers its newer collations from here, 256 for each of utf8mb3, utf8mb4, ucs2, utf16 and utf32.
const UCA_1400: u16 = 2048;
/// MariaDB's collations that do not pad: the number of the one that does, and this.
const NO_PAD: u16 = 1024;

/// How a client writes names and statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letters {
    pub charset: Charset,
    /// As the server is told.
    pub collation: u8,
}

impl Letters {
    /// Errors: the name of a character set in which a byte of a letter may be a quote, or the number of an unknown one.
    pub fn of(collation: u16) -> Result<Self, String> {
        let charset = charset(collation).ok_or_else(|| format!("of collation {collation}"))?;
        let family = match Charset::of(charset) {
            Charset::Other => return Err(charset.to_owned()),
            family => family,
        };
        // A log-in has one byte for it; the session asks what became of it.
        let default = match family {
            Charset::Utf8mb3 => UTF8MB3_GENERAL_CI,
            Charset::Utf8mb4 | Charset::Ascii | Charset::Other => UTF8MB4_GENERAL_CI,
        };
        Ok(Self {
            charset: family,
            collation: u8::try_from(collation).unwrap_or(default),
        })
    }

    /// Whether the server reads a name as it stands here. Names have no characters of four bytes at any server, and one
    /// that has is read as another.
    pub fn is_exact(self, name: &str) -> bool {
        match self.charset {
            Charset::Utf8mb4 | Charset::Utf8mb3 => name.chars().all(|letter| letter.len_utf8() < 4),
            Charset::Ascii => name.is_ascii(),
            Charset::Other => false,
        }
    }
}

fn charset(collation: u16) -> Option<&'static str> {
    let known = |number: u16| match CollationId::from(number) {
        CollationId::UNKNOWN_COLLATION_ID => None,
        id => Some(Collation::resolve(id).charset),
    };
    match collation {
        0..NO_PAD => known(collation),
        NO_PAD..UCA_1400 => known(collation - NO_PAD),
        UCA_1400.. => ["utf8mb3", "utf8mb4"]
            .get(usize::from((collation - UCA_1400) >> 8))
            .copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn character_sets_in_which_a_quote_may_hide_are_refused_by_name() {
        let charset = |collation| Letters::of(collation).map(|letters| letters.charset);
        for utf8mb4 in [45, 46, 224, 255, 309, 1024 + 45, 2304, 2559] {
            assert_eq!(charset(utf8mb4), Ok(Charset::Utf8mb4), "{utf8mb4}");
        }
        for utf8mb3 in [33, 83, 192, 1024 + 33, 2048] {
            assert_eq!(charset(utf8mb3), Ok(Charset::Utf8mb3), "{utf8mb3}");
        }
        for one_byte in [8, 5, 11, 65] {
            assert_eq!(charset(one_byte), Ok(Charset::Ascii), "{one_byte}");
        }
        for (other, name) in [
            (28, "gbk"),
            (13, "sjis"),
            (1, "big5"),
            (95, "cp932"),
            (35, "ucs2"),
            (63, "binary"),
        ] {
            assert_eq!(charset(other), Err(name.to_owned()));
        }
        for unknown in [0, 600, 2560, u16::MAX] {
            assert!(charset(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn a_name_must_be_the_same_to_the_server() {
        let letters = |collation| Letters::of(collation).expect("served");
        assert!(letters(45).is_exact("caf\u{e9}") && !letters(45).is_exact("\u{1f600}"));
        assert!(letters(8).is_exact("cafe") && !letters(8).is_exact("caf\u{e9}"));
        assert_eq!(
            (
                letters(2304).collation,
                letters(2048).collation,
                letters(224).collation
            ),
            (45, 33, 224)
        );
    }
}
