//! What GGUF files call the tensors that Hugging Face's checkpoints have, and back.

/// Parts of a layer: transformers' name, llama.cpp's. The first seven are the ternary matrices.
const PARTS: [(&str, &str); 13] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.attn_sub_norm", "attn_sub_norm"),
    ("mlp.ffn_sub_norm", "ffn_sub_norm"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
];
const MATRICES: usize = 7;

/// What stands outside layers.
const WHOLE: [(&str, &str); 3] = [
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];

/// What a tensor of a checkpoint is called in a GGUF file. `weight_scale` is `scale`, which old files of ik_llama.cpp have.
pub(crate) fn in_gguf(name: &str) -> Option<String> {
    if let Some((_, gguf)) = WHOLE.iter().find(|(hf, _)| *hf == name) {
        return Some((*gguf).to_owned());
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, suffix) = rest.rsplit_once('.')?;
    let (_, gguf) = PARTS.iter().find(|(hf, _)| *hf == part)?;
    let suffix = match suffix {
        "weight_scale" => "scale",
        "weight" | "bias" => suffix,
        _ => return None,
    };
    Some(format!("blk.{layer}.{gguf}.{suffix}"))
}

/// Layer, part and suffix of a tensor in a layer: `blk.0.attn_q.weight`.
fn split(name: &str) -> Option<(usize, &str, &str)> {
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let (part, suffix) = rest.rsplit_once('.')?;
    Some((layer.parse().ok()?, part, suffix))
}

/// Whether this is a ternary matrix of a layer.
pub(super) fn is_matrix(name: &str) -> bool {
    split(name).is_some_and(|(_, part, suffix)| {
        suffix == "weight" && PARTS[..MATRICES].iter().any(|(_, gguf)| *gguf == part)
    })
}

/// What a part of a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A ternary matrix.
    Matrix,
    /// A norm, of any architecture.
    Norm,
}

/// What a part is by its name in either kind of file, also by those that the first BitNet b1.58 models gave to norms.
pub(crate) fn part(name: &str) -> Option<Part> {
    if matches!(name, "self_attn.inner_attn_ln" | "mlp.ffn_layernorm") {
        return Some(Part::Norm);
    }
    let index = PARTS
        .iter()
        .position(|(hf, gguf)| *hf == name || *gguf == name)?;
    Some(match index < MATRICES {
        true => Part::Matrix,
        false => Part::Norm,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_kinds_of_file() {
        let found = |name| in_gguf(name).unwrap_or_default();
        assert_eq!(found("lm_head.weight"), "output.weight");
        assert_eq!(
            found("model.layers.12.self_attn.q_proj.weight"),
            "blk.12.attn_q.weight"
        );
        assert_eq!(
            found("model.layers.0.mlp.down_proj.weight_scale"),
            "blk.0.ffn_down.scale"
        );
        assert_eq!(found("model.layers.0.mlp.down_proj.rms_norm.weight"), "");
        assert_eq!(found("model.layers.0"), "");
        assert!(is_matrix("blk.3.ffn_gate.weight") && !is_matrix("blk.3.ffn_norm.weight"));
        assert_eq!(part("attn_q"), Some(Part::Matrix));
        assert_eq!(part("mlp.up_proj"), Some(Part::Matrix));
        assert_eq!(part("attn_q_norm"), Some(Part::Norm));
        assert_eq!(part("mlp.ffn_layernorm"), Some(Part::Norm));
        assert_eq!(part("attn_q_norm_in"), None);
    }
}
