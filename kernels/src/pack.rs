//! Packed ternary matrices: trits in, the bytes of one [`Packing`] out, and back.

use std::ops::Range;

use rayon::prelude::*;

use crate::codes;
use crate::memory::{Buffer, MemoryError, Pages, Storage};
use crate::packing::Packing;

/// The most columns whose sum is exact: every product is at most 128 in size.
const COLS_MAX: usize = i32::MAX as usize / 128;

/// Why a matrix could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A side of the matrix is zero, or its packed size overflows.
    #[error(
        "cannot pack a {rows}x{cols} matrix as {packing}: expected sides above zero, at most {COLS_MAX} columns, and a packed size that fits memory"
    )]
    Shape {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
        /// The packing asked for.
        packing: Packing,
    },
    /// The source gave a value that is not -1, 0 or 1.
    #[error("row {row} holds {value}, which is not a ternary weight (-1, 0 or 1)")]
    NotATrit {
        /// A row with such a value.
        row: usize,
        /// The value.
        value: i8,
    },
    /// Bytes that were packed before are not as many as the matrix has.
    #[error("{found} bytes for a {rows}x{cols} matrix packed as {packing}; expected {expected}")]
    Length {
        /// Bytes given.
        found: usize,
        /// Bytes of such a matrix.
        expected: usize,
        /// Its rows.
        rows: usize,
        /// Its columns.
        cols: usize,
        /// The packing.
        packing: Packing,
    },
    /// No memory for the packed bytes.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// Bytes of a matrix of these sides, if there can be one.
fn bytes_of(packing: Packing, rows: usize, cols: usize) -> Result<usize, PackError> {
    let is_sound = rows > 0 && cols > 0 && cols <= COLS_MAX && packing.is_valid();
    let bytes = is_sound.then(|| packing.matrix_bytes(rows, cols)).flatten();
    bytes.ok_or(PackError::Shape {
        rows,
        cols,
        packing,
    })
}

/// A ternary matrix of `rows x cols` (outputs x inputs) in one packing. Its bytes include their padding.
pub struct PackedMatrix {
    packing: Packing,
    rows: usize,
    cols: usize,
    data: Storage,
}

impl PackedMatrix {
    /// Packs a matrix whose rows `fill(row, trits)` writes, `trits.len() == cols`.
    ///
    /// `fill` is called once for each row, from many threads.
    ///
    /// # Errors
    ///
    /// A zero or overflowing shape, a value that is not a trit, or no memory.
    pub fn pack(
        packing: Packing,
        rows: usize,
        cols: usize,
        pages: Pages,
        fill: &(dyn Fn(usize, &mut [i8]) + Sync),
    ) -> Result<Self, PackError> {
        let bytes = bytes_of(packing, rows, cols)?;
        let mut data = Buffer::zeroed(bytes, pages)?;
        let layout = Layout {
            packing,
            rows,
            cols,
        };
        // A strip's bytes are scattered over the K blocks, so the work is split by strips and each hands back its bytes.
        let strip_rows = packing.lanes * packing.panels;
        let strips: Vec<Range<usize>> = (0..rows)
            .step_by(strip_rows)
            .map(|r| r..(r + strip_rows).min(rows))
            .collect();
        // Bounded batches keep the copies small beside the matrix.
        for batch in strips.chunks(4 * rayon::current_num_threads().max(1)) {
            let packed: Vec<Vec<(usize, Vec<u8>)>> = batch
                .par_iter()
                .map(|rows| layout.pack_rows(rows.clone(), fill))
                .collect::<Result<_, _>>()?;
            for (offset, bytes) in packed.into_iter().flatten() {
                data[offset..offset + bytes.len()].copy_from_slice(&bytes);
            }
        }
        Ok(PackedMatrix {
            packing,
            rows,
            cols,
            data: Storage::Own(data),
        })
    }

    /// A matrix whose bytes were packed before ([`PackedMatrix::data`]).
    ///
    /// Bytes that are no codes of the packing are not looked for: kernels read them as some weight or other, and never leave the
    /// matrix for it. [`PackedMatrix::check_codes`] finds them.
    ///
    /// # Errors
    ///
    /// A shape that no matrix has, or another number of bytes than one of this shape and packing.
    pub fn from_bytes(
        packing: Packing,
        rows: usize,
        cols: usize,
        data: Storage,
    ) -> Result<Self, PackError> {
        let (found, expected) = (data.len(), bytes_of(packing, rows, cols)?);
        match found == expected {
            true => Ok(PackedMatrix {
                packing,
                rows,
                cols,
                data,
            }),
            false => Err(PackError::Length {
                found,
                expected,
                rows,
                cols,
                packing,
            }),
        }
    }

    /// Looks at every weight of a matrix from [`PackedMatrix::from_bytes`].
    ///
    /// # Errors
    ///
    /// [`PackError::NotATrit`] for a row with a code that stands for something else.
    pub fn check_codes(&self) -> Result<(), PackError> {
        (0..self.rows).into_par_iter().try_for_each_init(
            || vec![0; self.cols],
            |trits, row| {
                self.unpack_row(row, trits);
                match trits.iter().find(|trit| !(-1..=1).contains(*trit)) {
                    Some(&value) => Err(PackError::NotATrit { row, value }),
                    None => Ok(()),
                }
            },
        )
    }

    /// Lets small matrices that are used one after another share huge pages: [`Storage::gather`].
    ///
    /// # Errors
    ///
    /// [`MemoryError`] if there is no memory for it; then the matrices are as they were.
    pub fn gather(matrices: &mut [&mut PackedMatrix]) -> Result<(), MemoryError> {
        let mut parts: Vec<&mut Storage> = matrices.iter_mut().map(|m| &mut m.data).collect();
        Storage::gather(&mut parts)
    }

    /// A second copy of the matrix, in `buffer`, which may have held anything. Benchmarks walk many copies to keep weights out
    /// of cache, and let matrices change places.
    ///
    /// # Panics
    ///
    /// When the buffer's capacity is below [`PackedMatrix::bytes`].
    pub fn duplicate_in(&self, buffer: Buffer) -> Self {
        let mut data = buffer;
        data.set_len(self.data.len());
        data.copy_from_slice(&self.data);
        PackedMatrix {
            data: Storage::Own(data),
            ..*self
        }
    }

    /// Gives the matrix up for its memory; `None` for one in shared memory.
    pub fn into_buffer(self) -> Option<Buffer> {
        match self.data {
            Storage::Own(buffer) => Some(buffer),
            Storage::Shared(_) => None,
        }
    }

    /// Rows (outputs).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns (inputs).
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The byte order.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Bytes held, padding included.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Bytes of the memory that it lies in: at least [`PackedMatrix::bytes`].
    pub fn capacity(&self) -> usize {
        self.data.capacity()
    }

    /// The pages that its memory was asked for on; those of a file are small.
    pub fn pages(&self) -> Pages {
        self.data.pages()
    }

    /// The packed bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Where the parts of the matrix lie.
    pub(crate) fn layout(&self) -> Layout {
        Layout {
            packing: self.packing,
            rows: self.rows,
            cols: self.cols,
        }
    }

    /// Restores one row: the exact inverse of packing.
    ///
    /// # Panics
    ///
    /// When `row` is not below `rows()` or `trits.len()` is not `cols()`.
    pub fn unpack_row(&self, row: usize, trits: &mut [i8]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(trits.len(), self.cols);
        let layout = self.layout();
        let step_cols = self.packing.code.step_cols();
        let (panel, lane_row) = (row / self.packing.lanes, row % self.packing.lanes);
        let mut full = vec![0; step_cols];
        for (block, trits) in trits.chunks_mut(self.packing.block_cols()).enumerate() {
            for (step, out) in trits.chunks_mut(step_cols).enumerate() {
                let offset = layout.step_offset(panel, block, step);
                let bytes = &self.data[offset..offset + self.packing.panel_step_bytes()];
                codes::decode(&self.packing, lane_row, &mut full, bytes);
                out.copy_from_slice(&full[..out.len()]);
            }
        }
    }
}

/// Where the K blocks, strips and steps of a matrix lie in its bytes.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) packing: Packing,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

impl Layout {
    /// Panels, the last one padded.
    pub(crate) fn panels(&self) -> usize {
        self.packing.panels_for(self.rows)
    }

    /// Units of work: whole strips, then single panels.
    pub(crate) fn units(&self) -> usize {
        self.full_strips() + self.panels() % self.packing.panels
    }

    /// Strips of all `panels` panels; the units after them are single panels.
    pub(crate) fn full_strips(&self) -> usize {
        self.panels() / self.packing.panels
    }

    /// First panel of unit `unit` (`unit` may be `units()`, one past the last).
    pub(crate) fn first_panel(&self, unit: usize) -> usize {
        let full = unit.min(self.full_strips());
        full * self.packing.panels + (unit - full)
    }

    /// Padded rows before unit `unit`.
    pub(crate) fn first_row(&self, unit: usize) -> usize {
        self.first_panel(unit) * self.packing.lanes
    }

    /// Steps in K block `block`.
    pub(crate) fn block_steps(&self, block: usize) -> usize {
        self.packing.block_steps(self.cols, block)
    }

    /// First byte of K block `block` of unit `unit`.
    pub(crate) fn unit_offset(&self, unit: usize, block: usize) -> usize {
        let before = block * self.packing.block * self.panels();
        let inside = self.first_panel(unit) * self.block_steps(block);
        (before + inside) * self.packing.panel_step_bytes()
    }

    /// Bytes from a step of panel `panel` to the next one of the same K block.
    pub(crate) fn step_stride(&self, panel: usize) -> usize {
        let in_strip = panel < self.full_strips() * self.packing.panels;
        let width = if in_strip { self.packing.panels } else { 1 };
        width * self.packing.panel_step_bytes()
    }

    /// First byte of step `step` of K block `block` of panel `panel`.
    pub(crate) fn step_offset(&self, panel: usize, block: usize, step: usize) -> usize {
        let in_strip = panel < self.full_strips() * self.packing.panels;
        let (unit, width) = match in_strip {
            true => (panel / self.packing.panels, self.packing.panels),
            false => (panel - self.full_strips() * (self.packing.panels - 1), 1),
        };
        let within = step * width + (panel - self.first_panel(unit));
        self.unit_offset(unit, block) + within * self.packing.panel_step_bytes()
    }

    /// Packs the rows of one strip. Returns, for each run of bytes, its offset and the bytes.
    fn pack_rows(
        &self,
        rows: Range<usize>,
        fill: &(dyn Fn(usize, &mut [i8]) + Sync),
    ) -> Result<Vec<(usize, Vec<u8>)>, PackError> {
        let packing = &self.packing;
        let (step_cols, step_bytes) = (packing.code.step_cols(), packing.panel_step_bytes());
        let steps = packing.steps(self.cols);
        // Padding rows and columns are zero trits, whose code is not always zero bits: encode every lane.
        let panels = rows.start / packing.lanes..rows.end.div_ceil(packing.lanes);
        let mut bytes = vec![0; panels.len() * steps * step_bytes];
        let mut trits = vec![0; self.cols];
        let mut padded = vec![0; step_cols];
        for (index, panel) in panels.clone().enumerate() {
            let panel_bytes = &mut bytes[index * steps * step_bytes..][..steps * step_bytes];
            for lane_row in 0..packing.lanes {
                let row = panel * packing.lanes + lane_row;
                trits.fill(0);
                if row < rows.end {
                    fill(row, &mut trits);
                    if let Some(&value) = trits.iter().find(|t| !(-1..=1).contains(*t)) {
                        return Err(PackError::NotATrit { row, value });
                    }
                }
                // A K block's last step may end beyond the block's last column.
                let blocks = trits.chunks(packing.block_cols());
                let steps = blocks.flat_map(|block| block.chunks(step_cols));
                for (trits, step) in steps.zip(panel_bytes.chunks_exact_mut(step_bytes)) {
                    padded[..trits.len()].copy_from_slice(trits);
                    padded[trits.len()..].fill(0);
                    codes::encode(packing, lane_row, &padded, step);
                }
            }
        }
        Ok(self.scatter(panels, &bytes))
    }

    /// Interleaves panels that were packed one after another: one run of bytes for each unit and K block.
    fn scatter(&self, panels: Range<usize>, bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
        let (steps, step_bytes) = (
            self.packing.steps(self.cols),
            self.packing.panel_step_bytes(),
        );
        let mut runs = Vec::new();
        let mut first = panels.start;
        while first < panels.end {
            let whole = first < self.full_strips() * self.packing.panels;
            let width = if whole { self.packing.panels } else { 1 };
            for block in 0..self.packing.blocks(self.cols) {
                let start = block * self.packing.block;
                let mut run = Vec::with_capacity(self.block_steps(block) * width * step_bytes);
                for step in start..start + self.block_steps(block) {
                    for panel in first..first + width {
                        let at = ((panel - panels.start) * steps + step) * step_bytes;
                        run.extend_from_slice(&bytes[at..at + step_bytes]);
                    }
                }
                runs.push((self.step_offset(first, block, 0), run));
            }
            first += width;
        }
        runs
    }
}
