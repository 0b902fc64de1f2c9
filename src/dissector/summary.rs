//! Records that summarize messages: executed requests, and sessions.

use super::connection::{Connection, ConnectionInfo};
use super::stream::ConnectionDissector;
use super::{Config, PacketsOf, Sink};
use crate::direction::Direction;
use crate::packet::Origin;
use crate::pg::row::Values;
use crate::pg::text::{KeptText, Sql, Text};
use crate::record::query::{Backend, Evidence, Failure, ParsedStatement, QuerySql, Steps};
use crate::record::session::{
    Alert, Certificate, CipherSuite, ClientRandom, EndReason, Ended, Gssapi, Names, Publications, Settings, Side,
    State, Tls, Volume,
};
use crate::record::{Flags, QueryRecord, Record, SessionRecord};
use crate::session::execution::{Execution, Outcome, Protocol};
use crate::session::shared::Shared;
use crate::session::statements::{Portal, Statement};
use crate::session::{Encryption, Route, Session};
use crate::time::Timestamp;
use crate::tls::session::TlsSession;
use crate::tls::{self, facts};

/// Why a connection is no longer followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// Its end was captured.
    Observed,
    /// Another connection between the same endpoints began.
    Replaced,
    /// It was removed to make room for others, at this time.
    Evicted(Timestamp),
    /// The capture ended, with a packet of this time.
    CaptureEnd(Timestamp),
}

impl<S: Sink> ConnectionDissector<'_, S> {
    /// Emits the records of completed requests.
    pub(super) fn report_queries(&mut self, session: &mut Session, info: &ConnectionInfo) {
        while let Some(execution) = session.dialogue_mut().next_over(self.shared) {
            self.report_query(session, info, &execution);
            session.forget_replication();
            self.shared.recycle(execution);
        }
    }

    pub(super) fn report_query(&mut self, session: &Session, info: &ConnectionInfo, execution: &Execution) {
        if info.is_wanted() {
            let outcome = execution.outcome.unwrap_or(Outcome::Incomplete);
            // It is emitted after those of earlier requests, or after its group has ended.
            let origin = info.dated(Origin { packet: execution.packet, ts: execution.ended });
            let query = query_record(self.config, self.shared, (session, info), execution, outcome, origin);
            self.sink.record(&Record::Query(query));
        }
    }

    /// Emits the record of a session that is ready.
    pub(super) fn report_ready(&mut self, session: &Session, info: &ConnectionInfo, origin: Origin) {
        self.sink.packets(&PacketsOf::Ready { conn: info.conn, packet: origin.packet });
        if self.config.records.sessions && info.is_wanted() {
            self.report_session(session, info, None, State::Ready, None, origin);
        }
    }

    /// Emits the remaining records when a connection ends, including that of the session, or tells the sink that it was not selected.
    pub(super) fn report_end(&mut self, connection: &mut Connection, closing: Closing, origin: Origin) {
        let Connection { session, info, tls, .. } = connection;
        if info.conn == 0 || session.route(Direction::Frontend) == Route::Foreign {
            return;
        }
        if let Some(key) = session.dialogue().cancel_key() {
            self.shared.cancels.end(key, info.conn);
        }
        if let Some(process_id) = info.known_process() {
            self.shared.cancels.forget(process_id, info.server, info.conn);
        }
        let has_ended = matches!(closing, Closing::Observed | Closing::Replaced) || info.closed_by.is_some();
        let now = match closing {
            Closing::Evicted(now) | Closing::CaptureEnd(now) if !has_ended => now.max(origin.ts),
            _ => origin.ts,
        };
        if self.config.records.queries {
            let outcome = if has_ended { Outcome::Aborted } else { Outcome::Incomplete };
            while let Some(execution) = session.dialogue_mut().next_left(outcome, origin, now, self.shared) {
                self.report_query(session, info, &execution);
                self.shared.recycle(execution);
            }
        }
        if info.is_wanted() && !self.config.records.sessions {
            return;
        }
        session.facts_mut().end_idle(now);
        let facts = session.facts();
        let (end_reason, ended_by) = match (closing, info.closed_by) {
            (Closing::Replaced, _) => (EndReason::Replaced, None),
            (Closing::Evicted(_), _) => (EndReason::Evicted, None),
            _ if facts.has_failed() => (EndReason::Fatal, Some(Side::Server)),
            _ if facts.has_terminated => (EndReason::Terminate, Some(Side::Client)),
            (_, Some((direction, is_reset))) => {
                (if is_reset { EndReason::Reset } else { EndReason::Fin }, Some(side(direction)))
            }
            (_, None) => (EndReason::CaptureEnd, None),
        };
        let ended = Ended { end_reason, ended_by, ..totals(session, info, tls.as_deref(), origin.ts) };
        self.report_session(session, info, tls.as_deref(), State::Ended, Some(ended), origin);
    }

    fn report_session(
        &mut self,
        session: &Session,
        info: &ConnectionInfo,
        tls: Option<&TlsSession>,
        state: State,
        ended: Option<Ended>,
        origin: Origin,
    ) {
        let record = session_record(self.config, (session, info, tls), state, ended, origin);
        if info.is_wanted() {
            self.sink.record(&Record::Session(record));
        } else {
            self.sink.not_selected(&record);
        }
    }
}

/// Returns the record of a session, as of a packet.
pub(super) fn session_record<'a>(
    config: &Config,
    (session, info, tls): (&'a Session, &'a ConnectionInfo, Option<&'a TlsSession>),
    state: State,
    ended: Option<Ended>,
    origin: Origin,
) -> SessionRecord<'a> {
    let facts = session.facts();
    let identity = facts.identity();
    let violation = session.dialogue().violation();
    let walsender = session.walsender().filter(|walsender| walsender.is_known);
    SessionRecord {
        header: info.header(origin.ts),
        community_id: info.community_id,
        packet: origin.packet,
        state,
        started: info.started,
        user: identity.user,
        database: identity.database,
        application: identity.application,
        transaction: session.dialogue().transaction(),
        parameters: Settings(facts.parameters()),
        startup: Settings(facts.startup()),
        server_version: facts.parameter(b"server_version"),
        protocol_version: facts.protocol_version,
        auth_method: facts.auth_method,
        channel_binding: facts.channel_binding,
        encryption: session.encryption(),
        tls: tls_facts(info, tls),
        gssapi: (session.encryption() == Some(Encryption::Gssapi)).then(|| Gssapi {
            packets_in: info.gss_packets.frontend.count(),
            packets_out: info.gss_packets.backend.count(),
        }),
        process_id: facts.process_id,
        connect_us: facts.first_at.zip(info.syn_at).map(|(first, syn)| first.micros_since(syn)),
        authenticate_us: facts.authenticate_us(),
        ready_us: facts.ready_at.map(|ready| ready.micros_since(info.started)),
        replication: walsender.and_then(|walsender| walsender.purpose),
        slot: walsender.and_then(|walsender| walsender.slot.as_ref()).map(KeptText::get),
        plugin: walsender.and_then(|walsender| walsender.plugin.as_ref()).map(KeptText::get),
        publications: walsender.map_or_else(Publications::default, |walsender| Publications(&walsender.publications)),
        timeline: walsender.and_then(|walsender| walsender.timeline),
        rtt_client_us: info.round_trips.of(Direction::Frontend),
        rtt_server_us: info.round_trips.of(Direction::Backend),
        error: facts.failure(config.redaction).filter(|_| state == State::Ended).map(Failure::new),
        ended,
        violation,
        pooler: false,
        is_at_pooler: false,
        flags: Flags {
            midstream: info.is_midstream,
            protocol_violation: violation.is_some(),
            limit: facts.is_limited,
            resynchronized: info.is_guessed,
            from_file: facts.is_known(),
            ..Flags::default()
        },
    }
}

/// Returns the record of a request, as of a packet.
#[inline(always)]
pub(super) fn query_record<'a>(
    config: &Config,
    shared: &'a Shared,
    (session, info): (&'a Session, &'a ConnectionInfo),
    execution: &'a Execution,
    outcome: Outcome,
    origin: Origin,
) -> QueryRecord<'a> {
    let redaction = config.redaction;
    let statement = execution.statement();
    let prepared = statement.and_then(|statement| shared.kept.texts.get(statement.text()?));
    let sql = execution.sql().or(prepared);
    let identity = session.facts().identity();
    let parsed = |(statement, parse_us, at): (&'a Statement, u64, Timestamp)| {
        let text = shared.kept.texts.get(statement.text()?)?;
        Some(ParsedStatement { name: statement.name(), sql: Sql { text, redaction }, parse_us, at })
    };
    QueryRecord {
        header: info.header(origin.ts),
        community_id: info.community_id,
        query: execution.number(),
        packet: origin.packet,
        started: execution.started,
        user: identity.user,
        database: identity.database,
        application: identity.application,
        protocol: execution.protocol,
        sql: sql.map(|text| QuerySql(Sql { text, redaction })),
        statement: execution.statement_name(),
        portal: execution.portal().map(Portal::name).filter(|name| !name.0.is_empty()),
        function_oid: execution.function,
        params: execution
            .parameters(redaction)
            .filter(|values| !values.list.is_empty())
            .map(|values| Values { settings: Some(&session.facts().settings), ..values }),
        command_tags: execution.tags(),
        rows: execution.rows(),
        bytes_in: execution.bytes_in,
        bytes_out: execution.bytes_out,
        retransmitted: (execution.retransmitted > 0).then_some(execution.retransmitted),
        outcome,
        error: execution.error(redaction).map(Failure::new),
        canceled_by: execution.canceled_by,
        parse_us: execution.parse_us(),
        bind_us: execution.bind_us,
        first_row_us: execution.first_row_us(),
        last_row_us: execution.last_row_us(),
        total_us: (!matches!(outcome, Outcome::Incomplete | Outcome::Skipped | Outcome::Running))
            .then(|| execution.ended.micros_since(execution.started)),
        exec_us: execution.exec_us(),
        server_us: info.round_trips.of(Direction::Backend).and_then(|rtt| execution.server_us(rtt)),
        transfer_us: execution.transfer_us(),
        client_stall_us: execution.client_stall_us(info.full_since),
        age_us: execution.age_us(),
        rtt_client_us: info.round_trips.of(Direction::Frontend),
        rtt_server_us: info.round_trips.of(Direction::Backend),
        upstream: None,
        downstream: None,
        pooler: false,
        tx: execution.transaction,
        violation: execution.violation.as_deref().copied(),
        flags: Flags {
            truncated: execution.is_truncated,
            midstream: execution.is_midstream,
            uncertain: execution.is_uncertain,
            protocol_violation: execution.violation.is_some(),
            limit: execution.is_limited
                || execution.portal().is_some_and(Portal::lacks_parameters)
                || sql.is_none() && (statement.is_some() || execution.protocol == Protocol::Simple),
            resynchronized: execution.depends_on_guess(),
            from_file: session.facts().is_known(),
            ..Flags::default()
        },
        backend: Backend {
            process_id: session.facts().process_id.or_else(|| info.known_process()),
            started: info.started,
            is_walsender: session.walsender().is_some(),
            has_failed: session.facts().has_failed(),
            conforming_strings: session.facts().conforming_strings,
            given_bytes: session.walsender().map(|walsender| walsender.given_bytes).unwrap_or_default(),
        },
        evidence: Evidence {
            is_guessed: execution.is_guessed,
            sent: execution.sent(),
            replied: execution.replied_at().map(|first| (first, execution.ended)),
            data: execution.data(),
            is_at_pooler: false,
        },
        steps: Steps {
            pipeline: execution.cycle,
            has_parse: execution.is_parsed,
            has_bind: execution.is_bound,
            parsed: execution.parsed_only().filter_map(parsed).collect(),
        },
    }
}

/// Returns what a session adds up to until now, as if it ended with the capture.
pub(super) fn totals(session: &Session, info: &ConnectionInfo, tls: Option<&TlsSession>, now: Timestamp) -> Ended {
    let facts = session.facts();
    let bytes = |direction| {
        let is_decrypted = tls.is_some_and(|tls| tls.has_opened(direction));
        facts.bytes.get(direction) + if is_decrypted { 0 } else { *info.encrypted.get(direction) }
    };
    Ended {
        end_reason: EndReason::CaptureEnd,
        ended_by: None,
        duration_us: now.micros_since(info.started),
        idle_in_transaction_us: facts.idle_in_transaction_us(),
        messages: facts.messages.frontend + facts.messages.backend,
        queries: session.dialogue().queries(),
        errors: facts.errors,
        bytes_in: bytes(Direction::Frontend),
        bytes_out: bytes(Direction::Backend),
        lost_bytes: info.lost_bytes,
    }
}

const fn side(direction: Direction) -> Side {
    match direction {
        Direction::Frontend => Side::Client,
        Direction::Backend => Side::Server,
    }
}

/// Returns the metadata of a connection's TLS session: as of the first decrypted data, or as of the end.
fn tls_facts<'a>(info: &'a ConnectionInfo, tls: Option<&'a TlsSession>) -> Option<Tls<'a>> {
    let facts = tls.map(TlsSession::facts).or(info.tls.as_deref())?;
    let certificate = |direction| {
        let facts::Certificate { subject, issuer, not_before, not_after } =
            facts.certificates.get(direction).as_ref()?;
        Some(Certificate { subject, issuer, not_before, not_after })
    };
    Some(Tls {
        decrypted: info.tls.is_some(),
        version: facts.version.and_then(tls::Version::name),
        cipher_suite: facts.suite.map(CipherSuite),
        sni: facts.server_name.as_deref().map(Text::utf8),
        alpn: Names(&facts.protocols),
        resumed: facts.is_resumed,
        early_data: facts.offers_early_data,
        hello_retry_request: facts.is_retried,
        renegotiations: facts.renegotiations,
        key_updates: facts.key_updates,
        ja4: facts.ja4.as_deref(),
        client_random: facts.client_random.map(ClientRandom),
        certificate: certificate(Direction::Backend),
        client_certificate: certificate(Direction::Frontend),
        alert: facts.alert.map(|(direction, number)| Alert {
            by: side(direction),
            number,
            name: facts::alert_name(number),
        }),
        volume: tls.map(|tls| Volume {
            records_in: tls.counts(Direction::Frontend).records,
            records_out: tls.counts(Direction::Backend).records,
            encrypted_in: tls.counts(Direction::Frontend).bytes,
            encrypted_out: tls.counts(Direction::Backend).bytes,
        }),
    })
}
