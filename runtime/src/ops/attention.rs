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
//! `[64][head_dim]`, for the same reason. Both are widened to `f32` as they are loaded, which is
//! exact, and from there on all types of cache share one code.
//!
//! A *tile* is up to [`TILE`] queries of one key-value head: its query heads at one position or,
//! in a prompt, at several. Each block is fetched once for the tile, and each vector of it is
//! loaded once for up to [`TOGETHER`] queries, whose sums stay in registers.

use multiversion::multiversion;
use multiversion::target::match_target;

use super::exp::exp;
use super::half;
use super::lanes::{self, LANES};

/// Positions in a block of the cache.
pub(crate) const BLOCK: usize = 64;
/// Queries that share a fetched block: their state (1 KB each at a head width of 128) and the block
/// fit the second-level cache together.
pub(crate) const TILE: usize = 32;
/// Queries whose sums are in registers at once.
const TOGETHER: usize = 4;

/// Keys and values of one head for one block of positions.
#[derive(Clone, Copy)]
pub(crate) struct HeadBlock<'a, T> {
    /// `[head_dim][64]`.
    pub keys: &'a [T],
    /// `[64][head_dim]`.
    pub values: &'a [T],
    /// What the numbers of a position are multiplied by, if anything.
    pub scales: Option<Scales<'a>>,
}

/// Factors of the keys and of the values of each position in a block.
#[derive(Clone, Copy)]
pub(crate) struct Scales<'a> {
    pub keys: &'a [f32; BLOCK],
    pub values: &'a [f32; BLOCK],
}

/// One query head at one position.
pub(crate) struct Query<'a> {
    /// It attends to so many first positions; at least 1.
    pub positions: usize,
    /// `head_dim` elements.
    pub query: &'a [f32],
    /// As many for the result.
    pub out: &'a mut [f32],
}

/// Scores this far below the highest one count as infinitely far: `e⁻⁶⁰ < 2⁻⁸⁶` is lost in any sum
/// with 1, and the products of yet smaller weights would be subnormal, which costs a hundred cycles
/// each.
const NEGLIGIBLE: f32 = -60.0;

/// A number as the cache holds it.
pub(crate) trait Stored: Copy {
    /// Brings up to [`TOGETHER`] queries, which see the first `seen` positions of a block, and
    /// their softmaxes forward by that block.
    fn visit(
        queries: &mut [Query<'_>],
        softmax: &mut [Softmax],
        block: HeadBlock<'_, Self>,
        seen: usize,
    );
}

/// Attention of a tile over `blocks`, the cache of the key-value head that its queries share.
///
/// There are at most [`TILE`] queries, in order of their `positions`, and `blocks` covers the last.
pub(crate) fn attend<'a, T: Stored + 'a>(
    queries: &mut [Query<'_>],
    blocks: impl Iterator<Item = HeadBlock<'a, T>>,
) {
    assert!(queries.is_sorted_by_key(|query| query.positions));
    let Some(longest) = queries.last().map(|query| query.positions) else {
        return;
    };
    let mut softmax = [Softmax::default(); TILE];
    let softmax = &mut softmax[..queries.len()];
    for query in &mut *queries {
        query.out.fill(0.0);
    }
    let mut start = 0;
    for block in blocks.take(longest.div_ceil(BLOCK)) {
        let seen = |query: &Query<'_>| query.positions.saturating_sub(start).min(BLOCK);
        let mut first = queries.partition_point(|query| seen(query) == 0);
        while first < queries.len() {
            let all = seen(&queries[first]);
            let rest = &queries[first..queries.len().min(first + TOGETHER)];
            let end = first + rest.partition_point(|query| seen(query) == all);
            let softmax = &mut softmax[first..end];
            T::visit(&mut queries[first..end], softmax, block, all);
            first = end;
        }
        start += BLOCK;
    }
    assert!(
        start >= longest,
        "the cache is shorter than the positions to attend to"
    );
    for (query, softmax) in queries.iter_mut().zip(softmax) {
        for out in &mut *query.out {
            *out /= softmax.normaliser;
        }
    }
}

/// The running softmax of one query.
#[derive(Clone, Copy)]
pub(crate) struct Softmax {
    /// The highest score so far.
    maximum: f32,
    /// The sum of the weights so far.
    normaliser: f32,
}

impl Default for Softmax {
    fn default() -> Self {
        Softmax {
            maximum: f32::NEG_INFINITY,
            normaliser: 0.0,
        }
    }
}

impl Softmax {
    /// Turns a block's scores into weights, of which the first `seen` count, and returns what the
    /// block does to the weights before it.
    #[inline(always)]
    fn update(&mut self, scores: &mut [f32; BLOCK], seen: usize) -> f32 {
        scores[seen..].fill(f32::NEG_INFINITY);
        let maximum = larger(self.maximum, highest(scores));
        for score in &mut *scores {
            *score = weight(*score - maximum);
        }
        // Positions after the query have no weight, whatever the cache holds there.
        scores[seen..].fill(0.0);
        let correction = weight(self.maximum - maximum);
        self.normaliser = self.normaliser * correction + lanes::sum(scores, |weight| weight);
        self.maximum = maximum;
        correction
    }
}

/// `a`, or `b` if that is larger: never a NaN for a number.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// The highest of a block's scores that are numbers.
#[inline(always)]
fn highest(scores: &[f32; BLOCK]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in scores.as_chunks::<LANES>().0 {
        for (lane, &score) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, score);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = larger(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// `eˣ` for a score `x` below the highest one.
#[inline(always)]
fn weight(x: f32) -> f32 {
    let weight = exp(x);
    if x < NEGLIGIBLE { 0.0 } else { weight }
}

/// Implements [`Stored`] by one function for each instruction set, all from [`visit`]: they differ
/// in how a number is widened and in how many sums the registers hold.
macro_rules! stored {
    ($stored:ty, avx512: $avx512:expr, avx2: $avx2:expr, portable: $portable:expr) => {
        impl Stored for $stored {
            fn visit(
                queries: &mut [Query<'_>],
                softmax: &mut [Softmax],
                block: HeadBlock<'_, Self>,
                seen: usize,
            ) {
                #[multiversion(targets(
                    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+f16c",
                    "x86_64+avx2+f16c"
                ))]
                fn dispatched(
                    queries: &mut [Query<'_>],
                    softmax: &mut [Softmax],
                    block: HeadBlock<'_, $stored>,
                    seen: usize,
                ) {
                    match_target! {
                        "x86_64+avx512f" => visit::<_, true>(queries, softmax, block, seen, $avx512),
                        "x86_64+avx2+f16c" => visit::<_, false>(queries, softmax, block, seen, $avx2),
                        _ => visit::<_, false>(queries, softmax, block, seen, $portable),
                    }
                }
                dispatched(queries, softmax, block, seen);
            }
        }
    };
}

stored!(f32, avx512: |x| *x, avx2: |x| *x, portable: |x| *x);
stored!(i8, avx512: |x| x.map(f32::from), avx2: |x| x.map(f32::from), portable: |x| x.map(f32::from));
stored!(u16, avx512: |x| half::widen_avx512(x), avx2: |x| half::widen_f16c(x), portable: |x| x.map(half::widen));

/// [`Stored::visit`] with the number of queries as a constant, and as many sums in registers as
/// they hold: with `MANY` 16 vectors of 16 lanes, else 4.
#[inline(always)]
fn visit<T: Copy, const MANY: bool>(
    queries: &mut [Query<'_>],
    softmax: &mut [Softmax],
    block: HeadBlock<'_, T>,
    seen: usize,
    widen: impl Fn(&[T; LANES]) -> [f32; LANES] + Copy,
) {
    match (queries.len(), MANY) {
        (1, _) => together::<T, 1, 4>(queries, softmax, block, seen, widen),
        (2, true) => together::<T, 2, 4>(queries, softmax, block, seen, widen),
        (2, false) => together::<T, 2, 2>(queries, softmax, block, seen, widen),
        (3, true) => together::<T, 3, 4>(queries, softmax, block, seen, widen),
        (3, false) => together::<T, 3, 1>(queries, softmax, block, seen, widen),
        (_, true) => together::<T, TOGETHER, 4>(queries, softmax, block, seen, widen),
        (_, false) => together::<T, TOGETHER, 1>(queries, softmax, block, seen, widen),
    }
}

/// `Q` queries, `N` neighbouring vectors of each one's sums at a time.
#[inline(always)]
fn together<T: Copy, const Q: usize, const N: usize>(
    queries: &mut [Query<'_>],
    softmax: &mut [Softmax],
    block: HeadBlock<'_, T>,
    seen: usize,
    widen: impl Fn(&[T; LANES]) -> [f32; LANES] + Copy,
) {
    let (Ok(queries), Ok(softmax)) = (
        <&mut [Query<'_>; Q]>::try_from(queries),
        <&mut [Softmax; Q]>::try_from(softmax),
    ) else {
        panic!("{Q} queries and as many softmaxes");
    };
    let mut weights = scores::<T, Q, N>(queries.each_ref().map(|query| query.query), block, widen);
    let mut corrections = [0.0; Q];
    for q in 0..Q {
        corrections[q] = softmax[q].update(&mut weights[q], seen);
        if let Some(scales) = block.scales {
            for (weight, scale) in weights[q].iter_mut().zip(scales.values) {
                *weight *= scale;
            }
        }
    }
    let outs = queries.each_mut().map(|query| &mut *query.out);
    let weights = weights.each_ref().map(|weights| &weights[..seen]);
    accumulate::<T, Q, N>(weights, block.values, corrections, outs, widen);
}

/// `scores[q][j] = (Σ_d queries[q][d] · keys[d][j]) · scale`, first times the position's own scale
/// where there is one.
#[inline(always)]
fn scores<T: Copy, const Q: usize, const N: usize>(
    queries: [&[f32]; Q],
    block: HeadBlock<'_, T>,
    widen: impl Fn(&[T; LANES]) -> [f32; LANES],
) -> [[f32; BLOCK]; Q] {
    let head_dim = queries[0].len();
    let keys = block.keys.as_chunks::<BLOCK>().0;
    assert!(keys.len() == head_dim && queries.iter().all(|query| query.len() == head_dim));
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut scores = [[0.0; BLOCK]; Q];
    for part in 0..BLOCK / (N * LANES) {
        let mut sums = [[[0.0; LANES]; N]; Q];
        for (d, keys) in keys.iter().enumerate() {
            let keys = &keys.as_chunks::<LANES>().0[part * N..][..N];
            for (n, keys) in keys.iter().enumerate() {
                let keys = widen(keys);
                for q in 0..Q {
                    add_product(&mut sums[q][n], queries[q][d], &keys);
                }
            }
        }
        for q in 0..Q {
            let scores = scores[q].as_chunks_mut::<LANES>().0;
            scores[part * N..][..N].copy_from_slice(&sums[q]);
        }
    }
    for scores in &mut scores {
        if let Some(scales) = block.scales {
            for (score, own) in scores.iter_mut().zip(scales.keys) {
                *score *= own;
            }
        }
        for score in scores {
            *score *= scale;
        }
    }
    scores
}

/// `outs[q][d] = outs[q][d] · corrections[q] + Σ_j weights[q][j] · values[j][d]`, the sum taken in
/// order of `j`.
#[inline(always)]
fn accumulate<T: Copy, const Q: usize, const N: usize>(
    weights: [&[f32]; Q],
    values: &[T],
    corrections: [f32; Q],
    mut outs: [&mut [f32]; Q],
    widen: impl Fn(&[T; LANES]) -> [f32; LANES] + Copy,
) {
    let head_dim = outs[0].len();
    assert!(values.len() == head_dim * BLOCK);
    let mut d = 0;
    while d + N * LANES <= head_dim {
        columns::<T, Q, N>(weights, &values[d..], corrections, &mut outs, d, widen);
        d += N * LANES;
    }
    while d + LANES <= head_dim {
        columns::<T, Q, 1>(weights, &values[d..], corrections, &mut outs, d, widen);
        d += LANES;
    }
    // The columns that fill no vector, one after another.
    for d in d..head_dim {
        for q in 0..Q {
            let mut sum = outs[q][d] * corrections[q];
            for (&weight, values) in weights[q].iter().zip(values.chunks_exact(head_dim)) {
                sum += weight * widen(&[values[d]; LANES])[0];
            }
            outs[q][d] = sum;
        }
    }
}

/// [`accumulate`] for `N` vectors of columns from `d` on; `values` begins at column `d`.
#[inline(always)]
fn columns<T: Copy, const Q: usize, const N: usize>(
    weights: [&[f32]; Q],
    values: &[T],
    corrections: [f32; Q],
    outs: &mut [&mut [f32]; Q],
    d: usize,
    widen: impl Fn(&[T; LANES]) -> [f32; LANES],
) {
    let head_dim = outs[0].len();
    let seen = weights[0].len();
    let weights = weights.map(|weights| &weights[..seen]);
    let mut sums = [[[0.0; LANES]; N]; Q];
    for q in 0..Q {
        let outs = outs[q][d..].as_chunks::<LANES>().0;
        for n in 0..N {
            sums[q][n] = outs[n].map(|out| out * corrections[q]);
        }
    }
    for j in 0..seen {
        let values = values[j * head_dim..][..N * LANES].as_chunks::<LANES>().0;
        for (n, values) in values.iter().enumerate() {
            let values = widen(values);
            for q in 0..Q {
                add_product(&mut sums[q][n], weights[q][j], &values);
            }
        }
    }
    for q in 0..Q {
        let outs = outs[q][d..].as_chunks_mut::<LANES>().0;
        outs[..N].copy_from_slice(&sums[q]);
    }
}

/// `sums += factor · x`, each product rounded before it is added.
#[inline(always)]
fn add_product(sums: &mut [f32; LANES], factor: f32, x: &[f32; LANES]) {
    for (sum, x) in sums.iter_mut().zip(x) {
        *sum += factor * x;
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

    /// Attention of queries that all see `positions` positions, for each query one after another.
    fn run(queries: &[f32], cache: &[(Vec<f32>, Vec<f32>)], positions: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; queries.len()];
        let tile = queries.chunks(DIM).zip(out.chunks_mut(DIM));
        let mut tile: Vec<_> = tile
            .map(|(query, out)| Query {
                positions,
                query,
                out,
            })
            .collect();
        attend(&mut tile, blocks(cache));
        out
    }

    fn blocks(cache: &[(Vec<f32>, Vec<f32>)]) -> impl Iterator<Item = HeadBlock<'_, f32>> {
        cache.iter().map(|(keys, values)| HeadBlock {
            keys: keys.as_slice(),
            values,
            scales: None,
        })
    }

    /// Tiles of any size, with positions before, in and beyond a block, some of them alike.
    #[test]
    fn queries_of_a_tile_do_not_mix() {
        let cache = cache(3);
        let positions: Vec<usize> = (0..TILE).map(|i| 1 + i / 3 * 17).collect();
        assert!(positions[TILE - 1] > 128);
        let queries: Vec<f32> = (0..TILE * DIM).map(|i| noise(3 * i)).collect();
        for range in [0..TILE, 0..1, 3..7, 2..9, TILE - 5..TILE] {
            let mut out = vec![f32::NAN; range.len() * DIM];
            let tile = queries.chunks(DIM).zip(&positions).skip(range.start);
            let mut tile: Vec<_> = tile
                .zip(out.chunks_mut(DIM))
                .map(|((query, &positions), out)| Query {
                    positions,
                    query,
                    out,
                })
                .collect();
            attend(&mut tile, blocks(&cache));
            for (index, together) in range.zip(out.chunks(DIM)) {
                let query = &queries[index * DIM..][..DIM];
                assert_eq!(run(query, &cache, positions[index]), together, "{index}");
            }
        }
    }

    /// What each instruction set makes of a block, for every type and number of queries: the bits
    /// that plain code for one query makes.
    #[test]
    fn instruction_sets_give_the_same_bits() {
        fn check<T: Stored>(
            keys: &[T],
            values: &[T],
            scales: Option<Scales<'_>>,
            portable: impl Fn(&[T; LANES]) -> [f32; LANES] + Copy,
        ) {
            let block = HeadBlock {
                keys,
                values,
                scales,
            };
            let queries: Vec<f32> = (0..TOGETHER * DIM).map(|i| noise(3 * i + 7)).collect();
            type Visit<'f, T> = &'f dyn Fn(&mut [Query<'_>], &mut [Softmax], HeadBlock<'_, T>);
            let run = |count: usize, visit: Visit<'_, T>| {
                let mut out: Vec<f32> = (0..TOGETHER * DIM).map(noise).collect();
                let tile = queries.chunks(DIM).zip(out.chunks_mut(DIM));
                let mut tile: Vec<_> = tile
                    .map(|(query, out)| Query {
                        positions: 45,
                        query,
                        out,
                    })
                    .collect();
                let before = Softmax {
                    maximum: 0.25,
                    normaliser: 3.0,
                };
                let mut softmax = [before; TOGETHER];
                for (tile, softmax) in tile.chunks_mut(count).zip(softmax.chunks_mut(count)) {
                    visit(tile, softmax, block);
                }
                out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            };
            let expected = run(1, &|tile, softmax, block| {
                visit::<T, false>(tile, softmax, block, 45, portable);
            });
            for count in 1..=TOGETHER {
                let best: Visit<'_, T> = &|tile, softmax, block| T::visit(tile, softmax, block, 45);
                assert_eq!(run(count, best), expected, "{count}");
                let many: Visit<'_, T> = &|tile, softmax, block| {
                    visit::<T, true>(tile, softmax, block, 45, portable);
                };
                assert_eq!(run(count, many), expected, "{count}");
            }
        }
        let (keys, values) = &cache(1)[0];
        check(keys, values, None, |x| *x);
        let narrow = |x: &[f32]| x.iter().map(|&x| half::narrow(x)).collect::<Vec<_>>();
        check(&narrow(keys), &narrow(values), None, |x| x.map(half::widen));
        let narrow = |x: &[f32]| x.iter().map(|&x| (x * 60.0) as i8).collect::<Vec<_>>();
        let (own, other) = (
            std::array::from_fn(noise),
            std::array::from_fn(|i| noise(i + 9)),
        );
        let scales = Scales {
            keys: &own,
            values: &other,
        };
        let (keys, values) = (narrow(keys), narrow(values));
        check(&keys, &values, Some(scales), |x| x.map(f32::from));
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
