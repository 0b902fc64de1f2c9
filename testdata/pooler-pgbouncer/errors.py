"""Errors and answers that are the pooler's own, and one of the server's: python errors.py."""
import asyncio
import psycopg

async def connect(database, name):
    target = f"host=127.0.0.1 port=6432 user=app dbname={database} application_name={name}"
    return await psycopg.AsyncConnection.connect(target, autocommit=True, prepare_threshold=None)

async def holds():
    conn = await connect("small", "holds")
    await conn.execute("SELECT 1")
    asleep = asyncio.create_task(conn.execute("SELECT pg_sleep(5)"))
    await asyncio.sleep(1.8)
    # Through the pooler, on a connection of its own.
    await conn.cancel_safe()
    try:
        await asleep
    except psycopg.errors.QueryCanceled:
        pass
    try:
        await conn.execute("SELECT 1/0")
    except psycopg.errors.DivisionByZero:
        pass
    await conn.execute("")
    await conn.close()

async def waits():
    conn = await connect("small", "waits")
    await conn.execute("SELECT 2")
    await asyncio.sleep(0.3)
    try:
        await conn.execute("SELECT 3")
    except psycopg.OperationalError:
        pass

async def main():
    await asyncio.gather(holds(), waits())
    console = await psycopg.AsyncConnection.connect(
        "host=127.0.0.1 port=6432 user=app dbname=pgbouncer", autocommit=True, prepare_threshold=None,
        cursor_factory=psycopg.AsyncRawCursor)
    async with console.cursor() as cursor:
        await cursor.execute("SHOW VERSION")
    await console.close()

asyncio.run(main())
