//! Does a profile still hold, and what is it worth? Times its winners again, against their runners-up, what would be chosen without a profile,
//! and what a tuner with warm weights would choose, all in the same rounds. That takes a fraction of a tuning.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use tern_kernels::{Cpu, Entry, Pages, Planner, Profile};

use crate::error::TuneError;
use crate::finals::{ERRORS_MIN, Finals};
use crate::measure::Candidate;
use crate::progress::Progress;
use crate::runoff::{RunOff, Shelf, run_off_in_turns};
use crate::shapes::check_shape;

/// A winner that is slower than a rival by more than this, and by more than the noise, no longer holds.
pub const SLACK: f64 = 0.03;

/// With more noise than this, a rival must be clearly slower or faster.
const NOISE_MAX: f64 = 0.05;

/// Another candidate beside a winner.
#[derive(Clone, Debug, Serialize)]
pub struct Rival {
    /// Id of its kernel.
    pub kernel: String,
    /// By which part of the winner's time, for a token and a prompt's token together, it was slower when it was tuned, where the
    /// profile says it.
    pub then: Option<f64>,
    /// The same now; 0 if it is the winner itself.
    pub now: f64,
    /// What part of it may be noise: two standard errors.
    pub noise: f64,
}

impl Rival {
    /// Whether it is not faster than the winner by more than [`SLACK`] and the noise.
    fn is_behind(&self) -> bool {
        self.now >= -SLACK.max(self.noise)
    }

    /// Whether the noise hides on which side it is.
    fn is_hidden(&self) -> bool {
        self.noise > NOISE_MAX && self.now.abs() <= self.noise
    }
}

/// A saved winner beside its rivals, timed again in the same rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Rechecked {
    /// What for: shape and threads.
    pub name: String,
    /// Id of the winner.
    pub winner: String,
    /// The runner-up.
    pub runner_up: Option<Rival>,
    /// What is chosen without a profile.
    pub estimate: Option<Rival>,
    /// What a tuner would choose whose weights stay in the caches.
    pub warm: Option<Rival>,
    /// Whether no rival is faster by more than [`SLACK`] and the noise.
    pub holds: bool,
}

/// How a profile fared.
#[derive(Clone, Debug, Serialize)]
pub struct Recheck {
    /// One row for each entry that was timed.
    pub entries: Vec<Rechecked>,
    /// Entries that could not be judged: for want of time, or because noise hides the difference.
    pub unjudged: Vec<String>,
}

impl Recheck {
    /// Whether everything was judged, and holds.
    pub fn holds(&self) -> bool {
        let is_complete = !self.entries.is_empty() && self.unjudged.is_empty();
        is_complete && self.entries.iter().all(|entry| entry.holds)
    }
}

/// Times every winner of `profile` against its runner-up, the estimate and the choice by warm weights, all in turns, within `budget`.
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
    for entry in &profile.entries {
        check_shape(entry.shape())?;
    }
    let planner = Planner::new(cpu.clone(), None, None)?;
    let mut found = Recheck {
        entries: Vec::new(),
        unjudged: Vec::new(),
    };
    let (mut run_offs, mut fields) = (Vec::new(), Vec::new());
    for entry in &profile.entries {
        // Loading a profile drops entries whose kernel is not here.
        let Some(field) = Field::of(&planner, entry) else {
            found.unjudged.push(entry.name());
            continue;
        };
        let candidates = field.candidates.clone();
        let mut run_off = RunOff::new(entry.shape(), entry.threads, entry.sharing, candidates);
        run_off.finals = run_off.finals.with_extra(field.prompts(entry));
        run_offs.push(run_off);
        fields.push((entry, field));
    }
    progress(&Progress::RunOffs {
        count: run_offs.len(),
    });
    let mut shelf = Shelf::new(cpu, pages);
    let mut after = |run_off: &RunOff| progress(&run_off.turn());
    run_off_in_turns(&mut run_offs, &mut shelf, budget, cancel, &mut after);
    for ((entry, field), run_off) in fields.into_iter().zip(run_offs) {
        if let Some(failure) = run_off.failure {
            return Err(failure);
        }
        match field.judge(entry, &run_off.finals) {
            Some(judged) => found.entries.push(judged),
            None => found.unjudged.push(entry.name()),
        }
    }
    Ok(found)
}

/// A winner, which is the first, and its rivals by their positions among the candidates.
struct Field {
    candidates: Vec<Candidate>,
    runner_up: Option<usize>,
    estimate: Option<usize>,
    warm: Option<usize>,
}

impl Field {
    fn of(planner: &Planner, entry: &Entry) -> Option<Field> {
        let kernel = |id: &str| planner.cpu().kernel(id);
        let candidate = |id: &str, tile| {
            let kernel = kernel(id)?;
            Some(Candidate { kernel, tile })
        };
        let mut candidates = vec![candidate(&entry.kernel, entry.tile)?];
        let mut place = |candidate: Option<Candidate>| {
            let candidate = candidate?;
            let known = candidates.iter().position(|c| *c == candidate);
            Some(known.unwrap_or_else(|| {
                candidates.push(candidate);
                candidates.len() - 1
            }))
        };
        let runner_up = entry.runner_up.as_ref();
        let runner_up = place(runner_up.and_then(|other| candidate(&other.kernel, other.tile)));
        let choice = planner.choose(entry.shape(), entry.threads);
        let estimate = place(candidate(choice.kernel.id, choice.tile));
        let warm = entry.warm_kernel.as_ref();
        let warm = place(warm.and_then(|id| candidate(id, kernel(id)?.default_tile())));
        Some(Field {
            candidates,
            runner_up,
            estimate,
            warm,
        })
    }

    /// What a prompt's token costs with each candidate; as much as with the winner where the profile does not say.
    fn prompts(&self, entry: &Entry) -> Vec<f64> {
        let winner = entry.prompt_us.unwrap_or(0.0);
        let mut prompts = vec![winner; self.candidates.len()];
        let runner_up = entry.runner_up.as_ref();
        let known = runner_up.and_then(|other| other.prompt_us);
        if let (Some(position), Some(us), Some(_)) = (self.runner_up, known, entry.prompt_us) {
            prompts[position] = us;
        }
        prompts
    }

    /// `None` if there was too little time.
    fn judge(&self, entry: &Entry, finals: &Finals) -> Option<Rechecked> {
        let rival = |position: Option<usize>, then| -> Option<Option<Rival>> {
            let Some(position) = position else {
                return Some(None);
            };
            let (now, noise) = match position {
                0 => (0.0, 0.0),
                other => finals.lag(other, 0)?,
            };
            Some(Some(Rival {
                kernel: self.candidates[position].kernel.id.to_string(),
                then,
                now,
                noise: ERRORS_MIN * noise,
            }))
        };
        let margin = entry.runner_up.as_ref().map(|other| other.margin);
        let rivals = [
            rival(self.runner_up, margin)?,
            rival(self.estimate, None)?,
            rival(self.warm, None)?,
        ];
        if rivals.iter().flatten().any(Rival::is_hidden) {
            return None;
        }
        let holds = rivals.iter().flatten().all(Rival::is_behind);
        let [runner_up, estimate, warm] = rivals;
        Some(Rechecked {
            name: entry.name(),
            winner: entry.kernel.clone(),
            runner_up,
            estimate,
            warm,
            holds,
        })
    }
}
