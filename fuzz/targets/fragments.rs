#![no_main]

#[path = "../../tests/fuzz_checks/fragments.rs"]
mod fragments;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fragments::check(data));
