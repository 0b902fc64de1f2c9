//! The common case by a short way: TCP in an IP packet without options, extension headers or fragments.
//!
//! Of a capture of PostgreSQL nearly every frame is one. What is not is left to the long way, which reads everything: so this
//! one says nothing rather than something else, and a test holds the two equal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{EtherType, ether_type};

use super::{Endpoint, LinkType, Packet, Segment, link};
use crate::reader::Reader;

const TCP: u8 = 6;
/// An Ethernet header: two addresses, and the EtherType.
const ETHERNET: usize = 14;
/// An IPv4 header without options (RFC 791, section 3.1).
const IPV4: usize = 20;
/// An IPv6 header (RFC 8200, section 3).
const IPV6: usize = 40;
/// A TCP header without options (RFC 9293, section 3.1).
const TCP_HEADER: usize = 20;

/// Reads a frame.
#[inline]
pub(super) fn segment<'a>(packet: &Packet<'a>) -> Option<Segment<'a>> {
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
    let (source, destination, length, ip_payload) = match ether_type {
        ether_type::IPV4 => {
            let (header, rest) = bytes.split_first_chunk::<IPV4>()?;
            let [0x45, _, l0, l1, _, _, f0, f1, _, TCP, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *header else {
                return None;
            };
            // All but "don't fragment" is about fragments.
            if f0 & !0x40 != 0 || f1 != 0 {
                return None;
            }
            let length = usize::from(u16::from_be_bytes([l0, l1])).checked_sub(IPV4)?;
            let (source, destination) = (Ipv4Addr::new(s0, s1, s2, s3), Ipv4Addr::new(d0, d1, d2, d3));
            (IpAddr::V4(source), IpAddr::V4(destination), length, rest)
        }
        ether_type::IPV6 => {
            let (header, rest) = bytes.split_first_chunk::<IPV6>()?;
            let (fields, addresses) = header.split_first_chunk::<8>()?;
            let (source, addresses) = addresses.split_first_chunk::<16>()?;
            let destination = addresses.first_chunk::<16>()?;
            let [0x60..=0x6f, _, _, _, l0, l1, TCP, _] = *fields else { return None };
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            (IpAddr::V6(Ipv6Addr::from(*source)), IpAddr::V6(Ipv6Addr::from(*destination)), length, rest)
        }
        _ => return None,
    };
    // Behind the IP packet a frame may be padded. Where the length is 0, the long way knows what it means.
    let here = ip_payload.get(..length.min(ip_payload.len()))?;
    let (header, rest) = here.split_first_chunk::<TCP_HEADER>()?;
    let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, ..] = *header;
    let payload = rest.get((usize::from(offset >> 4) * 4).checked_sub(TCP_HEADER)?..)?;
    Some(Segment {
        source: Endpoint { addr: source, port: u16::from_be_bytes([s0, s1]) },
        destination: Endpoint { addr: destination, port: u16::from_be_bytes([d0, d1]) },
        seq: u32::from_be_bytes([q0, q1, q2, q3]),
        ack: (flags & 0x10 != 0).then(|| u32::from_be_bytes([a0, a1, a2, a3])),
        syn: flags & 0x02 != 0,
        fin: flags & 0x01 != 0,
        rst: flags & 0x04 != 0,
        payload,
        snapped: u32::try_from(length - here.len()).unwrap_or(u32::MAX),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::decode_any;
    use super::super::made::{IPV4 as IPV4_TYPE, IPV6 as IPV6_TYPE, at, ethernet, ipv4, ipv6, packet, tcp};
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
