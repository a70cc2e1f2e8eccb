#!/usr/bin/env bash
# Writes src/catalog/postgres/contrib/generated.rs from a fresh PostgreSQL 15 with contrib, contrib.txt and
# contrib_also.txt. Use: tools/lists/contrib.sh [folder of the server's binaries]. Needs a user other than root to run
# the server; as root it uses `postgres`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=${1:-/usr/lib/postgresql/15/bin}
out=$here/../../src/catalog/postgres/contrib/generated.rs
scratch=$(mktemp -d /tmp/cs-contrib.XXXXXX)
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid postgres --regid postgres --clear-groups "$@"; else "$@"; fi; }
ask() { psql -XAtq -v ON_ERROR_STOP=1 -h "$scratch" -p 5432 -U postgres -d postgres "$@"; }
stop() { as "$bin/pg_ctl" -D "$scratch/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$scratch"; }
trap stop EXIT
[ "$(id -u)" != 0 ] || chown postgres "$scratch"
cd "$scratch"
as "$bin/initdb" -D "$scratch/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >/dev/null
as "$bin/pg_ctl" -D "$scratch/data" -w -l "$scratch/log" \
    -o "-c listen_addresses='' -c unix_socket_directories=$scratch -p 5432" start >/dev/null
ask -c "SELECT format('CREATE EXTENSION IF NOT EXISTS %I CASCADE;', name) FROM pg_available_extensions ORDER BY name" \
    >"$scratch/create.sql"
ask -c 'SET client_min_messages = error' -f "$scratch/create.sql"
# C functions as library and symbol, and the SQL bodies of citext as they are: JSON, one a line.
ask -c "SELECT jsonb_build_array(regexp_replace(p.probin, '^.libdir/', ''), p.prosrc)
          FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE l.lanname = 'c' AND p.probin LIKE '\$libdir/%'" \
    >"$scratch/symbols"
ask -c "SELECT DISTINCT to_jsonb(p.prosrc) FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
          JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
          JOIN pg_extension e ON e.oid = d.refobjid WHERE l.lanname = 'sql' AND e.extname = 'citext'" >"$scratch/bodies"
version=$(ask -c 'SHOW server_version_num')
python3 "$here/contrib.py" "$scratch" "$version" "$here" >"$scratch/generated.rs"
mv "$scratch/generated.rs" "$out"
chmod 644 "$out"
