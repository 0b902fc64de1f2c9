//! Requests that wait for their replies.
//!
//! A backend answers in the order of the requests, so the replies belong to the head of a queue. This file holds what the
//! documentation says of that order: "Pipelining", "Extended Query", "COPY Operations", "Function Call".

use std::collections::VecDeque;

use crate::time::Timestamp;

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
}

/// The queue. With each request goes what it is about.
#[derive(Debug)]
pub struct Pending<A> {
    queue: VecDeque<Expected<A>>,
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
    /// COPY FROM STDIN is under way: "the backend will ignore Sync and Flush" until it ends.
    copying_in: bool,
    /// Requests were not seen, or replies: which reply is whose cannot be known.
    uncertain: bool,
    /// Replies were lost, not only requests.
    replies_lost: bool,
    /// Where requests were given up: how many ReadyForQuery are still to come for them. Until then nothing waits here.
    given_up: Option<u64>,
    /// What the client has shown of its ways, while nothing was uncertain.
    habit: Habit,
}

/// Whether a client waits for its answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Habit {
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
    pub about: A,
    /// The first query that this, or a request behind it, can belong to.
    order: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was answered.
    Answered,
    /// It was answered by an error.
    Failed,
    /// It was ignored, for one before it has failed.
    Skipped,
    /// Its answer was lost, or cannot be told from others.
    Unknown,
}

/// What a message belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    /// The number of the query.
    pub query: Option<u64>,
    /// Microseconds since the request that this answers.
    pub elapsed_us: Option<u64>,
}

/// Where a request was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It waits, and has this ordinal.
    Waits(u64),
    /// The backend ignores it, for an error was sent.
    Skipped,
    /// It needs no place: a Sync in the midst of a COPY.
    None,
    /// Too many wait already.
    TooMany,
}

impl<A> Default for Pending<A> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            queries: 0,
            requests: 0,
            open: None,
            skipping: false,
            copies_in: 0,
            copying_in: false,
            uncertain: false,
            replies_lost: false,
            given_up: None,
            habit: Habit::default(),
        }
    }
}

impl<A: Default> Pending<A> {
    /// A queue of a connection that began before the capture.
    pub fn midstream() -> Self {
        Self { uncertain: true, ..Self::default() }
    }

    /// Takes a request. What is found out about earlier ones is given to `settle`.
    pub fn request(
        &mut self,
        request: Request,
        at: Timestamp,
        settle: &mut impl FnMut(Expected<A>, Fate),
    ) -> (Option<u64>, Place) {
        let query = self.number(request);
        if request == Request::Sync {
            if self.copying_in {
                return (query, Place::None);
            }
            self.skipping = false;
        }
        if request == Request::CopyEnd {
            self.copying_in = false;
        }
        if self.queue.len() >= MAX_PENDING {
            self.give_up(settle);
        }
        if let Some(given_up) = &mut self.given_up {
            *given_up += u64::from(request.ends_with_ready());
            return (query, Place::TooMany);
        }
        self.begin_cycle(settle);
        if self.skipping {
            return (query, Place::Skipped);
        }
        if request == Request::CopyEnd && self.queue.is_empty() {
            return (query, Place::None);
        }
        self.requests += 1;
        let id = self.requests;
        let order = query.unwrap_or(self.queries + 1);
        self.queue.push_back(Expected { id, request, query, at, about: A::default(), order });
        (query, Place::Waits(id))
    }

    /// Whether no request waits, and the next that comes will be the first to be answered.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.uncertain && !self.skipping && !self.copying_in && self.given_up.is_none()
    }

    /// Takes requests that come together where it [is idle](Self::is_idle): the steps of one execution, and its Sync. They do
    /// not wait here, but where they are kept together, until they were [answered](Self::answered) or are
    /// [put here](Self::put). Gives the number of their query, and the ordinal of the first.
    pub fn together(&mut self, requests: &[Request]) -> (u64, u64) {
        if self.habit == Habit::Unknown {
            self.habit = Habit::TakesTurns;
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
        about: impl Fn(Request) -> A,
    ) {
        let expected = |(id, request): (u64, &Request)| {
            let request = *request;
            Expected { id, request, query: Some(query), at, about: about(request), order: query }
        };
        self.queue.extend((first..).zip(requests).map(expected));
    }

    /// The requests that came together were answered.
    pub const fn answered(&mut self) {
        (self.copies_in, self.copying_in) = (0, false);
        (self.uncertain, self.replies_lost) = (false, false);
    }

    /// Says what the request is about that was taken last.
    pub fn is_about(&mut self, about: A) {
        if let Some(last) = self.queue.back_mut() {
            last.about = about;
        }
    }

    /// Takes note of how the client sends the first request behind one that ReadyForQuery ends.
    fn begin_cycle(&mut self, settle: &mut impl FnMut(Expected<A>, Fate)) {
        match self.queue.back() {
            None if !self.uncertain && self.habit == Habit::Unknown => self.habit = Habit::TakesTurns,
            Some(last) if last.request.ends_with_ready() => {
                if !self.uncertain {
                    self.habit = Habit::Pipelines;
                } else if self.habit == Habit::TakesTurns && self.replies_lost {
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
        let own = behind.take_while(|request| !matches!(request, Request::Query | Request::Execute));
        own.filter(|request| *request == Request::CopyEnd).count() > self.copies_in
    }

    /// Takes a backend message, by its tag. What it settles is given to `settle`.
    #[inline(always)]
    pub fn reply(&mut self, tag: u8, at: Timestamp, settle: &mut impl FnMut(Expected<A>, Fate)) -> Attribution {
        if tag == b'Z' {
            return self.ready(at, settle);
        }
        let Some(head) = self.queue.front() else { return Attribution::default() };
        let attribution = if self.uncertain {
            Attribution::default()
        } else {
            Attribution { query: head.query, elapsed_us: Some(at.micros_since(head.at)) }
        };
        let head = head.request;
        self.copies_in += usize::from(tag == b'G');
        use Request as R;
        match (tag, head) {
            (b'1', R::Parse)
            | (b'2', R::Bind)
            | (b'3', R::Close)
            | (b'n' | b'T', R::DescribeStatement | R::DescribePortal)
            | (b'C' | b'I' | b's', R::Execute) => self.drain(1, settle),
            (b'G', R::Execute) => self.copy_in_begins(),
            (b'E', R::Parse | R::Bind | R::DescribeStatement | R::DescribePortal | R::Execute | R::Close) => {
                self.skip_to_sync(settle);
            }
            (b't', R::DescribeStatement)
            | (b'D' | b'H' | b'd' | b'c', R::Execute)
            | (b'T' | b'D' | b'C' | b'I' | b'G' | b'H' | b'W' | b'd' | b'c' | b'E', R::Query)
            | (b'V' | b'E', R::FunctionCall)
            | (b'E', R::Sync) => {}
            // NoticeResponse and ParameterStatus come at any time, but mostly from what is being executed.
            (b'N' | b'S', _) => return Attribution { elapsed_us: None, ..attribution },
            // NotificationResponse comes from elsewhere. The rest answers nothing that was asked: requests were lost.
            _ => return Attribution::default(),
        }
        attribution
    }

    /// "ReadyForQuery … is issued": whatever came before the request that it ends has had its answer.
    fn ready(&mut self, at: Timestamp, settle: &mut impl FnMut(Expected<A>, Fate)) -> Attribution {
        self.copying_in = false;
        if let Some(given_up) = self.given_up {
            self.given_up = given_up.checked_sub(1).filter(|left| *left > 0);
            self.uncertain = self.given_up.is_some();
            return Attribution::default();
        }
        let ended = self.queue.iter().position(|expected| expected.request.ends_with_ready());
        let attribution = match ended.and_then(|index| self.queue.get(index)) {
            Some(expected) if !self.uncertain => {
                Attribution { query: expected.query, elapsed_us: Some(at.micros_since(expected.at)) }
            }
            _ => Attribution::default(),
        };
        if let Some(index) = ended {
            // Those that were left have no answer that could be seen.
            self.drain(index, &mut |expected, _| settle(expected, Fate::Unknown));
            self.drain(1, settle);
        }
        if self.queue.is_empty() {
            // Nothing is under way on either side: from here on the queue is right.
            (self.uncertain, self.replies_lost) = (false, false);
        }
        attribution
    }

    /// A Sync that was sent before the COPY began is among what the backend ignores.
    fn copy_in_begins(&mut self) {
        self.copying_in = true;
        if self.queue.front().is_some_and(|head| head.query == self.last_query()) {
            // The Sync behind the data belongs to the query, though one before the data seemed to end it.
            self.open = Some(Request::Execute);
        }
        let mut index = 1;
        while let Some(expected) = self.queue.get(index) {
            match expected.request {
                Request::CopyEnd => {
                    self.copying_in = false;
                    break;
                }
                Request::Sync => {
                    self.queue.remove(index);
                }
                _ => index += 1,
            }
        }
    }

    /// "… the backend issues ErrorResponse, then reads and discards messages until a Sync is reached".
    fn skip_to_sync(&mut self, settle: &mut impl FnMut(Expected<A>, Fate)) {
        self.copying_in = false;
        let sync = self.queue.iter().position(|expected| expected.request == Request::Sync);
        self.skipping = sync.is_none();
        let skipped = sync.unwrap_or(self.queue.len());
        let mut fate = Fate::Failed;
        let uncertain = self.uncertain;
        self.drain(skipped, &mut |expected, _| {
            settle(expected, if uncertain { Fate::Unknown } else { fate });
            fate = Fate::Skipped;
        });
    }

    /// Takes so many requests from the front, and the ends of COPY data behind them, which have no answer of their own.
    fn drain(&mut self, count: usize, settle: &mut impl FnMut(Expected<A>, Fate)) {
        let fate = if self.uncertain { Fate::Unknown } else { Fate::Answered };
        for _ in 0..count {
            let Some(expected) = self.queue.pop_front() else { break };
            self.copies_in = 0;
            settle(expected, fate);
        }
        while self.queue.front().is_some_and(|head| head.request == Request::CopyEnd) {
            self.queue.pop_front();
        }
    }

    /// All requests that wait were answered, in ways that are not known.
    pub fn miss(&mut self, settle: &mut impl FnMut(Expected<A>, Fate)) {
        self.drain(self.queue.len(), &mut |expected, _| settle(expected, Fate::Unknown));
    }

    /// Gives up all requests that wait, for they are too many: what answers them is not attributed.
    pub fn give_up(&mut self, settle: &mut impl FnMut(Expected<A>, Fate)) {
        let ready = self.queue.iter().filter(|expected| expected.request.ends_with_ready()).count() as u64;
        self.given_up = Some(self.given_up.unwrap_or_default() + ready);
        self.uncertain = true;
        self.drain(self.queue.len(), settle);
        self.queue = VecDeque::new();
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// How many bytes the queue takes.
    pub fn held(&self) -> usize {
        self.queue.capacity() * size_of::<Expected<A>>()
    }

    /// Bytes of the client's requests, or of the server's replies, were lost: until everything sent has been answered, no
    /// reply is attributed.
    pub fn lose(&mut self, requests: bool) {
        self.uncertain = true;
        self.replies_lost |= !requests;
        self.skipping = false;
        self.copying_in = false;
    }

    /// Whether replies cannot be attributed.
    pub const fn is_uncertain(&self) -> bool {
        self.uncertain
    }
}

#[cfg(test)]
mod tests;
