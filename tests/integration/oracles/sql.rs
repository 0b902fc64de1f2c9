//! Comparison with PostgreSQL's parser (libpg_query's fingerprints) and pg_stat_statements; `testdata/sql/how-made.md` describes
//! how the two files were made.

use std::collections::HashMap;
use std::fmt::Write as _;

use pgdissect::internals::sql::lexer::Lexer;
use pgdissect::internals::sql::normalize::{Fingerprint, normalize};
use pgdissect::internals::sql::{redact, secret};
use proptest::prelude::*;

use crate::hostile::fuzz_seeds;

/// Why two statements share a fingerprint here but not in libpg_query, or vice versa.
const EXPLAINED: [(&str, &str); 7] = [
    (
        "cast",
        "there a constant is not seen at all, nor that it is cast, nor DEFAULT, nor an expression of constants alone",
    ),
    ("list", "there lists are sets: order, repetition, and IN with one item do not count"),
    ("name", "there aliases, schemas, roles, temporary tables, digits in table names and their like do not count"),
    ("option", "there options of a statement, and what SET sets, do not count"),
    ("spelling", "there it is the tree that counts: AS, INNER, parentheses, CAST and ::, int and integer"),
    ("number", "there modifiers of types and positions in ORDER BY do not count"),
    ("constant", "here every literal is a constant; there numbers and strings of utility statements count"),
];

/// Items of the same shape are merged in any list here; in libpg_query only in IN, VALUES and similar.
const ITEMS: &str = "items";

fn rows(file: &'static str) -> impl Iterator<Item = Vec<String>> {
    file.lines().map(|line| line.split('\t').map(unescape).collect())
}

fn unescape(field: &str) -> String {
    let mut text = String::new();
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next().unwrap() {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            },
            other => other,
        });
    }
    text
}

fn shown(sql: &str) -> String {
    String::from_utf8(normalize(sql.as_bytes()).text.into_vec()).unwrap()
}

fn fingerprint(sql: &str) -> Fingerprint {
    normalize(sql.as_bytes()).fingerprint
}

const GROUPS: &str = include_str!("../../../testdata/sql/groups.tsv");

#[test]
fn statements_group_as_in_libpg_query_or_it_is_explained() {
    let (mut by_shape, mut by_fingerprint) = (HashMap::new(), HashMap::new());
    let (mut first_of_group, mut first_of_shape) = (HashMap::new(), HashMap::new());
    let (mut statements, mut same) = (0, 0);
    for row in rows(GROUPS) {
        let [shape, group, why, sql] = <[String; 4]>::try_from(row).unwrap();
        // Statements of the same shape, and no others, share a fingerprint.
        let ours = fingerprint(&sql);
        assert_eq!(*by_shape.entry(shape.clone()).or_insert(ours), ours, "{sql}");
        assert_eq!(*by_fingerprint.entry(ours).or_insert(shape.clone()), shape, "{sql}");

        let is_split = first_of_group.entry(group.clone()).or_insert(ours) != &ours;
        let is_joined = first_of_shape.entry(ours).or_insert(group.clone()) != &group;
        let reasons: Vec<&str> = why.split(['/', '+']).filter(|why| !why.is_empty()).collect();
        assert_eq!(is_split || is_joined, !reasons.is_empty(), "{sql}");
        for reason in &reasons {
            assert!(*reason == ITEMS || EXPLAINED.iter().any(|(known, _)| known == reason), "{reason}: {sql}");
        }
        statements += 1;
        same += usize::from(reasons.is_empty());
    }
    assert!(statements >= 3_000 && same * 4 > statements * 3, "{same} of {statements}");
}

#[test]
fn texts_are_shown_as_pg_stat_statements_shows_them() {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for row in rows(include_str!("../../../testdata/sql/shown.tsv")) {
        let [why, sql, server] = <[String; 3]>::try_from(row).unwrap();
        // The server keeps white space and comments.
        let folded = folded(&server);
        let ours = shown(&sql);
        assert_eq!(folded == ours, why.is_empty(), "{why}: {ours}\n{folded}");
        match why.as_str() {
            // PostgreSQL 15 shows each item of a list; after merging them, the texts are the same, except for later numbers.
            "list" => assert_eq!(without_numbers(&shown(&server)), without_numbers(&ours)),
            // An expression repeated in GROUP BY or a window, and positions in GROUPING SETS, are kept by the server; NFC is a
            // constant for it; it keeps UESCAPE.
            "" | "repeated" | "positions" | "keyword" | "UESCAPE" => {}
            other => panic!("{other} is no explanation"),
        }
        *counts.entry(why).or_default() += 1;
    }
    assert!(counts[""] >= 700 && counts["list"] >= 100, "{counts:?}");
    assert!(counts.iter().filter(|(why, _)| !["", "list"].contains(&why.as_str())).all(|(_, count)| *count <= 2));
}

fn folded(sql: &str) -> String {
    let mut text = String::new();
    let mut is_blank = false;
    for token in Lexer::new(sql.as_bytes()) {
        if token.is_blank() {
            is_blank = true;
            continue;
        }
        if std::mem::take(&mut is_blank) && !text.is_empty() {
            text.push(' ');
        }
        text.push_str(std::str::from_utf8(token.text).unwrap());
    }
    text.trim_end_matches([' ', ';']).to_owned()
}

fn without_numbers(text: &str) -> String {
    text.split('$').map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit())).collect::<Vec<_>>().join("$")
}

#[test]
fn the_statements_keep_what_holds_for_any_bytes() {
    for row in rows(GROUPS) {
        fuzz_seeds::sql::check(row[3].as_bytes());
    }
}

/// The same statement as another program would write it.
#[test]
fn spacing_comments_case_and_values_do_not_change_a_fingerprint() {
    for row in rows(GROUPS) {
        let sql = &row[3];
        let mut other = String::from("/* by another */");
        for token in Lexer::new(sql.as_bytes()) {
            let text = std::str::from_utf8(token.text).unwrap();
            match token.kind {
                pgdissect::internals::sql::lexer::Kind::Blank => other.push_str(" \n\t"),
                pgdissect::internals::sql::lexer::Kind::Word => other.push_str(&text.to_ascii_uppercase()),
                pgdissect::internals::sql::lexer::Kind::Comment => other.push_str("-- other\n"),
                pgdissect::internals::sql::lexer::Kind::Text => other.push_str("'another value'"),
                _ => other.push_str(text),
            }
        }
        let is_escaped = sql.to_ascii_lowercase().contains("uescape");
        assert!(is_escaped || fingerprint(&other) == fingerprint(sql), "{sql}\n{other}");
    }
}

/// Generates SQL with planted values, and text between them.
fn pieces() -> impl Strategy<Value = Vec<String>> {
    const PLANTED: &str = "zzPLANTEDzz";
    let literal = prop_oneof![
        Just(format!("'{PLANTED}'")),
        Just(format!("'it''s {PLANTED} \\ '")),
        Just(format!("E'\\'{PLANTED}\\\\'")),
        Just(format!("U&'{PLANTED}'")),
        Just(format!("$$'{PLANTED}$$")),
        Just(format!("$q$ $$ {PLANTED} ' $q$")),
        Just(format!("-- {PLANTED} '\n")),
        Just(format!("/* ' {PLANTED} /* */ */")),
        Just(format!("'a'\n'{PLANTED}'")),
        Just("4815162342".to_owned()),
        Just("-4815162342e10".to_owned()),
        Just("0x4815162342".to_owned()),
    ];
    let other = prop_oneof![
        Just("SELECT"),
        Just("FROM t"),
        Just("IN ("),
        Just(")"),
        Just(","),
        Just("VALUES"),
        Just("$1"),
        Just("\"C\""),
        Just("::text"),
        Just("="),
        Just("-"),
        Just("ARRAY["),
        Just("]"),
        Just(";"),
        Just("LIKE"),
        Just("ORDER BY"),
    ]
    .prop_map(str::to_owned);
    proptest::collection::vec(prop_oneof![literal, other], 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn planted_values_never_survive_redaction(pieces in pieces(), cut in 0.0..1.5_f64) {
        let mut sql = pieces.join(" ");
        sql.truncate((sql.len() as f64 * cut) as usize);
        let redacted = redact::redact(sql.as_bytes()).text;
        for planted in ["PLANT", "4815"] {
            prop_assert!(memchr::memmem::find(&redacted, planted.as_bytes()).is_none(), "{sql}");
        }
        fuzz_seeds::sql::check(sql.as_bytes());
    }

    #[test]
    fn any_text_keeps_what_holds(sql in "[-a-z0-9'\"$\\\\(),;.:/*!=\\[\\]{} \n+&@U]{0,60}") {
        fuzz_seeds::sql::check(sql.as_bytes());
    }

    #[test]
    fn any_bytes_keep_what_holds(sql in proptest::collection::vec(any::<u8>(), 0..80)) {
        fuzz_seeds::sql::check(&sql);
    }

    /// A secret in any place, in any context, with the text cut anywhere.
    #[test]
    fn planted_secrets_are_masked(before in pieces(), place in 0..8_usize, after in pieces(), cut in 0.0..1.5_f64) {
        let secret = "hUnTeR2";
        let place = [
            format!("ALTER ROLE u PASSWORD '{secret}'"),
            format!("create user u password E'\\'{secret}'"),
            format!("ALTER USER u PASSWORD $x${secret}$x$"),
            format!("CREATE SUBSCRIPTION s CONNECTION 'host=h password={secret}' PUBLICATION p"),
            format!("CREATE USER MAPPING FOR u SERVER s OPTIONS (user 'u', password '{secret}')"),
            format!("DO $do$ BEGIN ALTER ROLE u PASSWORD '{secret}'; END $do$"),
            format!("DO 'BEGIN ALTER ROLE u PASSWORD ''{secret}''; END'"),
            format!("SELECT dblink('host=h password={secret}', 'x')"),
        ][place].clone();
        let mut sql = String::new();
        write!(sql, "{} ; {place} ; {}", before.join(" "), after.join(" ")).unwrap();
        sql.truncate((sql.len() as f64 * cut) as usize);
        let masked = secret::mask(sql.as_bytes());
        prop_assert!(memchr::memmem::find(&masked, &secret.as_bytes()[..3]).is_none(), "{sql}");
    }
}
