//! See `fsstore::fuzz::inodes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fsstore::fuzz::inodes(bytes));
