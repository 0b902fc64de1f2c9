"""Copies rows out of a server in many ways, with what the rows are.

Usage: dump_copy.py PORT > copy.jsonl; see how-made.md.

A line is a COPY: its `options` as SQL has them, `data`, the messages in hex, and `rows`.
"""

import json
import sys

import psycopg

TEXTS = ["", " ", "plain", "it's", 'say "hi"', "back\\slash", "tab\tline\nreturn\r", "\\N", "\\.", "NULL", "a,b;c|d", '"', "'", "\\", "\\n", "\b\f\v", "naïve 日本語 🐘", None]
OPTIONS = [
    "FORMAT text",
    "FORMAT text, DELIMITER '|', NULL 'none'",
    "FORMAT csv",
    "FORMAT csv, HEADER true",
    r"FORMAT csv, DELIMITER ';', NULL 'NULL', QUOTE '''', ESCAPE '\'",
    "FORMAT csv, FORCE_QUOTE *",
    r"FORMAT csv, DELIMITER E'\t', NULL '\N', ESCAPE 'x'",
    "FORMAT binary",
]

conn = psycopg.connect(f"host=127.0.0.1 port={sys.argv[1]} user=app dbname=shop")
conn.execute("CREATE TEMP TABLE pieces (a text, b text)")
rows = [[a, b] for i, a in enumerate(TEXTS) for b in (TEXTS[i - 1], TEXTS[(i + 5) % len(TEXTS)])]
with conn.cursor() as cursor:
    cursor.executemany("INSERT INTO pieces VALUES (%s, %s)", rows)
for options in OPTIONS:
    with conn.cursor().copy(f"COPY pieces TO STDOUT WITH ({options})") as copy:
        data = [bytes(piece).hex() for piece in copy]
    print(json.dumps({"options": options, "data": data, "rows": rows}))
