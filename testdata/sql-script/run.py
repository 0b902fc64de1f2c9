"""Statements that psql would read otherwise, and parameters of all types, in both formats."""
import os
import psycopg
from psycopg import pq

DSN = f"host=127.0.0.1 port={os.environ['PORT']} user=app dbname=shop sslmode=disable gssencmode=disable"


def connect(**settings):
    return psycopg.connect(DSN, autocommit=True, **settings).pgconn


def simple(c, *statements):
    for sql in statements:
        c.exec_(sql.encode())


def extended(c, sql, value, oid=0, format=0):
    c.exec_params(sql.encode(), [value], [oid] if oid else None, [format])


c = connect(application_name="it's; \\q :x")
simple(
    c,
    # What psql replaces, and what it takes for commands.
    "SELECT ((ARRAY['a','b','c'])[lo:hi])::text FROM (VALUES (1, 2)) v(lo, hi)",
    "SELECT ((ARRAY['a','b','c'])[lo:PORT])::text FROM (VALUES (1, 2)) v(lo, port)",
    "SELECT ((ARRAY['a','b','c'])[lo:\"PORT\"])::text FROM (VALUES (1, 3)) v(lo, \"PORT\")",
    r"SELECT '\d :PORT \;'::text -- \! touch broken :PORT" + "\n",
    "SELECT 'a'::text /* \\q /* ' */ ; */",
    "SELECT $a$ \\q ; :PORT\n\\! false\n$a$::text",
    "SELECT '\n\\echo no\n'::text",
    r"SELECT E'it\'s \\ ; \n \u00e4'::text",
    'SELECT "a\\b;"::text FROM (VALUES (1)) v("a\\b;")',
    r"SELECT 1 \! touch broken",
    "SELECT 'it has no end",
    "SELECT (1",
    "SELECT 2) ; SELECT 'after'::text",
    "",
    "-- nothing\n",
    "SELECT 'x'::text; -- behind",
    "SELECT 'y'::text -- in the end",
    # Several statements are one transaction.
    "CREATE TEMP TABLE script_item (n int); INSERT INTO script_item VALUES (1)",
    "INSERT INTO script_item VALUES (2) -- one\n; -- two\nINSERT INTO script_item SELECT 1/0",
    "SELECT count(*)::text FROM script_item",
    "CREATE RULE r AS ON DELETE TO script_item DO ALSO (SELECT 'deleted'::text; SELECT 1)",
    "CREATE FUNCTION pg_temp.script_f() RETURNS text BEGIN ATOMIC SELECT 'one'; SELECT CASE WHEN true THEN 'two' END; END",
    "SELECT pg_temp.script_f()",
    "PREPARE script_p(text) AS SELECT $1; EXECUTE script_p('prepared')",
    "COPY script_item FROM STDIN",
)
c.put_copy_data(b"3\n4\n")
c.put_copy_end()
while c.get_result():
    pass
simple(
    c,
    "SELECT string_agg(n::text, ',') FROM script_item WHERE n < 3",
    "DO $$ BEGIN PERFORM set_config('client_encoding', 'UTF8', false); END $$",
    "SET client_encoding = 'LATIN1'",
)
c.exec_("SELECT 'größe ÿ'::text".encode("latin1"))
c.exec_params("SELECT $1::text".encode(), ["größe".encode("latin1")])
simple(c, "RESET ALL", "SET NAMES 'UTF8'", "SELECT 'größe €'::text")
simple(c, "ALTER ROLE app PASSWORD 'script-secret'", "ALTER ROLE app PASSWORD NULL")

# Parameters in text format, and where they stand.
for text in ["it's", "a\\b", "\\", "\n\\q\n", ":PORT", "$1", "';--", "\t\x1b[31m\x7f\u009b", "", "€ ;", "NULL"]:
    extended(c, "SELECT $1", text.encode(), 25)
    extended(c, "SELECT $1", text.encode())
for sql, value, oid in [
    ("SELECT (-$1)::text", "-5", 23),
    ("SELECT (1-$1)::text", "-5", 23),
    ("SELECT ($1)[2]::text", "{1,2,3}", 1007),
    ("SELECT $1[2]::text", "{1,2,3}", 1007),
    ("SELECT ($1).x::text", "(1,2)", 0),
    ("SELECT'a'||$1||'b'", "c", 25),
    ("SELECT (u&$1)::text FROM (VALUES (6)) v(u)", "3", 23),
    ("SELECT x::text FROM (VALUES (1), (2)) v(x) ORDER BY 1 LIMIT$1", "1", 20),
    ("SELECT (1 IN ($1, 2))::text", "1", 23),
    ("SELECT 'b' = ANY($1)", "{a,b}", 1009),
    ("SELECT CASE WHEN $1 THEN 'yes' ELSE 'no' END", "t", 16),
    ("SELECT format('%s %s', $1::text, '$1')", "x", 25),
    ("SELECT a$1::text FROM (VALUES ($1::text)) v(a$1)", "name", 25),
    ("SELECT $1::\"char\"::text", "xyz", 18),
    ("SELECT $1::varbit::text", "1010", 1562),
    ("SELECT length($1)::text", "1010", 1560),
    ("SELECT length($1)::text", "abc  ", 1042),
]:
    extended(c, sql, value.encode(), oid)
extended(c, "SELECT coalesce($1, 'was null')", None, 25)
extended(c, "SELECT $1 / 0", b"1", 23)
extended(c, "SELECT $2", b"1")

# Parameters in binary format: what the server sends, sent to it again.
for type, literal in [
    ("bool", "true"), ("int2", "-7"), ("int4", "2147483647"), ("int8", "-9223372036854775808"), ("oid", "4294967295"),
    ("float4", "1.1"), ("float4", "NaN"), ("float8", "1e300"), ("float8", "-Infinity"), ("float8", "0.1"),
    ("numeric", "-12345.67800"), ("numeric", "NaN"), ("numeric", "1e-20"), ("text", "it's \\ :x"), ("varchar", "ä"),
    ("bytea", "\\x00ff5c27"), ("uuid", "00112233-4455-6677-8899-aabbccddeeff"), ("date", "2024-02-29"),
    ("date", "0044-03-15 BC"), ("date", "12345-01-01"), ("date", "infinity"), ("time", "24:00:00"), ("timetz", "12:34:56.789+02:30"),
    ("timestamp", "0001-01-01 00:00:00 BC"), ("timestamp", "294276-12-31 23:59:59.999999"), ("timestamptz", "2024-02-29 12:00:00+02"),
    ("timestamptz", "0044-03-15 12:00:00+00 BC"), ("interval", "1 year -2 months 3 days -04:05:06.7"), ("interval", "0"),
    ("json", '{"a": [1, "x\\\\y"], "a": null}'), ("jsonb", '{"n": 1234567890.12345678901234567890, "t": "it\'s"}'),
    ("jsonpath", "$.a[*] ? (@ > 1)"), ("xml", "<a>&lt;</a>"), ("inet", "10.0.0.1/8"), ("cidr", "2001:db8::/32"),
    ("macaddr", "08:00:2b:01:02:03"), ("bit", "1"), ("varbit", "1010"), ("point", "(1.5,-2)"), ("box", "(3,4),(1,2)"),
    ("path", "[(1,2),(3,4)]"), ("polygon", "((1,2),(3,4))"), ("circle", "<(1,2),3>"), ("line", "{1,2,3}"),
    ("tsvector", "'a':1A,3 'it''s'"), ("tsquery", "'a' & !'b':*"), ("pg_lsn", "16/B374D848"), ("tid", "(1,2)"),
    ("int4[]", "{1,NULL,3}"), ("int4[]", "{}"), ("int4[]", "[0:1][-1:0]={{1,2},{3,4}}"), ("text[]", '{"a b","c\\"d\\\\e",NULL,"NULL","","ä,{}"}'),
    ("timestamptz[]", '{"2024-02-29 12:00:00+02",infinity}'), ("bytea[]", '{"\\\\x00ff","\\\\x"}'), ("float8[]", "{0.1,NaN}"),
    ("box[]", "{(3,4),(1,2);(7,8),(5,6)}"), ("date[]", '{"0044-03-15 BC"}'), ("json[]", '{"{\\"a\\": 1}",null,"null"}'),
    ("int4range", "[1,5)"), ("int4range", "empty"), ("numrange", "(,1.50]"), ("tstzrange", '["2024-02-29 12:00:00+00",)'),
    ("daterange[]", '{"[2024-01-01,2024-02-01)",empty}'), ("nummultirange", "{[1.0,2.5),[3,)}"), ("int8multirange", "{}"),
    ("oidvector", "1 2 3"), ("\"char\"", "x"), ("name", "a\"b"), ("regclass", "pg_class"), ("xid8", "18446744073709551615"),
    ("pg_snapshot", "1:3:2"), ("money", "1.23"), ("\"char\"", "\\377"),
]:
    found = c.exec_params(f"SELECT ($1::text)::{type}".encode(), [literal.encode()], [25], [0], 1)
    if found.status != pq.ExecStatus.TUPLES_OK:
        raise SystemExit(f"{type}: {found.error_message}")
    extended(c, "SELECT $1::text", found.get_value(0, 0), found.ftype(0), 1)
extended(c, "SELECT $1::int", b"\0\0\0\5", 0, 1)
extended(c, "SELECT $1::text", b"\0\0\0\5", 99999, 1)

# Statements and portals that the protocol has made, and that SQL names.
c.prepare(b"script_by_protocol", b"SELECT 'of the protocol'::text")
c.exec_prepared(b"script_by_protocol", None)
simple(c, "EXECUTE script_by_protocol", "DEALLOCATE script_by_protocol")
c.finish()

c = connect(options="-c standard_conforming_strings=off -c DateStyle=SQL,DMY -c TimeZone=America/New_York -c IntervalStyle=sql_standard")
simple(c, r"SELECT 'a\'b; \\d'::text", r"SELECT 'c\\'::text", r"SELECT E'\''::text", r"SELECT N'd\'\\'::text")
extended(c, "SELECT extract(month FROM $1)::text", b"03/02/2024", 1082)
extended(c, "SELECT $1::text", b"\\", 25)
extended(c, "SELECT (extract(hour FROM ($1 AT TIME ZONE 'UTC')))::text", b"03/02/2024 10:00", 1184)
extended(c, "SELECT extract(day FROM $1)::text", b"-1 2:00:00", 1186)
simple(c, "SET standard_conforming_strings = on", r"SELECT '\'::text", r"SELECT 'plain'::text")
c.finish()
