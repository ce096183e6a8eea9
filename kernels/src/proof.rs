//! Proof of an instruction set by running it: every kernel of it, on small matrices, against the exact numbers of the reference.
//!
//! What a CPU announces is not always true. Hypervisors mask some features and forget others that depend on them, and emulators
//! announce instructions that they lack or get wrong. Then a program dies of an illegal instruction or, worse, goes on with wrong
//! sums. A wrong sum is found here; an illegal instruction ends the process, so whoever is not sure calls [`prove`] in a child process.

use std::error::Error;

use crate::gemm::{Batch, Gemm};
use crate::gemv::{Gemv, GroupGemv};
use crate::operand::Operand;
use crate::pack::{PackError, PackedMatrix};
use crate::packing::Packing;
use crate::plan::{Choice, DEFAULT_TILE, GemmChoice, Source};
use crate::reference;
use crate::registry::{GemmDesc, Kernel, KernelDesc, UnpackKernel};
use crate::{Cpu, Isa, Pages};

/// Columns that suffice for most kernels: some K blocks of tables, and a last step that no code fills.
const COLS: usize = 530;

/// The most columns, for kernels whose narrow sums are widened only after many.
const COLS_MAX: usize = 2100;

/// Rows beyond whole panels.
const RAGGED_ROWS: usize = 5;

/// Columns that share a scale, where a kernel takes as many: the usual group.
const GROUP: usize = 128;

/// Tokens that show all that a kernel does with one at a time: one of each kind (see [`Case::new`]).
const TOKENS: usize = 3;

/// Whatever keeps a matrix from being made.
type Cause = Box<dyn Error + Send + Sync>;

/// Why an instruction set is not proven.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The CPU does not even announce it.
    #[error("this CPU does not announce {isa}; prove one that `tern cpu` shows")]
    Absent {
        /// The instruction set.
        isa: Isa,
    },
    /// A kernel returned something else than the reference.
    #[error(
        "{kernel} returned {found} in place of {expected} for row {row} of {rows}x{cols} and token {token}; do not use {isa} on this CPU"
    )]
    Wrong {
        /// The instruction set.
        isa: Isa,
        /// The kernel's id.
        kernel: &'static str,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
        /// The first wrong row.
        row: usize,
        /// Its token.
        token: usize,
        /// What the reference says: an `i32`, or an `f32` where the kernel applies scales. Both are exact here.
        expected: f64,
        /// What the kernel returned.
        found: f64,
    },
    /// No matrix for a comparison could be made.
    #[error("cannot compare {kernel} with the reference: {source}; try again with more memory")]
    Setup {
        /// The kernel's id.
        kernel: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Runs every kernel of `isa` in this binary and compares it with the reference: matrix-vector kernels with what prepares their
/// activations, those with scales by groups, and both halves of batched products. Returns the number of kernels compared, which is 0
/// where the binary has none of this instruction set. It takes some tenths of a second.
///
/// Where the CPU lacks what it announces, this call ends the process.
///
/// # Errors
///
/// A kernel returned something else, or there is no memory to find out.
pub fn prove(cpu: &Cpu, isa: Isa) -> Result<usize, ProofError> {
    let meaning = &|_: &'static str, case: &Case| case.reference();
    Exam { cpu, isa, meaning }.run()
}

/// What all kernels of an instruction set are asked, and what is expected of them.
struct Exam<'a> {
    cpu: &'a Cpu,
    isa: Isa,
    /// The outputs that a kernel must return, token by token. Tests ask for wrong ones.
    meaning: &'a dyn Fn(&'static str, &Case) -> Vec<f64>,
}

impl Exam<'_> {
    /// Compares all kernels; how many there were.
    fn run(&self) -> Result<usize, ProofError> {
        let (cpu, isa) = (self.cpu, self.isa);
        if !cpu.has(isa) {
            return Err(ProofError::Absent { isa });
        }
        let mut compared = 0;
        for kernel in cpu.kernels().filter(|k| k.isa == isa) {
            self.judge(kernel.id, &Case::whole(&kernel), |case| case.gemv(kernel))?;
            compared += 1;
        }
        for kernel in cpu.group_kernels().filter(|k| k.isa == isa) {
            self.judge(kernel.id, &Case::grouped(&kernel), |case| {
                case.group_gemv(kernel)
            })?;
            compared += 1;
        }
        compared += self.unpacks()?;
        compared += self.gemms()?;
        Ok(compared)
    }

    /// Compares the unpack kernels, each with a multiplication that is not under suspicion: the first of the list, plain Rust
    /// unless the configs left it out.
    fn unpacks(&self) -> Result<usize, ProofError> {
        let Some(multiply) = self.cpu.gemms().min_by_key(|gemm| gemm.isa) else {
            return Ok(0);
        };
        let mut compared = 0;
        for unpack in self.cpu.unpacks().filter(|k| k.isa == self.isa) {
            // Nothing runs an unpack kernel on a packing that no matrix can have here.
            let Some(reader) = reader(self.cpu, unpack) else {
                continue;
            };
            let choice = GemmChoice {
                kernel: multiply,
                unpack: Some(unpack),
            };
            let rows = reader.packing.lanes * (reader.packing.panels + 1) + RAGGED_ROWS;
            self.judge(unpack.id, &Case::new(rows, COLS, TOKENS), |case| {
                case.gemm(reader, choice)
            })?;
            compared += 1;
        }
        Ok(compared)
    }

    /// Compares the kernels that multiply, each with weights that plain Rust unpacks.
    fn gemms(&self) -> Result<usize, ProofError> {
        // The reference's packing needs no kernel to unpack it.
        let Some(reader) = self.cpu.kernels().find(|k| k.packing == Packing::TRITS) else {
            return Ok(0);
        };
        let mut compared = 0;
        for kernel in self.cpu.gemms().filter(|k| k.isa == self.isa) {
            let choice = GemmChoice {
                kernel,
                unpack: None,
            };
            let case = Case::batched(&kernel);
            self.judge(kernel.id, &case, |case| case.gemm(reader, choice))?;
            compared += 1;
        }
        Ok(compared)
    }

    /// Compares what `run` makes of a case with what is meant.
    fn judge(
        &self,
        kernel: &'static str,
        case: &Case,
        run: impl FnOnce(&Case) -> Result<Vec<f64>, Cause>,
    ) -> Result<(), ProofError> {
        let found = run(case).map_err(|source| ProofError::Setup { kernel, source })?;
        let expected = (self.meaning)(kernel, case);
        assert_eq!(found.len(), expected.len(), "outputs of {kernel}");
        let mut pairs = found.iter().zip(&expected);
        // By their bits: a zero with the wrong sign is a wrong product too.
        match pairs.position(|(found, expected)| found.to_bits() != expected.to_bits()) {
            None => Ok(()),
            Some(at) => Err(ProofError::Wrong {
                isa: self.isa,
                kernel,
                rows: case.rows,
                cols: case.cols,
                row: at % case.rows,
                token: at / case.rows,
                expected: expected[at],
                found: found[at],
            }),
        }
    }
}

/// A kernel whose matrices `unpack` reads, its own instruction set's before others. It only names the packing and is not run.
fn reader(cpu: &Cpu, unpack: UnpackKernel) -> Option<Kernel> {
    let reads = |k: &Kernel| (k.packing.code, k.packing.lanes) == (unpack.code, unpack.lanes);
    cpu.kernels()
        .filter(reads)
        .min_by_key(|k| k.isa != unpack.isa)
}

/// A small matrix, some tokens, and scales if there are any.
struct Case {
    rows: usize,
    cols: usize,
    /// Row by row.
    trits: Vec<i8>,
    tokens: Vec<Vec<i8>>,
    /// Columns in a group, and for each row the scale of each group.
    groups: Option<(usize, Vec<f32>)>,
}

impl Case {
    /// Random trits, but for a row of ones and a row of minus ones. Of three tokens the first is random, with -128 and 127 among its
    /// activations, the second has these two only, with the signs of the first row, and the third is -128 throughout: so sums are as
    /// large as they can be, and instructions that saturate show it.
    fn new(rows: usize, cols: usize, tokens: usize) -> Case {
        let mut random = Random(rows as u64 + 1);
        let mut trits: Vec<i8> = (0..rows * cols)
            .map(|_| (random.next() % 3) as i8 - 1)
            .collect();
        for (row, trit) in trits.chunks_exact_mut(cols).skip(1).zip([1, -1]) {
            row.fill(trit);
        }
        let follow = |&trit: &i8| if trit < 0 { -128 } else { 127 };
        let mut activation = || match random.next() {
            number if number % 8 == 0 => -128,
            number if number % 8 == 1 => 127,
            number => (number >> 32) as i8,
        };
        let tokens = (0..tokens).map(|token| match token % TOKENS {
            0 => (0..cols).map(|_| activation()).collect(),
            1 => trits[..cols].iter().map(follow).collect(),
            _ => vec![-128; cols],
        });
        Case {
            rows,
            cols,
            tokens: tokens.collect(),
            trits,
            groups: None,
        }
    }

    /// A matrix that fills a strip of all panels and one of a single panel, and leaves some rows over, wide enough that
    /// narrow sums are widened within a K block.
    fn whole(kernel: &KernelDesc) -> Case {
        let panels = kernel.panels.max(kernel.packing.panels);
        let rows = kernel.packing.lanes * (panels + 1) + RAGGED_ROWS;
        let steps = kernel.window.min(kernel.packing.block) + 1;
        let cols = cols_beyond(steps.saturating_mul(kernel.packing.code.step_cols()));
        // Two whole batches and one more.
        Case::new(rows, cols, TOKENS.max(2 * kernel.batch + 1))
    }

    /// The same with scales.
    fn grouped(kernel: &KernelDesc) -> Case {
        let mut case = Case::whole(kernel);
        let group = GROUP.min(kernel.packing.block_cols());
        let mut random = Random(group as u64);
        // Neither powers of two nor alike, so that another order of additions or a fused product shows.
        let scale = |_| ((random.next() >> 44) as f32 - 300_000.0) / 7e5;
        let scales = (0..case.rows * case.cols.div_ceil(group)).map(scale);
        case.groups = Some((group, scales.collect()));
        case
    }

    /// A batch for a register tile: whole tiles, and less than one of rows and of tokens.
    fn batched(kernel: &GemmDesc) -> Case {
        let rows = kernel.lanes * (2 * kernel.vectors + 1) + RAGGED_ROWS;
        let cols = cols_beyond(4 * (kernel.window.unwrap_or(0) + 1));
        Case::new(rows, cols, TOKENS.max(2 * kernel.tokens + 1))
    }

    /// What every kernel must return, one token after another.
    fn reference(&self) -> Vec<f64> {
        let (rows, cols) = (self.rows, self.cols);
        let trit = |m: usize, k: usize| self.trits[m * cols + k];
        let token = |x: &Vec<i8>| -> Vec<f64> {
            match &self.groups {
                None => {
                    let mut y = vec![0; rows];
                    reference::gemv(rows, cols, trit, x, &mut y);
                    exact(&y)
                }
                Some((group, scales)) => {
                    let mut y = vec![0.0; rows];
                    reference::gemv_groups(*group, scales, trit, x, &mut y);
                    exact(&y)
                }
            }
        };
        self.tokens.iter().flat_map(token).collect()
    }

    fn pack(&self, packing: Packing) -> Result<PackedMatrix, PackError> {
        let row = |row: usize| &self.trits[row * self.cols..][..self.cols];
        let fill = |at: usize, out: &mut [i8]| out.copy_from_slice(row(at));
        PackedMatrix::pack(packing, self.rows, self.cols, Pages::Small, &fill)
    }

    /// The matrix with a kernel that reads it.
    fn ready(&self, kernel: Kernel) -> Result<Gemv, Cause> {
        Ok(Gemv::new(self.pack(kernel.packing)?, choice(kernel), 1)?)
    }

    /// That very kernel's sums.
    fn gemv(&self, kernel: Kernel) -> Result<Vec<f64>, Cause> {
        let gemv = self.ready(kernel)?.alone();
        let mut operands = Vec::new();
        for x in &self.tokens {
            let mut operand = Operand::new(kernel, self.cols)?;
            operand.build(x);
            operands.push(operand);
        }
        let mut sums = vec![i32::MIN; self.rows * operands.len()];
        gemv.run(&operands.iter().collect::<Vec<_>>(), &mut sums);
        Ok(exact(&sums))
    }

    /// That very kernel's products with scales by groups.
    fn group_gemv(&self, kernel: Kernel) -> Result<Vec<f64>, Cause> {
        let (group, scales) = self.groups.as_ref().ok_or("the case has no scales")?;
        let matrix = self.pack(kernel.packing.grouped(*group))?;
        let gemv = GroupGemv::new(matrix, scales, choice(kernel), 1)?.alone();
        let mut operands = Vec::new();
        for x in &self.tokens {
            let mut operand = gemv.operand()?;
            operand.build(x);
            operands.push(operand);
        }
        let len = gemv.part_len(0);
        let mut out = vec![f32::NAN; len * operands.len()];
        gemv.run_part(0, &operands.iter().collect::<Vec<_>>(), &mut out);
        let tokens = out.chunks_exact(len);
        Ok(tokens
            .flat_map(|token| exact(&token[..self.rows]))
            .collect())
    }

    /// The sums of a batched product from the packing of `reader`.
    fn gemm(&self, reader: Kernel, choice: GemmChoice) -> Result<Vec<f64>, Cause> {
        let gemv = self.ready(reader)?;
        let mut batch = Batch::new(reader.packing, self.cols, self.tokens.len())?;
        for (mut row, x) in batch.rows().zip(&self.tokens) {
            row.fill(x);
        }
        let mut sums = vec![i32::MIN; self.rows * self.tokens.len()];
        Gemm::new(&gemv, choice).run(&gemv, &batch, &mut sums)?;
        Ok(exact(&sums))
    }
}

/// Columns beyond `least`, within what is quick, and a last step that no code fills.
fn cols_beyond(least: usize) -> usize {
    least.saturating_add(3).clamp(COLS, COLS_MAX)
}

fn choice(kernel: Kernel) -> Choice {
    Choice {
        kernel,
        tile: DEFAULT_TILE,
        source: Source::Forced,
    }
}

/// The same numbers: an `f64` holds every `i32` and every `f32`.
fn exact<T: Copy + Into<f64>>(values: &[T]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}

/// Numbers that look random and are the same everywhere (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

#[cfg(test)]
mod tests;
