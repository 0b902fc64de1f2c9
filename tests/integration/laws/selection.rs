//! What is lost of connections that are selected has a line, and what is lost of others has none: whatever is known of them, and
//! whenever it is.

use std::collections::{BTreeMap, BTreeSet};

use pgdissect::record::{LossRecord, SessionRecord};
use pgdissect::{Config, Dissector, Only, Record, Sink};
use serde_json::Value;

use crate::captures::{self, OwnedPacket, line};
use crate::command::parse;

#[derive(Default)]
struct Seen {
    lines: Vec<Value>,
    undecided: Vec<Value>,
    not_selected: BTreeSet<u64>,
}

impl Sink for Seen {
    fn record(&mut self, record: &Record<'_>) {
        self.lines.push(parse(&line(record)));
    }

    fn not_selected(&mut self, session: &SessionRecord<'_>) {
        assert!(self.not_selected.insert(session.header.conn));
    }

    fn undecided_loss(&mut self, loss: &LossRecord<'_>) {
        self.undecided.push(parse(&line(&Record::Loss(loss.clone()))));
    }
}

/// Dissects packets, one of which is lost.
fn without(packets: &[OwnedPacket], lost: usize, only: Only) -> Seen {
    let mut seen = Seen::default();
    let mut dissector = Dissector::new(Config { only, ..captures::everything() });
    for (index, packet) in packets.iter().enumerate() {
        if index != lost {
            dissector.packet(&packet.borrow(), &mut seen);
        }
    }
    dissector.finish(&mut seen);
    seen
}

/// Returns the losses of connections, without when each was found.
fn losses<'a>(lines: impl IntoIterator<Item = &'a Value>, is_wanted: impl Fn(u64) -> bool) -> BTreeSet<String> {
    let of_wanted =
        lines.into_iter().filter(|line| line["event"] == "loss" && is_wanted(line["conn"].as_u64().unwrap()));
    of_wanted
        .map(|line| {
            let mut line = line.clone();
            let fields = line.as_object_mut().unwrap();
            fields.retain(|name, _| name != "ts" && name != "packet");
            line.to_string()
        })
        .collect()
}

#[test]
fn losses_have_lines_if_their_connections_are_selected_and_else_none() {
    let (mut selected, mut others, mut undecided, mut delayed) = (0, 0, 0, 0);
    for name in ["planted/capture.pcap", "psql-prefer/capture.pcap", "cases/sent-ahead.pcap"] {
        let (packets, _) = captures::packets(&[captures::testdata().join(name)]);
        let users: BTreeSet<_> = without(&packets, usize::MAX, Only::default())
            .lines
            .iter()
            .filter_map(|line| line["user"].as_str().map(str::to_owned))
            .collect();
        // Of the larger ones, some.
        for lost in (0..packets.len()).step_by(packets.len() / 100 + 1) {
            let whole = without(&packets, lost, Only::default());
            assert!(whole.undecided.is_empty() && whole.not_selected.is_empty());
            let ended = whole.lines.iter().filter(|line| line["state"] == "ended");
            let user_of: BTreeMap<_, _> =
                ended.map(|line| (line["conn"].as_u64().unwrap(), line["user"].as_str())).collect();
            for user in &users {
                let only = Only { users: vec![user.clone().into_bytes()], ..Only::default() };
                let found = without(&packets, lost, only);
                let what = format!("{name} without packet {} for {user}", lost + 1);
                let is_selected = |conn| user_of[&conn] == Some(user);
                let expected = losses(&whole.lines, is_selected);
                assert_eq!(losses(&found.lines, |_| true), expected, "{what}");
                let is_unknown = |conn| user_of[&conn].is_none();
                assert_eq!(losses(&found.undecided, |_| true), losses(&whole.lines, is_unknown), "{what}");
                let not_selected: BTreeSet<_> = user_of.keys().copied().filter(|conn| !is_selected(*conn)).collect();
                assert_eq!(found.not_selected, not_selected, "{what}");
                let mut last = BTreeMap::new();
                for line in &found.lines {
                    let packet = line["packet"].as_u64().unwrap();
                    assert!(last.insert(line["conn"].as_u64(), packet) <= Some(packet), "{what}: {line}");
                }
                selected += expected.len();
                undecided += found.undecided.len();
                others += losses(&whole.lines, |conn| !is_selected(conn) && !is_unknown(conn)).len();
                delayed +=
                    found.lines.iter().filter(|line| line["event"] == "loss" && !whole.lines.contains(line)).count();
            }
        }
    }
    let all = [selected, others, undecided, delayed];
    assert!(all.iter().all(|count| *count > 0), "{all:?}");
}
