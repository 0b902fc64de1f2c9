//! Packets in one buffer: what threads hand to each other.

use std::ops::Range;

use super::{LinkType, Packet};
use crate::time::Timestamp;

/// Packets, in their order.
#[derive(Debug, Default)]
pub struct Block {
    packets: Vec<StoredPacket>,
    bytes: Vec<u8>,
}

/// A packet whose bytes are in a block. There is one for each packet, and it goes from one core's cache to another's: it is
/// kept small.
#[derive(Debug)]
struct StoredPacket {
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
    pub fn bytes(&self) -> usize {
        self.end() + self.packets.len() * size_of::<StoredPacket>()
    }

    /// Where the last packet ends.
    fn end(&self) -> usize {
        self.packets.last().map_or(0, |last| last.start as usize + last.len as usize)
    }

    /// Copies a packet behind the others. A block is full, and takes none, with 4 GiB.
    pub fn push(&mut self, packet: &Packet<'_>) {
        let Packet { ts, link, data, orig_len } = *packet;
        let start = self.end();
        if self.push_at(ts, link, orig_len, start..start + data.len()) {
            self.bytes.truncate(start);
            self.bytes.extend_from_slice(data);
        }
    }

    /// Adds a packet that is at a place in [`Self::buffer`], behind the others. Says whether it could.
    pub(crate) fn push_at(&mut self, ts: Timestamp, link: LinkType, orig_len: u32, place: Range<usize>) -> bool {
        let (Ok(start), Ok(len)) = (u32::try_from(place.start), u32::try_from(place.len())) else { return false };
        self.packets.push(StoredPacket { ts, link, orig_len, start, len });
        true
    }

    /// What the packets are in. Bytes may be read into it, while there are no packets.
    pub(crate) const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes all packets out; the buffers are kept, as they are.
    pub fn clear(&mut self) {
        self.packets.clear();
    }

    /// A packet by its index.
    #[inline]
    pub fn packet(&self, index: usize) -> Option<Packet<'_>> {
        let StoredPacket { ts, link, orig_len, start, len } = *self.packets.get(index)?;
        let (start, len) = (start as usize, len as usize);
        Some(Packet { ts, link, data: self.bytes.get(start..start + len).unwrap_or_default(), orig_len })
    }
}
