//! Real traffic in tunnels and in fragments results in the same messages.

use crate::captures::{self, OwnedPacket};

const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;

/// Converts the IP packet of every frame of an IPv4-over-Ethernet capture into one or more frames.
fn rewritten(name: &str, mut made: impl FnMut(&[u8]) -> Vec<Vec<u8>>) -> Vec<OwnedPacket> {
    let (packets, errors) = captures::packets(&[captures::testdata().join(name)]);
    assert!(errors.is_empty(), "{errors:?}");
    let mut rewritten = Vec::new();
    for packet in packets {
        let len = usize::from(u16::from_be_bytes([packet.data[16], packet.data[17]]));
        for data in made(&packet.data[14..14 + len]) {
            let orig_len = data.len().try_into().unwrap();
            rewritten.push(OwnedPacket { data, orig_len, ..packet });
        }
    }
    rewritten
}

/// Returns lines without packet numbers.
fn lines<'a>(packets: impl IntoIterator<Item = &'a OwnedPacket, IntoIter: Clone>) -> Vec<serde_json::Value> {
    let output = captures::dissect_packets(packets, captures::config());
    assert_eq!(output.counters.lost_fragments, 0);
    assert_eq!(output.counters.damaged_packets + output.counters.held_bytes, 0);
    let mut lines = output.values();
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("packet");
    }
    lines
}

fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ether_type.to_be_bytes(), payload].concat()
}

fn ipv4(id: u16, flags_and_offset: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(len.to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(flags_and_offset.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 172, 16, 0, 1, 172, 16, 0, 2]);
    packet.extend(payload);
    packet
}

fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([next_header, 64]);
    packet.extend([0xfd; 32]);
    packet.extend(payload);
    packet
}

fn udp(port: u16, header: &[u8], payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + header.len() + payload.len()).unwrap();
    [&[0xc0, 0x01][..], &port.to_be_bytes(), &len.to_be_bytes(), &[0, 0], header, payload].concat()
}

fn vxlan(inner: &[u8]) -> Vec<u8> {
    udp(4789, &[8, 0, 0, 0, 0, 0, 5, 0], &ethernet(0x0800, inner))
}

/// Splits an IPv4 packet's payload into fragments of this size, first or last one first.
fn in_fragments(id: u16, protocol: u8, payload: &[u8], size: usize, backwards: bool) -> Vec<Vec<u8>> {
    let mut parts: Vec<_> = payload
        .chunks(size)
        .enumerate()
        .map(|(index, part)| {
            let more = if (index + 1) * size < payload.len() { 0x2000 } else { 0 };
            ipv4(id, more | u16::try_from(index * size / 8).unwrap(), protocol, part)
        })
        .collect();
    if backwards {
        parts.reverse();
    }
    parts
}

#[test]
fn traffic_in_any_tunnel_has_the_same_lines() {
    type Tunnel = fn(&[u8]) -> Vec<u8>;
    let tunnels: [(&str, Tunnel); 8] = [
        ("VXLAN", |ip| ethernet(0x0800, &ipv4(1, 0, UDP, &vxlan(ip)))),
        ("VXLAN over IPv6", |ip| ethernet(0x86dd, &ipv6(UDP, &vxlan(ip)))),
        ("Geneve", |ip| {
            let header = [1, 0, 0x08, 0x00, 0, 0, 5, 0, 1, 2, 3, 0];
            ethernet(0x0800, &ipv4(1, 0, UDP, &udp(6081, &header, ip)))
        }),
        ("GRE", |ip| ethernet(0x0800, &ipv4(1, 0, GRE, &[&[0x20, 0, 8, 0, 1, 2, 3, 4], ip].concat()))),
        ("IP in IP", |ip| ethernet(0x0800, &ipv4(1, 0, 4, ip))),
        ("4in6", |ip| ethernet(0x86dd, &ipv6(4, ip))),
        ("MPLS", |ip| ethernet(0x8847, &[&[0, 1, 0, 64, 0, 2, 1, 64], ip].concat())),
        ("PPPoE", |ip| {
            let len = u16::try_from(ip.len() + 2).unwrap().to_be_bytes();
            ethernet(0x8864, &[&[0x11, 0, 0, 1][..], &len, &[0, 0x21], ip].concat())
        }),
    ];
    for name in ["tcp/base.pcap", "formats/micro.pcap"] {
        let expected = lines(&rewritten(name, |ip| vec![ethernet(0x0800, ip)]));
        assert!(expected.len() > 30, "{name} has messages");
        for (what, tunnel) in tunnels {
            assert_eq!(lines(&rewritten(name, |ip| vec![tunnel(ip)])), expected, "{name} in {what}");
        }
    }
}

#[test]
fn traffic_in_fragments_has_the_same_lines() {
    for name in ["tcp/base.pcap", "formats/micro.pcap"] {
        let expected = lines(&rewritten(name, |ip| vec![ethernet(0x0800, ip)]));
        for size in [8, 64, 1_480] {
            for backwards in [false, true] {
                let mut id = 0;
                let packets = rewritten(name, |ip| {
                    id += 1;
                    let header = usize::from(ip[0] & 15) * 4;
                    let addresses = &ip[12..20];
                    let mut parts = in_fragments(id, TCP, &ip[header..], size, backwards);
                    for part in &mut parts {
                        part[12..20].copy_from_slice(addresses);
                    }
                    parts.iter().map(|part| ethernet(0x0800, part)).collect()
                });
                assert_eq!(lines(&packets), expected, "{name}, {size} bytes, backwards: {backwards}");
                // A capture may contain every frame twice.
                let twice = packets.iter().flat_map(|packet| [packet, packet]);
                assert_eq!(lines(twice), expected, "{name}, {size} bytes, twice");
            }
        }
    }
}

#[test]
fn a_tunnel_in_fragments_has_the_same_lines() {
    let expected = lines(&rewritten("tcp/base.pcap", |ip| vec![ethernet(0x0800, ip)]));
    let mut id = 0;
    let packets = rewritten("tcp/base.pcap", |ip| {
        id += 1;
        in_fragments(id, UDP, &vxlan(ip), 72, true).iter().map(|part| ethernet(0x0800, part)).collect()
    });
    assert_eq!(lines(&packets), expected);
}

#[test]
fn a_missing_fragment_is_counted_and_loses_its_segment() {
    let mut id = 0;
    let mut packets = rewritten("tcp/base.pcap", |ip| {
        id += 1;
        in_fragments(id, UDP, &vxlan(ip), 72, false).iter().map(|part| ethernet(0x0800, part)).collect()
    });
    let fragments = packets.len() as u64;
    let last_of_long = packets.iter().rposition(|packet| packet.data[20] & 0x20 == 0 && packet.data[21] > 18).unwrap();
    packets.remove(last_of_long);
    let counters = captures::dissect_packets(&packets, captures::config()).counters;
    assert_eq!(counters.fragments, fragments - 1);
    assert!(counters.lost_fragments > 0 && counters.lost_fragments < fragments / 2, "{}", counters.lost_fragments);
}

#[test]
fn a_capture_in_fragments_has_the_messages_of_the_whole_one() {
    let messages = |name: &str| {
        let mut messages = captures::dissect_one(name).messages();
        for message in &mut messages {
            message.as_object_mut().unwrap().remove("packet");
        }
        messages
    };
    let expected = messages("formats/micro.pcap");
    assert!(expected.len() > 30);
    assert_eq!(messages("ip-options/ipv4-fragments.pcap"), expected);
}
