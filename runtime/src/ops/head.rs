//! Logits: the final hidden state against every row of the head.
//!
//! The only large dense product of the model, and bound by memory: each worker streams its share of
//! the rows once, for all positions together. Four rows are in flight so that their sums hide the
//! latency of the additions; a row's own sum is in lane order, so its bits do not depend on its
//! neighbours, on the split or on the number of positions.

use std::ops::Range;

use multiversion::multiversion;

use super::lanes::{LANES, Lanes, sum_lanes};
use crate::dense::{DenseMatrix, Rows, Widen};

/// Rows whose sums are taken side by side.
pub(crate) const ROWS: usize = 4;

/// Writes `hidden[t] · head[row]` for the rows of `range`: to `out[t][row − range.start]`.
///
/// `hidden` holds one row of `head.cols()` for each of `out`.
pub(crate) fn logits(
    head: &DenseMatrix,
    range: Range<usize>,
    hidden: &[f32],
    out: &mut [&mut [f32]],
) {
    let cols = head.cols();
    assert_eq!(hidden.len(), out.len() * cols);
    assert!(range.end <= head.rows() && out.iter().all(|out| out.len() == range.len()));
    let elements = range.start * cols..range.end * cols;
    match head.values() {
        Rows::Bf16(values) => multiply_bf16(&values[elements], cols, hidden, out),
        Rows::F32(values) => multiply_f32(&values[elements], cols, hidden, out),
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn multiply_bf16(weights: &[u16], cols: usize, hidden: &[f32], out: &mut [&mut [f32]]) {
    multiply(weights, cols, hidden, out);
}

#[multiversion(targets("x86_64+avx2"))]
fn multiply_f32(weights: &[f32], cols: usize, hidden: &[f32], out: &mut [&mut [f32]]) {
    multiply(weights, cols, hidden, out);
}

#[inline(always)]
fn multiply(weights: &[impl Widen], cols: usize, hidden: &[f32], out: &mut [&mut [f32]]) {
    let groups = weights.chunks_exact(ROWS * cols);
    let rest = groups.remainder();
    let single = groups.len() * ROWS;
    for (group, weights) in groups.enumerate() {
        for (hidden, out) in hidden.chunks_exact(cols).zip(out.iter_mut()) {
            let sums = dot_rows::<ROWS>(weights, hidden);
            out[group * ROWS..][..ROWS].copy_from_slice(&sums);
        }
    }
    for (row, weights) in rest.chunks_exact(cols).enumerate() {
        for (hidden, out) in hidden.chunks_exact(cols).zip(out.iter_mut()) {
            [out[single + row]] = dot_rows::<1>(weights, hidden);
        }
    }
}

/// Dot products of `N` neighbouring rows with `x`, each in lane order.
#[inline(always)]
fn dot_rows<const N: usize>(weights: &[impl Widen], x: &[f32]) -> [f32; N] {
    let cols = x.len();
    let (chunks, rest) = x.as_chunks::<LANES>();
    let rows: [_; N] = std::array::from_fn(|row| {
        let (row, rest) = weights[row * cols..(row + 1) * cols].as_chunks::<LANES>();
        (&row[..chunks.len()], rest)
    });
    let mut sums = [[0.0; LANES]; N];
    for (index, x) in chunks.iter().enumerate() {
        for row in 0..N {
            multiply_add(&mut sums[row], &rows[row].0[index], x);
        }
    }
    for (sums, (_, weights)) in sums.iter_mut().zip(&rows) {
        for ((sum, weight), x) in sums.iter_mut().zip(*weights).zip(rest) {
            *sum += weight.widen() * x;
        }
    }
    sums.map(sum_lanes)
}

/// `sums[i] += weights[i] · x[i]`. Whole arrays, so that the compiler sees vectors and no bounds.
#[inline(always)]
fn multiply_add(sums: &mut Lanes, weights: &[impl Widen; LANES], x: &Lanes) {
    for lane in 0..LANES {
        sums[lane] += weights[lane].widen() * x[lane];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Floats;
    use crate::element::Element;
    use tern_kernels::Pages;

    /// 11 rows of 37: groups of four with a rest, chunks of 16 with a rest.
    #[test]
    fn same_bits_for_every_split_and_batch() {
        let (rows, cols) = (11, 37);
        let weight = |i: usize| ((i * 193 % 251) as f32 - 125.0) * 0.01;
        let data: Vec<u8> = (0..rows * cols)
            .flat_map(|i| weight(i).to_le_bytes()[2..].to_vec())
            .collect();
        let tensor = Floats {
            element: Element::Bf16,
            data: &data,
            order: None,
        };
        let head = DenseMatrix::copy(tensor, rows, cols, Pages::Small).unwrap();
        let hidden: Vec<f32> = (0..3 * cols).map(|i| (i as f32).sin()).collect();

        let mut whole = vec![0.0; 3 * rows];
        let mut parts: Vec<&mut [f32]> = whole.chunks_mut(rows).collect();
        logits(&head, 0..rows, &hidden, &mut parts);
        for (t, x) in hidden.chunks(cols).enumerate() {
            for row in 0..rows {
                let mut one = [0.0];
                logits(&head, row..row + 1, x, &mut [&mut one]);
                assert_eq!(one[0].to_bits(), whole[t * rows + row].to_bits());
                let mut w = vec![0.0; cols];
                head.read_row(row, &mut w);
                let truth: f64 = w
                    .iter()
                    .zip(x)
                    .map(|(&w, &x)| f64::from(w) * f64::from(x))
                    .sum();
                assert!((f64::from(one[0]) - truth).abs() < 1e-5);
            }
        }
    }
}
