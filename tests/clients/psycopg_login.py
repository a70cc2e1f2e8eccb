"""psycopg 3 logs in as its connection string says: what libpq agreed on, then a cancel if it is told to."""

import sys
import threading

import psycopg

url, *statement = sys.argv[1:]
try:
    connection = psycopg.connect(url, autocommit=True)
except psycopg.OperationalError as error:
    print("refused", " ".join(str(error).split()), flush=True)
    sys.exit()
with connection:
    tls = "tls" if connection.pgconn.ssl_in_use else "plain"
    print("in", connection.info.full_protocol_version, tls, flush=True)
    if statement:
        told = threading.Thread(target=lambda: sys.stdin.readline() and connection.cancel_safe(), daemon=True)
        told.start()
        try:
            connection.execute(statement[0])
            print("ok", flush=True)
        except psycopg.Error as error:
            print("error", error.sqlstate, flush=True)
    print("after", connection.execute("SELECT 1").fetchone()[0], flush=True)
