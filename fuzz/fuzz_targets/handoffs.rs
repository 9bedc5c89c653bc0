//! See `gateway::fuzz::handoffs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway::fuzz::handoffs(bytes));
