//! What `codegen` wrote at build time: one module of kernels for each ISA of the target, their registry rows, the table of ISA
//! features. `tern codegen show ID` prints a kernel's text.

#![expect(
    non_snake_case,
    reason = "a kernel is named by its id, which has two underscores between what and how"
)]

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
