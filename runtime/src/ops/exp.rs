//! `exp` in `f32`, the same bits everywhere and without branches, so that loops over it vectorise.
//!
//! `eˣ = 2ⁿ · eʳ` with `n = round(x / ln 2)` and `|r| ≤ ln 2 / 2`; `ln 2` is subtracted in two
//! pieces so that `r` keeps its bits, and `eʳ` is a polynomial of degree 7 with the coefficients of
//! the Cephes library (S. Moshier, `expf.c`). The result is within one unit in the last place.

/// Below it the result would be subnormal; `exp` stays at its value there, about 1.2e-38.
const LOWEST: f32 = -87.3;
/// Above it the result would not be finite; `exp` stays at its value there, about 1.7e38.
const HIGHEST: f32 = 88.0;
/// Adding 1.5 · 2^23 rounds a small number to an integer, ties to even, in the low mantissa bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 to 9 bits: its product with an integer below 2^15 is exact.
const LN2_HIGH: f32 = 355.0 / 512.0;
/// The rest of ln 2.
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Coefficients of `(eʳ − 1 − r) / r²`, highest power first.
const POLYNOMIAL: [f32; 6] = [
    1.987_569_1e-4,
    1.398_199_9e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    0.5,
];

/// `eˣ`, held at about 1.2e-38 and 1.7e38 beyond the range of normal numbers. NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Written as selections rather than `clamp`, whose assertion would stay in the loop.
    let x = if x < LOWEST { LOWEST } else { x };
    let x = if x > HIGHEST { HIGHEST } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = POLYNOMIAL[0];
    for coefficient in &POLYNOMIAL[1..] {
        p = p * r + coefficient;
    }
    let power = (p * (r * r) + r) + 1.0;
    // The integer sits in the low bits of `rounded`; as an exponent it makes 2ⁿ.
    let exponent = rounded
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127);
    power * f32::from_bits(exponent << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_one_unit_in_the_last_place() {
        let mut worst = 0.0f64;
        for step in -87_290..88_000 {
            let x = step as f32 * 1e-3;
            let (found, truth) = (f64::from(exp(x)), libm::exp(f64::from(x)));
            worst = worst.max((found - truth).abs() / truth * f64::from(1u32 << 24));
        }
        assert!(worst < 2.0, "{worst} half units");
    }

    #[test]
    fn exact_at_zero_and_finite_beyond_the_range() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) > 0.0 && exp(f32::NEG_INFINITY) < 1.3e-38);
        assert!(exp(f32::INFINITY) > 1.6e38 && exp(f32::INFINITY).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }
}
