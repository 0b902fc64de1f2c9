//! The summary of statistics.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::callers::{Activity, Caller, CallsBy};
use super::compare::Baseline;
use super::owned;
use super::statements::{Code, Statement, add_other, merge_other};
use super::top::Top;
use super::{IntervalCount, Statistics, add_candidate};
use crate::pg::condition::condition_name;
use crate::pg::text::Text;
use crate::record::StatsRecord;
use crate::record::summary::{
    AuditEntry, Caller as CallerRecord, Candidate, Capture, CodeCount, ErrorStatement, ErrorSummary, Example,
    FailedLogin, Group, Interval, OtherStatements, PreparedUse, Protection, Share, StatementSummary, Summary, Totals,
    UnlimitedSelect,
};
use crate::sql::audit::is_unlimited_select;
use crate::sql::normalize::Fingerprint;
use crate::time::{Precision, Timestamp};

/// The fewest rows of a SELECT without a limit that is listed.
const MANY_ROWS: u64 = 1_000;

/// How many SQLSTATEs of a statement are listed.
const MAX_CODES: usize = 32;

/// How many callers of a statement, and statements of an error, are listed.
const NAMES: usize = 8;

/// What a summary needs to know of the capture.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The counters of the engine and of the kernel, and the time of the last packet.
    pub stats: StatsRecord,
    /// The time of the first packet.
    pub started: Option<Timestamp>,
    /// The time until which it lasts, if that is not the last packet's.
    pub ended: Option<Timestamp>,
    /// Whether the capture goes on.
    pub under_way: bool,
    /// Whether a signal ended the reading of files.
    pub interrupted: bool,
    /// The options that leave out a part of the capture.
    pub selection: Vec<String>,
    /// When the interval began, if the capture is live.
    pub interval_started: Option<Timestamp>,
}

impl Context {
    pub(super) fn duration_us(&self) -> u64 {
        match (self.started, self.ended.or(self.stats.ts)) {
            (Some(started), Some(last)) => last.micros_since(started),
            _ => 0,
        }
    }
}

fn code_name(code: &Code) -> String {
    owned(Text::utf8(code))
}

fn percent(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { (part as f64 / all as f64 * 1e6).round() / 1e4 }
}

/// Returns how many are a second, to three digits behind the point; 0 where no time has passed.
pub(super) fn per_second(count: u64, duration_us: u64) -> f64 {
    if duration_us == 0 { 0.0 } else { (count as f64 * 1e9 / duration_us as f64).round() / 1e3 }
}

fn first_of<T>(mut items: Vec<T>, top: usize, key: impl Fn(&T) -> u64) -> Vec<T> {
    items.sort_by_key(|item| Reverse(key(item)));
    items.truncate(top);
    items
}

fn cloned(top: &Top<Example>) -> Vec<Example> {
    top.iter().cloned().collect()
}

impl Statistics {
    /// Returns what all records so far add up to. Begins the next interval, if there are any.
    pub fn summary(&mut self, context: &Context, baseline: Option<&Baseline>) -> Summary {
        let summary = self.so_far(context, baseline);
        if let Some(interval) = &mut self.interval {
            **interval = IntervalCount::default();
        }
        summary
    }

    fn so_far(&self, context: &Context, baseline: Option<&Baseline>) -> Summary {
        let top = self.limits.top;
        let duration_us = context.duration_us();
        let (statements, other_statements) = self.listed_statements();
        let precision = context.stats.ts.map_or(Precision::Micros, Timestamp::precision);
        let (replication_streams, other_replication_streams, other_replicated_changes) =
            self.replication.streams(top, precision, context.ended.or(context.stats.ts));
        Summary {
            ts: context.stats.ts,
            capture: self.capture(context),
            totals: self.totals(),
            interval: context.interval_started.and_then(|started| {
                self.interval.as_ref().map(|interval| interval.record(started, context.ended.or(context.stats.ts)))
            }),
            statements,
            other_statements,
            slowest: cloned(&self.slowest),
            largest: cloned(&self.largest),
            running: cloned(&self.running),
            errors: self.error_summaries(),
            failed_logins: self.failed_login_records(),
            cancels: self.cancels.iter().map(|example| self.with_sender(example)).collect(),
            locks: cloned(&self.locks),
            users: self.groups(|caller| caller.user.as_deref(), duration_us),
            databases: self.groups(|caller| caller.database.as_deref(), duration_us),
            applications: self.groups(|caller| caller.application.as_deref(), duration_us),
            clients: self.groups(|caller| caller.client_ip.as_deref(), duration_us),
            prepared: self.prepared(),
            time: self.time.clone(),
            protection: self.protection_records(),
            audit: self.audit(),
            n_plus_one: self.candidate_records(),
            unlimited_selects: first_of(self.unlimited_selects(), top, |select| select.max_rows),
            traffic: self.series.traffic(precision),
            replication_streams,
            other_replication_streams,
            other_replicated_changes,
            largest_transactions: self.replication.transactions(top),
            base_backups: self.backups.largest(top),
            other_base_backups: self.backups.others(top),
            pools: self.pools.summaries(precision),
            baseline: baseline.map(|baseline| Box::new(self.compare(context, baseline))),
        }
    }

    fn capture(&self, context: &Context) -> Capture {
        let forgotten = &self.statements.forgotten;
        Capture {
            started: context.started,
            duration_us: context.duration_us(),
            under_way: context.under_way,
            interrupted: context.interrupted,
            selection: context.selection.clone(),
            counters: context.stats.counters.clone(),
            kernel: context.stats.kernel,
            loss_reasons: self.losses.values().cloned().collect(),
            midstream_sessions: self.midstream_sessions,
            undecrypted_sessions: self.undecrypted_sessions,
            uncertain_requests: self.uncertain,
            forgotten_statements: forgotten.distinct_statements,
            forgotten_exec_us: self.statements.forgotten_exec_us,
        }
    }

    pub(super) fn totals(&self) -> Totals {
        let mut activity = Activity::default();
        self.callers.iter().for_each(|caller| activity.merge(&caller.activity));
        Totals {
            unfinished: self.unfinished,
            skipped: self.skipped,
            times: self.series.timing().times(),
            distinct_statements: self.statements.len() as u64 + self.statements.forgotten.distinct_statements,
            most_connects_per_second: self.series.most_connects_per_second(),
            ..totals(&activity)
        }
    }

    /// Returns the statements that are first by one of the orders, and all others together.
    fn listed_statements(&self) -> (Vec<StatementSummary>, Option<OtherStatements>) {
        let orders: [fn(&Statement) -> u64; 5] = [
            |statement| statement.timing.sum,
            |statement| statement.calls,
            |statement| statement.timing.mean(),
            |statement| statement.rows,
            |statement| statement.bytes_in.saturating_add(statement.bytes_out),
        ];
        let mut all: Vec<&Statement> = self.statements.iter().collect();
        let mut listed = BTreeSet::new();
        for order in orders {
            if self.limits.top < all.len() {
                let place = |statement: &&Statement| (Reverse(order(statement)), statement.fingerprint);
                all.select_nth_unstable_by_key(self.limits.top, place);
            }
            listed.extend(all.iter().take(self.limits.top).map(|statement| statement.fingerprint));
        }
        let mut others = OtherStatements::default();
        merge_other(&mut others, &self.statements.forgotten);
        let (mut listed, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|statement| listed.contains(&statement.fingerprint));
        rest.iter().for_each(|statement| add_other(&mut others, statement));
        let all_us = listed.iter().fold(others.exec_us, |sum, statement| sum.saturating_add(statement.timing.sum));
        listed.sort_unstable_by_key(|statement| {
            (Reverse((statement.timing.sum, statement.calls)), statement.fingerprint)
        });
        let listed = listed.into_iter();
        let summaries = listed.map(|statement| self.statement_summary(statement, all_us)).collect();
        (summaries, (others.distinct_statements > 0).then_some(others))
    }

    fn statement_summary(&self, statement: &Statement, all_us: u64) -> StatementSummary {
        let mut codes: Vec<_> = statement.codes.iter().collect();
        codes.sort_unstable_by_key(|(code, count)| (Reverse(**count), **code));
        codes.truncate(MAX_CODES);
        StatementSummary {
            fingerprint: statement.name(),
            normalized: statement.normalized.as_deref().map(str::to_owned),
            calls: statement.calls,
            errors: statement.errors,
            times: statement.timing.times(),
            share: percent(statement.timing.sum, all_us),
            rows: statement.rows,
            bytes_in: statement.bytes_in,
            bytes_out: statement.bytes_out,
            histogram: statement.timing.bins(),
            users: self.shares(&statement.callers, |caller| caller.user.as_deref()),
            databases: self.shares(&statement.callers, |caller| caller.database.as_deref()),
            applications: self.shares(&statement.callers, |caller| caller.application.as_deref()),
            clients: self.shares(&statement.callers, |caller| caller.client_ip.as_deref()),
            error_codes: codes
                .iter()
                .map(|(code, count)| CodeCount {
                    code: code_name(code),
                    condition: condition_name(**code).map(str::to_owned),
                    count: **count,
                })
                .collect(),
            example: statement.example.clone(),
        }
    }

    /// Returns how many calls are of which name.
    fn shares<'a>(&'a self, callers: &CallsBy, name: impl Fn(&'a Caller) -> Option<&'a str>) -> Vec<Share> {
        let mut calls = BTreeMap::<Option<&str>, u64>::new();
        for (caller, count) in callers.iter() {
            *calls.entry(self.callers.get(caller).and_then(&name)).or_default() += count;
        }
        let shares = calls.into_iter().map(|(name, calls)| Share { name: name.map(str::to_owned), calls });
        first_of(shares.collect(), NAMES, |share| share.calls)
    }

    fn groups<'a>(&'a self, name: impl Fn(&'a Caller) -> Option<&'a str>, duration_us: u64) -> Vec<Group> {
        let mut groups = BTreeMap::<Option<&str>, Activity>::new();
        for caller in self.callers.iter() {
            if caller.activity.sessions > 0
                || caller.activity.requests > 0
                || caller.activity.idle_in_transaction_us > 0
            {
                groups.entry(name(caller)).or_default().merge(&caller.activity);
            }
        }
        let groups = groups.into_iter().map(|(name, activity)| Group {
            name: name.map(str::to_owned),
            sessions: activity.sessions,
            connects: activity.connects,
            connects_per_second: per_second(activity.connects, duration_us),
            logins_failed: activity.logins_failed,
            login_mean_us: activity.logins.mean(),
            login_p95_us: activity.logins.quantile(95),
            login_max_us: activity.logins.max,
            requests: activity.requests,
            errors: activity.errors,
            exec_us: activity.exec_us,
            rows: activity.rows,
            bytes_in: activity.bytes_in,
            bytes_out: activity.bytes_out,
            idle_in_transaction_us: activity.idle_in_transaction_us,
        });
        self.listed_groups(groups.collect())
    }

    /// Returns the groups that are first by time, sessions, bytes to the client, or time idle in a transaction.
    fn listed_groups(&self, mut groups: Vec<Group>) -> Vec<Group> {
        let orders: [fn(&Group) -> u64; 4] = [
            |group| group.exec_us,
            |group| group.sessions,
            |group| group.bytes_out,
            |group| group.idle_in_transaction_us,
        ];
        let mut listed = BTreeSet::new();
        for order in orders {
            groups.sort_by(|a, b| order(b).cmp(&order(a)).then_with(|| a.name.cmp(&b.name)));
            listed.extend(groups.iter().take(self.limits.top).map(|group| group.name.clone()));
        }
        groups.retain(|group| listed.contains(&group.name));
        groups.sort_by(|a, b| (b.exec_us, b.sessions, &a.name).cmp(&(a.exec_us, a.sessions, &b.name)));
        groups
    }

    fn error_summaries(&self) -> Vec<ErrorSummary> {
        let errors = self.errors.iter().map(|(code, error)| {
            let mut statements: Vec<_> = error.statements.iter().collect();
            statements.sort_unstable_by_key(|(fingerprint, (_, count))| (Reverse(*count), **fingerprint));
            ErrorSummary {
                code: code_name(code),
                condition: condition_name(*code).map(str::to_owned),
                count: error.count,
                sessions: error.sessions,
                statements: statements
                    .into_iter()
                    .take(NAMES)
                    .map(|(fingerprint, (normalized, count))| {
                        let statement = self.statements.get(*fingerprint);
                        let normalized = statement.map_or(normalized, |statement| &statement.normalized);
                        ErrorStatement {
                            fingerprint: fingerprint.map(|hash| Fingerprint(hash).to_string()),
                            normalized: normalized.as_deref().map(str::to_owned),
                            count: *count,
                        }
                    })
                    .collect(),
                example: error.example.clone(),
            }
        });
        first_of(errors.collect(), self.limits.top, |error| error.count)
    }

    fn failed_login_records(&self) -> Vec<FailedLogin> {
        let mut logins: Vec<_> = self.failed_logins.iter().collect();
        logins.sort_unstable_by_key(|(_, failed)| (failed.first, failed.last.conn));
        let logins = logins.into_iter().map(|((caller, code), failed)| {
            let caller = self.callers.get(*caller);
            let name = |name: fn(&Caller) -> Option<&str>| caller.and_then(name).map(str::to_owned);
            FailedLogin {
                user: name(|caller| caller.user.as_deref()),
                database: name(|caller| caller.database.as_deref()),
                application: name(|caller| caller.application.as_deref()),
                client_ip: name(|caller| caller.client_ip.as_deref()).unwrap_or_default(),
                code: code.as_ref().map(code_name),
                condition: code.and_then(condition_name).map(str::to_owned),
                message: failed.last.message.clone(),
                count: failed.count,
                started: failed.first,
                ts: failed.last.ts,
            }
        });
        first_of(logins.collect(), self.limits.top, |login| login.count)
    }

    /// Returns a canceled request with the address from which its cancel request came.
    fn with_sender(&self, example: &Example) -> Example {
        let sender = example.canceled_by.and_then(|conn| self.cancel_requests.get(&conn));
        Example { canceled_from: sender.map(|client| client.to_string()), ..example.clone() }
    }

    fn prepared(&self) -> Vec<PreparedUse> {
        let mut uses = BTreeMap::<(Option<&str>, Option<&str>), Activity>::new();
        for caller in self.callers.iter().filter(|caller| caller.activity.requests > 0) {
            uses.entry((caller.application.as_deref(), caller.user.as_deref())).or_default().merge(&caller.activity);
        }
        let uses = uses.into_iter().map(|((application, user), activity)| PreparedUse {
            application: application.map(str::to_owned),
            user: user.map(str::to_owned),
            simple: activity.simple,
            extended: activity.extended,
            parsed: activity.parsed,
            named: activity.named,
            share: percent(activity.parsed, activity.extended),
        });
        first_of(uses.collect(), self.limits.top, |used| used.parsed)
    }

    fn protection_records(&self) -> Vec<Protection> {
        let protection = self.protection.iter().map(|(key, sessions)| Protection {
            encryption: key.encryption.map(str::to_owned),
            auth_method: key.auth_method.map(str::to_owned),
            weaknesses: key.weaknesses.clone(),
            sessions: *sessions,
        });
        // Few differ, and all are listed.
        first_of(protection.collect(), usize::MAX, |protection| protection.sessions)
    }

    fn audit(&self) -> Vec<AuditEntry> {
        let entry = |statement: &Statement| {
            let kind = statement.audit?;
            let callers = statement.callers.iter().map(|(caller, calls)| {
                let caller = self.callers.get(caller);
                let name = |name: fn(&Caller) -> Option<&str>| caller.and_then(name).map(str::to_owned);
                CallerRecord {
                    user: name(|caller| caller.user.as_deref()),
                    database: name(|caller| caller.database.as_deref()),
                    application: name(|caller| caller.application.as_deref()),
                    client_ip: name(|caller| caller.client_ip.as_deref()),
                    calls,
                }
            });
            let mut callers: Vec<_> = callers.collect();
            callers.sort_by(|a, b| {
                let names = |caller: &CallerRecord| {
                    [&caller.user, &caller.database, &caller.application, &caller.client_ip].map(Clone::clone)
                };
                b.calls.cmp(&a.calls).then_with(|| names(a).cmp(&names(b)))
            });
            callers.truncate(NAMES);
            Some(AuditEntry {
                kind,
                fingerprint: statement.name()?,
                normalized: statement.normalized.as_deref()?.to_owned(),
                calls: statement.calls,
                errors: statement.errors,
                callers,
            })
        };
        let mut entries: Vec<_> = self.statements.iter().filter_map(entry).collect();
        // The rarer kinds are the graver ones.
        entries.sort_by(|a, b| {
            (a.kind, Reverse(a.calls), &a.fingerprint).cmp(&(b.kind, Reverse(b.calls), &b.fingerprint))
        });
        entries.truncate(self.limits.top);
        entries
    }

    fn candidate_records(&self) -> Vec<Candidate> {
        let mut candidates = self.candidates.clone();
        self.bursts.each(&mut |run, owner| add_candidate(&mut candidates, run, owner));
        let candidates = candidates.into_iter().filter_map(|((fingerprint, owner), candidate)| {
            // One that was forgotten took little time.
            let statement = self.statements.get(Some(fingerprint))?;
            Some(Candidate {
                fingerprint: statement.name()?,
                normalized: statement.normalized.as_deref()?.to_owned(),
                bursts: candidate.bursts,
                calls: candidate.calls,
                max_calls: candidate.longest.calls,
                exec_us: candidate.exec_us,
                conn: candidate.longest.conn,
                started: candidate.longest.started,
                in_transaction: candidate.longest.in_transaction,
                user: owner.user.clone(),
                application: owner.application.clone(),
            })
        });
        let mut candidates: Vec<_> = candidates.collect();
        candidates
            .sort_by(|a, b| (&a.fingerprint, &a.user, &a.application).cmp(&(&b.fingerprint, &b.user, &b.application)));
        first_of(candidates, self.limits.top, |candidate| candidate.calls)
    }

    fn unlimited_selects(&self) -> Vec<UnlimitedSelect> {
        let selects = self.statements.iter().filter(|statement| {
            let normalized = || statement.normalized.as_deref().unwrap_or_default().as_bytes();
            statement.max_rows >= MANY_ROWS && is_unlimited_select(normalized())
        });
        let selects = selects.filter_map(|statement| {
            Some(UnlimitedSelect {
                fingerprint: statement.name()?,
                normalized: statement.normalized.as_deref()?.to_owned(),
                calls: statement.calls,
                rows: statement.rows,
                max_rows: statement.max_rows,
                bytes_out: statement.bytes_out,
            })
        });
        let mut selects: Vec<_> = selects.collect();
        selects.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
        selects
    }
}

/// Returns the figures that are sums of those of callers.
fn totals(activity: &Activity) -> Totals {
    Totals {
        requests: activity.requests,
        errors: activity.errors,
        rows: activity.rows,
        bytes_in: activity.bytes_in,
        bytes_out: activity.bytes_out,
        sessions: activity.sessions,
        connects: activity.connects,
        logins_failed: activity.logins_failed,
        idle_in_transaction_us: activity.idle_in_transaction_us,
        ..Totals::default()
    }
}

impl IntervalCount {
    fn record(&self, started: Timestamp, ts: Option<Timestamp>) -> Interval {
        Interval {
            started,
            duration_us: ts.map_or(0, |ts| ts.micros_since(started)),
            totals: Totals {
                unfinished: self.unfinished,
                skipped: self.skipped,
                times: self.timing.times(),
                distinct_statements: self.statements.len() as u64,
                most_connects_per_second: self.series.most_connects_per_second(),
                ..totals(&self.activity)
            },
        }
    }
}
