//! Whether a connection is PostgreSQL's, and what its first bytes are.

use super::Sink;
use super::connection::Connection;
use super::loss::Loss;
use super::stream::ConnectionDissector;
use crate::direction::{Direction, PerDirection};
use crate::packet::Origin;
use crate::pg::framer::Framer;
use crate::pg::message_table::{Role, backend, role_of_reply};
use crate::record::Reason;
use crate::session::opening::{self, FirstReply, Opening};
use crate::session::{Encryption, Route};
use crate::tls::handshake;

impl<S: Sink> ConnectionDissector<'_, S> {
    /// Processes the client's first bytes.
    pub(super) fn open(&mut self, connection: &mut Connection, bytes: &[u8], origin: Origin) {
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
    pub(super) fn open_startup(&mut self, connection: &mut Connection, bytes: &[u8], origin: Origin) {
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
    pub(super) fn answered(&mut self, connection: &mut Connection) {
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
    pub(super) fn feed_held_reply(&mut self, connection: &mut Connection, origin: Origin) {
        let held = std::mem::take(&mut connection.opening.backend);
        if !held.is_empty() {
            self.feed(connection, Direction::Backend, &held, origin);
        }
    }

    /// Searches for a message boundary in the client's bytes, which begin in the middle of its session.
    pub(super) fn search_client(&mut self, connection: &mut Connection) {
        self.report_deferred_losses(connection);
        connection.session.lose(Direction::Frontend);
        connection.search(Direction::Frontend, Reason::Missing);
    }

    /// Processes bytes of the server before any of the client. A PostgreSQL server waits for its client, unless it cannot serve
    /// at all; so either the client's bytes were not captured, or this is another protocol.
    pub(super) fn open_from_server(&mut self, connection: &mut Connection, bytes: &[u8], origin: Origin) {
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
    pub(super) fn decide(&mut self, connection: &mut Connection, direction: Direction, origin: Origin) {
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
    pub(super) fn report_deferred_losses(&mut self, connection: &mut Connection) {
        for deferred in std::mem::take(&mut connection.deferred_losses) {
            self.report_deferred(&mut connection.info, &deferred);
        }
    }

    pub(super) fn mark_foreign(&mut self, connection: &mut Connection, what: &str, origin: Origin) {
        connection.session.recognize_foreign();
        connection.opening = PerDirection::default();
        connection.deferred_losses = Vec::new();
        if connection.info.is_named {
            self.number(&mut connection.info);
            let loss = Loss { reason: Reason::NotPostgresql, detail: Some(what), ..Loss::new(origin) };
            self.lose(&mut connection.info, &loss);
        }
    }
}

/// Returns whether a server's first bytes, after its responses to requests for encryption, begin with something that no server
/// sends before authentication.
pub(super) fn is_not_handshake(connection: &Connection, direction: Direction, bytes: &[u8]) -> bool {
    direction == Direction::Backend
        && connection.framers.backend.is_between_frames()
        && connection.session.facts().bytes.backend <= 2
        && connection.info.lost_bytes == 0
        && bytes.first().is_some_and(|tag| role_of_reply(*tag) == Some(Role::Answer) || !tag.is_ascii_alphabetic())
}

/// Returns whether a client that has only sent requests for encryption continues with something that is not PostgreSQL's
/// protocol.
pub(super) fn is_not_startup(connection: &Connection, bytes: &[u8]) -> bool {
    connection.session.facts().bytes.frontend > 0
        && connection.session.may_begin()
        && connection.info.lost_bytes == 0
        && connection.framers.frontend.is_between_frames()
        && opening::is_of_none(bytes)
}

/// Returns whether the first byte of a server is no valid response to a request for encryption.
pub(super) fn is_not_answer(connection: &Connection, bytes: &[u8]) -> bool {
    connection.session.facts().bytes.backend == 0
        && connection.info.lost_bytes == 0
        && connection.framers.backend.is_between_frames()
        && bytes.first().is_some_and(|byte| *byte != backend::ERROR_RESPONSE && opening::of_byte(*byte).is_none())
}
