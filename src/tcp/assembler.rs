//! Reassembly of one direction of a connection: segments in any order in, bytes in sequence order out.
//!
//! In-order payload is not copied. Out-of-order payload is copied into a list with a limit in bytes. If segments overlap, the
//! byte that arrived first is kept, in this list as in what was already delivered.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::seq::Position;
use crate::packet::Origin;

/// The largest window that TCP allows (RFC 7323, section 2.3). Data further ahead does not belong to this stream.
const MAX_WINDOW: u64 = 1 << 30;

/// The greatest distance, in either direction, between a sequence number of this stream and the range known so far. It is larger
/// than what captures lose or senders retransmit at a time, and smaller than the step between the initial sequence numbers of two
/// connections that reuse a port.
const NEAR: i64 = 1 << 20;

/// How many of the most recently delivered bytes are kept for comparison with retransmissions. A forged segment that races with
/// the genuine one arrives close to it, so a short history is enough.
const RECENT: usize = 768;

/// The memory that a segment in the list needs in addition to its bytes. The list's capacity may be twice its length. Counting
/// this overhead bounds the number of one-byte segments, too.
const SEGMENT_OVERHEAD: usize = 2 * size_of::<Early>() + 64;

/// The reassembly state of one direction.
#[derive(Debug)]
pub struct Assembler {
    next: Position,
    early: VecDeque<Early>,
    held_bytes: usize,
    /// The peer has acknowledged everything before this offset.
    acked: u64,
    /// Whether the last acknowledgment that advanced `acked` advanced it by one, as the acknowledgment of a FIN does.
    acked_one: bool,
    /// The offset of the end of the stream, once a FIN was seen.
    fin: Option<u64>,
    /// The offset of the sender's RST.
    reset_at: u64,
    /// The end of the data known to have been sent when a RST was accepted; `None` if there was no RST.
    sent_at_reset: Option<u64>,
    /// Whether a segment of this direction was captured, rather than only acknowledgments of its data.
    seen: bool,
    /// Whether offset 0 is the first byte of the stream, rather than the first byte after the start of the capture.
    from_start: bool,
    recent: Recent,
    conflict: Option<Conflict>,
    counters: Counters,
}

/// Retransmitted bytes that differ from those that arrived first. The first ones are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The number of bytes that differ.
    pub bytes: u64,
    /// The offset after the last differing byte that was already delivered; 0 if none was.
    pub delivered_until: u64,
}

/// The range of sequence numbers of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The sequence number of its first byte, if known.
    pub first: Option<u32>,
    /// The sequence number of the next byte to be delivered.
    pub next: u32,
    /// How far the known part of the stream extends beyond `next`.
    ahead: u32,
}

impl Span {
    /// Returns whether a sequence number may belong to this stream.
    pub fn is_near(&self, seq: u32) -> bool {
        let distance = i64::from(seq.wrapping_sub(self.next) as i32);
        (-NEAR..=i64::from(self.ahead) + NEAR).contains(&distance)
    }
}

/// Statistics on the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes that were received before.
    pub retransmitted: u64,
    /// Bytes too far ahead of the window to belong to the stream.
    pub out_of_window: u64,
    /// Bytes before the start of the stream as it was captured, which arrived after that start had been delivered.
    pub before_start: u64,
}

/// A segment, or a part of one, that cannot be delivered yet.
#[derive(Debug)]
struct Early {
    offset: u64,
    content: StreamContent,
    held: Held,
    /// Whether a segment with different bytes at the same offsets was received, too.
    is_contested: bool,
}

/// What is known of the segment that brought held data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// The offset up to which the other direction must be delivered first, because the sender had acknowledged it.
    pub(super) after: u64,
    /// The number of segments received on the connection when this one arrived.
    pub(super) at: u64,
    /// The packet that contained it.
    pub(super) origin: Origin,
}

impl Early {
    fn end(&self) -> u64 {
        self.offset + self.content.len()
    }
}

/// Content of a stream: bytes, or the number of bytes missing from a truncated packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamContent {
    /// Captured bytes.
    Data(Bytes),
    /// The number of bytes that the snap length cut off.
    Snapped(u64),
}

impl StreamContent {
    fn len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Snapped(bytes) => *bytes,
        }
    }

    /// Reduces the content to the range from `from` to `to`, relative to its start.
    fn keep(&mut self, from: u64, to: u64) {
        match self {
            Self::Data(data) => {
                data.truncate(usize::try_from(to).unwrap_or(usize::MAX));
                data.advance(usize::try_from(from).unwrap_or(usize::MAX).min(data.len()));
            }
            Self::Snapped(bytes) => *bytes = to.saturating_sub(from),
        }
    }

    fn data(&self) -> Option<&[u8]> {
        match self {
            Self::Data(data) => Some(data),
            Self::Snapped(_) => None,
        }
    }

    fn as_incoming(&self) -> Incoming<'_> {
        match self {
            Self::Data(data) => Incoming::Data(data),
            Self::Snapped(bytes) => Incoming::Snapped(*bytes),
        }
    }

    fn held(&self) -> usize {
        SEGMENT_OVERHEAD
            + match self {
                Self::Data(data) => data.len(),
                Self::Snapped(_) => 0,
            }
    }
}

/// [`StreamContent`] borrowed from a packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Incoming<'a> {
    Data(&'a [u8]),
    Snapped(u64),
}

impl Incoming<'_> {
    const fn len(self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Snapped(bytes) => bytes,
        }
    }

    /// Returns the range from `from` to `to`, relative to the start.
    fn slice(self, from: u64, to: u64) -> Self {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        match self {
            Self::Data(data) => Self::Data(data.get(at(from)..at(to)).unwrap_or_default()),
            Self::Snapped(_) => Self::Snapped(to.saturating_sub(from)),
        }
    }

    /// Copies the content, so that it does not keep the packet's buffer alive.
    fn to_content(self) -> StreamContent {
        match self {
            Self::Data(data) => StreamContent::Data(Bytes::copy_from_slice(data)),
            Self::Snapped(bytes) => StreamContent::Snapped(bytes),
        }
    }
}

/// A ring buffer of the most recently delivered bytes.
#[derive(Debug, Default)]
struct Recent {
    /// Empty until bytes are delivered. It does not grow later: rings that did would lie between the buffers of messages, which grow at
    /// the same time, and memory would be full of holes. The byte at an offset is stored at the offset modulo [`RECENT`].
    ring: Box<[u8]>,
    /// The offset after the last gap: the bytes from here on are complete.
    from: u64,
}

impl Recent {
    /// Appends bytes that were delivered at an offset.
    fn push(&mut self, offset: u64, bytes: &[u8]) {
        let surplus = bytes.len().saturating_sub(RECENT);
        let mut bytes = bytes.get(surplus..).unwrap_or_default();
        let mut at = ((offset + surplus as u64) % RECENT as u64) as usize;
        if self.ring.is_empty() {
            self.ring = vec![0; RECENT].into();
        }
        while let Some(room) = self.ring.get_mut(at..).filter(|_| !bytes.is_empty()) {
            let (now, later) = bytes.split_at(room.len().min(bytes.len()));
            if let Some(room) = room.get_mut(..now.len()) {
                room.copy_from_slice(now);
            }
            bytes = later;
            at = 0;
        }
    }

    /// Compares bytes from `offset` up to `next` with those delivered there, as far as these are still in the ring.
    fn conflict(&self, next: u64, offset: u64, bytes: &[u8]) -> Option<Conflict> {
        let known = self.from.max(next.saturating_sub(RECENT as u64));
        let differs = |(at, byte): (u64, &u8)| {
            let kept = self.ring.get((at % RECENT as u64) as usize).filter(|_| at >= known)?;
            (kept != byte).then_some(at + 1)
        };
        let different = (offset..next).zip(bytes).filter_map(differs);
        different.fold(None, |conflict: Option<Conflict>, delivered_until| {
            Some(Conflict { bytes: conflict.map_or(0, |conflict| conflict.bytes) + 1, delivered_until })
        })
    }
}

/// The first piece of held data of a direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front {
    pub(super) offset: u64,
    pub(super) held: Held,
}

impl Assembler {
    /// Creates the state of a stream whose first captured byte has the sequence number `seq`. `from_start` is whether this is
    /// also the first byte that was sent.
    pub fn new(seq: u32, from_start: bool) -> Self {
        Self {
            next: Position::start(seq),
            early: VecDeque::new(),
            held_bytes: 0,
            acked: 0,
            acked_one: false,
            fin: None,
            reset_at: 0,
            sent_at_reset: None,
            seen: false,
            from_start,
            recent: Recent { ring: Box::default(), from: 0 },
            conflict: None,
            counters: Counters::default(),
        }
    }

    /// Returns the offset of a sequence number.
    pub(super) const fn offset_of(&self, seq: u32) -> Option<u64> {
        self.next.offset_of(seq)
    }

    /// Returns whether a sequence number is that of the next byte to be delivered.
    pub(super) const fn is_next(&self, seq: u32) -> bool {
        self.next.seq == seq
    }

    /// Returns the offset of the next byte to be delivered.
    pub(super) const fn next(&self) -> u64 {
        self.next.offset
    }

    /// Returns the sequence number of an offset.
    pub(super) const fn seq_of(&self, offset: u64) -> u32 {
        self.next.seq.wrapping_sub(self.next.offset.wrapping_sub(offset) as u32)
    }

    /// Returns whether everything before `offset` was delivered. A FIN occupies one sequence number.
    pub(super) fn has_reached(&self, offset: u64) -> bool {
        offset <= self.next.offset || self.is_finished() && offset == self.next.offset + 1
    }

    /// Returns whether everything up to the FIN was delivered.
    pub(super) fn is_finished(&self) -> bool {
        self.fin.is_some_and(|fin| fin <= self.next.offset)
    }

    pub(super) const fn is_from_start(&self) -> bool {
        self.from_start
    }

    pub(super) const fn mark_seen(&mut self) {
        self.seen = true;
    }

    pub(super) const fn is_seen(&self) -> bool {
        self.seen
    }

    /// Records that the peer acknowledged everything before `offset`. Returns the offset, or 0 if it is outside this stream's
    /// window.
    pub(super) fn acknowledge(&mut self, offset: u64) -> u64 {
        if offset > self.next.offset + MAX_WINDOW {
            return 0;
        }
        if offset > self.acked {
            self.acked_one = offset == self.acked + 1;
            self.acked = offset;
        }
        offset
    }

    /// Returns the offset up to which the peer has acknowledged data.
    pub(super) fn acked(&self) -> u64 {
        self.before_fin(self.acked)
    }

    /// Returns whether the peer has acknowledged the FIN.
    pub(super) fn is_fin_acked(&self) -> bool {
        self.fin.is_some_and(|fin| self.acked > fin)
    }

    /// Returns the lesser of `offset` and the offset of the FIN.
    pub(super) fn before_fin(&self, offset: u64) -> u64 {
        self.fin.map_or(offset, |fin| offset.min(fin))
    }

    pub(super) const fn has_fin(&self) -> bool {
        self.fin.is_some()
    }

    /// Returns the offset up to which data is known to have been sent, from a FIN, a RST or acknowledgments. If no FIN was
    /// captured, the last acknowledged sequence number may be that of a FIN, which is not data. It certainly is if the peer has
    /// closed as well.
    pub(super) fn sent(&self, peer_has_closed: bool) -> u64 {
        self.fin.unwrap_or_else(|| {
            let last = self.acked.max(self.reset_at);
            let may_be_fin = peer_has_closed || last == self.next.offset + 1 || self.acked_one && last == self.acked;
            last.saturating_sub(u64::from(may_be_fin))
        })
    }

    /// Returns whether only an uncaptured FIN may be missing before `offset`: nothing after it was received.
    pub(super) fn may_be_fin(&self, offset: u64) -> bool {
        self.fin.is_none() && self.early.is_empty() && offset == self.next.offset + 1 && offset == self.acked
    }

    /// Records a RST and returns `true` if its sequence number is plausible. The receiver ignores a RST before what it has
    /// acknowledged, and one far from its window (RFC 5961, section 3.2).
    pub(super) fn reset_at(&mut self, seq: u32) -> bool {
        let offset = self.next.offset_of(seq).filter(|offset| *offset >= self.acked && self.span().is_near(seq));
        self.reset_at = offset.unwrap_or(self.reset_at);
        if offset.is_some() {
            let sent = self.next.offset.max(self.early.back().map_or(0, Early::end)).max(self.reset_at);
            self.sent_at_reset = Some(self.sent_at_reset.map_or(sent, |before| before.max(sent)));
        }
        offset.is_some()
    }

    /// Returns whether data sent after a RST was acknowledged: then the RST came from neither the sender nor its peer.
    pub(super) fn outlives_reset(&self) -> bool {
        self.sent_at_reset.is_some_and(|sent| self.acked > sent && self.next.offset > sent)
    }

    /// Returns whether everything up to the FIN or RST was delivered.
    pub(super) fn has_sent_all(&self) -> bool {
        self.is_finished() || self.sent_at_reset == Some(self.next.offset)
    }

    /// Returns whether everything that was sent, as far as that is known, was delivered.
    pub(super) fn has_delivered_all(&self, peer_has_closed: bool) -> bool {
        self.early.is_empty() && self.sent(peer_has_closed) <= self.next.offset
    }

    /// Discards a RST that the receiver ignored.
    pub(super) const fn forget_reset(&mut self) {
        (self.reset_at, self.sent_at_reset) = (0, None);
    }

    /// Returns the range of sequence numbers of the stream.
    pub(super) fn span(&self) -> Span {
        let furthest = self.early.back().map_or(0, Early::end).max(self.acked).saturating_sub(self.next.offset);
        Span {
            first: self.from_start.then(|| self.next.seq.wrapping_sub(self.next.offset as u32)),
            next: self.next.seq,
            ahead: furthest.min(MAX_WINDOW) as u32,
        }
    }

    /// Records a FIN. If two FINs have different offsets, one of them is wrong. The lower offset is used, because no data may
    /// follow a FIN.
    pub(super) fn finish_at(&mut self, offset: u64) {
        if offset >= self.next.offset && offset <= self.next.offset + MAX_WINDOW {
            self.fin = Some(self.fin.map_or(offset, |fin| fin.min(offset)));
        }
    }

    pub(super) const fn held(&self) -> usize {
        self.held_bytes
    }

    /// Returns the number of bytes kept only for comparison with retransmissions.
    pub(super) fn recent(&self) -> usize {
        self.recent.ring.len()
    }

    /// Frees the bytes kept only for comparison with retransmissions.
    pub(super) fn forget_recent(&mut self) {
        self.recent = Recent { ring: Box::default(), from: self.next.offset };
    }

    /// Returns the conflicting retransmissions since the last call.
    pub(super) fn take_conflict(&mut self) -> Option<Conflict> {
        self.conflict.take()
    }

    fn note_conflict(&mut self, conflict: Conflict) {
        let before = self.conflict.unwrap_or(Conflict { bytes: 0, delivered_until: 0 });
        let delivered_until = before.delivered_until.max(conflict.delivered_until);
        self.conflict = Some(Conflict { bytes: before.bytes + conflict.bytes, delivered_until });
    }

    pub(super) const fn counters(&self) -> Counters {
        self.counters
    }

    /// Returns the part of `payload` that was not delivered yet, and its offset; `None` if there is none.
    pub(super) fn fresh<'a>(&mut self, seq: u32, payload: &'a [u8]) -> Option<(u64, &'a [u8])> {
        if payload.is_empty() {
            return None;
        }
        let (offset, payload) = match self.next.offset_of(seq) {
            Some(offset) => (offset, payload),
            // The segment begins before the start of the stream.
            None => {
                let before = self.next.seq.wrapping_sub(seq).wrapping_sub(self.next.offset as u32) as usize;
                let bytes = before.min(payload.len()) as u64;
                match payload.len() {
                    // A keep-alive segment may contain one garbage byte.
                    1 => {}
                    // No data can precede the first byte that was sent.
                    _ if self.from_start || before as u64 > MAX_WINDOW => self.counters.out_of_window += bytes,
                    _ => self.counters.before_start += bytes,
                }
                (0, payload.get(before..).unwrap_or_default())
            }
        };
        if offset > self.next.offset + MAX_WINDOW {
            self.counters.out_of_window += payload.len() as u64;
            return None;
        }
        let old = usize::try_from(self.next.offset.saturating_sub(offset)).unwrap_or(usize::MAX).min(payload.len());
        self.counters.retransmitted += old as u64;
        let (repeated, fresh) = payload.split_at_checked(old).unwrap_or_default();
        // A one-byte retransmission is a keep-alive or window probe, whose byte may be garbage (RFC 1122, section 4.2.3.6).
        if payload.len() > 1
            && let Some(conflict) = self.recent.conflict(self.next.offset, offset, repeated)
        {
            self.note_conflict(conflict);
        }
        (!fresh.is_empty()).then_some((offset + old as u64, fresh))
    }

    /// Advances past in-order bytes that were delivered without being copied.
    pub(super) fn deliver_in_place(&mut self, bytes: &[u8]) {
        self.recent.push(self.next.offset, bytes);
        self.next = self.next.advance(bytes.len() as u64);
    }

    pub(super) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Stores out-of-order content. Bytes stored earlier are not overwritten, unless the snap length had cut them off. If the new
    /// segment acknowledges less of the other direction than the one that brought them, they may be delivered as early as the new
    /// one.
    pub(super) fn keep(&mut self, mut offset: u64, incoming: Incoming<'_>, held: Held) {
        let end = offset + incoming.len();
        let start = offset;
        offset = offset.max(self.next.offset);
        // The first stored piece that ends after the start of the new one.
        let mut index = self.early.partition_point(|early| early.end() <= offset);
        while offset < end {
            let (gap_end, resume) = match self.early.get(index) {
                Some(early) if early.offset < end => (early.offset.max(offset), early.end().min(end)),
                _ => (end, end),
            };
            if offset < gap_end {
                let content = incoming.slice(offset - start, gap_end - start).to_content();
                self.held_bytes += content.held();
                self.early.insert(index, Early { offset, content, held, is_contested: false });
                index += 1;
            }
            let differing = self.count_differing(index, gap_end, incoming.slice(gap_end - start, resume - start));
            if differing > 0 {
                self.note_conflict(Conflict { bytes: differing, delivered_until: 0 });
            }
            let replaces = matches!(incoming, Incoming::Data(_))
                && self.early.get(index).is_some_and(|early| matches!(early.content, StreamContent::Snapped(_)));
            let frees = self.early.get(index).is_some_and(|early| early.held.after > held.after);
            if gap_end < resume && (differing > 0 || replaces || frees) {
                index = self.split(index, gap_end);
                self.split(index, resume);
                if let Some(early) = self.early.get_mut(index) {
                    early.is_contested |= differing > 0;
                    early.held.after = early.held.after.min(held.after);
                    if replaces {
                        self.held_bytes = self.held_bytes.saturating_sub(early.content.held());
                        early.content = incoming.slice(gap_end - start, resume - start).to_content();
                        early.held.origin = held.origin;
                        self.held_bytes += early.content.held();
                    }
                }
            }
            if matches!(incoming, Incoming::Data(_)) && !replaces {
                self.counters.retransmitted += resume - gap_end;
            }
            offset = resume;
            index += 1;
        }
    }

    /// Returns how many bytes differ from those stored for the same offsets.
    fn count_differing(&self, index: usize, offset: u64, incoming: Incoming<'_>) -> u64 {
        let piece = self.early.get(index);
        let kept = piece
            .and_then(|early| early.content.data()?.get(usize::try_from(offset.checked_sub(early.offset)?).ok()?..));
        let (Some(kept), Incoming::Data(incoming)) = (kept, incoming) else { return 0 };
        kept.iter().zip(incoming).filter(|(kept, incoming)| kept != incoming).count() as u64
    }

    /// Records bytes that the snap length cut off, if they can belong to the stream.
    pub(super) fn keep_snapped(&mut self, offset: u64, bytes: u64, held: Held) {
        if offset > self.next.offset + MAX_WINDOW {
            self.counters.out_of_window += bytes;
        } else {
            self.keep(offset, Incoming::Snapped(bytes), held);
        }
    }

    /// Splits a stored piece at the offset `at`, if that lies inside it. Returns the index of the piece that begins there.
    fn split(&mut self, index: usize, at: u64) -> usize {
        let Some(early) = self.early.get_mut(index).filter(|early| early.offset < at && at < early.end()) else {
            return index;
        };
        self.held_bytes = self.held_bytes.saturating_sub(early.content.held());
        let (head, len) = (at - early.offset, early.content.len());
        // Both halves are copies, so that neither keeps the memory of the whole alive.
        let incoming = early.content.as_incoming();
        let behind = Early { offset: at, content: incoming.slice(head, len).to_content(), ..*early };
        early.content = incoming.slice(0, head).to_content();
        self.held_bytes += early.content.held() + behind.content.held();
        self.early.insert(index + 1, behind);
        index + 1
    }

    /// Returns the first stored piece.
    pub(super) fn front(&self) -> Option<Front> {
        let early = self.early.front()?;
        Some(Front { offset: early.offset, held: early.held })
    }

    /// Delivers the first stored piece, which must begin at the next offset or before it. Returns its content, whether it is
    /// contested, and the packet that contained it.
    pub(super) fn deliver_front(&mut self) -> Option<(StreamContent, bool, Origin)> {
        while let Some(mut early) = self.early.pop_front() {
            self.held_bytes = self.held_bytes.saturating_sub(early.content.held());
            let old = self.next.offset.saturating_sub(early.offset);
            let len = early.content.len();
            if old >= len {
                self.counters.retransmitted += len;
                continue;
            }
            early.content.keep(old, len);
            match early.content.data() {
                Some(data) => self.recent.push(self.next.offset, data),
                None => self.recent.from = self.next.offset + len - old,
            }
            self.next = self.next.advance(len - old);
            return Some((early.content, early.is_contested, early.held.origin));
        }
        None
    }

    /// Skips the bytes up to `offset` and returns their number.
    pub(super) fn give_up(&mut self, offset: u64) -> u64 {
        let bytes = offset.saturating_sub(self.next.offset);
        self.next = self.next.advance(bytes);
        self.recent.from = self.next.offset;
        bytes
    }
}
