//! Runs the checks of the fuzz targets (see `fuzz/`) on the stored inputs.

use std::path::Path;

use crate::laws::contract;
use crate::strict;

#[path = "../../fuzz_checks/engine.rs"]
mod engine;
#[path = "../../fuzz_checks/every_way.rs"]
pub(crate) mod every_way;
#[path = "../../fuzz_checks/fragments.rs"]
mod fragments;
#[path = "../../fuzz_checks/framer.rs"]
pub(crate) mod framer;
#[path = "../../fuzz_checks/keylog.rs"]
mod keylog;
#[path = "../../fuzz_checks/lines.rs"]
mod lines;
#[path = "../../fuzz_checks/message.rs"]
mod message;
#[path = "../../fuzz_checks/packet.rs"]
mod packet;
#[path = "../../fuzz_checks/reassembly.rs"]
mod reassembly;
#[path = "../../fuzz_checks/replication.rs"]
mod replication;
#[path = "../../fuzz_checks/sql.rs"]
pub(crate) mod sql;
#[path = "../../fuzz_checks/tls.rs"]
mod tls;
#[path = "../../fuzz_checks/value.rs"]
pub(crate) mod value;

/// Runs a check on every input that is stored for it.
fn check_seeds(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz_seeds").join(target);
    let mut seeds = 0;
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let seed = std::fs::read(&path).unwrap();
        assert!(seed.len() <= 4096, "{} is too large to be kept", path.display());
        if std::panic::catch_unwind(|| check(&seed)).is_err() {
            panic!("{} fails", path.display());
        }
        seeds += 1;
    }
    assert!(seeds > 3, "the inputs of {target} were not found");
}

#[test]
fn kept_frames_are_read_or_refused() {
    check_seeds("packet", packet::check);
}

#[test]
fn kept_fragments_are_put_together() {
    check_seeds("fragments", fragments::check);
}

#[test]
fn kept_segments_are_put_in_order() {
    check_seeds("reassembly", reassembly::check);
}

#[test]
fn kept_streams_are_accounted_for() {
    check_seeds("framer", framer::check);
}

#[test]
fn kept_messages_keep_the_contract() {
    check_seeds("message", message::check);
}

#[test]
fn kept_values_are_json() {
    check_seeds("value", value::check);
}

#[test]
fn kept_key_logs_are_read_in_one_way() {
    check_seeds("keylog", keylog::check);
}

#[test]
fn kept_encrypted_streams_are_accounted_for() {
    check_seeds("tls", tls::check);
}

#[test]
fn kept_captures_keep_the_contract() {
    check_seeds("engine", engine::check);
}

#[test]
fn kept_sql_is_read_in_one_way() {
    check_seeds("sql", sql::check);
}

#[test]
fn kept_streams_of_a_walsender_keep_the_contract() {
    check_seeds("replication", |seed| check_schema(&replication::checked(seed)));
}

#[test]
fn any_stream_of_a_walsender_keeps_the_contract() {
    let (mut changes, mut seed) = (0, 0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..400 {
        let input: Vec<u8> = std::iter::repeat_with(|| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 32) as u8
        })
        .take(600)
        .collect();
        let lines = replication::checked(&input);
        changes += lines.iter().filter(|line| line.contains("\"event\":\"change\"")).count();
        check_schema(&lines);
    }
    assert!(changes > 800, "{changes}");
}

fn check_schema(lines: &[String]) {
    for line in lines {
        contract::check_line(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}
