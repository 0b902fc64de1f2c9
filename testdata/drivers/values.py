"""Values that the Python drivers send as parameters."""
import datetime as dt
import decimal, uuid

UTC = dt.timezone.utc
#       id, name, price, weight, made, sold, ok, tags, sizes, raw
ITEMS = [
    (1, "Öl \"extra\"", decimal.Decimal("12.50"), 0.1, dt.datetime(2024, 2, 29, 12, 34, 56, 789000, UTC), dt.date(2024, 2, 29), True,
     ["a", "b c", None, "quo\"te", "com,ma"], [1, 2, None], b"\xde\xad\x00\xef"),
    (2, "", decimal.Decimal("-0.01"), -1e300, dt.datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC), dt.date(1900, 1, 1), False, [], [], b""),
    (3, None, None, None, None, None, None, None, None, None),
    (-4, "日本語 \N{GRINNING FACE} \\ ' \t\n", decimal.Decimal("99999999.99"), float("nan"), dt.datetime(2038, 1, 19, 3, 14, 8, 1, UTC),
     dt.date(9999, 12, 31), True, ["NULL", ""], [-2147483648, 2147483647], bytes(range(20))),
]
DOC = {"k": [1, None, "ü"], "deep": {"er": True, "n": 1.5}}
UUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
INTERVAL = dt.timedelta(days=3, hours=4, microseconds=5)
