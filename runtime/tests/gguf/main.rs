//! GGUF: what bytes mean, that damage is found, and that written files are those of other programs. And the corpus of safetensors headers.

mod corpus;
mod files;
mod formats;
mod models;
mod raw;
mod safetensors;
mod ternary;

#[path = "../common/encode.rs"]
mod encode;

/// The fuzzer's own walk through a file.
#[path = "../../fuzz/walk.rs"]
mod walk;
