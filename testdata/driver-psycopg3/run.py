"""psycopg 3 as it is by default: server-side binding with text where it must be, transactions, prepare_threshold, cursors, COPY, cancel."""
import os, sys, threading, time
sys.path.insert(0, "../drivers")
import psycopg
from psycopg.types.json import Json, Jsonb
from values import *

def connect(name, **more):
    return psycopg.connect(f"host=127.0.0.1 port={os.environ['PORT']} user=app dbname=shop sslmode=disable gssencmode=disable application_name={name}", **more)

COLUMNS = "(id, name, price, weight, made, sold, ok, tags, sizes, raw)"
with connect("psycopg3") as c:
    notices = []
    c.add_notice_handler(notices.append)
    for item in ITEMS:
        c.execute(f"INSERT INTO item {COLUMNS} VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", item)
    c.execute("UPDATE item SET doc = %s WHERE id = %s", (Jsonb(DOC), 1))
    c.commit()
    print(c.execute("SELECT * FROM item ORDER BY id").fetchall())
    print(c.execute("SELECT %s::uuid, %s::interval, %s::json, %(a)s" .replace("%(a)s", "%s::bool"), (UUID, INTERVAL, Json(None), True)).fetchone())
    print(c.execute("SELECT 100 %% 7, %(x)s || %(x)s", {"x": "named"}).fetchone())
    c.execute("DO $$ BEGIN RAISE NOTICE 'noticed %', 42; END $$")
    c.execute("LISTEN news")
    c.execute("SELECT pg_notify(%s, %s)", ("news", "the payload"))
    c.commit()
    for n in c.notifies(timeout=0.2, stop_after=1):
        print(n)
    try:
        c.execute("SELECT %s / %s", (1, 0))
    except psycopg.Error as e:
        print(e.sqlstate)
    try:
        c.execute("SELECT 'never runs', %s", (1,))
    except psycopg.Error as e:
        print(e.sqlstate)
    c.rollback()
    with c.transaction():
        c.execute("UPDATE item SET price = %s WHERE id = %s", (1, 2))
        try:
            with c.transaction():
                c.execute("INSERT INTO item (id, name) VALUES (%s, %s)", (1, "again"))
        except psycopg.errors.UniqueViolation as e:
            print(e.sqlstate)
        c.execute("DELETE FROM item WHERE id = %s RETURNING name", (2,))
        raise psycopg.Rollback
with connect("psycopg3-prepare", autocommit=True, prepare_threshold=2) as c:
    c.prepared_max = 2
    for i in range(6):
        c.execute("SELECT name FROM item WHERE id = %s", (i,)).fetchone()
    c.execute("SELECT %s::text", ("at once",), prepare=True)
    c.execute("SELECT %s::text", (None,), prepare=True)
    for q in ("SELECT 1 + %s", "SELECT 2 + %s", "SELECT 3 + %s"):        # more than prepared_max: the oldest goes
        for i in range(3):
            c.execute(q, (i,))
    c.cursor().executemany("INSERT INTO event (note) VALUES (%s)", [("one",), ("two",), ("drei ß",)])
    with c.cursor() as cur:
        cur.executemany("INSERT INTO event (note) VALUES (%s) RETURNING id", [("four",), ("five",)], returning=True)
        print([s.fetchone() for s in cur.results()])
    try:
        c.cursor().executemany("INSERT INTO event (note) VALUES (%s)", [("six",), (None,), ("seven",)])
    except psycopg.Error as e:
        print(e.sqlstate)
with connect("psycopg3-cursor") as c:
    with c.cursor("named") as cur:
        cur.execute("SELECT i, i::text FROM generate_series(1, %s) i", (10,))
        print(cur.fetchmany(3), cur.fetchone())
        cur.scroll(2)
        print(cur.fetchall())
    with c.cursor("scrolling", scrollable=True, withhold=True) as cur:
        cur.execute("SELECT id FROM item ORDER BY id")
        cur.itersize = 2
        print([r for r in cur])
        c.commit()
        cur.scroll(0, "absolute")
        print(cur.fetchone())
    with c.cursor() as cur:
        for row in cur.stream("SELECT i FROM generate_series(1, %s) i", (4,)):
            print(row)
with connect("psycopg3-copy") as c:
    with c.cursor() as cur:
        with cur.copy("COPY item (id, name, price) FROM STDIN") as copy:
            for i in range(10, 15):
                copy.write_row((i, f"tab\t{i}\nü", None if i % 2 else i))
        with cur.copy("COPY item (id, tags) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text[]"])
            for i in range(20, 23):
                copy.write_row((i, ["x", None]))
        with cur.copy("COPY (SELECT id, name FROM item WHERE id > %s ORDER BY id) TO STDOUT", (9,)) as copy:
            print(list(copy.rows()))
        with cur.copy("COPY item (id, raw) TO STDOUT (FORMAT binary)") as copy:
            print(sum(len(b) for b in copy))
        try:
            with cur.copy("COPY item (id) FROM STDIN") as copy:
                copy.write_row(("not a number",))
        except psycopg.Error as e:
            print(e.sqlstate)
        c.rollback()
        try:
            with cur.copy("COPY event (note) FROM STDIN") as copy:
                copy.write_row(("unfinished",))
                raise KeyError("of the client")
        except (KeyError, psycopg.Error) as e:
            print(repr(e))
        c.rollback()
with connect("psycopg3-cancel", autocommit=True) as c:
    t = threading.Thread(target=lambda: (time.sleep(0.3), c.cancel_safe()))
    t.start()
    try:
        c.execute("SELECT pg_sleep(%s)", (30,))
    except psycopg.errors.QueryCanceled as e:
        print(e.sqlstate)
    t.join()
    t = threading.Thread(target=lambda: (time.sleep(0.3), c.cancel()))
    t.start()
    try:
        c.execute("SELECT pg_sleep(29)")
    except psycopg.errors.QueryCanceled as e:
        print(e.sqlstate)
    t.join()
    print(c.execute("SELECT 'goes on'").fetchone())
with connect("psycopg3-client-binding", autocommit=True, cursor_factory=psycopg.ClientCursor) as c:
    print(c.execute("SELECT %s, %s, %s", ("it's", 1.5, None)).fetchone())
    c.execute("CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1), (2), (3); UPDATE t SET a = a + 1 WHERE a > 1; SELECT * FROM t")
with connect("psycopg3-raw", autocommit=True, cursor_factory=psycopg.RawCursor) as c:
    print(c.execute("SELECT $2::int - $1::int, $1", (7, 9)).fetchone())
