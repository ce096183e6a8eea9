//! Rounding floats to the integers that the kernels multiply, exactly as the reference does.
//!
//! BitNet quantizes the activations of each token to int8 by the largest magnitude in the row, and
//! master weights to trits by their mean magnitude. Both formulas round in places where an obvious
//! rewriting rounds differently (one int8 in a million changes, and every token after it), so they
//! stand here once, in the order of the Hugging Face implementation (`integrations/bitnet.py`;
//! torch computes `127 / a` as `a.reciprocal() * 127`, with two roundings).
//!
//! The loops run over fixed lanes and without calls, so that the compiler turns them into vector
//! code, on the baseline of every target or, inlined, for what the caller is compiled for.

/// The smallest magnitude that a scale is made from; keeps an all-zero row or matrix finite.
const SMALLEST_MAGNITUDE: f32 = 1e-5;

/// Lanes in which the largest magnitude is searched: so many that no vector register waits for itself, 4 of the widest.
const LANES: usize = 64;

/// Quantizes the activations of one token to int8; returns their scale `s`, so `x` is about `q / s`.
///
/// With every operation rounded to f32:
///
/// ```text
/// a = max(max|x|, 1e-5);  s = (1 / a) * 127;  q = clamp(round_half_even(x * s), -128, 127)
/// ```
///
/// If `x` holds a NaN or an infinity, `q` is all zeros and the scale is NaN. Every output of the
/// layer is then NaN, as with the reference, and no output depends on what a kernel does.
///
/// # Panics
///
/// If `q` and `x` differ in length.
#[inline(always)]
pub fn quantize_row(x: &[f32], q: &mut [i8]) -> f32 {
    assert_eq!(q.len(), x.len(), "one int8 for each activation");
    let largest = largest_magnitude(x);
    if !largest.is_finite() {
        q.fill(0);
        return f32::NAN;
    }
    let a = largest.max(SMALLEST_MAGNITUDE);
    let r = 1.0 / a;
    let s = r * 127.0;
    for (q, &x) in q.iter_mut().zip(x) {
        *q = round_to_i8(x * s);
    }
    s
}

/// Quantizes the activations of one token to int8, each `group` of neighbours by its own largest magnitude; `steps` gets what an activation
/// of one stands for in each group, so `x` is about `q * step`.
///
/// ```text
/// step = max|x| / 127;  q = round_half_even(x * (127 / max|x|))
/// ```
///
/// This is for models that were trained with float activations, so there is no reference but the floats: steps are as fine as the group allows.
/// A group without a magnitude worth a step (below 1e-35) is zeros. One with a NaN or an infinity is zeros and its step NaN, which makes
/// every output NaN.
///
/// # Panics
///
/// If `q` and `x` differ in length, or there is not a step for each group.
#[inline(always)]
pub fn quantize_groups(x: &[f32], group: usize, q: &mut [i8], steps: &mut [f32]) {
    assert_eq!(q.len(), x.len(), "one int8 for each activation");
    assert_eq!(
        steps.len(),
        x.len().div_ceil(group),
        "a step for each group"
    );
    let groups = x.chunks(group).zip(q.chunks_mut(group));
    for ((x, q), step) in groups.zip(steps) {
        let largest = largest_magnitude(x);
        if !(1e-35..=f32::MAX).contains(&largest) {
            q.fill(0);
            *step = if largest < 1e-35 { 0.0 } else { f32::NAN };
            continue;
        }
        let s = 127.0 / largest;
        for (q, &x) in q.iter_mut().zip(x) {
            *q = round_to_i8(x * s);
        }
        *step = largest / 127.0;
    }
}

/// `max |x|`, or a NaN if there is one; 0 for an empty row.
///
/// Bit patterns of floats without their sign order as integers: numbers by size, then infinity, then
/// NaN. So the result depends on no order and loses no NaN, unlike `f32::max`.
#[inline(always)]
fn largest_magnitude(x: &[f32]) -> f32 {
    let magnitude = |x: f32| x.abs().to_bits().cast_signed();
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut largest = [0_i32; LANES];
    for chunk in chunks {
        for (largest, &x) in largest.iter_mut().zip(chunk) {
            *largest = magnitude(x).max(*largest);
        }
    }
    for (largest, &x) in largest.iter_mut().zip(rest) {
        *largest = magnitude(x).max(*largest);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            largest[lane] = largest[lane].max(largest[lane + width]);
        }
        width /= 2;
    }
    f32::from_bits(largest[0].cast_unsigned())
}

/// `clamp(round_half_even(v), -128, 127)` of a `v` between -2^22 and 2^22; an activation times its scale is 127 at most, and its
/// rounding.
///
/// Adding 1.5 * 2^23 leaves no bits for a fraction, so the addition itself rounds, to even in a tie,
/// and the low bits of the sum are the integer. Unlike `f32::round_ties_even` it needs no instruction
/// beyond SSE2. Clamping the integer makes of it the instruction that packs with saturation.
#[inline(always)]
fn round_to_i8(v: f32) -> i8 {
    const SHIFT: f32 = 12_582_912.0;
    const _: () = assert!(SHIFT == 1.5 * (1 << 23) as f32);
    let integer = (v + SHIFT).to_bits().cast_signed() - SHIFT.to_bits().cast_signed();
    integer.clamp(-128, 127) as i8
}

/// The scale that turns master weights into trits: `1 / max(mean|w|, 1e-5)` over a whole matrix.
///
/// The reference leaves the order of its f32 sum open. This one is exact to well below an f32: it
/// sums in f64, in the order given. The weight that a trit then stands for is `1 / scale`.
///
/// A NaN among the weights makes the scale NaN and an infinity makes it 0: refuse such a matrix. No
/// weights at all count as zeros.
pub fn absmean_scale(weights: impl IntoIterator<Item = f32>) -> f32 {
    let (mut sum, mut count) = (0.0_f64, 0_u64);
    for weight in weights {
        sum += f64::from(weight.abs());
        count += 1;
    }
    let mean = (sum / count.max(1) as f64) as f32;
    // Not `f32::max`, which would turn a NaN into the bound.
    let mean = if mean < SMALLEST_MAGNITUDE {
        SMALLEST_MAGNITUDE
    } else {
        mean
    };
    1.0 / mean
}

/// The trit of a master weight: `clamp(round_half_even(w * scale), -1, 1)`, the product in f32.
///
/// A tie, half of `1 / scale`, goes to zero. So does a NaN.
pub fn ternarize(weight: f32, scale: f32) -> i8 {
    let v = weight * scale;
    i8::from(v > 0.5) - i8::from(v < -0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_matches_the_definition() {
        let check = |v: f32| {
            let meant = v.round_ties_even().clamp(-128.0, 127.0) as i8;
            assert_eq!(round_to_i8(v), meant, "{v:?}");
        };
        for eighths in -1100..=1100 {
            let v = eighths as f32 / 8.0;
            for v in [v.next_down(), v, v.next_up()] {
                check(v);
            }
        }
        for v in [0.0, -0.0, f32::MIN_POSITIVE, 4_194_304.0, -4_194_304.0] {
            check(v);
        }
    }

    /// Each group by itself, the last one shorter; zeros, tiny ones and what is not finite.
    #[test]
    fn groups_have_steps_of_their_own() {
        let x = [
            1.0,
            -2.0,
            0.0,
            254.0,
            127.0,
            -1.0,
            0.0,
            0.0,
            1e-38,
            f32::NAN,
        ];
        let (mut q, mut steps) = ([7; 10], [7.0; 5]);
        quantize_groups(&x, 2, &mut q, &mut steps);
        assert_eq!(q, [64, -127, 0, 127, 127, -1, 0, 0, 0, 0]);
        assert_eq!(steps[..4], [2.0 / 127.0, 2.0, 1.0, 0.0]);
        assert!(steps[4].is_nan());
        let (mut q, mut steps) = ([0; 3], [0.0; 2]);
        quantize_groups(&[f32::INFINITY, 1.0, f32::MAX], 2, &mut q, &mut steps);
        assert!(steps[0].is_nan() && steps[1].is_finite() && q == [0, 0, 127]);
    }

    #[test]
    fn trits_match_the_definition() {
        for eighths in -40..=40 {
            for v in [eighths as f32 / 8.0, (eighths as f32 / 8.0).next_up()] {
                let meant = v.round_ties_even().clamp(-1.0, 1.0) as i8;
                assert_eq!(ternarize(v, 1.0), meant, "{v:?}");
            }
        }
    }
}
