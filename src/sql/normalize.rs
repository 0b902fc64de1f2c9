//! What SQL looks like without its constants, and a fingerprint of that.
//!
//! The text is shown as pg_stat_statements shows it: constants are `$n`, numbered behind the highest parameter that the text
//! has; comments and white space are one blank. Words stay as they are written. Numbers that are no data stay too: the
//! modifier of a type (`varchar(10)`) and the position of a column (`ORDER BY 1`).
//!
//! Items of one shape that follow each other are shown once, with `/*, ... */` behind them as PostgreSQL 18 does it: in an
//! IN list, in `ARRAY[…]`, and the rows of VALUES. Unlike there, an item is more than a constant: `IN (f(1), f(2))` is
//! `IN (f($1) /*, ... */)`, and parameters keep the numbers that Bind knows them by.
//!
//! # The fingerprint
//!
//! It stays the same across releases. It is the FNV-1a hash of 64 bits (offset basis cbf29ce484222325, prime 100000001b3) of
//! the text's tokens: for each a byte that says its kind, then its bytes, then a zero. White space, comments, empty
//! statements and the `;` at the end are left out. The kinds:
//!
//! | byte | token | bytes |
//! | --- | --- | --- |
//! | `w` | a word without quotes, or with quotes that change nothing | in lower case (ASCII) |
//! | `q` | another quoted identifier | as it is written |
//! | `c` | a constant with its sign, or a parameter | none |
//! | `n` | a number that is no data | as it is written |
//! | `o` | an operator, symbol or other byte; `!=` is `<>` | as it is written |
//! | `(` or `[` | parentheses or brackets with all that is in them | the hash of what is in them |
//!
//! What is in parentheses or brackets, and the text as a whole, is a list of items between commas (VALUES ends an item, and
//! so does what ends its rows), and hashed as that: each item's hash, as eight bytes, little end first; where items are
//! shown once, they are hashed once. Parentheses deeper than 200 are hashed as single bytes.
//!
//! So the fingerprint does not see the values, their number in a list, spacing, the case of words, or parameters for
//! constants. It sees everything else: it does not know that `CAST(a AS int)` and `a::int` mean the same.

use std::fmt;

use super::keyword;
use super::lexer::{Kind, Lexer, Token, is_word};
use crate::digits::push_decimal;

/// What stands for the items that are not shown.
const MORE: &[u8] = b"/*, ... */";

/// How deep parentheses are followed: deeper than people write, and little memory where a machine does.
const DEEPEST: usize = 200;

/// The greatest position of a column: no row has more columns (appendix "PostgreSQL Limits").
const MAX_POSITION: u16 = 1_664;

/// A text without its constants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalized {
    /// The text, in `client_encoding` as it was sent.
    pub text: Box<[u8]>,
    /// What all texts of its shape share.
    pub fingerprint: Fingerprint,
}

/// 64 bits, written as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Takes the constants out of a text, of any number of statements.
///
/// Any bytes are taken, in time that grows with their number. What is not SQL is shown as it is, and what has a beginning
/// but no end is taken to the end of the text.
pub fn normalize(sql: &[u8]) -> Normalized {
    let mut text = Vec::with_capacity(sql.len().min(1 << 16));
    let Form { fingerprint, .. } = normalize_into(sql, &mut text);
    Normalized { text: text.into(), fingerprint }
}

/// What there is to say of a normal form beside its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// What all texts of its shape share.
    pub fingerprint: Fingerprint,
    /// Whether numbers stand in it as they are written, for they are no data.
    pub shows_numbers: bool,
}

/// The same, with the text put into a buffer, in place of what is there.
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
    /// What parentheses are open, the outermost first, in the text as a whole.
    groups: Vec<Group>,
    innermost: Group,
    /// How many more are open than are followed.
    deeper: usize,
    /// The number of the last constant.
    constants: u64,
    /// White space or a comment came behind the last token.
    blank: bool,
    /// A `;` came behind the last token.
    semicolon: bool,
    last: Option<Token<'a>>,
    last_but_one: Option<Token<'a>>,
    shows_numbers: bool,
}

/// What is between parentheses, or the whole text: a list of items.
struct Group {
    open: u8,
    /// Items of one shape are shown once.
    is_list: bool,
    /// The items are the rows of VALUES.
    is_values: bool,
    /// The items are those of ORDER BY or GROUP BY.
    is_positions: bool,
    /// The items are modifiers of a type.
    is_modifier: bool,
    items: Hash,
    item: Item,
    /// The hash of the last item that is shown.
    shown: Option<u64>,
    /// Items of its shape were left out behind it.
    has_more: bool,
}

/// An item, as far as it was read.
#[derive(Clone, Copy)]
struct Item {
    hash: Hash,
    /// Where it begins in the text that is shown, with the comma before it.
    start: usize,
    /// The number of the last constant before it.
    constants: u64,
    is_empty: bool,
    /// The text itself says that it stands for several.
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

    /// Ends an item, and begins the next.
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

    /// Ends the list, with its last item.
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
        let mut said = token;
        match token.kind {
            Kind::Text => {
                self.skip_uescape(token);
                self.constant();
            }
            Kind::Number if self.is_no_data(token) => {
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
                // An array, or one in an array.
                _ => last.is_word("array") || (self.innermost.is_list && (last.is("[") || last.is(","))),
            };
            let is_cast = self.last_but_one.is_some_and(|token| token.is("::"));
            group.is_modifier = last.kind == Kind::Word && (is_cast || keyword::is_modified_type(last.text));
        }
        self.groups.push(std::mem::replace(&mut self.innermost, group));
    }

    /// Leaves the innermost group, but does not show its end.
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

    fn constant(&mut self) {
        self.constants = self.constants.saturating_add(1);
        self.write(b"$");
        push_decimal(self.text, self.constants);
        self.innermost.item.add(b'c', []);
    }

    /// Shows a token as it is.
    fn show(&mut self, token: Token<'_>, kind: u8) {
        self.write(token.text);
        self.innermost.item.add(kind, token.text.iter().copied());
    }

    /// Writes a token behind the last, so that they stay two.
    fn write(&mut self, bytes: &[u8]) {
        let is_glued =
            |text: &[u8]| text.last().is_some_and(|b| is_word(*b)) && bytes.first().is_some_and(|b| is_word(*b));
        // A mark that is not the last of its item is a comment.
        self.blank |= std::mem::take(&mut self.innermost.item.has_more);
        if (self.blank && !self.text.is_empty()) || is_glued(self.text) {
            self.text.push(b' ');
        }
        self.blank = false;
        self.text.extend_from_slice(bytes);
    }

    /// Whether a number is the modifier of a type, or the position of a column.
    fn is_no_data(&self, token: Token<'a>) -> bool {
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

    /// The number behind a minus that is its sign: the server makes one constant of both. A cast binds tighter.
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

    /// Whether the last word is behind a point, or a name that AS gives.
    fn is_qualified(&self) -> bool {
        self.last_but_one.is_some_and(|token| token.is(".") || token.is_word("as"))
    }

    /// Whether a word is one of the constants TRUE, FALSE and NULL, or the field of EXTRACT, which is one to the server.
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

    /// Skips what says how a constant is escaped: `U&'…' UESCAPE '!'`.
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

/// The name in quotes, where it is the same without them.
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

/// FNV-1a of 64 bits.
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
