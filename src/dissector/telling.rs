//! Lines about what messages add up to: executed requests, and sessions.

use super::Sink;
use super::connection::{About, Connection};
use super::engine::Engine;
use crate::direction::Direction;
use crate::encoding::Encoding;
use crate::packet::Origin;
use crate::pg::row::Values;
use crate::pg::text::{Sql, Text};
use crate::record::query::{Failure, Fingerprint};
use crate::record::session::{End, Ended, Settings, Side, State};
use crate::record::{Flags, QueryRecord, Record, SessionRecord};
use crate::session::execution::{Execution, Outcome, Protocol};
use crate::session::statements::Portal;
use crate::session::{Route, Session};

/// Why a connection is not followed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// Its end was seen.
    Seen,
    /// Another one between the same ends began.
    Replaced,
    /// It makes room for others.
    Evicted,
    /// The capture ends.
    CaptureEnd,
}

impl<S: Sink> Engine<'_, S> {
    /// Tells of the requests that are over.
    pub(super) fn tell_queries(&mut self, session: &mut Session, about: &About) {
        while let Some(execution) = session.dialogue_mut().next_over(self.shared) {
            self.tell_query(session, about, &execution);
            self.shared.recycle(execution);
        }
    }

    fn tell_query(&mut self, session: &Session, about: &About, execution: &Execution) {
        if !about.is_wanted {
            return;
        }
        let show_secrets = self.config.show_secrets;
        let statement = execution.statement();
        let prepared = statement.and_then(|statement| self.shared.kept.texts.get(statement.text()?));
        let sql = execution.sql().or(prepared);
        // Where text is not what its encoding says, it is not known where a string ends.
        let readable = sql.filter(|sql| sql.1 == Encoding::UTF8);
        let normal_form = readable.map(|sql| self.shared.normal_forms.get(sql.0));
        let identity = session.facts().identity();
        let outcome = execution.outcome.unwrap_or(Outcome::Incomplete);
        self.sink.record(&Record::Query(QueryRecord {
            ts: execution.ended,
            conn: about.conn,
            client: &about.client_text,
            server: &about.server_text,
            query: execution.number(),
            packet: execution.packet,
            started: execution.started,
            user: identity.user,
            database: identity.database,
            application: identity.application,
            protocol: execution.protocol,
            sql: sql.map(|sql| Sql { text: sql, show_secrets }),
            normalized: normal_form.as_ref().map(|form| Text::utf8(&form.text)),
            fingerprint: normal_form.as_ref().map(|form| Fingerprint(form.fingerprint)),
            statement: execution.statement_name(),
            portal: execution.portal().map(Portal::name).filter(|name| !name.0.is_empty()),
            function_oid: execution.function,
            params: execution
                .parameters()
                .filter(|values| !values.list.is_empty())
                .map(|values| Values { settings: Some(&session.facts().settings), ..values }),
            command: execution.tags(),
            rows: execution.rows(),
            bytes_in: execution.bytes_in,
            bytes_out: execution.bytes_out,
            outcome,
            error: execution.error(show_secrets).map(Failure::new),
            canceled_by: execution.canceled_by,
            parse_us: execution.parse_us,
            bind_us: execution.bind_us,
            first_row_us: execution.first_row_us(),
            last_row_us: execution.last_row_us(),
            total_us: (!matches!(outcome, Outcome::Incomplete | Outcome::Skipped))
                .then(|| execution.ended.micros_since(execution.started)),
            tx: execution.transaction,
            flags: Flags {
                truncated: execution.is_truncated,
                midstream: execution.is_midstream,
                uncertain: execution.is_uncertain,
                limit: execution.is_limited
                    || sql.is_none() && (statement.is_some() || execution.protocol == Protocol::Simple),
                ..Flags::default()
            },
        }));
    }

    /// Tells that a session is ready.
    pub(super) fn tell_ready(&mut self, session: &Session, about: &About, origin: Origin) {
        if self.config.records.sessions && about.is_wanted {
            self.tell_session(session, about, State::Ready, None, origin);
        }
    }

    /// Tells of what is left when a connection ends, and how it ended.
    pub(super) fn tell_end(&mut self, connection: &mut Connection, closing: Closing, origin: Origin) {
        let Connection { session, about, .. } = connection;
        if about.conn == 0 || session.route(Direction::Frontend) == Route::Foreign {
            return;
        }
        if let Some(key) = session.dialogue().cancel_key() {
            self.shared.cancels.end(key, about.conn);
        }
        if self.config.records.queries {
            let has_ended = matches!(closing, Closing::Seen | Closing::Replaced) || about.closed_by.is_some();
            let outcome = if has_ended { Outcome::Aborted } else { Outcome::Incomplete };
            while let Some(execution) = session.dialogue_mut().next_left(outcome, origin, self.shared) {
                self.tell_query(session, about, &execution);
                self.shared.recycle(execution);
            }
        }
        if !self.config.records.sessions || !about.is_wanted {
            return;
        }
        session.facts_mut().end_idle(origin.ts);
        let facts = session.facts();
        let (end, ended_by) = match (closing, about.closed_by) {
            (Closing::Replaced, _) => (End::Replaced, None),
            (Closing::Evicted, _) => (End::Evicted, None),
            _ if facts.has_failed => (End::Fatal, Some(Side::Server)),
            _ if facts.has_terminated => (End::Terminate, Some(Side::Client)),
            (_, Some((direction, is_reset))) => {
                let side = if direction == Direction::Frontend { Side::Client } else { Side::Server };
                (if is_reset { End::Reset } else { End::Fin }, Some(side))
            }
            (_, None) => (End::CaptureEnd, None),
        };
        let ended = Ended {
            end,
            ended_by,
            duration_us: origin.ts.micros_since(about.started),
            idle_in_transaction_us: facts.idle_in_transaction_us(),
            messages: facts.messages.frontend + facts.messages.backend,
            queries: session.dialogue().queries(),
            errors: facts.errors,
            bytes_in: facts.bytes.frontend + about.encrypted.frontend,
            bytes_out: facts.bytes.backend + about.encrypted.backend,
            lost_bytes: about.lost_bytes,
        };
        self.tell_session(session, about, State::Ended, Some(ended), origin);
    }

    fn tell_session(&mut self, session: &Session, about: &About, state: State, ended: Option<Ended>, origin: Origin) {
        let facts = session.facts();
        let identity = facts.identity();
        self.sink.record(&Record::Session(SessionRecord {
            ts: origin.ts,
            conn: about.conn,
            client: &about.client_text,
            server: &about.server_text,
            packet: origin.packet,
            state,
            started: about.started,
            user: identity.user,
            database: identity.database,
            application: identity.application,
            parameters: Settings(facts.parameters()),
            server_version: facts.parameter(b"server_version"),
            protocol_version: facts.protocol_version,
            auth_method: facts.auth_method,
            encryption: session.encryption(),
            process_id: facts.process_id,
            connect_us: facts.first_at.zip(about.syn_at).map(|(first, syn)| first.micros_since(syn)),
            authenticate_us: facts.authenticate_us(),
            ready_us: facts.ready_at.map(|ready| ready.micros_since(about.started)),
            ended,
            flags: Flags { midstream: about.is_midstream, limit: facts.is_limited, ..Flags::default() },
        }));
    }
}
