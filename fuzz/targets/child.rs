#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| perseat_fuzz::run("child", data));
