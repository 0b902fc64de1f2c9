//! Options that select among lines: each compared with the lines of the whole output for which the same is true.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use regex::Regex;
use serde_json::Value;

use crate::captures::PORTS;
use crate::command::{Running, pgdissect, run};

const EVENTS: &str = "message,query,session,loss";
const CAPTURES: [&str; 6] = [
    "summary/capture.pcap.gz",
    "planted/capture.pcap",
    "driver-jdbc/capture.pcap.gz",
    "loss/pipeline-replies.pcap",
    "cases/cut-message.pcap",
    "ipv6/capture.pcap",
];
const SUMMARY: &str = CAPTURES[0];

fn args<'a>(capture: &'a str, more: &[&'a str]) -> Vec<String> {
    let ports = PORTS.map(|port| port.to_string()).join(",");
    [&["-p", &ports, "-q", capture], more].concat().into_iter().map(str::to_owned).collect()
}

/// Returns the lines of a capture.
#[track_caller]
fn lines(capture: &str, more: &[&str]) -> Vec<Value> {
    run(args(capture, more)).good()
}

/// Returns what is told about a capture on standard error.
#[track_caller]
fn told(capture: &str, more: &[&str]) -> String {
    let args: Vec<_> = args(capture, more).into_iter().filter(|arg| arg != "-q").collect();
    let outcome = run(args);
    assert_eq!(outcome.code, Some(0), "{}", outcome.said);
    outcome.said
}

#[track_caller]
fn refused(more: &[&str], wanted: &str) {
    let outcome = run(args(SUMMARY, more));
    assert!(outcome.said.contains(wanted), "{more:?}: wanted {wanted:?}, got {:?}", outcome.said);
    assert_eq!((outcome.code, outcome.lines.len()), (Some(2), 0), "{more:?}");
}

fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap_or_default()
}

/// Compares the lines with these options with those of the whole output that are wanted. Returns how many there are, and how many
/// others.
#[track_caller]
fn compare(capture: &str, whole: &[Value], options: &[&str], is_wanted: impl Fn(&Value) -> bool) -> (usize, usize) {
    let expected: Vec<_> = whole.iter().filter(|line| is_wanted(line)).collect();
    for way in [&["-j", "1"][..], &["-j", "4", "--least-in-parallel", "2"], &["--no-fast-paths"]] {
        let found = lines(capture, &[&["-e", EVENTS], options, way].concat());
        let differing = expected.iter().zip(&found).find(|(expected, found)| **expected != *found);
        assert!(differing.is_none(), "{capture} {options:?} {way:?}: {differing:#?}");
        assert_eq!(found.len(), expected.len(), "{capture} {options:?} {way:?}");
    }
    (expected.len(), whole.len() - expected.len())
}

/// Compares each capture. The options are of the lines of the whole output, and so is what is wanted of them.
#[track_caller]
fn compare_all<W: Fn(&Value) -> bool>(of: impl Fn(&[Value]) -> (Vec<String>, W)) {
    let (mut selected, mut others) = (0, 0);
    for capture in CAPTURES {
        let whole = lines(capture, &["-e", EVENTS]);
        let (options, is_wanted) = of(&whole);
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let (wanted, unwanted) = compare(capture, &whole, &options, is_wanted);
        selected += wanted;
        others += unwanted;
    }
    assert!(selected > 0 && others > 0, "{selected} selected, {others} others");
}

#[test]
fn connections_by_number() {
    compare_all(|whole| {
        let of = |index: usize| whole[index].get("conn").and_then(Value::as_u64).unwrap();
        let wanted = [of(0), of(whole.len() / 2)];
        (vec!["--conn".to_owned(), format!("{},{}", wanted[0], wanted[1])], move |line: &Value| {
            wanted.contains(&line["conn"].as_u64().unwrap())
        })
    });
    refused(&["--conn", "0"], "0 is not in 1..");
    refused(&["--conn", "x"], "invalid digit");
}

#[test]
fn clients_by_address_port_or_network() {
    let end = |line: &Value| text(line, "client").parse::<SocketAddr>().unwrap();
    compare_all(|whole| {
        let wanted = end(&whole[whole.len() / 2]);
        (vec!["--client".to_owned(), wanted.to_string()], move |line: &Value| end(line) == wanted)
    });
    compare_all(|whole| {
        let wanted = end(&whole[whole.len() / 2]).ip();
        (vec!["--client".to_owned(), format!("{wanted},10.9.8.7")], move |line: &Value| end(line).ip() == wanted)
    });
    compare_all(|_| {
        let is_local = |line: &Value| matches!(end(line).ip(), IpAddr::V4(addr) if addr.octets()[0] == 127);
        (vec!["--client".to_owned(), "127.9.9.9/8".to_owned()], is_local)
    });
    compare_all(|_| {
        let is_local = |line: &Value| matches!(end(line).ip(), IpAddr::V6(addr) if addr.segments()[0] >> 6 == 0);
        (vec!["--client".to_owned(), "::/10".to_owned()], is_local)
    });
    for wrong in ["localhost", "10.0.0.0/33", "10.0.0.1:x", "fe80::/129", ""] {
        refused(&["--client", wrong], "expected an address, with a port or without, or a network");
    }
}

/// Messages and losses have a time. Requests and sessions last: they are of a time if any of theirs is.
#[test]
fn lines_by_time() {
    let (mut still_ran, mut ran_before) = (0, 0);
    compare_all(|whole| {
        let mut times: Vec<_> = whole.iter().map(|line| text(line, "ts").to_owned()).collect();
        times.sort();
        let (since, until) = (times[times.len() / 3].clone(), times[times.len() / 3 * 2].clone());
        (["--since", &since, "--until", &until].map(str::to_owned).to_vec(), move |line: &Value| {
            let start = line.get("started").unwrap_or(&line["ts"]).as_str().unwrap();
            start <= until.as_str() && text(line, "ts") >= since.as_str()
        })
    });
    let whole = lines(SUMMARY, &["-e", "query"]);
    let slow = whole.iter().max_by_key(|line| line["total_us"].as_u64()).unwrap();
    let [started, ts] = ["started", "ts"].map(|field| text(slow, field));
    for line in lines(SUMMARY, &["-e", "query", "--since", "200ms", "--until", "400ms"]) {
        still_ran += usize::from(line["ts"] == ts);
        ran_before += usize::from(line["started"] == started);
    }
    assert_eq!((still_ran, ran_before), (1, 1), "{slow}");
}

#[test]
fn times_are_local_or_utc_or_after_the_first_packet() {
    let first = "2026-11-27T01:46:34.001705Z";
    let whole = lines(SUMMARY, &[]);
    let with = |zone: &str, more: &[&str]| {
        let outcome = Running::start(pgdissect(args(SUMMARY, more)).env("TZ", zone)).finish();
        outcome.good()
    };
    let wanted: Vec<_> = whole.iter().filter(|line| text(line, "ts") >= "2026-11-27T01:46:35").cloned().collect();
    assert!(!wanted.is_empty() && wanted.len() < whole.len());
    for since in [
        "2026-11-27T01:46:35Z",
        "2026-11-27T10:46:35+09:00",
        "2026-11-27 10:46:35",
        "2026-11-27T10:46:35",
        "10:46:35",
        "01:46:35Z",
        "998295us",
        "+998.295ms",
    ] {
        assert_eq!(with("Asia/Tokyo", &["--since", since]), wanted, "{since}");
    }
    assert_eq!(with("UTC", &["--since", "01:46:35"]), wanted);
    // The day is that of the first packet, where people are: on this one it was still the day before.
    assert_eq!(with("America/New_York", &["--since", "20:46:35"]), wanted);
    // Both ends are included, as they are written.
    let at_first = lines(SUMMARY, &["--since", first, "--until", first, "-e", "session"]);
    assert!(at_first.iter().all(|line| line["started"] == first) && !at_first.is_empty(), "{at_first:?}");
    // What would be over is of the next day.
    assert_eq!(with("UTC", &["--until", "00:30"]), whole);
    refused(&["--since", "yesterday"], "expected a time, such as 2026-11-27T04:10:05Z");
    refused(&["--since", "-30s"], "there is nothing before the first packet");
    refused(&["--until", "30"], "for milliseconds write 30ms");
    refused(&["--since", "2s", "--until", "1s"], "--until 1s is before --since 2s");
}

#[test]
fn requests_by_rows() {
    compare_all(|_| {
        (vec!["--min-rows".to_owned(), "2".to_owned()], |line: &Value| {
            line["event"] != "query" || line["rows"].as_u64() >= Some(2)
        })
    });
    refused(&["--min-rows", "many"], "invalid digit");
}

#[test]
fn requests_by_sql() {
    let regex = r"(?i)^\s*(select|begin)\b";
    let matches = move |line: &Value| {
        let is_match = |sql: &str| Regex::new(regex).unwrap().is_match(sql);
        line["event"] != "query" || line["sql"].as_str().is_some_and(is_match)
    };
    compare_all(|_| (vec!["--sql".to_owned(), regex.to_owned()], matches));
    refused(&["--sql", "("], "unclosed group");
    // What is matched is what is written: without secrets, and in UTF-8.
    let secrets = "cases/secrets-15.pcap";
    let sql = |capture, more: &[&str]| -> Vec<Value> {
        lines(capture, &[&["-e", "query"], more].concat()).iter().map(|line| line["sql"].clone()).collect()
    };
    let masked: Vec<_> = sql(secrets, &[]).into_iter().filter(|sql| sql.to_string().contains("***")).collect();
    assert!(!masked.is_empty());
    assert_eq!(sql(secrets, &["--sql", r"\*{3}"]), masked);
    let values = sql(SUMMARY, &["--redact", "values", "--sql", r"\d"]);
    assert!(values.iter().all(|sql| sql.to_string().contains('$')), "{values:?}");
    let encodings = "client-encodings/capture.pcap.gz";
    let umlauts = sql(encodings, &["--sql", "ü|é|ä"]);
    let all = sql(encodings, &[]);
    assert_eq!(umlauts, all.into_iter().filter(|sql| sql.to_string().contains(['ü', 'é', 'ä'])).collect::<Vec<_>>());
    assert!(!umlauts.is_empty());
}

#[test]
fn requests_by_fingerprint() {
    compare_all(|whole| {
        let mut counts = BTreeMap::<_, usize>::new();
        let fingerprints = whole.iter().filter_map(|line| line["fingerprint"].as_str());
        fingerprints.for_each(|fingerprint| *counts.entry(fingerprint).or_default() += 1);
        let most = counts.iter().max_by_key(|(_, count)| **count).map_or("0000000000000000", |(most, _)| most);
        let first = counts.keys().next().map_or("0000000000000000", |first| first);
        let wanted = [most, first].map(str::to_owned);
        (vec!["--fingerprint".to_owned(), wanted.join(",").to_uppercase()], move |line: &Value| {
            line["event"] != "query" || wanted.iter().any(|wanted| line["fingerprint"] == **wanted)
        })
    });
    refused(&["--fingerprint", "12ab"], "expected 16 hexadecimal digits");
}

#[test]
fn selections_are_combined() {
    compare_all(|whole| {
        let conn = whole[whole.len() / 2]["conn"].clone();
        (
            ["--conn", &conn.to_string(), "--min-rows", "1", "--sql", "SELECT", "--since", "1ms"]
                .map(str::to_owned)
                .to_vec(),
            {
                let first = whole.iter().filter_map(|line| line["started"].as_str()).min().unwrap();
                let first: jiff::Timestamp = first.parse().unwrap();
                let since = first + jiff::SignedDuration::from_millis(1);
                move |line: &Value| {
                    let is_selected = line["event"] != "query"
                        || line["rows"].as_u64() >= Some(1) && text(line, "sql").contains("SELECT");
                    line["conn"] == conn && is_selected && text(line, "ts").parse::<jiff::Timestamp>().unwrap() >= since
                }
            },
        )
    });
}

#[test]
fn options_about_requests_choose_lines_of_requests() {
    for (option, value) in [("--min-rows", "1"), ("--sql", "SELECT"), ("--fingerprint", "f07a618aeb070e49")] {
        let found = lines(SUMMARY, &[option, value]);
        assert!(!found.is_empty() && found.iter().all(|line| line["event"] == "query"), "{option}");
        assert_eq!(found, lines(SUMMARY, &["-e", "query,loss", option, value]), "{option}");
        let wanted = format!("{option} selects among requests: it requires -e query or -e running");
        refused(&[option, value, "-e", "message,session,loss"], &wanted);
    }
}

#[test]
fn a_summary_is_of_what_was_selected_and_names_it() {
    let options = [
        "--client",
        "127.0.0.0/8,::1",
        "--conn",
        "1,2,3,4,5,6,7,8",
        "--min-rows",
        "1",
        "--sql",
        "SELECT",
        "--since",
        "1ms",
    ];
    let summary = lines(SUMMARY, &[&["-e", "summary"][..], &options].concat());
    let queries = lines(SUMMARY, &[&["-e", "query"][..], &options].concat());
    let [summary] = summary.as_slice() else { panic!("{summary:?}") };
    assert!(!queries.is_empty());
    assert_eq!(summary["totals"]["requests"].as_u64(), Some(queries.len() as u64), "{}", summary["totals"]);
    let named =
        ["--conn 1,2,3,4,5,6,7,8", "--client 127.0.0.0/8,::1", "--since 1ms", "--min-rows 1", "--sql \"SELECT\""];
    assert_eq!(summary["capture"]["selection"], serde_json::json!(named));
    // Counters are those of the whole capture.
    let stats = |more: &[&str]| lines(SUMMARY, &[&["-e", "stats"], more].concat());
    assert_eq!(stats(&["--conn", "1", "--until", "1ms"]), stats(&[]));
}

#[test]
fn what_there_was_instead_is_told_where_nothing_matched() {
    let about = |more: &[&str]| told(SUMMARY, more);
    let sessions = about(&["--user", "nobody", "--database", "none"]);
    assert_eq!(
        sessions,
        "pgdissect: nothing matched --user nobody --database none\n\
         pgdissect: users seen: u_pass (12 sessions), app (7 sessions), u_scram (6 sessions), postgres (1 session), \
         u_md5 (1 session), not known (1 session)\n\
         pgdissect: databases seen: shop (26 sessions), nowhere (1 session), not known (1 session)\n"
    );
    let applications = about(&["--application", "none", "-e", "query"]);
    assert!(applications.contains("applications seen: cron (12 sessions), "), "{applications}");
    assert!(applications.contains(", and 1 more, not known"), "{applications}");
    assert_eq!(
        about(&["--conn", "99", "--client", "10.0.0.0/8", "-F", "summary"]),
        "pgdissect: nothing matched --conn 99 --client 10.0.0.0/8\n\
         pgdissect: there were 28 connections, with the numbers 1 to 28\n\
         pgdissect: clients seen: 127.0.0.1 (27 sessions), ::1 (1 session)\n"
    );
    assert!(about(&["--client", "10.0.0.1:40000"]).contains("clients seen: 127.0.0.1:"));
    let times = about(&["--since", "2020-01-01Z", "--until", "2020-01-02Z"]);
    assert!(times.contains("nothing matched --since 2020-01-01Z --until 2020-01-02Z"), "{times}");
    assert!(
        times.contains("packets are from 2026-11-2") && times.contains(":34.001705") && times.contains(":35.894117")
    );
    let statements = about(&["--sql", "no such table"]);
    assert!(statements.contains("  240 × f07a618aeb070e49 SELECT name, price FROM item WHERE"), "{statements}");
    assert!(statements.ends_with("  and 25 more\n"), "{statements}");
    assert!(about(&["--fingerprint", "0123456789abcdef"]).contains("  240 × f07a618aeb070e49 SELECT name, "));
    assert!(about(&["--min-rows", "1000000"]).contains("the most rows of a request were 1600\n"));
    assert!(about(&["--min-duration", "1h"]).contains("the longest request took 1.011454s\n"));
    assert_eq!(
        about(&["--errors", "--user", "postgres"]),
        "pgdissect: nothing matched --user postgres --errors\npgdissect: no request failed\n"
    );
    // What was about nothing is not told.
    assert_eq!(about(&["--user", "nobody,app", "-e", "query", "-F", "text", "--sql", "SELECT"]), "");
    assert_eq!(about(&["--conn", "1", "-e", "loss"]), "");
    assert!(run(args(SUMMARY, &["--user", "nobody"])).good().is_empty());
    // Nor is a secret.
    let secret =
        told("cases/secrets-again-15.pcap", &["--user", "nobody", "--database", "none", "--application", "none"]);
    assert!(secret.contains("***") && !secret.contains("hunter2"), "{secret}");
}

#[test]
fn losses_of_sessions_that_are_not_known_are_told() {
    let startup = "loss/startup.pcap";
    assert_eq!(lines(startup, &["-e", "loss"]).len(), 1);
    assert!(lines(startup, &["-e", "loss", "--user", "u_scram"]).is_empty());
    let wanted = "1 loss has no line: it is not known whether the connection was asked for\n";
    assert!(told(startup, &["--user", "u_scram"]).ends_with(wanted));
    // Of the client all is known.
    assert_eq!(lines(startup, &["-e", "loss", "--client", "127.0.0.0/8"]).len(), 1);
    assert!(lines(startup, &["-e", "loss", "--client", "10.0.0.1"]).is_empty());
    assert!(!told(startup, &["--client", "10.0.0.1"]).contains("has no line"));
}

#[test]
fn where_changes_are_those_of_another_plugin_this_is_told() {
    let told = |events: &str, capture: &str| {
        let command = run(["-p", "5515,5518", "-e", events, capture]);
        command.said.contains("there are no lines of changes, for these are read of pgoutput alone")
    };
    assert!(told("change", "replication-text-plugins/wal2json_2.pcap.gz"));
    assert!(told("change,query", "replication-text-plugins/wal2json_2.pcap.gz"));
    assert!(!told("query", "replication-text-plugins/wal2json_2.pcap.gz"), "nobody asked for them");
    assert!(!told("change", "replication-subscription/capture.pcap.gz"));
}
