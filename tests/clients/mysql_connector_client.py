"""mysql-connector-python with its defaults: text protocol, parameters in the text, autocommit off, several statements in
one text allowed. The first word says which of its two halves: `pure` Python, or `c` for the C library of MySQL 9."""

import sys

HALF = sys.argv.pop(1)
if HALF == "c":
    # Before Python's own ssl: the OpenSSL that it brings is newer than Debian 12's, and the first one loaded serves both.
    import _mysql_connector

import mysql.connector

from mysql_dbapi import Client


def connect(**parts):
    connection = mysql.connector.connect(use_pure=HALF == "pure", **parts)
    expected = "MySQLConnection" if HALF == "pure" else "CMySQLConnection"
    assert type(connection).__name__ == expected, type(connection)
    return connection


def more_reads(connection):
    rows = []
    with connection.cursor(prepared=True) as cursor:
        for number in (1, 2, 3):
            cursor.execute("SELECT id, note FROM orders WHERE id = %s", (number,))
            rows += cursor.fetchall()
    connection.ping()
    connection.cmd_reset_connection()
    return rows


Client(mysql.connector.Error, connect, lambda connection: connection.connection_id, more_reads).main()
