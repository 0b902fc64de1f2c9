#![no_main]

#[path = "../checks/keylog.rs"]
mod keylog;

libfuzzer_sys::fuzz_target!(|data: &[u8]| keylog::check(data));
