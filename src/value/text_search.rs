//! Text search types, in PostgreSQL's text format ("Text Search Types").

use std::fmt::Write;

use crate::encoding::Encoding;
use crate::reader::Reader;

/// Decodes a `tsvector`: lexemes, each with positions and their weights.
pub(super) fn vector(bytes: &[u8], encoding: Encoding) -> Option<String> {
    let mut reader = Reader::new(bytes);
    let count = reader.u32("number of lexemes").ok()?;
    let mut shown = String::new();
    for index in 0..count {
        if index > 0 {
            shown.push(' ');
        }
        write_lexeme(&mut shown, reader.cstr("lexeme").ok()?, encoding)?;
        for index in 0..reader.u16("number of positions").ok()? {
            let position = reader.u16("position").ok()?;
            let weight = match position >> 14 {
                3 => "A",
                2 => "B",
                1 => "C",
                _ => "",
            };
            write!(shown, "{}{}{weight}", if index > 0 { ',' } else { ':' }, position & 0x3fff).ok()?;
        }
    }
    reader.is_empty().then_some(shown)
}

/// Writes a lexeme in quotes.
fn write_lexeme(shown: &mut String, lexeme: &[u8], encoding: Encoding) -> Option<()> {
    shown.push('\'');
    for character in encoding.decode(lexeme)?.chars() {
        if matches!(character, '\'' | '\\') {
            shown.push(character);
        }
        shown.push(character);
    }
    shown.push('\'');
    Some(())
}

/// An item of a query.
enum Item<'a> {
    Lexeme { lexeme: &'a [u8], weights: u8, is_prefix: bool },
    Operator(Operator),
}

#[derive(Clone, Copy)]
enum Operator {
    Not,
    And,
    Or,
    /// Followed by, at this distance.
    Phrase(i16),
}

impl Operator {
    /// Returns the priority: the tighter an operator binds, the higher it is.
    const fn priority(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Phrase(_) => 3,
            Self::Not => 4,
        }
    }
}

/// Decodes a `tsquery`: items in prefix notation, with the right operand before the left. Returns it in infix notation.
///
/// Not recursive, because a query of a thousand words may be a thousand levels deep.
pub(super) fn query(bytes: &[u8], encoding: Encoding) -> Option<String> {
    let items = items(bytes)?;
    if items.is_empty() {
        return Some(String::new());
    }
    let ends = ends(&items)?;
    if ends.first() != Some(&items.len()) {
        return None;
    }
    enum Work {
        /// Show the item at an index, below an operator of a priority; `true` for the right operand of a phrase operator.
        Show(usize, u8, bool),
        Write(&'static str),
        WritePhrase(i16),
    }
    let mut shown = String::new();
    let mut work = vec![Work::Show(0, 0, false)];
    while let Some(next) = work.pop() {
        let (index, outer, is_right_of_phrase) = match next {
            Work::Show(index, outer, is_right_of_phrase) => (index, outer, is_right_of_phrase),
            Work::Write(text) => {
                shown.push_str(text);
                continue;
            }
            Work::WritePhrase(distance) => {
                write!(shown, " <{distance}> ").ok()?;
                continue;
            }
        };
        let operator = match items.get(index)? {
            Item::Lexeme { lexeme, weights, is_prefix } => {
                write_lexeme(&mut shown, lexeme, encoding)?;
                write_marks(&mut shown, *weights, *is_prefix);
                continue;
            }
            Item::Operator(operator) => *operator,
        };
        let priority = operator.priority();
        let is_phrase = matches!(operator, Operator::Phrase(_));
        if priority < outer || (is_phrase && is_right_of_phrase) {
            shown.push_str("( ");
            work.push(Work::Write(" )"));
        }
        let right = index + 1;
        work.push(Work::Show(right, priority, is_phrase));
        let word = match operator {
            Operator::Not => {
                shown.push('!');
                continue;
            }
            Operator::And => Work::Write(" & "),
            Operator::Or => Work::Write(" | "),
            Operator::Phrase(1) => Work::Write(" <-> "),
            Operator::Phrase(distance) => Work::WritePhrase(distance),
        };
        work.push(word);
        work.push(Work::Show(*ends.get(right)?, priority, false));
    }
    Some(shown)
}

/// Writes the weights to which a lexeme is restricted, and whether it is a prefix.
fn write_marks(shown: &mut String, weights: u8, is_prefix: bool) {
    if weights != 0 || is_prefix {
        shown.push(':');
    }
    if is_prefix {
        shown.push('*');
    }
    for (bit, weight) in [(3, 'A'), (2, 'B'), (1, 'C'), (0, 'D')] {
        if weights >> bit & 1 == 1 {
            shown.push(weight);
        }
    }
}

fn items(bytes: &[u8]) -> Option<Vec<Item<'_>>> {
    let mut reader = Reader::new(bytes);
    let count = reader.u32("number of items").ok()?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(match reader.u8("kind of item").ok()? {
            1 => {
                let weights = reader.u8("weights").ok()?;
                let is_prefix = reader.u8("is prefix").ok()? != 0;
                Item::Lexeme { lexeme: reader.cstr("lexeme").ok()?, weights, is_prefix }
            }
            2 => Item::Operator(match reader.u8("operator").ok()? {
                1 => Operator::Not,
                2 => Operator::And,
                3 => Operator::Or,
                4 => Operator::Phrase(reader.i16("distance").ok()?),
                _ => return None,
            }),
            _ => return None,
        });
    }
    reader.is_empty().then_some(items)
}

/// Returns for each item the index after its last operand.
fn ends(items: &[Item<'_>]) -> Option<Vec<usize>> {
    let mut ends = vec![0; items.len()];
    for (index, item) in items.iter().enumerate().rev() {
        let end_of = |index: usize| ends.get(index).copied();
        let end = match item {
            Item::Lexeme { .. } => index + 1,
            Item::Operator(Operator::Not) => end_of(index + 1)?,
            Item::Operator(_) => end_of(end_of(index + 1)?)?,
        };
        *ends.get_mut(index)? = end;
    }
    Some(ends)
}
