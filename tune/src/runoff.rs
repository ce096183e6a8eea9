//! Run-offs on cold weights, those of several shapes in turns.
//!
//! What the rest of a machine is doing costs a kernel that waits for memory and one that is busy computing not the same, and goes
//! on for seconds: ratios of the same two kernels, each known to 0.005, moved between 1.00 and 1.13 from one second to the next on
//! a virtual machine with busy neighbours. No number of pairs averages that out, but time does: all shapes take turns, block after
//! block, so that each sees the machine over the whole time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tern_kernels::{Cpu, Packing, Pages, Shape};

use crate::bench::{Bench as _, GemvBench, Index, Weights, cold_distance};
use crate::error::TuneError;
use crate::finals::Finals;
use crate::host;
use crate::measure::{Candidate, Clock};
use crate::progress::Progress;
use crate::spread::Spread;

/// A run-off on cold weights of one shape.
#[derive(Debug)]
pub(crate) struct RunOff {
    pub shape: Shape,
    pub threads: usize,
    /// See [`GemvBench::with_preparation`].
    pub sharing: f64,
    /// In order of preference.
    pub candidates: Vec<Candidate>,
    pub finals: Finals,
    /// Why it ended early.
    pub failure: Option<TuneError>,
}

impl RunOff {
    pub(crate) fn new(
        shape: Shape,
        threads: usize,
        sharing: f64,
        candidates: Vec<Candidate>,
    ) -> RunOff {
        let finals = Finals::new(candidates.len());
        RunOff {
            shape,
            threads,
            sharing,
            candidates,
            finals,
            failure: None,
        }
    }

    /// One more block of rounds.
    fn go_on(
        &mut self,
        weights: &mut Weights,
        deadline: Duration,
        cancel: &AtomicBool,
    ) -> Result<(), TuneError> {
        let (shape, threads) = (self.shape, self.threads);
        let bench = GemvBench::new(weights, &self.candidates, threads, cancel)?;
        let mut bench = bench.with_preparation(self.sharing);
        let all: Vec<Index> = (0..self.candidates.len()).collect();
        for &index in self.finals.left() {
            bench
                .admit(index)
                .map_err(|reason| TuneError::NoCandidate {
                    shape,
                    threads,
                    reason,
                })?;
        }
        self.finals.add_block(&mut bench, &all, deadline);
        Ok(())
    }

    /// What there is to say after a block.
    pub(crate) fn turn(&self) -> Progress {
        Progress::Turn {
            shape: self.shape,
            threads: self.threads,
            left: self.finals.left().len(),
        }
    }

    fn wants_more(&self) -> bool {
        self.failure.is_none() && !self.finals.is_done()
    }
}

/// The weights of several shapes.
pub(crate) struct Shelf {
    pages: Pages,
    distance: u64,
    limit: usize,
    weights: HashMap<Shape, Weights>,
}

impl Shelf {
    pub(crate) fn new(cpu: &Cpu, pages: Pages) -> Shelf {
        Shelf {
            pages,
            distance: cold_distance(cpu),
            limit: host::memory_allowance(),
            weights: HashMap::new(),
        }
    }

    /// The weights of a shape, made when they are first wanted. Those of the others keep their copies while all together take no more
    /// than half of what may be used, which leaves these as much.
    pub(crate) fn weights(&mut self, shape: Shape) -> &mut Weights {
        let mut held = 0;
        for (_, weights) in self.weights.iter_mut().filter(|(s, _)| **s != shape) {
            held += weights.rotation().held();
            if held > self.limit / 2 {
                weights.rotation().free_copies();
            }
        }
        let (pages, distance, limit) = (self.pages, self.distance, self.limit / 2);
        self.weights
            .entry(shape)
            .or_insert_with(|| Weights::in_memory(shape, pages, distance, limit))
    }

    /// Keeps only what the run-offs need of all weights.
    pub(crate) fn keep_only(&mut self, run_offs: &[RunOff]) {
        for (shape, weights) in &mut self.weights {
            let of_shape = run_offs.iter().filter(|run_off| run_off.shape == *shape);
            let packings: Vec<Packing> = of_shape
                .flat_map(|run_off| &run_off.candidates)
                .map(|candidate| candidate.kernel.packing)
                .collect();
            weights.rotation().keep_only(&packings);
        }
    }
}

/// Goes through `run_offs` in turns, one block each (`after` hears of each), until all are done or `budget` has passed. Where that does not suffice for a turn, each
/// gets its part of it. One whose candidates cannot be set up ends with that as its failure.
pub(crate) fn run_off_in_turns(
    run_offs: &mut [RunOff],
    shelf: &mut Shelf,
    budget: Duration,
    cancel: &AtomicBool,
    after: &mut dyn FnMut(&RunOff),
) {
    let clock = Clock::start();
    loop {
        let mut waiting = run_offs.iter().filter(|one| one.wants_more()).count();
        if waiting == 0 {
            return;
        }
        for run_off in run_offs.iter_mut().filter(|one| one.wants_more()) {
            let left = budget.saturating_sub(clock.elapsed());
            if left.is_zero() || cancel.load(Ordering::Relaxed) {
                return;
            }
            let turn = Clock::start();
            let weights = shelf.weights(run_off.shape);
            let share = left / u32::try_from(waiting).unwrap_or(u32::MAX);
            let share = share.saturating_sub(turn.elapsed());
            run_off.failure = run_off.go_on(weights, share, cancel).err();
            after(run_off);
            waiting -= 1;
        }
    }
}

/// How [`paired_runoff`] measures.
#[derive(Clone, Debug)]
pub struct RunoffOptions {
    /// Time at most; a clear result ends it earlier.
    pub budget: Duration,
    /// Pages of the packed weights.
    pub pages: Pages,
    /// Matrices that share prepared activations: a product bears one part in so many of what preparing them takes.
    pub sharing: f64,
}

impl Default for RunoffOptions {
    fn default() -> RunoffOptions {
        RunoffOptions {
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

impl Runoff {
    pub(crate) fn of(finals: &Finals) -> Option<Runoff> {
        let ratio = finals.ratio(1, 0)?;
        let a = Spread::of(finals.samples[0].clone())?;
        let b = Spread::of(finals.samples[1].clone())?;
        Some(Runoff { a, b, ratio })
    }
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
    let mut shelf = Shelf::new(cpu, options.pages);
    let mut run_offs = [RunOff::new(shape, threads, options.sharing, pair.to_vec())];
    run_off_in_turns(
        &mut run_offs,
        &mut shelf,
        options.budget,
        &never,
        &mut |_| {},
    );
    let [run_off] = run_offs;
    match run_off.failure {
        Some(failure) => Err(failure),
        None => Runoff::of(&run_off.finals).ok_or(TuneError::Nothing),
    }
}
