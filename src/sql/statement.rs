//! The statements of a text, and the parameters of those that change the session.
//!
//! Only simple forms are recognized: a statement that is not completely understood is [`Statement::Unknown`].

use std::borrow::Cow;
use std::ops::Range;

use super::lexer::{Kind, Lexer, Token};
use super::literal;

mod copy;

pub use copy::{Copy, CopyFormat, CopyOptions};

/// A name as the server knows it: in lower case if it is written without quotes.
pub type Name<'a> = Cow<'a, [u8]>;

/// A statement, classified by its effect on the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement<'a> {
    /// `PREPARE name (types) AS sql`.
    Prepare {
        /// The prepared statement, in the same namespace as those of Parse messages.
        name: Name<'a>,
        /// The text in parentheses after the name, if present.
        types: Option<&'a [u8]>,
        /// The SQL to prepare.
        sql: &'a [u8],
    },
    /// `EXECUTE name (arguments)`.
    Execute {
        /// The prepared statement.
        name: Name<'a>,
        /// The text in parentheses after the name, if present.
        arguments: Option<&'a [u8]>,
    },
    /// `DEALLOCATE name`; `None` for ALL.
    Deallocate(Option<Name<'a>>),
    /// `DISCARD ALL` and similar.
    Discard(Discard),
    /// `DECLARE name CURSOR FOR sql`.
    Declare {
        /// The cursor, in the same namespace as portals.
        name: Name<'a>,
        /// Whether it is WITH HOLD, and outlives its transaction.
        is_held: bool,
        /// The query.
        sql: &'a [u8],
    },
    /// `FETCH … FROM name`.
    Fetch(Name<'a>),
    /// `MOVE … FROM name`.
    Move(Name<'a>),
    /// `CLOSE name`; `None` for ALL.
    Close(Option<Name<'a>>),
    /// `COPY … FROM STDIN` or `COPY … TO STDOUT`.
    Copy(Copy<'a>),
    /// BEGIN or START TRANSACTION.
    Begin,
    /// COMMIT or END.
    Commit {
        /// AND CHAIN: the next transaction begins at once.
        is_chained: bool,
    },
    /// ROLLBACK or ABORT.
    Rollback {
        /// AND CHAIN: the next transaction begins at once.
        is_chained: bool,
    },
    /// PREPARE TRANSACTION: the session leaves the transaction, whose outcome is open.
    PrepareTransaction,
    /// `SAVEPOINT name`.
    Savepoint(Name<'a>),
    /// `ROLLBACK TO name`.
    RollbackTo(Name<'a>),
    /// `RELEASE name`.
    Release(Name<'a>),
    /// `SET name = value`, also as TIME ZONE and NAMES.
    Set {
        /// SET LOCAL: until the end of the transaction.
        is_local: bool,
        /// The setting, in lower case.
        name: Cow<'a, [u8]>,
        /// The value of a single constant or word, otherwise the text as it is written; `None` for DEFAULT.
        value: Option<Cow<'a, [u8]>>,
    },
    /// `RESET name`; `None` for ALL.
    Reset(Option<Cow<'a, [u8]>>),
    /// Any other statement.
    Unknown,
}

/// What DISCARD resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// The whole session: prepared statements, cursors, settings, and everything below.
    All,
    /// Cached plans.
    Plans,
    /// Cached values of sequences.
    Sequences,
    /// Temporary tables.
    Temp,
}

/// Iterates over the byte ranges of the statements in a text, without the `;` between them, and without surrounding white space
/// and comments.
///
/// A `;` in parentheses, or in a function body that begins with BEGIN ATOMIC, does not end a statement. Empty statements are
/// omitted, as the server omits them if there are others.
pub fn split(sql: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut tokens = Lexer::new(sql);
    std::iter::from_fn(move || next_statement(&mut tokens))
}

fn next_statement(tokens: &mut Lexer<'_>) -> Option<Range<usize>> {
    let (mut range, mut parentheses, mut atomic): (Option<Range<usize>>, usize, usize) = (None, 0, 0);
    let (mut is_create, mut is_after_begin) = (false, false);
    while let Some(token) = tokens.next_solid() {
        match (&range, token.kind) {
            (_, Kind::Symbol) if token.is("(") => parentheses += 1,
            (_, Kind::Symbol) if token.is(")") => parentheses = parentheses.saturating_sub(1),
            (None, Kind::Symbol) if token.is(";") => continue,
            (_, Kind::Symbol) if token.is(";") && parentheses == 0 && atomic == 0 => break,
            (None, Kind::Word) => is_create = token.is_word("create"),
            (_, Kind::Word) if !is_create => {}
            (_, Kind::Word) if atomic == 0 => atomic = usize::from(is_after_begin && token.is_word("atomic")),
            // CASE has an END, too.
            (_, Kind::Word) if token.is_word("case") => atomic += 1,
            (_, Kind::Word) if token.is_word("end") => atomic -= 1,
            _ => {}
        }
        is_after_begin = token.is_word("begin");
        range = Some(range.map_or(token.start, |range| range.start)..token.end());
    }
    range
}

impl<'a> Statement<'a> {
    /// Recognizes one statement, as returned by [`split`].
    pub fn of(sql: &'a [u8]) -> Self {
        Reader { tokens: Lexer::new(sql), sql }.statement().unwrap_or(Self::Unknown)
    }
}

/// Reads a statement word by word. Methods return `None` if it is not as expected.
#[derive(Clone)]
struct Reader<'a> {
    tokens: Lexer<'a>,
    sql: &'a [u8],
}

impl<'a> Reader<'a> {
    fn statement(mut self) -> Option<Statement<'a>> {
        let first = self.tokens.next_solid()?;
        let is = |word| first.is_word(word);
        let statement = if is("prepare") {
            return self.prepare();
        } else if is("declare") {
            return self.declare();
        } else if is("copy") {
            return copy::read(self).map(Statement::Copy);
        } else if is("set") {
            return self.set();
        } else if is("begin") || is("start") {
            return self.begin(is("start"));
        } else if is("fetch") {
            return self.last_name().map(Statement::Fetch);
        } else if is("move") {
            return self.last_name().map(Statement::Move);
        } else if is("execute") {
            let name = self.name()?;
            Statement::Execute { name, arguments: self.parenthesized() }
        } else if is("deallocate") {
            self.accept("prepare");
            Statement::Deallocate(self.name_or_all()?)
        } else if is("close") {
            Statement::Close(self.name_or_all()?)
        } else if is("discard") {
            Statement::Discard(self.discard()?)
        } else if is("commit") || is("end") {
            self.accept_transaction();
            Statement::Commit { is_chained: self.chain()? }
        } else if is("rollback") || is("abort") {
            self.accept_transaction();
            if is("rollback") && self.accept("to") {
                self.accept("savepoint");
                Statement::RollbackTo(self.name()?)
            } else {
                Statement::Rollback { is_chained: self.chain()? }
            }
        } else if is("savepoint") {
            Statement::Savepoint(self.name()?)
        } else if is("release") {
            self.accept("savepoint");
            Statement::Release(self.name()?)
        } else if is("reset") {
            Statement::Reset(if self.accept("all") { None } else { Some(self.setting()?) })
        } else {
            return None;
        };
        self.tokens.next_solid().is_none().then_some(statement)
    }

    fn prepare(mut self) -> Option<Statement<'a>> {
        let mut ahead = self.clone();
        if ahead.accept("transaction") && ahead.tokens.next_solid()?.kind == Kind::Text {
            return ahead.tokens.next_solid().is_none().then_some(Statement::PrepareTransaction);
        }
        let name = self.name()?;
        let types = self.parenthesized();
        self.expect("as")?;
        Some(Statement::Prepare { name, types, sql: self.rest()? })
    }

    fn declare(mut self) -> Option<Statement<'a>> {
        let name = self.name()?;
        while !self.accept("cursor") {
            let is_option =
                ["binary", "asensitive", "insensitive", "no", "scroll"].iter().any(|word| self.accept(word));
            if !is_option {
                return None;
            }
        }
        let is_held = self.accept("with");
        if is_held || self.accept("without") {
            self.expect("hold")?;
        }
        self.expect("for")?;
        Some(Statement::Declare { name, is_held, sql: self.rest()? })
    }

    fn begin(mut self, is_start: bool) -> Option<Statement<'a>> {
        let has_transaction = self.accept_transaction();
        // Transaction modes may follow. A PL/pgSQL block also starts with BEGIN, but is not sent as a message.
        let is_mode =
            |token: Token<'_>| ["isolation", "read", "not", "deferrable"].iter().any(|word| token.is_word(word));
        let follows = self.tokens.next_solid();
        ((has_transaction || !is_start) && follows.is_none_or(is_mode)).then_some(Statement::Begin)
    }

    fn set(mut self) -> Option<Statement<'a>> {
        let is_local = self.accept("local");
        if !is_local {
            self.accept("session");
        }
        let mut ahead = self.clone();
        let name = if ahead.accept("time") && ahead.accept("zone") {
            self = ahead;
            Cow::Borrowed(b"timezone".as_slice())
        } else if self.accept("names") {
            Cow::Borrowed(b"client_encoding".as_slice())
        } else {
            let name = self.setting()?;
            let to = self.tokens.next_solid()?;
            if !to.is("=") && !to.is_word("to") {
                return None;
            }
            name
        };
        let written = self.rest()?;
        let mut values = Lexer::new(written);
        let value = values.next_solid()?;
        let is_default = value.is_word("default") || (*name == *b"timezone" && value.is_word("local"));
        let value = match (values.next_solid(), value.kind) {
            (None, Kind::Word) if is_default => None,
            (None, Kind::Text) => Some(literal::text(&value)?),
            (None, Kind::Word | Kind::QuotedWord) => Some(literal::name(&value)?),
            _ => Some(Cow::Borrowed(written)),
        };
        Some(Statement::Set { is_local, name, value })
    }

    /// Parses the name of a setting, which may contain dots.
    fn setting(&mut self) -> Option<Cow<'a, [u8]>> {
        let mut name = self.name()?;
        while self.accept_symbol(".") {
            name.to_mut().push(b'.');
            let part = self.name()?;
            name.to_mut().extend_from_slice(&part);
        }
        if name.iter().any(u8::is_ascii_uppercase) {
            name.to_mut().make_ascii_lowercase();
        }
        Some(name)
    }

    fn discard(&mut self) -> Option<Discard> {
        let what = self.tokens.next_solid()?;
        let known = [
            ("all", Discard::All),
            ("plans", Discard::Plans),
            ("sequences", Discard::Sequences),
            ("temp", Discard::Temp),
            ("temporary", Discard::Temp),
        ];
        known.into_iter().find(|(word, _)| what.is_word(word)).map(|(_, discard)| discard)
    }

    /// Parses AND CHAIN, AND NO CHAIN, or nothing.
    fn chain(&mut self) -> Option<bool> {
        if !self.accept("and") {
            return Some(false);
        }
        let is_chained = !self.accept("no");
        self.expect("chain")?;
        Some(is_chained)
    }

    fn accept_transaction(&mut self) -> bool {
        self.accept("work") || self.accept("transaction")
    }

    /// Returns the cursor of FETCH or MOVE, which is the last word.
    fn last_name(self) -> Option<Name<'a>> {
        let last = self.tokens.filter(|token| !token.is_blank()).last()?;
        literal::name(&last)
    }

    fn name(&mut self) -> Option<Name<'a>> {
        literal::name(&self.tokens.next_solid()?)
    }

    fn name_or_all(&mut self) -> Option<Option<Name<'a>>> {
        if self.accept("all") { Some(None) } else { self.name().map(Some) }
    }

    /// Consumes a word and returns `true` if it is next.
    fn accept(&mut self, word: &str) -> bool {
        self.accept_if(|token| token.is_word(word))
    }

    fn accept_symbol(&mut self, symbol: &str) -> bool {
        self.accept_if(|token| token.is(symbol))
    }

    fn accept_if(&mut self, is_wanted: impl Fn(Token<'a>) -> bool) -> bool {
        let mut ahead = self.tokens.clone();
        let is_next = ahead.next_solid().is_some_and(is_wanted);
        if is_next {
            self.tokens = ahead;
        }
        is_next
    }

    fn expect(&mut self, word: &str) -> Option<()> {
        self.accept(word).then_some(())
    }

    /// Returns the text in parentheses, if they are next.
    fn parenthesized(&mut self) -> Option<&'a [u8]> {
        let mut ahead = self.tokens.clone();
        let open = ahead.next_solid().filter(|token| token.is("("))?;
        let mut depth = 1_usize;
        while depth > 0 {
            let token = ahead.next_solid()?;
            depth = if token.is("(") { depth + 1 } else { depth - usize::from(token.is(")")) };
            if depth == 0 {
                self.tokens = ahead;
                return self.sql.get(open.end()..token.start).map(<[u8]>::trim_ascii);
            }
        }
        None
    }

    /// Returns the rest of the text, unless it is empty.
    fn rest(&self) -> Option<&'a [u8]> {
        let first = self.tokens.clone().next_solid()?;
        self.sql.get(first.start..)
    }
}

#[cfg(test)]
mod tests;
