//! What the sessions of all connections share: room, texts, keys, buffers.

use super::budget::Total;
use super::cancel::Cancels;
use super::execution::{Execution, Spare, recycle};
use super::pool::Pool;
use super::statements::Kept;
use super::texts::Texts;
use crate::tls::keylog::Keys;
use crate::tls::session::Tools;

/// What the sessions of all connections share.
#[derive(Debug)]
pub struct Shared {
    /// The room that there is for what sessions remember.
    pub total: Total,
    /// Texts and buffers.
    pub kept: Kept,
    /// Keys of sessions.
    pub cancels: Cancels,
    /// What TLS is decrypted with; taken out while it is in use.
    pub tls: Option<Box<Tools>>,
    pub(super) spare: Spare,
    pub(super) wants_queries: bool,
    /// How many bytes are kept of a row of COPY data that is not whole; nothing where nobody is told of rows.
    pub(super) longest_copy_row: Option<usize>,
}

impl Shared {
    /// Nothing is shared yet. At most `max_bytes` are kept for SQL texts, and as many for everything else that sessions
    /// remember.
    pub fn new(max_bytes: usize, wants_queries: bool, longest_copy_row: Option<usize>, keys: &Keys) -> Self {
        Self {
            total: Total::new(max_bytes),
            kept: Kept {
                texts: Texts::new(max_bytes),
                statements: Pool::default(),
                portals: Pool::default(),
                forgotten: 0,
            },
            cancels: Cancels::default(),
            tls: Some(Box::new(Tools::new(keys.clone()))),
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
