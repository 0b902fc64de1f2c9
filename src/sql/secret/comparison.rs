//! What joins a name and a value: what sets it, and what compares it.

use super::hints::LONGEST_NAME;
use super::setting::strip_last_word;
use super::{Around, FoundSecrets, Secret};
use crate::sql::lexer::is_word;

/// What joins a name and its value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Joint {
    /// Nothing, or AS.
    None,
    /// `=`, `:=`, `=>`, TO, IS DISTINCT FROM.
    Assigns,
}

impl<'a> Around<'a> {
    /// What joins a name that ends at a byte with its value, and where that is. Nothing where it takes too long.
    pub(super) fn joint(&mut self, end: usize) -> Option<(Joint, usize)> {
        let at = self.skip_blank(end)?;
        for operator in [&b"=>"[..], b":=", b"="] {
            if self.sql.get(at..).unwrap_or_default().starts_with(operator) {
                return Some((Joint::Assigns, self.skip_blank(at + operator.len())?));
            }
        }
        if let Some(at) = self.behind_word(at, "to") {
            return Some((Joint::Assigns, self.skip_blank(at)?));
        }
        // FROM alone joins nothing: SELECT password FROM ….
        let mut behind = at;
        for (word, is_needed) in [("is", true), ("not", false), ("distinct", true), ("from", true)] {
            match self.behind_word(behind, word) {
                Some(end) => behind = self.skip_blank(end)?,
                None if is_needed => return Some((Joint::None, at)),
                None => {}
            }
        }
        Some((Joint::Assigns, behind))
    }

    /// Where the value is that something is compared with: `<> 'x'`, `IN ('x')`, `::text = 'x'`, `lower(password) LIKE 'x'`.
    pub(super) fn compared(&mut self, end: usize) -> Option<Option<usize>> {
        /// More than calls have in calls.
        const MOST: usize = 4;
        let mut at = self.behind_casts(end)?;
        let mut is_behind = at > self.blanks(end);
        for _ in 0..MOST {
            if self.byte(at) != Some(b')') {
                break;
            }
            at = self.behind_casts(at + 1)?;
            is_behind = true;
        }
        for operator in [&b"<>"[..], b"!="] {
            if self.sql.get(at..).unwrap_or_default().starts_with(operator) {
                return Some(Some(self.skip_blank(at + operator.len())?));
            }
        }
        if is_behind && self.byte(at) == Some(b'=') && self.byte(at + 1) != Some(b'>') {
            return Some(Some(self.skip_blank(at + 1)?));
        }
        let not = self.behind_word(at, "not");
        at = not.map_or(Some(at), |behind| self.skip_blank(behind))?;
        for operator in ["in", "like", "ilike"] {
            if let Some(behind) = self.behind_word(at, operator) {
                return Some(Some(self.skip_blank(behind)?));
            }
        }
        Some(None)
    }

    /// Where casts end: `::varchar(20)`.
    pub(super) fn behind_casts(&mut self, end: usize) -> Option<usize> {
        let mut at = self.skip_blank(end)?;
        while self.sql.get(at..at + 2) == Some(b"::") {
            let start = self.skip_blank(at + 2)?;
            let is_type = |b: &u8| is_word(*b) || matches!(b, b'.' | b'"' | b'[' | b']');
            let len =
                self.sql.get(start..)?.iter().take(LONGEST_NAME).position(|b| !is_type(b)).unwrap_or(LONGEST_NAME);
            at = start + len;
            if self.byte(at) == Some(b'(') {
                at += self.sql.get(at..)?.iter().take(8).position(|b| *b == b')').map_or(0, |close| close + 1);
            }
            at = self.skip_blank(at)?;
        }
        Some(at)
    }

    /// The constant before a name: `'x' = password`, `'x' AS password`.
    pub(super) fn before(&self, name: usize, found: &mut FoundSecrets<'a>) {
        let Some(text) = self.strings.last else { return };
        let between = self.sql.get(text.end()..name).filter(|between| between.len() <= LONGEST_NAME);
        let Some(between) = between.map(<[u8]>::trim_ascii) else { return };
        let without_cast = between.strip_prefix(b"::").map_or(between, |cast| {
            let len = cast.iter().take_while(|b| is_word(**b) || **b == b'.').count();
            cast.get(len..).unwrap_or_default().trim_ascii_start()
        });
        let joins = matches!(without_cast, b"=" | b"<>" | b"!=") || without_cast.eq_ignore_ascii_case(b"as");
        let is_new = found.secrets.last().is_none_or(|last| last.place.end <= text.start);
        if joins && is_new {
            found.secrets.push(Secret { place: text.start..text.end(), quote: b"'", is_rest: false });
        }
    }

    /// Whether a name is that of a table or a view that is made: what is behind it in parentheses is what it has.
    pub(super) fn is_defined(&self, name: usize) -> bool {
        let before = self.sql.get(..name).unwrap_or_default().trim_ascii_end();
        ["table", "exists", "view", "into", "constraint", "index", "type"]
            .iter()
            .any(|word| strip_last_word(before, word).is_some())
    }
}
