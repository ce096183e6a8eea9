//! A few candidates timed against each other in rounds A B C, C B A, …, judged by the ratios inside each round.
//!
//! Sequential measurements of good candidates drift by more than they differ; ratios within a round do not. What stays the
//! same for all rounds is the memory that each candidate got (see `rotation.rs`), so they change places in it all along. Who is
//! behind for sure leaves, so that the rounds of the others come faster.
//!
//! The paired run-off is that of cutile's `tune`; changing places is the crossover trial of medicine and agriculture.

use std::time::Duration;

use tern_kernels::Rigor;

use crate::bench::{Bench, Index, in_round};
use crate::spread::Spread;

/// A challenger that is less than this much faster does not displace the incumbent, however sure the difference is.
pub(crate) const GAIN_MIN: f64 = 0.008;

/// A challenger that is faster by more than this displaces the one before it, even if it may be noise: on a noisy machine the first
/// would keep its place with an expected loss of whatever the noise is.
const TIE_MAX: f64 = 0.01;

/// The same for the first of all, which is what the plan chooses without tuning: a profile is to be no slower than none.
const TIE_WITH_DEFAULT_MAX: f64 = NOISE_MAX;

/// Standard errors that a difference must exceed to be more than noise.
pub(crate) const ERRORS_MIN: f64 = 2.0;

/// The noise of a comparison (two standard errors) up to which its winner is worth storing.
pub(crate) const NOISE_MAX: f64 = 0.03;

/// Standard errors from the bar beyond which more rounds would hardly change on which side of it a difference is.
const ERRORS_SURE: f64 = 4.0;

/// Rounds of a block: one after another, so that they see one state of the machine. In each block all candidates change places in memory
/// as often as there are candidates, so that each has the places of all, if all have packings of their own.
const ROUNDS_IN_BLOCK: usize = 160;

/// The same where there is little time: a few blocks are needed to see how they differ.
const ROUNDS_IN_SHORT_BLOCK: usize = 40;

/// Rounds at most: blocks that scatter by a thirtieth are then known to a hundredth.
const ROUNDS_MAX: usize = 20 * ROUNDS_IN_BLOCK;

/// The same while the noise is above [`NOISE_MAX`]: the winner would not be stored.
const NOISY_ROUNDS_MAX: usize = 4 * ROUNDS_MAX;

/// Rounds of a block for this rigor.
pub(crate) fn rounds_in_block(rigor: Rigor) -> usize {
    match rigor {
        Rigor::Estimate | Rigor::Measure => ROUNDS_IN_SHORT_BLOCK,
        Rigor::Patient | Rigor::Exhaustive => ROUNDS_IN_BLOCK,
    }
}

/// Blocks before a run-off may end, and before somebody leaves: a single state of the machine is not to decide.
const BLOCKS_MIN: usize = 4;
const BLOCKS_BEFORE_LEAVING: usize = 2;

/// What the state of the machine may change in a single block, as a standard error.
const ERROR_OF_ONE_BLOCK: f64 = 0.03;

/// How many times as wide an interval must be that is built on the scatter of so few values, for 2 values and on: the quantile of
/// Student's distribution over that of the normal distribution, at 95 %.
const STUDENT: [f64; 9] = [6.48, 2.20, 1.62, 1.42, 1.31, 1.25, 1.21, 1.18, 1.15];

/// With fewer rounds than this their scatter says nothing about the noise.
const ROUNDS_FOR_VERDICT: usize = 7;

/// Samples of some candidates, which come in order of preference, taken in rounds.
#[derive(Clone, Debug)]
pub(crate) struct Finals {
    /// One list for each candidate, a sample for each round in which it took part: all begin with the first round.
    pub samples: Vec<Vec<f64>>,
    /// Microseconds that each candidate costs beside what is sampled, for the comparison.
    extra: Vec<f64>,
    /// Rounds of a block.
    block: usize,
    /// The positions of those that take part in the next round.
    left: Vec<usize>,
}

/// Who won, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub winner: usize,
    /// Whether the winner is ahead of all others by more than the noise.
    pub is_clear: bool,
}

impl Finals {
    pub(crate) fn new(candidates: usize) -> Finals {
        Finals::of_blocks(candidates, ROUNDS_IN_BLOCK)
    }

    /// With blocks of so many rounds.
    pub(crate) fn of_blocks(candidates: usize, block: usize) -> Finals {
        Finals {
            block,
            samples: vec![Vec::new(); candidates],
            extra: vec![0.0; candidates],
            left: (0..candidates).collect(),
        }
    }

    /// The same with what each candidate costs beside its samples.
    pub(crate) fn with_extra(self, extra: Vec<f64>) -> Finals {
        assert_eq!(extra.len(), self.samples.len(), "one for each candidate");
        Finals { extra, ..self }
    }

    /// The same with the blocks of rounds that a log has, as far as they fit.
    pub(crate) fn with_blocks(
        mut self,
        blocks: impl IntoIterator<Item = (Vec<Vec<f64>>, Vec<usize>)>,
    ) -> Finals {
        let count = self.samples.len();
        for (samples, left) in blocks {
            let is_time = |us: &f64| us.is_finite() && *us > 0.0;
            let fits = samples.len() == count
                && samples.iter().flatten().all(is_time)
                && !left.is_empty()
                && left.is_sorted()
                && left.iter().all(|position| self.left.contains(position));
            if !fits {
                break;
            }
            for (all, new) in self.samples.iter_mut().zip(samples) {
                all.extend(new);
            }
            self.left = left;
        }
        self
    }

    /// By what part of its time the comparison of the winner with the closest of the others may be wrong: two standard errors. `None` where
    /// nobody is left to compare with.
    pub(crate) fn noise(&self, winner: usize) -> Option<f64> {
        let others = self.left.iter().filter(|&&other| other != winner);
        let lags = others.filter_map(|&other| self.lag(other, winner));
        let (_, error) = lags.min_by(|a, b| a.0.total_cmp(&b.0))?;
        Some(ERRORS_MIN * error)
    }

    /// The positions of the candidates that may still win.
    pub(crate) fn left(&self) -> &[usize] {
        &self.left
    }

    fn rounds(&self) -> usize {
        let left = self.left.iter();
        left.map(|&candidate| self.samples[candidate].len())
            .min()
            .unwrap_or(0)
    }

    /// Median and scatter of the time of one candidate over that of another.
    pub(crate) fn ratio(&self, candidate: usize, other: usize) -> Option<Spread> {
        Spread::ratio(&self.samples[candidate], &self.samples[other])
    }

    /// The same with what both cost beside.
    pub(crate) fn ratio_of_all(&self, candidate: usize, other: usize) -> Option<Spread> {
        Spread::ratio(&self.all(candidate), &self.all(other))
    }

    /// Samples with what the candidate costs beside.
    fn all(&self, candidate: usize) -> Vec<f64> {
        let extra = self.extra[candidate];
        self.samples[candidate]
            .iter()
            .map(|us| us + extra)
            .collect()
    }

    /// By how much one candidate is slower than another (negative: faster), and how much of that may be noise.
    pub(crate) fn lag(&self, candidate: usize, other: usize) -> Option<(f64, f64)> {
        let ratio = self.ratio_of_all(candidate, other)?;
        let (a, b) = (self.all(candidate), self.all(other));
        let blocks = (a.chunks_exact(self.block)).zip(b.chunks_exact(self.block));
        let medians = blocks.filter_map(|(a, b)| Some(Spread::ratio(a, b)?.median));
        // Rounds of one block saw the same state of the machine: their scatter alone would promise too much.
        let between = error_of_mean(&medians.collect::<Vec<f64>>());
        let error = between.unwrap_or(ERROR_OF_ONE_BLOCK);
        Some((ratio.median - 1.0, ratio.error().max(error)))
    }

    /// The fastest of those that are left, by their times over those of the first, so that an order comes of it.
    fn fastest(&self) -> Option<usize> {
        let first = *self.left.first()?;
        let times = self.left.iter().map(|&candidate| {
            let ratio = self.ratio_of_all(candidate, first);
            (candidate, ratio.map_or(f64::INFINITY, |ratio| ratio.median))
        });
        let (fastest, _) = times.min_by(|a, b| a.1.total_cmp(&b.1))?;
        Some(fastest)
    }

    /// The fastest, or the first in order of those that are not behind it by more than the noise (up to [`TIE_MAX`], or
    /// [`TIE_WITH_DEFAULT_MAX`]) and a gain that is worth a change; `None` if there are too few rounds to tell, or no candidates.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        if self.rounds() < ROUNDS_FOR_VERDICT {
            return None;
        }
        let fastest = self.fastest()?;
        let (mut winner, mut is_clear) = (fastest, true);
        // Those that left did so behind another one, not always behind this one.
        for other in (0..self.samples.len()).filter(|&other| other != fastest) {
            let (lag, error) = self.lag(other, fastest)?;
            let noise = GAIN_MIN.max(ERRORS_MIN * error);
            is_clear &= lag > noise;
            let tie_max = match other {
                0 => TIE_WITH_DEFAULT_MAX,
                _ => TIE_MAX,
            };
            if self.left.contains(&other) && lag <= noise.min(tie_max) {
                winner = winner.min(other);
            }
        }
        Some(Verdict { winner, is_clear })
    }

    /// Whether more rounds would hardly change the verdict: there is nobody to compare, there are enough, or all differences are
    /// several errors away from the bar.
    pub(crate) fn is_done(&self) -> bool {
        if self.left.len() < 2 || self.rounds() >= NOISY_ROUNDS_MAX {
            return true;
        }
        let Some(Verdict { winner, is_clear }) = self.verdict() else {
            return false;
        };
        let is_known = is_clear || self.noise(winner).is_none_or(|noise| noise <= NOISE_MAX);
        if self.rounds() >= ROUNDS_MAX && is_known {
            return true;
        }
        let is_sure = |&other: &usize| {
            self.lag(other, winner)
                .is_some_and(|(lag, error)| (lag.abs() - GAIN_MIN).abs() > ERRORS_SURE * error)
        };
        let mut others = self.left.iter().filter(|&&other| other != winner);
        self.rounds() >= BLOCKS_MIN * self.block && others.all(is_sure)
    }

    /// Lets go who is behind the fastest by so much that more rounds would hardly change it.
    fn drop_behind(&mut self) {
        if self.rounds() < BLOCKS_BEFORE_LEAVING * self.block {
            return;
        }
        let Some(fastest) = self.fastest() else {
            return;
        };
        let is_behind = |other: usize| {
            self.lag(other, fastest)
                .is_some_and(|(lag, error)| lag > GAIN_MIN + ERRORS_SURE * error)
        };
        let left = self.left.iter().copied();
        self.left = left.filter(|&candidate| !is_behind(candidate)).collect();
    }

    /// Adds one block of rounds over those of `candidates` that are left. It ends early when the bench's clock passes `deadline`,
    /// but not before one round.
    pub(crate) fn add_block(
        &mut self,
        bench: &mut dyn Bench,
        candidates: &[Index],
        deadline: Duration,
    ) {
        let left: Vec<Index> = self
            .left
            .iter()
            .map(|&position| candidates[position])
            .collect();
        let rounds_in_place = self.block.div_ceil(left.len().max(1));
        for round in 0..self.block {
            if round % rounds_in_place == 0 {
                bench.enter(&left);
            }
            if round == 0 {
                // The first samples only warm up.
                for &candidate in &left {
                    bench.sample(candidate);
                }
            }
            for turn in in_round(round, left.len()) {
                let sample = bench.sample(left[turn]);
                self.samples[self.left[turn]].push(sample);
            }
            if bench.elapsed() >= deadline || bench.cancelled() {
                return;
            }
        }
        self.drop_behind();
    }
}

/// Standard error of the mean of a few values, as wide as it must be for so few; `None` for less than two.
fn error_of_mean(values: &[f64]) -> Option<f64> {
    let (count, degrees) = (values.len() as f64, values.len().checked_sub(1)?);
    let widening = match STUDENT.get(degrees.checked_sub(1)?) {
        Some(&widening) => widening,
        None => 1.0 + 1.5 / degrees as f64,
    };
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some(widening * (squares / degrees as f64 / count).sqrt())
}

/// Runs candidates of a bench off, in blocks of so many rounds, until the verdict is clear or the bench's clock passes `deadline`.
pub(crate) fn run_off(
    bench: &mut dyn Bench,
    candidates: &[Index],
    block: usize,
    deadline: Duration,
) -> Finals {
    let mut finals = Finals::of_blocks(candidates.len(), block);
    while !finals.is_done() && bench.elapsed() < deadline && !bench.cancelled() {
        finals.add_block(bench, candidates, deadline);
    }
    finals
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many rounds of candidates that take so long, times `state(round)` for all but the first.
    fn finals(us: &[f64], rounds: usize, state: impl Fn(usize) -> f64) -> Finals {
        let mut finals = Finals::new(us.len());
        for round in 0..rounds {
            for (position, samples) in finals.samples.iter_mut().enumerate() {
                let state = if position == 0 { 1.0 } else { state(round) };
                samples.push(us[position] * state);
            }
        }
        finals
    }

    #[test]
    fn the_first_of_those_as_fast_as_the_fastest_wins() {
        let long = 1000;
        let verdict = |us: &[f64]| finals(us, long, |_| 1.0).verdict().unwrap();
        let tie = |winner| Verdict {
            winner,
            is_clear: false,
        };
        assert_eq!(verdict(&[100.0, 99.2, 98.5]), tie(1));
        assert_eq!(verdict(&[99.0, 100.0, 98.5]), tie(0));
        let clear = Verdict {
            winner: 2,
            is_clear: true,
        };
        assert_eq!(verdict(&[100.0, 99.2, 95.0]), clear);
    }

    #[test]
    fn one_block_does_not_settle_what_the_machine_may_do() {
        let verdict = |rounds, us: &[f64]| finals(us, rounds, |_| 1.0).verdict().unwrap();
        let block = ROUNDS_IN_BLOCK;
        assert!(!verdict(block, &[100.0, 97.0]).is_clear);
        assert!(verdict(block, &[100.0, 90.0]).is_clear);
        assert!(verdict(4 * block, &[100.0, 97.0]).is_clear);
        assert_eq!(
            finals(&[1.0, 2.0], ROUNDS_FOR_VERDICT - 1, |_| 1.0).verdict(),
            None
        );
    }

    #[test]
    fn who_is_behind_for_sure_leaves() {
        let after = |rounds, us: &[f64]| {
            let mut finals = finals(us, rounds, |_| 1.0);
            finals.drop_behind();
            finals
        };
        let us = [100.0, 115.0, 103.0, 100.5];
        assert_eq!(after(ROUNDS_IN_BLOCK, &us).left(), [0, 1, 2, 3]);
        let finals = after(4 * ROUNDS_IN_BLOCK, &us);
        assert_eq!(finals.left(), [0, 3]);
        assert_eq!(finals.verdict().map(|verdict| verdict.winner), Some(0));
        assert!(finals.ratio(1, 0).is_some());
        assert!(after(4 * ROUNDS_IN_BLOCK, &[100.0, 90.0]).is_done());
    }

    #[test]
    fn states_of_the_machine_count_as_noise() {
        let block = ROUNDS_IN_BLOCK;
        // Blocks in which all but the first are 2 % slower or 8 % faster: 3 % faster on the whole, give or take 3 %.
        let state = |round: usize| {
            if (round / block).is_multiple_of(2) {
                1.02
            } else {
                0.92
            }
        };
        let moved = finals(&[99.5, 100.0], 6 * block, state);
        let verdict = moved.verdict().unwrap();
        assert!(!verdict.is_clear && verdict.winner == 0, "{verdict:?}");
        let faster = finals(&[101.0, 100.0], 6 * block, state);
        let verdict = faster.verdict().unwrap();
        assert!(!verdict.is_clear && verdict.winner == 1, "{verdict:?}");
        let level = finals(&[97.5, 100.0], 6 * block, state);
        let verdict = level.verdict().unwrap();
        assert!(!verdict.is_clear && verdict.winner == 0, "{verdict:?}");
        assert!(!moved.is_done());
        assert!(finals(&[100.0, 80.0], 6 * block, state).is_done());
        assert!(!finals(&[100.0, 80.0], block, state).is_done());
        assert!(finals(&[100.0], 0, state).is_done());
    }
}
