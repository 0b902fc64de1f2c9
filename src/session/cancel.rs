//! Which connection a CancelRequest is about: the one whose BackendKeyData it repeats.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

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
pub struct Cancels(Arc<Mutex<ByKey>>);

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
        self.by_key().insert(key, Target { conn, requested: None });
    }

    /// A connection asks for a request to be canceled: that of which connection, where its key was seen.
    pub fn request(&self, key: &CancelKey, by: u64, at: Timestamp) -> Option<u64> {
        let mut by_key = self.by_key();
        let target = by_key.get_mut(key)?;
        target.requested = Some(Requested { by, at });
        Some(target.conn)
    }

    /// The connection that asked for a request to be canceled that was sent at `since`, and was canceled now.
    pub fn canceled(&self, key: &CancelKey, since: Timestamp) -> Option<u64> {
        let requested = self.by_key().get_mut(key)?.requested.take()?;
        // One that came earlier was about a request that was over before.
        (requested.at >= since).then_some(requested.by)
    }

    /// A session is over.
    pub fn end(&self, key: &CancelKey, conn: u64) {
        let mut by_key = self.by_key();
        if by_key.get(key).is_some_and(|target| target.conn == conn) {
            by_key.remove(key);
        }
    }

    fn by_key(&self) -> MutexGuard<'_, ByKey> {
        // Nothing is done halfway where it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
