//! The one kernel timer, and the one file that reads a clock.
//!
//! What is timed is what a model runs: the same team with the same split of rows, the same packed memory on the same
//! pages, one region for each product. A sample is long enough (see [`SAMPLE_US`]) that the clock's own cost and one
//! stray interrupt do not matter; what it is compared with was sampled in the same round (see `search.rs`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use tern_kernels::{
    BlockOperand, Choice, Gemv, Kernel, MemoryError, Operand, PREPARED_ALONE, PackError,
    PackedMatrix, Packing, Pages, Shape, Source, Tables, Team, Tile, reference,
};

use crate::random::Random;
use crate::spread::Spread;

/// How long a sample should last at least, in microseconds: a thousand times what reading the clock costs.
pub(crate) const SAMPLE_US: f64 = 250.0;

/// The most products in one sample: where a product is shorter than the clock can tell, this many are timed at once.
const REPETITIONS_MAX: usize = 1 << 10;

/// Samples of an operand's build time.
const BUILD_SAMPLES: usize = 7;

/// A running stopwatch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Elapsed microseconds.
    pub(crate) fn us(&self) -> f64 {
        self.0.elapsed().as_secs_f64() * 1e6
    }
}

/// A kernel with a tile: one way to compute a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The kernel.
    pub kernel: Kernel,
    /// Its tile.
    pub tile: Tile,
}

impl Candidate {
    fn choice(&self) -> Choice {
        Choice {
            kernel: self.kernel,
            tile: self.tile,
            source: Source::Forced,
        }
    }
}

/// A matrix and activations to measure with, and the exact product.
///
/// No kernel branches on values, so random ones stand for a model's. The first two rows are all 1 and all -1 and half
/// of the activations are extreme, so that a kernel whose sums overflow is caught before it is timed.
pub(crate) struct Case {
    pub shape: Shape,
    pub activations: Vec<i8>,
    pub expected: Vec<i32>,
}

impl Case {
    pub(crate) fn new(shape: Shape) -> Case {
        let mut random = Random::new(shape.cols as u64);
        let activations: Vec<i8> = (0..shape.cols)
            .map(|_| match random.next() % 4 {
                0 => -128,
                1 => 127,
                _ => random.next() as u8 as i8,
            })
            .collect();
        let mut expected = vec![0; shape.rows];
        expected.par_iter_mut().enumerate().for_each_init(
            || vec![0; shape.cols],
            |trits, (row, sum)| {
                fill_row(row, trits);
                let trit = |_, col: usize| trits[col];
                reference::gemv(1, shape.cols, trit, &activations, std::slice::from_mut(sum));
            },
        );
        Case {
            shape,
            activations,
            expected,
        }
    }

    /// The matrix in one packing.
    pub(crate) fn pack(&self, packing: Packing, pages: Pages) -> Result<PackedMatrix, PackError> {
        PackedMatrix::pack(packing, self.shape.rows, self.shape.cols, pages, &fill_row)
    }
}

/// Writes the trits of one row; any row can be written at any time by any thread.
fn fill_row(row: usize, trits: &mut [i8]) {
    match row {
        0 => trits.fill(1),
        1 => trits.fill(-1),
        _ => {
            let mut random = Random::new(row as u64);
            for run in trits.chunks_mut(8 * FIVE_TRITS[0].len()) {
                let bytes = random.next().to_le_bytes();
                for (five, byte) in run.chunks_mut(FIVE_TRITS[0].len()).zip(bytes) {
                    let values = &FIVE_TRITS[usize::from(byte) % FIVE_TRITS.len()];
                    five.copy_from_slice(&values[..five.len()]);
                }
            }
        }
    }
}

/// All runs of five trits: writing random rows by runs keeps that from taking longer than packing them.
const FIVE_TRITS: [[i8; 5]; 243] = {
    let mut runs = [[0; 5]; 243];
    let mut index = 0;
    while index < runs.len() {
        let (mut rest, mut trit) = (index, 0);
        while trit < 5 {
            runs[index][trit] = (rest % 3) as i8 - 1;
            rest /= 3;
            trit += 1;
        }
        index += 1;
    }
    runs
};

/// A team with prepared activations: times products and operand builds.
pub(crate) struct Timer {
    team: Team,
    operands: HashMap<Packing, Operand>,
    workers: Vec<Worker>,
}

/// What one worker of the team writes.
#[derive(Default)]
struct Worker {
    /// Of the piece at hand.
    sums: Vec<i32>,
    /// K blocks that it prepares for itself.
    own: HashMap<Packing, BlockOperand>,
}

/// A piece of one product, as a model runs it: by the tile's tables.
fn multiply(gemv: &Gemv, piece: usize, worker: &mut Worker, operand: &Operand, q: &[i8]) {
    worker.sums.resize(gemv.piece_len(piece), 0);
    match gemv.choice().tile.tables {
        Tables::Shared => gemv.run_piece(piece, &[operand], &mut worker.sums),
        Tables::Own => {
            let own = worker.own.get_mut(&gemv.matrix().packing());
            let own = own.expect("a candidate is prepared before it is timed");
            // Such a product has one piece for each worker.
            gemv.run_part_own(piece, q, own, &mut worker.sums, |_| ());
        }
    }
}

impl Timer {
    /// # Errors
    /// The system refuses the threads.
    pub(crate) fn new(threads: usize) -> std::io::Result<Timer> {
        Ok(Timer {
            team: Team::try_new(threads)?,
            operands: HashMap::new(),
            workers: (0..threads).map(|_| Worker::default()).collect(),
        })
    }

    pub(crate) fn team(&mut self) -> &mut Team {
        &mut self.team
    }

    /// Prepares the activations for a candidate, if that was not yet done, or makes room for workers to prepare them.
    pub(crate) fn prepare(
        &mut self,
        candidate: &Candidate,
        case: &Case,
    ) -> Result<(), MemoryError> {
        let kernel = candidate.kernel;
        if let Entry::Vacant(vacant) = self.operands.entry(kernel.packing) {
            let mut operand = Operand::new(kernel, case.shape.cols)?;
            operand.build(&case.activations);
            vacant.insert(operand);
        }
        if candidate.tile.tables == Tables::Own {
            for worker in &mut self.workers {
                if let Entry::Vacant(vacant) = worker.own.entry(kernel.packing) {
                    vacant.insert(BlockOperand::new(kernel, case.shape.cols)?);
                }
            }
        }
        Ok(())
    }

    /// Multiplies with each of `matrices` in turn, `laps` times, and returns microseconds per product. The
    /// candidate must be prepared. Takes the matrices and gives them back, because a product owns its matrix.
    ///
    /// With `sharing` the activations are prepared anew for each product, and of the time that this takes the product bears one part
    /// in `sharing`. Without it they are prepared already. Own tables are always part of the product.
    pub(crate) fn products(
        &mut self,
        candidate: &Candidate,
        matrices: Vec<PackedMatrix>,
        laps: usize,
        case: &Case,
        sharing: Option<f64>,
    ) -> (f64, Vec<PackedMatrix>) {
        let products = matrices.len() * laps;
        let gemvs = self.join(candidate, matrices);
        let operand = self.operands.get_mut(&candidate.kernel.packing);
        let operand = operand.expect("a candidate is prepared before it is timed");
        let (workers, q) = (&mut self.workers, &case.activations);
        let threads = self.team.threads();
        let prepares = sharing.filter(|_| candidate.tile.tables == Tables::Shared);
        let us = self.team.session(|session| {
            // Workers that had gone to sleep are awake after a first region, which is not timed.
            session.run(|_| {});
            let (clock, mut preparing) = (Clock::start(), 0.0);
            for _ in 0..laps {
                for gemv in &gemvs {
                    if prepares.is_some() {
                        let clock = Clock::start();
                        // As a model whose matrices with the same input share one packing.
                        if operand.bytes() <= PREPARED_ALONE {
                            operand.build(q);
                        } else {
                            let mut parts: Vec<_> = operand.parts(threads).collect();
                            session.run_parts(&mut parts, |_, part| part.build(q));
                        }
                        preparing += clock.us();
                    }
                    let operand = &*operand;
                    session.run_pieces(workers, gemv.pieces(), &mut [], |_, piece, worker, _| {
                        multiply(gemv, piece, worker, operand, q);
                    });
                }
            }
            let shared = prepares.map_or(0.0, |sharing| preparing * (1.0 - 1.0 / sharing));
            clock.us() - shared
        });
        (
            us / products as f64,
            gemvs.into_iter().map(Gemv::into_matrix).collect(),
        )
    }

    /// Multiplies once through the team and compares every row. The reason if a row is not exact.
    pub(crate) fn check(
        &mut self,
        candidate: &Candidate,
        matrix: PackedMatrix,
        case: &Case,
    ) -> (Result<(), String>, PackedMatrix) {
        let mut gemvs = self.join(candidate, vec![matrix]);
        let gemv = gemvs.remove(0);
        let operand = &self.operands[&candidate.kernel.packing];
        let wrong = Mutex::new(None);
        self.team.session(|session| {
            let (workers, pieces) = (&mut self.workers, gemv.pieces());
            session.run_pieces(workers, pieces, &mut [], |_, piece, worker, _| {
                multiply(&gemv, piece, worker, operand, &case.activations);
                let rows = gemv.split().range(piece);
                let expected = &case.expected[rows.clone()];
                let mut found = rows.zip(worker.sums.iter().zip(expected));
                if let Some((row, (found, expected))) = found.find(|(_, (a, b))| a != b) {
                    let reason = format!("not exact: row {row} is {found}, expected {expected}");
                    *wrong.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
                }
            });
        });
        let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
        let result = wrong.map_or(Ok(()), Err);
        (result, gemv.into_matrix())
    }

    /// Times preparing one token's activations on the whole team, in microseconds.
    pub(crate) fn build(&mut self, kernel: Kernel, case: &Case) -> Option<Spread> {
        let operand = self.operands.get_mut(&kernel.packing)?;
        let mut parts: Vec<_> = operand.parts(self.team.threads()).collect();
        let activations = &case.activations;
        let mut sample = |laps: usize| {
            self.team.session(|session| {
                session.run(|_| {});
                let clock = Clock::start();
                for _ in 0..laps {
                    session.run_parts(&mut parts, |_, part| part.build(activations));
                }
                clock.us() / laps as f64
            })
        };
        let laps = repetitions(&mut sample);
        Spread::of((0..BUILD_SAMPLES).map(|_| sample(laps)).collect())
    }

    /// How many products of `candidate` make a sample, measured on one matrix that may be warm.
    pub(crate) fn calibrate(
        &mut self,
        candidate: &Candidate,
        matrix: PackedMatrix,
        case: &Case,
        sharing: Option<f64>,
    ) -> (usize, PackedMatrix) {
        let mut matrices = vec![matrix];
        let repetitions = repetitions(|laps| {
            let taken = std::mem::take(&mut matrices);
            let (us, back) = self.products(candidate, taken, laps, case, sharing);
            matrices = back;
            us
        });
        (repetitions, matrices.remove(0))
    }

    /// Joins matrices with the candidate and makes room for the sums.
    fn join(&mut self, candidate: &Candidate, matrices: Vec<PackedMatrix>) -> Vec<Gemv> {
        let threads = self.team.threads();
        let gemvs: Vec<Gemv> = matrices
            .into_iter()
            .map(|matrix| {
                Gemv::new(matrix, candidate.choice(), threads)
                    .expect("matrices are kept by packing, so the kernel reads this one")
            })
            .collect();
        // The largest piece is touched before anything is timed.
        let first = gemvs.first();
        let pieces = first.map_or(0, |gemv| gemv.pieces() * threads);
        let longest = first.and_then(|gemv| (0..pieces).map(|piece| gemv.piece_len(piece)).max());
        for worker in &mut self.workers {
            worker.sums.resize(longest.unwrap_or(0), 0);
        }
        gemvs
    }
}

/// Reads of freshly written memory before they are as fast as all later ones; at most.
const SETTLING_LAPS_MAX: usize = 4;

/// Repeats `lap`, which reads some memory and returns how long that took, until it becomes no faster.
///
/// The first reads of memory after it was written can be much slower than all later ones: on a virtual machine with a
/// Xeon (family 6, model 207) the first lap over 2 GiB ran at 8 GB/s, the second at 11, the third and all others at 17.
/// A model reads its weights again and again, so the first laps must not count.
pub(crate) fn settle(mut lap: impl FnMut() -> f64) {
    let mut before = f64::INFINITY;
    for _ in 0..SETTLING_LAPS_MAX {
        let us = lap();
        if us > 0.95 * before {
            break;
        }
        before = us;
    }
}

/// Doubles the repetitions until a sample lasts [`SAMPLE_US`]. `sample` returns microseconds per repetition.
fn repetitions(mut sample: impl FnMut(usize) -> f64) -> usize {
    let mut repetitions = 1;
    while repetitions < REPETITIONS_MAX && sample(repetitions) * (repetitions as f64) < SAMPLE_US {
        repetitions *= 2;
    }
    repetitions
}

#[cfg(test)]
mod tests {
    use super::*;
    use tern_kernels::Cpu;

    #[test]
    fn settling_ends_when_laps_become_no_faster() {
        let mut laps = 0;
        settle(|| {
            laps += 1;
            [40.0, 10.0, 10.0, 10.0][laps - 1]
        });
        assert_eq!(laps, 3);
    }

    #[test]
    fn repetitions_double_until_a_sample_is_long_enough() {
        assert_eq!(repetitions(|_| 1000.0), 1);
        assert_eq!(repetitions(|_| SAMPLE_US / 2.0), 2);
        assert_eq!(repetitions(|_| SAMPLE_US / 7.0), 8);
        assert_eq!(repetitions(|_| 0.0), REPETITIONS_MAX);
    }

    #[test]
    fn a_case_has_extremes_and_all_three_trits() {
        let case = Case::new(Shape {
            rows: 5,
            cols: 1000,
        });
        assert!(case.activations.contains(&-128) && case.activations.contains(&127));
        let total: i32 = case.activations.iter().map(|&x| i32::from(x)).sum();
        assert_eq!((case.expected[0], case.expected[1]), (total, -total));
        let mut trits = [0; 1000];
        fill_row(3, &mut trits);
        for trit in [-1, 0, 1] {
            let share = trits.iter().filter(|&&t| t == trit).count();
            assert!((250..420).contains(&share), "{share} of 1000 are {trit}");
        }
    }

    #[test]
    fn every_kernel_of_this_cpu_passes_the_check_and_a_wrong_result_is_named() {
        let case = Case::new(Shape {
            rows: 70,
            cols: 300,
        });
        for (threads, tables) in [(1, Tables::Shared), (3, Tables::Shared), (3, Tables::Own)] {
            let mut timer = Timer::new(threads).unwrap();
            for kernel in Cpu::detect().kernels() {
                let tile = Tile {
                    tables,
                    ..tern_kernels::plan::DEFAULT_TILE
                };
                let candidate = Candidate { kernel, tile };
                timer.prepare(&candidate, &case).unwrap();
                let matrix = case.pack(kernel.packing, Pages::Small).unwrap();
                let (result, matrix) = timer.check(&candidate, matrix, &case);
                assert_eq!(result, Ok(()), "{}", kernel.id);

                let mut expected = case.expected.clone();
                expected[69] += 1;
                let activations = case.activations.clone();
                let other = Case {
                    shape: case.shape,
                    activations,
                    expected,
                };
                let (result, _) = timer.check(&candidate, matrix, &other);
                assert!(
                    result.unwrap_err().starts_with("not exact: row 69 is"),
                    "{}",
                    kernel.id
                );
            }
        }
    }
}
