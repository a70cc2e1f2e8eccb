//! Names that MySQL and MariaDB know to be their own, and what they do: looked up by name, kind of server and version.
//! Never guesses: a name that only one server has is a stored function on the other. Read `tools/lists/mysql_held.txt` next.

#[rustfmt::skip]
#[path = "mysql_generated.rs"]
mod generated;

use crate::sql::action::Class;
use crate::sql::mysql_state::{MysqlState, ServerKind};

/// Name, since which MySQL and since which MariaDB it is built in, and with how many arguments it may be called.
type Function = (
    &'static str,
    Option<u32>,
    Option<u32>,
    std::ops::RangeInclusive<usize>,
);

/// What the lists say of a function that is called without a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Harmless,
    /// Does more than read: its class and what it does.
    Held(Class, &'static str),
    /// Built in on one server only, or only since a version that may not be this one.
    Elsewhere,
    Absent,
}

/// A server of unknown version has what these have; older ones have what is said of them.
const MYSQL_OLDEST: u32 = 80_000;
const MARIADB_OLDEST: u32 = 100_600;

/// What `name(…)` with that many arguments calls; `name` in lower case. `windowed`: OVER follows, behind which MySQL takes its own functions alone.
pub fn function(name: &str, arguments: usize, windowed: bool, state: &MysqlState) -> Known {
    if let Ok(at) = generated::HELD_FUNCTIONS.binary_search_by_key(&name, |(held, _, _)| held) {
        let (_, class, does) = generated::HELD_FUNCTIONS[at];
        return Known::Held(class, does);
    }
    let Ok(at) = generated::FUNCTIONS.binary_search_by_key(&name, |(known, _, _, _)| known) else {
        return Known::Absent;
    };
    let (_, mysql, mariadb, takes) = &generated::FUNCTIONS[at];
    let has = |since: Option<u32>, oldest: u32| {
        let version = match state.kind {
            ServerKind::Unknown => oldest,
            ServerKind::Mysql | ServerKind::Mariadb => state.version.unwrap_or(oldest),
        };
        since.is_some_and(|since| since <= version)
    };
    let on_mysql = windowed || has(*mysql, MYSQL_OLDEST);
    let on_mariadb = has(*mariadb, MARIADB_OLDEST) && takes.contains(&arguments);
    let own = match state.kind {
        ServerKind::Mysql => on_mysql,
        ServerKind::Mariadb => on_mariadb,
        ServerKind::Unknown => on_mysql && on_mariadb,
    };
    if own { Known::Harmless } else { Known::Elsewhere }
}

/// Built in on some server, so that a word before a parenthesis is a call and nothing else.
pub fn is_function(name: &str) -> bool {
    generated::FUNCTIONS
        .binary_search_by_key(&name, |(known, _, _, _)| known)
        .is_ok()
}

/// A system variable of the session that any plain value leaves harmless; `name` in lower case.
pub fn is_harmless_setting(name: &str) -> bool {
    generated::SETTINGS.binary_search(&name).is_ok()
}

/// A relation of a system schema that anybody may read; both in lower case.
pub fn is_open_relation(schema: &str, name: &str) -> bool {
    generated::RELATIONS
        .binary_search_by(|known| {
            let (known_schema, known_name) = known.split_once('.').unwrap_or(("", known));
            known_schema.cmp(schema).then_with(|| known_name.cmp(name))
        })
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(kind: ServerKind, version: Option<u32>) -> MysqlState {
        MysqlState {
            kind,
            version,
            ..MysqlState::default_mysql()
        }
    }

    #[test]
    fn every_list_is_sorted_as_the_look_up_needs_it() {
        assert!(generated::FUNCTIONS.is_sorted_by_key(|(name, _, _, _)| *name));
        assert!(generated::HELD_FUNCTIONS.is_sorted_by_key(|(name, _, _)| *name));
        assert!(generated::SETTINGS.is_sorted());
        assert!(generated::RELATIONS.iter().all(|known| {
            let (schema, name) = known.split_once('.').unwrap_or_default();
            is_open_relation(schema, name)
        }));
    }

    #[test]
    fn a_name_of_one_server_is_somebody_s_function_on_the_other() {
        let unknown = state(ServerKind::Unknown, None);
        let mysql = state(ServerKind::Mysql, None);
        let mariadb = state(ServerKind::Mariadb, None);
        assert_eq!(function("concat", 1, false, &unknown), Known::Harmless);
        assert_eq!(function("nvl2", 1, false, &unknown), Known::Elsewhere);
        assert_eq!(function("nvl2", 1, false, &mysql), Known::Elsewhere);
        assert_eq!(function("nvl2", 1, false, &mariadb), Known::Harmless);
        assert_eq!(function("any_value", 1, false, &mariadb), Known::Elsewhere);
        assert_eq!(function("any_value", 1, false, &mysql), Known::Harmless);
        assert_eq!(function("touch", 1, false, &mysql), Known::Absent);
    }

    #[test]
    fn a_name_of_a_newer_version_needs_that_version() {
        let mariadb = |version| state(ServerKind::Mariadb, version);
        assert_eq!(function("uuid_v7", 1, false, &mariadb(None)), Known::Elsewhere);
        assert_eq!(
            function("uuid_v7", 1, false, &mariadb(Some(101_119))),
            Known::Elsewhere
        );
        assert_eq!(
            function("uuid_v7", 1, false, &mariadb(Some(110_806))),
            Known::Harmless
        );
    }

    #[test]
    fn an_old_mysql_has_what_it_has_always_had() {
        let mysql = |version| state(ServerKind::Mysql, version);
        assert_eq!(
            function("concat", 1, false, &mysql(Some(50_624))),
            Known::Harmless
        );
        assert_eq!(
            function("json_extract", 2, false, &mysql(Some(50_624))),
            Known::Elsewhere
        );
        assert_eq!(function("json_extract", 2, false, &mysql(None)), Known::Harmless);
        assert_eq!(
            function("concat", 1, false, &mysql(Some(50_500))),
            Known::Elsewhere
        );
    }

    #[test]
    fn some_names_are_the_server_s_own_with_some_arguments_only() {
        let any = state(ServerKind::Unknown, None);
        assert_eq!(function("point", 2, false, &any), Known::Harmless);
        assert_eq!(function("point", 1, false, &any), Known::Elsewhere);
        assert_eq!(function("row", 2, false, &any), Known::Harmless);
    }

    #[test]
    fn behind_over_mysql_takes_its_own_functions_alone() {
        let unknown = state(ServerKind::Unknown, None);
        assert_eq!(function("median", 1, false, &unknown), Known::Elsewhere);
        assert_eq!(function("median", 1, true, &unknown), Known::Harmless);
        assert_eq!(function("touch", 1, true, &unknown), Known::Absent);
    }

    #[test]
    fn what_does_more_than_read_is_held_on_every_server() {
        let any = state(ServerKind::Unknown, None);
        assert!(matches!(
            function("sleep", 1, false, &any),
            Known::Held(Class::Admin, _)
        ));
        assert!(matches!(
            function("get_lock", 1, false, &any),
            Known::Held(Class::Session, _)
        ));
    }
}
