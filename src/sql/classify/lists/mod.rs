//! Names known to be harmless, and built-in names known not to be: generated from a real server, looked up by exact name.
//! Never guesses: a name on no list is not known. Why lists and not volatility: STABLE functions that run SQL text exist,
//! and a label is only a promise. Read `tools/lists/held_functions.txt` next.

#[rustfmt::skip]
mod generated;
pub mod mysql;
pub mod shapes;

use crate::sql::action::Class;

/// What the lists say of a function of `pg_catalog`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Harmless,
    /// Does more than read: its class and what it does.
    Held(Class, &'static str),
    /// Built in, but not for use in statements.
    Other,
    /// No built-in function has this name.
    Absent,
}

pub fn function(name: &str) -> Known {
    if has(generated::HARMLESS_FUNCTIONS, name) {
        return Known::Harmless;
    }
    if let Ok(at) = generated::HELD_FUNCTIONS.binary_search_by_key(&name, |(held, _, _)| held) {
        let (_, class, does) = generated::HELD_FUNCTIONS[at];
        return Known::Held(class, does);
    }
    if has(generated::OTHER_FUNCTIONS, name) {
        Known::Other
    } else {
        Known::Absent
    }
}

/// What is known of a function that PostgreSQL 16 or newer has and 15 has not.
pub fn newer_function(name: &str) -> Known {
    if has(generated::NEWER_FUNCTIONS, name) {
        Known::Harmless
    } else {
        Known::Absent
    }
}

pub fn is_information_function(name: &str) -> bool {
    has(generated::INFORMATION_FUNCTIONS, name)
}

pub fn is_type(name: &str) -> bool {
    has(generated::TYPES, name)
}

pub fn is_information_domain(name: &str) -> bool {
    has(generated::INFORMATION_DOMAINS, name)
}

pub fn is_operator(name: &str) -> bool {
    has(generated::OPERATORS, name)
}

/// An operator class of `pg_catalog` for this access method.
pub fn is_operator_class(method: &str, name: &str) -> bool {
    has(generated::OPERATOR_CLASSES, &format!("{method} {name}"))
}

/// An access method of tables or indexes that every server has.
pub fn is_access_method(name: &str) -> bool {
    ["brin", "btree", "gin", "gist", "hash", "heap", "spgist"].contains(&name)
}

/// A setting of the session that any value leaves harmless; `name` in lower case.
pub fn is_harmless_setting(name: &str) -> bool {
    has(generated::SETTINGS, name)
}

fn has(list: &[&str], name: &str) -> bool {
    list.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_is_sorted_as_the_look_up_needs_it() {
        let lists = [
            generated::HARMLESS_FUNCTIONS,
            generated::NEWER_FUNCTIONS,
            generated::OTHER_FUNCTIONS,
            generated::INFORMATION_FUNCTIONS,
            generated::TYPES,
            generated::INFORMATION_DOMAINS,
            generated::OPERATORS,
            generated::SETTINGS,
        ];
        assert!(lists.iter().all(|list| list.is_sorted() && !list.is_empty()));
        assert!(generated::HELD_FUNCTIONS.is_sorted_by_key(|(name, _, _)| *name));
    }

    #[test]
    fn no_function_is_both_harmless_and_held() {
        for (name, _, _) in generated::HELD_FUNCTIONS {
            assert!(!has(generated::HARMLESS_FUNCTIONS, name), "{name}");
            assert!(!has(generated::NEWER_FUNCTIONS, name), "{name}");
        }
    }
}
