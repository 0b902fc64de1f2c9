#![no_main]

#[path = "../../tests/fuzz_checks/keylog.rs"]
mod keylog;

libfuzzer_sys::fuzz_target!(|data: &[u8]| keylog::check(data));
