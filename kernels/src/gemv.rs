//! The matrix-vector product: a packed matrix, the kernel and tile that the plan chose, and the split of its rows over the team.
//! The only place that calls a generated matrix-vector kernel.

mod groups;

use std::borrow::Borrow;
use std::ops::Range;
use std::ptr;

use serde::{Deserialize, Serialize};

use crate::contract::{GemvArgs, Token};
use crate::epilogue::ScalesError;
use crate::fetch::fetch;
use crate::memory::MemoryError;
use crate::operand::{BlockOperand, Operand, PreparedBlock};
use crate::pack::{Layout, PackedMatrix};
use crate::packing::Packing;
use crate::plan::Choice;
use crate::registry::{Kernel, Scales};
use crate::team::{self, Split};

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
    /// Who prepares the activations.
    #[serde(default, skip_serializing_if = "Tables::is_shared")]
    pub tables: Tables,
}

/// Who prepares a token's activations (for `lut` and `bitserial` kernels: builds the tables).
///
/// Shared ones are built once, by all threads together, and wait in the caches for every matrix with the same input; but every thread
/// must have finished before one can begin. Own ones cost each thread the whole work for each matrix, but there is nothing to wait for,
/// and a K block's tables are used the moment they are built, from the first-level cache. Which is faster depends on matrix, threads and CPU, so
/// the tuner tries both. (T-MAC shares them; bitnet.cpp's TL kernels build them in each call.)
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Tables {
    /// One [`Operand`] for all threads and all matrices with the same input ([`Gemv::run_part`]).
    #[default]
    Shared,
    /// Each thread its own, K block by K block ([`Gemv::run_part_own`]).
    Own,
}

impl Tables {
    /// Whether they are shared.
    pub fn is_shared(&self) -> bool {
        *self == Tables::Shared
    }
}

/// What [`Gemv::run_part_own`] has just done for a K block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Prepared its activations.
    Prepared,
    /// Added its products to the sums.
    Multiplied,
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
    /// Kernels that read the matrix for more tokens at once, the widest first.
    wider: Vec<Kernel>,
    parts: Parts,
}

impl Gemv {
    /// Joins a matrix with the plan's choice and splits its rows over `threads` workers.
    ///
    /// Several tokens at once go to the kernels of the same packing that take that many ([`Kernel::wider`]), as long as there are
    /// enough of them, and to the chosen kernel only where there are not.
    ///
    /// # Errors
    ///
    /// The kernel reads another packing.
    pub fn new(
        matrix: PackedMatrix,
        choice: Choice,
        threads: usize,
    ) -> Result<Self, PackingMismatch> {
        let kernel = choice.kernel;
        if kernel.scales != Scales::Whole || !kernel.reads(matrix.packing()) {
            return Err(PackingMismatch {
                matrix: matrix.packing(),
                kernel: kernel.id,
                expected: kernel.packing,
            });
        }
        // A worker that prepares its activations itself would do it again for each piece.
        let bytes = matrix.data().len() / threads.max(1);
        let run = bytes / matrix.packing().blocks(matrix.cols()).max(1);
        let pieces = match choice.tile.tables {
            Tables::Shared => team::pieces(bytes, threads).min(team::runs(run)),
            Tables::Own => 1,
        };
        let parts = Parts::new(matrix.layout(), threads, pieces);
        Ok(Gemv {
            wider: kernel.wider(matrix.packing()),
            matrix,
            choice,
            parts,
        })
    }

    /// The same with the chosen kernel for any number of tokens: for whoever tests or times that very kernel.
    pub fn alone(self) -> Self {
        Gemv {
            wider: Vec::new(),
            ..self
        }
    }

    /// The kernels that `tokens` tokens at once (at most 16) go to, in order, and how many each takes.
    pub fn shares(&self, tokens: usize) -> impl Iterator<Item = (Kernel, usize)> {
        shares(&self.wider, self.choice.kernel, tokens)
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
        self.parts.workers()
    }

    /// Rows of worker `worker`'s part. Parts are ordered and cover all rows; one may be empty.
    pub fn part_rows(&self, worker: usize) -> Range<usize> {
        self.parts.rows(worker)
    }

    /// Pieces that each worker's part is cut into, for regions in which workers share their work ([`Session::run_pieces`]).
    ///
    /// [`Session::run_pieces`]: crate::Session::run_pieces
    pub fn pieces(&self) -> usize {
        self.parts.pieces
    }

    /// The split of the rows over all workers' pieces: those of worker `w` are `w * pieces()..(w + 1) * pieces()`.
    pub fn split(&self) -> &Split {
        &self.parts.rows
    }

    /// Panels of each piece.
    pub(crate) fn piece_panels(&self) -> impl Iterator<Item = Range<usize>> {
        (0..self.parts.bounds.len() - 1).map(|piece| self.parts.panels(piece..piece + 1))
    }

    /// Sums that one token's part of worker `worker` needs: its rows, padded to whole panels.
    pub fn part_len(&self, worker: usize) -> usize {
        self.parts.len(worker)
    }

    /// Overwrites `sums` with the exact sums of the worker's rows, one token after another.
    ///
    /// `sums.len()` is `operands.len() * part_len(worker)`; in a token's part the first `part_rows(worker).len()` sums are
    /// rows, the rest padding.
    ///
    /// # Panics
    ///
    /// When a length is off, or an operand is of another packing or width.
    pub fn run_part(&self, worker: usize, operands: &[impl Borrow<Operand>], sums: &mut [i32]) {
        self.run_units(self.parts.units(worker), operands, sums);
    }

    /// Sums that one token's part of piece `piece` needs: its rows, those of range `piece` of [`Gemv::split`], padded to whole panels.
    pub fn piece_len(&self, piece: usize) -> usize {
        self.parts.rows_of(self.parts.piece(piece))
    }

    /// As [`Gemv::run_part`] for a piece: `sums.len()` is `operands.len() * piece_len(piece)`.
    ///
    /// # Panics
    ///
    /// When a length is off, or an operand is of another packing or width.
    pub fn run_piece(&self, piece: usize, operands: &[impl Borrow<Operand>], sums: &mut [i32]) {
        self.run_units(self.parts.piece(piece), operands, sums);
    }

    fn run_units(&self, units: Range<usize>, operands: &[impl Borrow<Operand>], sums: &mut [i32]) {
        let call = Call {
            choice: &self.choice,
            wider: &self.wider,
            matrix: &self.matrix,
            layout: self.parts.layout,
            scales: None,
        };
        call.run_part(units, operands, sums);
    }

    /// As [`Gemv::run_part`] for one token, from its int8 activations `q`: prepares each K block in `own` just before it is used.
    ///
    /// Where a chunk is not all of the worker's rows, a K block is prepared again for each chunk. `after` is called after each
    /// preparation and each multiplication, for whoever times them apart.
    ///
    /// # Panics
    ///
    /// When a length is off, or `own` is of another packing.
    pub fn run_part_own(
        &self,
        worker: usize,
        q: &[i8],
        own: &mut BlockOperand,
        sums: &mut [i32],
        mut after: impl FnMut(Stage),
    ) {
        assert_eq!(
            own.packing(),
            self.matrix.packing(),
            "packing of the operand"
        );
        assert_eq!(q.len(), self.matrix.cols(), "activations of the token");
        assert_eq!(sums.len(), self.part_len(worker), "sums of the worker");
        sums.fill(0);
        if sums.is_empty() {
            return;
        }
        let call = Call {
            choice: &self.choice,
            wider: &[],
            matrix: &self.matrix,
            layout: self.parts.layout,
            scales: None,
        };
        let block_cols = self.matrix.packing().block_cols();
        for run in call.runs(self.parts.units(worker)) {
            call.fetch(&run);
            let start = run.block * block_cols;
            let prepared = own.build(&q[start..(start + block_cols).min(q.len())]);
            after(Stage::Prepared);
            let batch = [(prepared, &mut sums[run.rows])];
            call.block(run.block, run.units, batch.into_iter());
            after(Stage::Multiplied);
        }
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

/// A matrix with a weight scale for each row and each group of columns, ready to multiply.
///
/// `y[m] = sum over groups g of scale(m, g) * (sum over k in g of trit(m, k) * x[k])`: every group's sum is an exact integer, and
/// the groups are added as `f32` in ascending order, a product and then a sum, never fused. So the result is the same to the bit
/// for every kernel, tile and number of threads.
pub struct GroupGemv {
    matrix: PackedMatrix,
    choice: Choice,
    /// Kernels that read the matrix for more tokens at once, the widest first.
    wider: Vec<Kernel>,
    parts: Parts,
    /// For each K block the scale of each row, padded with zeros to whole panels; or only once, where they are those of all blocks.
    scales: Vec<f32>,
}

/// Why a matrix, scales and a kernel do not go together.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The kernel does not read the matrix.
    #[error(transparent)]
    Packing(#[from] PackingMismatch),
    /// Too few or too many scales.
    #[error(
        "{found} scales for a {rows}x{cols} matrix in groups of {group} columns; expected {expected}, one for each row and group"
    )]
    Scales {
        /// Scales given.
        found: usize,
        /// Scales that the matrix has.
        expected: usize,
        /// Its rows.
        rows: usize,
        /// Its columns.
        cols: usize,
        /// Columns in a group.
        group: usize,
    },
    /// Too few or too many scales of a [`WeightScales`](crate::WeightScales).
    #[error(transparent)]
    Count(#[from] ScalesError),
    /// A K block would need several scales.
    #[error(
        "the matrix is packed in groups of {packed} columns, but its scales are for groups of {group}; pack it in groups that divide those"
    )]
    Group {
        /// Columns in a group of the scales.
        group: usize,
        /// Columns in a group of the packing.
        packed: usize,
    },
}

impl GroupGemv {
    /// Joins a matrix that was packed with a group, its scales (row by row, a scale for each group) and a kernel, and splits its
    /// rows over `threads` workers.
    ///
    /// # Errors
    ///
    /// The kernel does not read the matrix, or the number of scales is off.
    pub fn new(
        matrix: PackedMatrix,
        scales: &[f32],
        choice: Choice,
        threads: usize,
    ) -> Result<Self, GroupError> {
        let packing = matrix.packing();
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let blocks = packing.blocks(cols);
        // No overflow: the matrix holds at least a byte for each row and group.
        if scales.len() != rows * blocks {
            return Err(GroupError::Scales {
                found: scales.len(),
                expected: rows * blocks,
                rows,
                cols,
                group: packing.group,
            });
        }
        let padded = matrix.layout().panels() * packing.lanes;
        let mut by_block = vec![0.0; padded * blocks];
        for (row, scales) in scales.chunks_exact(blocks).enumerate() {
            for (block, &scale) in scales.iter().enumerate() {
                by_block[block * padded + row] = scale;
            }
        }
        GroupGemv::join(matrix, by_block, choice, threads)
    }

    /// As [`Gemv::alone`].
    pub fn alone(self) -> Self {
        GroupGemv {
            wider: Vec::new(),
            ..self
        }
    }

    /// The matrix.
    pub fn matrix(&self) -> &PackedMatrix {
        &self.matrix
    }

    /// Kernel, tile, and where they came from.
    pub fn choice(&self) -> &Choice {
        &self.choice
    }

    /// Room for the prepared form of one token's activations.
    ///
    /// # Errors
    ///
    /// No memory.
    pub fn operand(&self) -> Result<Operand, MemoryError> {
        Operand::of_packing(
            self.choice.kernel,
            self.matrix.packing(),
            self.matrix.cols(),
        )
    }

    /// Workers that the rows are split over.
    pub fn workers(&self) -> usize {
        self.parts.workers()
    }

    /// Rows of worker `worker`'s part. Parts are ordered and cover all rows; one may be empty.
    pub fn part_rows(&self, worker: usize) -> Range<usize> {
        self.parts.rows(worker)
    }

    /// Outputs that one token's part of worker `worker` needs: its rows, padded to whole panels.
    pub fn part_len(&self, worker: usize) -> usize {
        self.parts.len(worker)
    }

    /// Overwrites `out` with the products of the worker's rows, laid out as by [`Gemv::run_part`].
    ///
    /// # Panics
    ///
    /// When a length is off, or an operand is of another packing or width.
    pub fn run_part(&self, worker: usize, operands: &[impl Borrow<Operand>], out: &mut [f32]) {
        let call = self.call();
        call.run_part(self.parts.units(worker), operands, out);
    }
}

/// The split of a matrix's rows over workers, and of each worker's over pieces.
struct Parts {
    layout: Layout,
    /// Pieces of each worker's part.
    pieces: usize,
    /// First unit of each piece, and the number of units: one entry more than there are pieces.
    bounds: Vec<usize>,
    /// The same in rows, without padding.
    rows: Split,
}

impl Parts {
    /// Splits the units so that every one of `workers` (at least one) gets about the same number of panels, in `pieces` pieces.
    fn new(layout: Layout, workers: usize, pieces: usize) -> Parts {
        let panels = |unit| layout.first_panel(unit);
        let bounds = team::bounds(workers.max(1), pieces, layout.units(), panels);
        let rows = bounds
            .iter()
            .map(|&unit| layout.first_row(unit).min(layout.rows));
        let rows = Split::at(rows.collect::<Vec<_>>());
        Parts {
            layout,
            pieces,
            bounds,
            rows,
        }
    }

    fn workers(&self) -> usize {
        (self.bounds.len() - 1) / self.pieces
    }

    /// Units of a piece.
    fn piece(&self, piece: usize) -> Range<usize> {
        self.bounds[piece]..self.bounds[piece + 1]
    }

    /// Units of a worker's part.
    fn units(&self, worker: usize) -> Range<usize> {
        self.bounds[worker * self.pieces]..self.bounds[(worker + 1) * self.pieces]
    }

    /// Panels of some pieces.
    fn panels(&self, pieces: Range<usize>) -> Range<usize> {
        let first = |piece: usize| self.layout.first_panel(self.bounds[piece]);
        first(pieces.start)..first(pieces.end)
    }

    /// Rows of a worker's part.
    fn rows(&self, worker: usize) -> Range<usize> {
        let pieces = worker * self.pieces..(worker + 1) * self.pieces;
        self.rows.range(pieces.start).start..self.rows.range(pieces.end - 1).end
    }

    /// Padded rows of some units.
    fn rows_of(&self, units: Range<usize>) -> usize {
        self.layout.first_row(units.end) - self.layout.first_row(units.start)
    }

    fn len(&self, worker: usize) -> usize {
        self.rows_of(self.units(worker))
    }
}

/// Tokens that one call of a kernel gets at most.
const BATCH: usize = 16;

/// One product: everything that its loops need.
struct Call<'a> {
    choice: &'a Choice,
    /// Kernels for more tokens at once, the widest first.
    wider: &'a [Kernel],
    matrix: &'a PackedMatrix,
    layout: Layout,
    /// Where the kernel's outputs are `f32`: for each K block the scale of each padded row, or once for all blocks.
    scales: Option<&'a [f32]>,
}

/// Weights that lie together: a K block of some units.
struct Run {
    block: usize,
    units: Range<usize>,
    /// Their rows, counted from the first of the product.
    rows: Range<usize>,
}

/// Bytes of the next run that are asked for.
const FETCHED: usize = 4 << 10;

/// An output of 32 bits: `i32` of a kernel that sums, `f32` of one that scales.
trait Output: Copy + Default {}
impl Output for i32 {}
impl Output for f32 {}

impl Call<'_> {
    /// Overwrites `sums`, for each token one output for each padded row of `units`.
    fn run_part<T: Output>(
        &self,
        units: Range<usize>,
        operands: &[impl Borrow<Operand>],
        sums: &mut [T],
    ) {
        let len = self.layout.first_row(units.end) - self.layout.first_row(units.start);
        assert_eq!(sums.len(), operands.len() * len, "outputs of the worker");
        sums.fill(T::default());
        if len > 0 {
            self.run(units, operands, sums);
        }
    }

    /// Adds all K blocks for all tokens.
    fn run<T: Output>(
        &self,
        units: Range<usize>,
        operands: &[impl Borrow<Operand>],
        sums: &mut [T],
    ) {
        self.check(operands);
        let token_len = self.layout.first_row(units.end) - self.layout.first_row(units.start);
        let mut runs = self.runs(units).peekable();
        while let Some(Run { block, units, rows }) = runs.next() {
            if let Some(next) = runs.peek() {
                self.fetch(next);
            }
            // Tokens in batches that fit an array: nothing is allocated here.
            for (operands, sums) in operands
                .chunks(BATCH)
                .zip(sums.chunks_mut(BATCH * token_len))
            {
                let prepared = operands.iter().map(|operand| operand.borrow().block(block));
                let outs = sums.chunks_exact_mut(token_len);
                let outs = outs.map(|sums| &mut sums[rows.clone()]);
                self.block(block, units.clone(), prepared.zip(outs));
            }
        }
    }

    /// Checks that the operands are for the matrix.
    fn check(&self, operands: &[impl Borrow<Operand>]) {
        for operand in operands {
            let operand = operand.borrow();
            assert_eq!(
                operand.packing(),
                self.matrix.packing(),
                "packing of the operand"
            );
            assert_eq!(operand.cols(), self.matrix.cols(), "columns of the operand");
        }
    }

    /// K tiles, chunks of rows and K blocks, in this order: a row's K blocks come in ascending order.
    fn runs(&self, units: Range<usize>) -> impl Iterator<Item = Run> {
        let layout = self.layout;
        let first_row = layout.first_row(units.start);
        let blocks = self.matrix.packing().blocks(self.matrix.cols());
        let all = |n: usize, whole: usize| if n == 0 { whole } else { n.min(whole) };
        let (k_tile, chunk) = (
            all(self.choice.tile.k_blocks, blocks),
            all(self.choice.tile.chunk, units.len()),
        );
        (0..blocks).step_by(k_tile).flat_map(move |k_start| {
            let units = units.clone();
            units.clone().step_by(chunk).flat_map(move |start| {
                let chunk = start..(start + chunk).min(units.end);
                let row = |unit| layout.first_row(unit) - first_row;
                let rows = row(chunk.start)..row(chunk.end);
                (k_start..(k_start + k_tile).min(blocks)).map(move |block| Run {
                    block,
                    units: chunk.clone(),
                    rows: rows.clone(),
                })
            })
        })
    }

    /// Asks for the first weights of a run while the one before is multiplied: a kernel asks for those ahead of it, but it does not know
    /// where the next run begins.
    fn fetch(&self, run: &Run) {
        let offset = |unit| self.layout.unit_offset(unit, run.block);
        let (start, end) = (offset(run.units.start), offset(run.units.end));
        fetch(&self.matrix.data()[start..end.min(start + FETCHED)]);
    }

    /// Adds one K block's sums of some units for at most [`BATCH`] tokens, each from its prepared block to its slice: one sum for each
    /// padded row.
    fn block<'s, T: Output + 's>(
        &self,
        block: usize,
        units: Range<usize>,
        batch: impl Iterator<Item = (PreparedBlock<'s>, &'s mut [T])>,
    ) {
        let kernel = self.choice.kernel;
        let layout = &self.layout;
        let steps = layout.block_steps(block);
        let first = layout.unit_offset(units.start, block);
        let last = layout.unit_offset(units.end, block);
        let weights = &self.matrix.data()[first..last];
        let first_row = layout.first_row(units.start);
        let rows = layout.first_row(units.end) - first_row;
        let scales = self.scales.map_or(ptr::null(), |scales| {
            let padded = layout.panels() * self.matrix.packing().lanes;
            let start = if scales.len() == padded {
                0
            } else {
                block * padded
            };
            scales[start + first_row..][..rows].as_ptr()
        });
        let none = Token {
            operand: ptr::null(),
            out: ptr::null_mut(),
            correction: 0,
        };
        let (mut tokens, mut count) = ([none; BATCH], 0);
        for (prepared, out) in batch {
            assert_eq!(prepared.bytes.len(), steps * kernel.operand_step_bytes);
            assert_eq!(out.len(), rows);
            tokens[count] = Token {
                operand: prepared.bytes.as_ptr(),
                out: out.as_mut_ptr().cast(),
                correction: prepared.correction,
            };
            count += 1;
        }
        let strips = units
            .end
            .min(layout.full_strips())
            .saturating_sub(units.start);
        let mut left = &tokens[..count];
        for (kernel, share) in shares(self.wider, kernel, count) {
            let (tokens, rest) = left.split_at(share);
            left = rest;
            let (strips, singles) = match kernel.is_distant() {
                // Single panels that the kernel takes several at a time, from distant places.
                true => (units.len() / kernel.panels, units.len() % kernel.panels),
                false => (strips, units.len() - strips),
            };
            let args = GemvArgs {
                weights: weights.as_ptr(),
                scales,
                tokens: tokens.as_ptr(),
                count: share,
                steps,
                strips,
                singles,
                prefetch: self.choice.tile.prefetch,
            };
            // SAFETY: the slices were cut to the lengths of the contract from a matrix and operands that the kernel reads, every `out`
            // is borrowed alone, there are scales where the kernel wants them (`GroupGemv::new`), and a `Kernel` proves the ISA.
            unsafe { (kernel.gemv)(&args) };
        }
    }
}

/// The kernels that `tokens` tokens go to, in order, and how many each takes: all whole batches of the widest that they fill, then of
/// the next, and `single` whatever is left.
fn shares(
    wider: &[Kernel],
    single: Kernel,
    tokens: usize,
) -> impl Iterator<Item = (Kernel, usize)> {
    let mut left = tokens;
    let batches = wider.iter().map(|&kernel| (kernel, kernel.batch));
    let shares = batches.chain([(single, 1)]).map(move |(kernel, batch)| {
        let share = left - left % batch;
        left -= share;
        (kernel, share)
    });
    shares.filter(|&(_, share)| share > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::kernels;

    /// For every packing, heights that fill panels and strips or do not, and up to 256 workers, of which many may have nothing: parts are
    /// ordered, cover all rows, and are less than a unit (a strip) away from an even share.
    #[test]
    fn parts_are_even_for_any_number_of_workers() {
        let mut packings: Vec<Packing> = kernels().map(|kernel| kernel.packing).collect();
        packings.sort_by_key(ToString::to_string);
        packings.dedup();
        assert!(packings.len() > 1);
        for packing in packings {
            for rows in [1, 63, 640, 641, 2560, 6912, 17_001] {
                let cols = packing.block_cols() + 1;
                let layout = Layout {
                    packing,
                    rows,
                    cols,
                };
                for (workers, pieces) in (1..=9)
                    .chain([16, 31, 64, 100, 255, 256])
                    .flat_map(|workers| [(workers, 1), (workers, 6)])
                {
                    let parts = Parts::new(layout, workers, pieces);
                    assert!(parts.bounds.is_sorted());
                    assert_eq!(parts.bounds.len(), workers * pieces + 1);
                    let ranges: Vec<_> = (0..workers).map(|worker| parts.rows(worker)).collect();
                    assert_eq!((ranges[0].start, ranges[workers - 1].end), (0, rows));
                    assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
                    for worker in 0..workers {
                        let own = worker * pieces..(worker + 1) * pieces;
                        let (found, all) = (parts.panels(own).len(), layout.panels());
                        assert!(
                            (workers * found).abs_diff(all) <= workers * packing.panels,
                            "{packing}, {rows} rows: {found} of {all} panels for one of {workers}"
                        );
                    }
                }
            }
        }
    }
}
