//! Whoever keeps changes by `xid`, drops those whose `subxid` is aborted, and applies the others at `committed`, has the tables of the
//! publisher.

use std::collections::{BTreeMap, HashMap};

use pgdissect::value::Format;
use serde_json::{Map, Value};

use super::{Consumer, Line, dissect, jsonl, lsn, streamed, typed};

type Row = Map<String, Value>;

/// What is known of a table from its Relation messages.
#[derive(Clone, Debug)]
struct Described {
    types: HashMap<String, u32>,
    key: Vec<String>,
}

/// Tables, to which changes are applied.
#[derive(Default)]
pub(super) struct Tables {
    described: HashMap<String, Described>,
    rows: BTreeMap<String, Vec<Row>>,
}

pub(super) fn full_name(schema: &Value, table: &Value) -> String {
    format!("{}.{}", schema.as_str().unwrap(), table.as_str().unwrap())
}

impl Tables {
    /// Creates empty tables, as they are described last.
    pub(super) fn described<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Self {
        let mut tables = Self::default();
        for line in lines {
            let body = &line.value["body"]["pgoutput"];
            if body["type"] != "Relation" {
                continue;
            }
            let columns = body["columns"].as_array().unwrap();
            let name = |column: &Value| column["name"].as_str().unwrap().to_owned();
            let of = |column: &Value| (name(column), u32::try_from(column["type_oid"].as_u64().unwrap()).unwrap());
            let types = columns.iter().map(of).collect();
            let key = columns.iter().filter(|column| column["is_key"] == true).map(name).collect();
            tables.described.insert(full_name(&body["schema"], &body["table"]), Described { types, key });
        }
        tables
    }

    pub(super) fn insert(&mut self, table: &str, row: Row) {
        self.rows.entry(table.to_owned()).or_default().push(row);
    }

    pub(super) fn type_oid(&self, table: &str, column: &str) -> u32 {
        self.described[table].types[column]
    }

    pub(super) fn apply(&mut self, change: &Value) {
        let op = change["op"].as_str().unwrap();
        if op == "message" {
            return;
        }
        let table = full_name(&change["schema"], &change["table"]);
        let new = change.get("new").map(|new| new.as_object().unwrap_or_else(|| panic!("{change}")).clone());
        let identity = || -> Row {
            if let Some(row) = change.get("old").or(change.get("key")) {
                return row.as_object().unwrap().clone();
            }
            let key = &self.described[&table].key;
            assert!(!key.is_empty(), "{change}");
            key.iter().map(|column| (column.clone(), new.as_ref().unwrap()[column].clone())).collect()
        };
        match op {
            "insert" => self.insert(&table, new.unwrap()),
            "truncate" => self.rows.entry(table).or_default().clear(),
            "update" | "delete" => {
                let identity = identity();
                let rows = self.rows.entry(table).or_default();
                let is_it =
                    |row: &Row| identity.iter().all(|(column, value)| row.get(column).unwrap_or(&Value::Null) == value);
                let place = rows.iter().position(is_it).unwrap_or_else(|| panic!("there is no such row: {change}"));
                match new {
                    None => _ = rows.swap_remove(place),
                    Some(new) => {
                        let unchanged = change.get("unchanged").and_then(Value::as_array);
                        for column in unchanged.into_iter().flatten() {
                            let column = column.as_str().unwrap();
                            assert!(!new.contains_key(column) && rows[place].contains_key(column), "{change}");
                        }
                        rows[place].extend(new);
                    }
                }
            }
            other => panic!("{other}"),
        }
    }

    /// Checks that the tables are those of the publisher. Returns how many values were compared.
    pub(super) fn check(&self, capture: &str, format: Format) -> usize {
        let folder = capture.split('/').next().unwrap();
        let mut values = 0;
        for expected in jsonl(&format!("{folder}/tables.jsonl")) {
            let table = match expected["table"].as_str().unwrap() {
                "\"Odd \"\"Näme\"" => "public.Odd \"Näme".to_owned(),
                table if table.contains('.') => table.to_owned(),
                table => format!("public.{table}"),
            };
            let rows = expected["rows"].as_array().unwrap();
            let columns: Vec<&String> =
                rows.first().map(|row| row.as_object().unwrap().keys().collect()).unwrap_or_default();
            // Columns that are not published are not in the stream.
            let is_sent = |column: &str| self.described[&table].types.contains_key(column);
            let columns: Vec<_> = columns.into_iter().filter(|column| is_sent(column)).collect();
            let wanted = rows.iter().map(|row| {
                let value = |column: &str| match row[column].as_str() {
                    Some(text) => written(self.type_oid(&table, column), column, text, format),
                    None => Value::Null,
                };
                columns.iter().map(|column| value(column)).collect()
            });
            let wanted = sorted(wanted.collect());
            let had = self.rows.get(&table).map_or(&[][..], Vec::as_slice).iter().map(|row| {
                // A column that was added later is NULL.
                columns.iter().map(|column| row.get(*column).cloned().unwrap_or_default()).collect()
            });
            let had = sorted(had.collect());
            for (had, wanted) in had.iter().zip(&wanted) {
                assert_eq!(had, wanted, "{capture}: {table}");
            }
            assert_eq!(had.len(), wanted.len(), "{capture}: {table}");
            values += rows.len() * columns.len();
        }
        values
    }
}

/// Returns a value, given in text format, as it is in lines if it was sent in this format. Only values of types that are not built
/// in differ: nothing tells what their binary format means.
fn written(type_oid: u32, column: &str, text: &str, format: Format) -> Value {
    let hex = |bytes: &[u8]| {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Value::from(format!("\\x{digits}"))
    };
    match (format, column) {
        (Format::Binary, "c_mood") => hex(text.as_bytes()),
        (Format::Binary, "c_positive") => hex(&text.parse::<i32>().unwrap().to_be_bytes()),
        (Format::Binary, "c_pair") => {
            let (a, b) = text.strip_prefix('(').unwrap().strip_suffix(')').unwrap().split_once(',').unwrap();
            let b = b.strip_prefix('"').and_then(|b| b.strip_suffix('"')).unwrap_or(b).replace("\"\"", "\"");
            let field = |type_oid: u32, bytes: &[u8]| {
                [&type_oid.to_be_bytes()[..], &u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
            };
            let fields = [field(23, &a.parse::<i32>().unwrap().to_be_bytes()), field(25, b.as_bytes())];
            hex(&[&2_u32.to_be_bytes()[..], &fields.concat()].concat())
        }
        _ => typed(type_oid, Format::Text, text.as_bytes()),
    }
}

fn sorted(mut rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    rows.sort_by_cached_key(|row| serde_json::to_string(row).unwrap());
    rows
}

#[test]
fn changes_applied_at_commit_make_the_tables_of_the_publisher() {
    // Of 14, the second connection has values in text, and that behind it in binary.
    for (capture, conn, format, least) in [
        ("replication-pgoutput-v1/capture.pcap", None, Format::Text, 250),
        ("replication-pgoutput-v2-streaming/capture.pcap.gz", None, Format::Text, 700),
        ("replication-pgoutput-v3-two-phase/capture.pcap.gz", None, Format::Text, 50),
        ("replication-pgoutput-v4-parallel/capture.pcap.gz", None, Format::Binary, 150),
        ("replication-pgoutput-14/capture.pcap.gz", Some(0), Format::Text, 20),
        ("replication-pgoutput-14/capture.pcap.gz", Some(1), Format::Binary, 20),
    ] {
        let mut lines = dissect(capture);
        if let Some(stream) = conn {
            let mut conns: Vec<u64> = streamed(&lines).map(Line::conn).collect();
            conns.dedup();
            lines.retain(|line| line.conn() == conns[stream]);
        }
        let consumer = Consumer::of(&lines);
        let mut tables = Tables::described(&lines);
        for (_, change) in consumer.committed() {
            tables.apply(change);
        }
        let values = tables.check(capture, format);
        assert!(values > least, "{capture}: {values} values");
        assert!(consumer.open.values().all(Vec::is_empty), "{capture}: {:?}", consumer.open);
        let left: Vec<_> = consumer.prepared.keys().collect();
        assert_eq!(left.len(), usize::from(capture.contains("two-phase")), "{capture}: one is prepared until the end");
    }
}

/// A table that a subscription copies: by which connection, and from which position its changes are in the main stream.
struct Synchronized {
    conn: u64,
    end: u64,
}

/// Returns the table and the columns of the COPY by which a subscription copies a table.
fn copied(query: &str) -> Option<(String, Vec<&str>)> {
    let rest = query.strip_prefix("COPY ")?;
    let (table, columns) = match rest.strip_prefix("(SELECT ") {
        Some(select) => {
            let (columns, from) = select.split_once(" FROM ONLY ")?;
            (from.split(' ').next()?, columns)
        }
        None => rest.split_once(" (").and_then(|(table, rest)| Some((table, rest.split_once(')')?.0)))?,
    };
    Some((table.to_owned(), columns.split(", ").collect()))
}

/// Inserts the rows that a subscription copies. Returns its tables.
fn copy(lines: &[Line], tables: &mut Tables, format: Format) -> BTreeMap<String, Synchronized> {
    let mut synchronized: BTreeMap<String, Synchronized> = BTreeMap::new();
    let mut copies: HashMap<u64, (String, Vec<&str>)> = HashMap::new();
    for line in lines {
        let (conn, body) = (line.conn(), &line.value["body"]);
        let command = line.value.get("replication_command");
        if let Some(copy) = body["query"].as_str().and_then(copied) {
            copies.insert(conn, copy);
        }
        let Some((table, columns)) = copies.get(&conn) else { continue };
        if let Some(command) = command.filter(|command| command["command"] == "START_REPLICATION") {
            synchronized.insert(table.clone(), Synchronized { conn, end: lsn(&command["lsn"]) });
        }
        if line.is("transaction")
            && let Some(table) = synchronized.get_mut(table)
        {
            table.end = table.end.max(lsn(&line.value["end_lsn"]));
        }
        for row in body["rows"].as_array().into_iter().flatten() {
            let value = |column: &str, value: &Value| match (value.as_str(), format) {
                (None, _) => Value::Null,
                (Some(text), Format::Text) => typed(tables.type_oid(table, column), format, text.as_bytes()),
                (Some(hex), Format::Binary) => {
                    let digits = hex.strip_prefix("\\x").unwrap();
                    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
                    let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
                    typed(tables.type_oid(table, column), format, &bytes)
                }
            };
            let values = row.as_array().unwrap();
            assert_eq!(values.len(), columns.len(), "{}", line.value);
            let row =
                columns.iter().zip(values).map(|(column, of)| ((*column).to_owned(), value(column, of))).collect();
            tables.insert(table, row);
        }
    }
    synchronized
}

#[test]
fn rows_that_a_subscription_copies_and_the_changes_behind_them_make_the_tables_of_the_publisher() {
    for (capture, format, count) in [
        ("replication-subscription/capture.pcap.gz", Format::Text, 5),
        ("replication-subscription-18/capture.pcap.gz", Format::Binary, 2),
    ] {
        let lines = dissect(capture);
        let consumer = Consumer::of(&lines);
        let mut tables = Tables::described(&lines);
        let synchronized = copy(&lines, &mut tables, format);
        assert_eq!(synchronized.len(), count, "{capture}");
        // Those of the connection that copied a table come before those of the main stream.
        for is_main in [false, true] {
            for (transaction, change) in consumer.committed() {
                let table = full_name(&change["schema"], &change["table"]);
                let Synchronized { conn, end } = &synchronized[&table];
                let is_of_main = synchronized.values().all(|of| transaction["conn"] != of.conn);
                let is_applied = if is_main {
                    is_of_main && lsn(&transaction["commit_lsn"]) >= *end
                } else {
                    transaction["conn"] == *conn
                };
                if is_applied {
                    tables.apply(change);
                }
            }
        }
        let values = tables.check(capture, format);
        assert!(values > 100, "{capture}: {values} values");
    }
}

#[test]
fn lag_is_the_time_from_the_commit_to_the_capture() {
    let mut seen = 0;
    for capture in ["replication-pgoutput-v1/capture.pcap", "replication-pgoutput-v3-two-phase/capture.pcap.gz"] {
        for line in dissect(capture).iter().filter(|line| line.is("transaction")) {
            let line = &line.value;
            let time =
                |field: &str| Some(line.get(field)?.as_str()?.parse::<jiff::Timestamp>().unwrap().as_microsecond());
            let [committed, prepared, aborted] = ["commit_ts", "prepare_ts", "abort_ts"].map(time);
            let at = committed.or(prepared).or(aborted);
            assert_eq!(line["lag_us"].as_i64(), at.map(|at| time("ts").unwrap() - at), "{line}");
            seen += usize::from(at.is_some());
        }
    }
    assert!(seen > 90, "{seen}");
}

#[test]
fn a_transaction_of_another_origin_has_its_name_and_time() {
    let lines = dissect("replication-pgoutput-v1/capture.pcap");
    let of_origin: Vec<_> =
        lines.iter().filter(|line| line.value.get("origin").is_some() && line.is("transaction")).collect();
    assert_eq!(of_origin.len(), 1);
    assert_eq!(of_origin[0].value["origin"], "elsewhere");
    assert_eq!(of_origin[0].value["commit_ts"], "2020-02-02T02:02:02.500000Z");
}
