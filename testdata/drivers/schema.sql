-- The tables that all of them use, made anew for each run.
SET client_min_messages = warning;
SET log_statement = 'none';
SET log_min_duration_statement = -1;
DROP TABLE IF EXISTS item, event;
CREATE TABLE item (
    id int PRIMARY KEY,
    name text,
    price numeric(10, 2),
    weight float8,
    made timestamptz,
    sold date,
    ok bool,
    tags text[],
    sizes int[],
    doc jsonb,
    raw bytea
);
CREATE TABLE event (id serial PRIMARY KEY, note text NOT NULL);
ALTER TABLE item OWNER TO app;
ALTER TABLE event OWNER TO app;
