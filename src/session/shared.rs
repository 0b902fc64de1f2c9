//! What the sessions of many connections share: room, texts, keys, buffers.

use super::budget::Total;
use super::cancel::Cancels;
use super::execution::{Execution, Spare, recycle};
use super::interner::Interner;
use super::pool::Pool;
use super::statements::{Kept, MOST_FOR_A_BYTE};
use crate::tls::keylog::Keys;
use crate::tls::session::Tools;

/// What the sessions of the connections of one [`ShardId`] share; apart from what other threads write to.
#[derive(Debug)]
#[repr(align(128))]
pub struct Shared {
    /// The room that there is for what its sessions remember.
    pub total: Total,
    /// Texts and buffers.
    pub kept: Kept,
    /// Keys of sessions, of all homes.
    pub cancels: Cancels,
    /// What TLS is decrypted with; `None` while it is in use.
    pub tls: Option<Box<Tools>>,
    pub(super) spare: Spare,
    pub(super) wants_queries: bool,
    /// Whether a Parse or Bind that nothing executes is reported.
    pub(super) wants_parses: bool,
    /// How many bytes are kept of a row of COPY data that is not whole; `None` where no message lines are wanted.
    pub(super) longest_copy_row: Option<usize>,
}

impl Shared {
    /// Whether there are message lines.
    pub(super) const fn wants_messages(&self) -> bool {
        self.longest_copy_row.is_some()
    }

    /// Keeps the buffers of a request that was reported, to be used again.
    pub fn recycle(&mut self, execution: Box<Execution>) {
        recycle(execution, &mut self.spare);
    }
}

/// How many homes there are: as many connections can be dissected at the same time, at most.
pub const HOMES: usize = 8;

/// Where a connection belongs, from its beginning to its end. Connections of different homes have nothing in common that
/// changes while they are dissected, but for room, of which there is enough, and keys, which only beginnings and ends of
/// connections change.
///
/// How many homes there are does not depend on how many threads there are, and so neither does the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardId(u8);

impl ShardId {
    /// The next one, by turns.
    #[must_use]
    pub const fn next(self) -> Self {
        Self((self.0 + 1) % HOMES as u8)
    }

    /// Its ordinal, below [`HOMES`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// All homes.
#[derive(Debug)]
pub struct Shards {
    first: Shared,
    others: Vec<Shared>,
    /// How many bytes may be kept for SQL texts, and for everything else.
    max_bytes: usize,
}

impl Shards {
    /// The first home.
    pub const FIRST: ShardId = ShardId(0);

    /// Nothing is shared yet. At most `max_bytes` are kept for SQL texts, and as many for everything else that sessions
    /// remember.
    pub fn new(
        max_bytes: usize,
        [wants_queries, wants_parses]: [bool; 2],
        longest_copy_row: Option<usize>,
        keys: &Keys,
    ) -> Self {
        let cancels = Cancels::default();
        let shared = || Shared {
            total: Total::new(max_bytes),
            kept: Kept {
                texts: Interner::new(max_bytes),
                statements: Pool::default(),
                portals: Pool::default(),
                forgotten: 0,
            },
            cancels: cancels.clone(),
            tls: Some(Box::new(Tools::new(keys.clone()))),
            spare: Spare::new(),
            wants_queries,
            wants_parses,
            longest_copy_row,
        };
        Self { first: shared(), others: (1..HOMES).map(|_| shared()).collect(), max_bytes }
    }

    /// What the connections of a home share. While it is used, that of no other home may be.
    pub fn of(&mut self, shard: ShardId) -> &mut Shared {
        let used = self.used();
        let max_bytes = self.max_bytes;
        let shared = self.get(shard);
        // All that the others leave.
        shared.total.set_max((max_bytes + shared.total.used()).saturating_sub(used));
        shared
    }

    /// A home, and the room that there is for what its sessions remember.
    pub fn room_of(&mut self, shard: ShardId) -> (ShardId, &Total) {
        (shard, &self.get(shard).total)
    }

    fn get(&mut self, shard: ShardId) -> &mut Shared {
        match shard.index().checked_sub(1).and_then(|index| self.others.get_mut(index)) {
            Some(shared) => shared,
            None => &mut self.first,
        }
    }

    /// What the connections of each home share, in order, to be used at the same time: it is known that there is room.
    pub fn each_with_room(&mut self) -> impl Iterator<Item = &mut Shared> {
        self.each_mut().inspect(|shared| shared.total.set_max(usize::MAX))
    }

    fn each_mut(&mut self) -> impl Iterator<Item = &mut Shared> {
        std::iter::once(&mut self.first).chain(&mut self.others)
    }

    fn each(&self) -> impl Iterator<Item = &Shared> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// How many statements, portals and texts were forgotten, to make room for others.
    pub fn forgotten(&self) -> u64 {
        self.each().map(|shared| shared.kept.forgotten + shared.kept.texts.forgotten()).sum()
    }

    /// How many bytes are kept.
    pub fn remembered(&self) -> usize {
        self.used() + self.text_bytes()
    }

    fn used(&self) -> usize {
        self.each().map(|shared| shared.total.used()).sum()
    }

    /// Whether so much is kept that some of it should go: seven eighths.
    pub fn is_scarce(&self) -> bool {
        self.used() > self.scarce_above()
    }

    const fn scarce_above(&self) -> usize {
        self.max_bytes - self.max_bytes / 8
    }

    /// Whether there is room again: a quarter.
    pub fn has_room(&self) -> bool {
        self.used() <= self.max_bytes - self.max_bytes / 4
    }

    /// How many bytes of traffic cannot ask for more than there is room for; none where it is scarce already.
    pub fn room_for_traffic(&self) -> Option<usize> {
        let room = self.scarce_above().checked_sub(self.used())? / MOST_FOR_A_BYTE;
        Some(room.min(self.max_bytes.checked_sub(self.text_bytes())?))
    }

    fn text_bytes(&self) -> usize {
        self.each().map(|shared| shared.kept.texts.bytes()).sum()
    }

    /// Forgets texts where there are too many, when those of a home were so many bytes before.
    #[inline]
    pub fn bound_texts(&mut self, shard: ShardId, before: usize) {
        if self.get(shard).kept.texts.bytes() != before {
            self.forget_texts();
        }
    }

    /// Forgets texts of the fullest home first.
    fn forget_texts(&mut self) {
        while self.text_bytes() > self.max_bytes {
            let Some(fullest) = self.each_mut().max_by_key(|shared| shared.kept.texts.bytes()) else { return };
            fullest.kept.texts.forget_one();
        }
    }
}
