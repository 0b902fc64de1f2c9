#![no_main]

#[path = "../../tests/fuzz_checks/engine.rs"]
mod engine;
#[path = "../../tests/fuzz_checks/every_way.rs"]
mod every_way;
#[path = "../../tests/fuzz_checks/lines.rs"]
mod lines;
#[path = "../../tests/integration/support/strict.rs"]
mod strict;

libfuzzer_sys::fuzz_target!(|data: &[u8]| engine::check(data));
