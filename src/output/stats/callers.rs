//! Who makes requests: each combination of user, database, application and client address, and what its sessions add up to.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::histogram::Timing;
use super::{add_each, owned};
use crate::pg::text::Text;
use crate::record::ends::without_port;
use crate::record::{Header, QueryRecord, ReplicationEvent, SessionRecord};
use crate::session::execution::Protocol;

/// How many callers are told apart. Of others, the address of the client is not told; beyond twice as many, nothing is.
const MAX_CALLERS: usize = 65_536;

/// The size of the cache of connections whose caller is known. A connection's place is its number modulo this.
const RECENT: usize = 256;

/// A caller, by its index. The first one is all that are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CallerId(u32);

/// A caller, and what its sessions and requests add up to.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    pub(super) user: Option<Box<str>>,
    pub(super) database: Option<Box<str>>,
    pub(super) application: Option<Box<str>>,
    pub(super) client_ip: Option<Box<str>>,
    pub(super) activity: Activity,
}

/// What sessions and their requests add up to.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity {
    pub(super) sessions: u64,
    pub(super) connects: u64,
    pub(super) logins_failed: u64,
    pub(super) logins: Timing,
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) exec_us: u64,
    pub(super) rows: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) idle_in_transaction_us: u64,
    pub(super) simple: u64,
    pub(super) extended: u64,
    pub(super) parsed: u64,
    pub(super) named: u64,
}

impl Activity {
    pub(super) fn request(&mut self, record: &QueryRecord<'_>, has_failed: bool) {
        self.requests += 1;
        self.errors += u64::from(has_failed);
        self.exec_us = self.exec_us.saturating_add(record.exec_us.unwrap_or_default());
        self.rows = self.rows.saturating_add(record.rows.unwrap_or_default());
        self.bytes_in = self.bytes_in.saturating_add(record.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(record.bytes_out);
        if record.protocol == Protocol::Extended {
            self.extended += 1;
            self.parsed += u64::from(record.parse_us.is_some());
            self.named += u64::from(record.statement.is_some_and(|name| !name.0.is_empty()));
        } else {
            self.simple += 1;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        // Every field, so that a new one cannot be forgotten.
        let Self {
            sessions,
            connects,
            logins_failed,
            logins,
            requests,
            errors,
            exec_us,
            rows,
            bytes_in,
            bytes_out,
            idle_in_transaction_us,
            simple,
            extended,
            parsed,
            named,
        } = other;
        self.logins.merge(logins);
        add_each([
            (&mut self.sessions, sessions),
            (&mut self.connects, connects),
            (&mut self.logins_failed, logins_failed),
            (&mut self.requests, requests),
            (&mut self.errors, errors),
            (&mut self.exec_us, exec_us),
            (&mut self.rows, rows),
            (&mut self.bytes_in, bytes_in),
            (&mut self.bytes_out, bytes_out),
            (&mut self.idle_in_transaction_us, idle_in_transaction_us),
            (&mut self.simple, simple),
            (&mut self.extended, extended),
            (&mut self.parsed, parsed),
            (&mut self.named, named),
        ]);
    }
}

/// All callers.
#[derive(Debug)]
pub(super) struct Callers {
    callers: Vec<Caller>,
    by_key: HashMap<Box<[u8]>, CallerId, RandomState>,
    /// The callers of the last connections, with their keys, for an application may change its name.
    recent: Vec<(Vec<u8>, CallerId)>,
    key: Vec<u8>,
}

impl Default for Callers {
    fn default() -> Self {
        Self {
            callers: vec![Caller::default()],
            by_key: HashMap::default(),
            recent: vec![(Vec::new(), CallerId(0)); RECENT],
            key: Vec::new(),
        }
    }
}

type Names<'a> = [Option<Text<'a>>; 3];

impl Callers {
    /// Returns the caller of a request.
    #[inline]
    pub(super) fn of_request(&mut self, record: &QueryRecord<'_>) -> CallerId {
        self.find(&record.header, [record.user, record.database, record.application])
    }

    /// Returns whose a session is.
    pub(super) fn of_session(&mut self, record: &SessionRecord<'_>) -> CallerId {
        self.find(&record.header, [record.user, record.database, record.application])
    }

    /// Returns whose a replication stream or a base backup is.
    pub(super) fn of_replication(&mut self, event: &ReplicationEvent<'_>) -> CallerId {
        self.find(&event.header, [event.user, event.database, event.application])
    }

    fn find(&mut self, header: &Header<'_>, names: Names<'_>) -> CallerId {
        self.key.clear();
        for name in names {
            match name {
                // No name of the protocol has a zero byte in it.
                Some(name) => {
                    self.key.push(1);
                    self.key.extend_from_slice(name.0);
                    self.key.push(0);
                }
                None => self.key.push(0),
            }
        }
        let client = without_port(header.client);
        let names_end = self.key.len();
        self.key.extend_from_slice(client.as_bytes());
        let place = header.conn as usize % RECENT;
        if let Some((key, id)) = self.recent.get(place)
            && *key == self.key
        {
            return *id;
        }
        let caller = |client_ip| {
            let [user, database, application] = names.map(|name| name.map(|name| owned(name).into()));
            Caller { user, database, application, client_ip, activity: Activity::default() }
        };
        if let Some((key, _)) = self.recent.get_mut(place) {
            key.clone_from(&self.key);
        }
        let found = self.find_by_key(MAX_CALLERS, || caller(Some(client.into())));
        let id = found.unwrap_or_else(|| {
            self.key.truncate(names_end);
            self.find_by_key(2 * MAX_CALLERS, || caller(None)).unwrap_or(CallerId(0))
        });
        if let Some((_, recent)) = self.recent.get_mut(place) {
            *recent = id;
        }
        id
    }

    /// Returns the caller with the key in `self.key`; `None` if there is none, and there are so many others.
    fn find_by_key(&mut self, most: usize, caller: impl FnOnce() -> Caller) -> Option<CallerId> {
        if let Some(id) = self.by_key.get(&*self.key) {
            return Some(*id);
        }
        if self.callers.len() > most {
            return None;
        }
        let id = CallerId(self.callers.len() as u32);
        self.callers.push(caller());
        self.by_key.insert(self.key.as_slice().into(), id);
        Some(id)
    }

    pub(super) fn get(&self, id: CallerId) -> Option<&Caller> {
        self.callers.get(id.0 as usize)
    }

    pub(super) fn activity(&mut self, id: CallerId) -> Option<&mut Activity> {
        self.callers.get_mut(id.0 as usize).map(|caller| &mut caller.activity)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Caller> {
        self.callers.iter()
    }

    /// Adds the callers of another. Returns the identifiers that they have here, by those that they had there.
    pub(super) fn merge(&mut self, other: Self) -> Moved {
        let mut moved = vec![CallerId(0); other.callers.len()];
        let mut callers: Vec<_> = other.callers.into_iter().map(Some).collect();
        // In their order, so that it does not depend on a hash where some are not told apart.
        let mut keys: Vec<_> = other.by_key.into_iter().collect();
        keys.sort_unstable_by_key(|(_, id)| *id);
        for (key, old) in keys {
            let Some(caller) = callers.get_mut(old.0 as usize).and_then(Option::take) else { continue };
            self.key.clear();
            self.key.extend_from_slice(&key);
            let activity = caller.activity.clone();
            // Those of both may be more than are told apart: the addresses of the rest are given up.
            let names = Caller { client_ip: None, activity: Activity::default(), ..caller.clone() };
            let found = self.find_by_key(MAX_CALLERS, || Caller { activity: Activity::default(), ..caller });
            let new = found.unwrap_or_else(|| {
                let client = key.iter().rposition(|byte| *byte == 0).map_or(0, |end| end + 1);
                self.key.truncate(client);
                self.find_by_key(2 * MAX_CALLERS, || names).unwrap_or(CallerId(0))
            });
            if let Some(own) = self.activity(new) {
                own.merge(&activity);
            }
            if let Some(place) = moved.get_mut(old.0 as usize) {
                *place = new;
            }
        }
        let rest = callers.into_iter().flatten().next();
        if let (Some(own), Some(rest)) = (self.activity(CallerId(0)), rest) {
            own.merge(&rest.activity);
        }
        Moved(moved)
    }
}

/// Identifiers of callers that were merged into others.
#[derive(Debug)]
pub(super) struct Moved(Vec<CallerId>);

impl Moved {
    pub(super) fn get(&self, id: CallerId) -> CallerId {
        self.0.get(id.0 as usize).copied().unwrap_or(CallerId(0))
    }
}

/// How many calls are of which caller.
#[derive(Clone, Debug, Default)]
pub(super) enum CallsBy {
    #[default]
    None,
    /// Most statements have one.
    One(CallerId, u64),
    Several(HashMap<CallerId, u64, RandomState>),
}

/// The most callers of one statement that are told apart.
const MAX_CALLERS_OF_STATEMENT: usize = 4_096;

impl CallsBy {
    #[inline]
    pub(super) fn add(&mut self, caller: CallerId, calls: u64) {
        match self {
            Self::Several(counts) if counts.len() >= MAX_CALLERS_OF_STATEMENT && !counts.contains_key(&caller) => {
                *counts.entry(CallerId(0)).or_default() += calls;
            }
            Self::None => *self = Self::One(caller, calls),
            Self::One(known, count) if *known == caller => *count += calls,
            Self::One(known, count) => *self = Self::Several(HashMap::from_iter([(*known, *count), (caller, calls)])),
            Self::Several(counts) => *counts.entry(caller).or_default() += calls,
        }
    }

    pub(super) fn merge(&mut self, other: &Self, moved: &Moved) {
        other.iter().for_each(|(caller, calls)| self.add(moved.get(caller), calls));
    }

    /// Iterates in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (CallerId, u64)> {
        let (one, several) = match self {
            Self::None => (None, None),
            Self::One(caller, calls) => (Some((*caller, *calls)), None),
            Self::Several(counts) => (None, Some(counts)),
        };
        one.into_iter().chain(several.into_iter().flatten().map(|(caller, calls)| (*caller, *calls)))
    }

    /// Returns roughly the bytes that it has allocated.
    pub(super) fn allocated(&self) -> usize {
        match self {
            Self::None | Self::One(..) => 0,
            Self::Several(counts) => counts.capacity() * (size_of::<(CallerId, u64)>() + 2),
        }
    }
}
