"""psycopg, psycopg2, asyncpg, SQLAlchemy and pandas on the log: parameters, both formats, times, arrays, reflection, frames."""

import asyncio
import datetime
import sys

import asyncpg
import pandas
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
    whole = sqlalchemy.MetaData()
    whole.reflect(engine)
    decisions = whole.tables["decisions"]
    keys = [list(decisions.primary_key), list(decisions.foreign_keys), list(decisions.indexes), list(decisions.constraints)[1:]]
    print("sqlalchemy reflects", len(whole.tables), decisions.comment, keys, flush=True)
    inspector = sqlalchemy.inspect(engine)
    print("sqlalchemy options", inspector.get_table_options("decisions"), inspector.get_view_names(), inspector.get_enums(), flush=True)


def with_pandas():
    engine = sqlalchemy.create_engine(URL.replace("postgres://", "postgresql+psycopg://"))
    query = sqlalchemy.text("SELECT time, principal, rows, duration_ms FROM statements WHERE time >= :since ORDER BY time")
    frame = pandas.read_sql(query, engine, params={"since": SINCE})
    print("pandas frame", len(frame), str(frame["time"].dtype), frame["principal"].iloc[0], flush=True)
    per_class = pandas.read_sql("SELECT class, count(*) AS n FROM statements GROUP BY 1 ORDER BY 1", engine)
    print("pandas counts", int(per_class["n"].sum()), flush=True)
    table = pandas.read_sql_table("decisions", engine)
    print("pandas table", list(table.columns)[:3], flush=True)
    parts = pandas.read_sql("SELECT n FROM generate_series(1, 5) AS g(n)", engine, chunksize=2)
    print("pandas parts", [len(part) for part in parts], flush=True)


with_psycopg()
with_psycopg2()
asyncio.run(with_asyncpg())
with_sqlalchemy()
with_pandas()
