//! See `fsstore::fuzz::snapshot_table`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fsstore::fuzz::snapshot_table(bytes));
