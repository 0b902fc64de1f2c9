//! The values of string constants and identifiers.

use std::borrow::Cow;

use super::lexer::{Kind, Token};

/// Returns the value of a string constant, if it only has quotes, doubled quotes and simple escapes. `None` for `U&'…'`, bit
/// strings, constants in several parts, and unterminated ones.
pub fn text<'a>(token: &Token<'a>) -> Option<Cow<'a, [u8]>> {
    if token.kind != Kind::Text || !token.is_closed {
        return None;
    }
    match token.text {
        [b'$', ..] => {
            let delimiter = super::lexer::dollar_delimiter(token.text)?;
            token.text.strip_prefix(delimiter)?.strip_suffix(delimiter).map(Cow::Borrowed)
        }
        [b'e' | b'E', quoted @ ..] => unescape(inside(quoted, b'\'')?),
        [b'n' | b'N', quoted @ ..] => undouble(inside(quoted, b'\'')?, b'\''),
        quoted => undouble(inside(quoted, b'\'')?, b'\''),
    }
}

/// Returns the name that a word denotes: in lower case (ASCII), or the content of its quotes. `None` for `U&"…"`, or if it is
/// unterminated.
pub fn name<'a>(token: &Token<'a>) -> Option<Cow<'a, [u8]>> {
    match token.kind {
        Kind::Word if token.text.iter().any(u8::is_ascii_uppercase) => {
            Some(Cow::Owned(token.text.to_ascii_lowercase()))
        }
        Kind::Word => Some(Cow::Borrowed(token.text)),
        Kind::QuotedWord if token.is_closed => undouble(inside(token.text, b'"')?, b'"'),
        _ => None,
    }
}

/// Returns the approximate value of a constant, even if it is unterminated, contains numeric escapes, or has several parts, which
/// are concatenated. `None` if the value equals the written text.
pub fn loose_value(written: &[u8]) -> Option<Cow<'_, [u8]>> {
    if let Some(delimiter) = super::lexer::dollar_delimiter(written) {
        let inside = written.strip_prefix(delimiter)?;
        return Some(Cow::Borrowed(inside.strip_suffix(delimiter).unwrap_or(inside)));
    }
    let first = memchr::memchr(b'\'', written)?;
    let is_unicode = matches!(written, [b'u' | b'U', b'&', ..]);
    let mut value = Vec::with_capacity(written.len());
    let mut rest = written.get(first + 1..)?;
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'\'' => match after {
                [b'\'', after @ ..] => {
                    value.push(b'\'');
                    rest = after;
                }
                // Another part may follow.
                _ => match memchr::memchr(b'\'', after) {
                    Some(next) => rest = after.get(next + 1..)?,
                    None => break,
                },
            },
            b'\\' => rest = unescape_one(after, is_unicode, &mut value),
            other => value.push(*other),
        }
    }
    Some(Cow::Owned(value))
}

/// Decodes the escape after a backslash: that of `U&'…'` if `is_unicode`, otherwise of `E'…'`. Returns the text after it.
fn unescape_one<'a>(after: &'a [u8], is_unicode: bool, value: &mut Vec<u8>) -> &'a [u8] {
    let coded = |from: usize, most: usize, radix: u32| {
        let digits = after.get(from..).unwrap_or_default();
        let len = digits.iter().take(most).take_while(|b| char::from(**b).is_digit(radix)).count();
        let number =
            std::str::from_utf8(digits.get(..len)?).ok().and_then(|digits| u32::from_str_radix(digits, radix).ok());
        Some((number?, after.get(from + len..)?))
    };
    let (code, is_character) = match after.first() {
        Some(b'+') if is_unicode => (coded(1, 6, 16), true),
        Some(b) if is_unicode && b.is_ascii_hexdigit() => (coded(0, 4, 16), true),
        Some(b'u') => (coded(1, 4, 16), true),
        Some(b'U') => (coded(1, 8, 16), true),
        Some(b'x') => (coded(1, 2, 16), false),
        Some(b'0'..=b'7') => (coded(0, 3, 8), false),
        _ => (None, false),
    };
    if let Some((number, after)) = code {
        match char::from_u32(number).filter(|_| is_character) {
            Some(character) => value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None => value.push(number as u8),
        }
        return after;
    }
    let Some((first, after)) = after.split_first() else { return after };
    value.push(match first {
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        other => *other,
    });
    after
}

/// Returns a constant or a name without its prefix and quotes.
pub fn without_quotes(written: &[u8]) -> &[u8] {
    if let Some(delimiter) = super::lexer::dollar_delimiter(written) {
        let inside = written.strip_prefix(delimiter).unwrap_or(written);
        return inside.strip_suffix(delimiter).unwrap_or(inside);
    }
    let rest = match written {
        [b'e' | b'E' | b'n' | b'N', b'\'', ..] => written.get(1..),
        [b'u' | b'U', b'&', b'\'' | b'"', ..] => written.get(2..),
        _ => None,
    };
    rest.unwrap_or(written)
}

/// Returns the decoded text of a URI, if it contains percent-encoded bytes.
pub fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr(b'%', text)?;
    let digit = |b: &u8| char::from(*b).to_digit(16).map(|digit| digit as u8);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        match after {
            [high, low, after @ ..] if *first == b'%' && digit(high).is_some() && digit(low).is_some() => {
                decoded.push(digit(high)? << 4 | digit(low)?);
                rest = after;
            }
            _ => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    Some(decoded)
}

fn inside(quoted: &[u8], quote: u8) -> Option<&[u8]> {
    quoted.strip_prefix(&[quote])?.strip_suffix(&[quote])
}

/// Replaces doubled quotes with single ones. Returns `None` at a single quote, which ends a part of a constant with several.
fn undouble(inside: &[u8], quote: u8) -> Option<Cow<'_, [u8]>> {
    let Some(first) = memchr::memchr(quote, inside) else { return Some(Cow::Borrowed(inside)) };
    let mut value = inside.get(..first)?.to_vec();
    let mut bytes = inside.get(first..)?.iter();
    while let Some(byte) = bytes.next() {
        if *byte == quote && bytes.next() != Some(&quote) {
            return None;
        }
        value.push(*byte);
    }
    Some(Cow::Owned(value))
}

/// Decodes the escapes of `E'…'`: control characters, quotes and backslashes, but not numeric escapes.
fn unescape(inside: &[u8]) -> Option<Cow<'_, [u8]>> {
    if memchr::memchr2(b'\\', b'\'', inside).is_none() {
        return Some(Cow::Borrowed(inside));
    }
    let mut value = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(byte) = bytes.next() {
        value.push(match byte {
            b'\'' => *bytes.next().filter(|next| **next == b'\'')?,
            b'\\' => match bytes.next()? {
                b'b' => 0x08,
                b'f' => 0x0c,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'0'..=b'9' | b'x' | b'u' | b'U' => return None,
                other => *other,
            },
            other => *other,
        });
    }
    Some(Cow::Owned(value))
}

#[cfg(test)]
mod tests {
    use super::super::lexer::Lexer;
    use super::*;

    #[test]
    fn constants_and_names_have_values_where_they_are_plain() {
        let first = |sql: &'static str| Lexer::new(sql.as_bytes()).next().unwrap();
        let text = |sql| text(&first(sql)).map(|value| String::from_utf8(value.into_owned()).unwrap());
        assert_eq!(text("'it''s'").as_deref(), Some("it's"));
        assert_eq!(text(r"E'\t\'\\'''").as_deref(), Some("\t'\\'"));
        assert_eq!(text("$a$x'$a$").as_deref(), Some("x'"));
        assert_eq!(text("N'x'").as_deref(), Some("x"));
        for sql in [r"E'\x41'", r"U&'\0041'", "B'1'", "'a'\n'b'", "'a", "$$a", "a", "1"] {
            assert_eq!(text(sql), None, "{sql}");
        }

        let name = |sql| name(&first(sql)).map(|value| String::from_utf8(value.into_owned()).unwrap());
        assert_eq!(name("Abc").as_deref(), Some("abc"));
        assert_eq!(name("\"A\"\"b\"").as_deref(), Some("A\"b"));
        for sql in [r#"U&"\0041""#, "\"a", "'a'"] {
            assert_eq!(name(sql), None, "{sql}");
        }
    }
}
