//! Shared things whose buffers are used again, so that the common path allocates nothing.

use std::collections::VecDeque;
use std::sync::Arc;

/// How many are kept: those of a few connections that talk at the same time.
const MAX_SPARE: usize = 64;

/// How many are looked at for one that nobody else holds.
const TRIES: usize = 4;

/// Things that may not be needed any more.
#[derive(Debug, Default)]
pub struct Pool<T> {
    spare: VecDeque<Arc<T>>,
}

impl<T: Default> Pool<T> {
    /// Puts something into the pool, to be used again as soon as nobody else holds it.
    pub fn give(&mut self, used: Arc<T>) {
        if self.spare.len() < MAX_SPARE {
            self.spare.push_back(used);
        }
    }

    /// Returns one that nobody else holds, with the contents that `fill` puts in place of those that it had.
    pub fn fill(&mut self, fill: impl FnOnce(&mut T)) -> Arc<T> {
        for _ in 0..TRIES.min(self.spare.len()) {
            let Some(mut candidate) = self.spare.pop_front() else { break };
            if let Some(inner) = Arc::get_mut(&mut candidate) {
                fill(inner);
                return candidate;
            }
            // Where all are held, the oldest make room for others.
            if self.spare.len() < MAX_SPARE / 2 {
                self.spare.push_back(candidate);
            }
        }
        let mut new = T::default();
        fill(&mut new);
        Arc::new(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_is_used_again_and_what_somebody_holds_is_not() {
        let mut pool: Pool<Vec<u8>> = Pool::default();
        let one = pool.fill(|bytes| bytes.extend_from_slice(b"one"));
        pool.give(Arc::clone(&one));
        let two = pool.fill(|bytes| bytes.extend_from_slice(b"two"));
        assert_eq!((&**one, &**two), (&b"one"[..], &b"two"[..]));
        drop(one);
        let again = pool.fill(|bytes| {
            assert_eq!(bytes, b"one");
            bytes.clear();
        });
        assert!(again.is_empty());
    }
}
