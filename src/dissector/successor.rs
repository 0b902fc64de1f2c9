//! Another connection between the same ends, of which no SYN was captured, while the one before it was still open.
//!
//! Its client begins with a startup packet, and none of its numbers is near those of the one before. Anyone can forge that, so it
//! changes nothing until the server answers with the numbers that it has.

use crate::direction::Direction;
use crate::packet::{Endpoint, Origin, Segment};
use crate::session::opening::{self, Opening};
use crate::tcp::conversation::Numbers;

/// The first segment of what may be another connection.
#[derive(Debug)]
pub(super) struct Successor {
    source: Endpoint,
    destination: Endpoint,
    seq: u32,
    ack: u32,
    payload: Vec<u8>,
    /// What brought it.
    pub(super) origin: Origin,
}

/// Whether a segment may begin another connection than the one that has these numbers.
#[inline(always)]
pub(super) fn may_begin(numbers: impl Fn() -> Numbers, direction: Direction, segment: &Segment<'_>) -> bool {
    // No message but a startup packet begins so.
    direction == Direction::Frontend && segment.payload.first() == Some(&0) && begins(&numbers(), segment)
}

#[cold]
fn begins(numbers: &Numbers, segment: &Segment<'_>) -> bool {
    let is_plain = !(segment.syn || segment.fin || segment.rst) && segment.snapped == 0;
    is_plain && numbers.are_far(Direction::Frontend, segment) && opening::of_client(segment.payload) == Opening::Startup
}

impl Successor {
    /// Keeps a segment that [may begin](may_begin) another connection.
    pub(super) fn new(segment: &Segment<'_>, origin: Origin) -> Option<Box<Self>> {
        let Segment { source, destination, seq, ack, payload, .. } = *segment;
        Some(Box::new(Self { source, destination, seq, ack: ack?, payload: payload.to_vec(), origin }))
    }

    /// Whether the server has received it, and says something with the numbers that its client expects.
    pub(super) fn is_answered_by(&self, segment: &Segment<'_>) -> bool {
        let end = self.seq.wrapping_add(self.payload.len() as u32);
        segment.source == self.destination
            && segment.has_payload()
            && (segment.seq, segment.ack) == (self.ack, Some(end))
    }

    /// The segment again.
    pub(super) fn segment(&self) -> Segment<'_> {
        let Self { source, destination, seq, ack, ref payload, .. } = *self;
        let (syn, fin, rst, snapped) = (false, false, false, 0);
        Segment { source, destination, seq, ack: Some(ack), syn, fin, rst, payload, snapped }
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> u64 {
        self.payload.len() as u64
    }
}
