//! Tests of the screen and its planes: bounds hold, and what they find is what the full head has.

use std::path::Path;
use std::sync::Arc;

use tern_kernels::{Buffer, CodeBits, Isa, Pages, Planner};

use super::*;
use crate::checkpoint::Floats;
use crate::element::{Element, f32_to_bf16};
use crate::gguf::{Gguf, Header, TensorType, quantize};
use crate::head::HeadCopy;
use crate::ops::half;
use crate::random::Xoshiro256PlusPlus;
use crate::sample::argmax;
use crate::{Engine, HeadMode, LoadOptions, Logits, Model, Work};

type Rows = Vec<Vec<f32>>;

fn head(rows: &[Vec<f32>]) -> DenseMatrix {
    head_of(rows, Element::F32)
}

/// The head in elements of a type.
fn head_of(rows: &[Vec<f32>], element: Element) -> DenseMatrix {
    let cols = rows[0].len();
    let each = rows.iter().flatten().map(|x| match element {
        Element::Bf16 => f32_to_bf16(*x).to_le_bytes().to_vec(),
        Element::F16 => half::narrow(*x).to_le_bytes().to_vec(),
        Element::F32 => x.to_le_bytes().to_vec(),
    });
    let data: Vec<u8> = each.flatten().collect();
    let tensor = Floats {
        element,
        data: &data,
        order: None,
    };
    DenseMatrix::copy(tensor, rows.len(), cols, Pages::Small).unwrap()
}

/// The head in blocks of a GGUF type.
fn head_in_blocks(rows: &[Vec<f32>], kind: TensorType) -> DenseMatrix {
    let mut header = Header::new();
    let dims = [rows[0].len() as u64, rows.len() as u64];
    header.tensor("output.weight", &dims, kind).unwrap();
    let mut writer = header.begin(Vec::new()).unwrap();
    for row in rows {
        let mut bytes = Vec::new();
        quantize::row(kind, row, &mut bytes).unwrap();
        writer.put("output.weight", &bytes).unwrap();
    }
    let file = writer.finish().unwrap();
    let gguf = Gguf::from_bytes("head", &file).unwrap();
    let made = DenseMatrix::copy_blocks(gguf.tensor("output.weight").unwrap(), Pages::Small);
    made.unwrap().unwrap()
}

/// What bounds are proven of.
const EXACT: &[CodeBits] = &[CodeBits::Four, CodeBits::Two];
/// What is screened by a window.
const WINDOW: &[CodeBits] = &[CodeBits::Two, CodeBits::Two];
const THREE: &[CodeBits] = &[CodeBits::Four, CodeBits::Two, CodeBits::Two];

fn planes(head: &DenseMatrix, bits: &[CodeBits]) -> Planes {
    Planes::new(head, bits, &Cpu::detect(), Pages::Small).unwrap()
}

fn random_rows(rows: usize, cols: usize, seed: u64) -> Rows {
    let mut random = Xoshiro256PlusPlus::new(seed);
    let mut normal = || (0..12).map(|_| random.next_unit()).sum::<f64>() as f32 - 6.0;
    let mut row = || (0..cols).map(|_| normal()).collect();
    (0..rows).map(|_| row()).collect()
}

/// A vector that nothing of [`random_rows`] has to do with.
fn random_hidden(cols: usize, seed: u64) -> Vec<f32> {
    random_rows(1, cols, seed + 1_000_000).remove(0)
}

fn full(head: &DenseMatrix, hidden: &[f32]) -> Vec<f32> {
    let mut full = vec![0.0; head.rows()];
    logits(head, 0..head.rows(), hidden, &mut [&mut full]);
    full
}

/// The logits by a screen in two parts, and what was read; `None` where bounds do not help.
fn by_bounds(
    head: &DenseMatrix,
    screen: &Screen,
    hidden: &[f32],
    keep: Keep,
) -> Option<(Vec<f32>, HeadUse)> {
    let rows = head.rows();
    let query = Query::coarse(hidden)?;
    let mut out = vec![0.0; rows];
    let middle = rows / 12 * 4;
    let (first, second) = out.split_at_mut(middle);
    let mut largest = Largest::default();
    largest.begin(keep.first());
    screen.estimate(0..middle, &query, &mut largest, first);
    screen.estimate(middle..rows, &query, &mut largest, second);
    let mut best: Vec<Candidate> = largest.found().collect();
    best.sort_unstable_by(|a, b| b.cmp(a));
    best.truncate(keep.first());
    let score = |found: &Candidate| {
        let mut out = [0.0];
        logits(head, found.row..found.row + 1, hidden, &mut [&mut out]);
        out[0]
    };
    let floor = keep.floor(&best.iter().map(score).collect::<Vec<f32>>())?;
    let mut left = Vec::new();
    let vectors = (hidden, &query);
    let mut used = screen.score(head, 0..middle, vectors, floor, &mut left, first);
    used += screen.score(head, middle..rows, vectors, floor, &mut left, second);
    Some((out, used))
}

/// Compares with the full head, and returns how many rows were scored; `None` where bounds do not help.
fn check(rows: &[Vec<f32>], hidden: &[f32], keep: Keep) -> Option<u64> {
    check_head(&head(rows), hidden, keep)
}

fn check_head(head: &DenseMatrix, hidden: &[f32], keep: Keep) -> Option<u64> {
    let screen = Screen::exact(planes(head, EXACT));
    let (found, used) = by_bounds(head, &screen, hidden, keep)?;
    let full = full(head, hidden);
    assert_eq!(argmax(&found), argmax(&full));
    let mut sorted: Vec<f32> = full.iter().copied().filter(|x| x.is_finite()).collect();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let wanted = match keep {
        Keep::Top(count) => sorted[count - 1],
        Keep::Within(distance) => sorted[0] - distance,
    };
    for (row, (&found, &full)) in found.iter().zip(&full).enumerate() {
        let is_same = found.to_bits() == full.to_bits();
        let may_miss = found == f32::NEG_INFINITY && !(full.is_finite() && full >= wanted);
        assert!(is_same || may_miss, "row {row}: {found} {full}");
    }
    Some(used.rows)
}

fn best(rows: &[Vec<f32>], hidden: &[f32]) -> u64 {
    check(rows, hidden, Keep::Top(1)).expect("finite")
}

#[test]
fn the_largest_logits_are_those_of_the_full_head_to_the_bit() {
    for (rows, cols) in [(1, 1), (7, 3), (500, 37), (300, 256), (2000, 128)] {
        for seed in 0..20 {
            let weights = random_rows(rows, cols, seed);
            let hidden = random_hidden(cols, seed);
            best(&weights, &hidden);
            check(&weights, &hidden, Keep::Top(1 + rows / 10));
            check(&weights, &hidden, Keep::Within(seed as f32));
        }
    }
}

/// Heads that stay in memory as their files have them.
#[test]
fn a_head_of_any_form_is_screened_to_the_bit() {
    let weights = random_rows(700, 256, 3);
    let elements = [Element::Bf16, Element::F16].map(|element| head_of(&weights, element));
    let kinds = [
        TensorType::Q8_0,
        TensorType::Q4_0,
        TensorType::Q4K,
        TensorType::Q6K,
        TensorType::Tq2_0,
    ];
    let blocks = kinds.map(|kind| head_in_blocks(&weights, kind));
    for head in elements.iter().chain(&blocks) {
        for seed in 0..10 {
            let hidden = random_hidden(256, seed);
            for keep in [Keep::Top(1), Keep::Top(20), Keep::Within(3.0)] {
                let scored = check_head(head, &hidden, keep).expect("finite");
                assert!(scored < 700, "{scored} rows");
            }
        }
    }
}

#[test]
fn a_row_that_stands_out_is_the_only_one_that_is_scored() {
    let mut weights = random_rows(3000, 2560, 1);
    let hidden = random_hidden(2560, 2);
    // Eight standard deviations of the logits, the square root of 2560.
    let along = 8.0 / 2560f32.sqrt();
    weights[1234] = hidden
        .iter()
        .zip(&weights[1234])
        .map(|(h, w)| h * along + w * 0.9)
        .collect();
    let scored = best(&weights, &hidden);
    assert!(scored < 10, "{scored}");
}

#[test]
fn adversarial_heads_change_no_result() {
    let hidden = random_hidden(96, 3);
    // All rows equal: all are scored, and the first wins.
    let same = vec![hidden.clone(); 50];
    assert_eq!(best(&same, &hidden), 50);
    // Near-ties: rows that differ in the last bits only.
    let near = |i: usize| {
        let flip = |x: &f32| f32::from_bits(x.to_bits() ^ (i as u32 % 3));
        hidden.iter().map(flip).collect()
    };
    let near: Rows = (0..200).map(near).collect();
    best(&near, &hidden);
    check(&near, &hidden, Keep::Top(20));
    // Rows of very different lengths, among them zero and the largest that an f32 can be.
    let mut long = random_rows(200, 96, 4);
    for (i, row) in long.iter_mut().enumerate() {
        let factor = 10f32.powi(i as i32 % 60 - 30);
        row.iter_mut().for_each(|x| *x *= factor);
    }
    long[17].fill(0.0);
    long[18].fill(f32::MIN_POSITIVE / 8.0);
    best(&long, &hidden);
    long[19].fill(f32::MAX / 64.0);
    check(&long, &hidden, Keep::Top(1));
    // Outliers make a row's integers coarse.
    let mut coarse = random_rows(200, 96, 5);
    coarse.iter_mut().for_each(|row| row[7] = 1e4);
    best(&coarse, &hidden);
    // Zeros: every row is the largest.
    let zeros = vec![vec![0.0; 96]; 30];
    assert_eq!(best(&zeros, &hidden), 30);
}

#[test]
fn what_is_no_number_is_passed_over_as_by_the_full_head() {
    let hidden = random_hidden(96, 6);
    let mut broken = random_rows(200, 96, 6);
    broken[3][5] = f32::NAN;
    broken[4][5] = f32::INFINITY;
    broken[5][5] = f32::MAX;
    broken[5][6] = -f32::MAX;
    for keep in [Keep::Top(1), Keep::Top(5), Keep::Within(3.0)] {
        check(&broken, &hidden, keep).expect("most are finite");
    }
    // Nothing can be said of a head that has no other rows.
    let broken = vec![vec![f32::NAN; 96]; 8];
    assert_eq!(check(&broken, &hidden, Keep::Top(1)), None);
}

#[test]
fn hidden_states_of_every_size_are_bounded_or_refused() {
    let weights = random_rows(300, 64, 7);
    for factor in [0.0, 1e-42, 1e-30, 1.0, 1e20] {
        let hidden = random_hidden(64, 8);
        let hidden: Vec<f32> = hidden.iter().map(|x| x * factor).collect();
        best(&weights, &hidden);
    }
    for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
        let mut hidden = vec![1.0; 64];
        hidden[9] = bad;
        hidden[10] = bad;
        assert!(Query::new(&hidden).is_none(), "{bad}");
    }
}

/// Weights of every kind that bounds may get to see, and hidden states that go with them.
fn kinds(cols: usize) -> Vec<(Rows, Vec<f32>)> {
    let normal = random_rows(64, cols, 9);
    let map = |rows: &Rows, f: &dyn Fn(usize, usize, f32) -> f32| -> Rows {
        let row = |(i, row): (usize, &Vec<f32>)| {
            let each = row.iter().enumerate();
            each.map(|(j, &x)| f(i, j, x)).collect()
        };
        rows.iter().enumerate().map(row).collect()
    };
    let hidden = random_hidden(cols, 9);
    let spiked = |x: &[f32]| {
        let each = x.iter().enumerate();
        each.map(|(j, &x)| if j % 50 == 1 { 40.0 * x } else { x })
            .collect::<Vec<f32>>()
    };
    vec![
        // Heavy tails.
        (map(&normal, &|_, _, x| x * x * x), hidden.clone()),
        // Groups of large weights, and large numbers of the hidden state on them.
        (
            map(&normal, &|i, j, x| {
                if j / 32 == i % 3 { 30.0 * x } else { x }
            }),
            spiked(&hidden),
        ),
        // Few weights that are not zero.
        (
            map(&normal, &|_, j, x| if j % 7 == 0 { x } else { 0.0 }),
            spiked(&hidden),
        ),
        (map(&normal, &|_, _, x| x.signum()), hidden.clone()),
        (
            map(&normal, &|i, _, x| x * 10f32.powi(i as i32 - 40)),
            hidden.clone(),
        ),
        // Rows along the hidden state, and along what a plane leaves out of others.
        (vec![hidden.clone(); 4], hidden.clone()),
        (normal.clone(), hidden),
    ]
}

/// What each bound claims, at every stage: for the true logit, in `f64`, and for the one that the head computes.
#[test]
fn every_logit_lies_within_its_bounds_at_every_stage() {
    for cols in [5, 96, 640] {
        for (weights, hidden) in kinds(cols) {
            let head = head(&weights);
            let screen = Screen::exact(planes(&head, EXACT));
            let full = full(&head, &hidden);
            let mut queries = vec![hidden.clone()];
            // The worst case of Cauchy and Schwarz: a hidden state along what the first plane leaves out.
            queries.push(left_out(&screen, &weights[3], 3));
            for (index, hidden) in queries.iter().enumerate() {
                let query = Query::coarse(hidden).unwrap();
                let bounds = screen.weights(&query);
                let mut estimates = vec![0.0; weights.len()];
                screen.estimate(
                    0..weights.len(),
                    &query,
                    &mut Largest::default(),
                    &mut estimates,
                );
                for (row, &first) in estimates.iter().enumerate() {
                    let mut second = [f64::from(first)];
                    screen
                        .planes
                        .add_products(1, row..row + 1, &query, &mut second);
                    let terms = weights[row].iter().zip(hidden);
                    let truth: f64 = terms.map(|(&w, &h)| f64::from(w) * f64::from(h)).sum();
                    let norm = screen.planes.norms()[row];
                    for (stage, estimate) in [first, second[0] as f32].into_iter().enumerate() {
                        let error = screen.planes.errors(stage)[row];
                        let reach = bounds.upper(estimate, error, norm) - f64::from(estimate)
                            + f64::from(first.abs()) * f64::from(f32::EPSILON);
                        let miss = (truth - f64::from(estimate)).abs();
                        assert!(miss <= reach, "{cols} {row} {stage}: {miss} > {reach}");
                        if index == 0 {
                            let miss = (f64::from(full[row]) - f64::from(estimate)).abs();
                            assert!(miss <= reach, "{cols} {row} {stage}: {miss} > {reach}");
                        }
                    }
                }
            }
        }
    }
}

/// What the first plane leaves out of a row, by asking it for one column after another.
fn left_out(screen: &Screen, row: &[f32], index: usize) -> Vec<f32> {
    let column = |(j, &x): (usize, &f32)| {
        let mut unit = vec![0.0; row.len()];
        unit[j] = 1.0;
        let query = Query::new(&unit).unwrap();
        let mut found = vec![0.0; index + 1];
        screen
            .planes
            .add_products(0, 0..index + 1, &query, &mut found);
        x - found[index] as f32
    };
    row.iter().enumerate().map(column).collect()
}

#[test]
fn bits_do_not_depend_on_the_instruction_set() {
    let head = head(&random_rows(70, 300, 10));
    let query = Query::new(&random_hidden(300, 10)).unwrap();
    let found: Vec<Vec<u32>> = Isa::HERE
        .iter()
        .map(|&cap| {
            let cpu = Cpu::detect().capped(cap);
            let planes = Planes::new(&head, THREE, &cpu, Pages::Small).unwrap();
            let mut out = vec![0.0; 70];
            let query = Query::new(&random_hidden(300, 10));
            planes.logits(0..70, &[query], &mut [&mut out]);
            out.iter().map(|x| x.to_bits()).collect()
        })
        .collect();
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(query.norm > 0.0);
}

#[test]
fn stored_parts_make_the_same_copy() {
    let rows = random_rows(70, 300, 11);
    let head = head(&rows);
    let cpu = Cpu::detect();
    for (mode, bits) in [
        (HeadMode::Q6, EXACT),
        (HeadMode::Q8, THREE),
        (HeadMode::Exact, EXACT),
        (HeadMode::Screened4, WINDOW),
    ] {
        let planes = planes(&head, bits);
        let copies = || {
            let copy = |part: &&[u8]| {
                let mut buffer = Buffer::zeroed(part.len(), Pages::Small).unwrap();
                buffer.copy_from_slice(part);
                buffer
            };
            planes.parts().iter().map(copy).collect::<Vec<_>>()
        };
        let again = HeadCopy::from_parts(mode, (70, 300), &cpu, copies()).unwrap();
        assert_eq!(again.planes().parts(), planes.parts());
        assert_eq!(
            again.planes().bytes() as u64,
            Planes::bytes_for(70, 300, bits)
        );
        assert!(HeadCopy::from_parts(mode, (71, 300), &cpu, copies()).is_none());
        assert!(HeadCopy::from_parts(mode, (70, 299), &cpu, copies()).is_some());
        assert!(HeadCopy::from_parts(mode, (70, 257 - 1), &cpu, copies()).is_none());
        let other = match mode {
            HeadMode::Screened4 => HeadMode::Exact,
            _ => HeadMode::Screened4,
        };
        assert!(HeadCopy::from_parts(other, (70, 300), &cpu, copies()).is_none());
        let mut short = copies();
        short.pop();
        assert!(HeadCopy::from_parts(mode, (70, 300), &cpu, short).is_none());
        assert!(HeadCopy::from_parts(mode, (70, 300), &cpu, Vec::new()).is_none());
    }
}

/// What planes leave out of rows whose weights are nearly normally distributed.
#[test]
fn planes_leave_out_as_much_as_is_said() {
    let head = head(&random_rows(200, 1280, 12));
    // The tails of these numbers are lighter than those of a normal distribution, of which two planes leave out 0.040, or 0.14.
    for (bits, expected) in [(EXACT, [0.098, 0.0355]), (WINDOW, [0.338, 0.134])] {
        let planes = planes(&head, bits);
        for (index, expected) in expected.into_iter().enumerate() {
            let parts = planes.errors(index).iter().zip(planes.norms());
            let mean = parts.map(|(e, n)| e / n).sum::<f32>() / 200.0;
            assert!((mean / expected - 1.0).abs() < 0.05, "{index}: {mean}");
        }
    }
}

/// A million pairs of a row and a hidden state (2000 rows of 512 columns, 500 hidden states, all random), twice: how often an estimate of one
/// plane, or of both, is off by more than the window of `screened4`. A token can only differ where that happens to the row with the
/// largest logit.
#[test]
fn a_statistical_window_misses_none_of_a_million_pairs() {
    let (rows, positions, cols) = (2000, 500, 512);
    let head = head(&random_rows(rows, cols, 13));
    let screen = Screen::statistical(planes(&head, WINDOW));
    let (mut misses, mut largest) = ([0; 2], [0.0f64; 2]);
    for position in 0..positions {
        let hidden = random_hidden(cols, position);
        let query = Query::coarse(&hidden).unwrap();
        let weights = screen.weights(&query);
        let full = full(&head, &hidden);
        for first in (0..rows).step_by(CHUNK) {
            let range = first..(first + CHUNK).min(rows);
            let mut estimates = vec![0.0; range.len()];
            for plane in 0..2 {
                let planes = &screen.planes;
                planes.add_products(plane, range.clone(), &query, &mut estimates);
                for (row, &estimate) in range.clone().zip(&estimates) {
                    let (error, norm) = (planes.errors(plane)[row], planes.norms()[row]);
                    let upper = weights.upper(estimate as f32, error, norm);
                    let miss = f64::from(full[row]) - estimate;
                    largest[plane] = largest[plane].max(miss / (upper - estimate) * DEVIATIONS);
                    misses[plane] += usize::from(f64::from(full[row]) > upper);
                }
            }
        }
    }
    eprintln!("{misses:?} misses; the largest errors are {largest:.2?} deviations");
    assert_eq!(misses, [0, 0]);
    // What eight bits of the hidden state may leave out is added in full, so the window is wider than it says.
    let is_wide = |largest: f64| (2.5..DEVIATIONS).contains(&largest);
    assert!(largest.into_iter().all(is_wide), "{largest:?}");
}

/// The demo's head is too small to be screened for speed; here it is all the same, for ten thousand positions of random text.
#[test]
fn ten_thousand_tokens_of_the_demo_are_those_of_the_full_head() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
    let planner = Planner::new(Cpu::detect(), None, None).unwrap();
    let mut model = Model::load(&folder, &LoadOptions::new(planner)).unwrap();
    let screen = Screen::exact(planes(model.weights.head(), EXACT));
    model.weights.head_copy = Some(HeadCopy::Screen(screen));
    let model = Arc::new(model);
    let mut engine = Engine::new(Arc::clone(&model)).unwrap();
    let mut random = Xoshiro256PlusPlus::new(1);
    let (vocab, length) = (model.config().vocab_size, 250);
    for _ in 0..40 {
        let (mut whole, mut one_by_one) = (model.sequence(), model.sequence());
        let tokens = (0..length).map(|_| (random.next() % vocab as u64) as u32);
        let tokens: Vec<u32> = tokens.collect();
        let mut work = [Work {
            sequence: &mut whole,
            tokens: &tokens,
            logits: Logits::All,
        }];
        let full = engine.step(&mut work).unwrap().rows(0).to_vec();
        for (token, full) in tokens.iter().zip(full.chunks(vocab)) {
            let mut work = [Work {
                sequence: &mut one_by_one,
                tokens: std::slice::from_ref(token),
                logits: Logits::Best,
            }];
            let output = engine.step(&mut work).unwrap();
            let best = argmax(output.last(0)).unwrap();
            assert_eq!(Some(best), argmax(full));
            let best = best as usize;
            assert_eq!(output.last(0)[best].to_bits(), full[best].to_bits());
        }
    }
    let used = engine.head_use();
    assert_eq!(
        (used.screened, used.full),
        (40 * length as u64, 40 * length as u64)
    );
    assert!(used.rows < used.screened * vocab as u64 / 4, "{used:?}");
}
