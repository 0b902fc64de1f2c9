//! What a statement does that an audit looks for, and whether a query limits its rows: by its words alone, without a grammar.

use schemars::JsonSchema;
use serde::Serialize;

use super::lexer::{Kind, Lexer, Token};
use super::statement;

/// Why an audit looks for a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum AuditKind {
    /// COPY with PROGRAM: a command of the server's system is run.
    CopyProgram,
    /// CREATE, ALTER or DROP of a role, user or group.
    Role,
    /// GRANT, REVOKE, ALTER DEFAULT PRIVILEGES, REASSIGN OWNED.
    Privilege,
    /// SET ROLE, SET SESSION AUTHORIZATION.
    SetRole,
    /// ALTER SYSTEM.
    System,
    /// COPY to or from a file of the server's.
    CopyFile,
    /// Other DDL: CREATE, ALTER, DROP, TRUNCATE and so on.
    Ddl,
}

impl AuditKind {
    /// The kind as it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CopyProgram => "copy_program",
            Self::Role => "role",
            Self::Privilege => "privilege",
            Self::SetRole => "set_role",
            Self::System => "system",
            Self::CopyFile => "copy_file",
            Self::Ddl => "ddl",
        }
    }
}

impl AuditKind {
    /// Returns why an audit looks for a text with any number of statements; the first in the order of the kinds, where there are
    /// several reasons.
    pub fn of(sql: &[u8]) -> Option<Self> {
        // Of a single statement, the first words decide.
        if memchr::memchr(b';', sql).is_none() {
            return audit_kind(Lexer::new(sql));
        }
        statement::split(sql).filter_map(|range| audit_kind(Lexer::new(sql.get(range)?))).min()
    }
}

/// Returns whether a text is one query, and nothing limits its rows.
pub fn is_unlimited_select(sql: &[u8]) -> bool {
    statement::split(sql).count() == 1 && has_no_limit(Lexer::new(sql))
}

/// Iterates over the words that are not in parentheses.
fn outer_words<'a>(tokens: Lexer<'a>) -> impl Iterator<Item = Token<'a>> {
    let mut depth = 0_usize;
    tokens.filter(move |token| {
        if token.is("(") {
            depth += 1;
        } else if token.is(")") {
            depth = depth.saturating_sub(1);
        }
        depth == 0 && token.kind == Kind::Word
    })
}

fn audit_kind(tokens: Lexer<'_>) -> Option<AuditKind> {
    let mut words = outer_words(tokens.clone());
    let (first, second, third) = (words.next()?, words.next(), words.next());
    let is_among = |word: Option<Token<'_>>, wanted: &[&str]| {
        word.is_some_and(|word| wanted.iter().any(|wanted| word.is_word(wanted)))
    };
    let is = |wanted: &[&str]| is_among(Some(first), wanted);
    let then = |wanted: &[&str]| is_among(second, wanted);
    // CREATE USER MAPPING belongs to foreign servers, and changes no role.
    if is(&["create", "alter", "drop"]) && then(&["role", "user", "group"]) && !is_among(third, &["mapping"]) {
        Some(AuditKind::Role)
    } else if is(&["alter"]) && then(&["system"]) {
        Some(AuditKind::System)
    } else if is(&["grant", "revoke", "reassign"]) || is(&["alter"]) && then(&["default"]) {
        Some(AuditKind::Privilege)
    } else if is(&["set", "reset"]) {
        // SET SESSION ROLE, SET LOCAL ROLE, SET SESSION AUTHORIZATION; also with SESSION before that.
        let named = if then(&["session", "local"]) { (third, words.next()) } else { (second, third) };
        let is_role = is_among(named.0, &["role", "session_authorization"])
            || then(&["session"]) && is_among(named.0, &["authorization"])
            || is_among(named.0, &["session"]) && is_among(named.1, &["authorization"]);
        is_role.then_some(AuditKind::SetRole)
    } else if is(&["copy"]) {
        copies_elsewhere(tokens)
    } else {
        is(&["create", "alter", "drop", "truncate", "comment", "security", "import", "refresh", "reindex"])
            .then_some(AuditKind::Ddl)
    }
}

/// Returns what a COPY copies to or from, where that is not the client.
fn copies_elsewhere(tokens: Lexer<'_>) -> Option<AuditKind> {
    let mut words = outer_words(tokens.clone());
    let before = words.find(|word| word.is_word("from") || word.is_word("to"))?;
    let target = tokens.starting_at(before.end()).next_solid()?;
    match target.kind {
        Kind::Text | Kind::Parameter => Some(AuditKind::CopyFile),
        _ => target.is_word("program").then_some(AuditKind::CopyProgram),
    }
}

fn has_no_limit(tokens: Lexer<'_>) -> bool {
    let mut words = outer_words(tokens.clone());
    let mut verb = words.next();
    if verb.is_some_and(|word| word.is_word("with")) {
        const VERBS: [&str; 6] = ["select", "table", "insert", "update", "delete", "merge"];
        verb = words.find(|word| VERBS.iter().any(|verb| word.is_word(verb)));
    }
    if !verb.is_some_and(|verb| verb.is_word("select") || verb.is_word("table")) {
        return false;
    }
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let mut has_no_number = || words.peek().is_some_and(|next| next.is_word("all") || next.is_word("null"));
        // SELECT INTO creates a table, and returns nothing.
        if word.is_word("fetch") || word.is_word("into") || word.is_word("limit") && !has_no_number() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_audit_looks_for() {
        for (sql, kind) in [
            ("CREATE TABLE t (i int)", Some(AuditKind::Ddl)),
            ("create or replace view v as select 1", Some(AuditKind::Ddl)),
            ("/* role */ Drop User bob", Some(AuditKind::Role)),
            ("ALTER ROLE app PASSWORD '***'", Some(AuditKind::Role)),
            ("CREATE USER MAPPING FOR app SERVER s", Some(AuditKind::Ddl)),
            ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app", Some(AuditKind::Privilege)),
            ("GRANT SELECT ON t TO app", Some(AuditKind::Privilege)),
            ("ALTER SYSTEM SET work_mem = '1GB'", Some(AuditKind::System)),
            ("SET ROLE app", Some(AuditKind::SetRole)),
            ("set local role app", Some(AuditKind::SetRole)),
            ("RESET ROLE", Some(AuditKind::SetRole)),
            ("SET SESSION AUTHORIZATION app", Some(AuditKind::SetRole)),
            ("SET SESSION SESSION AUTHORIZATION app", Some(AuditKind::SetRole)),
            ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", None),
            ("SET search_path = role", None),
            ("COPY t FROM PROGRAM 'curl x'", Some(AuditKind::CopyProgram)),
            ("COPY (SELECT 1 FROM program) TO '/tmp/x'", Some(AuditKind::CopyFile)),
            ("COPY t (a, b) TO STDOUT", None),
            ("SELECT 1; GRANT a TO b; CREATE TABLE t ()", Some(AuditKind::Privilege)),
            ("SELECT 'create role'", None),
            ("INSERT INTO role SELECT 1", None),
            ("", None),
        ] {
            assert_eq!(AuditKind::of(sql.as_bytes()), kind, "{sql}");
        }
    }

    #[test]
    fn a_query_is_limited_by_limit_or_fetch_alone() {
        for (sql, is_unlimited) in [
            ("SELECT * FROM t", true),
            ("SELECT * FROM t WHERE i IN (SELECT i FROM u LIMIT 1)", true),
            ("SELECT * FROM t LIMIT $1", false),
            ("SELECT * FROM t LIMIT ALL", true),
            ("SELECT * FROM t OFFSET 3 FETCH FIRST 1 ROWS ONLY", false),
            ("WITH a AS (SELECT 1) SELECT * FROM a", true),
            ("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", false),
            ("TABLE t", true),
            ("SELECT * INTO u FROM t", false),
            ("SELECT 1; SELECT 2", false),
            ("UPDATE t SET i = 1 RETURNING i", false),
            ("(SELECT 1) UNION (SELECT 2)", false),
            ("", false),
        ] {
            assert_eq!(is_unlimited_select(sql.as_bytes()), is_unlimited, "{sql}");
        }
    }
}
