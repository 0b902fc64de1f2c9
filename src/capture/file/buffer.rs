//! The read buffer of a capture, from which packets borrow.

use std::io::{self, Read};
use std::ops::Range;

/// How much is read at a time: enough to make system calls rare, and small enough to stay in a core's own cache.
const INITIAL: usize = 256 * 1024;

/// If there is less room than this after the unread bytes, they are moved to the front, so that reads do not become small.
const SMALLEST_READ: usize = 64 * 1024;

/// A sliding window over a stream of bytes.
///
/// It grows only when it is full of bytes that have arrived: a length field in a file never causes an allocation.
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

    /// Returns the bytes that have arrived and were not consumed.
    #[inline]
    pub(super) fn unread(&self) -> &[u8] {
        self.get(self.unread.clone())
    }

    /// Returns the position of the unread bytes in the buffer.
    pub(super) const fn start(&self) -> usize {
        self.unread.start
    }

    /// Returns the position of the unread bytes in the stream.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Consumes the first `len` unread bytes and returns their position. They stay there until the next [`fill`](Self::fill).
    #[inline]
    pub(super) fn consume(&mut self, len: usize) -> Range<usize> {
        let start = self.unread.start;
        let end = start.saturating_add(len).min(self.unread.end);
        self.unread.start = end;
        self.offset += (end - start) as u64;
        start..end
    }

    /// Returns the bytes at a position returned by [`consume`](Self::consume).
    #[inline]
    pub(super) fn get(&self, place: Range<usize>) -> &[u8] {
        self.bytes.get(place).unwrap_or_default()
    }

    /// Reads once, towards having `wanted` unread bytes. Returns 0 at the end of the stream.
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

    /// Consumes the first `len` unread bytes and swaps the buffer with `other`, in which reading continues.
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

    /// Removes all unread bytes and returns them, as if they had never been part of this stream.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let taken = self.unread().to_vec();
        self.unread = 0..0;
        self.offset = 0;
        taken
    }
}
