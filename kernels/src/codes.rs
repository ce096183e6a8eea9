//! Trits to bits and back, one panel step at a time: the meaning of every [`Code`].
//!
//! The generated kernels and tables assume exactly what stands here; the tests hold both against the reference.

use std::ops::Range;

use crate::packing::{Code, Packing};

/// Balanced ternary number of a group, lowest digit first: `sum of trit[i] * 3^i`.
fn balanced(trits: &[i8]) -> i32 {
    trits.iter().rev().fold(0, |n, &t| n * 3 + i32::from(t))
}

/// The trits of a balanced ternary number, lowest digit first.
fn digits(mut n: i32, trits: &mut [i8]) {
    for t in trits {
        // The digit is n mod 3, moved to -1..=1; what is left is divisible by 3.
        let digit = (n + 1).rem_euclid(3) - 1;
        *t = digit as i8;
        n = (n - digit) / 3;
    }
}

/// The 6-bit code of three trits and a bit: `27 * bit + 9 (t0 + 1) + 3 (t1 + 1) + (t2 + 1)`.
fn half_code(trits: [i8; 3], bit: u8) -> u8 {
    let [a, b, c] = trits.map(|t| (t + 1) as u8);
    27 * bit + 9 * a + 3 * b + c
}

/// The three trits and the bit of a [`half_code`].
fn half_trits(code: u8) -> ([i8; 3], u8) {
    let (bit, n) = (code / 27, (code % 27) as i8);
    ([n / 9 - 1, n / 3 % 3 - 1, n % 3 - 1], bit)
}

/// The codes of the two words of a step of [`Code::D3`], from the lowest bits up.
const D3_WORDS: [[usize; 6]; 2] = [[0, 1, 2, 3, 8, 9], [10, 11, 4, 5, 6, 7]];

/// The columns of the three trits of code `code` of a step of [`Code::D3`].
fn d3_columns(code: usize) -> [usize; 3] {
    [0, 4, 8].map(|plane| 12 * (code / 4) + plane + code % 4)
}

/// The byte of five trits that two views of seven bits decode: see [`Code::D5`].
fn viewed_code(trits: [i8; 5]) -> u8 {
    let [a, b, middle, c, d] = trits.map(|t| (t + 1) as u8);
    let (x, y) = (3 * a + b, 3 * d + c);
    // Bits of the pair behind and of the pair ahead, where they stand `1 + behind + 2 * ahead` places apart.
    let bits = |places: u8| ((places - 1) % 2, (places - 1) / 2);
    let (k, case, x_bit, y_bit) = match (y + 9 - x) % 9 {
        0 => (x, 0, middle % 2, middle / 2),
        places @ 1..=4 => {
            let (behind, ahead) = bits(places);
            ((x + behind) % 9, 1 + 2 * middle, behind, ahead)
        }
        places => {
            let (behind, ahead) = bits(9 - places);
            ((y + behind) % 9, 2 + 2 * middle, ahead, behind)
        }
    };
    y_bit << 7 | (7 * k + case) << 1 | x_bit
}

/// The five trits of a [`viewed_code`].
fn viewed_trits(code: u8) -> [i8; 5] {
    let (x_bit, shared, y_bit) = (code & 1, code >> 1 & 63, code >> 7);
    let (k, case) = (shared / 7, shared % 7);
    let (behind, ahead) = (|bit: u8| (k + 8 * bit) % 9, |bit: u8| (k + 1 + 2 * bit) % 9);
    let (x, y, middle) = match case {
        0 => (k, k, x_bit + 2 * y_bit),
        1 | 3 | 5 => (behind(x_bit), ahead(y_bit), (case - 1) / 2),
        _ => (ahead(x_bit), behind(y_bit), (case - 1) / 2),
    };
    [x / 3, x % 3, middle, y % 3, y / 3].map(|u| u as i8 - 1)
}

/// The byte of five trits as a number of mixed digits: see [`Code::M5`].
fn mixed_code(trits: [i8; 5]) -> u8 {
    let [a, b, c, d, e] = trits;
    28 * half_code([-1, a, b], 0) + half_code([c, d, e], 0)
}

/// The five trits of a [`mixed_code`].
fn mixed_trits(code: u8) -> [i8; 5] {
    let ([_, a, b], [c, d, e]) = (half_trits(code / 28).0, half_trits(code % 28).0);
    [a, b, c, d, e]
}

/// What a trit of each of the five rows is worth in a byte of [`Code::R5`]: the places of [`mixed_code`].
const ROW_WORTH: [u8; 5] = [84, 28, 9, 3, 1];

/// `u = t + 1` of row `place` of the five in a byte of [`Code::R5`]; 3 where the byte is no code.
fn shared_digit(byte: u8, place: usize) -> u8 {
    // The last three trits are less than the 28 that the second one is worth, and 27 is no number of theirs.
    let within = match place {
        0 => byte,
        1 => byte % 84,
        _ => (2..place).fold(byte % 28, |rest, before| rest % ROW_WORTH[before]),
    };
    within / ROW_WORTH[place]
}

/// Stores the step of one row. `trits.len()` is the code's `step_cols`; `put(i, byte)` sets byte `i` of the row's step.
fn encode_row(code: Code, trits: &[i8], mut put: impl FnMut(usize, u8)) {
    match code {
        Code::Trits => put(0, trits[0] as u8),
        Code::B2 => {
            for j in 0..4 {
                let planes = (0..4).map(|p| ((trits[4 * p + j] + 1) as u8) << (2 * p));
                put(j, planes.sum());
            }
        }
        Code::D3 => {
            for (index, codes) in D3_WORDS.iter().enumerate() {
                let word = codes.iter().rev().fold(0, |word, &code| {
                    word << 5 | u32::from(half_code(d3_columns(code).map(|col| trits[col]), 0))
                });
                for (i, byte) in word.to_le_bytes().into_iter().enumerate() {
                    put(4 * index + i, byte);
                }
            }
        }
        Code::D5 | Code::M5 => {
            let byte = if code == Code::D5 {
                viewed_code
            } else {
                mixed_code
            };
            for j in 0..4 {
                put(j, byte([0, 4, 8, 12, 16].map(|column| trits[column + j])));
            }
        }
        Code::R5 => unreachable!("its rows share bytes: see `encode`"),
        Code::Planes => {
            let bits = |sign: i8| {
                trits
                    .iter()
                    .fold(0u8, |byte, &t| byte << 1 | u8::from(t == sign))
            };
            put(0, bits(1));
            put(1, bits(-1));
        }
        Code::T2 => {
            let code = |t: &[i8]| (3 * (t[0] + 1) + t[1] + 1) as u8;
            put(0, code(&trits[..2]) | code(&trits[2..]) << 4);
        }
        Code::T3 | Code::P3 => {
            let mut signs = 0;
            let mut magnitudes = [0u8; 8];
            for (group, trits) in trits.chunks_exact(3).enumerate() {
                let n = balanced(trits);
                magnitudes[group] = n.unsigned_abs() as u8;
                signs = signs << 1 | u8::from(n < 0);
            }
            for (i, pair) in magnitudes.chunks_exact(2).enumerate() {
                put(i, pair[0] | pair[1] << 4);
            }
            put(4, signs);
        }
        Code::F3 => {
            let mut fifths = 0;
            for (i, pair) in trits.chunks_exact(6).enumerate() {
                let [low, high] =
                    [0, 3].map(|at| half_code([pair[at], pair[at + 1], pair[at + 2]], 0));
                put(i, low & 15 | high << 4);
                fifths |= (low >> 4 | high & 16) << i;
            }
            put(4, fifths);
        }
        Code::T5 => {
            let n = balanced(trits);
            put(0, n.unsigned_abs() as u8 | u8::from(n < 0) << 7);
        }
        Code::T7 => {
            for (half, trits) in trits.chunks_exact(14).enumerate() {
                let mut codes = [0u8; 4];
                for (pair, t) in trits.chunks_exact(7).enumerate() {
                    codes[2 * pair] = half_code([t[0], t[1], t[2]], u8::from(t[3] > 0));
                    codes[2 * pair + 1] = half_code([t[4], t[5], t[6]], u8::from(t[3] < 0));
                }
                // The fourth code rides in the two high bits of the other three.
                for i in 0..3 {
                    put(3 * half + i, codes[i] | (codes[3] >> (2 * i) & 3) << 6);
                }
            }
        }
        Code::W3 => {
            let codes = trits.chunks_exact(3).rev();
            let word = codes.fold(0, |word, t| {
                word << 5 | u16::from(half_code([t[0], t[1], t[2]], 0))
            });
            for (i, byte) in word.to_le_bytes().into_iter().enumerate() {
                put(i, byte);
            }
        }
        Code::S4 => {
            let nibble = |sign: i8| {
                let columns = trits.iter().rev();
                columns.fold(0u8, |bits, &t| bits << 1 | u8::from(t == sign))
            };
            put(0, nibble(1) | nibble(-1) << 4);
        }
    }
}

/// Restores the step of one row; `get(i)` is byte `i` of the row's step.
fn decode_row(code: Code, trits: &mut [i8], get: impl Fn(usize) -> u8) {
    match code {
        Code::Trits => trits[0] = get(0) as i8,
        Code::B2 => {
            for (col, t) in trits.iter_mut().enumerate() {
                *t = (get(col % 4) >> (2 * (col / 4)) & 3) as i8 - 1;
            }
        }
        Code::D3 => {
            for (index, codes) in D3_WORDS.iter().enumerate() {
                let word = u32::from_le_bytes([0, 1, 2, 3].map(|i| get(4 * index + i)));
                for (place, &code) in codes.iter().enumerate() {
                    let (three, _) = half_trits((word >> (5 * place) & 31) as u8);
                    for (col, t) in d3_columns(code).into_iter().zip(three) {
                        trits[col] = t;
                    }
                }
            }
        }
        Code::D5 | Code::M5 => {
            let five = if code == Code::D5 {
                viewed_trits
            } else {
                mixed_trits
            };
            for j in 0..4 {
                for (group, t) in five(get(j)).into_iter().enumerate() {
                    trits[4 * group + j] = t;
                }
            }
        }
        Code::R5 => unreachable!("its rows share bytes: see `decode`"),
        Code::Planes => {
            for (col, t) in trits.iter_mut().enumerate() {
                let bit = |byte: u8| (byte >> (7 - col) & 1) as i8;
                *t = bit(get(0)) - bit(get(1));
            }
        }
        Code::T2 => {
            for (group, t) in trits.chunks_exact_mut(2).enumerate() {
                let n = (get(0) >> (4 * group) & 15) as i8;
                t.copy_from_slice(&[n / 3 - 1, n % 3 - 1]);
            }
        }
        Code::T3 | Code::P3 => {
            for (group, trits) in trits.chunks_exact_mut(3).enumerate() {
                let n = i32::from(get(group / 2) >> (4 * (group % 2)) & 15);
                let negative = get(4) >> (7 - group) & 1 == 1;
                digits(if negative { -n } else { n }, trits);
            }
        }
        Code::F3 => {
            for (i, pair) in trits.chunks_exact_mut(6).enumerate() {
                let fifths = get(4) >> i;
                let codes = [get(i) & 15 | (fifths & 1) << 4, get(i) >> 4 | fifths & 16];
                for (code, t) in codes.into_iter().zip(pair.chunks_exact_mut(3)) {
                    t.copy_from_slice(&half_trits(code).0);
                }
            }
        }
        Code::T5 => {
            let byte = get(0);
            let n = i32::from(byte & 0x7f);
            digits(if byte & 0x80 != 0 { -n } else { n }, trits);
        }
        Code::T7 => {
            for (half, trits) in trits.chunks_exact_mut(14).enumerate() {
                let mut codes = [0u8; 4];
                for i in 0..3 {
                    let byte = get(3 * half + i);
                    codes[i] = byte & 63;
                    codes[3] |= byte >> 6 << (2 * i);
                }
                for (pair, t) in trits.chunks_exact_mut(7).enumerate() {
                    let (low, plus) = half_trits(codes[2 * pair]);
                    let (high, minus) = half_trits(codes[2 * pair + 1]);
                    t[..3].copy_from_slice(&low);
                    t[3] = plus as i8 - minus as i8;
                    t[4..].copy_from_slice(&high);
                }
            }
        }
        Code::W3 => {
            let word = u16::from_le_bytes([get(0), get(1)]);
            for (group, t) in trits.chunks_exact_mut(3).enumerate() {
                let (three, _) = half_trits((word >> (5 * group) & 31) as u8);
                t.copy_from_slice(&three);
            }
        }
        Code::S4 => {
            let bit = |place: usize| (get(0) >> place & 1) as i8;
            for (col, t) in trits.iter_mut().enumerate() {
                *t = bit(col) - bit(col + 4);
            }
        }
    }
}

/// Byte of the panel step that holds byte `i` of lane `lane`.
///
/// [`Code::B2`], [`Code::D5`] and [`Code::M5`] keep the bytes of a row together, since a dot-product instruction adds neighbours, and so does
/// [`Code::W3`], whose two bytes are one word, and each half of [`Code::D3`]; the others keep the bytes of all rows together, one vector after another.
fn position(packing: &Packing, lane: usize, i: usize) -> usize {
    match packing.code {
        Code::D3 => (i / 4 * packing.lanes + lane) * 4 + i % 4,
        Code::B2 | Code::D5 | Code::M5 | Code::W3 => lane * packing.code.step_bytes() + i,
        _ => i * packing.lanes + lane,
    }
}

/// Where a row's trits are in a panel step of [`Code::R5`]: its bytes, and its place among the five rows that share them.
fn shared_bytes(packing: &Packing, row: usize) -> (Range<usize>, usize) {
    let apart = packing.lanes / packing.code.rows_in_byte();
    let first = row % apart * packing.code.step_bytes();
    (first..first + packing.code.step_bytes(), row / apart)
}

/// Stores one step of one row of a panel into `step` (the panel's `panel_step_bytes` bytes), and changes no other row. What was there
/// before is a step of the packing, or zero bytes.
pub(crate) fn encode(packing: &Packing, row: usize, trits: &[i8], step: &mut [u8]) {
    if packing.code == Code::R5 {
        let (bytes, place) = shared_bytes(packing, row);
        for (byte, &t) in step[bytes].iter_mut().zip(trits) {
            let others = *byte - ROW_WORTH[place] * shared_digit(*byte, place);
            *byte = others + ROW_WORTH[place] * (t + 1) as u8;
        }
        return;
    }
    let lane = packing.lane_of(row);
    encode_row(packing.code, trits, |i, byte| {
        step[position(packing, lane, i)] = byte
    });
}

/// Restores one step of one row of a panel from `step`.
pub(crate) fn decode(packing: &Packing, row: usize, trits: &mut [i8], step: &[u8]) {
    if packing.code == Code::R5 {
        let (bytes, place) = shared_bytes(packing, row);
        for (t, &byte) in trits.iter_mut().zip(&step[bytes]) {
            *t = shared_digit(byte, place) as i8 - 1;
        }
        return;
    }
    let lane = packing.lane_of(row);
    decode_row(packing.code, trits, |i| step[position(packing, lane, i)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_of_trits_survives() {
        for code in Code::ALL {
            let cols = code.step_cols();
            let packing = Packing {
                code,
                lanes: if code == Code::Trits {
                    1
                } else {
                    8 * code.rows_in_byte()
                },
                panels: 1,
                block: 1,
                group: 0,
            };
            let mut step = vec![0; packing.panel_step_bytes()];
            // 3^7 covers all values of every group; the offsets move it through the step.
            for value in 0..2187 {
                for offset in 0..cols {
                    let mut trits = vec![0i8; cols];
                    let mut rest = value;
                    for i in 0..cols.min(7) {
                        trits[(offset + i) % cols] = (rest % 3) as i8 - 1;
                        rest /= 3;
                    }
                    let row = value as usize % packing.lanes;
                    encode(&packing, row, &trits, &mut step);
                    let mut back = vec![9; cols];
                    decode(&packing, row, &mut back, &step);
                    assert_eq!(trits, back, "{}", code.name());
                }
            }
        }
    }

    #[test]
    fn rows_that_share_bytes_keep_theirs() {
        let packing: Packing = "r5_l40_p1_k1".parse().unwrap();
        let trits = |row: usize| [0, 1, 2, 3].map(|col| ((row * 7 + col * col) % 3) as i8 - 1);
        let mut step = vec![0; packing.panel_step_bytes()];
        // Twice, in another order: what was there before does not matter.
        for row in (0..40).chain((0..40).rev()) {
            encode(&packing, (row * 11) % 40, &trits(row + 5), &mut step);
        }
        for row in 0..40 {
            encode(&packing, row, &trits(row), &mut step);
        }
        for row in 0..40 {
            let mut back = [9; 4];
            decode(&packing, row, &mut back, &step);
            assert_eq!(back, trits(row), "row {row}");
            // The byte is the mixed number of the five rows.
            let five = [0, 8, 16, 24, 32].map(|place| trits(row % 8 + place)[1]);
            assert_eq!(step[row % 8 * 4 + 1], mixed_code(five));
        }
        // Bytes that are no codes are seen by one of the rows.
        for byte in 0..=u8::MAX {
            let digits = [0, 1, 2, 3, 4].map(|place| shared_digit(byte, place));
            let is_code = digits.iter().all(|&u| u < 3);
            let codes = (0..243).map(|n| {
                let mut trits = [0; 5];
                super::digits(n - 121, &mut trits);
                mixed_code(trits)
            });
            assert_eq!(
                is_code,
                codes.into_iter().any(|code| code == byte),
                "{byte}"
            );
        }
    }

    #[test]
    fn the_upper_six_bits_of_a_mixed_number_tell_two_trits() {
        let mut pairs = [None; 64];
        for n in 0..243 {
            let mut trits = [0; 5];
            digits(n - 121, &mut trits);
            let code = mixed_code(trits);
            assert_eq!(mixed_trits(code), trits);
            let pair = (trits[0], trits[1]);
            assert_eq!(*pairs[usize::from(code >> 2)].get_or_insert(pair), pair);
        }
    }

    #[test]
    fn seven_bits_on_either_side_tell_two_trits_and_a_part_of_the_third() {
        let mut first = [None; 128];
        let mut last = [None; 128];
        let mut seen = [false; 256];
        for n in 0..243 {
            let mut trits = [0; 5];
            digits(n - 121, &mut trits);
            let code = viewed_code(trits);
            assert_eq!(viewed_trits(code), trits);
            assert!(!std::mem::replace(&mut seen[usize::from(code)], true));
            let [a, b, middle, c, d] = trits;
            let views = [
                (&mut first[usize::from(code & 127)], (a, b, middle == 0)),
                (&mut last[usize::from(code >> 1)], (c, d, middle == 1)),
            ];
            for (told, tells) in views {
                assert_eq!(*told.get_or_insert(tells), tells, "{trits:?}");
            }
        }
    }
}
