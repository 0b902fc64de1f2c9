//! The server's records of a run: the statements in its log, by session, and the rows of pg_stat_statements.
//!
//! With `log_statement = all`, a statement is logged when it begins, and its duration when it has ended; Parse and Bind are
//! logged at their end, with their durations. Statements that fail to parse, or fail at Bind, are only logged as errors.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// A line of the log, with the relevant fields.
#[derive(Debug, Deserialize)]
struct Line {
    port: u16,
    user: String,
    database: String,
    #[serde(default)]
    application: String,
    severity: String,
    state: Option<String>,
    message: String,
    detail: Option<String>,
    statement: Option<String>,
    query_id: Option<String>,
}

/// The kind of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Query.
    Simple,
    /// The first Execute of a portal.
    Execute,
    /// Another Execute of the same portal.
    Fetch,
    /// FunctionCall.
    Function,
    /// A statement that failed before it was executed.
    NotExecuted,
}

/// A statement in the log.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) kind: Kind,
    /// The SQL; for a function call, the OID.
    pub(crate) sql: String,
    /// The values of its parameters in the server's text format.
    pub(crate) params: Vec<Option<String>>,
    pub(crate) user: String,
    pub(crate) database: String,
    /// The application name at the end of the statement.
    pub(crate) application: String,
    /// The duration in microseconds, without Parse and Bind; absent if it failed.
    pub(crate) duration_us: Option<u64>,
    /// The duration of the preceding Parse and Bind in microseconds.
    pub(crate) parse_us: Option<u64>,
    pub(crate) bind_us: Option<u64>,
    /// The SQLSTATE of the error that ended it.
    pub(crate) state: Option<String>,
    /// The identifier in pg_stat_statements; for a Query with several statements, that of the last.
    pub(crate) query_id: Option<String>,
}

/// Returns the statements of each session, by the client's port, in order.
pub(crate) fn sessions(folder: &Path) -> BTreeMap<u16, Vec<Statement>> {
    let mut sessions: BTreeMap<u16, Session> = BTreeMap::new();
    for line in text(folder, "server-log.jsonl").lines() {
        let line: Line = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        sessions.entry(line.port).or_default().line(line);
    }
    sessions.into_iter().map(|(port, session)| (port, session.statements)).collect()
}

/// A log line for the end of a session.
#[derive(Debug)]
pub(crate) struct Disconnection {
    /// The client's port.
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) database: String,
    /// The duration of the session.
    pub(crate) milliseconds: u64,
}

/// Returns the ended sessions in a log.
pub(crate) fn disconnections(folder: &Path) -> Vec<Disconnection> {
    let ended = |line: &str| {
        let Line { port, user, database, message, .. } = serde_json::from_str(line).unwrap();
        let (_, said) = message.split_once("disconnection: session time: ")?;
        let (time, _) = said.split_once(' ').unwrap();
        let (clock, milliseconds) = time.split_once('.').unwrap();
        let seconds = clock.split(':').fold(0, |before, part| 60 * before + part.parse::<u64>().unwrap());
        let milliseconds = 1_000 * seconds + milliseconds.parse::<u64>().unwrap();
        Some(Disconnection { port, user, database, milliseconds })
    };
    text(folder, "server-log.jsonl").lines().filter_map(ended).collect()
}

#[derive(Default)]
struct Session {
    statements: Vec<Statement>,
    /// Whether the last statement is still running.
    runs: bool,
    parse_us: Option<u64>,
    bind_us: Option<u64>,
}

impl Session {
    fn line(&mut self, line: Line) {
        let message = &*line.message;
        match &*line.severity {
            "LOG" => {
                if let Some(sql) = message.strip_prefix("statement: ") {
                    self.begin(Kind::Simple, sql, &line);
                } else if let Some((_, sql)) = after(message, "execute fetch from ") {
                    self.begin(Kind::Fetch, sql, &line);
                } else if let Some((_, sql)) = after(message, "execute ") {
                    self.begin(Kind::Execute, sql, &line);
                } else if let Some(call) = message.strip_prefix("fastpath function call: ") {
                    let oid = call.rsplit_once("(OID ").unwrap().1.strip_suffix(')').unwrap();
                    self.begin(Kind::Function, oid, &line);
                } else if let Some(duration) = message.strip_prefix("duration: ") {
                    self.duration(duration, &line);
                } else {
                    assert!(message.starts_with("disconnection: "), "a line that is not known: {message}");
                }
            }
            "ERROR" | "FATAL" => self.error(&line),
            "WARNING" => {}
            other => panic!("a severity that is not known: {other}"),
        }
    }

    fn begin(&mut self, kind: Kind, sql: &str, line: &Line) {
        assert!(!self.runs, "a statement begins while another runs: {}", line.message);
        self.runs = kind != Kind::NotExecuted;
        let detail = line.detail.as_deref().unwrap_or_default();
        let params = detail.strip_prefix("Parameters: ").or_else(|| detail.strip_prefix("parameters: "));
        self.statements.push(Statement {
            kind,
            sql: sql.to_owned(),
            params: params.map(values).unwrap_or_default(),
            user: line.user.clone(),
            database: line.database.clone(),
            application: line.application.clone(),
            duration_us: None,
            parse_us: self.parse_us.take(),
            bind_us: self.bind_us.take(),
            state: None,
            query_id: line.query_id.clone(),
        });
    }

    fn duration(&mut self, duration: &str, line: &Line) {
        let (ms, of) = duration.split_once(" ms").unwrap();
        let us = (ms.parse::<f64>().unwrap() * 1000.0).round() as u64;
        match of.trim_start() {
            "" => {
                assert!(std::mem::take(&mut self.runs), "the duration of something that does not run");
                let statement = self.statements.last_mut().unwrap();
                statement.duration_us = Some(us);
                statement.application.clone_from(&line.application);
                if statement.kind == Kind::Simple {
                    statement.query_id.clone_from(&line.query_id);
                }
            }
            of if of.starts_with("parse ") => self.parse_us = Some(us),
            of if of.starts_with("bind ") => self.bind_us = Some(us),
            of => panic!("the duration of {of}"),
        }
    }

    fn error(&mut self, line: &Line) {
        if !self.runs {
            // An error without a statement concerns the session, such as its termination while idle.
            let Some(sql) = &line.statement else { return };
            self.begin(Kind::NotExecuted, sql, line);
        }
        self.runs = false;
        let statement = self.statements.last_mut().unwrap();
        if let Some(sql) = &line.statement
            && statement.kind != Kind::Function
        {
            assert_eq!(*sql, statement.sql, "an error is of what runs");
        }
        statement.state.clone_from(&line.state);
    }
}

/// Returns the name and the SQL of `execute name: SQL`.
fn after<'a>(message: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    message.strip_prefix(prefix)?.split_once(": ")
}

/// Returns the values of `$1 = 'it''s', $2 = NULL`.
fn values(mut list: &str) -> Vec<Option<String>> {
    let mut values = Vec::new();
    loop {
        let prefix = format!("{}${} = ", if values.is_empty() { "" } else { ", " }, values.len() + 1);
        let Some(rest) = list.strip_prefix(&*prefix) else {
            assert!(list.is_empty(), "parameters, not {list:?}");
            return values;
        };
        if let Some(rest) = rest.strip_prefix("NULL") {
            values.push(None);
            list = rest;
            continue;
        }
        let (value, rest) = unquote(rest).unwrap();
        values.push(Some(value));
        list = rest;
    }
}

/// Returns the literal at the beginning, and the rest.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text.strip_prefix('\'')?;
    loop {
        let (part, behind) = rest.split_once('\'')?;
        value.push_str(part);
        let Some(more) = behind.strip_prefix('\'') else { return Some((value, behind)) };
        value.push('\'');
        rest = more;
    }
}

/// A row of pg_stat_statements.
#[derive(Debug, Deserialize)]
pub(crate) struct Counted {
    pub(crate) query_id: String,
    pub(crate) query: String,
    pub(crate) calls: i64,
    pub(crate) rows: i64,
}

impl Counted {
    /// Returns whether a statement is counted in this row: the text is the same except for constants.
    pub(crate) fn is_of(&self, sql: &str) -> bool {
        let mut pattern = &*self.query;
        let mut sql = sql;
        while let Some((before, behind)) = pattern.split_once('$') {
            let number = behind.len() - behind.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let Some(rest) = sql.strip_prefix(before).and_then(behind_constant) else { return false };
            (pattern, sql) = (&behind[number..], rest);
        }
        pattern == sql
    }
}

/// Returns the text after a constant or parameter.
fn behind_constant(sql: &str) -> Option<&str> {
    if let Some((_, rest)) = unquote(sql) {
        return Some(rest);
    }
    let rest = sql.strip_prefix(['$', '-']).unwrap_or(sql).trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    (rest.len() < sql.len()).then_some(rest)
}

/// Returns the server's counts.
pub(crate) fn counted(folder: &Path) -> Vec<Counted> {
    text(folder, "statements.json").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Reads a file of the folder, which may be compressed.
pub(crate) fn text(folder: &Path, name: &str) -> String {
    let plain = folder.join(name);
    if plain.exists() {
        return std::fs::read_to_string(plain).unwrap();
    }
    let file = std::fs::File::open(folder.join(format!("{name}.zst"))).unwrap();
    std::io::read_to_string(zstd::Decoder::new(file).unwrap()).unwrap()
}

#[test]
fn parameters_and_constants_are_read_as_the_server_writes_them() {
    let some = |value: &str| Some(value.to_owned());
    assert_eq!(values("$1 = '1', $2 = NULL, $3 = 'it''s, $4 = ''x'''"), [some("1"), None, some("it's, $4 = 'x'")]);
    let counted = |query: &str| Counted { query_id: String::new(), query: query.to_owned(), calls: 0, rows: 0 };
    assert!(counted("SELECT $1 AS a, $2").is_of("SELECT 1 AS a, 'it''s'"));
    assert!(counted("SELECT $1").is_of("SELECT $1"));
    assert!(!counted("SELECT $1").is_of("SELECT 1, 2"));
    assert!(!counted("SELECT $1").is_of("SELECT x"));
}
