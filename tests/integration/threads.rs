//! However many threads make the lines: the output is the same, byte for byte.

use crate::captures;
use crate::command::run;

const EVERYTHING: &str = "message,query,session,loss,stats";

#[track_caller]
fn is_the_same(capture: &str, args: &[&str]) {
    let ports = captures::PORTS.map(|port| port.to_string()).join(",");
    let with = |jobs: &str| run([&["-q", "-p", &ports, "-j", jobs, capture][..], args].concat());
    let one = with("1");
    for jobs in ["2", "5"] {
        let many = with(jobs);
        assert_eq!((many.code, &many.said), (one.code, &one.said), "{capture} {args:?} -j {jobs}");
        assert!(many.lines == one.lines, "{capture} {args:?} -j {jobs}: other lines");
    }
}

#[test]
fn every_capture_gives_the_same_lines_with_any_number_of_threads() {
    for capture in captures::all() {
        is_the_same(&capture, &["-e", EVERYTHING]);
    }
}

#[test]
fn whatever_is_chosen_is_the_same_with_any_number_of_threads() {
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
