//! Batched products: many tokens against one packed matrix, the same bytes that the matrix-vector kernels read.
//!
//! Reading weights bit by bit costs the same for one token and for a hundred. So a block of rows and columns is unpacked once into
//! the dot-product layout, in a buffer that stays in the second-level cache, and multiplied with the activations of all tokens,
//! a register tile at a time. The codes hold `u = t + 1`: sums start at less the sum of a token's activations.
//!
//! Within a block the tokens are the outer loop of a kernel: the activations of a tile's tokens (8 KiB for six tokens of 1280 columns)
//! stay in the first-level cache for all rows of the block, and the weights come from the second-level cache, two loads for the
//! dozen products of a tile. The other way round, with a few rows' weights in the first-level cache and the tokens streaming by,
//! took 1.06 to 1.1 times as long on Zen 3.
//!
//! The weights of a block lie in strips, no wider than whole panels and whole tiles make them, so that a tile reads them in order and
//! the CPU's prefetchers bring them to the first-level cache. With all rows of a quad side by side, a tile of 16 rows read every
//! ninth line of the block, and took 1.03 to 1.05 times as long on Zen 3.
//!
//! This is the only place that calls a generated unpack or gemm kernel.

mod team;

use std::ops::Range;

use crate::codes;
use crate::contract::{GemmArgs, UnpackArgs};
use crate::gemv::Gemv;
use crate::memory::{Buffer, MemoryError, Pages};
use crate::operand::sum;
use crate::pack::{Layout, PackedMatrix};
use crate::packing::Packing;
use crate::plan::GemmChoice;

pub use team::GemmPart;

/// Quads of columns that are unpacked at a time: 1280 columns, long enough that adding a tile's sums to memory is one part in a
/// hundred of its products, and such that 2560 columns go through in two passes. (With 1024 columns they took three, and 1.06 times
/// as long on Zen 3.)
const CHUNK_QUADS: usize = 320;

/// Rows that are unpacked at a time, where panels allow: with [`CHUNK_QUADS`] 160 KiB of a second-level cache, which has 256 KiB at
/// least. More rows share what a tile's activations cost to bring into the first-level cache.
const CHUNK_ROWS: usize = 128;

/// The least distance of at least `bytes` bytes at which neighbours do not compete for the same sets of a cache: an odd number of
/// cache lines.
const fn apart(bytes: usize) -> usize {
    let lines = bytes.div_ceil(64);
    64 * (lines + (lines + 1) % 2)
}

/// Steps after which the columns of `packing` make whole quads.
const fn period(packing: &Packing) -> usize {
    match packing.code.step_cols() % 4 {
        0 => 1,
        2 => 2,
        _ => 4,
    }
}

/// Quads that `steps` steps fill, rounded up to a whole period.
const fn quads(packing: &Packing, steps: usize) -> usize {
    steps.next_multiple_of(period(packing)) * packing.code.step_cols() / 4
}

/// Quads of a token's activations: every K block starts a quad of its own.
const fn total_quads(packing: &Packing, cols: usize) -> usize {
    let (whole, rest) = (cols / packing.block_cols(), cols % packing.block_cols());
    let steps = rest.div_ceil(packing.code.step_cols());
    whole * quads(packing, packing.block) + quads(packing, steps)
}

/// The activations of many tokens, as batched products of a packing read them: rows of int8, zero beyond the last column.
pub struct Batch {
    packing: Packing,
    cols: usize,
    tokens: usize,
    /// Bytes from a token's activations to the next token's.
    stride: usize,
    data: Buffer,
    /// For each token, what is added to every row's sum.
    corrections: Vec<i32>,
}

impl Batch {
    /// Room for `tokens` tokens of `cols` activations, for matrices in `packing`.
    ///
    /// # Errors
    ///
    /// No memory.
    pub fn new(packing: Packing, cols: usize, tokens: usize) -> Result<Self, MemoryError> {
        let stride = apart(4 * total_quads(&packing, cols));
        let bytes = tokens.checked_mul(stride);
        let bytes = bytes.ok_or(MemoryError::TooLarge { bytes: usize::MAX })?;
        Ok(Batch {
            packing,
            cols,
            tokens,
            stride,
            data: Buffer::zeroed(bytes, Pages::Huge)?,
            corrections: vec![0; tokens],
        })
    }

    /// Tokens that it has room for.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The packing that it is for.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// The rows of all tokens, in order, to be filled side by side.
    pub fn rows(&mut self) -> impl Iterator<Item = BatchRow<'_>> {
        let (packing, cols) = (self.packing, self.cols);
        let rows = self.data.chunks_exact_mut(self.stride);
        rows.zip(&mut self.corrections)
            .map(move |(data, correction)| BatchRow {
                packing,
                cols,
                data,
                correction,
            })
    }
}

/// One token's row of a [`Batch`].
pub struct BatchRow<'a> {
    packing: Packing,
    cols: usize,
    data: &'a mut [u8],
    correction: &'a mut i32,
}

impl BatchRow<'_> {
    /// Stores the activations `q` of the token.
    ///
    /// # Panics
    ///
    /// When `q.len()` is not the batch's number of columns.
    pub fn fill(&mut self, q: &[i8]) {
        assert_eq!(q.len(), self.cols, "activations of the token");
        let block_cols = self.packing.block_cols();
        let block_bytes = 4 * quads(&self.packing, self.packing.block);
        for (q, out) in q.chunks(block_cols).zip(self.data.chunks_mut(block_bytes)) {
            for (out, &q) in out.iter_mut().zip(q) {
                *out = q as u8;
            }
        }
        *self.correction = -sum(q);
    }
}

/// A run of steps within a K block.
#[derive(Clone, Copy)]
struct Run {
    /// The K block.
    block: usize,
    /// The first step within it.
    step: usize,
    /// Number of steps.
    steps: usize,
    /// Where its quads start in a token's activations.
    quad: usize,
}

/// How a matrix is multiplied with many tokens: kernels, blocking, and the same split of its rows over the team as its [`Gemv`].
pub struct Gemm {
    choice: GemmChoice,
    layout: Layout,
    /// Panels of each piece of the [`Gemv`], and pieces of each worker's part.
    panels: Vec<Range<usize>>,
    pieces: usize,
    /// Panels of a strip: the fewest whose rows make whole tiles of the kernel.
    strip_panels: usize,
    /// Panels that are unpacked at a time, in whole strips.
    chunk_panels: usize,
    /// The steps of the matrix in order, in groups that are unpacked at a time.
    chunks: Vec<Vec<Run>>,
}

/// Some rows and columns in the dot-product layout, strip after strip.
struct Block<'a> {
    bytes: &'a [u8],
    /// Number of strips.
    strips: usize,
    /// Rows of a strip, in whole vectors of the kernel.
    rows: usize,
    /// Its quads, as a token's activations count them.
    quads: Range<usize>,
}

/// Memory of one worker for the block that is unpacked.
pub struct Scratch(Buffer);

impl Scratch {
    /// Room for all of `gemms`, one at a time.
    ///
    /// # Errors
    ///
    /// No memory.
    pub fn new<'a>(gemms: impl IntoIterator<Item = &'a Gemm>) -> Result<Scratch, MemoryError> {
        let bytes = gemms.into_iter().map(Gemm::scratch_bytes).max();
        Ok(Scratch(Buffer::zeroed(bytes.unwrap_or(0), Pages::Huge)?))
    }
}

impl Gemm {
    /// Plans batched products of the matrix of `gemv`.
    pub fn new(gemv: &Gemv, choice: GemmChoice) -> Gemm {
        let layout = gemv.matrix().layout();
        let packing = layout.packing;
        let tile_rows = choice.kernel.vectors * choice.kernel.lanes;
        let strip_panels = (1..tile_rows)
            .find(|panels| (panels * packing.lanes).is_multiple_of(tile_rows))
            .unwrap_or(tile_rows);
        let chunk_panels = (CHUNK_ROWS / packing.lanes)
            .max(1)
            .next_multiple_of(strip_panels);
        Gemm {
            choice,
            layout,
            panels: gemv.piece_panels().collect(),
            pieces: gemv.pieces(),
            strip_panels,
            chunk_panels,
            chunks: chunks(&layout),
        }
    }

    /// The kernels.
    pub fn choice(&self) -> &GemmChoice {
        &self.choice
    }

    /// Workers that the rows are split over.
    pub fn workers(&self) -> usize {
        self.panels.len() / self.pieces
    }

    /// Panels of worker `worker`'s part.
    fn part(&self, worker: usize) -> Range<usize> {
        let pieces = &self.panels[worker * self.pieces..][..self.pieces];
        pieces[0].start..pieces[self.pieces - 1].end
    }

    /// Rows of worker `worker`'s part: those of its part of the [`Gemv`].
    pub fn part_rows(&self, worker: usize) -> Range<usize> {
        let Range { start, end } = self.part(worker);
        let row = |panel: usize| (panel * self.layout.packing.lanes).min(self.layout.rows);
        row(start)..row(end)
    }

    /// Sums that one token's part of worker `worker` needs: its rows, padded to whole panels and vectors.
    pub fn part_len(&self, worker: usize) -> usize {
        self.padded_rows(self.part(worker).len())
    }

    /// The same for a piece of the [`Gemv`].
    pub fn piece_len(&self, piece: usize) -> usize {
        self.padded_rows(self.panels[piece].len())
    }

    /// Bytes that a block of this matrix needs while it is unpacked.
    fn scratch_bytes(&self) -> usize {
        let quads = self
            .chunks
            .iter()
            .map(|chunk| self.chunk_quads(chunk).len());
        4 * self.padded_rows(self.chunk_panels) * quads.max().unwrap_or(0)
    }

    /// Rows of `panels` panels, padded to whole vectors of the kernel.
    fn padded_rows(&self, panels: usize) -> usize {
        (panels * self.layout.packing.lanes).next_multiple_of(self.choice.kernel.lanes)
    }

    /// The quads of a group of runs, which follow each other without a gap.
    fn chunk_quads(&self, chunk: &[Run]) -> Range<usize> {
        let end = |run: &Run| run.quad + quads(&self.layout.packing, run.steps);
        chunk.first().map_or(0, |run| run.quad)..chunk.last().map_or(0, end)
    }

    /// Overwrites `sums` with the exact sums of the worker's rows, one token of `batch` after another.
    ///
    /// `sums.len()` is `tokens * part_len(worker)`, for the first `tokens` tokens of the batch; in a token's part the first sums are
    /// the rows of the worker's part of the [`Gemv`], the rest padding.
    ///
    /// # Panics
    ///
    /// When a length is off, the matrix is not the one that was planned for, or the batch is for another packing or width.
    pub fn run_part(
        &self,
        matrix: &PackedMatrix,
        worker: usize,
        batch: &Batch,
        tokens: usize,
        scratch: &mut Scratch,
        sums: &mut [i32],
    ) {
        self.run_panels(matrix, self.part(worker), (batch, tokens), scratch, sums);
    }

    /// As [`Gemm::run_part`] for a piece of the [`Gemv`]: `sums.len()` is `tokens * piece_len(piece)`.
    ///
    /// # Panics
    ///
    /// As [`Gemm::run_part`].
    pub fn run_piece(
        &self,
        matrix: &PackedMatrix,
        piece: usize,
        batch: &Batch,
        tokens: usize,
        scratch: &mut Scratch,
        sums: &mut [i32],
    ) {
        let panels = self.panels[piece].clone();
        self.run_panels(matrix, panels, (batch, tokens), scratch, sums);
    }

    fn run_panels(
        &self,
        matrix: &PackedMatrix,
        part: Range<usize>,
        (batch, tokens): (&Batch, usize),
        scratch: &mut Scratch,
        sums: &mut [i32],
    ) {
        let Layout {
            packing,
            rows,
            cols,
        } = self.layout;
        let found = (matrix.packing(), matrix.rows(), matrix.cols());
        assert_eq!(
            found,
            (packing, rows, cols),
            "the matrix that was planned for"
        );
        assert_eq!(
            (batch.packing, batch.cols),
            (packing, cols),
            "the batch's form"
        );
        assert!(
            tokens <= batch.tokens,
            "{tokens} of {} tokens",
            batch.tokens
        );
        assert!(
            scratch.0.len() >= self.scratch_bytes(),
            "scratch of this matrix"
        );
        let len = self.padded_rows(part.len());
        assert_eq!(sums.len(), tokens * len, "sums of panels {part:?}");
        if sums.is_empty() {
            return;
        }
        for start in part.clone().step_by(self.chunk_panels) {
            let panels = start..(start + self.chunk_panels).min(part.end);
            // Just before they are added to, so that they are in the cache then.
            let first_row = (start - part.start) * packing.lanes;
            let block_rows = self.padded_rows(panels.len());
            for (sums, &correction) in sums.chunks_exact_mut(len).zip(&batch.corrections) {
                sums[first_row..][..block_rows].fill(correction);
            }
            let whole = panels.start + panels.len() / self.strip_panels * self.strip_panels;
            for chunk in &self.chunks {
                // Whole strips, then what is left of the worker's part.
                for panels in [panels.start..whole, whole..panels.end] {
                    let first_row = (panels.start - part.start) * packing.lanes;
                    let block = self.unpack(matrix, panels, chunk, &mut scratch.0);
                    self.multiply(block, batch, &mut sums[first_row..], len);
                }
            }
        }
    }

    /// The whole product on the calling thread. `out.len()` is `batch.tokens() * rows`, one token after another.
    ///
    /// # Errors
    ///
    /// No memory for a block.
    ///
    /// # Panics
    ///
    /// As [`Gemm::run_part`].
    pub fn run(&self, gemv: &Gemv, batch: &Batch, out: &mut [i32]) -> Result<(), MemoryError> {
        let (rows, tokens) = (self.layout.rows, batch.tokens);
        assert_eq!(out.len(), tokens * rows);
        let mut scratch = Scratch::new([self])?;
        for worker in 0..self.workers() {
            let (part, len) = (self.part_rows(worker), self.part_len(worker));
            let mut sums = vec![0; tokens * len];
            self.run_part(
                gemv.matrix(),
                worker,
                batch,
                tokens,
                &mut scratch,
                &mut sums,
            );
            for (token, sums) in sums.chunks_exact(len.max(1)).enumerate() {
                out[token * rows..][part.clone()].copy_from_slice(&sums[..part.len()]);
            }
        }
        Ok(())
    }

    /// Unpacks a group of runs of some panels, whole strips or less than one, into `scratch`.
    fn unpack<'a>(
        &self,
        matrix: &PackedMatrix,
        panels: Range<usize>,
        chunk: &[Run],
        scratch: &'a mut [u8],
    ) -> Block<'a> {
        let packing = &self.layout.packing;
        let (lanes, step_bytes) = (packing.lanes, packing.panel_step_bytes());
        let block_quads = self.chunk_quads(chunk);
        let strip_panels = self.strip_panels.min(panels.len().max(1));
        let (strips, rows) = (panels.len() / strip_panels, self.padded_rows(strip_panels));
        let (stride, strip_bytes) = (4 * rows, 4 * rows * block_quads.len());
        for (index, panel) in panels.enumerate() {
            let step_stride = self.layout.step_stride(panel);
            let strip = &mut scratch[index / strip_panels * strip_bytes..][..strip_bytes];
            for run in chunk {
                let start = self.layout.step_offset(panel, run.block, run.step);
                let len = (run.steps - 1) * step_stride + step_bytes;
                let weights = &matrix.data()[start..start + len];
                let start =
                    (run.quad - block_quads.start) * stride + 4 * lanes * (index % strip_panels);
                let len = (quads(packing, run.steps) - 1) * stride + 4 * lanes;
                let out = &mut strip[start..start + len];
                match self.choice.unpack {
                    None => decode(packing, run.steps, weights, step_stride, out, stride),
                    Some(kernel) => {
                        let found = (kernel.code, kernel.lanes);
                        assert_eq!(found, (packing.code, lanes), "the packing of the kernel");
                        let args = UnpackArgs {
                            weights: weights.as_ptr(),
                            step_stride,
                            steps: run.steps,
                            out: out.as_mut_ptr(),
                            stride,
                        };
                        // SAFETY: the slices were cut to the lengths of the contract from a matrix of the kernel's code and
                        // lanes, `out` is borrowed alone, and an `UnpackKernel` proves the ISA.
                        unsafe { (kernel.unpack)(&args) };
                    }
                }
            }
        }
        Block {
            bytes: &scratch[..strips * strip_bytes],
            strips,
            rows,
            quads: block_quads,
        }
    }

    /// Adds the products of a block and the activations of its quads to the sums, `len` of them for each token.
    fn multiply(&self, block: Block<'_>, batch: &Batch, sums: &mut [i32], len: usize) {
        let kernel = self.choice.kernel;
        let Block {
            bytes,
            strips,
            rows,
            quads,
        } = block;
        let (tokens, strip_stride) = (sums.len().div_ceil(len), 4 * rows * quads.len());
        assert!(tokens == 0 || sums.len() >= (tokens - 1) * len + strips * rows);
        assert_eq!(bytes.len(), strips * strip_stride, "bytes of the block");
        assert!(tokens <= batch.tokens && 4 * quads.end <= batch.stride);
        let args = GemmArgs {
            weights: bytes.as_ptr(),
            strips,
            strip_stride,
            vectors: rows / kernel.lanes,
            quads: quads.len(),
            activations: batch.data[(4 * quads.start).min(batch.data.len())..]
                .as_ptr()
                .cast(),
            token_stride: batch.stride,
            tokens,
            out: sums.as_mut_ptr(),
            out_stride: len,
        };
        // SAFETY: the lengths were just checked, `sums` is borrowed alone, and a `GemmKernel` proves the ISA.
        unsafe { (kernel.gemm)(&args) };
    }
}

/// Cuts all steps into runs within K blocks, and groups them into chunks of at most [`CHUNK_QUADS`], or one run.
fn chunks(layout: &Layout) -> Vec<Vec<Run>> {
    let packing = &layout.packing;
    let period = period(packing);
    // A run that does not end its block is a whole number of periods, so that the next one starts a quad.
    let longest = (CHUNK_QUADS / quads(packing, period)).max(1) * period;
    let mut chunks: Vec<Vec<Run>> = Vec::new();
    let mut room = 0;
    for block in 0..packing.blocks(layout.cols) {
        let steps = layout.block_steps(block);
        for start in (0..steps).step_by(longest) {
            let run = Run {
                block,
                step: start,
                steps: longest.min(steps - start),
                quad: block * quads(packing, packing.block) + quads(packing, start),
            };
            let needed = quads(packing, run.steps);
            match chunks.last_mut() {
                Some(chunk) if needed <= room => chunk.push(run),
                _ => {
                    chunks.push(vec![run]);
                    room = CHUNK_QUADS;
                }
            }
            room = room.saturating_sub(needed);
        }
    }
    chunks
}

/// Unpacks a run trit by trit: what serves a packing that no kernel unpacks, as those of plain Rust. Exact and slow.
fn decode(
    packing: &Packing,
    steps: usize,
    weights: &[u8],
    step_stride: usize,
    out: &mut [u8],
    stride: usize,
) {
    let cols = packing.code.step_cols();
    let mut trits = vec![0; cols];
    for step in 0..steps {
        let weights = &weights[step * step_stride..][..packing.panel_step_bytes()];
        for row in 0..packing.lanes {
            codes::decode(packing, row, &mut trits, weights);
            for (i, &t) in trits.iter().enumerate() {
                let col = step * cols + i;
                out[col / 4 * stride + 4 * row + col % 4] = (t + 1) as u8;
            }
        }
    }
}
