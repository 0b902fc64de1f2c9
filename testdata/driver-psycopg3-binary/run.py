"""psycopg 3 with binary=True: parameters and results in binary form."""
import os, sys
sys.path.insert(0, "../drivers")
import psycopg
from psycopg.types.json import Jsonb
from psycopg.types.range import Range
from values import *

c = psycopg.connect(f"host=127.0.0.1 port={os.environ['PORT']} user=app dbname=shop sslmode=disable gssencmode=disable application_name=psycopg3-binary", autocommit=True)
cur = c.cursor(binary=True)
for item in ITEMS:
    cur.execute("INSERT INTO item (id, name, price, weight, made, sold, ok, tags, sizes, raw) VALUES (%b, %b, %b, %b, %b, %b, %b, %b, %b, %b)", item)
cur.execute("UPDATE item SET doc = %b WHERE id = %b", (Jsonb(DOC), 1))
cur.execute("SELECT * FROM item ORDER BY id")
print(cur.fetchall())
cur.execute("SELECT %b::uuid, %b::interval, %b::int8, %b::int2, %b::int4range", (UUID, INTERVAL, 2**40, -7, Range(1, 5)))
print(cur.fetchone())
cur.execute("SELECT %b::text[], %b::int[], %b::timestamptz[]", ([["a", "b"], ["c", None]], [[1, 2], [3, 4]], [ITEMS[0][4], None]))
print(cur.fetchone())
cur.execute("SELECT %s, %b, %t", (1, 1, 1))
print(cur.fetchone())
for i in range(7):
    cur.execute("SELECT name, price FROM item WHERE id = %s", (i,))
    cur.fetchall()
try:
    cur.execute("SELECT %b / %b", (1, 0))
except psycopg.Error as e:
    print(e.sqlstate)
cur.executemany("INSERT INTO event (note) VALUES (%b)", [("one",), ("",), ("drei ß",)])
c.autocommit = False
with c.cursor("named", binary=True) as named:
    named.execute("SELECT id, price, made FROM item ORDER BY id")
    print(named.fetchmany(2), named.fetchall())
c.rollback()
c.close()
