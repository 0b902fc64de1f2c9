//! Which connections may be those of a pooler's clients, and which its own to a server.
//!
//! A pooler is a host that accepts connections on one address and opens others. That is a possibility only: a host may have a server
//! and clients of another one. What is true is found out by [what was executed](super::matching).

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::dissector::Clients;
use crate::packet::Endpoint;

/// The maximum number of addresses that accept connections that are considered.
const MAX_LISTENERS: usize = 256;

/// The maximum number of connections of which the sides are known.
const MAX_CONNECTIONS: usize = 1 << 20;

/// An address that accepts connections, as an index.
pub(super) type Listener = u32;

/// The addresses that accept connections, and the connections.
#[derive(Debug, Default)]
pub(super) struct Topology {
    given: Vec<Clients>,
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
        let [client, server] = ends.map(Endpoint::canonical);
        if self.connections.len() >= MAX_CONNECTIONS {
            return;
        }
        let ends = [client, server];
        self.connections.insert(conn, ends);
        self.has_pooler = self.has_pooler || self.listeners.iter().any(|listener| self.may_open(*listener, &ends));
        if !self.listeners.contains(&server) && self.listeners.len() < MAX_LISTENERS {
            self.listeners.push(server);
            self.has_pooler = self.has_pooler || self.connections.values().any(|ends| self.may_open(server, ends));
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
        let found = self.listeners.iter().enumerate();
        found
            .filter(move |(_, listener)| ends.is_some_and(|ends| self.may_open(**listener, ends)))
            .map(|(index, _)| index as Listener)
    }

    fn is_named(&self, address: Endpoint) -> bool {
        self.given.iter().any(|given| given.contains(address))
    }

    /// A pooler that the user has named may open connections from other addresses of its host, and there is no other.
    fn may_open(&self, listener: Endpoint, ends: &[Endpoint; 2]) -> bool {
        if self.given.is_empty() { opens(listener, ends) } else { self.is_named(listener) && listener != ends[1] }
    }
}

/// Returns whether the host that accepts connections at an address may have opened this one. What comes from a loopback address is of
/// the capture's host, which may be any.
fn opens(listener: Endpoint, [client, server]: &[Endpoint; 2]) -> bool {
    listener != *server && (listener.addr == client.addr || client.addr.is_loopback())
}
