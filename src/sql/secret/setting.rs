//! Settings whose names indicate secrets: SET and `set_config`.

use std::ops::Range;

use super::hints::{Hint, LONGEST_NAME};
use super::{Around, Extent, FoundSecrets, Parameters};
use crate::sql::lexer::{Kind, Lexer, is_word};

/// The function that changes a setting.
const FUNCTION: &[u8] = b"set_config";

/// A setting whose name is the value of a parameter: `set_config($1, $2, false)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedByParameter {
    /// The parameter with the name, from 0.
    pub name: u16,
    /// The parameters that become part of its value.
    pub value: Parameters,
}

/// Returns the settings of a statement whose names and values are those of parameters. If there are too many, the parameters with
/// values are added to `secrets`.
pub(super) fn named_by_parameters(sql: &[u8], secrets: &mut Parameters) -> Vec<NamedByParameter> {
    /// The maximum length of the arguments of a call.
    const LONGEST_CALL: usize = 1_024;
    const MAX: usize = 64;
    let mut settings = Vec::new();
    if memchr::memchr(b'$', sql).is_none() {
        return settings;
    }
    for at in memchr::memchr_iter(b'_', sql) {
        let Some(start) = at.checked_sub(3) else { continue };
        let end = start + FUNCTION.len();
        if sql.get(start..end).is_some_and(|name| name.eq_ignore_ascii_case(FUNCTION)) {
            let call = sql.get(end..).unwrap_or_default();
            let call = call.strip_prefix(b"\"").unwrap_or(call);
            match named_by_parameter(call.get(..LONGEST_CALL).unwrap_or(call)) {
                Some(setting) if settings.len() < MAX => settings.push(setting),
                Some(setting) => *secrets = secrets.with(setting.value),
                None => {}
            }
        }
    }
    settings
}

fn named_by_parameter(call: &[u8]) -> Option<NamedByParameter> {
    let mut tokens = Lexer::new(call).filter(|token| !token.is_blank());
    tokens.next().filter(|token| token.is("("))?;
    let (mut depth, mut argument) = (0_usize, 0_usize);
    let mut name = None;
    let mut value = Parameters::default();
    for token in tokens {
        if token.is("(") || token.is("[") {
            depth += 1;
        } else if token.is(")") || token.is("]") {
            let Some(less) = depth.checked_sub(1) else { break };
            depth = less;
        } else if depth == 0 && token.is(",") {
            argument += 1;
        } else if depth == 0 && token.is_word("setting_name") {
            argument = 0;
        } else if depth == 0 && token.is_word("new_value") {
            argument = 1;
        } else if depth == 0 && token.is_word("is_local") {
            argument = 2;
        } else if token.kind == Kind::Parameter {
            match argument {
                0 if name.is_none() => name = token.text.get(1..).and_then(|digits| std::str::from_utf8(digits).ok()),
                1 => value.add(&token),
                _ => {}
            }
        }
    }
    let name = name?.parse::<u16>().ok()?.checked_sub(1)?;
    (!value.is_empty()).then_some(NamedByParameter { name, value })
}

impl<'a> Around<'a> {
    /// Returns the name of a setting that contains a word: `app.api_token`, with or without quotes.
    pub(super) fn setting_name(&self, hint: Hint) -> Range<usize> {
        let is_part = |b: &&u8| is_word(**b) || matches!(**b, b'.' | b'"');
        let before = self.sql.get(..hint.start).unwrap_or_default().iter().rev().take(2 * LONGEST_NAME);
        let after = self.sql.get(hint.end..).unwrap_or_default().iter().take(2 * LONGEST_NAME);
        hint.start - before.take_while(is_part).count()..hint.end + after.take_while(is_part).count()
    }

    /// Returns the text before the SET that precedes a name.
    pub(super) fn before_set(&self, start: usize) -> Option<&'a [u8]> {
        let before = self.sql.get(..start)?.trim_ascii_end();
        let without = |text, words: &[&str]| words.iter().find_map(|word| strip_last_word(text, word));
        let set = without(before, &["session", "local"]).map_or(before, <[u8]>::trim_ascii_end);
        without(set, &["set"])
    }

    pub(super) fn is_argument_of_set_config(&self, start: usize) -> bool {
        let before = self.sql.get(..start).unwrap_or_default();
        let before = before.get(before.len().saturating_sub(2 * LONGEST_NAME)..).unwrap_or_default();
        let quotes = before.iter().rev().take_while(|b| matches!(**b, b'\'' | b'\\' | b'E' | b'e')).count();
        let (before, quote) = before.split_at_checked(before.len() - quotes).unwrap_or_default();
        let before = before.trim_ascii_end();
        let before =
            before.strip_suffix(b"=>").or_else(|| before.strip_suffix(b":=")).unwrap_or(before).trim_ascii_end();
        let is_named = |name: &[u8]| {
            before
                .len()
                .checked_sub(name.len())
                .and_then(|at| before.get(at..))
                .is_some_and(|b| b.eq_ignore_ascii_case(name))
        };
        let before = if is_named(b"setting_name") {
            let arguments = before.get(..before.len() - b"setting_name".len()).unwrap_or_default().trim_ascii_end();
            // Another argument may come first.
            let opening = self.strings.opened().filter(|_| arguments.ends_with(b","));
            opening.and_then(|opening| self.sql.get(..=opening)).unwrap_or(arguments)
        } else {
            before
        };
        let Some(before) = before.strip_suffix(b"(").map(<[u8]>::trim_ascii_end) else { return false };
        let before = before.strip_suffix(b"\"").unwrap_or(before);
        let function = before.len().checked_sub(FUNCTION.len()).and_then(|at| before.get(at..));
        quote.contains(&b'\'') && function.is_some_and(|function| function.eq_ignore_ascii_case(FUNCTION))
    }

    /// Finds the new value if it is an argument before the name of the setting, in the innermost open call.
    pub(super) fn new_value(&mut self, name: usize, found: &mut FoundSecrets<'a>) -> Option<()> {
        let Some(opening) = self.strings.opened().filter(|opening| *opening < name) else { return Some(()) };
        let mut depth = 0_usize;
        for token in Lexer::new(self.sql).starting_at(opening + 1) {
            self.budget = self.budget.checked_sub(token.text.len())?;
            if token.start >= name {
                break;
            } else if token.is("(") || token.is("[") {
                depth += 1;
            } else if token.is(")") || token.is("]") {
                depth = depth.saturating_sub(1);
            } else if depth == 0 && token.is_word("new_value") {
                let mut inside = FoundSecrets::default();
                self.constants(token.end(), Extent::Parenthesis, &mut inside)?;
                self.listed.append(&mut inside.secrets);
                found.parameters = found.parameters.with(inside.parameters);
                break;
            }
        }
        Some(())
    }
}

/// Returns the text before its last word, if that is `word`.
pub(super) fn strip_last_word<'a>(text: &'a [u8], word: &str) -> Option<&'a [u8]> {
    let (before, found) = text.split_at_checked(text.len().checked_sub(word.len())?)?;
    (found.eq_ignore_ascii_case(word.as_bytes()) && !before.last().is_some_and(|b| is_word(*b))).then_some(before)
}

/// Returns whether a statement begins after a text, or the text ends with ALTER SYSTEM.
pub(super) fn begins_statement(before: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    matches!(before.last(), None | Some(b';' | b'$')) || strip_last_word(before, "system").is_some()
}
