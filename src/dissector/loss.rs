//! Bytes that are missing, contested, or not understood: what they cost, and their records.

use super::Sink;
use super::connection::{Connection, ConnectionInfo, DeferredLoss};
use super::connection_table::Closed;
use super::stream::ConnectionDissector;
use crate::direction::{Direction, PerDirection};
use crate::packet::Origin;
use crate::pg::framer::{Framing, Step};
use crate::pg::message;
use crate::pg::text::Excerpt;
use crate::record::{Content, Counters, Header, LossRecord, Reason, Record};
use crate::redaction::Redaction;
use crate::session::{Route, Session};
use crate::tcp::assembler::Conflict;

/// The size of an SSLRequest, and of a GSSENCRequest.
const ENCRYPTION_REQUEST: u64 = 8;

impl<S: Sink> ConnectionDissector<'_, S> {
    pub(super) fn report_deferred(&mut self, info: &mut ConnectionInfo, deferred: &DeferredLoss) {
        let DeferredLoss { origin, dir, bytes, offset, reason, skipped, detail } = *deferred;
        self.number(info);
        self.counters.skipped_bytes += skipped.unwrap_or_default();
        if reason == Reason::Overlap {
            self.counters.contested_bytes += bytes;
        }
        let (dir, bytes) = (Some(dir), Some(bytes));
        self.lose(info, &Loss { dir, bytes, offset, reason, skipped, detail, ..Loss::new(origin) });
    }

    /// Reports bytes that were retransmitted with different content, after everything before the offset `processed` was processed.
    pub(super) fn contest(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        conflict: Conflict,
        processed: u64,
        origin: Origin,
    ) {
        let framing = match connection.session.route(direction) {
            Route::Foreign => return,
            Route::Messages(framing) => Some(framing),
            Route::Opening | Route::Encrypted | Route::Unread => None,
        };
        let detail = Some("a segment retransmits bytes with different content: those received first are used");
        let (bytes, reason) = (conflict.bytes, Reason::Overlap);
        let deferred = DeferredLoss { origin, dir: direction, bytes, offset: None, reason, skipped: None, detail };
        if connection.session.route(direction) == Route::Opening {
            connection.defer_loss(deferred);
            return;
        }
        self.report_deferred(&mut connection.info, &deferred);
        let framer = connection.framers.get_mut(direction);
        let incomplete = framing.and_then(|framing| framer.incomplete(framing)).map_or(0, |(_, bytes)| bytes);
        if conflict.delivered_until > processed.saturating_sub(incomplete) {
            framer.contest_incomplete();
        }
    }

    /// Processes missing bytes of a direction.
    pub(super) fn gap(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        mut bytes: u64,
        loss: Loss<'static>,
    ) {
        let Loss { origin, reason, detail, .. } = loss;
        let offset = Some(connection.tcp.offset(direction).saturating_sub(bytes));
        self.decide(connection, direction, origin);
        match connection.session.route(direction) {
            Route::Foreign => return,
            Route::Opening => {
                let held = std::mem::take(connection.opening.get_mut(direction));
                let skipped = Some(held.len() as u64).filter(|held| *held > 0);
                connection.defer_loss(DeferredLoss { origin, dir: direction, bytes, offset, reason, skipped, detail });
                let is_request = bytes == ENCRYPTION_REQUEST && held.is_empty() && offset == Some(0);
                if direction == Direction::Frontend && is_request {
                    connection.info.search_reason.frontend = Some(reason);
                } else {
                    connection.search(direction, reason);
                }
                return;
            }
            Route::Messages(Framing::EncryptionAnswer) if connection.framers.backend.is_between_frames() => {
                // The response has one byte.
                self.number(&mut connection.info);
                self.lose(&mut connection.info, &Loss { bytes: Some(bytes), offset, ..loss });
                while bytes > 0 && connection.session.owes_answer() {
                    connection.session.lose_answer();
                    bytes -= 1;
                }
                match bytes {
                    0 => {}
                    _ if connection.session.encryption().is_some() => self.gap_encrypted(connection, direction, bytes),
                    _ => self.skip_gap(connection, direction, bytes, reason, origin),
                }
                return;
            }
            _ => {}
        }
        self.number(&mut connection.info);
        if connection.session.encryption().is_some() {
            self.lose(&mut connection.info, &Loss { bytes: Some(bytes), offset, ..loss });
            self.gap_encrypted(connection, direction, bytes);
            return;
        }
        if connection.undecided_tls.is_some() {
            self.gap_encrypted(connection, direction, bytes);
        }
        self.settle(connection, direction, origin);
        let within = match connection.session.route(direction) {
            Route::Messages(framing) => connection.framers.get(direction).incomplete(framing),
            _ => None,
        };
        let context = connection.session.context(self.config.redaction);
        let within = within.map(|(tag, _)| message::undecoded_name(direction, tag, &context));
        self.lose(&mut connection.info, &Loss { bytes: Some(bytes), offset, within, ..loss });
        self.skip_gap(connection, direction, bytes, reason, origin);
    }

    /// Skips missing bytes in a stream of messages.
    pub(super) fn skip_gap(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        bytes: u64,
        reason: Reason,
        origin: Origin,
    ) {
        let origin = connection.info.date(origin);
        match connection.session.route(direction) {
            Route::Messages(framing) => {
                let Connection { framers, session, info, .. } = connection;
                if let Some(watch) = &mut info.watch {
                    watch.doubt();
                }
                let step = framers.get_mut(direction).gap(bytes, framing);
                self.step(session, info, direction, &step, origin);
                if framers.get(direction).is_searching() {
                    session.lose(direction);
                    connection.search(direction, reason);
                }
            }
            Route::Opening => {
                connection.session.lose(direction);
                connection.opening = PerDirection::default();
                connection.search(direction, reason);
            }
            Route::Encrypted | Route::Unread | Route::Foreign => {}
        }
    }

    /// Processes a framer's result.
    pub(super) fn step(
        &mut self,
        session: &mut Session,
        info: &mut ConnectionInfo,
        direction: Direction,
        step: &Step<'_>,
        origin: Origin,
    ) {
        match step {
            Step::More => {}
            Step::Frame(frame) => self.frame(session, info, direction, frame, origin),
            &Step::Malformed { tag, len, header, error, is_guessed } => {
                let name = message::undecoded_name(direction, tag, &session.context(self.config.redaction));
                // A header is too short to contain a secret.
                let hides_values = self.config.redaction.hides_values();
                let body = if hides_values { Excerpt::Masked } else { Excerpt::new(header, Redaction::Nothing) };
                let content = Content::Undecoded { name, body };
                session.facts_mut().undecodable(direction);
                self.malformed(info, direction, (tag, len, is_guessed), content, error, origin);
                if let Some(watch) = &mut info.watch {
                    watch.doubt();
                }
                session.lose(direction);
                *info.search_reason.get_mut(direction) = Some(Reason::Malformed);
            }
            &Step::Resumed { skipped } => {
                if direction == Direction::Backend && skipped > 0 {
                    session.dialogue_mut().untie();
                }
                let reason = info.search_reason.get_mut(direction).take().unwrap_or(Reason::Malformed);
                self.counters.skipped_bytes += skipped;
                if let Some(watch) = info.watch.as_mut().filter(|_| skipped > 0) {
                    watch.doubt();
                }
                if skipped > 0 || reason == Reason::Midstream {
                    let loss = Loss { dir: Some(direction), reason, skipped: Some(skipped), ..Loss::new(origin) };
                    self.lose(info, &loss);
                }
            }
        }
    }

    pub(super) fn lose(&mut self, info: &mut ConnectionInfo, loss: &Loss<'_>) {
        self.counters.losses += 1;
        if matches!(loss.reason, Reason::Missing | Reason::Snaplen) {
            self.counters.missing_bytes += loss.bytes.unwrap_or_default();
        }
        if loss.reason != Reason::Undecryptable {
            info.lost_bytes += loss.bytes.unwrap_or_default() + loss.skipped.unwrap_or_default();
        }
        match info.selected {
            Some(true) => {
                let origin = info.date(loss.origin);
                self.sink.record(&Record::Loss(loss.record(info, origin)));
            }
            Some(false) => {}
            None => withhold(&mut info.withheld, loss),
        }
    }

    /// Emits the losses of a connection that were withheld, once it is known that it is selected, and forgets them once it is known
    /// that it is not.
    pub(super) fn release_withheld(&mut self, info: &mut ConnectionInfo) {
        if info.selected.is_none() {
            return;
        }
        for WithheldLoss { loss, detail } in std::mem::take(&mut info.withheld) {
            if info.is_wanted() {
                let origin = info.date(loss.origin);
                let loss = Loss { detail: detail.as_deref(), ..loss };
                self.sink.record(&Record::Loss(loss.record(info, origin)));
            }
        }
    }

    /// Passes the losses of a connection that are still withheld at its end to the sink.
    pub(super) fn give_up_withheld(&mut self, info: &mut ConnectionInfo) {
        for WithheldLoss { loss, detail } in std::mem::take(&mut info.withheld) {
            let loss = Loss { detail: detail.as_deref(), ..loss };
            self.sink.undecided_loss(&loss.record(info, info.dated(loss.origin)));
        }
    }
}

/// A loss of a connection of which it is not known yet whether it is selected.
#[derive(Debug)]
pub(super) struct WithheldLoss {
    loss: Loss<'static>,
    detail: Option<Box<str>>,
}

/// Withholds a loss. How many are withheld is limited: beyond that, those of the same kind are added up.
fn withhold(withheld: &mut Vec<WithheldLoss>, loss: &Loss<'_>) {
    const MAX: usize = 8;
    let is_full = withheld.len() >= MAX;
    let mut before = withheld.iter_mut().rev().map(|before| &mut before.loss);
    match before.find(|before| is_full && (before.dir, before.reason) == (loss.dir, loss.reason)) {
        Some(before) => {
            let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
                (Some(one), Some(other)) => Some(one.saturating_add(other)),
                (one, other) => one.or(other),
            };
            before.bytes = sum(before.bytes, loss.bytes);
            before.skipped = sum(before.skipped, loss.skipped);
        }
        None => {
            withheld.push(WithheldLoss { loss: Loss { detail: None, ..*loss }, detail: loss.detail.map(Into::into) });
        }
    }
}

/// Reports the data received after the end of a connection, as one loss for each direction.
pub(super) fn report_late(closed: &mut Closed, counters: &mut Counters, sink: &mut impl Sink) {
    let (late, Some((conn, is_wanted))) = (closed.late(), closed.reported) else { return };
    let (client, server) = (closed.client.to_string(), closed.server.to_string());
    for direction in Direction::BOTH {
        let bytes = *late.get(direction);
        if bytes == 0 {
            continue;
        }
        counters.losses += 1;
        let loss = LossRecord {
            header: Header { ts: closed.last.ts, conn, client: &client, server: &server },
            dir: Some(direction),
            packet: closed.last.packet,
            bytes: Some(bytes),
            offset: None,
            within: None,
            reason: Reason::Late,
            skipped: None,
            detail: Some("they arrived after the end of the connection"),
        };
        match is_wanted {
            Some(true) => sink.record(&Record::Loss(loss)),
            Some(false) => {}
            None => sink.undecided_loss(&loss),
        }
    }
}

/// The data of a loss record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss<'a> {
    pub(super) origin: Origin,
    pub(super) dir: Option<Direction>,
    pub(super) bytes: Option<u64>,
    pub(super) offset: Option<u64>,
    pub(super) within: Option<&'static str>,
    pub(super) reason: Reason,
    pub(super) skipped: Option<u64>,
    pub(super) detail: Option<&'a str>,
}

impl<'a> Loss<'a> {
    /// Returns the record of a loss that is assigned to this packet.
    fn record<'r>(&self, info: &'r ConnectionInfo, origin: Origin) -> LossRecord<'r>
    where
        'a: 'r,
    {
        LossRecord {
            header: info.header(origin.ts),
            dir: self.dir,
            packet: origin.packet,
            bytes: self.bytes,
            offset: self.offset,
            within: self.within,
            reason: self.reason,
            skipped: self.skipped,
            detail: self.detail,
        }
    }

    pub(super) const fn new(origin: Origin) -> Self {
        Self {
            origin,
            dir: None,
            bytes: None,
            offset: None,
            within: None,
            reason: Reason::Missing,
            skipped: None,
            detail: None,
        }
    }
}
