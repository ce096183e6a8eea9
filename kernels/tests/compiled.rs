//! What the compiler made of the kernels: each generated function is disassembled from this very executable, whether or not the CPU
//! could run it, and its innermost loops are read.
//!
//! A kernel is written for an instruction (`tern_codegen::isa::instructions`), but the compiler is free to rewrite it. So the tests ask
//! that the instruction is there, that nothing is called beside it, and they hold the registers used and the vectors that wait
//! in memory to the record `compiled/record.txt`. The workspace's profile builds this crate for tests as it does for releases, but
//! for overflow checks, which stand outside these loops; kernels in plain Rust are left to the compiler.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "compiled/checks.rs"]
mod checks;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "compiled/executable.rs"]
mod executable;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[path = "compiled/loops.rs"]
mod loops;

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[test]
fn only_x86_64_linux_is_read() {
    eprintln!("nothing to do: these tests read x86-64 instructions from an ELF file");
}
