//! The largest logits without reading all of the head.
//!
//! A greedy text needs only the row of the head with the largest logit, a sampled one only those that its filters keep. A copy of the head
//! in few bits ([`Planes`]) says between which bounds each row's logit lies; what the bounds cannot exclude is scored with the head's own
//! weights, by the very additions of `head.rs`. So the result is that of the full head, to the bit, whatever the weights are: bounds decide
//! how many rows are scored, never which row wins. (Screening by bounds is the old idea of exact maximum-inner-product search; the bound
//! is that of Cauchy and Schwarz.)
//!
//! 1. The first plane, four bits, is read for all rows. The row with the largest estimate is scored: its logit is one that the
//!    largest is not below, the *floor*. Scoring it first is what makes four bits enough: what can win need only reach the
//!    floor with its own upper bound, not with the width of two.
//! 2. Of rows that reach it, those that the second plane, two bits more, is likely to exclude are looked at with it.
//! 3. Rows that still reach the floor are scored.
//!
//! How wide the bounds are, in standard deviations of the logits of a head of 2560 columns whose weights are normally distributed: 4.9
//! for one plane, 2.0 for both. So with 128256 rows, where 656 MB are all of the head and 330 MB what a single plane of eight bits reads,
//! computed from these widths (the first line is also what `tern bench` counted, with `tern synth`'s random head):
//!
//! | largest logit | first plane | second plane | scored rows | together |
//! |---|---|---|---|---|
//! | at 8 deviations, `tern synth`'s default | 166 MB | 1 MB | 0 MB | 167 MB |
//! | at 6 | 166 MB | 12 MB | 0 MB | 178 MB |
//! | at 4.4, as in random ones | 166 MB | 58 MB | 5 MB | 229 MB |
//!
//! Three bits would bound by 9.4 deviations and exclude nothing; a fifth bit for all rows costs 41 MB and saves less, but for random heads.
//! Where bounds exclude nothing at all, the rows are scored without the second plane: 1.25 times the bytes of the full head.
//!
//! # The bounds
//!
//! With a row `w = v + e` (`v` what its planes say, `e` what they leave out) and a hidden state `h = t p + d` (`p` whole numbers):
//!
//! ```text
//! w h = t (v p) + e h + v d,   |e h| <= |e| |h|,   |v d| <= (|w| + |e|) |d|
//! ```
//!
//! `v p` is a sum of products of whole numbers, exact, times a scale for each plane. What `head.rs` computes differs from `w h` by the
//! rounding of its additions, at most as many in a row as a lane has and the tree. Bounds are computed in `f64`, and widened by more
//! than their own rounding.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Range;

use multiversion::multiversion;
use tern_kernels::{Codebook, Cpu};

use super::head::logits;
use super::lanes::LANES;
use super::planes::{CHUNK, Planes, Query, WIDEN};
use crate::dense::DenseMatrix;
use crate::engine::HeadUse;

/// Smaller heads stay in the caches: nothing would be gained.
const BYTES_MIN: u64 = 8 << 20;

/// Standard deviations of an estimate's error within which rows are scored where bounds are statistical.
pub(crate) const DEVIATIONS: f64 = 6.0;

/// Rows of the second plane that are asked for ahead of the one that is multiplied.
const AHEAD: usize = 8;

/// Which logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Keep {
    /// So many of the largest, at least one.
    Top(usize),
    /// Those that lie at most so far below the largest.
    Within(f32),
}

impl Keep {
    /// Rows that are scored to find the floor.
    pub fn first(self) -> usize {
        match self {
            Keep::Top(count) => count,
            Keep::Within(_) => 1,
        }
    }

    /// What a kept logit reaches at least, by the logits of the rows with the largest estimates; `None` if these are not finite.
    pub fn floor(self, first: &[f32]) -> Option<f64> {
        let least = first.iter().fold(f32::INFINITY, |a, &x| a.min(x));
        let are_finite = first.iter().all(|x| x.is_finite());
        are_finite.then(|| match self {
            Keep::Top(_) => f64::from(least),
            Keep::Within(distance) => f64::from(least) - f64::from(distance),
        })
    }
}

/// Finds the largest logits of a head by a copy of it.
pub(crate) struct Screen {
    planes: Planes,
    /// The part of `|e| |h|` that `e h` may take: 1 for what is proven.
    reach: f64,
}

/// A row and the estimate of its logit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub estimate: f32,
    pub row: usize,
}

/// By estimate, then lower rows first: a total order, since rows differ.
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_estimate = self.estimate.total_cmp(&other.estimate);
        by_estimate.then(other.row.cmp(&self.row))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

impl Screen {
    /// A screen with proven bounds.
    pub fn exact(planes: Planes) -> Screen {
        Screen { planes, reach: 1.0 }
    }

    /// A screen that scores rows within [`DEVIATIONS`] standard deviations of their estimates' errors: it may miss the largest logit, if
    /// seldom.
    ///
    /// The deviation is that of the product of `e` with a hidden state that has nothing to do with it, which is as good as a random
    /// direction: `|e| |h|` over the square root of the columns.
    pub fn statistical(planes: Planes) -> Screen {
        let reach = DEVIATIONS / (planes.cols() as f64).sqrt();
        Screen {
            planes,
            reach: reach.min(1.0),
        }
    }

    /// Whether it is faster than the full head of `bytes` bytes: not for one that stays in the caches, nor on a CPU without the kernels.
    pub fn pays(cols: usize, bytes: u64, cpu: &Cpu) -> bool {
        bytes >= BYTES_MIN && Planes::can_hold(cols) && Codebook::is_fast_on(cpu)
    }

    /// What it looks at.
    pub fn planes(&self) -> &Planes {
        &self.planes
    }

    /// Bytes that are read for every hidden state.
    pub fn bytes_read(&self) -> u64 {
        self.planes.first_bytes()
    }

    /// Relative rounding error of `head.rs`: one for a product, one for each addition to a lane and in the tree, each `2^-24`, and a
    /// little for products of errors.
    fn rounding(&self) -> f64 {
        let additions = self.planes.cols().div_ceil(LANES) + LANES.ilog2() as usize + 2;
        1.01 * additions as f64 * f64::from(f32::EPSILON) / 2.0
    }

    /// What a row's error and its length are multiplied with to bound how far its logit may be from its estimate.
    fn weights(&self, query: &Query) -> Weights {
        Weights {
            error: (self.reach * query.norm + query.rest) * WIDEN,
            norm: (self.rounding() * query.norm + query.rest) * WIDEN,
        }
    }

    /// Writes estimates of the logits of the rows of `range` to `out` and adds the rows with the largest to `best`.
    pub fn estimate(
        &self,
        range: Range<usize>,
        query: &Query,
        best: &mut Largest,
        out: &mut [f32],
    ) {
        assert_eq!(out.len(), range.len());
        for (index, out) in out.chunks_mut(CHUNK).enumerate() {
            let first = range.start + index * CHUNK;
            let mut products = [0.0; CHUNK];
            let products = &mut products[..out.len()];
            self.planes
                .add_products(0, first..first + out.len(), query, products);
            for (out, product) in out.iter_mut().zip(products) {
                *out = *product as f32;
            }
            best.add(first, out);
        }
    }

    /// Scores the rows of `range` that may reach `floor`; `out` holds the estimates and gets the logits, negative infinity for rows that do
    /// not. `left` is for rows that a plane leaves.
    pub fn score(
        &self,
        head: &DenseMatrix,
        range: Range<usize>,
        (hidden, query): (&[f32], &Query),
        floor: f64,
        left: &mut Vec<u32>,
        out: &mut [f32],
    ) -> HeadUse {
        let weights = self.weights(query);
        let mut read = HeadUse::default();
        left.clear();
        self.look_at_first(range.clone(), &weights, floor, left, out);
        if self.planes.count() > 1 {
            self.look_at_second(range.start, (query, &weights), floor, left, out, &mut read);
        }
        for &index in &*left {
            let (row, out) = (range.start + index as usize, &mut out[index as usize]);
            logits(head, row..row + 1, hidden, &mut [std::slice::from_mut(out)]);
        }
        read.rows += left.len() as u64;
        read.bytes += (left.len() * (head.bytes() / head.rows())) as u64;
        read
    }

    /// Adds the rows that the first plane's bounds do not exclude to `left`, counted from the first of `range`, and makes the others' logits negative
    /// infinity.
    fn look_at_first(
        &self,
        range: Range<usize>,
        weights: &Weights,
        floor: f64,
        left: &mut Vec<u32>,
        out: &mut [f32],
    ) {
        let (norms, errors) = (self.planes.norms(), self.planes.errors(0));
        for (chunk, out) in out.chunks_mut(CHUNK).enumerate() {
            let first = chunk * CHUNK;
            let rows = range.start + first..range.start + first + out.len();
            let mut uppers = [0.0; CHUNK];
            let uppers = &mut uppers[..out.len()];
            let (errors, norms) = (&errors[rows.clone()], &norms[rows]);
            if reaching(weights, floor, (out, errors, norms), uppers) == 0 {
                out.fill(f32::NEG_INFINITY);
                continue;
            }
            for ((index, out), upper) in out.iter_mut().enumerate().zip(uppers) {
                match *upper < floor {
                    true => *out = f32::NEG_INFINITY,
                    // Whatever is not known to be below may win.
                    false => left.push((first + index) as u32),
                }
            }
        }
    }

    /// Keeps those of `left` that the second plane does not exclude either.
    ///
    /// Its rows lie far apart, so they are asked for some time before they are multiplied: one after another, each took as long as memory takes
    /// to answer.
    fn look_at_second(
        &self,
        start: usize,
        (query, weights): (&Query, &Weights),
        floor: f64,
        left: &mut Vec<u32>,
        out: &mut [f32],
        read: &mut HeadUse,
    ) {
        let row = |index: u32| start + index as usize;
        left.iter()
            .take(AHEAD)
            .for_each(|&index| self.planes.fetch(1, row(index)));
        let mut kept = 0;
        for at in 0..left.len() {
            let index = left[at];
            if let Some(&later) = left.get(at + AHEAD) {
                self.planes.fetch(1, row(later));
            }
            let out = &mut out[index as usize];
            if self.loses_in_second(row(index), query, weights, floor, *out, read) {
                *out = f32::NEG_INFINITY;
            } else {
                left[kept] = index;
                kept += 1;
            }
        }
        left.truncate(kept);
    }

    /// Whether the second plane excludes a row. It is not looked at where it would not if the estimate stayed.
    fn loses_in_second(
        &self,
        row: usize,
        query: &Query,
        weights: &Weights,
        floor: f64,
        estimate: f32,
        read: &mut HeadUse,
    ) -> bool {
        let (error, norm) = (self.planes.errors(1)[row], self.planes.norms()[row]);
        let might = weights.upper(estimate, error, norm) < floor;
        if !might {
            return false;
        }
        let estimate_now = f64::from(estimate) + self.planes.product(1, row, query);
        read.bytes += self.planes.row_bytes(1) as u64;
        // The first plane's part is still the rounded one, and its rounding part of what `upper` allows for.
        let slack = f64::from(estimate.abs()) * f64::from(f32::EPSILON);
        weights.upper(estimate_now as f32, error, norm) + slack < floor
    }
}

/// What bounds are made of, for one hidden state.
struct Weights {
    error: f64,
    norm: f64,
}

impl Weights {
    /// The most that a row's logit can be.
    #[inline(always)]
    fn upper(&self, estimate: f32, error: f32, norm: f32) -> f64 {
        // Estimates are rounded to `f32`; tiny logits may be subnormal.
        let kept =
            f64::from(estimate.abs()) * f64::from(f32::EPSILON) + f64::from(f32::MIN_POSITIVE);
        let error = f64::from(error) * self.error + f64::from(norm) * self.norm;
        f64::from(estimate) + (error + kept)
    }
}

/// The most that the logit of each row can be, by its estimate, error and length, and how many are not known to be below `floor`.
#[multiversion(targets("x86_64+avx2"))]
fn reaching(
    weights: &Weights,
    floor: f64,
    (estimates, errors, norms): (&[f32], &[f32], &[f32]),
    uppers: &mut [f64],
) -> u32 {
    let rows = estimates.iter().zip(errors).zip(norms);
    let mut found = 0;
    for (upper, ((&estimate, &error), &norm)) in uppers.iter_mut().zip(rows) {
        *upper = weights.upper(estimate, error, norm);
        let is_below = *upper < floor;
        found += u32::from(!is_below);
    }
    found
}

/// The rows with the largest estimates so far.
#[derive(Default)]
pub(crate) struct Largest {
    count: usize,
    /// The least of them is on top.
    found: BinaryHeap<Reverse<Candidate>>,
}

impl Largest {
    /// None yet, of `count`.
    pub fn begin(&mut self, count: usize) {
        self.count = count;
        self.found.clear();
        self.found.reserve(count + 1);
    }

    /// Those found, in any order.
    pub fn found(&self) -> impl Iterator<Item = Candidate> {
        self.found.iter().map(|&Reverse(found)| found)
    }

    /// Adds the rows from `first` on.
    fn add(&mut self, first: usize, estimates: &[f32]) {
        let mut least = self.least();
        for (offset, &estimate) in estimates.iter().enumerate() {
            // The lower row wins a tie, in whatever order rows come; what is not a number loses.
            if estimate >= least || self.found.len() < self.count {
                let row = first + offset;
                self.found.push(Reverse(Candidate { estimate, row }));
                if self.found.len() > self.count {
                    self.found.pop();
                }
                least = self.least();
            }
        }
    }

    fn least(&self) -> f32 {
        match self.found.peek() {
            Some(Reverse(least)) if self.found.len() == self.count => least.estimate,
            _ => f32::NEG_INFINITY,
        }
    }
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
