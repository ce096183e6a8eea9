//! Dense types: a row's blocks to `f32`, with the operations of llama.cpp's reference in their order, so that the bits are the same.

use super::f16_at;

/// Blocks of 32: an f16 scale and 32 signed bytes.
pub(in crate::gguf) fn q8_0(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(34).zip(out.chunks_exact_mut(32)) {
        let d = f16_at(block, 0);
        for (out, &q) in out.iter_mut().zip(&block[2..]) {
            *out = f32::from(q as i8) * d;
        }
    }
}

/// Blocks of 32: an f16 scale, then 16 bytes whose low nibbles are the first half and whose high ones the second, each minus 8.
pub(in crate::gguf) fn q4_0(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(18).zip(out.chunks_exact_mut(32)) {
        let d = f16_at(block, 0);
        let (low, high) = out.split_at_mut(16);
        for ((low, high), &q) in low.iter_mut().zip(high).zip(&block[2..]) {
            *low = f32::from((q & 15) as i8 - 8) * d;
            *high = f32::from((q >> 4) as i8 - 8) * d;
        }
    }
}

/// Scale and minimum `index` of the eight pairs of six bits in a block of Q4_K: the first four of each lie in the low bits of bytes 0 to 3
/// and 4 to 7, the other four in the nibbles of bytes 8 to 11, with their two high bits above those of the first four.
pub(in crate::gguf) fn q4_k_pair(scales: &[u8], index: usize) -> (u8, u8) {
    if index < 4 {
        return (scales[index] & 63, scales[index + 4] & 63);
    }
    let both = scales[index + 4];
    (
        both & 15 | scales[index - 4] >> 6 << 4,
        both >> 4 | scales[index] >> 6 << 4,
    )
}

/// Blocks of 256: two f16 factors, 12 bytes of scales and minima, then 32 bytes for every 64 weights, low nibbles first.
pub(in crate::gguf) fn q4_k(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(144).zip(out.chunks_exact_mut(256)) {
        let (d, d_min) = (f16_at(block, 0), f16_at(block, 2));
        let (scales, codes) = block[4..].split_at(12);
        for (part, out) in out.chunks_exact_mut(32).enumerate() {
            let (scale, min) = q4_k_pair(scales, part);
            let (scale, min) = (d * f32::from(scale), d_min * f32::from(min));
            let shift = 4 * (part % 2);
            for (out, &code) in out.iter_mut().zip(&codes[part / 2 * 32..]) {
                *out = scale * f32::from(code >> shift & 15) - min;
            }
        }
    }
}

/// Blocks of 256: 128 bytes of low nibbles, 64 bytes of two high bits, 16 signed scales, an f16 factor. In each half of a block, weight
/// `32 k + l` has its nibble in byte `32 (k mod 2) + l`, low for k < 2, and its high bits in byte `l` from bit `2 k`; minus 32.
pub(in crate::gguf) fn q6_k(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in bytes.chunks_exact(210).zip(out.chunks_exact_mut(256)) {
        let d = f16_at(block, 208);
        for (half, out) in out.chunks_exact_mut(128).enumerate() {
            let low = &block[64 * half..][..64];
            let high = &block[128 + 32 * half..][..32];
            let scales = &block[192 + 8 * half..][..8];
            for (k, out) in out.chunks_exact_mut(32).enumerate() {
                let nibbles = &low[k % 2 * 32..][..32];
                for (l, out) in out.iter_mut().enumerate() {
                    let nibble = nibbles[l] >> (4 * (k / 2)) & 15;
                    let code = (nibble | (high[l] >> (2 * k) & 3) << 4) as i8 - 32;
                    let scale = f32::from(scales[2 * k + l / 16] as i8);
                    *out = d * scale * f32::from(code);
                }
            }
        }
    }
}
