//! Requests and sessions as lines of PostgreSQL's own log: what a server would have written with `log_connections`,
//! `log_disconnections` and `log_line_prefix = '%m [%p]: user=%u,db=%d,app=%a,client=%h '`.
//!
//! Columns and keys are those of the documentation, "Using CSV-Format Log Output" and "Using JSON-Format Log Output"; those that
//! the wire does not tell are empty: transaction IDs, the query's ID, the leader's process, the location in the source. Of notices,
//! a server logs warnings as well; they are messages here, and not in the log.
//!
//! Lines depend on those before of their session, which are counted: forms that write parts of one log share what is known of sessions,
//! and each has to get all records of a session up to some point.

mod line;
mod records;
mod session;
mod tag;

use std::io;
use std::sync::Arc;

use self::records::{RecordWriter, Statement};
use self::session::Sessions;
use super::Form;
use super::cache::Cache;
use crate::pg::text::{Sql, Text};
use crate::record::session::State;
use crate::record::{Outcome, Record};
use crate::redaction::Redaction;
#[cfg(feature = "cli")]
use crate::time::Timestamp;

/// The format of a server's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `log_destination = csvlog`.
    #[default]
    Csv,
    /// `log_destination = jsonlog`.
    Json,
    /// `log_destination = stderr`.
    Stderr,
}

/// Which statements a server's log has, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogStyle {
    /// When they have ended, with their durations: `log_min_duration_statement = 0`.
    #[default]
    Duration,
    /// When they begin: `log_statement = all`.
    Statement,
}

/// Writes the lines of a server's log.
///
/// ```
/// use pgdissect::Form;
/// use pgdissect::output::{LogFormat, LogStyle, ServerLog};
///
/// let mut log = ServerLog::new(LogFormat::Csv, LogStyle::Duration, 15);
/// # let _: &mut dyn Form = &mut log;
/// ```
#[derive(Debug)]
pub struct ServerLog {
    sessions: Arc<Sessions>,
    records: RecordWriter,
    /// By text.
    statements: Cache<Statement>,
}

impl Form for ServerLog {
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        let Self { sessions, records, statements } = self;
        match record {
            Record::Query(query) if query.outcome != Outcome::Skipped => {
                let conn = query.header.conn;
                let mut slot = sessions.slot(conn);
                let session = slot.session(conn);
                let sql = query
                    .sql
                    .as_ref()
                    .map_or(Sql { text: Text::default(), redaction: Redaction::Nothing }, |sql| sql.0);
                match statements.get(sql.text.0).filter(|statement| statement.is_of(&sql)) {
                    Some(statement) => records.query(out, session, query, statement),
                    None => {
                        let statement = Statement::new(&sql);
                        records.query(out, session, query, &statement);
                        statements.offer(sql.text.0, statement.text.len(), || statement);
                    }
                }
            }
            Record::Session(session) => {
                let conn = session.header.conn;
                let mut slot = sessions.slot(conn);
                records.session(out, slot.session(conn), session);
                if session.state != State::Ready {
                    slot.remove(conn);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns a form for the same log: sessions may go on in it.
    fn another(&self) -> Box<dyn Form> {
        Box::new(self.part())
    }
}

impl ServerLog {
    /// Creates a log in the words of a major version of PostgreSQL: from 16 on, parameters are written as `Parameters: …`,
    /// before that as `parameters: …`.
    pub fn new(format: LogFormat, style: LogStyle, version: u8) -> Self {
        Self {
            sessions: Arc::default(),
            records: RecordWriter::new(format, style, version),
            statements: Cache::default(),
        }
    }

    /// Leaves out what took less time: with [`LogStyle::Duration`], each of Parse, Bind and Execute, and simple queries. Errors are written.
    #[must_use]
    pub fn min_duration(mut self, micros: u64) -> Self {
        self.records.min_us = micros;
        self
    }

    /// Returns what writes other records of the same log.
    pub(crate) fn part(&self) -> Self {
        let RecordWriter { format, style, version, min_us, ref ends, .. } = self.records;
        let mut records = RecordWriter::new(format, style, version);
        (records.min_us, records.ends) = (min_us, ends.as_ref().map(|_| Vec::new()));
        Self { sessions: Arc::clone(&self.sessions), records, statements: Cache::default() }
    }

    /// Returns whether a secret was masked in a statement or its parameters.
    #[cfg(feature = "cli")]
    pub(crate) const fn has_secret(&self) -> bool {
        self.records.has_secret
    }

    /// Returns whether a parameter was not written as text, because that is not known.
    #[cfg(feature = "cli")]
    pub(crate) const fn lacks_text(&self) -> bool {
        self.records.lacks_text
    }

    /// Notes the time of each line, and where it ends, for [`Self::ends`].
    #[cfg(feature = "cli")]
    pub(crate) fn noting_ends(mut self) -> Self {
        self.records.ends = Some(Vec::new());
        self
    }

    /// Returns the times of the lines that were written since the last call, and where each ends in what it was written to.
    #[cfg(feature = "cli")]
    pub(crate) fn ends(&mut self) -> impl Iterator<Item = (Timestamp, usize)> {
        self.records.ends.iter_mut().flat_map(|ends| ends.drain(..))
    }
}
