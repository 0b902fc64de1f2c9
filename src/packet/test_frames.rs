//! Hand-made packets for tests.

use super::{LinkType, NotTcp, Packet, Segment, decode};
use crate::time::{Precision, Timestamp};

pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// Creates a TCP segment from port 40000 to 5432.
pub(super) fn tcp(payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0x9c, 0x40, 0x15, 0x38, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0];
    segment.extend(payload);
    segment
}

pub(super) fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).unwrap();
    [&[0xc0, 0x01][..], &port.to_be_bytes(), &len.to_be_bytes(), &[0, 0], payload].concat()
}

/// Creates an IPv4 packet with an identification of 1.
pub(super) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_fragment(1, 0, protocol, payload)
}

pub(crate) fn ipv4_fragment(id: u16, flags_and_offset: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(len.to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(flags_and_offset.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(payload);
    packet
}

pub(crate) fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([next_header, 64]);
    packet.extend([0; 15].into_iter().chain([1]));
    packet.extend([0; 15].into_iter().chain([2]));
    packet.extend(payload);
    packet
}

pub(super) fn ipv6_fragment(id: u32, flags_and_offset: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header = [&[protocol, 0][..], &flags_and_offset.to_be_bytes(), &id.to_be_bytes()].concat();
    ipv6(44, &[&header, payload].concat())
}

pub(super) fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ether_type.to_be_bytes(), payload].concat()
}

pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000, Precision::Micros)
}

/// Creates a packet from the captured bytes of a frame.
pub(super) fn packet(link: LinkType, data: &[u8], wire_len: usize, ts: Timestamp) -> Packet<'_> {
    Packet { ts, link, data, orig_len: wire_len.try_into().unwrap(), interface: 0 }
}

/// Decodes a complete Ethernet frame.
pub(super) fn decoded(frame: &[u8]) -> Result<Segment<'_>, NotTcp> {
    decode(&packet(LinkType::ETHERNET, frame, frame.len(), at(0)))
}
