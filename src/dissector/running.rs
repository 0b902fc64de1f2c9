//! What is under way: requests that have no end yet, and sessions that are open. Nothing is changed by it.

use super::connection::Connection;
use super::summary::{query_record, session_record, totals};
use super::{Dissector, Sink};
use crate::direction::Direction;
use crate::packet::Origin;
use crate::record::{Ended, Outcome, Record, RunningRecord, RunningState, SessionRecord, State};
use crate::session::execution::Execution;
use crate::time::Timestamp;

/// A session that is open.
#[derive(Clone, Debug)]
pub(crate) struct OpenSession<'a> {
    /// The session, as far as it is known.
    pub session: SessionRecord<'a>,
    /// What it adds up to until now.
    pub totals: Ended,
    /// Whether it was ready for requests.
    pub is_ready: bool,
    /// Since when a transaction is open and the client asks for nothing, if that is so.
    pub idle_in_transaction_since: Option<Timestamp>,
    /// When its last bytes were captured.
    pub active_at: Timestamp,
}

impl Dissector {
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
                if dialogue.is_uncertain() && last_data.backend.ts > execution.sent() {
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

    /// Calls a function with each session that is open at this time, by connection.
    #[cfg(feature = "cli")]
    pub(crate) fn open_sessions(&mut self, now: Timestamp, mut visit: impl FnMut(&OpenSession<'_>)) {
        let Self { common, table, .. } = self;
        for connection in table.live_mut(|connection| connection.info.conn) {
            let Connection { session, info, tls, .. } = &*connection;
            if !info.is_wanted() || !connection.is_counted() || connection.ended.is_some() {
                continue;
            }
            let facts = session.facts();
            let now = now.max(connection.active_at());
            let origin = Origin { ts: now, packet: connection.last().packet };
            visit(&OpenSession {
                session: session_record(&common.config, (session, info, tls.as_deref()), State::Ready, None, origin),
                totals: totals(session, info, tls.as_deref(), now),
                is_ready: facts.ready_at.is_some() || info.is_midstream,
                idle_in_transaction_since: facts.idle_since(),
                active_at: connection.active_at(),
            });
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
