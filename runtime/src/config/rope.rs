//! Rotary embedding in `config.json`: the base and what stretches the context.
//!
//! `transformers` 4 writes `rope_theta` and `rope_scaling`, 5 writes all of it into `rope_parameters`; both spell the kind `rope_type`, older
//! files `type`. Kinds and defaults are those of `modeling_rope_utils.py` there.

use std::ops::RangeInclusive;

use serde::Serialize;
use serde_json::Value;

use crate::error::{ConfigError, shorten};
use crate::json::Object;

/// The factors accepted of any kind.
const FACTOR: RangeInclusive<f64> = 1e-3..=1e6;
/// The bases accepted.
const THETA: RangeInclusive<f64> = 1.0..=1e12;

/// The kind that only tern's own files have: the factors themselves, which GGUF files have in place of a formula.
pub(super) const FACTORS: &str = "tern_factors";

/// What is done to the rotary frequencies so that more positions fit than a model was first trained with.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RopeScaling {
    /// Nothing.
    None,
    /// All frequencies are divided by `factor` (position interpolation, arXiv:2306.15595).
    Linear {
        /// Divides.
        factor: f32,
    },
    /// Long wavelengths are divided by `factor`, short ones kept, those between interpolated (Llama 3.1).
    Llama3 {
        /// Divides.
        factor: f32,
        /// Wavelengths above `original_context` by this are divided.
        low_freq_factor: f32,
        /// Wavelengths below `original_context` by this are kept.
        high_freq_factor: f32,
        /// Positions of the first training.
        original_context: usize,
    },
    /// Dimensions that turn often are kept, those that turn seldom divided, with a ramp between; queries and keys are scaled
    /// (YaRN, arXiv:2309.00071).
    Yarn {
        /// Divides.
        factor: f32,
        /// Turns within the first context above which a dimension is kept.
        beta_fast: f32,
        /// Turns below which it is divided.
        beta_slow: f32,
        /// Multiplies cosines and sines.
        attention_factor: f32,
        /// Positions of the first training.
        original_context: usize,
        /// Whether the ramp begins and ends at whole dimensions.
        truncate: bool,
    },
    /// Each frequency is divided by a number of its own, `head_dim / 2` of them: the form in which GGUF files have the scaling of Llama 3.1
    /// (`rope_freqs.weight`).
    Factors {
        /// `head_dim / 2` of them.
        factors: Vec<f32>,
    },
}

/// The base of the frequencies and their scaling.
pub(super) fn rope(
    root: &Object,
    default_theta: f32,
    context: usize,
) -> Result<(f32, RopeScaling), ConfigError> {
    let parameters = root.object("rope_parameters")?;
    // Where a file has both, transformers takes the older key.
    let scaling = root.object("rope_scaling")?.filter(|o| !o.is_empty());
    let outer = root.float_or("rope_theta", THETA, default_theta)?;
    let mut theta = outer;
    for rope in [&parameters, &scaling].into_iter().flatten() {
        theta = rope.float_or("rope_theta", THETA, theta)?;
    }
    for rope in [Some(root), parameters.as_ref(), scaling.as_ref()]
        .into_iter()
        .flatten()
    {
        refuse_partial(rope)?;
    }
    let scaling = match scaling.or(parameters) {
        None => RopeScaling::None,
        Some(rope) => self::scaling(root, &rope, theta, context)?,
    };
    Ok((theta, scaling))
}

impl RopeScaling {
    /// The scaling that the value of `rope_scaling` in `config.json` describes.
    pub(crate) fn of_json(
        json: &str,
        theta: f32,
        context: usize,
        head_dim: usize,
    ) -> Result<RopeScaling, ConfigError> {
        let file = "rope_scaling";
        let root = Object::parse(format!("{{\"head_dim\": {head_dim}}}").as_bytes(), file)?;
        let rope = Object::parse(json.as_bytes(), file)?;
        scaling(&root, &rope, theta, context)
    }
}

fn refuse_partial(rope: &Object) -> Result<(), ConfigError> {
    let factor = rope.get("partial_rotary_factor");
    match factor.is_some_and(|factor| factor.as_f64() != Some(1.0)) {
        true => {
            let reason = "tern rotates whole heads";
            Err(rope.unsupported("partial_rotary_factor other than 1", reason))
        }
        false => Ok(()),
    }
}

fn scaling(
    root: &Object,
    rope: &Object,
    theta: f32,
    context: usize,
) -> Result<RopeScaling, ConfigError> {
    if let Some((layers, _)) = rope.entries().find(|(_, value)| value.is_object()) {
        let what = format!("rotary embedding of its own for \"{}\"", shorten(layers));
        return Err(rope.unsupported(&what, "tern has one for all layers"));
    }
    let kind = match rope.text("rope_type")? {
        Some(kind) => Some(kind),
        None => rope.text("type")?,
    };
    match kind {
        None | Some("default") => Ok(RopeScaling::None),
        Some("linear") => Ok(RopeScaling::Linear {
            factor: required(rope, "factor", FACTOR)?,
        }),
        Some("llama3") => llama3(root, rope, context),
        Some("yarn") => yarn(root, rope, theta, context),
        Some(FACTORS) => factors(root, rope),
        Some(other) => {
            let what = format!("rope_type \"{}\"", shorten(other));
            let reason = "tern runs \"default\", \"linear\", \"llama3\" and \"yarn\"";
            Err(rope.unsupported(&what, reason))
        }
    }
}

fn required(rope: &Object, key: &str, range: RangeInclusive<f64>) -> Result<f32, ConfigError> {
    match rope.get(key) {
        None => Err(rope.missing(key, "a number, since frequencies are scaled")),
        Some(_) => rope.float_or(key, range, 1.0),
    }
}

/// Positions of the first training: beside the other keys of the model, among those of the scaling, or the model's context.
fn original_context(root: &Object, rope: &Object, context: usize) -> Result<usize, ConfigError> {
    const KEY: &str = "original_max_position_embeddings";
    let inner = rope.size_or(KEY, 1..=1 << 24, context)?;
    root.size_or(KEY, 1..=1 << 24, inner)
}

fn factors(root: &Object, rope: &Object) -> Result<RopeScaling, ConfigError> {
    const KEY: &str = "factors";
    let wrong = || rope.wrong_value(KEY, "a list of head_dim / 2 numbers above 0".to_owned());
    let list = rope.get(KEY).and_then(Value::as_array).ok_or_else(wrong)?;
    let number = |value: &Value| {
        let value = value.as_f64()? as f32;
        (value.is_finite() && value > 0.0).then_some(value)
    };
    let factors: Option<Vec<f32>> = list.iter().map(number).collect();
    let head_dim = root.size_or("head_dim", 2..=4096, 2 * list.len())?;
    match factors {
        Some(factors) if 2 * factors.len() == head_dim => Ok(RopeScaling::Factors { factors }),
        _ => Err(wrong()),
    }
}

fn llama3(root: &Object, rope: &Object, context: usize) -> Result<RopeScaling, ConfigError> {
    let low_freq_factor = required(rope, "low_freq_factor", FACTOR)?;
    let high_freq_factor = required(rope, "high_freq_factor", FACTOR)?;
    if high_freq_factor <= low_freq_factor {
        let expected = format!("a number above low_freq_factor, {low_freq_factor}");
        return Err(rope.wrong("high_freq_factor", &high_freq_factor.to_string(), expected));
    }
    Ok(RopeScaling::Llama3 {
        factor: required(rope, "factor", FACTOR)?,
        low_freq_factor,
        high_freq_factor,
        original_context: original_context(root, rope, context)?,
    })
}

fn yarn(
    root: &Object,
    rope: &Object,
    theta: f32,
    context: usize,
) -> Result<RopeScaling, ConfigError> {
    if theta <= 1.0 {
        let expected = "a number above 1: YaRN divides by its logarithm".to_owned();
        return Err(rope.wrong("rope_theta", &theta.to_string(), expected));
    }
    let original_context = original_context(root, rope, context)?;
    let ratio = context as f64 / original_context as f64;
    let factor = rope.float_or("factor", FACTOR, ratio as f32)?;
    // transformers takes 0 for absent.
    let or_default = |key: &str, default: f32| {
        let value = rope.float_or(key, 0.0..=1e6, default)?;
        Ok::<f32, ConfigError>(if value == 0.0 { default } else { value })
    };
    let truncate = match rope.get("truncate") {
        None => true,
        Some(Value::Bool(truncate)) => *truncate,
        Some(_) => return Err(rope.wrong_value("truncate", "true or false".to_owned())),
    };
    Ok(RopeScaling::Yarn {
        factor,
        beta_fast: or_default("beta_fast", 32.0)?,
        beta_slow: or_default("beta_slow", 1.0)?,
        attention_factor: attention_factor(rope, f64::from(factor))?,
        original_context,
        truncate,
    })
}

/// What YaRN multiplies queries and keys with together for a factor, where `m` is 1 for most models.
pub(crate) fn yarn_scale(factor: f64, m: f64) -> f64 {
    match factor <= 1.0 {
        true => 1.0,
        false => 0.1 * m * libm::log(factor) + 1.0,
    }
}

/// Given, or `1 + 0.1 m ln(factor)`, where `m` is 1, or the quotient of the two of `mscale` and `mscale_all_dim`.
fn attention_factor(rope: &Object, factor: f64) -> Result<f32, ConfigError> {
    let scale = |m: f64| yarn_scale(factor, m);
    let mscale = f64::from(rope.float_or("mscale", 0.0..=100.0, 0.0)?);
    let all = f64::from(rope.float_or("mscale_all_dim", 0.0..=100.0, 0.0)?);
    let default = match mscale != 0.0 && all != 0.0 {
        true => scale(mscale) / scale(all),
        false => scale(1.0),
    };
    rope.float_or("attention_factor", 1e-3..=1e3, default as f32)
}
