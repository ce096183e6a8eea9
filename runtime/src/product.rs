//! One packed ternary matrix with its kernel: whose sums run over all of K, or with scales by groups of columns.
//!
//! Both are split over the team alike, so that what does not multiply need not know which it is.

use tern_kernels::{Choice, Gemv, GroupGemv, PackedMatrix, Split};

/// A matrix, its kernel and its split over the team.
pub(crate) enum Product {
    /// Exact sums over all columns; scales of the matrix or of rows come after.
    Whole(Gemv),
    /// Sums of groups of columns, each times its scales: of weights, of activations, or of both.
    Groups(GroupGemv),
}

impl Product {
    /// The matrix.
    pub fn matrix(&self) -> &PackedMatrix {
        match self {
            Product::Whole(gemv) => gemv.matrix(),
            Product::Groups(gemv) => gemv.matrix(),
        }
    }

    /// Kernel, tile, and where they came from.
    pub fn choice(&self) -> &Choice {
        match self {
            Product::Whole(gemv) => gemv.choice(),
            Product::Groups(gemv) => gemv.choice(),
        }
    }

    /// The split of the rows over the workers' pieces.
    pub fn split(&self) -> &Split {
        match self {
            Product::Whole(gemv) => gemv.split(),
            Product::Groups(gemv) => gemv.split(),
        }
    }

    /// Workers that the rows are split over.
    pub fn workers(&self) -> usize {
        match self {
            Product::Whole(gemv) => gemv.workers(),
            Product::Groups(gemv) => gemv.workers(),
        }
    }

    /// Sums that the longest piece needs for a position.
    pub fn longest(&self) -> usize {
        match self {
            Product::Whole(gemv) => {
                let pieces = 0..gemv.workers() * gemv.pieces();
                pieces.map(|piece| gemv.piece_len(piece)).max().unwrap_or(0)
            }
            Product::Groups(gemv) => {
                let parts = 0..gemv.workers();
                parts.map(|worker| gemv.part_len(worker)).max().unwrap_or(0)
            }
        }
    }

    /// Pieces of each worker's part.
    pub fn pieces(&self) -> usize {
        match self {
            Product::Whole(gemv) => gemv.pieces(),
            Product::Groups(_) => 1,
        }
    }
}
