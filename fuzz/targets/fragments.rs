#![no_main]

#[path = "../checks/fragments.rs"]
mod fragments;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fragments::check(data));
