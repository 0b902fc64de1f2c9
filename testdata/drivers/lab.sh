#!/bin/bash
# Servers that log everything, and captures of what drivers say to them, with what the servers say of the same run.
#
#   lab.sh up                                   PostgreSQL 15 on port 5415 and 18 on port 5432, PgBouncer on 6432 (to 5432)
#   lab.sh record FOLDER 15|18 FILTER COMMAND   runs COMMAND in FOLDER, writes capture.pcap.gz, server-log.jsonl, statements.json
#   lab.sh down
#
# All of it lives in a network namespace of its own, so that the ports are free and MTU and offloading can be those of a
# real network. Needs root; LAB is a folder for the clusters, B15 and B18 are the folders of the servers' programs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
LAB=${LAB:?a folder for the clusters}
B15=${B15:-/usr/lib/postgresql/15/bin}
B18=${B18:-/usr/lib/postgresql/18/bin}
NS=${NS:-drivers}
export B15
inside() { ip netns exec "$NS" "$@"; }
as() { inside setpriv --reuid pglab --regid pglab --clear-groups env "LD_LIBRARY_PATH=$(dirname "$B18")/lib" "$@"; }
admin() { psql -X -q -v ON_ERROR_STOP=1 -h "$LAB" -p "$port" -U postgres "$@"; }

cluster() { # version, programs, port
  local data=$LAB/$1 bin=$2
  port=$3
  if [ ! -f "$data/PG_VERSION" ]; then
    as "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >/dev/null
    cat >>"$data/postgresql.conf" <<C
port = $port
listen_addresses = '127.0.0.1'
unix_socket_directories = '$LAB'
timezone = 'UTC'
log_timezone = 'UTC'
fsync = off
autovacuum = off
shared_preload_libraries = 'pg_stat_statements'
logging_collector = on
log_directory = 'log'
log_filename = 'log'
log_rotation_size = 0
log_rotation_age = 0
log_destination = 'jsonlog'
log_statement = 'all'
log_min_duration_statement = 0
log_parameter_max_length = -1
log_connections = on
log_disconnections = on
C
  fi
  as "$bin/pg_ctl" -D "$data" -w -l "$LAB/$1.out" start >/dev/null
  admin -d postgres -At >/dev/null <<'S'
SELECT 'CREATE ROLE app LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') \gexec
SELECT 'CREATE DATABASE shop OWNER app' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'shop') \gexec
S
  admin -d shop -c 'CREATE EXTENSION IF NOT EXISTS pg_stat_statements' 2>/dev/null
}

case $1 in
up)
  id pglab >/dev/null 2>&1 || useradd -m pglab
  mkdir -p "$LAB" && chown pglab "$LAB"
  ip netns add "$NS"
  inside ip link set lo up mtu 1500
  inside ethtool -K lo tso off gso off gro off
  cluster 15 "$B15" 5415
  cluster 18 "$B18" 5432
  cp "$here/pgbouncer.ini" "$LAB"
  echo '"app" ""' >"$LAB/users.txt"
  (cd "$LAB" && as /usr/sbin/pgbouncer -q -d "$LAB/pgbouncer.ini")
  ;;
down)
  kill "$(cat "$LAB/pgbouncer.pid")" || true
  as "$B15/pg_ctl" -D "$LAB/15" -m fast stop
  as "$B18/pg_ctl" -D "$LAB/18" -m fast stop
  ip netns del "$NS"
  ;;
record)
  folder=$(cd "$2" && pwd) version=$3 filter=$4
  shift 4
  case $version in 15) port=5415 ;; 18) port=5432 ;; esac
  export PORT=$port
  admin -d shop -f "$here/schema.sql"
  cd "$folder"
  log=$LAB/$version/log/log.json
  from=$(stat -c %s "$log")
  admin -d shop -c 'SELECT pg_stat_statements_reset()' >/dev/null
  rm -f "$LAB/tcpdump"
  ip netns exec "$NS" tcpdump -i lo -n -s 0 -B 65536 -Z root --immediate-mode -U -w capture.pcap "$filter" 2>"$LAB/tcpdump" &
  trap "kill $!" EXIT
  until grep -qs 'listening on' "$LAB/tcpdump"; do sleep 0.05; done
  inside "$@"
  sleep 1
  trap - EXIT
  kill $!
  wait $! || true
  grep 'dropped by kernel' "$LAB/tcpdump"
  admin -d shop -At >statements.json -f "$here/statements.sql"
  tail -c +$((from + 1)) "$log" | python3 "$here/log.py" >server-log.jsonl
  gzip -9nf capture.pcap
  ;;
esac
