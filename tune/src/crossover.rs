//! Several tokens at once: from how many on a batched product pays, and what a prompt's token costs in a packing.
//!
//! A matrix is held once, in the packing of the winner for one token. The alternatives for several tokens all read it: the winner itself with
//! its forms for a few tokens, and each kernel of batched products. They are timed in rounds, on cold weights, with the preparation
//! of the activations, and compared sum by sum before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tern_kernels::{
    Batch, BatchEntry, Choice, Gemm, GemmChoice, GemmPart, Gemv, Kernel, MemoryError, Operand,
    PackedMatrix, Packing, Planner, Rigor, Session, Shape, Source, Team,
};

use crate::bench::{Residence, Weights, in_round};
use crate::error::TuneError;
use crate::finals::ERRORS_MIN;
use crate::host;
use crate::log::LoggedBatch;
use crate::measure::{Candidate, Clock};
use crate::rotation::Demand;
use crate::spread::{Spread, rounded};

/// Numbers of tokens at which the alternatives are compared: each holds up to the next. Those of prompts come first, since most hangs on
/// them.
const TOKENS: [usize; 4] = [65, 17, 5, 2];

/// Tokens at which the cost of a prompt's token is measured: enough that unpacking the weights is shared by many.
const PROMPT: usize = 64;

/// Interleaved rounds, and those of prompts.
const ROUNDS: usize = 8;
const FEW_ROUNDS: usize = 5;
const PROMPT_ROUNDS: usize = 8;

/// Kernels of batched products that are compared, those of the lowest estimates: the others are of older instruction sets, and one
/// product of plain Rust takes as long as fifty of vectors.
const GEMMS_MAX: usize = 3;

/// A batched product must be faster by more than this, and by more than the noise, to be taken.
const GAIN_MIN: f64 = 0.02;

/// One way to multiply several tokens, with all that it needs.
struct Way {
    /// A kernel of batched products; `None` for the kernel for one token and its forms.
    gemm: Option<GemmChoice>,
    operands: Vec<Operand>,
    batch: Option<Batch>,
    /// Sums of each worker.
    sums: Vec<Vec<i32>>,
    parts: Vec<GemmPart>,
}

/// The activations of `tokens` tokens, all different, the first as they are in `first`.
fn activations(first: &[i8], tokens: usize) -> Vec<Vec<i8>> {
    let turned = |token: usize| {
        let mut q = first.to_vec();
        q.rotate_left(token * 7 % first.len().max(1));
        q
    };
    (0..tokens).map(turned).collect()
}

impl Way {
    fn new(
        kernel: Kernel,
        gemm: Option<GemmChoice>,
        gemv: &Gemv,
        tokens: usize,
    ) -> Result<Way, MemoryError> {
        let cols = gemv.matrix().cols();
        let workers = 0..gemv.workers();
        Ok(match gemm {
            None => Way {
                gemm,
                operands: (0..tokens)
                    .map(|_| Operand::new(kernel, cols))
                    .collect::<Result<_, _>>()?,
                batch: None,
                sums: workers
                    .map(|worker| vec![0; tokens * gemv.part_len(worker)])
                    .collect(),
                parts: Vec::new(),
            },
            Some(choice) => Way {
                gemm,
                operands: Vec::new(),
                batch: Some(Batch::new(gemv.matrix().packing(), cols, tokens)?),
                sums: Vec::new(),
                parts: Gemm::new(gemv, choice).parts(tokens)?,
            },
        })
    }

    /// Prepares the activations and multiplies once; microseconds for one token.
    fn run(&mut self, session: &mut Session<'_>, gemv: &Gemv, q: &[Vec<i8>]) -> f64 {
        let plan = self.gemm.map(|choice| Gemm::new(gemv, choice));
        let threads = session.threads();
        session.run(|_| {});
        let clock = Clock::start();
        match (plan, &mut self.batch) {
            (Some(gemm), Some(batch)) => {
                let mut rows: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
                for (token, row) in batch.rows().zip(q).enumerate() {
                    rows[token % threads].push(row);
                }
                session.run_parts(&mut rows, |_, rows| {
                    for (row, q) in rows {
                        row.fill(q);
                    }
                });
                gemm.run_on(session, gemv.matrix(), batch, &mut self.parts);
            }
            _ => {
                let mut builds: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
                for (token, operand) in self.operands.iter_mut().zip(q).enumerate() {
                    builds[token % threads].push(operand);
                }
                session.run_parts(&mut builds, |_, builds| {
                    for (operand, q) in builds {
                        operand.build(q);
                    }
                });
                let operands: Vec<&Operand> = self.operands.iter().collect();
                session.run_parts(&mut self.sums, |worker, sums| {
                    gemv.run_part(worker, &operands, sums);
                });
            }
        }
        clock.us() / q.len() as f64
    }

    /// The sums of all rows of one token, after a run.
    fn sums(&self, gemv: &Gemv, token: usize) -> Vec<i32> {
        let mut rows = Vec::new();
        for part in &self.parts {
            rows.extend(part.sums().nth(token).into_iter().flatten());
        }
        for (worker, sums) in self.sums.iter().enumerate() {
            let (len, count) = (gemv.part_len(worker), gemv.part_rows(worker).len());
            rows.extend(sums.iter().skip(token * len).take(count));
        }
        rows
    }
}

/// Joins a matrix with a winner.
fn join(matrix: PackedMatrix, candidate: &Candidate, threads: usize) -> Gemv {
    let choice = Choice {
        kernel: candidate.kernel,
        tile: candidate.tile,
        source: Source::Forced,
    };
    Gemv::new(matrix, choice, threads).expect("packed for the kernel")
}

/// A team, and what is measured on it.
pub(crate) struct Batches<'a> {
    planner: &'a Planner,
    team: Team,
    threads: usize,
    cancel: &'a AtomicBool,
    /// What was timed since somebody asked last, for a log.
    heard: Vec<LoggedBatch>,
}

impl<'a> Batches<'a> {
    /// # Errors
    /// The system refuses the threads.
    pub(crate) fn new(
        planner: &'a Planner,
        threads: usize,
        cancel: &'a AtomicBool,
    ) -> Result<Batches<'a>, TuneError> {
        let team = Team::try_new(threads).map_err(|source| TuneError::Team { threads, source })?;
        Ok(Batches {
            planner,
            team,
            threads,
            cancel,
            heard: Vec::new(),
        })
    }

    /// What was timed since the last call.
    pub(crate) fn take_heard(&mut self) -> Vec<LoggedBatch> {
        std::mem::take(&mut self.heard)
    }

    /// Keeps the samples of a way for [`Batches::take_heard`].
    fn hear(
        &mut self,
        (shape, packing): (Shape, Packing),
        gemm: Option<GemmChoice>,
        (tokens, weights): (usize, Residence),
        samples: &[f64],
    ) {
        self.heard.push(LoggedBatch {
            host: self.planner.cpu().key(),
            kernel: gemm.map_or(BatchEntry::GEMV, |g| g.kernel.id).to_string(),
            packing: packing.to_string(),
            rows: shape.rows,
            cols: shape.cols,
            threads: self.threads,
            tokens,
            weights,
            samples_us: samples.iter().copied().map(rounded).collect(),
        });
    }

    /// Microseconds for one token of a prompt in the packing of each candidate (of different packings, all in `weights`), by the batched
    /// product of the closed form; `None` where there is none or no copy of the weights.
    ///
    /// They are timed in rounds. Packings differ in what unpacking costs, which many tokens share, so mostly by less than a machine's
    /// noise: one whose difference from the first is not clear costs as much as the first.
    pub(crate) fn prompts_us(
        &mut self,
        weights: &mut Weights,
        candidates: &[Candidate],
    ) -> Result<Vec<Option<f64>>, TuneError> {
        let q = activations(weights.activations(), PROMPT);
        let mut ways: Vec<Option<Way>> = candidates.iter().map(|_| None).collect();
        let mut samples: Vec<Vec<f64>> = vec![Vec::new(); candidates.len()];
        // The first round warms up.
        for round in 0..=PROMPT_ROUNDS {
            for position in in_round(round, candidates.len()) {
                let candidate = &candidates[position];
                let packing = candidate.kernel.packing;
                let Some(gemm) = self.planner.choose_gemm(packing) else {
                    continue;
                };
                let Some(matrix) = weights.rotation().take_warm(packing) else {
                    continue;
                };
                let gemv = join(matrix, candidate, self.threads);
                let way = match &mut ways[position] {
                    Some(way) => way,
                    none => none.insert(Way::new(candidate.kernel, Some(gemm), &gemv, PROMPT)?),
                };
                let us = self.team.session(|session| way.run(session, &gemv, &q));
                if round > 0 {
                    samples[position].push(us);
                }
                weights.rotation().put_back(vec![gemv.into_matrix()]);
            }
        }
        let shape = weights.shape();
        for (candidate, samples) in candidates.iter().zip(&samples) {
            if !samples.is_empty() {
                let packing = candidate.kernel.packing;
                let gemm = self.planner.choose_gemm(packing);
                self.hear((shape, packing), gemm, (PROMPT, Residence::Cache), samples);
            }
        }
        let first = samples.iter().find(|samples| !samples.is_empty()).cloned();
        let Some(first) = first.and_then(Spread::of) else {
            return Ok(vec![None; candidates.len()]);
        };
        let cost = |samples: &Vec<f64>| {
            let ratio = Spread::ratio(samples, &first.samples)?;
            let noise = (ERRORS_MIN * ratio.error()).max(GAIN_MIN);
            match (ratio.median - 1.0).abs() > noise {
                true => Some(first.median * ratio.median),
                false => Some(first.median),
            }
        };
        Ok(samples.iter().map(cost).collect())
    }

    /// The best way for each number of tokens, as entries for the profile; fewer if `budget` has passed.
    pub(crate) fn crossover(
        &mut self,
        weights: &mut Weights,
        winner: &Candidate,
        rigor: Rigor,
        budget: Duration,
    ) -> Result<Vec<BatchEntry>, TuneError> {
        let clock = Clock::start();
        let packing = winner.kernel.packing;
        // Where nothing unpacks a packing, batched products decode it trit by trit, which never pays.
        let gemms = self.planner.gemms(packing).into_iter();
        let gemms = gemms.filter(|gemm| gemm.unpack.is_some()).take(GEMMS_MAX);
        let all: Vec<Option<GemmChoice>> = std::iter::once(None).chain(gemms.map(Some)).collect();
        let rounds = match rigor {
            Rigor::Estimate | Rigor::Measure => FEW_ROUNDS,
            Rigor::Patient | Rigor::Exhaustive => ROUNDS,
        };
        let mut entries = Vec::new();
        for tokens in TOKENS {
            let is_late = clock.elapsed() >= budget || self.cancel.load(Ordering::Relaxed);
            if is_late || !weights.rotation().contains(packing) {
                break;
            }
            let Some((best, spread)) = self.compare(weights, winner, &all, tokens, rounds)? else {
                break;
            };
            let Shape { rows, cols } = weights.shape();
            let (kernel, fingerprint) = match all[best] {
                None => (BatchEntry::GEMV, ""),
                Some(gemm) => (gemm.kernel.id, gemm.kernel.fingerprint),
            };
            entries.push(BatchEntry {
                rows,
                cols,
                threads: self.threads,
                tokens,
                packing: packing.to_string(),
                kernel: kernel.to_string(),
                fingerprint: fingerprint.to_string(),
                rigor,
                date: host::now_utc(),
                median_us: rounded(spread.median),
                mad_us: rounded(spread.mad),
            });
        }
        Ok(entries)
    }

    /// The best of `all` ways for `tokens` tokens, and its times. `None` if there was no copy of the weights.
    ///
    /// # Errors
    /// No memory, or the ways do not agree.
    fn compare(
        &mut self,
        weights: &mut Weights,
        winner: &Candidate,
        all: &[Option<GemmChoice>],
        tokens: usize,
        rounds: usize,
    ) -> Result<Option<(usize, Spread)>, TuneError> {
        let packing = winner.kernel.packing;
        let q = activations(weights.activations(), tokens);
        // Copies for a round, so that none is read again while it is in the caches.
        weights.rotation().plan(&[Demand {
            packing,
            per_round: all.len(),
            burst: 1,
        }]);
        let mut ways: Vec<Way> = Vec::new();
        let mut samples: Vec<Vec<f64>> = vec![Vec::new(); all.len()];
        // The first round checks and warms up.
        for round in 0..=rounds {
            for position in in_round(round, all.len()) {
                let Some(matrix) = weights.rotation().take(packing, 1).pop() else {
                    return Ok(None);
                };
                let gemv = join(matrix, winner, self.threads);
                if ways.len() == position {
                    ways.push(Way::new(winner.kernel, all[position], &gemv, tokens)?);
                }
                let way = &mut ways[position];
                let us = self.team.session(|session| way.run(session, &gemv, &q));
                if round == 0 {
                    check(&ways, position, &gemv, tokens)?;
                } else {
                    samples[position].push(us);
                }
                weights.rotation().put_back(vec![gemv.into_matrix()]);
            }
        }
        let (shape, from) = (weights.shape(), (tokens, Residence::Memory));
        for (&gemm, samples) in all.iter().zip(&samples) {
            self.hear((shape, packing), gemm, from, samples);
        }
        let mut best = 0;
        for position in 1..all.len() {
            let Some(ratio) = Spread::ratio(&samples[position], &samples[best]) else {
                continue;
            };
            let noise = (ERRORS_MIN * ratio.error()).max(GAIN_MIN);
            if ratio.median < 1.0 - noise {
                best = position;
            }
        }
        let spread = Spread::of(samples.swap_remove(best));
        Ok(spread.map(|spread| (best, spread)))
    }
}

/// Whether way `position` has the sums of the first.
fn check(ways: &[Way], position: usize, gemv: &Gemv, tokens: usize) -> Result<(), TuneError> {
    for token in [0, tokens / 2, tokens - 1] {
        let (expected, found) = (ways[0].sums(gemv, token), ways[position].sums(gemv, token));
        if let Some(row) = (0..expected.len()).find(|&row| found.get(row) != Some(&expected[row])) {
            let kernel = ways[position]
                .gemm
                .map_or(BatchEntry::GEMV, |g| g.kernel.id);
            return Err(TuneError::Inexact { kernel, row, token });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tern_kernels::{Cpu, Family, Pages};

    #[test]
    fn every_number_of_tokens_has_an_entry_that_the_planner_obeys() {
        let cpu = Cpu::detect();
        let planner = Planner::new(cpu.clone(), None, None).unwrap();
        let never = AtomicBool::new(false);
        let shape = Shape {
            rows: 200,
            cols: 330,
        };
        for kernel in cpu
            .kernels()
            .filter(|k| k.batch == 1 && k.family == Family::Mad)
        {
            let candidate = Candidate {
                kernel,
                tile: tern_kernels::plan::DEFAULT_TILE,
            };
            let mut weights = Weights::in_memory(shape, Pages::Small, 1 << 18, 1 << 26);
            weights.hold(kernel.packing).unwrap();
            for threads in [1, 3] {
                let mut batches = Batches::new(&planner, threads, &never).unwrap();
                let found = batches
                    .crossover(
                        &mut weights,
                        &candidate,
                        Rigor::Measure,
                        Duration::from_secs(9),
                    )
                    .unwrap();
                assert_eq!(found.len(), TOKENS.len(), "{}", kernel.id);
                let prompts = batches.prompts_us(&mut weights, &[candidate]).unwrap();
                assert!(prompts.len() == 1 && prompts[0].is_none_or(|us| us > 0.0));
                let mut profile =
                    tern_kernels::Profile::new(&cpu, "2026-01-01T00:00:00Z", Vec::new());
                profile.batches = found.clone();
                let text = profile.to_toml();
                let loaded = tern_kernels::Profile::from_toml(&text, &cpu).unwrap();
                assert_eq!(loaded.ignored, Vec::<String>::new());
                let planner = Planner::new(cpu.clone(), Some(loaded.profile), None).unwrap();
                for entry in found {
                    let choice =
                        planner.choose_batch(shape, threads, kernel.packing, entry.tokens + 1);
                    assert_eq!(choice.source, Source::Profile);
                    let id = match choice.kernel {
                        tern_kernels::BatchKernel::Gemv => BatchEntry::GEMV,
                        tern_kernels::BatchKernel::Gemm(gemm) => gemm.kernel.id,
                    };
                    assert_eq!(id, entry.kernel);
                }
            }
        }
    }
}
