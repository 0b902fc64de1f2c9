"""Makes what the captures in server-log-* hold: run.py PORT"""
import asyncio, sys, threading, time, uuid, datetime, decimal, ipaddress
import psycopg, psycopg2, asyncpg
from psycopg.types.json import Jsonb

PORT = int(sys.argv[1])
AT = f"host=127.0.0.1 port={PORT} dbname=shop sslmode=disable gssencmode=disable"
APP = AT + " user=app"

def fails(f, *args):
    try:
        f(*args)
    except Exception as error:
        return error
    raise AssertionError(f"{args} did not fail")

def simple():
    db = psycopg2.connect(APP + " application_name=simple")
    db.autocommit = True
    at = db.cursor()
    at.execute("drop table if exists item; create table item (id int primary key, name text, price numeric, tags text[], data bytea, at timestamptz)")
    at.execute("insert into item values (1, 'a ''quoted'' name, \"so\"', 1.50, '{a,b}', null, '2026-01-02 03:04:05+00')")
    at.execute("insert into item select n, 'item ' || n, n / 7.0 from generate_series(2, 40) n")
    at.execute("select count(*) from item")
    at.execute("/* leading comment */ select name\n  from item\n where id = 1 -- trailing\n;")
    at.execute("select 1; select 'two' as b; update item set price = 2 where id = 3")
    fails(at.execute, "select 1/0")
    fails(at.execute, "selec 1")
    fails(at.execute, "select nothing from item")
    fails(at.execute, "select 'ok'; select id, 1 / (id - 3) from item; select 'never'")
    fails(at.execute, "insert into item values (1, 'again')")
    fails(at.execute, "do $$ begin perform 1/0; end $$")
    fails(at.execute, "do $$ begin raise exception 'a, \"b\"' using detail = 'two\nlines', hint = 'a hint', errcode = 'P1234'; end $$")
    at.execute("do $$ begin raise warning 'mind the gap'; raise notice 'not logged'; end $$")
    at.execute("begin")
    at.execute("declare c cursor for select * from item order by id")
    at.execute("fetch 5 from c")
    at.execute("fetch all from c")
    at.execute("close c")
    fails(at.execute, "select no_such_function(1)")
    fails(at.execute, "select 1")
    at.execute("rollback")
    at.execute("prepare p (int) as select name from item where id = $1")
    at.execute("execute p (1)")
    at.execute("set application_name = 'renamed'")
    at.execute("select 'after'")
    at.execute("create table copied as select * from item")
    at.execute("explain select * from item")
    at.execute("vacuum item")
    import io
    at.copy_expert("copy item (id, name) from stdin", io.StringIO("100\tfrom copy\n101\t\\N\n"))
    at.copy_expert("copy item to stdout with csv", io.StringIO())
    fails(at.copy_expert, "copy item (id) from stdin", io.StringIO("x\n"))
    at.execute("drop table copied")
    db.close()

def extended():
    with psycopg.connect(APP + " application_name=extended", autocommit=True) as db:
        db.pgconn.exec_(b"")
        db.pgconn.exec_(b" ; ")
        db.execute("select %s::int, %s::text, %s::text", (1, "it's \"quoted\", with a comma", None))
        db.execute("select %s::text", ("two\nlines\tand a tab \\ back",))
        db.execute("select %s::int[], %s::text[]", ([1, 2, None], ["a", 'b "c"', "d,e", ""]))
        db.execute("select %s::jsonb, %s::bytea", (Jsonb({"a": [1, "x"]}), b"\x00\x01\xff"))
        for n in range(7):
            db.execute("select name from item where id = %s", (n,), prepare=n > 1)
        fails(db.execute, "select %s::int / 0", (1,))
        fails(db.execute, "select %s::int", ("no number",))
        fails(db.execute, "select syntax error %s", (1,))
        fails(db.execute, "insert into item (id, name) values (%s, %s)", (1, "dup"))
        with db.transaction():
            db.execute("insert into item (id, name) values (%s, %s)", (200, "tx"))
            db.execute("update item set price = price + %s where id = %s", (decimal.Decimal("0.25"), 200))
        with db.cursor("named") as at:
            pass
        with db.transaction(), db.cursor("named") as at:
            at.execute("select id from item where id < %s order by id", (30,))
            at.fetchmany(10)
            at.fetchmany(10)
        with db.pipeline():
            for n in range(3):
                db.execute("select %s::int + 1", (n,))
        def pipeline():
            with db.pipeline():
                db.execute("select %s::int", (1,))
                db.execute("select 1 / %s::int", (0,))
                db.execute("select %s::int", (2,))
        fails(pipeline)
        with db.cursor() as at, at.copy("copy (select id, name from item where id < 5) to stdout") as copy:
            for _ in copy:
                pass

def binary():
    with psycopg.connect(APP + " application_name=binary", autocommit=True) as db:
        at = db.cursor(binary=True)
        at.execute("select %b::int, %b::bigint, %b::float8, %b::text, %b::bool", (7, 2**40, 1.5, "bin'ary", True))
        at.execute("select %b::uuid, %b::date, %b::timestamptz, %b::time, %b::interval",
            (uuid.UUID(int=0x1234567890abcdef1234567890abcdef), datetime.date(2026, 2, 28),
             datetime.datetime(2026, 2, 28, 1, 2, 3, 450000, tzinfo=datetime.timezone.utc), datetime.time(1, 2, 3), datetime.timedelta(days=3, seconds=4)))
        at.execute("select %b::numeric, %b::bytea, %b::int[], %b::text[]", (decimal.Decimal("12.340"), b"\x00\xff", [1, 2, 3], ["a", 'b "c" \\', "", "NULL"]))
        at.execute("select %b::jsonb, %b::timestamp, %b::inet", (Jsonb({"k": "v"}), datetime.datetime(2026, 2, 28), ipaddress.ip_address("10.0.0.1")))

async def with_asyncpg():
    db = await asyncpg.connect(host="127.0.0.1", port=PORT, user="app", database="shop", ssl=False, server_settings={"application_name": "asyncpg"})
    await db.fetch("select id, name from item where id = $1 and name <> $2", 1, "x'y")
    statement = await db.prepare("select $1::int8 * 2")
    for n in range(3):
        await statement.fetchval(n)
    async with db.transaction():
        async for _ in db.cursor("select id from item where id < $1 order by id", 25, prefetch=10):
            pass
    await db.executemany("insert into item (id, name, data) values ($1, $2, $3)", [(300, "many", b"\x01"), (301, None, None)])
    await db.copy_records_to_table("item", records=[(400, "r")], columns=["id", "name"])
    try:
        await db.fetch("select $1::int / 0", 5)
    except asyncpg.PostgresError:
        pass
    await db.close()

def cancels():
    with psycopg.connect(APP + " application_name=canceled", autocommit=True) as db:
        timer = threading.Timer(0.2, db.cancel)
        timer.start()
        fails(db.execute, "select pg_sleep(30)")
        timer.join()
        db.execute("set statement_timeout = 50")
        fails(db.execute, "select pg_sleep(%s)", (30,))

def logins():
    for user, password in [("u_scram", "pw-scram-secret"), ("u_md5", "pw-md5-secret")]:
        with psycopg2.connect(AT + f" user={user} password={password}") as db:
            db.cursor().execute("select 1")
    fails(psycopg2.connect, AT + " user=u_scram password=wrong")
    fails(psycopg2.connect, AT + " user=u_md5 password=wrong")
    fails(psycopg2.connect, AT + " user=u_reject")
    fails(psycopg2.connect, AT + " user=nobody")
    fails(psycopg2.connect, AT.replace("shop", "no_such_db") + " user=app")

def ends():
    victim = psycopg2.connect(APP + " application_name=victim")
    with psycopg2.connect(AT + " user=postgres application_name=killer") as db:
        db.cursor().execute("select pg_terminate_backend(%s)", (victim.get_backend_pid(),))
    time.sleep(0.1)
    fails(victim.cursor().execute, "select 1")
    lost = psycopg2.connect(APP + " application_name=lost")
    lost.cursor().execute("select 1")
    import os
    os.close(lost.fileno())  # without Terminate
    time.sleep(0.1)

simple(); extended(); binary(); asyncio.run(with_asyncpg()); cancels(); logins(); ends()
