//! Nine ways in which a stream ends: what libpq made of each (`ends.out`).

use serde_json::Value;

use super::{dissect, text};

/// Each session: its case; what `ends.out` has of its end; its requests, as the beginning of their text, their outcome and the code of
/// their error; and how the session ended.
#[expect(clippy::type_complexity, reason = "it is a table")]
const ENDS: [(&str, &str, &[(&str, &str, Option<&str>)], &str); 9] = [
    (
        "no_publication",
        "no_publication TUPLES_OK",
        &[("CREATE_", "ok", None), ("START_", "error", Some("42704")), ("IDENTIFY_SYSTEM", "ok", None)],
        "terminate client",
    ),
    (
        "timeout",
        "timeout receiving copy data failed: server closed the connection unexpectedly",
        &[("CREATE_", "ok", None), ("START_", "aborted", None)],
        "fin server",
    ),
    (
        "copy_fail",
        "copy_fail FATAL_ERROR b'' FATAL:  invalid standby message type \"f\"",
        &[("CREATE_", "ok", None), ("START_", "aborted", Some("08P01"))],
        "fatal server",
    ),
    (
        "unknown_message",
        "unknown_message receiving copy data failed: server closed the connection unexpectedly",
        &[("CREATE_", "ok", None), ("START_", "aborted", None)],
        "fin server",
    ),
    (
        "query_inside",
        "query_inside FATAL_ERROR b'' FATAL:  invalid standby message type \"Q\"",
        &[("CREATE_", "ok", None), ("START_", "aborted", Some("08P01")), ("SELECT 1", "aborted", None)],
        "fatal server",
    ),
    (
        "terminate_inside",
        "terminate_inside COPY_BOTH",
        &[("CREATE_", "ok", None), ("START_", "aborted", None)],
        "terminate client",
    ),
    ("reset", "reset COPY_BOTH", &[("CREATE_", "ok", None), ("START_", "aborted", None)], "reset client"),
    (
        "removed_wal",
        "removed_wal FATAL_ERROR b'' ERROR:  requested WAL segment 000000010000000000000001 has already been removed",
        &[("START_", "error", Some("58P01"))],
        "terminate client",
    ),
    ("server_done", "server_done COPY_BOTH", &[("CREATE_", "ok", None), ("START_", "ok", None)], "terminate client"),
];

#[test]
fn whatever_ends_a_stream_its_requests_have_their_own_outcomes() {
    let results = text("replication-ends/ends.out");
    let lines = dissect("replication-ends/capture.pcap");
    assert!(lines.iter().all(|line| !line.is("loss")));
    for (case, result, requests, end) in ENDS {
        assert!(results.contains(result), "{case}");
        let of_case = lines.iter().map(|line| &line.value).filter(|line| line["application"] == case);
        let of_case: Vec<&Value> = of_case.collect();
        let mut had: Vec<_> = of_case.iter().filter(|line| line["event"] == "query").collect();
        had.sort_by_key(|line| line["query"].as_u64());
        assert_eq!(had.len(), requests.len(), "{case}: {had:?}");
        for (line, (text, outcome, code)) in had.iter().zip(requests) {
            assert!(line["sql"].as_str().unwrap().starts_with(text), "{case}: {line}");
            assert_eq!(line["outcome"], *outcome, "{case}: {line}");
            assert_eq!(line["error"]["code"].as_str(), *code, "{case}: {line}");
            // A stream goes on as long as its client likes: that is no time of the server's.
            let is_stream = *text == "START_";
            let is_timed = ["exec_us", "transfer_us"].map(|field| line.get(field).is_some());
            assert!(is_timed == [!is_stream; 2] || *text == "SELECT 1", "{case}: {line}");
        }
        let ended = of_case.iter().find(|line| line["state"] == "ended").unwrap();
        let how = format!("{} {}", ended["end_reason"].as_str().unwrap(), ended["ended_by"].as_str().unwrap());
        assert_eq!(how, end, "{case}");
        for line in &of_case {
            assert!(line.get("flags").is_none(), "{case}: {line}");
        }
    }
}

#[test]
fn only_what_comes_outside_of_a_stream_is_skipped() {
    let lines = dissect("replication-ends/capture.pcap");
    let flagged: Vec<&Value> =
        lines.iter().map(|line| &line.value).filter(|line| line.get("flags").is_some()).collect();
    // libpq did not know that CopyDone was sent already.
    assert_eq!(flagged.len(), 1, "{flagged:?}");
    assert_eq!((&flagged[0]["type"], &flagged[0]["flags"]), (&"CopyDone".into(), &serde_json::json!(["skipped"])));
    // All other messages inside of a stream are those of a stream, but for one of no known kind.
    let other: Vec<&Value> =
        lines.iter().map(|line| &line.value).filter(|line| line["body"].get("error").is_some()).collect();
    assert_eq!(other.len(), 1, "{other:?}");
    assert_eq!(other[0]["body"]["bytes"], 14);
}

#[test]
fn a_second_logical_stream_that_the_server_ends_at_once_is_over() {
    // The client's CopyData and CopyDone come when it has ended; what follows is as if they had not.
    for version in ["14", "15", "18"] {
        let lines = dissect(&format!("replication-commands/commands-{version}.pcap"));
        let skipped = lines.iter().filter(|line| line.value["flags"] == serde_json::json!(["skipped"]));
        let skipped: Vec<_> = skipped.map(|line| &line.value).collect();
        assert!(!skipped.is_empty(), "{version}");
        for line in &skipped {
            assert!(line["type"] == "CopyData" || line["type"] == "CopyDone", "{line}");
        }
        assert!(lines.iter().all(|line| !line.is("loss")), "{version}");
    }
}
