//! Rotary position embedding in the half-rotate layout: element `i` turns with `i + head_dim / 2`.
//!
//! (Su et al., arXiv:2104.09864; the layout is that of GPT-NeoX and of Hugging Face's Llama.)
//! Angles are `f32` products as in `LlamaRotaryEmbedding`; sine and cosine are taken in `f64` by
//! `libm` and rounded once, so they are the correctly rounded ones in nearly all cases.

use std::f64::consts::PI;

use crate::config::RopeScaling;

/// The rotation frequencies of a model.
pub(crate) struct Rope {
    /// `head_dim / 2` of them: `theta^(−2i / head_dim)`, scaled.
    frequencies: Vec<f32>,
    /// Multiplies cosines and sines.
    factor: f32,
}

impl Rope {
    /// Frequencies for heads of `head_dim` (even), in the `f32` operations of `transformers`' `modeling_rope_utils.py`.
    pub fn new(head_dim: usize, theta: f32, scaling: &RopeScaling) -> Rope {
        let exponent = |i: usize| (2 * i) as f32 / head_dim as f32;
        let power = |i| libm::pow(f64::from(theta), f64::from(exponent(i))) as f32;
        let powers = (0..head_dim / 2).map(power);
        let mut factor = 1.0;
        let frequencies = match *scaling {
            RopeScaling::None => powers.map(|power| 1.0 / power).collect(),
            RopeScaling::Linear { factor } => powers.map(|power| 1.0 / power / factor).collect(),
            RopeScaling::Factors { ref factors } => {
                let each = powers.zip(factors);
                each.map(|(power, factor)| 1.0 / power / factor).collect()
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                let band = (low_freq_factor, high_freq_factor);
                let scaled = |power| llama3(1.0 / power, factor, band, original_context);
                powers.map(scaled).collect()
            }
            RopeScaling::Yarn {
                factor: divisor,
                beta_fast,
                beta_slow,
                attention_factor,
                original_context,
                truncate,
            } => {
                factor = attention_factor;
                let end = |turns| correction(turns, head_dim, theta, original_context);
                let (mut low, mut high) = (end(beta_fast), end(beta_slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, high) = (low.max(0.0), high.min((head_dim - 1) as f64));
                let ramp = |i| ramp(i, low, high);
                let scaled = powers.enumerate().map(|(i, power)| {
                    let kept = 1.0 - ramp(i);
                    1.0 / (divisor * power) * (1.0 - kept) + 1.0 / power * kept
                });
                scaled.collect()
            }
        };
        Rope {
            frequencies,
            factor,
        }
    }

    /// What each frequency is divided by under a scaling, `head_dim / 2` numbers: llama.cpp's form of it.
    pub fn factors(head_dim: usize, theta: f32, scaling: &RopeScaling) -> Vec<f32> {
        if let RopeScaling::Factors { factors } = scaling {
            return factors.clone();
        }
        let plain = Rope::new(head_dim, theta, &RopeScaling::None).frequencies;
        let scaled = Rope::new(head_dim, theta, scaling).frequencies;
        let each = plain.iter().zip(scaled);
        each.map(|(plain, scaled)| plain / scaled).collect()
    }

    /// Appends the `head_dim / 2` pairs (cosine, sine) of a position.
    pub fn push_turns(&self, position: usize, turns: &mut Vec<(f32, f32)>) {
        turns.extend(self.frequencies.iter().map(|frequency| {
            let angle = f64::from(position as f32 * frequency);
            let (cos, sin) = (libm::cos(angle) as f32, libm::sin(angle) as f32);
            (cos * self.factor, sin * self.factor)
        }));
    }
}

/// A frequency of Llama 3.1: as it is, divided, or between, by its wavelength.
fn llama3(frequency: f32, factor: f32, (low, high): (f32, f32), original_context: usize) -> f32 {
    let context = original_context as f64;
    let wavelength = (2.0 * PI) as f32 / frequency;
    let longest = (context / f64::from(low)) as f32;
    let shortest = (context / f64::from(high)) as f32;
    if wavelength > longest {
        frequency / factor
    } else if wavelength < shortest {
        frequency
    } else {
        let smooth = (context as f32 / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

/// The dimension that makes `turns` turns within the first context.
fn correction(turns: f32, head_dim: usize, theta: f32, original_context: usize) -> f64 {
    let wavelength = original_context as f64 / (f64::from(turns) * 2.0 * PI);
    head_dim as f64 * libm::log(wavelength) / (2.0 * libm::log(f64::from(theta)))
}

/// How far dimension `i` is from `low` to `high`, from 0 to 1.
fn ramp(i: usize, low: f64, high: f64) -> f32 {
    let high = if low == high { high + 0.001 } else { high };
    let position = (i as f32 - low as f32) / (high - low) as f32;
    position.clamp(0.0, 1.0)
}

/// Turns every head of a row by one position's turns; `heads.len()` is a multiple of
/// `2 · turns.len()`.
pub(crate) fn rotate(heads: &mut [f32], turns: &[(f32, f32)]) {
    for head in heads.chunks_exact_mut(2 * turns.len()) {
        let (low, high) = head.split_at_mut(turns.len());
        for ((a, b), &(cos, sin)) in low.iter_mut().zip(high).zip(turns) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(position: usize) -> Vec<(f32, f32)> {
        let mut turns = Vec::new();
        Rope::new(8, 10_000.0, &RopeScaling::None).push_turns(position, &mut turns);
        turns
    }

    /// The divisors that GGUF files have for Llama 3.1 are those of its formula.
    #[test]
    fn factors_divide_as_llama3_does() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192,
        };
        let plain = Rope::new(128, 500_000.0, &RopeScaling::None).frequencies;
        let scaled = Rope::new(128, 500_000.0, &scaling).frequencies;
        let factors: Vec<f32> = plain.iter().zip(&scaled).map(|(p, s)| p / s).collect();
        assert_eq!((factors[0], factors[63]), (1.0, 8.0));
        assert!(factors.iter().any(|&f| f > 1.1 && f < 7.9));
        let again = Rope::new(128, 500_000.0, &RopeScaling::Factors { factors }).frequencies;
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 2e-7 * b;
        assert!(again.iter().zip(&scaled).all(close));
    }

    #[test]
    fn position_zero_changes_nothing() {
        let mut x: Vec<f32> = (0..16).map(|i| i as f32).collect();
        rotate(&mut x, &turns(0));
        assert!(x.iter().enumerate().all(|(i, &x)| x == i as f32));
    }

    /// Two heads of 8: pairs are (0, 4), (1, 5), … of each head, and lengths are kept.
    #[test]
    fn turns_halves_against_each_other() {
        let mut x = vec![0.0; 16];
        x[8 + 1] = 1.0;
        rotate(&mut x, &turns(3));
        let angle = 3.0 * 10_000f64.powf(-0.25);
        assert!((f64::from(x[8 + 1]) - angle.cos()).abs() < 1e-7);
        assert!((f64::from(x[8 + 5]) - angle.sin()).abs() < 1e-7);
        assert_eq!(x.iter().filter(|&&x| x != 0.0).count(), 2);
    }
}
