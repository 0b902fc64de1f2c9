//! Composite values, and the text syntax that they share with ranges.

use std::borrow::Cow;

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::types::Kind;
use super::{Part, Scope, ValueContent};
use crate::reader::Reader;

/// A validated composite value.
#[derive(Debug)]
pub(super) struct Composite<'a> {
    fields: Fields<'a>,
    scope: Scope<'a>,
}

#[derive(Debug)]
enum Fields<'a> {
    Text(Cow<'a, str>),
    Binary(Reader<'a>),
}

impl<'a> Composite<'a> {
    /// Parses `(1,"two words",)`, which does not contain the types of the fields.
    pub(super) fn from_text(text: Cow<'a, str>, scope: Scope<'a>) -> ValueContent<'a> {
        let is_record = || {
            let mut rest = Some(text.strip_prefix('(')?);
            while let Some(fields) = rest {
                rest = text_field(fields)?.1;
            }
            scope.below(1)
        };
        match is_record() {
            Some(scope) => ValueContent::Composite(Self { fields: Fields::Text(text), scope }),
            None => ValueContent::Text(text),
        }
    }

    /// Parses a count, and for each field its type, its length, and its bytes.
    pub(super) fn from_binary(bytes: &'a [u8], scope: Scope<'a>) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let count = reader.u32("number of fields").ok()?;
        let record = Self { fields: Fields::Binary(reader.clone()), scope: scope.below(1)? };
        for _ in 0..count {
            binary_field(&mut reader)?;
        }
        reader.is_empty().then_some(record)
    }
}

impl Serialize for Composite<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_seq(None)?;
        match &self.fields {
            Fields::Text(text) => {
                let mut rest = text.strip_prefix('(');
                while let Some((field, behind)) = rest.and_then(text_field) {
                    fields.serialize_element(&Part::text(Kind::Text, field, self.scope))?;
                    rest = behind;
                }
            }
            Fields::Binary(reader) => {
                let mut reader = reader.clone();
                while let Some((oid, bytes)) = binary_field(&mut reader) {
                    fields.serialize_element(&Part::binary(Kind::of(oid), bytes, self.scope))?;
                }
            }
        }
        fields.end()
    }
}

/// Parses a field, which is NULL if it is empty. Returns it, and the text after the comma that follows, if there is one.
fn text_field(text: &str) -> Option<(Option<Cow<'_, str>>, Option<&str>)> {
    let (field, rest) = quotable(text, &[',', ')'])?;
    match rest.strip_prefix(',') {
        Some(rest) => Some((field, Some(rest))),
        None => (rest == ")").then_some((field, None)),
    }
}

fn binary_field<'a>(reader: &mut Reader<'a>) -> Option<(u32, Option<&'a [u8]>)> {
    Some((reader.u32("type of a field").ok()?, value(reader)?))
}

/// Parses a length and that many bytes; -1 is NULL.
pub(super) fn value<'a>(reader: &mut Reader<'a>) -> Option<Option<&'a [u8]>> {
    match reader.i32("length of a value").ok()? {
        -1 => Some(None),
        length => Some(Some(reader.take(usize::try_from(length).ok()?, "value").ok()?)),
    }
}

/// Parses text up to one of the characters in `ends`. Returns it and the rest, from that character on. Inside double quotes, no
/// character ends the text; a backslash escapes any character; a quote may be doubled inside quotes. Empty text without quotes is
/// `None`.
pub(super) fn quotable<'a>(text: &'a str, ends: &[char]) -> Option<(Option<Cow<'a, str>>, &'a str)> {
    let is_special = |c: char| matches!(c, '"' | '\\') || ends.contains(&c);
    let (plain, mut rest) = text.split_at_checked(text.find(is_special)?)?;
    if rest.starts_with(|c| ends.contains(&c)) {
        return Some(((!plain.is_empty()).then_some(Cow::Borrowed(plain)), rest));
    }
    let mut unquoted = plain.to_owned();
    let mut is_quoted = false;
    loop {
        let mut characters = rest.chars();
        match characters.next()? {
            '\\' => unquoted.push(characters.next()?),
            '"' if is_quoted && characters.as_str().starts_with('"') => {
                unquoted.push('"');
                characters.next();
            }
            '"' => is_quoted = !is_quoted,
            character if !is_quoted && ends.contains(&character) => return Some((Some(unquoted.into()), rest)),
            character => unquoted.push(character),
        }
        rest = characters.as_str();
    }
}
