//! The matrix-vector product: a packed matrix, the kernel and tile that the plan chose, and the split of its rows over the team.
//! The only place that calls a generated matrix-vector kernel.

use std::ops::Range;
use std::ptr;

use serde::{Deserialize, Serialize};

use crate::contract::{GemvArgs, Token};
use crate::operand::Operand;
use crate::pack::{Layout, PackedMatrix};
use crate::packing::Packing;
use crate::plan::Choice;
use crate::registry::Kernel;

/// The part of a kernel's blocking that is decided at run time: it never changes the packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tile {
    /// K blocks that a chunk of rows goes through before the next chunk starts (the K tile); 0 means all of K.
    pub k_blocks: usize,
    /// Units (strips) in a chunk; 0 means all rows of the worker.
    pub chunk: usize,
    /// Bytes ahead of the weights to prefetch into L2; 0 for none.
    pub prefetch: usize,
}

/// Why a matrix and a kernel do not go together.
#[derive(Debug, thiserror::Error)]
#[error(
    "the matrix is packed as {matrix}, but kernel {kernel} reads {expected}; pack it again for this kernel"
)]
pub struct PackingMismatch {
    /// The matrix's packing.
    pub matrix: Packing,
    /// The kernel's id.
    pub kernel: &'static str,
    /// The kernel's packing.
    pub expected: Packing,
}

/// A matrix that is ready to multiply.
pub struct Gemv {
    matrix: PackedMatrix,
    choice: Choice,
    /// First unit of each worker's part, and the number of units: `threads + 1` entries.
    bounds: Vec<usize>,
}

impl Gemv {
    /// Joins a matrix with the plan's choice and splits its rows over `threads` workers.
    ///
    /// # Errors
    ///
    /// The kernel reads another packing.
    pub fn new(
        matrix: PackedMatrix,
        choice: Choice,
        threads: usize,
    ) -> Result<Self, PackingMismatch> {
        let expected = choice.kernel.packing;
        if matrix.packing() != expected {
            let kernel = choice.kernel.id;
            return Err(PackingMismatch {
                matrix: matrix.packing(),
                kernel,
                expected,
            });
        }
        let bounds = split(&matrix.layout(), threads.max(1));
        Ok(Gemv {
            matrix,
            choice,
            bounds,
        })
    }

    /// The matrix.
    pub fn matrix(&self) -> &PackedMatrix {
        &self.matrix
    }

    /// Gives the matrix back, for another kernel of its packing or another number of threads (the tuner does that).
    pub fn into_matrix(self) -> PackedMatrix {
        self.matrix
    }

    /// Kernel, tile, and where they came from.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// Workers that the rows are split over.
    pub fn workers(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Rows of worker `worker`'s part. Parts are ordered and cover all rows; one may be empty.
    pub fn part_rows(&self, worker: usize) -> Range<usize> {
        let layout = self.matrix.layout();
        let row = |unit: usize| layout.first_row(self.bounds[unit]).min(self.matrix.rows());
        row(worker)..row(worker + 1)
    }

    /// Sums that one token's part of worker `worker` needs: its rows, padded to whole panels.
    pub fn part_len(&self, worker: usize) -> usize {
        let layout = self.matrix.layout();
        layout.first_row(self.bounds[worker + 1]) - layout.first_row(self.bounds[worker])
    }

    /// Overwrites `sums` with the exact sums of the worker's rows, one token after another.
    ///
    /// `sums.len()` is `operands.len() * part_len(worker)`; in a token's part the first `part_rows(worker).len()` sums are
    /// rows, the rest padding.
    ///
    /// # Panics
    ///
    /// When a length is off, or an operand is of another packing or width.
    pub fn run_part(&self, worker: usize, operands: &[&Operand], sums: &mut [i32]) {
        let len = self.part_len(worker);
        assert_eq!(sums.len(), operands.len() * len, "sums of worker {worker}");
        sums.fill(0);
        if len == 0 {
            return;
        }
        let call = Call {
            kernel: self.choice.kernel,
            tile: self.choice.tile,
            matrix: &self.matrix,
            layout: self.matrix.layout(),
        };
        call.run(self.bounds[worker]..self.bounds[worker + 1], operands, sums);
    }

    /// The whole product on the calling thread. `out.len()` is `operands.len() * rows`, one token after another.
    ///
    /// # Panics
    ///
    /// As [`Gemv::run_part`].
    pub fn run(&self, operands: &[&Operand], out: &mut [i32]) {
        let rows = self.matrix.rows();
        assert_eq!(out.len(), operands.len() * rows);
        for worker in 0..self.workers() {
            let (part, len) = (self.part_rows(worker), self.part_len(worker));
            let mut sums = vec![0; operands.len() * len];
            self.run_part(worker, operands, &mut sums);
            for (token, sums) in sums.chunks_exact(len.max(1)).enumerate() {
                out[token * rows..][part.clone()].copy_from_slice(&sums[..part.len()]);
            }
        }
    }
}

/// Splits the units of a matrix so that every worker gets about the same number of panels.
fn split(layout: &Layout, workers: usize) -> Vec<usize> {
    let (units, panels) = (layout.units(), layout.panels());
    let mut bounds = vec![0];
    for worker in 1..workers {
        let target = panels * worker / workers;
        let from = bounds[worker - 1];
        // The unit whose first panel is nearest to an even share.
        let unit = (from..=units).min_by_key(|&u| layout.first_panel(u).abs_diff(target));
        bounds.push(unit.unwrap_or(units));
    }
    bounds.push(units);
    bounds
}

/// Tokens that one call of a kernel gets at most.
const BATCH: usize = 16;

/// One product: everything that its loops need.
struct Call<'a> {
    kernel: Kernel,
    tile: Tile,
    matrix: &'a PackedMatrix,
    layout: Layout,
}

impl Call<'_> {
    /// Walks K tiles, chunks of rows, K blocks and tokens, in this order.
    fn run(&self, units: Range<usize>, operands: &[&Operand], sums: &mut [i32]) {
        for operand in operands {
            assert_eq!(
                operand.packing(),
                self.kernel.packing,
                "packing of the operand"
            );
            assert_eq!(operand.cols(), self.matrix.cols(), "columns of the operand");
        }
        let first_row = self.layout.first_row(units.start);
        let token_len = self.layout.first_row(units.end) - first_row;
        let blocks = self.kernel.packing.blocks(self.matrix.cols());
        let all = |n: usize, whole: usize| if n == 0 { whole } else { n.min(whole) };
        let (k_tile, chunk) = (
            all(self.tile.k_blocks, blocks),
            all(self.tile.chunk, units.len()),
        );
        for k_start in (0..blocks).step_by(k_tile) {
            for start in units.clone().step_by(chunk) {
                let chunk = start..(start + chunk).min(units.end);
                let rows = self.layout.first_row(chunk.start)..self.layout.first_row(chunk.end);
                for block in k_start..(k_start + k_tile).min(blocks) {
                    // Tokens in batches that fit an array: nothing is allocated here.
                    for (operands, sums) in operands
                        .chunks(BATCH)
                        .zip(sums.chunks_mut(BATCH * token_len))
                    {
                        let outs = sums.chunks_exact_mut(token_len);
                        let outs = outs
                            .map(|sums| &mut sums[rows.start - first_row..rows.end - first_row]);
                        self.block(block, chunk.clone(), operands.iter().copied().zip(outs));
                    }
                }
            }
        }
    }

    /// Adds one K block's sums of some units for at most [`BATCH`] tokens, each to its slice: one sum for each padded row.
    fn block<'s>(
        &self,
        block: usize,
        units: Range<usize>,
        batch: impl Iterator<Item = (&'s Operand, &'s mut [i32])>,
    ) {
        let layout = &self.layout;
        let steps = layout.block_steps(block);
        let first = layout.unit_offset(units.start, block);
        let last = layout.unit_offset(units.end, block);
        let weights = &self.matrix.data()[first..last];
        let rows = layout.first_row(units.end) - layout.first_row(units.start);
        let none = Token {
            operand: ptr::null(),
            out: ptr::null_mut(),
            correction: 0,
        };
        let (mut tokens, mut count) = ([none; BATCH], 0);
        for (operand, out) in batch {
            let (operand, correction) = operand.block(block);
            assert_eq!(operand.len(), steps * self.kernel.operand_step_bytes);
            assert_eq!(out.len(), rows);
            tokens[count] = Token {
                operand: operand.as_ptr(),
                out: out.as_mut_ptr(),
                correction,
            };
            count += 1;
        }
        let strips = units
            .end
            .min(layout.full_strips())
            .saturating_sub(units.start);
        let args = GemvArgs {
            weights: weights.as_ptr(),
            tokens: tokens.as_ptr(),
            count,
            steps,
            strips,
            singles: units.len() - strips,
            prefetch: self.tile.prefetch,
        };
        // SAFETY: the slices were cut to the lengths of the contract from a matrix and operands of the kernel's own packing, every
        // `out` is borrowed alone, and a `Kernel` proves the ISA.
        unsafe { (self.kernel.gemv)(&args) };
    }
}
