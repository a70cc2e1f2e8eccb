//! Types of values in a condition, and what parts of it cost.
//! Never a type that could hold a list inside a list. Read `check.rs` next.

use std::fmt;

use super::facts::{Fact, Facts, SIZED};

/// A single value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Bool,
    Number,
    Text,
    Moment,
    Span,
}

/// A value. Of an empty list or map the elements' type is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    One(Scalar),
    Null,
    NumberOrNull,
    List(Option<Scalar>),
    /// Its keys are texts.
    Map(Option<Scalar>),
}

/// How many elements a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// It is no list.
    None,
    /// So many stand in the expression.
    Literal(u64),
    /// As many as this fact has, by its place in `SIZED`.
    OfFact(usize),
}

/// Steps of an evaluation: some however long the facts are, and some for every element of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    fixed: u64,
    each: [u64; SIZED.len()],
}

impl Kind {
    /// The type of a value that is of this or that type.
    pub fn joined(self, other: Self) -> Option<Self> {
        match (self, other) {
            (one, other) if one == other => Some(one),
            (Self::List(None), Self::List(some)) | (Self::List(some), Self::List(None)) => {
                Some(Self::List(some))
            }
            (Self::Map(None), Self::Map(some)) | (Self::Map(some), Self::Map(None)) => Some(Self::Map(some)),
            (Self::NumberOrNull, Self::One(Scalar::Number) | Self::Null)
            | (Self::One(Scalar::Number) | Self::Null, Self::NumberOrNull) => Some(Self::NumberOrNull),
            (Self::One(_) | Self::Null | Self::NumberOrNull | Self::List(_) | Self::Map(_), _) => None,
        }
    }

    /// The type it has in a sum or comparison, which is without an answer for null.
    pub fn as_number(self) -> Self {
        match self {
            Self::NumberOrNull => Self::One(Scalar::Number),
            Self::One(_) | Self::Null | Self::List(_) | Self::Map(_) => self,
        }
    }
}

impl Length {
    pub fn of_fact(fact: Fact) -> Self {
        let place = SIZED.iter().position(|sized| *sized == fact);
        place.map_or(Self::None, Self::OfFact)
    }

    /// The longer of two, if that can be said.
    pub fn longer(self, other: Self) -> Option<Self> {
        match (self, other) {
            (one, other) if one == other => Some(one),
            (Self::Literal(one), Self::Literal(other)) => Some(Self::Literal(one.max(other))),
            (Self::None | Self::Literal(_) | Self::OfFact(_), _) => None,
        }
    }
}

impl Cost {
    pub const NONE: Self = Self {
        fixed: 0,
        each: [0; SIZED.len()],
    };
    pub const STEP: Self = Self {
        fixed: 1,
        each: [0; SIZED.len()],
    };

    /// A step for every element.
    pub fn pass(length: Length) -> Self {
        Self::STEP.times(length).unwrap_or(Self::NONE)
    }

    /// What it takes to hand a fact to the engine.
    pub fn of_fact(fact: Fact) -> Self {
        Self::STEP.plus(Self::pass(Length::of_fact(fact)))
    }

    pub fn plus(self, other: Self) -> Self {
        let mut sum = self;
        sum.fixed = sum.fixed.saturating_add(other.fixed);
        for (one, other) in sum.each.iter_mut().zip(other.each) {
            *one = one.saturating_add(other);
        }
        sum
    }

    /// For every element; `None` if that were a square of what a statement names.
    pub fn times(self, length: Length) -> Option<Self> {
        match length {
            Length::None => Some(Self::NONE),
            Length::Literal(count) => Some(Self {
                fixed: self.fixed.saturating_mul(count),
                each: self.each.map(|each| each.saturating_mul(count)),
            }),
            Length::OfFact(place) if self.each == Self::NONE.each => {
                let mut product = Self::NONE;
                product.each[place] = self.fixed;
                Some(product)
            }
            Length::OfFact(_) => None,
        }
    }

    /// The steps for facts of these lengths.
    pub fn steps(&self, facts: &Facts<'_>) -> u64 {
        let passes = SIZED.iter().zip(self.each).filter(|(_, each)| *each > 0);
        passes.fold(self.fixed, |sum, (fact, each)| {
            sum.saturating_add(each.saturating_mul(fact.length(facts) as u64))
        })
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "a truth value",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Moment => "a moment",
            Self::Span => "a length of time",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(scalar) => scalar.fmt(f),
            Self::Null => f.write_str("null"),
            Self::NumberOrNull => f.write_str("a number or null"),
            Self::List(_) => f.write_str("a list"),
            Self::Map(_) => f.write_str("a map"),
        }
    }
}
