//! What a dissector follows, which records it emits, and its limits.

use crate::packet::Segment;
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
///     records: Records { messages: false, queries: true, sessions: true },
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
    /// The sessions for which records are emitted. Default: all.
    pub only: Only,
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
        port_fits && (segment.syn || segment.has_payload()) && !segment.rst
    }
}

/// The sessions for which records are emitted: those of one of the users, in one of the databases, with one of the application
/// names. An empty list matches every session; an unknown name matches no other list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// Names of users.
    pub users: Vec<Vec<u8>>,
    /// Names of databases.
    pub databases: Vec<Vec<u8>>,
    /// Names of applications.
    pub applications: Vec<Vec<u8>>,
}

impl Only {
    /// Returns whether a session matches.
    pub(super) fn wants(&self, identity: &Identity<'_>) -> bool {
        let among = |wanted: &[Vec<u8>], name: Option<Text<'_>>| {
            wanted.is_empty() || name.is_some_and(|name| wanted.iter().any(|wanted| wanted == name.0))
        };
        among(&self.users, identity.user)
            && among(&self.databases, identity.database)
            && among(&self.applications, identity.application)
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
}

impl Records {
    /// All of them.
    pub const ALL: Self = Self { messages: true, queries: true, sessions: true };
}

impl Default for Records {
    fn default() -> Self {
        Self { messages: true, queries: false, sessions: false }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ports: Some(vec![5432]),
            other_ports: false,
            max_message: 16 << 20,
            max_early: 8 << 20,
            max_held: 256 << 20,
            max_connections: 65_536,
            max_remembered: 64 << 20,
            redaction: Redaction::default(),
            named_rows: false,
            records: Records::default(),
            only: Only::default(),
            fast_paths: true,
        }
    }
}
