//! Causal attention over a blocked cache, with an online softmax.
//!
//! Positions are visited in blocks of 64 that are fixed by absolute position (0–63, 64–127, …).
//! After each block the running maximum, normaliser and output are brought to the new maximum
//! (Milakov and Gimelshein, arXiv:1805.02867; the form of FlashAttention). Prompt and decode visit
//! the same blocks in the same order, whatever else is processed beside them, so a position's
//! result has the same bits in a prompt, in a batch and alone.
//!
//! Keys lie transposed, `[head_dim][64]`: a block's 64 scores are then sums down the columns, so
//! each score is a plain sequential sum and the positions are the vector lanes. Values lie
//! `[64][head_dim]`, for the same reason.

use multiversion::multiversion;

use super::exp::exp;
use super::lanes;

/// Positions in a block of the cache.
pub(crate) const BLOCK: usize = 64;
/// Neighbouring sums kept in registers: 8 registers of 4 lanes, or 2 of 16.
const WIDTH: usize = 32;
const _: () = assert!(BLOCK.is_multiple_of(WIDTH));

/// Keys and values of one head for one block of positions.
#[derive(Clone, Copy)]
pub(crate) struct HeadBlock<'a> {
    /// `[head_dim][64]`.
    pub keys: &'a [f32],
    /// `[64][head_dim]`.
    pub values: &'a [f32],
}

/// Query heads attended to at once: those that share keys and values, so that a block of the cache
/// (64 KB at a head width of 128) is fetched once for all of them.
pub(crate) const GROUP: usize = 8;

/// Scores this far below the highest one count as infinitely far: `e⁻⁶⁰ < 2⁻⁸⁶` is lost in any sum
/// with 1, and the products of yet smaller weights would be subnormal, which costs a hundred cycles
/// each.
const NEGLIGIBLE: f32 = -60.0;

/// Writes to `out` the attention of some query heads over the first `positions` positions of
/// `blocks`, the cache of the key-value head that they share.
///
/// `queries` and `out` hold at most [`GROUP`] heads of `head_dim` elements; `positions` is at least 1
/// and `blocks` covers it.
pub(crate) fn attend<'a>(
    queries: &[f32],
    head_dim: usize,
    blocks: impl Iterator<Item = HeadBlock<'a>>,
    positions: usize,
    out: &mut [f32],
) {
    assert!(queries.len() == out.len() && queries.len() <= GROUP * head_dim);
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut softmax = [Softmax::default(); GROUP];
    let mut weights = [[0.0; BLOCK]; GROUP];
    out.fill(0.0);
    let mut left = positions;
    for block in blocks.take(positions.div_ceil(BLOCK)) {
        let seen = left.min(BLOCK);
        left -= seen;
        let heads = queries
            .chunks_exact(head_dim)
            .zip(&mut weights)
            .zip(&mut softmax);
        for ((query, weights), softmax) in heads {
            *weights = scores(query, block.keys, scale);
            softmax.update(weights, seen);
        }
        let heads = out.chunks_exact_mut(head_dim).zip(&weights).zip(&softmax);
        for ((out, weights), softmax) in heads {
            accumulate(&weights[..seen], block.values, softmax.correction, out);
        }
    }
    assert_eq!(
        left, 0,
        "the cache is shorter than the positions to attend to"
    );
    for (out, softmax) in out.chunks_exact_mut(head_dim).zip(&softmax) {
        for out in out {
            *out /= softmax.normaliser;
        }
    }
}

/// The running softmax of one query head.
#[derive(Clone, Copy)]
struct Softmax {
    /// The highest score so far.
    maximum: f32,
    /// The sum of the weights so far.
    normaliser: f32,
    /// What the newest block did to the weights before it.
    correction: f32,
}

impl Default for Softmax {
    fn default() -> Self {
        Softmax {
            maximum: f32::NEG_INFINITY,
            normaliser: 0.0,
            correction: 0.0,
        }
    }
}

impl Softmax {
    /// Turns a block's scores into weights, of which the first `seen` count.
    fn update(&mut self, scores: &mut [f32; BLOCK], seen: usize) {
        let higher = |a: f32, &b: &f32| if b > a { b } else { a };
        let maximum = scores[..seen].iter().fold(self.maximum, higher);
        for score in &mut scores[..seen] {
            *score = weight(*score - maximum);
        }
        // Positions after the query have no weight, whatever the cache holds there.
        scores[seen..].fill(0.0);
        self.correction = weight(self.maximum - maximum);
        self.normaliser = self.normaliser * self.correction + lanes::sum(scores, |weight| weight);
        self.maximum = maximum;
    }
}

/// `eˣ` for a score `x` below the highest one.
#[inline(always)]
fn weight(x: f32) -> f32 {
    let weight = exp(x);
    if x < NEGLIGIBLE { 0.0 } else { weight }
}

/// `scores[j] = (Σ_d query[d] · keys[d][j]) · scale`.
#[multiversion(targets("x86_64+avx2"))]
fn scores(query: &[f32], keys: &[f32], scale: f32) -> [f32; BLOCK] {
    assert_eq!(keys.len(), query.len() * BLOCK);
    let mut scores = [0.0; BLOCK];
    for (part, scores) in scores.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
        let mut sums = [0.0; WIDTH];
        for (&query, keys) in query.iter().zip(keys.as_chunks::<BLOCK>().0) {
            let keys = &keys.as_chunks::<WIDTH>().0[part];
            for (sum, &key) in sums.iter_mut().zip(keys) {
                *sum += query * key;
            }
        }
        *scores = sums.map(|sum| sum * scale);
    }
    scores
}

/// `out[d] = out[d] · correction + Σ_j weights[j] · values[j][d]`, the sum taken in order of `j`.
#[multiversion(targets("x86_64+avx2"))]
fn accumulate(weights: &[f32], values: &[f32], correction: f32, out: &mut [f32]) {
    let head_dim = out.len();
    assert_eq!(values.len(), head_dim * BLOCK);
    let (chunks, rest) = out.as_chunks_mut::<WIDTH>();
    for (part, out) in chunks.iter_mut().enumerate() {
        let mut sums = out.map(|out| out * correction);
        for (&weight, values) in weights.iter().zip(values.chunks_exact(head_dim)) {
            let values = &values.as_chunks::<WIDTH>().0[part];
            for (sum, &value) in sums.iter_mut().zip(values) {
                *sum += weight * value;
            }
        }
        *out = sums;
    }
    let first = head_dim - rest.len();
    for (d, out) in rest.iter_mut().enumerate() {
        let mut sum = *out * correction;
        for (&weight, values) in weights.iter().zip(values.chunks_exact(head_dim)) {
            sum += weight * values[first + d];
        }
        *out = sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIM: usize = 40; // one whole register group and a rest

    fn noise(i: usize) -> f32 {
        ((i * 7919 % 1000) as f32 - 500.0) * 0.004
    }

    fn cache(blocks: usize) -> Vec<(Vec<f32>, Vec<f32>)> {
        let block = |b| {
            let fill = |salt: usize| (0..DIM * BLOCK).map(|i| noise(i + b * 31 + salt)).collect();
            (fill(1), fill(2))
        };
        (0..blocks).map(block).collect()
    }

    fn run(query: &[f32], cache: &[(Vec<f32>, Vec<f32>)], positions: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; query.len()];
        let blocks = cache
            .iter()
            .map(|(keys, values)| HeadBlock { keys, values });
        attend(query, DIM, blocks, positions, &mut out);
        out
    }

    #[test]
    fn heads_that_share_a_cache_do_not_mix() {
        let cache = cache(3);
        let queries: Vec<f32> = (0..GROUP * DIM).map(|i| noise(3 * i)).collect();
        let together = run(&queries, &cache, 150);
        for (query, together) in queries.chunks(DIM).zip(together.chunks(DIM)) {
            assert_eq!(run(query, &cache, 150), together);
        }
    }

    /// A score 1000 above the others takes all the weight, before and after them.
    #[test]
    fn negligible_positions_have_no_weight() {
        let mut cache = cache(2);
        for position in [10, 70] {
            for d in 0..DIM {
                cache[position / BLOCK].0[d * BLOCK + position % BLOCK] = 1000.0;
            }
            let out = run(&[1.0; DIM], &cache, 128);
            let value = position % BLOCK * DIM;
            if position == 10 {
                assert_eq!(out, cache[0].1[value..value + DIM]);
            } else {
                let other = &cache[0].1[10 * DIM..11 * DIM];
                let mean = other
                    .iter()
                    .zip(&cache[1].1[value..])
                    .map(|(a, b)| (a + b) / 2.0);
                assert_eq!(out, mean.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn matches_softmax_in_double_precision() {
        let (query, cache) = ((0..DIM).map(noise).collect::<Vec<_>>(), cache(3));
        for positions in [1, 2, 63, 64, 65, 128, 129, 192] {
            let score = |p: usize| {
                let keys = &cache[p / BLOCK].0;
                let dot = (0..DIM)
                    .map(|d| f64::from(query[d]) * f64::from(keys[d * BLOCK + p % BLOCK]))
                    .sum::<f64>();
                (dot / (DIM as f64).sqrt()).exp()
            };
            let total: f64 = (0..positions).map(score).sum();
            for (d, out) in run(&query, &cache, positions).into_iter().enumerate() {
                let value = |p: usize| f64::from(cache[p / BLOCK].1[p % BLOCK * DIM + d]);
                let truth = (0..positions).map(|p| score(p) * value(p)).sum::<f64>() / total;
                assert!((f64::from(out) - truth).abs() < 3e-6, "{positions} {d}");
            }
        }
    }

    #[test]
    fn positions_after_the_query_do_not_matter() {
        let (query, mut cache) = ((0..DIM).map(noise).collect::<Vec<_>>(), cache(2));
        let before = run(&query, &cache, 70);
        for d in 0..DIM {
            cache[1].0[d * BLOCK + 6..(d + 1) * BLOCK].fill(f32::NAN);
        }
        cache[1].1[6 * DIM..].fill(f32::NAN);
        assert_eq!(run(&query, &cache, 70), before);
    }
}
