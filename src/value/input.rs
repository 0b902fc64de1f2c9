//! Values in the form that PostgreSQL's input functions read.

use std::fmt::Write;

use super::array::Array;
use super::range::{Multirange, Range};
use super::types::Kind;
use super::{Bytea, Format, Part, Raw, Scope, TypedValue, ValueContent, binary, json, number};

/// The type `box`, whose text contains commas; its arrays use semicolons.
const BOX: u32 = 603;

impl TypedValue<'_> {
    /// Returns the value as text that an input function reads as the same value, whatever the session's settings are if it is in binary
    /// format. `None` if it cannot be decoded, or not everything is known that the text would need: the decimals of `money`, the type
    /// of a composite.
    pub(crate) fn input(&self) -> Option<String> {
        let scope = Scope { settings: self.settings, encoding: self.encoding, levels: super::LEVELS };
        match self.format {
            Format::Text => self.encoding.decode(self.bytes).map(Into::into),
            Format::Binary => of_binary(Kind::of(self.type_oid), self.bytes, scope),
        }
    }
}

/// Returns the name of a type in a cast, by its object ID, if it has one that can be written there.
#[cfg(feature = "cli")]
pub(crate) fn cast(type_oid: u32) -> Option<String> {
    let (name, kind) = super::types::stock(type_oid)?;
    let (name, is_array) = match name.strip_prefix('_') {
        Some(name) => (name, "[]"),
        None => (name, ""),
    };
    match (kind, name) {
        (Kind::Opaque | Kind::Record | Kind::Array(0), _) | (_, "unknown" | "cstring" | "void" | "pg_node_tree") => {
            None
        }
        (Kind::Array(2249 | 2275 | 1033), _) => None,
        // Without quotes, these are `character(1)` and `bit(1)`.
        (_, "char" | "bit") => Some(format!("\"{name}\"{is_array}")),
        _ => Some(format!("{name}{is_array}")),
    }
}

fn of_binary(kind: Kind, bytes: &[u8], scope: Scope<'_>) -> Option<String> {
    // With its white space, which JSON lines leave out.
    if let Some(text) = json::sent(kind, bytes) {
        return scope.encoding.decode(text).map(Into::into);
    }
    Some(match binary(kind, bytes, scope) {
        // Before version 16, no input function read what is in octal.
        ValueContent::Text(text) if kind == Kind::Char && text.len() > 1 => return None,
        ValueContent::Text(text) => text.into_owned(),
        ValueContent::Json(json) => json.into_owned(),
        // Of other types, it is what could not be decoded.
        ValueContent::Bytes(bytes) if kind == Kind::Bytea => Bytea(&bytes).to_string(),
        ValueContent::Bool(value) => value.to_string(),
        ValueContent::Int(value) => value.to_string(),
        ValueContent::Unsigned(value) => value.to_string(),
        ValueContent::Float4(value) if value.is_finite() => format!("{value:?}"),
        ValueContent::Float4(value) => number::not_finite(value.into()).to_owned(),
        ValueContent::Float8(value) if value.is_finite() => format!("{value:?}"),
        ValueContent::Float8(value) => number::not_finite(value).to_owned(),
        ValueContent::Numeric(value) => value.to_string(),
        ValueContent::Uuid(value) => value.to_short().as_str().to_owned(),
        ValueContent::Moment(value) => with_era(value.to_short().as_str()),
        ValueContent::Interval(value) => value.to_short().as_str().to_owned(),
        ValueContent::Array(array) => of_array(kind, &array)?,
        ValueContent::Range(range) => of_range(&range)?,
        ValueContent::Multirange(ranges) => of_multirange(&ranges)?,
        ValueContent::Undecodable(_) | ValueContent::Bytes(_) | ValueContent::Money(_) | ValueContent::Composite(_) => {
            return None;
        }
    })
}

impl Part<'_> {
    /// Returns the value as text for an input function; `None` if it is NULL.
    fn input(&self) -> Option<Option<String>> {
        match &self.value {
            Raw::Null => Some(None),
            Raw::Text(text) => Some(Some(text.clone().into_owned())),
            Raw::Binary(bytes) => of_binary(self.kind, bytes, self.scope).map(Some),
        }
    }
}

/// Returns a date of ISO 8601 with the era that PostgreSQL has in place of years before 1, and without the sign of years after 9999.
fn with_era(text: &str) -> String {
    let (sign, rest) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (text.get(..1).unwrap_or_default(), rest),
        None => ("", text),
    };
    let Some((year, rest)) = rest.split_once('-').filter(|_| !text.contains("infinity")) else {
        return text.to_owned();
    };
    match (sign, year.parse::<u32>()) {
        ("", Ok(1..)) | (_, Err(_)) => text.to_owned(),
        ("+", Ok(year)) => format!("{year}-{rest}"),
        (_, Ok(year)) => format!("{:04}-{rest} BC", year + 1),
    }
}

fn of_array(kind: Kind, array: &Array<'_>) -> Option<String> {
    let is_vector = matches!(kind, Kind::Vector(_));
    let delimiter = if kind == Kind::Array(BOX) { ';' } else { ',' };
    let (sizes, elements) = array.binary_elements()?;
    let mut elements = elements.map(|element| element.input());
    if is_vector {
        let numbers: Option<Vec<_>> = elements.map(Option::flatten).collect();
        return Some(numbers?.join(" "));
    }
    let mut text = String::new();
    if let Some(bounds) = array.lower_bounds() {
        for (lower, size) in bounds.iter().zip(sizes) {
            let upper = i64::from(*lower) + i64::from(*size) - 1;
            write!(text, "[{lower}:{upper}]").ok()?;
        }
        text.push('=');
    }
    nested(&mut text, sizes, delimiter, &mut elements)?;
    Some(text)
}

/// Writes the dimensions that are left, with their elements.
fn nested(
    text: &mut String,
    sizes: &[u32],
    delimiter: char,
    elements: &mut dyn Iterator<Item = Option<Option<String>>>,
) -> Option<()> {
    text.push('{');
    let (size, further) = sizes.split_first().map_or((0, sizes), |(size, further)| (*size, further));
    for index in 0..size {
        if index > 0 {
            text.push(delimiter);
        }
        if !further.is_empty() {
            nested(text, further, delimiter, elements)?;
            continue;
        }
        match elements.next()?? {
            Some(element) => quoted(text, &element),
            None => text.push_str("NULL"),
        }
    }
    text.push('}');
    Some(())
}

fn of_range(range: &Range<'_>) -> Option<String> {
    let Range::Bounds { lower, upper, bounds } = range else { return Some("empty".to_owned()) };
    let (open, close) = bounds.split_at_checked(1)?;
    let mut text = open.to_owned();
    if let Some(lower) = lower.input()? {
        quoted(&mut text, &lower);
    }
    text.push(',');
    if let Some(upper) = upper.input()? {
        quoted(&mut text, &upper);
    }
    text.push_str(close);
    Some(text)
}

fn of_multirange(ranges: &Multirange<'_>) -> Option<String> {
    let ranges: Option<Vec<_>> = ranges.binary_ranges()?.iter().map(of_range).collect();
    Some(format!("{{{}}}", ranges?.join(",")))
}

/// Writes an element in quotes, unless it needs none.
fn quoted(text: &mut String, element: &str) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | ':');
    if !element.is_empty() && element.chars().all(is_plain) && !element.eq_ignore_ascii_case("null") {
        return text.push_str(element);
    }
    text.push('"');
    for character in element.chars() {
        if matches!(character, '"' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn of(type_oid: u32, bytes: &[u8]) -> Option<String> {
        let settings = Settings::default();
        TypedValue { type_oid, format: Format::Binary, bytes, settings: &settings, encoding: settings.encoding() }
            .input()
    }

    #[test]
    fn binary_values_are_what_input_functions_read() {
        assert_eq!(of(23, &[0, 0, 0, 42]).as_deref(), Some("42"));
        assert_eq!(of(23, &[42]), None);
        assert_eq!(of(17, b"\x00\xff").as_deref(), Some("\\x00ff"));
        assert_eq!(of(790, &[0; 8]), None, "the decimals of a currency are not known");
        assert_eq!(of(123_456, &[0; 8]), None);
        // Two dimensions that begin at 0, with a NULL, and an element with a quote.
        let array = [
            &b"\0\0\0\x02\0\0\0\x01\0\0\0\x19\0\0\0\x01\0\0\0\0\0\0\0\x03\0\0\0\0"[..],
            b"\0\0\0\x01a\xff\xff\xff\xff\0\0\0\x03\"\\ ",
        ];
        assert_eq!(of(1009, &array.concat()).as_deref(), Some(r#"[0:0][0:2]={{a,NULL,"\"\\ "}}"#));
        let range = b"\x02\0\0\0\x04\0\0\0\x01\0\0\0\x04\0\0\0\x05";
        assert_eq!(of(3904, range).as_deref(), Some("[1,5)"));
    }

    #[test]
    fn years_have_the_era_of_postgresql() {
        assert_eq!(with_era("2024-02-29T12:00:00Z"), "2024-02-29T12:00:00Z");
        assert_eq!(with_era("+012024-02-29"), "12024-02-29");
        assert_eq!(with_era("-000043-03-15"), "0044-03-15 BC");
        assert_eq!(with_era("0000-01-01"), "0001-01-01 BC");
        assert_eq!(with_era("-infinity"), "-infinity");
    }
}
