//! Numbers are exact in every JSON parser: an integer that a double cannot represent is a string of its digits.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::captures::{self, Output};
use crate::cli::live::announce;
use crate::command;
use crate::laws::contract;
use crate::wire::{From, Tcp, message, startup};

/// The greatest integer that is written as a number.
const MOST: i64 = 9_007_199_254_740_991;

/// Returns an integer as it is written in a line.
fn written(number: i64) -> Value {
    if number.abs_diff(0) <= MOST as u64 { number.into() } else { number.to_string().into() }
}

/// Returns the integers in the capture.
fn edges() -> Vec<i64> {
    let sizes = [0, 1, 999_999_999_999_999, 1_000_000_000_000_000, MOST - 1, MOST, MOST + 1, MOST + 2];
    let mut edges: Vec<i64> = sizes.into_iter().chain([100_000_000_000_000_000, i64::MAX]).collect();
    edges.extend(edges.clone().into_iter().map(|number| -number).chain([i64::MIN]));
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// Calls a function for every number in a value.
fn each_number(value: &Value, take: &mut impl FnMut(&serde_json::Number)) {
    match value {
        Value::Number(number) => take(number),
        Value::Array(values) => values.iter().for_each(|value| each_number(value, take)),
        Value::Object(members) => members.values().for_each(|value| each_number(value, take)),
        _ => {}
    }
}

/// Returns the rows of a connection, each as an array of values.
fn rows(output: &Output, conn: u64) -> Vec<Value> {
    let messages = output.messages().into_iter().filter(|line| line["conn"] == conn && line["type"] == "DataRow");
    messages.map(|line| line["body"]["values"].clone()).collect()
}

#[test]
fn integers_that_a_double_does_not_hold_are_strings() {
    let output = captures::dissect_one("integers/capture.pcap");
    let edges = edges();
    let array: Vec<Value> = edges.iter().copied().map(written).collect();
    let range = |lower: Value, upper: Value| json!({"lower": lower, "upper": upper, "bounds": "[)"});
    let (min, max) = (i64::MIN.to_string(), i64::MAX.to_string());
    let (over, under) = ((MOST + 1).to_string(), (-MOST - 1).to_string());
    for conn in 1..=4 {
        let is_text = conn % 2 == 1;
        let mut expected: Vec<Value> = edges.iter().map(|number| json!([written(*number)])).collect();
        let from_zero = json!({"lower_bounds": [0], "values": array});
        expected.push(json!([array, [array, array], from_zero]));
        let ranges = [range(min.clone().into(), (-MOST).into()), range(MOST.into(), max.clone().into())];
        expected.push(json!([
            range((-MOST).into(), MOST.into()),
            range(under.clone().into(), over.clone().into()),
            range(over.clone().into(), Value::Null),
            ranges,
            [range(MOST.into(), over.clone().into())],
        ]));
        expected.push(match is_text {
            // The types of its fields are not known.
            true => json!([["1", MOST.to_string(), over, format!("{{{max}}}")]]),
            false => json!([[1, MOST, over, [max]]]),
        });
        let xid = u64::MAX.to_string();
        expected.push(json!([MOST, over, xid, [xid]]));
        expected.push(json!([{"minor_units": MOST}, {"minor_units": over}, {"minor_units": min}]));
        // Every double is exact as a number.
        let floats = [9_007_199_254_740_992.0, 1e300, 16_777_216.0];
        expected.push(json!(["9007199254740993", floats[0], floats[1], floats[2], u32::MAX, "FFFFFFFF/FFFFFFFF"]));
        // These numbers are the sender's. serde_json parses the last one as a double.
        expected.push(json!([{"n": 9_007_199_254_740_993_u64}, {"n": [9_007_199_254_740_993_u64, 2_f64.powi(64)]}]));
        expected.extend(edges.iter().map(|number| json!([written(*number)])));
        expected.push(json!([array]));
        assert_eq!(rows(&output, conn), expected, "connection {conn}");
    }
    let json = r#"{"values":[{"n":9007199254740993},{"n":[9007199254740993,18446744073709551616]}]}"#;
    assert_eq!(output.lines.iter().filter(|line| line.contains(json)).count(), 4);
}

#[test]
fn parameters_are_as_exact_as_rows() {
    let (packets, _) = captures::packets(&[captures::testdata().join("integers/capture.pcap")]);
    let output = captures::dissect_packets(&packets, captures::everything());
    for conn in 1..=4 {
        let of_conn = |line: &Value| line["conn"] == conn;
        let binds = output.messages().into_iter().filter(|line| of_conn(line) && line["type"] == "Bind");
        let binds = binds.map(|line| line["body"]["parameter_values"].clone());
        let queries = output.values().into_iter().filter(|line| of_conn(line) && line["event"] == "query");
        let params = queries.filter_map(|line| line.get("params").cloned());
        let edges = edges();
        let mut expected: Vec<Value> = edges.iter().map(|number| json!([written(*number)])).collect();
        expected.push(json!([edges.iter().copied().map(written).collect::<Vec<_>>()]));
        let has_some = |params: &Value| params.as_array().is_some_and(|params| !params.is_empty());
        assert_eq!(binds.filter(has_some).collect::<Vec<_>>(), expected, "connection {conn}");
        assert_eq!(params.filter(has_some).collect::<Vec<_>>(), expected, "connection {conn}");
    }
}

#[test]
fn a_reader_that_holds_numbers_as_doubles_changes_none() {
    let mut numbers = 0;
    for line in captures::dissect_one("integers/capture.pcap").values() {
        let is_json = line["body"]["values"][0]["n"].is_number();
        each_number(&line, &mut |number| {
            let Some(integer) = number.as_i64().map(i128::from).or(number.as_u64().map(Into::into)) else { return };
            let is_exact = integer.unsigned_abs() <= MOST as u128 && integer as f64 as i128 == integer;
            assert!(is_exact || is_json, "{number} in {line}");
            numbers += 1;
        });
    }
    assert!(numbers > 5_000, "{numbers}");
}

#[test]
fn lines_pass_through_jq_as_they_are() {
    let is_exact = |line: &&String| !line.contains(r#""values":[{"n":"#) && !line.contains("1e+300");
    let lines: Vec<String> =
        captures::dissect_one("integers/capture.pcap").lines.iter().filter(is_exact).cloned().collect();
    let jq = Command::new("jq").args(["-c", "."]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut jq) = jq else { return announce("SKIPPED: numbers::lines_pass_through_jq_as_they_are: no jq") };
    let (mut stdin, text) = (jq.stdin.take().unwrap(), lines.join("\n"));
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let passed = String::from_utf8(jq.wait_with_output().unwrap().stdout).unwrap();
    writer.join().unwrap().unwrap();
    assert!(passed.lines().eq(&lines), "jq changes a line");
    assert!(lines.len() > 1_000, "{}", lines.len());
}

#[test]
fn people_see_digits_without_quotes() {
    let shown = command::run(["-p", "5415", "-F", "text", "-t", "DataRow", "integers/capture.pcap"]).lines;
    let has = |end: &str| shown.iter().any(|line| line.contains(end));
    assert!(has(" 9007199254740993  q") && has(" -9223372036854775808  q"), "{shown:?}");
    assert!(has(r#"{"minor_units":9007199254740992}"#), "{shown:?}");
}

#[test]
fn counters_are_as_exact_as_values() {
    let replies = [
        message(b'R', &[0; 4]),
        message(b'Z', b"I"),
        message(b'C', b"SELECT 18446744073709551615\0"),
        message(b'Z', b"I"),
    ];
    let [ok, ready, complete, ready_again] = replies;
    let query = message(b'Q', b"SELECT\0");
    let (start, started) = (startup(), [ok, ready].concat());
    let (client, server) = (1 + start.len() as u32, 1 + started.len() as u32);
    let packets = [
        Tcp::new(From::Client, 0, 0, b"").syn().without_ack().at(0),
        Tcp::new(From::Server, 0, 1, b"").syn().at(100),
        Tcp::new(From::Client, 1, 1, &start).at(200),
        Tcp::new(From::Server, 1, client, &started).at(300),
        Tcp::new(From::Client, client, server, &query).at(400),
        Tcp::new(From::Server, server, client + query.len() as u32, &[complete, ready_again].concat()).at(500),
    ];
    let output = captures::dissect_packets(&packets, captures::everything());
    contract::check(&output, "a count of rows that is too large");
    let lines = output.values();
    let complete = lines.iter().find(|line| line["type"] == "CommandComplete").unwrap();
    assert_eq!(complete["body"]["rows"], "18446744073709551615");
    let query = lines.iter().find(|line| line["event"] == "query").unwrap();
    assert_eq!(query["rows"], "18446744073709551615");
}
