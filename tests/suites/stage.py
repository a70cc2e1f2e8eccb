"""What the runners in this folder need on both sides of a client: a scratch PostgreSQL and `countersign serve`.

Never touches a server that it did not start, and never needs a fixed port.
"""

import json
import os
import pathlib
import pwd
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARIES = pathlib.Path("/usr/lib/postgresql/15/bin")
# The database's user, and the agent's name: tests that compare user names find what they expect.
USER = "postgres"
CLEAN = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


# Ended from outside, a runner still stops what it started.
signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))


def fail(message, next_step):
    sys.exit(f"error: {message}\n  {next_step}")


def run(command, **options):
    """Runs a program to its end; its words are shown only if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        fail(f"`{' '.join(map(str, command))}` failed: {done.stdout}{done.stderr}", "read its words above")
    return done.stdout


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


class Server:
    """A cluster of its own, gone at `stop`."""

    def __init__(self, folder, settings):
        self.folder, self.user, self.port = folder, server_user(), free_port()
        self.password = secrets.token_urlsafe(18)
        folder.mkdir(mode=0o711)
        (folder / "data").mkdir(mode=0o700)
        words = folder / "password"
        words.write_text(self.password)
        for path in (folder / "data", words):
            if self.user:
                os.chown(path, self.user["user"], self.user["group"])
        run([
            BINARIES / "initdb", f"--username={USER}", "--auth=scram-sha-256", f"--pwfile={words}", "--encoding=UTF8",
            "--locale=C.UTF-8", "--no-sync", "--no-instructions", f"--pgdata={folder / 'data'}",
        ], env=CLEAN, cwd="/", **self.user)
        command = [BINARIES / "postgres", "-D", folder / "data"]
        always = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        for name, value in {**always, **settings}.items():
            command += ["-c", f"{name}={value}"]
        self.log = folder / "server.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=CLEAN, cwd="/", stdout=log, stderr=log, **self.user)
        self.wait()

    def url(self, database):
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def psql(self, database, script):
        words = run([BINARIES / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", script, self.url(database)], env=CLEAN)
        return words.strip()

    def wait(self):
        for _ in range(600):
            if self.process.poll() is not None:
                break
            lock = self.folder / "data" / "postmaster.pid"
            lines = lock.read_text().splitlines() if lock.is_file() else []
            if len(lines) > 7 and lines[7].strip() == "ready":
                return
            time.sleep(0.1)
        fail(f"the server did not start: {self.log.read_text()}", "read its words above")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)  # nobody needs this cluster any more
            self.process.wait()


class Proxy:
    """`countersign serve` in front of a server, with one agent, and one person who may decide for it."""

    def __init__(self, program, folder, server, rules, limits=""):
        folder.mkdir()
        (folder / "password").write_text(server.password)
        (folder / "password").chmod(0o600)
        settings = folder / "countersign.toml"
        settings.write_text(
            f'data_dir = "{folder}/data"\n[listen]\naddress = "127.0.0.1:0"\n[api]\naddress = "127.0.0.1:0"\n'
            f'[upstream]\nhost = "127.0.0.1"\nport = {server.port}\n'
            f'[[upstream.users]]\nname = "{USER}"\npassword_file = "{folder}/password"\n'
            f'[rules]\nfile = "{rules}"\n[limits]\n{limits}\n'
        )
        (folder / "data").mkdir(mode=0o700)
        place = ["--config", settings, "--json"]
        for name, role in (("owner", "auditor"), ("reviewer", "approver")):
            run([program, "user", "add", name, "--role", role, *place])
        self.password = json.loads(run([program, "agent", "add", USER, "--owner", "owner", *place]))["secret"]
        self.token = json.loads(run([program, "user", "token", "reviewer", *place]))["token"]
        with (folder / "serve.log").open("w") as log:
            self.process = subprocess.Popen([program, "serve", *place], stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        if not line:
            fail(f"the proxy did not start: {(folder / 'serve.log').read_text()}", "read its words above")
        ready = json.loads(line)
        self.port = int(ready["listen"].rsplit(":", 1)[1])
        self.api = f"http://{ready['api']}/api/v1"

    def url(self, database):
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def ask(self, path, body=None):
        """The reviewer's API: GET, or POST of `body`."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.api + path, data, headers)) as answer:
            return json.load(answer)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
