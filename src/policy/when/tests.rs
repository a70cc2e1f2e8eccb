use std::collections::BTreeSet;
use std::net::IpAddr;

use super::*;
use crate::clock::Timestamp;
use crate::identity::principal::{Peer, PersonName, PrincipalName, Profile, SessionId};
use crate::sql::action::{Action, Breadth, Class, Steps, TableName};

fn action() -> Action {
    let table = |schema: &str, name: &str| TableName {
        schema: Some(schema.to_owned()),
        name: name.to_owned(),
    };
    Action {
        class: Class::Read,
        breadth: Breadth::Bounded,
        verb: "select".to_owned(),
        tables: [table("app", "orders"), table("app", "items")].into(),
        columns: ["id".to_owned(), "email".to_owned()].into(),
        functions: BTreeSet::new(),
        behind: [table("hr", "people")].into(),
        rows: None,
        reasons: Vec::new(),
        effects: Vec::new(),
        span: 0..0,
        secrets: Vec::new(),
        parse_is_safe: true,
        copies_in: false,
        cancels: None,
        commits: false,
        steps: Steps::default(),
        reaches_unnamed: false,
    }
}

fn peer() -> Peer {
    Peer {
        principal: PrincipalName::parse("reporter").expect("a name"),
        owner: PersonName::parse("sam").expect("a name"),
        profile: Profile::Standard,
        labels: [("team".to_owned(), "billing".to_owned())].into(),
        session: SessionId(1),
        source: "::ffff:10.1.2.3".parse::<IpAddr>().expect("an address"),
        upstream: "main".to_owned(),
        database: "shop".to_owned(),
        database_user: "app".to_owned(),
    }
}

fn asked(text: &str, action: &Action) -> Result<bool, NoAnswer> {
    let condition = Condition::read(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    let facts = Facts {
        action,
        peer: &peer(),
        // A Sunday, and in Berlin already a Monday.
        now: Timestamp::parse("2026-11-22T23:30:00Z").expect("a time"),
        statements: 2,
    };
    condition.holds(&facts, &Budget::default())
}

#[test]
fn every_fact_has_its_value() {
    for text in [
        "class == 'read' && verb == \"select\" && bounded",
        "size(tables) == 2 && 'app.orders' in tables && !('orders' in tables)",
        "tables.all(table, table.startsWith('app.'))",
        "tables.exists(t, t.endsWith('.items')) && tables.exists_one(t, t.contains('ord'))",
        "tables.filter(t, t.startsWith('app.o')).size() == 1",
        "tables.filter(t, t.startsWith('app.')).all(t, t != 'app.secrets')",
        "behind == ['hr.people'] && functions == []",
        "'email' in columns && ['id', 'email'].all(column, column in columns)",
        "database == 'shop' && database_user == 'app' && principal == 'reporter' && owner == 'sam'",
        "labels.team == 'billing' && labels['team'] == 'billing' && has(labels.team) && !has(labels.env)",
        "'team' in labels && size(labels) == 1 && labels.exists(name, name == 'team')",
        "source == '10.1.2.3'",
        "now > timestamp('2026-11-22T00:00:00Z') && now - timestamp('2026-11-22T00:00:00Z') < duration('24h')",
        "now.getDayOfWeek() == 0 && now.getDayOfWeek('Europe/Berlin') == 1 && now.getHours('Europe/Berlin') == 0",
        "rows == null && statements == 2",
        "(rows != null && rows > 100) == false",
        "{'reporter': 1}[principal] == 1",
        "!tables.exists(t, t.startsWith(labels.team + '.')) && 'app.' + 'orders' in tables",
        "(statements > 1 ? 'many' : 'one') == 'many'",
        "-statements + 3 * 2 - 4 / 2 % 3 == 2",
    ] {
        assert_eq!(asked(text, &action()), Ok(true), "{text}");
    }
    let known = Action {
        rows: Some(101),
        ..action()
    };
    assert_eq!(asked("rows != null && rows > 100", &known), Ok(true));
    let huge = Action {
        rows: Some(u64::MAX),
        ..action()
    };
    assert_eq!(asked("rows != null && rows > 100", &huge), Ok(true));
}

#[test]
fn what_cannot_be_evaluated_has_no_answer() {
    let huge = Action {
        rows: Some(u64::MAX),
        ..action()
    };
    for (text, why) in [
        ("labels.env == 'prod'", "a key is missing"),
        ("labels['env'] == 'prod'", "a key is missing"),
        ("statements / 0 == 1", "it divides by zero"),
        ("statements % 0 == 1", "it divides by zero"),
        ("rows != null && rows + 1 > 0", "a number is too large"),
        ("rows != null && rows * rows > 0", "a number is too large"),
        ("-9223372036854775807 - statements == 1", "a number is too large"),
        ("['a'][statements] == 'a'", "a list is too short"),
        ("['a'][0 - statements] == 'a'", "a list is too short"),
        ("now + duration('9000000h') * 1 == now", ""),
    ] {
        if why.is_empty() {
            assert!(Condition::read(text).is_err(), "{text}");
            continue;
        }
        assert_eq!(asked(text, &huge), Err(NoAnswer(why)), "{text}");
    }
    assert_eq!(
        asked("rows > 5 || rows == null && rows > 1", &action()),
        Err(NoAnswer("a value is null or of another type"))
    );
}

#[test]
fn a_moment_beyond_the_calendar_is_no_answer_and_no_panic() {
    let condition =
        Condition::read("now.getDayOfYear() > 0 && now + duration('2562047h') > now").expect("it reads");
    for micros in [i64::MIN, i64::MAX, -1, 0] {
        let facts = Facts {
            action: &action(),
            peer: &peer(),
            now: Timestamp::from_micros(micros),
            statements: 1,
        };
        let beyond = micros == i64::MIN || micros == i64::MAX;
        assert_eq!(
            condition.holds(&facts, &Budget::default()).is_err(),
            beyond,
            "{micros}"
        );
    }
}

#[test]
fn mistakes_have_their_place_and_a_next_step() {
    let mut wrong = Vec::new();
    for (text, at, why) in [
        ("", 0, "cannot be read"),
        ("class == ", 9, "cannot be read"),
        ("class = 'read'", 6, "cannot be read"),
        ("class == 'réad' && clas == 'x'", 20, "unknown name `clas`"),
        ("class == 'réad' && = 'x'", 20, "cannot be read"),
        ("true", 0, "asks for nothing"),
        ("1 < 2", 2, "asks for nothing"),
        ("class", 0, "neither true nor false"),
        ("size(tables)", 4, "neither true nor false"),
        ("class == 1", 6, "a text is never a number"),
        ("class && bounded", 6, "not offered for these values"),
        ("tables.all(t, t + 'x' == 'x')", 16, "`+` is not offered"),
        (
            "['a'].all(x, [x + x].all(y, [y + y] == [class]))",
            16,
            "`+` is not offered",
        ),
        ("tables + ['x'] == ['x']", 7, "not offered"),
        ("class < 1", 6, "not offered"),
        ("bounded < true", 8, "not offered"),
        ("class.matches('r.*')", 13, "`matches` is not offered"),
        ("class.foo()", 9, "`foo` is not offered"),
        ("math.greatest(statements, 1) == 1", 0, "unknown name `math`"),
        ("type(class) == string", 4, ""),
        ("dyn(class) == 1", 3, ""),
        ("tables.map(t, t) == ['x']", 10, "`map` is not offered"),
        (
            "tables.map(t, t != 'a', class) == ['x']",
            10,
            "`map` is not offered",
        ),
        ("tables.map(t, [t, t]).size() == 1", 10, "`map` is not offered"),
        ("tables.all(t, columns.exists(c, c == t))", 10, "cost its square"),
        ("tables.all(t, t in columns)", 10, "cost its square"),
        ("tables.all(class, class == 'x')", 10, "has a meaning already"),
        ("tables.all(t, tables.all(t, true))", 24, "has a meaning already"),
        ("class.all(t, t == 'x')", 9, "no elements"),
        ("[['a']] == [['a']] && bounded", 1, "cannot stand here"),
        ("['a', 1] == ['a'] && bounded", 6, "cannot stand here"),
        ("{1: 'a'} == {} && bounded", 1, "cannot stand here"),
        ("labels.team.name == 'x'", 11, "has no `name`"),
        ("rows > 5", 0, "is null where"),
        ("statements == null", 11, "never"),
        ("statements == 1.0", 14, "no fact is of this type"),
        ("statements == 1u", 14, "no fact is of this type"),
        ("class == b'read'", 9, "no fact is of this type"),
        ("now > timestamp('yesterday')", 16, "not a moment"),
        ("now > timestamp(class)", 16, "not a moment"),
        ("now - now > duration('1 day')", 21, "not a length of time"),
        ("now.getHours('Berlin') > 1", 13, "not a time zone"),
        ("now.getHours(class) > 1", 13, "not a time zone"),
        ("Thing{a: 1} == 1 && bounded", 5, "not offered"),
        ("labels.?team == 'x'", 6, ""),
    ] {
        let error = Condition::read(text)
            .err()
            .unwrap_or_else(|| panic!("{text} reads"));
        assert!(
            !error.next_step.is_empty() && !error.why.contains('\n'),
            "{text}: {error:?}"
        );
        let is_right = error.why.contains(why) && error.at == at;
        if !why.is_empty() && !is_right {
            wrong.push(format!("{text}: {} {}", error.at, error.why));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn hostile_expressions_are_refused_in_time() {
    let repeated = |piece: &str| piece.repeat(TEXT_BYTES_MAX / piece.len());
    let nested = |open: &str, close: &str| {
        let depth = TEXT_BYTES_MAX / (open.len() + close.len());
        format!("{}bounded{}", open.repeat(depth), close.repeat(depth))
    };
    for text in [
        nested("(", ")"),
        nested("[", "]"),
        nested("!(", ")"),
        nested("{'a':", "}"),
        nested("tables.all(x,", ")"),
        nested("bounded?", ":bounded"),
        format!("{}bounded", repeated("-")),
        format!("{}1", repeated("1+")),
        format!("labels{}", repeated(".a")),
        format!("labels{}", repeated("[0]")),
        format!("labels{}", repeated(".a()")),
        repeated("bounded?bounded:"),
        repeated("("),
        repeated("'"),
        repeated("a b ? ( ] : ,"),
        repeated("é\u{1F600}@#$"),
        repeated("\0"),
        repeated("\\"),
        repeated(" "),
        "bounded && ".repeat(TEXT_BYTES_MAX),
    ] {
        let started = std::time::Instant::now();
        assert!(Condition::read(&text).is_err(), "{text}");
        assert!(started.elapsed().as_secs() < 5, "{text}");
    }
}

#[test]
fn a_statement_that_names_too_much_gets_no_answer() {
    let table = |number: usize| TableName {
        schema: None,
        name: format!("t{number}"),
    };
    let many = |count: usize| Action {
        tables: (0..count).map(table).collect(),
        ..action()
    };
    let text = "tables.all(t, ['a', 'b', 'c'].all(p, !t.startsWith(p)))";
    assert_eq!(asked(text, &many(1_000)), Ok(true));
    assert_eq!(
        asked(text, &many(20_000)),
        Err(NoAnswer("the message names too much for its conditions"))
    );
    let condition = Condition::read(text).expect("it reads");
    let (action, peer) = (many(1_000), peer());
    let facts = Facts {
        action: &action,
        peer: &peer,
        now: Timestamp::from_micros(0),
        statements: 1,
    };
    let budget = Budget::default();
    let answers: Vec<bool> = (0..100)
        .map(|_| condition.holds(&facts, &budget).is_ok())
        .collect();
    assert!(answers[0] && !answers[99], "a message has one budget");
    assert!(
        answers.is_sorted_by(|one, other| one >= other),
        "what is used up stays so"
    );
}
