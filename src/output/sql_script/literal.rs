//! Constants in SQL.

use std::fmt::Write;

use crate::pg::row::{Format, FormattedValue};

/// The type with which a driver marks a parameter that is a result.
const VOID: u32 = 2278;

/// Writes text as a constant that means the same whatever `standard_conforming_strings` is.
pub(super) fn put(out: &mut String, text: &str) {
    let is_special = |c: char| c == '\\' || c.is_control();
    if text.contains(is_special) {
        out.push('E');
    }
    out.push('\'');
    for character in text.chars() {
        match character {
            '\'' => out.push_str("''"),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            character if character.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            character => out.push(character),
        }
    }
    out.push('\'');
}

/// Writes the value of a parameter as a constant, with its type as far as that is known and has a name.
///
/// # Errors
///
/// Why that is not possible. Otherwise, whether it has a type.
pub(super) fn parameter(out: &mut String, value: &FormattedValue<'_>) -> Result<bool, &'static str> {
    let is_known = value.format.is_some_and(|format| matches!(format, Format::TEXT | Format::BINARY));
    // NULL has no format.
    if !is_known && value.value.0.is_some() {
        return Err("the format of a parameter is not known");
    }
    if value.type_oid == VOID {
        return Err("a parameter of type void is none of the function's arguments");
    }
    match (value.value.0, value.format) {
        (None, _) => out.push_str("NULL"),
        (Some(bytes), Some(Format::TEXT)) => match value.encoding.decode(bytes) {
            Some(text) => put(out, &text),
            None => return Err("a parameter is not valid in its encoding"),
        },
        (Some(_), _) => match value.typed().and_then(|typed| typed.input()) {
            Some(text) => put(out, &text),
            None => {
                return Err(
                    "a parameter in binary format cannot be written as text: its type is not known, or has no such form",
                );
            }
        },
    }
    // NULL has a type as well, which decides between functions of one name.
    let cast = crate::value::cast(value.type_oid);
    if let Some(cast) = &cast {
        out.push_str("::");
        out.push_str(cast);
    }
    Ok(cast.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_do_not_depend_on_settings() {
        let of = |text| {
            let mut out = String::new();
            put(&mut out, text);
            out
        };
        assert_eq!(of("it's"), "'it''s'");
        assert_eq!(of("a\\b'"), r"E'a\\b'''");
        assert_eq!(of("a\nb\u{1b}[31m\u{9b}"), r"E'a\nb\u001b[31m\u009b'");
        assert_eq!(of(""), "''");
        assert_eq!(of(":name ; \""), "':name ; \"'");
    }
}
