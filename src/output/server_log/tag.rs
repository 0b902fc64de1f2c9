//! What a server's process shows that it does: the tag of its command.

use crate::record::QueryRecord;
use crate::sql::lexer::{Kind, Lexer};
use crate::sql::statement::split;

/// Returns the command tag of a request that was executed: that of its last statement, without numbers.
pub(super) fn of_executed<'a>(record: &QueryRecord<'a>, sql: &'a [u8]) -> &'a [u8] {
    let Some(tag) = record.command_tags.as_bytes().strip_suffix(b"\0") else {
        return if split(sql).next().is_none() { b"idle" } else { of_sql(sql) };
    };
    let last = memchr::memrchr(b'\0', tag).and_then(|at| tag.get(at + 1..)).unwrap_or(tag);
    let first = sql.trim_ascii_start().first();
    match without_numbers(last) {
        // CREATE TABLE AS and EXECUTE are answered as what they execute.
        b"SELECT" if matches!(first, Some(b'c' | b'C' | b'e' | b'E')) => of_sql(sql),
        // In a transaction that has failed, COMMIT is answered so.
        b"ROLLBACK" => match split(sql).last().and_then(|range| sql.get(range)).map_or(&b""[..], of_sql) {
            words @ (b"COMMIT" | b"PREPARE TRANSACTION") => words,
            _ => b"ROLLBACK",
        },
        // A tag is capital letters.
        words if words.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b' ') => words,
        _ => b"",
    }
}

/// Returns the command tag of the statement of a text at which it failed: behind as many as have their own.
pub(super) fn of_failed<'a>(record: &QueryRecord<'_>, sql: &'a [u8]) -> &'a [u8] {
    let count = record.command_tags.iter().count();
    split(sql).nth(count).and_then(|range| sql.get(range)).map_or(b"", of_sql)
}

fn without_numbers(tag: &[u8]) -> &[u8] {
    let end = tag.iter().rposition(|byte| !byte.is_ascii_digit() && *byte != b' ').map_or(0, |last| last + 1);
    tag.get(..end).unwrap_or_default()
}

/// Returns the command tag of a statement, as far as its first words decide it; empty if it is not known.
fn of_sql(sql: &[u8]) -> &'static [u8] {
    let mut tokens = Lexer::new(sql);
    let mut words = std::iter::from_fn(|| tokens.next_solid()).skip_while(|token| token.is("("));
    let Some(first) = words.next() else { return b"" };
    let is = |word: &str| first.is_word(word);
    if is("create") || is("alter") || is("drop") {
        let verb = ["create", "alter", "drop"].iter().position(|verb| is(verb)).unwrap_or_default();
        let modifiers = ["or", "replace", "temp", "temporary", "unlogged", "global", "local", "unique", "recursive"];
        let mut words = words.skip_while(|token| modifiers.iter().any(|word| token.is_word(word)));
        let object = words.next();
        let found = OBJECTS.iter().find(|(word, _)| object.is_some_and(|object| object.is_word(word)));
        let is_as = verb == 0 && found.is_some_and(|(word, _)| *word == "table") && {
            // CREATE TABLE name (columns) WITH (…) AS: AS is outside of parentheses.
            let mut depth = 0_i32;
            words.take(64).filter(|token| token.kind != Kind::Blank).any(|token| {
                depth += i32::from(token.is("(")) - i32::from(token.is(")"));
                depth == 0 && token.is_word("as")
            })
        };
        return match found {
            Some(_) if is_as => b"CREATE TABLE AS",
            Some((_, tags)) => tags.get(verb).copied().unwrap_or_default().as_bytes(),
            None => b"",
        };
    }
    let tag = TAGS.iter().find(|(word, _)| is(word)).map_or("", |(_, tag)| tag);
    let longer = ["PREPARE", "COMMIT", "ROLLBACK"].contains(&tag).then(|| words.next()).flatten().and_then(|second| {
        LONGER.iter().find(|(words, _)| words.0 == tag && second.is_word(words.1)).map(|(_, tag)| *tag)
    });
    longer.unwrap_or(tag).as_bytes()
}

/// Tags by the first word.
const TAGS: &[(&str, &str)] = &[
    ("select", "SELECT"),
    ("insert", "INSERT"),
    ("update", "UPDATE"),
    ("delete", "DELETE"),
    ("with", "SELECT"),
    ("values", "SELECT"),
    ("table", "SELECT"),
    ("begin", "BEGIN"),
    ("commit", "COMMIT"),
    ("rollback", "ROLLBACK"),
    ("start", "START TRANSACTION"),
    ("end", "COMMIT"),
    ("abort", "ROLLBACK"),
    ("savepoint", "SAVEPOINT"),
    ("release", "RELEASE"),
    ("merge", "MERGE"),
    ("copy", "COPY"),
    ("do", "DO"),
    ("call", "CALL"),
    ("fetch", "FETCH"),
    ("move", "MOVE"),
    ("declare", "DECLARE CURSOR"),
    ("close", "CLOSE CURSOR"),
    ("prepare", "PREPARE"),
    ("execute", "EXECUTE"),
    ("deallocate", "DEALLOCATE"),
    ("set", "SET"),
    ("reset", "RESET"),
    ("show", "SHOW"),
    ("explain", "EXPLAIN"),
    ("analyze", "ANALYZE"),
    ("vacuum", "VACUUM"),
    ("truncate", "TRUNCATE TABLE"),
    ("lock", "LOCK TABLE"),
    ("grant", "GRANT"),
    ("revoke", "REVOKE"),
    ("comment", "COMMENT"),
    ("listen", "LISTEN"),
    ("unlisten", "UNLISTEN"),
    ("notify", "NOTIFY"),
    ("refresh", "REFRESH MATERIALIZED VIEW"),
    ("reindex", "REINDEX"),
    ("cluster", "CLUSTER"),
    ("checkpoint", "CHECKPOINT"),
    ("discard", "DISCARD ALL"),
    ("security", "SECURITY LABEL"),
    ("reassign", "REASSIGN OWNED"),
    ("import", "IMPORT FOREIGN SCHEMA"),
    ("load", "LOAD"),
];

/// Tags that two words decide.
const LONGER: [((&str, &str), &str); 3] = [
    (("PREPARE", "transaction"), "PREPARE TRANSACTION"),
    (("COMMIT", "prepared"), "COMMIT PREPARED"),
    (("ROLLBACK", "prepared"), "ROLLBACK PREPARED"),
];

/// Tags of CREATE, ALTER and DROP by the kind of object.
const OBJECTS: &[(&str, [&str; 3])] = &[
    ("table", ["CREATE TABLE", "ALTER TABLE", "DROP TABLE"]),
    ("index", ["CREATE INDEX", "ALTER INDEX", "DROP INDEX"]),
    ("view", ["CREATE VIEW", "ALTER VIEW", "DROP VIEW"]),
    ("sequence", ["CREATE SEQUENCE", "ALTER SEQUENCE", "DROP SEQUENCE"]),
    ("function", ["CREATE FUNCTION", "ALTER FUNCTION", "DROP FUNCTION"]),
    ("procedure", ["CREATE PROCEDURE", "ALTER PROCEDURE", "DROP PROCEDURE"]),
    ("trigger", ["CREATE TRIGGER", "ALTER TRIGGER", "DROP TRIGGER"]),
    ("type", ["CREATE TYPE", "ALTER TYPE", "DROP TYPE"]),
    ("domain", ["CREATE DOMAIN", "ALTER DOMAIN", "DROP DOMAIN"]),
    ("schema", ["CREATE SCHEMA", "ALTER SCHEMA", "DROP SCHEMA"]),
    ("database", ["CREATE DATABASE", "ALTER DATABASE", "DROP DATABASE"]),
    ("extension", ["CREATE EXTENSION", "ALTER EXTENSION", "DROP EXTENSION"]),
    ("role", ["CREATE ROLE", "ALTER ROLE", "DROP ROLE"]),
    ("user", ["CREATE ROLE", "ALTER ROLE", "DROP ROLE"]),
    ("materialized", ["CREATE MATERIALIZED VIEW", "ALTER MATERIALIZED VIEW", "DROP MATERIALIZED VIEW"]),
    ("publication", ["CREATE PUBLICATION", "ALTER PUBLICATION", "DROP PUBLICATION"]),
    ("subscription", ["CREATE SUBSCRIPTION", "ALTER SUBSCRIPTION", "DROP SUBSCRIPTION"]),
];
