//! See `fsstore::fuzz::fsinfo`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fsstore::fuzz::fsinfo(bytes));
