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

/// What a segment costs in the list beside its bytes, so that segments of one byte are bounded, too.
const SEGMENT_OVERHEAD: usize = size_of::<Early>() + 64;

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
    /// Whether a segment of this direction was seen, and not only an acknowledgment of one.
    seen: bool,
    /// Whether the first byte that could be seen is the first that was sent.
    from_start: bool,
    counters: Counters,
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
    content: Content,
    held: Held,
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
pub enum Content {
    /// The bytes.
    Data(Bytes),
    /// The snap length cut so many bytes off.
    Snapped(u64),
}

impl Content {
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

    fn slice(&self, from: u64, to: u64) -> Self {
        let mut part = self.clone();
        part.keep(from, to);
        part
    }

    fn held(&self) -> usize {
        SEGMENT_OVERHEAD
            + match self {
                Self::Data(data) => data.len(),
                Self::Snapped(_) => 0,
            }
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
            seen: false,
            from_start,
            counters: Counters::default(),
        }
    }

    /// The offset of a sequence number.
    pub(super) const fn offset_of(&self, seq: u32) -> Option<u64> {
        self.next.offset_of(seq)
    }

    /// The offset of the next byte to be delivered.
    pub(super) const fn next(&self) -> u64 {
        self.next.offset
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
        self.fin.map_or(self.acked, |fin| self.acked.min(fin))
    }

    /// Takes a FIN. Of two at different places one is false: the nearer one is believed, for nothing may come behind it.
    /// Up to where bytes are missing at the very end, as far as acknowledgments tell. The last one acknowledged may have
    /// been a FIN that was not captured, and that is no byte.
    pub(super) fn acked_bytes(&self) -> u64 {
        match self.fin {
            None if self.acked_one => self.acked.saturating_sub(1),
            _ => self.acked(),
        }
    }

    pub(super) fn finish_at(&mut self, offset: u64) {
        if offset >= self.next.offset && offset <= self.next.offset + MAX_WINDOW {
            self.fin = Some(self.fin.map_or(offset, |fin| fin.min(offset)));
        }
    }

    pub(super) const fn held(&self) -> usize {
        self.held_bytes
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
                self.counters.before_start += before.min(payload.len()) as u64;
                (0, payload.get(before..).unwrap_or_default())
            }
        };
        if offset > self.next.offset + MAX_WINDOW {
            self.counters.out_of_window += payload.len() as u64;
            return None;
        }
        let old = usize::try_from(self.next.offset.saturating_sub(offset)).unwrap_or(usize::MAX).min(payload.len());
        self.counters.retransmitted += old as u64;
        let fresh = payload.get(old..).unwrap_or_default();
        (!fresh.is_empty()).then_some((offset + old as u64, fresh))
    }

    /// Takes note that bytes at the front were handed out without having been kept.
    pub(super) fn deliver_in_place(&mut self, bytes: usize) {
        self.next = self.next.advance(bytes as u64);
    }

    pub(super) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Keeps what comes early. Bytes that are kept already stay as they are; but where the segment that has them now was
    /// sent before the one that brought them, they need not wait for more than that one does. Bytes that the snap length
    /// cut off are replaced where another segment has them.
    pub(super) fn keep(&mut self, mut offset: u64, content: Content, held: Held) {
        let end = offset + content.len();
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
                let content = content.slice(offset - start, gap_end - start);
                self.held_bytes += content.held();
                self.early.insert(index, Early { offset, content, held });
                index += 1;
            }
            let replaces = matches!(content, Content::Data(_))
                && self.early.get(index).is_some_and(|early| matches!(early.content, Content::Snapped(_)));
            let frees = self.early.get(index).is_some_and(|early| early.held.after > held.after);
            if gap_end < resume && (replaces || frees) {
                index = self.split(index, gap_end);
                self.split(index, resume);
                if let Some(early) = self.early.get_mut(index) {
                    early.held.after = early.held.after.min(held.after);
                    if replaces {
                        self.held_bytes = self.held_bytes.saturating_sub(early.content.held());
                        early.content = content.slice(gap_end - start, resume - start);
                        early.held.origin = held.origin;
                        self.held_bytes += early.content.held();
                    }
                }
            }
            if matches!(content, Content::Data(_)) && !replaces {
                self.counters.retransmitted += resume - gap_end;
            }
            offset = resume;
            index += 1;
        }
    }

    /// Keeps word of bytes that the snap length cut off, where they can belong to the stream.
    pub(super) fn keep_snapped(&mut self, offset: u64, bytes: u64, held: Held) {
        if offset > self.next.offset + MAX_WINDOW {
            self.counters.out_of_window += bytes;
        } else {
            self.keep(offset, Content::Snapped(bytes), held);
        }
    }

    /// Parts a kept piece in two, where `at` lies inside it. Gives the index of the piece that begins there, or that it is.
    fn split(&mut self, index: usize, at: u64) -> usize {
        let Some(early) = self.early.get_mut(index).filter(|early| early.offset < at && at < early.end()) else {
            return index;
        };
        self.held_bytes = self.held_bytes.saturating_sub(early.content.held());
        let (head, len) = (at - early.offset, early.content.len());
        let behind = Early { offset: at, content: early.content.slice(head, len), ..*early };
        early.content.keep(0, head);
        self.held_bytes += early.content.held() + behind.content.held();
        self.early.insert(index + 1, behind);
        index + 1
    }

    /// What waits at the front.
    pub(super) fn front(&self) -> Option<Front> {
        let early = self.early.front()?;
        Some(Front { offset: early.offset, held: early.held })
    }

    /// Delivers what waits at the front, which must begin at the next offset or before it.
    pub(super) fn deliver_front(&mut self) -> Option<(Content, Origin)> {
        while let Some(mut early) = self.early.pop_front() {
            self.held_bytes = self.held_bytes.saturating_sub(early.content.held());
            let old = self.next.offset.saturating_sub(early.offset);
            let len = early.content.len();
            if old >= len {
                self.counters.retransmitted += len;
                continue;
            }
            early.content.keep(old, len);
            self.next = self.next.advance(len - old);
            return Some((early.content, early.held.origin));
        }
        None
    }

    /// Gives up the bytes up to `offset`: how many they are.
    pub(super) fn give_up(&mut self, offset: u64) -> u64 {
        let bytes = offset.saturating_sub(self.next.offset);
        self.next = self.next.advance(bytes);
        bytes
    }
}
