//! Decoding of link-layer frames to TCP segments: Ethernet, Linux cooked, BSD loopback and raw IP ([`LinkType`]); VLAN tags; IPv4
//! and IPv6 with options and extension headers; fragments ([`Defragmenter`]); tunnels. This is the only user of etherparse.
//!
//! Checksums are not verified: because of checksum offloading, they are wrong in many intact captures.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use etherparse::{
    EtherType, IpNumber, Ipv6ExtensionSlice, Ipv6Header, LaxNetSlice, LaxSlicedPacket, TransportSlice, ip_number,
};

use crate::reader::Reader;
use crate::time::Timestamp;

mod block;
mod fragments;
mod link;
mod outline;
#[cfg(test)]
pub(crate) mod test_frames;
mod tunnel;

pub use block::Block;
pub use fragments::{Datagram, Defragmenter};
pub use link::LinkType;
pub use outline::{Ends, Outline, PlacedSegment, outline};

/// A captured frame, from a capture file or an interface.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The time of capture.
    pub ts: Timestamp,
    /// The type of its link-layer header.
    pub link: LinkType,
    /// The captured bytes.
    pub data: &'a [u8],
    /// The size of the frame on the wire in bytes; larger than `data` if the snap length truncated it.
    pub orig_len: u32,
    /// The number of its interface in the source's [`InterfaceTable`](crate::capture::InterfaceTable); 0 if none is known.
    pub interface: u16,
}

/// The packet that contained something, and its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The number of the packet in the capture, from 1.
    pub packet: u64,
    /// The time of capture.
    pub ts: Timestamp,
}

impl Origin {
    /// Returns the later of two origins by packet number; timestamps may go backwards.
    #[inline(always)]
    pub(crate) const fn or_later(self, other: Self) -> Self {
        if other.packet > self.packet { other } else { self }
    }
}

/// An endpoint of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address.
    pub addr: IpAddr,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// Returns the endpoint with an IPv4 address in place of an IPv6 address that stands for it (`::ffff:192.0.2.1`).
    pub(crate) const fn canonical(self) -> Self {
        Self { addr: self.addr.to_canonical(), port: self.port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&SocketAddr::new(self.addr, self.port), f)
    }
}

/// A TCP segment (RFC 9293, section 3.1), with its payload borrowed from the frame.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The sender.
    pub source: Endpoint,
    /// The receiver.
    pub destination: Endpoint,
    /// The sequence number.
    pub seq: u32,
    /// The acknowledgment number, if the ACK flag is set.
    pub ack: Option<u32>,
    /// The SYN flag.
    pub syn: bool,
    /// The FIN flag.
    pub fin: bool,
    /// The RST flag.
    pub rst: bool,
    /// The receive window that the sender announces, not scaled.
    pub window: u16,
    /// The captured part of the payload.
    pub payload: &'a [u8],
    /// How many bytes of the payload the snap length cut off.
    pub snapped: u32,
}

impl Segment<'_> {
    /// Returns whether the segment has a payload, captured or not.
    pub const fn has_payload(&self) -> bool {
        !self.payload.is_empty() || self.snapped > 0
    }
}

impl<'a> Segment<'a> {
    /// Returns the segment as a [`Plain`] one; `None` if it is more than that.
    #[inline]
    pub fn plain(&self) -> Option<Plain<'a>> {
        let Self { seq, payload, .. } = *self;
        let is_plain = !(self.syn | self.fin | self.rst) && self.snapped == 0 && !payload.is_empty() && self.window > 0;
        if is_plain { Some(Plain { seq, ack: self.ack?, payload }) } else { None }
    }
}

/// A segment with a complete payload, an acknowledgment and an open window, and without the flags SYN, FIN and RST.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    /// The sequence number.
    pub seq: u32,
    /// The acknowledgment number.
    pub ack: u32,
    /// The payload.
    pub payload: &'a [u8],
}

/// Why a frame contains no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTcp {
    /// The link type is not supported.
    UnknownLink,
    /// Another protocol: ARP, UDP, ICMP, …
    Other,
    /// A fragment of an IP packet, to be reassembled by a [`Defragmenter`].
    Fragment,
    /// A header is invalid, or cut off by the snap length.
    Damaged,
}

/// The maximum nesting depth of tunnels: more than networks have in practice, and a limit on the cost of hostile frames.
const MAX_TUNNELS: usize = 4;

/// Decodes a frame down to its TCP segment, through any tunnels.
///
/// # Errors
///
/// The frame contains no segment, or an invalid one. A fragment is not decoded; use a [`Defragmenter`].
pub fn decode<'a>(packet: &Packet<'a>) -> Result<Segment<'a>, NotTcp> {
    match outline::segment(packet) {
        Some(segment) => Ok(segment),
        None => decode_any(packet),
    }
}

/// [`decode`] without the fast path for common frames.
pub(crate) fn decode_any<'a>(packet: &Packet<'a>) -> Result<Segment<'a>, NotTcp> {
    match read(packet)? {
        Innermost::Segment(segment) => Ok(segment),
        Innermost::Fragment(_) => Err(NotTcp::Fragment),
    }
}

/// The innermost packet of a frame.
enum Innermost<'a> {
    Segment(Segment<'a>),
    Fragment(Fragment<'a>),
}

/// A fragment of an IP packet, inside or outside of tunnels.
struct Fragment<'a> {
    source: IpAddr,
    destination: IpAddr,
    /// 16 bits in IPv4, 32 in IPv6.
    identification: u32,
    /// The protocol of the payload; in IPv6 it is reliable only in the first fragment.
    protocol: IpNumber,
    /// The offset of the fragment in the payload of the packet.
    offset: usize,
    /// Whether more fragments follow.
    more: bool,
    /// The captured part of its payload.
    payload: &'a [u8],
    /// The size of its payload on the wire.
    wire_len: usize,
}

/// A frame without its link-layer header, or the content of a tunnel.
struct Layer<'a> {
    ether_type: EtherType,
    bytes: &'a [u8],
    /// How many bytes after these were on the wire but not captured.
    cut: usize,
}

/// The content of a layer.
enum LayerContent<'a> {
    Innermost(Innermost<'a>),
    Tunnel(Layer<'a>),
}

fn read<'a>(packet: &Packet<'a>) -> Result<Innermost<'a>, NotTcp> {
    let mut reader = Reader::new(packet.data);
    let ether_type = link::payload_type(packet.link, &mut reader)?;
    let cut = (packet.orig_len as usize).saturating_sub(packet.data.len());
    let mut layer = Layer { ether_type, bytes: reader.rest(), cut };
    for _ in 0..=MAX_TUNNELS {
        match layer.read()? {
            LayerContent::Innermost(found) => return Ok(found),
            LayerContent::Tunnel(inner) => layer = inner,
        }
    }
    Err(NotTcp::Other)
}

impl<'a> Layer<'a> {
    fn read(&self) -> Result<LayerContent<'a>, NotTcp> {
        let sliced = LaxSlicedPacket::from_ether_type(self.ether_type, self.bytes);
        let (source, destination, ip_start, wire_len) = match &sliced.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                let start = offset_in(self.bytes, header.slice());
                let wire_len = usize::from(header.total_len());
                // A length smaller than the header is invalid, except 0.
                if wire_len > 0 && wire_len < header.slice().len() {
                    return Err(NotTcp::Damaged);
                }
                (IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr()), start, wire_len)
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                let start = offset_in(self.bytes, header.slice());
                let wire_len = match usize::from(header.payload_length()) {
                    0 => 0,
                    len => Ipv6Header::LEN + len,
                };
                (IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr()), start, wire_len)
            }
            Some(LaxNetSlice::Arp(_)) => return Err(NotTcp::Other),
            None if sliced.stop_err.is_some() => return Err(NotTcp::Damaged),
            None => {
                let inner = sliced.ether_payload().ok_or(NotTcp::Other)?;
                return tunnel::in_frame(inner.ether_type, inner.payload, self.cut).map(LayerContent::Tunnel);
            }
        };
        let ip_payload = sliced.net.as_ref().and_then(LaxNetSlice::ip_payload_ref).ok_or(NotTcp::Damaged)?;
        // The captured size of the IP packet, from its first header to the end of the payload.
        let ip_end = offset_in(self.bytes, ip_payload.payload) + ip_payload.payload.len();
        let held = ip_end.saturating_sub(ip_start);
        // Segmentation offload may leave the length at 0: then the size of the frame determines it.
        let wire_len = if wire_len == 0 { (self.bytes.len() + self.cut).saturating_sub(ip_start) } else { wire_len };
        let cut = wire_len.saturating_sub(held);
        if ip_payload.fragmented {
            let header = sliced.net.as_ref().and_then(fragment_header).ok_or(NotTcp::Damaged)?;
            let start = offset_in(self.bytes, header.slice) + header.slice.len();
            let payload = self.bytes.get(start..ip_end).ok_or(NotTcp::Damaged)?;
            return Ok(LayerContent::Innermost(Innermost::Fragment(Fragment {
                source,
                destination,
                identification: header.identification,
                protocol: header.protocol,
                offset: header.offset,
                more: header.more,
                payload,
                wire_len: payload.len() + cut,
            })));
        }
        let tcp = match &sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => tcp,
            Some(TransportSlice::Udp(udp)) => {
                return tunnel::in_udp(udp.destination_port(), udp.payload(), cut).map(LayerContent::Tunnel);
            }
            Some(_) => return Err(NotTcp::Other),
            None if ip_payload.ip_number == ip_number::TCP || sliced.stop_err.is_some() => return Err(NotTcp::Damaged),
            None => return tunnel::in_ip(ip_payload.ip_number, ip_payload.payload, cut).map(LayerContent::Tunnel),
        };
        Ok(LayerContent::Innermost(Innermost::Segment(Segment {
            source: Endpoint { addr: source, port: tcp.source_port() },
            destination: Endpoint { addr: destination, port: tcp.destination_port() },
            seq: tcp.sequence_number(),
            ack: tcp.ack().then(|| tcp.acknowledgment_number()),
            syn: tcp.syn(),
            fin: tcp.fin(),
            rst: tcp.rst(),
            window: tcp.window_size(),
            payload: tcp.payload(),
            snapped: u32::try_from(cut).unwrap_or(u32::MAX),
        })))
    }
}

/// The fragmentation fields of an IP packet.
struct FragmentHeader<'a> {
    /// The last header before the fragment's payload.
    slice: &'a [u8],
    identification: u32,
    protocol: IpNumber,
    offset: usize,
    more: bool,
}

fn fragment_header<'a>(net: &'a LaxNetSlice<'_>) -> Option<FragmentHeader<'a>> {
    match net {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            Some(FragmentHeader {
                slice: header.slice(),
                identification: header.identification().into(),
                protocol: header.protocol(),
                offset: header.fragments_offset().byte_offset().into(),
                more: header.more_fragments(),
            })
        }
        // The bytes after the fragment header belong to the payload, even if they look like more extension headers.
        LaxNetSlice::Ipv6(ip) => ip.extensions().clone().into_iter().find_map(|extension| match extension {
            Ipv6ExtensionSlice::Fragment(header) if header.is_fragmenting_payload() => Some(FragmentHeader {
                slice: header.slice(),
                identification: header.identification(),
                protocol: header.next_header(),
                offset: header.fragment_offset().byte_offset().into(),
                more: header.more_fragments(),
            }),
            _ => None,
        }),
        LaxNetSlice::Arp(_) => None,
    }
}

/// Returns the offset of `part`, which was borrowed from `whole`.
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}
