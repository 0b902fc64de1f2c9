#![no_main]

#[path = "../../tests/fuzz_checks/sql.rs"]
mod sql;

libfuzzer_sys::fuzz_target!(|data: &[u8]| sql::check(data));
