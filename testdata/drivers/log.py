"""What a server's jsonlog says of the sessions that came over TCP: a line for each of its lines, in its order."""
import json, sys

NAMES = {"pid": "pid", "remote_port": "port", "line_num": "line", "user": "user", "dbname": "database", "application_name": "application",
         "error_severity": "severity", "state_code": "state", "message": "message", "detail": "detail", "statement": "statement",
         "context": "context", "query_id": "query_id"}
for line in sys.stdin:
    line = json.loads(line)
    if "remote_port" not in line or line["backend_type"] != "client backend" or line["message"].startswith("connection "):
        continue
    kept = {ours: line[name] for name, ours in NAMES.items() if line.get(name) not in (None, 0, "00000")}
    if "query_id" in kept:
        kept["query_id"] = str(kept["query_id"])      # larger than what JSON's numbers hold everywhere
    print(json.dumps(kept, ensure_ascii=False, separators=(",", ":")))
