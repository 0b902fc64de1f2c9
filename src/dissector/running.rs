//! Requests that have no end yet. Nothing is changed by looking at them.

use super::connection::Connection;
use super::summary::query_record;
use super::{Dissector, Sink};
use crate::direction::Direction;
use crate::packet::Origin;
use crate::record::{Outcome, Record, RunningRecord, RunningState};
use crate::session::execution::Execution;
use crate::time::Timestamp;

/// How long a session takes at most to be ready, in microseconds: the default of `authentication_timeout`. One that is not ready by then
/// may never be: its bytes may be encrypted.
const MAX_OPENING: u64 = 60_000_000;

impl Dissector {
    /// Returns the earliest time at which a request was sent, or a session began, that has no record yet, as far as is known. Left out is
    /// what may have none for days: streams of replication, requests that may have ended where bytes were lost, and sessions that are not
    /// ready after a minute.
    pub fn earliest_unreported(&self, now: Timestamp) -> Option<Timestamp> {
        let live = self.table.live().filter(|connection| connection.info.selected != Some(false));
        live.filter_map(|Connection { session, info, ended, last_data, .. }| {
            let dialogue = session.dialogue();
            let may_have_ended =
                |execution: &Execution| dialogue.is_uncertain() && last_data.backend.ts > execution.sent();
            let facts = session.facts();
            let is_opening = !info.is_midstream && facts.ready_at.is_none() && ended.is_none();
            let began = (is_opening && info.started.later(MAX_OPENING) > now).then_some(info.started);
            let sent = dialogue.unreported().filter(|execution| !may_have_ended(execution));
            let sent = sent.map(|execution| execution.started);
            began.into_iter().chain(sent).min()
        })
        .min()
    }

    /// Emits a record for each request that is under way at this time, by connection and in the order in which they were sent. Only
    /// what is known not to have ended is under way: where bytes were lost and anything of the server's came behind a request, it may
    /// have.
    ///
    /// Requires [`Records::queries`](super::Records::queries).
    pub fn running(&mut self, now: Timestamp, sink: &mut impl Sink) {
        let Self { common, table, .. } = self;
        for connection in table.live_mut(|connection| connection.info.conn) {
            let Connection { session, info, last_data, .. } = &*connection;
            if !info.is_wanted() || !connection.is_counted() || is_over(connection) {
                continue;
            }
            let dialogue = session.dialogue();
            let mut earlier = 0;
            for execution in dialogue.under_way() {
                // A stream goes on for days, and is in progress rather than slow.
                if execution.is_stream || dialogue.is_uncertain() && last_data.backend.ts > execution.sent() {
                    continue;
                }
                let shared = common.shards.of(connection.shard);
                let origin = Origin { ts: now.max(execution.started), packet: execution.packet };
                let query = query_record(&common.config, shared, (session, info), execution, Outcome::Running, origin);
                let age_us = Some(origin.ts.micros_since(execution.started));
                let query = crate::record::QueryRecord { age_us, ..query };
                let state = state(connection, execution, earlier);
                sink.record(&Record::Running(RunningRecord { query, state }));
                earlier += 1;
            }
        }
    }
}

/// Returns whether no reply can come any more, as far as is known: the server has closed the connection, or part of what it has sent is
/// missing, which may be the end of any reply.
fn is_over(connection: &Connection) -> bool {
    let is_closed = |(direction, is_reset)| is_reset || direction == Direction::Backend;
    connection.ended.is_some()
        || connection.info.closed_by.is_some_and(is_closed)
        || connection.tcp.has_undelivered(Direction::Backend)
}

/// Returns who has to do something for a request, behind so many others of its session.
fn state(connection: &Connection, execution: &Execution, earlier: usize) -> RunningState {
    if earlier > 0 {
        RunningState::Queued
    } else if connection.session.dialogue().waits_for_copy_data() || connection.info.full_since.is_some() {
        RunningState::WaitingForClient
    } else if execution.is_replied() && !connection.session.dialogue().has_copied_in() {
        RunningState::Sending
    } else {
        RunningState::WaitingForServer
    }
}
