//! The header that a frame begins with.

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

/// Reads the link-layer header and says what follows it.
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
