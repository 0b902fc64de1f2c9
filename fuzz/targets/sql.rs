#![no_main]

#[path = "../checks/sql.rs"]
mod sql;

libfuzzer_sys::fuzz_target!(|data: &[u8]| sql::check(data));
