//! The lines of requests and sessions.

use std::borrow::Cow;

use super::line::{Clock, ErrorPart, Line, Rest, kept_utf8, utf8};
use super::session::{Fetch, Session, host_and_port, owned};
use super::{LogFormat, LogStyle, tag};
use crate::digits::push_decimal;
use crate::encoding::Encoding;
use crate::hex;
use crate::pg::error::{Fields, code};
use crate::pg::query::TransactionStatus;
use crate::pg::row::{Format, Values};
use crate::pg::text::{Secret, Sql, Text};
use crate::record::query::Backend;
use crate::record::session::{EndReason, State};
use crate::record::{AuthMethod, Outcome, Protocol, QueryRecord, SessionRecord};
use crate::redaction::Redaction;
use crate::replication::command::Command;
use crate::time::Timestamp;

/// A buffer for parameters keeps this capacity.
const KEPT: usize = 64 << 10;

/// Writes the lines of one record after the other.
#[derive(Debug)]
pub(super) struct RecordWriter {
    pub(super) format: LogFormat,
    pub(super) style: LogStyle,
    /// The major version of the server whose words are used.
    pub(super) version: u8,
    /// The least duration of what is written, in microseconds.
    pub(super) min_us: u64,
    clock: Clock,
    /// The beginning of a message, a DETAIL, and one of its values, in the making.
    prefix: Vec<u8>,
    detail: Vec<u8>,
    value: Vec<u8>,
    /// The times of lines, and where these end, if they are noted.
    pub(super) ends: Option<Vec<(Timestamp, usize)>>,
    /// Whether a secret is masked in a statement or its parameters.
    pub(super) has_secret: bool,
    /// Whether a parameter is not written as text, because that is not known.
    pub(super) lacks_text: bool,
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

/// A statement as it is written.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) text: Box<[u8]>,
    /// Whether a secret is masked in it.
    has_secret: bool,
    encoding: Encoding,
    redaction: Redaction,
}

impl Statement {
    pub(super) fn new(sql: &Sql<'_>) -> Self {
        let masked = sql.masked();
        // With data redacted, all is masked that a secret could be in.
        let has_secret = sql.redaction == Redaction::Secrets && *masked.get().0 != *sql.text.0;
        let text = kept_utf8(&masked).into();
        Self { text, has_secret, encoding: sql.text.1, redaction: sql.redaction }
    }

    /// Returns whether it is written as SQL of the same text.
    pub(super) fn is_of(&self, sql: &Sql<'_>) -> bool {
        (self.encoding, self.redaction) == (sql.text.1, sql.redaction)
    }
}

impl RecordWriter {
    pub(super) const fn new(format: LogFormat, style: LogStyle, version: u8) -> Self {
        Self {
            format,
            style,
            version,
            min_us: 0,
            clock: Clock::new(),
            prefix: Vec::new(),
            detail: Vec::new(),
            value: Vec::new(),
            ends: None,
            has_secret: false,
            lacks_text: false,
        }
    }

    /// Writes a request.
    pub(super) fn query(
        &mut self,
        out: &mut Vec<u8>,
        session: &mut Session,
        record: &QueryRecord<'_>,
        statement: &Statement,
    ) {
        self.has_secret |= statement.has_secret;
        let sql = &*statement.text;
        let Backend { process_id, started, is_walsender, .. } = record.backend;
        let before = if self.style == LogStyle::Statement { session.renames(record) } else { None };
        let application = before.as_ref().map_or(record.application, |before| Some(before.get()));
        let names = [record.user, record.database, application];
        session.identify(self.format, &record.header, names, process_id, started, backend_type(is_walsender));
        let ended = record.total_us.map_or(record.header.ts, |total_us| record.started.later(total_us));
        let error = record.error.as_ref().map(|error| &error.fields);
        let fetch = session.fetch(record);
        let request = Request { record, sql, ended, error, fetch };
        // Replication commands are logged by another setting.
        if !(is_walsender && Command::parse(sql).is_some()) {
            match (record.protocol, self.style) {
                (Protocol::Extended, LogStyle::Duration) => self.durations(out, session, &request),
                (Protocol::Extended, LogStyle::Statement) => self.execute(out, session, &request),
                (_, LogStyle::Duration) => self.duration(out, session, &request),
                (_, LogStyle::Statement) => self.statement(out, session, &request),
            }
        }
        if let Some(fields) = error {
            let ps = ps_of_failed(&request);
            let statement = if is_unreadable(record, error) { &b""[..] } else { sql };
            self.error(out, session, ended, ps, fields, statement);
        }
    }

    /// Writes the duration of a simple query, or of a function call.
    fn duration(&mut self, out: &mut Vec<u8>, session: &mut Session, request: &Request<'_>) {
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
            self.line(out, session, ended, ps, sql);
        }
    }

    /// Writes the statement of a simple query, or a function call, that the server has begun with.
    fn statement(&mut self, out: &mut Vec<u8>, session: &mut Session, request: &Request<'_>) {
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
        self.line(out, session, record.started, ps, sql);
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
    fn durations(&mut self, out: &mut Vec<u8>, session: &mut Session, request: &Request<'_>) {
        let Request { record, sql, ended, .. } = *request;
        let (total, exec) = (record.total_us.unwrap_or_default(), record.exec_us.unwrap_or_default());
        let is_parse = is_parse(record);
        // When the server had all of the request.
        let begun = ended.earlier(exec);
        self.parses(out, session, record);
        if let Some(parse) = record.parse_us {
            let (micros, at) = match parse < total.saturating_sub(exec) {
                _ if is_parse => (exec, ended),
                true => (parse, record.started.later(parse)),
                false => (0, begun),
            };
            if self.begin_duration(micros) {
                self.begin_extended(b"parse ", record);
                self.line(out, session, at, b"PARSE", sql);
            }
        }
        if is_parse {
            return;
        }
        let has_bind = record.bind_us.is_some() && self.begin_duration(0);
        let mut rest = None;
        if has_bind {
            self.set_parameters(record.params.as_ref());
            self.begin_extended(b"bind ", record);
            rest = self.line_with_detail(out, session, begun, b"BIND", sql, None);
        }
        if has_ended(request) {
            let verb = verb(request);
            if self.begin_duration(exec) {
                if !has_bind {
                    self.set_parameters(record.params.as_ref());
                }
                self.begin_extended(verb, record);
                self.line_with_detail(out, session, ended, tag::of_executed(record, sql), sql, rest);
            }
        }
    }

    /// Writes what a request of the extended protocol executes, if the server has begun with it.
    fn execute(&mut self, out: &mut Vec<u8>, session: &mut Session, request: &Request<'_>) {
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
            self.line_with_detail(out, session, record.started, ps, sql, None);
        }
    }

    /// Writes the durations of what a request has parsed and not executed.
    fn parses(&mut self, out: &mut Vec<u8>, session: &mut Session, record: &QueryRecord<'_>) {
        for parsed in &record.steps.parsed {
            if !self.begin_duration(parsed.parse_us) {
                continue;
            }
            self.prefix.extend_from_slice(b"parse ");
            self.prefix.extend_from_slice(&if parsed.name.0.is_empty() { UNNAMED.into() } else { utf8(parsed.name) });
            self.prefix.extend_from_slice(b": ");
            let sql = parsed.sql.masked();
            self.line(out, session, parsed.at, b"PARSE", &kept_utf8(&sql));
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
    pub(super) fn session(&mut self, out: &mut Vec<u8>, session: &mut Session, record: &SessionRecord<'_>) {
        if record.state == State::Ready {
            return self.connection(out, session, record);
        }
        let was_ready = record.ready_us.is_some();
        if !was_ready && !record.flags.midstream {
            self.connection(out, session, record);
        }
        let names = [record.user, record.database, record.application];
        let names = if was_ready || record.flags.midstream { names } else { [record.user, record.database, None] };
        let backend_type = backend_type(record.replication.is_some());
        session.identify(self.format, &record.header, names, record.process_id, record.started, backend_type);
        let ps: &[u8] = match (was_ready, record.authenticate_us) {
            (true, _) => idle(record.transaction),
            (false, Some(_)) => b"startup",
            (false, None) => b"authentication",
        };
        let failed_ps = session.has_failed.then(|| session.failed_ps.clone());
        let has_failed = failed_ps.is_some();
        if let Some(failure) = record.error.as_ref().filter(|_| !has_failed) {
            self.error(out, session, record.header.ts, ps, &failure.fields, b"");
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
            self.line(out, session, record.header.ts, failed_ps.as_deref().unwrap_or(ps), b"");
        }
    }

    /// Writes the beginning of a session: what is seen of it without a user is only received.
    fn connection(&mut self, out: &mut Vec<u8>, session: &mut Session, record: &SessionRecord<'_>) {
        let SessionRecord { header, user, database, application, process_id, started, .. } = *record;
        let (host, port) = host_and_port(header.client);
        session.identify(self.format, &header, [None; 3], process_id, started, "not initialized");
        self.set_prefix(&[b"connection received: host=", host.as_bytes(), b" port=", port.as_bytes()]);
        self.line(out, session, started, b"", b"");
        session.application = application.map(owned);
        let Some(authenticate_us) = record.authenticate_us.filter(|_| user.is_some()) else { return };
        let backend_type = backend_type(record.replication.is_some());
        session.identify(self.format, &header, [user, database, None], process_id, started, backend_type);
        let authenticated = started.later(record.connect_us.unwrap_or_default().saturating_add(authenticate_us));
        let authenticated = authenticated.min(header.ts);
        // With these, the identity is the user; with others, it is not on the wire.
        if let Some(method @ (AuthMethod::Password | AuthMethod::Md5 | AuthMethod::Scram)) = record.auth_method {
            self.set_prefix(&[b"connection authenticated: identity=\""]);
            self.name_prefix(b"", user);
            self.append_prefix(&[b"\" method=", method.name().as_bytes()]);
            self.line(out, session, authenticated, b"authentication", b"");
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
        self.line(out, session, authenticated, b"authentication", b"");
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
    fn error(
        &mut self,
        out: &mut Vec<u8>,
        session: &mut Session,
        ts: Timestamp,
        ps: &[u8],
        fields: &Fields<'_>,
        statement: &[u8],
    ) {
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
            message: [message, b""],
            detail: &detail,
            rest: None,
            error: Some(ErrorPart {
                severity: &severity,
                sqlstate: fields.get(code::CODE).map(|state| state.0).filter(is_state).unwrap_or_default(),
                hint: &hint,
                internal_query: &internal_query,
                internal_position: number(b'p'),
                context: &context,
                statement,
                position: number(b'P'),
            }),
        };
        if matches!(&*severity, b"FATAL" | b"PANIC") {
            (session.has_failed, session.failed_ps) = (true, ps.to_vec());
        }
        let (ts, _) = session.write(out, self.format, &mut self.clock, line);
        self.note_end(ts, out.len());
    }

    /// Writes a line of the kind LOG without a DETAIL: the message is what was begun, and the SQL.
    fn line(&mut self, out: &mut Vec<u8>, session: &mut Session, ts: Timestamp, ps: &[u8], sql: &[u8]) {
        self.detail.clear();
        self.line_with_detail(out, session, ts, ps, sql, None);
    }

    #[inline]
    fn line_with_detail(
        &mut self,
        out: &mut Vec<u8>,
        session: &mut Session,
        ts: Timestamp,
        ps: &[u8],
        sql: &[u8],
        rest: Option<Rest>,
    ) -> Option<Rest> {
        let Self { format, clock, prefix, detail, .. } = self;
        let line = Line { ts, ps, message: [prefix, sql], detail, error: None, rest };
        let (ts, rest) = session.write(out, *format, clock, line);
        self.note_end(ts, out.len());
        rest
    }

    fn note_end(&mut self, ts: Timestamp, end: usize) {
        if let Some(ends) = &mut self.ends {
            ends.push((ts, end));
        }
    }
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
