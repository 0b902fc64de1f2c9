//! Values by their place in a list, where a column of the list is named like a secret: of INSERT, of rows that are set or
//! compared, of VALUES that a name is given to.

use super::hints::Hint;
use super::{Around, FoundSecrets, Secret};
use crate::sql::lexer::{Kind, Lexer, Token, is_blank, is_word};
use crate::sql::names::is_secret_word;

/// More columns than a table has.
const MOST_COLUMNS: usize = 1_664;

/// The lists that were looked at. Hints come in order, so that each byte before one is looked at once.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Where the last walk to the parenthesis that opens a list began, and where that is, if there is one.
    opened: (usize, Option<usize>),
    /// The list that was read last ends here.
    end: usize,
    /// How many bytes were read of lists and their values.
    read: usize,
}

/// What is behind a list of columns.
enum Behind {
    /// Rows in parentheses, from this byte on.
    Rows(usize),
    /// The columns of SELECT.
    Select(usize),
}

impl<'a> Around<'a> {
    /// Takes the values of all columns of the list that a name is in, where it is in one. Says whether it is. Nothing where
    /// that takes too long.
    pub(super) fn list(&mut self, hint: Hint, name: usize, found: &mut FoundSecrets<'a>) -> Option<bool> {
        if hint.start < self.lists.end {
            return Some(true);
        }
        let behind = if self.byte(hint.end) == Some(b'"') { hint.end + 1 } else { hint.end };
        let next = self.byte(self.blanks(behind));
        let before = self.sql.get(..name).unwrap_or_default().trim_ascii_end().last().copied();
        if !matches!(next, Some(b',' | b')')) || !matches!(before, Some(b',' | b'(')) {
            return Some(false);
        }
        let Some(start) = self.opening(name) else { return Some(false) };
        let mut columns = Vec::new();
        let mut end = None;
        let mut is_first = true;
        for token in Lexer::new(self.sql).starting_at(start + 1).filter(|token| !token.is_blank()) {
            self.read(&token)?;
            match token.kind {
                Kind::Word | Kind::QuotedWord => {
                    let word = token.text.strip_prefix(b"\"").and_then(|word| word.strip_suffix(b"\""));
                    let is_secret = is_secret_word(word.unwrap_or(token.text));
                    match columns.last_mut() {
                        // The last part of a name is the column.
                        Some(last) if !is_first => *last = is_secret,
                        _ => columns.push(is_secret),
                    }
                    is_first = false;
                }
                _ if token.is(",") && columns.len() < MOST_COLUMNS => is_first = true,
                _ if token.is(".") => {}
                _ if token.is(")") => {
                    end = Some(token.end());
                    break;
                }
                _ => break,
            }
        }
        let Some(end) = end else { return Some(false) };
        match self.behind_list(end)? {
            Some(Behind::Rows(at)) => self.rows(at, &columns, found)?,
            Some(Behind::Select(at)) => self.selects(at, &columns, found)?,
            None => return Some(false),
        }
        self.lists.end = end;
        Some(true)
    }

    fn read(&mut self, token: &Token<'_>) -> Option<()> {
        self.lists.read += token.text.len();
        (self.lists.read <= self.sql.len() + (1 << 16)).then_some(())
    }

    /// Where the parenthesis is that opens the list that a byte is in: only names are between them.
    fn opening(&mut self, at: usize) -> Option<usize> {
        let (walked, opened) = self.lists.opened;
        let mut found = None;
        for (place, byte) in self.sql.get(..at).unwrap_or_default().iter().enumerate().rev() {
            if *byte == b'(' {
                found = Some(place);
                break;
            }
            if place < walked {
                found = opened;
                break;
            }
            if !(is_word(*byte) || is_blank(*byte) || matches!(byte, b',' | b'"' | b'.')) {
                break;
            }
        }
        self.lists.opened = (at, found);
        found
    }

    fn behind_list(&mut self, end: usize) -> Option<Option<Behind>> {
        let mut at = self.skip_blank(end)?;
        if self.byte(at) == Some(b'=') {
            at = self.skip_blank(at + 1)?;
            at = match self.behind_word(at, "row") {
                Some(behind) => self.skip_blank(behind)?,
                None => at,
            };
            if self.byte(at) != Some(b'(') {
                return Some(None);
            }
            let inside = self.skip_blank(at + 1)?;
            let select = self.behind_word(inside, "select").map(Behind::Select);
            return Some(select.or(Some(Behind::Rows(at))));
        }
        let mut is_in = false;
        for word in ["overriding", "system", "user", "value", "not", "in", "as", "materialized"] {
            if let Some(behind) = self.behind_word(at, word) {
                at = self.skip_blank(behind)?;
                is_in |= word == "in";
            }
        }
        // In parentheses, or not.
        while self.byte(at) == Some(b'(') {
            let inside = self.skip_blank(at + 1)?;
            if is_in && self.byte(inside) == Some(b'(') {
                return Some(Some(Behind::Rows(inside)));
            }
            if self.behind_word(inside, "values").is_none() && self.behind_word(inside, "select").is_none() {
                break;
            }
            at = inside;
        }
        if let Some(behind) = self.behind_word(at, "values") {
            return Some(Some(Behind::Rows(self.skip_blank(behind)?)));
        }
        Some(self.behind_word(at, "select").map(Behind::Select))
    }

    /// Rows in parentheses, with commas between them.
    fn rows(&mut self, from: usize, columns: &[bool], found: &mut FoundSecrets<'a>) -> Option<()> {
        let mut at = from;
        while self.byte(at) == Some(b'(') {
            let end = self.columns(at, 1, columns, found)?;
            at = self.skip_blank(end)?;
            if self.byte(at) != Some(b',') {
                break;
            }
            at = self.skip_blank(at + 1)?;
        }
        Some(())
    }

    /// The columns of SELECT, and of others that UNION joins to it.
    fn selects(&mut self, from: usize, columns: &[bool], found: &mut FoundSecrets<'a>) -> Option<()> {
        let mut at = self.columns(from, 0, columns, found)?;
        while let Some(behind) = ["union", "except", "intersect"].iter().find_map(|word| self.behind_word(at, word)) {
            at = self.skip_blank(behind)?;
            let quantifier = ["all", "distinct"].iter().find_map(|word| self.behind_word(at, word));
            at = quantifier.map_or(Some(at), |behind| self.skip_blank(behind))?;
            let Some(select) = self.behind_word(at, "select") else { break };
            at = self.columns(select, 0, columns, found)?;
        }
        Some(())
    }

    /// One row, whose columns are so deep in parentheses. Says where it ends.
    fn columns(&mut self, from: usize, deep: usize, columns: &[bool], found: &mut FoundSecrets<'a>) -> Option<usize> {
        let (mut depth, mut column) = (0_usize, 0_usize);
        for token in Lexer::new(self.sql).starting_at(from) {
            self.read(&token)?;
            let is_secret = columns.get(column).copied().unwrap_or_default();
            if token.is("(") || token.is("[") {
                depth += 1;
            } else if token.is(")") || token.is("]") {
                depth = match depth.checked_sub(1) {
                    Some(depth) if depth >= deep && (deep == 0 || depth > 0) => depth,
                    _ => return Some(token.end()),
                };
            } else if depth == deep && token.is(",") {
                column += 1;
            } else if token.is(";") || deep == 0 && depth == 0 && ends_columns(&token) {
                return Some(token.start);
            } else if is_secret && token.kind == Kind::Text {
                if !token.is_closed || self.is_followed_by_word(token.end()) {
                    self.listed.push(self.rest(token.start));
                    return Some(self.sql.len());
                }
                self.listed.push(Secret { place: token.start..token.end(), quote: b"'", is_rest: false });
            } else if is_secret && token.kind == Kind::Parameter {
                found.parameters.add(&token);
            }
        }
        Some(self.sql.len())
    }
}

/// Whether a word is what the columns of SELECT end before.
fn ends_columns(token: &Token<'_>) -> bool {
    ["from", "where", "returning", "on", "union", "except", "intersect"].iter().any(|word| token.is_word(word))
}
