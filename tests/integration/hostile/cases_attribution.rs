//! Attribution of replies to requests in unclear cases: requests pipelined before the end of startup, after an error, or
//! swallowed; the first request of a capture and the first after a hole.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::captures::{self, OwnedPacket};
use crate::wire::{From, Tcp, message, startup};

fn lines(name: &str) -> Vec<Value> {
    let (packets, errors) = captures::packets(&[captures::testdata().join(name)]);
    assert!(errors.is_empty(), "{name}: {errors:?}");
    captures::dissect_packets(&packets, captures::everything()).values()
}

pub(crate) fn of<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

/// Returns some fields of lines.
pub(crate) fn fields<'a>(lines: impl IntoIterator<Item = &'a Value>, names: &[&str]) -> Vec<Value> {
    lines.into_iter().map(|line| names.iter().map(|name| line[*name].clone()).collect()).collect()
}

#[test]
fn the_ready_for_query_that_ends_the_startup_belongs_to_no_request() {
    let lines = lines("cases/pipetrust.pcap");
    assert_eq!(
        fields(of(&lines, "query"), &["sql", "outcome", "rows", "total_us"]),
        [json!(["SELECT 1", "ok", 1, 11_167]), json!(["SELECT 3", "ok", 1, 469])]
    );
    let ready = lines.iter().filter(|line| line["type"] == "ReadyForQuery");
    assert_eq!(fields(ready, &["query"]), [json!([null]), json!([1]), json!([2])]);
}

#[test]
fn what_a_client_sends_before_it_is_asked_is_what_it_is_asked_for() {
    let lines = lines("cases/pipeconn.pcap");
    let password = lines.iter().find(|line| line["tag"] == "p").unwrap();
    assert_eq!(*password, {
        let mut expected = password.clone();
        (expected["type"], expected["body"]) = (json!("PasswordMessage"), json!({ "password": "***" }));
        expected
    });
    assert!(lines.iter().all(|line| line.get("flags").is_none()), "nothing is missing");
    assert_eq!(
        fields(of(&lines, "query"), &["sql", "params", "outcome", "rows"]),
        [
            json!(["SELECT 1", null, "ok", 1]),
            json!(["SELECT $1::int", ["2"], "ok", 1]),
            json!(["SELECT 3", null, "ok", 1]),
        ]
    );
}

#[test]
fn a_skipped_request_has_the_sql_and_the_values_that_it_was_sent_with() {
    let lines = lines("cases/skipold.pcap");
    let skipped = of(&lines, "query").into_iter().filter(|line| line["outcome"] == "skipped");
    assert_eq!(fields(skipped, &["sql", "params"]), [json!(["SELECT 'mine', $1::int", ["3"]])]);
    let execute = lines.iter().rfind(|line| line["type"] == "Execute").unwrap();
    assert_eq!(execute["sql"], "SELECT 'mine', $1::int");
}

#[test]
fn ready_for_query_alone_completes_nothing() {
    let lines = lines("cases/onlyz.pcap");
    let queries = of(&lines, "query");
    assert_eq!(
        fields(queries.iter().copied().filter(|line| line["conn"] == 1), &["sql", "outcome", "flags", "total_us"]),
        [json!(["SELECT 1", "incomplete", ["protocol_violation"], null]), json!(["SELECT 2", "ok", null, 100])]
    );
    let violation = json!({
        "what": "no_ending",
        "wanted": "RowDescription, CommandComplete, EmptyQueryResponse or a COPY response",
        "had": "ReadyForQuery",
        "packet": 7,
    });
    assert_eq!(queries[0]["violation"], violation);
    let ended = of(&lines, "session").into_iter().find(|line| line["conn"] == 1 && line["state"] == "ended").unwrap();
    assert_eq!((&ended["violation"], &ended["flags"]), (&violation, &json!(["protocol_violation"])));
    assert_eq!(
        fields(queries.into_iter().filter(|line| line["conn"] == 2), &["sql", "outcome", "rows"]),
        [
            json!(["SET statement_timeout=30000", "ok", null]),
            json!(["SELECT 8", "incomplete", null]),
            json!(["SELECT 9", "ok", 1]),
        ]
    );
}

#[test]
fn a_request_that_was_swallowed_leaves_the_others_their_replies() {
    let lines = lines("cases/shift.pcap");
    let queries = of(&lines, "query");
    assert_eq!(
        fields(queries.iter().copied(), &["sql", "outcome", "rows", "flags"]),
        [
            json!(["SET statement_timeout=30000", "ok", null, null]),
            json!(["SELECT 8", "incomplete", null, ["protocol_violation"]]),
            json!(["SELECT 10", "ok", 1, null]),
            json!(["SELECT 11", "ok", 1, null]),
            json!(["SELECT 12", "ok", 1, null]),
        ]
    );
    let violation = json!({ "what": "no_ending", "wanted": "ParseComplete", "had": "RowDescription", "packet": 9 });
    assert_eq!(queries[1]["violation"], violation);
    for line in lines.iter().filter(|line| line["type"] == "DataRow") {
        let query = queries.iter().find(|query| query["query"] == line["query"]).unwrap();
        assert_eq!(query["sql"], format!("SELECT {}", value(line)));
    }
}

#[test]
fn a_type_is_of_the_statement_that_was_described() {
    let lines = lines("cases/otherchange.pcap");
    let rows = lines.iter().filter(|line| line["type"] == "DataRow");
    let values: Vec<&Value> = rows.map(|line| &line["body"]["values"]).collect();
    assert_eq!(values, [&json!(["\\x00000102"]), &json!(["\\x43810000"])]);
}

#[test]
fn a_name_that_a_do_may_have_given_to_another_statement_is_not_known() {
    let lines = lines("cases/do-prepare.pcap");
    let queries = fields(of(&lines, "query"), &["sql", "outcome", "flags"]);
    assert_eq!(queries[0], json!(["select 1::int4 as a", "ok", null]));
    assert_eq!(queries[2], json!([null, "ok", ["midstream"]]));
    let rows = lines.iter().filter(|line| line["type"] == "DataRow");
    assert_eq!(
        rows.map(|line| line["body"]["values"].clone()).collect::<Vec<_>>(),
        [json!([1]), json!(["\\x40200000"])]
    );
}

#[test]
fn copy_data_after_the_servers_error_is_dropped() {
    let lines = lines("cases/copyerr.pcap");
    let copied = lines.iter().filter(|line| ["CopyData", "CopyDone"].contains(&line["type"].as_str().unwrap_or("")));
    let skipped = json!(["skipped"]);
    let flags: Vec<&Value> = copied.map(|line| &line["flags"]).collect();
    assert_eq!(flags, [&Value::Null, &skipped, &skipped, &skipped]);
}

#[test]
fn a_semicolon_in_a_text_or_a_comment_ends_no_statement() {
    let socket = lines("cases/semicolons.pcap");
    let pipeline = lines("cases/pipelined-semicolons.pcap");
    let updates =
        of(&pipeline, "query").into_iter().filter(|query| query["sql"].as_str().unwrap_or("").contains("end"));
    let queries: Vec<_> = of(&socket, "query").into_iter().chain(updates).collect();
    assert_eq!(queries.len(), 64 + 20);
    for query in queries {
        assert_eq!((&query["outcome"], &query["flags"]), (&json!("ok"), &Value::Null), "{query}");
    }
    assert!(pipeline.iter().all(|line| line.get("violation").is_none()));
}

#[test]
fn rules_return_rows_of_what_has_no_returning() {
    let lines = lines("cases/rules.pcap");
    let queries = of(&lines, "query");
    assert_eq!(queries.len(), 26);
    for query in &queries {
        assert_eq!((&query["outcome"], &query["flags"]), (&json!("ok"), &Value::Null), "{query}");
    }
    let rows = lines.iter().filter(|line| line["type"] == "DataRow" && line["query"] == 5).count();
    assert_eq!((queries[4]["sql"].as_str(), rows), (Some("insert into rt values(3)"), 3));
}

#[test]
fn a_request_speaks_of_what_its_name_stands_for_when_its_turn_comes() {
    let lines = lines("cases/sent-ahead.pcap");
    let queries = of(&lines, "query").into_iter().filter(|line| line["sql"] != "create temp table t(x int)");
    assert_eq!(
        fields(queries, &["conn", "query", "sql", "outcome", "rows", "flags"]),
        [
            json!([1, 3, "begin", "error", null, null]),
            json!([1, 4, "copy t to stdout", "ok", 0, null]),
            json!([1, 6, "begin", "ok", null, null]),
            json!([2, 3, "select 1/0", "error", null, null]),
            json!([2, 5, "select 111", "ok", 1, null]),
            json!([2, 6, "select 7", "ok", 1, null]),
            json!([3, 2, "select 1/0", "error", null, null]),
            json!([3, 4, "select 111 as pw", "ok", 1, null]),
            json!([4, 1, "select 1/0", "error", null, null]),
            json!([4, 3, null, "error", null, null]),
            json!([5, 2, "select 1/0", "error", null, null]),
            json!([5, 3, "select 222", "skipped", null, null]),
            json!([5, 4, "select 111", "ok", 1, null]),
        ]
    );
    let mut values = lines.iter().filter(|line| line["type"] == "DataRow").map(|line| &line["body"]["values"]);
    assert!(values.all(|values| [json!([111]), json!(["7"])].contains(values)));
}

#[test]
fn the_end_of_a_session_after_an_error_is_not_the_error_of_the_request() {
    let lines = lines("cases/copy-parse.pcap");
    let query = of(&lines, "query").into_iter().next_back().unwrap();
    assert_eq!(fields([query], &["sql", "outcome"]), [json!(["copy cp from stdin", "error"])]);
    assert_eq!(query["error"]["message"], "unexpected message type 0x50 during COPY from stdin");
}

/// The alternating messages of two sides, from the handshake on.
pub(crate) struct Dialogue {
    pub(crate) packets: Vec<OwnedPacket>,
    next: [u32; 2],
}

impl Dialogue {
    fn new() -> Self {
        let syn = Tcp::new(From::Client, 99, 0, b"").syn().without_ack();
        let answer = Tcp::new(From::Server, 999, 100, b"").syn();
        Self { packets: vec![syn.at(0), answer.at(10)], next: [100, 1_000] }
    }

    pub(crate) fn started() -> Self {
        let mut dialogue = Self::new();
        dialogue.send(From::Client, &startup());
        dialogue.send(From::Server, &STARTED.concat());
        dialogue
    }

    pub(crate) fn send(&mut self, from: From, bytes: &[u8]) {
        let at = 100 * self.packets.len() as u64;
        let [seq, ack] = [self.next[from.index()], self.next[from.peer().index()]];
        self.packets.push(Tcp::new(from, seq, ack, bytes).at(at));
        self.next[from.index()] = seq.wrapping_add(bytes.len() as u32);
    }

    /// Sends a RST, `offset` bytes after the sender's last byte.
    pub(crate) fn reset(&mut self, from: From, offset: u32) {
        let at = 100 * self.packets.len() as u64;
        let [seq, ack] = [self.next[from.index()], self.next[from.peer().index()]];
        self.packets.push(Tcp::new(from, seq.wrapping_add(offset), ack, b"").rst().at(at));
    }

    /// Sends a FIN.
    pub(crate) fn finish(&mut self, from: From) {
        let at = 100 * self.packets.len() as u64;
        let [seq, ack] = [self.next[from.index()], self.next[from.peer().index()]];
        self.packets.push(Tcp::new(from, seq, ack, b"").fin().at(at));
    }

    pub(crate) fn lines(&self) -> Vec<Value> {
        captures::dissect_packets(&self.packets, captures::everything()).values()
    }
}

/// AuthenticationOk, BackendKeyData, ReadyForQuery.
const STARTED: [&[u8]; 3] = [b"R\0\0\0\x08\0\0\0\0", b"K\0\0\0\x0c\0\0\0\x01\0\0\0\x02", b"Z\0\0\0\x05I"];

/// Returns a simple query, or Parse, Bind, Describe, Execute, Sync, that asks for a number.
fn request(number: usize, is_extended: bool) -> Vec<u8> {
    let sql = format!("SELECT {number}\0");
    if !is_extended {
        return message(b'Q', sql.as_bytes());
    }
    let parse = message(b'P', &[b"\0", sql.as_bytes(), &[0, 0]].concat());
    let bind = message(b'B', &[0, 0, 0, 0, 0, 0, 0, 0]);
    [parse, bind, message(b'D', b"P\0"), message(b'E', &[0; 5]), message(b'S', b"")].concat()
}

fn reply(number: usize, is_extended: bool) -> Vec<u8> {
    let column = [b"n\0".as_slice(), &[0; 6], &25_u32.to_be_bytes(), &[0xff; 2], &[0xff; 4], &[0; 2]].concat();
    let value = number.to_string();
    let row = [&1_u16.to_be_bytes()[..], &(value.len() as u32).to_be_bytes(), value.as_bytes()].concat();
    let steps = if is_extended { [message(b'1', b""), message(b'2', b"")].concat() } else { Vec::new() };
    [
        steps,
        message(b'T', &[&1_u16.to_be_bytes()[..], &column].concat()),
        message(b'D', &row),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ]
    .concat()
}

/// Returns the first value of a row as text.
fn value(row: &Value) -> String {
    match &row["body"]["values"][0] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Checks that no row was attributed to a request that did not ask for it.
fn rows_are_of_their_requests(lines: &[Value]) -> usize {
    let queries = of(lines, "query");
    let rows = lines.iter().filter(|line| line["type"] == "DataRow" && line.get("query").is_some());
    let mut count = 0;
    for row in rows {
        let query = queries.iter().find(|query| query["query"] == row["query"] && query["conn"] == row["conn"]);
        assert_eq!(query.unwrap()["sql"], format!("SELECT {}", value(row)), "{row}");
        count += 1;
    }
    count
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn requests_that_are_sent_ahead_of_the_startup_wait_for_its_end(
        kinds in prop::collection::vec(any::<bool>(), 1..6),
        has_password in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut dialogue = Dialogue::new();
        let password = if has_password { message(b'p', b"secret\0") } else { Vec::new() };
        let requests: Vec<u8> = kinds.iter().enumerate().flat_map(|(n, kind)| request(n, *kind)).collect();
        let sent = [startup(), password, requests].concat();
        // Split anywhere, once.
        let (before, behind) = sent.split_at(cut.index(sent.len()));
        for piece in [before, behind].into_iter().filter(|piece| !piece.is_empty()) {
            dialogue.send(From::Client, piece);
        }
        if has_password {
            dialogue.send(From::Server, b"R\0\0\0\x08\0\0\0\x03");
        }
        dialogue.send(From::Server, &STARTED.concat());
        for (number, kind) in kinds.iter().enumerate() {
            dialogue.send(From::Server, &reply(number, *kind));
        }
        let lines = dialogue.lines();
        prop_assert!(lines.iter().all(|line| line.get("flags").is_none()));
        prop_assert_eq!(rows_are_of_their_requests(&lines), kinds.len());
        let queries = of(&lines, "query");
        prop_assert!(queries.iter().all(|query| query["outcome"] == "ok" && query["rows"] == 1));
        prop_assert_eq!(queries.len(), kinds.len());
        let types: Vec<_> = lines.iter().filter(|line| line["tag"] == "p").map(|line| line["type"].clone()).collect();
        prop_assert_eq!(types, if has_password { vec![json!("PasswordMessage")] } else { vec![] });
    }

    #[test]
    fn swallowed_requests_are_found_by_what_the_replies_can_answer(
        swallowed in prop::collection::vec(any::<bool>(), 1..12),
        first in any::<bool>(),
        is_pipelined in any::<bool>(),
    ) {
        // Alternating requests of two shapes: if two consecutive ones are swallowed, the next cannot be distinguished from the
        // first.
        let kind = |number: usize| number.is_multiple_of(2) == first;
        let is_swallowed = |number: usize| swallowed[number] && !(number > 0 && swallowed[number - 1]);
        let mut dialogue = Dialogue::started();
        if is_pipelined {
            let all: Vec<u8> = (0..swallowed.len()).flat_map(|number| request(number, kind(number))).collect();
            dialogue.send(From::Client, &all);
        }
        for number in 0..swallowed.len() {
            if !is_pipelined {
                dialogue.send(From::Client, &request(number, kind(number)));
            }
            if !is_swallowed(number) {
                dialogue.send(From::Server, &reply(number, kind(number)));
            }
        }
        let lines = dialogue.lines();
        rows_are_of_their_requests(&lines);
        let queries = of(&lines, "query");
        prop_assert_eq!(queries.len(), swallowed.len());
        for query in queries {
            let number = query["query"].as_u64().unwrap() as usize - 1;
            let is_found = is_swallowed(number) && number + 1 < swallowed.len();
            prop_assert_eq!(query["outcome"] == "ok", !is_swallowed(number), "{}", query);
            prop_assert_eq!(query.get("violation").is_some(), is_found, "{}", query);
        }
    }

    #[test]
    fn skipped_groups_have_what_they_were_sent_with(
        groups in prop::collection::vec((any::<bool>(), 0..3_usize), 1..8),
    ) {
        // Statements with a few names, prepared anew in every group; some groups fail at their first message, before the rest is
        // sent.
        let mut dialogue = Dialogue::started();
        let mut expected = Vec::new();
        for (number, (fails, name)) in groups.iter().enumerate() {
            let name = ["", "a", "b"][*name];
            let sql = format!("SELECT {number}\0");
            let close = message(b'C', &[b"S", name.as_bytes(), b"\0"].concat());
            let parse = message(b'P', &[name.as_bytes(), b"\0", sql.as_bytes(), &[0, 0]].concat());
            let bind = message(b'B', &[b"\0", name.as_bytes(), b"\0", &[0; 6]].concat());
            let steps = [close, parse, bind, message(b'E', &[0; 5])].concat();
            if *fails {
                dialogue.send(From::Client, &message(b'P', b"bad\0SELEC\0\0\0"));
                dialogue.send(From::Server, &message(b'E', b"SERROR\0VERROR\0C42601\0Mno\0\0"));
                expected.push(json!(["SELEC", "error"]));
            }
            dialogue.send(From::Client, &[steps, message(b'S', b"")].concat());
            let replies = [message(b'3', b""), message(b'1', b""), message(b'2', b""), message(b'C', b"SELECT 0\0")];
            let replies = if *fails { Vec::new() } else { replies.concat() };
            dialogue.send(From::Server, &[replies, message(b'Z', b"I")].concat());
            let outcome = if *fails { "skipped" } else { "ok" };
            expected.push(json!([sql.trim_end_matches('\0'), outcome]));
        }
        let lines = dialogue.lines();
        prop_assert_eq!(fields(of(&lines, "query"), &["sql", "outcome"]), expected);
    }
}

/// The fields of a request line that do not depend on earlier requests.
const OWN: &[&str] =
    &["protocol", "rows", "outcome", "error", "command_tags", "bytes_in", "bytes_out", "total_us", "ts"];

#[test]
fn the_first_request_of_a_capture_is_tied_to_its_reply() {
    let mut tied = 0;
    for name in [
        "simple-query/capture.pcap",
        "extended-query/capture.pcap",
        "pgbench-simple/capture.pcap.gz",
        "pgbench-prepared/capture.pcap.gz",
        "pgbench-tpcb/capture.pcap.gz",
        "sql-names/capture.pcap",
        "rows-3000/capture.pcap",
    ] {
        let (packets, _) = captures::packets(&[captures::testdata().join(name)]);
        let whole = captures::dissect_packets(&packets, captures::everything()).values();
        let begins = |packet: &OwnedPacket| {
            let segment = pgdissect::internals::packet::decode(&packet.borrow()).ok()?;
            let is_client = captures::PORTS.contains(&segment.destination.port);
            (is_client && matches!(segment.payload.first(), Some(b'Q' | b'B'))).then_some(())
        };
        let starts: Vec<usize> = (0..packets.len()).filter(|start| begins(&packets[*start]).is_some()).collect();
        for start in starts.iter().copied().step_by(starts.len().div_ceil(40)) {
            let started = packets[start].ts.to_string();
            let lines = captures::dissect_packets(&packets[start..], captures::everything()).values();
            let begun = |lines| of(lines, "query").into_iter().find(|query| query["started"] == started.as_str());
            // A Bind in the middle of a pipeline is not its first request.
            let Some(same) = begun(&whole) else { continue };
            let first = begun(&lines).unwrap();
            assert_eq!(fields([first], OWN), fields([same], OWN), "{name} from packet {}", start + 1);
            let flags: Vec<&str> = first["flags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            assert!(flags.contains(&"uncertain"), "{name} from packet {}: {first}", start + 1);
            tied += 1;
        }
    }
    assert!(tied > 100, "{tied}");
}

#[test]
fn the_first_request_after_a_hole_is_tied_to_its_reply() {
    // The whole reply to the first request is not captured, and the client's behaviour is not known yet.
    let mut dialogue = Dialogue::started();
    for number in 0..40 {
        dialogue.send(From::Client, &request(number, number % 3 == 1));
        dialogue.send(From::Server, &reply(number, number % 3 == 1));
    }
    for (lost, uncertain) in [(5, 1), (6, 1)] {
        let mut packets = dialogue.packets.clone();
        packets.remove(lost);
        let lines = captures::dissect_packets(&packets, captures::everything()).values();
        rows_are_of_their_requests(&lines);
        let outcomes: Vec<&str> = of(&lines, "query").iter().map(|line| line["outcome"].as_str().unwrap()).collect();
        assert!(outcomes.iter().filter(|outcome| **outcome != "ok").count() <= uncertain, "{lost}: {outcomes:?}");
    }
}

#[test]
fn a_request_tied_by_tcp_alone_is_marked() {
    // Two requests that are not captured are in progress when the first captured one is sent: this cannot be detected.
    let mut dialogue = Dialogue::started();
    let begins = dialogue.packets.len() + 1;
    dialogue.send(From::Client, &[request(1, false), request(2, false)].concat());
    dialogue.send(From::Client, &request(3, false));
    for number in 1..=3 {
        dialogue.send(From::Server, &reply(number, false));
    }
    let lines = captures::dissect_packets(&dialogue.packets[begins..], captures::everything()).values();
    let queries = of(&lines, "query");
    assert_eq!(fields(queries.iter().copied(), &["sql", "outcome"]), [json!(["SELECT 3", "ok"])]);
    assert!(queries[0]["flags"].as_array().unwrap().contains(&json!("uncertain")), "{}", queries[0]);
}

#[test]
fn what_tcp_does_not_tie_is_left_alone() {
    // The client had not received the complete earlier reply when it sent the first captured request.
    let mut dialogue = Dialogue::started();
    let begins = dialogue.packets.len() + 1;
    dialogue.send(From::Client, &request(1, false));
    let ack = dialogue.next[From::Server.index()];
    dialogue.send(From::Server, &reply(1, false));
    let seq = dialogue.next[From::Client.index()];
    let early = Tcp::new(From::Client, seq, ack, &request(2, true)).at(1_000);
    dialogue.next[From::Client.index()] += early.data.len() as u32 - 54;
    dialogue.packets.push(early);
    dialogue.send(From::Server, &reply(2, true));
    let packets: Vec<_> = dialogue.packets[begins..].to_vec();
    let lines = captures::dissect_packets(&packets, captures::everything()).values();
    let outcomes = fields(of(&lines, "query"), &["sql", "outcome"]);
    assert!(outcomes.iter().all(|line| *line != json!(["SELECT 1", "ok"])), "{outcomes:?}");
}

#[test]
fn a_tie_is_undone_if_later_messages_do_not_fit() {
    // A pipeline of three with one Sync; the capture begins with the last of them, and the client had received nothing yet.
    let steps = |number: usize| {
        let mut steps = request(number, true);
        steps.truncate(steps.len() - 5);
        steps
    };
    let replies = |number: usize| {
        let mut replies = reply(number, true);
        replies.truncate(replies.len() - 6);
        replies
    };
    let mut dialogue = Dialogue::started();
    dialogue.send(From::Client, &[steps(1), steps(2)].concat());
    let begins = dialogue.packets.len();
    dialogue.send(From::Client, &request(3, true));
    dialogue.send(From::Server, &[replies(1), replies(2), reply(3, true)].concat());
    let lines = captures::dissect_packets(&dialogue.packets[begins..], captures::everything()).values();
    assert_eq!(
        fields(of(&lines, "query"), &["sql", "outcome", "rows", "command_tags"]),
        [json!(["SELECT 3", "incomplete", null, null])]
    );
    let flags =
        lines.iter().filter(|line| line["dir"] == "B" && line.get("query").is_some()).map(|line| &line["flags"]);
    assert!(flags.clone().count() > 3);
    assert!(flags.into_iter().all(|flags| flags.as_array().unwrap().contains(&json!("uncertain"))));
}

#[test]
fn a_sync_amid_the_data_of_a_copy_is_answered_only_after_an_error() {
    let lines = lines("cases/copy-sync.pcap");
    assert!(lines.iter().all(|line| line.get("flags").is_none_or(|flags| *flags == json!(["skipped"]))));
    let of_conn = |conn: u64| {
        fields(of(&lines, "query").into_iter().filter(move |line| line["conn"] == conn), &["sql", "outcome", "rows"])
    };
    let rest = || [json!(["select 'after'", "ok", 1]), json!(["select 'after2'", "ok", 1])];
    let created = json!(["create temp table tt(a int)", "ok", null]);
    assert_eq!(of_conn(1)[..2], [created.clone(), json!(["copy tt from stdin", "ok", 2])]);
    assert_eq!(of_conn(1)[2..], rest());
    assert_eq!(of_conn(2)[..2], [created, json!(["copy tt from stdin", "error", null])]);
    assert_eq!(of_conn(2)[2..], rest());
}

#[test]
fn a_swallowed_group_is_found_by_the_shape_of_all_replies() {
    let lines = lines("cases/swallowed-group.pcap");
    assert_eq!(
        fields(of(&lines, "query"), &["sql", "outcome", "rows", "command_tags", "flags"]),
        [
            json!(["insert into a", "incomplete", null, null, ["protocol_violation"]]),
            json!(["select b", "ok", 1, ["SELECT 1"], null]),
            json!(["insert into c", "ok", 3, ["INSERT 0 3"], null]),
        ]
    );
}

#[test]
fn a_forged_handshake_ends_no_connection() {
    let lines = lines("cases/forged-handshake.pcap");
    let queries = of(&lines, "query");
    assert_eq!(queries.len(), 20);
    assert!(queries.iter().all(|query| query["outcome"] == "ok" && query.get("flags").is_none()));
}
