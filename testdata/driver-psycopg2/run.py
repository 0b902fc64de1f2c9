"""psycopg2: the simple protocol only, parameters written into the SQL by the client."""
import os, select, sys, threading, time
sys.path.insert(0, "../drivers")
import psycopg2, psycopg2.extras
from values import *

def connect(name):
    return psycopg2.connect(f"host=127.0.0.1 port={os.environ['PORT']} user=app dbname=shop sslmode=disable gssencmode=disable application_name={name}")

psycopg2.extras.register_uuid()
c = connect("psycopg2")
cur = c.cursor()
for item in ITEMS:
    cur.execute("INSERT INTO item (id, name, price, weight, made, sold, ok, tags, sizes, raw) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                item[:-1] + (item[-1] and psycopg2.Binary(item[-1]),))
cur.execute("UPDATE item SET doc = %s WHERE id = %s", (psycopg2.extras.Json(DOC), 1))
c.commit()
cur.execute("SELECT * FROM item ORDER BY id")
print(cur.fetchall())
cur.execute("SELECT %(u)s, %(i)s, %(n)s IS NULL", {"u": UUID, "i": INTERVAL, "n": None})
print(cur.fetchone())
cur.execute("DO $$ BEGIN RAISE NOTICE 'noticed'; END $$")
try:
    cur.execute("SELECT %s / %s", (1, 0))
except psycopg2.Error as e:
    print(e.pgcode)
try:
    cur.execute("SELECT 'never runs'")
except psycopg2.Error as e:
    print(e.pgcode)
c.rollback()
cur.executemany("INSERT INTO event (note) VALUES (%s)", [("one",), ("two",), ("drei ß",)])
psycopg2.extras.execute_values(cur, "INSERT INTO event (note) VALUES %s RETURNING id", [(f"note {i}",) for i in range(7)], page_size=3)
psycopg2.extras.execute_batch(cur, "UPDATE event SET note = %s WHERE id = %s", [(f"batch {i}", i) for i in range(7)], page_size=3)
c.commit()
named = c.cursor("named")
named.itersize = 4
named.execute("SELECT i FROM generate_series(1, %s) i", (10,))
print([r for r in named])
named.close()
c.rollback()
import io
cur.copy_expert("COPY item (id, name) FROM STDIN (FORMAT csv)", io.StringIO("10,zehn\n11,\"el\"\"f\"\n"))
out = io.StringIO()
cur.copy_expert("COPY (SELECT id, name FROM item) TO STDOUT", out)
cur.copy_from(io.StringIO("12\tzwölf\n13\t\\N\n"), "item", columns=("id", "name"))
cur.copy_to(out, "event")
try:
    cur.copy_expert("COPY item (id) FROM STDIN", io.StringIO("x\n"))
except psycopg2.Error as e:
    print(e.pgcode)
c.rollback()
c.set_session(isolation_level="SERIALIZABLE", readonly=True)
cur.execute("SELECT 1")
try:
    cur.execute("DELETE FROM event")
except psycopg2.Error as e:
    print(e.pgcode)
c.rollback()
c.close()
c = connect("psycopg2-autocommit")
c.autocommit = True
cur = c.cursor()
cur.execute("LISTEN news; NOTIFY news, 'the payload'")
select.select([c], [], [], 1)
c.poll()
print(c.notifies)
cur.execute("PREPARE p (int) AS SELECT name FROM item WHERE id = $1")
cur.execute("EXECUTE p (%s)", (1,))
cur.execute("DEALLOCATE p")
cur.callproc("lower", ("ÄB",))
t = threading.Thread(target=lambda: (time.sleep(0.3), c.cancel()))
t.start()
try:
    cur.execute("SELECT pg_sleep(30)")
except psycopg2.Error as e:
    print(e.pgcode)
t.join()
cur.execute("SELECT 'goes on'")
lo = connect("psycopg2-lobject")
o = lo.lobject(0, "wb")          # large objects go by function calls
o.write(b"large \x00 object")
o.seek(0)
print(o.read())
o.close()
lo.rollback()
lo.close()
c.close()
