use super::*;

fn masked(sql: &str) -> String {
    String::from_utf8(mask(sql.as_bytes()).into_owned()).unwrap()
}

#[test]
fn every_quoting_style_is_masked() {
    for literal in [
        "'s3cret'",
        "'it''s3cret'",
        r"E'a\'s3cret'",
        "U&'s3cret'",
        "$$s3cret$$",
        "$a$s$3cret$b$$a$",
        "'s3cret",
        "''",
        "''''",
        "'''s3cret'",
        "N's3cret'",
        r"'it\'s3cret'",
        "'a'\n's3cret'",
        r"'s3cret\",
        "E's3cret\\'",
        "$$s3cret",
        "$a$s3cret$a",
    ] {
        assert_eq!(masked(&format!("ALTER ROLE u PASSWORD {literal}")), "ALTER ROLE u PASSWORD '***'", "{literal}");
    }
    for (sql, expected) in [
        (
            "create user a encrypted password/* now */ 'x' login; alter role b Password -- c\n 'y' ;",
            "create user a encrypted password/* now */ '***' login; alter role b Password -- c\n '***' ;",
        ),
        ("ALTER ROLE u PASSWORD'x' LOGIN", "ALTER ROLE u PASSWORD'***' LOGIN"),
        ("ALTER ROLE u PASSWORD$$x$$ LOGIN", "ALTER ROLE u PASSWORD'***' LOGIN"),
        ("ALTER ROLE u PASSWORD '' VALID UNTIL 'x'", "ALTER ROLE u PASSWORD '***' VALID UNTIL 'x'"),
    ] {
        assert_eq!(masked(sql), expected);
    }
}

#[test]
fn options_and_connections_are_masked() {
    for (sql, expected) in [
        (
            "CREATE USER MAPPING FOR u SERVER s OPTIONS (user 'bob', password 'x')",
            "CREATE USER MAPPING FOR u SERVER s OPTIONS (user 'bob', password '***')",
        ),
        (
            "ALTER SERVER s OPTIONS (SET \"password\" 'x', ADD sslpassword 'y')",
            "ALTER SERVER s OPTIONS (SET \"password\" '***', ADD sslpassword '***')",
        ),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'host=h password=x' PUBLICATION p",
            "CREATE SUBSCRIPTION s CONNECTION '***' PUBLICATION p",
        ),
        ("alter subscription s connection E'host=h\\'", "alter subscription s connection '***'"),
        ("SELECT dblink('host=h password=x dbname=d', 'q')", "SELECT dblink('host=h password=*** dbname=d', 'q')"),
        ("SELECT dblink('host=h password = x')", "SELECT dblink('host=h password = ***')"),
        ("SELECT dblink('host=h password=''x y'' port=1')", "SELECT dblink('host=h password=''***'' port=1')"),
        (r"SELECT dblink(E'password=\'x y\' port=1')", r"SELECT dblink(E'password=\'***\' port=1')"),
        (r"SELECT dblink('password=x\ y\', 'a')", r"SELECT dblink('password=***', 'a')"),
        ("SELECT dblink($$host=h password=x$$)", "SELECT dblink($$host=h password=***$$)"),
        ("SELECT dblink('host=h password=x", "SELECT dblink('host=h password=***"),
        (
            "SELECT dblink('postgresql://u:x@h/d?a=b&password=y&c=d')",
            "SELECT dblink('postgresql://u:***@h/d?a=b&password=***&c=d')",
        ),
        ("SELECT dblink('postgres://u:x", "SELECT dblink('postgres://u:***"),
        ("SELECT dblink('postgres://h:5432/d')", "SELECT dblink('postgres://h:5432/d')"),
    ] {
        assert_eq!(masked(sql), expected);
    }
}

#[test]
fn secrets_in_sql_in_sql_are_masked() {
    for (sql, expected) in [
        ("DO $$ BEGIN ALTER ROLE u PASSWORD 'x'; END $$", "DO $$ BEGIN ALTER ROLE u PASSWORD '***'; END $$"),
        ("DO 'BEGIN ALTER ROLE u PASSWORD ''x''; END'", "DO 'BEGIN ALTER ROLE u PASSWORD ''***''; END'"),
        (
            "DO $$ BEGIN EXECUTE 'ALTER ROLE u PASSWORD ''x'''; END $$",
            "DO $$ BEGIN EXECUTE 'ALTER ROLE u PASSWORD ''***'''; END $$",
        ),
        (
            "DO $a$ BEGIN PERFORM dblink('host=h password=x'); END $a$; SELECT 'password=y'",
            "DO $a$ BEGIN PERFORM dblink('host=h password=***'); END $a$; SELECT 'password=***'",
        ),
        (r"DO E'ALTER ROLE u PASSWORD \'x\'; END'", r"DO E'ALTER ROLE u PASSWORD \'***\'; END'"),
        (
            "DO 'BEGIN EXECUTE ''ALTER ROLE u PASSWORD ''''it''''''''s''''''; END'",
            "DO 'BEGIN EXECUTE ''ALTER ROLE u PASSWORD ''''***''''''; END'",
        ),
        ("DO 'ALTER ROLE u PASSWORD '' x'''", "DO 'ALTER ROLE u PASSWORD ''***'''"),
        // Messages that quote it.
        ("SQL statement \"ALTER ROLE u PASSWORD 'x'\"", "SQL statement \"ALTER ROLE u PASSWORD '***'\""),
        ("SQL statement \"DO 'ALTER ROLE u PASSWORD ''!x'''\"", "SQL statement \"DO 'ALTER ROLE u PASSWORD ''***'''\""),
        ("can't ALTER ROLE u PASSWORD 'x'", "can't ALTER ROLE u PASSWORD '***'"),
    ] {
        assert_eq!(masked(sql), expected);
    }
}

#[test]
fn what_is_no_secret_is_left_alone() {
    for sql in [
        "SELECT password FROM users WHERE name = 'x'",
        "ALTER ROLE u PASSWORD NULL",
        "SELECT 'mypassword' , 'x'",
        "SELECT a FROM t WHERE k = 'password' AND v = 'x'",
        "SELECT password_hash 'x'",
        "SELECT $1, password $1",
        "UPDATE users SET password = 'x'",
        "DO $$ BEGIN IF password = other THEN RETURN; END IF; END $$",
        "SELECT 'see https://u:x@h/'",
        "SELECT connection 'x'",
        "",
        "w",
        ":",
    ] {
        assert!(matches!(mask(sql.as_bytes()), Cow::Borrowed(_)), "{sql}: {}", masked(sql));
    }
}

/// However a text is cut, no letter of a secret is left.
#[test]
fn a_cut_leaves_nothing() {
    for sql in [
        "ALTER ROLE u PASSWORD 'ZZZZ' LOGIN",
        r"ALTER ROLE u PASSWORD E'ZZ\'ZZ' LOGIN",
        "ALTER ROLE u PASSWORD $q$ZZZZ$q$ LOGIN",
        "DO 'BEGIN ALTER ROLE u PASSWORD ''ZZ''''ZZ''; END'",
        "CREATE SUBSCRIPTION s CONNECTION 'host=h password=ZZZZ' PUBLICATION p",
        "OPTIONS (password 'ZZZZ')",
        "SELECT dblink('host=h password=ZZZZ')",
        "SELECT dblink('postgresql://u:ZZZZ@h/d')",
        "SELECT dblink('postgresql://h/d?password=ZZZZ')",
    ] {
        for end in 0..=sql.len() {
            assert!(!masked(&sql[..end]).contains('Z'), "{}", masked(&sql[..end]));
        }
    }
}

#[test]
fn texts_that_are_made_to_take_long_do_not() {
    for unit in ["password/*", "password", "'password=", "$a$password=", "password''", "postgres://", "password \\'"] {
        let sql = unit.repeat(200_000);
        mask(sql.as_bytes());
    }
    let tags: String = (0..100_000).map(|n| format!("$t{n}$ password=")).collect();
    mask(tags.as_bytes());
    let nested = format!("{}{} 'x'", "password/*".repeat(20_000), "*/".repeat(20_000));
    assert!(!masked(&nested).contains('x'));
}
