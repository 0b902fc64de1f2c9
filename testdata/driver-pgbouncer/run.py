"""Four clients, two connections to the server, by PgBouncer in transaction mode: psycopg, psycopg2 and asyncpg without prepared statements."""
import asyncio, os, sys, threading, time
sys.path.insert(0, "../drivers")
import asyncpg, psycopg, psycopg2
from values import *

def conninfo(name):
    return f"host=127.0.0.1 port=6432 user=app dbname=shop sslmode=disable gssencmode=disable application_name={name}"

def three(n):
    with psycopg.connect(conninfo(f"bounced-psycopg3-{n}"), prepare_threshold=None) as c:
        for item in ITEMS:
            c.execute("INSERT INTO item (id, name, price, sizes) VALUES (%s, %s, %s, %s)", (item[0] + 10 * n, item[1], item[2], item[8]))
            c.commit()
        for i in range(5):
            print(c.execute("SELECT name, pg_sleep(0.005) FROM item WHERE id = %s", (i,)).fetchone())
            if i % 2:
                c.commit()
        try:
            c.execute("SELECT 1 / %s", (0,))
        except psycopg.Error as e:
            print(e.sqlstate)
        c.rollback()
        with c.cursor().copy("COPY item (id, name) FROM STDIN") as copy:
            copy.write_row((100 + n, "copied ü"))
        c.commit()

def two():
    c = psycopg2.connect(conninfo("bounced-psycopg2"))
    cur = c.cursor()
    for i in range(8):
        cur.execute("INSERT INTO event (note) VALUES (%s) RETURNING id", (f"it's {i}",))
        cur.fetchone()
        c.commit()
    try:
        cur.execute("SELEC")
    except psycopg2.Error as e:
        print(e.pgcode)
    c.rollback()
    c.autocommit = True
    t = threading.Thread(target=lambda: (time.sleep(0.3), c.cancel()))
    t.start()
    try:
        cur.execute("SELECT pg_sleep(30)")
    except psycopg2.Error as e:
        print(e.pgcode)
    t.join()
    cur.execute("SELECT 'goes on'")
    c.close()

async def one():
    c = await asyncpg.connect(host="127.0.0.1", port=6432, user="app", database="shop", ssl=False, statement_cache_size=0,
                              server_settings={"application_name": "bounced-asyncpg"})
    for i in range(5):
        async with c.transaction():
            print(await c.fetchval("SELECT $1::int + 1", i))
    await c.execute("SELECT 1, 2; SELECT 3, 4")
    await c.close()

threads = [threading.Thread(target=three, args=(n,)) for n in (1, 2)] + [threading.Thread(target=two), threading.Thread(target=lambda: asyncio.run(one()))]
for t in threads:
    t.start()
for t in threads:
    t.join()
