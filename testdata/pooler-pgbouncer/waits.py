"""Clients of a pooler that wait for each other: python waits.py. The last one asks the pooler how long they have waited."""
import asyncio
import psycopg

async def connect(database, name):
    target = f"host=127.0.0.1 port=6432 user=app dbname={database} application_name={name}"
    return await psycopg.AsyncConnection.connect(target, autocommit=True, prepare_threshold=None)

async def short(number):
    conn = await connect("waits", f"web{number}")
    for turn in range(6):
        await conn.execute(f"SELECT pg_sleep(0.01), {number * 100 + turn}")
    await conn.close()

async def keeps():
    conn = await connect("waits", "billing")
    async with conn.transaction():
        await conn.execute("SELECT nextval('pool_seq')")
        # Its connection to the server waits for it.
        await asyncio.sleep(0.4)
        await conn.execute("UPDATE pool_item SET n = n + 1 WHERE id = 1")
    await conn.close()

async def main():
    await asyncio.gather(keeps(), *[short(number) for number in range(6)])
    console = await psycopg.AsyncConnection.connect(
        "host=127.0.0.1 port=6432 user=app dbname=pgbouncer", autocommit=True, prepare_threshold=None,
        cursor_factory=psycopg.AsyncRawCursor)
    async with console.cursor() as cursor:
        await cursor.execute("SHOW STATS_TOTALS")
    await console.close()

asyncio.run(main())
