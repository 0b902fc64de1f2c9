//! Values found by their position in a list in which the name of a column indicates a secret: of INSERT, of rows in assignments
//! and comparisons, and of VALUES with column names.

use super::constant::Salt;
use super::hints::{Hint, LONGEST_NAME};
use super::setting::strip_last_word;
use super::{Around, FoundSecrets, Secret};
use crate::sql::lexer::{Kind, Lexer, Token, is_blank, is_word};
use crate::sql::names::is_secret_word;

/// The maximum number of columns of a table.
const MAX_COLUMNS: usize = 1_664;

/// The lists read so far. Hints are processed in order, so each byte before one is read once.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// The start of the last search for the opening parenthesis of a list, and its result.
    opened: (usize, Option<usize>),
    /// The end of the list that was read last.
    end: usize,
    /// The number of bytes read of lists and their values.
    read: usize,
}

/// What follows a list of columns.
enum ListContent {
    /// Rows in parentheses, from this byte on.
    Rows(usize),
    /// A query, with or without parentheses.
    Query(usize),
}

impl<'a> Around<'a> {
    /// Finds the values of all columns of the list that contains a name. Returns whether the name is in a list; `None` if it
    /// takes too long.
    pub(super) fn list(&mut self, hint: Hint, name: usize, found: &mut FoundSecrets<'a>) -> Option<bool> {
        if hint.start < self.lists.end {
            return Some(true);
        }
        let after = if self.byte(hint.end) == Some(b'"') { hint.end + 1 } else { hint.end };
        let next = self.byte(self.blanks(self.after_subscripts(after)));
        let before = self.sql.get(..name).unwrap_or_default().trim_ascii_end().last().copied();
        if !matches!(next, Some(b',' | b')')) || !matches!(before, Some(b',' | b'(')) {
            return Some(false);
        }
        let Some(start) = self.opening(name) else { return Some(false) };
        let mut columns = Vec::new();
        let mut end = None;
        let mut is_first = true;
        let mut is_subscript = false;
        for token in Lexer::new(self.sql).starting_at(start + 1).filter(|token| !token.is_blank()) {
            self.read(&token)?;
            is_subscript = (is_subscript || token.is("[")) && !token.is("]");
            match token.kind {
                _ if is_subscript || token.is("]") => {}
                Kind::Word | Kind::QuotedWord => {
                    let word = token.text.strip_prefix(b"\"").and_then(|word| word.strip_suffix(b"\""));
                    let is_secret = is_secret_word(word.unwrap_or(token.text));
                    match columns.last_mut() {
                        // The last part of a qualified name is the column.
                        Some(last) if !is_first => *last = is_secret,
                        _ => columns.push(is_secret),
                    }
                    is_first = false;
                }
                _ if token.is(",") && columns.len() < MAX_COLUMNS => is_first = true,
                _ if token.is(".") => {}
                _ if token.is(")") => {
                    end = Some(token.end());
                    break;
                }
                _ => break,
            }
        }
        let Some(end) = end else { return Some(false) };
        match self.after_list(end)? {
            Some(ListContent::Rows(at)) => self.rows(at, &columns, found).map(|_| ())?,
            Some(ListContent::Query(at)) => self.query(at, &columns, found)?,
            None if self.before_list(start, &columns, found)? => {}
            None => return Some(false),
        }
        self.lists.end = end;
        Some(true)
    }

    fn read(&mut self, token: &Token<'_>) -> Option<()> {
        self.lists.read += token.text.len();
        // Queries may be nested.
        (self.lists.read <= 4 * self.sql.len() + (1 << 16)).then_some(())
    }

    /// Returns the opening parenthesis of the list that contains a byte: only names are between them.
    pub(super) fn opening(&mut self, at: usize) -> Option<usize> {
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
            if !(is_word(*byte) || is_blank(*byte) || matches!(byte, b',' | b'"' | b'.' | b'[' | b']' | b':')) {
                break;
            }
        }
        self.lists.opened = (at, found);
        found
    }

    fn after_list(&mut self, end: usize) -> Option<Option<ListContent>> {
        let mut at = self.skip_blank(end)?;
        if self.byte(at) == Some(b'=') {
            at = self.skip_blank(at + 1)?;
            at = match self.after_word(at, "row") {
                Some(after) => self.skip_blank(after)?,
                None => at,
            };
            if self.byte(at) != Some(b'(') {
                return Some(None);
            }
            return Some(self.begins_query(at)?.or(Some(ListContent::Rows(at))));
        }
        let mut is_in = false;
        for word in ["overriding", "system", "user", "value", "not", "in", "as", "materialized"] {
            if let Some(after) = self.after_word(at, word) {
                at = self.skip_blank(after)?;
                is_in |= word == "in";
            }
        }
        let query = self.begins_query(at)?;
        if query.is_none() && is_in && self.byte(at) == Some(b'(') {
            let inside = self.skip_blank(at + 1)?;
            return Some((self.byte(inside) == Some(b'(')).then_some(ListContent::Rows(inside)));
        }
        Some(query)
    }

    /// Returns the query that begins at a byte, with or without parentheses.
    fn begins_query(&mut self, at: usize) -> Option<Option<ListContent>> {
        let mut inside = at;
        while self.byte(inside) == Some(b'(') {
            self.lists.read += 1;
            inside = self.skip_blank(inside + 1)?;
        }
        let is_query = ["values", "select", "with", "table"].iter().any(|word| self.after_word(inside, word).is_some());
        Some(is_query.then_some(ListContent::Query(at)))
    }

    /// Finds the values before a list of their column names: `(VALUES ('a', 'x')) AS v (name, password)`. Returns whether there
    /// are any.
    fn before_list(&mut self, list: usize, columns: &[bool], found: &mut FoundSecrets<'a>) -> Option<bool> {
        let before = self.sql.get(..list)?.trim_ascii_end();
        let is_name = |b: &&u8| is_word(**b) || **b == b'"';
        let name = before.iter().rev().take(LONGEST_NAME).take_while(is_name).count();
        let before = before.get(..before.len() - name)?.trim_ascii_end();
        let before = strip_last_word(before, "as").map_or(before, <[u8]>::trim_ascii_end);
        let values = self.strings.closed.clone();
        if name == 0 || values.end != before.len() || values.is_empty() {
            return Some(false);
        }
        let function = self.sql.get(..values.start)?.trim_ascii_end();
        if strip_last_word(function, "unnest").is_some() {
            return self.columns(values.start, 1, columns, found).map(|_| true);
        }
        if self.begins_query(values.start)?.is_none() {
            return Some(false);
        }
        self.query(values.start + 1, columns, found).map(|()| true)
    }

    /// Processes rows in parentheses, separated by commas. Returns their end.
    fn rows(&mut self, from: usize, columns: &[bool], found: &mut FoundSecrets<'a>) -> Option<usize> {
        let mut at = from;
        while self.byte(at) == Some(b'(') {
            let end = self.columns(at, 1, columns, found)?;
            at = self.skip_blank(end)?;
            if self.byte(at) != Some(b',') {
                break;
            }
            at = self.skip_blank(at + 1)?;
        }
        Some(at)
    }

    /// Processes the results of a query: the columns of SELECT, the rows of VALUES, and those of further queries joined by UNION.
    fn query(&mut self, from: usize, columns: &[bool], found: &mut FoundSecrets<'a>) -> Option<()> {
        // The nesting depth of parentheses, and that of the last query found.
        let (mut depth, mut level) = (0_usize, 0_usize);
        let mut is_expected = true;
        // The nesting depth of a WITH at the beginning.
        let mut with = None;
        let mut tokens = Lexer::new(self.sql).starting_at(from);
        while let Some(token) = tokens.next() {
            self.read(&token)?;
            let is = |words: &[&str]| token.kind == Kind::Word && words.iter().any(|word| token.is_word(word));
            let is_here = is_expected && with.is_none_or(|with| with == depth);
            let mut end = token.end();
            if token.is_blank() {
            } else if token.is("(") {
                depth += 1;
            } else if token.is(")") {
                let Some(less) = depth.checked_sub(1) else { break };
                depth = less;
                is_expected &= with.is_some();
            } else if token.is(";") || depth == 0 && is(&["returning", "conflict"]) {
                break;
            } else if is_here && is(&["select", "values", "table"]) {
                (level, is_expected, with) = (depth, false, None);
                if token.is_word("select") {
                    (end, is_expected) = self.select(end, columns, found)?;
                } else if token.is_word("values") {
                    let rows = self.skip_blank(end)?;
                    end = self.rows(rows, columns, found)?;
                }
            } else if is_here && is(&["with"]) {
                with = Some(depth);
            } else if depth <= level && is(&["union", "except", "intersect"]) {
                is_expected = true;
            } else if with.is_none() && !is(&["all", "distinct"]) {
                is_expected = false;
            }
            if end > token.end() {
                tokens = tokens.starting_at(end);
            }
        }
        Some(())
    }

    /// Processes the columns of SELECT. Returns their end, and whether a query in parentheses provides the results instead.
    fn select(&mut self, at: usize, columns: &[bool], found: &mut FoundSecrets<'a>) -> Option<(usize, bool)> {
        let mut at = self.skip_blank(at)?;
        if let Some(after) = self.after_word(at, "all") {
            at = self.skip_blank(after)?;
        } else if let Some(after) = self.after_word(at, "distinct") {
            at = self.skip_blank(after)?;
            if let Some(after) = self.after_word(at, "on") {
                let opening = self.skip_blank(after)?;
                // None of these is a column.
                at = self.columns(opening, 1, &[], found)?;
            }
        }
        if self.byte(at) == Some(b'*')
            && let from = self.skip_blank(at + 1)?
            && let Some(after) = self.after_word(from, "from")
        {
            let source = self.skip_blank(after)?;
            if let Some(after) = self.after_word(source, "unnest") {
                let opening = self.skip_blank(after)?;
                return self.columns(opening, 1, columns, found).map(|end| (end, false));
            }
            return Some((source, self.byte(source) == Some(b'(')));
        }
        self.columns(at, 0, columns, found).map(|end| (end, false))
    }

    /// Processes one row, whose columns are at this nesting depth. Returns its end.
    fn columns(&mut self, from: usize, deep: usize, columns: &[bool], found: &mut FoundSecrets<'a>) -> Option<usize> {
        let (mut depth, mut column) = (0_usize, 0_usize);
        let mut salt = Salt::default();
        for token in Lexer::new(self.sql).starting_at(from) {
            self.read(&token)?;
            let is_secret = columns.get(column).copied().unwrap_or_default();
            salt.has(&token, depth);
            if token.is("(") || token.is("[") {
                depth += 1;
            } else if token.is(")") || token.is("]") {
                depth = match depth.checked_sub(1) {
                    Some(depth) if depth >= deep && (deep == 0 || depth > 0) => depth,
                    // A closing parenthesis around the query does not belong to it.
                    _ if deep == 0 => return Some(token.start),
                    _ => return Some(token.end()),
                };
            } else if depth == deep && token.is(",") {
                column += 1;
            } else if token.is(";") || deep == 0 && depth == 0 && ends_columns(&token) {
                return Some(token.start);
            } else if is_secret && !salt.is_inside() && token.kind == Kind::Text {
                if !token.is_closed || self.is_followed_by_word(token.end()) {
                    self.listed.push(self.rest(token.start));
                    return Some(self.sql.len());
                }
                self.listed.push(Secret { place: token.start..token.end(), quote: b"'", is_rest: false });
            } else if is_secret && !salt.is_inside() && token.kind == Kind::Parameter {
                found.parameters.add(&token);
            }
        }
        Some(self.sql.len())
    }
}

/// Returns whether a word ends the columns of SELECT.
fn ends_columns(token: &Token<'_>) -> bool {
    const WORDS: [&str; 10] =
        ["from", "where", "returning", "on", "union", "except", "intersect", "order", "limit", "group"];
    WORDS.iter().any(|word| token.is_word(word))
}
