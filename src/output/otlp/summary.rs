//! `db.query.summary`: what a statement does, and to which tables, by its words alone, without a grammar.

use crate::pg::text::KeptText;
use crate::record::QuerySql;
use crate::sql::lexer::{Kind, Lexer, Token};
use crate::sql::statement;

/// "SHOULD have a maximum length of 255 characters", of whole operations and targets.
const LONGEST: usize = 255;

/// The objects of CREATE, ALTER and DROP whose names are written.
const OBJECTS: [&str; 12] = [
    "table",
    "index",
    "view",
    "sequence",
    "schema",
    "type",
    "function",
    "procedure",
    "database",
    "role",
    "user",
    "extension",
];

/// Words between such an object and its name.
const FILLERS: [&str; 5] = ["if", "not", "exists", "concurrently", "only"];

/// Returns the summary of SQL: `INSERT orders SELECT carts`. `None` if nothing in it is a command.
pub(super) fn summary(sql: &QuerySql<'_>) -> Option<String> {
    // Where it is not certain what is a constant, that is a name to this lexer: as it is written, there is nothing of it.
    let text: KeptText<'_> = sql.0.masked();
    let mut summary = Summary::default();
    for range in statement::split(&text) {
        summary.statement(text.get().0.get(range).unwrap_or_default());
    }
    (!summary.text.is_empty()).then_some(summary.text)
}

#[derive(Debug, Default)]
struct Summary {
    text: String,
    is_full: bool,
}

impl Summary {
    /// Adds a word, unless there is no room for it, or was none for one before.
    fn add(&mut self, word: &str) {
        let separator = usize::from(!self.text.is_empty());
        self.is_full |= self.text.len() + separator + word.len() > LONGEST;
        if !self.is_full {
            if separator > 0 {
                self.text.push(' ');
            }
            self.text.push_str(word);
        }
    }

    fn statement(&mut self, sql: &[u8]) {
        let mut tokens = Lexer::new(sql);
        let Some(first) = tokens.next_solid().filter(|first| first.kind == Kind::Word || first.is("(")) else { return };
        if ["create", "alter", "drop"].into_iter().any(|word| first.is_word(word)) {
            return self.definition(&first, tokens);
        }
        let has_targets =
            ["select", "insert", "update", "delete", "merge", "with", "copy", "truncate", "explain", "values"];
        if first.is("(") || has_targets.into_iter().any(|word| first.is_word(word)) {
            self.query(Lexer::new(sql));
        } else {
            self.add(&operation(&first));
        }
    }

    fn definition(&mut self, first: &Token<'_>, mut tokens: Lexer<'_>) {
        self.add(&operation(first));
        // Of CREATE OR REPLACE, CREATE UNLOGGED and others.
        let object = tokens
            .by_ref()
            .filter(|token| !token.is_blank())
            .take(4)
            .find(|token| OBJECTS.into_iter().any(|object| token.is_word(object)));
        let Some(object) = object else { return };
        self.add(&operation(&object));
        while FILLERS.into_iter().any(|filler| peek(&tokens).is_some_and(|token| token.is_word(filler))) {
            tokens.next_solid();
        }
        self.target(&mut tokens);
    }

    /// Adds the commands and tables of a query, with those inside it.
    fn query(&mut self, mut tokens: Lexer<'_>) {
        // Whether a FROM in these parentheses is that of a query: there are others, in functions.
        let mut is_query = vec![false];
        let mut before: Option<Token<'_>> = None;
        while let Some(token) = tokens.next_solid() {
            let is_after = |word| before.is_some_and(|before| before.is_word(word));
            let is = |words: &[&str]| words.iter().any(|word| token.is_word(word));
            if token.is("(") {
                is_query.push(false);
            } else if token.is(")") {
                is_query.pop();
            } else if is(&["select", "insert", "delete", "merge", "copy", "truncate"])
                || is(&["update"]) && !is_after("for") && !is_after("key") && !is_after("do")
            {
                if is_after("on") || is_after("then") || is_after(".") {
                    before = Some(token);
                    continue;
                }
                self.add(&operation(&token));
                if let Some(last) = is_query.last_mut() {
                    *last = true;
                }
                if is(&["update", "copy", "truncate"]) {
                    self.target(&mut tokens);
                }
            } else if (is(&["into", "join", "using"]) || is(&["from"]) && !is_after("distinct"))
                && is_query.last().copied().unwrap_or_default()
            {
                self.target(&mut tokens);
                if is(&["from", "using"]) {
                    self.further_targets(&mut tokens);
                }
            }
            before = Some(token);
        }
    }

    /// Adds the tables behind commas in a FROM.
    fn further_targets(&mut self, tokens: &mut Lexer<'_>) {
        loop {
            let mut ahead = tokens.clone();
            let mut next = ahead.next_solid();
            if next.is_some_and(|token| token.is_word("as")) {
                next = ahead.next_solid();
            }
            if next.is_some_and(|token| matches!(token.kind, Kind::Word | Kind::QuotedWord)) {
                next = ahead.next_solid();
            }
            if !next.is_some_and(|token| token.is(",")) || !self.target(&mut ahead) {
                return;
            }
            *tokens = ahead;
        }
    }

    /// Adds the name that is next, if one is.
    fn target(&mut self, tokens: &mut Lexer<'_>) -> bool {
        let mut ahead = tokens.clone();
        let is_skipped = |token: &Token<'_>| ["only", "table", "lateral"].into_iter().any(|word| token.is_word(word));
        let Some(first) = ahead.by_ref().filter(|token| !token.is_blank()).find(|token| !is_skipped(token)) else {
            return false;
        };
        let is_name = |token: &Token<'_>| matches!(token.kind, Kind::Word | Kind::QuotedWord);
        if !is_name(&first) || ["select", "with", "values", "stdin"].into_iter().any(|word| first.is_word(word)) {
            return false;
        }
        let mut name = String::from_utf8_lossy(first.text).into_owned();
        *tokens = ahead.clone();
        while ahead.next_solid().is_some_and(|token| token.is("."))
            && let Some(part) = ahead.next_solid().filter(is_name)
        {
            name.push('.');
            name.push_str(&String::from_utf8_lossy(part.text));
            *tokens = ahead.clone();
        }
        self.add(&name);
        true
    }
}

fn peek<'a>(tokens: &Lexer<'a>) -> Option<Token<'a>> {
    tokens.clone().next_solid()
}

fn operation(word: &Token<'_>) -> String {
    String::from_utf8_lossy(word.text).to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::text::{Sql, Text};
    use crate::redaction::Redaction;

    fn of(sql: &str) -> Option<String> {
        summary(&QuerySql(Sql { text: Text::utf8(sql.as_bytes()), redaction: Redaction::Secrets }))
    }

    #[test]
    fn a_summary_is_commands_and_tables() {
        for (sql, expected) in [
            ("SELECT 1", "SELECT"),
            ("select a.*, b.x from public.a, \"B\" as b where a.id = 1 /*route='/'*/", "SELECT public.a \"B\""),
            ("SELECT * FROM a JOIN b USING (id) LEFT JOIN c ON c.id = extract(day FROM a.d)", "SELECT a b c"),
            ("SELECT x IS DISTINCT FROM y FROM t FOR UPDATE", "SELECT t"),
            ("SELECT * FROM (SELECT * FROM t) s", "SELECT SELECT t"),
            ("INSERT INTO orders SELECT * FROM carts ON CONFLICT DO UPDATE SET a = 1", "INSERT orders SELECT carts"),
            ("WITH d AS (DELETE FROM t RETURNING *) UPDATE u SET n = 1", "DELETE t UPDATE u"),
            ("BEGIN; UPDATE t SET x = 'from z'; COMMIT", "BEGIN UPDATE t COMMIT"),
            ("COPY t (a, b) FROM STDIN", "COPY t"),
            ("create unlogged table if not exists s.t (a int)", "CREATE TABLE s.t"),
            ("TRUNCATE TABLE ONLY t", "TRUNCATE t"),
        ] {
            assert_eq!(of(sql).as_deref(), Some(expected), "{sql}");
        }
        assert_eq!(of(" -- nothing"), None);
        assert_eq!(of("'SELECT'"), None);
    }

    #[test]
    fn a_long_summary_ends_with_a_whole_name() {
        let sql: String = (0..100).map(|table| format!("SELECT * FROM table_{table};")).collect();
        let summary = of(&sql).unwrap();
        assert!(summary.len() <= LONGEST && summary.len() > LONGEST - 20);
        assert!(summary.split(' ').all(|word| word == "SELECT" || word.starts_with("table_")), "{summary}");
    }
}
