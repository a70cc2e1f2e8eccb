"""asyncpg with its defaults: named prepared statements, binary parameters, Flush before Bind."""

import asyncio
import json
import sys

import asyncpg


def report(error):
    print("error", error.sqlstate, str(error).splitlines()[0], flush=True)
    print("shown", json.dumps(f"{type(error).__name__}: {error}"), flush=True)


async def read(connection):
    rows = await connection.fetch("SELECT id, status, placed_at, note FROM orders ORDER BY id LIMIT 5")
    rows += await connection.fetch("SELECT name, preferences FROM customers WHERE id = $1", 7)
    rows += await connection.fetch("SELECT name FROM countries WHERE code = ANY($1)", ["DE", "FR"])
    async with connection.transaction():
        async for row in connection.cursor("SELECT id FROM suppliers ORDER BY id LIMIT 10", prefetch=3):
            rows.append(row)
    print("rows", len(rows), flush=True)


async def run(connection, statement):
    try:
        await connection.execute(statement)
        print("ok", flush=True)
    except asyncpg.PostgresError as error:
        report(error)


async def delete(connection, table):
    try:
        rows = await connection.fetch(f"DELETE FROM {table} WHERE n > $1 RETURNING n", 3)
        print("rows", len(rows), flush=True)
    except asyncpg.PostgresError as error:
        report(error)


async def cancel(connection, statement):
    """asyncpg sends a CancelRequest when the task that waits is cancelled, and keeps the connection."""
    task = asyncio.ensure_future(connection.execute(statement))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    task.cancel()
    try:
        await task
        print("ok", flush=True)
    except asyncio.CancelledError:
        print("error 57014 cancelled by asyncpg, which keeps the server's words to itself", flush=True)


async def main(url, mode, *argument):
    connection = await asyncpg.connect(url)
    await {"read": read, "run": run, "delete": delete, "cancel": cancel}[mode](connection, *argument)
    if mode != "read":
        print("after", await connection.fetchval("SELECT 1"), flush=True)
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
