//! The meaning of a ternary matrix-vector product. Nothing here is clever; every kernel must return exactly this.

use crate::contract::{BuildArgs, GemvArgs};

/// `y[m] = sum over k of trit(m, k) * x[k]` for a `rows x cols` matrix, exact in `i32`.
///
/// # Panics
///
/// When `x.len()` is not `cols` or `y.len()` is not `rows`.
pub fn gemv(rows: usize, cols: usize, trit: impl Fn(usize, usize) -> i8, x: &[i8], y: &mut [i32]) {
    assert_eq!(x.len(), cols);
    assert_eq!(y.len(), rows);
    for (m, sum) in y.iter_mut().enumerate() {
        *sum = x
            .iter()
            .enumerate()
            .map(|(k, &x)| i32::from(trit(m, k)) * i32::from(x))
            .sum();
    }
}

/// `y[m] = sum over groups g of scales[m, g] * (sum over k in g of trit(m, k) * x[k])` for a `rows x cols` matrix with a scale for
/// each row and each `group` columns, row by row: exact sums, then `f32` products added in ascending order.
///
/// # Panics
///
/// When `scales.len()` is not one for each row of `y` and group of `x`.
pub fn gemv_groups(
    group: usize,
    scales: &[f32],
    trit: impl Fn(usize, usize) -> i8,
    x: &[i8],
    y: &mut [f32],
) {
    let groups = x.len().div_ceil(group);
    assert_eq!(scales.len(), y.len() * groups);
    for (m, (y, scales)) in y.iter_mut().zip(scales.chunks_exact(groups)).enumerate() {
        *y = 0.0;
        for (g, (x, &scale)) in x.chunks(group).zip(scales).enumerate() {
            let products = x
                .iter()
                .enumerate()
                .map(|(k, &x)| i32::from(trit(m, g * group + k)) * i32::from(x));
            *y += products.sum::<i32>() as f32 * scale;
        }
    }
}

/// The reference as a registry row, on the `trits` packing: one signed byte a weight, row by row.
///
/// # Safety
///
/// `args` meets the contract of [`GemvArgs`].
pub(crate) unsafe fn gemv_reference(args: &GemvArgs) {
    let rows = args.strips + args.singles;
    // SAFETY: the contract gives `rows * steps` weights and `count` tokens.
    let (weights, tokens) = unsafe {
        (
            std::slice::from_raw_parts(args.weights.cast::<i8>(), rows * args.steps),
            std::slice::from_raw_parts(args.tokens, args.count),
        )
    };
    for token in tokens {
        // SAFETY: the contract gives `steps` activations and `rows` sums for each token.
        let (x, out) = unsafe {
            (
                std::slice::from_raw_parts(token.operand.cast::<i8>(), args.steps),
                std::slice::from_raw_parts_mut(token.out, rows),
            )
        };
        for (row, sum) in weights.chunks_exact(args.steps).zip(out) {
            *sum += row
                .iter()
                .zip(x)
                .map(|(&w, &x)| i32::from(w) * i32::from(x))
                .sum::<i32>();
        }
    }
}

/// The reference reads activations as they are.
///
/// # Safety
///
/// `args` meets the contract of [`BuildArgs`].
pub(crate) unsafe fn build_reference(args: &BuildArgs) {
    // SAFETY: the contract gives `steps` activations (a step is one column) and `steps` bytes, which do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(args.activations.cast(), args.operand, args.steps) };
}
