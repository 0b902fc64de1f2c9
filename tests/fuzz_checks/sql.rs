//! Arbitrary bytes as SQL: the tokens equal the text, the normal form is stable, and redacted text has no constants.

use pgdissect::internals::sql::lexer::{Kind, Lexer};
use pgdissect::internals::sql::normalize::normalize;
use pgdissect::internals::sql::statement::{Statement, split};
use pgdissect::internals::sql::{redact, secret};

pub(crate) fn check(sql: &[u8]) {
    for lexer in [Lexer::new(sql), Lexer::with_backslashes(sql)] {
        let mut end = 0;
        for token in lexer {
            assert_eq!((token.start, token.text.is_empty()), (end, false), "tokens follow each other");
            assert_eq!(sql.get(token.start..token.end()), Some(token.text));
            end = token.end();
        }
        assert_eq!(end, sql.len(), "nothing is left out");
    }

    let normal = normalize(sql);
    assert_eq!(normalize(&normal.text), normal, "{}", String::from_utf8_lossy(sql));

    // Redacted text has no strings, and shows where the uncertain part begins.
    let redacted = redact::redact(sql).text;
    let certain = redact::certain_len(sql);
    assert!(certain <= sql.len() && (certain == sql.len() || redacted.ends_with(b"***")));
    let mut left = Lexer::new(&redacted);
    assert!(!left.any(|token| token.kind == Kind::Text), "{}", String::from_utf8_lossy(&redacted));

    secret::mask(sql);

    let mut end = 0;
    for range in split(sql) {
        assert!(end <= range.start && range.start < range.end && range.end <= sql.len());
        end = range.end;
        Statement::of(sql.get(range).unwrap_or_default());
    }
}
