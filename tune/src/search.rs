//! The search for the fastest candidate, apart from what a candidate is and how it is timed.
//!
//! Three stages, each a race in interleaved rounds, so that a drift of the machine's speed meets all candidates
//! alike:
//!
//! 1. `kernels`: every kernel with its first two tiles, the default and the one without prefetch. Slow ones leave as soon
//!    as they are clearly slow.
//! 2. `tiles`: all tiles of the kernels that are left, under a bar that tightens from round to round. It goes on until
//!    the rest are known well enough or the time is up: a machine whose samples scatter by a tenth needs hundreds of
//!    rounds to tell candidates apart that differ by a hundredth.
//! 3. `run-off`: the last two in pairs A B, B A, A B, …, judged by the ratio inside each pair. Sequential measurements
//!    of two good candidates drift by more than they differ; pairs do not.
//!
//! A candidate leaves a race by its ratio to the leader within each round, and only if that is beyond the bar and beyond
//! the noise: who had bad luck in a few samples stays for more of them.
//!
//! The tie rule makes the result reproducible: candidates come in a fixed order (the default plan's choice first),
//! and the later one of the last two wins only if it is faster by more than the noise and by more than 1 %.
//!
//! Ideas: interleaved elimination from CubeCL's autotuner, the paired run-off from cutile's `tune`, checking before
//! timing and failed candidates as rows from Kernel Tuner, "most expensive first" (see `tune.rs`) from FFTW's wisdom.

use std::time::Duration;

use crate::spread::Spread;

/// A candidate's number. Lower numbers are preferred in a tie.
pub(crate) type Index = usize;

/// What the search needs of the world; the tests have one with a made-up clock.
pub(crate) trait Bench {
    /// Makes a candidate ready and checks that it is exact. The reason of a refusal is kept in its row.
    fn admit(&mut self, candidate: Index) -> Result<(), String>;
    /// One sample: microseconds per product.
    fn sample(&mut self, candidate: Index) -> f64;
    /// Rounds over exactly these candidates come next, all of them admitted.
    fn enter(&mut self, candidates: &[Index]);
    /// Time since the search began.
    fn elapsed(&self) -> Duration;
    /// Whether the user wants to stop.
    fn cancelled(&self) -> bool;
}

/// How long and how strictly to race. The defaults are what `tern tune` uses.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// The search ends soon after this; the last race's leader is then the winner.
    pub budget: Duration,
    /// Rounds of the first stage.
    pub kernel_rounds: usize,
    /// After the first stage, kernels beyond this multiple of the leader's median leave. Generous, because a kernel's
    /// best tile can be much faster than its first ones.
    pub kernel_bar: f64,
    /// At most so many of the first stage's tiles, and their kernels, go on to the second.
    pub kernels_max: usize,
    /// Bars of the second stage, each after `tile_rounds` more rounds. The last one stays.
    pub tile_bars: &'static [f64],
    /// Rounds before each bar of the second stage.
    pub tile_rounds: usize,
    /// Pairs in the run-off, at most.
    pub pairs: usize,
}

impl Rules {
    pub(crate) fn with_budget(budget: Duration) -> Rules {
        Rules {
            budget,
            kernel_rounds: 5,
            kernel_bar: 1.3,
            kernels_max: 12,
            tile_bars: &[1.3, 1.15, 1.08, 1.05, 1.03, 1.0 + TIE_BAND],
            tile_rounds: 4,
            pairs: PAIRS_MAX,
        }
    }
}

/// Tiles of each kernel in the first stage. Whether a CPU's own prefetchers hide the latency of memory or need help differs
/// between CPUs by more than kernels do, so one tile alone would judge the prefetch, not the kernel.
const FIRST_TILES: usize = 2;

/// A challenger that is less than this much faster does not displace the incumbent, however sure the difference is.
const GAIN_MIN: f64 = 0.01;

/// Candidates within this much of the leader are close enough to be preferred for their order; the run-off decides.
const TIE_BAND: f64 = 0.02;

/// Standard errors that a difference in the run-off must exceed.
const ERRORS_MIN: f64 = 2.0;

/// Standard errors behind the leader at which a candidate leaves a race. More than in the run-off, since many candidates are
/// judged many times, and the fastest must survive each of them.
const ERRORS_OUT: f64 = 3.0;

/// Known to this standard error, a candidate needs no more rounds: its place among those within [`TIE_BAND`] is clear.
const ERROR_KNOWN: f64 = GAIN_MIN / 4.0;

/// Pairs in a run-off at most: ratios that scatter by a tenth are then known to half a percent.
pub(crate) const PAIRS_MAX: usize = 1000;

/// Pairs after which a clear run-off may end early.
const PAIRS_MIN: usize = 15;

/// With fewer pairs than this their scatter says nothing about the noise.
const PAIRS_FOR_VERDICT: usize = 7;

/// Why the winner won.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// There was no other valid candidate.
    OnlyOne,
    /// All others were clearly slower in the races, so that no run-off was needed.
    Clear,
    /// It won the run-off by more than the noise.
    Margin,
    /// The last two were equal within the noise; the one that comes first in the default order was taken.
    TieRule,
    /// The budget ended (or the user stopped) before a run-off; it led the last race.
    Interrupted,
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Decision::OnlyOne => "the only candidate",
            Decision::Clear => "all others clearly slower",
            Decision::Margin => "won the run-off",
            Decision::TieRule => "a tie, first in the default order",
            Decision::Interrupted => "led when the time was up",
        })
    }
}

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The winner.
    Won,
    /// The other one of the last two.
    RunnerUp,
    /// Lost in a race, at this multiple of that race's best median.
    Eliminated {
        /// `screening` (see `screen.rs`), `kernels` or `tiles`.
        stage: &'static str,
        /// Its median over the leader's.
        ratio: f64,
    },
    /// Not exact, or could not be set up: never chosen. The reason.
    Invalid(String),
    /// Not measured: its kernel was too slow with the default tile, or the time was up.
    NotRun,
}

impl Outcome {
    /// Sorts rows for people: who went further comes first, whatever the times of earlier stages were.
    pub(crate) fn order(&self) -> (u8, f64) {
        match self {
            Outcome::Won => (0, 0.0),
            Outcome::RunnerUp => (1, 0.0),
            Outcome::Eliminated {
                stage: "tiles",
                ratio,
            } => (2, *ratio),
            Outcome::Eliminated {
                stage: "kernels",
                ratio,
            } => (3, *ratio),
            Outcome::Eliminated { ratio, .. } => (4, *ratio),
            Outcome::Invalid(_) => (5, 0.0),
            Outcome::NotRun => (6, 0.0),
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Won => write!(f, "won"),
            Outcome::RunnerUp => write!(f, "runner-up"),
            Outcome::Eliminated { stage, ratio } => write!(f, "{ratio:.2}x in `{stage}`"),
            Outcome::Invalid(reason) => write!(f, "invalid: {reason}"),
            Outcome::NotRun => write!(f, "not run"),
        }
    }
}

/// One candidate's row in the result.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Samples of the last stage in which it took part.
    pub spread: Option<Spread>,
    pub outcome: Outcome,
}

/// The result of a search.
#[derive(Debug)]
pub(crate) struct Ranking {
    /// One row per candidate.
    pub rows: Vec<Row>,
    /// `None` if no candidate was valid.
    pub winner: Option<Index>,
    pub decision: Decision,
}

/// Finds the fastest candidate. `kernels` lists for each kernel, in order of preference, the candidates that are its
/// tiles, its default tile first; every index from 0 up occurs exactly once. `notify` hears of each stage.
pub(crate) fn search(
    bench: &mut dyn Bench,
    kernels: &[Vec<Index>],
    rules: &Rules,
    notify: &mut dyn FnMut(&'static str, usize),
) -> Ranking {
    let mut search = Search::new(bench, kernels.iter().map(Vec::len).sum(), rules);

    notify("kernels", kernels.len());
    let first: Vec<&[Index]> = kernels
        .iter()
        .map(|tiles| &tiles[..tiles.len().min(FIRST_TILES)])
        .collect();
    let mut left = search.admit(&in_turn(&first), rules.budget.mul_f64(0.4));
    let mut stage = Stage {
        name: "kernels",
        turns_min: left.len(),
        deadline: rules.budget.mul_f64(0.5),
    };
    left = search.race(&stage, left, rules.kernel_rounds, rules.kernel_bar);
    left = search.best(&stage, left, rules.kernels_max);

    // A kernel goes on with all its tiles, those that lost the first race too: that race was short.
    let survives = |tiles: &&[Index]| tiles.iter().any(|tile| left.contains(tile));
    for tiles in first.iter().filter(|tiles| survives(tiles)) {
        search.readmit(tiles);
    }
    let survivors = kernels
        .iter()
        .zip(&first)
        .filter(|(_, first)| survives(first));
    let survivors: Vec<&[Index]> = survivors.map(|(tiles, _)| tiles.as_slice()).collect();
    let all_tiles = in_turn(&survivors);
    if all_tiles.len() > survivors.len() && search.has_time() {
        notify("tiles", all_tiles.len());
        // The default tiles come first in `all_tiles`: at the least they are compared again.
        stage = Stage {
            name: "tiles",
            turns_min: left.len(),
            deadline: rules.budget.mul_f64(0.85),
        };
        left = search.admit(&all_tiles, rules.budget.mul_f64(0.65));
        search.forget(&left);
        left = search.race_tiles(&stage, left);
    }
    search.finish(&left, stage.name, notify)
}

/// The first of each list, then the second of each, and so on: neighbours in a round are then of different kernels,
/// whose weights are in different packings, and a round goes through more bytes before it comes back to the same.
fn in_turn(lists: &[&[Index]]) -> Vec<Index> {
    let longest = lists.iter().map(|list| list.len()).max().unwrap_or(0);
    (0..longest)
        .flat_map(|i| lists.iter().filter_map(move |list| list.get(i).copied()))
        .collect()
}

/// A race's name and limits.
struct Stage {
    name: &'static str,
    /// Samples that are taken even after the deadline.
    turns_min: usize,
    deadline: Duration,
}

/// A search under way.
struct Search<'a> {
    bench: &'a mut dyn Bench,
    rules: &'a Rules,
    /// Samples of the present stage.
    samples: Vec<Vec<f64>>,
    /// Present where the candidate is already out or was refused.
    outcomes: Vec<Option<Outcome>>,
    admitted: Vec<bool>,
}

impl<'a> Search<'a> {
    fn new(bench: &'a mut dyn Bench, candidates: usize, rules: &'a Rules) -> Search<'a> {
        Search {
            bench,
            rules,
            samples: vec![Vec::new(); candidates],
            outcomes: vec![None; candidates],
            admitted: vec![false; candidates],
        }
    }

    fn has_time(&self) -> bool {
        self.bench.elapsed() < self.rules.budget && !self.bench.cancelled()
    }

    /// The candidates that are ready and exact. After `deadline` the rest stay out, but one must be ready.
    fn admit(&mut self, candidates: &[Index], deadline: Duration) -> Vec<Index> {
        let mut entered = Vec::new();
        for &candidate in candidates {
            if self.outcomes[candidate].is_some() {
                continue;
            }
            if !self.admitted[candidate] {
                let late = self.bench.elapsed() >= deadline || self.bench.cancelled();
                if late && !entered.is_empty() {
                    continue;
                }
                if let Err(reason) = self.bench.admit(candidate) {
                    self.outcomes[candidate] = Some(Outcome::Invalid(reason));
                    continue;
                }
                self.admitted[candidate] = true;
            }
            entered.push(candidate);
        }
        entered
    }

    /// Takes back that some candidates lost a race; those that are not exact stay out.
    fn readmit(&mut self, candidates: &[Index]) {
        for &candidate in candidates {
            if matches!(self.outcomes[candidate], Some(Outcome::Eliminated { .. })) {
                self.outcomes[candidate] = None;
            }
        }
    }

    /// Drops the samples of earlier stages: only samples of the same rounds may be compared.
    fn forget(&mut self, candidates: &[Index]) {
        for &candidate in candidates {
            self.samples[candidate].clear();
        }
    }

    /// Races `entered` for some rounds and returns those that are left by [`Search::drop_behind`], in their order. Every
    /// second round runs backwards, so that nobody always follows the same neighbour. When the time is up the race
    /// ends where it is; who had no turn in this stage leaves without a result.
    fn race(&mut self, stage: &Stage, entered: Vec<Index>, rounds: usize, bar: f64) -> Vec<Index> {
        // One that is alone needs no race, but its time is wanted all the same.
        let is_timed = |&candidate: &Index| !self.samples[candidate].is_empty();
        if entered.len() < 2 && entered.iter().all(is_timed) {
            return entered;
        }
        self.bench.enter(&entered);
        let turns = (0..rounds * entered.len()).map(|turn| {
            let (round, position) = (turn / entered.len(), turn % entered.len());
            entered[if round % 2 == 0 {
                position
            } else {
                entered.len() - 1 - position
            }]
        });
        let taken: usize = entered.iter().map(|&c| self.samples[c].len()).sum();
        for (turn, candidate) in turns.enumerate() {
            if taken + turn >= stage.turns_min && self.is_late(stage) {
                break;
            }
            let sample = self.bench.sample(candidate);
            self.samples[candidate].push(sample);
        }
        self.drop_behind(stage, entered, bar)
    }

    /// Those of `entered` that have samples and are not behind the leader by more than `bar` and the noise, in their order.
    fn drop_behind(&mut self, stage: &Stage, entered: Vec<Index>, bar: f64) -> Vec<Index> {
        let Some(leader) = self.leader(&entered) else {
            return entered;
        };
        entered
            .into_iter()
            .filter(|&candidate| {
                let Some(ratio) = self.ratio(candidate, leader) else {
                    return false;
                };
                let is_behind =
                    ratio.median > bar && ratio.median - 1.0 > ERRORS_OUT * ratio.error();
                if is_behind {
                    self.outcomes[candidate] = Some(Outcome::Eliminated {
                        stage: stage.name,
                        ratio: ratio.median,
                    });
                }
                !is_behind
            })
            .collect()
    }

    /// The second stage: bar after bar, then rounds at the last bar until all that are left are known, or time is up.
    fn race_tiles(&mut self, stage: &Stage, mut left: Vec<Index>) -> Vec<Index> {
        for bar in self.rules.tile_bars {
            left = self.race(stage, left, self.rules.tile_rounds, *bar);
        }
        let bar = self
            .rules
            .tile_bars
            .last()
            .copied()
            .unwrap_or(1.0 + TIE_BAND);
        while left.len() > 1 && !self.is_late(stage) && !self.is_known(&left) {
            // Judging costs more the more samples there are, so the rounds between two judgements grow with them.
            let rounds = self.rules.tile_rounds + self.samples[left[0]].len() / 4;
            left = self.race(stage, left, rounds, bar);
        }
        left
    }

    /// Whether more rounds would hardly change the order of `left`.
    fn is_known(&self, left: &[Index]) -> bool {
        let Some(leader) = self.leader(left) else {
            return true;
        };
        left.iter().filter(|&&c| c != leader).all(|&c| {
            self.ratio(c, leader)
                .is_none_or(|ratio| ratio.error() <= ERROR_KNOWN)
        })
    }

    fn is_late(&self, stage: &Stage) -> bool {
        self.bench.elapsed() >= stage.deadline || self.bench.cancelled()
    }

    /// The one with the smallest median; `None` if nobody has samples.
    fn leader(&self, candidates: &[Index]) -> Option<Index> {
        let timed = candidates.iter().filter(|&&c| !self.samples[c].is_empty());
        timed
            .copied()
            .min_by(|&a, &b| self.median(a).total_cmp(&self.median(b)).then(a.cmp(&b)))
    }

    /// Median and scatter of a candidate's time over the leader's within each round.
    fn ratio(&self, candidate: Index, leader: Index) -> Option<Spread> {
        Spread::ratio(&self.samples[candidate], &self.samples[leader])
    }

    /// The `most` fastest of `left`, in their order.
    fn best(&mut self, stage: &Stage, left: Vec<Index>, most: usize) -> Vec<Index> {
        let mut by_median = left.clone();
        by_median.sort_by(|&a, &b| self.median(a).total_cmp(&self.median(b)).then(a.cmp(&b)));
        let out = by_median.split_off(most.min(by_median.len()));
        for &candidate in &out {
            let ratio = self.median(candidate) / self.median(by_median[0]);
            self.outcomes[candidate] = Some(Outcome::Eliminated {
                stage: stage.name,
                ratio,
            });
        }
        left.into_iter()
            .filter(|candidate| !out.contains(candidate))
            .collect()
    }

    fn median(&self, candidate: Index) -> f64 {
        Spread::of(self.samples[candidate].clone()).map_or(f64::INFINITY, |spread| spread.median)
    }

    /// Runs the last two off and writes the rows.
    fn finish(
        mut self,
        left: &[Index],
        stage: &'static str,
        notify: &mut dyn FnMut(&'static str, usize),
    ) -> Ranking {
        let Some((incumbent, challenger)) = self.finalists(left) else {
            let raced =
                |outcome: &Option<Outcome>| matches!(outcome, Some(Outcome::Eliminated { .. }));
            let decision = match self.outcomes.iter().any(raced) {
                true if self.has_time() => Decision::Clear,
                true => Decision::Interrupted,
                false => Decision::OnlyOne,
            };
            return self.ranking(left.first().copied(), None, decision);
        };
        let best = left
            .iter()
            .map(|&c| self.median(c))
            .fold(f64::INFINITY, f64::min);
        for &candidate in left.iter().filter(|&&c| c != incumbent && c != challenger) {
            let ratio = self.median(candidate) / best;
            self.outcomes[candidate] = Some(Outcome::Eliminated { stage, ratio });
        }
        if !self.has_time() {
            return self.interrupted(incumbent, challenger);
        }
        notify("run-off", 2);
        self.bench.enter(&[incumbent, challenger]);
        let (rounds, budget) = (self.rules.pairs, self.rules.budget);
        let pairs = run_off(self.bench, incumbent, challenger, rounds, budget);
        let verdict = pairs.verdict();
        (self.samples[incumbent], self.samples[challenger]) = (pairs.a, pairs.b);
        match verdict {
            None => self.interrupted(incumbent, challenger),
            Some(Verdict::Second) => {
                self.ranking(Some(challenger), Some(incumbent), Decision::Margin)
            }
            Some(Verdict::First) => {
                self.ranking(Some(incumbent), Some(challenger), Decision::Margin)
            }
            Some(Verdict::Tie) => {
                self.ranking(Some(incumbent), Some(challenger), Decision::TieRule)
            }
        }
    }

    /// The result when the time is up: the one with the better median leads.
    fn interrupted(self, incumbent: Index, challenger: Index) -> Ranking {
        let (winner, other) = match self.median(challenger) < self.median(incumbent) {
            true => (challenger, incumbent),
            false => (incumbent, challenger),
        };
        self.ranking(Some(winner), Some(other), Decision::Interrupted)
    }

    /// The last two: the leader, and the first in order of those close to it (or else the second fastest). The first
    /// of the pair is the one that wins a tie.
    fn finalists(&self, left: &[Index]) -> Option<(Index, Index)> {
        let mut by_median: Vec<Index> = left.to_vec();
        by_median.sort_by(|&a, &b| self.median(a).total_cmp(&self.median(b)).then(a.cmp(&b)));
        let (&leader, rest) = by_median.split_first()?;
        let &second = rest.first()?;
        let preferred = left
            .iter()
            .copied()
            .filter(|&c| self.is_close(c, leader))
            .min();
        let other = preferred.filter(|&c| c != leader).unwrap_or(second);
        Some((leader.min(other), leader.max(other)))
    }

    /// Whether a candidate is within the tie band, or within the noise, of the leader.
    fn is_close(&self, candidate: Index, leader: Index) -> bool {
        self.ratio(candidate, leader)
            .is_some_and(|ratio| ratio.median - 1.0 <= TIE_BAND.max(ERRORS_MIN * ratio.error()))
    }

    fn ranking(
        self,
        winner: Option<Index>,
        runner_up: Option<Index>,
        decision: Decision,
    ) -> Ranking {
        let rows = self.samples.into_iter().zip(self.outcomes).enumerate();
        let rows = rows.map(|(candidate, (samples, outcome))| {
            let outcome = match outcome {
                _ if winner == Some(candidate) => Outcome::Won,
                _ if runner_up == Some(candidate) => Outcome::RunnerUp,
                outcome => outcome.unwrap_or(Outcome::NotRun),
            };
            Row {
                spread: Spread::of(samples),
                outcome,
            }
        });
        Ranking {
            rows: rows.collect(),
            winner,
            decision,
        }
    }
}

/// What a run-off says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    First,
    Second,
    Tie,
}

/// Samples of two candidates, taken in pairs.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    pub a: Vec<f64>,
    pub b: Vec<f64>,
}

impl Pairs {
    /// Median and scatter of b / a.
    pub(crate) fn ratio(&self) -> Option<Spread> {
        Spread::ratio(&self.b, &self.a)
    }

    /// Which of the two is faster by more than the noise and by a gain that is worth a change; `None` if there are
    /// too few pairs to tell.
    fn verdict(&self) -> Option<Verdict> {
        let ratio = self
            .ratio()
            .filter(|ratio| ratio.samples.len() >= PAIRS_FOR_VERDICT)?;
        let bar = GAIN_MIN.max(ERRORS_MIN * ratio.error());
        Some(if 1.0 - ratio.median > bar {
            Verdict::Second
        } else if ratio.median - 1.0 > bar {
            Verdict::First
        } else {
            Verdict::Tie
        })
    }

    /// Whether more pairs would hardly change the verdict: the difference is several errors away from the bar.
    fn is_clear(&self) -> bool {
        self.a.len() >= PAIRS_MIN
            && self.ratio().is_some_and(|ratio| {
                let distance = ((1.0 - ratio.median).abs() - GAIN_MIN).abs();
                distance > 2.0 * ERRORS_MIN * ratio.error()
            })
    }
}

/// Times `a` and `b` in pairs, the order swapped in every second pair, until `pairs` are taken, the verdict is clear,
/// or the bench's clock passes `deadline` (one pair is always taken).
pub(crate) fn run_off(
    bench: &mut dyn Bench,
    a: Index,
    b: Index,
    pairs: usize,
    deadline: Duration,
) -> Pairs {
    let mut result = Pairs::default();
    for pair in 0..pairs.max(1) {
        let (us_a, us_b) = if pair % 2 == 0 {
            let us_a = bench.sample(a);
            (us_a, bench.sample(b))
        } else {
            let us_b = bench.sample(b);
            (bench.sample(a), us_b)
        };
        result.a.push(us_a);
        result.b.push(us_b);
        if result.is_clear() || bench.elapsed() >= deadline || bench.cancelled() {
            break;
        }
    }
    result
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
