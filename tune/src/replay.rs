//! Search strategies compared without a machine: on the trials of a log, above all of an exhaustive tuning.
//!
//! A replay draws a candidate's recorded samples in their order, again from the first when there are no more, and its clock advances by the
//! time that they took. What stages saw at different times is put on one scale first, by the candidates that took part in both. A
//! strategy is judged by the time of its picks over that of the best, as the whole log knows them, for all products of a token.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tern_kernels::{Cpu, Kernel, Rigor, Shape, Tile};

use crate::bench::{Bench, Index, Residence, in_round};
use crate::candidates::Field;
use crate::finals::{Finals, rounds_in_block, run_off};
use crate::log::{CandidateSamples, LogError, Record, Run, runs};
use crate::random::Random;
use crate::search::{Rules, Stage, race};
use crate::spread::Spread;

/// The part of a strategy's time that is for its run-off, as in a tuning.
const RUN_OFF_SHARE: f64 = 0.45;

/// What admitting a candidate costs beside its samples (packing and checking), where the log does not say it.
const ADMISSION: Duration = Duration::from_millis(20);

/// A longer sample in microseconds is none of a product.
const SAMPLE_MAX: f64 = 1e9;

/// Samples of each candidate in a round of the simple strategies.
const SAMPLES: usize = 5;

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// What `tern tune --rigor measure` does.
    Measure,
    /// What `tern tune --rigor patient` does.
    Patient,
    /// What `tern tune --rigor exhaustive` does.
    Exhaustive,
    /// All candidates, the slower half leaves after each round (successive halving).
    Halving,
    /// Candidates drawn by chance, as many as the time allows.
    Random,
    /// What is chosen without timing anything.
    Estimate,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Strategy; 6] = [
        Strategy::Estimate,
        Strategy::Measure,
        Strategy::Patient,
        Strategy::Exhaustive,
        Strategy::Halving,
        Strategy::Random,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::Measure => "measure",
            Strategy::Patient => "patient",
            Strategy::Exhaustive => "exhaustive",
            Strategy::Halving => "halving",
            Strategy::Random => "random",
            Strategy::Estimate => "estimate",
        }
    }

    fn rigor(self) -> Option<Rigor> {
        match self {
            Strategy::Measure => Some(Rigor::Measure),
            Strategy::Patient => Some(Rigor::Patient),
            Strategy::Exhaustive => Some(Rigor::Exhaustive),
            Strategy::Halving | Strategy::Random | Strategy::Estimate => None,
        }
    }
}

impl std::str::FromStr for Strategy {
    type Err = String;

    fn from_str(name: &str) -> Result<Strategy, String> {
        let mut all = Strategy::ALL.into_iter();
        all.find(|strategy| strategy.name() == name).ok_or_else(|| {
            let names = Strategy::ALL.map(Strategy::name).join(", ");
            format!("`{name}` is no strategy; expected one of {names}")
        })
    }
}

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// It holds no trials that this program can use.
    #[error(
        "{path} has no trials of kernels that this program and this CPU have; log a tuning with `tern tune --rigor exhaustive --log FILE`"
    )]
    NoTrials {
        /// The log.
        path: String,
    },
}

/// A strategy's result on a log.
#[derive(Clone, Debug, Serialize)]
pub struct Replayed {
    /// The strategy.
    pub strategy: Strategy,
    /// The time of its picks over that of the best, over all products of a token, for each thread count.
    pub token: Vec<(usize, f64)>,
    /// The worst of its picks, as a ratio to the best of its shape.
    pub worst: f64,
    /// Samples that it took.
    pub samples: usize,
    /// Seconds that it took by the log's times, packing not counted but for [a little](self) for each candidate.
    pub seconds: f64,
    /// Its picks: shape and threads, kernel, tile, and their ratio to the best.
    pub picks: Vec<(String, String, Tile, f64)>,
}

/// All trials of one shape and thread count.
struct Recorded {
    shape: Shape,
    threads: usize,
    /// How often a token needs the product.
    count: usize,
    field: Field,
    /// For each candidate of the field its samples on one scale; none where it was not timed.
    samples: Vec<Vec<f64>>,
}

/// Replays the tuning of the log at `path` that had the most rigor, and of those the last, with each of `strategies`, within
/// `budget` of the log's time.
///
/// # Errors
/// See [`ReplayError`].
pub fn replay(
    path: &Path,
    cpu: &Cpu,
    strategies: &[Strategy],
    budget: impl Fn(Strategy) -> Duration,
) -> Result<Vec<Replayed>, ReplayError> {
    let runs = runs(path)?.into_iter();
    let run = runs.max_by_key(|run| (run.begin.task.rigor, run.has_ended));
    let recorded = run.map(|run| recorded(&run, cpu)).unwrap_or_default();
    if recorded.is_empty() {
        return Err(ReplayError::NoTrials {
            path: path.display().to_string(),
        });
    }
    let replayed = strategies.iter();
    Ok(replayed
        .map(|&strategy| run_strategy(cpu, strategy, &recorded, budget(strategy)))
        .collect())
}

/// The trials of a run by shape and thread count, those with the most samples' candidates on one scale.
fn recorded(run: &Run, cpu: &Cpu) -> Vec<Recorded> {
    let rigor = Rigor::Exhaustive;
    let mut all = Vec::new();
    for order in &run.begin.task.orders {
        let (rows, cols, threads) = (order.rows, order.cols, order.threads);
        let shape = Shape { rows, cols };
        let mut stages: Vec<(Stage, CandidateSamples)> = Vec::new();
        let mut add = |stage: Stage, candidate: (String, Tile), samples: &[f64]| {
            let is_time = |us: &&f64| **us > 0.0 && **us <= SAMPLE_MAX;
            let samples: Vec<f64> = samples.iter().filter(is_time).copied().collect();
            let position = stages.iter().position(|(known, _)| *known == stage);
            let position = position.unwrap_or_else(|| {
                stages.push((stage, HashMap::new()));
                stages.len() - 1
            });
            stages[position]
                .1
                .entry(candidate)
                .or_default()
                .extend(samples);
        };
        let mut finalists: Vec<(String, Tile)> = Vec::new();
        for record in &run.records {
            match record {
                Record::Trial(trial)
                    if (trial.rows, trial.cols, trial.threads) == (rows, cols, threads)
                        && trial.weights == Residence::Memory
                        && trial.refused.is_none() =>
                {
                    let candidate = (trial.kernel.clone(), trial.tile);
                    add(trial.stage, candidate, &trial.samples_us);
                }
                Record::Race(race)
                    if (race.rows, race.cols, race.threads) == (rows, cols, threads) =>
                {
                    let of = |index: &usize| race.candidates.get(*index).cloned();
                    finalists = race.raced.finalists.iter().filter_map(of).collect();
                }
                Record::Block(block)
                    if (block.rows, block.cols, block.threads) == (rows, cols, threads) =>
                {
                    for (candidate, samples) in finalists.iter().zip(&block.samples_us) {
                        add(Stage::RunOff, candidate.clone(), samples);
                    }
                }
                _ => {}
            }
        }
        stages.sort_by_key(|(stage, _)| *stage);
        let scaled = on_one_scale(stages);
        let mut kernels: Vec<Kernel> = cpu.kernels().filter(|k| k.batch == 1).collect();
        kernels.retain(|kernel| scaled.keys().any(|(id, _)| id == kernel.id));
        // As a tuning has them: what is chosen without tuning, then the widest vectors.
        let preferred = tern_kernels::Planner::new(cpu.clone(), None, None).ok();
        let preferred = preferred.map(|planner| planner.choose(shape, threads).kernel);
        kernels.sort_by_key(|kernel| (Some(*kernel) != preferred, std::cmp::Reverse(kernel.isa)));
        let field = Field::of_rigor(kernels, shape, threads, rigor);
        let samples: Vec<Vec<f64>> = field
            .candidates
            .iter()
            .map(|c| scaled.get(&(c.kernel.id.to_string(), c.tile)).cloned())
            .map(Option::unwrap_or_default)
            .collect();
        if samples.iter().any(|samples| !samples.is_empty()) {
            all.push(Recorded {
                shape,
                threads,
                count: order.count,
                field,
                samples,
            });
        }
    }
    all
}

/// The samples of each candidate from all stages, on the scale of the last stage. A stage is put on that of the next by the median
/// ratio of the candidates that are in both.
fn on_one_scale(stages: Vec<(Stage, CandidateSamples)>) -> CandidateSamples {
    let median = |samples: &Vec<f64>| Spread::of(samples.clone()).map(|spread| spread.median);
    let mut all = CandidateSamples::new();
    for (_, stage) in stages.into_iter().rev() {
        let ratios = stage.iter().filter_map(|(candidate, samples)| {
            Some(median(all.get(candidate)?)? / median(samples)?)
        });
        let factor = Spread::of(ratios.collect()).map_or(1.0, |ratios| ratios.median);
        for (candidate, samples) in stage {
            let samples = samples.into_iter().map(|us| (us * factor).min(SAMPLE_MAX));
            all.entry(candidate).or_default().extend(samples);
        }
    }
    all
}

/// Recorded samples as a bench.
struct Replay<'a> {
    recorded: &'a Recorded,
    /// The next sample of each candidate.
    next: Vec<usize>,
    clock: Duration,
    taken: usize,
}

impl Bench for Replay<'_> {
    fn admit(&mut self, candidate: Index) -> Result<(), String> {
        self.clock += ADMISSION;
        match self.recorded.samples[candidate].is_empty() {
            true => Err("not in the log".to_string()),
            false => Ok(()),
        }
    }

    fn sample(&mut self, candidate: Index) -> f64 {
        let samples = &self.recorded.samples[candidate];
        let us = samples[self.next[candidate] % samples.len()];
        self.next[candidate] += 1;
        self.taken += 1;
        self.clock += Duration::from_secs_f64(us / 1e6);
        us
    }

    fn enter(&mut self, _: &[Index]) {}

    fn elapsed(&self) -> Duration {
        self.clock
    }

    fn cancelled(&self) -> bool {
        false
    }
}

fn run_strategy(
    cpu: &Cpu,
    strategy: Strategy,
    recorded: &[Recorded],
    budget: Duration,
) -> Replayed {
    let mut result = Replayed {
        strategy,
        token: Vec::new(),
        worst: 1.0,
        samples: 0,
        seconds: 0.0,
        picks: Vec::new(),
    };
    let each = budget / u32::try_from(recorded.len()).unwrap_or(u32::MAX);
    // Time of the picks and of the best, by thread count.
    let mut sums: Vec<(usize, f64, f64)> = Vec::new();
    for of in recorded {
        let mut bench = Replay {
            recorded: of,
            next: vec![0; of.samples.len()],
            clock: Duration::ZERO,
            taken: 0,
        };
        // What is chosen without timing may not be in the log.
        let Some(pick) = pick(cpu, strategy, of, &mut bench, each) else {
            continue;
        };
        let median = |index: Index| {
            let spread = Spread::of(of.samples[index].clone());
            spread.map_or(f64::INFINITY, |spread| spread.median)
        };
        let best = (0..of.samples.len())
            .map(median)
            .fold(f64::INFINITY, f64::min);
        let time = median(pick);
        let ratio = time / best;
        let candidate = &of.field.candidates[pick];
        let name = format!("{} x{}", of.shape, of.threads);
        let kernel = candidate.kernel.id.to_string();
        result.picks.push((name, kernel, candidate.tile, ratio));
        result.worst = result.worst.max(ratio);
        result.samples += bench.taken;
        result.seconds += bench.clock.as_secs_f64();
        let count = of.count as f64;
        match sums.iter_mut().find(|(threads, ..)| *threads == of.threads) {
            Some((_, picked, fastest)) => {
                *picked += count * time;
                *fastest += count * best;
            }
            None => sums.push((of.threads, count * time, count * best)),
        }
    }
    let ratios = sums.into_iter();
    result.token = ratios
        .map(|(threads, picked, best)| (threads, picked / best))
        .collect();
    result
}

/// The candidate that a strategy chooses, if that one was timed.
fn pick(
    cpu: &Cpu,
    strategy: Strategy,
    of: &Recorded,
    bench: &mut Replay<'_>,
    budget: Duration,
) -> Option<Index> {
    let timed = |index: &Index| !of.samples[*index].is_empty();
    let all = || (0..of.samples.len()).filter(timed).collect();
    match (strategy, strategy.rigor()) {
        (_, Some(rigor)) => {
            let racing = budget.mul_f64(1.0 - RUN_OFF_SHARE);
            // Less rigor has fewer tiles: only those of its field take part.
            let kernels: Vec<Kernel> = kernels_of(&of.field);
            let smaller = Field::of_rigor(kernels, of.shape, of.threads, rigor);
            let place = |index: Index| {
                let wanted = smaller.candidates[index];
                of.field.candidates.iter().position(|c| *c == wanted)
            };
            let mut tiles = smaller.kernels.clone();
            for tiles in &mut tiles {
                let moved = |list: &[Index]| list.iter().filter_map(|&i| place(i)).collect();
                tiles.variations = tiles.variations.iter().map(|list| moved(list)).collect();
                tiles.plain = moved(&tiles.plain);
            }
            let raced = race(bench, &tiles, &Rules::new(rigor, racing), &mut ());
            let finalists = raced.finalists.clone();
            let finals = match finalists.is_empty() {
                true => Finals::new(0),
                false => run_off(bench, &finalists, rounds_in_block(rigor), budget),
            };
            raced.decide(finals).winner.filter(timed)
        }
        (Strategy::Halving, _) => halving(bench, all(), budget),
        (Strategy::Random, _) => random(bench, all(), budget),
        _ => {
            let planner = tern_kernels::Planner::new(cpu.clone(), None, None).ok()?;
            let choice = planner.choose(of.shape, of.threads);
            let mut candidates = of.field.candidates.iter();
            let place = candidates.position(|c| (c.kernel, c.tile) == (choice.kernel, choice.tile));
            place.filter(timed)
        }
    }
}

fn kernels_of(field: &Field) -> Vec<Kernel> {
    let firsts = field.kernels.iter().filter_map(|tiles| tiles.plain.first());
    firsts
        .map(|&first| field.candidates[first].kernel)
        .collect()
}

/// Samples all, lets the slower half go, and so on, until one is left or the time is up.
fn halving(bench: &mut Replay<'_>, mut left: Vec<Index>, budget: Duration) -> Option<Index> {
    left.retain(|&candidate| bench.admit(candidate).is_ok());
    let mut samples: HashMap<Index, Vec<f64>> = HashMap::new();
    while left.len() > 1 && (samples.is_empty() || bench.elapsed() < budget) {
        for round in 0..SAMPLES {
            for position in in_round(round, left.len()) {
                let us = bench.sample(left[position]);
                samples.entry(left[position]).or_default().push(us);
            }
        }
        sort_by_median(&mut left, &samples);
        left.truncate(left.len().div_ceil(2));
    }
    left.first().copied()
}

/// Samples candidates drawn by chance until the time is up.
fn random(bench: &mut Replay<'_>, mut all: Vec<Index>, budget: Duration) -> Option<Index> {
    let mut random = Random::new(1);
    let mut drawn = Vec::new();
    let mut samples: HashMap<Index, Vec<f64>> = HashMap::new();
    while !all.is_empty() && (drawn.is_empty() || bench.elapsed() < budget) {
        let candidate = all.swap_remove(random.below(all.len()));
        if bench.admit(candidate).is_ok() {
            let taken = (0..SAMPLES).map(|_| bench.sample(candidate)).collect();
            samples.insert(candidate, taken);
            drawn.push(candidate);
        }
    }
    sort_by_median(&mut drawn, &samples);
    drawn.first().copied()
}

fn sort_by_median(candidates: &mut [Index], samples: &HashMap<Index, Vec<f64>>) {
    let median = |candidate: &Index| {
        let samples = samples.get(candidate).cloned().unwrap_or_default();
        Spread::of(samples).map_or(f64::INFINITY, |spread| spread.median)
    };
    candidates.sort_by(|a, b| median(a).total_cmp(&median(b)).then(a.cmp(b)));
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
