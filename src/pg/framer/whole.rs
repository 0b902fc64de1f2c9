//! Complete frames at the front of an input, for which nothing has to be carried from one segment to the next.

use super::{Framing, Parsed, parse_header};
use crate::direction::Direction;

/// An iterator over the complete frames at the front of an input.
#[derive(Clone, Copy, Debug)]
pub struct WholeFrames<'i> {
    direction: Direction,
    max_body: usize,
    rest: &'i [u8],
}

impl<'i> WholeFrames<'i> {
    /// Returns the frames of a direction, of any size.
    pub const fn new(direction: Direction, bytes: &'i [u8]) -> Self {
        Self::up_to(usize::MAX, direction, bytes)
    }

    /// Returns the frames whose bodies have at most `max_body` bytes.
    pub(super) const fn up_to(max_body: usize, direction: Direction, bytes: &'i [u8]) -> Self {
        Self { direction, max_body, rest: bytes }
    }

    /// Returns the bytes after the consumed frames.
    pub const fn rest(&self) -> &'i [u8] {
        self.rest
    }

    /// Returns the type byte of the next frame.
    pub fn next_tag(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Consumes frames that equal these bytes. Returns `false` if others follow, or if one of them may exceed the limit.
    #[inline(always)]
    pub fn pass(&mut self, bytes: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(bytes).filter(|_| bytes.len() <= self.max_body);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Consumes consecutive frames with this type byte while `accepts` returns `true` for their bodies. Returns them and their
    /// number.
    #[inline(always)]
    pub fn run(&mut self, tag: u8, mut accepts: impl FnMut(&'i [u8]) -> bool) -> (Self, u64) {
        let (start, mut count) = (*self, 0);
        let mut next = start;
        while let Some((next_tag, _, body)) = next.next()
            && next_tag == tag
            && accepts(body)
        {
            self.rest = next.rest;
            count += 1;
        }
        let bytes = start.rest.get(..start.rest.len() - self.rest.len()).unwrap_or_default();
        (Self { rest: bytes, ..start }, count)
    }
}

impl<'i> Iterator for WholeFrames<'i> {
    /// The type byte, the length word and the body.
    type Item = (u8, u32, &'i [u8]);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let Parsed::Header(header) = parse_header(self.direction, self.rest, Framing::Tagged) else { return None };
        let (frame, rest) = self.rest.split_at_checked(header.total())?;
        let body = frame.get(header.size..).filter(|body| body.len() <= self.max_body)?;
        self.rest = rest;
        Some((header.tag?, header.len, body))
    }
}
