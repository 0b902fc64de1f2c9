//! Packet filters in libpcap's language: the one that a live capture gets from its ports, and the user's own on files.
//!
//! A live filter runs in the kernel and saves the work of copying what nobody wants. It must let through everything that
//! may belong to a connection on one of the ports, and it may let through a little more: what is read looks at the ports
//! of every segment again.

use pcap::{BpfProgram, Capture, Linktype};

use super::Error;
use crate::packet::{LinkType, Packet};

/// The filter for a live capture: TCP on any of `ports` (on every port where there are none), and `extra`.
///
/// Three kinds of packets carry no port where a filter can see it, and are let through for what they may hold:
///
/// - IPv4 fragments after the first, which have no TCP header;
/// - IPv6 with extension headers. libpcap's `port` only matches where TCP follows the fixed header; its `protochain`,
///   which would walk the chain, needs a loop, which the kernel's filter does not have;
/// - packets under an IPsec authentication header.
///
/// With `tunnels`, everything that [`mod@crate::packet`] can look into is let through as well, for a filter sees no port in
/// there.
///
/// VLAN tags, single and double, are looked through on Ethernet. `extra` holds for what is inside the tags, too, except
/// where it speaks of encapsulation itself (`vlan 5`): then it comes first, as in a filter written by hand, and decides
/// alone which tags are let through.
pub(crate) fn port_filter(ports: &[u16], tunnels: bool, extra: Option<&str>, link: LinkType) -> String {
    let mut plain = plain_filter(ports);
    if tunnels {
        plain = format!("{plain} or {}", tunnel_filter(link));
    }
    let extra = extra.map(str::trim).filter(|extra| !extra.is_empty());
    // `vlan` is more than a test: it moves the offsets of everything after it in the expression by the size of a tag. So
    // what is wanted is written once for each depth, with the tagged depths nested after the plain one.
    let with_tags = |wanted: &str| format!("({wanted}) or (vlan and (({wanted}) or (vlan and ({wanted}))))");
    match extra {
        Some(extra) if moves_offsets(extra) => format!("({extra}) and ({plain})"),
        Some(extra) if link == LinkType::ETHERNET => with_tags(&format!("({plain}) and ({extra})")),
        Some(extra) => format!("({plain}) and ({extra})"),
        None if link == LinkType::ETHERNET => with_tags(&plain),
        // libpcap has no `vlan` for cooked captures. Tags are rare there, because the kernel takes the outer one off
        // before such a capture sees the packet, so what is still tagged is let through unseen.
        None if matches!(link, LinkType::LINUX_SLL | LinkType::LINUX_SLL2) => {
            format!("{plain} or ether proto 0x8100 or ether proto 0x88a8")
        }
        None => plain,
    }
}

/// What is wanted, for packets whose IP header stands where libpcap expects it.
fn plain_filter(ports: &[u16]) -> String {
    /// The extension headers that may come before TCP: hop-by-hop options, routing, fragment, authentication,
    /// destination options.
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
    // Without a look at the second header every ICMPv6 multicast report, which has hop-by-hop options, would pass.
    let second = any("ip6[40]", &mut EXTENSIONS.into_iter().chain([TCP]));
    format!("({on_ports}) or (ip[9] = {TCP} and ip[6:2] & 0x1fff != 0) or ip[9] = 51 or (({first}) and ({second}))")
}

/// Tunnels, with the fragments of their packets.
///
/// libpcap's own keywords for them (`mpls`, `pppoes`, `vxlan`, `geneve`) move the offsets of what follows in the
/// expression, so that the bytes are looked at instead.
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

/// Whether an expression holds a keyword that changes where libpcap looks for the headers in what follows it.
fn moves_offsets(expression: &str) -> bool {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| matches!(word, "vlan" | "mpls" | "pppoed" | "pppoes" | "geneve" | "vxlan"))
}

/// Compiles an expression for a link type, without an interface.
///
/// # Errors
///
/// What libpcap says is wrong with it.
pub(super) fn compile(expression: &str, link: LinkType) -> Result<BpfProgram, Error> {
    let dead = Capture::dead(dlt(link)).map_err(|error| filter_error(expression, &error))?;
    dead.compile(expression, true).map_err(|error| filter_error(expression, &error))
}

/// The error for an expression that libpcap refused.
pub(super) fn filter_error(expression: &str, error: &pcap::Error) -> Error {
    Error::Filter { filter: expression.to_owned(), reason: reason(error) }
}

/// libpcap's own words, without the crate's "libpcap error: " before them.
pub(super) fn reason(error: &pcap::Error) -> String {
    match error {
        pcap::Error::PcapError(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A user's filter for packets from capture files, compiled for each link type that the files turn out to have.
///
/// `len`, `less` and `greater` see the captured length; where the snap length cut a packet, that is less than it had on
/// the wire. libpcap's offline filter could be told both, but the binding passes the captured length as either.
pub struct PacketFilter {
    expression: String,
    /// One or two in practice, so a list is faster than a map. None where it cannot be compiled.
    programs: Vec<(LinkType, Option<BpfProgram>)>,
}

impl PacketFilter {
    /// A filter from an expression in libpcap's language (`man pcap-filter`).
    ///
    /// # Errors
    ///
    /// [`Error::Filter`] where the expression makes no sense for any kind of link.
    pub fn new(expression: &str) -> Result<Self, Error> {
        // Some expressions are good for one link type only (`vlan`, `ether host`), and none is known before the first
        // packet; so what compiles for any of the usual ones may be right.
        let wrong = match compile(expression, LinkType::ETHERNET) {
            Ok(_) => None,
            Err(_) if compile(expression, LinkType::LINUX_SLL2).is_ok() => None,
            Err(_) if compile(expression, LinkType::NULL).is_ok() => None,
            Err(error) => Some(error),
        };
        wrong.map_or_else(|| Ok(Self { expression: expression.to_owned(), programs: Vec::new() }), Err)
    }

    /// Whether a packet is wanted.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`] where the expression cannot be compiled for the packet's link type. That is said once for each
    /// link type; from then on its packets are not wanted.
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

/// libpcap's name for a link type, such as `EN10MB` or `IEEE802_11_RADIO`; `unknown` where it has none.
pub(crate) fn link_type_name(link: LinkType) -> String {
    dlt(link).get_name().unwrap_or_else(|_| "unknown".to_owned())
}

/// Capture files number a few link types otherwise than the handles of the system that reads them: the numbers below 104
/// meant different things on different systems before files got their own (`LINKTYPE_`, DLT_ in libpcap's words).
/// The pairs are (file, handle).
const RENUMBERED: [(u16, i32); 3] = [
    (100, 11), // ATM_RFC1483
    (LinkType::RAW.0, if cfg!(target_os = "openbsd") { 14 } else { 12 }),
    (106, 19), // ATM_CLIP
];

/// A file's link type as libpcap's handles number it.
fn dlt(link: LinkType) -> Linktype {
    let renumbered = RENUMBERED.iter().find(|(file, _)| *file == link.0);
    Linktype(renumbered.map_or_else(|| i32::from(link.0), |(_, handle)| *handle))
}

/// The link type of a libpcap handle as files number it.
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

    /// Every link type whose packets can be dissected.
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

    /// The part of a TCP or UDP header that a filter looks at, and some more.
    fn transport(from: u16, to: u16) -> Vec<u8> {
        [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0; 16]].concat()
    }

    fn ipv4(protocol: u8, fragment_offset: u16, payload: &[u8]) -> Vec<u8> {
        test_frames::ipv4_fragment(1, fragment_offset, protocol, payload)
    }

    /// An IPv6 extension header of eight bytes, before what it announces.
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

    /// A packet under any of the link headers.
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

    /// Packets that a filter for port 5432 must let through, and what they are.
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

    /// Packets that it must not let through.
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

    /// Packets that only a filter with tunnels lets through.
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

    /// A frame of another EtherType than IP's.
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
    fn tunnels_are_looked_for_behind_tags_too() {
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
            // IPv4 addresses in a filter for IPv6 only make an expression that can match nothing, which is an error.
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
        Packet { ts: Timestamp::default(), link, data, orig_len: data.len().try_into().unwrap() }
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
    fn a_filter_that_makes_no_sense_is_refused_in_libpcaps_words() {
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
