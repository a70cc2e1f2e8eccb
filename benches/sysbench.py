#!/usr/bin/env python3
"""What the proxy adds to reads of MariaDB: sysbench straight to the server, through Countersign and through HAProxy.

    benches/sysbench.py [--seconds 3] [--rounds 3] [--threads 1,8,32] [--scripts oltp_point_select,oltp_read_only]

Needs a release build, sysbench, haproxy and mariadbd (Debian packages sysbench, haproxy, mariadb-server-core). All run in
turns within each round on loopback, so ratios of one round compare like with like; CPU is what the proxy's own process
used, by /proc. Prints one table; nothing is asserted but that no statement failed, because a shared machine is noisy.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "suites"))

import mariadb  # beside this file
import stage
from pgbench import cpu_seconds, start_haproxy, wait_for

PROGRAM = ROOT / "target" / "release" / "countersign"
SCHEMA = "app"
# How a text goes: as it is, or prepared once and executed in binary.
PROTOCOLS = {"text": "disable", "binary": "auto"}


class Proxy:
    """`countersign serve` in front of the server, with one agent."""

    def __init__(self, folder, server):
        folder.mkdir(mode=0o700)
        (folder / "password").write_text(server.password)
        settings = folder / "countersign.toml"
        settings.write_text(
            f'data_dir = "{folder}/data"\n[api]\naddress = "127.0.0.1:0"\n'
            f'[mysql.listen]\naddress = "127.0.0.1:0"\n[mysql.upstream]\nport = {server.port}\n'
            f'[[mysql.upstream.users]]\nname = "root"\npassword_file = "{folder}/password"\n'
        )
        (folder / "data").mkdir(mode=0o700)
        place = ["--config", settings, "--json"]
        stage.run([PROGRAM, "user", "add", "owner", "--role", "auditor", *place])
        agent = ["agent", "add", "bench", "--owner", "owner", "--database-user", "root", "--mysql-native"]
        self.password = json.loads(stage.run([PROGRAM, *agent, *place]))["secret"]
        self.log = folder / "serve.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([PROGRAM, "serve", *place], stdout=subprocess.PIPE, stderr=log, text=True)
        line = self.process.stdout.readline()
        if not line:
            stage.fail(f"the proxy did not start: {self.log.read_text()}", "read its words above")
        self.port = int(json.loads(line)["mysql_listen"].rsplit(":", 1)[1])

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def sysbench(way, *words):
    port, user, password, _ = way
    return stage.run([
        "sysbench", "--db-driver=mysql", "--mysql-host=127.0.0.1", f"--mysql-port={port}", f"--mysql-user={user}",
        f"--mysql-password={password}", f"--mysql-db={SCHEMA}", "--tables=4", "--table-size=10000", *words,
    ])


def one_run(way, script, protocol, threads, seconds):
    """Statements in all, and in a second."""
    report = sysbench(
        way, script, f"--db-ps-mode={PROTOCOLS[protocol]}", f"--threads={threads}", f"--time={seconds}", "run"
    )
    errors = re.search(r"ignored errors: +(\d+)", report)[1]
    if errors != "0":
        stage.fail(f"{errors} errors in {script}: {report}", "see what the proxy says of them")
    queries, per_second = re.search(r"queries: +(\d+) +\(([\d.]+) per sec", report).groups()
    return int(queries), float(per_second)


def measure(ways, script, protocol, threads, chosen):
    speeds, costs = {name: [] for name in ways}, {name: [] for name in ways}
    for _ in range(chosen.rounds):
        for name, way in ways.items():
            process = way[3]
            before = cpu_seconds(process) if process else 0
            statements, per_second = one_run(way, script, protocol, threads, chosen.seconds)
            speeds[name].append(per_second)
            if process:
                costs[name].append((cpu_seconds(process) - before) * 1e6 / statements)
    for name in ways:
        to_direct = statistics.median(own / base for own, base in zip(speeds[name], speeds["direct"]))
        to_haproxy = statistics.median(own / base for own, base in zip(speeds[name], speeds["haproxy"]))
        cost = f"{min(costs[name]):.1f}" if costs[name] else "-"
        print(
            f"{script:18} {protocol:7} {threads:7} {name:12} {to_direct:16.2f} {to_haproxy:11.2f} {cost:>17}", flush=True
        )


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--threads", default="1,8,32")
    arguments.add_argument("--scripts", default="oltp_point_select,oltp_read_only")
    chosen = arguments.parse_args()
    missing = [name for name in ("sysbench", "haproxy", "mariadb") if not shutil.which(name)]
    if missing:
        stage.fail(f"missing: {', '.join(missing)}", "apt-get install sysbench haproxy mariadb-server-core")
    if not PROGRAM.exists():
        stage.fail("no release build", "run ./demo --prepare")

    folder = pathlib.Path(tempfile.mkdtemp(prefix="countersign-bench-"))
    # The server's own user must reach its folder in it.
    folder.chmod(0o711)
    server, proxy, haproxy = mariadb.Server(folder / "mariadb"), None, None
    try:
        stage.run([*server.client(), "-e", f"CREATE DATABASE {SCHEMA}"], env=server.environment())
        direct = (server.port, "root", server.password, None)
        sysbench(direct, "oltp_read_only", "prepare")
        proxy = Proxy(folder / "proxy", server)
        haproxy, haproxy_port = start_haproxy(folder, server.port)
        wait_for(haproxy_port)
        ways = {
            "direct": direct,
            "countersign": (proxy.port, "bench", proxy.password, proxy.process.pid),
            "haproxy": (haproxy_port, "root", server.password, haproxy.pid),
        }
        print(
            f"{'script':18} {'protocol':7} {'threads':>7} {'way':12} {'ratio to direct':>16} {'to haproxy':>11} "
            f"{'CPU us/statement':>17}"
        )
        for script in chosen.scripts.split(","):
            for protocol in PROTOCOLS:
                for threads in map(int, chosen.threads.split(",")):
                    measure(ways, script, protocol, threads, chosen)
    finally:
        if haproxy:
            haproxy.terminate()
            haproxy.wait()
        if proxy:
            proxy.stop()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
