//! Two candidates timed against each other, apart from any search.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use tern_kernels::{Cpu, Pages, Shape};

use crate::bench::{GemvBench, Weights, cold_distance};
use crate::error::TuneError;
use crate::host;
use crate::measure::Candidate;
use crate::search::{Bench as _, PAIRS_MAX, run_off};
use crate::spread::Spread;

/// How [`paired_runoff`] measures.
#[derive(Clone, Debug)]
pub struct RunoffOptions {
    /// Pairs of samples at most; a clear result ends it earlier.
    pub pairs: usize,
    /// Time at most.
    pub budget: Duration,
    /// Pages of the packed weights.
    pub pages: Pages,
    /// Matrices that share prepared activations: a product bears one part in so many of what preparing them takes.
    pub sharing: f64,
}

impl Default for RunoffOptions {
    fn default() -> RunoffOptions {
        RunoffOptions {
            pairs: PAIRS_MAX,
            budget: Duration::from_secs(5),
            pages: Pages::Huge,
            sharing: 1.0,
        }
    }
}

/// The result of timing two candidates against each other.
#[derive(Clone, Debug, Serialize)]
pub struct Runoff {
    /// Microseconds per product of the first.
    pub a: Spread,
    /// Microseconds per product of the second.
    pub b: Spread,
    /// `b / a` over the pairs: above 1, the first is faster.
    pub ratio: Spread,
}

/// Times two candidates in pairs on cold weights.
///
/// # Errors
/// A candidate is not exact or cannot be set up, or the system refuses threads.
pub fn paired_runoff(
    cpu: &Cpu,
    shape: Shape,
    threads: usize,
    pair: [Candidate; 2],
    options: &RunoffOptions,
) -> Result<Runoff, TuneError> {
    let never = AtomicBool::new(false);
    let (distance, limit) = (cold_distance(cpu), host::memory_allowance());
    let mut weights = Weights::in_memory(shape, options.pages, distance, limit);
    let mut bench =
        GemvBench::new(&mut weights, &pair, threads, &never)?.with_preparation(options.sharing);
    for index in 0..pair.len() {
        bench
            .admit(index)
            .map_err(|reason| TuneError::NoCandidate {
                shape,
                threads,
                reason,
            })?;
    }
    bench.enter(&[0, 1]);
    // The first samples only warm up.
    let _ = (bench.sample(0), bench.sample(1));
    bench.restart();
    let pairs = run_off(&mut bench, 0, 1, options.pairs, options.budget);
    let ratio = pairs.ratio().ok_or(TuneError::Nothing)?;
    let a = Spread::of(pairs.a).ok_or(TuneError::Nothing)?;
    let b = Spread::of(pairs.b).ok_or(TuneError::Nothing)?;
    Ok(Runoff { a, b, ratio })
}
