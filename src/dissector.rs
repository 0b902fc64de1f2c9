//! The engine: packets in, records out. It does no I/O, and has no clock other than the capture's.

use std::collections::VecDeque;

use crate::direction::Direction;
use crate::packet::{self, Defragmenter, NotTcp, Origin, Packet, Segment};
use crate::record::Counters;
use crate::session::shared::{ShardId, Shards};
use crate::time::Timestamp;
use crate::tls::keylog::Keys;
use crate::tls::session::MAX_WAIT;

mod closing;
mod config;
mod connection;
mod connection_table;
mod fast_path;
mod loss;
mod messages;
#[cfg(feature = "cli")]
mod open_sessions;
mod parallel;
mod recognition;
mod running;
mod sink;
mod stream;
mod successor;
mod summary;
mod tls;
mod watch;

pub use config::{Clients, Config, KnownSession, Only, Partition, Records};
use connection::Connection;
use connection_table::{Entry, HalfOpen, Owner, Pair, Table};
#[cfg(feature = "cli")]
pub(crate) use open_sessions::OpenSession;
use parallel::Parallel;
pub use sink::{PacketsOf, Sink};
use stream::ConnectionDissector;
use successor::Successor;
use summary::Closing;

/// How long segments of a connection are still processed after a RST, or after the acknowledgments of both FINs, in microseconds:
/// segments in flight, or reordered by the capture, may still arrive. If new data arrives in the second half of this time, the
/// RST did not end the connection.
const AFTER_END: u64 = 1_000_000;

/// The engine: dissects a sequence of packets and emits records.
#[derive(Debug)]
pub struct Dissector {
    common: Common,
    table: Table,
    defragmenter: Defragmenter,
    /// The shard of the next connection.
    next_shard: ShardId,
    /// The number of bytes held for all connections.
    held: usize,
    /// The value of `held` above which connections have to free memory.
    release_at: usize,
    /// The number of the first packet at which statements may be forgotten again.
    forget_from: u64,
    keys: Keys,
    /// The keys' generation at the last lookup.
    keys_seen: u64,
    /// Connections that wait for keys, with their serial number and since when, those that wait longest first.
    waiting: VecDeque<(Timestamp, Pair, u64)>,
    now: Timestamp,
    parallel: Parallel,
}

/// The state shared by all connections.
#[derive(Debug)]
struct Common {
    config: Config,
    counters: Counters,
    shards: Shards,
}

impl Common {
    /// Returns a dissector for the connections of a shard, which emits their records to a sink.
    fn dissector<'a, S: Sink>(&'a mut self, shard: ShardId, sink: &'a mut S) -> ConnectionDissector<'a, S> {
        let Self { config, counters, shards } = self;
        ConnectionDissector { config, counters, shared: shards.of(shard), sink }
    }
}

impl Dissector {
    /// Creates an engine without keys.
    pub fn new(config: Config) -> Self {
        Self::with_keys(config, Keys::default())
    }

    /// Creates an engine that decrypts with these keys. Keys may be added later, and may be shared with other engines.
    pub fn with_keys(config: Config, keys: Keys) -> Self {
        Self {
            table: Table::new(config.max_connections),
            defragmenter: Defragmenter::default(),
            next_shard: Shards::FIRST,
            held: 0,
            release_at: config.max_held,
            forget_from: 0,
            keys_seen: 0,
            waiting: VecDeque::new(),
            parallel: Parallel::default(),
            common: Common {
                counters: Counters::default(),
                shards: Shards::new(
                    config.max_remembered,
                    [config.records.queries, config.parses],
                    config.records.messages.then_some(config.max_message),
                    &keys,
                ),
                config,
            },
            keys,
            now: Timestamp::default(),
        }
    }

    /// Counts a packet that is not dissected, so that later packets keep their numbers.
    pub fn skip_packet(&mut self) {
        self.common.counters.packets += 1;
        self.common.counters.filtered_packets += 1;
    }

    /// Returns the number of connections that began before the capture.
    #[cfg(feature = "cli")]
    pub(crate) const fn midstream_connections(&self) -> u64 {
        self.common.counters.midstream_connections
    }

    /// Returns the number of packets so far.
    #[cfg(feature = "cli")]
    pub(crate) const fn packets(&self) -> u64 {
        self.common.counters.packets
    }

    /// Dissects a packet and emits the records that it completes.
    pub fn packet(&mut self, packet: &Packet<'_>, sink: &mut impl Sink) {
        self.common.counters.packets += 1;
        self.common.counters.packet_bytes += packet.data.len() as u64;
        self.now = packet.ts;
        // Direct calls rather than a function pointer, so that the common one is inlined.
        let decoded = if self.common.config.fast_paths { packet::decode(packet) } else { packet::decode_any(packet) };
        match &decoded {
            Err(NotTcp::Fragment) => {
                self.common.counters.fragments += 1;
                let number = self.common.counters.packets;
                let Some(datagram) = self.defragmenter.add(packet, number) else { return };
                let segment = datagram.segment();
                self.decoded(&segment, sink);
                if let Ok(Segment { source, destination, syn, .. }) = segment {
                    let (ends, fragments) = ([source, destination], datagram.packets());
                    sink.packets(&PacketsOf::Fragments { ends, syn, packet: number, fragments });
                }
            }
            decoded => self.decoded(decoded, sink),
        }
    }

    fn decoded(&mut self, decoded: &Result<Segment<'_>, NotTcp>, sink: &mut impl Sink) {
        match decoded {
            Ok(segment) => {
                let origin = Origin { packet: self.common.counters.packets, ts: self.now };
                // Before the segment is processed, as if it had not arrived.
                self.close_due(origin.packet, sink);
                self.segment(segment, origin, sink);
                if !self.waiting.is_empty() {
                    self.resume_waiting(sink);
                }
            }
            Err(NotTcp::UnknownLink) => self.common.counters.unknown_link_packets += 1,
            Err(NotTcp::Other | NotTcp::Fragment) => self.common.counters.other_packets += 1,
            Err(NotTcp::Damaged) => self.common.counters.damaged_packets += 1,
        }
    }

    /// Advances the time without a packet, as in a live capture.
    pub fn tick(&mut self, now: Timestamp, sink: &mut impl Sink) {
        self.now = self.now.max(now);
        self.defragmenter.expire(self.now);
        self.close_due(self.common.counters.packets + 1, sink);
        self.resume_waiting(sink);
        for connection in self.table.live_mut(|_| ()).into_iter().filter(|connection| connection.tcp.held() > 0) {
            let mut engine = self.common.dissector(connection.shard, sink);
            engine.drain(connection, self.now);
            engine.report_incomplete(connection);
            account(&mut self.held, connection);
        }
    }

    /// Ends every connection, and emits what is incomplete.
    pub fn finish(&mut self, sink: &mut impl Sink) {
        self.report_late(None, sink);
        for mut connection in self.table.drain() {
            let mut engine = self.common.dissector(connection.shard, sink);
            engine.end(&mut connection, Closing::CaptureEnd(self.now));
        }
        self.held = 0;
        self.defragmenter.clear();
    }

    /// Returns the statistics so far.
    pub fn counters(&self) -> Counters {
        let open = self.table.live().filter(|connection| connection.is_counted()).count();
        let keys = self.keys.counts();
        Counters {
            bad_key_lines: keys.bad_lines,
            forgotten_keys: keys.forgotten,
            held_bytes: (self.held + self.defragmenter.held()) as u64,
            open_connections: open as u64,
            lost_fragments: self.defragmenter.lost(),
            forgotten: self.common.shards.forgotten(),
            remembered_bytes: self.common.shards.remembered() as u64,
            ..self.common.counters.clone()
        }
    }

    fn segment(&mut self, segment: &Segment<'_>, origin: Origin, sink: &mut impl Sink) {
        if segment.syn && (segment.fin || segment.rst) {
            // No host sends it, and every host ignores it.
            self.common.counters.other_packets += 1;
            return;
        }
        let pair = Pair::of(segment);
        // The common case: a segment of a live connection.
        if let Some(Entry::Live(connection)) = self.table.get_mut(&pair) {
            let direction = connection.direction_of(segment);
            let Connection { tcp, rival, successor, .. } = &mut **connection;
            if let Some(first) = successor.take_if(|first| first.is_answered_by(segment)) {
                self.close(pair, Closing::Replaced, sink);
                self.end_packets(pair, Some(first.origin.packet), sink);
                self.table.remove(&pair);
                self.segment(&first.segment(), first.origin, sink);
                return self.segment(segment, origin, sink);
            }
            if successor::may_begin(|| tcp.numbers(), direction, segment) {
                *successor = Successor::new(segment, origin);
                return;
            }
            let owner = connection_table::owner(|| tcp.numbers(), rival, direction, segment, origin);
            if owner == Owner::Current {
                let shard = connection.shard;
                let mut engine = self.common.dissector(shard, sink);
                let text_bytes = engine.shared.kept.texts.bytes();
                let outcome = accept(&mut engine, connection, direction, segment, origin, &mut self.held);
                self.common.shards.bound_texts(shard, text_bytes);
                self.after_segment(pair, outcome, origin, sink);
                return;
            }
            let rival = rival.take_if(|_| owner == Owner::Other);
            let Some(rival) = rival else { return };
            self.close(pair, Closing::Replaced, sink);
            self.replace(pair, *rival, origin, sink);
        }
        let has_payload = segment.has_payload();
        let mut has_syn = segment.syn;
        if let Some(Entry::Closed(closed)) = self.table.get_mut(&pair) {
            let begins = segment.syn && has_payload;
            match closed.owner(segment, origin) {
                Owner::Current => {
                    self.common.counters.late_bytes += segment.payload.len() as u64;
                    self.table.record_late(pair, segment, origin);
                    return;
                }
                // A SYN with data starts a new connection at once. It is unlikely to be forged, and its data would not be kept
                // while it waits for an answer.
                Owner::Unclaimed if !begins => return,
                _ => {
                    let rival = closed.rival.take().filter(|_| !begins);
                    self.report_late_of(pair, sink);
                    match rival {
                        Some(rival) => self.replace(pair, *rival, origin, sink),
                        None => {
                            self.end_packets(pair, None, sink);
                            self.table.remove(&pair);
                        }
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
                } else if !has_payload {
                    half_open.acknowledge(segment, origin.ts);
                }
                has_syn = true;
                if !has_payload {
                    return;
                }
                let room = self.common.shards.room_of(self.next_shard);
                match half_open.opening(segment) {
                    Some(opening) => {
                        let mut connection = Connection::opened(&opening, segment, &self.common.config, room, origin);
                        connection.info.first_packet = half_open.first_packet();
                        connection.info.known_since = half_open.known_since();
                        connection
                    }
                    None => Connection::new(segment, &self.common.config, room, origin),
                }
            }
            _ if !self.common.config.is_of_interest(segment) => {
                self.common.counters.other_packets += 1;
                return;
            }
            _ if segment.syn && !has_payload => {
                self.table.insert_half_open(pair, HalfOpen::new(segment, origin), origin.ts);
                return;
            }
            _ => {
                let room = self.common.shards.room_of(self.next_shard);
                let mut connection = Connection::new(segment, &self.common.config, room, origin);
                // A successor began with an earlier packet.
                connection.info.known_since = self.common.counters.packets;
                connection
            }
        };
        self.next_shard = self.next_shard.next();
        if !self.common.config.known_sessions.is_empty() {
            self.identify(&mut connection, has_syn);
        }
        let direction = connection.direction_of(segment);
        let mut engine = self.common.dissector(connection.shard, sink);
        let text_bytes = engine.shared.kept.texts.bytes();
        let outcome = accept(&mut engine, &mut connection, direction, segment, origin, &mut self.held);
        self.common.shards.bound_texts(connection.shard, text_bytes);
        self.table.insert_live(pair, connection);
        self.after_segment(pair, outcome, origin, sink);
        while let Some(mut connection) = self.table.evict() {
            let mut engine = self.common.dissector(connection.shard, sink);
            engine.evict(&mut connection, self.now);
            self.held -= connection.accounted;
            report_end_of_packets(connection.info.conn, origin.packet, None, sink);
        }
    }

    /// Applies what the user knows of a session that began before the capture. Once another connection has begun, or the connection
    /// has ended, the client is another.
    #[cold]
    fn identify(&mut self, connection: &mut Connection, has_syn: bool) {
        let Config { known_sessions, only, .. } = &mut self.common.config;
        let client = connection.info.client.canonical();
        if has_syn || !connection.info.is_midstream {
            known_sessions.remove(&client);
        } else if let Some(known) = known_sessions.get(&client) {
            connection.session.facts_mut().know(&known.identity(), known.process_id);
            connection.info.select(only, &known.identity());
            connection.info.known = Some(Box::new(known.clone()));
        }
    }

    /// Replaces a connection by another between the same ends, of which only SYNs were captured.
    fn replace(&mut self, pair: Pair, mut rival: HalfOpen, origin: Origin, sink: &mut impl Sink) {
        self.end_packets(pair, Some(rival.first_packet()), sink);
        rival.replace(origin.packet);
        self.table.insert_half_open(pair, rival, origin.ts);
    }

    /// Reports that packets between two ends are no longer those of the connection between them.
    fn end_packets(&mut self, pair: Pair, next: Option<u64>, sink: &mut impl Sink) {
        let conn = match self.table.get_mut(&pair) {
            Some(Entry::Live(connection)) => connection.info.conn,
            Some(Entry::Closed(closed)) => closed.number,
            Some(Entry::HalfOpen(_)) | None => 0,
        };
        report_end_of_packets(conn, self.common.counters.packets, next, sink);
    }

    /// Does the follow-up work after a connection has processed a segment.
    fn after_segment(&mut self, pair: Pair, outcome: SegmentOutcome, origin: Origin, sink: &mut impl Sink) {
        match outcome {
            SegmentOutcome::Continues => {}
            SegmentOutcome::Finished => self.close(pair, Closing::Observed, sink),
            SegmentOutcome::Ends { serial } => self.table.watch_ending(pair, serial, origin.ts, AFTER_END),
            SegmentOutcome::Waits { serial } => self.waiting.push_back((origin.ts, pair, serial)),
        }
        if self.held > self.release_at {
            self.release(sink);
        }
        if self.common.counters.packets >= self.forget_from && self.common.shards.is_scarce() {
            self.forget();
        }
    }

    /// Passes new keys to the connections that wait for them, and ends the wait of those that have waited too long.
    fn resume_waiting(&mut self, sink: &mut impl Sink) {
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
            self.common.dissector(connection.shard, sink).resume(connection, self.now);
            account(&mut self.held, connection);
            connection.is_waiting = connection.waits();
            let has_ended = |ended: Origin| connection.tcp.is_finished() || ended.ts.later(AFTER_END) <= self.now;
            if connection.ended.is_some_and(has_ended) && !connection.is_waiting {
                finished.push(*pair);
            }
            connection.is_waiting
        });
        for pair in finished {
            self.close(pair, Closing::Observed, sink);
        }
    }

    /// Forgets statements and portals, first of the sessions that have been idle longest.
    fn forget(&mut self) {
        for connection in self.table.live_mut(Connection::active_at) {
            if self.common.shards.has_room() {
                break;
            }
            connection.session.dialogue_mut().forget(self.common.shards.of(connection.shard));
        }
        // What cannot be forgotten, because it is in use, must not cause another attempt for every packet.
        self.forget_from = self.common.counters.packets + self.table.live().count() as u64;
    }

    /// Frees memory of connections, first of those that have been idle longest. Frees a quarter more than necessary, so that this
    /// is not done for every packet.
    fn release(&mut self, sink: &mut impl Sink) {
        let mut holding = self.table.live_mut(Connection::active_at);
        holding.retain(|connection| connection.accounted > 0);
        for connection in holding {
            if self.held <= self.common.config.max_held / 4 * 3 {
                break;
            }
            self.common.dissector(connection.shard, sink).release(connection);
            account(&mut self.held, connection);
        }
        // Memory that cannot be freed must not cause another attempt for every packet.
        self.release_at = self.common.config.max_held.max(self.held + self.common.config.max_held / 4);
    }

    /// Ends the live connection between two endpoints.
    fn close(&mut self, pair: Pair, closing: Closing, sink: &mut impl Sink) {
        let Some(Entry::Live(connection)) = self.table.get_mut(&pair) else { return };
        // A connection that has ended was not replaced by another, however soon that follows.
        let closing = if connection.ended.is_some() { Closing::Observed } else { closing };
        if !self.common.config.known_sessions.is_empty() {
            self.common.config.known_sessions.remove(&connection.info.client.canonical());
        }
        self.common.dissector(connection.shard, sink).end(connection, closing);
        self.held -= connection.accounted;
        self.table.close(pair, self.now);
    }

    /// Reports the late data of closed connections for which a report is due; of all, if `now` is `None`.
    fn report_late(&mut self, now: Option<Timestamp>, sink: &mut impl Sink) {
        while let Some(closed) = self.table.due_late(now) {
            loss::report_late(closed, &mut self.common.counters, sink);
        }
    }

    /// Reports the late data of one closed connection.
    fn report_late_of(&mut self, pair: Pair, sink: &mut impl Sink) {
        if let Some(Entry::Closed(closed)) = self.table.get_mut(&pair) {
            loss::report_late(closed, &mut self.common.counters, sink);
        }
    }

    /// Ends connections that were reset, or that lack bytes before their end, and forgets those that ended long ago.
    #[inline]
    fn close_due(&mut self, next_packet: u64, sink: &mut impl Sink) {
        if self.table.is_due(self.now) {
            self.close_ended(next_packet, sink);
        }
    }

    fn close_ended(&mut self, next_packet: u64, sink: &mut impl Sink) {
        while let Some(pair) = self.table.due_ending(self.now) {
            let Some(Entry::Live(connection)) = self.table.get_mut(&pair) else { continue };
            let Some(ended) = connection.ended.filter(|ended| ended.ts.later(AFTER_END) <= self.now) else { continue };
            if !connection.tcp.is_closed() && connection.active_at() >= ended.ts.later(AFTER_END / 2) {
                connection.discard_reset();
                continue;
            }
            if connection.waits() {
                // Current keys may still arrive. A client that closes at once answers the server's close_notify with a RST.
                if !std::mem::replace(&mut connection.is_waiting, true) {
                    self.waiting.push_back((self.now, pair, connection.serial));
                }
            } else {
                self.close(pair, Closing::Observed, sink);
            }
        }
        self.report_late(Some(self.now), sink);
        self.table.forget_closed(self.now, |closed| report_end_of_packets(closed.number, next_packet, None, sink));
        self.table.update_next_due();
    }
}

/// The state of a connection after a segment.
enum SegmentOutcome {
    Continues,
    /// Both sides have closed it, and everything before was delivered.
    Finished,
    /// It was reset, or both FINs were acknowledged although bytes are missing. The check is repeated later, because hosts ignore
    /// a forged RST, and bytes may arrive out of order.
    Ends {
        serial: u64,
    },
    /// It now waits for keys.
    Waits {
        serial: u64,
    },
}

/// Passes a segment to a connection.
fn accept(
    engine: &mut ConnectionDissector<'_, impl Sink>,
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
        connection.discard_reset();
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
        engine.report_incomplete(connection);
        SegmentOutcome::Waits { serial: connection.serial }
    } else {
        SegmentOutcome::Continues
    }
}

/// Reports that packets from `before` on are not those of a connection, if it has a number.
fn report_end_of_packets(conn: u64, before: u64, next: Option<u64>, sink: &mut impl Sink) {
    if conn > 0 {
        sink.packets(&PacketsOf::End { conn, before, next });
    }
}

/// Updates the number of held bytes after a connection was processed.
fn account(held: &mut usize, connection: &mut Connection) {
    let now = connection.held();
    *held = *held - connection.accounted + now;
    connection.accounted = now;
}
