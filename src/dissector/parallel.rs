//! Connections dissected side by side, on several threads.
//!
//! Most packets only matter to their own connection. A run of such packets, one behind the other, is planned: each is found
//! its connection, and each home of connections a lane. Then the connections are lent to the lanes, which threads take one
//! after the other, and taken back. Whatever else is in a capture (connections that begin and end, what cannot be
//! understood, limits of memory that come near) ends a run, and is dissected by itself.
//!
//! So what is said of a packet is the same as without lanes, byte for byte: in a run, nothing that one connection does can
//! be seen by those of another lane. [`Sink::end_packet`] tells where in the order of packets records belong.

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

/// How many bytes a byte of traffic can make be held at most: the shortest message has five.
const MOST_HELD_FOR_A_BYTE: usize = MOST_FOR_A_REQUEST / 5;

/// How many bytes a segment can make be held beside, at most: first buffers of its connection, and itself among those that
/// came too early.
const MOST_HELD_FOR_A_SEGMENT: usize = 2 * MOST_FOR_A_REQUEST;

/// For how many connections it is known without a look at the table where they are.
const RECENT: usize = 64;

/// What is kept from one run for the next.
#[derive(Debug, Default)]
pub(super) struct Parallel {
    /// No run is planned before this packet.
    from: u64,
    /// How many plans in a row came to nothing.
    failed: u32,
    /// What each home has to do.
    parts: [ShardPlan; HOMES],
}

/// Steps that depend on each other.
#[derive(Debug, Default)]
struct ShardPlan {
    steps: Vec<PlannedPacket>,
    connections: Vec<Pair>,
    /// The same, while they are lent.
    #[expect(clippy::vec_box, reason = "the table has them in boxes")]
    lent: Vec<Box<Connection>>,
    /// What it costs, in bytes of payload.
    load: usize,
}

/// A packet, by its place in the block, and its connection, by its place in the part.
#[derive(Clone, Copy, Debug)]
struct PlannedPacket {
    packet: u32,
    connection: u32,
    direction: Direction,
    /// What it is, where its segment is a plain one.
    plain: Option<PlacedSegment>,
}

/// What a plan says of its packets as a whole.
struct Plan {
    packets: usize,
    /// What only counts.
    counters: Counters,
    /// When the last packet was captured, and when the latest.
    last: Timestamp,
    latest: Timestamp,
}

/// Whose segments are that are to be dissected side by side.
#[derive(Clone, Copy, Debug)]
struct Known {
    shard: ShardId,
    /// Its place in the part.
    connection: u32,
    direction: Direction,
}

/// The connection that a segment belongs to.
enum Whose {
    Theirs(Known),
    /// Of no connection that is followed.
    Nobodys,
    /// It may change what is followed.
    Uncertain,
}

/// Whose the last segments were, by their ends: most are of one of these.
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

/// What packets that are dissected side by side may bring.
struct Limits {
    bytes: usize,
    most_bytes: usize,
    /// How many bytes they can make be held, with those that are.
    held: usize,
    most_held: usize,
}

impl Limits {
    /// Takes a packet with so many bytes of payload. Says whether it may.
    #[inline(always)]
    const fn take(&mut self, payload: usize) -> bool {
        self.bytes += payload;
        self.held = self.held.saturating_add(payload * MOST_HELD_FOR_A_BYTE + MOST_HELD_FOR_A_SEGMENT);
        self.held <= self.most_held && self.bytes <= self.most_bytes
    }
}

/// A part, and what it is done with; apart from what other threads write to.
#[repr(align(128))]
struct ShardRun<'a> {
    part: &'a mut ShardPlan,
    config: &'a Config,
    shared: &'a mut Shared,
    block: &'a Block,
    /// The number of the block's first packet.
    first: u64,
    counters: Counters,
    /// What its connections hold.
    held: usize,
}

impl Dissector {
    /// Whether it is worth while to try [`Self::in_parallel`].
    pub const fn may_run_parallel(&self) -> bool {
        self.common.config.fast_paths && self.common.counters.packets >= self.parallel.from
    }

    /// Dissects packets of a block, from one on, in parallel: on this thread with the first sink, and on a thread of the pool for
    /// each of the others. A sink receives all records of some connections, then those of others. Returns how many packets it
    /// dissected, as [`Self::packet`] does; 0, where they would be fewer than `at_least`, or all of one connection: the next are
    /// for [`Self::packet`].
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

    /// Finds the packets that can be dissected side by side, and whose they are.
    fn plan(&mut self, block: &Block, next: usize) -> Plan {
        let mut plan = Plan { packets: 0, counters: Counters::default(), last: self.now, latest: self.now };
        if !self.waiting.is_empty() {
            return plan;
        }
        let Some(most_bytes) = self.common.shards.room_for_traffic() else { return plan };
        // Buffers that hold something may double.
        let held = self.held.saturating_mul(2);
        let mut limits = Limits { bytes: 0, most_bytes, held, most_held: self.release_at };
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
                (Some(known), Some(outline)) if limits.take(outline.payload_len()) => {
                    (Some(known), outline.payload_len())
                }
                (Some(_), _) => break,
                (None, _) => match outlined().map_or_else(|| packet::decode(&packet), Ok) {
                    Ok(segment) if limits.take(segment.payload.len()) => match self.whose(&segment) {
                        Whose::Theirs(known) => {
                            if let Some(outline) = &outline {
                                recent.keep(outline.ends, known);
                            }
                            (Some(known), segment.payload.len())
                        }
                        Whose::Nobodys => (None, 0),
                        Whose::Uncertain => break,
                    },
                    Err(NotTcp::Other) if limits.take(0) => (None, 0),
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

    /// Finds the connection of a segment, and gives it a place in its part.
    fn whose(&mut self, segment: &Segment<'_>) -> Whose {
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
                let Some(part) = self.parallel.parts.get_mut(shard.index()) else { return Whose::Uncertain };
                if connection.place.0 != run {
                    connection.place = (run, part.connections.len() as u32);
                    part.connections.push(Pair::of(segment));
                }
                let direction = connection.direction_of(segment);
                Whose::Theirs(Known { shard, connection: connection.place.1, direction })
            }
            None if !self.common.config.is_of_interest(segment) => Whose::Nobodys,
            _ => Whose::Uncertain,
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
        // Those that take longest come first, so that the threads end at about the same time.
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
        table.pass(plan.latest);
    }
}

impl ShardPlan {
    /// Each was found to be there when it was planned.
    fn lend(&mut self, table: &mut Table) {
        self.lent.extend(self.connections.iter().filter_map(|pair| table.lend(pair)));
    }

    fn give_back(&mut self, table: &mut Table) {
        for (connection, pair) in self.lent.drain(..).zip(&self.connections) {
            table.take_back(*pair, connection);
        }
    }

    /// What its connections hold.
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
            // A steady connection goes on: nothing else becomes of it with a segment that neither opens nor closes it.
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
