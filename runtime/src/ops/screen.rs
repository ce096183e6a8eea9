//! The best logit without reading all of the head.
//!
//! A greedy text needs only the row of the head with the largest logit. A copy of the head in eight bits, half of its bytes, says for each
//! row between which bounds its logit lies; only rows whose upper bound reaches the best lower bound can have the largest one, and these are
//! scored with the head's own weights, by the very additions of `head.rs`. So the result is that of the full head, to the bit, whatever the
//! weights are: bounds decide how many rows are scored, never which row wins. (Screening by bounds is the old idea of exact
//! maximum-inner-product search; the bound is that of Cauchy and Schwarz.)
//!
//! With a row `w = s q + e` (`q` its int8 copy, `s` its scale) and a hidden state `h = t p + d` (`p` integers):
//!
//! ```text
//! w h = s t (q p) + e h + s q d,   |e h| <= |e| |h|,   |s q d| <= (|w| + |e|) |d|
//! ```
//!
//! `q p` is exact in integers. What `head.rs` computes differs from `w h` by the rounding of its additions, at most as many in a row as a
//! lane has and the tree: [`Screen::rounding`]` |w| |h|`. All bounds are computed in `f64`, and widened by more than their own rounding.

use std::borrow::Cow;
use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;
use tern_kernels::{Buffer, MemoryError, Pages, Storage};

use super::head::logits;
use super::lanes::LANES;
use crate::dense::DenseMatrix;

/// Largest size of an integer of the hidden state: twelve bits, with which its own error is a thirtieth of that of a row's eight.
const HIDDEN_MAX: i64 = 2047;

/// Largest size of a row's integers.
const ROW_MAX: i64 = 127;

/// Bounds are widened by this share, which is far above the rounding of some thousand `f64` operations.
const WIDEN: f64 = 1.0 + 1e-6;

/// Smaller heads stay in the caches: nothing would be gained.
const BYTES_MIN: u64 = 8 << 20;

/// The copy of a head that bounds its logits.
pub(crate) struct Screen {
    rows: usize,
    cols: usize,
    /// `[rows][cols]` as int8.
    values: Storage,
    bounds: Vec<Bounds>,
}

/// What is known of a row.
#[derive(Clone, Copy, Default)]
struct Bounds {
    /// What its integers are multiplied with.
    scale: f32,
    /// Length of what its integers leave out, at most; infinite where the row holds a number that is not finite.
    error: f32,
    /// Length of the row, at most.
    norm: f32,
}

/// A hidden state, ready to be screened with.
pub(crate) struct Query {
    values: Vec<i16>,
    /// What its integers are multiplied with.
    step: f64,
    /// Its length, at most, and the length of what its integers leave out.
    norm: f64,
    rest: f64,
}

impl Screen {
    /// The copy of `head`; `None` for one that is so small that it stays in the caches.
    ///
    /// # Errors
    ///
    /// No memory.
    pub fn new(head: &DenseMatrix, pages: Pages) -> Result<Option<Screen>, MemoryError> {
        match Screen::bytes_for(head.rows(), head.cols(), head.bytes() as u64) {
            0 => Ok(None),
            _ => Screen::of(head, pages).map(Some),
        }
    }

    /// Bytes of the copy of a head of `bytes` bytes; 0 where none is made.
    pub fn bytes_for(rows: usize, cols: usize, bytes: u64) -> u64 {
        match bytes < BYTES_MIN {
            true => 0,
            false => rows as u64 * (cols as u64 + size_of::<Bounds>() as u64),
        }
    }

    fn of(head: &DenseMatrix, pages: Pages) -> Result<Screen, MemoryError> {
        let (rows, cols) = (head.rows(), head.cols());
        let mut values = Buffer::zeroed(rows * cols, pages)?;
        let mut bounds = vec![Bounds::default(); rows];
        let bytes: &mut [u8] = &mut values;
        bytes
            .par_chunks_mut(cols)
            .zip(&mut bounds)
            .enumerate()
            .for_each_init(
                || vec![0.0; cols],
                |row, (index, (out, bounds))| {
                    head.read_row(index, row);
                    *bounds = quantize(row, bytemuck::cast_slice_mut(out));
                },
            );
        Ok(Screen {
            rows,
            cols,
            values: Storage::Own(values),
            bounds,
        })
    }

    /// What its parts mean; others of this name are never anything else.
    pub const LAYOUT: &'static str = "q8_rows";

    /// Its parts, by name, to be stored.
    pub fn parts(&self) -> Vec<(&'static str, Cow<'_, [u8]>)> {
        let bounds = self.bounds.iter();
        let bounds = bounds.flat_map(|bounds| [bounds.scale, bounds.error, bounds.norm]);
        let bounds: Vec<u8> = bounds.flat_map(f32::to_le_bytes).collect();
        vec![
            ("values", Cow::Borrowed(&self.values)),
            ("bounds", Cow::Owned(bounds)),
        ]
    }

    /// The copy of a head of `rows x cols` from its stored parts; `None` if they are of other lengths.
    pub fn from_parts(rows: usize, cols: usize, values: Storage, bounds: &[u8]) -> Option<Screen> {
        let (numbers, rest) = bounds.as_chunks::<12>();
        let is_sound = rest.is_empty() && numbers.len() == rows;
        if !is_sound || rows.checked_mul(cols) != Some(values.len()) {
            return None;
        }
        let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let bounds = numbers.iter().map(|bytes| Bounds {
            scale: number(&bytes[..4]),
            error: number(&bytes[4..8]),
            norm: number(&bytes[8..]),
        });
        Some(Screen {
            rows,
            cols,
            values,
            bounds: bounds.collect(),
        })
    }

    /// Bytes that it holds, all of which are read for each hidden state.
    pub fn bytes(&self) -> usize {
        self.values.len() + size_of_val(&*self.bounds)
    }

    /// Makes a hidden state ready; `None` if it holds a number that is not finite, or is too large for its length to be one.
    pub fn query(&self, hidden: &[f32]) -> Option<Query> {
        assert_eq!(hidden.len(), self.cols);
        let largest = hidden.iter().fold(0.0, |a: f32, x| a.max(x.abs()));
        // `max` passes over NaN, the length does not.
        let norm = length(hidden.iter().map(|&x| f64::from(x)));
        if !norm.is_finite() || norm > f64::from(f32::MAX) {
            return None;
        }
        // Such that no sum of products leaves 31 bits.
        let most = i64::from(i32::MAX) / (ROW_MAX * self.cols as i64);
        let most = most.clamp(1, HIDDEN_MAX) as f64;
        let step = f64::from(largest) / most;
        let integer = |x: f32| match step > 0.0 {
            true => (f64::from(x) / step).round_ties_even() as i16,
            false => 0,
        };
        let values: Vec<i16> = hidden.iter().map(|&x| integer(x)).collect();
        let rest = hidden.iter().zip(&values);
        let rest = length(rest.map(|(&x, &p)| f64::from(x) - step * f64::from(p)));
        Some(Query {
            values,
            step,
            norm,
            rest,
        })
    }

    /// Relative rounding error of `head.rs`: one for a product, one for each addition to a lane and in the tree, each `2^-24`, and a
    /// little for products of errors.
    fn rounding(&self) -> f64 {
        let additions = self.cols.div_ceil(LANES) + LANES.ilog2() as usize + 2;
        1.01 * additions as f64 * f64::from(f32::EPSILON) / 2.0
    }

    /// The most that a row's logit may differ from its estimate.
    fn error(&self, bounds: &Bounds, query: &Query, estimate: f32) -> f64 {
        let Bounds { error, norm, .. } = *bounds;
        let (error, norm) = (f64::from(error), f64::from(norm));
        let quantized = error * query.norm + (norm + error) * query.rest;
        let rounded = self.rounding() * norm * query.norm;
        // The estimate is rounded to `f32`; tiny logits may be subnormal.
        let kept =
            f64::from(estimate.abs()) * f64::from(f32::EPSILON) + f64::from(f32::MIN_POSITIVE);
        (quantized + rounded) * WIDEN + kept
    }

    /// Writes estimates of the logits of the rows of `range` to `out` and returns the best lower bound.
    pub fn estimate(&self, range: Range<usize>, query: &Query, out: &mut [f32]) -> f64 {
        assert!(range.end <= self.rows && out.len() == range.len());
        let bytes: &[u8] = &self.values;
        let values: &[i8] = bytemuck::cast_slice(bytes);
        let values = &values[range.start * self.cols..range.end * self.cols];
        let bounds = &self.bounds[range];
        products(values, &query.values, out);
        let mut best = f64::NEG_INFINITY;
        for (out, bounds) in out.iter_mut().zip(bounds) {
            // `products` leaves the integer's bits there.
            let sum = out.to_bits().cast_signed();
            *out = (f64::from(sum) * query.step * f64::from(bounds.scale)) as f32;
            let lower = f64::from(*out) - self.error(bounds, query, *out);
            // An estimate that is not a number bounds nothing.
            best = if lower > best { lower } else { best };
        }
        best
    }

    /// Scores the rows of `range` that can have the largest logit, given the best lower bound of all rows; `out` holds the estimates and gets
    /// the logits, negative infinity for rows that cannot win. Returns the number of rows that were scored.
    pub fn score(
        &self,
        head: &DenseMatrix,
        range: Range<usize>,
        (hidden, query): (&[f32], &Query),
        best: f64,
        out: &mut [f32],
    ) -> usize {
        let mut scored = 0;
        for (row, out) in range.zip(out) {
            let upper = f64::from(*out) + self.error(&self.bounds[row], query, *out);
            // Whatever is not known to be below may win.
            let loses = upper < best;
            if loses {
                *out = f32::NEG_INFINITY;
            } else {
                logits(head, row..row + 1, hidden, &mut [std::slice::from_mut(out)]);
                scored += 1;
            }
        }
        scored
    }
}

/// A row as integers, and what they leave out.
#[multiversion(targets("x86_64+avx2"))]
fn quantize(row: &[f32], out: &mut [i8]) -> Bounds {
    let largest = row.iter().fold(0.0, |a: f32, x| a.max(x.abs()));
    let norm = length(row.iter().map(|&x| f64::from(x)));
    let scale = largest / ROW_MAX as f32;
    if !norm.is_finite() || norm * WIDEN > f64::from(f32::MAX) {
        // Nothing is known of it: it is always scored.
        return Bounds {
            scale: 0.0,
            error: f32::INFINITY,
            norm: f32::INFINITY,
        };
    }
    let by = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    // A scale that is subnormal has no inverse; the error says what that costs.
    let by = if by.is_finite() { by } else { 0.0 };
    for (out, &x) in out.iter_mut().zip(row) {
        *out = (x * by).round_ties_even().clamp(-127.0, 127.0) as i8;
    }
    let rest = row.iter().zip(&*out);
    let rest = rest.map(|(&x, &q)| f64::from(x) - f64::from(scale) * f64::from(q));
    Bounds {
        scale,
        error: above(length(rest)),
        norm: above(norm),
    }
}

/// An `f32` that is no smaller.
fn above(x: f64) -> f32 {
    ((x * WIDEN) as f32).next_up()
}

/// Euclidean length, widened by more than its rounding.
fn length(x: impl Iterator<Item = f64>) -> f64 {
    x.map(|x| x * x).sum::<f64>().sqrt() * WIDEN
}

/// The bits of the exact sums `values[row] · x`, as `out[row]`.
#[multiversion(targets("x86_64+avx2"))]
fn products(values: &[i8], x: &[i16], out: &mut [f32]) {
    for (row, out) in values.chunks_exact(x.len()).zip(out) {
        let products = row.iter().zip(x);
        // The compiler makes multiplications and additions of pairs of this, whose order does not matter for integers.
        let sum: i32 = products.map(|(&q, &p)| i32::from(q) * i32::from(p)).sum();
        *out = f32::from_bits(sum.cast_unsigned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Floats;
    use crate::element::Element;
    use crate::random::Xoshiro256PlusPlus;
    use crate::sample::argmax;

    fn head(rows: &[Vec<f32>]) -> DenseMatrix {
        let cols = rows[0].len();
        let data: Vec<u8> = rows
            .iter()
            .flatten()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let tensor = Floats {
            element: Element::F32,
            data: &data,
        };
        DenseMatrix::copy(tensor, rows.len(), cols, Pages::Small).unwrap()
    }

    /// The logits by the screen in two parts, and how many rows were scored; the full ones beside them.
    fn both(rows: &[Vec<f32>], hidden: &[f32]) -> (Vec<f32>, usize, Vec<f32>) {
        let head = head(rows);
        let screen = Screen::of(&head, Pages::Small).unwrap();
        let mut full = vec![0.0; rows.len()];
        logits(&head, 0..rows.len(), hidden, &mut [&mut full]);
        let query = screen.query(hidden).expect("finite");
        let mut out = vec![0.0; rows.len()];
        let middle = rows.len() / 3;
        let (first, second) = out.split_at_mut(middle);
        let best = screen.estimate(0..middle, &query, first);
        let best = best.max(screen.estimate(middle..rows.len(), &query, second));
        let scored = screen.score(&head, 0..middle, (hidden, &query), best, first)
            + screen.score(&head, middle..rows.len(), (hidden, &query), best, second);
        (out, scored, full)
    }

    fn check(rows: &[Vec<f32>], hidden: &[f32]) -> usize {
        let (screened, scored, full) = both(rows, hidden);
        assert_eq!(argmax(&screened), argmax(&full));
        for (row, (&screened, &full)) in screened.iter().zip(&full).enumerate() {
            let is_same = screened.to_bits() == full.to_bits();
            assert!(
                is_same || screened == f32::NEG_INFINITY,
                "row {row}: {screened} {full}"
            );
        }
        scored
    }

    fn random_rows(rows: usize, cols: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut random = Xoshiro256PlusPlus::new(seed);
        let mut normal = || (0..12).map(|_| random.next_unit()).sum::<f64>() as f32 - 6.0;
        (0..rows)
            .map(|_| (0..cols).map(|_| normal()).collect())
            .collect()
    }

    #[test]
    fn the_best_logit_is_that_of_the_full_head_to_the_bit() {
        for (rows, cols) in [(1, 1), (7, 3), (500, 37), (300, 256), (2000, 128)] {
            for seed in 0..20 {
                let weights = random_rows(rows, cols, seed);
                let hidden = &random_rows(1, cols, seed + 100)[0];
                check(&weights, hidden);
            }
        }
    }

    #[test]
    fn a_row_that_stands_out_is_the_only_one_that_is_scored() {
        let mut weights = random_rows(3000, 512, 1);
        let hidden = random_rows(1, 512, 2).remove(0);
        // Eight standard deviations of the logits, the square root of 512.
        let along = 8.0 / 512f32.sqrt();
        weights[1234] = hidden
            .iter()
            .zip(&weights[1234])
            .map(|(h, w)| h * along + w * 0.9)
            .collect();
        let scored = check(&weights, &hidden);
        assert!(scored < 30, "{scored}");
    }

    #[test]
    fn adversarial_heads_change_no_result() {
        let hidden = random_rows(1, 96, 3).remove(0);
        // All rows equal: all are scored, and the first wins.
        let same = vec![hidden.clone(); 50];
        assert_eq!(check(&same, &hidden), 50);
        // Near-ties: rows that differ in the last bits only.
        let near = |i: usize| {
            hidden
                .iter()
                .map(|x| f32::from_bits(x.to_bits() ^ (i as u32 % 3)))
                .collect()
        };
        let near: Vec<Vec<f32>> = (0..200).map(near).collect();
        check(&near, &hidden);
        // Rows of very different lengths, among them zero and the largest that an f32 can be.
        let mut long = random_rows(200, 96, 4);
        for (i, row) in long.iter_mut().enumerate() {
            let factor = 10f32.powi(i as i32 % 60 - 30);
            row.iter_mut().for_each(|x| *x *= factor);
        }
        long[17].fill(0.0);
        long[18].fill(f32::MIN_POSITIVE / 8.0);
        check(&long, &hidden);
        long[19].fill(f32::MAX / 64.0);
        check(&long, &hidden);
        // One outlier makes a row's integers coarse.
        let mut coarse = random_rows(200, 96, 5);
        coarse.iter_mut().for_each(|row| row[7] = 1e4);
        check(&coarse, &hidden);
        // Not a number: such a row is scored, and is passed over as by the full head.
        let mut broken = random_rows(200, 96, 6);
        broken[3][5] = f32::NAN;
        broken[4][5] = f32::INFINITY;
        let (screened, _, full) = both(&broken, &hidden);
        assert!(screened[3].is_nan() && full[3].is_nan());
        assert_eq!(screened[4].to_bits(), full[4].to_bits());
        assert_eq!(argmax(&screened), argmax(&full));
    }

    #[test]
    fn hidden_states_of_every_size_are_bounded_or_refused() {
        let weights = random_rows(300, 64, 7);
        for factor in [0.0, 1e-42, 1e-30, 1.0, 1e20] {
            let hidden: Vec<f32> = random_rows(1, 64, 8)[0]
                .iter()
                .map(|x| x * factor)
                .collect();
            check(&weights, &hidden);
        }
        let screen = Screen::of(&head(&weights), Pages::Small).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
            let mut hidden = vec![1.0; 64];
            hidden[9] = bad;
            hidden[10] = bad;
            assert!(screen.query(&hidden).is_none(), "{bad}");
        }
    }

    /// The demo's head is too small to be screened for speed; here it is all the same, for ten thousand positions of random text.
    #[test]
    fn ten_thousand_tokens_of_the_demo_are_those_of_the_full_head() {
        use crate::{Engine, LoadOptions, Logits, Model, Work};
        use std::path::Path;
        use std::sync::Arc;
        use tern_kernels::{Cpu, Planner};

        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
        let planner = Planner::new(Cpu::detect(), None, None).unwrap();
        let mut model = Model::load(&folder, &LoadOptions::new(planner)).unwrap();
        model.weights.screen = Some(Screen::of(model.weights.head(), Pages::Small).unwrap());
        let model = Arc::new(model);
        let mut engine = Engine::new(Arc::clone(&model)).unwrap();
        let mut random = Xoshiro256PlusPlus::new(1);
        let (vocab, length) = (model.config().vocab_size, 250);
        for _ in 0..40 {
            let (mut whole, mut one_by_one) = (model.sequence(), model.sequence());
            let tokens = (0..length).map(|_| (random.next() % vocab as u64) as u32);
            let tokens: Vec<u32> = tokens.collect();
            let mut work = [Work {
                sequence: &mut whole,
                tokens: &tokens,
                logits: Logits::All,
            }];
            let full = engine.step(&mut work).unwrap().rows(0).to_vec();
            for (token, full) in tokens.iter().zip(full.chunks(vocab)) {
                let mut work = [Work {
                    sequence: &mut one_by_one,
                    tokens: std::slice::from_ref(token),
                    logits: Logits::Best,
                }];
                let output = engine.step(&mut work).unwrap();
                let best = argmax(output.last(0)).unwrap();
                assert_eq!(Some(best), argmax(full));
                let best = best as usize;
                assert_eq!(output.last(0)[best].to_bits(), full[best].to_bits());
            }
        }
        let used = engine.head_use();
        assert_eq!((used.screened, used.full), (40 * length as u64, 0));
        assert!(used.rows < used.screened * vocab as u64 / 4, "{used:?}");
    }
}
