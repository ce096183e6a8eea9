//! GGUF files: what their bytes mean, that damage is found, and that written files are those of other programs.

mod corpus;
mod files;
mod formats;
mod raw;
mod ternary;

/// The fuzzer's own walk through a file.
#[path = "../../fuzz/walk.rs"]
mod walk;
