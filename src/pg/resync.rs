//! Finding a message boundary where none is known: in a capture that starts midstream, or behind a lost header.
//!
//! A candidate is believed for what follows it: several messages in a row that the direction has, with lengths that fit
//! and bodies that decode.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::frame::Frame;
use super::message::{Context, Message};
use super::message_table::{self, backend};
use crate::direction::Direction;
use crate::reader::Reader;

/// How many bytes are searched before the oldest are given up: what one read of a kernel's socket buffer brings.
pub(super) const WINDOW: usize = 64 * 1024;

/// The bytes of a header: type and length word.
const HEADER: u64 = 5;

/// Whole messages in a row that are believed wherever they stand.
const BELIEVED_CHAIN: usize = 3;

/// Whole messages in a row that are believed where they end with the bytes: senders flush at message boundaries.
const BELIEVED_CHAIN_TO_END: usize = 2;

/// A search for a boundary, that goes on as bytes come.
///
/// A place that may be a boundary is looked at again only when the bytes are there that it waits for. So bytes that come
/// one by one cost no more than bytes that come together.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Places that may yet be believed; the one that waits for the fewest bytes first.
    candidates: BinaryHeap<Reverse<Candidate>>,
    /// Every place before this offset was looked at.
    scanned: u64,
}

/// A place where a message may begin. Offsets count from where the search began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// How far bytes must be there before there is more to tell.
    need: u64,
    at: u64,
    /// Where the message begins that is not whole yet, behind those that are.
    next: u64,
    whole: usize,
}

impl Search {
    /// A search in which everything before `offset` is given up.
    pub(super) fn from(offset: u64) -> Self {
        Self { candidates: BinaryHeap::new(), scanned: offset }
    }

    /// How many bytes are held for it.
    pub(super) fn held(&self) -> usize {
        self.candidates.capacity() * size_of::<Candidate>()
    }

    /// The offset of the first believable message in `bytes`, which begin at `base`: the bytes of earlier calls, less those
    /// at the front that were given up, and the new ones behind them.
    ///
    /// At offset 0, where a segment begins, a single message that fills it is believed.
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
            if candidate.goes_on(direction, bytes, base) {
                found = Some(found.map_or(candidate.at, |found| found.min(candidate.at)));
            } else if candidate.need > end && candidate.need - candidate.at <= 2 * WINDOW as u64 {
                // One that needs more than is ever held cannot be believed.
                self.candidates.push(Reverse(candidate));
            }
        }
        found
    }
}

impl Search {
    /// The offset of a message that is believed now that nothing more comes before a hole or the end: two whole ones with
    /// the header of a third behind them, or a row with the header of another row of as many columns.
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

    /// Looks at what has come; says whether the candidate is believed. One that needs no more bytes and is not believed is
    /// none.
    fn goes_on(&mut self, direction: Direction, bytes: &[u8], base: u64) -> bool {
        let end = base + bytes.len() as u64;
        loop {
            if self.next == end {
                self.need = self.next + 1;
                return self.whole >= BELIEVED_CHAIN_TO_END || self.whole >= 1 && self.at == 0;
            }
            let rest = usize::try_from(self.next - base).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
            match Chain::message(direction, &mut Reader::new(rest)) {
                Some(MessageStart::Whole(len)) => {
                    self.whole += 1;
                    self.next += len;
                    if self.whole >= BELIEVED_CHAIN {
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

/// Whether bytes begin with messages of a direction, as the bytes of a segment mostly do.
pub fn begins_with_message(direction: Direction, bytes: &[u8]) -> bool {
    let chain = Chain::at(direction, bytes);
    chain.whole >= BELIEVED_CHAIN || chain.to_end && chain.whole >= 1
}

/// Whether bytes begin with a message of a direction, or with what may be the beginning of one.
pub fn may_begin_with_message(direction: Direction, bytes: &[u8]) -> bool {
    Chain::message(direction, &mut Reader::new(bytes)).is_some()
}

/// Messages in a row.
struct Chain {
    /// How many are whole and decode.
    whole: usize,
    /// Whether the last one ends where the bytes do.
    to_end: bool,
}

impl Chain {
    fn at(direction: Direction, bytes: &[u8]) -> Self {
        let mut reader = Reader::new(bytes);
        let mut whole = 0;
        while whole < BELIEVED_CHAIN && !reader.is_empty() {
            match Self::message(direction, &mut reader) {
                Some(MessageStart::Whole(_)) => whole += 1,
                Some(MessageStart::Needs(_)) => return Self { whole, to_end: false },
                None => return Self { whole: 0, to_end: false },
            }
        }
        Self { whole, to_end: reader.is_empty() }
    }

    /// What is there of a message; nothing where there can be none.
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
            // One with more than is known may be anything.
            Ok(Message::Bind(bind)) => bind.rest.is_none(),
            decoded => decoded.is_ok(),
        };
        is_believable.then_some(MessageStart::Whole(total))
    }
}

/// What is there of a message.
enum MessageStart {
    /// All of it, of so many bytes.
    Whole(u64),
    /// Too little: so many bytes are needed to tell more.
    Needs(u64),
}
