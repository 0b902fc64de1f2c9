//! Link frame to TCP segment: Ethernet, Linux cooked, BSD loopback and raw IP; VLAN tags; IPv4 and IPv6 with options and
//! extension headers. The only user of etherparse.
//!
//! Checksums are not looked at: offloading makes them wrong in captures that are perfectly good.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, Ipv6Header, LaxNetSlice, LaxSlicedPacket, TransportSlice, ether_type, ip_number};

use crate::reader::Reader;
use crate::time::Timestamp;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The number of the packet in the capture, from 1.
    pub packet: u64,
    /// When it was captured.
    pub ts: Timestamp,
}

/// A link-layer header type, numbered as in capture files (the LINKTYPE_ values of the pcap registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

#[allow(missing_docs)]
impl LinkType {
    pub const NULL: Self = Self(0);
    pub const ETHERNET: Self = Self(1);
    pub const RAW: Self = Self(101);
    pub const LOOP: Self = Self(108);
    pub const LINUX_SLL: Self = Self(113);
    pub const IPV4: Self = Self(228);
    pub const IPV6: Self = Self(229);
    pub const LINUX_SLL2: Self = Self(276);
}

impl LinkType {
    /// Whether frames of this type can be read.
    pub const fn is_known(self) -> bool {
        matches!(
            self,
            Self::NULL
                | Self::ETHERNET
                | Self::RAW
                | Self::LOOP
                | Self::LINUX_SLL
                | Self::IPV4
                | Self::IPV6
                | Self::LINUX_SLL2
        )
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

/// Why a frame gives no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTcp {
    /// Its link type is not one that can be read.
    UnknownLink,
    /// It carries something else: ARP, UDP, ICMP, …
    Other,
    /// It is a fragment of an IP packet.
    Fragment,
    /// A header is damaged, or cut off by the snap length.
    Damaged,
}

/// Reads a frame down to its TCP segment.
///
/// # Errors
///
/// The frame does not hold one, or not one that can be read.
pub fn decode<'a>(packet: &Packet<'a>) -> Result<Segment<'a>, NotTcp> {
    let mut reader = Reader::new(packet.data);
    let ether_type = link_payload_type(packet.link, &mut reader)?;
    let sliced = LaxSlicedPacket::from_ether_type(ether_type, reader.peek_rest());
    let (source, destination, ip_start, wire_len) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let start = offset_in(packet.data, header.slice());
            let wire_len = usize::from(header.total_len());
            // A length that does not even cover the header is none, but for 0.
            if wire_len > 0 && wire_len < header.slice().len() {
                return Err(NotTcp::Damaged);
            }
            (IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr()), start, wire_len)
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let start = offset_in(packet.data, header.slice());
            let wire_len = match usize::from(header.payload_length()) {
                0 => 0,
                len => Ipv6Header::LEN + len,
            };
            (IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr()), start, wire_len)
        }
        Some(LaxNetSlice::Arp(_)) => return Err(NotTcp::Other),
        None if sliced.stop_err.is_some() => return Err(NotTcp::Damaged),
        None => return Err(NotTcp::Other),
    };
    let ip_payload = sliced.net.as_ref().and_then(LaxNetSlice::ip_payload_ref).ok_or(NotTcp::Damaged)?;
    if ip_payload.fragmented {
        return Err(NotTcp::Fragment);
    }
    let tcp = match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => tcp,
        Some(_) => return Err(NotTcp::Other),
        None if ip_payload.ip_number == ip_number::TCP || sliced.stop_err.is_some() => return Err(NotTcp::Damaged),
        None => return Err(NotTcp::Other),
    };
    // How much of the IP packet the frame holds, from its first header to the end of the payload.
    let held = offset_in(packet.data, tcp.payload()) + tcp.payload().len() - ip_start;
    // Segmentation offload can leave the length at 0: the frame's own length tells then.
    let wire_len = if wire_len == 0 { (packet.orig_len as usize).saturating_sub(ip_start) } else { wire_len };
    Ok(Segment {
        source: Endpoint { addr: source, port: tcp.source_port() },
        destination: Endpoint { addr: destination, port: tcp.destination_port() },
        seq: tcp.sequence_number(),
        ack: tcp.ack().then(|| tcp.acknowledgment_number()),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        payload: tcp.payload(),
        snapped: u32::try_from(wire_len.saturating_sub(held)).unwrap_or(u32::MAX),
    })
}

/// Where `part`, which was borrowed from `whole`, begins in it.
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

/// Reads the link-layer header and says what follows it.
///
/// Sources: the pcap registry of link-layer header types (LINKTYPE_NULL, LINKTYPE_LINUX_SLL, LINKTYPE_LINUX_SLL2, …).
fn link_payload_type(link: LinkType, r: &mut Reader<'_>) -> Result<EtherType, NotTcp> {
    const ETHERNET_ADDRESSES: usize = 12;
    const SLL_BEFORE_PROTOCOL: usize = 14;
    const SLL2_BEHIND_PROTOCOL: usize = 18;
    let damaged = |_| NotTcp::Damaged;
    match link {
        LinkType::ETHERNET => {
            r.take(ETHERNET_ADDRESSES, "addresses").map_err(damaged)?;
            r.u16("EtherType").map(EtherType).map_err(damaged)
        }
        LinkType::LINUX_SLL => {
            r.take(SLL_BEFORE_PROTOCOL, "cooked header").map_err(damaged)?;
            r.u16("protocol").map(EtherType).map_err(damaged)
        }
        LinkType::LINUX_SLL2 => {
            let protocol = r.u16("protocol").map_err(damaged)?;
            r.take(SLL2_BEHIND_PROTOCOL, "cooked header").map_err(damaged)?;
            Ok(EtherType(protocol))
        }
        LinkType::NULL | LinkType::LOOP => {
            // The address family, in the byte order of the host that captured (NULL) or of the network (LOOP). AF_INET is
            // 2 everywhere; AF_INET6 is not the same anywhere, so that the version in the IP header says more.
            r.u32("address family").map_err(damaged)?;
            ip_version(r)
        }
        LinkType::RAW | LinkType::IPV4 | LinkType::IPV6 => ip_version(r),
        _ => Err(NotTcp::UnknownLink),
    }
}

fn ip_version(r: &Reader<'_>) -> Result<EtherType, NotTcp> {
    match r.clone().u8("IP version").map_err(|_| NotTcp::Damaged)? >> 4 {
        4 => Ok(ether_type::IPV4),
        6 => Ok(ether_type::IPV6),
        _ => Err(NotTcp::Other),
    }
}
