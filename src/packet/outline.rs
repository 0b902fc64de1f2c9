//! A fast path for common frames: TCP in an IP packet without options, extension headers or fragments.
//!
//! Nearly every frame of a PostgreSQL capture is one. All other frames are left to the general path, so this one returns `None`
//! rather than a different result. A test checks that both are equivalent.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{EtherType, ether_type};

use super::{Endpoint, LinkType, Packet, Plain, Segment, link};
use crate::reader::Reader;

const TCP: u8 = 6;
/// The size of an Ethernet header: two addresses and the EtherType.
const ETHERNET: usize = 14;
/// The size of an IPv4 header without options (RFC 791, section 3.1).
const IPV4: usize = 20;
/// The size of an IPv6 header (RFC 8200, section 3).
const IPV6: usize = 40;
/// The size of a TCP header without options (RFC 9293, section 3.1).
const TCP_HEADER: usize = 20;

/// The header fields of such a frame.
#[derive(Clone, Copy, Debug)]
pub struct Outline {
    /// Both endpoints.
    pub ends: Ends,
    /// The sequence number.
    seq: u32,
    /// The acknowledgment number, if the ACK flag is set.
    ack: u32,
    flags: u8,
    window: u16,
    /// The offset of the payload in the frame.
    start: usize,
    len: usize,
    /// How many bytes of the payload the snap length cut off.
    snapped: usize,
}

/// The addresses and ports of a segment, source first, as they are in its headers, for fast comparison. The first word has the
/// version of IP and the ports, the others have the addresses.
#[derive(Clone, Copy, Debug)]
pub struct Ends([u64; 5]);

impl PartialEq for Ends {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        // Without a branch or call for each word.
        self.0.iter().zip(other.0).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
    }
}

impl Eq for Ends {}

impl Ends {
    /// Returns some bits of a hash of the ports, which differ between the directions of a connection.
    pub const fn bits(&self) -> usize {
        ((self.0[0] as u32).wrapping_mul(0x9e37_79b1) >> 16) as usize
    }
}

const SYN_FIN_RST: u8 = 0x07;
const ACK: u8 = 0x10;

impl Outline {
    /// Returns whether the segment has none of the flags SYN, FIN and RST.
    pub const fn is_within(&self) -> bool {
        self.flags & SYN_FIN_RST == 0
    }

    /// Returns the captured size of the payload.
    pub const fn payload_len(&self) -> usize {
        self.len
    }

    /// Returns the segment, with the position of its payload in the frame, if it is a [plain](super::Plain) one.
    #[inline(always)]
    pub fn plain(&self) -> Option<PlacedSegment> {
        let is_plain = self.flags & (SYN_FIN_RST | ACK) == ACK && self.snapped == 0 && self.len > 0 && self.window > 0;
        let (true, Ok(start), Ok(len)) = (is_plain, u32::try_from(self.start), u32::try_from(self.len)) else {
            return None;
        };
        Some(PlacedSegment { seq: self.seq, ack: self.ack, start, len })
    }

    /// Returns the segment of the same frame.
    pub fn segment<'a>(&self, packet: &Packet<'a>) -> Option<Segment<'a>> {
        let Self { ends: Ends([first, a, b, c, d]), seq, ack, flags, window, start, len, snapped } = *self;
        let [.., s0, s1, d0, d1] = first.to_be_bytes();
        let address = |high: u64, low: u64| Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)).into();
        let (source, destination) = match first >> 32 {
            4 => (Ipv4Addr::from((a >> 32) as u32).into(), Ipv4Addr::from(a as u32).into()),
            _ => (address(a, b), address(c, d)),
        };
        Some(Segment {
            source: Endpoint { addr: source, port: u16::from_be_bytes([s0, s1]) },
            destination: Endpoint { addr: destination, port: u16::from_be_bytes([d0, d1]) },
            seq,
            ack: (flags & ACK != 0).then_some(ack),
            syn: flags & 0x02 != 0,
            fin: flags & 0x01 != 0,
            rst: flags & 0x04 != 0,
            window,
            payload: packet.data.get(start..)?.get(..len)?,
            snapped: u32::try_from(snapped).unwrap_or(u32::MAX),
        })
    }
}

/// A [plain](super::Plain) segment, with the position of its payload in the frame.
#[derive(Clone, Copy, Debug)]
pub struct PlacedSegment {
    seq: u32,
    ack: u32,
    start: u32,
    len: u32,
}

impl PlacedSegment {
    /// Returns the segment in its frame.
    #[inline]
    pub fn plain<'a>(&self, packet: &Packet<'a>) -> Option<Plain<'a>> {
        let payload = packet.data.get(self.start as usize..)?.get(..self.len as usize)?;
        Some(Plain { seq: self.seq, ack: self.ack, payload })
    }
}

/// Decodes a frame.
#[inline(never)]
pub(super) fn segment<'a>(packet: &Packet<'a>) -> Option<Segment<'a>> {
    outline(packet)?.segment(packet)
}

/// Decodes the headers that identify the connection of a frame.
#[inline(always)]
pub fn outline(packet: &Packet<'_>) -> Option<Outline> {
    let (ether_type, bytes) = match packet.link {
        LinkType::ETHERNET => {
            let ([.., t0, t1], bytes) = packet.data.split_first_chunk::<ETHERNET>()?;
            (EtherType(u16::from_be_bytes([*t0, *t1])), bytes)
        }
        link => {
            let mut reader = Reader::new(packet.data);
            (link::payload_type(link, &mut reader).ok()?, reader.rest())
        }
    };
    let (version, addresses, length, ip_payload) = match ether_type {
        ether_type::IPV4 => {
            let (header, rest) = bytes.split_first_chunk::<IPV4>()?;
            let (fields, addresses) = header.split_last_chunk::<8>()?;
            let [0x45, _, l0, l1, _, _, f0, f1, _, TCP, _, _] = *fields.first_chunk::<12>()? else { return None };
            // All flags but "don't fragment" concern fragments.
            if f0 & !0x40 != 0 || f1 != 0 {
                return None;
            }
            let length = usize::from(u16::from_be_bytes([l0, l1])).checked_sub(IPV4)?;
            (4, [u64::from_be_bytes(*addresses), 0, 0, 0], length, rest)
        }
        ether_type::IPV6 => {
            let (header, rest) = bytes.split_first_chunk::<IPV6>()?;
            let (fields, addresses) = header.split_first_chunk::<8>()?;
            let [0x60..=0x6f, _, _, _, l0, l1, TCP, _] = *fields else { return None };
            let (words, _) = addresses.as_chunks::<8>();
            let [a, b, c, d] = words.first_chunk::<4>()?.map(u64::from_be_bytes);
            (6, [a, b, c, d], usize::from(u16::from_be_bytes([l0, l1])), rest)
        }
        _ => return None,
    };
    // A frame may be padded after the IP packet. A length of 0 is left to the general path.
    let here = length.min(ip_payload.len());
    let header = ip_payload.get(..here)?.first_chunk::<TCP_HEADER>()?;
    let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, w0, w1, ..] = *header;
    let header_len = usize::from(offset >> 4) * 4;
    let len = here.checked_sub(header_len).filter(|_| header_len >= TCP_HEADER)?;
    let [a, b, c, d] = addresses;
    Some(Outline {
        ends: Ends([version << 32 | u64::from(u32::from_be_bytes([s0, s1, d0, d1])), a, b, c, d]),
        seq: u32::from_be_bytes([q0, q1, q2, q3]),
        ack: u32::from_be_bytes([a0, a1, a2, a3]),
        flags,
        window: u16::from_be_bytes([w0, w1]),
        start: packet.data.len() - ip_payload.len() + header_len,
        len,
        snapped: length - here,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::decode_any;
    use super::super::test_frames::{IPV4 as IPV4_TYPE, IPV6 as IPV6_TYPE, at, ethernet, ipv4, ipv6, packet, tcp};
    use super::*;

    fn is_read_the_same(ether_type: u16, bytes: &[u8]) -> bool {
        let frame = ethernet(ether_type, bytes);
        let packet = packet(LinkType::ETHERNET, &frame, frame.len(), at(0));
        let Some(segment) = segment(&packet) else { return false };
        assert_eq!(format!("{:?}", Ok::<_, ()>(segment)), format!("{:?}", decode_any(&packet)));
        true
    }

    #[test]
    fn the_common_packets_go_the_short_way() {
        assert!(is_read_the_same(IPV4_TYPE, &ipv4(TCP, &tcp(b"payload"))));
        assert!(is_read_the_same(IPV6_TYPE, &ipv6(TCP, &tcp(b"payload"))));
        let padded = [ipv4(TCP, &tcp(b"")), vec![0; 6]].concat();
        assert!(is_read_the_same(IPV4_TYPE, &padded));
    }

    proptest! {
        #[test]
        fn whatever_goes_the_short_way_is_read_the_same(
            is_ipv4: bool,
            payload in proptest::collection::vec(any::<u8>(), 0..40),
            changes in proptest::collection::vec((0_usize..70, any::<u8>()), 0..4),
            length in 0_usize..110,
        ) {
            let (ether_type, mut bytes) = match is_ipv4 {
                true => (IPV4_TYPE, ipv4(TCP, &tcp(&payload))),
                false => (IPV6_TYPE, ipv6(TCP, &tcp(&payload))),
            };
            for (at, byte) in changes {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(length);
            is_read_the_same(ether_type, &bytes);
        }
    }
}
