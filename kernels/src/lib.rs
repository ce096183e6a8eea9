//! Exact ternary matrix-vector kernels for CPUs, generated at build time and chosen at run time.
//!
//! A ternary weight is -1, 0 or 1, so a matrix-vector product needs no multiplication: it can look partial sums up in tables
//! built from the activations (families `lut` and `bitserial`), add and subtract under masks (`addsub`), or unpack two-bit weights
//! (`mad`) or denser ones (`decode`) into a dot-product instruction. Which is fastest depends on the CPU, on the shape and on where the weights lie. This crate holds many
//! variants of each, all of which return exactly the same integers, and one planner that chooses.
//!
//! * [`registry`] has one row for each kernel; [`Cpu::kernels`] those that this CPU runs.
//! * [`packing`] names byte orders, [`pack`] fills them.
//! * [`operand`] prepares a token's activations for the kernels of a packing.
//! * [`plan`] chooses a kernel and tile for a shape, from a [`profile`] or by a closed form.
//! * [`gemv`] multiplies, [`gemm`] many tokens at once from the same packed weights; [`team`] keeps the threads that share the rows.
//! * [`codebook`] multiplies rows of short codes, of matrices that are not ternary.
//! * [`proof`] runs all kernels of an instruction set, for whoever does not take the CPU's word for it.
//! * [`mod@quantize`] makes int8 activations and their scale, [`epilogue`] outputs of the sums.
//!
//! # Example
//!
//! ```
//! use tern_kernels::{Cpu, Gemv, Operand, PackedMatrix, Pages, Planner, Shape};
//!
//! let planner = Planner::new(Cpu::detect(), None, None)?;
//! let choice = planner.choose(Shape { rows: 3, cols: 4 }, 1);
//!
//! // A 3 x 4 matrix, row by row.
//! let trits: [[i8; 4]; 3] = [[1, 0, -1, 1], [0, 0, 0, 1], [-1, -1, -1, -1]];
//! let fill = |row: usize, out: &mut [i8]| out.copy_from_slice(&trits[row]);
//! let matrix = PackedMatrix::pack(choice.kernel.packing, 3, 4, Pages::Huge, &fill)?;
//!
//! let mut operand = Operand::new(choice.kernel, 4)?;
//! operand.build(&[10, 20, 30, -128]);
//!
//! let gemv = Gemv::new(matrix, choice, 1)?;
//! let mut sums = [0; 3];
//! gemv.run(&[&operand], &mut sums);
//! assert_eq!(sums, [10 - 30 - 128, -128, 68]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod codebook;
mod codes;
mod contract;
pub mod cpu;
pub mod epilogue;
mod fetch;
pub mod gemm;
pub mod gemv;
mod generated;
#[cfg(test)]
mod internal_tests;
pub mod memory;
pub mod operand;
pub mod pack;
pub mod packing;
pub mod plan;
pub mod profile;
pub mod proof;
pub mod quantize;
pub mod reference;
pub mod registry;
pub mod stream;
pub mod team;

pub use codebook::{CodeBits, Codebook, DigitVector};
pub use cpu::{Caches, Cpu, Isa};
pub use epilogue::{Granularity, ScaleRule, ScalesError, WeightScales};
pub use fetch::fetch;
pub use gemm::{Batch, BatchRow, Gemm, GemmPart, Scratch};
pub use gemv::{Gemv, GroupError, GroupGemv, PackingMismatch, Stage, Tables, Tile};
pub use generated::CONFIGS;
pub use memory::{Buffer, MemoryError, Pages, Shared, Storage, available_memory};
pub use operand::{BlockOperand, Operand, OperandPart, PREPARED_ALONE};
pub use pack::{PackError, PackedMatrix};
pub use packing::{Code, Packing};
pub use plan::{
    BatchChoice, BatchKernel, Choice, Force, GemmChoice, PlanError, Planner, Shape, Source,
};
pub use profile::{BatchEntry, Entry, HostInfo, Loaded, Profile, ProfileError, Rigor, RunnerUp};
pub use proof::{ProofError, prove};
pub use registry::{
    Family, GemmDesc, GemmKernel, Kernel, KernelDesc, Operation, Scales, UnpackDesc, UnpackKernel,
    gemms, group_kernels, kernels, unpacks,
};
pub use team::{Columns, Session, Split, Strips, Team};
