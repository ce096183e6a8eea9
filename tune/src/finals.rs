//! A few candidates timed against each other in rounds A B C, C B A, …, judged by the ratios inside each round.
//!
//! Sequential measurements of good candidates drift by more than they differ; ratios within a round do not. What stays the
//! same for all rounds is the memory that each candidate got (see `rotation.rs`), so they change places in it all along.
//!
//! The paired run-off is that of cutile's `tune`; changing places is the crossover trial of medicine and agriculture.

use std::time::Duration;

use crate::bench::{Bench, Index};
use crate::spread::Spread;

/// A challenger that is less than this much faster does not displace the incumbent, however sure the difference is.
pub(crate) const GAIN_MIN: f64 = 0.01;

/// Standard errors that a difference must exceed.
pub(crate) const ERRORS_MIN: f64 = 2.0;

/// Rounds before all change places in memory. Changing takes as long as some thirty samples.
const ROUNDS_IN_PLACE: usize = 64;

/// Rounds at most: ratios that scatter by a tenth are then known to half a percent.
const ROUNDS_MAX: usize = 1280;

/// Blocks from which on their scatter says something about the noise.
const BLOCKS_FOR_ERROR: usize = 4;

/// With fewer rounds than this their scatter says nothing about the noise.
const ROUNDS_FOR_VERDICT: usize = 7;

/// Samples of some candidates, which come in order of preference, taken in rounds.
#[derive(Clone, Debug)]
pub(crate) struct Finals {
    /// One list for each candidate.
    pub samples: Vec<Vec<f64>>,
}

/// Who won, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub winner: usize,
    /// The fastest of the others.
    pub runner_up: usize,
    /// Whether the winner is ahead of all others by more than the noise. If not, it was preferred to those that are as fast.
    pub is_clear: bool,
}

impl Finals {
    pub(crate) fn new(candidates: usize) -> Finals {
        Finals {
            samples: vec![Vec::new(); candidates],
        }
    }

    /// Rounds in which each candidate has had all places.
    fn block(&self) -> usize {
        self.samples.len() * ROUNDS_IN_PLACE
    }

    fn rounds(&self) -> usize {
        self.samples.iter().map(Vec::len).min().unwrap_or(0)
    }

    /// Median and scatter of the time of one candidate over that of another.
    pub(crate) fn ratio(&self, candidate: usize, other: usize) -> Option<Spread> {
        Spread::ratio(&self.samples[candidate], &self.samples[other])
    }

    /// By how much one candidate is slower than another (negative: faster), and how much of that may be noise.
    fn lag(&self, candidate: usize, other: usize) -> Option<(f64, f64)> {
        let ratio = self.ratio(candidate, other)?;
        let blocks = self.samples[candidate].chunks(self.block());
        let blocks = blocks.zip(self.samples[other].chunks(self.block()));
        let medians = blocks.filter_map(|(a, b)| Some(Spread::ratio(a, b)?.median));
        // Rounds of one block saw the same state of the machine: their scatter alone would promise too much.
        let between = Spread::of(medians.collect())
            .filter(|blocks| blocks.samples.len() >= BLOCKS_FOR_ERROR)
            .map_or(0.0, |blocks| blocks.error());
        Some((ratio.median - 1.0, ratio.error().max(between)))
    }

    /// Who is faster by more than the noise and by a gain that is worth a change; `None` if there are too few rounds to
    /// tell, or not two candidates.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        if self.rounds() < ROUNDS_FOR_VERDICT {
            return None;
        }
        let bar = |error: f64| GAIN_MIN.max(ERRORS_MIN * error);
        let mut winner = 0;
        for challenger in 1..self.samples.len() {
            let (lag, error) = self.lag(challenger, winner)?;
            if -lag > bar(error) {
                winner = challenger;
            }
        }
        let mut others = Vec::new();
        for other in (0..self.samples.len()).filter(|&other| other != winner) {
            let (lag, error) = self.lag(other, winner)?;
            others.push((other, lag, lag > bar(error)));
        }
        let (runner_up, ..) = *others.iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(Verdict {
            winner,
            runner_up,
            is_clear: others.iter().all(|(.., is_ahead)| *is_ahead),
        })
    }

    /// Whether more rounds would hardly change the verdict: there is nobody to compare, there are enough, or all differences are several errors away from
    /// the bar.
    pub(crate) fn is_done(&self) -> bool {
        let has_rivals = self.samples.len() > 1;
        if !has_rivals || self.rounds() >= ROUNDS_MAX {
            return true;
        }
        let Some(Verdict { winner, .. }) = self.verdict() else {
            return false;
        };
        let is_sure = |other: usize| {
            self.lag(other, winner)
                .is_some_and(|(lag, error)| (lag.abs() - GAIN_MIN).abs() > 2.0 * ERRORS_MIN * error)
        };
        self.rounds() >= BLOCKS_FOR_ERROR * self.block()
            && (0..self.samples.len()).all(|other| other == winner || is_sure(other))
    }

    /// Adds one block of rounds over `candidates`, the order turned around in every second round. Ends after one round at the
    /// earliest when the bench's clock passes `deadline`.
    pub(crate) fn add_block(
        &mut self,
        bench: &mut dyn Bench,
        candidates: &[Index],
        deadline: Duration,
    ) {
        for round in 0..self.block() {
            if round % ROUNDS_IN_PLACE == 0 {
                bench.enter(candidates);
            }
            for turn in 0..candidates.len() {
                let backwards = candidates.len() - 1 - turn;
                let position = if round % 2 == 0 { turn } else { backwards };
                let sample = bench.sample(candidates[position]);
                self.samples[position].push(sample);
            }
            if bench.elapsed() >= deadline || bench.cancelled() {
                break;
            }
        }
    }
}

/// Runs candidates of a bench off, block after block, until the verdict is clear or the bench's clock passes `deadline`.
pub(crate) fn run_off(bench: &mut dyn Bench, candidates: &[Index], deadline: Duration) -> Finals {
    let mut finals = Finals::new(candidates.len());
    while !finals.is_done() && bench.elapsed() < deadline && !bench.cancelled() {
        finals.add_block(bench, candidates, deadline);
    }
    finals
}
