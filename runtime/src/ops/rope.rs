//! Rotary position embedding in the half-rotate layout: element `i` turns with `i + head_dim / 2`.
//!
//! (Su et al., arXiv:2104.09864; the layout is that of GPT-NeoX and of Hugging Face's Llama.)
//! Angles are `f32` products as in `LlamaRotaryEmbedding`; sine and cosine are taken in `f64` by
//! `libm` and rounded once, so they are the correctly rounded ones in nearly all cases.

/// The rotation frequencies of a model.
pub(crate) struct Rope {
    /// `theta^(−2i / head_dim)`, `head_dim / 2` of them.
    frequencies: Vec<f32>,
}

impl Rope {
    /// Frequencies for heads of `head_dim` (even).
    pub fn new(head_dim: usize, theta: f32) -> Rope {
        let exponent = |i: usize| (2 * i) as f32 / head_dim as f32;
        let power = |i| libm::pow(f64::from(theta), f64::from(exponent(i))) as f32;
        Rope {
            frequencies: (0..head_dim / 2).map(|i| 1.0 / power(i)).collect(),
        }
    }

    /// Appends the `head_dim / 2` pairs (cosine, sine) of a position.
    pub fn push_turns(&self, position: usize, turns: &mut Vec<(f32, f32)>) {
        turns.extend(self.frequencies.iter().map(|frequency| {
            let angle = f64::from(position as f32 * frequency);
            (libm::cos(angle) as f32, libm::sin(angle) as f32)
        }));
    }
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
        Rope::new(8, 10_000.0).push_turns(position, &mut turns);
        turns
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
