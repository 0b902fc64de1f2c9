//! Packet filters in libpcap's language: the filter of a live capture, derived from its ports, and a user's filter for files.
//!
//! A filter of a live capture runs in the kernel and avoids copying irrelevant packets. It must accept everything that may belong
//! to a connection on one of the ports. It may accept a little more, because the ports of every decoded segment are checked
//! again.

use pcap::{BpfProgram, Capture, Linktype};

use super::Error;
use crate::packet::{LinkType, Packet};

/// Returns the filter for a live capture: TCP on any of `ports` (on every port if there are none), and `extra`.
///
/// Three kinds of packets have no port that a filter can see, and are accepted for what they may contain:
///
/// - IPv4 fragments after the first, which have no TCP header;
/// - IPv6 with extension headers. libpcap's `port` only matches if TCP follows the fixed header; its `protochain`, which would
///   follow the chain, needs a loop, which the kernel's filters do not support;
/// - packets with an IPsec authentication header.
///
/// With `tunnels`, everything that [`mod@crate::packet`] can decapsulate is accepted as well, because a filter cannot see the
/// inner ports.
///
/// On Ethernet, single and double VLAN tags are supported. `extra` applies to the packet inside the tags, too, unless it mentions
/// encapsulation itself (`vlan 5`). Then it comes first, as in a filter written by hand, and alone decides which tags are
/// accepted.
pub(crate) fn port_filter(ports: &[u16], tunnels: bool, extra: Option<&str>, link: LinkType) -> String {
    let mut plain = plain_filter(ports);
    if tunnels {
        plain = format!("{plain} or {}", tunnel_filter(link));
    }
    let extra = extra.map(str::trim).filter(|extra| !extra.is_empty());
    // `vlan` is more than a test: it moves the offsets of everything after it in the expression by the size of a tag. So the
    // filter is written once for each depth, with the tagged depths nested after the untagged one.
    let with_tags = |wanted: &str| format!("({wanted}) or (vlan and (({wanted}) or (vlan and ({wanted}))))");
    match extra {
        Some(extra) if moves_offsets(extra) => format!("({extra}) and ({plain})"),
        Some(extra) if link == LinkType::ETHERNET => with_tags(&format!("({plain}) and ({extra})")),
        Some(extra) => format!("({plain}) and ({extra})"),
        None if link == LinkType::ETHERNET => with_tags(&plain),
        // libpcap has no `vlan` for cooked captures. Tags are rare there, because the kernel removes the outer one before such a
        // capture sees the packet, so packets that are still tagged are accepted unseen.
        None if matches!(link, LinkType::LINUX_SLL | LinkType::LINUX_SLL2) => {
            format!("{plain} or ether proto 0x8100 or ether proto 0x88a8")
        }
        None => plain,
    }
}

/// Returns the filter for packets whose IP header is where libpcap expects it.
fn plain_filter(ports: &[u16]) -> String {
    /// The extension headers that may precede TCP: hop-by-hop options, routing, fragment, authentication, destination options.
    const EXTENSIONS: [u8; 5] = [0, 43, 44, 51, 60];
    /// TCP's number as an IP protocol.
    const TCP: u8 = 6;
    let any = |field: &str, numbers: &mut dyn Iterator<Item = u8>| {
        numbers.map(|number| format!("{field} = {number}")).collect::<Vec<_>>().join(" or ")
    };

    let on_ports = if ports.is_empty() {
        "tcp".to_owned()
    } else {
        let ports: Vec<_> = ports.iter().map(|port| format!("port {port}")).collect();
        format!("tcp and ({})", ports.join(" or "))
    };
    let first = any("ip6[6]", &mut EXTENSIONS.into_iter());
    // Without a check of the second header, every ICMPv6 multicast report would match, because it has hop-by-hop options.
    let second = any("ip6[40]", &mut EXTENSIONS.into_iter().chain([TCP]));
    format!("({on_ports}) or (ip[9] = {TCP} and ip[6:2] & 0x1fff != 0) or ip[9] = 51 or (({first}) and ({second}))")
}

/// Returns the filter for tunnels, including fragments of their packets.
///
/// libpcap's keywords for tunnels (`mpls`, `pppoes`, `vxlan`, `geneve`) move the offsets of what follows in the expression, so
/// bytes are tested instead.
fn tunnel_filter(link: LinkType) -> String {
    const MPLS_AND_PPPOE: &str = "ether proto 0x8847 or ether proto 0x8848 or ether proto 0x8864";
    let over_ip = "udp dst port 4789 or udp dst port 8472 or udp dst port 6081 \
        or (ip[9] = 17 and ip[6:2] & 0x1fff != 0) \
        or ip[9] = 4 or ip[9] = 41 or ip[9] = 47 or ip6[6] = 4 or ip6[6] = 41 or ip6[6] = 47 \
        or ((ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 44 or ip6[6] = 60) \
        and (ip6[40] = 17 or ip6[40] = 4 or ip6[40] = 41 or ip6[40] = 47))";
    match link {
        LinkType::ETHERNET | LinkType::LINUX_SLL | LinkType::LINUX_SLL2 => format!("{MPLS_AND_PPPOE} or {over_ip}"),
        _ => over_ip.to_owned(),
    }
}

/// Returns whether an expression contains a keyword that moves the offsets of what follows it.
fn moves_offsets(expression: &str) -> bool {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| matches!(word, "vlan" | "mpls" | "pppoed" | "pppoes" | "geneve" | "vxlan"))
}

/// Compiles an expression for a link type, without an interface.
///
/// # Errors
///
/// The error message of libpcap.
pub(super) fn compile(expression: &str, link: LinkType) -> Result<BpfProgram, Error> {
    let dead = Capture::dead(dlt(link)).map_err(|error| filter_error(expression, &error))?;
    dead.compile(expression, true).map_err(|error| filter_error(expression, &error))
}

/// Returns the error for an expression that libpcap rejected.
pub(super) fn filter_error(expression: &str, error: &pcap::Error) -> Error {
    Error::Filter { filter: expression.to_owned(), reason: reason(error) }
}

/// Returns libpcap's own message, without the crate's prefix "libpcap error: ".
pub(super) fn reason(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A user's filter for packets from capture files, compiled for each link type that occurs.
///
/// `len`, `less` and `greater` see the captured length, which is less than the length on the wire if the snap length truncated a
/// packet. libpcap's offline filter has a parameter for each, but the binding passes the captured length for both.
pub struct PacketFilter {
    expression: String,
    /// There are one or two in practice, so a list is faster than a map. `None` for a link type for which the expression is
    /// invalid.
    programs: Vec<(LinkType, Option<BpfProgram>)>,
}

impl PacketFilter {
    /// Creates a filter from an expression in libpcap's language (`man pcap-filter`).
    ///
    /// # Errors
    ///
    /// [`Error::Filter`] if the expression is invalid for every common link type.
    pub fn new(expression: &str) -> Result<Self, Error> {
        // Some expressions are valid for one link type only (`vlan`, `ether host`), and no link type is known before the first
        // packet. So an expression is accepted if it compiles for any of the common ones.
        let wrong = match compile(expression, LinkType::ETHERNET) {
            Ok(_) => None,
            Err(_) if compile(expression, LinkType::LINUX_SLL2).is_ok() => None,
            Err(_) if compile(expression, LinkType::NULL).is_ok() => None,
            Err(error) => Some(error),
        };
        wrong.map_or_else(|| Ok(Self { expression: expression.to_owned(), programs: Vec::new() }), Err)
    }

    /// Returns the expression.
    #[cfg(feature = "cli")]
    pub(crate) fn expression(&self) -> &str {
        &self.expression
    }

    /// Returns whether a packet matches.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`] if the expression cannot be compiled for the packet's link type. This is reported once for each link
    /// type; after that, its packets do not match.
    pub fn matches(&mut self, packet: &Packet<'_>) -> Result<bool, Error> {
        if let Some((_, program)) = self.programs.iter().find(|(link, _)| *link == packet.link) {
            return Ok(program.as_ref().is_some_and(|program| program.filter(packet.data)));
        }
        let (program, wanted) = match compile(&self.expression, packet.link) {
            Ok(program) => {
                let wanted = program.filter(packet.data);
                (Some(program), Ok(wanted))
            }
            Err(error) => (None, Err(error)),
        };
        self.programs.push((packet.link, program));
        wanted
    }
}

impl std::fmt::Debug for PacketFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketFilter").field("expression", &self.expression).finish_non_exhaustive()
    }
}

/// Returns libpcap's name of a link type, such as `EN10MB` or `IEEE802_11_RADIO`; `unknown` if it has none.
pub(crate) fn link_type_name(link: LinkType) -> String {
    dlt(link).get_name().unwrap_or_else(|_| "unknown".to_owned())
}

/// Link types with different numbers in files (`LINKTYPE_`) and in the handles of the operating system (`DLT_`). The numbers
/// below 104 had different meanings on different systems before files got numbers of their own. The pairs are (file, handle).
const RENUMBERED: [(u16, i32); 3] = [
    (100, 11), // ATM_RFC1483
    (LinkType::RAW.0, if cfg!(target_os = "openbsd") { 14 } else { 12 }),
    (106, 19), // ATM_CLIP
];

/// Converts a file's link type to the number in libpcap's handles.
fn dlt(link: LinkType) -> Linktype {
    let renumbered = RENUMBERED.iter().find(|(file, _)| *file == link.0);
    Linktype(renumbered.map_or_else(|| i32::from(link.0), |(_, handle)| *handle))
}

/// Converts the link type of a libpcap handle to its number in files.
pub(super) fn from_dlt(dlt: Linktype) -> Option<LinkType> {
    match RENUMBERED.iter().find(|(_, handle)| *handle == dlt.0) {
        Some((file, _)) => Some(LinkType(*file)),
        None => u16::try_from(dlt.0).ok().map(LinkType),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::test_frames::{self, ipv6};
    use crate::time::Timestamp;

    /// All link types that can be decoded.
    const LINKS: [LinkType; 8] = [
        LinkType::NULL,
        LinkType::ETHERNET,
        LinkType::RAW,
        LinkType::LOOP,
        LinkType::IPV4,
        LinkType::IPV6,
        LinkType::LINUX_SLL,
        LinkType::LINUX_SLL2,
    ];

    const TCP: u8 = 6;
    const UDP: u8 = 17;

    /// Creates the part of a TCP or UDP header that a filter tests, and some more bytes.
    fn transport(from: u16, to: u16) -> Vec<u8> {
        [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0; 16]].concat()
    }

    fn ipv4(protocol: u8, fragment_offset: u16, payload: &[u8]) -> Vec<u8> {
        test_frames::ipv4_fragment(1, fragment_offset, protocol, payload)
    }

    /// Prepends an IPv6 extension header of eight bytes.
    fn extension(next_header: u8, payload: &[u8]) -> Vec<u8> {
        [&[next_header, 0, 0, 0, 0, 0, 0, 0], payload].concat()
    }

    fn ethernet(tags: &[u16], packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x02; 12];
        for tag in tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0, 5]);
        }
        frame.extend(ether_type(packet));
        frame.extend(packet);
        frame
    }

    fn ether_type(packet: &[u8]) -> [u8; 2] {
        if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] }
    }

    /// Prepends the link-layer header of a link type.
    fn framed(link: LinkType, packet: &[u8]) -> Vec<u8> {
        let family: u32 = if packet[0] >> 4 == 4 { 2 } else { 10 };
        let header = match link {
            LinkType::ETHERNET => return ethernet(&[], packet),
            LinkType::NULL => family.to_ne_bytes().to_vec(),
            LinkType::LOOP => family.to_be_bytes().to_vec(),
            LinkType::LINUX_SLL => [&[0; 14][..], &ether_type(packet)].concat(),
            LinkType::LINUX_SLL2 => [&ether_type(packet)[..], &[0; 18]].concat(),
            _ => Vec::new(),
        };
        [header, packet.to_vec()].concat()
    }

    /// Returns packets that a filter for port 5432 must accept, and their descriptions.
    fn wanted() -> Vec<(&'static str, Vec<u8>)> {
        let (to, from) = (transport(51_324, 5432), transport(5432, 51_324));
        vec![
            ("to the port", ipv4(TCP, 0, &to)),
            ("from the port", ipv4(TCP, 0, &from)),
            ("IPv6 to the port", ipv6(TCP, &to)),
            ("IPv6 from the port", ipv6(TCP, &from)),
            ("first fragment", ipv4(TCP, 0x2000, &to)),
            ("later fragment", ipv4(TCP, 0x20b9, &[7; 40])),
            ("last fragment", ipv4(TCP, 0x00b9, &[7; 40])),
            ("under an authentication header", ipv4(51, 0, &[7; 40])),
            ("IPv6 fragment", ipv6(44, &extension(TCP, &[7; 40]))),
            ("IPv6 after hop-by-hop options", ipv6(0, &extension(TCP, &to))),
            ("IPv6 after a routing header", ipv6(43, &extension(TCP, &to))),
            ("IPv6 after destination options", ipv6(60, &extension(TCP, &to))),
            ("IPv6 after two headers", ipv6(0, &extension(44, &extension(TCP, &to)))),
        ]
    }

    /// Returns packets that it must reject.
    fn unwanted() -> Vec<(&'static str, Vec<u8>)> {
        let (other, to) = (transport(51_324, 5433), transport(51_324, 5432));
        vec![
            ("another port", ipv4(TCP, 0, &other)),
            ("IPv6 to another port", ipv6(TCP, &other)),
            ("UDP", ipv4(UDP, 0, &to)),
            ("IPv6 UDP", ipv6(UDP, &to)),
            ("a fragment of UDP", ipv4(UDP, 0x00b9, &[7; 40])),
            ("an IPv6 fragment of UDP", ipv6(44, &extension(UDP, &[7; 40]))),
            ("a multicast report", ipv6(0, &extension(58, &[7; 40]))),
        ]
    }

    fn family_fits(link: LinkType, packet: &[u8]) -> bool {
        match link {
            LinkType::IPV4 => packet[0] >> 4 == 4,
            LinkType::IPV6 => packet[0] >> 4 == 6,
            _ => true,
        }
    }

    #[test]
    fn the_ports_are_found_on_every_link_type() {
        for link in LINKS {
            let program = compile(&port_filter(&[6432, 5432], false, None, link), link).unwrap();
            for (what, packet) in wanted() {
                if family_fits(link, &packet) {
                    assert!(program.filter(&framed(link, &packet)), "{link:?}: {what}");
                }
            }
            for (what, packet) in unwanted() {
                assert!(!program.filter(&framed(link, &packet)), "{link:?}: {what}");
            }
        }
    }

    #[test]
    fn without_ports_all_of_tcp_is_wanted() {
        for link in LINKS {
            let program = compile(&port_filter(&[], false, None, link), link).unwrap();
            for (what, packet) in wanted() {
                if family_fits(link, &packet) {
                    assert!(program.filter(&framed(link, &packet)), "{link:?}: {what}");
                }
            }
            for (what, packet) in unwanted() {
                let tcp = family_fits(link, &packet) && what.contains("another port");
                assert_eq!(program.filter(&framed(link, &packet)), tcp, "{link:?}: {what}");
            }
        }
    }

    #[test]
    fn vlan_tags_are_looked_through() {
        let program = compile(&port_filter(&[5432], false, None, LinkType::ETHERNET), LinkType::ETHERNET).unwrap();
        for tags in [&[0x8100][..], &[0x88a8], &[0x88a8, 0x8100], &[0x8100, 0x8100]] {
            for (what, packet) in wanted() {
                assert!(program.filter(&ethernet(tags, &packet)), "{tags:x?}: {what}");
            }
            for (what, packet) in unwanted() {
                assert!(!program.filter(&ethernet(tags, &packet)), "{tags:x?}: {what}");
            }
        }
    }

    /// Returns packets that only a filter with tunnels accepts.
    fn tunneled() -> Vec<(&'static str, Vec<u8>)> {
        let inner = ipv4(TCP, 0, &transport(51_324, 5432));
        let mut packets = Vec::new();
        for port in [4789, 8472, 6081] {
            packets.push(("a tunnel over UDP", ipv4(UDP, 0, &transport(50_000, port))));
            packets.push(("a tunnel over UDP and IPv6", ipv6(UDP, &transport(50_000, port))));
        }
        packets.push(("a later fragment of UDP", ipv4(UDP, 0x00b9, &[7; 40])));
        packets.push(("an IPv6 fragment of UDP", ipv6(44, &extension(UDP, &[7; 40]))));
        for protocol in [4, 41, 47] {
            packets.push(("a tunnel over IPv4", ipv4(protocol, 0, &inner)));
            packets.push(("a fragment of a tunnel", ipv4(protocol, 0x20b9, &inner)));
            packets.push(("a tunnel over IPv6", ipv6(protocol, &inner)));
            packets.push(("an IPv6 fragment of a tunnel", ipv6(44, &extension(protocol, &inner))));
        }
        packets
    }

    /// Returns a frame with an EtherType other than IP.
    fn framed_as(link: LinkType, ether_type: u16) -> Option<Vec<u8>> {
        let ether_type = ether_type.to_be_bytes();
        match link {
            LinkType::ETHERNET => Some([&[2; 12][..], &ether_type, &[0; 60]].concat()),
            LinkType::LINUX_SLL => Some([&[0; 14][..], &ether_type, &[0; 60]].concat()),
            LinkType::LINUX_SLL2 => Some([&ether_type[..], &[0; 78]].concat()),
            _ => None,
        }
    }

    #[test]
    fn tunnels_are_let_through_where_they_are_wanted() {
        for link in LINKS {
            let plain = compile(&port_filter(&[5432], false, None, link), link).unwrap();
            let tunnels = compile(&port_filter(&[5432], true, None, link), link).unwrap();
            for (what, packet) in tunneled() {
                if family_fits(link, &packet) {
                    assert!(tunnels.filter(&framed(link, &packet)), "{link:?}: {what}");
                    assert!(!plain.filter(&framed(link, &packet)), "{link:?}: {what}");
                }
            }
            for ether_type in [0x8847, 0x8848, 0x8864] {
                if let Some(frame) = framed_as(link, ether_type) {
                    assert!(tunnels.filter(&frame), "{link:?}: {ether_type:x}");
                    assert!(!plain.filter(&frame), "{link:?}: {ether_type:x}");
                }
            }
            for (what, packet) in wanted() {
                if family_fits(link, &packet) {
                    assert!(tunnels.filter(&framed(link, &packet)), "{link:?}: {what}");
                }
            }
            for (what, packet) in unwanted() {
                let tunnel = !family_fits(link, &packet) || what.contains("fragment");
                assert_eq!(
                    tunnels.filter(&framed(link, &packet)),
                    tunnel && family_fits(link, &packet),
                    "{link:?}: {what}"
                );
            }
        }
    }

    #[test]
    fn tunnels_are_found_inside_vlan_tags() {
        let program = compile(&port_filter(&[5432], true, None, LinkType::ETHERNET), LinkType::ETHERNET).unwrap();
        for tags in [&[0x8100][..], &[0x88a8, 0x8100]] {
            for (what, packet) in tunneled().into_iter().chain(wanted()) {
                assert!(program.filter(&ethernet(tags, &packet)), "{tags:x?}: {what}");
            }
        }
        let mpls = [&[2; 12][..], &[0x81, 0, 0, 5, 0x88, 0x47], &[0; 60]].concat();
        assert!(program.filter(&mpls));
    }

    #[test]
    fn tags_that_a_cooked_capture_shows_are_let_through() {
        let tagged = |link| match link {
            LinkType::LINUX_SLL => [&[0; 14][..], &[0x81, 0x00, 0, 5, 8, 0]].concat(),
            _ => [&[0x81, 0x00][..], &[0; 18], &[0, 5, 8, 0]].concat(),
        };
        for link in [LinkType::LINUX_SLL, LinkType::LINUX_SLL2] {
            let frame = [tagged(link), ipv4(TCP, 0, &transport(51_324, 5432))].concat();
            assert!(compile(&port_filter(&[5432], false, None, link), link).unwrap().filter(&frame), "{link:?}");
        }
    }

    #[test]
    fn the_extra_filter_holds_at_every_depth() {
        let extra = Some("host 10.0.0.1 or ip6 host ::1");
        let elsewhere = Some("host 10.9.9.9");
        for link in LINKS {
            // A filter with IPv4 addresses on an IPv6-only link can match nothing, which is an error.
            if link == LinkType::IPV4 || link == LinkType::IPV6 {
                continue;
            }
            let here = compile(&port_filter(&[5432], false, extra, link), link).unwrap();
            let there = compile(&port_filter(&[5432], false, elsewhere, link), link).unwrap();
            for (what, packet) in wanted() {
                let mut frames = vec![framed(link, &packet)];
                if link == LinkType::ETHERNET {
                    frames.push(ethernet(&[0x8100], &packet));
                    frames.push(ethernet(&[0x88a8, 0x8100], &packet));
                }
                for frame in frames {
                    assert!(here.filter(&frame), "{link:?}: {what}");
                    assert!(!there.filter(&frame), "{link:?}: {what}");
                }
            }
            for (what, packet) in unwanted() {
                assert!(!here.filter(&framed(link, &packet)), "{link:?}: {what}");
            }
        }
    }

    #[test]
    fn an_extra_filter_on_tags_decides_which_are_let_through() {
        let packet = ipv4(TCP, 0, &transport(51_324, 5432));
        let program =
            compile(&port_filter(&[5432], false, Some("vlan 5"), LinkType::ETHERNET), LinkType::ETHERNET).unwrap();
        assert!(program.filter(&ethernet(&[0x8100], &packet)));
        assert!(!program.filter(&ethernet(&[], &packet)));
        let other =
            compile(&port_filter(&[5432], false, Some("vlan 6"), LinkType::ETHERNET), LinkType::ETHERNET).unwrap();
        assert!(!other.filter(&ethernet(&[0x8100], &packet)));
    }

    #[test]
    fn a_blank_extra_filter_is_none() {
        for link in LINKS {
            assert_eq!(port_filter(&[5432], false, Some("  "), link), port_filter(&[5432], false, None, link));
        }
    }

    #[test]
    fn a_hundred_ports_still_fit_the_kernel() {
        const BPF_MAXINSNS: usize = 4096;
        let ports: Vec<u16> = (5400..5500).collect();
        for tunnels in [false, true] {
            let filter = port_filter(&ports, tunnels, Some("net 10.0.0.0/8"), LinkType::ETHERNET);
            let instructions = compile(&filter, LinkType::ETHERNET).unwrap().get_instructions().len();
            assert!(instructions <= BPF_MAXINSNS, "{instructions}");
        }
    }

    fn packet(link: LinkType, data: &[u8]) -> Packet<'_> {
        Packet { ts: Timestamp::default(), link, data, orig_len: data.len().try_into().unwrap(), interface: 0 }
    }

    #[test]
    fn a_filter_for_files_follows_the_link_types() {
        let mut filter = PacketFilter::new("tcp port 5432").unwrap();
        for _ in 0..2 {
            for link in LINKS {
                let wanted = framed(link, &ipv4(TCP, 0, &transport(5432, 1)));
                let unwanted = framed(link, &ipv4(TCP, 0, &transport(5433, 1)));
                assert_eq!(filter.matches(&packet(link, &wanted)).unwrap(), link != LinkType::IPV6, "{link:?}");
                assert!(!filter.matches(&packet(link, &unwanted)).unwrap(), "{link:?}");
            }
        }
        assert!(!filter.matches(&packet(LinkType::ETHERNET, &[])).unwrap());
    }

    #[test]
    fn an_invalid_filter_is_rejected_with_libpcaps_message() {
        let error = PacketFilter::new("tcp prt 5432").unwrap_err();
        assert_eq!(error.to_string(), r#"filter "tcp prt 5432": can't parse filter expression: syntax error"#);
        assert!(PacketFilter::new("tcp port 1) or (udp").is_err());
        assert!(PacketFilter::new("tcp\0").is_err());
    }

    #[test]
    fn a_filter_that_one_link_type_lacks_is_refused_there() {
        let mut filter = PacketFilter::new("vlan 5").unwrap();
        assert!(filter.matches(&packet(LinkType::ETHERNET, &[0; 60])).is_ok_and(|wanted| !wanted));
        let error = filter.matches(&packet(LinkType::LINUX_SLL2, &[0; 60])).unwrap_err();
        assert!(matches!(error, Error::Filter { .. }), "{error}");
        assert!(filter.matches(&packet(LinkType(9999), &[0; 60])).is_err());
        assert!(filter.matches(&packet(LinkType::LINUX_SLL2, &[0; 60])).is_ok_and(|wanted| !wanted), "it is said once");
    }

    #[test]
    fn link_types_have_names() {
        assert_eq!(link_type_name(LinkType::ETHERNET), "EN10MB");
        assert_eq!(link_type_name(LinkType::RAW), "RAW");
        assert_eq!(link_type_name(LinkType(127)), "IEEE802_11_RADIO");
        assert_eq!(link_type_name(LinkType(65_000)), "unknown");
    }

    #[test]
    fn link_types_survive_the_way_to_libpcap_and_back() {
        for link in LINKS {
            assert_eq!(from_dlt(dlt(link)), Some(link));
        }
    }
}
