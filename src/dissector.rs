//! The engine: packets in, records out. No I/O, and no clock but the capture's.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::direction::{Direction, PerDirection};
use crate::packet::{self, Endpoint, NotTcp, Packet, Segment};
use crate::pg::framer::{Cut, Ended, Frame, Framer, Framing, Step};
use crate::pg::message::{self, Message};
use crate::pg::resync;
use crate::pg::startup;
use crate::pg::text::{Hex, Sql, Text};
use crate::reader::DecodeError;
use crate::record::{Content, Counters, Flags, LossRecord, MessageRecord, Reason, Record};
use crate::session::opening::{self, Opening};
use crate::session::{Encryption, Route, Session};
use crate::tcp::assembler::Content as TcpContent;
use crate::tcp::conversation::{Accepted, Conversation, Delivery, Origin};
use crate::time::Timestamp;
use crate::tls::handshake;

/// How long a closed connection is remembered, in microseconds of capture time: twice the 60 seconds that a Linux host
/// stays in TIME-WAIT, so that late retransmissions are not taken for a connection that began before the capture.
const REMEMBER_CLOSED: u64 = 120_000_000;

/// How long after a RST a connection is still listened to, in microseconds: what was in flight, or held back in the
/// capture, still comes.
const AFTER_RESET: u64 = 1_000_000;

/// What a [`Dissector`] looks for, and its limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// The ports of servers. None takes any TCP connection that begins as PostgreSQL's do.
    pub ports: Option<Vec<u16>>,
    /// The largest message, in bytes of its body, that is kept whole. The rest of a larger one is counted.
    pub max_message: usize,
    /// How many bytes of early segments are held for a connection, before a hole is taken for real.
    pub max_early: usize,
    /// Whether passwords, keys and proofs are written.
    pub show_secrets: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { ports: Some(vec![5432]), max_message: 16 << 20, max_early: 8 << 20, show_secrets: false }
    }
}

/// Where records go.
pub trait Sink {
    /// Takes a record, which borrows from the packet.
    fn record(&mut self, record: &Record<'_>);
}

impl<F: FnMut(&Record<'_>)> Sink for F {
    fn record(&mut self, record: &Record<'_>) {
        self(record);
    }
}

/// Dissects packets, one after the other.
#[derive(Debug)]
pub struct Dissector {
    config: Config,
    connections: HashMap<Pair, Box<Connection>, foldhash::fast::RandomState>,
    /// Connections that end, or are to be forgotten, at a time.
    closing: BinaryHeap<Reverse<Closing>>,
    counters: Counters,
    now: Timestamp,
}

/// The two ends of a connection, the lesser first, so that both directions find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Pair(Endpoint, Endpoint);

impl Pair {
    fn of(segment: &Segment<'_>) -> Self {
        if segment.source <= segment.destination {
            Self(segment.source, segment.destination)
        } else {
            Self(segment.destination, segment.source)
        }
    }
}

/// A connection that something is to be done about; ordered by when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Closing {
    due: Timestamp,
    /// Tells this connection from a later one of the same ends.
    serial: u64,
    pair: Pair,
}

impl Dissector {
    /// An engine that has seen nothing.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            connections: HashMap::default(),
            closing: BinaryHeap::new(),
            counters: Counters::default(),
            now: Timestamp::default(),
        }
    }

    /// Takes a packet and gives the records that it completes.
    pub fn packet(&mut self, packet: &Packet<'_>, sink: &mut impl Sink) {
        self.counters.packets += 1;
        self.counters.packet_bytes += packet.data.len() as u64;
        self.now = packet.ts;
        let segment = match packet::decode(packet) {
            Ok(segment) => segment,
            Err(why) => {
                *match why {
                    NotTcp::UnknownLink => &mut self.counters.unknown_link_packets,
                    NotTcp::Other => &mut self.counters.other_packets,
                    NotTcp::Fragment => &mut self.counters.fragments,
                    NotTcp::Damaged => &mut self.counters.damaged_packets,
                } += 1;
                return;
            }
        };
        let origin = Origin { packet: self.counters.packets, ts: packet.ts };
        self.segment(&segment, origin, sink);
        self.close_due(sink);
    }

    /// Tells that time has passed without a packet, as in a live capture.
    pub fn tick(&mut self, now: Timestamp, sink: &mut impl Sink) {
        self.now = self.now.max(now);
        self.close_due(sink);
        let origin = Origin { packet: self.counters.packets, ts: self.now };
        for connection in self.connections.values_mut().filter(|connection| connection.tcp.held() > 0) {
            let mut engine = Engine { config: &self.config, counters: &mut self.counters, sink };
            engine.drain(connection, origin.ts);
        }
    }

    /// Ends every connection: what is incomplete is said.
    pub fn finish(&mut self, sink: &mut impl Sink) {
        let origin = Origin { packet: self.counters.packets, ts: self.now };
        let mut left: Vec<_> = self.connections.drain().map(|(_, connection)| connection).collect();
        left.sort_unstable_by_key(|connection| connection.serial);
        let mut engine = Engine { config: &self.config, counters: &mut self.counters, sink };
        for mut connection in left {
            engine.end(&mut connection, origin);
        }
        self.closing.clear();
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        let held: usize = self.connections.values().map(|connection| connection.held()).sum();
        let open = self.connections.values().filter(|connection| connection.is_counted_open());
        Counters { held_bytes: held as u64, open_connections: open.count() as u64, ..self.counters.clone() }
    }

    fn segment(&mut self, segment: &Segment<'_>, origin: Origin, sink: &mut impl Sink) {
        let pair = Pair::of(segment);
        let mut engine = Engine { config: &self.config, counters: &mut self.counters, sink };
        if let Some(connection) = self.connections.get_mut(&pair) {
            let direction = connection.direction_of(segment);
            if connection.tcp.is_reopened_by(direction, segment) {
                engine.end(connection, origin);
                **connection = Connection::new(segment, engine.config, origin);
            }
        } else {
            if !engine.is_of_interest(segment) {
                engine.counters.other_packets += 1;
                return;
            }
            self.connections.insert(pair, Box::new(Connection::new(segment, engine.config, origin)));
        }
        let Some(connection) = self.connections.get_mut(&pair) else { return };
        if !connection.is_open {
            return;
        }
        let was_reset = connection.tcp.is_reset();
        engine.accept(connection, segment, origin);
        let serial = connection.serial;
        if connection.tcp.is_finished() {
            engine.end(connection, origin);
            self.closing.push(Reverse(Closing { due: later(origin.ts, REMEMBER_CLOSED), serial, pair }));
        } else if connection.tcp.is_reset() && !was_reset {
            self.closing.push(Reverse(Closing { due: later(origin.ts, AFTER_RESET), serial, pair }));
        }
    }

    /// Ends and forgets connections whose time has come.
    fn close_due(&mut self, sink: &mut impl Sink) {
        while self.closing.peek().is_some_and(|Reverse(closing)| closing.due <= self.now) {
            let Some(Reverse(closing)) = self.closing.pop() else { return };
            let Some(connection) = self.connections.get_mut(&closing.pair) else { continue };
            if connection.serial != closing.serial {
                continue;
            }
            if connection.is_open {
                let origin = Origin { packet: self.counters.packets, ts: self.now };
                let mut engine = Engine { config: &self.config, counters: &mut self.counters, sink };
                engine.end(connection, origin);
                self.closing.push(Reverse(Closing { due: later(self.now, REMEMBER_CLOSED), ..closing }));
            } else {
                self.connections.remove(&closing.pair);
            }
        }
    }
}

/// The instant so many microseconds later.
fn later(at: Timestamp, micros: u64) -> Timestamp {
    let nanos = i64::try_from(micros.saturating_mul(1_000)).unwrap_or(i64::MAX);
    Timestamp::from_nanos(at.as_nanos().saturating_add(nanos), at.precision())
}

/// One connection, from its first packet to its end.
#[derive(Debug)]
struct Connection {
    /// The number of the packet that it began with.
    serial: u64,
    is_open: bool,
    tcp: Conversation,
    framers: PerDirection<Framer>,
    session: Session,
    /// The client's first bytes, while they are too few to tell what they are.
    opening: Vec<u8>,
    about: About,
}

/// What the lines of a connection say of it.
#[derive(Debug)]
struct About {
    /// Its number; 0 until it has shown something.
    conn: u64,
    client: Endpoint,
    client_text: Box<str>,
    server_text: Box<str>,
    /// Messages so far.
    seq: u64,
    /// Encrypted bytes.
    encrypted: PerDirection<u64>,
    is_encryption_reported: bool,
    /// Why a direction is being searched for a boundary.
    search_reason: PerDirection<Option<Reason>>,
}

impl Connection {
    fn new(segment: &Segment<'_>, config: &Config, origin: Origin) -> Self {
        let begins = segment.syn || opening::of_client(segment.payload) == Opening::Startup;
        let (client, server) = ends(segment, config);
        let mut connection = Self {
            serial: origin.packet,
            is_open: true,
            tcp: Conversation::new(config.max_early),
            framers: PerDirection::new(|direction| Framer::new(direction, config.max_message)),
            session: if begins { Session::new() } else { Session::midstream() },
            opening: Vec::new(),
            about: About {
                conn: 0,
                client,
                client_text: client.to_string().into(),
                server_text: server.to_string().into(),
                seq: 0,
                encrypted: PerDirection::default(),
                is_encryption_reported: false,
                search_reason: PerDirection::default(),
            },
        };
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

    fn direction_of(&self, segment: &Segment<'_>) -> Direction {
        if segment.source == self.about.client { Direction::Frontend } else { Direction::Backend }
    }

    /// Whether it is PostgreSQL's, and not closed.
    fn is_counted_open(&self) -> bool {
        self.is_open && self.about.conn > 0 && self.session.route(Direction::Frontend) != Route::Foreign
    }

    fn search(&mut self, direction: Direction, reason: Reason) {
        self.framers.get_mut(direction).lose();
        self.about.search_reason.get_mut(direction).get_or_insert(reason);
    }

    fn held(&self) -> usize {
        let framers = self.framers.frontend.held() + self.framers.backend.held();
        self.tcp.held() + framers + self.opening.capacity()
    }
}

/// Which end of a connection is the client, and which the server: by SYN, else by port, else by content.
fn ends(segment: &Segment<'_>, config: &Config) -> (Endpoint, Endpoint) {
    let from_client = (segment.source, segment.destination);
    let from_server = (segment.destination, segment.source);
    if segment.syn {
        return if segment.ack.is_none() { from_client } else { from_server };
    }
    let is_server = |end: Endpoint| config.ports.as_ref().is_some_and(|ports| ports.contains(&end.port));
    match (is_server(segment.source), is_server(segment.destination)) {
        (false, true) => from_client,
        (true, false) => from_server,
        _ if opening::of_client(segment.payload) == Opening::Startup => from_client,
        _ => {
            let begins_like = |direction| resync::begins_with_message(direction, segment.payload);
            let backend = begins_like(Direction::Backend) && !begins_like(Direction::Frontend);
            if backend { from_server } else { from_client }
        }
    }
}

/// What dissecting one connection needs beside the connection.
struct Engine<'a, S> {
    config: &'a Config,
    counters: &'a mut Counters,
    sink: &'a mut S,
}

impl<S: Sink> Engine<'_, S> {
    /// Whether a segment may begin a connection that is looked at.
    fn is_of_interest(&self, segment: &Segment<'_>) -> bool {
        let port_fits = self
            .config
            .ports
            .as_ref()
            .is_none_or(|ports| ports.contains(&segment.source.port) || ports.contains(&segment.destination.port));
        let says_something = segment.syn || !segment.payload.is_empty() || segment.snapped > 0;
        port_fits && says_something && !segment.rst
    }

    fn accept(&mut self, connection: &mut Connection, segment: &Segment<'_>, origin: Origin) {
        let direction = connection.direction_of(segment);
        match connection.tcp.accept(direction, segment, origin) {
            Accepted::InOrder(bytes) => self.feed(connection, direction, bytes, origin),
            Accepted::Nothing => {}
        }
        self.drain(connection, origin.ts);
    }

    fn drain(&mut self, connection: &mut Connection, now: Timestamp) {
        while let Some((direction, delivery, origin)) = connection.tcp.pop(now) {
            self.deliver(connection, direction, &delivery, origin);
        }
    }

    fn deliver(&mut self, connection: &mut Connection, direction: Direction, delivery: &Delivery, origin: Origin) {
        match delivery {
            Delivery::Content(TcpContent::Data(bytes)) => self.feed(connection, direction, bytes, origin),
            Delivery::Content(TcpContent::Snapped(bytes)) => {
                self.gap(connection, direction, *bytes, Reason::Snaplen, origin);
            }
            Delivery::Missing(bytes) => self.gap(connection, direction, *bytes, Reason::Missing, origin),
        }
    }

    /// Takes the next bytes of a direction.
    fn feed(&mut self, connection: &mut Connection, direction: Direction, mut bytes: &[u8], origin: Origin) {
        while !bytes.is_empty() {
            match connection.session.route(direction) {
                Route::Messages(framing) => {
                    self.number(&mut connection.about);
                    let Connection { framers, session, about, .. } = connection;
                    let (used, step) = framers.get_mut(direction).next(bytes, framing);
                    let done = step == Step::More;
                    self.step(session, about, direction, step, origin);
                    bytes = bytes.get(used..).unwrap_or_default();
                    if done {
                        return;
                    }
                    if bytes.is_empty() {
                        // What was searched may hold more frames than the one that was handed out.
                        self.rest_of_search(connection, direction, origin);
                    }
                }
                Route::Encrypted => {
                    self.number(&mut connection.about);
                    self.report_encryption(connection, origin);
                    *connection.about.encrypted.get_mut(direction) += bytes.len() as u64;
                    self.counters.encrypted_bytes += bytes.len() as u64;
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

    fn rest_of_search(&mut self, connection: &mut Connection, direction: Direction, origin: Origin) {
        while let Route::Messages(framing) = connection.session.route(direction) {
            let Connection { framers, session, about, .. } = connection;
            let (_, step) = framers.get_mut(direction).next(&[], framing);
            if step == Step::More {
                return;
            }
            self.step(session, about, direction, step, origin);
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

    fn server_speaks_first(&mut self, connection: &mut Connection, bytes: &[u8], origin: Origin) {
        // PostgreSQL's server does so only to say that it cannot serve.
        if bytes.first() == Some(&b'E') {
            connection.session.recognize_startup();
        } else {
            self.foreign(connection, opening::of_server(bytes), origin);
        }
    }

    fn foreign(&mut self, connection: &mut Connection, what: &str, origin: Origin) {
        connection.session.recognize_foreign();
        if self.config.ports.is_some() {
            self.number(&mut connection.about);
            let loss = Loss { reason: Reason::NotPostgresql, detail: Some(what), ..Loss::new(origin) };
            self.lose(&connection.about, &loss);
        }
    }

    fn report_encryption(&mut self, connection: &mut Connection, origin: Origin) {
        if connection.about.is_encryption_reported {
            return;
        }
        connection.about.is_encryption_reported = true;
        let detail = match connection.session.encryption() {
            Some(Encryption::Gssapi) => "GSSAPI encryption: the rest of the connection cannot be read",
            _ => "TLS: the rest of the connection cannot be read without its keys",
        };
        let loss = Loss { reason: Reason::Undecryptable, detail: Some(detail), ..Loss::new(origin) };
        self.lose(&connection.about, &loss);
    }

    /// Bytes of a direction are missing.
    fn gap(&mut self, connection: &mut Connection, direction: Direction, bytes: u64, reason: Reason, origin: Origin) {
        self.number(&mut connection.about);
        let loss = Loss { dir: Some(direction), bytes: Some(bytes), reason, ..Loss::new(origin) };
        self.lose(&connection.about, &loss);
        match connection.session.route(direction) {
            Route::Messages(framing) => {
                let Connection { framers, session, about, .. } = connection;
                let step = framers.get_mut(direction).gap(bytes, framing);
                self.step(session, about, direction, step, origin);
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
    fn step(&mut self, session: &mut Session, about: &mut About, direction: Direction, step: Step<'_>, origin: Origin) {
        match step {
            Step::More => {}
            Step::Frame(frame) => self.frame(session, about, direction, &frame, origin),
            Step::Malformed { tag, len, header, error } => {
                if session.route(direction) == Route::Messages(Framing::Startup) && handshake::is_record(header) {
                    // The answer to its request was lost, but this client was told to go on with TLS.
                    session.encrypt(Encryption::Tls);
                    return;
                }
                let name = message::undecoded_name(direction, tag, &session.context(self.config.show_secrets));
                let content = Content::Undecoded { name, body: Hex(header) };
                let frame = Frame { tag, len, body: &[], missing: 0, cut: None };
                self.message(
                    about,
                    direction,
                    &frame,
                    content,
                    Attributes { error: Some(error), ..Attributes::default() },
                    origin,
                );
                session.lose(direction);
                *about.search_reason.get_mut(direction) = Some(Reason::Malformed);
            }
            Step::Resumed { skipped } => {
                let reason = about.search_reason.get_mut(direction).take().unwrap_or(Reason::Malformed);
                self.counters.skipped_bytes += skipped;
                if skipped > 0 || reason == Reason::Midstream {
                    let loss = Loss { dir: Some(direction), reason, skipped: Some(skipped), ..Loss::new(origin) };
                    self.lose(about, &loss);
                }
            }
        }
    }

    /// Decodes a frame and gives its line.
    fn frame(
        &mut self,
        session: &mut Session,
        about: &mut About,
        direction: Direction,
        frame: &Frame<'_>,
        origin: Origin,
    ) {
        let context = session.context(self.config.show_secrets);
        let decoded = Message::decode(direction, frame, &context);
        let attribution = session.observe(direction, frame.tag, decoded.as_ref().ok(), origin.ts);
        let mut attributes = Attributes {
            query: attribution.query,
            elapsed_us: attribution.elapsed_us,
            flags: Flags { truncated: frame.missing > 0, midstream: false },
            error: None,
        };
        let masked;
        let content = match decoded {
            Ok(mut message) => {
                attributes.flags.midstream = complete(&mut message, session);
                Content::Decoded(message)
            }
            Err(error) => {
                attributes.error = Some(error);
                let name = message::undecoded_name(direction, frame.tag, &context);
                masked = self.masked(direction, frame);
                Content::Undecoded { name, body: Hex(&masked) }
            }
        };
        self.message(about, direction, frame, content, attributes, origin);
        let (reason, detail) = match frame.cut {
            Some(Cut::TooLarge) => (Reason::Limit, "the message is larger than --max-message"),
            Some(Cut::End) => (Reason::Missing, "the stream ended inside a message"),
            // A gap was reported when it was found.
            Some(Cut::Gap) | None => return,
        };
        let bytes = Some(frame.missing);
        self.lose(about, &Loss { dir: Some(direction), bytes, reason, detail: Some(detail), ..Loss::new(origin) });
    }

    /// The first bytes of a body that cannot be decoded, without those that may be secret.
    fn masked<'f>(&self, direction: Direction, frame: &Frame<'f>) -> Cow<'f, [u8]> {
        let is_secret = match (direction, frame.tag) {
            (Direction::Frontend, None) => frame.body.starts_with(&startup::code::CANCEL.to_be_bytes()),
            (Direction::Frontend, Some(tag)) => tag == b'p',
            (Direction::Backend, Some(tag)) => matches!(tag, b'K' | b'R'),
            (Direction::Backend, None) => false,
        };
        if is_secret && !self.config.show_secrets {
            return Cow::Borrowed(&[]);
        }
        Sql { text: Text(Hex::excerpt(frame.body).0), show_secrets: self.config.show_secrets }.masked()
    }

    fn message(
        &mut self,
        about: &mut About,
        direction: Direction,
        frame: &Frame<'_>,
        content: Content<'_>,
        attributes: Attributes,
        origin: Origin,
    ) {
        about.seq += 1;
        self.counters.messages += 1;
        self.counters.undecoded_messages += u64::from(attributes.error.is_some());
        self.sink.record(&Record::Message(MessageRecord {
            ts: origin.ts,
            conn: about.conn,
            client: &about.client_text,
            server: &about.server_text,
            dir: direction,
            seq: about.seq,
            packet: origin.packet,
            tag: frame.tag.map(Into::into),
            len: frame.len,
            content,
            query: attributes.query,
            elapsed_us: attributes.elapsed_us,
            missing: frame.missing,
            flags: attributes.flags,
            error: attributes.error,
        }));
    }

    fn lose(&mut self, about: &About, loss: &Loss<'_>) {
        self.counters.losses += 1;
        if matches!(loss.reason, Reason::Missing | Reason::Snaplen) {
            self.counters.missing_bytes += loss.bytes.unwrap_or_default();
        }
        self.sink.record(&Record::Loss(LossRecord {
            ts: loss.origin.ts,
            conn: about.conn,
            client: &about.client_text,
            server: &about.server_text,
            dir: loss.dir,
            packet: loss.origin.packet,
            bytes: loss.bytes,
            reason: loss.reason,
            skipped: loss.skipped,
            detail: loss.detail,
        }));
    }

    /// Gives a connection its number, where it has none yet.
    fn number(&mut self, about: &mut About) {
        if about.conn == 0 {
            self.counters.connections += 1;
            about.conn = self.counters.connections;
        }
    }

    /// Ends a connection: nothing more will come of it.
    fn end(&mut self, connection: &mut Connection, origin: Origin) {
        if !connection.is_open {
            return;
        }
        while let Some((direction, delivery, origin)) = connection.tcp.pop_at_end(origin) {
            self.deliver(connection, direction, &delivery, origin);
        }
        connection.is_open = false;
        for direction in Direction::BOTH {
            self.end_direction(connection, direction, origin);
            let counters = connection.tcp.counters(direction);
            self.counters.retransmitted_bytes += counters.retransmitted;
            self.counters.out_of_window_bytes += counters.out_of_window;
        }
    }

    fn end_direction(&mut self, connection: &mut Connection, direction: Direction, origin: Origin) {
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
            Route::Encrypted => {
                let bytes = Some(*connection.about.encrypted.get(direction));
                let detail = Some("encrypted bytes in all");
                self.lose(&connection.about, &Loss { reason: Reason::Undecryptable, bytes, detail, ..loss });
            }
            Route::Opening => {
                let bytes = connection.opening.len() as u64;
                if direction == Direction::Frontend && bytes > 0 {
                    self.number(&mut connection.about);
                    let detail = Some("too few bytes to tell the protocol");
                    self.lose(
                        &connection.about,
                        &Loss { skipped: Some(bytes), reason: Reason::Malformed, detail, ..loss },
                    );
                }
            }
            Route::Foreign => {}
        }
    }
}

/// What a line says of a message beside its content.
#[derive(Default)]
struct Attributes {
    query: Option<u64>,
    elapsed_us: Option<u64>,
    flags: Flags,
    error: Option<DecodeError>,
}

/// A report of loss in the making.
#[derive(Clone, Copy)]
struct Loss<'a> {
    origin: Origin,
    dir: Option<Direction>,
    bytes: Option<u64>,
    reason: Reason,
    skipped: Option<u64>,
    detail: Option<&'a str>,
}

impl Loss<'_> {
    const fn new(origin: Origin) -> Self {
        Self { origin, dir: None, bytes: None, reason: Reason::Missing, skipped: None, detail: None }
    }
}

/// Gives a message what only the session knows of it. Says whether something that it depends on was never seen.
fn complete<'a>(message: &mut Message<'a>, session: &'a Session) -> bool {
    match message {
        Message::DataRow(row) => {
            row.values.formats = session.row_formats();
            row.values.formats.is_unknown() && !row.values.list.is_empty()
        }
        Message::FunctionCallResponse(response) => {
            response.value.format = session.row_formats().get(0);
            response.value.format.is_none()
        }
        Message::CopyData(copy) => copy.data.format.is_none(),
        Message::UnknownAuthenticationResponse(_) => true,
        _ => false,
    }
}
