SELECT * FROM account WHERE id IN (1, 2, 3);
SELECT generate_series(1, 50) AS i;
BEGIN;
INSERT INTO account VALUES (90001, 'a', 'b'), (90002, 'c', 'd') ON CONFLICT DO NOTHING;
DELETE FROM account WHERE id > 90000;
COMMIT;
SELECT 1/0;
SELECT owner FROM account ORDER BY id LIMIT 7;
CREATE TABLE IF NOT EXISTS side (i int);
INSERT INTO side SELECT generate_series(1, 30);
DROP TABLE side;
COPY account (id, owner) FROM stdin;
95001	x
95002	y
\.
DELETE FROM account WHERE id > 95000;
