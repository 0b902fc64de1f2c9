//! Frames that lie whole, one behind the other, where nothing has to be carried from one segment to the next.

use super::{Framing, Parsed, parse_header};
use crate::direction::Direction;

/// Frames that lie whole in an input.
#[derive(Clone, Copy, Debug)]
pub struct WholeFrames<'i> {
    direction: Direction,
    max_body: usize,
    rest: &'i [u8],
}

impl<'i> WholeFrames<'i> {
    /// Those of a direction, of any size, in bytes.
    pub const fn new(direction: Direction, bytes: &'i [u8]) -> Self {
        Self::up_to(usize::MAX, direction, bytes)
    }

    /// Those whose bodies have no more than so many bytes.
    pub(super) const fn up_to(max_body: usize, direction: Direction, bytes: &'i [u8]) -> Self {
        Self { direction, max_body, rest: bytes }
    }

    /// What is behind the frames that were taken out.
    pub const fn rest(&self) -> &'i [u8] {
        self.rest
    }

    /// The type byte of the next, if there is one.
    pub fn next_tag(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes out frames that are these bytes. Says whether they were there, and none was as large as may be.
    #[inline(always)]
    pub fn pass(&mut self, bytes: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(bytes).filter(|_| bytes.len() <= self.max_body);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Takes out the next ones, as long as they have a type byte, and `takes` their bodies. Says how many these are.
    #[inline(always)]
    pub fn run(&mut self, tag: u8, mut takes: impl FnMut(&'i [u8]) -> bool) -> (Self, u64) {
        let (start, mut count) = (*self, 0);
        let mut next = start;
        while let Some((next_tag, _, body)) = next.next()
            && next_tag == tag
            && takes(body)
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
