//! Why a measurement could not be made.

use tern_kernels::{MemoryError, PlanError, Shape};

use crate::log::LogError;

/// Why tuning, verifying, comparing or measuring the bandwidth failed as a whole.
///
/// A candidate that fails alone is no error: it is a row with its reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError {
    /// The kernels asked for do not run here.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// There is nothing to do.
    #[error("no matrix shapes to measure; name a model with --shapes or --model")]
    NoWork,
    /// A shape beyond any model.
    #[error(
        "cannot measure a matrix of {shape}: expected 1 to {side} rows and columns, and at most {weights} weights"
    )]
    Shape {
        /// What was asked for.
        shape: Shape,
        /// The largest number of rows and of columns.
        side: usize,
        /// The largest number of weights.
        weights: usize,
    },
    /// A thread count that cannot be measured.
    #[error("cannot measure with {threads} threads: expected 1 to {max}")]
    Threads {
        /// What was asked for.
        threads: usize,
        /// The largest accepted number.
        max: usize,
    },
    /// The system refused threads.
    #[error("cannot start {threads} threads: {source}; ask for fewer with --threads")]
    Team {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// No candidate was exact and could be set up.
    #[error("no kernel could be measured for {shape} with {threads} threads: {reason}")]
    NoCandidate {
        /// The shape.
        shape: Shape,
        /// The threads.
        threads: usize,
        /// Reason of the first candidate.
        reason: String,
    },
    /// A batched product is wrong.
    #[error(
        "{kernel} is not exact: row {row} of token {token} is not what the other kernels say; please report this"
    )]
    Inexact {
        /// The kernel.
        kernel: &'static str,
        /// The first wrong row.
        row: usize,
        /// Of this token.
        token: usize,
    },
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is not enough memory.
    #[error("cannot measure: {0}")]
    Memory(#[from] MemoryError),
    /// A ruler gave no sample, as when the user stopped at once.
    #[error("nothing was measured before the measurement was stopped")]
    Nothing,
}
