#!/usr/bin/env python3
"""PostgreSQL's own regression scripts through the proxy under rules/observe.toml: psql must print what it prints directly.

    tests/regress/run.py [--program target/release/countersign] [--only NAME ...] [--keep]

Two fresh servers of one version; psql runs every script of parallel_schedule, in its order, straight against the one and
through Countersign against the other, and what it prints is compared byte for byte. `differs.txt` beside this file lists
the scripts that may differ, each with its reason: one that is not on the list and differs fails the run, and so does one
that is on the list and no longer differs. In the end every statement in the server's own log must be in Countersign's
too. `./test --regress` installs what is needed and runs this.

The scripts come from Debian's source package of the installed major version, and so does the C module that they load;
both are kept under target/regress.
"""

import argparse
import collections
import concurrent.futures
import difflib
import hashlib
import json
import os
import pathlib
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEPT = ROOT / "target" / "regress"
LIST = pathlib.Path(__file__).with_name("differs.txt")
MAJOR = 15
BINARIES = pathlib.Path(f"/usr/lib/postgresql/{MAJOR}/bin")
MODULES = pathlib.Path(f"/usr/lib/postgresql/{MAJOR}/lib")
DATABASE = "regression"
USER = "postgres"
# What the proxy itself asks at every log-in (src/proxy/upstream.rs).
OWN_TEXTS = {
    "SHOW search_path", "SHOW role", "SHOW client_encoding", "SHOW server_encoding", "SHOW standard_conforming_strings",
    "SELECT pg_catalog.pg_backend_pid()",
}
# The longest script takes a few seconds; one that takes this long hangs.
SCRIPT_SECONDS_MAX = 300


def fail(message, next_step):
    sys.exit(f"error: {message}\n  {next_step}")


def run(command, **options):
    """Runs a program to its end; its words are shown only if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        fail(f"`{' '.join(map(str, command))}` failed: {done.stdout}{done.stderr}", "read its words above")
    return done.stdout


# What is compared: the scripts, and the module that they load.


def server_version():
    """Of the installed package: scripts and headers must be of the very version whose server loads the module."""
    return run(["dpkg-query", "--show", "--showformat=${Version}", f"postgresql-{MAJOR}"])


def scripts_folder(kept, version):
    """src/test/regress of the source package, unpacked once."""
    folder = kept / "scripts"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=kept) as scratch:
            archive = download_source(pathlib.Path(scratch), version)
            unpacked = pathlib.Path(scratch) / "scripts"
            unpacked.mkdir(mode=0o755)
            run(["tar", "-xf", archive, "-C", unpacked, "--strip-components=4", "--wildcards", "*/src/test/regress"])
            unpacked.rename(folder)
    return folder


def download_source(folder, version):
    """From the machine's own package sources, asked for source packages in a state of its own: it stays as it is."""
    print("downloading the source package of PostgreSQL: 23 MB", file=sys.stderr)
    for name in ("parts", "lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    for file in [pathlib.Path("/etc/apt/sources.list"), *pathlib.Path("/etc/apt/sources.list.d").glob("*")]:
        if file.suffix in (".list", ".sources") and file.is_file():
            text = re.sub(r"^deb(?=\s)", "deb-src", file.read_text(), flags=re.MULTILINE)
            text = re.sub(r"^Types:.*$", "Types: deb-src", text, flags=re.MULTILINE)
            (folder / "parts" / file.name).write_text(text)
    options = [
        "-qq", "-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={folder / 'parts'}",
        "-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder}", "-o", "APT::Sandbox::User=root",
    ]
    # A source of other packages may have no source packages: only this one must be found.
    subprocess.run(["apt-get", *options, "update"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run(["apt-get", *options, "source", "--download-only", f"postgresql-{MAJOR}={version}"], cwd=folder)
    [archive] = folder.glob("*.orig.tar.*z*")
    return archive


def headers_folder(kept, version):
    """The server's headers: the installed ones, or the package's, unpacked and not installed (it brings a compiler)."""
    installed = pathlib.Path(f"/usr/include/postgresql/{MAJOR}/server")
    if (installed / "postgres.h").is_file():
        return installed
    folder = kept / "headers"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=kept) as scratch:
            package = f"postgresql-server-dev-{MAJOR}={version}"
            run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package], cwd=scratch)
            [archive] = pathlib.Path(scratch).glob("*.deb")
            unpacked = pathlib.Path(scratch) / "headers"
            run(["dpkg", "-x", archive, unpacked])
            unpacked.rename(folder)
    return folder / str(installed).lstrip("/")


def modules_folder(kept, version, scripts):
    """regress.so, built from the scripts' own folder, beside the two of contrib/spi that the scripts load too."""
    folder = kept / "modules"
    if not folder.is_dir():
        headers = headers_folder(kept, version)
        with tempfile.TemporaryDirectory(dir=kept) as scratch:
            made = pathlib.Path(scratch) / "modules"
            made.mkdir(mode=0o755)
            run([
                "gcc", "-O1", "-w", "-fPIC", "-shared", "-D_GNU_SOURCE", f"-I{headers}",
                "-o", made / "regress.so", scripts / "regress.c",
            ])
            for name in ("refint.so", "autoinc.so"):
                shutil.copy(MODULES / name, made / name)
            made.rename(folder)
    return folder


def schedule(scripts):
    """Names in the order in which they must run."""
    lines = (scripts / "parallel_schedule").read_text().splitlines()
    groups = [line.removeprefix("test:").split() for line in lines if line.startswith("test:")]
    return [name for group in groups for name in group]


def listed():
    """Script -> why it may differ."""
    lines = [line.strip() for line in LIST.read_text().splitlines()]
    return dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))


# Servers and the proxy.


def server_user():
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        except KeyError:
            continue
    fail("no unprivileged user `postgres` or `nobody`", "create one, or run this as an ordinary user")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


CLEAN = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


class Server:
    """A cluster of its own, as pg_regress makes it."""

    def __init__(self, folder, user):
        self.folder, self.user = folder, user
        self.port = free_port()
        self.password = secrets.token_urlsafe(18)
        folder.mkdir()
        for name in ("data", "socket", "results"):
            (folder / name).mkdir(mode=0o700)
            self.give(folder / name)
        words = folder / "password"
        words.write_text(self.password)
        self.give(words)
        run([
            BINARIES / "initdb", f"--username={USER}", "--auth=scram-sha-256", f"--pwfile={words}", "--encoding=UTF8",
            "--no-locale", "--no-sync", "--no-instructions", f"--pgdata={folder / 'data'}",
        ], env=CLEAN, cwd="/", **user)
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": folder / "socket",
            "fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_prepared_transactions": 2,
            # Beyond what pg_regress sets: a checkpoint or a statistics delay in the middle would be chance.
            "checkpoint_timeout": "1h", "max_wal_size": "4GB",
            "log_statement": "all", "log_line_prefix": "@%d@ ",
        }
        command = [BINARIES / "postgres", "-D", folder / "data"]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        log = (folder / "server.log").open("w")
        self.process = subprocess.Popen(command, env=CLEAN, cwd="/", stdout=log, stderr=log, **user)
        self.wait()
        for statement in (
            f"CREATE DATABASE {DATABASE} TEMPLATE template0",
            f"ALTER DATABASE {DATABASE} SET lc_messages TO 'C'",
            f"ALTER DATABASE {DATABASE} SET lc_monetary TO 'C'",
            f"ALTER DATABASE {DATABASE} SET lc_numeric TO 'C'",
            f"ALTER DATABASE {DATABASE} SET lc_time TO 'C'",
            f"ALTER DATABASE {DATABASE} SET bytea_output TO 'hex'",
            f"ALTER DATABASE {DATABASE} SET timezone_abbreviations TO 'Default'",
        ):
            run([BINARIES / "psql", "-X", "-q", "-c", statement, self.url("postgres")], env=CLEAN, cwd="/")

    def give(self, path):
        if self.user:
            os.chown(path, self.user["user"], self.user["group"])

    def url(self, database):
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def wait(self):
        for _ in range(600):
            if self.process.poll() is not None:
                break
            lock = self.folder / "data" / "postmaster.pid"
            lines = lock.read_text().splitlines() if lock.is_file() else []
            if len(lines) > 7 and lines[7].strip() == "ready":
                return
            time.sleep(0.1)
        fail(f"the server did not start: {(self.folder / 'server.log').read_text()}", "read its words above")

    def statements(self):
        """The texts of every Query message that it has read and could parse, by its own log."""
        text = (self.folder / "server.log").read_bytes().decode("utf-8", "surrogateescape")
        begin = f"@{DATABASE}@ LOG:  statement: "
        # A message's further lines begin with a tab.
        messages = text.replace("\n\t", "\0").split("\n")
        return [one.removeprefix(begin).replace("\0", "\n") for one in messages if one.startswith(begin)]

    def stop(self):
        if self.process.poll() is None:
            # Immediately: nobody needs this cluster any more.
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()


class Proxy:
    """`countersign serve` under rules/observe.toml, with an agent that has the server's superuser."""

    def __init__(self, program, folder, server):
        folder.mkdir()
        (folder / "password").write_text(server.password)
        (folder / "password").chmod(0o600)
        settings = folder / "countersign.toml"
        settings.write_text(
            f'data_dir = "{folder}/data"\n[listen]\naddress = "127.0.0.1:0"\n[api]\naddress = "127.0.0.1:0"\n'
            f'[upstream]\nhost = "127.0.0.1"\nport = {server.port}\n'
            f'[[upstream.users]]\nname = "{USER}"\npassword_file = "{folder}/password"\n'
            f'[rules]\nfile = "{ROOT}/rules/observe.toml"\n'
        )
        self.program, self.data = program, folder / "data"
        self.data.mkdir(mode=0o700)
        place = ["--config", settings]
        run([program, "user", "add", "owner", "--role", "approver", *place])
        added = json.loads(run([program, "agent", "add", USER, "--owner", "owner", "--json", *place]))
        self.password = added["secret"]
        self.log = folder / "serve.log"
        self.process = subprocess.Popen(
            [program, "serve", "--json", *place], stdout=subprocess.PIPE, stderr=self.log.open("w"), text=True
        )
        line = self.process.stdout.readline()
        if not line:
            fail(f"the proxy did not start: {self.log.read_text()}", "read its words above")
        ready = json.loads(line)
        self.port = int(ready["listen"].rsplit(":", 1)[1])
        self.api = ready["api"]

    def judged(self):
        """Class -> statements, as the proxy counted them."""
        with urllib.request.urlopen(f"http://{self.api}/metrics") as page:
            text = page.read().decode()
        counts = {}
        for line in text.splitlines():
            found = re.match(r'countersign_statements_total\{(.*)\} (\d+)', line)
            if found:
                name = re.search(r'class="(\w+)"', found[1])[1]
                counts[name] = counts.get(name, 0) + int(found[2])
        return counts

    def unrecorded(self, texts):
        """Those that its log does not have as often. A text with a password is masked there, and not compared."""
        query = ["log", "query", "--kind", "attempt", "--limit", "1000000", "--oldest-first", "--json"]
        records = json.loads(run([self.program, *query, "--data-dir", self.data]))["items"]
        left = collections.Counter(record["text_sha256"] for record in records)
        missing = []
        for text in texts:
            digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
            left[digest] -= 1
            if left[digest] < 0 and "password" not in text.lower() and text not in OWN_TEXTS:
                missing.append(text)
        return missing

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


class Lane:
    """One way to a server: psql runs every script there."""

    def __init__(self, server, port, password, scripts, modules):
        self.server = server
        self.scripts = scripts
        self.environment = {
            **CLEAN,
            "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": USER, "PGPASSWORD": password, "PGDATABASE": DATABASE,
            "PGSSLMODE": "disable", "PGGSSENCMODE": "disable",
            # From here on as initialize_environment in pg_regress.c has it.
            "PGAPPNAME": "pg_regress", "PG_ABS_SRCDIR": str(scripts), "PG_ABS_BUILDDIR": str(server.folder),
            "PG_LIBDIR": str(modules), "PG_DLSUFFIX": ".so", "PGTZ": "America/Los_Angeles",
            "PGDATESTYLE": "Postgres, MDY", "PGOPTIONS": "-c intervalstyle=postgres_verbose",
        }

    def psql(self, name):
        """What psql prints of a script, as psql_start_test in pg_regress_main.c runs it."""
        with (self.scripts / "sql" / f"{name}.sql").open("rb") as script:
            try:
                return subprocess.run(
                    [BINARIES / "psql", "-X", "-a", "-q", "-d", DATABASE, "-v", "HIDE_TABLEAM=on",
                     "-v", "HIDE_TOAST_COMPRESSION=on"],
                    stdin=script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.environment,
                    cwd=self.server.folder / "results", timeout=SCRIPT_SECONDS_MAX, **self.server.user,
                ).stdout
            except subprocess.TimeoutExpired as late:
                return (late.stdout or b"") + b"\n-- no end within %d s\n" % SCRIPT_SECONDS_MAX


def expected_outputs(scripts, name):
    """What PostgreSQL's own runs accept of a script: there may be variants."""
    files = [scripts / "expected" / f"{name}{variant}.out" for variant in ("", "_1", "_2", "_3", "_4", "_5")]
    return [file.read_bytes() for file in files if file.is_file()]


def compare(name, outputs, folder):
    """Whether both printed the same; if not, the difference is kept."""
    direct, proxied = outputs
    if direct == proxied:
        return True
    lines = [part.decode(errors="backslashreplace").splitlines(keepends=True) for part in (direct, proxied)]
    difference = "".join(difflib.unified_diff(*lines, fromfile="direct", tofile="proxied", n=2))
    (folder / f"{name}.diff").write_text(difference)
    return False


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--program", type=pathlib.Path, default=ROOT / "target" / "release" / "countersign")
    arguments.add_argument("--only", nargs="+", help="these scripts, behind test_setup; the list is not checked")
    arguments.add_argument("--through", choices=["proxy", "nothing"], default="proxy",
                           help="`nothing` compares two direct runs, to see what differs by itself")
    arguments.add_argument("--keep", action="store_true", help="leave servers' folders and outputs behind")
    chosen = arguments.parse_args()
    if not (BINARIES / "postgres").is_file():
        fail(f"PostgreSQL {MAJOR} is not in {BINARIES}", f"apt-get install postgresql-{MAJOR}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    version = server_version()
    kept = KEPT / version
    kept.mkdir(parents=True, exist_ok=True)
    scripts = scripts_folder(kept, version)
    modules = modules_folder(kept, version, scripts)
    names = schedule(scripts)
    if chosen.only:
        names = [name for name in names if name == "test_setup" or name in chosen.only]
    differences = KEPT / "differences"
    shutil.rmtree(differences, ignore_errors=True)
    differences.mkdir()

    folder = pathlib.Path(tempfile.mkdtemp(prefix="countersign-regress-"))
    folder.chmod(0o711)
    begun = time.monotonic()
    running = []
    try:
        # The server's user must read them, wherever this checkout lies.
        shutil.copytree(scripts, folder / "scripts")
        shutil.copytree(modules, folder / "modules")
        user = server_user()
        servers = []
        for name in ("direct", "proxied"):
            servers.append(Server(folder / name, user))
            running.append(servers[-1])
        direct = Lane(servers[0], servers[0].port, servers[0].password, folder / "scripts", folder / "modules")
        if chosen.through == "proxy":
            proxy = Proxy(chosen.program, folder / "proxy", servers[1])
            running.append(proxy)
            port, password = proxy.port, proxy.password
        else:
            port, password = servers[1].port, servers[1].password
        other = Lane(servers[1], port, password, folder / "scripts", folder / "modules")
        differ, expected = [], 0
        with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
            for name in names:
                outputs = tuple(pool.map(lambda lane: lane.psql(name), (direct, other)))
                expected += outputs[0] in expected_outputs(scripts, name)
                if name == "test_setup" and not expected:
                    fail("test_setup does not print what PostgreSQL expects", outputs[0].decode(errors="replace"))
                if not compare(name, outputs, differences):
                    differ.append(name)
                if chosen.keep:
                    for lane, output in zip(("direct", "proxied"), outputs):
                        (folder / lane / "results" / f"{name}.out").write_bytes(output)
        judged, unrecorded, texts = {}, [], []
        if chosen.through == "proxy":
            judged = proxy.judged()
            proxy.stop()
            texts = servers[1].statements()
            unrecorded = proxy.unrecorded(texts)
    finally:
        for one in reversed(running):
            one.stop()
        if chosen.keep:
            print(f"kept in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)

    if texts:
        print(f"{len(texts)} statements in the server's log, {len(unrecorded)} of them not in the proxy's")
    for text in unrecorded:
        print(f"not recorded: {text}")
    verdict(names, differ, expected, judged, time.monotonic() - begun, differences, chosen, unrecorded)


def verdict(names, differ, expected, judged, seconds, differences, chosen, unrecorded):
    known = listed()
    print(f"{len(names)} scripts, {len(names) - len(differ)} identical, {len(differ)} different, in {seconds:.0f} s")
    print(f"{expected} of them print directly what PostgreSQL's own runs expect")
    if judged:
        total = sum(judged.values())
        parts = ", ".join(f"{name} {count}" for name, count in sorted(judged.items(), key=lambda item: -item[1]))
        print(f"{total} statements judged: {parts}")
    if chosen.only or chosen.through == "nothing":
        print("different: " + (", ".join(differ) or "none"))
        return
    wrong = [f"{len(unrecorded)} statements are not in the proxy's log"] if unrecorded else []
    for name in differ:
        if name not in known:
            wrong.append(f"{name} differs and is not on the list: see {differences / name}.diff")
    for name in known:
        if name not in names:
            wrong.append(f"{name} is on the list, but there is no such script")
        elif name not in differ:
            wrong.append(f"{name} is on the list, but prints the same: take it off")
    for line in wrong:
        print(line)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
