//! What the bytes of a block mean: one function a type, from a row's bytes to numbers or trits.
//!
//! Everything here takes slices whose lengths the caller has checked, and any bytes at all: a damaged file gives wrong numbers, never a
//! panic. Decoders of ternary types write `code − 1`, so the code 3, which is no trit, comes out as 2.

pub(super) mod dense;
pub(super) mod ternary;

use crate::ops::half;

/// The little-endian binary16 at `at`.
fn f16_at(bytes: &[u8], at: usize) -> f32 {
    half::widen(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// The little-endian `f32` at `at`.
fn f32_at(bytes: &[u8], at: usize) -> f32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    f32::from_le_bytes(four)
}
