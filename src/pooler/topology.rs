//! Which connections may be those of a pooler's clients, and which its own to a server.
//!
//! Any connection to another address may be one that a pooler has opened. Which are is found out by [what was
//! executed](super::matching).

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::dissector::Clients;
use crate::packet::Endpoint;

/// The maximum number of poolers.
const MAX_LISTENERS: usize = 256;

/// The maximum number of connections of which the sides are known.
const MAX_CONNECTIONS: usize = 1 << 20;

/// The address on which a pooler accepts connections, as an index.
pub(super) type Listener = u32;

/// The addresses of poolers, and the connections.
#[derive(Debug, Default)]
pub(super) struct Topology {
    /// As the user has named them.
    given: Vec<Clients>,
    /// Those to which something is connected.
    listeners: Vec<Endpoint>,
    connections: HashMap<u64, [Endpoint; 2], RandomState>,
    has_pooler: bool,
}

impl Topology {
    pub(super) fn new(given: Vec<Clients>) -> Self {
        Self { given, ..Self::default() }
    }

    /// A connection begins, from its first end, the client, to the second.
    pub(super) fn begin(&mut self, conn: u64, ends: [Endpoint; 2]) {
        let ends = ends.map(Endpoint::canonical);
        let [_, server] = ends;
        if self.given.is_empty() || self.connections.len() >= MAX_CONNECTIONS {
            return;
        }
        self.connections.insert(conn, ends);
        self.has_pooler = self.has_pooler || self.listeners.iter().any(|listener| *listener != server);
        if self.given.iter().any(|given| given.contains(server))
            && !self.listeners.contains(&server)
            && self.listeners.len() < MAX_LISTENERS
        {
            self.listeners.push(server);
            self.has_pooler = self.has_pooler || self.connections.values().any(|[_, other]| *other != server);
        }
    }

    pub(super) fn end(&mut self, conn: u64) {
        self.connections.remove(&conn);
    }

    /// Returns whether there may be a pooler.
    pub(super) const fn has_pooler(&self) -> bool {
        self.has_pooler
    }

    /// Returns a number that is another one when more addresses are known.
    pub(super) const fn version(&self) -> usize {
        self.listeners.len()
    }

    /// Returns the address at which a connection was accepted.
    pub(super) fn accepted_at(&self, conn: u64) -> Option<Listener> {
        let [_, server] = self.connections.get(&conn)?;
        self.listeners.iter().position(|listener| listener == server).map(|index| index as Listener)
    }

    /// Returns the addresses of poolers that may have opened a connection.
    pub(super) fn openers(&self, conn: u64) -> impl Iterator<Item = Listener> {
        let ends = self.connections.get(&conn);
        let others =
            self.listeners.iter().enumerate().filter(move |(_, it)| ends.is_some_and(|[_, server]| *it != server));
        others.map(|(index, _)| index as Listener)
    }
}
