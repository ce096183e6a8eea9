//! Any bytes as a GGUF file: metadata, tensors, and rows of every type; and as the model that they describe.

#![no_main]

#[path = "../walk.rs"]
mod walk;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if walk::gguf(bytes).is_ok() {
        let _ = walk::model(bytes);
    }
});
