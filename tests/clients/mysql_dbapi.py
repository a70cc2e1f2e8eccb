"""What the Python drivers for MySQL have in common: the modes of README.md, spoken through the DB-API."""

import json
import sys
import threading
import urllib.parse


def parts(url):
    """host, port, user, password and database, as every driver wants them."""
    url = urllib.parse.urlsplit(url)
    return {
        "host": url.hostname,
        "port": url.port,
        "user": url.username,
        "password": urllib.parse.unquote(url.password or ""),
        "database": url.path.strip("/"),
    }


def report(error):
    number, *words = error.args if error.args else (0, "")
    number = getattr(error, "errno", None) or number
    message = getattr(error, "msg", None) or " ".join(map(str, words))
    print("error", number, message.splitlines()[0], flush=True)
    print("shown", json.dumps(f"{type(error).__name__}: {error}"), flush=True)


class Client:
    """`connect(**parts)` opens a connection, `connection_id(connection)` is the server's number for it, `more_reads` is what
    this driver can besides: it gets a connection and gives rows."""

    def __init__(self, errors, connect, connection_id, more_reads):
        self.errors, self.connect, self.connection_id, self.more_reads = errors, connect, connection_id, more_reads

    def main(self):
        self.url, mode, *argument = sys.argv[1:]
        connection = self.connect(**parts(self.url))
        if mode == "read":
            self.read(connection)
            return
        if mode == "cancel":
            number = self.connection_id(connection)
            threading.Thread(target=self.cancel_when_told, args=(number,), daemon=True).start()
        if mode == "delete":
            self.run(connection, "rows {}", f"DELETE FROM {argument[0]} WHERE n > %s", (3,))
        elif mode == "transaction":
            self.transaction(connection, *argument)
        else:
            self.run(connection, "ok", *argument)
        print("after", self.rows(connection, "SELECT 1")[0][0], flush=True)
        connection.close()

    def rows(self, connection, statement, values=None):
        cursor = connection.cursor()
        cursor.execute(statement, values)
        rows = cursor.fetchall()
        cursor.close()
        return rows

    def read(self, connection):
        rows = list(self.rows(connection, "SELECT id, status, total, placed_at, note FROM orders ORDER BY id LIMIT 5"))
        rows += self.rows(connection, "SELECT name FROM customers WHERE id = %s", (7,))
        rows += self.rows(connection, "SELECT name FROM countries WHERE code IN (%s, %s)", ("DE", "FR"))
        rows += self.rows(connection, "SHOW COLUMNS FROM orders LIKE 'id'")
        rows += self.more_reads(connection)
        connection.commit()
        print("rows", len(rows), flush=True)

    def run(self, connection, words, statement, values=None):
        try:
            cursor = connection.cursor()
            cursor.execute(statement, values)
            count = cursor.rowcount
            connection.commit()
            print(words.format(count), flush=True)
        except self.errors as error:
            report(error)
            connection.rollback()

    def transaction(self, connection, table):
        """These drivers open a transaction with the first statement."""
        cursor = connection.cursor()
        cursor.execute(f"INSERT INTO {table} (n) VALUES (6)")
        try:
            cursor.execute(f"DROP TABLE {table}_gone")
            print("ok", flush=True)
        except self.errors as error:
            report(error)
        print("inside", self.rows(connection, f"SELECT COUNT(*) FROM {table}")[0][0], flush=True)
        connection.rollback()

    def cancel_when_told(self, number):
        """None of these drivers has a cancel of its own."""
        if sys.stdin.readline().strip() == "cancel":
            other = self.connect(**parts(self.url))
            cursor = other.cursor()
            cursor.execute(f"KILL QUERY {number}")
            cursor.close()
            other.close()
