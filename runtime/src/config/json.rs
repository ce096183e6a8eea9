//! A configuration as `config.json`: for models that come from GGUF files and are to be packed, or written as a folder.

use serde_json::{Map, Value, json};

use super::{ActivationScales, Config, RopeScaling, ScaleRule, WeightSource};

impl Config {
    /// The file's contents. [`Config::parse`] reads the same configuration from them; factors of rotary frequencies have no spelling that
    /// transformers knows (see [`RopeScaling::Factors`]).
    pub fn to_json(&self) -> Value {
        let mut root = json!({
            "architectures": [self.architecture.class()],
            "model_type": self.architecture.model_type(),
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab_size,
            "max_position_embeddings": self.context,
            "hidden_act": self.activation.name(),
            "rms_norm_eps": shortest(self.rms_norm_eps),
            "rope_theta": shortest(self.rope_theta),
            "rope_scaling": self.rope_scaling.to_json(),
            "tie_word_embeddings": self.tied_head,
            "attention_bias": false,
            "eos_token_id": match self.eos_token_ids.as_slice() {
                [] => Value::Null,
                [id] => json!(id),
                ids => json!(ids),
            },
        });
        if let (Value::Object(root), Some(quantization)) = (&mut root, self.quantization_json()) {
            root.insert("quantization_config".to_owned(), quantization);
        }
        root
    }

    /// Without one the weights are floats that are ternary, and activations have scales by groups.
    fn quantization_json(&self) -> Option<Value> {
        let quantization = &self.quantization;
        if quantization.activations == ActivationScales::Groups {
            return None;
        }
        let rows = [
            self.hidden_size,
            self.intermediate_size,
            self.query_width(),
            self.kv_width(),
        ];
        // Packing takes rows by four; a packed model of tern does not, and reads no more of this than that there are masters.
        let is_packable = rows.iter().all(|rows| rows.is_multiple_of(4));
        let mode = match quantization.weights {
            WeightSource::Online => "online",
            _ if !is_packable => "online",
            _ => "offline",
        };
        let mut map = Map::new();
        let mut set = |key: &str, value: Value| map.insert(key.to_owned(), value);
        set("quant_method", json!("bitnet"));
        set(
            "linear_class",
            json!(match quantization.scale {
                ScaleRule::Multiply => "autobitlinear",
                ScaleRule::Divide => "bitlinear",
            }),
        );
        set("quantization_mode", json!(mode));
        set("modules_to_not_convert", json!(["lm_head"]));
        if let Some(eps) = quantization.linear_norm_eps {
            set("use_rms_norm", json!(true));
            set("rms_norm_eps", shortest(eps));
        }
        Some(Value::Object(map))
    }
}

impl RopeScaling {
    /// The value of `rope_scaling`.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            RopeScaling::None => Value::Null,
            RopeScaling::Linear { factor } => {
                json!({ "rope_type": "linear", "factor": shortest(*factor) })
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => json!({
                "rope_type": "llama3",
                "factor": shortest(*factor),
                "low_freq_factor": shortest(*low_freq_factor),
                "high_freq_factor": shortest(*high_freq_factor),
                "original_max_position_embeddings": original_context,
            }),
            RopeScaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                attention_factor,
                original_context,
                truncate,
            } => json!({
                "rope_type": "yarn",
                "factor": shortest(*factor),
                "beta_fast": shortest(*beta_fast),
                "beta_slow": shortest(*beta_slow),
                "attention_factor": shortest(*attention_factor),
                "original_max_position_embeddings": original_context,
                "truncate": truncate,
            }),
            RopeScaling::Factors { factors } => json!({
                "rope_type": super::rope::FACTORS,
                "factors": factors.iter().map(|&x| shortest(x)).collect::<Vec<_>>(),
            }),
        }
    }
}

/// A number with as few digits as give the same `f32` again.
fn shortest(value: f32) -> Value {
    let text = format!("{value:e}");
    text.parse::<f64>()
        .map_or(Value::Null, |value| json!(value))
}
