//! The keys of a GGUF file, such that llama.cpp and bitnet.cpp open it, and tern reads the same model again.

use super::plan::{I2_S, Matrix};
use super::{ConvertError, Source, vocabulary};
use crate::config::{Activation, ActivationScales, Architecture, Config, RopeScaling, yarn_scale};
use crate::gguf::{Header, TensorType, WriteError};
use crate::gguf_model::{ACTIVATIONS_KEY, DIVISORS_KEY, DOUBT_KEY, ROPE_KEY, VERSION_KEY};
use crate::note::Setting;

/// What other programs call the architecture. They decide the activation by it.
fn architecture(config: &Config) -> &'static str {
    match (config.architecture, config.activation) {
        (Architecture::BitNet, Activation::Relu2) => "bitnet-b1.58",
        (Architecture::BitNet, Activation::Silu) => "bitnet",
        (Architecture::Llama, _) => "llama",
        (Architecture::Qwen3, _) => "qwen3",
    }
}

/// Sets all keys; returns notes.
pub(super) fn keys(
    source: &Source<'_>,
    header: &mut Header,
    matrices: &[Matrix],
) -> Result<Vec<String>, ConvertError> {
    let config = &source.config;
    let name = architecture(config);
    header.set("general.architecture", name)?;
    header.set("general.type", "model")?;
    let model = std::path::Path::new(&source.files.names().model);
    let title = model.file_stem().and_then(std::ffi::OsStr::to_str);
    header.set("general.name", title.unwrap_or("model"))?;
    header.set("general.quantization_version", 2u32)?;
    if let Some(file_type) = file_type(matrices) {
        header.set("general.file_type", file_type)?;
    }
    model_keys(config, name, header)?;
    // A guess is left out, so that the new file is guessed at and warned of as the old one; its architecture's name leads to the same activation.
    if !source.is_guess(Setting::Activation) {
        let key = format!("{name}.hidden_activation");
        header.set(&key, config.activation.name())?;
    }
    rope_keys(config, name, header)?;
    header.set(VERSION_KEY, env!("CARGO_PKG_VERSION"))?;
    let activations = match config.quantization.activations {
        ActivationScales::Token => "token",
        ActivationScales::Groups => "groups",
    };
    if !source.is_guess(Setting::ActivationScales) {
        header.set(ACTIVATIONS_KEY, activations)?;
    }
    if source.is_guess(Setting::WeightScales) {
        header.set(DOUBT_KEY, true)?;
    }
    if let Some(divisors) = source.divisors(matrices) {
        header.set(DIVISORS_KEY, &divisors[..])?;
    }
    vocabulary::keys(source, header)
}

fn model_keys(config: &Config, name: &str, header: &mut Header) -> Result<(), WriteError> {
    let mut number = |key: &str, value: usize| {
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        header.set(&format!("{name}.{key}"), value)
    };
    number("vocab_size", config.vocab_size)?;
    number("context_length", config.context)?;
    number("embedding_length", config.hidden_size)?;
    number("block_count", config.layers)?;
    number("feed_forward_length", config.intermediate_size)?;
    number("attention.head_count", config.heads)?;
    number("attention.head_count_kv", config.kv_heads)?;
    number("attention.key_length", config.head_dim)?;
    number("attention.value_length", config.head_dim)?;
    number("rope.dimension_count", config.head_dim)?;
    let eps = format!("{name}.attention.layer_norm_rms_epsilon");
    header.set(&eps, config.rms_norm_eps)?;
    header.set(&format!("{name}.rope.freq_base"), config.rope_theta)
}

fn rope_keys(config: &Config, name: &str, header: &mut Header) -> Result<(), WriteError> {
    let key = |key: &str| format!("{name}.rope.scaling.{key}");
    let json = config.rope_scaling.to_json();
    match &config.rope_scaling {
        RopeScaling::None => return Ok(()),
        // In a tensor.
        RopeScaling::Factors { .. } => return Ok(()),
        RopeScaling::Llama3 { .. } => {}
        RopeScaling::Linear { factor } => {
            header.set(&key("type"), "linear")?;
            header.set(&key("factor"), *factor)?;
        }
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_context,
            attention_factor,
            ..
        } => {
            header.set(&key("type"), "yarn")?;
            header.set(&key("factor"), *factor)?;
            let context = u32::try_from(*original_context).unwrap_or(u32::MAX);
            header.set(&key("original_context_length"), context)?;
            header.set(&key("yarn_beta_fast"), *beta_fast)?;
            header.set(&key("yarn_beta_slow"), *beta_slow)?;
            // llama.cpp multiplies the usual factor with it.
            let usual = yarn_scale(f64::from(*factor), 1.0);
            if *attention_factor != usual as f32 {
                let own = (f64::from(*attention_factor) / usual) as f32;
                header.set(&key("attn_factor"), own)?;
            }
        }
    }
    // The formula in full, of which the keys above and the tensor are what others read.
    header.set(ROPE_KEY, json.to_string())
}

/// llama.cpp's number for what most of the file is; nobody should believe it.
fn file_type(matrices: &[Matrix]) -> Option<u32> {
    let first = matrices.first()?.kind;
    let number = match first {
        TensorType::Tq1_0 => 36,
        TensorType::Tq2_0 => 37,
        TensorType::F32 => 0,
        TensorType::F16 => 1,
        TensorType::Bf16 => 32,
        kind if kind == I2_S => 40,
        _ => return None,
    };
    matrices
        .iter()
        .all(|matrix| matrix.kind == first)
        .then_some(number)
}
