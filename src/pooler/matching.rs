//! Which execution on a connection to the server is that of which client's.
//!
//! What joins them is evidence: the request and its reply as they were forwarded, and when. An execution on a server connection lies
//! within that of its client: no part of it comes before the same part of the client's request, or after that of the client's reply.
//! Of executions that are alike, those are joined for which only one is left. A transaction has one connection to the server, so that
//! what is known of one of its executions is known of those next to it.
//!
//! Where bytes were lost on a connection to the server, it is not known what was executed on it in that time, and nothing is joined
//! that began before the end of that time and ended after its beginning. So it is while bytes of it are missing that may still arrive.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::own;
use super::topology::{Listener, Topology};
use super::who::{Applications, Who};
use crate::record::QueryRecord;
use crate::time::Timestamp;

/// The maximum number of executions that can be joined.
const MAX_KEPT: usize = 1 << 15;

/// How long, in microseconds, an execution can be joined after its end: its client may be slow to accept the reply.
const KEPT: u64 = 2_000_000;

/// How long, in microseconds, is waited after the end of an execution for what was captured out of order, and for losses to be noticed.
const SETTLED_AFTER: u64 = 100_000;

/// How long is waited, in microseconds, while bytes are missing that may still arrive.
const SETTLED_AT_LAST: u64 = 900_000;

/// The maximum number of executions that are compared with one. What is like more than these cannot be told apart.
const MAX_ALIKE: usize = 64;

/// The maximum number of losses that are known at a time; of more, those next to each other are one.
const MAX_LOSSES: usize = 64;

/// After how many executions it is found again which addresses can be poolers'.
const REFUTED_EVERY: u64 = 1 << 12;

/// The maximum number of lists that are kept to be used again.
const MAX_SPARE: usize = 1_024;

/// An execution, by what it is found by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Execution {
    pub(super) conn: u64,
    pub(super) query: u64,
    /// The hash of the request, of its reply, and of the state of the transaction.
    pub(super) key: u64,
    /// Whether a transaction was open when it began.
    pub(super) in_transaction: bool,
    /// When the first and the last of the request were captured, and of the reply.
    pub(super) started: Timestamp,
    pub(super) sent: Timestamp,
    pub(super) replied: Timestamp,
    pub(super) ended: Timestamp,
}

impl Execution {
    /// Returns whether an execution on a server connection lies within this one.
    fn encloses(&self, server: &Self) -> bool {
        self.started <= server.started
            && self.sent <= server.sent
            && server.replied <= self.replied
            && server.ended <= self.ended
    }
}

/// The number of an execution, in the order in which they were added.
pub(super) type Ticket = u64;

/// What was found of an execution.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found<'a> {
    /// The execution at the server's side.
    pub(super) upstream: Option<Execution>,
    /// The execution at the client's side, and who that is.
    pub(super) downstream: Option<(Execution, &'a Who)>,
    /// How long, in microseconds, its transaction had been idle before it, at the client's side.
    pub(super) idle_us: Option<u64>,
    /// Whether others may have been it as well.
    pub(super) is_ambiguous: bool,
    /// Whether it is joined as soon as it is known that the connection is a pooler's.
    pub(super) is_pending: bool,
    /// Whether its client is a pooler, all of whose requests are known; unknown where that may still turn out.
    pub(super) is_of_pooler: Option<bool>,
}

/// An execution, and what it is joined with.
#[derive(Debug)]
struct Known {
    execution: Execution,
    who: Arc<Who>,
    /// How long, in microseconds, its transaction had been idle before it.
    idle_us: Option<u64>,
    /// Those next to it on its connection, if nothing is missing between them.
    before: Option<Ticket>,
    next: Option<Ticket>,
    /// The one at the server's side.
    upstream: Option<Ticket>,
    /// The one at the client's side, and the pooler between them.
    downstream: Option<(Ticket, Listener)>,
    is_ambiguous: bool,
    /// Whether it is one of as many at either side that cannot be told apart.
    is_retired: bool,
    /// Whether it was passed on as one that is joined with none.
    is_passed: bool,
}

/// Executions that are alike and not joined yet, in the order of their ends.
#[derive(Debug, Default)]
struct Alike {
    clients: Ordered,
    servers: Ordered,
}

/// Executions in the order of their ends, which is about that in which they were added.
#[derive(Debug, Default)]
struct Ordered(VecDeque<(Timestamp, Ticket)>);

impl Ordered {
    /// Adds one, and removes those before the first that is known.
    fn add(&mut self, ended: Timestamp, ticket: Ticket, first: Ticket) {
        while self.0.front().is_some_and(|(_, ticket)| *ticket < first) {
            self.0.pop_front();
        }
        let later = self.0.iter().rev().take_while(|(other, _)| *other > ended).count();
        self.0.insert(self.0.len() - later, (ended, ticket));
    }

    fn remove(&mut self, ended: Timestamp, ticket: Ticket) {
        let from = self.0.partition_point(|(other, _)| *other < ended);
        let equal = self.0.range(from..).take_while(|(other, _)| *other == ended);
        if let Some(index) = { equal }.position(|(_, other)| *other == ticket) {
            self.0.remove(from + index);
        }
    }

    /// Returns those that ended in a time, the last first.
    fn ended_in(&self, from: Timestamp, until: Timestamp) -> impl Iterator<Item = Ticket> {
        let end = self.0.partition_point(|(ended, _)| *ended <= until);
        self.0.range(..end).rev().take_while(move |(ended, _)| *ended >= from).map(|(_, ticket)| *ticket)
    }
}

#[derive(Debug, Default)]
struct Connection {
    /// As of its last execution.
    who: Arc<Who>,
    /// Its last execution, and its end, which is known longer.
    last: Option<Ticket>,
    last_ended: Option<Timestamp>,
    has_ended: bool,
    /// Until when it is known what was executed on it.
    known_until: Option<Timestamp>,
    /// Since when bytes of it are missing that may still arrive.
    incomplete_since: Option<Timestamp>,
    /// How many addresses that accept connections there were when the next two were found.
    version: usize,
    accepted_at: Option<Listener>,
    /// The poolers that may have opened it.
    openers: Vec<Listener>,
    /// The one that has, if that is known.
    opener: Option<Listener>,
    /// The name of an application that was set as PgBouncer does it, as long as it is not known who has opened the connection.
    announced: Option<Box<[u8]>>,
    /// The client of the first that was joined: all others are of its pool.
    pool: Option<Arc<Who>>,
    /// How many of its executions were joined with those of a pooler's clients, and how many with none.
    joined: Vec<(Listener, u32)>,
    unjoined: u32,
}

impl Connection {
    fn joined_with(&self, listener: Listener) -> u32 {
        self.joined.iter().find(|(other, _)| *other == listener).map_or(0, |(_, count)| *count)
    }

    /// Returns whether a pooler has opened it, by what was executed so far.
    fn is_opened_by(&self, listener: Listener, is_last: bool) -> bool {
        match self.opener {
            Some(opener) => opener == listener,
            None => {
                let joined = self.joined_with(listener);
                joined >= listener.least_joined(is_last) && joined >= self.unjoined.saturating_mul(9)
            }
        }
    }

    /// Returns whether a pooler has opened it; unknown while too little was executed on it.
    fn is_poolers(&self, is_last: bool) -> Option<bool> {
        let is_opened = self.openers.iter().any(|listener| self.is_opened_by(*listener, is_last));
        (is_opened || !self.openers.iter().any(|listener| self.may_be_opened_by(*listener))).then_some(is_opened)
    }

    /// Returns whether it may be a pooler's at all.
    fn may_be_opened_by(&self, listener: Listener) -> bool {
        let joined = self.joined_with(listener);
        self.opener.map_or(self.unjoined <= joined.saturating_mul(9) + 2, |opener| opener == listener)
    }
}

/// Times in which it is not known what the connections of a pooler have executed, by the pooler.
#[derive(Debug, Default)]
struct Losses(HashMap<Listener, VecDeque<(Timestamp, Timestamp)>, RandomState>);

impl Losses {
    fn add(&mut self, listener: Listener, from: Timestamp, until: Timestamp) {
        let times = self.0.entry(listener).or_default();
        times.push_back((from, until));
        if times.len() > MAX_LOSSES
            && let (Some((from, until)), Some(next)) = (times.pop_front(), times.front_mut())
        {
            // As if nothing was known between the two either.
            *next = (next.0.min(from), next.1.max(until));
        }
    }

    fn touch(&self, listener: Listener, execution: &Execution) -> bool {
        let mut times = self.0.get(&listener).into_iter().flatten();
        times.any(|(from, until)| *from <= execution.ended && execution.started <= *until)
    }

    fn forget(&mut self, before: Timestamp) {
        for times in self.0.values_mut() {
            times.retain(|(_, until)| *until > before);
        }
    }
}

/// Finds which executions belong together.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    known: VecDeque<Known>,
    /// The ticket of the first of them, and of the first that is not settled.
    first: Ticket,
    unsettled: Ticket,
    alike: HashMap<(Listener, u64), Alike, RandomState>,
    connections: HashMap<u64, Connection, RandomState>,
    losses: Losses,
    applications: Applications,
    /// The connections of which bytes are missing that may still arrive.
    incomplete: Vec<u64>,
    /// Lists without an execution, to be used again.
    spare: Vec<Alike>,
    /// The addresses of which it is possible, by what was executed, that they are poolers'.
    openers: Vec<Listener>,
    /// The addresses of which it is known.
    poolers: Vec<Listener>,
}

impl Matcher {
    /// Adds an execution, in the order in which they become known, and returns its ticket.
    pub(super) fn add(&mut self, execution: Execution, query: &QueryRecord<'_>, topology: &Topology) -> Ticket {
        let ticket = self.next_ticket();
        let connection = self.connections.entry(execution.conn).or_default();
        if connection.place(execution.conn, topology) {
            let openers = connection.openers.iter().filter(|listener| !self.openers.contains(listener));
            self.openers.extend(openers.copied().collect::<Vec<_>>());
        }
        connection.known_until = connection.known_until.max(Some(execution.ended));
        if connection.opener.is_none()
            && let Some(name) = own::application_name(query)
        {
            connection.announced = Some(name.into());
        }
        if !connection.who.is_of(query) {
            connection.who = Arc::new(Who::of(query));
        }
        let who = Arc::clone(&connection.who);
        let before = connection.last.replace(ticket);
        let before_ended = connection.last_ended.replace(execution.ended);
        let idle_us = before_ended.filter(|_| execution.in_transaction).map(|it| execution.started.micros_since(it));
        let client = connection.accepted_at.filter(|listener| self.openers.contains(listener));
        let servers = connection.openers.iter().filter(|listener| connection.may_be_opened_by(**listener));
        for (listener, is_client) in client.map(|it| (it, true)).into_iter().chain(servers.map(|it| (*it, false))) {
            let alike = self.alike.entry((listener, execution.key));
            let alike = alike.or_insert_with(|| self.spare.pop().unwrap_or_default());
            let side = if is_client { &mut alike.clients } else { &mut alike.servers };
            side.add(execution.ended, ticket, self.first);
        }
        if let Some(before) = before.and_then(|before| self.get_mut(before)) {
            before.next = Some(ticket);
        }
        self.known.push_back(Known {
            execution,
            who,
            idle_us,
            before,
            next: None,
            upstream: None,
            downstream: None,
            is_ambiguous: false,
            is_retired: false,
            is_passed: false,
        });
        while self.known.len() > MAX_KEPT {
            self.forget_first();
        }
        ticket
    }

    /// Records that it is not known what was executed on a connection, from the last that is known until a time; or only around that
    /// time, if nothing was captured of it before.
    pub(super) fn lose(&mut self, conn: u64, until: Timestamp, topology: &Topology) {
        let connection = self.connections.entry(conn).or_default();
        connection.place(conn, topology);
        (connection.last, connection.last_ended) = (None, None);
        let from = connection.known_until.replace(until).unwrap_or(until);
        let openers = connection.opener.map_or_else(|| connection.openers.clone(), |opener| vec![opener]);
        for listener in openers {
            self.losses.add(listener, from, until);
            for ticket in self.first..self.next_ticket() {
                self.part(ticket, listener, from);
            }
        }
    }

    /// Records since when bytes of a connection are missing that may still arrive; or that none are.
    pub(super) fn set_incomplete(&mut self, conn: u64, since: Option<Timestamp>, topology: &Topology) {
        let connection = self.connections.entry(conn).or_default();
        connection.place(conn, topology);
        connection.incomplete_since = since;
        self.incomplete.retain(|other| *other != conn);
        if since.is_some() {
            self.incomplete.push(conn);
        }
    }

    /// Ends a connection.
    pub(super) fn end(&mut self, conn: u64) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.has_ended = true;
        if connection.last.is_none_or(|last| last < self.first) {
            self.connections.remove(&conn);
        }
    }

    /// Joins what can be joined of the executions whose end is long enough ago.
    pub(super) fn settle(&mut self, now: Timestamp) {
        while let Some(Known { execution: Execution { ended, .. }, .. }) = self.get(self.unsettled)
            && ended.later(SETTLED_AFTER) <= now
            && (ended.later(SETTLED_AT_LAST) <= now || !self.is_incomplete(*ended))
        {
            self.settle_next();
        }
    }

    /// Forgets what cannot be joined any more: after what was found of it was looked at, however long nothing was captured.
    pub(super) fn forget(&mut self, now: Timestamp) {
        while self.known.front().is_some_and(|known| known.execution.ended.later(KEPT) <= now)
            && self.first < self.unsettled
        {
            self.forget_first();
        }
        self.losses.forget(now.earlier(KEPT));
    }

    /// Returns whether bytes are missing that may still arrive, which were sent before a time.
    fn is_incomplete(&self, ended: Timestamp) -> bool {
        let mut incomplete = self.incomplete.iter().filter_map(|conn| self.connections.get(conn));
        incomplete.any(|connection| {
            let may_be_poolers = connection.accepted_at.is_some() || !connection.openers.is_empty();
            may_be_poolers && connection.incomplete_since.is_some_and(|since| since <= ended)
        })
    }

    /// Joins what can be joined of all executions.
    pub(super) fn settle_all(&mut self) {
        while self.unsettled < self.next_ticket() {
            self.settle_next();
        }
    }

    /// Returns what was found of an execution; of the last ones, with what little is known of which connections are a pooler's.
    pub(super) fn found(&self, ticket: Ticket, is_last: bool) -> Found<'_> {
        let Some(known) = self.get(ticket) else { return Found::default() };
        let is_opened = |server: &Known, listener| {
            self.connections.get(&server.execution.conn).is_some_and(|it| it.is_opened_by(listener, is_last))
        };
        let upstream = known.upstream.and_then(|upstream| self.get(upstream));
        let believed =
            upstream.filter(|server| server.downstream.is_some_and(|(_, listener)| is_opened(server, listener)));
        let believed = believed.filter(|server| !server.is_passed);
        let downstream = known.downstream.and_then(|(client, listener)| Some((self.get(client)?, listener)));
        let owner = downstream
            .filter(|(client, listener)| !client.is_passed && is_opened(known, *listener))
            .map(|(client, _)| client);
        let connection = self.connections.get(&known.execution.conn);
        Found {
            upstream: believed.map(|server| server.execution),
            downstream: owner.map(|client| (client.execution, &*client.who)),
            idle_us: known.idle_us,
            is_ambiguous: known.is_ambiguous && known.upstream.is_none(),
            is_pending: ticket >= self.unsettled
                || upstream.is_some() && believed.is_none()
                || downstream.is_some() && owner.is_none(),
            is_of_pooler: connection.and_then(|it| if it.unjoined > 0 { Some(false) } else { it.is_poolers(is_last) }),
        }
    }

    /// Returns whether a connection was accepted by a pooler.
    pub(super) fn is_of_client(&self, conn: u64) -> bool {
        let accepted_at = self.connections.get(&conn).and_then(|it| it.accepted_at);
        accepted_at.is_some_and(|listener| self.poolers.contains(&listener))
    }

    /// Returns whether a pooler accepts connections there.
    pub(super) fn is_pooler(&self, listener: Listener) -> bool {
        listener.is_given() || self.poolers.contains(&listener)
    }

    /// Returns whether a connection was opened by a pooler.
    pub(super) fn is_opened_by_pooler(&self, conn: u64) -> bool {
        self.connections.get(&conn).is_some_and(|connection| connection.opener.is_some())
    }

    /// Returns whether an execution is joined with none of a client's.
    pub(super) fn is_unjoined(&self, ticket: Ticket) -> bool {
        self.get(ticket).is_some_and(|known| known.downstream.is_none())
    }

    /// Records that an execution was passed on as one that is joined with none.
    pub(super) fn pass_unjoined(&mut self, ticket: Ticket) {
        if let Some(known) = self.get_mut(ticket) {
            known.is_passed = true;
        }
    }

    /// Records that an execution was passed on that is not known to be a client's, nor a pooler's own.
    pub(super) fn pass(&mut self, ticket: Ticket) {
        let Some(Known { execution: Execution { conn, .. }, downstream: None, is_ambiguous: false, .. }) =
            self.get(ticket)
        else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(&{ *conn }) {
            connection.unjoined = connection.unjoined.saturating_add(1);
        }
    }

    fn next_ticket(&self) -> Ticket {
        self.first + self.known.len() as u64
    }

    fn get(&self, ticket: Ticket) -> Option<&Known> {
        self.known.get(usize::try_from(ticket.checked_sub(self.first)?).ok()?)
    }

    fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Known> {
        self.known.get_mut(usize::try_from(ticket.checked_sub(self.first)?).ok()?)
    }

    fn forget_first(&mut self) {
        let Some(known) = self.known.pop_front() else { return };
        let last = self.connections.get(&known.execution.conn).filter(|it| it.has_ended).and_then(|it| it.last);
        if last == Some(self.first) {
            self.connections.remove(&known.execution.conn);
        }
        self.first += 1;
        self.unsettled = self.unsettled.max(self.first);
        if self.first.is_multiple_of(REFUTED_EVERY) {
            let connections = self.connections.values();
            let may_open = |listener: &Listener| {
                connections.clone().any(|it| it.openers.contains(listener) && it.may_be_opened_by(*listener))
            };
            self.openers.retain(may_open);
        }
        if self.alike.len() > 2 * self.known.len() + 1_024 {
            let first = self.first;
            let is_old = |ordered: &Ordered| ordered.0.back().is_none_or(|(_, last)| *last < first);
            self.alike.retain(|_, alike| !is_old(&alike.clients) || !is_old(&alike.servers));
        }
    }

    fn settle_next(&mut self) {
        let ticket = self.unsettled;
        self.unsettled += 1;
        let Some(known) = self.get(ticket) else { return };
        if known.upstream.is_none()
            && !known.is_passed
            && let Some(listener) = self.connections.get(&known.execution.conn).and_then(|it| it.accepted_at)
        {
            self.find(ticket, listener);
        }
    }

    /// Finds the execution at the server's side of a client's.
    fn find(&mut self, ticket: Ticket, listener: Listener) {
        // Most are like no other.
        if let Some(only) = self.only_candidate(ticket, listener)
            && !self.is_lost(ticket, listener)
        {
            return self.join(ticket, only, listener);
        }
        let candidates = self.candidates(ticket, listener);
        let is_lost = self.is_lost(ticket, listener);
        match *candidates {
            [] => {}
            [only]
                if self.is_next_in_transaction(ticket, only) || !is_lost && !self.has_rival(ticket, only, listener) =>
            {
                self.join(ticket, only, listener);
            }
            _ if !is_lost && self.tell_apart(ticket, &candidates, listener) => {}
            _ => self.give_up(ticket, &candidates, listener),
        }
    }

    /// Returns the execution at the server's side that may be that of a client's, if no other execution is alike at either side.
    fn only_candidate(&self, client: Ticket, listener: Listener) -> Option<Ticket> {
        let alike = self.alike.get(&(listener, self.get(client)?.execution.key))?;
        let (Some((_, server)), 1, 1) = (alike.servers.0.front(), alike.servers.0.len(), alike.clients.0.len()) else {
            return None;
        };
        self.may_be(client, *server, listener).then_some(*server)
    }

    /// Returns the executions at the server's side that may be that of a client's.
    fn candidates(&self, client: Ticket, listener: Listener) -> Vec<Ticket> {
        let Some(Known { execution, .. }) = self.get(client) else { return Vec::new() };
        let Some(Alike { servers, .. }) = self.alike.get(&(listener, execution.key)) else { return Vec::new() };
        let within = servers.ended_in(execution.sent, execution.ended);
        let mut found: Vec<_> =
            within.filter(|server| self.may_be(client, *server, listener)).take(MAX_ALIKE).collect();
        if found.len() > 1 {
            // Of a chain of poolers, the next one: that of the one behind it lies within.
            let inner: Vec<_> =
                found.iter().copied().filter(|server| self.is_within_another(*server, &found)).collect();
            found.retain(|server| !inner.contains(server));
        }
        found
    }

    fn may_be(&self, client: Ticket, server: Ticket, listener: Listener) -> bool {
        let (Some(client), Some(server)) = (self.get(client), self.get(server)) else { return false };
        let is_free = server.downstream.is_none() && !server.is_retired && !server.is_passed;
        let connection = self.connections.get(&server.execution.conn);
        let may_have_it = |connection: &Connection| {
            connection.may_be_opened_by(listener)
                && connection.pool.as_ref().is_none_or(|pool| pool.is_of_pool_of(&client.who))
        };
        if !is_free
            || !client.execution.encloses(&server.execution)
            || !connection.is_some_and(may_have_it)
            || self.applications.differ(listener, &client.who, &server.who)
        {
            return false;
        }
        // A pooler gives a connection to another client when it has forwarded the reply to the one before.
        let next = server.next.and_then(|next| self.get(next)).map(|next| &next.execution);
        if next.is_some_and(|next| {
            !next.in_transaction && server.execution.ended <= next.started && next.started < client.execution.ended
        }) {
            return false;
        }
        if !client.execution.in_transaction {
            return true;
        }
        // What is known of the one before it in its transaction is known of this one.
        let upstream = client.before.and_then(|before| self.get(before)?.upstream);
        let downstream = server.before.and_then(|before| Some(self.get(before)?.downstream?.0));
        (upstream.is_none() || upstream == server.before) && (downstream.is_none() || downstream == client.before)
    }

    /// Returns whether the executions before both, in their transaction, are joined.
    fn is_next_in_transaction(&self, client: Ticket, server: Ticket) -> bool {
        let (Some(client), Some(server)) = (self.get(client), self.get(server)) else { return false };
        let upstream = client.before.and_then(|before| self.get(before)?.upstream);
        client.execution.in_transaction && upstream.is_some() && upstream == server.before
    }

    /// Returns whether an execution lies within another one, which was accepted by what may have opened the connection of this one.
    fn is_within_another(&self, inner: Ticket, all: &[Ticket]) -> bool {
        let Some(inner) = self.get(inner) else { return false };
        let Some(connection) = self.connections.get(&inner.execution.conn) else { return false };
        connection.opener.is_none()
            && all.iter().filter_map(|outer| self.get(*outer)).any(|outer| {
                let accepted_at = self.connections.get(&outer.execution.conn).and_then(|it| it.accepted_at);
                outer.execution.conn != inner.execution.conn
                    && outer.execution.encloses(&inner.execution)
                    && accepted_at.is_some_and(|listener| connection.openers.contains(&listener))
            })
    }

    /// Returns whether another client's execution can only be the same: one of the two is missing at the server's side.
    fn has_rival(&self, client: Ticket, server: Ticket, listener: Listener) -> bool {
        self.others(client, &[server], listener).into_iter().any(|other| self.candidates(other, listener) == [server])
    }

    /// Returns the other executions of clients that may be one of those at the server's side.
    fn others(&self, client: Ticket, servers: &[Ticket], listener: Listener) -> Vec<Ticket> {
        let Some(Known { execution, .. }) = self.get(client) else { return Vec::new() };
        let Some(Alike { clients, .. }) = self.alike.get(&(listener, execution.key)) else { return Vec::new() };
        let ends = servers.iter().filter_map(|server| Some(self.get(*server)?.execution.ended));
        let Some(first) = ends.min() else { return Vec::new() };
        let from = clients.0.partition_point(|(ended, _)| *ended < first);
        let others = clients.0.range(from..).map(|(_, other)| *other).filter(|other| *other != client);
        others
            .take(MAX_ALIKE)
            .filter(|other| servers.iter().any(|server| self.may_be(*other, *server, listener)))
            .collect()
    }

    /// Finds which of several it is. Returns false if that cannot be told.
    fn tell_apart(&mut self, client: Ticket, candidates: &[Ticket], listener: Listener) -> bool {
        // By the next one in its transaction.
        if let Some(next) = self.get(client).and_then(|known| known.next)
            && self.get(next).is_some_and(|next| next.execution.in_transaction && next.upstream.is_none())
            && let [only] = *self.candidates(next, listener)
            && self.get(only).and_then(|only| only.before).is_some_and(|before| candidates.contains(&before))
            && !self.is_lost(next, listener)
            && !self.has_rival(next, only, listener)
        {
            self.join(next, only, listener);
        }
        if self.get(client).is_some_and(|known| known.upstream.is_some()) {
            return true;
        }
        // By those that others must have.
        let mut left = candidates.to_vec();
        let mut rivals = Vec::new();
        // Not by those that may have been lost.
        for other in self.others(client, candidates, listener).into_iter().filter(|it| !self.is_lost(*it, listener)) {
            match *self.candidates(other, listener) {
                [] => {}
                [only] => left.retain(|server| *server != only),
                ref of_other if of_other.iter().all(|server| candidates.contains(server)) => rivals.push(other),
                _ => {}
            }
        }
        if let [only] = *left {
            self.join(client, only, listener);
            return true;
        }
        // By their order, if they are those of one connection at either side.
        let conn = |ticket: &Ticket| self.get(*ticket).map(|known| known.execution.conn);
        rivals.push(client);
        rivals.sort_unstable();
        left.sort_unstable();
        let is_of_one =
            |tickets: &[Ticket]| tickets.iter().all(|ticket| conn(ticket) == tickets.first().and_then(conn));
        if rivals.len() == left.len() && is_of_one(&rivals) && is_of_one(&left) {
            for (client, server) in rivals.into_iter().zip(left) {
                self.join(client, server, listener);
            }
            return true;
        }
        false
    }

    /// An execution cannot be told from others. If these are as many as there are for them at the server's side, no other is one of
    /// them.
    fn give_up(&mut self, client: Ticket, candidates: &[Ticket], listener: Listener) {
        let is_rival = |other: &Ticket| {
            let of_other = self.candidates(*other, listener);
            !of_other.is_empty() && of_other.iter().all(|server| candidates.contains(server))
        };
        let mut rivals = self.others(client, candidates, listener);
        rivals.retain(|other| !self.is_lost(*other, listener) && is_rival(other));
        rivals.push(client);
        let are_all = rivals.len() >= candidates.len() && !self.is_lost(client, listener);
        if !are_all {
            rivals = vec![client];
        }
        for ticket in candidates.iter().chain(&rivals) {
            if let Some(known) = self.get_mut(*ticket) {
                known.is_ambiguous = true;
                known.is_retired |= are_all;
            }
        }
    }

    /// Joins two executions, and those before them in their transaction.
    fn join(&mut self, client: Ticket, server: Ticket, listener: Listener) {
        let (mut client, mut server) = (client, server);
        loop {
            let Some(of_client) = self.get_mut(client) else { return };
            of_client.upstream = Some(server);
            let (execution, before_client) = (of_client.execution, of_client.before);
            let who = Arc::clone(&of_client.who);
            let Some(of_server) = self.get_mut(server) else { return };
            of_server.downstream = Some((client, listener));
            let of_server = Arc::clone(&of_server.who);
            self.applications.join(listener, &who, &of_server);
            let Some(of_server) = self.get(server) else { return };
            let (Execution { conn, ended, .. }, before_server) = (of_server.execution, of_server.before);
            if let Entry::Occupied(mut alike) = self.alike.entry((listener, execution.key)) {
                alike.get_mut().clients.remove(execution.ended, client);
                alike.get_mut().servers.remove(ended, server);
                if alike.get().clients.0.is_empty() && alike.get().servers.0.is_empty() && self.spare.len() < MAX_SPARE
                {
                    self.spare.push(alike.remove());
                }
            }
            if self.connections.get_mut(&conn).is_some_and(|connection| connection.join(listener, who))
                && !self.poolers.contains(&listener)
            {
                self.poolers.push(listener);
            }
            let (Some(before_client), Some(before_server)) = (before_client, before_server) else { return };
            let (Some(of_client), Some(of_server)) = (self.get(before_client), self.get(before_server)) else { return };
            let goes_on = execution.in_transaction
                && of_client.upstream.is_none()
                && of_server.downstream.is_none()
                && !of_client.is_passed
                && !of_server.is_passed
                && of_client.execution.key == of_server.execution.key
                && of_client.execution.encloses(&of_server.execution);
            if !goes_on {
                return;
            }
            (client, server) = (before_client, before_server);
        }
    }

    /// Undoes what was found of a client's execution that ended after a time.
    fn part(&mut self, client: Ticket, listener: Listener, from: Timestamp) {
        let Some(known) = self.get(client).filter(|known| known.execution.ended >= from) else { return };
        let Some(server) = known.upstream else { return };
        if self.get(server).and_then(|server| server.downstream) != Some((client, listener)) {
            return;
        }
        for ticket in [client, server] {
            if let Some(known) = self.get_mut(ticket) {
                (known.is_ambiguous, known.is_retired) = (true, true);
            }
        }
        if let Some(known) = self.get_mut(client) {
            known.upstream = None;
        }
        if let Some(known) = self.get_mut(server) {
            known.downstream = None;
        }
    }

    fn is_lost(&self, client: Ticket, listener: Listener) -> bool {
        let Some(Known { execution, .. }) = self.get(client) else { return true };
        let may_have_it = |connection: &Connection| {
            connection.openers.contains(&listener)
                && connection.may_be_opened_by(listener)
                && connection.incomplete_since.is_some_and(|since| since <= execution.ended)
        };
        self.losses.touch(listener, execution)
            || self.incomplete.iter().filter_map(|conn| self.connections.get(conn)).any(may_have_it)
    }
}

impl Connection {
    /// Finds where it is, if there are addresses that were not known then. Returns whether there are.
    fn place(&mut self, conn: u64, topology: &Topology) -> bool {
        if self.version == topology.version() {
            return false;
        }
        self.version = topology.version();
        self.accepted_at = topology.accepted_at(conn);
        self.openers = topology.openers(conn).collect();
        true
    }

    /// Counts an execution that was joined with one of a pooler's. Returns whether it is known that this one has opened it.
    fn join(&mut self, listener: Listener, who: Arc<Who>) -> bool {
        // Whose request comes behind the name of its application is one of a pooler's clients.
        let is_announced = self.announced.take().is_some_and(|name| who.application().is_some_and(|it| *it.0 == *name));
        self.pool.get_or_insert(who);
        match self.joined.iter_mut().find(|(other, _)| *other == listener) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => self.joined.push((listener, 1)),
        }
        if self.opener.is_none() && (is_announced || self.is_opened_by(listener, false)) {
            self.opener = Some(listener);
        }
        self.opener == Some(listener)
    }
}
