//! The times of requests: where the server, the network and the client spend them.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::captures::{self, OwnedPacket};
use crate::wire::{From, Tcp, message, startup};

/// A capture in the middle of the network: 1 ms from the client and 2 ms from the server, there and back.
struct Wire {
    packets: Vec<OwnedPacket>,
    sent: [u32; 2],
}

impl Wire {
    /// A session that is ready, 10 ms after it began.
    fn ready() -> Self {
        let mut wire = Self { packets: Vec::new(), sent: [1, 1] };
        let syn = Tcp::new(From::Client, 0, 0, b"").syn();
        wire.packets.push(syn.without_ack().at(0));
        wire.packets.push(Tcp::new(From::Server, 0, 1, b"").syn().at(2_000));
        wire.packets.push(Tcp::new(From::Client, 1, 1, b"").at(3_000));
        wire.send(From::Client, 3_100, &startup());
        let ok = message(b'R', &0_u32.to_be_bytes());
        wire.send(From::Server, 10_000, &[ok, message(b'Z', b"I")].concat());
        wire
    }

    fn send(&mut self, from: From, micros: u64, bytes: &[u8]) {
        let (seq, ack) = (self.sent[from.index()], self.sent[from.peer().index()]);
        self.packets.push(Tcp::new(from, seq, ack, bytes).at(micros));
        self.sent[from.index()] += u32::try_from(bytes.len()).unwrap();
    }

    /// The client acknowledges all that was sent, and announces its receive window.
    fn announce(&mut self, micros: u64, window: u16) {
        let [seq, ack] = self.sent;
        self.packets.push(Tcp::new(From::Client, seq, ack, b"").window(window).at(micros));
    }

    fn lines(&self, event: &str) -> Vec<Value> {
        let mut lines = captures::dissect_packets(&self.packets, captures::everything()).values();
        lines.retain(|line| line["event"] == event);
        lines
    }
}

fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &[sql.as_bytes(), b"\0"].concat())
}

fn complete() -> Vec<u8> {
    [message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat()
}

fn row_description() -> Vec<u8> {
    message(b'T', b"\0\x01n\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0")
}

fn times(line: &Value) -> [&Value; 4] {
    ["total_us", "exec_us", "server_us", "transfer_us"].map(|field| &line[field])
}

#[test]
fn the_network_is_not_the_server() {
    let mut wire = Wire::ready();
    wire.send(From::Client, 20_000, &query("SELECT 1"));
    let row = [row_description(), message(b'D', b"\0\x01\0\0\0\x011")].concat();
    wire.send(From::Server, 72_000, &row);
    wire.send(From::Server, 75_000, &complete());
    let queries = wire.lines("query");
    assert_eq!(times(&queries[0]), [&json!(55_000), &json!(55_000), &json!(50_000), &json!(3_000)]);
    assert_eq!((&queries[0]["rtt_client_us"], &queries[0]["rtt_server_us"]), (&json!(1_000), &json!(2_000)));
    let session = &wire.lines("session")[0];
    assert_eq!((&session["rtt_client_us"], &session["rtt_server_us"]), (&json!(1_000), &json!(2_000)));
}

#[test]
fn a_request_that_waits_for_another_costs_from_then_on() {
    let mut wire = Wire::ready();
    let bind = |statement: &[u8]| message(b'B', &[b"\0", statement, b"\0\0\0\0\0\0\0"].concat());
    let execute = || message(b'E', b"\0\0\0\0\0");
    // A pipeline of two; the second arrives at the server while it works on the first.
    wire.send(From::Client, 20_000, &[message(b'P', b"\0SELECT 1\0\0\0"), bind(b""), execute()].concat());
    wire.send(From::Client, 24_000, &[bind(b""), execute(), message(b'S', b"")].concat());
    let done = || [message(b'2', b""), message(b'D', b"\0\x01\0\0\0\x011"), message(b'C', b"SELECT 1\0")].concat();
    wire.send(From::Server, 52_000, &[message(b'1', b""), done()].concat());
    wire.send(From::Server, 60_000, &[done(), message(b'Z', b"I")].concat());
    let queries = wire.lines("query");
    assert_eq!(times(&queries[0]), [&json!(32_000), &json!(32_000), &json!(30_000), &json!(0)]);
    assert_eq!(times(&queries[1]), [&json!(36_000), &json!(8_000), &json!(8_000), &json!(0)]);
    // A statement that is prepared first, in a round trip of its own: from the Execute on.
    wire.send(From::Client, 100_000, &[message(b'P', b"s\0SELECT 1\0\0\0"), message(b'S', b"")].concat());
    wire.send(From::Server, 110_000, &[message(b'1', b""), message(b'Z', b"I")].concat());
    wire.send(From::Client, 120_000, &[bind(b"s"), execute(), message(b'S', b"")].concat());
    wire.send(From::Server, 127_000, &[done(), message(b'Z', b"I")].concat());
    let queries = wire.lines("query");
    assert_eq!(times(&queries[2]), [&json!(7_000), &json!(7_000), &json!(5_000), &json!(0)]);
}

#[test]
fn a_client_whose_window_is_full_makes_the_server_wait() {
    let row = || message(b'D', b"\0\x01\0\0\0\x011");
    let mut wire = Wire::ready();
    wire.send(From::Client, 20_000, &query("SELECT n FROM t"));
    wire.send(From::Server, 30_000, &[row_description(), row()].concat());
    // Delayed by 40 ms: 1 ms after the data, all that was sent had filled the window already.
    wire.announce(71_000, 0);
    wire.announce(200_000, 0);
    wire.announce(231_000, 1);
    wire.send(From::Server, 232_000, &row());
    // It has not got all of that, and has room for no more of it.
    wire.packets.push(Tcp::new(From::Client, wire.sent[0], wire.sent[1] - 5, b"").window(0).at(233_000));
    // Nothing but its next data shows that there is room again.
    wire.send(From::Client, 333_000, &query("SELECT 2"));
    wire.send(From::Server, 340_000, &complete());
    wire.send(From::Server, 350_000, &[row_description(), row(), complete()].concat());
    // Not between two requests, nor while the server has sent nothing of its reply.
    wire.announce(351_000, 0);
    wire.send(From::Client, 400_000, &query("SELECT 3"));
    wire.announce(410_000, 0);
    wire.announce(420_000, 100);
    wire.send(From::Server, 430_000, &[row_description(), row()].concat());
    wire.send(From::Server, 431_000, &complete());
    let queries = wire.lines("query");
    let stalls: Vec<_> = queries.iter().map(|line| (&line["transfer_us"], &line["client_stall_us"])).collect();
    let none = &Value::Null;
    assert_eq!(stalls, [(&json!(310_000), &json!(300_000)), (&json!(0), none), (&json!(1_000), none)]);
}

#[test]
fn a_window_with_room_for_less_than_a_segment_makes_the_server_wait_as_well() {
    let row = |size: u8| message(b'D', &[&[0, 1, 0, 0, size, 0][..], &vec![b'x'; usize::from(size) * 256]].concat());
    let mut wire = Wire::ready();
    wire.send(From::Client, 20_000, &query("SELECT n FROM t"));
    wire.send(From::Server, 30_000, &row_description());
    wire.send(From::Server, 31_000, &row(5));
    wire.send(From::Server, 281_000, &row(1));
    wire.announce(282_000, 0);
    wire.announce(532_000, 1_000);
    // A server that sends little may have nothing else to send.
    wire.send(From::Server, 540_000, &row(2));
    wire.send(From::Server, 790_000, &row(1));
    wire.announce(791_000, 0);
    wire.announce(891_000, 1_000);
    wire.send(From::Server, 900_000, &complete());
    let queries = wire.lines("query");
    assert_eq!(queries[0]["client_stall_us"], json!(500_000 + 100_000));
}

#[test]
fn a_client_that_never_reads_on_stalls_no_longer_than_the_reply_lasts() {
    let mut wire = Wire::ready();
    wire.send(From::Client, 20_000, &query("SELECT n FROM t"));
    wire.send(From::Server, 30_000, &row_description());
    wire.announce(31_000, 0);
    // A server that probes the window ends its reply with that.
    wire.send(From::Server, 90_000, &complete());
    wire.announce(91_000, 0);
    wire.announce(900_000, 100);
    let queries = wire.lines("query");
    assert_eq!((&queries[0]["transfer_us"], &queries[0]["client_stall_us"]), (&json!(60_000), &json!(59_000)));
}

#[test]
fn bytes_that_are_sent_again_are_those_of_the_request_under_way() {
    let mut wire = Wire::ready();
    let again = |wire: &mut Wire, micros, bytes: u32| {
        let last = wire.packets.last().unwrap().clone();
        let payload = &last.data[last.data.len() - usize::try_from(bytes).unwrap()..];
        let from = if last.data[34..36] == 5432_u16.to_be_bytes() { From::Server } else { From::Client };
        let seq = wire.sent[from.index()] - bytes;
        wire.packets.push(Tcp::new(from, seq, wire.sent[from.peer().index()], payload).at(micros));
    };
    // Between requests: of none.
    again(&mut wire, 15_000, 6);
    wire.send(From::Client, 20_000, &query("SELECT 1"));
    again(&mut wire, 220_000, 14);
    // A copy by the capture, and a keep-alive.
    again(&mut wire, 220_500, 14);
    again(&mut wire, 225_000, 1);
    wire.send(From::Server, 230_000, &row_description());
    again(&mut wire, 230_900, 26);
    again(&mut wire, 260_000, 20);
    // All that was sent before, and more.
    let seq = wire.sent[From::Server.index()];
    let bytes = [row_description(), complete()].concat();
    let sent = u32::try_from(row_description().len()).unwrap();
    wire.packets.push(Tcp::new(From::Server, seq - sent, wire.sent[0], &bytes).at(290_000));
    wire.sent[1] += u32::try_from(complete().len()).unwrap();
    again(&mut wire, 300_000, 6);
    wire.send(From::Client, 400_000, &query("SELECT 2"));
    wire.send(From::Server, 410_000, &[row_description(), complete()].concat());
    let queries = wire.lines("query");
    let repeated: Vec<_> = queries.iter().map(|line| &line["retransmitted"]).collect();
    assert_eq!(repeated, [&json!(14 + 20 + sent), &Value::Null]);
}

#[test]
fn a_request_without_an_end_has_an_age() {
    let mut wire = Wire::ready();
    wire.send(From::Client, 20_000, &query("SELECT pg_sleep(600)"));
    // The capture goes on with another connection.
    wire.packets.push(Tcp::new(From::Client, 0, 0, b"").port(40_001).syn().without_ack().at(520_000));
    let queries = wire.lines("query");
    assert_eq!((&queries[0]["outcome"], &queries[0]["age_us"]), (&json!("incomplete"), &json!(500_000)));
    assert_eq!(times(&queries[0]), [&Value::Null; 4]);
    // One whose session was reset was as old as that.
    let mut wire = Wire::ready();
    wire.send(From::Client, 20_000, &query("SELECT pg_sleep(600)"));
    wire.packets.push(Tcp::new(From::Client, wire.sent[0], 1, b"").rst().at(90_000));
    let queries = wire.lines("query");
    assert_eq!((&queries[0]["outcome"], &queries[0]["age_us"]), (&json!("aborted"), &json!(70_000)));
}

#[test]
fn times_of_all_captures_fit_into_each_other() {
    for name in captures::all() {
        let mut worked: HashMap<u64, u64> = HashMap::new();
        let (packets, _) = captures::packets(&[captures::testdata().join(&name)]);
        let lines = captures::decrypt_packets(&packets, &captures::keys_of(&name), captures::everything()).values();
        for line in lines {
            let conn = line["conn"].as_u64().unwrap_or_default();
            let time = |field: &str| line[field].as_u64();
            if line["event"] == "query" {
                let Some(exec) = time("exec_us") else { continue };
                *worked.entry(conn).or_default() += exec;
                assert!(exec <= time("total_us").unwrap(), "{name}: {line}");
                assert!(time("client_stall_us") <= time("transfer_us"), "{name}: {line}");
                if let Some(server) = time("server_us") {
                    // Each is rounded down.
                    assert!(server + time("transfer_us").unwrap() <= exec + 1, "{name}: {line}");
                }
            } else if line["event"] == "session" && line["state"] == "ended" {
                let duration = time("duration_us").unwrap();
                assert!(worked.get(&conn).is_none_or(|worked| *worked <= duration), "{name}: {line}");
            }
        }
    }
}
