//! `config.json`: what model this is and whether tern can run it exactly.
//!
//! The file is read as loose JSON, not into a fixed struct, for three reasons: real checkpoints
//! repeat keys (Llama3-8B-1.58 has `quantization_config` twice; the last one counts), the same
//! fact has two spellings (`rope_theta` or `rope_parameters.rope_theta`), and a message about one
//! bad value should name its key. Anything that would change the result and is not implemented is
//! refused by name; nothing is silently ignored.
//!
//! Meaning and defaults follow `transformers` 5 (`BitNetConfig`, `LlamaConfig`,
//! `BitNetQuantConfig`).

use std::ops::RangeInclusive;

use serde::Serialize;
use serde_json::Value;

use crate::error::{ConfigError, shorten};
use crate::json::Object;

/// Longest matrix row for which an exact integer sum is also exact as `f32`:
/// 131071 activations of magnitude 128 stay below 2^24.
pub const MAX_COLS: usize = (1 << 24) / 128 - 1;
const _: () = assert!(MAX_COLS == 131_071);

/// The epsilons accepted. Zero would divide a row of zeros by zero.
const EPSILON: RangeInclusive<f64> = 1e-30..=1.0;

/// The model's shape and arithmetic, checked: every dimension is positive and plausible.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// Which forward pass.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Most positions a sequence may hold (`max_position_embeddings`).
    pub context: usize,
    /// The feed-forward gate's function.
    pub activation: Activation,
    /// Epsilon of the model's own norms.
    pub rms_norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// Whether the head is the embedding.
    pub tied_head: bool,
    /// Ids that end a text.
    pub eos_token_ids: Vec<u32>,
    /// How the linear layers are quantized.
    pub quantization: Quantization,
}

/// The two forward passes that differ: with and without norms before `o_proj` and `down_proj`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// `BitNetForCausalLM`: sub-norms before `o_proj` and `down_proj`.
    BitNet,
    /// `LlamaForCausalLM` with `quant_method` bitnet: no sub-norms.
    Llama,
}

/// Function of the feed-forward gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// `max(x, 0)²`.
    Relu2,
    /// `x / (1 + exp(−x))`.
    Silu,
}

/// `quantization_config`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantization {
    /// What the weight scale does to a sum.
    pub scale: ScaleRule,
    /// Where the trits come from.
    pub weights: WeightSource,
    /// Epsilon of a learned norm before every linear layer (`use_rms_norm`), or none.
    pub linear_norm_eps: Option<f32>,
}

/// Decided by `linear_class`, `autobitlinear` or the default, `bitlinear`; the two checkpoint families store inverse scales of each
/// other.
pub use tern_kernels::ScaleRule;

/// Decided by `quantization_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightSource {
    /// Trits and their scale are in the file.
    Offline,
    /// The file holds master weights; trits are made from them while loading (absmean).
    Online,
}

impl Config {
    /// Reads `config.json`. `file` is the name used in messages.
    ///
    /// # Errors
    /// [`ConfigError`] names the key, its value and what was expected.
    pub fn parse(json: &[u8], file: &str) -> Result<Config, ConfigError> {
        let root = Object::parse(json, file)?;
        let architecture = architecture(&root)?;
        let bitnet = architecture == Architecture::BitNet;
        let quantization = quantization(&root)?;
        let hidden_size = root.size("hidden_size", 1..=MAX_COLS)?;
        let heads = root.size("num_attention_heads", 1..=4096)?;
        let kv_heads = kv_heads(&root, heads)?;
        let config = Config {
            architecture,
            hidden_size,
            intermediate_size: root.size("intermediate_size", 1..=MAX_COLS)?,
            layers: root.size("num_hidden_layers", 1..=4096)?,
            heads,
            kv_heads,
            head_dim: head_dim(&root, hidden_size, heads)?,
            vocab_size: root.size("vocab_size", 1..=1 << 24)?,
            context: root.size_or("max_position_embeddings", 1..=1 << 24, 2048)?,
            activation: activation(&root, bitnet)?,
            rms_norm_eps: root.float_or(
                "rms_norm_eps",
                EPSILON,
                if bitnet { 1e-5 } else { 1e-6 },
            )?,
            rope_theta: rope_theta(&root, if bitnet { 500_000.0 } else { 10_000.0 })?,
            tied_head: root.flag("tie_word_embeddings")?,
            eos_token_ids: root.ids("eos_token_id")?,
            quantization,
        };
        config.check_packable(&root)?;
        refuse_biases(&root)?;
        Ok(config)
    }

    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Whether norms stand before `o_proj` and `down_proj`.
    pub fn has_sub_norms(&self) -> bool {
        self.architecture == Architecture::BitNet
    }

    /// Hugging Face packs four rows a byte, so packed matrices have a multiple of four rows.
    fn check_packable(&self, root: &Object) -> Result<(), ConfigError> {
        if self.query_width() > MAX_COLS {
            let expected = format!("num_attention_heads · head_dim at most {MAX_COLS}");
            return Err(root.wrong("head_dim", &self.head_dim.to_string(), expected));
        }
        let widths = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("head_dim", self.query_width()),
            ("head_dim", self.kv_width()),
        ];
        for (key, rows) in widths {
            if self.quantization.weights == WeightSource::Offline && !rows.is_multiple_of(4) {
                let found = format!("such that a matrix has {rows} rows");
                let expected = "a multiple of 4 rows, because four share a byte".to_owned();
                return Err(root.wrong(key, &found, expected));
            }
        }
        Ok(())
    }
}

fn architecture(root: &Object) -> Result<Architecture, ConfigError> {
    let (architecture, class) = match root.text("model_type")? {
        Some("bitnet") => (Architecture::BitNet, "BitNetForCausalLM"),
        Some("llama") => (Architecture::Llama, "LlamaForCausalLM"),
        Some(other) => {
            let reason = "tern runs \"bitnet\" and \"llama\" models with quant_method \"bitnet\"";
            return Err(root.unsupported(&format!("model_type \"{}\"", shorten(other)), reason));
        }
        None => return Err(root.missing("model_type", "\"bitnet\" or \"llama\"")),
    };
    let named = match root.get("architectures") {
        None => return Ok(architecture),
        Some(Value::Array(names)) => names.first().and_then(Value::as_str),
        Some(_) => None,
    };
    match named {
        Some(name) if name == class => Ok(architecture),
        Some(name) => Err(root.unsupported(
            &format!("architecture \"{}\"", shorten(name)),
            &format!("with this model_type tern runs {class}"),
        )),
        None => Err(root.wrong_value("architectures", format!("[\"{class}\"]"))),
    }
}

fn quantization(root: &Object) -> Result<Quantization, ConfigError> {
    let Some(quantization) = root.object("quantization_config")? else {
        let expected = "{\"quant_method\": \"bitnet\", …}: tern runs ternary models only";
        return Err(root.missing("quantization_config", expected));
    };
    match quantization.text("quant_method")? {
        Some("bitnet") => {}
        Some(other) => {
            let what = format!("quant_method \"{}\"", shorten(other));
            return Err(root.unsupported(&what, "tern runs models quantized with \"bitnet\""));
        }
        None => return Err(quantization.missing("quant_method", "\"bitnet\"")),
    }
    let scale = match quantization.text("linear_class")? {
        None | Some("bitlinear") => ScaleRule::Divide,
        Some("autobitlinear") => ScaleRule::Multiply,
        Some(_) => {
            let expected = "\"bitlinear\" or \"autobitlinear\"".to_owned();
            return Err(quantization.wrong_value("linear_class", expected));
        }
    };
    let weights = match (quantization.text("quantization_mode")?, scale) {
        (None | Some("offline"), _) => WeightSource::Offline,
        (Some("online"), ScaleRule::Multiply) => WeightSource::Online,
        // transformers' BitLinear never quantizes weights itself: it ignores the mode.
        (Some("online"), ScaleRule::Divide) => WeightSource::Offline,
        (Some(_), _) => {
            let expected = "\"offline\" or \"online\"".to_owned();
            return Err(quantization.wrong_value("quantization_mode", expected));
        }
    };
    check_exclusions(&quantization)?;
    let linear_norm_eps = match quantization.flag("use_rms_norm")? {
        true => Some(quantization.float_or("rms_norm_eps", EPSILON, 1e-6)?),
        false => None,
    };
    Ok(Quantization {
        scale,
        weights,
        linear_norm_eps,
    })
}

/// `modules_to_not_convert` must leave exactly the head dense: a list without `lm_head` would
/// quantize the head, and any other linear layer in it would be dense.
fn check_exclusions(quantization: &Object) -> Result<(), ConfigError> {
    const KEY: &str = "modules_to_not_convert";
    let names = match quantization.get(KEY) {
        None => return Ok(()),
        Some(Value::Array(names)) => names,
        Some(_) => {
            return Err(
                quantization.wrong_value(KEY, "null or a list such as [\"lm_head\"]".into())
            );
        }
    };
    let mut head_is_dense = false;
    for name in names {
        match name.as_str() {
            Some("lm_head") => head_is_dense = true,
            // Not linear layers, so excluding them changes nothing.
            Some("embed_tokens" | "model.embed_tokens" | "norm" | "model.norm") => {}
            _ => {
                let what = format!("{KEY} entry {}", shorten(name));
                let reason = "every linear layer but lm_head must be ternary";
                return Err(quantization.unsupported(&what, reason));
            }
        }
    }
    if head_is_dense {
        return Ok(());
    }
    let what = format!("{KEY} without \"lm_head\"");
    Err(quantization.unsupported(
        &what,
        "it asks for a quantized head; add \"lm_head\" to the list",
    ))
}

fn kv_heads(root: &Object, heads: usize) -> Result<usize, ConfigError> {
    let kv_heads = root.size_or("num_key_value_heads", 1..=heads, heads)?;
    if heads.is_multiple_of(kv_heads) {
        return Ok(kv_heads);
    }
    let expected = format!("a divisor of num_attention_heads, {heads}");
    Err(root.wrong("num_key_value_heads", &kv_heads.to_string(), expected))
}

fn head_dim(root: &Object, hidden_size: usize, heads: usize) -> Result<usize, ConfigError> {
    if root.get("head_dim").is_none() && !hidden_size.is_multiple_of(heads) {
        let expected = format!("a divisor of hidden_size, {hidden_size}, or an explicit head_dim");
        return Err(root.wrong("num_attention_heads", &heads.to_string(), expected));
    }
    let head_dim = root.size_or("head_dim", 2..=4096, hidden_size / heads)?;
    // The default may be out of range too: hidden_size 7 with 7 heads.
    if (2..=4096).contains(&head_dim) && head_dim.is_multiple_of(2) {
        return Ok(head_dim);
    }
    let expected = "an even number from 2 to 4096: rotary embedding turns pairs".to_owned();
    Err(root.wrong("head_dim", &head_dim.to_string(), expected))
}

fn activation(root: &Object, bitnet: bool) -> Result<Activation, ConfigError> {
    match root.text("hidden_act")? {
        Some("relu2") => Ok(Activation::Relu2),
        Some("silu" | "swish") => Ok(Activation::Silu),
        None if bitnet => Ok(Activation::Relu2),
        None => Ok(Activation::Silu),
        Some(other) => {
            let what = format!("hidden_act \"{}\"", shorten(other));
            Err(root.unsupported(&what, "tern runs \"relu2\" and \"silu\""))
        }
    }
}

fn rope_theta(root: &Object, default: f32) -> Result<f32, ConfigError> {
    const THETA: RangeInclusive<f64> = 1.0..=1e12;
    if root.get("rope_scaling").is_some() {
        refuse_scaling(&root.object("rope_scaling")?.expect("present"))?;
    }
    if root
        .get("partial_rotary_factor")
        .is_some_and(|factor| factor.as_f64() != Some(1.0))
    {
        let reason = "tern rotates whole heads";
        return Err(root.unsupported("partial_rotary_factor other than 1", reason));
    }
    match root.object("rope_parameters")? {
        Some(parameters) => {
            refuse_scaling(&parameters)?;
            let outer = root.float_or("rope_theta", THETA, default)?;
            parameters.float_or("rope_theta", THETA, outer)
        }
        None => root.float_or("rope_theta", THETA, default),
    }
}

fn refuse_scaling(rope: &Object) -> Result<(), ConfigError> {
    let kind = match rope.text("rope_type")? {
        Some(kind) => Some(kind),
        None => rope.text("type")?,
    };
    match kind {
        None | Some("default") => Ok(()),
        Some(other) => {
            let what = format!("rope_type \"{}\"", shorten(other));
            Err(rope.unsupported(&what, "tern runs unscaled rotary embedding (\"default\")"))
        }
    }
}

fn refuse_biases(root: &Object) -> Result<(), ConfigError> {
    for key in ["attention_bias", "mlp_bias"] {
        if root.flag(key)? {
            let reason = "tern runs linear layers without bias";
            return Err(root.unsupported(&format!("{key} true"), reason));
        }
    }
    Ok(())
}
