//! What a dissector follows, which records it emits, and its limits.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::packet::{Endpoint, Segment};
use crate::pg::text::Text;
use crate::redaction::Redaction;
use crate::session::facts::Identity;

/// What a [`Dissector`](super::Dissector) follows, which records it emits, and its limits.
///
/// Limits are in bytes unless stated otherwise. A limit of 0 is allowed, and keeps nothing.
///
/// ```
/// use pgdissect::{Config, Records, Redaction};
///
/// // Lines of requests and sessions, of servers on two ports, with no data in them.
/// let config = Config {
///     ports: Some(vec![5432, 6432]),
///     records: Records { queries: true, sessions: true, ..Records::NONE },
///     redaction: Redaction::Values,
///     ..Config::default()
/// };
/// # let _ = config;
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// The TCP ports of servers. `None` follows any TCP connection that begins as PostgreSQL's do; an empty list names no port.
    /// Default: 5432.
    pub ports: Option<Vec<u16>>,
    /// Whether connections on other ports are followed as well, if they begin as PostgreSQL's do. Default: no.
    pub other_ports: bool,
    /// Which of the connections are followed, if not all: packets of the others are only counted. Default: all.
    pub partition: Option<Partition>,
    /// The longest message body that is kept completely. The bytes beyond it are counted in
    /// [`missing`](crate::record::MessageRecord::missing). Default: 16 MiB.
    pub max_message: usize,
    /// How many bytes of out-of-order segments are held for one connection before the bytes missing before them are given up.
    /// With 0, every out-of-order segment causes a loss. Default: 8 MiB.
    pub max_early: usize,
    /// How many bytes of out-of-order segments and incomplete messages are held for all connections together. Beyond this, the
    /// connections that have been idle longest free theirs. Default: 256 MiB.
    pub max_held: usize,
    /// How many connections are followed at a time. Beyond this, the least recently used is given up; at least one is followed.
    /// Default: 65,536.
    pub max_connections: usize,
    /// How many bytes of prepared statements' SQL are kept, and as many again of all other session state. Beyond this, the least
    /// recently used state is forgotten. Default: 64 MiB.
    pub max_remembered: usize,
    /// What is replaced by `***` or by its shape. Default: secrets.
    pub redaction: Redaction,
    /// Whether rows are written as objects keyed by column name, if the names are known, instead of arrays. Default: no.
    pub named_rows: bool,
    /// Which records are emitted. Default: those of messages and of loss.
    pub records: Records,
    /// Whether the bytes of the WAL in physical replication streams are written, and not only counted. They contain hashes of
    /// passwords. Default: no.
    pub shows_wal: bool,
    /// The same, for base backups. Default: no.
    pub shows_backups: bool,
    /// The sessions for which records are emitted. Default: all.
    pub only: Only,
    /// Who the sessions are that began before the capture, by the address and port of their clients. Default: none are known.
    ///
    /// It applies to connections whose beginning was not captured, until it is seen that another one has begun. Their records have
    /// the flag [`from_file`](crate::record::Flags::from_file). What the session itself shows later is believed instead.
    pub known_sessions: HashMap<Endpoint, KnownSession>,
    /// Whether a Parse or Bind without an Execute has the record of a request, as it has a line in a server's log: its outcome is `ok`,
    /// and it has no command tags. Default: no.
    pub parses: bool,
    /// Whether fast paths are used. The records are the same, byte for byte; tests and fuzzing compare them.
    #[doc(hidden)]
    pub fast_paths: bool,
}

impl Config {
    /// Returns whether a port is one of the configured server ports.
    pub(super) fn names(&self, port: u16) -> bool {
        self.ports.as_ref().is_some_and(|ports| ports.contains(&port))
    }

    /// Returns whether a segment may begin a connection that is followed.
    pub(super) fn is_of_interest(&self, segment: &Segment<'_>) -> bool {
        let port_fits = self.ports.is_none()
            || self.other_ports
            || self.names(segment.source.port)
            || self.names(segment.destination.port);
        let may_begin = port_fits && (segment.syn || segment.has_payload()) && !segment.rst;
        may_begin && self.partition.is_none_or(|partition| partition.has(segment, self))
    }
}

/// A part of all connections, of a number of parts: so that several processes can share one capture without cutting a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Which one, from 0 to `count` - 1.
    pub index: u32,
    /// How many parts there are; at least 1.
    pub count: u32,
    /// Whether the connections of a client's host stay together, and not only the packets of a connection.
    pub by_host: bool,
}

impl Partition {
    /// Returns whether a connection is in it, by any of its segments.
    ///
    /// With `mix` the finalizer of SplitMix64, an address is `mix(mix(high) ^ low)` of the halves of its IPv6 form (IPv4: mapped), an end
    /// is `mix(address ^ port)`, and a connection is `mix` of the wrapping sum of both ends. By host, it is the address of the end whose
    /// port is none of a server's, or `mix` of the wrapping sum of both addresses, if there is not exactly one. The part is the remainder
    /// of this by `count`. It is the same on every machine, and in every version.
    fn has(self, segment: &Segment<'_>, config: &Config) -> bool {
        let Segment { source, destination, .. } = *segment;
        let hash = if self.by_host {
            match (config.names(source.port), config.names(destination.port)) {
                (false, true) => hash_address(source),
                (true, false) => hash_address(destination),
                _ => mix(hash_address(source).wrapping_add(hash_address(destination))),
            }
        } else {
            mix(hash_end(source).wrapping_add(hash_end(destination)))
        };
        hash % u64::from(self.count.max(1)) == u64::from(self.index)
    }
}

fn hash_end(end: Endpoint) -> u64 {
    mix(hash_address(end) ^ u64::from(end.port))
}

fn hash_address(end: Endpoint) -> u64 {
    let bits = match end.addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().to_bits(),
        IpAddr::V6(addr) => addr.to_bits(),
    };
    mix(mix((bits >> 64) as u64) ^ bits as u64)
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators").
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Who a session is, as pg_stat_activity has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownSession {
    /// The user.
    pub user: Option<Vec<u8>>,
    /// The database.
    pub database: Option<Vec<u8>>,
    /// The application's name.
    pub application: Option<Vec<u8>>,
    /// The process ID of the server's process.
    pub process_id: Option<i32>,
}

impl KnownSession {
    pub(super) fn identity(&self) -> Identity<'_> {
        let Self { user, database, application, .. } = self;
        let [user, database, application] = [user, database, application].map(|name| name.as_deref().map(Text::utf8));
        Identity { user, database, application }
    }
}

/// The sessions for which records are emitted: those of one of the connections, from one of the clients, of one of the users, in
/// one of the databases, with one of the application names. An empty list matches every session; an unknown name matches no other
/// list.
///
/// A loss of a connection is emitted once it is known that the session matches; if that never is, it is passed to
/// [`Sink::undecided_loss`](super::Sink::undecided_loss).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// Numbers of connections.
    pub connections: Vec<u64>,
    /// Addresses of clients.
    pub clients: Vec<Clients>,
    /// Names of users.
    pub users: Vec<Vec<u8>>,
    /// Names of databases.
    pub databases: Vec<Vec<u8>>,
    /// Names of applications.
    pub applications: Vec<Vec<u8>>,
}

impl Only {
    /// Returns whether a session matches; `None` while too little is known of it. Its number is 0 if it has none yet.
    pub(super) fn selects(&self, conn: u64, client: Endpoint, identity: &Identity<'_>) -> Option<bool> {
        let among = |wanted: &[Vec<u8>], name: Option<Text<'_>>| {
            if wanted.is_empty() { Some(true) } else { name.map(|name| wanted.iter().any(|wanted| wanted == name.0)) }
        };
        let is_client = self.clients.is_empty() || self.clients.iter().any(|clients| clients.contains(client));
        let has_number = match conn {
            _ if self.connections.is_empty() => Some(true),
            0 => None,
            conn => Some(self.connections.contains(&conn)),
        };
        let each = [
            Some(is_client),
            has_number,
            among(&self.users, identity.user),
            among(&self.databases, identity.database),
            among(&self.applications, identity.application),
        ];
        if each.contains(&Some(false)) { Some(false) } else { (!each.contains(&None)).then_some(true) }
    }
}

/// Addresses of clients: those of a network, or one, with any port or one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clients {
    /// The address, or one of the network.
    pub addr: IpAddr,
    /// The number of leading bits that all addresses of the network share: 32 or 128 for one address.
    pub prefix: u8,
    /// The port; `None` for any.
    pub port: Option<u16>,
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addr, prefix, port } = *self;
        let is_one = u32::from(prefix) == if addr.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
        match port {
            Some(port) if is_one => Endpoint { addr, port }.fmt(f),
            Some(port) => write!(f, "{addr}/{prefix} port {port}"),
            None if is_one => addr.fmt(f),
            None => write!(f, "{addr}/{prefix}"),
        }
    }
}

impl Clients {
    /// Returns whether an endpoint is one of these.
    pub(crate) fn contains(&self, client: Endpoint) -> bool {
        let differing = match (self.addr, client.addr) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            _ => return false,
        };
        differing >= self.prefix.into() && self.port.is_none_or(|port| port == client.port)
    }
}

/// Which records are emitted besides those of loss. A record that is not emitted costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records {
    /// One for each message.
    pub messages: bool,
    /// One for each executed request, when it has ended.
    pub queries: bool,
    /// One for each session that is ready, and one when it has ended.
    pub sessions: bool,
    /// One for each change in a logical replication stream, and one for the fate of each transaction. With these,
    /// [`Sink::replication`](super::Sink::replication) is called.
    pub changes: bool,
    /// Whether that is called for every message, so that what streams and backups do can be counted. Without it, messages with nothing
    /// but changes of rows may be left out.
    pub streams: bool,
}

impl Records {
    /// All of them.
    pub const ALL: Self = Self { messages: true, queries: true, sessions: true, changes: true, streams: true };

    /// None of them.
    pub const NONE: Self = Self { messages: false, queries: false, sessions: false, changes: false, streams: false };
}

impl Default for Records {
    fn default() -> Self {
        Self { messages: true, ..Self::NONE }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ports: Some(vec![5432]),
            other_ports: false,
            partition: None,
            max_message: 16 << 20,
            max_early: 8 << 20,
            max_held: 256 << 20,
            max_connections: 65_536,
            max_remembered: 64 << 20,
            redaction: Redaction::default(),
            named_rows: false,
            records: Records::default(),
            shows_wal: false,
            shows_backups: false,
            only: Only::default(),
            known_sessions: HashMap::new(),
            parses: false,
            fast_paths: true,
        }
    }
}
