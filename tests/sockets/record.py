#!/usr/bin/env python3
"""Records what real clients say to the proxy, for tests/sockets.rs to say again with faults in between.

    target/drivers/python/bin/python tests/sockets/record.py [NAME …]

Needs a build (`cargo build`) and the drivers that ./test installs. Writes tests/sockets/sessions/NAME.session, one message
a line: `> TAG BODY` of the client, `< TAGS` of the server, in the order in which they passed. Log-in is left out but for
its parameters, because its secrets and nonces are made anew each time. `run 00000` is a place that each run fills with a
number of its own. Approves whatever is held, unless it says `leave`.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from urllib.parse import urlsplit

import asyncpg
import psycopg

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PROGRAM = os.environ.get("COUNTERSIGN", os.path.join(ROOT, "target", "debug", "countersign"))
RUN = "run 00000"
SSL_REQUEST = bytes.fromhex("0000000804d2162f")
CANCEL_CODE = bytes.fromhex("04d2162e")


class Recorder:
    """A relay for one session: every message goes on as it came, and into the list of lines."""

    def __init__(self, target):
        self.target, self.lines = target, []

    async def start(self):
        self.server = await asyncio.start_server(self.relay, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def relay(self, reader, writer):
        up_reader, up_writer = await asyncio.open_connection(*self.target)
        startup = await self.first_packets(reader, writer, up_reader, up_writer)
        if startup:
            self.lines += startup
            self.logged_in = False
            await asyncio.gather(self.client(reader, up_writer), self.proxy(up_reader, writer))
        writer.close()
        up_writer.close()

    async def first_packets(self, reader, writer, up_reader, up_writer):
        lines = []
        while True:
            head = await reader.readexactly(8)
            length = int.from_bytes(head[:4], "big")
            packet = head + await reader.readexactly(length - 8)
            up_writer.write(packet)
            if packet == SSL_REQUEST:
                answer = await up_reader.readexactly(1)
                writer.write(answer)
                lines.append("ssl " + answer.decode())
                continue
            if packet[4:8] == CANCEL_CODE:
                self.lines.append("cancel")
                await up_reader.read()
                return None
            parts = packet[8:].split(b"\0")
            for name, value in zip(parts[::2], parts[1::2]):
                if name and name not in (b"user", b"database"):
                    lines.append(f"= {name.decode()} {value.decode()}")
            return lines

    async def client(self, reader, up_writer):
        while frame := await read_frame(reader):
            up_writer.write(frame)
            if self.logged_in:
                self.lines.append(f"> {chr(frame[0])} {escaped(frame[5:])}".rstrip())

    async def proxy(self, up_reader, writer):
        while frame := await read_frame(up_reader):
            writer.write(frame)
            if self.logged_in:
                if self.lines[-1].startswith("< "):
                    self.lines[-1] += chr(frame[0])
                else:
                    self.lines.append("< " + chr(frame[0]))
            self.logged_in |= frame[:1] == b"Z"
        writer.close()


async def read_frame(reader):
    try:
        head = await reader.readexactly(5)
        return head + await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def escaped(body):
    return "".join(chr(b) if 32 < b < 127 and b != 92 or b == 32 else f"\\x{b:02x}" for b in body)


def psql(url, *arguments, text=None):
    command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=0", url + f"?application_name={RUN.replace(' ', '%20')}", *arguments]
    subprocess.run(command, input=text, text=True, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def psql_simple(url):
    """psql: reads, an error, two statements in one message, and a read behind them."""
    psql(url, text=f"SELECT '{RUN}', 1;\nSELECT '{RUN}' / 0;\nSELECT '{RUN}', 2 \\; SELECT '{RUN}', 3;\n")


def psql_copy_in(url):
    """psql: a COPY FROM STDIN that a person approves, and its data."""
    psql(url, text=f"COPY marks FROM STDIN /* {RUN} */;\n{RUN} copied\n\\.\n")


def psql_copy_out(url):
    """psql: a COPY TO STDOUT that a person approves."""
    psql(url, "-c", f"COPY (SELECT '{RUN}', code FROM countries ORDER BY code LIMIT 3) TO STDOUT")


def connect(url, **options):
    return psycopg.connect(url, application_name=RUN, **options)


def psycopg_named(url):
    """psycopg 3: a named statement with parameters, prepared once and run twice, and closed."""
    with connect(url, autocommit=True) as connection:
        for code in ("DE", "FR"):
            sql = f"SELECT name, '{RUN}' FROM countries WHERE code = %s"
            connection.execute(sql, (code,), prepare=True).fetchall()
        connection.execute("DEALLOCATE ALL")


def psycopg_pipeline(url):
    """psycopg 3: a pipeline of two reads and a bounded write, then one that fails in the middle."""
    with connect(url, autocommit=True) as connection:
        with connection.pipeline():
            connection.execute(f"SELECT '{RUN}', %s::int", (1,))
            connection.execute("INSERT INTO marks VALUES (%s)", (f"{RUN} piped",))
            connection.execute(f"SELECT '{RUN}', %s::int", (2,))
        try:
            with connection.pipeline():
                connection.execute(f"SELECT '{RUN}', 1 / %s::int", (0,))
                connection.execute(f"SELECT '{RUN}', 'skipped', %s::int", (3,))
        except psycopg.Error:
            pass


def psycopg_transaction(url):
    """psycopg 3: a transaction that writes, a savepoint rolled back in it, its commit; a second one rolled back."""
    with connect(url) as connection:
        connection.execute("INSERT INTO marks VALUES (%s)", (f"{RUN} kept",))
        with connection.transaction(force_rollback=True):
            connection.execute("INSERT INTO marks VALUES (%s)", (f"{RUN} undone",))
        connection.commit()
        connection.execute(f"SELECT '{RUN}', 'rolled back'")
        connection.rollback()


def asyncpg_named(url):
    """asyncpg: named statements described before they are bound, in a transaction of its own."""

    async def talk():
        connection = await asyncpg.connect(url, server_settings={"application_name": RUN}, ssl=False)
        async with connection.transaction():
            await connection.fetch(f"SELECT name, '{RUN}' FROM countries WHERE code = $1", "DE")
            await connection.execute("INSERT INTO marks VALUES ($1)", f"{RUN} inserted")
        await connection.close()

    asyncio.run(talk())


def held_alone(url):
    """psql: an unbounded write that a person approves, and a read behind it."""
    psql(url, text=f"INSERT INTO marks SELECT '{RUN} held';\nSELECT '{RUN}', 'after';\n")


def held_in_transaction(url):
    """psycopg 3: a write, then one that a person approves, in one transaction, and its commit."""
    with connect(url) as connection:
        connection.execute("INSERT INTO marks VALUES (%s)", (f"{RUN} before",))
        connection.execute("INSERT INTO marks SELECT %s", (f"{RUN} held",))
        connection.commit()


def held_and_cancelled(url):
    """psycopg 3: a write that waits until its client cancels it, and a read behind it."""
    with connect(url, autocommit=True) as connection:
        noticed = threading.Event()
        connection.add_notice_handler(lambda notice: noticed.set())
        threading.Thread(target=lambda: (noticed.wait(20), connection.cancel_safe())).start()
        try:
            connection.execute(f"INSERT INTO marks SELECT '{RUN} leave'")
        except psycopg.Error:
            pass
        connection.execute(f"SELECT '{RUN}', 'after'")


SESSIONS = [
    psql_simple, psql_copy_in, psql_copy_out, psycopg_named, psycopg_pipeline, psycopg_transaction, asyncpg_named,
    held_alone, held_in_transaction, held_and_cancelled,
]


def ask(sheet, path, body=None):
    request = urllib.request.Request(sheet["api_url"] + "/api/v1" + path, json.dumps(body).encode() if body else None)
    request.add_header("Authorization", "Bearer " + sheet["reviewer_token"])
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def approve_all(sheet, over):
    while not over.is_set():
        for held in ask(sheet, "/requests?state=pending")["items"]:
            if "leave" not in held["text"]:
                body = {"decision": "approve", "reason": "recorded", "digest": held["digest"]}
                ask(sheet, f"/requests/{held['id']}/decision", body)
        time.sleep(0.05)


async def record(sheet, session):
    url = urlsplit(sheet["postgres_url"])
    recorder = Recorder((url.hostname, url.port))
    port = await recorder.start()
    through = sheet["postgres_url"].replace(f":{url.port}/", f":{port}/")
    await asyncio.to_thread(session, through)
    await asyncio.sleep(0.3)
    about = f"# {session.__doc__}\n# psql {version()}, psycopg {psycopg.__version__}, asyncpg {asyncpg.__version__}\n"
    with open(os.path.join(HERE, "sessions", f"{session.__name__}.session"), "w") as file:
        file.write(about + "\n".join(recorder.lines) + "\n")


def version():
    return subprocess.run(["psql", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]


def main():
    wanted = sys.argv[1:]
    demo = subprocess.Popen([PROGRAM, "demo", "--json", "--only", "postgres"], stdout=subprocess.PIPE, text=True)
    over = threading.Event()
    try:
        sheet = json.loads(demo.stdout.readline())
        with psycopg.connect(sheet["admin_postgres_url"], autocommit=True) as admin:
            admin.execute("CREATE TABLE marks (mark text)")
        threading.Thread(target=approve_all, args=(sheet, over)).start()
        for session in SESSIONS:
            if not wanted or session.__name__ in wanted:
                asyncio.run(record(sheet, session))
                print(session.__name__)
    finally:
        over.set()
        demo.terminate()
        demo.wait()


if __name__ == "__main__":
    main()
