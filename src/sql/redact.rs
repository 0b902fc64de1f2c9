//! SQL without anything that a user would call data.
//!
//! Constants become `'***'`, comments `/***/`: also those that are no data, because that takes more than tokens to know.
//! Words, operators and `$1` are left.
//!
//! Where a constant ends can be uncertain: a capture has cut the text, its writer has forgotten to double a quote, the
//! server may have `standard_conforming_strings = off`, or `client_encoding` may have bytes that look like a backslash. From
//! the first constant that is uncertain on, all of the text is masked by one `***`.

use std::borrow::Cow;

use super::lexer::{Kind, Lexer, Token, is_word};

/// What stands for all that is uncertain.
const MASK: &[u8] = b"***";

/// The text with its data masked; as it is where it has none.
pub fn redact(sql: &[u8]) -> Cow<'_, [u8]> {
    let certain = certain_len(sql);
    let mut masked = Vec::new();
    let mut kept = 0;
    for token in Lexer::new(sql).take_while(|token| token.start < certain) {
        let mask: &[u8] = match token.kind {
            Kind::Text | Kind::Number => b"'***'",
            Kind::Comment => b"/***/",
            _ => continue,
        };
        masked.extend_from_slice(sql.get(kept..token.start).unwrap_or_default());
        masked.extend_from_slice(mask);
        kept = token.end();
    }
    if kept == 0 && certain == sql.len() {
        return Cow::Borrowed(sql);
    }
    masked.extend_from_slice(sql.get(kept..certain).unwrap_or_default());
    if certain < sql.len() {
        masked.extend_from_slice(MASK);
    }
    Cow::Owned(masked)
}

/// How many bytes of a text, from its start, are certain to be the tokens that [`Lexer::new`] takes them for.
///
/// What is behind them may be data, whatever it looks like: with values redacted, only this much may be normalized.
pub fn certain_len(sql: &[u8]) -> usize {
    let is_broken = |token: &Token<'_>| !token.is_closed || token.kind == Kind::Other;
    let is_whole = |mut lexer: Lexer<'_>| !lexer.any(|token| is_broken(&token));

    // 'O'Brien': what is behind the quote was meant to be in it.
    let is_misquoted =
        |token: &Token<'_>| token.kind == Kind::Text && sql.get(token.end()).is_some_and(|b| is_word(*b));
    let plain = Lexer::new(sql).find(is_misquoted).map_or(sql.len(), |token| token.end());
    if !is_whole(Lexer::new(sql)) {
        // A constant that is the last and has no end is one to the end of the text: that alone is certain.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(sql: &str) -> String {
        String::from_utf8(redact(sql.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn constants_and_comments_are_masked_and_shapes_are_left() {
        for (sql, expected) in [
            ("SELECT a, $1 FROM t WHERE b = c", "SELECT a, $1 FROM t WHERE b = c"),
            ("SELECT -12.5e3, 'x', N'y' /* z */ -- w", "SELECT -'***', '***', '***' /***/ /***/"),
            (
                "INSERT INTO t VALUES (0x1F, $$a$$, E'a\\'b', 'it''s')",
                "INSERT INTO t VALUES ('***', '***', '***', '***')",
            ),
            ("SELECT $tag$ cut", "SELECT '***'"),
            ("SELECT 'cut", "SELECT '***'"),
            ("SELECT a /* cut", "SELECT a /***/"),
            ("", ""),
        ] {
            assert_eq!(redacted(sql), expected);
        }
        assert!(matches!(redact(b"SELECT a"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_uncertain_is_masked_to_the_end() {
        // A backslash may have escaped the quote: the words behind it may be data.
        assert_eq!(redacted(r"SELECT 1, 'it\'s secret', 2"), "SELECT '***', ***");
        assert_eq!(redacted(r"SELECT 'a\' secret' cut"), "SELECT ***");
        assert_eq!(redacted("SELECT \"cut secret"), "SELECT ***");
        assert_eq!(redacted("SELECT 1 WHERE a = 'O'Brien' AND b = '5'"), "SELECT '***' WHERE a = '***'***");
        assert_eq!(redacted("SELECT a ` { secret }"), "SELECT a ` ***");
        // A text that both settings read can be read in two ways.
        assert_eq!(redacted(r"SELECT '\', secret -- '"), "SELECT ***");
        // One that would have no end with the other setting is read in one way.
        assert_eq!(redacted(r"SELECT a LIKE 'x' ESCAPE '\' LIMIT 5"), "SELECT a LIKE '***' ESCAPE '***' LIMIT '***'");
        assert_eq!(redacted(r"SELECT 'C:\dir', secret_column"), "SELECT '***', secret_column");
    }
}
