//! Search for a message boundary when none is known: in a capture that starts in the middle of a connection, or after a lost
//! header.
//!
//! A candidate is accepted if several messages follow that the direction allows, with plausible lengths and decodable bodies.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use self::long::LongMessages;
use super::frame::Frame;
use super::message::{Context, Message};
use super::message_table::{self, backend};
use crate::direction::Direction;
use crate::reader::Reader;

mod long;

/// The size of the search window in bytes, after which the oldest bytes are discarded: one read of a kernel's socket buffer.
pub(super) const WINDOW: usize = 64 * 1024;

/// The size of a header: type byte and length word.
const HEADER: u64 = 5;

/// The number of consecutive complete messages that suffices anywhere.
const ACCEPTED_CHAIN: usize = 3;

/// The number of consecutive complete messages that suffices at the end of a segment, because senders flush at message
/// boundaries.
const ACCEPTED_CHAIN_TO_END: usize = 2;

/// An incremental search for a boundary.
///
/// A candidate is examined again only after the bytes it needs have arrived. So the cost does not depend on how the bytes are
/// segmented.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// The open candidates, the one that needs the fewest bytes first.
    candidates: BinaryHeap<Reverse<Candidate>>,
    /// Those whose messages are longer than the window.
    long: LongMessages,
    /// All offsets before this one have been examined.
    scanned: u64,
}

/// An offset at which a message may begin. Offsets count from the start of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// The offset up to which bytes are needed to proceed.
    need: u64,
    at: u64,
    /// The offset of the first incomplete message, after the complete ones.
    next: u64,
    whole: usize,
}

impl Search {
    /// Creates a search that starts at `offset`.
    pub(super) fn from(offset: u64) -> Self {
        Self { scanned: offset, ..Self::default() }
    }

    /// Returns the memory held for the search, in bytes.
    pub(super) fn held(&self) -> usize {
        self.candidates.capacity() * size_of::<Candidate>() + self.long.held()
    }

    /// Returns the offset of the first acceptable message in `bytes`, which begin at offset `base`. They are the bytes of earlier
    /// calls, less those discarded from the front, followed by the new ones.
    ///
    /// At offset 0, where a segment begins, a single message that fills the segment is accepted.
    pub(super) fn find(&mut self, direction: Direction, bytes: &[u8], base: u64) -> Option<u64> {
        let end = base + bytes.len() as u64;
        let seen = self.scanned.max(base);
        let new = usize::try_from(seen - base).ok().and_then(|seen| bytes.get(seen..)).unwrap_or_default();
        for (at, byte) in (seen..).zip(new) {
            if message_table::message_type(direction, *byte).is_some() {
                self.candidates.push(Reverse(Candidate { need: at + HEADER, at, next: at, whole: 0 }));
            }
        }
        self.scanned = end;
        let mut found: Option<u64> = None;
        while self.candidates.peek().is_some_and(|Reverse(candidate)| candidate.need <= end) {
            let Some(Reverse(mut candidate)) = self.candidates.pop() else { break };
            if candidate.at < base {
                continue;
            }
            let is_new = candidate.need == candidate.at + HEADER;
            if candidate.advance(direction, bytes, base) {
                found = Some(found.map_or(candidate.at, |found| found.min(candidate.at)));
                continue;
            }
            let at = usize::try_from(candidate.at - base).unwrap_or(usize::MAX);
            if let (true, Some([tag, length @ ..])) = (is_new, bytes.get(at..).and_then(<[u8]>::first_chunk::<5>)) {
                self.long.begin(*tag, u32::from_be_bytes(*length), candidate.at);
            }
            if candidate.need > end && candidate.need - candidate.at <= 2 * WINDOW as u64 {
                // A candidate that needs more than the window can never be accepted.
                self.candidates.push(Reverse(candidate));
            }
        }
        let long = self.long.find(bytes, base);
        found.into_iter().chain(long).min()
    }
}

impl Search {
    /// Returns the offset of a message that can be accepted because no more bytes precede a hole or the end: two complete
    /// messages followed by the header of a third, or a row followed by the header of another row with as many columns.
    pub(super) fn settle(&self, direction: Direction, bytes: &[u8], base: u64) -> Option<u64> {
        let candidates = self.candidates.iter().map(|Reverse(candidate)| candidate);
        let settled =
            candidates.filter(|candidate| candidate.at >= base && candidate.is_settled(direction, bytes, base));
        settled.map(|candidate| candidate.at).min()
    }
}

impl Candidate {
    fn is_settled(&self, direction: Direction, bytes: &[u8], base: u64) -> bool {
        let from =
            |offset: u64| usize::try_from(offset - base).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
        let begins_another = from(self.next).len() as u64 >= HEADER;
        match self.whole {
            0 => false,
            1 => {
                let columns = |bytes: &[u8]| match *bytes {
                    [backend::DATA_ROW, _, _, _, _, high, low, ..] if direction == Direction::Backend => {
                        Some([high, low])
                    }
                    _ => None,
                };
                columns(from(self.at)).is_some_and(|count| columns(from(self.next)) == Some(count))
            }
            _ => begins_another,
        }
    }

    /// Examines new bytes and returns whether the candidate is accepted. If it is not accepted and needs no more bytes, it is
    /// rejected.
    fn advance(&mut self, direction: Direction, bytes: &[u8], base: u64) -> bool {
        let end = base + bytes.len() as u64;
        loop {
            if self.next == end {
                self.need = self.next + 1;
                return self.whole >= ACCEPTED_CHAIN_TO_END || self.whole >= 1 && self.at == 0;
            }
            let rest = usize::try_from(self.next - base).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
            match Chain::message(direction, &mut Reader::new(rest)) {
                Some(MessageStart::Whole(len)) => {
                    self.whole += 1;
                    self.next += len;
                    if self.whole >= ACCEPTED_CHAIN {
                        return true;
                    }
                }
                Some(MessageStart::Needs(len)) => {
                    self.need = self.next + len;
                    return false;
                }
                None => {
                    self.need = 0;
                    return false;
                }
            }
        }
    }
}

/// Returns whether bytes begin with a complete message of a direction, as the payload of most segments does.
pub fn begins_with_message(direction: Direction, bytes: &[u8]) -> bool {
    let chain = Chain::at(direction, bytes);
    chain.whole >= ACCEPTED_CHAIN || chain.to_end && chain.whole >= 1
}

/// Returns whether bytes begin with a message of a direction, or with a possible prefix of one.
pub fn may_begin_with_message(direction: Direction, bytes: &[u8]) -> bool {
    Chain::message(direction, &mut Reader::new(bytes)).is_some()
}

/// Consecutive messages.
struct Chain {
    /// The number of complete messages that decode.
    whole: usize,
    /// Whether the last one ends at the end of the bytes.
    to_end: bool,
}

impl Chain {
    fn at(direction: Direction, bytes: &[u8]) -> Self {
        let mut reader = Reader::new(bytes);
        let mut whole = 0;
        while whole < ACCEPTED_CHAIN && !reader.is_empty() {
            match Self::message(direction, &mut reader) {
                Some(MessageStart::Whole(_)) => whole += 1,
                Some(MessageStart::Needs(_)) => return Self { whole, to_end: false },
                None => return Self { whole: 0, to_end: false },
            }
        }
        Self { whole, to_end: reader.is_empty() }
    }

    /// Parses one message as far as it is there; `None` if it cannot be a message.
    fn message(direction: Direction, reader: &mut Reader<'_>) -> Option<MessageStart> {
        let Ok(tag) = reader.u8("message type") else { return Some(MessageStart::Needs(1)) };
        let kind = message_table::message_type(direction, tag)?;
        let Ok(len) = reader.u32("length word") else { return Some(MessageStart::Needs(HEADER)) };
        if !(message_table::MIN_LEN..=kind.max_len).contains(&len) {
            return None;
        }
        let total = 1 + u64::from(len);
        let Ok(body) = reader.take((len - message_table::MIN_LEN) as usize, "body") else {
            return Some(MessageStart::Needs(total));
        };
        let frame = Frame::whole(Some(tag), len, body);
        let is_believable = match Message::decode(direction, &frame, &Context::default()) {
            // A Bind with unknown bytes at its end could be anything.
            Ok(Message::Bind(bind)) => bind.rest.is_none(),
            decoded => decoded.is_ok(),
        };
        is_believable.then_some(MessageStart::Whole(total))
    }
}

/// The available part of a message.
enum MessageStart {
    /// A complete message of this size.
    Whole(u64),
    /// Incomplete: at least this many bytes are needed to proceed.
    Needs(u64),
}
