//! Requests that wait for their replies.
//!
//! A backend answers in the order of the requests, so the replies belong to the head of a queue. This file holds what the
//! documentation says of that order: "Pipelining", "Extended Query", "COPY Operations", "Function Call".

use std::collections::VecDeque;

use self::align::{MAX_SEARCHED, Shape, is_answer};
use super::answers::Answers;
use super::violation::Breach;
use crate::pg::message_table::{self, backend};
use crate::time::Timestamp;

mod align;

/// How many requests may wait. A pipeline of more than this is not followed to its end: what is behind is not attributed.
const MAX_PENDING: usize = 65_536;

/// A frontend message that the backend answers, or that changes what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Request {
    /// Parse: answered by ParseComplete.
    Parse,
    /// Describe of a statement: answered by ParameterDescription and RowDescription or NoData.
    DescribeStatement,
    /// Bind: answered by BindComplete.
    Bind,
    /// Describe of a portal: answered by RowDescription or NoData.
    DescribePortal,
    /// Execute: answered by rows and CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// Close: answered by CloseComplete.
    Close,
    /// Sync: answered by ReadyForQuery.
    Sync,
    /// Query: answered by all that its statements return, and ReadyForQuery.
    Query,
    /// FunctionCall: answered by FunctionCallResponse and ReadyForQuery.
    FunctionCall,
    /// CopyDone, CopyFail: not answered itself.
    CopyEnd,
}

impl Request {
    /// Whether ReadyForQuery ends it.
    pub const fn ends_with_ready(self) -> bool {
        matches!(self, Self::Sync | Self::Query | Self::FunctionCall)
    }

    /// Whether a backend message, by its tag, can be the first reply to it.
    const fn begins_with(self, tag: u8) -> bool {
        match self {
            Self::Parse => tag == backend::PARSE_COMPLETE,
            Self::DescribeStatement => tag == backend::PARAMETER_DESCRIPTION,
            Self::Bind => tag == backend::BIND_COMPLETE,
            Self::DescribePortal => matches!(tag, backend::ROW_DESCRIPTION | backend::NO_DATA),
            Self::Execute => matches!(
                tag,
                backend::DATA_ROW
                    | backend::COMMAND_COMPLETE
                    | backend::EMPTY_QUERY_RESPONSE
                    | backend::PORTAL_SUSPENDED
                    | backend::COPY_IN_RESPONSE
                    | backend::COPY_OUT_RESPONSE
            ),
            Self::Close => tag == backend::CLOSE_COMPLETE,
            Self::Query => matches!(
                tag,
                backend::ROW_DESCRIPTION
                    | backend::COMMAND_COMPLETE
                    | backend::EMPTY_QUERY_RESPONSE
                    | backend::COPY_IN_RESPONSE
                    | backend::COPY_OUT_RESPONSE
                    | backend::COPY_BOTH_RESPONSE
            ),
            Self::FunctionCall => tag == backend::FUNCTION_CALL_RESPONSE,
            Self::Sync => tag == backend::READY_FOR_QUERY,
            Self::CopyEnd => false,
        }
    }

    /// Whether a backend message, by its tag, can be the next reply to it.
    const fn goes_on_with(self, progress: Progress, tag: u8) -> bool {
        match (self, progress) {
            (_, Progress::Failed) => false,
            (Self::Query, Progress::Begun) => {
                self.begins_with(tag) || matches!(tag, backend::DATA_ROW | backend::COPY_DATA | backend::COPY_DONE)
            }
            (Self::Execute, _) => self.begins_with(tag) || matches!(tag, backend::COPY_DATA | backend::COPY_DONE),
            (Self::DescribeStatement, _) => {
                matches!(tag, backend::PARAMETER_DESCRIPTION | backend::ROW_DESCRIPTION | backend::NO_DATA)
            }
            (Self::FunctionCall, Progress::Begun | Progress::Ended) => false,
            _ => self.begins_with(tag),
        }
    }

    /// The replies of which one is to come first, ErrorResponse aside.
    const fn first_replies(self) -> &'static str {
        match self {
            Self::Parse => "ParseComplete",
            Self::DescribeStatement => "ParameterDescription",
            Self::Bind => "BindComplete",
            Self::DescribePortal => "RowDescription or NoData",
            Self::Execute => "DataRow, CommandComplete, EmptyQueryResponse, PortalSuspended or a COPY response",
            Self::Close => "CloseComplete",
            Self::Query => "RowDescription, CommandComplete, EmptyQueryResponse or a COPY response",
            Self::FunctionCall => "FunctionCallResponse",
            Self::Sync | Self::CopyEnd => "ReadyForQuery",
        }
    }

    /// The replies of which one is to come next, ErrorResponse aside.
    const fn next_replies(self, progress: Progress) -> &'static str {
        match (self, progress) {
            (Self::Query | Self::FunctionCall, Progress::Ended) | (_, Progress::Failed) => "ReadyForQuery",
            (Self::Query | Self::Execute, Progress::Begun) => "DataRow, CopyData or CommandComplete",
            (Self::DescribeStatement, Progress::Begun) => "RowDescription or NoData",
            _ => self.first_replies(),
        }
    }
}

/// How far the request at the head of the queue was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    /// Not at all.
    #[default]
    Waits,
    /// A reply came, and its end did not.
    Begun,
    /// Its end came, or that of one of its statements.
    Ended,
    /// An error came.
    Failed,
}

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
    /// Where requests were given up: how many ReadyForQuery are still to come for them. Until then nothing waits here.
    given_up: Option<u64>,
    /// What the client has shown of its ways, while nothing was uncertain.
    pacing: Pacing,
    /// Of what was sent while it was uncertain: the request that TCP's numbers may tie to the next reply.
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

/// A request that begins what ReadyForQuery ends, sent when its client had received all that the server had sent.
#[derive(Clone, Copy, Debug)]
struct Tie {
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
    /// Its answer was lost, or never came, or cannot be told from others.
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
    /// Whether TCP's numbers alone have told that it belongs there.
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

    /// Takes a request. What is found out about earlier ones is given to `settle`.
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

    /// Takes requests that come together where it [is idle](Self::is_idle): the steps of one execution, and its Sync. They do
    /// not wait here, but where they are kept together, until they were [answered](Self::answered) or are
    /// [put here](Self::put). Gives the number of their query, and the ordinal of the first.
    pub fn together(&mut self, requests: &[Request]) -> (u64, u64) {
        if self.pacing == Pacing::Unknown {
            self.pacing = Pacing::TakesTurns;
        }
        // The first step says which query it is, and a Sync ends what may belong to that.
        if let Some(first) = requests.first() {
            self.number(*first);
        }
        self.open = self.open.filter(|_| requests.last() != Some(&Request::Sync));
        let first = self.requests + 1;
        self.requests += requests.len() as u64;
        (self.queries, first)
    }

    /// Has requests wait that came together, each for its own reply.
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

    /// Says what the request is about that was taken last.
    pub fn has_target(&mut self, target: A) {
        if let Some(last) = self.queue.back_mut() {
            last.target = target;
        }
    }

    /// Says what can answer the request that was taken last.
    pub fn is_answered_by(&mut self, answers: Answers) {
        if let Some(last) = self.queue.back_mut() {
            last.answers = answers;
        }
    }

    /// Takes note of how the client sends the first request behind one that ReadyForQuery ends.
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

    /// Whether the request that the backend answers now had the end of the COPY data already for which it asks next.
    pub fn has_copy_end(&self) -> bool {
        let behind = self.queue.iter().skip(1).map(|expected| expected.request);
        let own = behind.take(MAX_SEARCHED).take_while(|request| !matches!(request, Request::Query | Request::Execute));
        own.filter(|request| *request == Request::CopyEnd).count() > self.copies_in
    }

    /// Whether the backend drops COPY data that comes now, and the end of it: none is under way any more, or yet.
    pub fn drops_copy_data(&self) -> bool {
        let has_failed = |head: &Expected<A>| {
            self.queue.len() == 1 && head.request == Request::Query && self.progress == Progress::Failed
        };
        self.is_complete
            && !self.uncertain
            && self.given_up.is_none()
            && (self.skipping || self.queue.front().is_none_or(has_failed))
    }

    /// The session is ready for the first time. No request has caused that, though some may have been sent already.
    pub fn begin(&mut self) {
        if self.queue.is_empty() {
            (self.uncertain, self.replies_lost) = (false, false);
        }
    }

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

    /// Takes the numbers of a segment of the server's: where the message has that it begins with, if it begins with one, and what it
    /// acknowledges.
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

    /// Tells whether the requests that come next may be [tied](Self::tie) to replies.
    pub const fn may_tie(&mut self, may_tie: bool) {
        self.may_tie = may_tie;
    }

    /// Whether a request waits to be [tied](Self::tie) to a reply.
    pub const fn is_tying(&self) -> bool {
        self.tie.is_some()
    }

    /// Takes the first backend message, of so many bytes, behind a request that may be tied to it. If it is, that is the head from
    /// now on: gives the bytes of what came before its reply and with it.
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

    /// How the protocol was broken, since this was asked last.
    pub const fn take_misfit(&mut self) -> Option<Misfit> {
        self.misfit.take()
    }

    /// Takes a backend message, by its tag, for which the queue is [aligned](Self::align). What it settles is given to `settle`.
    #[inline(always)]
    pub fn reply(
        &mut self,
        tag: u8,
        kind: Answers,
        at: Timestamp,
        settle: &mut impl FnMut(Expected<A>, RequestOutcome),
    ) -> Attribution {
        if tag == backend::READY_FOR_QUERY {
            return self.ready(at, settle);
        }
        if tag == backend::ERROR_RESPONSE {
            self.failed = self.failed.or(Some(self.head().and_then(|head| head.query).unwrap_or_default()));
        }
        let Some(head) = self.queue.front() else { return Attribution::default() };
        let attribution = if self.uncertain {
            Attribution::default()
        } else {
            Attribution {
                query: head.query,
                elapsed_us: Some(at.micros_since(head.at)),
                has_ended: false,
                is_tied: head.id <= self.tied_up_to,
            }
        };
        let head = head.request;
        self.copies_in += usize::from(tag == backend::COPY_IN_RESPONSE);
        self.is_cycle_answered |= is_answer(tag) || tag == backend::ERROR_RESPONSE;
        if !matches!(tag, backend::DATA_ROW | backend::COPY_DATA) && !message_table::is_asynchronous(tag) {
            self.shape.push(tag, kind);
        }
        if self.copies_in > 0 && matches!(tag, backend::COMMAND_COMPLETE | backend::ERROR_RESPONSE) {
            self.copy_in_ends(tag);
        }
        use Request as R;
        match (tag, head) {
            (backend::PARSE_COMPLETE, R::Parse)
            | (backend::BIND_COMPLETE, R::Bind)
            | (backend::CLOSE_COMPLETE, R::Close)
            | (backend::NO_DATA | backend::ROW_DESCRIPTION, R::DescribeStatement | R::DescribePortal)
            | (backend::COMMAND_COMPLETE | backend::EMPTY_QUERY_RESPONSE | backend::PORTAL_SUSPENDED, R::Execute) => {
                self.drain(1, settle)
            }
            (backend::COPY_IN_RESPONSE, R::Execute) => self.copy_in_begins(),
            (
                backend::ERROR_RESPONSE,
                R::Parse | R::Bind | R::DescribeStatement | R::DescribePortal | R::Execute | R::Close,
            ) => {
                self.skip_to_sync(settle);
            }
            (backend::COPY_IN_RESPONSE, R::Query) => self.copy_in_begins(),
            (backend::PARAMETER_DESCRIPTION, R::DescribeStatement)
            | (backend::DATA_ROW | backend::COPY_OUT_RESPONSE | backend::COPY_DATA | backend::COPY_DONE, R::Execute)
            | (
                backend::ROW_DESCRIPTION
                | backend::DATA_ROW
                | backend::COPY_OUT_RESPONSE
                | backend::COPY_BOTH_RESPONSE
                | backend::COPY_DATA
                | backend::COPY_DONE,
                R::Query,
            ) => self.progress = Progress::Begun,
            (backend::COMMAND_COMPLETE | backend::EMPTY_QUERY_RESPONSE, R::Query)
            | (backend::FUNCTION_CALL_RESPONSE, R::FunctionCall) => self.progress = Progress::Ended,
            (backend::ERROR_RESPONSE, R::Query | R::FunctionCall | R::Sync) => self.progress = Progress::Failed,
            // NoticeResponse and ParameterStatus come at any time, but mostly from what is being executed.
            (backend::NOTICE_RESPONSE | backend::PARAMETER_STATUS, _) => {
                return Attribution { elapsed_us: None, ..attribution };
            }
            // NotificationResponse comes from elsewhere. The rest answers nothing that was asked: requests were lost.
            _ => return Attribution::default(),
        }
        attribution
    }

    /// "ReadyForQuery … is issued": whatever came before the request that it ends has had its answer.
    fn ready(&mut self, at: Timestamp, settle: &mut impl FnMut(Expected<A>, RequestOutcome)) -> Attribution {
        self.copying_in = false;
        (self.is_astray, self.failed) = (false, None);
        if let Some(given_up) = self.given_up {
            self.given_up = given_up.checked_sub(1).filter(|left| *left > 0);
            self.uncertain = self.given_up.is_some();
            return Attribution::default();
        }
        let ended = match self.enders {
            0 => None,
            _ => self.queue.iter().position(|expected| expected.request.ends_with_ready()),
        };
        let expected = ended.and_then(|index| Some((index, self.queue.get(index)?)));
        let mut attribution = Attribution::default();
        let mut was_answered = true;
        if !self.uncertain {
            if let Some((index, expected)) = expected {
                let has_ended = index == 0 && matches!(self.progress, Progress::Ended | Progress::Failed);
                let (query, elapsed_us) = (expected.query, Some(at.micros_since(expected.at)));
                attribution = Attribution { query, elapsed_us, has_ended, is_tied: expected.id <= self.tied_up_to };
                was_answered = has_ended || index == 0 && expected.request == Request::Sync;
            }
            if (!was_answered || ended.is_none()) && self.is_complete {
                self.misfit = Some(self.early_ready(ended));
            }
        }
        if let Some(index) = ended {
            // Those that were left have no answer that could be seen.
            self.drain(index, &mut |expected, _| settle(expected, RequestOutcome::Unknown));
            self.drain(1, &mut |expected, outcome| {
                settle(expected, if was_answered { outcome } else { RequestOutcome::Unknown })
            });
            self.is_cycle_answered = false;
            self.shape.clear();
            // What did not fit may have been of a request that was not seen.
            self.uncertain |= !was_answered && !self.is_complete;
        }
        if self.queue.is_empty() {
            // Nothing is under way on either side: from here on the queue is right.
            (self.uncertain, self.replies_lost) = (false, false);
        }
        attribution
    }

    fn copy_in_begins(&mut self) {
        self.progress = Progress::Begun;
        self.copying_in = self.copied_syncs().is_none();
        self.copy_data();
        if self.queue.front().is_some_and(|head| head.request == Request::Execute && head.query == self.last_query()) {
            // The Sync behind the data belongs to the query, though one before the data seemed to end it.
            self.open = Some(Request::Execute);
        }
    }

    /// The client has sent COPY data.
    pub fn copy_data(&mut self) {
        self.before_data.get_or_insert(self.requests);
    }

    /// Where the end of the COPY data is for which the head has asked last, and before it the Syncs that the client has sent since.
    fn copied_syncs(&self) -> Option<usize> {
        let behind = self.queue.iter().map(|expected| expected.request).enumerate().skip(1).take(MAX_SEARCHED);
        let mut own = behind.take_while(|(_, request)| matches!(request, Request::Sync | Request::CopyEnd));
        own.by_ref()
            .filter(|(_, request)| *request == Request::CopyEnd)
            .nth(self.copies_in.checked_sub(1)?)
            .map(|(end, _)| end)
    }

    /// A COPY FROM STDIN has ended, well or with an error.
    #[cold]
    fn copy_in_ends(&mut self, tag: u8) {
        self.copying_in = false;
        let before_data = self.before_data.take().unwrap_or_default();
        let end = self.copied_syncs();
        let is_sync = |expected: &Expected<A>| expected.request == Request::Sync;
        // Those before the data were read before an error in it. Of others, it is not known which the backend has answered.
        let is_ignored = |expected: &Expected<A>| {
            is_sync(expected) && (tag == backend::COMMAND_COMPLETE || expected.id <= before_data)
        };
        let behind = self.queue.iter().skip(1).take(MAX_SEARCHED).take_while(|expected| is_sync(expected)).count() + 1;
        let end = end.unwrap_or(if tag == backend::COMMAND_COMPLETE { 1 } else { behind });
        for index in (1..end).rev() {
            if self.queue.get(index).is_some_and(is_ignored) {
                self.queue.remove(index);
                self.enders -= 1;
            } else if self.queue.get(index).is_some_and(is_sync) {
                self.is_complete = false;
            }
        }
    }

    /// "… the backend issues ErrorResponse, then reads and discards messages until a Sync is reached".
    fn skip_to_sync(&mut self, settle: &mut impl FnMut(Expected<A>, RequestOutcome)) {
        self.copying_in = false;
        let sync = self.queue.iter().position(|expected| expected.request == Request::Sync);
        self.skipping = sync.is_none();
        let skipped = sync.unwrap_or(self.queue.len());
        let mut outcome = RequestOutcome::Failed;
        let uncertain = self.uncertain;
        self.drain(skipped, &mut |expected, _| {
            settle(expected, if uncertain { RequestOutcome::Unknown } else { outcome });
            outcome = RequestOutcome::Skipped;
        });
    }

    /// Takes so many requests from the front, and the ends of COPY data behind them, which have no answer of their own.
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

    /// Gives up all requests that wait, for they are too many: what answers them is not attributed.
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

    /// Whether the request that was taken last waits, and is the only one.
    pub fn waits_alone(&self, place: QueuePlace) -> bool {
        matches!(place, QueuePlace::Waits(_)) && self.queue.len() == 1 && !self.uncertain
    }

    /// How many bytes the queue takes.
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
