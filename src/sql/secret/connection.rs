//! Passwords in connection strings and URIs.

use super::hints::Hint;
use super::strings::{dollar_quote, inside_end};
use super::{Around, Secret};
use crate::sql::lexer::{Token, is_blank, is_word};

impl<'a> Around<'a> {
    /// The value behind `password=` in a connection string.
    pub(super) fn assigned(&mut self, hint: Hint) -> Option<Secret<'a>> {
        let word = hint.end;
        let is_in_uri = matches!(self.byte(hint.start.checked_sub(1)?), Some(b'?' | b'&'));
        let equals = self.blanks(word);
        if self.byte(equals) != Some(b'=') || is_path(hint.word(self.sql)) {
            return None;
        }
        let string = self.strings.around(word);
        if !is_in_uri && !string.is_some_and(|token| is_connection_string(token)) {
            return None;
        }
        let start = self.blanks(equals + 1);
        let rest = self.sql.get(start..)?;
        let is_quoted =
            matches!(rest.first(), Some(b'\'' | b'\\')) && string.is_none_or(|token| start + 1 < token.end());
        if is_quoted && let Some(secret) = self.constant(start) {
            return Some(secret);
        }
        let limit = string.map_or(self.sql.len(), inside_end);
        let mut end = start;
        while end < limit && self.byte(end).is_some_and(|b| !is_blank(b) && b != b'\'' && !(is_in_uri && b == b'&')) {
            end += if self.byte(end) == Some(b'\\') { 2 } else { 1 };
        }
        Some(Secret { place: start..end.min(limit).max(start), quote: b"", is_rest: false })
    }

    /// The password in `postgresql://user:password@host`.
    pub(super) fn in_authority(&self, start: usize) -> Option<Secret<'a>> {
        let rest = self.sql.get(start..)?;
        let is_end = |b: &u8| is_blank(*b) || matches!(b, b'/' | b'?' | b'#' | b'\'' | b'"');
        let len = rest.iter().position(is_end).unwrap_or(rest.len());
        let authority = rest.get(..len)?;
        let password = memchr::memchr(b':', authority)? + 1;
        let end = match memchr::memrchr(b'@', authority) {
            Some(end) if end >= password => end,
            // It may have been cut off.
            None if len == rest.len() => len,
            _ => return None,
        };
        Some(Secret { place: start + password..start + end, quote: b"", is_rest: false })
    }
}

/// Whether a key of a connection string is the path of a file.
fn is_path(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"sslkey")
}

/// Whether a string begins as connection strings do: `host=…`.
pub(super) fn is_connection_string(token: Token<'_>) -> bool {
    let quote = match dollar_quote(token) {
        Some(delimiter) => delimiter.len(),
        None => token.text.iter().position(|b| *b == b'\'').map_or(0, |quote| quote + 1),
    };
    let inside = token.text.get(quote..).unwrap_or_default();
    let mut begins = inside.iter().take(128).copied().skip_while(|b| is_blank(*b)).skip_while(|b| is_word(*b));
    begins.find(|b| !is_blank(*b)) == Some(b'=')
}
