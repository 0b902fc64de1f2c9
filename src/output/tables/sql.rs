//! The tables in SQL: what DuckDB and ClickHouse need to read lines with their types.

use super::{Column, Kind, Table};

/// Returns SQL for DuckDB: a table macro for each table, that reads it from files of lines.
pub(crate) fn duckdb() -> String {
    let mut sql = "\
-- For DuckDB: functions that read lines of pgdissect as tables. Lines of other events in the same files are passed over; there may be no summaries.
--   pgdissect -e query,session,change capture.pcap > lines.jsonl
--   SELECT normalized, count(*), sum(exec_us) FROM pgdissect_query('lines.jsonl') GROUP BY ALL;
"
    .to_owned();
    for table in Table::ALL {
        sql.push_str(&format!(
            "\nCREATE OR REPLACE MACRO pgdissect_{table}(files) AS TABLE\n  SELECT * EXCLUDE (event) FROM read_json(files, \
             format = 'newline_delimited', columns = {{\n    event: 'VARCHAR'"
        ));
        for Column { name, kind, .. } in table.columns() {
            sql.push_str(&format!(",\n    \"{name}\": '{}'", in_duckdb(kind)));
        }
        sql.push_str(&format!("\n  }}) WHERE event = '{table}';\n"));
    }
    sql
}

const fn in_duckdb(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "BOOLEAN",
        Kind::Int32 => "INTEGER",
        Kind::UInt16 => "USMALLINT",
        Kind::UInt32 => "UINTEGER",
        Kind::UInt64 => "UBIGINT",
        Kind::Timestamp => "TIMESTAMPTZ",
        Kind::Text => "VARCHAR",
        Kind::TextList => "VARCHAR[]",
        Kind::Json => "JSON",
    }
}

/// Returns SQL for ClickHouse: a table for each event, into which its lines can be inserted.
pub(crate) fn clickhouse() -> String {
    let mut sql = "\
-- For ClickHouse: tables for lines of pgdissect, each for those of one event: lines of another are refused.
--   pgdissect -e query capture.pcap | clickhouse client --date_time_input_format best_effort \\
--     --query 'INSERT INTO pgdissect_query FORMAT JSONEachRow'
"
    .to_owned();
    for table in Table::ALL {
        sql.push_str(&format!("\nCREATE TABLE IF NOT EXISTS pgdissect_{table}\n(\n    `event` Enum8('{table}' = 1)"));
        for Column { name, kind, is_nullable } in table.columns() {
            let of_kind = in_clickhouse(kind);
            // An array cannot be nullable: it is empty instead.
            let of_column = match is_nullable && kind != Kind::TextList {
                true => format!("Nullable({of_kind})"),
                false => of_kind.to_owned(),
            };
            sql.push_str(&format!(",\n    `{name}` {of_column}"));
        }
        sql.push_str("\n)\nENGINE = MergeTree\nORDER BY (ts, conn);\n");
    }
    sql
}

const fn in_clickhouse(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "Bool",
        Kind::Int32 => "Int32",
        Kind::UInt16 => "UInt16",
        Kind::UInt32 => "UInt32",
        Kind::UInt64 => "UInt64",
        Kind::Timestamp => "DateTime64(6, 'UTC')",
        Kind::Text | Kind::Json => "String",
        Kind::TextList => "Array(String)",
    }
}
