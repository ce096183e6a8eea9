//! How coarse the scales of a ternary tensor really are.
//!
//! Types with a scale for each block of 256 mostly hold matrices that have one scale, and kernels for those are faster and exact in
//! integers. So all blocks are read once, and the fewest scales that say the same are taken.

use rayon::prelude::*;
use tern_kernels::{Shape, WeightScales};

use super::HeadRows;
use crate::exact::coarsest;
use crate::gguf::{self, GgufError, Scales, TensorType};

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
        Scales::Matrix => return Ok(WeightScales::Matrix(ternary.matrix_scale().abs())),
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

const _: () = assert!(TensorType::Q4_0.block() == 32);
