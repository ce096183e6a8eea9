//! Whole models of a few kilobytes: sound ones, with which the fuzzer begins, and those whose hyper-parameters, tensors or texts do not fit each
//! other. What holds for the container alone is in `corpus.rs`.

use tern_runtime::fuzzing::{gguf_model, mutate_gguf_front};
use tern_runtime::gguf::{Header, I2sLayout, SetValue, TensorType, quantize};

use crate::corpus::{Case, case};
use crate::raw::Random;

/// Sizes of all models here: large enough for a block of each type with up to 64 weights.
const HIDDEN: u64 = 64;
const HEAD: u64 = 32;
const KV: u64 = HEAD;
const FFN: u64 = 64;
const TOKENS: u64 = 16;

/// Writes the value of a key.
type Set = Box<dyn FnOnce(&str, &mut Header)>;

/// A model that can be changed before it is written.
struct Small {
    architecture: &'static str,
    /// Of all ternary matrices.
    kind: TensorType,
    dense: TensorType,
    /// Keys, and what sets each.
    keys: Vec<(String, Set)>,
    /// F32 tensors beside the matrices: names and dimensions.
    vectors: Vec<(String, Vec<u64>)>,
    /// Rows of the embedding.
    rows: u64,
    has_head: bool,
    /// Instead of a matrix's dimensions.
    reshaped: Option<(&'static str, [u64; 2])>,
}

impl Small {
    fn new(architecture: &'static str, kind: TensorType, dense: TensorType) -> Small {
        let mut model = Small {
            architecture,
            kind,
            dense,
            keys: Vec::new(),
            vectors: vec![("output_norm.weight".to_owned(), vec![HIDDEN])],
            rows: TOKENS,
            has_head: false,
            reshaped: None,
        };
        for (key, value) in [
            ("embedding_length", HIDDEN as u32),
            ("block_count", 1),
            ("feed_forward_length", FFN as u32),
            ("attention.head_count", (HIDDEN / HEAD) as u32),
            ("attention.head_count_kv", (KV / HEAD) as u32),
            ("context_length", 64),
        ] {
            model = model.own(key, value);
        }
        model = model.own("attention.layer_norm_rms_epsilon", 1e-5_f32);
        let norms: &[(&str, u64)] = match architecture {
            "qwen3" => &[("attn_q_norm", HEAD), ("attn_k_norm", HEAD)],
            "llama" => &[],
            _ => &[("attn_sub_norm", HIDDEN), ("ffn_sub_norm", FFN)],
        };
        for (name, len) in norms
            .iter()
            .chain(&[("attn_norm", HIDDEN), ("ffn_norm", HIDDEN)])
        {
            model
                .vectors
                .push((format!("blk.0.{name}.weight"), vec![*len]));
        }
        model
    }

    /// Sets a key, instead of what it was.
    fn set(self, key: &str, value: impl SetValue + 'static) -> Small {
        self.set_by(key, |key, header| header.set(key, value).unwrap())
    }

    fn set_by(mut self, key: &str, set: impl FnOnce(&str, &mut Header) + 'static) -> Small {
        self.keys.retain(|(known, _)| known != key);
        self.keys.push((key.to_owned(), Box::new(set)));
        self
    }

    /// A key that begins with the architecture's name.
    fn own(self, key: &str, value: impl SetValue + 'static) -> Small {
        let key = format!("{}.{key}", self.architecture);
        self.set(&key, value)
    }

    fn list<T: SetValue + Default + 'static>(self, key: &str, values: Vec<T>) -> Small {
        self.set_by(key, move |key, header| {
            header.set(key, values.as_slice()).unwrap();
        })
    }

    fn vector(mut self, name: &str, dims: &[u64]) -> Small {
        self.vectors.retain(|(known, _)| known != name);
        self.vectors.push((name.to_owned(), dims.to_vec()));
        self
    }

    fn reshaped(self, part: &'static str, dims: [u64; 2]) -> Small {
        Small {
            reshaped: Some((part, dims)),
            ..self
        }
    }

    /// Tokens of SentencePiece, each with its type, and a template.
    fn spm(self) -> Small {
        let texts = [
            "<unk>",
            "<s>",
            "</s>",
            "\u{2581}",
            "a",
            "b",
            "ab",
            "\u{2581}ab",
            "1",
            " ",
            "<|eot_id|>",
        ];
        let mut tokens = texts.map(str::to_owned).to_vec();
        tokens.resize(TOKENS as usize, "[PAD]".to_owned());
        let types = (0..TOKENS as i32).map(|id| match id {
            0 => 2,
            1 | 2 | 10 => 3,
            11.. => 5,
            _ => 1,
        });
        let scores = (0..TOKENS).map(|id| -(id as f32));
        self.set("tokenizer.ggml.model", "llama")
            .list("tokenizer.ggml.token_type", types.collect())
            .list("tokenizer.ggml.scores", scores.collect())
            .list("tokenizer.ggml.tokens", tokens)
            .set("tokenizer.ggml.bos_token_id", 1_u32)
            .set("tokenizer.ggml.eos_token_id", 2_u32)
            .template(
                "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}<|eot_id|>{% endfor %}",
            )
    }

    /// A token for each byte, a merge, and a control token.
    fn bpe(self) -> Small {
        let bytes = (0x21..0x7f).chain(0xa1..0xad).chain(0xae..0x144);
        let mut tokens: Vec<String> = bytes
            .map(|character| char::from_u32(character).unwrap().to_string())
            .collect();
        assert_eq!(tokens.len(), 256);
        tokens.extend(["he", "<|im_end|>"].map(str::to_owned));
        let mut types = vec![1_i32; tokens.len()];
        types[257] = 3;
        let small = self
            .set("tokenizer.ggml.model", "gpt2")
            .set("tokenizer.ggml.pre", "qwen2")
            .list("tokenizer.ggml.token_type", types)
            .list("tokenizer.ggml.merges", vec!["h e".to_owned()])
            .set("tokenizer.ggml.eos_token_id", 257_u32)
            .list("tokenizer.ggml.tokens", tokens);
        Small { rows: 258, ..small }
    }

    fn template(self, text: &'static str) -> Small {
        self.set("tokenizer.chat_template", text)
    }

    fn bytes(self) -> Vec<u8> {
        let mut header = Header::new();
        header
            .set("general.architecture", self.architecture)
            .unwrap();
        for (key, set) in self.keys {
            set(&key, &mut header);
        }
        let mut random = Random(7);
        let mut data = Vec::new();
        let mut add = |name: &str, dims: &[u64], kind: TensorType| {
            header.tensor(name, dims, kind).unwrap();
            let rows: u64 = dims[1..].iter().product();
            data.push((
                name.to_owned(),
                tensor(kind, dims[0] as usize, rows as usize, &mut random),
            ));
        };
        add("token_embd.weight", &[HIDDEN, self.rows], self.dense);
        if self.has_head {
            add("output.weight", &[HIDDEN, self.rows], self.dense);
        }
        for (name, dims) in self.vectors {
            add(&name, &dims, TensorType::F32);
        }
        for (part, dims) in [
            ("attn_q", [HIDDEN, HIDDEN]),
            ("attn_k", [HIDDEN, KV]),
            ("attn_v", [HIDDEN, KV]),
            ("attn_output", [HIDDEN, HIDDEN]),
            ("ffn_gate", [HIDDEN, FFN]),
            ("ffn_up", [HIDDEN, FFN]),
            ("ffn_down", [FFN, HIDDEN]),
        ] {
            let other = self.reshaped.filter(|(known, _)| *known == part);
            let dims = other.map_or(dims, |(_, dims)| dims);
            add(&format!("blk.0.{part}.weight"), &dims, self.kind);
        }
        let mut writer = header.begin(Vec::new()).unwrap();
        for (name, bytes) in data {
            writer.put(&name, &bytes).unwrap();
        }
        writer.finish().unwrap()
    }
}

/// The bytes of a tensor: trits where the type has them (all blocks hold the same bits, which are codes of trits in every type), norms of ones.
fn tensor(kind: TensorType, cols: usize, rows: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut trit = || random.below(3) as f32 - 1.0;
    match kind {
        TensorType::I2s(_) => {
            let mut encoder = quantize::I2sEncoder::default();
            for _ in 0..rows {
                let row: Vec<i8> = (0..cols).map(|_| trit() as i8).collect();
                encoder.row(&row, &mut bytes).unwrap();
            }
            encoder.finish(0.05, &mut bytes).unwrap();
        }
        // A scale before two-bit codes, of a block or a row.
        TensorType::Q2_0 | TensorType::Iq2Bn => {
            let scale: &[u8] = match kind {
                TensorType::Q2_0 => &[0, 0x2a],
                _ => &[0, 0, 0x50, 0x3d],
            };
            for _ in 0..rows * cols / 64 {
                bytes.extend(scale);
                let code = |shift: u32, trit: f32| ((trit + 1.0) as u8) << shift;
                let byte = |_| {
                    [0, 2, 4, 6]
                        .map(|shift| code(shift, trit()))
                        .iter()
                        .sum::<u8>()
                };
                bytes.extend((0..16).map(byte));
            }
        }
        // Digits of base 3: every byte stands for some.
        TensorType::Iq1Bn => {
            for _ in 0..rows {
                bytes.extend([0, 0x2a]);
                bytes.extend((0..cols / 64 * 13).map(|_| random.below(256) as u8));
            }
        }
        _ if rows == 1 => quantize::row(kind, &vec![1.0; cols], &mut bytes).unwrap(),
        _ => {
            for _ in 0..rows {
                let row: Vec<f32> = (0..cols).map(|_| 0.05 * trit()).collect();
                quantize::row(kind, &row, &mut bytes).unwrap();
            }
        }
    }
    bytes
}

/// A Llama model with Q2_0 and SentencePiece's tokens.
fn llama() -> Small {
    Small::new("llama", TensorType::Q2_0, TensorType::F16).spm()
}

/// A BitNet model with I2_S, without tokens.
fn bitnet() -> Small {
    let kind = TensorType::I2s(I2sLayout::default());
    Small::new("bitnet-b1.58", kind, TensorType::Bf16)
}

fn model(name: &'static str, small: Small, says: &'static [&'static str]) -> Case {
    case(name, small.bytes(), says)
}

/// Models that run.
fn sound() -> Vec<Case> {
    let yarn = Small::new("qwen3", TensorType::Iq2Bn, TensorType::Q8_0)
        .own("attention.key_length", HEAD as u32)
        .own("rope.scaling.type", "yarn")
        .own("rope.scaling.factor", 4.0_f32)
        .own("rope.scaling.original_context_length", 16_u32);
    vec![
        model("model-llama-q2-0", llama(), &[]),
        model("model-bitnet-i2-s", bitnet(), &[]),
        model(
            "model-bitnet-iq1-bn",
            Small::new("bitnet-25", TensorType::Iq1Bn, TensorType::Q4_0).bpe(),
            &[],
        ),
        model(
            "model-qwen3-iq2-bn",
            Small {
                has_head: true,
                ..yarn
            },
            &[],
        ),
        model(
            "model-llama-f16",
            Small::new("llama", TensorType::F16, TensorType::F32)
                .list("llama.attention.head_count_kv", vec![1_u32])
                .vector("rope_freqs.weight", &[HEAD / 2])
                .vector("blk.0.attn_q.scale", &[1]),
            &[],
        ),
        model(
            "model-llama-q4-0",
            Small::new("llama", TensorType::Q4_0, TensorType::Bf16),
            &[],
        ),
        // More tokens than the metadata says is a remark, no error.
        model("model-vocab-size", bitnet().own("vocab_size", 7_u32), &[]),
        // Templates are strangers' programs (CVE-2024-34359 let one run anything); who asks for one gets an error.
        model(
            "cve-2024-34359-template",
            llama().template("{{ ''.__class__.__mro__[1].__subclasses__() }}"),
            &[],
        ),
    ]
}

/// Hyper-parameters that models' code trusts elsewhere.
fn parameters() -> Vec<Case> {
    let heads = |heads: u32, kv: u32| {
        bitnet()
            .own("attention.head_count", heads)
            .own("attention.head_count_kv", kv)
    };
    vec![
        // acestep.cpp#98: layers beyond those that there is room for.
        model(
            "acestep-98-block-count",
            bitnet().own("block_count", 33_u32),
            &["blk.1.", "missing"],
        ),
        model(
            "acestep-98-block-count-beyond",
            bitnet().own("block_count", u32::MAX),
            &["block_count", "4294967295", "1 to 4096"],
        ),
        model(
            "acestep-98-block-count-negative",
            bitnet().own("block_count", -1_i32),
            &["block_count", "-1"],
        ),
        model(
            "model-block-count-0",
            bitnet().own("block_count", 0_u32),
            &["block_count"],
        ),
        model("model-heads-0", heads(0, 0), &["head_count"]),
        model("model-kv-heads-0", heads(2, 0), &["head_count_kv"]),
        model("model-kv-heads-beyond", heads(2, 4), &["head_count_kv"]),
        model("model-heads-odd", heads(64, 64), &["head_count", "even"]),
        model("model-heads-other", heads(4, 4), &["attn_k"]),
        model(
            "model-kv-heads-too-few",
            bitnet().list("bitnet-b1.58.attention.head_count_kv", Vec::<u32>::new()),
            &["head_count_kv"],
        ),
        model(
            "model-rope-dimensions",
            bitnet().own("rope.dimension_count", 4096_u32),
            &["rope.dimension_count", "32"],
        ),
        model(
            "model-epsilon-nan",
            bitnet().own("attention.layer_norm_rms_epsilon", f32::NAN),
            &["layer_norm_rms_epsilon"],
        ),
        model(
            "model-epsilon-negative",
            bitnet().own("attention.layer_norm_rms_epsilon", -1.0_f32),
            &["layer_norm_rms_epsilon"],
        ),
        model(
            "model-rope-base-infinite",
            bitnet().own("rope.freq_base", f32::INFINITY),
            &["rope.freq_base"],
        ),
        model(
            "model-width-other",
            bitnet().own("embedding_length", 128_u32),
            &["embedding_length", "token_embd.weight"],
        ),
        model(
            "model-ffn-beyond",
            bitnet().own("feed_forward_length", u64::MAX),
            &["feed_forward_length"],
        ),
    ]
}

/// Tensors and lists that are sound by themselves and do not fit the model.
fn misfits() -> Vec<Case> {
    let tokens = |tokens: Vec<String>| llama().list("tokenizer.ggml.tokens", tokens);
    let mut long = vec!["a".to_owned(); TOKENS as usize];
    long[3] = "a".repeat((1 << 13) + 1);
    let infinite = {
        let mut bytes = bitnet().bytes();
        // The last tensor is a matrix, and its scale stands 32 bytes before the end.
        let at = bytes.len() - 32;
        bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes
    };
    vec![
        model(
            "model-matrix-wide",
            bitnet().reshaped("attn_v", [2 * HIDDEN, KV]),
            &["blk.0.attn_v.weight", "128", "64"],
        ),
        model(
            "model-matrix-low",
            bitnet().reshaped("ffn_down", [FFN, HIDDEN - 2]),
            &["blk.0.ffn_down.weight", "62"],
        ),
        model(
            "model-norm-short",
            bitnet().vector("blk.0.ffn_norm.weight", &[HIDDEN / 2]),
            &["blk.0.ffn_norm.weight", "32"],
        ),
        model(
            "model-norm-flat",
            bitnet().vector("output_norm.weight", &[1, HIDDEN]),
            &["output_norm.weight", "[64, 1]"],
        ),
        model(
            "model-rope-factors",
            llama().vector("rope_freqs.weight", &[HEAD]),
            &["rope_freqs.weight", "16"],
        ),
        model(
            "model-scale-of-rows",
            llama().vector("blk.0.attn_q.scale", &[HIDDEN]),
            &["blk.0.attn_q.scale"],
        ),
        case(
            "model-scale-nan",
            infinite,
            &["blk.0.ffn_down.weight", "scale"],
        ),
        // CVE-2025-49847: a token longer than the place for it.
        model(
            "cve-2025-49847-long-token",
            tokens(long),
            &["token 3", "8193 bytes"],
        ),
        model(
            "model-tokens-beyond",
            tokens(vec!["a".to_owned(); TOKENS as usize + 1]),
            &["tokenizer.ggml.token_type", "17 tokens"],
        ),
        model(
            "model-tokens-none",
            tokens(Vec::new()),
            &["tokenizer.ggml.tokens"],
        ),
        model(
            "model-tokenizer-unknown",
            llama().set("tokenizer.ggml.model", "bert"),
            &["tokenizer.ggml.model", "bert"],
        ),
    ]
}

/// Files with what the model says of them.
pub fn cases() -> Vec<Case> {
    let mut cases = sound();
    cases.extend(parameters());
    cases.extend(misfits());
    cases
}

#[test]
fn every_model_says_what_it_is() {
    for Case { name, bytes, says } in cases() {
        let found = gguf_model(&bytes, I2sLayout::default()).map_err(|error| error.to_string());
        match (found, says) {
            (Ok(()), []) => {}
            (Ok(()), says) => panic!("{name}: loads; expected {says:?}"),
            (Err(message), says) => {
                assert!(!says.is_empty(), "{name}: {message}");
                for word in says {
                    assert!(
                        message.contains(word),
                        "{name}: {word:?} is not in: {message}"
                    );
                }
            }
        }
    }
}

/// What the fuzzer changes in front of the weights leaves them where the file says.
#[test]
fn weights_move_with_what_is_before_them() {
    let mut bytes = llama().bytes();
    let (size, tail) = (bytes.len(), bytes[bytes.len() - 256..].to_vec());
    bytes.resize(size + 100, 0xff);
    let max = bytes.len();
    // A key longer by one: its name's length stands behind the magic, the version and two counts.
    let longer = |data: &mut [u8], len: usize, room: usize| {
        assert!(len < room);
        data.copy_within(32..len, 33);
        data[24] += 1;
        len + 1
    };
    let found = mutate_gguf_front(&mut bytes, size, max, longer).unwrap();
    assert_eq!(bytes[found - 256..found], tail);
    let message = gguf_model(&bytes[..found], I2sLayout::default()).unwrap_err();
    assert!(
        message.to_string().contains("general.architecture"),
        "{message}"
    );
    // What does not fit is left as it was.
    assert_eq!(
        mutate_gguf_front(&mut bytes, found, 64, |_, len, _| len),
        None
    );
    assert_eq!(
        mutate_gguf_front(&mut [0; 64], 64, 64, |_, len, _| len),
        None
    );
}
