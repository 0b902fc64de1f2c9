//! All connections: those that only have SYNs, those that are followed, and those that have ended.
//!
//! Each kind has a limit of its own, so that a flood of SYNs, or a million short connections, cannot push out those that
//! say something. Within a kind, the least recently used gives way.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use super::connection::Connection;
use crate::direction::Direction;
use crate::packet::{Endpoint, Origin, Segment};
use crate::tcp::conversation::Opened;
use crate::time::Timestamp;

/// How many connections that only have SYNs are remembered: what a large server's own queue holds, several times over.
const MAX_HALF_OPEN: usize = 65_536;

/// How many connections are remembered after their end: those of the last seconds of a very busy server.
const MAX_CLOSED: usize = 131_072;

/// How long a closed connection is remembered, in microseconds of capture time: twice the 60 seconds that a Linux host
/// stays in TIME-WAIT, so that late retransmissions are not taken for a connection that began before the capture.
const REMEMBER_CLOSED: u64 = 120_000_000;

/// The two ends of a connection, the lesser first, so that both directions find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair(Endpoint, Endpoint);

impl Hash for Pair {
    /// In as few words as they have: it is done for every packet.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(u32::from(self.0.port) << 16 | u32::from(self.1.port));
        match (self.0.addr, self.1.addr) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                state.write_u64(u64::from(one.to_bits()) << 32 | u64::from(other.to_bits()));
            }
            addresses => addresses.hash(state),
        }
    }
}

impl Pair {
    pub(super) fn of(segment: &Segment<'_>) -> Self {
        if segment.source <= segment.destination {
            Self(segment.source, segment.destination)
        } else {
            Self(segment.destination, segment.source)
        }
    }
}

/// What is known of two ends.
#[derive(Debug)]
pub(super) enum Entry {
    /// One or both have sent a SYN.
    HalfOpen(HalfOpen),
    /// They have said something.
    Live(Box<Connection>),
    /// Their connection has ended.
    Closed(Closed),
}

/// A connection of which only SYNs were seen. Most that never become more are attempts that were refused, or attacks: they
/// must cost little.
#[derive(Clone, Copy, Debug)]
pub(super) struct HalfOpen {
    serial: u64,
    at: Timestamp,
    client: Endpoint,
    server: Endpoint,
    /// The sequence number of the client's SYN.
    syn: Option<u32>,
    /// When that was captured.
    syn_at: Option<Timestamp>,
    /// The sequence and acknowledgment numbers of the server's. Where both ends open the connection at the same time, it
    /// acknowledges nothing at first (RFC 9293, section 3.5).
    syn_ack: Option<(u32, Option<u32>)>,
}

impl HalfOpen {
    /// The connection that a SYN begins.
    pub(super) fn new(segment: &Segment<'_>, origin: Origin) -> Self {
        let (client, server) = match segment.ack {
            None => (segment.source, segment.destination),
            Some(_) => (segment.destination, segment.source),
        };
        let mut half_open =
            Self { serial: origin.packet, at: origin.ts, client, server, syn: None, syn_at: None, syn_ack: None };
        half_open.note(segment, origin);
        half_open
    }

    /// Takes another SYN. One with other numbers begins anew.
    pub(super) fn note(&mut self, segment: &Segment<'_>, origin: Origin) {
        match segment.ack {
            None if segment.source == self.client => {
                if self.syn.is_some_and(|isn| isn != segment.seq) {
                    self.syn_ack = None;
                }
                if self.syn != Some(segment.seq) {
                    self.syn_at = Some(origin.ts);
                }
                self.syn = Some(segment.seq);
            }
            Some(_) if segment.source == self.client && self.syn == Some(segment.seq) => {}
            ack if segment.source == self.server && (ack.is_some() || self.syn.is_some()) => {
                self.syn_ack = Some((segment.seq, ack));
            }
            _ => *self = Self { serial: self.serial, ..Self::new(segment, origin) },
        }
    }

    /// When the first of them was captured.
    pub(super) const fn at(&self) -> Timestamp {
        self.at
    }

    /// When the client's was captured.
    pub(super) const fn syn_at(&self) -> Option<Timestamp> {
        self.syn_at
    }

    /// The SYNs again, to be given to the connection that they opened.
    pub(super) fn syns(&self) -> impl Iterator<Item = Segment<'static>> {
        let syn = |source, destination, seq, ack| Segment {
            source,
            destination,
            seq,
            ack,
            syn: true,
            fin: false,
            rst: false,
            payload: &[],
            snapped: 0,
        };
        let of_client = self.syn.map(|seq| syn(self.client, self.server, seq, None));
        let of_server = self.syn_ack.map(|(seq, ack)| syn(self.server, self.client, seq, ack));
        of_client.into_iter().chain(of_server)
    }
}

/// A connection that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    serial: u64,
    client: Endpoint,
    opened: Option<Opened>,
}

impl Closed {
    pub(super) fn of(connection: &Connection) -> Self {
        Self { serial: connection.serial, client: connection.about.client, opened: connection.tcp.opened() }
    }

    /// Whether a segment opens another connection between the same ends.
    pub(super) fn is_reopened_by(&self, segment: &Segment<'_>) -> bool {
        let direction = if segment.source == self.client { Direction::Frontend } else { Direction::Backend };
        Opened::is_another(self.opened, direction, segment)
    }
}

/// An entry that something is to be done about; ordered by when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Timestamp,
    /// Tells this connection from a later one of the same ends.
    serial: u64,
    pair: Pair,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Table {
    entries: HashMap<Pair, Entry, foldhash::fast::RandomState>,
    half_open: VecDeque<Due>,
    /// By when they said something, as it was when they were last looked at: the first of these that has said nothing since
    /// is the one that was silent longest.
    live: BinaryHeap<Reverse<Due>>,
    live_count: usize,
    max_live: usize,
    /// Live connections with a RST, and when to see whether they heeded it.
    resets: VecDeque<Due>,
    closed: VecDeque<Due>,
}

impl Table {
    pub(super) fn new(max_live: usize) -> Self {
        Self {
            entries: HashMap::default(),
            half_open: VecDeque::new(),
            live: BinaryHeap::new(),
            live_count: 0,
            max_live,
            resets: VecDeque::new(),
            closed: VecDeque::new(),
        }
    }

    pub(super) fn get_mut(&mut self, pair: &Pair) -> Option<&mut Entry> {
        self.entries.get_mut(pair)
    }

    /// The connections that are followed.
    pub(super) fn live(&self) -> impl Iterator<Item = &Connection> {
        self.entries
            .values()
            .filter_map(|entry| if let Entry::Live(connection) = entry { Some(&**connection) } else { None })
    }

    /// The connections that are followed, in the order of a key; of those with the same, in order of appearance.
    pub(super) fn live_mut<K: Ord>(&mut self, key: impl Fn(&Connection) -> K) -> Vec<&mut Connection> {
        let live = self.entries.values_mut();
        let live =
            live.filter_map(|entry| if let Entry::Live(connection) = entry { Some(&mut **connection) } else { None });
        let mut live: Vec<_> = live.collect();
        live.sort_unstable_by_key(|connection| (key(connection), connection.serial));
        live
    }

    /// Begins to remember SYNs.
    pub(super) fn insert_half_open(&mut self, pair: Pair, half_open: HalfOpen, now: Timestamp) {
        self.half_open.push_back(Due { at: now, pair, serial: half_open.serial });
        self.entries.insert(pair, Entry::HalfOpen(half_open));
        while self.half_open.len() > MAX_HALF_OPEN {
            let Some(due) = self.half_open.pop_front() else { return };
            if matches!(self.entries.get(&due.pair), Some(Entry::HalfOpen(found)) if found.serial == due.serial) {
                self.entries.remove(&due.pair);
            }
        }
    }

    /// Begins to follow a connection.
    pub(super) fn insert_live(&mut self, pair: Pair, connection: Connection) {
        self.live.push(Reverse(Due { at: connection.active_at, pair, serial: connection.serial }));
        self.live_count += 1;
        self.entries.insert(pair, Entry::Live(Box::new(connection)));
    }

    /// Forgets two ends.
    pub(super) fn remove(&mut self, pair: &Pair) {
        self.entries.remove(pair);
    }

    /// Takes out a connection that is followed, to be given back.
    pub(super) fn lend(&mut self, pair: &Pair) -> Option<Box<Connection>> {
        match self.entries.remove(pair)? {
            Entry::Live(connection) => Some(connection),
            Entry::HalfOpen(_) | Entry::Closed(_) => None,
        }
    }

    /// Takes back what was lent.
    pub(super) fn take_back(&mut self, pair: Pair, connection: Box<Connection>) {
        self.entries.insert(pair, Entry::Live(connection));
    }

    /// Whether there is a connection with a RST whose time has come.
    pub(super) fn has_due_reset(&self, now: Timestamp) -> bool {
        self.resets.front().is_some_and(|due| due.at <= now)
    }

    /// Ceases to follow a connection, but remembers that it was.
    pub(super) fn close(&mut self, pair: Pair, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&pair) else { return };
        let Entry::Live(connection) = entry else { return };
        let closed = Closed::of(connection);
        *entry = Entry::Closed(closed);
        self.live_count -= 1;
        self.closed.push_back(Due { at: later(now, REMEMBER_CLOSED), pair, serial: closed.serial });
    }

    /// Looks at a connection with a RST again after some microseconds.
    pub(super) fn watch_reset(&mut self, pair: Pair, serial: u64, now: Timestamp, micros: u64) {
        self.resets.push_back(Due { at: later(now, micros), pair, serial });
    }

    /// The ends of the next connection with a RST whose time has come.
    pub(super) fn due_reset(&mut self, now: Timestamp) -> Option<Pair> {
        while self.resets.front().is_some_and(|due| due.at <= now) {
            let due = self.resets.pop_front()?;
            if matches!(self.entries.get(&due.pair), Some(Entry::Live(found)) if found.serial == due.serial) {
                return Some(due.pair);
            }
        }
        None
    }

    /// Forgets closed connections whose time has come, or that are too many.
    pub(super) fn forget_closed(&mut self, now: Timestamp) {
        while self.closed.front().is_some_and(|due| due.at <= now) || self.closed.len() > MAX_CLOSED {
            let Some(due) = self.closed.pop_front() else { return };
            if matches!(self.entries.get(&due.pair), Some(Entry::Closed(found)) if found.serial == due.serial) {
                self.entries.remove(&due.pair);
            }
        }
    }

    /// Takes out the least recently used connection, where there are too many.
    pub(super) fn evict(&mut self) -> Option<Box<Connection>> {
        while self.live_count > self.max_live {
            let Reverse(due) = self.live.pop()?;
            match self.entries.get(&due.pair) {
                Some(Entry::Live(found)) if found.serial == due.serial => {
                    if found.active_at > due.at {
                        self.live.push(Reverse(Due { at: found.active_at, ..due }));
                    } else if let Some(Entry::Live(connection)) = self.entries.remove(&due.pair) {
                        self.live_count -= 1;
                        return Some(connection);
                    }
                }
                _ => {}
            }
        }
        if self.live.len() > 2 * self.live_count + 1_024 {
            // What stands for connections that have closed since is more than what stands for others.
            let entries = &self.entries;
            self.live.retain(
                |Reverse(due)| matches!(entries.get(&due.pair), Some(Entry::Live(found)) if found.serial == due.serial),
            );
        }
        None
    }

    /// Takes out all connections that are followed, in order of appearance, and forgets the rest.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Connection> + use<> {
        let entries = std::mem::take(&mut self.entries).into_values();
        let mut live: Vec<_> = entries
            .filter_map(|entry| if let Entry::Live(connection) = entry { Some(connection) } else { None })
            .collect();
        live.sort_unstable_by_key(|connection| connection.serial);
        *self = Self::new(self.max_live);
        live.into_iter().map(|connection| *connection)
    }
}

/// The instant so many microseconds later.
fn later(at: Timestamp, micros: u64) -> Timestamp {
    let nanos = i64::try_from(micros.saturating_mul(1_000)).unwrap_or(i64::MAX);
    Timestamp::from_nanos(at.as_nanos().saturating_add(nanos), at.precision())
}
