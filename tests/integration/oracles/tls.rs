//! Encrypted sessions decrypted with their keys: every message is the one in libpq's trace, in every suite and in all kinds of
//! sessions; and the metadata of sessions that cannot be decrypted.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pgdissect::{Config, Event, FileSource, KeyLogLines, Keys, Records, Redaction, Source, Timestamp};
use serde_json::{Value, json};

use crate::captures::{self, Bench, OwnedPacket};
use crate::oracles::libpq_trace;
use crate::wire;

/// Captures in `tls-suites`, and the suite of each.
const SUITES: &[(&str, &str)] = &[
    ("TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
    ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
    ("TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    ("TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_SHA256"),
    ("TLS_AES_128_CCM_8_SHA256", "TLS_AES_128_CCM_8_SHA256"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-AES128-SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
    ("ECDHE-RSA-AES128-SHA-mte", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
    ("ECDHE-RSA-AES256-SHA", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"),
    ("ECDHE-RSA-AES256-SHA-no-ems", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"),
    ("ECDHE-RSA-AES128-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"),
    ("ECDHE-RSA-AES128-SHA256-mte", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"),
    ("ECDHE-RSA-AES256-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"),
    ("ECDHE-RSA-AES256-SHA384-mte", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"),
    ("AES128-SHA", "TLS_RSA_WITH_AES_128_CBC_SHA"),
    ("AES256-SHA256", "TLS_RSA_WITH_AES_256_CBC_SHA256"),
    ("AES128-CCM", "TLS_RSA_WITH_AES_128_CCM"),
    ("AES256-CCM8", "TLS_RSA_WITH_AES_256_CCM_8"),
];

/// Captures in `tls-sessions`, and the number of connections with a libpq trace in each.
const SESSIONS: &[(&str, usize)] = &[
    ("cancel", 1),
    ("client-certificate", 1),
    ("client-certificate-12", 1),
    ("direct", 1),
    ("direct-12", 1),
    ("early-data", 2),
    ("early-data-rejected", 2),
    ("hello-retry", 1),
    ("key-update", 1),
    ("padded", 1),
    ("renegotiated", 1),
    ("resumed-12-id", 2),
    ("resumed-12-ticket", 2),
    ("resumed-13", 2),
    ("scram-plus", 1),
    ("server-name", 1),
];

const TRAFFIC: &[&str] = &["12", "12-cbc", "13"];

/// Returns every encrypted capture with known keys, and the traces of its connections.
pub(crate) fn traced() -> impl Iterator<Item = (String, Vec<String>)> {
    let suites = SUITES.iter().map(|(name, _)| ("tls-suites", *name, 1));
    let sessions = SESSIONS.iter().map(|(name, connections)| ("tls-sessions", *name, *connections));
    let traffic = TRAFFIC.iter().map(|name| ("tls-traffic", *name, 1));
    suites.chain(sessions).chain(traffic).map(|(folder, name, connections)| {
        let trace =
            |number| if number == 1 { format!("trace-{name}.txt") } else { format!("trace-{name}-{number}.txt") };
        (format!("{folder}/{name}.pcap"), (1..=connections).map(trace).collect())
    })
}

#[test]
fn decrypted_messages_are_those_of_libpqs_trace() {
    let mut count = 0;
    for (name, traces) in traced() {
        count += libpq_trace::compare_with_traces(&name, traces.iter().map(String::as_str));
    }
    assert!(count > 7_000, "{count} messages were compared");
}

#[test]
fn every_capture_with_keys_is_compared() {
    let compared: Vec<String> = traced().map(|(name, _)| name).collect();
    for name in captures::all() {
        let has_keys = captures::testdata().join(&name).with_file_name("keys.log").exists();
        let is_compared = compared.contains(&name) || name.starts_with("replication-tls/");
        assert_eq!(has_keys, is_compared, "{name}");
    }
}

fn packets(name: &str) -> Vec<OwnedPacket> {
    let (packets, errors) = captures::packets(&[captures::testdata().join(name)]);
    assert!(errors.is_empty());
    packets
}

/// Returns all lines of a capture, decrypted with its keys.
fn decrypted(name: &str) -> Vec<Value> {
    captures::decrypt_packets(&packets(name), &captures::keys_of(name), captures::everything()).values()
}

#[test]
fn connections_without_tls_do_no_harm_to_those_with_it() {
    let name = "tls-sessions/cancel.pcap";
    let mut both = packets("mixed-10000/capture.pcap.zst");
    both.extend(packets(name));
    let lines = captures::decrypt_packets(&both, &captures::keys_of(name), captures::config()).values();
    assert!(lines.iter().any(|line| line["body"]["query"] == "SELECT pg_sleep(10)"));
    assert!(!lines.iter().any(|line| line["reason"] == "undecryptable"));
}

/// Returns the last line of each session.
fn ended(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter(|line| line["state"] == "ended").collect()
}

#[test]
fn the_line_of_a_session_has_its_suite() {
    for (name, suite) in SUITES {
        let lines = decrypted(&format!("tls-suites/{name}.pcap"));
        let sessions = ended(&lines);
        let [session] = sessions[..] else { panic!("{name}: one connection") };
        let tls = &session["tls"];
        assert_eq!(tls["cipher_suite"], *suite);
        assert_eq!(tls["version"], if suite.contains("WITH") { "TLSv1.2" } else { "TLSv1.3" }, "{name}");
        assert_eq!((&tls["decrypted"], &tls["resumed"]), (&json!(true), &json!(false)), "{name}");
        assert_eq!(tls["certificate"]["subject"], "CN=db.lab.example,O=Lab\\, of TLS,C=DE");
        assert_eq!(tls["certificate"]["issuer"], "CN=Lab CA,O=Lab");
        assert_eq!(session["encryption"], "tls");
        let ready = lines.iter().find(|line| line["state"] == "ready").unwrap();
        assert_eq!(ready["tls"]["cipher_suite"], *suite);
        // The messages of libpq and the server, which the trace contains as well.
        assert_eq!((&session["messages"], &session["queries"], &session["errors"]), (&json!(90), &json!(5), &json!(1)));
    }
}

#[test]
fn the_line_of_a_session_has_its_tls_events() {
    let of = |name: &str| {
        let lines = decrypted(&format!("tls-sessions/{name}.pcap"));
        ended(&lines).into_iter().cloned().collect::<Vec<_>>()
    };
    let only = |name: &str| {
        let sessions = of(name);
        assert_eq!(sessions.len(), 1, "{name}");
        sessions[0]["tls"].clone()
    };
    assert_eq!(only("direct")["alpn"], json!(["postgresql"]));
    assert_eq!(only("direct-12")["version"], "TLSv1.2");
    assert_eq!(only("server-name")["sni"], "db.lab.example");
    assert_eq!(only("server-name")["ja4"].as_str().unwrap().get(..4), Some("t13d"));
    assert_eq!(only("hello-retry")["hello_retry_request"], true);
    // The client changes its key twice, and the server once, on request.
    assert_eq!(only("key-update")["key_updates"], 3);
    assert_eq!(only("renegotiated")["renegotiations"], 1);
    assert_eq!(only("client-certificate")["client_certificate"]["subject"], "CN=app,O=Lab");
    assert_eq!(only("client-certificate-12")["client_certificate"]["subject"], "CN=app,O=Lab");
    assert_eq!(of("scram-plus")[0]["auth_method"], "scram-sha-256");
    for name in ["resumed-12-id", "resumed-12-ticket", "resumed-13", "early-data", "early-data-rejected"] {
        let sessions = of(name);
        let resumed: Vec<_> = sessions.iter().map(|session| session["tls"]["resumed"].as_bool().unwrap()).collect();
        assert_eq!(resumed, [false, true], "{name}");
        let early = sessions[1]["tls"]["early_data"] == true;
        assert_eq!(early, name.starts_with("early"), "{name}");
    }
}

#[test]
fn clients_have_the_fingerprint_that_their_hellos_make() {
    // Computed from the fields shown by tshark, following JA4's description.
    for (name, ja4) in [
        ("tls-sessions/direct.pcap", "t13i3012pl_1d37bd780c83_ecd0401ec68b"),
        ("tls-sessions/server-name.pcap", "t13d3013pl_1d37bd780c83_ecd0401ec68b"),
        ("tls-sessions/resumed-12-id.pcap", "t12i0207pl_a0546e0689fc_e7e480e5a997"),
        ("tls-sessions/renegotiated.pcap", "t12i0207pl_f09d9ff7e6fc_e7e480e5a997"),
        ("tls-suites/ECDHE-RSA-AES128-SHA-mte.pcap", "t12i0107pl_5761f4ffd59f_fa596fd58899"),
        ("tls-suites/TLS_AES_128_CCM_SHA256.pcap", "t13i2812pl_9cd711b468a3_4375406afd5e"),
    ] {
        assert_eq!(ended(&decrypted(name))[0]["tls"]["ja4"], ja4, "{name}");
    }
}

#[test]
fn a_cancel_request_over_tls_finds_its_session() {
    let lines = decrypted("tls-sessions/cancel.pcap");
    let request = lines.iter().find(|line| line["type"] == "CancelRequest").unwrap();
    assert_eq!((&request["conn"], &request["target"]), (&json!(2), &json!(1)));
    let query = lines.iter().find(|line| line["outcome"] == "canceled").unwrap();
    assert_eq!(query["canceled_by"], 2);
}

#[test]
fn without_keys_all_known_metadata_is_reported() {
    let config = captures::everything();
    let lines = captures::dissect_packets(&packets("tls-sessions/client-certificate-12.pcap"), config.clone()).values();
    let sessions = ended(&lines);
    let tls = &sessions[0]["tls"];
    assert_eq!(tls["decrypted"], false);
    assert_eq!(tls["cipher_suite"], "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384");
    assert_eq!(tls["alpn"], json!(["postgresql"]));
    assert_eq!(tls["certificate"]["issuer"], "CN=Lab CA,O=Lab");
    assert!(tls["certificate"]["not_after"].as_str().unwrap().ends_with('Z'));
    assert_eq!(tls["client_certificate"]["subject"], "CN=app,O=Lab", "TLS 1.2 has it in clear");
    assert!(tls["encrypted_in"].as_u64() > Some(1_000) && tls["records_out"].as_u64() > Some(5));
    let random = tls["client_random"].as_str().unwrap();
    let losses: Vec<_> = lines.iter().filter(|line| line["event"] == "loss").collect();
    assert_eq!(losses.len(), 3, "what is missing, and how much there is each way");
    let detail = losses[0]["detail"].as_str().unwrap();
    assert!(detail.contains(random) && detail.contains("--keylog"), "{detail}");
    assert_eq!(losses[0]["reason"], "undecryptable");

    let lines = captures::dissect_packets(&packets("tls-sessions/client-certificate.pcap"), config).values();
    let tls = &ended(&lines)[0]["tls"];
    assert_eq!((&tls["version"], &tls["certificate"]), (&json!("TLSv1.3"), &Value::Null), "TLS 1.3 encrypts it");
}

#[test]
fn a_version_or_a_suite_that_is_not_decrypted_is_named_and_its_bytes_are_counted() {
    for (name, version, suite) in [
        ("version", "TLSv1.1", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"),
        ("suite", "TLSv1.2", "TLS_RSA_WITH_CAMELLIA_256_CBC_SHA"),
    ] {
        let keys = Keys::default();
        // It does not have to wait for keys.
        keys.expect_more(true);
        let packets = packets(&format!("tls-unsupported/{name}.pcap"));
        let lines = captures::decrypt_packets(&packets, &keys, captures::everything()).values();
        let sessions = ended(&lines);
        let tls = &sessions[0]["tls"];
        assert_eq!((&tls["decrypted"], &tls["version"]), (&json!(false), &json!(version)));
        assert_eq!((&tls["cipher_suite"], &tls["alert"]), (&json!(suite), &Value::Null));
        let losses: Vec<_> = lines.iter().filter(|line| line["event"] == "loss").collect();
        let essence = |line: &&Value| ["reason", "dir", "bytes"].map(|field| line[field].clone());
        assert_eq!(
            losses.iter().map(essence).collect::<Vec<_>>(),
            [
                [json!("undecryptable"), Value::Null, Value::Null],
                [json!("undecryptable"), json!("F"), tls["encrypted_in"].clone()],
                [json!("undecryptable"), json!("B"), tls["encrypted_out"].clone()],
            ]
        );
        assert_eq!(losses[0]["detail"], "TLS: this version or cipher suite is not decrypted");
    }
}

#[test]
fn no_line_has_a_secret_of_the_key_log() {
    for (name, _) in traced() {
        let log = std::fs::read_to_string(captures::testdata().join(&name).with_file_name("keys.log")).unwrap();
        let config = Config { redaction: Redaction::Nothing, ..captures::everything() };
        let output = captures::decrypt_packets(&packets(&name), &captures::keys_of(&name), config).lines.join("\n");
        for secret in log.lines().filter_map(|line| line.split(' ').nth(2)) {
            assert!(!output.contains(&secret[..32]), "{name}");
        }
    }
}

/// Returns a key log with some of its lines.
fn keys_with(log: &str, wanted: impl Fn(&str) -> bool) -> Keys {
    let keys = Keys::default();
    let wanted: String = log.lines().filter(|line| wanted(line)).flat_map(|line| [line, "\n"]).collect();
    KeyLogLines::default().push(wanted.as_bytes(), &keys);
    keys
}

fn log_of(name: &str) -> String {
    std::fs::read_to_string(captures::testdata().join(name).with_file_name("keys.log")).unwrap()
}

fn messages(packets: &[OwnedPacket], keys: &Keys) -> Vec<Value> {
    captures::decrypt_packets(packets, keys, captures::config()).values()
}

#[test]
fn keys_of_the_handshake_are_not_needed() {
    for name in
        ["tls-suites/TLS_AES_128_GCM_SHA256.pcap", "tls-sessions/key-update.pcap", "tls-sessions/resumed-13.pcap"]
    {
        let keys = keys_with(&log_of(name), |line| !line.contains("HANDSHAKE"));
        let (whole, without) = (messages(&packets(name), &captures::keys_of(name)), messages(&packets(name), &keys));
        assert_eq!(whole, without, "{name}");
    }
}

#[test]
fn early_data_without_its_key_is_counted_as_lost_and_all_else_is_read() {
    let name = "tls-sessions/early-data.pcap";
    let whole = messages(&packets(name), &captures::keys_of(name));
    let keys = keys_with(&log_of(name), |line| !line.contains("EARLY"));
    let lines = captures::decrypt_packets(&packets(name), &keys, captures::config()).values();
    let losses: Vec<_> = lines.iter().filter(|line| line["event"] == "loss").collect();
    assert_eq!(losses.len(), 1, "{losses:?}");
    assert_eq!((&losses[0]["reason"], &losses[0]["dir"]), (&json!("undecryptable"), &json!("F")));
    let kinds = |lines: &[Value]| -> Vec<Value> {
        lines.iter().filter(|line| line["event"] == "message").map(|line| line["type"].clone()).collect()
    };
    let mut expected = kinds(&whole);
    // The StartupMessage of the second connection was early data.
    let startup = expected.iter().rposition(|kind| kind == "StartupMessage").unwrap();
    expected.remove(startup);
    assert_eq!(kinds(&lines), expected);
}

#[test]
fn one_direction_is_read_where_there_are_only_its_keys() {
    let name = "tls-suites/TLS_AES_256_GCM_SHA384.pcap";
    let whole = messages(&packets(name), &captures::keys_of(name));
    for (dir, label) in [("F", "CLIENT"), ("B", "SERVER")] {
        let keys = keys_with(&log_of(name), |line| line.starts_with(label));
        let lines = messages(&packets(name), &keys);
        let of_dir = |lines: &[Value]| -> Vec<(Value, Value)> {
            let of_dir = lines.iter().filter(|line| line["dir"] == dir && line["event"] == "message");
            of_dir.map(|line| (line["type"].clone(), line["len"].clone())).collect()
        };
        assert_eq!(of_dir(&lines), of_dir(&whole), "{dir}");
        let losses: Vec<_> = lines.iter().filter(|line| line["event"] == "loss").collect();
        assert_eq!(losses.len(), 2, "what is missing, and how much of it: {losses:?}");
    }
}

#[test]
fn a_key_that_comes_late_decrypts_what_was_held_in_the_right_order() {
    // The target of a cancel request is only known if it was decrypted before.
    for (name, _) in traced().filter(|(name, _)| !name.contains("cancel")) {
        let packets = packets(&name);
        let config = || captures::everything();
        let expected = captures::decrypt_packets(&packets, &captures::keys_of(&name), config()).lines;
        // The key log arrives after this many packets; each of its lines separately.
        for behind in [0, 5, 9, 12, packets.len()] {
            let keys = Keys::default();
            keys.expect_more(true);
            let mut bench = Bench::with_keys(config(), &keys);
            let (before, after) = packets.split_at(behind.min(packets.len()));
            before.iter().for_each(|packet| bench.packet(&packet.borrow()));
            let mut lines = KeyLogLines::default();
            let log = log_of(&name);
            for line in log.lines() {
                lines.push(format!("{line}\n").as_bytes(), &keys);
                bench.tick(before.last().map_or_else(|| wire::time(0), |packet| packet.ts));
            }
            after.iter().for_each(|packet| bench.packet(&packet.borrow()));
            let actual = bench.finish().lines;
            for (expected, actual) in sorted(&expected).iter().zip(&sorted(&actual)) {
                assert_eq!(expected, actual, "{name}, behind {behind} packets");
            }
            assert_eq!(expected.len(), actual.len(), "{name}, behind {behind} packets");
        }
    }
}

#[test]
fn a_key_that_comes_seconds_after_the_end_of_its_session_decrypts_it_all() {
    // Also if the client answers the server's close_notify with a RST.
    for (name, _) in traced().filter(|(name, _)| !name.contains("cancel")) {
        let packets = packets(&name);
        let messages = |lines: &[Value]| -> Vec<Value> {
            lines.iter().filter(|line| line["event"] == "message").cloned().collect()
        };
        let mut expected =
            messages(&captures::decrypt_packets(&packets, &captures::keys_of(&name), captures::everything()).values());
        expected.sort_by_key(|line| line["conn"].as_u64());
        let keys = Keys::default();
        keys.expect_more(true);
        let mut bench = Bench::with_keys(captures::everything(), &keys);
        packets.iter().for_each(|packet| bench.packet(&packet.borrow()));
        let last = packets.last().unwrap().ts;
        let behind = |seconds: i64| Timestamp::from_nanos(last.as_nanos() + seconds * 1_000_000_000, last.precision());
        (1..5).for_each(|seconds| bench.tick(behind(seconds)));
        KeyLogLines::default().push(log_of(&name).as_bytes(), &keys);
        bench.tick(behind(5));
        // It is no longer followed.
        assert_eq!((bench.counters().open_connections, bench.counters().held_bytes), (0, 0), "{name}");
        let mut lines = messages(&bench.finish().values());
        lines.sort_by_key(|line| line["conn"].as_u64());
        assert_eq!(lines, expected, "{name}");
    }
}

/// Parses lines and sorts them by connection, keeping the order within each; without the round-trip times, which are those known
/// when a line is written.
fn sorted(lines: &[String]) -> Vec<Value> {
    let mut lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in lines.iter_mut().filter_map(Value::as_object_mut) {
        line.retain(|field, _| !field.starts_with("rtt_"));
    }
    lines.sort_by_key(|line| line["conn"].as_u64());
    lines
}

#[test]
fn what_waits_for_a_key_is_given_up_after_a_time() {
    let name = "tls-suites/TLS_AES_128_GCM_SHA256.pcap";
    let packets = packets(name);
    let keys = Keys::default();
    keys.expect_more(true);
    let mut bench = Bench::with_keys(captures::everything(), &keys);
    let (before, after) = packets.split_at(packets.len() - 7);
    before.iter().for_each(|packet| bench.packet(&packet.borrow()));
    assert!(bench.counters().held_bytes > 1_000, "{}", bench.counters().held_bytes);
    let later = |seconds: u64| {
        let ts = before.last().unwrap().ts;
        Timestamp::from_nanos(ts.as_nanos() + seconds as i64 * 1_000_000_000, ts.precision())
    };
    bench.tick(later(9));
    assert_eq!(bench.counters().losses, 0);
    bench.tick(later(11));
    assert_eq!(bench.counters().losses, 1, "it is said once");
    assert!(bench.counters().held_bytes < 10_000, "{}", bench.counters().held_bytes);
    // A key log that arrives even later only applies to later records.
    KeyLogLines::default().push(log_of(name).as_bytes(), &keys);
    after.iter().for_each(|packet| bench.packet(&packet.borrow()));
    let lines = bench.finish().values();
    let last = lines.iter().rfind(|line| line["event"] == "message").unwrap();
    assert_eq!(last["type"], "Terminate");
    let skipped: Vec<_> = lines.iter().filter_map(|line| line["skipped"].as_u64()).collect();
    assert!(skipped.iter().any(|skipped| *skipped > 1_000), "{skipped:?}");
}

#[test]
fn a_key_that_comes_when_much_was_given_up_is_good_for_all_that_follows() {
    for name in TRAFFIC {
        let name = format!("tls-traffic/{name}.pcap");
        let packets = packets(&name);
        let whole = messages(&packets, &captures::keys_of(&name));
        let queries: Vec<_> = whole.iter().filter(|line| line["type"] == "Query").collect();
        // Before a statement in the middle, and before the last one, which follows the large results.
        for query in [queries[30], queries[queries.len() - 1]] {
            let packet = query["packet"].as_u64().unwrap();
            let keys = Keys::default();
            keys.expect_more(true);
            let mut bench = Bench::with_keys(captures::config(), &keys);
            let (before, after) = packets.split_at(packet as usize - 1);
            before.iter().for_each(|packet| bench.packet(&packet.borrow()));
            let last = before.last().unwrap().ts;
            bench.tick(Timestamp::from_nanos(last.as_nanos() + 11_000_000_000, last.precision()));
            KeyLogLines::default().push(log_of(&name).as_bytes(), &keys);
            after.iter().for_each(|packet| bench.packet(&packet.borrow()));
            let behind = |lines: &[Value]| -> Vec<_> {
                let is_behind = |line: &Value| line["event"] == "message" && line["packet"].as_u64() >= Some(packet);
                let behind = lines.iter().filter(|line| is_behind(line));
                behind.map(|line| ["packet", "dir", "type", "len"].map(|field| line[field].clone())).collect()
            };
            assert_eq!(behind(&bench.finish().values()), behind(&whole), "{name}, packet {packet}");
        }
    }
}

#[test]
fn keys_within_a_pcapng_file_are_used() {
    let name = "tls-suites/TLS_CHACHA20_POLY1305_SHA256";
    let expected = messages(&packets(&format!("{name}.pcap")), &captures::keys_of(&format!("{name}.pcap")));
    let mut source = FileSource::new(
        vec![captures::testdata().join("tls-secrets/capture.pcapng")],
        Arc::new(AtomicBool::new(false)),
    );
    let keys = Keys::default();
    let mut bench = Bench::with_keys(captures::config(), &keys);
    let mut key_logs = 0;
    loop {
        match source.next_event().unwrap() {
            Event::KeyLog(log) => {
                key_logs += 1;
                KeyLogLines::default().push(log, &keys);
            }
            Event::Packet(packet) => bench.packet(&packet),
            Event::Idle => {}
            Event::End => break,
        }
    }
    assert_eq!(key_logs, 1);
    assert_eq!(bench.finish().values(), expected);
}

#[test]
fn a_lost_packet_loses_the_messages_in_its_records_and_no_others() {
    // The MACs of CBC suites in TLS 1.2 identify the sequence number, like tags.
    for (name, _) in SUITES {
        let name = format!("tls-suites/{name}.pcap");
        let (packets, keys) = (packets(&name), captures::keys_of(&name));
        let config =
            || Config { records: Records { sessions: true, ..captures::config().records }, ..captures::config() };
        let lines = captures::decrypt_packets(&packets, &keys, config()).values();
        let ready = lines.iter().find(|line| line["state"] == "ready").unwrap()["packet"].as_u64().unwrap();
        let messages: Vec<_> = lines.iter().filter(|line| line["event"] == "message").collect();
        let essence = |line: &Value| ["dir", "type", "len", "body"].map(|field| line[field].clone());
        let mut lost = 0;
        for packet in messages.iter().map(|line| line["packet"].as_u64().unwrap()).filter(|packet| *packet > ready) {
            // A message may begin in the lost packet and end in the next, so the next one of its direction may be missing, too.
            let in_it = |line: &Value| line["packet"] == packet;
            let last = messages.iter().rposition(|line| in_it(line)).unwrap();
            let next = messages[last + 1..].iter().find(|line| line["dir"] == messages[last]["dir"]);
            let expected: Vec<_> = messages.iter().filter(|line| !in_it(line)).map(|line| essence(line)).collect();
            let mut without = packets.clone();
            without.remove(packet as usize - 1);
            let lines = captures::decrypt_packets(&without, &keys, config()).values();
            let actual: Vec<_> = lines.iter().filter(|line| line["event"] == "message").map(essence).collect();
            let spared: Vec<_> =
                expected.iter().filter(|line| next.is_none_or(|next| **line != essence(next))).cloned().collect();
            assert!(actual == expected || actual == spared, "{name}, without packet {packet}");
            assert!(lines.iter().any(|line| line["event"] == "loss"), "{name}, without packet {packet}");
            lost += 1;
        }
        assert!(lost > 20, "{name}: {lost}");
    }
}

#[test]
fn a_capture_that_begins_after_the_handshake_is_read_where_the_key_log_has_one_session() {
    for (name, _) in SUITES.iter().filter(|(name, _)| name.starts_with("TLS_")) {
        let name = format!("tls-suites/{name}.pcap");
        let packets = packets(&name);
        let config =
            || Config { records: Records { messages: true, sessions: true, ..Records::NONE }, ..captures::config() };
        let all = captures::decrypt_packets(&packets, &captures::keys_of(&name), config()).values();
        let random = ended(&all)[0]["tls"]["client_random"].as_str().unwrap().to_owned();
        let log = log_of(&name);
        let only = || keys_with(&log, |line| line.contains(&random));
        // From the packet with which the session is ready.
        let first = all.iter().find(|line| line["state"] == "ready").unwrap()["packet"].as_u64().unwrap() as usize;
        let expected: Vec<_> = all
            .iter()
            .filter(|line| line["event"] == "message" && line["packet"].as_u64() > Some(first as u64))
            .collect();
        let lines = captures::decrypt_packets(&packets[first..], &only(), config()).values();
        let actual: Vec<_> = lines.iter().filter(|line| line["event"] == "message").collect();
        let kinds = |lines: &[&Value]| -> Vec<_> {
            lines.iter().map(|line| (line["dir"].clone(), line["type"].clone(), line["len"].clone())).collect()
        };
        assert_eq!(kinds(&actual), kinds(&expected), "{name}");
        let tls = &ended(&lines)[0]["tls"];
        assert_eq!((&tls["decrypted"], &tls["version"]), (&json!(true), &json!("TLSv1.3")));
        assert_eq!(tls["cipher_suite"], ended(&all)[0]["tls"]["cipher_suite"], "it is found by trial");

        // With keys of other sessions in the log, its session cannot be identified.
        let lines = captures::decrypt_packets(&packets[first..], &captures::keys_of(&name), config()).values();
        assert!(lines.iter().all(|line| line["event"] != "message"));
        let loss = lines.iter().find(|line| line["event"] == "loss").unwrap();
        assert!(loss["detail"].as_str().unwrap().contains("was not captured"), "{loss}");
    }
}
