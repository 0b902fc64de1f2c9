\set id random(1, 1000000)
\set price random(1, 99999) / 100.0
INSERT INTO item (id, name, price, made) VALUES (:id, 'name ' || :id, :price, to_timestamp(:id)) ON CONFLICT (id) DO NOTHING;
SELECT id, name, price FROM item WHERE id = :id;
SELECT count(*), sum(price) FROM item WHERE id > :id AND price IN (1, 2, 3);
UPDATE item SET weight = :price, tags = ARRAY['x', 'y'] WHERE id = :id;
SELECT generate_series(1, 5) AS i, :id AS id;
