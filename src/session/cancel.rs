//! Which connection a CancelRequest is about: the one whose BackendKeyData it repeats.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use crate::packet::Endpoint;
use crate::time::Timestamp;

/// What BackendKeyData has, and CancelRequest repeats.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CancelKey {
    process_id: i32,
    secret_key: Box<[u8]>,
}

impl CancelKey {
    /// A process and its key.
    pub fn new(process_id: i32, secret_key: &[u8]) -> Self {
        Self { process_id, secret_key: secret_key.into() }
    }
}

/// The keys of the sessions that are followed: no more than there are connections. A clone is the same ones.
#[derive(Clone, Debug, Default)]
pub struct Cancels(Arc<Mutex<Targets>>);

#[derive(Debug, Default)]
struct Targets {
    by_key: ByKey,
    /// Sessions whose process is known without its key.
    by_process: HashMap<(i32, Endpoint), u64, RandomState>,
}

type ByKey = HashMap<CancelKey, Target, RandomState>;

#[derive(Debug)]
struct Target {
    conn: u64,
    requested: Option<Requested>,
}

/// A CancelRequest.
#[derive(Clone, Copy, Debug)]
struct Requested {
    by: u64,
    at: Timestamp,
}

impl Cancels {
    /// A session has its key. A server uses the same again only when the session that had it is over.
    pub fn begin(&self, key: CancelKey, conn: u64) {
        self.targets().by_key.insert(key, Target { conn, requested: None });
    }

    /// A session has this process, as the user knows it. Its key was not seen.
    pub fn know(&self, process_id: i32, server: Endpoint, conn: u64) {
        self.targets().by_process.insert((process_id, server), conn);
    }

    /// Returns the session that has this process, as the user knows it.
    pub fn known(&self, process_id: i32, server: Endpoint) -> Option<u64> {
        self.targets().by_process.get(&(process_id, server)).copied()
    }

    /// A session whose process is known is over.
    pub fn forget(&self, process_id: i32, server: Endpoint, conn: u64) {
        let mut targets = self.targets();
        if targets.by_process.get(&(process_id, server)) == Some(&conn) {
            targets.by_process.remove(&(process_id, server));
        }
    }

    /// A connection asks for a request to be canceled: that of which connection, where its key was seen.
    pub fn request(&self, key: &CancelKey, by: u64, at: Timestamp) -> Option<u64> {
        let mut targets = self.targets();
        let target = targets.by_key.get_mut(key)?;
        target.requested = Some(Requested { by, at });
        Some(target.conn)
    }

    /// The connection that asked for a request to be canceled that was sent at `since`, and was canceled now.
    pub fn canceled(&self, key: &CancelKey, since: Timestamp) -> Option<u64> {
        let requested = self.targets().by_key.get_mut(key)?.requested.take()?;
        // One that came earlier was about a request that was over before.
        (requested.at >= since).then_some(requested.by)
    }

    /// A session is over.
    pub fn end(&self, key: &CancelKey, conn: u64) {
        let by_key = &mut self.targets().by_key;
        if by_key.get(key).is_some_and(|target| target.conn == conn) {
            by_key.remove(key);
        }
    }

    fn targets(&self) -> MutexGuard<'_, Targets> {
        // Nothing is done halfway where it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
