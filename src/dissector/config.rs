//! What a dissector looks for, which records it makes, and its limits.

use crate::packet::Segment;
use crate::pg::text::Text;
use crate::redaction::Redaction;
use crate::session::facts::Identity;

/// What a [`Dissector`](super::Dissector) looks for, which records it makes, and its limits.
///
/// Limits are in bytes unless they say otherwise. None of them is a switch: 0 keeps nothing, which is allowed.
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
    /// The longest message body that is kept whole. What a longer one has beyond this is counted, in
    /// [`missing`](crate::record::MessageRecord::missing). With 0, that is all of every body. Default: 16 MiB.
    pub max_message: usize,
    /// How much of segments that arrived early is held for one connection before the bytes missing before them are given up.
    /// With 0, every segment out of order is a loss. Default: 8 MiB.
    pub max_early: usize,
    /// How much of early segments and unfinished messages is held for all connections together. Beyond this, the connections that
    /// were silent longest release theirs. With 0, nothing is held from one packet to the next. Default: 256 MiB.
    pub max_held: usize,
    /// How many connections are followed at a time. Beyond this, the least recently used is given up; at least one is followed.
    /// Default: 65,536.
    pub max_connections: usize,
    /// How much is kept of prepared statements' SQL, and as much again of everything else that sessions remember. Beyond this, what
    /// was not used for longest is forgotten. With 0, the records of requests have no SQL, and the flag `limit`. Default: 64 MiB.
    pub max_remembered: usize,
    /// What is replaced by `***` or by its shape. Default: secrets.
    pub redaction: Redaction,
    /// Whether rows are objects by column name, where the names are known, instead of arrays. Default: no.
    pub named_rows: bool,
    /// Which records are made. Default: those of messages and of loss.
    pub records: Records,
    /// The sessions of which records are made. Default: all.
    pub only: Only,
    /// Whether fast paths are used. The records are the same, byte for byte; tests and fuzzing compare.
    #[doc(hidden)]
    pub fast_paths: bool,
}

impl Config {
    /// Whether a port is one of the servers' ports.
    pub(super) fn names(&self, port: u16) -> bool {
        self.ports.as_ref().is_some_and(|ports| ports.contains(&port))
    }

    /// Whether a segment may begin a connection that is followed.
    pub(super) fn is_of_interest(&self, segment: &Segment<'_>) -> bool {
        let port_fits = self.ports.is_none()
            || self.other_ports
            || self.names(segment.source.port)
            || self.names(segment.destination.port);
        port_fits && (segment.syn || segment.has_payload()) && !segment.rst
    }
}

/// The sessions of which records are made: those of one of the users, in one of the databases, with one of the application names. An
/// empty list matches every session; a name that is not known matches no other list.
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
    /// Whether a session matches.
    pub(super) fn wants(&self, identity: &Identity<'_>) -> bool {
        let among = |wanted: &[Vec<u8>], name: Option<Text<'_>>| {
            wanted.is_empty() || name.is_some_and(|name| wanted.iter().any(|wanted| wanted == name.0))
        };
        among(&self.users, identity.user)
            && among(&self.databases, identity.database)
            && among(&self.applications, identity.application)
    }
}

/// Which records are made beside those of loss. A record that is not made costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records {
    /// One for each message.
    pub messages: bool,
    /// One for each executed request.
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
