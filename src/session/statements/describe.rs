//! What the server describes of statements and portals: their columns, and the types of their parameters.

use std::sync::Arc;

use super::{Portal, Row, Statement, Statements};
use crate::pg::list::{KeptList, List, Oid};
use crate::pg::row::RowDescription;

impl Statements {
    /// Keeps the columns of rows, where there is room for them.
    pub fn describe_rows(&mut self, description: &RowDescription<'_>) -> Option<Arc<Row>> {
        if let Some(last) = &self.last_row
            && last.shape.is(description)
        {
            return Some(Arc::clone(last));
        }
        // The room that the last ones had is free for these.
        let mut row = self.last_row.take().unwrap_or_default();
        if Arc::get_mut(&mut row).is_none() {
            row = Arc::default();
        }
        let inner = Arc::get_mut(&mut row)?;
        inner.share = None;
        inner.share = Some(self.room(2 * description.fields.as_bytes().len())?);
        inner.shape.keep(description);
        self.last_row = Some(Arc::clone(&row));
        Some(row)
    }

    /// Keeps the columns of a statement's rows. Where they are not what they were, its name stands for another by now, and
    /// others may, too.
    pub fn describe_statement(&mut self, statement: &Statement, description: &RowDescription<'_>) {
        if statement.row.get().is_some_and(|row| !row.shape.is(description)) {
            self.prepared.doubt();
            self.is_stale = true;
            return;
        }
        statement.described_in.get_or_init(|| self.age);
        if statement.row.get().is_none()
            && let Some(row) = self.describe_rows(description)
        {
            // It was just seen to be empty.
            let _ = statement.row.set(row);
        }
    }

    /// Keeps the columns of a portal's rows.
    pub fn describe_portal(&mut self, portal: &Portal, description: &RowDescription<'_>) {
        if portal.row.get().is_none()
            && let Some(row) = self.describe_rows(description)
        {
            let _ = portal.row.set(row);
        }
    }

    /// The columns that were described last.
    pub(in crate::session) fn last_row(&self) -> Option<&Row> {
        self.last_row.as_deref()
    }

    /// Keeps the columns that were described last as those of a portal's rows.
    pub(in crate::session) fn describe_portal_again(&self, portal: &Portal) {
        if let Some(last) = &self.last_row {
            // It may be known already.
            let _ = portal.row.set(Arc::clone(last));
        }
    }

    /// Keeps the types of a statement's parameters.
    pub fn describe_parameters(&self, statement: &Statement, types: &List<'_, Oid>) {
        statement.described_in.get_or_init(|| self.age);
        if statement.described.get().is_none()
            && !statement.declared.is(types)
            && let Some(share) = self.room(types.as_bytes().len())
        {
            let mut described = KeptList::default();
            described.keep(types);
            let _ = statement.described.set((described, share));
        }
    }
}
