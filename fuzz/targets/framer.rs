#![no_main]

#[path = "../../tests/fuzz_checks/framer.rs"]
mod framer;

libfuzzer_sys::fuzz_target!(|data: &[u8]| framer::check(data));
