"""asyncpg: everything prepared, everything binary; a cache of statements, cursors by portals, COPY, a timeout that cancels."""
import asyncio, io, json, os, sys
sys.path.insert(0, "../drivers")
import asyncpg
from values import *

async def connect(name, **more):
    return await asyncpg.connect(host="127.0.0.1", port=int(os.environ["PORT"]), user="app", database="shop", ssl=False,
                                 server_settings={"application_name": name}, **more)

async def main():
    c = await connect("asyncpg")
    notices, heard = [], asyncio.Event()
    c.add_log_listener(lambda _, message: notices.append(message))
    for item in ITEMS:
        await c.execute("INSERT INTO item (id, name, price, weight, made, sold, ok, tags, sizes, raw) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", *item)
    await c.execute("UPDATE item SET doc = $1 WHERE id = $2", json.dumps(DOC), 1)
    print(await c.fetch("SELECT * FROM item ORDER BY id"))
    print(await c.fetchrow("SELECT $1::uuid, $2::interval, $3::int8, $4::int2, $5::bool, $6::int4range", UUID, INTERVAL, 2**40, -7, None, asyncpg.Range(1, 5)))
    print(await c.fetchval("SELECT $1::text[]", [["a", "b"], ["c", None]]))
    print(await c.fetchval("SELECT ROW(1, 'two', NULL)"))
    await c.execute("DO $$ BEGIN RAISE NOTICE 'noticed'; END $$")
    await c.execute("SELECT 1, 2; SELECT 3, 4; CREATE TEMP TABLE t (a int)")
    p = await c.prepare("SELECT name FROM item WHERE id = $1")
    for i in range(1, 4):
        print(await p.fetchval(i))
    for bad in (("SELECT 10 / $1::int", 0), ("SELEC 1",), ("SELECT nothing FROM nowhere",), ("INSERT INTO event (note) VALUES ($1)", None)):
        try:
            await c.fetch(*bad)
        except asyncpg.PostgresError as e:
            print(e.sqlstate)
    async with c.transaction():
        await c.execute("INSERT INTO event (note) VALUES ($1)", "kept")
        try:
            async with c.transaction():
                await c.execute("INSERT INTO item (id) VALUES ($1)", 1)
        except asyncpg.UniqueViolationError as e:
            print(e.sqlstate)
        async for row in c.cursor("SELECT i FROM generate_series(1, $1::int) i", 10, prefetch=4):
            print(row)
        cur = await c.cursor("SELECT id FROM item ORDER BY id")
        print(await cur.fetch(2), await cur.forward(1), await cur.fetchrow())
    tx = c.transaction(isolation="serializable", readonly=True)
    await tx.start()
    await c.fetch("SELECT count(*) FROM event")
    await tx.rollback()
    await c.executemany("INSERT INTO event (note) VALUES ($1)", [("one",), ("two",), ("drei ß",)])
    try:
        await c.executemany("INSERT INTO event (note) VALUES ($1)", [("four",), (None,), ("five",)])
    except asyncpg.PostgresError as e:
        print(e.sqlstate)
    print(await c.copy_records_to_table("item", records=[(i, f"name {i}", ["x"]) for i in range(10, 15)], columns=["id", "name", "tags"]))
    print(await c.copy_to_table("item", source=io.BytesIO(b"20,zwanzig\n21,\n"), columns=["id", "name"], format="csv"))
    out = io.BytesIO()
    print(await c.copy_from_query("SELECT id, name FROM item WHERE id > $1", 9, output=out))
    print(await c.copy_from_table("event", output=out, format="binary"))
    await c.add_listener("news", lambda *args: (print(args[1:]), heard.set()))
    await c.execute("SELECT pg_notify($1, $2)", "news", "the payload")
    await asyncio.wait_for(heard.wait(), 1)
    await c.reset()
    try:
        await c.fetch("SELECT pg_sleep($1)", 30, timeout=0.3)
    except asyncio.TimeoutError:
        print("timeout")
    print(await c.fetchval("SELECT 'goes on'"))
    await c.close()
    # a cache of two statements: the third closes the first
    c = await connect("asyncpg-cache", statement_cache_size=2)
    for i in range(3):
        for sql in ("SELECT $1::int + 1", "SELECT $1::int + 2", "SELECT $1::int + 3"):
            await c.fetchval(sql, i)
    await c.close()
    c = await connect("asyncpg-no-cache", statement_cache_size=0)
    for i in range(3):
        await c.fetchval("SELECT $1::int + 1", i)
    await c.close()
    pool = await asyncpg.create_pool(host="127.0.0.1", port=int(os.environ["PORT"]), user="app", database="shop", ssl=False, min_size=2, max_size=2,
                                     server_settings={"application_name": "asyncpg-pool"})
    print(await asyncio.gather(*(pool.fetchval("SELECT $1::int * 10", i) for i in range(6))))
    await pool.close()

asyncio.run(main())
