//! How coarse the scales of a ternary tensor really are.
//!
//! Types with a scale for each block of 256 mostly hold matrices that have one scale, and kernels for those are faster and exact in
//! integers. So all blocks are read once, and the fewest scales that say the same are taken.

use rayon::prelude::*;
use tern_kernels::{Shape, WeightScales};

use super::HeadRows;
use crate::config::MAX_COLS;
use crate::error::shorten;
use crate::exact::coarsest;
use crate::gguf::{self, GgufError, Scales, TensorType};
use crate::trits::q4_blocks;

/// The codes that a ternary block becomes in Q4_0: the weight of the largest size is −8 scales, its negative would be 8 and is cut to 7.
pub(crate) const Q4_CODES: [u8; 3] = [0, 8, 15];

/// The scales of a tensor of a ternary type, in the order of the model's rows. All of them are zero or above: where one is below, the trits
/// are read with the other sign.
pub(crate) fn find_scales(
    ternary: &gguf::Ternary<'_>,
    shape: Shape,
    order: Option<HeadRows>,
) -> Result<WeightScales, GgufError> {
    let group = match ternary.scales() {
        // Found to be finite when the tensor was.
        Scales::Matrix => return matrix_scale(ternary),
        Scales::Row => shape.cols,
        Scales::Group(group) => group,
    };
    let groups = shape.cols.div_ceil(group);
    let mut magnitudes = vec![0.0_f32; shape.rows * groups];
    magnitudes
        .par_chunks_mut(groups)
        .enumerate()
        .try_for_each_init(
            || ternary.buffers(),
            |(trits, scales), (row, out)| {
                let row = order.map_or(row, |order| order.in_file(row));
                ternary.read_row(row, trits, scales)?;
                for ((out, scale), trits) in out.iter_mut().zip(scales).zip(trits.chunks(group)) {
                    // Of a block of zeros the scale says nothing.
                    let is_zero = trits.iter().all(|&trit| trit == 0);
                    *out = if is_zero { 0.0 } else { scale.abs() };
                }
                Ok(())
            },
        )?;
    Ok(coarsest(magnitudes, shape, group))
}

/// The one scale of a matrix. Its trits would all be zero if it were 0: a quantizer writes no others then.
fn matrix_scale(ternary: &gguf::Ternary<'_>) -> Result<WeightScales, GgufError> {
    let (tensor, scale) = (ternary.tensor(), ternary.matrix_scale().abs());
    if scale != 0.0 {
        return Ok(WeightScales::Matrix(scale));
    }
    let (mut trits, mut scales) = ternary.buffers();
    for row in 0..tensor.rows() {
        ternary.read_row(row, &mut trits, &mut scales)?;
        if trits.iter().any(|&trit| trit != 0) {
            return Err(GgufError::Scale {
                file: tensor.file().to_owned(),
                tensor: shorten(tensor.name()),
                row,
                found: scale,
            });
        }
    }
    Ok(WeightScales::Matrix(0.0))
}

/// Rows that tell whether a matrix has one scale: the first, the last, and some between them, so that some of every shard is seen.
const SAMPLE: usize = 32;

/// Whether a ternary matrix has one scale for all of it, as far as some of its rows tell. Damage is for the loader to find.
pub(super) fn has_one_scale(tensor: &gguf::Tensor<'_>) -> bool {
    // Longer rows are refused, and a buffer for one could be large.
    if tensor.cols() > MAX_COLS {
        return false;
    }
    let (rows, samples) = (tensor.rows(), tensor.rows().min(SAMPLE));
    let mut found = 0.0;
    (0..samples).all(|index| {
        let row = index * (rows - 1) / (samples - 1).max(1);
        magnitudes(tensor, row).into_iter().all(|size| {
            let fits = size == 0.0 || found == 0.0 || size == found;
            found = if size == 0.0 { found } else { size };
            fits
        })
    })
}

/// The sizes of the scales of a row's blocks, 0 for a block of zeros; of floats the sizes of all.
fn magnitudes(tensor: &gguf::Tensor<'_>, row: usize) -> Vec<f32> {
    if tensor.kind() == TensorType::Q4_0 {
        let size = |(scale, codes): (f32, [u8; 32])| {
            let is_zero = codes.iter().all(|&code| code == Q4_CODES[1]);
            if is_zero { 0.0 } else { scale.abs() }
        };
        return q4_blocks(tensor, row).map(size).collect();
    }
    let mut values = vec![0.0; tensor.cols()];
    // A row that cannot be read is found later, by name.
    let _ = tensor.read_row_f32(row, &mut values);
    values.into_iter().map(f32::abs).collect()
}

const _: () = assert!(TensorType::Q4_0.block() == 32);
