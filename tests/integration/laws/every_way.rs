//! The output does not depend on how packets are dissected and lines written: it is the same, byte for byte, including times.

use crate::captures;
use crate::command::run;
use crate::hostile::fuzz_seeds::every_way;

const EVERYTHING: &str = "message,query,session,loss,stats,summary";

#[track_caller]
fn is_the_same(capture: &str, args: &[&str]) {
    let path = captures::testdata().join(capture);
    let file = std::fs::read(&path).unwrap();
    let ports = captures::PORTS.map(|port| port.to_string()).join(",");
    let keys = path.with_file_name("keys.log");
    let mut all = vec!["-p", &ports];
    if keys.exists() {
        all.extend(["--keylog", keys.to_str().unwrap()]);
    }
    all.extend(args);
    every_way::check(&file, &all);
}

#[test]
fn every_capture_has_the_same_lines_in_every_way() {
    for capture in captures::all() {
        is_the_same(&capture, &["-e", EVERYTHING]);
    }
}

#[test]
fn whatever_is_chosen_is_the_same_in_every_way() {
    for capture in
        ["planted/capture.pcap", "driver-jdbc/capture.pcap.gz", "loss/burst.pcap", "copy-clients/capture.pcap"]
    {
        for args in [
            &["-F", "text", "-e", EVERYTHING][..],
            &["--redact", "values", "-e", EVERYTHING],
            &["--named-rows"],
            &["-e", "query", "--errors"],
            &["-t", "DataRow,Bind,ErrorResponse,SASLResponse"],
            &["-c", "1500"],
            &["-c", "1"],
            &["--max-message", "64"],
        ] {
            is_the_same(capture, args);
        }
    }
}

#[test]
fn a_log_of_every_capture_is_the_same_of_any_number_of_threads() {
    let ports = captures::PORTS.map(|port| port.to_string()).join(",");
    for capture in captures::all() {
        for form in [&["-F", "csvlog"][..], &["-F", "jsonlog", "--log-style", "statement"]] {
            let log = |more: &[&str]| run([form, &["-q", "-p", &ports, &capture], more].concat()).lines;
            let plain = log(&["-j", "1", "--no-fast-paths"]);
            for jobs in ["1", "2", "4"] {
                assert!(log(&["-j", jobs, "--least-in-parallel", "2"]) == plain, "{capture}, {form:?}, -j {jobs}");
            }
        }
    }
}

#[test]
fn changes_of_every_stream_are_the_same_in_every_way() {
    let captures = captures::all();
    let captures: Vec<_> = captures.iter().filter(|capture| capture.starts_with("replication-")).collect();
    assert!(captures.len() > 20, "{captures:?}");
    for (capture, args) in captures.iter().flat_map(|capture| {
        [
            &["-e", "change,transaction"][..],
            &["-e", "change,query,session,loss,stats", "--redact", "values"],
            &["-e", "transaction,query"],
            &["-e", "change", "-c", "7"],
            &["-e", "change", "--since", "1s", "--until", "3s"],
            &["-e", "change", "-F", "text", "--utc"],
            &["-e", "change,summary"],
        ]
        .map(|args| (capture, args))
    }) {
        is_the_same(capture, args);
    }
}

/// And so is what was there where nothing is selected.
#[test]
fn a_selection_is_the_same_in_every_way() {
    // Several connections of each are dissected in parallel.
    for capture in ["driver-pgbench-prepared/capture.pcap.gz", "summary/capture.pcap.gz"] {
        for args in [
            &["--conn", "2,3", "--since", "40ms", "--until", "80ms"][..],
            &["--client", "127.0.0.0/8", "--user", "app"],
            &["--min-rows", "1", "--sql", "(?i)select"],
            &["--fingerprint", "76632cccf9128ba5,3ecd850e44b4f083"],
            &["--user", "nobody", "--application", "none", "--database", "none"],
            &["--client", "10.0.0.1"],
            &["--sql", "nothing has this"],
            &["--min-rows", "1000000"],
        ] {
            is_the_same(capture, &[&["-e", EVERYTHING], args].concat());
        }
    }
}
