//! `search_path` as the server reads it: its text cut into names, and the schemas that are searched in order.
//! Never guesses: a text that the server would refuse has no names. Read `view.rs` next.

/// Bytes that the server keeps of a name.
const NAME_BYTES_MAX: usize = 63;

/// The names in a `search_path` as SHOW prints it; `None` if it is no list of names.
/// Source: PostgreSQL source, utils/adt/varlena.c, SplitIdentifierString
pub fn names(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = trimmed(text);
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        let (name, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_name(quoted)?,
            None => plain_name(rest)?,
        };
        names.push(cut(name));
        rest = trimmed(behind);
        if rest.is_empty() {
            return Some(names);
        }
        rest = trimmed(rest.strip_prefix(',')?);
    }
}

/// The server's blanks only: another blank is part of a name.
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c'])
}

fn quoted_name(mut rest: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    loop {
        let (piece, behind) = rest.split_once('"')?;
        name.push_str(piece);
        match behind.strip_prefix('"') {
            Some(behind) => {
                name.push('"');
                rest = behind;
            }
            None => return Some((name, behind)),
        }
    }
}

fn plain_name(rest: &str) -> Option<(String, &str)> {
    let blank_or_comma = |letter: char| letter == ',' || trimmed(&letter.to_string()).is_empty();
    let end = rest.find(blank_or_comma).unwrap_or(rest.len());
    let (name, behind) = rest.split_at(end);
    // The server folds other letters only in single-byte encodings, of which UTF-8 is none.
    (!name.is_empty()).then(|| (name.to_ascii_lowercase(), behind))
}

fn cut(mut name: String) -> String {
    if name.len() > NAME_BYTES_MAX {
        let mut end = NAME_BYTES_MAX;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        name.truncate(end);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cut_as_the_server_cuts_it() {
        let cases: [(&str, &[&str]); 6] = [
            ("", &[]),
            ("\"$user\", public", &["$user", "public"]),
            (" App ,\"App\"", &["app", "App"]),
            ("\"a,b\",\"c\"\"d\"", &["a,b", "c\"d"]),
            ("\u{a0}x", &["\u{a0}x"]),
            ("\"\"", &[""]),
        ];
        for (text, expected) in cases {
            assert_eq!(
                names(text).as_deref(),
                Some(expected.map_to_strings().as_slice()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_text_that_is_no_list_has_no_names() {
        for text in ["a,", ",a", "\"a", "a b", "\"a\"b", "a,,b"] {
            assert_eq!(names(text), None, "{text}");
        }
    }

    trait ToStrings {
        fn map_to_strings(&self) -> Vec<String>;
    }

    impl ToStrings for [&str] {
        fn map_to_strings(&self) -> Vec<String> {
            self.iter().map(ToString::to_string).collect()
        }
    }
}
