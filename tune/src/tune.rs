//! Tuning: for each matrix shape and thread count, find the fastest kernel and tile, and write down the evidence.
//!
//! The budget is shared out so that any budget helps: the shape on which a model spends most comes first and gets the
//! larger part, and what a job leaves over goes to those after it. The races of all shapes come first (`search.rs`), then the
//! run-offs of all of them in turns (`runoff.rs`). Weights are read cold: see `rotation.rs`. A product's time includes its part of
//! preparing the activations, so that tables that are quick to use but slow to build are judged by both.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tern_kernels::profile::FORMAT;
use tern_kernels::{Cpu, Force, HostInfo, Kernel, Pages, Planner, Profile, Shape, Tables};

use crate::bench::{GemvBench, cold_distance, distance_note};
use crate::candidates::{Field, kernels};
use crate::error::TuneError;
use crate::finals::Finals;
use crate::host;
use crate::job::Job;
use crate::measure::Clock;
use crate::progress::Progress;
use crate::runoff::{RunOff, Shelf, run_off_in_turns};
use crate::screen::{Screen, verdicts};
use crate::search::{Outcome, Raced, Rules, race};
use crate::shapes::{Work, check_shape};
use crate::spread::Spread;

/// More threads than this are a slip of the finger.
const THREADS_MAX: usize = 1024;

/// The part of the time that is for the run-offs. They see the machine over all of it, and a race only for a few seconds, so much of the
/// choice is left to them.
const RUN_OFF_SHARE: f64 = 0.45;

/// The part of a race's time in which kernels are screened, at most.
const SCREENING_SHARE: f64 = 0.3;

/// What to tune for, and for how long.
#[derive(Clone, Debug)]
pub struct TuneOptions {
    /// Thread counts, each tuned by itself.
    pub threads: Vec<usize>,
    /// Time for everything together. It is exceeded only by the last round of measurements.
    pub budget: Duration,
    /// Pages of the packed weights.
    pub pages: Pages,
    /// Tune only these kernels.
    pub force: Option<Force>,
}

impl TuneOptions {
    /// One thread and all usable cores, two minutes at most, huge pages, all kernels.
    pub fn new(cpu: &Cpu) -> TuneOptions {
        let mut threads = vec![1, cpu.cores.max(1)];
        threads.dedup();
        let budget = Duration::from_secs(120);
        TuneOptions {
            threads,
            budget,
            pages: Pages::Huge,
            force: None,
        }
    }
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
    /// What the reader of the result should know, a sentence each.
    pub notes: Vec<String>,
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
    let mut threads = options.threads.clone();
    threads.sort_unstable();
    threads.dedup();
    let orders = work
        .iter()
        .flat_map(|&work| threads.iter().map(move |&t| Order { work, threads: t }));
    tune_orders(cpu, &orders.collect::<Vec<_>>(), options, progress, cancel)
}

/// Tunes `orders` in their order; orders of the same shape must be neighbours.
pub(crate) fn tune_orders(
    cpu: &Cpu,
    orders: &[Order],
    options: &TuneOptions,
    progress: &mut dyn FnMut(&Progress),
    cancel: &AtomicBool,
) -> Result<Tuning, TuneError> {
    check(orders)?;
    let clock = Clock::start();
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
    let racing = options.budget.mul_f64(1.0 - RUN_OFF_SHARE);
    let (mut raced, mut run_offs) = (Vec::new(), Vec::new());
    for (index, &order) in orders.iter().enumerate() {
        let (shape, threads) = (order.work.shape, order.threads);
        let stopped = cancel.load(Ordering::Relaxed);
        if stopped || (clock.elapsed() >= racing && !raced.is_empty()) {
            tuning.cancelled |= stopped;
            tuning.skipped.push((shape.to_string(), threads));
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
        let left = racing.saturating_sub(clock.elapsed());
        let job = tuner.race(order, share(left, &orders[index..]), progress)?;
        let finalists = job.raced.finalists.iter();
        let candidates = finalists.map(|&index| job.field.candidates[index]);
        let sharing = order.work.sharing();
        run_offs.push(RunOff::new(shape, threads, sharing, candidates.collect()));
        raced.push(job);
        let note = tuner.note(shape);
        let is_new = |note: &String| !tuning.notes.contains(note);
        tuning.notes.extend(note.filter(is_new));
    }
    tuner.shelf.keep_only(&run_offs);
    let count = run_offs.iter().filter(|one| one.candidates.len() > 1);
    progress(&Progress::RunOffs {
        count: count.count(),
    });
    let left = options.budget.saturating_sub(clock.elapsed());
    run_off_in_turns(&mut run_offs, &mut tuner.shelf, left, cancel);
    for (job, run_off) in raced.into_iter().zip(run_offs) {
        let order = job.order;
        if let Some(failure) = run_off.failure {
            let (shape, threads) = (order.work.shape, order.threads);
            let note = format!("the run-off of {shape} x{threads} ended early: {failure}");
            tuning.notes.push(note);
        }
        let (job, kernel) = job.decide(run_off.finals)?;
        progress(&job.done());
        tuning
            .profile
            .entries
            .push(job.entry(kernel, order.work.sharing()));
        tuning.jobs.push(job);
    }
    tuning.cancelled |= cancel.load(Ordering::Relaxed);
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
struct RacedJob {
    order: Order,
    field: Field,
    raced: Raced,
    screened: Vec<(Kernel, Outcome)>,
    builds: Vec<(Kernel, Option<Spread>)>,
    seconds: f64,
}

impl Tuner<'_> {
    /// The races of one shape and thread count.
    fn race(
        &mut self,
        order: Order,
        budget: Duration,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<RacedJob, TuneError> {
        let clock = Clock::start();
        let (shape, threads) = (order.work.shape, order.threads);
        if !self.screened.contains_key(&shape) {
            let screened = self.screened(order, budget.mul_f64(SCREENING_SHARE), progress)?;
            self.screened.insert(shape, screened);
        }
        let kernels = &self.screened[&shape];
        let passed = kernels.iter().filter(|(_, outcome)| outcome.is_none());
        let field = Field::of_tables(
            passed.map(|(kernel, _)| *kernel),
            shape,
            threads,
            &[Tables::Shared, Tables::Own],
        );
        let weights = self.shelf.weights(shape);
        let mut bench = GemvBench::new(weights, &field.candidates, threads, self.cancel)?
            .with_preparation(order.work.sharing());
        let rules = Rules::with_budget(budget.saturating_sub(clock.elapsed()));
        let mut notify = |name, candidates| progress(&Progress::Stage { name, candidates });
        let raced = race(&mut bench, &field.kernels, &rules, &mut notify);
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
        let screened = kernels
            .iter()
            .filter_map(|(kernel, outcome)| Some((*kernel, outcome.clone()?)))
            .collect();
        Ok(RacedJob {
            order,
            field,
            raced,
            screened,
            builds,
            seconds: clock.elapsed().as_secs_f64(),
        })
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
        let outcomes = if kernels.len() > 1 {
            progress(&Progress::Stage {
                name: "screening",
                candidates: kernels.len(),
            });
            let times = self
                .screen
                .times(cpu, &kernels, shape, pages, budget, self.cancel)?;
            verdicts(&kernels, &times)
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

impl RacedJob {
    /// The result after the run-off. Also returns the winning kernel.
    fn decide(self, finals: Finals) -> Result<(Job, Kernel), TuneError> {
        let shape = self.order.work.shape;
        let ranking = self.raced.decide(finals);
        let mut job = Job::new(
            (shape, self.order.threads),
            &self.field,
            &ranking,
            &self.screened,
            &self.builds,
        )?;
        job.seconds = self.seconds;
        let winner = ranking.winner.map(|winner| self.field.candidates[winner]);
        let winner = winner.expect("a job without a winner is an error");
        Ok((job, winner.kernel))
    }
}

impl Tuning {
    fn empty(cpu: &Cpu) -> Tuning {
        let profile = Profile {
            format: FORMAT,
            engine: env!("CARGO_PKG_VERSION").to_string(),
            date: host::now_utc()[..10].to_string(),
            host: HostInfo::of(cpu),
            entries: Vec::new(),
        };
        let (jobs, skipped, notes) = (Vec::new(), Vec::new(), Vec::new());
        Tuning {
            profile,
            jobs,
            skipped,
            notes,
            cancelled: false,
            seconds: 0.0,
        }
    }
}

#[cfg(test)]
#[path = "tune_tests.rs"]
mod tests;
