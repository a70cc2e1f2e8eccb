# shellcheck shell=bash
# Finds out what this machine lacks and installs it. Sourced by ./demo and ./test.
#
# Never leaves a database server running and never makes a main cluster: the server's programs are all that is wanted.

rust_version_min=1.95

# rustup's folder is often not on the PATH of a script, nor is that of servers such as PgBouncer.
PATH=$PATH:$HOME/.cargo/bin:/usr/sbin

have() { command -v "$1" >/dev/null 2>&1; }

say() { printf '%s\n' "$*" >&2; }

fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    local step
    for step in "$@"; do printf '  %s\n' "$step" >&2; done
    exit 1
}

# True if one of these paths, already expanded by the shell, exists.
any_exists() {
    local path
    for path in "$@"; do [[ -e $path ]] && return 0; done
    return 1
}

has_postgresql() {
    any_exists /usr/lib/postgresql/*/bin/initdb && return 0
    have initdb && have postgres && return 0
    have pg_config && [[ -x $(pg_config --bindir)/initdb ]]
}

# bindgen wants the library and clang's own headers.
has_libclang() {
    local libraries=("${LIBCLANG_PATH:-/nowhere}"/libclang*.so* /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so*
        /usr/lib64/libclang*.so* /usr/local/lib/libclang*.so*)
    local headers=(/usr/lib/llvm-*/lib/clang/*/include/stddef.h /usr/lib/clang/*/include/stddef.h
        /usr/lib64/clang/*/include/stddef.h /usr/local/lib/clang/*/include/stddef.h)
    any_exists "${libraries[@]}" && any_exists "${headers[@]}"
}

has_venv() { have python3 && python3 -c 'import ensurepip, venv' 2>/dev/null; }

has_node() { have node && [[ $(node --version) =~ ^v([0-9]+) ]] && ((BASH_REMATCH[1] >= 18)); }

jdbc_jar=/usr/share/java/postgresql.jar
mariadb_jar=/usr/share/java/mariadb-java-client.jar

# What mysqlclient is compiled against.
has_python_headers() {
    have python3 && [[ -e $(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h ]]
}

# What building and running the demo needs, as Debian package names: one line for each that is missing.
packages_for_demo() {
    has_postgresql || echo postgresql-15
    have psql || echo postgresql-client
    # The package without -core would make a server and start it.
    have mariadbd && have mariadb-install-db || echo mariadb-server-core
    have mariadb || echo mariadb-client-core
    have mariadb-dump || echo mariadb-client
    has_libclang || echo libclang-14-dev
    have gcc || echo gcc
    have g++ || echo g++
    have make || echo make
    have cargo || have curl || echo curl
    any_exists /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt || echo ca-certificates
}

# What the tests need besides: the drivers' languages. The drivers themselves are installed under target/.
packages_for_tests() {
    has_venv || echo python3-venv
    has_node || echo nodejs
    have npm || echo npm
    have javac || echo default-jdk-headless
    [[ -e $jdbc_jar ]] || echo libpostgresql-jdbc-java
    [[ -e $mariadb_jar ]] || echo libmariadb-java
    any_exists /usr/include/{mariadb,mysql}/mysql.h || echo libmariadb-dev
    have pkg-config || echo pkg-config
    has_python_headers || echo python3-dev
    have sysbench || echo sysbench
    have chromium || echo chromium
}

# What the drivers' own tests need: the source package of one asks for pg_config before it says its name.
packages_for_suites() {
    has_venv || echo python3-venv
    have pg_config || echo libpq-dev
}

# The clients that only `./test --held` runs.
packages_for_held() {
    perl -MDBD::Pg -e 1 2>/dev/null || echo libdbd-pg-perl
    have php || echo php-cli
    php -m 2>/dev/null | grep -qx pdo_pgsql || echo php-pgsql
    ruby -e 'require "pg"' 2>/dev/null || echo ruby-pg
}

# Installs the packages named as arguments, or prints the exact list and ends.
install_packages() {
    (($# > 0)) || return 0
    local wanted=("$@")
    as_root=()
    if ! have apt-get; then
        fail "these Debian packages are missing, and there is no apt-get to install them:" "${wanted[*]}"
    fi
    if ((EUID != 0)); then
        if ! have sudo || ! { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
            fail "these packages are missing, and there is no sudo to install them; as root run:" \
                "apt-get install ${wanted[*]}"
        fi
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get update -qq >&2 || say "warning: apt-get update failed, going on"
    use_known_names wanted
    say "Installing packages: ${wanted[*]}"
    local installed=yes
    if [[ " ${wanted[*]} " == *" postgresql"* ]]; then
        install_without_cluster "${wanted[@]}" || installed=no
    else
        apt_install "${wanted[@]}" || installed=no
    fi
    [[ $installed == yes ]] || fail "apt-get could not install: ${wanted[*]}" "read its words above, then run this again"
}

# Debian 12 has versions in these names; other releases have the plain ones.
use_known_names() {
    local -n names=$1
    local index
    for index in "${!names[@]}"; do
        [[ -n $(apt-cache madison "${names[index]}" 2>/dev/null) ]] && continue
        case ${names[index]} in
            postgresql-15) names[index]=postgresql ;;
            libclang-14-dev) names[index]=libclang-dev ;;
        esac
    done
}

apt_install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# Debian's server package makes a cluster and starts it, unless this file says no before it is installed.
# The file's own words are put back afterwards: what the next package does is not ours to decide.
install_without_cluster() {
    local settings=/etc/postgresql-common/createcluster.conf before result=0
    apt_install postgresql-common || return
    before=$("${as_root[@]}" cat "$settings") || return
    printf '%s\ncreate_main_cluster = false\n' "$before" | "${as_root[@]}" tee "$settings" >/dev/null || return
    apt_install "$@" || result=$?
    printf '%s\n' "$before" | "${as_root[@]}" tee "$settings" >/dev/null
    return "$result"
}

# cargo of at least the version that Cargo.toml names; installed for this user if there is none.
need_rust() {
    if ! have cargo; then
        say "Installing Rust for this user with rustup (https://rustup.rs)"
        curl --proto '=https' --tlsv1.2 -fsS https://sh.rustup.rs | sh -s -- -y --profile minimal \
            --component clippy,rustfmt --no-modify-path >&2 || fail "Rust could not be installed" "see https://rustup.rs"
    fi
    local version
    version=$(cargo --version 2>/dev/null) || fail "cargo does not run" "try: rustup toolchain install stable"
    version=${version#cargo }
    version=${version%% *}
    if [[ $(printf '%s\n' "$rust_version_min" "$version" | sort -V | head -n 1) != "$rust_version_min" ]]; then
        fail "cargo $version is too old, $rust_version_min or newer is needed" "try: rustup update stable"
    fi
}
