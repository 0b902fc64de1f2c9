//! Replication: what streams add up to, by slot and client.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::RandomState;

use super::build::per_second;
use super::histogram::Timing;
use super::series::{Merge, Series};
use super::top::Top;
use super::{add_each, owned};
use crate::pg::text::Text;
use crate::record::ends::without_port;
use crate::record::summary::{
    LargeTransaction, ReplicationBucket, ReplicationStream, ReplicationTraffic, TableChanges,
};
use crate::record::{
    ChangeRecord, EndReason, Lag, Operation, Purpose, QueryRecord, ReplicationEvent, ReplicationKind, SessionRecord,
    TransactionOutcome, TransactionRecord,
};
use crate::replication::Lsn;
use crate::replication::command::Command;
use crate::replication::relation::MAX_NAME;
use crate::session::execution::Outcome;
use crate::time::{Precision, Timestamp};

/// How many streams are told apart. What is beyond is one without names.
const MAX_STREAMS: usize = 512;

/// How many tables are told apart, of all streams together.
const MAX_TABLES: usize = 16_384;

/// How many transactions are remembered, of all streams together, to know those that are sent again: the last of each.
const MAX_SENT: usize = 65_536;

/// How many sessions with a walsender that have ended, and how many slots, are remembered.
const MAX_ENDED: usize = 16_384;

/// A client that is further behind is listed before those with more bytes, in microseconds.
const LATE: u64 = 10_000_000;

/// What streams add up to.
#[derive(Debug)]
pub(super) struct Replication {
    streams: Vec<Stream>,
    by_key: HashMap<Box<[u8]>, usize, RandomState>,
    /// How many tables all streams have.
    tables: usize,
    /// How many transactions all streams remember.
    sent: usize,
    transactions: Top<Listed>,
    /// Connections that have ended.
    ended: HashSet<u64, RandomState>,
    /// Whether a slot is dropped, or will be with its session; by its server and its name.
    dropped: HashMap<(Box<str>, Box<str>), Latest<bool>, RandomState>,
    /// The connection of the last message, and its stream: changes come right behind the message that they are in.
    current: Option<(u64, usize)>,
    key: Vec<u8>,
}

/// A transaction that may be one of the largest.
#[derive(Clone, Debug)]
struct Listed {
    /// The key of its stream.
    stream: Box<[u8]>,
    /// Where its commit, or its preparation, is.
    lsn: Option<Lsn>,
    transaction: LargeTransaction,
}

impl Listed {
    /// Whether it is the same, sent again.
    fn is_same(&self, stream: &[u8], lsn: Option<Lsn>, outcome: Option<TransactionOutcome>) -> bool {
        lsn.is_some() && self.lsn == lsn && self.transaction.outcome == outcome && *self.stream == *stream
    }
}

/// What a client has confirmed, and since when there is something behind it; and whether that may be longer. It is known for a slot and
/// client, not for a connection: who fails in a loop confirms the same again and again.
#[derive(Clone, Copy, Debug, Default)]
struct Unconfirmed {
    confirmed: Lsn,
    since: Option<(Timestamp, bool)>,
}

impl Unconfirmed {
    fn merge(&mut self, other: Self) {
        if other.confirmed > self.confirmed {
            *self = other;
        } else if other.confirmed == self.confirmed {
            // Of two at the same time, the one that may be longer.
            let order = |(ts, is_least): (Timestamp, bool)| (ts, !is_least);
            self.since = self.since.into_iter().chain(other.since).min_by_key(|since| order(*since));
        }
    }
}

/// When something was: the time, and the packet.
type Place = (Timestamp, u64);

/// The latest of what was told.
#[derive(Clone, Copy, Debug)]
struct Latest<T>(Option<(Place, T)>);

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Latest<T> {
    fn set(&mut self, place: Place, value: T) {
        if self.0.as_ref().is_none_or(|(before, _)| *before <= place) {
            self.0 = Some((place, value));
        }
    }

    /// Sets it, with a value that is made only if it is another than that which is known.
    fn set_if_new(&mut self, place: Place, is_known: impl FnOnce(&T) -> bool, value: impl FnOnce() -> T) {
        match &mut self.0 {
            Some((before, known)) if is_known(known) => *before = place.max(*before),
            _ => self.set(place, value()),
        }
    }

    fn merge(&mut self, other: Self) {
        if let Some((place, value)) = other.0 {
            self.set(place, value);
        }
    }

    fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|(_, value)| value)
    }

    /// Returns whether it was told later than another.
    fn is_later(&self, other: &Self) -> bool {
        let place = |latest: &Self| latest.0.as_ref().map(|(place, _)| *place);
        place(self) > place(other)
    }
}

/// The streams of one client from one slot.
#[derive(Debug, Default)]
struct Stream {
    key: Box<[u8]>,
    slot: Option<Box<str>>,
    user: Option<Box<str>>,
    database: Option<Box<str>>,
    application: Option<Box<str>>,
    client_ip: Box<str>,
    server: Box<str>,
    plugin: Latest<Box<str>>,
    purpose: Latest<Purpose>,
    first: Option<Timestamp>,
    /// With the connection.
    last: Latest<u64>,
    streams: u64,
    active_us: u64,
    bytes: u64,
    /// The furthest: a change has its own position, which is behind that of a keepalive before it.
    end_lsn: Option<Lsn>,
    confirmed: [Latest<Lsn>; 3],
    lag: Latest<Lag>,
    lag_max: Most,
    unconfirmed: Unconfirmed,
    lag_bytes: Timing,
    lag_us: Timing,
    tables: HashMap<u32, Table, RandomState>,
    other_changes: u64,
    logical_messages: u64,
    fates: Fates,
    /// The last transactions, by the position of their commit or preparation, with the most changes that were sent of each.
    sent: BTreeMap<Lsn, u64>,
    repeated: Repeated,
    commit_lag: Timing,
    over_time: Series<Span>,
}

/// The changes of a table.
#[derive(Debug, Default)]
struct Table {
    /// A table may get another name.
    name: Latest<(Box<str>, Box<str>)>,
    changes: TableChanges,
}

/// What became of transactions.
#[derive(Clone, Copy, Debug, Default)]
struct Fates {
    commits: u64,
    prepares: u64,
    aborts: u64,
    subtransaction_aborts: u64,
    rollbacks: u64,
    streamed: u64,
}

/// Transactions that were sent again, and their changes.
#[derive(Clone, Copy, Debug, Default)]
struct Repeated {
    transactions: u64,
    changes: u64,
}

/// What was streamed in a span of time.
#[derive(Clone, Debug, Default)]
struct Span {
    bytes: u64,
    changes: u64,
    lag: Most,
}

/// The most bytes, and the longest time, that a client was behind.
#[derive(Clone, Copy, Debug, Default)]
struct Most(Option<Lag>);

impl Merge for Span {
    fn merge(&mut self, other: &Self) {
        let Self { bytes, changes, lag } = other;
        add_each([(&mut self.bytes, bytes), (&mut self.changes, changes)]);
        lag.0.into_iter().for_each(|lag| self.lag.behind(lag));
    }
}

impl Most {
    fn behind(&mut self, lag: Lag) {
        let most = self.0.unwrap_or_default();
        self.0 = Some(Lag { bytes: most.bytes.max(lag.bytes), micros: most.micros.max(lag.micros), ..Lag::default() });
    }
}

impl Replication {
    pub(super) fn new(top: usize) -> Self {
        Self {
            streams: Vec::new(),
            by_key: HashMap::default(),
            tables: 0,
            sent: 0,
            ended: HashSet::default(),
            dropped: HashMap::default(),
            // A transaction that is prepared and then committed comes twice.
            transactions: Top::new(2 * top),
            current: None,
            key: Vec::new(),
        }
    }

    /// Adds a message.
    pub(super) fn event(&mut self, event: &ReplicationEvent<'_>) {
        let index = self.find(event);
        self.current = Some((event.header.conn, index));
        let Some(stream) = self.streams.get_mut(index) else { return };
        let place = (event.header.ts, event.packet);
        let began = if event.is_first { event.header.ts.earlier(event.elapsed_us) } else { event.header.ts };
        stream.first = Some(stream.first.map_or(began, |first| first.min(began)));
        stream.last.set(place, event.header.conn);
        stream.streams += u64::from(event.is_first);
        add_each([(&mut stream.active_us, &event.elapsed_us), (&mut stream.bytes, &event.bytes)]);
        if let Some(purpose) = event.purpose {
            stream.purpose.set(place, purpose);
        }
        if let Some(plugin) = event.plugin {
            stream.plugin.set_if_new(place, |known| known.as_bytes() == plugin.0, || owned(plugin).into());
        }
        let mut behind = None;
        match event.kind {
            ReplicationKind::Sent { end_lsn, lag } => {
                stream.end_lsn = stream.end_lsn.max(end_lsn);
                behind = lag;
            }
            ReplicationKind::Confirmed { write_lsn, flush_lsn, apply_lsn, lag } => {
                for (latest, lsn) in stream.confirmed.iter_mut().zip([write_lsn, flush_lsn, apply_lsn]) {
                    lsn.into_iter().for_each(|lsn| latest.set(place, lsn));
                }
                if let Some(lag) = lag {
                    stream.lag_bytes.add(lag.bytes);
                    stream.lag_us.add(lag.micros);
                }
                behind = lag;
            }
            _ => {}
        }
        if let Some(lag) = behind {
            stream.lag.set(place, lag);
            let since = lag.since.map(|since| (since, lag.is_least));
            stream.unconfirmed.merge(Unconfirmed { confirmed: lag.confirmed, since });
            stream.lag_max.behind(lag);
        }
        if let Some(span) = stream.over_time.at(event.header.ts) {
            span.bytes = span.bytes.saturating_add(event.bytes);
            behind.into_iter().for_each(|lag| span.lag.behind(lag));
        }
    }

    /// Adds a change in the message that was added last.
    pub(super) fn change(&mut self, record: &ChangeRecord<'_>) {
        let Some(stream) = current(self.current, &mut self.streams, record.header.conn) else { return };
        if let Some(span) = stream.over_time.at(record.header.ts) {
            span.changes += 1;
        }
        let Some(oid) = record.relation_oid else {
            stream.logical_messages += 1;
            return;
        };
        if !stream.tables.contains_key(&oid) {
            if self.tables >= MAX_TABLES {
                stream.other_changes += 1;
                return;
            }
            self.tables += 1;
        }
        let table = stream.tables.entry(oid).or_default();
        if let (Some(schema), Some(name)) = (record.schema, record.table) {
            let is_known = |(known_schema, known): &(Box<str>, Box<str>)| {
                known_schema.as_bytes() == schema.0 && known.as_bytes() == name.0
            };
            let place = (record.header.ts, record.packet);
            table.name.set_if_new(place, is_known, || (owned(schema).into(), owned(name).into()));
        }
        let TableChanges { inserts, updates, deletes, truncates, .. } = &mut table.changes;
        match record.op {
            Operation::Insert => *inserts += 1,
            Operation::Update => *updates += 1,
            Operation::Delete => *deletes += 1,
            Operation::Truncate => *truncates += 1,
            Operation::Message => {}
        }
    }

    /// Adds the fate of a transaction, in the message that was added last.
    pub(super) fn transaction(&mut self, record: &TransactionRecord<'_>) {
        let Some(stream) = current(self.current, &mut self.streams, record.header.conn) else { return };
        let fates = &mut stream.fates;
        let is_whole = record.subxid.is_none();
        let of = match record.outcome {
            TransactionOutcome::Committed => &mut fates.commits,
            TransactionOutcome::Prepared => &mut fates.prepares,
            TransactionOutcome::RolledBack => &mut fates.rollbacks,
            TransactionOutcome::Aborted if is_whole => &mut fates.aborts,
            TransactionOutcome::Aborted => &mut fates.subtransaction_aborts,
        };
        *of += 1;
        fates.streamed += u64::from(record.streamed && is_whole);
        if record.outcome == TransactionOutcome::Committed {
            record.lag_us.into_iter().for_each(|us| stream.commit_lag.add(us));
        }
        let changes = record.changes.unwrap_or_default();
        let lsn = record.commit_lsn.or(record.prepare_lsn);
        if let Some(lsn) = lsn.filter(|_| is_whole) {
            // Those of what was prepared came before.
            let is_prepared = record.gid.is_some() && record.outcome == TransactionOutcome::Committed;
            stream.send(lsn, if is_prepared { 0 } else { changes }, &mut self.sent);
        }
        if is_whole && changes > 0 {
            let outcome = Some(record.outcome);
            let is_same = |listed: &Listed| listed.is_same(&stream.key, lsn, outcome);
            let listed = || LargeTransaction {
                ts: record.header.ts,
                conn: record.header.conn,
                packet: record.packet,
                slot: string(&stream.slot),
                application: string(&stream.application),
                client: record.header.client.to_owned(),
                xid: record.xid,
                gid: record.gid.map(owned),
                outcome: Some(record.outcome),
                changes,
                streamed: record.streamed,
                commit_ts: record.commit_ts,
                lag_us: record.lag_us,
            };
            self.transactions.offer_distinct(changes, (record.packet, record.header.conn), is_same, || Listed {
                stream: stream.key.clone(),
                lsn,
                transaction: listed(),
            });
        }
    }

    /// Adds a request that has ended: it may be for a slot.
    pub(super) fn request(&mut self, record: &QueryRecord<'_>) {
        if !record.is_for_slot() || record.outcome != Outcome::Ok {
            return;
        }
        let (slot, is_dropped) = match record.sql.and_then(|sql| Command::parse(sql.0.text.0)) {
            Some(Command::CreateReplicationSlot(create)) => (create.slot, create.temporary),
            Some(Command::DropReplicationSlot { slot, .. }) => (slot, true),
            _ => return,
        };
        let key = (record.header.server.into(), owned(Text::utf8(&slot)).into());
        if slot.len() <= MAX_NAME && (self.dropped.len() < MAX_ENDED || self.dropped.contains_key(&key)) {
            self.dropped.entry(key).or_default().set((record.header.ts, record.header.conn), is_dropped);
        }
    }

    /// Adds the end of a session with a walsender.
    pub(super) fn end(&mut self, record: &SessionRecord<'_>) {
        let is_over = |reason| !matches!(reason, EndReason::CaptureEnd | EndReason::Evicted);
        if record.ended.as_ref().is_some_and(|ended| is_over(ended.end_reason)) && self.ended.len() < MAX_ENDED {
            self.ended.insert(record.header.conn);
        }
    }

    /// Returns the stream of a message, by its index.
    fn find(&mut self, event: &ReplicationEvent<'_>) -> usize {
        let client_ip = without_port(event.header.client);
        self.key.clear();
        for name in [event.slot, event.user, event.database, event.application] {
            self.key.push(name.is_some().into());
            self.key.extend_from_slice(name.map_or(&[], |name| name.0));
            // No name of the protocol has a zero byte in it.
            self.key.push(0);
        }
        self.key.extend_from_slice(client_ip.as_bytes());
        self.key.push(0);
        self.key.extend_from_slice(event.header.server.as_bytes());
        if event.slot.is_none() && event.user.is_none() {
            // Who it is was sent before the capture began: each may be another.
            self.key.extend_from_slice(&event.header.conn.to_be_bytes());
        }
        if let Some(index) = self.by_key.get(&*self.key) {
            return *index;
        }
        let name = |name: Option<Text<'_>>| name.map(|name| owned(name).into());
        let stream = Stream {
            key: self.key.as_slice().into(),
            slot: name(event.slot),
            user: name(event.user),
            database: name(event.database),
            application: name(event.application),
            client_ip: client_ip.into(),
            server: event.header.server.into(),
            ..Stream::default()
        };
        self.insert(stream)
    }

    fn insert(&mut self, stream: Stream) -> usize {
        let stream = if self.streams.len() < MAX_STREAMS {
            stream
        } else {
            if let Some(rest) = self.by_key.get(&[][..]) {
                return *rest;
            }
            Stream::default()
        };
        self.by_key.insert(stream.key.clone(), self.streams.len());
        self.streams.push(stream);
        self.streams.len() - 1
    }

    /// Adds all that another has received.
    pub(super) fn merge(&mut self, other: Self) {
        self.transactions.merge_distinct(other.transactions, |own, other| {
            own.is_same(&other.stream, other.lsn, other.transaction.outcome)
        });
        self.ended.extend(other.ended);
        for (key, latest) in other.dropped {
            self.dropped.entry(key).or_default().merge(latest);
        }
        for stream in other.streams {
            let index = match self.by_key.get(&stream.key) {
                Some(index) => *index,
                None => self.insert(Stream {
                    key: stream.key.clone(),
                    slot: stream.slot.clone(),
                    user: stream.user.clone(),
                    database: stream.database.clone(),
                    application: stream.application.clone(),
                    client_ip: stream.client_ip.clone(),
                    server: stream.server.clone(),
                    ..Stream::default()
                }),
            };
            if let Some(own) = self.streams.get_mut(index) {
                own.merge(stream, &mut self.tables, &mut self.sent);
            }
        }
    }

    /// Returns streams, as of this time: those whose clients are late, the latest first; then those with the most bytes. And of the
    /// others, how many they are, and how many changes they have.
    pub(super) fn streams(
        &self,
        top: usize,
        precision: Precision,
        now: Option<Timestamp>,
    ) -> (Vec<ReplicationStream>, u64, u64) {
        let as_of = |stream: &Stream| if self.is_over(stream) { stream.last_ts() } else { now.unwrap_or_default() };
        let late = |stream: &Stream| stream.lag_at(as_of(stream)).map_or(0, |lag| lag.micros);
        let order = |stream: &&Stream| (Reverse(Some(late(stream)).filter(|us| *us >= LATE)), Reverse(stream.bytes));
        let mut streams: Vec<_> = self.streams.iter().collect();
        streams.sort_by(|one, other| order(one).cmp(&order(other)).then_with(|| one.key.cmp(&other.key)));
        let others = streams.split_off(top.min(streams.len()));
        let changes = others.iter().map(|stream| stream.all_changes()).fold(0, u64::saturating_add);
        let summary = |stream: &Stream| ReplicationStream {
            ended: stream.last.get().is_some_and(|conn| self.ended.contains(conn)),
            ..stream.summary(top, precision, as_of(stream))
        };
        (streams.into_iter().map(summary).collect(), others.len() as u64, changes)
    }

    /// Returns whether a stream is over: nothing waits for its client to come back, as a slot does that has not been dropped.
    fn is_over(&self, stream: &Stream) -> bool {
        let has_ended = stream.last.get().is_some_and(|conn| self.ended.contains(conn));
        let is_kept = |slot: &str| {
            let dropped = self.dropped.get(&(stream.server.clone(), slot.into()));
            !dropped.and_then(Latest::get).copied().unwrap_or_default()
        };
        // Another client of its slot has come since: a standby that was made from a backup.
        let is_of_slot = |other: &&Stream| other.slot == stream.slot && other.server == stream.server;
        let is_followed = || self.streams.iter().filter(is_of_slot).any(|other| other.last.is_later(&stream.last));
        has_ended && !stream.slot.as_deref().is_some_and(|slot| is_kept(slot) && !is_followed())
    }

    /// Returns the transactions with the most changes. One that was prepared, and has ended, is listed once, as it ended.
    pub(super) fn transactions(&self, top: usize) -> Vec<LargeTransaction> {
        let is_prepared = |transaction: &LargeTransaction| transaction.outcome == Some(TransactionOutcome::Prepared);
        let is_same = |one: &LargeTransaction, other: &LargeTransaction| {
            one.gid.is_some() && (one.conn, one.xid, &one.gid) == (other.conn, other.xid, &other.gid)
        };
        let all = || self.transactions.iter().map(|listed| &listed.transaction);
        let listed = all().filter_map(|transaction| {
            let mut others = all().filter(|other| is_same(transaction, other));
            if is_prepared(transaction) {
                return others.all(is_prepared).then(|| transaction.clone());
            }
            // Its changes came before it was prepared.
            let streamed = transaction.streamed || others.any(|other| other.streamed);
            Some(LargeTransaction { streamed, ..transaction.clone() })
        });
        listed.take(top).collect()
    }
}

/// Returns the stream of the message that was added last, if it is one of this connection.
fn current(current: Option<(u64, usize)>, streams: &mut [Stream], conn: u64) -> Option<&mut Stream> {
    let (_, index) = current.filter(|(last, _)| *last == conn)?;
    streams.get_mut(index)
}

fn string(text: &Option<Box<str>>) -> Option<String> {
    text.as_deref().map(str::to_owned)
}

impl Stream {
    fn merge(&mut self, other: Self, all_tables: &mut usize, all_sent: &mut usize) {
        // Every field, so that a new one cannot be forgotten.
        let Self {
            key: _,
            slot: _,
            user: _,
            database: _,
            application: _,
            client_ip: _,
            server: _,
            plugin,
            purpose,
            first,
            last,
            streams,
            active_us,
            bytes,
            end_lsn,
            confirmed,
            lag,
            lag_max,
            unconfirmed,
            lag_bytes,
            lag_us,
            tables,
            other_changes,
            logical_messages,
            fates,
            sent,
            repeated,
            commit_lag,
            over_time,
        } = other;
        self.unconfirmed.merge(unconfirmed);
        add_each([
            (&mut self.repeated.transactions, &repeated.transactions),
            (&mut self.repeated.changes, &repeated.changes),
        ]);
        sent.into_iter().for_each(|(lsn, changes)| self.send(lsn, changes, all_sent));
        lag_max.0.into_iter().for_each(|lag| self.lag_max.behind(lag));
        self.plugin.merge(plugin);
        self.purpose.merge(purpose);
        self.first = self.first.into_iter().chain(first).min();
        self.last.merge(last);
        add_each([
            (&mut self.streams, &streams),
            (&mut self.active_us, &active_us),
            (&mut self.bytes, &bytes),
            (&mut self.other_changes, &other_changes),
            (&mut self.logical_messages, &logical_messages),
        ]);
        self.end_lsn = self.end_lsn.max(end_lsn);
        self.confirmed.iter_mut().zip(confirmed).for_each(|(own, other)| own.merge(other));
        self.lag.merge(lag);
        self.lag_bytes.merge(&lag_bytes);
        self.lag_us.merge(&lag_us);
        for (oid, table) in tables {
            if !self.tables.contains_key(&oid) {
                if *all_tables >= MAX_TABLES {
                    self.other_changes += table.changes.changes();
                    continue;
                }
                *all_tables += 1;
            }
            self.tables.entry(oid).or_default().merge(table);
        }
        self.fates.merge(&fates);
        self.commit_lag.merge(&commit_lag);
        self.over_time.merge(over_time);
    }

    /// Adds a transaction, by the position of its commit or preparation: it may have been sent before. How many there are of all streams
    /// is `all`.
    fn send(&mut self, lsn: Lsn, changes: u64, all: &mut usize) {
        if let Some(most) = self.sent.get_mut(&lsn) {
            self.repeated.transactions += 1;
            self.repeated.changes = self.repeated.changes.saturating_add(changes.min(*most));
            *most = changes.max(*most);
            return;
        }
        if *all >= MAX_SENT {
            // What is sent again are the last ones.
            if self.sent.first_key_value().is_none_or(|(first, _)| lsn < *first) {
                return;
            }
            self.sent.pop_first();
            *all -= 1;
        }
        self.sent.insert(lsn, changes);
        *all += 1;
    }

    /// Returns all changes and logical messages.
    fn all_changes(&self) -> u64 {
        let of_tables = self.tables.values().map(|table| table.changes.changes()).fold(0, u64::saturating_add);
        of_tables.saturating_add(self.other_changes).saturating_add(self.logical_messages)
    }

    /// Returns how far the client is behind, as of this time: also if it confirms nothing more, or only what it had confirmed when it
    /// came before.
    fn lag_at(&self, now: Timestamp) -> Option<Lag> {
        let lag = *self.lag.get()?;
        let Unconfirmed { confirmed, since: Some((since, is_least)) } = self.unconfirmed else { return Some(lag) };
        let waiting = now.micros_since(since);
        let bytes = self.end_lsn.unwrap_or_default().0.saturating_sub(confirmed.0).max(lag.bytes);
        if waiting < lag.micros {
            return Some(Lag { bytes, ..lag });
        }
        Some(Lag { bytes, micros: waiting, is_least, ..lag })
    }

    fn summary(&self, top: usize, precision: Precision, now: Timestamp) -> ReplicationStream {
        let listed = |(oid, table): (&u32, &Table)| {
            let (schema, name) = table.name.get().map(|(schema, name)| (&**schema, &**name)).unzip();
            TableChanges {
                schema: schema.map(str::to_owned),
                table: name.map(str::to_owned),
                relation_oid: *oid,
                ..table.changes.clone()
            }
        };
        let mut tables: Vec<_> = self.tables.iter().map(listed).collect();
        tables.sort_unstable_by_key(|table| (Reverse(table.changes()), table.relation_oid));
        let all = |tables: &[TableChanges]| tables.iter().map(TableChanges::changes).fold(0, u64::saturating_add);
        let other_changes = self.other_changes + all(tables.get(top..).unwrap_or_default());
        tables.truncate(top);
        let changes = self.all_changes();
        let (bucket_us, buckets) = self.over_time.buckets(precision);
        let bucket = |(started, span): (Timestamp, &Span)| ReplicationBucket {
            started,
            bytes: span.bytes,
            changes: span.changes,
            lag_bytes: span.lag.0.map(|lag| lag.bytes),
            lag_us: span.lag.0.map(|lag| lag.micros),
        };
        let over_time = ReplicationTraffic { bucket_us, buckets: buckets.map(bucket).collect() };
        let [write_lsn, flush_lsn, apply_lsn] = self.confirmed.each_ref().map(|lsn| lsn.get().copied());
        let lag = self.lag_at(now);
        let lag_max = lag.map(|lag| Lag {
            bytes: self.lag_max.0.map_or(lag.bytes, |most| most.bytes.max(lag.bytes)),
            micros: self.lag_max.0.map_or(lag.micros, |most| most.micros.max(lag.micros)),
            ..lag
        });
        let has_confirmed = self.lag_us.count > 0;
        let has_commits = self.commit_lag.count > 0;
        ReplicationStream {
            slot: string(&self.slot),
            purpose: self.purpose.get().copied(),
            plugin: self.plugin.get().map(|plugin| plugin.to_string()),
            user: string(&self.user),
            database: string(&self.database),
            application: string(&self.application),
            client_ip: self.client_ip.to_string(),
            server: self.server.to_string(),
            conn: self.last.get().copied().unwrap_or_default(),
            streams: self.streams,
            started: self.first.unwrap_or_default(),
            ts: self.last_ts(),
            ended: false,
            active_us: self.active_us,
            bytes: self.bytes,
            bytes_per_second: per_second(self.bytes, self.active_us),
            end_lsn: self.end_lsn,
            write_lsn,
            flush_lsn,
            apply_lsn,
            confirmations: self.lag_us.count,
            lag_bytes: lag.map(|lag| lag.bytes),
            lag_p95_bytes: has_confirmed.then(|| self.lag_bytes.quantile(95)),
            lag_max_bytes: lag_max.map(|lag| lag.bytes),
            lag_us: lag.map(|lag| lag.micros),
            lag_p95_us: has_confirmed.then(|| self.lag_us.quantile(95)),
            lag_max_us: lag_max.map(|lag| lag.micros),
            lag_is_least: lag.is_some_and(|lag| lag.is_least),
            changes,
            logical_messages: self.logical_messages,
            commits: self.fates.commits,
            prepares: self.fates.prepares,
            aborts: self.fates.aborts,
            subtransaction_aborts: self.fates.subtransaction_aborts,
            rollbacks: self.fates.rollbacks,
            streamed_transactions: self.fates.streamed,
            repeated_transactions: self.repeated.transactions,
            repeated_changes: self.repeated.changes,
            commit_lag_p95_us: has_commits.then(|| self.commit_lag.quantile(95)),
            commit_lag_max_us: has_commits.then_some(self.commit_lag.max),
            tables,
            other_changes,
            over_time,
        }
    }

    fn last_ts(&self) -> Timestamp {
        self.last.0.map(|((ts, _), _)| ts).unwrap_or_default()
    }
}

impl Table {
    fn merge(&mut self, other: Self) {
        self.name.merge(other.name);
        let TableChanges { schema: _, table: _, relation_oid: _, inserts, updates, deletes, truncates } =
            &other.changes;
        add_each([
            (&mut self.changes.inserts, inserts),
            (&mut self.changes.updates, updates),
            (&mut self.changes.deletes, deletes),
            (&mut self.changes.truncates, truncates),
        ]);
    }
}

impl Fates {
    fn merge(&mut self, other: &Self) {
        let Self { commits, prepares, aborts, subtransaction_aborts, rollbacks, streamed } = other;
        add_each([
            (&mut self.commits, commits),
            (&mut self.prepares, prepares),
            (&mut self.aborts, aborts),
            (&mut self.subtransaction_aborts, subtransaction_aborts),
            (&mut self.rollbacks, rollbacks),
            (&mut self.streamed, streamed),
        ]);
    }
}
