//! Blocks of packets in one buffer, passed between threads.

use std::ops::Range;

use super::{LinkType, Packet};
use crate::time::Timestamp;

/// A sequence of packets.
#[derive(Debug, Default)]
pub struct Block {
    packets: Vec<StoredPacket>,
    bytes: Vec<u8>,
}

/// A packet whose bytes are in a block. It is kept small, because there is one for each packet, and it moves between the caches
/// of processor cores.
#[derive(Debug)]
struct StoredPacket {
    ts: Timestamp,
    link: LinkType,
    interface: u16,
    orig_len: u32,
    start: u32,
    len: u32,
}

impl Block {
    /// Returns the number of packets.
    pub const fn len(&self) -> usize {
        self.packets.len()
    }

    /// Returns whether the block is empty.
    pub const fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Returns the memory used by the packets, in bytes.
    pub fn bytes(&self) -> usize {
        self.end() + self.packets.len() * size_of::<StoredPacket>()
    }

    /// Returns the end of the last packet.
    fn end(&self) -> usize {
        self.packets.last().map_or(0, |last| last.start as usize + last.len as usize)
    }

    /// Appends a copy of a packet. A block of 4 GiB is full, and ignores further packets.
    pub fn push(&mut self, packet: &Packet<'_>) {
        let start = self.end();
        if self.push_at(&Packet { data: &[], ..*packet }, start..start + packet.data.len()) {
            self.bytes.truncate(start);
            self.bytes.extend_from_slice(packet.data);
        }
    }

    /// Appends a packet whose bytes are in [`Self::buffer`], not its `data`. Returns `false` if the block is full.
    pub(crate) fn push_at(&mut self, packet: &Packet<'_>, place: Range<usize>) -> bool {
        let Packet { ts, link, orig_len, interface, .. } = *packet;
        let (Ok(start), Ok(len)) = (u32::try_from(place.start), u32::try_from(place.len())) else { return false };
        self.packets.push(StoredPacket { ts, link, interface, orig_len, start, len });
        true
    }

    /// Returns the buffer of the packets' bytes. It may be filled while there are no packets.
    pub(crate) const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Removes all packets, but keeps the buffers.
    pub fn clear(&mut self) {
        self.packets.clear();
    }

    /// Returns a packet by its index.
    #[inline]
    pub fn packet(&self, index: usize) -> Option<Packet<'_>> {
        let StoredPacket { ts, link, interface, orig_len, start, len } = *self.packets.get(index)?;
        let (start, len) = (start as usize, len as usize);
        let data = self.bytes.get(start..start + len).unwrap_or_default();
        Some(Packet { ts, link, data, orig_len, interface })
    }
}
