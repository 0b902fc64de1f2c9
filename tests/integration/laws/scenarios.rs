//! The lines of each capture are those in its `expected.jsonl`, and its lines of requests and sessions those in its
//! `queries.jsonl`.
//!
//! `PGDISSECT_BLESS=1 cargo test --test integration scenarios` writes these files anew; review them before they are committed. A
//! capture in the table of copies has none: it contains the messages of another capture, and is compared with that one. Also
//! without snapshots are captures with the server's log, which `agree` compares, those with keys, which `tls` compares, that of
//! `redaction`, and those of `cases`, `startups`, `pooler-*` and `replication-*`, which have tests of their own: oracles instead of megabytes of
//! lines.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use pgdissect::{Config, Records};
use serde_json::{Value, json};

use crate::captures::{self, Output};

/// Captures of the same traffic as another one, in other formats or segmented differently.
const COPIES: &[(&str, &[&str])] = &[
    (
        "formats/micro.pcap",
        &[
            "formats/any-sll.pcap",
            "formats/any-sll2.pcap",
            "formats/capture.pcap.gz",
            "formats/capture.pcap.zst",
            "formats/capture.pcapng",
            "formats/ipv4-228.pcap",
            "formats/ipv6-229.pcap",
            "formats/loop.pcap",
            "formats/micro-big-endian.pcap",
            "formats/nano-big-endian.pcap",
            "formats/nano.pcap",
            "formats/null-big-endian.pcap",
            "formats/null-ipv6.pcap",
            "formats/null.pcap",
            "formats/cisco-hdlc.pcap",
            "formats/fddi.pcap",
            "formats/nflog-big-endian.pcap",
            "formats/nflog.pcap",
            "formats/ppp-compressed.pcap",
            "formats/ppp-hdlc.pcap",
            "formats/ppp-ipv6.pcap",
            "formats/over-snaplen.pcap",
            "formats/ppp.pcap",
            "formats/qinq.pcap",
            "formats/raw-ipv6.pcap",
            "formats/raw.pcap",
            "formats/two-interfaces-split.pcapng",
            "formats/two-interfaces.pcapng",
            "formats/vlan.pcap",
        ],
    ),
    (
        "tcp/base.pcap",
        &[
            "tcp/duplicated.pcap",
            "tcp/fin-data.pcap",
            "tcp/keepalive.pcap",
            "tcp/overlap.pcap",
            "tcp/reordered.pcap",
            "tcp/simultaneous-open.pcap",
            "tcp/syn-data.pcap",
            "tcp/wrap.pcap",
        ],
    ),
    (
        "tunnels/vxlan.pcap",
        &[
            "tunnels/erspan.pcap",
            "tunnels/geneve-ipv6-fragments.pcap",
            "tunnels/geneve.pcap",
            "tunnels/gre-ethernet.pcap",
            "tunnels/gre-fragments.pcap",
            "tunnels/gre.pcap",
            "tunnels/ipip.pcap",
            "tunnels/mpls.pcap",
        ],
    ),
];

/// A larger snapshot is replaced with a digest.
const MAX_SNAPSHOT: usize = 150_000;

#[test]
fn captures_have_the_expected_lines() {
    let bless = std::env::var_os("PGDISSECT_BLESS").is_some();
    let mut failures = String::new();
    for name in captures::all() {
        if !has_snapshot(&name) {
            continue;
        }
        let (packets, _) = captures::packets(&[captures::testdata().join(&name)]);
        for (kind, records) in SNAPSHOTS {
            let actual = snapshot(&captures::dissect_packets(&packets, Config { records, ..captures::config() }));
            let path = snapshot_path(&name, kind);
            if bless {
                std::fs::write(&path, &actual).unwrap();
                continue;
            }
            let expected = std::fs::read_to_string(&path).unwrap_or_default();
            if let Some(difference) = first_difference(&expected, &actual) {
                writeln!(failures, "{name}, {kind}: {difference}").unwrap();
            }
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn every_snapshot_has_its_capture() {
    let wanted: Vec<_> = captures::all()
        .iter()
        .filter(|name| has_snapshot(name))
        .flat_map(|name| SNAPSHOTS.map(|(kind, _)| snapshot_path(name, kind)))
        .collect();
    for folder in std::fs::read_dir(captures::testdata()).unwrap() {
        let folder = folder.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let path_text = path.to_str().unwrap();
            let is_snapshot = SNAPSHOTS.iter().any(|(kind, _)| path_text.ends_with(&format!("{kind}.jsonl")));
            assert!(!is_snapshot || wanted.contains(&path), "{} belongs to no capture", path.display());
        }
    }
}

#[test]
fn the_same_traffic_has_the_same_messages_in_every_file_format_and_segmentation() {
    for (original, copies) in COPIES {
        let expected = essence(&captures::dissect_one(original));
        assert!(expected.len() > 30, "{original} has messages");
        for copy in *copies {
            let actual = essence(&captures::dissect_one(copy));
            for (index, (expected, actual)) in expected.iter().zip(&actual).enumerate() {
                assert_eq!(expected, actual, "{copy}, line {}", index + 1);
            }
            assert_eq!(expected.len(), actual.len(), "{copy}");
        }
    }
}

#[test]
fn rotated_files_in_a_row_are_one_capture() {
    let files = ["formats/rotated-1.pcap", "formats/rotated-2.pcap"].map(|name| captures::testdata().join(name));
    assert_eq!(captures::dissect(&files).lines, captures::dissect_one("formats/micro.pcap").lines);
}

/// Returns the parts of lines that depend on the traffic, not on the capture.
fn essence(output: &Output) -> Vec<Value> {
    let mut lines = output.values();
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        for of_the_capture in ["ts", "packet", "elapsed_us", "client", "server"] {
            line.remove(of_the_capture);
        }
    }
    lines
}

/// The snapshots of a capture: the lines of messages, and those of requests and sessions. Both include those of losses.
const SNAPSHOTS: [(&str, Records); 2] = [
    ("expected", Records { messages: true, ..Records::NONE }),
    ("queries", Records { queries: true, sessions: true, ..Records::NONE }),
];

fn has_snapshot(name: &str) -> bool {
    let is_read_elsewhere = |file| captures::testdata().join(name).with_file_name(file).exists();
    !["baseline/", "cases/", "pooler-", "replication-", "startups/", "server-log-"]
        .iter()
        .any(|folder| name.starts_with(folder))
        && !COPIES.iter().any(|(_, copies)| copies.contains(&name))
        && !["server-log.jsonl", "planted.txt", "keys.log", "pg_stat_statements.json"]
            .into_iter()
            .any(is_read_elsewhere)
}

fn snapshot_path(name: &str, kind: &str) -> PathBuf {
    let path = captures::testdata().join(name);
    let file = path.file_name().unwrap().to_str().unwrap();
    let stem = file.split('.').next().unwrap();
    let prefix = if stem == "capture" { String::new() } else { format!("{stem}.") };
    path.with_file_name(format!("{prefix}{kind}.jsonl"))
}

/// Returns the lines; if they are too long for review, their beginning, their end, and a hash of all.
fn snapshot(output: &Output) -> String {
    const HEAD: usize = 120;
    const TAIL: usize = 40;
    const LONG: usize = 4_000;
    let all = output.lines.join("\n") + "\n";
    if all.len() <= MAX_SNAPSHOT {
        return all;
    }
    let shown = |line: &String| {
        if line.len() <= LONG {
            return line.clone();
        }
        let cut = (0..=LONG / 4).rev().find(|&at| line.is_char_boundary(at)).unwrap();
        json!({ "begins": line[..cut], "bytes": line.len(), "fnv1a": fnv1a(line) }).to_string()
    };
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for line in output.values() {
        let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let what = [field("dir"), " ".to_owned(), field("type"), field("reason"), field("protocol"), field("state")];
        *kinds.entry(what.concat()).or_default() += 1;
    }
    let count = output.lines.len();
    let mut digest: Vec<_> = output.lines.iter().take(HEAD).map(shown).collect();
    digest.push(json!({ "lines": count, "fnv1a": fnv1a(&all), "kinds": kinds }).to_string());
    digest.extend(output.lines.iter().skip(HEAD.max(count.saturating_sub(TAIL))).map(shown));
    digest.join("\n") + "\n"
}

/// Returns the 64-bit FNV-1a hash in hex, which does not depend on the machine or version.
fn fnv1a(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

fn first_difference(expected: &str, actual: &str) -> Option<String> {
    if expected == actual {
        return None;
    }
    let (mut left, mut right) = (expected.lines(), actual.lines());
    for number in 1.. {
        match (left.next(), right.next()) {
            (None, None) => break,
            (left, right) if left != right => {
                return Some(format!("line {number}\n  expected {left:.600?}\n  actual   {right:.600?}"));
            }
            _ => {}
        }
    }
    Some("line ends differ".to_owned())
}
