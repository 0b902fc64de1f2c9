\set n random(1, 100)
\startpipeline
BEGIN;
INSERT INTO event (note) VALUES ('note ' || :n) RETURNING id;
SELECT :n + 1 AS next;
DELETE FROM event WHERE id = :n;
COMMIT;
\endpipeline
