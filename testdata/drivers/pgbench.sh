#!/bin/bash
# pgbench.sh simple|extended|prepared: statements of several kinds by two clients; pipelines where the protocol has them
here=$(dirname "$0")
tx=$here/pgbench-pipeline.sql
[ "$1" != simple ] || tx=$here/pgbench-tx.sql
"$B15/pgbench" "host=127.0.0.1 port=$PORT user=app dbname=shop sslmode=disable application_name=pgbench-$1" \
  -n -M "$1" -c 2 -j 1 -t 12 --random-seed=1 -f "$here/pgbench.sql" -f "$tx" >/dev/null 2>&1
