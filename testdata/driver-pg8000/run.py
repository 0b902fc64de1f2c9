"""pg8000: the extended protocol with everything as text, each message flushed on its own."""
import io, os, sys
sys.path.insert(0, "../drivers")
import pg8000.native, pg8000.dbapi
from values import *

def connect(module, name):
    return module(user="app", host="127.0.0.1", port=int(os.environ["PORT"]), database="shop", application_name=name)

c = connect(pg8000.native.Connection, "pg8000")
for item in ITEMS:
    names = "id name price weight made sold ok tags sizes raw".split()
    c.run(f"INSERT INTO item ({', '.join(names)}) VALUES ({', '.join(':' + n for n in names)})", **dict(zip(names, item)))
c.run("UPDATE item SET doc = CAST(:doc AS jsonb) WHERE id = :id", doc=DOC, id=1)
print(c.run("SELECT * FROM item ORDER BY id"))
print(c.run("SELECT CAST(:u AS uuid), CAST(:i AS interval), :n IS NULL", u=UUID, i=INTERVAL, n=None, types={"u": pg8000.native.UUID_TYPE, "i": pg8000.native.INTERVAL, "n": pg8000.native.TEXT}))
c.run("DO $$ BEGIN RAISE NOTICE 'noticed'; END $$")
print(list(c.notices))
p = c.prepare("SELECT name FROM item WHERE id = :id")
for i in range(1, 4):
    print(p.run(id=i))
p.close()
for sql, args in (("SELECT 10 / CAST(:n AS int)", {"n": 0}), ("SELEC 1", {}), ("INSERT INTO event (note) VALUES (:n)", {"n": None})):
    try:
        c.run(sql, **args)
    except pg8000.exceptions.DatabaseError as e:
        print(e.args[0]["C"])
c.run("START TRANSACTION")
c.run("INSERT INTO event (note) VALUES (:n) RETURNING id", n="undone")
c.run("ROLLBACK")
c.run("LISTEN news")
c.run("NOTIFY news, 'the payload'")
c.run("SELECT 1")
print(list(c.notifications))
c.run("COPY item (id, name) FROM STDIN WITH (FORMAT csv)", stream=io.BytesIO("10,zehn\n11,\"elf, ü\"\n".encode()))
out = io.BytesIO()
c.run("COPY item (id, name) TO STDOUT", stream=out)
print(out.getvalue())
c.close()
d = connect(pg8000.dbapi.connect, "pg8000-dbapi")
cur = d.cursor()
cur.execute("SELECT %s::int, %s::text", (1, "é"))
print(cur.fetchall())
cur.executemany("INSERT INTO event (note) VALUES (%s)", [("one",), ("two",), ("drei ß",)])
d.commit()
try:
    cur.execute("SELECT 1 / %s", (0,))
except pg8000.dbapi.Error as e:
    print(e.args[0]["C"])
d.rollback()
d.close()
