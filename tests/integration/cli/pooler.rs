//! Both sides of a pooler, as the command reads them.

use super::text::pcap;
use crate::captures::{self, OwnedPacket};
use crate::command::{Folder, run};

const POOLER: &str = "--pooler=127.0.0.1:6432";

const CAPTURE: &str = "pooler-pgbouncer/transaction.pcap.gz";

#[test]
fn files_of_the_same_time_are_read_as_one() {
    let folder = Folder::new();
    let (packets, _) = captures::packets(&[captures::testdata().join(CAPTURE)]);
    let is_of = |packet: &OwnedPacket, port: u16| {
        [34, 36].iter().any(|at| packet.data.get(*at..at + 2) == Some(&port.to_be_bytes()))
    };
    let [server, client] = [5415, 6432].map(|port| {
        let path = folder.file(&format!("{port}.pcap"));
        let side: Vec<_> = packets.iter().filter(|packet| is_of(packet, port)).cloned().collect();
        std::fs::write(&path, pcap(&side)).unwrap();
        path
    });
    for jobs in ["-j1", "-j4"] {
        let args = ["-q", jobs, "-p5415,6432", POOLER, "-emessage,query,session,stats"];
        let one = run([&args[..], &[CAPTURE]].concat()).good();
        assert!(one.iter().any(|line| !line["upstream"].is_null()));
        let two = run([&args[..], &[&server, &client]].concat()).good();
        assert_eq!(one.len(), two.len());
        for (one, two) in one.iter().zip(&two) {
            assert_eq!(one, two);
        }
    }
}

#[test]
fn only_what_is_a_pooler_has_joins() {
    let count = |args: &[&str]| {
        let lines = run([&["-q", "-p5415,6432", "-equery,stats", CAPTURE], args].concat()).good();
        lines.iter().filter(|line| !line["downstream"].is_null()).count()
    };
    assert!(count(&[POOLER]) > 200);
    assert_eq!(count(&["--pooler", "127.0.0.1"]), count(&[POOLER]));
    for args in [&[][..], &["--pooler", "127.0.0.1:5415"], &["--pooler", "10.0.0.1"]] {
        assert_eq!(count(args), 0, "{args:?}");
    }
}

#[test]
fn what_has_no_lines_of_requests_has_no_joins() {
    for args in [&["-emessage"][..], &["-Fsql"], &["-Fcsvlog"], &["-equery", "--extract", "x.pcap"]] {
        let outcome = run([&[POOLER, CAPTURE], args].concat());
        assert_eq!(outcome.code, Some(2), "{args:?}");
        assert!(outcome.said.contains("--pooler joins requests: it requires"), "{}", outcome.said);
    }
    let lines = run(["-q", "-p5415,6432", POOLER, CAPTURE]).good();
    assert!(lines.iter().all(|line| line["event"] == "query"));
}

#[test]
fn the_end_of_a_session_comes_behind_its_requests_with_all_that_it_has() {
    let mut ended = 0;
    for capture in ["transaction", "session", "statement", "errors", "waits"] {
        let capture = format!("pooler-pgbouncer/{capture}.pcap.gz");
        let args = ["-q", "-p5415,6432", "-equery,session", &capture];
        let plain = run(args).good();
        let joined = run([&args[..], &[POOLER]].concat()).good();
        let of = |lines: &[serde_json::Value]| {
            let sessions = lines.iter().filter(|line| line["event"] == "session").cloned();
            let mut sessions: Vec<_> = sessions
                .map(|mut line| {
                    line.as_object_mut().unwrap().remove("pooler");
                    line.to_string()
                })
                .collect();
            sessions.sort_unstable();
            sessions
        };
        assert_eq!(of(&plain), of(&joined), "{capture}");
        for (at, line) in joined.iter().enumerate().filter(|(_, line)| line["state"] == "ended") {
            ended += 1;
            let later = &joined[at..];
            assert!(!later.iter().any(|it| it["event"] == "query" && it["conn"] == line["conn"]), "{line}");
        }
    }
    assert!(ended > 30, "{ended}");
}

#[test]
fn a_part_of_the_connections_may_have_one_side_only() {
    let args = ["-p5415,6432", POOLER, "-equery", "--shard", "0/2", CAPTURE];
    let said = run(args).said;
    assert!(said.contains("joined only where both connections fall into this part"), "{said}");
}

#[test]
fn the_ports_of_both_sides_have_to_be_named() {
    for ports in ["-pauto", "-pauto,6432"] {
        let outcome = run([ports, POOLER, "-equery", CAPTURE]);
        assert_eq!(outcome.code, Some(2));
        assert!(outcome.said.contains("--pooler requires -p with the ports of both sides"), "{}", outcome.said);
    }
    let lines = run(["-q", "-pauto,5415,6432", POOLER, "-equery", CAPTURE]).good();
    assert!(lines.iter().filter(|line| !line["upstream"].is_null()).count() > 200);
}

#[test]
fn lines_have_both_sides_and_the_counters_have_what_is_ambiguous() {
    let outcome = run(["-p5415,6432", POOLER, "-Ftext", "--utc", "-equery,stats", CAPTURE]);
    let text = outcome.lines.join("\n");
    assert!(text.contains("on connection 13 q") && text.contains("of connection 1 q"), "{text}");
    assert!(text.contains("the pooler's own"), "{text}");
    let lines = run(["-q", "-p5415,6432", POOLER, "-equery,stats", CAPTURE]).good();
    let unjoined = lines
        .iter()
        .filter(|line| line["server"] == "127.0.0.1:6432" && line["upstream"].is_null() && line["pooler"].is_null());
    assert_eq!(lines.last().unwrap()["ambiguous_joins"], unjoined.count());
}
