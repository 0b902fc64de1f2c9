//! Packets in one buffer: what threads hand to each other.

use super::{LinkType, Packet};
use crate::time::Timestamp;

/// Packets, in their order.
#[derive(Debug, Default)]
pub struct Block {
    packets: Vec<Found>,
    bytes: Vec<u8>,
}

/// A packet whose bytes are in a block. There is one for each packet, and it goes from one core's cache to another's: it is
/// kept small.
#[derive(Debug)]
struct Found {
    ts: Timestamp,
    link: LinkType,
    orig_len: u32,
    start: u32,
    len: u32,
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

    /// How many bytes they take.
    pub const fn bytes(&self) -> usize {
        self.bytes.len() + self.packets.len() * size_of::<Found>()
    }

    /// Copies a packet behind the others. A block is full, and takes none, with 4 GiB.
    pub fn push(&mut self, packet: &Packet<'_>) {
        let Packet { ts, link, data, orig_len } = *packet;
        let (Ok(start), Ok(len)) = (u32::try_from(self.bytes.len()), u32::try_from(data.len())) else { return };
        self.bytes.extend_from_slice(data);
        self.packets.push(Found { ts, link, orig_len, start, len });
    }

    /// Takes everything out; the buffers are kept.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.bytes.clear();
    }

    /// A packet by its index.
    #[inline]
    pub fn packet(&self, index: usize) -> Option<Packet<'_>> {
        let Found { ts, link, orig_len, start, len } = *self.packets.get(index)?;
        let (start, len) = (start as usize, len as usize);
        Some(Packet { ts, link, data: self.bytes.get(start..start + len).unwrap_or_default(), orig_len })
    }
}
