//! Root-mean-square normalisation: `x / √(mean(x²) + ε) · weight`.
//!
//! In the order of `LlamaRMSNorm`: the reciprocal root is rounded, multiplied to `x`, and only
//! then the weight is multiplied.

use multiversion::multiversion;

use super::lanes;

/// Normalises one row. All three slices have the same length.
#[multiversion(targets("x86_64+avx2"))]
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == weight.len() && x.len() == out.len());
    let scale = reciprocal_rms(x, eps);
    for ((out, &x), &weight) in out.iter_mut().zip(x).zip(weight) {
        *out = (x * scale) * weight;
    }
}

/// Normalises one row where it stands.
#[multiversion(targets("x86_64+avx2"))]
pub(crate) fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    assert_eq!(x.len(), weight.len());
    let scale = reciprocal_rms(x, eps);
    for (x, &weight) in x.iter_mut().zip(weight) {
        *x = (*x * scale) * weight;
    }
}

#[inline(always)]
fn reciprocal_rms(x: &[f32], eps: f32) -> f32 {
    let mean = lanes::sum(x, |x| x * x) / x.len() as f32;
    1.0 / (mean + eps).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_formula_in_double_precision() {
        let x: Vec<f32> = (0..321)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.03)
            .collect();
        let weight: Vec<f32> = (0..321).map(|i| 0.5 + i as f32 * 0.01).collect();
        let mean = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / 321.0;
        let mut out = vec![0.0; 321];
        rms_norm(&x, &weight, 1e-5, &mut out);
        for i in 0..321 {
            let truth = f64::from(x[i]) / (mean + 1e-5).sqrt() * f64::from(weight[i]);
            assert!(
                (f64::from(out[i]) - truth).abs() <= 3e-7 * truth.abs(),
                "{i}"
            );
        }
        let mut in_place = x;
        rms_norm_in_place(&mut in_place, &weight, 1e-5);
        assert_eq!(in_place, out);
    }

    #[test]
    fn a_row_of_zeros_stays_zero() {
        let mut out = [1.0; 4];
        rms_norm(&[0.0; 4], &[2.0; 4], 1e-6, &mut out);
        assert_eq!(out, [0.0; 4]);
    }
}
