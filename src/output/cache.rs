//! A cache of what is found out about texts that come again.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// How many bytes are kept, with what it costs to keep them. When there are more, all are forgotten, and those that are still
/// in use come back.
const MAX_BYTES: usize = 8 << 20;

/// What takes more than this is not worth the many that it would push out.
pub(crate) const MAX_ENTRY: usize = MAX_BYTES / 8;

/// What an entry costs beside its bytes: its place in the map, and its allocations.
const ENTRY_COST: usize = 192;

/// How many keys that came once are remembered, by their hash.
const SEEN: usize = 4_096;

/// Values by keys that come again. Where an application writes its constants into its SQL, no text comes again, and keeping
/// each would cost more than it saves.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    values: HashMap<Box<[u8]>, V, RandomState>,
    /// How many bytes are kept.
    bytes: usize,
    /// Hashes of keys that came once, each in the place that it says. None at all until there is one.
    seen: Vec<u64>,
}

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Self { values: HashMap::default(), bytes: 0, seen: Vec::new() }
    }
}

impl<V> Cache<V> {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&V> {
        self.values.get(key)
    }

    /// Keeps a value of so many bytes in place of another, if its key came before.
    pub(crate) fn offer(&mut self, key: &[u8], len: usize, value: impl FnOnce() -> V) {
        if self.seen.is_empty() {
            self.seen.resize(SEEN, 0);
        }
        let hash = self.values.hasher().hash_one(key);
        let Some(seen) = self.seen.get_mut(hash as usize % SEEN) else { return };
        let cost = key.len() + len + ENTRY_COST;
        if std::mem::replace(seen, hash) != hash || cost > MAX_ENTRY {
            return;
        }
        if self.bytes + cost > MAX_BYTES {
            self.values.clear();
            self.bytes = 0;
        }
        // What it takes the place of, if there is something, counts on: it had no normal form, and that comes once.
        self.bytes += cost;
        self.values.insert(key.into(), value());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_is_kept_and_what_comes_once_is_not() {
        let mut kept = Cache::default();
        for n in 0..10 {
            kept.offer(format!("once {n}").as_bytes(), 4, || n);
            kept.offer(b"again", 4, || n);
            assert_eq!(kept.get(b"again").copied(), (n > 0).then_some(n));
        }
        assert_eq!(kept.values.len(), 1);
    }

    #[test]
    fn memory_is_bounded_and_what_is_in_use_comes_back() {
        let mut kept = Cache::default();
        let large = MAX_ENTRY / 4;
        for n in 0..1_000 {
            for key in [format!("{n}"), "in use".to_owned()] {
                kept.offer(key.as_bytes(), large, || ());
                kept.offer(key.as_bytes(), large, || ());
            }
            assert!(kept.bytes <= MAX_BYTES && kept.get(b"in use").is_some());
        }
        assert!(kept.values.len() > 4);
        kept.offer(b"too large", MAX_ENTRY, || ());
        kept.offer(b"too large", MAX_ENTRY, || ());
        assert!(kept.get(b"too large").is_none());
    }
}
