//! Which request a reply answers where it cannot answer the one whose turn it is: a server, or a pooler before it, has swallowed
//! requests, or has sent a reply twice.

use std::fmt;

use super::{Expected, Misfit, Progress, Request, RequestOutcome, RequestQueue};
use crate::pg::message_table::{self, Role, backend};
use crate::session::answers::Answers;
use crate::session::violation::Breach;

/// How many requests are looked through for the one that an unexpected reply answers: more than a client sends ahead, and few
/// enough that replies that answer nothing cost little.
pub(super) const MAX_SEARCHED: usize = 256;

/// The types of replies, in order: as many as are needed to tell requests apart.
#[derive(Clone, Copy, Default)]
pub(super) struct Shape {
    replies: [(u8, Answers); 16],
    len: usize,
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all().into_iter().flatten()).finish()
    }
}

impl Shape {
    pub(super) fn push(&mut self, tag: u8, kind: Answers) {
        if let Some(place) = self.replies.get_mut(self.len) {
            *place = (tag, kind);
        }
        self.len += 1;
    }

    pub(super) const fn clear(&mut self) {
        self.len = 0;
    }

    /// All of them; none where there were too many.
    fn all(&self) -> Option<&[(u8, Answers)]> {
        self.replies.get(..self.len)
    }

    fn last(&self) -> Option<&(u8, Answers)> {
        self.all()?.last()
    }
}

/// Whether a backend message answers a request, by its tag: it does not come by itself, as errors may that end a session.
pub(super) const fn is_answer(tag: u8) -> bool {
    matches!(message_table::role_of_reply(tag), Some(Role::Answer))
}

/// Whether a reply ends what is executed.
const fn is_ending(tag: u8) -> bool {
    matches!(tag, backend::COMMAND_COMPLETE | backend::EMPTY_QUERY_RESPONSE | backend::PORTAL_SUSPENDED)
}

impl<A> Expected<A> {
    /// Whether a reply can be the first to it.
    fn begins_with(&self, tag: u8, kind: Answers) -> bool {
        self.request.begins_with(tag) && self.answers.allow(kind)
    }

    /// Whether a reply can be the next to it.
    #[inline(always)]
    fn goes_on_with(&self, progress: Progress, tag: u8, kind: Answers) -> bool {
        self.request.goes_on_with(progress, tag)
            && self.answers.allow(kind)
            && !(matches!(progress, Progress::Ended) && self.answers.are_of_one())
    }
}

impl<A: Default> RequestQueue<A> {
    /// Moves the queue on to the request that a backend message answers, where that is not the head: then those before it never
    /// will be. False where it answers none.
    #[inline(always)]
    pub fn align(&mut self, tag: u8, kind: Answers, settle: &mut impl FnMut(Expected<A>, RequestOutcome)) -> bool {
        if self.uncertain || !is_answer(tag) && tag != backend::ERROR_RESPONSE {
            return true;
        }
        if self.is_astray {
            return !self.is_cycle_answered && (tag == backend::ERROR_RESPONSE || self.is_due(tag, kind));
        }
        tag == backend::ERROR_RESPONSE || self.is_due(tag, kind) || self.realign(tag, kind, settle)
    }

    /// Whether any number of backend messages of this type leave the queue as it is.
    #[inline(always)]
    pub fn stays_with(&self, tag: u8, kind: Answers) -> bool {
        !self.is_tying() && !self.is_astray && (self.uncertain || !self.queue.is_empty() && self.is_due(tag, kind))
    }

    /// Whether a reply answers the head, or may answer a request that was not seen.
    #[inline(always)]
    fn is_due(&self, tag: u8, kind: Answers) -> bool {
        match self.queue.front() {
            Some(head) => head.goes_on_with(self.progress, tag, kind),
            None => !self.is_complete,
        }
    }

    /// Finds the request that a reply answers that does not answer the head. A server or a pooler that swallows requests mostly swallows
    /// all that ReadyForQuery ends together.
    #[cold]
    fn realign(&mut self, tag: u8, kind: Answers, settle: &mut impl FnMut(Expected<A>, RequestOutcome)) -> bool {
        if !self.is_complete {
            // It may be a request that was not seen, and so may be what came before since the last ReadyForQuery.
            self.uncertain = true;
            self.is_refuted = self.tied_up_to > 0;
            return true;
        }
        let found = self.find(tag, kind);
        let head = self.queue.front();
        let is_of_other_sql = head.is_some_and(|head| head.request.goes_on_with(self.progress, tag))
            && head.is_some_and(|head| !head.answers.allow(kind));
        if found.is_none() && is_of_other_sql && head.is_some_and(|head| !head.answers.are_sure()) {
            self.is_renamed = true;
            return true;
        }
        let has_ended = head.is_none_or(|head| head.request == Request::Sync) || self.has_all_ends();
        let what = match found {
            Some(_) => Breach::NoEnding,
            None if is_ending(tag) && has_ended => Breach::TwoEndings,
            None => Breach::WrongReply,
        };
        let wanted = head.map(|head| match (tag, head.request) {
            (backend::COMMAND_COMPLETE, _) if is_of_other_sql => "CommandComplete with a tag that its SQL can have",
            (backend::ROW_DESCRIPTION, Request::DescribePortal | Request::DescribeStatement) if is_of_other_sql => {
                "NoData"
            }
            (backend::ROW_DESCRIPTION | backend::DATA_ROW | backend::PORTAL_SUSPENDED, _) if is_of_other_sql => {
                "CommandComplete"
            }
            _ if self.has_all_ends() => "ReadyForQuery",
            (_, request) => request.next_replies(self.progress),
        });
        let (count, answered) = found.unwrap_or_default();
        let hit = self.queue.iter().take(count.max(1)).filter_map(|expected| expected.query);
        let queries = hit.clone().next().zip(hit.last());
        self.misfit = Some(Misfit { what, wanted, queries });
        // A reply that is sent twice leaves the rest as it is.
        self.is_astray = found.is_none() && what != Breach::TwoEndings && !self.repeats(tag, kind);
        self.drain(count, &mut |expected, _| settle(expected, RequestOutcome::Unknown));
        // What was attributed to those before answers these.
        self.drain(answered, settle);
        found.is_some()
    }

    /// Whether the head is a simple query, or a function call, of which all has ended, but for ReadyForQuery.
    fn has_all_ends(&self) -> bool {
        match (self.queue.front(), self.progress) {
            (Some(head), Progress::Failed) => head.request.ends_with_ready(),
            (Some(head), Progress::Ended) => head.answers.are_of_one(),
            _ => false,
        }
    }

    /// Whether a reply is the last one once more.
    fn repeats(&self, tag: u8, kind: Answers) -> bool {
        self.shape.last() == Some(&(tag, kind))
            && (is_ending(tag)
                || matches!(
                    tag,
                    backend::PARSE_COMPLETE | backend::BIND_COMPLETE | backend::CLOSE_COMPLETE | backend::NO_DATA
                ))
    }

    /// How many requests were swallowed, if a reply is not to the head; and how many behind them were answered by what came before.
    fn find(&self, tag: u8, kind: Answers) -> Option<(usize, usize)> {
        let requests = || self.queue.iter().take(MAX_SEARCHED).enumerate();
        let cycle_end =
            requests().find(|(_, next)| next.request.ends_with_ready()).map_or(MAX_SEARCHED, |(end, _)| end);
        let within = || {
            let found = requests().skip(1).take(cycle_end).find(|(_, next)| next.begins_with(tag, kind));
            found.map(|(index, _)| (index, 0))
        };
        let beyond = || {
            let mut is_first = false;
            let found = requests().skip(cycle_end).find(|(_, next)| {
                let was_first = std::mem::replace(&mut is_first, next.request.ends_with_ready());
                was_first && next.begins_with(tag, kind)
            });
            found.map(|(index, _)| (index, 0))
        };
        if !self.is_cycle_answered {
            return beyond().or_else(within);
        }
        let of_shape = || {
            let shape = self.shape.all()?;
            requests().skip(cycle_end).find_map(|(end, next)| {
                let first = Some(end + 1).filter(|_| next.request.ends_with_ready())?;
                Some((first, self.answered_by(first, shape, (tag, kind))?))
            })
        };
        // That a reply was sent twice is more likely than that nothing but a ReadyForQuery was swallowed.
        let is_said_twice = self.repeats(tag, kind) || is_ending(tag) && self.has_all_ends();
        within().or_else(of_shape).or_else(|| if is_said_twice { None } else { beyond() })
    }

    /// How many requests, from this place in the queue on, replies of these types have answered, if a further one can come next.
    fn answered_by(&self, first: usize, shape: &[(u8, Answers)], next: (u8, Answers)) -> Option<usize> {
        let (mut answered, mut progress) = (0, Progress::Waits);
        for (index, (tag, kind)) in shape.iter().chain([&next]).enumerate() {
            let expected = self.queue.get(first + answered)?;
            if !expected.goes_on_with(progress, *tag, *kind) {
                return None;
            }
            if index == shape.len() {
                break;
            }
            progress = match (expected.request, *tag) {
                (Request::Query, backend::COMMAND_COMPLETE | backend::EMPTY_QUERY_RESPONSE)
                | (Request::FunctionCall, _) => Progress::Ended,
                (Request::Query, _)
                | (Request::DescribeStatement, backend::PARAMETER_DESCRIPTION)
                | (Request::Execute, backend::COPY_OUT_RESPONSE | backend::COPY_IN_RESPONSE | backend::COPY_DONE) => {
                    Progress::Begun
                }
                _ => {
                    answered += 1;
                    Progress::Waits
                }
            };
        }
        Some(answered)
    }

    /// A ReadyForQuery that came before what it ends, at this place in the queue, was answered; or that ends nothing.
    #[cold]
    pub(super) fn early_ready(&self, ended: Option<usize>) -> Misfit {
        let head = self.queue.front();
        let hit = self.queue.iter().take(ended.map_or(1, |index| index + 1)).filter_map(|expected| expected.query);
        Misfit {
            what: if ended.is_some() { Breach::NoEnding } else { Breach::UnsolicitedReady },
            wanted: head.map(|head| head.request.next_replies(self.progress)),
            queries: hit.clone().next().zip(hit.last()),
        }
    }

    /// Whether an error that ends no session answers something. It does not where one came before, for what the next ReadyForQuery
    /// ends.
    #[inline(always)]
    pub fn may_fail(&mut self) -> bool {
        self.failed.is_none() || self.fails_again()
    }

    #[cold]
    fn fails_again(&mut self) -> bool {
        if self.uncertain || !self.is_complete {
            return true;
        }
        let queries = self.failed.filter(|query| *query > 0).map(|query| (query, query));
        self.misfit = Some(Misfit { what: Breach::TwoEndings, wanted: Some("ReadyForQuery"), queries });
        false
    }

    /// Whether a reply showed that a name stands for something else than is known, since this was asked last.
    pub const fn take_renamed(&mut self) -> bool {
        std::mem::replace(&mut self.is_renamed, false)
    }
}
