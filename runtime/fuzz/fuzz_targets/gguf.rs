//! Any bytes as a GGUF file: metadata, tensors, and rows of every type; and as the model that they describe.

#![no_main]

use tern_runtime::fuzzing::mutate_gguf_front;

#[path = "../walk.rs"]
mod walk;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if walk::gguf(bytes).is_ok() {
        let _ = walk::model(bytes);
    }
});

// Nearly all bytes of a model are weights, and nearly any change of them is no trit: three of four changes are made in front of them.
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let front = match seed % 4 {
        0 => None,
        _ => mutate_gguf_front(data, size, max_size, libfuzzer_sys::fuzzer_mutate),
    };
    front.unwrap_or_else(|| libfuzzer_sys::fuzzer_mutate(data, size, max_size))
});
