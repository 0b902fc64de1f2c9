//! The lines of a server's log are in the order of their times, whenever the requests of which they are have ended.

use std::fs;

use pgdissect::{Dissector, Record, Timestamp};

use crate::captures::{self, OwnedPacket};
use crate::cli::text::pcap;
use crate::command::{Folder, Outcome, run};
use crate::wire::From::{Client, Server};
use crate::wire::{self, Tcp};

/// Returns the times of lines of `-F stderrlog`, and what is behind them.
fn entries(outcome: &Outcome) -> Vec<(&str, &str)> {
    outcome.lines.iter().filter_map(|line| line.split_once(" UTC ")).collect()
}

#[test]
fn the_lines_of_every_capture_are_in_order() {
    let ports = captures::PORTS.map(|port| port.to_string()).join(",");
    let mut lines = 0;
    for capture in captures::all() {
        for style in ["duration", "statement"] {
            let outcome = run(["-q", "-p", &ports, "-F", "stderrlog", "--log-style", style, &capture]);
            let entries = entries(&outcome);
            let times: Vec<_> = entries.iter().map(|(time, _)| time).collect();
            assert!(times.is_sorted(), "{capture}, {style}");
            lines += times.len();
        }
    }
    assert!(lines > 10_000, "{lines}");
}

#[test]
fn no_request_comes_that_began_before_the_earliest_without_a_record() {
    // What is behind a hole is not seen before it is filled, or given up.
    let has_holes = |capture: &String| ["cases/", "loss/", "tcp/", "planted/"].iter().any(|of| capture.starts_with(of));
    let (mut records, mut waited) = (0, 0);
    for capture in captures::all().into_iter().filter(|capture| !has_holes(capture)) {
        let (packets, _) = captures::packets(&[captures::testdata().join(&capture)]);
        let mut dissector = Dissector::new(captures::everything());
        // A session begins with a SYN, which is none before it is answered.
        let (mut earliest, mut earliest_session) = (Timestamp::default(), Timestamp::default());
        for (packet, number) in packets.iter().zip(1_u64..) {
            dissector.packet(&packet.borrow(), &mut |record: &Record<'_>| {
                let (began, earliest) = match record {
                    // Streams are left out.
                    Record::Query(query) if !query.backend.is_walsender => (query.started, earliest),
                    Record::Session(session) if session.ended.is_none() => (session.started, earliest_session),
                    _ => return,
                };
                records += 1;
                assert!(began >= earliest, "{capture}, packet {number}: {began} before {earliest}: {record:?}");
            });
            let found = dissector.earliest_unreported(packet.ts).unwrap_or(packet.ts);
            waited += usize::from(found < packet.ts);
            earliest = earliest.max(found);
            earliest_session = earliest_session.max(found.min(packet.ts.earlier(100_000)));
        }
    }
    assert!(records > 5_000 && waited > 1_000, "{records} {waited}");
}

/// Sessions of which the first sends one request, then the other so many of so many bytes, 10 ms apart, before the reply to the first.
fn beside_a_slow_request(count: u32, size: usize) -> Vec<OwnedPacket> {
    let (startup, slow) = (wire::startup(), wire::message(b'Q', b"SELECT 'slow'\0"));
    let greeting = [wire::message(b'R', &[0, 0, 0, 0]), wire::message(b'Z', b"I")].concat();
    let done = [wire::message(b'C', b"SELECT 0\0"), wire::message(b'Z', b"I")].concat();
    let text = format!("SELECT '{}'\0", "x".repeat(size));
    let fast = wire::message(b'Q', text.as_bytes());
    let [startup_len, greeting_len, slow_len, done_len, fast_len] =
        [&startup, &greeting, &slow, &done, &fast].map(|bytes| u32::try_from(bytes.len()).unwrap());
    let (client, server) = (1 + startup_len, 1 + greeting_len);
    let begun = |port| {
        [
            Tcp::new(Client, 0, 0, b"").syn().without_ack(),
            Tcp::new(Server, 0, 1, b"").syn(),
            Tcp::new(Client, 1, 1, &startup),
            Tcp::new(Server, 1, client, &greeting),
        ]
        .map(|segment| segment.port(port))
    };
    let mut segments: Vec<_> = begun(40_001).into_iter().chain(begun(40_002)).collect();
    segments.push(Tcp::new(Client, client, server, &slow).port(40_001));
    for number in 0..count {
        let (client, server) = (client + number * fast_len, server + number * done_len);
        segments.push(Tcp::new(Client, client, server, &fast).port(40_002));
        segments.push(Tcp::new(Server, server, client + fast_len, &done).port(40_002));
    }
    segments.push(Tcp::new(Server, server, client + slow_len, &done).port(40_001));
    segments.iter().zip(0..).map(|(segment, at)| segment.at(at * 5_000)).collect()
}

/// Returns the log of these packets.
fn log_of(packets: &[OwnedPacket], style: &str) -> Outcome {
    let folder = Folder::new();
    let capture = folder.file("capture.pcap");
    fs::write(&capture, pcap(packets)).unwrap();
    let args = ["-F", "stderrlog", "--log-style", style, &capture];
    let [outcome, of_threads] =
        [&["-j", "1"][..], &["-j", "3", "--least-in-parallel", "2"]].map(|jobs| run([&args, jobs].concat()));
    assert_eq!(outcome.code, Some(0), "{}", outcome.said);
    assert_eq!(outcome.said, of_threads.said);
    // Where too many wait, it depends on what is written at once which are written out of order.
    if outcome.said.is_empty() {
        assert!(outcome.lines == of_threads.lines, "{style}");
    }
    outcome
}

#[test]
fn lines_wait_for_those_of_a_slow_request() {
    // 4 MiB of lines, so that it is asked several times which can come.
    let packets = beside_a_slow_request(400, 10_000);
    let outcome = log_of(&packets, "statement");
    assert_eq!(outcome.said, "");
    let entries = entries(&outcome);
    assert!(entries.iter().map(|(time, _)| time).is_sorted());
    let slow = entries.iter().position(|(_, line)| line.contains("'slow'"));
    let first = entries.iter().position(|(_, line)| line.contains("'xxx"));
    assert!(slow.is_some() && slow.map(|slow| slow + 1) == first, "{slow:?} {first:?}");
    assert_eq!(entries.iter().filter(|(_, line)| line.contains("'xxx")).count(), 400);
    // Where lines have the times of ends, it comes last.
    let outcome = log_of(&packets, "duration");
    let last = self::entries(&outcome).iter().rposition(|(_, line)| line.contains("duration: "));
    assert!(outcome.lines[last.unwrap()].contains("'slow'"));
}

#[test]
fn lines_do_not_wait_without_end() {
    let outcome = log_of(&beside_a_slow_request(1_500, 50_000), "statement");
    assert_eq!(
        outcome.said.trim_end(),
        "pgdissect: the log is not all in order of time: more than 64 MiB of it came while a request was under way"
    );
    let entries = entries(&outcome);
    assert_eq!(entries.iter().filter(|(_, line)| line.contains("'xxx")).count(), 1_500);
    let slow = entries.iter().position(|(_, line)| line.contains("'slow'")).unwrap();
    let first = entries.iter().position(|(_, line)| line.contains("'xxx")).unwrap();
    assert!(slow > first + 100, "{slow} {first}");
    let times: Vec<_> = entries.iter().filter(|(_, line)| !line.contains("'slow'")).map(|(time, _)| time).collect();
    assert!(times.is_sorted());
}
