//! Connections dissected side by side, on several threads.
//!
//! Most packets only matter to their own connection. A run of such packets, one behind the other, is planned: each is found
//! its connection, and each home of connections a lane. Then the connections are lent to the lanes, which threads take one after
//! the other, and taken back. Whatever else is in a capture (connections that begin and end, what cannot be understood, limits of memory that
//! come near) ends a run, and is dissected by itself.
//!
//! So what is said of a packet is the same as without lanes, byte for byte: in a run, nothing that one connection does can
//! be seen by those of another lane. [`Sink::end_packet`] tells where in the order of packets records belong.

use std::cmp::Reverse;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::connection::Connection;
use super::engine::Engine;
use super::table::{Entry, Pair};
use super::{Config, Dissector, Fate, Sink, accept};
use crate::packet::{self, NotTcp, Origin, Packet, Segment};
use crate::record::Counters;
use crate::session::shared::{HOMES, Shared};
use crate::time::Timestamp;

/// A shorter run is not worth the threads.
const MIN_PACKETS: usize = 128;

/// When it is worth while to plan.
#[derive(Debug, Default)]
pub(super) struct Paces {
    /// Not before this packet.
    from: u64,
    /// How many plans in a row came to nothing.
    failed: u32,
}

/// Packets of which each has its connection.
struct Plan<'p> {
    steps: Vec<Step<'p>>,
    connections: Vec<Pair>,
    /// How many bytes the connections of each home have to take.
    loads: [usize; HOMES],
    /// What only counts.
    counters: Counters,
    /// How many packets these are, when the last was captured, and when the latest.
    packets: usize,
    last: Timestamp,
    latest: Timestamp,
}

/// A packet, and its connection by its place.
struct Step<'p> {
    segment: Segment<'p>,
    origin: Origin,
    place: usize,
}

/// The part of a plan that the connections of a home have.
struct Lane<'a, 'p, S> {
    config: &'a Config,
    shared: &'a mut Shared,
    /// By their places in the plan.
    connections: Vec<Option<Box<Connection>>>,
    /// All of the plan: it takes those of its connections.
    steps: &'a [Step<'p>],
    counters: Counters,
    /// What its connections hold.
    held: usize,
    sink: &'a mut S,
}

impl Dissector {
    /// Whether it is worth while to try [`Self::side_by_side`].
    pub const fn may_run_side_by_side(&self) -> bool {
        self.counters.packets >= self.paces.from
    }

    /// Dissects as many of the next packets as it is worth while side by side, on so many threads, this one among them. Each
    /// sink has the records of some connections. Says how many packets these were: they have been taken as [`Self::packet`]
    /// takes them. Where there are none, the next are for that.
    pub fn side_by_side<'p, S: Sink + Send>(
        &mut self,
        packets: impl Iterator<Item = Packet<'p>>,
        sinks: &mut [S; HOMES],
        threads: usize,
    ) -> usize {
        let mut packets = packets.peekable();
        if packets.peek().is_none() {
            return 0;
        }
        let plan = self.plan(packets);
        let heaviest = plan.loads.iter().max().copied().unwrap_or_default();
        if plan.packets < MIN_PACKETS || heaviest > plan.loads.iter().sum::<usize>() / 4 * 3 {
            self.paces.failed = self.paces.failed.saturating_add(1).min(8);
            self.paces.from = self.counters.packets + ((MIN_PACKETS as u64) << self.paces.failed);
            return 0;
        }
        self.paces.failed = 0;
        self.run(&plan, sinks, threads)
    }

    /// The packets that can be dissected side by side.
    fn plan<'p>(&mut self, packets: impl Iterator<Item = Packet<'p>>) -> Plan<'p> {
        let mut plan = Plan {
            steps: Vec::new(),
            connections: Vec::new(),
            loads: [0; HOMES],
            counters: Counters::default(),
            packets: 0,
            last: self.now,
            latest: self.now,
        };
        if !self.waiting.is_empty() {
            return plan;
        }
        let first = self.counters.packets + 1;
        let mut bytes = 0;
        for packet in packets {
            let segment = match packet::decode(&packet) {
                Ok(segment) => Some(segment),
                Err(NotTcp::Other) => None,
                Err(NotTcp::UnknownLink | NotTcp::Fragment | NotTcp::Damaged) => break,
            };
            bytes += packet.data.len();
            if self.table.has_due_reset(packet.ts)
                || self.held.saturating_add(4 * bytes) > self.release_at
                || !self.homes.has_room_for(bytes)
            {
                break;
            }
            match segment {
                Some(segment) => {
                    let pair = Pair::of(&segment);
                    match self.table.get_mut(&pair) {
                        Some(Entry::Live(connection)) => {
                            if segment.syn || segment.fin || segment.rst || !connection.is_steady() {
                                break;
                            }
                            if connection.place.0 != first {
                                connection.place = (first, plan.connections.len());
                                plan.connections.push(pair);
                            }
                            if let Some(load) = plan.loads.get_mut(connection.home.index()) {
                                *load += segment.payload.len() + 64;
                            }
                            let origin = Origin { packet: first + plan.packets as u64, ts: packet.ts };
                            plan.steps.push(Step { segment, origin, place: connection.place.1 });
                        }
                        None if !self.config.is_of_interest(&segment) => plan.counters.other_packets += 1,
                        _ => break,
                    }
                }
                None => plan.counters.other_packets += 1,
            }
            plan.packets += 1;
            plan.counters.packets += 1;
            plan.counters.packet_bytes += packet.data.len() as u64;
            plan.last = packet.ts;
            plan.latest = plan.latest.max(packet.ts);
        }
        plan
    }

    fn run<S: Sink + Send>(&mut self, plan: &Plan<'_>, sinks: &mut [S; HOMES], threads: usize) -> usize {
        let lanes = self.homes.each_with_room().zip(sinks).map(|(shared, sink)| Lane {
            config: &self.config,
            shared,
            connections: std::iter::repeat_with(|| None).take(plan.connections.len()).collect(),
            steps: &plan.steps,
            counters: Counters::default(),
            held: 0,
            sink,
        });
        let mut lanes: Vec<_> = lanes.collect();
        let mut held = 0;
        for (place, pair) in plan.connections.iter().enumerate() {
            let Some(connection) = self.table.lend(pair) else { continue };
            held += connection.accounted;
            let Some(lane) = lanes.get_mut(connection.home.index()) else { continue };
            lane.held += connection.accounted;
            if let Some(there) = lane.connections.get_mut(place) {
                *there = Some(connection);
            }
        }
        // Those that take longest come first, so that the threads end at about the same time.
        let mut heaviest_first: Vec<_> = lanes.iter_mut().zip(plan.loads).filter(|(_, load)| *load > 0).collect();
        heaviest_first.sort_by_key(|(_, load)| Reverse(*load));
        let threads = threads.min(heaviest_first.len());
        let next = Mutex::new(heaviest_first.into_iter());
        let work = || {
            while let Some((lane, _)) = { next.lock().unwrap_or_else(PoisonError::into_inner).next() } {
                lane.run();
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        for lane in lanes {
            self.counters += &lane.counters;
            self.held += lane.held;
            for (connection, pair) in lane.connections.into_iter().zip(&plan.connections) {
                if let Some(connection) = connection {
                    self.table.take_back(*pair, connection);
                }
            }
        }
        self.held -= held;
        self.counters += &plan.counters;
        self.now = plan.last;
        self.table.forget_closed(plan.latest);
        plan.packets
    }
}

impl<S: Sink> Lane<'_, '_, S> {
    fn run(&mut self) {
        let Self { config, shared, connections, steps, counters, held, sink } = self;
        for Step { segment, origin, place } in *steps {
            let Some(Some(connection)) = connections.get_mut(*place) else { continue };
            let direction = connection.direction_of(segment);
            let mut engine = Engine { config, counters, shared, sink: &mut **sink };
            let fate = accept(&mut engine, connection, direction, segment, *origin, held);
            debug_assert!(matches!(fate, Fate::GoesOn), "a steady connection goes on");
            sink.end_packet(origin.packet);
        }
    }
}
