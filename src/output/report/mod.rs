//! A summary as a page: one file that needs nothing else, to be sent to others.
//!
//! The template has all figures and texts as tables, so that the page can be read and printed without its script, which only sorts,
//! filters, unfolds and draws the charts. Text from the wire becomes HTML in [`text`] alone; whatever else the template is given, it
//! escapes. Should something get through all the same, the page's policy lets no script run but its own, and nothing be loaded.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::io;

use askama::Template;
use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};

use self::chart::{Chart, Histogram, Json};
use self::figure as fig;
use self::figure::Instant;
use self::text::Text;
use self::timeline::Timeline;
use crate::output::summary::replication as repl;
use crate::record::Summary;
use crate::record::summary::{
    Bucket, Difference, Params, Pool, PoolBucket, ReplicationBucket, ReplicationStream, Share, StatementSummary, Times,
};
use crate::time::Timestamp;

mod chart;
mod figure;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
mod text;
mod timeline;

/// The most bytes of a page: what a mail server still accepts, with room to spare.
const MAX_PAGE: usize = 3 * 1024 * 1024;

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// How much of a summary is shown. Where the page would be too large, it is made again with less.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Rows of a table.
    rows: usize,
    /// Rows of a list within a row.
    nested: usize,
    /// Characters of a text.
    text: usize,
    /// Points of a chart.
    points: usize,
}

const LIMITS: [Limits; 6] = [
    Limits { rows: 1_000, nested: 100, text: 8_192, points: 1_000 },
    Limits { rows: 1_000, nested: 20, text: 1_024, points: 500 },
    Limits { rows: 200, nested: 10, text: 1_024, points: 500 },
    Limits { rows: 100, nested: 5, text: 256, points: 250 },
    Limits { rows: 20, nested: 5, text: 128, points: 100 },
    // Even where each character is written as its code, and each list is full.
    Limits { rows: 5, nested: 2, text: 64, points: 50 },
];

/// Writes a summary as a page of at most 3 MiB.
///
/// # Errors
///
/// Those of `out`.
pub(crate) fn write(out: &mut dyn io::Write, summary: &Summary) -> io::Result<()> {
    for limits in LIMITS {
        let mut page = Bounded { page: String::new() };
        match Page::new(summary, limits)?.render_into(&mut page) {
            Ok(()) => return out.write_all(page.page.as_bytes()),
            // It is too large: with the next limits then.
            Err(askama::Error::Fmt) => {}
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    Err(io::Error::other("the report is too large, however much is left out"))
}

/// A page that can no longer be written to once it is too large.
struct Bounded {
    page: String,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.page.len() + text.len() > MAX_PAGE {
            return Err(fmt::Error);
        }
        self.page.push_str(text);
        Ok(())
    }
}

/// What the template is filled with.
#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    s: &'a Summary,
    view: View<'a>,
    style: Trusted,
    script: Trusted,
    style_hash: String,
    script_hash: String,
    chart: Json,
    /// All requests with a time.
    histogram: Histogram,
}

impl<'a> Page<'a> {
    fn new(summary: &'a Summary, limits: Limits) -> io::Result<Self> {
        let histogram = Histogram::new(summary.traffic.buckets.iter().flat_map(|bucket| &bucket.histogram));
        Ok(Self {
            s: summary,
            view: View::new(summary, limits),
            style: Trusted(STYLE),
            script: Trusted(SCRIPT),
            style_hash: hash(STYLE),
            script_hash: hash(SCRIPT),
            chart: Chart::new(&summary.traffic, limits.points).json()?,
            histogram,
        })
    }

    /// The lists of a comparison: the name of the section, its heading, the statements, and which of both captures has calls of them.
    fn differences(&self) -> Vec<(&'static str, &'static str, &'a [Difference], bool, bool)> {
        let Some(baseline) = &self.s.baseline else { return Vec::new() };
        let lists = [
            ("explained", "What explains most of the change", &baseline.explained),
            ("appeared", "Appeared", &baseline.appeared),
            ("vanished", "Vanished", &baseline.vanished),
            ("slower", "Slower", &baseline.slower),
            ("faster", "Faster", &baseline.faster),
            ("more_frequent", "More frequent", &baseline.more_frequent),
            ("less_frequent", "Less frequent", &baseline.less_frequent),
            ("began_to_fail", "Began to fail", &baseline.began_to_fail),
        ];
        let lists = lists.into_iter().map(|(id, heading, list)| (id, heading, list.as_slice()));
        lists.map(|(id, heading, list)| (id, heading, list, id != "appeared", id != "vanished")).collect()
    }

    /// Where the time went: the name of each part, what it is, and its microseconds.
    fn time_parts(&self) -> [(&'static str, &'static str, u64); 5] {
        let time = &self.s.time;
        [
            ("Server", "worked before its first reply", time.server_us),
            ("Transfer", "replies were under way", time.transfer_us),
            ("Client stall", "the client's receive window was full", time.client_stall_us),
            ("Network", "one round trip for each request", time.network_us),
            (
                "Idle in transaction",
                "a transaction was open, the client asked for nothing",
                time.idle_in_transaction_us,
            ),
        ]
    }

    /// All of these together.
    fn time_whole(&self) -> u64 {
        self.time_parts().iter().map(|(.., micros)| *micros).fold(0, u64::saturating_add)
    }

    /// What of the capture is missing, so that figures are too low: how many of what.
    fn notices(&self) -> Vec<(u64, &'static str)> {
        let capture = &self.s.capture;
        let dropped = capture.kernel.map_or(0, |kernel| kernel.dropped.saturating_add(kernel.interface_dropped));
        let mut notices = vec![
            (dropped, "packets were dropped by the kernel"),
            (capture.counters.missing_bytes, "bytes are missing"),
            (capture.counters.skipped_bytes, "bytes were skipped, for no message boundary was found"),
            (capture.midstream_sessions, "sessions had begun before the capture"),
            (capture.undecrypted_sessions, "sessions are encrypted, and were not decrypted"),
            (capture.uncertain_requests, "requests have uncertain figures, for bytes were lost"),
            (capture.forgotten_statements, "statements were forgotten, for there were too many at a time"),
        ];
        notices.retain(|(count, _)| *count > 0);
        notices
    }

    /// All counters of the capture, by name.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        let capture = &self.s.capture;
        let mut counters: Vec<_> = capture.counters.named().collect();
        if let Some(kernel) = capture.kernel {
            counters.push(("kernel.received", kernel.received));
            counters.push(("kernel.dropped", kernel.dropped));
            counters.push(("kernel.interface_dropped", kernel.interface_dropped));
        }
        counters.extend([
            ("midstream_sessions", capture.midstream_sessions),
            ("undecrypted_sessions", capture.undecrypted_sessions),
            ("uncertain_requests", capture.uncertain_requests),
            ("forgotten_statements", capture.forgotten_statements),
            ("forgotten_exec_us", capture.forgotten_exec_us),
        ]);
        counters
    }

    /// Whether something was replicated.
    fn has_replication(&self) -> bool {
        !self.s.replication_streams.is_empty() || !self.s.base_backups.is_empty()
    }

    /// How many requests, sessions and logins failed, of those that are listed by kind.
    fn failures(&self) -> u64 {
        let errors = self.s.errors.iter().map(|error| error.count);
        errors.fold(0, u64::saturating_add)
    }
}

/// The hash of a style or script, by which the page's policy allows it.
fn hash(text: &str) -> String {
    let mut encoded = [0; 44];
    // SHA-256 in Base64 has that length.
    Base64::encode(&Sha256::digest(text), &mut encoded).unwrap_or_default().to_owned()
}

/// A text of the program's own.
#[derive(Clone, Copy)]
struct Trusted(&'static str);

impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl askama::filters::HtmlSafe for Trusted {}

/// How parts of a summary are shown, wherever they are.
struct View<'a> {
    limits: Limits,
    /// The fingerprints of the statements that have an entry.
    listed: HashSet<Option<&'a str>>,
    /// The SQLSTATEs that have an entry.
    codes: HashSet<&'a str>,
    /// Whether the capture is of more than one day.
    has_dates: bool,
}

impl<'a> View<'a> {
    fn new(summary: &'a Summary, limits: Limits) -> Self {
        let day = |ts: Timestamp| ts.as_nanos().div_euclid(86_400_000_000_000);
        let buckets = &summary.traffic.buckets;
        let ends = [buckets.first(), buckets.last()].map(|bucket| bucket.map(|bucket| bucket.started));
        let mut days = ends.into_iter().chain([summary.capture.started, summary.ts]).flatten().map(day);
        let first = days.next();
        Self {
            limits,
            listed: summary.statements.iter().take(limits.rows).map(|listed| listed.fingerprint.as_deref()).collect(),
            codes: summary.errors.iter().take(limits.rows).map(|error| error.code.as_str()).collect(),
            has_dates: days.any(|day| Some(day) != first),
        }
    }

    /// The rows of a table that are shown.
    fn rows<'s, T>(&self, list: &'s [T]) -> &'s [T] {
        list.get(..self.limits.rows).unwrap_or(list)
    }

    /// How many are not.
    fn left_out<T>(&self, list: &[T]) -> usize {
        list.len().saturating_sub(self.limits.rows)
    }

    /// The items of a list in a row that are shown.
    fn nested<'s, T>(&self, list: &'s [T]) -> &'s [T] {
        list.get(..self.limits.nested).unwrap_or(list)
    }

    /// How many are not.
    fn nested_left_out<T>(&self, list: &[T]) -> usize {
        list.len().saturating_sub(self.limits.nested)
    }

    /// A text of many lines.
    fn block<'s>(&self, text: &'s str) -> Text<'s> {
        text::block(text, self.limits.text)
    }

    /// Whether the whole of a text is seen where it is a line of a table.
    fn fits_line(&self, text: &str) -> bool {
        !text.trim_ascii().contains('\n') && text.chars().nth(100).is_none()
    }

    fn instant(&self, at: &Timestamp) -> Instant {
        Instant { at: *at, has_date: self.has_dates }
    }

    /// An instant with its date, to the second, without an element.
    fn date(&self, at: &Timestamp) -> String {
        at.to_string().get(..19).unwrap_or_default().replace('T', " ")
    }

    /// The columns of a bucket.
    fn columns(&self, bucket: &Bucket) -> [u64; 12] {
        let Times { timed, exec_us, mean_us, p50_us, p95_us, p99_us, max_us } = bucket.times;
        let Bucket { requests, errors, connects, bytes_in, bytes_out, .. } = *bucket;
        [requests, errors, connects, bytes_in, bytes_out, timed, exec_us, mean_us, p50_us, p95_us, p99_us, max_us]
    }

    /// The times of two captures, side by side.
    fn times(&self, before: &Times, after: &Times) -> [(&'static str, u64, u64); 5] {
        [
            ("Mean", before.mean_us, after.mean_us),
            ("p50", before.p50_us, after.p50_us),
            ("p95", before.p95_us, after.p95_us),
            ("p99", before.p99_us, after.p99_us),
            ("Max", before.max_us, after.max_us),
        ]
    }

    /// The entry of a statement, if there is one.
    fn statement<'s>(&self, fingerprint: impl Borrow<Option<&'s str>>) -> Option<String> {
        let fingerprint = *fingerprint.borrow();
        self.listed.contains(&fingerprint).then(|| anchor(fingerprint))
    }

    /// The identifier of a statement's entry.
    fn statement_anchor(&self, fingerprint: &Option<String>) -> String {
        anchor(fingerprint.as_deref())
    }

    /// The identifier of an SQLSTATE's entry.
    fn code_anchor(&self, code: &str) -> String {
        format!("error-{}", plain(code))
    }

    /// The entry of an SQLSTATE, if there is one.
    fn code(&self, code: &str) -> Option<String> {
        self.codes.contains(code).then(|| self.code_anchor(code))
    }

    /// The values of parameters with their numbers: `("$1", "42")`.
    fn params<'s>(&self, params: &'s Params) -> Vec<(String, Text<'s>)> {
        let shown = self.nested(&params.0).iter().enumerate();
        shown.map(|(index, value)| (format!("${}", index + 1), self.block(value.get()))).collect()
    }

    /// The times at which something was streamed, or confirmed.
    fn busy<'s>(&self, stream: &'s ReplicationStream) -> Vec<&'s ReplicationBucket> {
        let buckets = stream.over_time.buckets.iter();
        buckets.filter(|bucket| bucket.bytes > 0 || bucket.changes > 0 || bucket.lag_us.is_some()).collect()
    }

    /// The times at which something came through a pooler.
    fn busy_pool<'s>(&self, pool: &'s Pool) -> Vec<&'s PoolBucket> {
        let buckets = pool.over_time.buckets.iter();
        let is_busy = |bucket: &&PoolBucket| {
            let PoolBucket { started: _, requests, wait_us, busy_us, idle_in_transaction_us } = **bucket;
            [requests, wait_us, busy_us, idle_in_transaction_us].iter().any(|figure| *figure > 0)
        };
        buckets.filter(is_busy).collect()
    }

    /// The chart of a stream over time.
    fn timeline(&self, stream: &ReplicationStream) -> Timeline {
        Timeline::of_stream(&stream.over_time, self.limits.points)
    }

    /// The chart of a pool over time.
    fn pool_timeline(&self, pool: &Pool) -> Timeline {
        Timeline::of_pool(&pool.over_time, self.limits.points)
    }

    fn histogram(&self, statement: &StatementSummary) -> Histogram {
        Histogram::new(&statement.histogram)
    }

    /// What called a statement: the heading, the section of all of them, and how often each.
    fn callers<'s>(&self, statement: &'s StatementSummary) -> [(&'static str, &'static str, &'s [Share]); 4] {
        [
            ("Users", "users", &statement.users),
            ("Databases", "databases", &statement.databases),
            ("Applications", "applications", &statement.applications),
            ("Clients", "clients", &statement.clients),
        ]
    }
}

/// The identifier of a statement's entry.
fn anchor(fingerprint: Option<&str>) -> String {
    format!("statement-{}", plain(fingerprint.unwrap_or("unknown")))
}

/// A text as a part of an identifier: what cannot stand in one is written as its code, so that different texts stay different.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for character in text.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' => plain.push(character),
            _ => plain.push_str(&format!("-{:x}-", u32::from(character))),
        }
    }
    plain
}
