//! The floating-point formats found in model files, widened to `f32` without rounding.

use safetensors::Dtype;

use crate::ops::half;

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
                    *out = half::widen(u16::from_le_bytes(*pair));
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

/// The nearest bf16 of a finite number, ties to even; beyond the largest it is infinite.
#[inline(always)]
pub(crate) fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    // The largest finite number is 0x7f7f_ffff, so this does not overflow.
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
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
}
