"""pg8000's DB-API with its defaults: extended protocol with a Sync behind each message, a transaction opened by itself.

pg8000 has no cancel; its users call pg_cancel_backend on another connection. It says nowhere what its process id is, so
that is asked.
"""

import json
import sys
import threading
import urllib.parse

import pg8000.dbapi


def connect():
    place = urllib.parse.urlsplit(sys.argv[1])
    return pg8000.dbapi.connect(
        user=place.username, password=place.password, host=place.hostname, port=place.port, database=place.path[1:]
    )


def report(error):
    told = error.args[0]  # the fields of the server's message, by their letters
    print("error", told["C"], told["M"], flush=True)
    print("shown", json.dumps(f"{type(error).__name__}: {error}"), flush=True)


def read(connection):
    cursor, rows = connection.cursor(), 0
    cursor.execute("SELECT id, status, placed_at, note FROM orders ORDER BY id LIMIT 5")
    rows += len(cursor.fetchall())
    cursor.execute("SELECT name, preferences FROM customers WHERE id = %s", (7,))
    rows += len(cursor.fetchall())
    cursor.execute("SELECT name FROM countries WHERE code = ANY(%s)", (["DE", "FR"],))
    rows += len(cursor.fetchall())
    connection.commit()
    print("rows", rows, flush=True)


def run(connection, words, statement, *values):
    try:
        cursor = connection.cursor()
        cursor.execute(statement, values)
        found = cursor.fetchall() if cursor.description else []
        connection.commit()
        print(words.format(len(found)), flush=True)
    except pg8000.dbapi.DatabaseError as error:
        report(error)
        connection.rollback()


def cancel_when_told(process):
    if sys.stdin.readline().strip() == "cancel":
        connect().cursor().execute("SELECT pg_cancel_backend(%s)", (process,))


mode, *argument = sys.argv[2:]
connection = connect()
if mode == "read":
    read(connection)
    sys.exit()
if mode == "cancel":
    cursor = connection.cursor()
    cursor.execute("SELECT pg_backend_pid()")
    process = cursor.fetchone()[0]
    connection.rollback()
    threading.Thread(target=cancel_when_told, args=(process,), daemon=True).start()
if mode == "delete":
    run(connection, "rows {}", f"DELETE FROM {argument[0]} WHERE n > %s RETURNING n", 3)
else:
    run(connection, "ok", *argument)
cursor = connection.cursor()
cursor.execute("SELECT 1")
print("after", cursor.fetchone()[0], flush=True)
