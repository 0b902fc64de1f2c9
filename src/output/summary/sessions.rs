//! Sessions: whose they are, how they prepare statements, and how they are protected.

use std::cmp::Reverse;
use std::io;

use super::page::{Page, Span, join, name_or, name_or_unknown};
use super::table::{Row, Table};
use super::units::{bytes, count, percent, rate, share, some_bytes, some_count, some_time, time};
use crate::output::text::line::Paint;
use crate::record::Summary;
use crate::record::summary::{Group, PreparedUse, Protection, Weakness};

/// From which share of Parse to Execute on an application is said to prepare every time.
pub(super) const PREPARES_EVERY_TIME: f64 = 90.0;

/// How many are named that are first in another order than that of the table.
const FIRST: usize = 4;

/// How many are named that prepare nothing.
const NAMES: usize = 8;

/// An order of groups: what it is called, by which figure it is, and how that is written.
type Order = (&'static str, fn(&Group) -> u64, fn(u64) -> String);

/// Fewer executions are not held against an application.
pub(super) const FEW_EXECUTIONS: u64 = 10;

pub(super) fn groups(page: &mut Page<'_>, summary: &Summary, top: usize) -> io::Result<()> {
    group(page, "Users", "user", &summary.users, top)?;
    group(page, "Databases", "database", &summary.databases, top)?;
    group(page, "Applications", "application", &summary.applications, top)?;
    group(page, "Clients", "client", &summary.clients, top)
}

fn group(page: &mut Page<'_>, title: &'static str, what: &'static str, groups: &[Group], top: usize) -> io::Result<()> {
    if groups.is_empty() {
        return Ok(());
    }
    page.heading(title)?;
    let mut table = Table::new("")
        .name(what, 0)
        .number("sessions", 3)
        .number("conn/s", 6)
        .number("failed", 10)
        .number("login", 7)
        .number("login p95", 11)
        .number("login max", 12)
        .number("idle in tx", 4)
        .number("requests", 2)
        .number("errors", 9)
        .number("time", 1)
        .number("rows", 8)
        .number("in", 13)
        .number("out", 5);
    for group in groups.iter().take(top) {
        table.row(
            Row::default()
                .cell(if what == "client" {
                    name_or(group.name.as_deref(), "(others)").into()
                } else {
                    name_or_unknown(group.name.as_deref())
                })
                .cell(count(group.sessions))
                .cell(if group.connects == 0 { String::new() } else { rate(group.connects_per_second) })
                .painted(Paint::RED, some_count(group.logins_failed))
                .cell(some_time(group.login_mean_us))
                .cell(some_time(group.login_p95_us))
                .cell(some_time(group.login_max_us))
                .cell(some_time(group.idle_in_transaction_us))
                .cell(count(group.requests))
                .painted(Paint::RED, some_count(group.errors))
                .cell(some_time(group.exec_us))
                .cell(some_count(group.rows))
                .cell(some_bytes(group.bytes_in))
                .cell(some_bytes(group.bytes_out)),
        );
    }
    table.write(page)?;
    most(page, groups)
}

/// Writes who is first by what the groups are not ordered by.
fn most(page: &mut Page<'_>, groups: &[Group]) -> io::Result<()> {
    if groups.len() < 2 {
        return Ok(());
    }
    let orders: [Order; 3] = [
        ("Most bytes received", |group| group.bytes_out, bytes),
        ("Idle in transaction", |group| group.idle_in_transaction_us, time),
        ("Most connects", |group| group.connects, count),
    ];
    for (what, key, shown) in orders {
        let mut first: Vec<_> = groups.iter().filter(|group| key(group) > 0).collect();
        first.sort_by_key(|group| Reverse(key(group)));
        let named = first.iter().take(FIRST).map(|group| {
            let name = name_or(group.name.as_deref(), "(unknown)");
            Span::from(format!("{name} {}", shown(key(group))))
        });
        if !first.is_empty() {
            page.field(what, named)?;
        }
    }
    Ok(())
}

pub(super) fn prepared(page: &mut Page<'_>, uses: &[PreparedUse], top: usize) -> io::Result<()> {
    if uses.is_empty() {
        return Ok(());
    }
    page.heading("Prepared statements")?;
    let (extended, simple): (Vec<_>, Vec<_>) = uses.iter().partition(|use_| use_.extended > 0);
    if extended.is_empty() {
        return page.note("None: all requests came with Query, which prepares nothing.");
    }
    let mut table = Table::new("")
        .name("application", 0)
        .name("user", 5)
        .number("simple", 4)
        .number("extended", 2)
        .number("parsed", 1)
        .number("share", 0)
        .number("named", 6)
        .name("statements", 3);
    for use_ in extended.into_iter().take(top) {
        let verdict = if use_.extended < FEW_EXECUTIONS {
            Span::default()
        } else if use_.share >= PREPARES_EVERY_TIME {
            Span::painted(Paint::YELLOW, "parsed every time")
        } else if share(use_.parsed, use_.extended) < 10.0 {
            Span::painted(Paint::GREEN, "reused")
        } else {
            Span::default()
        };
        table.row(
            Row::default()
                .cell(name_or_unknown(use_.application.as_deref()))
                .cell(name_or_unknown(use_.user.as_deref()))
                .cell(some_count(use_.simple))
                .cell(some_count(use_.extended))
                .cell(some_count(use_.parsed))
                .cell(if use_.extended == 0 { String::new() } else { percent(use_.share) })
                .cell(some_count(use_.named))
                .cell(verdict),
        );
    }
    table.write(page)?;
    page.note("simple: requests with Query; extended: with Execute; parsed: with a Parse of their own; named: of a named statement.")?;
    if simple.is_empty() {
        return Ok(());
    }
    let named = simple.iter().take(NAMES).map(|use_| name_or(use_.application.as_deref(), "(unknown)"));
    let more = simple.len().saturating_sub(NAMES);
    let more = (more > 0).then(|| format!("{more} more"));
    page.note(&format!("Only with Query: {}.", join(named.chain(more), ", ")))
}

pub(super) fn protection(page: &mut Page<'_>, protection: &[Protection], top: usize) -> io::Result<()> {
    if protection.is_empty() {
        return Ok(());
    }
    page.heading("Protection of sessions")?;
    let mut table = Table::new("weak").number("sessions", 0).name("encryption", 0).name("authentication", 0);
    for kind in protection.iter().take(top) {
        table.row(
            Row::default()
                .cell(count(kind.sessions))
                .cell(name_or_unknown(kind.encryption.as_deref()))
                .cell(name_or_unknown(kind.auth_method.as_deref()))
                .text(Span::painted(Paint::YELLOW, join(kind.weaknesses.iter().copied().map(weakness), ", "))),
        );
    }
    table.write(page)
}

/// A weakness in words.
pub(super) const fn weakness(weakness: Weakness) -> &'static str {
    match weakness {
        Weakness::PasswordInClear => "password in clear",
        Weakness::Md5 => "MD5",
        Weakness::NoChannelBinding => "no channel binding",
        Weakness::KeyExchangeFailed => "key exchange failed",
    }
}
