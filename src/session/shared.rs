//! What the sessions of all connections share: room, texts, keys, buffers.

use super::budget::Total;
use super::cancel::Cancels;
use super::execution::{Execution, Spare, recycle};
use super::pool::Pool;
use super::statements::Kept;
use super::texts::Texts;
use crate::redaction::Redaction;
use crate::sql::cache::Cache;
use crate::sql::normalize::normalize;
use crate::sql::redact::redact;

/// What the sessions of all connections share.
#[derive(Debug)]
pub struct Shared {
    /// The room that there is for what sessions remember.
    pub total: Total,
    /// Texts and buffers.
    pub kept: Kept,
    /// Keys of sessions.
    pub cancels: Cancels,
    /// Normal forms of SQL, without data where that is not written.
    pub normal_forms: Cache,
    pub(super) spare: Spare,
    pub(super) wants_queries: bool,
    /// How many bytes are kept of a row of COPY data that is not whole; nothing where nobody is told of rows.
    pub(super) longest_copy_row: Option<usize>,
}

impl Shared {
    /// Nothing is shared yet. At most `max_bytes` are kept for SQL texts, and as many for everything else that sessions
    /// remember.
    pub fn new(max_bytes: usize, wants_queries: bool, redaction: Redaction, longest_copy_row: Option<usize>) -> Self {
        Self {
            total: Total::new(max_bytes),
            kept: Kept {
                texts: Texts::new(max_bytes),
                statements: Pool::default(),
                portals: Pool::default(),
                forgotten: 0,
            },
            cancels: Cancels::default(),
            normal_forms: Cache::new(if redaction.hides_values() { redact } else { normalize }),
            spare: Spare::new(),
            wants_queries,
            longest_copy_row,
        }
    }

    /// Takes back a request that was told of.
    pub fn recycle(&mut self, execution: Box<Execution>) {
        recycle(execution, &mut self.spare);
    }
}
