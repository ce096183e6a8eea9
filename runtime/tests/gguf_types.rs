//! Whole models in every ternary type that can hold them, and with embeddings of every type.
//!
//! A file is made of a folder's by writing each matrix anew, one code at a time (`common/encode.rs`), so a model of any type needs no file of its own
//! here. Its logits are compared with those that transformers computed for the folder; or, where the scales of a type are coarser
//! numbers than the folder's or the model is random, to the bit with those of the same weights as a folder or as I2_S: `architectures.rs` and
//! `gguf_models.rs` compare such with transformers.

mod common;
#[path = "common/encode.rs"]
mod encode;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{Expected, Setup, all_logits, bits, folder, prompts};
use encode::{Matrix, encode};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use tern_kernels::Granularity;
use tern_runtime::config::ActivationScales;
use tern_runtime::convert::{TernaryType, to_gguf};
use tern_runtime::gguf::{Gguf, Header, Scales, Tensor, TensorType, quantize};
use tern_runtime::{
    Engine, HeadMode, I2sLayout, LoadOptions, Logits, Model, ReadOptions, Work, inspect, pack,
};

const I2_S: TensorType = TensorType::I2s(I2sLayout::Planes32);

/// Every ternary type.
fn ternary_types() -> Vec<TensorType> {
    let all = TensorType::ALL.into_iter();
    let ternary: Vec<_> = all.filter(|kind| kind.scales().is_some()).collect();
    assert_eq!(ternary.len(), 10);
    ternary
}

fn model(file: &[u8], options: &LoadOptions<'_>) -> Model {
    Model::from_gguf("model.gguf", file, options).unwrap()
}

fn logits_of(model: Model, tokens: &[u32]) -> Vec<f32> {
    all_logits(&mut Engine::new(Arc::new(model)).unwrap(), tokens)
}

fn logits(file: &[u8], tokens: &[u32]) -> Vec<f32> {
    logits_of(model(file, &Setup::default().options()), tokens)
}

/// A folder as the file that `tern convert` makes of it: keys, order of rows, names.
fn converted(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (reading, kind) = (ReadOptions::default(), TernaryType::Exact);
    to_gguf(folder, reading, kind, &mut bytes, &mut |_, _| true).unwrap();
    bytes
}

/// Whether a type has rows of so many columns, and so many rows.
fn fits(kind: TensorType, rows: usize, cols: usize) -> bool {
    match kind {
        TensorType::I2s(_) => (rows * cols).is_multiple_of(128),
        TensorType::Iq2BnR4 => cols.is_multiple_of(64) && rows.is_multiple_of(4),
        _ => cols.is_multiple_of(kind.block()),
    }
}

fn is_matrix(tensor: &Tensor<'_>) -> bool {
    let parts = [
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
    ];
    let name = tensor.name();
    parts
        .iter()
        .any(|part| name.ends_with(&format!(".{part}.weight")))
}

fn is_dense(tensor: &Tensor<'_>) -> bool {
    ["token_embd.weight", "output.weight"].contains(&tensor.name())
}

/// All numbers of a tensor.
fn numbers(tensor: &Tensor<'_>) -> Vec<f32> {
    let mut all = vec![0.0; tensor.rows() * tensor.cols()];
    for (row, out) in all.chunks_exact_mut(tensor.cols()).enumerate() {
        tensor.read_row_f32(row, out).unwrap();
    }
    all
}

/// A tensor whose numbers are trits times scales in another type, whose scales become what `stored` makes of them.
fn ternary(tensor: &Tensor<'_>, kind: TensorType, stored: fn(f32) -> f32) -> Vec<u8> {
    let (rows, cols) = (tensor.rows(), tensor.cols());
    let values = numbers(tensor);
    let largest = |values: &[f32]| values.iter().fold(0.0, |a: f32, x| a.max(x.abs()));
    let scale = |row: usize, col: usize| {
        let row = &values[row * cols..][..cols];
        let scale = match kind.scales() {
            Some(Scales::Matrix) => largest(&values),
            Some(Scales::Row) => largest(row),
            Some(Scales::Group(group)) => largest(&row[col / group * group..][..group]),
            None => panic!("{kind} is no ternary type"),
        };
        stored(scale)
    };
    let code = |row: usize, col: usize| match values[row * cols + col] {
        0.0 => 1,
        value if value > 0.0 => 2,
        _ => 0,
    };
    encode(
        kind,
        &Matrix {
            rows,
            cols,
            code: &code,
            scale: &scale,
        },
    )
}

/// A file with its matrices in `kind`, those that do not fit in Q4_0, as quantizers do it; embedding and head in `dense`, if it is said; without
/// the keys of `drop`. And how many matrices fitted.
fn rewritten(
    file: &[u8],
    kind: TensorType,
    dense: Option<TensorType>,
    drop: &[&str],
    stored: fn(f32) -> f32,
) -> (Vec<u8>, usize) {
    let gguf = Gguf::from_bytes("source", file).unwrap();
    let mut header = Header::new();
    for (key, value) in gguf.metadata().iter() {
        if !drop.contains(&key) {
            header.set(key, value).unwrap();
        }
    }
    let kind_of = |tensor: &Tensor<'_>| match (is_matrix(tensor), dense) {
        (true, _) if fits(kind, tensor.rows(), tensor.cols()) => kind,
        (true, _) => TensorType::Q4_0,
        (false, Some(dense)) if is_dense(tensor) => dense,
        _ => tensor.kind(),
    };
    for tensor in gguf.tensors() {
        let kind = kind_of(&tensor);
        header.tensor(tensor.name(), tensor.dims(), kind).unwrap();
    }
    let mut writer = header.begin(Vec::new()).unwrap();
    let mut fitting = 0;
    for tensor in gguf.tensors() {
        let kind = kind_of(&tensor);
        let bytes = if kind.scales().is_some() && is_matrix(&tensor) {
            fitting += 1;
            ternary(&tensor, kind, stored)
        } else if kind == tensor.kind() {
            tensor.data().to_vec()
        } else {
            let mut bytes = Vec::new();
            for row in numbers(&tensor).chunks_exact(tensor.cols()) {
                let row: Vec<f32> = match is_matrix(&tensor) {
                    true => row.iter().map(|x| stored(*x)).collect(),
                    false => row.to_vec(),
                };
                quantize::row(kind, &row, &mut bytes).unwrap();
            }
            bytes
        };
        writer.put(tensor.name(), &bytes).unwrap();
    }
    (writer.finish().unwrap(), fitting)
}

/// A BitNet model, whose scales are f16 numbers, against transformers: within float noise in every type.
#[test]
fn a_bitnet_model_of_every_type_has_the_logits_of_transformers() {
    let fixture = "bitnet-tiny-packed";
    let prompt = prompts(fixture).pop().unwrap();
    let expected = Expected::read(fixture).floats(&format!("logits.{}", prompt.name));
    let source = converted(&folder(fixture));
    let own = logits_of(
        Model::load(&folder(fixture), &Setup::default().options()).unwrap(),
        &prompt.tokens,
    );
    for kind in ternary_types() {
        let (file, fitting) = rewritten(&source, kind, None, &[], |scale| scale);
        // Of 640 columns no block of 256 is a part.
        let is_large = kind.block() == 256 && kind.scales() == Some(Scales::Group(256));
        assert_eq!(fitting, if is_large { 24 } else { 28 }, "{kind}");
        let found = logits(&file, &prompt.tokens);
        assert_eq!(bits(&found), bits(&own), "{kind}");
        assert_eq!(found.len(), expected.len());
        let each = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let largest = each.fold(0.0, f32::max);
        eprintln!("{kind}: {largest:.1e} from transformers");
        assert!(largest < 1e-3, "{kind}: {largest}");
        let found = model(&file, &Setup::default().options());
        let config = found.config();
        assert_eq!(config.quantization.activations, ActivationScales::Token);
        let matrices = found.summary().matrices;
        let is_one = |m: &tern_runtime::Matrix| m.scales.granularity == Granularity::Matrix;
        assert!(matrices.iter().all(is_one), "{kind}");
    }
}

/// A Llama model, with its rows in llama.cpp's order and a head of its own. Its scales are inverses, which only types with f32 scales store as
/// other programs compute them. All that store the nearest f16 are the same model, I2_S among them if it is given that scale.
#[test]
fn a_llama_model_is_the_same_in_every_type() {
    let fixture = "llama-bitnet-tiny";
    let prompt = prompts(fixture).pop().unwrap();
    let expected = Expected::read(fixture).floats(&format!("logits.{}", prompt.name));
    let source = converted(&folder(fixture));
    let drop = ["tern.weight_divisors", "tern.version"];
    let found = |kind, scale| {
        let (file, _) = rewritten(&source, kind, None, &drop, scale);
        let found = logits(&file, &prompt.tokens);
        let each = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        let largest = each.clone().fold(0.0, f32::max);
        let mean = each.map(f64::from).sum::<f64>() / expected.len() as f64;
        eprintln!("{kind}: {largest:.1e} from transformers, a mean of {mean:.1e}");
        (bits(&found), largest, mean)
    };
    for kind in [I2_S, TensorType::Iq2Bn, TensorType::Iq2BnR4] {
        let (_, largest, _) = found(kind, |scale| scale);
        assert!(largest < 1e-3, "{kind}: {largest}");
    }
    let mut all = HashSet::new();
    for kind in ternary_types() {
        let (bits, _, mean) = found(kind, quantize::stored_scale);
        // Scales that are off by 2^-12 move activations over boundaries of int8: the logits' own size is 3.3.
        assert!(mean < 0.1, "{kind}: {mean}");
        all.insert(bits);
    }
    assert_eq!(all.len(), 1, "types differ");
}

/// A random model of wide rows in a folder as floats that are ternary, with scales of a kind.
struct Random {
    state: u64,
}

impl Random {
    fn next(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % bound
    }

    /// An f16 around `size`, in its bits: `size` is a power of two.
    fn scale(&mut self, size: u16) -> u16 {
        size + self.next(1024) as u16
    }
}

/// Writes a folder like `like`: 256 columns, 384 or 512 of the feed-forward layer, weights as f16, with a scale for so many columns.
fn wide_folder(like: &str, ffn: usize, group: usize, to: &Path) {
    let config = fs::read(folder(like).join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    let (hidden, heads, kv, head_dim, vocab) = (256, 4, 2, 64, 97);
    for (key, value) in [
        ("hidden_size", hidden),
        ("intermediate_size", ffn),
        ("num_attention_heads", heads),
        ("num_key_value_heads", kv),
        ("head_dim", head_dim),
        ("num_hidden_layers", 2),
        ("vocab_size", vocab),
    ] {
        config[key] = json!(value);
    }
    config["tie_word_embeddings"] = json!(true);
    let mut random = Random { state: 41 };
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: Vec<usize>, values: Vec<u16>| {
        let bytes: Vec<u8> = values.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        tensors.push((name, shape, bytes));
    };
    let embedding =
        (0..vocab * hidden).map(|_| random.scale(0x3000) | (random.next(2) as u16) << 15);
    add(
        "model.embed_tokens.weight".to_owned(),
        vec![vocab, hidden],
        embedding.collect(),
    );
    let ones = |len: usize| vec![0x3c00; len];
    add("model.norm.weight".to_owned(), vec![hidden], ones(hidden));
    for layer in 0..2 {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for part in ["input_layernorm", "post_attention_layernorm"] {
            add(name(part), vec![hidden], ones(hidden));
        }
        if like.contains("qwen3") {
            for part in ["self_attn.q_norm", "self_attn.k_norm"] {
                add(name(part), vec![head_dim], ones(head_dim));
            }
        }
        for (part, rows, cols) in [
            ("self_attn.q_proj", heads * head_dim, hidden),
            ("self_attn.k_proj", kv * head_dim, hidden),
            ("self_attn.v_proj", kv * head_dim, hidden),
            ("self_attn.o_proj", hidden, heads * head_dim),
            ("mlp.gate_proj", ffn, hidden),
            ("mlp.up_proj", ffn, hidden),
            ("mlp.down_proj", hidden, ffn),
        ] {
            let mut values = Vec::with_capacity(rows * cols);
            for _ in 0..rows {
                for piece in (0..cols).step_by(group) {
                    // From 1/16 to 1/8.
                    let scale = random.scale(0x2c00);
                    for _ in piece..(piece + group).min(cols) {
                        values.push([0, scale, 0x8000 | scale][random.next(3) as usize]);
                    }
                }
            }
            add(name(part), vec![rows, cols], values);
        }
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F16, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    fs::create_dir(to).unwrap();
    let bytes = safetensors::serialize(views, None).unwrap();
    assert!(SafeTensors::deserialize(&bytes).is_ok());
    fs::write(to.join("model.safetensors"), bytes).unwrap();
    fs::write(to.join("config.json"), config.to_string()).unwrap();
}

const TOKENS: [u32; 12] = [1, 5, 2, 80, 3, 13, 4, 77, 42, 96, 0, 61];

/// The wide folder in these types: each is the folder to the bit.
fn is_the_folder_in(
    like: &str,
    ffn: usize,
    group: usize,
    kinds: &[TensorType],
    found: Granularity,
) {
    let temporary = tempfile::tempdir().unwrap();
    let own = temporary.path().join("wide");
    wide_folder(like, ffn, group, &own);
    let expected = Model::load(&own, &Setup::default().options()).unwrap();
    let quantization = expected.config().quantization;
    assert_eq!(quantization.activations, ActivationScales::Groups);
    let expected = logits_of(expected, &TOKENS);
    assert!(expected.iter().all(|logit| logit.is_finite()));
    let spread = expected.iter().fold(0.0, |a: f32, x| a.max(x.abs()));
    assert!(spread > 1.0, "{spread}");
    let source = converted(&own);
    for &kind in kinds {
        let (file, fitting) = rewritten(&source, kind, None, &[], |scale| scale);
        assert_eq!(fitting, 14, "{kind}");
        assert_eq!(
            bits(&logits(&file, &TOKENS)),
            bits(&expected),
            "{like} as {kind}"
        );
        let matrices = model(&file, &Setup::default().options()).summary().matrices;
        assert!(
            matrices.iter().all(|m| m.scales.granularity == found),
            "{kind}"
        );
    }
}

/// As Ternary-Bonsai: Qwen3 with a scale for each 128 columns, in the types of its files and in llama.cpp's.
#[test]
fn a_bonsai_model_is_its_folder_in_every_type_with_groups() {
    let kinds = [
        TensorType::Q2_0,
        TensorType::Q2_0Group128,
        TensorType::Pq2_0,
        TensorType::Ptq1_0,
    ];
    is_the_folder_in(
        "architectures/qwen3-groups",
        384,
        128,
        &kinds,
        Granularity::Group,
    );
    // Half as large: only one type has such blocks.
    is_the_folder_in(
        "architectures/qwen3-groups",
        320,
        64,
        &kinds[..1],
        Granularity::Group,
    );
}

/// Llama with a scale for each row, as TriLM in one shard of columns: in all types but the one with a scale for the matrix.
#[test]
fn scales_of_rows_are_kept_by_every_type_that_has_them() {
    let mut kinds = ternary_types();
    kinds.retain(|&kind| kind != I2_S);
    is_the_folder_in(
        "architectures/llama-shards",
        512,
        512,
        &kinds,
        Granularity::Row,
    );
}

/// Types of embeddings. None is made larger in memory, and logits are those of its numbers as f32, to the bit.
#[test]
fn embeddings_stay_in_their_type() {
    let temporary = tempfile::tempdir().unwrap();
    let source = converted(&folder("llama-bitnet-tiny"));
    for kind in [
        TensorType::F16,
        TensorType::Bf16,
        TensorType::F32,
        TensorType::Q8_0,
        TensorType::Q4_0,
        TensorType::Q4K,
        TensorType::Q6K,
        TensorType::Tq1_0,
        TensorType::Tq2_0,
    ] {
        let (file, _) = rewritten(&source, I2_S, Some(kind), &[], |scale| scale);
        // Its numbers, which f32 has exactly.
        let (wide, _) = rewritten(&file, I2_S, Some(TensorType::F32), &[], |scale| scale);
        let expected = logits(&wide, &TOKENS);
        for threads in [1, 3] {
            let setup = Setup {
                threads,
                ..Setup::default()
            };
            let found = logits_of(model(&file, &setup.options()), &TOKENS);
            assert_eq!(bits(&found), bits(&expected), "{kind}, {threads} threads");
        }
        // The copies that take the head's place are made of the same numbers.
        for head in [HeadMode::Full, HeadMode::Q8, HeadMode::Q6] {
            let of = |file: &[u8]| {
                let options = LoadOptions {
                    head,
                    ..Setup::default().options()
                };
                bits(&best(model(file, &options)))
            };
            assert_eq!(of(&file), of(&wide), "{kind} {head:?}");
        }
        let path = temporary.path().join("model.gguf");
        fs::write(&path, &file).unwrap();
        let options = Setup::default().options();
        let bytes = inspect(&path, &options).unwrap().bytes;
        let gguf = Gguf::from_bytes("model.gguf", &file).unwrap();
        let stored = gguf.tensor("token_embd.weight").unwrap().data().len() as u64;
        assert_eq!((bytes.embedding, bytes.head), (stored, stored), "{kind}");
        let loaded = model(&file, &options).summary().bytes;
        assert_eq!((loaded.embedding, loaded.head), (stored, stored), "{kind}");
        // Packed models have no blocks, and are the same all the same.
        let packed = temporary.path().join("model.tern");
        let mut out = fs::File::create(&packed).unwrap();
        let reading = ReadOptions::default();
        pack(
            &path,
            reading,
            &options.planner,
            1,
            &mut out,
            &mut |_, _| true,
        )
        .unwrap();
        drop(out);
        let found = logits_of(Model::load(&packed, &options).unwrap(), &TOKENS);
        assert_eq!(bits(&found), bits(&expected), "{kind} packed");
    }
}

/// The logits of a step that wants only the largest.
fn best(model: Model) -> Vec<f32> {
    let mut engine = Engine::new(Arc::new(model)).unwrap();
    let mut sequence = engine.model().sequence();
    let work = Work {
        sequence: &mut sequence,
        tokens: &TOKENS,
        logits: Logits::Best,
    };
    engine.step(&mut [work]).unwrap().last(0).to_vec()
}
