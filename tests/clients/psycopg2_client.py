"""psycopg2 with its defaults: simple protocol, parameters in the text, a transaction opened by the first statement."""

import json
import sys
import threading

import psycopg2


def report(error):
    print("error", error.pgcode, str(error).splitlines()[0], flush=True)
    print("shown", json.dumps(f"{type(error).__name__}: {error}"), flush=True)


def read(connection):
    cursor = connection.cursor()
    cursor.execute("SELECT id, status, placed_at, note FROM orders ORDER BY id LIMIT 5")
    rows = cursor.fetchall()
    cursor.execute("SELECT name, preferences FROM customers WHERE id = %s", (7,))
    rows += cursor.fetchall()
    cursor.execute("SELECT name FROM countries WHERE code = ANY(%s)", (["DE", "FR"],))
    rows += cursor.fetchall()
    with connection.cursor(name="page") as page:  # a server-side cursor: DECLARE, FETCH, CLOSE
        page.execute("SELECT id FROM suppliers ORDER BY id")
        rows += page.fetchmany(10)
    connection.commit()
    print("rows", len(rows), flush=True)


def run(connection, words, statement, *values):
    try:
        cursor = connection.cursor()
        cursor.execute(statement, values or None)
        found = cursor.fetchall() if cursor.description else []
        connection.commit()
        print(words.format(len(found)), flush=True)
    except psycopg2.Error as error:
        report(error)
        connection.rollback()


def cancel_when_told(connection):
    if sys.stdin.readline().strip() == "cancel":
        connection.cancel()


url, mode, *argument = sys.argv[1:]
connection = psycopg2.connect(url)
if mode == "read":
    read(connection)
    sys.exit()
if mode == "cancel":
    threading.Thread(target=cancel_when_told, args=(connection,), daemon=True).start()
if mode == "delete":
    run(connection, "rows {}", f"DELETE FROM {argument[0]} WHERE n > %s RETURNING n", 3)
else:
    run(connection, "ok", *argument)
cursor = connection.cursor()
cursor.execute("SELECT 1")
print("after", cursor.fetchone()[0], flush=True)
