#![no_main]

#[path = "../../tests/fuzz_checks/packet.rs"]
mod packet;

libfuzzer_sys::fuzz_target!(|data: &[u8]| packet::check(data));
