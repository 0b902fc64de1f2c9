//! Subscriptions that lose their connection: with what README says of applying changes, the rows are those that the publisher has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Line, dissect};
use crate::command::run;

/// Applies changes as README says. Returns how many were applied of each transaction, in order, and how many commits were skipped.
fn applied(lines: &[Line]) -> (Vec<(u64, usize)>, usize) {
    let mut slots = BTreeMap::new();
    for line in lines.iter().filter(|line| line.is("session")) {
        if let Some(slot) = line.value["slot"].as_str() {
            slots.insert(line.conn(), slot);
        }
    }
    let mut open = BTreeMap::<(u64, u64), Vec<&Value>>::new();
    let (mut done, mut all, mut skipped) = (BTreeSet::new(), Vec::new(), 0);
    for line in lines {
        let value = &line.value;
        let id = || (line.conn(), value["xid"].as_u64().unwrap());
        match value["event"].as_str().unwrap() {
            "change" => open.entry(id()).or_default().push(value),
            "transaction" if value["outcome"] == "aborted" => {
                let changes = open.entry(id()).or_default();
                changes.retain(|change| value["subxid"].is_u64() && change["subxid"] != value["subxid"]);
            }
            "transaction" => {
                assert_eq!(value["outcome"], "committed", "{value}");
                let changes = open.remove(&id()).unwrap_or_default();
                if done.insert((slots[&line.conn()], value["commit_lsn"].as_str().unwrap())) {
                    all.push((id().1, changes.len()));
                } else {
                    skipped += 1;
                }
            }
            "session" if value["state"] == "ended" => open.retain(|(conn, _), _| *conn != line.conn()),
            _ => {}
        }
    }
    assert!(open.is_empty(), "{open:?}");
    (all, skipped)
}

/// Returns the stream of a slot in the summary of a capture.
fn stream(capture: &str, slot: &str) -> (Value, Value) {
    let summary = run(["-q", "-p", "5440,5441", "-e", "summary", capture]).good().pop().unwrap();
    let streams = summary["replication_streams"].as_array().unwrap();
    let stream = streams.iter().find(|stream| stream["slot"] == slot).unwrap().clone();
    (stream, summary)
}

#[test]
fn what_was_in_progress_when_a_connection_broke_is_applied_once() {
    let lines = dissect("replication-reconnect/broken-inside.pcap.gz");
    let (applied, _) = applied(&lines);
    let of = |xid| applied.iter().filter(|(of, _)| *of == xid).map(|(_, changes)| *changes).collect::<Vec<_>>();
    assert_eq!((of(944), of(945)), (vec![1_502], vec![1]), "as the publisher has them");
    let sent = |xid| lines.iter().filter(|line| line.is("change") && line.value["xid"] == xid).count();
    assert!(sent(944) > 2_800 && sent(945) > 1_300, "{} {}", sent(944), sent(945));
}

#[test]
fn a_transaction_that_is_committed_again_is_known_by_its_position() {
    let capture = "replication-reconnect/fails-again.pcap.gz";
    let lines = dissect(capture);
    let (applied, skipped) = applied(&lines);
    assert_eq!((applied.iter().map(|(_, changes)| changes).sum::<usize>(), skipped), (2, 7), "{applied:?}");

    // So does the summary: it lists it once, and says that the client has been behind since it failed first.
    let (stream, summary) = stream(capture, "s15");
    assert_eq!((&stream["commits"], &stream["changes"]), (&9.into(), &9.into()), "all that was sent");
    assert_eq!((&stream["repeated_transactions"], &stream["repeated_changes"]), (&7.into(), &7.into()));
    let largest: Vec<_> = summary["largest_transactions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["xid"].as_u64().unwrap())
        .collect();
    assert_eq!(largest.len(), 2, "{largest:?}");
    assert!(stream["lag_us"].as_u64().unwrap() > 30_000_000, "{stream}");
    assert!(stream["lag_max_us"].as_u64() >= stream["lag_us"].as_u64(), "{stream}");
    assert!(stream["lag_p95_us"].as_u64().unwrap() < 1_000_000, "{stream}");
    assert_eq!(stream["ended"], true);

    // It is listed first, though others have more bytes; and those that are not listed are counted.
    let alone = run(["-q", "-p", "5440,5441", "--top", "1", "-e", "summary", capture, OTHER]).good().pop().unwrap();
    assert_eq!(alone["replication_streams"].as_array().unwrap().len(), 1);
    assert_eq!(alone["replication_streams"][0]["slot"], "s15");
    let all = run(["-q", "-p", "5440,5441", "-e", "summary", capture, OTHER]).good().pop().unwrap();
    let all = all["replication_streams"].as_array().unwrap();
    assert_eq!(alone["other_replication_streams"], all.len() - 1);
    let others: u64 = all.iter().skip(1).map(|stream| stream["changes"].as_u64().unwrap()).sum();
    assert_eq!(alone["other_replicated_changes"], others);
    let text = run(["-q", "-p", "5440,5441", "--top", "1", "-F", "summary", capture, OTHER]).lines.join("\n");
    assert!(text.contains("of other slots and clients") && text.contains("sent again (7 changes)"), "{text}");
}

const OTHER: &str = "replication-reconnect/broken-inside.pcap.gz";
