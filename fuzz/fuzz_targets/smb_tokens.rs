//! See `gateway::fuzz::smb_tokens`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway::fuzz::smb_tokens(bytes));
