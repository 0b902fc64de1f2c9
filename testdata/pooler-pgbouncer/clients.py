"""Clients of a pooler: python clients.py DATABASE CLIENTS ROUNDS. Each has its own application_name."""
import asyncio, sys
import psycopg

database, clients, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

async def client(number):
    target = f"host=127.0.0.1 port=6432 user=app dbname={database} application_name=app{number}"
    conn = await psycopg.AsyncConnection.connect(target, autocommit=True, prepare_threshold=None)
    for turn in range(rounds):
        # All the same: only the reply tells whose it was.
        await conn.execute("SELECT nextval('pool_seq')")
        # The same, and the reply, too.
        await conn.execute("UPDATE pool_item SET n = n + 1 WHERE id = 1")
        # Text that differs, and parameters that do.
        await conn.execute(f"SELECT nextval('pool_seq'), {number * 1000 + turn}")
        await conn.execute("SELECT nextval('pool_seq'), %s::int", (number,))
        if database != "stmt":
            async with conn.transaction():
                await conn.execute("UPDATE pool_item SET n = n + 1 WHERE id = %s", (number + 2,))
                await conn.execute("SELECT nextval('pool_seq')")
        try:
            await conn.execute("SELECT 1/0")
        except psycopg.errors.DivisionByZero:
            pass
        async with conn.cursor().copy("COPY (SELECT nextval('pool_seq')) TO STDOUT") as copy:
            async for _ in copy:
                pass
    await conn.close()

async def main():
    await asyncio.gather(*[client(number) for number in range(clients)])

asyncio.run(main())
