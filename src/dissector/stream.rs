//! The processing of one connection: from segments to frames, messages and records.

use super::connection::{Connection, ConnectionInfo, DeferredLoss, HeldAuth};
use super::connection_table::Closed;
use super::summary::Closing;
use super::{Config, Sink};
use crate::direction::{Direction, PerDirection};
use crate::packet::{Origin, Plain, Segment};
use crate::pg::frame::{Cut, Frame};
use crate::pg::framer::{Ended, Framer, Framing, Step};
use crate::pg::message::{self, Message};
use crate::pg::message_table::{Role, backend, frontend, role_of_reply};
use crate::pg::startup::{self, Look};
use crate::pg::text::Excerpt;
use crate::record::{Content, Counters, Header, LossRecord, Reason, Record};
use crate::redaction::Redaction;
use crate::session::opening::{self, FirstReply, Opening};
use crate::session::shared::Shared;
use crate::session::{Encryption, Route, Session};
use crate::tcp::assembler::{Conflict, Counters as TcpCounters, StreamContent};
use crate::tcp::conversation::{Accepted, Delivery, GivenUp};
use crate::tcp::round_trip::Sample;
use crate::time::Timestamp;
use crate::tls::handshake;

/// How many bytes the requests that wait for replies may hold when memory must be freed: a pipeline of some size.
const MANY_REQUESTS: usize = 16 * 1024;

/// The size of an SSLRequest, and of a GSSENCRequest.
const ENCRYPTION_REQUEST: u64 = 8;

/// The state needed to dissect one connection, besides the connection.
pub(super) struct ConnectionDissector<'a, S> {
    pub(super) config: &'a Config,
    pub(super) counters: &'a mut Counters,
    pub(super) shared: &'a mut Shared,
    pub(super) sink: &'a mut S,
}

impl<S: Sink> ConnectionDissector<'_, S> {
    pub(super) fn accept(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        segment: &Segment<'_>,
        origin: Origin,
    ) {
        let plain = segment.plain().filter(|_| self.config.fast_paths);
        if plain.is_some_and(|plain| self.accept_next(connection, direction, &plain, origin)) {
            return;
        }
        // Holes whose wait ended before this segment are given up first, so that the result does not depend on when that is
        // checked.
        self.drain(connection, origin.ts);
        if connection.tcp.numbers().fit(direction, segment) {
            connection.last = origin;
            if !segment.rst {
                let Segment { seq, ack, syn, .. } = *segment;
                let len = (segment.payload.len() as u32).saturating_add(segment.snapped).saturating_add(syn.into());
                connection.info.round_trips.segment(direction, Sample { seq, len, ack, syn }, origin.ts);
            }
        }
        let was_seen = connection.tcp.is_from_start(direction).is_some();
        let accepted = connection.tcp.accept(direction, segment, origin);
        if segment.fin || segment.rst && connection.tcp.is_reset() {
            connection.info.closed_by.get_or_insert((direction, segment.rst));
        }
        if !was_seen && connection.tcp.is_from_start(direction) == Some(false) && !connection.info.is_midstream {
            // The opening of the connection was captured, but not the beginning of this direction.
            connection.search(direction, Reason::Missing);
        }
        let in_order = if let Accepted::InOrder(bytes) = accepted { bytes.len() as u64 } else { 0 };
        if let Some(conflict) = connection.tcp.take_conflict(direction) {
            let processed = connection.tcp.offset(direction) - in_order;
            self.contest(connection, direction, conflict, processed, origin);
        }
        match accepted {
            Accepted::InOrder(bytes) => {
                *connection.last_data.get_mut(direction) = origin;
                match segment.ack {
                    Some(ack) if connection.session.dialogue().is_uncertain() => {
                        let end =
                            segment.seq.wrapping_add(u32::from(segment.syn)).wrapping_add(segment.payload.len() as u32);
                        self.feed_uncertain(connection, direction, bytes, Numbers { end, ack }, origin);
                    }
                    _ => self.feed(connection, direction, bytes, origin),
                }
            }
            Accepted::Nothing => {}
        }
        self.drain(connection, origin.ts);
    }

    /// Processes a plain segment and returns `true`, if it is next in order and nothing is held.
    #[inline]
    pub(super) fn accept_next(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        segment: &Plain<'_>,
        origin: Origin,
    ) -> bool {
        let is_next = connection.tcp.accept_next(direction, segment);
        if is_next {
            *connection.last_data.get_mut(direction) = origin;
            let Plain { seq, ack, payload } = *segment;
            let sample = Sample { seq, len: payload.len() as u32, ack: Some(ack), syn: false };
            connection.info.round_trips.segment(direction, sample, origin.ts);
            let is_steady = connection.session.is_steady();
            let bytes = segment.payload;
            if connection.session.dialogue().is_uncertain() {
                let numbers = Numbers { end: segment.seq.wrapping_add(bytes.len() as u32), ack: segment.ack };
                self.feed_uncertain(connection, direction, bytes, numbers, origin);
                return true;
            }
            let rest = if is_steady {
                let origin = connection.info.date(origin);
                self.feed_ready(connection, direction, bytes, origin)
            } else {
                bytes
            };
            if !rest.is_empty() {
                self.feed(connection, direction, rest, origin);
            }
        }
        is_next
    }

    pub(super) fn drain(&mut self, connection: &mut Connection, now: Timestamp) {
        while let Some((direction, delivery, origin)) = connection.tcp.pop(now) {
            self.deliver(connection, direction, &delivery, origin);
        }
    }

    fn deliver(&mut self, connection: &mut Connection, direction: Direction, delivery: &Delivery, origin: Origin) {
        if let Delivery::Content { .. } = delivery {
            let last_data = connection.last_data.get_mut(direction);
            *last_data = last_data.or_later(origin);
        }
        let loss = Loss { dir: Some(direction), ..Loss::new(origin) };
        match delivery {
            Delivery::Content { content: StreamContent::Data(bytes), is_contested } => {
                // Decrypted data is authentic, whatever else was sent in its place.
                if *is_contested && connection.tls.is_none() {
                    connection.framers.get_mut(direction).contest_input();
                }
                match connection.tcp.last_numbers(direction) {
                    Some((end, ack)) if connection.session.dialogue().is_uncertain() => {
                        self.feed_uncertain(connection, direction, bytes, Numbers { end, ack }, origin);
                    }
                    _ => self.feed(connection, direction, bytes, origin),
                }
                connection.framers.get_mut(direction).end_contest();
            }
            Delivery::Content { content: StreamContent::Snapped(bytes), .. } => {
                self.gap(connection, direction, *bytes, Loss { reason: Reason::Snaplen, ..loss });
            }
            Delivery::Missing { bytes, because, may_be_fin } => {
                if *may_be_fin && connection.is_between_messages(direction) {
                    // A FIN occupies a sequence number, but is not data.
                    return;
                }
                let detail = Some(match because {
                    GivenUp::Acknowledged => "the other side has received them",
                    GivenUp::Waited => "they did not arrive in time",
                    GivenUp::Limit => "the limit on data held after them was reached",
                    GivenUp::Ended => "the connection ended without them",
                });
                self.gap(connection, direction, *bytes, Loss { detail, ..loss });
            }
        }
    }

    /// Reports bytes that were retransmitted with different content, after everything before the offset `processed` was processed.
    fn contest(
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

    /// Processes the complete frames at the front of a direction's next bytes, unencrypted or decrypted, if the session is ready.
    /// Returns the remaining bytes.
    #[inline]
    fn feed_ready<'b>(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        bytes: &'b [u8],
        origin: Origin,
    ) -> &'b [u8] {
        let Connection { framers, session, info, .. } = connection;
        if direction == Direction::Backend {
            framers.frontend.peer_sent();
        }
        match framers.get(direction).whole(bytes) {
            Some(whole) if session.is_ready() && info.conn > 0 && info.watch.is_none() && self.config.fast_paths => {
                self.whole_frames(session, info, direction, whole, origin)
            }
            _ => bytes,
        }
    }

    /// Processes the next bytes of a direction while it is not known which replies belong to which requests. TCP's numbers may
    /// show it: a reply answers a request if the client had received everything before the reply when it sent the request, and
    /// the server had received the request when it sent the reply.
    #[cold]
    fn feed_uncertain(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        bytes: &[u8],
        Numbers { end, ack }: Numbers,
        origin: Origin,
    ) {
        let behind = match direction {
            Direction::Frontend => {
                connection.session.dialogue_mut().may_tie(connection.tls.is_none());
                connection.session.dialogue().uncertain_behind()
            }
            Direction::Backend => {
                let begins = connection.tls.is_none() && connection.framers.backend.is_at_boundary();
                let seq = end.wrapping_sub(bytes.len() as u32);
                connection.session.dialogue_mut().meet(begins.then_some(seq), ack);
                None
            }
        };
        self.feed(connection, direction, bytes, origin);
        connection.session.dialogue_mut().may_tie(false);
        if let Some(behind) = behind.filter(|_| connection.tls.is_none()) {
            connection.session.dialogue_mut().tie(behind, ack, end);
        }
    }

    /// Processes the next bytes of a direction.
    fn feed(&mut self, connection: &mut Connection, direction: Direction, bytes: &[u8], origin: Origin) {
        if connection.tls.is_some() {
            if direction == Direction::Backend && connection.session.owes_answer_in_clear() {
                self.feed_answer(connection, bytes, origin);
            } else {
                self.feed_encrypted(connection, direction, bytes, origin);
            }
            return;
        }
        if connection.framers.get(direction).is_searching() && self.is_tls(connection, direction, bytes, origin) {
            return;
        }
        self.feed_clear(connection, direction, bytes, origin);
    }

    /// Processes the next bytes of a server that has not answered a request for encryption yet, although its client continues
    /// with TLS.
    fn feed_answer(&mut self, connection: &mut Connection, bytes: &[u8], origin: Origin) {
        let is_one_byte =
            connection.framers.backend.is_between_frames() && bytes.first() != Some(&backend::ERROR_RESPONSE);
        let (answer, rest) = bytes.split_at_checked(1).filter(|_| is_one_byte).unwrap_or((bytes, &[]));
        self.feed_clear(connection, Direction::Backend, answer, origin);
        if connection.session.encryption().is_none() {
            // The server rejected encryption.
            connection.tls = None;
            connection.framers = PerDirection::new(|direction| Framer::new(direction, self.config.max_message));
        }
        if !rest.is_empty() {
            self.feed(connection, Direction::Backend, rest, origin);
        }
    }

    /// Processes the next bytes of a direction, unencrypted or decrypted.
    pub(super) fn feed_clear(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        mut bytes: &[u8],
        origin: Origin,
    ) {
        let is_held = connection.session.route(direction) == Route::Opening;
        // Data held until the protocol is known is reported with the packets that contained it.
        let origin = if is_held { origin } else { connection.info.date(origin) };
        if direction == Direction::Frontend
            && connection.framers.frontend.is_searching()
            && connection.session.may_begin()
            && startup::look(bytes) == Look::Whole
        {
            self.restart(connection, origin);
        }
        connection.observe_send(direction);
        while !bytes.is_empty() {
            match connection.session.route(direction) {
                Route::Messages(_) if connection.is_unread(direction, bytes) => connection.session.leave_unread(),
                Route::Messages(Framing::Startup) if is_not_startup(connection, bytes) => {
                    self.mark_foreign(connection, opening::name_of_client(bytes), origin);
                    return;
                }
                Route::Messages(Framing::EncryptionAnswer) if is_not_answer(connection, bytes) => {
                    self.mark_foreign(connection, "the server's response is not PostgreSQL's", origin);
                    return;
                }
                Route::Messages(Framing::Handshake) if is_not_handshake(connection, direction, bytes) => {
                    self.mark_foreign(connection, "the server's response is not PostgreSQL's", origin);
                    return;
                }
                Route::Messages(framing) => {
                    self.number(&mut connection.info);
                    if direction == Direction::Frontend {
                        if hold_ahead(connection, bytes, origin) {
                            return;
                        }
                        self.release_ahead(connection);
                    }
                    bytes = self.feed_ready(connection, direction, bytes, origin);
                    if bytes.is_empty() {
                        return;
                    }
                    if !connection.ahead.is_empty() {
                        if !self.answer_ahead(connection, &mut bytes, framing, origin) {
                            return;
                        }
                        continue;
                    }
                    let Connection { framers, session, info, .. } = connection;
                    let step = framers.get_mut(direction).next(&mut bytes, framing);
                    if matches!(step, Step::More) {
                        return;
                    }
                    if framing == Framing::Startup
                        && let Step::Malformed { header, .. } = step
                        && handshake::is_record(header)
                    {
                        // The server's response was not captured, but it must have accepted TLS.
                        let header = header.to_vec();
                        session.encrypt(Encryption::Tls);
                        *framers.get_mut(direction) = Framer::new(direction, self.config.max_message);
                        self.feed_encrypted(connection, direction, &header, origin);
                        self.feed(connection, direction, bytes, origin);
                        return;
                    }
                    self.step(session, info, direction, &step, origin);
                    if bytes.is_empty() {
                        // After a search, the buffer may contain more frames than the one returned.
                        self.rest_of_search(connection, direction, origin);
                    }
                }
                Route::Encrypted => {
                    self.feed_encrypted(connection, direction, bytes, origin);
                    return;
                }
                Route::Opening if direction == Direction::Frontend => {
                    self.open(connection, bytes, origin);
                    return;
                }
                Route::Opening => {
                    self.open_from_server(connection, bytes, origin);
                    return;
                }
                Route::Unread => {
                    *connection.info.unread.get_mut(direction) += bytes.len() as u64;
                    return;
                }
                Route::Foreign => return,
            }
        }
    }

    /// Processes the server's next frame, while data that the client sent before an authentication request is held. Returns
    /// `false` if there is no complete frame.
    #[cold]
    fn answer_ahead(
        &mut self,
        connection: &mut Connection,
        bytes: &mut &[u8],
        framing: Framing,
        origin: Origin,
    ) -> bool {
        let Connection { framers: PerDirection { frontend, backend }, session, info, ahead, .. } = connection;
        let step = backend.next(bytes, framing);
        if let Step::Frame(frame) = &step {
            let context = session.context(self.config.redaction);
            let question = Message::decode(Direction::Backend, frame, &context).ok();
            if session.hear(question.as_ref()) {
                // The data was sent before the request, so its records come first.
                self.feed_ahead(std::mem::take(ahead), frontend, session, info);
            }
        }
        self.step(session, info, Direction::Backend, &step, origin);
        !matches!(step, Step::More)
    }

    /// Processes the data that the client sent before an authentication request. The request is known by now, or will never be.
    fn feed_ahead(&mut self, ahead: HeldAuth, framer: &mut Framer, session: &mut Session, info: &mut ConnectionInfo) {
        session.miss_question();
        for (mut bytes, origin) in ahead.pieces() {
            while let Route::Messages(framing) = session.route(Direction::Frontend) {
                let step = framer.next(&mut bytes, framing);
                if matches!(step, Step::More) {
                    break;
                }
                self.step(session, info, Direction::Frontend, &step, origin);
            }
        }
    }

    /// Processes the data that the client sent before an authentication request, without waiting for the request any longer.
    fn release_ahead(&mut self, connection: &mut Connection) {
        let Connection { framers, session, info, ahead, .. } = connection;
        if !ahead.is_empty() {
            self.feed_ahead(std::mem::take(ahead), &mut framers.frontend, session, info);
        }
    }

    /// Restarts the session at a client's startup packet, in a connection whose beginning was thought to be missing. Only data
    /// before the packet is missing.
    #[cold]
    fn restart(&mut self, connection: &mut Connection, origin: Origin) {
        self.number(&mut connection.info);
        for direction in Direction::BOTH {
            if connection.framers.get(direction).is_searching() {
                self.end_direction(connection, direction, origin);
            }
            let framer = connection.framers.get_mut(direction);
            *framer = Framer::new(direction, self.config.max_message);
            // An incomplete value may contain what looks like a startup packet.
            framer.doubt();
        }
        connection.undecided_tls = None;
        connection.info.search_reason = PerDirection::default();
        connection.info.is_midstream = false;
        connection.session.begin();
    }

    /// Ends a search for a message boundary before a hole or the end.
    pub(super) fn settle(&mut self, connection: &mut Connection, direction: Direction, origin: Origin) {
        self.release_ahead(connection);
        let Connection { framers, session, info, .. } = connection;
        let origin = info.date(origin);
        let step = framers.get_mut(direction).settle();
        if step != Step::More {
            self.step(session, info, direction, &step, origin);
            self.rest_of_search(connection, direction, origin);
        }
    }

    fn rest_of_search(&mut self, connection: &mut Connection, direction: Direction, origin: Origin) {
        while let Route::Messages(framing) = connection.session.route(direction) {
            let Connection { framers, session, info, .. } = connection;
            let step = framers.get_mut(direction).next(&mut &[][..], framing);
            if matches!(step, Step::More) {
                return;
            }
            self.step(session, info, direction, &step, origin);
        }
    }

    /// Processes the client's first bytes.
    fn open(&mut self, connection: &mut Connection, bytes: &[u8], origin: Origin) {
        // In the common case they are in one segment, and not copied.
        let gathered;
        let bytes = if connection.opening.frontend.is_empty() {
            bytes
        } else {
            connection.opening.frontend.extend_from_slice(bytes);
            gathered = std::mem::take(&mut connection.opening.frontend);
            &gathered
        };
        // This is insufficient evidence if any port may be a server's.
        let is_answered = connection.info.is_named && connection.opening.backend == b"S" && handshake::is_record(bytes);
        match opening::of_client(bytes) {
            _ if is_answered => {
                self.answered(connection);
                self.feed(connection, Direction::Frontend, bytes, origin);
            }
            Opening::Undecided => connection.opening.frontend = bytes.to_vec(),
            Opening::Startup => self.open_startup(connection, bytes, origin),
            Opening::DirectTls => {
                self.report_deferred_losses(connection);
                connection.session.encrypt(Encryption::Tls);
                self.feed(connection, Direction::Frontend, bytes, origin);
            }
            Opening::Foreign(_) if connection.info.is_named && connection.info.search_reason.frontend.is_some() => {
                // These are not the client's first bytes.
                self.search_client(connection);
                self.feed(connection, Direction::Frontend, bytes, origin);
            }
            Opening::Foreign(what) => self.mark_foreign(connection, what, origin),
        }
    }

    /// Processes the client's first bytes after they were identified as a startup packet, or a prefix of one.
    fn open_startup(&mut self, connection: &mut Connection, bytes: &[u8], origin: Origin) {
        let is_contested = connection.deferred_losses.iter().any(|deferred| deferred.reason == Reason::Overlap);
        if connection.opening.backend == b"N" {
            self.answered(connection);
        } else {
            self.report_deferred_losses(connection);
        }
        connection.session.recognize_startup();
        connection.info.search_reason.frontend = None;
        let is_guessed = connection.framers.frontend.is_guessed();
        connection.framers.frontend = Framer::new(Direction::Frontend, self.config.max_message);
        if is_guessed {
            connection.framers.frontend.doubt();
        }
        if is_contested {
            connection.framers.frontend.contest_input();
        }
        self.feed(connection, Direction::Frontend, bytes, origin);
        connection.framers.frontend.end_contest();
        self.feed_held_reply(connection, origin);
    }

    /// Processes the server's first byte as the response to a request for encryption that was not captured.
    fn answered(&mut self, connection: &mut Connection) {
        let Some(byte) = connection.opening.backend.first().copied() else { return };
        let Some(encryption) = opening::of_byte(byte) else { return };
        let origin = connection.replied;
        connection.opening.backend.remove(0);
        self.report_deferred_losses(connection);
        connection.info.search_reason.frontend = None;
        connection.framers.frontend = Framer::new(Direction::Frontend, self.config.max_message);
        connection.session.recognize_answer(encryption);
        self.feed_clear(connection, Direction::Backend, &[byte], origin);
    }

    /// Processes the server's bytes that were held until the protocol was known.
    fn feed_held_reply(&mut self, connection: &mut Connection, origin: Origin) {
        let held = std::mem::take(&mut connection.opening.backend);
        if !held.is_empty() {
            self.feed(connection, Direction::Backend, &held, origin);
        }
    }

    /// Searches for a message boundary in the client's bytes, which begin in the middle of its session.
    fn search_client(&mut self, connection: &mut Connection) {
        self.report_deferred_losses(connection);
        connection.session.lose(Direction::Frontend);
        connection.search(Direction::Frontend, Reason::Missing);
    }

    /// Processes bytes of the server before any of the client. A PostgreSQL server waits for its client, unless it cannot serve
    /// at all; so either the client's bytes were not captured, or this is another protocol.
    fn open_from_server(&mut self, connection: &mut Connection, bytes: &[u8], origin: Origin) {
        let is_named = connection.info.is_named;
        if connection.framers.backend.is_searching() {
            if is_named {
                self.search_client(connection);
                self.feed(connection, Direction::Backend, bytes, origin);
            } else {
                self.mark_foreign(connection, opening::of_server(bytes).name(), origin);
            }
            return;
        }
        let held = &mut connection.opening.backend;
        if held.is_empty() {
            connection.replied = origin;
        }
        held.extend_from_slice(bytes);
        match opening::of_server(held) {
            FirstReply::Undecided => {}
            FirstReply::Error => {
                self.report_deferred_losses(connection);
                connection.session.recognize_startup();
                self.feed_held_reply(connection, origin);
            }
            FirstReply::Answer(_) if is_named => {
                self.answered(connection);
                self.feed_held_reply(connection, origin);
            }
            FirstReply::Messages if is_named => {
                self.search_client(connection);
                self.feed_held_reply(connection, origin);
            }
            other => self.mark_foreign(connection, other.name(), origin),
        }
    }

    /// Decides on the protocol of a connection after the last bytes of a direction: on a configured port, a prefix of a first
    /// message suffices.
    fn decide(&mut self, connection: &mut Connection, direction: Direction, origin: Origin) {
        if !connection.info.is_named || connection.session.route(direction) != Route::Opening {
            return;
        }
        match direction {
            Direction::Frontend if opening::begins_with_startup(&connection.opening.frontend) => {
                let bytes = std::mem::take(&mut connection.opening.frontend);
                self.open_startup(connection, &bytes, origin);
            }
            Direction::Backend if opening::is_answer(&connection.opening.backend) => self.answered(connection),
            _ => {}
        }
    }

    /// Reports the losses that were deferred until the protocol was known.
    fn report_deferred_losses(&mut self, connection: &mut Connection) {
        for deferred in std::mem::take(&mut connection.deferred_losses) {
            self.report_deferred(&mut connection.info, &deferred);
        }
    }

    fn report_deferred(&mut self, info: &mut ConnectionInfo, deferred: &DeferredLoss) {
        let DeferredLoss { origin, dir, bytes, offset, reason, skipped, detail } = *deferred;
        self.number(info);
        self.counters.skipped_bytes += skipped.unwrap_or_default();
        if reason == Reason::Overlap {
            self.counters.contested_bytes += bytes;
        }
        let (dir, bytes) = (Some(dir), Some(bytes));
        self.lose(info, &Loss { dir, bytes, offset, reason, skipped, detail, ..Loss::new(origin) });
    }

    fn mark_foreign(&mut self, connection: &mut Connection, what: &str, origin: Origin) {
        connection.session.recognize_foreign();
        connection.opening = PerDirection::default();
        connection.deferred_losses = Vec::new();
        if connection.info.is_named {
            self.number(&mut connection.info);
            let loss = Loss { reason: Reason::NotPostgresql, detail: Some(what), ..Loss::new(origin) };
            self.lose(&mut connection.info, &loss);
        }
    }

    /// Processes missing bytes of a direction.
    fn gap(&mut self, connection: &mut Connection, direction: Direction, mut bytes: u64, loss: Loss<'static>) {
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
    fn step(
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
        if info.is_unwanted {
            return;
        }
        let origin = info.date(loss.origin);
        self.sink.record(&Record::Loss(LossRecord {
            header: info.header(origin.ts),
            dir: loss.dir,
            packet: origin.packet,
            bytes: loss.bytes,
            offset: loss.offset,
            within: loss.within,
            reason: loss.reason,
            skipped: loss.skipped,
            detail: loss.detail,
        }));
    }

    /// Assigns a number to a connection that has none yet.
    pub(super) fn number(&mut self, info: &mut ConnectionInfo) {
        if info.conn == 0 {
            self.counters.connections += 1;
            info.conn = self.counters.connections;
        }
    }

    /// Frees memory that a connection holds.
    pub(super) fn release(&mut self, connection: &mut Connection) {
        let origin = connection.last();
        while let Some((direction, delivery, origin)) = connection.tcp.pop_to_free_memory() {
            self.deliver(connection, direction, &delivery, origin);
        }
        connection.tcp.forget_recent();
        self.release_ahead(connection);
        self.release_encrypted(connection, origin);
        let opening = std::mem::take(&mut connection.opening);
        if !opening.frontend.is_empty() || !opening.backend.is_empty() {
            // Without its first bytes, the protocol cannot be identified.
            connection.session.recognize_foreign();
            connection.deferred_losses = Vec::new();
            for (dir, bytes) in [(Direction::Frontend, opening.frontend), (Direction::Backend, opening.backend)] {
                if bytes.is_empty() || !connection.info.is_named {
                    continue;
                }
                let skipped = bytes.len() as u64;
                self.counters.skipped_bytes += skipped;
                let (dir, skipped) = (Some(dir), Some(skipped));
                let detail = Some("more is held than --max-held: the connection is not followed");
                self.number(&mut connection.info);
                let loss = Loss { dir, skipped, reason: Reason::Limit, detail, ..Loss::new(origin) };
                self.lose(&mut connection.info, &loss);
            }
        }
        for direction in Direction::BOTH {
            if let Route::Messages(framing) = connection.session.route(direction) {
                connection.framers.get_mut(direction).release(framing);
            }
        }
        let Connection { session, info, .. } = connection;
        session.release_copy();
        if session.dialogue().held() > MANY_REQUESTS {
            session.dialogue_mut().give_up(origin, self.shared);
            self.report_queries(session, info);
            let detail = Some("more is held than --max-held: the requests that wait for replies are given up");
            self.lose(info, &Loss { reason: Reason::Limit, detail, ..Loss::new(origin) });
        }
    }

    /// Ends a connection to make room for others.
    pub(super) fn evict(&mut self, connection: &mut Connection, now: Timestamp) {
        self.counters.evicted_connections += 1;
        let origin = self.end(connection, Closing::Evicted(now));
        if connection.is_counted() {
            let detail =
                Some("more connections are open than --max-connections: this one was idle for the longest time");
            self.lose(&mut connection.info, &Loss { reason: Reason::Limit, detail, ..Loss::new(origin) });
        }
    }

    /// Ends a connection, after its last segment. Returns the packet that ended it, which is one of its own, whenever the end is
    /// detected.
    pub(super) fn end(&mut self, connection: &mut Connection, closing: Closing) -> Origin {
        let origin = connection.ended.unwrap_or_else(|| connection.last());
        while let Some((direction, delivery, origin)) = connection.tcp.pop_at_end(origin) {
            self.deliver(connection, direction, &delivery, origin);
        }
        self.end_encrypted(connection);
        for direction in Direction::BOTH {
            self.decide(connection, direction, *connection.last_data.get(direction));
        }
        for direction in Direction::BOTH {
            self.end_direction(connection, direction, *connection.last_data.get(direction));
        }
        self.report_undecrypted(connection, origin);
        for direction in Direction::BOTH {
            let mut counters = connection.tcp.counters(direction);
            if let Some(successor) = connection.successor.take_if(|_| direction == Direction::Frontend) {
                // The server did not answer it.
                counters.out_of_window += successor.len();
            }
            self.counters.retransmitted_bytes += counters.retransmitted;
            self.counters.out_of_window_bytes += counters.out_of_window;
            self.counters.late_bytes += counters.before_start;
            if connection.is_counted() {
                self.report_unread(&mut connection.info, direction, counters, origin);
            }
        }
        let origin = connection.info.date(origin);
        self.report_end(connection, closing, origin);
        origin
    }

    /// Reports captured bytes that were not processed.
    fn report_unread(
        &mut self,
        info: &mut ConnectionInfo,
        direction: Direction,
        counters: TcpCounters,
        origin: Origin,
    ) {
        let before = "they precede the first captured byte, and arrived after it was processed";
        let outside = "their sequence numbers are not this connection's";
        let unread =
            [(counters.before_start, Reason::Late, before), (counters.out_of_window, Reason::OutOfWindow, outside)];
        for (bytes, reason, detail) in unread.into_iter().filter(|(bytes, ..)| *bytes > 0) {
            let (dir, bytes, detail) = (Some(direction), Some(bytes), Some(detail));
            self.lose(info, &Loss { dir, bytes, reason, detail, ..Loss::new(origin) });
        }
    }

    fn end_direction(&mut self, connection: &mut Connection, direction: Direction, origin: Origin) {
        self.settle(connection, direction, origin);
        let origin = connection.info.date(origin);
        let loss = Loss { dir: Some(direction), ..Loss::new(origin) };
        let is_all_sent = connection.tls.is_none() && connection.tcp.has_sent_all(direction);
        match connection.session.route(direction) {
            Route::Messages(framing) => {
                let Connection { framers, session, info, .. } = connection;
                match framers.get_mut(direction).end(framing) {
                    Ended::Clean => {}
                    Ended::Frame(frame) if is_all_sent && frame.cut == Some(Cut::End) => {
                        self.frame(session, info, direction, &Frame { cut: Some(Cut::Sender), ..frame }, origin);
                    }
                    Ended::Leftover { bytes } if is_all_sent => {
                        self.counters.skipped_bytes += bytes;
                        let (reason, detail) =
                            (Reason::Malformed, "its sender closed the connection inside the header of a message");
                        self.lose(info, &Loss { skipped: Some(bytes), reason, detail: Some(detail), ..loss });
                    }
                    Ended::Frame(frame) => self.frame(session, info, direction, &frame, origin),
                    Ended::Leftover { bytes } => {
                        self.counters.skipped_bytes += bytes;
                        let detail = Some("the stream ended inside the header of a message");
                        self.lose(info, &Loss { skipped: Some(bytes), detail, ..loss });
                    }
                    Ended::Unresolved { bytes } => {
                        self.counters.skipped_bytes += bytes;
                        let reason = info.search_reason.get(direction).unwrap_or(Reason::Malformed);
                        let detail = Some("no message boundary was found");
                        self.lose(info, &Loss { reason, skipped: Some(bytes), detail, ..loss });
                    }
                }
            }
            Route::Opening if connection.info.is_named => {
                let PerDirection { frontend, backend } = &connection.opening;
                // The client's first bytes may be a prefix of a startup packet.
                let may_begin = !frontend.is_empty() && startup::look(frontend) == Look::Begun;
                let is_nothing = frontend.is_empty() && backend.is_empty();
                let is_other = !may_begin && !is_nothing;
                let bytes = connection.opening.get(direction).len() as u64;
                if is_other {
                    connection.deferred_losses = Vec::new();
                }
                self.report_deferred_losses(connection);
                if bytes > 0 {
                    self.number(&mut connection.info);
                    let reason = if is_other { Reason::NotPostgresql } else { Reason::Missing };
                    let detail = Some("too few bytes to identify the protocol");
                    self.lose(&mut connection.info, &Loss { skipped: Some(bytes), reason, detail, ..loss });
                    if is_other {
                        connection.session.recognize_foreign();
                    }
                }
            }
            Route::Unread => {
                let bytes = std::mem::take(connection.info.unread.get_mut(direction));
                if bytes > 0 {
                    self.counters.skipped_bytes += bytes;
                    let detail = Some("protocol 2.0 is not decoded beyond its startup");
                    let loss = Loss { skipped: Some(bytes), reason: Reason::NotPostgresql, detail, ..loss };
                    self.lose(&mut connection.info, &loss);
                }
            }
            Route::Opening | Route::Encrypted | Route::Foreign => {}
        }
    }
}

/// The TCP numbers of a segment.
#[derive(Clone, Copy)]
struct Numbers {
    /// The sequence number after its last byte.
    end: u32,
    /// The acknowledgment number.
    ack: u32,
}

/// Holds the next bytes of a client that authenticates before the server's request. Returns `false` if it does not, or if there
/// is no room.
fn hold_ahead(connection: &mut Connection, bytes: &[u8], origin: Origin) -> bool {
    let Connection { framers, session, ahead, .. } = connection;
    let begins = session.awaits_question()
        && bytes.first() == Some(&frontend::PASSWORD_MESSAGE)
        && framers.frontend.is_at_boundary();
    (begins || !ahead.is_empty()) && ahead.keep(bytes, origin)
}

/// Reports the data received after the end of a connection, as one loss for each direction.
pub(super) fn report_late(closed: &mut Closed, counters: &mut Counters, sink: &mut impl Sink) {
    let (late, Some(conn)) = (closed.late(), closed.conn) else { return };
    let (client, server) = (closed.client.to_string(), closed.server.to_string());
    for direction in Direction::BOTH {
        let bytes = *late.get(direction);
        if bytes == 0 {
            continue;
        }
        counters.losses += 1;
        sink.record(&Record::Loss(LossRecord {
            header: Header { ts: closed.last.ts, conn, client: &client, server: &server },
            dir: Some(direction),
            packet: closed.last.packet,
            bytes: Some(bytes),
            offset: None,
            within: None,
            reason: Reason::Late,
            skipped: None,
            detail: Some("they arrived after the end of the connection"),
        }));
    }
}

/// Returns whether a server's first bytes, after its responses to requests for encryption, begin with something that no server
/// sends before authentication.
fn is_not_handshake(connection: &Connection, direction: Direction, bytes: &[u8]) -> bool {
    direction == Direction::Backend
        && connection.framers.backend.is_between_frames()
        && connection.session.facts().bytes.backend <= 2
        && connection.info.lost_bytes == 0
        && bytes.first().is_some_and(|tag| role_of_reply(*tag) == Some(Role::Answer) || !tag.is_ascii_alphabetic())
}

/// Returns whether a client that has only sent requests for encryption continues with something that is not PostgreSQL's
/// protocol.
fn is_not_startup(connection: &Connection, bytes: &[u8]) -> bool {
    connection.session.facts().bytes.frontend > 0
        && connection.session.may_begin()
        && connection.info.lost_bytes == 0
        && connection.framers.frontend.is_between_frames()
        && opening::is_of_none(bytes)
}

/// Returns whether the first byte of a server is no valid response to a request for encryption.
fn is_not_answer(connection: &Connection, bytes: &[u8]) -> bool {
    connection.session.facts().bytes.backend == 0
        && connection.info.lost_bytes == 0
        && connection.framers.backend.is_between_frames()
        && bytes.first().is_some_and(|byte| *byte != backend::ERROR_RESPONSE && opening::of_byte(*byte).is_none())
}

/// The data of a loss record.
#[derive(Clone, Copy)]
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

impl Loss<'_> {
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
