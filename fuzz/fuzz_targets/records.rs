//! See `fsstore::fuzz::records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fsstore::fuzz::records(bytes));
