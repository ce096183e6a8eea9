//! Identities that need no second implementation, and the integers that Hugging Face computes.

#[path = "common/bitlinear.rs"]
mod bitlinear;
mod common;

use common::{Case, Rng, WHOLE, most_weights, runnable, several};
use tern_kernels::{Operand, quantize::quantize_row};

#[test]
fn a_one_hot_input_returns_the_column() {
    for kernel in runnable("one-hot").1 {
        let cols = 2 * kernel.packing.code.step_cols() + 1;
        let mut case = Case::random(kernel.packing.lanes + 3, cols, 0, 11);
        case.tokens = (0..cols)
            .map(|k| {
                let mut x = vec![0; cols];
                x[k] = 1;
                x
            })
            .collect();
        let sums = case.run(kernel, WHOLE, 1);
        for (k, column) in sums.chunks_exact(case.rows).enumerate() {
            let expected = (0..case.rows).map(|m| i32::from(case.trits[m * cols + k]));
            assert!(
                column.iter().copied().eq(expected),
                "{} column {k}",
                kernel.id
            );
        }
    }
}

#[test]
fn sums_are_linear_in_activations_and_weights() {
    for kernel in runnable("linearity").1 {
        let (rows, cols) = (
            kernel.packing.lanes + 5,
            3 * kernel.packing.code.step_cols() + 2,
        );
        let mut rng = Rng(5);
        let mut case = Case::random(rows, cols, 2, 3);
        for x in &mut case.tokens {
            x.iter_mut().for_each(|x| *x = rng.below(127) as i8 - 63);
        }
        let (a, b) = (case.tokens[0].clone(), case.tokens[1].clone());
        case.tokens
            .push(a.iter().zip(&b).map(|(a, b)| a + b).collect());
        case.tokens.push(a.iter().map(|a| -a).collect());
        // The same four again, until they fill a batch.
        let four = case.tokens.clone();
        case.tokens = four
            .into_iter()
            .cycle()
            .take(several(&kernel).max(4))
            .collect();
        let sums = case.run(kernel, WHOLE, 1);
        let of = |token: usize| &sums[token * rows..][..rows];
        for m in 0..rows {
            assert_eq!(
                of(2)[m],
                of(0)[m] + of(1)[m],
                "{} x + y, row {m}",
                kernel.id
            );
            assert_eq!(of(3)[m], -of(0)[m], "{} -x, row {m}", kernel.id);
        }
        let mut negated = case.clone();
        negated.trits.iter_mut().for_each(|t| *t = -*t);
        let negated = negated.run(kernel, WHOLE, 1);
        assert!(
            sums.iter().zip(&negated).all(|(a, b)| *a == -b),
            "{} -w",
            kernel.id
        );
    }
}

#[test]
fn permuted_rows_permute_the_sums() {
    for kernel in runnable("permutation").1 {
        let (rows, cols) = (
            2 * kernel.packing.lanes + 1,
            kernel.packing.code.step_cols() + 1,
        );
        let tokens = several(&kernel);
        let case = Case::random(rows, cols, tokens, 17);
        let mut reversed = case.clone();
        reversed.trits = case
            .trits
            .chunks_exact(cols)
            .rev()
            .flatten()
            .copied()
            .collect();
        let mut sums = reversed.run(kernel, WHOLE, 1);
        sums.chunks_exact_mut(rows).for_each(<[i32]>::reverse);
        assert_eq!(sums, case.run(kernel, WHOLE, 1), "{}", kernel.id);
    }
}

#[test]
fn operands_built_in_parts_are_the_same() {
    for kernel in runnable("parts").1 {
        let cols = (3 * kernel.packing.block * kernel.packing.code.step_cols() + 5).min(6000);
        let mut case = Case::random(kernel.packing.lanes, cols, 1, 23);
        let whole = case.run(kernel, WHOLE, 1);
        let x = case.tokens.remove(0);
        for parts in [2, 3, 50] {
            let mut operand = Operand::new(kernel, cols).unwrap();
            operand.parts(parts).for_each(|mut part| part.build(&x));
            let choice = tern_kernels::Choice {
                kernel,
                tile: WHOLE,
                source: tern_kernels::Source::Forced,
            };
            let gemv = tern_kernels::Gemv::new(case.pack(kernel), choice, 1).unwrap();
            let mut sums = vec![0; case.rows];
            gemv.run(&[&operand], &mut sums);
            assert_eq!(sums, whole, "{} in {parts} parts", kernel.id);
        }
    }
}

#[test]
fn every_kernel_gives_the_integers_of_hugging_face() {
    let (_, kernels) = runnable("Hugging Face");
    let fixture = bitlinear::fixture();
    let most = most_weights();
    for shape in fixture.shapes.values() {
        let (rows, cols) = (shape.out_features, shape.in_features);
        if rows * cols > most {
            eprintln!("{rows}x{cols} is left out");
            continue;
        }
        let weights = shape.weights();
        let mut scales = Vec::new();
        let tokens = (0..bitlinear::ROWS).map(|row| {
            let x = shape.activations(row, &weights);
            let mut q = vec![0; x.len()];
            scales.push(quantize_row(&x, &mut q));
            q
        });
        let tokens = tokens.collect();
        let case = Case {
            rows,
            cols,
            trits: weights,
            tokens,
        };
        for &kernel in &kernels {
            let sums = case.run(kernel, WHOLE, 1);
            for (row, sums) in sums.chunks_exact(rows).enumerate() {
                shape.check_sums(row, sums, scales[row], &fixture, kernel.id);
            }
        }
    }
}
