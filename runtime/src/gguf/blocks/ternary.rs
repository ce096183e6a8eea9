//! Ternary types: a row's blocks to trits and scales.
//!
//! Two ideas, in several orders. Two bits a trit: four planes of neighbouring weights share bytes, each in its own two bits, and the types
//! differ in how many weights a plane has and which is in the low bits. Five trits a byte (3^5 = 243 ≤ 256): the byte is
//! `⌈256 v / 243⌉` for the number `v` in base 3, so that multiplying by 3 pushes the most significant trit out beyond the byte.

use super::{f16_at, f32_at};
use crate::gguf::types::I2sLayout;

/// Two-bit planes, first plane in the low bits.
const LOW_FIRST: [u32; 4] = [0, 2, 4, 6];
/// Two-bit planes, first plane in the high bits.
const HIGH_FIRST: [u32; 4] = [6, 4, 2, 0];
const POWERS: [u8; 5] = [1, 3, 9, 27, 81];

/// `PLANE` bytes become `4 · PLANE` trits: plane `g` lies in the bits from `shifts[g]`.
fn planes<const PLANE: usize>(bytes: &[u8], shifts: [u32; 4], out: &mut [i8]) {
    for (bytes, out) in bytes
        .as_chunks::<PLANE>()
        .0
        .iter()
        .zip(out.chunks_exact_mut(4 * PLANE))
    {
        for (out, shift) in out.chunks_exact_mut(PLANE).zip(shifts) {
            for (out, byte) in out.iter_mut().zip(bytes) {
                *out = (byte >> shift & 3) as i8 - 1;
            }
        }
    }
}

/// The trit that `power` multiplications by 3 bring to the front of a byte.
fn trit(byte: u8, power: u8) -> i8 {
    ((u16::from(byte.wrapping_mul(power)) * 3) >> 8) as i8 - 1
}

/// Every byte holds a trit of each plane, the first plane's most significant.
fn base_3(bytes: &[u8], out: &mut [i8]) {
    for (out, power) in out.chunks_exact_mut(bytes.len()).zip(POWERS) {
        for (out, &byte) in out.iter_mut().zip(bytes) {
            *out = trit(byte, power);
        }
    }
}

/// Blocks of 256: 64 bytes in two planes of 32, and an f16 scale.
pub(in crate::gguf) fn tq2_0(bytes: &[u8], out: &mut [i8], scales: &mut [f32]) {
    let blocks = bytes.chunks_exact(66).zip(out.chunks_exact_mut(256));
    for ((block, out), scale) in blocks.zip(scales) {
        planes::<32>(&block[..64], LOW_FIRST, out);
        *scale = f16_at(block, 64);
    }
}

/// Blocks of 256: 32 bytes of five trits, 16 of five, 4 of four, and an f16 scale.
pub(in crate::gguf) fn tq1_0(bytes: &[u8], out: &mut [i8], scales: &mut [f32]) {
    let blocks = bytes.chunks_exact(54).zip(out.chunks_exact_mut(256));
    for ((block, out), scale) in blocks.zip(scales) {
        base_3(&block[..32], &mut out[..160]);
        base_3(&block[32..48], &mut out[160..240]);
        base_3(&block[48..52], &mut out[240..]);
        *scale = f16_at(block, 52);
    }
}

/// Blocks of 128: 16 bytes of five trits, 8 of five, 2 of four, and an f16 scale.
pub(in crate::gguf) fn ptq1_0(bytes: &[u8], out: &mut [i8], scales: &mut [f32]) {
    let blocks = bytes.chunks_exact(28).zip(out.chunks_exact_mut(128));
    for ((block, out), scale) in blocks.zip(scales) {
        base_3(&block[..16], &mut out[..80]);
        base_3(&block[16..24], &mut out[80..120]);
        base_3(&block[24..26], &mut out[120..]);
        *scale = f16_at(block, 26);
    }
}

/// Blocks of `weights`: an f16 scale, then four neighbours a byte.
pub(in crate::gguf) fn q2_0(bytes: &[u8], weights: usize, out: &mut [i8], scales: &mut [f32]) {
    let blocks = bytes.chunks_exact(2 + weights / 4);
    for ((block, out), scale) in blocks.zip(out.chunks_exact_mut(weights)).zip(scales) {
        *scale = f16_at(block, 0);
        planes::<1>(&block[2..], LOW_FIRST, out);
    }
}

/// An f16 scale, then for every 64 weights 12 bytes of five trits and one that holds the last trit of each 16. The first trit is the least
/// significant, so the powers run the other way.
pub(in crate::gguf) fn iq1_bn(bytes: &[u8], out: &mut [i8], scales: &mut [f32]) {
    scales[0] = f16_at(bytes, 0);
    for (block, out) in bytes[2..].chunks_exact(13).zip(out.chunks_exact_mut(64)) {
        let from_first = POWERS.iter().rev();
        for ((out, bytes), &last) in out
            .chunks_exact_mut(16)
            .zip(block.chunks_exact(3))
            .zip(from_first.clone())
        {
            for (out, &byte) in out.chunks_exact_mut(5).zip(bytes) {
                for (out, &power) in out.iter_mut().zip(from_first.clone()) {
                    *out = trit(byte, power);
                }
            }
            out[15] = trit(block[12], last);
        }
    }
}

/// An f32 scale, then planes of 16.
pub(in crate::gguf) fn iq2_bn(bytes: &[u8], out: &mut [i8], scales: &mut [f32]) {
    scales[0] = f32_at(bytes, 0);
    planes::<16>(&bytes[4..], LOW_FIRST, out);
}

/// Row `row` of four: four f32 scales, then 64 bytes for every 64 columns. Of these, row `k` has bytes `16 l + 4 k + i` for l, i < 4,
/// with column `16 l + 4 t + i` in bits `2 t`.
pub(in crate::gguf) fn iq2_bn_r4(bytes: &[u8], row: usize, out: &mut [i8], scales: &mut [f32]) {
    scales[0] = f32_at(bytes, 4 * row);
    for (block, out) in bytes[16..].chunks_exact(64).zip(out.chunks_exact_mut(64)) {
        for (bytes, out) in block.chunks_exact(16).zip(out.chunks_exact_mut(16)) {
            planes::<4>(&bytes[4 * row..4 * row + 4], LOW_FIRST, out);
        }
    }
}

/// Trits from weight `first` on of a matrix in I2_S, which is a stream without rows: a block may hold the end of one and the beginning of
/// the next (bitnet_b1_58-3B has rows of 8640 = 67.5 · 128 weights).
pub(in crate::gguf) fn i2_s(bytes: &[u8], layout: I2sLayout, first: usize, out: &mut [i8]) {
    match layout {
        I2sLayout::Planes32 => stream::<32>(bytes, first, out),
        I2sLayout::Planes16 => stream::<16>(bytes, first, out),
        I2sLayout::Sequential => stream::<1>(bytes, first, out),
        I2sLayout::Rows4 => {
            let cols = out.len();
            let row = first / cols;
            let shift = HIGH_FIRST[row % 4];
            for (out, byte) in out.iter_mut().zip(&bytes[row / 4 * cols..]) {
                *out = (byte >> shift & 3) as i8 - 1;
            }
        }
    }
}

fn stream<const PLANE: usize>(bytes: &[u8], first: usize, out: &mut [i8]) {
    let block = 4 * PLANE;
    let mut decoded = [0; 128];
    let decoded = &mut decoded[..block];
    let (mut at, mut out) = (first, out);
    while !out.is_empty() {
        let (number, begin) = (at / block, at % block);
        let whole = if begin == 0 { out.len() / block } else { 0 };
        if whole > 0 {
            let (now, rest) = out.split_at_mut(whole * block);
            planes::<PLANE>(&bytes[number * PLANE..][..whole * PLANE], HIGH_FIRST, now);
            (at, out) = (at + whole * block, rest);
            continue;
        }
        planes::<PLANE>(&bytes[number * PLANE..][..PLANE], HIGH_FIRST, decoded);
        let part = &decoded[begin..];
        let (now, rest) = out.split_at_mut(part.len().min(out.len()));
        now.copy_from_slice(&part[..now.len()]);
        (at, out) = (at + now.len(), rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encoding in base 3: the ceiling of 256 v / 243.
    fn base_3_byte(number: u16) -> u8 {
        (number * 256).div_ceil(243) as u8
    }

    /// The bytes whose trits are all -1, all 0 and all 1, and the one for 1, -1, 0, 0, 1.
    #[test]
    fn golden_bytes_of_five_trits() {
        let mixed = [1, -1, 0, 0, 1];
        for (byte, expected) in [
            (0x00, [-1; 5]),
            (0x80, [0; 5]),
            (0xff, [1; 5]),
            (0xba, mixed),
        ] {
            let mut out = [9; 5];
            base_3(&[byte], &mut out);
            assert_eq!(out, expected, "{byte:#x}");
        }
        for (byte, expected) in [(0x00, [-1; 4]), (0x7f, [0; 4]), (0xfd, [1; 4])] {
            let mut out = [9; 4];
            base_3(&[byte], &mut out);
            assert_eq!(out, expected, "{byte:#x}");
        }
    }

    #[test]
    fn golden_bytes_of_iq1_bn() {
        let decode = |byte: u8, extra: u8| {
            let mut row = vec![0x00, 0x3c];
            row.extend([byte; 12]);
            row.push(extra);
            let (mut out, mut scale) = ([9; 64], [0.0]);
            iq1_bn(&row, &mut out, &mut scale);
            assert_eq!(scale, [1.0]);
            out
        };
        assert_eq!(decode(0x00, 0x00), [-1; 64]);
        assert_eq!(decode(0x80, 0x2b), [0; 64]);
        assert_eq!(decode(0xff, 0x55), [1; 64]);
        // Codes 2, 0, 1, 1, 2 with the first least significant.
        assert_eq!(decode(0xd3, 0x00)[..5], [1, -1, 0, 0, 1]);
    }

    #[test]
    fn golden_bytes_of_two_bits() {
        for (byte, expected) in [(0x00, -1), (0x55, 0), (0xaa, 1), (0xff, 2)] {
            let mut out = [9; 256];
            tq2_0(&[byte; 66], &mut out, &mut [0.0]);
            assert_eq!(out, [expected; 256]);
            iq2_bn(&[byte; 68], &mut out, &mut [0.0]);
            assert_eq!(out, [expected; 256]);
            iq2_bn_r4(&[byte; 272], 3, &mut out, &mut [0.0]);
            assert_eq!(out, [expected; 256]);
            q2_0(&[byte; 68], 128, &mut out, &mut [0.0; 2]);
            assert_eq!(out, [expected; 256]);
            q2_0(&[byte; 72], 64, &mut out, &mut [0.0; 4]);
            assert_eq!(out, [expected; 256]);
            for layout in I2sLayout::ALL {
                i2_s(&[byte; 256], layout, 0, &mut out);
                assert_eq!(out, [expected; 256]);
            }
        }
    }

    /// The order of planes is what one gets wrong unnoticed.
    #[test]
    fn planes_begin_in_high_bits_for_i2_s_and_in_low_ones_elsewhere() {
        // Codes 0, 1, 2, 1 from the low bits up.
        let byte = 0b01_10_01_00;
        let mut out = [9; 128];
        i2_s(&[byte; 32], I2sLayout::Planes32, 0, &mut out);
        assert_eq!([out[0], out[32], out[64], out[96]], [0, 1, 0, -1]);
        let mut out = [9; 256];
        tq2_0(&[byte; 66], &mut out, &mut [0.0]);
        assert_eq!([out[0], out[32], out[64], out[96]], [-1, 0, 1, 0]);
        q2_0(&[byte; 34], 128, &mut out, &mut [0.0]);
        assert_eq!(out[..4], [-1, 0, 1, 0]);
    }

    #[test]
    fn every_number_in_base_3_comes_back() {
        for number in 0..243u16 {
            let byte = base_3_byte(number);
            for (place, power) in POWERS.into_iter().enumerate() {
                let digit = number / 3u16.pow(4 - place as u32) % 3;
                assert_eq!(trit(byte, power), digit as i8 - 1, "{number}");
            }
        }
        // No byte, however damaged, decodes to anything but trits.
        for byte in 0..=u8::MAX {
            for power in POWERS {
                assert!((-1..=1).contains(&trit(byte, power)));
            }
        }
    }

    #[test]
    fn rows_of_i2_s_may_begin_within_a_block() {
        let bytes: Vec<u8> = (0..96u8)
            .map(|i| i.wrapping_mul(37) & 0b0101_0101)
            .collect();
        for layout in [
            I2sLayout::Planes32,
            I2sLayout::Planes16,
            I2sLayout::Sequential,
        ] {
            let mut all = [9; 384];
            i2_s(&bytes, layout, 0, &mut all);
            for (first, len) in [(1, 383), (64, 192), (100, 3), (127, 2), (130, 254)] {
                let mut part = vec![9; len];
                i2_s(&bytes, layout, first, &mut part);
                assert_eq!(part, all[first..first + len], "{layout}");
            }
        }
    }
}
