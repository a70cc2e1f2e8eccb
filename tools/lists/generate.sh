#!/usr/bin/env bash
# Writes src/sql/classify/lists/generated.rs from a fresh PostgreSQL 15 and the three text files beside this script.
# Use: tools/lists/generate.sh [folder of the server's binaries]. Needs a user other than root to run the server;
# as root it uses `postgres`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=${1:-/usr/lib/postgresql/15/bin}
out=$here/../../src/sql/classify/lists/generated.rs
scratch=$(mktemp -d /tmp/cs-lists.XXXXXX)
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid postgres --regid postgres --clear-groups "$@"; else "$@"; fi; }
stop() { as "$bin/pg_ctl" -D "$scratch/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$scratch"; }
trap stop EXIT
[ "$(id -u)" != 0 ] || chown postgres "$scratch"
cd "$scratch"
as "$bin/initdb" -D "$scratch/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >/dev/null
as "$bin/pg_ctl" -D "$scratch/data" -w -l "$scratch/log" \
    -o "-c listen_addresses='' -c unix_socket_directories=$scratch -p 5432" start >/dev/null
psql -XAtq -h "$scratch" -p 5432 -U postgres -d postgres -f "$here/lists.sql" | LC_ALL=C sort -u > "$scratch/raw"
version=$(psql -XAtq -h "$scratch" -p 5432 -U postgres -d postgres -c 'SHOW server_version_num')
python3 "$here/write.py" "$scratch/raw" "$version" "$here" > "$scratch/generated.rs"
mv "$scratch/generated.rs" "$out"
chmod 644 "$out"
