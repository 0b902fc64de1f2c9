#![no_main]

#[path = "../checks/engine.rs"]
mod engine;
#[path = "../checks/every_way.rs"]
mod every_way;
#[path = "../checks/lines.rs"]
mod lines;
#[path = "../../tests/integration/support/strict.rs"]
mod strict;

libfuzzer_sys::fuzz_target!(|data: &[u8]| engine::check(data));
