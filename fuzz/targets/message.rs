#![no_main]

#[path = "../checks/lines.rs"]
mod lines;
#[path = "../checks/message.rs"]
mod message;
#[path = "../../tests/integration/support/strict.rs"]
mod strict;

libfuzzer_sys::fuzz_target!(|data: &[u8]| message::check(data));
