//! Outputs of exact sums: the bits of the formulas, whatever kernel made the sums and however rows were split.

mod common;

use common::{Case, Rng, WHOLE, runnable};
use tern_kernels::epilogue::scale_grouped;
use tern_kernels::{
    Choice, Cpu, Gemv, Granularity, GroupGemv, Kernel, ScaleRule, Source, WeightScales,
    group_kernels, kernels, reference,
};

const RULES: [ScaleRule; 2] = [ScaleRule::Multiply, ScaleRule::Divide];

/// What the formulas say, one output at a time.
fn naive(rule: ScaleRule, sum: i32, s: f32, scale: f32) -> f32 {
    match rule {
        ScaleRule::Multiply => {
            let quotient = sum as f32 / s;
            quotient * scale
        }
        ScaleRule::Divide => {
            let divisor = scale * s;
            sum as f32 / divisor
        }
    }
}

/// Scales that are neither alike nor powers of two: any other order of operations rounds differently somewhere.
fn random_scales(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng(seed);
    (0..count)
        .map(|_| (rng.below(1 << 22) as f32 + 1.0) / 1.3e6)
        .collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// The outputs of a case by `kernel`: every worker scales its own rows, and adds to what is there.
fn run(
    case: &Case,
    kernel: Kernel,
    threads: usize,
    scales: &WeightScales,
    rule: ScaleRule,
    s: &[f32],
) -> Vec<f32> {
    let choice = Choice {
        kernel,
        tile: WHOLE,
        source: Source::Forced,
    };
    let gemv = Gemv::new(case.pack(kernel), choice, threads).unwrap();
    let operands = case.operands(kernel);
    let operands: Vec<_> = operands.iter().collect();
    let mut out = vec![1.0; case.rows * operands.len()];
    for worker in 0..gemv.workers() {
        let (part, len) = (gemv.part_rows(worker), gemv.part_len(worker));
        let mut sums = vec![i32::MIN; len * operands.len()];
        gemv.run_part(worker, &operands, &mut sums);
        for (token, &s) in s.iter().enumerate() {
            let out = &mut out[token * case.rows..][part.clone()];
            let sums = &sums[token * len..][..len];
            scales.apply(rule, part.clone(), sums, s, out, |out, y| *out += y);
        }
    }
    out
}

#[test]
fn every_kernel_gives_the_bits_of_the_formulas() {
    let (_, kernels) = runnable("epilogue");
    for kernel in kernels {
        let (lanes, strip) = (kernel.packing.lanes, kernel.packing.lanes * kernel.panels);
        for rows in [1, lanes - 1, lanes + 1, strip - 1, strip + lanes + 3] {
            if rows == 0 {
                continue;
            }
            let case = Case::random(rows, 70, 2, (rows + lanes) as u64);
            let (sums, s) = (case.reference(), random_scales(2, 7));
            let by_row = random_scales(rows, rows as u64);
            for (scales, of) in [
                (WeightScales::Matrix(1.2109375), vec![1.2109375; rows]),
                (WeightScales::Rows(by_row.clone()), by_row),
            ] {
                scales.check(rows, 70).unwrap();
                for (rule, threads) in RULES.into_iter().flat_map(|rule| [(rule, 1), (rule, 3)]) {
                    let expected: Vec<f32> = (0..2 * rows)
                        .map(|i| 1.0 + naive(rule, sums[i], s[i / rows], of[i % rows]))
                        .collect();
                    let found = run(&case, kernel, threads, &scales, rule, &s);
                    assert!(
                        bits(&found) == bits(&expected),
                        "{} with {rows} rows on {threads} workers, {rule:?} by {}",
                        kernel.id,
                        scales.granularity().name(),
                    );
                }
            }
        }
    }
}

/// Every length and start, so that whatever vectors the compiler made have every rest, and sums that no `f32` holds.
#[test]
fn every_part_of_the_rows_has_their_own_scales() {
    let mut rng = Rng(3);
    let sums: Vec<i32> = (0..90)
        .map(|i| match i % 9 {
            0 => i32::MAX - i,
            1 => i32::MIN + i,
            2 => (1 << 24) + 1,
            3 => 0,
            _ => (rng.next() >> 40) as i32 - (1 << 23),
        })
        .collect();
    let (scales, one) = (random_scales(90, 5), 24.625);
    let by_row = WeightScales::Rows(scales.clone());
    for (start, len) in (0..20).flat_map(|start| (0..=70).map(move |len| (start, len))) {
        let (rows, s) = (start..start + len, 12.7);
        for rule in RULES {
            let mut out = vec![0.0; len];
            by_row.apply(rule, rows.clone(), &sums[start..], s, &mut out, |out, y| {
                *out = y
            });
            let formula = |row: usize| naive(rule, sums[row], s, scales[row]);
            let expected: Vec<f32> = rows.clone().map(formula).collect();
            assert_eq!(bits(&out), bits(&expected), "{rule:?} rows {rows:?}");

            let matrix = WeightScales::Matrix(one);
            matrix.apply(rule, rows.clone(), &sums[start..], s, &mut out, |out, y| {
                *out = y
            });
            let formula = |row: usize| naive(rule, sums[row], s, one);
            let expected: Vec<f32> = rows.clone().map(formula).collect();
            assert_eq!(bits(&out), bits(&expected), "{rule:?} all rows {rows:?}");
        }
    }
    // A row with a NaN has no scale (`quantize_row`): all of its outputs are NaN.
    let mut out = [0.0; 3];
    by_row.apply(
        ScaleRule::Multiply,
        0..3,
        &sums,
        f32::NAN,
        &mut out,
        |out, y| *out = y,
    );
    assert!(out.iter().all(|y| y.is_nan()));
}

#[test]
fn groups_are_divided_by_the_activation_scale_at_the_end() {
    let cpu = Cpu::detect();
    let (rows, cols, group) = (37, 300, 128);
    let case = Case::random(rows, cols, 1, 11);
    let scales = random_scales(rows * 3, 12);
    let mut expected = vec![0.0; rows];
    let trit = |m: usize, k: usize| case.trits[m * cols + k];
    reference::gemv_groups(group, &scales, trit, &case.tokens[0], &mut expected);
    let expected: Vec<f32> = expected.iter().map(|y| y / 3.7).collect();
    let mut ran = 0;
    for kernel in cpu.group_kernels() {
        let packing = kernel.packing.grouped(group);
        if !kernel.reads(packing) {
            continue;
        }
        let choice = Choice {
            kernel,
            tile: WHOLE,
            source: Source::Forced,
        };
        let gemv = GroupGemv::new(case.pack_as(packing), &scales, choice, 2).unwrap();
        let mut operand = gemv.operand().unwrap();
        operand.build(&case.tokens[0]);
        let mut out = vec![f32::NAN; rows];
        for worker in 0..gemv.workers() {
            let mut sums = vec![f32::NAN; gemv.part_len(worker)];
            gemv.run_part(worker, &[&operand], &mut sums);
            let out = &mut out[gemv.part_rows(worker)];
            scale_grouped(&sums, 3.7, out, |out, y| *out = y);
        }
        assert!(bits(&out) == bits(&expected), "{}", kernel.id);
        ran += 1;
    }
    assert!(ran > 0, "nothing ran");
}

#[test]
fn scales_that_do_not_fit_are_refused() {
    let fits = |scales: WeightScales| scales.check(3, 300);
    assert_eq!(fits(WeightScales::Matrix(1.0)), Ok(()));
    assert_eq!(fits(WeightScales::Rows(vec![1.0; 3])), Ok(()));
    let groups = |count| WeightScales::Groups {
        group: 128,
        scales: vec![1.0; count],
    };
    assert_eq!(fits(groups(9)), Ok(()));
    let message = fits(WeightScales::Rows(vec![1.0; 4]))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("4 weight scales") && message.contains("expected 3, one for each row"),
        "{message}"
    );
    let message = fits(groups(6)).unwrap_err().to_string();
    assert!(
        message.contains("expected 9, one for each row and group of 128 columns"),
        "{message}"
    );
}

#[test]
#[should_panic(expected = "group by group")]
fn scales_by_groups_do_not_scale_whole_rows() {
    let scales = WeightScales::Groups {
        group: 2,
        scales: vec![1.0],
    };
    scales.apply(
        ScaleRule::Multiply,
        0..1,
        &[1],
        1.0,
        &mut [0.0],
        |out, y| *out = y,
    );
}

#[test]
fn every_kernel_says_which_scales_it_serves() {
    let whole = [Granularity::Matrix, Granularity::Row];
    assert!(kernels().all(|k| k.scales.granularities() == whole));
    assert!(group_kernels().all(|k| k.scales.granularities() == [Granularity::Group]));
}
