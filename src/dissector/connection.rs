//! One connection: what is kept of it between packets.

use super::connection_table::{HalfOpen, OpenedBy};
use super::successor::Successor;
use super::watch::Watch;
use super::{Config, Only};
use crate::direction::{Direction, PerDirection};
use crate::packet::{Endpoint, Origin, Segment};
use crate::pg::framer::{Framer, Framing};
use crate::pg::gssenc::GssPackets;
use crate::pg::message_table::backend;
use crate::pg::resync;
use crate::record::{Header, Reason};
use crate::session::budget::Total;
use crate::session::opening;
use crate::session::shared::ShardId;
use crate::session::{Encryption, Route, Session};
use crate::tcp::conversation::Conversation;
use crate::time::Timestamp;
use crate::tls::facts::Facts;
use crate::tls::handshake;
use crate::tls::session::TlsSession;

/// One connection, from its first packet to its end.
#[derive(Debug)]
pub(super) struct Connection {
    /// The number of the packet that it began with.
    pub(super) serial: u64,
    /// Where it belongs.
    pub(super) shard: ShardId,
    /// Its place among those that are dissected side by side, and the number of the packet from which on these are.
    pub(super) place: (u64, u32),
    pub(super) tcp: Conversation,
    /// SYNs of another connection between the same ends, which may yet replace it.
    pub(super) rival: Option<Box<HalfOpen>>,
    /// What may be the beginning of another, though no SYN of that was captured.
    pub(super) successor: Option<Box<Successor>>,
    /// What brought the last bytes of each direction that were new.
    pub(super) fed: PerDirection<Origin>,
    /// Its last packet of those that brought none.
    pub(super) last: Origin,
    pub(super) framers: PerDirection<Framer>,
    pub(super) session: Session,
    /// Where it is encrypted with TLS.
    pub(super) tls: Option<Box<TlsSession>>,
    /// Where its beginning was not seen, and it is not known what it is: what it is if it is encrypted.
    pub(super) undecided_tls: Option<Box<TlsSession>>,
    /// Whether the engine has noted that it waits for keys.
    pub(super) is_waiting: bool,
    /// With which packet it ended: it is listened to beyond that, for what was in flight, or while it waits for keys.
    pub(super) ended: Option<Origin>,
    /// What the client has sent ahead.
    pub(super) ahead: HeldAuth,
    /// The first bytes of each side, while they are too few to tell what they are.
    pub(super) opening: PerDirection<Vec<u8>>,
    /// With which packet those of the server began.
    pub(super) replied: Origin,
    /// What is to be said once it is known that the connection is PostgreSQL's.
    pub(super) unsaid: Vec<Unsaid>,
    /// How much of what it holds is in the sum over all connections.
    pub(super) accounted: usize,
    pub(super) info: ConnectionInfo,
}

/// How many bytes a client may send ahead, and in how many pieces: a password and the requests that it then is to send.
const MAX_AHEAD: (usize, usize) = (32 * 1024, 256);

/// What a client has sent to show who it is, and all behind it, before the server has said how it is to do that. What it is
/// depends on what it will be asked.
#[derive(Debug, Default)]
pub(super) struct HeldAuth {
    bytes: Vec<u8>,
    /// How many bytes came with a packet.
    pieces: Vec<(usize, Origin)>,
}

impl HeldAuth {
    pub(super) const fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Keeps the next bytes. False where there is no room for more.
    pub(super) fn keep(&mut self, bytes: &[u8], origin: Origin) -> bool {
        let has_room = self.bytes.len() + bytes.len() <= MAX_AHEAD.0 && self.pieces.len() < MAX_AHEAD.1;
        if has_room {
            self.bytes.extend_from_slice(bytes);
            self.pieces.push((bytes.len(), origin));
        }
        has_room
    }

    /// What came with each packet.
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

/// Bytes that are missing, or came twice, while it is not known what a connection is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsaid {
    pub(super) origin: Origin,
    pub(super) dir: Direction,
    pub(super) bytes: u64,
    pub(super) offset: Option<u64>,
    pub(super) reason: Reason,
    pub(super) skipped: Option<u64>,
    pub(super) detail: Option<&'static str>,
}

/// What the lines of a connection say of it.
#[derive(Debug)]
pub(super) struct ConnectionInfo {
    /// Its number; 0 until it has shown something.
    pub(super) conn: u64,
    pub(super) client: Endpoint,
    pub(super) client_text: Box<str>,
    pub(super) server_text: Box<str>,
    /// Messages so far.
    pub(super) seq: u64,
    /// The packet that its last line is dated by, and what was read last.
    pub(super) last_line: Origin,
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
    /// Whether one of its ports is named as a server's. Of others, nothing is said unless they are PostgreSQL's.
    pub(super) is_named: bool,
    /// Bytes of a protocol that is PostgreSQL's and not read.
    pub(super) unread: PerDirection<u64>,
    /// Which side closed it first, and whether by a RST.
    pub(super) closed_by: Option<(Direction, bool)>,
    /// Bytes that were not captured, or not understood.
    pub(super) lost_bytes: u64,
    /// While boundaries are a guess: what may confirm them.
    pub(super) watch: Option<Box<Watch>>,
    /// Whether a message was found behind a boundary that was a guess.
    pub(super) is_guessed: bool,
}

impl ConnectionInfo {
    /// Returns what a record of this time begins with.
    #[inline(always)]
    pub(super) fn header(&self, ts: Timestamp) -> Header<'_> {
        Header { ts, conn: self.conn, client: &self.client_text, server: &self.server_text }
    }

    /// By which packet a line is dated, where this one brought what it says: by this, or by a later one of the connection
    /// without which it could not be said, such as one that filled a hole. So lines are in the order of their packets.
    pub(super) fn dated(&self, origin: Origin) -> Origin {
        origin.or_later(self.last_line)
    }

    /// The same, for what is said or read now.
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
        // A startup packet tells the beginning as well as a SYN does.
        let begins_with_startup = !segment.syn && opening::begins_with_startup(segment.payload);
        let begins = segment.syn || begins_with_startup;
        let (client, server) = ends(segment, config);
        let mut connection = Self {
            serial: origin.packet,
            shard,
            place: (0, 0),
            rival: None,
            successor: None,
            fed: PerDirection::default(),
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
            unsaid: Vec::new(),
            accounted: 0,
            info: ConnectionInfo {
                conn: 0,
                client,
                client_text: client.to_string().into(),
                server_text: server.to_string().into(),
                seq: 0,
                last_line: Origin::default(),
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
                is_named: config.names(client.port) || config.names(server.port),
                unread: PerDirection::default(),
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

    /// The connection that SYNs opened, and that says its first with this segment.
    pub(super) fn opened(
        OpenedBy { syns, at, syn_at }: &OpenedBy,
        segment: &Segment<'_>,
        config: &Config,
        room: (ShardId, &Total),
        origin: Origin,
    ) -> Self {
        let first = syns.iter().flatten().next().unwrap_or(segment);
        let mut connection = Self::new(first, config, room, origin);
        (connection.info.started, connection.info.syn_at) = (*at, *syn_at);
        for syn in syns.iter().flatten() {
            connection.tcp.accept(connection.direction_of(syn), syn, origin);
        }
        connection
    }

    pub(super) fn direction_of(&self, segment: &Segment<'_>) -> Direction {
        if segment.source == self.info.client { Direction::Frontend } else { Direction::Backend }
    }

    /// Whether it has shown itself to be PostgreSQL's.
    pub(super) fn is_counted(&self) -> bool {
        self.info.conn > 0 && self.session.route(Direction::Frontend) != Route::Foreign
    }

    /// Whether nothing but its own state, and what its home shares, depends on its next segments, if they neither open nor
    /// close it: it has its number, is ready for requests, in clear, and not about to end.
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

    /// What last brought something new.
    pub(super) fn active(&self) -> Origin {
        let PerDirection { frontend, backend } = self.fed;
        frontend.or_later(backend)
    }

    /// When it last brought something new, or else began.
    pub(super) fn active_at(&self) -> Timestamp {
        let active = self.active();
        if active.packet > 0 { active.ts } else { self.info.started }
    }

    /// Its last packet.
    pub(super) fn last(&self) -> Origin {
        self.active().or_later(self.last)
    }

    pub(super) fn search(&mut self, direction: Direction, reason: Reason) {
        self.framers.get_mut(direction).lose();
        self.info.search_reason.get_mut(direction).get_or_insert(reason);
    }

    /// Keeps something to be said later, with no more than a few bytes of memory.
    pub(super) fn leave_unsaid(&mut self, unsaid: Unsaid) {
        const MOST: usize = 8;
        let is_full = self.unsaid.len() >= MOST;
        let mut before = self.unsaid.iter_mut().rev();
        match before.find(|before| is_full && before.dir == unsaid.dir && before.reason == unsaid.reason) {
            Some(before) => {
                before.bytes = before.bytes.saturating_add(unsaid.bytes);
                let skipped = before.skipped.unwrap_or_default() + unsaid.skipped.unwrap_or_default();
                before.skipped = Some(skipped).filter(|skipped| *skipped > 0);
            }
            None => self.unsaid.push(unsaid),
        }
    }

    /// Whether the next bytes of the server are its words in protocol 2.0, which are not read unless they refuse the client.
    pub(super) fn is_unread(&self, direction: Direction, bytes: &[u8]) -> bool {
        direction == Direction::Backend
            && self.session.is_refused()
            && self.framers.backend.is_between_frames()
            && bytes.first() != Some(&backend::ERROR_RESPONSE)
    }

    /// Goes on after a RST that its hosts ignored: it was forged, or belongs to another connection.
    pub(super) fn go_on(&mut self) {
        self.tcp.forget_reset();
        self.ended = None;
        self.info.closed_by = self.info.closed_by.filter(|(_, is_reset)| !is_reset);
    }

    /// Whether the bytes of a direction, in clear, end with a message.
    pub(super) fn is_between_messages(&self, direction: Direction) -> bool {
        self.tls.is_none()
            && self.session.route(direction) == Route::Messages(Framing::Tagged)
            && self.framers.get(direction).is_between_frames()
    }

    /// A side speaks. Where boundaries are a guess, this may confirm them.
    #[inline]
    pub(super) fn speaks(&mut self, direction: Direction) {
        if self.framers.frontend.is_guessed() | self.framers.backend.is_guessed() {
            self.watch(direction);
        } else if self.info.watch.is_some() {
            // They begin anew: the connection is decrypted.
            self.info.watch = None;
        }
    }

    #[cold]
    fn watch(&mut self, direction: Direction) {
        let Self { framers, info, session, .. } = self;
        let are_at_boundary = framers.frontend.is_at_boundary() && framers.backend.is_at_boundary();
        let is_first = info.seq == 0;
        let watch = info.watch.get_or_insert_with(|| Box::new(Watch::new(is_first)));
        if watch.speaks(direction, are_at_boundary) {
            session.facts_mut().confirm(watch.has_started());
            info.watch = None;
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
        let tls = self.tls.as_ref().or(self.undecided_tls.as_ref()).map_or(0, |tls| tls.held());
        let facts = self.info.tls.as_ref().map_or(0, |facts| facts.held());
        let watch = self.info.watch.as_ref().map_or(0, |watch| watch.held());
        let opening = self.opening.frontend.capacity() + self.opening.backend.capacity() + self.ahead.held();
        let successor = self.successor.as_ref().map_or(0, |successor| successor.len() as usize);
        successor + self.tcp.held() + self.tcp.recent() + framers + tls + facts + watch + opening + self.session.held()
    }
}

/// Which end of a connection is the client, and which the server: by port, else by SYN, else by content. A port that is
/// known tells more than a SYN, which both ends send where they open the connection at the same time.
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
