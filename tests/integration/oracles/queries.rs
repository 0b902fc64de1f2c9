//! Lines of executed requests and sessions: compared with libpq's traces and with the lines of messages, with any segmentation,
//! and after loss.

use std::collections::{BTreeMap, HashMap};

use pgdissect::{Config, Only, Records};
use serde_json::Value;

use crate::captures::{self, Output, OwnedPacket};
use crate::support::trace;
use crate::wire::{From, Tcp, message};

/// Returns the lines of one kind, by connection.
fn by_connection(output: &Output, event: &str) -> BTreeMap<u64, Vec<Value>> {
    let mut lines: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for line in output.values().into_iter().filter(|line| line["event"] == event) {
        lines.entry(line["conn"].as_u64().unwrap()).or_default().push(line);
    }
    lines
}

fn everything_of(name: &str) -> Output {
    captures::dissect_packets(&packets_of(name), captures::everything())
}

fn packets_of(name: &str) -> Vec<OwnedPacket> {
    captures::packets(&[captures::testdata().join(name)]).0
}

/// Returns the first quoted text after `before` in a traced message.
fn quoted<'a>(fields: &'a str, before: &str) -> Option<&'a str> {
    let from = fields.find(before)? + before.len();
    fields[from..].strip_prefix('"')?.split('"').next()
}

const TRACED: &[&str] = &[
    "extended-query",
    "pipeline-error",
    "copy-pipeline",
    "function-call",
    "cancel",
    "cancel-32",
    "copy-in",
    "copy-fail",
];

#[test]
fn commands_and_errors_are_those_of_libpqs_trace_in_order() {
    for folder in TRACED {
        let lines = by_connection(&everything_of(&format!("{folder}/capture.pcap")), "query");
        assert_eq!(lines.len(), 1, "{folder} has one connection that asks");
        let lines = lines.values().next().unwrap();
        let traced = trace::read(&captures::testdata().join(folder).join("trace.txt"));
        let of = |name: &str, before: &str| -> Vec<String> {
            let messages = traced.iter().filter(|message| message.name == name);
            messages.map(|message| quoted(&message.fields, before).unwrap().to_owned()).collect()
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();

        let commands = lines.iter().filter_map(|line| line["command_tags"].as_array()).flatten().map(text);
        assert_eq!(commands.collect::<Vec<_>>(), of("CommandComplete", " "), "{folder}");
        let errors = lines.iter().filter(|line| line.get("error").is_some()).map(|line| text(&line["error"]["code"]));
        assert_eq!(errors.collect::<Vec<_>>(), of("ErrorResponse", " C "), "{folder}");
        let calls = lines.iter().filter(|line| line["protocol"] == "function").count();
        assert_eq!(calls, traced.iter().filter(|message| message.name == "FunctionCall").count(), "{folder}");
        let rows_of = |tag: String| tag.rsplit(' ').next().and_then(|word| word.parse::<u64>().ok());
        let rows: u64 = of("CommandComplete", " ").into_iter().filter_map(rows_of).sum();
        let told =
            lines.iter().filter(|line| line.get("command_tags").is_some()).filter_map(|line| line["rows"].as_u64());
        assert_eq!(told.sum::<u64>(), rows, "{folder}");
    }
}

/// Derives the requests of a connection from message lines: their numbers in order, and the SQL of each, resolved by names.
fn executed(messages: &[Value]) -> Vec<(u64, Option<String>)> {
    let mut statements: HashMap<&str, &str> = HashMap::new();
    let mut portals: HashMap<&str, Option<String>> = HashMap::new();
    // Whether a Parse succeeded is known from its reply; failed ones are removed first.
    let failed: Vec<u64> = messages
        .iter()
        .filter(|line| line["type"] == "ErrorResponse")
        .filter(|line| line["body"]["code"] == "42P05" || line["body"]["code"] == "42P01")
        .filter_map(|line| line["query"].as_u64())
        .collect();
    let mut executed = Vec::new();
    for line in messages {
        let Some(number) = line["query"].as_u64() else { continue };
        let body = &line["body"];
        match line["type"].as_str().unwrap() {
            "Parse" if !failed.contains(&number) => {
                statements.insert(body["statement"].as_str().unwrap(), body["query"].as_str().unwrap());
            }
            "Bind" => {
                let sql = statements.get(body["statement"].as_str().unwrap()).map(|sql| (*sql).to_owned());
                portals.insert(body["portal"].as_str().unwrap(), sql);
            }
            "Execute" => executed.push((number, portals.get(body["portal"].as_str().unwrap()).cloned().flatten())),
            "Query" => executed.push((number, Some(body["query"].as_str().unwrap().to_owned()))),
            "FunctionCall" => executed.push((number, None)),
            _ => {}
        }
    }
    executed
}

const WHOLE: &[&str] = &[
    "cancel/capture.pcap",
    "copy-binary/capture.pcap",
    "copy-fail/capture.pcap",
    "copy-in/capture.pcap",
    "copy-out/capture.pcap",
    "copy-pipeline/capture.pcap",
    "extended-query/capture.pcap",
    "function-call/capture.pcap",
    "pgbench-prepared/capture.pcap.gz",
    "pgbench-simple/capture.pcap.gz",
    "pgbench-tpcb/capture.pcap.gz",
    "pipeline-error/capture.pcap",
    "portal-suspended/capture.pcap",
    "psql-prefer/capture.pcap",
    "rows-3000/capture.pcap",
    "simple-query/capture.pcap",
    "value-1mb/capture.pcap.gz",
];

#[test]
fn every_executed_request_has_one_line_with_its_sql_in_order() {
    let mut count = 0;
    for name in WHOLE {
        let output = everything_of(name);
        let queries = by_connection(&output, "query");
        for (conn, messages) in by_connection(&output, "message") {
            let executed = executed(&messages);
            let lines = queries.get(&conn).map(Vec::as_slice).unwrap_or_default();
            let numbers: Vec<u64> = lines.iter().map(|line| line["query"].as_u64().unwrap()).collect();
            assert!(numbers.is_sorted_by(|one, other| one < other), "{name}: each has one line, in order");
            for line in lines {
                let number = line["query"].as_u64().unwrap();
                match executed.iter().find(|(executed, _)| *executed == number) {
                    Some((_, sql)) => assert_eq!(line["sql"].as_str(), sql.as_deref(), "{name}: {line}"),
                    None => assert_eq!(line["outcome"], "error", "{name}: it failed before it was executed: {line}"),
                }
            }
            for (number, _) in &executed {
                assert!(numbers.contains(number), "{name}: request {number} of connection {conn} has a line");
                count += 1;
            }
        }
    }
    assert!(count > 1_400, "{count} requests");
}

#[test]
fn bytes_and_parameters_are_those_of_the_messages() {
    for name in WHOLE {
        let mut bytes: HashMap<(u64, u64, &str), u64> = HashMap::new();
        let mut parameters: HashMap<(u64, u64), Value> = HashMap::new();
        let output = everything_of(name).values();
        for line in &output {
            let Some(number) = line["query"].as_u64() else { continue };
            let key = (line["conn"].as_u64().unwrap(), number);
            match line["event"].as_str().unwrap() {
                "message" => {
                    let dir = if line["dir"] == "F" { "F" } else { "B" };
                    *bytes.entry((key.0, key.1, dir)).or_default() += line["len"].as_u64().unwrap() + 1;
                    if line["type"] == "Bind" {
                        parameters.insert(key, line["body"]["parameter_values"].clone());
                    }
                }
                "query" => {
                    for (field, dir) in [("bytes_in", "F"), ("bytes_out", "B")] {
                        let sum = bytes.get(&(key.0, key.1, dir)).copied().unwrap_or_default();
                        assert_eq!(line[field], sum, "{name}: {line}");
                    }
                    let empty = Value::Array(Vec::new());
                    if let Some(bound) = parameters.get(&key) {
                        // The server may have reported the types after the message was written.
                        let text = |values: &Value| values.to_string().replace('"', "");
                        assert_eq!(text(line.get("params").unwrap_or(&empty)), text(bound), "{name}: {line}");
                    }
                }
                _ => {}
            }
        }
    }
}

/// Returns the lines of requests and sessions.
fn summary_lines(output: &Output) -> Vec<&String> {
    let is_message = |line: &&String| line.starts_with("{\"event\":\"message\"");
    output.lines.iter().filter(|line| !is_message(line)).collect()
}

#[test]
fn what_is_not_asked_for_changes_nothing_in_what_is() {
    for name in WHOLE.iter().chain(&["tcp/missing-segment.pcap", "tcp/midstream.pcap", "tcp/snaplen.pcap"]) {
        let packets = packets_of(name);
        let all = captures::dissect_packets(&packets, captures::everything());
        let with = |messages, queries, sessions| {
            let records = Records { messages, queries, sessions, ..Records::NONE };
            captures::dissect_packets(&packets, Config { records, ..captures::config() })
        };
        assert_eq!(summary_lines(&all), summary_lines(&with(false, true, true)), "{name}");
        let without = |event: &str| -> Vec<String> {
            let prefix = format!("{{\"event\":\"{event}\"");
            all.lines.iter().filter(|line| !line.starts_with(&prefix)).cloned().collect()
        };
        assert_eq!(without("query"), with(true, false, true).lines, "{name}");
        assert_eq!(without("session"), with(true, true, false).lines, "{name}");
        assert_eq!(all.counters.messages, with(false, false, false).counters.messages, "{name}");
    }
}

#[test]
fn sessions_can_be_chosen_by_who_they_are() {
    let packets = packets_of("simple-query/capture.pcap");
    let of = |only: Only| captures::dissect_packets(&packets, Config { only, ..captures::everything() });
    let all = of(Only::default());
    let notifier = of(Only { applications: vec![b"notifier".to_vec()], ..Only::default() });
    let expected: Vec<_> = all.lines.iter().filter(|line| line.contains("\"conn\":2,")).collect();
    assert_eq!(notifier.lines.iter().collect::<Vec<_>>(), expected);
    assert_eq!(of(Only { users: vec![b"app".to_vec()], ..Only::default() }).lines, all.lines);
    assert!(of(Only { databases: vec![b"other".to_vec()], ..Only::default() }).lines.is_empty());
}

#[test]
fn a_cancel_request_names_its_session_and_a_canceled_request_who_canceled_it() {
    for (name, cancels) in [("cancel/capture.pcap", 3), ("cancel-32/capture.pcap", 3)] {
        let lines = everything_of(name).values();
        let requests: Vec<_> = lines.iter().filter(|line| line["type"] == "CancelRequest").collect();
        assert_eq!(requests.len(), cancels, "{name}");
        assert!(requests.iter().all(|line| line["target"] == 1), "{name}");
        let canceled: Vec<_> = lines.iter().filter(|line| line["outcome"] == "canceled").collect();
        assert_eq!(canceled.len(), 2, "{name}");
        for (request, query) in requests.iter().zip(canceled) {
            assert_eq!(query["canceled_by"], request["conn"], "{name}");
            assert_eq!(query["error"]["code"], "57014");
        }
    }
    // Without the beginning of the session, its key is not known.
    let mut packets = packets_of("cancel/capture.pcap");
    packets.drain(..8);
    let lines = captures::dissect_packets(&packets, captures::everything()).values();
    let request = lines.iter().find(|line| line["type"] == "CancelRequest").unwrap();
    assert_eq!((request.get("target"), request["flags"][0].as_str()), (None, Some("midstream")));
    assert!(lines.iter().all(|line| line.get("canceled_by").is_none()));
}

#[test]
fn a_statement_that_was_prepared_before_the_capture_is_named_and_not_known() {
    let packets = packets_of("pgbench-prepared/capture.pcap.gz");
    let half = &packets[packets.len() / 2..];
    let lines = captures::dissect_packets(half, captures::everything()).values();
    let binds: Vec<_> = lines.iter().filter(|line| line["type"] == "Bind").collect();
    assert!(binds.len() > 100);
    let queries: Vec<_> = lines.iter().filter(|line| line["event"] == "query").collect();
    assert!(queries.len() > 100);
    for line in binds.iter().chain(&queries) {
        assert_eq!(line["flags"][0], "midstream", "{line}");
        assert!(line["statement"].as_str().unwrap().starts_with("P") && line.get("sql").is_none(), "{line}");
    }
}

#[test]
fn a_request_found_after_its_reply_does_not_get_the_replies_of_the_next() {
    // A single message is not accepted if no boundary is known.
    let answer = |row: &[u8]| {
        let column = [&b"\0\x01c\0"[..], &[0; 6], b"\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"].concat();
        let value = [&b"\0\x01"[..], &u32::try_from(row.len()).unwrap().to_be_bytes(), row].concat();
        let messages = [(b'T', &column[..]), (b'D', &value), (b'C', b"SELECT 1\0"), (b'Z', b"I")];
        messages.into_iter().flat_map(|(tag, body)| message(tag, body)).collect::<Vec<_>>()
    };
    let turns = [
        (From::Client, b"behind\0".to_vec()),
        (From::Server, answer(b"before")),
        (From::Client, message(b'Q', b"SELECT 'one'\0")),
        (From::Server, answer(b"one")),
        (From::Client, message(b'Q', b"SELECT 'two'\0")),
        (From::Server, answer(b"two")),
        (From::Client, message(b'Q', b"SELECT 'three'\0")),
        (From::Server, answer(b"three")),
    ];
    let mut next = [100, 200];
    let packets: Vec<_> = (1..)
        .zip(turns)
        .map(|(at, (from, bytes))| {
            let [seq, ack] = if from == From::Client { next } else { [next[1], next[0]] };
            next[usize::from(from == From::Server)] += u32::try_from(bytes.len()).unwrap();
            Tcp::new(from, seq, ack, &bytes).at(1_000 * at)
        })
        .collect();
    let lines = captures::dissect_packets(&packets, captures::everything()).values();
    let answered: HashMap<_, _> = lines
        .iter()
        .filter(|line| line["type"] == "DataRow")
        .filter_map(|line| Some((line["body"]["values"][0].as_str()?, line.get("query")?.as_u64()?)))
        .collect();
    assert_eq!(answered, HashMap::from([("two", 2), ("three", 3)]));
    let told: Vec<_> = lines.iter().filter(|line| line["event"] == "query").map(|line| &line["outcome"]).collect();
    assert_eq!(told, ["incomplete", "ok", "ok"]);
}

#[test]
fn names_in_sql_are_those_of_the_protocol() {
    let lines = everything_of("sql-names/capture.pcap").values();
    let named = |kind: &str| -> Vec<(String, Option<String>)> {
        let of_kind = lines.iter().filter(|line| line["type"] == kind);
        let name = |line: &Value| line["statement"].as_str().or(line["body"]["name"].as_str()).unwrap().to_owned();
        of_kind.map(|line| (name(line), line["sql"].as_str().map(ToOwned::to_owned))).collect()
    };
    let expected = |pairs: &[(&str, Option<&str>)]| -> Vec<(String, Option<String>)> {
        pairs.iter().map(|(name, sql)| ((*name).to_owned(), sql.map(ToOwned::to_owned))).collect()
    };
    // A statement that does not exist according to the server has no SQL.
    assert_eq!(
        named("Bind"),
        expected(&[
            ("by_sql", Some("SELECT $1 + 1 AS n")),
            ("by_sql", None),
            ("", Some("DEALLOCATE \"Quoted\"")),
            ("Quoted", None),
            ("one", None),
            ("taken", Some("SELECT 'first'")),
            ("", Some("INSERT INTO late VALUES (1), (1)")),
        ])
    );
    let cursors: Vec<_> = named("Describe").into_iter().filter(|(name, _)| name == "short" || name == "held").collect();
    assert_eq!(
        cursors,
        expected(&[
            ("short", Some("SELECT 'short'")),
            ("held", Some("SELECT 'held'")),
            ("held", Some("SELECT 'held'")),
            ("short", None),
            ("held", None),
        ])
    );
    assert!(lines.iter().all(|line| line.get("flags").is_none()), "nothing is unknown");

    let query = |sql: &str| lines.iter().find(|line| line["event"] == "query" && line["sql"] == sql).unwrap();
    let late = query("INSERT INTO late VALUES (1), (1)");
    assert_eq!((&late["command_tags"][0], &late["outcome"]), (&"INSERT 0 2".into(), &"error".into()));
    assert_eq!(late["error"]["condition"], "unique_violation");
    let last = query("SELECT pg_terminate_backend(pg_backend_pid())");
    assert_eq!((&last["outcome"], &last["error"]["condition"]), (&"aborted".into(), &"admin_shutdown".into()));
    let end = lines.iter().find(|line| line["state"] == "ended").unwrap();
    assert_eq!((&end["end_reason"], &end["ended_by"]), (&"fatal".into(), &"server".into()));
}

#[test]
fn half_a_name_stands_for_nothing() {
    for name in ["extended-query/capture.pcap", "portal-suspended/capture.pcap", "sql-names/capture.pcap"] {
        let packets = packets_of(name);
        let sql_of = |max_message: usize| -> Vec<Option<String>> {
            let config = Config { max_message, ..captures::config() };
            let lines = captures::dissect_packets(&packets, config).messages();
            lines.iter().map(|line| line["sql"].as_str().map(ToOwned::to_owned)).collect()
        };
        let whole = sql_of(1 << 20);
        for max_message in 0..60 {
            for (cut, whole) in sql_of(max_message).iter().zip(&whole) {
                assert!(cut.is_none() || cut == whole, "{name}, {max_message}: {cut:?}, not {whole:?}");
            }
        }
    }
}

#[test]
fn what_is_remembered_has_a_limit_and_what_is_forgotten_is_unknown() {
    let packets = packets_of("pgbench-prepared/capture.pcap.gz");
    let whole = captures::dissect_packets(&packets, captures::everything());
    for max_remembered in [0, 300, 1_000, 1 << 20] {
        let output = captures::dissect_packets(&packets, Config { max_remembered, ..captures::everything() });
        assert!(output.counters.remembered_bytes <= 2 * max_remembered as u64);
        let mut unknown = 0;
        for (line, whole) in output.values().iter().zip(whole.values()) {
            if line["event"] == "query" && line.get("params").is_none() && whole.get("params").is_some() {
                let flags = line["flags"].as_array().into_iter().flatten();
                assert!(flags.into_iter().any(|flag| flag == "limit" || flag == "midstream"), "{line}");
            }
            for field in ["sql", "params", "outcome", "rows", "command_tags"] {
                match line.get(field) {
                    // A number is text if its type is no longer known.
                    Some(value) => {
                        assert_eq!(value.to_string().replace('"', ""), whole[field].to_string().replace('"', ""))
                    }
                    None => unknown += usize::from(whole.get(field).is_some()),
                }
            }
        }
        assert_eq!(unknown == 0, max_remembered == 1 << 20, "{max_remembered}: {unknown} unknown");
    }
}

/// Returns a request without the fields that depend on earlier requests.
fn essence(line: &Value) -> String {
    let mut line = line.clone();
    // The number counts the captured requests.
    let depends = ["query", "packet", "conn", "started", "tx", "sql", "normalized", "fingerprint", "statement"];
    let of_session = ["flags", "user", "database", "application", "rtt_client_us", "rtt_server_us"];
    // They depend on the reply before.
    let times = ["exec_us", "server_us", "transfer_us", "age_us"];
    let depends = [&depends[..], &of_session, &times].concat();
    line.as_object_mut().unwrap().retain(|field, _| !depends.contains(&&**field));
    // A number is text if its type is no longer known.
    line.to_string().replace('"', "")
}

#[test]
fn after_loss_no_request_is_invented() {
    for name in ["pgbench-prepared/capture.pcap.gz", "pgbench-tpcb/capture.pcap.gz", "pipeline-error/capture.pcap"] {
        let packets = packets_of(name);
        let all = captures::dissect_packets(&packets, captures::everything()).values();
        let mut made: HashMap<String, usize> = HashMap::new();
        for line in all.iter().filter(|line| line["event"] == "query") {
            *made.entry(essence(line)).or_default() += 1;
        }
        let (mut whole, mut uncertain) = (0, 0);
        for seed in 1..=30_usize {
            let kept: Vec<_> = packets
                .iter()
                .enumerate()
                .filter(|(index, _)| index * 7_919 % 1_009 % (20 + seed) != seed % 20)
                .map(|(_, packet)| packet.clone())
                .collect();
            let mut left = made.clone();
            for line in captures::dissect_packets(&kept, captures::everything()).values() {
                if line["event"] != "query" {
                    continue;
                }
                let flags = line["flags"].as_array().into_iter().flatten();
                if line["outcome"] == "incomplete" || flags.into_iter().any(|flag| flag == "uncertain") {
                    uncertain += 1;
                    continue;
                }
                whole += 1;
                let found = left.get_mut(&essence(&line)).filter(|left| **left > 0);
                let found = found.unwrap_or_else(|| panic!("{name}, {seed}: not among those that were made: {line}"));
                *found -= 1;
            }
        }
        assert!(whole > 0 && uncertain > 0, "{name}: {whole} whole, {uncertain} incomplete");
    }
}
