//! `--sessions`: who the sessions are that began before the capture. The oracle is pg_stat_activity.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use pgdissect::{Config, Endpoint, KnownSession};
use serde_json::Value;

use crate::captures;
use crate::cli::live::{Server, announce, can_capture, interrupt};
use crate::command::{Folder, Outcome, run, testdata};

const CAPTURE: &str = "sessions-from-file/capture.pcap";
const SESSIONS: &str = "sessions-from-file/sessions.csv";

/// Returns the rows of pg_stat_activity, by client.
fn activity(name: &str) -> HashMap<String, [String; 4]> {
    let text = std::fs::read_to_string(testdata().join("sessions-from-file").join(name)).unwrap();
    let rows = text.lines().skip(1).map(|line| {
        let [addr, port, user, database, application, pid] = line.split(',').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let client = if addr.contains(':') { format!("[{addr}]:{port}") } else { format!("{addr}:{port}") };
        (client, [user, database, application, pid].map(str::to_owned))
    });
    rows.collect()
}

fn has_flag(line: &Value, flag: &str) -> bool {
    line["flags"].as_array().is_some_and(|flags| flags.iter().any(|found| found == flag))
}

fn identity(line: &Value) -> [&str; 3] {
    ["user", "database", "application"].map(|field| line[field].as_str().unwrap())
}

fn lines(args: &[&str]) -> Vec<Value> {
    run([&["-e", "message,query,session", CAPTURE], args].concat()).good()
}

#[test]
fn sessions_that_began_before_are_those_of_pg_stat_activity() {
    let (before, after) = (activity("sessions.csv"), activity("after.csv"));
    let lines = lines(&["--sessions", SESSIONS]);
    let (mut from_file, mut seen) = (0, 0);
    for session in lines.iter().filter(|line| line["state"] == "ended") {
        let client = session["client"].as_str().unwrap();
        let Some([user, database, application, pid]) = after.get(client) else { continue };
        assert_eq!(identity(session), [user, database, application], "{session}");
        assert_eq!(session["process_id"].to_string(), *pid);
        let is_known = before.contains_key(client);
        assert_eq!((has_flag(session, "from_file"), has_flag(session, "midstream")), (is_known, is_known), "{session}");
        *(if is_known { &mut from_file } else { &mut seen }) += 1;
    }
    // One of the others is that of psql, which asks.
    assert_eq!((from_file, seen), (3, 2));

    for query in lines.iter().filter(|line| line["event"] == "query") {
        let client = query["client"].as_str().unwrap();
        let known = before.get(client);
        assert_eq!(has_flag(query, "from_file"), known.is_some(), "{query}");
        if let Some([user, database, application, _]) = known {
            let is_renamed = application == "before" && query["query"].as_u64() >= Some(3);
            let application = if is_renamed { "after" } else { application };
            assert_eq!(identity(query), [user, database, application], "{query}");
        }
    }
}

#[test]
fn a_cancel_request_names_a_process_of_the_file() {
    let lines = lines(&["--sessions", SESSIONS]);
    let canceled = lines.iter().find(|line| line["outcome"] == "canceled").unwrap();
    let cancel = lines.iter().find(|line| line["type"] == "CancelRequest").unwrap();
    assert_eq!(cancel["target"], canceled["conn"]);
    assert!(has_flag(cancel, "from_file"), "{cancel}");
    assert_eq!(
        cancel["body"]["process_id"].to_string(),
        activity("sessions.csv")[canceled["client"].as_str().unwrap()][3]
    );

    let unknown = run(["-q", "-t", "CancelRequest", CAPTURE]).good();
    assert!(unknown[0]["target"].is_null() && !has_flag(&unknown[0], "from_file"), "{}", unknown[0]);
}

#[test]
fn sessions_of_the_file_are_selected_by_their_names() {
    for (option, name, connections) in [
        ("--application", "report", 1),
        ("--user", "app", 4),
        ("--database", "postgres", 1),
        ("--application", "before", 1),
    ] {
        let lines = lines(&["--sessions", SESSIONS, option, name]);
        let conns: std::collections::BTreeSet<_> = lines.iter().map(|line| line["conn"].as_u64()).collect();
        assert_eq!(conns.len(), connections, "{option} {name}");
    }
}

#[test]
fn a_later_connection_of_the_same_client_is_not_that_of_the_file() {
    let capture = testdata().join("tcp/reused-port.pcap");
    let (packets, _) = captures::packets(&[capture]);
    let client = Endpoint { addr: [127, 0, 0, 1].into(), port: 40_015 };
    let known = KnownSession { user: Some(b"known".to_vec()), process_id: Some(7), ..KnownSession::default() };
    let config = Config { known_sessions: HashMap::from([(client, known)]), ..captures::everything() };
    let mut elsewhere = packets[20..].to_vec();
    for packet in &mut elsewhere {
        let ports = &mut packet.data[34..38];
        let server = ports.chunks_mut(2).find(|port| **port == 5_415_u16.to_be_bytes()).unwrap();
        server.copy_from_slice(&5_432_u16.to_be_bytes());
    }
    let without = |lost: std::ops::Range<usize>| [&packets[..lost.start], &packets[lost.end..]].concat();
    for (packets, wanted) in [
        // Both begin within the capture, also where who it is was not captured.
        (packets.clone(), [false, false]),
        (without(3..5), [false, false]),
        // The first begins before; the second within, or where it was not seen, with another server.
        (without(0..6), [true, false]),
        ([&packets[6..13], &elsewhere].concat(), [true, false]),
    ] {
        let output = captures::dissect_packets(&packets, config.clone());
        let values = output.values();
        let ended: Vec<_> = values.iter().filter(|line| line["state"] == "ended").collect();
        let found: Vec<_> = ended.iter().map(|line| has_flag(line, "from_file")).collect();
        assert_eq!(found, wanted);
        for (session, is_known) in ended.iter().zip(wanted) {
            assert_eq!(session["user"] == "known", is_known, "{session}");
            assert_eq!(session["process_id"] == 7, is_known, "{session}");
        }
        let queries = values.iter().filter(|line| line["event"] == "query");
        let queries: Vec<_> = queries.map(|line| (line["conn"].as_u64(), has_flag(line, "from_file"))).collect();
        assert!(queries.len() >= 2 && queries.iter().all(|(conn, known)| *known == (wanted[0] && *conn == Some(1))));
    }
}

/// Runs the command with a file of sessions.
fn with(rows: &[u8]) -> (Outcome, bool) {
    let folder = Folder::new();
    let (sessions, output) = (folder.file("sessions.csv"), folder.file("lines"));
    std::fs::write(&sessions, rows).unwrap();
    let ran = run([CAPTURE, "--sessions", &sessions, "-o", &output]);
    (ran, PathBuf::from(output).exists())
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_before_anything_else() {
    let header = "client_addr,client_port,usename,datname,application_name,pid\n";
    for (rows, wanted) in [
        (
            format!("{header}10.0.0.1,x,a,b,c,1\n"),
            "line 2: client_port: expected a number from 1 to 65535, or -1, not \"x\"",
        ),
        ("pid\n1\n".to_owned(), "line 1: expected a header with the columns client_addr"),
        (format!("{header}10.0.0.1,5001,a\n"), "line: 2"),
    ] {
        let (ran, has_output) = with(rows.as_bytes());
        assert_eq!((ran.code, has_output), (Some(2), false), "{}", ran.said);
        assert!(ran.said.contains("sessions.csv: ") && ran.said.contains(wanted), "{}", ran.said);
    }
    let missing = run([CAPTURE, "--sessions", "missing.csv"]);
    assert_eq!((missing.code, missing.lines.len()), (Some(2), 0));
    assert!(missing.said.contains("missing.csv: cannot be opened"), "{}", missing.said);
    // Of no session of the capture.
    assert_eq!(with(header.as_bytes()).0.code, Some(0));
}

#[test]
fn without_it_the_end_says_what_helps() {
    let said = |args: &[&str]| run(args).said;
    assert_eq!(
        said(&[CAPTURE]),
        "pgdissect: 3 sessions were open before the capture: --sessions FILE has their users, databases and applications (see \
         README)\n"
    );
    assert_eq!(said(&["-p", "5415", "tcp/midstream.pcap"]).lines().count(), 1);
    for args in [&["-q", CAPTURE][..], &["--sessions", SESSIONS, CAPTURE], &["-p", "5415", "tcp/base.pcap"]] {
        assert_eq!(said(args), "", "{args:?}");
    }
}

#[test]
#[ignore = "needs root and a server"]
fn a_live_capture_says_so_soon() {
    if !can_capture("sessions before a live capture") {
        return;
    }
    let server = match Server::start() {
        Ok(server) => server,
        Err(missing) => return announce(&format!("SKIPPED: sessions before a live capture: {missing}")),
    };
    let mut psql = std::process::Command::new("psql");
    psql.args(["-X", "-h", "127.0.0.1", "-U", "postgres", "-d", "postgres", "-p", &server.port.to_string()]);
    psql.args(["-c", "SELECT pg_sleep(2)", "-c", "SELECT pg_sleep(60)"]).env("PGSSLMODE", "disable");
    psql.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut session = psql.spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let mut running = server.listen(["-i", "lo"]);
    running.says("1 session was open before the capture: --sessions FILE has its users");
    assert_eq!(interrupt(running).said.matches("open before the capture").count(), 1);
    session.kill().unwrap();
    session.wait().unwrap();
}
