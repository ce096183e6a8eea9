//! A batched product on a thread team: the rows split as for the matrix-vector product, and what each worker needs for its part.

use std::ops::Range;

use super::{Batch, Gemm, Scratch};
use crate::memory::MemoryError;
use crate::pack::PackedMatrix;
use crate::team::Session;

/// One worker's side of a batched product: the memory for the block that it unpacks, and its sums.
pub struct GemmPart {
    scratch: Scratch,
    /// One token after another, `len` sums each.
    sums: Vec<i32>,
    len: usize,
    rows: Range<usize>,
}

impl GemmPart {
    /// Rows of the matrix that are this worker's.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The sums of these rows, for each token of the last product.
    pub fn sums(&self) -> impl Iterator<Item = &[i32]> {
        let tokens = self.sums.chunks_exact(self.len.max(1));
        tokens.map(|sums| &sums[..self.rows.len()])
    }
}

impl Gemm {
    /// What the workers of a team need for products of up to `tokens` tokens, in their order. The pages of a part are touched first by
    /// the worker that uses them.
    ///
    /// # Errors
    ///
    /// No memory for a block.
    pub fn parts(&self, tokens: usize) -> Result<Vec<GemmPart>, MemoryError> {
        let part = |worker: usize| {
            Ok(GemmPart {
                scratch: Scratch::new([self])?,
                sums: vec![0; tokens * self.part_len(worker)],
                len: self.part_len(worker),
                rows: self.part_rows(worker),
            })
        };
        (0..self.workers()).map(part).collect()
    }

    /// The product of the matrix that was planned for and the first tokens of `batch`, as many as `parts` are for, in one region of
    /// a team. Each worker overwrites the sums of its part.
    ///
    /// # Panics
    ///
    /// As [`Gemm::run_part`], or when `parts` are another matrix's or more than the team's workers.
    pub fn run_on(
        &self,
        session: &mut Session<'_>,
        matrix: &PackedMatrix,
        batch: &Batch,
        parts: &mut [GemmPart],
    ) {
        assert_eq!(parts.len(), self.workers(), "a part for each worker");
        session.run_parts(parts, |worker, part| {
            let tokens = part.sums.len().checked_div(part.len).unwrap_or(0);
            let (scratch, sums) = (&mut part.scratch, &mut part.sums);
            self.run_part(matrix, worker, batch, tokens, scratch, sums);
        });
    }
}
