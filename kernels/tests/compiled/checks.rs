//! The checks of the innermost loops.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use iced_x86::{FlowControl, Instruction, OpKind, Register};
use tern_kernels::{Family, Isa, gemms, group_kernels, kernels, unpacks};

use crate::executable::Executable;
use crate::loops::innermost_loops;

/// What these tests ask of a kernel of any operation.
struct Compiled {
    id: &'static str,
    isa: Isa,
    /// What a step needs by the generator's arithmetic; `None` for unpack kernels, which hold nothing from step to step.
    registers: Option<usize>,
    instructions: &'static [&'static str],
    loops: Vec<Vec<Instruction>>,
}

/// Every kernel that is written in intrinsics, with its innermost loops.
fn loops_of_kernels() -> Vec<Compiled> {
    let executable = Executable::own();
    let compiled = |id, isa, registers, instructions| {
        let code = executable.code(id);
        let code = code.unwrap_or_else(|| {
            panic!("{id} is not in the symbol table of this test; was it stripped?")
        });
        Compiled {
            id,
            isa,
            registers,
            instructions,
            loops: innermost_loops(&code),
        }
    };
    let gemv = kernels().chain(group_kernels());
    let gemv = gemv.filter(|k| k.isa != Isa::Scalar && k.family != Family::Reference);
    let gemv = gemv.map(|k| compiled(k.id, k.isa, Some(k.registers), k.instructions));
    let unpack = unpacks().map(|k| compiled(k.id, k.isa, None, k.instructions));
    let gemm = gemms().filter(|k| k.isa != Isa::Scalar);
    let gemm = gemm.map(|k| compiled(k.id, k.isa, Some(k.registers), k.instructions));
    let all: Vec<_> = gemv.chain(unpack).chain(gemm).collect();
    eprintln!("{} kernels disassembled", all.len());
    all
}

/// Whether `instruction` is one of `wanted`: mnemonics with a bar between them, those that must be under a mask with `{k}` behind.
fn is_one_of(wanted: &str, instruction: &Instruction) -> bool {
    let mnemonic = format!("{:?}", instruction.mnemonic()).to_lowercase();
    wanted
        .split('|')
        .any(|wanted| match wanted.strip_suffix("{k}") {
            Some(wanted) => wanted == mnemonic && instruction.op_mask() != Register::None,
            None => wanted == mnemonic,
        })
}

#[test]
fn each_kernel_runs_the_instructions_that_it_exists_for() {
    let mut wrong = String::new();
    for Compiled {
        id,
        instructions,
        loops,
        ..
    } in loops_of_kernels()
    {
        if instructions.is_empty() {
            let _ = writeln!(
                wrong,
                "{id}: say what this kernel exists for, in codegen/src/isa/instructions.rs: a row with the mnemonics that its \
                 innermost loop must contain",
            );
        }
        for wanted in instructions {
            let runs = |body: &Vec<Instruction>| body.iter().any(|i| is_one_of(wanted, i));
            if !loops.iter().any(runs) {
                let _ = writeln!(
                    wrong,
                    "{id}: no innermost loop has {wanted}; the compiler rewrote it"
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn innermost_loops_call_nothing() {
    for Compiled { id, loops, .. } in loops_of_kernels() {
        let calls = |i: &&Instruction| {
            matches!(
                i.flow_control(),
                FlowControl::Call | FlowControl::IndirectCall
            )
        };
        let call = loops.iter().flatten().find(calls);
        assert!(
            call.is_none(),
            "{id}: an innermost loop calls something: {call:?}"
        );
    }
}

/// What a loop does with vectors.
#[derive(Clone, Copy, Default)]
struct Vectors {
    /// Different registers.
    registers: usize,
    /// Vectors that are stored to the stack.
    stores: usize,
    /// Vectors that are read from the stack, by themselves or as an operand.
    reloads: usize,
}

impl Vectors {
    fn of(body: &[Instruction]) -> Vectors {
        let mut registers = BTreeSet::new();
        let mut vectors = Vectors::default();
        for instruction in body {
            let operands = 0..instruction.op_count();
            let in_registers = operands
                .clone()
                .filter(|&o| instruction.op_kind(o) == OpKind::Register);
            let names = in_registers
                .map(|o| instruction.op_register(o))
                .filter(|r| r.is_vector_register());
            let numbers: Vec<usize> = names.map(|r| r.number()).collect();
            // A vector kernel has no frame pointer: what lies on the stack is addressed by the stack pointer.
            if !numbers.is_empty() && instruction.memory_base() == Register::RSP {
                match instruction.op_kind(0) {
                    OpKind::Memory => vectors.stores += 1,
                    _ => vectors.reloads += 1,
                }
            }
            registers.extend(numbers);
        }
        vectors.registers = registers.len();
        vectors
    }

    /// The larger of each.
    fn max(self, other: Vectors) -> Vectors {
        Vectors {
            registers: self.registers.max(other.registers),
            stores: self.stores.max(other.stores),
            reloads: self.reloads.max(other.reloads),
        }
    }
}

/// The first lines of the record.
const HEAD: &str = "\
# What the compiler made of the innermost loops of each kernel, the worst loop of each: vector registers that a step needs at once
# by the generator's arithmetic (`budget::registers`; not for unpack kernels), different ones that the compiler uses (more where some
# are free), and vectors that it stores to the stack and reads back, because they wait there for the end of a window or found no
# register. The compiler unrolls short windows: then the innermost loop is the one over windows, their ends included.
#
# Written by `TERN_BLESS=1 cargo test -p tern-kernels --test compiled`. Read the difference: a store that is new costs time.
";

/// Whether the kernels are those of the repository's configs. Others, of a build that tries new tiles, are in no record.
fn built_from_the_repository() -> bool {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/kernels");
    let same = |(name, text): &(&str, &str)| {
        std::fs::read_to_string(own.join(name)).is_ok_and(|own| own == *text)
    };
    tern_kernels::CONFIGS.iter().all(same)
}

#[test]
fn registers_and_waiting_vectors_are_those_of_the_record() {
    if env!("TERN_BUILD_PROFILE") == "release" {
        eprintln!(
            "nothing to compare: the record is of `cargo test` without --release, which allots registers a little differently"
        );
        return;
    }
    if !built_from_the_repository() {
        eprintln!("nothing to compare: the kernels are built from other configs than the record");
        return;
    }
    let mut found = format!("{HEAD}\n{:<46} needs uses stores reloads\n", "kernel");
    for kernel in loops_of_kernels() {
        let worst = kernel
            .loops
            .iter()
            .map(|body| Vectors::of(body))
            .fold(Vectors::default(), Vectors::max);
        let Vectors {
            registers,
            stores,
            reloads,
        } = worst;
        let needs = kernel.registers.map_or("-".to_owned(), |n| n.to_string());
        let _ = writeln!(
            found,
            "{:<46} {needs:>5} {registers:>4} {stores:>6} {reloads:>7}",
            kernel.id
        );
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compiled/record.txt");
    if std::env::var_os("TERN_BLESS").is_some() {
        std::fs::write(&path, &found).expect("the record can be written");
    }
    let stated = std::fs::read_to_string(&path).expect("the record is part of the repository");
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let (stated, found) = (lines(&stated), lines(&found));
    let list = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
        a.difference(b).fold(String::new(), |t, l| t + l + "\n")
    };
    assert!(
        stated == found,
        "compiled/record.txt says\n{}but the loops have\n{}`TERN_BLESS=1 cargo test -p tern-kernels --test compiled` writes the record anew; \
         read what changed",
        list(&stated, &found),
        list(&found, &stated),
    );
}

/// The most vectors of a loop that may wait in memory: for each of four panels the four 16-bit sums that are of use at a window's end only.
const WAITING_MAX: usize = 4 * 4;

#[test]
fn vectors_wait_in_memory_only_where_registers_run_out() {
    for kernel in loops_of_kernels() {
        let all = match kernel.isa {
            Isa::Avx512bw | Isa::Avx512vnni | Isa::Avx512vbmi => 32,
            _ => 16,
        };
        for found in kernel.loops.iter().map(|body| Vectors::of(body)) {
            assert!(
                found.stores.max(found.reloads) <= WAITING_MAX,
                "{}: {} vectors are stored to the stack and {} read back, more than the {WAITING_MAX} sums that may wait",
                kernel.id,
                found.stores,
                found.reloads,
            );
            assert!(
                found.stores + found.reloads == 0 || found.registers >= all - 1,
                "{}: {} vectors are stored to the stack and {} read back although only {} of {all} registers are in use; was this \
                 crate built with checks that a release has not?",
                kernel.id,
                found.stores,
                found.reloads,
                found.registers,
            );
        }
    }
}
