//! Operators between a name and a value: assignments and comparisons.

use super::constant::Extent;
use super::hints::LONGEST_NAME;
use super::setting::strip_last_word;
use super::{Around, FoundSecrets, Secret};
use crate::sql::lexer::{Lexer, is_word};

/// What is between a name and its value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Joint {
    /// Nothing, or AS.
    None,
    /// `=`, `:=`, `=>`, TO, IS DISTINCT FROM.
    Assigns,
    /// BETWEEN: another value follows AND.
    Between,
}

/// The operators that compare texts, except `=`.
const COMPARISONS: [&[u8]; 15] =
    [b"<>", b"!=", b"<", b"<=", b">", b">=", b"~", b"~*", b"!~", b"!~*", b"~~", b"~~*", b"!~~", b"!~~*", b"^@"];

/// The length of the longest of these operators.
const LONGEST_OPERATOR: usize = 4;

const fn is_comparison(byte: u8) -> bool {
    matches!(byte, b'=' | b'<' | b'>' | b'!' | b'~' | b'*' | b'^' | b'@')
}

impl<'a> Around<'a> {
    /// Returns what follows a name that ends at a byte, and the start of its value; `None` if it takes too long.
    pub(super) fn joint(&mut self, end: usize) -> Option<(Joint, usize)> {
        let at = self.skip_blank(end)?;
        for operator in [&b"=>"[..], b":=", b"="] {
            if self.sql.get(at..).unwrap_or_default().starts_with(operator) {
                return Some((Joint::Assigns, self.skip_blank(at + operator.len())?));
            }
        }
        if let Some(at) = self.after_word(at, "to") {
            return Some((Joint::Assigns, self.skip_blank(at)?));
        }
        // FROM alone is not a comparison: SELECT password FROM ….
        let mut after = at;
        for (word, is_needed) in [("is", true), ("not", false), ("distinct", true), ("from", true)] {
            match self.after_word(after, word) {
                Some(end) => after = self.skip_blank(end)?,
                None if is_needed => return Some((Joint::None, at)),
                None => {}
            }
        }
        Some((Joint::Assigns, after))
    }

    /// Returns the start of the value with which something is compared, and the operator: `<> 'x'`, `IN ('x')`, `::text = 'x'`,
    /// `lower(password) LIKE 'x'`.
    pub(super) fn compared(&mut self, end: usize) -> Option<Option<(Joint, usize)>> {
        /// More than occur in nested calls in practice.
        const MAX: usize = 4;
        let mut at = self.after_casts(end)?;
        let mut is_behind = at > self.blanks(end);
        for _ in 0..MAX {
            let name = match self.after_word(at, "collate") {
                Some(after) => self.skip_blank(after)?,
                None if self.byte(at) == Some(b')') => at + 1,
                None => break,
            };
            let is_name = |b: &&u8| is_word(**b) || matches!(b, b'.' | b'"');
            let len = self.sql.get(name..)?.iter().take(LONGEST_NAME).take_while(is_name).count();
            let len = if self.byte(at) == Some(b')') { 0 } else { len };
            at = self.after_casts(name + len)?;
            is_behind = true;
        }
        let rest = self.sql.get(at..).unwrap_or_default();
        let len = rest.iter().take(LONGEST_OPERATOR + 1).take_while(|b| is_comparison(**b)).count();
        let operator = rest.get(..len).unwrap_or_default();
        if COMPARISONS.contains(&operator) || is_behind && operator == b"=" {
            return Some(Some((Joint::Assigns, self.skip_blank(at + len)?)));
        }
        let not = self.after_word(at, "not");
        at = not.map_or(Some(at), |after| self.skip_blank(after))?;
        for (operator, second, joint) in [
            ("in", "", Joint::Assigns),
            ("like", "", Joint::Assigns),
            ("ilike", "", Joint::Assigns),
            ("similar", "to", Joint::Assigns),
            ("between", "symmetric", Joint::Between),
        ] {
            if let Some(after) = self.after_word(at, operator) {
                let after = self.skip_blank(after)?;
                let second = self.after_word(after, second).filter(|_| !second.is_empty());
                return Some(Some((joint, self.skip_blank(second.unwrap_or(after))?)));
            }
        }
        Some(None)
    }

    /// Finds the second value of BETWEEN, whose first one begins at a byte.
    pub(super) fn upper_bound(&mut self, lower: usize, found: &mut FoundSecrets<'a>) -> Option<()> {
        /// An upper bound on the number of tokens of a bound.
        const LONGEST: usize = 64;
        let mut depth = 0_usize;
        for token in Lexer::new(self.sql).starting_at(lower).take(LONGEST) {
            self.budget = self.budget.checked_sub(token.text.len())?;
            if token.is("(") {
                depth += 1;
            } else if token.is(")") {
                let Some(less) = depth.checked_sub(1) else { break };
                depth = less;
            } else if depth == 0 && token.is_word("and") {
                let at = self.skip_blank(token.end())?;
                return self.value(at, 0, found);
            }
        }
        Some(())
    }

    /// Returns the end of the subscripts after a name: `password[1]`.
    pub(super) fn after_subscripts(&self, end: usize) -> usize {
        let mut end = end;
        loop {
            let start = self.blanks(end);
            let inside = self.sql.get(start..).unwrap_or_default().iter().take(LONGEST_NAME);
            match { inside }.position(|b| *b == b']').filter(|_| self.byte(start) == Some(b'[')) {
                Some(len) => end = start + len + 1,
                None => break,
            }
        }
        end
    }

    /// Returns the end of casts: `::varchar(20)`.
    pub(super) fn after_casts(&mut self, end: usize) -> Option<usize> {
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

    /// Finds the value before a name: `'x' = password`, `$1 AS password`, `crypt('x', password) = password`, `'x' IN (password)`.
    pub(super) fn before(&mut self, name: usize, found: &mut FoundSecrets<'a>) -> Option<()> {
        let Some(operand) = self.operand_before(name) else { return Some(()) };
        let operand = without_casts(operand);
        let end = operand.len();
        let digits = operand.iter().rev().take(LONGEST_NAME).take_while(|b| b.is_ascii_digit()).count();
        if let Some(text) = self.strings.last
            && text.end() == end
        {
            self.listed.push(Secret { place: text.start..end, quote: b"'", is_rest: false });
        } else if digits > 0 && operand.get(..end - digits).is_some_and(|before| before.ends_with(b"$")) {
            self.parameter(end - digits - 1, found);
        } else if self.strings.closed.end == end {
            let mut inside = FoundSecrets::default();
            self.constants(self.strings.closed.start, Extent::Parenthesis, &mut inside)?;
            self.listed.append(&mut inside.secrets);
            found.parameters = found.parameters.with(inside.parameters);
        }
        Some(())
    }

    /// Returns the text before a name and the operator or AS between them.
    fn operand_before(&mut self, name: usize) -> Option<&'a [u8]> {
        let is_in = |list: &'a [u8]| {
            let before = strip_last_word(list, "in")?.trim_ascii_end();
            Some(strip_last_word(before, "not").unwrap_or(before).trim_ascii_end())
        };
        let mut before = self.sql.get(..name)?.trim_ascii_end();
        if before.ends_with(b",") {
            let opening = self.opening(name)?;
            return is_in(self.sql.get(..opening)?.trim_ascii_end());
        }
        if let Some(operand) = strip_last_word(before, "as") {
            return Some(operand.trim_ascii_end());
        }
        // A call, or parentheses.
        while let Some(call) = before.strip_suffix(b"(") {
            let call = call.trim_ascii_end();
            if let Some(operand) = is_in(call) {
                return Some(operand);
            }
            let is_name = |b: &&u8| is_word(**b) || **b == b'.';
            let function = call.iter().rev().take(LONGEST_NAME).take_while(is_name).count();
            before = call.get(..call.len() - function)?.trim_ascii_end();
        }
        let len = before.iter().rev().take(LONGEST_OPERATOR + 1).take_while(|b| is_comparison(**b)).count();
        let (operand, operator) = before.split_at_checked(before.len() - len)?;
        if operator == b"=" || COMPARISONS.contains(&operator) {
            return Some(operand.trim_ascii_end());
        }
        let without = |text: &'a [u8], word| strip_last_word(text, word).map(<[u8]>::trim_ascii_end);
        let not = |text: &'a [u8]| Some(without(text, "not").unwrap_or(text));
        let distinct = |text| not(without(without(text, "from")?, "distinct")?);
        without(before, "like")
            .or_else(|| without(before, "ilike"))
            .or_else(|| without(without(before, "to")?, "similar"))
            .and_then(not)
            .or_else(|| without(distinct(before)?, "is"))
    }

    /// Returns whether a name is that of a table or view being created: the parentheses after it contain its columns.
    pub(super) fn is_defined(&self, name: usize) -> bool {
        let before = self.sql.get(..name).unwrap_or_default().trim_ascii_end();
        ["table", "exists", "view", "into", "constraint", "index", "type"]
            .iter()
            .any(|word| strip_last_word(before, word).is_some())
    }
}

/// Returns a text without the casts at its end.
fn without_casts(text: &[u8]) -> &[u8] {
    /// More casts than occur in a row in practice.
    const MAX: usize = 4;
    let mut text = text;
    for _ in 0..MAX {
        let is_type = |b: &&u8| is_word(**b) || matches!(b, b'.' | b'"' | b'[' | b']' | b'(' | b')');
        let len = text.iter().rev().take(LONGEST_NAME).take_while(is_type).count();
        let before = text.get(..text.len() - len).unwrap_or_default().trim_ascii_end();
        match before.strip_suffix(b"::") {
            Some(before) if len > 0 => text = before.trim_ascii_end(),
            _ => break,
        }
    }
    text
}
