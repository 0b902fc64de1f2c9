//! Lines about what messages add up to: executed requests, those under way, and sessions.
//!
//! ```text
//! 21:46:13.768763   1     0.074ms QUERY   SELECT i FROM t WHERE i < $1  $1=2  SELECT 2  app@shop  q9
//! 21:46:13.768763   1     1.926ms SESSION ready  app@shop  application=psql  127.0.0.1:60666 -> 127.0.0.1:5432
//! ```
//!
//! What is odd about them, and how they ended where that is not well, is before what may be cut on a terminal.

use std::io;

use super::body::{self, Count};
use super::line::{Line, Paint};
use super::sanitize::{Name, Prose, SQL, Word};
use super::{Elapsed, beginning, ends, kind, oddities, width};
use crate::pg::text::Text;
use crate::record::query::{Downstream, Upstream};
use crate::record::session::{EndReason, Ended, Side, State};
use crate::record::{QueryRecord, RunningRecord, RunningState, SessionRecord};
use crate::session::execution::Outcome;
use crate::session::violation::Violation;
use crate::session::walsender::Purpose;

/// Writes an executed request: its SQL, what came of it, and how long it took.
pub(super) fn query(line: &mut Line<'_>, record: &QueryRecord<'_>) -> io::Result<()> {
    request(line, record, "QUERY", None)
}

/// Writes a request that is under way: its SQL, how old it is, and what it waits for.
pub(super) fn running(line: &mut Line<'_>, record: &RunningRecord<'_>) -> io::Result<()> {
    let state = match record.state {
        RunningState::Queued => "queued",
        RunningState::WaitingForServer => "waiting for the server",
        RunningState::Sending => "the server sends",
        RunningState::WaitingForClient => "waiting for the client",
    };
    request(line, &record.query, "RUNNING", Some(state))
}

fn request(line: &mut Line<'_>, record: &QueryRecord<'_>, name: &str, state: Option<&str>) -> io::Result<()> {
    beginning(line, &record.header, record.total_us.or(record.age_us))?;
    if !line.is_compact {
        line.skip_column(width::DIRECTION);
    }
    let (paint, outcome) = match record.outcome {
        Outcome::Ok => (Paint::BOLD, None),
        Outcome::Error => (Paint::BOLD_RED, None),
        Outcome::Canceled => (Paint::BOLD_RED, Some("canceled")),
        Outcome::Skipped => (Paint::BOLD_YELLOW, Some("skipped")),
        Outcome::Suspended => (Paint::BOLD, Some("suspended")),
        Outcome::Aborted => (Paint::BOLD_RED, Some("aborted")),
        Outcome::Incomplete => (Paint::BOLD_YELLOW, Some("incomplete")),
        Outcome::Running => (Paint::BOLD_YELLOW, state),
    };
    kind(line, paint, name)?;
    if let Some(outcome) = outcome {
        line.painted(paint, format_args!("{outcome}"))?;
        line.owe(2);
    }
    oddities(line, record.flags, 0)?;
    line.content();
    match (&record.sql, record.function_oid, record.statement) {
        (Some(sql), ..) => body::sql(line, &sql.0)?,
        (None, Some(function), _) => line.item(format_args!("function={}", function.0))?,
        (None, None, Some(name)) if !name.0.is_empty() => {
            line.item(format_args!("statement={} (its SQL is not known)", Name(name, line.extent)))?;
        }
        _ => line.item(format_args!("(its SQL is not known)"))?,
    }
    if let Some(parameters) = &record.params {
        line.owe(2);
        body::parameters(line, parameters)?;
    }
    line.tail();
    if let Some(fields) = record.error.as_ref().map(|failure| &failure.fields) {
        line.owe(2);
        body::report(line, fields, Paint::RED)?;
    } else if !record.command_tags.is_empty() {
        line.owe(2);
        let extent = line.extent;
        line.list(", ", record.command_tags.iter().map(|tag| Prose(tag.0, extent.limit(SQL))))?;
    }
    if let Some(by) = record.canceled_by {
        line.aside(paint, format_args!("canceled by connection {by}"))?;
    }
    violation(line, record.violation)?;
    if let Some(Upstream { conn, query, wait_us, idle_us, executed: _ }) = record.upstream {
        line.aside(Paint::DIM, format_args!("on connection {conn} q{query} after {}", Elapsed(wait_us)))?;
        if let Some(idle_us) = idle_us {
            line.aside(Paint::DIM, format_args!("{} idle in transaction before", Elapsed(idle_us)))?;
        }
    }
    if let Some(Downstream { conn, query, client, application, .. }) = record.downstream {
        line.aside(Paint::DIM, format_args!("of connection {conn} q{query}, {client}"))?;
        setting(line, "application", application)?;
    }
    if record.pooler {
        line.aside(Paint::DIM, format_args!("the pooler's own"))?;
    }
    identity(line, record.user, record.database)?;
    line.aside(Paint::DIM, format_args!("q{}", record.query))
}

/// Writes a session: who it is, when it is ready; how it ended.
pub(super) fn session(line: &mut Line<'_>, record: &SessionRecord<'_>) -> io::Result<()> {
    beginning(line, &record.header, record.ended.as_ref().map(|ended| ended.duration_us).or(record.ready_us))?;
    if !line.is_compact {
        line.skip_column(width::DIRECTION);
    }
    kind(line, Paint::BOLD, "SESSION")?;
    match &record.ended {
        Some(ended) => session_end(line, record, ended)?,
        None if matches!(record.state, State::Ready | State::Ended) => {
            line.painted(Paint::GREEN, format_args!("ready"))?;
            line.owe(2);
            oddities(line, record.flags, 0)?;
            identity(line, record.user, record.database)?;
            setting(line, "application", record.application)?;
            ends(line, &record.header)?;
            line.owe(2);
            setting(line, "server", record.server_version)?;
            if let Some(version) = record.protocol_version {
                line.item(format_args!("protocol={version}"))?;
            }
            if let Some(method) = record.auth_method {
                line.item(format_args!("auth={}", method.name()))?;
            }
            tls(line, record)?;
            replication(line, record)?;
            if let Some(process_id) = record.process_id {
                line.item(format_args!("pid={process_id}"))?;
            }
        }
        None => {}
    }
    violation(line, record.violation)
}

fn session_end(line: &mut Line<'_>, record: &SessionRecord<'_>, ended: &Ended) -> io::Result<()> {
    let how = match ended.end_reason {
        EndReason::Terminate => "ended",
        EndReason::Fatal => "ended by a fatal error",
        EndReason::Fin => "closed",
        EndReason::Reset => "broken off",
        EndReason::Replaced => "replaced by another connection of the same ends",
        EndReason::Evicted => "not followed any more",
        EndReason::CaptureEnd => "still open at the end of the capture",
    };
    let paint = if ended.end_reason == EndReason::Terminate { Paint::PLAIN } else { Paint::YELLOW };
    line.painted(paint, format_args!("{how}"))?;
    match ended.ended_by {
        Some(Side::Client) => line.item(format_args!("by the client"))?,
        Some(Side::Server) => line.item(format_args!("by the server"))?,
        None => {}
    }
    line.owe(2);
    oddities(line, record.flags, 0)?;
    if record.pooler {
        line.aside(Paint::DIM, format_args!("the pooler's own"))?;
    }
    identity(line, record.user, record.database)?;
    if let Some(failure) = &record.error {
        line.owe(2);
        body::report(line, &failure.fields, Paint::RED)?;
    }
    line.owe(2);
    line.put(format_args!("{}", Count(ended.queries, "request")))?;
    if ended.errors > 0 {
        line.put(format_args!(", "))?;
        line.painted(Paint::RED, format_args!("{}", Count(ended.errors, "error")))?;
    }
    if ended.lost_bytes > 0 {
        line.put(format_args!(", "))?;
        line.painted(Paint::RED, format_args!("{} lost", Count(ended.lost_bytes, "byte")))?;
    }
    if ended.idle_in_transaction_us > 0 {
        let idle = Elapsed(ended.idle_in_transaction_us);
        line.put(format_args!(", idle in transaction {idle}"))?;
    }
    replication(line, record)?;
    let (bytes_in, bytes_out) = (ended.bytes_in, ended.bytes_out);
    line.put(format_args!(", {} from the client, {} to it", Count(bytes_in, "byte"), bytes_out))?;
    if record.tls.as_ref().is_some_and(|tls| !tls.decrypted) {
        line.owe(2);
        tls(line, record)?;
    }
    ends(line, &record.header)
}

fn setting(line: &mut Line<'_>, name: &str, value: Option<Text<'_>>) -> io::Result<()> {
    match value.filter(|value| !value.0.is_empty()) {
        Some(value) => line.item(format_args!("{name}={}", Word(value, line.extent))),
        None => Ok(()),
    }
}

/// Writes what a session with a walsender does.
fn replication(line: &mut Line<'_>, record: &SessionRecord<'_>) -> io::Result<()> {
    let Some(purpose) = record.replication else { return Ok(()) };
    let purpose = match purpose {
        Purpose::Physical => "physical",
        Purpose::Logical => "logical",
        Purpose::Backup => "backup",
    };
    line.item(format_args!("replication={purpose}"))?;
    setting(line, "slot", record.slot)?;
    setting(line, "plugin", record.plugin)
}

/// Writes what protects a session.
fn tls(line: &mut Line<'_>, record: &SessionRecord<'_>) -> io::Result<()> {
    let Some(tls) = &record.tls else { return Ok(()) };
    if let Some(version) = tls.version {
        line.item(format_args!("{version}"))?;
    }
    if let Some(suite) = tls.cipher_suite {
        line.item(format_args!("{suite}"))?;
    }
    if let Some(name) = tls.sni {
        line.item(format_args!("sni={}", Word(name, line.extent)))?;
    }
    if let Some(alert) = tls.alert.and_then(|alert| alert.name) {
        line.item(format_args!("alert={alert}"))?;
    }
    if !tls.decrypted {
        line.item(format_args!("not decrypted"))?;
    }
    Ok(())
}

/// Writes how the protocol was broken.
fn violation(line: &mut Line<'_>, violation: Option<Violation>) -> io::Result<()> {
    match violation {
        Some(Violation { wanted: Some(wanted), had, packet, .. }) => {
            line.aside(Paint::RED, format_args!("wanted {wanted}, had {had} (packet {packet})"))
        }
        Some(Violation { wanted: None, had, packet, .. }) => {
            line.aside(Paint::RED, format_args!("unsolicited {had} (packet {packet})"))
        }
        None => Ok(()),
    }
}

fn identity(line: &mut Line<'_>, user: Option<Text<'_>>, database: Option<Text<'_>>) -> io::Result<()> {
    let extent = line.extent;
    match (user.map(|user| Name(user, extent)), database.map(|database| Name(database, extent))) {
        (Some(user), Some(database)) => line.aside(Paint::DIM, format_args!("{user}@{database}")),
        (Some(user), None) => line.aside(Paint::DIM, format_args!("{user}")),
        _ => Ok(()),
    }
}
