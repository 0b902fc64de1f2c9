//! One connection: what is kept of it between packets.

use super::table::HalfOpen;
use super::watch::Watch;
use super::{Config, Only};
use crate::direction::{Direction, PerDirection};
use crate::packet::{Endpoint, Origin, Segment};
use crate::pg::framer::Framer;
use crate::pg::gssenc::GssPackets;
use crate::pg::resync;
use crate::record::Reason;
use crate::session::budget::Total;
use crate::session::opening::{self, Opening};
use crate::session::shared::Home;
use crate::session::{Encryption, Route, Session};
use crate::tcp::conversation::Conversation;
use crate::time::Timestamp;
use crate::tls::facts::Facts;
use crate::tls::handshake;
use crate::tls::session::TlsSession;

/// One connection, from its first packet to its end; apart from what other threads write to.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Connection {
    /// The number of the packet that it began with.
    pub(super) serial: u64,
    /// Where it belongs.
    pub(super) home: Home,
    /// Its place among those that are dissected side by side, and the number of the packet from which on these are.
    pub(super) place: (u64, u32),
    /// When it last brought something new.
    pub(super) active_at: Timestamp,
    pub(super) tcp: Conversation,
    pub(super) framers: PerDirection<Framer>,
    pub(super) session: Session,
    /// Where it is encrypted with TLS.
    pub(super) tls: Option<Box<TlsSession>>,
    /// Where its beginning was not seen, and it is not known what it is: what it is if it is encrypted.
    pub(super) tls_to_be: Option<Box<TlsSession>>,
    /// Whether the engine has noted that it waits for keys.
    pub(super) is_waiting: bool,
    /// With which packet it ended, where it waits for keys beyond its end.
    pub(super) finished: Option<Origin>,
    /// The client's first bytes, while they are too few to tell what they are.
    pub(super) opening: Vec<u8>,
    /// How much of what it holds is in the sum over all connections.
    pub(super) accounted: usize,
    pub(super) about: About,
}

/// What the lines of a connection say of it.
#[derive(Debug)]
pub(super) struct About {
    /// Its number; 0 until it has shown something.
    pub(super) conn: u64,
    pub(super) client: Endpoint,
    pub(super) client_text: Box<str>,
    pub(super) server_text: Box<str>,
    /// Messages so far.
    pub(super) seq: u64,
    /// Encrypted bytes.
    pub(super) encrypted: PerDirection<u64>,
    /// What is known of its TLS session since something was decrypted.
    pub(super) tls: Option<Box<Facts>>,
    /// Packets of GSSAPI encryption.
    pub(super) gss_packets: PerDirection<GssPackets>,
    pub(super) is_encryption_reported: bool,
    /// Why a direction is being searched for a boundary.
    pub(super) search_reason: PerDirection<Option<Reason>>,
    /// Whether its session is one of those that are looked for, as far as it is known.
    pub(super) is_wanted: bool,
    /// Whether it is known to be none of them: what is lost of others is told, for it may be of one.
    pub(super) is_unwanted: bool,
    /// When its first packet was captured.
    pub(super) started: Timestamp,
    /// When the client's SYN was captured.
    pub(super) syn_at: Option<Timestamp>,
    /// Whether it began before the capture.
    pub(super) is_midstream: bool,
    /// Which side closed it first, and whether by a RST.
    pub(super) closed_by: Option<(Direction, bool)>,
    /// Bytes that were not captured, or not understood.
    pub(super) lost_bytes: u64,
    /// While boundaries are a guess: what may confirm them.
    pub(super) watch: Option<Box<Watch>>,
    /// Whether a message was found behind a boundary that was a guess.
    pub(super) is_guessed: bool,
}

impl Connection {
    pub(super) fn new(segment: &Segment<'_>, config: &Config, (home, room): (Home, &Total), origin: Origin) -> Self {
        // A startup packet tells the beginning as well as a SYN does.
        let begins_with_startup = !segment.syn && opening::of_client(segment.payload) == Opening::Startup;
        let begins = segment.syn || begins_with_startup;
        let (client, server) = ends(segment, config);
        let mut connection = Self {
            serial: origin.packet,
            home,
            place: (0, 0),
            active_at: origin.ts,
            tcp: Conversation::new(config.max_early),
            framers: PerDirection::new(|direction| Framer::new(direction, config.max_message)),
            session: if begins { Session::new(room) } else { Session::midstream(room) },
            tls: None,
            tls_to_be: None,
            is_waiting: false,
            finished: None,
            opening: Vec::new(),
            accounted: 0,
            about: About {
                conn: 0,
                client,
                client_text: client.to_string().into(),
                server_text: server.to_string().into(),
                seq: 0,
                encrypted: PerDirection::default(),
                tls: None,
                gss_packets: PerDirection::default(),
                is_encryption_reported: false,
                search_reason: PerDirection::default(),
                is_wanted: config.only == Only::default(),
                is_unwanted: false,
                started: origin.ts,
                syn_at: (segment.syn && segment.ack.is_none()).then_some(origin.ts),
                is_midstream: !begins,
                closed_by: None,
                lost_bytes: 0,
                watch: None,
                is_guessed: false,
            },
        };
        if begins_with_startup {
            connection.tcp.begins_with(Direction::Frontend, segment);
            // A value that is under way can hold what looks like one.
            connection.framers.frontend.doubt();
            connection.framers.backend.doubt();
        }
        if !begins {
            if config.ports.is_none() {
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

    /// The connection that SYNs opened, and that says its first with this segment.
    pub(super) fn opened(
        half_open: &HalfOpen,
        segment: &Segment<'_>,
        config: &Config,
        room: (Home, &Total),
        origin: Origin,
    ) -> Self {
        let mut syns = half_open.syns();
        let mut connection = Self::new(&syns.next().unwrap_or(*segment), config, room, origin);
        (connection.about.started, connection.about.syn_at) = (half_open.at(), half_open.syn_at());
        for syn in half_open.syns() {
            connection.tcp.accept(connection.direction_of(&syn), &syn, origin);
        }
        connection
    }

    pub(super) fn direction_of(&self, segment: &Segment<'_>) -> Direction {
        if segment.source == self.about.client { Direction::Frontend } else { Direction::Backend }
    }

    /// Whether it has shown itself to be PostgreSQL's.
    pub(super) fn is_counted(&self) -> bool {
        self.about.conn > 0 && self.session.route(Direction::Frontend) != Route::Foreign
    }

    /// Whether nothing but its own state, and what its home shares, depends on its next segments, if they neither open nor
    /// close it: it has its number, is ready for requests, in clear, and not about to end.
    pub(super) fn is_steady(&self) -> bool {
        self.about.conn > 0
            && self.about.seq > 1
            && self.session.is_steady()
            && self.tls.is_none()
            && self.tls_to_be.is_none()
            && self.about.closed_by.is_none()
    }

    pub(super) fn search(&mut self, direction: Direction, reason: Reason) {
        self.framers.get_mut(direction).lose();
        self.about.search_reason.get_mut(direction).get_or_insert(reason);
    }

    /// A side speaks. Where boundaries are a guess, this may confirm them.
    #[inline]
    pub(super) fn speaks(&mut self, direction: Direction) {
        if self.framers.frontend.is_guessed() | self.framers.backend.is_guessed() {
            self.watch(direction);
        } else if self.about.watch.is_some() {
            // They begin anew: the connection is decrypted.
            self.about.watch = None;
        }
    }

    #[cold]
    fn watch(&mut self, direction: Direction) {
        let Self { framers, about, session, .. } = self;
        let are_at_boundary = framers.frontend.is_at_boundary() && framers.backend.is_at_boundary();
        let is_first = about.seq == 0;
        let watch = about.watch.get_or_insert_with(|| Box::new(Watch::new(is_first)));
        if watch.speaks(direction, are_at_boundary) {
            session.facts_mut().confirm(watch.has_started());
            about.watch = None;
            framers.frontend.confirm();
            framers.backend.confirm();
        }
    }

    /// Whether something of it waits for keys.
    pub(super) fn waits(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.waits_since().is_some())
    }

    pub(super) fn held(&self) -> usize {
        let framers = self.framers.frontend.held() + self.framers.backend.held();
        let tls = self.tls.as_ref().or(self.tls_to_be.as_ref()).map_or(0, |tls| tls.held());
        let facts = self.about.tls.as_ref().map_or(0, |facts| facts.held())
            + self.about.watch.as_ref().map_or(0, |watch| watch.held());
        self.tcp.held() + self.tcp.recent() + framers + tls + facts + self.opening.capacity() + self.session.held()
    }
}

/// Which end of a connection is the client, and which the server: by port, else by SYN, else by content. A port that is
/// known tells more than a SYN, which both ends send where they open the connection at the same time.
fn ends(segment: &Segment<'_>, config: &Config) -> (Endpoint, Endpoint) {
    let from_client = (segment.source, segment.destination);
    let from_server = (segment.destination, segment.source);
    let is_server = |end: Endpoint| config.ports.as_ref().is_some_and(|ports| ports.contains(&end.port));
    match (is_server(segment.source), is_server(segment.destination)) {
        (false, true) => from_client,
        (true, false) => from_server,
        _ if segment.syn && segment.ack.is_none() => from_client,
        _ if segment.syn => from_server,
        _ if opening::of_client(segment.payload) == Opening::Startup => from_client,
        _ => {
            let begins_like = |direction| resync::begins_with_message(direction, segment.payload);
            let backend = begins_like(Direction::Backend) && !begins_like(Direction::Frontend);
            if backend { from_server } else { from_client }
        }
    }
}
