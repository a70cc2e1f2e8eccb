# shellcheck shell=bash
# Puts further MySQL and MariaDB servers under target/servers, beside the installed one. Sourced by ./test.
#
# Never installs a package: it is unpacked, with all that it needs, so that it runs beside an older release's libraries.
# Each server is a folder with two programs, as tests/support/mariadb.rs wants them: `install --datadir=…` makes a data
# folder with a superuser `root` without a password, `server …` takes the server's own options.

# The Debian release whose mariadb-server-core is 11.8.
newer_release=trixie

# The archive that this machine's own Debian packages come from.
debian_archive() {
    apt-get indextargets --format '$(REPO_URI) $(LABEL) $(COMPONENT)' 'Created-By: Packages' |
        awk '$2 == "Debian" && $3 == "main" { print $1; exit }'
}

install_mariadb_11_8() {
    local place=$1/mariadb-11.8 scratch archive keyring=/usr/share/keyrings/debian-archive-keyring.gpg package
    [[ -e $place/server ]] && return 0
    have apt-get && archive=$(debian_archive) && [[ -n $archive && -e $keyring ]] ||
        fail "MariaDB 11.8 is unpacked from Debian's packages, and this is no Debian" "./test without --versions runs here"
    say "Unpacking MariaDB 11.8 into target/servers: 16 MB of packages"
    scratch=$(mktemp -d)
    # With an empty list of installed packages, so that libraries come along too.
    mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial" "$scratch/parts"
    touch "$scratch/status"
    echo "deb [signed-by=$keyring] $archive $newer_release main" >"$scratch/sources.list"
    local options=(-o "Dir::Etc::sourcelist=$scratch/sources.list" -o "Dir::Etc::sourceparts=$scratch/parts"
        -o "Dir::State::lists=$scratch/lists" -o "Dir::State::status=$scratch/status" -o "Dir::Cache=$scratch/cache")
    # Its own user, which apt gives downloads to, may not reach a private folder.
    ((EUID != 0)) || options+=(-o APT::Sandbox::User=root)
    apt-get "${options[@]}" update -qq >&2
    apt-get "${options[@]}" install -y -qq --download-only --no-install-recommends mariadb-server-core >&2
    rm -rf "$place"
    mkdir -p "$place/root"
    for package in "$scratch"/cache/archives/*.deb; do dpkg-deb -x "$package" "$place/root"; done
    rm -rf "$scratch"
    write_mariadb_programs "$place"
}

# MariaDB's own methods of logging in, for the installed server: its package of bare programs lacks them.
install_mariadb_plugins() {
    local place=$1/mariadb-plugins plugin=usr/lib/mysql/plugin/auth_ed25519.so version scratch
    [[ -e $place/$plugin ]] && return 0
    [[ -e /$plugin ]] && mkdir -p "$place/${plugin%/*}" && cp "/$plugin" "$place/$plugin" && return 0
    have dpkg-query && version=$(dpkg-query --show --showformat='${Version}' mariadb-server-core 2>/dev/null) ||
        fail "MariaDB has no plug-in auth_ed25519, and this is no Debian" "copy it to $place/$plugin"
    say "Unpacking MariaDB's plug-ins into target/servers"
    scratch=$(mktemp -d)
    (cd "$scratch" && apt-get download -qq -o APT::Sandbox::User=root "mariadb-server=$version" >&2)
    mkdir -p "$place"
    dpkg-deb --fsys-tarfile "$scratch"/mariadb-server_*.deb | tar -x -C "$place" "./$plugin"
    rm -rf "$scratch"
}

# What mariadb-install-db does, which looks for more programs than its package holds.
write_mariadb_programs() {
    local place=$1
    cat >"$place/server" <<'PROGRAM'
#!/bin/sh
root=$(dirname "$0")/root
libraries=$(echo "$root"/usr/lib/*-linux-gnu*)
exec "$libraries"/ld-linux*.so.* --library-path "$libraries" "$root/usr/sbin/mariadbd" "$@" \
    --basedir="$root/usr" --plugin-dir="$root/usr/lib/mysql/plugin"
PROGRAM
    cat >"$place/install" <<'PROGRAM'
#!/bin/sh
here=$(dirname "$0")
for word in "$@"; do
    case $word in --datadir=*) mkdir -p "${word#--datadir=}" ;; esac
done
tables=$here/root/usr/share/mariadb
[ -e "$tables" ] || tables=$here/root/usr/share/mysql
{
    # One statement a line is what the server reads here.
    printf '%s\n' 'CREATE DATABASE mysql;' 'USE mysql;' 'SET @auth_root_socket = NULL;'
    cat "$tables/mariadb_system_tables.sql" "$tables/mariadb_performance_tables.sql" \
        "$tables/mariadb_system_tables_data.sql" "$tables/maria_add_gis_sp_bootstrap.sql" "$tables/mariadb_sys_schema.sql"
} | "$here/server" --no-defaults --bootstrap "$@" --skip-log-error --max-allowed-packet=8M --innodb-use-native-aio=0
PROGRAM
    # Last, because its being there means that all is there.
    mv "$place/server" "$place/unfinished"
    chmod 755 "$place/unfinished" "$place/install"
    mv "$place/unfinished" "$place/server"
}

# Out of the Node package that tests/servers pins, already unpacked.
install_mysql_5_6() {
    local place=$1/mysql-5.6 package=$1/node_modules/mysql-5.6/server
    mkdir -p "$place"
    cat >"$place/server" <<'PROGRAM'
#!/bin/sh
package=$(dirname "$0")/../node_modules/mysql-5.6/server
LD_LIBRARY_PATH=$package exec "$package/mysqld" "$@" --basedir="$package"
PROGRAM
    # The package brings a data folder, with users for its author's own machine.
    cat >"$place/install" <<'PROGRAM'
#!/bin/sh
package=$(dirname "$0")/../node_modules/mysql-5.6/server
for word in "$@"; do
    case $word in --datadir=*) data=${word#--datadir=} ;; esac
done
cp -r "$package/data/mysql" "$data" && chmod -R u+w "$data"
PROGRAM
    chmod 755 "$place/server" "$place/install" "$package/mysqld"
}
