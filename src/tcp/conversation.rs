//! Both directions of a connection, delivered in a causally consistent order.
//!
//! The acknowledgment number of a segment shows how much of the other direction its sender had received. A capture may record a
//! reply before the request that it answers, for instance on the loopback interface or with several receive queues. The reply is
//! then held until the request was delivered, so a request always precedes its replies, whatever the order in the capture.
//!
//! A hole is not reported at once, because a retransmission may fill it, or the capture may have recorded segments out of order.
//! It is given up if the peer has acknowledged it and [`ACKED_WAIT`] has passed, if [`UNACKED_WAIT`] has passed, if more data
//! than the limit is held, or if the connection ends. Then it is delivered as a gap of exactly its size.

use super::assembler::{Assembler, Conflict, Counters, Held, Incoming, Span, StreamContent};
use crate::direction::{Direction, PerDirection};
use crate::packet::{Origin, Plain, Segment};
use crate::time::Timestamp;

/// How long to wait for bytes that the peer has acknowledged but the capture has not recorded yet.
pub const ACKED_WAIT: Wait = Wait {
    // Both limits exceed any reordering inside one host. A busy connection receives many segments within the time; on an idle
    // one, much time may pass between two segments.
    micros: 100_000,
    segments: 32,
    // The longest acceptable delay of a line for a person who watches the output, if the connection is otherwise idle.
    at_most_micros: 3_000_000,
};

/// How long to wait for bytes that were not acknowledged. They will be retransmitted, at intervals that start at 1 second and
/// double (RFC 6298).
pub const UNACKED_WAIT: Wait = Wait { micros: 30_000_000, segments: 32, at_most_micros: 120_000_000 };

/// A waiting time: until both `micros` and `segments` are reached, and at most `at_most_micros`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Microseconds of capture time.
    pub micros: u64,
    /// Segments of either direction.
    pub segments: u64,
    /// Microseconds after which the wait ends however few segments were received.
    pub at_most_micros: u64,
}

impl Wait {
    /// Returns the wait in microseconds, after so many segments were received.
    const fn micros(self, segments: u64) -> u64 {
        if segments >= self.segments { self.micros } else { self.at_most_micros }
    }
}

/// Whether held data is delivered only after everything that its sender had received.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Causal,
    Any,
}

/// The reassembly state of both directions of a connection.
#[derive(Debug)]
pub struct Conversation {
    sides: PerDirection<Option<Assembler>>,
    /// Whether the opening of the connection was captured, so that its first captured bytes are the first that were sent.
    start_seen: bool,
    reset: bool,
    /// The number of segments received.
    segments: u64,
    max_held: usize,
    /// The acknowledgment, as an offset in the other direction, of the held segment delivered last.
    last_after: u64,
}

/// The result of [`Conversation::accept`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted<'a> {
    /// The payload is in order. The caller must process these bytes before it calls [`Conversation::pop`].
    InOrder(&'a [u8]),
    /// Nothing can be delivered at once.
    Nothing,
}

/// Content or a gap, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Captured bytes, or bytes that the snap length cut off.
    Content {
        /// The content.
        content: StreamContent,
        /// Whether different bytes were received for the same sequence numbers.
        is_contested: bool,
    },
    /// Bytes that were not captured.
    Missing {
        /// Their number.
        bytes: u64,
        /// Why they are given up.
        because: GivenUp,
        /// Whether the missing sequence number may be a FIN that was not captured.
        may_be_fin: bool,
    },
}

/// Why missing bytes are no longer waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// The peer has acknowledged the bytes, so they will not be retransmitted.
    Acknowledged,
    /// [`UNACKED_WAIT`] has passed.
    Waited,
    /// More data than the limit is held after them.
    Limit,
    /// The connection or the capture has ended.
    Ended,
}

impl Conversation {
    /// Creates the state of a connection. About `max_held` bytes of out-of-order data are kept at most.
    pub fn new(max_held: usize) -> Self {
        Self { sides: PerDirection::default(), start_seen: false, reset: false, segments: 0, max_held, last_after: 0 }
    }

    /// Starts the connection at a segment with the first data of its direction, sent before any data of the other direction.
    pub fn begins_with(&mut self, direction: Direction, segment: &Segment<'_>) {
        self.start_seen = true;
        *self.sides.get_mut(direction) = Some(Assembler::new(segment.seq, true));
        *self.sides.get_mut(direction.opposite()) = segment.ack.map(|ack| Assembler::new(ack, true));
    }

    /// Accepts a plain segment and returns `true` if it is next in order and nothing is held. As with [`Accepted::InOrder`], the
    /// caller must process its payload at once. Otherwise changes nothing and returns `false`.
    #[inline]
    pub fn accept_next(&mut self, direction: Direction, segment: &Plain<'_>) -> bool {
        let PerDirection { frontend, backend } = &mut self.sides;
        let (side, peer) = match direction {
            Direction::Frontend => (frontend.as_mut(), backend.as_mut()),
            Direction::Backend => (backend.as_mut(), frontend.as_mut()),
        };
        let (Some(side), Some(peer)) = (side, peer) else { return false };
        let nothing_waits = side.is_seen() && peer.is_seen() && !side.has_early() && !peer.has_early();
        match peer.offset_of(segment.ack) {
            Some(acked) if nothing_waits && side.is_next(segment.seq) && acked <= peer.next() => {
                peer.acknowledge(acked);
                side.deliver_in_place(segment.payload);
                self.segments += 1;
                true
            }
            _ => false,
        }
    }

    /// Accepts a segment.
    pub fn accept<'a>(&mut self, direction: Direction, segment: &Segment<'a>, origin: Origin) -> Accepted<'a> {
        self.segments += 1;
        let peer = direction.opposite();
        let first_seq = if segment.syn { segment.seq.wrapping_add(1) } else { segment.seq };
        if segment.syn && self.sides.get(direction).as_ref().is_none_or(|side| !side.is_seen()) {
            if let (Some(ack), None) = (segment.ack, self.sides.get(peer)) {
                *self.sides.get_mut(peer) = Some(Assembler::new(ack, true));
            }
            self.start_seen = true;
            *self.sides.get_mut(direction) = Some(Assembler::new(first_seq, true));
        }
        if segment.rst {
            self.reset |= self.sides.get_mut(direction).as_mut().is_none_or(|side| side.reset_at(segment.seq));
            // The payload of a RST is a diagnostic text, not data (RFC 1122, section 4.2.2.12).
            return Accepted::Nothing;
        }

        if let (Some(ack), None, true) = (segment.ack, self.sides.get(peer), self.start_seen) {
            // Nothing of the other direction was captured yet: its stream begins with the byte acknowledged next. That is the
            // first byte that was sent only if this segment is the first of its own direction.
            let answers_nothing =
                self.sides.get(direction).as_ref().is_some_and(|side| side.offset_of(first_seq) == Some(0));
            *self.sides.get_mut(peer) = Some(Assembler::new(ack, answers_nothing));
        }
        let after = match (segment.ack, self.sides.get_mut(peer)) {
            (Some(ack), Some(side)) => {
                let acked = side.offset_of(ack).map_or(0, |offset| side.acknowledge(offset));
                // Do not wait for a direction that the capture does not contain at all.
                if side.is_seen() { acked } else { 0 }
            }
            _ => 0,
        };

        let has_content = !segment.payload.is_empty() || segment.snapped > 0;
        if !has_content && self.sides.get(direction).is_none() {
            return Accepted::Nothing;
        }
        // The connection was opened before the capture began: the stream begins with its first captured byte.
        let side = self.sides.get_mut(direction).get_or_insert_with(|| Assembler::new(first_seq, false));
        side.mark_seen();
        if !has_content && !segment.fin {
            return Accepted::Nothing;
        }
        self.accept_payload(direction, segment, first_seq, after, origin)
    }

    fn accept_payload<'a>(
        &mut self,
        direction: Direction,
        segment: &Segment<'a>,
        first_seq: u32,
        after: u64,
        origin: Origin,
    ) -> Accepted<'a> {
        let peer_is_there = self.has_delivered(direction.opposite(), after);
        let segments = self.segments;
        let Some(side) = self.sides.get_mut(direction) else { return Accepted::Nothing };
        let mut accepted = Accepted::Nothing;
        if let Some((offset, payload)) = side.fresh(first_seq, segment.payload) {
            if offset == side.next() && !side.has_early() && peer_is_there {
                side.deliver_in_place(payload);
                accepted = Accepted::InOrder(payload);
            } else {
                side.keep(offset, Incoming::Data(payload), Held { after, at: segments, origin });
            }
        }
        let end_seq = first_seq.wrapping_add(segment.payload.len() as u32);
        if segment.snapped > 0
            && let Some(offset) = side.offset_of(end_seq)
        {
            side.keep_snapped(offset, segment.snapped.into(), Held { after, at: segments, origin });
        }
        if segment.fin
            && let Some(offset) = side.offset_of(end_seq.wrapping_add(segment.snapped))
        {
            side.finish_at(offset);
        }
        accepted
    }

    /// Returns what else can be delivered now, in order.
    ///
    /// `now` is the capture's time. Call this before and after each segment until it returns `None`, and at any other time. What
    /// is given up, and in which order, does not depend on how often it is called.
    pub fn pop(&mut self, now: Timestamp) -> Option<(Direction, Delivery, Origin)> {
        if !self.has_early() {
            return None;
        }
        self.pop_deliverable(Order::Causal).or_else(|| {
            let too_much = self.held() > self.max_held;
            let segments = self.segments;
            self.pop_blocked(|waits| {
                if too_much {
                    return Some((i64::MIN, GivenUp::Limit));
                }
                let (wait, because) =
                    if waits.acked { (ACKED_WAIT, GivenUp::Acknowledged) } else { (UNACKED_WAIT, GivenUp::Waited) };
                let due = waits.origin.ts.later(wait.micros(segments - waits.held_at));
                (due <= now).then(|| (due.as_nanos(), because))
            })
        })
    }

    /// Returns held data in order, giving up holes at once, in order to free memory for other connections.
    pub fn pop_to_free_memory(&mut self) -> Option<(Direction, Delivery, Origin)> {
        self.pop_deliverable(Order::Causal).or_else(|| self.pop_blocked(|_| Some((i64::MIN, GivenUp::Limit))))
    }

    /// Frees the bytes kept only for comparison with retransmissions.
    pub fn forget_recent(&mut self) {
        for direction in Direction::BOTH {
            if let Some(side) = self.sides.get_mut(direction) {
                side.forget_recent();
            }
        }
    }

    /// Returns the sequence number after what [`Self::pop`] delivered last in a direction, and the acknowledgment number of that
    /// segment.
    pub fn last_numbers(&self, direction: Direction) -> Option<(u32, u32)> {
        let side = self.sides.get(direction).as_ref()?;
        let peer = self.sides.get(direction.opposite()).as_ref().filter(|_| self.last_after > 0)?;
        Some((side.seq_of(side.next()), peer.seq_of(self.last_after)))
    }

    /// Returns the conflicting retransmissions in a direction since the last call.
    pub fn take_conflict(&mut self, direction: Direction) -> Option<Conflict> {
        self.sides.get_mut(direction).as_mut()?.take_conflict()
    }

    /// Returns the offset of the next byte of a direction, counted from the first captured one.
    pub fn offset(&self, direction: Direction) -> u64 {
        self.sides.get(direction).as_ref().map_or(0, Assembler::next)
    }

    /// Returns what remains, in order, after the last segment of the connection.
    pub fn pop_at_end(&mut self, origin: Origin) -> Option<(Direction, Delivery, Origin)> {
        let because = |acked| if acked { GivenUp::Acknowledged } else { GivenUp::Ended };
        let at_end = |waits: &Waits| Some((i64::MIN, because(waits.acked)));
        if let Some(delivery) = self.pop_deliverable(Order::Causal).or_else(|| self.pop_blocked(at_end)) {
            return Some(delivery);
        }
        // Data at the very end that was not captured, as an acknowledgment, FIN or RST after it shows.
        Direction::BOTH.into_iter().find_map(|direction| {
            let peer_has_closed = self.sides.get(direction.opposite()).as_ref().is_some_and(Assembler::has_fin);
            let side = self.sides.get(direction).as_ref()?;
            let until = side.sent(peer_has_closed);
            if until <= side.next() {
                return None;
            }
            self.give_up(direction, until, because(side.acked() >= until), origin)
        })
    }

    /// Gives up the hole that blocks held data, if its wait is over. Of several holes, the one whose wait ended first goes first.
    fn pop_blocked(&mut self, due: impl Fn(&Waits) -> Option<(i64, GivenUp)>) -> Option<(Direction, Delivery, Origin)> {
        let holes = Direction::BOTH.map(|direction| self.hole_before_front(direction));
        let due_holes = holes.iter().flatten().filter_map(|hole| Some((hole, due(&hole.waits)?)));
        match due_holes.min_by_key(|(hole, (due, _))| (*due, hole.waits.origin.packet)) {
            Some((hole, (_, because))) => self.give_up(hole.direction, hole.until, because, hole.waits.origin),
            None if holes.iter().any(Option::is_some) => None,
            // Each direction acknowledges data that the other has not delivered yet. This happens if a retransmission was
            // captured before the original segment, which may still arrive. Otherwise no real peers do this, and any order is
            // right.
            None => {
                let fronts = Direction::BOTH.map(|direction| self.sides.get(direction).as_ref()?.front());
                let first = fronts.iter().flatten().min_by_key(|front| front.held.origin.packet)?;
                let waits = Waits { acked: true, held_at: first.held.at, origin: first.held.origin };
                due(&waits).and_then(|_| self.pop_deliverable(Order::Any))
            }
        }
    }

    /// Delivers the first held piece of a direction, if nothing is missing before it.
    fn pop_deliverable(&mut self, order: Order) -> Option<(Direction, Delivery, Origin)> {
        // If both directions are deliverable, the segment captured first goes first.
        let direction = Direction::BOTH
            .into_iter()
            .filter_map(|direction| {
                let side = self.sides.get(direction).as_ref()?;
                let front = side.front()?;
                let in_order = order == Order::Any || self.has_delivered(direction.opposite(), front.held.after);
                let ready = front.offset <= side.next() && in_order;
                ready.then_some((front.held.origin.packet, direction))
            })
            .min_by_key(|(packet, _)| *packet)
            .map(|(_, direction)| direction)?;
        let side = self.sides.get_mut(direction).as_mut()?;
        self.last_after = side.front()?.held.after;
        let (content, is_contested, origin) = side.deliver_front()?;
        Some((direction, Delivery::Content { content, is_contested }, origin))
    }

    /// Returns the hole that blocks the held data of a direction.
    fn hole_before_front(&self, direction: Direction) -> Option<Hole> {
        let side = self.sides.get(direction).as_ref()?;
        let front = side.front()?;
        if front.offset > side.next() {
            let acked = side.acked() > side.next();
            let until = if acked { front.offset.min(side.acked()) } else { front.offset };
            return Some(Hole {
                direction,
                until,
                waits: Waits { acked, held_at: front.held.at, origin: front.held.origin },
            });
        }
        // The other direction lacks bytes that the sender had received.
        let peer = direction.opposite();
        let side = self.sides.get(peer).as_ref()?;
        // A FIN occupies a sequence number, but is not data.
        let after = side.before_fin(front.held.after);
        let until = side.front().map_or(after, |front_of_peer| front_of_peer.offset.min(after));
        let waits = Waits { acked: true, held_at: front.held.at, origin: front.held.origin };
        (until > side.next()).then_some(Hole { direction: peer, until, waits })
    }

    fn give_up(
        &mut self,
        direction: Direction,
        until: u64,
        because: GivenUp,
        origin: Origin,
    ) -> Option<(Direction, Delivery, Origin)> {
        let side = self.sides.get_mut(direction).as_mut()?;
        let may_be_fin = side.may_be_fin(until);
        let bytes = side.give_up(until);
        Some((direction, Delivery::Missing { bytes, because, may_be_fin }, origin))
    }

    fn has_delivered(&self, direction: Direction, offset: u64) -> bool {
        self.sides.get(direction).as_ref().is_none_or(|side| !side.is_seen() || side.has_reached(offset))
    }

    fn has_early(&self) -> bool {
        Direction::BOTH.iter().any(|d| self.sides.get(*d).as_ref().is_some_and(Assembler::has_early))
    }

    /// Returns whether the first captured byte of a direction is the first that was sent; `None` if none was captured.
    pub fn is_from_start(&self, direction: Direction) -> Option<bool> {
        self.sides.get(direction).as_ref().filter(|side| side.is_seen()).map(Assembler::is_from_start)
    }

    /// Returns the ranges of sequence numbers of the connection.
    pub fn numbers(&self) -> Numbers {
        Numbers(PerDirection::new(|direction| self.sides.get(direction).as_ref().map(Assembler::span)))
    }

    /// Returns whether everything that a direction's sender sent before its FIN or RST was delivered.
    pub fn has_sent_all(&self, direction: Direction) -> bool {
        self.sides.get(direction).as_ref().is_some_and(Assembler::has_sent_all)
    }

    /// Returns whether a RST ended the connection, before which everything of a direction that is known to have been sent was
    /// delivered: what its sender had not sent was never sent.
    pub fn was_reset_after_all(&self, direction: Direction) -> bool {
        self.reset && self.sides.get(direction).as_ref().is_some_and(|side| side.has_delivered_all(true))
    }

    /// Returns whether both directions were delivered up to their FIN.
    pub fn is_finished(&self) -> bool {
        Direction::BOTH.iter().all(|d| self.sides.get(*d).as_ref().is_some_and(Assembler::is_finished))
    }

    /// Returns whether both FINs were acknowledged, even if data is missing.
    pub fn is_closed(&self) -> bool {
        Direction::BOTH.iter().all(|d| self.sides.get(*d).as_ref().is_some_and(Assembler::is_fin_acked))
    }

    /// Returns whether a plausible RST was seen.
    pub const fn is_reset(&self) -> bool {
        self.reset
    }

    /// Discards a RST that both hosts ignored: it was forged, or belongs to another connection.
    pub fn forget_reset(&mut self) {
        self.reset = false;
        self.sides.frontend.iter_mut().chain(&mut self.sides.backend).for_each(Assembler::forget_reset);
    }

    /// Returns whether the connection goes on after a RST: data sent after it was acknowledged.
    pub fn outlives_reset(&self) -> bool {
        self.reset && self.sides.frontend.iter().chain(&self.sides.backend).any(Assembler::outlives_reset)
    }

    /// Returns whether bytes of a direction are known to have been sent that were not delivered yet: they were acknowledged, or later
    /// ones were captured.
    pub fn has_undelivered(&self, direction: Direction) -> bool {
        self.sides.get(direction).as_ref().is_some_and(|side| side.held() > 0 || side.acked() > side.next())
    }

    /// Returns the number of bytes held, including the overhead of holding them.
    pub fn held(&self) -> usize {
        Direction::BOTH.iter().map(|d| self.sides.get(*d).as_ref().map_or(0, Assembler::held)).sum()
    }

    /// Returns the number of bytes kept only for comparison with retransmissions.
    pub fn recent(&self) -> usize {
        Direction::BOTH.iter().map(|d| self.sides.get(*d).as_ref().map_or(0, Assembler::recent)).sum()
    }

    /// Returns the statistics of one direction.
    pub fn counters(&self, direction: Direction) -> Counters {
        self.sides.get(direction).as_ref().map(Assembler::counters).unwrap_or_default()
    }
}

/// The sequence numbers of a connection, used to distinguish its segments from those of another connection between the same
/// endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Numbers(PerDirection<Option<Span>>);

impl Numbers {
    /// Returns whether a SYN is one of those that opened this connection.
    pub fn opened_with(&self, direction: Direction, syn: &Segment<'_>) -> bool {
        // If only the SYN-ACK was captured, it may acknowledge data sent with the SYN (RFC 7413).
        const MAX_SYN_DATA: u32 = 65_535;
        let first = |direction| self.0.get(direction).as_ref().and_then(|span: &Span| span.first);
        let begins = syn.seq.wrapping_add(1);
        let with_data = begins.wrapping_add(syn.payload.len() as u32).wrapping_add(syn.snapped);
        let acks = syn.ack.zip(first(direction.opposite()));
        let acks = acks.map(|(ack, first)| ack.wrapping_sub(first) <= MAX_SYN_DATA);
        match self.0.get(direction) {
            // Nothing was received from this side yet.
            None => acks == Some(true),
            Some(_) => {
                let is_own = first(direction).is_some_and(|first| first == begins || first == with_data);
                is_own && acks != Some(false)
            }
        }
    }

    /// Returns whether the sequence and acknowledgment numbers of a segment may belong to this connection.
    pub fn fit(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        let is_near = |direction, seq| self.0.get(direction).as_ref().is_none_or(|span: &Span| span.is_near(seq));
        is_near(direction, segment.seq) && segment.ack.is_none_or(|ack| is_near(direction.opposite(), ack))
    }

    /// Returns whether both the sequence and the acknowledgment number of a segment are far from those of this connection.
    pub fn are_far(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        let is_far = |direction, seq| self.0.get(direction).as_ref().is_some_and(|span: &Span| !span.is_near(seq));
        is_far(direction, segment.seq) && segment.ack.is_some_and(|ack| is_far(direction.opposite(), ack))
    }

    /// Returns how many bytes of a segment lie after everything delivered so far.
    pub fn new_bytes(&self, direction: Direction, segment: &Segment<'_>) -> u64 {
        let len = segment.payload.len() as u64;
        let Some(span) = self.0.get(direction) else { return len };
        let old = i64::from(span.next.wrapping_sub(segment.seq) as i32);
        len.saturating_sub(u64::try_from(old).unwrap_or(0))
    }
}

/// Bytes that were not captured, or not yet, and that block held data.
struct Hole {
    direction: Direction,
    /// The offset of its end.
    until: u64,
    waits: Waits,
}

/// What decides how long to wait for a hole.
struct Waits {
    /// Whether the peer has acknowledged the missing bytes.
    acked: bool,
    /// The number of segments received when the blocked segment arrived.
    held_at: u64,
    /// The packet that contained the blocked segment.
    origin: Origin,
}
