//! Finding a message boundary where none is known: in a capture that starts midstream, or behind a lost header.
//!
//! A candidate is believed for what follows it: several messages in a row that the direction has, with lengths that fit
//! and bodies that decode.

use super::frame::Frame;
use super::message::{Context, Message};
use super::tag;
use crate::direction::Direction;
use crate::reader::Reader;

/// How many bytes are searched before the oldest are given up: what one read of a kernel's socket buffer brings.
pub(super) const WINDOW: usize = 64 * 1024;

/// Whole messages in a row that are believed wherever they stand.
const BELIEVED_CHAIN: usize = 3;

/// Whole messages in a row that are believed where they end with the bytes: senders flush at message boundaries.
const BELIEVED_CHAIN_TO_END: usize = 2;

/// Where in `bytes` the first believable message begins.
///
/// `at_start` says that `bytes` begin with a segment, where a single message that fills it is believed.
pub(super) fn find_boundary(direction: Direction, bytes: &[u8], at_start: bool) -> Option<usize> {
    (0..bytes.len()).find(|&at| {
        let chain = Chain::at(direction, bytes.get(at..).unwrap_or_default());
        chain.whole >= BELIEVED_CHAIN
            || chain.to_end && chain.whole >= BELIEVED_CHAIN_TO_END
            || chain.to_end && chain.whole >= 1 && at_start && at == 0
    })
}

/// Whether bytes begin with messages of a direction, as the bytes of a segment mostly do.
pub fn begins_with_message(direction: Direction, bytes: &[u8]) -> bool {
    let chain = Chain::at(direction, bytes);
    chain.whole >= BELIEVED_CHAIN || chain.to_end && chain.whole >= 1
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
                Some(true) => whole += 1,
                Some(false) => return Self { whole, to_end: false },
                None => return Self { whole: 0, to_end: false },
            }
        }
        Self { whole, to_end: reader.is_empty() }
    }

    /// Whether a message is whole; nothing where there can be none.
    fn message(direction: Direction, reader: &mut Reader<'_>) -> Option<bool> {
        let Ok(tag) = reader.u8("message type") else { return Some(false) };
        let kind = tag::kind(direction, tag)?;
        let Ok(len) = reader.u32("length word") else { return Some(false) };
        if !(tag::MIN_LEN..=kind.max_len).contains(&len) {
            return None;
        }
        let Ok(body) = reader.take((len - tag::MIN_LEN) as usize, "body") else { return Some(false) };
        let frame = Frame { tag: Some(tag), len, body, missing: 0, cut: None };
        Message::decode(direction, &frame, &Context::default()).is_ok().then_some(true)
    }
}
