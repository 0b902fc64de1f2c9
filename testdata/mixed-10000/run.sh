#!/bin/bash
# Several drivers at once.
sysctl -qw net.ipv4.tcp_timestamps=0      # smaller when compressed
trap 'sysctl -qw net.ipv4.tcp_timestamps=1' EXIT
python=$1
conninfo="host=127.0.0.1 port=$PORT user=app dbname=shop sslmode=disable application_name="
bench() { # mode, transactions, script
  "$B15/pgbench" "${conninfo}mixed-pgbench-$1" -n -M "$1" -c 2 -j 1 -t "$2" --random-seed=2 -f "$3" >/dev/null 2>&1
}
bench simple 125 ../drivers/pgbench.sql &
bench extended 125 ../drivers/pgbench-pipeline.sql &
bench prepared 200 ../drivers/pgbench-pipeline.sql &
"$python" psycopg3.py &
"$python" with_asyncpg.py &
java -cp /usr/share/java/postgresql.jar Mixed.java &
node mixed.js &
wait
