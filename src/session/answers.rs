//! What replies SQL can have, as far as its first words tell.
//!
//! Where requests of the same shape wait, and one of them was swallowed, this shows which: `INSERT 0 1` answers no SELECT. What is
//! not certain is allowed: servers other than PostgreSQL's have tags of their own, and EXECUTE has that of what it executes.

use memchr::{memchr, memchr_iter, memchr2_iter};

use crate::pg::message::Message;
use crate::pg::message_table::backend;
use crate::sql::lexer::Lexer;

/// A text longer than this is not looked through.
const MAX_LEN: usize = 64 * 1024;

/// Kinds of replies: those that SQL can have, or the one that a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers(u16);

impl Default for Answers {
    fn default() -> Self {
        Self::ANY
    }
}

impl Answers {
    /// Nothing is known.
    pub const ANY: Self = Self(!0);
    const ROWS: Self = Self(1);
    const NO_ROWS: Self = Self(1 << 1);
    /// A COPY begins; also the tag.
    const COPY: Self = Self(1 << 2);
    const EMPTY: Self = Self(1 << 3);
    const SELECT: Self = Self(1 << 4);
    const INSERT: Self = Self(1 << 5);
    const UPDATE: Self = Self(1 << 6);
    const DELETE: Self = Self(1 << 7);
    const MERGE: Self = Self(1 << 8);
    const CHANGES: Self = Self::INSERT.and(Self::UPDATE).and(Self::DELETE).and(Self::MERGE);
    const BEGIN: Self = Self(1 << 9);
    const COMMIT: Self = Self(1 << 10);
    const ROLLBACK: Self = Self(1 << 11);
    const SET: Self = Self(1 << 12);
    /// Tags of what defines something.
    const DEFINE: Self = Self(1 << 13);
    /// There is, or may be, more than one statement.
    const SEVERAL: Self = Self(1 << 14);
    /// What it stands for can have changed unseen: a function may give a name to another statement.
    const UNSURE: Self = Self(1 << 15);

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether a reply of these kinds is possible.
    #[inline(always)]
    pub const fn allow(self, reply: Self) -> bool {
        self.has(reply)
    }

    /// Whether it is one statement, so that one end is all that comes.
    #[inline(always)]
    pub const fn are_of_one(self) -> bool {
        !self.has(Self::SEVERAL)
    }

    /// Whether it is certain which SQL it is.
    pub const fn are_sure(self) -> bool {
        !self.has(Self::UNSURE)
    }

    /// The same, of a statement that has a name.
    pub const fn of_name(self) -> Self {
        self.and(Self::UNSURE)
    }

    /// Of SQL, in the extended protocol.
    #[inline]
    pub fn to(sql: &[u8]) -> Self {
        if sql.len() > MAX_LEN {
            return Self::ANY;
        }
        match memchr(b';', sql).and_then(|end| sql.get(end + 1..)) {
            Some(rest) if !rest.trim_ascii_start().is_empty() => Self::of_statements(sql),
            _ => Self::of_statement(sql.trim_ascii_start()),
        }
    }

    /// Of the SQL of a simple query: rules on the table that it changes may return rows, which Execute does not send.
    #[inline]
    pub fn to_query(sql: &[u8]) -> Self {
        let answers = Self::to(sql);
        if answers.has(Self::CHANGES) { answers.and(Self::ROWS) } else { answers }
    }

    /// Of SQL with a `;` that may stand between statements, or in a text or a comment.
    #[cold]
    fn of_statements(sql: &[u8]) -> Self {
        let mut backslashes = memchr_iter(b'\\', sql).peekable();
        if backslashes.peek().is_none() {
            return Self::of_tokens(Lexer::new(sql));
        }
        // In some encodings it may be the end of a character.
        if backslashes.any(|at| is_behind_high_byte(sql, at)) {
            return Self::ANY;
        }
        // What it is in '…' depends on standard_conforming_strings.
        Self::of_tokens(Lexer::new(sql)).and(Self::of_tokens(Lexer::with_backslashes(sql)))
    }

    fn of_tokens(tokens: Lexer<'_>) -> Self {
        let sql = tokens.sql();
        let (mut all, mut start) = (None, None);
        let mut take = |start: Option<usize>, end| {
            let statement = start.and_then(|start| sql.get(start..end)).map(Self::of_statement);
            all = match (all, statement) {
                (Some(all), Some(statement)) => Some(statement.and(all).and(Self::SEVERAL)),
                (all, statement) => statement.or(all),
            };
        };
        for token in tokens {
            let is_semicolon = token.is(";");
            if !token.is_closed || is_semicolon && is_behind_high_byte(sql, token.start) {
                return Self::ANY;
            }
            if is_semicolon {
                take(start.take(), token.start);
            } else if !token.is_blank() {
                start.get_or_insert(token.start);
            }
        }
        take(start, sql.len());
        all.unwrap_or(Self::ANY)
    }

    fn of_statement(statement: &[u8]) -> Self {
        let first = match statement.first() {
            Some(b'/' | b'-') => Lexer::new(statement).next_solid().map_or(statement, |token| token.text),
            _ => statement,
        };
        let either = Self::ROWS.and(Self::NO_ROWS);
        let changed = || if may_return(statement) { either } else { Self::NO_ROWS };
        match command(first) {
            Some(Command::Select | Command::Values) => Self::SELECT.and(either),
            Some(Command::With) => Self::SELECT.and(Self::CHANGES).and(either),
            Some(Command::Insert) => Self::INSERT.and(changed()),
            Some(Command::Update) => Self::UPDATE.and(changed()),
            Some(Command::Delete) => Self::DELETE.and(changed()),
            Some(Command::Merge) => Self::MERGE.and(changed()),
            Some(Command::Begin) => Self::BEGIN.and(Self::NO_ROWS),
            // In a transaction that has failed, COMMIT is answered by ROLLBACK.
            Some(Command::Commit) => Self::COMMIT.and(Self::ROLLBACK).and(Self::NO_ROWS),
            Some(Command::Rollback) => Self::ROLLBACK.and(Self::NO_ROWS),
            // Servers that only speak PostgreSQL's protocol have no tag but SELECT for these. CREATE TABLE AS has it, too.
            Some(Command::Set) => Self::SET.and(Self::SELECT).and(Self::NO_ROWS),
            Some(Command::Define) => Self::DEFINE.and(Self::SELECT).and(either),
            Some(Command::Copy) => Self::COPY.and(Self::NO_ROWS),
            None => Self::ANY,
        }
    }

    /// Of a backend message, by its tag and, where that is needed, its content.
    #[inline(always)]
    pub fn of_reply(tag: u8, message: Option<&Message<'_>>) -> Self {
        match (tag, message) {
            (backend::ROW_DESCRIPTION | backend::DATA_ROW | backend::PORTAL_SUSPENDED, _) => Self::ROWS,
            (backend::NO_DATA, _) => Self::NO_ROWS,
            (backend::COPY_IN_RESPONSE | backend::COPY_OUT_RESPONSE, _) => Self::COPY,
            (backend::EMPTY_QUERY_RESPONSE, _) => Self::EMPTY,
            (backend::COMMAND_COMPLETE, Some(Message::CommandComplete(complete))) => {
                Self::of_tag(complete.command_tag.0)
            }
            _ => Self::ANY,
        }
    }

    /// Of a command tag.
    pub(super) fn of_tag(tag: &[u8]) -> Self {
        match command(tag) {
            Some(Command::Select) => Self::SELECT,
            Some(Command::Insert) => Self::INSERT,
            Some(Command::Update) => Self::UPDATE,
            Some(Command::Delete) => Self::DELETE,
            Some(Command::Merge) => Self::MERGE,
            Some(Command::Begin) => Self::BEGIN,
            Some(Command::Commit) => Self::COMMIT,
            Some(Command::Rollback) => Self::ROLLBACK,
            Some(Command::Set) => Self::SET,
            Some(Command::Define) => Self::DEFINE,
            Some(Command::Copy) => Self::COPY,
            Some(Command::Values | Command::With) | None => Self::ANY,
        }
    }

    /// Of a reply that has all of it: the columns of rows, or none, and the command tag.
    pub(super) fn allow_all(self, row: Option<bool>, has_rows: bool, tag: &[u8]) -> bool {
        let described = row.is_none_or(|row| self.allow(if row { Self::ROWS } else { Self::NO_ROWS }));
        described && (!has_rows || self.allow(Self::ROWS)) && self.allow(Self::of_tag(tag))
    }
}

enum Command {
    Select,
    Values,
    With,
    Insert,
    Update,
    Delete,
    Merge,
    Begin,
    Commit,
    Rollback,
    Set,
    Define,
    Copy,
}

/// The command that a text begins with.
#[inline]
fn command(text: &[u8]) -> Option<Command> {
    let begin = text.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0; 8];
        padded.iter_mut().zip(text).for_each(|(place, byte)| *place = *byte);
        padded
    });
    // In lower case, and no byte becomes a letter that was none.
    let begin = u64::from_le_bytes(begin) | u64::from_le_bytes([b' '; 8]);
    let is = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        let len = 8 - word.leading_zeros() as usize / 8;
        begin << (64 - 8 * len) == word << (64 - 8 * len) && !text.get(len).is_some_and(is_in_word)
    };
    let found = match begin as u8 {
        b's' if is(b"select\0\0") => Command::Select,
        b'u' if is(b"update\0\0") => Command::Update,
        b'i' if is(b"insert\0\0") => Command::Insert,
        b'b' if is(b"begin\0\0\0") => Command::Begin,
        b'e' if is(b"end\0\0\0\0\0") => Command::Commit,
        b'c' if is(b"commit\0\0") => Command::Commit,
        b'd' if is(b"delete\0\0") => Command::Delete,
        b's' if is(b"set\0\0\0\0\0") => Command::Set,
        b's' if is(b"start\0\0\0") => Command::Begin,
        b'r' if is(b"rollback") => Command::Rollback,
        b'a' if is(b"abort\0\0\0") => Command::Rollback,
        b'w' if is(b"with\0\0\0\0") => Command::With,
        b'v' if is(b"values\0\0") => Command::Values,
        b't' if is(b"table\0\0\0") => Command::Values,
        b'm' if is(b"merge\0\0\0") => Command::Merge,
        b'c' if is(b"create\0\0") => Command::Define,
        b'd' if is(b"drop\0\0\0\0") => Command::Define,
        b'a' if is(b"alter\0\0\0") => Command::Define,
        b'c' if is(b"copy\0\0\0\0") => Command::Copy,
        _ => return None,
    };
    Some(found)
}

/// Whether a word goes on with a byte.
const fn is_in_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

/// Whether a byte of a text may be the end of a character of more bytes.
fn is_behind_high_byte(sql: &[u8], at: usize) -> bool {
    at.checked_sub(1).and_then(|before| sql.get(before)).is_some_and(|byte| !byte.is_ascii())
}

/// Whether there is, or may be, a RETURNING.
fn may_return(statement: &[u8]) -> bool {
    const RETURNING: &[u8] = b"returning";
    memchr2_iter(b'g', b'G', statement).any(|last| {
        let first = (last + 1).checked_sub(RETURNING.len());
        first.and_then(|first| statement.get(first..=last)).is_some_and(|word| word.eq_ignore_ascii_case(RETURNING))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(sql: &str, tag: &str) -> bool {
        Answers::to(sql.as_bytes()).allow(Answers::of_tag(tag.as_bytes()))
    }

    #[test]
    fn a_tag_answers_what_can_have_it() {
        for (sql, tag) in [
            ("SELECT 1", "SELECT 1"),
            ("select * into t from u", "SELECT 5"),
            ("CREATE TABLE t AS SELECT 1", "SELECT 1"),
            ("CREATE TABLE t ()", "CREATE TABLE"),
            ("VALUES (1)", "SELECT 1"),
            ("TABLE t", "SELECT 1"),
            ("(SELECT 1)", "SELECT 1"),
            ("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "INSERT 0 1"),
            ("COMMIT", "ROLLBACK"),
            ("END", "COMMIT"),
            ("START TRANSACTION", "START TRANSACTION"),
            ("BEGIN WORK", "BEGIN"),
            ("ABORT", "ROLLBACK"),
            ("ROLLBACK TO a", "ROLLBACK"),
            ("PREPARE TRANSACTION 'a'", "ROLLBACK"),
            ("EXECUTE a", "INSERT 0 1"),
            ("FETCH 1 FROM c", "FETCH 1"),
            ("SET a = 1", "SET"),
            ("SET a = 1", "SELECT 0"),
            ("/* SELECT */ INSERT INTO t VALUES (1)", "INSERT 0 1"),
            ("-- SELECT\n UPDATE t SET a = 1", "UPDATE 1"),
            ("BEGIN; SELECT 1", "SELECT 1"),
            ("SELECT ';x'; EXECUTE t", "SHOW"),
            ("SELECT 1; EXECUTE a", "UPDATE 1"),
            (r"SELECT 'a\'; DELETE FROM t --'", "DELETE 1"),
            (r"SELECT 'a\'; DELETE FROM t --'", "SELECT 1"),
            ("SELECT 1; /* not closed", "UPDATE 1"),
            ("selection", "INSERT 0 1"),
            ("SELECT 1", "OK"),
        ] {
            assert!(allows(sql, tag), "{sql}: {tag}");
        }
        for (sql, tag) in [
            ("SELECT 1", "INSERT 0 1"),
            ("INSERT INTO t VALUES (1)", "SELECT 1"),
            ("/* a */ SELECT 1", "BEGIN"),
            ("BEGIN; SELECT 1;", "UPDATE 1"),
            ("WITH a AS (SELECT 1) SELECT * FROM a", "COMMIT"),
            ("SELECT ';x'; DELETE FROM t", "COMMIT"),
            ("SELECT ';x'; DELETE FROM t", "UPDATE 1"),
            ("UPDATE t SET a = 'x; end' WHERE b = 1", "COMMIT"),
            ("COMMIT", "BEGIN"),
            ("CREATE TABLE t ()", "INSERT 0 1"),
        ] {
            assert!(!allows(sql, tag), "{sql}: {tag}");
        }
    }

    #[test]
    fn rows_answer_what_can_return_them() {
        let rows = |sql: &str| Answers::to(sql.as_bytes()).allow(Answers::ROWS);
        assert!(["SELECT 1", "UPDATE t SET a = 1 RETURNING a", "EXPLAIN SELECT 1", ""].into_iter().all(rows));
        assert!(!["DELETE FROM returned", "BEGIN", "/* returning */ COMMIT"].into_iter().any(rows));
        for sql in [
            "UPDATE t SET a = 'x; end' WHERE b = $1 RETURNING a",
            "UPDATE t SET a = $$x; end$$ RETURNING a",
            "UPDATE t SET a = $a$x; $$end$a$ RETURNING a",
            "/* a; end */ UPDATE t SET a = 1 /* b; end */ RETURNING a",
            "UPDATE t SET a = 1 -- b; end\n RETURNING a",
            "UPDATE t SET \"a; b\" = 1 RETURNING a",
            r"UPDATE t SET a = E'\'; end' RETURNING a",
            r"UPDATE t SET a = 'x\'; end' RETURNING a",
        ] {
            assert!(rows(sql), "{sql}");
        }
    }

    #[test]
    fn rules_return_rows_in_the_simple_protocol() {
        for sql in ["INSERT INTO t VALUES (1)", "DELETE FROM t", "BEGIN; UPDATE t SET a = 1; COMMIT"] {
            assert!(Answers::to_query(sql.as_bytes()).allow(Answers::ROWS), "{sql}");
            assert!(!Answers::to(sql.as_bytes()).allow(Answers::ROWS), "{sql}");
        }
        assert!(!Answers::to_query(b"COMMIT").allow(Answers::ROWS));
    }

    #[test]
    fn one_statement_is_told_from_several() {
        let one = |sql: &str| Answers::to(sql.as_bytes()).are_of_one();
        assert!(
            ["SELECT 1", "SELECT 1 ; \n", "SET a = 1;", "SELECT ';' || 1", "SELECT 1; -- a; b"].into_iter().all(one)
        );
        assert!(!["SELECT 1; SELECT 2", "START_REPLICATION SLOT a", ""].into_iter().any(one));
    }
}
