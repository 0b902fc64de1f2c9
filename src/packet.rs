//! Link frame to TCP segment: Ethernet, Linux cooked, BSD loopback and raw IP ([`LinkType`]); VLAN tags; IPv4 and IPv6 with
//! options and extension headers; fragments ([`Defragmenter`]); tunnels. The only user of etherparse.
//!
//! Checksums are not looked at: offloading makes them wrong in captures that are perfectly good.

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

/// One captured frame, as a capture file or an interface gave it.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it was captured.
    pub ts: Timestamp,
    /// How its first header is to be read.
    pub link: LinkType,
    /// The bytes that were captured.
    pub data: &'a [u8],
    /// How many bytes the frame had on the wire; more than `data` holds where the snap length cut it.
    pub orig_len: u32,
}

/// Which packet brought something, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The number of the packet in the capture, from 1.
    pub packet: u64,
    /// When it was captured.
    pub ts: Timestamp,
}

impl Origin {
    /// The later of two, by their order in the capture, whatever its clock did.
    #[inline(always)]
    pub(crate) const fn or_later(self, other: Self) -> Self {
        if other.packet > self.packet { other } else { self }
    }
}

/// One end of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address.
    pub addr: IpAddr,
    /// The port.
    pub port: u16,
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
    /// The acknowledgment number, where the ACK flag is set.
    pub ack: Option<u32>,
    /// The SYN flag.
    pub syn: bool,
    /// The FIN flag.
    pub fin: bool,
    /// The RST flag.
    pub rst: bool,
    /// The payload, as far as it was captured.
    pub payload: &'a [u8],
    /// How many bytes of the payload the snap length cut off.
    pub snapped: u32,
}

impl Segment<'_> {
    /// Whether it has a payload, captured or not.
    pub const fn has_payload(&self) -> bool {
        !self.payload.is_empty() || self.snapped > 0
    }
}

impl<'a> Segment<'a> {
    /// The segment, where it is no more than a plain one.
    #[inline]
    pub fn plain(&self) -> Option<Plain<'a>> {
        let Self { seq, payload, .. } = *self;
        let is_plain = !(self.syn | self.fin | self.rst) && self.snapped == 0 && !payload.is_empty();
        if is_plain { Some(Plain { seq, ack: self.ack?, payload }) } else { None }
    }
}

/// A segment that does no more than bring bytes, and say which it has seen of the other direction.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    /// The sequence number.
    pub seq: u32,
    /// The acknowledgment number.
    pub ack: u32,
    /// The payload.
    pub payload: &'a [u8],
}

/// Why a frame gives no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTcp {
    /// Its link type is not one that can be read.
    UnknownLink,
    /// It carries something else: ARP, UDP, ICMP, …
    Other,
    /// It is a fragment of an IP packet, of which [`Defragmenter`] makes whole ones.
    Fragment,
    /// A header is damaged, or cut off by the snap length.
    Damaged,
}

/// How many tunnels may be inside one another: more than any network has, and a bound for what hostile frames cost.
const MAX_TUNNELS: usize = 4;

/// Reads a frame down to its TCP segment, through the tunnels that it may be in.
///
/// # Errors
///
/// The frame does not hold one, or not one that can be read. Of a fragment nothing is read: that is what
/// [`Defragmenter`] is for.
pub fn decode<'a>(packet: &Packet<'a>) -> Result<Segment<'a>, NotTcp> {
    match outline::segment(packet) {
        Some(segment) => Ok(segment),
        None => decode_any(packet),
    }
}

/// [`decode`], without the short way of the common case.
pub(crate) fn decode_any<'a>(packet: &Packet<'a>) -> Result<Segment<'a>, NotTcp> {
    match read(packet)? {
        Innermost::Segment(segment) => Ok(segment),
        Innermost::Fragment(_) => Err(NotTcp::Fragment),
    }
}

/// What a frame comes down to.
enum Innermost<'a> {
    Segment(Segment<'a>),
    Fragment(Fragment<'a>),
}

/// A fragment of an IP packet, outside or inside of tunnels.
struct Fragment<'a> {
    source: IpAddr,
    destination: IpAddr,
    /// 16 bits in IPv4, 32 in IPv6.
    identification: u32,
    /// What the packet carries; in IPv6 only the first fragment must say it right.
    protocol: IpNumber,
    /// Where the fragment belongs in the payload of the packet.
    offset: usize,
    /// Whether others come behind it.
    more: bool,
    /// Its payload, as far as it was captured.
    payload: &'a [u8],
    /// How long its payload was on the wire.
    wire_len: usize,
}

/// A frame behind its link-layer header, or what a tunnel carries.
struct Layer<'a> {
    ether_type: EtherType,
    bytes: &'a [u8],
    /// How many bytes behind these were on the wire and are not here.
    cut: usize,
}

/// What a layer turns out to hold.
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
                // A length that does not even cover the header is none, but for 0.
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
        // How much of the IP packet is here, from its first header to the end of the payload.
        let ip_end = offset_in(self.bytes, ip_payload.payload) + ip_payload.payload.len();
        let held = ip_end.saturating_sub(ip_start);
        // Segmentation offload can leave the length at 0: the frame's own length tells then.
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
            payload: tcp.payload(),
            snapped: u32::try_from(cut).unwrap_or(u32::MAX),
        })))
    }
}

/// What an IP packet says of itself as a fragment.
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
        // What follows the fragment header belongs to the payload, though it may look like more extension headers.
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

/// Where `part`, which was borrowed from `whole`, begins in it.
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}
