//! The last packets of a source that cannot be read twice.

use std::collections::{BTreeMap, VecDeque};

use super::Extracted;
use super::owners::{Owners, Place};
use crate::capture::Error;
use crate::packet::{Block, Packet};

/// The part of the buffer in which packets are evicted together.
const BLOCKS: usize = 32;

/// The part of the limit that is for handshakes.
const HANDSHAKES: usize = 4;

/// The maximum number of bytes kept of a handshake. Certificates are the largest part of one.
const MAX_HANDSHAKE: usize = 64 << 10;

/// Packets with their numbers.
#[derive(Debug, Default)]
struct Numbered {
    block: Block,
    numbers: Vec<u64>,
}

impl Numbered {
    fn push(&mut self, packet: &Packet<'_>, number: u64) {
        self.block.push(packet);
        self.numbers.push(number);
    }

    fn bytes(&self) -> usize {
        self.block.bytes() + self.numbers.len() * size_of::<u64>()
    }

    fn iter(&self) -> impl Iterator<Item = (Packet<'_>, u64)> {
        self.numbers.iter().enumerate().filter_map(|(index, number)| Some((self.block.packet(index)?, *number)))
    }

    fn clear(&mut self) {
        self.block.clear();
        self.numbers.clear();
    }
}

/// The packets of a handshake, and where they belong in the file.
#[derive(Debug, Default)]
struct Handshake {
    packets: Numbered,
    offsets: Vec<u64>,
    /// Whether its connection was chosen before it was forgotten.
    is_chosen: bool,
}

/// The last packets of a source, and the handshakes before them.
///
/// A packet that leaves the buffer is written if its connection has a line by then. Otherwise it is kept for longer if it is part of
/// a handshake, and else dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    /// The last one is being filled.
    blocks: VecDeque<Numbered>,
    block_bytes: usize,
    max_bytes: usize,
    /// The number of bytes of all blocks but the last.
    bytes: usize,
    /// By connection.
    handshakes: BTreeMap<u64, Handshake>,
    handshake_bytes: usize,
    spare: Option<Numbered>,
}

impl Buffer {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            blocks: VecDeque::from([Numbered::default()]),
            block_bytes: max_bytes / BLOCKS,
            max_bytes: max_bytes / HANDSHAKES * (HANDSHAKES - 1),
            bytes: 0,
            handshakes: BTreeMap::new(),
            handshake_bytes: 0,
            spare: None,
        }
    }

    /// Adds a packet, and evicts the oldest ones above the limit.
    pub(super) fn push(
        &mut self,
        packet: &Packet<'_>,
        number: u64,
        owners: &mut Owners,
        mut out: Option<&mut Extracted>,
    ) -> Result<(), Error> {
        let is_full = |last: &Numbered| !last.numbers.is_empty() && last.bytes() + packet.data.len() > self.block_bytes;
        if self.blocks.back().is_none_or(is_full) {
            self.bytes += self.blocks.back().map_or(0, Numbered::bytes);
            while self.bytes > self.max_bytes
                && let Some(oldest) = self.blocks.pop_front()
            {
                self.bytes -= oldest.bytes();
                self.evict(oldest, owners, out.as_deref_mut())?;
            }
            let mut block = self.spare.take().unwrap_or_default();
            block.block.buffer().reserve(self.block_bytes);
            self.blocks.push_back(block);
        }
        if let Some(last) = self.blocks.back_mut() {
            last.push(packet, number);
        }
        Ok(())
    }

    fn evict(
        &mut self,
        mut block: Numbered,
        owners: &mut Owners,
        mut out: Option<&mut Extracted>,
    ) -> Result<(), Error> {
        for (packet, number) in block.iter() {
            let Some(place) = Place::of(&packet) else { continue };
            let owner = owners.owner(&place, number);
            if matches!(place, Place::Fragment) {
                owners.release_fragment(number);
            }
            let Some(conn) = owner else { continue };
            match &mut out {
                Some(out) if owners.is_chosen(conn) => out.write(&packet)?,
                out => {
                    let is_kept = owners.is_of_handshake(conn, number) && {
                        let place = out.as_mut().map_or(Ok(0), |out| out.place(&packet))?;
                        self.keep(conn, &packet, number, place)
                    };
                    if !is_kept {
                        owners.drop_packets(conn, 1);
                    }
                }
            }
        }
        while self.handshake_bytes > self.max_bytes / (HANDSHAKES - 1)
            && let Some((conn, handshake)) = self.handshakes.pop_first()
        {
            self.handshake_bytes -= handshake.packets.bytes();
            let packets = handshake.packets.numbers.len() as u64;
            if handshake.is_chosen {
                owners.dropped += packets;
            } else {
                owners.drop_packets(conn, packets);
            }
        }
        let oldest = self.blocks.front().and_then(|block| block.numbers.first());
        owners.release(oldest.copied().unwrap_or(u64::MAX), |conn, is_chosen| match self.handshakes.get_mut(&conn) {
            Some(handshake) if is_chosen => handshake.is_chosen = true,
            Some(_) => {
                let handshake = self.handshakes.remove(&conn);
                self.handshake_bytes -= handshake.map_or(0, |handshake| handshake.packets.bytes());
            }
            None => {}
        });
        block.clear();
        self.spare = Some(block);
        Ok(())
    }

    /// Keeps a packet of a handshake. Returns `false` if the handshake is too long.
    fn keep(&mut self, conn: u64, packet: &Packet<'_>, number: u64, offset: u64) -> bool {
        let handshake = self.handshakes.entry(conn).or_default();
        let before = handshake.packets.bytes();
        if before + packet.data.len() > MAX_HANDSHAKE {
            return false;
        }
        handshake.packets.push(packet, number);
        handshake.offsets.push(offset);
        self.handshake_bytes += handshake.packets.bytes() - before;
        true
    }

    /// Writes the packets of one connection.
    pub(super) fn save(&self, conn: u64, owners: &Owners, out: &mut Extracted) -> Result<(), Error> {
        let handshake = self.handshakes.get(&conn).into_iter().flat_map(|handshake| handshake.packets.iter());
        for (packet, _) in handshake {
            out.write_any(&packet)?;
        }
        for (packet, number) in self.blocks.iter().flat_map(Numbered::iter) {
            let owner = Place::of(&packet).and_then(|place| owners.owner(&place, number));
            if owner == Some(conn) {
                out.write_any(&packet)?;
            }
        }
        Ok(())
    }

    /// Writes a key log and the remaining packets of chosen connections, each where it belongs.
    pub(super) fn finish(mut self, owners: &mut Owners, key_log: &[u8], out: &mut Extracted) -> Result<(), Error> {
        self.handshakes.retain(|conn, handshake| handshake.is_chosen || owners.is_chosen(*conn));
        let handshakes = self.handshakes.values();
        let mut kept: Vec<_> = handshakes
            .flat_map(|handshake| handshake.packets.iter().zip(&handshake.offsets))
            .map(|((packet, number), offset)| (number, *offset, packet))
            .collect();
        kept.sort_unstable_by_key(|(number, ..)| *number);
        let kept: Vec<_> = kept.into_iter().map(|(_, offset, packet)| (offset, packet)).collect();
        out.insert(key_log, &kept)?;
        for (packet, number) in self.blocks.iter().flat_map(Numbered::iter) {
            let owner = Place::of(&packet).and_then(|place| owners.owner(&place, number));
            if owner.is_some_and(|conn| owners.is_chosen(conn)) {
                out.write(&packet)?;
            }
        }
        Ok(())
    }
}
