//! The SQL texts that prepared statements stand for, each kept once, however many connections of a home prepared it.
//!
//! Texts stay when nothing stands for them any more, for a driver that parses a text now will parse it again. Where there
//! are too many, those that were not used for long go; what stood for them has no text then.

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::pg::text::{KeptText, Text};
use crate::sql::secret::StatementSecrets;

/// How many texts are kept: more than all the statements of a large application.
const MAX_TEXTS: usize = 65_536;

/// A text longer than this is not kept.
pub const MAX_TEXT: usize = 1 << 20;

/// Where a text is kept, as long as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextId {
    slot: u32,
    generation: u32,
}

/// All texts.
#[derive(Debug)]
pub struct Interner {
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_hash: HashMap<u64, u32, RandomState>,
    hasher: RandomState,
    bytes: usize,
    max_bytes: usize,
    /// The slot that is looked at next for one that can go.
    clock_hand: usize,
    forgotten: u64,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    hash: u64,
    text: Option<KeptText<'static>>,
    /// What is looked for once, however often the text is sent.
    secrets: Option<Box<StatementSecrets>>,
    /// Whether it was used since the hand passed.
    used: bool,
}

impl Interner {
    /// No texts. At most `max_bytes` are kept.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_hash: HashMap::default(),
            hasher: RandomState::default(),
            bytes: 0,
            max_bytes,
            clock_hand: 0,
            forgotten: 0,
        }
    }

    /// Keeps a text, where it is not too long.
    pub fn keep(&mut self, text: Text<'_>) -> Option<TextId> {
        let kept = text.kept();
        let text = kept.get();
        let hash = self.hasher.hash_one(text.0);
        if let Some(slot) = self.by_hash.get(&hash).copied()
            && let Some(found) = self.slots.get_mut(slot as usize)
            && found.text.as_ref() == Some(&kept)
        {
            found.used = true;
            return Some(TextId { slot, generation: found.generation });
        }
        if text.0.len() > MAX_TEXT.min(self.max_bytes) {
            return None;
        }
        while self.bytes + text.0.len() > self.max_bytes || self.slots.len() - self.free.len() >= MAX_TEXTS {
            self.forget_one();
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(Slot { generation: 0, hash, text: None, secrets: None, used: false });
                u32::try_from(self.slots.len() - 1).ok()?
            }
        };
        let place = self.slots.get_mut(slot as usize)?;
        let secrets = StatementSecrets::of(text.0);
        *place = Slot { generation: place.generation, hash, text: None, secrets, used: false };
        self.bytes += text.0.len();
        place.text = Some(kept.into_owned());
        // Of two texts with the same hash, the later one is found.
        self.by_hash.insert(hash, slot);
        Some(TextId { slot, generation: place.generation })
    }

    /// A text, where it is still kept.
    pub fn get(&self, id: TextId) -> Option<Text<'_>> {
        let slot = self.slots.get(id.slot as usize).filter(|slot| slot.generation == id.generation)?;
        slot.text.as_ref().map(KeptText::get)
    }

    /// What of a statement is a secret that has this text; nothing where there is none.
    pub fn secrets(&self, id: TextId) -> Option<&StatementSecrets> {
        let slot = self.slots.get(id.slot as usize).filter(|slot| slot.generation == id.generation)?;
        slot.secrets.as_deref()
    }

    /// Marks a text as used.
    pub fn touch(&mut self, id: TextId) {
        if let Some(slot) = self.slots.get_mut(id.slot as usize) {
            slot.used = true;
        }
    }

    /// How many bytes of text are kept.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many texts had to go.
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Forgets the next text that was not used since the hand passed it last.
    pub fn forget_one(&mut self) {
        loop {
            let at = self.clock_hand;
            self.clock_hand = (at + 1) % self.slots.len().max(1);
            let Some(slot) = self.slots.get_mut(at) else { return };
            if std::mem::take(&mut slot.used) {
                continue;
            }
            let Some(text) = slot.text.take() else { continue };
            self.bytes -= text.len();
            slot.secrets = None;
            slot.generation = slot.generation.wrapping_add(1);
            if self.by_hash.get(&slot.hash) == Some(&(at as u32)) {
                self.by_hash.remove(&slot.hash);
            }
            self.free.push(at as u32);
            self.forgotten += 1;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(texts: &mut Interner, text: &[u8]) -> Option<TextId> {
        texts.keep(Text::utf8(text))
    }

    #[test]
    fn a_text_is_kept_once() {
        let mut texts = Interner::new(1_000);
        let one = keep(&mut texts, b"SELECT 1").unwrap();
        assert_eq!(keep(&mut texts, b"SELECT 1"), Some(one));
        assert_ne!(keep(&mut texts, b"SELECT 2"), Some(one));
        assert_eq!(texts.get(one), Some(Text::utf8(b"SELECT 1")));
        assert_eq!(texts.bytes(), 16);
    }

    #[test]
    fn those_that_were_not_used_for_long_go_and_are_never_taken_for_others() {
        let mut texts = Interner::new(20);
        let often = keep(&mut texts, b"often").unwrap();
        let once = keep(&mut texts, b"once").unwrap();
        for number in 0..100 {
            texts.touch(often);
            let other = keep(&mut texts, format!("other {number:02}").as_bytes()).unwrap();
            assert!(texts.get(other).is_some() && texts.bytes() <= 20);
        }
        assert_eq!(texts.get(often), Some(Text::utf8(b"often")));
        assert_eq!(texts.get(once), None);
        assert!(texts.forgotten() >= 98);
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let mut texts = Interner::new(10);
        assert_eq!(keep(&mut texts, &[b'x'; 11]), None);
        assert_eq!(texts.bytes(), 0);
    }
}
