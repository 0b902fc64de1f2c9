"""psycopg 3 in pipeline mode: several requests under way, errors in the midst, several Syncs."""
import os, sys
sys.path.insert(0, "../drivers")
import psycopg
from values import *

def connect(name, **more):
    return psycopg.connect(f"host=127.0.0.1 port={os.environ['PORT']} user=app dbname=shop sslmode=disable gssencmode=disable application_name={name}", **more)

with connect("pipeline", autocommit=True) as c:
    with c.pipeline():
        for item in ITEMS:
            c.execute("INSERT INTO item (id, name, price) VALUES (%s, %s, %s)", item[:3])
        rows = c.execute("SELECT id, name FROM item ORDER BY id")
        print(rows.fetchall())
    with c.pipeline() as p:
        a = c.execute("SELECT %s::int", (1,))
        p.sync()
        b = c.execute("SELECT 10 / %s::int", (0,))
        d = c.execute("SELECT %s::int", (3,))
        try:
            p.sync()
        except psycopg.Error as e:
            print(e.sqlstate)
        e = c.execute("SELECT %s::int", (4,))
        p.sync()
        print(a.fetchone(), e.fetchone())
    # an implicit transaction: the insert goes with the error behind it
    try:
        with c.pipeline():
            c.execute("INSERT INTO event (note) VALUES (%s)", ("undone",))
            c.execute("SELECT nothing FROM nowhere")
            c.execute("INSERT INTO event (note) VALUES (%s)", ("skipped",))
            c.execute("SELECT 'skipped as well'")
    except psycopg.Error as e:
        print(e.sqlstate)
    # errors at Parse, Bind, Execute
    for sql, args in (("SELEC %s", (1,)), ("SELECT %s::int", ("x",)), ("SELECT 1 / (%s - 1)", (1,))):
        try:
            with c.pipeline():
                c.execute("SELECT 'before'")
                c.execute(sql, args)
                c.execute("SELECT 'behind'")
        except psycopg.Error as e:
            print(e.sqlstate)
    print(c.execute("SELECT count(*) FROM event").fetchone())
with connect("pipeline-tx") as c:
    with c.pipeline() as p:
        with c.transaction():
            c.execute("INSERT INTO event (note) VALUES (%s)", ("kept",))
            with c.transaction():
                c.execute("UPDATE event SET note = %s", ("changed",))
        try:
            with c.transaction():
                c.execute("INSERT INTO event (note) VALUES (%s)", (None,))
                p.sync()
        except psycopg.Error as e:
            print(e.sqlstate)
    print(c.execute("SELECT note FROM event").fetchall())
with connect("pipeline-prepared", autocommit=True, prepare_threshold=0) as c:
    with c.pipeline():
        cursors = [c.execute("SELECT %s::int * 2", (i,)) for i in range(20)]
        print([cur.fetchone() for cur in cursors])
    with c.pipeline():
        cur = c.cursor()
        cur.executemany("INSERT INTO event (note) VALUES (%s)", [(f"note {i}",) for i in range(20)])
    with c.pipeline() as p:
        for i in range(3):
            c.execute("SELECT i FROM generate_series(1, %s) i", (300,))
            p.sync()
