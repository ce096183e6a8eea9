//! Conversions between `f32` and IEEE 754 binary16, the same bits on every CPU.
//!
//! Widening is exact, and narrowing rounds to nearest, ties to even, so an instruction that does
//! it (F16C, AVX-512) can stand for the plain code.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_mm256_cvtph_ps, _mm512_cvtph_ps};

use super::lanes::LANES;

/// Every binary16 value is an `f32` value, so this is exact. A NaN stays a NaN.
#[inline(always)]
pub(crate) fn widen(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let mantissa = u32::from(bits) & 0x3ff;
    let magnitude = match exponent {
        // Subnormal: mantissa · 2^−24, and 2^-24 is a normal f32.
        0 => (mantissa as f32 * f32::from_bits((127 - 24) << 23)).to_bits(),
        0x1f => 0x7f80_0000 | mantissa << 13,
        _ => (exponent + 127 - 15) << 23 | mantissa << 13,
    };
    f32::from_bits(sign | magnitude)
}

/// Sixteen at once by AVX-512's instruction.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn widen_avx512(bits: &[u16; LANES]) -> [f32; LANES] {
    bytemuck::cast(_mm512_cvtph_ps(bytemuck::cast(*bits)))
}

/// Sixteen at once by two of F16C's instructions.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx,f16c")]
pub(crate) fn widen_f16c(bits: &[u16; LANES]) -> [f32; LANES] {
    let halves: [[u16; 8]; 2] = bytemuck::cast(*bits);
    bytemuck::cast(halves.map(|half| _mm256_cvtph_ps(bytemuck::cast(half))))
}

/// The nearest binary16, ties to even: infinite from 65520 on. A NaN stays a NaN.
pub(crate) fn narrow(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    let nearest = match magnitude {
        // The quiet bit, and what fits of the payload.
        0x7f80_0001.. => 0x7e00 | magnitude >> 13 & 0x3ff,
        0x477f_f000.. => 0x7c00,
        // Normal: the exponent's bias is less by 112; adding just below half a unit, and one more
        // if the last kept bit is odd, carries exactly where the value rounds up.
        0x3880_0000.. => (magnitude - (112 << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13,
        // Subnormal: the last bit of a sum with one half is 2^-24, as that of the result.
        _ => (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5f32.to_bits(),
    };
    sign | nearest as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a binary16 by its definition, in `f64`.
    fn meaning(bits: u16) -> f64 {
        let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
        let (exponent, mantissa) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
        match exponent {
            0 => sign * mantissa * 2f64.powi(-24),
            0x1f if mantissa == 0.0 => sign * f64::INFINITY,
            0x1f => f64::NAN,
            _ => sign * (1.0 + mantissa / 1024.0) * 2f64.powi(exponent - 15),
        }
    }

    #[test]
    fn every_number_widens_to_its_value() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (f64::from(widen(bits)), meaning(bits));
            assert!(
                found == expected || (found.is_nan() && expected.is_nan()),
                "{bits:#06x}"
            );
            assert_eq!(found.is_sign_negative(), bits & 0x8000 != 0, "{bits:#06x}");
        }
    }

    /// The instructions, where this CPU has them, against the plain code.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn instructions_widen_alike() {
        use multiversion::multiversion;
        use multiversion::target::match_target;

        #[multiversion(targets("x86_64+avx512f+avx2+f16c", "x86_64+avx2+f16c"))]
        fn widest(bits: &[u16; LANES]) -> [[f32; LANES]; 2] {
            match_target! {
                "x86_64+avx512f+avx2+f16c" => [widen_avx512(bits), widen_f16c(bits)],
                "x86_64+avx2+f16c" => [widen_f16c(bits); 2],
                _ => [bits.map(widen); 2],
            }
        }

        for first in (0..=u16::MAX).step_by(LANES) {
            let bits: [u16; LANES] = std::array::from_fn(|i| first + i as u16);
            let expected = bits.map(widen);
            for found in widest(&bits) {
                for (found, expected) in found.iter().zip(&expected) {
                    let is_nan = found.is_nan() && expected.is_nan();
                    assert!(is_nan || found.to_bits() == expected.to_bits());
                }
            }
        }
    }

    #[test]
    fn a_widened_number_narrows_to_itself() {
        for bits in 0..=u16::MAX {
            let again = narrow(widen(bits));
            if widen(bits).is_nan() {
                assert_eq!(again, bits | 0x200, "a NaN becomes quiet: {bits:#06x}");
            } else {
                assert_eq!(again, bits, "{bits:#06x}");
            }
        }
    }

    /// Around each midpoint between neighbours: below it down, above it up, on it to the even one.
    #[test]
    fn narrowing_rounds_to_nearest_ties_to_even() {
        for low in 0..0x7c00u16 {
            let high = low + 1;
            // 65504 and what would follow it, if the format went on.
            let above = if high == 0x7c00 { 65536.0 } else { widen(high) };
            let middle = (widen(low) + above) / 2.0;
            let even = if low.is_multiple_of(2) { low } else { high };
            for (x, expected) in [
                (middle.next_down(), low),
                (middle, even),
                (middle.next_up(), high),
            ] {
                assert_eq!(narrow(x), expected, "{x}");
                assert_eq!(narrow(-x), expected | 0x8000, "{x}");
            }
        }
        assert_eq!(narrow(f32::MAX), 0x7c00);
        assert_eq!(narrow(f32::MIN_POSITIVE), 0);
        assert_eq!(narrow(-f32::from_bits(1)), 0x8000);
    }
}
