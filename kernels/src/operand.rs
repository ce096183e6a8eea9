//! Operands: the activations of one token in the form that the kernels of a packing read.
//!
//! For `lut` and `bitserial` kernels that is a table of partial sums for every group of columns, for `mad` and `decode` the int8
//! activations themselves, for `addsub` their digits. All kernels of a packing share the form, so one operand serves every matrix with the same
//! input (q, k and v; gate and up).

use crate::contract::BuildArgs;
use crate::memory::{Buffer, MemoryError, Pages};
use crate::packing::{Code, Packing};
use crate::registry::Kernel;

/// The most columns in a step of any code.
const STEP_COLS_MAX: usize = {
    let (mut most, mut i) = (0, 0);
    while i < Code::ALL.len() {
        if Code::ALL[i].step_cols() > most {
            most = Code::ALL[i].step_cols();
        }
        i += 1;
    }
    most
};

/// Bytes of a token's prepared forms up to which the calling thread prepares them: int8 in another order is written sooner than a team can be
/// told to, tables (128 KiB for 2560 columns in groups of five) are not.
pub const PREPARED_ALONE: usize = 16 << 10;

/// The sum of activations. In words for as long as none overflows, since vectors have twice as many of those as of 32 bits.
pub(crate) fn sum(q: &[i8]) -> i32 {
    const FIT: usize = (1 << 15) / 128;
    let words = q
        .chunks(FIT)
        .map(|q| q.iter().map(|&q| i16::from(q)).sum::<i16>());
    words.map(i32::from).sum()
}

/// The prepared activations of one token.
pub struct Operand {
    kernel: Kernel,
    packing: Packing,
    cols: usize,
    data: Buffer,
    /// For each K block, what is added to every row's sum.
    corrections: Vec<i32>,
}

impl Operand {
    /// Room for the prepared form of `cols` activations, as `kernel` and all kernels of its packing read them.
    ///
    /// # Errors
    ///
    /// No memory.
    pub fn new(kernel: Kernel, cols: usize) -> Result<Self, MemoryError> {
        Operand::of_packing(kernel, kernel.packing, cols)
    }

    /// The same for the matrices of `packing`, one that the kernel reads beside its own: with a scale for each group of columns.
    ///
    /// # Errors
    ///
    /// No memory.
    ///
    /// # Panics
    ///
    /// When the kernel does not read the packing.
    pub fn of_packing(kernel: Kernel, packing: Packing, cols: usize) -> Result<Self, MemoryError> {
        assert!(
            kernel.reads(packing),
            "{} does not read {packing}",
            kernel.id
        );
        let steps = packing.steps(cols);
        let bytes = steps.checked_mul(kernel.operand_step_bytes);
        let bytes = bytes.ok_or(MemoryError::TooLarge { bytes: usize::MAX })?;
        let data = Buffer::zeroed(bytes, Pages::Huge)?;
        // Far fewer than the bytes that were just found.
        let corrections = vec![0; packing.blocks(cols)];
        Ok(Operand {
            kernel,
            packing,
            cols,
            data,
            corrections,
        })
    }

    /// The packing that it is prepared for.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Activations that it holds.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of the prepared form.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Prepares the activations `q` of one token.
    ///
    /// # Panics
    ///
    /// When `q.len()` is not `cols()`.
    pub fn build(&mut self, q: &[i8]) {
        for mut part in self.parts(1) {
            part.build(q);
        }
    }

    /// Splits the operand into at most `n` parts of neighbouring K blocks that workers prepare side by side.
    pub fn parts(&mut self, n: usize) -> impl Iterator<Item = OperandPart<'_>> {
        let (kernel, packing, cols) = (self.kernel, self.packing, self.cols);
        let blocks_per_part = packing.blocks(cols).div_ceil(n.max(1)).max(1);
        let bytes_per_part = blocks_per_part * packing.block * kernel.operand_step_bytes;
        self.data
            .chunks_mut(bytes_per_part.max(1))
            .zip(self.corrections.chunks_mut(blocks_per_part))
            .enumerate()
            .map(move |(index, (data, corrections))| OperandPart {
                kernel,
                packing,
                cols,
                first_block: index * blocks_per_part,
                data,
                corrections,
            })
    }

    /// The prepared form of K block `block`.
    pub(crate) fn block(&self, block: usize) -> PreparedBlock<'_> {
        let bytes = self.packing.block * self.kernel.operand_step_bytes;
        let start = block * bytes;
        PreparedBlock {
            bytes: &self.data[start..(start + bytes).min(self.data.len())],
            correction: self.corrections[block],
        }
    }
}

/// One K block of a token's activations, as a kernel reads it.
#[derive(Clone, Copy)]
pub(crate) struct PreparedBlock<'a> {
    /// The prepared steps.
    pub bytes: &'a [u8],
    /// What is added to every row's sum.
    pub correction: i32,
}

/// Room for the prepared form of one K block: for a thread that prepares its activations itself ([`Gemv::run_part_own`](crate::Gemv)).
pub struct BlockOperand {
    kernel: Kernel,
    data: Buffer,
    correction: i32,
}

impl BlockOperand {
    /// Room for a K block as `kernel` and all kernels of its packing read it, of a matrix with `cols` columns.
    ///
    /// # Errors
    ///
    /// No memory.
    pub fn new(kernel: Kernel, cols: usize) -> Result<Self, MemoryError> {
        let steps = kernel.packing.block.min(kernel.packing.steps(cols));
        let bytes = steps.checked_mul(kernel.operand_step_bytes);
        let bytes = bytes.ok_or(MemoryError::TooLarge { bytes: usize::MAX })?;
        let data = Buffer::zeroed(bytes, Pages::Small)?;
        Ok(BlockOperand {
            kernel,
            data,
            correction: 0,
        })
    }

    /// The packing that it is prepared for.
    pub fn packing(&self) -> Packing {
        self.kernel.packing
    }

    /// Prepares the activations `q` of one K block.
    ///
    /// # Panics
    ///
    /// When `q` is longer than a block of the matrix that there is room for.
    pub(crate) fn build(&mut self, q: &[i8]) -> PreparedBlock<'_> {
        let packing = self.kernel.packing;
        let bytes = packing.steps(q.len()) * self.kernel.operand_step_bytes;
        let mut part = OperandPart {
            kernel: self.kernel,
            packing,
            cols: q.len(),
            first_block: 0,
            data: &mut self.data[..bytes],
            corrections: std::slice::from_mut(&mut self.correction),
        };
        part.build(q);
        PreparedBlock {
            bytes: &self.data[..bytes],
            correction: self.correction,
        }
    }
}

/// A run of K blocks of an [`Operand`], for one worker.
pub struct OperandPart<'a> {
    kernel: Kernel,
    packing: Packing,
    cols: usize,
    first_block: usize,
    data: &'a mut [u8],
    corrections: &'a mut [i32],
}

impl OperandPart<'_> {
    /// Prepares this part from the activations `q` of the whole token.
    ///
    /// # Panics
    ///
    /// When `q.len()` is not the operand's `cols()`.
    pub fn build(&mut self, q: &[i8]) {
        assert_eq!(q.len(), self.cols, "activations of the operand");
        let block_cols = self.packing.block_cols();
        let blocks = q[self.first_block * block_cols..].chunks(block_cols);
        let mut at = 0;
        for (index, q) in blocks.take(self.corrections.len()).enumerate() {
            at = self.build_block(q, at);
            if self.kernel.biased {
                self.corrections[index] = -sum(q);
            }
        }
    }

    /// Prepares the activations `q` of one K block from step `at` of this part; the step after its last.
    fn build_block(&mut self, q: &[i8], at: usize) -> usize {
        let step_cols = self.packing.code.step_cols();
        let whole = q.len() / step_cols;
        let (steps, rest) = q.split_at(whole * step_cols);
        self.build_steps(steps, at, whole);
        if rest.is_empty() {
            return at + whole;
        }
        // The last step ends beyond the last column: pad it with zeros.
        let mut padded = [0i8; STEP_COLS_MAX];
        padded[..rest.len()].copy_from_slice(rest);
        self.build_steps(&padded[..step_cols], at + whole, 1);
        at + whole + 1
    }

    /// Calls the kernel's build function on `steps` steps from step `at` of this part.
    fn build_steps(&mut self, q: &[i8], at: usize, steps: usize) {
        let step_bytes = self.kernel.operand_step_bytes;
        let out = &mut self.data[at * step_bytes..(at + steps) * step_bytes];
        assert_eq!(q.len(), steps * self.packing.code.step_cols());
        if steps == 0 {
            return;
        }
        let args = BuildArgs {
            activations: q.as_ptr(),
            operand: out.as_mut_ptr(),
            steps,
        };
        // SAFETY: the lengths were just checked, `out` is borrowed alone, and a `Kernel` proves the ISA.
        unsafe { (self.kernel.build)(&args) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_extremes_do_not_overflow() {
        for (value, len) in [
            (-128, 1),
            (-128, 256),
            (127, 257),
            (-128, 70_000),
            (127, 70_000),
        ] {
            assert_eq!(sum(&vec![value; len]), i32::from(value) * len as i32);
        }
        let mixed: Vec<i8> = (0..1000).map(|i| (i * 37 % 256) as u8 as i8).collect();
        assert_eq!(sum(&mixed), mixed.iter().map(|&q| i32::from(q)).sum());
    }
}
