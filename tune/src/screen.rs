//! Which kernels cannot win, found out cheaply.
//!
//! Packing a large matrix for a kernel takes longer than timing it, and there are dozens of kernels. But a product
//! from memory takes as long as its bytes or as its instructions, whichever is longer, so it can only get slower when
//! either grows. A kernel that reads no fewer bytes a weight than another one and is clearly slower on the same
//! weights in cache is therefore dominated: it cannot win from memory either. Times in cache need only a few rows,
//! and one thread.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tern_kernels::{Cpu, Kernel, Pages, Shape};

use crate::bench::{Bench, GemvBench, Weights};
use crate::error::TuneError;
use crate::measure::Candidate;
use crate::search::{Outcome, Stage};
use crate::spread::Spread;

/// A kernel must be this many times as slow as one that reads no more bytes to be left out: room for noise, for tiles
/// that suit one of them better, and for what the model above leaves out.
const CLEARLY: f64 = 1.3;

/// Interleaved samples of each kernel.
const ROUNDS: usize = 5;

/// Second-level cache where its size is unknown, a small one.
const UNKNOWN_L2: usize = 512 << 10;

/// As many rows of `shape` as half of the second-level caches of `threads` cores hold at two bits a weight.
pub(crate) fn cache_shape(cpu: &Cpu, shape: Shape, threads: usize) -> Shape {
    let l2 = if cpu.caches.l2 > 0 {
        cpu.caches.l2
    } else {
        UNKNOWN_L2
    };
    let rows = l2 / 2 * threads / shape.cols.div_ceil(4);
    // Whole strips of any packing for every thread: a ragged end would say nothing about the instructions.
    let whole = 256 * threads;
    let rows = if rows > whole {
        rows / whole * whole
    } else {
        rows.max(1)
    };
    Shape {
        rows: rows.min(shape.rows),
        cols: shape.cols,
    }
}

/// A kernel's median time in cache, in microseconds; the reason if it is not exact; `None` if there was no time.
pub(crate) type CacheTime = Option<Result<f64, String>>;

/// Times of kernels in cache, measured once for each part of a shape that fits the cache: the shapes of a model have
/// few different numbers of columns.
#[derive(Default)]
pub(crate) struct Screen {
    known: Vec<(Shape, Vec<(Kernel, CacheTime)>)>,
    /// What was timed since somebody asked last, for a log.
    heard: Vec<Screened>,
}

/// A kernel with all its samples in cache.
pub(crate) struct Screened {
    /// The part of the matrix that fits.
    pub shape: Shape,
    pub candidate: Candidate,
    /// Microseconds per product, or why it was not timed.
    pub samples: Result<Vec<f64>, String>,
}

impl Screen {
    /// What was timed since the last call.
    pub(crate) fn take_heard(&mut self) -> Vec<Screened> {
        std::mem::take(&mut self.heard)
    }

    /// The times of `kernels` with the default tile on a part of `shape` that fits one core's second-level cache.
    ///
    /// # Errors
    /// The system refuses memory or threads.
    pub(crate) fn times(
        &mut self,
        cpu: &Cpu,
        kernels: &[Kernel],
        shape: Shape,
        pages: Pages,
        budget: Duration,
        cancel: &AtomicBool,
    ) -> Result<Vec<CacheTime>, TuneError> {
        let shape = cache_shape(cpu, shape, 1);
        let known = self.known.iter().find(|(other, _)| *other == shape);
        let of = |kernel: &Kernel| {
            known?
                .1
                .iter()
                .find(|(other, _)| other == kernel)?
                .1
                .clone()
        };
        let mut times: Vec<CacheTime> = kernels.iter().map(of).collect();
        if times.iter().all(Option::is_some) {
            return Ok(times);
        }
        let candidates: Vec<Candidate> = kernels
            .iter()
            .map(|&kernel| Candidate {
                kernel,
                tile: kernel.default_tile(),
            })
            .collect();
        let mut weights = Weights::in_cache(shape, pages);
        let mut bench = GemvBench::new(&mut weights, &candidates, 1, cancel)?;
        let samples = sample(&mut bench, kernels.len(), budget);
        times = samples.iter().map(median).collect();
        let heard = samples.into_iter().zip(candidates.iter());
        let heard = heard.filter_map(|(samples, &candidate)| {
            let samples = samples?;
            Some(Screened {
                shape,
                candidate,
                samples,
            })
        });
        self.heard.extend(heard);
        self.known.retain(|(other, _)| *other != shape);
        self.known
            .push((shape, kernels.iter().copied().zip(times.clone()).collect()));
        Ok(times)
    }
}

/// All samples of each candidate, or why it was refused; `None` if there was no time.
fn sample(
    bench: &mut dyn Bench,
    candidates: usize,
    budget: Duration,
) -> Vec<Option<Result<Vec<f64>, String>>> {
    let mut found: Vec<Option<Result<Vec<f64>, String>>> = vec![None; candidates];
    for (index, slot) in found.iter_mut().enumerate() {
        if bench.elapsed() >= budget || bench.cancelled() {
            break;
        }
        *slot = Some(bench.admit(index).map(|()| Vec::new()));
    }
    for round in 0..ROUNDS {
        for (index, slot) in found.iter_mut().enumerate() {
            let late = round > 0 && (bench.elapsed() >= budget || bench.cancelled());
            if let (Some(Ok(samples)), false) = (slot, late) {
                samples.push(bench.sample(index));
            }
        }
    }
    found
}

fn median(samples: &Option<Result<Vec<f64>, String>>) -> CacheTime {
    match samples.as_ref()? {
        Ok(samples) => Spread::of(samples.clone()).map(|spread| Ok(spread.median)),
        Err(reason) => Some(Err(reason.clone())),
    }
}

/// For each kernel the reason to leave it out, or `None` if it may win. `times` are those of [`Screen::times`].
pub(crate) fn verdicts(kernels: &[Kernel], times: &[CacheTime]) -> Vec<Option<Outcome>> {
    let measured = |time: &CacheTime| time.as_ref().and_then(|time| time.as_ref().ok().copied());
    let points: Vec<Option<(f64, f64)>> = kernels
        .iter()
        .zip(times)
        .map(|(kernel, time)| Some((kernel.packing.code.bits_per_weight(), measured(time)?)))
        .collect();
    let dominated = dominated(&points);
    times
        .iter()
        .zip(dominated)
        .map(|(time, ratio)| match time {
            Some(Err(reason)) => Some(Outcome::Invalid(reason.clone())),
            _ => ratio.map(|ratio| Outcome::Eliminated {
                stage: Stage::Screening,
                ratio,
            }),
        })
        .collect()
}

/// For each (bits a weight, time in cache) how many times as slow it is as the fastest that reads no more bits, if it
/// is dominated.
fn dominated(points: &[Option<(f64, f64)>]) -> Vec<Option<f64>> {
    let known = || points.iter().flatten();
    points
        .iter()
        .map(|point| {
            let &(bits, time) = point.as_ref()?;
            let no_larger = known().filter(|(other_bits, _)| *other_bits <= bits);
            let best = no_larger
                .map(|(_, time)| *time)
                .fold(f64::INFINITY, f64::min);
            (time > CLEARLY * best).then_some(time / best)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_slower_and_no_smaller_is_dominated() {
        let points = [
            Some((1.6, 100.0)),
            Some((1.6, 129.0)),
            Some((1.6, 200.0)),
            Some((1.75, 60.0)),
            Some((2.0, 70.0)),
            Some((2.0, 90.0)),
            None,
        ];
        let out = [None, None, Some(2.0), None, None, Some(1.5), None];
        assert_eq!(dominated(&points), out);
    }

    #[test]
    fn a_cache_sized_shape_keeps_its_columns_and_fits() {
        let mut cpu = Cpu::detect();
        cpu.caches.l2 = 2 << 20;
        let shape = |rows, cols| Shape { rows, cols };
        assert_eq!(cache_shape(&cpu, shape(6912, 2560), 1), shape(1536, 2560));
        assert_eq!(cache_shape(&cpu, shape(64, 64), 1), shape(64, 64));
        let wide = cache_shape(&cpu, shape(3072, 23040), 2);
        assert!(wide.rows * wide.cols / 4 <= 2 << 20, "{wide}");
        cpu.caches.l2 = 0;
        assert!(cache_shape(&cpu, shape(6912, 2560), 1).rows > 0);
    }

    #[test]
    fn kernels_are_timed_in_cache_and_scalar_ones_do_not_pass_beside_vectors() {
        let cpu = Cpu::detect();
        let kernels: Vec<Kernel> = cpu.kernels().collect();
        let never = AtomicBool::new(false);
        let shape = Shape {
            rows: 512,
            cols: 1024,
        };
        let ample = Duration::from_secs(60);
        let mut screen = Screen::default();
        let times = screen
            .times(&cpu, &kernels, shape, Pages::Small, ample, &never)
            .unwrap();
        let again = screen
            .times(&cpu, &kernels, shape, Pages::Small, ample, &never)
            .unwrap();
        assert_eq!(again, times, "measured twice");
        assert!(
            times
                .iter()
                .all(|time| matches!(time, Some(Ok(us)) if *us > 0.0))
        );
        let verdicts = verdicts(&kernels, &times);
        assert!(verdicts.iter().any(Option::is_none), "someone must be left");
        // No time at all: nothing is known, so nobody is left out.
        let mut screen = Screen::default();
        let none = Duration::ZERO;
        let times = screen
            .times(&cpu, &kernels, shape, Pages::Small, none, &never)
            .unwrap();
        assert!(
            super::verdicts(&kernels, &times)
                .iter()
                .all(Option::is_none)
        );
    }
}
