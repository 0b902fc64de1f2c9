//! Lines about what messages add up to: executed requests, and sessions.
//!
//! ```text
//! 21:46:13.768763   1       QUERY            SELECT i FROM t WHERE i < $1  $1=2  SELECT 2  app@shop  q9 +0.074ms
//! 21:46:13.768763   1       SESSION          ready app@shop server=15.18 auth=scram-sha-256 pid=6982  +1.926ms
//! ```

use std::io;

use super::body::{self, Count};
use super::line::{Line, Paint};
use super::sanitize::{Name, Prose, SQL, Word};
use super::{Elapsed, beginning, ends, oddities, width};
use crate::pg::text::Text;
use crate::record::session::{EndReason, Side, State};
use crate::record::{QueryRecord, RunningRecord, RunningState, SessionRecord};
use crate::session::execution::Outcome;
use crate::session::violation::Violation;

/// Writes an executed request: its SQL, what came of it, and how long it took.
pub(super) fn query(line: &mut Line<'_>, record: &QueryRecord<'_>) -> io::Result<()> {
    beginning(line, &record.header, None)?;
    let (paint, outcome) = match record.outcome {
        Outcome::Ok => (Paint::BOLD, None),
        Outcome::Error => (Paint::BOLD_RED, None),
        Outcome::Canceled => (Paint::BOLD_RED, Some("canceled")),
        Outcome::Skipped => (Paint::BOLD_YELLOW, Some("skipped")),
        Outcome::Suspended => (Paint::BOLD, Some("suspended")),
        Outcome::Aborted => (Paint::BOLD_RED, Some("aborted")),
        Outcome::Incomplete => (Paint::BOLD_YELLOW, Some("incomplete")),
        Outcome::Running => (Paint::BOLD_YELLOW, None),
    };
    let is_running = record.outcome == Outcome::Running;
    line.column(paint, if is_running { "RUNNING" } else { "QUERY" }, width::TYPE)?;
    match (&record.sql, record.function_oid, record.statement) {
        (Some(sql), ..) => body::sql(line, &sql.0)?,
        (None, Some(function), _) => line.item(format_args!("function={}", function.0))?,
        (None, None, Some(name)) if !name.0.is_empty() => {
            line.item(format_args!("statement={} (its SQL is not known)", Name(name)))?;
        }
        _ => line.item(format_args!("(its SQL is not known)"))?,
    }
    if let Some(parameters) = &record.params {
        body::parameters(line, parameters)?;
    }
    if let Some(fields) = record.error.as_ref().map(|failure| &failure.fields) {
        line.owe(2);
        body::report(line, fields, Paint::RED)?;
    } else if !record.command_tags.is_empty() {
        line.owe(2);
        line.list(", ", record.command_tags.iter().map(Tag))?;
    }
    if let Some(outcome) = outcome {
        line.aside(paint, format_args!("{outcome}"))?;
        if let Some(by) = record.canceled_by {
            line.put(format_args!(" by connection {by}"))?;
        }
    }
    oddities(line, record.flags, 0)?;
    violation(line, record.violation)?;
    identity(line, record.user, record.database)?;
    match (record.total_us, record.age_us) {
        (Some(total), _) => line.aside(Paint::DIM, format_args!("q{} {}", record.query, Elapsed(total))),
        (None, Some(age)) => line.aside(Paint::DIM, format_args!("q{} {} so far", record.query, Elapsed(age))),
        (None, None) => line.aside(Paint::DIM, format_args!("q{}", record.query)),
    }
}

/// Writes a request that is under way: its SQL, how old it is, and what it waits for.
pub(super) fn running(line: &mut Line<'_>, record: &RunningRecord<'_>) -> io::Result<()> {
    query(line, &record.query)?;
    let state = match record.state {
        RunningState::Queued => "queued",
        RunningState::WaitingForServer => "waiting for the server",
        RunningState::Sending => "the server sends",
        RunningState::WaitingForClient => "waiting for the client",
    };
    line.put(format_args!(", {state}"))
}

/// Writes a session: who it is, when it is ready; how it ended.
pub(super) fn session(line: &mut Line<'_>, record: &SessionRecord<'_>) -> io::Result<()> {
    beginning(line, &record.header, None)?;
    line.column(Paint::BOLD, "SESSION", width::TYPE)?;
    match (&record.ended, record.state) {
        (Some(ended), _) => {
            let how = match ended.end_reason {
                EndReason::Terminate => "ended",
                EndReason::Fatal => "ended by a fatal error",
                EndReason::Fin => "closed",
                EndReason::Reset => "broken off",
                EndReason::Replaced => "replaced by another connection of the same ends",
                EndReason::Evicted => "not followed any more",
                EndReason::CaptureEnd => "still open at the end of the capture",
            };
            let paint = if ended.end_reason == EndReason::Terminate { Paint::BOLD } else { Paint::YELLOW };
            line.painted(paint, format_args!("{how}"))?;
            match ended.ended_by {
                Some(Side::Client) => line.item(format_args!("by the client"))?,
                Some(Side::Server) => line.item(format_args!("by the server"))?,
                None => {}
            }
            line.put(format_args!(", {}", Count(ended.queries, "request")))?;
            if ended.errors > 0 {
                line.put(format_args!(", "))?;
                line.painted(Paint::RED, format_args!("{}", Count(ended.errors, "error")))?;
            }
            let (bytes_in, bytes_out) = (ended.bytes_in, ended.bytes_out);
            line.put(format_args!(", {} from the client, {} to it", Count(bytes_in, "byte"), bytes_out))?;
            if ended.idle_in_transaction_us > 0 {
                let idle = Elapsed(ended.idle_in_transaction_us);
                line.put(format_args!(", idle in transaction {idle}"))?;
            }
            if ended.lost_bytes > 0 {
                line.put(format_args!(", "))?;
                line.painted(Paint::RED, format_args!("{} lost", Count(ended.lost_bytes, "byte")))?;
            }
            if record.tls.as_ref().is_some_and(|tls| !tls.decrypted) {
                tls(line, record)?;
            }
            if let Some(failure) = &record.error {
                line.owe(2);
                body::report(line, &failure.fields, Paint::RED)?;
            }
        }
        (None, State::Ready | State::Ended) => {
            line.painted(Paint::GREEN, format_args!("ready"))?;
            for (name, value) in [("application", record.application), ("server", record.server_version)] {
                if let Some(value) = value.filter(|value| !value.0.is_empty()) {
                    line.item(format_args!("{name}={}", Word(value)))?;
                }
            }
            if let Some(version) = record.protocol_version {
                line.item(format_args!("protocol={version}"))?;
            }
            if let Some(method) = record.auth_method {
                line.item(format_args!("auth={}", method.name()))?;
            }
            tls(line, record)?;
            if let Some(process_id) = record.process_id {
                line.item(format_args!("pid={process_id}"))?;
            }
        }
    }
    oddities(line, record.flags, 0)?;
    violation(line, record.violation)?;
    identity(line, record.user, record.database)?;
    let elapsed = record.ended.as_ref().map(|ended| ended.duration_us).or(record.ready_us);
    if let Some(elapsed) = elapsed {
        line.aside(Paint::DIM, format_args!("{}", Elapsed(elapsed)))?;
    }
    ends(line, &record.header)
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
        line.item(format_args!("sni={}", Word(name)))?;
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
    match (user, database) {
        (Some(user), Some(database)) => line.aside(Paint::DIM, format_args!("{}@{}", Name(user), Name(database))),
        (Some(user), None) => line.aside(Paint::DIM, format_args!("{}", Name(user))),
        _ => Ok(()),
    }
}

/// A command tag.
struct Tag<'a>(Text<'a>);

impl std::fmt::Display for Tag<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Prose(self.0.0, SQL).fmt(f)
    }
}
