"""A shop for some seconds: what a summary has a section for."""

import os
import threading
import time

import psycopg

SERVER = dict(host="127.0.0.1", port=5415, dbname="shop", user="app", sslmode="disable", gssencmode="disable")


def connect(application, **more):
    return psycopg.connect(**{**SERVER, "application_name": application, **more})


def attempt(what):
    try:
        what()
    except psycopg.Error as error:
        print(type(error).__name__, error)


def migrate():
    with connect("migrate", user="postgres", autocommit=True) as db:
        db.execute("DROP TABLE IF EXISTS item, purchase")
        db.execute("DROP ROLE IF EXISTS auditor")
        db.execute("CREATE TABLE purchase (id int PRIMARY KEY, customer text, total numeric)")
        db.execute("CREATE TABLE item (id int PRIMARY KEY, purchase_id int REFERENCES purchase, name text, price numeric)")
        db.execute("INSERT INTO purchase SELECT i, 'customer ' || i % 20, i FROM generate_series(1, 400) i")
        db.execute("INSERT INTO item SELECT i, i % 400 + 1, 'thing ' || i, i FROM generate_series(1, 1600) i")
        db.execute("GRANT ALL ON purchase, item TO PUBLIC")
        db.execute("CREATE ROLE auditor")
        db.execute("GRANT SELECT ON purchase TO auditor")
        db.execute("SET ROLE auditor")
        db.execute("RESET ROLE")
        db.execute("COPY purchase TO PROGRAM 'cat > /dev/null'")
        db.execute("REVOKE ALL ON purchase FROM auditor")
        db.execute("DROP ROLE auditor")


def web(number):
    with connect("web", user="u_scram", password="pw-scram-secret") as db:
        for page in range(4):
            with db.transaction():
                orders = db.execute("SELECT id, total FROM purchase WHERE customer = %s ORDER BY id LIMIT 20", [f"customer {number + page}"]).fetchall()
                for id, _ in orders:
                    db.execute("SELECT name, price FROM item WHERE purchase_id = %s", [id]).fetchall()
            db.execute("UPDATE purchase SET total = total + 1 WHERE id = %s", [number * 10 + page])
            db.commit()
        attempt(lambda: db.execute("INSERT INTO item VALUES (%s, %s, 'twice', 1)", [number + 1, 1]))


def cron():
    for tick in range(12):
        with connect("cron", user="u_pass", password="pw-clear-secret", autocommit=True) as db:
            db.execute("SELECT count(*) FROM purchase WHERE total > %s", [tick], prepare=False)


def report():
    with connect("report", user="u_md5", password="pw-md5-secret", host="::1") as db:
        db.execute("SELECT * FROM item").fetchall()
        with db.cursor().copy("COPY item TO STDOUT") as copy:
            for _ in copy:
                pass


def deadlock():
    both = threading.Barrier(2)

    def one(application, first, second):
        with connect(application) as db:
            db.execute("UPDATE purchase SET total = 0 WHERE id = %s", [first])
            both.wait()
            attempt(lambda: db.execute("UPDATE purchase SET total = 0 WHERE id = %s", [second]))

    threads = [threading.Thread(target=one, args=args) for args in [("batch-a", 1, 2), ("batch-b", 2, 1)]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def forgetful():
    with connect("forgetful") as db:
        db.execute("SELECT total FROM purchase WHERE id = %s FOR UPDATE", [7])
        with connect("impatient") as other:
            other.execute("SET lock_timeout = '200ms'")
            attempt(lambda: other.execute("UPDATE purchase SET total = 1 WHERE id = %s", [7]))
        time.sleep(1.5)


def canceled():
    with connect("slow") as db:
        threading.Timer(0.3, db.cancel_safe).start()
        attempt(lambda: db.execute("SELECT pg_sleep(60)"))
        db.rollback()
        db.execute("SET statement_timeout = '150ms'")
        attempt(lambda: db.execute("SELECT pg_sleep(%s)", [30]))


def refused():
    for _ in range(3):
        attempt(lambda: connect("guess", user="u_scram", password="wrong"))
    attempt(lambda: connect("guess", dbname="nowhere"))


def still_running():
    db = connect("nightly")
    db.execute("SELECT count(*), pg_sleep(30) FROM purchase GROUP BY customer LIMIT %s", [1])


migrate()
threads = [threading.Thread(target=web, args=[number]) for number in range(3)]
threads += [threading.Thread(target=what) for what in (cron, report, deadlock, forgetful, canceled, refused)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
threading.Thread(target=still_running, daemon=True).start()
time.sleep(1)
with connect("late") as db:
    db.execute("SELECT 1")
print("stop the capture now")
time.sleep(2)
os._exit(0)
