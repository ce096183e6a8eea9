//! Tuning: for each matrix shape and thread count, find the fastest kernel and tile, and write down the evidence.
//!
//! What is looked for is the fastest way for a token and a prompt's token together, since a matrix is held once, in one packing: a
//! finalist's time includes what a prompt's token costs in its packing (a chat reads about as many tokens as it writes). Which
//! batched product serves how many tokens is found out last (`crossover.rs`).
//!
//! The budget is shared out so that any budget helps: the shape on which a model spends most comes first and gets the
//! larger part, and what a job leaves over goes to those after it. The races of all shapes come first (`search.rs`), then the
//! run-offs of all of them in turns (`runoff.rs`). Weights are read cold: see `rotation.rs`. A product's time includes its part of
//! preparing the activations, so that tables that are quick to use but slow to build are judged by both.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tern_kernels::profile::THREADS_MAX;
use tern_kernels::{
    BatchEntry, Cpu, Entry, Force, Kernel, Packing, Pages, Planner, Profile, Rigor, Shape, Tile,
};

use crate::bench::{GemvBench, Residence, cold_distance, distance_note};
use crate::candidates::{Field, kernels};
use crate::crossover::Batches;
use crate::effort;
use crate::error::TuneError;
use crate::finals::{Finals, NOISE_MAX, rounds_in_block};
use crate::host;
use crate::job::Job;
use crate::log::{Log, LoggedBlock, LoggedRace, LoggedTrial, Record, Task, Unfinished};
use crate::measure::{Candidate, Clock};
use crate::noise::{Noise, NoiseWatch};
use crate::pages::BothPages;
use crate::progress::Progress;
use crate::runoff::{RunOff, Shelf, run_off_in_turns};
use crate::screen::{Screen, verdicts};
use crate::search::{Decision, Observer, Outcome, Raced, Rules, Stage, race};
use crate::shapes::{Work, check_shape};
use crate::spread::{Spread, rounded};

/// The part of the time that is for the run-offs. They see the machine over all of it, and a race only for a few seconds, so much of the
/// choice is left to them.
const RUN_OFF_SHARE: f64 = 0.45;

/// The part of the time that is for several tokens at once, for the least rigor that times anything and for more.
const CROSSOVER_SHARE: f64 = 0.1;
const LONG_CROSSOVER_SHARE: f64 = 0.04;

/// The part of the time that is for huge pages against small ones, where both are tried.
const PAGES_SHARE: f64 = 0.04;

/// The part of the time that the run-offs of a tuning have at least which goes on where it was interrupted.
const RESUMED_SHARE: f64 = 0.1;

/// Longer tunings were not interrupted, but made up.
const LOGGED_SECONDS_MAX: f64 = 1e7;

/// The part of a race's time in which kernels are screened, at most.
const SCREENING_SHARE: f64 = 0.3;

/// What to tune for, and for how long.
#[derive(Clone, Debug)]
pub struct TuneOptions {
    /// Thread counts, each tuned by itself.
    pub threads: Vec<usize>,
    /// How thoroughly to search.
    pub rigor: Rigor,
    /// Time for everything together. It is exceeded only by the last round of measurements.
    pub budget: Duration,
    /// Pages of the packed weights.
    pub pages: Pages,
    /// Tune only these kernels.
    pub force: Option<Force>,
    /// Store winners too that are not told from the others within 3 %, marked.
    pub store_noisy: bool,
}

impl TuneOptions {
    /// A patient search of all kernels on huge pages, with the time and the thread counts that go with it.
    pub fn new(cpu: &Cpu) -> TuneOptions {
        TuneOptions::of_rigor(cpu, Rigor::Patient)
    }

    /// The same with another rigor.
    pub fn of_rigor(cpu: &Cpu, rigor: Rigor) -> TuneOptions {
        TuneOptions {
            threads: effort::default_threads(rigor, cpu.cores),
            rigor,
            budget: effort::default_budget(rigor),
            pages: Pages::Huge,
            force: None,
            store_noisy: false,
        }
    }
}

/// What is known from before.
#[derive(Debug, Default)]
pub struct Past<'a> {
    /// A profile: what it has with at least the wanted rigor is not tuned again.
    pub profile: Option<&'a Profile>,
    /// Where every trial is written down. A tuning that was interrupted goes on from there.
    pub log: Option<&'a mut Log>,
}

/// The result of a tuning.
#[derive(Clone, Debug, Serialize)]
pub struct Tuning {
    /// The winners, as the planner reads them.
    pub profile: Profile,
    /// The evidence.
    pub jobs: Vec<Job>,
    /// What was left out when the budget ended or the user stopped, as (shape, threads).
    pub skipped: Vec<(String, usize)>,
    /// What the known profile has already.
    pub served: Vec<(String, usize)>,
    /// Winners that are not in the profile, because the noise hides the difference.
    pub unstored: Vec<Entry>,
    /// What else went on on the machine.
    pub noise: Noise,
    /// What the reader of the result should know, a sentence each.
    pub notes: Vec<String>,
    /// Seconds of an interrupted tuning that this one went on with; 0 for a new one.
    pub resumed_after: f64,
    /// Whether the user stopped it.
    pub cancelled: bool,
    /// Seconds in all.
    pub seconds: f64,
}

/// One shape and thread count to tune.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Order {
    pub work: Work,
    pub threads: usize,
}

impl Order {
    fn key(&self) -> (Shape, usize) {
        (self.work.shape, self.threads)
    }
}

/// Tunes every shape for every thread count, most expensive shape first.
///
/// `progress` hears of each step; setting `cancel` ends the tuning soon, with what is known by then.
///
/// # Errors
/// Nothing to do, absurd thread counts, kernels that do not run here, or no memory.
pub fn tune(
    cpu: &Cpu,
    work: &[Work],
    options: &TuneOptions,
    progress: &mut dyn FnMut(&Progress),
    cancel: &AtomicBool,
) -> Result<Tuning, TuneError> {
    tune_further(cpu, work, options, Past::default(), progress, cancel)
}

/// The same with what is known from before.
///
/// # Errors
/// As [`tune`], or the log cannot be used.
pub fn tune_further(
    cpu: &Cpu,
    work: &[Work],
    options: &TuneOptions,
    past: Past<'_>,
    progress: &mut dyn FnMut(&Progress),
    cancel: &AtomicBool,
) -> Result<Tuning, TuneError> {
    let mut threads = options.threads.clone();
    threads.sort_unstable();
    threads.dedup();
    let orders = work
        .iter()
        .flat_map(|&work| threads.iter().map(move |&t| Order { work, threads: t }));
    let mut orders: Vec<Order> = orders.collect();
    check(&orders)?;
    let serves = |order: &Order| {
        let entries = past.profile.iter().flat_map(|profile| &profile.entries);
        let mut entries = entries.filter(|e| (e.shape(), e.threads) == order.key());
        entries.any(|entry| entry.rigor >= options.rigor && !entry.noisy)
    };
    let served = orders.extract_if(.., |order| serves(order));
    let served: Vec<_> = served.map(|order| name(&order)).collect();
    let mut tuning = match orders.is_empty() {
        true => Tuning::empty(cpu),
        false => tune_orders(cpu, &orders, options, past.log, progress, cancel)?,
    };
    tuning.served = served;
    Ok(tuning)
}

fn name(order: &Order) -> (String, usize) {
    (order.work.shape.to_string(), order.threads)
}

/// Tunes `orders` in their order; orders of the same shape must be neighbours.
pub(crate) fn tune_orders(
    cpu: &Cpu,
    orders: &[Order],
    options: &TuneOptions,
    mut log: Option<&mut Log>,
    progress: &mut dyn FnMut(&Progress),
    cancel: &AtomicBool,
) -> Result<Tuning, TuneError> {
    check(orders)?;
    let (clock, watch) = (Clock::start(), NoiseWatch::start());
    let planner = Planner::new(cpu.clone(), None, options.force.clone())?;
    let mut tuner = Tuner {
        options,
        planner,
        cancel,
        screen: Screen::default(),
        shelf: Shelf::new(cpu, options.pages),
        screened: HashMap::new(),
    };
    let mut tuning = Tuning::empty(cpu);
    let task = Task::new(cpu, orders, options);
    let unfinished = match &mut log {
        Some(log) => log.begin(&task)?,
        None => None,
    };
    let mut past = unfinished.unwrap_or_default();
    tuning.resumed_after = past.seconds;
    // A log is a file that anybody may have edited.
    let before = past.seconds.clamp(0.0, LOGGED_SECONDS_MAX);
    let before = Duration::try_from_secs_f64(before).unwrap_or_default();
    let elapsed = || before + clock.elapsed();
    let racing = options.budget.mul_f64(1.0 - RUN_OFF_SHARE);
    let (mut raced, mut run_offs) = (Vec::new(), Vec::new());
    for (index, &order) in orders.iter().enumerate() {
        let (shape, threads) = (order.work.shape, order.threads);
        let known = past.take(cpu, order, options.rigor);
        let stopped = cancel.load(Ordering::Relaxed);
        let is_late = stopped || (elapsed() >= racing && !raced.is_empty());
        if is_late && known.is_none() {
            tuning.cancelled |= stopped;
            tuning.skipped.push(name(&order));
            continue;
        }
        progress(&Progress::Job {
            index: index + 1,
            total: orders.len(),
            shape,
            threads,
        });
        // What the races of other shapes needed goes before this one's weights come.
        if index == 0 || orders[index - 1].work.shape != shape {
            tuner.shelf.keep_only(&run_offs);
        }
        let (job, finals) = match known {
            Some((job, finals)) => (job, Some(finals)),
            None => {
                let left = racing.saturating_sub(elapsed());
                let budget = share(left, &orders[index..]);
                let job = tuner.race(order, budget, log.as_deref_mut(), progress)?;
                let note = tuner.note(shape);
                let is_new = |note: &String| !tuning.notes.contains(note);
                tuning.notes.extend(note.filter(is_new));
                (job, None)
            }
        };
        let mut run_off = RunOff::new(shape, threads, order.work.sharing(), job.finalists());
        let count = run_off.candidates.len();
        let new = || Finals::of_blocks(count, rounds_in_block(options.rigor));
        let finals = finals.unwrap_or_else(new);
        run_off.finals = finals.with_extra(job.prompt_us.clone());
        run_offs.push(run_off);
        raced.push(job);
    }
    let least = options.budget.mul_f64(RESUMED_SHARE);
    let crossing = options.budget.mul_f64(match options.rigor {
        Rigor::Estimate | Rigor::Measure => CROSSOVER_SHARE,
        Rigor::Patient | Rigor::Exhaustive => LONG_CROSSOVER_SHARE,
    });
    let paging = match options.pages == Pages::Huge && effort::tries_small_pages(options.rigor) {
        true => options.budget.mul_f64(PAGES_SHARE),
        false => Duration::ZERO,
    };
    let left = (options.budget - crossing - paging).saturating_sub(elapsed());
    let left = if before.is_zero() {
        left
    } else {
        left.max(least)
    };
    let run_offs = tuner.run_off(run_offs, left, log.as_deref_mut(), progress);
    let mut winners = Vec::new();
    for (job, run_off) in raced.into_iter().zip(run_offs) {
        let order = job.order;
        if let Some(failure) = &run_off.failure {
            let (shape, threads) = order.key();
            let note = format!("the run-off of {shape} x{threads} ended early: {failure}");
            tuning.notes.push(note);
        }
        let decided = job.decide(run_off.finals, options)?;
        match decided.is_stored {
            true => {
                tuning.profile.entries.push(decided.entry);
                winners.push((order, decided.winner));
            }
            false => tuning.unstored.push(decided.entry),
        }
        tuning.jobs.push(decided.job);
    }
    if !paging.is_zero() {
        let (found, failure) = tuner.both_pages(&winners, paging, log.as_deref_mut(), progress);
        // The winners are known all the same.
        let note = failure.map(|failure| format!("huge and small pages: {failure}"));
        tuning.notes.extend(note);
        for (shape, threads, ratio) in found {
            let mut entries = tuning.profile.entries.iter_mut();
            let entry = entries.find(|e| (e.shape(), e.threads) == (shape, threads));
            if let Some(entry) = entry {
                entry.small_pages = Some(ratio);
            }
        }
    }
    if !cancel.load(Ordering::Relaxed) {
        let left = options.budget.saturating_sub(elapsed()).max(crossing);
        match tuner.crossovers(&winners, left, log.as_deref_mut(), progress) {
            Ok(batches) => tuning.profile.batches = batches,
            // The winners for one token are known all the same.
            Err(failure) => tuning
                .notes
                .push(format!("several tokens at once: {failure}")),
        }
    }
    for job in &tuning.jobs {
        progress(&job.done());
    }
    tuning.profile.rigor = options.rigor;
    tuning.cancelled |= cancel.load(Ordering::Relaxed);
    if let Some(log) = log {
        let failure = log.failure().map(|failure| failure.to_string());
        tuning.notes.extend(failure);
    }
    tuning.noise = watch.noise();
    tuning.notes.extend(tuning.noise.notes());
    tuning.seconds = clock.elapsed().as_secs_f64();
    Ok(tuning)
}

fn check(orders: &[Order]) -> Result<(), TuneError> {
    if orders.is_empty() {
        return Err(TuneError::NoWork);
    }
    orders
        .iter()
        .try_for_each(|order| check_shape(order.work.shape))?;
    match orders
        .iter()
        .find(|order| !(1..=THREADS_MAX).contains(&order.threads))
    {
        Some(order) => Err(TuneError::Threads {
            threads: order.threads,
            max: THREADS_MAX,
        }),
        None => Ok(()),
    }
}

/// The part of the time left for the first of `orders`. Shapes get time by the cube root of their cost: the cheap ones need as many
/// samples as the expensive ones, but matter less.
fn share(left: Duration, orders: &[Order]) -> Duration {
    let weight = |order: &Order| (order.work.weights() as f64).cbrt();
    let total: f64 = orders.iter().map(weight).sum();
    orders.first().map_or(left, |first| {
        left.mul_f64((weight(first) / total).clamp(0.0, 1.0))
    })
}

/// A tuning under way.
struct Tuner<'a> {
    options: &'a TuneOptions,
    planner: Planner,
    cancel: &'a AtomicBool,
    screen: Screen,
    shelf: Shelf,
    /// The kernels for each shape and why one was left out, where it was.
    screened: HashMap<Shape, Vec<(Kernel, Option<Outcome>)>>,
}

/// A shape and thread count after its races.
pub(crate) struct RacedJob {
    order: Order,
    candidates: Vec<Candidate>,
    raced: Raced,
    screened: Vec<(Kernel, Outcome)>,
    builds: Vec<(Kernel, Option<Spread>)>,
    /// Microseconds of each kernel's first tile with warm weights.
    warm_us: Vec<(Kernel, f64)>,
    /// Microseconds of a prompt's token in the packing of each finalist.
    prompt_us: Vec<f64>,
    seconds: f64,
}

/// Tells the progress, and the log, of each stage.
struct Scribe<'a, 'c> {
    progress: &'a mut dyn FnMut(&Progress),
    log: Option<&'a mut Log>,
    order: Order,
    host: String,
    candidates: &'c [Candidate],
}

impl Observer for Scribe<'_, '_> {
    fn begins(&mut self, stage: Stage, candidates: usize) {
        let name = stage.name();
        (self.progress)(&Progress::Stage { name, candidates });
    }

    fn refused(&mut self, stage: Stage, index: usize, reason: &str) {
        self.trial(stage, Residence::Memory, index, Err(reason));
    }

    fn ended(&mut self, stage: Stage, candidates: &[usize], samples: &[Vec<f64>]) {
        for &index in candidates {
            self.trial(stage, Residence::Memory, index, Ok(&samples[index]));
        }
    }
}

impl Scribe<'_, '_> {
    fn trial(
        &mut self,
        stage: Stage,
        weights: Residence,
        index: usize,
        samples: Result<&[f64], &str>,
    ) {
        let Some(log) = &mut self.log else {
            return;
        };
        let (shape, threads) = self.order.key();
        let candidate = &self.candidates[index];
        let place = (shape, threads, weights);
        log.add(trial(&self.host, stage, candidate, place, samples));
    }
}

/// A candidate's samples, or why there are none, as a line for the log.
fn trial(
    host: &str,
    stage: Stage,
    candidate: &Candidate,
    (shape, threads, weights): (Shape, usize, Residence),
    samples: Result<&[f64], &str>,
) -> Record {
    let of = samples.unwrap_or_default().iter();
    Record::Trial(LoggedTrial {
        host: host.to_string(),
        kernel: candidate.kernel.id.to_string(),
        tile: candidate.tile,
        rows: shape.rows,
        cols: shape.cols,
        threads,
        stage,
        weights,
        samples_us: of.copied().map(rounded).collect(),
        refused: samples.err().map(str::to_string),
    })
}

impl Tuner<'_> {
    /// The races of one shape and thread count.
    fn race(
        &mut self,
        order: Order,
        budget: Duration,
        mut log: Option<&mut Log>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<RacedJob, TuneError> {
        let clock = Clock::start();
        let (shape, threads) = order.key();
        let rigor = self.options.rigor;
        if let Some(log) = &mut log {
            let Shape { rows, cols } = shape;
            log.add(Record::Races {
                rows,
                cols,
                threads,
            });
        }
        if !self.screened.contains_key(&shape) {
            let screened = self.screened(order, budget.mul_f64(SCREENING_SHARE), progress)?;
            self.screened.insert(shape, screened);
            let host = self.planner.cpu().key();
            for heard in self.screen.take_heard() {
                let Some(log) = &mut log else { continue };
                let samples = heard.samples.as_deref().map_err(String::as_str);
                let place = (heard.shape, 1, Residence::Cache);
                log.add(trial(
                    &host,
                    Stage::Screening,
                    &heard.candidate,
                    place,
                    samples,
                ));
            }
        }
        let kernels = &self.screened[&shape];
        let screened = kernels
            .iter()
            .filter_map(|(kernel, outcome)| Some((*kernel, outcome.clone()?)))
            .collect();
        let passed = kernels.iter().filter(|(_, outcome)| outcome.is_none());
        let passed = passed.map(|(kernel, _)| *kernel);
        let field = Field::of_rigor(passed, shape, threads, rigor);
        let host = self.planner.cpu().key();
        let weights = self.shelf.weights(shape);
        let mut bench = GemvBench::new(weights, &field.candidates, threads, self.cancel)?
            .with_preparation(order.work.sharing());
        let rules = Rules::new(rigor, budget.saturating_sub(clock.elapsed()));
        let candidates = &field.candidates;
        let mut scribe = Scribe {
            progress,
            log,
            order,
            host,
            candidates,
        };
        let raced = race(&mut bench, &field.kernels, &rules, &mut scribe);
        if raced.last().is_empty() {
            let reason = raced.first_refusal();
            let reason = reason.unwrap_or_else(|| "there was no time".to_string());
            return Err(TuneError::NoCandidate {
                shape,
                threads,
                reason,
            });
        }
        let last = raced.last().into_iter();
        let builds = last
            .map(|index| (field.candidates[index].kernel, bench.build(index)))
            .collect();
        let firsts = field.kernels.iter().filter_map(|tiles| tiles.plain.first());
        let mut warm_us = Vec::new();
        for &first in firsts.filter(|&&first| raced.was_timed(first)) {
            if let Some(us) = bench.warm(first) {
                scribe.trial(Stage::Kernels, Residence::Cache, first, Ok(&[us]));
                warm_us.push((candidates[first].kernel, us));
            }
        }
        let Scribe { mut log, .. } = scribe;
        drop(bench);
        // Without what prompts cost the finalists are compared by a token alone.
        let prompt_us = self
            .prompts(order, &raced.finalists, &field.candidates, &mut log)
            .unwrap_or_else(|_| vec![0.0; raced.finalists.len()]);
        let job = RacedJob {
            order,
            candidates: field.candidates,
            raced,
            screened,
            builds,
            warm_us,
            prompt_us,
            seconds: clock.elapsed().as_secs_f64(),
        };
        if let Some(log) = log {
            log.add(Record::Race(Box::new(job.logged())));
        }
        Ok(job)
    }

    /// What a prompt's token costs in the packing of each finalist. Where one has no batched product, it costs as much as the most
    /// expensive of the others: nothing is known for or against it.
    fn prompts(
        &mut self,
        order: Order,
        finalists: &[usize],
        candidates: &[Candidate],
        log: &mut Option<&mut Log>,
    ) -> Result<Vec<f64>, TuneError> {
        let mut batches = Batches::new(&self.planner, order.threads, self.cancel)?;
        let weights = self.shelf.weights(order.work.shape);
        let mut of_packings: Vec<Candidate> = Vec::new();
        for candidate in finalists.iter().map(|&finalist| candidates[finalist]) {
            let packing = candidate.kernel.packing;
            if of_packings.iter().all(|c| c.kernel.packing != packing) {
                of_packings.push(candidate);
            }
        }
        let costs = batches.prompts_us(weights, &of_packings)?;
        note_batches(log, &mut batches);
        let packings = of_packings.iter().map(|c| c.kernel.packing);
        let known: HashMap<Packing, Option<f64>> = packings.zip(costs).collect();
        let most = known.values().flatten().copied().fold(0.0, f64::max);
        let of = |&finalist: &usize| known[&candidates[finalist].kernel.packing].unwrap_or(most);
        Ok(finalists.iter().map(of).collect())
    }

    /// How many times as long winners take on small pages, as far as `budget` goes.
    fn both_pages(
        &mut self,
        winners: &[(Order, Candidate)],
        budget: Duration,
        mut log: Option<&mut Log>,
        progress: &mut dyn FnMut(&Progress),
    ) -> (Vec<(Shape, usize, f64)>, Option<TuneError>) {
        let clock = Clock::start();
        progress(&Progress::Stage {
            name: "huge and small pages",
            candidates: winners.len(),
        });
        let mut both = BothPages::new(self.planner.cpu(), &mut self.shelf, self.cancel);
        let mut found = Vec::new();
        for (index, (order, winner)) in winners.iter().enumerate() {
            let left = budget.saturating_sub(clock.elapsed());
            let share = left / u32::try_from(winners.len() - index).unwrap_or(u32::MAX);
            let (ratio, logged) = match both.compare(order, *winner, share) {
                Ok(Some(compared)) => compared,
                Ok(None) => continue,
                Err(failure) => return (found, Some(failure)),
            };
            if let Some(log) = &mut log {
                log.add(Record::Pages(logged));
            }
            found.extend(ratio.map(|ratio| (order.work.shape, order.threads, ratio)));
        }
        (found, None)
    }

    /// From how many tokens on which batched product pays, for each entry.
    fn crossovers(
        &mut self,
        raced: &[(Order, Candidate)],
        budget: Duration,
        mut log: Option<&mut Log>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Vec<BatchEntry>, TuneError> {
        let clock = Clock::start();
        let mut found = Vec::new();
        progress(&Progress::Stage {
            name: "several tokens",
            candidates: raced.len(),
        });
        for (index, (order, winner)) in raced.iter().enumerate() {
            let left = budget.saturating_sub(clock.elapsed());
            let share = left / u32::try_from(raced.len() - index).unwrap_or(u32::MAX);
            if share.is_zero() || self.cancel.load(Ordering::Relaxed) {
                break;
            }
            let weights = self.shelf.weights(order.work.shape);
            if weights.hold(winner.kernel.packing).is_err() {
                continue;
            }
            let mut batches = Batches::new(&self.planner, order.threads, self.cancel)?;
            found.extend(batches.crossover(weights, winner, self.options.rigor, share)?);
            note_batches(&mut log, &mut batches);
        }
        Ok(found)
    }

    /// Runs the finalists of all races off.
    fn run_off(
        &mut self,
        mut run_offs: Vec<RunOff>,
        budget: Duration,
        mut log: Option<&mut Log>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Vec<RunOff> {
        self.shelf.keep_only(&run_offs);
        let count = run_offs.iter().filter(|one| one.candidates.len() > 1);
        progress(&Progress::RunOffs {
            count: count.count(),
        });
        let mut written: HashMap<(Shape, usize), Vec<usize>> = HashMap::new();
        for run_off in &run_offs {
            let lengths = run_off.finals.samples.iter().map(Vec::len).collect();
            written.insert((run_off.shape, run_off.threads), lengths);
        }
        let host = self.planner.cpu().key();
        let mut after = |run_off: &RunOff| {
            progress(&run_off.turn());
            let Some(log) = &mut log else { return };
            let key = (run_off.shape, run_off.threads);
            let all = &run_off.finals.samples;
            let new = |(samples, from): (&Vec<f64>, &usize)| {
                let new = samples[*from..].iter().copied();
                new.map(rounded).collect()
            };
            let samples_us = all.iter().zip(&written[&key]).map(new).collect();
            written.insert(key, all.iter().map(Vec::len).collect());
            let candidates = run_off.candidates.iter();
            log.add(Record::Block(LoggedBlock {
                host: host.clone(),
                candidates: candidates
                    .map(|c| (c.kernel.id.to_string(), c.tile))
                    .collect(),
                rows: run_off.shape.rows,
                cols: run_off.shape.cols,
                threads: run_off.threads,
                samples_us,
                left: run_off.finals.left().to_vec(),
            }));
        };
        run_off_in_turns(
            &mut run_offs,
            &mut self.shelf,
            budget,
            self.cancel,
            &mut after,
        );
        run_offs
    }

    /// The kernels for a shape, and why one is left out, where it is.
    fn screened(
        &mut self,
        order: Order,
        budget: Duration,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Vec<(Kernel, Option<Outcome>)>, TuneError> {
        let (cpu, pages) = (self.planner.cpu(), self.options.pages);
        let shape = order.work.shape;
        let force = self.options.force.as_ref();
        let kernels = kernels(&self.planner, force, shape, order.threads);
        let outcomes = if kernels.len() > 1 && effort::screens(self.options.rigor) {
            progress(&Progress::Stage {
                name: "screening",
                candidates: kernels.len(),
            });
            let times = self
                .screen
                .times(cpu, &kernels, shape, pages, budget, self.cancel)?;
            let mut outcomes = verdicts(&kernels, &times);
            // What is chosen without tuning comes first, and takes part whatever the screening says.
            if let Some(first @ Some(Outcome::Eliminated { .. })) = outcomes.first_mut() {
                *first = None;
            }
            outcomes
        } else {
            vec![None; kernels.len()]
        };
        Ok(kernels.into_iter().zip(outcomes).collect())
    }

    /// Whether the weights of a shape were warmer than they should be.
    fn note(&mut self, shape: Shape) -> Option<String> {
        let reached = self.shelf.weights(shape).rotation().reuse_distance();
        distance_note(reached, cold_distance(self.planner.cpu()))
    }
}

/// The result for one shape and thread count.
struct Decided {
    job: Job,
    entry: Entry,
    winner: Candidate,
    /// Whether the entry is for the profile: the noise does not hide the difference, or such entries are wanted.
    is_stored: bool,
}

impl RacedJob {
    /// Those for the run-off, in order of preference.
    fn finalists(&self) -> Vec<Candidate> {
        let finalists = self.raced.finalists.iter();
        finalists.map(|&index| self.candidates[index]).collect()
    }

    /// The result after the run-off.
    fn decide(self, finals: Finals, options: &TuneOptions) -> Result<Decided, TuneError> {
        let verdict = finals.verdict();
        let noise = verdict.and_then(|verdict| finals.noise(verdict.winner));
        // Without a verdict there was no time to compare, or nobody to compare with.
        let is_clear = match verdict {
            Some(verdict) => verdict.is_clear || noise.is_none_or(|noise| noise <= NOISE_MAX),
            None => self.raced.finalists.len() < 2,
        };
        let prompts: Vec<(&str, f64)> = (self.raced.finalists.iter())
            .map(|&index| self.candidates[index].kernel.id)
            .zip(self.prompt_us.iter().copied())
            .filter(|(_, us)| *us > 0.0)
            .collect();
        let rigor = self.raced.reached(options.rigor);
        let ranking = self.raced.decide(finals);
        // A leader that the races did not come to an end with has been compared with few.
        let is_clear = is_clear && ranking.decision != Decision::Interrupted;
        let mut job = Job::new(
            self.order.key(),
            &self.candidates,
            &ranking,
            &self.screened,
            &self.builds,
        )?;
        job.seconds = self.seconds;
        job.warm_winner = warm_winner(&self.warm_us).map(|kernel| kernel.id);
        let winner = ranking.winner.map(|winner| self.candidates[winner]);
        let winner = winner.expect("a job without a winner is an error");
        let mut warm = self.warm_us.iter();
        let warm = warm.find(|(kernel, _)| *kernel == winner.kernel);
        let noise = noise.unwrap_or(0.0);
        let is_hidden = !is_clear;
        let prompt_us = |kernel: &str| {
            let found = prompts.iter().find(|(id, _)| *id == kernel);
            found.map(|(_, us)| rounded(*us))
        };
        let mut of_job = job.entry(winner.kernel, self.order.work.sharing());
        if let Some(other) = &mut of_job.runner_up {
            other.prompt_us = prompt_us(&other.kernel);
        }
        let entry = Entry {
            prompt_us: prompt_us(winner.kernel.id),
            rigor,
            date: host::now_utc(),
            warm_kernel: job.warm_winner.map(str::to_string),
            warm_us: warm.map(|(_, us)| rounded(*us)),
            noise: (noise * 10_000.0).round() / 10_000.0,
            noisy: is_hidden,
            ..of_job
        };
        Ok(Decided {
            job,
            entry,
            winner,
            is_stored: !is_hidden || options.store_noisy,
        })
    }

    fn logged(&self) -> LoggedRace {
        let id = |kernel: &Kernel| kernel.id.to_string();
        let (Shape { rows, cols }, threads) = self.order.key();
        LoggedRace {
            rows,
            cols,
            threads,
            candidates: self
                .candidates
                .iter()
                .map(|c| (id(&c.kernel), c.tile))
                .collect(),
            raced: self.raced.clone(),
            screened: self
                .screened
                .iter()
                .map(|(k, o)| (id(k), o.clone()))
                .collect(),
            builds: self
                .builds
                .iter()
                .map(|(k, b)| (id(k), b.clone()))
                .collect(),
            warm_us: self.warm_us.iter().map(|(k, us)| (id(k), *us)).collect(),
            prompt_us: self.prompt_us.clone(),
            seconds: self.seconds,
        }
    }
}

/// Writes down what was timed with several tokens.
fn note_batches(log: &mut Option<&mut Log>, batches: &mut Batches<'_>) {
    for heard in batches.take_heard() {
        if let Some(log) = log {
            log.add(Record::Batch(heard));
        }
    }
}

/// The kernel that a tuner would choose whose weights are warm.
fn warm_winner(warm_us: &[(Kernel, f64)]) -> Option<Kernel> {
    let fastest = warm_us.iter().min_by(|a, b| a.1.total_cmp(&b.1));
    fastest.map(|(kernel, _)| *kernel)
}

impl Unfinished {
    /// The races and the run-off, as far as it went, of an order that was raced before the interruption. What does not fit together is
    /// as if it were not there.
    pub(crate) fn take(
        &mut self,
        cpu: &Cpu,
        order: Order,
        rigor: Rigor,
    ) -> Option<(RacedJob, Finals)> {
        let key = order.key();
        let race = self.races.remove(&key)?;
        let mut samples = self.samples.remove(&key).unwrap_or_default();
        let mut of = |candidate: &(String, Tile)| samples.remove(candidate).unwrap_or_default();
        let samples = race.candidates.iter().map(&mut of).collect();
        let raced = race.raced.with_samples(samples)?;
        let kernel = |id: &str| cpu.kernel(id);
        let candidates = race.candidates.iter().map(|(id, tile)| {
            let kernel = kernel(id)?;
            Some(Candidate {
                kernel,
                tile: *tile,
            })
        });
        let job = RacedJob {
            order,
            candidates: candidates.collect::<Option<Vec<_>>>()?,
            raced,
            screened: named(race.screened, kernel)?,
            builds: named(race.builds, kernel)?,
            warm_us: named(race.warm_us, kernel)?,
            prompt_us: race.prompt_us,
            seconds: race.seconds,
        };
        if job.prompt_us.len() != job.raced.finalists.len() || !job.prompt_us.iter().all(is_time) {
            return None;
        }
        let blocks = self.blocks.remove(&key).unwrap_or_default();
        let blocks = blocks
            .into_iter()
            .map(|block| (block.samples_us, block.left));
        let finals = Finals::of_blocks(job.raced.finalists.len(), rounds_in_block(rigor));
        let finals = finals.with_blocks(blocks);
        Some((job, finals))
    }
}

fn is_time(us: &f64) -> bool {
    us.is_finite() && *us >= 0.0
}

/// The same with the kernels of that name; `None` if one is not here.
fn named<T>(
    list: Vec<(String, T)>,
    kernel: impl Fn(&str) -> Option<Kernel>,
) -> Option<Vec<(Kernel, T)>> {
    let found = list
        .into_iter()
        .map(|(id, value)| Some((kernel(&id)?, value)));
    found.collect()
}

impl Tuning {
    fn empty(cpu: &Cpu) -> Tuning {
        Tuning {
            profile: Profile::new(cpu, &host::now_utc(), Vec::new()),
            jobs: Vec::new(),
            skipped: Vec::new(),
            served: Vec::new(),
            unstored: Vec::new(),
            noise: Noise::default(),
            notes: Vec::new(),
            resumed_after: 0.0,
            cancelled: false,
            seconds: 0.0,
        }
    }
}

#[cfg(test)]
#[path = "tune_tests.rs"]
mod tests;
