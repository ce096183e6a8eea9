//! Tuning: for each matrix shape and thread count, find the fastest kernel and tile, and write down the evidence.
//!
//! The budget is shared out so that any budget helps: the shape on which a model spends most comes first and gets the
//! larger part, and what a job leaves over goes to those after it. Weights are read cold: see `rotation.rs`.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tern_kernels::profile::FORMAT;
use tern_kernels::{
    Cpu, Entry, Family, Force, HostInfo, Kernel, Pages, Planner, Profile, Shape, Tile,
};

use crate::bench::{GemvBench, Weights};
use crate::candidates::{Field, field};
use crate::error::TuneError;
use crate::host;
use crate::measure::{Candidate, Clock};
use crate::search::{Decision, Outcome, Ranking, Rules, run_off, search};
use crate::shapes::Work;
use crate::spread::Spread;

/// More threads than this are a slip of the finger.
const THREADS_MAX: usize = 1024;

/// A kernel that took more than this multiple of the best one's time is not tried again on the shapes that follow.
const HOPELESS: f64 = 1.6;

/// Rotation distance where the size of the last-level cache is unknown: larger than that of most CPUs.
const UNKNOWN_L3: usize = 64 << 20;

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
    /// One thread and all usable cores, 20 seconds, huge pages, all kernels.
    pub fn new(cpu: &Cpu) -> TuneOptions {
        let mut threads = vec![1, cpu.cores.max(1)];
        threads.dedup();
        TuneOptions {
            threads,
            budget: Duration::from_secs(20),
            pages: Pages::Huge,
            force: None,
        }
    }
}

/// What a running measurement tells its caller.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// A shape and thread count begins.
    Job {
        /// Counted from 1.
        index: usize,
        /// How many there are.
        total: usize,
        /// The shape.
        shape: Shape,
        /// The threads.
        threads: usize,
    },
    /// A stage of the search begins.
    Stage {
        /// `kernels`, `tiles` or `run-off`, or what else is being measured.
        name: &'static str,
        /// How many candidates take part.
        candidates: usize,
    },
    /// A winner is known.
    Done {
        /// The shape.
        shape: Shape,
        /// The threads.
        threads: usize,
        /// Id of the winner.
        kernel: &'static str,
        /// Its tile.
        tile: Tile,
        /// Its median.
        median_us: f64,
        /// Why it won.
        decision: Decision,
        /// Id of the best other kernel, and how many times as long it took.
        ahead_of: Option<(&'static str, f64)>,
    },
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Progress::Job {
                index,
                total,
                shape,
                threads,
            } => {
                write!(
                    f,
                    "[{index}/{total}] {shape}, {}",
                    plural(*threads, "thread")
                )
            }
            Progress::Stage { name, candidates } => {
                write!(f, "  {name}: {}", plural(*candidates, "candidate"))
            }
            Progress::Done {
                shape,
                threads,
                kernel,
                tile,
                median_us,
                decision,
                ahead_of,
            } => {
                let tile = tile_text(tile);
                write!(
                    f,
                    "{shape} x{threads}: {kernel} {tile} {median_us:.1} us ({decision}"
                )?;
                match ahead_of {
                    Some((other, ratio)) => write!(f, "; {other} takes {ratio:.3}x)"),
                    None => write!(f, ")"),
                }
            }
        }
    }
}

/// `1 thread`, `2 threads`.
fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A tile in few characters: `k1 c0 p4096`.
pub(crate) fn tile_text(tile: &Tile) -> String {
    format!("k{} c{} p{}", tile.k_blocks, tile.chunk, tile.prefetch)
}

/// One candidate's row of a job.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// Id of the kernel.
    pub kernel: &'static str,
    /// Its family's name.
    #[serde(serialize_with = "crate::report::as_text")]
    pub family: Family,
    /// The tile.
    pub tile: Tile,
    /// Microseconds per product in the last stage that it reached.
    pub spread: Option<Spread>,
    /// Microseconds to prepare one token's activations, which all matrices with the same input share; measured for the
    /// last two.
    pub build: Option<Spread>,
    /// What became of it.
    pub outcome: Outcome,
}

/// The search for one shape and thread count.
#[derive(Clone, Debug, Serialize)]
pub struct Job {
    /// The shape.
    #[serde(serialize_with = "crate::report::as_text")]
    pub shape: Shape,
    /// The threads.
    pub threads: usize,
    /// Every candidate: the winner first, then the runner-up, then the rest by time, the untimed last. Kernels that were
    /// hopeless on an earlier shape of the same tuning have no row.
    pub trials: Vec<Trial>,
    /// Why the winner won.
    pub decision: Decision,
    /// How long the search took, packing included.
    pub seconds: f64,
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
    let distance = cold_distance(cpu);
    let mut tuning = Tuning::empty(cpu);
    let mut weights: Option<Weights> = None;
    // Packing a matrix for a kernel costs more than timing it, and who is far behind on the largest shape never wins.
    let mut hopeless: HashSet<(usize, &'static str)> = HashSet::new();
    for (index, &order) in orders.iter().enumerate() {
        let (shape, threads) = (order.work.shape, order.threads);
        let stopped = cancel.load(Ordering::Relaxed);
        if stopped || (clock.elapsed() >= options.budget && !tuning.jobs.is_empty()) {
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
        if weights
            .as_ref()
            .is_none_or(|weights| weights.shape() != shape)
        {
            // The old weights go before the new ones come: both together might not fit.
            weights = None;
        }
        let started = clock.elapsed();
        let left = options.budget.saturating_sub(started);
        let rules = Rules::with_budget(share(left, &orders[index..]));
        let weights = weights.get_or_insert_with(|| {
            Weights::in_memory(shape, options.pages, distance, host::memory_allowance())
        });
        let left_out = |kernel: &Kernel| hopeless.contains(&(threads, kernel.id));
        let field = field(&planner, options.force.as_ref(), shape, threads, &left_out);
        let mut bench = GemvBench::new(weights, &field.candidates, threads, cancel)?;
        let mut notify = |name, candidates| progress(&Progress::Stage { name, candidates });
        let ranking = search(&mut bench, &field.kernels, &rules, &mut notify);
        let seconds = (clock.elapsed() - started).as_secs_f64();
        let job = job(order, &field, &mut bench, &ranking, seconds)?;
        tuning.note_distance(weights.rotation().reuse_distance(), distance);
        let entry = entry(&field, &ranking, shape, threads);
        progress(&done(&job, &entry));
        hopeless.extend(job.slow_kernels().map(|kernel| (threads, kernel)));
        tuning.jobs.push(job);
        tuning.profile.entries.push(entry);
    }
    tuning.seconds = clock.elapsed().as_secs_f64();
    Ok(tuning)
}

fn check(orders: &[Order]) -> Result<(), TuneError> {
    if orders.is_empty() {
        return Err(TuneError::NoWork);
    }
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

/// Bytes of traffic after which weights are cold: twice the last-level cache.
pub(crate) fn cold_distance(cpu: &Cpu) -> u64 {
    let caches = &cpu.caches;
    let last = if caches.l3 > 0 {
        caches.l3
    } else {
        caches.l2.max(UNKNOWN_L3)
    };
    2 * last as u64
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

fn job(
    order: Order,
    field: &Field,
    bench: &mut GemvBench<'_>,
    ranking: &Ranking,
    seconds: f64,
) -> Result<Job, TuneError> {
    let (shape, threads) = (order.work.shape, order.threads);
    if ranking.winner.is_none() {
        let reason = ranking.rows.iter().find_map(|row| match &row.outcome {
            Outcome::Invalid(reason) => Some(reason.clone()),
            _ => None,
        });
        let reason = reason.unwrap_or_else(|| "there was no time".to_string());
        return Err(TuneError::NoCandidate {
            shape,
            threads,
            reason,
        });
    }
    let mut trials: Vec<Trial> = Vec::new();
    for (index, (candidate, row)) in field.candidates.iter().zip(&ranking.rows).enumerate() {
        let last_two = matches!(row.outcome, Outcome::Won | Outcome::RunnerUp);
        trials.push(Trial {
            kernel: candidate.kernel.id,
            family: candidate.kernel.family,
            tile: candidate.tile,
            spread: row.spread.clone(),
            build: if last_two { bench.build(index) } else { None },
            outcome: row.outcome.clone(),
        });
    }
    // Stages are sampled at different moments, so what went further comes first whatever its time was.
    let rank = |trial: &Trial| match &trial.outcome {
        Outcome::Won => 0,
        Outcome::RunnerUp => 1,
        Outcome::Eliminated { stage: "tiles", .. } => 2,
        Outcome::Eliminated { .. } => 3,
        Outcome::Invalid(_) => 4,
        Outcome::NotRun => 5,
    };
    let time = |trial: &Trial| match &trial.outcome {
        Outcome::Eliminated { ratio, .. } => *ratio,
        _ => 0.0,
    };
    trials.sort_by(|a, b| rank(a).cmp(&rank(b)).then(time(a).total_cmp(&time(b))));
    Ok(Job {
        shape,
        threads,
        trials,
        decision: ranking.decision,
        seconds,
    })
}

/// The profile's entry. Its runner-up is the best *other kernel*, which tells more than another tile of the winner.
fn entry(field: &Field, ranking: &Ranking, shape: Shape, threads: usize) -> Entry {
    let winner = ranking.winner.expect("a job without a winner is an error");
    let Candidate { kernel, tile } = field.candidates[winner];
    let spread = ranking.rows[winner].spread.as_ref();
    let (median_us, mad_us) = spread.map_or((0.0, 0.0), |spread| (spread.median, spread.mad));
    let rows = ranking.rows.iter().zip(&field.candidates);
    let others = rows.filter(|(_, candidate)| candidate.kernel != kernel);
    let runner_up = others
        .filter_map(|(row, candidate)| {
            let ratio = match row.outcome {
                Outcome::RunnerUp => row.spread.as_ref()?.median / median_us,
                Outcome::Eliminated { ratio, .. } => ratio,
                _ => return None,
            };
            Some((candidate.kernel.id, ratio))
        })
        .min_by(|a, b| a.1.total_cmp(&b.1));
    Entry {
        rows: shape.rows,
        cols: shape.cols,
        threads,
        kernel: kernel.id.to_string(),
        fingerprint: kernel.fingerprint.to_string(),
        tile,
        median_us: rounded(median_us),
        mad_us: rounded(mad_us),
        runner_up: runner_up.map(|(id, _)| id.to_string()),
        runner_up_median_us: runner_up.map(|(_, ratio)| rounded(ratio * median_us)),
    }
}

/// Nanoseconds are as fine as a profile needs; more digits only make diffs longer.
fn rounded(us: f64) -> f64 {
    (us * 1000.0).round() / 1000.0
}

fn done(job: &Job, entry: &Entry) -> Progress {
    let winner = &job.trials[0];
    let other = entry.runner_up.as_deref().zip(entry.runner_up_median_us);
    let id = |name: &str| {
        job.trials
            .iter()
            .map(|trial| trial.kernel)
            .find(|id| *id == name)
    };
    Progress::Done {
        shape: job.shape,
        threads: job.threads,
        kernel: winner.kernel,
        tile: winner.tile,
        median_us: entry.median_us,
        decision: job.decision,
        ahead_of: other.and_then(|(name, us)| Some((id(name)?, us / entry.median_us))),
    }
}

impl Job {
    /// Kernels that lost the first race by so much that another shape will not make them win.
    fn slow_kernels(&self) -> impl Iterator<Item = &'static str> {
        self.trials.iter().filter_map(|trial| match trial.outcome {
            Outcome::Eliminated {
                stage: "kernels",
                ratio,
            } if ratio > HOPELESS => Some(trial.kernel),
            _ => None,
        })
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

    fn note_distance(&mut self, reached: u64, wanted: u64) {
        let note = distance_note(reached, wanted);
        self.notes
            .extend(note.filter(|note| !self.notes.contains(note)));
    }
}

/// What to say if weights were warmer than they should be.
pub(crate) fn distance_note(reached: u64, wanted: u64) -> Option<String> {
    (reached < wanted / 10 * 9).then(|| {
        format!(
            "weights were read again after {} MiB instead of {} MiB, because more copies would not fit: \
             times may be too short",
            reached >> 20,
            wanted >> 20
        )
    })
}

/// How [`paired_runoff`] measures.
#[derive(Clone, Debug)]
pub struct RunoffOptions {
    /// Pairs of samples at most; a clear result ends it earlier.
    pub pairs: usize,
    /// Time at most.
    pub budget: Duration,
    /// Pages of the packed weights.
    pub pages: Pages,
}

impl Default for RunoffOptions {
    fn default() -> RunoffOptions {
        RunoffOptions {
            pairs: 61,
            budget: Duration::from_secs(5),
            pages: Pages::Huge,
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
    use crate::search::Bench as _;
    let never = AtomicBool::new(false);
    let (distance, limit) = (cold_distance(cpu), host::memory_allowance());
    let mut weights = Weights::in_memory(shape, options.pages, distance, limit);
    let mut bench = GemvBench::new(&mut weights, &pair, threads, &never)?;
    for index in 0..pair.len() {
        bench
            .admit(index)
            .map_err(|reason| TuneError::NoCandidate {
                shape,
                threads,
                reason,
            })?;
    }
    // The first samples pay for the copies; they are not counted.
    let _ = (bench.sample(0), bench.sample(1));
    bench.restart();
    let pairs = run_off(&mut bench, 0, 1, options.pairs, options.budget);
    let ratio = pairs.ratio().ok_or(TuneError::Nothing)?;
    let a = Spread::of(pairs.a).ok_or(TuneError::Nothing)?;
    let b = Spread::of(pairs.b).ok_or(TuneError::Nothing)?;
    Ok(Runoff { a, b, ratio })
}

#[cfg(test)]
#[path = "tune_tests.rs"]
mod tests;
