use super::*;

fn parts(sql: &str) -> Vec<&str> {
    split(sql.as_bytes()).map(|range| &sql[range]).collect()
}

fn of(sql: &str) -> Statement<'_> {
    Statement::of(sql.as_bytes())
}

fn name(name: &str) -> Name<'_> {
    Cow::Borrowed(name.as_bytes())
}

#[test]
fn texts_are_split_where_the_server_splits_them() {
    for (sql, expected) in [
        ("SELECT 1", vec!["SELECT 1"]),
        (" a ; -- c;\n b;;/* ; */ 'c;d' ; ", vec!["a", "b", "'c;d'"]),
        ("DO $$ a; b $$; c", vec!["DO $$ a; b $$", "c"]),
        ("CREATE RULE r AS ON INSERT TO t DO (a; b); c", vec!["CREATE RULE r AS ON INSERT TO t DO (a; b)", "c"]),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN a THEN 1 END; END; c",
            vec!["CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN a THEN 1 END; END", "c"],
        ),
        ("BEGIN; atomic; END; c", vec!["BEGIN", "atomic", "END", "c"]),
        ("BEGIN; SELECT 'cut; b", vec!["BEGIN", "SELECT 'cut; b"]),
        ("", vec![]),
        (" ;; -- nothing", vec![]),
    ] {
        assert_eq!(parts(sql), expected);
    }
}

#[test]
fn prepared_statements_and_cursors_are_recognized() {
    for (sql, expected) in [
        (
            "PREPARE Q (int, text) AS SELECT $1",
            Statement::Prepare { name: name("q"), types: Some(b"int, text"), sql: b"SELECT $1" },
        ),
        ("prepare \"Q\" as TABLE t", Statement::Prepare { name: name("Q"), types: None, sql: b"TABLE t" }),
        ("PREPARE TRANSACTION 'x'", Statement::PrepareTransaction),
        ("EXECUTE q(1, (2), ')')", Statement::Execute { name: name("q"), arguments: Some(b"1, (2), ')'") }),
        ("execute q", Statement::Execute { name: name("q"), arguments: None }),
        ("DEALLOCATE PREPARE q", Statement::Deallocate(Some(name("q")))),
        ("DEALLOCATE ALL", Statement::Deallocate(None)),
        ("DISCARD ALL", Statement::Discard(Discard::All)),
        ("DISCARD temporary", Statement::Discard(Discard::Temp)),
        (
            "DECLARE c BINARY NO SCROLL CURSOR WITH HOLD FOR SELECT 1",
            Statement::Declare { name: name("c"), is_held: true, sql: b"SELECT 1" },
        ),
        ("DECLARE c CURSOR FOR TABLE t", Statement::Declare { name: name("c"), is_held: false, sql: b"TABLE t" }),
        ("FETCH c", Statement::Fetch(name("c"))),
        ("FETCH FORWARD 100 FROM \"C\"", Statement::Fetch(name("C"))),
        ("MOVE ALL IN c", Statement::Move(name("c"))),
        ("CLOSE c", Statement::Close(Some(name("c")))),
        ("CLOSE ALL", Statement::Close(None)),
        ("PREPARE q AS", Statement::Unknown),
        ("EXECUTE q(1", Statement::Unknown),
        ("EXECUTE q and more", Statement::Unknown),
        ("DEALLOCATE", Statement::Unknown),
        ("EXPLAIN EXECUTE q", Statement::Unknown),
        ("SELECT 1", Statement::Unknown),
        ("", Statement::Unknown),
    ] {
        assert_eq!(of(sql), expected, "{sql}");
    }
}

#[test]
fn transactions_are_recognized() {
    for (sql, expected) in [
        ("BEGIN", Statement::Begin),
        ("begin isolation level serializable, read only", Statement::Begin),
        ("START TRANSACTION READ WRITE", Statement::Begin),
        ("START", Statement::Unknown),
        ("BEGIN x := 1", Statement::Unknown),
        ("COMMIT", Statement::Commit { is_chained: false }),
        ("END WORK AND CHAIN", Statement::Commit { is_chained: true }),
        ("COMMIT PREPARED 'x'", Statement::Unknown),
        ("ROLLBACK TRANSACTION AND NO CHAIN", Statement::Rollback { is_chained: false }),
        ("ABORT", Statement::Rollback { is_chained: false }),
        ("ROLLBACK TO SAVEPOINT a", Statement::RollbackTo(name("a"))),
        ("rollback work to a", Statement::RollbackTo(name("a"))),
        ("SAVEPOINT \"A b\"", Statement::Savepoint(name("A b"))),
        ("RELEASE SAVEPOINT a", Statement::Release(name("a"))),
    ] {
        assert_eq!(of(sql), expected, "{sql}");
    }
}

#[test]
fn settings_are_recognized() {
    let set = |is_local, setting, value: Option<&'static str>| Statement::Set {
        is_local,
        name: name(setting),
        value: value.map(name),
    };
    for (sql, expected) in [
        ("SET DateStyle = 'ISO, DMY'", set(false, "datestyle", Some("ISO, DMY"))),
        ("SET LOCAL statement_timeout TO -1", set(true, "statement_timeout", Some("-1"))),
        ("SET SESSION my.Var TO DEFAULT", set(false, "my.var", None)),
        ("SET search_path = a, \"B\"", set(false, "search_path", Some("a, \"B\""))),
        ("SET client_encoding TO LATIN1", set(false, "client_encoding", Some("latin1"))),
        ("SET NAMES 'UTF8'", set(false, "client_encoding", Some("UTF8"))),
        ("SET TIME ZONE 'UTC'", set(false, "timezone", Some("UTC"))),
        ("SET TIME ZONE LOCAL", set(false, "timezone", None)),
        ("SET TIME ZONE INTERVAL '1' HOUR", set(false, "timezone", Some("INTERVAL '1' HOUR"))),
        ("RESET ALL", Statement::Reset(None)),
        ("RESET DateStyle", Statement::Reset(Some(name("datestyle")))),
        ("SET ROLE bob", Statement::Unknown),
        ("SET SESSION AUTHORIZATION bob", Statement::Unknown),
        ("SET TRANSACTION READ ONLY", Statement::Unknown),
        ("SET a =", Statement::Unknown),
        ("SET a = U&'x'", Statement::Unknown),
    ] {
        assert_eq!(of(sql), expected, "{sql}");
    }
}

fn copied(sql: &str) -> Option<(bool, Option<CopyOptions<'_>>)> {
    match of(sql) {
        Statement::Copy(copy) => Some((copy.is_from_client, copy.options)),
        _ => None,
    }
}

#[test]
fn the_formats_of_copy_are_recognized() {
    let text = CopyOptions::new(CopyFormat::Text);
    let csv = CopyOptions::new(CopyFormat::Csv);
    let binary = CopyOptions::new(CopyFormat::Binary);
    for (sql, expected) in [
        ("COPY t FROM STDIN", (true, text.clone())),
        ("copy public.\"T\" (a, b) to stdout", (false, text.clone())),
        ("COPY (SELECT ')' FROM t) TO STDOUT WITH (FORMAT csv)", (false, csv.clone())),
        ("COPY t FROM STDIN (FORMAT binary, FREEZE, FORCE_QUOTE (a, b))", (true, binary.clone())),
        ("COPY BINARY t FROM STDIN", (true, binary.clone())),
        ("COPY t TO STDOUT BINARY", (false, binary)),
        (
            r"COPY t FROM STDIN WITH (FORMAT 'CSV', DELIMITER E'\t', NULL 'NIL', QUOTE '''', ESCAPE '\', HEADER match, ENCODING 'LATIN1', DEFAULT 'D')",
            (
                true,
                CopyOptions {
                    delimiter: b'\t',
                    null: name("NIL"),
                    quote: b'\'',
                    escape: b'\\',
                    header_lines: 1,
                    encoding: Some(name("LATIN1")),
                    default: Some(name("D")),
                    ..csv.clone()
                },
            ),
        ),
        (
            "COPY t FROM STDIN WITH DELIMITER AS ';' NULL AS '' CSV HEADER QUOTE '|' FORCE QUOTE a, b WHERE a > 1",
            (true, CopyOptions { delimiter: b';', quote: b'|', escape: b'|', header_lines: 1, ..csv.clone() }),
        ),
        ("COPY t TO STDOUT CSV FORCE QUOTE *", (false, csv.clone())),
        (
            "COPY t TO STDOUT (FORMAT csv, HEADER, QUOTE '~')",
            (false, CopyOptions { header_lines: 1, quote: b'~', escape: b'~', ..csv }),
        ),
        (
            "COPY t FROM STDIN (FORMAT csv, HEADER 3, ON_ERROR SET_NULL)",
            (true, CopyOptions { header_lines: 3, ..CopyOptions::new(CopyFormat::Csv) }),
        ),
        ("COPY t TO STDOUT (HEADER 0)", (false, text.clone())),
        ("COPY t TO STDOUT (FORMAT json)", (false, CopyOptions::new(CopyFormat::Json))),
        ("COPY t TO STDOUT (FORMAT JSON, FORCE_ARRAY true)", (false, CopyOptions::new(CopyFormat::Json))),
        ("COPY t FROM STDIN USING DELIMITERS '|'", (true, CopyOptions { delimiter: b'|', ..text })),
    ] {
        assert_eq!(copied(sql), Some((expected.0, Some(expected.1))), "{sql}");
    }
}

#[test]
fn a_copy_that_is_not_plain_is_one_without_options() {
    for sql in [
        "COPY t FROM STDIN (FORMAT parquet)",
        "COPY t FROM STDIN (NEW 1)",
        "COPY t TO STDOUT and more",
        "COPY t FROM STDIN (DELIMITER 'ab')",
        "COPY t FROM STDIN (FORMAT csv, FORCE_NULL (a, b))",
        "COPY t FROM STDIN CSV FORCE NOT NULL a",
    ] {
        assert_eq!(copied(sql).unwrap().1, None, "{sql}");
    }
    for sql in ["COPY t FROM '/file'", "COPY t TO PROGRAM 'x'", "COPY t", "COPY (SELECT 1"] {
        assert_eq!(copied(sql), None, "{sql}");
    }
}

#[test]
fn the_columns_of_a_copy_are_those_after_its_table() {
    let columns = |sql| match of(sql) {
        Statement::Copy(copy) => copy.columns,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        columns(r#"COPY s.t (id, "Two, ""words""", C) FROM STDIN"#),
        [name("id"), name("Two, \"words\""), name("c")]
    );
    assert_eq!(columns("COPY (SELECT a, b FROM t) TO STDOUT"), Vec::<Name<'_>>::new());
    assert_eq!(columns("COPY t FROM STDIN"), Vec::<Name<'_>>::new());
}
