//! Which connections may be those of a pooler's clients, and which its own to a server.
//!
//! Of a pooler that the user has named, any connection to another address may be one that it has opened. Which are is found out by
//! [what was executed](super::matching).
//!
//! Others are found by the hosts: where connections are accepted, and opened to other addresses as well. On the loopback interface,
//! where all are of one host, that tells nothing.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::dissector::Clients;
use crate::packet::Endpoint;

/// The maximum number of poolers.
const MAX_LISTENERS: usize = 256;

/// The maximum number of connections of which the sides are known.
const MAX_CONNECTIONS: usize = 1 << 20;

/// The number of executions, of which all but a tenth were joined, after which it is known which pooler has opened a connection.
const LEAST_JOINED: u32 = 3;

/// The same of a pooler that the user has not named.
const LEAST_JOINED_AUTOMATIC: u32 = 8;

/// The address on which a pooler accepts connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Listener {
    /// Its place among all.
    index: u32,
    /// Whether the user has named it.
    is_given: bool,
}

impl Listener {
    pub(super) const fn is_given(self) -> bool {
        self.is_given
    }

    /// Returns how many of the executions on a connection have to be joined, of which all but a tenth have to be, until it is known that
    /// this one has opened it. At the end of the capture, little is enough of one that the user has named.
    pub(super) const fn least_joined(self, is_last: bool) -> u32 {
        match (self.is_given, is_last) {
            (true, true) => 1,
            (true, false) => LEAST_JOINED,
            (false, _) => LEAST_JOINED_AUTOMATIC,
        }
    }
}

/// The addresses of poolers, and the connections.
#[derive(Debug, Default)]
pub(super) struct Topology {
    /// As the user has named them.
    given: Vec<Clients>,
    /// Whether others are looked for.
    is_automatic: bool,
    /// Those to which something is connected.
    listeners: Vec<Endpoint>,
    connections: HashMap<u64, [Endpoint; 2], RandomState>,
    has_pooler: bool,
}

impl Topology {
    pub(super) fn new(given: Vec<Clients>, is_automatic: bool) -> Self {
        Self { given, is_automatic, ..Self::default() }
    }

    /// A connection begins, from its first end, the client, to the second.
    pub(super) fn begin(&mut self, conn: u64, ends: [Endpoint; 2]) {
        let ends = ends.map(Endpoint::canonical);
        let [_, server] = ends;
        if !self.is_wanted() || self.connections.len() >= MAX_CONNECTIONS {
            return;
        }
        self.connections.insert(conn, ends);
        let may_be = self.is_automatic && !server.addr.is_loopback();
        self.has_pooler = self.has_pooler || self.listeners.iter().any(|listener| self.may_open(*listener, ends));
        if (may_be || self.is_given(server))
            && !self.listeners.contains(&server)
            && self.listeners.len() < MAX_LISTENERS
        {
            self.listeners.push(server);
            self.has_pooler = self.has_pooler || self.connections.values().any(|ends| self.may_open(server, *ends));
        }
    }

    fn is_given(&self, listener: Endpoint) -> bool {
        self.given.iter().any(|given| given.contains(listener))
    }

    /// Returns whether a pooler that accepts connections at an address may have opened one.
    fn may_open(&self, listener: Endpoint, [client, server]: [Endpoint; 2]) -> bool {
        let is_of_host = || client.addr == listener.addr || client.addr.is_loopback();
        server != listener && (self.is_given(listener) || is_of_host() && server.addr != listener.addr)
    }

    pub(super) fn end(&mut self, conn: u64) {
        self.connections.remove(&conn);
    }

    /// Returns whether poolers are named or looked for.
    pub(super) const fn is_wanted(&self) -> bool {
        self.is_automatic || !self.given.is_empty()
    }

    /// Returns whether there may be a pooler.
    pub(super) const fn has_pooler(&self) -> bool {
        self.has_pooler
    }

    /// Returns a number that is another one when more addresses are known.
    pub(super) const fn version(&self) -> usize {
        self.listeners.len()
    }

    /// Returns the address of a pooler at which a connection may have been accepted. Who is on its host is not known to be its client:
    /// it may be asking two servers for the same.
    pub(super) fn accepted_at(&self, conn: u64) -> Option<Listener> {
        let [client, server] = self.connections.get(&conn)?;
        let index = self.listeners.iter().position(|listener| listener == server)?;
        let listener = Listener { index: index as u32, is_given: self.is_given(*server) };
        (client.addr != server.addr || listener.is_given).then_some(listener)
    }

    /// Returns the addresses of poolers that may have opened a connection.
    pub(super) fn openers(&self, conn: u64) -> impl Iterator<Item = Listener> {
        let ends = self.connections.get(&conn);
        let may_open = move |listener: Endpoint| ends.is_some_and(|ends| self.may_open(listener, *ends));
        let all = self.listeners.iter().enumerate().filter(move |(_, listener)| may_open(**listener));
        all.map(|(index, listener)| Listener { index: index as u32, is_given: self.is_given(*listener) })
    }
}
