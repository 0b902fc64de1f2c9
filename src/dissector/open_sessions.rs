//! Sessions that are open. Nothing is changed by looking at them.

use super::Dissector;
use super::connection::Connection;
use super::summary::{session_record, totals};
use crate::packet::Origin;
use crate::record::{Ended, SessionRecord, State};
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
    /// Calls a function with each session that is open at this time, by connection.
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
