const pg = require('pg'), postgres = require('postgres');
const where = { host: '127.0.0.1', port: +process.env.PORT, user: 'app', database: 'shop' };

(async () => {
  const c = new pg.Client({ ...where, application_name: 'mixed-node-postgres' });
  await c.connect();
  for (let i = 0; i < 400; i++) {
    await c.query('SELECT name, tags FROM item WHERE id = $1', [i * 2500]);
    await c.query({ name: 'events', text: 'SELECT count(*) FROM event WHERE id < $1 AND note <> $2', values: [i, `it's ${i}`] });
    if (i % 40 === 0) await c.query('SELECT nothing FROM nowhere').catch(() => {});
    if (i % 10 === 0) await c.query(`SELECT ${i} AS n; SELECT 'two'`);
  }
  await c.end();
})();

(async () => {
  const sql = postgres({ ...where, max: 1, connection: { application_name: 'mixed-postgres-js' } });
  for (let i = 0; i < 100; i++)
    await Promise.allSettled([0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(k => sql`SELECT ${i}::int + 1 / ${i % 10 === 0 ? k : 1}::int AS n, ${k % 2 ? null : 'ä'}::text AS t`));
  await sql.end();
})();
