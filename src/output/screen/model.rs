//! What a screen can show: counted and kept from the records of a capture, in bounded memory.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::messages::Messages;
use super::rates::Rates;
use super::requests::Requests;
use super::streams::Streams;
use super::view::{
    Activity, ErrorCount, ErrorKind, ErrorRow, Ladder, Overview, PoolRow, RequestRow, RunningRow, SessionRow,
    StatementRow, StreamRow, Who, Window, WireBytes,
};
use crate::dissector::OpenSession;
use crate::output::stats::pools::Pools;
use crate::output::stats::windows::{Key, Windows};
use crate::output::stats::{example, owned};
use crate::pg::message::Decoded;
use crate::pg::text::Text;
use crate::record::query::Fingerprint;
use crate::record::summary::Example;
use crate::record::{
    Encryption, EndReason, Ended, MessageEvent, MessageRun, Outcome, QueryRecord, Reason, Record, ReplicationEvent,
    RunningState, SessionRecord, StatsRecord,
};
use crate::sql::normalize;
use crate::time::Timestamp;

/// The most sessions that have ended, and errors, that are kept.
const MAX_ENDED: usize = 4_096;
const MAX_ERRORS: usize = 1_024;

/// The most pools behind poolers that are shown, and statements of each.
const MAX_POOLS: usize = 64;

/// The most SQLSTATEs that are told apart.
const MAX_CODES: usize = 1_024;

/// The most messages for the user.
const MAX_NOTES: usize = 100;

/// What a screen can show.
#[derive(Debug)]
pub(crate) struct Model {
    windows: Windows,
    rates: Rates,
    requests: Requests,
    messages: Messages,
    streams: Streams,
    pools: Pools,
    running: Arc<[RunningRow]>,
    /// The sessions that are open, and those of them that are idle in a transaction.
    open: Vec<Arc<SessionRow>>,
    idle: Vec<RunningRow>,
    ended: VecDeque<Arc<SessionRow>>,
    errors: VecDeque<Arc<ErrorRow>>,
    codes: BTreeMap<String, (Option<&'static str>, u64)>,
    overview: Overview,
    /// Of sessions that have ended.
    ended_midstream: u64,
    ended_encrypted: u64,
    /// Of those, how many the end of the capture has ended.
    open_at_end: u64,
    /// What the connections do that have a request under way, and since when.
    active: HashMap<u64, (Activity, Timestamp), RandomState>,
    /// The requests under way that were emitted since the last refresh.
    next_running: Vec<RunningRow>,
    /// The statements of requests under way: those that are published, and those that were added since.
    keys: [Vec<Key>; 2],
}

impl Model {
    /// Creates a model that keeps at most so many bytes of messages.
    pub(crate) fn new(max_message_bytes: usize) -> Self {
        Self {
            windows: Windows::default(),
            rates: Rates::default(),
            requests: Requests::default(),
            messages: Messages::new(max_message_bytes),
            streams: Streams::default(),
            pools: Pools::new(MAX_POOLS),
            running: Arc::default(),
            open: Vec::new(),
            idle: Vec::new(),
            ended: VecDeque::new(),
            errors: VecDeque::new(),
            codes: BTreeMap::new(),
            overview: Overview { is_under_way: true, ..Overview::default() },
            ended_midstream: 0,
            ended_encrypted: 0,
            open_at_end: 0,
            active: HashMap::default(),
            next_running: Vec::new(),
            keys: Default::default(),
        }
    }

    /// Adds a record, other than one of a message.
    pub(crate) fn record(&mut self, record: &Record<'_>) {
        match record {
            Record::Query(query) => self.request_of_client(query),
            Record::Running(running) => {
                let row = running_row(&example::request(&running.query, None), running.state, &running.query);
                self.next_running.push(row);
                let [_, next] = &mut self.keys;
                next.push(self.windows.statement(&running.query).0);
            }
            Record::Session(session) => self.session(session),
            Record::Change(change) => self.streams.change(change.header.conn, change.header.ts),
            Record::Transaction(transaction) => self.streams.transaction(transaction),
            Record::Loss(loss) => self.overview.foreign += u64::from(loss.reason == Reason::NotPostgresql),
            Record::Message(_) | Record::Stats(_) | Record::Summary(_) => {}
        }
    }

    /// Adds a message of a replication stream or a base backup.
    pub(crate) fn replication(&mut self, event: &ReplicationEvent<'_>) {
        self.streams.event(event);
    }

    /// Keeps a message.
    pub(crate) fn message<'a>(&mut self, event: &MessageEvent<'a>, decoded: &mut Option<Decoded<'a>>) {
        self.messages.message(event, decoded);
    }

    /// Keeps the first messages of a run of data, and counts the others.
    pub(crate) fn data(&mut self, run: &MessageRun<'_>) {
        self.messages.data(run);
    }

    /// Adds a request: once, if it went through a pooler.
    fn request_of_client(&mut self, record: &QueryRecord<'_>) {
        if record.evidence.is_at_pooler {
            let (key, text) = self.windows.statement(record);
            let fingerprint = if let Key::Fingerprint(hash) = key { Some(hash) } else { None };
            self.pools.request(record, (fingerprint, text));
        }
        if let Some(counted) = record.counted() {
            self.request(&counted);
        }
    }

    fn request(&mut self, record: &QueryRecord<'_>) {
        let has_failed = record.has_failed();
        self.rates.add(record, has_failed);
        self.streams.request(record);
        let (key, text) = self.windows.add(record, has_failed);
        if let Some(text) = text {
            self.messages.note_statement(record.header.conn, record.query, text);
        }
        self.requests.add(key, record, || request_row(example::request(record, None)));
        if has_failed {
            let kind = if record.outcome == Outcome::Canceled { ErrorKind::Cancel } else { ErrorKind::Request };
            self.error(kind, example::request(record, None), record.error.as_ref().and_then(|error| error.condition));
        }
    }

    fn session(&mut self, record: &SessionRecord<'_>) {
        let Some(ended) = &record.ended else { return };
        self.streams.end(record.header.conn);
        let is_session = record.flags.midstream || record.protocol_version.is_some() || record.encryption.is_some();
        if !is_session {
            return;
        }
        self.ended_midstream += u64::from(record.flags.midstream);
        self.ended_encrypted += u64::from(is_unreadable(record));
        self.open_at_end += u64::from(ended.end_reason == EndReason::CaptureEnd);
        let activity = Activity::Ended(Some(ended.end_reason));
        self.ended.push_back(Arc::new(session_row(record, ended, activity, Some(record.header.ts))));
        if self.ended.len() > MAX_ENDED {
            self.overview.forgotten_sessions += 1;
            self.ended.pop_front();
        }
        if let Some(error) = &record.error {
            let is_login = record.ready_us.is_none() && !record.flags.midstream;
            let kind = if is_login { ErrorKind::Login } else { ErrorKind::Session };
            // An error that failed a request was counted with it.
            let was_counted = self.errors.iter().rev().take(64).any(|row| row.who.conn == record.header.conn);
            if !was_counted {
                self.error(kind, example::session(record), error.condition);
            }
        }
    }

    fn error(&mut self, kind: ErrorKind, example: Example, condition: Option<&'static str>) {
        let code = example.code.clone().unwrap_or_default();
        self.overview.errors += 1;
        if self.codes.len() < MAX_CODES || self.codes.contains_key(&code) {
            let (_, count) = self.codes.entry(code.clone()).or_insert((condition, 0));
            *count += 1;
        }
        let params = params(&example);
        self.errors.push_back(Arc::new(ErrorRow {
            ts: example.ts,
            query: example.query,
            kind,
            code,
            condition,
            message: example.message.clone().unwrap_or_default(),
            sql: example.sql.clone().unwrap_or_default(),
            params,
            total_us: example.total_us.or(example.age_us),
            who: who(example),
        }));
        if self.errors.len() > MAX_ERRORS {
            self.overview.forgotten_errors += 1;
            self.errors.pop_front();
        }
    }

    /// Publishes the requests under way that were added since the last time, with counters, as of this time of the capture.
    pub(crate) fn refresh(&mut self, now: Timestamp, started: Option<Timestamp>, stats: &StatsRecord) {
        let mut rows = std::mem::take(&mut self.next_running);
        let [keys, next_keys] = &mut self.keys;
        *keys = std::mem::take(next_keys);
        self.overview.running = rows.len() as u64;
        self.active = active(&rows);
        // A session that has gone on since its last look is not idle any more.
        let is_idle = |idle: &&RunningRow| !self.active.contains_key(&idle.who.conn);
        let idle: Vec<_> = self.idle.iter().filter(is_idle).cloned().collect();
        self.overview.idle_in_transaction = idle.len() as u64;
        rows.extend(idle);
        self.running = rows.into();
        let overview = &mut self.overview;
        (overview.now, overview.started) = (now, started);
        let counters = &stats.counters;
        overview.packets = counters.packets;
        overview.messages = counters.messages;
        overview.open_connections = counters.open_connections;
        overview.lost_bytes = counters.missing_bytes.saturating_add(counters.skipped_bytes);
        overview.dropped = stats.kernel.map(|kernel| kernel.dropped.saturating_add(kernel.interface_dropped));
    }

    /// Begins to replace the sessions that are open.
    pub(crate) fn begin_sessions(&mut self) {
        self.open.clear();
        self.idle.clear();
        self.active = active(&self.next_running);
        (self.overview.midstream_sessions, self.overview.encrypted_sessions) =
            (self.ended_midstream, self.ended_encrypted);
    }

    /// Adds a session that is open.
    pub(crate) fn open_session(&mut self, open: &OpenSession<'_>) {
        let OpenSession { session, totals, is_ready, idle_in_transaction_since, active_at } = open;
        let is_unreadable = is_unreadable(session);
        self.overview.midstream_sessions += u64::from(session.flags.midstream);
        self.overview.encrypted_sessions += u64::from(is_unreadable);
        let active = self.active.get(&session.header.conn);
        let (activity, since) = match (active, idle_in_transaction_since) {
            _ if is_unreadable => (Activity::Encrypted, None),
            (Some((activity, since)), _) => (*activity, Some(*since)),
            (None, Some(since)) => (Activity::IdleInTransaction, Some(*since)),
            (None, None) if *is_ready => (Activity::Idle, Some(*active_at)),
            (None, None) => (Activity::Starting, Some(session.started)),
        };
        let row = session_row(session, totals, activity, since);
        if let (Activity::IdleInTransaction, Some(since)) = (activity, since) {
            let (query, sql) = self.messages.last_statement(session.header.conn);
            self.idle.push(RunningRow {
                who: row.who.clone(),
                query,
                activity,
                since,
                sql,
                params: String::new(),
                rows: None,
                bytes_out: 0,
                is_uncertain: false,
            });
        }
        self.open.push(Arc::new(row));
    }

    /// Marks the end of the capture: what was open is among what has ended.
    pub(crate) fn end(&mut self) {
        self.open.clear();
        self.overview.is_under_way = false;
        // Some of it was found at the end.
        self.overview.open_connections = self.open_at_end;
        (self.overview.midstream_sessions, self.overview.encrypted_sessions) =
            (self.ended_midstream, self.ended_encrypted);
    }

    /// Marks the input as cut short, or damaged.
    pub(crate) const fn set_partial(&mut self) {
        self.overview.is_partial = true;
    }

    /// Adds a message for the user.
    pub(crate) fn note(&mut self, text: &str) {
        let notes = &mut self.overview.notes;
        if notes.len() < MAX_NOTES {
            notes.push(text.to_owned());
        }
    }

    /// Returns the time of the last refresh: everything up to it is known.
    pub(crate) const fn now(&self) -> Timestamp {
        self.overview.now
    }

    /// Returns what is shown above every list.
    pub(crate) fn overview(&self) -> Overview {
        let (streams, open_streams) = (self.streams.len(), self.streams.open());
        let (rates, pools) = (self.rates.until(self.overview.now), self.pools.len());
        Overview { rates, streams, open_streams, pools, ..self.overview.clone() }
    }

    /// Returns the requests that were under way at the last refresh, and sessions that were idle in a transaction.
    pub(crate) fn running(&self) -> Arc<[RunningRow]> {
        Arc::clone(&self.running)
    }

    /// Returns statements of a window of time that ends now.
    pub(crate) fn statements(&self, window: Window, now: Timestamp) -> Vec<StatementRow> {
        let last = match window {
            Window::TenSeconds => Some(10),
            Window::Minute => Some(60),
            Window::FiveMinutes => Some(300),
            Window::All => None,
        };
        let (sums, seconds) = self.windows.sums(now, last);
        let rows = sums.into_iter().map(|(key, sums)| StatementRow {
            fingerprint: match key {
                Key::Fingerprint(hash) => Some(Fingerprint(normalize::Fingerprint(hash)).0.to_string()),
                Key::Unknown | Key::Others => None,
            },
            sql: match key {
                Key::Others => "(statements beyond the limit)".to_owned(),
                key => self.windows.text(key).unwrap_or_default().to_owned(),
            },
            calls: sums.calls,
            errors: sums.errors,
            calls_per_second: sums.calls as f64 / seconds,
            total_us: sums.timing.sum,
            mean_us: sums.timing.mean(),
            p95_us: sums.timing.quantile(95),
            max_us: sums.timing.max,
            rows: sums.rows,
            bytes: sums.bytes,
        });
        rows.collect()
    }

    /// Returns sessions that are open, and those that have ended lately.
    pub(crate) fn sessions(&self) -> Vec<Arc<SessionRow>> {
        self.open.iter().chain(&self.ended).map(Arc::clone).collect()
    }

    /// Returns replication streams, as of this time.
    pub(crate) fn streams(&self, now: Timestamp) -> Vec<Arc<StreamRow>> {
        self.streams.rows(now)
    }

    /// Returns what went through poolers.
    pub(crate) fn pools(&self) -> Vec<Arc<PoolRow>> {
        let pools = self.pools.summaries(self.overview.now.precision()).into_iter();
        pools.map(|pool| Arc::new(PoolRow(pool))).collect()
    }

    /// Returns the latest errors, the latest last.
    pub(crate) fn errors(&self) -> Vec<Arc<ErrorRow>> {
        self.errors.iter().map(Arc::clone).collect()
    }

    /// Returns how often each SQLSTATE came.
    pub(crate) fn error_counts(&self) -> Vec<ErrorCount> {
        let codes = self.codes.iter();
        codes.map(|(code, &(condition, count))| ErrorCount { code: code.clone(), condition, count }).collect()
    }

    /// Returns some requests of a statement: those under way, the latest, the slowest, and those that failed.
    pub(crate) fn requests(&self, statement: &StatementRow) -> Vec<RequestRow> {
        let hash = statement.fingerprint.as_ref().map(|hash| u64::from_str_radix(hash, 16));
        let key = hash.map_or(Key::Unknown, |hash| hash.map_or(Key::Unknown, Key::Fingerprint));
        let [keys, _] = &self.keys;
        let running = self.running.iter().zip(keys).filter(|(_, own)| **own == key).map(|(row, _)| RequestRow {
            who: row.who.clone(),
            query: row.query,
            ts: row.since,
            total_us: None,
            rows: row.rows.unwrap_or_default(),
            bytes: row.bytes_out,
            error: String::new(),
            params: row.params.clone(),
        });
        // At the end of a file, those under way are among the others as well.
        let mut rows: Vec<RequestRow> = self.requests.of(key);
        for row in running {
            if !rows.iter().any(|other| (other.who.conn, other.query) == (row.who.conn, row.query)) {
                rows.push(row);
            }
        }
        rows
    }

    /// Returns the bytes that the messages of all sessions need.
    #[cfg(test)]
    pub(crate) const fn message_bytes(&self) -> usize {
        self.messages.bytes()
    }

    /// Returns the messages of a session, as far as they are kept.
    pub(crate) fn ladder(&self, conn: u64) -> Ladder {
        self.messages.ladder(conn)
    }

    /// Returns the bytes of a message of a session.
    pub(crate) fn wire_bytes(&self, conn: u64, seq: u64) -> WireBytes {
        self.messages.wire_bytes(conn, seq)
    }
}

/// Returns what the connections do that have a request under way.
fn active(rows: &[RunningRow]) -> HashMap<u64, (Activity, Timestamp), RandomState> {
    // Of several requests of a connection, the first is the one that is executed.
    rows.iter().rev().map(|row| (row.who.conn, (row.activity, row.since))).collect()
}

fn who(example: Example) -> Who {
    let Example { conn, client, server, user, database, application, .. } = example;
    Who { conn, client, server, user, database, application }
}

fn params(example: &Example) -> String {
    let Some(params) = &example.params else { return String::new() };
    let values: Vec<&str> = params.0.iter().map(|value| value.get()).collect();
    format!("[{}]", values.join(","))
}

fn request_row(example: Example) -> RequestRow {
    RequestRow {
        query: example.query,
        ts: example.started,
        total_us: example.total_us,
        rows: example.rows.unwrap_or_default(),
        bytes: example.bytes_in.saturating_add(example.bytes_out),
        error: example.code.clone().unwrap_or_default(),
        params: params(&example),
        who: who(example),
    }
}

fn running_row(example: &Example, state: RunningState, record: &QueryRecord<'_>) -> RunningRow {
    RunningRow {
        query: example.query,
        activity: Activity::Request(state),
        since: record.started,
        sql: example.sql.clone().unwrap_or_default(),
        params: params(example),
        rows: record.rows,
        bytes_out: record.bytes_out,
        is_uncertain: record.flags.uncertain,
        who: who(example.clone()),
    }
}

fn session_row(record: &SessionRecord<'_>, totals: &Ended, activity: Activity, since: Option<Timestamp>) -> SessionRow {
    let text = |text: Option<Text<'_>>| text.map(owned);
    SessionRow {
        who: Who {
            conn: record.header.conn,
            client: record.header.client.to_owned(),
            server: record.header.server.to_owned(),
            user: text(record.user),
            database: text(record.database),
            application: text(record.application),
        },
        process_id: record.process_id,
        activity,
        since,
        started: record.started,
        is_midstream: record.flags.midstream,
        requests: totals.queries,
        errors: totals.errors,
        bytes_in: totals.bytes_in,
        bytes_out: totals.bytes_out,
        rtt_client_us: record.rtt_client_us,
        rtt_server_us: record.rtt_server_us,
        lost_bytes: totals.lost_bytes,
        idle_in_transaction_us: totals.idle_in_transaction_us,
        encryption: match (&record.tls, record.encryption) {
            (Some(tls), _) => tls.version.unwrap_or("TLS").to_owned(),
            (None, Some(Encryption::Tls)) => "TLS".to_owned(),
            (None, Some(Encryption::Gssapi)) => "GSSAPI".to_owned(),
            (None, None) => String::new(),
        },
    }
}

/// Whether the content of a session is encrypted, and cannot be read.
fn is_unreadable(record: &SessionRecord<'_>) -> bool {
    match record.encryption {
        Some(Encryption::Tls) => record.tls.as_ref().is_none_or(|tls| !tls.decrypted),
        Some(Encryption::Gssapi) => true,
        None => false,
    }
}
