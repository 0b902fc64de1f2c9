//! `--jq`: the same as a pipe into jq.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::command::{Folder, pgdissect, run};

/// The filters of the README that work line by line, with the options before them.
const RECIPES: &[(&[&str], &str)] = &[
    (&[], r#"select(.type == "CommandComplete")"#),
    (&[], "[.conn,.type,.len]"),
    (&["-e", "summary"], ".statements[] | [.exec_us, .calls, .p95_us, .normalized]"),
    (&["-e", "summary"], ".applications[] | [.name, .connects_per_second, .login_p95_us, .idle_in_transaction_us]"),
    (&["-e", "query"], "[.started, .client, .user, .database, .application, .sql]"),
    (&["-e", "query"], "select(.params) | [.sql, .params]"),
    (&["--errors"], "select(.error) | [.ts, .user, .application, .error.condition, .error.message, .sql]"),
    (
        &["-e", "query,message", "-t", "CancelRequest"],
        r#"select(.outcome == "canceled" or .type == "CancelRequest") | {ts, conn, client, target, canceled_by, sql, message: .error.message}"#,
    ),
    (
        &["-e", "summary"],
        ".applications[] | select(.idle_in_transaction_us > 0) | {name, idle_in_transaction_us, sessions}",
    ),
    (
        &["-e", "session"],
        r#"select(.state == "ended") | [.client, .user, .auth_method, .encryption, .connect_us, .authenticate_us, .end_reason, .ended_by]"#,
    ),
    (
        &["-e", "query"],
        "select(.exec_us) | {total_us, server_us, transfer_us, client_stall_us, rtt_client_us, rtt_server_us, rows, bytes_out, sql}",
    ),
    (&["--named-rows", "-t", "DataRow"], ".body.values"),
    (&["--named-rows", "-t", "CopyData,CopyDone"], ".body.rows[]?"),
    (&["-e", "query,loss"], r#"select(.event == "loss" or .flags)"#),
    (&[], "select(.query == 12)"),
    (&[], r#"select(.type == "ErrorResponse")"#),
    (
        &["-e", "session"],
        r#"select(.replication and .state=="ended") | {client, user, replication, slot, plugin, publications}"#,
    ),
    (&["-t", "CopyData"], r#"select(.body.kind=="standby_status") | {ts, client} + .body"#),
    (&["-e", "session"], ".tls // empty"),
    (&[], r#"select(.event == "loss"), select(.flags) | del(.ts, .client, .server, .body, .holes[]?.behind)"#),
];

const CAPTURES: [&str; 3] = ["psql-prefer/capture.pcap", "formats/micro.pcap", "tcp/missing-segment.pcap"];

#[test]
fn the_recipes_yield_what_jq_yields() {
    let folder = Folder::new();
    let lines = folder.path().join("lines");
    let mut yielded = 0;
    for capture in CAPTURES {
        for (options, filter) in RECIPES {
            let args = || ["-p5415", "-q", "-F", "json", capture].iter().chain(*options);
            let written =
                pgdissect(args()).stdout(File::create(&lines).unwrap()).stderr(Stdio::null()).status().unwrap();
            assert_eq!(written.code(), Some(0), "{options:?}");
            let piped = Command::new("jq").args(["-c", filter]).arg(&lines).output().expect("jq is installed");
            let expected = String::from_utf8(piped.stdout).unwrap();
            for threads in ["-j1", "-j3"] {
                let outcome = run(args().copied().chain([threads, "--jq", filter]));
                assert_eq!(outcome.lines, expected.lines().collect::<Vec<_>>(), "{capture} {options:?} {filter}");
                assert_eq!(outcome.code.map(|code| code == 0), Some(piped.status.success()), "{capture} {filter}");
            }
            yielded += expected.lines().count();
        }
    }
    assert!(yielded > 300, "{yielded}");
}

#[test]
fn strings_are_raw_if_wanted() {
    let outcome = run(["-p5415", "-q", "-t", "CommandComplete", CAPTURES[1], "--jq", ".type", "--jq-raw"]);
    assert_eq!(outcome.code, Some(0));
    assert!(!outcome.lines.is_empty() && outcome.lines.iter().all(|line| line == "CommandComplete"));
}

#[test]
fn a_wrong_filter_is_refused_before_anything_is_read() {
    for (args, wanted) in [
        (&["--jq", ".a | nonsense", "no-such-file"][..], "line 1, column 6: undefined filter nonsense"),
        (&["--jq", "[inputs]", "no-such-file"], "pipe into jq for it"),
        (&["--jq", ".", "-F", "text", "no-such-file"], "it requires -F json"),
        (&["--jq-raw", "no-such-file"], "--jq"),
    ] {
        let outcome = run(args);
        assert_eq!(outcome.code, Some(2), "{args:?}");
        assert!(outcome.said.contains(wanted) && outcome.lines.is_empty(), "{args:?}: {}", outcome.said);
    }
}

#[test]
fn a_filter_that_fails_on_a_line_is_applied_to_the_others() {
    let all = run(["-p5415", "-q", CAPTURES[1], "--jq", ".seq"]);
    let filter = r#"if .type == "CommandComplete" then .conn.x else .seq end"#;
    let outcome = run(["-p5415", "-q", CAPTURES[1], "--jq", filter]);
    let failed = outcome.said.matches("pgdissect: --jq: ").count();
    assert!(failed > 0 && outcome.said.contains(r#"on the line {"#), "{}", outcome.said);
    assert_eq!((outcome.code, outcome.lines.len()), (Some(5), all.lines.len() - failed));
}
