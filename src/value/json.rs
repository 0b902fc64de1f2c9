//! JSON values embedded in JSON lines.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::types::Kind;
use super::{LEVELS, Scope, ValueContent};

/// Returns the text as JSON if it can be embedded in a line, otherwise as a string.
pub(super) fn read<'a>(text: Cow<'a, str>, scope: Scope<'_>) -> ValueContent<'a> {
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let check = Check { levels: scope.levels }.deserialize(&mut deserializer);
    match check.and_then(|()| deserializer.end()) {
        Ok(()) => ValueContent::Json(compact(text)),
        Err(_) => ValueContent::Text(text),
    }
}

/// Returns the text of a value of `json` or `jsonb` in binary format, as it was sent; `None` for other types.
pub(super) fn sent(kind: Kind, bytes: &[u8]) -> Option<&[u8]> {
    match kind {
        Kind::Json => Some(bytes),
        // The first byte is a version number.
        Kind::Jsonb => bytes.strip_prefix(&[1]),
        _ => None,
    }
}

/// Returns the text of an object as JSON that can be embedded in a line.
pub(super) fn object(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let check = Check { levels: LEVELS }.deserialize(&mut deserializer);
    check.and_then(|()| deserializer.end()).ok()?;
    text.starts_with('{').then(|| compact(text))
}

/// Removes white space between tokens and escapes control characters: a line feed would end the line, and others could affect a
/// terminal.
fn compact(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains(|c: char| c == ' ' || c.is_control()) {
        return text;
    }
    let mut compact = String::with_capacity(text.len());
    let mut is_string = false;
    let mut is_escape = false;
    for character in text.chars() {
        match character {
            '"' if !is_escape => is_string = !is_string,
            ' ' | '\t' | '\n' | '\r' if !is_string => continue,
            // Those below U+0020 are invalid in a string.
            '\u{7f}'..='\u{9f}' => {
                compact.push_str(&format!("\\u{:04x}", u32::from(character)));
                continue;
            }
            _ => {}
        }
        is_escape = is_string && character == '\\' && !is_escape;
        compact.push(character);
    }
    compact.into()
}

/// Validates a value without storing it. An unpaired surrogate, a number out of the range of a double, and too many levels are
/// errors.
#[derive(Clone, Copy)]
struct Check {
    levels: u8,
}

impl Check {
    fn below<E: Error>(self) -> Result<Self, E> {
        let levels = self.levels.checked_sub(1).ok_or_else(|| E::custom("too deep"))?;
        Ok(Self { levels })
    }
}

impl<'de> DeserializeSeed<'de> for Check {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let below = self.below()?;
        while items.next_element_seed(below)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let below = self.below()?;
        while entries.next_key_seed(below)?.is_some() {
            entries.next_value_seed(below)?;
        }
        Ok(())
    }
}
