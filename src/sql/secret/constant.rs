//! Constants: where they end, however deep they are quoted.

use super::{Around, Found, Secret};
use crate::sql::lexer::{Kind, Lexer, is_blank};

/// How far constants are secrets.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    /// To the parenthesis that closes.
    Parenthesis,
    /// To the end of the statement; or, where one is given, in this argument behind the first alone.
    Statement(Option<usize>),
}

impl<'a> Around<'a> {
    /// The string constant behind a word.
    pub(super) fn constant(&mut self, word: usize) -> Option<Secret<'a>> {
        let Some(mut at) = self.skip_blank(word) else { return Some(self.rest(word)) };
        if let Some(behind) = self.behind_word(at, "as") {
            at = self.skip_blank(behind)?;
        }
        let rest = self.sql.get(at..).unwrap_or_default();
        let string = self.strings.around(at);
        // The word ends a string: WHERE name = 'password'. Where it does not lex, it may seem so: can't ALTER … PASSWORD 'x'.
        let ends_string = rest.first() == Some(&b'\'') && string.is_some_and(|token| token.end() == at + 1);
        if ends_string && (at == word || self.lexes()) {
            return None;
        }
        let secret = |place, quote| Some(Secret { place, quote, is_rest: false });
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
            return secret(at..found.map_or(self.sql.len(), |found| inside + found + quote.len()), quote);
        }
        let read = |lexer: Lexer<'a>| lexer.starting_at(at).next().filter(|token| token.kind == Kind::Text);
        let token = read(Lexer::new(self.sql))?;
        let mut end = token.end();
        // What continues a constant is looked for behind comments.
        if self.skip_blank(end).is_none() {
            return Some(self.rest(at));
        }
        if memchr::memmem::find(token.text, b"\\'").is_some() {
            // Where standard_conforming_strings is off, it may be longer.
            end = end.max(read(Lexer::with_backslashes(self.sql))?.end());
        }
        secret(at..end, b"'")
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
                return Secret { place: at..end - unpaired.saturating_sub(quotes), quote, is_rest: false };
            }
        }
        Secret { place: at..self.sql.len(), quote, is_rest: false }
    }

    /// A constant, and those that are joined to it, or stand right behind it by mistake.
    pub(super) fn joined(&mut self, secret: Secret<'a>, found: &mut Found<'a>) -> Option<()> {
        /// More than anyone writes in a row.
        const LONGEST: usize = 4;
        let mut next = Some(secret);
        for _ in 0..LONGEST {
            let Some(secret) = next else { break };
            let secret = self.certain(secret);
            let end = secret.place.end;
            found.secrets.push(secret);
            if end >= self.sql.len() {
                break;
            }
            let mut at = self.skip_blank(end)?;
            if self.sql.get(at..at + 2) == Some(b"||") {
                at = self.skip_blank(at + 2)?;
                self.parameter(at, found);
            } else if at == end {
                // Quotes right behind it are those of a string around it.
                break;
            }
            next = self.constant(at);
        }
        Some(())
    }

    /// All constants and parameters from a byte on.
    pub(super) fn constants(&mut self, from: usize, extent: Extent, found: &mut Found<'a>) -> Option<()> {
        let (to_semicolon, argument) = match extent {
            Extent::Parenthesis => (false, None),
            Extent::Statement(argument) => (true, argument),
        };
        let (mut depth, mut commas) = (0_usize, 0_usize);
        for token in Lexer::new(self.sql).starting_at(from) {
            self.patience = self.patience.checked_sub(token.text.len())?;
            if token.is("(") {
                depth += 1;
            } else if token.is(")") {
                if depth == 0 && argument.is_some() {
                    break;
                }
                depth = depth.saturating_sub(1);
                if depth == 0 && !to_semicolon {
                    break;
                }
            } else if token.is(",") && depth == 0 && argument.is_some() {
                commas += 1;
            } else if argument.is_some_and(|argument| argument != commas) {
            } else if token.is(";") || (token.is(",") && depth == 0 && !to_semicolon) {
                break;
            } else if token.kind == Kind::Text {
                if !token.is_closed || self.is_followed_by_word(token.end()) {
                    found.secrets.push(self.rest(token.start));
                    break;
                }
                found.secrets.push(Secret { place: token.start..token.end(), quote: b"'", is_rest: false });
            } else if token.kind == Kind::Parameter {
                found.parameters.add(&token);
            }
        }
        Some(())
    }
}
