//! Secrets that are repeated, and the `\.` of CSV: captures of earlier errors, the right values, and a secret planted in every
//! possible place.

use pgdissect::{Config, Redaction};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::captures::{self, OwnedPacket};
use crate::laws::contract;
use crate::laws::redaction::written;
use crate::wire::{From, Tcp, message, startup};

fn case(name: &str) -> Vec<OwnedPacket> {
    captures::packets(&[captures::testdata().join("cases").join(name)]).0
}

fn config(redaction: Redaction) -> Config {
    Config { redaction, ..captures::everything() }
}

/// Returns whether a text contains a secret, as it is or in hex.
fn shows(lines: &str, secret: &str) -> bool {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    lines.contains(secret) || lines.contains(&hex)
}

/// Checks that a secret is shown if that is configured, and not otherwise.
#[track_caller]
fn assert_masked(packets: &[OwnedPacket], secret: &str) -> Vec<Value> {
    assert!(shows(&written(packets, config(Redaction::Nothing)), secret));
    for redaction in [Redaction::Secrets, Redaction::Values] {
        assert!(!shows(&written(packets, config(redaction)), secret));
    }
    let output = captures::dissect_packets(packets, config(Redaction::Secrets));
    contract::check(&output, secret);
    output.values()
}

/// Like [`assert_masked`], also with messages cut anywhere.
#[track_caller]
fn assert_masked_when_cut(packets: &[OwnedPacket], secret: &str) -> Vec<Value> {
    for max_message in (0..60).chain([70, 80, 100, 150]) {
        let config = Config { max_message, ..config(Redaction::Secrets) };
        assert!(!shows(&written(packets, config), secret), "messages cut at {max_message}");
    }
    assert_masked(packets, secret)
}

fn of_type<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == name).collect()
}

#[test]
fn pwerr() {
    let lines = assert_masked_when_cut(&case("pwerr.pcap"), "S3CR3T");
    let error = of_type(&lines, "ErrorResponse")[0];
    assert_eq!(error["body"]["message"], "unterminated quoted string at or near \"'***\"");
    let query = lines.iter().find(|line| line["event"] == "query").unwrap();
    assert_eq!(query["error"]["message"], error["body"]["message"]);
    assert_eq!(query["sql"], "ALTER ROLE nosuchrole PASSWORD '***'");
}

#[test]
fn crdb() {
    let lines = assert_masked_when_cut(&case("crdb.pcap"), "SECRETREVIVALTOKEN");
    let parameters = &of_type(&lines, "StartupMessage")[0]["body"]["parameters"];
    assert_eq!(parameters["crdb:session_revival_token_base64"], "***");
    assert_eq!(parameters["crdb:remote_addr"], "203.0.113.9:5123");
    assert_eq!(parameters["options"], "--cluster=x -c search_path=a");
}

#[test]
fn redshift_token() {
    let lines = assert_masked_when_cut(&case("redshift.pcap"), "eyJhbGci");
    let token = lines.iter().find(|line| line["tag"] == "i").unwrap();
    assert_eq!(token["len"], 40);
}

/// Secrets quoted by PostgreSQL 15 and 18 in errors, notices, contexts and rows.
#[test]
fn what_real_servers_quote() {
    for (name, port) in [("secrets-15.pcap", "5415"), ("secrets-18.pcap", "5432")] {
        let lines = assert_masked(&case(name), "Zq7SECRETzq");
        assert!(!written(&case(name), config(Redaction::Secrets)).to_ascii_lowercase().contains("zq7secret"));
        let errors = of_type(&lines, "ErrorResponse");
        assert!(errors.len() > 20, "{port}");
        let has = |text: &str| lines.iter().any(|line| line["body"].to_string().contains(text));
        for text in [
            r#"syntax error at or near \"***\""#,
            r#"identifier \"***\" will be truncated to \"***\""#,
            r#""where":"SQL statement \"ALTER ROLE nosuchrole PASSWORD '***'\""#.trim_end_matches('"'),
            r#""detail":"Failing row contains (a, ***)."#,
            r#""message":"now ***""#,
            r#""detail":"***""#,
            r#""hint":"use ***""#,
            r#"missing \"=\" after \"***\" in connection info string"#,
            r#"division by zero"#,
            r#""values":["***"]"#,
            r#""parameter_values":["***","a"]"#,
            r#""options":"-c app.api_key=***""#,
        ] {
            assert!(has(text), "{port}: {text}");
        }
    }
}

/// Secrets repeated by PostgreSQL 15 and 18 in startup parameters, settings named by parameters, URIs, lists, and payloads.
#[test]
fn secrets_that_real_servers_repeat_are_masked() {
    for (name, port) in [("secrets-again-15.pcap", "5415"), ("secrets-again-18.pcap", "5432")] {
        let lines = assert_masked(&case(name), "Zq7SECRETzq");
        let shown: Vec<_> = lines.iter().map(ToString::to_string).collect();
        for text in [
            r#""params":["app.token","***"]"#,
            r#""params":["x","app.password","***"]"#,
            r#""params":["work_mem","PLAINVALUE"]"#,
            r#""params":["4","bob","***"]"#,
            r#"invalid input syntax for type integer: \"***\""#,
            r#""application":"host=h password=***""#,
            r#""message":"database \"postgres://u:***@h/db\" does not exist""#,
            r#""message":"database \"host=h dbname=x password=***\" does not exist""#,
            r#""message":"role \"postgresql://u:***@h/db\" does not exist""#,
            r#""user":"postgresql://u:***@h/db""#,
            r#"unterminated dollar-quoted string at or near \"***\""#,
            r#"unterminated /* comment at or near \"***\""#,
            r#"could not translate host name \"***@127.0.0.1\""#,
            r#"invalid integer value \"***\" for connection option"#,
            r#"invalid connection option \"***\""#,
            r#""payload":"host=h password=***""#,
            r#""payload":"postgres://u:***@h/db""#,
            r#""detail":"Failing row contains (1, null, ***, \\x***).""#,
            r#"VALUES (2, 'bob', '***'), (3, 'eve', '***')"#,
            r#"SELECT 5, 'bob', '***' FROM pg_class WHERE relname = 'pg_class'"#,
        ] {
            assert!(shown.iter().any(|line| line.contains(text)), "{port}: {text}");
        }
        // Nor if messages have no lines.
        let mut config = config(Redaction::Secrets);
        config.records.messages = false;
        assert!(!shows(&written(&case(name), config), "Zq7SECRETzq"), "{port}");
    }
}

/// `\.` alone is a row of CSV from PostgreSQL 18 on, and the end of data before; the rows agree with the server's count in both.
#[test]
fn csvdotmin() {
    let lines = captures::dissect_packets(&case("csvdotmin.pcap"), captures::everything()).values();
    assert_eq!(of_type(&lines, "CopyData")[0]["body"], json!({ "rows": [["x"], ["\\."], ["y"]] }));
    for (name, copies) in [("csv-dot-15.pcap", 9), ("csv-dot-18.pcap", 9), ("csv-dot-psql.pcap", 1)] {
        let lines = captures::dissect_packets(&case(name), captures::everything()).values();
        let (mut rows, mut seen) = (0, 0);
        for line in lines.iter().filter(|line| line["event"] == "message") {
            rows += line["body"]["rows"].as_array().map_or(0, Vec::len);
            if line["body"]["command"] == "COPY" {
                assert_eq!(line["body"]["rows"], std::mem::take(&mut rows), "{name}: {line}");
                seen += 1;
            }
        }
        assert_eq!(seen, copies, "{name}");
    }
}

fn packets_of(turns: &[(From, Vec<u8>)]) -> Vec<OwnedPacket> {
    let mut next = [1, 1];
    let mut packets =
        vec![Tcp::new(From::Client, 0, 0, b"").without_ack().syn(), Tcp::new(From::Server, 0, 1, b"").syn()];
    for (from, bytes) in turns {
        packets.push(Tcp::new(*from, next[from.index()], next[from.peer().index()], bytes));
        next[from.index()] += u32::try_from(bytes.len()).unwrap();
    }
    (0..).zip(&packets).map(|(at, packet)| packet.at(at)).collect()
}

/// Creates a session with these turns after its start.
fn session(version: &str, turns: impl IntoIterator<Item = (From, Vec<u8>)>) -> Vec<(From, Vec<u8>)> {
    let told = format!("server_version\0{version}\0");
    let begun = [
        message(b'R', &[0; 4]),
        message(b'S', told.as_bytes()),
        message(b'S', b"client_encoding\0UTF8\0"),
        message(b'N', b"SWARNING\0VWARNING\0C01000\0Mpassword will expire soon\0\0"),
        message(b'Z', b"I"),
    ];
    let begin = [(From::Client, crate::wire::startup()), (From::Server, begun.concat())];
    begin.into_iter().chain(turns).collect()
}

fn sized(value: &[u8]) -> Vec<u8> {
    [&u32::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

#[test]
fn a_notice_before_the_session_is_ready_is_shown_and_disturbs_nothing() {
    let turns = session("19.0", [(From::Client, message(b'Q', b"SELECT 1\0"))]);
    let lines = captures::dissect_packets(&packets_of(&turns), captures::everything()).values();
    assert_eq!(of_type(&lines, "NoticeResponse")[0]["body"]["message"], "password will expire soon");
    let ready = lines.iter().find(|line| line["state"] == "ready").unwrap();
    assert_eq!(ready["server_version"], "19.0");
    assert_eq!(of_type(&lines, "Query")[0]["query"], 1);
    assert_eq!(of_type(&lines, "NoticeResponse")[0]["query"], Value::Null);
}

/// COPY of PostgreSQL 19: rows as objects, several lines before the first row.
#[test]
fn the_copies_of_19() {
    let out = |sql: &str, data: &[&[u8]]| {
        let mut replies = vec![message(b'H', &[0, 0, 1, 0, 0])];
        replies.extend(data.iter().map(|data| message(b'd', data)));
        replies.extend([message(b'c', b""), message(b'C', b"COPY 2\0"), message(b'Z', b"I")]);
        [(From::Client, message(b'Q', format!("{sql}\0").as_bytes())), (From::Server, replies.concat())]
    };
    let rows_of = |turns: Vec<(From, Vec<u8>)>, config: Config| {
        let output = captures::dissect_packets(&packets_of(&session("19beta1", turns)), config);
        contract::check(&output, "19");
        let lines = output.values();
        let bodies: Vec<_> = of_type(&lines, "CopyData").into_iter().map(|line| line["body"].clone()).collect();
        (bodies, output.lines.join("\n"))
    };
    let one = json!({ "rows": [{ "a": 1, "b": "x\ty", "c": { "d": null } }] });
    let two = json!({ "rows": [{ "a": 1.10, "b": null }] });
    let first = &b"{\"a\":1,\"b\":\"x\\ty\",\"c\":{\"d\":\n null}}\n"[..];
    let plain = out("COPY t TO STDOUT (FORMAT json)", &[first, b"{\"a\":1.10,\"b\":null}\n"]);
    let (bodies, written) = rows_of(plain.to_vec(), captures::everything());
    assert_eq!(bodies, [one.clone(), two.clone()]);
    assert!(written.contains(r#""rows":[{"a":1.10,"b":null}]"#));
    let second = &b",{\"a\":1.10,\"b\":null}\n"[..];
    let array =
        out("copy t to stdout with (format 'json', force_array)", &[b"[\n", &[b" ", first].concat(), second, b"]\n"]);
    let (bodies, _) = rows_of(array.to_vec(), Config { named_rows: true, ..captures::everything() });
    let none = json!({ "rows": [] });
    assert_eq!(bodies, [none.clone(), one, two, none]);
    let (bodies, _) = rows_of(plain.to_vec(), config(Redaction::Values));
    assert_eq!(bodies[1], json!({ "rows": [{ "bytes": 19 }] }));
    // An invalid object is not treated as one.
    let (bodies, _) = rows_of(out("COPY t TO STDOUT (FORMAT json)", &[b"{\"a\":\n"]).to_vec(), captures::everything());
    assert_eq!(bodies, [json!({ "rows": [["{\"a\":"]] })]);

    let client = |tag, body: &[u8]| (From::Client, message(tag, body));
    let turns = vec![
        client(b'Q', b"COPY t FROM STDIN (FORMAT csv, HEADER 3, ON_ERROR SET_NULL)\0"),
        (From::Server, message(b'G', &[0, 0, 2, 0, 0, 0, 0])),
        client(b'd', b"A title\n\na,b"),
        client(b'd', b"\n1,2\n3,4\n"),
        client(b'c', b""),
        (From::Server, [message(b'C', b"COPY 2\0"), message(b'Z', b"I")].concat()),
    ];
    let (bodies, _) = rows_of(turns, Config { named_rows: true, ..captures::everything() });
    assert_eq!(bodies[0], json!({ "rows": [], "unfinished": 3 }));
    assert_eq!(bodies[1], json!({ "header": ["a", "b"], "rows": [["1", "2"], ["3", "4"]] }));
}

#[test]
fn the_types_of_19() {
    let column = |name: &str, oid: u32, size: i16| {
        [name.as_bytes(), &[0; 7], &oid.to_be_bytes(), &size.to_be_bytes(), &[0xff; 4], &[0, 1]].concat()
    };
    let row = [&[0, 2][..], &column("o", 6437, 8), &column("d", 6490, 4)].concat();
    let values = [&[0, 2][..], &sized(&5_000_000_000_u64.to_be_bytes()), &sized(&5_u32.to_be_bytes())].concat();
    let replies = [message(b'T', &row), message(b'D', &values), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")];
    let turns = [(From::Client, message(b'Q', b"SELECT o, d FROM t\0")), (From::Server, replies.concat())];
    let lines = captures::dissect_packets(&packets_of(&session("19.0", turns)), captures::everything()).values();
    assert_eq!(of_type(&lines, "DataRow")[0]["body"]["values"], json!([5_000_000_000_u64, 5]));
}

/// OAUTHBEARER: the token is masked; the reason for its rejection, and the dummy response to that, are not secret.
#[test]
fn tokens_are_masked_and_refusals_are_not() {
    let token = "n,,\x01auth=Bearer SeCrEtToKeN\x01\x01";
    let initial = [b"OAUTHBEARER\0", &sized(token.as_bytes())[..]].concat();
    let refusal = br#"{"status":"invalid_token","openid-configuration":"https://issuer.example/x","scope":"openid"}"#;
    let turns = [
        (From::Client, crate::wire::startup()),
        (From::Server, message(b'R', b"\0\0\0\x0aOAUTHBEARER\0\0")),
        (From::Client, message(b'p', &initial)),
        (From::Server, message(b'R', &[b"\0\0\0\x0b", &refusal[..]].concat())),
        (From::Client, message(b'p', b"\x01")),
        (From::Server, message(b'E', b"SFATAL\0VFATAL\0C28000\0MOAuth bearer authentication failed\0\0")),
    ];
    let lines = assert_masked_when_cut(&packets_of(&turns), "SeCrEtToKeN");
    let refused = &of_type(&lines, "AuthenticationSASLContinue")[0]["body"]["data"];
    assert!(refused.as_str().unwrap().contains("issuer.example"), "{refused}");
    assert_eq!(of_type(&lines, "SASLResponse")[0]["body"]["data"], "\u{1}");
    assert_eq!(of_type(&lines, "SASLInitialResponse")[0]["body"]["data"], "***");
}

/// SQL with `@` in place of a quoted secret.
const FORMS: [&str; 35] = [
    "INSERT INTO users (name, password) VALUES ('x', @), ('y', @)",
    "INSERT INTO users (password) SELECT @ FROM u WHERE name = 'x'",
    "SELECT 1 FROM users WHERE password IN ('x', @) AND name = 'x'",
    "SELECT 1 FROM users WHERE password <> @ OR lower(password) LIKE @",
    "SELECT 1 FROM users WHERE (name, password) = ('x', @)",
    "UPDATE users SET password = name || @",
    "UPDATE users SET password = CASE WHEN id = 1 THEN @ END",
    "UPDATE users SET password = (SELECT @ FROM u WHERE name = 'x')",
    "DO $do$ BEGIN EXECUTE format($f$ALTER ROLE u PASSWORD %L$f$, @); END $do$",
    "SELECT dblink_connect('host=h password=' || @)",
    "SELECT dblink_connect(concat('host=h password=', @))",
    "ALTER ROLE u PASSWORD @",
    "create user u encrypted password @ login",
    "CREATE ROLE u /* ! */ PASSWORD -- c\n @ VALID UNTIL 'x'",
    "CREATE USER MAPPING FOR u SERVER s OPTIONS (user 'bob', password @)",
    "ALTER SERVER s OPTIONS (SET sslpassword @, ADD api_key @)",
    "SET password = @",
    "SET app.api_token TO @",
    "ALTER ROLE u SET app.secret = @",
    "SELECT set_config('app.key', @, false)",
    "UPDATE users SET password = @, name = 'x' WHERE id = 1",
    "UPDATE users SET password = crypt(@, gen_salt('bf'))",
    "SELECT 1 FROM users WHERE password = @ AND name = 'x'",
    "COPY t FROM 's3://b' CREDENTIALS @ CSV",
    "UNLOAD ('SELECT 1') TO 's3://b' ACCESS_KEY_ID @ SECRET_ACCESS_KEY @ SESSION_TOKEN @",
    "COPY t FROM 's3://b' MASTER_SYMMETRIC_KEY @ ENCRYPTED",
    "SELECT aws_commons.create_aws_credentials('id', @, '')",
    "CREATE SUBSCRIPTION s CONNECTION @ PUBLICATION p",
    "DO $do$ BEGIN ALTER ROLE u PASSWORD @; END $do$",
    "DO $do$ BEGIN EXECUTE format('ALTER ROLE u PASSWORD %L', @); END $do$",
    "DO $do$ BEGIN EXECUTE 'ALTER ROLE u PASSWORD ' || quote_literal(@); END $do$",
    "DO $do$ DECLARE v_password text := @; BEGIN RAISE 'x'; END $do$",
    "SELECT login(p_user => 'u', p_password => @)",
    "SELECT 'x'; ALTER ROLE u PASSWORD @; SELECT 'y'",
    "CREATE SECRET s (TYPE s3, KEY_ID 'x', SECRET @)",
];

/// Quotes a secret in a style.
fn quoted(secret: &str, style: usize) -> String {
    let doubled = secret.replace('\'', "''");
    match style {
        0 => format!("'{doubled}'"),
        1 => format!("E'{}'", secret.replace('\\', "\\\\").replace('\'', "\\'")),
        2 => format!("$q${secret}$q$"),
        3 => format!("U&'{}'", doubled.replace('\\', "\\\\")),
        4 => format!("'{doubled}"),
        _ => format!("E'{}'", secret.bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>()),
    }
}

/// Returns a message of a server that repeats a secret.
fn repeated(secret: &str, raw: &str, style: usize) -> String {
    let cut: String = secret.chars().take(10).collect();
    match style {
        0 => format!("syntax error at or near \"{raw}\""),
        1 => format!("invalid input syntax for type integer: \"{secret}\""),
        2 => format!("Failing row contains (1, {secret}, null)."),
        3 => format!(
            "SQL statement \"SELECT '{}'\"\nPL/pgSQL function f() line 3 at SQL statement",
            secret.replace('\'', "''")
        ),
        4 => format!("unnamed portal with parameters: $1 = '{cut}...'"),
        _ => secret.to_ascii_lowercase(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// No part of a planted secret is in any line: of the SQL, of the server's messages at once or later, of bound values, or of
    /// rows.
    #[test]
    fn a_planted_secret_is_nowhere(
        core in "[a-zA-Z]{4}[0-9]{4}[a-zA-Z]{2}",
        odd in prop_oneof![3 => Just(""), 1 => proptest::sample::select(vec!["'", " ", "\\", "\"", "$", "%", "ä", "''"])],
        form in 0..FORMS.len(),
        style in 0..6_usize,
        said in proptest::collection::vec((0..6_usize, proptest::sample::select(b"MDHqWYstn".to_vec())), 1..4),
        is_extended: bool,
        is_later: bool,
        loses in proptest::option::of(0..12_usize),
    ) {
        let secret = format!("{core}{odd}{core}");
        let raw = quoted(&secret, style);
        let sql = FORMS[form].replace('@', &raw);
        let fields: Vec<u8> = said.iter().flat_map(|(how, code)| {
            [&[*code], repeated(&secret, &raw, *how).as_bytes(), &[0]].concat()
        }).collect();
        let error = message(b'E', &[b"SERROR\0VERROR\0C42601\0", &fields[..], b"P7\0\0"].concat());
        let notice = message(b'N', &[b"SNOTICE\0VNOTICE\0C00000\0", &fields[..], b"\0"].concat());
        let ready = message(b'Z', b"I");
        let row = message(b'D', &[&[0, 1][..], &sized(secret.as_bytes())].concat());
        let mut turns = Vec::new();
        if is_extended {
            let parse = message(b'P', &[b"\0", sql.as_bytes(), b"\0\0\0"].concat());
            let rest = [message(b'B', &[0; 8]), message(b'D', b"P\0"), message(b'E', &[0; 5]), message(b'S', b"")];
            turns.push((From::Client, [parse, rest.concat()].concat()));
            let done = [message(b'1', b""), message(b'2', b""), message(b'n', b"")].concat();
            turns.push((From::Server, [done, notice.clone(), row, error.clone(), ready.clone()].concat()));
        } else {
            turns.push((From::Client, message(b'Q', &[sql.as_bytes(), b"\0"].concat())));
            turns.push((From::Server, [notice.clone(), row, error.clone(), ready.clone()].concat()));
        }
        if is_later {
            turns.push((From::Client, message(b'Q', b"SELECT f()\0")));
            turns.push((From::Server, [notice, error, ready].concat()));
        }
        let turns = session("18.4", turns);
        let mut packets = packets_of(&turns);
        // If the message that reveals the presence of a secret is lost, it cannot be masked.
        if let Some(lost) = loses.filter(|lost| *lost != 4 && *lost < packets.len()) {
            packets.remove(lost);
        }
        for redaction in [Redaction::Secrets, Redaction::Values] {
            let lines = written(&packets, config(redaction)).to_ascii_lowercase();
            prop_assert!(!shows(&lines, &core.to_ascii_lowercase()), "{}\n{}", sql, lines);
        }
    }

    /// A value bound in place of a secret, in any format and of any type, and the server's messages about it.
    #[test]
    fn a_bound_secret_is_nowhere(
        core in "[a-zA-Z]{4}[0-9]{4}[a-zA-Z]{2}",
        sql in proptest::sample::select(vec![
            "ALTER ROLE u PASSWORD $1",
            "UPDATE users SET password = $1",
            "UPDATE users SET password = crypt($1, gen_salt('bf'))",
            "SELECT set_config('app.token', $1, false)",
            "SELECT format('ALTER ROLE u PASSWORD %L', $1::text)",
            "SELECT login(p_password => $1)",
            "SELECT 1 FROM users WHERE password = $1",
            "SELECT 1 FROM users WHERE password IN ($1)",
            "INSERT INTO users (password, name) VALUES ($1, 'x')",
        ]),
        format in 0..2_u8,
        oid in proptest::sample::select(vec![0_u32, 17, 25, 1043, 3802]),
        says in 1..6_usize,
        is_named: bool,
        wants_messages: bool,
    ) {
        let name: &[u8] = if is_named { b"s\0" } else { b"\0" };
        let parse = message(b'P', &[name, sql.as_bytes(), b"\0\0\x01", &oid.to_be_bytes()].concat());
        let bind = message(b'B', &[b"\0", name, &[0, 1, 0, format, 0, 1], &sized(core.as_bytes()), &[0, 0]].concat());
        let execute = [bind, message(b'D', b"P\0"), message(b'E', &[0; 5]), message(b'S', b"")].concat();
        let text = repeated(&core, &core, says);
        let error = message(b'E', &[b"SERROR\0VERROR\0C22P02\0M", text.as_bytes(), b"\0W", text.as_bytes(), b"\0\0"].concat());
        let ready = message(b'Z', b"I");
        let column = [&[0, 1][..], b"c\0", &[0; 6], &25_u32.to_be_bytes(), &[0xff; 6], &[0, 0]].concat();
        let row = message(b'D', &[&[0, 1][..], &sized(core.as_bytes())].concat());
        let rows = [message(b'2', b""), message(b'T', &column), row, message(b'C', b"SELECT 1\0"), ready.clone()];
        let turns = session("18.4", [
            (From::Client, [parse, message(b'S', b"")].concat()),
            (From::Server, [message(b'1', b""), ready.clone()].concat()),
            (From::Client, execute.clone()),
            (From::Server, [message(b'2', b""), error.clone(), ready.clone()].concat()),
            (From::Client, execute),
            (From::Server, rows.concat()),
            (From::Client, message(b'Q', b"SELECT f()\0")),
            (From::Server, [error, ready].concat()),
        ]);
        let mut config = config(Redaction::Secrets);
        config.records.messages = wants_messages;
        let lines = written(&packets_of(&turns), config).to_ascii_lowercase();
        prop_assert!(!shows(&lines, &core.to_ascii_lowercase()), "{}\n{}", sql, lines);
    }
}

#[test]
fn a_password_is_masked_in_what_refuses_it() {
    let fatal = b"SFATAL\0VFATAL\0C28P01\0Mthe directory does not know \"hunter2-hunter2\"\0\0";
    let turns = vec![
        (From::Client, startup()),
        (From::Server, message(b'R', &3_u32.to_be_bytes())),
        (From::Client, message(b'p', b"hunter2-hunter2\0")),
        (From::Server, message(b'E', fatal)),
    ];
    let output = captures::dissect_packets(&packets_of(&turns), captures::everything());
    let written = output.lines.join("\n");
    assert!(!written.contains("hunter2") && written.contains(r#"does not know \"***\""#), "{written}");
}

/// Creates a StartupMessage with these parameters in addition to the user.
fn startup_with(parameters: &[(&str, &str)]) -> Vec<u8> {
    let pairs: String = parameters.iter().map(|(name, value)| format!("{name}\0{value}\0")).collect();
    let body = [&196_608_u32.to_be_bytes()[..], b"user\0app\0", pairs.as_bytes(), b"\0"].concat();
    [&u32::try_from(body.len() + 4).unwrap().to_be_bytes()[..], &body].concat()
}

/// Secrets in the startup of a session are masked if the server repeats them, at once or later.
#[test]
fn secrets_of_the_start_of_a_session_are_masked_where_they_come_again() {
    let secret = "Zq7KnownOnce";
    let uri = format!("postgres://u:{secret}@h/db");
    let options = format!("-c search_path=a -c app.token={secret}\\ x");
    for parameters in [
        [("app.token", secret)],
        [("options", &*options)],
        [("database", &*uri)],
        [("application_name", &*format!("host=h password={secret}"))],
        [("access_key", secret)],
    ] {
        let said =
            [b"SFATAL\0VFATAL\0C22023\0Mno \"", secret.as_bytes(), b"\"\0D", secret.as_bytes(), b"\0\0"].concat();
        let told = [
            message(b'R', &[0; 4]),
            message(b'N', &[b"SNOTICE\0VNOTICE\0C00000\0M", uri.as_bytes(), b"\0\0"].concat()),
            message(b'S', &[b"app.shown\0", secret.as_bytes(), b"\0"].concat()),
            message(b'S', &[b"application_name\0", secret.as_bytes(), b"\0"].concat()),
            message(b'Z', b"I"),
        ];
        let later = [
            message(b'A', &[b"\0\0\0\x01c\0x ", secret.as_bytes(), b"\0"].concat()),
            message(b'E', &said),
            message(b'Z', b"I"),
        ];
        let turns = [
            (From::Client, startup_with(&parameters)),
            (From::Server, told.concat()),
            (From::Client, message(b'Q', b"SELECT 1\0")),
            (From::Server, later.concat()),
        ];
        let lines = assert_masked(&packets_of(&turns), secret);
        assert_eq!(of_type(&lines, "ErrorResponse")[0]["body"]["message"], "no \"***\"");
        assert_eq!(of_type(&lines, "NotificationResponse")[0]["body"]["payload"], "x ***");
        let refused = [(From::Client, startup_with(&parameters)), (From::Server, message(b'E', &said))];
        let refused = packets_of(&refused);
        assert_masked(&refused, secret);
        // Also if its end is cut off.
        let begins = memchr::memmem::find(&startup_with(&parameters), secret.as_bytes()).unwrap() - 4;
        for max_message in begins..begins + secret.len() {
            let config = Config { max_message, ..config(Redaction::Secrets) };
            assert!(!shows(&written(&refused, config), secret), "{parameters:?} cut at {max_message}");
        }
    }
}

/// Tokens with which a client authenticates are masked in the rejection.
#[test]
fn tokens_are_masked_in_what_refuses_them() {
    let secret = "SeCrEtToKeN";
    for (mechanism, response) in [
        ("OAUTHBEARER", format!("n,a=app,\x01host=h\x01port=1\x01auth=Bearer {secret}\x01\x01")),
        ("PLAIN", format!("\0app\0{secret}")),
    ] {
        let initial = [mechanism.as_bytes(), b"\0", &sized(response.as_bytes())].concat();
        let asked = [&10_u32.to_be_bytes()[..], mechanism.as_bytes(), b"\0\0"].concat();
        let fatal = [b"SFATAL\0VFATAL\0C28000\0Mapp is not ", secret.as_bytes(), b"\0\0"].concat();
        let turns = [
            (From::Client, startup()),
            (From::Server, message(b'R', &asked)),
            (From::Client, message(b'p', &initial)),
            (From::Server, message(b'E', &fatal)),
        ];
        let lines = assert_masked_when_cut(&packets_of(&turns), secret);
        assert_eq!(of_type(&lines, "ErrorResponse")[0]["body"]["message"], "app is not ***");
    }
}

/// A payload is masked for all listeners.
#[test]
fn payloads_of_notifications_are_masked() {
    let notified = [
        message(b'A', b"\0\0\0\x01c\0host=h password=hunter2-hunter2 port=1\0"),
        message(b'A', b"\0\0\0\x01c\0{\"url\": \"postgres://u:hunter2-hunter2@h/db\"}\0"),
    ];
    let lines = assert_masked(&packets_of(&session("18.0", [(From::Server, notified.concat())])), "hunter2");
    let payloads: Vec<_> =
        of_type(&lines, "NotificationResponse").iter().map(|line| &line["body"]["payload"]).collect();
    assert_eq!(payloads, ["host=h password=*** port=1", r#"{"url": "postgres://u:***@h/db"}"#]);
}

/// Rows of many values in reply to a request with many secrets are searched as a whole, which takes no longer than for other
/// rows.
#[test]
fn rows_of_many_values_are_searched_for_many_secrets_at_once() {
    let sql: String = (0..64).map(|n| format!("ALTER ROLE u PASSWORD 'secret{n}';")).collect();
    let row = |value: &[u8]| message(b'D', &[&4_000_u16.to_be_bytes()[..], &sized(value).repeat(4_000)].concat());
    let query = (From::Client, message(b'Q', &[sql.as_bytes(), b"\0"].concat()));
    let rows = [(&b""[..], 50), (b"secret", 50), (b"secret7", 20)];
    let rows = rows.into_iter().flat_map(|(value, times)| vec![(From::Server, row(value)); times]);
    let turns = session("18.0", [query].into_iter().chain(rows));
    let packets = packets_of(&turns);
    let begun = std::time::Instant::now();
    let lines = written(&packets, config(Redaction::Secrets));
    let masked = begun.elapsed();
    assert_eq!(lines.matches("\"***\"").count(), 80_000);
    let begun = std::time::Instant::now();
    written(&packets, config(Redaction::Nothing));
    assert!(masked < 10 * begun.elapsed() + std::time::Duration::from_secs(1), "{masked:?}");
}

/// The reason why a client aborts COPY may contain a secret, which the server repeats.
#[test]
fn secrets_in_the_reason_of_copyfail_are_masked() {
    let reason = b"a;password=hunter2-hunter2";
    let error = [b"SERROR\0VERROR\0C57014\0MCOPY from stdin failed: ", &reason[..], b"\0\0"].concat();
    let turns = session(
        "18.0",
        [
            (From::Client, message(b'Q', b"COPY t FROM STDIN\0")),
            (From::Server, message(b'G', &[0, 0, 1, 0, 0])),
            (From::Client, message(b'f', &[&reason[..], b"\0"].concat())),
            (From::Server, [message(b'E', &error), message(b'Z', b"I")].concat()),
        ],
    );
    let lines = assert_masked(&packets_of(&turns), "hunter2");
    assert_eq!(of_type(&lines, "CopyFail")[0]["body"], json!({ "message": "***" }));
    assert_eq!(of_type(&lines, "ErrorResponse")[0]["body"]["message"], "COPY from stdin failed: a;password=***");
}
