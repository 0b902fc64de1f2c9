//! SQL without its constants, and a fingerprint of it.
//!
//! The text has the form used by pg_stat_statements: constants are replaced with `$n`, numbered after the highest parameter in
//! the text; comments and white space become one blank. Words are not changed. Numbers that are not data are kept as well: type
//! modifiers (`varchar(10)`) and column positions (`ORDER BY 1`).
//!
//! Consecutive items of the same shape are written once, followed by `/*, ... */`, as in PostgreSQL 18: in an IN list, in
//! `ARRAY[…]`, and the rows of VALUES. Unlike there, an item may be more than a constant: `IN (f(1), f(2))` becomes `IN (f($1)
//! /*, ... */)`, and parameters keep their numbers, which Bind refers to.
//!
//! # The fingerprint
//!
//! It is stable across releases. It is the 64-bit FNV-1a hash (offset basis cbf29ce484222325, prime 100000001b3) of the text's
//! tokens: for each one a byte for its kind, its bytes, and a zero byte. White space, comments, empty statements and the final
//! `;` are ignored. The kinds:
//!
//! | byte | token | bytes |
//! | --- | --- | --- |
//! | `w` | a word without quotes, or with redundant quotes | in lower case (ASCII) |
//! | `q` | another quoted identifier | as it is written |
//! | `c` | a constant with its sign, or a parameter | none |
//! | `n` | a number that is not data | as it is written |
//! | `o` | an operator, symbol or other byte; `!=` is `<>` | as it is written |
//! | `(` or `[` | parentheses or brackets with their content | the hash of the content |
//!
//! The content of parentheses or brackets, and the text as a whole, is a list of items separated by commas (VALUES ends an item,
//! and so does the end of its rows). Its hash is that of each item's hash, as eight bytes in little-endian order; items that are
//! written once are hashed once. Parentheses nested deeper than 200 levels are hashed as single bytes.
//!
//! So the fingerprint does not depend on values, on their number in a list, spacing, the case of words, or on parameters in place
//! of constants. It depends on everything else: it does not recognize that `CAST(a AS int)` and `a::int` are equivalent.

use std::fmt;

use super::keyword;
use super::lexer::{Kind, Lexer, Token, is_word};
use crate::digits::push_decimal;

/// Represents the items that are left out.
const MORE: &[u8] = b"/*, ... */";

/// The maximum nesting depth of parentheses: deeper than people write, with bounded memory for generated text.
const DEEPEST: usize = 200;

/// The greatest column position: the maximum number of columns (appendix "PostgreSQL Limits").
const MAX_POSITION: u16 = 1_664;

/// A normalized text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalized {
    /// The text, in the `client_encoding` in which it was sent.
    pub text: Box<[u8]>,
    /// The fingerprint, which all texts of the same shape share.
    pub fingerprint: Fingerprint,
}

/// A 64-bit fingerprint, written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Normalizes a text with any number of statements.
///
/// Accepts any bytes, in time linear in their number. Text that is not SQL is kept as it is, and an unterminated token extends to
/// the end of the text.
pub fn normalize(sql: &[u8]) -> Normalized {
    let mut text = Vec::with_capacity(sql.len().min(1 << 16));
    let Form { fingerprint, .. } = normalize_into(sql, &mut text);
    Normalized { text: text.into(), fingerprint }
}

/// The properties of a normal form other than its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The fingerprint, which all texts of the same shape share.
    pub fingerprint: Fingerprint,
    /// Whether it contains numbers as they are written, because they are not data.
    pub shows_numbers: bool,
}

/// Normalizes a text into a buffer, replacing its content.
pub fn normalize_into(sql: &[u8], text: &mut Vec<u8>) -> Form {
    text.clear();
    let mut normalizer = Normalizer::new(sql, text);
    while let Some(token) = normalizer.tokens.next() {
        normalizer.token(token);
    }
    normalizer.finish()
}

struct Normalizer<'a, 't> {
    tokens: Lexer<'a>,
    text: &'t mut Vec<u8>,
    /// The open parentheses, the outermost first, below the text as a whole.
    groups: Vec<Group>,
    innermost: Group,
    /// The number of open parentheses beyond the maximum depth.
    deeper: usize,
    /// The number of the last constant.
    constants: u64,
    /// Whether white space or a comment followed the last token.
    blank: bool,
    /// Whether a `;` followed the last token.
    semicolon: bool,
    last: Option<Token<'a>>,
    last_but_one: Option<Token<'a>>,
    shows_numbers: bool,
    /// Whether it is a command to a walsender, which has a position in the WAL: `16/B374D848`.
    is_start_replication: bool,
}

/// A list of items: the content of parentheses, or the whole text.
struct Group {
    open: u8,
    /// Whether items of the same shape are written once.
    is_list: bool,
    /// Whether the items are the rows of VALUES.
    is_values: bool,
    /// Whether the items are those of ORDER BY or GROUP BY.
    is_positions: bool,
    /// Whether the items are type modifiers.
    is_modifier: bool,
    items: Hash,
    item: Item,
    /// The hash of the last item that was written.
    shown: Option<u64>,
    /// Whether items of the same shape after it were left out.
    has_more: bool,
}

/// The part of an item read so far.
#[derive(Clone, Copy)]
struct Item {
    hash: Hash,
    /// Its start in the written text, including the comma before it.
    start: usize,
    /// The number of the last constant before it.
    constants: u64,
    is_empty: bool,
    /// Whether the text itself contains the mark for several items.
    has_more: bool,
}

impl Item {
    const fn new(start: usize, constants: u64) -> Self {
        Self { hash: Hash::EMPTY, start, constants, is_empty: true, has_more: false }
    }

    fn add(&mut self, kind: u8, bytes: impl IntoIterator<Item = u8>) {
        self.is_empty = false;
        self.hash.add(kind);
        bytes.into_iter().for_each(|b| self.hash.add(b));
        self.hash.add(0);
    }
}

impl Group {
    const fn new(open: u8, start: usize, constants: u64) -> Self {
        Self {
            open,
            is_list: false,
            is_values: false,
            is_positions: false,
            is_modifier: false,
            items: Hash::EMPTY,
            item: Item::new(start, constants),
            shown: None,
            has_more: false,
        }
    }

    /// Ends an item and begins the next.
    fn end_item(&mut self, text: &mut Vec<u8>, constants: &mut u64) {
        let item = self.item;
        let hash = item.hash.0;
        if self.is_list && !item.is_empty && self.shown == Some(hash) {
            text.truncate(item.start);
            *constants = item.constants;
            self.has_more = true;
        } else {
            if self.has_more {
                text.splice(item.start..item.start, [b" ", MORE].concat());
            }
            hash.to_le_bytes().into_iter().for_each(|b| self.items.add(b));
            self.shown = Some(hash);
            self.has_more = item.has_more;
        }
        self.item = Item::new(text.len(), *constants);
    }

    /// Ends the list with its last item.
    fn end_list(&mut self, text: &mut Vec<u8>, constants: &mut u64) {
        self.end_item(text, constants);
        if self.has_more {
            text.push(b' ');
            text.extend_from_slice(MORE);
        }
        self.item = Item::new(text.len(), *constants);
        (self.is_list, self.is_values, self.is_positions) = (false, false, false);
        (self.shown, self.has_more) = (None, false);
    }
}

impl<'a, 't> Normalizer<'a, 't> {
    fn new(sql: &'a [u8], text: &'t mut Vec<u8>) -> Self {
        Self {
            tokens: Lexer::new(sql),
            text,
            groups: Vec::new(),
            innermost: Group::new(b'(', 0, 0),
            deeper: 0,
            constants: highest_parameter(sql),
            blank: false,
            semicolon: false,
            last: None,
            last_but_one: None,
            shows_numbers: false,
            is_start_replication: false,
        }
    }

    fn finish(mut self) -> Form {
        while !self.groups.is_empty() {
            self.leave();
        }
        self.end_list();
        Form { fingerprint: Fingerprint(self.innermost.items.0), shows_numbers: self.shows_numbers }
    }

    fn token(&mut self, token: Token<'a>) {
        if token.is_blank() {
            let item = &mut self.innermost.item;
            if self.innermost.is_list && !item.is_empty && token.text == MORE {
                item.has_more = true;
                self.blank = false;
            } else {
                self.blank = true;
            }
            return;
        }
        if token.is(";") && self.groups.is_empty() && self.deeper == 0 {
            self.semicolon |= self.last.is_some();
            return;
        }
        if self.innermost.is_values && !matches!(token.text, b"(" | b")" | b"," | b"]") {
            self.end_list();
        }
        if self.semicolon {
            self.end_list();
            self.text.push(b';');
            self.innermost.item.add(b'o', *b";");
            (self.semicolon, self.blank) = (false, true);
            (self.last, self.last_but_one) = (None, None);
        }
        self.is_start_replication |= self.last.is_none() && token.is_word("start_replication");
        let mut said = token;
        if let Some(behind) = self.is_start_replication.then(|| self.behind_position(token)).flatten() {
            self.tokens = behind;
            self.constant();
            (self.last_but_one, self.last) = (self.last, Some(Token { kind: Kind::Text, ..token }));
            return;
        }
        match token.kind {
            Kind::Text => {
                self.skip_uescape(token);
                self.constant();
            }
            Kind::Number if self.is_not_data(token) => {
                self.shows_numbers = true;
                self.show(token, b'n');
            }
            Kind::Number => self.constant(),
            Kind::Parameter => {
                self.write(token.text);
                self.innermost.item.add(b'c', []);
            }
            Kind::Word if self.is_constant_word(token) => {
                said.kind = Kind::Text;
                self.constant();
            }
            Kind::Word => self.word(token),
            Kind::QuotedWord => match plain_name(token.text) {
                Some(name) => {
                    self.write(token.text);
                    self.innermost.item.add(b'w', name.iter().copied());
                }
                None => self.show(token, b'q'),
            },
            Kind::Operator if token.text == b"-" => match self.signed_number() {
                Some(number) => {
                    said = number;
                    self.constant();
                }
                None => self.show(token, b'o'),
            },
            Kind::Operator if token.text == b"!=" => {
                self.write(token.text);
                self.innermost.item.add(b'o', *b"<>");
            }
            Kind::Symbol if self.deeper > 0 => self.symbol_too_deep(token),
            Kind::Symbol => self.symbol(token),
            _ => self.show(token, b'o'),
        }
        self.last_but_one = self.last;
        self.last = Some(said);
    }

    fn word(&mut self, token: Token<'a>) {
        if self.innermost.is_list && self.innermost.item.is_empty && !self.innermost.is_values {
            let is_query = ["select", "with", "values", "table"].iter().any(|word| token.is_word(word));
            self.innermost.is_list = !is_query;
        }
        if self.innermost.is_positions && keyword::ends_positions(token.text) {
            self.innermost.is_positions = false;
        }
        if token.is_word("by") && self.last.is_some_and(|last| last.is_word("order") || last.is_word("group")) {
            self.innermost.is_positions = true;
        }
        self.write(token.text);
        self.innermost.item.add(b'w', token.text.iter().map(u8::to_ascii_lowercase));
        if token.is_word("values") && self.deeper == 0 {
            self.end_list();
            (self.innermost.is_list, self.innermost.is_values) = (true, true);
        }
    }

    fn symbol(&mut self, token: Token<'a>) {
        match token.text {
            b"(" | b"[" if self.groups.len() < DEEPEST => self.enter(token),
            b"(" | b"[" => {
                self.deeper = 1;
                self.show(token, b'o');
            }
            b")" | b"]" if !self.groups.is_empty() => {
                self.leave();
                self.write(token.text);
            }
            b"," => {
                self.innermost.end_item(self.text, &mut self.constants);
                self.write(token.text);
            }
            _ => self.show(token, b'o'),
        }
    }

    fn symbol_too_deep(&mut self, token: Token<'a>) {
        match token.text {
            b"(" | b"[" => self.deeper += 1,
            b")" | b"]" => self.deeper -= 1,
            _ => {}
        }
        self.show(token, b'o');
    }

    fn enter(&mut self, token: Token<'a>) {
        self.write(token.text);
        let mut group = Group::new(token.text.first().copied().unwrap_or_default(), self.text.len(), self.constants);
        if let Some(last) = self.last {
            group.is_list = match group.open {
                b'(' => last.is_word("in"),
                // An array, or one nested in an array.
                _ => last.is_word("array") || (self.innermost.is_list && (last.is("[") || last.is(","))),
            };
            let is_cast = self.last_but_one.is_some_and(|token| token.is("::"));
            group.is_modifier = last.kind == Kind::Word && (is_cast || keyword::is_modified_type(last.text));
        }
        self.groups.push(std::mem::replace(&mut self.innermost, group));
    }

    /// Leaves the innermost group without writing its end.
    fn leave(&mut self) {
        self.end_list();
        if let Some(outer) = self.groups.pop() {
            let inner = std::mem::replace(&mut self.innermost, outer);
            self.innermost.item.add(inner.open, inner.items.0.to_le_bytes());
        }
    }

    fn end_list(&mut self) {
        self.innermost.end_list(self.text, &mut self.constants);
    }

    /// Returns what is behind a position in the WAL, if one begins with this token.
    fn behind_position(&self, token: Token<'a>) -> Option<Lexer<'a>> {
        let is_hex = |token: &Token<'_>| token.text.iter().all(u8::is_ascii_hexdigit);
        let mut ahead = self.tokens.clone();
        let has_slash = is_hex(&token) && ahead.next()?.text == b"/";
        ahead.next().filter(|token| has_slash && is_hex(token))?;
        let mut next = ahead.clone();
        // Digits and letters may be tokens of their own.
        while next.next().is_some_and(|token| is_hex(&token)) {
            ahead = next.clone();
        }
        Some(ahead)
    }

    fn constant(&mut self) {
        self.constants = self.constants.saturating_add(1);
        self.write(b"$");
        push_decimal(self.text, self.constants);
        self.innermost.item.add(b'c', []);
    }

    /// Writes a token unchanged.
    fn show(&mut self, token: Token<'_>, kind: u8) {
        self.write(token.text);
        self.innermost.item.add(kind, token.text.iter().copied());
    }

    /// Writes a token, separated from the last one if they would merge.
    fn write(&mut self, bytes: &[u8]) {
        let is_glued =
            |text: &[u8]| text.last().is_some_and(|b| is_word(*b)) && bytes.first().is_some_and(|b| is_word(*b));
        // A mark that is not at the end of its item is a comment.
        self.blank |= std::mem::take(&mut self.innermost.item.has_more);
        if (self.blank && !self.text.is_empty()) || is_glued(self.text) {
            self.text.push(b' ');
        }
        self.blank = false;
        self.text.extend_from_slice(bytes);
    }

    /// Returns whether a number is a type modifier or a column position.
    fn is_not_data(&self, token: Token<'a>) -> bool {
        let group = &self.innermost;
        if group.is_modifier {
            return true;
        }
        let is_item = self.last.is_some_and(|last| last.is_word("by") || last.is(","));
        group.is_positions
            && is_item
            && token.text.iter().all(u8::is_ascii_digit)
            && std::str::from_utf8(token.text)
                .is_ok_and(|digits| digits.parse().is_ok_and(|it: u16| it <= MAX_POSITION))
            && !self
                .tokens
                .clone()
                .next_solid()
                .is_some_and(|next| next.kind == Kind::Operator || next.is("::") || next.is("."))
    }

    /// Returns the number after a minus that is its sign: the server folds both into one constant. A cast binds tighter.
    fn signed_number(&mut self) -> Option<Token<'a>> {
        if !self.is_before_operand() || self.innermost.is_modifier {
            return None;
        }
        let mut ahead = self.tokens.clone();
        let number = ahead.next_solid().filter(|token| token.kind == Kind::Number)?;
        if ahead.clone().next_solid().is_some_and(|next| next.is("::") || next.is("[")) {
            return None;
        }
        self.tokens = ahead;
        Some(number)
    }

    fn is_before_operand(&self) -> bool {
        let Some(last) = self.last else { return true };
        match last.kind {
            Kind::Operator => true,
            Kind::Symbol => !matches!(last.text, b")" | b"]" | b"." | b"::"),
            Kind::Word => keyword::is_before_operand(last.text) && !self.is_qualified(),
            _ => false,
        }
    }

    /// Returns whether the last word follows a dot, or is a name after AS.
    fn is_qualified(&self) -> bool {
        self.last_but_one.is_some_and(|token| token.is(".") || token.is_word("as"))
    }

    /// Returns whether a word is one of the constants TRUE, FALSE and NULL, or the field of EXTRACT, which is a constant for the
    /// server.
    fn is_constant_word(&self, token: Token<'a>) -> bool {
        let is_in_extract = self.last_but_one.is_some_and(|token| token.is_word("extract"));
        if is_in_extract && self.last.is_some_and(|last| last.is("(")) {
            return self.tokens.clone().next_solid().is_some_and(|next| next.is_word("from"));
        }
        if !["true", "false", "null"].iter().any(|word| token.is_word(word)) {
            return false;
        }
        let Some(last) = self.last else { return false };
        let is_expression = match last.kind {
            Kind::Operator => true,
            Kind::Symbol => matches!(last.text, b"(" | b"[" | b"," | b":="),
            Kind::Word => keyword::is_before_constant(last.text) && !self.is_qualified(),
            _ => false,
        };
        // NULL '' is an option of COPY.
        let is_option = || {
            let next = self.tokens.clone().next_solid();
            next.is_some_and(|next| matches!(next.kind, Kind::Text | Kind::Number | Kind::Parameter))
        };
        is_expression && !is_option()
    }

    /// Skips the clause that defines the escape character of a constant: `U&'…' UESCAPE '!'`.
    fn skip_uescape(&mut self, token: Token<'a>) {
        if !token.text.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"u&")) {
            return;
        }
        let mut ahead = self.tokens.clone();
        let is_uescape = ahead.next_solid().is_some_and(|token| token.is_word("uescape"));
        if is_uescape && ahead.next_solid().is_some_and(|token| token.kind == Kind::Text) {
            self.tokens = ahead;
        }
    }
}

/// Returns a quoted name without its quotes, if they are redundant.
fn plain_name(quoted: &[u8]) -> Option<&[u8]> {
    let name = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let is_plain = |b: &u8| is_word(*b) && !b.is_ascii_uppercase();
    let begins = name.first().is_some_and(|b| !b.is_ascii_digit() && *b != b'$');
    (begins && name.iter().all(is_plain) && !keyword::is_keyword(name)).then_some(name)
}

fn highest_parameter(sql: &[u8]) -> u64 {
    if memchr::memchr(b'$', sql).is_none() {
        return 0;
    }
    let number = |token: Token<'_>| std::str::from_utf8(token.text.get(1..)?).ok()?.parse::<u64>().ok();
    Lexer::new(sql).filter(|token| token.kind == Kind::Parameter).filter_map(number).max().unwrap_or(0)
}

/// A 64-bit FNV-1a hash.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    const fn add(&mut self, byte: u8) {
        self.0 = (self.0 ^ byte as u64).wrapping_mul(0x100_0000_01b3);
    }
}

#[cfg(test)]
mod tests;
