//! What a running measurement tells its caller.

use tern_kernels::{Shape, Tile};

use crate::search::Decision;

/// A step of a measurement. Prints itself as one line.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// A part of a study begins.
    Part {
        /// Counted from 1.
        index: usize,
        /// How many there are.
        total: usize,
        /// What is measured.
        name: &'static str,
    },
    /// A shape and thread count begins.
    Job {
        /// Counted from 1.
        index: usize,
        /// How many there are.
        total: usize,
        /// The shape.
        shape: Shape,
        /// The threads.
        threads: usize,
    },
    /// A stage of the search begins.
    Stage {
        /// `screening`, `kernels`, `tiles` or `variations`, or what else is being measured.
        name: &'static str,
        /// How many candidates take part.
        candidates: usize,
    },
    /// The last few candidates of all shapes are run off in turns.
    RunOffs {
        /// How many shapes and thread counts.
        count: usize,
    },
    /// A block of rounds of a run-off is over.
    Turn {
        /// The shape.
        shape: Shape,
        /// The threads.
        threads: usize,
        /// Candidates that are left.
        left: usize,
    },
    /// A winner is known.
    Done {
        /// The shape.
        shape: Shape,
        /// The threads.
        threads: usize,
        /// Id of the winner.
        kernel: &'static str,
        /// Its tile.
        tile: Tile,
        /// Its median.
        median_us: f64,
        /// Why it won.
        decision: Decision,
        /// Id of the best other kernel, and how many times as long it took.
        ahead_of: Option<(&'static str, f64)>,
    },
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Progress::Part { index, total, name } => write!(f, "part {index} of {total}: {name}"),
            Progress::Job {
                index,
                total,
                shape,
                threads,
            } => {
                write!(
                    f,
                    "[{index}/{total}] {shape}, {}",
                    plural(*threads, "thread")
                )
            }
            Progress::Stage { name, candidates } => {
                write!(f, "  {name}: {}", plural(*candidates, "candidate"))
            }
            Progress::Turn {
                shape,
                threads,
                left,
            } => write!(
                f,
                "run-offs in turns: {shape} x{threads}, {}",
                plural(*left, "candidate")
            ),
            Progress::RunOffs { count } => write!(f, "{} in turns", plural(*count, "run-off")),
            Progress::Done {
                shape,
                threads,
                kernel,
                tile,
                median_us,
                decision,
                ahead_of,
            } => {
                let tile = tile_text(tile);
                write!(
                    f,
                    "{shape} x{threads}: {kernel} {tile} {median_us:.1} us ({decision}"
                )?;
                match ahead_of {
                    Some((other, ratio)) => write!(f, "; {other} takes {ratio:.3}x)"),
                    None => write!(f, ")"),
                }
            }
        }
    }
}

/// `1 thread`, `2 threads`.
pub fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A tile in few characters: `k1 c0 p4096`.
pub fn tile_text(tile: &Tile) -> String {
    let own = if tile.tables.is_shared() { "" } else { " own" };
    format!("k{} c{} p{}{own}", tile.k_blocks, tile.chunk, tile.prefetch)
}
