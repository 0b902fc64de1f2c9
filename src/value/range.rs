//! Ranges and multiranges ("Range Types").

use std::borrow::Cow;

use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

use super::composite::{quotable, value};
use super::types::Kind;
use super::{Part, Scope, ValueContent};
use crate::reader::Reader;

/// A range.
#[derive(Debug)]
pub(super) enum Range<'a> {
    Empty,
    Bounds {
        lower: Part<'a>,
        upper: Part<'a>,
        /// The kinds of both bounds, such as `[)`.
        bounds: &'static str,
    },
}

// The bits of the first byte in binary format.
const EMPTY: u8 = 0x01;
const INCLUDES_LOWER: u8 = 0x02;
const INCLUDES_UPPER: u8 = 0x04;
const NO_LOWER: u8 = 0x08;
const NO_UPPER: u8 = 0x10;

const fn bounds(includes_lower: bool, includes_upper: bool) -> &'static str {
    match (includes_lower, includes_upper) {
        (true, true) => "[]",
        (true, false) => "[)",
        (false, true) => "(]",
        (false, false) => "()",
    }
}

impl<'a> Range<'a> {
    /// Parses `[1,10)`, `(,5]`, `empty`.
    pub(super) fn from_text(of: u32, text: Cow<'a, str>, scope: Scope<'a>) -> ValueContent<'a> {
        if text == "empty" {
            return ValueContent::Range(Self::Empty);
        }
        let parts = || Some((TextRange::read(&text).filter(|(_, rest)| rest.is_empty())?.0, scope.below(1)?));
        match parts() {
            Some((range, scope)) => ValueContent::Range(range.into_owned().typed(Kind::of(of), scope)),
            None => ValueContent::Text(text),
        }
    }

    /// Parses flags, and the bounds that are present, each with its length.
    pub(super) fn from_binary(of: u32, bytes: &'a [u8], scope: Scope<'a>) -> Option<Self> {
        let scope = scope.below(1)?;
        let mut reader = Reader::new(bytes);
        let flags = reader.u8("flags of a range").ok()?;
        let has = |flag| flags & flag != 0;
        if has(EMPTY) {
            return reader.is_empty().then_some(Self::Empty);
        }
        let mut bound = |has_none: bool| {
            let bytes = if has_none { None } else { Some(value(&mut reader)??) };
            Some(Part::binary(Kind::of(of), bytes, scope))
        };
        let (lower, upper) = (bound(has(NO_LOWER))?, bound(has(NO_UPPER))?);
        reader.is_empty().then_some(Self::Bounds {
            lower,
            upper,
            bounds: bounds(has(INCLUDES_LOWER), has(INCLUDES_UPPER)),
        })
    }
}

impl Serialize for Range<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Empty => {
                let mut object = serializer.serialize_struct("Range", 1)?;
                object.serialize_field("empty", &true)?;
                object.end()
            }
            Self::Bounds { lower, upper, bounds } => {
                let mut object = serializer.serialize_struct("Range", 3)?;
                object.serialize_field("lower", lower)?;
                object.serialize_field("upper", upper)?;
                object.serialize_field("bounds", bounds)?;
                object.end()
            }
        }
    }
}

/// A range in text format.
struct TextRange<'a> {
    lower: Option<Cow<'a, str>>,
    upper: Option<Cow<'a, str>>,
    bounds: &'static str,
}

impl<'a> TextRange<'a> {
    /// Parses a range that is not empty, and returns it with the rest of the text.
    fn read(text: &'a str) -> Option<(Self, &'a str)> {
        let (open, rest) = text.split_at_checked(1)?;
        let includes_lower = match open {
            "[" => true,
            "(" => false,
            _ => return None,
        };
        let (lower, rest) = quotable(rest, &[',', ')', ']'])?;
        let (upper, rest) = quotable(rest.strip_prefix(',')?, &[',', ')', ']'])?;
        let (close, rest) = rest.split_at_checked(1)?;
        let includes_upper = match close {
            "]" => true,
            ")" => false,
            _ => return None,
        };
        Some((Self { lower, upper, bounds: bounds(includes_lower, includes_upper) }, rest))
    }

    fn into_owned(self) -> TextRange<'static> {
        let owned = |bound: Option<Cow<'_, str>>| bound.map(|bound| Cow::Owned(bound.into_owned()));
        TextRange { lower: owned(self.lower), upper: owned(self.upper), bounds: self.bounds }
    }

    fn typed(self, kind: Kind, scope: Scope<'a>) -> Range<'a> {
        let bound = |bound| Part::text(kind, bound, scope);
        Range::Bounds { lower: bound(self.lower), upper: bound(self.upper), bounds: self.bounds }
    }
}

/// A validated multirange.
#[derive(Debug)]
pub(super) struct Multirange<'a> {
    of: u32,
    ranges: Ranges<'a>,
    scope: Scope<'a>,
}

#[derive(Debug)]
enum Ranges<'a> {
    Text(Cow<'a, str>),
    Binary(Reader<'a>),
}

impl<'a> Multirange<'a> {
    /// Parses `{[1,3),[5,8)}`.
    pub(super) fn from_text(of: u32, text: Cow<'a, str>, scope: Scope<'a>) -> ValueContent<'a> {
        let check = || {
            let mut rest = text.strip_prefix('{')?;
            while rest != "}" {
                rest = next_range(rest)?.1;
            }
            scope.below(1)
        };
        match check() {
            Some(scope) => ValueContent::Multirange(Self { of, ranges: Ranges::Text(text), scope }),
            None => ValueContent::Text(text),
        }
    }

    /// Parses a count and the ranges, each with its length.
    pub(super) fn from_binary(of: u32, bytes: &'a [u8], scope: Scope<'a>) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let count = reader.u32("number of ranges").ok()?;
        let scope = scope.below(1)?;
        let ranges = Self { of, ranges: Ranges::Binary(reader.clone()), scope };
        for _ in 0..count {
            Range::from_binary(of, value(&mut reader)??, scope)?;
        }
        reader.is_empty().then_some(ranges)
    }
}

impl<'a> Multirange<'a> {
    /// Returns the ranges of a multirange in binary format.
    pub(super) fn binary_ranges(&self) -> Option<Vec<Range<'a>>> {
        let Ranges::Binary(reader) = &self.ranges else { return None };
        let mut reader = reader.clone();
        let ranges = std::iter::from_fn(|| value(&mut reader)?);
        ranges.map(|bytes| Range::from_binary(self.of, bytes, self.scope)).collect()
    }
}

impl Serialize for Multirange<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut ranges = serializer.serialize_seq(None)?;
        // A bound is one level below the range, and the range one below the multirange.
        let below = self.scope.below(1).unwrap_or(self.scope);
        match &self.ranges {
            Ranges::Text(text) => {
                let mut rest = text.strip_prefix('{');
                while let Some((range, behind)) = rest.and_then(next_range) {
                    ranges.serialize_element(&range.typed(Kind::of(self.of), below))?;
                    rest = Some(behind);
                }
            }
            Ranges::Binary(reader) => {
                let mut reader = reader.clone();
                while let Some(bytes) = value(&mut reader).flatten() {
                    ranges.serialize_element(&Range::from_binary(self.of, bytes, self.scope))?;
                }
            }
        }
        ranges.end()
    }
}

/// Parses a range of a multirange, and the comma after it. Returns it with the rest of the text.
fn next_range(text: &str) -> Option<(TextRange<'_>, &str)> {
    let (range, rest) = TextRange::read(text)?;
    match rest.strip_prefix(',') {
        Some(rest) => (rest != "}").then_some((range, rest)),
        None => (rest == "}").then_some((range, rest)),
    }
}
