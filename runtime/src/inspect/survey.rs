//! Damage in the weights that headers do not show: codes that are no trits, numbers that are not finite.
//!
//! Loading refuses some of it and stumbles over the rest only when a token's logits are not finite, so an explanation of a file has to look for it:
//! in every tensor that is read, of every layer. Of very large files a part of the rows is enough to find what is wrong all over.

use rayon::prelude::*;

use crate::checkpoint::{Checkpoint, Tensor};
use crate::config::Config;
use crate::gguf::TensorType;
use crate::tensors;

/// Bytes that are looked at: seconds, even from a disk.
const LIMIT: u64 = 2 << 30;
/// Damaged tensors that are named.
const NAMED: usize = 4;

/// What looks wrong, one sentence for a tensor, and which types are read as something else.
pub(super) fn survey(checkpoint: &Checkpoint<'_>, config: &Config) -> Vec<String> {
    let names = tensors::names(checkpoint, config);
    let found = names
        .iter()
        .filter_map(|name| checkpoint.tensor(name, "").ok());
    let tensors: Vec<Tensor<'_>> = found.collect();
    let bytes: u64 = tensors.iter().map(|tensor| tensor.data.len() as u64).sum();
    let step = usize::try_from(bytes.div_ceil(LIMIT).max(1)).unwrap_or(usize::MAX);
    let damages = tensors.par_iter().map(|tensor| damage(tensor, step));
    let damages: Vec<String> = damages.collect::<Vec<_>>().into_iter().flatten().collect();
    let mut notes: Vec<String> = damages.iter().take(NAMED).cloned().collect();
    if damages.len() > NAMED {
        notes.push(format!(
            "suspicious: {} more tensors are like that",
            damages.len() - NAMED
        ));
    }
    if step > 1 {
        notes.push(format!("of the weights one row in {step} was looked at"));
    }
    let is_q4 = |tensor: &&Tensor<'_>| {
        let kind = tensor.blocks.map(|blocks| blocks.kind());
        kind == Some(TensorType::Q4_0) && is_matrix(config, tensor)
    };
    if let Some(first) = tensors.iter().find(is_q4) {
        notes.push(format!(
            "{} (Q4_0) is read as the trits that it was quantized from: of its values, -s is stored as -7/8 s or s as 7/8 s",
            first.name
        ));
    }
    notes
}

/// Whether this is a matrix of a layer, not an embedding or a head.
fn is_matrix(config: &Config, tensor: &Tensor<'_>) -> bool {
    tensor.shape.first() != Some(&config.vocab_size) || tensor.name.starts_with("blk.")
}

/// What is wrong with a tensor, as far as one row in `step` tells.
fn damage(tensor: &Tensor<'_>, step: usize) -> Option<String> {
    let name = &tensor.name;
    let Some(blocks) = tensor.blocks else {
        let count = not_finite(tensor, step);
        return (count > 0)
            .then(|| format!("suspicious: {name} has {count} numbers that are not finite"));
    };
    let (kind, survey) = (blocks.kind(), blocks.survey_rows(step));
    if let Some((row, column)) = survey.first_code_3 {
        return Some(format!(
            "suspicious: {name} ({kind}) has {} weights with code 3, the first in row {row}, column {column}",
            survey.code_3
        ));
    }
    let what = match kind.scales() {
        Some(_) => "scales",
        None => "numbers",
    };
    let count = survey.not_finite;
    (count > 0)
        .then(|| format!("suspicious: {name} ({kind}) has {count} {what} that are not finite"))
}

/// Numbers in a float tensor that are infinite or none.
fn not_finite(tensor: &Tensor<'_>, step: usize) -> usize {
    let cols = tensor.shape.last().copied().unwrap_or(1);
    let rows = tensor.shape.iter().rev().skip(1).product::<usize>();
    let Ok(floats) = tensor.floats(&tensor.shape) else {
        // Bytes of packed trits.
        return 0;
    };
    if cols == 0 {
        return 0;
    }
    let mut values = vec![0.0; cols];
    let of_row = |row: usize| {
        floats.read(row * cols, &mut values);
        values.iter().filter(|value| !value.is_finite()).count()
    };
    (0..rows).step_by(step).map(of_row).sum()
}
