//! Ternary matrices as checkpoints and packed models have them: trits, scales of any granularity, and the groups of columns that they are to
//! be packed in.
//!
//! A matrix is packed in groups where its scales have them, or where its activations do: then all matrices with the same input have the same
//! groups, since they share int8 activations.

use std::ops::Range;

use tern_kernels::{Choice, Planner, Shape, WeightScales};

use crate::checkpoint::{Checkpoint, Tensor};
use crate::config::{ACTIVATION_GROUP, ActivationScales, Config, ScaleRule, WeightSource};
use crate::error::{CheckpointError, LoadError};
use crate::exact::{coarsest, find_scales};
use crate::gguf::TensorType;
use crate::gguf_model::{self, Q4_CODES};
use crate::packed::Packed;
use crate::trits::{Trits, q4_blocks};

/// Which of a layer's matrices have the same input, in the order of [`layer_shapes`](crate::weights::layer_shapes).
pub(crate) const PROJECTIONS: [Range<usize>; 4] = [0..3, 3..4, 4..6, 6..7];

/// A ternary matrix of a checkpoint.
pub(crate) struct Ternary<'a> {
    pub tensor: Tensor<'a>,
    pub trits: Trits<'a>,
    pub scales: WeightScales,
}

/// The ternary matrix of linear layer `name`. Where its scales are not stored, all weights are read for them.
pub(crate) fn ternary<'a>(
    checkpoint: &'a Checkpoint<'_>,
    config: &Config,
    name: &str,
    shape: Shape,
) -> Result<Ternary<'a>, LoadError> {
    let tensor = matrix_tensor(checkpoint, name, shape)?;
    let (trits, scales) = match config.quantization.weights {
        WeightSource::Offline => (
            Trits::stored(&tensor, shape)?,
            weight_scale(checkpoint, name, shape)?,
        ),
        WeightSource::Online => {
            let (trits, scale) = Trits::from_masters(&tensor, shape)?;
            (trits, WeightScales::Matrix(scale))
        }
        WeightSource::Exact => {
            let floats = tensor.floats(&[shape.rows, shape.cols])?;
            let scales = find_scales(&tensor, floats, shape)?;
            (Trits::Scaled(floats), scales)
        }
        WeightSource::Blocks => {
            let trits = block_trits(&tensor, shape)?;
            let scales = match &trits {
                Trits::Blocks(ternary, order) => gguf_model::find_scales(ternary, shape, *order)?,
                Trits::Q4(..) => q4_scales(&tensor, &trits, shape)?,
                _ => find_scales(&tensor, tensor.floats(&[shape.rows, shape.cols])?, shape)?,
            };
            (trits, whole_scales(checkpoint, config, name, scales)?)
        }
    };
    Ok(Ternary {
        tensor,
        trits,
        scales,
    })
}

/// The trits of a matrix in a GGUF file, by its type.
fn block_trits<'a>(tensor: &Tensor<'a>, shape: Shape) -> Result<Trits<'a>, LoadError> {
    tensor.check_shape(&[shape.rows, shape.cols])?;
    let Some(blocks) = tensor.blocks else {
        let floats = tensor.floats(&[shape.rows, shape.cols])?;
        return Ok(Trits::Scaled(floats));
    };
    match blocks.kind() {
        TensorType::Q4_0 => Ok(Trits::Q4(blocks, tensor.order)),
        kind if kind.scales().is_some() => Ok(Trits::Blocks(blocks.ternary()?, tensor.order)),
        _ => Err(tensor
            .wrong_dtype(
                "a ternary type (I2_S, TQ1_0, TQ2_0, Q2_0, PQ2_0, PTQ1_0, IQ1_BN, IQ2_BN), or F32, F16 or BF16: use a file in one of these",
            )
            .into()),
    }
}

/// The scales of ternary weights in Q4_0: eight times those of the blocks.
fn q4_scales(
    tensor: &Tensor<'_>,
    trits: &Trits<'_>,
    shape: Shape,
) -> Result<WeightScales, LoadError> {
    let Trits::Q4(blocks, order) = trits else {
        return Ok(WeightScales::Matrix(0.0));
    };
    let mut magnitudes = Vec::with_capacity(shape.rows * shape.cols / 32);
    for row in 0..shape.rows {
        let stored = order.map_or(row, |order| order.in_file(row));
        for (index, (scale, codes)) in q4_blocks(blocks, stored).enumerate() {
            let odd = codes.iter().find(|code| !Q4_CODES.contains(code));
            if odd.is_some() || !scale.is_finite() {
                let found = match odd {
                    Some(code) => format!("the code {code} in row {stored}, block {index}"),
                    None => format!("the scale {scale} in row {stored}, block {index}"),
                };
                return Err(tensor.wrong_value(found, trits.expected()).into());
            }
            let is_zero = codes.iter().all(|&code| code == Q4_CODES[1]);
            magnitudes.push(if is_zero { 0.0 } else { 8.0 * scale.abs() });
        }
    }
    Ok(coarsest(magnitudes, shape, 32))
}

/// The scales with what stands beside the matrix: a factor in a tensor of its own, or instead of all a number that divides.
fn whole_scales(
    checkpoint: &Checkpoint<'_>,
    config: &Config,
    name: &str,
    scales: WeightScales,
) -> Result<WeightScales, LoadError> {
    // Not where the user says that scales multiply: those of the file's own types do.
    let divides = config.quantization.scale == ScaleRule::Divide;
    if let Some(divisor) = checkpoint.divisor(name).filter(|_| divides) {
        return Ok(WeightScales::Matrix(divisor));
    }
    let factor = format!("{name}.weight_scale");
    if !checkpoint.has(&factor) {
        return Ok(scales);
    }
    let tensor = checkpoint.tensor(&factor, "a scale")?;
    let factor = tensor.floats(&[1])?.to_vec()[0];
    match factor.is_finite() && factor > 0.0 {
        true => Ok(scales.map(|scale| scale * factor)),
        false => Err(tensor
            .wrong_value(factor.to_string(), "a finite number above zero")
            .into()),
    }
}

/// The scales alone, as far as they can be known without reading what master weights are.
pub(crate) fn scales(
    checkpoint: &Checkpoint<'_>,
    config: &Config,
    name: &str,
    shape: Shape,
) -> Result<WeightScales, LoadError> {
    match config.quantization.weights {
        WeightSource::Online => Ok(WeightScales::Matrix(1.0)),
        _ => ternary(checkpoint, config, name, shape).map(|matrix| matrix.scales),
    }
}

/// The trits alone, for whoever has the scales already.
pub(crate) fn trits<'a>(
    checkpoint: &'a Checkpoint<'_>,
    config: &Config,
    name: &str,
    shape: Shape,
) -> Result<(Tensor<'a>, Trits<'a>), LoadError> {
    if config.quantization.weights == WeightSource::Blocks {
        let tensor = matrix_tensor(checkpoint, name, shape)?;
        let trits = block_trits(&tensor, shape)?;
        return Ok((tensor, trits));
    }
    if config.quantization.weights == WeightSource::Exact {
        let tensor = matrix_tensor(checkpoint, name, shape)?;
        let trits = Trits::Scaled(tensor.floats(&[shape.rows, shape.cols])?);
        return Ok((tensor, trits));
    }
    let Ternary { tensor, trits, .. } = ternary(checkpoint, config, name, shape)?;
    Ok((tensor, trits))
}

fn matrix_tensor<'a>(
    checkpoint: &'a Checkpoint<'_>,
    name: &str,
    shape: Shape,
) -> Result<Tensor<'a>, CheckpointError> {
    let expected = format!("a ternary matrix of {shape}");
    checkpoint.tensor(&format!("{name}.weight"), &expected)
}

/// Checks the tensors of one ternary linear layer by their headers; returns the bytes of its matrix.
pub(crate) fn check(
    checkpoint: &Checkpoint<'_>,
    config: &Config,
    name: &str,
    shape: Shape,
) -> Result<u64, LoadError> {
    let tensor = matrix_tensor(checkpoint, name, shape)?;
    if config.quantization.linear_norm_eps.is_some() {
        checkpoint.floats(&format!("{name}.rms_norm.weight"), &[shape.cols])?;
    }
    match config.quantization.weights {
        WeightSource::Offline => {
            Trits::stored(&tensor, shape)?;
            // A few numbers, so their values are checked too.
            weight_scale(checkpoint, name, shape)?;
        }
        WeightSource::Online => {
            tensor.floats(&[shape.rows, shape.cols])?;
        }
        WeightSource::Exact => {
            let reason =
                "config.json has no quantization_config, which would say what this scale does";
            checkpoint.refuse(&format!("{name}.weight_scale"), reason)?;
            tensor.floats(&[shape.rows, shape.cols])?;
        }
        WeightSource::Blocks => {
            block_trits(&tensor, shape)?;
        }
    }
    Ok(tensor.data.len() as u64)
}

/// The stored scales of a linear layer: one for the matrix or for each row, finite and positive.
fn weight_scale(
    checkpoint: &Checkpoint<'_>,
    name: &str,
    shape: Shape,
) -> Result<WeightScales, CheckpointError> {
    let name = format!("{name}.weight_scale");
    let tensor = checkpoint.tensor(&name, "bf16, f16 or f32 of shape [1]")?;
    let is_positive = |scale: f32| scale.is_finite() && scale > 0.0;
    let expected = "a finite number above zero";
    scales_of(&tensor, shape, is_positive, expected)
}

/// As many scales as the tensor's shape says: a scalar (some exporters write that) or one, or one for each row; another shape is refused in
/// favour of one.
fn scales_of(
    tensor: &Tensor<'_>,
    shape: Shape,
    is_sound: impl Fn(f32) -> bool,
    expected: &'static str,
) -> Result<WeightScales, CheckpointError> {
    let found = tensor.shape.as_slice();
    let is_known = matches!(found, [] | [1]) || found == [shape.rows];
    let values = tensor.floats(if is_known { found } else { &[1] })?.to_vec();
    if let Some(odd) = values.iter().find(|&&scale| !is_sound(scale)) {
        return Err(tensor.wrong_value(odd.to_string(), expected));
    }
    Ok(match values.as_slice() {
        [scale] => WeightScales::Matrix(*scale),
        _ => WeightScales::Rows(values),
    })
}

/// The scales of a linear layer in a packed model, whose packing says in which groups those are that have groups.
pub(crate) fn packed_scales(
    checkpoint: &Checkpoint<'_>,
    packed: &Packed<'_>,
    name: &str,
    shape: Shape,
) -> Result<WeightScales, CheckpointError> {
    let tensor = checkpoint.tensor(&format!("{name}.weight_scale"), "f32 scales")?;
    let packing = packed.packing(&format!("{name}.weight"));
    let group = packing.map_or(0, |packing| packing.group);
    // Weights that are all zero have a scale of zero.
    let is_sound = |scale: f32| scale.is_finite() && scale >= 0.0;
    let expected = "finite numbers that are not below zero";
    if group > 0 {
        let shape = [shape.rows, shape.cols.div_ceil(group)];
        if tensor.shape == shape {
            let scales = tensor.floats(&shape)?.to_vec();
            return match scales.iter().find(|&&scale| !is_sound(scale)) {
                Some(odd) => Err(tensor.wrong_value(odd.to_string(), expected)),
                None => Ok(WeightScales::Groups { group, scales }),
            };
        }
    }
    scales_of(&tensor, shape, is_sound, expected)
}

/// For each matrix of a projection the columns of a group that it is to be packed in, 0 for none.
pub(crate) fn groups(config: &Config, scales: &[&WeightScales]) -> Vec<usize> {
    // The largest power of two that divides the groups of the weights.
    let fitting = |group: usize, scales: &WeightScales| match scales {
        WeightScales::Groups { group: own, .. } => {
            let twos = 1 << own.trailing_zeros().min(usize::BITS - 1);
            group.min(twos)
        }
        _ => group,
    };
    match config.quantization.activations {
        ActivationScales::Groups => {
            let each = scales.iter();
            let group = each.fold(ACTIVATION_GROUP, |group, scales| fitting(group, scales));
            vec![group; scales.len()]
        }
        ActivationScales::Token => {
            let of = |scales: &&WeightScales| match scales {
                WeightScales::Groups { .. } => fitting(LARGEST_GROUP, scales),
                _ => 0,
            };
            scales.iter().map(of).collect()
        }
    }
}

/// The largest group that every kernel for groups takes.
const LARGEST_GROUP: usize = 128;

/// The kernel for a matrix in such groups.
pub(crate) fn choose(
    planner: &Planner,
    name: &str,
    shape: Shape,
    threads: usize,
    group: usize,
) -> Result<Choice, LoadError> {
    match group {
        0 => Ok(planner.choose(shape, threads)),
        group => planner
            .choose_groups(shape, group)
            .ok_or_else(|| LoadError::Pack {
                matrix: name.to_owned(),
                reason: format!(
                    "no kernel that runs here reads weights in groups of {group} columns"
                ),
            }),
    }
}
