//! COPY FROM STDIN: what of the data, its end, and the Syncs before that the backend reads.

use super::align::MAX_SEARCHED;
use super::{Expected, Progress, Request, RequestQueue};
use crate::pg::message_table::backend;

impl<A: Default> RequestQueue<A> {
    /// Whether the request that the backend answers now had the end of the COPY data already for which it asks next.
    pub fn has_copy_end(&self) -> bool {
        let behind = self.queue.iter().skip(1).map(|expected| expected.request);
        let own = behind.take(MAX_SEARCHED).take_while(|request| !matches!(request, Request::Query | Request::Execute));
        own.filter(|request| *request == Request::CopyEnd).count() > self.copies_in
    }

    /// Whether the backend has asked for COPY data, and has all of it.
    pub const fn has_copied_in(&self) -> bool {
        self.copies_in > 0 && !self.copying_in
    }

    /// Whether the backend has asked for COPY data, and the end of that was not sent yet.
    pub const fn waits_for_copy_data(&self) -> bool {
        self.copying_in
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

    pub(super) fn copy_in_begins(&mut self) {
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
    pub(super) fn copy_in_ends(&mut self, tag: u8) {
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
}
