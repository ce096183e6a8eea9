//! Numbers and trits to the bytes of a tensor type, for writing GGUF files.
//!
//! The results are those of llama.cpp's reference quantizers (the portable ones, not those of a CPU), to the bit: fixtures compare. From
//! trits the ternary types are exact, but for a scale that is stored as f16.

mod k;

use super::error::QuantizeError;
use super::types::{I2sLayout, TensorType};
use crate::element::f32_to_bf16;
use crate::ops::half;

const FROM_NUMBERS: &str = "F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K, TQ1_0 and TQ2_0";
const FROM_TRITS: &str = "TQ1_0, TQ2_0 and IQ2_BN (and I2_S by its own encoder)";

/// Appends a row of numbers as `kind`.
///
/// # Errors
///
/// [`QuantizeError`]: a type that is not written, a row that is not a multiple of its block, or a number that is not finite or that the
/// type has no scale for.
pub fn row(kind: TensorType, values: &[f32], out: &mut Vec<u8>) -> Result<(), QuantizeError> {
    check_columns(kind, values.len())?;
    if let Some(column) = values.iter().position(|x| !x.is_finite()) {
        return Err(range(kind, values, column));
    }
    let start = out.len();
    match kind {
        TensorType::F32 => out.extend(values.iter().flat_map(|x| x.to_le_bytes())),
        TensorType::F16 => {
            for (column, &x) in values.iter().enumerate() {
                push_f16(x, out).ok_or_else(|| range(kind, values, column))?;
            }
        }
        TensorType::Bf16 => {
            for (column, &x) in values.iter().enumerate() {
                let bits = bf16(x).ok_or_else(|| range(kind, values, column))?;
                out.extend(bits.to_le_bytes());
            }
        }
        TensorType::Q8_0 => blocks(kind, values, out, q8_0)?,
        TensorType::Q4_0 => blocks(kind, values, out, q4_0)?,
        TensorType::Q4K => blocks(kind, values, out, k::q4_k)?,
        TensorType::Q6K => blocks(kind, values, out, k::q6_k)?,
        TensorType::Tq1_0 | TensorType::Tq2_0 => {
            blocks(kind, values, out, |block, out| ternary(kind, block, out))?;
        }
        _ => {
            return Err(QuantizeError::Type {
                kind,
                expected: FROM_NUMBERS,
            });
        }
    }
    debug_assert_eq!(out.len() - start, kind.row_bytes(values.len()));
    Ok(())
}

/// Appends a row of trits with its scales: as TQ1_0 or TQ2_0 one for each block of 256, of which a single one stands for all blocks, as IQ2_BN one
/// for the row.
///
/// # Errors
///
/// [`QuantizeError`]: another type, a row that is not a multiple of the type's block, a scale beyond f16 (with IQ2_BN: that is not finite), a value that
/// is no trit.
///
/// # Panics
///
/// If there is neither one scale nor one for each block, with IQ2_BN not one.
pub fn trits(
    kind: TensorType,
    trits: &[i8],
    scales: &[f32],
    out: &mut Vec<u8>,
) -> Result<(), QuantizeError> {
    if kind == TensorType::Iq2Bn {
        return iq2_bn(trits, scales, out);
    }
    if !matches!(kind, TensorType::Tq1_0 | TensorType::Tq2_0) {
        let expected = FROM_TRITS;
        return Err(QuantizeError::Type { kind, expected });
    }
    check_columns(kind, trits.len())?;
    check_trits(trits, 0)?;
    let count = trits.len() / kind.block();
    assert!(scales.len() == 1 || scales.len() == count);
    for (index, block) in trits.chunks_exact(kind.block()).enumerate() {
        let scale = scales[index.min(scales.len() - 1)];
        let codes: [u8; 256] = std::array::from_fn(|i| (block[i] + 1) as u8);
        push_codes(kind, &codes, out);
        push_f16(scale, out).ok_or(QuantizeError::Range {
            kind,
            found: scale,
            column: index * kind.block(),
        })?;
    }
    Ok(())
}

/// The row's scale, and blocks of 64 trits: byte `p` has those at `p`, `p + 16`, `p + 32`, `p + 48`, from the lowest bits up.
fn iq2_bn(trits: &[i8], scales: &[f32], out: &mut Vec<u8>) -> Result<(), QuantizeError> {
    let kind = TensorType::Iq2Bn;
    check_columns(kind, trits.len())?;
    check_trits(trits, 0)?;
    assert_eq!(scales.len(), 1);
    let found = scales[0];
    if !found.is_finite() {
        let column = 0;
        return Err(QuantizeError::Range {
            kind,
            found,
            column,
        });
    }
    out.extend(found.to_le_bytes());
    for block in trits.as_chunks::<64>().0 {
        let code = |at: usize| (block[at] + 1) as u8;
        let byte = |p: usize| code(p) | code(p + 16) << 2 | code(p + 32) << 4 | code(p + 48) << 6;
        out.extend((0..16).map(byte));
    }
    Ok(())
}

/// The scale that [`trits`] stores for a scale: the nearest f16. What `tern convert` reports is the difference.
pub fn stored_scale(scale: f32) -> f32 {
    half::widen(half::narrow(scale))
}

/// A matrix as I2_S in the published layout, from rows of trits. Rows may end within a block; the whole must be a multiple of 128 weights.
#[derive(Default)]
pub struct I2sEncoder {
    /// Codes that do not fill a block yet.
    pending: Vec<u8>,
    weights: u64,
}

impl I2sEncoder {
    /// Takes a row and appends the bytes of the blocks that are full.
    ///
    /// # Errors
    ///
    /// [`QuantizeError::Trit`].
    pub fn row(&mut self, trits: &[i8], out: &mut Vec<u8>) -> Result<(), QuantizeError> {
        check_trits(trits, 0)?;
        self.weights += trits.len() as u64;
        self.pending
            .extend(trits.iter().map(|&trit| (trit + 1) as u8));
        let whole = self.pending.len() / 128 * 128;
        for block in self.pending[..whole].chunks_exact(128) {
            let byte =
                |p: usize| block[p] << 6 | block[32 + p] << 4 | block[64 + p] << 2 | block[96 + p];
            out.extend((0..32).map(byte));
        }
        self.pending.drain(..whole);
        Ok(())
    }

    /// Appends what follows the trits: the matrix's scale, and zeros up to 32 bytes.
    ///
    /// # Errors
    ///
    /// [`QuantizeError`]: a matrix that is not a multiple of 128 weights, a scale that is not finite.
    pub fn finish(self, scale: f32, out: &mut Vec<u8>) -> Result<(), QuantizeError> {
        let kind = TensorType::I2s(I2sLayout::Planes32);
        if !self.pending.is_empty() {
            return Err(QuantizeError::Columns {
                kind,
                found: usize::try_from(self.weights).unwrap_or(usize::MAX),
                block: 128,
            });
        }
        if !scale.is_finite() {
            let column = 0;
            return Err(QuantizeError::Range {
                kind,
                found: scale,
                column,
            });
        }
        out.extend(scale.to_le_bytes());
        out.extend([0; 28]);
        Ok(())
    }
}

/// Trits of numbers that are ternary already, 0 and ± `scale` to the bit: exact, or an error.
///
/// # Errors
///
/// [`QuantizeError::Range`] with the first number that is none of them.
pub fn exact_trits(values: &[f32], scale: f32, out: &mut [i8]) -> Result<(), QuantizeError> {
    assert_eq!(values.len(), out.len());
    for (column, (out, &x)) in out.iter_mut().zip(values).enumerate() {
        *out = match x {
            0.0 => 0,
            x if x == scale => 1,
            x if x == -scale => -1,
            found => {
                let kind = TensorType::I2s(I2sLayout::Planes32);
                return Err(QuantizeError::Range {
                    kind,
                    found,
                    column,
                });
            }
        };
    }
    Ok(())
}

fn range(kind: TensorType, values: &[f32], column: usize) -> QuantizeError {
    QuantizeError::Range {
        kind,
        found: values[column],
        column,
    }
}

fn check_columns(kind: TensorType, found: usize) -> Result<(), QuantizeError> {
    let block = kind.block();
    match found.is_multiple_of(block) {
        true => Ok(()),
        false => Err(QuantizeError::Columns { kind, found, block }),
    }
}

fn check_trits(trits: &[i8], first: usize) -> Result<(), QuantizeError> {
    match trits.iter().position(|trit| !(-1..=1).contains(trit)) {
        None => Ok(()),
        Some(at) => Err(QuantizeError::Trit {
            found: trits[at],
            column: first + at,
        }),
    }
}

/// Quantizes block by block; where a block has no scale, the error names its largest number.
fn blocks(
    kind: TensorType,
    values: &[f32],
    out: &mut Vec<u8>,
    block: impl Fn(&[f32], &mut Vec<u8>) -> Option<()>,
) -> Result<(), QuantizeError> {
    for (index, numbers) in values.chunks_exact(kind.block()).enumerate() {
        block(numbers, out).ok_or_else(|| {
            let (at, _) = largest(numbers);
            range(kind, values, index * kind.block() + at)
        })?;
    }
    Ok(())
}

/// Index and value of the number that is largest without its sign, the first of several.
fn largest(values: &[f32]) -> (usize, f32) {
    let mut best = (0, 0.0f32);
    for (index, &x) in values.iter().enumerate() {
        if x.abs() > best.1.abs() {
            best = (index, x);
        }
    }
    best
}

/// Appends the nearest f16; nothing for a finite number beyond its range.
fn push_f16(x: f32, out: &mut Vec<u8>) -> Option<()> {
    let bits = half::narrow(x);
    (bits & 0x7fff < 0x7c00).then(|| out.extend(bits.to_le_bytes()))
}

/// The nearest bf16, ties to even; nothing where that is infinite.
fn bf16(x: f32) -> Option<u16> {
    let rounded = f32_to_bf16(x);
    (rounded & 0x7fff < 0x7f80).then_some(rounded)
}

/// The reciprocal of a scale, 0 for 0.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

fn q8_0(block: &[f32], out: &mut Vec<u8>) -> Option<()> {
    let d = largest(block).1.abs() / 127.0;
    let inverse = inverse(d);
    push_f16(d, out)?;
    out.extend(block.iter().map(|x| (x * inverse).round() as i8 as u8));
    Some(())
}

fn q4_0(block: &[f32], out: &mut Vec<u8>) -> Option<()> {
    // The largest number, with its sign, becomes the code 0, which stands for −8.
    let d = largest(block).1 / -8.0;
    let inverse = inverse(d);
    push_f16(d, out)?;
    let code = |x: f32| (x * inverse + 8.5).clamp(0.0, 15.0) as u8;
    out.extend((0..16).map(|i| code(block[i]) | code(block[i + 16]) << 4));
    Some(())
}

fn ternary(kind: TensorType, block: &[f32], out: &mut Vec<u8>) -> Option<()> {
    let d = largest(block).1.abs();
    let inverse = inverse(d);
    let codes: [u8; 256] =
        std::array::from_fn(|i| ((block[i] * inverse).round().clamp(-1.0, 1.0) as i8 + 1) as u8);
    push_codes(kind, &codes, out);
    push_f16(d, out)
}

/// Appends a block's 256 codes, without its scale.
fn push_codes(kind: TensorType, codes: &[u8; 256], out: &mut Vec<u8>) {
    if kind == TensorType::Tq2_0 {
        for half in codes.as_chunks::<128>().0 {
            let byte =
                |p: usize| half[p] | half[32 + p] << 2 | half[64 + p] << 4 | half[96 + p] << 6;
            out.extend((0..32).map(byte));
        }
        return;
    }
    // Planes of five trits, and of four with a zero for the fifth.
    for (range, plane) in [(0..160, 32), (160..240, 16), (240..256, 4)] {
        let part = &codes[range];
        for p in 0..plane {
            let number = (0..5).fold(0u16, |number, n| {
                let digit = part.get(n * plane + p).copied().unwrap_or(0);
                number * 3 + u16::from(digit)
            });
            out.push((number * 256).div_ceil(243) as u8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let encode = |kind, trit: i8| {
            let mut out = Vec::new();
            trits(kind, &[trit; 256], &[1.0], &mut out).unwrap();
            out
        };
        for (trit, byte, last) in [(-1, 0x00, 0x00), (0, 0x80, 0x7f), (1, 0xff, 0xfd)] {
            let out = encode(TensorType::Tq1_0, trit);
            assert_eq!(out[..48], [byte; 48]);
            assert_eq!(out[48..], [last, last, last, last, 0x00, 0x3c]);
        }
        for (trit, byte) in [(-1, 0x00), (0, 0x55), (1, 0xaa)] {
            let out = encode(TensorType::Tq2_0, trit);
            assert_eq!(out[..64], [byte; 64]);
            let mut out = Vec::new();
            let mut encoder = I2sEncoder::default();
            encoder.row(&[trit; 100], &mut out).unwrap();
            encoder.row(&[trit; 156], &mut out).unwrap();
            encoder.finish(0.75, &mut out).unwrap();
            assert_eq!(out[..64], [byte; 64]);
            assert_eq!(out[64..68], 0.75f32.to_le_bytes());
            assert_eq!(out[68..], [0; 28]);
            out.clear();
            trits(TensorType::Iq2Bn, &[trit; 64], &[0.75], &mut out).unwrap();
            assert_eq!(out[..4], 0.75f32.to_le_bytes());
            assert_eq!(out[4..], [byte; 16]);
        }
    }

    #[test]
    fn what_cannot_be_stored_is_named() {
        let mut out = Vec::new();
        let mut numbers = [1.0; 256];
        numbers[7] = f32::NAN;
        let error = row(TensorType::Q8_0, &numbers, &mut out).unwrap_err();
        assert!(error.to_string().contains("NaN in column 7"), "{error}");
        numbers[7] = 1e9;
        for kind in [TensorType::F16, TensorType::Q8_0, TensorType::Q4_0] {
            let error = row(kind, &numbers, &mut out).unwrap_err();
            assert!(
                error.to_string().contains("1000000000 in column 7"),
                "{error}"
            );
        }
        for kind in [TensorType::Q4K, TensorType::Q6K, TensorType::Tq1_0] {
            let error = row(kind, &numbers, &mut out).unwrap_err();
            assert!(error.to_string().contains("in column 7"), "{error}");
        }
        numbers[7] = f32::MAX;
        assert!(row(TensorType::Bf16, &numbers, &mut out).is_err());
        let error = row(TensorType::Q4_0, &[0.0; 33], &mut out).unwrap_err();
        assert!(error.to_string().contains("row of 33"), "{error}");
        let error = row(TensorType::Iq1Bn, &[0.0; 64], &mut out).unwrap_err();
        assert!(error.to_string().contains("does not write"), "{error}");
        let error = trits(TensorType::Tq1_0, &[2; 256], &[1.0], &mut out).unwrap_err();
        assert!(error.to_string().contains("2 in column 0"), "{error}");
        assert!(trits(TensorType::Tq1_0, &[1; 256], &[1e9], &mut out).is_err());
        assert!(trits(TensorType::Iq2Bn, &[1; 64], &[f32::NAN], &mut out).is_err());
        assert!(trits(TensorType::Iq2Bn, &[1; 96], &[1.0], &mut out).is_err());
        let mut encoder = I2sEncoder::default();
        encoder.row(&[0; 127], &mut out).unwrap();
        assert!(encoder.finish(1.0, &mut out).is_err());
    }

    #[test]
    fn exact_trits_are_exact() {
        let mut out = [9; 4];
        exact_trits(&[0.3, -0.3, 0.0, -0.0], 0.3, &mut out).unwrap();
        assert_eq!(out, [1, -1, 0, 0]);
        assert!(exact_trits(&[0.3f32.next_up(); 4], 0.3, &mut out).is_err());
    }
}
