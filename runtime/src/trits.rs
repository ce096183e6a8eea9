//! Rows of trits from what a checkpoint holds: packed codes, trits as floats, or master weights.

use safetensors::Dtype;
use tern_kernels::Shape;
use tern_kernels::quantize::{absmean_scale, ternarize};

use crate::checkpoint::{Floats, Tensor};
use crate::element::Element;
use crate::error::CheckpointError;
use crate::gguf;
use crate::gguf_model::{HeadRows, Q4_CODES};
use crate::ops::half;

/// Rows of trits, as a checkpoint spells them. What is not a trit comes out as 2.
pub(crate) enum Trits<'a> {
    /// Hugging Face's packing: row `r` lies in byte row `r mod R` (`R = rows / 4`), in the bits from
    /// `2 · (r / R)` up, as trit + 1.
    Packed { data: &'a [u8], byte_rows: usize },
    /// −1, 0 and 1 as floats.
    Floats(Floats<'a>),
    /// Master weights, to be multiplied by this scale and rounded.
    Masters(Floats<'a>, f32),
    /// Trits times scales that were found ([`find_scales`](crate::exact::find_scales)): their signs.
    Scaled(Floats<'a>),
    /// Blocks of a GGUF file, and the order of their rows.
    Blocks(gguf::Ternary<'a>, Option<HeadRows>),
    /// Blocks of type Q4_0 that were quantized from trits (see [`Q4_CODES`]).
    Q4(gguf::Tensor<'a>, Option<HeadRows>),
}

impl<'a> Trits<'a> {
    /// Trits that are in the file: packed in a quarter of the rows, or one float each.
    pub fn stored(tensor: &Tensor<'a>, shape: Shape) -> Result<Trits<'a>, CheckpointError> {
        let Shape { rows, cols } = shape;
        if tensor.dtype == Dtype::U8 {
            tensor.check_shape(&[rows / 4, cols])?;
            return Ok(Trits::Packed {
                data: tensor.data,
                byte_rows: rows / 4,
            });
        }
        if Element::of(tensor.dtype).is_none() {
            return Err(tensor.wrong_dtype("u8 (four trits a byte), or bf16, f16 or f32 trits"));
        }
        Ok(Trits::Floats(tensor.floats(&[rows, cols])?))
    }

    /// Quantizes master weights: `scale = 1 / mean|w|`, trits `round(w · scale)`, at most ±1. Returns
    /// the trits and the weight scale that multiplies, `1 / scale`.
    pub fn from_masters(
        tensor: &Tensor<'a>,
        shape: Shape,
    ) -> Result<(Trits<'a>, f32), CheckpointError> {
        let Shape { rows, cols } = shape;
        let floats = tensor.floats(&[rows, cols])?;
        let scale = absmean_scale(floats.to_vec());
        if !scale.is_finite() || scale == 0.0 {
            let found = "a value that is not finite, or absurdly large".to_owned();
            return Err(tensor.wrong_value(found, "finite master weights"));
        }
        Ok((Trits::Masters(floats, scale), 1.0 / scale))
    }

    /// Writes one row.
    pub fn read_row(&self, row: usize, trits: &mut [i8]) {
        let cols = trits.len();
        match self {
            Trits::Packed { data, byte_rows } => {
                let (byte_row, shift) = (row % byte_rows, 2 * (row / byte_rows));
                for (trit, byte) in trits.iter_mut().zip(&data[byte_row * cols..][..cols]) {
                    *trit = (byte >> shift & 3) as i8 - 1;
                }
            }
            Trits::Floats(floats) => {
                let mut values = vec![0.0; cols];
                floats.read(row * cols, &mut values);
                for (trit, value) in trits.iter_mut().zip(values) {
                    *trit = match value {
                        -1.0 => -1,
                        0.0 => 0,
                        1.0 => 1,
                        _ => 2,
                    };
                }
            }
            Trits::Masters(floats, scale) => {
                let mut values = vec![0.0; cols];
                floats.read(row * cols, &mut values);
                for (trit, value) in trits.iter_mut().zip(values) {
                    *trit = ternarize(value, *scale);
                }
            }
            Trits::Scaled(floats) => {
                let mut values = vec![0.0; cols];
                floats.read(row * cols, &mut values);
                for (trit, value) in trits.iter_mut().zip(values) {
                    *trit = i8::from(value > 0.0) - i8::from(value < 0.0);
                }
            }
            Trits::Blocks(ternary, order) => {
                let row = order.map_or(row, |order| order.in_file(row));
                let mut scales = vec![0.0; ternary.scales_in_row()];
                // What is wrong with a row are trits of 2, or scales, which were looked at before.
                let _ = ternary.read_row(row, trits, &mut scales);
                for (trits, scale) in trits.chunks_mut(cols / scales.len()).zip(scales) {
                    if scale < 0.0 {
                        let flipped = trits.iter_mut().filter(|trit| **trit < 2);
                        flipped.for_each(|trit| *trit = -*trit);
                    }
                }
            }
            Trits::Q4(tensor, order) => {
                let row = order.map_or(row, |order| order.in_file(row));
                for (index, block) in q4_blocks(tensor, row).enumerate() {
                    let (scale, codes) = block;
                    for (trit, code) in trits[32 * index..].iter_mut().zip(codes) {
                        let sign = match code {
                            code if code == Q4_CODES[0] => -1,
                            code if code == Q4_CODES[1] => 0,
                            code if code == Q4_CODES[2] => 1,
                            _ => 2,
                        };
                        *trit = if scale < 0.0 && sign < 2 { -sign } else { sign };
                    }
                }
            }
        }
    }

    /// What a row should have held.
    pub fn expected(&self) -> &'static str {
        match self {
            Trits::Packed { .. } => "the codes 0, 1 and 2 (trit + 1) in every two bits",
            Trits::Floats(_) => "-1, 0 or 1 everywhere (quantization_mode is \"offline\")",
            Trits::Masters(..) => "finite master weights",
            Trits::Scaled(_) => "trits times a scale",
            Trits::Blocks(..) => {
                "the codes 0, 1 and 2: code 3 is damage, or another order of bytes (for I2_S see --i2s-layout)"
            }
            Trits::Q4(..) => {
                "the codes 0, 8 and 15, which ternary weights have in Q4_0: use a file of a ternary type"
            }
        }
    }
}

/// The blocks of a row of type Q4_0: scale, and the 32 codes.
pub(crate) fn q4_blocks<'a>(
    tensor: &gguf::Tensor<'a>,
    row: usize,
) -> impl Iterator<Item = (f32, [u8; 32])> + use<'a> {
    let blocks = tensor.cols() / 32;
    let data = &tensor.data()[row * blocks * 18..][..blocks * 18];
    data.as_chunks::<18>().0.iter().map(|block| {
        let scale = half::widen(u16::from_le_bytes([block[0], block[1]]));
        let code = |i: usize| match i {
            0..16 => block[2 + i] & 15,
            _ => block[2 + i - 16] >> 4,
        };
        (scale, std::array::from_fn(code))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_rows_lie_a_quarter_of_the_matrix_apart() {
        // 8 rows of 1 column: rows 0, 2, 4 and 6 share byte row 0.
        let data = [0b10_01_00_10, 0b00_00_00_01];
        let trits = Trits::Packed {
            data: &data,
            byte_rows: 2,
        };
        let row = |row| {
            let mut out = [9];
            trits.read_row(row, &mut out);
            out[0]
        };
        assert_eq!([0, 2, 4, 6].map(row), [1, -1, 0, 1]);
        assert_eq!([1, 3, 5, 7].map(row), [0, -1, -1, -1]);
    }
}
