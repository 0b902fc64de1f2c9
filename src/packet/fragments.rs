//! Reassembly of IP packets from fragments (RFC 791, section 3.2; RFC 8200, section 4.5).
//!
//! Fragments may arrive in any order, repeatedly, and overlapping. Overlapping bytes that are equal are kept once. If they
//! differ, the fragments are not of the same packet: the identification was reused, or a sender tries to make the dissector see
//! other data than the receiver (RFC 5722). Then the earlier fragments are discarded, and the later one begins a new packet.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use etherparse::{IpNumber, ip_number};

use super::{Fragment, Innermost, LinkType, NotTcp, Packet, Segment};
use crate::time::Timestamp;

/// How long an incomplete IPv4 packet is kept: as on Linux, within the 15 seconds to two minutes of RFC 791 and RFC 1122.
const WAIT_V4: i64 = 30_000_000_000;

/// How long an incomplete IPv6 packet is kept after its first fragment arrived (RFC 8200).
const WAIT_V6: i64 = 60_000_000_000;

/// How long a packet is remembered after it was completed, for captures in which each packet appears twice. Less than the time
/// after which a 16-bit identification is reused.
const REMEMBER: i64 = 1_000_000_000;

/// The limit on the memory of all fragments, as on Linux.
const MAX_BYTES: usize = 4 << 20;

/// The maximum number of incomplete packets.
const MAX_DATAGRAMS: usize = 1024;

/// The approximate memory that a piece needs in addition to its bytes, so that tiny fragments are accounted for properly.
const PIECE: usize = 64;

/// The maximum size of an IP packet, including the header in IPv4 and without it in IPv6.
const MAX_LEN: usize = 65_535;

const IPV4_HEADER: usize = 20;

/// How many times a reassembled packet may turn out to be a fragment in a tunnel.
const MAX_NESTED: usize = 4;

/// Reassembles IP packets from fragments, within limits on time and memory.
#[derive(Debug)]
pub struct Defragmenter {
    datagrams: HashMap<Key, Partial, foldhash::fast::RandomState>,
    /// All of `datagrams`, sorted by when they are given up.
    due: BTreeMap<Due, Key>,
    /// All of `datagrams`, sorted by when they began. If there is no room, the oldest one is given up. By remaining time, IPv6
    /// packets, which are kept longer, would displace those of IPv4.
    begun: BTreeMap<u64, Key>,
    serial: u64,
    held: usize,
    lost: u64,
    max_bytes: usize,
    max_datagrams: usize,
}

/// The time at which something is given up, and a number that makes it unique.
type Due = (Timestamp, u64);

/// The fields that identify the fragments of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    identification: u32,
    /// In IPv6, the fragments of a packet may differ in it.
    protocol: Option<IpNumber>,
}

impl Key {
    fn of(fragment: &Fragment<'_>) -> Self {
        let Fragment { source, destination, identification, protocol, .. } = *fragment;
        Self { source, destination, identification, protocol: source.is_ipv4().then_some(protocol) }
    }
}

/// An incomplete packet, or one that was completed recently.
#[derive(Debug)]
struct Partial {
    due: Due,
    /// The pieces, sorted by offset. They do not overlap.
    pieces: BTreeMap<usize, FragmentBytes>,
    /// The number of bytes that the pieces cover.
    covered: usize,
    /// The size of the payload, known from the last fragment.
    end: Option<usize>,
    /// The protocol of the payload, known from the first fragment.
    protocol: Option<IpNumber>,
    /// The number of fragments received.
    fragments: u64,
    /// The memory that counts towards the limit.
    held: usize,
    /// The numbers of the frames with its fragments, until it is complete.
    packets: Vec<u64>,
    done: bool,
}

/// Received bytes.
#[derive(Debug)]
struct FragmentBytes {
    /// The captured part.
    bytes: Box<[u8]>,
    wire_len: usize,
}

/// A reassembled IP packet.
#[derive(Debug)]
pub struct Datagram {
    bytes: Vec<u8>,
    /// The size on the wire; larger than `bytes` if the snap length truncated fragments.
    wire_len: usize,
    ts: Timestamp,
    packets: Vec<u64>,
}

impl Datagram {
    /// Returns the numbers of the frames with its fragments.
    pub fn packets(&self) -> &[u64] {
        &self.packets
    }

    /// Decodes the TCP segment in the packet.
    ///
    /// # Errors
    ///
    /// The same as for [`super::decode`].
    pub fn segment(&self) -> Result<Segment<'_>, NotTcp> {
        super::decode(&self.packet())
    }

    fn packet(&self) -> Packet<'_> {
        let orig_len = u32::try_from(self.wire_len).unwrap_or(u32::MAX);
        Packet { ts: self.ts, link: LinkType::RAW, data: &self.bytes, orig_len, interface: 0 }
    }
}

impl Default for Defragmenter {
    fn default() -> Self {
        Self::with_limits(MAX_BYTES, MAX_DATAGRAMS)
    }
}

impl Defragmenter {
    /// Creates a defragmenter that holds about `max_bytes` of up to `max_datagrams` packets at most. Above that, the oldest are
    /// given up.
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

    /// Adds a frame, whose number this is, for which [`super::decode`] returned [`NotTcp::Fragment`]. Returns the packet that it
    /// completes.
    pub fn add(&mut self, packet: &Packet<'_>, number: u64) -> Option<Datagram> {
        self.expire(packet.ts);
        let Ok(Innermost::Fragment(fragment)) = super::read(packet) else { return None };
        let mut datagram = self.insert(&fragment, packet.ts, &[number])?;
        for _ in 0..MAX_NESTED {
            let Ok(Innermost::Fragment(fragment)) = super::read(&datagram.packet()) else { break };
            datagram = self.insert(&fragment, packet.ts, &datagram.packets)?;
        }
        Some(datagram)
    }

    /// Gives up packets that were incomplete for too long.
    pub fn expire(&mut self, now: Timestamp) {
        while let Some((_, key)) = self.due.first_key_value().filter(|((at, _), _)| *at <= now) {
            let key = *key;
            self.give_up(&key);
        }
    }

    /// Gives up all incomplete packets.
    pub fn clear(&mut self) {
        while let Some((_, key)) = self.begun.pop_first() {
            self.give_up(&key);
        }
    }

    /// Returns the number of fragments given up because they were contradictory or invalid, timed out, or exceeded the limits.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Returns the number of bytes held.
    pub const fn held(&self) -> usize {
        self.held
    }

    fn insert(&mut self, fragment: &Fragment<'_>, now: Timestamp, packets: &[u64]) -> Option<Datagram> {
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
        partial.insert(fragment, packets);
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
    /// Returns the end of the fragment in the payload of the packet.
    const fn end(&self) -> usize {
        self.offset.saturating_add(self.wire_len)
    }

    /// Returns whether the fragment is valid: the size of all but the last one is a multiple of eight bytes.
    const fn is_sound(&self) -> bool {
        let max = if self.source.is_ipv4() { MAX_LEN - IPV4_HEADER } else { MAX_LEN };
        self.wire_len > 0 && self.end() <= max && (!self.more || self.wire_len.is_multiple_of(8))
    }
}

/// Returns whether the packet may contain TCP, possibly in a tunnel or after extension headers.
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
            packets: Vec::new(),
            done: false,
        }
    }

    /// Iterates over the pieces that overlap `from..to`.
    fn overlapping(&self, from: usize, to: usize) -> impl Iterator<Item = (usize, &FragmentBytes)> {
        let before = self.pieces.range(..from).next_back().filter(|(start, piece)| **start + piece.wire_len > from);
        before.into_iter().chain(self.pieces.range(from..to)).map(|(start, piece)| (*start, piece))
    }

    /// Returns whether a fragment cannot belong to the same packet as the pieces.
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
                let stored = fragment.payload.get(from - fragment.offset..).unwrap_or_default();
                let ours = piece.bytes.get(from - start..).unwrap_or_default();
                stored.iter().zip(ours).any(|(stored, ours)| stored != ours)
            })
    }

    /// Adds the new bytes of a fragment.
    fn insert(&mut self, fragment: &Fragment<'_>, packets: &[u64]) {
        self.fragments += 1;
        if !self.done {
            self.packets.extend_from_slice(packets);
            self.held += size_of_val(packets);
        }
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

    /// Returns the packet if it is complete, up to the first byte that was not captured, with a header of its own.
    fn assemble(&mut self, key: &Key, ts: Timestamp) -> Option<Datagram> {
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
        Some(Datagram { bytes, wire_len, ts, packets: std::mem::take(&mut self.packets) })
    }
}

/// Returns the instant `nanos` nanoseconds later.
const fn later(at: Timestamp, nanos: i64) -> Timestamp {
    Timestamp::from_nanos(at.as_nanos().saturating_add(nanos), at.precision())
}

#[cfg(test)]
mod tests;
