//! Every figure of a summary is what the lines of the same capture add up to: counts and sums exactly, quantiles within 1 %.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde_json::{Value, json};

use crate::captures;
use crate::command::{run, testdata};

/// Returns the lines of requests, sessions and losses of a capture, and its summary.
fn lines_and_summary(capture: &str) -> (Vec<Value>, Value) {
    let ports = captures::PORTS.map(|port| port.to_string()).join(",");
    let mut args = vec!["-p".to_owned(), ports, "-e".to_owned(), "query,session,loss,summary".to_owned()];
    let keys = Path::new(capture).with_file_name("keys.log");
    if testdata().join(&keys).exists() {
        args.extend(["--keylog".to_owned(), keys.display().to_string()]);
    }
    args.extend(["-q", "--top", "1000", capture].map(str::to_owned));
    let mut lines = run(args).values();
    let summary = lines.pop().unwrap();
    assert_eq!(summary["event"], "summary", "{capture}");
    (lines, summary)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn sum(lines: &[&Value], field: &str) -> u64 {
    lines.iter().map(|line| number(&line[field])).sum()
}

fn has_failed(line: &Value) -> bool {
    !line["error"].is_null() || ["error", "canceled"].iter().any(|outcome| line["outcome"] == *outcome)
}

fn count(lines: &[&Value], is_wanted: impl Fn(&Value) -> bool) -> u64 {
    lines.iter().filter(|line| is_wanted(line)).count() as u64
}

/// Holds the times of an object against the requests that it is about.
#[track_caller]
fn check_times(of: &Value, queries: &[&Value], context: &str) {
    let mut times: Vec<u64> = queries.iter().filter_map(|line| line["exec_us"].as_u64()).collect();
    times.sort_unstable();
    assert_eq!(of["timed"], times.len(), "{context}");
    assert_eq!(of["exec_us"], times.iter().sum::<u64>(), "{context}");
    assert_eq!(of["max_us"], times.last().copied().unwrap_or_default(), "{context}");
    assert_eq!(
        of["mean_us"],
        times.iter().sum::<u64>().checked_div(times.len() as u64).unwrap_or_default(),
        "{context}"
    );
    for (field, percent) in [("p50_us", 50), ("p95_us", 95), ("p99_us", 99)] {
        let exact = (times.len() * percent).div_ceil(100).checked_sub(1).map_or(0, |rank| times[rank]);
        let found = of[field].as_u64().unwrap();
        assert!(found.abs_diff(exact) * 100 <= exact, "{context}: {field} is {found}, not {exact}");
    }
    if let Some(bins) = of["histogram"].as_array() {
        let mut from = 0;
        for bin in bins {
            let to = bin["us"].as_u64().unwrap();
            let within = times.iter().filter(|us| (from..=to).contains(*us)).count();
            assert_eq!(bin["count"], within, "{context}: {from} to {to}");
            from = to + 1;
        }
        assert_eq!(bins.iter().map(|bin| number(&bin["count"])).sum::<u64>(), times.len() as u64, "{context}");
    }
}

/// Holds what is counted of requests against them.
#[track_caller]
fn check_counts(of: &Value, queries: &[&Value], requests: &str, context: &str) {
    assert_eq!(of[requests], queries.len(), "{context}");
    assert_eq!(of["errors"], count(queries, has_failed), "{context}");
    for field in ["rows", "bytes_in", "bytes_out", "exec_us"] {
        assert_eq!(of[field], sum(queries, field), "{context}: {field}");
    }
}

fn grouped<'a>(lines: &[&'a Value], key: impl Fn(&Value) -> Value) -> BTreeMap<String, Vec<&'a Value>> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for line in lines {
        groups.entry(key(line).to_string()).or_default().push(*line);
    }
    groups
}

fn client_ip(line: &Value) -> Value {
    let (ip, _) = line["client"].as_str().unwrap().rsplit_once(':').unwrap();
    json!(ip.trim_start_matches('[').trim_end_matches(']'))
}

/// Who is known by a name that is not text has it in hex, as `\x…`.
fn name(line: &Value, field: &str) -> Value {
    match &line[field]["hex"] {
        Value::String(hex) => json!(format!("\\x{hex}")),
        _ => line[field].clone(),
    }
}

fn check(capture: &str) {
    let (lines, summary) = lines_and_summary(capture);
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    let (queries, sessions, losses) = (of("query"), of("session"), of("loss"));

    // All together.
    let totals = &summary["totals"];
    check_counts(totals, &queries, "requests", capture);
    check_times(totals, &queries, capture);
    // A stream goes on as long as its client likes.
    let is_stream =
        |line: &Value| line["sql"].as_str().is_some_and(|sql| sql.trim_start().starts_with("START_REPLICATION"));
    let has_no_end =
        |line: &Value| ["incomplete", "aborted"].iter().any(|outcome| line["outcome"] == *outcome) && !is_stream(line);
    assert_eq!(totals["unfinished"], count(&queries, |line| has_no_end(line) && !has_failed(line)), "{capture}");
    assert_eq!(totals["skipped"], count(&queries, |line| line["outcome"] == "skipped"), "{capture}");
    let statements = grouped(&queries, |line| line["fingerprint"].clone());
    assert_eq!(totals["distinct_statements"], statements.len(), "{capture}");

    // Statements, in the order of their times.
    let listed = summary["statements"].as_array().unwrap();
    assert_eq!((listed.len(), &summary["other_statements"]), (statements.len(), &Value::Null), "{capture}");
    assert!(listed.is_sorted_by(|a, b| number(&a["exec_us"]) >= number(&b["exec_us"])), "{capture}");
    for statement in listed {
        let queries = &statements[&statement["fingerprint"].to_string()];
        let context = format!("{capture}: {}", statement["normalized"]);
        check_counts(statement, queries, "calls", &context);
        check_times(statement, queries, &context);
        let forms = queries.iter().map(|line| text(&line["normalized"]));
        let shortest = forms.min_by_key(|form| (form.as_str().map(str::len), form.to_string())).unwrap();
        assert_eq!(statement["normalized"], shortest, "{context}");
        assert_eq!(
            statement["example"]["exec_us"].as_u64(),
            queries.iter().filter_map(|q| q["exec_us"].as_u64()).max()
        );
        for field in ["users", "databases", "applications", "clients"] {
            // The first eight.
            let shares = statement[field].as_array().unwrap();
            let calls: u64 = shares.iter().map(|share| number(&share["calls"])).sum();
            assert!(calls == queries.len() as u64 || shares.len() == 8, "{context}: {field}");
        }
        let codes = grouped(queries, |line| line["error"]["code"].clone());
        for code in statement["error_codes"].as_array().unwrap() {
            assert_eq!(code["count"], codes[&code["code"].to_string()].len(), "{context}");
        }
    }

    // Sessions, and who they are. A connection that only asked for a cancel is none.
    let is_midstream = |line: &Value| line["flags"].as_array().is_some_and(|flags| flags.contains(&json!("midstream")));
    let is_session =
        |line: &&Value| is_midstream(line) || !line["protocol_version"].is_null() || !line["encryption"].is_null();
    let sessions: Vec<_> = sessions.into_iter().filter(is_session).collect();
    let mut first = HashMap::new();
    for line in &sessions {
        first.entry(number(&line["conn"])).or_insert(*line);
    }
    let first: Vec<&Value> = first.into_values().collect();
    let login_failed = |line: &Value| {
        line["state"] == "ended" && !line["error"].is_null() && line["ready_us"].is_null() && !is_midstream(line)
    };
    let check_sessions = |of: &Value, first: &[&Value], all: &[&Value], context: &str| {
        assert_eq!(of["sessions"], first.len(), "{context}");
        assert_eq!(of["connects"], count(first, |line| !is_midstream(line)), "{context}");
        assert_eq!(of["logins_failed"], count(all, login_failed), "{context}");
        assert_eq!(of["idle_in_transaction_us"], sum(all, "idle_in_transaction_us"), "{context}");
    };
    check_sessions(totals, &first, &sessions, capture);
    assert_eq!(summary["capture"]["midstream_sessions"], count(&first, is_midstream), "{capture}");
    type Key = fn(&Value) -> Value;
    let keys: [(&str, Key); 4] = [
        ("users", |line| name(line, "user")),
        ("databases", |line| name(line, "database")),
        ("applications", |line| name(line, "application")),
        ("clients", client_ip),
    ];
    for (section, key) in keys {
        let groups = summary[section].as_array().unwrap();
        let (queries, first, all) = (grouped(&queries, key), grouped(&first, key), grouped(&sessions, key));
        let names: BTreeSet<_> = queries.keys().chain(all.keys()).collect();
        assert_eq!(groups.len(), names.len(), "{capture}: {section}");
        for group in groups {
            let context = format!("{capture}: {section} {}", group["name"]);

            let find = |lines: &BTreeMap<String, Vec<_>>| -> Vec<&Value> {
                lines.get(&group["name"].to_string()).cloned().unwrap_or_default()
            };
            check_counts(group, &find(&queries), "requests", &context);
            check_sessions(group, &find(&first), &find(&all), &context);
            let mut logins: Vec<_> =
                find(&all).iter().filter(|l| l["state"] == "ready").map(|l| number(&l["ready_us"])).collect();
            logins.sort_unstable();
            assert_eq!(group["login_max_us"], logins.last().copied().unwrap_or_default(), "{context}");
            let mean = logins.iter().sum::<u64>().checked_div(logins.len() as u64).unwrap_or_default();
            assert_eq!(group["login_mean_us"], mean, "{context}");
        }
    }
    let protected: u64 = summary["protection"].as_array().unwrap().iter().map(|kind| number(&kind["sessions"])).sum();
    assert_eq!(protected, first.len() as u64, "{capture}");

    // Errors: those of requests, and those that ended a session without a request.
    let has_fatal = |conn: &Value| {
        queries.iter().any(|line| line["conn"] == *conn && line["outcome"] == "aborted" && !line["error"].is_null())
    };
    let mut codes = BTreeMap::<String, u64>::new();
    let of_requests = queries.iter().filter_map(|line| line["error"]["code"].as_str());
    let ended = sessions.iter().filter(|line| line["state"] == "ended" && !has_fatal(&line["conn"]));
    for code in of_requests.chain(ended.filter_map(|line| line["error"]["code"].as_str())) {
        *codes.entry(code.to_owned()).or_default() += 1;
    }
    let errors = summary["errors"].as_array().unwrap();
    let listed = errors.iter().map(|error| (error["code"].as_str().unwrap().to_owned(), number(&error["count"])));
    assert_eq!(listed.collect::<BTreeMap<_, _>>(), codes, "{capture}");
    for error in errors {
        let statements = error["statements"].as_array().unwrap();
        let of_statements: u64 = statements.iter().map(|s| number(&s["count"])).sum();
        // The eight most frequent are listed.
        let (of_all, count) = (of_statements + number(&error["sessions"]), number(&error["count"]));
        assert!(of_all == count || statements.len() == 8 && of_all < count, "{capture}");
    }

    // Single requests.
    let place = |line: &Value| (number(&line["conn"]), number(&line["query"]));
    let slowest = summary["slowest"].as_array().unwrap();
    let mut expected: Vec<_> = queries.iter().filter(|line| !line["exec_us"].is_null()).collect();
    expected.sort_by_key(|line| (std::cmp::Reverse(number(&line["exec_us"])), place(line)));
    expected.truncate(1_000);
    assert_eq!(slowest.len(), expected.len(), "{capture}");
    for (found, line) in slowest.iter().zip(expected) {
        for field in ["ts", "started", "conn", "query", "packet", "client", "server", "outcome", "rows", "total_us"] {
            assert_eq!(found[field], line[field], "{capture}: {field}");
        }
        if found["truncated"].is_null() {
            assert_eq!((&found["sql"], &found["params"]), (&text(&line["sql"]), &line["params"]), "{capture}");
        }
    }
    for (section, is_wanted) in [
        ("cancels", (|line| line["outcome"] == "canceled") as fn(&Value) -> bool),
        ("locks", |line| line["error"]["code"] == "40P01" || line["error"]["code"] == "55P03"),
    ] {
        let found: BTreeSet<_> = summary[section].as_array().unwrap().iter().map(place).collect();
        let expected: BTreeSet<_> = queries.iter().filter(|line| is_wanted(line)).map(|line| place(line)).collect();
        assert_eq!(found, expected, "{capture}: {section}");
    }

    // Over time.
    let width = number(&summary["traffic"]["bucket_us"]);
    let mut in_buckets = 0;
    let is_of_walsender = |line: &&Value| !line["replication"].is_null();
    let has_walsender = sessions.iter().copied().any(|line| is_of_walsender(&line));
    let dated: Vec<_> = queries.iter().map(|line| (micros(&line["ts"]), *line)).collect();
    for bucket in summary["traffic"]["buckets"].as_array().unwrap() {
        let from = micros(&bucket["started"]);
        let within = dated.iter().filter(|(ts, _)| (from..from + width).contains(ts));
        let within: Vec<_> = within.map(|(_, line)| *line).collect();
        in_buckets += within.len();
        assert_eq!(bucket["requests"], within.len(), "{capture}");
        assert_eq!(bucket["errors"], count(&within, has_failed), "{capture}");
        // Bytes of a stream, or of a base backup, count when they are sent: see `replication_summary`.
        for field in ["bytes_in", "bytes_out"].iter().filter(|_| !has_walsender) {
            assert_eq!(bucket[*field], sum(&within, field), "{capture}: {field}");
        }
        check_times(bucket, &within, capture);
    }
    assert_eq!(in_buckets, queries.len(), "{capture}");

    // Where the time went.
    let time = &summary["time"];
    let known = ["server_us", "rtt_client_us", "rtt_server_us"];
    let known: Vec<_> =
        queries.iter().copied().filter(|line| known.iter().all(|field| !line[*field].is_null())).collect();
    assert_eq!(time["timed"], known.len(), "{capture}");
    assert_eq!(time["server_us"], sum(&known, "server_us"), "{capture}");
    assert_eq!(time["network_us"], sum(&known, "rtt_client_us") + sum(&known, "rtt_server_us"), "{capture}");
    let (transfer, stall) = (sum(&known, "transfer_us"), sum(&known, "client_stall_us"));
    assert_eq!(
        (&time["transfer_us"], &time["client_stall_us"]),
        (&json!(transfer - stall), &json!(stall)),
        "{capture}"
    );

    // Losses.
    let reasons = grouped(&losses, |line| line["reason"].clone());
    let listed = summary["capture"]["loss_reasons"].as_array().cloned().unwrap_or_default();
    assert_eq!(listed.len(), reasons.len(), "{capture}");
    for loss in listed {
        let lines = &reasons[&loss["reason"].to_string()];
        assert_eq!(loss["count"], lines.len(), "{capture}");
        assert_eq!(loss["missing_bytes"], sum(lines, "bytes"), "{capture}");
        assert_eq!(loss["skipped_bytes"], sum(lines, "skipped"), "{capture}");
    }
}

/// Text that is not valid is in hex, as `\x…`.
fn text(value: &Value) -> Value {
    value["hex"].as_str().map_or_else(|| value.clone(), |hex| json!(format!("\\x{hex}")))
}

/// Microseconds since 1970.
fn micros(ts: &Value) -> u64 {
    let ts: jiff::Timestamp = ts.as_str().unwrap().parse().unwrap();
    ts.as_microsecond().try_into().unwrap()
}

#[test]
fn every_figure_is_what_the_lines_add_up_to() {
    for capture in captures::all() {
        check(&capture);
    }
    check("mixed-10000/capture.pcap.zst");
}
