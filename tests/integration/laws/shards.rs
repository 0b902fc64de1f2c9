//! Law: the connections of a capture can be shared out. All parts together have the lines of the whole.

use std::fs;

use pgdissect::{Config, Partition};
use serde_json::Value;

use crate::captures::{self, OwnedPacket};
use crate::command::{run, testdata};

/// What depends on other connections: their numbers, and whose request was canceled by whom.
const OF_OTHERS: [&str; 3] = ["conn", "canceled_by", "target"];

/// Returns the lines of a part of the connections, or of all, without what depends on other connections.
fn lines(packets: &[OwnedPacket], partition: Option<Partition>) -> Vec<String> {
    let config = Config { partition, ..captures::everything() };
    let output = captures::dissect_packets(packets, config);
    let of_itself = |mut line: Value| {
        // Where its target is not known, a CancelRequest has a flag.
        let is_cancel = line["type"] == "CancelRequest";
        let is_of_itself = |name: &str| !(OF_OTHERS.contains(&name) || is_cancel && name == "flags");
        line.as_object_mut().unwrap().retain(|name, _| is_of_itself(name));
        line.to_string()
    };
    output.values().into_iter().map(of_itself).collect()
}

#[test]
fn the_parts_of_a_capture_have_the_lines_of_the_whole() {
    let (mut shared_out, mut all) = (0, 0);
    for capture in captures::all() {
        let path = testdata().join(&capture);
        if fs::metadata(&path).unwrap().len() > 30_000 {
            continue;
        }
        let (packets, _) = captures::packets(&[path]);
        let mut whole = lines(&packets, None);
        whole.sort_unstable();
        for (count, by_host) in [(3, false), (2, true)] {
            let parts: Vec<_> =
                (0..count).map(|index| lines(&packets, Some(Partition { index, count, by_host }))).collect();
            shared_out += usize::from(parts.iter().filter(|lines| !lines.is_empty()).count() > 1);
            let mut union = parts.concat();
            union.sort_unstable();
            assert!(union == whole, "{capture} in {count} parts, by host: {by_host}");
        }
        all += 1;
    }
    assert!(all > 100 && shared_out > 40, "{shared_out} of {all}");
}

#[test]
fn a_connection_is_in_the_part_that_its_addresses_tell() {
    // Worked out by the description of `Partition` in another language.
    let of = |shard: &str, by: &str| {
        let lines = run(["-q", "-p5415,6432", "-esession", "--shard", shard, "--shard-by", by, CAPTURE]).good();
        let ready = lines.into_iter().filter(|line| line["state"] == "ended");
        ready.map(|line| line["client"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let parts: Vec<_> = (0..4).map(|index| of(&format!("{index}/4"), "connection")).collect();
    assert_eq!(parts.concat().len(), of("0/1", "connection").len());
    for (index, clients) in parts.iter().enumerate() {
        let wanted: Vec<_> = WANTED.iter().filter(|(_, part)| *part == index).map(|(client, _)| *client).collect();
        let mut clients: Vec<_> = clients.iter().map(String::as_str).filter(|client| has(client)).collect();
        clients.sort_unstable();
        assert_eq!(clients, wanted, "part {index}");
    }
    // All are of one host.
    let sizes: Vec<_> = (0..4).map(|index| of(&format!("{index}/4"), "host").len()).filter(|len| *len > 0).collect();
    assert_eq!(sizes, [of("0/1", "host").len()]);
    let refused = run(["--shard", "4/4", CAPTURE]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.said.contains("expected an index, from 0, and the number of parts"), "{}", refused.said);
}

fn has(client: &str) -> bool {
    WANTED.iter().any(|(wanted, _)| *wanted == client)
}

const CAPTURE: &str = "pooler-pgbouncer/transaction.pcap.gz";

/// Clients of the capture, and their parts of four.
const WANTED: &[(&str, usize)] = &[
    ("127.0.0.1:44472", 3),
    ("127.0.0.1:44474", 3),
    ("127.0.0.1:44486", 0),
    ("127.0.0.1:44502", 2),
    ("127.0.0.1:44504", 1),
    ("127.0.0.1:44508", 1),
    ("127.0.0.1:44520", 3),
    ("127.0.0.1:44524", 1),
];
