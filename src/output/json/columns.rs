//! RowDescription as it is written: few say anything else than one before.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::encoding::Encoding;

/// How many are kept.
const KEPT: usize = 64;

/// One with more bytes than this is not kept.
const LONGEST: usize = 2 * 1024;

/// The bodies that came last, and how each was written.
#[derive(Debug, Default)]
pub(super) struct RowDescriptions {
    hasher: RandomState,
    /// Each in the place that its hash says. None at all until there is one.
    kept: Vec<CachedDescription>,
}

#[derive(Clone, Debug, Default)]
struct CachedDescription {
    body: Vec<u8>,
    encoding: Encoding,
    written: Vec<u8>,
}

impl RowDescriptions {
    /// What was written of a body in an encoding.
    pub(super) fn get(&self, body: &[u8], encoding: Encoding) -> Option<&[u8]> {
        let kept = self.kept.get(self.place(body))?;
        (kept.body == body && kept.encoding == encoding && !kept.written.is_empty()).then_some(&kept.written)
    }

    /// Keeps what was written of a body.
    pub(super) fn keep(&mut self, body: &[u8], encoding: Encoding, written: &[u8]) {
        if body.len() > LONGEST {
            return;
        }
        if self.kept.is_empty() {
            self.kept.resize(KEPT, CachedDescription::default());
        }
        let place = self.place(body);
        if let Some(kept) = self.kept.get_mut(place) {
            *kept = CachedDescription { body: body.to_vec(), encoding, written: written.to_vec() };
        }
    }

    fn place(&self, body: &[u8]) -> usize {
        self.hasher.hash_one(body) as usize % KEPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_of_a_body_is_found_by_all_that_decides_it() {
        let mut kept = RowDescriptions::default();
        let bodies: Vec<Vec<u8>> = (0..1_000_u32).map(|number| number.to_be_bytes().to_vec()).collect();
        for body in &bodies {
            assert_eq!(kept.get(body, Encoding::UTF8), None);
            kept.keep(body, Encoding::UTF8, body);
            assert_eq!(kept.get(body, Encoding::UTF8), Some(&body[..]));
            assert_eq!(kept.get(body, Encoding::named("LATIN1")), None);
        }
        // Others may have taken its place, but none is taken for another.
        assert!(bodies.iter().all(|body| kept.get(body, Encoding::UTF8).is_none_or(|written| written == body)));
        kept.keep(&[0; LONGEST + 1], Encoding::UTF8, b"x");
        assert_eq!(kept.get(&[0; LONGEST + 1], Encoding::UTF8), None);
    }
}
