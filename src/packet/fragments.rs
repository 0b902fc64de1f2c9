//! Whole IP packets from fragments (RFC 791, section 3.2; RFC 8200, section 4.5).
//!
//! Fragments come in any order, twice, and overlapping. Bytes that two fragments agree about are kept once. Where they do
//! not agree, they are not of one packet: the identification was used again, or somebody wants the dissector to see
//! something else than the receiver does (RFC 5722). Then what was there before is given up, and the later one begins a
//! packet.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use etherparse::{IpNumber, ip_number};

use super::{Fragment, Innermost, LinkType, NotTcp, Packet, Segment};
use crate::time::Timestamp;

/// How long an IPv4 packet is waited for: what Linux has, within the 15 seconds to two minutes of RFC 791 and RFC 1122.
const WAIT_V4: i64 = 30_000_000_000;

/// How long an IPv6 packet is waited for, from its first fragment to come (RFC 8200).
const WAIT_V6: i64 = 60_000_000_000;

/// How long a packet is remembered after it was whole, for a capture that sees everything twice. Less than an
/// identification of 16 bits takes to come round.
const REMEMBER: i64 = 1_000_000_000;

/// What Linux holds for all fragments.
const MAX_BYTES: usize = 4 << 20;

/// How many packets are put together at a time.
const MAX_DATAGRAMS: usize = 1024;

/// What a piece costs beside its bytes, roughly, so that tiny fragments do not hold more memory than they count for.
const PIECE: usize = 64;

/// The longest IP packet, with its header in IPv4 and without it in IPv6.
const MAX_LEN: usize = 65_535;

const IPV4_HEADER: usize = 20;

/// How many times a whole packet may turn out to be a fragment in a tunnel.
const MAX_NESTED: usize = 4;

/// Puts IP packets together from fragments, within limits of time and memory.
#[derive(Debug)]
pub struct Defragmenter {
    datagrams: HashMap<Key, Partial, foldhash::fast::RandomState>,
    /// All of `datagrams`, by when they are given up.
    due: BTreeMap<Due, Key>,
    /// All of `datagrams`, by when they began. Where there is no room, the oldest goes: by time left, IPv6, which is
    /// waited for longer, would crowd out IPv4.
    begun: BTreeMap<u64, Key>,
    serial: u64,
    held: usize,
    lost: u64,
    max_bytes: usize,
    max_datagrams: usize,
}

/// When something is given up, and a number that makes it unique.
type Due = (Timestamp, u64);

/// What the fragments of a packet have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    /// In IPv6 the fragments need not agree about it.
    protocol: Option<IpNumber>,
}

impl Key {
    fn of(fragment: &Fragment<'_>) -> Self {
        let Fragment { source, destination, identification, protocol, .. } = *fragment;
        Self { source, destination, identification, protocol: source.is_ipv4().then_some(protocol) }
    }
}

/// A packet that is not whole yet, or was just now.
#[derive(Debug)]
struct Partial {
    due: Due,
    /// What is there, by where it begins. The pieces do not overlap.
    pieces: BTreeMap<usize, FragmentBytes>,
    /// How many bytes the pieces cover.
    covered: usize,
    /// How long the payload is, once the last fragment has come.
    end: Option<usize>,
    /// What the payload is, once the first fragment has come.
    protocol: Option<IpNumber>,
    /// How many fragments have come.
    fragments: u64,
    /// What it counts for against the limit.
    held: usize,
    done: bool,
}

/// Bytes that are there.
#[derive(Debug)]
struct FragmentBytes {
    /// As far as they were captured.
    bytes: Box<[u8]>,
    wire_len: usize,
}

/// An IP packet that was put together.
#[derive(Debug)]
pub struct Datagram {
    bytes: Vec<u8>,
    /// How long it was, where the snap length cut some of its fragments.
    wire_len: usize,
    ts: Timestamp,
}

impl Datagram {
    /// The TCP segment in it.
    ///
    /// # Errors
    ///
    /// As for [`super::decode`].
    pub fn segment(&self) -> Result<Segment<'_>, NotTcp> {
        super::decode(&self.packet())
    }

    fn packet(&self) -> Packet<'_> {
        let orig_len = u32::try_from(self.wire_len).unwrap_or(u32::MAX);
        Packet { ts: self.ts, link: LinkType::RAW, data: &self.bytes, orig_len }
    }
}

impl Default for Defragmenter {
    fn default() -> Self {
        Self::with_limits(MAX_BYTES, MAX_DATAGRAMS)
    }
}

impl Defragmenter {
    /// Holds at most about so many bytes, of at most so many packets; of more, the oldest are given up.
    pub fn with_limits(max_bytes: usize, max_datagrams: usize) -> Self {
        Self {
            datagrams: HashMap::default(),
            due: BTreeMap::new(),
            begun: BTreeMap::new(),
            serial: 0,
            held: 0,
            lost: 0,
            max_bytes,
            max_datagrams,
        }
    }

    /// Takes a frame that [`super::decode`] calls a fragment, and gives the packet that it makes whole.
    pub fn add(&mut self, packet: &Packet<'_>) -> Option<Datagram> {
        self.expire(packet.ts);
        let Ok(Innermost::Fragment(fragment)) = super::read(packet) else { return None };
        let mut datagram = self.insert(&fragment, packet.ts)?;
        for _ in 0..MAX_NESTED {
            let Ok(Innermost::Fragment(fragment)) = super::read(&datagram.packet()) else { break };
            datagram = self.insert(&fragment, packet.ts)?;
        }
        Some(datagram)
    }

    /// Gives up what has been waited for long enough.
    pub fn expire(&mut self, now: Timestamp) {
        while let Some((_, key)) = self.due.first_key_value().filter(|((at, _), _)| *at <= now) {
            let key = *key;
            self.give_up(&key);
        }
    }

    /// Gives up everything.
    pub fn clear(&mut self) {
        while let Some((_, key)) = self.begun.pop_first() {
            self.give_up(&key);
        }
    }

    /// How many fragments were given up: they contradicted each other or themselves, their time was over, or there was
    /// no room.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// How many bytes are held.
    pub const fn held(&self) -> usize {
        self.held
    }

    fn insert(&mut self, fragment: &Fragment<'_>, now: Timestamp) -> Option<Datagram> {
        if !may_hold_tcp(fragment) {
            return None;
        }
        let key = Key::of(fragment);
        if !fragment.is_sound() {
            self.lost += 1;
            return None;
        }
        if self.datagrams.get(&key).is_some_and(|partial| partial.contradicts(fragment)) {
            self.give_up(&key);
        }
        let wait = if fragment.source.is_ipv4() { WAIT_V4 } else { WAIT_V6 };
        let partial = self.datagrams.entry(key).or_insert_with(|| {
            self.serial += 1;
            let due = (later(now, wait), self.serial);
            self.due.insert(due, key);
            self.begun.insert(self.serial, key);
            Partial::new(due)
        });
        let held_before = if partial.fragments == 0 { 0 } else { partial.held };
        partial.insert(fragment);
        self.held += partial.held - held_before;
        let datagram = if partial.done { None } else { partial.assemble(&key, now) };
        if datagram.is_some() {
            partial.done = true;
            self.due.remove(&partial.due);
            partial.due.0 = later(now, REMEMBER);
            self.due.insert(partial.due, key);
        }
        while self.held > self.max_bytes || self.datagrams.len() > self.max_datagrams {
            let Some((_, key)) = self.begun.pop_first() else { break };
            self.give_up(&key);
        }
        datagram
    }

    fn give_up(&mut self, key: &Key) {
        let Some(partial) = self.datagrams.remove(key) else { return };
        self.due.remove(&partial.due);
        self.begun.remove(&partial.due.1);
        self.held = self.held.saturating_sub(partial.held);
        if !partial.done {
            self.lost += partial.fragments;
        }
    }
}

impl Fragment<'_> {
    /// Where its payload ends in that of the packet.
    const fn end(&self) -> usize {
        self.offset.saturating_add(self.wire_len)
    }

    /// Whether it can be part of a packet at all: all but the last are multiples of eight bytes.
    const fn is_sound(&self) -> bool {
        let max = if self.source.is_ipv4() { MAX_LEN - IPV4_HEADER } else { MAX_LEN };
        self.wire_len > 0 && self.end() <= max && (!self.more || self.wire_len.is_multiple_of(8))
    }
}

/// Whether TCP may come of it, be it in a tunnel or behind extension headers.
fn may_hold_tcp(fragment: &Fragment<'_>) -> bool {
    matches!(
        fragment.protocol,
        ip_number::TCP
            | ip_number::UDP
            | ip_number::IPV4
            | ip_number::IPV6
            | ip_number::GRE
            | ip_number::AUTH
            | ip_number::IPV6_ROUTE
            | ip_number::IPV6_DEST_OPTIONS
    ) || fragment.offset > 0 && fragment.source.is_ipv6()
}

impl Partial {
    const fn new(due: Due) -> Self {
        Self {
            due,
            pieces: BTreeMap::new(),
            covered: 0,
            end: None,
            protocol: None,
            fragments: 0,
            held: PIECE,
            done: false,
        }
    }

    /// The pieces that have something in `from..to`.
    fn overlapping(&self, from: usize, to: usize) -> impl Iterator<Item = (usize, &FragmentBytes)> {
        let before = self.pieces.range(..from).next_back().filter(|(start, piece)| **start + piece.wire_len > from);
        before.into_iter().chain(self.pieces.range(from..to)).map(|(start, piece)| (*start, piece))
    }

    /// Whether a fragment cannot be of the same packet as what is here.
    fn contradicts(&self, fragment: &Fragment<'_>) -> bool {
        let behind_end = self.end.is_some_and(|end| fragment.end() > end || !fragment.more && fragment.end() != end);
        let last = self.pieces.last_key_value().map_or(0, |(start, piece)| start + piece.wire_len);
        let other_protocol =
            fragment.offset == 0 && self.protocol.is_some_and(|protocol| protocol != fragment.protocol);
        behind_end
            || other_protocol
            || !fragment.more && last > fragment.end()
            || self.overlapping(fragment.offset, fragment.end()).any(|(start, piece)| {
                let from = start.max(fragment.offset);
                let theirs = fragment.payload.get(from - fragment.offset..).unwrap_or_default();
                let ours = piece.bytes.get(from - start..).unwrap_or_default();
                theirs.iter().zip(ours).any(|(theirs, ours)| theirs != ours)
            })
    }

    /// Keeps what is new of a fragment.
    fn insert(&mut self, fragment: &Fragment<'_>) {
        self.fragments += 1;
        if !fragment.more {
            self.end = Some(fragment.end());
        }
        if fragment.offset == 0 {
            self.protocol = Some(fragment.protocol);
        }
        let mut gaps = Vec::new();
        let mut from = fragment.offset;
        for (start, piece) in self.overlapping(fragment.offset, fragment.end()) {
            if start > from {
                gaps.push((from, start));
            }
            from = from.max(start + piece.wire_len);
        }
        if from < fragment.end() {
            gaps.push((from, fragment.end()));
        }
        for (from, to) in gaps {
            let captured = fragment.payload.get(from - fragment.offset..).unwrap_or_default();
            let bytes = captured.get(..to - from).unwrap_or(captured);
            self.held += bytes.len() + PIECE;
            self.covered += to - from;
            self.pieces.insert(from, FragmentBytes { bytes: bytes.into(), wire_len: to - from });
        }
    }

    /// The packet, if it is whole: up to the first byte that was not captured, under a header of its own.
    fn assemble(&self, key: &Key, ts: Timestamp) -> Option<Datagram> {
        const TTL: u8 = 64;
        let len = self.end.filter(|end| *end == self.covered)?;
        let protocol = self.protocol?.0;
        let mut bytes = Vec::with_capacity(IPV4_HEADER * 2 + len);
        match (key.source, key.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend([0x45, 0]);
                bytes.extend(u16::try_from(IPV4_HEADER + len).ok()?.to_be_bytes());
                bytes.extend([0, 0, 0, 0, TTL, protocol, 0, 0]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes.extend([0x60, 0, 0, 0]);
                bytes.extend(u16::try_from(len).ok()?.to_be_bytes());
                bytes.extend([protocol, TTL]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
            }
            _ => return None,
        }
        let wire_len = bytes.len() + len;
        for piece in self.pieces.values() {
            bytes.extend(&piece.bytes);
            if piece.bytes.len() < piece.wire_len {
                break;
            }
        }
        Some(Datagram { bytes, wire_len, ts })
    }
}

/// The instant so many nanoseconds later.
const fn later(at: Timestamp, nanos: i64) -> Timestamp {
    Timestamp::from_nanos(at.as_nanos().saturating_add(nanos), at.precision())
}

#[cfg(test)]
mod tests;
