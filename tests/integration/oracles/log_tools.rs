//! The tools that server logs are for read what is written: pgBadger reports the same of it as of the server's own log, and pgreplay
//! does the same to a fresh database as was done to the one that was captured.

use std::fs;
use std::process::Command;

use serde_json::{Map, Value};

use crate::cli::live::{Server, announce, can_capture, interrupt};
use crate::command::{self, Folder, run};
use crate::oracles::server_log;

/// Returns whether a program can be run, after a message if it cannot.
fn has(test: &str, program: &str) -> bool {
    let is_there = Command::new(program).arg("--help").output().is_ok();
    if !is_there {
        announce(&format!("SKIPPED: {test}: no {program}"));
    }
    is_there
}

/// Returns the report of pgBadger on a log.
fn report(folder: &Folder, log: &str, extension: &str) -> Value {
    let (path, report) = (folder.file(&format!("log.{extension}")), folder.file("report.json"));
    fs::write(&path, log).unwrap();
    let format = match extension {
        "csv" => "csv",
        "json" => "jsonlog",
        _ => "stderr",
    };
    let mut pgbadger = Command::new("pgbadger");
    // It lists errors of several processes in the order of Perl's hashes.
    pgbadger.envs([("PERL_HASH_SEED", "0"), ("PERL_PERTURB_KEYS", "0")]);
    pgbadger.args(["-q", "-f", format, "-x", "json"]);
    if format == "stderr" {
        pgbadger.args(["-p", "%m [%p]: user=%u,db=%d,app=%a,client=%h "]);
    }
    pgbadger.arg("-o");
    let output = pgbadger.arg(&report).arg(&path).output().unwrap();
    assert!(output.status.success(), "pgbadger: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap()
}

/// Leaves of a report what does not depend on how long anything took: counts, errors, users, databases, normalised statements.
fn counts(report: &Value) -> Value {
    fn without_times(value: &Value) -> Value {
        match value {
            Value::Object(object) => {
                let is_kept = |key: &str| {
                    !key.ends_with("duration")
                        && !["min", "max", "samples", "chronos", "date", "detail", "hint", "context", "statement"]
                            .contains(&key)
                        && !key.starts_with("WARNING")
                };
                let kept = object.iter().filter(|(key, _)| is_kept(key));
                // A server names what EXECUTE has prepared in a detail, which pgBadger makes the statement.
                let name = |key: &str| match key.strip_prefix("[ ").and_then(|key| key.split_once(" ] - ")) {
                    Some((execute, _)) => format!("{execute};"),
                    // A server writes jsonb, which was sent in binary format, with spaces of its own.
                    None => key.replace("\": \"", "\":\""),
                };
                Value::Object(kept.map(|(key, value)| (name(key), without_times(value))).collect())
            }
            other => other.clone(),
        }
    }
    let parts = [
        "user_info",
        "database_info",
        "application_info",
        "host_info",
        "error_info",
        "connection_info",
        "session_info",
        "normalyzed_info",
    ];
    let mut counts: Map<_, _> = parts.iter().map(|part| ((*part).to_owned(), without_times(&report[part]))).collect();
    for key in ["queries_number", "prepare", "bind", "execute"] {
        counts.insert(key.to_owned(), report["overall_stat"][key].clone());
    }
    Value::Object(counts)
}

#[test]
#[ignore = "needs pgBadger: run by .ci/slow"]
fn pgbadger_reports_the_same_of_either_log() {
    if !has("oracles::log_tools::pgbadger_reports_the_same_of_either_log", "pgbadger") {
        return;
    }
    let folder = Folder::new();
    let testdata = command::testdata();
    for (form, extension) in [("csvlog", "csv"), ("stderrlog", "log"), ("jsonlog", "json")] {
        let capture = "server-log-15/duration.pcap.gz";
        let written = run(["-q", "-p5415", "-F", form, capture]);
        assert_eq!((written.code, &*written.said), (Some(0), ""));
        let ours = counts(&report(&folder, &(written.lines.join("\n") + "\n"), extension));
        let log = server_log::text(&testdata.join("server-log-15"), &format!("duration.{extension}"));
        let theirs = counts(&report(&folder, &log, extension));
        for part in ours.as_object().unwrap().keys() {
            assert_eq!(ours[part], theirs[part], "{form}: {part}");
        }
        assert!(ours["queries_number"].as_u64() > Some(50), "{form}: {ours}");
    }
}

#[test]
#[ignore = "needs root, a server and pgreplay: run by .ci/slow"]
fn pgreplay_does_again_what_was_captured() {
    const TEST: &str = "oracles::log_tools::pgreplay_does_again_what_was_captured";
    if !can_capture(TEST) || !has(TEST, "pgreplay") {
        return;
    }
    let server = match Server::start() {
        Ok(server) => server,
        Err(missing) => return announce(&format!("SKIPPED: {TEST}: {missing}")),
    };
    let folder = Folder::new();
    let (log, script) = (folder.file("log.csv"), folder.file("script.sql"));
    fs::write(&script, SCRIPT).unwrap();
    for protocol in ["simple", "extended", "prepared"] {
        make(&server);
        let running = server.listen(["-i", "lo", "-F", "csvlog", "--log-style", "statement", "-o", &log]);
        pgbench(&server, &["-n", "-c", "3", "-t", "50", "-M", protocol, "-f", &script, "shop"]);
        interrupt(running);
        let before = content(&server);
        assert!(before.starts_with("150|"), "{protocol}: {before}");
        make(&server);
        assert!(content(&server).starts_with("0|"));
        let mut pgreplay = Command::new("timeout");
        pgreplay.args(["60", "pgreplay", "-c", "-j", "-h", "127.0.0.1", "-p", &server.port.to_string(), &log]);
        let output = pgreplay.env("PGSSLMODE", "disable").output().unwrap();
        assert!(output.status.success(), "pgreplay: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(content(&server), before, "{protocol}");
    }
}

/// Transactions that do not wait for each other: pgreplay runs into a deadlock where sessions lock the same row in another order
/// than before.
const SCRIPT: &str = "\\set row random(1, 1000)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :client_id * 10000 + :row;
SELECT abalance FROM pgbench_accounts WHERE aid = :client_id * 10000 + :row;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, :row, :delta, CURRENT_TIMESTAMP);
END;
";

/// Makes the database anew.
fn make(server: &Server) {
    server.query("DROP DATABASE IF EXISTS shop WITH (FORCE)");
    server.query("CREATE DATABASE shop");
    pgbench(server, &["-i", "-q", "shop"]);
}

fn pgbench(server: &Server, args: &[&str]) {
    let mut pgbench = Command::new(Server::programs().unwrap().join("pgbench"));
    pgbench.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &server.port.to_string()]).args(args);
    let output = pgbench.env("PGSSLMODE", "disable").output().unwrap();
    assert!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
}

/// Returns what the database contains: the number of rows, and sums.
fn content(server: &Server) -> String {
    let sql = "SELECT (SELECT count(*) FROM pgbench_history), (SELECT sum(delta) FROM pgbench_history), \
               (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(abalance * aid) FROM pgbench_accounts)";
    let mut psql = Command::new("psql");
    psql.args(["-XAtq", "-h", "127.0.0.1", "-U", "postgres", "-d", "shop", "-p", &server.port.to_string(), "-c", sql]);
    let output = psql.env("PGSSLMODE", "disable").output().unwrap();
    assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
