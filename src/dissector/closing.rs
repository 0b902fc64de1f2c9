//! The end of a connection, and what gives way when memory is needed.

use super::Sink;
use super::connection::{Connection, ConnectionInfo};
use super::loss::Loss;
use super::stream::ConnectionDissector;
use super::summary::Closing;
use crate::direction::{Direction, PerDirection};
use crate::packet::Origin;
use crate::pg::frame::{Cut, Frame};
use crate::pg::framer::Ended;
use crate::pg::startup::{self, Look};
use crate::record::Reason;
use crate::session::Route;
use crate::tcp::assembler::Counters as TcpCounters;
use crate::time::Timestamp;

/// How many bytes the requests that wait for replies may hold when memory must be freed: a pipeline of some size.
const MANY_REQUESTS: usize = 16 * 1024;

impl<S: Sink> ConnectionDissector<'_, S> {
    /// Frees memory that a connection holds.
    pub(super) fn release(&mut self, connection: &mut Connection) {
        let origin = connection.last();
        while let Some((direction, delivery, origin)) = connection.tcp.pop_to_free_memory() {
            self.deliver(connection, direction, &delivery, origin);
        }
        connection.tcp.forget_recent();
        self.release_ahead(connection);
        self.release_encrypted(connection, origin);
        self.report_incomplete(connection);
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
            self.give_up_withheld(&mut connection.info);
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
        self.give_up_withheld(&mut connection.info);
        if std::mem::take(&mut connection.info.is_incomplete) {
            self.sink.incomplete(connection.info.conn, None);
        }
        origin
    }

    /// Reports captured bytes that were not processed.
    pub(super) fn report_unread(
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

    pub(super) fn end_direction(&mut self, connection: &mut Connection, direction: Direction, origin: Origin) {
        self.settle(connection, direction, origin);
        let origin = connection.info.date(origin);
        let loss = Loss { dir: Some(direction), ..Loss::new(origin) };
        // What was never sent is not lost.
        let ended = match &connection.tcp {
            _ if connection.tls.is_some() => None,
            tcp if tcp.has_sent_all(direction) => Some(Cut::Sender),
            tcp => tcp.was_reset_after_all(direction).then_some(Cut::Reset),
        };
        match connection.session.route(direction) {
            Route::Messages(framing) => {
                let Connection { framers, session, info, .. } = connection;
                match framers.get_mut(direction).end(framing) {
                    Ended::Clean => {}
                    Ended::Frame(frame) if ended.is_some() && frame.cut == Some(Cut::End) => {
                        self.frame(session, info, direction, &Frame { cut: ended, ..frame }, origin);
                    }
                    Ended::Leftover { bytes } if ended.is_some() => {
                        self.counters.skipped_bytes += bytes;
                        let reason = Reason::Malformed;
                        let detail = match ended {
                            Some(Cut::Reset) => "the connection was reset inside the header of a message",
                            _ => "its sender closed the connection inside the header of a message",
                        };
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
