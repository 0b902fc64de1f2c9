//! The scanner and the parser of commands.

use std::borrow::Cow;
use std::iter;
use std::mem;

use super::super::Lsn;
use super::{COMMANDS, Entry, KEYWORDS, Unquoted, unsigned};

/// A token of `repl_scanner.l`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or a name, as it is written.
    Word(&'a [u8]),
    /// A name in double quotes.
    Quoted(Unquoted<'a>),
    /// A string in single quotes.
    Literal(Unquoted<'a>),
    /// Decimal digits.
    Number(&'a [u8]),
    /// A position in the WAL.
    Lsn(&'a [u8]),
    /// Any other character, which may be the quote of what has no end.
    Symbol(u8),
    /// The end of the text.
    End,
}

/// A text from its next token on.
pub(super) struct Parser<'a> {
    pub(super) next: Token<'a>,
    /// What follows that token.
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        let (next, rest) = scan(text);
        Self { next, rest }
    }

    pub(super) fn take(&mut self) -> Token<'a> {
        let (next, rest) = scan(self.rest);
        self.rest = rest;
        mem::replace(&mut self.next, next)
    }

    /// Skips a keyword, if it is next.
    pub(super) fn keyword(&mut self, keyword: &str) -> bool {
        let found = matches!(self.next, Token::Word(word) if word.eq_ignore_ascii_case(keyword.as_bytes()));
        if found {
            self.take();
        }
        found
    }

    /// Skips a character, if it is next.
    pub(super) fn symbol(&mut self, symbol: u8) -> bool {
        let found = self.next == Token::Symbol(symbol);
        if found {
            self.take();
        }
        found
    }

    /// Reads a name, if it is next.
    pub(super) fn identifier(&mut self) -> Option<Unquoted<'a>> {
        match self.next {
            Token::Quoted(_) => {}
            Token::Word(word) if !is_keyword(word) => {}
            _ => return None,
        }
        self.name()
    }

    /// Reads a name or a keyword.
    pub(super) fn name(&mut self) -> Option<Unquoted<'a>> {
        match self.take() {
            Token::Word(word) => Some(Unquoted::folded(word)),
            Token::Quoted(name) => Some(name),
            _ => None,
        }
    }

    /// Reads a string, if it is next.
    pub(super) fn literal(&mut self) -> Option<Unquoted<'a>> {
        if !matches!(self.next, Token::Literal(_)) {
            return None;
        }
        match self.take() {
            Token::Literal(text) => Some(text),
            _ => None,
        }
    }

    /// Reads a number, if it is next.
    pub(super) fn number(&mut self) -> Option<&'a [u8]> {
        let Token::Number(digits) = self.next else { return None };
        self.take();
        Some(digits)
    }

    pub(super) fn lsn(&mut self) -> Option<Lsn> {
        match self.take() {
            Token::Lsn(text) => Lsn::parse(text),
            _ => None,
        }
    }

    /// Reads a timeline, which is never 0.
    pub(super) fn timeline(&mut self) -> Option<u32> {
        unsigned(self.number()?).filter(|&timeline| timeline != 0)
    }

    /// Reads names with dots between them.
    pub(super) fn variable(&mut self) -> Option<Unquoted<'a>> {
        let mut name = self.identifier()?;
        while self.symbol(b'.') {
            let part = self.identifier()?;
            let name = name.0.to_mut();
            name.push(b'.');
            name.extend_from_slice(&part);
        }
        Some(name)
    }

    /// Reads a list of options, if one is next. Any word is a name, and any value is allowed.
    pub(super) fn options(&mut self) -> Option<Option<Vec<Entry<'a>>>> {
        self.list(|parser| {
            let name = parser.name()?;
            let value = match parser.next {
                Token::Literal(_) => parser.literal(),
                Token::Number(_) => parser.number().map(Unquoted::borrowed),
                _ => parser.identifier(),
            };
            Some((name, value))
        })
    }

    /// Reads a list in parentheses, if one is next. It is not empty.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Option<Vec<T>>> {
        self.symbol(b'(').then(|| {
            let mut items = Vec::new();
            loop {
                items.push(item(self)?);
                if !self.symbol(b',') {
                    return self.symbol(b')').then_some(items);
                }
            }
        })
    }
}

pub(super) fn is_keyword(word: &[u8]) -> bool {
    COMMANDS.iter().map(|(keyword, _)| keyword).chain(&KEYWORDS).any(|keyword| keyword.as_bytes() == word)
}

/// Returns the first token of a text, and the rest of the text.
pub(super) fn scan(text: &[u8]) -> (Token<'_>, &[u8]) {
    let text = trim(text);
    let Some((&first, after)) = text.split_first() else { return (Token::End, text) };
    match first {
        // The text cannot be a command if the quote has no end, and is not searched again.
        b'\'' => quoted(after, first).map_or((Token::Symbol(first), b""), |(text, rest)| (Token::Literal(text), rest)),
        b'"' => quoted(after, first).map_or((Token::Symbol(first), b""), |(name, rest)| (Token::Quoted(name), rest)),
        _ => {
            if let Some((lsn, rest)) = scan_lsn(text) {
                return (Token::Lsn(lsn), rest);
            }
            let (digits, rest) = span(text, |byte| byte.is_ascii_digit());
            if !digits.is_empty() {
                return (Token::Number(digits), rest);
            }
            // No word begins with a digit, and none with a dollar sign.
            let (word, rest) = span(text, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..));
            if word.is_empty() || first == b'$' { (Token::Symbol(first), after) } else { (Token::Word(word), rest) }
        }
    }
}

/// Splits a position in the WAL from what follows it. It is longer than the word or number with which it begins, and so what the
/// scanner prefers.
pub(super) fn scan_lsn(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (high, rest) = span(text, |byte| byte.is_ascii_hexdigit());
    let (low, rest) = span(rest.strip_prefix(b"/")?, |byte| byte.is_ascii_hexdigit());
    if high.is_empty() || low.is_empty() {
        return None;
    }
    Some((text.get(..text.len().checked_sub(rest.len())?)?, rest))
}

/// Splits what is before the closing quote from what is after it. Two quotes are one.
pub(super) fn quoted(mut text: &[u8], quote: u8) -> Option<(Unquoted<'_>, &[u8])> {
    let mut copied = Vec::new();
    loop {
        let (part, after) = span(text, |byte| byte != quote);
        let after = after.get(1..)?;
        let Some(rest) = after.strip_prefix(&[quote]) else {
            if copied.is_empty() {
                return Some((Unquoted::borrowed(part), after));
            }
            copied.extend_from_slice(part);
            return Some((Unquoted(Cow::Owned(copied)), after));
        };
        copied.extend_from_slice(part);
        copied.push(quote);
        text = rest;
    }
}

/// Splits a text where the condition ends.
pub(super) fn span(text: &[u8], condition: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let length = text.iter().position(|&byte| !condition(byte)).unwrap_or(text.len());
    text.split_at_checked(length).unwrap_or((text, b""))
}

/// Removes whitespace from the beginning.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    span(text, is_space).1
}

pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C)
}

/// Splits a list of names at its commas, as `SplitIdentifierString` of `varlena.c` does. The last item is None if the list is
/// malformed.
pub(super) fn identifiers(list: &[u8]) -> impl Iterator<Item = Option<Unquoted<'_>>> {
    let mut next = Some(trim(list)).filter(|list| !list.is_empty());
    iter::from_fn(move || {
        let text = next.take()?;
        let Some((name, rest)) = split_identifier(text) else { return Some(None) };
        let rest = trim(rest);
        match rest.split_first() {
            Some((b',', rest)) => next = Some(trim(rest)),
            Some(_) => return Some(None),
            None => {}
        }
        Some(Some(name))
    })
}

pub(super) fn split_identifier(text: &[u8]) -> Option<(Unquoted<'_>, &[u8])> {
    if let Some(text) = text.strip_prefix(b"\"") {
        return quoted(text, b'"');
    }
    let (word, rest) = span(text, |byte| byte != b',' && !is_space(byte));
    (!word.is_empty()).then(|| (Unquoted::folded(word), rest))
}
