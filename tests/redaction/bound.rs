//! What is said of where values go, for both grammars: `-` is not known, `#` a number of rows, else columns.

use countersign::sql::IN_PLACE_BYTES_MAX;
use countersign::sql::bound::{Bound, GoesTo, bound_mysql, bound_postgres};
use countersign::sql::mysql_state::MysqlState;

fn told(bound: Option<Bound>, count: u16) -> String {
    let Some(bound) = bound else {
        return "nothing".to_owned();
    };
    let words: Vec<String> = (1..=count)
        .map(|number| match bound.goes_to(number) {
            GoesTo::Unknown => "-".to_owned(),
            GoesTo::Count => "#".to_owned(),
            GoesTo::Columns(columns) => columns.into_iter().collect::<Vec<_>>().join("+"),
        })
        .collect();
    words.join(" ")
}

fn postgres(text: &str) -> String {
    let count = (1..=9)
        .filter(|number| text.contains(&format!("${number}")))
        .count();
    told(bound_postgres(text.as_bytes()), count as u16)
}

fn mysql(text: &str) -> String {
    let count = text.matches('?').count();
    told(
        bound_mysql(text.as_bytes(), &MysqlState::default_mysql()),
        count as u16,
    )
}

/// Alike in both dialects; `?` is `$1`, `$2` … for PostgreSQL.
#[test]
fn a_value_goes_to_the_columns_that_it_stands_beside() {
    for (text, goes_to) in [
        ("SELECT id FROM c WHERE ssn = ?", "ssn"),
        ("SELECT id FROM c WHERE ? = c.ssn AND NOT (name <> ?)", "ssn name"),
        (
            "SELECT id FROM a.c AS x WHERE x.SSN = ? OR x.name LIKE ?",
            "ssn name",
        ),
        (
            "SELECT id FROM c WHERE ssn IN (?, ?) LIMIT ? OFFSET ?",
            "ssn ssn # #",
        ),
        ("SELECT id FROM c WHERE born BETWEEN ? AND ?", "born born"),
        (
            "SELECT id FROM c WHERE CAST(ssn AS CHAR) = CAST(? AS CHAR)",
            "ssn",
        ),
        (
            "SELECT id FROM c WHERE id = ? AND note = ? AND id = ?",
            "id note id",
        ),
        (
            "SELECT id FROM c WHERE note IS NULL AND ? IS NULL OR note = ?",
            "- note",
        ),
        (
            "SELECT c.id FROM c JOIN o ON o.c = c.id AND o.kind = ? WHERE c.note = ?",
            "kind note",
        ),
        ("SELECT id FROM c WHERE (a, b) = (?, ?)", "a+b a+b"),
        (
            "SELECT id FROM c WHERE a = ? UNION SELECT id FROM d WHERE b = ?",
            "a b",
        ),
        (
            "SELECT id FROM c WHERE EXISTS (SELECT * FROM o WHERE o.c = c.id AND o.note = ?)",
            "note",
        ),
        ("INSERT INTO c (id, ssn) VALUES (?, ?), (?, ?)", "id ssn id ssn"),
        (
            "INSERT INTO c (id, ssn) SELECT k, ? FROM s WHERE k = ?",
            "ssn id+k",
        ),
        ("UPDATE c SET ssn = ?, note = ? WHERE id = ?", "ssn note id"),
        ("DELETE FROM c WHERE ssn = ? AND id > ?", "ssn id"),
    ] {
        assert_eq!(mysql(text), goes_to, "{text}");
        let mut numbered = String::new();
        for (number, piece) in text.split('?').enumerate() {
            if number > 0 {
                numbered.push_str(&format!("${number}"));
            }
            numbered.push_str(piece);
        }
        assert_eq!(postgres(&numbered), goes_to, "{numbered}");
    }
}

#[test]
fn what_is_equal_to_a_column_may_hold_what_it_holds() {
    // Whoever joins a column with another one may look for its value in the other.
    for (text, goes_to) in [
        ("SELECT 1 FROM s JOIN c ON s.k = c.ssn WHERE s.k = ?", "k+ssn"),
        (
            "SELECT 1 FROM s, c WHERE s.k = c.ssn AND s.k = s.alt AND s.alt = ?",
            "alt+k+ssn",
        ),
        ("UPDATE c SET ssn = note WHERE note = ?", "note+ssn"),
        (
            "SELECT 1 FROM s WHERE k IN (SELECT ssn FROM c) AND k = ?",
            "k+ssn",
        ),
        (
            "SELECT 1 FROM s WHERE lower(k) = (SELECT max(ssn) FROM c) AND k = ?",
            "k+ssn",
        ),
        (
            "SELECT 1 FROM s JOIN c ON lower(s.k) = lower(c.ssn) WHERE s.k = ?",
            "k+ssn",
        ),
    ] {
        assert_eq!(mysql(text), goes_to, "{text}");
        assert_eq!(postgres(&text.replace('?', "$1")), goes_to, "{text}");
    }
}

#[test]
fn a_value_that_stands_beside_anything_else_is_not_known() {
    for text in [
        "SELECT ? FROM c",
        "SELECT id FROM c WHERE COALESCE(?, ssn) = note",
        "SELECT id FROM c WHERE note = lower(?)",
        "SELECT id FROM c WHERE lower(note) = ?",
        "SELECT id FROM c WHERE CASE WHEN id = 1 THEN ssn ELSE note END = ?",
        "SELECT id FROM c WHERE ssn = (SELECT note FROM d WHERE x = lower(?))",
        "SELECT id FROM c WHERE ? = (SELECT ssn FROM c WHERE id = 1)",
        "SELECT id FROM c WHERE ? IN (SELECT ssn FROM c)",
        "SELECT id FROM c WHERE ? = 'x'",
        "SELECT id FROM c WHERE ?",
        "SELECT id FROM c ORDER BY ?",
        "SELECT id FROM c GROUP BY id HAVING max(ssn) = ?",
        "SELECT id FROM c WHERE id + ? = 5",
        "SELECT id FROM c LIMIT 1 + ?",
        "INSERT INTO c VALUES (?)",
        "INSERT INTO c (ssn) VALUES (CONCAT('a', ?))",
        "UPDATE c SET note = CONCAT(note, ?)",
        // In one place it is known, in the other it is not.
        "SELECT id FROM c WHERE id = ?",
    ] {
        let (numbered, expected) = match text.ends_with("WHERE id = ?") {
            true => ("SELECT $1 FROM c WHERE id = $1".to_owned(), "-"),
            false => (text.replace('?', "$1"), "-"),
        };
        assert_eq!(postgres(&numbered), expected, "{numbered}");
        if !text.ends_with("WHERE id = ?") && !text.contains("1 + ?") {
            assert_eq!(mysql(text), "-", "{text}");
        }
    }
}

#[test]
fn nothing_is_known_where_columns_may_come_under_other_names() {
    for text in [
        "SELECT * FROM (SELECT ssn AS x FROM c) q WHERE x = ?",
        "WITH q AS (SELECT ssn AS x FROM c) SELECT * FROM q WHERE x = ?",
        "SELECT id FROM c WHERE id IN (SELECT x FROM (SELECT ssn AS x FROM c) q WHERE x = ?)",
        "SELECT id FROM c WHERE id = f((SELECT x FROM (SELECT ssn AS x FROM c) q WHERE x = ?))",
        "SELECT 1 FROM s WHERE k IN (SELECT * FROM c) AND k = ?",
        "INSERT INTO c (id, ssn) SELECT * FROM s WHERE k = ?",
        "INSERT INTO c SELECT k FROM s WHERE k = ?",
        "SELECT id FROM c WHERE a = ?; SELECT 1",
        "CALL p(?)",
        "SELECT id FROM c WHERE a = ? AND",
        // They compare rows of one query with rows of the other.
        "SELECT k FROM s WHERE k = ? INTERSECT SELECT ssn FROM c",
        "SELECT k FROM s WHERE k = ? EXCEPT SELECT ssn FROM c",
        "SELECT k FROM s WHERE k = ? UNION (SELECT ssn FROM c INTERSECT SELECT k FROM s)",
    ] {
        assert_eq!(mysql(text), "nothing", "{text}");
        assert_eq!(postgres(&text.replace('?', "$1")), "nothing", "{text}");
    }
}

#[test]
fn what_only_postgresql_has_is_read_by_its_own_grammar() {
    for (text, goes_to) in [
        ("SELECT id FROM c WHERE ssn = ANY($1)", "ssn"),
        (
            "SELECT id FROM c WHERE ssn = ANY(ARRAY[$1, $2]::text[])",
            "ssn ssn",
        ),
        ("SELECT id FROM c WHERE \"Ssn\" ILIKE $1::text", "ssn"),
        ("SELECT id FROM c WHERE ssn IS DISTINCT FROM $1", "ssn"),
        ("SELECT id FROM c WHERE $1::text IS NULL OR note = $1", "note"),
        ("SELECT id FROM c FETCH FIRST $1 ROWS ONLY", "#"),
        ("UPDATE c SET (ssn, note) = ($1, $2) WHERE id = $3", "ssn note id"),
        (
            "INSERT INTO c (id, ssn) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET ssn = excluded.ssn, note = $3 \
             WHERE c.note <> $4 RETURNING *",
            "id ssn note note",
        ),
        (
            "PREPARE p (int, text) AS INSERT INTO c (id, ssn) VALUES ($1, $2)",
            "id ssn",
        ),
        ("EXPLAIN SELECT 1 FROM c WHERE ssn = $1", "ssn"),
        // A row as one value, by the name of its table or by its alias.
        ("SELECT id FROM c WHERE c = $1", "-"),
        ("SELECT id FROM c AS x WHERE x = $1", "-"),
        ("SELECT id FROM c WHERE data ->> 'ssn' = $1", "-"),
        ("SELECT id FROM c WHERE note || $1 = 'x'", "-"),
        ("SELECT id FROM c AS x (a, b) WHERE a = $1", "nothing"),
        ("SELECT id FROM c, generate_series(1, $1) AS n", "nothing"),
        (
            "SELECT id FROM c, unnest($1::text[]) AS u (ssn) WHERE c.ssn = u.ssn",
            "nothing",
        ),
        (
            "MERGE INTO c USING s ON c.id = s.id WHEN MATCHED THEN UPDATE SET ssn = $1",
            "nothing",
        ),
        ("SELECT id INTO t FROM c WHERE note = $1", "nothing"),
        ("EXECUTE p ($1)", "nothing"),
    ] {
        assert_eq!(postgres(text), goes_to, "{text}");
    }
}

#[test]
fn what_only_mysql_has_is_read_by_its_own_words() {
    for (text, goes_to) in [
        (
            "SELECT id FROM `c` WHERE `SSN` = ? AND `c`.`Note` <=> ?",
            "ssn note",
        ),
        ("SELECT id FROM c LIMIT ?, ?", "# #"),
        ("INSERT INTO c SET id = ?, ssn = ?", "id ssn"),
        (
            "INSERT INTO c (id, ssn) VALUES (?, ?) ON DUPLICATE KEY UPDATE note = ?, ssn = VALUES(ssn)",
            "id ssn note",
        ),
        ("REPLACE INTO c (id, ssn) VALUES (?, ?)", "id ssn"),
        (
            "UPDATE c JOIN o ON o.c = c.id SET c.ssn = ? WHERE o.note = ? LIMIT 1",
            "ssn note",
        ),
        ("DELETE c FROM c JOIN o ON o.c = c.id WHERE o.note = ?", "note"),
        ("SELECT id FROM c WHERE note = \"a?b\" AND id = ?", "id -"),
        ("SELECT id FROM c WHERE note = ? -- ?\n AND id = 1", "note -"),
        ("SELECT id FROM c WHERE note REGEXP ?", "note"),
        // A user variable may hold anything.
        ("SELECT id FROM c WHERE note = ? AND note = @a", "@a+note"),
        ("SELECT id FROM c WHERE (note, ?) = (@a, 1)", "-"),
        ("SELECT id FROM c WHERE MATCH (note) AGAINST (?)", "-"),
        // HAVING calls a result by its alias, so do subqueries; and one without an alias by its own text.
        ("SELECT ssn AS x FROM c HAVING x = ?", "ssn+x"),
        ("SELECT UPPER(ssn) x FROM c HAVING id = 1 AND X LIKE ?", "ssn+x"),
        ("SELECT ssn AS x FROM c WHERE id = ?", "id"),
        (
            "SELECT ssn AS x FROM c ORDER BY EXISTS (SELECT 1 FROM d WHERE d.k = x AND k = ?)",
            "-",
        ),
        (
            "SELECT ssn AS x FROM c HAVING EXISTS (SELECT 1 FROM d WHERE k = x AND k = ?)",
            "k+ssn+x",
        ),
        ("INSERT INTO d (k) SELECT ssn AS x FROM c HAVING x = ?", "k+ssn+x"),
        ("SELECT UPPER(ssn) FROM c HAVING `UPPER(ssn)` = ?", "nothing"),
        (
            "SELECT id, COUNT(*) AS n FROM c WHERE note = ? GROUP BY id HAVING n > ?",
            "note n",
        ),
    ] {
        assert_eq!(mysql(text), goes_to, "{text}");
    }
}

#[test]
fn a_text_longer_than_one_read_in_place_is_not_read() {
    let text = format!(
        "SELECT id FROM c WHERE ssn = $1 /*{}*/",
        "x".repeat(IN_PLACE_BYTES_MAX)
    );
    assert_eq!(bound_postgres(text.as_bytes()), None);
    assert_eq!(bound_mysql(text.as_bytes(), &MysqlState::default_mysql()), None);
}
