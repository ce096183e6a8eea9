//! Batched products return the reference's integers too: every gemm kernel with every packing, for all residues of rows, columns
//! and tokens around its tile, through unpack kernels and without them.

mod common;

use common::{Case, Rng, WHOLE, runnable};
use tern_kernels::{
    Batch, Choice, Cpu, Gemm, GemmChoice, Gemv, Isa, Kernel, Planner, Source, Team, UnpackKernel,
    gemms, group_kernels, kernels, unpacks,
};

/// One kernel for each packing that this CPU has kernels for, the reference's among them.
fn packings(test: &str) -> (Cpu, Vec<Kernel>) {
    let (cpu, kernels) = runnable(test);
    let mut found: Vec<Kernel> = Vec::new();
    for kernel in kernels {
        if found.iter().all(|k| k.packing != kernel.packing) {
            found.push(kernel);
        }
    }
    (cpu, found)
}

/// The unpack kernel for a packing, if there is one.
fn unpack_for(cpu: &Cpu, kernel: Kernel) -> Option<UnpackKernel> {
    let mut unpacks = cpu.unpacks();
    unpacks.find(|u| (u.code, u.lanes) == (kernel.packing.code, kernel.packing.lanes))
}

/// The sums of a case by a batched product, with the rows split over `threads` workers.
fn run(case: &Case, kernel: Kernel, choice: GemmChoice, threads: usize) -> Vec<i32> {
    let gemv = Choice {
        kernel,
        tile: WHOLE,
        source: Source::Forced,
    };
    let gemv = Gemv::new(case.pack(kernel), gemv, threads).unwrap();
    let mut batch = Batch::new(kernel.packing, case.cols, case.tokens.len()).unwrap();
    // Twice: what is left of other activations must not show.
    for (mut row, q) in batch.rows().zip(&case.tokens) {
        row.fill(&vec![-128; q.len()]);
        row.fill(q);
    }
    let mut out = vec![i32::MIN; case.rows * case.tokens.len()];
    Gemm::new(&gemv, choice)
        .run(&gemv, &batch, &mut out)
        .unwrap();
    out
}

/// Fails with the kernels, shape and first wrong row.
fn check(case: &Case, kernel: Kernel, choice: GemmChoice, threads: usize) {
    let (found, expected) = (run(case, kernel, choice, threads), case.reference());
    if let Some(at) = (0..expected.len()).find(|&i| found[i] != expected[i]) {
        panic!(
            "{} with {:?} from {} on {}x{}, {} tokens, {threads} workers: token {} row {} is {}, expected {}",
            choice.kernel.id,
            choice.unpack.map(|u| u.id),
            kernel.packing,
            case.rows,
            case.cols,
            case.tokens.len(),
            at / case.rows,
            at % case.rows,
            found[at],
            expected[at]
        );
    }
}

/// Every gemm kernel of this CPU with the packing's own unpack kernel.
fn choices(cpu: &Cpu, kernel: Kernel) -> Vec<GemmChoice> {
    let unpack = unpack_for(cpu, kernel);
    cpu.gemms()
        .map(|kernel| GemmChoice { kernel, unpack })
        .collect()
}

#[test]
fn every_kernel_is_run_and_the_skipped_ones_are_named() {
    let (cpu, packings) = packings("batched");
    let skipped: Vec<&str> = (gemms().filter(|k| !cpu.has(k.isa)).map(|k| k.id))
        .chain(unpacks().filter(|k| !cpu.has(k.isa)).map(|k| k.id))
        .collect();
    eprintln!("skipped for want of their ISA: {skipped:?}");
    assert!(cpu.gemms().count() > 0, "no gemm kernel runs here");
    for unpack in cpu.unpacks() {
        assert!(
            packings
                .iter()
                .any(|k| (k.packing.code, k.packing.lanes) == (unpack.code, unpack.lanes)),
            "{} reads a packing that no kernel here has, so no test runs it",
            unpack.id
        );
    }
    for kernel in packings {
        let unpack = unpack_for(&cpu, kernel).map(|u| u.id);
        eprintln!("{}: {}", kernel.packing, unpack.unwrap_or("trit by trit"));
    }
}

#[test]
fn all_residues_of_columns() {
    let (cpu, packings) = packings("batched columns");
    for kernel in packings {
        let packing = kernel.packing;
        let step = packing.code.step_cols();
        let block = packing.block.min(4096) * step;
        // A step, the period of steps that makes whole quads, a chunk of quads, a K block.
        let mut cols: Vec<usize> = (1..=4 * step + 1).collect();
        for edge in [252, 256, 1020, 1024, 2048, block, 2 * block] {
            cols.extend([edge - 1, edge, edge + 1]);
        }
        cols.retain(|&cols| (1..=20_000).contains(&cols));
        for cols in cols {
            let case = Case::random(packing.lanes + 1, cols, 2, cols as u64);
            let choice = choices(&cpu, kernel)[cols % cpu.gemms().count()];
            check(&case, kernel, choice, 1);
            let unpack = None;
            if cols < 100 {
                check(&case, kernel, GemmChoice { unpack, ..choice }, 1);
            }
        }
    }
}

#[test]
fn all_residues_of_rows_and_tokens() {
    let (cpu, packings) = packings("batched rows and tokens");
    for kernel in packings {
        let cols = 2 * kernel.packing.code.step_cols() + 1;
        for choice in choices(&cpu, kernel) {
            let most = 64.max(choice.kernel.vectors * choice.kernel.lanes);
            for rows in 1..=most + kernel.packing.lanes + 1 {
                check(&Case::random(rows, cols, 3, rows as u64), kernel, choice, 1);
            }
            for tokens in (0..=17).chain([64]) {
                let rows = most + 9;
                let case = Case::random(rows, cols, tokens, tokens as u64);
                check(&case, kernel, choice, 1 + tokens % 3);
            }
        }
    }
}

#[test]
fn extremes_over_long_sums() {
    let (cpu, packings) = packings("batched extremes");
    for kernel in packings {
        for choice in choices(&cpu, kernel) {
            let cols = 3000;
            for activation in [-128, 127] {
                for trit in [-1, 0, 1] {
                    let case = Case {
                        rows: 2,
                        cols,
                        trits: vec![trit; 2 * cols],
                        tokens: vec![vec![activation; cols]; 2],
                    };
                    check(&case, kernel, choice, 1);
                }
            }
            // Signs that follow the activations, so that every product pulls the same way.
            let mut rng = Rng(5);
            let x: Vec<i8> = (0..cols).map(|_| [-128, 127][rng.below(2)]).collect();
            let follow = x.iter().map(|&x| x.signum());
            let case = Case {
                rows: 2,
                cols,
                trits: follow.clone().chain(follow.map(|t| -t)).collect(),
                tokens: vec![x],
            };
            check(&case, kernel, choice, 1);
        }
    }
}

#[test]
fn every_code_of_every_group_is_unpacked() {
    let (cpu, packings) = packings("batched codes");
    for kernel in packings {
        // 3^7 rows: row n spells n in ternary over and over, starting where the row number says.
        let (rows, cols) = (2187, 2 * kernel.packing.code.step_cols().max(14));
        let trit = |row: usize, col: usize| {
            let place = (col + row) % 7;
            (row / 3usize.pow(place as u32) % 3) as i8 - 1
        };
        let mut rng = Rng(7);
        let case = Case {
            rows,
            cols,
            trits: (0..rows * cols).map(|i| trit(i / cols, i % cols)).collect(),
            tokens: (0..3)
                .map(|_| (0..cols).map(|_| rng.activation()).collect())
                .collect(),
        };
        for choice in choices(&cpu, kernel) {
            check(&case, kernel, choice, 2);
        }
    }
}

#[test]
fn shapes_of_real_models() {
    let (cpu, packings) = packings("batched model shapes");
    let planner = Planner::new(cpu.clone(), None, None).unwrap();
    for (rows, cols, tokens) in [(640, 2560, 17), (2560, 6912, 2)] {
        let case = Case::random(rows, cols, tokens, rows as u64);
        let expected = case.reference();
        // Trit by trit takes long; the other tests cover it.
        for &kernel in packings.iter().filter(|k| unpack_for(&cpu, **k).is_some()) {
            let choice = planner.choose_gemm(kernel.packing).expect("a gemm kernel");
            let id = choice.kernel.id;
            assert!(
                run(&case, kernel, choice, 3) == expected,
                "{id} on {rows}x{cols}"
            );
        }
    }
}

#[test]
fn the_planner_unpacks_with_vectors_where_it_can() {
    let (cpu, packings) = packings("batched plans");
    let planner = Planner::new(cpu.clone(), None, None).unwrap();
    for kernel in packings {
        let choice = planner.choose_gemm(kernel.packing).expect("a gemm kernel");
        let vectors = cpu.gemms().filter(|k| k.isa != Isa::Scalar);
        let best = vectors.map(|k| k.lanes).max();
        if best.is_some() {
            assert_eq!(Some(choice.kernel.lanes), best, "{}", choice.kernel.id);
            assert_ne!(choice.kernel.isa, Isa::Scalar);
        }
        // Without vectors a packing is decoded trit by trit.
        assert!(
            choice.unpack.is_some() || kernel.isa == Isa::Scalar,
            "{} of {} has no unpack kernel",
            kernel.packing,
            kernel.isa
        );
    }
}

/// The ISAs whose unpack kernels run on every CPU that has `isa`.
fn unpacking(isa: Isa) -> &'static [Isa] {
    match isa {
        Isa::Scalar => &[],
        Isa::Ssse3 => &[Isa::Ssse3],
        Isa::Avx2 | Isa::AvxVnni => &[Isa::Avx2],
        Isa::Avx512bw => &[Isa::Avx512bw],
        Isa::Avx512vnni => &[Isa::Avx512bw, Isa::Avx512vnni],
        Isa::Avx512vbmi => &[Isa::Avx512bw, Isa::Avx512vnni, Isa::Avx512vbmi],
        Isa::Neon | Isa::I8mm => &[Isa::Neon],
        Isa::Dotprod => &[Isa::Neon, Isa::Dotprod],
        Isa::Simd128 | Isa::Relaxed => &[Isa::Simd128],
    }
}

/// Also for kernels that this CPU does not run: a matrix is packed once, and prompts read the same copy.
#[test]
fn every_packing_has_an_unpack_kernel_beside_its_own() {
    let of_vectors = kernels()
        .chain(group_kernels())
        .filter(|kernel| kernel.isa != Isa::Scalar);
    let missing: Vec<&str> = of_vectors
        .filter(|kernel| {
            let packing = (kernel.packing.code, kernel.packing.lanes);
            let reads = |isa| unpacks().any(|u| u.isa == isa && (u.code, u.lanes) == packing);
            !unpacking(kernel.isa).iter().any(|&isa| reads(isa))
        })
        .map(|kernel| kernel.id)
        .collect();
    assert!(missing.is_empty(), "nothing unpacks for {missing:?}");
}

#[test]
fn a_team_returns_the_same_sums() {
    let (cpu, packings) = packings("batched teams");
    let planner = Planner::new(cpu, None, None).unwrap();
    // WebAssembly has one thread.
    let most = if cfg!(target_family = "wasm") { 1 } else { 3 };
    for threads in 1..=most {
        let mut team = Team::new(threads);
        for kernel in packings.iter().filter(|k| k.isa != Isa::Scalar) {
            let choice = planner.choose_gemm(kernel.packing).expect("a gemm kernel");
            let rows = 2 * kernel.packing.lanes * kernel.panels + 3;
            let case = Case::random(rows, 300, 7, threads as u64);
            let gemv = Choice {
                kernel: *kernel,
                tile: WHOLE,
                source: Source::Forced,
            };
            // More workers than some matrices have strips: then a part is empty.
            let gemv = Gemv::new(case.pack(*kernel), gemv, threads).unwrap();
            let mut batch = Batch::new(kernel.packing, case.cols, case.tokens.len()).unwrap();
            for (mut row, q) in batch.rows().zip(&case.tokens) {
                row.fill(q);
            }
            let (gemm, expected) = (Gemm::new(&gemv, choice), case.reference());
            let mut parts = gemm.parts(case.tokens.len()).unwrap();
            // Twice: what is left of the first product must not show.
            for _ in 0..2 {
                team.session(|session| {
                    gemm.run_on(session, gemv.matrix(), &batch, &mut parts);
                });
            }
            let mut covered = 0;
            for part in &parts {
                assert_eq!(part.rows().start, covered);
                covered = part.rows().end;
                for (token, sums) in part.sums().enumerate() {
                    let expected = &expected[token * rows..][part.rows()];
                    assert_eq!(sums, expected, "{}, {threads} threads", kernel.packing);
                }
            }
            assert_eq!(covered, rows);
        }
    }
}
