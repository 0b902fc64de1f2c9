//! What the thread that dissects and the thread of the screen share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::output::screen::Data;
use crate::output::screen::model::Model;
use crate::output::screen::view::{
    ErrorCount, ErrorRow, Ladder, Overview, PoolRow, RequestRow, RunningRow, SessionRow, StatementRow, StreamRow,
    Window, WireBytes,
};

/// The memory for the messages of all sessions, in bytes.
const MAX_MESSAGE_BYTES: usize = 128 << 20;

/// A model that two threads share. Each holds it for short: the one adds records, the other copies rows.
#[derive(Debug)]
pub(super) struct ScreenData {
    model: Mutex<Model>,
}

impl ScreenData {
    pub(super) fn new() -> Self {
        Self { model: Mutex::new(Model::new(MAX_MESSAGE_BYTES)) }
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Data for ScreenData {
    fn overview(&self) -> Overview {
        self.model().overview()
    }

    fn running(&self) -> Arc<[RunningRow]> {
        self.model().running()
    }

    fn statements(&self, window: Window) -> Vec<StatementRow> {
        let model = self.model();
        let now = model.now();
        model.statements(window, now)
    }

    fn sessions(&self) -> Vec<Arc<SessionRow>> {
        self.model().sessions()
    }

    fn errors(&self) -> Vec<Arc<ErrorRow>> {
        self.model().errors()
    }

    fn error_counts(&self) -> Vec<ErrorCount> {
        self.model().error_counts()
    }

    fn streams(&self) -> Vec<Arc<StreamRow>> {
        let model = self.model();
        model.streams(model.now())
    }

    fn pools(&self) -> Vec<Arc<PoolRow>> {
        self.model().pools()
    }

    fn ladder(&self, conn: u64) -> Ladder {
        self.model().ladder(conn)
    }

    fn wire_bytes(&self, conn: u64, seq: u64) -> WireBytes {
        self.model().wire_bytes(conn, seq)
    }

    fn requests(&self, statement: &StatementRow) -> Vec<RequestRow> {
        self.model().requests(statement)
    }
}
