//! See `gateway::fuzz::procedures`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway::fuzz::procedures(bytes));
