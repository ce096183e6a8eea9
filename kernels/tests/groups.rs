//! Matrices with a weight scale for each row and group of columns: every kernel returns the reference's bits.

mod common;

use common::{Case, Rng, several};
use tern_kernels::{
    Choice, Cpu, Family, Force, GroupError, GroupGemv, Kernel, KernelDesc, Operand, Planner, Shape,
    Source, Tables, Tile, WeightScales, group_kernels, kernels, reference,
};

/// A random matrix, its scales and some tokens.
struct Grouped {
    case: Case,
    group: usize,
    scales: Vec<f32>,
}

impl Grouped {
    fn random(rows: usize, cols: usize, group: usize, tokens: usize) -> Grouped {
        let case = Case::random(rows, cols, tokens, (rows * 4099 + cols) as u64);
        let mut rng = Rng(cols as u64);
        // Neither powers of two nor alike, so that another order of additions or a fused product shows.
        let scale = |_| (rng.below(1 << 20) as f32 - 300_000.0) / 7e5;
        let scales = (0..rows * cols.div_ceil(group)).map(scale).collect();
        Grouped {
            case,
            group,
            scales,
        }
    }

    fn reference(&self) -> Vec<f32> {
        let Case { rows, cols, .. } = self.case;
        let mut out = vec![0.0; rows * self.case.tokens.len()];
        for (x, y) in self.case.tokens.iter().zip(out.chunks_exact_mut(rows)) {
            let trit = |m: usize, k: usize| self.case.trits[m * cols + k];
            reference::gemv_groups(self.group, &self.scales, trit, x, y);
        }
        out
    }

    fn gemv(&self, kernel: Kernel, tile: Tile, threads: usize) -> Result<GroupGemv, GroupError> {
        let matrix = self.case.pack_as(kernel.packing.grouped(self.group));
        let choice = Choice {
            kernel,
            tile,
            source: Source::Forced,
        };
        GroupGemv::new(matrix, &self.scales, choice, threads)
    }

    /// The products of that very kernel.
    fn run(&self, kernel: Kernel, tile: Tile, threads: usize) -> Vec<f32> {
        self.run_on(&self.gemv(kernel, tile, threads).unwrap().alone())
    }

    fn run_on(&self, gemv: &GroupGemv) -> Vec<f32> {
        let operands: Vec<Operand> = self
            .case
            .tokens
            .iter()
            .map(|x| {
                let mut operand = gemv.operand().unwrap();
                operand.build(x);
                operand
            })
            .collect();
        let operands: Vec<&Operand> = operands.iter().collect();
        let rows = self.case.rows;
        let mut out = vec![f32::NAN; rows * operands.len()];
        for worker in 0..gemv.workers() {
            let (part, len) = (gemv.part_rows(worker), gemv.part_len(worker));
            let mut sums = vec![f32::NAN; len * operands.len()];
            gemv.run_part(worker, &operands, &mut sums);
            for (token, sums) in sums.chunks_exact(len.max(1)).enumerate() {
                out[token * rows..][part.clone()].copy_from_slice(&sums[..part.len()]);
            }
        }
        out
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn every_kernel_returns_the_references_bits() {
    let cpu = Cpu::detect();
    let skipped: Vec<&str> = group_kernels()
        .filter(|k| !cpu.has(k.isa))
        .map(|k| k.id)
        .collect();
    eprintln!("groups: skipped for want of their ISA: {skipped:?}");
    let mut ran = 0;
    for kernel in cpu.group_kernels() {
        let strip = kernel.packing.lanes * kernel.panels;
        for group in [32, 128, 256] {
            if !kernel.reads(kernel.packing.grouped(group)) {
                continue;
            }
            for (rows, cols) in [
                (1, 1),
                (strip + kernel.packing.lanes + 1, group - 1),
                (strip - 1, 3 * group + 7),
                (70, 2560),
            ] {
                let tokens = several(&kernel).max(2);
                let grouped = Grouped::random(rows, cols, group, tokens);
                let expected = bits(&grouped.reference());
                let tile = tern_kernels::plan::DEFAULT_TILE;
                let shared = grouped.run_on(&grouped.gemv(kernel, tile, 1).unwrap());
                assert!(
                    bits(&shared) == expected,
                    "{} and the kernels for more tokens, on {rows}x{cols} in groups of {group}",
                    kernel.id
                );
                for (k_blocks, chunk, threads) in [(1, 0, 1), (0, 1, 2), (2, 2, 3)] {
                    let tile = Tile {
                        k_blocks,
                        chunk,
                        prefetch: 0,
                        tables: Tables::Shared,
                    };
                    let found = bits(&grouped.run(kernel, tile, threads));
                    assert!(
                        found == expected,
                        "{} on {rows}x{cols} in groups of {group}, {tile:?}, {threads} workers",
                        kernel.id
                    );
                    ran += 1;
                }
            }
        }
    }
    assert!(ran > 0, "nothing ran");
}

/// Every `lut`, `mad` and `decode` code of an ISA has a kernel for matrices with scales by groups of either usual size. Not only on
/// this CPU: the registry lists what it cannot run as well.
#[test]
fn no_code_is_left_without_scales_by_groups() {
    let families = [Family::Lut, Family::Mad, Family::Decode];
    let mut missing = Vec::new();
    for kernel in kernels().filter(|k| families.contains(&k.family)) {
        for group in [128, 256] {
            let serves = |other: &&'static KernelDesc| {
                (other.isa, other.family) == (kernel.isa, kernel.family)
                    && other.packing.code == kernel.packing.code
                    && other.reads(other.packing.grouped(group))
            };
            if group_kernels().find(serves).is_none() {
                missing.push((kernel.id, group));
            }
        }
    }
    assert!(missing.is_empty(), "no kernel for groups: {missing:?}");
}

/// Groups at their bounds: all activations and all trits at an extreme, so that every window of a group ends as large as it can.
#[test]
fn the_largest_sums_of_groups_are_exact() {
    let cpu = Cpu::detect();
    let mut ran = 0;
    for kernel in cpu.group_kernels() {
        // The largest groups that fit its K block.
        let fits = |group: &usize| kernel.reads(kernel.packing.grouped(*group));
        let group = [256, 128].into_iter().find(fits).unwrap();
        for (trit, activation) in [(-1, -128), (1, -128), (-1, 127), (1, 127)] {
            let mut grouped = Grouped::random(3, 2 * group + 5, group, several(&kernel));
            grouped.case.trits.fill(trit);
            for token in &mut grouped.case.tokens {
                token.fill(activation);
            }
            let expected = bits(&grouped.reference());
            let found = bits(&grouped.run(kernel, tern_kernels::plan::DEFAULT_TILE, 1));
            assert!(found == expected, "{} {trit} {activation}", kernel.id);
            ran += 1;
        }
    }
    assert!(ran > 0, "nothing ran");
}

#[test]
fn what_does_not_fit_is_refused() {
    let cpu = Cpu::detect();
    let kernel = cpu.group_kernels().next().unwrap();
    let tile = tern_kernels::plan::DEFAULT_TILE;
    let mut grouped = Grouped::random(5, 300, 128, 1);
    grouped.scales.pop();
    let error = grouped.gemv(kernel, tile, 1).err().unwrap().to_string();
    assert!(
        error.contains("14 scales") && error.contains("expected 15"),
        "{error}"
    );

    // A kernel that sums over all of K does not read it, nor does one with scales read a matrix without groups.
    let grouped = Grouped::random(5, 300, 128, 1);
    let whole = cpu.kernels().find(|k| k.id.contains("scalar_p1")).unwrap();
    assert!(grouped.gemv(whole, tile, 1).is_err());
    let choice = Choice {
        kernel,
        tile,
        source: Source::Forced,
    };
    let matrix = grouped.case.pack_as(kernel.packing);
    assert!(tern_kernels::Gemv::new(matrix, choice, 1).is_err());
}

/// The scale of a row and column, whatever the granularity.
fn scale_at(scales: &WeightScales, cols: usize, row: usize, col: usize) -> f32 {
    match scales {
        WeightScales::Matrix(scale) => *scale,
        WeightScales::Rows(scales) => scales[row],
        WeightScales::Groups { group, scales } => scales[row * cols.div_ceil(*group) + col / group],
    }
}

/// Scales for the matrix, rows, groups as packed and coarser ones, times a step for each token and group: for every kernel, many tokens
/// at once or one, any tile and number of workers, the bits of the formula.
#[test]
fn steps_of_activations_and_coarser_scales_give_the_formulas_bits() {
    let cpu = Cpu::detect();
    let (group, rows, cols, tokens) = (32, 300, 3 * 32 + 7, 21);
    let grouped = Grouped::random(rows, cols, group, tokens);
    let mut rng = Rng(5);
    let mut scales = |count: usize| -> Vec<f32> {
        let scale = |_| (rng.below(1 << 20) as f32 - 300_000.0) / 7e5;
        (0..count).map(scale).collect()
    };
    let granularities = [
        WeightScales::Matrix(0.37),
        WeightScales::Rows(scales(rows)),
        WeightScales::Groups {
            group: 64,
            scales: scales(rows * 2),
        },
        WeightScales::Groups {
            group: 32,
            scales: grouped.scales.clone(),
        },
    ];
    let steps = scales(tokens * 4);
    let step = |token: usize, block: usize| steps[token * 4 + block];
    for scales in granularities {
        let mut expected = Vec::new();
        for (token, x) in grouped.case.tokens.iter().enumerate() {
            for row in 0..rows {
                let mut y = 0.0_f32;
                for (block, x) in x.chunks(group).enumerate() {
                    let trits = &grouped.case.trits[row * cols + block * group..];
                    let products = trits.iter().zip(x);
                    let products = products.map(|(&t, &x)| i32::from(t) * i32::from(x));
                    let scale = scale_at(&scales, cols, row, block * group);
                    y += (products.sum::<i32>() as f32 * scale) * step(token, block);
                }
                expected.push(y);
            }
        }
        for kernel in cpu.group_kernels() {
            for (chunk, threads, at_once) in [(0, 1, tokens), (1, 3, 1), (2, 2, 5)] {
                let choice = Choice {
                    kernel,
                    tile: Tile {
                        chunk,
                        ..kernel.default_tile()
                    },
                    source: Source::Forced,
                };
                let matrix = grouped.case.pack_as(kernel.packing.grouped(group));
                let gemv = GroupGemv::with_scales(matrix, &scales, choice, threads).unwrap();
                let operands: Vec<Operand> = (grouped.case.tokens.iter())
                    .map(|x| {
                        let mut operand = gemv.operand().unwrap();
                        operand.build(x);
                        operand
                    })
                    .collect();
                let (mut out, mut room) = (vec![f32::NAN; expected.len()], Vec::new());
                for (batch, operands) in operands.chunks(at_once).enumerate() {
                    for worker in 0..threads {
                        let (part, len) = (gemv.part_rows(worker), gemv.part_len(worker));
                        let mut sums = vec![f32::NAN; len * operands.len()];
                        let step = |token, block| step(batch * at_once + token, block);
                        gemv.run_part_stepped(worker, operands, step, &mut room, &mut sums);
                        for (token, sums) in sums.chunks_exact(len.max(1)).enumerate() {
                            let token = batch * at_once + token;
                            out[token * rows..][part.clone()].copy_from_slice(&sums[..part.len()]);
                        }
                    }
                }
                assert!(
                    bits(&out) == bits(&expected),
                    "{} with {:?}, {chunk} {threads} {at_once}",
                    kernel.id,
                    scales.granularity()
                );
            }
        }
    }
}

/// What is wanted decides among the kernels for groups too: a family, one of them, or the kin of a kernel that sums over all of K.
#[test]
fn the_planner_chooses_kernels_for_groups() {
    let shape = Shape {
        rows: 640,
        cols: 2560,
    };
    let plan = |force: Option<Force>| Planner::new(Cpu::detect(), None, force).unwrap();
    let choice = plan(None).choose_groups(shape, 128).unwrap();
    assert_eq!((choice.source, choice.kernel.batch), (Source::Estimate, 1));
    assert!(choice.kernel.reads(choice.kernel.packing.grouped(128)));
    for kernel in Cpu::detect().group_kernels() {
        let planner = plan(Some(kernel.id.parse().unwrap()));
        let found = planner.choose_groups(shape, 32).unwrap();
        assert_eq!((found.kernel.id, found.source), (kernel.id, Source::Forced));
        // Where all of K is summed, its kin.
        let whole = planner.choose(shape, 1).kernel;
        let kin = |k: &KernelDesc| (k.isa, k.family, k.packing.code);
        if Cpu::detect().kernels().any(|k| kin(&k) == kin(&kernel)) {
            assert_eq!(kin(&whole), kin(&kernel));
        }
        let back = plan(Some(whole.id.parse().unwrap())).choose_groups(shape, 32);
        assert_eq!(kin(&back.unwrap().kernel), kin(&kernel));
    }
    // No kernel of the family has groups: it forces what it can.
    let choice = plan(Some(Force::Family(Family::Addsub))).choose_groups(shape, 128);
    assert_eq!(choice.unwrap().source, Source::Estimate);
    assert!(plan(None).choose_groups(shape, 1 << 20).is_none());
}
