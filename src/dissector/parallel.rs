//! Parallel dissection of connections on several threads.
//!
//! Most packets affect only their own connection. A run of consecutive packets of this kind is planned: each packet is assigned
//! to its connection, and each connection to its shard. Then the connections are lent to the shards, which threads process one
//! after the other, and returned. Anything else in a capture, such as connections that begin or end, undecodable data, or a
//! memory limit that may be reached, ends a run and is dissected sequentially.
//!
//! So the records of a packet are the same as without threads, byte for byte: in a run, no connection can observe the effects of
//! connections of another shard. [`Sink::end_packet`] marks the position of records in the order of packets.

use std::cmp::Reverse;
use std::sync::{Mutex, PoisonError};

use rayon_core::ThreadPool;

use super::connection::Connection;
use super::connection_table::{Entry, Pair, Table};
use super::stream::ConnectionDissector;
use super::successor;
use super::{Common, Config, Dissector, Sink, account};
use crate::direction::Direction;
use crate::packet::{self, Block, Ends, NotTcp, Origin, PlacedSegment, Segment};
use crate::record::Counters;
use crate::session::dialogue::MOST_FOR_A_REQUEST;
use crate::session::shared::{HOMES, ShardId, Shared};
use crate::time::Timestamp;

/// The maximum number of bytes held because of one byte of traffic: the shortest message has five bytes.
const MAX_HELD_PER_BYTE: usize = MOST_FOR_A_REQUEST / 5;

/// The maximum number of bytes held in addition because of one segment: the first buffers of its connection, and the segment
/// itself if it is out of order.
const MAX_HELD_PER_SEGMENT: usize = 2 * MOST_FOR_A_REQUEST;

/// The size of the cache of connections for which no lookup in the table is needed.
const RECENT: usize = 64;

/// The state kept between runs.
#[derive(Debug, Default)]
pub(super) struct Parallel {
    /// No run is planned before this packet.
    from: u64,
    /// The number of consecutive plans without packets.
    failed: u32,
    /// The work of each shard.
    parts: [ShardPlan; HOMES],
}

/// The work of a shard, whose steps must be done in order.
#[derive(Debug, Default)]
struct ShardPlan {
    steps: Vec<PlannedPacket>,
    connections: Vec<Pair>,
    /// The connections while they are lent.
    #[expect(clippy::vec_box, reason = "the table has them in boxes")]
    lent: Vec<Box<Connection>>,
    /// The cost, in bytes of payload.
    load: usize,
}

/// A packet, as an index in the block, and its connection, as an index in the shard's plan.
#[derive(Clone, Copy, Debug)]
struct PlannedPacket {
    packet: u32,
    connection: u32,
    direction: Direction,
    /// The segment, if it is a plain one.
    plain: Option<PlacedSegment>,
}

/// The totals of a plan.
struct Plan {
    packets: usize,
    /// Packets that are only counted.
    counters: Counters,
    /// The time of the last packet, and the latest time.
    last: Timestamp,
    latest: Timestamp,
}

/// A connection that is part of the run.
#[derive(Clone, Copy, Debug)]
struct Known {
    shard: ShardId,
    /// Its index in the shard's plan.
    connection: u32,
    direction: Direction,
}

/// The connection to which a segment belongs.
enum Owner {
    Planned(Known),
    /// No connection that is followed.
    None,
    /// Unknown: the segment may change which connections are followed.
    Uncertain,
}

/// A cache of the connections of the last segments, by their endpoints.
struct Recent([Option<(Ends, Known)>; RECENT]);

impl Recent {
    #[inline(always)]
    fn find(&self, ends: &Ends) -> Option<Known> {
        self.0.get(ends.bits() % RECENT)?.filter(|(kept, _)| kept == ends).map(|(_, known)| known)
    }

    fn keep(&mut self, ends: Ends, known: Known) {
        if let Some(slot) = self.0.get_mut(ends.bits() % RECENT) {
            *slot = Some((ends, known));
        }
    }
}

/// The limits on a run.
struct Limits {
    bytes: usize,
    max_bytes: usize,
    /// The number of bytes that may be held after the run.
    held: usize,
    max_held_after: usize,
}

impl Limits {
    /// Adds a packet with this many bytes of payload. Returns whether it is within the limits.
    #[inline(always)]
    const fn add(&mut self, payload: usize) -> bool {
        self.bytes += payload;
        self.held = self.held.saturating_add(payload * MAX_HELD_PER_BYTE + MAX_HELD_PER_SEGMENT);
        self.held <= self.max_held_after && self.bytes <= self.max_bytes
    }
}

/// The execution of a shard's plan. Aligned so that threads do not share its cache lines.
#[repr(align(128))]
struct ShardRun<'a> {
    part: &'a mut ShardPlan,
    config: &'a Config,
    shared: &'a mut Shared,
    block: &'a Block,
    /// The number of the block's first packet.
    first: u64,
    counters: Counters,
    /// The number of bytes that its connections hold.
    held: usize,
}

impl Dissector {
    /// Returns whether a call of [`Self::in_parallel`] may be worthwhile.
    #[doc(hidden)]
    pub const fn may_run_parallel(&self) -> bool {
        self.common.config.fast_paths && self.common.counters.packets >= self.parallel.from
    }

    /// Dissects packets of a block in parallel, from the one at index `next` on, using one thread for each sink, including the
    /// current one. Each sink receives all records of some connections, then those of others. Returns the number of packets
    /// processed, with the same effects as [`Self::packet`]. If it is 0, because too few packets can be processed in parallel,
    /// [`Self::packet`] has to process the next ones.
    #[doc(hidden)]
    pub fn in_parallel<S: Sink + Send>(
        &mut self,
        block: &Block,
        next: usize,
        at_least: usize,
        threads: &ThreadPool,
        sinks: &mut [S],
    ) -> usize {
        for part in &mut self.parallel.parts {
            part.load = 0;
            part.steps.clear();
            part.connections.clear();
        }
        let plan = self.plan(block, next);
        let loads = || self.parallel.parts.iter().map(|part| part.load);
        if plan.packets < at_least || loads().max().unwrap_or_default() > loads().sum::<usize>() / 4 * 3 {
            self.parallel.failed = self.parallel.failed.saturating_add(1).min(8);
            self.parallel.from = self.common.counters.packets + ((at_least.max(1) as u64) << self.parallel.failed);
            return 0;
        }
        self.parallel.failed = 0;
        self.run(&plan, block, next, threads, sinks);
        plan.packets
    }

    /// Plans a run: finds the packets that can be dissected in parallel, and their connections.
    fn plan(&mut self, block: &Block, next: usize) -> Plan {
        let mut plan = Plan { packets: 0, counters: Counters::default(), last: self.now, latest: self.now };
        if !self.waiting.is_empty() {
            return plan;
        }
        let Some(max_bytes) = self.common.shards.room_for_traffic() else { return plan };
        // The capacity of buffers that are in use may double.
        let held = self.held.saturating_mul(2);
        let mut limits = Limits { bytes: 0, max_bytes, held, max_held_after: self.release_at };
        let mut recent = Recent([None; RECENT]);
        for index in next..block.len() {
            let Some(packet) = block.packet(index) else { break };
            if self.table.has_due(packet.ts) {
                break;
            }
            let outline = packet::outline(&packet);
            let within = outline.as_ref().filter(|outline| outline.is_within());
            let known = within.and_then(|outline| recent.find(&outline.ends));
            let outlined = || outline.as_ref().and_then(|outline| outline.segment(&packet));
            let (found, payload) = match (known, &outline) {
                (Some(known), Some(outline)) if limits.add(outline.payload_len()) => {
                    (Some(known), outline.payload_len())
                }
                (Some(_), _) => break,
                (None, _) => match outlined().map_or_else(|| packet::decode(&packet), Ok) {
                    Ok(segment) if limits.add(segment.payload.len()) => match self.owner(&segment) {
                        Owner::Planned(known) => {
                            if let Some(outline) = &outline {
                                recent.keep(outline.ends, known);
                            }
                            (Some(known), segment.payload.len())
                        }
                        Owner::None => (None, 0),
                        Owner::Uncertain => break,
                    },
                    Err(NotTcp::Other) if limits.add(0) => (None, 0),
                    _ => break,
                },
            };
            match found {
                Some(Known { shard, connection, direction }) => {
                    let part = self.parallel.parts.get_mut(shard.index());
                    let (Some(part), Ok(packet)) = (part, u32::try_from(index)) else { break };
                    let plain = outline.and_then(|outline| outline.plain());
                    part.steps.push(PlannedPacket { packet, connection, direction, plain });
                    part.load += payload;
                }
                None => plan.counters.other_packets += 1,
            }
            plan.packets += 1;
            plan.last = packet.ts;
            plan.latest = plan.latest.max(packet.ts);
            plan.counters.packets += 1;
            plan.counters.packet_bytes += packet.data.len() as u64;
        }
        plan
    }

    /// Finds the connection of a segment, and adds it to the plan of its shard.
    fn owner(&mut self, segment: &Segment<'_>) -> Owner {
        let run = self.common.counters.packets + 1;
        let is_within = !(segment.syn || segment.fin || segment.rst);
        match self.table.get_mut(&Pair::of(segment)) {
            Some(Entry::Live(connection))
                if is_within
                    && connection.is_steady()
                    && !successor::may_begin(
                        || connection.tcp.numbers(),
                        connection.direction_of(segment),
                        segment,
                    ) =>
            {
                let shard = connection.shard;
                let Some(part) = self.parallel.parts.get_mut(shard.index()) else { return Owner::Uncertain };
                if connection.place.0 != run {
                    connection.place = (run, part.connections.len() as u32);
                    part.connections.push(Pair::of(segment));
                }
                let direction = connection.direction_of(segment);
                Owner::Planned(Known { shard, connection: connection.place.1, direction })
            }
            None if !self.common.config.is_of_interest(segment) => Owner::None,
            _ => Owner::Uncertain,
        }
    }

    fn run<S: Sink + Send>(&mut self, plan: &Plan, block: &Block, next: usize, threads: &ThreadPool, sinks: &mut [S]) {
        let Self { parallel: Parallel { parts, .. }, common, table, .. } = self;
        let Common { config, counters, shards } = common;
        let first = (counters.packets + 1).wrapping_sub(next as u64);
        let runs = parts.iter_mut().zip(shards.each_with_room()).map(|(part, shared)| {
            part.lend(table);
            let held = part.held();
            ShardRun { part, config, shared, block, first, counters: Counters::default(), held }
        });
        let mut runs: Vec<_> = runs.filter(|run| !run.part.steps.is_empty()).collect();
        self.held -= runs.iter().map(|run| run.held).sum::<usize>();
        // The longest first, so that the threads finish at about the same time.
        runs.sort_by_key(|run| Reverse(run.part.load));
        let others = runs.len().saturating_sub(1);
        let queue = Mutex::new(runs.iter_mut());
        let work = |sink: &mut S| {
            while let Some(run) = { queue.lock().unwrap_or_else(PoisonError::into_inner).next() } {
                run.run(sink);
            }
        };
        if let Some((own, sinks)) = sinks.split_first_mut() {
            threads.in_place_scope(|scope| {
                for sink in sinks.iter_mut().take(others) {
                    scope.spawn(|_| work(sink));
                }
                work(own);
            });
        }
        for run in runs {
            *counters += &run.counters;
            self.held += run.held;
            run.part.give_back(table);
        }
        *counters += &plan.counters;
        self.now = plan.last;
        table.advance_time(plan.latest);
    }
}

impl ShardPlan {
    /// Lends the connections, which were all in the table when the run was planned.
    fn lend(&mut self, table: &mut Table) {
        self.lent.extend(self.connections.iter().filter_map(|pair| table.lend(pair)));
    }

    fn give_back(&mut self, table: &mut Table) {
        for (connection, pair) in self.lent.drain(..).zip(&self.connections) {
            table.return_lent(*pair, connection);
        }
    }

    /// Returns the number of bytes that its connections hold.
    fn held(&self) -> usize {
        self.lent.iter().map(|connection| connection.accounted).sum()
    }
}

impl ShardRun<'_> {
    fn run(&mut self, sink: &mut impl Sink) {
        let Self { part, config, shared, block, first, counters, held } = self;
        let ShardPlan { steps, lent, .. } = &mut **part;
        for PlannedPacket { packet: index, connection, direction, plain } in &*steps {
            let Some(packet) = block.packet(*index as usize) else { continue };
            let Some(connection) = lent.get_mut(*connection as usize) else { continue };
            let origin = Origin { packet: first.wrapping_add(u64::from(*index)), ts: packet.ts };
            let mut engine = ConnectionDissector { config, counters, shared, sink };
            let plain = plain.and_then(|place| place.plain(&packet));
            let is_next = plain.is_some_and(|plain| engine.accept_next(connection, *direction, &plain, origin));
            // The connection is steady, so a segment without SYN, FIN and RST needs no follow-up work.
            if !is_next && let Ok(segment) = packet::decode(&packet) {
                engine.accept(connection, *direction, &segment, origin);
            }
            sink.end_packet(origin.packet);
        }
        for connection in lent {
            account(held, connection);
        }
    }
}
