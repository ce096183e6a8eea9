//! Lookup tables against add/sub and multiply-add on this CPU.
//!
//! A comparison is only fair between kernels that are each at their best, so every contender (a family, or a variant
//! of one) is tuned for the shape first. Then the winners are timed in one interleaved run, together with the
//! streaming bandwidth, so that times, ratios and shares of bandwidth are all from the same moments.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tern_kernels::{Cpu, Family, Kernel, Pages, Planner, Shape, Team, Tile, memory};

use crate::bandwidth::{Bandwidth, Ruler, RulerRounds, RulerSamples};
use crate::bench::{Bench, GemvBench, Index, Residence, Weights, cold_distance, distance_note};
use crate::candidates::{Field, kernels};
use crate::contender::{Contender, best_of, contenders, promising, side_by_side};
use crate::error::TuneError;
use crate::figure::style::contender_name;
use crate::host;
use crate::measure::Clock;
use crate::progress::Progress;
use crate::screen::{Screen, cache_shape};
use crate::shapes::{Work, check_shape};
use crate::spread::Spread;

/// The part of a shape's time in which kernels are screened, at most.
const SCREENING_SHARE: f64 = 0.2;

/// The part of a shape's time in which contenders are tuned; what is left is for the run that is reported.
const TUNING_SHARE: f64 = 0.6;

/// A share of the streaming bandwidth above this is no noise but a mistake.
const SHARE_MAX: f64 = 1.1;

/// How often a shape is measured again with another buffer for the ruler.
const REDRAWS: usize = 3;

/// How to compare.
#[derive(Clone, Debug)]
pub struct CompareOptions {
    /// Threads.
    pub threads: usize,
    /// Pages of the packed weights.
    pub pages: Pages,
    /// Time for everything together; exceeded only by the last round.
    pub budget: Duration,
    /// Whether to compare with weights in the second-level cache too (fewer rows, so that they fit).
    pub cache: bool,
    /// Interleaved rounds of the run that is reported.
    pub rounds: usize,
}

impl CompareOptions {
    /// All usable cores, huge pages, 60 seconds at most, weights in memory only, 31 rounds.
    pub fn new(cpu: &Cpu) -> CompareOptions {
        CompareOptions {
            threads: cpu.cores.max(1),
            pages: Pages::Huge,
            budget: Duration::from_secs(60),
            cache: false,
            rounds: 31,
        }
    }
}

/// One contender on one shape.
#[derive(Clone, Debug, Serialize)]
pub struct ComparisonRow {
    /// The shape that was measured.
    #[serde(serialize_with = "crate::report::as_text")]
    pub shape: Shape,
    /// How often a token of the model needs this shape.
    pub count: usize,
    /// Where the weights were.
    pub residence: Residence,
    /// The family.
    #[serde(serialize_with = "crate::report::as_text")]
    pub family: Family,
    /// The variant, where the family has several.
    pub variant: &'static str,
    /// Id of the contender's best kernel.
    pub kernel: &'static str,
    /// Its best tile.
    pub tile: Tile,
    /// Bits that are read for each weight, padding included.
    pub bits_per_weight: f64,
    /// Microseconds per product.
    pub time_us: Spread,
    /// Microseconds to prepare a token's activations (shared by matrices with the same input, not part of `time_us`).
    pub build_us: Option<Spread>,
    /// Weights per second.
    pub weights_per_s: f64,
    /// Packed bytes read per second.
    pub bytes_per_s: f64,
    /// Streaming bandwidth in the same rounds, in bytes per second (weights in memory only).
    pub stream_bytes_per_s: Option<f64>,
    /// `bytes_per_s` over the streaming bandwidth of the same rounds.
    pub bandwidth_share: Option<f64>,
    /// How many times as fast as the best `addsub`, by pairs of the same round.
    pub vs_addsub: Option<Spread>,
    /// How many times as fast as the best `mad`, by pairs of the same round.
    pub vs_mad: Option<Spread>,
}

impl ComparisonRow {
    /// Microseconds for one product that shares its prepared activations with no other: `time_us` plus `build_us`. The
    /// least favourable case; of most models two or three matrices share them.
    pub fn time_with_build_us(&self) -> Option<f64> {
        Some(self.time_us.median + self.build_us.as_ref()?.median)
    }

    /// Family and variant: `mad shiftfree`.
    pub fn contender(&self) -> String {
        contender_name(self.family, self.variant)
    }
}

/// The comparison of all contenders on all shapes.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The CPU's name.
    pub cpu: String,
    /// Threads.
    pub threads: usize,
    /// Whether huge pages were asked for.
    pub huge_pages: bool,
    /// The most bytes that lay on huge pages during a run, where the system says it.
    pub huge_bytes: Option<usize>,
    /// Streaming bandwidth over all rounds of the run.
    pub bandwidth: Option<Bandwidth>,
    /// The rounds of the streaming bandwidth beside each shape, in the order of the shapes.
    pub ruler: Vec<RulerRounds>,
    /// Fastest first within a shape; shapes in the order given; weights in memory first.
    pub rows: Vec<ComparisonRow>,
    /// Shapes that were left out when the budget ended or the user stopped.
    pub skipped: Vec<String>,
    /// What the reader should know, a sentence each.
    pub notes: Vec<String>,
    /// Whether the user stopped it.
    pub cancelled: bool,
    /// Seconds in all.
    pub seconds: f64,
}

/// Compares the contenders on every shape.
///
/// # Errors
/// Nothing to do, an absurd thread count, no memory.
pub fn compare(
    cpu: &Cpu,
    work: &[Work],
    options: &CompareOptions,
    progress: &mut dyn FnMut(&Progress),
    cancel: &AtomicBool,
) -> Result<Comparison, TuneError> {
    if work.is_empty() {
        return Err(TuneError::NoWork);
    }
    work.iter().try_for_each(|work| check_shape(work.shape))?;
    let clock = Clock::start();
    let mut run = Run::new(cpu, options, cancel)?;
    let jobs = jobs(cpu, work, options);
    for (index, &(residence, work)) in jobs.iter().enumerate() {
        let shape = work.shape;
        let stopped = cancel.load(Ordering::Relaxed);
        if stopped || (clock.elapsed() >= options.budget && !run.rows.is_empty()) {
            run.cancelled |= stopped;
            run.skipped.push(format!("{shape} in {residence}"));
            continue;
        }
        let total = jobs.len();
        progress(&Progress::Job {
            index: index + 1,
            total,
            shape,
            threads: options.threads,
        });
        let left = options.budget.saturating_sub(clock.elapsed());
        let share = left.div_f64((total - index) as f64);
        run.job(work, residence, share, progress)?;
    }
    Ok(run.finish(clock.elapsed().as_secs_f64()))
}

/// The shapes to compare, each with its residence. Several shapes may come down to the same part that fits the
/// caches.
fn jobs(cpu: &Cpu, work: &[Work], options: &CompareOptions) -> Vec<(Residence, Work)> {
    let mut jobs: Vec<(Residence, Work)> = work.iter().map(|&w| (Residence::Memory, w)).collect();
    for item in work.iter().filter(|_| options.cache) {
        let shape = cache_shape(cpu, item.shape, options.threads);
        let job = (Residence::Cache, Work::alone(shape, 1));
        if !jobs.contains(&job) {
            jobs.push(job);
        }
    }
    jobs
}

/// A comparison under way.
struct Run<'a> {
    cpu: &'a Cpu,
    options: &'a CompareOptions,
    cancel: &'a AtomicBool,
    planner: Planner,
    screen: Screen,
    ruler: Ruler,
    /// This CPU with all its ISAs, for the ruler.
    ruler_cpu: Cpu,
    samples: RulerSamples,
    rounds: Vec<RulerRounds>,
    rows: Vec<ComparisonRow>,
    skipped: Vec<String>,
    notes: Vec<String>,
    huge_bytes: Option<usize>,
    cancelled: bool,
}

impl<'a> Run<'a> {
    fn new(
        cpu: &'a Cpu,
        options: &'a CompareOptions,
        cancel: &'a AtomicBool,
    ) -> Result<Run<'a>, TuneError> {
        let threads = options.threads;
        let mut team =
            Team::try_new(threads).map_err(|source| TuneError::Team { threads, source })?;
        // What the memory can give does not depend on what the kernels may use: the ruler has the widest loads of this
        // CPU and huge pages, whatever the cap and the pages of the weights. Only the caches are taken from `cpu`.
        let mut ruler_cpu = Cpu::detect();
        ruler_cpu.caches = cpu.caches;
        // Half of the allowance for the ruler, the rest for the weights.
        let limit = host::memory_allowance() / 2;
        let ruler = Ruler::new(&ruler_cpu, &mut team, Pages::Huge, limit)?;
        Ok(Run {
            cpu,
            options,
            cancel,
            planner: Planner::new(cpu.clone(), None, None)?,
            screen: Screen::default(),
            ruler,
            ruler_cpu,
            samples: RulerSamples::default(),
            rounds: Vec::new(),
            rows: Vec::new(),
            skipped: Vec::new(),
            notes: Vec::new(),
            huge_bytes: None,
            cancelled: false,
        })
    }

    /// Tunes and compares the contenders on one shape.
    fn job(
        &mut self,
        work: Work,
        residence: Residence,
        budget: Duration,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<(), TuneError> {
        let (shape, threads) = (work.shape, self.options.threads);
        let kernels = self.kernels(shape, budget.mul_f64(SCREENING_SHARE), progress)?;
        let field = Field::new(kernels, shape, threads);
        let contenders = contenders(&field);
        let (pages, distance) = (self.options.pages, cold_distance(self.cpu));
        let mut weights = match residence {
            Residence::Memory => {
                Weights::in_memory(shape, pages, distance, host::memory_allowance())
            }
            Residence::Cache => Weights::in_cache(shape, pages),
        };
        let mut bench = GemvBench::new(&mut weights, &field.candidates, threads, self.cancel)?;
        let each = budget.mul_f64(TUNING_SHARE / contenders.len().max(1) as f64);
        let mut winners: Vec<(&Contender, Index)> = Vec::new();
        let mut failure = None;
        for contender in &contenders {
            progress(&Progress::Stage {
                name: contender.family.name(),
                candidates: contender.len(),
            });
            match best_of(&mut bench, contender, each) {
                Ok(winner) => winners.push((contender, winner)),
                Err(reason) => failure = failure.or(Some(reason)),
            }
        }
        if winners.is_empty() {
            let reason = failure.unwrap_or_else(|| "no kernel runs here".to_string());
            return Err(TuneError::NoCandidate {
                shape,
                threads,
                reason,
            });
        }
        progress(&Progress::Stage {
            name: "side by side",
            candidates: winners.len(),
        });
        let indices: Vec<Index> = winners.iter().map(|(_, index)| *index).collect();
        let in_memory = residence == Residence::Memory;
        let (mut times, mut ruled) = self.race(&mut bench, &indices, in_memory);
        let mut redrawn = 0;
        while redrawn < REDRAWS && beaten(&field, &indices, &times, &ruled, shape) {
            self.ruler.redraw(&self.ruler_cpu, bench.team())?;
            (times, ruled) = self.race(&mut bench, &indices, in_memory);
            redrawn += 1;
        }
        self.huge_bytes = self.huge_bytes.max(memory::huge_bytes_in_use());
        let builds = indices.iter().map(|&index| bench.build(index)).collect();
        let rows = rows(&field, &winners, (times, builds), &ruled, work, residence);
        if residence == Residence::Memory {
            self.rounds.push(ruled.rounds(shape));
        }
        self.samples.append(ruled);
        self.rows.extend(rows);
        if residence == Residence::Memory {
            let note = distance_note(weights.rotation().reuse_distance(), distance);
            self.notes
                .extend(note.filter(|note| !self.notes.contains(note)));
        }
        Ok(())
    }

    /// The kernels that may be the best of their contender.
    fn kernels(
        &mut self,
        shape: Shape,
        budget: Duration,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Vec<Kernel>, TuneError> {
        let kernels = kernels(&self.planner, None, shape, self.options.threads);
        progress(&Progress::Stage {
            name: "screening",
            candidates: kernels.len(),
        });
        let pages = self.options.pages;
        let times = self
            .screen
            .times(self.cpu, &kernels, shape, pages, budget, self.cancel)?;
        Ok(promising(&kernels, &times))
    }

    /// Interleaved rounds over `indices` and, if `ruled`, over the streaming bandwidth. One list of times for each.
    fn race(
        &mut self,
        bench: &mut GemvBench<'_>,
        indices: &[Index],
        ruled: bool,
    ) -> (Vec<Vec<f64>>, RulerSamples) {
        let mut samples = RulerSamples::default();
        let (ruler, cpu) = (&mut self.ruler, &self.ruler_cpu);
        let times = side_by_side(bench, indices, self.options.rounds, &mut |bench| {
            if ruled {
                ruler.round(cpu, bench.team(), &mut samples);
            }
        });
        self.cancelled |= bench.cancelled();
        (times, samples)
    }

    fn finish(mut self, seconds: f64) -> Comparison {
        let bandwidth = self.ruler.bandwidth(self.samples).ok();
        self.notes
            .extend(bandwidth.as_ref().and_then(Bandwidth::note));
        let share = self
            .rows
            .iter()
            .filter_map(|row| row.bandwidth_share)
            .fold(0.0, f64::max);
        if share > SHARE_MAX {
            let percent = 100.0 * share;
            self.notes.push(format!(
                "a kernel reached {percent:.0} % of the streaming bandwidth, which is more than there is: something else \
                 disturbed the measurement; run it again on an idle machine"
            ));
        }
        if !self.skipped.is_empty() {
            let skipped = self.skipped.join(", ");
            self.notes
                .push(format!("not compared, because the time was up: {skipped}"));
        }
        Comparison {
            cpu: self.cpu.brand.clone(),
            threads: self.options.threads,
            huge_pages: self.options.pages == Pages::Huge,
            huge_bytes: self.huge_bytes,
            bandwidth,
            ruler: self.rounds,
            rows: self.rows,
            skipped: self.skipped,
            notes: self.notes,
            cancelled: self.cancelled,
            seconds,
        }
    }
}

/// Whether a kernel read its weights faster than the ruler read its buffer: then the buffer happens to lie in memory that is
/// slower than the rest, as it does on some virtual machines, and is no ruler.
fn beaten(
    field: &Field,
    indices: &[Index],
    times: &[Vec<f64>],
    ruled: &RulerSamples,
    shape: Shape,
) -> bool {
    let Some(stream) = ruled.best_gb_per_s() else {
        return false;
    };
    indices.iter().zip(times).any(|(&index, times)| {
        let packing = field.candidates[index].kernel.packing;
        let bytes = packing.matrix_bytes(shape.rows, shape.cols);
        let us = Spread::of(times.clone()).map(|spread| spread.median);
        bytes
            .zip(us)
            .is_some_and(|(bytes, us)| bytes as f64 / 1e3 / us > SHARE_MAX * stream)
    })
}

/// The rows of one shape, fastest first.
fn rows(
    field: &Field,
    winners: &[(&Contender, Index)],
    (times, builds): (Vec<Vec<f64>>, Vec<Option<Spread>>),
    ruled: &RulerSamples,
    work: Work,
    residence: Residence,
) -> Vec<ComparisonRow> {
    let median = |times: &Vec<f64>| Spread::of(times.clone()).map_or(f64::INFINITY, |s| s.median);
    let fastest = |family: Family| {
        let entrants = winners
            .iter()
            .zip(&times)
            .filter(|((c, _), _)| c.family == family);
        entrants
            .map(|(_, times)| times)
            .min_by(|a, b| median(a).total_cmp(&median(b)))
            .cloned()
    };
    let (addsub, mad) = (fastest(Family::Addsub), fastest(Family::Mad));
    let stream_bytes_per_s = ruled.best_gb_per_s().map(|gb| gb * 1e9);
    let mut rows: Vec<ComparisonRow> = winners
        .iter()
        .zip(times.iter().zip(builds))
        .filter_map(|((contender, index), (times, build_us))| {
            let candidate = &field.candidates[*index];
            let Shape { rows, cols } = work.shape;
            let bytes = candidate.kernel.packing.matrix_bytes(rows, cols)? as f64;
            let time_us = Spread::of(times.clone())?;
            let per_s = 1e6 / time_us.median;
            let (weights, bytes_per_s) = (rows as f64 * cols as f64, bytes * per_s);
            let versus = |other: &Option<Vec<f64>>| Spread::ratio(other.as_ref()?, times);
            Some(ComparisonRow {
                shape: work.shape,
                count: work.count,
                residence,
                family: contender.family,
                variant: contender.variant,
                kernel: candidate.kernel.id,
                tile: candidate.tile,
                bits_per_weight: bytes * 8.0 / weights,
                time_us,
                build_us,
                weights_per_s: weights * per_s,
                bytes_per_s,
                stream_bytes_per_s,
                bandwidth_share: stream_bytes_per_s.map(|stream| bytes_per_s / stream),
                vs_addsub: versus(&addsub),
                vs_mad: versus(&mad),
            })
        })
        .collect();
    rows.sort_by(|a, b| a.time_us.median.total_cmp(&b.time_us.median));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_comparison_is_complete() {
        let mut cpu = Cpu::detect().capped(tern_kernels::Isa::Scalar);
        cpu.caches.l3 = 1 << 20;
        let work = [Work::alone(
            Shape {
                rows: 48,
                cols: 100,
            },
            1,
        )];
        let options = CompareOptions {
            threads: 1,
            pages: Pages::Small,
            budget: Duration::from_secs(8),
            cache: true,
            rounds: 2,
        };
        let never = AtomicBool::new(false);
        let comparison = compare(&cpu, &work, &options, &mut |_| {}, &never).unwrap();
        for residence in [Residence::Memory, Residence::Cache] {
            let rows = comparison
                .rows
                .iter()
                .filter(|row| row.residence == residence);
            let families: Vec<Family> = rows.map(|row| row.family).collect();
            for family in [Family::Lut, Family::Mad, Family::Addsub] {
                assert!(
                    families.contains(&family),
                    "{family} in {residence}: {families:?}"
                );
            }
        }
        let [rounds] = &comparison.ruler[..] else {
            panic!("one shape in memory: {:?}", comparison.ruler)
        };
        assert_eq!((rounds.shape, rounds.ghz.len()), (work[0].shape, 2));
        assert!(
            rounds
                .by_streams
                .iter()
                .all(|(_, samples)| samples.len() == 2)
        );
        for row in &comparison.rows {
            assert_eq!(row.time_us.samples.len(), 2);
            assert_eq!(
                row.bandwidth_share.is_some(),
                row.residence == Residence::Memory
            );
        }
    }
}
