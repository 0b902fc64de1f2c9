//! What went through poolers, by pooler, user and database.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::histogram::Timing;
use super::series::{Merge, Series};
use super::top::Top;
use super::{add_each, owned};
use crate::pg::text::Text;
use crate::record::QueryRecord;
use crate::record::query::Upstream;
use crate::record::summary::{IdleInTransaction, Pool as Summary, PoolBucket, PoolTraffic, StatementWaits, Waits};
use crate::sql::normalize::Fingerprint;
use crate::time::{Precision, Timestamp};

/// How many pools are told apart. What is beyond is in none.
const MAX_POOLS: usize = 512;

/// How many statements are told apart, of all pools together.
const MAX_STATEMENTS: usize = 16_384;

/// How many connections are told apart, of all pools together.
const MAX_CONNECTIONS: usize = 1 << 18;

/// What pools add up to.
#[derive(Debug)]
pub(in crate::output) struct Pools {
    top: usize,
    pools: HashMap<Key, Pool, RandomState>,
    /// How many statements and connections all pools have.
    statements: usize,
    connections: usize,
}

/// A pooler's address, the database and the user.
type Key = (Box<str>, Option<Box<str>>, Option<Box<str>>);

#[derive(Debug)]
struct Pool {
    requests: u64,
    unjoined: u64,
    answered: u64,
    refused: u64,
    wait: Timing,
    busy_us: u64,
    idle_us: u64,
    clients: HashSet<u64, RandomState>,
    servers: HashSet<u64, RandomState>,
    idle: Top<IdleInTransaction>,
    statements: HashMap<Option<u64>, StatementWait, RandomState>,
    over_time: Series<Span>,
}

#[derive(Debug, Default)]
struct StatementWait {
    normalized: Option<Arc<str>>,
    wait: Timing,
}

/// A statement: its fingerprint and its normal form.
type Statement<'a> = (Option<u64>, Option<&'a Arc<str>>);

/// What is counted in a span of time, in nanoseconds.
#[derive(Clone, Debug, Default)]
struct Span {
    requests: u64,
    wait: u64,
    busy: u64,
    idle: u64,
}

impl Merge for Span {
    fn merge(&mut self, other: &Self) {
        let Self { requests, wait, busy, idle } = other;
        add_each([
            (&mut self.requests, requests),
            (&mut self.wait, wait),
            (&mut self.busy, busy),
            (&mut self.idle, idle),
        ]);
    }
}

impl Pools {
    pub(in crate::output) fn new(top: usize) -> Self {
        Self { top, pools: HashMap::default(), statements: 0, connections: 0 }
    }

    /// Adds a request of a pooler's client, and the statement that it is of.
    pub(in crate::output) fn request(&mut self, record: &QueryRecord<'_>, statement: Statement<'_>) {
        let name = |text: Option<Text<'_>>| text.map(|text| owned(text).into());
        let key = (record.header.server.into(), name(record.database), name(record.user));
        let has_room = self.pools.len() < MAX_POOLS;
        let pool = match self.pools.entry(key) {
            std::collections::hash_map::Entry::Vacant(_) if !has_room => return,
            entry => entry.or_insert_with(|| Pool::new(self.top)),
        };
        insert(&mut pool.clients, record.header.conn, &mut self.connections);
        let Some(Upstream { conn, wait_us, idle_us, executed: (began, ended), .. }) = record.upstream else {
            pool.answered += u64::from(record.pooler);
            pool.unjoined += u64::from(!record.pooler);
            if record.pooler && record.has_failed() {
                pool.refused += 1;
                // It has waited in vain.
                let sent = record.evidence.sent;
                let refused = record.evidence.replied.map_or(record.header.ts, |(_, last)| last);
                pool.wait(refused.micros_since(sent), statement, &mut self.statements);
                pool.over_time.spread((sent, refused), |span, nanos| span.wait += nanos);
            }
            return;
        };
        pool.requests += 1;
        insert(&mut pool.servers, conn, &mut self.connections);
        let idle_us = idle_us.unwrap_or_default();
        add_each([(&mut pool.busy_us, &ended.micros_since(began)), (&mut pool.idle_us, &idle_us)]);
        if idle_us > 0 {
            pool.idle.offer(idle_us, (record.header.conn, record.query), || IdleInTransaction {
                ts: record.started,
                conn: record.header.conn,
                query: record.query,
                client: record.header.client.to_owned(),
                application: record.application.map(owned),
                server_conn: conn,
                idle_us,
            });
        }
        pool.wait(wait_us, statement, &mut self.statements);
        let series = &mut pool.over_time;
        series.spread((began.earlier(wait_us), began), |span, nanos| span.wait += nanos);
        series.spread((began, ended), |span, nanos| span.busy += nanos);
        let held_since = record.started.earlier(idle_us);
        series.spread((held_since, record.started), |span, nanos| span.idle += nanos);
        series.at(ended).into_iter().for_each(|span| span.requests += 1);
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (key, pool) in other.pools {
            if self.pools.len() < MAX_POOLS || self.pools.contains_key(&key) {
                let own = self.pools.entry(key).or_insert_with(|| Pool::new(self.top));
                own.merge(pool, &mut self.statements, &mut self.connections);
            }
        }
    }

    /// Returns how many pools there are.
    #[cfg(feature = "cli")]
    pub(in crate::output) fn len(&self) -> u64 {
        self.pools.values().filter(|pool| pool.requests > 0).count() as u64
    }

    /// Returns the pools, the one with the longest waits first. Addresses at which nothing was found on a server are none.
    pub(in crate::output) fn summaries(&self, precision: Precision) -> Vec<Summary> {
        let mut pools: Vec<_> = self.pools.iter().filter(|(_, pool)| pool.requests > 0).collect();
        pools.sort_unstable_by_key(|(key, pool)| (Reverse((pool.wait.sum, pool.requests)), *key));
        pools.into_iter().take(self.top).map(|(key, pool)| pool.summary(key, self.top, precision)).collect()
    }
}

/// Adds a connection to those of a pool, if there is room for it among those of all.
fn insert(connections: &mut HashSet<u64, RandomState>, conn: u64, all: &mut usize) {
    if *all < MAX_CONNECTIONS && connections.insert(conn) {
        *all += 1;
    }
}

impl Pool {
    fn new(top: usize) -> Self {
        Self {
            requests: 0,
            unjoined: 0,
            answered: 0,
            refused: 0,
            wait: Timing::default(),
            busy_us: 0,
            idle_us: 0,
            clients: HashSet::default(),
            servers: HashSet::default(),
            idle: Top::new(top),
            statements: HashMap::default(),
            over_time: Series::default(),
        }
    }

    /// Adds the wait of a request, of this statement.
    fn wait(&mut self, wait_us: u64, (fingerprint, normalized): Statement<'_>, all_statements: &mut usize) {
        self.wait.add(wait_us);
        match self.statements.get_mut(&fingerprint) {
            Some(known) => known.wait.add(wait_us),
            None if *all_statements < MAX_STATEMENTS => {
                *all_statements += 1;
                let mut known = StatementWait { normalized: normalized.cloned(), wait: Timing::default() };
                known.wait.add(wait_us);
                self.statements.insert(fingerprint, known);
            }
            None => {}
        }
    }

    fn merge(&mut self, other: Self, all_statements: &mut usize, all_connections: &mut usize) {
        // Every field, so that a new one cannot be forgotten.
        let Self {
            requests,
            unjoined,
            answered,
            refused,
            wait,
            busy_us,
            idle_us,
            clients,
            servers,
            idle,
            statements,
            over_time,
        } = other;
        add_each([
            (&mut self.requests, &requests),
            (&mut self.unjoined, &unjoined),
            (&mut self.answered, &answered),
            (&mut self.refused, &refused),
            (&mut self.busy_us, &busy_us),
            (&mut self.idle_us, &idle_us),
        ]);
        self.wait.merge(&wait);
        clients.into_iter().for_each(|conn| insert(&mut self.clients, conn, all_connections));
        servers.into_iter().for_each(|conn| insert(&mut self.servers, conn, all_connections));
        self.idle.merge(idle);
        for (fingerprint, statement) in statements {
            if !self.statements.contains_key(&fingerprint) {
                if *all_statements >= MAX_STATEMENTS {
                    continue;
                }
                *all_statements += 1;
            }
            let own = self.statements.entry(fingerprint).or_default();
            own.normalized = own.normalized.take().or(statement.normalized);
            own.wait.merge(&statement.wait);
        }
        self.over_time.merge(over_time);
    }

    fn summary(&self, (pooler, database, user): &Key, top: usize, precision: Precision) -> Summary {
        let mut statements: Vec<_> = self.statements.iter().collect();
        let place = |(fingerprint, statement): &(&Option<u64>, &StatementWait)| {
            (Reverse((statement.wait.sum, statement.wait.count)), **fingerprint)
        };
        statements.sort_unstable_by_key(place);
        let statement = |(fingerprint, statement): (&Option<u64>, &StatementWait)| StatementWaits {
            fingerprint: fingerprint.map(|hash| Fingerprint(hash).to_string()),
            normalized: statement.normalized.as_deref().map(str::to_owned),
            calls: statement.wait.count,
            waits: waits(&statement.wait),
        };
        let (bucket_us, buckets) = self.over_time.buckets(precision);
        let bucket = |(started, span): (Timestamp, &Span)| PoolBucket {
            started,
            requests: span.requests,
            wait_us: span.wait / 1_000,
            busy_us: span.busy / 1_000,
            idle_in_transaction_us: span.idle / 1_000,
        };
        Summary {
            server: pooler.to_string(),
            database: database.as_deref().map(str::to_owned),
            user: user.as_deref().map(str::to_owned),
            requests: self.requests,
            unjoined_requests: self.unjoined,
            answered_by_pooler: self.answered,
            refused_by_pooler: self.refused,
            client_connections: self.clients.len() as u64,
            server_connections: self.servers.len() as u64,
            waits: waits(&self.wait),
            busy_us: self.busy_us,
            idle_in_transaction_us: self.idle_us,
            idle_in_transaction: self.idle.iter().cloned().collect(),
            unlisted_statements: statements.len().saturating_sub(top) as u64,
            statements: statements.into_iter().take(top).map(statement).collect(),
            over_time: PoolTraffic { bucket_us, buckets: buckets.map(bucket).collect() },
        }
    }
}

fn waits(timing: &Timing) -> Waits {
    Waits {
        wait_us: timing.sum,
        wait_mean_us: timing.mean(),
        wait_p50_us: timing.quantile(50),
        wait_p95_us: timing.quantile(95),
        wait_max_us: timing.max,
    }
}
