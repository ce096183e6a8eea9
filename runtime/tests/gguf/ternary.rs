//! Ternary types against encoders that place one code at a time, by the formulas of the formats' descriptions.

use tern_runtime::gguf::{Gguf, GgufError, GgufOptions, I2sLayout, Scales, TensorType, quantize};

use crate::encode;
use crate::formats::half;
use crate::raw::{Random, Raw};

const ROWS: usize = 8;

/// A matrix of codes (trit + 1) and the bits of its scales.
struct Matrix {
    cols: usize,
    codes: Vec<u8>,
    scales: Vec<u16>,
}

impl Matrix {
    fn random(cols: usize, codes: u64, random: &mut Random) -> Matrix {
        Matrix {
            cols,
            codes: (0..ROWS * cols)
                .map(|_| random.below(codes) as u8)
                .collect(),
            // Finite, of both signs.
            scales: (0..ROWS * cols)
                .map(|_| (random.below(0x7c00) | random.below(2) << 15) as u16)
                .collect(),
        }
    }

    fn code(&self, row: usize, col: usize) -> u8 {
        self.codes[row * self.cols + col]
    }

    fn scale(&self, index: usize) -> f32 {
        half(self.scales[index])
    }
}

/// The whole tensor.
fn encode(kind: TensorType, matrix: &Matrix) -> Vec<u8> {
    encode::encode(
        kind,
        &encode::Matrix {
            rows: ROWS,
            cols: matrix.cols,
            code: &|row, col| matrix.code(row, col),
            scale: &|row, col| matrix.scale(scale_index(kind, row, col, matrix.cols)),
        },
    )
}

fn options(kind: TensorType) -> GgufOptions {
    match kind {
        TensorType::I2s(i2s_layout) => GgufOptions { i2s_layout },
        _ => GgufOptions::default(),
    }
}

/// A file with the matrix, and a vector behind it that proves its size.
fn file(kind: TensorType, matrix: &Matrix) -> Vec<u8> {
    let mut data = encode(kind, matrix);
    data.resize(data.len().next_multiple_of(32), 0);
    let offset = data.len() as u64;
    data.extend([0; 4]);
    Raw::new()
        .tensor("w", &[matrix.cols as u64, ROWS as u64], kind.id(), 0)
        .tensor("v", &[1], 0, offset)
        .data(data)
        .bytes()
}

/// Every ternary type, I2_S in every layout.
fn kinds() -> Vec<TensorType> {
    let ternary = TensorType::ALL
        .into_iter()
        .filter(|kind| kind.scales().is_some());
    let layouts = I2sLayout::ALL.into_iter().map(TensorType::I2s);
    let kinds: Vec<_> = ternary.chain(layouts.skip(1)).collect();
    assert_eq!(kinds.len(), 13);
    kinds
}

/// Index of the scale of a weight.
fn scale_index(kind: TensorType, row: usize, col: usize, cols: usize) -> usize {
    match kind.scales().unwrap() {
        Scales::Matrix => 0,
        Scales::Row => row,
        Scales::Group(group) => (row * cols + col) / group,
    }
}

#[test]
fn trits_and_scales_come_back() {
    let mut random = Random(1);
    for kind in kinds() {
        let mut widths = vec![256, 768, 1280];
        match kind {
            TensorType::I2s(_) => widths.extend([16, 80, 144, 336]),
            _ => widths.push(3 * kind.block()),
        }
        for cols in widths {
            let matrix = Matrix::random(cols, 3, &mut random);
            let bytes = file(kind, &matrix);
            let file = Gguf::from_bytes_with("t", &bytes, options(kind)).unwrap();
            let tensor = file.tensor("w").unwrap();
            assert_eq!(
                (tensor.kind(), tensor.rows(), tensor.cols()),
                (kind, ROWS, cols)
            );
            let ternary = tensor.ternary().unwrap();
            let (mut trits, mut scales) = ternary.buffers();
            let mut numbers = vec![0.0; cols];
            for row in 0..ROWS {
                ternary.read_row(row, &mut trits, &mut scales).unwrap();
                tensor.read_row_f32(row, &mut numbers).unwrap();
                for col in 0..cols {
                    let (trit, scale) = (
                        matrix.code(row, col) as i8 - 1,
                        matrix.scale(scale_index(kind, row, col, cols)),
                    );
                    assert_eq!(trits[col], trit, "{kind}, {cols} columns: {row}, {col}");
                    let found = scales[col * scales.len() / cols];
                    assert_eq!(found.to_bits(), scale.to_bits(), "{kind}: {row}, {col}");
                    assert_eq!(
                        numbers[col],
                        scale * f32::from(trit),
                        "{kind}: {row}, {col}"
                    );
                }
            }
            let survey = tensor.survey();
            let zeros = matrix.codes.iter().filter(|&&code| code == 1).count();
            assert_eq!(survey.zeros, zeros as u64, "{kind}");
            assert_eq!((survey.code_3, survey.not_finite), (0, 0), "{kind}");
            let is_matrix = kind.scales() == Some(Scales::Matrix);
            assert_eq!(survey.one_scale.is_some(), is_matrix, "{kind}");
        }
    }
}

#[test]
fn code_3_is_found_where_it_stands() {
    let mut random = Random(2);
    for kind in kinds() {
        // Types with digits of base 3 have no such code.
        if matches!(
            kind,
            TensorType::Tq1_0 | TensorType::Ptq1_0 | TensorType::Iq1Bn
        ) {
            continue;
        }
        let mut matrix = Matrix::random(512, 3, &mut random);
        matrix.codes[5 * 512 + 77] = 3;
        matrix.codes[5 * 512 + 300] = 3;
        let bytes = file(kind, &matrix);
        let file = Gguf::from_bytes_with("t", &bytes, options(kind)).unwrap();
        let tensor = file.tensor("w").unwrap();
        let ternary = tensor.ternary().unwrap();
        let (mut trits, mut scales) = ternary.buffers();
        ternary.read_row(4, &mut trits, &mut scales).unwrap();
        let error = ternary.read_row(5, &mut trits, &mut scales).unwrap_err();
        assert!(
            matches!(
                error,
                GgufError::Code3 {
                    row: 5,
                    column: 77,
                    ..
                }
            ),
            "{kind}: {error}"
        );
        // The row is complete.
        let expected = matrix.codes[5 * 512..6 * 512]
            .iter()
            .map(|&code| code as i8 - 1);
        assert!(trits.iter().copied().eq(expected), "{kind}");
        let survey = tensor.survey();
        assert_eq!(
            (survey.code_3, survey.first_code_3),
            (2, Some((5, 77))),
            "{kind}"
        );
        let mut numbers = [0.0; 512];
        let read = tensor.read_row_f32(5, &mut numbers);
        if kind.allows_code_3() {
            read.unwrap();
            let scale = matrix.scale(scale_index(kind, 5, 77, 512));
            assert_eq!(numbers[77], 2.0 * scale, "{kind}");
            assert!(error.to_string().contains("twice the scale"), "{kind}");
        } else {
            assert!(matches!(read, Err(GgufError::Code3 { .. })), "{kind}");
            assert!(error.to_string().contains("download it again"), "{kind}");
        }
    }
}

#[test]
fn scales_that_are_not_finite_are_found() {
    let mut random = Random(3);
    for kind in kinds() {
        let matrix = Matrix::random(256, 3, &mut random);
        let mut bytes = encode(kind, &matrix);
        // A scale of the first row.
        let (at, nan): (usize, &[u8]) = match kind {
            TensorType::I2s(_) => (bytes.len() - 32, &[0, 0, 0x80, 0x7f]),
            TensorType::Iq2Bn | TensorType::Iq2BnR4 => (0, &[0, 0, 0x80, 0xff]),
            TensorType::Tq1_0 => (52, &[0, 0x7c]),
            TensorType::Tq2_0 => (64, &[0, 0xfc]),
            TensorType::Ptq1_0 => (26, &[1, 0x7c]),
            _ => (0, &[0, 0x7e]),
        };
        bytes[at..at + nan.len()].copy_from_slice(nan);
        let bytes = Raw::new()
            .tensor("w", &[256, ROWS as u64], kind.id(), 0)
            .data(bytes)
            .bytes();
        let Ok(file) = Gguf::from_bytes_with("t", &bytes, options(kind)) else {
            panic!("{kind} does not open");
        };
        let tensor = file.tensor("w").unwrap();
        let error = tensor.read_row_f32(0, &mut [0.0; 256]).unwrap_err();
        assert!(
            matches!(error, GgufError::Scale { row: 0, .. }),
            "{kind}: {error}"
        );
        assert_eq!(tensor.survey().not_finite, 1, "{kind}");
    }
}

#[test]
fn written_trits_are_exact() {
    let mut random = Random(4);
    let trits: Vec<i8> = (0..ROWS * 768).map(|_| random.below(3) as i8 - 1).collect();
    let scale = 0.0371f32;
    for kind in [
        TensorType::Tq1_0,
        TensorType::Tq2_0,
        TensorType::I2s(I2sLayout::Planes32),
    ] {
        let mut data = Vec::new();
        if kind.scales() == Some(Scales::Matrix) {
            // Rows of 192 end within blocks.
            let mut encoder = quantize::I2sEncoder::default();
            for row in trits.chunks_exact(192) {
                encoder.row(row, &mut data).unwrap();
            }
            encoder.finish(scale, &mut data).unwrap();
        } else {
            for row in trits.chunks_exact(768) {
                quantize::trits(kind, row, &[scale], &mut data).unwrap();
            }
        }
        let bytes = Raw::new()
            .tensor("w", &[768, ROWS as u64], kind.id(), 0)
            .data(data)
            .bytes();
        let file = Gguf::from_bytes("t", &bytes).unwrap();
        let tensor = file.tensor("w").unwrap();
        let ternary = tensor.ternary().unwrap();
        let (mut found, mut scales) = ternary.buffers();
        for (row, expected) in trits.chunks_exact(768).enumerate() {
            ternary.read_row(row, &mut found, &mut scales).unwrap();
            assert_eq!(found, expected, "{kind}");
        }
        let expected = match kind.scales() {
            Some(Scales::Matrix) => scale,
            _ => quantize::stored_scale(scale),
        };
        assert!(scales.iter().all(|&found| found == expected), "{kind}");
        assert_eq!(tensor.survey().one_scale, Some(expected), "{kind}");
    }
}

#[test]
fn ternary_numbers_become_the_same_i2_s() {
    let values = [0.25f32, 0.0, -0.25, 0.25];
    let mut trits = [9; 4];
    quantize::exact_trits(&values, 0.25, &mut trits).unwrap();
    assert_eq!(trits, [1, 0, -1, 1]);
}
