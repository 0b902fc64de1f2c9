//! The summary for a terminal, of a real capture.

use crate::command::{Running, pgdissect, testdata};

/// Runs the command on the capture of the scenario, with a terminal of so many columns.
fn summary(columns: usize, args: &[&str]) -> String {
    let mut command = pgdissect(["-p", "5415", "-q", "summary/capture.pcap.gz"].iter().chain(args));
    let outcome = Running::start(command.env("COLUMNS", columns.to_string())).finish();
    assert_eq!((outcome.code, outcome.said.as_str()), (Some(0), ""));
    outcome.lines.join("\n") + "\n"
}

#[test]
fn a_real_capture_has_the_expected_summary() {
    let path = testdata().join("summary/summary.txt");
    let actual = summary(100, &["-F", "summary"]);
    if std::env::var_os("PGDISSECT_BLESS").is_some() {
        std::fs::write(&path, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (number, (expected, actual)) in expected.lines().zip(actual.lines()).enumerate() {
        assert_eq!(expected, actual, "line {}", number + 1);
    }
    assert_eq!(expected.lines().count(), actual.lines().count());
}

#[test]
fn text_has_the_same_summary() {
    let arguments = ["-F", "text", "-e", "summary"];
    assert_eq!(summary(100, &arguments), summary(100, &["-F", "summary"]));
    assert_eq!(summary(80, &[&arguments[..], &["--top", "2"]].concat()), summary(80, &["-F", "summary", "--top", "2"]));
}

/// What a DBA asks first is answered on 80 columns.
#[test]
fn a_narrow_terminal_has_the_answers() {
    let text = summary(80, &["-F", "summary"]);
    let section = |title: &str| {
        let (_, rest) = text.split_once(&format!("── {title} ")).unwrap_or_else(|| panic!("{title}: {text}"));
        rest.split("\n── ").next().unwrap().split_once('\n').unwrap().1
    };
    let has = |title: &str, wanted: &[&str]| {
        let section = section(title);
        // Lines may be broken anywhere between words.
        let words = section.split_whitespace().collect::<Vec<_>>().join(" ");
        for wanted in wanted {
            assert!(words.contains(wanted), "{title} has {wanted}: {section}");
        }
        // One screen.
        assert!(section.lines().count() <= 45, "{title} is long: {section}");
    };
    has("Statements by total time", &["p95", "SELECT name, price FROM item"]);
    has("Candidates for N+1", &["web", "SELECT name, price FROM item"]);
    has("Applications", &["idle in tx", "forgetful", "conn/s", "login"]);
    has("SELECT without LIMIT that returned many rows", &["1,600", "SELECT * FROM item"]);
    has("Errors by SQLSTATE", &["3 × 28P01 invalid_password (3 sessions)", "3 × 23505 unique_violation"]);
    has("Failed logins", &["u_scram", "nowhere"]);
    has("Clients", &["Most bytes received ::1 108 KiB"]);
    has("Deadlocks and locks that were not available", &["victim of a deadlock", "waits for ShareLock", "impatient"]);
    has("Canceled requests", &["from 127.0.0.1:", "SELECT pg_sleep(60)", "due to statement timeout", "$1=30"]);
    has("Running at the end of the capture", &["nightly", "≥"]);
    has("Statements for an audit", &["COPY … PROGRAM", "GRANT", "by postgres@shop migrate 127.0.0.1"]);
    assert!(text.contains("mostly server ("), "{text}");
}
