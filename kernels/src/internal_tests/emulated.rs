//! Every kernel of x86-64 with emulated intrinsics, so that those of ISAs that the CPU lacks are tested too.
//!
//! The text of the kernels is the generator's, but the names of its intrinsics are those of plain Rust functions
//! ([`intrinsics`]). What the emulation says an instruction does is compared with the instruction, on CPUs that have it.

mod coverage;
pub mod intrinsics;
mod samples;
mod vectors;

use super::{batched, catch, matches_reference, stays_within};
use crate::cpu::Isa;
use crate::registry::{KernelDesc, Scales};
use coverage::intrinsics_in;
use samples::Samples;
use std::collections::{BTreeMap, BTreeSet};

/// The generated files with emulated intrinsics, and their registry.
mod kernels {
    #![expect(non_snake_case, reason = "kernels are named by their ids")]
    include!(concat!(env!("OUT_DIR"), "/emulated.rs"));
}

/// Kernels whose window is one step too long.
mod overflowing {
    #![expect(non_snake_case, reason = "kernels are named by their ids")]
    #![allow(
        unused_imports,
        dead_code,
        reason = "which kernels there are depends on the configs"
    )]
    include!(concat!(env!("OUT_DIR"), "/emulated_overflowing.rs"));
}

/// Says how many kernels ran, and fails if none did: how many there are depends on the configs.
fn says(what: &str, ran: usize) {
    eprintln!("{ran} {what} ran with emulated intrinsics, whatever this CPU has");
    assert!(ran > 0, "no {what} ran");
}

#[test]
fn emulated_intrinsics_do_what_the_cpu_does() {
    const ROUNDS: usize = 2000;
    let (here, absent): (Vec<_>, Vec<_>) = intrinsics::comparisons().partition(|i| (i.detected)());
    for (seed, intrinsic) in here.iter().enumerate() {
        let mut samples = Samples::new(seed as u64);
        for _ in 0..ROUNDS {
            (intrinsic.compare)(&mut samples);
        }
    }
    let names: Vec<_> = absent.iter().map(|i| i.name).collect();
    eprintln!(
        "{} emulated intrinsics are the CPU's; not compared, for want of them: {names:?}",
        here.len()
    );
    assert!(!here.is_empty(), "every x86-64 has SSE2");
}

/// What the emulation does is worth as much as its comparisons, so whatever a kernel uses has one, with the constant that it uses.
#[test]
fn every_intrinsic_that_kernels_use_is_compared() {
    let overflowing = [include_str!(concat!(
        env!("OUT_DIR"),
        "/emulated_overflowing.rs"
    ))];
    let texts = kernels::TEXTS.iter().chain(&overflowing);
    let used: BTreeSet<_> = texts.flat_map(|text| intrinsics_in(text)).collect();
    let compared: BTreeMap<_, _> = intrinsics::comparisons()
        .map(|i| (i.name, i.constants))
        .collect();
    // A prefetch has no effect that could be compared.
    for (name, constant) in used.iter().filter(|(name, _)| *name != "_mm_prefetch") {
        let constants = compared.get(name).unwrap_or_else(|| {
            panic!("{name} is compared with no instruction; intrinsics.rs says how")
        });
        assert!(
            constant.is_none_or(|constant| constants.contains(&constant)),
            "{name} is not compared for the constant {constant:?}, only for {constants:?}"
        );
    }
    assert!(used.len() > 50, "only {used:?} were found");
}

#[test]
fn kernels_touch_nothing_outside_their_buffers() {
    for kernel in kernels::KERNELS {
        stays_within(kernel);
    }
    says("kernels", kernels::KERNELS.len());
}

#[test]
fn every_kernel_matches_the_reference() {
    for kernel in kernels::KERNELS {
        matches_reference(kernel);
    }
    says("kernels", kernels::KERNELS.len());
}

#[test]
fn a_window_that_is_one_longer_is_caught() {
    for wrong in overflowing::KERNELS {
        let whole = |k: &&KernelDesc| k.scales == Scales::Whole;
        catch(wrong, kernels::KERNELS.iter().filter(whole));
    }
    for wrong in overflowing::GEMMS {
        batched::catch(wrong, kernels::GEMMS.iter());
    }
    says(
        "windows",
        overflowing::KERNELS.len() + overflowing::GEMMS.len(),
    );
}

#[test]
fn batched_kernels_touch_nothing_outside_their_buffers() {
    for kernel in kernels::UNPACKS {
        batched::unpack_stays_within(kernel);
    }
    for kernel in kernels::GEMMS {
        batched::gemm_stays_within(kernel);
    }
    says(
        "batched kernels",
        kernels::UNPACKS.len() + kernels::GEMMS.len(),
    );
}

#[test]
fn reads_and_dot_products_see_every_byte() {
    use crate::contract::{DotArgs, ReadArgs};

    let mut bytes = vec![0u8; 768];
    for at in [0, 1, 63, 64, 255, 256, 700, 767] {
        bytes[at] = 7;
        let read = ReadArgs {
            bytes: bytes.as_ptr(),
            len: 256,
            streams: 3,
        };
        let dot = DotArgs {
            bytes: bytes.as_ptr(),
            len: 768,
            laps: 3,
        };
        for (isa, f) in kernels::READS {
            // SAFETY: the bytes are of the lengths that the contract asks for, and emulation needs no ISA.
            assert_ne!(unsafe { f(&read) }, 0, "{isa}: byte {at}");
        }
        bytes[..64].fill(1);
        bytes[at] = 7;
        let products: Vec<u64> = (kernels::DOTS.iter())
            // SAFETY: as above.
            .map(|(_, f)| unsafe { f(&dot) })
            .collect();
        bytes[at] = 8;
        for ((isa, f), product) in kernels::DOTS.iter().zip(products) {
            // SAFETY: as above.
            assert_ne!(unsafe { f(&dot) }, product, "{isa}: byte {at}");
        }
        bytes.fill(0);
    }
    assert!(kernels::READS.iter().any(|(isa, _)| *isa == Isa::Avx512bw));
}
