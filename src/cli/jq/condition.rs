//! A condition on fields of a line, evaluated on the record before there is a line, or else on the text of the line.

use std::borrow::Cow;
use std::cmp::Ordering;

use regex_bites::bytes::Regex;

use super::fields::Name;

/// What a `select` wants of a line. What it wants may not be known of a record: then only the line shows whether it passes, and
/// whether the filter fails on it.
#[derive(Debug)]
pub(super) enum Condition {
    And(Box<(Self, Self)>),
    Or(Box<(Self, Self)>),
    Not(Box<Self>),
    Compare(Operand, Comparison, Operand),
    Starts(Operand, Box<str>),
    Ends(Operand, Box<str>),
    Matches(Operand, Box<Regex>),
    /// It is neither false nor null.
    Value(Operand),
    Unknown,
}

/// A value in a condition.
#[derive(Debug)]
pub(super) enum Operand {
    Field(Name),
    Constant(Plain<'static>),
    /// `//`
    Alternative(Box<(Self, Self)>),
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// A value in the order of jq: "null, false, true, numbers, strings, in alphabetical order (by unicode codepoint value), arrays,
/// objects" (manual, `sort`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Plain<'a> {
    Null,
    Bool(bool),
    Number(i64),
    Text(Cow<'a, str>),
    /// An array or an object.
    Composite,
}

impl Plain<'_> {
    const fn is_true(&self) -> bool {
        !matches!(self, Self::Null | Self::Bool(false))
    }
}

impl Operand {
    fn value<'a>(&'a self, fields: &impl Fn(Name) -> Option<Plain<'a>>) -> Option<Plain<'a>> {
        match self {
            Self::Field(field) => fields(*field),
            Self::Constant(value) => Some(value.clone()),
            Self::Alternative(operands) => {
                let (first, second) = &**operands;
                let first = first.value(fields)?;
                if first.is_true() { Some(first) } else { second.value(fields) }
            }
            Self::Unknown => None,
        }
    }
}

impl Condition {
    /// Returns a condition on a text; `None` if the filter would fail.
    pub(super) fn of_text(operand: Operand, name: &str, text: &str) -> Option<Self> {
        match name {
            "startswith" => Some(Self::Starts(operand, text.into())),
            "endswith" => Some(Self::Ends(operand, text.into())),
            // By the crate that the filter would use, with its defaults.
            _ => Regex::new(text).ok().map(|regex| Self::Matches(operand, Box::new(regex))),
        }
    }

    /// Returns whether nothing of it is ever known.
    pub(super) fn is_unknown(&self) -> bool {
        match self {
            Self::Unknown => true,
            Self::And(both) | Self::Or(both) => both.0.is_unknown(),
            Self::Not(condition) => condition.is_unknown(),
            _ => false,
        }
    }

    /// Returns whether a record meets it, of which some fields are known; `None` if that is not known, or the filter fails.
    pub(super) fn evaluate<'a>(&'a self, fields: &impl Fn(Name) -> Option<Plain<'a>>) -> Option<bool> {
        let on_text = |operand: &'a Operand, test: &dyn Fn(&str) -> bool| match operand.value(fields)? {
            Plain::Text(text) => Some(test(&text)),
            // The filter fails.
            _ => None,
        };
        match self {
            Self::And(both) => {
                if both.0.evaluate(fields)? {
                    both.1.evaluate(fields)
                } else {
                    Some(false)
                }
            }
            Self::Or(both) => {
                if both.0.evaluate(fields)? {
                    Some(true)
                } else {
                    both.1.evaluate(fields)
                }
            }
            Self::Not(condition) => condition.evaluate(fields).map(|is_met| !is_met),
            Self::Compare(left, comparison, right) => {
                let (left, right) = (left.value(fields)?, right.value(fields)?);
                if let (Plain::Composite, Plain::Composite) = (&left, &right) {
                    return None;
                }
                let order = left.cmp(&right);
                Some(match comparison {
                    Comparison::Less => order == Ordering::Less,
                    Comparison::LessOrEqual => order != Ordering::Greater,
                    Comparison::Greater => order == Ordering::Greater,
                    Comparison::GreaterOrEqual => order != Ordering::Less,
                    Comparison::Equal => order == Ordering::Equal,
                    Comparison::NotEqual => order != Ordering::Equal,
                })
            }
            Self::Starts(operand, start) => on_text(operand, &|text| text.starts_with(&**start)),
            Self::Ends(operand, end) => on_text(operand, &|text| text.ends_with(&**end)),
            Self::Matches(operand, regex) => on_text(operand, &|text| regex.is_match(text.as_bytes())),
            Self::Value(operand) => operand.value(fields).map(|value| value.is_true()),
            Self::Unknown => None,
        }
    }
}
