//! Detection of another connection between the same endpoints, whose SYN was not captured, while the one before it is still open.
//!
//! Its client begins with a startup packet, and none of its numbers is near those of the earlier connection. Anyone can forge
//! that, so it has no effect until the server answers with the expected numbers.

use crate::direction::Direction;
use crate::packet::{Endpoint, Origin, Segment};
use crate::session::opening::{self, Opening};
use crate::tcp::conversation::Numbers;

/// The first segment of a possible new connection.
#[derive(Debug)]
pub(super) struct Successor {
    source: Endpoint,
    destination: Endpoint,
    seq: u32,
    ack: u32,
    payload: Vec<u8>,
    /// The packet that contained it.
    pub(super) origin: Origin,
}

/// Returns whether a segment may begin a new connection, given the numbers of the known one.
#[inline(always)]
pub(super) fn may_begin(numbers: impl Fn() -> Numbers, direction: Direction, segment: &Segment<'_>) -> bool {
    // No message other than a startup packet begins with a zero byte.
    direction == Direction::Frontend && segment.payload.first() == Some(&0) && begins(&numbers(), segment)
}

#[cold]
fn begins(numbers: &Numbers, segment: &Segment<'_>) -> bool {
    let is_plain = !(segment.syn || segment.fin || segment.rst) && segment.snapped == 0;
    is_plain && numbers.are_far(Direction::Frontend, segment) && opening::of_client(segment.payload) == Opening::Startup
}

impl Successor {
    /// Stores a segment that [may begin](may_begin) a new connection.
    pub(super) fn new(segment: &Segment<'_>, origin: Origin) -> Option<Box<Self>> {
        let Segment { source, destination, seq, ack, payload, .. } = *segment;
        Some(Box::new(Self { source, destination, seq, ack: ack?, payload: payload.to_vec(), origin }))
    }

    /// Returns whether a segment of the server acknowledges it, and has the sequence number that the client expects.
    pub(super) fn is_answered_by(&self, segment: &Segment<'_>) -> bool {
        let end = self.seq.wrapping_add(self.payload.len() as u32);
        segment.source == self.destination
            && segment.has_payload()
            && (segment.seq, segment.ack) == (self.ack, Some(end))
    }

    /// Recreates the segment.
    pub(super) fn segment(&self) -> Segment<'_> {
        let Self { source, destination, seq, ack, ref payload, .. } = *self;
        let (syn, fin, rst, window, snapped) = (false, false, false, u16::MAX, 0);
        Segment { source, destination, seq, ack: Some(ack), syn, fin, rst, window, payload, snapped }
    }

    /// Returns the size of its payload.
    pub(super) fn len(&self) -> u64 {
        self.payload.len() as u64
    }
}
