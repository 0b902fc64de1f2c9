//! A lexer for SQL, following the lexical rules of PostgreSQL 18 (documentation, section 4.1 "Lexical Structure").
//!
//! The lexer's input is bytes, because the text is in `client_encoding`, and may have been truncated anywhere. It never fails:
//! bytes that PostgreSQL would reject are a token, too, and the concatenated tokens equal the text. sqlparser's tokenizer is not
//! used, because it rejects texts as a whole, requires UTF-8, has no byte offsets, and needs 88 bytes for each token (1.7 GB for
//! 16 MiB of `1,1,1`).

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// White space.
    Blank,
    /// `-- …` to the end of the line, or `/* … */`, which nest.
    Comment,
    /// A keyword or an unquoted identifier.
    Word,
    /// `"…"` or `U&"…"`.
    QuotedWord,
    /// A string constant of any kind, including its continuations on further lines: `'…'`, `E'…'`, `U&'…'`, `N'…'`, `B'…'`,
    /// `X'…'`, `$tag$…$tag$`.
    Text,
    /// A number, including letters after it, which PostgreSQL rejects.
    Number,
    /// `$1`.
    Parameter,
    /// An operator.
    Operator,
    /// `(` `)` `[` `]` `,` `;` `.` `..` `:` `::` `:=`.
    Symbol,
    /// A byte that cannot begin a token.
    Other,
}

/// A token, which is a part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// The kind of token.
    pub kind: Kind,
    /// The offset of its first byte in the text.
    pub start: usize,
    /// The token as it is written.
    pub text: &'a [u8],
    /// Whether it is terminated: false for a quoted token or a comment that is not closed.
    pub is_closed: bool,
}

impl Token<'_> {
    /// Returns the offset of its end in the text.
    pub const fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Returns whether it is white space or a comment.
    pub const fn is_blank(&self) -> bool {
        matches!(self.kind, Kind::Blank | Kind::Comment)
    }

    /// Returns whether it is this keyword, in any case.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word.as_bytes())
    }

    /// Returns whether it is this symbol or operator.
    pub fn is(&self, symbol: &str) -> bool {
        matches!(self.kind, Kind::Symbol | Kind::Operator) && self.text == symbol.as_bytes()
    }
}

/// An iterator over the tokens of a text. Clone it to look ahead.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    sql: &'a [u8],
    at: usize,
    backslashes: bool,
}

impl<'a> Lexer<'a> {
    /// Creates a lexer for servers with `standard_conforming_strings = on`.
    pub const fn new(sql: &'a [u8]) -> Self {
        Self { sql, at: 0, backslashes: false }
    }

    /// Creates a lexer for servers with `standard_conforming_strings = off`: a backslash is an escape in `'…'`, too.
    pub const fn with_backslashes(sql: &'a [u8]) -> Self {
        Self { sql, at: 0, backslashes: true }
    }

    /// Returns a lexer of the same text that starts at another offset.
    pub const fn starting_at(mut self, at: usize) -> Self {
        self.at = at;
        self
    }

    /// Returns the text.
    pub const fn sql(&self) -> &'a [u8] {
        self.sql
    }

    /// Returns the next token that is neither white space nor a comment.
    pub fn next_solid(&mut self) -> Option<Token<'a>> {
        self.find(|token| !token.is_blank())
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.sql.get(self.at + ahead).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.sql.get(self.at..).unwrap_or_default()
    }

    fn pass_while(&mut self, is_wanted: impl Fn(u8) -> bool) {
        self.at += run(self.rest(), is_wanted);
    }

    #[inline(never)]
    fn next_of_any_kind(&mut self, first: u8) -> Option<Token<'a>> {
        let start = self.at;
        let (kind, is_closed) = self.take(first);
        // A backslash at the very end escapes a character beyond the end.
        self.at = self.at.min(self.sql.len());
        Some(Token { kind, start, text: self.sql.get(start..self.at).unwrap_or_default(), is_closed })
    }

    /// Consumes a token. Returns its kind and whether it is terminated.
    fn take(&mut self, first: u8) -> (Kind, bool) {
        let second = self.peek(1);
        match first {
            b if is_blank(b) => {
                self.pass_while(is_blank);
                (Kind::Blank, true)
            }
            b'-' if second == Some(b'-') => {
                self.pass_while(|b| b != b'\n' && b != b'\r');
                (Kind::Comment, true)
            }
            b'/' if second == Some(b'*') => (Kind::Comment, self.take_block_comment()),
            b'\'' => (Kind::Text, self.take_text(0, self.backslashes)),
            b'e' | b'E' if second == Some(b'\'') => (Kind::Text, self.take_text(1, true)),
            b'n' | b'N' if second == Some(b'\'') => (Kind::Text, self.take_text(1, self.backslashes)),
            b'b' | b'B' | b'x' | b'X' if second == Some(b'\'') => (Kind::Text, self.take_text(1, false)),
            b'u' | b'U' if second == Some(b'&') && self.peek(2) == Some(b'\'') => {
                (Kind::Text, self.take_text(2, false))
            }
            b'u' | b'U' if second == Some(b'&') && self.peek(2) == Some(b'"') => {
                (Kind::QuotedWord, self.take_quoted(2, b'"', false))
            }
            b'"' => (Kind::QuotedWord, self.take_quoted(0, b'"', false)),
            b'$' => self.take_dollar(second),
            b'.' if second.is_some_and(|b| b.is_ascii_digit()) => {
                self.take_number();
                (Kind::Number, true)
            }
            b if is_word_start(b) => {
                self.pass_while(is_word);
                (Kind::Word, true)
            }
            b if b.is_ascii_digit() => {
                self.take_number();
                (Kind::Number, true)
            }
            b'(' | b')' | b'[' | b']' | b',' | b';' | b'.' | b':' => {
                let is_pair = matches!((first, second), (b'.', Some(b'.')) | (b':', Some(b':' | b'=')));
                self.at += if is_pair { 2 } else { 1 };
                (Kind::Symbol, true)
            }
            b if is_operator(b) => {
                self.at += operator_len(self.rest());
                (Kind::Operator, true)
            }
            _ => {
                self.at += 1;
                (Kind::Other, true)
            }
        }
    }

    fn take_block_comment(&mut self) -> bool {
        let mut depth = 0_usize;
        while let Some(found) = memchr::memchr2(b'/', b'*', self.rest()) {
            self.at += found;
            match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) => depth += 1,
                (Some(b'*'), Some(b'/')) => depth = depth.saturating_sub(1),
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            self.at += 2;
            if depth == 0 {
                return true;
            }
        }
        self.at = self.sql.len();
        false
    }

    /// Consumes a string constant after its prefix, including its continuations: "Two string constants that are only separated by
    /// whitespace with at least one newline are concatenated and effectively treated as if the string had been written as one
    /// constant."
    fn take_text(&mut self, prefix: usize, backslashes: bool) -> bool {
        if !self.take_quoted(prefix, b'\'', backslashes) {
            return false;
        }
        while let Some(next) = self.continuation() {
            self.at = next;
            if !self.take_quoted(0, b'\'', backslashes) {
                return false;
            }
        }
        true
    }

    /// Returns the offset of the quote that continues the constant that ends here. There may be line comments in between.
    fn continuation(&self) -> Option<usize> {
        let mut ahead = self.clone();
        let mut has_newline = false;
        loop {
            match ahead.peek(0)? {
                b'\'' => return has_newline.then_some(ahead.at),
                b'-' if ahead.peek(1) == Some(b'-') => ahead.pass_while(|b| b != b'\n' && b != b'\r'),
                b if is_blank(b) => {
                    has_newline |= matches!(b, b'\n' | b'\r');
                    ahead.at += 1;
                }
                _ => return None,
            }
        }
    }

    /// Consumes a prefix and quoted text; a doubled quote is part of it.
    fn take_quoted(&mut self, prefix: usize, quote: u8, backslashes: bool) -> bool {
        self.at += prefix + 1;
        let escape = if backslashes { b'\\' } else { quote };
        while let Some(found) = memchr::memchr2(quote, escape, self.rest()) {
            self.at += found;
            let is_escaped = self.peek(0) != Some(quote) || self.peek(1) == Some(quote);
            self.at += if is_escaped { 2 } else { 1 };
            if !is_escaped {
                return true;
            }
        }
        self.at = self.sql.len();
        false
    }

    fn take_dollar(&mut self, second: Option<u8>) -> (Kind, bool) {
        if second.is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
            self.pass_while(|b| b.is_ascii_digit());
            return (Kind::Parameter, true);
        }
        let Some(delimiter) = dollar_delimiter(self.rest()) else {
            self.at += 1;
            return (Kind::Other, true);
        };
        self.at += delimiter.len();
        match memchr::memmem::find(self.rest(), delimiter) {
            Some(found) => {
                self.at += found + delimiter.len();
                (Kind::Text, true)
            }
            None => {
                self.at = self.sql.len();
                (Kind::Text, false)
            }
        }
    }

    fn take_number(&mut self) {
        self.take_digits();
        if self.peek(0) == Some(b'.') && self.peek(1) != Some(b'.') {
            self.at += 1;
            self.take_digits();
        }
        let digits = if matches!(self.peek(1), Some(b'+' | b'-')) { 2 } else { 1 };
        if matches!(self.peek(0), Some(b'e' | b'E')) && self.peek(digits).is_some_and(|b| b.is_ascii_digit()) {
            self.at += digits;
            self.take_digits();
        }
        // The letters of 0x1F and similar, or misplaced letters.
        if self.peek(0).is_some_and(is_word_start) {
            self.pass_while(is_word);
        }
    }

    fn take_digits(&mut self) {
        self.pass_while(|b| b.is_ascii_digit());
        while self.peek(0) == Some(b'_') && self.peek(1).is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
            self.pass_while(|b| b.is_ascii_digit());
        }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    #[inline]
    fn next(&mut self) -> Option<Token<'a>> {
        let start = self.at;
        let rest = self.rest();
        let first = *rest.first()?;
        // For the most frequent tokens, only their end has to be found.
        let (kind, len) = match class_of(first) {
            Class::Blank => (Kind::Blank, run(rest, is_blank)),
            Class::WordStart => (Kind::Word, run(rest, is_word)),
            Class::Digit => (Kind::Number, run(rest, |b| b.is_ascii_digit())),
            _ => (Kind::Other, 0),
        };
        let is_whole = match (kind, rest.get(len).copied()) {
            (Kind::Blank, _) => true,
            // A single letter may be the prefix of a constant.
            (Kind::Word, next) => len > 1 || !matches!(next, Some(b'\'' | b'&')),
            (Kind::Number, next) => next.is_none_or(|b| b != b'.' && !is_word(b)),
            _ => false,
        };
        if !is_whole {
            return self.next_of_any_kind(first);
        }
        self.at = start + len;
        Some(Token { kind, start, text: rest.get(..len).unwrap_or_default(), is_closed: true })
    }
}

/// Returns the length of the longest prefix whose bytes are all wanted.
#[inline]
pub(super) fn run(bytes: &[u8], is_wanted: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|b| !is_wanted(*b)).unwrap_or(bytes.len())
}

/// The kinds of token that can begin with a byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Blank,
    WordStart,
    Digit,
    Dollar,
    Operator,
    Other,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut rest = classes.as_mut_slice();
    let mut byte = 0_u8;
    while let Some((class, after)) = rest.split_first_mut() {
        *class = match byte {
            // Includes the vertical tab, as in PostgreSQL 16.
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Blank,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Class::WordStart,
            b'0'..=b'9' => Class::Digit,
            b'$' => Class::Dollar,
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' => Class::Operator,
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' => Class::Operator,
            _ => Class::Other,
        };
        rest = after;
        byte = byte.wrapping_add(1);
    }
    classes
};

#[inline]
fn class_of(b: u8) -> Class {
    CLASSES.get(usize::from(b)).copied().unwrap_or(Class::Other)
}

/// Returns the delimiter at the start of a dollar-quoted constant: `$$` or `$tag$`.
pub(crate) fn dollar_delimiter(rest: &[u8]) -> Option<&[u8]> {
    let tag = rest.get(1..)?;
    let len = tag.iter().take_while(|b| is_word(**b) && **b != b'$').count();
    let is_tag = tag.get(len) == Some(&b'$') && !tag.first().is_some_and(u8::is_ascii_digit);
    if is_tag { rest.get(..len + 2) } else { None }
}

/// Returns the length of an operator. "`--` and `/*` cannot appear anywhere in an operator name"; "a multiple-character operator
/// name cannot end in `+` or `-`, unless the name also contains at least one of these characters: `` ~ ! @ # % ^ & | ` ? ``".
///
/// No operator is longer than a name, which has at most 63 bytes. A longer one is split, to bound the time needed.
fn operator_len(rest: &[u8]) -> usize {
    const LONGEST: usize = 63;
    let len = rest.iter().take(LONGEST).take_while(|b| is_operator(**b)).count();
    let mut name = rest.get(..len).unwrap_or_default();
    if let Some(comment) = name.windows(2).position(|pair| matches!(pair, b"--" | b"/*")) {
        name = name.get(..comment).unwrap_or_default();
    }
    if !name.iter().any(|b| b"~!@#%^&|`?".contains(b)) {
        while let [shorter @ .., b'+' | b'-'] = name {
            name = shorter;
        }
    }
    name.len().max(1)
}

fn is_operator(b: u8) -> bool {
    class_of(b) == Class::Operator
}

/// Returns whether a byte is white space.
#[inline]
pub(super) fn is_blank(b: u8) -> bool {
    class_of(b) == Class::Blank
}

fn is_word_start(b: u8) -> bool {
    class_of(b) == Class::WordStart
}

/// Returns whether a byte can be inside a keyword or an identifier.
#[inline]
pub(super) fn is_word(b: u8) -> bool {
    matches!(class_of(b), Class::WordStart | Class::Digit | Class::Dollar)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(sql: &str) -> Vec<(Kind, &str)> {
        let tokens = Lexer::new(sql.as_bytes()).filter(|token| !token.is_blank());
        tokens.map(|token| (token.kind, std::str::from_utf8(token.text).unwrap())).collect()
    }

    #[test]
    fn constants_of_every_kind_are_one_token() {
        for text in [
            "'it''s'",
            r"E'a\'b'",
            r"U&'\0061'",
            "N'x'",
            "B'01'",
            "X'1F'",
            "$$x$y$$",
            "$a$x$b$$a$",
            "'a'\n  'b'",
            "E'a' -- c\n '\\''",
            "''",
        ] {
            assert_eq!(tokens(text), [(Kind::Text, text)]);
        }
        for number in ["1", "1_000", "1.5e-3", ".5", "1.", "0x1F", "0o17", "0b101", "1e5", "12abc", "1e"] {
            assert_eq!(tokens(number), [(Kind::Number, number)]);
        }
        assert_eq!(tokens("1..2"), [(Kind::Number, "1"), (Kind::Symbol, ".."), (Kind::Number, "2")]);
        assert_eq!(tokens("'a' 'b'").len(), 2, "without a newline they are two");
        assert_eq!(tokens("$1$$x$$"), [(Kind::Parameter, "$1"), (Kind::Text, "$$x$$")]);
        assert_eq!(tokens("a$b$c"), [(Kind::Word, "a$b$c")]);
        assert_eq!(tokens("U&\"d\"\"\" \"x\""), [(Kind::QuotedWord, "U&\"d\"\"\""), (Kind::QuotedWord, "\"x\"")]);
    }

    #[test]
    fn operators_end_where_postgres_ends_them() {
        let operators = |sql| tokens(sql).iter().filter(|t| t.0 == Kind::Operator).map(|t| t.1).collect::<Vec<_>>();
        assert_eq!(operators("1<-1"), ["<", "-"]);
        assert_eq!(operators("a=-1"), ["=", "-"]);
        assert_eq!(operators("a @- 1"), ["@-"]);
        assert_eq!(operators("a*/* c */b"), ["*"]);
        assert_eq!(operators("a+--b"), ["+"]);
        assert_eq!(operators("a->>b #>> c <-> d ||/ e"), ["->>", "#>>", "<->", "||/"]);
        assert_eq!(operators("+-+"), ["+", "-", "+"]);
    }

    #[test]
    fn what_has_no_end_goes_to_the_end_of_the_text() {
        for text in ["'abc", r"E'abc\'", r"E'abc\", "$a$ b $$", "\"abc", "/* /* */", "U&'x"] {
            let all: Vec<_> = Lexer::new(text.as_bytes()).collect();
            assert_eq!((all.len(), all[0].is_closed, all[0].end()), (1, false, text.len()), "{text}");
        }
    }

    #[test]
    fn backslashes_escape_depending_on_the_servers_setting() {
        let whole = |lexer: Lexer<'_>| lexer.map(|t| t.text.to_vec()).next().unwrap();
        assert_eq!(whole(Lexer::new(br"'a\' b'")), br"'a\'");
        assert_eq!(whole(Lexer::with_backslashes(br"'a\' b'")), br"'a\' b'");
    }
}
