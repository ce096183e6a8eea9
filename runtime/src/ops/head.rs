//! Logits: the final hidden state against every row of the head.
//!
//! The only large dense product of the model, and bound by memory: each worker streams its share of
//! the rows once, for all positions together. Four rows are in flight so that their sums hide the
//! latency of the additions; a row's own sum is in lane order, so its bits do not depend on its
//! neighbours, on the split or on the number of positions. Nor do they depend on the form that the
//! rows have in memory: widening is exact, and rows of blocks become numbers before they are multiplied.

use std::cell::RefCell;
use std::ops::Range;

use multiversion::multiversion;
use multiversion::target::match_target;

use super::half;
use super::lanes::{LANES, Lanes, sum_lanes};
use crate::dense::{BlockRows, DenseMatrix, Rows};
use crate::element::bf16_to_f32;

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
        Rows::F16(values) => multiply_f16(&values[elements], cols, hidden, out),
        Rows::F32(values) => multiply_f32(&values[elements], cols, hidden, out, 0),
        Rows::Blocks(rows) => multiply_blocks(rows, range, cols, hidden, out),
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn multiply_bf16(weights: &[u16], cols: usize, hidden: &[f32], out: &mut [&mut [f32]]) {
    let add = |sums: &mut _, weights: &_, x: &_| multiply_add(sums, weights, x, bf16_to_f32);
    multiply(weights, cols, hidden, (out, 0), bf16_to_f32, add);
}

#[multiversion(targets("x86_64+avx2"))]
fn multiply_f32(
    weights: &[f32],
    cols: usize,
    hidden: &[f32],
    out: &mut [&mut [f32]],
    first: usize,
) {
    let add = |sums: &mut _, weights: &_, x: &_| multiply_add(sums, weights, x, |weight| weight);
    multiply(weights, cols, hidden, (out, first), |weight| weight, add);
}

/// The CPU's instructions widen; the plain code, which is exact too, stands for them elsewhere and where a row ends within a vector.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+f16c",
    "x86_64+avx2+f16c"
))]
fn multiply_f16(weights: &[u16], cols: usize, hidden: &[f32], out: &mut [&mut [f32]]) {
    match_target! {
        "x86_64+avx512f" => multiply(weights, cols, hidden, (out, 0), half::widen, |sums, weights, x| {
            multiply_add(sums, &half::widen_avx512(weights), x, |weight| weight);
        }),
        "x86_64+avx2+f16c" => multiply(weights, cols, hidden, (out, 0), half::widen, |sums, weights, x| {
            multiply_add(sums, &half::widen_f16c(weights), x, |weight| weight);
        }),
        _ => multiply(weights, cols, hidden, (out, 0), half::widen, |sums, weights, x| {
            multiply_add(sums, weights, x, half::widen);
        }),
    }
}

/// A few rows at a time become numbers, in memory that stays in the first-level cache.
fn multiply_blocks(
    rows: BlockRows<'_>,
    range: Range<usize>,
    cols: usize,
    hidden: &[f32],
    out: &mut [&mut [f32]],
) {
    thread_local! {
        /// Kept, for this is called for single rows too.
        static NUMBERS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    NUMBERS.with_borrow_mut(|numbers| {
        numbers.resize(ROWS * cols, 0.0);
        for first in range.clone().step_by(ROWS) {
            let count = ROWS.min(range.end - first);
            let numbers = &mut numbers[..count * cols];
            for (row, numbers) in numbers.chunks_exact_mut(cols).enumerate() {
                rows.read(first + row, numbers);
            }
            multiply_f32(numbers, cols, hidden, out, first - range.start);
        }
    });
}

/// Multiplies rows, of which the first is `first` in `out`. `one` widens a weight, `add` adds the products of a vector of them to sums.
#[inline(always)]
fn multiply<T: Copy>(
    weights: &[T],
    cols: usize,
    hidden: &[f32],
    (out, first): (&mut [&mut [f32]], usize),
    one: impl Fn(T) -> f32 + Copy,
    add: impl Fn(&mut Lanes, &[T; LANES], &Lanes) + Copy,
) {
    let groups = weights.chunks_exact(ROWS * cols);
    let rest = groups.remainder();
    let single = first + groups.len() * ROWS;
    for (group, weights) in groups.enumerate() {
        for (hidden, out) in hidden.chunks_exact(cols).zip(out.iter_mut()) {
            let sums = dot_rows::<T, ROWS>(weights, hidden, one, add);
            out[first + group * ROWS..][..ROWS].copy_from_slice(&sums);
        }
    }
    for (row, weights) in rest.chunks_exact(cols).enumerate() {
        for (hidden, out) in hidden.chunks_exact(cols).zip(out.iter_mut()) {
            [out[single + row]] = dot_rows::<T, 1>(weights, hidden, one, add);
        }
    }
}

/// Dot products of `N` neighbouring rows with `x`, each in lane order.
#[inline(always)]
fn dot_rows<T: Copy, const N: usize>(
    weights: &[T],
    x: &[f32],
    one: impl Fn(T) -> f32,
    add: impl Fn(&mut Lanes, &[T; LANES], &Lanes),
) -> [f32; N] {
    let cols = x.len();
    let (chunks, rest) = x.as_chunks::<LANES>();
    let rows: [_; N] = std::array::from_fn(|row| {
        let (row, rest) = weights[row * cols..(row + 1) * cols].as_chunks::<LANES>();
        (&row[..chunks.len()], rest)
    });
    let mut sums = [[0.0; LANES]; N];
    for (index, x) in chunks.iter().enumerate() {
        for row in 0..N {
            add(&mut sums[row], &rows[row].0[index], x);
        }
    }
    for (sums, (_, weights)) in sums.iter_mut().zip(&rows) {
        for ((sum, &weight), x) in sums.iter_mut().zip(*weights).zip(rest) {
            *sum += one(weight) * x;
        }
    }
    sums.map(sum_lanes)
}

/// `sums[i] += weights[i] · x[i]`. Whole arrays, so that the compiler sees vectors and no bounds.
#[inline(always)]
fn multiply_add<T: Copy>(
    sums: &mut Lanes,
    weights: &[T; LANES],
    x: &Lanes,
    one: impl Fn(T) -> f32,
) {
    for lane in 0..LANES {
        sums[lane] += one(weights[lane]) * x[lane];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Floats;
    use crate::element::Element;
    use crate::gguf::{Gguf, Header, TensorType, quantize};
    use tern_kernels::Pages;

    /// 11 rows of 37: groups of four with a rest, chunks of 16 with a rest.
    fn heads() -> Vec<DenseMatrix> {
        let (rows, cols) = (11, 37);
        let weight = |i: usize| ((i * 193 % 251) as f32 - 125.0) * 0.01;
        let elements = [Element::Bf16, Element::F16, Element::F32];
        let heads = elements.map(|element| {
            let each = (0..rows * cols).map(weight).map(|weight| match element {
                Element::Bf16 => weight.to_le_bytes()[2..].to_vec(),
                Element::F16 => half::narrow(weight).to_le_bytes().to_vec(),
                Element::F32 => weight.to_le_bytes().to_vec(),
            });
            let data: Vec<u8> = each.flatten().collect();
            let tensor = Floats {
                element,
                data: &data,
                order: None,
            };
            DenseMatrix::copy(tensor, rows, cols, Pages::Small).unwrap()
        });
        heads.into_iter().collect()
    }

    /// 11 rows of 288 in blocks of 32, and of 256 in larger ones.
    fn block_heads() -> Vec<DenseMatrix> {
        let each = [
            (TensorType::Q8_0, 288),
            (TensorType::Q4_0, 288),
            (TensorType::Q4K, 256),
            (TensorType::Q6K, 256),
            (TensorType::Tq1_0, 256),
        ];
        let head = |(kind, cols): (TensorType, usize)| {
            let mut header = Header::new();
            header.tensor("w", &[cols as u64, 11], kind).unwrap();
            let mut writer = header.begin(Vec::new()).unwrap();
            for row in 0..11 {
                let value = |i: usize| (((i + row * cols) * 193 % 251) as f32 - 125.0) * 0.01;
                let mut bytes = Vec::new();
                quantize::row(kind, &(0..cols).map(value).collect::<Vec<_>>(), &mut bytes).unwrap();
                writer.put("w", &bytes).unwrap();
            }
            let file = writer.finish().unwrap();
            let gguf = Gguf::from_bytes("f", &file).unwrap();
            DenseMatrix::copy_blocks(gguf.tensor("w").unwrap(), Pages::Small)
                .unwrap()
                .unwrap()
        };
        each.map(head).into_iter().collect()
    }

    /// All logits of three positions, each also alone and compared with the truth.
    fn check(head: &DenseMatrix) -> Vec<u32> {
        let (rows, cols) = (head.rows(), head.cols());
        let hidden: Vec<f32> = (0..3 * cols).map(|i| (i as f32).sin()).collect();
        let mut whole = vec![0.0; 3 * rows];
        let mut parts: Vec<&mut [f32]> = whole.chunks_mut(rows).collect();
        logits(head, 0..rows, &hidden, &mut parts);
        for (t, x) in hidden.chunks(cols).enumerate() {
            for row in 0..rows {
                let mut one = [0.0];
                logits(head, row..row + 1, x, &mut [&mut one]);
                assert_eq!(one[0].to_bits(), whole[t * rows + row].to_bits());
                let mut w = vec![0.0; cols];
                head.read_row(row, &mut w);
                let products = w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x));
                assert!((f64::from(one[0]) - products.sum::<f64>()).abs() < 1e-5);
            }
            // A part that begins and ends within groups.
            let mut part = [0.0; 6];
            logits(head, 3..9, x, &mut [&mut part]);
            assert_eq!(part[..], whole[t * rows + 3..t * rows + 9]);
        }
        whole.iter().map(|logit| logit.to_bits()).collect()
    }

    #[test]
    fn same_bits_for_every_split_and_batch() {
        heads().iter().chain(&block_heads()).for_each(|head| {
            check(head);
        });
    }

    /// Every form of a head gives what its numbers as `f32` give, to the bit.
    #[test]
    fn same_bits_for_every_form() {
        for head in heads().into_iter().chain(block_heads()) {
            let found = check(&head);
            let wide = head.widened(Pages::Small).unwrap();
            assert_eq!(wide.element(), Some(Element::F32));
            assert_eq!(found, check(&wide));
        }
    }

    /// The plain code gives what the CPU's instructions give.
    #[test]
    fn f16_has_the_same_bits_without_instructions() {
        let head = &heads()[1];
        let hidden: Vec<f32> = (0..37).map(|i| (i as f32).cos()).collect();
        let (mut found, mut plain) = ([0.0; 11], [0.0; 11]);
        logits(head, 0..11, &hidden, &mut [&mut found]);
        let Rows::F16(values) = head.values() else {
            panic!("f16 stays f16");
        };
        multiply(
            values,
            37,
            &hidden,
            (&mut [&mut plain], 0),
            half::widen,
            |sums, weights, x| multiply_add(sums, weights, x, half::widen),
        );
        assert_eq!(found.map(f32::to_bits), plain.map(f32::to_bits));
    }
}
