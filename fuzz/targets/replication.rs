#![no_main]

#[path = "../../tests/fuzz_checks/lines.rs"]
mod lines;
#[path = "../../tests/fuzz_checks/replication.rs"]
mod replication;
#[path = "../../tests/integration/support/strict.rs"]
mod strict;

libfuzzer_sys::fuzz_target!(|data: &[u8]| replication::check(data));
