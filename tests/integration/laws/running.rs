//! What is under way at a time is what the lines of requests say that it was: what began before, and ended later.

use std::collections::BTreeSet;

use pgdissect::{Dissector, Record};
use serde_json::Value;

use crate::captures;
use crate::command::run;
use crate::laws::contract;
use crate::wire::From::{Client, Server};
use crate::wire::{self, Tcp};

/// Microseconds since 1970.
fn micros(ts: &Value) -> i128 {
    let ts: jiff::Timestamp = ts.as_str().unwrap().parse().unwrap();
    ts.as_nanosecond() / 1_000
}

/// Returns the lines of requests, under way and over, of a capture, with one look at what is under way in each millisecond.
fn lines(capture: &str, more: &[&str]) -> Vec<String> {
    let ports = captures::PORTS.map(|port| port.to_string()).join(",");
    let args = ["-q", "-p", &ports, "-e", "query,running", "--stats-interval", "1ms", capture];
    run(args.iter().chain(more)).lines
}

/// The name of a request: its connection, and its number there.
fn request(line: &Value) -> (u64, u64) {
    (line["conn"].as_u64().unwrap(), line["query"].as_u64().unwrap())
}

#[test]
fn requests_under_way_are_those_that_began_before_and_ended_later() {
    let mut compared = 0;
    for capture in [
        "summary/capture.pcap.gz",
        "slow-client/capture.pcap",
        "pgbench-tpcb/capture.pcap.gz",
        "copy-in/capture.pcap",
        "cancel/capture.pcap",
        "driver-psycopg3-pipeline/capture.pcap.gz",
        "driver-jdbc/capture.pcap.gz",
        "portal-suspended/capture.pcap",
    ] {
        let lines = lines(capture, &[]);
        let lines: Vec<Value> = lines.iter().map(|line| contract::check_line(line).unwrap()).collect();
        let (running, over): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["event"] == "running");
        for line in &running {
            assert_eq!(line["outcome"], "running", "{capture}");
            assert_eq!(i128::from(line["age_us"].as_u64().unwrap()), micros(&line["ts"]) - micros(&line["started"]));
        }
        let times: BTreeSet<i128> = running.iter().map(|line| micros(&line["ts"])).collect();
        for time in times {
            let found: BTreeSet<_> =
                running.iter().filter(|line| micros(&line["ts"]) == time).map(|line| request(line)).collect();
            let was_under_way = |line: &&&Value| {
                let started = micros(&line["started"]);
                let ended = line["total_us"].as_u64().map(|total| started + i128::from(total));
                started < time && ended.is_none_or(|ended| ended >= time)
            };
            // When it was known that the server would skip a request is not in its line.
            let is_skipped = |line: &&&Value| line["outcome"] == "skipped";
            let under_way: BTreeSet<_> =
                over.iter().filter(|line| !is_skipped(line)).filter(was_under_way).map(|line| request(line)).collect();
            let skipped: BTreeSet<_> = over.iter().filter(is_skipped).map(|line| request(line)).collect();
            assert_eq!(&found - &skipped, under_way, "{capture} at {time}");
            compared += under_way.len();
        }
    }
    assert!(compared > 1_000, "{compared}");
}

#[test]
fn requests_under_way_are_the_same_with_any_number_of_threads() {
    for capture in ["summary/capture.pcap.gz", "pgbench-tpcb/capture.pcap.gz"] {
        let all = lines(capture, &["-j", "1"]);
        assert!(all.iter().any(|line| line.starts_with(r#"{"event":"running""#)));
        assert!(all == lines(capture, &["-j", "4"]), "{capture}");
        assert!(all == lines(capture, &["--no-fast-paths"]), "{capture}");
    }
}

#[test]
fn at_the_end_of_a_file_is_a_look_whatever_is_left_of_the_interval() {
    // Of less than two seconds: one request has no end in it, and others are under way at a second.
    let capture = "summary/capture.pcap.gz";
    let looks = |interval: &str| {
        let lines = run(["-p5415", "-e", "running,query", "--stats-interval", interval, "-q", capture]).good();
        let (running, over): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line["event"] == "running");
        let unended: Vec<_> = over.iter().filter(|line| line["total_us"].is_null()).map(request).collect();
        assert_eq!(unended.len(), 1);
        let last = running.iter().map(|line| micros(&line["ts"])).max();
        let at_end: Vec<_> = running.iter().filter(|line| Some(micros(&line["ts"])) == last).collect();
        assert_eq!(at_end.iter().map(|line| request(line)).collect::<Vec<_>>(), unended, "{interval}");
        assert_eq!(at_end[0]["ts"], "2026-11-27T01:46:35.894117Z", "the time of the last packet");
        running.len()
    };
    assert_eq!(looks("10s"), 1);
    assert!(looks("1s") > 1);
}

#[test]
fn states_tell_whose_turn_it_is() {
    let states = |capture: &str, sql: &str| {
        let lines = lines(capture, &[]);
        let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = lines.iter().filter(|line| {
            line["event"] == "running" && line["sql"].as_str().is_some_and(|text| text.starts_with(sql))
        });
        of.map(|line| line["state"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let set = |states: &[&str]| states.iter().map(|state| (*state).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(states("summary/capture.pcap.gz", "SELECT pg_sleep(60)"), set(&["waiting_for_server"]));
    // The client stops reading for a second.
    let slow = states("slow-client/capture.pcap", "");
    assert!(slow.contains("waiting_for_client") && slow.contains("sending"), "{slow:?}");
}

#[test]
fn only_requests_older_than_the_minimum_are_lines() {
    let all = lines("summary/capture.pcap.gz", &[]);
    let old = lines("summary/capture.pcap.gz", &["--min-duration", "50ms"]);
    let is_old = |line: &&String| {
        let line: Value = serde_json::from_str(line).unwrap();
        let time = line["total_us"].as_u64().or(line["age_us"].as_u64());
        time.is_some_and(|time| time >= 50_000)
    };
    assert!(old.iter().any(|line| line.starts_with(r#"{"event":"running""#)));
    assert!(all.iter().filter(is_old).eq(&old));
}

/// Returns how many requests are under way long after these segments, which follow a request that waits for its reply. The client's
/// numbers go on at `client`, the server's at `server`.
fn under_way_behind(segments: impl Fn(u32, u32) -> Vec<Tcp>) -> usize {
    let (startup, query) = (wire::startup(), wire::message(b'Q', b"SELECT 1\0"));
    let greeting = [wire::message(b'R', &[0, 0, 0, 0]), wire::message(b'Z', b"I")].concat();
    let (client, server) = (1 + startup.len() as u32, 1 + greeting.len() as u32);
    let mut packets = vec![
        Tcp::new(Client, 0, 0, b"").syn().without_ack(),
        Tcp::new(Server, 0, 1, b"").syn(),
        Tcp::new(Client, 1, 1, &startup),
        Tcp::new(Server, 1, client, &greeting),
        Tcp::new(Client, client, server, &query),
    ];
    packets.extend(segments(client + query.len() as u32, server));
    let mut dissector = Dissector::new(captures::everything());
    for (packet, at) in packets.iter().zip(0..) {
        dissector.packet(&packet.at(at * 1_000).borrow(), &mut |_: &Record<'_>| {});
    }
    let mut count = 0;
    let now = wire::time(600_000_000);
    dissector.tick(now, &mut |_: &Record<'_>| {});
    dissector.running(now, &mut |record: &Record<'_>| count += usize::from(matches!(record, Record::Running(_))));
    count
}

#[test]
fn a_replication_stream_is_no_slow_request() {
    let args = ["-q", "-p", "5525,5526", "-e", "running", "--stats-interval", "100ms"];
    let lines = run(args.into_iter().chain(["replication-physical/standby.pcap.gz"])).values();
    assert!(lines.iter().all(|line| !line["sql"].as_str().unwrap().starts_with("START_REPLICATION")), "{lines:?}");
}

#[test]
fn what_may_have_ended_is_not_under_way() {
    assert_eq!(under_way_behind(|_, _| vec![]), 1);
    // The client has received a reply that was not captured.
    assert_eq!(under_way_behind(|client, server| vec![Tcp::new(Client, client, server + 40, b"")]), 0);
    // The server has closed the connection, as behind a crash; and has broken it off.
    assert_eq!(under_way_behind(|client, server| vec![Tcp::new(Server, server, client, b"").fin()]), 0);
    assert_eq!(under_way_behind(|client, server| vec![Tcp::new(Server, server, client, b"").rst()]), 0);
    // The client alone has: the server works on.
    assert_eq!(under_way_behind(|client, server| vec![Tcp::new(Client, client, server, b"").fin()]), 1);
}
