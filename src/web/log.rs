//! The log as a page: what is asked, when it happened, who and what, and the records. Never shows a record without
//! recording the look first, once for the whole page. Read `journal/query.rs` for the words of a query, then `chart.rs`.

use askama::Template;
use axum::extract::{Query as Params, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::chart::Chart;
use super::moments::Moment;
use super::page::{Shell, Trouble, Visitor, encoded, shown};
use super::record_list::{RecordShown, ask};
use super::sessions::look;
use crate::api::Rooms;
use crate::api::export::Format;
use crate::api::impact::grouped;
use crate::api::trail::gone_words;
use crate::clock::Timestamp;
use crate::identity::directory::Scope;
use crate::journal::query::{self, Clause, Key, Query, QueryError};
use crate::journal::{Facets, Histogram, LogFilter, Order, Page, read};
use crate::render::visible_line;

/// Records on one page.
const RECORDS_MAX: usize = 100;
/// Segments read for one page, about 200,000 records: a page comes soon even if hardly anything matches.
const SEGMENTS_MAX: usize = 48;
/// Bars: a few pixels wide each on the narrowest phone.
const BARS: usize = 60;

/// Spans that are one click away.
const SPANS: [(&str, &str); 4] = [
    ("1h", "last hour"),
    ("1d", "last day"),
    ("7d", "last 7 days"),
    ("30d", "last 30 days"),
];

/// What can be asked, for people who have not read the manual.
const EXAMPLES: [(&str, &str); 8] = [
    (
        "class:ddl,grant since:7d",
        "schema and privilege changes of the last 7 days",
    ),
    (
        "kind:attempt -verdict:allow",
        "statements that did not simply pass",
    ),
    (
        "table:customers class:export",
        "exports out of one table, in any schema",
    ),
    ("kind:decision event:deny", "what people have denied"),
    ("\"drop table\"", "statements that hold these words in a row"),
    (
        "outcome:unknown",
        "statements of which nobody knows whether they ran",
    ),
    (
        "kind:people_change,rules_change",
        "changes of people, agents and rules",
    ),
    (
        "kind:log_query by:auditor-1",
        "what one person has looked at in this log",
    ),
];

/// What the page's address asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    text: String,
    edge: Edge,
}

/// Where a page of records begins.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Edge {
    Newest,
    /// Behind this cursor, older.
    Older(String),
    /// Before this cursor, younger.
    Newer(String),
}

impl Asked {
    /// `q`, and each key of the language as a parameter of its own, as links and old bookmarks have it.
    fn of(pairs: &[(String, String)]) -> Self {
        let mut asked = Self {
            text: String::new(),
            edge: Edge::Newest,
        };
        for (name, value) in pairs.iter().filter(|(_, value)| !value.trim().is_empty()) {
            match (name.as_str(), Key::parse(name)) {
                ("q", _) => asked.add(value.trim()),
                ("cursor", _) => asked.edge = Edge::Older(value.clone()),
                ("newer", _) => asked.edge = Edge::Newer(value.clone()),
                (_, Some(key)) => asked.add(&as_typed(key, value)),
                (_, None) => {}
            }
        }
        asked
    }

    fn add(&mut self, words: &str) {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(words);
    }

    fn filter(&self, query: &Query, now: Timestamp) -> LogFilter {
        let (order, cursor) = match &self.edge {
            Edge::Newest => (Order::NewestFirst, None),
            Edge::Older(cursor) => (Order::NewestFirst, Some(cursor.clone())),
            Edge::Newer(cursor) => (Order::OldestFirst, Some(cursor.clone())),
        };
        LogFilter {
            order,
            cursor,
            limit: RECORDS_MAX,
            segments_max: Some(SEGMENTS_MAX),
            ..query.filter(now)
        }
    }

    /// As the record of the look tells it.
    fn words(&self) -> String {
        let text = &self.text;
        match &self.edge {
            Edge::Newest => format!("query {text}"),
            Edge::Older(cursor) => format!("query {text} cursor={cursor}"),
            Edge::Newer(cursor) => format!("query {text} newer={cursor}"),
        }
    }
}

/// A condition as somebody would type it, right or wrong.
fn as_typed(key: Key, value: &str) -> String {
    let clause = Clause {
        key,
        is_not: false,
        values: vec![value.trim().to_owned()],
    };
    clause.to_string()
}

/// The address of a query's first page.
fn page_of(query: &Query) -> String {
    match query.clauses.is_empty() {
        true => "/log".to_owned(),
        false => format!("/log?q={}", query.url_value()),
    }
}

/// A link, and whether it leads to where one is.
struct Choice {
    words: String,
    href: String,
    is_here: bool,
}

struct FacetShown {
    key: &'static str,
    values: Vec<FacetValueShown>,
    others: String,
}

struct FacetValueShown {
    value: String,
    records: String,
    /// Empty: no query can ask for it.
    href: String,
    is_on: bool,
}

/// A query that cannot be read, cut at the word that is wrong.
struct Unreadable {
    before: String,
    word: String,
    after: String,
    says: String,
    next_step: String,
}

struct KeyShown {
    key: &'static str,
    hint: String,
}

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    shell: Shell,
    text: String,
    unreadable: Option<Unreadable>,
    spans: Vec<Choice>,
    conditions: Vec<Choice>,
    chart: Option<Chart>,
    counted: String,
    counted_from: Option<Moment>,
    facets: Vec<FacetShown>,
    records: Vec<RecordShown>,
    is_first: bool,
    first: String,
    /// Empty: there are none.
    newer: String,
    older: String,
    looked_to: Option<Moment>,
    /// What is asked for reaches into what is gone by retention; else empty.
    gone: String,
    exports: Vec<Choice>,
    /// Where news of this query come from; empty: it has none.
    follow: String,
    examples: Vec<(&'static str, String, &'static str)>,
    keys: Vec<KeyShown>,
}

impl LogPage {
    fn new(shell: Shell, asked: &Asked) -> Self {
        let examples = EXAMPLES.into_iter();
        Self {
            shell,
            text: asked.text.clone(),
            unreadable: None,
            spans: Vec::new(),
            conditions: Vec::new(),
            chart: None,
            counted: String::new(),
            counted_from: None,
            facets: Vec::new(),
            records: Vec::new(),
            is_first: asked.edge == Edge::Newest,
            first: "/log".to_owned(),
            newer: String::new(),
            older: String::new(),
            looked_to: None,
            gone: String::new(),
            exports: Vec::new(),
            follow: String::new(),
            examples: examples
                .map(|(text, words)| (text, format!("/log?q={}", encoded(text)), words))
                .collect(),
            keys: Key::ALL
                .into_iter()
                .map(|key| KeyShown {
                    key: key.as_str(),
                    hint: key.hint(),
                })
                .collect(),
        }
    }

    /// What leads from this query to others.
    fn lead_on(&mut self, query: &Query) {
        self.first = page_of(query);
        self.spans = spans(query);
        self.conditions = conditions(query);
        self.exports = Format::WORDS
            .into_iter()
            .map(|format| Choice {
                words: format.to_uppercase(),
                href: format!("/api/v1/log?format={format}&q={}", query.url_value()),
                is_here: false,
            })
            .collect();
        let has_end = query.clauses.iter().any(|clause| clause.key == Key::Until);
        if self.is_first && !has_end {
            self.follow = format!("/log/follow?q={}", query.url_value());
        }
    }

    fn take_counts(&mut self, query: &Query, (histogram, facets): (&Histogram, &Facets), now: Timestamp) {
        self.chart = Chart::of(histogram, now, |since, until| {
            let since = at(Key::Since, since);
            page_of(&query.with(since).with(at(Key::Until, until)))
        });
        self.counted = grouped(facets.records);
        self.counted_from = facets.partial_before.map(|from| Moment::of(from, now));
        self.facets = shown_facets(query, facets);
    }

    fn take_records(&mut self, query: &Query, asked: &Asked, page: &Page, now: Timestamp) {
        let edge = |name: &str, cursor: Option<String>| {
            cursor.map_or(String::new(), |cursor| {
                format!("/log?q={}&{name}={}", query.url_value(), encoded(&cursor))
            })
        };
        let (first, last) = (page.records.first(), page.records.last());
        let cursor = |record: Option<&crate::audit::Record>| record.and_then(read::cursor_at);
        (self.newer, self.older) = match &asked.edge {
            Edge::Newest => (String::new(), edge("cursor", page.next_cursor.clone())),
            Edge::Older(from) => {
                let newer = cursor(first).unwrap_or_else(|| from.clone());
                (
                    edge("newer", Some(newer)),
                    edge("cursor", page.next_cursor.clone()),
                )
            }
            // These came oldest first, up from the cursor.
            Edge::Newer(from) => {
                let older = cursor(first).unwrap_or_else(|| from.clone());
                (
                    edge("newer", page.next_cursor.clone()),
                    edge("cursor", Some(older)),
                )
            }
        };
        self.looked_to = page.looked_to.map(|to| Moment::of(to, now));
        self.gone = page.pruned.as_ref().map_or(String::new(), gone_words);
        self.records = page
            .records
            .iter()
            .map(|record| RecordShown::of(record, now))
            .collect();
        if matches!(asked.edge, Edge::Newer(_)) {
            self.records.reverse();
        }
        // What came since is told first, then what comes.
        if let (false, Some(newest)) = (self.follow.is_empty(), cursor(first.or(last))) {
            self.follow.push_str(&format!("&after={}", encoded(&newest)));
        }
    }
}

fn at(key: Key, time: Timestamp) -> Clause {
    Clause {
        key,
        is_not: false,
        values: vec![time.to_string()],
    }
}

fn spans(query: &Query) -> Vec<Choice> {
    let whole = query.without(Key::Until).without(Key::Since);
    let mut choices = vec![Choice {
        words: "all".to_owned(),
        href: page_of(&whole),
        is_here: whole == *query,
    }];
    choices.extend(SPANS.into_iter().map(|(span, words)| {
        let since = Clause {
            key: Key::Since,
            is_not: false,
            values: vec![span.to_owned()],
        };
        Choice {
            words: words.to_owned(),
            href: page_of(&whole.with(since.clone())),
            is_here: query.clauses.contains(&since),
        }
    }));
    choices
}

/// Each condition with the query that lacks it.
fn conditions(query: &Query) -> Vec<Choice> {
    let clauses = query.clauses.iter().enumerate();
    let choice = |(place, clause): (usize, &Clause)| {
        let mut without = query.clone();
        without.clauses.remove(place);
        Choice {
            words: visible_line(&clause.to_string()),
            href: page_of(&without),
            is_here: false,
        }
    };
    clauses.map(choice).collect()
}

fn shown_facets(query: &Query, counted: &Facets) -> Vec<FacetShown> {
    let facets = counted.facets.iter().filter(|facet| !facet.values.is_empty());
    let facet = |facet: &crate::journal::Facet| {
        let key = Key::parse(facet.key);
        let value = |counted: &crate::journal::FacetValue| {
            let clause = key.and_then(|key| Clause::of(key, &counted.value).ok());
            let is_on = clause
                .as_ref()
                .is_some_and(|clause| query.clauses.contains(clause));
            let href = clause.map(|clause| match is_on {
                true => page_of(&query.without(clause.key)),
                false => page_of(&query.with(clause)),
            });
            FacetValueShown {
                value: visible_line(&counted.value),
                records: grouped(counted.records),
                href: href.unwrap_or_default(),
                is_on,
            }
        };
        FacetShown {
            key: facet.key,
            values: facet.values.iter().map(value).collect(),
            others: match facet.others {
                0 => String::new(),
                others => grouped(others),
            },
        }
    };
    facets.map(facet).collect()
}

impl Unreadable {
    fn of(text: &str, error: &QueryError) -> Self {
        let before = error.column.saturating_sub(1);
        let letters = error.word.chars().count();
        Self {
            before: visible_line(&text.chars().take(before).collect::<String>()),
            word: visible_line(&error.word),
            after: visible_line(&text.chars().skip(before + letters).collect::<String>()),
            says: visible_line(&error.to_string()),
            next_step: error.next_step(),
        }
    }
}

pub async fn page(
    visitor: Visitor,
    State(rooms): State<Rooms>,
    Params(pairs): Params<Vec<(String, String)>>,
) -> Result<Response, Trouble> {
    visitor.caller.needs(Scope::Log)?;
    let now = Timestamp::now();
    let asked = Asked::of(&pairs);
    let query = match query::parse(&asked.text) {
        Ok(query) => query,
        Err(error) => {
            let mut page = LogPage::new(Shell::of(&visitor, &rooms, "log", "Log").await?, &asked);
            page.unreadable = Some(Unreadable::of(&asked.text, &error));
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, shown(&page)).into_response());
        }
    };
    look(&visitor, &rooms, asked.words()).await?;
    let filter = asked.filter(&query, now);
    let mut page = LogPage::new(Shell::of(&visitor, &rooms, "log", "Log").await?, &asked);
    page.lead_on(&query);
    // Counts stand on the first page alone: whoever goes through the list has seen them.
    if asked.edge == Edge::Newest {
        let found = ask(&rooms, move |reader| reader.overview(&filter, BARS)).await?;
        page.take_records(&query, &asked, &found.page, now);
        page.take_counts(&query, (&found.histogram, &found.facets), now);
    } else {
        let found = ask(&rooms, move |reader| reader.query(&filter)).await?;
        page.take_records(&query, &asked, &found, now);
    }
    Ok(shown(&page))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&str, &str)]) -> Asked {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        Asked::of(&pairs.collect::<Vec<_>>())
    }

    #[test]
    fn parameters_of_their_own_are_words_of_the_query() {
        let asked = asked(&[
            ("q", " class:ddl "),
            ("table", "my table"),
            ("since", ""),
            ("nonsense", "x"),
            ("cursor", "1-0.2"),
        ]);
        assert_eq!(asked.text, r#"class:ddl table:"my table""#);
        assert_eq!(asked.edge, Edge::Older("1-0.2".to_owned()));
        let query = query::parse(&asked.text).unwrap();
        assert_eq!(query.clauses.len(), 2);
        assert_eq!(page_of(&query), "/log?q=class%3Addl+table%3A%22my+table%22");
    }

    #[test]
    fn a_query_that_cannot_be_read_is_cut_at_its_word() {
        let text = "class:ddl clas:read since:7d";
        let error = query::parse(text).unwrap_err();
        let shown = Unreadable::of(text, &error);
        assert_eq!(
            (shown.before.as_str(), shown.word.as_str(), shown.after.as_str()),
            ("class:ddl ", "clas:read", " since:7d")
        );
        assert!(shown.says.contains("column 11"), "{}", shown.says);
    }

    #[test]
    fn every_example_can_be_read() {
        for (text, _) in EXAMPLES {
            assert!(query::parse(text).is_ok(), "{text}");
        }
        for (span, _) in SPANS {
            assert!(query::parse(&format!("since:{span}")).is_ok(), "{span}");
        }
    }

    #[test]
    fn a_condition_is_taken_away_alone_and_a_span_replaces_the_times() {
        let query = query::parse("class:ddl until:2026-01-01 since:2025-01-01").unwrap();
        let taken: Vec<String> = conditions(&query).into_iter().map(|choice| choice.href).collect();
        assert_eq!(taken[0], "/log?q=until%3A2026-01-01+since%3A2025-01-01");
        let spans = spans(&query);
        assert_eq!(spans[0].href, "/log?q=class%3Addl");
        assert_eq!(spans[1].href, "/log?q=class%3Addl+since%3A1h");
        assert!(spans.iter().all(|span| !span.is_here));
    }
}
