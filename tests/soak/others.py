"""Somebody who only wants to work while the proxy is under stress: how long a small read takes, before and during.

Runs in a process of its own, so that the stress does not slow the one who measures it.
"""

import multiprocessing
import statistics
import time

from wire import Client, Lost, Refused


class Others:
    """A session that asks `SELECT 1` again and again. A context manager; `figures` afterwards."""

    def __init__(self, house, before_seconds=2):
        self.house, self.before_seconds = house, before_seconds

    def __enter__(self):
        context = multiprocessing.get_context("spawn")
        self.line, far = context.Pipe()
        secret = self.house.secrets["agent-50"]
        self.process = context.Process(target=work, args=(self.house.address, secret, far), daemon=True)
        self.process.start()
        if not self.line.poll(60) or self.line.recv() != "ready":
            raise AssertionError("another session does not even begin")
        time.sleep(self.before_seconds)
        self.line.send("during")
        return self

    def __exit__(self, kind, *_):
        self.line.send("stop")
        before, during, error = self.line.recv() if self.line.poll(60) else ([], [], "does not answer")
        self.process.join(timeout=10)
        if self.process.is_alive():
            self.process.kill()
        self.before, self.during, self.error = before, during, error
        if kind is None:
            self.check()

    def check(self):
        if self.error:
            raise AssertionError(f"another session was disturbed: {self.error}")
        if max(self.during) > 5:
            raise AssertionError(f"another session waited {max(self.during):.1f} s for an answer")

    @property
    def figures(self):
        before, during = statistics.median(self.before), statistics.median(self.during)
        slow, slowest = sorted(self.during)[int(len(self.during) * 0.99)] * 1000, max(self.during) * 1000
        return f"others: median x{during / before:.1f}, p99 {slow:.0f} ms, slowest {slowest:.0f} ms"


def work(address, secret, line):
    before, during, error = [], [], None
    try:
        client = Client(address, "agent-50", secret, name="others")
        for _ in range(200):  # the first answers pay for caches
            client.ask("SELECT 1")
        line.send("ready")
        into = before
        while True:
            if line.poll():
                if line.recv() == "stop":
                    break
                into = during
            started = time.monotonic()
            client.ask("SELECT 1")
            into.append(time.monotonic() - started)
            time.sleep(0.002)
    except (Lost, Refused, OSError) as failure:
        error = repr(failure)
    line.send((before, during, error))
