"""PyMySQL with its defaults: text protocol, parameters in the text, autocommit off."""

import pymysql
import pymysql.cursors

from mysql_dbapi import Client


def more_reads(connection):
    with connection.cursor(pymysql.cursors.SSCursor) as cursor:  # rows as they come, unbuffered
        cursor.execute("SELECT id FROM orders ORDER BY id")
        return cursor.fetchmany(3) + cursor.fetchall()


Client(pymysql.Error, pymysql.connect, lambda connection: connection.thread_id(), more_reads).main()
