//! The screen: what runs now, which statements take the time, who is connected, what fails; and the messages of each session.
//!
//! The thread that dissects adds records to the [`Model`], which counts and keeps what a screen can show. The thread of the screen asks
//! the model for rows, and sorts, filters and draws them on its own time: so a slow terminal drops frames, and never packets.

pub(crate) mod app;
mod compare;
mod detail;
pub(crate) mod draw;
pub(crate) mod filter;
mod keys;
mod ladder;
mod list;
mod messages;
pub(crate) mod model;
mod pool_rows;
mod prompt;
mod rates;
mod requests;
mod rows;
mod stream_rows;
mod streams;
#[cfg(test)]
mod tests;
pub(crate) mod view;

use std::sync::Arc;

use self::view::{
    ErrorCount, ErrorRow, Ladder, Overview, PoolRow, RequestRow, RunningRow, SessionRow, StatementRow, StreamRow,
    Window, WireBytes,
};

/// Where a screen has its rows from. Each call is short, and returns rows of one moment, in no certain order.
pub(crate) trait Data {
    /// What is shown above every list.
    fn overview(&self) -> Overview;
    /// Requests under way, and sessions that are idle in a transaction.
    fn running(&self) -> Arc<[RunningRow]>;
    /// Statements of a window of time.
    fn statements(&self, window: Window) -> Vec<StatementRow>;
    /// Sessions that are open, and those that have ended lately.
    fn sessions(&self) -> Vec<Arc<SessionRow>>;
    /// The latest errors, the latest last.
    fn errors(&self) -> Vec<Arc<ErrorRow>>;
    /// How often each SQLSTATE came, in all of the capture.
    fn error_counts(&self) -> Vec<ErrorCount>;
    /// Replication streams and base backups: those that go on, and those that have ended lately.
    fn streams(&self) -> Vec<Arc<StreamRow>>;

    /// What went through poolers.
    fn pools(&self) -> Vec<Arc<PoolRow>>;
    /// The messages of a session, as far as they are kept.
    fn ladder(&self, conn: u64) -> Ladder;
    /// The bytes of a message of a session.
    fn wire_bytes(&self, conn: u64, seq: u64) -> WireBytes;
    /// Some requests of a statement: those under way, the latest, the slowest, and those that failed.
    fn requests(&self, statement: &StatementRow) -> Vec<RequestRow>;
}
