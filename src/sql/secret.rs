//! Detection and masking of secrets in SQL.
//!
//! Secrets are searched for near names that indicate one: `password`, `sslpassword`, `api_token`, `secret_access_key`,
//! `CREDENTIALS` …. Detected are
//!
//! - the string after the name: `CREATE ROLE … PASSWORD 'x'`, `OPTIONS (password 'x')`, `UNLOAD … CREDENTIALS AS 'x'`;
//! - the value assigned to it: `SET app.api_key TO x`, `set_config('app.token', 'x', true)`, `UPDATE … SET password = crypt('x',
//!   …)`, `f(secret => 'x')`;
//! - what an incomplete or mistaken statement has in this place: an unquoted word, a name in double quotes, and, if the text
//!   cannot be lexed, everything that follows;
//! - the value compared with it, or renamed to it by AS: `password IN ('x')`, `'x' = password`, `'x' AS token`;
//! - the value at the same position in a list: `INSERT INTO u (name, password) VALUES ('a', 'x')`;
//! - the string after CONNECTION: `CREATE SUBSCRIPTION … CONNECTION 'host=… password=…'`;
//! - the password in other connection strings: `'host=h password=x'`, `'postgresql://u:x@h/db?password=x'`;
//! - constants and parameters that will become part of such a text: `format('ALTER ROLE u PASSWORD %L', $1)`.
//!
//! The text may be SQL nested in SQL (a DO block, EXECUTE of a string, PREPARE), a message that quotes SQL, or truncated SQL. So
//! secrets are searched for near their names in any context, and in doubt too much is masked rather than too little. A secret
//! that is assembled by other expressions is not detected.

use std::borrow::Cow;
use std::ops::Range;

use super::lexer::{Kind, Lexer, Token, is_blank, is_word};
use super::names::is_secret_word;

mod comparison;
mod connection;
mod constant;
mod hints;
mod list;
mod role;
mod setting;
mod strings;

use comparison::Joint;
use constant::Extent;
use hints::{Hint, HintKind, LONGEST_NAME, hints};
use list::Lists;
use role::{FormatPlaces, RoleStatement};
pub use setting::NamedByParameter;
use setting::{begins_statement, named_by_parameters};
use strings::{DEEPEST, Strings, dollar_quote, lexes};

/// The text that replaces a secret.
pub const MASK: &str = "***";

/// Replaces the secrets in a text with `***`; everything that may be one, if the text is not UTF-8. Borrows if there is none, at
/// the cost of a search for a few pairs of letters.
pub fn mask(sql: &[u8]) -> Cow<'_, [u8]> {
    let found = find(sql);
    if found.secrets.is_empty() {
        return Cow::Borrowed(sql);
    }
    let mut masked = Vec::new();
    let mut kept = 0; // everything before it is in `masked`
    for secret in &found.secrets {
        masked.extend_from_slice(sql.get(kept..secret.place.start).unwrap_or_default());
        masked.extend_from_slice(secret.quote);
        masked.extend_from_slice(MASK.as_bytes());
        masked.extend_from_slice(secret.quote);
        kept = secret.place.end;
    }
    masked.extend_from_slice(sql.get(kept..).unwrap_or_default());
    Cow::Owned(masked)
}

/// Returns whether a text contains a word near which a secret may be.
pub fn may_have(sql: &[u8]) -> bool {
    hints(sql, 0).next().is_some()
}

/// Returns whether a truncated text may have contained a secret: it is, or begins like, a statement with one.
pub fn may_have_had(cut: &[u8]) -> bool {
    let first = Lexer::new(cut).next_solid();
    may_have(cut)
        || first.is_some_and(|first| {
            ["alter", "create", "do", "set", "update", "copy", "unload"].iter().any(|verb| first.is_word(verb))
        })
}

/// The secrets found in a text.
#[derive(Debug, Default)]
pub struct FoundSecrets<'a> {
    /// The secrets, sorted by position.
    pub secrets: Vec<Secret<'a>>,
    /// The parameters whose values are secrets.
    pub parameters: Parameters,
}

/// A secret: its position, including quotes, and the quotes of its mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret<'a> {
    /// The byte range in the text.
    pub place: Range<usize>,
    /// The quotes around its mask.
    pub quote: &'a [u8],
    /// Whether it extends to the end of the text, because its own end is uncertain.
    pub is_rest: bool,
}

/// A set of parameters of a statement: a bit for each; the last bit represents all from `$64` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parameters(i64);

impl Parameters {
    /// Returns whether the set contains the first parameter, and removes it: the next parameter becomes the first.
    #[inline(always)]
    pub const fn shift(&mut self) -> bool {
        let has_first = self.0 & 1 != 0;
        // The last bit is kept.
        self.0 >>= 1;
        has_first
    }

    /// Returns whether the set is empty.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the union of both sets.
    pub const fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    fn add(&mut self, token: &Token<'_>) {
        let number = token.text.get(1..).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
        self.0 |= number.and_then(|number| 1_i64.checked_shl(number.checked_sub(1)?.min(63))).unwrap_or_default();
    }
}

/// The secrets, or possible secrets, of a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatementSecrets {
    /// Whether its SQL contains, or may contain, a secret.
    pub are_in_sql: bool,
    /// The parameters whose values are secrets.
    pub parameters: Parameters,
    /// The settings that may be secrets, because their names are values of parameters.
    pub settings: Vec<NamedByParameter>,
}

impl StatementSecrets {
    /// Returns the secrets of a text; `None` if there are none.
    pub fn of(sql: &[u8]) -> Option<Box<Self>> {
        let are_in_sql = may_have(sql);
        let mut parameters = if are_in_sql { find(sql).parameters } else { Parameters::default() };
        let settings = named_by_parameters(sql, &mut parameters);
        (are_in_sql || !settings.is_empty()).then(|| Self { are_in_sql, parameters, settings }.into())
    }
}

/// Finds all secrets in a text: both in the original text, because a comment may contain a secret, and a secret may look like a
/// comment; and in the text without comments, which may be between any two tokens.
pub fn find(sql: &[u8]) -> FoundSecrets<'_> {
    if !may_have(sql) {
        return FoundSecrets::default();
    }
    let Some(blanked) = without_comments(sql, 0) else { return find_in(sql, |_| true) };
    // Comments may hide the structure of a list.
    let is_listed = |hint: &Hint| {
        let after = sql.get(hint.end..).unwrap_or_default().trim_ascii_start();
        matches!(after.first(), Some(b',' | b')')) && blanked.get(hint.start).is_some_and(|b| !is_blank(*b))
    };
    let mut found = find_in(sql, |hint| !is_listed(hint));
    let others = find_in(&blanked, |_| true);
    found.parameters = found.parameters.with(others.parameters);
    let others = others.secrets.into_iter().map(|secret| {
        let quote: &[u8] = match secret.quote {
            [b'\''] => b"'",
            [b'"'] => b"\"",
            quote => sql.get(secret.place.start..secret.place.start + quote.len()).unwrap_or_default(),
        };
        Secret { place: secret.place, quote, is_rest: secret.is_rest }
    });
    found.secrets = merge(found.secrets, others.collect());
    found
}

/// Returns a text with blanks in place of its comments, if it has any.
fn without_comments(sql: &[u8], depth: usize) -> Option<Vec<u8>> {
    memchr::memmem::find(sql, b"--").or_else(|| memchr::memmem::find(sql, b"/*"))?;
    let mut blanked: Option<Vec<u8>> = None;
    for token in Lexer::new(sql) {
        let (start, inside) = match dollar_quote(token).filter(|_| token.kind == Kind::Text && depth < DEEPEST) {
            Some(quote) => {
                let start = token.start + quote.len();
                let inside = sql.get(start..strings::inside_end(token)).unwrap_or_default();
                (start, without_comments(inside, depth + 1))
            }
            None if token.kind == Kind::Comment => (token.start, Some(vec![b' '; token.text.len()])),
            None => continue,
        };
        if let Some(inside) = inside
            && let Some(place) = blanked.get_or_insert_with(|| sql.to_vec()).get_mut(start..start + inside.len())
        {
            place.copy_from_slice(&inside);
        }
    }
    blanked
}

/// Finds the secrets after hints in a text, without removing comments.
fn find_in(sql: &[u8], is_wanted: impl Fn(&Hint) -> bool) -> FoundSecrets<'_> {
    let mut found = FoundSecrets::default();
    let mut all = hints(sql, 0).filter(is_wanted);
    let Some(first) = all.next() else { return found };
    if std::str::from_utf8(sql).is_err() {
        // In some encodings a byte of a character looks like a backslash, so the end of a string is uncertain.
        if let Some(hint) = std::iter::once(first).chain(all).find(|hint| hint.is_strong(sql)) {
            found.secrets.push(Secret { place: hint.end..sql.len(), quote: b"", is_rest: true });
        }
        return found;
    }
    let mut around = Around::new(sql);
    for hint in std::iter::once(first).chain(all) {
        if hint.end >= found.secrets.last().map_or(0, |last| last.place.end) {
            around.secrets(hint, &mut found);
        }
    }
    found.secrets = merge(found.secrets, around.listed);
    found
}

/// Merges secrets that were found in two ways, sorted and without overlap.
fn merge<'a>(mut one: Vec<Secret<'a>>, mut other: Vec<Secret<'a>>) -> Vec<Secret<'a>> {
    one.append(&mut other);
    if one.is_sorted_by(|a, b| a.place.end <= b.place.start) {
        return one;
    }
    one.sort_by_key(|secret| (secret.place.start, usize::MAX - secret.place.end));
    let mut apart: Vec<Secret<'a>> = Vec::with_capacity(one.len());
    for secret in one {
        match apart.last_mut() {
            Some(last) if secret.place.start < last.place.end => {
                last.is_rest |= secret.place.end > last.place.end;
                last.place.end = last.place.end.max(secret.place.end);
            }
            _ => apart.push(secret),
        }
    }
    apart
}

/// The text around a hint.
struct Around<'a> {
    sql: &'a [u8],
    strings: Strings<'a>,
    /// The number of bytes after hints that may still be examined. Nested comments or parentheses could make this take long; then
    /// everything that follows is masked.
    budget: usize,
    /// Whether the text can be lexed to its end; `None` until it is needed.
    lexes: Option<bool>,
    role: RoleStatement,
    format: FormatPlaces,
    lists: Lists,
    /// Secrets found by their position in a list, sorted. There may be others between them.
    listed: Vec<Secret<'a>>,
}

impl<'a> Around<'a> {
    fn new(sql: &'a [u8]) -> Self {
        Self {
            sql,
            strings: Strings::new(sql),
            budget: sql.len() + (1 << 16),
            lexes: None,
            role: RoleStatement::default(),
            format: FormatPlaces::default(),
            lists: Lists::default(),
            listed: Vec::new(),
        }
    }

    fn secrets(&mut self, hint: Hint, found: &mut FoundSecrets<'a>) {
        match hint.kind {
            HintKind::Uri => found.secrets.extend(self.in_authority(hint.end)),
            HintKind::Connection => {
                let secret = self.constant(hint.end).or_else(|| self.quoted_word(hint.end));
                found.secrets.extend(secret.map(|secret| self.certain(secret)));
            }
            HintKind::Name => {
                if self.named_or_assigned(hint, found).is_none() {
                    found.secrets.push(self.rest(hint.end));
                }
            }
        }
    }

    fn named_or_assigned(&mut self, hint: Hint, found: &mut FoundSecrets<'a>) -> Option<()> {
        if self.concatenated(hint, found)? {
            return Some(());
        }
        match self.assigned(hint) {
            Some(secret) => found.secrets.push(secret),
            None => self.named(hint, found)?,
        }
        Some(())
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.sql.get(at).copied()
    }

    /// Returns everything from `at` on as a secret.
    fn rest(&self, at: usize) -> Secret<'a> {
        let quote: &[u8] = if self.byte(at) == Some(b'\'') { b"'" } else { b"" };
        Secret { place: at..self.sql.len(), quote, is_rest: true }
    }

    /// Finds the value of a name. Returns `None` if it takes too long.
    fn named(&mut self, hint: Hint, found: &mut FoundSecrets<'a>) -> Option<()> {
        // Hints are processed in order.
        let string = self.strings.around(hint.start);
        let word = hint.word(self.sql);
        let is_strong = is_secret_word(word);
        let is_password = self.is_password(hint);
        let name = self.setting_name(hint);
        if self.is_argument_of_set_config(name.start) {
            let mut at = self.blanks(name.end);
            while matches!(self.byte(at), Some(b'\'' | b'\\')) {
                at = self.blanks(at + 1);
            }
            if self.sql.get(at..at + 2) == Some(b"::") {
                at += 2 + self.sql.get(at + 2..)?.iter().take_while(|b| is_word(**b)).count();
                at = self.blanks(at);
            }
            self.new_value(name.start, found)?;
            if self.byte(at) == Some(b',') {
                at = self.skip_blank(at + 1)?;
                at = self.after_word(at, "new_value").and_then(|at| self.joint(at)).map_or(at, |(_, at)| at);
                return self.value(at, u8::MAX, found);
            }
        }
        if is_strong && string.is_none() {
            if self.list(hint, name.start, found)? {
                return Some(());
            }
            self.before(name.start, found)?;
        }
        let after = if self.byte(hint.end) == Some(b'"') { hint.end + 1 } else { hint.end };
        let after = self.after_subscripts(after);
        // In UPDATE … SET, a name without a dot is that of a column.
        let is_set = self.before_set(name.start).is_some_and(|before| {
            is_strong || self.sql.get(name.clone()).is_some_and(|name| name.contains(&b'.')) || begins_statement(before)
        });
        let (joint, at) = self.joint(if is_set { self.after_subscripts(name.end) } else { after })?;
        let (joint, at) = match (joint, is_strong && string.is_none()) {
            (Joint::None, true) => self.compared(after)?.unwrap_or((joint, at)),
            _ => (joint, at),
        };
        if joint != Joint::None {
            if is_set || is_strong {
                self.value(at, if is_set { b';' } else { 0 }, found)?;
            }
            if joint == Joint::Between {
                self.upper_bound(at, found)?;
            } else if is_set {
                self.other_values(at, found)?;
            }
            return Some(());
        }
        // SET without `=` or TO between name and value.
        if is_set && self.byte(at).is_some_and(is_word) && self.after_word(at, "from").is_none() {
            let text = self.sql.get(at..).unwrap_or_default();
            let end = at + memchr::memchr(b';', text).unwrap_or(text.len());
            found.secrets.push(Secret { place: at..end, quote: b"", is_rest: true });
            return Some(());
        }
        if is_strong && let Some(secret) = self.constant(after) {
            return self.joined(secret, found);
        }
        if is_strong && self.byte(at) == Some(b'(') {
            if self.is_defined(name.start) {
                return Some(());
            }
            if is_password || word.to_ascii_lowercase().ends_with(b"credentials") {
                return self.constants(at, Extent::Parenthesis, found).map(|_| ());
            }
        }
        if self.byte(at) == Some(b'$') && is_strong {
            self.parameter(at, found);
        }
        if is_strong && let Some(at) = self.after_type(at)? {
            return self.value(at, 0, found);
        }
        if is_password {
            self.password(hint, string, at, found)?;
        }
        Some(())
    }

    /// Finds the further constants of a list assigned to a setting: `SET app.tokens TO 'x', 'y'`. In UPDATE, a name follows a
    /// comma.
    fn other_values(&mut self, first: usize, found: &mut FoundSecrets<'a>) -> Option<()> {
        /// More than occur in practice.
        const MAX: usize = 16;
        let mut end = found.secrets.last().filter(|last| last.place.start >= first).map(|last| last.place.end);
        for _ in 0..MAX {
            let Some(comma) = end.map(|end| self.skip_blank(end)) else { break };
            let comma = comma?;
            if self.byte(comma) != Some(b',') {
                break;
            }
            let at = self.skip_blank(comma + 1)?;
            let word = at + self.sql.get(at..)?.iter().take_while(|b| is_word(**b)).count();
            let is_value = word > at && matches!(self.byte(self.blanks(word)), None | Some(b',' | b';'));
            let bare = Secret { place: at..word, quote: b"", is_rest: false };
            let secret = self.constant(at).or(is_value.then_some(bare)).map(|secret| self.certain(secret));
            end = secret.as_ref().map(|secret| secret.place.end);
            found.secrets.extend(secret);
        }
        Some(())
    }

    fn is_password(&self, hint: Hint) -> bool {
        let word = hint.word(self.sql).to_ascii_lowercase();
        word.ends_with(b"password") || word.ends_with(b"passwd")
    }

    /// Returns the start of the value after the type of a variable or column, which begins at `at`: `password text := 'x'`.
    /// Returns `None` if it takes too long.
    fn after_type(&mut self, at: usize) -> Option<Option<usize>> {
        /// An upper bound on the number of tokens of a type, with CONSTANT and NOT NULL.
        const LONGEST: usize = 16;
        let mut at = at;
        for _ in 0..LONGEST {
            at = self.skip_blank(at)?;
            let first = self.byte(at).unwrap_or_default();
            if self.sql.get(at..at + 2) == Some(b":=") {
                return Some(Some(self.skip_blank(at + 2)?));
            }
            if !(is_word(first) && first != b'$' || b"()[].\"".contains(&first)) {
                break;
            }
            let Some(token) = Lexer::new(self.sql).starting_at(at).next() else { break };
            self.budget = self.budget.checked_sub(token.text.len())?;
            at = token.end();
            if token.is_word("default") {
                return Some(Some(self.skip_blank(at)?));
            }
            if token.kind == Kind::Text {
                break;
            }
        }
        Some(None)
    }

    /// Finds the value of an assignment: the value if it is a constant, all constants in it if it is a call. A word is a value if
    /// it ends at `bare`.
    fn value(&mut self, at: usize, bare: u8, found: &mut FoundSecrets<'a>) -> Option<()> {
        if let Some(secret) = self.constant(at) {
            return self.joined(secret, found);
        }
        if self.is_parameter(at) {
            self.parameter(at, found);
            return self.chain(at + 1 + self.digits(at + 1), found);
        }
        if bare == u8::MAX {
            // An argument may be an expression of several parts.
            return self.constants(at, Extent::Parenthesis, found).map(|_| ());
        }
        if let Some(end) = self.operand(at, found)? {
            return self.chain(end, found);
        }
        if bare == 0 {
            return self.chain(self.path(at), found);
        }
        if let Some(secret) = self.quoted_word(at) {
            found.secrets.push(self.certain(secret));
            return Some(());
        }
        let is_end = |b: u8| is_blank(b) || b";,)".contains(&b);
        let len = self.sql.get(at..)?.iter().take_while(|b| !is_end(**b)).count();
        let word = self.sql.get(at..at + len)?;
        let is_keyword = ["default", "null"].iter().any(|one| word.eq_ignore_ascii_case(one.as_bytes()));
        if len > 0 && !is_keyword {
            let is_odd = memchr::memchr2(b'\'', b'"', word).is_some();
            let secret = Secret { place: at..at + len, quote: b"", is_rest: false };
            found.secrets.push(if is_odd { self.rest(at) } else { self.certain(secret) });
            return self.chain(at + len, found);
        }
        Some(())
    }

    /// Returns the end of a name, including its qualifiers.
    fn path(&self, at: usize) -> usize {
        let is_part = |b: &&u8| is_word(**b) || **b == b'.';
        at + self.sql.get(at..).unwrap_or_default().iter().take(2 * LONGEST_NAME).take_while(is_part).count()
    }

    /// Returns whether there is a complete parameter at a byte.
    fn is_parameter(&self, at: usize) -> bool {
        let digits = self.digits(at + 1);
        self.byte(at) == Some(b'$') && digits > 0 && !self.byte(at + 1 + digits).is_some_and(is_word)
    }

    fn parameter(&self, at: usize, found: &mut FoundSecrets<'a>) {
        if let Some(token) = Lexer::new(self.sql).starting_at(at).next().filter(|token| token.kind == Kind::Parameter) {
            found.parameters.add(&token);
        }
    }

    fn digits(&self, at: usize) -> usize {
        self.sql.get(at..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count()
    }

    fn is_followed_by_word(&self, end: usize) -> bool {
        self.byte(end).is_some_and(|b| is_word(b) && b != b'$')
    }

    /// Returns a secret, extended to the end of the text if its own end is uncertain: if the text cannot be lexed, or continues
    /// right after it.
    fn certain(&mut self, secret: Secret<'a>) -> Secret<'a> {
        let is_quoted = self.byte(secret.place.start).is_some_and(|b| b == b'\'' || b == b'"' || b == b'\\')
            || !secret.quote.is_empty();
        if self.lexes() && !(is_quoted && self.is_followed_by_word(secret.place.end)) {
            return secret;
        }
        Secret { place: secret.place.start..self.sql.len(), is_rest: secret.place.end < self.sql.len(), ..secret }
    }

    /// Returns whether the text, and the dollar-quoted constants around hints, can be lexed to the end.
    fn lexes(&mut self) -> bool {
        let sql = self.sql;
        *self.lexes.get_or_insert_with(|| lexes(sql, 0))
    }

    /// Returns the end of a word that begins at a byte.
    fn after_word(&self, at: usize, word: &str) -> Option<usize> {
        let end = at + word.len();
        let is_it = self.sql.get(at..end)?.eq_ignore_ascii_case(word.as_bytes());
        (is_it && !self.byte(end).is_some_and(is_word)).then_some(end)
    }

    /// Returns a name in double quotes after a word.
    fn quoted_word(&mut self, word: usize) -> Option<Secret<'a>> {
        let at = self.skip_blank(word)?;
        let token = Lexer::new(self.sql).starting_at(at).next().filter(|token| token.kind == Kind::QuotedWord)?;
        Some(Secret { place: at..token.end(), quote: b"\"", is_rest: false })
    }

    fn blanks(&self, at: usize) -> usize {
        at + self.sql.get(at..).unwrap_or_default().iter().take_while(|b| is_blank(**b)).count()
    }

    /// Returns the end of white space and comments; `None` if it takes too long.
    fn skip_blank(&mut self, at: usize) -> Option<usize> {
        let mut end = self.blanks(at);
        while matches!(self.sql.get(end..end + 2), Some(b"--" | b"/*")) {
            let comment = Lexer::new(self.sql).starting_at(end).next()?;
            let after = self.blanks(comment.end());
            self.budget = self.budget.checked_sub(after - end)?;
            end = after;
        }
        Some(end)
    }
}

#[cfg(test)]
mod tests;
