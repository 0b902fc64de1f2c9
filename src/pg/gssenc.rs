//! Packet framing of GSSAPI encryption. The content of the packets cannot be decrypted.
//!
//! Source: PostgreSQL documentation, "GSSAPI Session Encryption": the tokens of the handshake and the encrypted data are sent in
//! packets that begin with their length, an Int32 that does not count itself.

use crate::reader::Reader;

/// The largest packet, in bytes, that libpq and the server accept (`PQ_GSS_AUTH_BUFFER_SIZE`).
const MAX_PACKET: u32 = 65_536;

/// The size of the length word.
const HEADER: usize = 4;

/// A counter of the packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GssPackets {
    /// The received bytes of an incomplete length word.
    header: [u8; HEADER],
    header_len: usize,
    /// The number of bytes of the current packet still to come.
    left: u64,
    /// Whether packet boundaries are no longer known.
    is_lost: bool,
    count: u64,
}

impl GssPackets {
    /// Consumes the next bytes.
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

    /// Records that bytes were lost. If a length word was lost, no further packets are counted, because nothing in a packet
    /// identifies its beginning.
    pub fn gap(&mut self, bytes: u64) {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => self.is_lost = true,
        }
    }

    /// Returns the number of packets that have begun, while boundaries were known.
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
