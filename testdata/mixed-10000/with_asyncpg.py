import asyncio, datetime, os, random
import asyncpg

random.seed(4)
TODAY = datetime.datetime(2026, 11, 23, tzinfo=datetime.timezone.utc)

async def main():
    c = await asyncpg.connect(host="127.0.0.1", port=int(os.environ["PORT"]), user="app", database="shop", ssl=False,
                              server_settings={"application_name": "mixed-asyncpg"})
    for i in range(300):
        n = random.randrange(1000000)
        try:
            async with c.transaction():
                await c.fetchrow("SELECT id, name, made FROM item WHERE id >= $1 ORDER BY id LIMIT 1", n)
                await c.execute("UPDATE item SET made = $2, sizes = $3 WHERE id = $1", n, TODAY + datetime.timedelta(seconds=i), [i, None])
                if i % 10 == 5:
                    await c.fetchval("SELECT 1 / $1::int", 0)
                if i % 20 == 9:
                    async for _ in c.cursor("SELECT i FROM generate_series(1, $1::int) i", 12, prefetch=5):
                        pass
        except asyncpg.PostgresError:
            pass
    await c.executemany("INSERT INTO event (note) VALUES ($1)", [(f"async {i}",) for i in range(500)])
    await c.close()

asyncio.run(main())
