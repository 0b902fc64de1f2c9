//! What clients received, byte for byte and message for message.

use std::collections::BTreeMap;

use super::{Line, dissect, name, read, streamed};
use pgdissect::Direction;
use serde_json::Value;

/// Each capture of pgoutput whose payloads the client has kept: a file for each connection with a stream, and the messages of one
/// stream as an independent dissector counted them.
const KEPT: [(&str, &[&str], &str); 7] = [
    ("replication-pgoutput-v1/capture.pcap", &["payloads.bin"], "w383 B72 C72 R38 Y4 I104 U46 D38 T4 M4 O1 k137"),
    (
        "replication-pgoutput-v2-streaming/capture.pcap.gz",
        &["payloads.bin.gz"],
        "w883 S8 E8 c3 A3 B6 C6 R10 Y5 I644 U12 D175 T1 M2 k18",
    ),
    (
        "replication-pgoutput-v3-two-phase/capture.pcap.gz",
        &["payloads.bin.gz"],
        "w884 b10 P10 K9 r2 p2 S6 E6 A1 c1 B6 C6 R9 I501 U7 D306 M1 O1 k58",
    ),
    (
        "replication-pgoutput-v4-parallel/capture.pcap.gz",
        &["payloads.bin.gz"],
        "w741 S6 E6 A3 c2 B15 C15 Y3 R10 I491 U9 D177 M3 T1 k30",
    ),
    (
        "replication-pgoutput-14/capture.pcap.gz",
        &["payloads-text.bin.gz", "payloads-binary.bin.gz"],
        "w397 B15 C15 S2 E2 c1 I180",
    ),
    ("replication-tls/capture.pcap.gz", &["payloads.bin.gz"], ""),
    ("replication-pgoutput-v4-parallel/abort-unstarted.pcap.gz", &[], "w583 A2"),
];

/// The names of the messages of pgoutput in the documentation.
const NAMES: [(u8, &str); 19] = [
    (b'B', "Begin"),
    (b'M', "Message"),
    (b'C', "Commit"),
    (b'O', "Origin"),
    (b'R', "Relation"),
    (b'Y', "Type"),
    (b'I', "Insert"),
    (b'U', "Update"),
    (b'D', "Delete"),
    (b'T', "Truncate"),
    (b'S', "Stream Start"),
    (b'E', "Stream Stop"),
    (b'c', "Stream Commit"),
    (b'A', "Stream Abort"),
    (b'b', "Begin Prepare"),
    (b'P', "Prepare"),
    (b'K', "Commit Prepared"),
    (b'r', "Rollback Prepared"),
    (b'p', "Stream Prepare"),
];

/// Returns the messages of each connection with a stream.
fn streams(lines: &[Line]) -> Vec<Vec<&Line>> {
    let mut streams: BTreeMap<u64, Vec<&Line>> = BTreeMap::new();
    for line in streamed(lines) {
        streams.entry(line.conn()).or_default().push(line);
    }
    streams.into_values().collect()
}

#[test]
fn payloads_are_those_that_the_client_received() {
    for (capture, files, _) in KEPT {
        let lines = dissect(capture);
        let streams = streams(&lines);
        assert!(files.is_empty() || files.len() == streams.len(), "{capture}: {} streams", streams.len());
        for (file, stream) in files.iter().zip(streams) {
            let kept = read(&format!("{}/{file}", capture.split('/').next().unwrap()));
            let mut rest = &kept[..];
            for payload in stream.iter().filter_map(|line| line.payload()) {
                rest = rest.strip_prefix(payload).and_then(|rest| rest.strip_prefix(b"\n")).unwrap_or_else(|| {
                    panic!("{capture}, byte {} of {file} is not {payload:?}", kept.len() - rest.len());
                });
            }
            assert_eq!(rest, b"", "{capture}");
        }
    }
}

#[test]
fn every_message_of_pgoutput_is_decoded_to_its_end() {
    let subscriptions = ["replication-subscription/capture.pcap.gz", "replication-subscription-18/capture.pcap.gz"];
    let of_subscriptions = subscriptions
        .into_iter()
        .zip(["w443 B18 C18 S2 E2 c1 T1 R12 I193 U17 D179 k25", "w755 b2 P2 K2 r1 p1 S4 E4 c1 B4 C4"]);
    let all = KEPT.into_iter().map(|(capture, _, counts)| (capture, counts)).chain(of_subscriptions);
    for (capture, counts) in all {
        let lines = dissect(capture);
        let streams = streams(&lines);
        let mut counted: BTreeMap<char, usize> = BTreeMap::new();
        for line in streams.iter().flatten() {
            let body = &line.value["body"];
            assert!(body.get("error").is_none() && line.value.get("flags").is_none(), "{capture}: {}", line.value);
            *counted.entry(char::from(line.body[0])).or_default() += 1;
            let Some(payload) = line.payload() else { continue };
            *counted.entry(char::from(payload[0])).or_default() += 1;
            let (_, name) = NAMES.iter().find(|(tag, _)| *tag == payload[0]).expect("the message is one of pgoutput's");
            assert_eq!(body["pgoutput"]["type"], *name, "{capture}");
            assert!(body.get("bytes").is_none() && body.get("data").is_none(), "{capture}: {body}");
        }
        for wanted in counts.split_whitespace() {
            let tag = wanted.chars().next().unwrap();
            let count: usize = wanted[1..].parse().unwrap();
            // Both streams of 14 are of the same changes.
            let of_all = if capture.contains("-14/") { 2 * count } else { count };
            // `r` of a client is not counted here, nor is it one of pgoutput's.
            assert_eq!(counted.get(&tag), Some(&of_all), "{capture}: {wanted}");
        }
    }
}

#[test]
fn headers_have_the_positions_and_times_on_the_wire() {
    let lsn = |bytes: &[u8]| {
        let number = u64::from_be_bytes(bytes.try_into().unwrap());
        format!("{:X}/{:X}", number >> 32, number & 0xffff_ffff)
    };
    let time = |bytes: &[u8]| {
        let micros = i64::from_be_bytes(bytes.try_into().unwrap()) + 946_684_800_000_000;
        let second = jiff::Timestamp::from_microsecond(micros).unwrap();
        second.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    };
    let mut counts = [0; 4];
    for capture in ["replication-pgoutput-v1/capture.pcap", "replication-physical/standby.pcap.gz"] {
        for Line { value, body: bytes } in dissect(capture).iter().filter(|line| line.value["body"]["kind"].is_string())
        {
            let body = &value["body"];
            let is_client = value["dir"] == name(Direction::Frontend);
            match (is_client, bytes[0]) {
                (false, b'w') => {
                    assert_eq!(
                        (&body["start_lsn"], &body["end_lsn"]),
                        (&lsn(&bytes[1..9]).into(), &lsn(&bytes[9..17]).into())
                    );
                    assert_eq!(body["server_time"], time(&bytes[17..25]));
                    counts[0] += 1;
                }
                (false, b'k') => {
                    assert_eq!((&body["kind"], &body["end_lsn"]), (&"keepalive".into(), &lsn(&bytes[1..9]).into()));
                    assert_eq!(
                        (&body["server_time"], &body["reply_requested"]),
                        (&time(&bytes[9..17]).into(), &(bytes[17] == 1).into())
                    );
                    counts[1] += 1;
                }
                (true, b'r') => {
                    assert_eq!(body["kind"], "standby_status");
                    for (at, field) in [(1, "write_lsn"), (9, "flush_lsn"), (17, "apply_lsn")] {
                        assert_eq!(body[field], lsn(&bytes[at..at + 8]), "{field}");
                    }
                    assert_eq!(
                        (&body["client_time"], &body["reply_requested"]),
                        (&time(&bytes[25..33]).into(), &(bytes[33] == 1).into())
                    );
                    counts[2] += 1;
                }
                (true, b'h') => {
                    assert_eq!(
                        (&body["kind"], &body["client_time"]),
                        (&"hot_standby_feedback".into(), &time(&bytes[1..9]).into())
                    );
                    for (at, field) in
                        [(9, "xmin"), (13, "xmin_epoch"), (17, "catalog_xmin"), (21, "catalog_xmin_epoch")]
                    {
                        assert_eq!(body[field], u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()), "{field}");
                    }
                    counts[3] += 1;
                }
                other => panic!("{other:?}: {value}"),
            }
        }
    }
    assert_eq!(counts, [387, 138, 17, 5], "w, k, r and h of both captures");
}

#[test]
fn a_stream_inside_of_tls_is_as_any_other() {
    let lines = dissect("replication-tls/capture.pcap.gz");
    let changes: Vec<&Value> = lines.iter().filter(|line| line.is("change")).map(|line| &line.value).collect();
    assert_eq!(changes[0]["new"], serde_json::json!({ "id": 1, "word": "encrypted", "amount": "1.5" }));
    assert_eq!(changes[1]["new"], serde_json::json!({ "id": 2, "word": "größe", "amount": null }));
    assert!(lines.iter().all(|line| !line.is("loss")));
}
