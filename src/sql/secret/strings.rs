//! The string constants that contain hints.

use std::ops::Range;

use super::connection::is_connection_string;
use super::hints::LONGEST_NAME;
use super::may_have;
use crate::sql::lexer::{Kind, Lexer, Token, dollar_delimiter};

/// The maximum nesting depth of code in string constants.
pub(super) const DEEPEST: usize = 4;

/// The string constants that contain hints. Hints are processed in order, so the text is read once.
pub(super) struct Strings<'a> {
    pub(super) tokens: Lexer<'a>,
    pub(super) current: Option<Token<'a>>,
    /// The last string constant.
    pub(super) last: Option<Token<'a>>,
    /// The offsets of the open parentheses.
    opened: Vec<usize>,
    /// The last parenthesized text, including the parentheses.
    pub(super) closed: Range<usize>,
    /// Where to continue after a dollar-quoted constant.
    pub(super) resume: usize,
    /// The last dollar-quoted constant that was entered.
    pub(super) outer: Option<Token<'a>>,
    /// The number of dollar-quoted constants that were entered.
    pub(super) entered: usize,
}

impl<'a> Strings<'a> {
    /// The maximum number of dollar-quoted constants that are entered; each costs a search for its end.
    const MAX_ENTERED: usize = 64;

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

    /// Returns the offset of the innermost open parenthesis.
    pub(super) fn opened(&self) -> Option<usize> {
        self.opened.last().copied()
    }

    fn pass(&mut self, token: &Token<'_>) {
        /// Deeper than in practice.
        const DEEPEST: usize = 1_024;
        if token.is("(") && self.opened.len() < DEEPEST {
            self.opened.push(token.start);
        } else if token.is(")") {
            self.closed = self.opened.pop().unwrap_or(token.start)..token.end();
        }
    }

    /// Returns the string constant that contains a byte. Dollar-quoted constants usually contain code, so their content is
    /// searched instead.
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
                    if self.entered >= Self::MAX_ENTERED {
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

/// Returns whether a text, and the content of its dollar-quoted constants, can be lexed to the end.
pub(super) fn lexes(sql: &[u8], depth: usize) -> bool {
    Lexer::new(sql).all(|token| {
        let is_whole = token.is_closed && token.kind != Kind::Other;
        let code = dollar_quote(token).filter(|_| token.kind == Kind::Text && depth < DEEPEST);
        let inside = code.and_then(|quote| token.text.strip_prefix(quote)?.strip_suffix(quote));
        is_whole && inside.is_none_or(|inside| !may_have(inside) || lexes(inside, depth + 1))
    })
}

/// Returns the opening quote of a dollar-quoted constant. A tag is a name, so only a limited length is examined.
pub(super) fn dollar_quote(token: Token<'_>) -> Option<&[u8]> {
    let text = token.text.get(..4 * LONGEST_NAME).unwrap_or(token.text);
    if text.starts_with(b"$") { dollar_delimiter(text) } else { None }
}

/// Returns the end of a string constant's content.
pub(super) fn inside_end(token: Token<'_>) -> usize {
    let quote = dollar_quote(token).map_or(1, <[u8]>::len);
    if token.is_closed { token.end() - quote.min(token.text.len()) } else { token.end() }
}
