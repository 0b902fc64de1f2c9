//! Any bytes as SQL: its tokens are the text, its normal form is one, what redaction leaves has no constants.

use pgdissect::sql::lexer::{Kind, Lexer};
use pgdissect::sql::normalize::normalize;
use pgdissect::sql::statement::{Statement, split};
use pgdissect::sql::{redact, secret};

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

    // What is certain has only masks for its constants. Masks on several lines are one constant, and a letter that a number
    // was behind may now be its prefix.
    let redacted = redact::redact(sql);
    let certain = redact::certain_len(sql);
    let is_constant = |kind| matches!(kind, Kind::Text | Kind::Number);
    let constants = Lexer::new(sql).take_while(|token| token.start < certain).filter(|token| is_constant(token.kind));
    let left = Lexer::new(&redacted).filter(|token| is_constant(token.kind));
    assert!(
        left.clone().all(|token| token.text.iter().all(|b| b"'* \t\n\r\x0b\x0cbBeEnNuUxX&".contains(b))),
        "{}",
        String::from_utf8_lossy(&redacted)
    );
    assert!(left.count() <= constants.count());

    secret::mask(sql);

    let mut end = 0;
    for range in split(sql) {
        assert!(end <= range.start && range.start < range.end && range.end <= sql.len());
        end = range.end;
        Statement::of(sql.get(range).unwrap_or_default());
    }
}
