#!/bin/bash
# psql: the simple protocol as people use it.
export PGHOST=127.0.0.1 PGUSER=app PGDATABASE=shop PGPORT=$PORT PGSSLMODE=disable PGGSSENCMODE=disable PGTZ=UTC
psql="psql -X -q"
PGAPPNAME=psql-interactive $psql >/dev/null 2>&1 <<'S'
SELECT 1 AS one, 'größe' AS word, '' AS empty, NULL AS nothing;
INSERT INTO item VALUES (1, 'Öl "extra"', 12.50, 0.1, '2024-02-29 12:34:56.789+00', '2024-02-29', true, '{a,"b c",NULL}', '{1,2,NULL}', '{"k": [1, null, "ü"]}', '\xdeadbeef'),
  (2, '', -0.01, 'NaN', 'infinity', '0044-03-15 BC', false, '{}', '{}', 'null', ''),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT * FROM item ORDER BY id;
-- a comment before
SELECT id /* and one inside */ FROM item WHERE id > 1 -- and one behind
 ORDER BY id;
SELECT * FROM item WHERE name = 'it''s' OR name = E'tab\there' OR name = $$dollar$$;
SELECT 1/0;
SELECT nothing FROM nowhere;
BEGIN;
UPDATE item SET price = price + 1 WHERE id = 1;
SELECT price FROM item WHERE id = 1;
SELEC;
SELECT 'never runs';
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SAVEPOINT s1;
INSERT INTO item (id) VALUES (1);
ROLLBACK TO SAVEPOINT s1;
INSERT INTO item (id) VALUES (4);
RELEASE s1;
COMMIT;
PREPARE by_id (int, text) AS SELECT name, $2 FROM item WHERE id = $1;
EXECUTE by_id(1, 'x');
EXECUTE by_id(2, NULL);
DEALLOCATE by_id;
EXECUTE by_id(3, 'gone');
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id, name FROM item ORDER BY id;
FETCH 2 FROM c;
FETCH ALL FROM c;
FETCH BACKWARD 1 FROM c;
MOVE FIRST FROM c;
CLOSE c;
COMMIT;
DO $$ BEGIN RAISE NOTICE 'noticed %', 42; RAISE WARNING 'warned'; END $$;
DROP TABLE IF EXISTS nowhere;
LISTEN news;
NOTIFY news, 'the payload';
UNLISTEN news;
\copy item (id, name) FROM STDIN (FORMAT csv)
30,dreißig
31,
\.
SET application_name = 'psql-renamed';
EXPLAIN (COSTS off) SELECT * FROM item WHERE id = 1;
CREATE TEMP TABLE t AS SELECT generate_series(1, 10) AS i;
DELETE FROM t WHERE i % 2 = 0 RETURNING i;
UPDATE t SET i = i + 100;
MERGE INTO t USING (VALUES (101), (999)) v(i) ON t.i = v.i WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.i);
SELECT i FROM t WHERE i IN (1, 2, 3);
SELECT i FROM t WHERE i IN (1, 2, 3, 4, 5);
VALUES (1, 'a'), (2, 'b');
TABLE t;
SELECT count(*) FROM item \; SELECT 'two', 'in one' \; SELECT 3, 4, 5;
SELECT 1, 'before', 2, 3 \; SELECT 1/0 \; SELECT 'never';
;
SHOW server_encoding;
RESET ALL;
DISCARD ALL;
S
PGAPPNAME=psql-command $psql -c "CREATE TEMP TABLE m (i int); INSERT INTO m VALUES (1), (2); SELECT * FROM m; SELECT count(*) FROM m" \
  -c "BEGIN; DELETE FROM m; ROLLBACK; SELECT count(*) FROM m;" -c "SELECT 'third -c'" >/dev/null 2>&1
PGAPPNAME=psql-command-error $psql -c "INSERT INTO event (note) VALUES ('undone'); SELECT 1/0; SELECT 'never'" >/dev/null 2>&1
printf 'id,name\n5,five\n6,"six, ""quoted"""\n7,\n' >"$TMP/in.csv"
PGAPPNAME=psql-copy $psql >/dev/null 2>&1 <<S
\copy item (id, name) FROM '$TMP/in.csv' (FORMAT csv, HEADER)
\copy item TO '$TMP/out.txt'
\copy (SELECT id, name FROM item ORDER BY id) TO '$TMP/out.csv' (FORMAT csv)
\copy item TO '$TMP/out.bin' (FORMAT binary)
\copy item (id, name) FROM '$TMP/in.csv' (FORMAT csv)
COPY event (note) FROM STDIN;
one
two
\.
COPY event TO STDOUT;
S
# a backslash command asks the catalogs; a statement with a name of many lines; a variable; \gexec, \gset, \watch
PGAPPNAME=psql-backslash $psql -v id=1 >/dev/null 2>&1 <<'S'
\dt
\d item
SELECT name
  FROM item
 WHERE id = :id;
SELECT count(*) AS n FROM event \gset
SELECT :n;
SELECT format('SELECT %s', i) FROM generate_series(1, 3) i \gexec
\set FETCH_COUNT 2
SELECT id FROM item ORDER BY id;
S
# Ctrl-C: a cancel request
PGAPPNAME=psql-cancel timeout -s INT 0.5 $psql -c "SELECT pg_sleep(30)" >/dev/null 2>&1
PGAPPNAME=psql-timeout $psql >/dev/null 2>&1 <<'S'
SET statement_timeout = '50ms';
SELECT pg_sleep(10);
SELECT 'goes on';
S
PGAPPNAME=psql-encoding PGCLIENTENCODING=LATIN1 $psql >/dev/null 2>&1 <<S
SELECT 'gr$(printf '\xf6\xdf')e' AS word;
S
true
