//! Huge pages or small ones, for a winner.
//!
//! Walking page tables costs a product that streams its weights some percent on most CPUs and nothing on a few; huge pages are the default.
//! More rigor times both: the same kernel and tile on two sets of cold weights, in blocks that take turns (huge, small, small, huge), so that
//! a drift of the machine's speed meets both alike.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tern_kernels::{Cpu, Pages};

use crate::bench::{Bench as _, GemvBench, Residence, Weights, in_round};
use crate::error::TuneError;
use crate::finals::ERRORS_MIN;
use crate::log::LoggedPages;
use crate::measure::{Candidate, Clock};
use crate::runoff::Shelf;
use crate::spread::{Spread, rounded};
use crate::tune::Order;

/// Pairs of blocks, and samples in a block.
const PAIRS: usize = 24;
const SAMPLES: usize = 8;

/// Weights of fewer bytes, a huge page of x86-64, share theirs with others or lie on small ones anyway.
const BYTES_MIN: usize = 2 << 20;

/// A smaller difference is none.
const GAIN_MIN: f64 = 0.02;

/// The weights of both kinds of pages.
pub(crate) struct BothPages<'a> {
    host: String,
    huge: &'a mut Shelf,
    small: Shelf,
    cancel: &'a AtomicBool,
}

impl<'a> BothPages<'a> {
    /// `huge` holds the weights of the run-offs.
    pub(crate) fn new(cpu: &Cpu, huge: &'a mut Shelf, cancel: &'a AtomicBool) -> BothPages<'a> {
        BothPages {
            host: cpu.key(),
            huge,
            small: Shelf::new(cpu, Pages::Small),
            cancel,
        }
    }

    /// How many times as long a winner takes on small pages, 1 where that is within the noise and nothing where there was too
    /// little time to tell, and the medians of all blocks; `None` if the
    /// weights are too few to matter, or there was no time or no memory.
    ///
    /// # Errors
    /// The system refuses threads.
    pub(crate) fn compare(
        &mut self,
        order: &Order,
        winner: Candidate,
        budget: Duration,
    ) -> Result<Option<(Option<f64>, LoggedPages)>, TuneError> {
        let clock = Clock::start();
        let shape = order.work.shape;
        let bytes = winner.kernel.packing.matrix_bytes(shape.rows, shape.cols);
        if bytes.is_none_or(|bytes| bytes < BYTES_MIN) {
            return Ok(None);
        }
        // Only one shape at a time has its weights twice.
        self.small.keep_only(&[]);
        let (mut huge_us, mut small_us) = (Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            if self.cancel.load(Ordering::Relaxed) || clock.elapsed() >= budget {
                break;
            }
            let mut both = [
                (&mut *self.huge, &mut huge_us),
                (&mut self.small, &mut small_us),
            ];
            for position in in_round(pair, both.len()) {
                let (shelf, medians) = &mut both[position];
                let weights = shelf.weights(shape);
                let Some(median) = block(weights, winner, order, self.cancel)? else {
                    return Ok(None);
                };
                medians.push(rounded(median));
            }
        }
        let logged = LoggedPages {
            host: self.host.clone(),
            weights: Residence::Memory,
            rows: shape.rows,
            cols: shape.cols,
            threads: order.threads,
            kernel: winner.kernel.id.to_string(),
            tile: winner.tile,
            huge_us,
            small_us,
        };
        let ratio = Spread::ratio(&logged.small_us, &logged.huge_us);
        // Two pairs say nothing about the noise.
        let ratio = ratio.filter(|ratio| ratio.samples.len() > 2);
        Ok(Some((ratio.map(|ratio| verdict(&ratio)), logged)))
    }
}

/// The ratio, or 1 where it is within the noise.
fn verdict(ratio: &Spread) -> f64 {
    let noise = (ERRORS_MIN * ratio.error()).max(GAIN_MIN);
    match (ratio.median - 1.0).abs() > noise {
        true => rounded(ratio.median),
        false => 1.0,
    }
}

/// The median of a block of samples; `None` if there is no memory for the weights.
fn block(
    weights: &mut Weights,
    winner: Candidate,
    order: &Order,
    cancel: &AtomicBool,
) -> Result<Option<f64>, TuneError> {
    let candidates = [winner];
    let bench = GemvBench::new(weights, &candidates, order.threads, cancel)?;
    let mut bench = bench.with_preparation(order.work.sharing());
    if bench.admit(0).is_err() {
        return Ok(None);
    }
    bench.enter(&[0]);
    let samples = (0..SAMPLES).map(|_| bench.sample(0)).collect();
    Ok(Spread::of(samples).map(|spread| spread.median))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_counts_only_beyond_the_noise() {
        let of = |samples: &[f64]| verdict(&Spread::of(samples.to_vec()).unwrap());
        assert_eq!(of(&[1.10, 1.11, 1.10, 1.09]), 1.1);
        assert_eq!(of(&[0.90, 0.90, 0.91, 0.90]), 0.9);
        assert_eq!(of(&[1.01, 1.015, 1.01, 1.012]), 1.0, "too small to matter");
        assert_eq!(of(&[0.8, 1.2, 0.9, 1.3]), 1.0, "noise");
    }
}
