//! Does a profile still hold? Tunes its shapes anew and runs each saved winner off against the new one.

use std::fmt::Write as _;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use tern_kernels::{Cpu, Entry, Profile, Shape};

use crate::error::TuneError;
use crate::measure::Candidate;
use crate::progress::{Progress, tile_text};
use crate::runoff::{RunOff, Shelf, run_off_in_turns};
use crate::shapes::Work;
use crate::tune::{Order, TuneOptions, Tuning, tune_orders};

/// Time for run-offs of saved and new winners, for each of them; some use less of it and leave it to others.
const EACH: Duration = Duration::from_secs(5);

/// A saved winner beside the winner of a new tuning.
#[derive(Clone, Debug, Serialize)]
pub struct Agreement {
    /// The shape.
    #[serde(serialize_with = "crate::report::as_text")]
    pub shape: Shape,
    /// The threads.
    pub threads: usize,
    /// Kernel and tile of the profile.
    pub saved: String,
    /// Kernel and tile that won now.
    pub renewed: String,
    /// Whether they are the same.
    pub same: bool,
    /// Time of the saved one over the time of the new one in a paired run-off; 1 if they are the same.
    pub ratio: f64,
    /// Median absolute deviation of that ratio over the rounds.
    pub ratio_mad: f64,
}

/// How well a profile and a new tuning agree.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// How many entries there were to judge: all that the profile has for kernels that run here.
    pub wanted: usize,
    /// One row for each entry that was tuned anew; fewer than `wanted` if the time was up.
    pub entries: Vec<Agreement>,
    /// The new tuning.
    pub tuning: Tuning,
}

/// Tunes every shape and thread count of `profile` anew within `options.budget` (`options.threads` is not used) and
/// then times each saved winner against the new one, a few seconds each at most.
///
/// # Errors
/// An empty profile, and everything that makes a tuning fail.
pub fn verify(
    cpu: &Cpu,
    profile: &Profile,
    options: &TuneOptions,
    progress: &mut dyn FnMut(&Progress),
    cancel: &AtomicBool,
) -> Result<Verification, TuneError> {
    let orders = orders(profile);
    let options = &TuneOptions {
        // A winner is wanted for each, to compare with.
        store_noisy: true,
        ..options.clone()
    };
    let tuning = tune_orders(cpu, &orders, options, None, progress, cancel)?;
    let mut rows = Vec::new();
    let mut run_offs = Vec::new();
    for (job, renewed) in tuning.jobs.iter().zip(&tuning.profile.entries) {
        // Loading a profile drops entries whose kernel is not here, so both are.
        let saved = find(profile, renewed).and_then(|saved| candidate(cpu, saved));
        let Some((saved, new)) = saved.zip(candidate(cpu, renewed)) else {
            continue;
        };
        let (shape, threads) = (job.shape, job.threads);
        let run_off = (saved != new).then(|| {
            run_offs.push(RunOff::new(
                shape,
                threads,
                renewed.sharing,
                vec![new, saved],
            ));
            run_offs.len() - 1
        });
        rows.push((shape, threads, saved, new, run_off));
    }
    progress(&Progress::RunOffs {
        count: run_offs.len(),
    });
    let mut shelf = Shelf::new(cpu, options.pages);
    let budget = EACH.saturating_mul(u32::try_from(run_offs.len()).unwrap_or(u32::MAX));
    run_off_in_turns(&mut run_offs, &mut shelf, budget, cancel, &mut |_| {});
    if let Some(failure) = run_offs.iter_mut().find_map(|one| one.failure.take()) {
        return Err(failure);
    }
    let mut entries = Vec::new();
    for (shape, threads, saved, new, run_off) in rows {
        let ratio = run_off.map(|index: usize| run_offs[index].finals.ratio(1, 0));
        // Without a single round the user stopped it: nothing is known.
        let (ratio, ratio_mad) = match ratio {
            None => (1.0, 0.0),
            Some(Some(ratio)) => (ratio.median, ratio.mad),
            Some(None) => continue,
        };
        entries.push(Agreement {
            shape,
            threads,
            saved: text(&saved),
            renewed: text(&new),
            same: saved == new,
            ratio,
            ratio_mad,
        });
    }
    Ok(Verification {
        wanted: orders.len(),
        entries,
        tuning,
    })
}

/// The shapes and thread counts of a profile, the most expensive first, those of one shape together.
fn orders(profile: &Profile) -> Vec<Order> {
    let mut orders: Vec<Order> = profile
        .entries
        .iter()
        .map(|entry| {
            let shape = Shape {
                rows: entry.rows,
                cols: entry.cols,
            };
            Order {
                work: Work {
                    shape,
                    count: 1,
                    inputs: 1.0 / entry.sharing,
                },
                threads: entry.threads,
            }
        })
        .collect();
    orders.sort_by_key(|order| {
        (
            std::cmp::Reverse(order.work.weights()),
            order.work.shape,
            order.threads,
        )
    });
    orders.dedup_by_key(|order| (order.work.shape, order.threads));
    orders
}

/// The entry of `profile` for the shape and thread count of `entry`.
fn find<'a>(profile: &'a Profile, entry: &Entry) -> Option<&'a Entry> {
    let key = |entry: &Entry| (entry.rows, entry.cols, entry.threads);
    profile
        .entries
        .iter()
        .find(|saved| key(saved) == key(entry))
}

/// The entry's kernel and tile, if this CPU runs the kernel.
fn candidate(cpu: &Cpu, entry: &Entry) -> Option<Candidate> {
    Some(Candidate {
        kernel: cpu.kernel(&entry.kernel)?,
        tile: entry.tile,
    })
}

fn text(candidate: &Candidate) -> String {
    format!("{} {}", candidate.kernel.id, tile_text(&candidate.tile))
}

impl Verification {
    /// Whether every entry was judged.
    pub fn is_complete(&self) -> bool {
        self.entries.len() == self.wanted
    }

    /// The share of judged entries whose saved winner is at most `slack` slower than the new one (0.03 for 3 %), 0 to 1.
    pub fn within(&self, slack: f64) -> f64 {
        if self.entries.is_empty() {
            return 0.0;
        }
        let good = self
            .entries
            .iter()
            .filter(|entry| entry.ratio <= 1.0 + slack)
            .count();
        good as f64 / self.entries.len() as f64
    }

    /// A table for the terminal.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<14} {:>7}  {:>11}  saved -> new\n",
            "shape", "threads", "saved/new"
        );
        for entry in &self.entries {
            let winners = match entry.same {
                true => format!("{} (the same)", entry.saved),
                false => format!("{} -> {}", entry.saved, entry.renewed),
            };
            let ratio = format!("{:.3} ±{:.3}", entry.ratio, entry.ratio_mad);
            let shape = entry.shape.to_string();
            let _ = writeln!(
                text,
                "{shape:<14} {:>7}  {ratio:>11}  {winners}",
                entry.threads
            );
        }
        let share = 100.0 * self.within(0.03);
        let _ = writeln!(
            text,
            "{} of {} entries checked; {share:.0} % of their winners are within 3 % of the new ones.",
            self.entries.len(),
            self.wanted
        );
        text
    }
}
