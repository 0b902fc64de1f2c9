//! The engine: packets in, records out. No I/O, and no clock but the capture's.

use std::collections::VecDeque;

use crate::direction::Direction;
use crate::packet::{self, Defragmenter, NotTcp, Origin, Packet, Segment};
use crate::pg::message::Decoded;
use crate::pg::text::Text;
use crate::record::{Counters, MessageEvent, MessageRun, Record};
use crate::redaction::Redaction;
use crate::session::facts::Identity;
use crate::session::shared::{ShardId, Shards};
use crate::time::Timestamp;
use crate::tls::keylog::Keys;
use crate::tls::session::MAX_WAIT;

mod connection;
mod connection_table;
mod fast_path;
mod messages;
mod parallel;
mod stream;
mod successor;
mod summary;
mod tls;
mod watch;

use connection::Connection;
use connection_table::{Entry, HalfOpen, Pair, Table, Whose};
use parallel::Parallel;
use stream::Engine;
use successor::Successor;
use summary::Closing;

/// How long after a RST, or the acknowledgments of both FINs, a connection is still listened to, in microseconds: what was in
/// flight, or held back in the capture, still comes. One that still brings something new in the second half of this time
/// has not heeded the RST.
const AFTER_END: u64 = 1_000_000;

/// What a [`Dissector`] looks for, and its limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// The ports of servers. None takes any TCP connection that begins as PostgreSQL's do.
    pub ports: Option<Vec<u16>>,
    /// Whether connections on other ports are taken, too, where they begin as PostgreSQL's do.
    pub other_ports: bool,
    /// The largest message, in bytes of its body, that is kept whole. The rest of a larger one is counted.
    pub max_message: usize,
    /// How many bytes of early segments are held for a connection, before a hole is taken for real.
    pub max_early: usize,
    /// How many bytes of early segments and of unfinished messages are held for all connections together; of more, those
    /// that were silent longest give theirs back.
    pub max_held: usize,
    /// How many connections are followed at a time; of more, the least recently used give way.
    pub max_connections: usize,
    /// How many bytes are kept for SQL texts of prepared statements, and as many for everything else that sessions
    /// remember; of more, what was not used for long is forgotten.
    pub max_remembered: usize,
    /// What is not to be written.
    pub redaction: Redaction,
    /// Whether rows are objects by the names of their columns, where these are known, instead of arrays.
    pub named_rows: bool,
    /// Which records are made.
    pub records: Records,
    /// Of which sessions they are made.
    pub only: Only,
    /// Whether the short ways of the common cases are taken. They give the same, byte for byte; tests compare.
    #[doc(hidden)]
    pub fast_paths: bool,
}

impl Config {
    /// Whether a port is one of those that are named.
    fn names(&self, port: u16) -> bool {
        self.ports.as_ref().is_some_and(|ports| ports.contains(&port))
    }

    /// Whether a segment may begin a connection that is looked at.
    fn is_of_interest(&self, segment: &Segment<'_>) -> bool {
        let port_fits = self.ports.is_none()
            || self.other_ports
            || self.names(segment.source.port)
            || self.names(segment.destination.port);
        port_fits && (segment.syn || segment.has_payload()) && !segment.rst
    }
}

/// The sessions of which a [`Dissector`] makes records: those of one of the users, in one of the databases, of one of the
/// applications. Where a list is empty, all will do. What is not known of a session is none of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// Names of users.
    pub users: Vec<Vec<u8>>,
    /// Names of databases.
    pub databases: Vec<Vec<u8>>,
    /// Names of applications.
    pub applications: Vec<Vec<u8>>,
}

impl Only {
    /// Whether a session is among those that are wanted.
    fn wants(&self, identity: &Identity<'_>) -> bool {
        let among = |wanted: &[Vec<u8>], name: Option<Text<'_>>| {
            wanted.is_empty() || name.is_some_and(|name| wanted.iter().any(|wanted| wanted == name.0))
        };
        among(&self.users, identity.user)
            && among(&self.databases, identity.database)
            && among(&self.applications, identity.application)
    }
}

/// Which records a [`Dissector`] makes, beside those of loss. What is not wanted costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records {
    /// One for each message.
    pub messages: bool,
    /// One for each executed request.
    pub queries: bool,
    /// One for each session that is ready, and one when it has ended.
    pub sessions: bool,
}

impl Records {
    /// All of them.
    pub const ALL: Self = Self { messages: true, queries: true, sessions: true };
}

impl Default for Records {
    fn default() -> Self {
        Self { messages: true, queries: false, sessions: false }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ports: Some(vec![5432]),
            other_ports: false,
            max_message: 16 << 20,
            max_early: 8 << 20,
            max_held: 256 << 20,
            max_connections: 65_536,
            max_remembered: 64 << 20,
            redaction: Redaction::default(),
            named_rows: false,
            records: Records::default(),
            only: Only::default(),
            fast_paths: true,
        }
    }
}

/// Where records go.
pub trait Sink {
    /// Takes a record, which borrows from the packet.
    fn record(&mut self, record: &Record<'_>);

    /// Takes word that all records of a packet, by its number, have been given. It comes where packets are dissected side by
    /// side, whose records are to be put in order.
    fn end_packet(&mut self, _packet: u64) {}

    /// Takes a message before its record is made; decoded, unless its session had no need to look into it. Says how many could
    /// not be decoded, of those that were not: one, or none. One that looks into it later counts that itself.
    #[inline(always)]
    fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) -> u64 {
        let (record, undecoded) = event.to_record(decoded);
        self.record(&Record::Message(record));
        undecoded
    }

    /// Takes messages of data, none of them decoded. Says how many could not be.
    fn data(&mut self, data: &MessageRun<'_>) -> u64 {
        let mut undecoded = 0;
        data.for_each(|event| undecoded += self.message(event, &mut None));
        undecoded
    }
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
    table: Table,
    defragmenter: Defragmenter,
    counters: Counters,
    shards: Shards,
    /// Where the next connection belongs.
    next_shard: ShardId,
    /// What is held for all connections, in bytes.
    held: usize,
    /// How much that may be before connections have to give something back.
    release_at: usize,
    /// The first packet at which statements may be forgotten again.
    forget_from: u64,
    keys: Keys,
    /// How many keys there were when it was looked for them last.
    keys_seen: u64,
    /// Connections that wait for keys, with the number of each and since when, those that wait longest first.
    waiting: VecDeque<(Timestamp, Pair, u64)>,
    now: Timestamp,
    parallel: Parallel,
}

impl Dissector {
    /// An engine that has seen nothing, and has no keys.
    pub fn new(config: Config) -> Self {
        Self::with_keys(config, Keys::default())
    }

    /// An engine that has seen nothing, and decrypts with these keys. They may still grow, and other engines may have them,
    /// too.
    pub fn with_keys(config: Config, keys: Keys) -> Self {
        Self {
            keys_seen: 0,
            waiting: VecDeque::new(),
            table: Table::new(config.max_connections),
            release_at: config.max_held,
            forget_from: 0,
            shards: Shards::new(
                config.max_remembered,
                config.records.queries,
                config.records.messages.then_some(config.max_message),
                &keys,
            ),
            next_shard: Shards::FIRST,
            parallel: Parallel::default(),
            keys,
            config,
            defragmenter: Defragmenter::default(),
            counters: Counters::default(),
            held: 0,
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
        let decode = if self.config.fast_paths { packet::decode } else { packet::decode_any };
        match &decode(packet) {
            Err(NotTcp::Fragment) => {
                self.counters.fragments += 1;
                let Some(datagram) = self.defragmenter.add(packet) else { return };
                self.decoded(&datagram.segment(), sink);
            }
            decoded => self.decoded(decoded, sink),
        }
    }

    fn decoded(&mut self, decoded: &Result<Segment<'_>, NotTcp>, sink: &mut impl Sink) {
        match decoded {
            Ok(segment) => {
                let origin = Origin { packet: self.counters.packets, ts: self.now };
                // First, as it would be if nothing had come.
                self.close_due(sink);
                self.segment(segment, origin, sink);
                if !self.waiting.is_empty() {
                    self.look_for_keys(sink);
                }
            }
            Err(NotTcp::UnknownLink) => self.counters.unknown_link_packets += 1,
            Err(NotTcp::Other | NotTcp::Fragment) => self.counters.other_packets += 1,
            Err(NotTcp::Damaged) => self.counters.damaged_packets += 1,
        }
    }

    /// Tells that time has passed without a packet, as in a live capture.
    pub fn tick(&mut self, now: Timestamp, sink: &mut impl Sink) {
        self.now = self.now.max(now);
        self.defragmenter.expire(self.now);
        self.close_due(sink);
        self.look_for_keys(sink);
        for connection in self.table.live_mut(|_| ()).into_iter().filter(|connection| connection.tcp.held() > 0) {
            let shared = self.shards.of(connection.shard);
            Engine { config: &self.config, counters: &mut self.counters, shared, sink }.drain(connection, self.now);
            account(&mut self.held, connection);
        }
    }

    /// Ends every connection: what is incomplete is said.
    pub fn finish(&mut self, sink: &mut impl Sink) {
        self.report_late(None, sink);
        for mut connection in self.table.drain() {
            let shared = self.shards.of(connection.shard);
            let mut engine = Engine { config: &self.config, counters: &mut self.counters, shared, sink };
            engine.end(&mut connection, Closing::CaptureEnd);
        }
        self.held = 0;
        self.defragmenter.clear();
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        let open = self.table.live().filter(|connection| connection.is_counted()).count();
        let keys = self.keys.counts();
        Counters {
            bad_key_lines: keys.bad_lines,
            forgotten_keys: keys.forgotten,
            held_bytes: (self.held + self.defragmenter.held()) as u64,
            open_connections: open as u64,
            lost_fragments: self.defragmenter.lost(),
            forgotten: self.shards.forgotten(),
            remembered_bytes: self.shards.remembered() as u64,
            ..self.counters.clone()
        }
    }

    fn segment(&mut self, segment: &Segment<'_>, origin: Origin, sink: &mut impl Sink) {
        if segment.syn && (segment.fin || segment.rst) {
            // No host sends it, and none heeds it.
            self.counters.other_packets += 1;
            return;
        }
        let pair = Pair::of(segment);
        // The common case first: a connection that is followed goes on.
        if let Some(Entry::Live(connection)) = self.table.get_mut(&pair) {
            let direction = connection.direction_of(segment);
            let Connection { tcp, rival, successor, .. } = &mut **connection;
            if let Some(first) = successor.take_if(|first| first.is_answered_by(segment)) {
                self.close(pair, Closing::Replaced, sink);
                self.table.remove(&pair);
                self.segment(&first.segment(), first.origin, sink);
                return self.segment(segment, origin, sink);
            }
            if successor::may_begin(|| tcp.numbers(), direction, segment) {
                *successor = Successor::new(segment, origin);
                return;
            }
            let whose = connection_table::whose(|| tcp.numbers(), rival, direction, segment, origin);
            if whose == Whose::Its {
                let shard = connection.shard;
                let shared = self.shards.of(shard);
                let text_bytes = shared.kept.texts.bytes();
                let mut engine = Engine { config: &self.config, counters: &mut self.counters, shared, sink };
                let outcome = accept(&mut engine, connection, direction, segment, origin, &mut self.held);
                self.shards.bound_texts(shard, text_bytes);
                self.accepted(pair, outcome, origin, sink);
                return;
            }
            let rival = rival.take_if(|_| whose == Whose::Anothers);
            let Some(rival) = rival else { return };
            self.close(pair, Closing::Replaced, sink);
            self.table.insert_half_open(pair, *rival, origin.ts);
        }
        let has_payload = segment.has_payload();
        if let Some(Entry::Closed(closed)) = self.table.get_mut(&pair) {
            let begins = segment.syn && has_payload;
            match closed.whose(segment, origin) {
                Whose::Its => {
                    self.counters.late_bytes += segment.payload.len() as u64;
                    self.table.take_late(pair, segment, origin);
                    return;
                }
                // Data with a SYN is no SYN that anyone forges; it is kept nowhere while that is not answered.
                Whose::Nobodys if !begins => return,
                _ => {
                    let rival = closed.rival.take().filter(|_| !begins);
                    self.report_late_of(pair, sink);
                    match rival {
                        Some(rival) => self.table.insert_half_open(pair, *rival, origin.ts),
                        None => self.table.remove(&pair),
                    }
                }
            }
        }
        let mut connection = match self.table.get_mut(&pair) {
            Some(Entry::HalfOpen(half_open)) => {
                if (segment.rst || segment.fin && !has_payload) && !segment.syn {
                    if half_open.is_given_up_by(segment) {
                        self.table.remove(&pair);
                    }
                    return;
                }
                if segment.syn {
                    half_open.note(segment, origin.ts);
                }
                if !has_payload {
                    return;
                }
                let room = self.shards.room_of(self.next_shard);
                match half_open.opening(segment) {
                    Some(opening) => Connection::opened(&opening, segment, &self.config, room, origin),
                    None => Connection::new(segment, &self.config, room, origin),
                }
            }
            _ if !self.config.is_of_interest(segment) => {
                self.counters.other_packets += 1;
                return;
            }
            _ if segment.syn && !has_payload => {
                self.table.insert_half_open(pair, HalfOpen::new(segment, origin), origin.ts);
                return;
            }
            _ => Connection::new(segment, &self.config, self.shards.room_of(self.next_shard), origin),
        };
        self.next_shard = self.next_shard.next();
        let direction = connection.direction_of(segment);
        let shared = self.shards.of(connection.shard);
        let text_bytes = shared.kept.texts.bytes();
        let mut engine = Engine { config: &self.config, counters: &mut self.counters, shared, sink };
        let outcome = accept(&mut engine, &mut connection, direction, segment, origin, &mut self.held);
        self.shards.bound_texts(connection.shard, text_bytes);
        self.table.insert_live(pair, connection);
        self.accepted(pair, outcome, origin, sink);
        while let Some(mut connection) = self.table.evict() {
            let shared = self.shards.of(connection.shard);
            let mut engine = Engine { config: &self.config, counters: &mut self.counters, shared, sink };
            engine.evict(&mut connection);
            self.held -= connection.accounted;
        }
    }

    /// Does what is due when a connection has taken a segment.
    fn accepted(&mut self, pair: Pair, outcome: SegmentOutcome, origin: Origin, sink: &mut impl Sink) {
        match outcome {
            SegmentOutcome::GoesOn => {}
            SegmentOutcome::Finished => self.close(pair, Closing::Observation, sink),
            SegmentOutcome::Ends { serial } => self.table.watch_ending(pair, serial, origin.ts, AFTER_END),
            SegmentOutcome::Waits { serial } => self.waiting.push_back((origin.ts, pair, serial)),
        }
        if self.held > self.release_at {
            self.release(sink);
        }
        if self.counters.packets >= self.forget_from && self.shards.is_scarce() {
            self.forget();
        }
    }

    /// Where keys have come, gives them to the connections that wait; gives up those that have waited too long.
    fn look_for_keys(&mut self, sink: &mut impl Sink) {
        let generation = self.keys.generation();
        let is_new = std::mem::replace(&mut self.keys_seen, generation) != generation;
        let is_due = |since: Timestamp| is_new || self.now.micros_since(since) >= MAX_WAIT;
        if self.waiting.front().is_none_or(|(since, ..)| !is_due(*since)) {
            return;
        }
        let mut finished = Vec::new();
        self.waiting.retain(|(_, pair, serial)| {
            let Some(Entry::Live(connection)) = self.table.get_mut(pair) else { return false };
            if connection.serial != *serial {
                return false;
            }
            let shared = self.shards.of(connection.shard);
            Engine { config: &self.config, counters: &mut self.counters, shared, sink }.resume(connection, self.now);
            account(&mut self.held, connection);
            connection.is_waiting = connection.waits();
            let has_ended = |ended: Origin| connection.tcp.is_finished() || ended.ts.later(AFTER_END) <= self.now;
            if connection.ended.is_some_and(has_ended) && !connection.is_waiting {
                finished.push(*pair);
            }
            connection.is_waiting
        });
        for pair in finished {
            self.close(pair, Closing::Observation, sink);
        }
    }

    /// Forgets statements and portals, of the sessions that were silent longest first.
    fn forget(&mut self) {
        for connection in self.table.live_mut(Connection::active_at) {
            if self.shards.has_room() {
                break;
            }
            connection.session.dialogue_mut().forget(self.shards.of(connection.shard));
        }
        // What cannot be forgotten, for it is under way, must not make this be tried again for every packet.
        self.forget_from = self.counters.packets + self.table.live().count() as u64;
    }

    /// Takes back what connections hold, from those that were silent longest on. A quarter more than has to be, so that it is
    /// not to be done for every packet.
    fn release(&mut self, sink: &mut impl Sink) {
        let mut holding = self.table.live_mut(Connection::active_at);
        holding.retain(|connection| connection.accounted > 0);
        for connection in holding {
            if self.held <= self.config.max_held / 4 * 3 {
                break;
            }
            let shared = self.shards.of(connection.shard);
            Engine { config: &self.config, counters: &mut self.counters, shared, sink }.release(connection);
            account(&mut self.held, connection);
        }
        // What they cannot give back must not make this be tried again for every packet.
        self.release_at = self.config.max_held.max(self.held + self.config.max_held / 4);
    }

    /// Ends the connection that is followed between two ends.
    fn close(&mut self, pair: Pair, closing: Closing, sink: &mut impl Sink) {
        let Some(Entry::Live(connection)) = self.table.get_mut(&pair) else { return };
        let shared = self.shards.of(connection.shard);
        // One that has ended is not replaced by another, however soon that comes.
        let closing = if connection.ended.is_some() { Closing::Observation } else { closing };
        Engine { config: &self.config, counters: &mut self.counters, shared, sink }.end(connection, closing);
        self.held -= connection.accounted;
        self.table.close(pair, self.now);
    }

    /// Tells what came behind the ends of connections, where that is due; where no time is given, of all.
    fn report_late(&mut self, now: Option<Timestamp>, sink: &mut impl Sink) {
        while let Some(closed) = self.table.due_late(now) {
            stream::report_late(closed, &mut self.counters, sink);
        }
    }

    /// Tells what came behind the end of one.
    fn report_late_of(&mut self, pair: Pair, sink: &mut impl Sink) {
        if let Some(Entry::Closed(closed)) = self.table.get_mut(&pair) {
            stream::report_late(closed, &mut self.counters, sink);
        }
    }

    /// Ends connections that were reset, or that lack bytes before their end, and forgets those that ended long ago.
    #[inline]
    fn close_due(&mut self, sink: &mut impl Sink) {
        if self.table.is_due(self.now) {
            self.close_ended(sink);
        }
    }

    fn close_ended(&mut self, sink: &mut impl Sink) {
        while let Some(pair) = self.table.due_ending(self.now) {
            let Some(Entry::Live(connection)) = self.table.get_mut(&pair) else { continue };
            let Some(ended) = connection.ended.filter(|ended| ended.ts.later(AFTER_END) <= self.now) else { continue };
            if !connection.tcp.is_closed() && connection.active_at() >= ended.ts.later(AFTER_END / 2) {
                connection.go_on();
                continue;
            }
            if connection.waits() {
                // Its keys may still come. A client that closes at once answers the server's close_notify with a RST.
                if !std::mem::replace(&mut connection.is_waiting, true) {
                    self.waiting.push_back((self.now, pair, connection.serial));
                }
            } else {
                self.close(pair, Closing::Observation, sink);
            }
        }
        self.report_late(Some(self.now), sink);
        self.table.forget_closed(self.now);
        self.table.look_ahead();
    }
}

/// What becomes of a connection with a segment.
enum SegmentOutcome {
    GoesOn,
    /// Both sides have said their last.
    Finished,
    /// It was reset, or both sides have acknowledged the other's end, though bytes are missing. A forged RST is not heeded, and
    /// bytes may come in another order, which is seen later.
    Ends {
        serial: u64,
    },
    /// It begins to wait for keys.
    Waits {
        serial: u64,
    },
}

/// Gives a connection a segment.
fn accept(
    engine: &mut Engine<'_, impl Sink>,
    connection: &mut Connection,
    direction: Direction,
    segment: &Segment<'_>,
    origin: Origin,
    held: &mut usize,
) -> SegmentOutcome {
    let had_ended = connection.ended.is_some();
    engine.accept(connection, direction, segment, origin);
    account(held, connection);
    if had_ended && connection.tcp.outlives_reset() {
        connection.go_on();
    }
    let had_ended = connection.ended.is_some();
    let has_ended = connection.tcp.is_finished() || connection.tcp.is_closed() || connection.tcp.is_reset();
    if has_ended {
        connection.ended.get_or_insert(origin);
    }
    if connection.tcp.is_finished() && !connection.waits() {
        SegmentOutcome::Finished
    } else if has_ended && !had_ended {
        SegmentOutcome::Ends { serial: connection.serial }
    } else if !connection.is_waiting && connection.waits() {
        connection.is_waiting = true;
        SegmentOutcome::Waits { serial: connection.serial }
    } else {
        SegmentOutcome::GoesOn
    }
}

/// Brings the sum of what is held up to date after a connection was given something.
fn account(held: &mut usize, connection: &mut Connection) {
    let now = connection.held();
    *held = *held - connection.accounted + now;
    connection.accounted = now;
}
