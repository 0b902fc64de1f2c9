//! `--extract`: the packets of the connections that have lines.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::captures::{self, OwnedPacket};
use crate::cli::live::{Server, announce, can_capture, interrupt};
use crate::command::{Folder, Outcome, Running, pgdissect, run, testdata};

const EVERYTHING: [&str; 4] = ["-p", "5415,5432,5416,6432", "-e", "message,query,session,loss"];

/// Returns the arguments for the key log of a capture.
fn keys(capture: &str) -> Vec<String> {
    let keys = Path::new(capture).with_file_name("keys.log");
    if testdata().join(&keys).exists() { vec!["--keylog".to_owned(), keys.display().to_string()] } else { Vec::new() }
}

fn run_all<const N: usize>(parts: [&[&str]; N]) -> Outcome {
    run(parts.concat())
}

/// Returns the lines of each connection, without what depends on other connections: numbers of packets and connections, and how long
/// ago a request was when the capture ended.
fn by_connection(lines: &[Value]) -> BTreeMap<u64, Vec<Value>> {
    let mut connections = BTreeMap::<u64, Vec<Value>>::new();
    for line in lines {
        let mut line = line.clone();
        let conn = line["conn"].as_u64().unwrap();
        let fields = line.as_object_mut().unwrap();
        for field in ["conn", "packet", "target", "canceled_by", "age_us"] {
            fields.remove(field);
        }
        if fields.get("type").is_some_and(|name| name == "CancelRequest") {
            // Whether its target was seen.
            fields.remove("flags");
        }
        if let Some(violation) = fields.get_mut("violation").and_then(Value::as_object_mut) {
            violation.remove("packet");
        }
        // That of a session whose keys may still come.
        fields.retain(|name, value| name != "tls" || value["decrypted"] == true);
        connections.entry(conn).or_default().push(line);
    }
    connections
}

fn packets(file: &str) -> Vec<OwnedPacket> {
    let (packets, errors) = captures::packets(&[PathBuf::from(file)]);
    assert_eq!(errors, Vec::<String>::new());
    packets
}

/// Asserts that the packets of a file are among those of others, in their order, with their times and lengths.
#[track_caller]
fn are_among(extracted: &str, captures: &[&str]) {
    let paths: Vec<_> = captures.iter().map(|capture| testdata().join(capture)).collect();
    let mut all = captures::packets(&paths).0.into_iter();
    for packet in packets(extracted) {
        let same = |other: &OwnedPacket| {
            (other.ts.as_nanos(), &other.data, other.orig_len) == (packet.ts.as_nanos(), &packet.data, packet.orig_len)
        };
        assert!(all.any(|other| same(&other)), "{captures:?}: a packet at {} is not in its place", packet.ts);
    }
}

/// Extracts what `selection` chooses, and asserts that all lines of these connections are the same in the file. Returns their
/// number.
#[track_caller]
fn check(captures: &[&str], selection: &[&str]) -> usize {
    let folder = Folder::new();
    let file = folder.file("extracted.pcap");
    let keys = keys(captures[0]);
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    let chosen = run_all([selection, &keys, captures, &["--extract", &file]]);
    assert_ne!(chosen.code, Some(2), "{captures:?}: {}", chosen.said);
    let conns: BTreeSet<_> = chosen.values().iter().filter_map(|line| line["conn"].as_u64()).collect();

    let all = by_connection(&run_all([&EVERYTHING, &keys, captures]).values());
    let wanted: Vec<_> = all.into_iter().filter(|(conn, _)| conns.contains(conn)).map(|(_, lines)| lines).collect();
    let extracted = run_all([&EVERYTHING, &keys, &[&file]]);
    let found: Vec<_> = by_connection(&extracted.values()).into_values().collect();
    assert_eq!(found.len(), wanted.len(), "{captures:?} {selection:?}: connections; {}", extracted.said);
    for (found, wanted) in found.iter().zip(&wanted) {
        for (found, wanted) in found.iter().zip(wanted) {
            assert_eq!(found, wanted, "{captures:?} {selection:?}");
        }
        assert_eq!(found.len(), wanted.len(), "{captures:?} {selection:?}");
    }
    are_among(&file, captures);
    wanted.len()
}

#[test]
fn extracted_connections_have_the_same_lines_again() {
    let selections: [&[&str]; 3] = [&["-e", "message,loss"], &["--errors"], &["-t", "Parse,SSLRequest", "-c", "1"]];
    for (index, capture) in captures::all().iter().enumerate() {
        let packets = captures::packets(&[testdata().join(capture)]).0;
        let has_one_link_type = packets.windows(2).all(|pair| pair[0].link == pair[1].link);
        // The keys in this one are not packets.
        if !has_one_link_type || capture == "tls-secrets/capture.pcapng" {
            continue;
        }
        // One thread and several, and not every selection for every capture.
        let jobs = ["-p", "5415,5432,5416,6432", "--least-in-parallel", "1", "-j", ["1", "4"][index % 2]];
        check(&[capture], &[&jobs, selections[index / 2 % selections.len()]].concat());
    }
}

#[test]
fn only_packets_of_connections_with_lines_are_extracted() {
    for (captures, selection, wanted) in [
        // One of two that use the same port, one after the other; and both.
        (&["tcp/reused-port.pcap"][..], &["-e", "query", "--min-duration", "300us"][..], 1),
        (&["tcp/reused-port-no-fin.pcap"], &["-t", "Terminate"], 2),
        (&["tcp/midstream.pcap"], &["-t", "Terminate"], 1),
        (&["loss/burst.pcap"], &["-e", "loss"], 1),
        (&["tls-sessions/cancel.pcap"], &["-t", "CancelRequest"], 1),
        (&["tunnels/gre-fragments.pcap"], &["-t", "Terminate"], 1),
        (&["tunnels/geneve-ipv6-fragments.pcap"], &["-t", "Terminate"], 1),
        (&["formats/vlan.pcap"], &["-t", "Terminate"], 1),
        (&["formats/nano.pcap"], &["-t", "Terminate"], 1),
        (&["formats/capture.pcap.gz"], &["-t", "Terminate"], 1),
        (&["formats/rotated-1.pcap", "formats/rotated-2.pcap"], &["-t", "Terminate"], 1),
        (&["cancel/capture.pcap", "auth-scram-wrong/capture.pcap", "simple-query/capture.pcap"], &["--errors"], 3),
    ] {
        for jobs in ["1", "4"] {
            let ports = ["-p", "5415,5432,5416,6432", "--least-in-parallel", "1", "-j", jobs];
            assert_eq!(check(captures, &[&ports, selection].concat()), wanted, "{captures:?} {selection:?}");
        }
    }
}

#[test]
fn every_packet_of_a_connection_is_extracted() {
    let folder = Folder::new();
    let file = folder.file("extracted.pcap");
    // All TCP packets of these captures are of one connection: handshake, retransmissions, fragments, the end.
    for capture in
        ["tcp/duplicated.pcap", "tcp/keepalive.pcap", "tcp/rst.pcap", "tunnels/gre-fragments.pcap", "tcp/overlap.pcap"]
    {
        let ran = run(["-p", "5415,5432", "-t", "Terminate", capture, "--extract", &file]);
        let all = captures::packets(&[testdata().join(capture)]).0.len();
        assert_eq!(ran.code, Some(0), "{}", ran.said);
        assert_eq!(ran.said, format!("pgdissect: {file}: {all} packets of 1 connection\n"), "{capture}");
        assert_eq!(packets(&file).len(), all, "{capture}");
    }
}

/// Runs the command with a capture on its standard input.
fn from_pipe(capture: &[u8], args: &[&str]) -> Outcome {
    let mut running = Running::start_with_pipe(&mut pgdissect(args));
    running.feed(capture);
    running.finish()
}

#[test]
fn a_pipe_gives_the_same_packets_as_files() {
    let folder = Folder::new();
    let (file, piped) = (folder.file("file.pcap"), folder.file("piped.pcap"));
    for capture in captures::all().iter().step_by(3) {
        let keys = keys(capture);
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let args = [&["-p", "5415,5432,5416,6432", "-t", "Terminate,CancelRequest,Parse"], &keys[..]].concat();
        run_all([&args, &[capture], &["--extract", &file]]);
        let bytes = std::fs::read(testdata().join(capture)).unwrap();
        let ran = from_pipe(&bytes, &[&args[..], &["-", "--extract", &piped]].concat());
        assert_ne!(ran.code, Some(2), "{capture}: {}", ran.said);
        assert!(std::fs::read(&file).unwrap() == std::fs::read(&piped).unwrap(), "{capture}");
    }
}

#[test]
fn of_a_pipe_the_last_packets_are_kept_and_handshakes_longest() {
    let folder = Folder::new();
    let (all, some) = (folder.file("all.pcap"), folder.file("some.pcap"));
    let capture = "mixed-10000/capture.pcap.zst";
    let bytes = std::fs::read(testdata().join(capture)).unwrap();
    // Each is chosen by its last message.
    let args = ["-p", "5415,5432,5416,6432", "-t", "Terminate"];
    let whole = run_all([&args, &[capture, "--extract", &all]]);
    let limited = from_pipe(&bytes, &[&args[..], &["-", "--extract", &some, "--extract-buffer", "128K"]].concat());
    assert_eq!((whole.code, limited.code), (Some(0), Some(0)), "{}", limited.said);

    are_among(&some, &[capture]);
    let (kept, total) = (packets(&some).len(), packets(&all).len());
    let connections = whole.lines.len();
    let said = format!(
        "pgdissect: {some}: {kept} packets of {connections} connections; {} packets were no longer kept (see --extract-buffer)\n",
        total - kept
    );
    assert_eq!(limited.said, said);
    assert!(kept < total, "{kept} packets of {total} fit into the buffer");

    // The handshake and the end of each of them, as in the whole capture.
    let opening = ["-p", "5415,5432,5416,6432", "-e", "message,session"];
    let of_opening = |file: &str| {
        let mut lines = by_connection(&run_all([&opening, &[file]]).values()).into_values().collect::<Vec<_>>();
        for lines in &mut lines {
            let ready = lines.iter().position(|line| line["state"] == "ready").unwrap();
            assert_eq!(lines.iter().filter(|line| line["type"] == "Terminate").count(), 1);
            lines.truncate(ready + 1);
        }
        lines
    };
    assert_eq!(of_opening(&some), of_opening(&all));
}

#[test]
fn with_a_summary_the_requests_counted_choose_the_packets() {
    let folder = Folder::new();
    let file = folder.file("extracted.pcap");
    for format in ["summary", "html"] {
        let captures = ["tcp/base.pcap", "tcp/reused-port.pcap"];
        let args = ["-p", "5415", "-F", format, "--min-duration", "300us", "--extract", &file, "-o", "/dev/null"];
        let ran = run_all([&args, &captures]);
        assert_eq!(ran.code, Some(0), "{}", ran.said);
        let lines = run_all([&["-p", "5415", "-e", "query", "--min-duration", "300us"], &captures]).values();
        let wanted: BTreeSet<_> = lines.iter().map(|line| line["conn"].to_string()).collect();
        let found = run_all([&["-p", "5415", "-e", "query"], &[&file]]).values();
        let found: BTreeSet<_> = found.iter().map(|line| line["conn"].to_string()).collect();
        assert!(!wanted.is_empty());
        assert_eq!(found.len(), wanted.len(), "{}", ran.said);
    }
}

#[test]
fn what_a_filter_or_a_script_leaves_out_chooses_no_connection() {
    let folder = Folder::new();
    let file = folder.file("extracted.pcap");
    let said = |args: &[&str]| {
        let common = ["-p", "5415", "summary/capture.pcap.gz", "-o", "/dev/null", "--extract", &file];
        let ran = run(common.iter().chain(args));
        assert_eq!(ran.code, Some(0), "{}", ran.said);
        ran.said.lines().find(|line| line.contains("extracted.pcap")).unwrap().split(": ").last().unwrap().to_owned()
    };
    let ends = |said: &str, wanted: &str| assert!(said.ends_with(wanted), "{said}");
    for jobs in ["-j1", "-j4"] {
        for events in ["message", "query", "message,query,session"] {
            ends(&said(&[jobs, "-e", events, "--jq", "select(.conn==2)"]), " packets of 1 connection");
            ends(&said(&[jobs, "-e", events, "--jq", "empty"]), "no packets, because no connection has a line");
        }
        // Rows come in runs.
        ends(&said(&[jobs, "--jq", "select(.type==\"DataRow\" and .conn==2)"]), " packets of 1 connection");
    }
    // Logins that failed are no part of a script.
    let all = run(["-q", "-p", "5415", "summary/capture.pcap.gz", "-e", "query,session", "--errors"]).good();
    let conns = |event: &str| {
        let of_event = all.iter().filter(|line| line["event"] == event);
        of_event.map(|line| line["conn"].as_u64().unwrap()).collect::<std::collections::BTreeSet<_>>()
    };
    let (queries, sessions) = (conns("query"), conns("session"));
    assert!(!sessions.is_subset(&queries), "{sessions:?} {queries:?}");
    ends(&said(&["-F", "sql", "--errors"]), &format!(" packets of {} connections", queries.len()));
}

#[test]
fn without_lines_the_file_is_an_empty_capture() {
    let folder = Folder::new();
    let file = folder.file("extracted.pcap");
    for (input, capture) in
        [("tcp/base.pcap", &b""[..]), ("-", &std::fs::read(testdata().join("tcp/base.pcap")).unwrap())]
    {
        let ran = from_pipe(capture, &["-p", "5415", "-t", "CopyData", input, "--extract", &file]);
        assert_eq!((ran.code, ran.lines.len()), (Some(0), 0));
        assert_eq!(ran.said, format!("pgdissect: {file}: no packets, because no connection has a line\n"));
        assert!(packets(&file).is_empty());
        let quiet = from_pipe(capture, &["-p", "5415", "-t", "CopyData", "-q", input, "--extract", &file]);
        assert_eq!((quiet.code, quiet.said.as_str()), (Some(0), ""));
    }
}

#[test]
fn files_that_cannot_be_extracted_to_are_errors() {
    let folder = Folder::new();
    let capture = folder.file("capture.pcap");
    std::fs::copy(testdata().join("tcp/base.pcap"), &capture).unwrap();
    let link = folder.file("link.pcap");
    std::os::unix::fs::symlink(&capture, &link).unwrap();
    let nowhere = folder.file("missing/x.pcap");
    for (file, wanted) in [
        (&link, "capture.pcap: is an input, and would be overwritten"),
        (&nowhere, "x.pcap: cannot be written: No such file or directory (os error 2)"),
        (&"/dev/full".to_owned(), "/dev/full: cannot be written: No space left on device (os error 28)"),
        (&"-".to_owned(), "packets cannot be written to standard output, which is for lines"),
    ] {
        let ran = run(["-p", "5415", &capture, "--extract", file]);
        assert_eq!(ran.code, Some(2), "{}", ran.said);
        assert!(ran.said.contains(wanted), "{}", ran.said);
    }
    let same = run(["-p", "5415", &capture, "--extract", "x.pcap", "-w", "x.pcap"]);
    assert_eq!(same.code, Some(2));
    assert!(same.said.contains("--extract needs a file of its own"), "{}", same.said);
    // A second link type is not written.
    let file = folder.file("extracted.pcap");
    let ran = run(["-p", "5415,5432", "formats/any-sll.pcap", &capture, "--extract", &file]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.said.contains("of another link type, 1 (EN10MB): a file whose name ends in .pcapng"), "{}", ran.said);
    are_among(&file, &["formats/any-sll.pcap"]);
}

#[test]
fn a_reader_that_stops_reading_lines_gets_the_packets() {
    let folder = Folder::new();
    let file = folder.file("extracted.pcap");
    let mut command = std::process::Command::new("sh");
    let script = r#""$0" -p 5415,5432 rows-3000/capture.pcap --extract "$1" | head -1"#;
    command.args(["-c", script, env!("CARGO_BIN_EXE_pgdissect"), &file]).current_dir(testdata());
    assert_eq!(Running::start(&mut command).finish().lines.len(), 1);
    assert!(!packets(&file).is_empty());
}

#[test]
#[ignore = "needs root and a server"]
fn a_live_capture_has_the_packets_of_chosen_connections() {
    if !can_capture("extraction from a live capture") {
        return;
    }
    let server = match Server::start() {
        Ok(server) => server,
        Err(missing) => return announce(&format!("SKIPPED: extraction from a live capture: {missing}")),
    };
    let folder = Folder::new();
    let file = folder.file("extracted.pcap");
    let mut running =
        server.listen(["-i", "lo", "-Z", "nobody", "-e", "query", "--min-duration", "300ms", "--extract", &file]);
    for sql in ["SELECT 1", "SELECT pg_sleep(0.4)", "SELECT 2"] {
        server.query(sql);
    }
    running.line();
    // The rest of its packets.
    std::thread::sleep(Duration::from_millis(500));
    let ran = interrupt(running);
    assert!(ran.said.contains(" packets of 1 connection\n"), "{}", ran.said);
    assert_ne!(std::fs::metadata(&file).unwrap().uid(), 0, "files are the user's");
    let lines = run(["-p", &server.port.to_string(), "-e", "message,session", &file]).good();
    let of_type = |wanted: &str| lines.iter().filter(|line| line["type"] == wanted).count();
    assert_eq!(["StartupMessage", "Query", "Terminate"].map(of_type), [1, 1, 1]);
    let session = lines.last().unwrap();
    // From the SYN to the FIN.
    assert!(session["connect_us"].is_u64() && session["end_reason"] == "terminate", "{session}");
}
