//! The contract of the lines, checked for every line of the captures.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use jsonschema::Validator;
use pgdissect::record::{KernelStats, StatsRecord};
use pgdissect::{Config, Packet, Record, Redaction, record};
use serde_json::{Value, json};

use crate::captures::{self, Output};
use crate::strict;

/// The schema, with unknown fields forbidden.
static STRICT_SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let mut schema = serde_json::to_value(record::schema()).unwrap();
    close_objects(&mut schema);
    jsonschema::validator_for(&schema).expect("the schema is a schema")
});

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::to_value(record::schema()).unwrap();
    jsonschema::validator_for(&schema).expect("the schema is a schema")
});

/// Forbids unknown fields in each schema of an object with named fields. The fields of a line itself are defined by several
/// schemas together, so only their union determines which fields are unknown.
fn close_objects(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            // A schema, rather than the fields of an object, where "properties" would be a field name.
            if object.get("oneOf").is_some() && object.contains_key("$schema") {
                object.insert("unevaluatedProperties".to_owned(), false.into());
            }
            // Its fields are those of another as well.
            if object.contains_key("$ref") && object.contains_key("properties") {
                object.insert("unevaluatedProperties".to_owned(), false.into());
            }
            for (key, inner) in object.iter_mut() {
                match key.as_str() {
                    "properties" | "$defs" => {
                        for (name, field) in inner.as_object_mut().unwrap() {
                            close_fields(key, name, field);
                        }
                    }
                    "oneOf" | "anyOf" | "allOf" | "items" | "additionalProperties" => close_objects(inner),
                    _ => {}
                }
            }
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(close_objects),
        _ => {}
    }
}

fn close_fields(key: &str, name: &str, schema: &mut Value) {
    close_objects(schema);
    const PARTS: [&str; 3] = ["CreateReplicationSlot", "StartReplication", "BaseBackup"];
    let is_part = key == "$defs" && (name.ends_with("Record") || PARTS.contains(&name));
    if let Some(object) = schema.as_object_mut()
        && object.contains_key("properties")
        && !is_part
    {
        object.insert("unevaluatedProperties".to_owned(), false.into());
    }
}

/// Checks a line. Describes what is wrong with it.
pub(crate) fn check_line(line: &str) -> Result<Value, String> {
    if line.chars().any(char::is_control) {
        return Err("a control character stands raw".to_owned());
    }
    if !line.starts_with("{\"event\":\"") {
        return Err("`event` is not the first field".to_owned());
    }
    let value = strict::parse(line).map_err(|error| error.to_string())?;
    if let Err(error) = STRICT_SCHEMA.validate(&value) {
        return Err(format!("{error}"));
    }
    Ok(value)
}

/// Checks all lines of an output.
pub(crate) fn check(output: &Output, of: &str) {
    let mut last_seq: HashMap<u64, u64> = HashMap::new();
    let mut ends: HashMap<u64, (Value, Value)> = HashMap::new();
    for line in &output.lines {
        let value = check_line(line).unwrap_or_else(|error| panic!("{of}: {error}\n{line:.2000}"));
        let conn = value["conn"].as_u64().unwrap();
        let of_this = (value["client"].clone(), value["server"].clone());
        let first = ends.entry(conn).or_insert_with(|| of_this.clone());
        assert_eq!(*first, of_this, "{of}: the ends of a connection stay the same\n{line}");
        if value["event"] == "query" || value["event"] == "session" {
            for (joined, ip, port) in [("client", "client_ip", "client_port"), ("server", "server_ip", "server_port")] {
                let ip: IpAddr = value[ip].as_str().unwrap().parse().unwrap();
                let port = u16::try_from(value[port].as_u64().unwrap()).unwrap();
                assert_eq!(
                    value[joined],
                    SocketAddr::new(ip, port).to_string(),
                    "{of}: the parts are those of `{joined}`"
                );
            }
        }
        if value["event"] == "message" {
            let seq = last_seq.entry(conn).or_default();
            *seq += 1;
            assert_eq!(value["seq"], *seq, "{of}: messages are counted\n{line}");
        }
    }
    // A connection has its number from its first byte on, which need not cause a line at once.
    assert_eq!(output.counters.connections, ends.len() as u64, "{of}: every connection that is counted has a line");
    assert!(ends.keys().all(|conn| (1..=output.counters.connections).contains(conn)), "{of}: connections are counted");
    assert_eq!(output.counters.messages, last_seq.values().sum::<u64>(), "{of}: every message has its line");
    let losses = output.lines.iter().filter(|line| line.starts_with("{\"event\":\"loss\"")).count() as u64;
    assert_eq!(output.counters.losses, losses, "{of}: every loss has its line");
}

#[test]
fn every_line_of_every_capture_keeps_the_contract() {
    for name in captures::all() {
        let (packets, _) = captures::packets(&[captures::testdata().join(&name)]);
        let output = captures::dissect_packets(&packets, captures::everything());
        check(&output, &name);
        let mut appeared = 0;
        for line in output.values() {
            let conn = line["conn"].as_u64().unwrap();
            assert!(conn <= appeared + 1, "{name}: connections are counted in order of appearance\n{line}");
            appeared = appeared.max(conn);
        }
    }
}

#[test]
fn every_line_keeps_the_contract_where_messages_are_truncated_and_secrets_shown() {
    for name in captures::all() {
        let (packets, _) = captures::packets(&[captures::testdata().join(&name)]);
        for max_message in [0, 1, 7, 40] {
            let redaction = if max_message == 40 { Redaction::Nothing } else { Redaction::Secrets };
            let config = Config { max_message, redaction, ..captures::everything() };
            check(&captures::dissect_packets(&packets, config), &name);
        }
    }
}

#[test]
fn every_line_keeps_the_contract_where_the_ports_are_not_known() {
    for name in captures::all() {
        let (packets, _) = captures::packets(&[captures::testdata().join(&name)]);
        check(&captures::dissect_packets(&packets, Config { ports: None, ..Config::default() }), &name);
    }
}

#[test]
fn the_line_of_counters_keeps_the_contract() {
    let counters = captures::dissect_one("tcp/snaplen.pcap").counters;
    assert!(counters.missing_bytes > 0);
    let kernel = KernelStats { received: 3, dropped: 2, interface_dropped: 1 };
    let with_all = StatsRecord { ts: Some(Default::default()), counters, kernel: Some(kernel) };
    for stats in [with_all, StatsRecord::default()] {
        let line = captures::line(&Record::Stats(stats.clone()));
        let value = check_line(&line).unwrap();
        assert_eq!(value["event"], "stats");
        assert_eq!(value["kernel"].is_object(), stats.kernel.is_some());
    }
}

#[test]
fn wrong_lines_are_found() {
    let output = captures::dissect_one("extended-query/capture.pcap");
    let bind = output.lines.iter().find(|line| line.contains(r#""type":"Bind""#)).unwrap();
    let good = check_line(bind).unwrap();
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 13] = [
        ("an unknown field of the line", |line| line["surprise"] = json!(1)),
        ("an unknown field of a body", |line| line["body"]["surprise"] = json!(1)),
        ("a field of another message", |line| line["body"]["command_tag"] = json!("x")),
        ("an unknown event", |line| line["event"] = json!("massage")),
        ("an unknown type", |line| line["type"] = json!("Blind")),
        ("a direction in words", |line| line["dir"] = json!("frontend")),
        ("a number as text", |line| line["seq"] = json!("1")),
        ("a negative length", |line| line["len"] = json!(-1)),
        ("an unknown flag", |line| line["flags"] = json!(["odd"])),
        ("an empty list of flags", |line| line["flags"] = json!([])),
        ("values that are no list", |line| line["body"]["parameter_values"] = json!(true)),
        ("a time of no precision", |line| line["ts"] = json!("2026-11-22")),
        ("a body that is no object", |line| line["body"] = json!("x")),
    ];
    for (what, change) in changes {
        let mut line = good.clone();
        change(&mut line);
        assert!(STRICT_SCHEMA.validate(&line).is_err(), "{what} is taken for right");
    }
    for field in ["event", "ts", "conn", "client", "server", "dir", "seq", "packet", "len", "type"] {
        let mut line = good.clone();
        line.as_object_mut().unwrap().remove(field).unwrap();
        assert!(SCHEMA.validate(&line).is_err(), "{field} can be left out");
    }
    let mut loss = json!({
        "event": "loss", "ts": good["ts"], "conn": 1, "client": "c", "server": "s", "packet": 1, "reason": "missing",
    });
    assert!(STRICT_SCHEMA.validate(&loss).is_ok());
    loss["reason"] = json!("lost");
    assert!(STRICT_SCHEMA.validate(&loss).is_err());
    assert!(check_line("{\"event\":\"message\",\"event\":\"message\"}").unwrap_err().contains("twice"));
    assert!(check_line("{\"event\":\"\u{9b}\"}").unwrap_err().contains("control"));
    assert!(check_line("{\"ts\":\"\",\"event\":\"message\"}").unwrap_err().contains("first"));
}

#[test]
fn fields_may_be_added_without_breaking_those_who_validate() {
    let output = captures::dissect_one("auth-trust/capture.pcap");
    let mut line = output.values().remove(0);
    line["added_later"] = json!(1);
    assert!(SCHEMA.validate(&line).is_ok());
}

/// The secrets in captures: texts that must not be written, not even in part.
const SECRETS: &[(&str, &[&str])] = &[
    ("auth-password-ok", &["pw-clear-secret"]),
    ("auth-password-wrong", &["not-the-password"]),
    ("auth-md5-ok", &["pw-md5-secret", "md5"]),
    ("auth-md5-wrong", &["md5"]),
    (
        "auth-scram-ok",
        &[
            "pw-scram-secret",
            "D4THKvUZ2Tzjs4IIHclyWkhdVeU9yDuIE0dwN/cciEI=",
            "bOjPk6x6548vatvfrTv9Cl19Kw3GNB53HfSrfLlBvqI=",
        ],
    ),
    ("auth-scram-wrong", &["p="]),
    ("sqlcommenter", &["pw-in-a-comment"]),
];

#[test]
fn secrets_are_never_written() {
    for (folder, secrets) in SECRETS {
        let name = format!("{folder}/capture.pcap");
        let (packets, _) = captures::packets(&[captures::testdata().join(&name)]);
        let on_the_wire: Vec<u8> = packets.iter().flat_map(|packet| packet.data.clone()).collect();
        let hidden = captures::dissect_packets(&packets, captures::everything()).lines.join("\n");
        for max_message in [0, 3, 10, 30] {
            let config = Config { max_message, ..captures::everything() };
            let cut = captures::dissect_packets(&packets, config).lines.join("\n");
            for secret in secrets.iter().filter(|secret| secret.len() > 3) {
                assert!(!cut.contains(secret), "{name}: {secret} is written where messages are truncated");
            }
        }
        for secret in *secrets {
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            if folder.starts_with("auth-password") || secret.contains('=') || *secret == "md5" {
                let found = on_the_wire.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(found, "{name}: {secret} is on the wire");
            }
            // "md5" itself occurs in field names; the hash follows it on the wire.
            if *secret == "md5" {
                let is_hash = |window: &&[u8]| {
                    window.starts_with(b"md5") && window[3..].iter().all(|byte| byte.is_ascii_hexdigit())
                };
                let hash = on_the_wire.windows(35).find(is_hash).expect("a hash is on the wire");
                let hash = std::str::from_utf8(hash).unwrap();
                assert!(!hidden.contains(&hash[3..]), "{name}: the hash is written");
            } else if *secret == "p=" {
                let at = on_the_wire.windows(3).position(|window| window == b",p=").unwrap();
                let proof = std::str::from_utf8(&on_the_wire[at + 3..at + 3 + 43]).unwrap();
                assert!(!hidden.contains(proof), "{name}: the proof is written");
            } else {
                assert!(!hidden.contains(secret) && !hidden.contains(&hex), "{name}: {secret} is written");
            }
        }
    }
}

#[test]
fn cancel_keys_are_never_written() {
    let mut keys = 0;
    for name in captures::all() {
        let (packets, _) = captures::packets(&[captures::testdata().join(&name)]);
        let shown =
            captures::dissect_packets(&packets, Config { redaction: Redaction::Nothing, ..captures::everything() });
        let hidden = captures::dissect_packets(&packets, captures::everything());
        let hidden_text = hidden.lines.join("\n");
        for (shown, hidden) in shown.values().iter().zip(hidden.values()) {
            if let Some(key) = shown["body"]["secret_key"].as_str() {
                assert!(key.starts_with("\\x") && key.len() >= 10, "{key}");
                assert_eq!(hidden["body"]["secret_key"], "***");
                assert!(!hidden_text.contains(&key[2..]), "{name}: the key is written");
                keys += 1;
            }
        }
    }
    assert!(keys > 50, "there are keys in the captures");
}

#[test]
fn secrets_are_written_where_they_are_asked_for() {
    let of = |name: &str, kind: &str| {
        let (packets, _) = captures::packets(&[captures::testdata().join(name)]);
        let output =
            captures::dissect_packets(&packets, Config { redaction: Redaction::Nothing, ..captures::everything() });
        output.messages().into_iter().find(|line| line["type"] == kind).expect("the message is there")
    };
    let password = of("auth-password-ok/capture.pcap", "PasswordMessage");
    assert_eq!(password["body"]["password"], "pw-clear-secret");
    let hash = of("auth-md5-ok/capture.pcap", "PasswordMessage");
    assert!(hash["body"]["password"].as_str().unwrap().starts_with("md5"));
}

#[test]
fn messages_by_name_are_those_of_the_schema() {
    let schema = serde_json::to_string(&record::schema()).unwrap();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for name in captures::all() {
        for message in captures::dissect_one(&name).messages() {
            *seen.entry(message["type"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    for kind in pgdissect::Message::NAMES {
        assert!(schema.contains(&format!("\"{kind}\"")), "{kind} is in the schema");
    }
    // What the captures do not have: other kinds of authentication.
    let without: Vec<_> = pgdissect::Message::NAMES.iter().filter(|kind| !seen.contains_key(**kind)).collect();
    assert!(without.len() <= 11, "the captures lack {without:?}");
}

#[test]
fn a_packet_without_bytes_is_counted_and_results_in_no_lines() {
    let mut bench = captures::Bench::new(captures::everything());
    bench.packet(&Packet {
        ts: Default::default(),
        link: pgdissect::LinkType::ETHERNET,
        data: &[],
        orig_len: 0,
        interface: 0,
    });
    let output = bench.finish();
    assert_eq!((output.lines.len(), output.counters.damaged_packets), (0, 1));
}

/// Returns the JSON types in the schema for each field name.
fn types_of_names() -> BTreeMap<String, BTreeSet<String>> {
    fn types(schema: &Value, root: &Value) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        if let Some(reference) = schema["$ref"].as_str() {
            found.extend(types(root.pointer(reference.trim_start_matches('#')).unwrap(), root));
        }
        match &schema["type"] {
            Value::String(one) => drop(found.insert(one.clone())),
            Value::Array(several) => found.extend(several.iter().map(|one| one.as_str().unwrap().to_owned())),
            _ => {}
        }
        let constants = schema["enum"].as_array().into_iter().flatten().chain(schema.get("const"));
        found.extend(
            constants.map(|constant| if constant.is_string() { "string".to_owned() } else { format!("{constant}") }),
        );
        let is_text_or_hex = |schema: &Value| schema["properties"].get("hex").is_some();
        for of in ["anyOf", "oneOf", "allOf"] {
            let alternatives = schema[of].as_array().into_iter().flatten().filter(|schema| !is_text_or_hex(schema));
            found.extend(alternatives.flat_map(|schema| types(schema, root)));
        }
        found
    }
    fn walk(schema: &Value, root: &Value, found: &mut BTreeMap<String, BTreeSet<String>>) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let mut types = types(property, root);
            // Absent fields are not null; and a number that a double cannot represent is a string.
            types.remove("null");
            let is_number = types.contains("number") || types.contains("integer");
            found.entry(name.clone()).or_default().extend(if is_number { ["number".to_owned()].into() } else { types });
        }
        match schema {
            Value::Object(members) => members.values().for_each(|member| walk(member, root, found)),
            Value::Array(items) => items.iter().for_each(|item| walk(item, root, found)),
            _ => {}
        }
    }
    let schema = serde_json::to_value(record::schema()).unwrap();
    let mut found = BTreeMap::new();
    walk(&schema, &schema, &mut found);
    found
}

#[test]
fn a_name_has_one_type_and_is_not_a_keyword_of_jq() {
    // Values have the JSON type of their content, and are described by an object if they are redacted. `query` is a number,
    // except for the text to which the protocol gives this name; `errors` is a number, except for the section of a summary. Rows
    // of changes are objects, and arrays where the names of their columns are not known.
    const EXEMPT: &[&str] = &[
        "errors",
        "data",
        "params",
        "payload",
        "rows",
        "value",
        "values",
        "arguments",
        "parameter_values",
        "query",
        "new",
        "old",
        "key",
        "content",
    ];
    // From the manual of jq 1.6, and the keywords of its grammar.
    const KEYWORDS: &[&str] = &[
        "__loc__", "and", "as", "catch", "def", "elif", "else", "end", "foreach", "if", "import", "include", "label",
        "module", "or", "reduce", "then", "try",
    ];
    let names = types_of_names();
    assert!(names.len() > 150, "{}", names.len());
    let mut several = Vec::new();
    for (name, types) in names {
        assert!(!KEYWORDS.contains(&&*name), "{name}");
        if types.len() != 1 && !EXEMPT.contains(&&*name) {
            several.push((name, types));
        }
    }
    assert!(several.is_empty(), "{several:?}");
}
