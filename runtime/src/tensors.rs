//! Which tensors a model has, in either kind of file.
//!
//! A tensor that is not read may change the result: a bias, a norm that the architecture does not have, factors of rotary frequencies under
//! another name. So what is read is listed here once, for all layers, and any other tensor is refused by name, but for those that are known to
//! change nothing.

use std::collections::HashSet;

use crate::checkpoint::Checkpoint;
use crate::config::{Architecture, Config, WeightSource};
use crate::error::{CheckpointError, shorten};
use crate::gguf_model::names::{Part, part};
use crate::weights::{dense_names, layer_norms, layer_shapes, norm_tensor};

/// What rotary frequencies are divided by, in GGUF files: read with the configuration.
const FREQUENCIES: &str = "rope_freqs.weight";
/// What old checkpoints have of rotary embedding: tables that follow from the configuration.
const ROTARY: [&str; 4] = [
    ".rotary_emb.inv_freq",
    ".rotary_emb.original_inv_freq",
    ".rotary_emb.cos_cached",
    ".rotary_emb.sin_cached",
];
/// Parts of GGUF files that make tokens of images and sounds. No text goes through them.
const OTHER_SENSES: [&str; 3] = ["v.", "a.", "mm."];

/// Refuses every tensor that tern does not read and that could change the result. Returns a note on those that do not, if there are any.
///
/// # Errors
///
/// [`CheckpointError::Unsupported`] names the first in the order of the file, and why.
pub(crate) fn check(
    checkpoint: &Checkpoint<'_>,
    config: &Config,
) -> Result<Option<String>, CheckpointError> {
    let read: HashSet<String> = names(checkpoint, config)
        .iter()
        .filter_map(|name| checkpoint.name_in_file(name))
        .chain(checkpoint.is_gguf().then(|| FREQUENCIES.to_owned()))
        .collect();
    let mut unread = Vec::new();
    for (file, name) in checkpoint.names() {
        if read.contains(name) {
            continue;
        }
        if !is_harmless(checkpoint, config, name) {
            return Err(CheckpointError::Unsupported {
                file: file.to_owned(),
                tensor: shorten(name),
                reason: reason(config, name),
            });
        }
        unread.push(name);
    }
    Ok(unread.first().map(|first| {
        let first = shorten(first);
        match unread.len() {
            1 => format!("one of the tensors changes nothing and is not loaded: {first}"),
            count => {
                format!("{count} of the tensors change nothing and are not loaded, such as {first}")
            }
        }
    }))
}

/// All tensors that are read where they are there, by the names of Hugging Face's checkpoints.
pub(crate) fn names(checkpoint: &Checkpoint<'_>, config: &Config) -> Vec<String> {
    let mut names = vec!["model.norm.weight".to_owned()];
    names.extend(dense_names(config).iter().map(|&name| name.to_owned()));
    let quantization = &config.quantization;
    for layer in 0..config.layers {
        for (norm, _) in layer_norms(config) {
            let norm = format!("model.layers.{layer}.{norm}");
            names.push(norm_tensor(checkpoint, &norm));
        }
        for (matrix, _) in layer_shapes(config) {
            let matrix = format!("model.layers.{layer}.{matrix}");
            names.push(format!("{matrix}.weight"));
            let has_scale = match quantization.weights {
                WeightSource::Offline => true,
                WeightSource::Online | WeightSource::Exact => false,
                WeightSource::Blocks => checkpoint.divisor(&matrix).is_none(),
            };
            if has_scale {
                names.push(format!("{matrix}.weight_scale"));
            }
            if quantization.linear_norm_eps.is_some() {
                names.push(format!("{matrix}.rms_norm.weight"));
            }
        }
    }
    names
}

/// Whether a tensor that is not read changes nothing.
fn is_harmless(checkpoint: &Checkpoint<'_>, config: &Config, name: &str) -> bool {
    if checkpoint.is_gguf() {
        let is_other = OTHER_SENSES.iter().any(|prefix| name.starts_with(prefix));
        // The configuration took the head for tied because it is the embedding once more.
        return is_other || (name == "output.weight" && config.tied_head);
    }
    if ROTARY.iter().any(|suffix| name.ends_with(suffix)) {
        return true;
    }
    if name == "lm_head.weight" && config.tied_head {
        return checkpoint.are_equal(name, "model.embed_tokens.weight");
    }
    // A scale is made of master weights, whatever is stored beside them.
    let scale = in_layer(name).and_then(|(_, rest)| rest.strip_suffix(".weight_scale"));
    config.quantization.weights == WeightSource::Online
        && scale.is_some_and(|name| part(name) == Some(Part::Matrix))
}

/// Layer and rest of a tensor's name in a layer, in either kind of file.
fn in_layer(name: &str) -> Option<(usize, &str)> {
    let rest = name
        .strip_prefix("model.layers.")
        .or_else(|| name.strip_prefix("blk."))?;
    let (layer, rest) = rest.split_once('.')?;
    Some((layer.parse().ok()?, rest))
}

/// Why a tensor is refused.
fn reason(config: &Config, name: &str) -> &'static str {
    let Some((layer, rest)) = in_layer(name) else {
        return match name {
            "lm_head.weight" => {
                "config.json has tie_word_embeddings, but this is not the embedding: set it to false if this is the model's head"
            }
            name if name.ends_with(".bias") => "tern runs norms, embeddings and heads without bias",
            name if name.starts_with("rope_") => {
                "of tensors for rotary embedding tern reads rope_freqs.weight alone"
            }
            _ => "tern does not know what it does, and without it the result could be another",
        };
    };
    if layer >= config.layers {
        return "it is in a layer beyond those that the configuration counts";
    }
    let (owner, suffix) = rest.rsplit_once('.').unwrap_or((rest, ""));
    match (part(owner), suffix) {
        (Some(Part::Matrix), "bias") => "tern runs linear layers without bias",
        (Some(Part::Norm), "bias") => "tern runs norms without bias",
        (Some(Part::Norm), "weight") => match config.architecture {
            Architecture::BitNet => "BitNetForCausalLM has no such norm",
            Architecture::Llama => "LlamaForCausalLM has no such norm",
            Architecture::Qwen3 => "Qwen3ForCausalLM has no such norm",
        },
        (None, "weight") if owner.ends_with(".norm") || owner.ends_with(".rms_norm") => {
            "a norm before this linear layer, which config.json says nothing of, is not run"
        }
        _ => {
            "tern does not know what it does in a layer, and without it the result would be another"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_layers_of_both_kinds_of_file() {
        let found = in_layer("model.layers.12.self_attn.q_proj.bias");
        assert_eq!(found, Some((12, "self_attn.q_proj.bias")));
        assert_eq!(in_layer("blk.3.attn_q.bias"), Some((3, "attn_q.bias")));
        assert_eq!(in_layer("blk.x.attn_q.bias"), None);
        assert_eq!(in_layer("output.bias"), None);
    }
}
