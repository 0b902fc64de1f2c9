//! Captures that begin inside of a stream, and those of which packets are lost: what is left is as in the whole capture, or says that
//! something of it is not known.

use std::collections::{BTreeMap, BTreeSet};

use pgdissect::Keys;
use serde_json::Value;

use super::{Line, dissect, dissect_packets};
use crate::captures::{self, OwnedPacket};
use crate::laws::cuts::{self, Network};

/// How many beginnings of each capture are tried.
const BEGINNINGS: usize = 16;

/// How many payloads it takes until the messages of pgoutput are recognized, with those that have no position.
const RECOGNITION: usize = 24;

const PGOUTPUT: [&str; 5] = [
    "replication-pgoutput-v1/capture.pcap",
    "replication-pgoutput-v2-streaming/capture.pcap.gz",
    "replication-pgoutput-v3-two-phase/capture.pcap.gz",
    "replication-pgoutput-v4-parallel/capture.pcap.gz",
    "replication-subscription-18/capture.pcap.gz",
];

/// The connections with the streams in them.
const PGOUTPUT_STREAMS: [(&str, u64); 5] =
    [(PGOUTPUT[0], 2), (PGOUTPUT[1], 2), (PGOUTPUT[2], 2), (PGOUTPUT[3], 2), (PGOUTPUT[4], 3)];

fn packets(capture: &str) -> Vec<OwnedPacket> {
    captures::packets(&[captures::testdata().join(capture)]).0
}

/// Dissects packets without those for which `is_lost`; the others keep their numbers.
fn without(packets: &[OwnedPacket], is_lost: impl Fn(usize) -> bool) -> Vec<Line> {
    dissect_packets(&emptied(packets, is_lost), captures::everything(), &Keys::default())
}

/// Returns packets, those for which `is_lost` without their content.
fn emptied(packets: &[OwnedPacket], is_lost: impl Fn(usize) -> bool) -> Vec<OwnedPacket> {
    let mut packets = packets.to_vec();
    for (index, packet) in packets.iter_mut().enumerate() {
        if is_lost(index) {
            (packet.data, packet.orig_len) = (Vec::new(), 0);
        }
    }
    packets
}

/// Returns the lines of a kind, by connection and packet, or, where they have no packet, position in the WAL.
fn by_place<'a>(lines: &'a [Line], event: &str) -> BTreeMap<(String, String), Vec<&'a Value>> {
    let mut places: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for Line { value, .. } in lines.iter().filter(|line| line.is(event)) {
        let client = value["client"].as_str().unwrap().to_owned();
        let fields = ["packet", "lsn", "commit_lsn", "prepare_lsn", "prepare_end_lsn"];
        let place = fields
            .iter()
            .find_map(|field| value.get(*field))
            .map_or_else(|| format!("{} of {}", value["subxid"], value["xid"]), Value::to_string);
        places.entry((client, place)).or_default().push(value);
    }
    places
}

/// Removes what depends on when a message was complete.
fn without_times(mut lines: Vec<Line>) -> Vec<Line> {
    for fields in lines.iter_mut().filter_map(|line| line.value.as_object_mut()) {
        fields.retain(|name, _| !["ts", "packet", "lag_us"].contains(&name.as_str()));
    }
    lines
}

fn is_midstream(line: &Value) -> bool {
    match line.get("flags") {
        None => false,
        Some(flags) => {
            let flags: Vec<_> = flags.as_array().unwrap().iter().map(|flag| flag.as_str().unwrap()).collect();
            assert!(flags.iter().all(|flag| ["midstream", "resynchronized"].contains(flag)), "{line}");
            flags.contains(&"midstream")
        }
    }
}

/// Checks that a change, and the fate of a transaction, is said to be behind a guessed boundary if its message is, or one before it.
/// Returns how many are.
fn check_guesses(packets: &[OwnedPacket], lines: &[Line], what: &str) -> usize {
    let is_guessed = |line: &Line| {
        line.value["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "resynchronized"))
    };
    let is_event = |line: &&Line| line.is("change") || line.is("transaction");
    let mut guessed = BTreeSet::new();
    // Each is before its message.
    let mut waiting: Vec<&Line> = Vec::new();
    for line in lines {
        if is_event(&line) {
            waiting.push(line);
        } else if line.is("message") && line.value["dir"] == "B" {
            if line.value["type"] == "CopyBothResponse" {
                // Nothing is known yet of a stream that begins.
                guessed.remove(&line.conn());
            }
            if is_guessed(line) {
                guessed.insert(line.conn());
            }
            for event in waiting.drain(..) {
                assert_eq!(is_guessed(event), guessed.contains(&line.conn()), "{what}: {}", event.value);
            }
        }
    }
    // It is so where messages have no lines, and many changes are looked at together.
    let mut config = captures::everything();
    config.records.messages = false;
    let alone = dissect_packets(packets, config, &Keys::default());
    let events = |lines: &[Line]| lines.iter().filter(is_event).map(|line| line.value.clone()).collect::<Vec<_>>();
    assert_eq!(events(&alone), events(lines), "{what}");
    lines.iter().filter(is_event).filter(|line| is_guessed(line)).count()
}

/// Returns what is wrong with a line that is not that of the whole capture, and has not the flag and differs by what is absent.
fn difference(line: &Value, whole: &Value) -> Option<String> {
    let mut left: BTreeSet<&String> = whole.as_object().unwrap().keys().collect();
    let is_midstream = is_midstream(line);
    for (field, value) in line.as_object().unwrap() {
        left.remove(field);
        let is_same = match (field.as_str(), value) {
            ("conn" | "flags", _) => true,
            // Without names, all places are written.
            ("new" | "old" | "key", Value::Array(values)) => {
                let of_whole = whole[field].as_object()?;
                let unchanged = if field == "new" { whole["unchanged"].as_array().map_or(0, Vec::len) } else { 0 };
                let count = of_whole.len() + unchanged;
                let nulls = |values: &mut dyn Iterator<Item = &Value>| values.filter(|value| !value.is_null()).count();
                is_midstream
                    && (values.len() == count || field == "key" && values.len() > count)
                    && nulls(&mut values.iter()) == nulls(&mut of_whole.values())
            }
            ("unchanged", Value::Array(columns)) if is_midstream && line["new"].is_array() => {
                Some(columns.len()) == whole["unchanged"].as_array().map(Vec::len)
            }
            _ => value == &whole[field],
        };
        if !is_same {
            return Some(format!("{field} of {line} is not that of {whole}"));
        }
    }
    left.remove(&"conn".to_owned());
    if !is_midstream && !left.is_empty() {
        return Some(format!("without the flag, {left:?} is absent in {line}"));
    }
    let may_be_absent = ["schema", "table", "xid", "subxid", "changes", "origin", "streamed"];
    let wrong = left.into_iter().find(|field| !may_be_absent.contains(&field.as_str()));
    wrong.map(|field| format!("{field} is absent in {line}"))
}

/// Checks the lines of an impaired capture. Returns how many lines it has, and how many of the whole capture it has not.
fn check(lines: &[Line], whole: &[Line], what: &str) -> (usize, usize) {
    let (mut had, mut lost) = (0, 0);
    for event in ["change", "transaction"] {
        let (ours, all) = (by_place(lines, event), by_place(whole, event));
        for (place, lines) in &ours {
            let all = all.get(place).unwrap_or_else(|| panic!("{what}: {event} at {place:?} is invented"));
            // They come in the same order.
            let mut rest = all.iter();
            for line in lines {
                let mut differences = Vec::new();
                let mut is_same = |whole: &Value| difference(line, whole).map(|why| differences.push(why)).is_none();
                let is_there = rest.by_ref().any(|whole| is_same(whole));
                assert!(is_there, "{what}: {line}: {differences:#?}");
            }
        }
        let count = |places: &BTreeMap<_, Vec<&Value>>| places.values().map(Vec::len).sum::<usize>();
        had += count(&ours);
        lost += count(&all) - count(&ours);
    }
    (had, lost)
}

/// Checks that each transaction has the lines of as many changes as it says. Returns how many do not say it.
fn check_counts(lines: &[Line], what: &str) -> usize {
    let mut changes: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut uncounted = 0;
    for line in lines.iter().map(|line| &line.value) {
        let Some(transaction) = line["conn"].as_u64().zip(line["xid"].as_u64()) else { continue };
        match line["event"].as_str() {
            Some("change") if line["transactional"] != false => *changes.entry(transaction).or_default() += 1,
            Some("transaction") => {
                let ours = changes.entry(transaction).or_default();
                match (line["changes"].as_u64(), line.get("subxid")) {
                    (Some(aborted), Some(_)) => *ours = ours.saturating_sub(aborted),
                    (Some(count), None) => assert_eq!(count, *ours, "{what}: {line}"),
                    (None, _) => uncounted += 1,
                }
            }
            _ => {}
        }
    }
    uncounted
}

/// Checks that no data of a stream is written before it is known what it is.
fn check_nothing_is_shown(lines: &[Line], what: &str) {
    for line in
        lines.iter().filter(|line| line.is("message") && line.value["type"] == "CopyData" && line.value["dir"] == "B")
    {
        let body = &line.value["body"];
        if body["kind"] == "xlog_data" && body.get("pgoutput").is_none() {
            assert!(
                body.get("data").is_none() && body.get("binary").is_none() && body["bytes"].is_u64(),
                "{what}: {}",
                line.value
            );
        }
    }
}

#[test]
fn a_capture_that_begins_inside_of_pgoutput_has_the_changes_of_the_whole_or_says_what_is_not_known() {
    let mut flagged = 0;
    for capture in PGOUTPUT {
        let packets = packets(capture);
        let whole = without(&packets, |_| false);
        for number in 1..BEGINNINGS {
            let first = number * packets.len() / BEGINNINGS + number % 3;
            let what = format!("{capture} from {first}");
            let lines = without(&packets, |index| index < first);
            check(&lines, &whole, &what);
            check_counts(&lines, &what);
            if !capture.contains("subscription") {
                check_nothing_is_shown(&lines, &what);
            }
            let is_later = |line: &&Line| line.is("change") && line.value["packet"].as_u64() > Some(first as u64);
            let (had, all) = (lines.iter().filter(is_later).count(), whole.iter().filter(is_later).count());
            assert!(had + RECOGNITION >= all || capture.contains("subscription"), "{what}: {had} of {all}");
            flagged += lines.iter().filter(|line| line.is("change") && is_midstream(&line.value)).count();
        }
    }
    assert!(flagged > 1_000, "{flagged}");
}

#[test]
fn changes_and_transactions_behind_a_guessed_boundary_say_so() {
    let mut guessed = 0;
    for capture in PGOUTPUT {
        let packets = packets(capture);
        for number in 0..BEGINNINGS / 2 {
            let first = number * packets.len() * 2 / BEGINNINGS + number % 3;
            let (what, rest) = (format!("{capture} from {first}"), emptied(&packets, |index| index < first));
            let lines = without(&packets, |index| index < first);
            guessed += check_guesses(&rest, &lines, &what);
        }
    }
    assert!(guessed > 1_000, "{guessed}");
    assert_eq!(check_guesses(&packets(PGOUTPUT[0]), &dissect(PGOUTPUT[0]), "whole"), 0);
}

#[test]
fn a_lost_packet_costs_the_changes_that_were_in_it_and_names_that_depend_on_it() {
    for capture in PGOUTPUT {
        let packets = packets(capture);
        let whole = without(&packets, |_| false);
        for number in 0..BEGINNINGS {
            let lost = number * packets.len() / BEGINNINGS + number % 5;
            let what = format!("{capture} without {lost}");
            let lines = without(&packets, |index| index == lost);
            let (_, missing) = check(&lines, &whole, &what);
            let in_it = whole.iter().filter(|line| line.value["packet"] == lost as u64 + 1);
            let in_it = in_it.filter(|line| line.is("change") || line.is("transaction")).count();
            let opens = |line: &Line| {
                let query = line.value["body"]["query"].as_str();
                line.value["type"] == "CopyBothResponse"
                    || query.is_some_and(|query| query.starts_with("START_REPLICATION"))
            };
            let is_opening = whole.iter().any(|line| line.value["packet"] == lost as u64 + 1 && opens(line));
            let recognition = if is_opening { RECOGNITION } else { 0 };
            // A message may begin in it and end in the next packet, or be a part of it.
            assert!(missing <= in_it + 2 + recognition, "{what}: {missing} lines are missing, and {in_it} were in it");
        }
    }
}

#[test]
fn a_lost_part_of_a_message_is_not_passed_over_in_its_transaction() {
    let mut uncounted = 0;
    for (capture, connection) in PGOUTPUT_STREAMS {
        let writes = cuts::conversation(capture, connection).writes;
        let packets = cuts::send(&writes, Network::with_sizes(&[40, 90, 60]));
        let whole = without_times(without(&packets, |_| false));
        for number in 0..BEGINNINGS {
            let lost = number * packets.len() / BEGINNINGS + number % 5;
            let what = format!("{capture} in small segments, without {lost}");
            let lines = without_times(without(&packets, |index| index == lost));
            check(&lines, &whole, &what);
            uncounted += check_counts(&lines, &what);
        }
    }
    assert!(uncounted > 20, "{uncounted}");
}

#[test]
fn a_capture_that_begins_inside_of_a_physical_stream_has_its_positions_and_none_of_its_bytes() {
    let packets = packets("replication-physical/receivewal.pcap.gz");
    let whole = without(&packets, |_| false);
    let positions = |lines: &[Line]| -> BTreeMap<String, Value> {
        let messages = lines.iter().filter(|line| line.value["body"]["kind"] == "xlog_data");
        messages
            .map(|line| (line.value["body"]["start_lsn"].as_str().unwrap().to_owned(), line.value["body"].clone()))
            .collect()
    };
    let of_whole = positions(&whole);
    let mut seen = 0;
    for first in (0..packets.len()).step_by(4) {
        let lines = without(&packets, |index| index < first);
        let what = format!("from {first}");
        check_nothing_is_shown(&lines, &what);
        for line in &lines {
            let text = line.value.to_string();
            assert!(
                !text.contains("726f772031") && !text.contains("6c69766520"),
                "{what}: rows of the WAL are in {text:.300}"
            );
        }
        for (position, body) in positions(&lines) {
            assert_eq!(Some(&body), of_whole.get(&position), "{what}");
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn a_capture_that_begins_inside_of_another_plugins_stream_shows_nothing_that_may_be_the_wal() {
    for plugin in ["test_decoding", "wal2json_2"] {
        let packets = packets(&format!("replication-text-plugins/{plugin}.pcap.gz"));
        for first in (60..packets.len()).step_by(packets.len() / 12) {
            let lines = without(&packets, |index| index < first);
            check_nothing_is_shown(&lines, &format!("{plugin} from {first}"));
            let is_stream = lines.iter().any(|line| line.value["body"]["kind"] == "xlog_data");
            assert!(is_stream || first + 60 > packets.len(), "{plugin} from {first}");
            assert!(lines.iter().all(|line| !line.is("change") && !line.is("transaction")), "{plugin} from {first}");
        }
    }
}

#[test]
fn a_stream_of_which_only_the_first_reply_is_lost_has_all_of_its_changes() {
    for capture in PGOUTPUT {
        let packets = packets(capture);
        let whole = without(&packets, |_| false);
        let begins = |packet: &OwnedPacket| packet.data.windows(5).any(|bytes| bytes == b"W\0\0\0\x07");
        let lost = packets.iter().position(begins).unwrap();
        let lines = without(&packets, |index| index == lost);
        let (had, missing) = check(&lines, &whole, capture);
        // What came together with it was lost as well.
        assert!(had > 20 && missing < 10, "{capture}: {had}, without {missing}");
        let slots = |lines: &[Line]| {
            let ended = lines.iter().filter(|line| line.is("session") && line.value["state"] == "ended");
            let mut slots: Vec<_> = ended.map(|line| line.value["slot"].to_string()).collect();
            slots.sort_unstable();
            slots
        };
        assert_eq!(slots(&lines), slots(&whole), "{capture}");
    }
}

#[test]
fn a_backup_of_which_packets_are_lost_or_whose_session_is_not_known_shows_none_of_its_bytes() {
    for (capture, command, dir, least) in [
        ("tar-15", &b"BASE_BACKUP "[..], "B", 1_000_000),
        ("tar-14", b"BASE_BACKUP ", "B", 1_000_000),
        ("gzip-15", b"BASE_BACKUP ", "B", 100_000),
        ("incremental-18", b"UPLOAD_MANIFEST", "F", 100_000),
    ] {
        let capture = &format!("replication-base-backup/{capture}.pcap.gz");
        let packets = packets(capture);
        let is_command = |packet: &OwnedPacket| packet.data.windows(command.len()).any(|bytes| bytes == command);
        let command = packets.iter().position(is_command).unwrap();
        // 388 packets behind gzip-15's command the server's manifest is under way, which has no zero byte; 125, 172 and 283 behind
        // tar-14's it is a relation, which has pages of its own beginnings.
        let later = [0, 1, 2, 8, 12, 125, 172, 283, 388];
        let begun_later = later.map(|more| without(&packets, |index| index < command + more));
        let lost = (command..command + 80).step_by(13).map(|lost| without(&packets, |index| index == lost));
        // The reply that data follow, and the first of them.
        let both = without(&packets, |index| (command + 1..=command + 2).contains(&index));
        // Who the session is.
        let startup = packets.iter().position(|packet| packet.data.windows(12).any(|bytes| bytes == b"replication\0"));
        let unknown = without(&packets, |index| Some(index) == startup);
        let to_server = packets[0].data[36..38].to_vec();
        let of_server = without(&packets, |index| packets[index].data[36..38] == to_server[..]);
        let mut hidden = 0;
        for line in lost.chain(begun_later).chain([both, unknown, of_server]).flatten() {
            let value = &line.value;
            if !line.is("message") || value["type"] != "CopyData" || value["dir"] != dir {
                continue;
            }
            let body = &value["body"];
            let shows = ["data", "rows", "binary"].iter().any(|field| body.get(field).is_some());
            assert!(!shows, "{capture}: {value:.300}");
            let behind = value["holes"].as_array().into_iter().flatten().map(|hole| &hole["behind"]);
            assert!(behind.into_iter().all(|behind| behind.is_null() || behind == "***"), "{capture}: {value:.300}");
            hidden += body["bytes"].as_u64().unwrap_or_default();
        }
        assert!(hidden > least, "{capture}: {hidden}");
    }
}
