//! Quantization gives the integers and scales of the Hugging Face implementation, to the bit.

#[path = "common/bitlinear.rs"]
mod bitlinear;

use tern_kernels::quantize::{absmean_scale, quantize_row, ternarize};

/// `quantize_row` into a new vector.
fn quantize(x: &[f32]) -> (Vec<i8>, f32) {
    let mut q = vec![99; x.len()];
    let scale = quantize_row(x, &mut q);
    (q, scale)
}

#[test]
fn rows_match_hugging_face() {
    let fixture = bitlinear::fixture();
    assert_eq!(fixture.shapes.len(), 8);
    for (name, shape) in &fixture.shapes {
        let weights = shape.weights();
        for row in 0..bitlinear::ROWS {
            let x = shape.activations(row, &weights);
            let (q, scale) = quantize(&x);
            let absmax = x.iter().fold(1e-5_f32, |largest, x| largest.max(x.abs()));
            assert_eq!(
                absmax.to_bits(),
                shape.absmax_bits[row],
                "{name}, row {row}"
            );
            assert_eq!(scale.to_bits(), shape.scale_bits[row], "{name}, row {row}");
            assert_eq!(q[..16], shape.q_first16[row], "{name}, row {row}");
            assert_eq!(bitlinear::sum(&q), shape.q_sum[row], "{name}, row {row}");
            let crc32 = bitlinear::crc32(&q, |q| q.to_le_bytes());
            assert_eq!(crc32, shape.q_crc32[row], "{name}, row {row}");
        }
    }
}

/// The fixture's own sums, by the plainest loop: the data that all kernels are checked against.
#[test]
fn quantized_rows_give_the_sums_of_hugging_face() {
    let fixture = bitlinear::fixture();
    for shape in fixture.shapes.values() {
        let weights = shape.weights();
        for row in 0..bitlinear::ROWS {
            let (q, scale) = quantize(&shape.activations(row, &weights));
            let dot = |trits: &[i8]| {
                trits
                    .iter()
                    .zip(&q)
                    .map(|(&trit, &q)| i32::from(trit) * i32::from(q))
                    .sum()
            };
            let sums: Vec<i32> = weights.chunks_exact(shape.in_features).map(dot).collect();
            shape.check_sums(row, &sums, scale, &fixture, "plain loop");
        }
    }
}

#[test]
fn master_weights_become_the_trits_of_hugging_face() {
    let expected = bitlinear::fixture().absmean_online;
    let masters = expected.masters();
    let scale = absmean_scale(masters.iter().copied());
    assert_eq!(scale.to_bits(), expected.scale_bits);

    // What a packed checkpoint of the same weights stores: bf16(1 / scale), a tie to even.
    let inverse = (1.0 / scale).to_bits();
    let rounded = inverse + 0x7FFF + (inverse >> 16 & 1);
    assert_eq!(rounded >> 16, u32::from(expected.weight_scale_bf16_bits));

    let trits: Vec<i8> = masters
        .iter()
        .map(|&weight| ternarize(weight, scale))
        .collect();
    assert_eq!(trits[..16], expected.ternary_first16);
    assert_eq!(bitlinear::sum(&trits), expected.ternary_sum);
    assert_eq!(
        trits.iter().filter(|&&trit| trit != 0).count(),
        expected.ternary_nnz
    );
    assert_eq!(
        bitlinear::crc32(&trits, |trit| trit.to_le_bytes()),
        expected.ternary_crc32
    );
}

/// The largest value is found at every place, and no lane or remainder is quantized differently.
#[test]
fn every_length_and_place_is_covered() {
    for len in 1..=70 {
        for place in 0..len {
            let mut x = vec![0.5; len];
            x[place] = -2.0;
            let (q, scale) = quantize(&x);
            assert_eq!(scale, 63.5);
            for (k, &q) in q.iter().enumerate() {
                assert_eq!(
                    q,
                    if k == place { -127 } else { 32 },
                    "{len} values, value {k}"
                );
            }
        }
    }
}

#[test]
fn an_empty_row_has_the_scale_of_zeros() {
    assert_eq!(quantize(&[]), (vec![], quantize(&[0.0]).1));
}

#[test]
fn extreme_magnitudes_stay_in_range() {
    for largest in [f32::MIN_POSITIVE, 1e-30, 1e-5, 1.0, 1e30, f32::MAX] {
        let (q, scale) = quantize(&[largest, -largest, largest / 2.0, 0.0]);
        assert!(scale.is_finite() && scale > 0.0);
        assert_eq!(q[0], -q[1]);
        assert_eq!(q[0], if largest >= 1e-5 { 127 } else { 0 }, "{largest:e}");
        assert_eq!(q[3], 0);
    }
}

#[test]
fn a_value_that_is_not_finite_makes_the_scale_nan_and_the_row_zero() {
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for place in [0, 15, 16, 39] {
            let mut x = [1.0; 40];
            x[place] = bad;
            let (q, scale) = quantize(&x);
            assert!(scale.is_nan());
            assert_eq!(q, [0; 40]);
        }
    }
}

#[test]
fn scales_of_odd_matrices_are_defined() {
    assert_eq!(absmean_scale([]), 1.0 / 1e-5);
    assert_eq!(absmean_scale([0.0, -0.0]), 1.0 / 1e-5);
    assert_eq!(absmean_scale([1.0, f32::INFINITY]), 0.0);
    assert!(absmean_scale([1.0, f32::NAN]).is_nan());
    assert_eq!(ternarize(f32::NAN, 1.0), 0);
    assert_eq!(ternarize(f32::NEG_INFINITY, 1.0), -1);
}
