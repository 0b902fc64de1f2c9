#![no_main]

#[path = "../../tests/fuzz_checks/reassembly.rs"]
mod reassembly;

libfuzzer_sys::fuzz_target!(|data: &[u8]| reassembly::check(data));
