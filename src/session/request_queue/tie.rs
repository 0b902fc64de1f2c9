//! Requests that TCP's numbers tie to replies, where it is not known which replies are whose.

use super::{Expected, Pacing, Progress, Request, RequestOutcome, RequestQueue};
use crate::pg::message_table::{self, backend};

/// A request that begins what ReadyForQuery ends, sent when its client had received all that the server had sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tie {
    /// The ordinal of the request.
    id: u64,
    /// Whether the requests up to the one that ReadyForQuery ends were seen.
    is_whole: bool,
    /// The number that the first byte of its reply has.
    reply_seq: u32,
    /// The number behind the last byte of what was seen of the requests.
    end_seq: u32,
    /// Whether the reply that comes now begins there, and its server had received the requests.
    is_met: bool,
    /// Bytes of notices and settings before the reply.
    bytes: u64,
}

impl<A: Default> RequestQueue<A> {
    /// How many requests were queued, where it is not known which replies are whose: what [`Self::tie`] asks for.
    pub fn uncertain_behind(&self) -> Option<u64> {
        (self.uncertain && self.given_up.is_none()).then_some(self.requests)
    }

    /// Ties the first request that was queued behind so many others to the reply that begins at `reply_seq`, the sequence number up to
    /// which its client had acknowledged. Behind the requests, `end_seq` is next.
    pub fn tie(&mut self, behind: u64, reply_seq: u32, end_seq: u32) {
        if !self.uncertain || self.requests == behind {
            return;
        }
        let is_whole = self.queue.back().is_some_and(|last| last.request.ends_with_ready());
        if let Some(tie) = &mut self.tie {
            if !tie.is_whole {
                (tie.end_seq, tie.is_whole) = (end_seq, is_whole);
            }
            return;
        }
        let first = self.queue.partition_point(|expected| expected.id <= behind);
        let mut is_first = first
            .checked_sub(1)
            .and_then(|before| self.queue.get(before))
            .is_none_or(|last| last.request.ends_with_ready());
        let begins = |expected: &&Expected<A>| {
            let was_first = std::mem::replace(&mut is_first, expected.request.ends_with_ready());
            was_first
                || matches!(expected.request, Request::Query | Request::FunctionCall)
                || expected.id == self.lost_behind + 1
        };
        if let Some(id) = self.queue.iter().skip(first).find(begins).map(|expected| expected.id) {
            self.tie = Some(Tie { id, is_whole, reply_seq, end_seq, is_met: false, bytes: 0 });
        }
    }

    /// Compares the numbers of a segment of the server's with those of the tie: the number of the message that it begins with, if it
    /// begins with one, and what it acknowledges.
    pub const fn meet(&mut self, begins_at: Option<u32>, ack: u32) {
        if let Some(tie) = &mut self.tie
            && !tie.is_met
        {
            tie.is_met = match begins_at {
                Some(seq) => seq == tie.reply_seq && ack.wrapping_sub(tie.end_seq).cast_signed() >= 0,
                None => false,
            };
            if !tie.is_met {
                self.tie = None;
            }
        }
    }

    /// What is to be read next may not be the beginning of a reply.
    pub const fn untie(&mut self) {
        self.tie = None;
    }

    /// Sets whether the requests that come next may be [tied](Self::tie) to replies.
    pub const fn may_tie(&mut self, may_tie: bool) {
        self.may_tie = may_tie;
    }

    /// Whether a request waits to be [tied](Self::tie) to a reply.
    pub const fn is_tying(&self) -> bool {
        self.tie.is_some()
    }

    /// Resolves the tie with the first backend message, of so many bytes, behind a request that may be tied to it. If the request is,
    /// it is the head from now on. Returns the bytes of what came with its reply, and before that.
    #[cold]
    pub fn resolve_tie(
        &mut self,
        tag: u8,
        size: u64,
        settle: &mut impl FnMut(Expected<A>, RequestOutcome),
    ) -> Option<u64> {
        let tie = self.tie.as_mut()?;
        if message_table::is_asynchronous(tag) {
            // These come at any time, but the first two mostly from what is being executed.
            tie.bytes += if tag == backend::NOTIFICATION_RESPONSE { 0 } else { size };
            return None;
        }
        let tie = self.tie.take().filter(|tie| tie.is_met && self.uncertain)?;
        let index = self.queue.partition_point(|expected| expected.id < tie.id);
        let request = self.queue.get(index)?.request;
        if !request.begins_with(tag) && tag != backend::ERROR_RESPONSE {
            return None;
        }
        if index > 0 && !self.replies_lost && self.pacing != Pacing::TakesTurns {
            // The reply may be that to one of those before.
            return None;
        }
        self.drain(index, settle);
        (self.uncertain, self.replies_lost) = (false, false);
        (self.progress, self.is_cycle_answered) = (Progress::Waits, false);
        self.shape.clear();
        self.tied_up_to = self.requests;
        Some(tie.bytes)
    }

    /// Whether a reply came that does not fit behind those that were tied, since this was asked last.
    pub const fn take_refuted(&mut self) -> bool {
        std::mem::replace(&mut self.is_refuted, false)
    }
}
