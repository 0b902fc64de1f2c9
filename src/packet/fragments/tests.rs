use super::*;
use crate::packet::test_frames::{IPV4, TCP, UDP, at, ethernet, ipv4, ipv4_fragment, ipv6_fragment, packet, tcp, udp};

const MORE_V4: u16 = 0x2000;
const MORE_V6: u16 = 1;

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

/// Returns the bytes `from..to` of a payload as a fragment.
fn part(v6: bool, id: u16, whole: &[u8], from: usize, to: usize) -> Vec<u8> {
    let offset = u16::try_from(from).unwrap();
    let more = to < whole.len();
    if v6 {
        ipv6_fragment(id.into(), offset | if more { MORE_V6 } else { 0 }, TCP, &whole[from..to])
    } else {
        ipv4_fragment(id, (offset / 8) | if more { MORE_V4 } else { 0 }, TCP, &whole[from..to])
    }
}

fn add_at(defragmenter: &mut Defragmenter, bytes: &[u8], millis: i64) -> Option<Datagram> {
    let fragment = packet(LinkType::RAW, bytes, bytes.len(), at(millis));
    assert_eq!(super::super::decode(&fragment).unwrap_err(), NotTcp::Fragment);
    defragmenter.add(&fragment, 1)
}

fn add(defragmenter: &mut Defragmenter, bytes: &[u8]) -> Option<Datagram> {
    add_at(defragmenter, bytes, 0)
}

/// Returns all permutations of `0..n`.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(n - 1);
    let insert = |order: &Vec<usize>, at: usize| [&order[..at], &[n - 1], &order[at..]].concat();
    shorter.iter().flat_map(|order| (0..n).map(|at| insert(order, at)).collect::<Vec<_>>()).collect()
}

#[test]
fn fragments_come_in_any_order_twice_and_overlapping() {
    let whole = tcp(&payload(100));
    // The packet has 120 bytes. Some fragments overlap, and one lies within another.
    let cuts = [
        vec![(0, 40), (40, 80), (80, 120)],
        vec![(0, 8), (8, 64), (64, 112), (112, 120)],
        vec![(0, 64), (32, 96), (88, 120)],
        vec![(0, 48), (16, 32), (40, 104), (64, 120)],
    ];
    for v6 in [false, true] {
        for cuts in &cuts {
            for order in orders(cuts.len()) {
                let mut defragmenter = Defragmenter::default();
                let mut made = Vec::new();
                for index in order {
                    let (from, to) = cuts[index];
                    for _ in 0..2 {
                        made.extend(add(&mut defragmenter, &part(v6, 1, &whole, from, to)));
                    }
                }
                assert_eq!(made.len(), 1, "it is whole once");
                let segment = made[0].segment().unwrap();
                assert_eq!((segment.payload, segment.snapped), (&payload(100)[..], 0));
                assert_eq!((segment.source.port, segment.source.addr.is_ipv6()), (40_000, v6));
                defragmenter.clear();
                assert_eq!((defragmenter.lost(), defragmenter.held()), (0, 0));
            }
        }
    }
}

#[test]
fn a_whole_packet_may_be_as_long_as_ip_has_it() {
    for (v6, len) in [(false, 65_515), (true, 65_535)] {
        let mut defragmenter = Defragmenter::default();
        let whole = tcp(&payload(len - 20));
        let mut made = None;
        for from in (0..len).step_by(1_480) {
            made = made.or(add(&mut defragmenter, &part(v6, 1, &whole, from, len.min(from + 1_480))));
        }
        assert_eq!(made.unwrap().segment().unwrap().payload.len(), len - 20);
    }
    let mut defragmenter = Defragmenter::default();
    assert!(add(&mut defragmenter, &ipv4_fragment(1, 8191, TCP, &[0; 8])).is_none());
    assert_eq!((defragmenter.lost(), defragmenter.held()), (1, 0), "a ping of death");
}

#[test]
fn packets_are_distinguished() {
    let (one, two) = (tcp(&payload(100)), tcp(&[7; 100]));
    let mut defragmenter = Defragmenter::default();
    assert!(add(&mut defragmenter, &part(false, 1, &one, 0, 64)).is_none());
    assert!(add(&mut defragmenter, &part(false, 2, &two, 0, 64)).is_none());
    assert!(add(&mut defragmenter, &part(true, 1, &two, 0, 64)).is_none());
    let second = add(&mut defragmenter, &part(false, 2, &two, 64, 120)).unwrap();
    let first = add(&mut defragmenter, &part(false, 1, &one, 64, 120)).unwrap();
    assert_eq!(first.segment().unwrap().payload, payload(100));
    assert_eq!(second.segment().unwrap().payload, [7; 100]);
}

#[test]
fn what_contradicts_begins_a_new_packet() {
    let (old, new) = (tcp(&payload(100)), tcp(&[7; 100]));
    let mut defragmenter = Defragmenter::default();
    assert!(add(&mut defragmenter, &part(false, 1, &old, 0, 64)).is_none());
    assert!(add(&mut defragmenter, &part(false, 1, &new, 0, 64)).is_none());
    assert_eq!(defragmenter.lost(), 1);
    let made = add(&mut defragmenter, &part(false, 1, &new, 64, 120)).unwrap();
    assert_eq!(made.segment().unwrap().payload, [7; 100]);
    // The same identification for a longer packet, soon after.
    let longer = tcp(&[7; 200]);
    assert!(add(&mut defragmenter, &part(false, 1, &longer, 0, 64)).is_none(), "as a duplicate");
    assert!(add(&mut defragmenter, &part(false, 1, &longer, 64, 220)).is_none());
    assert_eq!(defragmenter.lost(), 1, "a packet that was whole is no loss");
    assert!(add(&mut defragmenter, &part(false, 1, &longer, 0, 64)).is_some());
}

#[test]
fn two_first_fragments_that_name_other_protocols_are_of_two_packets() {
    let whole = tcp(&payload(100));
    let mut defragmenter = Defragmenter::default();
    assert!(add(&mut defragmenter, &ipv6_fragment(1, MORE_V6, UDP, &whole[..64])).is_none());
    assert!(add(&mut defragmenter, &part(true, 1, &whole, 0, 64)).is_none());
    assert_eq!(defragmenter.lost(), 1);
    let made = add(&mut defragmenter, &part(true, 1, &whole, 64, 120)).unwrap();
    assert_eq!(made.segment().unwrap().payload, payload(100));
}

#[test]
fn a_packet_is_waited_for_as_long_as_its_version_says() {
    let whole = tcp(&payload(100));
    for (v6, wait) in [(false, 30_000), (true, 60_000)] {
        let (first, last) = (part(v6, 1, &whole, 0, 64), part(v6, 1, &whole, 64, 120));
        let mut defragmenter = Defragmenter::default();
        assert!(add_at(&mut defragmenter, &first, 0).is_none());
        assert!(add_at(&mut defragmenter, &last, wait - 1).is_some());
        let mut defragmenter = Defragmenter::default();
        assert!(add_at(&mut defragmenter, &first, 0).is_none());
        assert!(add_at(&mut defragmenter, &last, wait).is_none());
        assert_eq!(defragmenter.lost(), 1);
        defragmenter.expire(at(2 * wait));
        assert_eq!((defragmenter.lost(), defragmenter.held()), (2, 0));
    }
}

#[test]
fn a_flood_of_fragments_stays_within_the_limits() {
    let whole = tcp(&payload(2_000));
    let mut defragmenter = Defragmenter::with_limits(64 << 10, 100);
    for id in 0..20_000_u16 {
        let len = if id % 2 == 0 { 8 } else { 1_480 };
        add(&mut defragmenter, &part(id % 3 == 0, id, &whole, 0, len));
        assert!(defragmenter.held() <= 64 << 10);
        assert!(defragmenter.datagrams.len() <= 100 && defragmenter.due.len() == defragmenter.datagrams.len());
        assert_eq!(defragmenter.begun.len(), defragmenter.datagrams.len());
    }
    let kept = defragmenter.datagrams.len() as u64;
    assert_eq!(defragmenter.lost(), 20_000 - kept);
    assert!(add(&mut defragmenter, &part(false, 30_000, &whole, 0, 1_480)).is_none());
    assert!(add(&mut defragmenter, &part(false, 30_000, &whole, 1_480, 2_020)).is_some(), "it goes on");
    defragmenter.clear();
    assert_eq!(defragmenter.lost(), 20_000);
}

#[test]
fn tiny_fragments_of_one_packet_count_for_what_they_hold() {
    let mut defragmenter = Defragmenter::with_limits(16 << 10, 100);
    for offset in 0..8_000 {
        add(&mut defragmenter, &ipv4_fragment(1, MORE_V4 | offset, TCP, &[0; 8]));
        assert!(defragmenter.held() <= 16 << 10);
    }
    assert!(defragmenter.lost() > 7_000);
}

#[test]
fn what_the_snap_length_cut_is_measured() {
    let whole = tcp(&payload(100));
    for order in orders(2) {
        let mut defragmenter = Defragmenter::default();
        let parts = [part(false, 1, &whole, 0, 64), part(false, 1, &whole, 64, 120)];
        let mut made = None;
        for index in order {
            let bytes = &parts[index];
            made = defragmenter.add(&packet(LinkType::RAW, &bytes[..60], bytes.len(), at(0)), 1);
        }
        let made = made.unwrap();
        let segment = made.segment().unwrap();
        // 40 of the first fragment's 64 bytes, of which 20 are the TCP header.
        assert_eq!((segment.payload, segment.snapped), (&payload(100)[..20], 80));
    }
}

#[test]
fn unsound_fragments_are_counted() {
    let mut defragmenter = Defragmenter::default();
    for bad in [ipv4_fragment(1, MORE_V4, TCP, &[0; 7]), ipv4_fragment(1, MORE_V4, TCP, &[])] {
        assert!(add(&mut defragmenter, &bad).is_none());
    }
    assert!(add(&mut defragmenter, &ipv4_fragment(1, MORE_V4, 1, &[0; 8])).is_none());
    assert_eq!((defragmenter.lost(), defragmenter.held()), (2, 0), "ICMP is no loss");
}

#[test]
fn fragments_are_found_in_tunnels_and_tunnels_in_fragments() {
    let whole = tcp(&payload(100));
    let vxlan = |inner: &[u8]| udp(4789, &[&[8, 0, 0, 0, 0, 0, 5, 0], &ethernet(IPV4, inner)[..]].concat());
    let mut defragmenter = Defragmenter::default();
    assert!(add(&mut defragmenter, &ipv4(UDP, &vxlan(&part(false, 5, &whole, 64, 120)))).is_none());
    // The other half, in a packet that is fragmented itself.
    let outer = vxlan(&part(false, 5, &whole, 0, 64));
    assert!(add(&mut defragmenter, &ipv4_fragment(5, MORE_V4, UDP, &outer[..56])).is_none());
    let made = add(&mut defragmenter, &ipv4_fragment(5, 7, UDP, &outer[56..])).unwrap();
    assert_eq!(made.segment().unwrap().payload, payload(100));
    defragmenter.clear();
    assert_eq!(defragmenter.lost(), 0);
}
