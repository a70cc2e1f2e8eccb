#!/usr/bin/env python3
"""Every client held for 90 s at once on one proxy, then approved: its result arrives and its connection goes on. Then
each is refused once, and what it shows of that is noted.

    tests/suites/held.py [--program target/debug/countersign] [CLIENT ...]

docs/clients.md must say of each client exactly what came out, or this fails. `./test --held` installs what is needed and
runs this; the programs are those of tests/clients/.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import queue
import subprocess
import sys
import tempfile
import threading
import time

import stage

DRIVERS = stage.ROOT / "target" / "drivers"
PROGRAMS = stage.ROOT / "tests" / "clients"
HELD_SECONDS = 90
# For what comes at once but for a busy machine.
PATIENCE_SECONDS = 60
REASON = "billing reads it"
# What of an error is looked for in the words that a client shows of it.
PARTS = {"message": REASON, "detail": '"countersign":', "hint": "Do something else", "SQLSTATE": "42501"}


def java_url(url):
    user, place = url.removeprefix("postgresql://").split("@")
    name, password = user.split(":")
    return f"jdbc:postgresql://{place}?user={name}&password={password}"


def program(*words):
    return lambda url, mode, argument: [*words, url, mode, argument]


def psql(url, mode, argument):
    statement = f"DELETE FROM {argument} WHERE n > 3 RETURNING 'row'" if mode == "delete" else argument
    return [stage.BINARIES / "psql", "-XqAt", url, "-c", statement, "-c", "SELECT 'after 1'"]


PYTHON = DRIVERS / "python/bin/python"
CLIENTS = {
    "psql": psql,
    "psycopg": program(PYTHON, PROGRAMS / "psycopg_client.py"),
    "psycopg2": program(PYTHON, PROGRAMS / "psycopg2_client.py"),
    "asyncpg": program(PYTHON, PROGRAMS / "asyncpg_client.py"),
    "pg8000": program(PYTHON, PROGRAMS / "pg8000_client.py"),
    "SQLAlchemy": program(PYTHON, PROGRAMS / "sqlalchemy_client.py"),
    "node-postgres (`pg`)": program("node", PROGRAMS / "node_postgres_client.js"),
    "postgres.js": program("node", PROGRAMS / "postgres_js_client.mjs"),
    "knex": program("node", PROGRAMS / "knex_client.js"),
    "pgjdbc": lambda url, mode, argument: [
        "java", "-cp", f"/usr/share/java/postgresql.jar:{DRIVERS / 'java'}", "Client", java_url(url), mode, argument
    ],
    "DBD::Pg": program("perl", PROGRAMS / "dbd_pg_client.pl"),
    "PHP PDO": program("php", PROGRAMS / "pdo_client.php"),
    "Ruby pg": program("ruby", PROGRAMS / "pg_client.rb"),
}


class Client:
    """One client program under way, its lines read as they come."""

    def __init__(self, name, url, mode, argument):
        environment = {**os.environ, "NODE_PATH": str(DRIVERS / "node/node_modules"), "LC_ALL": "C.UTF-8"}
        self.name, self.started = name, time.monotonic()
        self.process = subprocess.Popen(
            CLIENTS[name](url, mode, argument), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, env=environment,
        )
        self.lines, self.seen = queue.Queue(), []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def rest(self):
        """Every line up to its end."""
        end = time.monotonic() + PATIENCE_SECONDS
        while (line := self.lines.get(timeout=max(0.1, end - time.monotonic()))) is not None:
            self.seen.append(line)
        return self.seen

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@dataclasses.dataclass
class Found:
    held: str
    shown: str


def table(kind, name):
    return f"{kind}_{''.join(letter if letter.isalnum() else '_' for letter in name.lower())}"


def waiting(proxy, tables):
    """The request of each table, once all are held."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        items = proxy.ask("/requests?state=pending&limit=100")["items"]
        found = {table: item for table in tables for item in items if f"{table} " in f"{item['text']} ".replace('"', "")}
        if len(found) == len(tables):
            return found
        if time.monotonic() > end:
            stage.fail(f"not held: {sorted(set(tables) - found.keys())}", "read what the clients say")
        time.sleep(0.1)


def decide(proxy, request, decision, reason):
    body = {"decision": decision, "reason": reason, "digest": request["digest"]}
    proxy.ask(f"/requests/{request['id']}/decision", body)


def hold(proxy, names):
    """Client -> whether it was held all the time, got its two rows and went on."""
    clients = {name: Client(name, proxy.url("postgres"), "delete", table("held", name)) for name in names}
    try:
        requests = waiting(proxy, [table("held", name) for name in names])
        print(f"{len(names)} clients are held; they are approved in {HELD_SECONDS} s", file=sys.stderr)
        time.sleep(HELD_SECONDS)
        still = {item["id"] for item in proxy.ask("/requests?state=pending&limit=100")["items"] if item["state"] == "pending"}
        results = {}
        for name, client in clients.items():
            request = requests[table("held", name)]
            if request["id"] not in still or client.process.poll() is not None:
                results[name] = f"gave up: {' / '.join(client.rest())}"
                continue
            decide(proxy, request, "approve", "looked at it")
            lines = client.rest()
            whole = ("rows 2" in lines or lines.count("row") == 2) and "after 1" in lines
            results[name] = "yes" if whole else f"no: {' / '.join(lines)}"
        return results
    finally:
        for client in clients.values():
            client.stop()


def refuse(proxy, name):
    """Which parts of a refusal a client shows by itself, in a program that does not look into the error."""
    client = Client(name, proxy.url("postgres"), "run", f"DROP TABLE {table('kept', name)}")
    try:
        request = waiting(proxy, [table("kept", name)])[table("kept", name)]
        decide(proxy, request, "deny", REASON)
        lines = client.rest()
    finally:
        client.stop()
    if "after 1" not in lines:
        return f"did not go on: {' / '.join(lines)}"
    shown = [json.loads(line.removeprefix("shown ")) for line in lines if line.startswith("shown ")]
    words = "\n".join(shown) if shown else "\n".join(line for line in lines if line != "after 1")
    return ", ".join(part for part, word in PARTS.items() if word in words)


def documented():
    """Client -> the cells of its row in docs/clients.md."""
    lines = (stage.ROOT / "docs" / "clients.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {row[0]: row for row in reversed(rows)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path, default=stage.ROOT / "target/debug/countersign")
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=", ".join(CLIENTS))
    arguments = parser.parse_args()
    names = arguments.clients or list(CLIENTS)
    with tempfile.TemporaryDirectory(prefix="countersign-held-") as scratch:
        os.chmod(scratch, 0o711)
        scratch = pathlib.Path(scratch)
        server = stage.Server(scratch / "server", {})
        try:
            for name in names:
                held, kept = table("held", name), table("kept", name)
                server.psql("postgres", f"CREATE TABLE {held} AS SELECT generate_series(1, 5) AS n; CREATE TABLE {kept} ()")
            # Many drivers open a transaction by themselves, in which the wait ends after 60 s by default.
            limits = "wait_transaction_seconds = 900"
            proxy = stage.Proxy(arguments.program.resolve(), scratch / "proxy", server, "default", limits)
            try:
                held = hold(proxy, names)
                found = {name: Found(held[name], refuse(proxy, name)) for name in names}
            finally:
                proxy.stop()
        finally:
            server.stop()
    rows, wrong = documented(), []
    for name, seen in found.items():
        print(f"{name}: held {HELD_SECONDS} s and usable afterwards: {seen.held}; shows {seen.shown}")
        row = rows.get(name, [])
        if seen.held not in row or seen.shown not in row:
            wrong.append(name)
    if wrong:
        stage.fail(f"docs/clients.md says otherwise of {', '.join(wrong)}", "mend what is ours, or the table")


main()
