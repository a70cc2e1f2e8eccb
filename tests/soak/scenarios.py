"""What should not happen, one function each: makes it happen, raises if a limit did not hold or others were disturbed,
and gives what was measured. Each starts with a proxy of its own in front of the house's server.
"""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
import time

from house import eventually
from others import Others
from wire import Lost, Refused, frame, prepared, query

MIB = 1 << 20


def grown(house, before):
    return (house.memory() - before) / MIB


def raises(sqlstate, act):
    try:
        act()
    except Refused as refused:
        if refused.sqlstate == sqlstate:
            return
        raise
    raise AssertionError(f"{sqlstate} was expected, and it went well")


def silent(house):
    """10,000 connections that say nothing"""
    count = 10_000
    house.start_proxy(connections=count + 100, login_seconds=40)
    before = house.memory()
    with Others(house) as others, contextlib.ExitStack() as all_closed:
        started = time.monotonic()
        for _ in range(count):
            all_closed.enter_context(socket.create_connection(house.address))
        eventually("all are accepted", lambda: open_sockets(house) >= count, 30)
        took, memory = time.monotonic() - started, grown(house, before)
        if house.connect().ask("SELECT 2") != ["2"]:
            raise AssertionError("a new client does not get in")
        eventually("log-ins that take too long are closed", lambda: open_sockets(house) < 100)
    if memory > 400:
        raise AssertionError(f"they cost {memory:.0f} MiB")
    each = memory * 1024 / count
    return f"{each:.1f} KiB each, opened in {took:.1f} s, closed after the log-in time; {others.figures}"


def silent_at_the_limit(house):
    """more silent connections than the limit"""
    house.start_proxy(connections=1000, login_seconds=15)
    with Others(house) as others, contextlib.ExitStack() as all_closed:
        for _ in range(1200):
            all_closed.enter_context(socket.create_connection(house.address))
        eventually("the limit is reached", lambda: open_sockets(house) >= 1000, 10)
        raises("53300", house.connect)
        started = time.monotonic()

        def gets_in():
            try:
                house.connect().close()
                return True
            except (Refused, Lost):
                return False

        eventually("a new client gets in again", gets_in)
    waited = time.monotonic() - started
    return f"53300 at once; room again after {waited:.1f} s of 15 s log-in time; {others.figures}"


def open_sockets(house):
    return len(os.listdir(f"/proc/{house.proxy.pid}/fd"))


def deaf(house):
    """clients that never read: ten large results, a long pipeline, a flood of refusals"""
    house.start_proxy()
    before = house.memory()
    clients = []
    with Others(house) as others:
        for number in range(10):
            client = house.connect(number, receive_buffer=4096)
            client.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 2000000)"))
            clients.append(client)
        pipeline = house.connect(10, receive_buffer=4096)
        offered = offer(pipeline, query("SELECT repeat('x', 1000)") * 1000)
        refused = house.connect(11, receive_buffer=4096)
        offered_refused = offer(refused, frame(b"F", b"\0" * 10) * 1000)
        memory = grown(house, before)
    for client in [*clients, pipeline, refused]:
        client.close()
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'soak'"
    eventually("their sessions end", lambda: house.psql(left) == "0")
    if memory > 200:
        raise AssertionError(f"they cost {memory:.0f} MiB")
    return (f"{memory:.0f} MiB for 12 of them; {offered / MIB:.1f} MiB of a pipeline and"
            f" {offered_refused / MIB:.1f} MiB of refused messages were taken; {others.figures}")


def offer(client, data, seconds=8):
    """Writes until nothing has been taken for a second."""
    client.socket.settimeout(1)
    taken, deadline = 0, time.monotonic() + seconds
    with contextlib.suppress(TimeoutError):
        while time.monotonic() < deadline:
            taken += client.socket.send(data)
    return taken


def parameters(house):
    """1 GiB of parameters"""
    size = (1 << 30) - 4096
    house.start_proxy()
    before, peak = house.memory(), [0]
    client = house.connect()
    with Others(house) as others:
        started = time.monotonic()
        client.send(prepared("SELECT length($1::bytea)", size))
        chunk = bytes(MIB)
        left = size
        while left:
            count = min(left, len(chunk))
            client.send(chunk[:count])
            left -= count
            peak[0] = max(peak[0], house.memory())
        client.send(struct.pack(">H", 0) + frame(b"E", b"\0" + bytes(4)) + frame(b"S"))
        if client.until_ready() != [str(size)]:
            raise AssertionError("not all of it arrived")
        took = time.monotonic() - started
        client.send(prepared("INSERT INTO marks SELECT encode($1, 'hex')", 2 * MIB) + bytes(2 * MIB))
        client.send(struct.pack(">H", 0) + frame(b"E", b"\0" + bytes(4)) + frame(b"S"))
        raises("0A000", client.until_ready)
        client.ask("SELECT 1")
    memory = (peak[0] - before) / MIB
    if memory > 64:
        raise AssertionError(f"it cost {memory:.0f} MiB")
    return (f"a read took 1 GiB in {took:.1f} s and {memory:.0f} MiB of memory; where it would be held, 0A000;"
            f" {others.figures}")


def held(house):
    """1,000 held at once"""
    house.start_proxy(connections=1200)
    before = house.memory()
    with Others(house) as others:
        clients = [house.connect(agent) for agent in range(50) for _ in range(20)]
        connected = grown(house, before)
        for number, client in enumerate(clients):
            client.send(query(f"INSERT INTO marks SELECT 'held {number:04}'"))
        eventually("1,000 are held", lambda: len(house.pending()) == 1000, 120)
        memory = grown(house, before)
        extra = house.connect(0)
        raises("53400", lambda: extra.ask("INSERT INTO marks SELECT 'one too many'"))
        started = time.monotonic()
        for request in house.pending():
            house.approve(request)
        for client in clients:
            client.until_ready()
        took = time.monotonic() - started
    ran = house.psql("SELECT count(*) || ' ' || count(DISTINCT mark) FROM marks WHERE mark LIKE 'held %'", "app")
    if ran != "1000 1000":
        raise AssertionError(f"not each of them ran once: {ran}")
    for client in clients:
        client.close()
    session, statement = connected / 1000 * 1024, (memory - connected) / 1000 * 1024
    return (f"{session:.0f} KiB a session, {statement:.0f} KiB more a held statement;"
            f" all decided and run once in {took:.1f} s; the 21st of one agent: 53400; {others.figures}")


class Load:
    """Clients that read and write until they are lost."""

    def __init__(self, house, count=4):
        self.house, self.is_over = house, threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(number,)) for number in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def work(self, number):
        with contextlib.suppress(Lost, Refused, OSError):
            client = self.house.connect(20 + number, name=f"soak load {number}")
            for turn in range(1_000_000):
                if self.is_over.is_set():
                    return
                client.ask(f"SELECT 'load {number} {turn} {time.monotonic_ns()}'")
                client.ask(f"INSERT INTO marks VALUES ('load {number} {turn} {time.monotonic_ns()}')")


def one_held_one_running(house, mark):
    """Two requests: one whose run waits for a lock, one that waits for a person; with their clients and the lock."""
    direct = ["psql", "-XqAt", f"postgresql://app@127.0.0.1:{house.server_port}/app"]
    lock = subprocess.Popen(direct, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lock.stdin.write("CREATE TABLE IF NOT EXISTS locked (mark text); BEGIN; LOCK TABLE locked; SELECT 'locked';\n")
    lock.stdin.flush()
    lock.stdout.readline()
    running_client, held_client = house.connect(1), house.connect(2)
    running_client.send(query(f"INSERT INTO locked SELECT '{mark} running'"))
    running = house.held(f"{mark} running")
    house.approve(running)
    eventually("it runs", lambda: any(f"{mark} running" in text for _, text in house.seen_by_server()))
    held_client.send(query(f"INSERT INTO marks SELECT '{mark} waiting'"))
    return running, house.held(f"{mark} waiting"), (running_client, held_client), lock


def unlock(lock):
    with contextlib.suppress(BrokenPipeError):
        lock.stdin.close()
    lock.wait(timeout=20)


def expect(house, request, *states):
    eventually(f"{request['text']}: {states}", lambda: house.state(request) in states, 30)


def nothing_unrecorded(house):
    lost = house.unrecorded()
    if lost:
        raise AssertionError(f"{len(lost)} statements reached the server and are not in the log: {lost[:3]}")


def killed_proxy(house):
    """kill -9 of the proxy, under load, with one statement held and one running"""
    house.start_proxy()
    with Load(house):
        running, waiting, _, lock = one_held_one_running(house, f"killed {time.monotonic_ns()}")
        time.sleep(1)
        house.stop_proxy(signal.SIGKILL)
    started = time.monotonic()
    house.start_proxy()
    took = time.monotonic() - started
    expect(house, running, "outcome_unknown")
    expect(house, waiting, "detached")
    unlock(lock)
    seen = len(house.seen_by_server())
    nothing_unrecorded(house)
    again = house.connect(2)
    again.send(query(waiting["text"].rstrip("\0")))
    house.approve(house.held(waiting["text"].rstrip("\0")))
    again.until_ready()
    return f"ready again after {took:.1f} s; states true; {seen} statements in the server's log, all in ours"


def killed_server(house):
    """kill -9 of a server process, with one statement held and one running"""
    house.start_proxy()
    mark = f"server {time.monotonic_ns()}"
    running, waiting, clients, lock = one_held_one_running(house, mark)
    backend = house.psql("SELECT pid FROM pg_stat_activity WHERE query LIKE '%running%' AND wait_event_type = 'Lock'")
    os.kill(int(backend.splitlines()[0]), signal.SIGKILL)
    for client in clients:
        try:
            client.until_ready()
        except (Refused, Lost):
            continue
        raise AssertionError("a statement went well whose server had died")
    unlock(lock)
    expect(house, running, "outcome_unknown", "failed")
    expect(house, waiting, "withdrawn")

    def works():
        try:
            return house.connect().ask("SELECT 3") == ["3"]
        except (Refused, Lost):
            return False

    eventually("the proxy serves again when the server does", works)
    nothing_unrecorded(house)
    return "every session told; the held one withdrawn, the running one outcome_unknown; new sessions at once"


def suspended(house):
    """proxy and server suspended for five seconds, with a statement that may wait for three"""
    house.start_proxy(wait_seconds=3)
    client, mark = house.connect(3), f"suspended {time.monotonic_ns()}"
    client.send(query(f"INSERT INTO marks SELECT '{mark}'"))
    request = house.held(mark)
    house.proxy.send_signal(signal.SIGSTOP)
    time.sleep(5)
    started = time.monotonic()
    house.proxy.send_signal(signal.SIGCONT)
    raises("55000", client.until_ready)
    late = time.monotonic() - started
    expect(house, request, "detached")
    if late > 6:
        raise AssertionError(f"the wait ended {late:.1f} s after the proxy went on")
    reader = house.connect(4)
    pids = [house.server.pid, *map(int, house.psql("SELECT pid FROM pg_stat_activity").split())]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    reader.send(query("SELECT 4"))
    time.sleep(5)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    if reader.until_ready() != ["4"]:
        raise AssertionError("no answer after the server went on")
    return f"the wait was over {late * 1000:.0f} ms after the proxy went on; sessions go on with the server"


FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


def clock(house):
    """the wall clock jumps an hour ahead, then two hours back"""
    if not os.path.exists(FAKETIME):
        return "NOT RUN: needs the Debian package faketime"
    times = os.path.join(house.folder, "time")

    def jump(offset):
        with open(times, "w") as file:
            file.write(offset)

    jump("+0")
    faked = {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": times, "FAKETIME_NO_CACHE": "1",
             "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    house.start_proxy(faked, expires_seconds=8, wait_seconds=8, wait_mcp_seconds=8, wait_transaction_seconds=8)
    client = house.connect()

    def held_until_it_expires(mark, offset):
        client.send(query(f"INSERT INTO marks SELECT '{mark}'"))
        request = house.held(mark)
        started = time.monotonic()
        jump(offset)
        expect(house, request, "expired")
        took = time.monotonic() - started
        try:
            client.until_ready()
        except Refused:
            return took
        raise AssertionError("it ran, and nobody had approved it")

    ahead = held_until_it_expires(f"ahead {time.monotonic_ns()}", "+3600")
    back = held_until_it_expires(f"back {time.monotonic_ns()}", "-3600")
    if back > 20:
        raise AssertionError(f"a clock set back keeps a request of 8 s open for {back:.0f} s")
    if client.ask("SELECT 6") != ["6"] or house.connect().ask("SELECT 7") != ["7"]:
        raise AssertionError("sessions do not go on")
    by_lane = {}
    for record in house.all("/log?order=oldest&limit=1000"):
        lane = record["id"].split(".")[0]
        if record["time"] < by_lane.get(lane, ""):
            raise AssertionError(f"the log's time goes back: {record}")
        by_lane[lane] = record["time"]
    return (f"ahead: a request of 8 s expired at once ({ahead * 1000:.0f} ms); back: after {back:.1f} s, by the clock"
            " that counts suspension; sessions go on, the log's times do not go back")


def full_disk(house):
    """a full disk under the log"""
    if os.geteuid() != 0:
        return "NOT RUN: needs root, to mount a small file system"
    os.makedirs(house.data, exist_ok=True)
    kept = os.path.join(house.folder, "kept")
    subprocess.run(["cp", "-a", house.data, kept], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=700", "tmpfs", house.data], check=True)
    try:
        subprocess.run(["cp", "-a", kept + "/.", house.data], check=True)
        house.start_proxy()
        client, mark = house.connect(), f"full {time.monotonic_ns()}"
        filler = os.path.join(house.data, "filler")
        with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        refused = taken = 0
        for turn in range(30_000):
            try:
                client.ask(f"SELECT '{mark} {turn}', '{'x' * 4000}'")
                taken += 1
            except Refused as error:
                if error.sqlstate != "58000":
                    raise
                refused += 1
                if refused == 20:
                    break
        if refused < 20:
            raise AssertionError(f"{taken} statements went well on a full disk")
        os.unlink(filler)
        eventually("it recovers without a restart", lambda: recovered(client))
        nothing_unrecorded(house)
        house.stop_proxy()
    finally:
        if house.proxy.poll() is None:
            house.stop_proxy(signal.SIGKILL)
        subprocess.run(["umount", house.data], check=True)
    return f"{taken} statements fitted into the reserved room, then 58000, none unrecorded; recovers without a restart"


def recovered(client):
    try:
        return client.ask("SELECT 5") == ["5"]
    except Refused:
        return False


ALL = [silent, silent_at_the_limit, deaf, parameters, held, killed_proxy, killed_server, suspended, clock, full_disk]
