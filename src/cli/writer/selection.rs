//! Which records become lines, and count for a summary.

use std::ops::RangeInclusive;

use regex::bytes::Regex;

use super::super::args::{Args, Event, Statements as LogStatements};
use super::super::select::When;
use super::unmatched::Closest;
use crate::output::cache::Cache;
use crate::output::stats::{Statistics, Tally};
use crate::pg::text::{Sql, Text};
use crate::record::{ChangeRun, MessageRun, Purpose, QueryRecord, Record, ReplicationEvent};
use crate::session::execution::Outcome;
use crate::time::Timestamp;

/// The selected records.
pub(super) struct Selection {
    messages: bool,
    queries: bool,
    running: bool,
    sessions: bool,
    changes: bool,
    transactions: bool,
    losses: bool,
    pub(super) stats: bool,
    summary: bool,
    /// The types of messages to write; all if empty.
    types: Vec<String>,
    /// Whether only failed requests and sessions are written.
    only_errors: bool,
    /// The minimum duration of requests to write, in microseconds.
    min_us: Option<u128>,
    /// Whether errors are written whatever the requests took, as a server logs them.
    logs_errors: bool,
    /// The minimum number of rows of requests to write.
    min_rows: Option<u64>,
    statements: Option<Statements>,
    /// The times to write, in nanoseconds since the epoch; all if `None`.
    times: Option<RangeInclusive<i64>>,
    /// The number of messages that may still be written; if none are selected, of lines for queries and sessions.
    pub(super) left: u64,
    /// How close the records came to being selected.
    pub(super) closest: Closest,
}

impl Selection {
    pub(super) fn new(args: &Args) -> Self {
        let wants = |event| args.events.contains(&event);
        Self {
            messages: wants(Event::Message),
            queries: wants(Event::Query),
            running: wants(Event::Running),
            sessions: wants(Event::Session),
            changes: wants(Event::Change),
            transactions: wants(Event::Transaction),
            losses: wants(Event::Loss),
            stats: wants(Event::Stats),
            summary: wants(Event::Summary),
            types: args.types.clone(),
            only_errors: args.errors,
            min_us: args.min_duration.map(|duration| duration.as_micros()),
            logs_errors: args.format.log().is_some() && args.log_style != Some(LogStatements::Statement),
            min_rows: args.min_rows,
            statements: Statements::new(args),
            times: None,
            left: args.count.unwrap_or(u64::MAX),
            closest: Closest::default(),
        }
    }

    /// Determines the times to write, in a capture with this first packet.
    pub(super) fn begin(&mut self, args: &Args, first: Timestamp) {
        self.times = When::range(args.since.as_ref(), args.until.as_ref(), first);
    }

    /// Adds a selected record to the statistics, if there are any. Returns whether it is one of those for which the packets of its
    /// connection are extracted: a request, or a session that was selected for its error. Every session is counted.
    pub(super) fn count(&self, statistics: Option<&mut Statistics>, record: &Record<'_>) -> bool {
        let Some(statistics) = statistics else { return false };
        statistics.record(record);
        matches!(record, Record::Query(_)) || self.only_errors && matches!(record, Record::Session(_))
    }

    /// Returns whether a message of a replication stream or a base backup is in time.
    pub(super) fn selects_replication(&mut self, event: &ReplicationEvent<'_>) -> bool {
        // A slot's plugin is not known where it was created on another connection; that it is pgoutput is found out.
        let is_pgoutput = event.plugin.is_some_and(|plugin| plugin.0 == b"pgoutput");
        self.closest.other_plugin |= event.purpose == Some(Purpose::Logical) && event.bytes > 0 && !is_pgoutput;
        self.is_in_time(event.header.ts)
    }

    /// Returns whether the conditions for a record hold, whether there are lines for its kind or not.
    pub(super) fn selects(&mut self, record: &Record<'_>) -> bool {
        match record {
            Record::Message(message) => self.is_in_time(message.header.ts),
            Record::Change(change) => {
                self.closest.change = true;
                self.is_in_time(change.header.ts)
            }
            Record::Transaction(transaction) => self.is_in_time(transaction.header.ts),
            Record::Loss(loss) => self.overlaps(loss.header.ts, loss.header.ts),
            Record::Query(query) => self.selects_query(query, self.queries || self.running || self.summary),
            Record::Running(running) => self.selects_query(&running.query, self.running || self.summary),
            Record::Session(session) => {
                self.closest.connection = true;
                let is_in_time = self.overlaps(session.started, session.header.ts);
                self.closest.time |= is_in_time && (self.sessions || self.summary);
                let is_selected = is_in_time && (!self.only_errors || session.error.is_some());
                self.closest.session |= is_selected && (self.sessions || self.summary);
                is_selected
            }
            Record::Stats(_) | Record::Summary(_) => true,
        }
    }

    /// Returns whether a record for which the conditions hold becomes a line, and counts it.
    pub(super) fn wants(&mut self, record: &Record<'_>) -> bool {
        match record {
            Record::Message(message) => self.wants_message(|| message.content.name()),
            Record::Query(_) => self.queries && self.wants_other(),
            Record::Running(_) => self.running && self.wants_other(),
            Record::Session(_) => self.sessions && self.wants_other(),
            Record::Change(_) => self.changes && self.wants_other(),
            Record::Transaction(_) => self.transactions && self.wants_other(),
            Record::Loss(_) => self.losses && self.left > 0,
            Record::Stats(_) => self.stats,
            Record::Summary(_) => true,
        }
    }

    /// Returns whether all changes of a run become lines, and counts them. If not, each has to be looked at.
    pub(super) fn wants_changes(&mut self, run: &ChangeRun<'_>) -> bool {
        let are_wanted = self.changes && !self.messages && self.left >= run.count && self.is_in_time(run.header.ts);
        if are_wanted {
            self.closest.change = true;
            self.left -= run.count;
        }
        are_wanted
    }

    /// Returns whether a line of a query or session is selected. Counts it if messages are not selected.
    const fn wants_other(&mut self) -> bool {
        let wanted = self.left > 0;
        self.left -= (wanted && !self.messages) as u64;
        wanted
    }

    /// Returns whether a message in time becomes a line, and counts it.
    pub(super) fn wants_message(&mut self, name: impl FnOnce() -> &'static str) -> bool {
        let wanted = self.messages && self.left > 0 && (self.types.is_empty() || self.has_type(name()));
        // Who a session is may change: it may be another at its end.
        self.closest.connection |= wanted;
        self.left -= u64::from(wanted);
        wanted
    }

    /// Returns how many messages of a run are selected: the first ones, up to the limit.
    pub(super) fn wants_of(&mut self, data: &MessageRun<'_>) -> u64 {
        let are_wanted = self.messages
            && self.is_in_time(data.first.header.ts)
            && (self.types.is_empty() || self.has_type(data.first.name(None)));
        let wanted = if are_wanted { data.count.min(self.left) } else { 0 };
        self.closest.connection |= wanted > 0;
        self.left -= wanted;
        wanted
    }

    fn has_type(&self, name: &str) -> bool {
        self.types.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
    }

    /// Returns whether a time is one of those to write.
    #[inline(always)]
    pub(super) fn is_in_time(&mut self, ts: Timestamp) -> bool {
        match &self.times {
            None => true,
            Some(times) => {
                let is_in_time = times.contains(&ts.as_nanos());
                self.closest.time |= is_in_time;
                is_in_time
            }
        }
    }

    /// Returns whether any of the time from `started` to `ended` is to be written.
    #[inline(always)]
    fn overlaps(&self, started: Timestamp, ended: Timestamp) -> bool {
        let times = self.times.as_ref();
        times.is_none_or(|times| started.as_nanos() <= *times.end() && ended.as_nanos() >= *times.start())
    }

    /// Returns whether the conditions for a request hold. Those that cost most come last.
    fn selects_query(&mut self, query: &QueryRecord<'_>, is_of_chosen_kind: bool) -> bool {
        self.closest.connection = true;
        if !is_of_chosen_kind || !self.overlaps(query.started, query.header.ts) {
            return false;
        }
        self.closest.time = true;
        self.closest.request = true;
        let has_failed = matches!(query.outcome, Outcome::Error | Outcome::Canceled | Outcome::Aborted);
        if self.only_errors && !has_failed {
            return false;
        }
        self.closest.outcome = true;
        if let Some(min) = self.min_us {
            let time = query.total_us.or(query.age_us);
            self.closest.longest_us = self.closest.longest_us.max(time);
            let is_short = time.is_none_or(|time| u128::from(time) < min);
            if is_short && !(self.logs_errors && query.error.is_some()) {
                return false;
            }
        }
        self.closest.duration = true;
        if let Some(min) = self.min_rows {
            self.closest.most_rows = self.closest.most_rows.max(query.rows);
            if query.rows.is_none_or(|rows| rows < min) {
                return false;
            }
        }
        self.closest.rows = true;
        let is_selected = self
            .statements
            .as_mut()
            .is_none_or(|statements| statements.select(query.sql.as_ref().map(|sql| &sql.0), !self.closest.statement));
        self.closest.statement |= is_selected;
        is_selected
    }

    /// Returns the requests that were compared with the statements to write, by statement, if any are.
    pub(super) fn tally(&self) -> Option<&Tally> {
        self.statements.as_ref().map(|statements| &statements.tally)
    }
}

/// The requests to write, by their SQL.
struct Statements {
    /// What the SQL matches, as it is written.
    sql: Option<Regex>,
    /// Whether it does, by the bytes of the SQL.
    matching: Cache<(Sql<'static>, bool)>,
    /// The fingerprints; all if empty.
    fingerprints: Vec<u64>,
    tally: Tally,
    /// Whether requests are counted by statement if that is not needed to select them.
    counts: bool,
}

impl Statements {
    fn new(args: &Args) -> Option<Self> {
        (args.sql.is_some() || !args.fingerprint.is_empty()).then(|| Self {
            sql: args.sql.clone(),
            matching: Cache::default(),
            fingerprints: args.fingerprint.clone(),
            tally: Tally::default(),
            counts: !args.quiet,
        })
    }

    /// Returns whether a request with this SQL is to be written. Statements are counted until one is.
    fn select(&mut self, sql: Option<&Sql<'_>>, is_none_selected: bool) -> bool {
        if self.fingerprints.is_empty() && !(self.counts && is_none_selected) {
            return self.matches(sql);
        }
        let fingerprint = self.tally.count(sql);
        let is_one = |fingerprint| self.fingerprints.contains(&fingerprint);
        (self.fingerprints.is_empty() || fingerprint.is_some_and(is_one)) && self.matches(sql)
    }

    fn matches(&mut self, sql: Option<&Sql<'_>>) -> bool {
        let Some(regex) = &self.sql else { return true };
        let Some(sql) = sql else { return false };
        // What decides beside its bytes how SQL is written.
        let manner = Sql { text: Text(&[], sql.text.1), redaction: sql.redaction };
        match self.matching.get(sql.text.0) {
            Some((kept, matches)) if *kept == manner => *matches,
            _ => {
                let matches = regex.is_match(&sql.masked());
                self.matching.offer(sql.text.0, 0, || (manner, matches));
                matches
            }
        }
    }
}
