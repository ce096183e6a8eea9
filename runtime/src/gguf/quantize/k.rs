//! Q4_K and Q6_K: scales of groups found by least squares, and then quantized themselves.
//!
//! For each group several roundings are tried, each from a slightly different scale. For the codes `l` that come out, the scale that fits
//! them best has a closed form, and the best of all is kept. The operations and their order are those of the reference in llama.cpp (with
//! no importance matrix), since a search that ends by comparing errors gives other codes for other roundings.

use super::{half, largest, push_f16};
use crate::gguf::blocks::dense::q4_k_pair;

/// Below this a group is zero.
const TINY: f32 = 1e-15;

/// The nearest integer, ties to even.
fn nearest(x: f32) -> i32 {
    x.round_ties_even() as i32
}

/// Appends a block of 256 as Q6_K. Nothing where its factor is beyond f16.
pub(super) fn q6_k(block: &[f32], out: &mut Vec<u8>) -> Option<()> {
    let mut scales = [0.0f32; 16];
    for (scale, group) in scales.iter_mut().zip(block.chunks_exact(16)) {
        *scale = symmetric_scale(group);
    }
    let (_, max) = largest(&scales);
    if max.abs() < TINY {
        out.extend([0; 210]);
        return Some(());
    }
    let inverse = -128.0 / max;
    let mut d = Vec::with_capacity(2);
    push_f16(1.0 / inverse, &mut d)?;
    let rounded = half::widen(u16::from_le_bytes([d[0], d[1]]));
    let scales = scales.map(|scale| nearest(inverse * scale).min(127) as i8);
    // A group whose scale became zero keeps the codes of the search.
    let mut codes = [0u8; 256];
    let groups = codes.chunks_exact_mut(16).zip(block.chunks_exact(16));
    for ((codes, group), scale) in groups.zip(scales) {
        let step = rounded * f32::from(scale);
        if step == 0.0 {
            symmetric_codes(group, codes);
            continue;
        }
        for (code, &x) in codes.iter_mut().zip(group) {
            *code = (nearest(x / step).clamp(-32, 31) + 32) as u8;
        }
    }
    let halves = codes.as_chunks::<128>().0;
    for half in halves {
        out.extend((0..64).map(|l| half[l] & 15 | (half[64 + l] & 15) << 4));
    }
    for half in halves {
        let high = |l: usize| (0..4).fold(0, |byte, k| byte | half[32 * k + l] >> 4 << (2 * k));
        out.extend((0..32).map(high));
    }
    out.extend(scales.map(|scale| scale as u8));
    out.extend(d);
    Some(())
}

fn symmetric_scale(group: &[f32]) -> f32 {
    search_symmetric(group).0
}

/// The codes, from 0 to 63, that the search for the scale ended with.
fn symmetric_codes(group: &[f32], codes: &mut [u8]) {
    let (scale, inverse) = search_symmetric(group);
    for (code, &x) in codes.iter_mut().zip(group) {
        *code = match scale {
            0.0 => 0,
            _ => (nearest(inverse * x).clamp(-32, 31) + 32) as u8,
        };
    }
}

/// The best scale of a group for codes from −32 to 31, weights squared as importance, and the inverse scale that its codes came from.
fn search_symmetric(group: &[f32]) -> (f32, f32) {
    let (_, max) = largest(group);
    if max.abs() < TINY {
        return (0.0, 0.0);
    }
    let fit = |inverse: f32| {
        let (mut product, mut square) = (0.0f32, 0.0f32);
        for &x in group {
            let code = nearest(inverse * x).clamp(-32, 31) as f32;
            let weight = x * x;
            product += weight * x * code;
            square += weight * code * code;
        }
        (product, square)
    };
    let mut inverse = -32.0 / max;
    let (product, square) = fit(inverse);
    let mut scale = if square == 0.0 { 0.0 } else { product / square };
    let mut best = scale * product;
    for step in -9i8..=9 {
        if step == 0 {
            continue;
        }
        let tried = -(32.0 + 0.1 * f32::from(step)) / max;
        let (product, square) = fit(tried);
        if square > 0.0 && product * product > best * square {
            (scale, inverse) = (product / square, tried);
            best = scale * product;
        }
    }
    (scale, inverse)
}

/// Appends a block of 256 as Q4_K. Nothing where a factor is beyond f16.
pub(super) fn q4_k(block: &[f32], out: &mut Vec<u8>) -> Option<()> {
    let mut found = [Affine::default(); 8];
    for (found, group) in found.iter_mut().zip(block.chunks_exact(32)) {
        *found = Affine::search(group);
    }
    let max_scale = found.iter().fold(0.0f32, |max, found| max.max(found.scale));
    let max_min = found.iter().fold(0.0f32, |max, found| max.max(found.min));
    let inverse = |max: f32| if max > 0.0 { 63.0 / max } else { 0.0 };
    let (inverse_scale, inverse_min) = (inverse(max_scale), inverse(max_min));
    let mut pairs = [0u8; 12];
    for (index, found) in found.iter().enumerate() {
        // Both are at least zero but for a scale that noise made negative, which wraps as in the reference.
        let scale = (nearest(inverse_scale * found.scale) as u8).min(63);
        let min = (nearest(inverse_min * found.min) as u8).min(63);
        if index < 4 {
            (pairs[index], pairs[index + 4]) = (scale, min);
        } else {
            pairs[index + 4] = scale & 15 | (min & 15) << 4;
            pairs[index - 4] |= scale >> 4 << 6;
            pairs[index] |= min >> 4 << 6;
        }
    }
    let start = out.len();
    push_f16(max_scale / 63.0, out)?;
    push_f16(max_min / 63.0, out)?;
    let factor = |at: usize| half::widen(u16::from_le_bytes([out[at], out[at + 1]]));
    let (d, d_min) = (factor(start), factor(start + 2));
    out.extend(pairs);
    let mut codes = [0u8; 256];
    let groups = codes.chunks_exact_mut(32).zip(block.chunks_exact(32));
    for (index, (codes, group)) in groups.enumerate() {
        let (scale, min) = q4_k_pair(&pairs, index);
        let (step, min) = (d * f32::from(scale), d_min * f32::from(min));
        if step == 0.0 {
            codes.copy_from_slice(&found[index].codes);
            continue;
        }
        for (code, &x) in codes.iter_mut().zip(group) {
            *code = nearest((x + min) / step).clamp(0, 15) as u8;
        }
    }
    for pair in codes.as_chunks::<64>().0 {
        out.extend((0..32).map(|l| pair[l] | pair[32 + l] << 4));
    }
    Some(())
}

/// How a group of 32 is stored: `scale · code − min`.
#[derive(Clone, Copy, Default)]
struct Affine {
    scale: f32,
    min: f32,
    codes: [u8; 32],
}

impl Affine {
    /// The best scale and minimum for codes from 0 to 15, where a weight counts by its size and the group's.
    fn search(group: &[f32]) -> Affine {
        let square: f32 = group.iter().fold(0.0, |sum, x| sum + x * x);
        let typical = (square / 32.0).sqrt();
        let weights: [f32; 32] = std::array::from_fn(|i| typical + group[i].abs());
        let (mut low, mut high) = (group[0], group[0]);
        let (mut sum_w, mut sum_x) = (weights[0], weights[0] * group[0]);
        for (&x, &w) in group.iter().zip(&weights).skip(1) {
            low = if x < low { x } else { low };
            high = if x > high { x } else { high };
            sum_w += w;
            sum_x += w * x;
        }
        // The minimum is stored without a sign.
        let low = if low > 0.0 { 0.0 } else { low };
        if high == low {
            return Affine {
                min: -low,
                ..Affine::default()
            };
        }
        let codes_of = |inverse: f32, low: f32| -> [u8; 32] {
            std::array::from_fn(|i| nearest(inverse * (group[i] - low)).clamp(0, 15) as u8)
        };
        let error_of = |scale: f32, min: f32, codes: &[u8; 32]| {
            let terms = group.iter().zip(&weights).zip(codes);
            terms.fold(0.0f32, |sum, ((&x, &w), &code)| {
                let off = scale * f32::from(code) + min - x;
                sum + w * (off * off)
            })
        };
        let inverse = 15.0 / (high - low);
        let codes = codes_of(inverse, low);
        let mut best = Affine {
            scale: 1.0 / inverse,
            min: low,
            codes,
        };
        let mut best_error = error_of(best.scale, best.min, &codes);
        for step in 0..=20u8 {
            // Each try begins at the best minimum so far, not at the group's own.
            let low = best.min;
            let inverse = (-1.0 + 0.1 * f32::from(step) + 15.0) / (high - low);
            let codes = codes_of(inverse, low);
            let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0f32, 0.0f32, 0.0f32);
            for ((&x, &w), &code) in group.iter().zip(&weights).zip(&codes) {
                let l = f32::from(code);
                sum_l += w * l;
                sum_l2 += w * l * l;
                sum_xl += w * l * x;
            }
            let determinant = sum_w * sum_l2 - sum_l * sum_l;
            if determinant > 0.0 {
                let mut scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
                let mut min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
                if min > 0.0 {
                    (min, scale) = (0.0, sum_xl / sum_l2);
                }
                let error = error_of(scale, min, &codes);
                if error < best_error {
                    (best, best_error) = (Affine { scale, min, codes }, error);
                }
            }
        }
        best.min = -best.min;
        best
    }
}
