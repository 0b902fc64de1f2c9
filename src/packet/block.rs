//! Packets in one buffer, with the segments that they carry: what threads hand to each other.

use std::ops::Range;

use super::{LinkType, NotTcp, Packet, Segment, decode};
use crate::time::Timestamp;

/// Packets, in their order.
#[derive(Debug, Default)]
pub struct Block {
    packets: Vec<Found>,
    bytes: Vec<u8>,
}

/// A packet whose bytes are in a block.
#[derive(Debug)]
struct Found {
    ts: Timestamp,
    link: LinkType,
    orig_len: u32,
    data: Range<usize>,
    /// Its segment but for the payload, and where that is.
    segment: Result<(Segment<'static>, Range<usize>), NotTcp>,
}

impl Block {
    /// How many packets there are.
    pub const fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// How many bytes they have.
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Copies a packet behind the others, and decodes it.
    pub fn push(&mut self, packet: &Packet<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(packet.data);
        let segment = decode(packet).map(|segment| {
            let payload = segment.payload;
            // It is a part of the data.
            let from = start + payload.as_ptr().addr().saturating_sub(packet.data.as_ptr().addr());
            (Segment { payload: &[], ..segment }, from..from + payload.len())
        });
        let Packet { ts, link, orig_len, .. } = *packet;
        self.packets.push(Found { ts, link, orig_len, data: start..self.bytes.len(), segment });
    }

    /// Takes everything out; the buffers are kept.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.bytes.clear();
    }

    /// A packet by its index.
    #[inline]
    pub fn packet(&self, index: usize) -> Option<Packet<'_>> {
        let Found { ts, link, orig_len, ref data, .. } = *self.packets.get(index)?;
        Some(Packet { ts, link, data: self.bytes.get(data.clone()).unwrap_or_default(), orig_len })
    }

    /// What a packet carries, and when it was captured.
    #[inline]
    pub fn segment(&self, index: usize) -> Option<(Timestamp, Result<Segment<'_>, NotTcp>)> {
        let found = self.packets.get(index)?;
        let segment = found.segment.as_ref().map_err(|why| *why).map(|(segment, payload)| {
            let payload = self.bytes.get(payload.clone()).unwrap_or_default();
            Segment { payload, ..*segment }
        });
        Some((found.ts, segment))
    }

    /// How many bytes of a packet were captured.
    pub(crate) fn captured(&self, index: usize) -> usize {
        self.packets.get(index).map_or(0, |found| found.data.len())
    }
}
