//! Link frame to TCP segment: Ethernet, Linux cooked, BSD loopback and raw IP; VLAN tags; IPv4 and IPv6 with options and
//! extension headers. The only user of etherparse.
//!
//! Checksums are not looked at: offloading makes them wrong in captures that are perfectly good.

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
