//! Which type each ternary matrix gets, known from its scales alone.

use tern_kernels::{ScaleRule, Shape, WeightScales};

use super::{ConvertError, Source, TernaryType, exact_float, is_f16};
use crate::config::ActivationScales;
use crate::gguf::{I2sLayout, TensorType, quantize};
use crate::ternary;
use crate::trits::Trits;
use crate::weights::layer_shapes;

/// A ternary matrix of the model.
pub(super) struct Matrix {
    /// By the name of Hugging Face's checkpoints, without `.weight`.
    pub name: String,
    pub shape: Shape,
    /// What it is in a GGUF file.
    pub kind: TensorType,
    /// The stored scale, where it divides, is one for the matrix, and activations have one for a position.
    pub divisor: Option<f32>,
    /// Its scales, which multiply.
    pub scales: WeightScales,
    /// The largest difference between a scale and what `kind` stores, as a part of it; of scales that divide and have no `divisor` that to the
    /// exact inverse.
    pub scale_error: f64,
}

/// I2_S as it is written.
pub(super) const I2_S: TensorType = TensorType::I2s(I2sLayout::Planes32);

impl Source<'_> {
    /// All ternary matrices, layer by layer. Looks at the weights where their scales are not stored.
    pub fn matrices(&self, wanted: TernaryType) -> Result<Vec<Matrix>, ConvertError> {
        let layers = (0..self.config.layers).flat_map(|layer| {
            let shapes = layer_shapes(&self.config).into_iter();
            shapes.map(move |(name, shape)| (format!("model.layers.{layer}.{name}"), shape))
        });
        layers
            .map(|(name, shape)| self.plan(name, shape, wanted))
            .collect()
    }

    /// The trits of a matrix, whose scales are known.
    pub fn trits(&self, matrix: &Matrix) -> Result<Trits<'_>, ConvertError> {
        let found = ternary::trits(&self.checkpoint, &self.config, &matrix.name, matrix.shape)?;
        Ok(found.1)
    }

    fn plan(
        &self,
        name: String,
        shape: Shape,
        wanted: TernaryType,
    ) -> Result<Matrix, ConvertError> {
        let stored = ternary::ternary(&self.checkpoint, &self.config, &name, shape)?.scales;
        let rule = self.config.quantization.scale;
        let is_by_token = self.config.quantization.activations == ActivationScales::Token;
        let divisor = match (rule, &stored) {
            // All weights are zero, and what they are divided by is the same.
            (ScaleRule::Divide, WeightScales::Matrix(0.0)) if is_by_token => Some(1.0),
            (ScaleRule::Divide, WeightScales::Matrix(divisor)) if is_by_token => Some(*divisor),
            _ => None,
        };
        let (scales, inverse_error) = match rule {
            ScaleRule::Multiply => (stored, 0.0),
            ScaleRule::Divide => inverse(stored),
        };
        let kind = self.kind(&name, shape, &scales, wanted)?;
        let is_ternary_type = matches!(kind, TensorType::Tq1_0 | TensorType::Tq2_0);
        let errors = values(&scales)
            .filter(|&scale| is_ternary_type && scale != 0.0)
            .map(|scale| {
                let stored = quantize::stored_scale(scale);
                (f64::from(stored) - f64::from(scale)).abs() / f64::from(scale)
            });
        let scale_error = errors.fold(0.0, f64::max);
        // The last bit of the inverse is beside the point where f16 rounds it anyway.
        let scale_error = match divisor {
            Some(_) => scale_error,
            None => scale_error.max(inverse_error),
        };
        Ok(Matrix {
            name,
            shape,
            kind,
            divisor,
            scales,
            scale_error,
        })
    }

    fn kind(
        &self,
        name: &str,
        shape: Shape,
        scales: &WeightScales,
        wanted: TernaryType,
    ) -> Result<TensorType, ConvertError> {
        let refuse =
            |reason: String| Err(ConvertError::unsupported(format!("{name}.weight"), reason));
        let tq = match wanted {
            TernaryType::Exact => return Ok(self.exact_kind(shape, scales)),
            TernaryType::I2s => {
                return match i2_s_holds(shape, scales) {
                    Ok(()) => Ok(I2_S),
                    Err(why) => refuse(format!(
                        "{why}; `--to gguf` takes for each matrix a type that holds it"
                    )),
                };
            }
            TernaryType::Tq1_0 => TensorType::Tq1_0,
            TernaryType::Tq2_0 => TensorType::Tq2_0,
        };
        match tq_holds(shape, scales) {
            Ok(()) => Ok(tq),
            Err(why) => refuse(format!(
                "{why}; `--to gguf` takes for each matrix a type that holds it"
            )),
        }
    }

    fn exact_kind(&self, shape: Shape, scales: &WeightScales) -> TensorType {
        let fits_tq = tq_holds(shape, scales).is_ok() && values(scales).all(is_f16);
        let is_by_token = self.config.quantization.activations == ActivationScales::Token;
        // Other programs read I2_S by rows of whole blocks; IQ2_BN has smaller ones, and its scale is as exact.
        if is_by_token && !is_plain_i2_s(shape) && iq2_bn_holds(shape, scales) {
            return TensorType::Iq2Bn;
        }
        if is_by_token && i2_s_holds(shape, scales).is_ok() {
            return I2_S;
        }
        match fits_tq {
            true => TensorType::Tq2_0,
            false => exact_float(values(scales), TensorType::F16),
        }
    }
}

fn i2_s_holds(shape: Shape, scales: &WeightScales) -> Result<(), String> {
    if !matches!(scales, WeightScales::Matrix(_)) {
        return Err("I2_S has one scale for a matrix, this one has several".to_owned());
    }
    match (shape.rows * shape.cols).is_multiple_of(128) {
        true => Ok(()),
        false => Err(format!(
            "I2_S has weights by 128, and {shape} are not a multiple of that"
        )),
    }
}

/// Whether rows are whole blocks of I2_S. A matrix whose rows are not is written as one run of weights, which tern reads; bitnet.cpp drops the
/// ends of rows, and what ik_llama.cpp makes of them is noise.
pub(super) fn is_plain_i2_s(shape: Shape) -> bool {
    shape.cols.is_multiple_of(128)
}

fn iq2_bn_holds(shape: Shape, scales: &WeightScales) -> bool {
    matches!(scales, WeightScales::Matrix(_)) && shape.cols.is_multiple_of(64)
}

fn tq_holds(shape: Shape, scales: &WeightScales) -> Result<(), String> {
    if !shape.cols.is_multiple_of(256) {
        return Err(format!(
            "TQ1_0 and TQ2_0 have rows by 256, and {} columns are not a multiple of that",
            shape.cols
        ));
    }
    match scales {
        WeightScales::Groups { group, .. } if !group.is_multiple_of(256) => Err(format!(
            "TQ1_0 and TQ2_0 have a scale for 256 columns, this matrix one for {group}"
        )),
        _ => Ok(()),
    }
}

/// All scales.
pub(super) fn values(scales: &WeightScales) -> impl Iterator<Item = f32> + Clone + '_ {
    let (one, many): (&[f32], &[f32]) = match scales {
        WeightScales::Matrix(scale) => (std::slice::from_ref(scale), &[]),
        WeightScales::Rows(scales) | WeightScales::Groups { scales, .. } => (&[], scales),
    };
    one.iter().chain(many).copied()
}

/// The scales of a row: one, or one for each group of columns.
pub(super) fn of_row(scales: &WeightScales, row: usize, cols: usize) -> &[f32] {
    match scales {
        WeightScales::Matrix(scale) => std::slice::from_ref(scale),
        WeightScales::Rows(scales) => &scales[row..=row],
        WeightScales::Groups { group, scales } => {
            let groups = cols.div_ceil(*group);
            &scales[row * groups..][..groups]
        }
    }
}

/// A row's trits times its scales.
pub(super) fn floats(trits: &[i8], scales: &[f32], group: usize) -> Vec<f32> {
    let groups = trits.chunks(group).zip(scales);
    let each =
        groups.flat_map(|(trits, scale)| trits.iter().map(move |&trit| f32::from(trit) * scale));
    each.collect()
}

/// Columns that share a scale.
pub(super) fn group(scales: &WeightScales, cols: usize) -> usize {
    match scales {
        WeightScales::Groups { group, .. } => *group,
        _ => cols,
    }
}

/// What multiplies where scales divide, and how far it is at most from the exact inverse, as a part of it. A scale of zero, of weights that
/// are all zero, stays.
fn inverse(scales: WeightScales) -> (WeightScales, f64) {
    let of = |scale: f32| match scale {
        0.0 => 0.0,
        scale => 1.0 / scale,
    };
    let errors = values(&scales)
        .filter(|&scale| scale != 0.0)
        .map(|scale| (f64::from(of(scale)) * f64::from(scale) - 1.0).abs());
    let error = errors.fold(0.0, f64::max);
    (scales.map(of), error)
}
