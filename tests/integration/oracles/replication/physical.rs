//! Physical streams: the WAL that was received, and what `pg_receivewal` and a standby wrote of it.

use pgdissect::Direction;
use serde_json::Value;

use super::{Line, dissect, lsn, name, read, text};

const SEGMENT: u64 = 1 << 20;

/// A stream, from CopyBothResponse to the next request.
#[derive(Debug, Default)]
struct Stream {
    command: String,
    /// Where each part of the WAL begins, and its bytes.
    parts: Vec<(u64, Vec<u8>)>,
}

impl Stream {
    fn first(&self) -> u64 {
        self.parts[0].0
    }

    fn end(&self) -> u64 {
        self.parts.last().map(|(start, bytes)| start + bytes.len() as u64).unwrap()
    }
}

/// Returns the streams in their order, by what their lines say.
fn streams(lines: &[Line]) -> Vec<Stream> {
    let mut streams: Vec<Stream> = Vec::new();
    for line in lines.iter().filter(|line| line.is("message")) {
        let body = &line.value["body"];
        if line.value["type"] == "Query" && body["query"].as_str().unwrap().starts_with("START_REPLICATION") {
            streams.push(Stream { command: body["query"].as_str().unwrap().to_owned(), parts: Vec::new() });
        } else if let Some(payload) = line.payload() {
            assert_eq!(body["bytes"], payload.len(), "{}", line.value);
            assert!(body.get("data").is_none() && body.get("binary").is_none() && body.get("pgoutput").is_none());
            assert!(lsn(&body["end_lsn"]) >= lsn(&body["start_lsn"]), "the end is that of the server's WAL: {body}");
            streams.last_mut().unwrap().parts.push((lsn(&body["start_lsn"]), payload.to_vec()));
        }
    }
    for stream in &streams {
        for pair in stream.parts.windows(2) {
            assert_eq!(pair[0].0 + pair[0].1.len() as u64, pair[1].0, "one part of the WAL follows another");
        }
    }
    streams
}

/// Checks that a file has the bytes of streams at their places, and zeros elsewhere.
fn check_file(file: &str, first: u64, streams: &[&Stream]) {
    let mut wanted = vec![0; usize::try_from(SEGMENT).unwrap()];
    for (start, bytes) in streams.iter().flat_map(|stream| &stream.parts) {
        for (at, byte) in (*start..).zip(bytes).filter(|(at, _)| (first..first + SEGMENT).contains(at)) {
            wanted[usize::try_from(at - first).unwrap()] = *byte;
        }
    }
    assert!(read(file) == wanted, "{file} is what the lines have the positions of");
}

#[test]
fn positions_and_lengths_are_those_of_the_files_that_were_received() {
    let lines = dissect("replication-physical/receivewal.pcap.gz");
    let [live, again] = &streams(&lines)[..] else { panic!("there are two streams") };
    assert_eq!(live.command, "START_REPLICATION SLOT \"archive\" 0/800000 TIMELINE 1");
    let messages = text("replication-physical/receivewal.err");
    assert!(messages.contains("starting log streaming at 0/800000 (timeline 1)"));
    assert_eq!(live.first(), 0x0080_0000);
    assert!(messages.contains("finished segment at 0/900000") && live.end() > 0x0090_0000);
    let messages = text("replication-physical/again.err");
    assert!(
        messages.contains("starting log streaming at 0/900000")
            && messages.contains("stopped log streaming at 0/9001D0")
    );
    assert_eq!((again.first(), again.end()), (0x0090_0000, 0x0090_01D0));
    check_file("replication-physical/receivewal.000000010000000000000008.gz", 0x0080_0000, &[live]);
    check_file("replication-physical/receivewal.000000010000000000000009.partial.gz", 0x0090_0000, &[live, again]);
    assert_eq!(live.end() - live.first(), live.parts.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
}

#[test]
fn a_timeline_switch_ends_one_stream_and_begins_another() {
    let lines = dissect("replication-physical/timeline.pcap.gz");
    let [old, new] = &streams(&lines)[..] else { panic!("there are two streams") };
    assert!(text("replication-physical/timeline.err").contains("switched to timeline 2 at 0/B00340"));
    assert_eq!((old.first(), old.end()), (0x00B0_0000, 0x00B0_0340));
    assert_eq!(new.command, "START_REPLICATION 0/B00000 TIMELINE 2");
    assert_eq!(new.first(), 0x00B0_0000);
    check_file("replication-physical/timeline.00000001000000000000000B.partial.gz", 0x00B0_0000, &[old]);
    check_file("replication-physical/timeline.00000002000000000000000B.partial.gz", 0x00B0_0000, &[new]);

    // Each command has its own reply, and the rows between the streams are rows.
    let rows: Vec<&Value> =
        lines.iter().filter(|line| line.value["type"] == "DataRow").map(|line| &line.value["body"]["values"]).collect();
    assert!(rows.contains(&&serde_json::json!([2, "0/B00340"])), "where the next timeline begins: {rows:?}");
    let history = text("replication-physical/timeline.00000002.history");
    assert!(rows.contains(&&serde_json::json!(["00000002.history", history])), "{rows:?}");
    let outcomes: Vec<_> = lines
        .iter()
        .filter(|line| line.is("query"))
        .map(|line| (line.value["sql"].as_str().unwrap(), &line.value["outcome"]))
        .collect();
    assert!(outcomes.iter().all(|(_, outcome)| *outcome == "ok"), "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|(sql, _)| sql.starts_with("START_REPLICATION")).count(), 2);
    assert!(lines.iter().all(|line| !line.is("loss") && line.value.get("flags").is_none()));
}

#[test]
fn a_standby_tells_how_far_it_is_and_which_rows_it_needs() {
    let lines = dissect("replication-physical/standby.pcap.gz");
    let log = text("replication-physical/standby.log");
    let streams = streams(&lines);
    // The first two of its streams are in the capture.
    let started = log
        .lines()
        .filter_map(|line| line.split_once("started streaming WAL from primary at ")?.1.split_once(" on timeline "));
    for (stream, (position, timeline)) in streams.iter().zip(started) {
        assert_eq!(stream.first(), lsn(&position.into()));
        assert!(stream.command.ends_with(&format!("{position} TIMELINE {timeline}")), "{}", stream.command);
    }
    assert_eq!(streams.len(), 2);
    let ended = log
        .lines()
        .find_map(|line| line.split_once("End of WAL reached on timeline 1 at "))
        .unwrap()
        .1
        .trim_end_matches('.');
    assert_eq!(streams[0].end(), lsn(&ended.into()));

    let of_first =
        lines.iter().filter(|line| line.conn() == lines[0].conn() && line.value["dir"] == name(Direction::Frontend));
    let status: Vec<&Value> =
        of_first.map(|line| &line.value["body"]).filter(|body| body["kind"] == "standby_status").collect();
    for pair in status.windows(2) {
        for field in ["write_lsn", "flush_lsn", "apply_lsn"] {
            assert!(lsn(&pair[0][field]) <= lsn(&pair[1][field]), "a standby only goes on");
        }
    }
    for status in &status {
        let [written, flushed, applied] = ["write_lsn", "flush_lsn", "apply_lsn"].map(|field| lsn(&status[field]));
        assert!(applied <= flushed && flushed <= written, "{status}");
    }
    assert_eq!(status.last().unwrap()["apply_lsn"], ended);
    let feedback: Vec<&Value> =
        lines.iter().map(|line| &line.value["body"]).filter(|body| body["kind"] == "hot_standby_feedback").collect();
    assert_eq!(feedback.len(), 5);
    assert!(
        feedback
            .iter()
            .all(|body| body["xmin"].as_u64() > Some(700) && body["xmin_epoch"] == 0 && body["catalog_xmin"] == 0)
    );
    // The server is stopped while it streams, and says no more of it than CommandComplete.
    let outcomes: Vec<&Value> = lines
        .iter()
        .filter(|line| line.is("query") && line.value["sql"].as_str().unwrap().starts_with("START_"))
        .map(|line| &line.value["outcome"])
        .collect();
    assert_eq!(outcomes.len(), 2);
    assert!(lines.iter().all(|line| !line.is("loss")));
}
