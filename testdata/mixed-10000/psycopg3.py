import os, random
import psycopg

random.seed(3)
with psycopg.connect(f"host=127.0.0.1 port={os.environ['PORT']} user=app dbname=shop sslmode=disable gssencmode=disable application_name=mixed-psycopg3") as c:
    cur, binary = c.cursor(), c.cursor(binary=True)
    for i in range(300):
        n = random.randrange(1000000)
        cur.execute("INSERT INTO item (id, name, price, tags) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING", (n, f"n{i}", n / 100, ["a", str(i)]))
        binary.execute("SELECT id, name, price, weight FROM item WHERE id BETWEEN %s AND %s ORDER BY id LIMIT 3", (n, n + 1000))
        if i % 10 == 3:
            try:
                cur.execute("SELECT %s / %s", (i, 0))
            except psycopg.Error:
                c.rollback()
        elif i % 10 == 7:
            c.rollback()
        else:
            c.commit()
    with c.pipeline():
        cur.executemany("INSERT INTO event (note) VALUES (%s)", [(f"note {i}",) for i in range(500)])
    c.commit()
    for i in range(30):
        try:
            with c.pipeline():
                for k in range(10):
                    c.execute("SELECT 100 / (%s::int - 7)", (k if i % 3 == 0 else k + 10,))
        except psycopg.Error:
            pass
        c.rollback()
