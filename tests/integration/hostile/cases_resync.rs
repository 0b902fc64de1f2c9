//! Messages after an unconfirmed boundary are flagged: values cannot forge unflagged lines.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use serde_json::Value;

use crate::captures::{self, OwnedPacket};
use crate::command::run;
use crate::wire::{From, Tcp, message, startup};

fn is_flagged(line: &Value) -> bool {
    line["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "resynchronized"))
}

#[test]
fn messages_in_a_value_whose_header_was_lost_are_flagged() {
    for threads in ["1", "2"] {
        let args = ["-p", "5432", "-j", threads, "-e", "message,query,session,loss", "cases/inv_copydata.pcap"];
        let lines = run(args).good();
        let is_invented = |line: &&Value| line.to_string().contains("invented");
        assert!(lines.iter().filter(is_invented).count() > 10, "they are not left out");
        for line in lines.iter().filter(is_invented) {
            assert!(is_flagged(line), "{line}");
        }
        let ended = lines.iter().find(|line| line["state"] == "ended").unwrap();
        assert!(is_flagged(ended), "{ended}");
        let ready = lines.iter().find(|line| line["state"] == "ready").unwrap();
        assert!(!is_flagged(ready), "{ready}");
        // Before the loss, all boundaries are known.
        let copy = lines.iter().filter(|line| line["packet"].as_u64() < Some(7));
        assert!(copy.clone().count() > 5 && copy.clone().all(|line| !is_flagged(line)));
    }
    let text = run(["-p", "5432", "-F", "text", "cases/inv_copydata.pcap"]).lines;
    let shown = text.iter().filter(|line| line.contains("Query") && line.contains("invented"));
    assert!(shown.clone().count() > 5 && shown.clone().all(|line| line.contains("[resynchronized]")));
}

#[test]
fn damage_of_a_compressed_capture_has_the_same_result_with_any_number_of_threads() {
    let folder = std::env::temp_dir().join(format!("pgdissect-damaged-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("capture.pcap.zst");
    let whole = std::fs::read(captures::testdata().join("mixed-10000/capture.pcap.zst")).unwrap();
    for (place, lines, said) in [
        (whole.len() - 4, Some(78_506), "the zstd stream is damaged: Restored data doesn't match checksum"),
        (whole.len() / 2, None, "the zstd stream is damaged"),
        (whole.len() / 7, None, "the zstd stream is damaged"),
    ] {
        let mut damaged = whole.clone();
        damaged[place..place + 4].iter_mut().for_each(|byte| *byte ^= 0xff);
        std::fs::write(&path, damaged).unwrap();
        let run = |threads| run(["-p", "5432", "-j", threads, path.to_str().unwrap()]);
        let one = run("1");
        assert_eq!(one.code, Some(1));
        assert!(one.said.contains(said), "{}", one.said);
        assert!(lines.is_none_or(|lines| one.lines.len() == lines), "{} lines", one.lines.len());
        for threads in ["2", "3"] {
            let other = run(threads);
            assert_eq!((other.code, &other.said), (one.code, &one.said));
            assert!(other.lines == one.lines, "byte {place}, {threads} threads: {} lines", other.lines.len());
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A conversation that is being generated.
struct Talk {
    packets: Vec<OwnedPacket>,
    seq: [u32; 2],
    clock: u64,
    mss: usize,
    random: u64,
}

impl Talk {
    fn new(mss: usize, seed: u64) -> Self {
        let mut talk = Self { packets: Vec::new(), seq: [1_000, 2_000_000], clock: 0, mss, random: seed };
        talk.packets.push(Tcp::new(From::Client, 999, 0, b"").syn().without_ack().at(1));
        talk.packets.push(Tcp::new(From::Server, 1_999_999, 1_000, b"").syn().at(2));
        talk.clock = 2;
        talk.send(From::Client, &startup());
        let ready = [message(b'R', &[0; 4]), message(b'Z', b"I")].concat();
        talk.send(From::Server, &ready);
        talk.send(From::Client, &[message(b'P', b"known\0SELECT $1\0\0\0"), message(b'S', b"")].concat());
        talk.send(From::Server, &[message(b'1', b""), message(b'Z', b"I")].concat());
        talk
    }

    /// Returns a reproducible pseudorandom number less than `below`.
    fn below(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % below
    }

    fn send(&mut self, from: From, bytes: &[u8]) {
        for piece in bytes.chunks(self.mss) {
            self.clock += 10;
            let (seq, ack) = (self.seq[from.index()], self.seq[from.peer().index()]);
            self.packets.push(Tcp::new(from, seq, ack, piece).at(self.clock));
            self.seq[from.index()] = seq.wrapping_add(piece.len() as u32);
        }
    }

    /// Returns a value of at least `size` bytes, made of what looks like messages of a side.
    fn value(&mut self, from: From, size: usize) -> Vec<u8> {
        let forged: Vec<Vec<u8>> = match from {
            From::Client => vec![
                message(b'Q', b"DROP TABLE invented\0"),
                message(b'Q', b"\0"),
                message(b'H', b""),
                message(b'X', b""),
                b"\0\0\0\x17\0\x03\0\0user\0invented\0\0".to_vec(),
                [message(b'P', b"\0DELETE FROM invented\0\0\0"), execution(b"")].concat(),
                message(b'P', b"known\0DELETE FROM invented\0\0\0"),
                execution(b"invented"),
                [message(b'd', b"invented\n"), message(b'c', b"")].concat(),
            ],
            From::Server => vec![
                [message(b'C', b"DROP TABLE\0"), message(b'Z', b"I")].concat(),
                [message(b'I', b""), message(b'Z', b"I")].concat(),
                message(b'Z', b"I"),
                message(b'D', b"\0\x01\0\0\0\x08invented"),
                [&b"2\0\0\0\x04n\0\0\0\x04"[..], &message(b'C', b"INSERT 0 1\0"), &message(b'Z', b"I")].concat(),
                message(b'A', b"\0\0\0\x01invented\0\0"),
                message(b'S', b"application_name\0invented\0"),
                message(b'E', b"SERROR\0C42P01\0Minvented\0\0"),
            ],
        };
        // Mostly one of them, so that segments begin and end with it by chance.
        let favourite = self.below(forged.len());
        let mut value = Vec::new();
        while value.len() < size {
            let other = self.below(forged.len());
            value.extend(&forged[if self.below(3) > 0 { favourite } else { other }]);
        }
        value
    }

    /// Generates a request and its replies, sometimes with a value in it.
    fn request(&mut self) {
        let size = 3 * self.mss + self.below(5 * self.mss);
        match self.below(7) {
            0 => {
                let value = self.value(From::Client, size);
                self.send(From::Client, &execution(&value));
                let replies =
                    [message(b'2', b""), message(b'n', b""), message(b'C', b"INSERT 0 1\0"), ready()].concat();
                self.send(From::Server, &replies);
            }
            1 => {
                self.send(From::Client, &message(b'Q', b"COPY t FROM STDIN\0"));
                self.send(From::Server, &message(b'G', b"\0\0\x01\0\0"));
                let value = self.value(From::Client, size);
                let data = [message(b'd', &value), message(b'd', b"row\n"), message(b'c', b"")].concat();
                self.send(From::Client, &data);
                self.send(From::Server, &[message(b'C', b"COPY 2\0"), ready()].concat());
            }
            2 => {
                let value = self.value(From::Server, size);
                let row = [&b"\0\x01"[..], &u32::try_from(value.len()).unwrap().to_be_bytes(), &value].concat();
                self.send(From::Client, &message(b'Q', b"SELECT value FROM t\0"));
                let row = [column(), message(b'D', &row), message(b'C', b"SELECT 1\0"), ready()].concat();
                self.send(From::Server, &row);
            }
            3 => {
                let value = self.value(From::Client, size);
                self.send(From::Client, &message(b'Q', &[b"SELECT '", &value[..], b"'\0"].concat()));
                self.send(From::Server, &[message(b'E', b"SERROR\0C42601\0Mno\0\0"), ready()].concat());
            }
            4 => {
                self.send(From::Client, &execution_of(b"known\0", b"1"));
                let row = message(b'D', b"\0\x01\0\0\0\x011");
                let replies = [message(b'2', b""), column(), row, message(b'C', b"SELECT 1\0"), ready()];
                self.send(From::Server, &replies.concat());
            }
            5 => {
                self.send(From::Client, &message(b'Q', b"SELECT 1\0"));
                let row = message(b'D', b"\0\x01\0\0\0\x011");
                self.send(From::Server, &[column(), row, message(b'C', b"SELECT 1\0"), ready()].concat());
            }
            _ => {
                self.send(From::Client, &[message(b'P', b"\0SELECT $1\0\0\0"), execution(b"1")].concat());
                let row = message(b'D', b"\0\x01\0\0\0\x011");
                let replies =
                    [message(b'1', b""), message(b'2', b""), column(), row, message(b'C', b"SELECT 1\0"), ready()];
                self.send(From::Server, &replies.concat());
            }
        }
    }
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// Returns a RowDescription of one text column.
fn column() -> Vec<u8> {
    message(b'T', b"\0\x01c\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0")
}

/// Returns Bind with a value, Describe, Execute and Sync.
fn execution(value: &[u8]) -> Vec<u8> {
    execution_of(b"\0", value)
}

/// Returns the same for a named statement.
fn execution_of(statement: &[u8], value: &[u8]) -> Vec<u8> {
    let len = u32::try_from(value.len()).unwrap().to_be_bytes();
    let bind = [b"\0", statement, b"\0\0\0\x01", &len, value, b"\0\0"].concat();
    [message(b'B', &bind), message(b'D', b"P\0"), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat()
}

/// Returns what identifies a message: the time of its end, its connection, type, length and text.
fn essence(line: &Value) -> String {
    let text = if line["tag"] == "Q" || line["tag"] == "P" { line["body"]["query"].to_string() } else { String::new() };
    format!("{} {} {} {} {text}", line["ts"], line["dir"], line["tag"], line["len"])
}

/// Checks the lines of some packets of a capture against what was sent. Returns the number of unflagged messages.
fn nothing_is_invented<'a>(
    sent: &HashMap<String, usize>,
    packets: impl IntoIterator<Item = &'a OwnedPacket, IntoIter: Clone>,
) -> Result<usize, TestCaseError> {
    let mut left = sent.clone();
    // A message that lacks its end has another time.
    let cut = |line: &str| line.split_once(' ').map_or(String::new(), |(_, rest)| rest.to_owned());
    let sent_at_any_time: HashSet<String> = sent.keys().map(|line| cut(line)).collect();
    let mut certain = 0;
    for line in captures::dissect_packets(packets, captures::config()).values() {
        match line["event"].as_str() {
            Some("message") if !is_flagged(&line) && line["missing"].is_u64() => {
                let untold = |line: &str| line.split(' ').take(3).collect::<Vec<_>>().join(" ");
                let is_sent = sent_at_any_time.iter().any(|sent| untold(sent) == untold(&cut(&essence(&line))));
                prop_assert!(is_sent, "{}", line);
            }
            Some("message") if !is_flagged(&line) => {
                let found = left.get_mut(&essence(&line)).filter(|count| **count > 0);
                prop_assert!(found.is_some(), "{}", line);
                *found.unwrap() -= 1;
                certain += 1;
            }
            Some("query") if !is_flagged(&line) => {
                let told = [&line["sql"], &line["application"], &line["user"]];
                prop_assert!(told.iter().all(|value| !value.to_string().contains("invented")), "{}", line);
            }
            _ => {}
        }
    }
    Ok(certain)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_value_forges_a_message_wherever_a_capture_begins_or_lacks_a_packet(
        mss in prop::sample::select(vec![60_usize, 61, 66, 100, 127, 200]),
        seed: u64,
        requests in 3_usize..9,
    ) {
        let mut talk = Talk::new(mss, seed);
        (0..requests).for_each(|_| talk.request());
        let packets = talk.packets;
        let whole = captures::dissect_packets(&packets, captures::config());
        let mut sent = HashMap::new();
        for line in whole.messages() {
            prop_assert!(!is_flagged(&line), "{}", line);
            *sent.entry(essence(&line)).or_insert(0) += 1;
        }
        for at in 0..packets.len() {
            nothing_is_invented(&sent, &packets[at..])?;
            nothing_is_invented(&sent, packets[..at].iter().chain(&packets[at + 1..]))?;
        }
    }
}

#[test]
fn a_capture_that_begins_anywhere_is_certain_after_a_request_and_its_replies() {
    for name in ["pgbench-simple/capture.pcap", "pgbench-prepared/capture.pcap", "pgbench-tpcb/capture.pcap"] {
        let packets = captures::packets(&[captures::testdata().join(name)]).0;
        for at in (0..packets.len().min(400)).step_by(3) {
            let lines = captures::dissect_packets(&packets[at..], captures::config()).values();
            let mut seen: HashMap<u64, usize> = HashMap::new();
            for line in lines.iter().filter(|line| line["type"] == "ReadyForQuery") {
                let seen = seen.entry(line["conn"].as_u64().unwrap()).or_default();
                *seen += 1;
                // The first lines may belong to the end of a request that was not captured.
                assert!(*seen <= 2 || !is_flagged(line), "{name} from {at}: {line}");
            }
            assert!(seen.values().any(|seen| *seen > 3));
        }
    }
}
