//! The record layer: splits a stream of bytes into complete records, however the stream is segmented.
//!
//! A record that lies completely in the input borrows from it. A record that spans several inputs is copied as its bytes arrive,
//! up to the size that the protocol allows. A hole inside a record loses only that record, because its header determines where
//! the next one begins. After a hole over a header, a boundary has to be searched for. It is accepted where a complete record is
//! followed by another header, or by the end of the data: a random position looks like a header with a probability of one in 60
//! million.
//!
//! Sources: RFC 8446, sections 5.1 and 5.2; RFC 5246, section 6.2.

use bytes::{Buf, BytesMut};

/// The size of a record's header, in bytes: content type, version, length.
pub(super) const HEADER: usize = 5;

/// The maximum payload size in bytes: "The length MUST NOT exceed 2^14 + 2048" (TLS 1.2; 1.3 has 2^14 + 256).
pub(super) const MAX_CIPHERTEXT: usize = (1 << 14) + 2048;

/// The minimum size of an encrypted record in bytes: its header, one byte, and the shortest tag.
pub(super) const MIN_ENCRYPTED: u64 = (HEADER + 1 + 8) as u64;

/// The capacity, in bytes, of the buffer that an idle direction keeps.
const KEPT_CAPACITY: usize = 4096;

pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// A record as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TlsRecord<'a> {
    /// The offset of its first byte in its direction.
    pub(super) start: u64,
    /// The content type. In an encrypted TLS 1.3 record it is always application data.
    pub(super) kind: u8,
    pub(super) version: [u8; 2],
    pub(super) payload: &'a [u8],
}

impl TlsRecord<'_> {
    /// Returns the offset of the next record.
    pub(super) const fn end(&self) -> u64 {
        self.start + self.len()
    }

    /// Returns the size on the wire in bytes.
    pub(super) const fn len(&self) -> u64 {
        (HEADER + self.payload.len()) as u64
    }

    /// Returns the bytes of the header.
    pub(super) fn header(&self) -> [u8; HEADER] {
        let [major, minor] = self.version;
        let [high, low] = u16::try_from(self.payload.len()).unwrap_or(u16::MAX).to_be_bytes();
        [self.kind, major, minor, high, low]
    }
}

/// The result of parsing a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeaderCandidate {
    /// Too few bytes to decide.
    Short,
    /// Not a header.
    None,
    /// The header of a record with this total size.
    Of(usize),
}

impl HeaderCandidate {
    fn at(bytes: &[u8]) -> Self {
        // TLS 1.3 records have the version of TLS 1.2; a client's first record may have that of TLS 1.0.
        match *bytes {
            [20..=23, 3, 1..=3, high, low, ..] => match usize::from(u16::from_be_bytes([high, low])) {
                len @ 1..=MAX_CIPHERTEXT => Self::Of(HEADER + len),
                _ => Self::None,
            },
            [] | [20..=23] | [20..=23, 3] | [20..=23, 3, 1..=3] | [20..=23, 3, 1..=3, _] => Self::Short,
            _ => Self::None,
        }
    }
}

/// Returns whether a record begins here; `None` if there are too few bytes to decide.
fn is_believable(bytes: &[u8]) -> Option<bool> {
    match HeaderCandidate::at(bytes) {
        HeaderCandidate::Short => None,
        HeaderCandidate::None => Some(false),
        HeaderCandidate::Of(total) => {
            bytes.get(total..).map(|behind| HeaderCandidate::at(behind) != HeaderCandidate::None)
        }
    }
}

/// Splits one direction of a connection into records.
#[derive(Debug)]
pub(super) struct Records {
    /// Bytes of records that were not returned yet.
    carry: BytesMut,
    /// How many bytes at the front of `carry` belong to the record that was returned last.
    handed_out: usize,
    /// The number of bytes consumed, including holes.
    offset: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `carry` begins at a record boundary.
    Boundary,
    /// The next `left` bytes belong to a record with a hole.
    Damaged { left: u64 },
    /// No boundary is known.
    Searching,
}

impl Records {
    /// Creates the state at the beginning of a stream.
    pub(super) fn new() -> Self {
        Self { carry: BytesMut::new(), handed_out: 0, offset: 0, state: State::Boundary }
    }

    /// Creates the state of a stream whose beginning was not captured.
    pub(super) fn midstream() -> Self {
        Self { state: State::Searching, ..Self::new() }
    }

    /// Returns the number of bytes consumed, including holes.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns whether no boundary is known.
    pub(super) fn is_searching(&self) -> bool {
        self.state == State::Searching
    }

    /// Returns the number of bytes held.
    pub(super) fn held(&self) -> usize {
        self.carry.capacity()
    }

    /// Consumes bytes from the front of `input`. Returns their number, and the record that they complete. Call this again with
    /// the rest until it returns no record.
    pub(super) fn next<'a>(&'a mut self, input: &'a [u8]) -> (usize, Option<TlsRecord<'a>>) {
        self.drop_handed_out();
        let mut used = 0;
        if let State::Damaged { left } = self.state {
            used = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
            let left = left - used as u64;
            self.offset += used as u64;
            self.state = if left > 0 { State::Damaged { left } } else { State::Boundary };
            if left > 0 {
                return (used, None);
            }
        }
        let rest = input.get(used..).unwrap_or_default();
        if self.state == State::Boundary && self.carry.is_empty() {
            // The common case: nothing is carried over, and the record is borrowed from the input.
            if let HeaderCandidate::Of(total) = HeaderCandidate::at(rest)
                && let Some(wire) = rest.get(..total)
            {
                let start = self.offset;
                self.offset += total as u64;
                return (used + total, record(start, wire));
            }
        }
        let (more, record) = self.next_carried(rest);
        (used + more, record)
    }

    fn next_carried(&mut self, input: &[u8]) -> (usize, Option<TlsRecord<'_>>) {
        let mut used = 0;
        loop {
            if self.state == State::Searching {
                self.take(input.get(used..).unwrap_or_default());
                used = input.len();
                if !self.search() {
                    return (used, None);
                }
            }
            let wanted = match HeaderCandidate::at(&self.carry) {
                HeaderCandidate::Of(total) if self.carry.len() >= total => {
                    self.handed_out = total;
                    let start = self.offset - self.carry.len() as u64;
                    return (used, self.carry.get(..total).and_then(|wire| record(start, wire)));
                }
                HeaderCandidate::Of(total) => total,
                HeaderCandidate::Short => HEADER,
                HeaderCandidate::None => {
                    self.state = State::Searching;
                    continue;
                }
            };
            let rest = input.get(used..).unwrap_or_default();
            if rest.is_empty() {
                return (used, None);
            }
            let taken = rest.get(..wanted - self.carry.len()).unwrap_or(rest);
            used += taken.len();
            self.take(taken);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.carry.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
    }

    /// Searches for a boundary in the carried bytes, and discards the bytes before it, or before the first possible one.
    fn search(&mut self) -> bool {
        let mut rest = &*self.carry;
        let found = loop {
            match is_believable(rest) {
                Some(false) => rest = rest.get(1..).unwrap_or_default(),
                Some(true) => break true,
                None => break false,
            }
        };
        self.carry.advance(self.carry.len() - rest.len());
        if found {
            self.state = State::Boundary;
        }
        found
    }

    /// Records that bytes of the stream were lost here.
    pub(super) fn gap(&mut self, bytes: u64) {
        self.drop_handed_out();
        let left = match (self.state, HeaderCandidate::at(&self.carry)) {
            (State::Boundary, HeaderCandidate::Of(total)) => (total as u64).checked_sub(self.carry.len() as u64),
            (State::Damaged { left }, _) => Some(left),
            _ => None,
        };
        self.state = match left.and_then(|left| left.checked_sub(bytes)) {
            Some(0) => State::Boundary,
            Some(left) => State::Damaged { left },
            None => State::Searching,
        };
        self.offset += bytes;
        self.carry = BytesMut::new();
    }

    /// Frees the buffer if no record was returned from it.
    pub(super) fn release(&mut self) {
        self.drop_handed_out();
        self.carry = BytesMut::from(&*self.carry);
    }

    fn drop_handed_out(&mut self) {
        if self.handed_out > 0 {
            self.carry.advance(self.handed_out.min(self.carry.len()));
            self.handed_out = 0;
            if self.carry.is_empty() {
                if self.carry.capacity() <= KEPT_CAPACITY { self.carry.clear() } else { self.carry = BytesMut::new() }
            }
        }
    }
}

fn record(start: u64, wire: &[u8]) -> Option<TlsRecord<'_>> {
    match wire {
        [kind, major, minor, _, _, payload @ ..] => {
            Some(TlsRecord { start, kind: *kind, version: [*major, *minor], payload })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(kind: u8, len: usize) -> Vec<u8> {
        let [high, low] = u16::try_from(len).unwrap().to_be_bytes();
        [&[kind, 3, 3, high, low][..], &vec![kind; len]].concat()
    }

    /// Returns the start and length of each record in the pieces.
    fn cut<'a>(records: &mut Records, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(u64, usize)> {
        let mut found = Vec::new();
        for mut piece in pieces {
            loop {
                let (used, record) = records.next(piece);
                piece = &piece[used..];
                let Some(record) = record else { break };
                assert!(record.payload.iter().all(|byte| *byte == record.kind));
                found.push((record.start, record.payload.len()));
            }
            assert!(piece.is_empty(), "everything is taken in");
        }
        found
    }

    #[test]
    fn records_are_the_same_however_the_stream_is_cut() {
        let stream = [wire(22, 300), wire(20, 1), wire(23, 1), wire(23, MAX_CIPHERTEXT), wire(21, 2)].concat();
        let whole = cut(&mut Records::new(), [&stream[..]]);
        assert_eq!(whole, [(0, 300), (305, 1), (311, 1), (317, 18_432), (18_754, 2)]);
        for size in [1, 2, 3, 4, 5, 6, 7, 64, 1448, 20_000] {
            assert_eq!(cut(&mut Records::new(), stream.chunks(size)), whole, "pieces of {size}");
        }
    }

    #[test]
    fn a_hole_inside_a_record_loses_only_that_record() {
        let stream = [wire(23, 100), wire(23, 200), wire(23, 50)].concat();
        // From after the header of the second record, which begins at 105.
        for from in 110..310 {
            for to in from + 1..=310 {
                let mut records = Records::new();
                let mut found = cut(&mut records, [&stream[..from]]);
                records.gap((to - from) as u64);
                found.extend(cut(&mut records, [&stream[to..]]));
                assert_eq!(found, [(0, 100), (310, 50)], "{from} to {to}");
            }
        }
    }

    #[test]
    fn a_boundary_is_found_after_a_lost_header() {
        let stream = [wire(23, 100), wire(23, 200), wire(23, 50), wire(23, 60)].concat();
        for (from, to) in [(105, 106), (107, 150), (50, 107), (0, 120), (309, 310)] {
            for size in [1, 50, 1000] {
                let mut records = Records::new();
                let mut found = cut(&mut records, [&stream[..from]]);
                records.gap((to - from) as u64);
                found.extend(cut(&mut records, stream[to..].chunks(size)));
                assert_eq!(found[found.len() - 2..], [(310, 50), (365, 60)], "{from} to {to}, pieces of {size}");
            }
        }
    }

    #[test]
    fn a_length_that_cannot_be_holds_nothing() {
        for header in
            [[23, 3, 3, 0x48, 0x01], [23, 3, 3, 0xff, 0xff], [23, 3, 3, 0, 0], [24, 3, 3, 0, 1], [23, 2, 0, 0, 1]]
        {
            let mut records = Records::new();
            let noise = [&header[..], &[0; 100_000]].concat();
            assert_eq!(cut(&mut records, noise.chunks(1000)), []);
            assert_eq!(records.offset(), 100_005);
            assert!(records.held() < 10_000, "{}", records.held());
            assert_eq!(cut(&mut records, [&wire(23, 9)[..]]), [(100_005, 9)]);
        }
    }
}
