//! The prepared statements and portals that messages have made, and SQL may name.

use std::collections::BTreeSet;

use crate::encoding::Encoding;
use crate::pg::text::Text;
use crate::record::QueryRecord;
use crate::sql::statement::{Statement, split};

/// How many names of each kind are kept. A driver uses its names again, or counts.
const MOST: usize = 4_096;

/// Names of prepared statements and portals that messages have made.
#[derive(Debug, Default)]
pub(super) struct Made {
    statements: BTreeSet<Box<[u8]>>,
    portals: BTreeSet<Box<[u8]>>,
    /// The statements that SQL has prepared, and the script does. Bind may name them, too.
    prepared: BTreeSet<Box<[u8]>>,
}

impl Made {
    /// Returns whether the SQL of a request names one of them, and notes those of the request itself.
    pub(super) fn names(&mut self, query: &QueryRecord<'_>) -> bool {
        let mut names = false;
        let text = query.sql.as_ref().map(|sql| sql.0.text.kept());
        let text: &[u8] = text.as_deref().unwrap_or_default();
        for range in split(text) {
            let sql = text.get(range).unwrap_or_default();
            names |= match Statement::of(sql) {
                Statement::Execute { name, .. } => self.statements.contains(&*name),
                Statement::Deallocate(Some(name)) => {
                    self.prepared.remove(&*name);
                    self.statements.contains(&*name)
                }
                Statement::Deallocate(None) | Statement::Discard(_) => {
                    self.prepared.clear();
                    false
                }
                Statement::Fetch(name) | Statement::Move(name) | Statement::Close(Some(name)) => {
                    self.portals.contains(&*name)
                }
                Statement::Prepare { name, .. } if query.error.is_none() => {
                    self.statements.remove(&*name);
                    note(&mut self.prepared, Some(Text(&name, Encoding::default())));
                    false
                }
                Statement::Declare { name, .. } => {
                    self.portals.remove(&*name);
                    false
                }
                _ => false,
            };
        }
        if query.steps.has_parse
            && let Some(Text(name, _)) = query.statement
        {
            self.prepared.remove(name);
        }
        note(&mut self.statements, query.statement.filter(|name| !self.prepared.contains(name.0)));
        note(&mut self.portals, query.portal);
        names
    }
}

fn note(names: &mut BTreeSet<Box<[u8]>>, name: Option<Text<'_>>) {
    if let Some(Text(name, _)) = name
        && !name.is_empty()
        && names.len() < MOST
        && !names.contains(name)
    {
        names.insert(name.into());
    }
}
