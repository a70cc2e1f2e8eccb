#!/usr/bin/env python3
"""The figures of docs/judgement.md: what gets through, what is held without need, and what judging costs.

    benches/judgement.py [--program target/release/countersign] [--without-regress] [--list]

Judges the corpora of tests/corpus with the program's own `judge` command: by built-in knowledge alone, and with the live
catalogs of scratch servers that it starts and ends. Plain reads of PostgreSQL's regression scripts are those that
built-in knowledge calls a read; they are judged again with the catalog that the scripts leave behind. Costs come from
`cargo bench --bench judge`. `--list` names every statement that misses its target.
"""

import argparse
import collections
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "corpus"
# Both folders have a run.py: the regression scripts' is meant.
sys.path[:0] = [str(ROOT / "tests" / "regress"), str(ROOT / "tests" / "suites")]

import mariadb  # noqa: E402
import run as regress  # noqa: E402
import stage  # noqa: E402

DATABASE = "corpus"
# Labels of clients.jsonl that nobody should ever wait for.
UNHELD = ("read", "session", "transaction")
# What PostgreSQL's own pg_regress sets for every script, as regress.Lane has it.
FIXTURE_SETTINGS = {"wal_level": "logical", "max_prepared_transactions": 4}


def cases(file):
    return [json.loads(line) for line in (CORPUS / file).read_text().splitlines()]


def judge(program, questions, *options, environment=None):
    """One answer a question, in order."""
    lines = "\n".join(json.dumps(question) for question in questions)
    done = subprocess.run(
        [program, "judge", "--jsonl", *options], input=lines, stdout=subprocess.PIPE, text=True,
        env={**stage.CLEAN, **(environment or {})},
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if len(answers) != len(questions):
        stage.fail(f"`judge` gave {len(answers)} answers to {len(questions)} questions", "read its words above")
    return answers


def question(case, port=None):
    dialect = "mariadb" if case["dialect"] == "mysql" and case.get("family") != "mysql8_only" else case["dialect"]
    asked = {"id": case.get("id"), "dialect": dialect, "session": case.get("session", [])}
    if "sql_hex" in case:
        return {**asked, "sql_hex": case["sql_hex"]}
    sql = case["sql"] if port is None else case["sql"].replace("{PGPORT}", str(port))
    return {**asked, "sql": sql}


class Report:
    """Rows of the table, and what misses."""

    def __init__(self, show):
        self.show, self.rows = show, []

    def add(self, measure, target, missed, total):
        share = f"{len(missed)} of {total}" + (f" ({100 * len(missed) / total:.2f} %)" if missed and total else "")
        self.rows.append((measure, target, share))
        if self.show:
            for line in missed:
                print(f"  {measure}: {line}", file=sys.stderr)

    def print(self):
        print("| measure | target | measured |\n|---|---|---|")
        for row in self.rows:
            print("| " + " | ".join(row) + " |")


def corpus(report, how, dialect, judged, with_catalog):
    """Risky statements that pass, and harmless ones that do not."""
    risky = [(case, answer) for case, answer in judged if case["expect"] in ("hold", "deny")]
    writes = [(case, answer) for case, answer in judged if case["expect"] == "write-policy"]
    harmless = [(case, answer) for case, answer in judged if case["expect"] == "pass"]
    beyond = {"metering"} if with_catalog else {"metering", "catalog"}
    passed = [
        (case, answer) for case, answer in risky
        if answer.get("verdict") == "allow" and not beyond & set(needs(case))
    ] + [(case, answer) for case, answer in writes if answer.get("class") in UNHELD and answer["verdict"] == "allow"]
    held = [
        (case, answer) for case, answer in harmless
        if answer.get("verdict") != "allow" and (with_catalog or "catalog" not in needs(case))
    ]
    word = lambda pair: f"{pair[0]['id']}: {pair[0].get('sql', '')[:100]!r} {pair[1].get('reasons')}"
    report.add(f"risky statements allowed, {dialect}, {how}", "0", list(map(word, passed)), len(risky) + len(writes))
    report.add(f"harmless statements held, {dialect}, {how}", "0", list(map(word, held)), len(harmless))


def needs(case):
    words = case.get("needs", [])
    return words if isinstance(words, list) else [words]


def clients(report, how, dialect, judged):
    held = [(case, answer) for case, answer in judged if answer.get("verdict") != "allow"]
    word = lambda pair: f"{pair[0]['client']}: {pair[0]['sql'][:100]!r} {pair[1].get('reasons')}"
    report.add(
        f"reads, session and transaction statements of clients held, {dialect}, {how}", "under 0.3 %",
        list(map(word, held)), len(judged),
    )


def texts(dialect):
    """The corpus's plain texts; its sequences of messages are tests/protocol.rs's."""
    return [case for case in cases("statements.jsonl") if case["dialect"] == dialect and "steps" not in case]


def of_clients(dialect):
    return [case for case in cases("clients.jsonl") if case["dialect"] == dialect and case["label"] in UNHELD]


def offline(report, program):
    for dialect in ("postgres", "mysql"):
        asked = texts(dialect)
        judged = list(zip(asked, judge(program, map_list(question, asked))))
        corpus(report, "offline", dialect, judged, with_catalog=False)
        asked = of_clients(dialect)
        clients(report, "offline", dialect, list(zip(asked, judge(program, map_list(question, asked)))))


def map_list(function, items):
    return [function(item) for item in items]


def live_postgres(report, program, folder):
    """Each case with a set-up gets a database of its own, copied from the fixtures'."""
    server = stage.Server(folder / "postgres", FIXTURE_SETTINGS)
    try:
        server.psql("postgres", f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        subprocess.run(
            [stage.BINARIES / "psql", "-XqAt", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1", "-f", CORPUS / "fixtures.postgres.sql",
             server.url(DATABASE)], env=stage.CLEAN, check=True, stdout=subprocess.DEVNULL,
        )
        ask = lambda questions, database=DATABASE: judge(
            program, questions, "--upstream", server.url(database), "--database", database,
        )
        asked = texts("postgres")
        plain = [case for case in asked if not case.get("setup")]
        judged = list(zip(plain, ask([question(case, server.port) for case in plain])))
        for number, case in enumerate(case for case in asked if case.get("setup")):
            database = f"case_{number}"
            server.psql("postgres", f"CREATE DATABASE {database} TEMPLATE {DATABASE}")
            for statement in case["setup"]:
                statement = statement.replace("{PGPORT}", str(server.port)).replace(f"'{DATABASE}'", f"'{database}'")
                subprocess.run(
                    [stage.BINARIES / "psql", "-Xq", "-c", statement, server.url(database)], env=stage.CLEAN,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )
            judged += zip([case], ask([question(case, server.port)], database))
            server.psql("postgres", f"DROP DATABASE {database} WITH (FORCE)")
        corpus(report, "live catalog", "postgres", judged, with_catalog=True)
        asked = of_clients("postgres")
        clients(report, "live catalog", "postgres", list(zip(asked, ask(map_list(question, asked)))))
    finally:
        server.stop()


def live_mariadb(report, program, folder):
    server = mariadb.Server(folder / "mariadb")
    try:
        server.fixtures(CORPUS / "fixtures.mysql.sql")
        ask = lambda questions: judge(program, questions, "--upstream", server.url("app"), "--database", "app")
        asked = [case for case in texts("mysql") if not case.get("setup") and case.get("family") != "mysql8_only"]
        judged = list(zip(asked, ask(map_list(question, asked))))
        corpus(report, "live catalog", "mysql", judged, with_catalog=True)
        asked = of_clients("mysql")
        clients(report, "live catalog", "mysql", list(zip(asked, ask(map_list(question, asked)))))
    finally:
        server.stop()


def regression_reads(report, program, folder):
    """Plain reads of PostgreSQL's regression scripts, with the catalog that the scripts leave behind."""
    version = regress.server_version()
    kept = regress.KEPT / version
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copytree(regress.scripts_folder(kept, version), folder / "scripts")
    shutil.copytree(regress.modules_folder(kept, version, folder / "scripts"), folder / "modules")
    server = regress.Server(folder / "regress", regress.server_user())
    try:
        lane = regress.Lane(server, server.port, server.password, folder / "scripts", folder / "modules")
        for name in regress.schedule(folder / "scripts"):
            lane.psql(name)
        sent = list(dict.fromkeys(server.statements()))
        asked = [{"id": at, "sql": text} for at, text in enumerate(sent)]
        plain = [
            question for question, answer in zip(asked, judge(program, asked))
            if answer.get("class") == "read" and answer.get("verdict") == "allow"
        ]
        answers = judge(program, plain, "--upstream", server.url(regress.DATABASE), "--database", regress.DATABASE)
        held = [(question, answer) for question, answer in zip(plain, answers) if answer.get("verdict") != "allow"]
        word = lambda pair: f"{pair[0]['sql'][:100]!r} {pair[1].get('reasons')}"
        report.add("plain reads of PostgreSQL's regression scripts held, live catalog", "under 2 %",
                   list(map(word, held)), len(plain))
        reasons = collections.Counter(reason for _, answer in held for reason in answer.get("reasons", [])[:1])
        for reason, count in reasons.most_common(10):
            print(f"  {count} held: {reason}", file=sys.stderr)
    finally:
        server.stop()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--program", type=pathlib.Path, default=ROOT / "target" / "release" / "countersign")
    arguments.add_argument("--without-regress", action="store_true", help="leave PostgreSQL's own scripts out: minutes less")
    arguments.add_argument("--list", action="store_true", help="name every statement that misses its target")
    chosen = arguments.parse_args()
    if not chosen.program.is_file():
        stage.fail(f"there is no {chosen.program}", "cargo build --release")
    report = Report(chosen.list)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="countersign-judgement-"))
    folder.chmod(0o711)
    try:
        offline(report, chosen.program)
        live_postgres(report, chosen.program, folder)
        live_mariadb(report, chosen.program, folder)
        if not chosen.without_regress:
            regression_reads(report, chosen.program, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.print()


if __name__ == "__main__":
    main()
