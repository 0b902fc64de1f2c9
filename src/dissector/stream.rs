//! The processing of one connection: from segments to frames, messages and records.

use super::connection::{Connection, ConnectionInfo, HeldAuth};
use super::loss::Loss;
use super::recognition::{is_not_answer, is_not_handshake, is_not_startup};
use super::{Config, KnownSession, PacketsOf, Sink};
use crate::direction::{Direction, PerDirection};
use crate::packet::{Origin, Plain, Segment};
use crate::pg::framer::{Framer, Framing, Step};
use crate::pg::message::Message;
use crate::pg::message_table::{backend, frontend};
use crate::pg::startup::{self, Look};
use crate::record::{Counters, Reason};
use crate::session::facts::Identity;
use crate::session::opening;
use crate::session::shared::Shared;
use crate::session::{Encryption, Route, Session};
use crate::tcp::assembler::StreamContent;
use crate::tcp::conversation::{Accepted, Delivery, GivenUp};
use crate::tcp::round_trip::Sample;
use crate::time::Timestamp;
use crate::tls::handshake;

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
        let mut is_sent_again = false;
        if connection.tcp.numbers().fit(direction, segment) {
            connection.last = origin;
            if !segment.rst {
                let Segment { seq, ack, syn, .. } = *segment;
                let len = (segment.payload.len() as u32).saturating_add(segment.snapped).saturating_add(syn.into());
                let sample = Sample { seq, len, ack, syn };
                // One byte may be that of a keep-alive or of a window probe (RFC 1122, section 4.2.3.6).
                is_sent_again = connection.info.round_trips.segment(direction, sample, origin.ts) && len > 1;
                if direction == Direction::Frontend
                    && !syn
                    && let Some(ack) = ack
                {
                    connection.observe_window(segment.window, ack, origin.ts);
                }
            }
        }
        let was_seen = connection.tcp.is_from_start(direction).is_some();
        let repeated = connection.tcp.counters(direction).retransmitted;
        let accepted = connection.tcp.accept(direction, segment, origin);
        let repeated = connection.tcp.counters(direction).retransmitted - repeated;
        if is_sent_again && repeated > 0 {
            connection.session.dialogue_mut().retransmit(repeated);
        }
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
        self.report_incomplete(connection);
    }

    /// Reports that bytes are missing, or are no longer.
    pub(super) fn report_incomplete(&mut self, connection: &mut Connection) {
        let since = connection.incomplete_since();
        if since.is_some() != connection.info.is_incomplete && connection.info.conn > 0 {
            connection.info.is_incomplete = since.is_some();
            self.sink.incomplete(connection.info.conn, since);
        }
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
            if direction == Direction::Frontend {
                // That of a plain segment is open.
                connection.observe_window(u16::MAX, ack, origin.ts);
            }
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

    pub(super) fn deliver(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        delivery: &Delivery,
        origin: Origin,
    ) {
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
    pub(super) fn feed(&mut self, connection: &mut Connection, direction: Direction, bytes: &[u8], origin: Origin) {
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
    pub(super) fn release_ahead(&mut self, connection: &mut Connection) {
        let Connection { framers, session, info, ahead, .. } = connection;
        if !ahead.is_empty() {
            self.feed_ahead(std::mem::take(ahead), &mut framers.frontend, session, info);
        }
    }

    /// Restarts the session at a client's startup packet, in a connection whose beginning was thought to be missing. Only data
    /// before the packet is missing.
    #[cold]
    pub(super) fn restart(&mut self, connection: &mut Connection, origin: Origin) {
        connection.info.is_midstream = false;
        connection.session.facts_mut().forget_known();
        if let Some(process_id) = connection.info.known.take().and_then(|known| known.process_id) {
            self.shared.cancels.forget(process_id, connection.info.server, connection.info.conn);
        }
        connection.info.select(&self.config.only, &Identity::default());
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

    pub(super) fn rest_of_search(&mut self, connection: &mut Connection, direction: Direction, origin: Origin) {
        while let Route::Messages(framing) = connection.session.route(direction) {
            let Connection { framers, session, info, .. } = connection;
            let step = framers.get_mut(direction).next(&mut &[][..], framing);
            if matches!(step, Step::More) {
                return;
            }
            self.step(session, info, direction, &step, origin);
        }
    }

    /// Assigns a number to a connection that has none yet.
    pub(super) fn number(&mut self, info: &mut ConnectionInfo) {
        if info.conn == 0 {
            self.counters.connections += 1;
            info.conn = self.counters.connections;
            let ConnectionInfo { conn, client, server, first_packet: first, known_since: since, .. } = *info;
            self.counters.midstream_connections += u64::from(info.is_midstream);
            if let Some(process_id) = info.known_process() {
                self.shared.cancels.know(process_id, server, conn);
            }
            self.sink.packets(&PacketsOf::Begin { conn, ends: [client, server], first, since });
            // Otherwise, who the session is becomes known from its messages only.
            let known = info.known.take();
            let identity = known.as_deref().map(KnownSession::identity).unwrap_or_default();
            info.select(&self.config.only, &identity);
            info.known = known;
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
