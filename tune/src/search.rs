//! The search for the fastest candidate, apart from what a candidate is and how it is timed.
//!
//! Each stage is a race in interleaved rounds, so that a drift of the machine's speed meets all candidates alike, and
//! each gives the next one few to go on with, so that the rounds are short and many:
//!
//! 1. `kernels`: every kernel with two tiles, the default and the one without prefetch. Slow ones leave as soon as they are clearly
//!    slow, the best few go on.
//! 2. `tiles`: their other prefetch distances.
//! 3. `variations`: the best tiles with other orders of the walk and ways of having tables. All at once would be hundreds of tiles.
//! 4. the run-off of the last few, see `finals.rs`.
//!
//! Kernels of different kinds are not told apart by the races alone: one that is bound by memory and one that is bound by
//! instructions trade places with what the machine's neighbours do, for longer than a race lasts. So the best of each kind stays, if
//! it is not far behind, and comes to the run-off.
//!
//! Each stage has a bar that tightens from round to round, and goes on until the rest are known well enough or
//! the time is up: a machine whose samples scatter by a tenth needs hundreds of rounds to tell candidates apart that differ
//! by a hundredth.
//!
//! A candidate leaves a race by its ratio to the leader within each round, and only if that is beyond the bar and beyond
//! the noise: who had bad luck in a few samples stays for more of them.
//!
//! The tie rule makes the result reproducible: candidates come in a fixed order (the default plan's choice first),
//! and a later finalist wins only if it is faster by more than 0.8 %, and by more than the noise or 1 %.
//!
//! Ideas: interleaved elimination from CubeCL's autotuner, the paired run-off from cutile's `tune`, checking before
//! timing and failed candidates as rows from Kernel Tuner, "most expensive first" (see `tune.rs`) from FFTW's wisdom.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tern_kernels::Rigor;

use crate::bench::{Bench, Index, in_round};
use crate::finals::{ERRORS_MIN, Finals, GAIN_MIN, rounds_in_block, run_off};
use crate::spread::Spread;

/// The tiles of one kernel.
#[derive(Clone, Debug)]
pub(crate) struct Tiles {
    /// Those that differ only in prefetching, the default first, then the one without prefetch.
    pub plain: Vec<Index>,
    /// For each plain tile those that are alike in prefetching and differ from it in something else.
    pub variations: Vec<Vec<Index>>,
    /// Kernels of one kind depend on the same limits of the machine.
    pub kind: usize,
}

impl Tiles {
    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = Index> {
        self.plain
            .iter()
            .chain(self.variations.iter().flatten())
            .copied()
    }
}

/// How long and how strictly to race.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// The races end soon after this.
    pub budget: Duration,
    /// Bars of each stage, each after `rounds` more rounds: beyond that multiple of the leader a candidate leaves, if it is
    /// beyond the noise too. The bars of the first stage are generous, because a kernel's best tile can be much faster than its
    /// first ones; the last bars of the others stay.
    pub kernel_bars: &'static [f64],
    pub tile_bars: &'static [f64],
    pub variation_bars: &'static [f64],
    /// Rounds before each bar.
    pub rounds: usize,
    /// Kernels that go on from the first stage, at most.
    pub kernels_max: usize,
    /// Tiles of the second stage whose variations are tried, at most; 0 leaves that stage out.
    pub tiles_max: usize,
    /// Candidates in a run-off, at most.
    pub finalists_max: usize,
}

impl Rules {
    pub(crate) fn new(rigor: Rigor, budget: Duration) -> Rules {
        let patient = Rules {
            budget,
            kernel_bars: &[1.3, 1.2, 1.15],
            tile_bars: &[1.3, 1.15, 1.08],
            variation_bars: &[1.08, 1.05],
            rounds: 5,
            kernels_max: 6,
            tiles_max: 4,
            finalists_max: 8,
        };
        match rigor {
            Rigor::Estimate | Rigor::Measure => Rules {
                kernels_max: 5,
                tiles_max: 0,
                finalists_max: 4,
                ..patient
            },
            Rigor::Patient => patient,
            Rigor::Exhaustive => Rules {
                kernel_bars: &[2.0, 1.6, 1.4],
                tile_bars: &[1.6, 1.4, 1.25],
                variation_bars: &[1.3, 1.2],
                kernels_max: usize::MAX,
                tiles_max: 16,
                ..patient
            },
        }
    }
}

/// The part of a search's time that is for its run-off, where that follows at once.
const RUN_OFF_SHARE: f64 = 0.25;

/// When the first two stages end, as a part of the budget.
const KERNELS_END: f64 = 0.35;
const TILES_END: f64 = 0.7;

/// When a stage takes no more candidates, as a part of its time: the rest is for racing them.
const ADMISSION: f64 = 0.7;

/// Tiles of each kernel in the first stage. Whether a CPU's own prefetchers hide the latency of memory or need help differs
/// between CPUs by more than kernels do, so one tile alone would judge the prefetch, not the kernel.
const FIRST_TILES: usize = 2;

/// Candidates within this much of the leader are close enough to be preferred for their order; the run-off decides.
const TIE_BAND: f64 = 0.02;

/// Standard errors behind the leader at which a candidate leaves a race. More than make a difference, since many candidates are
/// judged again and again, and the fastest must survive each of them.
const ERRORS_OUT: f64 = 3.0;

/// The best of its kind stays up to this multiple of the leader.
const KIND_BAR: f64 = 1.15;

/// Known to this standard error, a candidate needs no more rounds: its place among those within [`TIE_BAND`] is clear.
const ERROR_KNOWN: f64 = GAIN_MIN / 4.0;

/// A step of the search in which a candidate may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Kernels that cannot win, found in cache (see `screen.rs`).
    Screening,
    /// All kernels with few tiles.
    Kernels,
    /// The best kernels' other prefetch distances.
    Tiles,
    /// The best tiles' other orders and tables.
    Variations,
    /// The last few.
    RunOff,
}

impl Stage {
    /// Its name in logs and progress.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Screening => "screening",
            Stage::Kernels => "kernels",
            Stage::Tiles => "tiles",
            Stage::Variations => "variations",
            Stage::RunOff => "run-off",
        }
    }
}

/// Who hears of the stages of a race.
pub(crate) trait Observer {
    /// A stage begins with so many candidates.
    fn begins(&mut self, stage: Stage, candidates: usize);
    /// A candidate is not exact or could not be set up.
    fn refused(&mut self, stage: Stage, candidate: Index, reason: &str);
    /// A stage is over in which `candidates` took part; `samples` has a list for every candidate there is.
    fn ended(&mut self, stage: Stage, candidates: &[Index], samples: &[Vec<f64>]);
}

/// Nobody.
impl Observer for () {
    fn begins(&mut self, _: Stage, _: usize) {}
    fn refused(&mut self, _: Stage, _: Index, _: &str) {}
    fn ended(&mut self, _: Stage, _: &[Index], _: &[Vec<f64>]) {}
}

/// Why the winner won.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// There was no other valid candidate.
    OnlyOne,
    /// All others were clearly slower in the races, so that no run-off was needed.
    Clear,
    /// It won the run-off by more than the noise.
    Margin,
    /// It was as fast as others within the noise: the fastest by a little, or first in the default order.
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
            Decision::TieRule => "a tie within the noise",
            Decision::Interrupted => "led when the time was up",
        })
    }
}

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The winner.
    Won,
    /// The fastest of the other finalists, at this multiple of the winner by rounds in which both took part.
    RunnerUp {
        /// Below one where it was as fast within the noise, and the winner comes first in order.
        ratio: f64,
    },
    /// Lost in a race, at this multiple of that race's best median.
    Eliminated {
        /// The race.
        stage: Stage,
        /// Its median over the leader's.
        ratio: f64,
    },
    /// Not exact, or could not be set up: never chosen. The reason.
    Invalid(String),
    /// Not measured: its kernel was too slow with its first tiles, its tile in the order of memory, or the time was up.
    NotRun,
}

impl Outcome {
    /// Sorts rows for people: who went further comes first, whatever the times of earlier stages were.
    pub(crate) fn order(&self) -> (u8, f64) {
        match self {
            Outcome::Won => (0, 0.0),
            Outcome::RunnerUp { .. } => (1, 0.0),
            Outcome::Eliminated { stage, ratio } => match *stage {
                Stage::RunOff => (2, *ratio),
                Stage::Variations => (3, *ratio),
                Stage::Tiles => (4, *ratio),
                Stage::Kernels => (5, *ratio),
                Stage::Screening => (6, *ratio),
            },
            Outcome::Invalid(_) => (7, 0.0),
            Outcome::NotRun => (8, 0.0),
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Won => write!(f, "won"),
            Outcome::RunnerUp { ratio } => write!(f, "runner-up, {ratio:.3}x"),
            Outcome::Eliminated { stage, ratio } => write!(f, "{ratio:.2}x in `{}`", stage.name()),
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

/// Races all candidates until few are left. `kernels` come in order of preference.
pub(crate) fn race(
    bench: &mut dyn Bench,
    kernels: &[Tiles],
    rules: &Rules,
    observer: &mut dyn Observer,
) -> Raced {
    let mut search = Search::new(bench, kernels, rules);
    let first = |tiles: &Tiles| tiles.plain[..tiles.plain.len().min(FIRST_TILES)].to_vec();
    let field = in_turn(kernels.iter().map(first));
    let mut stage = Limits {
        stage: Stage::Kernels,
        bars: rules.kernel_bars,
        deadline: rules.budget.mul_f64(KERNELS_END),
        turns_min: field.len(),
    };
    observer.begins(stage.stage, kernels.len());
    let mut left = search.run(&stage, &field, observer);

    // A kernel goes on with all its tiles, those that lost the first race too: that race was short.
    let survivors = search.best_kernels(&stage, kernels, &left);
    left.retain(|&candidate| search.outcomes[candidate].is_none());
    let field = in_turn(survivors.iter().map(|tiles| tiles.plain.clone()));
    if field.len() > survivors.len() && search.has_time() {
        search.readmit(&field);
        let end = if rules.tiles_max == 0 { 1.0 } else { TILES_END };
        stage = Limits {
            stage: Stage::Tiles,
            bars: rules.tile_bars,
            deadline: rules.budget.mul_f64(end),
            turns_min: left.len(),
        };
        observer.begins(stage.stage, field.len());
        left = search.run(&stage, &field, observer);

        let best = search.fastest(&left, rules.tiles_max);
        let variations = survivors.iter().flat_map(|tiles| {
            let plain = tiles.plain.iter().zip(&tiles.variations);
            plain.filter(|(tile, _)| best.contains(tile))
        });
        // The best tiles so far come first: at the least they are compared again.
        let mut field = left.clone();
        field.extend(in_turn(
            variations.map(|(_, variations)| variations.clone()),
        ));
        if field.len() > left.len() && search.has_time() {
            stage = Limits {
                stage: Stage::Variations,
                bars: rules.variation_bars,
                deadline: rules.budget,
                turns_min: left.len(),
            };
            observer.begins(stage.stage, field.len());
            left = search.run(&stage, &field, observer);
        }
    }
    search.finish(&left, stage.stage)
}

/// Races all candidates and runs the last few off, all within `budget`.
pub(crate) fn search(bench: &mut dyn Bench, kernels: &[Tiles], budget: Duration) -> Ranking {
    let rules = Rules::new(Rigor::Patient, budget.mul_f64(1.0 - RUN_OFF_SHARE));
    let raced = race(bench, kernels, &rules, &mut ());
    let finals = run_off(
        bench,
        &raced.finalists,
        rounds_in_block(Rigor::Patient),
        budget,
    );
    raced.decide(finals)
}

/// The first of each list, then the second of each, and so on: neighbours in a round are then of different kernels,
/// whose weights are in different packings, and a round goes through more bytes before it comes back to the same.
fn in_turn(lists: impl Iterator<Item = Vec<Index>>) -> Vec<Index> {
    let lists: Vec<Vec<Index>> = lists.collect();
    let longest = lists.iter().map(|list| list.len()).max().unwrap_or(0);
    (0..longest)
        .flat_map(|i| lists.iter().filter_map(move |list| list.get(i)))
        .copied()
        .collect()
}

/// A race's stage and limits.
struct Limits {
    stage: Stage,
    bars: &'static [f64],
    deadline: Duration,
    /// Samples that are taken even after the deadline.
    turns_min: usize,
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
    kinds: Vec<usize>,
    /// Whether some candidate was left out for want of time.
    is_cut_short: bool,
}

impl<'a> Search<'a> {
    fn new(bench: &'a mut dyn Bench, kernels: &[Tiles], rules: &'a Rules) -> Search<'a> {
        let last = kernels.iter().flat_map(Tiles::all).max();
        let candidates = last.map_or(0, |last| last + 1);
        let mut kinds = vec![0; candidates];
        for tiles in kernels {
            tiles.all().for_each(|index| kinds[index] = tiles.kind);
        }
        Search {
            kinds,
            bench,
            rules,
            samples: vec![Vec::new(); candidates],
            outcomes: vec![None; candidates],
            admitted: vec![false; candidates],
            is_cut_short: false,
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
                    self.is_cut_short = true;
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

    /// Runs a whole stage. Returns those that are left.
    fn run(&mut self, stage: &Limits, field: &[Index], observer: &mut dyn Observer) -> Vec<Index> {
        let (entered, left) = self.race_new(stage, field);
        let left = self.race_on(stage, left);
        for &candidate in field {
            if let Some(Outcome::Invalid(reason)) = &self.outcomes[candidate] {
                observer.refused(stage.stage, candidate, reason);
            }
        }
        observer.ended(stage.stage, &entered, &self.samples);
        left
    }

    /// Begins a stage: makes its candidates ready and races them, bar after bar. Returns those that entered, and those that are left.
    fn race_new(&mut self, stage: &Limits, field: &[Index]) -> (Vec<Index>, Vec<Index>) {
        let started = self.bench.elapsed();
        let time = stage.deadline.saturating_sub(started);
        let entered = self.admit(field, started + time.mul_f64(ADMISSION));
        // Only samples of the same rounds may be compared.
        for &candidate in &entered {
            self.samples[candidate].clear();
        }
        let mut left = entered.clone();
        let stage = &Limits {
            turns_min: stage.turns_min.min(left.len()),
            ..*stage
        };
        for &bar in stage.bars {
            left = self.race(stage, left, self.rules.rounds, bar);
        }
        (entered, left)
    }

    /// Goes on at the stage's last bar until all that are left are known, or time is up.
    fn race_on(&mut self, stage: &Limits, mut left: Vec<Index>) -> Vec<Index> {
        let bar = stage.bars.last().copied().unwrap_or(1.0 + TIE_BAND);
        while left.len() > 1 && !self.is_late(stage) && !self.is_known(&left) {
            // Judging costs more the more samples there are, so the rounds between two judgements grow with them.
            let rounds = self.rules.rounds + self.samples[left[0]].len() / 4;
            left = self.race(stage, left, rounds, bar);
        }
        left
    }

    /// Races `entered` for some rounds and returns those that are left by [`Search::drop_behind`], in their order. When the
    /// time is up the race ends where it is; who had no turn in this stage leaves without a result.
    fn race(&mut self, stage: &Limits, entered: Vec<Index>, rounds: usize, bar: f64) -> Vec<Index> {
        // One that is alone needs no race, but its time is wanted all the same.
        let is_timed = |&candidate: &Index| !self.samples[candidate].is_empty();
        if entered.iter().all(is_timed) && (entered.len() < 2 || self.is_late(stage)) {
            return self.drop_behind(stage, entered, bar);
        }
        self.bench.enter(&entered);
        let turns = (0..rounds).flat_map(|round| in_round(round, entered.len()));
        let taken: usize = entered.iter().map(|&c| self.samples[c].len()).sum();
        for (turn, position) in turns.enumerate() {
            if taken + turn >= stage.turns_min && self.is_late(stage) {
                break;
            }
            let candidate = entered[position];
            let sample = self.bench.sample(candidate);
            self.samples[candidate].push(sample);
        }
        self.drop_behind(stage, entered, bar)
    }

    /// Those of `entered` that have samples and are not behind the leader by more than `bar` (the best of each kind: by more than
    /// [`KIND_BAR`]) and the noise, in their order.
    fn drop_behind(&mut self, stage: &Limits, entered: Vec<Index>, bar: f64) -> Vec<Index> {
        let Some(leader) = self.leader(&entered) else {
            return entered;
        };
        let best_of_kinds = self.best_of_kinds(&entered);
        entered
            .into_iter()
            .filter(|&candidate| {
                let Some(ratio) = self.ratio(candidate, leader) else {
                    return false;
                };
                let bar = match best_of_kinds.contains(&candidate) {
                    true => bar.max(KIND_BAR),
                    false => bar,
                };
                let is_behind =
                    ratio.median > bar && ratio.median - 1.0 > ERRORS_OUT * ratio.error();
                if is_behind {
                    self.outcomes[candidate] = Some(Outcome::Eliminated {
                        stage: stage.stage,
                        ratio: ratio.median,
                    });
                }
                !is_behind
            })
            .collect()
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

    fn is_late(&self, stage: &Limits) -> bool {
        self.bench.elapsed() >= stage.deadline || self.bench.cancelled()
    }

    /// The one with the smallest median; `None` if nobody has samples.
    fn leader(&self, candidates: &[Index]) -> Option<Index> {
        let mut timed = candidates.to_vec();
        timed.retain(|&candidate| !self.samples[candidate].is_empty());
        self.fastest(&timed, 1).first().copied()
    }

    /// Median and scatter of a candidate's time over the leader's within each round.
    fn ratio(&self, candidate: Index, leader: Index) -> Option<Spread> {
        Spread::ratio(&self.samples[candidate], &self.samples[leader])
    }

    /// The `most` fastest of `left`, the fastest first.
    fn fastest(&self, left: &[Index], most: usize) -> Vec<Index> {
        let mut by_median: Vec<(f64, Index)> = left.iter().map(|&c| (self.median(c), c)).collect();
        by_median.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let fastest = by_median.into_iter().take(most);
        fastest.map(|(_, candidate)| candidate).collect()
    }

    /// The kernels of the best of each kind and of the fastest of `left`, in their order. The tiles of the others are out.
    fn best_kernels<'k>(
        &mut self,
        stage: &Limits,
        kernels: &'k [Tiles],
        left: &[Index],
    ) -> Vec<&'k Tiles> {
        let mut best: Vec<&Tiles> = Vec::new();
        let mut by_merit = self.best_of_kinds(left);
        by_merit.extend(self.fastest(left, left.len()));
        for candidate in by_merit {
            let has_it = |tiles: &&Tiles| tiles.plain.contains(&candidate);
            if best.iter().any(has_it) {
                continue;
            }
            if best.len() < self.rules.kernels_max {
                best.extend(kernels.iter().find(has_it));
            } else {
                let ratio = self
                    .leader(left)
                    .and_then(|leader| self.ratio(candidate, leader));
                let ratio = ratio.map_or(f64::INFINITY, |ratio| ratio.median);
                let stage = stage.stage;
                self.outcomes[candidate] = Some(Outcome::Eliminated { stage, ratio });
            }
        }
        best.sort_by_key(|tiles| tiles.plain.first().copied());
        best
    }

    fn median(&self, candidate: Index) -> f64 {
        Spread::of(self.samples[candidate].clone()).map_or(f64::INFINITY, |spread| spread.median)
    }

    /// The fastest of each kind.
    fn best_of_kinds(&self, candidates: &[Index]) -> Vec<Index> {
        let mut best: Vec<Index> = Vec::new();
        for candidate in self.fastest(candidates, candidates.len()) {
            let kind = self.kinds[candidate];
            if best.iter().all(|&other| self.kinds[other] != kind) {
                best.push(candidate);
            }
        }
        best
    }

    /// Names the finalists.
    fn finish(mut self, left: &[Index], stage: Stage) -> Raced {
        let finalists = self.finalists(left);
        let leader = self.leader(left);
        let out = |c: &Index| match finalists.is_empty() {
            true => Some(*c) != leader,
            false => !finalists.contains(c),
        };
        let out: Vec<Index> = left.iter().copied().filter(out).collect();
        for candidate in out {
            let ratio = leader.and_then(|leader| self.ratio(candidate, leader));
            let ratio = ratio.map_or(f64::INFINITY, |ratio| ratio.median);
            self.outcomes[candidate] = Some(Outcome::Eliminated { stage, ratio });
        }
        Raced {
            is_cut_short: self.is_cut_short || !self.has_time(),
            left_out: self.is_cut_short,
            samples: self.samples,
            outcomes: self.outcomes,
            finalists,
            stage,
            leader: leader.or(left.first().copied()),
        }
    }

    /// The leader, the first in order of those close to it (or else the second fastest), the best of other kinds, the fastest of
    /// the rest, and the first candidate, in order of preference; none if only one is left.
    fn finalists(&self, left: &[Index]) -> Vec<Index> {
        let most = self.rules.finalists_max;
        let &[leader, second] = &self.fastest(left, 2)[..] else {
            return Vec::new();
        };
        let close = left.iter().copied().filter(|&c| self.is_close(c, leader));
        let other = close.min().filter(|&c| c != leader).unwrap_or(second);
        let mut finalists = vec![leader, other];
        let mut by_merit = self.best_of_kinds(left);
        by_merit.extend(self.fastest(left, left.len()));
        for candidate in by_merit {
            if finalists.len() < most && !finalists.contains(&candidate) {
                finalists.push(candidate);
            }
        }
        // What is chosen without tuning, the first candidate, runs to the end, however unlucky it was, unless all others but one are clearly
        // slower than that one: a tuned choice is never to be worse than none.
        let default = 0;
        let is_valid = !matches!(self.outcomes[default], Some(Outcome::Invalid(_)));
        if self.admitted[default] && is_valid && !finalists.contains(&default) {
            finalists.push(default);
        }
        finalists.sort_unstable();
        finalists
    }

    /// Whether a candidate is within the tie band, or within the noise, of the leader.
    fn is_close(&self, candidate: Index, leader: Index) -> bool {
        self.ratio(candidate, leader)
            .is_some_and(|ratio| ratio.median - 1.0 <= TIE_BAND.max(ERRORS_MIN * ratio.error()))
    }
}

/// What the races leave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Raced {
    /// Samples of each candidate's last stage. A log has them elsewhere.
    #[serde(skip)]
    samples: Vec<Vec<f64>>,
    outcomes: Vec<Option<Outcome>>,
    /// Those for the run-off, in order of preference; none if fewer than two are left.
    pub finalists: Vec<Index>,
    /// The last race.
    stage: Stage,
    leader: Option<Index>,
    /// Whether time did not suffice for all, or the user stopped.
    is_cut_short: bool,
    /// Whether candidates were left out for want of time.
    left_out: bool,
}

impl Raced {
    /// The same with the samples that a log has; `None` if they do not belong together.
    pub(crate) fn with_samples(self, samples: Vec<Vec<f64>>) -> Option<Raced> {
        let count = samples.len();
        let mut named = self.finalists.iter().chain(&self.leader);
        let fits = self.outcomes.len() == count && named.all(|&index| index < count);
        let has_leader = self.leader.is_some() || self.finalists.len() > 1;
        (fits && has_leader).then_some(Raced { samples, ..self })
    }

    /// The rigor that was reached: less than what was wanted where candidates were left out.
    pub(crate) fn reached(&self, wanted: Rigor) -> Rigor {
        match (self.left_out, wanted) {
            (true, Rigor::Exhaustive) => Rigor::Patient,
            (true, Rigor::Patient) => Rigor::Measure,
            (_, rigor) => rigor,
        }
    }

    /// Whether a candidate has samples.
    pub(crate) fn was_timed(&self, candidate: Index) -> bool {
        !self.samples[candidate].is_empty()
    }

    /// Whether some candidate lost a race.
    fn had_rivals(&self) -> bool {
        let lost = |outcome: &Option<Outcome>| matches!(outcome, Some(Outcome::Eliminated { .. }));
        self.outcomes.iter().any(lost)
    }

    /// Why a candidate was refused, if one was.
    pub(crate) fn first_refusal(&self) -> Option<String> {
        self.outcomes.iter().find_map(|outcome| match outcome {
            Some(Outcome::Invalid(reason)) => Some(reason.clone()),
            _ => None,
        })
    }

    /// Those that may still win.
    pub(crate) fn last(&self) -> Vec<Index> {
        match self.finalists.is_empty() {
            true => self.leader.into_iter().collect(),
            false => self.finalists.clone(),
        }
    }

    /// The result, with the samples of the finalists.
    pub(crate) fn decide(mut self, finals: Finals) -> Ranking {
        if self.finalists.is_empty() {
            let decision = match (self.had_rivals(), self.is_cut_short) {
                (_, true) => Decision::Interrupted,
                (false, false) => Decision::OnlyOne,
                (true, false) => Decision::Clear,
            };
            let leader = self.leader;
            return self.ranking(leader, decision);
        }
        let Some(verdict) = finals.verdict() else {
            // Too few rounds, or none: the races decide.
            let leader = self.leader.unwrap_or(self.finalists[0]);
            let ratio = |c: Index| Spread::ratio(&self.samples[c], &self.samples[leader]);
            let ratios = self.finalists.iter().map(|&c| {
                let ratio = ratio(c).map_or(f64::INFINITY, |ratio| ratio.median);
                (c, ratio)
            });
            let ratios: Vec<(Index, f64)> = ratios.filter(|(c, _)| *c != leader).collect();
            let (runner_up, stage) = (lowest(&ratios), self.stage);
            return self.ranked(leader, runner_up, &ratios, stage, Decision::Interrupted);
        };
        let ratio = |position| {
            let ratio = finals.ratio_of_all(position, verdict.winner);
            ratio.map_or(f64::INFINITY, |ratio| ratio.median)
        };
        let positions = (0..self.finalists.len()).filter(|&position| position != verdict.winner);
        let ratios: Vec<(Index, f64)> = positions
            .map(|position| (self.finalists[position], ratio(position)))
            .collect();
        let winner = self.finalists[verdict.winner];
        // Who stayed to the end comes before those that left early, whose few rounds say less.
        let mut stayed = ratios.clone();
        stayed.retain(|(candidate, _)| {
            let mut left = finals.left().iter();
            left.any(|&position| self.finalists[position] == *candidate)
        });
        let runner_up = lowest(&stayed).or(lowest(&ratios));
        for (&candidate, samples) in self.finalists.iter().zip(finals.samples) {
            self.samples[candidate] = samples;
        }
        let decision = match verdict.is_clear {
            true => Decision::Margin,
            false => Decision::TieRule,
        };
        self.ranked(winner, runner_up, &ratios, Stage::RunOff, decision)
    }

    /// The result, from the times of the other finalists over the winner's in `stage`.
    fn ranked(
        mut self,
        winner: Index,
        runner_up: Option<Index>,
        ratios: &[(Index, f64)],
        stage: Stage,
        decision: Decision,
    ) -> Ranking {
        for &(candidate, ratio) in ratios {
            self.outcomes[candidate] = Some(match Some(candidate) == runner_up {
                true => Outcome::RunnerUp { ratio },
                false => Outcome::Eliminated { stage, ratio },
            });
        }
        self.ranking(Some(winner), decision)
    }

    fn ranking(self, winner: Option<Index>, decision: Decision) -> Ranking {
        let rows = self.samples.into_iter().zip(self.outcomes).enumerate();
        let rows = rows.map(|(candidate, (samples, outcome))| {
            let outcome = match outcome {
                _ if winner == Some(candidate) => Outcome::Won,
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

/// The candidate with the lowest ratio.
fn lowest(ratios: &[(Index, f64)]) -> Option<Index> {
    let lowest = ratios.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    lowest.map(|(candidate, _)| *candidate)
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
