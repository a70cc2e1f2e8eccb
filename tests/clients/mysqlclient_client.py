"""mysqlclient with its defaults: C library, text protocol, parameters in the text, autocommit off."""

import MySQLdb
import MySQLdb.cursors

from mysql_dbapi import Client


def more_reads(connection):
    cursor = connection.cursor(MySQLdb.cursors.SSCursor)  # rows as they come, unbuffered
    cursor.execute("SELECT id FROM orders ORDER BY id")
    rows = cursor.fetchmany(3) + cursor.fetchall()
    cursor.close()
    return rows


Client(MySQLdb.Error, MySQLdb.connect, lambda connection: connection.thread_id(), more_reads).main()
