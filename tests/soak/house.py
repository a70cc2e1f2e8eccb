"""A scratch PostgreSQL, `countersign serve` in front of it, its people, and somebody who only wants to work.

Listens on loopback only, writes below one scratch folder only, and ends what it started by its process id.
"""

import glob
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from wire import Client

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("COUNTERSIGN_PROGRAM", os.path.join(ROOT, "target", "release", "countersign"))
PAGE = os.sysconf("SC_PAGE_SIZE")
AGENTS = 51

# What the proxy asks each server connection before it is a client's.
OWN_AT_LOGIN = {"SHOW search_path", "SHOW role", "SHOW client_encoding", "SHOW server_encoding",
                "SHOW standard_conforming_strings",
                "SELECT pg_catalog.pg_backend_pid()"}


def binaries():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: int(path.split("/")[4]))
    path = found[-1] if found else shutil.which("initdb")
    if not path:
        sys.exit("error: no PostgreSQL server programs; run ./demo --prepare")
    return os.path.dirname(path)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(what, is_so, within=60):
    deadline = time.monotonic() + within
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(0.05)


class House:
    """Everything that a scenario needs. A context manager."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="countersign-soak-")
        os.chmod(self.folder, 0o755)
        self.data = os.path.join(self.folder, "data")
        self.cluster = os.path.join(self.folder, "cluster")
        self.as_user = []
        if os.geteuid() == 0:
            # The server refuses to run as root.
            names = {entry.pw_name for entry in pwd.getpwall()}
            user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            os.mkdir(self.cluster, 0o700)
            os.chown(self.cluster, user.pw_uid, user.pw_gid)
            self.as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        self.server = self.proxy = None
        self.make_cluster()
        self.start_server()
        self.make_people()
        return self

    def __exit__(self, *_):
        for process, how in ((self.proxy, signal.SIGTERM), (self.server, signal.SIGINT)):
            if process and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(how)
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def make_cluster(self):
        command = [*self.as_user, os.path.join(binaries(), "initdb"), "-D", self.cluster, "-U", "app", "-A", "trust",
                   "--no-sync", "-E", "UTF8", "--locale=C"]
        made = subprocess.run(command, capture_output=True, text=True, cwd="/")
        if made.returncode:
            sys.exit(f"error: initdb failed: {made.stderr}")
        self.server_port = free_port()
        with open(os.path.join(self.cluster, "postgresql.conf"), "a") as settings:
            settings.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.server_port}\nunix_socket_directories = ''\n"
                "max_connections = 1200\nshared_buffers = 64MB\nfsync = off\nlog_statement = all\n"
                "log_line_prefix = '[%a] '\nlog_parameter_max_length = 0\nlogging_collector = off\n"
            )

    def start_server(self):
        self.server_log = open(os.path.join(self.folder, "server.log"), "a")
        command = [*self.as_user, os.path.join(binaries(), "postgres"), "-D", self.cluster]
        self.server = subprocess.Popen(command, stdout=self.server_log, stderr=self.server_log, cwd="/")
        ready = [os.path.join(binaries(), "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.server_port)]
        eventually("the server answers", lambda: subprocess.run(ready).returncode == 0)
        if "app" not in self.psql("SELECT string_agg(datname, ' ') FROM pg_database"):
            self.psql("CREATE DATABASE app")
            self.psql("CREATE TABLE marks (mark text)", "app")

    def psql(self, sql, database="postgres"):
        url = f"postgresql://app@127.0.0.1:{self.server_port}/{database}"
        command = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", url, "-c", sql]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(done.stderr)
        return done.stdout.strip()

    def seen_by_server(self):
        """Statements in the server's own log, of sessions behind the proxy: application name and text."""
        with open(os.path.join(self.folder, "server.log"), errors="replace") as log:
            line = r"^\[(soak[^\]]*)\] LOG:  (?:statement|execute (?!_countersign)[^:]*): (.*)$"
            found = re.findall(line, log.read(), re.M)
        return [(name, text) for name, text in found if text not in OWN_AT_LOGIN]

    def settings(self, limits):
        lines = "\n".join(f"{name} = {value}" for name, value in limits.items())
        with open(os.path.join(self.folder, "countersign.toml"), "w") as settings:
            settings.write(
                f'data_dir = "data"\n[listen]\naddress = "127.0.0.1:0"\n[api]\naddress = "127.0.0.1:0"\n'
                f'[upstream]\nhost = "127.0.0.1"\nport = {self.server_port}\n[[upstream.users]]\nname = "app"\n'
                f'[limits]\n{lines}\n[log]\nlevel = "error"\n'
            )

    def told(self, *arguments):
        done = subprocess.run([PROGRAM, *arguments, "--json"], cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(done.stderr)
        return json.loads(done.stdout)

    def make_people(self):
        self.settings({})
        self.told("user", "add", "dba-1", "--role", "approver,auditor")
        self.token = self.told("user", "token", "dba-1")["token"]
        names = [f"agent-{number}" for number in range(AGENTS)]
        self.secrets = {name: self.told("agent", "add", name, "--owner", "sam")["secret"] for name in names}

    def start_proxy(self, environment=None, **limits):
        self.settings({"held_per_principal": 20, **limits})
        self.proxy_log = open(os.path.join(self.folder, "proxy.log"), "a")
        self.proxy = subprocess.Popen(
            [PROGRAM, "serve", "--json"], cwd=self.folder, stdout=subprocess.PIPE, stderr=self.proxy_log, text=True,
            env={**os.environ, **(environment or {})},
        )
        line = self.proxy.stdout.readline()
        if not line:
            with open(os.path.join(self.folder, "proxy.log")) as log:
                raise AssertionError(f"the proxy does not start: {log.read()[-500:]}")
        ready = json.loads(line)
        host, port = ready["listen"].rsplit(":", 1)
        self.address, self.api = (host, int(port)), f"http://{ready['api']}"

    def stop_proxy(self, how=signal.SIGTERM):
        self.proxy.send_signal(how)
        self.proxy.wait(timeout=30)

    def connect(self, agent=0, **options):
        name = f"agent-{agent}"
        return Client(self.address, name, self.secrets[name], **options)

    def memory(self):
        """Resident bytes of the proxy."""
        with open(f"/proc/{self.proxy.pid}/statm") as statm:
            return int(statm.read().split()[1]) * PAGE

    def ask(self, path, body=None):
        request = urllib.request.Request(self.api + "/api/v1" + path, json.dumps(body).encode() if body else None)
        request.add_header("Authorization", "Bearer " + self.token)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def all(self, path):
        items, cursor = [], ""
        while True:
            page = self.ask(path + cursor)
            items += page["items"]
            if not page.get("next_cursor"):
                return items
            cursor = "&cursor=" + page["next_cursor"]

    def pending(self):
        return self.all("/requests?state=pending&limit=500")

    def held(self, text):
        found = []

        def is_there():
            found[:] = [request for request in self.pending() if text in request["text"]]
            return bool(found)

        eventually(f"`{text}` is held", is_there)
        return found[0]

    def approve(self, request):
        body = {"decision": "approve", "reason": "soak", "digest": request["digest"]}
        return self.ask(f"/requests/{request['id']}/decision", body)

    def state(self, request):
        return self.ask(f"/requests/{request['id']}")["state"]

    def unrecorded(self):
        """Statements that reached the server more often than there are attempts in the log."""
        attempts = {}
        for record in self.all("/log?kind=attempt&order=oldest&limit=1000"):
            attempts[record.get("text")] = attempts.get(record.get("text"), 0) + 1
        seen = {}
        for _, text in self.seen_by_server():
            seen[text] = seen.get(text, 0) + 1
        return [text for text, times in seen.items() if times > attempts.get(text, 0)]
