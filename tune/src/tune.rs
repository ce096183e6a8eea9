//! Tuning: for each matrix shape and thread count, find the fastest kernel and tile, and write down the evidence.
//!
//! The budget is shared out so that any budget helps: the shape on which a model spends most comes first and gets the
//! larger part, and what a job leaves over goes to those after it. Weights are read cold: see `rotation.rs`. A product's time includes its part of
//! preparing the activations, so that tables that are quick to use but slow to build are judged by both.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tern_kernels::profile::FORMAT;
use tern_kernels::{Cpu, Force, HostInfo, Kernel, Pages, Planner, Profile, Tables};

use crate::bench::{GemvBench, Weights, cold_distance, distance_note};
use crate::candidates::{Field, kernels};
use crate::error::TuneError;
use crate::host;
use crate::job::Job;
use crate::measure::Clock;
use crate::progress::Progress;
use crate::screen::{Screen, verdicts};
use crate::search::{Outcome, Rules, search};
use crate::shapes::{Work, check_shape};

/// More threads than this are a slip of the finger.
const THREADS_MAX: usize = 1024;

/// The part of a job's time in which kernels are screened, at most.
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
    /// One thread and all usable cores, 30 seconds at most, huge pages, all kernels.
    pub fn new(cpu: &Cpu) -> TuneOptions {
        let mut threads = vec![1, cpu.cores.max(1)];
        threads.dedup();
        let budget = Duration::from_secs(30);
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
    let screen = Screen::default();
    let mut tuner = Tuner {
        options,
        planner,
        cancel,
        screen,
        present: None,
    };
    let mut tuning = Tuning::empty(cpu);
    for (index, &order) in orders.iter().enumerate() {
        let (shape, threads) = (order.work.shape, order.threads);
        let stopped = cancel.load(Ordering::Relaxed);
        if stopped || (clock.elapsed() >= options.budget && !tuning.jobs.is_empty()) {
            tuning.cancelled |= stopped;
            tuning.skipped.push((shape.to_string(), threads));
            continue;
        }
        let (index, total) = (index + 1, orders.len());
        progress(&Progress::Job {
            index,
            total,
            shape,
            threads,
        });
        let started = clock.elapsed();
        let left = options.budget.saturating_sub(started);
        let (mut job, kernel) = tuner.job(order, share(left, &orders[index - 1..]), progress)?;
        job.seconds = (clock.elapsed() - started).as_secs_f64();
        progress(&job.done());
        tuning
            .profile
            .entries
            .push(job.entry(kernel, order.work.sharing()));
        tuning.jobs.push(job);
        let note = tuner.note();
        tuning
            .notes
            .extend(note.filter(|note| !tuning.notes.contains(note)));
    }
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

/// The part of the time left for the first of `orders`. Shapes get time by the square root of their cost: the cheap
/// ones need nearly as many samples as the expensive ones.
fn share(left: Duration, orders: &[Order]) -> Duration {
    let weight = |order: &Order| (order.work.weights() as f64).sqrt();
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
    /// The shape at hand: all its thread counts use the same weights.
    present: Option<Present>,
}

/// What is kept from one thread count of a shape to the next.
struct Present {
    weights: Weights,
    /// Why a kernel was left out, where it was.
    screened: Vec<(Kernel, Option<Outcome>)>,
}

impl Tuner<'_> {
    /// Tunes one shape and thread count. Also returns the winning kernel.
    fn job(
        &mut self,
        order: Order,
        budget: Duration,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(Job, Kernel), TuneError> {
        let clock = Clock::start();
        let (shape, threads) = (order.work.shape, order.threads);
        if self
            .present
            .as_ref()
            .is_none_or(|present| present.weights.shape() != shape)
        {
            // The old weights go before the new ones come: both together might not fit.
            self.present = None;
        }
        let mut present = match self.present.take() {
            Some(present) => present,
            None => self.begin(order, budget.mul_f64(SCREENING_SHARE), progress)?,
        };
        let passed = present
            .screened
            .iter()
            .filter(|(_, outcome)| outcome.is_none());
        let field = Field::of_tables(
            passed.map(|(kernel, _)| *kernel),
            shape,
            threads,
            &[Tables::Shared, Tables::Own],
        );
        let weights = &mut present.weights;
        let mut bench = GemvBench::new(weights, &field.candidates, threads, self.cancel)?
            .with_preparation(order.work.sharing());
        let rules = Rules::with_budget(budget.saturating_sub(clock.elapsed()));
        let mut notify = |name, candidates| progress(&Progress::Stage { name, candidates });
        let ranking = search(&mut bench, &field.kernels, &rules, &mut notify);
        let left_out: Vec<(Kernel, Outcome)> = present
            .screened
            .iter()
            .filter_map(|(kernel, outcome)| Some((*kernel, outcome.clone()?)))
            .collect();
        let job = Job::new((shape, threads), &field, &ranking, &left_out, &mut bench)?;
        let winner = ranking.winner.map(|winner| field.candidates[winner].kernel);
        self.present = Some(present);
        Ok((job, winner.expect("a job without a winner is an error")))
    }

    /// Begins with a shape: screens the kernels and makes the weights.
    fn begin(
        &mut self,
        order: Order,
        budget: Duration,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Present, TuneError> {
        let (cpu, pages) = (self.planner.cpu(), self.options.pages);
        let shape = order.work.shape;
        let kernels = kernels(
            &self.planner,
            self.options.force.as_ref(),
            shape,
            order.threads,
        );
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
        let (distance, limit) = (cold_distance(cpu), host::memory_allowance());
        let weights = Weights::in_memory(shape, pages, distance, limit);
        Ok(Present {
            weights,
            screened: kernels.into_iter().zip(outcomes).collect(),
        })
    }

    /// Whether the present weights were warmer than they should be.
    fn note(&mut self) -> Option<String> {
        let reached = self.present.as_mut()?.weights.rotation().reuse_distance();
        distance_note(reached, cold_distance(self.planner.cpu()))
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
