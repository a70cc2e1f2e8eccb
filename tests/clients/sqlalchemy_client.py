"""SQLAlchemy's start-up, reflection of a whole schema, and an ORM query, as an agent's framework does them."""

import sys

import sqlalchemy
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.orm import Session

url = sys.argv[1].replace("postgresql://", "postgresql+psycopg://")
engine = sqlalchemy.create_engine(url, pool_pre_ping=True)
models = automap_base()
models.prepare(autoload_with=engine)
views = sqlalchemy.inspect(engine).get_view_names()
with Session(engine) as session:
    orders = session.scalars(sqlalchemy.select(models.classes.orders).where(models.classes.orders.id < 4)).all()
    names = [order.customers.name for order in orders]
print("rows", len(models.metadata.tables) + len(views) + len(names), flush=True)
