//! Requests and sessions as lines of PostgreSQL's own log: what a server would have written with `log_connections`,
//! `log_disconnections` and `log_line_prefix = '%m [%p]: user=%u,db=%d,app=%a,client=%h '`.
//!
//! Columns and keys are those of the documentation, "Using CSV-Format Log Output" and "Using JSON-Format Log Output"; those that
//! the wire does not tell are empty: transaction IDs, the query's ID, the leader's process, the location in the source. Of notices,
//! a server logs warnings as well; they are messages here, and not in the log.
//!
//! Lines depend on those before of their session, which are counted; so they are written by one thread, in order.

mod line;
mod tag;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;

use foldhash::fast::RandomState;

use self::line::{Clock, ErrorPart, Identity, Line, SUCCESS, Who, kept_utf8, utf8};
use super::Form;
use crate::digits::push_decimal;
use crate::hex;
use crate::pg::error::{Fields, code};
use crate::pg::query::TransactionStatus;
use crate::pg::row::{Format, Values};
use crate::pg::text::{KeptText, Secret, Text};
use crate::record::query::Backend;
use crate::record::session::{EndReason, State};
use crate::record::{AuthMethod, Header, Outcome, Protocol, QueryRecord, Record, SessionRecord};
use crate::redaction::Redaction;
use crate::replication::command::Command;
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
    format: LogFormat,
    style: LogStyle,
    /// The major version of the server whose words are used.
    version: u8,
    /// The least duration of what is written, in microseconds.
    min_us: u64,
    clock: Clock,
    sessions: HashMap<u64, Session, RandomState>,
    /// The beginning of a message, a DETAIL, and one of its values, in the making.
    prefix: Vec<u8>,
    detail: Vec<u8>,
    value: Vec<u8>,
    /// The times of lines, and where these end, if they are noted.
    ends: Option<Vec<(Timestamp, usize)>>,
    /// Whether a secret is masked in a statement or its parameters.
    has_secret: bool,
    /// Whether a parameter is not written as text, because that is not known.
    lacks_text: bool,
}

/// How many sessions are remembered. Beyond, all are forgotten, and the lines of those that go on are counted anew.
const MAX_SESSIONS: usize = 1 << 17;

/// How many portals of a session are remembered.
const MAX_PORTALS: usize = 64;

/// A buffer for parameters keeps this capacity.
const KEPT: usize = 64 << 10;

/// What is known of a session from its lines before.
#[derive(Debug, Default)]
struct Session {
    names: Option<Names>,
    identity: Identity,
    lines: u64,
    /// Of the last line. The server works on one request after the other, whenever they were sent.
    last: Timestamp,
    /// Whether the error that ended it was written with a request.
    has_failed: bool,
    /// Its application as of the last record.
    application: Option<KeptText<'static>>,
    /// Portals that were bound by themselves, or have more rows; and whether these are further ones.
    portals: Vec<(KeptText<'static>, bool)>,
    /// What the process showed when it ended the session with an error.
    failed_ps: Vec<u8>,
}

/// What the identity of a session was written for.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    names: [Option<KeptText<'static>>; 3],
    process_id: Option<i32>,
    started: Timestamp,
    backend_type: &'static str,
}

impl Form for ServerLog {
    fn record(&mut self, out: &mut Vec<u8>, record: &Record<'_>) -> io::Result<()> {
        match record {
            Record::Query(query) => self.query(out, query),
            Record::Session(session) => self.session(out, session),
            _ => {}
        }
        Ok(())
    }

    fn another(&self) -> Box<dyn Form> {
        Box::new(Self::new(self.format, self.style, self.version).min_duration(self.min_us))
    }
}

/// The request that lines are written of.
struct Request<'a> {
    record: &'a QueryRecord<'a>,
    sql: &'a [u8],
    /// When it had ended.
    ended: Timestamp,
    error: Option<&'a Fields<'a>>,
    fetch: Fetch,
}

/// What an Execute is to its portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fetch {
    /// It is not known to be one of a portal that was bound before.
    None,
    /// The first one of a portal that was bound before.
    First,
    /// Further rows are fetched.
    Further,
}

impl ServerLog {
    /// Creates a log in the words of a major version of PostgreSQL: from 16 on, parameters are written as `Parameters: …`,
    /// before that as `parameters: …`.
    pub fn new(format: LogFormat, style: LogStyle, version: u8) -> Self {
        let (clock, sessions) = (Clock::default(), HashMap::default());
        let (prefix, detail, value) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            format,
            style,
            version,
            min_us: 0,
            clock,
            sessions,
            prefix,
            detail,
            value,
            ends: None,
            has_secret: false,
            lacks_text: false,
        }
    }

    /// Leaves out what took less time: with [`LogStyle::Duration`], each of Parse, Bind and Execute, and simple queries. Errors are written.
    #[must_use]
    pub fn min_duration(self, micros: u64) -> Self {
        Self { min_us: micros, ..self }
    }

    /// Returns whether a secret was masked in a statement or its parameters.
    #[cfg(feature = "cli")]
    pub(crate) const fn has_secret(&self) -> bool {
        self.has_secret
    }

    /// Returns whether a parameter was not written as text, because that is not known.
    #[cfg(feature = "cli")]
    pub(crate) const fn lacks_text(&self) -> bool {
        self.lacks_text
    }

    /// Notes the time of each line, and where it ends, for [`Self::ends`].
    #[cfg(feature = "cli")]
    pub(crate) fn noting_ends(self) -> Self {
        Self { ends: Some(Vec::new()), ..self }
    }

    /// Returns the times of the lines that were written since the last call, and where each ends in what it was written to.
    #[cfg(feature = "cli")]
    pub(crate) fn ends(&mut self) -> impl Iterator<Item = (Timestamp, usize)> {
        self.ends.iter_mut().flat_map(|ends| ends.drain(..))
    }

    fn query(&mut self, out: &mut Vec<u8>, record: &QueryRecord<'_>) {
        let masked = record.sql.as_ref().map(|sql| sql.0.masked());
        // With data redacted, all is masked that a secret could be in.
        self.has_secret |= record
            .sql
            .as_ref()
            .zip(masked.as_ref())
            .is_some_and(|(sql, masked)| sql.0.redaction == Redaction::Secrets && *masked.get().0 != *sql.0.text.0);
        let sql = masked.as_ref().map_or(Cow::Borrowed(&b""[..]), kept_utf8);
        if record.outcome == Outcome::Skipped {
            return;
        }
        let Backend { process_id, started, is_walsender, .. } = record.backend;
        let before = self.renames(record);
        let application = before.as_ref().map_or(record.application, |before| Some(before.get()));
        let names = [record.user, record.database, application];
        self.identify(&record.header, names, process_id, started, backend_type(is_walsender));
        let ended = record.total_us.map_or(record.header.ts, |total_us| record.started.later(total_us));
        let error = record.error.as_ref().map(|error| &error.fields);
        let fetch = self.fetch(record);
        let request = Request { record, sql: &sql, ended, error, fetch };
        // Replication commands are logged by another setting.
        if !(is_walsender && Command::parse(&sql).is_some()) {
            match (record.protocol, self.style) {
                (Protocol::Extended, LogStyle::Duration) => self.durations(out, &request),
                (Protocol::Extended, LogStyle::Statement) => self.execute(out, &request),
                (_, LogStyle::Duration) => self.duration(out, &request),
                (_, LogStyle::Statement) => self.statement(out, &request),
            }
        }
        if let Some(fields) = error {
            let ps = ps_of_failed(&request);
            let statement = if is_unreadable(record, error) { &b""[..] } else { &sql };
            self.error(out, record.header.conn, ended, ps, fields, statement);
        }
    }

    /// Returns the application under which a statement began, if it has another name since then.
    fn renames(&mut self, record: &QueryRecord<'_>) -> Option<KeptText<'static>> {
        let session = self.sessions.get_mut(&record.header.conn).filter(|_| self.style == LogStyle::Statement)?;
        let is_same = session.application.as_ref().map(KeptText::get) == record.application;
        if is_same { None } else { std::mem::replace(&mut session.application, record.application.map(owned)) }
    }

    /// Writes the duration of a simple query, or of a function call.
    fn duration(&mut self, out: &mut Vec<u8>, request: &Request<'_>) {
        let Request { record, sql, ended, .. } = *request;
        if record.outcome != Outcome::Ok {
            return;
        }
        let is_copy = record.command_tags.as_bytes().starts_with(b"COPY");
        // The server's time includes that in which it waits for COPY data.
        let micros = if is_copy { record.total_us } else { record.exec_us.or(record.total_us) };
        if self.begin_duration(micros.unwrap_or_default()) {
            self.begin_statement(record);
            let ps = if record.protocol == Protocol::Function { FASTPATH } else { tag::of_executed(record, sql) };
            self.line(out, record.header.conn, ended, ps, sql);
        }
    }

    /// Writes the statement of a simple query, or a function call, that the server has begun with.
    fn statement(&mut self, out: &mut Vec<u8>, request: &Request<'_>) {
        let Request { record, sql, .. } = *request;
        if !has_begun(request) || request.error.is_some_and(is_before_log) || is_unreadable(record, request.error) {
            return;
        }
        let is_function = record.protocol == Protocol::Function;
        // A call that could not be read. The server has the function's name, and we have nothing.
        if is_function && record.function_oid.is_none() {
            return;
        }
        self.prefix.clear();
        self.begin_statement(record);
        let ps = if is_function { FASTPATH } else { idle(record.tx) };
        self.line(out, record.header.conn, record.started, ps, sql);
    }

    fn begin_statement(&mut self, record: &QueryRecord<'_>) {
        match record.function_oid {
            None if record.protocol == Protocol::Function => self.prefix.extend_from_slice(b"fastpath function call"),
            None => self.prefix.extend_from_slice(b"statement: "),
            Some(oid) => {
                self.prefix.extend_from_slice(b"fastpath function call: (OID ");
                push_decimal(&mut self.prefix, oid.0.into());
                self.prefix.push(b')');
            }
        }
    }

    /// Writes the durations of a request of the extended protocol: of Parse, Bind and Execute, as far as these have ended well.
    ///
    /// Replies that come together do not tell how long each of them took. That time is all in that of the last; only what the
    /// server did before the rest of the request was sent is apart.
    fn durations(&mut self, out: &mut Vec<u8>, request: &Request<'_>) {
        let Request { record, sql, ended, .. } = *request;
        let conn = record.header.conn;
        let (total, exec) = (record.total_us.unwrap_or_default(), record.exec_us.unwrap_or_default());
        let is_parse = is_parse(record);
        // When the server had all of the request.
        let begun = ended.earlier(exec);
        self.parses(out, record);
        if let Some(parse) = record.parse_us {
            let (micros, at) = match parse < total.saturating_sub(exec) {
                _ if is_parse => (exec, ended),
                true => (parse, record.started.later(parse)),
                false => (0, begun),
            };
            if self.begin_duration(micros) {
                self.begin_extended(b"parse ", record);
                self.line(out, conn, at, b"PARSE", sql);
            }
        }
        if is_parse {
            return;
        }
        let has_bind = record.bind_us.is_some() && self.begin_duration(0);
        if has_bind {
            self.set_parameters(record.params.as_ref());
            self.begin_extended(b"bind ", record);
            self.line_with_detail(out, conn, begun, b"BIND", sql);
        }
        if has_ended(request) {
            let verb = verb(request);
            if self.begin_duration(exec) {
                if !has_bind {
                    self.set_parameters(record.params.as_ref());
                }
                self.begin_extended(verb, record);
                self.line_with_detail(out, conn, ended, tag::of_executed(record, sql), sql);
            }
        }
    }

    /// Writes what a request of the extended protocol executes, if the server has begun with it.
    fn execute(&mut self, out: &mut Vec<u8>, request: &Request<'_>) {
        let Request { record, sql, error, .. } = *request;
        let is_executed = match error {
            Some(_) => is_at_execute(request),
            None => !is_parse(record) && has_begun(request) && !is_empty(request),
        };
        if is_executed {
            self.set_parameters(record.params.as_ref());
            self.prefix.clear();
            self.begin_extended(verb(request), record);
            let ps = if error.is_some() { tag::of_failed(record, sql) } else { tag::of_executed(record, sql) };
            self.line_with_detail(out, record.header.conn, record.started, ps, sql);
        }
    }

    /// Writes the durations of what a request has parsed and not executed.
    fn parses(&mut self, out: &mut Vec<u8>, record: &QueryRecord<'_>) {
        for parsed in &record.steps.parsed {
            if !self.begin_duration(parsed.parse_us) {
                continue;
            }
            self.prefix.extend_from_slice(b"parse ");
            self.prefix.extend_from_slice(&if parsed.name.0.is_empty() { UNNAMED.into() } else { utf8(parsed.name) });
            self.prefix.extend_from_slice(b": ");
            let sql = parsed.sql.masked();
            self.line(out, record.header.conn, parsed.at, b"PARSE", &kept_utf8(&sql));
        }
    }

    /// Returns what the Execute of a request is to its portal, and remembers that it has more rows, or was only bound.
    fn fetch(&mut self, record: &QueryRecord<'_>) -> Fetch {
        if record.protocol != Protocol::Extended {
            return Fetch::None;
        }
        let Some(session) = self.sessions.get_mut(&record.header.conn) else { return Fetch::None };
        let has_rows = record.outcome == Outcome::Suspended;
        let is_bind = record.outcome == Outcome::Ok && record.bind_us.is_some() && record.command_tags.is_empty();
        if session.portals.is_empty() && !has_rows && !is_bind {
            return Fetch::None;
        }
        let name = record.portal.unwrap_or_default();
        let place = session.portals.iter().position(|(portal, _)| portal.get().0 == name.0);
        let was_executed = place.map(|place| session.portals.swap_remove(place).1);
        // Of a portal that has given its last row, more can be asked for.
        let is_known =
            has_rows || is_bind || !record.steps.has_bind && was_executed.is_some() && record.error.is_none();
        if is_known && session.portals.len() < MAX_PORTALS {
            session.portals.push((owned(name), !is_bind));
        }
        match was_executed.filter(|_| !record.steps.has_bind && !record.steps.has_parse) {
            None => Fetch::None,
            Some(false) => Fetch::First,
            Some(true) => Fetch::Further,
        }
    }

    /// Begins a message with a duration: `duration: 1.234 ms  `. Returns whether it is to be written.
    fn begin_duration(&mut self, micros: u64) -> bool {
        if micros < self.min_us {
            return false;
        }
        let prefix = &mut self.prefix;
        prefix.clear();
        prefix.extend_from_slice(b"duration: ");
        push_decimal(prefix, micros / 1_000);
        let [.., a, b, c] = crate::digits::eight((micros % 1_000) as u32);
        prefix.extend_from_slice(&[b'.', a, b, c]);
        prefix.extend_from_slice(b" ms  ");
        true
    }

    /// Appends to a message what is done with which statement: `execute name/portal: `.
    fn begin_extended(&mut self, verb: &[u8], record: &QueryRecord<'_>) {
        let prefix = &mut self.prefix;
        prefix.extend_from_slice(verb);
        match record.statement.filter(|name| !name.0.is_empty()) {
            Some(name) => prefix.extend_from_slice(&utf8(name)),
            None => prefix.extend_from_slice(UNNAMED),
        }
        if let Some(portal) = record.portal.filter(|_| verb != b"parse ") {
            prefix.push(b'/');
            prefix.extend_from_slice(&utf8(portal));
        }
        prefix.extend_from_slice(b": ");
    }

    /// Sets the DETAIL: `parameters: $1 = 'it''s', $2 = NULL`.
    ///
    /// Where the text of a value is not known, no value has its number with a `$`: what replays a log then binds none, and the server
    /// refuses that, instead of a value that was none.
    fn set_parameters(&mut self, params: Option<&Values<'_>>) {
        self.detail.clear();
        self.detail.shrink_to(KEPT);
        let Some(params) = params else { return };
        let name: &[u8] = if self.version >= 16 { b"Parameters: " } else { b"parameters: " };
        self.detail.extend_from_slice(name);
        if !self.push_parameters(params, true) {
            self.lacks_text = true;
            self.detail.clear();
            self.detail.extend_from_slice(name);
            self.detail.extend_from_slice(b"not all are known as text: ");
            self.push_parameters(params, false);
        }
        self.value.shrink_to(KEPT);
    }

    /// Appends the parameters to the DETAIL. Returns whether the texts of all are known; stops at the first that is not if
    /// `are_known`.
    fn push_parameters(&mut self, params: &Values<'_>, are_known: bool) -> bool {
        let Self { detail, value, has_secret, .. } = self;
        for (parameter, number) in params.iter().zip(1..) {
            if number > 1 {
                detail.extend_from_slice(b", ");
            }
            if are_known {
                detail.push(b'$');
            }
            push_decimal(detail, number);
            detail.extend_from_slice(b" = ");
            let Some(bytes) = parameter.value.0 else {
                detail.extend_from_slice(b"NULL");
                continue;
            };
            value.clear();
            let is_text = parameter.format == Some(Format::TEXT);
            let is_known = if parameter.shape().is_some() {
                *has_secret |= params.redaction == Redaction::Secrets;
                value.extend_from_slice(Secret::MASK.as_bytes());
                true
            } else if parameter.settings.is_none() {
                // It is cut.
                false
            } else if parameter.typed().is_some_and(|typed| typed.push_server_text(value)) {
                true
            } else if let Some(text) = Text(bytes, parameter.encoding).to_str().filter(|_| is_text) {
                value.extend_from_slice(text.as_bytes());
                true
            } else {
                false
            };
            match is_known {
                false if are_known => return false,
                // What replays a log looks for a `$` in constants as well.
                true if are_known || !value.contains(&b'$') => {
                    detail.push(b'\'');
                    push_doubled(detail, value);
                    detail.push(b'\'');
                }
                _ => {
                    let name: &[u8] = if is_known || is_text { b"text" } else { b"binary" };
                    let bytes = if is_known { &**value } else { bytes };
                    detail.extend_from_slice(name);
                    detail.extend_from_slice(b" \\x");
                    hex::push(detail, bytes);
                }
            }
        }
        true
    }

    /// Writes a session when it is ready, and when it has ended.
    fn session(&mut self, out: &mut Vec<u8>, record: &SessionRecord<'_>) {
        let conn = record.header.conn;
        if record.state == State::Ready {
            return self.connection(out, record);
        }
        let was_ready = record.ready_us.is_some();
        if !was_ready && !record.flags.midstream {
            self.connection(out, record);
        }
        let names = [record.user, record.database, record.application];
        let names = if was_ready || record.flags.midstream { names } else { [record.user, record.database, None] };
        let backend_type = backend_type(record.replication.is_some());
        self.identify(&record.header, names, record.process_id, record.started, backend_type);
        let ps: &[u8] = match (was_ready, record.authenticate_us) {
            (true, _) => idle(record.transaction),
            (false, Some(_)) => b"startup",
            (false, None) => b"authentication",
        };
        let failed = self.sessions.get(&conn).filter(|session| session.has_failed);
        let failed_ps = failed.map(|session| session.failed_ps.clone());
        let has_failed = failed_ps.is_some();
        if let Some(failure) = record.error.as_ref().filter(|_| !has_failed) {
            self.error(out, conn, record.header.ts, ps, &failure.fields, b"");
        }
        if let Some(ended) = record.ended.as_ref().filter(|_| was_ready)
            && !matches!(ended.end_reason, EndReason::CaptureEnd | EndReason::Evicted)
        {
            let seconds = ended.duration_us / 1_000_000;
            let (hours, minutes, millis) = (seconds / 3_600, seconds / 60 % 60, ended.duration_us / 1_000 % 1_000);
            let time = format!("{hours}:{minutes:02}:{:02}.{millis:03}", seconds % 60);
            self.set_prefix(&[b"disconnection: session time: ", time.as_bytes()]);
            self.name_prefix(b" user=", record.user);
            self.name_prefix(b" database=", record.database);
            let (host, port) = host_and_port(record.header.client);
            self.append_prefix(&[b" host=", host.as_bytes(), b" port=", port.as_bytes()]);
            self.line(out, conn, record.header.ts, failed_ps.as_deref().unwrap_or(ps), b"");
        }
        self.sessions.remove(&conn);
    }

    /// Writes the beginning of a session: what is seen of it without a user is only received.
    fn connection(&mut self, out: &mut Vec<u8>, record: &SessionRecord<'_>) {
        let SessionRecord { header, user, database, application, process_id, started, .. } = *record;
        let (host, port) = host_and_port(header.client);
        self.identify(&header, [None; 3], process_id, started, "not initialized");
        self.set_prefix(&[b"connection received: host=", host.as_bytes(), b" port=", port.as_bytes()]);
        self.line(out, header.conn, started, b"", b"");
        if let Some(session) = self.sessions.get_mut(&header.conn) {
            session.application = application.map(owned);
        }
        let Some(authenticate_us) = record.authenticate_us.filter(|_| user.is_some()) else { return };
        let backend_type = backend_type(record.replication.is_some());
        self.identify(&header, [user, database, None], process_id, started, backend_type);
        let authenticated = started.later(record.connect_us.unwrap_or_default().saturating_add(authenticate_us));
        let authenticated = authenticated.min(header.ts);
        // With these, the identity is the user; with others, it is not on the wire.
        if let Some(method @ (AuthMethod::Password | AuthMethod::Md5 | AuthMethod::Scram)) = record.auth_method {
            self.set_prefix(&[b"connection authenticated: identity=\""]);
            self.name_prefix(b"", user);
            self.append_prefix(&[b"\" method=", method.name().as_bytes()]);
            self.line(out, header.conn, authenticated, b"authentication", b"");
        }
        let is_replication = record.replication.is_some();
        self.set_prefix(&[if is_replication {
            b"replication connection authorized:"
        } else {
            b"connection authorized:"
        }]);
        self.name_prefix(b" user=", user);
        if !is_replication {
            self.name_prefix(b" database=", database);
        }
        self.name_prefix(b" application_name=", application.filter(|name| !name.0.is_empty()));
        if let Some(tls) = &record.tls
            && let (Some(version), Some(suite)) = (tls.version, tls.cipher_suite)
        {
            let suite = suite.to_string();
            let bits = if suite.contains("256") { "256" } else { "128" };
            let parts = [" SSL enabled (protocol=", version, ", cipher=", &suite, ", bits=", bits, ")"];
            parts.iter().for_each(|part| self.prefix.extend_from_slice(part.as_bytes()));
        }
        self.line(out, header.conn, authenticated, b"authentication", b"");
    }

    fn set_prefix(&mut self, parts: &[&[u8]]) {
        self.prefix.clear();
        self.append_prefix(parts);
    }

    fn append_prefix(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.prefix.extend_from_slice(part));
    }

    fn name_prefix(&mut self, before: &[u8], name: Option<Text<'_>>) {
        if let Some(name) = name {
            self.append_prefix(&[before, &utf8(name)]);
        }
    }

    /// Writes an error with the statement that caused it.
    fn error(&mut self, out: &mut Vec<u8>, conn: u64, ts: Timestamp, ps: &[u8], fields: &Fields<'_>, statement: &[u8]) {
        let texts = [code::MESSAGE, code::DETAIL, code::HINT, b'q', b'W'];
        let texts = texts.map(|code| fields.get_sql(code).map(|text| text.masked()));
        let [message, detail, hint, internal_query, context] =
            texts.each_ref().map(|text| text.as_ref().map_or(Cow::Borrowed(&b""[..]), kept_utf8));
        let number = |code| {
            let digits = fields.get(code).map_or(&b""[..], |text| text.0);
            if digits.iter().all(u8::is_ascii_digit) { digits } else { b"" }
        };
        let severity = fields.get(code::SEVERITY).map(utf8);
        // Before version 3 of the protocol, an error is one text.
        let old = message.strip_prefix(b"FATAL:  ").filter(|_| severity.is_none());
        let severity = severity.unwrap_or(Cow::Borrowed(if old.is_some() { b"FATAL" } else { b"ERROR" }));
        let message = old.map_or(&*message, |message| message.strip_suffix(b"\n").unwrap_or(message));
        let is_state = |state: &&[u8]| state.len() == 5 && state.iter().all(u8::is_ascii_alphanumeric);
        let line = Line {
            ts,
            ps,
            severity: &severity,
            sqlstate: fields.get(code::CODE).map(|state| state.0).filter(is_state).unwrap_or_default(),
            message: [message, b""],
            detail: &detail,
            error: Some(ErrorPart {
                hint: &hint,
                internal_query: &internal_query,
                internal_position: number(b'p'),
                context: &context,
                statement,
                position: number(b'P'),
            }),
        };
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if matches!(line.severity, b"FATAL" | b"PANIC") {
            (session.has_failed, session.failed_ps) = (true, ps.to_vec());
        }
        let ts = session.write(out, self.format, &mut self.clock, line);
        self.note_end(ts, out.len());
    }

    /// Writes a line of the kind LOG: the message is what was begun, and the SQL.
    fn line(&mut self, out: &mut Vec<u8>, conn: u64, ts: Timestamp, ps: &[u8], sql: &[u8]) {
        self.detail.clear();
        self.line_with_detail(out, conn, ts, ps, sql);
    }

    #[inline]
    fn line_with_detail(&mut self, out: &mut Vec<u8>, conn: u64, ts: Timestamp, ps: &[u8], sql: &[u8]) {
        let Self { format, clock, sessions, prefix, detail, .. } = self;
        let Some(session) = sessions.get_mut(&conn) else { return };
        let message = [&**prefix, sql];
        let line = Line { ts, ps, severity: b"LOG", sqlstate: SUCCESS, message, detail, error: None };
        let ts = session.write(out, *format, clock, line);
        self.note_end(ts, out.len());
    }

    fn note_end(&mut self, ts: Timestamp, end: usize) {
        if let Some(ends) = &mut self.ends {
            ends.push((ts, end));
        }
    }

    /// Makes sure that a session's lines are written with this identity.
    fn identify(
        &mut self,
        header: &Header<'_>,
        names: [Option<Text<'_>>; 3],
        process_id: Option<i32>,
        started: Timestamp,
        backend_type: &'static str,
    ) {
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&header.conn) {
            self.sessions.clear();
        }
        let session = self.sessions.entry(header.conn).or_default();
        let is_same = session.names.as_ref().is_some_and(|kept| {
            kept.names.iter().zip(names).all(|(kept, name)| kept.as_ref().map(KeptText::get) == name)
                && (kept.process_id, kept.started) == (process_id, started)
                && kept.backend_type == backend_type
        });
        if is_same {
            return;
        }
        let [user, database, application] = names.map(|name| name.map_or(Cow::Borrowed(&b""[..]), utf8));
        let (host, port) = host_and_port(header.client);
        let who = Who {
            user: &user,
            database: &database,
            application: &application,
            process_id,
            conn: header.conn,
            host,
            port,
            started,
            backend_type,
        };
        session.identity = Identity::new(self.format, &who);
        let names = names.map(|name| name.map(owned));
        session.names = Some(Names { names, process_id, started, backend_type });
    }
}

impl Session {
    /// Writes a line, and returns its time.
    fn write(&mut self, out: &mut Vec<u8>, format: LogFormat, clock: &mut Clock, line: Line<'_>) -> Timestamp {
        self.lines += 1;
        self.last = self.last.max(line.ts);
        Line { ts: self.last, ..line }.push(out, format, clock, &self.identity, self.lines);
        self.last
    }
}

fn owned(text: Text<'_>) -> KeptText<'static> {
    let mut kept = KeptText::default();
    kept.set(text);
    kept
}

const fn backend_type(is_walsender: bool) -> &'static str {
    if is_walsender { "walsender" } else { "client backend" }
}

/// Returns whether a record is of a Parse that nothing executed.
fn is_parse(record: &QueryRecord<'_>) -> bool {
    record.outcome == Outcome::Ok && record.parse_us.is_some() && record.bind_us.is_none()
}

/// Returns whether the server has begun with a request, as far as is known: it ends all by itself that it has not read.
const fn has_begun(request: &Request<'_>) -> bool {
    let Request { record, error, .. } = request;
    !matches!(record.outcome, Outcome::Aborted) || error.is_some() || !record.backend.has_failed
}

/// Returns whether an Execute has a duration. An empty query has none.
fn has_ended(request: &Request<'_>) -> bool {
    match request.record.outcome {
        Outcome::Ok => !is_empty(request),
        Outcome::Suspended => true,
        _ => false,
    }
}

/// Returns whether the server had nothing to execute.
fn is_empty(request: &Request<'_>) -> bool {
    request.record.outcome == Outcome::Ok && request.record.command_tags.is_empty()
}

/// Returns whether an error is one of the grammar: the server logs a text only after it has split it into statements.
fn is_of_grammar(error: &Fields<'_>) -> bool {
    error.get(b'F').is_some_and(|file| matches!(file.0, b"scan.l" | b"gram.y"))
}

/// Returns whether an error came before the server logs what it has begun with: one of the grammar, or in what a function call is of.
fn is_before_log(error: &Fields<'_>) -> bool {
    let is_of = |routine: &[u8]| error.get(b'R').is_some_and(|found| found.0 == routine);
    let is_state = |state: &[u8]| error.get(code::CODE).is_some_and(|found| found.0 == state);
    is_of_grammar(error) || is_of(b"fetch_fp_info") || is_of(b"HandleFunctionRequest") && is_state(b"25P02")
}

/// Returns whether the server could not read a text, because it is not valid in its encoding.
fn is_unreadable(record: &QueryRecord<'_>, error: Option<&Fields<'_>>) -> bool {
    let is_of_encoding = error.and_then(|error| error.get(code::CODE)).is_some_and(|state| state.0 == b"22021");
    is_of_encoding && record.sql.as_ref().is_some_and(|sql| sql.0.text.to_str().is_none())
}

/// Returns whether a request that failed did so in its Execute.
fn is_at_execute(request: &Request<'_>) -> bool {
    request.record.bind_us.is_some() || request.fetch != Fetch::None
}

/// Returns what Execute is called: with another of the same portal, more rows are fetched from it.
fn verb(request: &Request<'_>) -> &'static [u8] {
    let record = request.record;
    let is_first = match request.fetch {
        Fetch::First => true,
        Fetch::Further => false,
        Fetch::None => record.bind_us.is_some() || !matches!(record.outcome, Outcome::Ok | Outcome::Suspended),
    };
    if is_first { b"execute " } else { b"execute fetch from " }
}

/// What a process shows while it calls a function.
const FASTPATH: &[u8] = b"<FASTPATH>";

/// How a log names the unnamed statement.
const UNNAMED: &[u8] = b"<unnamed>";

/// Returns what a process shows while it waits for a request.
const fn idle(transaction: Option<TransactionStatus>) -> &'static [u8] {
    match transaction {
        Some(TransactionStatus::IN_TRANSACTION) => b"idle in transaction",
        Some(TransactionStatus::FAILED) => b"idle in transaction (aborted)",
        _ => b"idle",
    }
}

/// Returns what the process showed when a request failed.
fn ps_of_failed<'a>(request: &Request<'a>) -> &'a [u8] {
    let Request { record, sql, ref error, .. } = *request;
    let is_state = |states: &[&[u8]]| {
        let state = error.and_then(|error| error.get(code::CODE));
        state.is_some_and(|state| states.contains(&state.0))
    };
    let steps = &record.steps;
    match record.protocol {
        Protocol::Function => FASTPATH,
        Protocol::Simple if error.is_some_and(is_of_grammar) || is_unreadable(record, *error) => idle(record.tx),
        Protocol::Simple => tag::of_failed(record, sql),
        Protocol::Extended if is_at_execute(request) => tag::of_failed(record, sql),
        Protocol::Extended => match record.parse_us {
            // There is no statement, or no portal, of that name: it still shows what it did before.
            _ if is_state(&[b"26000", b"34000"]) => {
                if record.parse_us.is_some() {
                    b"PARSE"
                } else {
                    idle(record.tx)
                }
            }
            Some(_) => b"BIND",
            None if steps.has_parse => b"PARSE",
            None if steps.has_bind => b"BIND",
            // Execute of a portal that was bound before; or Describe, which shows nothing.
            None if !sql.is_empty() => tag::of_failed(record, sql),
            None => idle(record.tx),
        },
    }
}

/// Appends text whose single quotes are doubled.
fn push_doubled(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some((before, behind)) = memchr::memchr(b'\'', rest).and_then(|at| rest.split_at_checked(at + 1)) {
        out.extend_from_slice(before);
        out.push(b'\'');
        rest = behind;
    }
    out.extend_from_slice(rest);
}

/// Splits the address of an end: one of IPv6 is in brackets.
fn host_and_port(end: &str) -> (&str, &str) {
    let (host, port) = end.rsplit_once(':').unwrap_or((end, "0"));
    (host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host), port)
}
