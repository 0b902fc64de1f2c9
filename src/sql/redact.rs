//! SQL without user data: its normal form, as far as its tokens are certain.
//!
//! Unquoted words and names in double quotes are kept, because they are names for the server. Numbers that are not data are kept,
//! as in the normal form.
//!
//! The end of a constant can be uncertain: the capture may have truncated the text, its author may have forgotten to double a
//! quote, the server may have `standard_conforming_strings = off`, or `client_encoding` may have bytes that look like a
//! backslash. From the first uncertain constant on, the rest of the text is replaced with a single `***`.

use super::lexer::{Kind, Lexer, Token, is_word};
use super::normalize::{Normalized, normalize};
use super::secret::{self, MASK};

/// Returns the normal form of a text, with `***` for the uncertain part. The fingerprint is that of the certain part.
pub fn redact(sql: &[u8]) -> Normalized {
    let certain = certain_len(sql);
    // A secret may lie outside of constants; in text that is not SQL, it may be in a connection URI.
    let mut normalized = normalize(&secret::mask(sql.get(..certain).unwrap_or(sql)));
    if certain < sql.len() {
        let space: &[u8] = if normalized.text.is_empty() { b"" } else { b" " };
        normalized.text = [&normalized.text, space, MASK.as_bytes()].concat().into();
    }
    normalized
}

/// Returns how many bytes at the start of a text certainly have the tokens that [`Lexer::new`] returns.
///
/// The bytes after them may be data, whatever they look like.
pub fn certain_len(sql: &[u8]) -> usize {
    let certain = certain_strings(sql);
    [bare_setting(sql), double_byte_backslash(sql)].into_iter().flatten().fold(certain, usize::min)
}

fn certain_strings(sql: &[u8]) -> usize {
    let is_broken = |token: &Token<'_>| !token.is_closed || token.kind == Kind::Other;
    let is_whole = |mut lexer: Lexer<'_>| !lexer.any(|token| is_broken(&token));

    // 'O'Brien': the text after the quote was meant to be inside it.
    let is_misquoted =
        |token: &Token<'_>| token.kind == Kind::Text && sql.get(token.end()).is_some_and(|b| is_word(*b));
    let plain = Lexer::new(sql).find(is_misquoted).map_or(sql.len(), |token| token.end());
    if !is_whole(Lexer::new(sql)) {
        // An unterminated constant at the end extends to the end of the text, which is certain.
        let is_suspect = |token: &Token<'_>| {
            let is_backslashed = token.kind == Kind::Text && memchr::memchr(b'\\', token.text).is_some();
            let is_unknown = token.kind == Kind::Other || (token.kind == Kind::QuotedWord && !token.is_closed);
            is_backslashed || is_unknown
        };
        return Lexer::new(sql).find(is_suspect).map_or(plain, |token| token.start.min(plain));
    }
    if memchr::memchr(b'\\', sql).is_none() {
        return plain;
    }
    let mut readings = Lexer::new(sql).zip(Lexer::with_backslashes(sql));
    match readings.find(|(on, off)| on != off) {
        Some((on, _)) if is_whole(Lexer::with_backslashes(sql)) => on.start.min(plain),
        _ => plain,
    }
}

/// Returns the start of the unquoted value of a customized option: `SET app.tenant = acme`. For the server it is a string.
fn bare_setting(sql: &[u8]) -> Option<usize> {
    /// An upper bound on the number of tokens of a name, with SESSION or LOCAL before it.
    const LONGEST_NAME: usize = 16;
    let mut tokens = Lexer::new(sql);
    while let Some(token) = tokens.next_solid() {
        if !token.is_word("set") {
            continue;
        }
        let mut ahead = tokens.clone();
        let mut name = std::iter::from_fn(|| ahead.next_solid()).take(LONGEST_NAME);
        let mut is_customized = false;
        let end = name.find(|token| {
            is_customized |= token.is(".");
            token.is_word("to") || !(token.is(".") || is_name(token))
        });
        if !is_customized || !end.is_some_and(|end| end.is("=") || end.is_word("to")) {
            continue;
        }
        let mut values = std::iter::from_fn(|| ahead.next_solid());
        let is_list = |token: &Token<'_>| token.is(",") || matches!(token.kind, Kind::Text | Kind::Number);
        if let Some(bare) = values.find(|token| !is_list(token)).filter(is_name) {
            return Some(bare.start);
        }
    }
    None
}

fn is_name(token: &Token<'_>) -> bool {
    matches!(token.kind, Kind::Word | Kind::QuotedWord)
}

/// Returns the start of a constant in which the second byte of a character may look like a backslash escape, as in SJIS, BIG5,
/// GBK, GB18030 and JOHAB. In other encodings this cannot occur; most text is UTF-8.
fn double_byte_backslash(sql: &[u8]) -> Option<usize> {
    memchr::memchr(b'\\', sql)?;
    if std::str::from_utf8(sql).is_ok() {
        return None;
    }
    let is_double = |pair: &[u8]| matches!(pair, [0x80..=0xff, b'\\']);
    let is_suspect = |token: &Token<'_>| token.kind == Kind::Text && token.text.windows(2).any(is_double);
    Lexer::new(sql).find(is_suspect).map(|token| token.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(sql: impl AsRef<[u8]>) -> String {
        String::from_utf8_lossy(&redact(sql.as_ref()).text).into_owned()
    }

    #[test]
    fn what_is_certain_is_its_normal_form() {
        for (sql, expected) in [
            ("SELECT a, $1 FROM t WHERE b = c", "SELECT a, $1 FROM t WHERE b = c"),
            ("SELECT -12.5e3, 'x', N'y' /* z */ -- w", "SELECT $1, $2, $3"),
            ("INSERT INTO t VALUES (0x1F, $$a$$, E'a\\'b', 'it''s')", "INSERT INTO t VALUES ($1, $2, $3, $4)"),
            ("SELECT $tag$ cut", "SELECT $1"),
            ("SELECT 'cut", "SELECT $1"),
            ("SELECT a /* cut", "SELECT a"),
            ("", ""),
        ] {
            assert_eq!(redacted(sql), expected);
            assert_eq!(redact(sql.as_bytes()), normalize(sql.as_bytes()));
        }
    }

    #[test]
    fn what_is_uncertain_is_masked_to_the_end() {
        // The backslash may have escaped the quote: the words after it may be data.
        assert_eq!(redacted(r"SELECT 1, 'it\'s secret', 2"), "SELECT $1, ***");
        assert_eq!(redacted(r"'it\'s secret' cut"), "***");
        assert_eq!(redacted(r"SELECT 'a\' secret' cut"), "SELECT ***");
        assert_eq!(redacted("SELECT \"cut secret"), "SELECT ***");
        assert_eq!(redacted("SELECT 1 WHERE a = 'O'Brien' AND b = '5'"), "SELECT $1 WHERE a = $2 ***");
        assert_eq!(redacted("SELECT a ` { secret }"), "SELECT a ` ***");
        assert_eq!(redacted("postgresql://u:secret@h/db"), "postgresql://u:***@h/db");
        // A text that is valid with both settings is ambiguous.
        assert_eq!(redacted(r"SELECT '\', secret -- '"), "SELECT ***");
        // A text that would be unterminated with the other setting is unambiguous.
        assert_eq!(redacted(r"SELECT a LIKE 'x' ESCAPE '\' LIMIT 5"), "SELECT a LIKE $1 ESCAPE $2 LIMIT $3");
        assert_eq!(redacted(r"SELECT 'C:\dir', secret_column"), "SELECT $1, secret_column");
    }

    #[test]
    fn the_second_byte_of_a_character_may_look_like_a_backslash() {
        // In SJIS, 0x95 0x5c is one character, and the string ends after it.
        assert_eq!(redacted(b"SELECT 1, E'\x95\\', ' secret '"), "SELECT $1, ***");
        assert_eq!(redacted("SELECT E'\u{e9}\\n', column"), "SELECT $1, column", "UTF-8");
    }

    #[test]
    fn words_that_customized_options_are_set_to_are_strings() {
        for (sql, expected) in [
            ("SET app.tenant = acme", "SET app.tenant = ***"),
            ("set local \"app\".tenant TO \"Acme Inc\"; SELECT 1", "set local \"app\".tenant TO ***"),
            ("ALTER ROLE u SET app.tenant TO 'a', acme", "ALTER ROLE u SET app.tenant TO $1, ***"),
            ("SET app.tenant = 'acme'; SELECT a", "SET app.tenant = $1; SELECT a"),
            ("SET search_path TO app, public", "SET search_path TO app, public"),
            ("UPDATE t SET a = t.b", "UPDATE t SET a = t.b"),
        ] {
            assert_eq!(redacted(sql), expected);
        }
        // The time is bounded, however long the text is.
        redact("SET a.".repeat(200_000).as_bytes());
    }
}
