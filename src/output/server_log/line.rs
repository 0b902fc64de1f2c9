//! One line of a log, in each of its formats.

use std::borrow::Cow;
use std::ops::Range;

use super::LogFormat;
use crate::digits::{self, push_decimal};
use crate::hex;
use crate::output::json::tokens::unquoted;
use crate::pg::text::{KeptText, Text};
use crate::time::Timestamp;

/// What a line tells of its moment; its session is in [`Identity`].
#[derive(Clone, Debug, Default)]
pub(super) struct Line<'a> {
    pub(super) ts: Timestamp,
    /// What the server's process shows that it does, as in ps(1): `SELECT`, `idle`. The column `command_tag`.
    pub(super) ps: &'a [u8],
    /// The message, in two parts.
    pub(super) message: [&'a [u8]; 2],
    pub(super) detail: &'a [u8],
    /// What only errors have. All else is of the severity LOG.
    pub(super) error: Option<ErrorPart<'a>>,
    /// If all from the second part of the message on is as in a line of the session before: where that is in the output.
    pub(super) rest: Option<Rest>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ErrorPart<'a> {
    pub(super) severity: &'a [u8],
    pub(super) sqlstate: &'a [u8],
    pub(super) hint: &'a [u8],
    pub(super) internal_query: &'a [u8],
    /// Decimal digits.
    pub(super) internal_position: &'a [u8],
    pub(super) context: &'a [u8],
    pub(super) statement: &'a [u8],
    pub(super) position: &'a [u8],
}

/// The range of a line from the second part of its message on, up to its end.
pub(super) type Rest = Range<usize>;

/// What all lines of a session have, as it is written.
#[derive(Debug, Default)]
pub(super) struct Identity {
    /// Behind the time: who it is.
    head: Vec<u8>,
    /// Behind the columns of the line's number and of ps.
    start: Vec<u8>,
    /// The same, and all up to the message, of what is no error.
    start_of_log: Vec<u8>,
    /// At the end.
    tail: Vec<u8>,
    /// The same, and all behind the DETAIL, of what is no error.
    tail_of_log: Vec<u8>,
}

/// Who a session is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a> {
    pub(super) user: &'a [u8],
    pub(super) database: &'a [u8],
    pub(super) application: &'a [u8],
    pub(super) process_id: Option<i32>,
    pub(super) conn: u64,
    pub(super) host: &'a str,
    pub(super) port: &'a str,
    pub(super) started: Timestamp,
    pub(super) backend_type: &'static str,
}

impl Who<'_> {
    /// Returns the process ID, or the number of the connection where that is not known: readers of logs tell sessions apart by it.
    fn process(&self) -> u64 {
        self.process_id.map_or(self.conn, |process_id| u64::from(process_id.unsigned_abs()))
    }
}

impl Identity {
    pub(super) fn new(format: LogFormat, who: &Who<'_>) -> Self {
        let started = who.started.rfc3339();
        // In whole seconds, with a space in place of the T.
        let mut start = started.as_str().get(..SECOND).unwrap_or_default().as_bytes().to_vec();
        start.iter_mut().filter(|byte| **byte == b'T').for_each(|byte| *byte = b' ');
        start.extend_from_slice(b" UTC");
        let id = format!("{:x}.{:x}", who.started.parts().0, who.process());
        let mut identity = Self::default();
        match format {
            LogFormat::Csv => identity.csv(who, &start, &id),
            LogFormat::Json => identity.json(who, &start, &id),
            LogFormat::Stderr => identity.stderr(who),
        }
        identity
    }

    fn csv(&mut self, who: &Who<'_>, start: &[u8], id: &str) {
        let Self { head, start: behind, start_of_log, tail, tail_of_log } = self;
        optional_csv(head, who.user);
        optional_csv(head, who.database);
        head.push(b',');
        push_decimal(head, who.process());
        optional_csv(head, format!("{}:{}", who.host, who.port).as_bytes());
        head.push(b',');
        head.extend_from_slice(id.as_bytes());
        head.push(b',');
        behind.extend_from_slice(b"\",");
        behind.extend_from_slice(start);
        behind.extend_from_slice(b",,,");
        tail.extend_from_slice(b",\"");
        push_csv(tail, who.application);
        tail.extend_from_slice(b"\",\"");
        tail.extend_from_slice(who.backend_type.as_bytes());
        tail.extend_from_slice(b"\",,\n");
        start_of_log.extend_from_slice(behind);
        start_of_log.extend_from_slice(b"LOG,00000,\"");
        // Of hint, internal query and position, context, query and position, location.
        tail_of_log.extend_from_slice(b",,,,,,,");
        tail_of_log.extend_from_slice(tail);
    }

    fn json(&mut self, who: &Who<'_>, start: &[u8], id: &str) {
        let Self { head, start: behind, start_of_log, tail, tail_of_log } = self;
        head.push(b'"');
        member(head, b",\"user\":\"", who.user);
        member(head, b",\"dbname\":\"", who.database);
        head.extend_from_slice(b",\"pid\":");
        push_decimal(head, who.process());
        member(head, b",\"remote_host\":\"", who.host.as_bytes());
        head.extend_from_slice(format!(",\"remote_port\":{}", who.port).as_bytes());
        member(head, b",\"session_id\":\"", id.as_bytes());
        head.extend_from_slice(b",\"line_num\":");
        member(behind, b"\",\"session_start\":\"", start);
        behind.extend_from_slice(b",\"error_severity\":\"");
        member(tail, b",\"application_name\":\"", who.application);
        member(tail, b",\"backend_type\":\"", who.backend_type.as_bytes());
        tail.extend_from_slice(b"}\n");
        start_of_log.extend_from_slice(behind);
        start_of_log.extend_from_slice(b"LOG\",\"message\":\"");
        tail_of_log.extend_from_slice(tail);
    }

    /// `%m [%p]: user=%u,db=%d,app=%a,client=%h `, from the process on.
    fn stderr(&mut self, who: &Who<'_>) {
        const fn or_unknown(name: &[u8]) -> &[u8] {
            if name.is_empty() { b"[unknown]" } else { name }
        }
        let head = &mut self.head;
        head.extend_from_slice(format!(" [{}]: user=", who.process()).as_bytes());
        push_indented(head, or_unknown(who.user));
        head.extend_from_slice(b",db=");
        push_indented(head, or_unknown(who.database));
        head.extend_from_slice(b",app=");
        push_indented(head, or_unknown(who.application));
        head.extend_from_slice(b",client=");
        head.extend_from_slice(who.host.as_bytes());
        head.push(b' ');
    }
}

/// Writes times: most are in the same second as the last one.
#[derive(Debug)]
pub(super) struct Clock {
    second: Range<i64>,
    text: [u8; SECOND],
}

const SECOND: usize = "2026-11-22 21:30:32".len();

impl Clock {
    pub(super) const fn new() -> Self {
        Self { second: 0..0, text: [0; SECOND] }
    }

    /// Appends `2026-11-22 21:30:32.123 UTC`.
    #[inline]
    fn push(&mut self, out: &mut Vec<u8>, ts: Timestamp) {
        if !self.second.contains(&ts.as_nanos()) {
            self.begin(ts);
        }
        out.extend_from_slice(&self.text);
        let [.., a, b, c] = digits::eight(ts.parts().1 / 1_000_000);
        out.extend_from_slice(&[b'.', a, b, c, b' ', b'U', b'T', b'C']);
    }

    #[cold]
    fn begin(&mut self, ts: Timestamp) {
        self.second = ts.second();
        self.text = ts.rfc3339().as_str().as_bytes().first_chunk().copied().unwrap_or_default();
        self.text.iter_mut().filter(|byte| **byte == b'T').for_each(|byte| *byte = b' ');
    }
}

impl Line<'_> {
    /// Appends the line, the `number`-th of its session. Returns where the rest is that another line may have, if all of it is in one
    /// place.
    pub(super) fn push(
        &self,
        out: &mut Vec<u8>,
        format: LogFormat,
        clock: &mut Clock,
        who: &Identity,
        number: u64,
    ) -> Option<Rest> {
        match format {
            LogFormat::Csv => Some(self.push_csv(out, clock, who, number)),
            LogFormat::Json => Some(self.push_json(out, clock, who, number)),
            LogFormat::Stderr => {
                self.push_stderr(out, clock, who);
                None
            }
        }
    }

    fn push_csv(&self, out: &mut Vec<u8>, clock: &mut Clock, who: &Identity, number: u64) -> Rest {
        clock.push(out, self.ts);
        out.extend_from_slice(&who.head);
        push_decimal(out, number);
        out.extend_from_slice(b",\"");
        out.extend_from_slice(self.ps);
        match &self.error {
            None => out.extend_from_slice(&who.start_of_log),
            Some(error) => {
                out.extend_from_slice(&who.start);
                match error.severity.iter().all(u8::is_ascii_uppercase) {
                    true => out.extend_from_slice(error.severity),
                    // In another language.
                    false => {
                        out.push(b'"');
                        push_csv(out, error.severity);
                        out.push(b'"');
                    }
                }
                out.push(b',');
                out.extend_from_slice(error.sqlstate);
                out.extend_from_slice(b",\"");
            }
        }
        let [begin, message] = self.message;
        push_csv(out, begin);
        let start = out.len();
        if let Some(rest) = self.rest.clone() {
            out.extend_from_within(rest);
            return start..out.len();
        }
        push_csv(out, message);
        out.push(b'"');
        optional_csv(out, self.detail);
        match &self.error {
            None => out.extend_from_slice(&who.tail_of_log),
            Some(error) => {
                optional_csv(out, error.hint);
                optional_csv(out, error.internal_query);
                out.push(b',');
                out.extend_from_slice(error.internal_position);
                optional_csv(out, error.context);
                optional_csv(out, error.statement);
                out.push(b',');
                out.extend_from_slice(error.position);
                out.push(b',');
                out.extend_from_slice(&who.tail);
            }
        }
        start..out.len()
    }

    fn push_json(&self, out: &mut Vec<u8>, clock: &mut Clock, who: &Identity, number: u64) -> Rest {
        out.extend_from_slice(b"{\"timestamp\":\"");
        clock.push(out, self.ts);
        out.extend_from_slice(&who.head);
        push_decimal(out, number);
        out.extend_from_slice(b",\"ps\":\"");
        out.extend_from_slice(self.ps);
        match &self.error {
            None => out.extend_from_slice(&who.start_of_log),
            Some(error) => {
                out.extend_from_slice(&who.start);
                unquoted(out, error.severity);
                out.push(b'"');
                if error.sqlstate != SUCCESS {
                    member(out, b",\"state_code\":\"", error.sqlstate);
                }
                out.extend_from_slice(b",\"message\":\"");
            }
        }
        let [begin, message] = self.message;
        unquoted(out, begin);
        let start = out.len();
        if let Some(rest) = self.rest.clone() {
            out.extend_from_within(rest);
            return start..out.len();
        }
        unquoted(out, message);
        out.push(b'"');
        member(out, b",\"detail\":\"", self.detail);
        match &self.error {
            None => out.extend_from_slice(&who.tail_of_log),
            Some(error) => {
                member(out, b",\"hint\":\"", error.hint);
                member(out, b",\"internal_query\":\"", error.internal_query);
                number_member(out, b",\"internal_position\":", error.internal_position);
                member(out, b",\"context\":\"", error.context);
                member(out, b",\"statement\":\"", error.statement);
                number_member(out, b",\"cursor_position\":", error.position);
                out.extend_from_slice(&who.tail);
            }
        }
        start..out.len()
    }

    fn push_stderr(&self, out: &mut Vec<u8>, clock: &mut Clock, who: &Identity) {
        let mut part = |out: &mut Vec<u8>, name: &[u8], text: [&[u8]; 2], position: &[u8]| {
            if text.iter().all(|text| text.is_empty()) {
                return;
            }
            clock.push(out, self.ts);
            out.extend_from_slice(&who.head);
            out.extend_from_slice(name);
            out.extend_from_slice(b":  ");
            text.iter().for_each(|text| push_indented(out, text));
            if !position.is_empty() {
                out.extend_from_slice(b" at character ");
                out.extend_from_slice(position);
            }
            out.push(b'\n');
        };
        let error = self.error.unwrap_or(ErrorPart { severity: b"LOG", ..ErrorPart::default() });
        let position = if error.position.is_empty() { error.internal_position } else { error.position };
        part(out, error.severity, self.message, position);
        for (name, text) in [
            (&b"DETAIL"[..], self.detail),
            (b"HINT", error.hint),
            (b"QUERY", error.internal_query),
            (b"CONTEXT", error.context),
            (b"STATEMENT", error.statement),
        ] {
            part(out, name, [text, b""], b"");
        }
    }
}

/// The SQLSTATE of what is no error.
pub(super) const SUCCESS: &[u8] = b"00000";

/// Appends a comma, and a value in quotes if there is one.
#[inline]
fn optional_csv(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b',');
    if !text.is_empty() {
        out.push(b'"');
        push_csv(out, text);
        out.push(b'"');
    }
}

/// Appends text between the quotes of a value of CSV.
#[inline]
fn push_csv(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some((before, behind)) = memchr::memchr(b'"', rest).and_then(|at| rest.split_at_checked(at + 1)) {
        out.extend_from_slice(before);
        out.push(b'"');
        rest = behind;
    }
    out.extend_from_slice(rest);
}

/// Appends text whose lines, but the first, begin with a tab.
fn push_indented(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some((before, behind)) = memchr::memchr(b'\n', rest).and_then(|at| rest.split_at_checked(at + 1)) {
        out.extend_from_slice(before);
        out.push(b'\t');
        rest = behind;
    }
    out.extend_from_slice(rest);
}

/// Appends a member whose value is a string, if that is not empty.
fn member(out: &mut Vec<u8>, before: &[u8], text: &[u8]) {
    if !text.is_empty() {
        out.extend_from_slice(before);
        unquoted(out, text);
        out.push(b'"');
    }
}

fn number_member(out: &mut Vec<u8>, before: &[u8], digits: &[u8]) {
    if !digits.is_empty() {
        out.extend_from_slice(before);
        out.extend_from_slice(digits);
    }
}

/// Returns text as it is written: UTF-8, or in hex if it cannot be read.
pub(super) fn utf8<'a>(text: Text<'a>) -> Cow<'a, [u8]> {
    match text.to_str() {
        Some(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
        Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        None => {
            let mut written = b"\\x".to_vec();
            hex::push(&mut written, text.0);
            Cow::Owned(written)
        }
    }
}

/// The same of text that was kept, which is borrowed where it can be.
pub(super) fn kept_utf8<'a>(text: &'a KeptText<'_>) -> Cow<'a, [u8]> {
    utf8(text.get())
}
