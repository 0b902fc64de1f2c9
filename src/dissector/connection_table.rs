//! The table of connections: half-open, live and closed.
//!
//! Each kind has its own limit, so that neither a flood of SYNs nor a million short connections can displace connections with
//! data. Within a kind, the least recently used is removed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use super::connection::Connection;
use crate::direction::{Direction, PerDirection};
use crate::packet::{Endpoint, Origin, Segment};
use crate::pg::resync;
use crate::session::opening::{self, Opening};
use crate::tcp::conversation::Numbers;
use crate::tcp::round_trip::CAPTURED_TWICE;
use crate::time::{Precision, Timestamp};

/// The maximum number of half-open connections: several times the SYN backlog of a large server.
const MAX_HALF_OPEN: usize = 65_536;

/// The maximum number of closed connections that are remembered: those of the last seconds on a very busy server.
const MAX_CLOSED: usize = 131_072;

/// How long a closed connection is remembered, in microseconds of capture time: twice the 60 seconds that a Linux host stays in
/// TIME-WAIT, so that late retransmissions are not mistaken for a connection that began before the capture.
const REMEMBER_CLOSED: u64 = 120_000_000;

/// How long a SYN may remain unanswered, in microseconds: as long as Linux retransmits it.
const WAIT_FOR_ANSWER: u64 = 127_000_000;

/// The maximum distance between a SYN and the first captured segment of its connection, if earlier ones were lost.
const NEARBY: u32 = 65_535;

/// After how many microseconds the late data of a closed connection is reported, as one loss.
const LATE_REPORT_DELAY: u64 = 10_000_000;

/// Before any time.
const NEVER: Timestamp = Timestamp::from_nanos(i64::MIN, Precision::Micros);

/// After any time.
const LAST: Timestamp = Timestamp::from_nanos(i64::MAX, Precision::Micros);

/// The two endpoints of a connection, the lesser first, so that both directions have the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair(Endpoint, Endpoint);

impl Hash for Pair {
    /// Hashes as few words as possible, because this is done for every packet.
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
        if is_from_lesser(segment) {
            Self(segment.source, segment.destination)
        } else {
            Self(segment.destination, segment.source)
        }
    }
}

fn is_from_lesser(segment: &Segment<'_>) -> bool {
    segment.source <= segment.destination
}

/// The state of a pair of endpoints.
#[derive(Debug)]
pub(super) enum Entry {
    /// One or both have sent a SYN.
    HalfOpen(HalfOpen),
    /// A connection with data.
    Live(Box<Connection>),
    /// A connection that has ended.
    Closed(Closed),
}

/// A SYN, or a SYN-ACK.
#[derive(Clone, Copy, Debug)]
struct Syn {
    seq: u32,
    /// The acknowledgment number; for a simultaneous open, that of the retransmission as a SYN-ACK (RFC 9293, section 3.5).
    ack: Option<u32>,
    /// The number of bytes sent with it (RFC 7413).
    len: u32,
    /// Whether the first of its segments had no acknowledgment number.
    opens: bool,
    /// The time of its first capture.
    at: Timestamp,
    /// Whether it was sent again.
    is_repeated: bool,
}

impl Syn {
    /// Returns the distance of a sequence number from the first one after the SYN.
    const fn to(&self, seq: u32) -> u32 {
        seq.wrapping_sub(self.seq).wrapping_sub(1)
    }

    /// Returns whether it answers another SYN: it acknowledges that one, and no more data than was sent with it.
    fn answers(&self, other: &Self) -> bool {
        self.ack.is_some_and(|ack| other.to(ack) <= other.len)
    }

    /// Recreates the segment, to be passed to the connection that it opened.
    const fn segment(&self, source: Endpoint, destination: Endpoint, ack: Option<u32>) -> Segment<'static> {
        let (syn, fin, rst, window, payload, snapped) = (true, false, false, u16::MAX, &[], 0);
        Segment { source, destination, seq: self.seq, ack, syn, fin, rst, window, payload, snapped }
    }
}

/// The SYNs of one endpoint: the first, and the last one with another sequence number. One of them may be forged, or belong to an
/// attempt that was given up.
#[derive(Clone, Copy, Debug, Default)]
struct Syns(Option<Syn>, Option<Syn>);

impl Syns {
    fn note(&mut self, segment: &Segment<'_>, at: Timestamp) {
        let Segment { seq, ack, .. } = *segment;
        let len = (segment.payload.len() as u32).saturating_add(segment.snapped);
        let is_same =
            |syn: &&mut Syn| syn.seq == seq && (ack.is_none() || syn.ack.is_none_or(|known| Some(known) == ack));
        let known = self.0.as_mut().into_iter().chain(&mut self.1).find(is_same);
        match known {
            Some(syn) => {
                syn.is_repeated |= at.nanos_since(syn.at).is_none_or(|nanos| nanos >= CAPTURED_TWICE);
                syn.ack = syn.ack.or(ack);
            }
            None => {
                let place = if self.0.is_none() { &mut self.0 } else { &mut self.1 };
                *place = Some(Syn { seq, ack, len, opens: ack.is_none(), at, is_repeated: false });
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Syn> {
        self.0.iter().chain(&self.1)
    }
}

/// A connection of which only SYNs were captured. Most that never become live are rejected attempts or attacks, so they must cost
/// little. The answers, and the numbers of later segments, show which SYNs are valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct HalfOpen {
    serial: u64,
    /// The packet since which there is no other connection between these ends.
    known_since: u64,
    /// The time of the last SYN.
    at: Timestamp,
    /// The SYNs of the lesser endpoint, and of the greater one.
    lesser: Syns,
    greater: Syns,
    /// The number and the time of the first acknowledgment without SYN and data.
    acknowledged: Option<(u32, Timestamp)>,
}

/// The SYNs that opened a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenedBy {
    /// The SYN captured first, and its answer; or only one of them.
    pub(super) syns: [Option<Segment<'static>>; 2],
    /// The time of the first of them.
    pub(super) at: Timestamp,
    /// The time of the client's SYN.
    pub(super) syn_at: Option<Timestamp>,
    /// The times of the client's SYN, the server's, and the acknowledgment of that; without those from which no round-trip time
    /// follows.
    pub(super) handshake: [Option<Timestamp>; 3],
}

impl HalfOpen {
    /// Creates the state of a connection that a SYN begins.
    pub(super) fn new(segment: &Segment<'_>, origin: Origin) -> Self {
        let none = Syns::default();
        let packet = origin.packet;
        let mut half_open = Self {
            serial: packet,
            known_since: packet,
            at: origin.ts,
            lesser: none,
            greater: none,
            acknowledged: None,
        };
        half_open.note(segment, origin.ts);
        half_open
    }

    /// Records that it replaces another connection between the same ends.
    pub(super) const fn replace(&mut self, packet: u64) {
        self.known_since = packet;
    }

    /// Returns its first packet.
    pub(super) const fn first_packet(&self) -> u64 {
        self.serial
    }

    /// Returns the packet since which there is no other connection between these ends.
    pub(super) const fn known_since(&self) -> u64 {
        self.known_since
    }

    /// Records another SYN.
    pub(super) fn note(&mut self, segment: &Segment<'_>, at: Timestamp) {
        self.at = at;
        let syns = if is_from_lesser(segment) { &mut self.lesser } else { &mut self.greater };
        syns.note(segment, at);
    }

    /// Records a segment without SYN and data.
    pub(super) fn acknowledge(&mut self, segment: &Segment<'_>, at: Timestamp) {
        self.acknowledged = self.acknowledged.or(segment.ack.map(|ack| (ack, at)));
    }

    /// Returns the SYNs of a segment's source, and of its destination.
    fn of(&self, segment: &Segment<'_>) -> (&Syns, &Syns) {
        if is_from_lesser(segment) { (&self.lesser, &self.greater) } else { (&self.greater, &self.lesser) }
    }

    /// Returns whether the numbers of a segment are exactly the first ones after two SYNs that answer each other.
    fn is_begun_by(&self, segment: &Segment<'_>) -> bool {
        let (own, peer) = self.of(segment);
        let fits = |own: &Syn, peer: &Syn| {
            (own.answers(peer) || peer.answers(own))
                && own.to(segment.seq) == 0
                && segment.ack.is_some_and(|ack| peer.to(ack) == 0)
        };
        own.iter().any(|own| peer.iter().any(|peer| fits(own, peer)))
    }

    /// Returns whether a SYN-ACK acknowledges exactly a SYN of the other endpoint.
    fn is_answered_by(&self, segment: &Segment<'_>) -> bool {
        let (_, peer) = self.of(segment);
        segment.ack.is_some_and(|ack| peer.iter().any(|peer| peer.to(ack) == 0))
    }

    /// Returns whether it has been unanswered for so long that it will not be answered.
    fn is_stale(&self, now: Timestamp) -> bool {
        now.micros_since(self.at) >= WAIT_FOR_ANSWER
    }

    /// Returns the SYNs that opened the connection of a segment, according to its numbers. An unanswered SYN is only accepted if
    /// the segment looks like the first of a connection, and has exactly the next sequence number.
    pub(super) fn opening(&self, segment: &Segment<'_>) -> Option<OpenedBy> {
        let (own, peer) = self.of(segment);
        let seq = segment.seq.wrapping_add(segment.syn.into());
        let answered = |own: &Syn, peer: &Syn| {
            let distance = own.to(seq).max(segment.ack.map_or(0, |ack| peer.to(ack)));
            (own.answers(peer) || peer.answers(own)).then_some(distance)
        };
        let pairs = own.iter().flat_map(|own| peer.iter().map(move |peer| (own, peer)));
        let pairs = pairs.filter_map(|(own, peer)| Some((answered(own, peer)?, Some(own), Some(peer))));
        // Both numbers of a SYN-ACK can be compared.
        let acked = |from: u32, to: u32| to.wrapping_sub(from) <= NEARBY;
        let is_opening = !resync::begins_with_message(Direction::Frontend, segment.payload);
        let own_fits = |own: &&Syn| match (own.ack, segment.ack) {
            (Some(ack), Some(acks)) => own.to(seq) <= NEARBY && acked(ack, acks),
            _ => own.to(seq) == 0 && is_opening,
        };
        let peer_fits = |peer: &&Syn| match (peer.ack, segment.ack) {
            (Some(ack), Some(acks)) => acked(ack, seq) && peer.to(acks) <= NEARBY,
            (None, Some(acks)) => peer.to(acks) == 0,
            (_, None) => false,
        };
        let own = own.iter().filter(own_fits).map(|own| (own.to(seq), Some(own), None));
        let peer =
            peer.iter().filter(peer_fits).map(|peer| (peer.to(segment.ack.unwrap_or_default()), None, Some(peer)));
        let (_, own, peer) = pairs
            .min_by_key(|(distance, ..)| *distance)
            .or_else(|| own.chain(peer).min_by_key(|(distance, ..)| *distance))?;
        Some(opened_by(own, peer, segment, self.acknowledged))
    }

    /// Returns whether a segment rejects or aborts the connection attempt.
    pub(super) fn is_given_up_by(&self, segment: &Segment<'_>) -> bool {
        let (own, peer) = self.of(segment);
        let refuses = peer.iter().any(|syn| segment.ack.is_some_and(|ack| syn.to(ack) <= NEARBY));
        segment.rst && refuses || own.iter().any(|syn| syn.to(segment.seq) == 0)
    }
}

/// Returns the SYNs of a segment's source and destination as those of a connection.
fn opened_by(
    own: Option<&Syn>,
    peer: Option<&Syn>,
    segment: &Segment<'_>,
    acknowledged: Option<(u32, Timestamp)>,
) -> OpenedBy {
    let (source, destination) = (segment.source, segment.destination);
    let mut both = [own.map(|syn| (syn, source, destination)), peer.map(|syn| (syn, destination, source))];
    // The client's SYN is the one without an acknowledgment; of two such, the one captured first.
    both.sort_by_key(|end| (end.is_none(), end.map(|(syn, ..)| (!syn.opens, syn.at))));
    let [first, second] = both;
    let client = first.filter(|(syn, ..)| syn.opens);
    let first_segment =
        first.map(|(syn, source, destination)| syn.segment(source, destination, syn.ack.filter(|_| client.is_none())));
    let second_segment = second.map(|(syn, source, destination)| syn.segment(source, destination, syn.ack));
    // A SYN that was sent before that of the other end is no answer to it.
    let server = both.iter().flatten().map(|(syn, ..)| syn).find(|syn| syn.ack.is_some() && !syn.opens);
    let acknowledgment =
        acknowledged.filter(|(ack, _)| server.is_some_and(|syn| !syn.is_repeated && syn.to(*ack) == 0));
    OpenedBy {
        handshake: [
            client.filter(|(syn, ..)| !syn.is_repeated).map(|(syn, ..)| syn.at),
            server.map(|syn| syn.at),
            acknowledgment.map(|(_, at)| at),
        ],
        syns: [first_segment, second_segment],
        at: both.iter().flatten().map(|(syn, ..)| syn.at).min().unwrap_or_default(),
        syn_at: client.map(|(syn, ..)| syn.at),
    }
}

/// The connection to which a segment belongs, given a known connection between its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The known connection.
    Current,
    /// A connection attempt that was not answered yet.
    Unclaimed,
    /// Another connection, which was opened by the SYNs of the rival.
    Other,
}

/// Determines to which connection a segment belongs. A SYN that does not fit the connection is recorded as its rival. That has no
/// effect until the SYN is answered, or until a segment fits the rival's numbers only, because anyone can forge a SYN.
pub(super) fn owner(
    numbers: impl Fn() -> Numbers,
    rival: &mut Option<Box<HalfOpen>>,
    direction: Direction,
    segment: &Segment<'_>,
    origin: Origin,
) -> Owner {
    if segment.syn {
        let answers_rival = rival.as_ref().is_some_and(|rival| rival.is_answered_by(segment));
        if !answers_rival && numbers().opened_with(direction, segment) {
            return Owner::Current;
        }
        match rival {
            Some(rival) if !rival.is_stale(origin.ts) => rival.note(segment, origin.ts),
            _ => *rival = Some(Box::new(HalfOpen::new(segment, origin))),
        }
        // Both SYNs may be forged: later segments show whether the connection exists.
        return Owner::Unclaimed;
    }
    match rival {
        None => Owner::Current,
        Some(known) if known.is_stale(origin.ts) => {
            *rival = None;
            Owner::Current
        }
        Some(known) if known.is_begun_by(segment) => Owner::Other,
        Some(known) if known.opening(segment).is_some() && !numbers().fit(direction, segment) => Owner::Other,
        Some(_) => Owner::Current,
    }
}

/// A connection that has ended.
#[derive(Debug)]
pub(super) struct Closed {
    serial: u64,
    /// The connection's number; 0 if it had none.
    pub(super) number: u64,
    /// The connection's number, if it was identified as PostgreSQL's, and whether it is selected, if that is known.
    pub(super) reported: Option<(u64, Option<bool>)>,
    pub(super) client: Endpoint,
    pub(super) server: Endpoint,
    numbers: Numbers,
    /// The bytes received after the end that were not reported yet.
    late: PerDirection<u64>,
    /// The packet with the last of them.
    pub(super) last: Origin,
    pub(super) rival: Option<Box<HalfOpen>>,
}

impl Closed {
    pub(super) fn of(connection: &mut Connection) -> Self {
        let is_counted = connection.is_counted();
        let Connection { serial, tcp, info, rival, .. } = connection;
        Self {
            serial: *serial,
            number: info.conn,
            reported: is_counted.then_some((info.conn, info.selected)),
            client: info.client,
            server: info.server,
            numbers: tcp.numbers(),
            late: PerDirection::default(),
            last: info.last_line,
            rival: rival.take(),
        }
    }

    /// Determines to which connection a segment belongs.
    pub(super) fn owner(&mut self, segment: &Segment<'_>, origin: Origin) -> Owner {
        let (numbers, direction) = (self.numbers, self.direction_of(segment));
        // A startup packet proves the beginning of a connection as well as a SYN does.
        let is_new = !segment.syn && numbers.new_bytes(direction, segment) == segment.payload.len() as u64;
        if is_new && direction == Direction::Frontend && opening::of_client(segment.payload) == Opening::Startup {
            return Owner::Other;
        }
        owner(|| numbers, &mut self.rival, direction, segment, origin)
    }

    fn direction_of(&self, segment: &Segment<'_>) -> Direction {
        if segment.source == self.client { Direction::Frontend } else { Direction::Backend }
    }

    /// Records data after the end. Returns whether it is the first that was not reported yet.
    fn record_late(&mut self, segment: &Segment<'_>, origin: Origin) -> bool {
        let direction = self.direction_of(segment);
        let bytes = self.numbers.new_bytes(direction, segment);
        if bytes == 0 || self.reported.is_none() {
            return false;
        }
        let is_first = !self.has_late();
        *self.late.get_mut(direction) += bytes;
        self.last = origin;
        is_first
    }

    const fn has_late(&self) -> bool {
        self.late.frontend + self.late.backend > 0
    }

    /// Returns the bytes received after the end since the last call.
    pub(super) fn late(&mut self) -> PerDirection<u64> {
        std::mem::take(&mut self.late)
    }
}

/// A deadline of an entry. Sorted by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Timestamp,
    /// Distinguishes the connection from later ones between the same endpoints.
    serial: u64,
    pair: Pair,
}

/// The table of all connections.
#[derive(Debug)]
pub(super) struct Table {
    entries: HashMap<Pair, Entry, foldhash::fast::RandomState>,
    half_open: VecDeque<Due>,
    /// The live connections by the time of their last data, as of the last update. The first one whose time is still correct has
    /// been idle longest.
    live: BinaryHeap<Reverse<Due>>,
    live_count: usize,
    max_live: usize,
    /// Live connections that seem to have ended, and when to check whether they really have.
    endings: VecDeque<Due>,
    closed: VecDeque<Due>,
    /// Closed connections with late data, and when to report it.
    late: VecDeque<Due>,
    /// The latest time up to which [`Self::advance_time`] skipped the deadlines of closed connections.
    passed: Timestamp,
    /// The first deadline, checked for every packet.
    next_due: Timestamp,
}

impl Table {
    pub(super) fn new(max_live: usize) -> Self {
        Self {
            entries: HashMap::default(),
            half_open: VecDeque::new(),
            live: BinaryHeap::new(),
            live_count: 0,
            max_live,
            endings: VecDeque::new(),
            closed: VecDeque::new(),
            late: VecDeque::new(),
            passed: NEVER,
            next_due: LAST,
        }
    }

    pub(super) fn get_mut(&mut self, pair: &Pair) -> Option<&mut Entry> {
        self.entries.get_mut(pair)
    }

    /// Iterates over the live connections.
    pub(super) fn live(&self) -> impl Iterator<Item = &Connection> {
        self.entries
            .values()
            .filter_map(|entry| if let Entry::Live(connection) = entry { Some(&**connection) } else { None })
    }

    /// Returns the live connections, sorted by `key`, and by age if the keys are equal.
    pub(super) fn live_mut<K: Ord>(&mut self, key: impl Fn(&Connection) -> K) -> Vec<&mut Connection> {
        let live = self.entries.values_mut();
        let live =
            live.filter_map(|entry| if let Entry::Live(connection) = entry { Some(&mut **connection) } else { None });
        let mut live: Vec<_> = live.collect();
        live.sort_unstable_by_key(|connection| (key(connection), connection.serial));
        live
    }

    /// Inserts a half-open connection.
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

    /// Inserts a live connection.
    pub(super) fn insert_live(&mut self, pair: Pair, connection: Connection) {
        self.live.push(Reverse(Due { at: connection.active_at(), pair, serial: connection.serial }));
        self.live_count += 1;
        self.entries.insert(pair, Entry::Live(Box::new(connection)));
    }

    /// Removes the entry of a pair of endpoints.
    pub(super) fn remove(&mut self, pair: &Pair) {
        self.entries.remove(pair);
    }

    /// Removes a live connection in order to process it elsewhere; [`Self::return_lent`] returns it.
    pub(super) fn lend(&mut self, pair: &Pair) -> Option<Box<Connection>> {
        match self.entries.remove(pair)? {
            Entry::Live(connection) => Some(connection),
            Entry::HalfOpen(_) | Entry::Closed(_) => None,
        }
    }

    /// Returns a connection that was lent.
    pub(super) fn return_lent(&mut self, pair: Pair, connection: Box<Connection>) {
        self.entries.insert(pair, Entry::Live(connection));
    }

    /// Returns whether a live connection is due to be checked, or late data to be reported.
    pub(super) fn has_due(&self, now: Timestamp) -> bool {
        [&self.endings, &self.late].iter().any(|dues| dues.front().is_some_and(|due| due.at <= now))
    }

    /// Turns a live connection into a closed one.
    pub(super) fn close(&mut self, pair: Pair, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&pair) else { return };
        let Entry::Live(connection) = entry else { return };
        let closed = Closed::of(connection);
        let serial = closed.serial;
        *entry = Entry::Closed(closed);
        self.live_count -= 1;
        let at = now.later(REMEMBER_CLOSED);
        self.closed.push_back(Due { at, pair, serial });
        self.next_due = if self.closed.len() > MAX_CLOSED { NEVER } else { self.next_due.min(at) };
    }

    /// Schedules a check of a connection that seems to have ended.
    pub(super) fn watch_ending(&mut self, pair: Pair, serial: u64, now: Timestamp, micros: u64) {
        let at = now.later(micros);
        self.endings.push_back(Due { at, pair, serial });
        self.next_due = self.next_due.min(at);
    }

    /// Returns whether a deadline may have passed.
    #[inline]
    pub(super) fn is_due(&mut self, now: Timestamp) -> bool {
        if now.max(self.passed) >= self.next_due {
            return true;
        }
        self.passed = NEVER;
        false
    }

    /// Updates the first deadline after all due ones were handled.
    pub(super) fn update_next_due(&mut self) {
        let fronts = [&self.endings, &self.late, &self.closed].map(|dues| dues.front().map(|due| due.at));
        self.next_due = fronts.into_iter().flatten().min().unwrap_or(LAST);
    }

    /// Returns the next connection that seems to have ended and is due to be checked.
    pub(super) fn due_ending(&mut self, now: Timestamp) -> Option<Pair> {
        while self.endings.front().is_some_and(|due| due.at <= now) {
            let due = self.endings.pop_front()?;
            if matches!(self.entries.get(&due.pair), Some(Entry::Live(found)) if found.serial == due.serial) {
                return Some(due.pair);
            }
        }
        None
    }

    /// Records a segment that arrived after the end of its connection.
    pub(super) fn record_late(&mut self, pair: Pair, segment: &Segment<'_>, origin: Origin) {
        let Some(Entry::Closed(closed)) = self.entries.get_mut(&pair) else { return };
        if closed.record_late(segment, origin) {
            let at = origin.ts.later(LATE_REPORT_DELAY);
            self.late.push_back(Due { at, pair, serial: closed.serial });
            self.next_due = self.next_due.min(at);
        }
    }

    /// Returns the next closed connection whose late data is due to be reported; any with late data, if `now` is `None`.
    pub(super) fn due_late(&mut self, now: Option<Timestamp>) -> Option<&mut Closed> {
        while self.late.front().is_some_and(|due| now.is_none_or(|now| due.at <= now)) {
            let due = self.late.pop_front()?;
            if matches!(self.entries.get(&due.pair), Some(Entry::Closed(found)) if found.serial == due.serial) {
                return match self.entries.get_mut(&due.pair) {
                    Some(Entry::Closed(closed)) => Some(closed),
                    _ => None,
                };
            }
        }
        None
    }

    /// Advances the time without handling the deadlines of closed connections.
    pub(super) fn advance_time(&mut self, now: Timestamp) {
        self.passed = self.passed.max(now);
    }

    /// Removes closed connections whose time has passed and that have no unreported late data; and the oldest ones above the
    /// limit. Calls `forgotten` for each.
    pub(super) fn forget_closed(&mut self, now: Timestamp, mut forgotten: impl FnMut(&Closed)) {
        let now = now.max(std::mem::replace(&mut self.passed, NEVER));
        loop {
            let are_too_many = self.closed.len() > MAX_CLOSED;
            if !are_too_many && self.closed.front().is_none_or(|due| due.at > now) {
                return;
            }
            let Some(due) = self.closed.pop_front() else { return };
            match self.entries.get(&due.pair) {
                Some(Entry::Closed(found)) if found.serial == due.serial && found.has_late() && !are_too_many => {
                    self.closed.push_back(Due { at: now.later(LATE_REPORT_DELAY), ..due });
                }
                Some(Entry::Closed(found)) if found.serial == due.serial => {
                    forgotten(found);
                    self.entries.remove(&due.pair);
                }
                _ => {}
            }
        }
    }

    /// Removes and returns the least recently used live connection, if there are too many.
    pub(super) fn evict(&mut self) -> Option<Box<Connection>> {
        while self.live_count > self.max_live {
            let Reverse(due) = self.live.pop()?;
            match self.entries.get(&due.pair) {
                Some(Entry::Live(found)) if found.serial == due.serial => {
                    if found.active_at() > due.at {
                        self.live.push(Reverse(Due { at: found.active_at(), ..due }));
                    } else if let Some(Entry::Live(connection)) = self.entries.remove(&due.pair) {
                        self.live_count -= 1;
                        return Some(connection);
                    }
                }
                _ => {}
            }
        }
        if self.live.len() > 2 * self.live_count + 1_024 {
            // More than half of the entries belong to connections that were closed since.
            let entries = &self.entries;
            self.live.retain(
                |Reverse(due)| matches!(entries.get(&due.pair), Some(Entry::Live(found)) if found.serial == due.serial),
            );
        }
        None
    }

    /// Removes all connections and returns the live ones, sorted by age.
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
