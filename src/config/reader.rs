//! Reads the settings file, the environment and the flags as one flat list of `section.key`, each with its place.
//! Never knows what a key means: that is `config.rs`. What nobody asked for is an error with a place and a next step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Every variable of the environment that is a setting starts so.
pub const VARIABLE_PREFIX: &str = "COUNTERSIGN__";

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// Line and column count from 1, columns in characters.
    File {
        file: String,
        line: usize,
        column: usize,
    },
    Variable(String),
    Flag(String),
    /// Nowhere: the default.
    Default,
}

/// One thing that is wrong with the settings, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Complaint {
    pub place: Place,
    pub message: String,
    pub next_step: String,
}

/// A value of the environment or the command line, by the path of its key.
#[derive(Clone, Debug)]
pub struct Override {
    pub path: String,
    pub value: String,
    pub place: Place,
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct Found<T> {
    pub value: T,
    pub place: Place,
}

/// What is left to read. Every `take` crosses one key off; `finish` complains of the rest.
pub struct Reader {
    leaves: BTreeMap<String, (Leaf, Found<()>)>,
    /// The place of each `[section]` and the number of tables in each `[[section]]`.
    tables: BTreeMap<String, Place>,
    known: BTreeSet<String>,
    folder: PathBuf,
    pub complaints: Vec<Complaint>,
}

#[derive(Clone, Debug)]
enum Leaf {
    /// From the environment or the command line: the type is the asker's.
    Raw(String),
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<String>),
    /// A type that no setting has, by its TOML name.
    Other(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Place::Variable(name) => write!(f, "variable {name}"),
            Place::Flag(name) => write!(f, "flag {name}"),
            Place::Default => f.write_str("default"),
        }
    }
}

impl Override {
    /// The settings among the variables of the environment.
    pub fn from_variables(variables: impl Iterator<Item = (String, String)>) -> Vec<Self> {
        variables
            .filter_map(|(name, value)| {
                let path = name
                    .strip_prefix(VARIABLE_PREFIX)?
                    .to_ascii_lowercase()
                    .replace("__", ".");
                Some(Self {
                    path,
                    value,
                    place: Place::Variable(name),
                })
            })
            .collect()
    }

    pub fn from_flag(flag: &str, path: &str, value: String) -> Self {
        Self {
            path: path.to_owned(),
            value,
            place: Place::Flag(flag.to_owned()),
        }
    }
}

impl Reader {
    /// Errors: the text is no TOML. `overrides` come in rising precedence; relative paths start at `folder`.
    pub fn new(file: &str, text: &str, folder: &Path, overrides: Vec<Override>) -> Result<Self, Complaint> {
        let place = |span: Range<usize>| place_of(file, text, span);
        let root = DeTable::parse(text).map_err(|error| Complaint {
            place: place(error.span().unwrap_or(0..0)),
            message: error.message().replace('\n', ", "),
            next_step: "mend the line; the file is TOML 1.0".to_owned(),
        })?;
        let mut reader = Self {
            leaves: BTreeMap::new(),
            tables: BTreeMap::new(),
            known: BTreeSet::new(),
            folder: folder.to_owned(),
            complaints: Vec::new(),
        };
        reader.gather("", root.get_ref(), &place);
        for Override { path, value, place } in overrides {
            reader
                .leaves
                .insert(path, (Leaf::Raw(value), Found { value: (), place }));
        }
        Ok(reader)
    }

    fn gather(&mut self, prefix: &str, table: &DeTable<'_>, place: &impl Fn(Range<usize>) -> Place) {
        for (key, value) in table {
            let path = join(prefix, key.get_ref());
            let key_place = place(key.span());
            match value.get_ref() {
                DeValue::Table(inner) => {
                    self.tables.insert(path.clone(), key_place);
                    self.gather(&path, inner, place);
                }
                DeValue::Array(items) if is_array_of_tables(items.iter()) => {
                    for (number, item) in items.iter().enumerate() {
                        if let DeValue::Table(inner) = item.get_ref() {
                            let path = format!("{path}.{number}");
                            self.tables.insert(path.clone(), place(item.span()));
                            self.gather(&path, inner, place);
                        }
                    }
                    self.tables.insert(path, key_place);
                }
                leaf => {
                    let found = Found {
                        value: (),
                        place: key_place,
                    };
                    self.leaves.insert(path, (Leaf::read(leaf), found));
                }
            }
        }
    }

    /// How many tables `[[path]]` has.
    pub fn count(&self, path: &str) -> usize {
        (0..)
            .take_while(|number| self.tables.contains_key(&format!("{path}.{number}")))
            .count()
    }

    /// Where `[path]` stands.
    pub fn table_place(&self, path: &str) -> Place {
        self.tables.get(path).cloned().unwrap_or(Place::Default)
    }

    /// What follows `prefix` in the paths that nobody has asked for yet.
    pub fn rest_under(&self, prefix: &str) -> Vec<String> {
        let start = format!("{prefix}.");
        self.leaves
            .keys()
            .filter_map(|path| path.strip_prefix(&start))
            .map(str::to_owned)
            .collect()
    }

    pub fn complain(&mut self, place: &Place, message: impl Into<String>, next_step: impl Into<String>) {
        // A value that is shown may hold any letters, and each complaint is a line.
        let message = message.into().replace(['\n', '\r'], " ");
        let next_step = next_step.into();
        self.complaints.push(Complaint {
            place: place.clone(),
            message,
            next_step,
        });
    }

    fn take(&mut self, path: &str) -> Option<(Leaf, Place)> {
        self.known.insert(path.to_owned());
        if let Some(place) = self.tables.remove(path) {
            let key = last(path);
            self.complain(
                &place,
                format!("`{key}` is a section, not a value"),
                format!("write `{key} = …`"),
            );
        }
        self.leaves.remove(path).map(|(leaf, found)| (leaf, found.place))
    }

    fn wrong_type<T>(&mut self, path: &str, place: &Place, expected: &str, leaf: &Leaf) -> Option<T> {
        let message = format!("`{}` must be {expected}, not {}", last(path), leaf.kind());
        self.complain(place, message, format!("write {}", example(path, expected)));
        None
    }

    pub fn text(&mut self, path: &str) -> Option<Found<String>> {
        let (leaf, place) = self.take(path)?;
        match leaf {
            Leaf::Raw(value) | Leaf::Text(value) => Some(Found { value, place }),
            other @ (Leaf::Integer(_) | Leaf::Boolean(_) | Leaf::List(_) | Leaf::Other(_)) => {
                self.wrong_type(path, &place, "text", &other)
            }
        }
    }

    /// A path, absolute or from the folder of the settings file (from the working folder for flags and variables).
    pub fn path(&mut self, path: &str) -> Option<Found<PathBuf>> {
        let text = self.text(path)?;
        Some(self.resolve(text))
    }

    pub fn resolve(&self, Found { value, place }: Found<String>) -> Found<PathBuf> {
        let value = match &place {
            Place::File { .. } => self.folder.join(value),
            Place::Variable(_) | Place::Flag(_) | Place::Default => PathBuf::from(value),
        };
        Found { value, place }
    }

    pub fn integer(&mut self, path: &str, range: RangeInclusive<i64>) -> Option<Found<i64>> {
        let (leaf, place) = self.take(path)?;
        let number = match &leaf {
            Leaf::Integer(number) => Some(*number),
            Leaf::Raw(text) => text.parse().ok(),
            Leaf::Text(_) | Leaf::Boolean(_) | Leaf::List(_) | Leaf::Other(_) => None,
        };
        let Some(value) = number else {
            return self.wrong_type(path, &place, "a whole number", &leaf);
        };
        if range.contains(&value) {
            return Some(Found { value, place });
        }
        let message = format!("`{}` is {value}, out of its range", last(path));
        self.complain(
            &place,
            message,
            format!("write a number from {} to {}", range.start(), range.end()),
        );
        None
    }

    pub fn boolean(&mut self, path: &str) -> Option<Found<bool>> {
        let (leaf, place) = self.take(path)?;
        let value = match &leaf {
            Leaf::Boolean(value) => Some(*value),
            Leaf::Raw(text) => text.parse().ok(),
            Leaf::Text(_) | Leaf::Integer(_) | Leaf::List(_) | Leaf::Other(_) => None,
        };
        match value {
            Some(value) => Some(Found { value, place }),
            None => self.wrong_type(path, &place, "true or false", &leaf),
        }
    }

    pub fn address(&mut self, path: &str) -> Option<Found<SocketAddr>> {
        let Found { value, place } = self.text(path)?;
        match value.parse() {
            Ok(value) => Some(Found { value, place }),
            Err(_) => {
                let message = format!("`{value}` is not an IP address with a port");
                self.complain(&place, message, "write one like 127.0.0.1:6432 or [::1]:6432");
                None
            }
        }
    }

    pub fn choice<T: Copy>(&mut self, path: &str, choices: &[(&str, T)]) -> Option<Found<T>> {
        let Found { value, place } = self.text(path)?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == value) {
            return Some(Found {
                value: *choice,
                place,
            });
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let message = format!("`{}` cannot be `{value}`", last(path));
        self.complain(&place, message, format!("write one of: {}", words.join(", ")));
        None
    }

    /// A list of texts; commas part them in variables and flags.
    pub fn list(&mut self, path: &str) -> Option<Found<Vec<String>>> {
        let (leaf, place) = self.take(path)?;
        match leaf {
            Leaf::List(value) => Some(Found { value, place }),
            Leaf::Raw(text) => {
                let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
                Some(Found {
                    value: words.map(str::to_owned).collect(),
                    place,
                })
            }
            other @ (Leaf::Text(_) | Leaf::Integer(_) | Leaf::Boolean(_) | Leaf::Other(_)) => {
                self.wrong_type(path, &place, "a list of texts", &other)
            }
        }
    }

    /// A key that must not be written here, with the reason and the way to do it instead.
    pub fn forbid(&mut self, path: &str, message: &str, next_step: &str) {
        if let Some((_, place)) = self.take(path) {
            self.complain(&place, message, next_step);
        }
        self.known.remove(path);
    }

    /// Complains of every key that nobody took, and gives all complaints in the order of the file.
    pub fn finish(mut self) -> Vec<Complaint> {
        let is_known_section = |known: &BTreeSet<String>, path: &str| {
            known.iter().any(|key| key.starts_with(&format!("{path}.")))
        };
        let mut unknown_sections: Vec<String> = Vec::new();
        for (path, place) in std::mem::take(&mut self.tables) {
            let inside = unknown_sections
                .iter()
                .any(|outer| path.starts_with(&format!("{outer}.")));
            if is_known_section(&self.known, &path) || inside {
                continue;
            }
            let next_step = self.suggestion(&path, true);
            self.complain(&place, format!("unknown section `[{path}]`"), next_step);
            unknown_sections.push(path);
        }
        for (path, (_, Found { place, .. })) in std::mem::take(&mut self.leaves) {
            if unknown_sections
                .iter()
                .any(|outer| path.starts_with(&format!("{outer}.")))
            {
                continue;
            }
            let message = match path.rsplit_once('.') {
                _ if is_known_section(&self.known, &path) => format!("`{path}` is a section, not a value"),
                Some((section, key)) => format!("unknown key `{key}` in `[{}]`", without_numbers(section)),
                None => format!("unknown key `{path}`"),
            };
            let next_step = self.suggestion(&path, false);
            self.complain(&place, message, next_step);
        }
        self.complaints
            .sort_by(|left, right| left.place.cmp(&right.place));
        self.complaints
    }

    /// The nearest known word beside `path`, or all of them.
    fn suggestion(&self, path: &str, section: bool) -> String {
        let (outer, word) = path.rsplit_once('.').unwrap_or(("", path));
        let start = if outer.is_empty() {
            String::new()
        } else {
            format!("{outer}.")
        };
        let beside: BTreeSet<&str> = self
            .known
            .iter()
            .filter_map(|known| known.strip_prefix(&start))
            .filter(|rest| rest.contains('.') == section)
            .map(|rest| rest.split('.').next().unwrap_or(rest))
            .collect();
        let words: Vec<&str> = beside.iter().copied().collect();
        let near = words.iter().map(|known| (distance(word, known), *known)).min();
        match near {
            Some((steps, known)) if steps <= 2 => format!("did you mean `{known}`?"),
            Some(_) => format!("known here: {}", words.join(", ")),
            None => "take it out".to_owned(),
        }
    }
}

impl Leaf {
    fn read(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Integer(number) => {
                i64::from_str_radix(&number.as_str().replace('_', ""), number.radix())
                    .map_or(Self::Other("a number too large"), Self::Integer)
            }
            DeValue::Array(items) => items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect::<Option<Vec<String>>>()
                .map_or(Self::Other("a list of other things"), Self::List),
            DeValue::Float(_) => Self::Other("a number with a fraction"),
            DeValue::Boolean(value) => Self::Boolean(*value),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Table(_) => Self::Other("a section"),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Raw(_) | Self::Text(_) => "text",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Other(kind) => kind,
        }
    }
}

fn is_array_of_tables<'a, 'i: 'a>(
    mut items: impl ExactSizeIterator<Item = &'a Spanned<DeValue<'i>>>,
) -> bool {
    items.len() > 0 && items.all(|item| matches!(item.get_ref(), DeValue::Table(_)))
}

fn place_of(file: &str, text: &str, span: Range<usize>) -> Place {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    Place::File {
        file: file.to_owned(),
        line,
        column,
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() {
        key.to_owned()
    } else {
        format!("{prefix}.{key}")
    }
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn without_numbers(section: &str) -> String {
    let words = section.split('.').filter(|word| word.parse::<usize>().is_err());
    words.collect::<Vec<_>>().join(".")
}

fn example(path: &str, expected: &str) -> String {
    let key = last(path);
    match expected {
        "text" => format!("`{key} = \"…\"`"),
        "true or false" => format!("`{key} = true`"),
        "a list of texts" => format!("`{key} = [\"…\"]`"),
        _ => format!("`{key} = 60`"),
    }
}

/// Levenshtein's distance; words are keys of a settings file, so short.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (number, letter) in left.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = number + 1;
        for (column, other) in right.iter().enumerate() {
            let change = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = change.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
