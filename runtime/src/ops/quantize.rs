//! Activations to int8 and exact sums to outputs: the arithmetic of `tern_kernels::quantize` and `tern_kernels::epilogue`, compiled
//! for wider vectors too.

use std::ops::Range;

use multiversion::multiversion;
use tern_kernels::epilogue::scale_grouped;
use tern_kernels::quantize;
use tern_kernels::{ScaleRule, WeightScales};

/// [`quantize::quantize_row`].
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub(crate) fn quantize(x: &[f32], q: &mut [i8]) -> f32 {
    quantize::quantize_row(x, q)
}

/// [`quantize::quantize_groups`].
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub(crate) fn quantize_groups(x: &[f32], group: usize, q: &mut [i8], steps: &mut [f32]) {
    quantize::quantize_groups(x, group, q, steps);
}

/// [`scale_grouped`], the outputs replaced.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub(crate) fn store_grouped(products: &[f32], s: f32, out: &mut [f32]) {
    scale_grouped(products, s, out, |out, y| *out = y);
}

/// [`scale_grouped`], added to the outputs.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub(crate) fn add_grouped(products: &[f32], s: f32, out: &mut [f32]) {
    scale_grouped(products, s, out, |out, y| *out += y);
}

/// [`WeightScales::apply`], the outputs replaced.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub(crate) fn store_scaled(
    scales: &WeightScales,
    rule: ScaleRule,
    rows: Range<usize>,
    sums: &[i32],
    s: f32,
    out: &mut [f32],
) {
    scales.apply(rule, rows, sums, s, out, |out, y| *out = y);
}

/// [`WeightScales::apply`], added to the outputs.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub(crate) fn add_scaled(
    scales: &WeightScales,
    rule: ScaleRule,
    rows: Range<usize>,
    sums: &[i32],
    s: f32,
    out: &mut [f32],
) {
    scales.apply(rule, rows, sums, s, out, |out, y| *out += y);
}
