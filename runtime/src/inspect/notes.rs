//! What a person should know of a model beside its numbers: what was decided for want of a word in the file, what is an approximation, and
//! what looks wrong.

use tern_kernels::Granularity;

use super::Matrix;
use crate::config::{
    Activation, ActivationScales, Architecture, Certainty, Config, RopeScaling, WeightSource,
};
use crate::gguf_model::VOCABULARY_OF_2B4T;
use crate::linear::ScalesFound;
use crate::note::{Note, Setting};
use crate::text::TextFiles;
use crate::tokenizer::Tokenizer;

/// Remarks on the configuration and the matrices of a layer, one a line.
pub(super) fn notes(config: &Config, matrices: &[Matrix]) -> Vec<String> {
    let activation = activation(config).map(|note| note.text);
    let weights = weights(config, matrices);
    activation.into_iter().chain(weights).collect()
}

/// What there is to know of the function of the feed-forward gate.
pub(crate) fn activation(config: &Config) -> Option<Note> {
    let (name, reason) = (config.activation.name(), &config.activation_reason);
    let other = match config.activation {
        Activation::Relu2 => "--ffn-act silu",
        Activation::Silu => "--ffn-act relu2",
    };
    match (config.architecture, config.activation) {
        _ if config.activation_certainty == Certainty::Guessed => Some(Note::guess(
            format!("the feed-forward activation, {name}, is {reason}; else {other}"),
            Setting::Activation,
        )),
        _ if config.activation_certainty == Certainty::Known => Some(Note::fact(format!(
            "the feed-forward activation, {name}, is {reason}"
        ))),
        (Architecture::BitNet, Activation::Silu) if config.vocab_size == VOCABULARY_OF_2B4T => {
            Some(Note::suspicious(format!(
                "{name} with the vocabulary of BitNet b1.58 2B4T, which has relu2; {other} tries that"
            )))
        }
        (Architecture::Llama | Architecture::Qwen3, Activation::Relu2) => {
            Some(Note::suspicious(format!(
                "{name} in a {}, which has silu; {other} tries that",
                config.architecture.class()
            )))
        }
        _ => None,
    }
}

/// What is guessed of how activations are rounded where a folder's weights are floats that do not say it.
pub(crate) fn rounding(config: &Config) -> Option<Note> {
    let is_guess = config.quantization.weights == WeightSource::Exact;
    is_guess.then(|| {
        Note::guess(
            "config.json does not say how activations are rounded: int8 scales by groups, close to float ones; else --act-scales token",
            Setting::ActivationScales,
        )
    })
}

fn weights(config: &Config, matrices: &[Matrix]) -> Vec<String> {
    let quantization = &config.quantization;
    let mut notes = Vec::new();
    if quantization.activations == ActivationScales::Groups {
        let group = matrices.iter().map(|matrix| matrix.group).max();
        notes.push(format!(
            "activations are int8, a scale for each {} of a position: an approximation of the float ones that models are trained with whose files do not \
             say otherwise",
            group.unwrap_or(0)
        ));
    }
    if quantization.weights == WeightSource::Exact {
        notes.push(format!(
            "the weights are floats without a quantization_config; those of layer 0 are trits times {}",
            scales_text(matrices)
        ));
    }
    if quantization.weights == WeightSource::Blocks {
        notes.push(format!(
            "the ternary matrices of layer 0 have {}",
            scales_text(matrices)
        ));
    }
    if let RopeScaling::Yarn {
        factor,
        original_context,
        ..
    } = config.rope_scaling
    {
        notes.push(format!(
            "YaRN stretches a context of {original_context} by {factor}, for short texts too"
        ));
    }
    notes
}

/// `one scale for each row (q_proj, k_proj), …`.
fn scales_text(matrices: &[Matrix]) -> String {
    let mut kinds: Vec<(ScalesFound, Vec<&str>)> = Vec::new();
    for matrix in matrices {
        let name = matrix.name.rsplit('.').next().unwrap_or(matrix.name);
        match kinds
            .iter_mut()
            .find(|(scales, _)| *scales == matrix.scales)
        {
            Some((_, names)) => names.push(name),
            None => kinds.push((matrix.scales, vec![name])),
        }
    }
    let text = |(scales, names): &(ScalesFound, Vec<&str>)| {
        let piece = match scales.granularity {
            Granularity::Matrix => "the matrix".to_owned(),
            Granularity::Row => "each row".to_owned(),
            Granularity::Group => format!("each {} columns of a row", scales.group),
        };
        format!("one scale for {piece} ({})", names.join(", "))
    };
    kinds.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// What looks wrong with the tokenizer of a model that is not loaded; loading refuses what cannot be run.
pub(super) fn unloaded_vocabulary(text: &TextFiles, config: &Config) -> Option<String> {
    match text.tokenizer(config.vocab_size) {
        Err(error) => Some(format!("suspicious: {error}")),
        Ok(tokenizer) => vocabulary(&tokenizer?, config),
    }
}

/// Whether the embedding has rows that no token stands for.
pub(super) fn vocabulary(tokenizer: &Tokenizer, config: &Config) -> Option<String> {
    let (rows, tokens) = (config.vocab_size, tokenizer.vocab_size());
    (tokens < rows).then(|| {
        format!(
            "the embedding has {rows} rows, the tokenizer {tokens} tokens: the other rows stand for no text"
        )
    })
}
