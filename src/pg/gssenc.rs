//! GSSAPI encryption, as far as it can be read: where its packets begin and end.
//!
//! Source: PostgreSQL documentation, "GSSAPI Session Encryption": the tokens of the handshake, and what is encrypted with the
//! key that they agree on, travel in packets that begin with their length, an Int32 that does not count itself.

use crate::reader::Reader;

/// The largest packet, in bytes: libpq and the server refuse more (`PQ_GSS_AUTH_BUFFER_SIZE`).
const MAX_PACKET: u32 = 65_536;

/// The size of the length word.
const HEADER: usize = 4;

/// Counts the packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GssPackets {
    /// The beginning of a length word.
    header: [u8; HEADER],
    header_len: usize,
    /// How much of a packet is still to come.
    left: u64,
    /// Whether no boundary is known any more.
    is_lost: bool,
    count: u64,
}

impl GssPackets {
    /// Takes the next bytes.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_lost {
            let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= skipped as u64;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((first, behind)) = bytes.split_first() else { return };
            bytes = behind;
            if let Some(byte) = self.header.get_mut(self.header_len) {
                *byte = *first;
            }
            self.header_len += 1;
            if self.header_len == HEADER {
                self.header_len = 0;
                match Reader::new(&self.header).u32("length of a packet") {
                    Ok(len @ 1..=MAX_PACKET) => {
                        self.left = len.into();
                        self.count += 1;
                    }
                    _ => self.is_lost = true,
                }
            }
        }
    }

    /// Tells that so many bytes were lost. Boundaries are not found again behind a lost length word: nothing of a packet
    /// shows where it begins.
    pub fn gap(&mut self, bytes: u64) {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => self.is_lost = true,
        }
    }

    /// How many packets have begun; as many as were seen before boundaries were lost.
    pub const fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_counted_however_they_are_cut_and_across_holes_in_them() {
        let stream = [&[0, 0, 0, 3, 1, 2, 3][..], &[0, 0, 1, 0], &[7; 256], &[0, 0, 0, 1, 9]].concat();
        for size in [1, 2, 3, 5, 100, 1000] {
            let mut packets = GssPackets::default();
            stream.chunks(size).for_each(|piece| packets.push(piece));
            assert_eq!(packets.count(), 3, "pieces of {size}");
        }
        let mut packets = GssPackets::default();
        packets.push(&stream[..20]);
        packets.gap(200);
        packets.push(&stream[220..]);
        assert_eq!(packets.count(), 3);
        packets.gap(1);
        packets.push(&stream);
        assert_eq!(packets.count(), 3, "a length word was lost");
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_count() {
        let mut packets = GssPackets::default();
        packets.push(&[0, 0, 0, 1, 5, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 5]);
        assert_eq!(packets.count(), 1);
    }
}
