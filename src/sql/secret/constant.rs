//! Constants: where they end, at any level of quoting.

use super::{Around, FoundSecrets, Secret};
use crate::sql::lexer::{Kind, Lexer, Token, is_blank};

/// The part of an expression in which all constants are secrets.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    /// Up to the closing parenthesis.
    Parenthesis,
    /// Up to the END of CASE, except for its conditions.
    Case,
    /// Up to the end of the statement; if an index is given, only in the argument with this index after the first.
    Statement(Option<usize>),
}

impl<'a> Around<'a> {
    /// Returns the string constant after a word.
    pub(super) fn constant(&mut self, word: usize) -> Option<Secret<'a>> {
        let Some(mut at) = self.skip_blank(word) else { return Some(self.rest(word)) };
        if let Some(after) = self.after_word(at, "as") {
            at = self.skip_blank(after)?;
        }
        let rest = self.sql.get(at..).unwrap_or_default();
        let string = self.strings.around(at);
        // The word ends a string: WHERE name = 'password'. It may also look so if the text cannot be lexed: can't ALTER …
        // PASSWORD 'x'.
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
        // The continuation of a constant may follow comments.
        if self.skip_blank(end).is_none() {
            return Some(self.rest(at));
        }
        if memchr::memmem::find(token.text, b"\\'").is_some() {
            // If standard_conforming_strings is off, it may be longer.
            end = end.max(read(Lexer::with_backslashes(self.sql))?.end());
        }
        secret(at..end, b"'")
    }

    /// Returns a constant nested in a constant, with doubled quotes: `EXECUTE 'ALTER ROLE u PASSWORD ''x'''`.
    fn nested(&self, at: usize, quotes: usize) -> Secret<'a> {
        let quote = self.sql.get(at..at + quotes).unwrap_or_default();
        let mut end = at + quotes;
        while let Some(found) = self.sql.get(end..).and_then(|rest| memchr::memchr(b'\'', rest)) {
            end += found;
            let run = self.sql.get(end..).unwrap_or_default().iter().take_while(|b| **b == b'\'').count();
            let unpaired = run % (2 * quotes);
            end += run;
            if unpaired > 0 {
                // Its own quotes come first; the remaining ones end the enclosing constant.
                return Secret { place: at..end - unpaired.saturating_sub(quotes), quote, is_rest: false };
            }
        }
        Secret { place: at..self.sql.len(), quote, is_rest: false }
    }

    /// Adds a constant, and those concatenated with it, or written right after it by mistake.
    pub(super) fn joined(&mut self, secret: Secret<'a>, found: &mut FoundSecrets<'a>) -> Option<()> {
        /// More than occur in a row in practice.
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
            let at = self.after_casts(end)?;
            if self.sql.get(at..at + 2) == Some(b"||") {
                return self.chain(at, found);
            }
            if at == end || at > self.skip_blank(end)? {
                // Quotes right after it belong to an enclosing string.
                break;
            }
            next = self.constant(at);
        }
        Some(())
    }

    /// Finds what is concatenated with an operand that ends at a byte: `|| 'x'`.
    pub(super) fn chain(&mut self, end: usize, found: &mut FoundSecrets<'a>) -> Option<()> {
        /// More than occur in practice.
        const LONGEST: usize = 16;
        let mut end = end;
        for _ in 0..LONGEST {
            let at = self.after_casts(end)?;
            if self.sql.get(at..at + 2) != Some(b"||") {
                break;
            }
            let at = self.skip_blank(at + 2)?;
            end = match self.constant(at) {
                Some(secret) => {
                    let secret = self.certain(secret);
                    let end = secret.place.end;
                    found.secrets.push(secret);
                    end
                }
                None if self.is_parameter(at) => {
                    self.parameter(at, found);
                    at + 1 + self.digits(at + 1)
                }
                None => self.operand(at, found)?.unwrap_or_else(|| self.path(at)),
            };
        }
        Some(())
    }

    /// Finds the constants in an operand that is not a constant itself: a call, parentheses, CASE, `text 'x'`. Returns its end,
    /// if there is one.
    pub(super) fn operand(&mut self, at: usize, found: &mut FoundSecrets<'a>) -> Option<Option<usize>> {
        if self.byte(at) == Some(b'(') {
            return self.constants(at, Extent::Parenthesis, found).map(Some);
        }
        let end = self.path(at);
        if end == at {
            return Some(None);
        }
        if self.after_word(at, "case").is_some() {
            return self.constants(at, Extent::Case, found).map(Some);
        }
        let next = self.blanks(end);
        match self.byte(next) {
            Some(b'(' | b'[') => self.constants(next, Extent::Parenthesis, found).map(Some),
            // In a string, this may be its closing quote.
            Some(b'\'') if next > end && self.strings.around(next).is_none() => {
                let Some(secret) = self.constant(next) else { return Some(None) };
                let secret = self.certain(secret);
                let end = secret.place.end;
                found.secrets.push(secret);
                Some(Some(end))
            }
            _ => Some(None),
        }
    }

    /// Finds all constants and parameters from a byte on, except those in conditions of subqueries. Returns where the expression
    /// ends.
    pub(super) fn constants(&mut self, from: usize, extent: Extent, found: &mut FoundSecrets<'a>) -> Option<usize> {
        let (to_semicolon, argument) = match extent {
            Extent::Parenthesis | Extent::Case => (false, None),
            Extent::Statement(argument) => (true, argument),
        };
        let is_case = matches!(extent, Extent::Case);
        let (mut depth, mut commas, mut cases) = (0_usize, 0_usize, 0_usize);
        let mut queries = Queries::default();
        let mut is_condition = false;
        let mut is_opened = false;
        let mut salt = Salt::default();
        for token in Lexer::new(self.sql).starting_at(from) {
            self.budget = self.budget.checked_sub(token.text.len())?;
            if salt.has(&token, depth) {
            } else if token.kind == Kind::Word {
                queries.word(&token, depth, is_opened);
                if is_case {
                    is_condition = token.is_word("when") || is_condition && !token.is_word("then");
                    if token.is_word("case") {
                        cases += 1;
                    } else if token.is_word("end") {
                        cases = cases.saturating_sub(1);
                        if cases == 0 {
                            return Some(token.end());
                        }
                    }
                }
            }
            if !token.is_blank() {
                is_opened = token.is("(");
            }
            if token.is("(") || token.is("[") {
                depth += 1;
            } else if token.is(")") || token.is("]") {
                if depth == 0 && (argument.is_some() || is_case) {
                    return Some(token.start);
                }
                depth = depth.saturating_sub(1);
                queries.close(depth);
                if depth == 0 && !to_semicolon && !is_case {
                    return Some(token.end());
                }
            } else if token.is(",") && depth == 0 && argument.is_some() {
                commas += 1;
            } else if argument.is_some_and(|argument| argument != commas) {
            } else if token.is(";") || (token.is(",") && depth == 0 && !to_semicolon) {
                return Some(token.start);
            } else if is_condition || queries.are_choosing() || salt.is_inside() {
            } else if token.kind == Kind::Text {
                if !token.is_closed || self.is_followed_by_word(token.end()) {
                    found.secrets.push(self.rest(token.start));
                    return Some(self.sql.len());
                }
                found.secrets.push(Secret { place: token.start..token.end(), quote: b"'", is_rest: false });
            } else if token.kind == Kind::Parameter {
                found.parameters.add(&token);
            }
        }
        Some(self.sql.len())
    }
}

/// The subqueries around the current position. Their results are in their columns; what follows FROM only selects rows.
#[derive(Default)]
struct Queries {
    /// The nesting depth of each, and whether its FROM was passed.
    open: Vec<(usize, bool)>,
}

impl Queries {
    fn word(&mut self, token: &Token<'_>, depth: usize, is_opened: bool) {
        if is_opened && token.is_word("select") {
            let is_in_from = self.are_choosing();
            self.open.push((depth, is_in_from));
            return;
        }
        if let Some((deep, has_from)) = self.open.last_mut()
            && *deep == depth
        {
            if token.is_word("from") || token.is_word("where") {
                *has_from = true;
            } else if token.is_word("union") || token.is_word("except") || token.is_word("intersect") {
                *has_from = false;
            }
        }
    }

    fn close(&mut self, depth: usize) {
        if self.open.last().is_some_and(|(deep, _)| *deep > depth) {
            self.open.pop();
        }
    }

    fn are_choosing(&self) -> bool {
        self.open.last().is_some_and(|(_, has_from)| *has_from)
    }
}

/// The call that generates a salt; its arguments are not secret.
#[derive(Default)]
pub(super) struct Salt {
    /// Its nesting depth.
    call: Option<usize>,
}

impl Salt {
    /// Returns whether a token at this depth belongs to the call: from its name to its closing parenthesis.
    pub(super) fn has(&mut self, token: &Token<'_>, depth: usize) -> bool {
        let is_name = token.is_word("gen_salt");
        if is_name {
            self.call = Some(depth);
        } else if self.call == Some(depth) && !token.is_blank() && !token.is("(") {
            self.call = None;
        }
        is_name
    }

    pub(super) const fn is_inside(&self) -> bool {
        self.call.is_some()
    }
}
