"""Statements with comments of sqlcommenter: by Google's library with psycopg2, by OpenTelemetry with SQLAlchemy and psycopg, by hand."""
import sys

import psycopg
import psycopg2
import sqlalchemy
from google.cloud.sqlcommenter.psycopg2.extension import CommenterCursorFactory
from opentelemetry import trace
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import TracerProvider

port = int(sys.argv[1])
where = dict(host="127.0.0.1", port=port, user="app", dbname="shop")

factory = CommenterCursorFactory(with_db_driver=True, with_dbapi_level=True, with_driver_paramstyle=True)
with psycopg2.connect(**where, application_name="google", cursor_factory=factory) as c:
    with c.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.execute("SELECT name FROM (VALUES (1, 'one')) t(id, name) WHERE id = %s;", (1,))
c.close()

trace.set_tracer_provider(TracerProvider())
tracer = trace.get_tracer("shop")
engine = sqlalchemy.create_engine(f"postgresql+psycopg://app@127.0.0.1:{port}/shop?application_name=opentelemetry")
options = {"db_framework": True, "opentelemetry_values": True}
SQLAlchemyInstrumentor().instrument(engine=engine, enable_commenter=True, commenter_options=options)
with tracer.start_as_current_span("cart"), engine.connect() as c:
    for _ in range(2):
        print(c.execute(sqlalchemy.text("SELECT 2 + :n"), {"n": 3}).scalar())
engine.dispose()

with psycopg.connect(**where, application_name="by hand", autocommit=True) as c:
    for sql in (
        # As Rails and Prisma write them, at the beginning, and encoded.
        "/*action='show',controller='carts',route='%2Fcart%2F%3Aid',who='it%27s na%C3%AFve'*/ SELECT 3",
        "SELECT 4 /*password='pw-in-a-comment'*/",
        # None of these has tags.
        "SELECT 5 /* the answer's 5 */",
        "SELECT 6 /*controller='carts',controller='again'*/",
        "SELECT '/*controller=''carts''*/'",
        "SELECT 7 /*controller='carts'*/ + 1",
    ):
        c.execute(sql)
    c.execute("SELECT 8 + %s /*controller='carts'*/", (8,), prepare=True)
