//! Text after PASSWORD other than a constant: part of a statement that is being assembled, or a mistake.

use super::hints::{Hint, LONGEST_NAME};
use super::strings::inside_end;
use super::{Around, Extent, FoundSecrets, Secret};
use crate::sql::lexer::{Token, is_blank, is_word};

/// Tracks whether the words before a hint are those of a statement that sets a password of a role or similar object.
#[derive(Default)]
pub(super) struct RoleStatement {
    at: usize,
    state: RoleState,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum RoleState {
    #[default]
    Other,
    Verb,
    Role,
}

impl RoleStatement {
    /// Returns whether there is such a statement at a byte. Must be called with increasing offsets.
    fn is_at(&mut self, sql: &[u8], at: usize) -> bool {
        let mut rest = sql.get(self.at..at).unwrap_or_default();
        while let Some(first) = rest.first() {
            let len = if first.is_ascii_alphabetic() {
                let len = rest.iter().take_while(|b| is_word(**b)).count();
                let word = rest.get(..len).unwrap_or_default();
                let is = |words: &[&str]| words.iter().any(|one| word.eq_ignore_ascii_case(one.as_bytes()));
                self.state = match self.state {
                    RoleState::Role => RoleState::Role,
                    _ if is(&["create", "alter"]) => RoleState::Verb,
                    RoleState::Verb
                        if is(&["role", "user", "group", "server", "foreign", "subscription", "database"]) =>
                    {
                        RoleState::Role
                    }
                    _ => RoleState::Other,
                };
                len
            } else {
                if *first == b';' {
                    self.state = RoleState::Other;
                }
                1
            };
            rest = rest.get(len..).unwrap_or_default();
        }
        self.at = at.max(self.at);
        self.state == RoleState::Role
    }
}

impl<'a> Around<'a> {
    /// Finds the secret after PASSWORD if it is not a constant.
    pub(super) fn password(
        &mut self,
        hint: Hint,
        string: Option<Token<'a>>,
        at: usize,
        found: &mut FoundSecrets<'a>,
    ) -> Option<()> {
        // Dollar quotes may contain something other than code, except as an argument of `format`.
        let is_place = self.sql.get(at..at + 2).is_some_and(|spec| {
            spec.first() == Some(&b'%') && spec.last().is_some_and(|b| b.is_ascii_digit() || b"sIL-".contains(b))
        });
        let outer = self.strings.outer.filter(|outer| is_place && hint.start < outer.end());
        if let Some(string) = string.or(outer)
            && self.is_to_be_continued(hint, string)?
        {
            let is_format = self.sql.get(hint.end..inside_end(string))?.trim_ascii_start().strip_prefix(b"%");
            let argument = is_format
                .filter(|spec| !spec.first().is_some_and(u8::is_ascii_digit))
                .and_then(|_| self.format.argument_at(self.sql, string.start, hint.end));
            return self.constants(string.end(), Extent::Statement(argument), found).map(|_| ());
        }
        if !self.role.is_at(self.sql, hint.start) || self.byte(at).is_some_and(|b| b";,)".contains(&b)) {
            return Some(());
        }
        if self.after_word(at, "null").is_some() || self.is_parameter(at) {
            return Some(());
        }
        // It may look like a comment.
        let begin = self.blanks(hint.end);
        let at = if begin < at { begin } else { at };
        if let Some(secret) = self.quoted_word(at) {
            found.secrets.push(self.certain(secret));
            return Some(());
        }
        // In a string, it ends with the string at the latest.
        let limit = string.map_or(self.sql.len(), inside_end);
        let text = self.sql.get(at..limit).unwrap_or_default();
        let len = memchr::memchr(b';', text).unwrap_or(text.len());
        let is_odd = memchr::memchr2(b'\'', b'"', text.get(..len).unwrap_or_default()).is_some() || !self.lexes();
        let end = if is_odd { limit } else { at + len };
        if end > at {
            found.secrets.push(Secret { place: at..end, quote: b"", is_rest: true });
        }
        Some(())
    }

    /// Returns whether a string ends after a word and is continued by another string or a parameter.
    fn is_to_be_continued(&mut self, hint: Hint, string: Token<'_>) -> Option<bool> {
        let inside = self.sql.get(hint.end..inside_end(string)).unwrap_or_default();
        let before = self.sql.get(string.start..hint.start).unwrap_or_default();
        let is_sentence = inside.first().is_some_and(|b| is_blank(*b))
            && before.iter().rev().take(LONGEST_NAME).any(|b| is_blank(*b));
        let rest = inside.trim_ascii_start();
        let rest = rest.strip_prefix(b"'").or_else(|| rest.strip_prefix(b"\"")).unwrap_or(rest);
        if !is_sentence {
            return Some(false);
        }
        if let [b'%', spec @ ..] = rest
            && spec.first().is_some_and(|b| b.is_ascii_digit() || b"sIL-".contains(b))
        {
            return Some(true);
        }
        if rest.first() != Some(&b'%') && !rest.iter().all(|b| is_blank(*b) || *b == b'\'') {
            return Some(false);
        }
        // Text after a comma need not be related: VALUES ('Reset your password ', 'Dear …').
        let next = self.skip_blank(string.end())?;
        Some(self.sql.get(next..next + 2) == Some(b"||") || self.role.is_at(self.sql, hint.start))
    }
}

/// The argument placeholders of `format` in a string, up to the current hint.
#[derive(Default)]
pub(super) struct FormatPlaces {
    start: usize,
    at: usize,
    count: usize,
    are_numbered: bool,
}

impl FormatPlaces {
    /// Returns the index of the argument for the `%L` after a byte; `%2$L` contains it. Returns `None` if it is uncertain. Must
    /// be called with increasing offsets, so that the text is read once.
    pub(super) fn argument_at(&mut self, sql: &[u8], start: usize, at: usize) -> Option<usize> {
        if self.start != start || self.at < start {
            *self = Self { start, at: start, ..Self::default() };
        }
        for pair in sql.get(self.at..at + 1).unwrap_or_default().windows(2) {
            match pair {
                [b'%', b's' | b'I' | b'L' | b'-'] => self.count += 1,
                // Explicit positions do not count in the sequence.
                [b'$', b's' | b'I'] => self.are_numbered = true,
                _ => {}
            }
        }
        self.at = at.max(self.at);
        (!self.are_numbered).then_some(self.count + 1)
    }
}
