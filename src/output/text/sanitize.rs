//! Bytes from the wire as a person reads them: short, on one line, and harmless to the terminal.
//!
//! What a server or a client sends must not be able to act on the terminal of the one who reads it, nor to begin a line
//! of its own: every control character is written as an escape, and so is what changes the direction of the text around
//! it. Bytes that are not UTF-8 are written in hex, one by one, so that a text with a single bad byte stays readable.

use std::fmt::{self, Write};

use crate::encoding::Encoding;
use crate::pg::row::{Format, FormattedValue, Guess};
use crate::pg::text::{Hex, Text};
use crate::value::Shown;

/// How many characters of SQL are shown: enough for most statements that a person wrote.
pub(super) const SQL: usize = 400;
/// How many characters of a message for people are shown.
pub(super) const PROSE: usize = 240;
/// How many characters of a value are shown: a UUID, or a timestamp with its zone, is whole.
const VALUE: usize = 48;
/// How many characters of a name are shown: as many as an identifier of PostgreSQL has bytes.
const NAME: usize = 63;
/// How many bytes of binary data are shown.
const BINARY: usize = 24;
/// How many characters of COPY data are shown: a row of a few columns.
pub(super) const COPY: usize = 120;

/// How much is shown of what is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// An excerpt, so that a line is short, or has room for what follows.
    Excerpt,
    /// All of it.
    Whole,
}

impl Extent {
    /// Returns how many are shown of which an excerpt has at most so many.
    pub(super) const fn limit(self, excerpt: usize) -> usize {
        match self {
            Self::Excerpt => excerpt,
            Self::Whole => usize::MAX,
        }
    }
}

/// Text that people write and read: SQL, messages of errors.
///
/// White space that has a line break or a tab in it becomes one space, for the indentation of SQL means nothing. A line
/// break behind `--` is written as `\n`: the comment must not seem to go on.
pub(crate) struct Prose<'a>(pub(crate) &'a [u8], pub(crate) usize);

impl fmt::Display for Prose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, cut) = beginning(self.0.trim_ascii(), self.1);
        let mut spaces = 0;
        let mut has_break = false;
        let mut dashes = 0;
        for chunk in shown.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    ' ' => spaces += 1,
                    '\n' | '\r' if dashes >= 2 => {
                        f.write_str("\\n")?;
                        (spaces, has_break, dashes) = (0, true, 0);
                    }
                    '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' => has_break = true,
                    _ => {
                        pad(f, if has_break { 1 } else { spaces })?;
                        if dashes < 2 {
                            dashes = if character == '-' && (dashes == 0 || spaces == 0) { dashes + 1 } else { 0 };
                        }
                        (spaces, has_break) = (0, false);
                        write_char(f, character)?;
                    }
                }
            }
            if !chunk.invalid().is_empty() {
                pad(f, if has_break { 1 } else { spaces })?;
                (spaces, has_break) = (0, false);
                write_bytes(f, chunk.invalid())?;
            }
        }
        if cut { f.write_char('…') } else { Ok(()) }
    }
}

/// A value as SQL would write it: `NULL`, `42`, `'text'`, `E'two\nlines'`, `\x00ff`; its length where it is cut.
///
/// Only the plainest numbers stand without quotes, `007` does not: whether something is a number is for its type to say,
/// which this form does not know.
pub(super) struct Value<'a>(pub(super) FormattedValue<'a>, pub(super) Extent);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(bytes) = self.0.value.0 else { return f.write_str("NULL") };
        let limit = self.1.limit(VALUE);
        if let Some(shape) = self.0.shape() {
            return shape.fmt(f);
        }
        match self.0.typed().filter(|typed| typed.type_oid != 0).map(|typed| typed.shown()) {
            Some(Shown::Plain(plain)) => Prose(plain.as_bytes(), limit).fmt(f),
            Some(Shown::Text(text)) => Literal { text: text.as_bytes(), len: bytes.len(), limit }.fmt(f),
            Some(Shown::Undecodable(bytes)) => Literal { text: bytes, len: bytes.len(), limit }.fmt(f),
            Some(Shown::Bytes(bytes)) => Binary(&bytes, self.1).fmt(f),
            None => {
                let text = Text(bytes, self.0.encoding);
                Data { text, format: self.0.format, excerpt: VALUE, extent: self.1 }.fmt(f)
            }
        }
    }
}

/// Text of a value of so many bytes.
struct Literal<'a> {
    text: &'a [u8],
    len: usize,
    /// How many characters are shown.
    limit: usize,
}

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, cut) = beginning(self.text, self.limit);
        write_literal(f, shown)?;
        if cut { write!(f, "… ({} bytes)", self.len) } else { Ok(()) }
    }
}

/// Data of a value or of a COPY, in its format; what reads as text where that is not known.
pub(in crate::output) struct Data<'a> {
    pub(super) text: Text<'a>,
    pub(super) format: Option<Format>,
    /// How many characters of text an excerpt has.
    pub(super) excerpt: usize,
    pub(super) extent: Extent,
}

impl<'a> Data<'a> {
    /// A value, whose text is in UTF-8.
    pub(in crate::output) fn value(bytes: &'a [u8], format: Format, extent: Extent) -> Self {
        Self { text: Text(bytes, Encoding::default()), format: Some(format), excerpt: VALUE, extent }
    }
}

impl fmt::Display for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_text = match self.format {
            Some(Format::TEXT) => true,
            Some(_) => false,
            None => Guess(self.text.0).as_text().is_some(),
        };
        if !is_text {
            return Binary(self.text.0, self.extent).fmt(f);
        }
        let limit = self.extent.limit(self.excerpt);
        let text = self.text.kept();
        if is_number(&text) {
            return Prose(&text, limit).fmt(f);
        }
        let (shown, cut) = beginning(&text, limit);
        write_literal(f, shown)?;
        if cut { write!(f, "… ({} bytes)", self.text.0.len()) } else { Ok(()) }
    }
}

/// Binary data: the beginning in hex, and its length where it is cut.
pub(super) struct Binary<'a>(pub(super) &'a [u8], pub(super) Extent);

impl fmt::Display for Binary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..self.1.limit(BINARY)) {
            Some(shown) if shown.len() < self.0.len() => write!(f, "\\x{}… ({} bytes)", Hex(shown), self.0.len()),
            _ => write!(f, "\\x{}", Hex(self.0)),
        }
    }
}

/// A name: as it is where it is one plain word, else in double quotes.
pub(crate) struct Name<'a>(pub(crate) Text<'a>, pub(crate) Extent);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.kept();
        let (shown, cut) = beginning(&text, self.1.limit(NAME));
        if is_word(shown) {
            f.write_str(std::str::from_utf8(shown).unwrap_or_default())?;
        } else {
            write_quoted(f, '"', shown)?;
        }
        if cut { f.write_char('…') } else { Ok(()) }
    }
}

/// The value of a setting, or a part of a message that is a text: as it is where it is one plain word, else in quotes.
pub(super) struct Word<'a>(pub(super) Text<'a>, pub(super) Extent);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.kept();
        let (shown, cut) = beginning(&text, self.1.limit(NAME));
        if is_word(shown) {
            f.write_str(std::str::from_utf8(shown).unwrap_or_default())?;
        } else {
            write_literal(f, shown)?;
        }
        if cut { f.write_char('…') } else { Ok(()) }
    }
}

/// The first `limit` characters, and whether there are more. A byte that is not UTF-8 counts as one.
fn beginning(bytes: &[u8], limit: usize) -> (&[u8], bool) {
    if bytes.len() <= limit {
        return (bytes, false);
    }
    // No character has more than four bytes, so that a value of megabytes is not searched for what is not shown of it.
    let window = bytes.get(..limit.saturating_mul(4)).unwrap_or(bytes);
    let lengths = window
        .utf8_chunks()
        .flat_map(|chunk| chunk.valid().chars().map(char::len_utf8).chain(chunk.invalid().iter().map(|_| 1)));
    let end = lengths.take(limit).sum();
    (bytes.get(..end).unwrap_or(bytes), end < bytes.len())
}

/// Whether it can stand without quotes and still be told from what surrounds it.
fn is_word(bytes: &[u8]) -> bool {
    let parts = |c: char| c.is_whitespace() || is_escaped(c) || matches!(c, ',' | '"' | '\'' | '(' | ')' | '\\' | '…');
    std::str::from_utf8(bytes).is_ok_and(|text| !text.is_empty() && !text.contains(parts))
}

/// Whether it is a decimal number as PostgreSQL writes them, short enough to be shown whole.
fn is_number(bytes: &[u8]) -> bool {
    if bytes.len() > VALUE {
        return false;
    }
    let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let mut parts = unsigned.splitn(2, |b| *b == b'.');
    let whole = parts.next().unwrap_or_default();
    let is_digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let has_leading_zero = whole.len() > 1 && whole.starts_with(b"0");
    is_digits(whole) && !has_leading_zero && parts.next().is_none_or(is_digits)
}

/// A string literal: `'…'`, or `E'…'` where something in it must be escaped, as SQL tells the two apart.
fn write_literal(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    if std::str::from_utf8(bytes).is_ok_and(|text| !text.contains(is_escaped)) {
        f.write_char('\'')?;
        for chunk in bytes.utf8_chunks() {
            for (number, part) in chunk.valid().split('\'').enumerate() {
                f.write_str(if number > 0 { "''" } else { "" })?;
                f.write_str(part)?;
            }
        }
        return f.write_char('\'');
    }
    f.write_char('E')?;
    write_quoted(f, '\'', bytes)
}

/// Bytes in quotes, with everything in them escaped that could be taken for something else.
fn write_quoted(f: &mut fmt::Formatter<'_>, quote: char, bytes: &[u8]) -> fmt::Result {
    f.write_char(quote)?;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == quote || (character == '\\' && quote == '\'') {
                f.write_char(character)?;
            }
            write_char(f, character)?;
        }
        write_bytes(f, chunk.invalid())?;
    }
    f.write_char(quote)
}

/// Whether a character must not reach the terminal: control characters, C1 and DEL among them; what ends a line in
/// Unicode; what turns the direction of text; the byte order mark; and what cannot be seen, so that two texts look alike.
pub(in crate::output) fn is_escaped(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(character, '\u{feff}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{e0000}'..='\u{e007f}')
        || matches!(character, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}')
}

fn write_char(f: &mut fmt::Formatter<'_>, character: char) -> fmt::Result {
    match character {
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        character if is_escaped(character) => write!(f, "\\u{:04x}", u32::from(character)),
        character => f.write_char(character),
    }
}

fn write_bytes(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

fn pad(f: &mut fmt::Formatter<'_>, spaces: usize) -> fmt::Result {
    write!(f, "{:spaces$}", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Encoding;
    use crate::pg::row::Value as Raw;
    use crate::redaction::Redaction;

    fn value(bytes: Option<&[u8]>, format: Option<Format>) -> String {
        Value(FormattedValue::new(Raw(bytes), format, Encoding::UTF8, Redaction::Secrets), Extent::Excerpt).to_string()
    }

    fn text(bytes: &[u8]) -> String {
        value(Some(bytes), Some(Format::TEXT))
    }

    #[test]
    fn a_value_is_written_as_sql_would_write_it() {
        assert_eq!(value(None, None), "NULL");
        assert_eq!(text(b"NULL"), "'NULL'");
        assert_eq!(text(b""), "''");
        assert_eq!(text(b"it's"), "'it''s'");
        assert_eq!(text(b"C:\\temp"), "'C:\\temp'");
        assert_eq!(text(b"C:\\temp\n'"), "E'C:\\\\temp\\n'''");
        assert_eq!(value(Some(b"\0\x01"), Some(Format::BINARY)), "\\x0001");
        assert_eq!(value(Some(b"\0\x01"), None), "\\x0001");
        assert_eq!(value(Some(b"guess"), None), "'guess'");
    }

    #[test]
    fn only_the_plainest_numbers_have_no_quotes() {
        for number in ["0", "42", "-7", "3.14", "0.50"] {
            assert_eq!(text(number.as_bytes()), number);
        }
        for other in ["007", "-", "1.", ".5", "1e5", "+1", "1 ", "--1", "1.2.3", "NaN"] {
            assert_eq!(text(other.as_bytes()), format!("'{other}'"));
        }
    }

    #[test]
    fn nothing_that_acts_on_a_terminal_is_raw() {
        let all: String = (0..0x2070).chain([0xfeff]).filter_map(char::from_u32).collect();
        let limit = all.len();
        for shown in [
            Prose(all.as_bytes(), limit).to_string(),
            Data {
                text: Text::utf8(all.as_bytes()),
                format: Some(Format::TEXT),
                excerpt: limit,
                extent: Extent::Excerpt,
            }
            .to_string(),
            all.chars().map(|c| Name(Text::utf8(c.to_string().as_bytes()), Extent::Excerpt).to_string()).collect(),
            all.chars().map(|c| Word(Text::utf8(c.to_string().as_bytes()), Extent::Excerpt).to_string()).collect(),
        ] {
            assert!(!shown.contains(is_escaped));
        }
        assert_eq!(text("\u{1b}[31m\u{9b}\u{7f}\u{202e}".as_bytes()), r"E'\u001b[31m\u009b\u007f\u202e'");
    }

    #[test]
    fn a_byte_that_is_not_utf8_costs_only_itself() {
        assert_eq!(Prose(b"SELECT 'na\xefve'", SQL).to_string(), r"SELECT 'na\xefve'");
        assert_eq!(text(b"na\xefve"), r"E'na\xefve'");
        assert_eq!(Name(Text::utf8(b"na\xefve"), Extent::Excerpt).to_string(), r#""na\xefve""#);
    }

    #[test]
    fn line_breaks_and_indentation_of_sql_become_a_space() {
        let prose = |sql: &str| Prose(sql.as_bytes(), SQL).to_string();
        assert_eq!(
            prose("\n  SELECT a,\r\n\t       b\n  FROM t  WHERE c = '  ';\n"),
            "SELECT a, b FROM t  WHERE c = '  ';"
        );
        assert_eq!(prose("SELECT 1 -- one\n  , 2\nFROM t"), r"SELECT 1 -- one\n , 2 FROM t");
        assert_eq!(prose("SELECT 3 - -1\nFROM t"), "SELECT 3 - -1 FROM t");
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        assert_eq!(Prose("ééé".as_bytes(), 2).to_string(), "éé…");
        assert_eq!(Prose("ééé".as_bytes(), 3).to_string(), "ééé");
        assert_eq!(Prose("a😀😀".as_bytes(), 2).to_string(), "a😀…");
        assert_eq!(text(&[b'x'; VALUE]), format!("'{}'", "x".repeat(VALUE)));
        assert_eq!(text(&[b'x'; 1_000_000]), format!("'{}'… (1000000 bytes)", "x".repeat(VALUE)));
        assert_eq!(text(&[b'1'; 100]), format!("'{}'… (100 bytes)", "1".repeat(VALUE)), "not a smaller number");
        assert_eq!(Binary(&[0xab; 25], Extent::Excerpt).to_string(), format!("\\x{}… (25 bytes)", "ab".repeat(BINARY)));
        assert_eq!(Name(Text::utf8(&[b'n'; 64]), Extent::Excerpt).to_string(), format!("{}…", "n".repeat(NAME)));
    }

    #[test]
    fn names_that_are_not_one_word_are_in_quotes() {
        for (name, shown) in
            [("id", "id"), ("?column?", "?column?"), ("größe", "größe"), ("two words", "\"two words\""), ("", "\"\"")]
        {
            assert_eq!(Name(Text::utf8(name.as_bytes()), Extent::Excerpt).to_string(), shown);
        }
        assert_eq!(Name(Text::utf8(b"a\"b"), Extent::Excerpt).to_string(), "\"a\"\"b\"");
        assert_eq!(Word(Text::utf8(b"ISO, MDY"), Extent::Excerpt).to_string(), "'ISO, MDY'");
        assert_eq!(Word(Text::utf8(b"Europe/Berlin"), Extent::Excerpt).to_string(), "Europe/Berlin");
    }
}
