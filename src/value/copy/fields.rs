//! The fields of a row.

use std::borrow::Cow;
use std::iter::Peekable;

use memchr::{memchr, memchr2};

use super::{CopyField, Form};
use crate::encoding::Encoding;
use crate::reader::Reader;
use crate::sql::statement::{CopyFormat, CopyOptions};
use crate::value::composite;

/// An iterator over the fields of a row.
#[derive(Debug)]
pub struct CopyFields<'a>(Fields<'a>);

#[derive(Debug)]
enum Fields<'a> {
    Lines {
        /// The remaining bytes; `None` after the last field.
        rest: Option<&'a [u8]>,
        options: &'a CopyOptions<'static>,
        encoding: Encoding,
        delimiter: u8,
        null: &'a [u8],
        /// Whether double quotes and backslashes are the only special characters in a field.
        is_common: bool,
    },
    Binary(Reader<'a>),
    /// A row that should be one JSON value.
    Whole(Option<&'a [u8]>, Encoding),
}

impl<'a> CopyFields<'a> {
    pub(super) fn new(bytes: &'a [u8], options: &'a CopyOptions<'static>, encoding: Encoding) -> Self {
        Self(if options.format == CopyFormat::Binary {
            let mut reader = Reader::new(bytes);
            // The number of fields, which is that of the remaining ones.
            let _ = reader.u16("number of fields");
            Fields::Binary(reader)
        } else if options.format == CopyFormat::Json {
            Fields::Whole(Some(bytes), encoding)
        } else {
            let has_quotes = options.format == CopyFormat::Csv && options.quote != b'"';
            let is_common = !has_quotes && !encoding.has_second_bytes();
            let (delimiter, null) = (options.delimiter, &*options.null);
            Fields::Lines { rest: Some(bytes), options, encoding, delimiter, null, is_common }
        })
    }

    /// Returns the text of the next field, or `None` if it is NULL, if the field ends before the first special byte. `plain`
    /// returns the number of plain bytes at the front of the remaining row, for this delimiter: it must not count double quotes,
    /// backslashes and the delimiter. In other cases, [`CopyFields::next`] returns the field.
    #[inline]
    pub(crate) fn next_plain(&mut self, plain: impl FnOnce(&[u8], u8) -> usize) -> Option<Option<&'a [u8]>> {
        let Fields::Lines { rest, delimiter, null, is_common: true, .. } = &mut self.0 else { return None };
        let line = (*rest)?;
        let (text, behind) = line.split_at_checked(plain(line, *delimiter))?;
        *rest = match behind {
            [] => None,
            [next, behind @ ..] if next == delimiter => Some(behind),
            _ => return None,
        };
        Some(Some(text).filter(|text| text != null))
    }
}

impl<'a> Iterator for CopyFields<'a> {
    type Item = CopyField<'a>;

    fn next(&mut self) -> Option<CopyField<'a>> {
        match &mut self.0 {
            Fields::Binary(reader) => {
                let field = composite::value(reader)?;
                Some(CopyField { bytes: field.map(Cow::Borrowed), form: Form::Binary })
            }
            Fields::Whole(rest, encoding) => {
                let bytes = rest.take()?;
                Some(CopyField { bytes: Some(Cow::Borrowed(bytes)), form: Form::Text(*encoding) })
            }
            Fields::Lines { rest, options, encoding, .. } => {
                let line = (*rest)?;
                let raw = if options.format == CopyFormat::Csv {
                    Raw::csv(line, options, *encoding)
                } else {
                    Raw::text(line, options, *encoding)
                };
                *rest = line.get(raw.length + 1..);
                let bytes = line.get(..raw.length).unwrap_or_default();
                let form = Form::Text(*encoding);
                if raw.has_quotes {
                    return Some(CopyField { bytes: raw.unescaped, form });
                } else if bytes == &*options.null {
                    return Some(CopyField { bytes: None, form });
                }
                // The placeholder for a default value is returned unchanged.
                let unescaped = raw.unescaped.filter(|_| options.default.as_deref() != Some(bytes));
                Some(CopyField { bytes: Some(unescaped.unwrap_or(Cow::Borrowed(bytes))), form })
            }
        }
    }
}

/// A field as it is in the row.
#[derive(Default)]
struct Raw<'a> {
    /// The length up to the delimiter, or to the end of the row.
    length: usize,
    has_quotes: bool,
    /// The unescaped field, if it differs.
    unescaped: Option<Cow<'a, [u8]>>,
}

/// Iterates over single-byte characters with their positions. The second byte of a character is never returned alone, because in
/// some encodings it can look like a backslash.
fn characters(bytes: &[u8], encoding: Encoding) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let length = 1 + usize::from(encoding.has_second_byte(*bytes.get(at)?));
        let start = at;
        at = (at + length).min(bytes.len());
        Some((start, bytes.get(start..at)?))
    })
}

impl<'a> Raw<'a> {
    fn text(line: &'a [u8], options: &CopyOptions<'_>, encoding: Encoding) -> Self {
        let mut has_escapes = false;
        let mut length = line.len();
        if !encoding.has_second_bytes() {
            let mut from = 0;
            let special = |from| memchr2(options.delimiter, b'\\', line.get(from..)?).map(|found| from + found);
            while let Some(at) = special(from) {
                if line.get(at) == Some(&options.delimiter) {
                    length = at;
                    break;
                }
                has_escapes = true;
                from = at + 2;
            }
        } else {
            let mut is_escaped = false;
            for (at, character) in characters(line, encoding) {
                if std::mem::take(&mut is_escaped) {
                    continue;
                } else if character == b"\\" {
                    is_escaped = true;
                    has_escapes = true;
                } else if character == [options.delimiter] {
                    length = at;
                    break;
                }
            }
        }
        let unescaped = has_escapes.then(|| unescape(line.get(..length).unwrap_or_default(), encoding).into());
        Self { length, has_quotes: false, unescaped }
    }

    /// Parses a field without quotes, or with none but those around it; most fields are.
    fn plain_csv(line: &'a [u8], options: &CopyOptions<'_>) -> Option<Self> {
        let Some(inner) = line.strip_prefix(&[options.quote]) else {
            let length = memchr2(options.delimiter, options.quote, line);
            let has_quotes = length.is_some_and(|at| line.get(at) == Some(&options.quote));
            return (!has_quotes).then(|| Self { length: length.unwrap_or(line.len()), ..Self::default() });
        };
        let (inner, behind) = inner.split_at_checked(memchr(options.quote, inner)?)?;
        let is_alone = behind.get(1).is_none_or(|next| *next == options.delimiter);
        let is_plain = is_alone && (options.escape == options.quote || memchr(options.escape, inner).is_none());
        is_plain.then(|| Self { length: inner.len() + 2, has_quotes: true, unescaped: Some(inner.into()) })
    }

    fn csv(line: &'a [u8], options: &CopyOptions<'_>, encoding: Encoding) -> Self {
        if !encoding.has_second_bytes()
            && let Some(plain) = Self::plain_csv(line, options)
        {
            return plain;
        }
        let mut in_quotes = false;
        // From the first quote on, the value differs from the bytes in the row.
        let mut unescaped: Option<Vec<u8>> = None;
        let mut length = line.len();
        let mut characters = characters(line, encoding).peekable();
        while let Some((at, character)) = characters.next() {
            if in_quotes && character == [options.escape] {
                // It escapes a quote or itself; otherwise it is a plain character.
                let next = characters.next_if(|(_, next)| *next == [options.quote] || *next == [options.escape]);
                if let Some((_, next)) = next {
                    unescaped.get_or_insert_default().extend_from_slice(next);
                    continue;
                }
            }
            if character == [options.quote] {
                in_quotes = !in_quotes;
                unescaped.get_or_insert_with(|| line.get(..at).unwrap_or_default().to_vec());
            } else if !in_quotes && character == [options.delimiter] {
                length = at;
                break;
            } else if let Some(unescaped) = &mut unescaped {
                unescaped.extend_from_slice(character);
            }
        }
        Self { length, has_quotes: unescaped.is_some(), unescaped: unescaped.map(Cow::Owned) }
    }
}

/// Replaces the escapes of the text format.
fn unescape(field: &[u8], encoding: Encoding) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut characters = characters(field, encoding).peekable();
    while let Some((_, character)) = characters.next() {
        if character != b"\\" {
            bytes.extend_from_slice(character);
            continue;
        }
        let Some((_, escaped)) = characters.next() else {
            bytes.push(b'\\');
            break;
        };
        match escaped {
            b"b" => bytes.push(0x08),
            b"f" => bytes.push(0x0c),
            b"n" => bytes.push(b'\n'),
            b"r" => bytes.push(b'\r'),
            b"t" => bytes.push(b'\t'),
            b"v" => bytes.push(0x0b),
            [digit @ b'0'..=b'7'] => {
                bytes.push(number(&mut characters, u32::from(digit - b'0'), 8, 2));
            }
            b"x" if characters.peek().is_some_and(|(_, next)| next.first().is_some_and(u8::is_ascii_hexdigit)) => {
                bytes.push(number(&mut characters, 0, 16, 2));
            }
            other => bytes.extend_from_slice(other),
        }
    }
    bytes
}

/// Parses the number of a byte, of up to `most` digits. Of three octal digits, the lowest eight bits count.
fn number<'a>(
    characters: &mut Peekable<impl Iterator<Item = (usize, &'a [u8])>>,
    first: u32,
    radix: u32,
    most: usize,
) -> u8 {
    let mut number = first;
    for _ in 0..most {
        let digit = characters.peek().and_then(|(_, next)| char::from(*next.first()?).to_digit(radix));
        let Some(digit) = digit else { break };
        characters.next();
        number = number * radix + digit;
    }
    let [low, ..] = number.to_le_bytes();
    low
}
