//! The feed-forward gate: `gate = f(gate) · up`.

use multiversion::multiversion;

use super::exp::exp;
use crate::config::Activation;

/// Replaces each gate value by its activation times the matching `up` value.
#[multiversion(targets("x86_64+avx2"))]
pub(crate) fn gate(activation: Activation, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len());
    match activation {
        Activation::Relu2 => zip(gate, up, relu2),
        Activation::Silu => zip(gate, up, silu),
    }
}

#[inline(always)]
fn zip(gate: &mut [f32], up: &[f32], f: impl Fn(f32) -> f32) {
    for (gate, &up) in gate.iter_mut().zip(up) {
        *gate = f(*gate) * up;
    }
}

/// `max(x, 0)²`.
#[inline(always)]
fn relu2(x: f32) -> f32 {
    // A selection, not `max`: a NaN must stay visible.
    let positive = if x < 0.0 { 0.0 } else { x };
    positive * positive
}

/// `x / (1 + e⁻ˣ)`.
#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relu2_squares_what_is_positive() {
        let mut x = [-2.0, 0.0, 3.0];
        gate(Activation::Relu2, &mut x, &[5.0, 5.0, -2.0]);
        assert_eq!(x, [0.0, 0.0, -18.0]);
        assert!(relu2(f32::NAN).is_nan());
    }

    #[test]
    fn silu_matches_double_precision() {
        for i in -4000..4000 {
            let x = i as f32 * 0.02;
            let truth = f64::from(x) / (1.0 + libm::exp(-f64::from(x)));
            assert!(
                (f64::from(silu(x)) - truth).abs() <= 4e-7 * truth.abs() + 1e-37,
                "{x}"
            );
        }
        assert!(silu(-1e30).abs() < 1e-7 && silu(1e30) == 1e30);
    }
}
