//! Fragments of several IP packets, in any order, at any time: the result equals that of a byte-by-byte reassembly.
//!
//! Each byte of a packet is a function of its position. So unless bytes are falsified, there is a single right result, whatever
//! the limits.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Result, Unstructured};
use pgdissect::internals::packet;
use pgdissect::internals::packet::{Defragmenter, NotTcp, Segment};
use pgdissect::{LinkType, Packet, Precision, Timestamp};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const SECOND: i64 = 1_000_000_000;

/// A TCP header without options, from port 40000 to 5432.
const TCP_HEADER: [u8; 20] = [0x9c, 0x40, 0x15, 0x38, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0];

/// Returns the byte at a position of every packet with this identification.
fn truth(id: u8, at: usize) -> u8 {
    let mixed = (at as u32 ^ u32::from(id) << 24).wrapping_mul(0xcc9e_2d51);
    TCP_HEADER.get(at).copied().unwrap_or((mixed ^ mixed >> 15) as u8)
}

/// A planned fragment.
#[derive(Clone, Copy, Debug)]
struct Plan {
    is_v6: bool,
    id: u8,
    protocol: u8,
    offset: usize,
    len: usize,
    more: bool,
    /// The difference between its bytes and the right ones.
    lie: u8,
    /// The number of bytes that the snap length cuts off.
    cut: usize,
    nanos: i64,
}

/// The fields that fragments of a packet have in common; in IPv6 without the protocol (RFC 8200, section 4.5).
type Key = (bool, u8, Option<u8>);

impl Plan {
    fn key(&self) -> Key {
        (self.is_v6, self.id, (!self.is_v6).then_some(self.protocol))
    }

    fn end(&self) -> usize {
        self.offset + self.len
    }

    fn payload(&self) -> Vec<u8> {
        (self.offset..self.end()).map(|at| truth(self.id, at) ^ self.lie).collect()
    }

    /// Returns the complete IP packet.
    fn frame(&self) -> Vec<u8> {
        let more = u16::from(self.more);
        let offset = u16::try_from(self.offset).unwrap();
        if self.is_v6 {
            let header = [&[self.protocol, 0][..], &(offset | more).to_be_bytes(), &[0, 0, 0, self.id]].concat();
            ipv6(44, &[header, self.payload()].concat())
        } else {
            ipv4(self.id, (more << 13) | (offset / 8), self.protocol, &self.payload())
        }
    }

    /// Returns whether it cannot contain TCP, so that it is not even counted.
    fn is_passed_over(&self) -> bool {
        self.protocol == ICMP && !(self.is_v6 && self.offset > 0)
    }

    /// Returns whether it can be part of an IP packet.
    fn is_sound(&self) -> bool {
        let max = if self.is_v6 { 65_535 } else { 65_515 };
        self.len > 0 && self.end() <= max && (!self.more || self.len.is_multiple_of(8))
    }
}

fn ipv4(id: u8, flags_and_offset: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let [flags, offset] = flags_and_offset.to_be_bytes();
    let header = [0x45, 0, len[0], len[1], 0, id, flags, offset, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    [&header, payload].concat()
}

fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0x60, 0, 0, 0, len[0], len[1], next_header, 64][..], &[0xfd; 32], payload].concat()
}

pub(crate) fn check(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok((max_bytes, max_datagrams, plans)) = read(&mut u) else { return };
    run(max_bytes, max_datagrams, &plans);
}

fn read(u: &mut Unstructured<'_>) -> Result<(Option<usize>, usize, Vec<Plan>)> {
    let max_bytes = *u.choose(&[None, None, Some(0), Some(300), Some(3_000)])?;
    let max_datagrams = *u.choose(&[1024, 1, 3])?;
    let lies: bool = u.arbitrary()?;
    // The current position in each packet, from the sender's view.
    let mut next = [0_usize; 6];
    let mut plans = Vec::new();
    while !u.is_empty() && plans.len() < 200 {
        let stream = u.int_in_range(0..=5_usize)?;
        let far: u8 = u.arbitrary()?;
        let far = usize::from(far) * 8;
        let offset = match u.int_in_range(0..=15_u8)? {
            0..=8 => next[stream],
            9..=11 => next[stream].saturating_sub(far),
            12..=14 => next[stream] + far,
            _ => far * 32,
        };
        let size: u8 = u.arbitrary()?;
        let len = match u.int_in_range(0..=15_u8)? {
            0..=9 => usize::from(size % 8 + 1) * 8,
            10..=12 => usize::from(size),
            13..=14 => usize::from(size) * 8,
            _ => usize::from(size) * 256,
        };
        let more = u.int_in_range(0..=3_u8)? > 0;
        let protocol = match u.int_in_range(0..=15_u8)? {
            0..=12 => TCP,
            13..=14 => UDP,
            _ => ICMP,
        };
        let cut = match u.int_in_range(0..=7_u8)? {
            0 => usize::from(u.arbitrary::<u8>()?).min(len),
            _ => 0,
        };
        let nanos = match u.int_in_range(0..=15_u8)? {
            0..=12 => 1_000,
            13 => u.int_in_range(0..=2 * SECOND)?,
            14 => u.int_in_range(0..=70 * SECOND)?,
            _ => -u.int_in_range(0..=70 * SECOND)?,
        };
        let lie = if lies { u.arbitrary::<u8>()? & 1 } else { 0 };
        // The offset has 13 bits, in units of eight bytes.
        let (offset, len) = (offset.min(0xfff8), len.min(65_000));
        next[stream] = if more { (offset + len) / 8 * 8 } else { 0 };
        plans.push(Plan {
            is_v6: stream % 2 == 1,
            id: (stream / 2) as u8,
            protocol,
            offset,
            len,
            more,
            lie,
            cut,
            nanos,
        });
    }
    Ok((max_bytes, max_datagrams, plans))
}

fn run(max_bytes: Option<usize>, max_datagrams: usize, plans: &[Plan]) {
    let mut defragmenter = Defragmenter::with_limits(max_bytes.unwrap_or(64 << 20), max_datagrams);
    let mut naive = Naive { max: max_datagrams, ..Naive::default() };
    let is_true = plans.iter().all(|plan| plan.lie == 0);
    let mut nanos = 0;
    let mut taken: BTreeMap<Key, u64> = BTreeMap::new();
    let mut given_out: BTreeSet<Key> = BTreeSet::new();
    let mut ends: BTreeSet<(Key, usize)> = BTreeSet::new();
    for plan in plans {
        nanos += plan.nanos;
        let frame = plan.frame();
        let data = &frame[..frame.len() - plan.cut];
        let packet = captured(data, frame.len(), nanos);
        if packet::decode(&packet).err() != Some(NotTcp::Fragment) {
            assert!(plan.offset == 0 && !plan.more, "{plan:?} is a fragment");
            continue;
        }
        let datagram = defragmenter.add(&packet, 1);
        if !plan.is_passed_over() {
            *taken.entry(plan.key()).or_default() += 1;
        }
        if !plan.more {
            ends.insert((plan.key(), plan.end()));
        }
        if datagram.is_some() {
            given_out.insert(plan.key());
        }
        assert!(defragmenter.held() <= max_bytes.unwrap_or(usize::MAX), "{} bytes are held", defragmenter.held());

        let segment = datagram.as_ref().map(|datagram| datagram.segment());
        if let (Some(Ok(segment)), true) = (&segment, is_true) {
            assert!(segment.payload.iter().zip(TCP_HEADER.len()..).all(|(byte, at)| *byte == truth(plan.id, at)));
            let end = TCP_HEADER.len() + segment.payload.len() + segment.snapped as usize;
            assert!(ends.contains(&(plan.key(), end)), "no fragment was the last of {end} bytes");
        }
        if max_bytes.is_none() {
            let whole = naive.add(plan, nanos);
            let expected = whole.as_ref().map(|(bytes, wire_len)| packet::decode(&captured(bytes, *wire_len, nanos)));
            assert!(event(segment) == event(expected), "{plan:?} gives {segment:?}, not {expected:?}");
            assert_eq!(defragmenter.lost(), naive.lost, "{plan:?}");
        }
    }

    if max_bytes.is_none() {
        assert!(defragmenter.held() >= naive.captured(), "less is counted than is held");
    }
    defragmenter.clear();
    naive.clear();
    assert_eq!(defragmenter.held(), 0, "nothing is left");
    if max_bytes.is_none() {
        assert_eq!(defragmenter.lost(), naive.lost);
    }
    let all: u64 = taken.values().sum();
    let of_none: u64 = taken.iter().filter(|(key, _)| !given_out.contains(key)).map(|(_, fragments)| fragments).sum();
    let lost = defragmenter.lost();
    assert!(of_none <= lost && lost <= all, "{lost} of {all} fragments are lost, {of_none} are of no whole packet");
}

fn captured(data: &[u8], wire_len: usize, nanos: i64) -> Packet<'_> {
    let ts = Timestamp::from_nanos(nanos, Precision::Nanos);
    Packet { ts, link: LinkType::RAW, data, orig_len: u32::try_from(wire_len).unwrap(), interface: 0 }
}

/// Returns the comparable part of a result: not the segment itself.
fn event(segment: Option<std::result::Result<Segment<'_>, NotTcp>>) -> impl PartialEq {
    segment.map(|segment| {
        segment.map(|Segment { source, destination, seq, ack, syn, fin, rst, window, payload, snapped }| {
            (source, destination, seq, ack, (syn, fin, rst), window, payload, snapped)
        })
    })
}

/// A reassembly byte by byte, without a limit on bytes.
#[derive(Default)]
struct Naive {
    packets: BTreeMap<Key, Unfinished>,
    max: usize,
    begun: u64,
    lost: u64,
}

#[derive(Default)]
struct Unfinished {
    begun: u64,
    due: i64,
    /// Each byte that was sent; the inner option is `None` if it was not captured.
    bytes: Vec<Option<Option<u8>>>,
    end: Option<usize>,
    protocol: Option<u8>,
    fragments: u64,
    is_done: bool,
}

impl Naive {
    /// Returns the complete IP packet as far as it was captured, and its size.
    fn add(&mut self, plan: &Plan, now: i64) -> Option<(Vec<u8>, usize)> {
        self.give_up(|_, packet| packet.due <= now);
        if plan.is_passed_over() {
            return None;
        }
        if !plan.is_sound() {
            self.lost += 1;
            return None;
        }
        let key = plan.key();
        self.give_up(|found, packet| *found == key && packet.contradicts(plan));
        let packet = self.packets.entry(key).or_insert_with(|| {
            self.begun += 1;
            let wait = if plan.is_v6 { 60 * SECOND } else { 30 * SECOND };
            Unfinished { begun: self.begun, due: now + wait, ..Unfinished::default() }
        });
        packet.add(plan);
        let whole = if packet.is_done { None } else { packet.whole(plan) };
        if whole.is_some() {
            packet.is_done = true;
            packet.due = now + SECOND;
        }
        if self.packets.len() > self.max {
            let oldest = self.packets.values().map(|packet| packet.begun).min();
            self.give_up(|_, packet| Some(packet.begun) == oldest);
        }
        whole
    }

    fn clear(&mut self) {
        self.give_up(|_, _| true);
    }

    fn give_up(&mut self, is_given_up: impl Fn(&Key, &Unfinished) -> bool) {
        self.packets.retain(|key, packet| {
            let goes = is_given_up(key, packet);
            if goes && !packet.is_done {
                self.lost += packet.fragments;
            }
            !goes
        });
    }

    fn captured(&self) -> usize {
        self.packets.values().flat_map(|packet| &packet.bytes).filter(|byte| matches!(byte, Some(Some(_)))).count()
    }
}

impl Unfinished {
    fn contradicts(&self, plan: &Plan) -> bool {
        let other_end = !plan.more && self.end.is_some_and(|end| end != plan.end());
        let behind_end = self.end.is_some_and(|end| plan.end() > end) || !plan.more && self.bytes.len() > plan.end();
        let other_protocol = plan.offset == 0 && self.protocol.is_some_and(|protocol| protocol != plan.protocol);
        let captured = plan.payload().into_iter().take(plan.len - plan.cut);
        let other_bytes = captured
            .zip(plan.offset..)
            .any(|(byte, at)| matches!(self.bytes.get(at), Some(Some(Some(known))) if *known != byte));
        other_end || behind_end || other_protocol || other_bytes
    }

    fn add(&mut self, plan: &Plan) {
        self.fragments += 1;
        if !plan.more {
            self.end = Some(plan.end());
        }
        if plan.offset == 0 {
            self.protocol = Some(plan.protocol);
        }
        self.bytes.resize(self.bytes.len().max(plan.end()), None);
        for (index, byte) in plan.payload().into_iter().enumerate() {
            let is_captured = index < plan.len - plan.cut;
            self.bytes[plan.offset + index].get_or_insert(is_captured.then_some(byte));
        }
    }

    fn whole(&self, plan: &Plan) -> Option<(Vec<u8>, usize)> {
        if self.end != Some(self.bytes.len()) {
            return None;
        }
        let bytes: Option<Vec<Option<u8>>> = self.bytes.iter().copied().collect();
        let bytes = bytes?;
        let sent: Vec<u8> = bytes.iter().map(|byte| byte.unwrap_or_default()).collect();
        let cut = bytes.iter().position(Option::is_none).map_or(0, |at| bytes.len() - at);
        let protocol = self.protocol?;
        let mut frame = if plan.is_v6 { ipv6(protocol, &sent) } else { ipv4(plan.id, 0, protocol, &sent) };
        let wire_len = frame.len();
        frame.truncate(wire_len - cut);
        Some((frame, wire_len))
    }
}
