//! Every kernel in the registry returns the reference's integers, for all residues of rows and columns around its tile, for the
//! shapes of real models, and for extreme weights and activations over its longest sums.

mod common;

use common::{Case, Rng, WHOLE, most_weights, runnable};
use tern_kernels::{BlockOperand, Choice, Gemv, Kernel, Source, Tables, Tile};

/// A seed that differs from case to case and never from run to run.
fn seed(kernel: &Kernel, rows: usize, cols: usize) -> u64 {
    kernel
        .id
        .bytes()
        .fold((rows * 65_537 + cols) as u64, |h, b| {
            h.wrapping_mul(31) + u64::from(b)
        })
}

/// Column counts where something ends: a group, a step, a window, a K block.
fn edges(kernel: &Kernel) -> Vec<usize> {
    let step = kernel.packing.code.step_cols();
    let window = kernel.window.min(64) * step;
    let block = kernel.packing.block.min(2048) * step;
    let mut cols: Vec<usize> = (1..=2 * step + 1).collect();
    for edge in [window, 2 * window, block, block + window, 2 * block] {
        cols.extend([edge - 1, edge, edge + 1]);
    }
    cols.sort_unstable();
    cols.dedup();
    cols.retain(|&c| (1..=20_000).contains(&c));
    cols
}

#[test]
fn all_residues_of_columns() {
    for kernel in runnable("columns").1 {
        for cols in edges(&kernel) {
            let rows = kernel.packing.lanes + 1;
            Case::random(rows, cols, 1, seed(&kernel, rows, cols)).check(kernel, WHOLE, 1);
        }
    }
}

#[test]
fn all_residues_of_rows() {
    for kernel in runnable("rows").1 {
        let strip = kernel.packing.lanes * kernel.packing.panels;
        let cols = 2 * kernel.packing.code.step_cols() + 1;
        for rows in 1..=strip + kernel.packing.lanes + 1 {
            Case::random(rows, cols, 1, seed(&kernel, rows, cols)).check(kernel, WHOLE, 1);
        }
    }
}

#[test]
fn shapes_of_real_models() {
    let (_, kernels) = runnable("model shapes");
    let most = most_weights();
    for (rows, cols) in [(640, 2560), (6912, 2560), (2560, 6912), (3200, 8640)] {
        let rows = rows.min(most / cols);
        let case = Case::random(rows, cols, 1, rows as u64);
        let expected = case.reference();
        for &kernel in &kernels {
            let tile = Tile {
                k_blocks: 1,
                chunk: 0,
                prefetch: 4096,
                tables: Tables::Shared,
            };
            assert!(
                case.run(kernel, tile, 1) == expected,
                "{} on {rows}x{cols}",
                kernel.id
            );
        }
    }
}

#[test]
fn extremes_over_the_longest_sums() {
    for kernel in runnable("extremes").1 {
        // Three whole K blocks, or enough columns to fill every 16-bit window many times.
        let cols =
            (3 * kernel.packing.block.min(1024) * kernel.packing.code.step_cols()).min(40_000);
        for activation in [-128, 127] {
            for trit in [-1, 0, 1] {
                let case = Case {
                    rows: 2,
                    cols,
                    trits: vec![trit; 2 * cols],
                    tokens: vec![vec![activation; cols]],
                };
                case.check(kernel, WHOLE, 1);
            }
        }
        // Signs that follow the activations, so that every product of every group pulls the same way.
        let mut rng = Rng(seed(&kernel, 2, cols));
        let x: Vec<i8> = (0..cols)
            .map(|_| if rng.below(2) == 0 { -128 } else { 127 })
            .collect();
        let follow = x.iter().map(|&x| x.signum());
        let trits = follow.clone().chain(follow.map(|t| -t)).collect();
        Case {
            rows: 2,
            cols,
            trits,
            tokens: vec![x],
        }
        .check(kernel, WHOLE, 1);
    }
}

#[test]
fn every_code_of_every_group() {
    for kernel in runnable("codes").1 {
        // 3^7 rows: row n spells n in ternary over and over, starting where the row number says.
        let (rows, cols) = (2187, 2 * kernel.packing.code.step_cols().max(7));
        let trit = |row: usize, col: usize| {
            let place = (col + row) % 7;
            (row / 3usize.pow(place as u32) % 3) as i8 - 1
        };
        let trits = (0..rows * cols).map(|i| trit(i / cols, i % cols)).collect();
        let mut rng = Rng(7);
        let tokens = vec![
            (0..cols).map(|_| rng.activation()).collect(),
            (0..cols)
                .map(|k| if k % 2 == 0 { -128 } else { 127 })
                .collect(),
            vec![-128; cols],
        ];
        Case {
            rows,
            cols,
            trits,
            tokens,
        }
        .check(kernel, WHOLE, 1);
    }
}

#[test]
fn tiles_threads_and_batches_change_nothing() {
    for kernel in runnable("tiles").1 {
        let strip = kernel.packing.lanes * kernel.packing.panels;
        let rows = 3 * strip + kernel.packing.lanes + 3;
        let cols =
            (5 * kernel.packing.block * kernel.packing.code.step_cols() / 2).clamp(100, 3000);
        let case = Case::random(rows, cols, 3, seed(&kernel, rows, cols));
        for k_blocks in [0, 1, 2] {
            for chunk in [0, 1, 2] {
                let tile = Tile {
                    k_blocks,
                    chunk,
                    prefetch: 1 << 20,
                    tables: Tables::Shared,
                };
                for threads in [1, 2, 3, 7] {
                    case.check(kernel, tile, threads);
                }
            }
        }
    }
}

#[test]
fn own_tables_change_nothing() {
    for kernel in runnable("own tables").1 {
        let strip = kernel.packing.lanes * kernel.packing.panels;
        let rows = 3 * strip + kernel.packing.lanes + 3;
        let cols =
            (5 * kernel.packing.block * kernel.packing.code.step_cols() / 2).clamp(100, 3000);
        let case = Case::random(rows, cols, 1, seed(&kernel, rows, cols));
        let expected = case.reference();
        for (k_blocks, chunk) in [(0, 0), (1, 0), (2, 1)] {
            let choice = Choice {
                kernel,
                tile: Tile {
                    k_blocks,
                    chunk,
                    prefetch: 0,
                    tables: Tables::Own,
                },
                source: Source::Forced,
            };
            let gemv = Gemv::new(case.pack(kernel), choice, 3).unwrap();
            let mut own = BlockOperand::new(kernel, cols).unwrap();
            for worker in 0..gemv.workers() {
                let mut sums = vec![i32::MIN; gemv.part_len(worker)];
                gemv.run_part_own(worker, &case.tokens[0], &mut own, &mut sums);
                let part = gemv.part_rows(worker);
                assert_eq!(
                    sums[..part.len()],
                    expected[part],
                    "{} k{k_blocks} c{chunk} worker {worker}",
                    kernel.id
                );
            }
        }
    }
}

#[test]
fn packing_has_an_exact_inverse() {
    for kernel in runnable("inverse").1 {
        let rows = kernel.packing.lanes * (kernel.packing.panels + 1) + 1;
        let cols = 2 * kernel.packing.block.min(100) * kernel.packing.code.step_cols() + 3;
        let case = Case::random(rows, cols, 0, seed(&kernel, rows, cols));
        let mut row = vec![9; cols];
        for packing in [kernel.packing, kernel.packing.grouped(128)] {
            let matrix = case.pack_as(packing);
            for m in 0..rows {
                matrix.unpack_row(m, &mut row);
                assert_eq!(row, case.trits[m * cols..][..cols], "{packing} row {m}");
            }
        }
    }
}
