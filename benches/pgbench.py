#!/usr/bin/env python3
"""What the proxy adds to small reads: `pgbench -n -S` straight to PostgreSQL, through Countersign, HAProxy and PgBouncer.

    benches/pgbench.py [--seconds 5] [--rounds 5] [--clients 1,8] [--protocols simple,extended,prepared]

Needs a release build, pgbench, haproxy and pgbouncer (Debian packages postgresql-contrib, haproxy, pgbouncer). All run in
turns within each round on loopback, so ratios of one round compare like with like; CPU is what the proxy's own process
used, by /proc. Prints one table; nothing is asserted, because a shared machine is noisy.
"""

import argparse
import json
import os
import pwd
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from urllib.parse import urlsplit

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAM = os.path.join(ROOT, "target", "release", "countersign")
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def need(*programs):
    missing = [name for name in programs if not shutil.which(name)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}; install haproxy, pgbouncer and PostgreSQL's client programs")


def cpu_seconds(process):
    with open(f"/proc/{process}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def wait_for(port):
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nothing listens on {port}")


def start_haproxy(folder, server_port):
    port = free_port()
    path = os.path.join(folder, "haproxy.cfg")
    with open(path, "w") as settings:
        settings.write(
            "global\n  nbthread 2\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n"
            f"listen pg\n  bind 127.0.0.1:{port}\n  server pg 127.0.0.1:{server_port}\n"
        )
    return subprocess.Popen(["haproxy", "-db", "-f", path], stderr=subprocess.DEVNULL), port


def start_pgbouncer(folder, url):
    port = free_port()
    users = os.path.join(folder, "users.txt")
    path = os.path.join(folder, "pgbouncer.ini")
    with open(users, "w") as file:
        file.write(f'"{url.username}" "{url.password}"\n')
    with open(path, "w") as settings:
        settings.write(
            f"[databases]\n* = host=127.0.0.1 port={url.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nauth_type = scram-sha-256\nauth_file = {users}\npool_mode = session\n"
            "max_client_conn = 200\ndefault_pool_size = 100\nunix_socket_dir =\n"
            "ignore_startup_parameters = extra_float_digits,options\n"
        )
    command = ["pgbouncer", "-q", path]
    if os.geteuid() == 0:
        # It refuses to run as root.
        nobody = pwd.getpwnam("nobody")
        for name in (folder, users, path):
            os.chown(name, nobody.pw_uid, nobody.pw_gid)
        command = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", *command]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL), port


def pgbench(url, protocol, clients, seconds):
    run = subprocess.run(
        ["pgbench", "-n", "-S", "-M", protocol, "-c", str(clients), "-j", "1", "-T", str(seconds), url],
        capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"},
    )
    if run.returncode != 0:
        sys.exit(f"pgbench failed: {run.stderr}")
    transactions = int(re.search(r"number of transactions actually processed: (\d+)", run.stdout)[1])
    per_second = float(re.search(r"tps = ([\d.]+)", run.stdout)[1])
    return transactions, per_second


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=int, default=5)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--clients", default="1,8")
    arguments.add_argument("--protocols", default="simple,extended,prepared")
    chosen = arguments.parse_args()
    need("pgbench", "haproxy", "pgbouncer")
    if not os.path.exists(PROGRAM):
        sys.exit("no release build: run ./demo --prepare")

    folder = tempfile.mkdtemp(prefix="countersign-bench-")
    demo = subprocess.Popen([PROGRAM, "demo", "--json", "--only", "postgres"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    others = []
    try:
        sheet = json.loads(demo.stdout.readline())
        direct = urlsplit(sheet["admin_postgres_url"])
        made = subprocess.run(["pgbench", "-i", "-q", "-s", "1", sheet["admin_postgres_url"]], capture_output=True, text=True)
        if made.returncode != 0:
            sys.exit(f"pgbench -i failed: {made.stderr}")
        haproxy, haproxy_port = start_haproxy(folder, direct.port)
        bouncer, bouncer_port = start_pgbouncer(folder, direct)
        others = [haproxy, bouncer]
        wait_for(haproxy_port)
        wait_for(bouncer_port)
        through = lambda port: sheet["admin_postgres_url"].replace(f":{direct.port}/", f":{port}/")
        ways = {
            "direct": (sheet["admin_postgres_url"], None),
            "countersign": (sheet["postgres_url"], demo.pid),
            "haproxy": (through(haproxy_port), haproxy.pid),
            "pgbouncer": (through(bouncer_port), bouncer.pid),
        }
        print(f"{'protocol':9} {'clients':>7} {'way':12} {'tps ratio to direct':>20} {'to haproxy':>11} {'CPU us/statement':>17}")
        for protocol in chosen.protocols.split(","):
            for clients in map(int, chosen.clients.split(",")):
                measure(ways, protocol, clients, chosen)
    finally:
        for process in [*others, demo]:
            process.send_signal(signal.SIGTERM)
        for process in [*others, demo]:
            process.wait(timeout=20)
        shutil.rmtree(folder, ignore_errors=True)


def measure(ways, protocol, clients, chosen):
    speeds = {name: [] for name in ways}
    costs = {name: [] for name in ways}
    for _ in range(chosen.rounds):
        for name, (url, process) in ways.items():
            before = cpu_seconds(process) if process else 0
            transactions, per_second = pgbench(url, protocol, clients, chosen.seconds)
            speeds[name].append(per_second)
            if process:
                costs[name].append((cpu_seconds(process) - before) * 1e6 / transactions)
    for name in ways:
        to_direct = statistics.median(own / base for own, base in zip(speeds[name], speeds["direct"]))
        to_haproxy = statistics.median(own / base for own, base in zip(speeds[name], speeds["haproxy"]))
        cost = f"{min(costs[name]):.1f}" if costs[name] else "-"
        print(f"{protocol:9} {clients:7} {name:12} {to_direct:20.2f} {to_haproxy:11.2f} {cost:>17}", flush=True)


if __name__ == "__main__":
    main()
