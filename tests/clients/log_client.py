"""psycopg, psycopg2, asyncpg and SQLAlchemy on the log: parameters, both formats, times, arrays, the tables that there are."""

import asyncio
import datetime
import sys

import asyncpg
import psycopg
import psycopg2
import sqlalchemy

URL = sys.argv[1]
SINCE = datetime.datetime(2026, 11, 22, 10, 2, tzinfo=datetime.timezone.utc)
COLUMNS = "time, principal, rows, duration_ms, tables, verdict = 'hold'"


def show(client, row):
    time, principal, rows, duration, tables, held = row
    print(client, time.astimezone(datetime.timezone.utc).isoformat(), principal, rows, duration, list(tables), held, flush=True)


def with_psycopg():
    with psycopg.connect(URL) as connection:
        for binary in (False, True):
            query = f"SELECT {COLUMNS} FROM statements WHERE time >= %s AND class = ANY(%s) ORDER BY time LIMIT %s"
            cursor = connection.cursor(binary=binary)
            for row in cursor.execute(query, (SINCE, ["ddl", "write"], 1)):
                show(f"psycopg binary={binary}", row)
        try:
            connection.execute("DELETE FROM statements")
        except psycopg.errors.ReadOnlySqlTransaction:
            print("psycopg refused", flush=True)
        connection.rollback()
        found = connection.execute("SELECT count(*) FROM statements WHERE time > now() - %s", (datetime.timedelta(days=36500),))
        print("psycopg counts", found.fetchone()[0], flush=True)


def with_psycopg2():
    connection = psycopg2.connect(URL)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {COLUMNS} FROM statements WHERE time >= %s AND class IN %s ORDER BY time LIMIT 1", (SINCE, ("ddl", "write")))
        show("psycopg2", cursor.fetchone())
    connection.close()


async def with_asyncpg():
    connection = await asyncpg.connect(URL)
    query = f"SELECT {COLUMNS} FROM statements WHERE time BETWEEN $1 AND $2 AND class = ANY($3) ORDER BY time LIMIT 1"
    for row in await connection.fetch(query, SINCE, SINCE + datetime.timedelta(hours=1), ["ddl"]):
        show("asyncpg", row)
    async with connection.transaction(readonly=True):
        found = [row["n"] async for row in connection.cursor("SELECT n FROM generate_series(1, 5) AS g(n)", prefetch=2)]
        print("asyncpg cursor", found, flush=True)
    try:
        await connection.fetch("WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT count(*) FROM x", timeout=0.5)
    except asyncio.TimeoutError:
        print("asyncpg cancelled", flush=True)
    print("asyncpg after", await connection.fetchval("SELECT 1"), flush=True)
    await connection.close()


def with_sqlalchemy():
    engine = sqlalchemy.create_engine(URL.replace("postgres://", "postgresql+psycopg://"))
    names = sqlalchemy.inspect(engine).get_table_names()
    print("sqlalchemy tables", sorted(names)[:3], flush=True)
    columns = sqlalchemy.inspect(engine).get_columns("decisions")
    print("sqlalchemy columns", [(column["name"], str(column["type"])) for column in columns][:3], flush=True)


with_psycopg()
with_psycopg2()
asyncio.run(with_asyncpg())
with_sqlalchemy()
