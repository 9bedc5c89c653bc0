//! See `gateway::fuzz::connections`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway::fuzz::connections(bytes));
