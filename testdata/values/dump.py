"""Fetches values from a server in text and in binary format, with what the server itself says about them.

Usage: dump.py PORT > OUT.jsonl; see how-made.md.

The first line, `{"types": {...}}`, has the name of each type whose object ID is fixed. The others are either what the
session reports, `{"settings": {...}}`, which holds for the lines behind it; or a value: `oid`, `sql`, `text` (or `text_hex` where it is not UTF-8) and `binary` in hex as they were on the wire, and where SQL can say it,
`json`: what the server's own casts make of the value.
"""

import json
import sys

import psycopg
from psycopg.pq import Format

ISO = {"client_encoding": "UTF8", "DateStyle": "ISO, MDY", "IntervalStyle": "postgres", "TimeZone": "UTC"}

DATES = """2024-02-29|1999-12-31|2000-01-01|1970-01-01|0001-01-01|0001-12-31 BC|0044-03-15 BC|4714-11-24 BC|9999-12-31
10000-01-01|5874897-12-31|infinity|-infinity""".replace("\n", "|").split("|")
TIMES = "00:00|24:00|23:59:59.999999|03:04:05.678|12:00:00.000001|01:02:03.1".split("|")
TIMESTAMPS = """2024-02-29 13:37:00|2024-07-02 03:04:05.678|1999-12-31 23:59:59.999999|2000-01-01 00:00:00|1970-01-01 00:00:00.5
0044-03-15 01:02:03 BC|0001-01-01 00:00:00|0001-12-31 23:59:59.1 BC|9999-12-31 23:59:59|12024-07-02 03:04:05|294276-12-31 12:00
1883-11-18 12:00:00|1945-05-24 00:30:00|2024-10-27 00:30:00|2024-10-27 01:30:00|2024-03-31 00:59:59|2024-03-31 01:00:00
1900-01-01 00:00:00.25|2040-06-15 12:00:00|2400-01-01 12:00:00|infinity|-infinity""".replace("\n", "|").split("|")
INTERVALS = """0|1 year|-1 year|1 mon|14 mons|-14 mons|1 day|-1 day|3 days 04:05:06.789|-3 days -04:05:06.789|1 year -2 mons
1 year 2 mons -3 days|-1 years -2 mons 3 days -04:05:06.7|1 day -04:00|-1 day 04:00|0.5 s|-0.5 s|0.000001 s|-0.000001 s|59 s
1 min|-1 min|1 hour|100 hours|2147483647 days|-2147483648 mons|2562047788:00:54.775807|1 mon -1 day 00:00:00.1|-1 mon 1 day
1 year 00:00:01|-1 year -00:00:01|00:01:00.05""".replace("\n", "|").split("|")
FLOATS = "0|-0|1|-1|0.1|100|1e15|1e14|123456789012345680|1e-4|1e-5|1.5|3.14159265358979|1e300|5e-324|1.7976931348623157e308|NaN|Infinity|-Infinity|0.30000000000000004".split("|")
FLOATS4 = "0|-0|1|0.1|1e6|1e5|16777216|1e-5|3.4028235e38|1e-45|3.1415927|NaN|Infinity|-Infinity".split("|")
NUMERICS = """0|1|-1|10|100|10000|100000000|0.1|0.0001|0.00001|0.00000000001|1.50|1.500000|0.000|-0.5|9999|9999.9999|10000.0001
12345678901234567890.12345678901234567890|1e20|1e-20|1e100|-1e-100|NaN|0.00000|123.4500000000000000001|1234567890.1|99999999|1e300
3.14159265358979323846264338327950288419716939937510""".replace("\n", "|").split("|")

TEXTS = ["", " ", "plain", "it's", 'say "hi"', "back\\slash", "comma,brace}{", "NULL", "null", "tab\tline\nreturn\r", "naïve", "日本語", "Größe", "Привіт ї ґ", "ひらがな カタカナ ｶﾅ 漢字", "漢字", "한국어", "中文简体", "€ “x”", "🐘", "\u007f\u0085\u2028", "(a)", "[b]", "a b", "\\x41"]
JSONS = ['{}', '[]', 'null', 'true', '"text"', '1', '-0', '1.50', '1e5', '12345678901234567890.123456789', ' { "a" : [ 1 , 2 ] , "b" : "x y" } ', '{"a":\n"line\\nbreak"}', '"\\u00e9\\ud83d\\ude00"', '"esc \\" \\\\ \\/ \\t"', '"\u007f\u0085"', '[[[[[[]]]]]]', '{"":""}', '{"k":{"k":{"k":[null,false]}}}']


def literal(value):
    """A literal of ASCII, so that it says the same in every client encoding."""
    if value is None:
        return "NULL"
    if value.isascii():
        return "'" + value.replace("'", "''") + "'"
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return "E'" + "".join(c if c.isascii() else f"\\U{ord(c):08x}" for c in escaped) + "'"


def casts(type_, values):
    return [f"{literal(v)}::{type_}" for v in values]


def of_all_versions():
    yield from casts("bool", ["t", "f"])
    yield from casts("int2", ["0", "1", "-1", "32767", "-32768"])
    yield from casts("int4", ["0", "42", "2147483647", "-2147483648"])
    yield from casts("int8", ["0", "9007199254740993", "9223372036854775807", "-9223372036854775808"])
    yield from casts("oid", ["0", "1", "4294967295"])
    yield from casts("xid", ["0", "3", "4294967295"])
    yield from casts("xid8", ["0", "18446744073709551615"])
    yield from casts("cid", ["0", "4294967295"])
    yield from casts("tid", ["(0,0)", "(4294967295,65535)", "(12,3)"])
    yield from casts("float8", FLOATS)
    yield from casts("float4", FLOATS4)
    yield from casts("numeric", NUMERICS + ["Infinity", "-Infinity"])
    yield from casts("numeric(12,4)", ["1", "1.23456", "-99999999"])
    yield from casts("money", ["0", "1", "-1", "0.05", "-0.05", "1234.56", "-1234567.89", "92233720368547758.07", "-92233720368547758.08"])
    for type_ in ("text", "varchar", "name", "bpchar", "varchar(40)", "char(8)"):
        yield from casts(type_, [t for t in TEXTS if "char(" not in type_ or len(t) <= 8])
    yield from casts('"char"', ["", "a", " ", "\\"])
    yield "(-1)::\"char\""
    yield "(-128)::\"char\""
    yield "'unknown'::unknown"
    yield "'cstring'::cstring"
    yield "'a cursor'::refcursor"
    yield from casts("bytea", ["", "\\x00", "\\xdeadbeef", "\\x5c", "\\x27415c0aff", "plain", "\\x" + bytes(range(256)).hex()])
    yield from casts("json", JSONS + ['{"a":1,"a":2}', '"\\ud800"', '"\\u0000"', '1e400', '[' * 200 + ']' * 200])
    yield from casts("jsonb", JSONS)
    yield from casts("jsonpath", ["$", "$.a[*] ? (@ > 1)", '$."key with space"', "strict $.x"])
    yield from casts("xml", ["<a/>", "text", '<?xml version="1.0"?><a>x</a>', '<?xml version="1.0" standalone="yes"?><a/>', '<?xml version="1.0" encoding="UTF-8"?>\n<a>é</a>', '<?xml version="1.1"?><b/>'])
    yield from casts("uuid", ["00000000-0000-0000-0000-000000000000", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "{ffffffffffffffffffffffffffffffff}"])
    yield from casts("date", DATES)
    yield from casts("time", TIMES)
    yield from casts("timetz", [t + z for t in TIMES for z in ("+00", "+02", "-03:30", "+15:59:59", "-15:59:59")])
    yield from casts("timestamp", TIMESTAMPS)
    yield from casts("timestamptz", [t if "inf" in t else t.replace(" BC", "") + "+00" + (" BC" if " BC" in t else "") for t in TIMESTAMPS])
    yield from casts("interval", INTERVALS)
    yield from casts("inet", ["192.168.0.1", "10.0.0.0/8", "0.0.0.0/0", "255.255.255.255/31", "::1", "::", "::/0", "2001:db8::1/64", "::ffff:1.2.3.4", "::1.2.3.4", "::2", "::1:0", "fe80::1:0:0:1", "1:2:3:4:5:6:7:8", "1:0:3:4:5:6:7:8", "1:0:0:4:0:0:7:8"])
    yield from casts("cidr", ["192.168.0.0/24", "10.1.2.3/32", "0.0.0.0/0", "::/0", "2001:db8::/32", "::1/128", "::ffff:1.2.3.0/120"])
    yield from casts("macaddr", ["08:00:2b:01:02:03", "FF-FF-FF-FF-FF-FF", "000000000000"])
    yield from casts("macaddr8", ["08:00:2b:01:02:03:04:05", "ffffffffffffffff", "08:00:2b:01:02:03"])
    yield from casts("bit(5)", ["00000", "10101"])
    yield from casts("varbit", ["", "1", "101010101", "1111111100000000"])
    yield from casts("point", ["(0,0)", "(-0,1.5)", "(1e15,1e-5)", "(1e300,5e-324)", "(NaN,Infinity)", "(0.1,-Infinity)", "(123456789012345,100000)"])
    yield from casts("line", ["{1,2,3}", "{-1.5,0,1e20}"])
    yield from casts("lseg", ["[(1,2),(3,4)]"])
    yield from casts("box", ["(1,2),(3,4)", "(-1,-1),(-1,-1)"])
    yield from casts("path", ["[(1,2),(3,4)]", "((1,2),(3,4),(5.5,6))", "[(0,0)]"])
    yield from casts("polygon", ["((1,2),(3,4),(5,6))", "((0,0))"])
    yield from casts("circle", ["<(1,2),3>", "<(0.1,-0.2),0>"])
    yield from casts("pg_lsn", ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF", "1/A"])
    yield from casts("pg_snapshot", ["10:20:10,14,15", "10:10:", "1:9223372036854775807:"])
    yield from casts("txid_snapshot", ["10:20:10,14,15", "10:10:"])
    yield from casts("tsvector", ["", "a fat cat", "a:1 fat:2A,5B cat:3C,16383D", "'it''s':1 'back\\\\slash' 'two words':7", "naïve 日本語:3"])
    yield from casts("tsquery", ["", "a", "a & b", "a | b & c", "(a | b) & c", "!a", "!(a & b)", "!!a", "a <-> b", "a <3> b <-> c", "a <-> (b <-> c)", "(a & b) <-> c", "a <-> (b | c)", "a:*", "a:AB", "a:*ABCD & !'it''s' | 'x y':d", "(a & b) & (c & d)", "a & (b & (c & d))", "(a | b) | (c | d) & !(e <-> !f)", " & ".join(f"w{i}" for i in range(300)), "!(a <-> (b <-> (c & d)))"])
    yield from casts("oidvector", ["", "1", "1 2 4294967295"])
    yield from casts("int2vector", ["", "1 -2 3"])
    for type_ in ("regclass", "regtype", "regproc", "regoper", "regoperator", "regprocedure", "regrole", "regnamespace", "regconfig", "regdictionary", "regcollation"):
        yield f"99999999::oid::{type_}"
        yield f"0::oid::{type_}"
        yield f"ARRAY[0, 99999999]::oid[]::{type_}[]"
    yield from casts("int4range", ["empty", "[1,10)", "[1,10]", "(,5)", "[5,)", "(,)"])
    yield from casts("int8range", ["[1,9223372036854775807)"])
    yield from casts("numrange", ["[1.50,2.00]", "(1,2)", "[-Infinity,NaN]"])
    yield from casts("daterange", ["[2024-01-01,2024-12-31]", "[-infinity,infinity)", "[0044-03-15 BC,2024-01-01)"])
    yield from casts("tsrange", ["[2024-01-01 12:00,2024-12-31 13:00:00.5)", "(,infinity]"])
    yield from casts("tstzrange", ["[2024-01-01 12:00+00,2024-07-31 13:00:00.5+00)", "(,2024-01-01+00]"])
    yield from casts("int4multirange", ["{}", "{[1,3),[5,8)}", "{(,)}"])
    yield from casts("int8multirange", ["{[1,3)}"])
    yield from casts("nummultirange", ["{[1.5,2.5],(3,4)}"])
    yield from casts("datemultirange", ["{[2024-01-01,2024-02-01),[2024-03-01,)}"])
    yield from casts("tsmultirange", ["{[2024-01-01 12:00,2024-02-01),[2024-03-01,)}"])
    yield from casts("tstzmultirange", ["{[2024-01-01 12:00+00,2024-02-01 00:00+00),[2024-08-01 00:00+00,)}"])
    yield from casts("int4[]", ["{}", "{1}", "{1,NULL,-3}", "{{1,2},{3,4}}", "{{{1},{2}},{{3},{4}}}", "[0:1]={1,2}", "[-1:0][3:4]={{1,2},{3,NULL}}", "{{{{{{1}}}}}}", "[1:1]={7}"])
    yield "ARRAY(SELECT generate_series(1, 300))"
    yield from (f"ARRAY[{', '.join(literal(t) for t in ts)}]::{type_}[]" for type_ in ("text", "varchar", "name") for ts in (TEXTS, ["a", None], [""]))
    yield from (f"ARRAY[{', '.join(literal(t) for t in values)}]::{type_}[]" for type_, values in [
        ("bool", ["t", None, "f"]), ("int2", ["1"]), ("int8", ["1", "-1"]), ("oid", ["1"]), ("float4", FLOATS4), ("float8", FLOATS),
        ("numeric", NUMERICS), ("money", ["1.00", "1234.56"]), ("bytea", ["\\x00ff", "\\x"]), ("json", JSONS), ("jsonb", JSONS),
        ("xml", ["<a>\"x\"</a>"]), ("uuid", ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"]), ("date", DATES), ("time", TIMES), ("timetz", ["03:04:05+02"]),
        ("timestamp", TIMESTAMPS), ("timestamptz", ["2024-07-02 03:04:05.678+00", None]), ("interval", INTERVALS), ("inet", ["::1", "10.0.0.0/8"]),
        ("cidr", ["10.0.0.0/8"]), ("macaddr", ["08:00:2b:01:02:03"]), ("macaddr8", ["08:00:2b:01:02:03:04:05"]), ("bit(3)", ["101"]), ("varbit", ["1", ""]),
        ("point", ["(1,2)", "(3,4)"]), ("box", ["(1,2),(3,4)", "(5,6),(7,8)"]), ("path", ["[(1,2),(3,4)]"]), ("polygon", ["((1,2))"]), ("circle", ["<(1,2),3>"]),
        ("line", ["{1,2,3}"]), ("lseg", ["[(1,2),(3,4)]"]), ("pg_lsn", ["16/B374D848"]), ("tsvector", ["a:1 'b c'"]), ("tsquery", ["a & 'b c'"]),
        ("int4range", ["[1,10)", "empty", None]), ("tsrange", ["[2024-01-01 12:00,2024-12-31 13:00)"]), ("int4multirange", ["{[1,3),[5,8)}"]),
        ("int8range", ["[1,3)"]), ("tstzrange", ["[2024-01-01 12:00+00,2024-07-31 13:00:00.5+00)"]), ("int8multirange", ["{[1,3),[5,8)}"]),
        ("nummultirange", ["{[1.50,3),[5,8)}"]), ("datemultirange", ["{[2024-01-01,2024-02-01)}"]), ("tsmultirange", ["{[2024-01-01 12:00,)}"]),
        ("tstzmultirange", ["{[2024-01-01 12:00+00,2024-07-31 13:00:00.5+00)}"]), ("txid_snapshot", ["10:20:10,14,15"]), ("jsonpath", ["$.a"]),
        ("tid", ["(1,2)"]), ("xid", ["3"]), ("xid8", ["3"]), ("cid", ["3"]), ('"char"', ["a", ""]), ("bpchar", ["a b"]), ("pg_snapshot", ["10:20:10,14,15"]),
        ("int2vector", ["1 2", ""]), ("oidvector", ["1 2"]), ("refcursor", ["c"]), ("cstring", ["x"]), ("numrange", ["[1.5,2]"]), ("daterange", ["[2024-01-01,2024-02-01)"]),
    ])
    yield "ARRAY[ROW('a', NULL), ROW('b c', '')]"
    yield "pg_sleep(0)"
    yield "ROW('a', NULL, 'two words', '', 'it''s \"quoted\" \\', '(x,y)')"


def with_infinite_intervals():
    yield from casts("interval", ["infinity", "-infinity"])
    yield "ARRAY['infinity']::interval[]"


# Every style with one zone of daylight saving, and two styles with zones of other habits.
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "<+02>-02", "America/Sao_Paulo", "Australia/Lord_Howe")
STYLES = [(style, "Europe/Berlin") for style in ("ISO, MDY", "SQL, MDY", "SQL, DMY", "Postgres, MDY", "Postgres, DMY", "German, DMY")]
STYLES += [(style, zone) for style in ("ISO, MDY", "SQL, DMY") for zone in ZONES if zone != "Europe/Berlin"]
DATE_TYPES = ("date", "time", "timetz", "timestamp", "timestamptz", "tstz", "ts", "daterange")
ENCODINGS = """LATIN1 LATIN2 LATIN5 LATIN9 WIN1252 WIN1251 KOI8R KOI8U EUC_JP SJIS BIG5 GBK GB18030 UHC EUC_KR EUC_CN EUC_TW JOHAB
EUC_JIS_2004 SHIFT_JIS_2004 SQL_ASCII""".split()

RANGE = """CASE WHEN isempty({0}) THEN '{{"empty":true}}'::json ELSE json_build_object('lower', {1}, 'upper', {2},
'bounds', CASE WHEN lower_inc({0}) THEN '[' ELSE '(' END || CASE WHEN upper_inc({0}) THEN ']' ELSE ')' END) END"""


def oracle(sql, type_):
    """SQL for a value as JSON; nothing where SQL knows none but the text."""
    if type_.endswith("[]"):
        element = type_.removesuffix("[]")
        if element in ("money", "oid", "xid", "xid8", "cid", "int2vector", "oidvector", "record") or "range" in element or element.startswith("reg"):
            return None
        return f"to_json(({sql})::text[])" if element == "numeric" else f"to_json({sql})"
    if type_ == "numeric":
        return f"to_json(({sql})::text)"
    if type_ == "money":
        return f"json_build_object('minor_units', (({sql})::numeric * 100)::int8)"
    if type_ in ("oid", "xid", "xid8", "cid"):
        return f"to_json(({sql})::text::numeric)"
    if type_ in ("oidvector", "int2vector"):
        return f"to_json(string_to_array(({sql})::text, ' ')::int8[])"
    if "range" in type_:
        bounds = ("lower(r)", "upper(r)") if "num" not in type_ else ("lower(r)::text", "upper(r)::text")
        if "multi" in type_:
            return f"(SELECT coalesce(json_agg({RANGE.format('r', *bounds)}), '[]') FROM unnest({sql}) r)"
        return f"(SELECT {RANGE.format('r', *bounds)} FROM (SELECT {sql} AS r) t)"
    if type_.startswith("reg") or type_ in ("record", "cstring", "unknown"):
        return None
    return f"to_json({sql})"


def main():
    port = sys.argv[1]
    conn = psycopg.connect(f"host=127.0.0.1 port={port} user=app dbname=shop", autocommit=True)
    raw = conn.pgconn
    judge = psycopg.connect(f"host=127.0.0.1 port={port} user=app dbname=shop", autocommit=True)
    judge.execute("SET DateStyle = ISO; SET TimeZone = 'UTC'; SET IntervalStyle = iso_8601")

    def fetch(sql, format_):
        result = raw.exec_params(b"SELECT " + sql.encode(), [], result_format=format_)
        if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
            raise RuntimeError(f"{sql}: {result.error_message.decode()}")
        return result.ftype(0), result.get_value(0, 0)

    def values(settings, wanted):
        settings = {**ISO, **settings}
        for name, value in settings.items():
            # Not by psycopg's own means, which do not know every client encoding.
            raw.exec_(f"SET {name} = '{value}'".encode())
        reported = {name: raw.parameter_status(name.encode()).decode() for name in ISO}
        own = {name: value for name, value in settings.items() if name not in ISO}
        show({"settings": {**reported, **own}})
        for sql in filter(wanted, everything):
            try:
                oid, text = fetch(sql, Format.TEXT)
                _, binary = fetch(sql, Format.BINARY)
            except RuntimeError as error:
                # Mostly characters that an encoding lacks.
                print(f"{reported}: {str(error)[:150].strip()}", file=sys.stderr)
                continue
            row = {"oid": oid, "sql": sql}
            try:
                row["text"] = text.decode()
            except UnicodeDecodeError:
                row["text_hex"] = text.hex()
            row["binary"] = binary.hex()
            if settings == ISO:
                type_ = judge.execute(f"SELECT format_type({oid}, NULL)").fetchone()[0]
                by_server = oracle(sql, type_)
                if by_server is not None:
                    # As text, for psycopg would read the JSON, and Python's numbers lose digits.
                    try:
                        row["json"] = judge.execute(f"SELECT ({by_server})::text").fetchone()[0]
                    except psycopg.Error as error:
                        print(f"no oracle: {str(error)[:150].strip()}", file=sys.stderr)
            show(row)
        raw.exec_(b"RESET ALL")

    types = judge.execute("SELECT oid::text, typname FROM pg_type WHERE oid < 10000 ORDER BY pg_type.oid")
    show({"types": dict(types.fetchall())})
    everything = list(of_all_versions()) + (list(with_infinite_intervals()) if conn.info.server_version >= 170000 else [])
    values({}, lambda sql: True)
    for style, zone in STYLES:
        nested = zone == "Europe/Berlin"
        values(
            {"DateStyle": style, "TimeZone": zone},
            lambda sql: any(f"::{type_}" in sql for type_ in DATE_TYPES) and (nested or "::timestamptz" in sql and "[]" not in sql),
        )
    for style in ("postgres_verbose", "sql_standard", "iso_8601"):
        values({"IntervalStyle": style}, lambda sql: "interval" in sql)
    values({"bytea_output": "escape"}, lambda sql: "bytea" in sql)
    values({"extra_float_digits": "3"}, lambda sql: any(type_ in sql for type_ in ("float", "point", "circle")))
    for encoding in ENCODINGS:
        values({"client_encoding": encoding}, lambda sql: "\\U" in sql or "::xml" in sql or '"char"' in sql)


def show(line):
    print(json.dumps(line, ensure_ascii=True, separators=(",", ":")))


main()
