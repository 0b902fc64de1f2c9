//! Link-layer headers.

use etherparse::{EtherType, ether_type};

use super::NotTcp;
use crate::reader::Reader;

/// A link-layer header type, numbered as in capture files (the LINKTYPE_ values of the pcap registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u16);

#[allow(missing_docs)]
impl LinkType {
    pub const NULL: Self = Self(0);
    pub const ETHERNET: Self = Self(1);
    pub const PPP: Self = Self(9);
    pub const FDDI: Self = Self(10);
    pub const PPP_HDLC: Self = Self(50);
    pub const RAW: Self = Self(101);
    pub const C_HDLC: Self = Self(104);
    pub const LOOP: Self = Self(108);
    pub const LINUX_SLL: Self = Self(113);
    pub const IPV4: Self = Self(228);
    pub const IPV6: Self = Self(229);
    pub const NFLOG: Self = Self(239);
    pub const LINUX_SLL2: Self = Self(276);
}

impl LinkType {
    /// Returns whether this link type is supported.
    pub const fn is_known(self) -> bool {
        matches!(
            self,
            Self::NULL
                | Self::ETHERNET
                | Self::PPP
                | Self::FDDI
                | Self::PPP_HDLC
                | Self::RAW
                | Self::C_HDLC
                | Self::LOOP
                | Self::LINUX_SLL
                | Self::IPV4
                | Self::IPV6
                | Self::NFLOG
                | Self::LINUX_SLL2
        )
    }
}

/// Parses the link-layer header and returns the type of its payload.
///
/// Sources: the pcap registry of link-layer header types (LINKTYPE_NULL, LINKTYPE_LINUX_SLL, LINKTYPE_LINUX_SLL2, …).
pub(super) fn payload_type(link: LinkType, r: &mut Reader<'_>) -> Result<EtherType, NotTcp> {
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
            // The address family, in the byte order of the capturing host (NULL) or of the network (LOOP). AF_INET is 2
            // everywhere, but AF_INET6 depends on the system, so the version in the IP header is used instead.
            r.u32("address family").map_err(damaged)?;
            ip_version(r)
        }
        LinkType::RAW | LinkType::IPV4 | LinkType::IPV6 => ip_version(r),
        LinkType::PPP | LinkType::PPP_HDLC => ppp(r),
        LinkType::C_HDLC => cisco_hdlc(r),
        LinkType::FDDI => fddi(r),
        LinkType::NFLOG => nflog(r),
        _ => Err(NotTcp::UnknownLink),
    }
}

/// Parses a PPP header, with or without HDLC's address and control fields (RFC 1662, section 3.1), which Cisco HDLC also has.
fn ppp(r: &mut Reader<'_>) -> Result<EtherType, NotTcp> {
    const ALL_STATIONS: u8 = 0xff;
    const CISCO_UNICAST: u8 = 0x0f;
    const CISCO_MULTICAST: u8 = 0x8f;
    let damaged = |_| NotTcp::Damaged;
    match r.clone().u8("address").map_err(damaged)? {
        ALL_STATIONS => _ = r.take(2, "address and control").map_err(damaged)?,
        CISCO_UNICAST | CISCO_MULTICAST => return cisco_hdlc(r),
        _ => {}
    }
    let high = r.u8("PPP protocol").map_err(damaged)?;
    // The last octet of a protocol number is odd, the others are even. A leading 0 may be omitted (RFC 1661, section 6.5).
    let protocol = if high & 1 == 1 { high } else { r.u8("PPP protocol").map_err(damaged)? };
    match (high, protocol) {
        (0 | 0x21, 0x21) => Ok(ether_type::IPV4),
        (0 | 0x57, 0x57) => Ok(ether_type::IPV6),
        _ => Err(NotTcp::Other),
    }
}

/// Parses a Cisco HDLC header: address, control, and an EtherType.
fn cisco_hdlc(r: &mut Reader<'_>) -> Result<EtherType, NotTcp> {
    r.take(2, "address and control").map_err(|_| NotTcp::Damaged)?;
    r.u16("EtherType").map(EtherType).map_err(|_| NotTcp::Damaged)
}

/// Parses an FDDI header (ANSI X3.139): frame control and addresses, followed by LLC and SNAP headers (RFC 1390).
fn fddi(r: &mut Reader<'_>) -> Result<EtherType, NotTcp> {
    const ADDRESSES: usize = 12;
    const LLC_FRAME: u8 = 0x50;
    let damaged = |_| NotTcp::Damaged;
    let control = r.u8("frame control").map_err(damaged)?;
    r.take(ADDRESSES, "addresses").map_err(damaged)?;
    // The lowest bits are a priority, and whether addresses are long.
    if control & 0x70 != LLC_FRAME {
        return Err(NotTcp::Other);
    }
    match *r.take(6, "LLC and SNAP").map_err(damaged)? {
        [0xaa, 0xaa, 3, 0, 0, 0] => r.u16("EtherType").map(EtherType).map_err(damaged),
        _ => Err(NotTcp::Other),
    }
}

/// Parses a log message of Linux's netfilter: family, version and group, then attributes in host byte order. One of them is the
/// packet.
fn nflog(r: &mut Reader<'_>) -> Result<EtherType, NotTcp> {
    const HEADER: u16 = 4;
    const PAYLOAD: u16 = 9;
    const MAX_ATTRIBUTES: u32 = 64;
    let damaged = |_| NotTcp::Damaged;
    let _family = r.u8("address family").map_err(damaged)?;
    if r.u8("version").map_err(damaged)? != 0 {
        return Err(NotTcp::Other);
    }
    r.u16("group").map_err(damaged)?;
    for _ in 0..MAX_ATTRIBUTES {
        let (len, kind) = (r.u16("length").map_err(damaged)?, r.u16("type").map_err(damaged)?);
        // There are fewer than 256 attribute types, and none is 0, which shows the byte order.
        let (len, kind) = if kind >> 8 == 0 { (len, kind) } else { (len.swap_bytes(), kind.swap_bytes()) };
        if kind == PAYLOAD {
            return ip_version(r);
        }
        let value = len.checked_sub(HEADER).ok_or(NotTcp::Damaged)?;
        r.take(usize::from(value).next_multiple_of(4), "attribute").map_err(damaged)?;
    }
    Err(NotTcp::Damaged)
}

fn ip_version(r: &Reader<'_>) -> Result<EtherType, NotTcp> {
    match r.clone().u8("IP version").map_err(|_| NotTcp::Damaged)? >> 4 {
        4 => Ok(ether_type::IPV4),
        6 => Ok(ether_type::IPV6),
        _ => Err(NotTcp::Other),
    }
}
