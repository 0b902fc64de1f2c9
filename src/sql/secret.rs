//! Secrets in SQL: found and masked.
//!
//! Masked are
//!
//! - the string behind PASSWORD, or behind any word that ends so: `CREATE ROLE … PASSWORD 'x'`, `OPTIONS (password 'x')`;
//! - the string behind CONNECTION: `CREATE SUBSCRIPTION … CONNECTION 'host=… password=…'`;
//! - the password in other connection strings: `'host=h password=x'`, `'postgresql://u:x@h/db?password=x'`.
//!
//! What is looked at may be SQL in SQL (a DO block, EXECUTE of a string, PREPARE), a message that quotes SQL, or SQL that a
//! capture has cut. So a secret is looked for where its word is, whatever is around it, and rather too much is masked than
//! too little. A secret that expressions put together is not seen.

use std::borrow::Cow;
use std::ops::Range;

use super::lexer::{Kind, Lexer, Token, dollar_delimiter, is_blank, is_word};

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// Replaces the secrets in a text by `***`; all that may be one, where the text is not UTF-8. Borrows where there is none, which costs two searches for rare letters.
pub fn mask(sql: &[u8]) -> Cow<'_, [u8]> {
    let mut masked = Vec::new();
    let mut kept = 0; // everything before it is in `masked`
    let hints = hints(sql);
    let Some(first) = hints.first() else { return Cow::Borrowed(sql) };
    if std::str::from_utf8(sql).is_err() {
        // In some encodings a character has a byte that looks like a backslash: where a string ends cannot be told.
        return Cow::Owned([sql.get(..first.at).unwrap_or_default(), MASK.as_bytes()].concat());
    }
    let mut around = Around::new(sql);
    for hint in hints {
        if hint.at < kept {
            continue;
        }
        let Some(secret) = around.secret(hint) else { continue };
        masked.extend_from_slice(sql.get(kept..secret.place.start).unwrap_or_default());
        masked.extend_from_slice(secret.quote);
        masked.extend_from_slice(MASK.as_bytes());
        masked.extend_from_slice(secret.quote);
        kept = secret.place.end;
    }
    if kept == 0 {
        return Cow::Borrowed(sql);
    }
    masked.extend_from_slice(sql.get(kept..).unwrap_or_default());
    Cow::Owned(masked)
}

/// Whether there is a word in a text behind which a secret may be.
pub fn may_have(sql: &[u8]) -> bool {
    !hints(sql).is_empty()
}

/// Where a secret may follow.
#[derive(Clone, Copy, Debug)]
struct Hint {
    kind: HintKind,
    /// The first byte behind the word.
    at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HintKind {
    Password,
    Connection,
    Uri,
}

/// A secret: where it is, and the quotes that its mask has.
struct Secret<'a> {
    place: Range<usize>,
    quote: &'a [u8],
}

/// All hints, in order. They are found by letters that are rare in SQL: the w of password, the colon of `://`, the b of
/// SUBSCRIPTION, without which there is no CONNECTION.
fn hints(sql: &[u8]) -> Vec<Hint> {
    let mut hints = Vec::new();
    for at in memchr::memchr3_iter(b'w', b'W', b':', sql) {
        let is_scheme = || ["postgres", "postgresql"].iter().any(|scheme| ends_with(sql, at, scheme));
        if sql.get(at..at + 3) == Some(b"://") {
            if is_scheme() {
                hints.push(Hint { kind: HintKind::Uri, at: at + 3 });
            }
        } else if ends_with(sql, at + 4, "password") && !sql.get(at + 4).is_some_and(|b| is_word(*b) && *b != b'$') {
            hints.push(Hint { kind: HintKind::Password, at: at + 4 });
        }
    }
    if memchr::memchr2_iter(b'b', b'B', sql).any(|at| ends_with(sql, at + 10, "subscription")) {
        for at in memchr::memchr2_iter(b'c', b'C', sql) {
            let is_start = !at.checked_sub(1).and_then(|before| sql.get(before)).is_some_and(|b| is_word(*b));
            let is_end = !sql.get(at + 10).is_some_and(|b| is_word(*b) && *b != b'$');
            if is_start && is_end && ends_with(sql, at + 10, "connection") {
                hints.push(Hint { kind: HintKind::Connection, at: at + 10 });
            }
        }
        hints.sort_by_key(|hint| hint.at);
    }
    hints
}

/// Whether a word, in any case, ends at a byte.
fn ends_with(sql: &[u8], end: usize, word: &str) -> bool {
    let found = end.checked_sub(word.len()).and_then(|start| sql.get(start..end));
    found.is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
}

/// What is around a hint.
struct Around<'a> {
    sql: &'a [u8],
    strings: Strings<'a>,
    /// How many more bytes of comments are skipped. Comments in comments could make this take long; where that is tried, all
    /// that follows is masked.
    patience: usize,
}

impl<'a> Around<'a> {
    fn new(sql: &'a [u8]) -> Self {
        let strings = Strings { tokens: Lexer::new(sql), current: None, resume: 0, entered: 0 };
        Self { sql, strings, patience: sql.len() + (1 << 16) }
    }

    fn secret(&mut self, hint: Hint) -> Option<Secret<'a>> {
        match hint.kind {
            HintKind::Uri => self.in_authority(hint.at),
            HintKind::Connection => self.constant(hint.at),
            HintKind::Password => {
                let behind = if self.byte(hint.at) == Some(b'"') { hint.at + 1 } else { hint.at };
                self.assigned(hint.at).or_else(|| self.constant(behind))
            }
        }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.sql.get(at).copied()
    }

    /// The string constant behind a word.
    fn constant(&mut self, word: usize) -> Option<Secret<'a>> {
        let Some(at) = self.skip_blank(word) else {
            return Some(Secret { place: word..self.sql.len(), quote: b"" });
        };
        let rest = self.sql.get(at..).unwrap_or_default();
        let string = self.strings.around(at);
        // The word ends a string: WHERE name = 'password'.
        if at == word && rest.first() == Some(&b'\'') && string.is_some_and(|token| token.end() == at + 1) {
            return None;
        }
        let quotes = rest.iter().take_while(|b| **b == b'\'').count();
        let is_followed = rest.get(quotes).is_some_and(|b| !is_blank(*b) && !b";,)]\"".contains(b));
        if quotes > 0 && quotes.is_multiple_of(2) && (is_followed || string.is_some()) {
            return Some(self.nested(at, quotes));
        }
        let backslashes = rest.iter().take_while(|b| **b == b'\\').count();
        if backslashes > 0 && rest.get(backslashes) == Some(&b'\'') {
            let quote = rest.get(..=backslashes)?;
            let inside = at + quote.len();
            let found = memchr::memmem::find(self.sql.get(inside..)?, quote);
            return Some(Secret {
                place: at..found.map_or(self.sql.len(), |found| inside + found + quote.len()),
                quote,
            });
        }
        let read = |lexer: Lexer<'a>| lexer.starting_at(at).next().filter(|token| token.kind == Kind::Text);
        let token = read(Lexer::new(self.sql))?;
        let mut end = token.end();
        if memchr::memmem::find(token.text, b"\\'").is_some() {
            // Where standard_conforming_strings is off, it may be longer.
            end = end.max(read(Lexer::with_backslashes(self.sql))?.end());
        }
        Some(Secret { place: at..end, quote: b"'" })
    }

    /// A constant in a constant, whose quotes are doubled: `EXECUTE 'ALTER ROLE u PASSWORD ''x'''`.
    fn nested(&self, at: usize, quotes: usize) -> Secret<'a> {
        let quote = self.sql.get(at..at + quotes).unwrap_or_default();
        let mut end = at + quotes;
        while let Some(found) = self.sql.get(end..).and_then(|rest| memchr::memchr(b'\'', rest)) {
            end += found;
            let run = self.sql.get(end..).unwrap_or_default().iter().take_while(|b| **b == b'\'').count();
            let unpaired = run % (2 * quotes);
            end += run;
            if unpaired > 0 {
                // Its own quotes come first; what is left ends the constant around it.
                return Secret { place: at..end - unpaired.saturating_sub(quotes), quote };
            }
        }
        Secret { place: at..self.sql.len(), quote }
    }

    /// The value behind `password=` in a connection string.
    fn assigned(&mut self, word: usize) -> Option<Secret<'a>> {
        let is_in_uri = {
            let start = self.sql.get(..word)?.iter().rev().take_while(|b| b.is_ascii_alphanumeric()).count();
            matches!(self.byte((word - start).checked_sub(1)?), Some(b'?' | b'&'))
        };
        let equals = self.blanks(word);
        if self.byte(equals) != Some(b'=') {
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
        Some(Secret { place: start..end.min(limit).max(start), quote: b"" })
    }

    /// The password in `postgresql://user:password@host`.
    fn in_authority(&self, start: usize) -> Option<Secret<'a>> {
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
        Some(Secret { place: start + password..start + end, quote: b"" })
    }

    fn blanks(&self, at: usize) -> usize {
        at + self.sql.get(at..).unwrap_or_default().iter().take_while(|b| is_blank(**b)).count()
    }

    /// Where white space and comments end. Nothing where that takes too long.
    fn skip_blank(&mut self, at: usize) -> Option<usize> {
        let mut end = self.blanks(at);
        while matches!(self.sql.get(end..end + 2), Some(b"--" | b"/*")) {
            let comment = Lexer::new(self.sql).starting_at(end).next()?;
            self.patience = self.patience.checked_sub(comment.text.len())?;
            end = self.blanks(comment.end());
        }
        Some(end)
    }
}

/// The string constants that hints are in. Hints come in order, so that all of it is one walk over the text.
struct Strings<'a> {
    tokens: Lexer<'a>,
    current: Option<Token<'a>>,
    /// Where to go on behind what is quoted by dollars.
    resume: usize,
    /// How many of those were entered.
    entered: usize,
}

impl<'a> Strings<'a> {
    /// How many constants in dollar quotes are entered: each costs a search for its end.
    const MOST_ENTERED: usize = 64;

    /// The string constant that a byte is inside of. Dollar quotes mostly hold code, and then what counts is inside them.
    fn around(&mut self, at: usize) -> Option<Token<'a>> {
        if self.resume > 0 && at >= self.resume {
            self.tokens = self.tokens.clone().starting_at(self.resume);
            (self.current, self.resume) = (None, 0);
        }
        loop {
            match self.current.filter(|token| at < token.end()) {
                Some(token) => {
                    let is_inside = token.kind == Kind::Text && token.start < at;
                    let delimiter = dollar_delimiter(token.text).filter(|_| token.text.starts_with(b"$"));
                    let Some(delimiter) = delimiter.filter(|_| is_inside && !is_connection_string(token)) else {
                        return self.current.filter(|_| is_inside);
                    };
                    if self.entered >= Self::MOST_ENTERED {
                        return None;
                    }
                    self.entered += 1;
                    self.resume = self.resume.max(token.end());
                    self.tokens = self.tokens.clone().starting_at(token.start + delimiter.len());
                    self.current = self.tokens.next();
                }
                None => self.current = Some(self.tokens.next()?),
            }
        }
    }
}

/// Whether a string begins as connection strings do: `host=…`.
fn is_connection_string(token: Token<'_>) -> bool {
    let quote = match dollar_delimiter(token.text) {
        Some(delimiter) => delimiter.len(),
        None => token.text.iter().position(|b| *b == b'\'').map_or(0, |quote| quote + 1),
    };
    let inside = token.text.get(quote..).unwrap_or_default();
    let mut begins = inside.iter().take(128).copied().skip_while(|b| is_blank(*b)).skip_while(|b| is_word(*b));
    begins.find(|b| !is_blank(*b)) == Some(b'=')
}

/// Where the inside of a string constant ends, in the text.
fn inside_end(token: Token<'_>) -> usize {
    let quote = dollar_delimiter(token.text).map_or(1, <[u8]>::len);
    if token.is_closed { token.end() - quote.min(token.text.len()) } else { token.end() }
}

#[cfg(test)]
mod tests;
