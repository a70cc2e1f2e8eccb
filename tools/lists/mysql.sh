#!/usr/bin/env bash
# Writes src/sql/classify/lists/mysql_generated.rs from the mysql_*.txt files beside this script, after trying every name in
# them on a fresh MariaDB 10.11. Use: tools/lists/mysql.sh [server program]. As root it runs the server as `nobody`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
server=${1:-/usr/sbin/mariadbd}
out=$here/../../src/sql/classify/lists/mysql_generated.rs
scratch=$(mktemp -d /tmp/cs-lists.XXXXXX)
pid=
stop() { [ -z "$pid" ] || kill "$pid" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$scratch"; }
trap stop EXIT
user=$(id -un)
if [ "$user" = root ]; then user=nobody; chown nobody "$scratch"; fi
mariadb-install-db --no-defaults --user="$user" --datadir="$scratch/data" --auth-root-authentication-method=normal \
    --skip-test-db >"$scratch/install.log" 2>&1
"$server" --no-defaults --user="$user" --datadir="$scratch/data" --socket="$scratch/socket" --skip-networking \
    --pid-file="$scratch/pid" >"$scratch/log" 2>&1 &
pid=$!
ask() { mariadb --no-defaults -uroot -S "$scratch/socket" -N --force "$@"; }
for _ in $(seq 100); do ask -e 'CREATE DATABASE IF NOT EXISTS app' 2>/dev/null && break; sleep 0.2; done
ask -e 'SELECT LOWER(FUNCTION) FROM information_schema.SQL_FUNCTIONS' >"$scratch/functions"
version=$(ask -e 'SELECT VERSION()')
python3 "$here/mysql_write.py" probes "$here" >"$scratch/probes"
# Every call is refused for its arguments or its syntax, or runs; 1305 says that a stored function was looked for.
ask -D app <"$scratch/probes" >/dev/null 2>"$scratch/errors" || true
python3 "$here/mysql_write.py" tables "$here" "$scratch" "$version" >"$scratch/generated.rs"
mv "$scratch/generated.rs" "$out"
chmod 644 "$out"
