//! Every capture with each of its packets lost in turn: properties of all lines, whatever was lost.
//!
//! Of a larger capture, evenly spaced packets are used. A packet is lost as if a snap length of 0 had truncated it, so that the
//! others keep their numbers, and most lines are those of the whole capture: only new lines are checked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use pgdissect::internals::packet;
use pgdissect::internals::packet::NotTcp;
use serde_json::Value;

use crate::captures::{self, Bench, OwnedPacket};
use crate::command::parse;
use crate::laws::contract;

/// Returns how many packets of each capture are dissected at most, except for one run with a single lost packet. proptest's
/// variable can raise it.
fn most_packets() -> usize {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300)
}

/// Whether [`Conn::keeps_time`] is checked.
const LINES_KEEP_TIME: bool = true;

/// The number of the last packet of each pair of endpoints.
struct LastPackets {
    of_ends: HashMap<[String; 2], u64>,
    /// The last fragment, which cannot be assigned to a pair.
    of_anyone: u64,
}

impl LastPackets {
    fn of(packets: &[OwnedPacket], lost: Option<usize>) -> Self {
        let mut last = Self { of_ends: HashMap::new(), of_anyone: 0 };
        for (index, packet) in packets.iter().enumerate().filter(|(index, _)| Some(*index) != lost) {
            let number = index as u64 + 1;
            match packet::decode(&packet.borrow()) {
                Ok(segment) => {
                    let ends = [segment.source.to_string(), segment.destination.to_string()];
                    last.of_ends.insert(sorted(ends), number);
                }
                Err(NotTcp::Fragment) => last.of_anyone = number,
                Err(_) => {}
            }
        }
        last
    }

    fn get(&self, line: &Line) -> u64 {
        self.of_ends.get(&line.ends).copied().unwrap_or_default().max(self.of_anyone)
    }
}

fn sorted(mut ends: [String; 2]) -> [String; 2] {
    ends.sort();
    ends
}

/// The checked fields of a line.
struct Line {
    conn: u64,
    ends: [String; 2],
    ts: String,
    packet: u64,
    message: Option<Message>,
}

struct Message {
    seq: u64,
    name: String,
    is_request: bool,
    query: Option<u64>,
    /// The number of columns of a complete description or row.
    columns: Option<usize>,
}

impl Line {
    /// Extracts the checked fields of a line.
    fn of(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| value[name].as_u64();
        let message = (value["event"] == "message").then(|| {
            let columns = [&value["body"]["fields"], &value["body"]["values"]].into_iter().find_map(Value::as_array);
            Message {
                seq: number("seq").unwrap_or_default(),
                name: text("type"),
                is_request: value["dir"] == "F",
                query: number("query"),
                columns: columns.filter(|_| value.get("missing").is_none()).map(Vec::len),
            }
        });
        Self {
            conn: number("conn").unwrap_or_default(),
            ends: sorted([text("client"), text("server")]),
            ts: text("ts"),
            packet: number("packet").unwrap_or_default(),
            message,
        }
    }
}

/// The state of a connection after the lines so far.
#[derive(Default)]
struct Conn {
    seq: u64,
    ts: String,
    /// The client's messages of each request, and the number of columns of its rows.
    requests: BTreeMap<u64, Request>,
}

#[derive(Default)]
struct Request {
    messages: HashSet<String>,
    columns: Option<usize>,
}

impl Conn {
    /// Checks that messages are numbered consecutively, and that no reply is attributed to a request that it cannot answer.
    fn take(&mut self, message: &Message) -> Result<(), String> {
        self.seq += 1;
        if message.seq != self.seq {
            return Err(format!("it is message {}", self.seq));
        }
        let Some(query) = message.query else { return Ok(()) };
        let Request { messages, columns } = self.requests.entry(query).or_default();
        if message.is_request {
            messages.insert(message.name.clone());
            return Ok(());
        }
        // Query and FunctionCall are requests of their own; of other requests, messages may be lost.
        let is = |request: &str| messages.contains(request);
        let cannot_be = match message.name.as_str() {
            "ParseComplete"
            | "BindComplete"
            | "CloseComplete"
            | "ParameterDescription"
            | "NoData"
            | "PortalSuspended" => is("Query") || is("FunctionCall"),
            "RowDescription" | "DataRow" | "CommandComplete" | "EmptyQueryResponse" => is("FunctionCall"),
            "FunctionCallResponse" => is("Query") || is("Execute"),
            _ => false,
        };
        if cannot_be {
            return Err(format!("it answers {messages:?}"));
        }
        if message.name == "RowDescription" {
            *columns = message.columns.filter(|_| is("Query"));
        } else if message.name == "DataRow"
            && let (Some(described), Some(there)) = (*columns, message.columns)
            && described != there
        {
            return Err(format!("it has {there} values, and its description {described}"));
        }
        Ok(())
    }

    /// Checks that the times of lines do not decrease, and that the packets of lines belong to their connection.
    fn keeps_time(&mut self, line: &Line, last: u64) -> Result<(), String> {
        if line.ts < self.ts {
            return Err(format!("a line before it is of {}", self.ts));
        }
        self.ts.clone_from(&line.ts);
        if line.packet > last { Err(format!("the last packet of its connection is {last}")) } else { Ok(()) }
    }
}

#[test]
fn lines_keep_the_laws_whichever_packet_is_lost() {
    let (mut runs, mut failures) = (0, Vec::new());
    for name in captures::all() {
        let (packets, _) = captures::packets(&[captures::testdata().join(&name)]);
        let keys = captures::keys_of(&name);
        let mut known: HashMap<String, Rc<Line>> = HashMap::new();
        let count = (most_packets() / packets.len().max(1)).clamp(1, packets.len().max(1));
        let lost = (0..count.min(packets.len())).map(|index| (2 * index + 1) * packets.len() / (2 * count));
        for lost in std::iter::once(None).chain(lost.map(Some)) {
            let mut bench = Bench::with_keys(captures::everything(), &keys);
            for (index, packet) in packets.iter().enumerate() {
                let mut packet = packet.borrow();
                if Some(index) == lost {
                    (packet.data, packet.orig_len) = (&[], 0);
                }
                bench.packet(&packet);
            }
            let last = LastPackets::of(&packets, lost);
            let mut conns: BTreeMap<u64, Conn> = BTreeMap::new();
            for text in bench.finish().lines {
                let read = || {
                    // The lines of the whole capture are checked for the contract elsewhere.
                    let value = if lost.is_none() { Ok(parse(&text)) } else { contract::check_line(&text) };
                    value.map(|value| Rc::new(Line::of(&value)))
                };
                let checked = known.get(&text).map_or_else(read, |line| Ok(Rc::clone(line))).and_then(|line| {
                    let conn = conns.entry(line.conn).or_default();
                    line.message.as_ref().map_or(Ok(()), |message| conn.take(message))?;
                    if LINES_KEEP_TIME {
                        conn.keeps_time(&line, last.get(&line))?;
                    }
                    Ok(line)
                });
                match checked {
                    Ok(line) => drop(known.entry(text).or_insert(line)),
                    Err(error) => failures.push(format!("{name} without {lost:?}: {error}\n{text:.400}")),
                }
            }
            runs += 1;
        }
    }
    let first = failures.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} lines of {runs} runs:\n{first}", failures.len());
    assert!(runs > 1_000, "{runs}");
}
