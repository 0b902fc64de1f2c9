//! How much memory sessions may take for what they remember: each connection, and all of a home together.
//!
//! Whatever is kept of the traffic holds a [`Share`] of the size that it has, and gives it back when it is dropped. So no
//! path can forget to count, and no length on the wire can ask for more than there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes that may be kept for the connections of a home together.
#[derive(Clone, Debug)]
pub struct Total(Arc<Account>);

/// Apart from what other threads write to.
#[derive(Debug)]
#[repr(align(128))]
struct Account {
    used: AtomicUsize,
    max: AtomicUsize,
}

impl Account {
    const fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max: AtomicUsize::new(max) }
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = taken.saturating_add(bytes) <= self.max.load(Ordering::Relaxed);
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Total {
    /// An account of which nothing is used.
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Account::new(max)))
    }

    /// How many bytes are kept.
    pub fn used(&self) -> usize {
        self.0.used()
    }

    /// From here on, so many may be kept.
    pub fn set_max(&self, max: usize) {
        self.0.max.store(max, Ordering::Relaxed);
    }
}

/// The bytes that may be kept for one connection.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    own: Account,
    all: Total,
}

impl Budget {
    /// An account of which nothing is used, within one for all connections.
    pub fn new(max: usize, all: &Total) -> Self {
        Self(Arc::new(Connection { own: Account::new(max), all: all.clone() }))
    }

    /// How many bytes are kept.
    pub fn used(&self) -> usize {
        self.0.own.used()
    }

    /// Reserves so many bytes, where there is room for them.
    pub fn take(&self, bytes: usize) -> Option<Share> {
        if !self.0.own.take(bytes) {
            return None;
        }
        if !self.0.all.0.take(bytes) {
            self.0.own.give_back(bytes);
            return None;
        }
        Some(Share { of: Some(self.clone()), bytes })
    }

    /// Reserves so many bytes in place of those that are held, which may be of another connection. Returns whether there was room;
    /// where not, nothing is held any more.
    pub fn take_again(&self, held: &mut Option<Share>, bytes: usize) -> bool {
        let is_same =
            |share: &Share| share.bytes == bytes && share.of.as_ref().is_some_and(|Self(of)| Arc::ptr_eq(of, &self.0));
        if !held.as_ref().is_some_and(is_same) {
            // For a moment both are held, as where the one is of a request and the other of the next.
            *held = self.take(bytes);
        }
        held.is_some()
    }
}

/// Bytes that are reserved of a [`Budget`].
#[derive(Debug, Default)]
pub struct Share {
    of: Option<Budget>,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(Budget(connection)) = &self.of {
            connection.own.give_back(self.bytes);
            connection.all.0.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_bounded_for_one_and_for_all_and_comes_back() {
        let all = Total::new(100);
        let (one, other) = (Budget::new(60, &all), Budget::new(60, &all));
        let first = one.take(60).unwrap();
        assert!(one.take(1).is_none(), "its own limit");
        assert!(other.take(41).is_none(), "that of all");
        assert_eq!((one.used(), other.used(), all.used()), (60, 0, 60));
        drop(first);
        let second = other.take(41);
        assert!(second.is_some());
        assert_eq!((one.used(), other.used(), all.used()), (0, 41, 41));
    }
}
