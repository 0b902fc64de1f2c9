//! Tests of features of one format, and of values that cannot be decoded. `tests/integration/oracles/values.rs` tests that both
//! formats agree, with values of real servers.

use super::*;

fn session(parameters: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::default();
    for (name, value) in parameters {
        settings.parameter(name.as_bytes(), value.as_bytes());
    }
    settings
}

fn oid(name: &str) -> u32 {
    (0..10_000).find(|oid| type_name(*oid) == Some(name)).unwrap()
}

fn json(type_name: &str, format: Format, bytes: &[u8], settings: &Settings) -> String {
    serde_json::to_string(&TypedValue {
        type_oid: oid(type_name),
        format,
        bytes,
        settings,
        encoding: settings.encoding(),
    })
    .unwrap()
}

#[track_caller]
fn assert_text(type_name: &str, settings: &[(&str, &str)], expected: &[(&str, &str)]) {
    let settings = session(settings);
    for (text, expected) in expected {
        assert_eq!(json(type_name, Format::Text, text.as_bytes(), &settings), *expected, "{type_name} {text}");
    }
}

#[test]
fn types_are_named_as_in_the_catalog() {
    assert_eq!(type_name(23), Some("int4"));
    assert_eq!(type_name(1009), Some("_text"));
    assert_eq!(type_name(6157), Some("_int8multirange"));
    // Those assigned by initdb differ between servers.
    assert_eq!((10_000..100_000).find_map(type_name), None);
}

#[test]
fn what_clients_write_is_understood_as_a_server_would_or_stays_text() {
    let other = |text: &str| format!("{text:?}");
    assert_text("bool", &[], &[("TRUE", "true"), ("y", "true"), ("oN", "true"), (" 0 ", "false"), ("of", "false")]);
    assert_text("bool", &[], &[("o", r#""o""#), ("", r#""""#), ("truely", r#""truely""#), ("2", r#""2""#)]);
    assert_text(
        "int2",
        &[],
        &[("+7", "7"), (" 7 ", "7"), ("32768", r#""32768""#), ("7.0", r#""7.0""#), ("0x1F", r#""0x1F""#)],
    );
    assert_text(
        "float8",
        &[],
        &[("1e400", r#""1e400""#), ("1e-400", r#""1e-400""#), ("0e5", "0.0"), ("inf", r#""Infinity""#), (".5", "0.5")],
    );
    assert_text("uuid", &[], &[("{A0EEBC99-9C0B4EF8BB6D6BB9BD380A11}", r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#)]);
    assert_text("uuid", &[], &[("a0eebc99", &other("a0eebc99"))]);
    assert_text(
        "bytea",
        &[],
        &[("\\xDEad", r#""\\xdead""#), ("\\xabc", r#""\\xabc""#), ("a\\400", r#""a\\400""#), ("\\", r#""\\""#)],
    );
    let iso = [("DateStyle", "ISO, MDY"), ("TimeZone", "Europe/Berlin")];
    assert_text(
        "timestamptz",
        &iso,
        &[
            ("2024-07-02T03:04:05.678Z", r#""2024-07-02T03:04:05.678Z""#),
            ("2024-07-02T03:04:05-0330", r#""2024-07-02T06:34:05Z""#),
            ("2024-07-02 03:04", r#""2024-07-02T01:04:00Z""#),
            ("2024-07-02", r#""2024-07-01T22:00:00Z""#),
            ("7/2/2024 03:04 CEST", r#""2024-07-02T01:04:00Z""#),
        ],
    );
    for text in [
        "2024-03-31 02:30",           // no such time
        "2024-10-27 02:30",           // ambiguous
        "2024-07-02 03:04 CET",       // not at that time
        "2024-07-02 03:04 PST",       // not in that zone
        "2024-07-02 03:04 America/X", // not an abbreviation
        "2024-02-30",
        "2024-07-02 24:01",
        "2024-07-02 03:04:05.1234567",
        "24-07-02",
        "now",
        "",
    ] {
        assert_text("timestamptz", &iso, &[(text, &other(text))]);
    }
}

#[test]
fn what_depends_on_a_setting_is_not_guessed() {
    assert_text("date", &[], &[("07/02/2024", r#""07/02/2024""#), ("02.07.2024", r#""2024-07-02""#)]);
    assert_text("date", &[("datestyle", "sql, dmy")], &[("07/02/2024", r#""2024-02-07""#)]);
    assert_text("date", &[("DateStyle", "Postgres, MDY")], &[("07-02-2024 BC", r#""-002023-07-02""#)]);
    assert_text("timestamptz", &[], &[("2024-07-02 03:04 CEST", r#""2024-07-02 03:04 CEST""#)]);
    assert_text("timestamptz", &[], &[("2024-07-02 03:04 UTC", r#""2024-07-02T03:04:00Z""#)]);
    let ambiguous = "-3 04:05:06";
    assert_text("interval", &[], &[(ambiguous, r#""-3 04:05:06""#)]);
    assert_text("interval", &[("IntervalStyle", "sql_standard")], &[(ambiguous, r#""P-3DT-4H-5M-6S""#)]);
    assert_text("interval", &[("IntervalStyle", "postgres")], &[(ambiguous, r#""P-3DT4H5M6S""#)]);
    for other in ["", "@", "P", "PT", "P1", "1", "1-", "-1 day ago x", "P1H", "1 fortnight", "4:61", "P99999999999Y"] {
        assert_text("interval", &[], &[(other, &format!("{other:?}"))]);
    }
}

#[test]
fn the_longest_interval_is_whole() {
    let (months, days, micros) = (-2_147_483_639_i32, i32::MIN, -9_223_372_036_799_999_999_i64);
    let bytes = [&micros.to_be_bytes()[..], &days.to_be_bytes(), &months.to_be_bytes()].concat();
    let longest = r#""P-178956969Y-11M-2147483648DT-2562047787H-59M-59.999999S""#;
    assert_eq!(json("interval", Format::Binary, &bytes, &Settings::default()), longest);
}

#[test]
fn money_is_read_where_it_has_two_decimals() {
    let minor = |amount: i64| format!(r#"{{"minor_units":{amount}}}"#);
    assert_text("money", &[], &[("$1,234.56", &minor(123_456)), ("-$0.05", &minor(-5)), ("($1.00)", &minor(-100))]);
    assert_text("money", &[], &[("1.234,56 €", &minor(123_456)), ("$5", r#""$5""#), ("¥1,234", r#""¥1,234""#)]);
}

#[test]
fn json_is_itself_unless_a_reader_would_refuse_it() {
    assert_text("json", &[], &[(" [ 1.50 , \"a  b\" ,\n{\"k\":1e5} ] ", r#"[1.50,"a  b",{"k":1e5}]"#)]);
    assert_text("json", &[], &[("123456789012345678901234567890.10", "123456789012345678901234567890.10")]);
    assert_text("json", &[], &[(r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#), (r#""\\" "#, r#""\\""#)]);
    assert_text("json", &[], &[("\"\u{7f}\u{9b} \"", r#""\u007f\u009b ""#)]);
    assert_text("json", &[], &[("1e400", r#""1e400""#), (r#""\ud800""#, r#""\"\\ud800\"""#), ("{", r#""{""#)]);
    let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_text("json", &[], &[(&deep(100), &deep(100)), (&deep(101), &format!("{:?}", deep(101)))]);
    let settings = Settings::default();
    assert_eq!(json("jsonb", Format::Binary, b"\x01{}", &settings), "{}");
    assert_eq!(json("jsonb", Format::Binary, b"\x02{}", &settings), r#""\\x027b7d""#);
}

#[test]
fn arrays_have_their_lower_bounds() {
    assert_text("_int4", &[], &[("[0:1][-2:-2]={{1},{NULL}}", r#"{"lower_bounds":[0,-2],"values":[[1],[null]]}"#)]);
    assert_text("_int4", &[], &[("{ 1 , 2 }", "[1,2]"), ("{}", "[]"), ("{x,1}", r#"["x",1]"#)]);
    assert_text("_text", &[], &[(r#"{NULL,"NULL","","a\"b\\"}"#, r#"[null,"NULL","","a\"b\\"]"#)]);
    assert_text("_box", &[], &[("{(2,2),(1,1);(4,4),(3,3)}", r#"["(2,2),(1,1)","(4,4),(3,3)"]"#)]);
    for other in
        ["", "{", "}", "{1}}", "{1,}", "{,1}", "{1 2\"}", "{{{{{{{1}}}}}}}", "[0:1]={{1,2}}", "{1}x", "[1:0]={}"]
    {
        assert_text("_int4", &[], &[(other, &format!("{other:?}"))]);
    }
}

#[test]
fn an_element_that_does_not_parse_affects_only_itself() {
    let array = b"\0\0\0\x01\0\0\0\0\0\0\0\x17\0\0\0\x03\0\0\0\x01\0\0\0\x04\0\0\0\x07\0\0\0\x01\xff\xff\xff\xff\xff";
    let settings = Settings::default();
    assert_eq!(json("_int4", Format::Binary, array, &settings), r#"[7,"\\xff",null]"#);
    // The array claims more elements than there are bytes.
    let array = b"\0\0\0\x02\0\0\0\0\0\0\0\x17\x7f\xff\xff\xff\0\0\0\x01\x7f\xff\xff\xff\0\0\0\x01";
    assert!(json("_int4", Format::Binary, array, &settings).starts_with(r#""\\x"#));
}

#[test]
fn fields_of_a_record_have_types_in_binary_format_alone() {
    assert_text("record", &[], &[(r#"(1,,"","a ""b"" \\")"#, r#"["1",null,"","a \"b\" \\"]"#), ("(1", r#""(1""#)]);
    let record = b"\0\0\0\x02\0\0\0\x17\0\0\0\x04\0\0\0\x01\0\0\0\x19\xff\xff\xff\xff";
    assert_eq!(json("record", Format::Binary, record, &Settings::default()), "[1,null]");
}

#[test]
fn ranges_that_are_none_stay_text() {
    assert_text(
        "int4range",
        &[],
        &[("[1,2)", r#"{"lower":1,"upper":2,"bounds":"[)"}"#), ("empty", r#"{"empty":true}"#)],
    );
    assert_text(
        "int4multirange",
        &[],
        &[
            ("{}", "[]"),
            ("{[1,2),(,)}", r#"[{"lower":1,"upper":2,"bounds":"[)"},{"lower":null,"upper":null,"bounds":"()"}]"#),
        ],
    );
    for other in ["", "[1,2", "[1)", "1,2", "[1,2)x"] {
        assert_text("int4range", &[], &[(other, &format!("{other:?}"))]);
        assert_text("int4multirange", &[], &[(other, &format!("{other:?}"))]);
    }
}

#[test]
fn few_bytes_do_not_become_many_digits() {
    let numeric = |bytes: &[u8]| json("numeric", Format::Binary, bytes, &Settings::default());
    assert_eq!(numeric(b"\0\x01\0\x64\0\0\0\0\0\x01").len(), 2 + 401, "1 and zeros");
    assert_eq!(numeric(b"\0\x01\0\x65\0\0\0\0\0\x01"), r#""\\x00010065000000000001""#);
    assert_eq!(numeric(b"\0\0\0\0\0\0\x01\x8c").len(), 2 + 2 + 396, "zero, and its scale");
    assert_eq!(numeric(b"\0\0\x7f\xff\0\0\x3f\xff"), r#""\\x00007fff00003fff""#);
}

#[test]
fn text_that_is_none_is_hex_and_nothing_is_replaced() {
    let settings = Settings::default();
    assert_eq!(json("text", Format::Text, b"na\xefve", &settings), r#"{"hex":"6e61ef7665"}"#);
    assert_eq!(json("text", Format::Binary, b"na\xefve", &settings), r#"{"hex":"6e61ef7665"}"#);
    assert_eq!(json("int4", Format::Text, b"\xff", &settings), r#"{"hex":"ff"}"#);
    assert_eq!(
        json("text", Format::Text, b"na\xefve\x80", &session(&[("client_encoding", "latin-1")])),
        "\"naïve\u{80}\""
    );
    assert_eq!(
        json("text", Format::Text, b"\xa6 \xc6\xa1", &session(&[("client_encoding", "BIG5")])),
        r#"{"hex":"a620c6a1"}"#
    );
}

#[test]
fn a_person_sees_what_stands_without_quotes_and_what_needs_them() {
    let settings = Settings::default();
    let shown = |name, format, bytes| {
        let type_oid = if name == "an enum" { 99_999 } else { oid(name) };
        TypedValue { type_oid, format, bytes, settings: &settings, encoding: settings.encoding() }.shown()
    };
    assert_eq!(shown("int4", Format::Binary, &[0, 0, 0, 42]), Shown::Plain("42".into()));
    assert_eq!(shown("numeric", Format::Text, b"1.50"), Shown::Plain("1.50".into()));
    assert_eq!(shown("numeric", Format::Binary, b"\0\0\0\0\xc0\0\0\0"), Shown::Text("NaN".into()));
    assert_eq!(shown("text", Format::Text, b"it's"), Shown::Text("it's".into()));
    assert_eq!(shown("date", Format::Binary, &[0, 0, 0, 0]), Shown::Text("2000-01-01".into()));
    assert_eq!(shown("_bool", Format::Text, b"{t,NULL}"), Shown::Plain("[true,null]".into()));
    assert_eq!(shown("an enum", Format::Binary, b"\0"), Shown::Bytes(b"\0".into()));
    assert_eq!(shown("an enum", Format::Text, b"\xff"), Shown::Undecodable(b"\xff"));
}
