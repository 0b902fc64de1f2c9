//! Tunnels: packets inside of packets. A tunnel's header is removed, and its content is returned as an EtherType and bytes, with
//! which [`super::read`] continues as with a frame.
//!
//! Only unencrypted tunnels with headers of known size are decoded.

use etherparse::{EtherType, IpNumber, ether_type, ip_number};

use super::{Layer, NotTcp};
use crate::reader::{DecodeError, Reader};

/// Transparent Ethernet Bridging: a whole Ethernet frame follows (RFC 1701).
const BRIDGED_ETHERNET: EtherType = EtherType(0x6558);
const MPLS: EtherType = EtherType(0x8847);
/// MPLS with labels assigned upstream, formerly multicast (RFC 5332).
const MPLS_UPSTREAM: EtherType = EtherType(0x8848);
const PPPOE_SESSION: EtherType = EtherType(0x8864);
/// ERSPAN types I and II (draft-foschiano-erspan).
const ERSPAN: EtherType = EtherType(0x88be);

const VXLAN_PORT: u16 = 4789;
/// The port that Linux used for VXLAN before one was assigned, and that Flannel and others still use.
const VXLAN_OLD_PORT: u16 = 8472;
const GENEVE_PORT: u16 = 6081;

const ETHERNET_ADDRESSES: usize = 12;

fn damaged(_: DecodeError) -> NotTcp {
    NotTcp::Damaged
}

/// Returns the content of an EtherType that is neither IP nor a VLAN tag.
pub(super) fn in_frame(ether_type: EtherType, bytes: &[u8], cut: usize) -> Result<Layer<'_>, NotTcp> {
    let r = Reader::new(bytes);
    match ether_type {
        MPLS | MPLS_UPSTREAM => mpls(r, cut),
        PPPOE_SESSION => pppoe(r, cut),
        _ => Err(NotTcp::Other),
    }
}

/// Returns the content of an IP packet that is neither TCP nor UDP.
pub(super) fn in_ip(number: IpNumber, bytes: &[u8], cut: usize) -> Result<Layer<'_>, NotTcp> {
    match number {
        ip_number::IPV4 => Ok(Layer { ether_type: ether_type::IPV4, bytes, cut }),
        ip_number::IPV6 => Ok(Layer { ether_type: ether_type::IPV6, bytes, cut }),
        ip_number::GRE => gre(Reader::new(bytes), cut),
        _ => Err(NotTcp::Other),
    }
}

/// Returns the content of a UDP datagram. Tunnels are identified by the destination port; the source port is a hash of the inner
/// flow.
pub(super) fn in_udp(destination_port: u16, bytes: &[u8], cut: usize) -> Result<Layer<'_>, NotTcp> {
    let r = Reader::new(bytes);
    let inner = match destination_port {
        VXLAN_PORT | VXLAN_OLD_PORT => vxlan(r, cut),
        GENEVE_PORT => geneve(r, cut),
        _ => return Err(NotTcp::Other),
    };
    // A port alone proves nothing: a datagram that is too short for a tunnel, but not truncated, is something else.
    inner.map_err(|why| if cut == 0 { NotTcp::Other } else { why })
}

/// Parses a VXLAN header (RFC 7348, section 5): flags, one of which marks the network identifier as valid, and an Ethernet frame.
fn vxlan(mut r: Reader<'_>, cut: usize) -> Result<Layer<'_>, NotTcp> {
    const HAS_IDENTIFIER: u8 = 0x08;
    let flags = r.u8("VXLAN flags").map_err(damaged)?;
    r.take(7, "VXLAN header").map_err(damaged)?;
    if flags & HAS_IDENTIFIER == 0 {
        return Err(NotTcp::Other);
    }
    ethernet(r, cut)
}

/// Parses a Geneve header (RFC 8926, section 3.4): a version of two bits, the size of the options in words, and an EtherType.
fn geneve(mut r: Reader<'_>, cut: usize) -> Result<Layer<'_>, NotTcp> {
    let first = r.u8("Geneve version").map_err(damaged)?;
    if first >> 6 != 0 {
        return Err(NotTcp::Other);
    }
    r.u8("Geneve flags").map_err(damaged)?;
    let protocol = r.u16("Geneve protocol").map_err(damaged)?;
    r.take(4, "Geneve identifier").map_err(damaged)?;
    r.take(usize::from(first & 0x3f) * 4, "Geneve options").map_err(damaged)?;
    carried(EtherType(protocol), r, cut)
}

/// Parses a GRE header (RFC 2784, RFC 2890): flags indicate which of checksum, key and sequence number are present.
fn gre(mut r: Reader<'_>, cut: usize) -> Result<Layer<'_>, NotTcp> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const VERSION: u16 = 0x0007;
    const ERSPAN_HEADER: usize = 8;
    let flags = r.u16("GRE flags").map_err(damaged)?;
    let protocol = EtherType(r.u16("GRE protocol").map_err(damaged)?);
    // Source routing (RFC 1701) was removed from the standard, and version 1 is PPTP's, whose PPP is compressed.
    if flags & (ROUTING | VERSION) != 0 {
        return Err(NotTcp::Other);
    }
    for field in [CHECKSUM, KEY, SEQUENCE] {
        if flags & field != 0 {
            r.u32("GRE field").map_err(damaged)?;
        }
    }
    if protocol == ERSPAN {
        // Type II has a sequence number and a header of its own; type I has neither.
        if flags & SEQUENCE != 0 {
            r.take(ERSPAN_HEADER, "ERSPAN header").map_err(damaged)?;
        }
        return ethernet(r, cut);
    }
    carried(protocol, r, cut)
}

/// Parses MPLS labels (RFC 3032, section 2.1), the last of which is marked. No field identifies the payload. As in routers that
/// balance load, its first four bits are interpreted as a version of IP (RFC 4928), or otherwise as an Ethernet pseudowire (RFC
/// 4448), with or without a control word if only one of the two is plausible.
fn mpls(mut r: Reader<'_>, cut: usize) -> Result<Layer<'_>, NotTcp> {
    const MAX_LABELS: usize = 16;
    const BOTTOM_OF_STACK: u32 = 0x100;
    const CONTROL_WORD: usize = 4;
    let mut labels = 1;
    while r.u32("MPLS label").map_err(damaged)? & BOTTOM_OF_STACK == 0 {
        labels += 1;
        if labels > MAX_LABELS {
            return Err(NotTcp::Other);
        }
    }
    let version = r.clone().u8("IP version").map_err(damaged)? >> 4;
    match version {
        4 => return carried(ether_type::IPV4, r, cut),
        6 => return carried(ether_type::IPV6, r, cut),
        _ => {}
    }
    let plain = ethernet(r.clone(), cut).ok().filter(is_plausible);
    let controlled = match r.take(CONTROL_WORD, "control word") {
        Ok(_) if version == 0 => ethernet(r, cut).ok().filter(is_plausible),
        _ => None,
    };
    match (plain, controlled) {
        (Some(frame), None) | (None, Some(frame)) => Ok(frame),
        _ => Err(NotTcp::Other),
    }
}

/// Returns whether a frame whose type was inferred contains something that can be decoded.
fn is_plausible(frame: &Layer<'_>) -> bool {
    matches!(
        frame.ether_type,
        ether_type::IPV4
            | ether_type::IPV6
            | ether_type::VLAN_TAGGED_FRAME
            | ether_type::PROVIDER_BRIDGING
            | MPLS
            | PPPOE_SESSION
    )
}

/// Parses a PPPoE session header (RFC 2516, section 4), with the protocol numbers of PPP for IPv4 and IPv6.
fn pppoe(mut r: Reader<'_>, cut: usize) -> Result<Layer<'_>, NotTcp> {
    const VERSION_AND_TYPE: u8 = 0x11;
    const SESSION_DATA: u8 = 0;
    const PPP_IPV4: u16 = 0x0021;
    const PPP_IPV6: u16 = 0x0057;
    let version_and_type = r.u8("PPPoE version").map_err(damaged)?;
    let code = r.u8("PPPoE code").map_err(damaged)?;
    r.take(4, "PPPoE session and length").map_err(damaged)?;
    if version_and_type != VERSION_AND_TYPE || code != SESSION_DATA {
        return Err(NotTcp::Other);
    }
    match r.u16("PPP protocol").map_err(damaged)? {
        PPP_IPV4 => carried(ether_type::IPV4, r, cut),
        PPP_IPV6 => carried(ether_type::IPV6, r, cut),
        _ => Err(NotTcp::Other),
    }
}

/// Returns the payload that a tunnel identifies by an EtherType.
fn carried(ether_type: EtherType, mut r: Reader<'_>, cut: usize) -> Result<Layer<'_>, NotTcp> {
    if ether_type == BRIDGED_ETHERNET { ethernet(r, cut) } else { Ok(Layer { ether_type, bytes: r.rest(), cut }) }
}

fn ethernet(mut r: Reader<'_>, cut: usize) -> Result<Layer<'_>, NotTcp> {
    r.take(ETHERNET_ADDRESSES, "addresses").map_err(damaged)?;
    let ether_type = r.u16("EtherType").map(EtherType).map_err(damaged)?;
    Ok(Layer { ether_type, bytes: r.rest(), cut })
}

#[cfg(test)]
mod tests;
