//! Bits of every type that public code can compute, against that code (`fixtures/gguf/make.py`).

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use tern_runtime::gguf::{Gguf, TensorType, quantize};

use crate::raw::Raw;

pub fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf");
    fs::read(folder.join(name)).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let fours = bytes.as_chunks::<4>().0.iter();
    fours.map(|four| f32::from_le_bytes(*four)).collect()
}

/// Reads `data` as one tensor of rows of 256, or of the block where that tells layouts apart.
fn dequantized(kind: TensorType, data: &[u8], rows: u64) -> Vec<f32> {
    let (cols, rows) = match kind {
        TensorType::Q2_0 => (64, 4 * rows),
        _ => (256, rows),
    };
    let file = Raw::new()
        .tensor("x", &[cols, rows], kind.id(), 0)
        .data(data.to_vec())
        .bytes();
    let file = Gguf::from_bytes("x", &file).unwrap();
    let tensor = file.tensor("x").unwrap();
    assert_eq!(tensor.kind(), kind);
    let mut all = vec![0.0; (cols * rows) as usize];
    for (row, out) in all.chunks_exact_mut(cols as usize).enumerate() {
        tensor.read_row_f32(row, out).unwrap();
    }
    all
}

#[test]
fn quantized_bits_are_those_of_llama_cpp() {
    let bytes = fixture("blocks.safetensors");
    let fixture = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = floats(fixture.tensor("numbers").unwrap().data());
    for kind in [
        TensorType::F16,
        TensorType::Bf16,
        TensorType::Q8_0,
        TensorType::Q4_0,
        TensorType::Q4K,
        TensorType::Q6K,
        TensorType::Tq1_0,
        TensorType::Tq2_0,
    ] {
        let expected = fixture.tensor(&format!("quantized.{kind}")).unwrap();
        let expected = expected.data().chunks_exact(expected.data().len() / 10);
        for (index, (row, expected)) in numbers.chunks_exact(256).zip(expected).enumerate() {
            let mut found = Vec::new();
            quantize::row(kind, row, &mut found).unwrap();
            assert_eq!(found, expected, "{kind}, row {index}");
        }
    }
}

#[test]
fn numbers_are_those_of_llama_cpp() {
    let bytes = fixture("blocks.safetensors");
    let fixture = SafeTensors::deserialize(&bytes).unwrap();
    for kind in [
        TensorType::Q8_0,
        TensorType::Q4_0,
        TensorType::Q4K,
        TensorType::Q6K,
        TensorType::Tq1_0,
        TensorType::Q2_0,
    ] {
        let data = fixture.tensor(&format!("random.{kind}")).unwrap();
        let expected = fixture.tensor(&format!("dequantized.{kind}")).unwrap();
        let found = dequantized(kind, data.data(), 4);
        for (index, (found, expected)) in found.iter().zip(floats(expected.data())).enumerate() {
            assert_eq!(found.to_bits(), expected.to_bits(), "{kind}, {index}");
        }
    }
}

/// Random bytes hold the code 3, which the package reads as twice the scale and tern refuses.
#[test]
fn numbers_of_tq2_0_are_those_of_llama_cpp_but_for_code_3() {
    let kind = TensorType::Tq2_0;
    let bytes = fixture("blocks.safetensors");
    let fixture = SafeTensors::deserialize(&bytes).unwrap();
    let mut data = fixture.tensor("random.TQ2_0").unwrap().data().to_vec();
    let expected = floats(fixture.tensor("dequantized.TQ2_0").unwrap().data());
    for block in data.chunks_exact_mut(66) {
        for byte in &mut block[..64] {
            // Codes of 3 become 2.
            *byte &= !(*byte >> 1 & 0x55);
        }
    }
    let found = dequantized(kind, &data, 4);
    let pairs = found.iter().zip(expected).enumerate();
    let mut same = 0;
    for (index, (found, expected)) in pairs {
        let scale = &data[index / 256 * 66 + 64..][..2];
        let scale = half(u16::from_le_bytes([scale[0], scale[1]]));
        if expected == 2.0 * scale && scale != 0.0 {
            assert_eq!(*found, scale, "{index}");
        } else {
            assert_eq!(found.to_bits(), expected.to_bits(), "{index}");
            same += 1;
        }
    }
    assert!(same > 600, "{same}");
}

/// A binary16 by its definition.
pub fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f32::from(bits & 0x3ff));
    match exponent {
        0 => sign * mantissa * 2f32.powi(-24),
        31 => panic!("no test has a scale that is not finite"),
        _ => sign * (1.0 + mantissa / 1024.0) * 2f32.powi(exponent - 15),
    }
}

#[test]
fn floats_are_read_as_they_are() {
    let bytes = fixture("blocks.safetensors");
    let fixture = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = fixture.tensor("numbers").unwrap();
    assert_eq!(
        dequantized(TensorType::F32, numbers.data(), 10),
        floats(numbers.data())
    );
    for (kind, most) in [(TensorType::F16, 1e-3), (TensorType::Bf16, 1e-2)] {
        let data = fixture.tensor(&format!("quantized.{kind}")).unwrap();
        let found = dequantized(kind, data.data(), 10);
        for (found, expected) in found.iter().zip(floats(numbers.data())) {
            assert!((found - expected).abs() <= most * expected.abs() + 1e-7);
        }
    }
}

/// What a quantizer stores is near what it was given: half a step of the coarsest group. Not in row 5, whose scales are
/// so small that f16 has few digits for them.
#[test]
fn what_is_written_is_read_again() {
    let bytes = fixture("blocks.safetensors");
    let fixture = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = floats(fixture.tensor("numbers").unwrap().data());
    for (kind, most) in [
        (TensorType::Q8_0, 0.005),
        (TensorType::Q6K, 0.03),
        (TensorType::Q4K, 0.12),
        (TensorType::Q4_0, 0.13),
    ] {
        let mut data = Vec::new();
        quantize::row(kind, &numbers, &mut data).unwrap();
        let found = dequantized(kind, &data, 10);
        let rows = found.chunks_exact(256).zip(numbers.chunks_exact(256));
        for (index, (found, expected)) in rows.enumerate().filter(|(index, _)| *index != 5) {
            let largest = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
            for (found, expected) in found.iter().zip(expected) {
                let off = (found - expected).abs();
                assert!(
                    off <= most * largest,
                    "{kind}, row {index}: {found} for {expected}"
                );
            }
        }
    }
}
