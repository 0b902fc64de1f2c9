//! Both directions of a connection, delivered in an order in which they can have happened.
//!
//! A segment's acknowledgment number tells how much of the other direction its sender had received. Where the capture
//! recorded a reply before the request that it answers (as several receive queues, or loopback, do), the reply is held
//! until the request was delivered. So a request always comes before its replies, whatever the capture's order.
//!
//! A hole is waited for: a retransmission may fill it, or the capture's order may have put it behind. It is given up when
//! the other side has acknowledged it and [`ACKED_WAIT`] is over, when [`UNACKED_WAIT`] is, when more is held than the
//! limit, or when the connection ends. Then it is delivered as a gap of exactly its size.

use super::assembler::{Assembler, Came, Conflict, Counters, Held, Span, StreamContent};
use crate::direction::{Direction, PerDirection};
use crate::packet::{Origin, Plain, Segment};
use crate::time::Timestamp;

/// How long bytes that the other side has acknowledged may still be on their way to the capture.
pub const ACKED_WAIT: Wait = Wait {
    // Longer than any reordering inside one host, in both measures: a busy connection brings many segments within that
    // time, and an idle one lets much time pass between two.
    micros: 100_000,
    segments: 32,
    // What a person would wait for a line, where little else comes.
    at_most_micros: 3_000_000,
};

/// How long bytes that nobody has acknowledged are waited for: they will be retransmitted, and the intervals between
/// retransmissions double from 1 second (RFC 6298) up.
pub const UNACKED_WAIT: Wait = Wait { micros: 30_000_000, segments: 32, at_most_micros: 120_000_000 };

/// How long to wait: until so much time has passed and so many segments of the connection have come, or so much more time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Microseconds of capture time.
    pub micros: u64,
    /// Segments of either direction.
    pub segments: u64,
    /// Microseconds after which the segments do not matter.
    pub at_most_micros: u64,
}

impl Wait {
    /// For how many microseconds, when so many segments have come.
    const fn micros(self, segments: u64) -> u64 {
        if segments >= self.segments { self.micros } else { self.at_most_micros }
    }
}

/// Whether a segment is held until what its sender had received was delivered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Causal,
    Any,
}

/// The bytes of a connection, both ways.
#[derive(Debug)]
pub struct Conversation {
    sides: PerDirection<Option<Assembler>>,
    /// Whether the first segment seen opened the connection, so that its first bytes are the stream's first.
    start_seen: bool,
    reset: bool,
    /// How many segments have come.
    segments: u64,
    max_held: usize,
    /// How much of the other direction the sender had acknowledged of what was delivered last of what was held.
    last_after: u64,
}

/// What became of a segment's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted<'a> {
    /// It is next in order: these bytes are to be processed now, before [`Conversation::pop`] is asked for more.
    InOrder(&'a [u8]),
    /// It has nothing that could be delivered at once.
    Nothing,
}

/// What is next in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Bytes, or bytes that the snap length cut off.
    Content {
        /// They.
        content: StreamContent,
        /// Whether they also came with other content.
        is_contested: bool,
    },
    /// Bytes that were never captured.
    Missing {
        /// How many.
        bytes: u64,
        /// Why they are not waited for any longer.
        because: GivenUp,
        /// Whether it may as well be the FIN that was not captured.
        may_be_fin: bool,
    },
}

/// Why missing bytes were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// The other side has received the bytes, so they will not be sent again.
    Acknowledged,
    /// [`UNACKED_WAIT`] is over.
    Waited,
    /// More is held behind it than the limit.
    Limit,
    /// Nothing more will come.
    Ended,
}

impl Conversation {
    /// A connection of which nothing was seen. At most about `max_held` bytes that come early are kept.
    pub fn new(max_held: usize) -> Self {
        Self { sides: PerDirection::default(), start_seen: false, reset: false, segments: 0, max_held, last_after: 0 }
    }

    /// Tells that a segment, whatever it looks like, is the first of its direction with data, and answers nothing.
    pub fn begins_with(&mut self, direction: Direction, segment: &Segment<'_>) {
        self.start_seen = true;
        *self.sides.get_mut(direction) = Some(Assembler::new(segment.seq, true));
        *self.sides.get_mut(direction.opposite()) = segment.ack.map(|ack| Assembler::new(ack, true));
    }

    /// Takes a plain segment, if it is next in order and nothing waits. As with [`Accepted::InOrder`], its payload is to be
    /// processed now. Else nothing is taken.
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

    /// Takes a segment.
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
            // What a RST carries is words of the sender's TCP about the reset, not data (RFC 1122, section 4.2.2.12).
            return Accepted::Nothing;
        }

        if let (Some(ack), None, true) = (segment.ack, self.sides.get(peer), self.start_seen) {
            // Nothing of the other side was captured yet. What it sends begins here, unless it was answered already.
            let answers_nothing =
                self.sides.get(direction).as_ref().is_some_and(|side| side.offset_of(first_seq) == Some(0));
            *self.sides.get_mut(peer) = Some(Assembler::new(ack, answers_nothing));
        }
        let after = match (segment.ack, self.sides.get_mut(peer)) {
            (Some(ack), Some(side)) => {
                let acked = side.offset_of(ack).map_or(0, |offset| side.acknowledge(offset));
                // A direction of which the capture has nothing is not waited for.
                if side.is_seen() { acked } else { 0 }
            }
            _ => 0,
        };

        let has_content = !segment.payload.is_empty() || segment.snapped > 0;
        if !has_content && self.sides.get(direction).is_none() {
            return Accepted::Nothing;
        }
        // Where the connection began before the capture, its first byte here is the first that could be seen.
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
                side.keep(offset, Came::Data(payload), Held { after, at: segments, origin });
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

    /// What else can be delivered now, in order.
    ///
    /// `now` is the capture's time. To be called before and after each segment until it says nothing, and at any other time:
    /// what is given up is the same, and in the same order, however often that is.
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

    /// What is held, in order, with its holes given up: the memory is needed for others.
    pub fn pop_for_others(&mut self) -> Option<(Direction, Delivery, Origin)> {
        self.pop_deliverable(Order::Causal).or_else(|| self.pop_blocked(|_| Some((i64::MIN, GivenUp::Limit))))
    }

    /// Gives back what is kept only to be compared with what repeats it.
    pub fn forget_recent(&mut self) {
        for direction in Direction::BOTH {
            if let Some(side) = self.sides.get_mut(direction) {
                side.forget_recent();
            }
        }
    }

    /// Of what [`Self::pop`] has given last in a direction: the sequence number behind it, and what its sender acknowledged.
    pub fn last_numbers(&self, direction: Direction) -> Option<(u32, u32)> {
        let side = self.sides.get(direction).as_ref()?;
        let peer = self.sides.get(direction.opposite()).as_ref().filter(|_| self.last_after > 0)?;
        Some((side.seq_of(side.next()), peer.seq_of(self.last_after)))
    }

    /// What came a second time with other content in a direction, since this was asked last.
    pub fn take_conflict(&mut self, direction: Direction) -> Option<Conflict> {
        self.sides.get_mut(direction).as_mut()?.take_conflict()
    }

    /// The offset of the next byte of a direction, from the first that could be seen.
    pub fn offset(&self, direction: Direction) -> u64 {
        self.sides.get(direction).as_ref().map_or(0, Assembler::next)
    }

    /// What is left at the end, in order: nothing more will come.
    pub fn pop_at_end(&mut self, origin: Origin) -> Option<(Direction, Delivery, Origin)> {
        let because = |acked| if acked { GivenUp::Acknowledged } else { GivenUp::Ended };
        let at_end = |waits: &Waits| Some((i64::MIN, because(waits.acked)));
        if let Some(delivery) = self.pop_deliverable(Order::Causal).or_else(|| self.pop_blocked(at_end)) {
            return Some(delivery);
        }
        // Bytes at the very end, of which only the acknowledgment was seen, or what was sent behind them.
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

    /// Gives up the hole that blocks what is held, where that is due: of several that for which it was so first.
    fn pop_blocked(&mut self, due: impl Fn(&Waits) -> Option<(i64, GivenUp)>) -> Option<(Direction, Delivery, Origin)> {
        let holes = Direction::BOTH.map(|direction| self.hole_before_front(direction));
        let due_holes = holes.iter().flatten().filter_map(|hole| Some((hole, due(&hole.waits)?)));
        match due_holes.min_by_key(|(hole, (due, _))| (*due, hole.waits.origin.packet)) {
            Some((hole, (_, because))) => self.give_up(hole.direction, hole.until, because, hole.waits.origin),
            None if holes.iter().any(Option::is_some) => None,
            // Each side acknowledges what the other has not sent yet. So it looks where a retransmission was captured before
            // what it repeats, which may still come; else no two real ends do so, and any order is right.
            None => {
                let fronts = Direction::BOTH.map(|direction| self.sides.get(direction).as_ref()?.front());
                let first = fronts.iter().flatten().min_by_key(|front| front.held.origin.packet)?;
                let waits = Waits { acked: true, held_at: first.held.at, origin: first.held.origin };
                due(&waits).and_then(|_| self.pop_deliverable(Order::Any))
            }
        }
    }

    /// Delivers the front of a direction, where nothing is missing before it.
    fn pop_deliverable(&mut self, order: Order) -> Option<(Direction, Delivery, Origin)> {
        // Of two that can go, the one that was captured first does.
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

    /// The hole that keeps back what is held of a direction.
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
        // A FIN takes a number, but is no byte.
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

    /// Whether the first byte of a direction that could be seen is the first that was sent; nothing where none was seen.
    pub fn is_from_start(&self, direction: Direction) -> Option<bool> {
        self.sides.get(direction).as_ref().filter(|side| side.is_seen()).map(Assembler::is_from_start)
    }

    /// Which sequence numbers are this connection's.
    pub fn numbers(&self) -> Numbers {
        Numbers(PerDirection::new(|direction| self.sides.get(direction).as_ref().map(Assembler::span)))
    }

    /// Whether all that a direction's sender has sent before its FIN or RST was delivered.
    pub fn has_sent_all(&self, direction: Direction) -> bool {
        self.sides.get(direction).as_ref().is_some_and(Assembler::has_sent_all)
    }

    /// Whether both directions were delivered up to their FIN.
    pub fn is_finished(&self) -> bool {
        Direction::BOTH.iter().all(|d| self.sides.get(*d).as_ref().is_some_and(Assembler::is_finished))
    }

    /// Whether both directions have ended, and each side knows that of the other, though bytes may be missing.
    pub fn is_closed(&self) -> bool {
        Direction::BOTH.iter().all(|d| self.sides.get(*d).as_ref().is_some_and(Assembler::is_fin_acked))
    }

    /// Whether a RST was seen.
    pub const fn is_reset(&self) -> bool {
        self.reset
    }

    /// Forgets a RST that the connection's hosts ignored: one that was forged, or belongs to another connection.
    pub fn forget_reset(&mut self) {
        self.reset = false;
        self.sides.frontend.iter_mut().chain(&mut self.sides.backend).for_each(Assembler::forget_reset);
    }

    /// Whether both sides go on behind a RST: one sends, and the other receives it.
    pub fn outlives_reset(&self) -> bool {
        self.reset && self.sides.frontend.iter().chain(&self.sides.backend).any(Assembler::outlives_reset)
    }

    /// How many bytes are held, with what holding them costs.
    pub fn held(&self) -> usize {
        Direction::BOTH.iter().map(|d| self.sides.get(*d).as_ref().map_or(0, Assembler::held)).sum()
    }

    /// How many bytes are kept only to be compared with what repeats them.
    pub fn recent(&self) -> usize {
        Direction::BOTH.iter().map(|d| self.sides.get(*d).as_ref().map_or(0, Assembler::recent)).sum()
    }

    /// What became of one direction's bytes.
    pub fn counters(&self, direction: Direction) -> Counters {
        self.sides.get(direction).as_ref().map(Assembler::counters).unwrap_or_default()
    }
}

/// The sequence numbers of a connection, by which its segments are told from those of another between the same ends.
#[derive(Clone, Copy, Debug)]
pub struct Numbers(PerDirection<Option<Span>>);

impl Numbers {
    /// Whether a SYN is one of those that opened this connection.
    pub fn opened_with(&self, direction: Direction, syn: &Segment<'_>) -> bool {
        // Where only the answer to a SYN was captured, what it acknowledges may be data that came with it (RFC 7413).
        const MAX_SYN_DATA: u32 = 65_535;
        let first = |direction| self.0.get(direction).as_ref().and_then(|span: &Span| span.first);
        let begins = syn.seq.wrapping_add(1);
        let with_data = begins.wrapping_add(syn.payload.len() as u32).wrapping_add(syn.snapped);
        let acks = syn.ack.zip(first(direction.opposite()));
        let acks = acks.map(|(ack, first)| ack.wrapping_sub(first) <= MAX_SYN_DATA);
        match self.0.get(direction) {
            // Nothing came of this side yet.
            None => acks == Some(true),
            Some(_) => {
                let is_own = first(direction).is_some_and(|first| first == begins || first == with_data);
                is_own && acks != Some(false)
            }
        }
    }

    /// Whether the numbers of a segment may be of this connection.
    pub fn fit(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        let is_near = |direction, seq| self.0.get(direction).as_ref().is_none_or(|span: &Span| span.is_near(seq));
        is_near(direction, segment.seq) && segment.ack.is_none_or(|ack| is_near(direction.opposite(), ack))
    }

    /// Whether neither number of a segment is near those of this connection.
    pub fn are_far(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        let is_far = |direction, seq| self.0.get(direction).as_ref().is_some_and(|span: &Span| !span.is_near(seq));
        is_far(direction, segment.seq) && segment.ack.is_some_and(|ack| is_far(direction.opposite(), ack))
    }

    /// How many bytes a segment brings that lie behind all that was delivered.
    pub fn behind(&self, direction: Direction, segment: &Segment<'_>) -> u64 {
        let len = segment.payload.len() as u64;
        let Some(span) = self.0.get(direction) else { return len };
        let old = i64::from(span.next.wrapping_sub(segment.seq) as i32);
        len.saturating_sub(u64::try_from(old).unwrap_or(0))
    }
}

/// Bytes that were not captured, or not yet, and that keep a held segment back.
struct Hole {
    direction: Direction,
    /// Where it ends.
    until: u64,
    waits: Waits,
}

/// What a held segment waits for.
struct Waits {
    /// Whether the other side has acknowledged the bytes that are missing.
    acked: bool,
    /// How many segments had come with it.
    held_at: u64,
    /// Which packet brought it.
    origin: Origin,
}
