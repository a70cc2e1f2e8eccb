//! Whose approvals a held statement takes: so many people of this group, so many of that one, counted in distinct people.
//! Never knows who is in a group: whoever asks says so. Read `read.rs` for where rules write it.
//!
//! Why a matching: somebody in two groups counts for one of them, and for which one depends on who else has approved.
//! `dba:1 + security:1` is met by one who is in both and one who is only in the first, in whatever order they come.

use std::fmt;

/// More people than this must never have to agree; it is a slip of the keyboard.
pub const PEOPLE_MAX: u32 = 10;

/// A sum of terms, each to be filled by people of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    terms: Vec<Term>,
}

/// So many people, each in any of these groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Empty: every approver.
    pub groups: Vec<String>,
    pub people: u32,
}

/// What is wrong with a requirement, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclear {
    pub at: usize,
    pub why: String,
    pub next_step: String,
}

impl Term {
    fn shares_a_group(&self, other: &Self) -> bool {
        self.groups.iter().any(|group| other.groups.contains(group))
    }
}

impl Requirement {
    /// So many people of any of these groups; of every approver where none is named.
    pub fn of(groups: Vec<String>, people: u32) -> Self {
        Self {
            terms: vec![Term { groups, people }],
        }
    }

    /// As the store has it. Without a term it asks for one person.
    pub fn of_terms(terms: Vec<Term>) -> Self {
        if terms.is_empty() {
            return Self::of(Vec::new(), 1);
        }
        Self { terms }
    }

    /// Reads `dba:1 + security:1`, `2 of dba`, `1 of dba or security`; `known` tells which groups there are.
    pub fn parse(text: &str, known: impl Fn(&str) -> bool) -> Result<Self, Unclear> {
        let mut terms: Vec<Term> = Vec::new();
        let mut start = 0;
        for part in text.split('+') {
            let term = Words { text: part, start }.term(&known)?;
            if let Some(group) = term.groups.iter().find(|group| {
                let mut before = terms.iter().flat_map(|term| &term.groups);
                before.any(|named| named == *group)
            }) {
                return Err(Unclear {
                    at: start + part.find(group.as_str()).unwrap_or_default(),
                    why: format!("`{group}` is named twice"),
                    next_step: format!("write how many of {group} in one place: 2 of {group}"),
                });
            }
            terms.push(term);
            start += part.len() + 1;
        }
        let requirement = Self { terms };
        if requirement.people() > PEOPLE_MAX {
            return Err(Unclear {
                at: 0,
                why: format!("{} people cannot decide", requirement.people()),
                next_step: format!("ask for at most {PEOPLE_MAX}"),
            });
        }
        Ok(requirement)
    }

    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// How many people in all.
    pub fn people(&self) -> u32 {
        self.terms.iter().map(|term| term.people).sum()
    }

    /// Every group that counts for something; empty where any approver does.
    pub fn groups(&self) -> Vec<String> {
        let mut groups: Vec<String> = Vec::new();
        for term in &self.terms {
            if term.groups.is_empty() {
                return Vec::new();
            }
            for group in &term.groups {
                if !groups.contains(group) {
                    groups.push(group.clone());
                }
            }
        }
        groups
    }

    /// The same with at least one person in it.
    #[must_use]
    pub fn of_somebody(mut self) -> Self {
        if self.people() == 0
            && let Some(first) = self.terms.first_mut()
        {
            first.people = 1;
        }
        self
    }

    /// What is asked where two rules hold one message: nobody who decides it passes by either.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        if let ([one], [two]) = (&self.terms[..], &other.terms[..])
            && (one.groups.is_empty() || two.groups.is_empty() || one.shares_a_group(two))
        {
            let groups = common(one.groups.clone(), &two.groups);
            return Self::of(groups, one.people.max(two.people));
        }
        let (mut both, more) = if self.terms.len() < other.terms.len() {
            (other.clone(), self)
        } else {
            (self, other.clone())
        };
        for mut term in more.terms {
            let alike = both.terms.iter_mut().find(|known| known.groups == term.groups);
            if let Some(known) = alike {
                known.people = known.people.max(term.people);
                continue;
            }
            if term.groups.is_empty() {
                // Whoever decides the rest is an approver, too.
                term.people = term.people.saturating_sub(both.people());
            }
            if term.people > 0 {
                both.terms.push(term);
            }
        }
        both
    }

    /// Who fills which term, by number: as many of `people` as can count at once, the earlier ones first.
    /// `may(person, groups)` says whether a person is in one of these groups, which are never empty.
    pub fn filled(&self, people: usize, may: impl Fn(usize, &[String]) -> bool) -> Vec<Vec<usize>> {
        let slots: Vec<usize> = self
            .terms
            .iter()
            .enumerate()
            .flat_map(|(number, term)| std::iter::repeat_n(number, term.people as usize))
            .collect();
        let may_take = |person: usize, slot: usize| {
            let groups = &self.terms[slots[slot]].groups;
            groups.is_empty() || may(person, groups)
        };
        let mut taken: Vec<Option<usize>> = vec![None; slots.len()];
        for person in 0..people {
            seat(person, &may_take, &mut taken, &mut vec![false; slots.len()]);
        }
        let mut filled = vec![Vec::new(); self.terms.len()];
        for (slot, person) in taken.into_iter().enumerate() {
            filled[slots[slot]].extend(person);
        }
        filled
    }

    /// Whether these people are enough.
    pub fn is_met(&self, people: usize, may: impl Fn(usize, &[String]) -> bool) -> bool {
        let counted: usize = self.filled(people, may).iter().map(Vec::len).sum();
        counted >= self.people() as usize
    }
}

/// Finds a place for one person, others moving where they can (an augmenting path of a bipartite matching).
fn seat(
    person: usize,
    may_take: &impl Fn(usize, usize) -> bool,
    taken: &mut [Option<usize>],
    tried: &mut [bool],
) -> bool {
    for slot in 0..taken.len() {
        if tried[slot] || !may_take(person, slot) {
            continue;
        }
        tried[slot] = true;
        let is_free = match taken[slot] {
            None => true,
            Some(other) => seat(other, may_take, taken, tried),
        };
        if is_free {
            taken[slot] = Some(person);
            return true;
        }
    }
    false
}

/// Groups that may decide both; where there is none, those that may decide the stricter one.
fn common(first: Vec<String>, second: &[String]) -> Vec<String> {
    if first.is_empty() {
        return second.to_vec();
    }
    let both: Vec<String> = first
        .iter()
        .filter(|group| second.contains(group))
        .cloned()
        .collect();
    if both.is_empty() { first } else { both }
}

/// One term's text, and where it stands.
struct Words<'t> {
    text: &'t str,
    start: usize,
}

impl Words<'_> {
    fn term(&self, known: &impl Fn(&str) -> bool) -> Result<Term, Unclear> {
        let text = self.text.trim();
        match text.split_once(':') {
            Some((group, number)) => Ok(Term {
                groups: vec![self.group(group.trim(), known)?],
                people: self.number(number.trim())?,
            }),
            None => {
                let mut words = text.split_whitespace();
                let number = self.number(words.next().unwrap_or_default())?;
                if words.next() != Some("of") {
                    return Err(self.unclear(text, "is no requirement"));
                }
                let mut groups = Vec::new();
                let rest: Vec<&str> = words.collect();
                for (place, word) in rest.iter().enumerate() {
                    match place % 2 {
                        0 => groups.push(self.group(word, known)?),
                        _ if *word == "or" => {}
                        _ => return Err(self.unclear(word, "stands where `or` or `+` belongs")),
                    }
                }
                if rest.len().is_multiple_of(2) {
                    return Err(self.unclear(text, "ends without a group"));
                }
                Ok(Term {
                    groups,
                    people: number,
                })
            }
        }
    }

    fn group(&self, word: &str, known: &impl Fn(&str) -> bool) -> Result<String, Unclear> {
        if known(word) {
            return Ok(word.to_owned());
        }
        Err(Unclear {
            at: self.place_of(word),
            why: format!("unknown group `{word}`"),
            next_step: "write approver, admin, or a group that the file's `groups = […]` names".to_owned(),
        })
    }

    fn number(&self, word: &str) -> Result<u32, Unclear> {
        match word.parse() {
            Ok(number @ 1..=PEOPLE_MAX) => Ok(number),
            Ok(_) => Err(Unclear {
                at: self.place_of(word),
                why: format!("{word} people cannot decide"),
                next_step: format!("write 1 to {PEOPLE_MAX}"),
            }),
            Err(_) => Err(self.unclear(word, "stands where a number of people belongs")),
        }
    }

    fn unclear(&self, word: &str, why: &str) -> Unclear {
        Unclear {
            at: self.place_of(word),
            why: format!("`{word}` {why}"),
            next_step: "write dba:1 + security:1, 2 of dba, or 1 of dba or security".to_owned(),
        }
    }

    fn place_of(&self, word: &str) -> usize {
        self.start + self.text.find(word).unwrap_or_default()
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.groups[..] {
            [] => write!(f, "{} of any approver", self.people),
            groups => write!(f, "{} of {}", self.people, groups.join(" or ")),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, term) in self.terms.iter().enumerate() {
            write!(f, "{}{term}", if number == 0 { "" } else { " + " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(word: &str) -> bool {
        ["dba", "security", "leads"].contains(&word)
    }

    fn read(text: &str) -> Requirement {
        Requirement::parse(text, known).expect("a requirement")
    }

    /// Whether people with these groups are enough, and how many of them count.
    fn counted(text: &str, people: &[&[&str]]) -> (bool, usize) {
        let requirement = read(text);
        let may = |person: usize, groups: &[String]| {
            let has = &people[person];
            groups.iter().any(|group| has.contains(&group.as_str()))
        };
        let filled = requirement.filled(people.len(), may);
        (
            requirement.is_met(people.len(), may),
            filled.iter().map(Vec::len).sum(),
        )
    }

    #[test]
    fn a_requirement_is_read_and_written() {
        for (text, written) in [
            ("dba:1 + security:1", "1 of dba + 1 of security"),
            ("2 of dba", "2 of dba"),
            (
                " 2  of dba or security +leads : 1 ",
                "2 of dba or security + 1 of leads",
            ),
        ] {
            assert_eq!(read(text).to_string(), written, "{text}");
            assert_eq!(read(written), read(text));
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        for (text, at, why) in [
            ("", 0, "number of people"),
            ("dba", 0, "number of people"),
            ("two of dba", 0, "number of people"),
            ("2 dba", 0, "is no requirement"),
            ("2 of", 0, "ends without a group"),
            ("2 of dba or", 0, "ends without a group"),
            ("dba:1 + ops:1", 8, "unknown group `ops`"),
            ("dba:1 + ", 7, "number of people"),
            ("dba:0", 4, "0 people"),
            ("dba:11", 4, "11 people"),
            ("dba:6 + security:6", 0, "12 people"),
            ("dba:1 + 1 of dba", 13, "named twice"),
            ("2 of dba and security", 9, "stands where"),
        ] {
            let mistake = Requirement::parse(text, known).expect_err(text);
            assert!(mistake.why.contains(why), "{text}: {}", mistake.why);
            assert_eq!(mistake.at, at, "{text}: {}", mistake.why);
            assert!(!mistake.next_step.is_empty());
        }
    }

    #[test]
    fn somebody_in_two_groups_counts_for_one_of_them() {
        let both = "dba:1 + security:1";
        assert_eq!(counted(both, &[&["dba", "security"]]), (false, 1));
        assert_eq!(counted(both, &[&["dba", "security"], &["dba"]]), (true, 2));
        assert_eq!(counted(both, &[&["dba"], &["dba", "security"]]), (true, 2));
        assert_eq!(counted(both, &[&["dba"], &["dba"]]), (false, 1));
        assert_eq!(counted(both, &[&["leads"], &["security"]]), (false, 1));
        assert_eq!(
            counted("2 of dba or security", &[&["dba"], &["security"]]),
            (true, 2)
        );
        let three = "dba:2 + security:1";
        assert_eq!(
            counted(three, &[&["dba", "security"], &["dba", "security"], &["dba"]]),
            (true, 3)
        );
        assert_eq!(counted(three, &[&["dba"], &["dba"], &["dba"]]), (false, 2));
    }

    #[test]
    fn two_rules_ask_for_both() {
        let and = |one: &str, two: &str| read(one).and(&read(two)).to_string();
        assert_eq!(and("1 of dba", "2 of dba or security"), "2 of dba");
        assert_eq!(and("1 of dba", "1 of security"), "1 of dba + 1 of security");
        assert_eq!(and("dba:1 + security:1", "2 of dba"), "2 of dba + 1 of security");
        let any = Requirement::of(Vec::new(), 1);
        let two = read("dba:1 + security:1");
        assert_eq!(any.clone().and(&two), two);
        assert_eq!(two.clone().and(&any), two);
        assert_eq!(any.clone().and(&read("2 of dba")).to_string(), "2 of dba");
        assert!(any.groups().is_empty());
        assert_eq!(read("dba:1 + security:1").groups(), ["dba", "security"]);
    }
}
