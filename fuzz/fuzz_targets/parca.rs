#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flamestore_fuzz::parca(bytes));
