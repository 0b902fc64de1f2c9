//! Comparison of `query` lines with the logs and pg_stat_statements of the servers in the same runs.
//!
//! Every statement in a log has a line with the same SQL, parameters, error, user, database and application, in the same order in
//! its session. Every line has a statement, except for requests that servers do not log: skipped ones, and empty queries of the
//! extended protocol. No duration in the capture is shorter than the server's. The counts of pg_stat_statements equal those of
//! the lines.
//! pg_stat_statements counts is what the lines count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use crate::command;
use crate::oracles::server_log::{self, Counted, Kind, Statement};
use crate::support::server_text;

/// Folders with a capture, the log and the counts of one run, and the number of statements in the log.
pub(crate) const RUNS: &[(&str, usize)] = &[
    ("client-encodings", 162),
    ("driver-asyncpg", 78),
    ("driver-jdbc", 127),
    ("driver-node-postgres", 46),
    ("driver-pg8000", 31),
    ("driver-pgbench-extended", 120),
    ("driver-pgbench-prepared", 120),
    ("driver-pgbench-simple", 120),
    ("driver-pgbouncer", 122),
    ("driver-postgres-js", 53),
    ("driver-psql", 97),
    ("driver-psycopg2", 63),
    ("driver-psycopg3", 85),
    ("driver-psycopg3-binary", 27),
    ("driver-psycopg3-pipeline", 72),
    ("mixed-10000", 11_645),
];

/// The address of PgBouncer. Requests sent to it appear in the server's log as requests of PgBouncer.
pub(crate) const BOUNCER: &str = "127.0.0.1:6432";

/// Values that drivers send in another text format than the server's.
const SPELLINGS: &[(&str, &str)] = &[("3 days 14400 seconds 5 microseconds", "3 days 04:00:00.000005")];

/// A `query` line.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Line {
    client: String,
    server: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    database: String,
    #[serde(default)]
    application: String,
    protocol: String,
    sql: Option<String>,
    #[serde(default)]
    pub(crate) normalized: String,
    pub(crate) fingerprint: Option<String>,
    function_oid: Option<u64>,
    #[serde(default)]
    params: Vec<Value>,
    #[serde(default)]
    pub(crate) command_tags: Vec<String>,
    #[serde(default)]
    rows: i64,
    outcome: String,
    error: Option<Failure>,
    total_us: Option<u64>,
    parse_us: Option<u64>,
    bind_us: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
struct Failure {
    code: String,
}

impl Line {
    /// Returns whether the server does not log the request: it was skipped, or an empty query of the extended protocol.
    fn is_not_logged(&self) -> bool {
        let is_empty = || self.sql.as_deref() == Some("");
        self.outcome == "skipped" || (self.protocol == "extended" && is_empty())
    }

    fn is_of_server(&self) -> bool {
        self.server != BOUNCER
    }
}

/// Returns the lines of some events of a run, in order.
pub(crate) fn run(folder: &str, events: &str) -> Vec<Value> {
    let path = ["capture.pcap.gz", "capture.pcap.zst"].map(|name| format!("{folder}/{name}"));
    let path = path.iter().find(|path| command::testdata().join(path).exists()).unwrap();
    command::run(["-p", "5415,5432,6432", "-e", events, path]).good()
}

/// Returns the `query` lines of a run, in order, after checking that there are no losses.
fn lines(folder: &str) -> Vec<Line> {
    run(folder, "query,loss").into_iter().map(|line| serde_json::from_value(line).unwrap()).collect()
}

/// Returns the statements of a log with their lines, after comparing them.
#[track_caller]
pub(crate) fn pairs(folder: &str) -> Vec<(Statement, Line)> {
    let mut ours: BTreeMap<u16, Vec<Line>> = BTreeMap::new();
    for line in lines(folder) {
        if line.is_of_server() && !line.is_not_logged() {
            let port = line.client.rsplit_once(':').unwrap().1.parse().unwrap();
            ours.entry(port).or_default().push(line);
        }
    }
    let (mut pairs, mut differences) = (Vec::new(), String::new());
    for (port, theirs) in server_log::sessions(&command::testdata().join(folder)) {
        let ours = ours.remove(&port).unwrap_or_default();
        if theirs.len() != ours.len() {
            writeln!(differences, "port {port}: {} lines, and {} statements", ours.len(), theirs.len()).unwrap();
        }
        for (number, (theirs, ours)) in theirs.into_iter().zip(ours).enumerate() {
            if let Err(difference) = compare(&theirs, &ours) {
                let sql = &theirs.sql;
                writeln!(differences, "port {port}, statement {number}: {difference}; {sql:.200?}").unwrap();
            }
            pairs.push((theirs, ours));
        }
    }
    assert!(ours.is_empty(), "{folder}: sessions that the server does not know: {ours:?}");
    assert!(differences.is_empty(), "{folder}\n{differences}");
    pairs
}

fn compare(theirs: &Statement, ours: &Line) -> Result<(), String> {
    let same = |what: &str, ours: &str, theirs: &str| match ours == theirs {
        true => Ok(()),
        false => Err(format!("{what}: {ours:?}, not {theirs:?}")),
    };
    match theirs.kind {
        Kind::Function => same("function", &ours.function_oid.unwrap_or_default().to_string(), &theirs.sql)?,
        _ => {
            let ours = ours.sql.as_deref().unwrap_or("unknown");
            // A statement prepared by SQL is logged with its PREPARE.
            let is_prepared = theirs.sql.strip_suffix(ours).is_some_and(|before| before.starts_with("PREPARE "));
            if !is_prepared {
                same("SQL", ours, &theirs.sql)?;
            }
        }
    }
    let protocol = match theirs.kind {
        Kind::Simple => "simple",
        Kind::Execute | Kind::Fetch => "extended",
        Kind::Function => "function",
        Kind::NotExecuted => &ours.protocol,
    };
    same("protocol", &ours.protocol, protocol)?;
    same("user", &ours.user, &theirs.user)?;
    same("database", &ours.database, &theirs.database)?;
    same("application", &ours.application, &theirs.application)?;
    let error = ours.error.as_ref().map(|error| &*error.code);
    same("error", error.unwrap_or("none"), theirs.state.as_deref().unwrap_or("none"))?;
    let outcome = match theirs.state.as_deref() {
        None => ["ok", "suspended"].contains(&&*ours.outcome),
        Some("57014") => ours.outcome == "canceled",
        // FATAL: the server process ends.
        Some("57P01") => ours.outcome == "aborted",
        Some(_) => ours.outcome == "error",
    };
    if !outcome {
        return Err(format!("outcome: {}", ours.outcome));
    }
    // The log contains neither the arguments of functions nor the parameters of statements that were not executed.
    let theirs = match theirs.kind {
        Kind::Simple | Kind::Execute | Kind::Fetch => &theirs.params,
        Kind::Function | Kind::NotExecuted => return Ok(()),
    };
    let agree = theirs.len() == ours.params.len()
        && theirs.iter().zip(&ours.params).all(|(theirs, ours)| {
            server_text::agrees(theirs.as_deref(), ours)
                || SPELLINGS.contains(&(ours.as_str().unwrap_or_default(), theirs.as_deref().unwrap_or_default()))
        });
    if !agree {
        return Err(format!("parameters: {:?}, not {theirs:?}", ours.params));
    }
    Ok(())
}

#[test]
fn every_run_with_a_log_is_compared() {
    let mut there = BTreeSet::new();
    for folder in std::fs::read_dir(command::testdata()).unwrap() {
        let folder = folder.unwrap();
        if folder.path().join("statements.json").exists() {
            there.insert(folder.file_name().into_string().unwrap());
        }
    }
    assert_eq!(RUNS.iter().map(|(folder, _)| (*folder).to_owned()).collect::<BTreeSet<_>>(), there);
}

#[test]
fn query_lines_are_the_statements_of_the_servers_log() {
    for (folder, count) in RUNS {
        assert_eq!(pairs(folder).len(), *count, "{folder}");
    }
    assert!(RUNS.iter().map(|(_, count)| count).sum::<usize>() > 10_000);
}

#[test]
fn no_duration_is_shorter_in_the_capture_than_in_the_server() {
    let mut shares = Vec::new();
    for (folder, _) in RUNS {
        for (theirs, ours) in pairs(folder) {
            let times = [
                ("parse", theirs.parse_us, ours.parse_us),
                ("bind", theirs.bind_us, ours.bind_us),
                ("execution", theirs.duration_us, ours.total_us),
            ];
            for (what, theirs, ours) in times {
                if let (Some(theirs), Some(ours)) = (theirs, ours) {
                    assert!(ours >= theirs, "{folder}: {what} took {ours} us, and {theirs} in the server");
                }
            }
            if let (Some(duration), Some(total), Kind::Simple) = (theirs.duration_us, ours.total_us, theirs.kind) {
                shares.push(total - duration);
            }
        }
    }
    // For a Query that waits for no other request, the server does not know the time on the network.
    shares.sort_unstable();
    let last = *shares.last().unwrap();
    assert!(shares.len() > 3_000 && shares[shares.len() / 2] < 100 && last < 25_000, "{last} us at most");
}

/// Command tags for which pg_stat_statements does not count rows.
const WITHOUT_ROWS: &[&str] = &["MOVE", "EXPLAIN", "SHOW"];

/// Differences to the counts of pg_stat_statements: its additional or missing calls and rows, and the reason.
const EXPLAINED: &[(&str, &str, i64, i64, &str)] = &[
    (
        "driver-asyncpg",
        "SELECT id FROM item ORDER BY id",
        0,
        1,
        "MOVE by SQL in a portal of the protocol: the row is processed, and not sent",
    ),
    (
        "driver-node-postgres",
        "SELECT i FROM generate_series($2, $1::int) i",
        0,
        -12,
        "PostgreSQL 15 counts the rows of the last Execute of a portal only",
    ),
    (
        "driver-psycopg3-pipeline",
        "SELECT $1",
        -1,
        -1,
        "the next Parse failed while its portal was open: it has not ended, and is not counted",
    ),
];

#[test]
fn calls_and_rows_are_those_of_pg_stat_statements() {
    let mut statements = 0;
    for (folder, _) in RUNS {
        let counted = server_log::counted(&command::testdata().join(folder));
        let mut theirs: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for row in &counted {
            let (calls, rows) = theirs.entry(&row.query).or_default();
            *calls += row.calls;
            *rows += row.rows;
        }
        let mut ours = BTreeMap::new();
        for (statement, line) in pairs(folder) {
            count(&statement, &line, &counted, &mut ours);
        }
        for (of, query, calls, rows, _) in EXPLAINED {
            if of == folder {
                let ours = ours.get_mut(query).unwrap();
                *ours = (ours.0 + calls, ours.1 + rows);
            }
        }
        assert_eq!(ours, theirs, "{folder}");
        statements += counted.len();
    }
    assert!(statements > 300, "{statements} statements were counted");
}

/// Counts the statements of a line by their text in pg_stat_statements.
fn count<'a>(statement: &Statement, line: &Line, counted: &'a [Counted], ours: &mut BTreeMap<&'a str, (i64, i64)>) {
    let mut add = |query: &'a str, calls: i64, tag: &str, rows: i64| {
        let entry = ours.entry(query).or_default();
        entry.0 += calls;
        entry.1 += if WITHOUT_ROWS.contains(&tag) { 0 } else { rows };
    };
    let several = line.command_tags.len() > 1 || (line.error.is_some() && !line.command_tags.is_empty());
    if several {
        // The log has one identifier for all of them, so they are distinguished by their texts.
        for (sql, tag) in statement.sql.split(';').zip(&line.command_tags) {
            let query = counted.iter().find(|counted| counted.is_of(sql.trim()));
            let query = &query.unwrap_or_else(|| panic!("{sql:?} is not counted")).query;
            let (tag, rows) = tag.rsplit_once(' ').unwrap_or((tag, "0"));
            add(query, 1, tag, rows.parse().unwrap_or(0));
        }
        return;
    }
    let tag = line.command_tags.first().map_or("", |tag| tag.split(' ').next().unwrap());
    let is_counted = line.error.is_none() && statement.kind != Kind::Function && tag != "PREPARE";
    let Some(id) = statement.query_id.as_deref().filter(|_| is_counted) else {
        // pg_stat_statements removes the identifier from the cached plan of BEGIN and similar statements after counting it once.
        let without = ["", "BEGIN", "COMMIT", "ROLLBACK", "DEALLOCATE", "SAVEPOINT", "RELEASE"];
        assert!(!is_counted || without.contains(&tag), "without an identifier: {line:?}");
        return;
    };
    let query = &counted.iter().find(|counted| counted.query_id == id).unwrap().query;
    // A statement fetched in parts is one call.
    add(query, i64::from(statement.kind != Kind::Fetch), tag, line.rows);
}

#[test]
fn what_pgbouncer_is_asked_is_what_it_asks_the_server() {
    let (mut asked, mut passed_on) = (Vec::new(), Vec::new());
    for line in lines("driver-pgbouncer") {
        let sql = line.sql.clone().unwrap();
        let request = (sql, format!("{:?}", line.params), line.outcome.clone(), line.rows);
        if !line.is_of_server() {
            asked.push(request);
        } else if !request.0.contains("SET application_name=") {
            passed_on.push(request);
        }
    }
    asked.sort();
    passed_on.sort();
    assert_eq!(asked.len(), 99);
    assert_eq!(asked, passed_on);
}
