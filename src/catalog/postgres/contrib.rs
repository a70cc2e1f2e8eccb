//! C functions of well-known extensions: which of them do nothing but compute. Never says so of a function by its name
//! alone: the library and the symbol count, and only a superuser can bind a name to those.

#[rustfmt::skip]
mod generated;

/// Whether a C function of this library and symbol is known to do nothing but compute.
pub fn is_harmless(library: &str, symbol: &str) -> bool {
    // The name as extensions write it; a path of its own could be anybody's file.
    let Some(name) = library.strip_prefix("$libdir/") else {
        return false;
    };
    generated::HARMLESS
        .binary_search_by_key(&name, |(library, _)| library)
        .is_ok_and(|at| generated::HARMLESS[at].1.binary_search(&symbol).is_ok())
}

/// Whether a body in SQL is one of a well-known extension's own, which call the server's functions by qualified names.
pub fn is_harmless_body(body: &str) -> bool {
    generated::BODIES.binary_search(&body).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_as_the_look_up_needs_it() {
        assert!(generated::HARMLESS.is_sorted_by_key(|(library, _)| *library));
        assert!(generated::HARMLESS.iter().all(|(_, symbols)| symbols.is_sorted()));
        assert!(generated::BODIES.is_sorted() && !generated::BODIES.is_empty());
    }

    #[test]
    fn functions_that_run_sql_or_reach_outside_are_not_on_it() {
        assert!(is_harmless("$libdir/pg_trgm", "similarity"));
        for (library, symbol) in [
            ("pg_trgm", "similarity"),
            ("/tmp/pg_trgm", "similarity"),
            ("$libdir/pg_trgm", "set_limit"),
            ("$libdir/tablefunc", "crosstab"),
            ("$libdir/dblink", "dblink_exec"),
            ("$libdir/pgxml", "xpath_table"),
            ("$libdir/pg_surgery", "heap_force_kill"),
            ("$libdir/pg_stat_statements", "pg_stat_statements_reset_1_7"),
        ] {
            assert!(!is_harmless(library, symbol), "{library} {symbol}");
        }
    }
}
