//! Every kernel in the registry returns the reference's integers, for all residues of rows and columns around its tile, for the
//! shapes of real models, and for extreme weights and activations over its longest sums.

mod common;

use common::{Case, Rng, WHOLE, counts, most_weights, runnable, several};
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
            let (rows, tokens) = (kernel.packing.lanes + 1, several(&kernel));
            Case::random(rows, cols, tokens, seed(&kernel, rows, cols)).check(kernel, WHOLE, 1);
        }
    }
}

#[test]
fn all_residues_of_rows() {
    for kernel in runnable("rows").1 {
        let strip = kernel.packing.lanes * kernel.panels;
        let cols = 2 * kernel.packing.code.step_cols() + 1;
        for rows in 1..=strip + kernel.packing.lanes + 1 {
            let tokens = several(&kernel);
            Case::random(rows, cols, tokens, seed(&kernel, rows, cols)).check(kernel, WHOLE, 1);
        }
    }
}

#[test]
fn all_numbers_of_tokens_around_a_batch() {
    for kernel in runnable("tokens").1 {
        let (strip, step) = (
            kernel.packing.lanes * kernel.panels,
            kernel.packing.code.step_cols(),
        );
        for tokens in counts(kernel.batch.max(2)) {
            for cols in [1, 2 * step + 1, kernel.window.min(64) * step + 3] {
                for rows in [1, 2 * strip + kernel.packing.lanes + 1] {
                    let case = Case::random(rows, cols, tokens, seed(&kernel, rows, cols));
                    case.check(kernel, WHOLE, 1);
                }
            }
        }
    }
}

#[test]
fn several_tokens_share_the_weights_and_change_nothing() {
    let mut shared = 0;
    for kernel in runnable("shares").1 {
        let case = Case::random(kernel.packing.lanes + 1, 300, 16, 41);
        let choice = Choice {
            kernel,
            tile: WHOLE,
            source: Source::Estimate,
        };
        let gemv = Gemv::new(case.pack(kernel), choice, 1).unwrap();
        let (operands, expected) = (case.operands(kernel), case.reference());
        for tokens in 1..=operands.len() {
            let shares: Vec<(Kernel, usize)> = gemv.shares(tokens).collect();
            // The widest that there is, then narrower ones, and no kernel for more tokens than there are.
            assert!(shares.is_sorted_by(|(a, _), (b, _)| a.batch > b.batch));
            assert_eq!(shares.iter().map(|(_, share)| share).sum::<usize>(), tokens);
            for (taker, share) in &shares {
                assert_eq!((taker.isa, taker.packing), (kernel.isa, kernel.packing));
                assert!(
                    *taker == kernel || share % taker.batch == 0,
                    "{share} tokens for {}",
                    taker.id
                );
            }
            shared += usize::from(shares[0].0 != kernel);
            let operands: Vec<_> = operands[..tokens].iter().collect();
            let mut sums = vec![i32::MIN; tokens * case.rows];
            gemv.run(&operands, &mut sums);
            assert!(
                sums == expected[..sums.len()],
                "{} with {tokens} tokens: {shares:?}",
                kernel.id
            );
        }
    }
    // Plain Rust has no kernels for several tokens.
    let fused =
        |k: &tern_kernels::KernelDesc| k.batch > 1 && tern_kernels::Cpu::detect().has(k.isa);
    assert_eq!(shared > 0, tern_kernels::kernels().any(fused));
}

#[test]
fn shapes_of_real_models() {
    let (_, kernels) = runnable("model shapes");
    let most = most_weights();
    let widest = kernels.iter().map(several).max().unwrap_or(1);
    for (rows, cols) in [(640, 2560), (6912, 2560), (2560, 6912), (3200, 8640)] {
        let rows = rows.min(most / cols);
        let all = Case::random(rows, cols, widest, rows as u64);
        let all_expected = all.reference();
        for &kernel in &kernels {
            let mut case = all.clone();
            case.tokens.truncate(several(&kernel));
            let expected = &all_expected[..case.tokens.len() * rows];
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
                // Of several tokens every second has the other extreme: 127 is the complement of -128.
                let of = |token: usize| {
                    if token.is_multiple_of(2) {
                        activation
                    } else {
                        !activation
                    }
                };
                let case = Case {
                    rows: 2,
                    cols,
                    trits: vec![trit; 2 * cols],
                    tokens: (0..several(&kernel)).map(|t| vec![of(t); cols]).collect(),
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
        let other: Vec<i8> = x.iter().map(|&x| !x).collect();
        let tokens = [&x, &other].into_iter().cycle().take(several(&kernel));
        Case {
            rows: 2,
            cols,
            trits,
            tokens: tokens.cloned().collect(),
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
        let tokens: [Vec<i8>; 3] = [
            (0..cols).map(|_| rng.activation()).collect(),
            (0..cols)
                .map(|k| if k % 2 == 0 { -128 } else { 127 })
                .collect(),
            vec![-128; cols],
        ];
        let tokens = tokens.iter().cycle().take(several(&kernel).max(3));
        Case {
            rows,
            cols,
            trits,
            tokens: tokens.cloned().collect(),
        }
        .check(kernel, WHOLE, 1);
    }
}

#[test]
fn tiles_threads_and_batches_change_nothing() {
    for kernel in runnable("tiles").1 {
        let strip = kernel.packing.lanes * kernel.panels;
        let rows = 3 * strip + kernel.packing.lanes + 3;
        let cols =
            (5 * kernel.packing.block * kernel.packing.code.step_cols() / 2).clamp(100, 3000);
        let tokens = several(&kernel).max(3);
        let case = Case::random(rows, cols, tokens, seed(&kernel, rows, cols));
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
        let strip = kernel.packing.lanes * kernel.panels;
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
                gemv.run_part_own(worker, &case.tokens[0], &mut own, &mut sums, |_| ());
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
        let rows = kernel.packing.lanes * (kernel.panels + 1) + 1;
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
