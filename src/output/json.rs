//! JSON lines.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

use crate::record::Record;

/// Writes a record as one line: an object, and a line feed.
///
/// # Errors
///
/// Those of the writer.
pub fn write_line(out: &mut impl io::Write, record: &Record<'_>) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, NoControls);
    record.serialize(&mut serializer)?;
    out.write_all(b"\n")
}

/// Compact JSON in which no control character stands raw.
///
/// JSON itself only wants those below U+0020 escaped. A terminal also acts on U+007F to U+009F, and what a server sends
/// must not be able to act on the terminal of the one who reads it.
struct NoControls;

impl Formatter for NoControls {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        // U+0080 to U+009F begin with the byte 0xc2, in UTF-8.
        let mut from = 0;
        while let Some(found) = memchr::memchr2(0x7f, 0xc2, rest.as_bytes().get(from..).unwrap_or_default()) {
            let at = from + found;
            let Some(character) = rest.get(at..).and_then(|rest| rest.chars().next()) else { break };
            let behind = at + character.len_utf8();
            if !character.is_control() {
                from = behind;
                continue;
            }
            CompactFormatter.write_string_fragment(writer, rest.get(..at).unwrap_or_default())?;
            write!(writer, "\\u{:04x}", u32::from(character))?;
            rest = rest.get(behind..).unwrap_or_default();
            from = 0;
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, NoControls);
        text.serialize(&mut serializer).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_control_character_is_raw_and_every_text_comes_back() {
        let all: String = (0..0x300).filter_map(char::from_u32).collect();
        for text in [all.as_str(), "", "\u{7f}", "a\u{9b}31mb", "ÂÃ\u{c2}\u{85}", "¢\u{a0}"] {
            let json = written(text);
            assert!(!json.chars().any(char::is_control), "{json}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
        assert_eq!(written("a\u{9b}31m\u{7f}"), r#""a\u009b31m\u007f""#);
    }
}
