//! What string constants and identifiers stand for.

use std::borrow::Cow;

use super::lexer::{Kind, Token};

/// The value of a string constant, where it takes no more than its quotes, doubled quotes and simple escapes to know it:
/// not for `U&'…'`, bit strings, several pieces, or what has no end.
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

/// The name that a word stands for: in lower case (ASCII), or as it is in its quotes. Not for `U&"…"`, or without its end.
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

fn inside(quoted: &[u8], quote: u8) -> Option<&[u8]> {
    quoted.strip_prefix(&[quote])?.strip_suffix(&[quote])
}

/// Makes doubled quotes single. A single one ends a piece of a constant that has more of them.
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

/// Undoes the escapes of `E'…'`: of control characters, quotes and backslashes, not of numbers.
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
