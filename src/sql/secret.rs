//! Secrets in SQL: found and masked.
//!
//! A secret is looked for where something is named like one: `password`, `sslpassword`, `api_token`, `secret_access_key`,
//! `CREDENTIALS` …. Found are
//!
//! - the string behind it: `CREATE ROLE … PASSWORD 'x'`, `OPTIONS (password 'x')`, `UNLOAD … CREDENTIALS AS 'x'`;
//! - what it is set to: `SET app.api_key TO x`, `set_config('app.token', 'x', true)`, `UPDATE … SET password = crypt('x', …)`,
//!   `f(secret => 'x')`;
//! - what an incomplete or mistaken statement has there: a word without quotes, a name in double quotes, and where the text
//!   does not lex, everything that follows;
//! - the string behind CONNECTION: `CREATE SUBSCRIPTION … CONNECTION 'host=… password=…'`;
//! - the password in other connection strings: `'host=h password=x'`, `'postgresql://u:x@h/db?password=x'`;
//! - constants and parameters that are to become a part of such a text: `format('ALTER ROLE u PASSWORD %L', $1)`.
//!
//! What is looked at may be SQL in SQL (a DO block, EXECUTE of a string, PREPARE), a message that quotes SQL, or SQL that a
//! capture has cut. So a secret is looked for where its word is, whatever is around it, and rather too much is masked than
//! too little. A secret that expressions put together in another way is not seen.

use std::borrow::Cow;
use std::ops::Range;

use super::lexer::{Kind, Lexer, Token, dollar_delimiter, is_blank, is_word};
use super::names::{is_secret_name, is_secret_word};

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// Replaces the secrets in a text by `***`; all that may be one, where the text is not UTF-8. Borrows where there is none,
/// which costs a search for a few pairs of letters.
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

/// Whether there is a word in a text behind which a secret may be.
pub fn may_have(sql: &[u8]) -> bool {
    hints(sql, 0).next().is_some()
}

/// Whether a text that is cut off may have had a secret: it is, or begins like, a statement that has one.
pub fn may_have_had(cut: &[u8]) -> bool {
    let first = Lexer::new(cut).next_solid();
    may_have(cut)
        || first.is_some_and(|first| {
            ["alter", "create", "do", "set", "update", "copy", "unload"].iter().any(|verb| first.is_word(verb))
        })
}

/// What is found in a text.
#[derive(Debug, Default)]
pub struct Found<'a> {
    /// The secrets, in order.
    pub secrets: Vec<Secret<'a>>,
    /// The parameters whose values are secrets.
    pub parameters: Parameters,
}

/// A secret: where it is, with its quotes, and the quotes that its mask has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret<'a> {
    /// Where it is.
    pub place: Range<usize>,
    /// What its mask is quoted with.
    pub quote: &'a [u8],
    /// Whether it is all that follows: more than a secret, for where that ends is uncertain.
    pub is_rest: bool,
}

/// Parameters of a statement: a bit for each, the last one for all from `$64` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parameters(i64);

impl Parameters {
    /// Whether the first one is among them. They begin with the next one then.
    #[inline(always)]
    pub const fn shift(&mut self) -> bool {
        let has_first = self.0 & 1 != 0;
        // The last bit stays.
        self.0 >>= 1;
        has_first
    }

    /// Whether there are none.
    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn add(&mut self, token: &Token<'_>) {
        let number = token.text.get(1..).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
        self.0 |= number.and_then(|number| 1_i64.checked_shl(number.checked_sub(1)?.min(63))).unwrap_or_default();
    }
}

/// Finds all secrets in a text.
pub fn find(sql: &[u8]) -> Found<'_> {
    let mut found = Found::default();
    let mut all = hints(sql, 0);
    let Some(first) = all.next() else { return found };
    if std::str::from_utf8(sql).is_err() {
        // In some encodings a character has a byte that looks like a backslash: where a string ends cannot be told.
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
    found
}

/// A word behind which a secret may follow.
#[derive(Clone, Copy, Debug)]
struct Hint {
    kind: HintKind,
    start: usize,
    /// The first byte behind the word.
    end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HintKind {
    /// It is named like a secret.
    Name,
    Connection,
    Uri,
}

impl Hint {
    fn word(self, sql: &[u8]) -> &[u8] {
        sql.get(self.start..self.end).unwrap_or_default()
    }

    fn is_strong(self, sql: &[u8]) -> bool {
        self.kind != HintKind::Name || is_secret_word(self.word(sql))
    }
}

/// No name is longer than this (NAMEDATALEN), but for those of several parts.
const LONGEST_NAME: usize = 64;

/// The hints from a byte on, in order.
fn hints(sql: &[u8], from: usize) -> impl Iterator<Item = Hint> {
    let mut from = from;
    let mut has_subscription = false;
    std::iter::from_fn(move || {
        while let Some(at) = if has_subscription { next_pair::<true>(sql, from) } else { next_pair::<false>(sql, from) }
        {
            from = at + 1;
            let has = |before: usize, word: &str| {
                let start = at.checked_sub(before)?;
                let text = sql.get(start..start + word.len())?;
                text.eq_ignore_ascii_case(word.as_bytes()).then_some(start)
            };
            let pair = sql.get(at..at + 2).and_then(|pair| <[u8; 2]>::try_from(pair).ok());
            let start = match pair.map(|pair| pair.map(|byte| byte.to_ascii_lowercase())) {
                Some([b's', b'w']) => has(3, "password").or_else(|| has(3, "passwd")),
                Some([b'k', b'e']) => has(2, "token").or_else(|| has(0, "key")),
                Some([b'p', b'h']) => has(4, "passphrase"),
                Some([b'c', b'r']) => {
                    has_subscription |= has(4, "subscription").is_some();
                    has(2, "secret").or_else(|| has(0, "credential"))
                }
                Some([b'c', b'o']) if has_subscription => {
                    let is_start = !at.checked_sub(1).and_then(|before| sql.get(before)).is_some_and(|b| is_word(*b));
                    let is_end = !sql.get(at + 10).is_some_and(|b| is_word(*b) && *b != b'$');
                    if is_start && is_end && has(0, "connection").is_some() {
                        return Some(Hint { kind: HintKind::Connection, start: at, end: at + 10 });
                    }
                    None
                }
                Some([b'/', b'/']) => {
                    if ["postgres:", "postgresql:"].iter().any(|scheme| has(scheme.len(), scheme).is_some()) {
                        return Some(Hint { kind: HintKind::Uri, start: at, end: at + 2 });
                    }
                    None
                }
                _ => None,
            };
            if let Some(hint) = start.and_then(|start| name_around(sql, start, at)) {
                from = hint.end.max(from);
                return Some(hint);
            }
        }
        None
    })
}

/// The name that a word is in, where it is one.
fn name_around(sql: &[u8], start: usize, at: usize) -> Option<Hint> {
    let is_letter = |b: &&u8| is_word(**b) && **b != b'$';
    let before = sql.get(..start)?.iter().rev().take(LONGEST_NAME).take_while(is_letter).count();
    let behind = sql.get(at..)?.iter().take(LONGEST_NAME).take_while(is_letter).count();
    if before.max(behind) == LONGEST_NAME {
        return None;
    }
    let hint = Hint { kind: HintKind::Name, start: start - before, end: at + behind };
    is_secret_name(hint.word(sql)).then_some(hint)
}

/// How many pairs are compared at once: as many bytes as every x86-64 and ARM processor has in a vector.
const AT_ONCE: usize = 16;

/// Where the next of the pairs of letters is that all hints have, and seldom anything else; with those of `CONNECTION`, which many
/// a text has, or without.
fn next_pair<const CONNECTION: bool>(sql: &[u8], from: usize) -> Option<usize> {
    let (first, second) = (sql.get(from..)?, sql.get(from + 1..)?);
    let mut base = 0;
    while let (Some(a), Some(b)) = (vector(first, base), vector(second, base)) {
        if has_pair::<CONNECTION>(a, b) {
            break;
        }
        base += AT_ONCE;
    }
    // The last vector may lie over the one before.
    if let Some(last) = second.len().checked_sub(AT_ONCE).filter(|last| base > *last)
        && let (Some(a), Some(b)) = (vector(first, last), vector(second, last))
        && !has_pair::<CONNECTION>(a, b)
    {
        return None;
    }
    let mut rest = first.get(base..)?.iter().zip(second.get(base..)?);
    rest.position(|(a, b)| is_pair::<CONNECTION>(*a, *b)).map(|at| from + base + at)
}

fn vector(bytes: &[u8], at: usize) -> Option<&[u8; AT_ONCE]> {
    bytes.get(at..)?.first_chunk()
}

/// Without a branch for each, so that all are compared at once.
fn has_pair<const CONNECTION: bool>(first: &[u8; AT_ONCE], second: &[u8; AT_ONCE]) -> bool {
    first.iter().zip(second).fold(false, |any, (a, b)| any | is_pair::<CONNECTION>(*a, *b))
}

const fn is_pair<const CONNECTION: bool>(a: u8, b: u8) -> bool {
    let (a, b) = (a | 0x20, b | 0x20);
    ((a == b's') & (b == b'w'))
        | ((a == b'k') & (b == b'e'))
        | ((a == b'c') & ((b == b'r') | (CONNECTION & (b == b'o'))))
        | ((a == b'p') & (b == b'h'))
        | ((a == b'/') & (b == b'/'))
}

/// What is around a hint.
struct Around<'a> {
    sql: &'a [u8],
    strings: Strings<'a>,
    /// How many more bytes are looked at behind hints. Comments in comments, or parentheses, could make this take long; where
    /// that is tried, all that follows is masked.
    patience: usize,
    /// Whether the text is tokens to its end; not known before it is asked for.
    lexes: Option<bool>,
    role: RoleStatement,
    format: FormatPlaces,
}

/// Whether the words before a hint are those of a statement that gives a role, or something like it, a password.
#[derive(Default)]
struct RoleStatement {
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
    /// Whether it is one at a byte. It is asked in order.
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
                    RoleState::Verb if is(&["role", "user", "group", "server", "foreign", "subscription"]) => {
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

/// How far constants are secrets.
#[derive(Clone, Copy)]
enum Extent {
    /// To the parenthesis that closes.
    Parenthesis,
    /// To the end of the statement; or, where one is given, in this argument behind the first alone.
    Statement(Option<usize>),
}

/// What joins a name and its value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joint {
    /// Nothing, or AS.
    None,
    /// `=`, `:=`, `=>`, TO, IS DISTINCT FROM.
    Assigns,
}

impl<'a> Around<'a> {
    fn new(sql: &'a [u8]) -> Self {
        let strings = Strings { tokens: Lexer::new(sql), current: None, resume: 0, entered: 0 };
        Self {
            sql,
            strings,
            patience: sql.len() + (1 << 16),
            lexes: None,
            role: RoleStatement::default(),
            format: FormatPlaces::default(),
        }
    }

    fn secrets(&mut self, hint: Hint, found: &mut Found<'a>) {
        match hint.kind {
            HintKind::Uri => found.secrets.extend(self.in_authority(hint.end)),
            HintKind::Connection => {
                let secret = self.constant(hint.end).or_else(|| self.quoted_word(hint.end));
                found.secrets.extend(secret.map(|secret| self.certain(secret)));
            }
            HintKind::Name => {
                if let Some(secret) = self.assigned(hint) {
                    found.secrets.push(secret);
                } else if self.named(hint, found).is_none() {
                    found.secrets.push(self.rest(hint.end));
                }
            }
        }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.sql.get(at).copied()
    }

    /// All that follows.
    fn rest(&self, at: usize) -> Secret<'a> {
        let quote: &[u8] = if self.byte(at) == Some(b'\'') { b"'" } else { b"" };
        Secret { place: at..self.sql.len(), quote, is_rest: true }
    }

    /// What is behind a name: its value. Nothing where it takes too long to find out.
    fn named(&mut self, hint: Hint, found: &mut Found<'a>) -> Option<()> {
        // They are asked for in order.
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
            if self.byte(at) == Some(b',') {
                at = self.skip_blank(at + 1)?;
                at = self.behind_word(at, "new_value").and_then(|at| self.joint(at)).map_or(at, |(_, at)| at);
                return self.value(at, u8::MAX, found);
            }
        }
        let behind = if self.byte(hint.end) == Some(b'"') { hint.end + 1 } else { hint.end };
        // In UPDATE … SET a name without a dot is that of a column.
        let is_set = self.before_set(name.start).is_some_and(|before| {
            is_strong || self.sql.get(name.clone()).is_some_and(|name| name.contains(&b'.')) || begins_statement(before)
        });
        let (joint, at) = self.joint(if is_set { name.end } else { behind })?;
        if joint == Joint::Assigns {
            if is_set || is_strong {
                return self.value(at, if is_set { b';' } else { 0 }, found);
            }
            return Some(());
        }
        if is_strong && let Some(secret) = self.constant(behind) {
            return self.joined(secret, found);
        }
        if is_strong
            && self.byte(at) == Some(b'(')
            && (is_password || word.to_ascii_lowercase().ends_with(b"credentials"))
        {
            return self.constants(at, Extent::Parenthesis, found);
        }
        if self.byte(at) == Some(b'$') && is_strong {
            self.parameter(at, found);
        }
        if is_strong && let Some(at) = self.behind_type(at)? {
            return self.value(at, 0, found);
        }
        if is_password {
            self.password(hint, string, at, found)?;
        }
        Some(())
    }

    fn is_password(&self, hint: Hint) -> bool {
        let word = hint.word(self.sql).to_ascii_lowercase();
        word.ends_with(b"password") || word.ends_with(b"passwd")
    }

    /// Where the value of a variable or a column is that a type, which begins at a byte, says it has: `password text := 'x'`.
    /// Nothing where it takes too long to find out.
    fn behind_type(&mut self, at: usize) -> Option<Option<usize>> {
        /// More tokens than a type has, with CONSTANT and NOT NULL.
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
            self.patience = self.patience.checked_sub(token.text.len())?;
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

    /// What is behind PASSWORD, and no constant.
    fn password(&mut self, hint: Hint, string: Option<Token<'a>>, at: usize, found: &mut Found<'a>) -> Option<()> {
        if let Some(string) = string
            && self.is_to_be_continued(hint, string)
        {
            let is_format = self.sql.get(hint.end..inside_end(string))?.trim_ascii_start().strip_prefix(b"%");
            let argument = is_format
                .filter(|spec| !spec.first().is_some_and(u8::is_ascii_digit))
                .and_then(|_| self.format.argument_at(self.sql, string.start, hint.end));
            return self.constants(string.end(), Extent::Statement(argument), found);
        }
        if !self.role.is_at(self.sql, hint.start) || self.byte(at).is_none_or(|b| b";,)".contains(&b)) {
            return Some(());
        }
        if self.behind_word(at, "null").is_some() || self.byte(at) == Some(b'$') && self.digits(at + 1) > 0 {
            return Some(());
        }
        if let Some(secret) = self.quoted_word(at) {
            found.secrets.push(self.certain(secret));
            return Some(());
        }
        // In a string, the string ends it.
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

    /// Whether a string ends behind a word with what another string, or a parameter, takes the place of.
    fn is_to_be_continued(&self, hint: Hint, string: Token<'_>) -> bool {
        let inside = self.sql.get(hint.end..inside_end(string)).unwrap_or_default();
        let before = self.sql.get(string.start..hint.start).unwrap_or_default();
        let is_sentence = inside.first().is_some_and(|b| is_blank(*b))
            && before.iter().rev().take(LONGEST_NAME).any(|b| is_blank(*b));
        let rest = inside.trim_ascii_start();
        let rest = rest.strip_prefix(b"'").or_else(|| rest.strip_prefix(b"\"")).unwrap_or(rest);
        is_sentence && (rest.iter().all(|b| is_blank(*b) || *b == b'\'') || rest.first() == Some(&b'%'))
    }

    /// The value that something is set to: what it says where it is a constant, all constants in it where it is a call. A word
    /// is one where it ends at `bare`.
    fn value(&mut self, at: usize, bare: u8, found: &mut Found<'a>) -> Option<()> {
        if let Some(secret) = self.constant(at) {
            return self.joined(secret, found);
        }
        if self.byte(at) == Some(b'$') && self.digits(at + 1) > 0 {
            self.parameter(at, found);
            return Some(());
        }
        if bare == u8::MAX {
            // An argument: it may be put together.
            return self.constants(at, Extent::Parenthesis, found);
        }
        if self.byte(at) == Some(b'(') {
            return self.constants(at, Extent::Parenthesis, found);
        }
        let call =
            at + self.sql.get(at..)?.iter().take(2 * LONGEST_NAME).take_while(|b| is_word(**b) || **b == b'.').count();
        if call > at && self.byte(self.blanks(call)) == Some(b'(') {
            return self.constants(self.blanks(call), Extent::Parenthesis, found);
        }
        if bare == 0 {
            return Some(());
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
        }
        Some(())
    }

    /// A constant, and those that are joined to it, or stand right behind it by mistake.
    fn joined(&mut self, secret: Secret<'a>, found: &mut Found<'a>) -> Option<()> {
        /// More than anyone writes in a row.
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
            let mut at = self.skip_blank(end)?;
            if self.sql.get(at..at + 2) == Some(b"||") {
                at = self.skip_blank(at + 2)?;
                self.parameter(at, found);
            } else if at == end {
                // Quotes right behind it are those of a string around it.
                break;
            }
            next = self.constant(at);
        }
        Some(())
    }

    /// All constants and parameters from a byte on.
    fn constants(&mut self, from: usize, extent: Extent, found: &mut Found<'a>) -> Option<()> {
        let (to_semicolon, argument) = match extent {
            Extent::Parenthesis => (false, None),
            Extent::Statement(argument) => (true, argument),
        };
        let (mut depth, mut commas) = (0_usize, 0_usize);
        for token in Lexer::new(self.sql).starting_at(from) {
            self.patience = self.patience.checked_sub(token.text.len())?;
            if token.is("(") {
                depth += 1;
            } else if token.is(")") {
                if depth == 0 && argument.is_some() {
                    break;
                }
                depth = depth.saturating_sub(1);
                if depth == 0 && !to_semicolon {
                    break;
                }
            } else if token.is(",") && depth == 0 && argument.is_some() {
                commas += 1;
            } else if argument.is_some_and(|argument| argument != commas) {
            } else if token.is(";") || (token.is(",") && depth == 0 && !to_semicolon) {
                break;
            } else if token.kind == Kind::Text {
                if !token.is_closed || self.is_followed_by_word(token.end()) {
                    found.secrets.push(self.rest(token.start));
                    break;
                }
                found.secrets.push(Secret { place: token.start..token.end(), quote: b"'", is_rest: false });
            } else if token.kind == Kind::Parameter {
                found.parameters.add(&token);
            }
        }
        Some(())
    }

    fn parameter(&self, at: usize, found: &mut Found<'a>) {
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

    /// A secret, or all from its beginning on, where it is uncertain that it ends where it seems to: the text does not lex, or
    /// goes on right behind it.
    fn certain(&mut self, secret: Secret<'a>) -> Secret<'a> {
        let is_quoted = self.byte(secret.place.start).is_some_and(|b| b == b'\'' || b == b'"' || b == b'\\')
            || !secret.quote.is_empty();
        if self.lexes() && !(is_quoted && self.is_followed_by_word(secret.place.end)) {
            return secret;
        }
        Secret { place: secret.place.start..self.sql.len(), is_rest: secret.place.end < self.sql.len(), ..secret }
    }

    /// Whether the text is tokens to its end, and the constants in dollar quotes that hints are in are, too.
    fn lexes(&mut self) -> bool {
        let sql = self.sql;
        *self.lexes.get_or_insert_with(|| lexes(sql, 0))
    }

    /// The name of a setting that a word is in: `app.api_token`, in quotes or not.
    fn setting_name(&self, hint: Hint) -> Range<usize> {
        let is_part = |b: &&u8| is_word(**b) || matches!(**b, b'.' | b'"');
        let before = self.sql.get(..hint.start).unwrap_or_default().iter().rev().take(2 * LONGEST_NAME);
        let behind = self.sql.get(hint.end..).unwrap_or_default().iter().take(2 * LONGEST_NAME);
        hint.start - before.take_while(is_part).count()..hint.end + behind.take_while(is_part).count()
    }

    /// What is before the SET that is before a name.
    fn before_set(&self, start: usize) -> Option<&'a [u8]> {
        let before = self.sql.get(..start)?.trim_ascii_end();
        let without = |text, words: &[&str]| words.iter().find_map(|word| strip_last_word(text, word));
        let set = without(before, &["session", "local"]).map_or(before, <[u8]>::trim_ascii_end);
        without(set, &["set"])
    }

    fn is_argument_of_set_config(&self, start: usize) -> bool {
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

    /// What joins a name that ends at a byte with its value, and where that is. Nothing where it takes too long.
    fn joint(&mut self, end: usize) -> Option<(Joint, usize)> {
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

    /// Where a word ends that begins at a byte.
    fn behind_word(&self, at: usize, word: &str) -> Option<usize> {
        let end = at + word.len();
        let is_it = self.sql.get(at..end)?.eq_ignore_ascii_case(word.as_bytes());
        (is_it && !self.byte(end).is_some_and(is_word)).then_some(end)
    }

    /// A name in double quotes behind a word.
    fn quoted_word(&mut self, word: usize) -> Option<Secret<'a>> {
        let at = self.skip_blank(word)?;
        let token = Lexer::new(self.sql).starting_at(at).next().filter(|token| token.kind == Kind::QuotedWord)?;
        Some(Secret { place: at..token.end(), quote: b"\"", is_rest: false })
    }

    /// The string constant behind a word.
    fn constant(&mut self, word: usize) -> Option<Secret<'a>> {
        let Some(mut at) = self.skip_blank(word) else { return Some(self.rest(word)) };
        if let Some(behind) = self.behind_word(at, "as") {
            at = self.skip_blank(behind)?;
        }
        let rest = self.sql.get(at..).unwrap_or_default();
        let string = self.strings.around(at);
        // The word ends a string: WHERE name = 'password'. Where it does not lex, it may seem so: can't ALTER … PASSWORD 'x'.
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
        // What continues a constant is looked for behind comments.
        if self.skip_blank(end).is_none() {
            return Some(self.rest(at));
        }
        if memchr::memmem::find(token.text, b"\\'").is_some() {
            // Where standard_conforming_strings is off, it may be longer.
            end = end.max(read(Lexer::with_backslashes(self.sql))?.end());
        }
        secret(at..end, b"'")
    }

    /// A constant in a constant, whose quotes are doubled: `EXECUTE 'ALTER ROLE u PASSWORD ''x'''`.
    fn nested(&self, at: usize, quotes: usize) -> Secret<'a> {
        let quote = self.sql.get(at..at + quotes).unwrap_or_default();
        let mut end = at + quotes;
        while let Some(found) = self.sql.get(end..).and_then(|rest| memchr::memchr(b'\'', rest)) {
            end += found;
            let run = self.sql.get(end..).unwrap_or_default().iter().take_while(|b| **b == b'\'').count();
            let unpaired = run % (2 * quotes);
            end += run;
            if unpaired > 0 {
                // Its own quotes come first; what is left ends the constant around it.
                return Secret { place: at..end - unpaired.saturating_sub(quotes), quote, is_rest: false };
            }
        }
        Secret { place: at..self.sql.len(), quote, is_rest: false }
    }

    /// The value behind `password=` in a connection string.
    fn assigned(&mut self, hint: Hint) -> Option<Secret<'a>> {
        let word = hint.end;
        let is_in_uri = matches!(self.byte(hint.start.checked_sub(1)?), Some(b'?' | b'&'));
        let equals = self.blanks(word);
        if self.byte(equals) != Some(b'=') || is_path(hint.word(self.sql)) {
            return None;
        }
        let string = self.strings.around(word);
        if !is_in_uri && !string.is_some_and(|token| is_connection_string(token)) {
            return None;
        }
        let start = self.blanks(equals + 1);
        let rest = self.sql.get(start..)?;
        let is_quoted =
            matches!(rest.first(), Some(b'\'' | b'\\')) && string.is_none_or(|token| start + 1 < token.end());
        if is_quoted && let Some(secret) = self.constant(start) {
            return Some(secret);
        }
        let limit = string.map_or(self.sql.len(), inside_end);
        let mut end = start;
        while end < limit && self.byte(end).is_some_and(|b| !is_blank(b) && b != b'\'' && !(is_in_uri && b == b'&')) {
            end += if self.byte(end) == Some(b'\\') { 2 } else { 1 };
        }
        Some(Secret { place: start..end.min(limit).max(start), quote: b"", is_rest: false })
    }

    /// The password in `postgresql://user:password@host`.
    fn in_authority(&self, start: usize) -> Option<Secret<'a>> {
        let rest = self.sql.get(start..)?;
        let is_end = |b: &u8| is_blank(*b) || matches!(b, b'/' | b'?' | b'#' | b'\'' | b'"');
        let len = rest.iter().position(is_end).unwrap_or(rest.len());
        let authority = rest.get(..len)?;
        let password = memchr::memchr(b':', authority)? + 1;
        let end = match memchr::memrchr(b'@', authority) {
            Some(end) if end >= password => end,
            // It may have been cut off.
            None if len == rest.len() => len,
            _ => return None,
        };
        Some(Secret { place: start + password..start + end, quote: b"", is_rest: false })
    }

    fn blanks(&self, at: usize) -> usize {
        at + self.sql.get(at..).unwrap_or_default().iter().take_while(|b| is_blank(**b)).count()
    }

    /// Where white space and comments end. Nothing where that takes too long.
    fn skip_blank(&mut self, at: usize) -> Option<usize> {
        let mut end = self.blanks(at);
        while matches!(self.sql.get(end..end + 2), Some(b"--" | b"/*")) {
            let comment = Lexer::new(self.sql).starting_at(end).next()?;
            let behind = self.blanks(comment.end());
            self.patience = self.patience.checked_sub(behind - end)?;
            end = behind;
        }
        Some(end)
    }
}

/// What is before a word, where a text ends with it.
fn strip_last_word<'a>(text: &'a [u8], word: &str) -> Option<&'a [u8]> {
    let (before, found) = text.split_at_checked(text.len().checked_sub(word.len())?)?;
    (found.eq_ignore_ascii_case(word.as_bytes()) && !before.last().is_some_and(|b| is_word(*b))).then_some(before)
}

/// Whether a statement begins behind a text, or ALTER SYSTEM is there.
fn begins_statement(before: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    matches!(before.last(), None | Some(b';' | b'$')) || strip_last_word(before, "system").is_some()
}

/// The places for arguments of `format` in a string, as far as hints in it have come.
#[derive(Default)]
struct FormatPlaces {
    start: usize,
    at: usize,
    count: usize,
    are_numbered: bool,
}

impl FormatPlaces {
    /// Which argument takes the place of the `%L` behind a byte: `%2$L` says it itself. Nothing where that is uncertain. It is
    /// asked in order, so that all of it is one walk over the text.
    fn argument_at(&mut self, sql: &[u8], start: usize, at: usize) -> Option<usize> {
        if self.start != start || self.at < start {
            *self = Self { start, at: start, ..Self::default() };
        }
        for pair in sql.get(self.at..at + 1).unwrap_or_default().windows(2) {
            match pair {
                [b'%', b's' | b'I' | b'L' | b'-'] => self.count += 1,
                // Positions that are named are no order.
                [b'$', b's' | b'I'] => self.are_numbered = true,
                _ => {}
            }
        }
        self.at = at.max(self.at);
        (!self.are_numbered).then_some(self.count + 1)
    }
}

/// Whether a key of a connection string is the path of a file.
fn is_path(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"sslkey")
}

/// Whether a text is tokens to its end, and what is in dollar quotes is.
fn lexes(sql: &[u8], depth: usize) -> bool {
    /// Code in code in code.
    const DEEPEST: usize = 4;
    Lexer::new(sql).all(|token| {
        let is_whole = token.is_closed && token.kind != Kind::Other;
        let code = dollar_quote(token).filter(|_| token.kind == Kind::Text && depth < DEEPEST);
        let inside = code.and_then(|quote| token.text.strip_prefix(quote)?.strip_suffix(quote));
        is_whole && inside.is_none_or(|inside| !may_have(inside) || lexes(inside, depth + 1))
    })
}

/// The string constants that hints are in. Hints come in order, so that all of it is one walk over the text.
struct Strings<'a> {
    tokens: Lexer<'a>,
    current: Option<Token<'a>>,
    /// Where to go on behind what is quoted by dollars.
    resume: usize,
    /// How many of those were entered.
    entered: usize,
}

impl<'a> Strings<'a> {
    /// How many constants in dollar quotes are entered: each costs a search for its end.
    const MOST_ENTERED: usize = 64;

    /// The string constant that a byte is inside of. Dollar quotes mostly hold code, and then what counts is inside them.
    fn around(&mut self, at: usize) -> Option<Token<'a>> {
        if self.resume > 0 && at >= self.resume {
            self.tokens = self.tokens.clone().starting_at(self.resume);
            (self.current, self.resume) = (None, 0);
        }
        loop {
            match self.current.filter(|token| at < token.end()) {
                Some(token) => {
                    let is_inside = token.kind == Kind::Text && token.start < at;
                    let delimiter = dollar_quote(token);
                    let Some(delimiter) = delimiter.filter(|_| is_inside && !is_connection_string(token)) else {
                        return self.current.filter(|_| is_inside);
                    };
                    if self.entered >= Self::MOST_ENTERED {
                        return None;
                    }
                    self.entered += 1;
                    self.resume = self.resume.max(token.end());
                    self.tokens = self.tokens.clone().starting_at(token.start + delimiter.len());
                    self.current = self.tokens.next();
                }
                None => self.current = Some(self.tokens.next()?),
            }
        }
    }
}

/// What a constant in dollar quotes begins with. A tag is a name: so much is looked at, and no more.
fn dollar_quote(token: Token<'_>) -> Option<&[u8]> {
    let text = token.text.get(..4 * LONGEST_NAME).unwrap_or(token.text);
    if text.starts_with(b"$") { dollar_delimiter(text) } else { None }
}

/// Whether a string begins as connection strings do: `host=…`.
fn is_connection_string(token: Token<'_>) -> bool {
    let quote = match dollar_quote(token) {
        Some(delimiter) => delimiter.len(),
        None => token.text.iter().position(|b| *b == b'\'').map_or(0, |quote| quote + 1),
    };
    let inside = token.text.get(quote..).unwrap_or_default();
    let mut begins = inside.iter().take(128).copied().skip_while(|b| is_blank(*b)).skip_while(|b| is_word(*b));
    begins.find(|b| !is_blank(*b)) == Some(b'=')
}

/// Where the inside of a string constant ends, in the text.
fn inside_end(token: Token<'_>) -> usize {
    let quote = dollar_quote(token).map_or(1, <[u8]>::len);
    if token.is_closed { token.end() - quote.min(token.text.len()) } else { token.end() }
}

#[cfg(test)]
mod tests;
