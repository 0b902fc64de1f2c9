// postgres.js: named statements made of templates, pipelines, cursors, COPY, cancel.
const postgres = require('postgres');
const options = (name, more) => ({ host: '127.0.0.1', port: +process.env.PORT, user: 'app', database: 'shop', max: 1, onnotice: n => console.log(n.message), connection: { application_name: name }, ...more });
const fails = async q => { try { await q; } catch (e) { console.log(e.code); } };
const { pipeline } = require('stream/promises'), { Readable, Writable } = require('stream');

(async () => {
  const sql = postgres(options('postgres-js'));
  await sql`INSERT INTO item (id, name, price, weight, made, sold, ok, tags, sizes, doc, raw) VALUES (${1}, ${'Öl "extra"'}, ${'12.50'}, ${0.1}, ${new Date('2024-02-29T12:34:56.789Z')}, ${'2024-02-29'}, ${true}, ${['a', 'b c', null]}, ${[1, 2, 3]}, ${sql.json({ k: [1, null, 'ü'] })}, ${Buffer.from('dead00', 'hex')})`;
  await sql`INSERT INTO item ${sql([{ id: 2, name: '', price: '-0.01', ok: false }, { id: 3, name: null, price: null, ok: null }])}`;
  console.log(await sql`SELECT * FROM item ORDER BY id`);
  for (let i = 1; i < 5; i++) await sql`SELECT name FROM item WHERE id = ${i}`;
  // sent at once, without waiting
  console.log((await Promise.all([1, 2, 3, 4, 5].map(i => sql`SELECT ${i}::int * 2 AS n`))).map(r => r[0].n));
  const results = await Promise.allSettled([sql`SELECT 'before' AS a`, sql`SELECT 1 / ${0}::int`, sql`SELECT 'behind' AS b`]);
  console.log(results.map(r => r.status));
  await sql`SELECT * FROM item WHERE id IN ${sql([1, 2, 3])}`;
  await sql`SELECT * FROM item WHERE id = ANY(${[1, 2]})`;
  await sql.unsafe("SELECT 1, 2, 3; SELECT 'two', 'words'");
  await sql.unsafe('SELECT $1::text', ['unnamed']);
  await sql`SELECT 1 AS simple`.simple();
  await sql`DO $$ BEGIN RAISE NOTICE 'noticed'; END $$`;
  await fails(sql`SELECT 1/0`);
  await fails(sql`SELEC ${1}`);
  await fails(sql`INSERT INTO event (note) VALUES (${null})`);
  await fails(sql.begin(async t => {
    await t`INSERT INTO event (note) VALUES (${'undone'})`;
    await t.savepoint(s => s`UPDATE event SET note = ${'changed'}`);
    await fails(t.savepoint(s => s`INSERT INTO item (id) VALUES (${1})`));
    throw { code: 'of the client' };
  }));
  await sql.begin('isolation level serializable', t => [t`SELECT count(*) FROM event`, t`INSERT INTO event (note) VALUES (${'kept'}) RETURNING id`]);
  for await (const rows of sql`SELECT i FROM generate_series(1, ${10}::int) i`.cursor(4)) console.log(rows.length);
  await sql`SELECT i FROM generate_series(1, 9) i`.cursor(2, () => sql.CLOSE);
  await sql`SELECT i FROM generate_series(1, 3) i`.forEach(() => {});
  await pipeline(Readable.from(['10\tzehn\n', '11\telf ü\n']), await sql`COPY item (id, name) FROM STDIN`.writable());
  await pipeline(await sql`COPY item (id, name) TO STDOUT`.readable(), new Writable({ write: (_, __, done) => done() }));
  await sql`SELECT name FROM item WHERE id = ${1}`.describe();
  const { unlisten } = await sql.listen('news', p => console.log(p));
  await sql.notify('news', 'the payload');
  await new Promise(r => setTimeout(r, 100));
  await unlisten();
  const slow = sql`SELECT pg_sleep(${30})`;
  setTimeout(() => slow.cancel(), 300);
  await fails(slow);
  await sql`SELECT 'goes on'`;
  await sql.end();
  const plain = postgres(options('postgres-js-unprepared', { prepare: false }));
  for (let i = 0; i < 3; i++) await plain`SELECT ${i}::int AS n`;
  await plain.end();
})();
