//! `config.json`: what model this is and whether tern can run it exactly.
//!
//! The file is read as loose JSON, not into a fixed struct, for three reasons: real checkpoints
//! repeat keys (Llama3-8B-1.58 has `quantization_config` twice; the last one counts), the same
//! fact has two spellings (`rope_theta` or `rope_parameters.rope_theta`), and a message about one
//! bad value should name its key. Anything that would change the result and is not implemented is
//! refused by name; nothing is silently ignored.
//!
//! Meaning and defaults follow `transformers` 5 (`BitNetConfig`, `LlamaConfig`, `Qwen3Config`,
//! `BitNetQuantConfig`), and for `BitnetForCausalLM` the code that was published with the first BitNet b1.58 models.

mod json;
mod rope;

use std::borrow::Cow;
use std::ops::RangeInclusive;

use serde::Serialize;
use serde_json::Value;

use crate::error::{ConfigError, shorten};
use crate::json::Object;

pub use rope::RopeScaling;
pub(crate) use rope::yarn_scale;

/// Longest matrix row for which an exact integer sum is also exact as `f32`:
/// 131071 activations of magnitude 128 stay below 2^24.
pub const MAX_COLS: usize = (1 << 24) / 128 - 1;
const _: () = assert!(MAX_COLS == 131_071);

/// The epsilons accepted. Zero would divide a row of zeros by zero.
pub(crate) const EPSILON: RangeInclusive<f64> = 1e-30..=1.0;

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
    /// What decided it, for people: a wrong one makes fluent nonsense, and some files do not say.
    pub activation_reason: Cow<'static, str>,
    /// How sure that is.
    #[serde(skip)]
    pub activation_certainty: Certainty,
    /// Epsilon of the model's own norms.
    pub rms_norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// What is done to them for longer texts.
    pub rope_scaling: RopeScaling,
    /// Whether the head is the embedding.
    pub tied_head: bool,
    /// Ids that end a text.
    pub eos_token_ids: Vec<u32>,
    /// How the linear layers are quantized.
    pub quantization: Quantization,
}

/// The forward passes that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// `BitNetForCausalLM`, and the older `BitnetForCausalLM`: norms before `o_proj` and `down_proj`.
    BitNet,
    /// `LlamaForCausalLM`: neither those norms nor the next ones.
    Llama,
    /// `Qwen3ForCausalLM`: a norm of each head's queries and keys.
    Qwen3,
}

impl Architecture {
    /// The `model_type` of `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Architecture::BitNet => "bitnet",
            Architecture::Llama => "llama",
            Architecture::Qwen3 => "qwen3",
        }
    }

    /// The name of transformers' class.
    pub fn class(self) -> &'static str {
        match self {
            Architecture::BitNet => "BitNetForCausalLM",
            Architecture::Llama => "LlamaForCausalLM",
            Architecture::Qwen3 => "Qwen3ForCausalLM",
        }
    }
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

impl Activation {
    /// The name in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Relu2 => "relu2",
            Activation::Silu => "silu",
        }
    }
}

/// How sure it is what a model's files mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// They say it.
    Stated,
    /// It follows from what they are, or the user said it.
    Known,
    /// It is what such files mostly mean.
    Guessed,
}

/// How weights and activations become small integers: `quantization_config`, or what its absence means.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantization {
    /// What the weight scale does to a sum.
    pub scale: ScaleRule,
    /// Where the trits come from.
    pub weights: WeightSource,
    /// How many activations share a scale.
    pub activations: ActivationScales,
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
    /// The file holds floats that are trits times a scale, exactly: one for the matrix, for each row, or for groups of columns, which is
    /// found by looking.
    Exact,
    /// A GGUF file: each matrix in its own type, whose blocks hold trits and scales, or floats as for [`WeightSource::Exact`].
    Blocks,
}

/// How many activations of a token share a scale when they become int8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationScales {
    /// All that a linear layer reads: as models with int8 activations are trained.
    Token,
    /// [`ACTIVATION_GROUP`] neighbours. An approximation of the float activations that a model was trained with.
    Groups,
}

/// Activations that share a scale where they are not trained as int8.
pub const ACTIVATION_GROUP: usize = 128;

impl Config {
    /// Reads `config.json`. `file` is the name used in messages.
    ///
    /// # Errors
    /// [`ConfigError`] names the key, its value and what was expected.
    pub fn parse(json: &[u8], file: &str) -> Result<Config, ConfigError> {
        let root = Object::parse(json, file)?;
        let (architecture, is_first) = architecture(&root)?;
        let defaults = Defaults::of(architecture, is_first);
        let quantization = quantization(&root, architecture, is_first)?;
        let hidden_size = root.size("hidden_size", 1..=MAX_COLS)?;
        let heads = root.size("num_attention_heads", 1..=4096)?;
        let kv_heads = kv_heads(&root, heads)?;
        let context = root.size_or("max_position_embeddings", 1..=1 << 24, 2048)?;
        let (rope_theta, rope_scaling) = rope::rope(&root, defaults.rope_theta, context)?;
        let (activation, activation_reason, activation_certainty) = activation(&root, &defaults)?;
        let config = Config {
            architecture,
            hidden_size,
            intermediate_size: root.size("intermediate_size", 1..=MAX_COLS)?,
            layers: root.size("num_hidden_layers", 1..=4096)?,
            heads,
            kv_heads,
            head_dim: head_dim(&root, architecture, hidden_size, heads)?,
            vocab_size: root.size("vocab_size", 1..=1 << 24)?,
            context,
            activation,
            activation_reason,
            activation_certainty,
            rms_norm_eps: root.float_or("rms_norm_eps", EPSILON, defaults.rms_norm_eps)?,
            rope_theta,
            rope_scaling,
            tied_head: root.flag("tie_word_embeddings")?,
            eos_token_ids: root.ids("eos_token_id")?,
            quantization,
        };
        config.check_packable(&root)?;
        refuse_others(&root, &config)?;
        Ok(config)
    }

    /// The same with another function of the feed-forward gate, where the user wants one.
    #[must_use]
    pub fn with_activation(self, wanted: Option<Activation>) -> Config {
        match wanted {
            None => self,
            Some(activation) => Config {
                activation,
                activation_reason: format!(
                    "the user's word; the file's is {}, by {}",
                    self.activation.name(),
                    self.activation_reason
                )
                .into(),
                activation_certainty: Certainty::Known,
                ..self
            },
        }
    }

    /// The same with other scales of activations, and with weight scales that do something else, where the user wants that.
    #[must_use]
    pub fn with_scales(
        mut self,
        activations: Option<ActivationScales>,
        weights: Option<ScaleRule>,
    ) -> Config {
        let quantization = &mut self.quantization;
        quantization.activations = activations.unwrap_or(quantization.activations);
        quantization.scale = weights.unwrap_or(quantization.scale);
        self
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

    /// Whether queries and keys are normalised, head by head.
    pub fn has_head_norms(&self) -> bool {
        self.architecture == Architecture::Qwen3
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

/// What a class has where `config.json` is silent.
struct Defaults {
    class: &'static str,
    activation: Activation,
    rms_norm_eps: f32,
    rope_theta: f32,
}

impl Defaults {
    fn of(architecture: Architecture, is_first: bool) -> Defaults {
        let modern = architecture == Architecture::BitNet && !is_first;
        Defaults {
            class: if is_first {
                FIRST_BITNET
            } else {
                architecture.class()
            },
            activation: if modern {
                Activation::Relu2
            } else {
                Activation::Silu
            },
            rms_norm_eps: if modern { 1e-5 } else { 1e-6 },
            rope_theta: if modern { 500_000.0 } else { 10_000.0 },
        }
    }
}

/// The class of the first BitNet b1.58 models (bitnet_b1_58-large, -3B), whose code came with them. Their `model_type` is "llama".
const FIRST_BITNET: &str = "BitnetForCausalLM";

/// Which forward pass, and whether the model is one of the first BitNet b1.58.
fn architecture(root: &Object) -> Result<(Architecture, bool), ConfigError> {
    let named = match root.get("architectures") {
        None => None,
        Some(Value::Array(names)) => match names.first().and_then(Value::as_str) {
            Some(name) => Some(name),
            None => {
                return Err(root.wrong_value("architectures", "[\"LlamaForCausalLM\"]".into()));
            }
        },
        Some(_) => return Err(root.wrong_value("architectures", "[\"LlamaForCausalLM\"]".into())),
    };
    let kind = root.text("model_type")?;
    if named == Some(FIRST_BITNET) && matches!(kind, None | Some("llama" | "bitnet")) {
        return Ok((Architecture::BitNet, true));
    }
    let architecture = match kind {
        Some("bitnet") => Architecture::BitNet,
        Some("llama") => Architecture::Llama,
        Some("qwen3") => Architecture::Qwen3,
        Some(other) => {
            let reason =
                "tern runs \"bitnet\", \"llama\" and \"qwen3\" models with ternary weights";
            return Err(root.unsupported(&format!("model_type \"{}\"", shorten(other)), reason));
        }
        None => return Err(root.missing("model_type", "\"bitnet\", \"llama\" or \"qwen3\"")),
    };
    match named {
        None => Ok((architecture, false)),
        Some(name) if name == architecture.class() => Ok((architecture, false)),
        Some(name) => Err(root.unsupported(
            &format!("architecture \"{}\"", shorten(name)),
            &format!("with this model_type tern runs {}", architecture.class()),
        )),
    }
}

fn quantization(
    root: &Object,
    architecture: Architecture,
    is_first: bool,
) -> Result<Quantization, ConfigError> {
    refuse_mlx(root)?;
    let Some(quantization) = root.object("quantization_config")? else {
        return match (architecture, is_first) {
            (_, true) => first_quantization(root),
            (Architecture::BitNet, false) => {
                let expected = "{\"quant_method\": \"bitnet\", …}: tern runs ternary models only";
                Err(root.missing("quantization_config", expected))
            }
            // Plain floats: whether they are ternary is for the weights to tell.
            (Architecture::Llama | Architecture::Qwen3, false) => Ok(Quantization {
                scale: ScaleRule::Multiply,
                weights: WeightSource::Exact,
                activations: ActivationScales::Groups,
                linear_norm_eps: None,
            }),
        };
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
        activations: ActivationScales::Token,
        linear_norm_eps,
    })
}

/// Refuses weights in the packing of Apple's MLX, which says so by bits and groups, mostly in both keys.
fn refuse_mlx(root: &Object) -> Result<(), ConfigError> {
    for key in ["quantization", "quantization_config"] {
        let has = |inner: &str| {
            root.get(key)
                .is_some_and(|found| found.get(inner).is_some())
        };
        if has("bits") && has("group_size") && !has("quant_method") {
            let reason = "its packed weights are for Apple's MLX: use the same model's unpacked repository or its GGUF file";
            return Err(root.unsupported(&format!("\"{key}\" with bits and group_size"), reason));
        }
    }
    Ok(())
}

/// That of the first BitNet b1.58 models: their linear layers always quantize master weights by the matrix and int8 activations by the
/// token, in the formulas of `autobitlinear`. Two keys give the bits.
fn first_quantization(root: &Object) -> Result<Quantization, ConfigError> {
    for (key, bits) in [("weight_bits", 1), ("input_bits", 8)] {
        let found = root.size_or(key, 0..=64, bits)?;
        if found != bits {
            let reason = format!("tern runs {bits}, which is what the published models have");
            return Err(root.unsupported(&format!("{key} {found}"), &reason));
        }
    }
    Ok(Quantization {
        scale: ScaleRule::Multiply,
        weights: WeightSource::Online,
        activations: ActivationScales::Token,
        linear_norm_eps: None,
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

fn head_dim(
    root: &Object,
    architecture: Architecture,
    hidden_size: usize,
    heads: usize,
) -> Result<usize, ConfigError> {
    let default = match architecture {
        Architecture::Qwen3 => 128,
        Architecture::BitNet | Architecture::Llama => hidden_size / heads,
    };
    let divides = architecture == Architecture::Qwen3 || hidden_size.is_multiple_of(heads);
    if root.get("head_dim").is_none() && !divides {
        let expected = format!("a divisor of hidden_size, {hidden_size}, or an explicit head_dim");
        return Err(root.wrong("num_attention_heads", &heads.to_string(), expected));
    }
    let head_dim = root.size_or("head_dim", 2..=4096, default)?;
    // The default may be out of range too: hidden_size 7 with 7 heads.
    if (2..=4096).contains(&head_dim) && head_dim.is_multiple_of(2) {
        return Ok(head_dim);
    }
    let expected = "an even number from 2 to 4096: rotary embedding turns pairs".to_owned();
    Err(root.wrong("head_dim", &head_dim.to_string(), expected))
}

/// The activation, what decided it, and how sure that is.
fn activation(
    root: &Object,
    defaults: &Defaults,
) -> Result<(Activation, Cow<'static, str>, Certainty), ConfigError> {
    const KEY: &str = "hidden_act in config.json";
    match root.text("hidden_act")? {
        Some("relu2") => Ok((Activation::Relu2, KEY.into(), Certainty::Stated)),
        Some("silu" | "swish") => Ok((Activation::Silu, KEY.into(), Certainty::Stated)),
        None => {
            let reason = format!("the default of {}, for want of {KEY}", defaults.class);
            Ok((defaults.activation, reason.into(), Certainty::Known))
        }
        Some(other) => {
            let what = format!("hidden_act \"{}\"", shorten(other));
            Err(root.unsupported(&what, "tern runs \"relu2\" and \"silu\""))
        }
    }
}

/// Refuses what would change the result and is not implemented.
fn refuse_others(root: &Object, config: &Config) -> Result<(), ConfigError> {
    for key in ["attention_bias", "mlp_bias"] {
        if root.flag(key)? {
            let reason = "tern runs linear layers without bias";
            return Err(root.unsupported(&format!("{key} true"), reason));
        }
    }
    let is_full = |kind: &Value| kind.as_str() == Some("full_attention");
    let has_other = match root.get("layer_types") {
        None => {
            // Qwen3 without a list has windows from a layer on.
            let first = root.size_or("max_window_layers", 0..=1 << 20, 28)?;
            let has_window = root.flag("use_sliding_window")?;
            has_window && first < config.layers && config.architecture == Architecture::Qwen3
        }
        Some(Value::Array(kinds)) => !kinds.iter().all(is_full),
        Some(_) => return Err(root.wrong_value("layer_types", "a list of strings".to_owned())),
    };
    if has_other {
        let reason = "tern runs \"full_attention\" in every layer";
        return Err(root.unsupported("attention in windows or of another kind", reason));
    }
    if let Some((key, _)) = root.entries().find(|(key, _)| key.contains("hadamard")) {
        let reason =
            "weights are rotated, and without the inverse the model writes fluent nonsense";
        return Err(root.unsupported(&format!("\"{}\"", shorten(key)), reason));
    }
    Ok(())
}
