//! What the intrinsics do that come in several widths, once for all of them.

use super::{Floats, Integers};

/// Bytes of the lane that most shuffles stay within.
const SHUFFLED: usize = 16;

pub fn splat8<const N: usize>(value: i8) -> Integers<N> {
    Integers::each(|_| value)
}

pub fn splat16<const N: usize>(value: i16) -> Integers<N> {
    Integers::each(|_| value)
}

pub fn splat32<const N: usize>(value: i32) -> Integers<N> {
    Integers::each(|_| value)
}

/// 16 bytes in every 128-bit lane.
pub fn splat128<const N: usize>(a: Integers<16>) -> Integers<N> {
    Integers::each(|i| a.u8(i % 16))
}

pub fn and<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    Integers::each(|i| a.u8(i) & b.u8(i))
}

pub fn or<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    Integers::each(|i| a.u8(i) | b.u8(i))
}

pub fn xor<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    Integers::each(|i| a.u8(i) ^ b.u8(i))
}

/// It is the first that is negated.
pub fn and_not<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    Integers::each(|i| !a.u8(i) & b.u8(i))
}

pub fn add8<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    Integers::each(|i| a.u8(i).wrapping_add(b.u8(i)))
}

pub fn add16<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    Integers::each(|i| a.u16(i).wrapping_add(b.u16(i)))
}

/// Sums that leave a signed word stay at its end.
pub fn add_saturated16<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    Integers::each(|i| a.i16(i).saturating_add(b.i16(i)))
}

pub fn add32<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    Integers::each(|i| a.u32(i).wrapping_add(b.u32(i)))
}

pub fn sub8<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    Integers::each(|i| a.u8(i).wrapping_sub(b.u8(i)))
}

pub fn sub16<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    Integers::each(|i| a.u16(i).wrapping_sub(b.u16(i)))
}

pub fn sub32<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    Integers::each(|i| a.u32(i).wrapping_sub(b.u32(i)))
}

/// Shifts by more bits than a lane has leave zeros.
pub fn shift_left16<const N: usize>(a: Integers<N>, by: u32) -> Integers<N> {
    Integers::each(|i| a.u16(i).checked_shl(by).unwrap_or(0))
}

pub fn shift_left32<const N: usize>(a: Integers<N>, by: u32) -> Integers<N> {
    Integers::each(|i| a.u32(i).checked_shl(by).unwrap_or(0))
}

pub fn shift_right16<const N: usize>(a: Integers<N>, by: u32) -> Integers<N> {
    Integers::each(|i| a.u16(i).checked_shr(by).unwrap_or(0))
}

pub fn shift_right32<const N: usize>(a: Integers<N>, by: u32) -> Integers<N> {
    Integers::each(|i| a.u32(i).checked_shr(by).unwrap_or(0))
}

pub fn shift_right64<const N: usize>(a: Integers<N>, by: u32) -> Integers<N> {
    Integers::each(|i| a.u64(i).checked_shr(by).unwrap_or(0))
}

/// Shifts by more bits than a lane has leave copies of the sign.
pub fn shift_right_signed16<const N: usize>(a: Integers<N>, by: u32) -> Integers<N> {
    Integers::each(|i| a.i16(i) >> by.min(15))
}

pub fn shift_right_signed32<const N: usize>(a: Integers<N>, by: u32) -> Integers<N> {
    Integers::each(|i| a.i32(i) >> by.min(31))
}

/// The low half of the product.
pub fn multiply16<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    Integers::each(|i| a.u16(i).wrapping_mul(b.u16(i)))
}

/// The low half of the product.
pub fn multiply32<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    Integers::each(|i| a.u32(i).wrapping_mul(b.u32(i)))
}

/// Whole products of the even 32-bit lanes.
pub fn multiply_even32<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    Integers::each(|i| u64::from(a.u32(2 * i)) * u64::from(b.u32(2 * i)))
}

/// Products of signed words, neighbours added. Only four times -32768 leaves 32 bits, and wraps.
pub fn multiply_pairs16<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    let product = |i| i32::from(a.i16(i)) * i32::from(b.i16(i));
    Integers::each(|i| product(2 * i).wrapping_add(product(2 * i + 1)))
}

/// Products of unsigned and signed bytes, neighbours added, saturated to words.
pub fn multiply_pairs8<const N: usize>(u: Integers<N>, s: Integers<N>) -> Integers<N> {
    let product = |i| i32::from(u.u8(i)) * i32::from(s.i8(i));
    let saturated = |sum: i32| sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
    Integers::each(|i| saturated(product(2 * i) + product(2 * i + 1)))
}

/// Products of unsigned and signed bytes, four neighbours added onto `sum`, which wraps.
pub fn dot<const N: usize>(sum: Integers<N>, u: Integers<N>, s: Integers<N>) -> Integers<N> {
    let product = |i| i32::from(u.u8(i)) * i32::from(s.i8(i));
    let quad = |i| product(i) + product(i + 1) + product(i + 2) + product(i + 3);
    Integers::each(|i| sum.i32(i).wrapping_add(quad(4 * i)))
}

/// Bytes of ones where the signed byte of `a` is greater.
pub fn greater8<const N: usize>(a: Integers<N>, b: Integers<N>) -> Integers<N> {
    Integers::each(|i| if a.i8(i) > b.i8(i) { 0xffu8 } else { 0 })
}

/// Bytes of `table` by the low four bits of `index`, within 128-bit lanes; zero where its highest bit is set.
pub fn shuffle8<const N: usize>(table: Integers<N>, index: Integers<N>) -> Integers<N> {
    Integers::each(|i| match index.u8(i) {
        0x80.. => 0,
        index => table.u8(i / SHUFFLED * SHUFFLED + usize::from(index & 15)),
    })
}

/// 32-bit lanes by two bits of `by` each, within 128-bit lanes.
pub fn shuffle32<const N: usize>(a: Integers<N>, by: i32) -> Integers<N> {
    Integers::each(|i| a.u32(i / 4 * 4 + (by >> (2 * (i % 4)) & 3) as usize))
}

/// Lanes of `bytes` bytes from half of each 128-bit lane, one of `a`, then one of `b`.
fn interleave<const N: usize>(
    a: Integers<N>,
    b: Integers<N>,
    bytes: usize,
    half: usize,
) -> Integers<N> {
    Integers::each(|i| {
        let (start, within) = (i / SHUFFLED * SHUFFLED, i % SHUFFLED);
        let (lane, byte) = (within / bytes, within % bytes);
        let at = start + half * SHUFFLED / 2 + lane / 2 * bytes + byte;
        if lane % 2 == 0 { a.u8(at) } else { b.u8(at) }
    })
}

pub fn low_lanes<const N: usize>(a: Integers<N>, b: Integers<N>, bytes: usize) -> Integers<N> {
    interleave(a, b, bytes, 0)
}

pub fn high_lanes<const N: usize>(a: Integers<N>, b: Integers<N>, bytes: usize) -> Integers<N> {
    interleave(a, b, bytes, 1)
}

/// 32-bit integers as the nearest `f32`.
pub fn to_floats<const N: usize>(a: Integers<N>) -> Floats<N> {
    Floats::each(|i| a.i32(i) as f32)
}

pub fn add_floats<const N: usize>(a: Floats<N>, b: Floats<N>) -> Floats<N> {
    Floats::each(|i| a.lane(i) + b.lane(i))
}

pub fn multiply_floats<const N: usize>(a: Floats<N>, b: Floats<N>) -> Floats<N> {
    Floats::each(|i| a.lane(i) * b.lane(i))
}
