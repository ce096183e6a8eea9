//! The result for one shape and thread count: a row for every candidate, and the entry for the profile.

use serde::Serialize;
use tern_kernels::{Entry, Family, Kernel, RunnerUp, Shape, Tile};

use crate::error::TuneError;
use crate::measure::Candidate;
use crate::progress::Progress;
use crate::search::{Decision, Outcome, Ranking, Stage};
use crate::spread::{Spread, rounded};

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
    /// Microseconds per product, with its part of preparing the activations, in the last stage that it reached.
    pub spread: Option<Spread>,
    /// Microseconds to prepare one token's activations, which all matrices with the same input share; measured for
    /// the finalists.
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
    /// Every candidate: the winner first, then the runner-up, then the rest by how far and how fast they came.
    pub trials: Vec<Trial>,
    /// Why the winner won.
    pub decision: Decision,
    /// The kernel that would have been chosen with weights that stay in the caches, which is what other tuners measure.
    pub warm_winner: Option<&'static str>,
    /// How long its races took, packing included; the run-offs of all shapes come after.
    pub seconds: f64,
}

impl Job {
    /// Writes down a search. `screened` are kernels that were left out before it, with the reason; `builds` has the times in which
    /// activations are prepared for the finalists.
    ///
    /// # Errors
    /// No candidate was valid.
    pub(crate) fn new(
        (shape, threads): (Shape, usize),
        candidates: &[Candidate],
        ranking: &Ranking,
        screened: &[(Kernel, Outcome)],
        builds: &[(Kernel, Option<Spread>)],
    ) -> Result<Job, TuneError> {
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
        for (candidate, row) in candidates.iter().zip(&ranking.rows) {
            let is_last = matches!(row.outcome, Outcome::Won | Outcome::RunnerUp { .. });
            let build = builds
                .iter()
                .find(|(kernel, _)| is_last && *kernel == candidate.kernel);
            trials.push(Trial {
                spread: row.spread.clone(),
                build: build.and_then(|(_, build)| build.clone()),
                ..Trial::unmeasured(candidate, row.outcome.clone())
            });
        }
        trials.extend(screened.iter().map(|(kernel, outcome)| {
            let candidate = Candidate {
                kernel: *kernel,
                tile: kernel.default_tile(),
            };
            Trial::unmeasured(&candidate, outcome.clone())
        }));
        trials.sort_by(|a, b| {
            let ((stage, ratio), (other_stage, other_ratio)) =
                (a.outcome.order(), b.outcome.order());
            stage.cmp(&other_stage).then(ratio.total_cmp(&other_ratio))
        });
        Ok(Job {
            shape,
            threads,
            trials,
            decision: ranking.decision,
            warm_winner: None,
            seconds: 0.0,
        })
    }

    /// The profile's entry. Its runner-up is the best *other kernel*, which tells more than another tile of the
    /// winner.
    pub(crate) fn entry(&self, kernel: Kernel, sharing: f64) -> Entry {
        let winner = &self.trials[0];
        let spread = winner.spread.as_ref();
        let (median_us, mad_us) = spread.map_or((0.0, 0.0), |spread| (spread.median, spread.mad));
        let runner_up = self.best_other().map(|(trial, ratio)| RunnerUp {
            kernel: trial.kernel.to_string(),
            margin: rounded(ratio - 1.0),
            prompt_us: None,
            tile: trial.tile,
        });
        Entry {
            sharing: rounded(sharing),
            median_us: rounded(median_us),
            mad_us: rounded(mad_us),
            tile: winner.tile,
            runner_up,
            ..Entry::of(self.shape, self.threads, &kernel)
        }
    }

    /// The other kernel that came furthest, and its time over the winner's where that one met it.
    fn best_other(&self) -> Option<(&Trial, f64)> {
        // Trials are sorted by how far and how fast they came: a ratio of an earlier stage is of fewer samples.
        let mut others = self
            .trials
            .iter()
            .filter(|trial| trial.kernel != self.trials[0].kernel);
        others.find_map(|trial| match &trial.outcome {
            Outcome::RunnerUp { ratio }
            | Outcome::Eliminated {
                stage: Stage::Kernels | Stage::Tiles | Stage::Variations | Stage::RunOff,
                ratio,
            } => Some((trial, *ratio)),
            _ => None,
        })
    }

    /// The line that announces the winner.
    pub(crate) fn done(&self) -> Progress {
        let winner = &self.trials[0];
        let median_us = winner.spread.as_ref().map_or(0.0, |spread| spread.median);
        Progress::Done {
            shape: self.shape,
            threads: self.threads,
            kernel: winner.kernel,
            tile: winner.tile,
            median_us,
            decision: self.decision,
            ahead_of: self
                .best_other()
                .map(|(trial, ratio)| (trial.kernel, ratio)),
        }
    }
}

impl Trial {
    fn unmeasured(candidate: &Candidate, outcome: Outcome) -> Trial {
        let Candidate { kernel, tile } = *candidate;
        let (spread, build) = (None, None);
        Trial {
            kernel: kernel.id,
            family: kernel.family,
            tile,
            spread,
            build,
            outcome,
        }
    }
}
