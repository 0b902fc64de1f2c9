//! Search for a boundary among messages that are longer than what is kept of a stream: parts of the WAL, of base backups, large rows
//! of COPY.
//!
//! Their bodies pass by. What is left of them is their headers, each at the place that the length word of the one before names.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::pg::message_table::{self, backend, frontend};
use crate::reader::Reader;

/// The size of a header, and of the first byte of the body: what is inside of CopyData begins with its own type.
const START: u64 = 6;

/// Which lengths a long CopyData has: servers and clients send parts of 8 KiB at least, and of the WAL 16 pages, of 32 KiB at most,
/// with their header.
const LENGTHS: std::ops::RangeInclusive<u32> = 8_192..=16 * 32_768 + 64;

/// How many headers in a row show that the last one is a boundary.
const ACCEPTED_HEADERS: u8 = 3;

/// How many chains are followed at the same time. Among random bytes, one in a million begins one, which is over within half a million.
const MAX_CHAINS: usize = 1_024;

/// Chains of headers, the one that needs the fewest bytes first.
#[derive(Debug, Default)]
pub(super) struct LongMessages(BinaryHeap<Reverse<Chain>>);

/// A chain of headers. Offsets count from the start of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Chain {
    /// The offset up to which bytes are needed to proceed.
    need: u64,
    /// How many headers there were.
    headers: u8,
    /// The first byte of their bodies.
    kind: u8,
}

impl LongMessages {
    /// Returns the memory held, in bytes.
    pub(super) fn held(&self) -> usize {
        self.0.capacity() * size_of::<Reverse<Chain>>()
    }

    /// Begins a chain at `offset`, where there is this header.
    pub(super) fn begin(&mut self, tag: u8, len: u32, offset: u64) {
        const { assert!(backend::COPY_DATA == frontend::COPY_DATA) };
        if tag == backend::COPY_DATA && LENGTHS.contains(&len) && self.0.len() < MAX_CHAINS {
            self.0.push(Reverse(Chain { need: offset + START, headers: 0, kind: 0 }));
        }
    }

    /// Returns the offset of the first message that is known to be one, by those before it. `bytes` begin at offset `base`.
    pub(super) fn find(&mut self, bytes: &[u8], base: u64) -> Option<u64> {
        let end = base + bytes.len() as u64;
        let mut found: Option<u64> = None;
        while self.0.peek().is_some_and(|Reverse(chain)| chain.need <= end) {
            let Some(Reverse(mut chain)) = self.0.pop() else { break };
            let at = chain.need - START;
            let start = at.checked_sub(base).and_then(|from| usize::try_from(from).ok());
            let Some(len) = start.and_then(|from| bytes.get(from..)).and_then(|bytes| chain.advance(bytes)) else {
                continue;
            };
            if chain.headers >= ACCEPTED_HEADERS {
                found = Some(found.map_or(at, |found| found.min(at)));
            } else {
                chain.need += 1 + u64::from(len);
                self.0.push(Reverse(chain));
            }
        }
        found
    }
}

impl Chain {
    /// Reads the next header. Returns the length word, or `None` if it is none of the chain.
    fn advance(&mut self, bytes: &[u8]) -> Option<u32> {
        let mut reader = Reader::new(bytes);
        let tag = reader.u8("message type").ok()?;
        let len = reader.u32("length word").ok()?;
        let kind = reader.u8("first byte of the body").ok()?;
        let is_next =
            self.headers == 0 || kind == self.kind && (message_table::MIN_LEN..=*LENGTHS.end()).contains(&len);
        (self.headers, self.kind) = (self.headers + 1, kind);
        (is_next && tag == backend::COPY_DATA && len > message_table::MIN_LEN).then_some(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CopyData whose body begins with `kind`.
    fn copy_data(kind: u8, body: usize) -> Vec<u8> {
        let len = u32::try_from(4 + body).unwrap().to_be_bytes();
        let mut message = [&[backend::COPY_DATA][..], &len].concat();
        // Bytes that begin chains as well, each of a length of its own.
        let noise = (0..body as u32).flat_map(|at| {
            let start = [b'd', 0, 0, 0x20 | (at % 31) as u8, at as u8, (at * 7 % 251) as u8];
            start.into_iter().chain([0; 24])
        });
        message.push(kind);
        message.extend(noise.take(body - 1));
        message
    }

    /// Returns where a boundary is found in a stream of which only the newest bytes are kept.
    fn found(stream: &[u8], segment: usize) -> Option<u64> {
        let mut chains = LongMessages::default();
        let mut begun = 0;
        for end in (0..stream.len()).step_by(segment).map(|start| (start + segment).min(stream.len())) {
            let base = end.saturating_sub(10_000 + segment);
            while begun + 5 <= end {
                let mut reader = Reader::new(&stream[begun..]);
                let tag = reader.u8("tag").unwrap();
                chains.begin(tag, reader.u32("length").unwrap(), begun as u64);
                begun += 1;
            }
            if let Some(at) = chains.find(&stream[base..end], base as u64) {
                return Some(at);
            }
        }
        None
    }

    #[test]
    fn the_third_of_several_long_messages_is_found() {
        let part = copy_data(b'w', 131_097);
        let stream = [&part[100..], &part, &part, &part, &copy_data(b'w', 9_000)].concat();
        for segment in [1, 7, 1_448, 60_000] {
            let third = 3 * part.len() - 100;
            assert_eq!(found(&stream, segment), Some(third as u64), "{segment}");
        }
    }

    #[test]
    fn messages_of_different_kinds_are_no_chain() {
        let stream = [b'w', b'k', b'w', b'k', b'w'].map(|kind| copy_data(kind, 20_000)).concat();
        assert_eq!(found(&stream, 1_448), None);
    }

    #[test]
    fn few_chains_are_kept() {
        let mut chains = LongMessages::default();
        for offset in 0..100_000 {
            chains.begin(backend::COPY_DATA, 100_000, offset);
        }
        assert!(chains.held() <= 64 * 1_024, "{}", chains.held());
    }
}
