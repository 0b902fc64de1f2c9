//! What SQL does to names that the protocol uses, too: PREPARE and DEALLOCATE to those of statements, DECLARE and CLOSE to
//! those of portals.
//!
//! The command tag shows that something was done, the text of the statement to which name. Where that is not plain, what
//! the names stand for is unknown from then on; so it is behind a DO whose code has one of these words.

use super::statements::{Kept, Statements};
use crate::pg::text::Text;
use crate::sql::lexer::Lexer;
use crate::sql::statement::{self, Statement};

/// A text longer than this is not looked through: it is data.
const MAX_LEN: usize = 64 * 1024;

/// Whether a simple query may do something to names, or copy, so that its text is needed when it is answered.
pub(super) fn is_needed(sql: &[u8]) -> bool {
    let mut speaks = None;
    let mut is_one = |statement: &[u8]| {
        // Most begin with a letter that none of these words begins with.
        let letter = statement.trim_ascii_start().first().map(u8::to_ascii_lowercase);
        if letter.is_none_or(|letter| letter.is_ascii_lowercase() && !matches!(letter, b'p' | b'd' | b'c')) {
            return false;
        }
        let first = Lexer::new(statement).next_solid();
        let is = |word| first.is_some_and(|first| first.is_word(word));
        is("prepare")
            || is("deallocate")
            || is("declare")
            || is("close")
            || is("copy")
            || is("do") && *speaks.get_or_insert_with(|| speaks_of_names(sql))
    };
    if sql.len() > MAX_LEN {
        return false;
    }
    // A `;` inside a text begins no statement, but costs no more than a look.
    let mut start = 0;
    for end in memchr::memchr_iter(b';', sql).chain([sql.len()]) {
        if sql.get(start..end).is_some_and(&mut is_one) {
            return true;
        }
        start = end + 1;
    }
    false
}

/// Whether the text of a statement must be known to know what it has done, by its command tag.
pub(super) const fn needs_text(tag: &[u8]) -> bool {
    matches!(tag, b"DO" | b"PREPARE" | b"DEALLOCATE" | b"DECLARE CURSOR" | b"CLOSE CURSOR")
}

/// Whether the code of a DO has a word for what does something to names.
fn speaks_of_names(code: &[u8]) -> bool {
    let is_word = |word: &[u8]| code.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    is_word(b"prepare") || is_word(b"deallocate") || is_word(b"discard")
}

/// Whether a command tag is that of a statement that changes no table, view or type, and no setting by which names are found.
const fn is_query(tag: &[u8]) -> bool {
    // The first letters of a tag tell its command.
    matches!(
        tag,
        [b'S', b'E', b'L', ..]
            | [b'I', b'N', b'S', ..]
            | [b'U', b'P', b'D', ..]
            | [b'D', b'E', b'L', ..]
            | [b'M', b'E', b'R', ..]
            | [b'F', b'E', b'T', ..]
            | [b'M', b'O', b'V', ..]
            | [b'B', b'E', b'G', ..]
            | [b'S', b'H', b'O', ..]
    )
}

/// The statement of a text that has one.
pub(super) fn only(Text(sql, encoding): Text<'_>) -> Option<Text<'_>> {
    let mut ranges = statement::split(sql);
    let range = ranges.next().filter(|_| ranges.next().is_none())?;
    Some(Text(sql.get(range)?, encoding))
}

/// Applies what a statement has done to names, by its command tag, and its text where that is known.
pub(super) fn apply(tag: &[u8], sql: Option<Text<'_>>, statements: &mut Statements, kept: &mut Kept) {
    let encoding = sql.map(|sql| sql.1).unwrap_or_default();
    let text = |part| Text(part, encoding);
    let statement = || sql.map(|sql| Statement::of(sql.0));
    if !is_query(tag) {
        statements.grow_old();
    }
    statements.is_stale |= needs_text(tag) || matches!(tag, b"DEALLOCATE ALL" | b"CLOSE CURSOR ALL" | b"DISCARD ALL");
    match tag {
        b"DEALLOCATE ALL" => statements.prepared.clear_named(),
        b"CLOSE CURSOR ALL" => statements.portals.clear(|_| false),
        b"DISCARD ALL" => {
            statements.prepared.clear_named();
            statements.portals.clear(|_| false);
        }
        // ROLLBACK may be one to a savepoint.
        b"COMMIT" => statements.end_transaction(),
        b"PREPARE" | b"DEALLOCATE" => match statement() {
            Some(Statement::Prepare { name, sql, .. }) => statements.prepare(kept, text(&name), text(sql)),
            Some(Statement::Deallocate(Some(name))) => statements.prepared.remove(&name),
            _ => statements.prepared.doubt(),
        },
        b"DO" if sql.is_some_and(|sql| speaks_of_names(sql.0)) => statements.prepared.doubt(),
        b"DECLARE CURSOR" | b"CLOSE CURSOR" => match statement() {
            Some(Statement::Declare { name, is_held, sql }) => {
                statements.declare(kept, text(&name), is_held, text(sql))
            }
            Some(Statement::Close(Some(name))) => statements.portals.remove(&name),
            _ => statements.portals.doubt(),
        },
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_may_do_something_to_names_are_told_by_their_first_words() {
        for sql in [
            "PREPARE a AS SELECT 1",
            " \n deallocate ALL",
            "BEGIN; Declare c CURSOR FOR SELECT 1",
            "a;;close c",
            "-- now\n/* ! */copy t from stdin",
            "do $$begin null; execute 'Deallocate all'; end$$",
        ] {
            assert!(is_needed(sql.as_bytes()), "{sql}");
        }
        for sql in
            ["", "SELECT 1", "EXECUTE a", "INSERT INTO declared VALUES (1)", "DISCARD ALL", "copyt", "DO $$begin end$$"]
        {
            assert!(!is_needed(sql.as_bytes()), "{sql}");
        }
    }
}
