//! Poolers: how long clients waited for a connection to the server, and who kept one from them.

use std::io;

use super::chart::{gather, sparkline};
use super::page::{Page, Span, name, name_or, name_or_unknown, sql_or_unknown};
use super::statements::Statements;
use super::table::{Row, Table};
use super::units::{count, some_count, some_time, time};
use crate::output::text::line::Paint;
use crate::record::summary::{IdleInTransaction, Pool, PoolBucket, StatementWaits, Summary};

/// A client that waits longer is marked, in microseconds.
const LONG: u64 = 1_000_000;

/// How many columns a sparkline has at most.
const COLUMNS: usize = 60;

pub(super) fn write(page: &mut Page<'_>, statements: &Statements<'_>, summary: &Summary, top: usize) -> io::Result<()> {
    if summary.pools.is_empty() {
        return Ok(());
    }
    pools(page, &summary.pools, top)?;
    waits(page, statements, &summary.pools, top)?;
    idle(page, &summary.pools, top)
}

/// Returns what a pool is called: its database, and its user.
fn pool_name(pool: &Pool) -> String {
    let user = name_or(pool.user.as_deref(), "(unknown user)");
    format!("{user}@{}", name_or(pool.database.as_deref(), "(unknown database)"))
}

fn long(us: u64) -> Span {
    Span::painted(if us >= LONG { Paint::YELLOW } else { Paint::PLAIN }, time(us))
}

fn pools(page: &mut Page<'_>, pools: &[Pool], top: usize) -> io::Result<()> {
    page.heading("Poolers")?;
    let mut table = Table::new("")
        .name("pool", 0)
        .name("pooler", 3)
        .number("requests", 2)
        .number("wait p50", 4)
        .number("wait p95", 0)
        .number("wait max", 1)
        .number("waits", 5)
        .number("clients", 6)
        .number("connections", 7)
        .number("busy", 9)
        .number("idle in tx", 8)
        .number("refused", 10)
        .number("not joined", 11);
    for pool in pools.iter().take(top) {
        table.row(
            Row::default()
                .cell(pool_name(pool))
                .cell(name(&pool.server))
                .cell(count(pool.requests))
                .cell(time(pool.waits.wait_p50_us))
                .cell(long(pool.waits.wait_p95_us))
                .cell(long(pool.waits.wait_max_us))
                .cell(time(pool.waits.wait_us))
                .cell(count(pool.client_connections))
                .cell(count(pool.server_connections))
                .cell(time(pool.busy_us))
                .cell(some_time(pool.idle_in_transaction_us))
                .painted(Paint::RED, some_count(pool.refused_by_pooler))
                .cell(some_count(pool.unjoined_requests))
                .below(over_time(pool)),
        );
    }
    table.write(page)?;
    page.note(
        "wait: from the last byte of a client's request to its first byte on a connection to the server; waits: all together. \
         connections: those to the server, busy while they have a request, idle in tx while a client keeps one in a transaction and \
         asks for nothing. refused: errors that are the pooler's own. In all other sections, what went through the pooler counts \
         once, as its client's, with the time that it took on the server.",
    )
}

/// Draws how many clients waited, and how many connections were taken.
fn over_time(pool: &Pool) -> Vec<Span> {
    let traffic = &pool.over_time;
    if traffic.buckets.len() < 2 {
        return Vec::new();
    }
    let mean = |of: fn(&PoolBucket) -> u64| {
        gather(&traffic.buckets, COLUMNS, |buckets| {
            let us: u128 = buckets.iter().map(|bucket| u128::from(of(bucket))).sum();
            us as f64 / (traffic.bucket_us.max(1) as f64 * buckets.len().max(1) as f64)
        })
    };
    let draw = |label: &str, values: &[f64]| {
        let highest = values.iter().copied().fold(0.0, f64::max);
        (highest > 0.0).then(|| Span::painted(Paint::DIM, format!("{label} {} {highest:.1}", sparkline(values))))
    };
    let waiting = mean(|bucket| bucket.wait_us);
    let taken = mean(|bucket| bucket.busy_us.saturating_add(bucket.idle_in_transaction_us));
    draw("waiting", &waiting).into_iter().chain(draw("taken", &taken)).collect()
}

fn waits(page: &mut Page<'_>, statements: &Statements<'_>, pools: &[Pool], top: usize) -> io::Result<()> {
    let of_pool = |pool| move |statement| (pool, statement);
    let mut all: Vec<(&Pool, &StatementWaits)> =
        pools.iter().flat_map(|pool| pool.statements.iter().map(of_pool(pool))).collect();
    all.retain(|(_, statement)| statement.waits.wait_us > 0);
    if all.is_empty() {
        return Ok(());
    }
    all.sort_by_key(|(_, statement)| std::cmp::Reverse(statement.waits.wait_us));
    page.heading("Statements by wait for a pooler's connection")?;
    let mut table = Table::new("statement")
        .number("", 5)
        .number("waits", 0)
        .number("calls", 3)
        .number("p50", 4)
        .number("p95", 2)
        .number("max", 1)
        .name("pool", 6);
    for (pool, statement) in all.iter().take(top) {
        table.row(
            Row::default()
                .painted(Paint::DIM, statements.number(statement.fingerprint.as_deref()))
                .cell(time(statement.waits.wait_us))
                .cell(count(statement.calls))
                .cell(time(statement.waits.wait_p50_us))
                .cell(long(statement.waits.wait_p95_us))
                .cell(long(statement.waits.wait_max_us))
                .cell(pool_name(pool))
                .text(sql_or_unknown(statement.normalized.as_deref())),
        );
    }
    table.write(page)
}

fn idle(page: &mut Page<'_>, pools: &[Pool], top: usize) -> io::Result<()> {
    let of_pool = |pool| move |idle| (pool, idle);
    let mut all: Vec<(&Pool, &IdleInTransaction)> =
        pools.iter().flat_map(|pool| pool.idle_in_transaction.iter().map(of_pool(pool))).collect();
    if all.is_empty() {
        return Ok(());
    }
    all.sort_by_key(|(_, idle)| std::cmp::Reverse(idle.idle_us));
    page.heading("Who kept a pooler's connection idle in a transaction")?;
    let mut table = Table::new("")
        .number("idle", 0)
        .name("application", 1)
        .name("client", 2)
        .number("conn", 4)
        .number("before query", 5)
        .number("server conn", 6)
        .name("until", 7)
        .name("pool", 3);
    for (pool, idle) in all.iter().take(top) {
        table.row(
            Row::default()
                .cell(long(idle.idle_us))
                .cell(name_or_unknown(idle.application.as_deref()))
                .cell(name(&idle.client))
                .cell(idle.conn.to_string())
                .cell(idle.query.to_string())
                .cell(idle.server_conn.to_string())
                .cell(page.moment(idle.ts))
                .cell(pool_name(pool)),
        );
    }
    table.write(page)
}
