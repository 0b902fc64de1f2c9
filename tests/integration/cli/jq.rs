//! `--jq`: the same as a pipe into jq.

use std::fs::File;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::test_runner::Config as Runs;

use crate::captures;
use crate::command::{Folder, Outcome, pgdissect, run};
use crate::hostile::fuzz_seeds::every_way;

/// The filters of the README that work line by line, with the options before them.
const RECIPES: &[(&[&str], &str)] = &[
    (&[], r#"select(.type == "CommandComplete")"#),
    (&["-e", "summary"], ".statements[] | [.exec_us, .calls, .p95_us, .normalized]"),
    (&["-e", "summary"], ".applications[] | [.name, .connects_per_second, .login_p95_us, .idle_in_transaction_us]"),
    (&["-e", "query"], "[.started, .client, .user, .database, .application, .sql]"),
    (&["-e", "query"], "select(.params) | [.sql, .params]"),
    (&["--errors"], "select(.error) | [.ts, .user, .application, .error.condition, .error.message, .sql]"),
    (
        &["-e", "query,message", "-t", "CancelRequest"],
        r#"select(.outcome == "canceled" or .type == "CancelRequest") | {ts, conn, client, target, canceled_by, sql, message: .error.message}"#,
    ),
    (
        &["-e", "summary"],
        ".applications[] | select(.idle_in_transaction_us > 0) | {name, idle_in_transaction_us, sessions}",
    ),
    (
        &["-e", "session"],
        r#"select(.state == "ended") | [.client, .user, .auth_method, .encryption, .connect_us, .authenticate_us, .end_reason, .ended_by]"#,
    ),
    (
        &["-e", "query"],
        "select(.exec_us) | {total_us, server_us, transfer_us, client_stall_us, rtt_client_us, rtt_server_us, rows, bytes_out, sql}",
    ),
    (&["--named-rows", "-t", "DataRow"], ".body.values"),
    (&["--named-rows", "-t", "CopyData,CopyDone"], ".body.rows[]?"),
    (&["-e", "query,loss"], r#"select(.event == "loss" or .flags)"#),
    (&["--conn", "1"], "select(.query == 12)"),
    (&[], r#"select(.type == "ErrorResponse")"#),
    (&["-e", "running", "--stats-interval", "10ms"], "[.age_us / 1e6, .state, .user, .sql] | @tsv"),
    (
        &["-e", "session"],
        r#"select(.replication and .state=="ended") | {client, user, replication, slot, plugin, publications}"#,
    ),
    (&["-e", "change"], r#"[.schema, .table, .op] | join(" ")"#),
    (&["-t", "CopyData"], r#"select(.body.kind=="standby_status") | {ts, client} + .body"#),
    (
        &["-e", "summary"],
        ".base_backups[] | {started, client_ip, outcome, incremental, start_lsn, end_lsn, active_us, archives, total_bytes}",
    ),
    (&["-e", "session"], ".tls // empty"),
    (&[], r#"select(.event == "loss"), select(.flags) | del(.ts, .client, .server, .body, .holes[]?.behind)"#),
    (&["-e", "query"], "select(.exec_us > 5000) | [.user, .exec_us, .sql]"),
];

const CAPTURES: [&str; 5] = [
    "psql-prefer/capture.pcap",
    "cancel/capture.pcap",
    "copy-formats/capture.pcap",
    "tcp/missing-segment.pcap",
    "replication-pgoutput-v1/capture.pcap",
];

const MICRO: &str = "formats/micro.pcap";

fn ports() -> String {
    captures::PORTS.map(|port| port.to_string()).join(",")
}

/// Runs the command on captures.
fn filtered(captures: &[&str], args: &[&str]) -> Outcome {
    let ports = ports();
    run([&["-q", "-F", "json", "-p", &ports], captures, args].concat())
}

#[test]
fn the_recipes_yield_what_jq_yields() {
    let folder = Folder::new();
    let lines = folder.path().join("lines");
    let mut without = Vec::new();
    let ports = ports();
    for (options, filter) in RECIPES {
        let mut yielded = 0;
        for capture in CAPTURES {
            let args = [&["-q", "-F", "json", "-p", &ports, capture], *options].concat();
            let written = pgdissect(args).stdout(File::create(&lines).unwrap()).stderr(Stdio::null()).status().unwrap();
            assert_eq!(written.code(), Some(0), "{options:?}");
            let piped = Command::new("jq").args(["-cr", filter]).arg(&lines).output().expect("jq is installed");
            let expected = String::from_utf8(piped.stdout).unwrap();
            let outcome = filtered(&[capture], &[*options, &["-j3", "--jq-raw", "--jq", filter]].concat());
            assert_eq!(outcome.lines, expected.lines().collect::<Vec<_>>(), "{capture} {options:?} {filter}");
            assert_eq!(outcome.code, piped.status.code(), "{capture} {filter}");
            yielded += outcome.lines.len();
        }
        if yielded == 0 {
            without.push(*filter);
        }
    }
    // Nothing in these captures is as slow as that, or a base backup, or behind a listener's back.
    assert!(without.len() <= 3, "{without:#?}");
}

#[test]
fn each_recipe_is_held_against_jq() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let mut found = 0;
    for line in readme.lines().filter(|line| line.contains("pgdissect ")) {
        // `-s` is of all lines.
        let Some(recipe) =
            ["| jq -c '", "| jq -r '", "| jq '", "--jq '"].iter().find_map(|start| line.split(start).nth(1))
        else {
            continue;
        };
        let filter = recipe.split('\'').next().unwrap();
        assert!(RECIPES.iter().any(|(_, known)| *known == filter), "{filter}");
        found += 1;
    }
    assert!(found >= RECIPES.len(), "{found}");
}

#[test]
fn strings_are_raw_if_wanted() {
    let outcome = filtered(&[MICRO], &["-t", "CommandComplete", "--jq", ".type", "--jq-raw"]);
    assert_eq!(outcome.code, Some(0));
    assert!(!outcome.lines.is_empty() && outcome.lines.iter().all(|line| line == "CommandComplete"));
}

#[test]
fn what_is_selected_and_redacted_is_so_before_the_filter() {
    let args = ["-e", "query", "--redact", "values"];
    let lines = filtered(&["planted/capture.pcap"], &args).values();
    let expected: Vec<_> = lines.iter().flat_map(|line| [line["sql"].clone(), line["params"].clone()]).collect();
    let redacted = filtered(&["planted/capture.pcap"], &[&args[..], &["--jq", ".sql, .params"]].concat());
    assert!(!expected.is_empty() && redacted.values() == expected);
}

#[test]
fn large_integers_and_long_values_are_exact() {
    for capture in ["integers/capture.pcap", "value-1mb/capture.pcap.gz"] {
        let all = filtered(&[capture], &["-e", "message,query"]);
        for jq in [&["--jq", "."][..], &["--jq", "select(.absent|not)"], &["--jq", ". as $line | $line"]] {
            assert!(
                filtered(&[capture], &[&["-e", "message,query"], jq].concat()).lines == all.lines,
                "{capture} {jq:?}"
            );
        }
    }
    let number = filtered(&[MICRO], &["-c1", "--jq", "9007199254740993, 123456789012345678901234567890"]);
    assert_eq!(number.lines, ["9007199254740993", "123456789012345678901234567890"]);
}

#[test]
fn a_wrong_filter_is_refused_before_anything_is_read() {
    for (args, wanted) in [
        (&["--jq", ".a | nonsense", "no-such-file"][..], "line 1, column 6: undefined filter nonsense"),
        (&["--jq", "[inputs]", "no-such-file"], "pipe into jq for it"),
        (&["--jq", ".", "-F", "text", "no-such-file"], "it requires -F json"),
        (&["--jq-raw", "no-such-file"], "--jq"),
    ] {
        let outcome = run(args);
        assert_eq!(outcome.code, Some(2), "{args:?}");
        assert!(outcome.said.contains(wanted) && outcome.lines.is_empty(), "{args:?}: {}", outcome.said);
    }
}

#[test]
fn a_filter_that_fails_on_a_line_is_applied_to_the_others() {
    let all = filtered(&[MICRO], &["--jq", ".seq"]);
    let filter = r#"if .type == "CommandComplete" then .conn.x else .seq end"#;
    for threads in ["-j1", "-j3"] {
        let outcome = filtered(&[MICRO], &[threads, "--jq", filter]);
        let failed = outcome.said.matches("pgdissect: --jq: ").count();
        assert!(failed > 0 && outcome.said.contains(r#"on the line {"#), "{}", outcome.said);
        assert_eq!((outcome.code, outcome.lines.len()), (Some(5), all.lines.len() - failed));
    }
}

#[test]
fn of_lines_that_a_filter_fails_on_the_first_are_told_and_the_others_counted() {
    let outcome = filtered(&["simple-query/capture.pcap"], &["-e", "query", "--jq", ".query[0]"]);
    assert_eq!((outcome.code, outcome.lines.len()), (Some(5), 0));
    let told = outcome.said.lines().filter(|line| line.contains("on the line")).count();
    assert_eq!(told, 20, "{}", outcome.said);
    assert!(outcome.said.contains("pgdissect: --jq: the filter failed on 30 more lines"), "{}", outcome.said);
}

#[test]
fn lines_of_a_pipe_are_filtered_before_its_end() {
    let ports = ports();
    let mut running =
        crate::command::Running::start_with_pipe(&mut pgdissect(["-q", "-p", &ports, "--jq", "[.type, .len]", "-"]));
    running.feed(&std::fs::read(captures::testdata().join("psql-prefer/capture.pcap")).unwrap());
    assert_eq!(running.line(), r#"["SSLRequest",8]"#);
    running.hang_up();
    assert_eq!(running.finish().code, Some(0));
}

#[test]
fn filters_yield_the_same_in_every_way() {
    let ports = ports();
    for capture in CAPTURES.iter().chain(&["driver-pgbench-prepared/capture.pcap.gz", "rows-3000/capture.pcap"]) {
        let file = std::fs::read(captures::testdata().join(capture)).unwrap();
        for filter in [
            "[.conn,.type,.len]",
            "{event, ts, conn, client, server, dir, seq, packet, len, type, query, elapsed_us}",
            r#"select(.type=="CommandComplete" and .elapsed_us>500)"#,
            r#"select(.type=="DataRow") | .seq"#,
            r#"select(.event=="query" and (.rows // 0) >= 1) | [.query, .rows, .bytes_in, .bytes_out, .total_us, .server_us]"#,
            r#"select((.dir == "F" and .len < 100) or (.exec_us != null)) | [.exec_us, .seq]"#,
            r#"select(.event == "query" and .params) | {sql, params, error: .error.message}, .flags"#,
            r#"select((.type // "") | test("^(Bind|.*Complete)$")) | {type, body}"#,
            r#"select((((.type // "") | startswith("Co")) or ((.type // "") | endswith("y"))) | not) | [.seq, .type]"#,
            "select(.len > 5 and .len <= 38 and .seq != 3 and .packet >= 4 and .query > -1) | {seq, len}",
            "select(.len < 38 and .elapsed_us < 500 and .rows == null) | [.elapsed_us]",
            "select(.flags) | [.flags]",
            r#"select(.dir == "F" and .elapsed_us == null) | [.seq]"#,
            r#"select(.type == "DataRow" and .seq > 100) | [.seq]"#,
            // It fails on lines without a type.
            r#"select(.type | startswith("D")) | [.seq]"#,
            "select(.body.values | length == 1) | [.seq]",
            r#"select(.body | has("values")?) | .seq"#,
            r#"select(.type == "DataRow" and (.body.values | length == 1)) | [.conn, .seq]"#,
            r#"(select(.type == "DataRow") | .body) | select(.conn == null) | .values"#,
        ] {
            let args = ["-p", &ports, "-e", "message,query,session,loss,change", "--jq", filter];
            every_way::check(&file, &args);
        }
    }
}

/// A field of a line: known of a record, or of its line alone, or of none.
fn field() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &[
        "event",
        "ts",
        "conn",
        "client",
        "server",
        "dir",
        "seq",
        "packet",
        "len",
        "type",
        "query",
        "elapsed_us",
        "rows",
        "bytes_in",
        "bytes_out",
        "total_us",
        "exec_us",
        "server_us",
        "sql",
        "body",
        "flags",
        "user",
        "absent",
    ];
    prop::sample::select(NAMES).prop_map(|name| format!(".{name}"))
}

fn constant() -> impl Strategy<Value = &'static str> {
    prop::sample::select(
        &[
            "null",
            "true",
            "false",
            "0",
            "1",
            "5",
            "-1",
            "2.5",
            "1e2",
            "300",
            "9007199254740993",
            r#""""#,
            r#""F""#,
            r#""message""#,
            r#""query""#,
            r#""CommandComplete""#,
            r#""DataRow""#,
            r#""Ready\u0046orQuery""#,
            r#""SELECT 1""#,
            "[]",
            "{}",
        ][..],
    )
}

fn operand() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => field(),
        1 => constant().prop_map(str::to_owned),
        1 => (field(), field()).prop_map(|(first, second)| format!("({first} // {second})")),
        1 => (field(), constant()).prop_map(|(first, second)| format!("({first} // {second})")),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    let text = prop::sample::select(&["", "F", "Co", "mess", "y$", "127", "^[A-Z]", "a|e"][..]);
    let on_text = prop::sample::select(&["startswith", "endswith", "test"][..]);
    let comparison = prop::sample::select(&["==", "!=", "<", "<=", ">", ">="][..]);
    let leaf = prop_oneof![
        4 => (operand(), comparison.clone(), constant()).prop_map(|(left, op, right)| format!("{left} {op} {right}")),
        1 => (operand(), comparison, operand()).prop_map(|(left, op, right)| format!("{left} {op} {right}")),
        1 => operand(),
        2 => (operand(), on_text, text).prop_map(|(operand, test, text)| format!("({operand} | {test}({text:?}))")),
        // Whose result only the filter shows.
        1 => (operand(), constant()).prop_map(|(operand, constant)| format!("({operand} | . == {constant})")),
        1 => operand().prop_map(|operand| format!("({operand} | tojson | length > 6)")),
        1 => (field(), field()).prop_map(|(first, second)| format!("({first}, {second})")),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} and {right})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} or {right})")),
            inner.prop_map(|inner| format!("({inner} | not)")),
        ]
    })
}

/// What comes after a `select`.
fn rest() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(".".to_owned()),
        prop::collection::vec(operand(), 1..4).prop_map(|operands| format!("[{}]", operands.join(", "))),
        prop::collection::vec(field(), 1..4).prop_map(|fields| format!("{{{}}}", fields.join(", ").replace('.', ""))),
        condition().prop_map(|condition| format!("select({condition})")),
        (condition(), field(), operand()).prop_map(|(a, b, c)| format!("if {a} then {b} else {c} end")),
        (field(), field()).prop_map(|(a, b)| format!("{a} as $a | {b}, $a")),
        (field(), operand()).prop_map(|(a, b)| format!("try ({a} | .[0]) catch {b}")),
        (field(), field()).prop_map(|(a, b)| format!("\"\\({a}) \" + ({b} | tostring)")),
        (field(), field()).prop_map(|(a, b)| format!("{a} + {b}")),
        (field(), field()).prop_map(|(a, b)| format!("{{x: [{a}, {b}], y: .body.query, z: {{event}}}}, {b}")),
        (field(), field()).prop_map(|(a, b)| format!("reduce ({a} | .[]?) as $a ({b}; [., $a])")),
        field().prop_map(|a| format!("({a} = 1) | keys")),
        field().prop_map(|a| format!("del({a}) | length")),
        field().prop_map(|a| format!("has(\"{}\")", a.replace('.', ""))),
    ]
}

proptest! {
    #![proptest_config(Runs { failure_persistence: None, ..Runs::with_cases(64) })]

    /// What the filter's syntax tree shows changes nothing, not even which lines the filter fails on.
    #[test]
    fn any_filter_yields_what_it_yields_of_whole_lines(condition in condition(), rest in rest(), form in 0..6) {
        let filter = match form {
            0 => rest,
            // What follows is not applied to the line.
            1 => format!("(select({condition}) | {{conn: 0, type: .seq, event}}) | {rest}"),
            _ => format!("select({condition}) | {rest}"),
        };
        let captures = ["psql-prefer/capture.pcap", "cases/pipelined-semicolons.pcap", "tcp/missing-segment.pcap"];
        let run = |way: &[&str]| {
            let mut outcome = filtered(&captures, &[&["-e", "message,query,session,loss", "--jq", &filter], way].concat());
            outcome.lines.extend(outcome.said.lines().map(str::to_owned));
            (outcome.code, outcome.lines)
        };
        let plain = run(&["--no-fast-paths"]);
        prop_assert!(matches!(plain.0, Some(0 | 5)), "{filter}: {plain:?}");
        prop_assert_eq!(&run(&["-j1"]), &plain, "{}", &filter);
    }
}
