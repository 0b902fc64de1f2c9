"""Reads tables with the tool that they are for, and compares every value with the lines. Prints the number of rows of each table.

Usage: tables.py duckdb|chdb LINES SQL
       tables.py duckdb|chdb|pandas LINES FOLDER
"""

import datetime
import glob
import json
import os
import sys

TABLES = ["query", "session", "change"]
tool, path, sql = sys.argv[1:]
is_parquet = os.path.isdir(sql)


def duckdb_rows():
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    if not is_parquet:
        connection.execute(open(sql).read())
    for table in TABLES:
        source = f"read_parquet('{sql}/{table}-*.parquet')" if is_parquet else f"pgdissect_{table}('{path}')"
        result = connection.execute(f"SELECT * FROM {source}")
        names = [column[0] for column in result.description]
        yield table, [dict(zip(names, row)) for row in result.fetchall()]


def chdb_rows():
    from chdb import session

    server = session.Session()
    if is_parquet:
        for table in TABLES:
            rows = server.query(f"SELECT * FROM file('{sql}/{table}-*.parquet', Parquet)", "JSONEachRow")
            yield table, [json.loads(row) for row in str(rows).splitlines()]
        return
    statements = open(sql).read().split(";\n")
    for statement in filter(str.strip, statements):
        server.query(statement)
    for table in TABLES:
        part = f"{path}.{table}"
        with open(part, "w") as lines:
            lines.writelines(line for line in open(path) if json.loads(line)["event"] == table)
        server.query(
            f"INSERT INTO pgdissect_{table} FROM INFILE '{part}' SETTINGS date_time_input_format = 'best_effort' FORMAT JSONEachRow"
        )
        rows = str(server.query(f"SELECT * EXCEPT (event) FROM pgdissect_{table}", "JSONEachRow"))
        yield table, [json.loads(row) for row in rows.splitlines()]


def pandas_rows():
    import pandas

    def plain(value):
        if hasattr(value, "tolist"):
            value = value.tolist()
        return None if value is pandas.NA or value is pandas.NaT else value

    for table in TABLES:
        files = sorted(glob.glob(f"{sql}/{table}-*.parquet"))
        frame = pandas.concat(pandas.read_parquet(file, dtype_backend="pyarrow") for file in files)
        assert str(frame["ts"].dtype) == "timestamp[us, tz=UTC][pyarrow]", frame["ts"].dtype
        yield table, [{name: plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def is_missing(value):
    return value is None or value == []


def compared(of_table, of_line):
    """The values of a row and of a line in the same form. A list that is absent is the same as one that is empty."""
    row, line = {}, {}
    for name, value in of_table.items():
        if not is_missing(value):
            row[name] = value
    for name, value in of_line.items():
        if name == "event" or value == [] and name not in row:
            continue
        found = row.get(name)
        if name in ("ts", "started"):
            value = datetime.datetime.fromisoformat(value)
            if tool == "chdb":
                row[name] = datetime.datetime.fromisoformat(found).replace(tzinfo=datetime.timezone.utc)
        elif isinstance(found, int) and isinstance(value, str):
            value = int(value)
        elif isinstance(found, str) and not isinstance(value, str):
            # JSON, as its text. chdb writes large numbers as strings.
            row[name] = type(value)(found) if type(value) is int else json.loads(found)
        elif isinstance(found, list) and isinstance(value, list):
            row[name] = [json.loads(a) if isinstance(b, dict) else a for a, b in zip(found, value, strict=True)]
        line[name] = value
    return row, line


tables = {"duckdb": duckdb_rows, "chdb": chdb_rows, "pandas": pandas_rows}[tool]()

lines = [json.loads(line) for line in open(path)]
for table, rows in tables:
    wanted = [line for line in lines if line["event"] == table]
    assert len(rows) == len(wanted), (table, len(rows), len(wanted))
    # Tables of ClickHouse have an order of their own. No two lines of a connection are of the same packet and position.
    if tool == "chdb":
        def place(row):
            return tuple(str(row.get(name)) for name in ("conn", "packet", "query", "state", "lsn", "total_us", "op", "relation_oid"))
        wanted.sort(key=place)
        rows.sort(key=place)
    for row, line in zip(rows, wanted):
        row, line = compared(row, line)
        assert row == line, (table, {name: (row.get(name), line.get(name)) for name in row | line if row.get(name) != line.get(name)})
    columns = {name for row in rows for name in row}
    sums = {name: sum(row[name] for row in rows if isinstance(row.get(name), int)) for name in sorted(columns) if name.endswith("_us")}
    print(table, len(rows), json.dumps(sums))
