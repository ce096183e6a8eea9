//! The best kernel of each group of kernels, all winners timed side by side.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;
use tern_kernels::{Cpu, Family, Kernel, Pages, Shape, Tile};

use crate::bench::{GemvBench, Index, Residence, Weights, cold_distance};
use crate::candidates::Field;
use crate::contender::{Contender, best_of, side_by_side};
use crate::error::TuneError;
use crate::figure::style::contender_name;
use crate::host;
use crate::measure::Candidate;
use crate::progress::Progress;
use crate::screen::{CacheTime, Screen, cache_shape, verdicts};
use crate::spread::Spread;

/// The part of the time in which kernels are screened, at most.
const SCREENING_SHARE: f64 = 0.2;

/// The part in which the groups are tuned; what is left is for the run that is reported.
const TUNING_SHARE: f64 = 0.6;

/// Where and how to measure.
pub(crate) struct Course<'a> {
    pub cpu: &'a Cpu,
    pub cancel: &'a AtomicBool,
    pub pages: Pages,
    pub rounds: usize,
    pub shape: Shape,
    pub threads: usize,
    pub residence: Residence,
}

/// The best kernel of a group.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// The group: an ISA's name, or a contender and its code.
    pub group: String,
    /// The shape that was measured.
    #[serde(serialize_with = "crate::report::as_text")]
    pub shape: Shape,
    /// Threads.
    pub threads: usize,
    /// Where the weights were.
    pub residence: Residence,
    /// The family.
    #[serde(serialize_with = "crate::report::as_text")]
    pub family: Family,
    /// The variant, where the family has several.
    pub variant: &'static str,
    /// Id of the group's best kernel.
    pub kernel: &'static str,
    /// Its best tile.
    pub tile: Tile,
    /// Bits that are read for each weight, padding included.
    pub bits_per_weight: f64,
    /// Microseconds per product.
    pub time_us: Spread,
    /// Weights per second.
    pub weights_per_s: f64,
}

impl Standing {
    /// Family and variant: `mad shiftfree`.
    pub fn contender(&self) -> String {
        contender_name(self.family, self.variant)
    }
}

impl Course<'_> {
    /// Weights of this course's shape, or of the part of it that fits the caches.
    pub(crate) fn weights(&self) -> Weights {
        match self.residence {
            Residence::Memory => {
                let distance = cold_distance(self.cpu);
                Weights::in_memory(self.shape, self.pages, distance, host::memory_allowance())
            }
            Residence::Cache => {
                Weights::in_cache(cache_shape(self.cpu, self.shape, self.threads), self.pages)
            }
        }
    }

    /// Finds the best of each group and times the winners in interleaved rounds. Groups of which no kernel is exact, or
    /// for which there was no time, are left out; the others come in the order of their first kernels.
    pub(crate) fn run(
        &self,
        kernels: &[Kernel],
        group: &impl Fn(&Kernel) -> String,
        screen: &mut Screen,
        budget: Duration,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Vec<Standing>, TuneError> {
        let mut weights = self.weights();
        let shape = weights.shape();
        progress(&Progress::Stage {
            name: "screening",
            candidates: kernels.len(),
        });
        let screening = budget.mul_f64(SCREENING_SHARE);
        let times = screen.times(
            self.cpu,
            kernels,
            self.shape,
            self.pages,
            screening,
            self.cancel,
        )?;
        let left = promising(kernels, &times, group);
        let field = Field::new(left.iter().copied(), shape, self.threads);
        let groups = grouped(&left, &field, group);
        let mut bench = GemvBench::new(&mut weights, &field.candidates, self.threads, self.cancel)?;
        let each = budget.mul_f64(TUNING_SHARE / groups.len().max(1) as f64);
        let mut winners: Vec<(&str, Index)> = Vec::new();
        for (name, contender) in &groups {
            let candidates = contender.len();
            progress(&Progress::Stage {
                name: contender.family.name(),
                candidates,
            });
            if let Ok(winner) = best_of(&mut bench, contender, each) {
                winners.push((name, winner));
            }
        }
        progress(&Progress::Stage {
            name: "side by side",
            candidates: winners.len(),
        });
        let indices: Vec<Index> = winners.iter().map(|(_, index)| *index).collect();
        let times = side_by_side(&mut bench, &indices, self.rounds, &mut |_| {});
        let standings = winners
            .iter()
            .zip(times)
            .filter_map(|(&(name, index), times)| {
                self.standing(name, &field.candidates[index], shape, Spread::of(times)?)
            });
        Ok(standings.collect())
    }

    /// The best of the group `name`, with its times on `shape`.
    fn standing(
        &self,
        name: &str,
        best: &Candidate,
        shape: Shape,
        time_us: Spread,
    ) -> Option<Standing> {
        let Candidate { kernel, tile } = *best;
        let bytes = kernel.packing.matrix_bytes(shape.rows, shape.cols)?;
        let weights = shape.rows as f64 * shape.cols as f64;
        Some(Standing {
            group: name.to_string(),
            shape,
            threads: self.threads,
            residence: self.residence,
            family: kernel.family,
            variant: kernel.variant,
            kernel: kernel.id,
            tile,
            bits_per_weight: bytes as f64 * 8.0 / weights,
            weights_per_s: weights * 1e6 / time_us.median,
            time_us,
        })
    }
}

/// The kernels that may be the best of their group, by their times in cache.
fn promising(
    kernels: &[Kernel],
    times: &[CacheTime],
    group: &impl Fn(&Kernel) -> String,
) -> Vec<Kernel> {
    let may_win = |kernel: &Kernel| {
        let of_group = kernels.iter().copied().zip(times.iter().cloned());
        let (rivals, times): (Vec<Kernel>, Vec<CacheTime>) = of_group
            .filter(|(rival, _)| group(rival) == group(kernel))
            .unzip();
        let verdicts = verdicts(&rivals, &times);
        let own = rivals
            .iter()
            .zip(verdicts)
            .find(|(rival, _)| *rival == kernel);
        own.is_some_and(|(_, out)| out.is_none())
    };
    kernels.iter().copied().filter(may_win).collect()
}

/// The groups of `kernels`, which are those of `field`.
fn grouped(
    kernels: &[Kernel],
    field: &Field,
    group: &impl Fn(&Kernel) -> String,
) -> Vec<(String, Contender)> {
    let mut groups: Vec<(String, Contender)> = Vec::new();
    for (kernel, tiles) in kernels.iter().zip(&field.kernels) {
        let name = group(kernel);
        match groups.iter_mut().find(|(other, _)| *other == name) {
            Some((_, contender)) => contender.kernels.push(tiles.clone()),
            None => {
                let (family, variant) = (kernel.family, kernel.variant);
                let kernels = vec![tiles.clone()];
                groups.push((
                    name,
                    Contender {
                        family,
                        variant,
                        kernels,
                    },
                ));
            }
        }
    }
    groups
}
