//! Normal forms by SQL text, so that a statement that runs a million times is read once.

use std::sync::Arc;

use hashlink::LruCache;

use super::normalize::Normalized;

/// How many texts are remembered: more than an application has that does not write its constants into its SQL.
const MAX_TEXTS: usize = 10_000;

/// How many bytes they may hold in all, keys, normal forms and the estimated cost of keeping them together.
const MAX_BYTES: usize = 32 << 20;

/// A text whose entry is larger than this is not worth the many that it would push out.
const MAX_ENTRY: usize = MAX_BYTES / 8;

/// What an entry costs beside its texts: its place in the map, two allocations, the counters of the [`Arc`].
const ENTRY_COST: usize = 160;

/// Normal forms by SQL text. The text that was asked for least recently gives way.
#[derive(Debug)]
pub struct Cache {
    entries: LruCache<Box<[u8]>, Arc<Normalized>, foldhash::fast::RandomState>,
    bytes: usize,
    normalize: fn(&[u8]) -> Normalized,
}

impl Cache {
    /// Of the normal forms that a function makes.
    pub fn new(normalize: fn(&[u8]) -> Normalized) -> Self {
        let entries = LruCache::with_hasher(MAX_TEXTS, foldhash::fast::RandomState::default());
        Self { entries, bytes: 0, normalize }
    }

    /// The normal form of a text. One that is remembered costs a look-up and no allocation.
    pub fn get(&mut self, sql: &[u8]) -> Arc<Normalized> {
        if let Some(known) = self.entries.get(sql) {
            return Arc::clone(known);
        }
        let normalized = Arc::new((self.normalize)(sql));
        let cost = cost(sql, &normalized);
        if cost > MAX_ENTRY {
            return normalized;
        }
        while self.bytes + cost > MAX_BYTES || self.entries.len() >= MAX_TEXTS {
            let Some((oldest, form)) = self.entries.remove_lru() else { break };
            self.bytes -= self::cost(&oldest, &form);
        }
        self.bytes += cost;
        self.entries.insert(sql.into(), Arc::clone(&normalized));
        normalized
    }

    /// How many bytes are held, about.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

fn cost(sql: &[u8], normalized: &Normalized) -> usize {
    sql.len() + normalized.text.len() + ENTRY_COST
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::normalize::normalize;

    #[test]
    fn a_text_is_read_once() {
        let mut cache = Cache::new(normalize);
        let first = cache.get(b"SELECT 1");
        assert!(Arc::ptr_eq(&first, &cache.get(b"SELECT 1")));
        assert_eq!(&*first.text, b"SELECT $1");
        assert!(!Arc::ptr_eq(&first, &cache.get(b"SELECT 2")));
    }

    #[test]
    fn it_is_bounded_in_entries_and_in_bytes_and_forgets_what_was_used_least_recently() {
        let mut cache = Cache::new(normalize);
        let kept = cache.get(b"SELECT kept");
        for n in 0..MAX_TEXTS + 5 {
            cache.get(format!("SELECT {n}").as_bytes());
            assert!(Arc::ptr_eq(&kept, &cache.get(b"SELECT kept")));
        }
        assert_eq!(cache.entries.len(), MAX_TEXTS);
        assert!(cache.entries.peek(b"SELECT 0".as_slice()).is_none());

        let large = vec![b'x'; MAX_ENTRY / 4];
        for n in 0..100 {
            cache.get(&[format!("SELECT {n} ").as_bytes(), &large].concat());
            assert!(cache.bytes() <= MAX_BYTES);
        }
        let held: usize = cache.entries.iter().map(|(sql, form)| cost(sql, form)).sum();
        assert_eq!(held, cache.bytes());

        cache.get(&vec![b'x'; MAX_ENTRY]);
        assert_eq!(held, cache.bytes(), "what is too large is not kept");
    }
}
