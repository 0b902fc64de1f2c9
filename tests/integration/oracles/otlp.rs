//! Spans and metrics, against the lines of requests; and against the protocol's own schema.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::cli::live::announce;
use crate::command::{Folder, parse, run, testdata};

/// Captures of many applications, outcomes and forms of SQL, and the option that has their ports.
const CAPTURES: [&str; 6] = [
    "sqlcommenter/capture.pcap",
    "summary/capture.pcap.gz",
    "cancel/capture.pcap",
    "simple-query/capture.pcap",
    "mixed-10000/capture.pcap.zst",
    "client-encodings/capture.pcap.gz",
];
const PORTS: &str = "-p5415,5432,6432";

/// The bounds of the semantic conventions for databases.
const BOUNDS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// Returns the lines of spans of a capture.
fn lines(capture: &str, args: &[&str]) -> Vec<String> {
    let ports: &[&str] = if args.contains(&"-p") { &[] } else { &[PORTS] };
    let outcome = run([ports, &["-q", "-F", "otlp", capture], args].concat());
    assert_eq!((outcome.code, outcome.said.as_str()), (Some(0), ""), "{capture}");
    outcome.lines
}

fn queries(capture: &str, args: &[&str]) -> Vec<Value> {
    run([&[PORTS, "-q", "-e", "query", capture], args].concat()).good()
}

/// Returns the spans in a line, each with the name of its service.
fn spans(line: &str) -> Vec<(String, Value)> {
    let line = parse(line);
    assert_eq!(line.as_object().unwrap().len(), 1);
    let mut spans = Vec::new();
    for resource in line["resourceSpans"].as_array().unwrap() {
        let service = attributes(&resource["resource"])["service.name"].as_str().unwrap().to_owned();
        assert_eq!(resource["scopeSpans"][0]["scope"]["name"], "pgdissect");
        let of_resource = resource["scopeSpans"][0]["spans"].as_array().unwrap();
        spans.extend(of_resource.iter().map(|span| (service.clone(), span.clone())));
    }
    spans
}

/// Returns attributes by key: strings, and integers as such.
fn attributes(of: &Value) -> HashMap<String, Value> {
    let list = of["attributes"].as_array().unwrap();
    let map: HashMap<_, _> = list
        .iter()
        .map(|attribute| {
            let value = &attribute["value"];
            let value = match value["intValue"].as_str() {
                Some(digits) => digits.parse::<i64>().unwrap().into(),
                None => value["stringValue"].clone(),
            };
            (attribute["key"].as_str().unwrap().to_owned(), value)
        })
        .collect();
    assert_eq!(map.len(), list.len(), "keys are unique");
    map
}

/// Returns the nanoseconds of a time of a line.
fn nanos(time: &Value) -> i128 {
    time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_nanosecond()
}

fn nanos_of(span: &Value, key: &str) -> i128 {
    span[key].as_str().unwrap().parse().unwrap()
}

#[test]
fn each_request_is_a_span() {
    for capture in CAPTURES {
        let lines = lines(capture, &[]);
        let mut spans: HashMap<(i64, i64), (String, Value)> = HashMap::new();
        let mut ids = BTreeSet::new();
        for (service, span) in lines.iter().flat_map(|line| spans_of_limited(line)) {
            let of = attributes(&span);
            assert!(ids.insert(span["spanId"].as_str().unwrap().to_owned()), "identifiers are unique");
            let key = (of["pgdissect.conn"].as_i64().unwrap(), of["pgdissect.query"].as_i64().unwrap());
            assert!(spans.insert(key, (service, span)).is_none());
        }
        let queries = queries(capture, &[]);
        assert_eq!(spans.len(), queries.len(), "{capture}");
        for query in queries {
            let (service, span) = &spans[&(query["conn"].as_i64().unwrap(), query["query"].as_i64().unwrap())];
            compare(service, span, &query);
        }
    }
}

/// Returns the spans of a line, which collectors can read.
fn spans_of_limited(line: &str) -> Vec<(String, Value)> {
    assert!(line.len() < 1 << 20, "collectors read lines of 1 MiB");
    let spans = spans(line);
    assert!(!spans.is_empty() && spans.len() <= 512);
    spans
}

fn compare(service: &str, span: &Value, query: &Value) {
    let of = attributes(span);
    assert_eq!(service, query["application"].as_str().filter(|name| !name.is_empty()).unwrap_or("unknown_service"));
    let is_hex = |id: &Value, len: usize| {
        let id = id.as_str().unwrap();
        id.len() == len && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    assert!(is_hex(&span["traceId"], 32) && is_hex(&span["spanId"], 16));
    assert_eq!(span["kind"], 3);
    let started = nanos(&query["started"]);
    assert_eq!(nanos_of(span, "startTimeUnixNano"), started);
    if let Some(us) = query["total_us"].as_i64() {
        assert_eq!(nanos_of(span, "endTimeUnixNano") - started, i128::from(us) * 1_000);
    }
    assert_eq!(of["db.system.name"], "postgresql");
    assert_eq!(of.get("db.namespace"), query.get("database"));
    if query["sql"].is_string() {
        assert_eq!(of["db.query.text"], query["sql"]);
    }
    assert_eq!(span["name"], of.get("db.query.summary").cloned().unwrap_or("postgresql".into()));
    let server = query["server"].as_str().unwrap().rsplit_once(':').unwrap();
    for [address, port] in [["server.address", "server.port"], ["network.peer.address", "network.peer.port"]] {
        let server = (server.0.trim_matches(['[', ']']), server.1);
        assert_eq!((of[address].as_str().unwrap(), of[port].to_string()), (server.0, server.1.to_owned()));
    }
    let sqlstate = query["error"].get("code");
    assert_eq!(of.get("db.response.status_code"), sqlstate);
    let is_failed = sqlstate.is_some() || query["outcome"] == "aborted";
    assert_eq!(span["status"]["code"] == 2, is_failed);
    assert_eq!(of.contains_key("error.type"), is_failed);
    if sqlstate.is_some() {
        assert_eq!(of.get("error.type"), sqlstate);
        assert_eq!(span["status"].get("message"), query["error"].get("message"));
    }
    let tags: Vec<_> = query["command_tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let returns = !tags.is_empty() && tags.iter().all(|tag| tag.starts_with("SELECT ") || tag.starts_with("FETCH "));
    assert_eq!(of.get("db.response.returned_rows"), query.get("rows").filter(|_| returns), "{query}");
    if query["outcome"] == "ok" && query["protocol"] == "simple" {
        let batch = of.get("db.operation.batch.size").and_then(Value::as_u64);
        assert_eq!(batch, (tags.len() > 1).then_some(tags.len() as u64), "{query}");
    }
}

#[test]
fn a_trace_goes_on_where_the_comment_has_its_parent() {
    for redaction in ["secrets", "values"] {
        let capture = "sqlcommenter/capture.pcap";
        let parents: HashMap<_, _> = queries(capture, &[])
            .iter()
            .filter_map(|query| {
                Some((query["query"].clone(), query["conn"].clone(), query["tags"]["traceparent"].as_str()?.to_owned()))
            })
            .map(|(query, conn, parent)| ((conn.as_i64(), query.as_i64()), parent))
            .collect();
        assert!(parents.len() >= 2);
        let normalized: HashMap<_, _> = queries(capture, &["--redact", "values"])
            .iter()
            .map(|query| ((query["conn"].as_i64(), query["query"].as_i64()), query["normalized"].clone()))
            .collect();
        for (_, span) in lines(capture, &["--redact", redaction]).iter().flat_map(|line| spans(line)) {
            let of = attributes(&span);
            let key = (of["pgdissect.conn"].as_i64(), of["pgdissect.query"].as_i64());
            let parent = parents.get(&key).map(|parent| parent.split('-').collect::<Vec<_>>());
            let parent = parent.filter(|parent| parent.len() == 4 && parent[0] == "00");
            assert_eq!(span["parentSpanId"].as_str(), parent.as_ref().map(|parent| parent[2]));
            if let Some(parent) = parent {
                assert_eq!(span["traceId"], parent[1]);
            }
            if redaction == "values" {
                assert_eq!(of["db.query.text"], normalized[&key]);
            }
        }
    }
}

#[test]
fn spans_are_the_same_whatever_threads_make_them() {
    for capture in ["mixed-10000/capture.pcap.zst", "summary/capture.pcap.gz"] {
        let folder = Folder::new();
        let of = |jobs: &str| {
            let metrics = folder.file(jobs);
            let lines = lines(capture, &["-j", jobs, "--least-in-parallel", "1", "--otlp-metrics", &metrics]);
            (lines, fs::read_to_string(metrics).unwrap())
        };
        assert!(of("1") == of("4"));
    }
}

/// Returns the points of a line of metrics, with their services.
fn points(line: &str) -> Vec<(String, Value)> {
    let line = parse(line);
    let mut points = Vec::new();
    for resource in line["resourceMetrics"].as_array().unwrap() {
        let service = attributes(&resource["resource"])["service.name"].as_str().unwrap().to_owned();
        let metric = &resource["scopeMetrics"][0]["metrics"][0];
        assert_eq!(
            (metric["name"].as_str(), metric["unit"].as_str()),
            (Some("db.client.operation.duration"), Some("s"))
        );
        assert_eq!(metric["histogram"]["aggregationTemporality"], 2);
        let of_service = metric["histogram"]["dataPoints"].as_array().unwrap();
        points.extend(of_service.iter().map(|point| (service.clone(), point.clone())));
    }
    points
}

fn number(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn the_histogram_is_that_of_the_requests() {
    for capture in CAPTURES {
        let folder = Folder::new();
        let file = folder.file("metrics.json");
        lines(capture, &["--otlp-metrics", &file]);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().count(), 1);
        // By application, and whether they failed, which the lines have as well.
        let mut expected: BTreeMap<(String, String), (u64, f64, [u64; 10])> = BTreeMap::new();
        for query in queries(capture, &[]) {
            let Some(us) = query["total_us"].as_u64() else { continue };
            let service = query["application"].as_str().filter(|name| !name.is_empty()).unwrap_or("unknown_service");
            let state = query["error"]["code"].as_str().unwrap_or_default();
            let (count, sum, buckets) = expected.entry((service.to_owned(), state.to_owned())).or_default();
            let seconds = us as f64 / 1e6;
            (*count, *sum) = (*count + 1, *sum + seconds);
            buckets[BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(9)] += 1;
        }
        let mut found: BTreeMap<(String, String), (u64, f64, [u64; 10])> = BTreeMap::new();
        for (service, point) in points(&text) {
            assert_eq!(point["explicitBounds"], serde_json::json!(BOUNDS));
            let state = attributes(&point)
                .get("db.response.status_code")
                .map_or("", |state| state.as_str().unwrap())
                .to_owned();
            let (count, sum, buckets) = found.entry((service, state)).or_default();
            (*count, *sum) = (*count + number(&point["count"]), *sum + point["sum"].as_f64().unwrap());
            let counts = point["bucketCounts"].as_array().unwrap();
            assert_eq!(counts.len(), 10);
            assert_eq!(counts.iter().map(number).sum::<u64>(), number(&point["count"]));
            buckets.iter_mut().zip(counts).for_each(|(bucket, count)| *bucket += number(count));
            assert!(point["min"].as_f64() <= point["max"].as_f64());
        }
        assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
        for (key, (count, sum, buckets)) in expected {
            let (found_count, found_sum, found_buckets) = found[&key];
            assert_eq!((count, buckets), (found_count, found_buckets), "{capture} {key:?}");
            assert!((sum - found_sum).abs() < 1e-6);
        }
    }
}

#[test]
fn metrics_come_with_each_interval_and_go_on() {
    let folder = Folder::new();
    let file = folder.file("metrics.json");
    lines("summary/capture.pcap.gz", &["--otlp-metrics", &file, "--stats-interval", "100ms"]);
    let text = fs::read_to_string(&file).unwrap();
    let counts: Vec<u64> =
        text.lines().map(|line| points(line).iter().map(|(_, point)| number(&point["count"])).sum()).collect();
    assert!(counts.len() > 5, "{counts:?}");
    assert!(counts.is_sorted() && counts.first() < counts.last(), "{counts:?}");
    let times: Vec<_> =
        text.lines().flat_map(|line| points(line).first().map(|(_, point)| nanos_of(point, "timeUnixNano"))).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
    let timed = queries("summary/capture.pcap.gz", &[]).iter().filter(|query| query["total_us"].is_u64()).count();
    assert_eq!(counts.last(), Some(&(timed as u64)));
}

#[test]
fn options_of_other_lines_are_refused() {
    for (args, reason) in [
        (vec!["-F", "otlp", "-e", "message"], "requests alone"),
        (vec!["-F", "otlp", "-t", "Query"], "requests alone"),
        (vec!["--otlp-metrics", "/dev/null"], "requires -F otlp"),
        (vec!["-F", "otlp", "-o", "/tmp/same", "--otlp-metrics", "/tmp/same"], "a file of its own"),
    ] {
        let outcome = run([&["sqlcommenter/capture.pcap"], args.as_slice()].concat());
        assert_eq!(outcome.code, Some(2), "{args:?}");
        assert!(outcome.said.contains(reason), "{}", outcome.said);
    }
    // Of a limit, the first spans.
    let first = lines("sqlcommenter/capture.pcap", &["-c", "3"]);
    let count = |lines: &[String]| lines.iter().map(|line| spans(line).len()).sum::<usize>();
    assert_eq!(count(&first), 3);
}

/// Parses lines by the messages of the package opentelemetry-proto, which makes an error of any field that they do not have.
const SCHEMA: &str = r#"
import base64, json, sys
from google.protobuf.json_format import Parse
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData, Span, Status
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

def binary(span):
    # The mapping of OTLP has identifiers in hex, that of Protocol Buffers bytes in base64.
    for key in ("traceId", "spanId", "parentSpanId"):
        if key in span:
            span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()

spans = points = 0
for line in open(sys.argv[1]):
    data = json.loads(line)
    for resource in data["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                binary(span)
    for resource in Parse(json.dumps(data), TracesData()).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                assert len(span.trace_id) == 16 and len(span.span_id) == 8 and len(span.parent_span_id) in (0, 8)
                assert any(span.trace_id) and any(span.span_id)
                assert span.kind == Span.SPAN_KIND_CLIENT
                assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
                assert span.status.code in (Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR)
                spans += 1
for line in open(sys.argv[2]):
    for resource in Parse(line, MetricsData()).resource_metrics:
        for point in resource.scope_metrics[0].metrics[0].histogram.data_points:
            assert sum(point.bucket_counts) == point.count and len(point.bucket_counts) == len(point.explicit_bounds) + 1
            assert point.start_time_unix_nano <= point.time_unix_nano
            points += point.count
print(spans, points)
"#;

/// Needs Python and the network, or a folder of packages in PIP_FIND_LINKS.
#[test]
#[ignore = "installs a package of Python's"]
fn lines_are_messages_of_the_protocol_s_schema() {
    let folder = Folder::new();
    let environment = folder.path().join("venv");
    let succeeds = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let python = environment.join("bin/python");
    if !succeeds(Command::new("python3").args(["-m", "venv"]).arg(&environment))
        || !succeeds(Command::new(&python).args(["-m", "pip", "install", "-q", "opentelemetry-proto==1.45.2"]))
    {
        return announce("SKIPPED: lines_are_messages_of_the_protocol_s_schema: no Python, or no opentelemetry-proto");
    }
    for capture in CAPTURES {
        let (traces, metrics) = (folder.file("traces.json"), folder.file("metrics.json"));
        lines(capture, &["-o", &traces, "--otlp-metrics", &metrics]);
        let output = Command::new(&python).args(["-c", SCHEMA, &traces, &metrics]).output().unwrap();
        assert!(output.status.success(), "{capture}: {}", String::from_utf8_lossy(&output.stderr));
        let queries = queries(capture, &[]);
        let timed = queries.iter().filter(|query| query["total_us"].is_u64()).count();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("{} {timed}", queries.len()));
    }
}

#[test]
fn without_values_no_span_has_data() {
    let planted = fs::read_to_string(testdata().join("planted/planted.txt")).unwrap();
    let words: Vec<_> = planted.lines().filter(|word| word.starts_with("zq")).collect();
    let of = |redaction: &str| {
        let folder = Folder::new();
        let metrics = folder.file("metrics.json");
        let lines = lines("planted/capture.pcap", &["-p", "auto", "--redact", redaction, "--otlp-metrics", &metrics]);
        lines.concat() + &fs::read_to_string(metrics).unwrap()
    };
    assert!(words.iter().any(|word| of("secrets").contains(word)));
    let written = of("values");
    assert!(written.contains("db.query.text"));
    for word in words {
        assert!(!written.contains(word), "{word}");
    }
}
