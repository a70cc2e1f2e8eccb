#!/usr/bin/env python3
"""The drivers' own tests, directly and through the proxy under rules/observe.toml: what passes directly must pass there.

    tests/suites/run.py [--program target/debug/countersign] [SUITE ...]

Each suite runs on a fresh server, once without and once with Countersign before it. `SUITE.txt` beside this file lists
the tests that may differ, under their reasons: one that differs and is not listed fails the run, and so does one that is
listed and does not differ. `./test --suites` fetches what is needed and runs this.
"""

import argparse
import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile

import stage

HERE = pathlib.Path(__file__).parent
KEPT = stage.ROOT / "target" / "drivers" / "suites"
# A test that takes longer has failed.
TEST_SECONDS_MAX = 60
# What hangs behind such a test cannot be interrupted: then the rest of its suite has failed too.
SUITE_SECONDS_MAX = 1800
# The database that a suite may do with as it likes.
DATABASE = "suite"


@dataclasses.dataclass
class Suite:
    name: str
    version: str
    # Folder of its tests.
    tests: str
    # Run by the superuser in each database before.
    preparation: str
    environment: dict


SUITES = [
    Suite("asyncpg", "0.32.0", "tests", "", {"PGDATABASE": DATABASE}),
    Suite("psycopg2", "2.9.13", "tests", "CREATE EXTENSION hstore",
          {"PSYCOPG2_TESTDB": DATABASE, "PSYCOPG2_TEST_REPL_DSN": ""}),
    Suite("pg8000", "1.31.6", "test", "CREATE EXTENSION hstore", {}),
]


def listed(suite):
    """Test -> why it may differ. Shape of the file: a reason behind `# `, then its tests, one a line."""
    file, reason, tests = HERE / f"{suite.name}.txt", None, {}
    for line in file.read_text().splitlines():
        if line.startswith("# "):
            reason = line[2:]
        elif line:
            if reason is None or line in tests:
                stage.fail(f"{file.name}: `{line}` has no reason above it, or stands twice", "mend the list")
            tests[line] = reason
    return tests


def outcomes(suite, port, password, lane, tests=()):
    """Test -> passed, failed or skipped, as outcomes.py writes them."""
    folder, file = KEPT / suite.name, KEPT / f"{suite.name}.{lane}"
    environment = {
        **os.environ, **suite.environment, "LC_ALL": "C.UTF-8", "PGHOST": "127.0.0.1", "PGPORT": str(port),
        "PGUSER": stage.USER, "PGPASSWORD": password, "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1",
        "OUTCOMES": str(file),
    }
    command = [
        KEPT / "python/bin/python", "-m", "pytest", "-q", "-p", "outcomes", "-p", "no:cacheprovider", "--benchmark-disable",
        f"--timeout={TEST_SECONDS_MAX}", *(tests or [suite.tests]),
    ]
    with (KEPT / f"{suite.name}.{lane}.report").open("w") as report:
        options = {"cwd": folder, "env": environment, "stdout": report, "stderr": report}
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, timeout=SUITE_SECONDS_MAX, **options)
        except subprocess.TimeoutExpired:
            print(f"{suite.name}: its tests hang, see {report.name}", file=sys.stderr)
    lines = file.read_text().splitlines() if file.is_file() else []
    if not lines:
        stage.fail(f"no test of {suite.name} ran", f"read {report.name}")
    pairs = [line.split(" ", 1) for line in lines]
    # psycopg2's files have a function of this name that only makes a list of tests.
    return {test: outcome for outcome, test in pairs if not test.endswith("::test_suite")}


def check(suite, program, scratch):
    """Whether the suite does through the proxy what it does directly, but for its list."""
    settings = {"max_prepared_transactions": 10, "wal_level": "logical", "jit": "off"}
    lanes = {}
    for lane in ("direct", "proxied"):
        server = stage.Server(scratch / f"{suite.name}-{lane}", settings)
        try:
            server.psql("postgres", f"CREATE DATABASE {DATABASE}")
            for database in ("postgres", DATABASE):
                server.psql(database, suite.preparation)
            if lane == "direct":
                lanes[lane] = outcomes(suite, server.port, server.password, lane)
                continue
            proxy = stage.Proxy(program, scratch / f"{suite.name}-proxy", server, "observe")
            try:
                lanes[lane] = outcomes(suite, proxy.port, proxy.password, lane)
                # Tests have time limits of their own, and the machine may be busy: they are tried once more, alone.
                again = sorted(differing(lanes) - listed(suite).keys())
                if again:
                    lanes[lane] |= outcomes(suite, proxy.port, proxy.password, "again", again)
            finally:
                proxy.stop()
        finally:
            server.stop()
    return verdict(suite, lanes)


def differing(lanes):
    passed = {test for test, outcome in lanes["direct"].items() if outcome == "passed"}
    return {test for test in passed if lanes["proxied"].get(test) != "passed"}


def verdict(suite, lanes):
    differ, known = differing(lanes), listed(suite)
    passed = sum(outcome == "passed" for outcome in lanes["direct"].values())
    print(f"{suite.name} {suite.version}: of {len(lanes['direct'])} tests {passed} pass directly, "
          f"{passed - len(differ)} of these through the proxy", flush=True)
    for test in sorted(differ - known.keys()):
        print(f"  differs, and is not listed: {test}")
    must = {test for test, reason in known.items() if not reason.startswith("sometimes: ")}
    for test in sorted(must - differ):
        print(f"  is listed, and does not differ: {test}")
    return must <= differ <= known.keys()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path, default=stage.ROOT / "target/debug/countersign")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(suite.name for suite in SUITES))
    arguments = parser.parse_args()
    chosen = [suite for suite in SUITES if not arguments.suites or suite.name in arguments.suites]
    if not chosen:
        stage.fail("no such suite", parser.format_usage().strip())
    with tempfile.TemporaryDirectory(prefix="countersign-suites-") as scratch:
        os.chmod(scratch, 0o711)
        program = arguments.program.resolve()
        results = [check(suite, program, pathlib.Path(scratch)) for suite in chosen]
    sys.exit(0 if all(results) else f"read {KEPT}/*.report, mend what is ours, or list it with its reason")


main()
