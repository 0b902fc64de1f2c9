//! The string constants that hints are in.

use std::ops::Range;

use super::connection::is_connection_string;
use super::hints::LONGEST_NAME;
use super::may_have;
use crate::sql::lexer::{Kind, Lexer, Token, dollar_delimiter};

/// Code in code in code.
pub(super) const DEEPEST: usize = 4;

/// The string constants that hints are in. Hints come in order, so that all of it is one walk over the text.
pub(super) struct Strings<'a> {
    pub(super) tokens: Lexer<'a>,
    pub(super) current: Option<Token<'a>>,
    /// The string constant before that.
    pub(super) last: Option<Token<'a>>,
    /// The parentheses that are open, where they are.
    opened: Vec<usize>,
    /// What was last in parentheses, with them.
    pub(super) closed: Range<usize>,
    /// Where to go on behind what is quoted by dollars.
    pub(super) resume: usize,
    /// The last of those that was entered.
    pub(super) outer: Option<Token<'a>>,
    /// How many of those were entered.
    pub(super) entered: usize,
}

impl<'a> Strings<'a> {
    /// How many constants in dollar quotes are entered: each costs a search for its end.
    const MOST_ENTERED: usize = 64;

    pub(super) fn new(sql: &'a [u8]) -> Self {
        Self {
            tokens: Lexer::new(sql),
            current: None,
            last: None,
            opened: Vec::new(),
            closed: 0..0,
            resume: 0,
            outer: None,
            entered: 0,
        }
    }

    /// The parenthesis that is open.
    pub(super) fn opened(&self) -> Option<usize> {
        self.opened.last().copied()
    }

    fn pass(&mut self, token: &Token<'_>) {
        /// Deeper than anyone writes.
        const DEEPEST: usize = 1_024;
        if token.is("(") && self.opened.len() < DEEPEST {
            self.opened.push(token.start);
        } else if token.is(")") {
            self.closed = self.opened.pop().unwrap_or(token.start)..token.end();
        }
    }

    /// The string constant that a byte is inside of. Dollar quotes mostly hold code, and then what counts is inside them.
    pub(super) fn around(&mut self, at: usize) -> Option<Token<'a>> {
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
                    self.outer = Some(token);
                    self.resume = self.resume.max(token.end());
                    self.tokens = self.tokens.clone().starting_at(token.start + delimiter.len());
                    self.current = self.tokens.next();
                }
                None => {
                    if let Some(token) = self.current {
                        self.pass(&token);
                    }
                    let passed = self.current.filter(|token| token.kind == Kind::Text);
                    self.last = passed.or(self.last);
                    self.current = Some(self.tokens.next()?);
                }
            }
        }
    }
}

/// Whether a text is tokens to its end, and what is in dollar quotes is.
pub(super) fn lexes(sql: &[u8], depth: usize) -> bool {
    Lexer::new(sql).all(|token| {
        let is_whole = token.is_closed && token.kind != Kind::Other;
        let code = dollar_quote(token).filter(|_| token.kind == Kind::Text && depth < DEEPEST);
        let inside = code.and_then(|quote| token.text.strip_prefix(quote)?.strip_suffix(quote));
        is_whole && inside.is_none_or(|inside| !may_have(inside) || lexes(inside, depth + 1))
    })
}

/// What a constant in dollar quotes begins with. A tag is a name: so much is looked at, and no more.
pub(super) fn dollar_quote(token: Token<'_>) -> Option<&[u8]> {
    let text = token.text.get(..4 * LONGEST_NAME).unwrap_or(token.text);
    if text.starts_with(b"$") { dollar_delimiter(text) } else { None }
}

/// Where the inside of a string constant ends, in the text.
pub(super) fn inside_end(token: Token<'_>) -> usize {
    let quote = dollar_quote(token).map_or(1, <[u8]>::len);
    if token.is_closed { token.end() - quote.min(token.text.len()) } else { token.end() }
}
