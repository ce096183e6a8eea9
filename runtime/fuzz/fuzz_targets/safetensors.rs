//! Any bytes as a safetensors file: its header, and every tensor that the header describes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = tern_runtime::walk_safetensors(bytes);
});
