//! The output does not depend on how packets are dissected and lines written: it is the same, byte for byte, including times.

use crate::captures;
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
