//! The processing of encrypted bytes: decrypted if the keys are known, and then like unencrypted ones.

use super::connection::Connection;
use super::loss::Loss;
use super::stream::ConnectionDissector;
use super::{PacketsOf, Sink};
use crate::direction::{Direction, PerDirection};
use crate::hex::Hex;
use crate::packet::Origin;
use crate::pg::framer::Framer;
use crate::record::Reason;
use crate::session::{Encryption, Route};
use crate::time::Timestamp;
use crate::tls::session::{Counts, Event, MAX_WAIT, Obstacle, TlsSession, Tools};

/// A gap of unknown size, represented as more bytes than any message has.
const UNKNOWN: u64 = u64::MAX;

impl<S: Sink> ConnectionDissector<'_, S> {
    /// Processes the next bytes of an encrypted direction.
    pub(super) fn feed_encrypted(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        bytes: &[u8],
        origin: Origin,
    ) {
        self.number(&mut connection.info);
        *connection.info.encrypted.get_mut(direction) += bytes.len() as u64;
        self.counters.encrypted_bytes += bytes.len() as u64;
        if connection.session.encryption() == Some(Encryption::Gssapi) {
            connection.info.gss_packets.get_mut(direction).push(bytes);
            let detail = "GSSAPI encryption: the rest of the connection cannot be read";
            self.report_encryption(connection, detail, origin);
            return;
        }
        self.begin_tls(connection);
        self.with_tls(connection, |tls, tools, sink| tls.push(direction, bytes, origin, tools, sink));
        self.report_obstacle(connection, origin);
    }

    fn begin_tls(&self, connection: &mut Connection) {
        if connection.tls.is_some() {
            return;
        }
        let framers = &mut connection.framers;
        let is_midstream = PerDirection::new(|direction| framers.get(direction).is_searching());
        if connection.session.begins_encrypted() == Some(true) {
            *framers = PerDirection::new(|direction| Framer::new(direction, self.config.max_message));
        }
        connection.tls = Some(Box::new(TlsSession::new(is_midstream)));
    }

    /// Processes bytes of a connection in which no boundary is known. Returns whether they are TLS, which is known from the first
    /// complete record on; until then, they are searched for messages, too.
    pub(super) fn is_tls(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        bytes: &[u8],
        origin: Origin,
    ) -> bool {
        if connection.info.seq > 1 || !matches!(connection.session.route(direction), Route::Messages(_)) {
            connection.undecided_tls = None;
            return false;
        }
        let to_be = connection.undecided_tls.take();
        connection.tls = to_be.or_else(|| Some(Box::new(TlsSession::new(PerDirection::new(|_| true)))));
        self.number(&mut connection.info);
        self.with_tls(connection, |tls, tools, sink| tls.push(direction, bytes, origin, tools, sink));
        let counts = PerDirection::new(|direction| {
            connection.tls.as_ref().map_or_else(Counts::default, |tls| tls.counts(direction))
        });
        if counts.frontend.records + counts.backend.records == 0 {
            connection.undecided_tls = connection.tls.take();
            return false;
        }
        connection.session.encrypt(Encryption::Tls);
        for direction in Direction::BOTH {
            *connection.info.encrypted.get_mut(direction) = counts.get(direction).bytes;
            self.counters.encrypted_bytes += counts.get(direction).bytes;
        }
        self.report_obstacle(connection, origin);
        true
    }

    /// Calls a function with the TLS session of a connection, and processes the resulting events.
    fn with_tls(
        &mut self,
        connection: &mut Connection,
        act: impl FnOnce(&mut TlsSession, &mut Tools, &mut dyn FnMut(Direction, Event<'_>, Origin)),
    ) {
        // Moved out of the connection and the engine, which the events borrow mutably. Put back below.
        let Some(mut tls) = connection.tls.take() else { return };
        let Some(mut tools) = self.shared.tls.take() else {
            connection.tls = Some(tls);
            return;
        };
        let before = tls.client_random();
        act(&mut tls, &mut tools, &mut |direction, event, origin| {
            self.process_plaintext(connection, direction, event, origin);
        });
        if let Some(client_random) = tls.client_random().filter(|found| Some(*found) != before) {
            self.sink.packets(&PacketsOf::Tls { conn: connection.info.conn, client_random });
        }
        self.shared.tls = Some(tools);
        connection.tls = Some(tls);
    }

    fn process_plaintext(
        &mut self,
        connection: &mut Connection,
        direction: Direction,
        event: Event<'_>,
        origin: Origin,
    ) {
        match event {
            Event::Begins(facts) => {
                connection.session.encrypt(Encryption::Tls);
                if connection.session.begins_encrypted() == Some(false) {
                    for direction in Direction::BOTH {
                        *connection.framers.get_mut(direction) = Framer::new(direction, self.config.max_message);
                        connection.search(direction, Reason::Midstream);
                    }
                }
                connection.session.decrypt();
                connection.info.tls = Some(Box::new(facts.clone()));
            }
            Event::Data(bytes) => {
                self.counters.decrypted_bytes += bytes.len() as u64;
                self.feed_clear(connection, direction, bytes, origin);
            }
            Event::Gap { bytes, skipped } => {
                self.settle(connection, direction, origin);
                if skipped > 0 {
                    let detail = Some("TLS records that lack bytes, or that no key fits");
                    let dir = Some(direction);
                    let skipped = Some(skipped);
                    let loss = Loss { dir, skipped, reason: Reason::Undecryptable, detail, ..Loss::new(origin) };
                    self.lose(&mut connection.info, &loss);
                }
                self.skip_gap(connection, direction, bytes.unwrap_or(UNKNOWN), Reason::Undecryptable, origin);
            }
        }
    }

    /// Processes missing bytes of an encrypted direction.
    pub(super) fn gap_encrypted(&mut self, connection: &mut Connection, direction: Direction, bytes: u64) {
        connection.info.gss_packets.get_mut(direction).gap(bytes);
        if connection.session.encryption() == Some(Encryption::Tls) {
            self.begin_tls(connection);
        }
        if let Some(tls) = connection.tls.as_mut().or(connection.undecided_tls.as_mut()) {
            tls.gap(direction, bytes);
        }
    }

    /// Retries decryption of a connection that waits for keys, or ends the wait if it was too long.
    pub(super) fn resume(&mut self, connection: &mut Connection, now: Timestamp) {
        let origin = connection.active();
        let since = connection.tls.as_ref().and_then(|tls| tls.waits_since());
        if since.is_some_and(|since| now.micros_since(since) >= MAX_WAIT) {
            self.with_tls(connection, |tls, tools, sink| tls.give_up(tools, sink));
        } else {
            self.with_tls(connection, |tls, tools, sink| tls.resume(tools, sink));
        }
        self.report_obstacle(connection, origin);
        self.report_incomplete(connection);
    }

    /// Frees memory that the TLS session of a connection holds.
    pub(super) fn release_encrypted(&mut self, connection: &mut Connection, origin: Origin) {
        connection.undecided_tls = None;
        self.with_tls(connection, |tls, tools, sink| tls.release(tools, sink));
        self.report_obstacle(connection, origin);
    }

    /// Processes the end of an encrypted connection.
    pub(super) fn end_encrypted(&mut self, connection: &mut Connection) {
        let origin = connection.active();
        self.with_tls(connection, |tls, tools, sink| tls.end(origin, tools, sink));
    }

    /// Reports the bytes of an ended connection that could not be decrypted.
    pub(super) fn report_undecrypted(&mut self, connection: &mut Connection, origin: Origin) {
        self.report_obstacle(connection, origin);
        for direction in Direction::BOTH {
            let is_read = connection.tls.as_ref().is_some_and(|tls| !tls.lacks(direction));
            let bytes = Some(*connection.info.encrypted.get(direction)).filter(|bytes| *bytes > 0 && !is_read);
            if bytes.is_some() {
                let (dir, detail) = (Some(direction), Some("encrypted bytes in all"));
                let loss = Loss { dir, bytes, reason: Reason::Undecryptable, detail, ..Loss::new(origin) };
                self.lose(&mut connection.info, &loss);
            }
        }
    }

    fn report_obstacle(&mut self, connection: &mut Connection, origin: Origin) {
        let Some(obstacle) = connection.tls.as_ref().and_then(|tls| tls.obstacle()) else { return };
        if connection.info.is_encryption_reported {
            return;
        }
        const HOW: &str = "--keylog FILE reads the key log that the client or the server writes \
                           (SSLKEYLOGFILE, in libpq 18 sslkeylogfile=FILE)";
        let detail = match obstacle {
            Obstacle::NoKey(random) => format!("TLS: no key for the client random {}; {HOW}", Hex(&random)),
            Obstacle::WrongKey(random) => {
                format!("TLS: nothing is authentic under the key for the client random {}", Hex(&random))
            }
            Obstacle::NoClientHello => {
                format!("TLS: the ClientHello, which identifies the key, was not captured; {HOW}")
            }
            Obstacle::NoServerHello => {
                "TLS: the ServerHello, without which there is no key, was not captured".to_owned()
            }
            Obstacle::Unsupported => "TLS: this version or cipher suite is not decrypted".to_owned(),
        };
        self.report_encryption(connection, &detail, origin);
    }

    fn report_encryption(&mut self, connection: &mut Connection, detail: &str, origin: Origin) {
        if !std::mem::replace(&mut connection.info.is_encryption_reported, true) {
            let loss = Loss { reason: Reason::Undecryptable, detail: Some(detail), ..Loss::new(origin) };
            self.lose(&mut connection.info, &loss);
        }
    }
}
