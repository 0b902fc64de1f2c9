//! Which packets belong to the connections that had a line written.
//!
//! The engine reports with which packets a connection begins and ends, and the writer which connections have lines. That is all
//! that is kept of a connection: its packets are found by their ends and their numbers, when they are read again or leave the
//! buffer.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::dissector::PacketsOf;
use crate::packet::{self, Endpoint, NotTcp, Packet};
use crate::tls::keylog::ClientRandom;

/// The maximum number of connections with lines whose packets are extracted, so that memory is bounded.
const MAX_CHOSEN: usize = 1 << 20;

/// The maximum number of IP fragments whose connection is remembered.
const MAX_FRAGMENTS: usize = 1 << 20;

/// The maximum number of TLS sessions of a connection whose secrets are extracted.
const MAX_TLS: usize = 16;

/// The maximum number of reassembled segments whose connection has no number yet.
const MAX_UNASSIGNED: usize = 1_024;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Two ends, the lesser first.
type Ends = [Endpoint; 2];

fn sorted(mut ends: Ends) -> Ends {
    ends.sort_unstable();
    ends
}

/// The connections that have lines, by number.
#[derive(Debug, Default)]
pub(in crate::cli) struct Chosen {
    conns: HashSet<u64, foldhash::fast::RandomState>,
    /// The last one, because many lines of the same connection follow each other.
    last: u64,
    /// The TLS sessions of any connections.
    tls: Vec<(u64, ClientRandom)>,
}

impl Chosen {
    /// Notes what the engine reports of a connection that another thread dissects.
    pub(in crate::cli) fn note(&mut self, known: &PacketsOf<'_>) {
        if let PacketsOf::Tls { conn, client_random } = *known {
            self.tls.push((conn, client_random));
        }
    }

    #[inline]
    pub(in crate::cli) fn add(&mut self, conn: u64) {
        if conn != self.last {
            self.last = conn;
            self.conns.insert(conn);
        }
    }
}

/// The packets of a connection, as the engine has reported them.
#[derive(Debug)]
struct Span {
    ends: Ends,
    first: u64,
    since: u64,
    /// The last packet of the handshake, once it is known.
    ready: Option<u64>,
    /// The first packet that is not its own.
    before: u64,
    /// The first packet of the next connection between the same ends.
    next: u64,
    is_chosen: bool,
    /// The number of packets that were no longer kept when the connection was chosen.
    dropped: u64,
    /// Its TLS sessions: one, unless they are renegotiated.
    tls: Vec<ClientRandom>,
}

impl Span {
    /// Returns whether a packet between its ends belongs to it.
    const fn owns(&self, packet: u64, syn: bool) -> bool {
        let is_own = packet >= self.since || packet == self.first || syn && packet > self.first;
        let is_next = packet >= self.before || packet == self.next || syn && packet > self.next;
        is_own && !is_next
    }
}

/// A packet, as far as it concerns its owner.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// A segment between these ends, with or without SYN.
    Segment(Ends, bool),
    /// A fragment of an IP packet.
    Fragment,
}

impl Place {
    /// Decodes a packet. Returns `None` if it cannot belong to any connection.
    pub(super) fn of(packet: &Packet<'_>) -> Option<Self> {
        match packet::decode(packet) {
            Ok(segment) => Some(Self::Segment(sorted([segment.source, segment.destination]), segment.syn)),
            Err(NotTcp::Fragment) => Some(Self::Fragment),
            Err(_) => None,
        }
    }

    /// Returns whether it may belong to a connection with one of these ports.
    pub(super) fn has_port(&self, ports: &[u16]) -> bool {
        match self {
            Self::Segment(ends, _) => ports.is_empty() || ends.iter().any(|end| ports.contains(&end.port)),
            Self::Fragment => true,
        }
    }
}

/// Finds the connections to which packets belong.
#[derive(Debug)]
pub(in crate::cli) struct Owners {
    spans: Map<u64, Span>,
    /// The connections between two ends, in order of their packets and of their numbers.
    between: Map<Ends, VecDeque<u64>>,
    /// The connections of IP fragments.
    fragments: Map<u64, u64>,
    unassigned: VecDeque<(Ends, bool, u64, Box<[u64]>)>,
    chosen: u64,
    /// The number of connections whose packets are not extracted, because there are too many.
    pub(super) refused: u64,
    /// The number of fragments that are not extracted, because there are too many.
    pub(super) lost_fragments: u64,
    /// The number of packets of chosen connections that were no longer kept.
    pub(super) dropped: u64,
    /// The last connection that was chosen.
    last: u64,
    /// Connections that have ended, but some of whose packets may still be in the buffer; `None` if there is no buffer.
    ended: Option<VecDeque<(u64, u64)>>,
    /// The TLS sessions of chosen connections that were forgotten.
    tls: Vec<ClientRandom>,
}

impl Owners {
    /// Creates an empty list. With a buffer, connections without lines are forgotten once their packets have left it, otherwise as
    /// soon as they end.
    pub(in crate::cli) fn new(has_buffer: bool) -> Self {
        Self {
            spans: Map::default(),
            between: Map::default(),
            fragments: Map::default(),
            unassigned: VecDeque::new(),
            chosen: 0,
            refused: 0,
            lost_fragments: 0,
            dropped: 0,
            last: 0,
            ended: has_buffer.then(VecDeque::new),
            tls: Vec::new(),
        }
    }

    /// Returns the number of chosen connections.
    pub(super) const fn chosen(&self) -> u64 {
        self.chosen
    }

    /// Chooses a connection, because it has a line.
    #[inline]
    pub(in crate::cli) fn choose(&mut self, conn: u64) {
        if conn != self.last {
            self.last = conn;
            self.choose_another(conn);
        }
    }

    fn choose_another(&mut self, conn: u64) {
        let Some(span) = self.spans.get_mut(&conn).filter(|span| !span.is_chosen) else { return };
        if self.ended.is_none() && self.chosen >= MAX_CHOSEN as u64 {
            self.refused += 1;
            return;
        }
        span.is_chosen = true;
        self.chosen += 1;
        self.dropped += std::mem::take(&mut span.dropped);
    }

    /// Chooses the connections that another thread has found to have lines.
    pub(in crate::cli) fn choose_all(&mut self, chosen: &mut Chosen) {
        chosen.last = 0;
        chosen.tls.drain(..).for_each(|(conn, client_random)| self.add_tls(conn, client_random));
        chosen.conns.drain().for_each(|conn| self.choose(conn));
    }

    /// Notes what the engine reports.
    pub(in crate::cli) fn note(&mut self, known: &PacketsOf<'_>) {
        match *known {
            PacketsOf::Begin { conn, ends, first, since } => self.begin(conn, sorted(ends), first, since),
            PacketsOf::Ready { conn, packet } => {
                if let Some(span) = self.spans.get_mut(&conn) {
                    span.ready.get_or_insert(packet);
                }
            }
            PacketsOf::Tls { conn, client_random } => self.add_tls(conn, client_random),
            PacketsOf::End { conn, before, next } => {
                let Some(span) = self.spans.get_mut(&conn) else { return };
                (span.before, span.next) = (before, next.unwrap_or(u64::MAX));
                let is_chosen = span.is_chosen;
                match &mut self.ended {
                    Some(ended) => ended.push_back((before, conn)),
                    None if is_chosen => {}
                    None => self.forget(conn),
                }
            }
            PacketsOf::Fragments { ends, syn, packet, fragments } => {
                self.assign(sorted(ends), syn, packet, fragments);
            }
        }
    }

    fn begin(&mut self, conn: u64, ends: Ends, first: u64, since: u64) {
        let (before, next) = (u64::MAX, u64::MAX);
        let span =
            Span { ends, first, since, ready: None, before, next, is_chosen: false, dropped: 0, tls: Vec::new() };
        self.spans.insert(conn, span);
        self.between.entry(ends).or_default().push_back(conn);
        if !self.unassigned.is_empty() {
            for (ends, syn, packet, fragments) in std::mem::take(&mut self.unassigned) {
                self.assign(ends, syn, packet, &fragments);
            }
        }
    }

    fn add_tls(&mut self, conn: u64, client_random: ClientRandom) {
        if let Some(span) = self.spans.get_mut(&conn).filter(|span| span.tls.len() < MAX_TLS) {
            span.tls.push(client_random);
        }
    }

    /// Returns the TLS sessions of chosen connections, in order of their numbers.
    pub(super) fn tls_sessions(&self) -> Vec<ClientRandom> {
        let mut chosen: Vec<_> = self.spans.iter().filter(|(_, span)| span.is_chosen).collect();
        chosen.sort_unstable_by_key(|(conn, _)| **conn);
        let known = chosen.into_iter().flat_map(|(_, span)| &span.tls);
        self.tls.iter().chain(known).copied().collect()
    }

    /// Assigns fragments to the connection of their segment.
    fn assign(&mut self, ends: Ends, syn: bool, packet: u64, fragments: &[u64]) {
        let Some(conn) = self.owner_of_segment(&ends, syn, packet) else {
            if self.unassigned.len() >= MAX_UNASSIGNED {
                self.unassigned.pop_front();
            }
            self.unassigned.push_back((ends, syn, packet, fragments.into()));
            return;
        };
        if self.fragments.len() + fragments.len() > MAX_FRAGMENTS {
            let spans = &self.spans;
            self.fragments.retain(|_, conn| spans.contains_key(conn));
            if self.fragments.len() + fragments.len() > MAX_FRAGMENTS {
                self.lost_fragments += fragments.len() as u64;
                return;
            }
        }
        self.fragments.extend(fragments.iter().map(|fragment| (*fragment, conn)));
    }

    fn owner_of_segment(&self, ends: &Ends, syn: bool, packet: u64) -> Option<u64> {
        let conns = self.between.get(ends)?;
        // While a connection is not the known one yet, the one before it is.
        let begun = conns.partition_point(|conn| self.spans.get(conn).is_some_and(|span| span.first <= packet));
        let last = [begun.checked_sub(1), begun.checked_sub(2)].into_iter().flatten();
        let owns = |conn: &&u64| self.spans.get(conn).is_some_and(|span| span.owns(packet, syn));
        last.filter_map(|index| conns.get(index)).find(owns).copied()
    }

    /// Returns the connection to which a packet belongs.
    pub(super) fn owner(&self, place: &Place, packet: u64) -> Option<u64> {
        match place {
            Place::Segment(ends, syn) => self.owner_of_segment(ends, *syn, packet),
            Place::Fragment => self.fragments.get(&packet).copied(),
        }
    }

    /// Returns whether a connection was chosen.
    pub(super) fn is_chosen(&self, conn: u64) -> bool {
        self.spans.get(&conn).is_some_and(|span| span.is_chosen)
    }

    /// Returns how many packets of a connection are no longer kept.
    pub(super) fn dropped_of(&self, conn: u64) -> u64 {
        self.spans.get(&conn).map_or(0, |span| span.dropped)
    }

    /// Returns whether a packet of a connection is one of its handshake, as far as is known.
    pub(super) fn is_of_handshake(&self, conn: u64, packet: u64) -> bool {
        self.spans.get(&conn).is_some_and(|span| span.ready.is_none_or(|ready| packet <= ready))
    }

    /// Counts packets of a connection that are no longer kept.
    pub(super) fn drop_packets(&mut self, conn: u64, packets: u64) {
        match self.spans.get_mut(&conn) {
            Some(span) if !span.is_chosen => span.dropped += packets,
            Some(_) => self.dropped += packets,
            None => {}
        }
    }

    /// Records that no packet before this one is in the buffer. Calls `forgotten` for each connection that is forgotten, and
    /// whether it was chosen.
    pub(super) fn release(&mut self, packet: u64, mut forgotten: impl FnMut(u64, bool)) {
        while let Some(ended) = &mut self.ended
            && let Some((_, conn)) = ended.front().copied().filter(|(before, _)| *before <= packet)
        {
            ended.pop_front();
            forgotten(conn, self.is_chosen(conn));
            self.forget(conn);
        }
    }

    /// Forgets that a fragment has left the buffer.
    pub(super) fn release_fragment(&mut self, packet: u64) {
        self.fragments.remove(&packet);
    }

    fn forget(&mut self, conn: u64) {
        let Some(span) = self.spans.remove(&conn) else { return };
        if span.is_chosen && self.tls.len() < MAX_CHOSEN {
            self.tls.extend(&span.tls);
        }
        if let Some(conns) = self.between.get_mut(&span.ends) {
            if let Ok(index) = conns.binary_search(&conn) {
                conns.remove(index);
            }
            if conns.is_empty() {
                self.between.remove(&span.ends);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(port: u16) -> Endpoint {
        Endpoint { addr: [127, 0, 0, 1].into(), port }
    }

    fn begin(conn: u64, first: u64, since: u64) -> PacketsOf<'static> {
        PacketsOf::Begin { conn, ends: [end(40_000), end(5432)], first, since }
    }

    /// Returns the owners of packets from 1 on, without and with SYN.
    fn owners_of(owners: &Owners, packets: u64) -> [Vec<u64>; 2] {
        let ends = sorted([end(5432), end(40_000)]);
        let owner = |packet, syn| owners.owner(&Place::Segment(ends, syn), packet).unwrap_or_default();
        [false, true].map(|syn| (1..=packets).map(|packet| owner(packet, syn)).collect())
    }

    #[test]
    fn a_port_that_is_used_again_has_packets_of_both_connections() {
        let mut owners = Owners::new(true);
        owners.note(&begin(1, 2, 2));
        // The SYN of the second one is packet 5, and its first data packet 8: those between are of the first, but for SYNs.
        owners.note(&PacketsOf::End { conn: 1, before: 8, next: Some(5) });
        owners.note(&begin(2, 5, 8));
        let [plain, syn] = owners_of(&owners, 9);
        assert_eq!(plain, [0, 1, 1, 1, 2, 1, 1, 2, 2]);
        assert_eq!(syn, [0, 1, 1, 1, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn connections_without_lines_are_forgotten() {
        for has_buffer in [false, true] {
            let mut owners = Owners::new(has_buffer);
            for conn in 1..=3 {
                owners.note(&begin(conn, 10 * conn, 10 * conn));
                if conn == 2 {
                    owners.choose(conn);
                }
                owners.note(&PacketsOf::End { conn, before: 10 * conn + 5, next: None });
            }
            let mut forgotten = Vec::new();
            owners.release(26, |conn, is_chosen| forgotten.push((conn, is_chosen)));
            // In a file, packets of chosen connections are still to be read.
            let (kept, wanted): (Vec<u64>, Vec<_>) =
                if has_buffer { (vec![3], vec![(1, false), (2, true)]) } else { (vec![2], vec![]) };
            assert_eq!(forgotten, wanted);
            assert_eq!(owners.spans.keys().copied().collect::<Vec<_>>(), kept);
            assert_eq!(owners.between.values().flatten().copied().collect::<Vec<_>>(), kept);
        }
    }

    #[test]
    fn fragments_are_assigned_once_their_connection_has_a_number() {
        let mut owners = Owners::new(false);
        let ends = [end(5432), end(40_000)];
        owners.note(&PacketsOf::Fragments { ends, syn: false, packet: 4, fragments: &[3, 4] });
        assert_eq!(owners.owner(&Place::Fragment, 3), None);
        owners.note(&begin(1, 2, 2));
        owners.note(&PacketsOf::Fragments { ends, syn: false, packet: 6, fragments: &[5, 6] });
        for fragment in 3..=6 {
            assert_eq!(owners.owner(&Place::Fragment, fragment), Some(1));
        }
        assert_eq!(owners.owner(&Place::Fragment, 7), None);
    }
}
