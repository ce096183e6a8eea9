//! One BitLinear in integers: eight shapes, eight activation rows each, every intermediate result.
//!
//! `data/bitlinear_int.json` was computed with numpy and confirmed by running the BitLinear and
//! AutoBitLinear of Hugging Face transformers on the same data. Weights and activations are too
//! large to store: they come from splitmix64 and are checked by their CRC-32. The rows are chosen
//! to tell the right formula from the plausible wrong ones:
//!
//! | row | activations | what it catches |
//! |---|---|---|
//! | 0 to 2 | random | |
//! | 3 | all zero | division by zero |
//! | 4 | random * 2^-17 | a missing lower bound of the magnitude |
//! | 5 | n + 1/2 with a scale of exactly 1 | ties not rounded to even |
//! | 6 | random, 16 values next to a tie | `127 / a` or `x / (a / 127)` instead of `x * (1 / a * 127)` |
//! | 7 | +-127 with the signs of weight row 0 | sums that overflow 16 bits |

#![allow(dead_code, reason = "each test binary uses a part of this module")]

use std::collections::BTreeMap;

use serde::Deserialize;
use tern_kernels::{ScaleRule, WeightScales};

/// The content of `data/bitlinear_int.json`.
#[derive(Deserialize)]
pub struct Fixture {
    /// The weight scale of layers that multiply by it.
    pub ws_mul: f32,
    /// The weight scale of layers that divide by it.
    pub ws_div: f32,
    pub shapes: BTreeMap<String, Shape>,
    pub absmean_online: AbsMean,
}

/// One matrix and what it makes of eight rows. Fields of type `Vec` have one element for each row.
#[derive(Deserialize)]
pub struct Shape {
    pub out_features: usize,
    pub in_features: usize,
    w_seed: u64,
    x_seed0: u64,
    w_first16: Vec<i8>,
    w_sum: i64,
    w_nnz: usize,
    w_crc32: u32,
    row6_bits: Vec<u32>,
    x_crc32: Vec<u32>,
    pub absmax_bits: Vec<u32>,
    pub scale_bits: Vec<u32>,
    pub q_first16: Vec<Vec<i8>>,
    pub q_sum: Vec<i64>,
    pub q_crc32: Vec<u32>,
    acc_first16: Vec<Vec<i32>>,
    acc_sum: Vec<i64>,
    acc_min: Vec<i32>,
    acc_max: Vec<i32>,
    acc_crc32: Vec<u32>,
    ydiv_crc32: Vec<u32>,
    ymul_first16: Vec<Vec<f64>>,
    ymul_sum: Vec<f64>,
}

/// Master weights and the trits made from them.
#[derive(Deserialize)]
pub struct AbsMean {
    pub out_features: usize,
    pub in_features: usize,
    seed: u64,
    pub scale_bits: u32,
    pub weight_scale_bf16_bits: u16,
    pub ternary_first16: Vec<i8>,
    pub ternary_sum: i64,
    pub ternary_nnz: usize,
    pub ternary_crc32: u32,
}

/// Reads the fixture.
pub fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../data/bitlinear_int.json")).expect("a valid fixture")
}

/// Rows of activations for each shape.
pub const ROWS: usize = 8;

impl Shape {
    /// The trits, row by row; checked against the fixture.
    pub fn weights(&self) -> Vec<i8> {
        let count = self.out_features * self.in_features;
        let weights: Vec<i8> = splitmix64(self.w_seed)
            .take(count)
            .map(|random| match random >> 56 {
                0..107 => 0,
                107..182 => 1,
                _ => -1,
            })
            .collect();
        assert_eq!(weights[..16], self.w_first16);
        assert_eq!(sum(&weights), self.w_sum);
        assert_eq!(
            weights.iter().filter(|&&trit| trit != 0).count(),
            self.w_nnz
        );
        assert_eq!(crc32(&weights, |trit| trit.to_le_bytes()), self.w_crc32);
        weights
    }

    /// The activations of `row`, for the matrix of these `weights`; checked against the fixture.
    pub fn activations(&self, row: usize, weights: &[i8]) -> Vec<f32> {
        let random = splitmix64(self.x_seed0 + row as u64).map(random_activation);
        let mut x: Vec<f32> = random.take(self.in_features).collect();
        match row {
            3 => x.fill(0.0),
            4 => x.iter_mut().for_each(|x| *x *= 2_f32.powi(-17)),
            5 => {
                for (k, x) in x.iter_mut().enumerate() {
                    *x = (k * 37 % 253) as f32 - 125.5;
                }
                x[0] = 127.0;
            }
            6 => {
                let largest = f32::from_bits(self.row6_bits[0]);
                x.iter_mut().for_each(|x| *x = x.clamp(-largest, largest));
                for (x, &bits) in x.iter_mut().zip(&self.row6_bits) {
                    *x = f32::from_bits(bits);
                }
            }
            7 => {
                for (x, &trit) in x.iter_mut().zip(weights) {
                    *x = if trit == 0 { 1.0 } else { f32::from(trit) };
                }
            }
            _ => {}
        }
        assert_eq!(
            crc32(&x, |x| x.to_le_bytes()),
            self.x_crc32[row],
            "activations of row {row}"
        );
        x
    }

    /// Asserts that `sums` are the i32 sums of `row`, and that they and `scale` (which
    /// `quantize_row` returned) give the outputs of both kinds of layers.
    pub fn check_sums(&self, row: usize, sums: &[i32], scale: f32, fixture: &Fixture, what: &str) {
        let what = format!(
            "{what}, {} x {}, row {row}",
            self.out_features, self.in_features
        );
        assert_eq!(sums.len(), self.out_features, "{what}");
        let first = sums.len().min(16);
        assert_eq!(sums[..first], self.acc_first16[row], "{what}");
        assert_eq!(sum(sums), self.acc_sum[row], "{what}");
        assert_eq!(sums.iter().min(), Some(&self.acc_min[row]), "{what}");
        assert_eq!(sums.iter().max(), Some(&self.acc_max[row]), "{what}");
        assert_eq!(
            crc32(sums, |sum| sum.to_le_bytes()),
            self.acc_crc32[row],
            "{what}"
        );

        let divide = WeightScales::Matrix(fixture.ws_div);
        let mut divided = vec![0.0; sums.len()];
        let whole = 0..sums.len();
        divide.apply(
            ScaleRule::Divide,
            whole,
            sums,
            scale,
            &mut divided,
            |out, y| *out = y,
        );
        let divided = crc32(&divided, |y| y.to_le_bytes());
        assert_eq!(divided, self.ydiv_crc32[row], "{what}: dividing");

        // The reference computed these in f64; reading decimal numbers may cost the last bit.
        let (scale, weight_scale) = (f64::from(scale), f64::from(fixture.ws_mul));
        let multiplied: Vec<f64> = sums
            .iter()
            .map(|&sum| f64::from(sum) / scale * weight_scale)
            .collect();
        let magnitude: f64 = multiplied.iter().map(|y| y.abs()).sum();
        let is_close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * magnitude;
        let mut pairs = multiplied.iter().zip(&self.ymul_first16[row]);
        assert!(pairs.all(|(&a, &b)| is_close(a, b)), "{what}: multiplying");
        assert!(
            is_close(multiplied.iter().sum(), self.ymul_sum[row]),
            "{what}: multiplying"
        );
    }
}

impl AbsMean {
    /// The master weights: odd multiples of 1/128, exact in bf16.
    pub fn masters(&self) -> Vec<f32> {
        splitmix64(self.seed)
            .take(self.out_features * self.in_features)
            .map(|random| (2.0 * (random >> 56) as f32 - 255.0) / 128.0)
            .collect()
    }
}

/// The outputs of the splitmix64 generator that starts at `seed`.
fn splitmix64(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    })
}

/// 24 bits from the top, with a sign, times 2^-23 to 2^-30: exact in f32.
fn random_activation(random: u64) -> f32 {
    let mantissa = (random >> 40) as i32 - (1 << 23);
    mantissa as f32 * 2_f32.powi(-23 - (random & 7) as i32)
}

/// The exact sum of integers.
pub fn sum<T: Copy + Into<i64>>(values: &[T]) -> i64 {
    values.iter().map(|&value| value.into()).sum()
}

/// The CRC-32 of `values` as `bytes` (little-endian) writes them.
pub fn crc32<T, const N: usize>(values: &[T], bytes: impl Fn(&T) -> [u8; N]) -> u32 {
    crc32fast::hash(&values.iter().flat_map(bytes).collect::<Vec<u8>>())
}
