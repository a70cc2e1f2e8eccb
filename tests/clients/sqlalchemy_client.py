"""SQLAlchemy on psycopg: start-up, reflection of a whole schema and an ORM query, as an agent's framework does them; or
one statement, in the transaction that it opens by itself."""

import json
import sys

import sqlalchemy
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.orm import Session


def read(engine):
    models = automap_base()
    models.prepare(autoload_with=engine)
    views = sqlalchemy.inspect(engine).get_view_names()
    with Session(engine) as session:
        orders = session.scalars(sqlalchemy.select(models.classes.orders).where(models.classes.orders.id < 4)).all()
        names = [order.customers.name for order in orders]
    print("rows", len(models.metadata.tables) + len(views) + len(names), flush=True)


def run(engine, statement, **values):
    with engine.connect() as connection:
        try:
            result = connection.execute(sqlalchemy.text(statement), values)
            print(f"rows {len(result.all())}" if result.returns_rows else "ok", flush=True)
            connection.commit()
        except sqlalchemy.exc.DBAPIError as error:
            print("error", error.orig.sqlstate, str(error.orig).splitlines()[0], flush=True)
            print("shown", json.dumps(f"{type(error).__name__}: {error}"), flush=True)
            connection.rollback()
        print("after", connection.execute(sqlalchemy.text("SELECT 1")).scalar(), flush=True)


url, mode, *argument = sys.argv[1:]
engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"), pool_pre_ping=True)
if mode == "read":
    read(engine)
elif mode == "delete":
    run(engine, f"DELETE FROM {argument[0]} WHERE n > :most RETURNING n", most=3)
else:
    run(engine, *argument)
