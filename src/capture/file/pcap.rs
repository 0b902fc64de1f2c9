//! The pcap format: a header of 24 bytes, then packets, each after a header of its own.

use super::format::{ByteOrder, CutPart, LARGEST, Next, PacketRecord, link_type, words};
use crate::packet::LinkType;
use crate::time::{Precision, Timestamp};

/// The maximum packet size of libpcap (its MAXIMUM_SNAPLEN). A larger snap length in a file header is accepted, up to a limit.
const LARGEST_PACKET: u32 = 256 * 1024;

const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;
/// With interface, protocol and packet type after the usual fields, as written by Alexey Kuznetsov's patched libpcap.
const MODIFIED_PACKET_HEADER: usize = 24;

/// What the magic number determines: the layout of everything after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Magic {
    order: ByteOrder,
    precision: Precision,
    packet_header: usize,
}

impl Magic {
    pub(super) fn new(magic: [u8; 4]) -> Option<Self> {
        [ByteOrder::Little, ByteOrder::Big].into_iter().find_map(|order| {
            let (precision, packet_header) = match order.u32(magic) {
                0xa1b2_c3d4 => (Precision::Micros, PACKET_HEADER),
                0xa1b2_3c4d => (Precision::Nanos, PACKET_HEADER),
                0xa1b2_cd34 => (Precision::Micros, MODIFIED_PACKET_HEADER),
                _ => return None,
            };
            Some(Self { order, precision, packet_header })
        })
    }
}

/// A pcap file whose header was parsed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pcap {
    magic: Magic,
    link: LinkType,
    largest_packet: u32,
    /// Bytes of a packet beyond this are ignored.
    snaplen: u32,
}

/// The result of parsing a file header.
pub(super) enum HeaderStatus {
    Read { pcap: Pcap, len: usize },
    Short(CutPart),
    Unknown(String),
}

impl Pcap {
    pub(super) fn read_header(magic: Magic, unread: &[u8]) -> HeaderStatus {
        let Some([_, version, _thiszone, _sigfigs, snaplen, link]) = words(unread) else {
            return HeaderStatus::Short(CutPart::FileHeader(FILE_HEADER));
        };
        let order = magic.order;
        let [major, minor] = match (order, order.u32(*version)) {
            (ByteOrder::Little, version) => [version & 0xffff, version >> 16],
            (ByteOrder::Big, version) => [version >> 16, version & 0xffff],
        };
        if major != 2 {
            return HeaderStatus::Unknown(format!("wanted version 2 of the pcap format, found {major}.{minor}"));
        }
        // The upper half of the link type is reserved, or has the length of the frame check sequence.
        let link = link_type((order.u32(*link) & 0xffff) as u16);
        let snaplen = order.u32(*snaplen);
        let largest_packet = snaplen.clamp(LARGEST_PACKET, LARGEST);
        // As in libpcap, a snap length of 0 or of more than 31 bits means no limit.
        let snaplen = if (1..=i32::MAX as u32).contains(&snaplen) { snaplen } else { u32::MAX };
        HeaderStatus::Read { pcap: Self { magic, link, largest_packet, snaplen }, len: FILE_HEADER }
    }

    /// Parses the record at the front of `unread`.
    #[inline]
    pub(super) fn next(&self, unread: &[u8]) -> Next {
        let Magic { order, precision, packet_header: header } = self.magic;
        let (Some([seconds, fraction, caplen, orig_len]), true) = (words(unread), unread.len() >= header) else {
            return Next::Short(CutPart::PacketHeader(header));
        };
        let caplen = order.u32(*caplen);
        if caplen > self.largest_packet {
            let largest = self.largest_packet;
            return Next::Lost(format!("a packet of {caplen} bytes was announced, the maximum is {largest}"));
        }
        let len = header + caplen as usize;
        if unread.len() < len {
            return Next::Short(CutPart::Packet { header, len: caplen as usize });
        }
        let nanos_per_unit = match precision {
            Precision::Micros => 1_000,
            Precision::Nanos => 1,
        };
        // Cannot overflow, because both are 32 bits wide. A fraction of more than a second carries over.
        let nanos = i64::from(order.u32(*seconds)) * 1_000_000_000 + i64::from(order.u32(*fraction)) * nanos_per_unit;
        Next::Packet(PacketRecord {
            len,
            // Some writers store more than the snap length. libpcap truncates it, so tcpdump does not show it.
            data: header..header + caplen.min(self.snaplen) as usize,
            ts: Timestamp::from_nanos(nanos, precision),
            link: self.link,
            orig_len: order.u32(*orig_len),
            interface: 0,
        })
    }
}
