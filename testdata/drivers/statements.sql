-- What was counted, one statement a line. Identifiers are larger than what JSON's numbers hold everywhere.
SELECT json_build_object('user', rolname, 'database', datname, 'query_id', queryid::text, 'toplevel', toplevel, 'query', query,
                         'calls', calls, 'rows', rows)
  FROM pg_stat_statements s JOIN pg_roles r ON r.oid = userid JOIN pg_database d ON d.oid = dbid
 WHERE rolname = 'app'
 ORDER BY query COLLATE "C", queryid;
