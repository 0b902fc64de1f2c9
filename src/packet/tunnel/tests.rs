use crate::packet::test_frames::{IPV4, IPV6, TCP, UDP, at, decoded, ethernet, ipv4, ipv6, packet, tcp, udp};
use crate::packet::{LinkType, NotTcp, decode};

const QUERY: &[u8] = b"Q\0\0\0\x0dSELECT 1\0";

fn inner4() -> Vec<u8> {
    ipv4(TCP, &tcp(QUERY))
}

fn inner6() -> Vec<u8> {
    ipv6(TCP, &tcp(QUERY))
}

fn inner_ethernet() -> Vec<u8> {
    ethernet(IPV4, &inner4())
}

fn with(header: &[u8], payload: &[u8]) -> Vec<u8> {
    [header, payload].concat()
}

fn over_udp(port: u16, header: &[u8], payload: &[u8]) -> Vec<u8> {
    ethernet(IPV4, &ipv4(UDP, &udp(port, &with(header, payload))))
}

fn over_gre(header: &[u8], payload: &[u8]) -> Vec<u8> {
    ethernet(IPV4, &ipv4(47, &with(header, payload)))
}

const VXLAN: &[u8] = &[8, 0, 0, 0, 0, 0, 5, 0];

/// Returns a frame of each tunnel type around the same segment.
fn tunnels() -> Vec<(&'static str, Vec<u8>)> {
    let tagged = with(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 5, 8, 0], &inner4());
    vec![
        ("VXLAN", over_udp(4789, VXLAN, &inner_ethernet())),
        ("VXLAN on the old port", over_udp(8472, VXLAN, &inner_ethernet())),
        ("VXLAN with a group policy", over_udp(4789, &[0x88, 0, 0, 7, 0, 0, 5, 0], &inner_ethernet())),
        ("VXLAN with a tag inside", over_udp(4789, VXLAN, &tagged)),
        ("VXLAN over IPv6", ethernet(IPV6, &ipv6(UDP, &udp(4789, &with(VXLAN, &inner_ethernet()))))),
        ("Geneve", over_udp(6081, &[0, 0, 0x65, 0x58, 0, 0, 5, 0], &inner_ethernet())),
        (
            "Geneve with options",
            over_udp(6081, &[2, 0, 0x65, 0x58, 0, 0, 5, 0, 1, 2, 3, 1, 9, 9, 9, 9], &inner_ethernet()),
        ),
        ("Geneve with IPv6", over_udp(6081, &[0, 0, 0x86, 0xdd, 0, 0, 5, 0], &inner6())),
        ("GRE", over_gre(&[0, 0, 8, 0], &inner4())),
        ("GRE with IPv6", over_gre(&[0, 0, 0x86, 0xdd], &inner6())),
        ("GRE with a key", over_gre(&[0x20, 0, 8, 0, 1, 2, 3, 4], &inner4())),
        (
            "GRE with everything",
            over_gre(&[0xb0, 0, 0x65, 0x58, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 9], &inner_ethernet()),
        ),
        ("GRE over IPv6", ethernet(IPV6, &ipv6(47, &with(&[0, 0, 8, 0], &inner4())))),
        ("ERSPAN type I", over_gre(&[0, 0, 0x88, 0xbe], &inner_ethernet())),
        ("ERSPAN type II", over_gre(&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 5, 0, 1, 0, 0, 0, 2], &inner_ethernet())),
        ("IP in IP", ethernet(IPV4, &ipv4(4, &inner4()))),
        ("6in4", ethernet(IPV4, &ipv4(41, &inner6()))),
        ("4in6", ethernet(IPV6, &ipv6(4, &inner4()))),
        ("6in6", ethernet(IPV6, &ipv6(41, &inner6()))),
        ("MPLS", ethernet(0x8847, &with(&[0, 1, 0x01, 64], &inner4()))),
        ("MPLS with two labels", ethernet(0x8848, &with(&[0, 1, 0x00, 64, 0, 2, 0x01, 64], &inner6()))),
        ("MPLS pseudowire", ethernet(0x8847, &with(&[0, 1, 0x01, 64], &inner_ethernet()))),
        (
            "MPLS pseudowire with a control word",
            ethernet(0x8847, &with(&[0, 1, 0x01, 64, 0, 0, 0, 9], &inner_ethernet())),
        ),
        ("PPPoE", ethernet(0x8864, &with(&[0x11, 0, 0, 1, 0, 57, 0, 0x21], &inner4()))),
        ("PPPoE with IPv6", ethernet(0x8864, &with(&[0x11, 0, 0, 1, 0, 77, 0, 0x57], &inner6()))),
        ("a tag, then PPPoE", ethernet(0x8100, &with(&[0, 5, 0x88, 0x64, 0x11, 0, 0, 1, 0, 57, 0, 0x21], &inner4()))),
        (
            "GRE in VXLAN in MPLS",
            ethernet(
                0x8847,
                &with(&[0, 1, 0x01, 64], &ipv4(UDP, &udp(4789, &with(VXLAN, &over_gre(&[0, 0, 8, 0], &inner4()))))),
            ),
        ),
    ]
}

#[test]
fn every_tunnel_is_looked_into() {
    for (what, frame) in tunnels() {
        let segment = decoded(&frame).unwrap_or_else(|why| panic!("{what}: {why:?}"));
        assert_eq!((segment.source.port, segment.destination.port), (40_000, 5432), "{what}");
        assert_eq!((segment.payload, segment.seq, segment.ack), (QUERY, 7, Some(9)), "{what}");
        assert_eq!(segment.snapped, 0, "{what}");
    }
}

#[test]
fn padding_after_the_inner_packet_is_not_payload() {
    for (what, mut frame) in tunnels() {
        frame.extend([0; 9]);
        let segment = decoded(&frame).unwrap();
        assert_eq!((segment.payload, segment.snapped), (QUERY, 0), "{what}");
    }
}

#[test]
fn a_snap_length_within_the_inner_packet_is_measured() {
    for (what, frame) in tunnels() {
        for cut in 1..=QUERY.len() {
            let held = packet(LinkType::ETHERNET, &frame[..frame.len() - cut], frame.len(), at(0));
            let segment = decode(&held).unwrap_or_else(|why| panic!("{what}, {cut}: {why:?}"));
            assert_eq!(segment.payload, &QUERY[..QUERY.len() - cut], "{what}");
            assert_eq!(segment.snapped as usize, cut, "{what}");
        }
        for held in 0..frame.len() - QUERY.len() {
            let held = packet(LinkType::ETHERNET, &frame[..held], frame.len(), at(0));
            assert!(decode(&held).is_err(), "{what}: there is no whole TCP header");
        }
    }
}

#[test]
fn an_inner_length_of_0_is_that_of_the_frame() {
    let mut inner = inner4();
    inner[2..4].fill(0);
    let frame = ethernet(IPV4, &ipv4(4, &inner));
    let held = packet(LinkType::ETHERNET, &frame[..frame.len() - 5], frame.len(), at(0));
    let segment = decode(&held).unwrap();
    assert_eq!((segment.payload, segment.snapped), (&QUERY[..QUERY.len() - 5], 5));
}

#[test]
fn what_only_looks_like_a_tunnel_is_something_else() {
    let others = [
        ("another port", over_udp(4788, VXLAN, &inner_ethernet())),
        ("from the port", {
            let mut frame = over_udp(5000, VXLAN, &inner_ethernet());
            frame[34..36].copy_from_slice(&4789_u16.to_be_bytes());
            frame
        }),
        ("VXLAN without an identifier", over_udp(4789, &[0; 8], &inner_ethernet())),
        ("VXLAN of three bytes", over_udp(4789, &[8, 0, 0], &[])),
        ("Geneve of another version", over_udp(6081, &[0x40, 0, 0x65, 0x58, 0, 0, 5, 0], &inner_ethernet())),
        ("Geneve with more options than there are", over_udp(6081, &[63, 0, 8, 0, 0, 0, 5, 0], &inner4())),
        ("GRE of version 1", over_gre(&[0x20, 1, 0x88, 0x0b, 0, 0, 0, 0], &inner4())),
        ("GRE with source routing", over_gre(&[0x40, 0, 8, 0, 0, 0, 0, 0], &inner4())),
        ("GRE keep-alive", over_gre(&[0, 0, 0, 0], &[])),
        ("MPLS without a bottom", ethernet(0x8847, &[0; 200])),
        ("MPLS with a control channel", ethernet(0x8847, &with(&[0, 1, 1, 64, 0x10, 0, 0, 0x21], &[0; 20]))),
        ("PPP's own control", ethernet(0x8864, &with(&[0x11, 0, 0, 1, 0, 10, 0xc0, 0x21], &[1, 1, 0, 4]))),
        ("PPPoE of another version", ethernet(0x8864, &with(&[0x21, 0, 0, 1, 0, 57, 0, 0x21], &inner4()))),
        ("ARP in VXLAN", over_udp(4789, VXLAN, &ethernet(0x0806, &[0; 28]))),
        ("UDP in VXLAN", over_udp(4789, VXLAN, &ethernet(IPV4, &ipv4(UDP, &udp(5432, QUERY))))),
    ];
    for (what, frame) in others {
        let why = decoded(&frame).map(|_| ()).unwrap_err();
        assert!(why == NotTcp::Other || what.contains("ARP") && why == NotTcp::Damaged, "{what}: {why:?}");
    }
}

#[test]
fn tunnels_in_tunnels_have_an_end() {
    let mut frame = inner4();
    for depth in 1..=9 {
        frame = ipv4(4, &frame);
        let whole = ethernet(IPV4, &frame);
        assert_eq!(decoded(&whole).is_ok(), depth <= 4, "{depth}");
    }
}

#[test]
fn no_byte_of_a_tunnel_can_do_harm() {
    for (_, frame) in tunnels() {
        for at in 0..frame.len() {
            for value in [0, 1, 0x0f, 0x40, 0x7f, 0x80, 0xff] {
                let mut frame = frame.clone();
                frame[at] = value;
                let _ = decoded(&frame);
                let _ = decoded(&frame[..at]);
            }
        }
    }
}
