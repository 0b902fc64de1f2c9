//! Passwords in connection strings and URIs.

use super::constant::Extent;
use super::hints::Hint;
use super::strings::{dollar_quote, inside_end};
use super::{Around, FoundSecrets, Secret};
use crate::sql::lexer::{Token, is_blank, is_word};
use crate::sql::literal::percent_decoded;
use crate::sql::names::{is_connection_key, is_secret_name};

impl<'a> Around<'a> {
    /// Finds the value that is appended to a connection string as its password: `'host=h password=' || 'x'`. Returns whether
    /// there is one; `None` if it takes too long.
    pub(super) fn concatenated(&mut self, hint: Hint, found: &mut FoundSecrets<'a>) -> Option<bool> {
        if self.byte(hint.end) != Some(b'=') || is_path(hint.word(self.sql)) {
            return Some(false);
        }
        let Some(string) = self.strings.around(hint.start).filter(|token| token.is_closed) else { return Some(false) };
        let inside = self.sql.get(hint.end + 1..inside_end(string)).unwrap_or_default();
        if let [b'%', spec @ ..] = inside {
            if !spec.first().is_some_and(|b| b.is_ascii_digit() || b"sIL-".contains(b)) {
                return Some(false);
            }
            let is_numbered = spec.first().is_some_and(u8::is_ascii_digit);
            let argument = if is_numbered { None } else { self.format.argument_at(self.sql, string.start, hint.end) };
            return self.constants(string.end(), Extent::Statement(argument), found).map(|_| true);
        }
        if !inside.is_empty() {
            return Some(false);
        }
        let at = self.skip_blank(string.end())?;
        if self.sql.get(at..at + 2) == Some(b"||") {
            return self.chain(at, found).map(|()| true);
        }
        if self.byte(at) == Some(b',') {
            let at = self.skip_blank(at + 1)?;
            return self.value(at, 0, found).map(|()| true);
        }
        Some(false)
    }

    /// Returns the value after `password=` in a connection string.
    pub(super) fn assigned(&mut self, hint: Hint) -> Option<Secret<'a>> {
        let word = hint.end;
        let is_in_uri = matches!(self.byte(hint.start.checked_sub(1)?), Some(b'?' | b'&'));
        let equals = self.blanks(word);
        if self.byte(equals) != Some(b'=') || is_path(hint.word(self.sql)) {
            return None;
        }
        let string = self.strings.around(word);
        // An argument of a shell command, or an environment variable.
        let is_in_command = || {
            let word = hint.word(self.sql);
            string.is_some()
                && equals == hint.end
                && (word.ends_with(b"PASSWORD") || self.byte(hint.start - 1) == Some(b'-'))
        };
        if !is_in_uri && !string.is_some_and(|token| is_connection_string(token)) && !is_in_command() {
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
        let mut end = end.min(limit).max(start);
        if end > start && string.is_some_and(is_connection_string) && self.is_password(hint) {
            // A password that should have been quoted continues after a space.
            while let Some(next) = self.unknown_word(end, limit) {
                end = next;
            }
        }
        Some(Secret { place: start..end, quote: b"", is_rest: false })
    }

    /// Returns the end of the next word of a connection string, if it is not a keyword with a value.
    fn unknown_word(&self, from: usize, limit: usize) -> Option<usize> {
        let start = self.blanks(from);
        let rest = self.sql.get(start..limit).filter(|_| start > from)?;
        let len = rest.iter().position(|b| is_blank(*b) || *b == b'\'').unwrap_or(rest.len());
        let name = rest.iter().take(len).take_while(|b| is_word(**b)).count();
        let key = rest.get(..name).filter(|_| self.byte(self.blanks(start + name)) == Some(b'='));
        (len > 0 && !key.is_some_and(is_connection_key)).then_some(start + len)
    }

    /// Returns the password in `postgresql://user:password@host`. It may contain characters that should have been encoded, up to
    /// the last `@`.
    pub(super) fn in_authority(&mut self, start: usize) -> Option<Secret<'a>> {
        /// The maximum length of a URI with blanks in its password.
        const LONGEST: usize = 256;
        let rest = self.sql.get(start..)?;
        let is_end = |b: &u8| is_blank(*b) || matches!(b, b'\'' | b'"');
        let len = rest.iter().position(is_end).unwrap_or(rest.len());
        let uri = rest.get(..len)?;
        // URIs in URIs.
        match self.budget.checked_sub(len) {
            Some(budget) => self.budget = budget,
            None => return Some(self.rest(start)),
        }
        self.in_coded_keys(uri, start);
        let password = memchr::memchr2(b':', b'/', uri).filter(|at| uri.get(*at) == Some(&b':'))? + 1;
        let after = uri.get(password..)?;
        let digits = after.iter().take_while(|b| b.is_ascii_digit()).count();
        let is_port = digits > 0 && after.get(digits).is_none_or(|b| b"/?,:".contains(b));
        let secret = |len| Some(Secret { place: start + password..start + password + len, quote: b"", is_rest: false });
        if let Some(end) = memchr::memrchr(b'@', after) {
            return secret(end);
        }
        if memchr::memchr(b'@', uri).is_some() {
            return None;
        }
        let is_whole = memchr::memchr3(b'/', b'?', b'#', after).is_some();
        // It may be truncated.
        if len == rest.len() && !(is_port && is_whole) {
            return secret(after.len());
        }
        let string = self.strings.around(start).filter(|_| !is_port)?;
        let rest = self.sql.get(start + password..inside_end(string))?;
        let rest = rest.get(..LONGEST).unwrap_or(rest);
        memchr::memrchr(b'@', rest)
            .filter(|at| rest.get(..*at).is_some_and(|rest| memchr::memchr(b'\'', rest).is_none()))
            .and_then(secret)
    }
}

impl Around<'_> {
    /// Finds the values of percent-encoded keys of a URI that denote secrets: `?pass%77ord=x`. Other keys are hints.
    fn in_coded_keys(&mut self, uri: &[u8], start: usize) {
        let Some(query) = memchr::memchr(b'?', uri) else { return };
        let mut at = query + 1;
        for setting in uri.get(at..).unwrap_or_default().split(|b| *b == b'&') {
            let next = at + setting.len() + 1;
            if let Some((key, value)) =
                memchr::memchr(b'=', setting).and_then(|equals| setting.split_at_checked(equals))
                && percent_decoded(key).is_some_and(|key| is_secret_name(&key))
            {
                let value = start + next - value.len()..start + next - 1;
                self.listed.push(Secret { place: value, quote: b"", is_rest: false });
            }
            at = next;
        }
    }
}

/// Returns whether a key of a connection string denotes a file path.
fn is_path(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"sslkey")
}

/// Returns whether a string begins like a connection string: `host=…`.
pub(super) fn is_connection_string(token: Token<'_>) -> bool {
    let quote = match dollar_quote(token) {
        Some(delimiter) => delimiter.len(),
        None => token.text.iter().position(|b| *b == b'\'').map_or(0, |quote| quote + 1),
    };
    let inside = token.text.get(quote..).unwrap_or_default();
    let mut begins = inside.iter().take(128).copied().skip_while(|b| is_blank(*b)).skip_while(|b| is_word(*b));
    begins.find(|b| !is_blank(*b)) == Some(b'=')
}
