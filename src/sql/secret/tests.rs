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
        ("ALTER ROLE u PASSWORD 'x' 'y' LOGIN", "ALTER ROLE u PASSWORD '***' '***' LOGIN"),
        ("UPDATE u SET password = 'x' || 'y', name = 'z'", "UPDATE u SET password = '***' || '***', name = 'z'"),
        ("SELECT 1 WHERE password = 'x' AND name = 'z'", "SELECT 1 WHERE password = '***' AND name = 'z'"),
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
        (
            "SELECT dblink('postgres://h/db?user=u&pass%77ord=x&%50ASSWD=y&a%20b=c', 'password')",
            "SELECT dblink('postgres://h/db?user=u&pass%77ord=***&%50ASSWD=***&a%20b=c', 'password')",
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
        // Messages that quote SQL.
        ("SQL statement \"ALTER ROLE u PASSWORD 'x'\"", "SQL statement \"ALTER ROLE u PASSWORD '***'\""),
        ("SQL statement \"DO 'ALTER ROLE u PASSWORD ''!x'''\"", "SQL statement \"DO 'ALTER ROLE u PASSWORD ''***'''\""),
        ("can't ALTER ROLE u PASSWORD 'x'", "can't ALTER ROLE u PASSWORD '***'"),
    ] {
        assert_eq!(masked(sql), expected);
    }
}

#[test]
fn other_text_than_secrets_is_not_masked() {
    for sql in [
        "SELECT password FROM users WHERE name = 'x'",
        "SELECT password FROM (SELECT * FROM u WHERE name = 'x') s",
        "SELECT token FROM f('x', 5)",
        "SELECT alias, token FROM ts_debug('english', 'x', $1)",
        "SELECT password is not null, 'x'",
        "ALTER ROLE u PASSWORD NULL",
        "SELECT 'mypassword' , 'x'",
        "SELECT a FROM t WHERE k = 'password' AND v = 'x'",
        "SELECT password_hash 'x'",
        "SELECT $1, password $1",
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

/// Checks that no letter of a secret remains, wherever a text is truncated.
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
fn hostile_texts_take_linear_time() {
    for unit in [
        "(password) VALUES (",
        "(a, password) = (SELECT 'x', ",
        "a_token, ",
        "password = a || ",
        "password = CASE WHEN ",
        "password = (SELECT ",
        "password::a) IN (",
        "'x' = password ",
        "postgres://h:5432/",
        "postgres://h/?a%=b&pass%77ord=",
        "password=b ",
        "set_config($1, ",
        "set password=",
        "set_config('token',",
        "password(",
        "'ROLE u PASSWORD ', 'x",
        "alter role password ",
        "key=>",
        "secret \"",
        "password/*",
        "password",
        "'password=",
        "$a$password=",
        "password''",
        "postgres://",
        "password \\'",
        "password,",
        "password %L ",
        "password x /* ",
        "password 'x'--",
        "password 'x'\n--",
        "\"password\":\"a\",",
        "token is /*",
        "token text [",
        "set token = x, ",
        "$1 as password ",
        "token[",
        "(values ('x')) as v(password) ",
        "(password) with ",
        "(password) select * from (",
        "/**/password ",
        "password collate ",
        "set_config(new_value => 'x', setting_name => 'token', ",
        "crypt('x', password) = password and ",
        "password between 'x' ",
        "'x' in (password, ",
    ] {
        let sql = unit.repeat(10_000);
        mask(sql.as_bytes());
        mask(format!("SELECT '{sql}'").as_bytes());
        mask(format!("SELECT '{} {sql}'", "x".repeat(50_000)).as_bytes());
    }
    let tags: String = (0..100_000).map(|n| format!("password x $t{n}$ ")).collect();
    mask(tags.as_bytes());
    let tags: String = (0..100_000).map(|n| format!("$t{n}$ password=")).collect();
    mask(tags.as_bytes());
    let nested = format!("{}{} 'x'", "password/*".repeat(20_000), "*/".repeat(20_000));
    assert!(!masked(&nested).contains('x'));
}

#[test]
fn what_stands_in_place_of_a_constant_is_masked() {
    for (sql, expected) in [
        ("ALTER ROLE u PASSWORD hunter2", "ALTER ROLE u PASSWORD ***"),
        ("ALTER ROLE u PASSWORD hunter2!x y LOGIN; SELECT 1", "ALTER ROLE u PASSWORD ***; SELECT 1"),
        ("CREATE USER u PASSWORD 12345", "CREATE USER u PASSWORD ***"),
        ("ALTER ROLE u PASSWORD \"hunter2\" LOGIN", "ALTER ROLE u PASSWORD \"***\" LOGIN"),
        ("ALTER ROLE u PASSWORD \"hunter2", "ALTER ROLE u PASSWORD \"***\""),
        ("ALTER ROLE u PASSWORD 'O'Brien2' LOGIN", "ALTER ROLE u PASSWORD '***'"),
        ("ALTER ROLE u PASSWORD 'O'Brien' VALID UNTIL 'x'", "ALTER ROLE u PASSWORD '***'"),
        ("ALTER ROLE u PASSWORD 'abc\"d' \"e", "ALTER ROLE u PASSWORD '***'"),
        ("ALTER ROLE u PASSWORD pa'ss", "ALTER ROLE u PASSWORD ***"),
        ("DO $$ BEGIN ALTER ROLE u PASSWORD hunter2; END $$", "DO $$ BEGIN ALTER ROLE u PASSWORD ***; END $$"),
        ("DO $$ BEGIN ALTER ROLE u PASSWORD 'O'Brien'; END $$", "DO $$ BEGIN ALTER ROLE u PASSWORD '***'"),
        ("DO 'BEGIN ALTER ROLE u PASSWORD hunter2; END'", "DO 'BEGIN ALTER ROLE u PASSWORD ***; END'"),
        (
            "ALTER USER MAPPING FOR u SERVER s OPTIONS (SET password hunter2)",
            "ALTER USER MAPPING FOR u SERVER s OPTIONS (SET password ***",
        ),
        ("SET password = hunter2", "SET password = ***"),
        ("SET password = 'x'", "SET password = '***'"),
        ("SET password TO \"x\"", "SET password TO \"***\""),
        ("UPDATE users SET password = 'x' WHERE id = 'y'", "UPDATE users SET password = '***' WHERE id = 'y'"),
        (
            "UPDATE users SET password=crypt('x', gen_salt('bf')), name = 'y'",
            "UPDATE users SET password=crypt('***', gen_salt('bf')), name = 'y'",
        ),
        (
            "DO $$ DECLARE v_password CONSTANT varchar(20) := 'x'; BEGIN END $$",
            "DO $$ DECLARE v_password CONSTANT varchar(20) := '***'; BEGIN END $$",
        ),
        (
            "CREATE TABLE t (password text DEFAULT 'x', a text DEFAULT 'y')",
            "CREATE TABLE t (password text DEFAULT '***', a text DEFAULT 'y')",
        ),
        ("SELECT login(p_password => 'x', p_name => 'y')", "SELECT login(p_password => '***', p_name => 'y')"),
        ("SELECT 1 WHERE password = 'x' AND name = 'y'", "SELECT 1 WHERE password = '***' AND name = 'y'"),
        ("SELECT password IS NOT DISTINCT FROM 'x', 'y'", "SELECT password IS NOT DISTINCT FROM '***', 'y'"),
        ("SELECT token is distinct from f('x'), 'y'", "SELECT token is distinct from f('***'), 'y'"),
    ] {
        assert_eq!(masked(sql), expected);
    }
}

#[test]
fn settings_and_options_that_are_named_like_secrets_are_masked() {
    for (sql, expected) in [
        ("SET app.api_key = 'x'", "SET app.api_key = '***'"),
        ("SET SESSION app.token TO x", "SET SESSION app.token TO ***"),
        ("set local \"app\".\"jwt_secret\" = 5", "set local \"app\".\"jwt_secret\" = ***"),
        ("ALTER ROLE u SET app.token = x; SELECT 1", "ALTER ROLE u SET app.token = ***; SELECT 1"),
        ("ALTER SYSTEM SET ssl_passphrase_command = 'echo x'", "ALTER SYSTEM SET ssl_passphrase_command = '***'"),
        ("SET app.token = DEFAULT", "SET app.token = DEFAULT"),
        ("SET password_encryption = 'md5'", "SET password_encryption = 'md5'"),
        ("SELECT set_config('app.token', 'x', false)", "SELECT set_config('app.token', '***', false)"),
        (
            "SELECT set_config(setting_name => 'app.key', new_value => 'x', is_local => true)",
            "SELECT set_config(setting_name => 'app.key', new_value => '***', is_local => true)",
        ),
        (
            "select pg_catalog.set_config ( E'app.key'::text , lower('x'), false)",
            "select pg_catalog.set_config ( E'app.key'::text , lower('***'), false)",
        ),
        (
            "DO 'BEGIN PERFORM set_config(''app.key'', ''x'', false); END'",
            "DO 'BEGIN PERFORM set_config(''app.key'', ''***'', false); END'",
        ),
        ("COPY t FROM 's3://b' CREDENTIALS 'aws_access_key_id=x;y'", "COPY t FROM 's3://b' CREDENTIALS '***'"),
        (
            "UNLOAD ('SELECT 1') TO 's3://b' WITH CREDENTIALS AS 'x' ENCRYPTED",
            "UNLOAD ('SELECT 1') TO 's3://b' WITH CREDENTIALS AS '***' ENCRYPTED",
        ),
        (
            "COPY t FROM 's3://b' ACCESS_KEY_ID 'x' SECRET_ACCESS_KEY 'y' SESSION_TOKEN 'z' MASTER_SYMMETRIC_KEY 'k' IAM_ROLE 'arn'",
            "COPY t FROM 's3://b' ACCESS_KEY_ID '***' SECRET_ACCESS_KEY '***' SESSION_TOKEN '***' MASTER_SYMMETRIC_KEY '***' IAM_ROLE 'arn'",
        ),
        (
            "COPY t CREDENTIALS=(AWS_KEY_ID='x' AWS_SECRET_KEY='y' AWS_TOKEN='z')",
            "COPY t CREDENTIALS=(AWS_KEY_ID='***' AWS_SECRET_KEY='***' AWS_TOKEN='***')",
        ),
        (
            "SELECT aws_commons.create_aws_credentials('x', 'y', 'z')",
            "SELECT aws_commons.create_aws_credentials('***', '***', '***')",
        ),
        (
            "LOCATION ('pxf://b?PROFILE=s3&accesskey=x&secretkey=y')",
            "LOCATION ('pxf://b?PROFILE=s3&accesskey=***&secretkey=***')",
        ),
        ("CREATE SUBSCRIPTION s CONNECTION \"host=h password=x\"", "CREATE SUBSCRIPTION s CONNECTION \"***\""),
        (
            "SELECT dblink('host=h oauth_client_secret=x sslkey=/f scram_client_key=y')",
            "SELECT dblink('host=h oauth_client_secret=*** sslkey=/f scram_client_key=***')",
        ),
    ] {
        assert_eq!(masked(sql), expected);
    }
    for sql in [
        "SELECT * FROM t WHERE key = 'x'",
        "PRIMARY KEY (a)",
        "SELECT key, tokens 'x'",
        "FOREIGN KEY (a) REFERENCES t",
        "SELECT JSON_OBJECT(KEY 'a' VALUE 'x')",
    ] {
        assert_eq!(masked(sql), sql);
    }
}

#[test]
fn what_becomes_a_part_of_a_statement_is_masked() {
    for (sql, expected, parameters) in [
        (
            "SELECT format('ALTER ROLE u PASSWORD %L', $1::text)",
            "SELECT format('ALTER ROLE u PASSWORD %L', $1::text)",
            1,
        ),
        (
            "DO $$ BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', 'u', 'x'); END $$",
            "DO $$ BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', 'u', '***'); END $$",
            0,
        ),
        (
            "DO $$ BEGIN EXECUTE 'ALTER ROLE u PASSWORD ' || quote_literal('x'); END $$",
            "DO $$ BEGIN EXECUTE 'ALTER ROLE u PASSWORD ' || quote_literal('***'); END $$",
            0,
        ),
        ("ALTER ROLE u PASSWORD $1", "ALTER ROLE u PASSWORD $1", 1),
        ("SELECT set_config('app.token', $2, $1)", "SELECT set_config('app.token', $2, $1)", 2),
        ("UPDATE u SET password = $3, a = $1", "UPDATE u SET password = $3, a = $1", 4),
    ] {
        assert_eq!(masked(sql), expected);
        assert_eq!(find(sql.as_bytes()).parameters, Parameters(parameters), "{sql}");
    }
}

#[test]
fn values_by_their_place_in_a_list_are_masked() {
    for (sql, expected, parameters) in [
        (
            "INSERT INTO u (name, password) VALUES ('a', 'x'), ('b', crypt('y', 'z') || $1) RETURNING 'c'",
            "INSERT INTO u (name, password) VALUES ('a', '***'), ('b', crypt('***', '***') || $1) RETURNING 'c'",
            1,
        ),
        (
            "INSERT INTO s.u AS t (\"Password\", t.name, token) OVERRIDING USER VALUE VALUES ($1, lower($2), $3)",
            "INSERT INTO s.u AS t (\"Password\", t.name, token) OVERRIDING USER VALUE VALUES ($1, lower($2), $3)",
            5,
        ),
        (
            "INSERT INTO u (name, password) SELECT 'a', 'x' FROM v WHERE b = 'c'",
            "INSERT INTO u (name, password) SELECT 'a', '***' FROM v WHERE b = 'c'",
            0,
        ),
        (
            "INSERT INTO u (name, password) SELECT 'a', 'x' UNION ALL SELECT 'b', 'y' FROM v WHERE c = 'd'",
            "INSERT INTO u (name, password) SELECT 'a', '***' UNION ALL SELECT 'b', '***' FROM v WHERE c = 'd'",
            0,
        ),
        (
            "WITH v(name, password) AS (VALUES ('a', 'x')) SELECT 'b'",
            "WITH v(name, password) AS (VALUES ('a', '***')) SELECT 'b'",
            0,
        ),
        ("UPDATE u SET (name, password) = ('a', 'x')", "UPDATE u SET (name, password) = ('a', '***')", 0),
        (
            "UPDATE u SET (name, password) = (SELECT 'a', 'x' FROM v WHERE b = 'c')",
            "UPDATE u SET (name, password) = (SELECT 'a', '***' FROM v WHERE b = 'c')",
            0,
        ),
        ("SELECT 1 WHERE (password, name) = ROW('x', 'a')", "SELECT 1 WHERE (password, name) = ROW('***', 'a')", 0),
        ("SELECT 1 WHERE (name, password) IN (('a', 'x'))", "SELECT 1 WHERE (name, password) IN (('a', '***'))", 0),
        (
            "INSERT INTO u (url, password) VALUES ('postgres://u:y@h/d', 'x password=z')",
            "INSERT INTO u (url, password) VALUES ('postgres://u:***@h/d', '***')",
            0,
        ),
        ("INSERT INTO u (password) VALUES ('x", "INSERT INTO u (password) VALUES ('***'", 0),
        (
            "DO $$ BEGIN INSERT INTO u (name, password) VALUES ('a', 'x'); END $$",
            "DO $$ BEGIN INSERT INTO u (name, password) VALUES ('a', '***'); END $$",
            0,
        ),
    ] {
        assert_eq!(masked(sql), expected);
        assert_eq!(find(sql.as_bytes()).parameters, Parameters(parameters), "{sql}");
    }
}

#[test]
fn what_is_compared_is_masked_and_what_it_is_found_by_is_not() {
    for (sql, expected) in [
        (
            "WHERE password IN ('x', lower('y')) AND a IN ('b')",
            "WHERE password IN ('***', lower('***')) AND a IN ('b')",
        ),
        ("WHERE password NOT LIKE 'x' AND a LIKE 'b'", "WHERE password NOT LIKE '***' AND a LIKE 'b'"),
        ("WHERE password <> 'x' OR token != 'y'", "WHERE password <> '***' OR token != '***'"),
        ("WHERE u.password::varchar(9) = 'x'", "WHERE u.password::varchar(9) = '***'"),
        ("WHERE lower(password) ilike 'x'", "WHERE lower(password) ilike '***'"),
        ("WHERE 'x' = u.password AND 'a' = b", "WHERE '***' = u.password AND 'a' = b"),
        ("SELECT 'x'::text AS password, 'a' AS b", "SELECT '***'::text AS password, 'a' AS b"),
        ("UPDATE u SET password = name || 'x', a = 'b'", "UPDATE u SET password = *** || '***', a = 'b'"),
        ("UPDATE u SET password = md5('x') || 'y'", "UPDATE u SET password = md5('***') || '***'"),
        ("UPDATE u SET password = text 'x', a = 'b'", "UPDATE u SET password = text '***', a = 'b'"),
        (
            "UPDATE u SET password = CASE WHEN a = 'b' THEN 'x' ELSE 'y' END, a = 'c'",
            "UPDATE u SET password = CASE WHEN a = 'b' THEN '***' ELSE '***' END, a = 'c'",
        ),
        (
            "UPDATE u SET password = (SELECT crypt('x', b) FROM v WHERE c = 'd' UNION SELECT 'y') WHERE a = 'b'",
            "UPDATE u SET password = (SELECT crypt('***', b) FROM v WHERE c = 'd' UNION SELECT '***') WHERE a = 'b'",
        ),
        ("WHERE token = ANY (SELECT b FROM v WHERE c = 'd')", "WHERE token = ANY (SELECT b FROM v WHERE c = 'd')"),
        (
            "CREATE TABLE user_password (a text DEFAULT 'b', password text DEFAULT 'x')",
            "CREATE TABLE user_password (a text DEFAULT 'b', password text DEFAULT '***')",
        ),
    ] {
        assert_eq!(masked(sql), expected);
    }
    for sql in [
        "INSERT INTO mail (subject, body) VALUES ('Reset your password ', 'Dear x')",
        "INSERT INTO log VALUES ('Invalid password %', 'x')",
        "SELECT * FROM u JOIN v ON u.token = v.token WHERE u.name = 'x'",
        "SELECT token = name, 'x'",
        "INSERT INTO user_password (a) VALUES ('x')",
        "SET app.token_count = 5",
        "SET max_tokens = 'x'",
        "SET password_encryption = 'scram-sha-256'",
        "SELECT set_config('app.key_id', 'x', false)",
        "ALTER DATABASE d SET app.token FROM CURRENT",
    ] {
        assert_eq!(masked(sql), sql);
    }
}

#[test]
fn a_password_in_a_uri_goes_to_the_last_at_sign() {
    for (sql, expected) in [
        ("'postgres://u:p@x/y#z?w@h:1/db?a=b'", "'postgres://u:***@h:1/db?a=b'"),
        ("'postgres://u:p/x@h/db', 'a@b'", "'postgres://u:***@h/db', 'a@b'"),
        ("'postgres://u:p x@h/db' , 'a@b'", "'postgres://u:***@h/db' , 'a@b'"),
        ("'postgres://u:5432/x@h/db'", "'postgres://u:***@h/db'"),
        ("see postgres://h:5432/db or a@b", "see postgres://h:5432/db or a@b"),
        ("'see postgres://h:5432/db or a@b'", "'see postgres://h:5432/db or a@b'"),
        ("postgres://u@h:5432/db", "postgres://u@h:5432/db"),
        ("postgres://h/a:b@c", "postgres://h/a:b@c"),
        ("postgres://u:p/x", "postgres://u:***"),
    ] {
        assert_eq!(masked(sql), expected);
    }
}

#[test]
fn connection_strings_that_are_put_together_are_masked() {
    for (sql, expected) in [
        (
            "SELECT dblink('host=h password=' || 'x' || ' port=1', 'a')",
            "SELECT dblink('host=h password=' || '***' || '***', 'a')",
        ),
        (
            "SELECT dblink(concat('host=h password=', 'x', ' port=1'))",
            "SELECT dblink(concat('host=h password=', '***', ' port=1'))",
        ),
        ("SELECT format('host=%s password=%s', 'h', 'x')", "SELECT format('host=%s password=%s', 'h', '***')"),
        ("SELECT dblink('host=h password=a x=1 port=5')", "SELECT dblink('host=h password=*** port=5')"),
        ("COPY t FROM PROGRAM 'env PGPASSWORD=x psql -c y'", "COPY t FROM PROGRAM 'env PGPASSWORD=*** psql -c y'"),
        ("COPY t FROM PROGRAM 'a --password=x'", "COPY t FROM PROGRAM 'a --password=***'"),
        (
            "DO $d$ BEGIN EXECUTE format($f$ALTER ROLE %I PASSWORD %L$f$, 'u', 'x'); END $d$",
            "DO $d$ BEGIN EXECUTE format($f$ALTER ROLE %I PASSWORD %L$f$, 'u', '***'); END $d$",
        ),
    ] {
        assert_eq!(masked(sql), expected);
    }
}

#[test]
fn mistakes_after_password_are_masked() {
    for (sql, expected) in [
        ("ALTER ROLE u PASSWORD $1x", "ALTER ROLE u PASSWORD ***"),
        ("ALTER ROLE u PASSWORD $1", "ALTER ROLE u PASSWORD $1"),
        ("ALTER ROLE u PASSWORD $x$y", "ALTER ROLE u PASSWORD '***'"),
        ("ALTER ROLE u PASSWORD /*x", "ALTER ROLE u PASSWORD ***"),
        ("ALTER ROLE u PASSWORD --x", "ALTER ROLE u PASSWORD ***"),
        ("ALTER ROLE u PASSWORD --x\nLOGIN", "ALTER ROLE u PASSWORD ***"),
        ("SET app.token x y; SELECT 1", "SET app.token ***; SELECT 1"),
    ] {
        assert_eq!(masked(sql), expected);
    }
}

#[test]
fn settings_that_parameters_name_are_known() {
    for (sql, expected) in [
        ("SELECT set_config($1, $2, false)", &[(0, 2)][..]),
        ("SELECT SET_CONFIG ( $3::text , lower($1) || $2, $4)", &[(2, 3)]),
        ("SELECT pg_catalog.\"set_config\"('app.' || $1, $2, true), set_config($3, $4, true)", &[(0, 2), (2, 8)]),
        ("SELECT set_config(new_value => $1, setting_name => $2)", &[(1, 1)]),
        ("SELECT set_config('a', $1, false), my_config($1, $2), set_config($1, 'x', $2)", &[]),
        ("SELECT set_config($1", &[]),
        ("SELECT set_config($0, $2)", &[]),
    ] {
        let secrets = StatementSecrets::of(sql.as_bytes()).unwrap_or_default();
        let settings: Vec<_> = secrets.settings.iter().map(|setting| (setting.name, setting.value.0)).collect();
        assert_eq!(settings, expected, "{sql}");
    }
    let many = StatementSecrets::of("set_config($1, $2),".repeat(1_000).as_bytes()).unwrap();
    assert_eq!((many.settings.len(), many.parameters), (64, Parameters(2)));
}

/// Checks the masked text, and the secret parameters as a bit mask.
#[track_caller]
fn assert_found(rows: &[(&str, &str, i64)]) {
    for (sql, expected, parameters) in rows {
        assert_eq!(masked(sql), *expected);
        assert_eq!(find(sql.as_bytes()).parameters, Parameters(*parameters), "{sql}");
    }
}

#[test]
fn comments_may_be_between_any_two_tokens() {
    assert_found(&[
        (
            "insert into u(a, /* x */ password) values ('b','x'), ($1, $2)",
            "insert into u(a, /* x */ password) values ('b','***'), ($1, $2)",
            2,
        ),
        (
            "insert into u(a -- b\n, password) values ('b','x')",
            "insert into u(a -- b\n, password) values ('b','***')",
            0,
        ),
        ("insert into u(a, password -- b\n) values ($1, $2)", "insert into u(a, password -- b\n) values ($1, $2)", 2),
        (
            "insert into u(/* b */ a, password) values ('b','x')",
            "insert into u(/* b */ a, password) values ('b','***')",
            0,
        ),
        (
            "(a /* , */,password)/**/in/**/(('b' /* ,'b' */,'x'))",
            "(a /* , */,password)/**/in/**/(('b' /* ,'b' */,'***'))",
            0,
        ),
        (
            "select set_config/*a*/(/*b*/'app.token'/*c*/, /*d*/ 'x')",
            "select set_config/*a*/(/*b*/'app.token'/*c*/, /*d*/ '***')",
            0,
        ),
        ("set /*a*/ app./*b*/token /*c*/ to /*d*/ 'x'", "set /*a*/ app./*b*/token /*c*/ to /*d*/ '***'", 0),
        (
            "where 'x' /*a*/ = /*b*/ u.password /*c*/ or password/*d*/<>/*e*/$3",
            "where '***' /*a*/ = /*b*/ u.password /*c*/ or password/*d*/<>/*e*/$3",
            4,
        ),
        (
            "do $$ begin insert into u(a, /* $x$ */ password) values ('b', 'x'); end $$",
            "do $$ begin insert into u(a, /* $x$ */ password) values ('b', '***'); end $$",
            0,
        ),
        (
            "do 'begin /* b */ alter role u /* c */ password /* d */ ''x''; end'",
            "do 'begin /* b */ alter role u /* c */ password /* d */ ''***''; end'",
            0,
        ),
        ("select 1 -- password 'x'", "select 1 -- password '***'", 0),
        ("select 'a', 'b--c' /* no password 'x' */", "select 'a', 'b--c' /* no password '***' */", 0),
    ]);
}

#[test]
fn either_side_of_a_comparison_is_found() {
    assert_found(&[
        ("where $1 = password and 'a' = b", "where $1 = password and 'a' = b", 1),
        ("where $2=u.password or $1 = b", "where $2=u.password or $1 = b", 2),
        ("select $2::text as password, $1 as name", "select $2::text as password, $1 as name", 2),
        ("where crypt('x', password) = password and n = 'b'", "where crypt('***', password) = password and n = 'b'", 0),
        ("where crypt($1, pw) = u.password and n = $2", "where crypt($1, pw) = u.password and n = $2", 1),
        (
            "where password between 'x' and lower($1) and n = 'b'",
            "where password between '***' and lower($1) and n = 'b'",
            1,
        ),
        (
            "where password not between symmetric $1 and 'x' and n = 'b'",
            "where password not between symmetric $1 and '***' and n = 'b'",
            1,
        ),
        (
            "where password >= 'x' or password<'x' or password !~* 'x'",
            "where password >= '***' or password<'***' or password !~* '***'",
            0,
        ),
        ("where password ~ $1 or password similar to 'x'", "where password ~ $1 or password similar to '***'", 1),
        (
            "where 'x' like password and 'x' not ilike u.token",
            "where '***' like password and '***' not ilike u.token",
            0,
        ),
        ("where $1 is not distinct from password", "where $1 is not distinct from password", 1),
        ("where 'x'::varchar(9) >= lower(password)", "where '***'::varchar(9) >= lower(password)", 0),
        ("where u.password collate \"C\" = 'x'", "where u.password collate \"C\" = '***'", 0),
        (
            "where 'x' in (password, y) or $1 not in (y, token)",
            "where '***' in (password, y) or $1 not in (y, token)",
            1,
        ),
        ("update u set password='x'::text||'y', n='b'", "update u set password='***'::text||'***', n='b'", 0),
        (
            "update u set password[1]='x', token [ 2 ] = $1, n='b'",
            "update u set password[1]='***', token [ 2 ] = $1, n='b'",
            1,
        ),
        ("update u set password=array['x', $1], n='b'", "update u set password=array['***', $1], n='b'", 1),
        (
            "update u set password=crypt($1,gen_salt($2)||'x'), n=$3",
            "update u set password=crypt($1,gen_salt($2)||'***'), n=$3",
            1,
        ),
        (
            "select (select 'x' from t where n = 'b') as password",
            "select (select '***' from t where n = 'b') as password",
            0,
        ),
        (
            "with q as (select password from t where n = 'b') select 1",
            "with q as (select password from t where n = 'b') select 1",
            0,
        ),
        ("select * from t where a = 'b' and token = c", "select * from t where a = 'b' and token = c", 0),
        ("select f('b') as v(password, n), 'a' < b, token", "select f('b') as v(password, n), 'a' < b, token", 0),
    ]);
}

#[test]
fn settings_have_their_values_in_any_order_and_number() {
    assert_found(&[
        (
            "select set_config(new_value => 'x', setting_name => 'app.secret', is_local => true), 'b'",
            "select set_config(new_value => '***', setting_name => 'app.secret', is_local => true), 'b'",
            0,
        ),
        (
            "select set_config(is_local := $1, new_value := lower($2), setting_name := 'app.secret')",
            "select set_config(is_local := $1, new_value := lower($2), setting_name := 'app.secret')",
            2,
        ),
        (
            "set session app.token to 'x', 'y', z; select 'b', 'c'",
            "set session app.token to '***', '***', ***; select 'b', 'c'",
            0,
        ),
        ("set app.token = x, y", "set app.token = ***, ***", 0),
        ("update u set password = 'x', n = 'b', m = c", "update u set password = '***', n = 'b', m = c", 0),
    ]);
}

#[test]
fn lists_are_followed_through_queries() {
    assert_found(&[
        (
            "insert into u(a,password) with q as (select 'a', 'b') select 'a','x' from q where n = 'b'",
            "insert into u(a,password) with q as (select 'a', 'b') select 'a','***' from q where n = 'b'",
            0,
        ),
        (
            "insert into u(a,password) select distinct on (b, 'c') 'a','x' from t where n = 'b' union all (select 'a',$1)",
            "insert into u(a,password) select distinct on (b, 'c') 'a','***' from t where n = 'b' union all (select 'a',$1)",
            1,
        ),
        (
            "insert into u(a,password) table t union all values('a','x'),('b','y') returning 'a','b'",
            "insert into u(a,password) table t union all values('a','***'),('b','***') returning 'a','b'",
            0,
        ),
        (
            "insert into u(a,password[1],c) values ('a','x','b')",
            "insert into u(a,password[1],c) values ('a','***','b')",
            0,
        ),
        (
            "merge into u using (values ('a','x'), ($1, $2)) as v(name,password) on 'a' = b",
            "merge into u using (values ('a','***'), ($1, $2)) as v(name,password) on 'a' = b",
            2,
        ),
        (
            "select * from (values ('a','x')) v (name, \"password\") where b = 'c'",
            "select * from (values ('a','***')) v (name, \"password\") where b = 'c'",
            0,
        ),
        (
            "insert into u(a,password) select * from unnest($1::text[],$2::text[]) where b = $3",
            "insert into u(a,password) select * from unnest($1::text[],$2::text[]) where b = $3",
            2,
        ),
        (
            "select * from unnest($1, array['x']) as v(a, password)",
            "select * from unnest($1, array['***']) as v(a, password)",
            0,
        ),
        (
            "insert into u(a,password) select * from (values ('a','x')) v where b = 'c' on conflict (a) do update set b = 'c'",
            "insert into u(a,password) select * from (values ('a','***')) v where b = 'c' on conflict (a) do update set b = 'c'",
            0,
        ),
        (
            "insert into u(a,password) select b from t where (c, d) in (select 'a','b' union select 'c','d')",
            "insert into u(a,password) select b from t where (c, d) in (select 'a','b' union select 'c','d')",
            0,
        ),
    ]);
}
