//! The proof holds here, walks the whole registry, and sees a single wrong output of any kind of kernel.

use std::cell::RefCell;

use super::*;
use crate::registry::{gemms, group_kernels, kernels, unpacks};

/// The ids of all kernels of `isa`, by kind.
fn ids(isa: Isa) -> [Vec<&'static str>; 4] {
    [
        kernels().filter(|k| k.isa == isa).map(|k| k.id).collect(),
        group_kernels()
            .filter(|k| k.isa == isa)
            .map(|k| k.id)
            .collect(),
        unpacks().filter(|k| k.isa == isa).map(|k| k.id).collect(),
        gemms().filter(|k| k.isa == isa).map(|k| k.id).collect(),
    ]
}

#[test]
fn every_instruction_set_of_this_cpu_is_proven() {
    let cpu = Cpu::detect();
    for isa in cpu.isas() {
        let compared = prove(&cpu, isa).unwrap_or_else(|error| panic!("{error}"));
        eprintln!("{isa}: {compared} kernels");
        assert!(compared > 0, "{isa}");
        assert_eq!(compared, ids(isa).concat().len(), "{isa}: none is left out");
    }
}

#[test]
fn one_wrong_output_of_any_kernel_is_named() {
    let cpu = Cpu::detect();
    for isa in cpu.isas() {
        for kernel in ids(isa).iter().filter_map(|ids| ids.last().copied()) {
            let asked = RefCell::new(Vec::new());
            let wrong = |id: &'static str, case: &Case| {
                asked.borrow_mut().push(id);
                let mut outputs = case.reference();
                if id == kernel {
                    outputs[2 * case.rows + 3] += 1.0;
                }
                outputs
            };
            let meaning = &wrong;
            let exam = Exam {
                cpu: &cpu,
                isa,
                meaning,
            };
            let error = exam.run().expect_err("an output is wrong");
            let ProofError::Wrong {
                kernel: named,
                row,
                token,
                expected,
                found,
                ..
            } = error
            else {
                panic!("{error}");
            };
            assert_eq!((named, row, token), (kernel, 3, 2));
            assert_eq!(expected, found + 1.0);
            assert!(error.to_string().contains(kernel), "{error}");
            assert_eq!(asked.borrow().last(), Some(&kernel), "it ends there");
        }
    }
}

/// What would show an instruction that saturates: the largest sums of either sign, and both extremes of an activation.
#[test]
fn cases_have_the_extremes() {
    let case = Case::new(RAGGED_ROWS, COLS, TOKENS);
    let all: Vec<i8> = case.tokens.concat();
    assert!(all.contains(&-128) && all.contains(&127) && all.contains(&0));
    let outputs = case.reference();
    let largest = (128 * COLS) as f64;
    assert_eq!(outputs[2 * RAGGED_ROWS + 1..][..2], [-largest, largest]);
    let follows: i32 = case.trits[..COLS]
        .iter()
        .map(|&t| if t < 0 { 128 } else { 127 * i32::from(t) })
        .sum();
    assert_eq!(outputs[RAGGED_ROWS], f64::from(follows));
}

/// The cases fit kernels that this CPU cannot run as well: each is quick, reaches beyond a strip of panels, and has a packing.
#[test]
fn every_kernel_of_every_instruction_set_has_a_case() {
    for kernel in kernels() {
        let case = Case::whole(kernel);
        let strip = kernel.panels * kernel.packing.lanes;
        assert!(case.rows > strip + kernel.packing.lanes, "{}", kernel.id);
        assert!(case.rows * case.cols < 1 << 21, "{}", kernel.id);
        assert!(case.tokens.len() > 2 * kernel.batch, "{}", kernel.id);
    }
    for kernel in group_kernels() {
        let (group, scales) = Case::grouped(kernel).groups.expect("scales");
        assert!(kernel.reads(kernel.packing.grouped(group)), "{}", kernel.id);
        assert!(scales.iter().any(|s| *s < 0.0) && scales.iter().any(|s| *s > 0.0));
    }
    for unpack in unpacks() {
        let reads = |k: &KernelDesc| {
            (k.isa, k.packing.code, k.packing.lanes) == (unpack.isa, unpack.code, unpack.lanes)
        };
        assert!(kernels().any(reads), "{} has no matrix", unpack.id);
    }
}

#[test]
fn what_the_cpu_lacks_is_not_run() {
    let cpu = Cpu::detect().capped(Isa::Scalar);
    for &isa in Isa::ALL.iter().filter(|&&isa| isa != Isa::Scalar) {
        let error = prove(&cpu, isa).expect_err("it is capped").to_string();
        assert!(error.contains(isa.name()), "{error}");
    }
}
