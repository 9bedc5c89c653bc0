//! See `gateway::fuzz::handles`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway::fuzz::handles(bytes));
