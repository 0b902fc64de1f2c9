\set id random(1, 40000)
\set owner random(0, 4999)
SELECT note FROM account WHERE id = :id;
SELECT count(*) FROM account WHERE owner = 'owner ' || :owner;
UPDATE account SET note = 'changed' WHERE id = :id;
