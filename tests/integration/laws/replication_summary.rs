//! What a summary has of replication is what the lines of messages, changes and transactions add up to.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::command::{run, testdata};

const PORTS: &str = "5440,5441,5514,5515,5518,5525,5526,5534,5535,5538";

/// Returns the captures of replication.
fn captures() -> Vec<String> {
    let mut found = Vec::new();
    for folder in std::fs::read_dir(testdata()).unwrap().map(|folder| folder.unwrap().path()) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("replication-") {
            continue;
        }
        for file in std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()) {
            if file.ends_with(".pcap") || file.ends_with(".pcap.gz") {
                found.push(format!("{name}/{file}"));
            }
        }
    }
    found.sort();
    assert!(found.len() > 20, "{found:?}");
    found
}

fn lines(capture: &str, events: &str, more: &[&str]) -> Vec<Value> {
    let mut args: Vec<String> = ["-q", "-p", PORTS, "-e", events].map(str::to_owned).to_vec();
    let keys = Path::new(capture).with_file_name("keys.log");
    if testdata().join(&keys).exists() {
        args.extend(["--keylog".to_owned(), keys.display().to_string()]);
    }
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    args.push(capture.to_owned());
    run(args).values()
}

fn summary(capture: &str, more: &[&str]) -> Value {
    lines(capture, "summary", more).pop().unwrap()
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name].as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// A position as a number; `None` for "0/0".
fn lsn(value: &Value) -> Option<u64> {
    let (high, low) = value.as_str()?.split_once('/')?;
    let part = |text| u64::from_str_radix(text, 16).unwrap();
    Some(part(high) << 32 | part(low)).filter(|lsn| *lsn > 0)
}

fn micros(ts: &Value) -> u64 {
    let ts: jiff::Timestamp = ts.as_str().unwrap().parse().unwrap();
    ts.as_microsecond().try_into().unwrap()
}

/// What the lines of a slot and client add up to.
#[derive(Default)]
struct Expected {
    bytes: u64,
    streams: u64,
    end_lsn: Value,
    confirmed: BTreeMap<&'static str, Value>,
    /// The lag at each confirmation: bytes, and microseconds.
    lags: Vec<(u64, u64)>,
    /// The same at each message of the server's as well, once there is a confirmation.
    all_lags: Vec<(u64, u64)>,
    /// Whether more positions were unconfirmed at a time than are remembered.
    is_rough: bool,
    /// By table (its schema, its name and its object ID, as text) and operation.
    changes: BTreeMap<(String, String), u64>,
    messages: u64,
    outcomes: BTreeMap<String, u64>,
    streamed: u64,
    /// The position that was confirmed last, and when what is behind it was told first.
    unconfirmed: (u64, Option<u64>),
    /// When the last message was captured; whether its session has ended, and its slot will be there.
    last: u64,
    is_over: bool,
    /// By the position of commit or preparation: how often, and changes.
    sent: BTreeMap<u64, Vec<u64>>,
}

/// A stream that goes on: when the server told which position first, and up to which the client has confirmed.
#[derive(Default)]
struct Open {
    sent: Vec<(u64, u64)>,
    confirmed: u64,
}

impl Open {
    fn told(&mut self, lsn: u64, at: u64) {
        if self.sent.last().is_none_or(|(last, _)| *last < lsn) {
            self.sent.push((lsn, at));
        }
    }

    fn behind(&self, at: u64) -> Option<(u64, u64)> {
        let newest = self.sent.last().filter(|_| self.confirmed > 0)?.0;
        let since = self.sent.iter().find(|(sent, _)| *sent > self.confirmed);
        Some((newest.saturating_sub(self.confirmed), since.map_or(0, |(_, then)| at - then)))
    }

    /// As the documentation of the summary has it.
    fn confirms(&mut self, lsn: u64, at: u64) -> Option<(u64, u64)> {
        let before = self.confirmed;
        self.confirmed = before.max(lsn);
        let newest = self.sent.last()?.0;
        let of_now = self.sent.iter().rfind(|(sent, _)| (before + 1..=lsn).contains(sent));
        let since = of_now.or_else(|| self.sent.iter().find(|(sent, _)| *sent > self.confirmed));
        Some((newest.saturating_sub(lsn), since.map_or(0, |(_, then)| at - then)))
    }
}

fn expected(lines: &[Value]) -> BTreeMap<String, Expected> {
    // Who a session is, is known at its end at the latest.
    let mut who = BTreeMap::new();
    for line in lines.iter().filter(|line| line["event"] == "session") {
        who.insert(number(&line["conn"]), line.clone());
    }
    // Slots that are gone with their sessions, or were dropped.
    let mut dropped = Vec::new();
    for line in lines {
        let command = &line["replication_command"];
        let is_gone = command["command"] == "DROP_REPLICATION_SLOT"
            || command["command"] == "CREATE_REPLICATION_SLOT" && command["temporary"] == true;
        if is_gone {
            dropped.push(command["slot"].clone());
        }
    }
    let mut all = BTreeMap::<String, Expected>::new();
    let (mut slots, mut open) = (BTreeMap::<u64, Value>::new(), BTreeMap::<u64, Open>::new());
    for line in lines {
        let conn = number(&line["conn"]);
        let sql = line["body"]["query"].as_str().unwrap_or_default();
        if let Some(rest) = sql.trim_start().strip_prefix("START_REPLICATION") {
            let mut words = rest.split_whitespace();
            let slot = if words.next() == Some("SLOT") { words.next() } else { None };
            slots.insert(conn, json!(slot.map(|slot| slot.trim_matches('"'))));
            open.remove(&conn);
        }
        let Some(slot) = slots.get(&conn) else { continue };
        let session = &who[&conn];
        let client = line["client"].as_str().unwrap().rsplit_once(':').unwrap().0;
        let of = || {
            json!([slot, session["user"], session["database"], session["application"], client, line["server"]])
                .to_string()
        };
        let body = &line["body"];
        match (line["event"].as_str().unwrap(), body["kind"].as_str().unwrap_or_default()) {
            ("message", kind @ ("xlog_data" | "keepalive" | "standby_status" | "hot_standby_feedback")) => {
                let at = micros(&line["ts"]);
                let of = all.entry(of()).or_default();
                of.streams += u64::from(!open.contains_key(&conn));
                let open = open.entry(conn).or_default();
                match kind {
                    "standby_status" => {
                        for field in ["write_lsn", "flush_lsn", "apply_lsn"] {
                            lsn(&body[field]).map(|_| of.confirmed.insert(field, body[field].clone()));
                        }
                        let fields = ["apply_lsn", "flush_lsn", "write_lsn"];
                        let confirmed = fields.into_iter().find_map(|field| lsn(&body[field]));
                        let lag = confirmed.and_then(|lsn| open.confirms(lsn, at));
                        of.lags.extend(lag);
                        of.all_lags.extend(lag);
                    }
                    "xlog_data" | "keepalive" => {
                        if kind == "xlog_data" {
                            of.bytes += number(&line["len"]) - 4 - 25;
                        }
                        if let Some(end) = lsn(&body["end_lsn"]) {
                            of.end_lsn = body["end_lsn"].clone();
                            open.told(end, at);
                            let unconfirmed = open.sent.iter().filter(|(sent, _)| *sent > open.confirmed).count();
                            of.is_rough |= unconfirmed > 60;
                        }
                        of.all_lags.extend(open.behind(at));
                    }
                    _ => {}
                }
                if !of.all_lags.is_empty() && open.confirmed >= of.unconfirmed.0 {
                    let since = open.sent.iter().find(|(sent, _)| *sent > open.confirmed).map(|(_, at)| *at);
                    let before = of.unconfirmed.1.filter(|_| open.confirmed == of.unconfirmed.0);
                    of.unconfirmed = (open.confirmed, since.into_iter().chain(before).min());
                }
                of.last = at;
                let has_slot = !slot.is_null() && !dropped.contains(slot);
                of.is_over = session["end_reason"] != "capture_end" && !has_slot;
            }
            ("change", _) => {
                let of = all.entry(of()).or_default();
                if line["op"] == "message" {
                    of.messages += 1;
                } else {
                    let table = json!([line["schema"], line["table"], line["relation_oid"]]).to_string();
                    *of.changes.entry((table, line["op"].as_str().unwrap().to_owned())).or_default() += 1;
                }
            }
            ("transaction", _) => {
                let of = all.entry(of()).or_default();
                let is_part = !line["subxid"].is_null();
                let outcome = format!("{}{}", line["outcome"].as_str().unwrap(), if is_part { " part" } else { "" });
                *of.outcomes.entry(outcome).or_default() += 1;
                of.streamed += u64::from(line["streamed"] == true && !is_part);
                if let Some(lsn) = lsn(&line["commit_lsn"]).or(lsn(&line["prepare_lsn"])) {
                    let is_end = line["outcome"] == "committed" && !line["gid"].is_null();
                    of.sent.entry(lsn).or_default().push(if is_end { 0 } else { number(&line["changes"]) });
                }
            }
            _ => {}
        }
    }
    all
}

fn check_stream(stream: &Value, expected: &Expected, end: u64, context: &str) {
    assert_eq!(stream["bytes"], expected.bytes, "{context}");
    assert_eq!(stream["streams"], expected.streams, "{context}");
    assert_eq!(stream["end_lsn"], expected.end_lsn, "{context}");
    for field in ["write_lsn", "flush_lsn", "apply_lsn"] {
        let last = expected.confirmed.get(field).unwrap_or(&Value::Null);
        assert_eq!(stream[field], *last, "{context}: {field}");
    }
    let rate = expected.bytes as f64 * 1e6 / number(&stream["active_us"]).max(1) as f64;
    assert!((stream["bytes_per_second"].as_f64().unwrap() - rate).abs() < 0.001, "{context}: {rate}");

    // Lag.
    assert_eq!(stream["confirmations"], expected.lags.len(), "{context}");
    let end = if expected.is_over { expected.last } else { end };
    let of_end = expected.all_lags.last().map(|(bytes, us)| match expected.unconfirmed {
        (confirmed, Some(since)) => {
            let newest = lsn(&stream["end_lsn"]).unwrap_or_default();
            ((*bytes).max(newest.saturating_sub(confirmed)), (*us).max(end.saturating_sub(since)))
        }
        _ => (*bytes, *us),
    });
    if let Some((bytes, us)) = of_end {
        assert_eq!(stream["lag_bytes"], bytes, "{context}");
        assert!(stream["lag_us"] == us || expected.is_rough, "{context}: lag_us {us} {}", stream["lag_us"]);
        type Part = fn(&(u64, u64)) -> u64;
        for (part, max, p95) in [
            ((|lag| lag.0) as Part, "lag_max_bytes", "lag_p95_bytes"),
            ((|lag| lag.1) as Part, "lag_max_us", "lag_p95_us"),
        ] {
            let mut all: Vec<_> = expected.lags.iter().map(part).collect();
            all.sort_unstable();
            let most = expected.all_lags.iter().chain(&of_end).map(part).max().unwrap();
            if expected.is_rough {
                let found = number(&stream[max]);
                assert!((most..=most + most / 16).contains(&found), "{context}: {max} {found}, {most}");
                continue;
            }
            assert_eq!(number(&stream[max]), most, "{context}: {max}");
            let exact = all[(all.len() * 95).div_ceil(100) - 1];
            assert!(number(&stream[p95]).abs_diff(exact) * 100 <= exact, "{context}: {p95} {exact}");
        }
    }

    // Changes and transactions.
    let mut found = BTreeMap::new();
    for table in list(stream, "tables") {
        let name = json!([table["schema"], table["table"], table["relation_oid"]]).to_string();
        for (field, op) in
            [("inserts", "insert"), ("updates", "update"), ("deletes", "delete"), ("truncates", "truncate")]
        {
            found.insert((name.clone(), op.to_owned()), number(&table[field]));
        }
    }
    found.retain(|_, count| *count > 0);
    assert_eq!(found, expected.changes, "{context}");
    assert_eq!(number(&stream["changes"]), found.values().sum::<u64>() + expected.messages, "{context}");
    assert_eq!(stream["logical_messages"], expected.messages, "{context}");
    for (field, outcome) in [
        ("commits", "committed"),
        ("prepares", "prepared"),
        ("aborts", "aborted"),
        ("subtransaction_aborts", "aborted part"),
        ("rollbacks", "rolled_back"),
    ] {
        let count = expected.outcomes.get(outcome).copied().unwrap_or_default();
        assert_eq!(stream[field], count, "{context}: {field}");
    }
    assert_eq!(stream["streamed_transactions"], expected.streamed, "{context}");
    let again = expected.sent.values().map(|sent| sent.len() - 1).sum::<usize>();
    let changes: u64 = expected.sent.values().map(|sent| sent.iter().sum::<u64>() - sent.iter().max().unwrap()).sum();
    assert_eq!(stream["repeated_transactions"], again, "{context}");
    assert_eq!(stream["repeated_changes"], changes, "{context}");

    // Over time.
    let buckets = list(&stream["over_time"], "buckets");
    for field in ["bytes", "changes"] {
        let sum: u64 = buckets.iter().map(|bucket| number(&bucket[field])).sum();
        assert_eq!(sum, number(&stream[field]), "{context}: {field} over time");
    }
    for (field, max) in [("lag_us", "lag_max_us"), ("lag_bytes", "lag_max_bytes")] {
        // What grows to the end of the capture has no message.
        let most = buckets.iter().filter_map(|bucket| bucket[field].as_u64()).max();
        assert!(most <= stream[max].as_u64(), "{context}: {field} over time");
        let of_messages: Option<u64> =
            expected.all_lags.iter().map(|lag| if field == "lag_us" { lag.1 } else { lag.0 }).max();
        assert!(most == of_messages || expected.is_rough, "{context}: {field} over time");
    }
}

#[test]
fn streams_are_what_their_messages_changes_and_transactions_add_up_to() {
    let mut changes = 0;
    for capture in captures() {
        let lines = lines(&capture, "message,session,change,transaction", &[]);
        let expected = expected(&lines);
        let summary = summary(&capture, &["--top", "1000"]);
        let streams = list(&summary, "replication_streams");
        assert_eq!(streams.len(), expected.len(), "{capture}");
        for stream in streams {
            let names = ["slot", "user", "database", "application", "client_ip", "server"];
            let key = Value::from_iter(names.map(|name| stream[name].clone())).to_string();
            let expected = expected.get(&key).unwrap_or_else(|| panic!("{capture}: no {key}"));
            let started = micros(&summary["capture"]["started"]);
            let end = started + number(&summary["capture"]["duration_us"]);
            check_stream(stream, expected, end, &format!("{capture}: {key}"));
            changes += number(&stream["changes"]);
        }

        // The largest transactions: each is the line of its fate.
        let mut of_lines: Vec<_> = lines
            .iter()
            .filter(|line| line["event"] == "transaction" && line["subxid"].is_null() && number(&line["changes"]) > 0)
            .map(|line| (number(&line["changes"]), number(&line["xid"]), line["outcome"].as_str().unwrap()))
            .collect();
        // One that is sent again is listed once.
        if capture.contains("reconnect") {
            of_lines.sort_unstable();
            of_lines.dedup();
        }
        let ended: Vec<_> =
            of_lines.iter().filter(|(.., outcome)| *outcome != "prepared").map(|(_, xid, _)| *xid).collect();
        of_lines.retain(|(_, xid, outcome)| *outcome != "prepared" || !ended.contains(xid));
        let found = list(&summary, "largest_transactions").iter();
        let found: Vec<_> = found
            .map(|found| (number(&found["changes"]), number(&found["xid"]), found["outcome"].as_str().unwrap()))
            .collect();
        assert!(found.is_sorted_by(|a, b| a.0 >= b.0), "{capture}");
        let sorted = |mut list: Vec<(u64, u64, &str)>| {
            list.sort_unstable();
            list.iter().map(|(changes, xid, outcome)| format!("{changes} {xid} {outcome}")).collect::<Vec<_>>()
        };
        assert_eq!(sorted(found), sorted(of_lines), "{capture}");
    }
    assert!(changes > 4_000, "{changes}");
}

#[test]
fn base_backups_have_their_archives_and_bytes() {
    for (capture, archives) in [
        ("replication-base-backup/tar-14.pcap.gz", 2),
        ("replication-base-backup/tar-15.pcap.gz", 2),
        ("replication-base-backup/full-18.pcap.gz", 2),
    ] {
        let lines = lines(capture, "message", &[]);
        let of = |wanted: &str| {
            let of = lines.iter().filter(|line| line["dir"] == "B" && line["body"]["kind"] == wanted);
            of.collect::<Vec<_>>()
        };
        let bytes: u64 = of("data").iter().map(|line| number(&line["body"]["bytes"])).sum();
        assert!(bytes > 1_000_000, "{capture}: {bytes}");
        let summary = summary(capture, &[]);
        let [backup] = list(&summary, "base_backups") else { panic!("{capture}: {}", summary["base_backups"]) };
        assert_eq!(backup["bytes"], bytes, "{capture}");
        if capture.contains("-14") {
            // There is a COPY for each, and the last one is of the manifest.
            let copies = lines.iter().filter(|line| line["type"] == "CopyOutResponse").count();
            assert_eq!(copies, archives + 1, "{capture}");
        } else {
            assert_eq!(of("archive").len(), archives, "{capture}");
        }
        assert_eq!(list(backup, "archives").len(), archives, "{capture}");
        let took = number(&backup["active_us"]);
        // From the request, which waits for a checkpoint.
        let is_request = |line: &&Value| line["replication_command"]["command"] == "BASE_BACKUP";
        let request = micros_of(lines.iter().find(is_request).unwrap());
        // To the end of the request, which is behind that of the files.
        let ended =
            micros_of(lines.iter().rfind(|line| line["type"] == "ReadyForQuery" && line["query"].is_u64()).unwrap());
        let files = micros_of(of("data").last().unwrap());
        assert!((files - request..=ended - request).contains(&took), "{capture}: {took}");
        assert_eq!(micros(&backup["started"]), request, "{capture}");
        let rate = bytes as f64 * 1e6 / took as f64;
        assert!((backup["bytes_per_second"].as_f64().unwrap() - rate).abs() < 0.001, "{capture}");
        assert_eq!(backup["application"], "pg_basebackup", "{capture}");
    }
}

#[test]
fn a_base_backup_that_failed_says_why() {
    let capture = "replication-base-backup/error-15.pcap.gz";
    let summary = summary(capture, &[]);
    let [backup] = list(&summary, "base_backups") else { panic!("{}", summary["base_backups"]) };
    let told = std::fs::read_to_string(testdata().join("replication-base-backup/error-15.err")).unwrap();
    let message = backup["message"].as_str().unwrap();
    assert!(told.contains(message) && message.len() > 20, "{message}: {told}");
    assert_eq!(backup["code"].as_str().map(str::len), Some(5));
    let text = run(["-q", "-p", PORTS, "-F", "summary", capture]).lines.join("\n");
    assert!(section_of(&text, "Base backups").contains(message), "{text}");
}

/// Returns a section of a summary for people.
fn section_of<'a>(text: &'a str, title: &str) -> &'a str {
    let rest = &text[text.find(&format!("── {title}")).unwrap()..];
    rest.split("\n── ").next().unwrap()
}

#[test]
fn bytes_of_streams_are_counted_once_and_when_they_are_sent() {
    for (capture, threads) in captures().into_iter().flat_map(|capture| [(capture.clone(), "1"), (capture, "4")]) {
        let summary = summary(&capture, &["-j", threads, "--least-in-parallel", "2"]);
        for direction in ["bytes_in", "bytes_out"] {
            let queries = lines(&capture, "query", &[]);
            let of_requests: u64 = queries.iter().map(|query| number(&query[direction])).sum();
            let of_clients: u64 = list(&summary, "clients").iter().map(|client| number(&client[direction])).sum();
            let buckets = list(&summary["traffic"], "buckets");
            let over_time: u64 = buckets.iter().map(|bucket| number(&bucket[direction])).sum();
            let all = number(&summary["totals"][direction]);
            assert_eq!((of_clients, over_time), (all, all), "{capture}: {direction}");
            // Where a stream's beginning was not captured, it has no request.
            assert!(
                of_requests <= all && (of_requests == all || capture.contains("middle")),
                "{capture}: {of_requests} of {all}"
            );
        }
    }
    // A standby: its one request ends with the capture.
    let summary = summary("replication-physical/standby.pcap.gz", &[]);
    let buckets = list(&summary["traffic"], "buckets");
    let before_the_end: u64 = buckets[..buckets.len() - 1].iter().map(|bucket| number(&bucket["bytes_out"])).sum();
    // That it has no end is no defect.
    assert_eq!(summary["totals"]["unfinished"], 0);
    let all = number(&summary["totals"]["bytes_out"]);
    assert!(before_the_end * 10 > all * 9, "{before_the_end} of {all}");
}

fn micros_of(line: &Value) -> u64 {
    micros(&line["ts"])
}

#[test]
fn replication_is_the_same_with_any_number_of_threads() {
    const SECTIONS: [&str; 3] = ["replication_streams", "largest_transactions", "base_backups"];
    // Several backups in one run, too.
    let backups =
        ["plain-15", "tar-14", "full-18", "killed-15"].map(|name| format!("replication-base-backup/{name}.pcap.gz"));
    let runs = captures().into_iter().map(|capture| vec![capture]).chain([backups.to_vec()]);
    for run in runs {
        let [capture, others @ ..] = &*run else { continue };
        let of = |threads: &str| {
            let more: Vec<&str> = ["-j", threads, "--least-in-parallel", "2"]
                .into_iter()
                .chain(others.iter().map(String::as_str))
                .collect();
            let summary = summary(capture, &more);
            SECTIONS.map(|section| summary[section].to_string())
        };
        let one = of("1");
        for threads in ["2", "4"] {
            assert_eq!(of(threads), one, "{capture}: {threads} threads");
        }
    }
}

#[test]
fn without_replication_a_summary_has_no_such_sections() {
    let summary = run(["-q", "-p", "5415", "-e", "summary", "summary/capture.pcap.gz"]).good().pop().unwrap();
    for section in ["replication_streams", "largest_transactions", "base_backups"] {
        assert_eq!(summary[section], Value::Null, "{section}");
    }
}
