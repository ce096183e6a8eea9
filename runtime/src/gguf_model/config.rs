//! The configuration that a GGUF file's metadata describes.
//!
//! Keys begin with the architecture's name. Meaning and defaults are those of llama.cpp's loader, but for two things that its files do not
//! say and that it gets wrong for some of them: the feed-forward activation of BitNet models, and whether activations are int8 by training.
//! For both the rule is written down here, and what it decided is part of the result, for `tern inspect`.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use super::scales::has_one_scale;
use super::text::token_id;
use super::{ACTIVATIONS_KEY, DOUBT_KEY, ROPE_KEY, VERSION_KEY, names};
use crate::config::{
    Activation, ActivationScales, Architecture, Certainty, Config, EPSILON, MAX_COLS, Quantization,
    RopeScaling, ScaleRule, WeightSource, yarn_scale,
};
use crate::error::shorten;
use crate::gguf::{Array, FromValue as _, Gguf, GgufError, Metadata, TensorType, Value};
use crate::note::{Note, Setting};
use crate::tokenizer::is_neox;

/// Rows of the embedding of BitNet b1.58 2B4T, which some programs convert under the name of an older architecture, and lose its activation.
pub(crate) const VOCABULARY_OF_2B4T: usize = 128_256;
/// Rows of the embeddings of bitnet_b1_58-large and its like.
const VOCABULARY_OF_FIRST: usize = 32_002;
/// Bases and factors accepted of rotary embedding.
const THETA: RangeInclusive<f64> = 1.0..=1e12;
const FACTOR: RangeInclusive<f64> = 1e-3..=1e6;

/// `general.architecture`, as far as tern runs it.
pub(super) fn architecture(gguf: &Gguf<'_>) -> Result<(Architecture, String), GgufError> {
    let metadata = gguf.metadata();
    let name: &str = metadata.require("general.architecture")?;
    let architecture = match name {
        "bitnet" | "bitnet-25" | "bitnet-b1.58" => Architecture::BitNet,
        "llama" => Architecture::Llama,
        "qwen3" => Architecture::Qwen3,
        _ => {
            return Err(metadata.unsupported(
                format!("architecture \"{}\"", shorten(name)),
                "tern runs \"bitnet\", \"bitnet-25\", \"bitnet-b1.58\", \"llama\" and \"qwen3\" models with ternary weights",
            ));
        }
    };
    Ok((architecture, name.to_owned()))
}

/// Reads and checks all of it. The notes say what was decided.
pub(super) fn config(gguf: &Gguf<'_>, notes: &mut Vec<Note>) -> Result<Config, GgufError> {
    let (architecture, name) = architecture(gguf)?;
    let keys = Keys {
        metadata: gguf.metadata(),
        name: &name,
    };
    refuse_others(&keys)?;
    let hidden_size = keys.size("embedding_length", 1..=MAX_COLS)?;
    let layers = keys.size("block_count", 1..=4096)?;
    let heads = keys.layers_size("attention.head_count", 1..=4096, layers, None)?;
    let kv_heads = keys.layers_size("attention.head_count_kv", 1..=heads, layers, Some(heads))?;
    if !heads.is_multiple_of(kv_heads) {
        return Err(keys.wrong(
            "attention.head_count_kv",
            format!("a divisor of attention.head_count, {heads}"),
        ));
    }
    let vocab_size = vocabulary(gguf, &keys, hidden_size, notes)?;
    let (activation, activation_reason, activation_certainty) =
        activation(&keys, architecture, vocab_size)?;
    notes.extend(inverted_scales(&keys, vocab_size));
    let head_dim = head_dim(&keys, hidden_size, heads)?;
    let rope_theta = keys.float_or("rope.freq_base", THETA, 10_000.0)?;
    let context = keys.size_or("context_length", 1..=1 << 24, 2048)?;
    let config = Config {
        architecture,
        hidden_size,
        intermediate_size: keys.layers_size("feed_forward_length", 1..=MAX_COLS, layers, None)?,
        layers,
        heads,
        kv_heads,
        head_dim,
        vocab_size,
        context,
        activation,
        activation_reason,
        activation_certainty,
        rms_norm_eps: keys
            .float("attention.layer_norm_rms_epsilon", EPSILON)?
            .ok_or_else(|| keys.missing("attention.layer_norm_rms_epsilon", "a number above 0"))?,
        rope_theta,
        rope_scaling: scaling(gguf, &keys, head_dim, context)?,
        tied_head: is_tied(gguf, notes),
        eos_token_ids: token_id(keys.metadata, "tokenizer.ggml.eos_token_id")?
            .into_iter()
            .collect(),
        quantization: Quantization {
            scale: ScaleRule::Multiply,
            weights: WeightSource::Blocks,
            activations: activations(gguf, &keys, architecture, notes)?,
            linear_norm_eps: None,
        },
    };
    if config.query_width() > MAX_COLS {
        let expected = format!("such that all heads are at most {MAX_COLS} wide");
        return Err(keys.wrong("attention.head_count", expected));
    }
    Ok(config)
}

/// The metadata, and the architecture's name that its keys begin with.
struct Keys<'a> {
    metadata: Metadata<'a>,
    name: &'a str,
}

impl Keys<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    fn wrong(&self, key: &str, expected: impl Into<String>) -> GgufError {
        self.metadata.wrong(&self.key(key), expected)
    }

    fn missing(&self, key: &str, expected: &str) -> GgufError {
        self.metadata.missing(&self.key(key), expected)
    }

    fn find(&self, key: &str, range: RangeInclusive<usize>) -> Result<Option<usize>, GgufError> {
        let found = self.metadata.get::<usize>(&self.key(key))?;
        match found {
            Some(value) if !range.contains(&value) => Err(self.wrong(key, integers(&range))),
            found => Ok(found),
        }
    }

    fn size(&self, key: &str, range: RangeInclusive<usize>) -> Result<usize, GgufError> {
        let expected = integers(&range);
        let found = self.find(key, range)?;
        found.ok_or_else(|| self.missing(key, &expected))
    }

    fn size_or(
        &self,
        key: &str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> Result<usize, GgufError> {
        Ok(self.find(key, range)?.unwrap_or(default))
    }

    /// A value that a file may give for each layer; all must be the same.
    fn layers_size(
        &self,
        key: &str,
        range: RangeInclusive<usize>,
        layers: usize,
        default: Option<usize>,
    ) -> Result<usize, GgufError> {
        let values = self.metadata.per_layer(&self.key(key), layers)?;
        let Some(values) = values else {
            return default.ok_or_else(|| self.missing(key, &integers(&range)));
        };
        let first = values.first().map_or(0, |&first| first as usize);
        if values.iter().any(|&value| value as usize != first) {
            let expected = "the same for all layers: tern runs models whose layers are alike";
            return Err(self.wrong(key, expected));
        }
        match range.contains(&first) {
            true => Ok(first),
            false => Err(self.wrong(key, integers(&range))),
        }
    }

    fn float(&self, key: &str, range: RangeInclusive<f64>) -> Result<Option<f32>, GgufError> {
        let found = self.metadata.get::<f32>(&self.key(key))?;
        match found {
            Some(value) if !range.contains(&f64::from(value)) => {
                let expected = format!("a number from {:e} to {:e}", range.start(), range.end());
                Err(self.wrong(key, expected))
            }
            found => Ok(found),
        }
    }

    fn float_or(
        &self,
        key: &str,
        range: RangeInclusive<f64>,
        default: f32,
    ) -> Result<f32, GgufError> {
        Ok(self.float(key, range)?.unwrap_or(default))
    }

    fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.metadata.get::<&str>(&self.key(key))
    }
}

fn integers(range: &RangeInclusive<usize>) -> String {
    format!("an integer from {} to {}", range.start(), range.end())
}

/// Rows of the embedding. The metadata's own number is only compared with it.
fn vocabulary(
    gguf: &Gguf<'_>,
    keys: &Keys<'_>,
    hidden_size: usize,
    notes: &mut Vec<Note>,
) -> Result<usize, GgufError> {
    let embedding = gguf.tensor("token_embd.weight")?;
    if embedding.cols() != hidden_size {
        let expected = format!(
            "{}, the columns of token_embd.weight, which has shape {:?}",
            embedding.cols(),
            embedding.dims()
        );
        return Err(keys.wrong("embedding_length", expected));
    }
    if embedding.rows() > 1 << 24 {
        let what = format!("an embedding of {} rows", embedding.rows());
        return Err(keys.metadata.unsupported(what, "expected at most 16777216"));
    }
    let claimed = keys.find("vocab_size", 0..=usize::MAX)?;
    if let Some(claimed) = claimed.filter(|&claimed| claimed != embedding.rows()) {
        notes.push(Note::suspicious(format!(
            "{}.vocab_size is {claimed}, the embedding has {} rows, which is what counts",
            keys.name,
            embedding.rows()
        )));
    }
    Ok(embedding.rows())
}

fn head_dim(keys: &Keys<'_>, hidden_size: usize, heads: usize) -> Result<usize, GgufError> {
    let even = |key: &str, width: usize| match (2..=4096).contains(&width)
        && width.is_multiple_of(2)
    {
        true => Ok(width),
        false => Err(keys.wrong(
            key,
            "such that heads are an even number wide, from 2 to 4096: rotary embedding turns pairs",
        )),
    };
    let width = match keys.find("attention.key_length", 0..=usize::MAX)? {
        Some(width) => even("attention.key_length", width)?,
        None if hidden_size.is_multiple_of(heads) => {
            even("attention.head_count", hidden_size / heads)?
        }
        None => {
            let expected =
                format!("a divisor of embedding_length, {hidden_size}, or attention.key_length");
            return Err(keys.wrong("attention.head_count", expected));
        }
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        if keys
            .find(key, 0..=usize::MAX)?
            .is_some_and(|found| found != width)
        {
            let expected = format!(
                "{width}, the width of a head: tern runs heads whose keys and values are alike and turned as a whole"
            );
            return Err(keys.wrong(key, expected));
        }
    }
    Ok(width)
}

/// The activation by the file's key, or by the rule for files that have none.
fn activation(
    keys: &Keys<'_>,
    architecture: Architecture,
    vocab_size: usize,
) -> Result<(Activation, Cow<'static, str>, Certainty), GgufError> {
    for key in ["hidden_activation", "hidden_act"] {
        let of = |activation| {
            Ok((
                activation,
                format!("{}.{key} in the metadata", keys.name).into(),
                Certainty::Stated,
            ))
        };
        match keys.text(key)? {
            None => {}
            Some("relu2") => return of(Activation::Relu2),
            Some("silu" | "swish") => return of(Activation::Silu),
            Some(_) => return Err(keys.wrong(key, "\"relu2\" or \"silu\"")),
        }
    }
    let name = keys.name;
    if architecture != Architecture::BitNet {
        let reason = format!("what every \"{name}\" model has").into();
        return Ok((Activation::Silu, reason, Certainty::Known));
    }
    // The vocabulary tells the published models apart. Their names do not: bitnet.cpp's converter calls all of them "bitnet-b1.58", and
    // others call all of them "bitnet".
    if vocab_size == VOCABULARY_OF_2B4T {
        let reason = "what BitNet b1.58 2B4T has, whose vocabulary this is".into();
        return Ok((Activation::Relu2, reason, Certainty::Known));
    }
    if vocab_size == VOCABULARY_OF_FIRST {
        let reason = "what the first BitNet b1.58 models have, whose vocabulary this is".into();
        return Ok((Activation::Silu, reason, Certainty::Known));
    }
    if keys.metadata.get("tokenizer.ggml.model")? == Some("llama") {
        let reason = "what the first BitNet b1.58 models have, whose kind of tokenizer this is";
        return Ok((Activation::Silu, reason.into(), Certainty::Guessed));
    }
    let activation = match name {
        "bitnet" => Activation::Silu,
        _ => Activation::Relu2,
    };
    let reason =
        format!("the rule for the architecture \"{name}\", for want of a key in the metadata");
    Ok((activation, reason.into(), Certainty::Guessed))
}

/// A warning where the scales of BitNet b1.58 2B4T may be the inverse ones: a converter that takes every model's scales for those that divide
/// calls its architecture "bitnet".
fn inverted_scales(keys: &Keys<'_>, vocab_size: usize) -> Option<Note> {
    let is_ours = keys.metadata.value(VERSION_KEY).is_some();
    let is_theirs = keys.name == "bitnet" && vocab_size == VOCABULARY_OF_2B4T && !is_ours;
    // What tern converted without a word of the user's is no surer.
    let is_kept = keys.metadata.value(DOUBT_KEY).is_some();
    (is_theirs || is_kept).then(|| Note {
        settled_by: Some(Setting::WeightScales),
        ..Note::suspicious(
            "BitNet b1.58 2B4T as \"bitnet\", whose scales llama.cpp's converter inverts; if it writes nonsense: --weight-scales divide",
        )
    })
}

/// Whether activations are int8 for a whole position, as BitNet models are trained, or by groups. llama-style files do not say.
fn activations(
    gguf: &Gguf<'_>,
    keys: &Keys<'_>,
    architecture: Architecture,
    notes: &mut Vec<Note>,
) -> Result<ActivationScales, GgufError> {
    match keys.metadata.get::<&str>(ACTIVATIONS_KEY)? {
        Some("token") => return Ok(ActivationScales::Token),
        Some("groups") => return Ok(ActivationScales::Groups),
        Some(_) => {
            let expected = "\"token\" or \"groups\"";
            return Err(keys.metadata.wrong(ACTIVATIONS_KEY, expected));
        }
        None => {}
    }
    if architecture == Architecture::BitNet {
        return Ok(ActivationScales::Token);
    }
    // Two tokens tell: the list is read where the tokenizer is made.
    let tokens = match keys.metadata.value("tokenizer.ggml.tokens") {
        Some(Value::Array(tokens)) => Some(tokens),
        _ => None,
    };
    let tokens = tokens.into_iter().flat_map(Array::iter);
    if is_neox(tokens.map_while(<&str>::from_value)) {
        notes.push(Note::fact(
            "the file does not say how activations are rounded: by groups, as TriLM, whose vocabulary this is, was trained with float ones",
        ));
        return Ok(ActivationScales::Groups);
    }
    let matrices = || {
        gguf.tensors()
            .filter(|tensor| names::is_matrix(tensor.name()))
    };
    // tern leaves the key out where it converted a guess, which its choice of I2_S does not confirm.
    let is_ours = keys.metadata.value(VERSION_KEY).is_some();
    if !is_ours && matrices().all(|tensor| matches!(tensor.kind(), TensorType::I2s(_))) {
        notes.push(Note::fact(
            "the file does not say how activations are rounded: with one int8 scale for a position, as models in I2_S were trained",
        ));
        return Ok(ActivationScales::Token);
    }
    let (scales, text) = match matrices().all(|tensor| has_one_scale(&tensor)) {
        true => (
            ActivationScales::Token,
            "one int8 scale for a position, as each matrix has one weight scale; else --act-scales groups",
        ),
        false => (
            ActivationScales::Groups,
            "int8 scales by groups, as matrices have several weight scales; else --act-scales token",
        ),
    };
    notes.push(Note::guess(
        format!("the file does not say how activations are rounded: {text}"),
        Setting::ActivationScales,
    ));
    Ok(scales)
}

/// What stretches the context: keys, or a tensor of factors.
fn scaling(
    gguf: &Gguf<'_>,
    keys: &Keys<'_>,
    head_dim: usize,
    context: usize,
) -> Result<RopeScaling, GgufError> {
    if let Some(json) = keys.metadata.get::<&str>(ROPE_KEY)? {
        let wrong = |error: crate::error::ConfigError| {
            keys.metadata
                .wrong(ROPE_KEY, format!("what tern wrote there ({error})"))
        };
        let theta = keys.float_or("rope.freq_base", THETA, 10_000.0)?;
        return RopeScaling::of_json(json, theta, context, head_dim).map_err(wrong);
    }
    let scaling = scaling_keys(keys, context)?;
    let Some(tensor) = gguf.find("rope_freqs.weight") else {
        return Ok(scaling);
    };
    if scaling != RopeScaling::None {
        let what = "rope_freqs.weight together with rope.scaling keys".to_owned();
        return Err(keys.metadata.unsupported(what, "tern runs one of them"));
    }
    if tensor.rows() != 1 || tensor.cols() != head_dim / 2 || tensor.kind().scales().is_some() {
        let what = format!(
            "rope_freqs.weight of shape {:?} ({})",
            tensor.dims(),
            tensor.kind()
        );
        let expected = format!("expected {} floats, half the width of a head", head_dim / 2);
        return Err(keys.metadata.unsupported(what, expected));
    }
    let mut factors = vec![0.0; head_dim / 2];
    tensor.read_row_f32(0, &mut factors)?;
    if let Some(odd) = factors.iter().find(|x| !(x.is_finite() && **x > 0.0)) {
        let what = format!("rope_freqs.weight with the factor {odd}");
        return Err(keys
            .metadata
            .unsupported(what, "expected finite numbers above 0"));
    }
    match factors.iter().all(|&factor| factor == 1.0) {
        true => Ok(RopeScaling::None),
        false => Ok(RopeScaling::Factors { factors }),
    }
}

fn scaling_keys(keys: &Keys<'_>, context: usize) -> Result<RopeScaling, GgufError> {
    let factor = match keys.float("rope.scaling.factor", FACTOR)? {
        Some(factor) => Some(factor),
        None => keys.float("rope.scale_linear", FACTOR)?,
    };
    match (keys.text("rope.scaling.type")?, factor) {
        (Some("none"), _) | (None | Some("linear" | "yarn"), None) => Ok(RopeScaling::None),
        // Without a type llama.cpp takes a factor for linear.
        (None | Some("linear"), Some(1.0)) => Ok(RopeScaling::None),
        (None | Some("linear"), Some(factor)) => Ok(RopeScaling::Linear { factor }),
        (Some("yarn"), Some(factor)) => yarn(keys, factor, context),
        (Some(_), _) => Err(keys.wrong("rope.scaling.type", "\"none\", \"linear\" or \"yarn\"")),
    }
}

/// The formula of Hugging Face transformers, which models with these keys were trained with.
fn yarn(keys: &Keys<'_>, factor: f32, context: usize) -> Result<RopeScaling, GgufError> {
    let extrapolation = keys.float("rope.scaling.yarn_ext_factor", -1e6..=1e6)?;
    if extrapolation.is_some_and(|found| found != 1.0 && found >= 0.0) {
        return Err(keys.wrong("rope.scaling.yarn_ext_factor", "1"));
    }
    let usual = yarn_scale(f64::from(factor), 1.0);
    let mut attention_factor = usual as f32;
    for key in ["rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor"] {
        // It multiplies the usual one.
        if let Some(found) = keys.float(key, FACTOR)?.filter(|&found| found != 1.0) {
            attention_factor = (f64::from(found) * usual) as f32;
        }
    }
    let turns = |key: &str, default| keys.float_or(key, 1e-3..=1e6, default);
    Ok(RopeScaling::Yarn {
        factor,
        beta_fast: turns("rope.scaling.yarn_beta_fast", 32.0)?,
        beta_slow: turns("rope.scaling.yarn_beta_slow", 1.0)?,
        attention_factor,
        original_context: keys.size_or(
            "rope.scaling.original_context_length",
            1..=1 << 24,
            context,
        )?,
        truncate: true,
    })
}

/// Whether the head is the embedding: there is no other, or it is the same once more.
fn is_tied(gguf: &Gguf<'_>, notes: &mut Vec<Note>) -> bool {
    let (Some(head), Some(embedding)) =
        (gguf.find("output.weight"), gguf.find("token_embd.weight"))
    else {
        return true;
    };
    let is_same = head.kind() == embedding.kind()
        && head.dims() == embedding.dims()
        && head.data() == embedding.data();
    if is_same {
        notes.push(Note::fact(
            "output.weight is token_embd.weight once more; it is not loaded",
        ));
    }
    is_same
}

/// Refuses what would change the result and is not implemented.
fn refuse_others(keys: &Keys<'_>) -> Result<(), GgufError> {
    let metadata = &keys.metadata;
    let neutral = [
        ("expert_count", 0.0, "tern runs models without experts"),
        (
            "attention.sliding_window",
            0.0,
            "tern runs attention over all positions",
        ),
        (
            "attention.scale",
            0.0,
            "tern divides by the root of a head's width",
        ),
        (
            "attn_logit_softcapping",
            0.0,
            "tern does not limit attention's logits",
        ),
        ("final_logit_softcapping", 0.0, "tern does not limit logits"),
        ("embedding_scale", 1.0, "tern does not scale embeddings"),
        ("residual_scale", 1.0, "tern does not scale residuals"),
        ("logit_scale", 1.0, "tern does not scale logits"),
    ];
    for (key, none, reason) in neutral {
        let found = metadata.get::<f32>(&keys.key(key))?;
        if let Some(found) = found.filter(|&found| found != none) {
            let what = format!("\"{}\" {found}", keys.key(key));
            return Err(metadata.unsupported(what, reason));
        }
    }
    Ok(())
}
