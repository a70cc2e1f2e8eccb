"""psycopg 3 with its defaults: a transaction is opened by the first statement, server-side binding."""

import json
import sys
import threading

import psycopg


def report(error):
    print("error", error.sqlstate, str(error).splitlines()[0], flush=True)
    print("shown", json.dumps(f"{type(error).__name__}: {error}"), flush=True)


def read(connection):
    rows = connection.execute("SELECT id, status, placed_at, note FROM orders ORDER BY id LIMIT 5").fetchall()
    rows += connection.execute("SELECT name, preferences FROM customers WHERE id = %s", (7,)).fetchall()
    rows += connection.execute("SELECT name FROM countries WHERE code = ANY(%s)", (["DE", "FR"],)).fetchall()
    for product in range(1, 9):  # psycopg prepares a statement after five uses
        rows += connection.execute("SELECT price_cents FROM products WHERE id = %s", (product,)).fetchall()
    with connection.cursor(name="page") as cursor:  # a server-side cursor: DECLARE, FETCH, CLOSE
        cursor.execute("SELECT id FROM suppliers ORDER BY id")
        rows += cursor.fetchmany(10)
    connection.commit()
    print("rows", len(rows), flush=True)


def run(connection, statement):
    try:
        connection.execute(statement)
        connection.commit()
        print("ok", flush=True)
    except psycopg.Error as error:
        report(error)
        connection.rollback()


def delete(connection, table):
    try:
        rows = connection.execute(f"DELETE FROM {table} WHERE n > %s RETURNING n", (3,)).fetchall()
        connection.commit()
        print("rows", len(rows), flush=True)
    except psycopg.Error as error:
        report(error)
        connection.rollback()


def cancel_when_told(connection):
    if sys.stdin.readline().strip() == "cancel":
        connection.cancel_safe()


url, mode, *argument = sys.argv[1:]
with psycopg.connect(url) as connection:
    if mode == "read":
        read(connection)
        sys.exit()
    if mode == "cancel":
        threading.Thread(target=cancel_when_told, args=(connection,), daemon=True).start()
    if mode == "delete":
        delete(connection, *argument)
    else:
        run(connection, *argument)
    print("after", connection.execute("SELECT 1").fetchone()[0], flush=True)
