//! See `gateway::fuzz::rpc_headers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway::fuzz::rpc_headers(bytes));
