//! Float matrices that are trits times a scale, exactly: whether one is, and how its scales lie.
//!
//! Models trained with ternary weights and float activations (TriLM, Ternary-Bonsai) are published as ordinary floats. Their config says
//! nothing of it, and the scale lies in nothing but the weights: one for the matrix, one for each row (the shards of a tensor-parallel
//! training), or one for each group of a row's columns. So all weights are looked at. The largest piece that has one magnitude beside zeros decides;
//! what has two in the smallest is no ternary matrix, and the message says where.

use rayon::prelude::*;
use tern_kernels::{Shape, WeightScales};

use crate::checkpoint::{Floats, Tensor};
use crate::error::CheckpointError;

/// Columns of the groups that are tried, the smallest first. All published ones have 64, 128 or 256, and shards of 64 and more.
const GROUPS: [usize; 3] = [32, 64, 128];

/// A weight that does not fit.
struct Misfit {
    row: usize,
    col: usize,
    value: f32,
    /// The magnitude before it in its group; 0 for a value that is not finite.
    magnitude: f32,
}

/// The scales of a float matrix that is trits times them.
///
/// # Errors
///
/// [`CheckpointError::Value`] names the first row and column that does not fit, and its value.
pub(crate) fn find_scales(
    tensor: &Tensor<'_>,
    floats: Floats<'_>,
    shape: Shape,
) -> Result<WeightScales, CheckpointError> {
    let smallest = GROUPS[0];
    let groups = shape.cols.div_ceil(smallest);
    let mut magnitudes = vec![0.0_f32; shape.rows * groups];
    let misfit = magnitudes
        .par_chunks_mut(groups)
        .enumerate()
        .map_init(
            || vec![0.0; shape.cols],
            |values, (row, out)| {
                floats.read(row * shape.cols, values);
                for (group, (values, out)) in values.chunks(smallest).zip(out).enumerate() {
                    match magnitude(values) {
                        Ok(found) => *out = found,
                        Err((index, magnitude)) => {
                            return Some(Misfit {
                                row,
                                col: group * smallest + index,
                                value: values[index],
                                magnitude,
                            });
                        }
                    }
                }
                None
            },
        )
        .find_first(Option::is_some)
        .flatten();
    match misfit {
        None => Ok(coarsest(magnitudes, shape, smallest)),
        Some(misfit) => Err(misfit.error(tensor)),
    }
}

impl Misfit {
    fn error(&self, tensor: &Tensor<'_>) -> CheckpointError {
        let Misfit {
            row,
            col,
            value,
            magnitude,
        } = *self;
        let beside = match magnitude {
            0.0 => String::new(),
            magnitude => format!(
                ", beside a weight of size {magnitude:e} in the same {} columns",
                GROUPS[0]
            ),
        };
        tensor.wrong_value(
            format!("{value:e} in row {row}, column {col}{beside}"),
            "floats that are -s, 0 or s exactly, with one s for the matrix, for a row, or for 128, 64 or 32 columns of it: without a \
             quantization_config tern runs models whose weights are ternary already",
        )
    }
}

/// The one magnitude of some weights beside zeros, 0 if they are all zero; or the index of the first that does not fit, and the magnitude
/// before it.
fn magnitude(values: &[f32]) -> Result<f32, (usize, f32)> {
    let mut found = 0.0;
    for (index, value) in values.iter().enumerate() {
        let size = value.abs();
        if !size.is_finite() {
            return Err((index, 0.0));
        }
        if size != 0.0 && size != found {
            if found != 0.0 {
                return Err((index, found));
            }
            found = size;
        }
    }
    Ok(found)
}

/// The fewest scales that have these magnitudes, one for each row and each `smallest` columns of it. Where all weights are zero any scale does.
pub(crate) fn coarsest(magnitudes: Vec<f32>, shape: Shape, smallest: usize) -> WeightScales {
    let groups = shape.cols.div_ceil(smallest);
    if let Ok(scale) = magnitude(&magnitudes) {
        return WeightScales::Matrix(scale);
    }
    let of_pieces = |pieces: usize| {
        let rows = magnitudes.chunks_exact(groups);
        let each = rows.flat_map(|row| row.chunks(pieces)).map(magnitude);
        each.collect::<Result<Vec<f32>, _>>().ok()
    };
    if let Some(scales) = of_pieces(groups) {
        return WeightScales::Rows(scales);
    }
    let mut sizes = GROUPS
        .into_iter()
        .rev()
        .filter(|group| group.is_multiple_of(smallest));
    let fitting = sizes.find_map(|group| {
        let scales = of_pieces(group / smallest)?;
        Some(WeightScales::Groups { group, scales })
    });
    fitting.unwrap_or(WeightScales::Groups {
        group: smallest,
        scales: magnitudes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Element;
    use safetensors::Dtype;

    fn find(values: &[f32], rows: usize) -> Result<WeightScales, String> {
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let cols = values.len() / rows;
        let tensor = Tensor {
            file: "model.safetensors",
            name: "w".to_owned(),
            dtype: Dtype::F32,
            shape: vec![rows, cols],
            data: &data,
            blocks: None,
            order: None,
        };
        let floats = Floats {
            element: Element::F32,
            data: &data,
            order: None,
        };
        find_scales(&tensor, floats, Shape { rows, cols }).map_err(|error| error.to_string())
    }

    /// 3 rows of 200 columns, whose scale a function says.
    fn matrix(scale: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let value = |i: usize| [0.0, 1.0, -1.0, -0.0, 1.0][i * 7 % 5] * scale(i / 200, i % 200);
        (0..600).map(value).collect()
    }

    #[test]
    fn the_coarsest_scales_are_found() {
        assert_eq!(find(&matrix(|_, _| 0.3), 3), Ok(WeightScales::Matrix(0.3)));
        assert_eq!(
            find(&matrix(|row, _| 0.5 + row as f32), 3),
            Ok(WeightScales::Rows(vec![0.5, 1.5, 2.5]))
        );
        for group in [32, 64, 128] {
            let found = find(&matrix(|row, col| (1 + row + col / group) as f32), 3).unwrap();
            let each =
                |row: usize| (0..200_usize.div_ceil(group)).map(move |g| (1 + row + g) as f32);
            let scales = (0..3).flat_map(each).collect();
            assert_eq!(found, WeightScales::Groups { group, scales });
        }
        // Zeros fit everything.
        assert_eq!(find(&[0.0; 600], 3), Ok(WeightScales::Matrix(0.0)));
        let found = find(&matrix(|row, _| if row == 1 { 0.0 } else { 2.0 }), 3);
        assert_eq!(found, Ok(WeightScales::Matrix(2.0)));
    }

    #[test]
    fn what_is_not_ternary_is_named() {
        let mut values = matrix(|_, _| 0.25);
        values[200 + 33] = 0.5;
        let error = find(&values, 3).unwrap_err();
        // The first of the group is a zero, so the odd one is found at the next.
        assert!(
            error.contains("row 1, column 3") && error.contains("2.5e-1"),
            "{error}"
        );
        values[33] = f32::NAN;
        let error = find(&values, 3).unwrap_err();
        assert!(error.contains("NaN in row 0, column 33"), "{error}");
    }
}
