//! Replies, and what they settle.

use super::align::is_answer;
use super::{Attribution, Expected, Progress, Request, RequestOutcome, RequestQueue};
use crate::pg::message_table::{self, backend};
use crate::session::answers::Answers;
use crate::time::Timestamp;

impl<A: Default> RequestQueue<A> {
    /// Attributes a backend message, by its tag, for which the queue is [aligned](Self::align). `settle` is called with each request
    /// that it settles.
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
}
