//! The way of bytes through one connection: from segments to frames, messages and records.

use super::connection::{About, Connection};
use super::table::Closed;
use super::telling::Closing;
use super::{Config, Sink};
use crate::direction::Direction;
use crate::packet::{Origin, Plain, Segment};
use crate::pg::framer::{Ended, Framer, Framing, Step};
use crate::pg::message;
use crate::pg::resync;
use crate::pg::text::Excerpt;
use crate::record::{Content, Counters, LossRecord, Reason, Record};
use crate::redaction::Redaction;
use crate::session::opening::{self, Opening};
use crate::session::shared::Shared;
use crate::session::{Encryption, Route, Session};
use crate::tcp::assembler::{Conflict, Content as TcpContent, Counters as TcpCounters};
use crate::tcp::conversation::{Accepted, Delivery, GivenUp};
use crate::time::Timestamp;
use crate::tls::handshake;

/// How many bytes the requests that wait for replies may take where memory is needed for others: a pipeline of some size.
const MANY_REQUESTS: usize = 16 * 1024;

/// What dissecting one connection needs beside the connection.
pub(super) struct Engine<'a, S> {
    pub(super) config: &'a Config,
    pub(super) counters: &'a mut Counters,
    pub(super) shared: &'a mut Shared,
    pub(super) sink: &'a mut S,
}

impl<S: Sink> Engine<'_, S> {
    pub(super) fn accept(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        segment: &Segment<'_>,
        origin: Origin,
    ) {
        if segment.plain().is_some_and(|plain| self.accept_next(connection, direction, &plain, origin)) {
            return;
        }
        // What was not waited for any longer before this segment came stays so: the same as if that had been looked at then.
        self.drain(connection, origin.ts);
        if connection.tcp.numbers().fit(direction, segment) {
            connection.last = origin;
        }
        let was_seen = connection.tcp.is_from_start(direction).is_some();
        let accepted = connection.tcp.accept(direction, segment, origin);
        if segment.fin || segment.rst && connection.tcp.is_reset() {
            connection.about.closed_by.get_or_insert((direction, segment.rst));
        }
        if !was_seen && connection.tcp.is_from_start(direction) == Some(false) && !connection.about.is_midstream {
            // The connection's beginning was seen, but not that of this direction.
            connection.search(direction, Reason::Missing);
        }
        let in_order = if let Accepted::InOrder(bytes) = accepted { bytes.len() as u64 } else { 0 };
        if let Some(conflict) = connection.tcp.take_conflict(direction) {
            let fed = connection.tcp.offset(direction) - in_order;
            self.contest(connection, direction, conflict, fed, origin);
        }
        match accepted {
            Accepted::InOrder(bytes) => {
                *connection.fed.get_mut(direction) = origin;
                self.feed(connection, direction, bytes, origin);
            }
            Accepted::Nothing => {}
        }
        self.drain(connection, origin.ts);
    }

    /// Takes a plain segment, if it is next in order and nothing waits.
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
            *connection.fed.get_mut(direction) = origin;
            let is_steady = connection.session.is_steady();
            let bytes = segment.payload;
            let rest = if is_steady {
                let origin = connection.about.date(origin);
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
            let fed = connection.fed.get_mut(direction);
            *fed = fed.or_later(origin);
        }
        let loss = Loss { dir: Some(direction), ..Loss::new(origin) };
        match delivery {
            Delivery::Content { content: TcpContent::Data(bytes), is_contested } => {
                // What is decrypted is authentic, whatever else came in its place.
                if *is_contested && connection.tls.is_none() {
                    connection.framers.get_mut(direction).contest_fed();
                }
                self.feed(connection, direction, bytes, origin);
                connection.framers.get_mut(direction).contest_ends();
            }
            Delivery::Content { content: TcpContent::Snapped(bytes), .. } => {
                self.gap(connection, direction, *bytes, Loss { reason: Reason::Snaplen, ..loss });
            }
            Delivery::Missing { bytes, because, may_be_fin } => {
                if *may_be_fin && connection.is_between_messages(direction) {
                    // A FIN takes a number of the sequence, but is no byte.
                    return;
                }
                let detail = Some(match because {
                    GivenUp::Acknowledged => "the other side has received them",
                    GivenUp::Waited => "they did not come in time",
                    GivenUp::Limit => "as much is held behind them as may be",
                    GivenUp::Ended => "nothing more comes of the connection",
                });
                self.gap(connection, direction, *bytes, Loss { detail, ..loss });
            }
        }
    }

    /// Bytes came a second time, with other content, when those before the offset `fed` had been fed.
    fn contest(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        conflict: Conflict,
        fed: u64,
        origin: Origin,
    ) {
        let framing = match connection.session.route(direction) {
            Route::Foreign => return,
            Route::Messages(framing) => Some(framing),
            Route::Opening | Route::Encrypted => None,
        };
        self.number(&mut connection.about);
        self.counters.contested_bytes += conflict.bytes;
        let detail = Some("a segment repeats bytes with other content: those that came first are believed");
        let bytes = Some(conflict.bytes);
        let loss = Loss { dir: Some(direction), bytes, reason: Reason::Overlap, detail, ..Loss::new(origin) };
        self.lose(&mut connection.about, &loss);
        let framer = connection.framers.get_mut(direction);
        let under_way = framing.and_then(|framing| framer.under_way(framing)).map_or(0, |(_, bytes)| bytes);
        if conflict.delivered_until > fed.saturating_sub(under_way) {
            framer.contest_under_way();
        }
    }

    /// Takes the frames that lie whole in the next bytes of a direction, in clear or decrypted, where the session is ready. Says
    /// what is left of them.
    #[inline]
    fn feed_ready<'b>(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        bytes: &'b [u8],
        origin: Origin,
    ) -> &'b [u8] {
        let Connection { framers, session, about, .. } = connection;
        if direction == Direction::Backend {
            framers.frontend.other_speaks();
        }
        match framers.get(direction).whole(bytes) {
            Some(whole) if session.is_ready() && about.conn > 0 => {
                self.whole_frames(session, about, direction, whole, origin)
            }
            _ => bytes,
        }
    }

    /// Takes the next bytes of a direction.
    fn feed(&mut self, connection: &mut Connection, direction: Direction, bytes: &[u8], origin: Origin) {
        if connection.tls.is_some() {
            self.feed_encrypted(connection, direction, bytes, origin);
            return;
        }
        if connection.framers.get(direction).is_searching() && self.is_tls(connection, direction, bytes, origin) {
            return;
        }
        self.feed_clear(connection, direction, bytes, origin);
    }

    /// Takes the next bytes of a direction, in clear or decrypted.
    pub(super) fn feed_clear(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        mut bytes: &[u8],
        origin: Origin,
    ) {
        let origin = connection.about.date(origin);
        while !bytes.is_empty() {
            match connection.session.route(direction) {
                Route::Messages(framing) => {
                    self.number(&mut connection.about);
                    bytes = self.feed_ready(connection, direction, bytes, origin);
                    if bytes.is_empty() {
                        return;
                    }
                    let Connection { framers, session, about, .. } = connection;
                    let step = framers.get_mut(direction).next(&mut bytes, framing);
                    if matches!(step, Step::More) {
                        return;
                    }
                    if framing == Framing::Startup
                        && let Step::Malformed { header, .. } = step
                        && handshake::is_record(header)
                    {
                        // The answer to its request was lost, but this client was told to go on with TLS.
                        let header = header.to_vec();
                        session.encrypt(Encryption::Tls);
                        *framers.get_mut(direction) = Framer::new(direction, self.config.max_message);
                        self.feed_encrypted(connection, direction, &header, origin);
                        self.feed(connection, direction, bytes, origin);
                        return;
                    }
                    self.step(session, about, direction, &step, origin);
                    if bytes.is_empty() {
                        // What was searched may hold more frames than the one that was handed out.
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
                Route::Opening => self.server_speaks_first(connection, bytes, origin),
                Route::Foreign => return,
            }
        }
    }

    /// Nothing more comes before a hole or the end.
    pub(super) fn settle(&mut self, connection: &mut Connection, direction: Direction, origin: Origin) {
        let Connection { framers, session, about, .. } = connection;
        let origin = about.date(origin);
        let step = framers.get_mut(direction).settle();
        if step != Step::More {
            self.step(session, about, direction, &step, origin);
            self.rest_of_search(connection, direction, origin);
        }
    }

    fn rest_of_search(&mut self, connection: &mut Connection, direction: Direction, origin: Origin) {
        while let Route::Messages(framing) = connection.session.route(direction) {
            let Connection { framers, session, about, .. } = connection;
            let step = framers.get_mut(direction).next(&mut &[][..], framing);
            if matches!(step, Step::More) {
                return;
            }
            self.step(session, about, direction, &step, origin);
        }
    }

    /// The client's first bytes.
    fn open(&mut self, connection: &mut Connection, bytes: &[u8], origin: Origin) {
        // The common case has them all in one segment, and copies nothing.
        let gathered;
        let bytes = if connection.opening.is_empty() {
            bytes
        } else {
            connection.opening.extend_from_slice(bytes);
            gathered = std::mem::take(&mut connection.opening);
            &gathered
        };
        match opening::of_client(bytes) {
            Opening::Undecided => connection.opening = bytes.to_vec(),
            Opening::Startup => {
                connection.session.recognize_startup();
                self.feed(connection, Direction::Frontend, bytes, origin);
            }
            Opening::DirectTls => {
                connection.session.encrypt(Encryption::Tls);
                self.feed(connection, Direction::Frontend, bytes, origin);
            }
            Opening::Foreign(what) => self.foreign(connection, what, origin),
        }
    }

    /// The first bytes are the server's. PostgreSQL's waits for its client, unless it cannot serve at all; so either the
    /// client's bytes are not in the capture, or this is another protocol.
    fn server_speaks_first(&mut self, connection: &mut Connection, bytes: &[u8], origin: Origin) {
        let is_searching = connection.framers.backend.is_searching();
        match bytes {
            [b'E', ..] if !is_searching => connection.session.recognize_startup(),
            [b'S' | b'N'] if !is_searching => connection.session.recognize_answer(Encryption::Tls),
            [b'G'] if !is_searching => connection.session.recognize_answer(Encryption::Gssapi),
            _ if is_searching || resync::begins_with_message(Direction::Backend, bytes) => {
                connection.session.lose(Direction::Frontend);
                connection.search(Direction::Frontend, Reason::Missing);
            }
            _ => self.foreign(connection, opening::of_server(bytes), origin),
        }
    }

    fn foreign(&mut self, connection: &mut Connection, what: &str, origin: Origin) {
        connection.session.recognize_foreign();
        if self.config.ports.is_some() {
            self.number(&mut connection.about);
            let loss = Loss { reason: Reason::NotPostgresql, detail: Some(what), ..Loss::new(origin) };
            self.lose(&mut connection.about, &loss);
        }
    }

    /// Bytes of a direction are missing.
    fn gap(&mut self, connection: &mut Connection, direction: Direction, bytes: u64, loss: Loss<'_>) {
        let Loss { origin, reason, .. } = loss;
        match connection.session.route(direction) {
            Route::Foreign => return,
            Route::Opening if self.config.ports.is_none() => {
                // Its first bytes would have told whether it is PostgreSQL's.
                connection.session.recognize_foreign();
                return;
            }
            _ => {}
        }
        self.number(&mut connection.about);
        let offset = Some(connection.tcp.offset(direction).saturating_sub(bytes));
        if connection.session.encryption().is_some() {
            self.lose(&mut connection.about, &Loss { bytes: Some(bytes), offset, ..loss });
            self.gap_encrypted(connection, direction, bytes);
            return;
        }
        if connection.tls_to_be.is_some() {
            self.gap_encrypted(connection, direction, bytes);
        }
        self.settle(connection, direction, origin);
        let within = match connection.session.route(direction) {
            Route::Messages(framing) => connection.framers.get(direction).under_way(framing),
            _ => None,
        };
        let context = connection.session.context(self.config.redaction);
        let within = within.map(|(tag, _)| message::undecoded_name(direction, tag, &context));
        self.lose(&mut connection.about, &Loss { bytes: Some(bytes), offset, within, ..loss });
        self.pass_gap(connection, direction, bytes, reason, origin);
    }

    /// Takes word of bytes that are missing in the way of messages.
    pub(super) fn pass_gap(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        bytes: u64,
        reason: Reason,
        origin: Origin,
    ) {
        let origin = connection.about.date(origin);
        match connection.session.route(direction) {
            Route::Messages(framing) => {
                let Connection { framers, session, about, .. } = connection;
                let step = framers.get_mut(direction).gap(bytes, framing);
                self.step(session, about, direction, &step, origin);
                if framers.get(direction).is_searching() {
                    session.lose(direction);
                    connection.search(direction, reason);
                }
            }
            Route::Opening => {
                connection.session.lose(direction);
                connection.opening = Vec::new();
                connection.search(direction, reason);
            }
            Route::Encrypted | Route::Foreign => {}
        }
    }

    /// Takes what a framer says.
    fn step(
        &mut self,
        session: &mut Session,
        about: &mut About,
        direction: Direction,
        step: &Step<'_>,
        origin: Origin,
    ) {
        match step {
            Step::More => {}
            Step::Frame(frame) => self.frame(session, about, direction, frame, origin),
            &Step::Malformed { tag, len, header, error } => {
                let name = message::undecoded_name(direction, tag, &session.context(self.config.redaction));
                // A header has no room for a secret.
                let hides_values = self.config.redaction.hides_values();
                let body = if hides_values { Excerpt::Masked } else { Excerpt::new(header, Redaction::Nothing) };
                let content = Content::Undecoded { name, body };
                self.malformed(about, direction, (tag, len), content, error, origin);
                session.lose(direction);
                *about.search_reason.get_mut(direction) = Some(Reason::Malformed);
            }
            &Step::Resumed { skipped } => {
                let reason = about.search_reason.get_mut(direction).take().unwrap_or(Reason::Malformed);
                self.counters.skipped_bytes += skipped;
                if skipped > 0 || reason == Reason::Midstream {
                    let loss = Loss { dir: Some(direction), reason, skipped: Some(skipped), ..Loss::new(origin) };
                    self.lose(about, &loss);
                }
            }
        }
    }

    pub(super) fn lose(&mut self, about: &mut About, loss: &Loss<'_>) {
        self.counters.losses += 1;
        if matches!(loss.reason, Reason::Missing | Reason::Snaplen) {
            self.counters.missing_bytes += loss.bytes.unwrap_or_default();
        }
        if loss.reason != Reason::Undecryptable {
            about.lost_bytes += loss.bytes.unwrap_or_default() + loss.skipped.unwrap_or_default();
        }
        if about.is_unwanted {
            return;
        }
        let origin = about.date(loss.origin);
        self.sink.record(&Record::Loss(LossRecord {
            ts: origin.ts,
            conn: about.conn,
            client: &about.client_text,
            server: &about.server_text,
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

    /// Gives a connection its number, where it has none yet.
    pub(super) fn number(&mut self, about: &mut About) {
        if about.conn == 0 {
            self.counters.connections += 1;
            about.conn = self.counters.connections;
        }
    }

    /// Takes from a connection what it holds: the memory is needed for others.
    pub(super) fn release(&mut self, connection: &mut Connection) {
        let origin = connection.last();
        while let Some((direction, delivery, origin)) = connection.tcp.pop_for_others() {
            self.deliver(connection, direction, &delivery, origin);
        }
        connection.tcp.forget_recent();
        self.release_encrypted(connection, origin);
        if !connection.opening.is_empty() {
            // Without its first bytes it cannot be told what it is.
            connection.session.recognize_foreign();
            let bytes = std::mem::take(&mut connection.opening).len() as u64;
            self.counters.skipped_bytes += bytes;
            let skipped = Some(bytes);
            let dir = Some(Direction::Frontend);
            let detail = Some("more is held than --max-held: the connection is not followed");
            self.number(&mut connection.about);
            self.lose(
                &mut connection.about,
                &Loss { dir, skipped, reason: Reason::Limit, detail, ..Loss::new(origin) },
            );
        }
        for direction in Direction::BOTH {
            if let Route::Messages(framing) = connection.session.route(direction) {
                connection.framers.get_mut(direction).release(framing);
            }
        }
        let Connection { session, about, .. } = connection;
        session.release_copy();
        if session.dialogue().held() > MANY_REQUESTS {
            session.dialogue_mut().give_up(origin, self.shared);
            self.tell_queries(session, about);
            let detail = Some("more is held than --max-held: the requests that wait for replies are given up");
            self.lose(about, &Loss { reason: Reason::Limit, detail, ..Loss::new(origin) });
        }
    }

    /// Ends a connection that has to make room for others.
    pub(super) fn evict(&mut self, connection: &mut Connection) {
        self.counters.evicted_connections += 1;
        let origin = self.end(connection, Closing::Evicted);
        if connection.is_counted() {
            let detail =
                Some("more connections are open than are followed: this one said nothing for the longest time");
            self.lose(&mut connection.about, &Loss { reason: Reason::Limit, detail, ..Loss::new(origin) });
        }
    }

    /// Ends a connection: nothing more will come of it. It has ended with one of its own packets, whenever that is noticed: says
    /// with which.
    pub(super) fn end(&mut self, connection: &mut Connection, closing: Closing) -> Origin {
        let origin = connection.ended.unwrap_or_else(|| connection.last());
        while let Some((direction, delivery, origin)) = connection.tcp.pop_at_end(origin) {
            self.deliver(connection, direction, &delivery, origin);
        }
        self.end_encrypted(connection);
        for direction in Direction::BOTH {
            self.end_direction(connection, direction, *connection.fed.get(direction));
        }
        self.tell_undecrypted(connection, origin);
        for direction in Direction::BOTH {
            let counters = connection.tcp.counters(direction);
            self.counters.retransmitted_bytes += counters.retransmitted;
            self.counters.out_of_window_bytes += counters.out_of_window;
            self.counters.late_bytes += counters.before_start;
            if connection.is_counted() {
                self.tell_unread(&mut connection.about, direction, counters, origin);
            }
        }
        let origin = connection.about.date(origin);
        self.tell_end(connection, closing, origin);
        origin
    }

    /// Tells of bytes that were captured, but are no part of what was read.
    fn tell_unread(&mut self, about: &mut About, direction: Direction, counters: TcpCounters, origin: Origin) {
        let before = "they lie before the first byte that was captured, and came when that had been read";
        let outside = "their sequence numbers are not this connection's";
        let unread =
            [(counters.before_start, Reason::Late, before), (counters.out_of_window, Reason::OutOfWindow, outside)];
        for (bytes, reason, detail) in unread.into_iter().filter(|(bytes, ..)| *bytes > 0) {
            let (dir, bytes, detail) = (Some(direction), Some(bytes), Some(detail));
            self.lose(about, &Loss { dir, bytes, reason, detail, ..Loss::new(origin) });
        }
    }

    fn end_direction(&mut self, connection: &mut Connection, direction: Direction, origin: Origin) {
        self.settle(connection, direction, origin);
        let origin = connection.about.date(origin);
        let loss = Loss { dir: Some(direction), ..Loss::new(origin) };
        match connection.session.route(direction) {
            Route::Messages(framing) => {
                let Connection { framers, session, about, .. } = connection;
                match framers.get_mut(direction).end(framing) {
                    Ended::Clean => {}
                    Ended::Frame(frame) => self.frame(session, about, direction, &frame, origin),
                    Ended::Leftover { bytes } => {
                        self.counters.skipped_bytes += bytes;
                        let detail = Some("the stream ended inside the header of a message");
                        self.lose(about, &Loss { skipped: Some(bytes), detail, ..loss });
                    }
                    Ended::Unresolved { bytes } => {
                        self.counters.skipped_bytes += bytes;
                        let reason = about.search_reason.get(direction).unwrap_or(Reason::Malformed);
                        let detail = Some("no message boundary was found");
                        self.lose(about, &Loss { reason, skipped: Some(bytes), detail, ..loss });
                    }
                }
            }
            Route::Opening => {
                let bytes = connection.opening.len() as u64;
                if direction == Direction::Frontend && bytes > 0 {
                    self.number(&mut connection.about);
                    let detail = Some("too few bytes to tell the protocol");
                    self.lose(
                        &mut connection.about,
                        &Loss { skipped: Some(bytes), reason: Reason::Malformed, detail, ..loss },
                    );
                }
            }
            Route::Encrypted | Route::Foreign => {}
        }
    }
}

/// Tells of what came behind the end of a connection, as one for each direction.
pub(super) fn tell_late(closed: &mut Closed, counters: &mut Counters, sink: &mut impl Sink) {
    let (late, Some(conn)) = (closed.late(), closed.conn) else { return };
    let (client, server) = (closed.client.to_string(), closed.server.to_string());
    for direction in Direction::BOTH {
        let bytes = *late.get(direction);
        if bytes == 0 {
            continue;
        }
        counters.losses += 1;
        sink.record(&Record::Loss(LossRecord {
            ts: closed.last.ts,
            conn,
            client: &client,
            server: &server,
            dir: Some(direction),
            packet: closed.last.packet,
            bytes: Some(bytes),
            offset: None,
            within: None,
            reason: Reason::Late,
            skipped: None,
            detail: Some("they came behind the end of the connection"),
        }));
    }
}

/// A report of loss in the making.
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
