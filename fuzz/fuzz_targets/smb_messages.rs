//! See `gateway::fuzz::smb_messages`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway::fuzz::smb_messages(bytes));
