//! The engine: packets in, records out. No I/O, and no clock but the capture's.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::packet::{self, Defragmenter, Endpoint, NotTcp, Origin, Packet, Segment};
use crate::record::{Counters, Record};
use crate::time::Timestamp;

mod connection;
mod engine;

use connection::Connection;
use engine::Engine;

/// How long a closed connection is remembered, in microseconds of capture time: twice the 60 seconds that a Linux host
/// stays in TIME-WAIT, so that late retransmissions are not taken for a connection that began before the capture.
const REMEMBER_CLOSED: u64 = 120_000_000;

/// How long after a RST a connection is still listened to, in microseconds: what was in flight, or held back in the
/// capture, still comes. One that still brings something new in the second half of
/// this time has not heeded it.
const AFTER_RESET: u64 = 1_000_000;

/// What a [`Dissector`] looks for, and its limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// The ports of servers. None takes any TCP connection that begins as PostgreSQL's do.
    pub ports: Option<Vec<u16>>,
    /// The largest message, in bytes of its body, that is kept whole. The rest of a larger one is counted.
    pub max_message: usize,
    /// How many bytes of early segments are held for a connection, before a hole is taken for real.
    pub max_early: usize,
    /// Whether passwords, keys and proofs are written.
    pub show_secrets: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { ports: Some(vec![5432]), max_message: 16 << 20, max_early: 8 << 20, show_secrets: false }
    }
}

/// Where records go.
pub trait Sink {
    /// Takes a record, which borrows from the packet.
    fn record(&mut self, record: &Record<'_>);
}

impl<F: FnMut(&Record<'_>)> Sink for F {
    fn record(&mut self, record: &Record<'_>) {
        self(record);
    }
}

/// Dissects packets, one after the other.
#[derive(Debug)]
pub struct Dissector {
    config: Config,
    connections: HashMap<Pair, Box<Connection>, foldhash::fast::RandomState>,
    /// Connections that end, or are to be forgotten, at a time.
    closing: BinaryHeap<Reverse<Closing>>,
    defragmenter: Defragmenter,
    counters: Counters,
    now: Timestamp,
}

/// The two ends of a connection, the lesser first, so that both directions find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Pair(Endpoint, Endpoint);

impl Pair {
    fn of(segment: &Segment<'_>) -> Self {
        if segment.source <= segment.destination {
            Self(segment.source, segment.destination)
        } else {
            Self(segment.destination, segment.source)
        }
    }
}

/// A connection that something is to be done about; ordered by when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Closing {
    due: Timestamp,
    /// Tells this connection from a later one of the same ends.
    serial: u64,
    pair: Pair,
}

impl Dissector {
    /// An engine that has seen nothing.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            connections: HashMap::default(),
            closing: BinaryHeap::new(),
            defragmenter: Defragmenter::default(),
            counters: Counters::default(),
            now: Timestamp::default(),
        }
    }

    /// Counts a packet that is not to be looked at, so that those behind it keep their numbers.
    pub fn skip_packet(&mut self) {
        self.counters.packets += 1;
        self.counters.filtered_packets += 1;
    }

    /// Takes a packet and gives the records that it completes.
    pub fn packet(&mut self, packet: &Packet<'_>, sink: &mut impl Sink) {
        self.counters.packets += 1;
        self.counters.packet_bytes += packet.data.len() as u64;
        self.now = packet.ts;
        let datagram;
        let decoded = match packet::decode(packet) {
            Err(NotTcp::Fragment) => {
                self.counters.fragments += 1;
                let Some(whole) = self.defragmenter.add(packet) else { return };
                datagram = whole;
                datagram.segment()
            }
            decoded => decoded,
        };
        let segment = match decoded {
            Ok(segment) => segment,
            Err(why) => {
                *match why {
                    NotTcp::UnknownLink => &mut self.counters.unknown_link_packets,
                    NotTcp::Other | NotTcp::Fragment => &mut self.counters.other_packets,
                    NotTcp::Damaged => &mut self.counters.damaged_packets,
                } += 1;
                return;
            }
        };
        let origin = Origin { packet: self.counters.packets, ts: packet.ts };
        self.segment(&segment, origin, sink);
        self.close_due(sink);
    }

    /// Tells that time has passed without a packet, as in a live capture.
    pub fn tick(&mut self, now: Timestamp, sink: &mut impl Sink) {
        self.now = self.now.max(now);
        self.defragmenter.expire(self.now);
        self.close_due(sink);
        let origin = Origin { packet: self.counters.packets, ts: self.now };
        for connection in self.connections.values_mut().filter(|connection| connection.tcp.held() > 0) {
            let mut engine = Engine { config: &self.config, counters: &mut self.counters, sink };
            engine.drain(connection, origin.ts);
        }
    }

    /// Ends every connection: what is incomplete is said.
    pub fn finish(&mut self, sink: &mut impl Sink) {
        let origin = Origin { packet: self.counters.packets, ts: self.now };
        let mut left: Vec<_> = self.connections.drain().map(|(_, connection)| connection).collect();
        left.sort_unstable_by_key(|connection| connection.serial);
        let mut engine = Engine { config: &self.config, counters: &mut self.counters, sink };
        for mut connection in left {
            engine.end(&mut connection, origin);
        }
        self.closing.clear();
        self.defragmenter.clear();
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        let held: usize = self.connections.values().map(|connection| connection.held()).sum();
        let open = self.connections.values().filter(|connection| connection.is_counted_open());
        Counters {
            held_bytes: (held + self.defragmenter.held()) as u64,
            open_connections: open.count() as u64,
            lost_fragments: self.defragmenter.lost(),
            ..self.counters.clone()
        }
    }

    fn segment(&mut self, segment: &Segment<'_>, origin: Origin, sink: &mut impl Sink) {
        let pair = Pair::of(segment);
        let mut engine = Engine { config: &self.config, counters: &mut self.counters, sink };
        if let Some(connection) = self.connections.get_mut(&pair) {
            let direction = connection.direction_of(segment);
            if connection.tcp.is_reopened_by(direction, segment) {
                engine.end(connection, origin);
                **connection = Connection::new(segment, engine.config, origin);
            }
        } else {
            if !engine.is_of_interest(segment) {
                engine.counters.other_packets += 1;
                return;
            }
            self.connections.insert(pair, Box::new(Connection::new(segment, engine.config, origin)));
        }
        let Some(connection) = self.connections.get_mut(&pair) else { return };
        if !connection.is_open {
            self.counters.late_bytes += segment.payload.len() as u64;
            return;
        }
        let was_reset = connection.tcp.is_reset();
        engine.accept(connection, segment, origin);
        let serial = connection.serial;
        if connection.tcp.is_finished() {
            engine.end(connection, origin);
            self.closing.push(Reverse(Closing { due: later(origin.ts, REMEMBER_CLOSED), serial, pair }));
        } else if connection.tcp.is_reset() && !was_reset {
            self.closing.push(Reverse(Closing { due: later(origin.ts, AFTER_RESET), serial, pair }));
        }
    }

    /// Ends and forgets connections whose time has come.
    fn close_due(&mut self, sink: &mut impl Sink) {
        while self.closing.peek().is_some_and(|Reverse(closing)| closing.due <= self.now) {
            let Some(Reverse(closing)) = self.closing.pop() else { return };
            let Some(connection) = self.connections.get_mut(&closing.pair) else { continue };
            if connection.serial != closing.serial {
                continue;
            }
            if connection.is_open && self.now.micros_since(connection.active_at) < AFTER_RESET / 2 {
                connection.tcp.forget_reset();
            } else if connection.is_open {
                let origin = Origin { packet: self.counters.packets, ts: self.now };
                let mut engine = Engine { config: &self.config, counters: &mut self.counters, sink };
                engine.end(connection, origin);
                self.closing.push(Reverse(Closing { due: later(self.now, REMEMBER_CLOSED), ..closing }));
            } else {
                self.connections.remove(&closing.pair);
            }
        }
    }
}

/// The instant so many microseconds later.
fn later(at: Timestamp, micros: u64) -> Timestamp {
    let nanos = i64::try_from(micros.saturating_mul(1_000)).unwrap_or(i64::MAX);
    Timestamp::from_nanos(at.as_nanos().saturating_add(nanos), at.precision())
}
