//! One small model for each architecture and form of weights that is not among the larger fixtures, against Hugging Face transformers in float32.
//!
//! Where int8 activations are part of the model, logits agree to float noise. Where they are an approximation (weight-only models) the
//! differences were measured, and the tests hold them there.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Expected, Files, Setup, all_logits, bits, logits_in_pieces};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tern_kernels::{Cpu, Force, Granularity, Planner};
use tern_runtime::config::{Activation, ActivationScales, WeightSource};
use tern_runtime::{
    Engine, KvType, LoadOptions, Model, ModelBytes, ReadOptions, Residence, ScalesFound, inspect,
    pack, packed,
};

/// Trained with int8 activations.
const EXACT: [&str; 3] = ["bitnet-first", "llama-scaled", "qwen3-packed"];
/// Trained with float activations.
const WEIGHT_ONLY: [&str; 2] = ["llama-shards", "qwen3-groups"];

fn all() -> impl Iterator<Item = &'static str> {
    EXACT.into_iter().chain(WEIGHT_ONLY)
}

/// The name under `fixtures/`.
fn fixture(name: &str) -> String {
    format!("architectures/{name}")
}

fn folder(name: &str) -> PathBuf {
    common::folder(&fixture(name))
}

/// The files of a model without a tokenizer.
fn files(name: &str) -> Files {
    let read = |file| fs::read(folder(name).join(file)).unwrap();
    Files {
        config: read("config.json"),
        weights: read("model.safetensors"),
        tokenizer: Vec::new(),
        generation_config: Vec::new(),
    }
}

fn load(files: &Files, setup: Setup) -> Result<Model, String> {
    let bytes = ModelBytes {
        config: &files.config,
        weights: &files.weights,
        tokenizer: None,
        generation_config: None,
    };
    Model::from_bytes(&bytes, &setup.options()).map_err(|error| error.to_string())
}

fn engine(files: &Files, setup: Setup) -> Engine {
    Engine::new(Arc::new(load(files, setup).unwrap())).unwrap()
}

fn error(files: &Files) -> String {
    load(files, Setup::default())
        .err()
        .expect("this should not load")
}

fn tokens(name: &str) -> Vec<u32> {
    let bytes = fs::read(folder(name).join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor("tokens").unwrap();
    assert_eq!(tensor.dtype(), Dtype::I32);
    let ids = tensor.data().as_chunks::<4>().0.iter();
    ids.map(|id| u32::from_le_bytes(*id)).collect()
}

/// The configurations of a fixture, each with the name of its logits: its own, and those of `variants.json`.
fn variants(name: &str) -> Vec<(String, Files)> {
    let own = files(name);
    let mut all = vec![("logits".to_owned(), own.clone())];
    let Ok(json) = fs::read(folder(name).join("variants.json")) else {
        return all;
    };
    let variants: serde_json::Map<String, Value> = serde_json::from_slice(&json).unwrap();
    for (variant, changes) in variants {
        let changes = changes.as_object().unwrap().clone();
        let changed = changes
            .into_iter()
            .fold(own.clone(), |files, (key, value)| files.set(&key, value));
        all.push((format!("logits.{variant}"), changed));
    }
    all
}

/// How far logits are from the expected ones.
struct Distance {
    largest: f32,
    mean: f64,
    /// Mean Kullback-Leibler divergence of a position, in nats.
    divergence: f64,
}

impl Distance {
    fn of(found: &[f32], expected: &[f32], width: usize) -> Distance {
        assert_eq!(found.len(), expected.len());
        let each = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        let log_softmax = |row: &[f32]| {
            let largest = row.iter().copied().fold(f32::MIN, f32::max);
            let sum: f64 = row.iter().map(|x| f64::from(x - largest).exp()).sum();
            let log = sum.ln();
            let each = row.iter().map(|x| f64::from(x - largest) - log);
            each.collect::<Vec<f64>>()
        };
        let rows = found.chunks(width).zip(expected.chunks(width));
        let divergences = rows.map(|(found, expected)| {
            let (found, expected) = (log_softmax(found), log_softmax(expected));
            let terms = expected.iter().zip(found).map(|(p, q)| p.exp() * (p - q));
            terms.sum::<f64>()
        });
        let rows = expected.len() / width;
        Distance {
            largest: each.clone().fold(0.0, f32::max),
            mean: each.map(f64::from).sum::<f64>() / expected.len() as f64,
            divergence: divergences.sum::<f64>() / rows as f64,
        }
    }
}

/// The distance of a fixture's logits in one of its configurations.
fn distance(name: &str, variant: &str, files: &Files) -> Distance {
    let mut engine = engine(files, Setup::default());
    let width = engine.model().config().vocab_size;
    let found = all_logits(&mut engine, &tokens(name));
    let expected = Expected::read(&fixture(name)).floats(variant);
    let distance = Distance::of(&found, &expected, width);
    let Distance {
        largest,
        mean,
        divergence,
    } = distance;
    eprintln!("{name} {variant}: largest {largest:.1e}, mean {mean:.2e}, KL {divergence:.1e}");
    distance
}

/// BitNet's first models, Llama with every rotary scaling, Qwen3: within float noise, unless an int8 activation falls on the other side of
/// a rounding boundary, which the fixtures' tokens do not have.
#[test]
fn logits_of_models_trained_with_int8_activations_match() {
    for name in EXACT {
        for (variant, files) in variants(name) {
            let found = distance(name, &variant, &files);
            assert!(found.largest < 1e-3, "{name} {variant}: {}", found.largest);
        }
    }
}

/// The same where transformers' activations are rounded by groups as tern's are: nothing but that rounding is an approximation.
#[test]
fn logits_of_weight_only_models_match_with_rounded_activations() {
    for name in WEIGHT_ONLY {
        let found = distance(name, "logits_rounded", &files(name));
        assert!(found.largest < 1e-3, "{name}: {}", found.largest);
    }
}

/// Measured: a mean of 0.0180 and a divergence of 3.1e-4 at most, of logits with a standard deviation of 2.5 and 2.8.
#[test]
fn logits_of_weight_only_models_are_as_close_as_measured() {
    for name in WEIGHT_ONLY {
        for (variant, files) in variants(name) {
            let found = distance(name, &variant, &files);
            assert!(found.mean < 0.02, "{name} {variant}: {}", found.mean);
            assert!(
                found.divergence < 4e-4,
                "{name} {variant}: {}",
                found.divergence
            );
        }
    }
}

/// Every kernel that this CPU runs, for whole rows and for groups, forced in turn; threads, pieces of the prompt, and batches.
#[test]
fn every_way_gives_the_same_bits() {
    let cpu = Cpu::detect();
    for name in all() {
        let files = files(name);
        let tokens = &tokens(name)[..10];
        let expected = bits(&all_logits(&mut engine(&files, Setup::default()), tokens));
        let mut ran = 0;
        for kernel in cpu.kernels().chain(cpu.group_kernels()) {
            let is_for_groups = WEIGHT_ONLY.contains(&name);
            let runs_groups = cpu.group_kernels().any(|k| k.id == kernel.id);
            if is_for_groups != runs_groups {
                continue;
            }
            for threads in [1, 2, 3] {
                let setup = Setup {
                    force: Some(Force::Id(kernel.id.to_owned())),
                    threads,
                    ..Setup::default()
                };
                let mut engine = engine(&files, setup);
                let summary = engine.model().summary();
                assert!(summary.matrices.iter().all(|m| m.kernel == kernel.id));
                for piece in [1, 7, 10] {
                    let found = bits(&logits_in_pieces(&mut engine, tokens, piece));
                    assert_eq!(found, expected, "{name} {} {threads} {piece}", kernel.id);
                }
            }
            ran += 1;
        }
        assert!(ran > 1, "{name}: {ran} kernels");
        eprintln!("{name}: {ran} kernels");
        for (threads, pass) in [(1, 3), (2, 1), (2, 64)] {
            let setup = Setup {
                threads,
                ..Setup::default()
            };
            let mut engine = engine(&files, setup).with_pass(pass);
            let found = bits(&all_logits(&mut engine, tokens));
            assert_eq!(found, expected, "{name} {threads} {pass}");
        }
    }
}

fn planner() -> Planner {
    Planner::new(Cpu::detect(), None, None).unwrap()
}

fn options(residence: Residence, kernel: Option<&str>) -> LoadOptions<'static> {
    let force = kernel.map(|kernel| kernel.parse().unwrap());
    LoadOptions {
        threads: 2,
        residence,
        kv: KvType::F32,
        ..LoadOptions::new(Planner::new(Cpu::detect(), None, force).unwrap())
    }
}

fn bits_of(path: &Path, options: &LoadOptions<'_>, tokens: &[u32]) -> u64 {
    let model = Model::load(path, options).unwrap();
    bits(&all_logits(
        &mut Engine::new(Arc::new(model)).unwrap(),
        tokens,
    ))
}

/// Packed models keep every granularity, from memory, from the file, and where another kernel wants another packing.
#[test]
fn packed_models_are_their_folders_to_the_bit() {
    for name in all() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("model.tern");
        let mut file = fs::File::create(&path).unwrap();
        pack(
            &folder(name),
            ReadOptions::default(),
            &planner(),
            2,
            &mut file,
            &mut |_, _| true,
        )
        .unwrap();
        let tokens = tokens(name);
        let expected = bits_of(&folder(name), &options(Residence::Auto, None), &tokens);
        for residence in [Residence::Memory, Residence::File] {
            let found = bits_of(&path, &options(residence, None), &tokens);
            assert_eq!(found, expected, "{name} {residence:?}");
        }
        for kernel in ["lut", "mad"] {
            let options = options(Residence::Memory, Some(kernel));
            assert_eq!(
                bits_of(&path, &options, &tokens),
                expected,
                "{name} {kernel}"
            );
        }
        assert!(packed::check(&path, &mut |_, _| true).unwrap());
        let options = options(Residence::Auto, None);
        let found = inspect(&path, &options).unwrap();
        let of_folder = inspect(&folder(name), &options).unwrap();
        let fitting = found.packed.unwrap();
        assert_eq!(fitting.matrices, fitting.fitting, "{name}");
        assert_eq!(found.bytes.ternary, of_folder.bytes.ternary, "{name}");
    }
}

/// What `tern inspect` is told of each, without and with loading.
#[test]
fn summaries_say_what_was_found() {
    let found = |granularity, group| ScalesFound { granularity, group };
    let matrix = found(Granularity::Matrix, 0);
    let row = found(Granularity::Row, 0);
    for (name, scales, group) in [
        ("bitnet-first", [matrix; 7], 0),
        ("qwen3-packed", [matrix; 7], 0),
        // Shards of columns: halves of 128.
        (
            "llama-shards",
            {
                let halves = found(Granularity::Group, 64);
                [row, row, row, halves, row, row, halves]
            },
            128,
        ),
        (
            "qwen3-groups",
            {
                let group = found(Granularity::Group, 128);
                // Rows of 66 columns have one group.
                [group, group, group, row, group, group, group]
            },
            128,
        ),
    ] {
        let model = load(&files(name), Setup::default()).unwrap();
        let inspected = inspect(&folder(name), &options(Residence::Auto, None)).unwrap();
        for summary in [&model.summary(), &inspected] {
            let each = summary.matrices.iter().map(|matrix| matrix.scales);
            assert!(each.eq(scales), "{name}: {:?}", summary.matrices);
            let widest = summary.matrices.iter().map(|matrix| matrix.group).max();
            assert_eq!(widest, Some(group), "{name}");
            let is_weight_only = WEIGHT_ONLY.contains(&name);
            let approximation = summary.notes.iter().any(|n| n.contains("an approximation"));
            assert_eq!(approximation, is_weight_only, "{name}: {:?}", summary.notes);
            let quantization = summary.config.quantization;
            let is_exact = quantization.weights == WeightSource::Exact;
            let by_groups = quantization.activations == ActivationScales::Groups;
            assert_eq!((is_exact, by_groups), (is_weight_only, is_weight_only));
        }
        assert_eq!(
            model.summary().bytes.ternary,
            inspected.bytes.ternary,
            "{name}"
        );
    }
}

#[test]
fn the_activation_is_decided_and_explained() {
    let files = files("bitnet-first");
    let tokens = tokens("bitnet-first");
    let model = |files: &Files, activation| {
        let setup = Setup {
            activation,
            ..Setup::default()
        };
        load(files, setup).unwrap()
    };
    let own = model(&files, None);
    assert_eq!(own.config().activation, Activation::Silu);
    assert_eq!(own.config().activation_reason, "hidden_act in config.json");
    assert!(own.summary().notes.is_empty(), "{:?}", own.summary().notes);

    let forced = model(&files, Some(Activation::Relu2));
    let notes = forced.summary().notes;
    assert!(
        notes[0].contains("relu2, is the user's word; the file's is silu"),
        "{notes:?}"
    );
    let silent = model(&files.clone().set("hidden_act", json!(null)), None);
    assert_eq!(silent.config().activation, Activation::Silu);
    let notes = silent.summary().notes;
    assert!(
        notes[0].contains("default of BitnetForCausalLM"),
        "{notes:?}"
    );
    // The file's own key does what the option does.
    let changed = model(&files.set("hidden_act", json!("relu2")), None);
    let logits = |model| {
        bits(&all_logits(
            &mut Engine::new(Arc::new(model)).unwrap(),
            &tokens,
        ))
    };
    let (own, forced, changed) = (logits(own), logits(forced), logits(changed));
    assert!(forced == changed && own != forced);
}

/// What would change the result and is not run is refused by name.
#[test]
fn what_is_not_run_is_refused_by_name() {
    for (name, key, value, words) in [
        (
            "qwen3-groups",
            "attention_bias",
            json!(true),
            vec!["attention_bias true"],
        ),
        (
            "qwen3-groups",
            "use_sliding_window",
            json!(true),
            vec!["windows"],
        ),
        (
            "qwen3-groups",
            "layer_types",
            json!(["sliding_attention"]),
            vec!["full_attention"],
        ),
        (
            "qwen3-groups",
            "prism.hadamard.version",
            json!(1),
            vec!["hadamard", "rotated"],
        ),
        (
            "qwen3-groups",
            "rope_scaling.rope_type",
            json!("longrope"),
            vec!["longrope", "yarn"],
        ),
        (
            "qwen3-groups",
            "rope_scaling.factor",
            json!(0),
            vec!["rope_scaling.factor", "0.001"],
        ),
        (
            "qwen3-groups",
            "rope_scaling.truncate",
            json!(3),
            vec!["truncate", "true or false"],
        ),
        (
            "qwen3-groups",
            "rope_parameters",
            json!({"full_attention": {}}),
            vec![],
        ),
        (
            "llama-scaled",
            "rope_scaling.low_freq_factor",
            json!(9),
            vec!["high_freq_factor", "above"],
        ),
        (
            "llama-scaled",
            "rope_scaling.factor",
            json!(null),
            vec!["factor\" is missing"],
        ),
        (
            "llama-scaled",
            "rope_scaling.partial_rotary_factor",
            json!(0.5),
            vec!["partial_rotary"],
        ),
        (
            "llama-scaled",
            "rope_scaling.type",
            json!("dynamic"),
            vec![],
        ),
        (
            "bitnet-first",
            "weight_bits",
            json!(2),
            vec!["weight_bits 2", "tern runs 1"],
        ),
        (
            "bitnet-first",
            "model_type",
            json!("qwen3"),
            vec!["BitnetForCausalLM"],
        ),
        (
            "llama-shards",
            "model_type",
            json!("mistral"),
            vec!["mistral", "qwen3"],
        ),
        // Another architecture's norms.
        (
            "qwen3-packed",
            "model_type",
            json!("llama"),
            vec!["Qwen3ForCausalLM", "LlamaForCausalLM"],
        ),
    ] {
        let mut changed = files(name);
        if key.starts_with("use_sliding") {
            changed = changed.set("max_window_layers", json!(0));
        }
        if key.contains("hadamard") {
            let mut config: Value = serde_json::from_slice(&changed.config).unwrap();
            config[key] = value;
            changed.config = serde_json::to_vec(&config).unwrap();
        } else {
            changed = changed.set(key, value);
        }
        match words.is_empty() {
            // Beside `rope_scaling`, or `rope_type`, these have no say.
            true => drop(load(&changed, Setup::default()).unwrap()),
            false => {
                let error = error(&changed);
                assert!(
                    words.iter().all(|word| error.contains(word)),
                    "{name} {key}: {error}"
                );
            }
        }
    }
    let norms = files("qwen3-packed")
        .set("model_type", json!("llama"))
        .set("architectures", json!(["LlamaForCausalLM"]));
    let error = error(&norms);
    assert!(
        error.contains("self_attn.k_norm") || error.contains("self_attn.q_norm"),
        "{error}"
    );
    assert!(error.contains("has no such norm"), "{error}");
}

/// A float that is no trit times its group's scale is named with its place.
#[test]
fn floats_that_are_not_ternary_are_named() {
    let mut files = files("qwen3-groups");
    let tensors = SafeTensors::deserialize(&files.weights).unwrap();
    let name = "model.layers.0.mlp.down_proj.weight";
    let data = tensors.tensor(name).unwrap().data();
    let start = data.as_ptr().addr() - files.weights.as_ptr().addr();
    let (row, col, cols) = (5, 130, 163);
    // 3.0 in f16.
    let at = start + 2 * (row * cols + col);
    files.weights[at..at + 2].copy_from_slice(&0x4200_u16.to_le_bytes());
    let message = error(&files);
    assert!(
        message.contains(name) && message.contains("row 5, column 13"),
        "{message}"
    );
    assert!(message.contains("3e0"), "{message}");
    // An infinity too.
    files.weights[at..at + 2].copy_from_slice(&0x7c00_u16.to_le_bytes());
    let message = error(&files);
    assert!(message.contains("inf in row 5, column 130"), "{message}");
}

/// The published models' sizes and the keys that tell how they are run, spelled as their `config.json` are known to be: all are understood. (What
/// is not known of a file, such as the base of Falcon-E's frequencies, is left out; the sizes of the last two are those of models of their kind.)
#[test]
fn configurations_of_published_models_are_understood() {
    let llama = json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "attention_bias": false,
        "mlp_bias": false, "pretraining_tp": 1, "rope_scaling": null, "tie_word_embeddings": false, "rms_norm_eps": 1e-5});
    let bitnet = json!({"quant_method": "bitnet", "modules_to_not_convert": ["lm_head"]});
    let first = json!({"architectures": ["BitnetForCausalLM"], "model_type": "llama", "hidden_act": "silu", "input_bits": 8, "weight_bits": 1,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": null, "tie_word_embeddings": true, "vocab_size": 32002});
    let qwen3 = json!({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu", "head_dim": 128, "rope_theta": 1000000,
        "rms_norm_eps": 1e-6, "attention_bias": false, "use_sliding_window": false, "sliding_window": null, "max_window_layers": 28,
        "vocab_size": 151_936, "tie_word_embeddings": true,
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}});
    let with = |base: &Value, more: Value| {
        let mut all = base.as_object().unwrap().clone();
        all.extend(more.as_object().unwrap().clone());
        Value::Object(all)
    };
    let sizes = |hidden: usize, ffn: usize, layers: usize, heads: usize, kv: usize| {
        json!({"hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv})
    };
    let falcon = with(
        &llama,
        json!({"quantization_config": bitnet, "is_bitnet_config": true, "rope_theta": 1_000_042, "head_dim": 256,
        "vocab_size": 131_072, "rms_norm_eps": 1e-6}),
    );
    let falcon_e = with(
        &llama,
        json!({"quantization_config": bitnet, "head_dim": 128, "vocab_size": 32_768}),
    );
    let llama3 = json!({"quantization_config": {"quant_method": "bitnet"}, "rope_theta": 500_000.0, "vocab_size": 128_256});
    // Name, configuration, head_dim, ternary weights in millions.
    let models = [
        (
            "bitnet_b1_58-large",
            with(&first, sizes(1536, 4096, 24, 16, 16)),
            96,
            679,
        ),
        (
            "bitnet_b1_58-3B",
            with(&first, sizes(3200, 8640, 26, 32, 32)),
            100,
            3221,
        ),
        (
            "Llama3-8B-1.58",
            with(&with(&llama, llama3), sizes(4096, 14336, 32, 32, 8)),
            128,
            6979,
        ),
        (
            "Falcon3-1B",
            with(&falcon, sizes(2048, 8192, 18, 8, 4)),
            256,
            1132,
        ),
        (
            "Falcon3-3B",
            with(&falcon, sizes(3072, 9216, 22, 12, 4)),
            256,
            2422,
        ),
        (
            "Falcon3-7B",
            with(&falcon, sizes(3072, 23_040, 28, 12, 4)),
            256,
            6650,
        ),
        (
            "Falcon3-10B",
            with(&falcon, sizes(3072, 23_040, 40, 12, 4)),
            256,
            9500,
        ),
        (
            "Falcon-E-1B",
            with(&falcon_e, sizes(2048, 9216, 24, 16, 2)),
            128,
            1585,
        ),
        (
            "Falcon-E-3B",
            with(&falcon_e, sizes(2048, 13_312, 32, 16, 2)),
            128,
            2919,
        ),
        (
            "TriLM 3.9B",
            with(
                &with(&llama, json!({"vocab_size": 50_688})),
                sizes(3072, 9216, 30, 24, 24),
            ),
            128,
            3680,
        ),
        (
            "Ternary-Bonsai-4B",
            with(&qwen3, sizes(2560, 9728, 36, 32, 8)),
            128,
            3633,
        ),
    ];
    for (name, json, head_dim, millions) in models {
        let json = serde_json::to_vec(&json).unwrap();
        let config = tern_runtime::Config::parse(&json, name).unwrap();
        assert_eq!(config.head_dim, head_dim, "{name}");
        assert_eq!(config.activation, Activation::Silu, "{name}");
        let is_first = name.starts_with("bitnet");
        assert_eq!(config.has_sub_norms(), is_first, "{name}");
        let weights = match name {
            _ if is_first => WeightSource::Online,
            "TriLM 3.9B" | "Ternary-Bonsai-4B" => WeightSource::Exact,
            _ => WeightSource::Offline,
        };
        assert_eq!(config.quantization.weights, weights, "{name}");
        let matrices = Model::matrices_from_bytes(&json).unwrap();
        let each = matrices
            .iter()
            .map(|m| m.shape.rows * m.shape.cols * m.layers);
        assert_eq!(each.sum::<usize>() / 1_000_000, millions, "{name}");
    }
}
