//! The floating-point formats found in model files, widened to `f32` without rounding.

use safetensors::Dtype;

/// An element type that widens to `f32` exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    /// The upper half of an `f32`.
    Bf16,
    /// IEEE 754 binary16.
    F16,
    /// IEEE 754 binary32.
    F32,
}

impl Element {
    /// The element type of a tensor, or `None` where it is not one of these.
    pub fn of(dtype: Dtype) -> Option<Element> {
        match dtype {
            Dtype::BF16 => Some(Element::Bf16),
            Dtype::F16 => Some(Element::F16),
            Dtype::F32 => Some(Element::F32),
            _ => None,
        }
    }

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Element::Bf16 | Element::F16 => 2,
            Element::F32 => 4,
        }
    }

    /// Widens little-endian elements; `bytes` need not be aligned.
    pub fn widen(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len(), out.len() * self.size());
        match self {
            Element::Bf16 => {
                for (out, pair) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *out = bf16_to_f32(u16::from_le_bytes(*pair));
                }
            }
            Element::F16 => {
                for (out, pair) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *out = f16_to_f32(u16::from_le_bytes(*pair));
                }
            }
            Element::F32 => {
                for (out, four) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *out = f32::from_le_bytes(*four);
                }
            }
        }
    }
}

/// A bf16 is the upper half of the `f32` it stands for.
#[inline(always)]
pub(crate) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Every binary16 value is an `f32` value, so this is exact. A NaN stays a NaN.
fn f16_to_f32(bits: u16) -> f32 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_the_upper_half() {
        let mut out = [0.0; 3];
        Element::Bf16.widen(&[0x80, 0x3f, 0x80, 0xbf, 0x00, 0x00], &mut out);
        assert_eq!(out, [1.0, -1.0, 0.0]);
    }

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
    fn every_f16_widens_to_its_value() {
        for bits in 0..=u16::MAX {
            let (found, expected) = (f64::from(f16_to_f32(bits)), meaning(bits));
            assert!(
                found == expected || (found.is_nan() && expected.is_nan()),
                "{bits:#06x}"
            );
            assert_eq!(found.is_sign_negative(), bits & 0x8000 != 0, "{bits:#06x}");
        }
    }
}
