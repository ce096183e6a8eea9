//! Does a profile still hold? Times its winners against their runners-up again, which takes a fraction of a tuning.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use tern_kernels::{Cpu, Entry, Pages, Profile};

use crate::error::TuneError;
use crate::measure::Candidate;
use crate::progress::Progress;
use crate::runoff::{RunOff, Shelf, run_off_in_turns};

/// A winner that is slower than its runner-up by more than this, and by more than the noise, no longer holds.
pub const SLACK: f64 = 0.03;

/// A saved winner beside its runner-up, timed again.
#[derive(Clone, Debug, Serialize)]
pub struct Rechecked {
    /// What for: shape and threads.
    pub name: String,
    /// Id of the winner.
    pub winner: String,
    /// Id of the runner-up.
    pub runner_up: String,
    /// By which part of the winner's time the runner-up was slower when it was tuned.
    pub then: f64,
    /// The same now.
    pub now: f64,
    /// What part of it may be noise: two standard errors.
    pub noise: f64,
    /// Whether the winner is not slower by more than [`SLACK`] and the noise.
    pub holds: bool,
}

/// How a profile fared.
#[derive(Clone, Debug, Serialize)]
pub struct Recheck {
    /// One row for each entry that has a runner-up and was timed.
    pub entries: Vec<Rechecked>,
    /// Entries that could not be judged: without a runner-up, with one that is not in this version, or for want of time.
    pub unjudged: Vec<String>,
}

impl Recheck {
    /// Whether all that was judged holds.
    pub fn holds(&self) -> bool {
        self.entries.iter().all(|entry| entry.holds)
    }
}

/// Times every winner of `profile` against its runner-up, all in turns, within `budget`.
///
/// # Errors
/// A kernel is no longer exact or cannot be set up, or the system refuses memory or threads.
pub fn recheck(
    cpu: &Cpu,
    profile: &Profile,
    pages: Pages,
    budget: Duration,
    progress: &mut dyn FnMut(&Progress),
    cancel: &AtomicBool,
) -> Result<Recheck, TuneError> {
    let mut found = Recheck {
        entries: Vec::new(),
        unjudged: Vec::new(),
    };
    let (mut run_offs, mut entries) = (Vec::new(), Vec::new());
    for entry in &profile.entries {
        match pair(cpu, entry) {
            Some(pair) => {
                let sharing = entry.sharing;
                run_offs.push(RunOff::new(
                    entry.shape(),
                    entry.threads,
                    sharing,
                    pair.to_vec(),
                ));
                entries.push(entry);
            }
            None => found.unjudged.push(entry.name()),
        }
    }
    progress(&Progress::RunOffs {
        count: run_offs.len(),
    });
    let mut shelf = Shelf::new(cpu, pages);
    let mut after = |run_off: &RunOff| {
        progress(&Progress::Turn {
            shape: run_off.shape,
            threads: run_off.threads,
            left: run_off.finals.left().len(),
        });
    };
    run_off_in_turns(&mut run_offs, &mut shelf, budget, cancel, &mut after);
    for (entry, run_off) in entries.into_iter().zip(run_offs) {
        if let Some(failure) = run_off.failure {
            return Err(failure);
        }
        let ratio = run_off.finals.ratio(1, 0);
        let noise = run_off.finals.noise(0);
        let (Some(ratio), Some(noise), Some(then)) = (ratio, noise, &entry.runner_up) else {
            found.unjudged.push(entry.name());
            continue;
        };
        let now = ratio.median - 1.0;
        found.entries.push(Rechecked {
            name: entry.name(),
            winner: entry.kernel.clone(),
            runner_up: then.kernel.clone(),
            then: then.margin,
            now,
            noise,
            holds: now >= -SLACK.max(noise),
        });
    }
    Ok(found)
}

/// Winner and runner-up, if this CPU runs both.
fn pair(cpu: &Cpu, entry: &Entry) -> Option<[Candidate; 2]> {
    let runner_up = entry.runner_up.as_ref()?;
    Some([
        Candidate {
            kernel: cpu.kernel(&entry.kernel)?,
            tile: entry.tile,
        },
        Candidate {
            kernel: cpu.kernel(&runner_up.kernel)?,
            tile: runner_up.tile,
        },
    ])
}
