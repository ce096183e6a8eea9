//! Any bytes as a GGUF file: metadata, tensors, and rows of every type.

#![no_main]

#[path = "../walk.rs"]
mod walk;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = walk::gguf(bytes);
});
