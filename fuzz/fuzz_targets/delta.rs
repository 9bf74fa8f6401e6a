//! See `decoders.rs`.
#![no_main]

#[allow(dead_code, reason = "each target takes one")]
#[path = "../decoders.rs"]
mod decoders;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| decoders::delta_frame(bytes));
