use super::*;

fn normal(sql: &str) -> String {
    String::from_utf8(normalize(sql.as_bytes()).text.into_vec()).unwrap()
}

fn fingerprint(sql: &str) -> Fingerprint {
    normalize(sql.as_bytes()).fingerprint
}

#[test]
fn constants_become_parameters() {
    for (sql, expected) in [
        (
            "SELECT 1, 'x', E'\\'', U&'d!61' UESCAPE '!', $$y$$, B'1', X'F', N'n'",
            "SELECT $1, $2, $3, $4, $5, $6, $7, $8",
        ),
        ("SELECT $3, 5, 'a'\n'b'", "SELECT $3, $4, $5"),
        (
            "SELECT -1, a - 1, a -1, 3 - -1, (-1), -1::int, - 1, +1",
            "SELECT $1, a - $2, a -$3, $4 - $5, ($6), -$7::int, $8, +$9",
        ),
        ("SELECT a FROM t WHERE a=-1 AND b<-.5e3", "SELECT a FROM t WHERE a=$1 AND b<$2"),
        ("SELECT date '2001-02-03', interval '1' day", "SELECT date $1, interval $2 day"),
        (
            "SELECT TRUE, null, a IS NULL, b IS NOT TRUE FROM t WHERE c = false",
            "SELECT $1, $2, a IS NULL, b IS NOT TRUE FROM t WHERE c = $3",
        ),
        ("SELECT'x'AS a", "SELECT $1 AS a"),
        ("SELECT extract(month FROM a), b IS DISTINCT FROM NULL", "SELECT extract($1 FROM a), b IS DISTINCT FROM NULL"),
    ] {
        assert_eq!(normal(sql), expected);
    }
}

#[test]
fn comments_and_spacing_are_folded() {
    for (sql, expected) in [
        (" /* a */ SELECT\n\t a -- b\n , c ; ", "SELECT a , c"),
        ("BEGIN;;SELECT 1 ; ;COMMIT;", "BEGIN; SELECT $1; COMMIT"),
        ("", ""),
        (" ; -- nothing", ""),
        ("SELECT 1/**/AS/**/a", "SELECT $1 AS a"),
    ] {
        assert_eq!(normal(sql), expected);
    }
    assert_eq!(fingerprint("select  A=1"), fingerprint("SELECT a = 2;"));
    assert_eq!(fingerprint("SELECT \"a\" != 'x'"), fingerprint("SELECT a<>$1"));
    assert_ne!(fingerprint("SELECT \"A\""), fingerprint("SELECT a"));
    assert_ne!(fingerprint("SELECT \"user\""), fingerprint("SELECT user"));
    assert_ne!(fingerprint("SELECT a b"), fingerprint("SELECT ab"));
    assert_ne!(fingerprint("SELECT f(a), b"), fingerprint("SELECT f(a, b)"));
}

#[test]
fn numbers_that_are_not_data_stay() {
    for sql in [
        "SELECT a::varchar(10), b::pg_catalog.numeric FROM t ORDER BY 2 DESC, 1",
        "SELECT count(*) FROM t GROUP BY 1, 2 HAVING a ORDER BY 1",
        "CREATE TABLE t (a numeric(10, -2), b character varying(5), c timestamp(3) with time zone)",
    ] {
        assert_eq!(normal(sql), sql);
    }
    assert_eq!(
        normal("SELECT a FROM t ORDER BY 1 + 2, f(3), 4 LIMIT 5"),
        "SELECT a FROM t ORDER BY $1 + $2, f($3), 4 LIMIT $4"
    );
    assert_eq!(normal("SELECT a FROM t ORDER BY 1664, 1665"), "SELECT a FROM t ORDER BY 1664, $1");
    assert_ne!(fingerprint("SELECT a, b FROM t ORDER BY 1"), fingerprint("SELECT a, b FROM t ORDER BY 2"));
}

#[test]
fn lists_of_any_length_are_one() {
    for (sql, expected) in [
        ("SELECT a IN (1)", "SELECT a IN ($1)"),
        ("SELECT a IN (1, 2,-3, NULL, $1) AND b = 5", "SELECT a IN ($2 /*, ... */) AND b = $3"),
        ("SELECT a IN ($1, $2, $3) AND b = $4", "SELECT a IN ($1 /*, ... */) AND b = $4"),
        ("SELECT a IN ( 'x' , 'y' )", "SELECT a IN ( $1 /*, ... */ )"),
        ("SELECT a = ANY (ARRAY[1,2,3])", "SELECT a = ANY (ARRAY[$1 /*, ... */])"),
        ("SELECT ARRAY[[1,2],[3,4]]", "SELECT ARRAY[[$1 /*, ... */] /*, ... */]"),
        ("SELECT a IN (1::int, 2::int)", "SELECT a IN ($1::int /*, ... */)"),
        ("SELECT (a, b) IN ((1, 2), (3, 4)), 5", "SELECT (a, b) IN (($1, $2) /*, ... */), $3"),
        ("SELECT a IN (1, 2, b, 3, 4), 5", "SELECT a IN ($1 /*, ... */, b, $2 /*, ... */), $3"),
        ("SELECT a IN (SELECT b, b, b)", "SELECT a IN (SELECT b, b, b)"),
        (
            "INSERT INTO t VALUES (1,'a'), (2,'b'),\n(3,'c') ON CONFLICT DO NOTHING",
            "INSERT INTO t VALUES ($1,$2) /*, ... */ ON CONFLICT DO NOTHING",
        ),
        ("VALUES (1), (DEFAULT), (2), (3)", "VALUES ($1), (DEFAULT), ($2) /*, ... */"),
        ("SELECT * FROM (VALUES (1), (2)) AS v (a), t", "SELECT * FROM (VALUES ($1) /*, ... */) AS v (a), t"),
        ("VALUES (1, 2), (3, 4); SELECT 5", "VALUES ($1, $2) /*, ... */; SELECT $3"),
        ("SELECT f(1, 2, 3)", "SELECT f($1, $2, $3)"),
    ] {
        assert_eq!(normal(sql), expected);
        assert_eq!(normal(expected), expected, "again");
        assert_eq!(fingerprint(expected), fingerprint(sql), "{sql}");
    }
    assert_eq!(fingerprint("SELECT a IN (1)"), fingerprint("SELECT a IN ('x', 'y', $1)"));
    assert_eq!(fingerprint("INSERT INTO t VALUES (1)"), fingerprint("INSERT INTO t VALUES (1), (2);"));
    assert_ne!(fingerprint("SELECT f(1)"), fingerprint("SELECT f(1, 2)"));
}

#[test]
fn text_other_than_sql_has_both_too() {
    for (sql, expected) in [
        ("SELECT 'cut", "SELECT $1"),
        ("SELECT a /* cut", "SELECT a"),
        ("GET / HTTP\\1.1 {", "GET / HTTP\\$1 {"),
        (")](", ")]("),
    ] {
        assert_eq!(normal(sql), expected);
    }
    assert_eq!(&*normalize(b"SELECT \xff, 1").text, b"SELECT \xff, $1");
}

#[test]
fn any_depth_is_accepted() {
    for depth in [DEEPEST - 1, DEEPEST, DEEPEST + 1, 100_000] {
        let sql = format!("SELECT {}1, 2{}, 3", "(".repeat(depth), ")".repeat(depth));
        assert!(normal(&sql).ends_with(", $3"));
        assert_eq!(normal(&normal(&sql)), normal(&sql));
        normal(&"IN (".repeat(depth));
        normal(&")".repeat(depth));
    }
}

#[test]
fn fingerprints_stay_the_same_across_releases() {
    for (sql, expected) in [
        ("", "f4ed18ebf16aa5cc"),
        ("SELECT 1", "1469be3e22142f89"),
        ("SELECT a.\"B\", f(x) FROM t AS a WHERE a.b IN (1, 2) AND c = $1 ORDER BY 1", "b717835c13adc305"),
    ] {
        assert_eq!(fingerprint(sql).to_string(), expected, "{sql}");
    }
}

#[test]
fn hostile_texts_take_linear_time() {
    for unit in ["-/**/", "+-", "- ", "$x", "'a'\n", "VALUES (1),", "U&'x' UESCAPE ", "/*", "ORDER BY 1,", "$a$"] {
        let sql = unit.repeat(200_000);
        assert_eq!(normal(&normal(&sql)), normal(&sql));
    }
}

#[test]
fn a_position_in_the_wal_is_one_constant_of_a_command() {
    for position in ["0/0", "0/17780D8", "0/E438C90", "A0/12E5", "ff/1"] {
        let physical = format!("START_REPLICATION SLOT \"s\" {position} TIMELINE 3");
        assert_eq!(normal(&physical), "START_REPLICATION SLOT \"s\" $1 TIMELINE $2", "{position}");
        let logical = format!("START_REPLICATION SLOT s LOGICAL {position} (proto_version '1')");
        assert_eq!(normal(&logical), "START_REPLICATION SLOT s LOGICAL $1 (proto_version $2)", "{position}");
    }
    assert_eq!(normal("SELECT a/b, 1/e FROM f"), "SELECT a/b, $1/e FROM f");
}
