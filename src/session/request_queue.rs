//! Requests that wait for their replies.
//!
//! A backend answers in the order of the requests, so the replies belong to the head of a queue. This module holds
//! what the documentation says of that order: "Pipelining", "Extended Query", "COPY Operations", "Function Call".

use std::collections::VecDeque;

use self::align::Shape;
use self::request::Progress;
pub use self::request::Request;
use self::tie::Tie;
use super::answers::Answers;
use super::violation::Breach;
use crate::time::Timestamp;

mod align;
mod copy_in;
mod reply;
mod request;
mod tie;

/// How many requests may wait. A pipeline of more than this is not followed to its end: what is behind is not attributed.
const MAX_PENDING: usize = 65_536;

/// The queue. With each request goes what it is about.
#[derive(Debug)]
pub struct RequestQueue<A> {
    queue: VecDeque<Expected<A>>,
    /// How many of them ReadyForQuery ends.
    enders: usize,
    /// The number of the last query.
    queries: u64,
    /// How many requests were queued.
    requests: u64,
    /// The steps of the extended protocol that still may belong to the last query: those behind this one.
    open: Option<Request>,
    /// An error was sent: everything up to the next Sync is discarded by the backend.
    skipping: bool,
    /// How often the request that the backend answers now has asked for COPY data.
    copies_in: usize,
    /// COPY FROM STDIN is under way: "the backend will ignore Sync and Flush" until it ends. Those that it has ignored are known
    /// only then: behind an error it does not.
    copying_in: bool,
    /// The last request that was sent before the data of the COPY, or before the backend asked for it.
    before_data: Option<u64>,
    /// How far the head of the queue was answered.
    progress: Progress,
    /// Whether something was answered of what the next ReadyForQuery ends.
    is_cycle_answered: bool,
    /// The replies to that, but for data.
    shape: Shape,
    /// Whether the client's requests may be tied to replies by TCP's numbers.
    may_tie: bool,
    /// Whether a reply came of which no request was found that it answers, since the last ReadyForQuery.
    is_astray: bool,
    /// An error came since the last ReadyForQuery: to this query, or to none, which is 0.
    failed: Option<u64>,
    /// Whether a reply came that the SQL of the name that is executed cannot have, until it is asked for.
    is_renamed: bool,
    /// Whether all was seen since the session began, so that what does not fit is the fault of who sent it.
    is_complete: bool,
    /// Requests were not seen, or replies: which reply is whose cannot be known.
    uncertain: bool,
    /// Replies were lost, not only requests.
    replies_lost: bool,
    /// Where requests were dropped: how many ReadyForQuery are still to come for them. Until then nothing waits here.
    given_up: Option<u64>,
    /// What the client has shown of its ways, while nothing was uncertain.
    pacing: Pacing,
    /// The request, sent while it was uncertain, that TCP's numbers may tie to the next reply.
    tie: Option<Tie>,
    /// The last request that was sent before the replies were tied to requests by TCP's numbers.
    tied_up_to: u64,
    /// How many requests were queued when the last loss of requests was found.
    lost_behind: u64,
    /// Whether a reply came that does not fit behind those that were tied, until it is asked for.
    is_refuted: bool,
    /// How the protocol was broken, until it is asked for.
    misfit: Option<Misfit>,
}

/// Whether a client waits for its answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pacing {
    /// It has not shown it.
    #[default]
    Unknown,
    /// It has only ever sent a request after the one before was answered.
    TakesTurns,
    /// It has sent a request before the one before was answered.
    Pipelines,
}

/// A request that waits for its reply.
#[derive(Debug)]
pub struct Expected<A> {
    /// Its ordinal.
    pub id: u64,
    /// What it asks.
    pub request: Request,
    /// The number of its query; none for a Sync of its own.
    pub query: Option<u64>,
    /// When it was sent.
    pub at: Timestamp,
    /// What it is about.
    pub target: A,
    /// The first query that this, or a request behind it, can belong to.
    order: u64,
    /// What its SQL can be answered by, as far as that is known.
    pub(super) answers: Answers,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// It was answered.
    Answered,
    /// It was answered by an error.
    Failed,
    /// It was ignored, for one before it has failed.
    Skipped,
    /// Its answer was lost, or never came, or cannot be distinguished from others.
    Unknown,
}

/// What a message belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    /// The number of the query.
    pub query: Option<u64>,
    /// Microseconds since the request that this answers.
    pub elapsed_us: Option<u64>,
    /// Whether an end of the request that this answers came before it: a ReadyForQuery alone ends nothing.
    pub has_ended: bool,
    /// Whether it was attributed by TCP's numbers alone.
    pub is_tied: bool,
}

/// A reply that did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// How the protocol was broken.
    pub what: Breach,
    /// The replies of which one was to come.
    pub wanted: Option<&'static str>,
    /// The queries that are hit, the first and the last.
    pub queries: Option<(u64, u64)>,
}

/// Where a request was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueuePlace {
    /// It waits, and has this ordinal.
    Waits(u64),
    /// The backend ignores it, for an error was sent. It has an ordinal all the same.
    Skipped(u64),
    /// It needs no place: a Sync in the midst of a COPY.
    None,
    /// Too many wait already.
    TooMany,
}

impl<A> Default for RequestQueue<A> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            enders: 0,
            queries: 0,
            requests: 0,
            open: None,
            skipping: false,
            copies_in: 0,
            copying_in: false,
            before_data: None,
            progress: Progress::default(),
            is_cycle_answered: false,
            shape: Shape::default(),
            may_tie: false,
            is_astray: false,
            failed: None,
            is_renamed: false,
            is_complete: true,
            uncertain: false,
            replies_lost: false,
            given_up: None,
            pacing: Pacing::default(),
            tie: None,
            tied_up_to: 0,
            lost_behind: 0,
            is_refuted: false,
            misfit: None,
        }
    }
}

impl<A: Default> RequestQueue<A> {
    /// A queue of a connection that began before the capture.
    pub fn midstream() -> Self {
        Self { uncertain: true, is_complete: false, ..Self::default() }
    }

    /// Queues a request. `settle` is called with each earlier one that is settled by it.
    pub fn request(
        &mut self,
        request: Request,
        at: Timestamp,
        settle: &mut impl FnMut(Expected<A>, RequestOutcome),
    ) -> (Option<u64>, QueuePlace) {
        let query = self.number(request);
        if request == Request::Sync {
            self.skipping = false;
        }
        let is_of_copy = self.copying_in || request == Request::CopyEnd;
        if request == Request::CopyEnd {
            self.copying_in = false;
        }
        if self.queue.len() >= MAX_PENDING {
            self.give_up(settle);
        }
        if let Some(given_up) = &mut self.given_up {
            *given_up += u64::from(request.ends_with_ready());
            return (query, QueuePlace::TooMany);
        }
        if !is_of_copy {
            self.begin_cycle(settle);
        }
        if request == Request::CopyEnd && self.queue.is_empty() && !self.skipping {
            return (query, QueuePlace::None);
        }
        if matches!(request, Request::Query | Request::Execute) {
            self.before_data = None;
        }
        self.requests += 1;
        let id = self.requests;
        if self.skipping {
            return (query, QueuePlace::Skipped(id));
        }
        let order = query.unwrap_or(self.queries + 1);
        self.enders += usize::from(request.ends_with_ready());
        self.queue.push_back(Expected { id, request, query, at, target: A::default(), order, answers: Answers::ANY });
        (query, QueuePlace::Waits(id))
    }

    /// Whether no request waits, and the next that comes will be the first to be answered.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.uncertain && !self.skipping && !self.copying_in && self.given_up.is_none()
    }

    /// Numbers requests that come together while it [is idle](Self::is_idle): the steps of one execution, and its Sync. They do
    /// not wait here, but where they are kept together, until they were [answered](Self::answered) or are
    /// [put here](Self::put). Returns the number of their query, and the ordinal of the first.
    pub fn together(&mut self, requests: &[Request]) -> (u64, u64) {
        if self.pacing == Pacing::Unknown {
            self.pacing = Pacing::TakesTurns;
        }
        // The first step decides which query it is, and a Sync ends what may belong to that.
        if let Some(first) = requests.first() {
            self.number(*first);
        }
        self.open = self.open.filter(|_| requests.last() != Some(&Request::Sync));
        let first = self.requests + 1;
        self.requests += requests.len() as u64;
        (self.queries, first)
    }

    /// Queues requests that came together, each for its own reply.
    pub fn put(
        &mut self,
        requests: &[Request],
        (query, first): (u64, u64),
        at: Timestamp,
        target: impl Fn(Request) -> (A, Answers),
    ) {
        let expected = |(id, request): (u64, &Request)| {
            let request = *request;
            let (target, answers) = target(request);
            Expected { id, request, query: Some(query), at, target, order: query, answers }
        };
        self.enders += requests.iter().filter(|request| request.ends_with_ready()).count();
        self.queue.extend((first..).zip(requests).map(expected));
    }

    /// The requests that came together were answered.
    pub const fn answered(&mut self) {
        (self.copies_in, self.copying_in) = (0, false);
        (self.uncertain, self.replies_lost) = (false, false);
    }

    /// Sets what the request is about that was queued last.
    pub fn set_target(&mut self, target: A) {
        if let Some(last) = self.queue.back_mut() {
            last.target = target;
        }
    }

    /// Sets what can answer the request that was queued last.
    pub fn set_answers(&mut self, answers: Answers) {
        if let Some(last) = self.queue.back_mut() {
            last.answers = answers;
        }
    }

    /// Records how the client sends the first request behind one that ReadyForQuery ends.
    fn begin_cycle(&mut self, settle: &mut impl FnMut(Expected<A>, RequestOutcome)) {
        match self.queue.back() {
            None if !self.uncertain && self.pacing == Pacing::Unknown => self.pacing = Pacing::TakesTurns,
            Some(last) if last.request.ends_with_ready() => {
                if !self.uncertain {
                    self.pacing = Pacing::Pipelines;
                } else if self.pacing == Pacing::TakesTurns && self.replies_lost && !self.may_tie {
                    // This client has had its answers, or it would not go on: they are among what was lost.
                    self.drain(self.queue.len(), settle);
                    self.uncertain = false;
                }
            }
            _ => {}
        }
    }

    /// The number of the query that a request belongs to. The steps of one execution, Parse to Close, share a number; so
    /// does the Sync behind them.
    fn number(&mut self, request: Request) -> Option<u64> {
        match request {
            Request::CopyEnd => return self.last_query(),
            Request::Sync if self.copying_in => return self.last_query(),
            Request::Sync => return self.open.take().and_then(|_| self.last_query()),
            Request::Query | Request::FunctionCall => self.open = None,
            step => {
                let goes_on = self.open.is_some_and(|open| open < step);
                self.open = Some(step);
                if goes_on {
                    return self.last_query();
                }
            }
        }
        self.queries += 1;
        self.last_query()
    }

    /// The number of the last query that was sent: what COPY data and Flush belong to.
    pub fn last_query(&self) -> Option<u64> {
        (self.queries > 0).then_some(self.queries)
    }

    /// The first query of which something may still come. Those before it are over.
    pub fn first_open(&self) -> u64 {
        match self.queue.front() {
            Some(head) => head.order,
            None if self.open.is_some() => self.queries,
            None => self.queries + 1,
        }
    }

    /// Whether no request waits for its reply.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The request that the backend answers now; none where that cannot be known.
    pub fn head(&self) -> Option<&Expected<A>> {
        self.queue.front().filter(|_| !self.uncertain)
    }

    /// The same, to note down what is found out about it.
    pub fn head_mut(&mut self) -> Option<&mut Expected<A>> {
        self.queue.front_mut().filter(|_| !self.uncertain)
    }

    /// The last request that waits; none where it cannot be known which wait.
    pub fn last(&self) -> Option<&Expected<A>> {
        self.queue.back().filter(|_| !self.uncertain)
    }

    /// The session is ready for the first time. No request has caused that, though some may have been sent already.
    pub fn begin(&mut self) {
        if self.queue.is_empty() {
            (self.uncertain, self.replies_lost) = (false, false);
        }
    }

    /// How the protocol was broken, since this was asked last.
    pub const fn take_misfit(&mut self) -> Option<Misfit> {
        self.misfit.take()
    }

    /// Removes so many requests from the front, and the ends of COPY data behind them, which have no answer of their own.
    fn drain(&mut self, count: usize, settle: &mut impl FnMut(Expected<A>, RequestOutcome)) {
        let outcome = if self.uncertain { RequestOutcome::Unknown } else { RequestOutcome::Answered };
        for _ in 0..count {
            let Some(expected) = self.queue.pop_front() else { break };
            (self.copies_in, self.progress) = (0, Progress::Waits);
            self.enders -= usize::from(expected.request.ends_with_ready());
            settle(expected, outcome);
        }
        while self.queue.front().is_some_and(|head| head.request == Request::CopyEnd) {
            self.queue.pop_front();
        }
    }

    /// All requests that wait were answered, in ways that are not known.
    pub fn miss(&mut self, settle: &mut impl FnMut(Expected<A>, RequestOutcome)) {
        self.is_complete = false;
        self.tie = None;
        self.drain(self.queue.len(), &mut |expected, _| settle(expected, RequestOutcome::Unknown));
    }

    /// Drops all requests that wait, for they are too many: what answers them is not attributed.
    pub fn give_up(&mut self, settle: &mut impl FnMut(Expected<A>, RequestOutcome)) {
        let ready = self.queue.iter().filter(|expected| expected.request.ends_with_ready()).count() as u64;
        self.given_up = Some(self.given_up.unwrap_or_default() + ready);
        (self.uncertain, self.is_complete) = (true, false);
        self.tie = None;
        self.drain(self.queue.len(), settle);
        (self.queue, self.enders) = (VecDeque::new(), 0);
    }

    /// How many requests were queued: the ordinal of the last one.
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether the request that was queued last waits, and is the only one.
    pub fn waits_alone(&self, place: QueuePlace) -> bool {
        matches!(place, QueuePlace::Waits(_)) && self.queue.len() == 1 && !self.uncertain
    }

    /// How many bytes the queue holds.
    pub fn held(&self) -> usize {
        self.queue.capacity() * size_of::<Expected<A>>()
    }

    /// Bytes of the client's requests, or of the server's replies, were lost: until everything sent has been answered, no
    /// reply is attributed.
    pub fn lose(&mut self, requests: bool) {
        (self.uncertain, self.is_complete) = (true, false);
        self.replies_lost |= !requests;
        self.skipping = false;
        self.copying_in = false;
        self.tie = None;
        if requests {
            self.lost_behind = self.requests;
        }
    }

    /// A request was seen of which it is not known how it is answered: what does not fit is nobody's fault from here on.
    pub const fn doubt(&mut self) {
        self.is_complete = false;
    }

    /// Whether replies cannot be attributed.
    pub const fn is_uncertain(&self) -> bool {
        self.uncertain
    }
}

#[cfg(test)]
mod tests;
