//! One direction of a connection: segments in any order to bytes in order.
//!
//! What is in order is not copied. What comes early is, into a list that is bounded in bytes; where two segments overlap,
//! the byte that came first wins, in this list as in what was delivered.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::seq::Position;
use crate::packet::Origin;

/// The largest window that TCP can have (RFC 7323, section 2.3): what lies further ahead is no part of this stream.
const MAX_WINDOW: u64 = 1 << 30;

/// How far from its neighbours a number of the same stream lies at most, in either direction: more than captures lose or
/// senders repeat at a time, and less than hosts move their first number on before they use a port again.
const NEAR: i64 = 1 << 20;

/// How many of the last delivered bytes are kept, to be compared with what repeats them. A segment that races with the true
/// one comes at once.
const RECENT: usize = 1024;

/// What a segment costs in the list, which may be half empty, beside its bytes, so that segments of one byte are bounded, too.
const SEGMENT_OVERHEAD: usize = 2 * size_of::<Early>() + 64;

/// One direction's stream.
#[derive(Debug)]
pub struct Assembler {
    next: Position,
    early: VecDeque<Early>,
    held_bytes: usize,
    /// Everything before this offset was acknowledged by the other side.
    acked: u64,
    /// Whether the last acknowledgment of something new was of a single byte, as that of a FIN is.
    acked_one: bool,
    /// Where the stream ends, once a FIN told it.
    fin: Option<u64>,
    /// Where its sender was when it reset the connection.
    reset_at: u64,
    /// What was known to have been sent when a RST was taken; nothing where none was.
    sent_at_reset: Option<u64>,
    /// Whether a segment of this direction was seen, and not only an acknowledgment of one.
    seen: bool,
    /// Whether the first byte that could be seen is the first that was sent.
    from_start: bool,
    recent: Recent,
    conflict: Option<Conflict>,
    counters: Counters,
}

/// Bytes that came a second time, with other content than the first. Those that came first are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// How many differ.
    pub bytes: u64,
    /// The offset behind the last of them that was delivered already; 0 where none was.
    pub delivered_until: u64,
}

/// A stream's place in the space of sequence numbers.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The number of its first byte, where that is known.
    pub first: Option<u32>,
    /// That of the next byte to be delivered.
    pub next: u32,
    /// How far what is known of it reaches beyond that.
    ahead: u32,
}

impl Span {
    /// Whether a number may be of this stream.
    pub fn is_near(&self, seq: u32) -> bool {
        let distance = i64::from(seq.wrapping_sub(self.next) as i32);
        (-NEAR..=i64::from(self.ahead) + NEAR).contains(&distance)
    }
}

/// What became of a direction's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes that had been seen before.
    pub retransmitted: u64,
    /// Bytes too far ahead to belong to the stream.
    pub out_of_window: u64,
    /// Bytes before the first that was seen, which came when that had been delivered.
    pub before_start: u64,
}

/// A segment, or a piece of one, that cannot be delivered yet.
#[derive(Debug)]
struct Early {
    offset: u64,
    content: StreamContent,
    held: Held,
    /// Whether it also came with other content.
    is_contested: bool,
}

/// What is known of a segment that is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// How far the other direction must be delivered before, for the sender had acknowledged that much of it.
    pub(super) after: u64,
    /// How many segments of the connection had come with it.
    pub(super) at: u64,
    /// Which packet brought it.
    pub(super) origin: Origin,
}

impl Early {
    fn end(&self) -> u64 {
        self.offset + self.content.len()
    }
}

/// Bytes of a stream, or word of how many are missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamContent {
    /// The bytes.
    Data(Bytes),
    /// The snap length cut so many bytes off.
    Snapped(u64),
}

impl StreamContent {
    fn len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Snapped(bytes) => *bytes,
        }
    }

    /// Keeps the part from `from` to `to`, in bytes from its beginning.
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

    fn as_came(&self) -> Came<'_> {
        match self {
            Self::Data(data) => Came::Data(data),
            Self::Snapped(bytes) => Came::Snapped(*bytes),
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

/// [`StreamContent`] as it comes, in a packet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Came<'a> {
    Data(&'a [u8]),
    Snapped(u64),
}

impl Came<'_> {
    const fn len(self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Snapped(bytes) => bytes,
        }
    }

    /// The part from `from` to `to`, in bytes from its beginning.
    fn slice(self, from: u64, to: u64) -> Self {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        match self {
            Self::Data(data) => Self::Data(data.get(at(from)..at(to)).unwrap_or_default()),
            Self::Snapped(_) => Self::Snapped(to.saturating_sub(from)),
        }
    }

    /// A copy to keep, with nothing around it.
    fn to_content(self) -> StreamContent {
        match self {
            Self::Data(data) => StreamContent::Data(Bytes::copy_from_slice(data)),
            Self::Snapped(bytes) => StreamContent::Snapped(bytes),
        }
    }
}

/// A ring of the bytes that were delivered last.
#[derive(Debug, Default)]
struct Recent {
    /// Empty until something was delivered. The byte of an offset is at the offset modulo [`RECENT`].
    ring: Box<[u8]>,
    /// Where those bytes begin behind which nothing is missing.
    from: u64,
}

impl Recent {
    /// Takes the bytes that were delivered at an offset.
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

    /// Compares bytes at an offset, before `next`, with what was delivered there, as far as that is still known.
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

/// What waits at the front of a direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front {
    pub(super) offset: u64,
    pub(super) held: Held,
}

impl Assembler {
    /// A stream whose first byte that can be seen has this sequence number; whether it is the first that was sent.
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

    /// The offset of a sequence number.
    pub(super) const fn offset_of(&self, seq: u32) -> Option<u64> {
        self.next.offset_of(seq)
    }

    /// Whether a sequence number is that of the next byte to be delivered.
    pub(super) const fn is_next(&self, seq: u32) -> bool {
        self.next.seq == seq
    }

    /// The offset of the next byte to be delivered.
    pub(super) const fn next(&self) -> u64 {
        self.next.offset
    }

    /// The sequence number of an offset.
    pub(super) const fn seq_of(&self, offset: u64) -> u32 {
        self.next.seq.wrapping_sub(self.next.offset.wrapping_sub(offset) as u32)
    }

    /// Whether everything before `offset` was delivered. A FIN takes one number of the sequence.
    pub(super) fn has_reached(&self, offset: u64) -> bool {
        offset <= self.next.offset || self.is_finished() && offset == self.next.offset + 1
    }

    /// Whether everything up to the FIN was delivered.
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

    /// Notes that the other side acknowledged everything before `offset`; says how far it really is, or 0 where that makes
    /// no sense for this stream.
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

    /// The offset up to which bytes are known to have been received by the other side.
    pub(super) fn acked(&self) -> u64 {
        self.before_fin(self.acked)
    }

    /// Whether the other side has acknowledged the FIN.
    pub(super) fn is_fin_acked(&self) -> bool {
        self.fin.is_some_and(|fin| self.acked > fin)
    }

    /// The offset itself, or that of the FIN, where that lies before.
    pub(super) fn before_fin(&self, offset: u64) -> u64 {
        self.fin.map_or(offset, |fin| offset.min(fin))
    }

    pub(super) const fn has_fin(&self) -> bool {
        self.fin.is_some()
    }

    /// Up to where bytes were sent, as far as a FIN, a RST or acknowledgments tell. Where no FIN was captured, what was
    /// acknowledged last may have been one, and that is no byte: it surely was where the other side has closed, too.
    pub(super) fn sent(&self, peer_has_closed: bool) -> u64 {
        self.fin.unwrap_or_else(|| {
            let last = self.acked.max(self.reset_at);
            let may_be_fin = peer_has_closed || last == self.next.offset + 1 || self.acked_one && last == self.acked;
            last.saturating_sub(u64::from(may_be_fin))
        })
    }

    /// Whether a FIN that was not captured may be all that is missing before `offset`: nothing came of what is behind it.
    pub(super) fn may_be_fin(&self, offset: u64) -> bool {
        self.fin.is_none() && self.early.is_empty() && offset == self.next.offset + 1 && offset == self.acked
    }

    /// Accepts a RST if its sequence number may be its sender's: the other side ignores one before what it has acknowledged,
    /// nor one that lies far off (RFC 5961, section 3.2).
    pub(super) fn reset_at(&mut self, seq: u32) -> bool {
        let offset = self.next.offset_of(seq).filter(|offset| *offset >= self.acked && self.span().is_near(seq));
        self.reset_at = offset.unwrap_or(self.reset_at);
        if offset.is_some() {
            let sent = self.next.offset.max(self.early.back().map_or(0, Early::end)).max(self.reset_at);
            self.sent_at_reset = Some(self.sent_at_reset.map_or(sent, |before| before.max(sent)));
        }
        offset.is_some()
    }

    /// Whether bytes were acknowledged that were sent behind a RST: neither its sender nor the other side knows of that.
    pub(super) fn outlives_reset(&self) -> bool {
        self.sent_at_reset.is_some_and(|sent| self.acked > sent && self.next.offset > sent)
    }

    /// Whether everything up to the FIN, or the RST, was delivered.
    pub(super) fn has_sent_all(&self) -> bool {
        self.is_finished() || self.sent_at_reset == Some(self.next.offset)
    }

    /// A RST was ignored by the other side.
    pub(super) const fn forget_reset(&mut self) {
        (self.reset_at, self.sent_at_reset) = (0, None);
    }

    /// Where in the space of sequence numbers it is.
    pub(super) fn span(&self) -> Span {
        let furthest = self.early.back().map_or(0, Early::end).max(self.acked).saturating_sub(self.next.offset);
        Span {
            first: self.from_start.then(|| self.next.seq.wrapping_sub(self.next.offset as u32)),
            next: self.next.seq,
            ahead: furthest.min(MAX_WINDOW) as u32,
        }
    }

    /// Takes a FIN. Of two at different places one is false: the nearer one is believed, for nothing may come behind it.
    pub(super) fn finish_at(&mut self, offset: u64) {
        if offset >= self.next.offset && offset <= self.next.offset + MAX_WINDOW {
            self.fin = Some(self.fin.map_or(offset, |fin| fin.min(offset)));
        }
    }

    pub(super) const fn held(&self) -> usize {
        self.held_bytes
    }

    /// How many bytes are kept only to be compared.
    pub(super) fn recent(&self) -> usize {
        self.recent.ring.len()
    }

    /// Gives back what is kept only to be compared.
    pub(super) fn forget_recent(&mut self) {
        self.recent = Recent { ring: Box::default(), from: self.next.offset };
    }

    /// What came a second time with other content, since this was asked last.
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

    /// The part of `payload` that was not delivered yet, and its offset; nothing where there is none.
    pub(super) fn fresh<'a>(&mut self, seq: u32, payload: &'a [u8]) -> Option<(u64, &'a [u8])> {
        if payload.is_empty() {
            return None;
        }
        let (offset, payload) = match self.next.offset_of(seq) {
            Some(offset) => (offset, payload),
            // It begins before the beginning of what could be seen.
            None => {
                let before = self.next.seq.wrapping_sub(seq).wrapping_sub(self.next.offset as u32) as usize;
                let bytes = before.min(payload.len()) as u64;
                match payload.len() {
                    // A keep-alive may have one byte, which may be anything.
                    1 => {}
                    // Nothing is before the first that was sent.
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
        // A segment of one byte that was sent is a probe, whose byte may be anything (RFC 1122, section 4.2.3.6).
        if payload.len() > 1
            && let Some(conflict) = self.recent.conflict(self.next.offset, offset, repeated)
        {
            self.note_conflict(conflict);
        }
        (!fresh.is_empty()).then_some((offset + old as u64, fresh))
    }

    /// Takes note that bytes at the front were handed out without having been kept.
    pub(super) fn deliver_in_place(&mut self, bytes: &[u8]) {
        self.recent.push(self.next.offset, bytes);
        self.next = self.next.advance(bytes.len() as u64);
    }

    pub(super) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Keeps what comes early. Bytes that are kept already stay as they are; but where the segment that has them now was
    /// sent before the one that brought them, they need not wait for more than that one does. Bytes that the snap length
    /// cut off are replaced where another segment has them.
    pub(super) fn keep(&mut self, mut offset: u64, came: Came<'_>, held: Held) {
        let end = offset + came.len();
        let start = offset;
        offset = offset.max(self.next.offset);
        // The first kept piece that ends behind the beginning of the new one.
        let mut index = self.early.partition_point(|early| early.end() <= offset);
        while offset < end {
            let (gap_end, resume) = match self.early.get(index) {
                Some(early) if early.offset < end => (early.offset.max(offset), early.end().min(end)),
                _ => (end, end),
            };
            if offset < gap_end {
                let content = came.slice(offset - start, gap_end - start).to_content();
                self.held_bytes += content.held();
                self.early.insert(index, Early { offset, content, held, is_contested: false });
                index += 1;
            }
            let differing = self.count_differing(index, gap_end, came.slice(gap_end - start, resume - start));
            if differing > 0 {
                self.note_conflict(Conflict { bytes: differing, delivered_until: 0 });
            }
            let replaces = matches!(came, Came::Data(_))
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
                        early.content = came.slice(gap_end - start, resume - start).to_content();
                        early.held.origin = held.origin;
                        self.held_bytes += early.content.held();
                    }
                }
            }
            if matches!(came, Came::Data(_)) && !replaces {
                self.counters.retransmitted += resume - gap_end;
            }
            offset = resume;
            index += 1;
        }
    }

    /// How many bytes differ from those of the kept piece that has their offset already.
    fn count_differing(&self, index: usize, offset: u64, came: Came<'_>) -> u64 {
        let piece = self.early.get(index);
        let kept = piece
            .and_then(|early| early.content.data()?.get(usize::try_from(offset.checked_sub(early.offset)?).ok()?..));
        let (Some(kept), Came::Data(came)) = (kept, came) else { return 0 };
        kept.iter().zip(came).filter(|(kept, came)| kept != came).count() as u64
    }

    /// Keeps word of bytes that the snap length cut off, where they can belong to the stream.
    pub(super) fn keep_snapped(&mut self, offset: u64, bytes: u64, held: Held) {
        if offset > self.next.offset + MAX_WINDOW {
            self.counters.out_of_window += bytes;
        } else {
            self.keep(offset, Came::Snapped(bytes), held);
        }
    }

    /// Parts a kept piece in two, where `at` lies inside it. Gives the index of the piece that begins there, or that it is.
    fn split(&mut self, index: usize, at: u64) -> usize {
        let Some(early) = self.early.get_mut(index).filter(|early| early.offset < at && at < early.end()) else {
            return index;
        };
        self.held_bytes = self.held_bytes.saturating_sub(early.content.held());
        let (head, len) = (at - early.offset, early.content.len());
        // Both are copies: a part must not keep the memory of the whole.
        let came = early.content.as_came();
        let behind = Early { offset: at, content: came.slice(head, len).to_content(), ..*early };
        early.content = came.slice(0, head).to_content();
        self.held_bytes += early.content.held() + behind.content.held();
        self.early.insert(index + 1, behind);
        index + 1
    }

    /// What waits at the front.
    pub(super) fn front(&self) -> Option<Front> {
        let early = self.early.front()?;
        Some(Front { offset: early.offset, held: early.held })
    }

    /// Delivers what waits at the front, which must begin at the next offset or before it: its content, whether it also came
    /// with other content, and what brought it.
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

    /// Gives up the bytes up to `offset`: how many they are.
    pub(super) fn give_up(&mut self, offset: u64) -> u64 {
        let bytes = offset.saturating_sub(self.next.offset);
        self.next = self.next.advance(bytes);
        self.recent.from = self.next.offset;
        bytes
    }
}
