//! The bytes of a capture on their way from a reader to the packets that borrow from them.

use std::io::{self, Read};
use std::ops::Range;

/// How much is read at a time: large enough to make system calls rare, small enough to stay in a core's own cache.
const INITIAL: usize = 256 * 1024;

/// With less room than this behind the unread bytes they are moved to the front, so that reads do not become small.
const SMALLEST_READ: usize = 64 * 1024;

/// A window onto a stream of bytes.
///
/// It grows only when it is full of bytes that have really arrived: a length that a file announces allocates nothing.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    unread: Range<usize>,
    offset: u64,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; INITIAL], unread: 0..0, offset: 0 }
    }

    /// What has arrived and was not consumed.
    #[inline]
    pub(super) fn unread(&self) -> &[u8] {
        self.get(self.unread.clone())
    }

    /// Where the unread bytes begin in the buffer.
    pub(super) const fn start(&self) -> usize {
        self.unread.start
    }

    /// Where the unread bytes begin in the stream.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Steps over the first `len` unread bytes and says where they are. They stay there until the next [`fill`](Self::fill).
    #[inline]
    pub(super) fn consume(&mut self, len: usize) -> Range<usize> {
        let start = self.unread.start;
        let end = start.saturating_add(len).min(self.unread.end);
        self.unread.start = end;
        self.offset += (end - start) as u64;
        start..end
    }

    /// The bytes at a place that [`consume`](Self::consume) gave.
    #[inline]
    pub(super) fn get(&self, place: Range<usize>) -> &[u8] {
        self.bytes.get(place).unwrap_or_default()
    }

    /// Reads once, to come nearer to having `wanted` unread bytes. 0 means the end of the stream.
    pub(super) fn fill(&mut self, input: &mut impl Read, wanted: usize) -> io::Result<usize> {
        self.make_room(wanted);
        let room = self.bytes.get_mut(self.unread.end..).unwrap_or_default();
        let most = room.len();
        let arrived = input.read(room)?.min(most);
        self.unread.end += arrived;
        Ok(arrived)
    }

    fn make_room(&mut self, wanted: usize) {
        let Range { start, end } = self.unread;
        let missing = wanted.saturating_sub(end - start);
        if start > 0 && (start == end || self.bytes.len() - end < missing.max(SMALLEST_READ)) {
            self.bytes.copy_within(start..end, 0);
            self.unread = 0..end - start;
        }
        if self.unread.end == self.bytes.len() {
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
    }

    /// Gives the bytes away, of which the first `len` unread ones are consumed, and goes on in others.
    pub(super) fn swap(&mut self, len: usize, other: &mut Vec<u8>) {
        self.consume(len);
        std::mem::swap(&mut self.bytes, other);
        let rest = other.get(self.unread.clone()).unwrap_or_default();
        self.bytes.resize(self.bytes.len().max(INITIAL).max(rest.len()), 0);
        if let Some(front) = self.bytes.get_mut(..rest.len()) {
            front.copy_from_slice(rest);
        }
        self.unread = 0..rest.len();
    }

    /// Takes all that has arrived away, as if it had never been part of this stream.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let taken = self.unread().to_vec();
        self.unread = 0..0;
        self.offset = 0;
        taken
    }
}
