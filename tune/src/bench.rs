//! What races and run-offs need of the world, and that on real memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tern_kernels::{Cpu, Packing, Pages, Shape, Team};

use crate::error::TuneError;
use crate::measure::{Candidate, Case, Clock, Timer};
use crate::rotation::{Demand, Rotation};
use crate::spread::Spread;

/// A candidate's number. Lower numbers are preferred in a tie.
pub(crate) type Index = usize;

/// Candidates that can be timed; the tests have some with a made-up clock.
pub(crate) trait Bench {
    /// Makes a candidate ready and checks that it is exact. The reason of a refusal is kept in its row.
    fn admit(&mut self, candidate: Index) -> Result<(), String>;
    /// One sample: microseconds per product.
    fn sample(&mut self, candidate: Index) -> f64;
    /// Rounds over exactly these candidates come next, all of them admitted. Each time they change places in memory, if
    /// they do not share their weights: nobody is to win by the memory that it got.
    fn enter(&mut self, candidates: &[Index]);
    /// Time since it began.
    fn elapsed(&self) -> Duration;
    /// Whether the user wants to stop.
    fn cancelled(&self) -> bool;
}

/// The positions `0..count` in the order of a round: every second round runs backwards, so that nobody always follows the same
/// neighbour.
pub(crate) fn in_round(round: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |turn| match round % 2 {
        0 => turn,
        _ => count - 1 - turn,
    })
}

/// Rotation distance where the size of the last-level cache is unknown: larger than that of most CPUs.
const UNKNOWN_L3: usize = 64 << 20;

/// Rounds of a run that is reported before its packings change places in memory (see `rotation.rs`). Few, because a report has few
/// rounds and many packings; changing takes about as long as a round.
pub(crate) const ROUNDS_PER_DEAL: usize = 4;

/// Samples with warm weights, the first of which does not count.
const WARM_SAMPLES: usize = 4;

/// Where the weights are when a product starts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Residence {
    /// In memory: no copy is read again before twice the last-level cache went by. What a large model does.
    Memory,
    /// In the caches: the same copy again and again. Shows what a kernel's instructions cost.
    Cache,
}

impl std::fmt::Display for Residence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Residence::Memory => "memory",
            Residence::Cache => "cache",
        })
    }
}

/// A matrix of one shape with copies of it in every packing that was needed so far.
pub(crate) struct Weights {
    case: Case,
    pages: Pages,
    residence: Residence,
    rotation: Rotation,
}

impl Weights {
    /// Weights that are cold again after `distance` bytes of traffic and take at most `limit` bytes.
    pub(crate) fn in_memory(shape: Shape, pages: Pages, distance: u64, limit: usize) -> Weights {
        let (case, residence) = (Case::new(shape), Residence::Memory);
        Weights {
            case,
            pages,
            residence,
            rotation: Rotation::new(distance, limit),
        }
    }

    /// Weights that stay in the caches, as far as they fit.
    pub(crate) fn in_cache(shape: Shape, pages: Pages) -> Weights {
        let (case, residence) = (Case::new(shape), Residence::Cache);
        Weights {
            case,
            pages,
            residence,
            rotation: Rotation::new(0, usize::MAX),
        }
    }

    pub(crate) fn rotation(&mut self) -> &mut Rotation {
        &mut self.rotation
    }

    /// One token's activations.
    pub(crate) fn activations(&self) -> &[i8] {
        &self.case.activations
    }

    /// Makes sure of a copy in `packing`, so that it can be taken.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(crate) fn hold(&mut self, packing: Packing) -> Result<(), String> {
        if !self.rotation.contains(packing) {
            let Shape { rows, cols } = self.case.shape;
            self.rotation.make_room(packing.matrix_bytes(rows, cols))?;
            let matrix = self.case.pack(packing, self.pages);
            self.rotation
                .insert(matrix.map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    pub(crate) fn shape(&self) -> Shape {
        self.case.shape
    }
}

/// Candidates of one shape and thread count.
pub(crate) struct GemvBench<'a> {
    weights: &'a mut Weights,
    candidates: &'a [Candidate],
    timer: Timer,
    /// Products in one sample of each candidate, once it is admitted.
    repetitions: Vec<usize>,
    /// Where a sample includes the preparation of the activations: the products that share it.
    sharing: Option<f64>,
    clock: Clock,
    cancel: &'a AtomicBool,
}

impl<'a> GemvBench<'a> {
    /// # Errors
    /// The system refuses the threads.
    pub(crate) fn new(
        weights: &'a mut Weights,
        candidates: &'a [Candidate],
        threads: usize,
        cancel: &'a AtomicBool,
    ) -> Result<GemvBench<'a>, TuneError> {
        let timer = Timer::new(threads).map_err(|source| TuneError::Team { threads, source })?;
        let repetitions = vec![1; candidates.len()];
        let clock = Clock::start();
        Ok(GemvBench {
            weights,
            candidates,
            timer,
            repetitions,
            sharing: None,
            clock,
            cancel,
        })
    }

    /// From now on a sample includes its part of preparing the activations, which `sharing` products share.
    pub(crate) fn with_preparation(self, sharing: f64) -> GemvBench<'a> {
        GemvBench {
            sharing: Some(sharing),
            ..self
        }
    }

    /// Times how long preparing one token's activations takes for an admitted candidate, in microseconds.
    pub(crate) fn build(&mut self, index: Index) -> Option<Spread> {
        self.timer
            .build(self.candidates[index].kernel, &self.weights.case)
    }

    /// The median of a few samples of an admitted candidate whose weights stay in the caches, as far as they fit, in microseconds.
    pub(crate) fn warm(&mut self, index: Index) -> Option<f64> {
        let (candidate, laps) = (&self.candidates[index], self.repetitions[index]);
        let Weights { case, rotation, .. } = &mut *self.weights;
        let mut matrix = rotation.take_warm(candidate.kernel.packing)?;
        let mut samples = Vec::new();
        for _ in 0..WARM_SAMPLES {
            let (us, mut back) =
                self.timer
                    .products(candidate, vec![matrix], laps, case, self.sharing);
            matrix = back.pop()?;
            samples.push(us);
        }
        rotation.put_back(vec![matrix]);
        // The first one brought the weights in.
        Spread::of(samples.split_off(1)).map(|spread| spread.median)
    }

    /// The team, for rulers that are timed in the same rounds.
    pub(crate) fn team(&mut self) -> &mut Team {
        self.timer.team()
    }

    /// Starts the clock of `elapsed` again: a bench may serve several searches.
    pub(crate) fn restart(&mut self) {
        self.clock = Clock::start();
    }
}

impl Bench for GemvBench<'_> {
    fn admit(&mut self, index: Index) -> Result<(), String> {
        let candidate = &self.candidates[index];
        let packing = candidate.kernel.packing;
        self.weights.hold(packing)?;
        let Weights { case, rotation, .. } = &mut *self.weights;
        self.timer
            .prepare(candidate, case)
            .map_err(|error| error.to_string())?;
        let matrix = rotation
            .take_warm(packing)
            .expect("a copy was just made sure of");
        let (exact, matrix) = self.timer.check(candidate, matrix, case);
        let (repetitions, matrix) = match exact {
            Ok(()) => self.timer.calibrate(candidate, matrix, case, self.sharing),
            Err(_) => (1, matrix),
        };
        rotation.put_back(vec![matrix]);
        self.repetitions[index] = repetitions;
        exact
    }

    fn sample(&mut self, index: Index) -> f64 {
        let (candidate, repetitions) = (&self.candidates[index], self.repetitions[index]);
        let Weights {
            case,
            residence,
            rotation,
            ..
        } = &mut *self.weights;
        let packing = candidate.kernel.packing;
        let (matrices, laps) = match residence {
            Residence::Memory => (rotation.take(packing, repetitions), 1),
            Residence::Cache => (
                rotation.take_warm(packing).into_iter().collect(),
                repetitions,
            ),
        };
        assert!(
            !matrices.is_empty(),
            "a candidate is admitted before it is sampled"
        );
        let (us, matrices) = self
            .timer
            .products(candidate, matrices, laps, case, self.sharing);
        rotation.put_back(matrices);
        us
    }

    fn enter(&mut self, candidates: &[Index]) {
        if self.weights.residence == Residence::Cache {
            return;
        }
        let mut demands: Vec<Demand> = Vec::new();
        for &index in candidates {
            let packing = self.candidates[index].kernel.packing;
            let burst = self.repetitions[index];
            match demands.iter_mut().find(|demand| demand.packing == packing) {
                Some(demand) => {
                    demand.per_round += burst;
                    demand.burst = demand.burst.max(burst);
                }
                None => demands.push(Demand {
                    packing,
                    per_round: burst,
                    burst,
                }),
            }
        }
        self.weights.rotation.plan(&demands);
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
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

/// What to say if weights were warmer than they should be.
pub(crate) fn distance_note(reached: u64, wanted: u64) -> Option<String> {
    (reached < wanted / 10 * 9).then(|| {
        format!(
            "weights were read again after {} MiB instead of {} MiB, because more copies would not fit or be too many: \
             times may be too short",
            reached >> 20,
            wanted >> 20
        )
    })
}
