//! What a log remembers of the sessions that it has lines of.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use super::LogFormat;
use super::line::{Clock, Identity, Line, Rest, Who, utf8};
use crate::pg::text::{KeptText, Text};
use crate::record::{Header, Outcome, Protocol, QueryRecord};
use crate::time::Timestamp;

/// How many sessions are remembered in a slot. Beyond, all of these are forgotten, and the lines of those that go on are counted anew.
const MAX_SESSIONS: usize = (1 << 17) / SLOTS;

/// The number of slots.
const SLOTS: usize = 64;

/// How many portals of a session are remembered.
const MAX_PORTALS: usize = 64;

/// The sessions of a log, by the numbers of their connections. Threads share them: records of a connection come from one thread after
/// the other, so each waits for others seldom.
#[derive(Debug)]
pub(super) struct Sessions([Slot; SLOTS]);

/// Aligned so that threads do not share its cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Slot(Mutex<Kept>);

/// The sessions of a slot.
#[derive(Debug, Default)]
pub(super) struct Kept(HashMap<u64, Session, RandomState>);

impl Default for Sessions {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Slot::default()))
    }
}

impl Sessions {
    /// Returns the sessions in the slot of a connection.
    #[inline]
    pub(super) fn slot(&self, conn: u64) -> MutexGuard<'_, Kept> {
        let [first, ..] = &self.0;
        let slot = self.0.get(conn as usize % SLOTS).unwrap_or(first);
        slot.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    #[inline]
    pub(super) fn session(&mut self, conn: u64) -> &mut Session {
        if self.0.len() >= MAX_SESSIONS && !self.0.contains_key(&conn) {
            self.0.clear();
        }
        self.0.entry(conn).or_default()
    }

    pub(super) fn remove(&mut self, conn: u64) {
        self.0.remove(&conn);
    }
}

/// What is known of a session from its lines before.
#[derive(Debug, Default)]
pub(super) struct Session {
    names: Option<Names>,
    identity: Identity,
    lines: u64,
    /// Of the last line. The server works on one request after the other, whenever they were sent.
    last: Timestamp,
    /// Whether the error that ended it was written with a request.
    pub(super) has_failed: bool,
    /// Its application as of the last record.
    pub(super) application: Option<KeptText<'static>>,
    /// Portals that were bound by themselves, or have more rows; and whether these are further ones.
    portals: Vec<(KeptText<'static>, bool)>,
    /// What the process showed when it ended the session with an error.
    pub(super) failed_ps: Vec<u8>,
}

/// What the identity of a session was written for.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    names: [Option<KeptText<'static>>; 3],
    process_id: Option<i32>,
    started: Timestamp,
    backend_type: &'static str,
}

/// What an Execute is to its portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetch {
    /// It is not known to be one of a portal that was bound before.
    None,
    /// The first one of a portal that was bound before.
    First,
    /// Further rows are fetched.
    Further,
}

impl Session {
    /// Returns the application under which a statement began, if it has another name since then.
    pub(super) fn renames(&mut self, record: &QueryRecord<'_>) -> Option<KeptText<'static>> {
        let is_same = self.application.as_ref().map(KeptText::get) == record.application;
        if is_same { None } else { std::mem::replace(&mut self.application, record.application.map(owned)) }
    }

    /// Returns what the Execute of a request is to its portal, and remembers that it has more rows, or was only bound.
    pub(super) fn fetch(&mut self, record: &QueryRecord<'_>) -> Fetch {
        if record.protocol != Protocol::Extended {
            return Fetch::None;
        }
        let has_rows = record.outcome == Outcome::Suspended;
        let is_bind = record.outcome == Outcome::Ok && record.bind_us.is_some() && record.command_tags.is_empty();
        if self.portals.is_empty() && !has_rows && !is_bind {
            return Fetch::None;
        }
        let name = record.portal.unwrap_or_default();
        let place = self.portals.iter().position(|(portal, _)| portal.get().0 == name.0);
        let was_executed = place.map(|place| self.portals.swap_remove(place).1);
        // Of a portal that has given its last row, more can be asked for.
        let is_known =
            has_rows || is_bind || !record.steps.has_bind && was_executed.is_some() && record.error.is_none();
        if is_known && self.portals.len() < MAX_PORTALS {
            self.portals.push((owned(name), !is_bind));
        }
        match was_executed.filter(|_| !record.steps.has_bind && !record.steps.has_parse) {
            None => Fetch::None,
            Some(false) => Fetch::First,
            Some(true) => Fetch::Further,
        }
    }

    /// Makes sure that a session's lines are written with this identity.
    pub(super) fn identify(
        &mut self,
        format: LogFormat,
        header: &Header<'_>,
        names: [Option<Text<'_>>; 3],
        process_id: Option<i32>,
        started: Timestamp,
        backend_type: &'static str,
    ) {
        let is_same = self.names.as_ref().is_some_and(|kept| {
            kept.names.iter().zip(names).all(|(kept, name)| kept.as_ref().map(KeptText::get) == name)
                && (kept.process_id, kept.started) == (process_id, started)
                && kept.backend_type == backend_type
        });
        if is_same {
            return;
        }
        let [user, database, application] = names.map(|name| name.map_or(Cow::Borrowed(&b""[..]), utf8));
        let (host, port) = host_and_port(header.client);
        let who = Who {
            user: &user,
            database: &database,
            application: &application,
            process_id,
            conn: header.conn,
            host,
            port,
            started,
            backend_type,
        };
        self.identity = Identity::new(format, &who);
        let names = names.map(|name| name.map(owned));
        self.names = Some(Names { names, process_id, started, backend_type });
    }

    /// Writes a line. Returns its time, and what [`Line::push`] returns.
    pub(super) fn write(
        &mut self,
        out: &mut Vec<u8>,
        format: LogFormat,
        clock: &mut Clock,
        line: Line<'_>,
    ) -> (Timestamp, Option<Rest>) {
        self.lines += 1;
        self.last = self.last.max(line.ts);
        let rest = Line { ts: self.last, ..line }.push(out, format, clock, &self.identity, self.lines);
        (self.last, rest)
    }
}

pub(super) fn owned(text: Text<'_>) -> KeptText<'static> {
    let mut kept = KeptText::default();
    kept.set(text);
    kept
}

/// Splits the address of an end: one of IPv6 is in brackets.
pub(super) fn host_and_port(end: &str) -> (&str, &str) {
    let (host, port) = end.rsplit_once(':').unwrap_or((end, "0"));
    (host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host), port)
}
