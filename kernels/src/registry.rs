//! The registry: one row for each kernel in this binary. Tests, benches, tuner and dispatch all walk it, so that no kernel can be
//! forgotten by one of them.
//!
//! There are three tables, since the operations have little in common but a name: [`kernels`] for matrix-vector products, and the
//! two halves of batched products, [`unpacks`] and [`gemms`].

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use crate::contract::{BuildFn, GemmFn, GemvFn, UnpackFn};
use crate::cpu::{Cpu, Isa};
use crate::epilogue::Granularity;
use crate::gemv::Tile;
use crate::generated;
use crate::packing::{Code, Packing};
use crate::plan::DEFAULT_TILE;
use crate::reference;

/// One algorithm for the ternary matrix-vector product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// The meaning, without cleverness.
    Reference,
    /// Look partial sums up in tables built from the activations.
    Lut,
    /// Look partial sums up once for each bit plane.
    Bitserial,
    /// Decode denser weights by constant tables and multiply-add.
    Decode,
    /// Unpack two-bit weights and multiply-add.
    Mad,
    /// Masked additions and subtractions: no table, no multiplication.
    Addsub,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 6] = [
        Family::Reference,
        Family::Lut,
        Family::Bitserial,
        Family::Decode,
        Family::Mad,
        Family::Addsub,
    ];

    /// The name on the command line and in kernel ids.
    pub const fn name(self) -> &'static str {
        match self {
            Family::Reference => "reference",
            Family::Lut => "lut",
            Family::Bitserial => "bitserial",
            Family::Decode => "decode",
            Family::Mad => "mad",
            Family::Addsub => "addsub",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A string that is not the name of a family.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a kernel family; expected one of lut, bitserial, decode, mad, addsub, reference"
)]
pub struct ParseFamilyError(String);

impl FromStr for Family {
    type Err = ParseFamilyError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Family::ALL
            .into_iter()
            .find(|f| f.name() == name)
            .ok_or_else(|| ParseFamilyError(name.to_owned()))
    }
}

/// What a kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The product of a matrix and a vector, for one scale over the whole matrix or one for each row: sums run over all of K.
    Gemv,
}

/// What a kernel does with the sums of a K block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scales {
    /// Adds them to `i32` sums: one scale for the matrix or for each row is applied after all of K ([`Gemv`](crate::Gemv)).
    Whole,
    /// A K block is a group of columns with a scale for each row: adds `sum * scale` to `f32` outputs
    /// ([`GroupGemv`](crate::GroupGemv)).
    Groups,
}

impl Scales {
    /// The weight scales that it serves. One scale for each row is as good as one for the matrix: neither is applied before all of K
    /// is summed.
    pub const fn granularities(self) -> &'static [Granularity] {
        match self {
            Scales::Whole => &[Granularity::Matrix, Granularity::Row],
            Scales::Groups => &[Granularity::Group],
        }
    }
}

/// What is known of a kernel: enough to choose, test, time and explain it.
#[derive(Debug)]
pub struct KernelDesc {
    /// Name: before `__` what it computes, after it how. For example `gemv_lut_t5__avx512vbmi_p2k48`.
    pub id: &'static str,
    /// What it computes.
    pub operation: Operation,
    /// The algorithm.
    pub family: Family,
    /// Which form of the algorithm, where there are several (`classic`, `shiftfree`); empty otherwise.
    pub variant: &'static str,
    /// The ISA that the CPU must have.
    pub isa: Isa,
    /// The bytes it reads.
    pub packing: Packing,
    /// Panels that it works on at once: those of a strip of the packing, or so many streams (see [`KernelDesc::is_distant`]).
    pub panels: usize,
    /// Tokens that it works on at once, from one reading of the weights. It takes any number: one batch after another, and the rest one
    /// by one.
    pub batch: usize,
    /// What it does with its sums.
    pub scales: Scales,
    /// Bytes of prepared activations for one step.
    pub operand_step_bytes: usize,
    /// Whether the code stores `t + 1`: then the sum of the activations is taken back once for each K block.
    pub biased: bool,
    /// Steps that the narrowest accumulator takes before it is widened, by the generator's bound.
    pub window: usize,
    /// Vector registers that one step needs at once, by the generator's arithmetic. The compiler may use more, and where a strip has
    /// more sums than registers, some wait in memory: `kernels/tests/compiled/record.txt` has what it made of each kernel.
    pub registers: usize,
    /// Vector operations, loads excluded, for one step of one panel and all tokens of a batch.
    pub ops_per_step: f64,
    /// The x86-64 instructions that its innermost loop exists for, alternatives behind a bar, `{k}` for one under a mask. Empty for
    /// plain Rust and for other architectures.
    pub instructions: &'static [&'static str],
    /// Fingerprint of the id and the generated text: a profile entry holds only for the very same kernel.
    pub fingerprint: &'static str,
    /// The kernel.
    pub(crate) gemv: GemvFn,
    /// Prepares its activations.
    pub(crate) build: BuildFn,
}

impl KernelDesc {
    /// Whether its panels lie far apart: the packing has single panels, and the kernel reads several streams of them.
    pub fn is_distant(&self) -> bool {
        self.panels != self.packing.panels
    }

    /// Streams of weights that it reads at once.
    pub fn streams(&self) -> usize {
        match self.is_distant() {
            true => self.panels,
            false => 1,
        }
    }

    /// Its tile where nobody tuned it: [`DEFAULT_TILE`], whose bytes ahead its streams share.
    pub fn default_tile(&self) -> Tile {
        // Whole lines.
        let prefetch = DEFAULT_TILE.prefetch / self.streams() / 64 * 64;
        Tile {
            prefetch,
            ..DEFAULT_TILE
        }
    }

    /// Weights in one step of one panel.
    pub fn weights_per_step(&self) -> usize {
        self.packing.lanes * self.packing.code.step_cols()
    }

    /// Whether it reads matrices of `packing`: its own, or for a kernel with scales by groups the same rows and panels with a
    /// group of columns that fits its K block.
    pub fn reads(&self, packing: Packing) -> bool {
        match self.scales {
            Scales::Whole => packing == self.packing,
            Scales::Groups => {
                packing.group > 0
                    && packing.block <= self.packing.block
                    && packing == self.packing.grouped(packing.group)
            }
        }
    }
}

/// The reference's row. It runs everywhere and is chosen only by name.
static REFERENCE: KernelDesc = KernelDesc {
    id: "gemv_reference_trits__scalar",
    operation: Operation::Gemv,
    family: Family::Reference,
    variant: "",
    isa: Isa::Scalar,
    packing: Packing::TRITS,
    panels: Packing::TRITS.panels,
    batch: 1,
    scales: Scales::Whole,
    operand_step_bytes: 1,
    biased: false,
    window: 1 << 20,
    registers: 0,
    ops_per_step: 2.0,
    instructions: &[],
    fingerprint: "reference",
    gemv: reference::gemv_reference,
    build: reference::build_reference,
};

/// Every kernel in this binary that sums over all of K, the reference first, whatever this CPU can run.
pub fn kernels() -> impl Iterator<Item = &'static KernelDesc> {
    let whole = generated::KERNELS
        .iter()
        .filter(|k| k.scales == Scales::Whole);
    std::iter::once(&REFERENCE).chain(whole)
}

/// Every kernel in this binary for matrices with a scale for each group of columns.
pub fn group_kernels() -> impl Iterator<Item = &'static KernelDesc> {
    generated::KERNELS
        .iter()
        .filter(|k| k.scales == Scales::Groups)
}

/// A kernel that this CPU runs: holding one is the proof. Only [`Cpu::kernels`] and [`Cpu::kernel`] make it.
#[derive(Clone, Copy, Debug)]
pub struct Kernel(&'static KernelDesc);

impl Deref for Kernel {
    type Target = KernelDesc;

    fn deref(&self) -> &KernelDesc {
        self.0
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Kernel {}

impl Kernel {
    /// The kernels that read matrices of `packing` for more tokens at once than this one does, of the same ISA, so that whoever may call
    /// this one may call those: the widest first, and of one width only that with the fewest operations.
    ///
    /// They read the same weights and the same operands, and return the same sums, so which of them multiplies some tokens changes
    /// nothing but the time.
    pub fn wider(self, packing: Packing) -> Vec<Kernel> {
        let kernels = generated::KERNELS.iter().map(Kernel);
        let wider = |k: &Kernel| {
            (k.isa, k.scales) == (self.isa, self.scales) && k.batch > self.batch && k.reads(packing)
        };
        let mut wider: Vec<Kernel> = kernels.filter(wider).collect();
        wider.sort_by(|a, b| {
            let cost = a.ops_per_step.total_cmp(&b.ops_per_step);
            b.batch.cmp(&a.batch).then(cost).then(a.id.cmp(b.id))
        });
        wider.dedup_by_key(|k| k.batch);
        wider
    }
}

impl Cpu {
    /// The kernels that this CPU runs, within its cap.
    pub fn kernels(&self) -> impl Iterator<Item = Kernel> + '_ {
        kernels().filter(|k| self.has(k.isa)).map(Kernel)
    }

    /// The kernels for matrices with a scale for each group of columns that this CPU runs, within its cap.
    pub fn group_kernels(&self) -> impl Iterator<Item = Kernel> + '_ {
        group_kernels().filter(|k| self.has(k.isa)).map(Kernel)
    }

    /// The kernel called `id`, when this CPU runs it.
    pub fn kernel(&self, id: &str) -> Option<Kernel> {
        self.kernels().find(|k| k.id == id)
    }
}

/// What is known of a kernel that unpacks a code into the dot-product layout.
#[derive(Debug)]
pub struct UnpackDesc {
    /// Name, for example `unpack_t5__avx512vbmi`.
    pub id: &'static str,
    /// The ISA that the CPU must have.
    pub isa: Isa,
    /// The code that it reads.
    pub code: Code,
    /// Rows of the panels that it reads. Panels in a strip and steps in a block may be any number.
    pub lanes: usize,
    /// The instructions that its innermost loop exists for; empty for plain Rust and for ISAs other than x86-64.
    pub instructions: &'static [&'static str],
    /// Fingerprint of the id and the generated text.
    pub fingerprint: &'static str,
    /// The kernel.
    pub(crate) unpack: UnpackFn,
}

/// What is known of a kernel that multiplies the dot-product layout with the activations of many tokens.
#[derive(Debug)]
pub struct GemmDesc {
    /// Name, for example `gemm_i8__avx512vnni_r4n6`: vectors of rows and tokens of the register tile.
    pub id: &'static str,
    /// The ISA that the CPU must have.
    pub isa: Isa,
    /// Rows that one vector covers.
    pub lanes: usize,
    /// Vectors of rows in the register tile.
    pub vectors: usize,
    /// Tokens in the register tile.
    pub tokens: usize,
    /// Quads of columns that 16-bit sums take before they are widened, by the generator's bound; `None` where sums are `i32`.
    pub window: Option<usize>,
    /// Vector registers in use in the inner loop.
    pub registers: usize,
    /// Vector operations, loads excluded, for one quad of the register tile.
    pub ops_per_quad: f64,
    /// The instructions that its innermost loop exists for; empty for plain Rust and for ISAs other than x86-64.
    pub instructions: &'static [&'static str],
    /// Fingerprint of the id and the generated text.
    pub fingerprint: &'static str,
    /// The kernel.
    pub(crate) gemm: GemmFn,
}

/// Every kernel in this binary that unpacks a code, whatever this CPU can run.
pub fn unpacks() -> impl Iterator<Item = &'static UnpackDesc> {
    generated::UNPACKS.iter()
}

/// Every kernel of batched products in this binary, whatever this CPU can run.
pub fn gemms() -> impl Iterator<Item = &'static GemmDesc> {
    generated::GEMMS.iter()
}

/// An unpack kernel that this CPU runs: holding one is the proof. Only [`Cpu::unpacks`] makes it.
#[derive(Clone, Copy, Debug)]
pub struct UnpackKernel(&'static UnpackDesc);

impl Deref for UnpackKernel {
    type Target = UnpackDesc;

    fn deref(&self) -> &UnpackDesc {
        self.0
    }
}

/// A kernel of batched products that this CPU runs: holding one is the proof. Only [`Cpu::gemms`] makes it.
#[derive(Clone, Copy, Debug)]
pub struct GemmKernel(&'static GemmDesc);

impl Deref for GemmKernel {
    type Target = GemmDesc;

    fn deref(&self) -> &GemmDesc {
        self.0
    }
}

impl Cpu {
    /// The unpack kernels that this CPU runs, within its cap.
    pub fn unpacks(&self) -> impl Iterator<Item = UnpackKernel> + '_ {
        unpacks().filter(|k| self.has(k.isa)).map(UnpackKernel)
    }

    /// The kernels of batched products that this CPU runs, within its cap.
    pub fn gemms(&self) -> impl Iterator<Item = GemmKernel> + '_ {
        gemms().filter(|k| self.has(k.isa)).map(GemmKernel)
    }
}
