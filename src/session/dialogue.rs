//! Requests and replies of a session that is ready: requests that wait one by one, or together as one exchange.
//!
//! ```text
//!              the requests of one execution come together, and nothing else is under way
//!   Pipeline  --------------------------------------------------------------------------->  Exchange
//!             <---------------------------------------------------------------------------
//!              all of its replies come together, and it has ended; or anything else comes,
//!              and its requests wait in the pipeline, as if they had come one by one
//! ```
//!
//! Nothing outside of this file can reach the pipeline while an exchange is under way: `Dialogue::pipeline` splits that first.

use super::answers::Answers;
use super::budget::Budget;
use super::cancel::CancelKey;
use super::exchange::{EndedExchange, Exchange, OpenExchange, Replies, Requests};
use super::execution::{Execution, Outcome};
use super::observation::{Annotation, Observation};
use super::pipeline::Pipeline;
use super::request::RequestTarget;
use super::request_queue::Expected;
use super::shared::Shared;
use super::statements::{Portal, Row};
use super::violation::Violation;
use crate::packet::Origin;
use crate::pg::query::TransactionStatus;
use crate::pg::row::{Formats, RowShape};
use crate::pg::text::Text;
use crate::time::Timestamp;

/// How many bytes are held for a request that waits, at most: queues have room for twice as many as there are.
pub const MOST_FOR_A_REQUEST: usize =
    2 * (size_of::<Expected<RequestTarget>>() + size_of::<Portal>() + size_of::<Execution>() + size_of::<usize>());

/// Requests and replies.
#[derive(Debug)]
pub struct Dialogue {
    /// While there is an exchange, no request waits here, nothing is executed, and nothing is uncertain.
    pipeline: Pipeline,
    exchange: Option<Exchange>,
}

impl Dialogue {
    /// The dialogue of a session that is about to begin.
    pub(super) fn new(budget: Budget) -> Self {
        Self { pipeline: Pipeline::new(budget), exchange: None }
    }

    /// The dialogue of a session that began before the capture.
    pub(super) fn midstream(budget: Budget) -> Self {
        Self { pipeline: Pipeline::midstream(budget), exchange: None }
    }

    /// The requests that wait, one by one.
    #[inline(always)]
    pub(super) fn pipeline(&mut self) -> &mut Pipeline {
        if let Some(exchange) = self.exchange.take() {
            exchange.split(&mut self.pipeline);
        }
        &mut self.pipeline
    }

    /// Begins an exchange. Returns false, and nothing has begun, where something else is under way, or these requests may have to
    /// be looked at one by one.
    #[inline]
    pub(super) fn begin_exchange(
        &mut self,
        requests: &Requests<'_, '_>,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
    ) -> bool {
        if self.exchange.is_some() || !self.pipeline.is_idle() {
            return false;
        }
        self.exchange = Exchange::begin(requests, &mut self.pipeline, observation, shared, annotation);
        self.exchange.is_some()
    }

    /// The exchange that is under way.
    #[inline]
    pub(super) fn exchange(&self) -> Option<OpenExchange<'_>> {
        self.exchange.is_some().then(|| OpenExchange::new(self.last_row()))
    }

    /// Ends the exchange that is under way. Returns `None`, and nothing has ended, where these are not all of its replies.
    #[inline]
    pub(super) fn end_exchange(
        &mut self,
        replies: &Replies<'_, '_>,
        observation: &Observation<'_, '_>,
        shared: &mut Shared,
        annotation: &mut Annotation,
    ) -> Option<EndedExchange> {
        let exchange = self.exchange.take_if(|exchange| exchange.is_answered_by(replies))?;
        Some(exchange.end(replies, &mut self.pipeline, observation, shared, annotation))
    }

    /// The columns that were described last.
    pub(super) fn last_row(&self) -> Option<&Row> {
        self.pipeline.statements.last_row()
    }

    /// Whether any number of messages with this tag only continue the reply to the request that is being answered.
    #[inline(always)]
    pub(super) fn goes_on_with_data(&self, tag: u8) -> bool {
        match self.exchange {
            Some(_) => false,
            None => self.pipeline.request_queue.stays_with(tag, Answers::of_reply(tag, None)),
        }
    }

    /// The statement that is executed now, where it is known.
    pub(super) fn executed<'a>(&'a self, shared: &'a Shared) -> Option<Text<'a>> {
        match &self.exchange {
            Some(exchange) => exchange.executed(shared),
            None => self.pipeline.executed(shared),
        }
    }

    /// The statement of the last request, where it is a simple query of no other. So it is what data is of that the client
    /// sends before the server has asked for it.
    pub(super) fn last_statement(&self) -> Option<Text<'_>> {
        match self.exchange {
            // None that may be a COPY.
            Some(_) => None,
            None => self.pipeline.last_statement(),
        }
    }

    /// The room that the connection has for what it remembers.
    pub(super) const fn budget(&self) -> &Budget {
        self.pipeline.statements.budget()
    }

    /// What a CancelRequest for this session repeats.
    pub const fn cancel_key(&self) -> Option<&CancelKey> {
        self.pipeline.cancel_key.as_ref()
    }

    /// How the server, or a pooler before it, broke the protocol first.
    pub const fn violation(&self) -> Option<Violation> {
        self.pipeline.violation
    }

    /// The state of the transaction as of the last ReadyForQuery, if no bytes were lost since.
    pub const fn transaction(&self) -> Option<TransactionStatus> {
        self.pipeline.transaction
    }

    /// How many requests were sent that execute something.
    pub const fn queries(&self) -> u64 {
        self.pipeline.queries
    }

    /// Whether requests wait for replies.
    pub(super) fn has_pending(&self) -> bool {
        self.exchange.is_some() || !self.pipeline.request_queue.is_empty()
    }

    /// The formats of the rows, or of the function's result, that the backend sends now, one by one.
    pub fn row_formats(&self) -> Formats<'_> {
        self.pipeline.row_formats()
    }

    /// The columns of the rows that the backend sends now, one by one.
    pub fn row(&self) -> Option<&RowShape> {
        self.pipeline.row()
    }

    /// How many bytes the requests that are under way take.
    pub fn held(&self) -> usize {
        // A request that waits may keep a portal that nothing else does.
        let exchange = self.exchange.as_ref().map_or(0, |_| size_of::<Portal>() + size_of::<Execution>());
        self.pipeline.held() + exchange
    }

    /// Forgets statements and portals, to make room.
    pub fn forget(&mut self, shared: &mut Shared) {
        self.pipeline().statements.forget(&mut shared.kept);
    }

    /// Drops the requests that are under way, for the memory is needed for others.
    pub fn give_up(&mut self, origin: Origin, shared: &mut Shared) {
        self.pipeline().give_up(origin, shared);
    }

    /// The requests that are under way, in the order in which they were sent: the server works on the first.
    pub fn under_way(&self) -> impl Iterator<Item = &Execution> {
        let exchange = self.exchange.as_ref().and_then(Exchange::under_way);
        exchange.into_iter().chain(self.pipeline.executions.iter()).filter(|execution| execution.is_under_way())
    }

    /// The first request that was not reported, whether it has an end or not.
    pub fn unreported(&self) -> Option<&Execution> {
        let exchange = self.exchange.as_ref().and_then(Exchange::under_way);
        exchange.into_iter().chain(self.pipeline.executions.iter()).find(|execution| !execution.is_stream)
    }

    /// The number of the request that the server works on.
    pub fn answered_request(&self) -> Option<u64> {
        self.under_way().next().map(Execution::number)
    }

    /// Whether the server works on COPY data that the client has sent to its end.
    pub const fn has_copied_in(&self) -> bool {
        self.pipeline.request_queue.has_copied_in()
    }

    /// Whether the server waits for the client's COPY data.
    pub const fn waits_for_copy_data(&self) -> bool {
        self.pipeline.request_queue.waits_for_copy_data()
    }

    /// The next request that is over, to be reported and [recycled](Shared::recycle).
    #[inline]
    pub fn next_over(&mut self, shared: &mut Shared) -> Option<Box<Execution>> {
        match self.exchange {
            // What was before it is over, and was reported.
            Some(_) => None,
            None => self.pipeline.next_over(shared),
        }
    }

    /// The next of the requests that are left when the connection ends, with this outcome where it has none. At `now` it was known to
    /// have no end.
    pub fn next_left(
        &mut self,
        outcome: Outcome,
        end: Origin,
        now: Timestamp,
        shared: &mut Shared,
    ) -> Option<Box<Execution>> {
        self.pipeline().next_left(outcome, end, now, shared)
    }
}

/// What the network does while a request is under way.
impl Dialogue {
    /// Records that the client's receive window was full from one time to another.
    pub fn stall(&mut self, from: Timestamp, to: Timestamp) {
        // Nothing of the reply to an exchange has come.
        if let Some(first) = self.pipeline.executions.first() {
            first.stall(from, to);
        }
    }

    /// Records that so many bytes were sent again.
    pub fn retransmit(&mut self, bytes: u64) {
        let execution = match &mut self.exchange {
            Some(exchange) => exchange.execution(),
            None => self.pipeline.executions.first(),
        };
        if let Some(execution) = execution {
            execution.retransmitted = execution.retransmitted.saturating_add(bytes);
        }
    }
}

/// TCP's numbers, where it is uncertain which replies are whose: nothing is while an exchange is under way, and it stays so.
impl Dialogue {
    /// Whether it is not known which replies are whose.
    #[inline(always)]
    pub const fn is_uncertain(&self) -> bool {
        self.pipeline.request_queue.is_uncertain()
    }

    /// How many requests were queued, where it is not known which replies are whose.
    pub fn uncertain_behind(&self) -> Option<u64> {
        self.pipeline.request_queue.uncertain_behind()
    }

    /// Ties the first request queued behind so many others to the reply that is to begin at a sequence number, as
    /// [`RequestQueue::tie`](super::request_queue::RequestQueue::tie) does.
    pub fn tie(&mut self, behind: u64, reply_seq: u32, end_seq: u32) {
        self.pipeline.request_queue.tie(behind, reply_seq, end_seq);
    }

    /// Sets whether the requests that come next may be tied to replies.
    pub const fn may_tie(&mut self, may_tie: bool) {
        self.pipeline.request_queue.may_tie(may_tie);
    }

    /// Compares the numbers of a segment of the server's with those of the request that waits to be tied, as
    /// [`RequestQueue::meet`](super::request_queue::RequestQueue::meet) does.
    pub const fn meet(&mut self, begins_at: Option<u32>, ack: u32) {
        self.pipeline.request_queue.meet(begins_at, ack);
    }

    /// What is read next may not be the beginning of a reply.
    pub const fn untie(&mut self) {
        self.pipeline.request_queue.untie();
    }
}
