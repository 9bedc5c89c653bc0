//! See `fsstore::fuzz::log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fsstore::fuzz::log(bytes));
