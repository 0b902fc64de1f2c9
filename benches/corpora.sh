#!/bin/sh
# Creates the captures for the kit, with a real server, and packets as on a network: MTU 1500, no offloading.
#
#   benches/corpora.sh [DIR]
#
# Must run as root, because it captures on lo, and changes the settings of lo in the meantime. The server must listen on a
# loopback address; PGHOST, PGPORT, PGUSER and similar variables select it. There must be no database pgdissect_bench: it
# is created and dropped. Existing captures in DIR are kept.
set -eu

dir=${1:-target/bench}
database=pgdissect_bench
export PGHOST="${PGHOST:-127.0.0.1}" PGPORT="${PGPORT:-5432}" PGSSLMODE=disable PGGSSENCMODE=disable

say() { echo "corpora.sh: $*" >&2; }

missing=
for corpus in simple prepared tpcb select copy changes; do
  [ -e "$dir/$corpus.pcap" ] || missing="$missing $corpus"
done
[ -n "$missing" ] || exit 0
[ "$(id -u)" -eq 0 ] || { say "root is needed to capture"; exit 2; }
for tool in tcpdump ethtool ip psql pgbench; do
  command -v $tool >/dev/null || { say "$tool is needed"; exit 2; }
done

mkdir -p "$dir"
mtu=$(cat /sys/class/net/lo/mtu)
offloads=$(ethtool -k lo | awk -F'[: ]+' '
  $1 == "tcp-segmentation-offload" && $2 == "on" { print "tso" }
  $1 == "generic-segmentation-offload" && $2 == "on" { print "gso" }
  $1 == "generic-receive-offload" && $2 == "on" { print "gro" }')
tcpdump=
has_database=
has_slot=

restore() {
  [ -z "$tcpdump" ] || kill "$tcpdump" 2>/dev/null || true
  ip link set lo mtu "$mtu"
  for offload in $offloads; do ethtool -K lo "$offload" on; done
  [ -z "$has_slot" ] || psql -Xq -c "SELECT pg_drop_replication_slot('$slot')" -o /dev/null || true
  [ -z "$has_database" ] || psql -Xq -d postgres -c "DROP DATABASE $database" || true
  rm -f "$dir"/*.part "$dir"/*.said
}
trap restore EXIT
trap 'exit 130' INT TERM

# capture CORPUS COMMAND...
capture() {
  corpus=$1
  shift
  [ ! -e "$dir/$corpus.pcap" ] || return 0
  say "$corpus: $*"
  tcpdump -i lo -n -s 0 -B 131072 -Z root -w "$dir/$corpus.part" "tcp port $PGPORT" 2>"$dir/$corpus.said" &
  tcpdump=$!
  until grep -q 'listening on' "$dir/$corpus.said"; do
    kill -0 "$tcpdump" || { cat "$dir/$corpus.said" >&2; exit 1; }
    sleep 0.1
  done
  "$@" >/dev/null
  # The kernel delivers a packet to tcpdump within a second.
  sleep 2
  kill -INT "$tcpdump"
  wait "$tcpdump" || true
  tcpdump=
  grep -q '^0 packets dropped by kernel' "$dir/$corpus.said" || {
    say "$corpus: not all packets were captured"
    cat "$dir/$corpus.said" >&2
    exit 1
  }
  mv "$dir/$corpus.part" "$dir/$corpus.pcap"
}

psql -Xq -d postgres -c "CREATE DATABASE $database"
has_database=1
export PGDATABASE=$database
# A million accounts.
pgbench -q -i -s 10 2>/dev/null

ip link set lo mtu 1500
ethtool -K lo tso off gso off gro off

# A transaction has five, nine, and 57 messages: about 850,000, 2,150,000 and 2,130,000 in total.
capture simple pgbench -n -S -M simple -c 4 -j 2 -t 42400
capture prepared pgbench -n -S -M prepared -c 4 -j 2 -t 59700
capture tpcb pgbench -n -M prepared -c 4 -j 2 -t 9350
capture select psql -Xq -c 'SELECT * FROM pgbench_accounts'
capture copy psql -Xq -c 'COPY pgbench_accounts TO STDOUT'

# The same rows as changes of logical replication.
[ "$(psql -XAtc 'SHOW wal_level')" = logical ] || { say "changes: left out, for the server's wal_level is not logical"; exit 0; }
slot=pgdissect_bench
psql -Xq -c "CREATE PUBLICATION $slot FOR TABLE pgbench_accounts" \
  -c "SELECT pg_create_logical_replication_slot('$slot', 'pgoutput')" -o /dev/null
has_slot=1
psql -Xq -c 'UPDATE pgbench_accounts SET abalance = abalance + 1'
capture changes pg_recvlogical -d "$database" --slot "$slot" --start --no-loop -f - \
  --endpos "$(psql -XAtc 'SELECT pg_current_wal_lsn()')" -o proto_version=1 -o publication_names=$slot
