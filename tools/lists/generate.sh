#!/usr/bin/env bash
# Writes src/sql/classify/lists/generated.rs from a fresh PostgreSQL 15, fresh newer servers and the text files beside this
# script. Use: tools/lists/generate.sh [folder of the server's binaries [folders of newer servers' binaries]]. Needs a user
# other than root to run the servers; as root it uses `postgres`, who must be able to reach those folders.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- /usr/lib/postgresql/15/bin
out=$here/../../src/sql/classify/lists/generated.rs
scratch=$(mktemp -d /tmp/cs-lists.XXXXXX)
bin=$1
as() {
    local library; library=$(dirname "$bin")/lib
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid postgres --regid postgres --clear-groups env "LD_LIBRARY_PATH=$library" "$@"
    else
        env "LD_LIBRARY_PATH=$library" "$@"
    fi
}
stop() { as "$bin/pg_ctl" -D "$scratch/data" -m immediate stop >/dev/null 2>&1 || true; }
trap 'stop; rm -rf "$scratch"' EXIT
[ "$(id -u)" != 0 ] || chown postgres "$scratch"
cd "$scratch"
ask() { psql -XAtq -h "$scratch" -p 5432 -U postgres -d postgres "$@"; }
list() {
    bin=$1
    as "$bin/initdb" -D "$scratch/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >/dev/null
    as "$bin/pg_ctl" -D "$scratch/data" -w -l "$scratch/log" \
        -o "-c listen_addresses='' -c unix_socket_directories=$scratch -p 5432" start >/dev/null
    ask -f "$here/lists.sql" | LC_ALL=C sort -u
    ask -c 'SHOW server_version' | sed 's/^\([0-9.]*\).*/version|\1/'
    stop
    rm -rf "$scratch/data"
}
list "$1" > "$scratch/raw"
shift
: > "$scratch/newer"
for newer in "$@"; do list "$newer" >> "$scratch/newer"; done
python3 "$here/write.py" "$scratch/raw" "$scratch/newer" "$here" > "$scratch/generated.rs"
mv "$scratch/generated.rs" "$out"
chmod 644 "$out"
