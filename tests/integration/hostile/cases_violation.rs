//! Swallowed requests and duplicate replies, if the types of the replies alone do not show which.

use serde_json::{Value, json};

use crate::captures;
use crate::hostile::cases_attribution::{Dialogue, fields, of};
use crate::wire::{From, message};

fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), b"\0"].concat())
}

/// Returns Parse, Bind, optionally Describe, Execute, Sync.
fn extended(name: &str, sql: &str, is_described: bool) -> Vec<u8> {
    let name = [name.as_bytes(), b"\0"].concat();
    let parse = message(b'P', &[&name, sql.as_bytes(), b"\0", &[0, 0]].concat());
    let bind = message(b'B', &[b"\0".as_slice(), &name, &[0; 6]].concat());
    let describe = if is_described { message(b'D', b"P\0") } else { Vec::new() };
    [parse, bind, describe, message(b'E', &[0; 5]), message(b'S', b"")].concat()
}

fn error(severity: &str) -> Vec<u8> {
    message(b'E', format!("S{severity}\0V{severity}\0C22012\0Mdivision by zero\0\0").as_bytes())
}

/// Returns replies by their letters: `1 2 3 n Z T D E F` as they are (F is FATAL), `s` the end of a SELECT, `i` of an INSERT,
/// `u`, `b`, `c`, `r`.
fn replies(letters: &str) -> Vec<u8> {
    let column = [b"n\0".as_slice(), &[0; 6], &25_u32.to_be_bytes(), &[0xff; 2], &[0xff; 4], &[0; 2]].concat();
    let reply = |letter| match letter {
        'T' => message(b'T', &[&1_u16.to_be_bytes()[..], &column].concat()),
        'D' => message(b'D', b"\0\x01\0\0\0\x011"),
        's' => message(b'C', b"SELECT 1\0"),
        'i' => message(b'C', b"INSERT 0 1\0"),
        'u' => message(b'C', b"UPDATE 1\0"),
        'b' => message(b'C', b"BEGIN\0"),
        'r' => message(b'C', b"ROLLBACK\0"),
        'Z' => message(b'Z', b"I"),
        'E' => error("ERROR"),
        'F' => error("FATAL"),
        empty => message(empty as u8, b""),
    };
    letters.chars().map(reply).collect::<Vec<_>>().concat()
}

/// Dissects requests, each sent after the replies given by letters, or all at once.
fn session(turns: &[(Vec<u8>, &str)], is_pipelined: bool) -> Vec<Value> {
    let mut dialogue = Dialogue::started();
    if is_pipelined {
        dialogue.send(From::Client, &turns.iter().flat_map(|(request, _)| request.clone()).collect::<Vec<_>>());
    }
    for (request, letters) in turns {
        if !is_pipelined {
            dialogue.send(From::Client, request);
        }
        if !letters.is_empty() {
            dialogue.send(From::Server, &replies(letters));
        }
    }
    dialogue.lines()
}

/// Returns fields of query lines: outcome, rows, and the violation.
fn summary(lines: &[Value]) -> Vec<Value> {
    let told = of(lines, "query").into_iter();
    told.map(|line| json!([line["outcome"], line["rows"], line["violation"]["what"]])).collect()
}

/// Returns the query numbers of messages of one type.
fn numbers(lines: &[Value], kind: &str) -> Vec<Value> {
    lines.iter().filter(|line| line["type"] == kind).map(|line| line["query"].clone()).collect()
}

#[test]
fn a_tag_identifies_which_of_several_simple_queries_was_swallowed() {
    for is_pipelined in [false, true] {
        let lines = session(
            &[
                (query("SELECT 1"), "TDsZ"),
                (query("/* app */ insert into t values (1)"), ""),
                (query("SELECT 2"), "TDsZ"),
                (query("UPDATE t SET a = 1"), "uZ"),
                (query("BEGIN"), ""),
                (query("DELETE FROM t"), ""),
                (query("INSERT INTO t VALUES (1) RETURNING a"), "TDiZ"),
            ],
            is_pipelined,
        );
        assert_eq!(
            summary(&lines),
            [
                json!(["ok", 1, null]),
                json!(["incomplete", null, "no_ending"]),
                json!(["ok", 1, null]),
                json!(["ok", 1, null]),
                json!(["incomplete", null, "no_ending"]),
                json!(["incomplete", null, "no_ending"]),
                json!(["ok", 1, null]),
            ]
        );
        // A rule may return rows for a statement that only changes some, until the command tag arrives.
        assert_eq!(numbers(&lines, "RowDescription"), [json!(1), json!(2), json!(6)]);
        assert_eq!(numbers(&lines, "CommandComplete"), [json!(1), json!(3), json!(4), json!(7)]);
    }
}

#[test]
fn replies_attributed_to_a_swallowed_request_move_to_the_one_that_the_tag_fits() {
    for is_pipelined in [false, true] {
        for (is_described, swallowed, reply) in
            [(false, "SELECT 1", "12iZ"), (true, "SELECT 1", "12niZ"), (true, "SELECT 1 FROM t", "12niZ")]
        {
            let lines = session(
                &[
                    (extended("", swallowed, is_described), ""),
                    (extended("", "INSERT INTO t VALUES (1)", is_described), reply),
                    (query("SELECT 3"), "TDsZ"),
                ],
                is_pipelined,
            );
            let expected = [json!(["incomplete", null, "no_ending"]), json!(["ok", 1, null]), json!(["ok", 1, null])];
            assert_eq!(summary(&lines), expected);
            assert_eq!(numbers(&lines, "CommandComplete"), [json!(2), json!(3)]);
        }
        // Only the columns show it here.
        let lines = session(
            &[(extended("", "DELETE FROM t", true), ""), (extended("", "SELECT 1", true), "12TDsZ")],
            is_pipelined,
        );
        assert_eq!(summary(&lines), [json!(["incomplete", null, "no_ending"]), json!(["ok", 1, null])]);
        assert_eq!((numbers(&lines, "RowDescription"), numbers(&lines, "DataRow")), (vec![json!(2)], vec![json!(2)]));
    }
}

#[test]
fn a_tag_that_no_sql_can_have_that_waits_is_given_to_none() {
    for (request, reply) in [
        (query("SELECT 1"), "iZ"),
        (query("SELECT 1"), "TDiZ"),
        (query("INSERT INTO t VALUES (1)"), "sZ"),
        (query("BEGIN; SELECT 1; COMMIT"), "bTDuZ"),
        (extended("", "SELECT 1", false), "12DiZ"),
        (extended("", "COMMIT", true), "12TsZ"),
    ] {
        let lines = session(&[(request, reply), (query("SELECT 2"), "TDsZ")], false);
        assert_eq!(summary(&lines), [json!(["incomplete", null, "wrong_reply"]), json!(["ok", 1, null])], "{reply}");
    }
}

#[test]
fn what_may_be_a_reply_is_one() {
    for (request, reply) in [
        (query("COMMIT"), "rZ"),
        (query("PREPARE TRANSACTION 'a'"), "rZ"),
        (query("EXECUTE a"), "iZ"),
        (query("CREATE TABLE t AS SELECT 1"), "sZ"),
        (query("SELECT 1 INTO t"), "sZ"),
        (query("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a"), "iZ"),
        (query("VALUES (1)"), "TDsZ"),
        (query("-- a\nTABLE t"), "TDsZ"),
        (query("UPDATE t SET a = 1 returning a"), "TDuZ"),
        (query("BEGIN; INSERT INTO t VALUES (1); SELECT 1; ROLLBACK"), "biTDsrZ"),
        (query("SELECT 'a;b'; BEGIN"), "TDsbZ"),
        (extended("", "SELECT 1 INTO t", true), "12nsZ"),
        (extended("a", "COMMIT", true), "12nrZ"),
        // A function may have given the name to another statement.
        (extended("a", "SELECT 1", false), "12iZ"),
    ] {
        let lines = session(&[(request, reply), (query("SELECT 2"), "TDsZ")], false);
        assert!(fields(of(&lines, "query"), &["outcome", "violation"]).iter().all(|line| *line == json!(["ok", null])));
        assert!(
            lines
                .iter()
                .all(|line| line["dir"] != "B" || line["query"] != Value::Null || line["seq"].as_u64() < Some(5))
        );
    }
}

#[test]
fn duplicate_replies_are_attributed_to_no_request_and_change_no_others() {
    for (request, reply, outcome, what) in [
        (query("SELECT 1"), "TDssZ", "ok", "two_endings"),
        (query("SELECT 1"), "TDsiZ", "ok", "two_endings"),
        (query("UPDATE t SET a = 1"), "uuZ", "ok", "two_endings"),
        (query("SELECT 1/0"), "EEZ", "error", "two_endings"),
        (query("SELECT 1/0"), "EsZ", "error", "two_endings"),
        (query("SELECT 1"), "TDsDZ", "ok", "wrong_reply"),
        (extended("", "SELECT 1", false), "12DssZ", "ok", "two_endings"),
        (extended("", "SELECT 1", false), "12DsDZ", "ok", "wrong_reply"),
        (extended("", "SELECT 1", false), "122DsZ", "ok", "wrong_reply"),
        (extended("", "SELECT 1", false), "112DsZ", "ok", "wrong_reply"),
        (extended("", "SELECT 1", false), "1EEZ", "error", "two_endings"),
        (extended("", "SELECT 1", false), "EEZ", "error", "two_endings"),
    ] {
        for is_pipelined in [false, true] {
            // Later requests look the same.
            let lines = session(&[(request.clone(), reply), (query("SELECT 1"), "TDsZ")], is_pipelined);
            let first = json!([outcome, if outcome == "ok" { json!(1) } else { json!(null) }, what]);
            assert_eq!(summary(&lines), [first, json!(["ok", 1, null])], "{reply} {is_pipelined}");
            let ended = lines.iter().find(|line| line["state"] == "ended").unwrap();
            assert_eq!(ended["violation"]["what"], what);
        }
        let twice = [(request.clone(), reply), (request, &reply.replace("ss", "s"))];
        assert_eq!(summary(&session(&twice, true))[0][0], outcome);
    }
}

#[test]
fn replies_that_may_repeat_are_not_a_violation() {
    for (request, reply) in [
        (query("SELECT 1/0"), "EFZ"),
        (query("SELECT 1; SELECT 2"), "TDsTDsZ"),
        (query("INSERT INTO t VALUES (1); SELECT 1/0"), "iEZ"),
        (query("BEGIN; BEGIN;"), "bbZ"),
        (query("CALL p()"), "TDsZ"),
    ] {
        let lines = session(&[(request, reply), (query("SELECT 2"), "TDsZ")], false);
        assert!(lines.iter().all(|line| line.get("violation").is_none()), "{reply}");
    }
}

#[test]
fn a_capture_that_begins_amid_waiting_requests_attributes_no_impossible_end() {
    // Two requests are always in progress.
    let kinds: Vec<bool> = [true, false, false, true, true, false, true, false, false, true].repeat(4);
    let (mut dialogue, mut sent) = (Dialogue::started(), 0);
    for answered in 0..kinds.len() {
        while sent < kinds.len().min(answered + 2) {
            let sql = if kinds[sent] { "SELECT 1" } else { "INSERT INTO t VALUES (1)" };
            dialogue.send(From::Client, &query(sql));
            sent += 1;
        }
        dialogue.send(From::Server, &replies(if kinds[answered] { "TDsZ" } else { "iZ" }));
    }
    for begins in 4..dialogue.packets.len() - 4 {
        let lines = captures::dissect_packets(&dialogue.packets[begins..], captures::everything()).values();
        for line in of(&lines, "query").into_iter().filter(|line| line["outcome"] == "ok") {
            let tag = if line["sql"] == "SELECT 1" { "SELECT 1" } else { "INSERT 0 1" };
            assert_eq!(line["command_tags"], json!([tag]), "{begins}: {line}");
        }
    }
}

#[test]
fn requests_swallowed_by_a_pooler_are_identified_by_their_sql() {
    let (packets, _) = captures::packets(&[captures::testdata().join("cases/pgbouncer-copy.pcap")]);
    let lines = captures::dissect_packets(&packets, captures::everything()).values();
    let queries = of(&lines, "query");
    let swallowed: Vec<_> = queries.iter().filter(|line| line["outcome"] == "incomplete").collect();
    assert_eq!(
        fields(swallowed.iter().copied().copied(), &["query", "sql"]),
        [json!([3, "select 'z'"]), json!([13, "select 5"])]
    );
    assert!(swallowed.iter().all(|line| line["violation"]["what"] == "no_ending"));
    let outcomes: Vec<_> = queries.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    let [ok, no] = ["ok", "incomplete"];
    assert_eq!(
        outcomes,
        [ok, ok, no, "canceled", ok, "error", ok, ok, ok, ok, "error", "skipped", no, "error", "aborted", "aborted"]
    );
    // Each row belongs to the query that asked for it.
    for row in lines.iter().filter(|line| line["type"] == "DataRow") {
        let sql = queries.iter().find(|line| line["query"] == row["query"]).unwrap()["sql"].as_str().unwrap();
        let value = row["body"]["values"][0].to_string();
        assert!(sql.contains("count(*)") || sql.contains(value.trim_matches('"')), "{sql}: {value}");
    }
}
