use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use super::model::Model;
use super::view::{Activity, ErrorKind, SessionRow, Window, WireBytes};
use crate::capture::file::FileSource;
use crate::capture::{Event, Source};
use crate::dissector::{Clients, Config, Dissector, Records, Sink};
use crate::output::json;
use crate::pg::message::Decoded;
use crate::pooler::Joiner;
use crate::record::{Ended, MessageEvent, MessageRun, Record, ReplicationEvent, RunningState, StatsRecord};
use crate::redaction::Redaction;
use crate::time::Timestamp;

/// A model, and beside it the lines of all messages and the requests by fingerprint.
pub(super) struct Beside {
    pub(super) model: Model,
    lines: BTreeMap<u64, Vec<String>>,
    /// The bytes of messages, by connection and number.
    bytes: BTreeMap<(u64, u64), Vec<u8>>,
    calls: BTreeMap<String, u64>,
    slowest: BTreeMap<String, Option<u64>>,
    failed: u64,
    /// Requests, errors, bytes in, bytes out, lost bytes and microseconds idle in a transaction of sessions that have ended.
    totals: BTreeMap<u64, [u64; 6]>,
}

fn bytes_of(event: &MessageEvent<'_>) -> Vec<u8> {
    [event.frame.tag.as_slice(), &event.frame.len.to_be_bytes(), event.frame.body].concat()
}

impl Sink for Beside {
    fn record(&mut self, record: &Record<'_>) {
        if let Record::Query(query) = record {
            let fingerprint = query.sql.map(|sql| sql.normalize().1).unwrap_or_default();
            let slowest = self.slowest.entry(fingerprint.clone()).or_default();
            *slowest = (*slowest).max(query.total_us);
            *self.calls.entry(fingerprint).or_default() += 1;
            self.failed += u64::from(query.error.is_some());
        }
        if let Record::Session(session) = record
            && let Some(ended) = &session.ended
        {
            let Ended { queries, errors, bytes_in, bytes_out, lost_bytes, idle_in_transaction_us, .. } = *ended;
            let totals = [queries, errors, bytes_in, bytes_out, lost_bytes, idle_in_transaction_us];
            self.totals.insert(session.header.conn, totals);
        }
        self.model.record(record);
    }

    fn replication(&mut self, event: &ReplicationEvent<'_>) {
        self.model.replication(event);
    }

    fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        let mut line = Vec::new();
        json::write_line(&mut line, &Record::Message(event.to_record(&mut decoded.clone()))).unwrap();
        let line = String::from_utf8(line).unwrap().trim_end().to_owned();
        self.lines.entry(event.header.conn).or_default().push(line);
        self.bytes.insert((event.header.conn, event.seq), bytes_of(event));
        self.model.message(event, decoded);
    }

    fn data(&mut self, run: &MessageRun<'_>) {
        run.for_each(|event| {
            let mut line = Vec::new();
            json::write_line(&mut line, &Record::Message(event.to_record(&mut None))).unwrap();
            let line = String::from_utf8(line).unwrap().trim_end().to_owned();
            self.lines.entry(event.header.conn).or_default().push(line);
            self.bytes.insert((event.header.conn, event.seq), bytes_of(event));
        });
        self.model.data(run);
    }
}

/// Dissects a capture of testdata, up to a time after its first packet in microseconds if one is given.
pub(super) fn dissect(path: &str, port: u16, max_bytes: usize, until: Option<u64>) -> (Beside, Dissector, Timestamp) {
    dissect_redacted(path, port, max_bytes, until, Redaction::default())
}

fn dissect_redacted(
    path: &str,
    port: u16,
    max_bytes: usize,
    until: Option<u64>,
    redaction: Redaction,
) -> (Beside, Dissector, Timestamp) {
    let mut beside = Beside {
        model: Model::new(max_bytes),
        lines: BTreeMap::new(),
        bytes: BTreeMap::new(),
        calls: BTreeMap::new(),
        slowest: BTreeMap::new(),
        failed: 0,
        totals: BTreeMap::new(),
    };
    let config = Config { ports: Some(vec![port]), records: Records::ALL, redaction, ..Config::default() };
    let mut dissector = Dissector::new(config);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(path);
    let mut source = FileSource::new(vec![path], Arc::default());
    let (mut first, mut now) = (None, Timestamp::default());
    while let Ok(event) = source.next_event() {
        match event {
            Event::Packet(packet) => {
                let first = *first.get_or_insert(packet.ts);
                if until.is_some_and(|until| packet.ts > first.later(until)) {
                    break;
                }
                now = packet.ts;
                dissector.packet(&packet, &mut beside);
            }
            Event::End => break,
            _ => {}
        }
    }
    dissector.running(now, &mut beside);
    beside.model.begin_sessions();
    dissector.open_sessions(now, |session| beside.model.open_session(session));
    beside.model.refresh(now, first, &StatsRecord { counters: dissector.counters(), ..StatsRecord::default() });
    (beside, dissector, now)
}

#[test]
fn statements_of_all_times_are_all_requests() {
    let (mut beside, mut dissector, now) = dissect("summary/capture.pcap.gz", 5415, 1 << 30, None);
    dissector.finish(&mut beside);
    let rows = beside.model.statements(Window::All, now);
    let calls: BTreeMap<String, u64> =
        rows.iter().map(|row| (row.fingerprint.clone().unwrap_or_default(), row.calls)).collect();
    assert!(calls.len() > 10);
    assert_eq!(calls, beside.calls);
    assert_eq!(rows.iter().map(|row| row.errors).sum::<u64>(), beside.failed);
    // The capture is of some seconds.
    let minute: u64 = beside.model.statements(Window::Minute, now).iter().map(|row| row.calls).sum();
    assert_eq!(minute, calls.values().sum::<u64>());
    let later = now.later(3_600_000_000);
    assert!(beside.model.statements(Window::FiveMinutes, later).is_empty());
}

#[test]
fn a_ladder_has_the_lines_of_its_session_and_counts_the_rows_that_it_does_not_have() {
    for (path, port) in [("summary/capture.pcap.gz", 5415), ("rows-3000/capture.pcap", 5415)] {
        let (beside, ..) = dissect(path, port, 1 << 30, None);
        for (conn, lines) in &beside.lines {
            let ladder = beside.model.ladder(*conn);
            let shown: u64 = ladder.steps.iter().map(|step| step.count).sum();
            assert_eq!(shown + ladder.forgotten, lines.len() as u64, "{path} {conn}");
            let mut seq = ladder.forgotten + 1;
            for step in &ladder.steps {
                assert_eq!(step.seq, seq, "{path} {conn}");
                seq += step.count;
                if step.count == 1 && !step.json.is_empty() {
                    assert_eq!(step.json, lines[step.seq as usize - 1]);
                }
            }
        }
    }
}

#[test]
fn the_bytes_of_a_message_are_those_on_the_wire_unless_some_are_redacted() {
    // How many messages have their bytes, and the types of those that have not.
    let shown = |path: &str, redaction| {
        let (beside, ..) = dissect_redacted(path, 5415, 1 << 30, None, redaction);
        let (mut known, mut hidden) = (0, BTreeSet::new());
        for ((conn, seq), bytes) in &beside.bytes {
            match beside.model.wire_bytes(*conn, *seq) {
                WireBytes::Known(found) => {
                    assert_eq!(&found, bytes, "{path} {conn} {seq}");
                    known += 1;
                }
                WireBytes::Redacted => {
                    let line: serde_json::Value = serde_json::from_str(&beside.lines[conn][*seq as usize - 1]).unwrap();
                    hidden.insert(line["type"].as_str().unwrap().to_owned());
                }
                WireBytes::NotKept => {}
            }
        }
        (known, hidden.into_iter().collect::<Vec<_>>().join(" "))
    };
    let (known, hidden) = shown("auth-password-ok/capture.pcap", Redaction::Secrets);
    assert!(known > 10 && hidden == "BackendKeyData PasswordMessage", "{known} {hidden}");
    let (all, hidden) = shown("auth-password-ok/capture.pcap", Redaction::Nothing);
    assert_eq!((all, &*hidden), (known + 2, ""));
    let (known, hidden) = shown("extended-query/capture.pcap", Redaction::Values);
    assert!(known > 10, "{known}");
    for with_values in ["Bind", "DataRow", "ErrorResponse", "Parse"] {
        assert!(hidden.contains(with_values), "{hidden}");
    }
    // The WAL, the data of backups, and values in changes.
    for (path, port, redaction) in [
        ("replication-physical/standby.pcap.gz", 5525, Redaction::Secrets),
        ("replication-base-backup/killed-15.pcap.gz", 5535, Redaction::Secrets),
        ("replication-subscription/capture.pcap.gz", 5515, Redaction::Values),
    ] {
        let (beside, ..) = dissect_redacted(path, port, 1 << 30, None, redaction);
        let mut hidden = 0;
        for (conn, lines) in &beside.lines {
            for (line, seq) in lines.iter().zip(1..) {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let body = &line["body"];
                let has_data = ["xlog_data", "data"].iter().any(|kind| body["kind"] == *kind)
                    && (redaction == Redaction::Secrets || body["pgoutput"]["new"].is_object());
                if has_data {
                    assert!(!matches!(beside.model.wire_bytes(*conn, seq), WireBytes::Known(_)), "{path}: {line}");
                    hidden += 1;
                }
            }
        }
        assert!(hidden > 3, "{path}: {hidden}");
    }
    // A message that was not kept has no bytes.
    let (beside, ..) = dissect("rows-3000/capture.pcap", 5415, 1 << 30, None);
    let ladder = beside.model.ladder(1);
    let counted = ladder.steps.iter().find(|step| step.count > 1).unwrap();
    assert_eq!(beside.model.wire_bytes(1, counted.seq), WireBytes::NotKept);
}

#[test]
fn the_messages_of_all_sessions_stay_within_their_limit() {
    let (beside, ..) = dissect("summary/capture.pcap.gz", 5415, 100_000, None);
    assert!(beside.model.message_bytes() <= 100_000);
    let kept = beside.lines.keys().filter(|conn| !beside.model.ladder(**conn).steps.is_empty()).count();
    assert!(kept > 0 && kept < beside.lines.len(), "{kept}");
}

#[test]
fn what_runs_is_what_has_no_reply_yet() {
    let (beside, ..) = dissect("summary/capture.pcap.gz", 5415, 1 << 30, Some(300_000));
    let running = beside.model.running();
    let sleep = running.iter().find(|row| row.sql == "SELECT pg_sleep(60)").unwrap();
    assert_eq!(sleep.activity, Activity::Request(RunningState::WaitingForServer));
    assert_eq!((sleep.who.user.as_deref(), sleep.who.database.as_deref()), (Some("app"), Some("shop")));
    let session = beside.model.sessions();
    let session = session.iter().find(|row| row.who.conn == sleep.who.conn).unwrap();
    assert_eq!((session.activity, session.since), (sleep.activity, Some(sleep.since)));
    assert_eq!(
        beside.model.overview().running,
        running.iter().filter(|row| row.activity != Activity::IdleInTransaction).count() as u64
    );
}

#[test]
fn sessions_have_the_figures_of_their_lines() {
    let mut sums = [0; 6];
    for path in ["summary/capture.pcap.gz", "loss/burst.pcap"] {
        let (mut beside, mut dissector, _) = dissect(path, 5415, 1 << 30, None);
        dissector.finish(&mut beside);
        beside.model.end();
        let rows = beside.model.sessions();
        for row in &rows {
            let SessionRow { requests, errors, bytes_in, bytes_out, lost_bytes, idle_in_transaction_us, .. } = **row;
            let found = [requests, errors, bytes_in, bytes_out, lost_bytes, idle_in_transaction_us];
            assert_eq!(found, beside.totals[&row.who.conn], "{path} {}", row.who.conn);
            sums.iter_mut().zip(found).for_each(|(sum, figure)| *sum += figure);
        }
        assert!(!rows.is_empty());
    }
    assert!(sums.iter().all(|sum| *sum > 0), "{sums:?}");
}

#[test]
fn failed_logins_are_errors_of_their_kind() {
    let (mut beside, mut dissector, _) = dissect("auth-scram-wrong/capture.pcap", 5415, 1 << 30, None);
    dissector.finish(&mut beside);
    let errors = beside.model.errors();
    assert_eq!(errors.len(), 1);
    assert_eq!((errors[0].kind, &*errors[0].code), (ErrorKind::Login, "28P01"));
    assert_eq!(beside.model.error_counts()[0].count, 1);
}

#[test]
fn requests_of_a_statement_are_the_slowest_the_latest_and_those_that_failed() {
    let (mut beside, mut dissector, now) = dissect("summary/capture.pcap.gz", 5415, 1 << 30, None);
    dissector.finish(&mut beside);
    for statement in beside.model.statements(Window::All, now) {
        let requests = beside.model.requests(&statement);
        let slowest = requests.iter().map(|request| request.total_us).max().unwrap();
        assert_eq!(slowest, beside.slowest[statement.fingerprint.as_deref().unwrap_or_default()], "{}", statement.sql);
        assert!(requests.len() as u64 <= statement.calls && requests.len() <= 15);
        let failed = requests.iter().filter(|request| !request.error.is_empty()).count() as u64;
        assert_eq!(failed > 0, statement.errors > 0, "{}", statement.sql);
    }
}

#[test]
fn what_went_through_a_pooler_is_a_pool_and_counts_once() {
    let pooler = Clients { addr: IpAddr::V4(Ipv4Addr::LOCALHOST), prefix: 32, port: Some(6432) };
    let mut model = Model::new(1 << 20);
    let mut joiner = Joiner::new(vec![pooler], false);
    let config = Config { ports: Some(vec![5415, 6432]), records: Records::ALL, ..Config::default() };
    let mut dissector = Dissector::new(config);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/pooler-pgbouncer/waits.pcap.gz");
    let mut source = FileSource::new(vec![path], Arc::default());
    let mut now = Timestamp::default();
    let mut sink = |record: &Record<'_>| model.record(record);
    let mut sink = joiner.before(&mut sink);
    while let Ok(Event::Packet(packet)) = source.next_event() {
        now = packet.ts;
        dissector.packet(&packet, &mut sink);
    }
    dissector.finish(&mut sink);
    sink.finish();
    let [pool] = &*model.pools() else { panic!("{:?}", model.pools()) };
    let pool = &pool.0;
    assert_eq!((&*pool.server, pool.database.as_deref()), ("127.0.0.1:6432", Some("waits")));
    assert_eq!((pool.requests, pool.client_connections, pool.server_connections), (40, 7, 2));
    assert_eq!(pool.idle_in_transaction.first().and_then(|idle| idle.application.as_deref()), Some("billing"));
    assert_eq!(model.overview().pools, 1);
    let slept: Vec<_> =
        model.statements(Window::All, now).into_iter().filter(|row| row.sql.contains("pg_sleep")).collect();
    assert_eq!(slept.iter().map(|row| row.calls).collect::<Vec<_>>(), [36]);
    // With the time on the server, and whose it was.
    assert!(slept.iter().all(|row| (10_000..12_000).contains(&row.mean_us)), "{slept:?}");
    let requests = model.requests(&slept[0]);
    assert!(requests.iter().all(|row| row.who.application.as_deref().is_some_and(|name| name.starts_with("web"))));
}
