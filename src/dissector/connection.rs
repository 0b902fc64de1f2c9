//! The state of one connection.

use super::connection_table::{HalfOpen, OpenedBy};
use super::loss::WithheldLoss;
use super::successor::Successor;
use super::watch::Watch;
use super::{Config, KnownSession, Only};
use crate::direction::{Direction, PerDirection};
use crate::packet::{Endpoint, Origin, Segment};
use crate::pg::framer::{Framer, Framing};
use crate::pg::gssenc::GssPackets;
use crate::pg::message_table::backend;
use crate::pg::resync;
use crate::record::{CommunityId, Header, Reason};
use crate::session::budget::Total;
use crate::session::facts::Identity;
use crate::session::opening;
use crate::session::shared::ShardId;
use crate::session::{Encryption, Route, Session};
use crate::tcp::conversation::Conversation;
use crate::tcp::round_trip::RoundTrips;
use crate::time::Timestamp;
use crate::tls::facts::Facts;
use crate::tls::handshake;
use crate::tls::session::TlsSession;

/// The state of one connection, from its first packet to its end.
#[derive(Debug)]
pub(super) struct Connection {
    /// The number of its first packet.
    pub(super) serial: u64,
    /// The shard to which it belongs.
    pub(super) shard: ShardId,
    /// The number of the packet at which the current parallel run began, and the connection's index in the run.
    pub(super) place: (u64, u32),
    pub(super) tcp: Conversation,
    /// SYNs of another connection between the same endpoints, which may replace this one.
    pub(super) rival: Option<Box<HalfOpen>>,
    /// The possible beginning of another connection whose SYN was not captured.
    pub(super) successor: Option<Box<Successor>>,
    /// The packet with the last new bytes of each direction.
    pub(super) last_data: PerDirection<Origin>,
    /// The last packet without new bytes.
    pub(super) last: Origin,
    pub(super) framers: PerDirection<Framer>,
    pub(super) session: Session,
    /// The TLS session, if the connection is encrypted with TLS.
    pub(super) tls: Option<Box<TlsSession>>,
    /// A tentative TLS session, while the beginning of the connection was not captured and it is not known whether it is
    /// encrypted.
    pub(super) undecided_tls: Option<Box<TlsSession>>,
    /// Whether the engine has registered that it waits for keys.
    pub(super) is_waiting: bool,
    /// The packet that ended it. Segments are processed after that, for data in flight, or while it waits for keys.
    pub(super) ended: Option<Origin>,
    /// Data that the client has sent before an authentication request.
    pub(super) ahead: HeldAuth,
    /// The first bytes of each direction, while they are too few to identify the protocol.
    pub(super) opening: PerDirection<Vec<u8>>,
    /// The packet with the first of the server's bytes in `opening`.
    pub(super) replied: Origin,
    /// Losses to be reported once the protocol of the connection is known to be PostgreSQL's.
    pub(super) deferred_losses: Vec<DeferredLoss>,
    /// The part of the engine's `held` that this connection accounts for.
    pub(super) accounted: usize,
    pub(super) info: ConnectionInfo,
}

/// How many bytes a client may send before an authentication request, and in how many pieces: a password, and the requests that
/// follow it.
const MAX_AHEAD: (usize, usize) = (32 * 1024, 256);

/// A client's authentication message, and everything after it, that was sent before the server's authentication request. The
/// message cannot be decoded before the request is known.
#[derive(Debug, Default)]
pub(super) struct HeldAuth {
    bytes: Vec<u8>,
    /// The number of bytes of each packet.
    pieces: Vec<(usize, Origin)>,
}

impl HeldAuth {
    pub(super) const fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Appends bytes. Returns `false` if there is no room for them.
    pub(super) fn keep(&mut self, bytes: &[u8], origin: Origin) -> bool {
        let has_room = self.bytes.len() + bytes.len() <= MAX_AHEAD.0 && self.pieces.len() < MAX_AHEAD.1;
        if has_room {
            self.bytes.extend_from_slice(bytes);
            self.pieces.push((bytes.len(), origin));
        }
        has_room
    }

    /// Iterates over the bytes of each packet.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (&[u8], Origin)> {
        let mut rest = self.bytes.as_slice();
        self.pieces.iter().filter_map(move |(len, origin)| {
            let (piece, behind) = rest.split_at_checked(*len)?;
            rest = behind;
            Some((piece, *origin))
        })
    }

    fn held(&self) -> usize {
        self.bytes.capacity() + self.pieces.capacity() * size_of::<(usize, Origin)>()
    }
}

/// A loss or overlap that is not reported yet, because the protocol of the connection is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeferredLoss {
    pub(super) origin: Origin,
    pub(super) dir: Direction,
    pub(super) bytes: u64,
    pub(super) offset: Option<u64>,
    pub(super) reason: Reason,
    pub(super) skipped: Option<u64>,
    pub(super) detail: Option<&'static str>,
}

/// The data about a connection that its records contain.
#[derive(Debug)]
pub(super) struct ConnectionInfo {
    /// The connection's number; 0 until it is assigned.
    pub(super) conn: u64,
    pub(super) client: Endpoint,
    pub(super) server: Endpoint,
    pub(super) client_text: Box<str>,
    pub(super) server_text: Box<str>,
    pub(super) community_id: CommunityId,
    /// The number of messages so far.
    pub(super) seq: u64,
    /// The packet of the last record, or of the bytes processed last.
    pub(super) last_line: Origin,
    /// The number of encrypted bytes.
    pub(super) encrypted: PerDirection<u64>,
    /// The metadata of the TLS session, once data was decrypted.
    pub(super) tls: Option<Box<Facts>>,
    /// The packets of GSSAPI encryption.
    pub(super) gss_packets: PerDirection<GssPackets>,
    pub(super) is_encryption_reported: bool,
    /// Why a message boundary is searched for in a direction.
    pub(super) search_reason: PerDirection<Option<Reason>>,
    /// Whether the session is one of those selected, if that is known.
    pub(super) selected: Option<bool>,
    /// The losses until that is known.
    pub(super) withheld: Vec<WithheldLoss>,
    /// Who the session is, as the user knows it.
    pub(super) known: Option<Box<KnownSession>>,
    /// Its first packet.
    pub(super) first_packet: u64,
    /// The packet since which it is the known connection between its ends.
    pub(super) known_since: u64,
    /// The time of its first packet.
    pub(super) started: Timestamp,
    /// The time of the client's SYN.
    pub(super) syn_at: Option<Timestamp>,
    /// Whether it began before the capture.
    pub(super) is_midstream: bool,
    /// Whether one of its ports is a configured server port. For others, nothing is reported unless they are PostgreSQL's.
    pub(super) is_named: bool,
    /// Bytes of a PostgreSQL protocol version that is not decoded.
    pub(super) unread: PerDirection<u64>,
    /// The side that closed it first, and whether with a RST.
    pub(super) closed_by: Option<(Direction, bool)>,
    /// The number of bytes that were not captured, or could not be decoded.
    pub(super) lost_bytes: u64,
    /// While message boundaries are unconfirmed: the evidence for them.
    pub(super) watch: Option<Box<Watch>>,
    /// Whether a message was found after an unconfirmed boundary.
    pub(super) is_guessed: bool,
    /// The round-trip times between the capture point and both ends.
    pub(super) round_trips: RoundTrips,
    /// Since when the client's receive window is full, if it is.
    pub(super) full_since: Option<Timestamp>,
    /// Whether the sink knows that [something is missing](Connection::incomplete_since).
    pub(super) is_incomplete: bool,
}

impl ConnectionInfo {
    /// Returns the header of a record of this time.
    #[inline(always)]
    pub(super) fn header(&self, ts: Timestamp) -> Header<'_> {
        Header { ts, conn: self.conn, client: &self.client_text, server: &self.server_text }
    }

    /// Determines whether the session is selected, as far as is known.
    pub(super) fn select(&mut self, only: &Only, identity: &Identity<'_>) {
        self.selected = only.selects(self.conn, self.client, identity);
    }

    /// Returns the process ID of the server's process, as the user knows it.
    pub(super) fn known_process(&self) -> Option<i32> {
        self.known.as_ref().and_then(|known| known.process_id)
    }

    /// Returns whether records of the session are emitted.
    #[inline(always)]
    pub(super) fn is_wanted(&self) -> bool {
        self.selected == Some(true)
    }

    /// Returns the packet to which a record is assigned: `origin`, or a later packet of the connection without which the record
    /// could not be emitted, such as one that filled a hole. So records are sorted by packet.
    pub(super) fn dated(&self, origin: Origin) -> Origin {
        origin.or_later(self.last_line)
    }

    /// Like [`Self::dated`], for a record emitted or bytes processed now.
    #[inline(always)]
    pub(super) fn date(&mut self, origin: Origin) -> Origin {
        self.last_line = self.dated(origin);
        self.last_line
    }
}

impl Connection {
    pub(super) fn new(
        segment: &Segment<'_>,
        config: &Config,
        (shard, room): (ShardId, &Total),
        origin: Origin,
    ) -> Self {
        // A startup packet proves the beginning of a connection as well as a SYN does.
        let begins_with_startup = !segment.syn && opening::begins_with_startup(segment.payload);
        let begins = segment.syn || begins_with_startup;
        let (client, server) = ends(segment, config);
        let mut connection = Self {
            serial: origin.packet,
            shard,
            place: (0, 0),
            rival: None,
            successor: None,
            last_data: PerDirection::default(),
            last: origin,
            tcp: Conversation::new(config.max_early),
            framers: PerDirection::new(|direction| Framer::new(direction, config.max_message)),
            session: if begins { Session::new(room) } else { Session::midstream(room) },
            tls: None,
            undecided_tls: None,
            is_waiting: false,
            ended: None,
            ahead: HeldAuth::default(),
            opening: PerDirection::default(),
            replied: origin,
            deferred_losses: Vec::new(),
            accounted: 0,
            info: ConnectionInfo {
                conn: 0,
                client,
                server,
                client_text: client.to_string().into(),
                server_text: server.to_string().into(),
                community_id: CommunityId::new(client, server),
                seq: 0,
                last_line: Origin::default(),
                encrypted: PerDirection::default(),
                tls: None,
                gss_packets: PerDirection::default(),
                is_encryption_reported: false,
                search_reason: PerDirection::default(),
                selected: None,
                withheld: Vec::new(),
                known: None,
                first_packet: origin.packet,
                known_since: origin.packet,
                started: origin.ts,
                syn_at: (segment.syn && segment.ack.is_none()).then_some(origin.ts),
                is_midstream: !begins,
                is_named: config.names(client.port) || config.names(server.port),
                unread: PerDirection::default(),
                closed_by: None,
                lost_bytes: 0,
                watch: None,
                is_guessed: false,
                round_trips: RoundTrips::default(),
                full_since: None,
                is_incomplete: false,
            },
        };
        connection.info.select(&config.only, &Identity::default());
        if begins_with_startup {
            connection.tcp.begins_with(Direction::Frontend, segment);
            // An incomplete value may contain what looks like a startup packet.
            connection.framers.frontend.doubt();
            connection.framers.backend.doubt();
        }
        if !begins {
            if !connection.info.is_named {
                connection.session.recognize_foreign();
            } else if handshake::is_record(segment.payload) {
                connection.session.encrypt(Encryption::Tls);
            }
            for direction in Direction::BOTH {
                connection.search(direction, Reason::Midstream);
            }
        }
        connection
    }

    /// Creates the state of a connection that these SYNs opened, and whose first data is in `segment`.
    pub(super) fn opened(
        OpenedBy { syns, at, syn_at, handshake }: &OpenedBy,
        segment: &Segment<'_>,
        config: &Config,
        room: (ShardId, &Total),
        origin: Origin,
    ) -> Self {
        let first = syns.iter().flatten().next().unwrap_or(segment);
        let mut connection = Self::new(first, config, room, origin);
        (connection.info.started, connection.info.syn_at) = (*at, *syn_at);
        connection.info.round_trips.handshake(*handshake);
        for syn in syns.iter().flatten() {
            connection.tcp.accept(connection.direction_of(syn), syn, origin);
        }
        connection
    }

    pub(super) fn direction_of(&self, segment: &Segment<'_>) -> Direction {
        if segment.source == self.info.client { Direction::Frontend } else { Direction::Backend }
    }

    /// Returns whether the connection was identified as PostgreSQL's.
    pub(super) fn is_counted(&self) -> bool {
        self.info.conn > 0 && self.session.route(Direction::Frontend) != Route::Foreign
    }

    /// Returns whether a segment without SYN, FIN and RST can change only the state of the connection and of its shard: it has a
    /// number, is ready for requests, is not encrypted, and has not ended.
    pub(super) fn is_steady(&self) -> bool {
        self.info.conn > 0
            && self.info.seq > 1
            && self.session.is_steady()
            && self.tls.is_none()
            && self.undecided_tls.is_none()
            && self.info.closed_by.is_none()
            && self.rival.is_none()
            && self.successor.is_none()
    }

    /// Returns the packet with the last new bytes.
    pub(super) fn active(&self) -> Origin {
        let PerDirection { frontend, backend } = self.last_data;
        frontend.or_later(backend)
    }

    /// Returns the time of the last new bytes, or of the beginning of the connection.
    pub(super) fn active_at(&self) -> Timestamp {
        let active = self.active();
        if active.packet > 0 { active.ts } else { self.info.started }
    }

    /// Returns the last packet.
    pub(super) fn last(&self) -> Origin {
        self.active().or_later(self.last)
    }

    pub(super) fn search(&mut self, direction: Direction, reason: Reason) {
        self.framers.get_mut(direction).lose();
        self.info.search_reason.get_mut(direction).get_or_insert(reason);
    }

    /// Defers the report of a loss. The number of deferred losses is limited.
    pub(super) fn defer_loss(&mut self, deferred: DeferredLoss) {
        const MAX: usize = 8;
        let is_full = self.deferred_losses.len() >= MAX;
        let mut before = self.deferred_losses.iter_mut().rev();
        match before.find(|before| is_full && before.dir == deferred.dir && before.reason == deferred.reason) {
            Some(before) => {
                before.bytes = before.bytes.saturating_add(deferred.bytes);
                let skipped = before.skipped.unwrap_or_default() + deferred.skipped.unwrap_or_default();
                before.skipped = Some(skipped).filter(|skipped| *skipped > 0);
            }
            None => self.deferred_losses.push(deferred),
        }
    }

    /// Returns whether the server's next bytes belong to a session of protocol 2.0, which is not decoded unless it rejects the
    /// client.
    pub(super) fn is_unread(&self, direction: Direction, bytes: &[u8]) -> bool {
        direction == Direction::Backend
            && self.session.is_refused()
            && self.framers.backend.is_between_frames()
            && bytes.first() != Some(&backend::ERROR_RESPONSE)
    }

    /// Continues after a RST that the hosts ignored, because it was forged or belongs to another connection.
    pub(super) fn discard_reset(&mut self) {
        self.tcp.forget_reset();
        self.ended = None;
        self.info.closed_by = self.info.closed_by.filter(|(_, is_reset)| !is_reset);
    }

    /// Returns whether the unencrypted bytes of a direction so far end at a message boundary.
    pub(super) fn is_between_messages(&self, direction: Direction) -> bool {
        self.tls.is_none()
            && self.session.route(direction) == Route::Messages(Framing::Tagged)
            && self.framers.get(direction).is_between_frames()
    }

    /// Records that a side sends data, which may confirm unconfirmed boundaries.
    #[inline]
    pub(super) fn observe_send(&mut self, direction: Direction) {
        if self.framers.frontend.is_guessed() | self.framers.backend.is_guessed() {
            self.watch(direction);
        } else if self.info.watch.is_some() {
            // The connection is decrypted now, and the boundaries are those of a new stream.
            self.info.watch = None;
        }
    }

    /// Records the receive window that the client announces.
    #[inline(always)]
    pub(super) fn observe_window(&mut self, window: u16, ack: u32, ts: Timestamp) {
        if window == 0 || self.info.full_since.is_some() {
            self.observe_full_window(window, ack, ts);
        }
    }

    #[cold]
    fn observe_full_window(&mut self, window: u16, ack: u32, ts: Timestamp) {
        let Self { info, session, .. } = self;
        match info.full_since {
            Some(since) if window > 0 => {
                session.dialogue_mut().stall(since, ts);
                info.full_since = None;
            }
            Some(_) => {}
            // A client may delay the acknowledgment that shows it. But no window ever shrinks: since all that was sent just fills
            // it, no more could be sent before, however soon it had been acknowledged.
            None if window == 0 => {
                let filled_at = info.round_trips.filled_at(Direction::Backend, ack);
                let shown_at = filled_at.zip(info.round_trips.of(Direction::Frontend));
                info.full_since = Some(shown_at.map_or(ts, |(at, round_trip)| at.later(round_trip).min(ts)));
            }
            None => {}
        }
    }

    #[cold]
    fn watch(&mut self, direction: Direction) {
        let Self { framers, info, session, .. } = self;
        let are_at_boundary = framers.frontend.is_at_boundary() && framers.backend.is_at_boundary();
        let is_first = info.seq == 0;
        let watch = info.watch.get_or_insert_with(|| Box::new(Watch::new(is_first)));
        if watch.observe_send(direction, are_at_boundary) {
            session.facts_mut().confirm(watch.has_started());
            info.watch = None;
            framers.frontend.confirm();
            framers.backend.confirm();
        }
    }

    /// Returns whether data of the connection waits for keys.
    pub(super) fn waits(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.waits_since().is_some())
    }

    /// Returns the time since which there are no records of what was sent, if bytes or keys are missing that may still arrive.
    pub(super) fn incomplete_since(&self) -> Option<Timestamp> {
        let is_missing = |direction| self.waits() || self.tcp.has_undelivered(direction);
        let missing = Direction::BOTH.into_iter().filter(|direction| is_missing(*direction));
        missing.map(|direction| self.last_data.get(direction).ts.max(self.info.started)).min()
    }

    pub(super) fn held(&self) -> usize {
        let framers = self.framers.frontend.held() + self.framers.backend.held();
        let tls = self.tls.as_ref().or(self.undecided_tls.as_ref()).map_or(0, |tls| tls.held());
        let facts = self.info.tls.as_ref().map_or(0, |facts| facts.held());
        let watch = self.info.watch.as_ref().map_or(0, |watch| watch.held());
        let opening = self.opening.frontend.capacity() + self.opening.backend.capacity() + self.ahead.held();
        let successor = self.successor.as_ref().map_or(0, |successor| successor.len() as usize);
        successor + self.tcp.held() + self.tcp.recent() + framers + tls + facts + watch + opening + self.session.held()
    }
}

/// Returns the client and the server of a connection: determined by port, otherwise by SYN, otherwise by content. A configured
/// port is stronger evidence than a SYN, because both ends send one in a simultaneous open.
fn ends(segment: &Segment<'_>, config: &Config) -> (Endpoint, Endpoint) {
    let from_client = (segment.source, segment.destination);
    let from_server = (segment.destination, segment.source);
    let is_server = |end: Endpoint| config.names(end.port);
    match (is_server(segment.source), is_server(segment.destination)) {
        (false, true) => from_client,
        (true, false) => from_server,
        _ if segment.syn && segment.ack.is_none() => from_client,
        _ if segment.syn => from_server,
        _ if opening::begins_with_startup(segment.payload) => from_client,
        _ => {
            let begins_like = |direction| resync::begins_with_message(direction, segment.payload);
            let backend = begins_like(Direction::Backend) && !begins_like(Direction::Frontend);
            if backend { from_server } else { from_client }
        }
    }
}
