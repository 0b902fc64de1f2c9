//! Comparison of `-F csvlog`, `jsonlog` and `stderrlog` with the logs that servers wrote of the same sessions.
//!
//! In every session, the same lines come in the same order, and agree in every column that the wire tells. What it does not tell is
//! listed here: [`is_on_the_wire`] has the lines, and [`Row::without_what_only_a_server_knows`] the columns.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::command::{self, run};
use crate::oracles::agree::RUNS;
use crate::oracles::server_log;

/// The columns, "Using CSV-Format Log Output", and the keys of the same values, "Keys and Values of JSON Log Entries".
const COLUMNS: [(&str, &str); 26] = [
    ("log_time", "timestamp"),
    ("user_name", "user"),
    ("database_name", "dbname"),
    ("process_id", "pid"),
    ("connection_from", "remote_host"),
    ("session_id", "session_id"),
    ("session_line_num", "line_num"),
    ("command_tag", "ps"),
    ("session_start_time", "session_start"),
    ("virtual_transaction_id", "vxid"),
    ("transaction_id", "txid"),
    ("error_severity", "error_severity"),
    ("sql_state_code", "state_code"),
    ("message", "message"),
    ("detail", "detail"),
    ("hint", "hint"),
    ("internal_query", "internal_query"),
    ("internal_query_pos", "internal_position"),
    ("context", "context"),
    ("query", "statement"),
    ("query_pos", "cursor_position"),
    ("location", "file_name"),
    ("application_name", "application_name"),
    ("backend_type", "backend_type"),
    ("leader_pid", "leader_pid"),
    ("query_id", "query_id"),
];

/// A line of a log, by column.
#[derive(Clone, Debug, PartialEq)]
struct Row(BTreeMap<&'static str, String>);

impl std::ops::Index<&str> for Row {
    type Output = String;

    fn index(&self, column: &str) -> &String {
        &self.0[column]
    }
}

impl Row {
    fn set(&mut self, column: &'static str, value: &str) {
        *self.0.get_mut(column).unwrap() = value.to_owned();
    }

    /// Returns the milliseconds of a duration, and removes them from the message.
    fn take_duration(&mut self) -> Option<f64> {
        let message = self["message"].clone();
        let (ms, rest) = message.strip_prefix("duration: ")?.split_once(" ms")?;
        self.set("message", &format!("duration: … ms{rest}"));
        Some(ms.parse().unwrap())
    }

    /// Leaves only what is also on the wire.
    fn without_what_only_a_server_knows(mut self) -> Self {
        for column in ["virtual_transaction_id", "transaction_id", "leader_pid", "query_id"] {
            self.set(column, "");
        }
        let message = self["message"].clone();
        let detail = self["detail"].clone();
        // The line of pg_hba.conf that applied.
        if let Some((before, _)) = message.split_once(" (/data/pg_hba.conf") {
            self.set("message", before);
        }
        // Why a password is wrong, and what a PREPARE was, are in the log only.
        if message.starts_with("password authentication failed") || detail.starts_with("prepare: ") {
            self.set("detail", "");
        }
        if let Some((before, rest)) = message.split_once("session time: ") {
            let (_, behind) = rest.split_once(' ').unwrap();
            self.set("message", &format!("{before}{behind}"));
        }
        // The process still shows what it did for a Parse that was not executed.
        if message.starts_with("statement: ") && self["command_tag"] == "PARSE" {
            self.set("command_tag", "idle");
        }
        self
    }
}

/// Returns whether a line of the server is about something that can be seen on the wire, and is not only a notice.
fn is_on_the_wire(row: &Row) -> bool {
    // Since PostgreSQL 18; on the wire, trust looks like ident and cert.
    let is_trust = row["message"].contains("method=trust");
    row["error_severity"] != "WARNING" && row["sql_state_code"] != "08006" && !is_trust
}

fn csv_rows(text: &str) -> Vec<Row> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let row = |record: Result<csv::StringRecord, csv::Error>| {
        let record = record.unwrap();
        assert_eq!(record.len(), COLUMNS.len(), "{record:?}");
        Row(COLUMNS.iter().zip(&record).map(|((column, _), value)| (*column, value.to_owned())).collect())
    };
    reader.records().map(row).collect()
}

fn json_rows(text: &str) -> Vec<Row> {
    let row = |line: &str| {
        let object: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let known: Vec<_> = COLUMNS.iter().map(|(_, key)| *key).chain(["remote_port"]).collect();
        assert!(object.keys().all(|key| known.contains(&&**key)), "{line}");
        let text = |key: &str| match object.get(key) {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let mut row = Row(COLUMNS.iter().map(|(column, key)| (*column, text(key))).collect());
        row.set("connection_from", &format!("{}:{}", text("remote_host"), text("remote_port")));
        if row["sql_state_code"].is_empty() {
            row.set("sql_state_code", "00000");
        }
        row
    };
    text.lines().map(row).collect()
}

/// Returns the lines of sessions over TCP, by the client.
fn sessions(rows: Vec<Row>) -> BTreeMap<String, Vec<Row>> {
    let mut sessions: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows.into_iter().filter(|row| row["connection_from"].contains(':')) {
        sessions.entry(row["connection_from"].clone()).or_default().push(row);
    }
    sessions
}

/// Returns the milliseconds since midnight of `2026-11-27 12:36:36.808 UTC`.
fn milliseconds(time: &str) -> i64 {
    let clock = time.split(' ').nth(1).unwrap();
    let digits = clock.replace(['.'], ":");
    let parts: Vec<i64> = digits.split(':').map(|part| part.parse().unwrap()).collect();
    ((parts[0] * 60 + parts[1]) * 60 + parts[2]) * 1_000 + parts[3]
}

/// Compares the lines of one session.
fn compare(client: &str, theirs: Vec<Row>, ours: Vec<Row>) {
    let mut skipped = 0;
    let (mut their_time, mut our_time, mut pending) = (0.0, 0.0, [0.0, 0.0]);
    let mut ours = ours.into_iter();
    for theirs in theirs {
        if !is_on_the_wire(&theirs) {
            skipped += 1;
            continue;
        }
        let mut theirs = theirs.without_what_only_a_server_knows();
        let Some(ours) = ours.next() else { panic!("{client}: a line is missing: {theirs:?}") };
        let mut ours = ours.without_what_only_a_server_knows();
        let number: usize = theirs["session_line_num"].parse().unwrap();
        theirs.set("session_line_num", &(number - skipped).to_string());
        let durations = [ours.take_duration(), theirs.take_duration()];
        if let [Some(our), Some(their)] = durations {
            pending = [pending[0] + our, pending[1] + their];
        }
        // Parse and Bind count with the Execute that follows, unless one fails.
        let is_part = ["parse ", "bind "].iter().any(|part| ours["message"].contains(&format!(" ms  {part}")));
        if !is_part {
            let [our, their] = std::mem::take(&mut pending);
            (our_time, their_time) = match durations {
                [Some(_), _] => (our_time + our, their_time + their),
                _ => (our_time, their_time),
            };
        }
        let late = milliseconds(&ours["log_time"]) - milliseconds(&theirs["log_time"]);
        // The machine was busy. The end of a session that was terminated is seen when its connection is closed.
        let is_end = ours["error_severity"] == "FATAL" || ours["message"].starts_with("disconnection");
        assert!((-100..=if is_end { 150 } else { 100 }).contains(&late), "{client}: {late} ms late: {ours:?}");
        ours.set("log_time", &theirs["log_time"]);
        if ours["process_id"].len() < 3 {
            // A login that failed has no BackendKeyData, and nor has a cancel request: this is the number of the connection.
            let (start, number) = ours["session_id"].split_once('.').unwrap();
            assert_eq!(ours["process_id"], u64::from_str_radix(number, 16).unwrap().to_string());
            assert!(theirs["session_id"].starts_with(start), "{ours:?}");
            for column in ["process_id", "session_id"] {
                ours.set(column, &theirs[column]);
            }
        }
        assert_eq!(ours, theirs, "{client}");
    }
    let left: Vec<_> = ours.collect();
    assert!(left.is_empty(), "{client}: {left:?}");
    // The server does not know the time on the network.
    assert!(our_time >= their_time - 0.001, "{client}: {our_time} ms, and {their_time} in the server");
}

/// The runs, by version and setting.
fn runs() -> impl Iterator<Item = (&'static str, &'static str)> {
    ["15", "18"].into_iter().flat_map(|version| ["duration", "statement"].map(|style| (version, style)))
}

/// Returns the log that a server wrote.
fn theirs(version: &str, style: &str, kind: &str) -> String {
    let folder = command::testdata().join(format!("server-log-{version}"));
    server_log::text(&folder, &format!("{style}.{kind}"))
}

/// Returns the log that is written of the same run.
fn ours(version: &str, style: &str, form: &str) -> String {
    let capture = format!("server-log-{version}/{style}.pcap.gz");
    let args = ["-p", "5415,5432", "-F", form, "--log-style", style, "--log-version", version, &capture];
    let outcome = run(args);
    assert_eq!((outcome.code, &*outcome.said), (Some(0), ""));
    outcome.lines.join("\n") + "\n"
}

fn compare_sessions(theirs: Vec<Row>, ours: Vec<Row>) {
    let mut ours = sessions(ours);
    let theirs = sessions(theirs);
    assert_eq!(theirs.len(), 16, "sessions");
    for (client, theirs) in theirs {
        compare(&client, theirs, ours.remove(&client).unwrap_or_default());
    }
    assert!(ours.is_empty(), "{ours:?}");
}

#[test]
fn csvlog_is_the_log_that_the_server_wrote() {
    for (version, style) in runs() {
        compare_sessions(csv_rows(&theirs(version, style, "csv")), csv_rows(&ours(version, style, "csvlog")));
    }
}

#[test]
fn jsonlog_is_the_log_that_the_server_wrote() {
    for (version, style) in runs() {
        let written = ours(version, style, "jsonlog");
        compare_sessions(json_rows(&theirs(version, style, "json")), json_rows(&written));
        // Keys are in the order of the documentation.
        let order: Vec<_> = COLUMNS.iter().map(|(_, key)| format!("\"{key}\":")).collect();
        for line in written.lines() {
            let places: Vec<_> = order.iter().filter_map(|key| line.find(key.as_str())).collect();
            assert!(places.is_sorted(), "{line}");
        }
    }
}

#[test]
fn stderrlog_is_the_log_that_the_server_wrote() {
    for (version, style) in runs() {
        let theirs = text_entries(&theirs(version, style, "log"));
        let ours = text_entries(&ours(version, style, "stderrlog"));
        let mut compared = 0;
        for (process, theirs) in theirs {
            // The others are those whose process is not known.
            if let Some(ours) = ours.get(&process) {
                assert_eq!(*ours, theirs, "PostgreSQL {version}, {style}, process {process}");
                compared += ours.len();
            }
        }
        assert!(compared > 150, "{compared}");
    }
}

/// Returns the entries of a log with `log_line_prefix = '%m [%p]: user=%u,db=%d,app=%a,client=%h '` by process, without times.
fn text_entries(log: &str) -> BTreeMap<u32, Vec<String>> {
    let mut entries: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let mut last = 0;
    let mut is_hidden = false;
    for line in log.lines() {
        if let Some(more) = line.strip_prefix('\t') {
            if !is_hidden {
                let entry = entries.get_mut(&last).and_then(|entries| entries.last_mut()).unwrap();
                *entry += &format!("\n{more}");
            }
            continue;
        }
        let (_, rest) = line.split_once(" UTC [").unwrap();
        let (process, rest) = rest.split_once("]: ").unwrap();
        last = process.parse().unwrap();
        let level =
            rest.split_once("client=").map_or("", |(_, rest)| rest.split_once(' ').map_or("", |(_, rest)| rest));
        is_hidden = level.starts_with("WARNING:")
            || is_hidden && level.starts_with("CONTEXT:")
            || level.starts_with("DETAIL:  prepare: ")
            || rest.contains("unexpected EOF")
            || rest.contains("method=trust");
        if is_hidden {
            continue;
        }
        let mut text = rest.split(" (/data/pg_hba.conf").next().unwrap().to_owned();
        for (before, behind) in [("duration: ", " ms"), ("session time: ", " user=")] {
            if let Some(start) = text.find(before).map(|at| at + before.len())
                && let Some(length) = text[start..].find(behind)
            {
                text.replace_range(start..start + length, "…");
            }
        }
        entries.entry(last).or_default().push(text);
    }
    entries
}

#[test]
fn statements_of_every_driver_are_logged_as_the_server_did() {
    /// Where another text than the server's is right: prepared by SQL, so that the wire has only what was prepared.
    const BY_SQL: &str = "PREPARE ";
    let mut compared = 0;
    for (folder, _) in RUNS {
        let mut ours = written(folder);
        for (port, theirs) in logged(&command::testdata().join(folder)) {
            let ours = ours.remove(&port).unwrap_or_default();
            assert_eq!(ours.len(), theirs.len(), "{folder}, port {port}");
            for (mut theirs, ours) in theirs.into_iter().zip(ours) {
                if let Some((before, sql)) = theirs.1.split_once(BY_SQL).filter(|_| theirs.1.starts_with("execute ")) {
                    theirs.1 = format!("{before}{}", sql.split_once(" AS ").unwrap().1);
                }
                if theirs.3.contains(BY_SQL) && ours.0 != "LOG" {
                    theirs.3.clone_from(&ours.3);
                }
                assert_eq!(ours, theirs, "{folder}, port {port}");
                compared += 1;
            }
        }
        ours.retain(|_, lines| !lines.is_empty());
        assert!(ours.is_empty(), "{folder}: sessions that the server does not know: {ours:?}");
    }
    assert!(compared > 12_000, "{compared}");
}

/// Severity, message, SQLSTATE, statement, user, database, application.
type Logged = (String, String, String, String, String, String, String);

/// Returns what a server logged when its sessions began with statements, and of errors, by the client's port.
fn logged(folder: &Path) -> BTreeMap<u16, Vec<Logged>> {
    let mut lines: BTreeMap<u16, Vec<Logged>> = BTreeMap::new();
    for line in server_log::text(folder, "server-log.jsonl").lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let message = text("message");
        let message = if message.starts_with("fastpath") { "fastpath".to_owned() } else { message };
        let is_begun = ["statement: ", "execute ", "fastpath"].iter().any(|begin| message.starts_with(begin));
        if text("severity") == "WARNING" || text("severity") == "LOG" && !is_begun {
            continue;
        }
        let port = line["port"].as_u64().unwrap() as u16;
        let state = line["state"].as_str().unwrap_or("00000").to_owned();
        let names = [text("user"), text("database"), text("application")];
        let [user, database, application] = names;
        let logged = (text("severity"), message, state, text("statement"), user, database, application);
        lines.entry(port).or_default().push(logged);
    }
    lines
}

/// Returns the same of what is written.
fn written(folder: &str) -> BTreeMap<u16, Vec<Logged>> {
    let path = ["capture.pcap.gz", "capture.pcap.zst"].map(|name| format!("{folder}/{name}"));
    let path = path.iter().find(|path| command::testdata().join(path).exists()).unwrap();
    // PgBouncer's clients are not the server's.
    let outcome = run(["-q", "-p", "5415,5432", "-F", "csvlog", "--log-style", "statement", path]);
    assert_eq!((outcome.code, &*outcome.said), (Some(0), ""));
    let mut lines: BTreeMap<u16, Vec<Logged>> = BTreeMap::new();
    for row in csv_rows(&(outcome.lines.join("\n") + "\n")) {
        let message = &row["message"];
        let is_of_connection = message.starts_with("connection ") || message.starts_with("disconnection: ");
        if row["error_severity"] == "LOG" && is_of_connection {
            continue;
        }
        let port = row["connection_from"].rsplit_once(':').unwrap().1.parse().unwrap();
        let message = if message.starts_with("fastpath") { "fastpath".to_owned() } else { message.clone() };
        let columns = ["sql_state_code", "query", "user_name", "database_name", "application_name"];
        let [state, statement, user, database, application] = columns.map(|column| row[column].clone());
        let severity = row["error_severity"].clone();
        lines.entry(port).or_default().push((severity, message, state, statement, user, database, application));
    }
    lines
}

#[test]
fn each_part_of_a_request_is_compared_with_the_least_duration_and_errors_are_logged() {
    let outcome = |args: &[&str]| {
        let outcome = run(["-q", "-p5415", "-Fcsvlog", "server-log-15/duration.pcap.gz"].iter().chain(args));
        csv_rows(&(outcome.lines.join("\n") + "\n"))
    };
    let key = |row: &Row| (row["connection_from"].clone(), row["log_time"].clone(), row["message"].clone());
    let all = outcome(&[]);
    for least in [0.2, 1.0, 50.0] {
        let is_long = |row: &&Row| {
            let duration = Row::take_duration(&mut (*row).clone());
            duration.is_none_or(|duration| duration >= least)
        };
        let wanted: Vec<_> = all.iter().filter(is_long).map(key).collect();
        let found: Vec<_> = outcome(&["--min-duration", &format!("{least}ms")]).iter().map(key).collect();
        assert_eq!(found, wanted, "{least} ms");
        let errors = all.iter().filter(|row| row["error_severity"] == "ERROR").count();
        assert!(errors > 5 && wanted.len() > errors && wanted.len() < all.len(), "{} of {}", wanted.len(), all.len());
    }
}

#[test]
fn a_log_has_the_parameters_in_the_words_of_its_version() {
    let details = |version| {
        let capture = "server-log-15/duration.pcap.gz";
        let outcome = run(["-p5415", "-Fcsvlog", "--log-version", version, capture]);
        let rows = csv_rows(&(outcome.lines.join("\n") + "\n"));
        rows.into_iter().map(|row| row["detail"].clone()).filter(|detail| detail.contains("$1 = ")).collect::<Vec<_>>()
    };
    let (before, since) = (details("15"), details("16"));
    assert!(before.len() > 50 && before.iter().all(|detail| detail.starts_with("parameters: $1 = ")));
    assert!(since.len() == before.len() && since.iter().all(|detail| detail.starts_with("Parameters: $1 = ")));
}

/// Returns the lines of a capture as csvlog, with more arguments.
fn csvlog(capture: &str, args: &[&str]) -> Vec<Row> {
    let outcome = run([&["-p5415,5432,5515", "-Fcsvlog", "--log-style=statement", capture], args].concat());
    assert_eq!(outcome.code, Some(0), "{}", outcome.said);
    csv_rows(&(outcome.lines.join("\n") + "\n"))
}

/// As a server writes it with `log_replication_commands = off`, which is the default.
#[test]
fn sessions_with_a_walsender_have_no_commands_in_the_log() {
    let rows = csvlog("replication-pgoutput-v1/capture.pcap", &[]);
    let with = |part: &str| rows.iter().filter(|row| row["message"].contains(part)).count();
    assert!(with("replication connection authorized: user=postgres application_name=") > 1);
    assert!(with("statement: SELECT pg_catalog.set_config(") > 1, "SQL is in it");
    for command in ["IDENTIFY_SYSTEM", "CREATE_REPLICATION_SLOT", "START_REPLICATION"] {
        assert_eq!(with(command), 0, "{command}");
    }
    let is_known = |row: &&Row| !row["user_name"].is_empty();
    assert!(rows.iter().filter(is_known).all(|row| row["backend_type"] == "walsender"));
}

#[test]
fn an_error_has_the_tag_of_the_statement_that_failed_among_several() {
    let rows = csvlog("driver-psql/capture.pcap.gz", &[]);
    let failed = rows.iter().find(|row| row["query"].contains("('undone'); SELECT 1/0; SELECT 'never'")).unwrap();
    assert_eq!((&*failed["sql_state_code"], &*failed["command_tag"]), ("22012", "SELECT"));
}

#[test]
fn a_log_has_the_encryption_and_the_address_of_sessions() {
    let rows = csvlog("tls-sessions/scram-plus.pcap", &["--keylog", "tls-sessions/keys.log"]);
    let encryption = " SSL enabled (protocol=TLSv1.3, cipher=TLS_AES_256_GCM_SHA384, bits=256)";
    let is_authorized =
        |row: &Row| row["message"] == format!("connection authorized: user=u_scram database=shop{encryption}");
    assert!(rows.iter().any(is_authorized), "{rows:?}");
    // Without brackets, which only URLs have.
    let rows = csvlog("ipv6/capture.pcap", &[]);
    let first = &rows[0];
    assert!(first["message"].starts_with("connection received: host=::1 port="), "{first:?}");
    assert!(rows.iter().all(|row| row["connection_from"].starts_with("::1:")), "{rows:?}");
}

#[test]
fn a_log_needs_requests_or_sessions_and_masks_as_lines_do() {
    let capture = "server-log-15/statement.pcap.gz";
    let refused = run(["-Fcsvlog", "-e", "message", capture]);
    assert_eq!(refused.code, Some(2), "{}", refused.said);
    assert!(refused.said.contains("-e query,session"), "{}", refused.said);
    assert_eq!(run(["-Fcsvlog", "--log-version", "13", capture]).code, Some(2));
    let said = |style: &str, more: &str| {
        let args = ["-p5415", "-Fcsvlog", "--log-style", style, more, "sql-script/capture.pcap.gz"];
        run(args).said.contains("--show-secrets writes them")
    };
    // It would be run again with them.
    assert!(said("statement", "--utc") && !said("duration", "--utc"));
    assert!(!said("statement", "--show-secrets") && !said("statement", "--redact=values") && !said("statement", "-q"));
    let masked = run(["-p5415", "-Fcsvlog", "--log-style=statement", "--redact=values", capture]).lines.join("\n");
    assert!(masked.contains("$1 = '***'") && !masked.contains("it''s"), "{masked}");
    let only = run(["-p5415", "-Fcsvlog", "--log-style=statement", "-e", "query", capture]).lines.join("\n");
    assert!(!only.contains("connection received") && only.contains("select count(*) from item"));
}

/// What the lines of a session are, by its client, without what a server's log and ours cannot share: times, `fname` of a function call,
/// what an EXECUTE had prepared, warnings.
fn cases(rows: Vec<Row>) -> BTreeMap<String, Vec<[String; 7]>> {
    let mut sessions: BTreeMap<String, Vec<[String; 7]>> = BTreeMap::new();
    for mut row in rows.into_iter().filter(is_on_the_wire) {
        row.take_duration();
        let row = row.without_what_only_a_server_knows();
        let message = row["message"].replace("\"random\" ", "").replace("\"tan\" ", "");
        let columns = ["command_tag", "error_severity", "sql_state_code", "detail", "query", "context"];
        let [tag, severity, state, detail, query, context] = columns.map(|column| row[column].clone());
        let lines = sessions.entry(row["connection_from"].clone()).or_default();
        lines.push([tag, severity, state, message, detail, query, context]);
    }
    sessions
}

#[test]
fn portals_errors_and_ends_are_logged_as_the_server_did() {
    let folder = command::testdata().join("server-log-cases");
    for style in ["duration", "statement"] {
        let theirs = cases(csv_rows(&server_log::text(&folder, &format!("{style}.csv"))));
        let capture = format!("server-log-cases/{style}.pcap.gz");
        let outcome = run(["-q", "-p5450", "-Fcsvlog", "--log-style", style, &capture]);
        let mut ours = cases(csv_rows(&(outcome.lines.join("\n") + "\n")));
        let mut compared = 0;
        for (client, theirs) in theirs {
            let ours = ours.remove(&client).unwrap_or_default();
            assert_eq!(ours.len(), theirs.len(), "{style}, {client}");
            for (ours, theirs) in ours.into_iter().zip(theirs) {
                // The server formats jsonb anew, has the name of an object, and the decimals of a currency.
                let is_formatted = [r#"'{"a": 2}'"#, "'[100, 1.10", "'pg_class'", "'$1,234.56'"];
                if is_formatted.iter().any(|detail| theirs[4].contains(detail)) {
                    continue;
                }
                assert_eq!(ours, theirs, "{style}, {client}");
                compared += 1;
            }
        }
        assert!(ours.is_empty(), "{style}: {ours:?}");
        assert!(compared > 200, "{style}: {compared}");
    }
}

#[test]
fn a_value_whose_text_is_not_known_is_not_written_as_one() {
    let capture = "server-log-cases/types.pcap";
    let outcome = run(["-p5450", "-Fcsvlog", capture]);
    let ours = cases(csv_rows(&(outcome.lines.join("\n") + "\n")));
    let theirs = cases(csv_rows(&server_log::text(&command::testdata().join("server-log-cases"), "types.csv")));
    let unknown = |value: &str| format!("parameters: not all are known as text: 1 = binary \\x{value}");
    let mut seen = Vec::new();
    for (client, theirs) in theirs.into_iter().filter(|(_, lines)| lines.len() > 10) {
        let ours = &ours[&client];
        assert_eq!(ours.len(), theirs.len(), "with what was parsed and executed behind another");
        for (ours, theirs) in ours.iter().zip(theirs) {
            let mut expected = theirs.clone();
            match theirs[4].as_str() {
                // A domain, and an enum.
                "parameters: $1 = '3'" => expected[4] = unknown("00000003"),
                "parameters: $1 = 'bb'" => expected[4] = unknown("6262"),
                _ => {}
            }
            assert_eq!(*ours, expected);
            seen.push(expected[4].clone());
        }
    }
    assert!(seen.contains(&unknown("6262")));
    assert!(seen.contains(&r#"parameters: $1 = '{"a" : 1.0,  "a":2}'"#.to_owned()), "json keeps its text");
    // It is told, where it would be run again; and pgreplay looks for a `$` in what it binds.
    let said = |args: &[&str]| run([&["-p5450", "-Fcsvlog", capture], args].concat()).said;
    assert!(said(&["--log-style=statement"]).contains("not all are known as text"));
    assert!(!said(&[]).contains("not all are known") && !said(&["--log-style=statement", "-q"]).contains("not all"));
    let outcome = run(["-q", "-p5450", "-Fcsvlog", "--log-style=statement", capture]);
    let rows = csv_rows(&(outcome.lines.join("\n") + "\n"));
    let unknown: Vec<_> = rows.iter().filter(|row| row["detail"].contains("not all are known")).collect();
    assert!(unknown.len() == 2 && unknown.iter().all(|row| !row["detail"].contains('$')), "{unknown:?}");
}

#[test]
fn an_error_of_version_2_of_the_protocol_has_its_severity() {
    let outcome = run(["-q", "-p5450", "-Fcsvlog", "server-log-cases/types.pcap"]);
    let rows = csv_rows(&(outcome.lines.join("\n") + "\n"));
    let row = rows.iter().find(|row| row["message"].contains("frontend protocol 2.0")).unwrap();
    assert_eq!(row["message"], "unsupported frontend protocol 2.0: server supports 3.0 to 3.0");
    assert_eq!((&*row["error_severity"], &*row["sql_state_code"]), ("FATAL", ""));
}
