// node-postgres (pg): the simple protocol without parameters, the extended one with them, named statements, cursors, a pool.
const pg = require('pg'), Cursor = require('pg-cursor'), QueryStream = require('pg-query-stream');
const options = name => ({ host: '127.0.0.1', port: +process.env.PORT, user: 'app', database: 'shop', application_name: name });
const fails = async (c, ...q) => { try { await c.query(...q); } catch (e) { console.log(e.code); } };

(async () => {
  const c = new pg.Client(options('node-postgres'));
  await c.connect();
  c.on('notice', n => console.log(n.message));
  c.on('notification', n => console.log(n.payload));
  const insert = 'INSERT INTO item (id, name, price, weight, made, sold, ok, tags, sizes, doc, raw) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)';
  await c.query(insert, [1, 'Öl "extra"', '12.50', 0.1, new Date('2024-02-29T12:34:56.789Z'), '2024-02-29', true, ['a', 'b c', null, 'quo"te'], [1, 2, null], { k: [1, null, 'ü'] }, Buffer.from('dead00', 'hex')]);
  await c.query(insert, [2, '', '-0.01', NaN, null, null, false, [], [], null, Buffer.alloc(0)]);
  await c.query(insert, [3, null, null, undefined, null, null, null, null, null, null, null]);
  console.log((await c.query('SELECT * FROM item ORDER BY id')).rows);
  console.log((await c.query({ text: 'SELECT $1::int AS a, $2::text AS b', values: [1, "it's \\ 'q'"], rowMode: 'array' })).rows);
  console.log((await c.query({ text: 'SELECT $1::int4 AS a, $2::bool AS b', values: [7, true], binary: true })).rows);
  for (let i = 1; i < 5; i++)
    await c.query({ name: 'by-id', text: 'SELECT name FROM item WHERE id = $1', values: [i] });
  // queued: the next is sent when the one before is done
  await Promise.all([1, 2, 3].map(i => c.query('SELECT $1::int * 2', [i])));
  const many = await c.query("SELECT 1 AS a; SELECT 'two' AS b; CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1), (2)");
  console.log(many.length);
  await c.query("DO $$ BEGIN RAISE NOTICE 'noticed'; END $$");
  await fails(c, 'SELECT 1/0');
  await fails(c, 'SELECT 1/$1::int', [0]);
  await fails(c, 'SELEC $1', [0]);
  await fails(c, 'SELECT $1::int', ['x']);
  await fails(c, { name: 'bad', text: 'SELECT nothing FROM nowhere' });
  await c.query('BEGIN');
  await c.query('INSERT INTO event (note) VALUES ($1) RETURNING id', ['undone']);
  await fails(c, 'INSERT INTO event (note) VALUES ($1)', [null]);
  await fails(c, 'SELECT $1::text', ['never runs']);
  await c.query('ROLLBACK');
  const cursor = c.query(new Cursor('SELECT i FROM generate_series(1, $1::int) i', [10]));
  console.log(await cursor.read(4), await cursor.read(3));
  await cursor.close();
  for await (const row of c.query(new QueryStream('SELECT i FROM generate_series(1, $1::int) i', [9], { batchSize: 4 }))) row;
  await c.query('');
  await c.query('LISTEN news');
  await c.query("SELECT pg_notify($1, $2)", ['news', 'the payload']);
  await c.end();
  const pool = new pg.Pool({ ...options('node-postgres-pool'), max: 2 });
  console.log((await Promise.all([1, 2, 3, 4, 5, 6].map(i => pool.query('SELECT $1::int + 1 AS n', [i])))).map(r => r.rows[0].n));
  await pool.end();
  const t = new pg.Client({ ...options('node-postgres-timeout'), statement_timeout: 100 });
  await t.connect();
  await fails(t, 'SELECT pg_sleep($1)', [30]);
  await t.query("SELECT 'goes on'");
  // another session cancels it
  const other = new pg.Client(options('node-postgres-killer'));
  await other.connect();
  await t.query('SET statement_timeout = 0');
  const slow = fails(t, 'SELECT pg_sleep(31)');
  await new Promise(r => setTimeout(r, 200));
  await other.query('SELECT pg_cancel_backend($1)', [t.processID]);
  await slow;
  const last = fails(t, 'SELECT pg_sleep(32)');
  t.on('error', e => console.log(e.code));
  await new Promise(r => setTimeout(r, 200));
  await other.query('SELECT pg_terminate_backend($1)', [t.processID]);
  await last;
  await other.end();
})();
