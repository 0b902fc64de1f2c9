//! Settings that are named like secrets: SET and `set_config`.

use std::ops::Range;

use super::Around;
use super::hints::{Hint, LONGEST_NAME};
use crate::sql::lexer::is_word;

impl<'a> Around<'a> {
    /// The name of a setting that a word is in: `app.api_token`, in quotes or not.
    pub(super) fn setting_name(&self, hint: Hint) -> Range<usize> {
        let is_part = |b: &&u8| is_word(**b) || matches!(**b, b'.' | b'"');
        let before = self.sql.get(..hint.start).unwrap_or_default().iter().rev().take(2 * LONGEST_NAME);
        let behind = self.sql.get(hint.end..).unwrap_or_default().iter().take(2 * LONGEST_NAME);
        hint.start - before.take_while(is_part).count()..hint.end + behind.take_while(is_part).count()
    }

    /// What is before the SET that is before a name.
    pub(super) fn before_set(&self, start: usize) -> Option<&'a [u8]> {
        let before = self.sql.get(..start)?.trim_ascii_end();
        let without = |text, words: &[&str]| words.iter().find_map(|word| strip_last_word(text, word));
        let set = without(before, &["session", "local"]).map_or(before, <[u8]>::trim_ascii_end);
        without(set, &["set"])
    }

    pub(super) fn is_argument_of_set_config(&self, start: usize) -> bool {
        const FUNCTION: &[u8] = b"set_config";
        let before = self.sql.get(..start).unwrap_or_default();
        let before = before.get(before.len().saturating_sub(2 * LONGEST_NAME)..).unwrap_or_default();
        let quotes = before.iter().rev().take_while(|b| matches!(**b, b'\'' | b'\\' | b'E' | b'e')).count();
        let (before, quote) = before.split_at_checked(before.len() - quotes).unwrap_or_default();
        let before = before.trim_ascii_end();
        let before = before.strip_suffix(b"=>").unwrap_or(before).trim_ascii_end();
        let is_named = |name: &[u8]| {
            before
                .len()
                .checked_sub(name.len())
                .and_then(|at| before.get(at..))
                .is_some_and(|b| b.eq_ignore_ascii_case(name))
        };
        let before = if is_named(b"setting_name") {
            before.get(..before.len() - b"setting_name".len()).unwrap_or_default().trim_ascii_end()
        } else {
            before
        };
        let Some(before) = before.strip_suffix(b"(").map(<[u8]>::trim_ascii_end) else { return false };
        let function = before.len().checked_sub(FUNCTION.len()).and_then(|at| before.get(at..));
        quote.contains(&b'\'') && function.is_some_and(|function| function.eq_ignore_ascii_case(FUNCTION))
    }
}

/// What is before a word, where a text ends with it.
fn strip_last_word<'a>(text: &'a [u8], word: &str) -> Option<&'a [u8]> {
    let (before, found) = text.split_at_checked(text.len().checked_sub(word.len())?)?;
    (found.eq_ignore_ascii_case(word.as_bytes()) && !before.last().is_some_and(|b| is_word(*b))).then_some(before)
}

/// Whether a statement begins behind a text, or ALTER SYSTEM is there.
pub(super) fn begins_statement(before: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    matches!(before.last(), None | Some(b';' | b'$')) || strip_last_word(before, "system").is_some()
}
