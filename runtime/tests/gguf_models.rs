//! Models in GGUF files: those that tern converts from folders give the folders' logits to the bit, those that Python's `gguf` package wrote the
//! logits of transformers, and what cannot be run is refused by name.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Expected, FIXTURES, Setup, all_logits, bits, folder, prompts};
use safetensors::SafeTensors;
use tern_kernels::Granularity;
use tern_runtime::config::{Activation, ActivationScales, Config, RopeScaling, WeightSource};
use tern_runtime::convert::{Converted, TernaryType, to_folder, to_gguf};
use tern_runtime::gguf::{Gguf, Header, TensorType, Writer, quantize};
use tern_runtime::{Engine, Model, ReadOptions, inspect};

/// Every model with one scale for a matrix, and those with several.
const ARCHITECTURES: [&str; 5] = [
    "architectures/bitnet-first",
    "architectures/llama-scaled",
    "architectures/qwen3-packed",
    "architectures/llama-shards",
    "architectures/qwen3-groups",
];

fn load(path: &Path) -> Result<Model, String> {
    Model::load(path, &Setup::default().options()).map_err(|error| error.to_string())
}

fn refusal(path: &Path) -> String {
    load(path).err().expect("this should not load")
}

fn logits(path: &Path, tokens: &[u32]) -> Vec<f32> {
    let model = load(path).unwrap();
    all_logits(&mut Engine::new(Arc::new(model)).unwrap(), tokens)
}

/// Some tokens of every fixture's vocabulary.
const TOKENS: [u32; 9] = [1, 5, 2, 80, 3, 13, 4, 77, 42];

fn convert(from: &Path, kind: TernaryType, to: &Path) -> Result<Converted, String> {
    let mut bytes = Vec::new();
    let converted = to_gguf(
        from,
        ReadOptions::default(),
        kind,
        &mut bytes,
        &mut |_, _| true,
    );
    let converted = converted.map_err(|error| error.to_string())?;
    assert_eq!(converted.bytes, bytes.len() as u64);
    fs::write(to, bytes).unwrap();
    Ok(converted)
}

fn to_hf(from: &Path, to: &Path) -> Result<Converted, String> {
    fs::create_dir(to).unwrap();
    to_folder(from, ReadOptions::default(), to, &mut |_, _| true).map_err(|error| error.to_string())
}

/// Models with a norm before every linear layer, which no GGUF architecture has.
fn has_linear_norms(fixture: &str) -> bool {
    fixture.contains("rmsnorm")
}

fn all() -> impl Iterator<Item = &'static str> {
    let fixtures = FIXTURES.into_iter().chain(ARCHITECTURES);
    fixtures.filter(|fixture| !has_linear_norms(fixture))
}

#[test]
fn a_folder_and_its_gguf_file_are_the_same_model() {
    let temporary = tempfile::tempdir().unwrap();
    for fixture in all() {
        let file = temporary.path().join("model.gguf");
        let converted = convert(&folder(fixture), TernaryType::Exact, &file).unwrap();
        assert_eq!(converted.largest_scale_error, 0.0, "{fixture}");
        let (own, gguf) = (load(&folder(fixture)).unwrap(), load(&file).unwrap());
        let (a, b) = (own.config(), gguf.config());
        assert_eq!(b.quantization.weights, WeightSource::Blocks);
        assert_eq!(a.quantization.activations, b.quantization.activations);
        assert_eq!(a.activation, b.activation, "{fixture}");
        assert_eq!(a.rope_scaling, b.rope_scaling, "{fixture}");
        assert_eq!(a.tied_head, b.tied_head, "{fixture}");
        let found = bits(&logits(&file, &TOKENS));
        let has_exact_scale = |kind: &str| matches!(kind, "I2_S" | "IQ2_BN");
        let is_inexact = converted
            .matrices
            .iter()
            .any(|(kind, _)| !has_exact_scale(kind))
            && a.quantization.scale == tern_runtime::config::ScaleRule::Divide;
        if is_inexact {
            // What divides is stored as its inverse.
            let (found, expected) = (logits(&file, &TOKENS), logits(&folder(fixture), &TOKENS));
            let distance = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            assert!(distance.fold(0.0, f32::max) < 1e-4, "{fixture}");
        } else {
            assert_eq!(found, bits(&logits(&folder(fixture), &TOKENS)), "{fixture}");
        }
        if let Ok(tokenizer) = own.tokenizer() {
            let text = "The quick fox: 12345 <|eot_id|> naïve\n\n";
            let other = gguf.tokenizer().unwrap();
            assert_eq!(
                tokenizer.encode(text, true).unwrap(),
                other.encode(text, true).unwrap()
            );
            assert_eq!(own.stop_ids(), gguf.stop_ids(), "{fixture}");
        }
    }
}

/// tiktoken's tokenizer.model becomes lists; `tests/tokenizers.rs` shows that they give the same ids.
#[test]
fn a_tiktoken_file_is_carried_into_a_gguf_file() {
    let temporary = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        let from = folder("bitnet-tiny-packed").join(name);
        fs::copy(from, temporary.path().join(name)).unwrap();
    }
    let tokenizer = fs::read(folder("tokenizers/tiny.tiktoken")).unwrap();
    fs::write(temporary.path().join("tokenizer.model"), tokenizer).unwrap();
    let file = temporary.path().join("model.gguf");
    let converted = convert(temporary.path(), TernaryType::Exact, &file).unwrap();
    assert_eq!(converted.notes, [""; 0]);
    let bytes = fs::read(&file).unwrap();
    let gguf = Gguf::from_bytes("model.gguf", &bytes).unwrap();
    let strings = |key: &str| gguf.metadata().get::<Vec<&str>>(key).unwrap().unwrap();
    assert_eq!(strings("tokenizer.ggml.tokens").len(), 900 + 256);
    assert!(strings("tokenizer.ggml.merges").len() >= 900 - 256);
    // More tokens than this small model has rows: told, not run.
    assert!(refusal(&file).contains("the model's embedding has only 512 rows"));
}

/// The tensors of a folder, by name.
fn tensors(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("model.safetensors")).unwrap()
}

#[test]
fn a_folder_comes_back_from_i2_s_with_every_trit_and_scale() {
    let temporary = tempfile::tempdir().unwrap();
    for fixture in [
        "bitnet-tiny-packed",
        "bitnet-odd-packed",
        "llama-bitnet-tiny",
        "llama-bitnet-odd",
    ] {
        let file = temporary.path().join("model.gguf");
        let converted = convert(&folder(fixture), TernaryType::I2s, &file).unwrap();
        assert_eq!(converted.matrices.len(), 1, "{fixture}");
        let back = temporary.path().join(fixture);
        to_hf(&file, &back).unwrap();
        let (before, after) = (tensors(&folder(fixture)), tensors(&back));
        let before = SafeTensors::deserialize(&before).unwrap();
        let after = SafeTensors::deserialize(&after).unwrap();
        assert_eq!(before.names().len(), after.names().len());
        for (name, tensor) in before.tensors() {
            let again = after.tensor(&name).unwrap();
            assert_eq!(tensor.shape(), again.shape(), "{fixture} {name}");
            assert_eq!(tensor.dtype(), again.dtype(), "{fixture} {name}");
            assert!(tensor.data() == again.data(), "{fixture} {name}");
        }
        let json = |folder: &Path| fs::read(folder.join("tokenizer.json")).unwrap();
        assert!(json(&folder(fixture)) == json(&back), "{fixture}");
        assert_eq!(
            bits(&logits(&folder(fixture), &TOKENS)),
            bits(&logits(&back, &TOKENS))
        );
    }
}

/// Float models, and master weights, as folders again.
#[test]
fn other_folders_come_back_as_the_same_model() {
    let temporary = tempfile::tempdir().unwrap();
    for fixture in [
        "bitnet-tiny-bf16",
        "architectures/llama-shards",
        "architectures/qwen3-groups",
    ] {
        let file = temporary.path().join("model.gguf");
        convert(&folder(fixture), TernaryType::Exact, &file).unwrap();
        let back = temporary.path().join(fixture.replace('/', "-"));
        to_hf(&file, &back).unwrap();
        let expected = bits(&logits(&folder(fixture), &TOKENS));
        assert_eq!(expected, bits(&logits(&back, &TOKENS)), "{fixture}");
    }
}

/// bitnet_b1_58-3B has 8640 columns; here are 320, and 864, which no type but I2_S has.
#[test]
fn rows_that_are_not_whole_blocks_of_i2_s_get_another_type_or_a_note() {
    let temporary = tempfile::tempdir().unwrap();
    for fixture in ["bitnet-odd-packed", "llama-bitnet-odd"] {
        let file = temporary.path().join("model.gguf");
        let converted = convert(&folder(fixture), TernaryType::Exact, &file).unwrap();
        let kind = |cols: u64| {
            let gguf = Gguf::open(&file).unwrap();
            let mut kinds: Vec<String> = gguf
                .tensors()
                .filter(|tensor| tensor.dims() == [cols, 320] || tensor.dims() == [cols, 864])
                .map(|tensor| tensor.kind().to_string())
                .collect();
            kinds.dedup();
            kinds
        };
        assert_eq!(kind(320), ["IQ2_BN"], "{fixture}");
        assert_eq!(kind(864), ["I2_S"], "{fixture}");
        let notes_of = |converted: &Converted| converted.notes.join("\n");
        says(
            &notes_of(&converted),
            &[
                "matrices in I2_S, such as model.layers.0.mlp.down_proj with 864 columns",
                "no type is written",
                "matrices are IQ2_BN",
            ],
        );
        let what = "blk.0.ffn_down.weight with 864 columns";
        says(&notes(&file), &[what, "ik_llama.cpp"]);
        let foreign = temporary.path().join("foreign.gguf");
        let without = Change {
            drop: &["tern.version"],
            ..Change::default()
        };
        changed(&file, &without, &foreign);
        says(&notes(&foreign), &["suspicious", what]);
        let expected = bits(&logits(&folder(fixture), &TOKENS));
        assert_eq!(bits(&logits(&file, &TOKENS)), expected, "{fixture}");
        // Who asks for I2_S gets it, and is told.
        let converted = convert(&folder(fixture), TernaryType::I2s, &file).unwrap();
        assert_eq!(kind(320), ["I2_S"], "{fixture}");
        says(
            &notes_of(&converted),
            &["320 columns", "`--to gguf` takes IQ2_BN"],
        );
        assert_eq!(bits(&logits(&file, &TOKENS)), expected, "{fixture}");
    }
    let file = temporary.path().join("model.gguf");
    let converted = convert(&folder("bitnet-tiny-packed"), TernaryType::Exact, &file).unwrap();
    assert_eq!(converted.matrices.len(), 1);
    assert!(!converted.notes.join("").contains("128") && !notes(&file).contains("multiple of 128"));
}

/// A factor of the model's own is not in tern's key alone.
#[test]
fn yarn_is_written_for_other_programs_too() {
    let temporary = tempfile::tempdir().unwrap();
    let (source, to) = (
        folder("architectures/qwen3-groups"),
        temporary.path().join("folder"),
    );
    fs::create_dir(&to).unwrap();
    let weights = "model.safetensors";
    fs::copy(source.join(weights), to.join(weights)).unwrap();
    let config = fs::read(source.join("config.json")).unwrap();
    for own in [None, Some(1.5)] {
        let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        if let Some(own) = own {
            config["rope_scaling"]["attention_factor"] = serde_json::json!(own);
        }
        fs::write(to.join("config.json"), config.to_string()).unwrap();
        let file = temporary.path().join("own.gguf");
        convert(&to, TernaryType::Exact, &file).unwrap();
        let others = temporary.path().join("others.gguf");
        let without = Change {
            drop: &["tern.rope_scaling"],
            ..Change::default()
        };
        changed(&file, &without, &others);
        let scaling = |path: &Path| load(path).unwrap().config().rope_scaling.clone();
        assert_eq!(scaling(&others), scaling(&to), "{own:?}");
    }
}

/// A model whose columns are all multiples of 256: the types with such blocks hold it, and only scales are rounded.
#[test]
fn blocks_of_256_round_nothing_but_scales() {
    let temporary = tempfile::tempdir().unwrap();
    let source = narrow(temporary.path());
    for (kind, name) in [(TernaryType::Tq1_0, "TQ1_0"), (TernaryType::Tq2_0, "TQ2_0")] {
        let file = temporary.path().join(name);
        let converted = convert(&source, kind, &file).unwrap();
        assert_eq!(converted.matrices, [(name.to_owned(), 28)]);
        let error = converted.largest_scale_error;
        assert!(error > 0.0 && error <= 1.0 / 2048.0, "{error}");
        let model = load(&file).unwrap();
        let matrices = model.summary().matrices;
        // One scale for all blocks, so one for the matrix.
        assert!(
            matrices
                .iter()
                .all(|m| m.scales.granularity == Granularity::Matrix)
        );
        let back = temporary.path().join(format!("{name}-hf"));
        to_hf(&file, &back).unwrap();
        assert_eq!(bits(&logits(&file, &TOKENS)), bits(&logits(&back, &TOKENS)));
        let (rounded, own) = (logits(&file, &TOKENS), logits(&source, &TOKENS));
        let distance = rounded.iter().zip(&own).map(|(a, b)| (a - b).abs());
        let largest = distance.fold(0.0, f32::max);
        eprintln!("{name}: f16 scales change logits by {largest:.1e}");
        assert!(largest < 0.05);
    }
}

/// A fixture with the last columns of `down_proj` cut off, so that 640 columns are 512.
fn narrow(temporary: &Path) -> PathBuf {
    let to = temporary.join("narrow");
    fs::create_dir(&to).unwrap();
    let source = folder("bitnet-tiny-packed");
    let config = fs::read_to_string(source.join("config.json")).unwrap();
    fs::write(to.join("config.json"), config.replace("640", "512")).unwrap();
    let bytes = tensors(&source);
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let cut = |name: &str, tensor: safetensors::tensor::TensorView<'_>| {
        let (mut shape, mut data) = (tensor.shape().to_vec(), tensor.data().to_vec());
        if name.ends_with("down_proj.weight") {
            data = data
                .chunks(640)
                .flat_map(|row| row[..512].to_vec())
                .collect();
            shape[1] = 512;
        } else if name.ends_with("gate_proj.weight") || name.ends_with("up_proj.weight") {
            data.truncate(128 * 256);
            shape[0] = 128;
        } else if name.ends_with("ffn_sub_norm.weight") {
            data.truncate(512 * 2);
            shape[0] = 512;
        } else if name.ends_with("weight_scale") {
            // No f16: 1 and a little.
            data = 0.012_345_6_f32.to_le_bytes().to_vec();
        }
        let dtype = match name.ends_with("weight_scale") {
            true => safetensors::Dtype::F32,
            false => tensor.dtype(),
        };
        (name.to_owned(), dtype, shape, data)
    };
    let cut: Vec<_> = all
        .tensors()
        .into_iter()
        .map(|(name, t)| cut(&name, t))
        .collect();
    let views = cut.iter().map(|(name, dtype, shape, data)| {
        let view = safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap();
        (name.clone(), view)
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    fs::write(to.join("model.safetensors"), bytes).unwrap();
    to
}

#[test]
fn types_that_cannot_hold_a_model_say_which_can() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("model.gguf");
    let error = |fixture: &str, kind| convert(&folder(fixture), kind, &file).unwrap_err();
    let found = error("bitnet-tiny-packed", TernaryType::Tq2_0);
    says(&found, &["down_proj.weight", "640 columns", "--to gguf"]);
    let found = error("architectures/llama-shards", TernaryType::I2s);
    says(&found, &["weight", "one scale for a matrix", "--to gguf"]);
    let found = error("llama-bitnet-rmsnorm-tiny", TernaryType::Exact);
    says(&found, &["use_rms_norm", "--to hf"]);
    // Its inner width is 109.
    convert(
        &folder("architectures/bitnet-first"),
        TernaryType::Exact,
        &file,
    )
    .unwrap();
    let found = to_hf(&file, &temporary.path().join("first")).unwrap_err();
    says(&found, &["gate_proj.weight", "rows by four", "--to gguf"]);
    let mut out = Vec::new();
    let stopped = to_gguf(
        &folder("bitnet-tiny-packed"),
        ReadOptions::default(),
        TernaryType::Exact,
        &mut out,
        &mut |_, _| false,
    );
    says(&stopped.unwrap_err().to_string(), &["stopped"]);
}

fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "\"{part}\" is not in: {message}");
    }
}

/// A GGUF file that is another with changes: keys left out or replaced, tensors left out or added.
#[derive(Default)]
struct Change<'a> {
    drop: &'a [&'a str],
    text: &'a [(&'a str, &'a str)],
    number: &'a [(&'a str, u32)],
    float: &'a [(&'a str, f32)],
    drop_tensor: &'a str,
    /// Name, and values of an F32 vector.
    tensor: Option<(&'a str, Vec<f32>)>,
    /// Bytes that are changed in a tensor: its name, place and new byte.
    damage: Option<(&'a str, usize, u8)>,
}

fn changed(source: &Path, change: &Change<'_>, to: &Path) {
    let gguf = Gguf::open(source).unwrap();
    let mut header = Header::new();
    let set = |key: &str| {
        let texts = change.text.iter().map(|(key, _)| *key);
        let numbers = change.number.iter().map(|(key, _)| *key);
        let floats = change.float.iter().map(|(key, _)| *key);
        texts.chain(numbers).chain(floats).any(|known| known == key)
    };
    for (key, value) in gguf.metadata().iter() {
        if !change.drop.contains(&key) && !set(key) {
            header.set(key, value).unwrap();
        }
    }
    for (key, value) in change.text {
        header.set(key, *value).unwrap();
    }
    for (key, value) in change.number {
        header.set(key, *value).unwrap();
    }
    for (key, value) in change.float {
        header.set(key, *value).unwrap();
    }
    for tensor in gguf
        .tensors()
        .filter(|tensor| tensor.name() != change.drop_tensor)
    {
        header
            .tensor(tensor.name(), tensor.dims(), tensor.kind())
            .unwrap();
    }
    if let Some((name, values)) = &change.tensor {
        header
            .tensor(name, &[values.len() as u64], TensorType::F32)
            .unwrap();
    }
    let mut writer: Writer<Vec<u8>> = header.begin(Vec::new()).unwrap();
    for tensor in gguf
        .tensors()
        .filter(|tensor| tensor.name() != change.drop_tensor)
    {
        let mut data = tensor.data().to_vec();
        if let Some((name, place, byte)) = change.damage
            && name == tensor.name()
        {
            data[place] = byte;
        }
        writer.put(tensor.name(), &data).unwrap();
    }
    if let Some((name, values)) = &change.tensor {
        let mut bytes = Vec::new();
        quantize::row(TensorType::F32, values, &mut bytes).unwrap();
        writer.put(name, &bytes).unwrap();
    }
    fs::write(to, writer.finish().unwrap()).unwrap();
}

/// A converted fixture in a temporary folder, to be changed.
struct Bench {
    temporary: tempfile::TempDir,
}

impl Bench {
    fn new(fixture: &str) -> Bench {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("own.gguf");
        convert(&folder(fixture), TernaryType::Exact, &file).unwrap();
        Bench { temporary }
    }

    fn own(&self) -> PathBuf {
        self.temporary.path().join("own.gguf")
    }

    fn changed(&self, change: &Change<'_>) -> PathBuf {
        let to = self.temporary.path().join("changed.gguf");
        changed(&self.own(), change, &to);
        to
    }

    fn refusal(&self, change: &Change<'_>, parts: &[&str]) {
        says(&refusal(&self.changed(change)), parts);
    }
}

#[test]
fn the_activation_follows_the_architecture() {
    let bench = Bench::new("bitnet-tiny-packed");
    let keys: Vec<String> = Gguf::open(&bench.own())
        .unwrap()
        .metadata()
        .iter()
        .filter(|(key, _)| key.starts_with("bitnet-b1.58."))
        .map(|(key, _)| key.to_owned())
        .collect();
    assert!(keys.len() > 10);
    for (name, expected, why) in [
        ("bitnet-b1.58", Activation::Relu2, "\"bitnet-b1.58\""),
        ("bitnet-25", Activation::Relu2, "\"bitnet-25\""),
        ("bitnet", Activation::Silu, "\"bitnet\""),
    ] {
        let to = bench.temporary.path().join("renamed.gguf");
        renamed(&bench.own(), name, None, &to);
        let model = load(&to).unwrap();
        assert_eq!(model.config().activation, expected, "{name}");
        says(&model.config().activation_reason, &["rule", why]);
        renamed(&bench.own(), name, Some("silu"), &to);
        let model = load(&to).unwrap();
        assert_eq!(model.config().activation, Activation::Silu, "{name}");
        says(&model.config().activation_reason, &["hidden_activation"]);
        let forced = Setup {
            activation: Some(Activation::Relu2),
            ..Setup::default()
        };
        let forced = Model::load(&to, &forced.options()).unwrap();
        assert_eq!(forced.config().activation, Activation::Relu2, "{name}");
    }
    let bench = Bench::new("llama-bitnet-tiny");
    let without = Change {
        drop: &["llama.hidden_activation"],
        ..Change::default()
    };
    let model = load(&bench.changed(&without)).unwrap();
    assert_eq!(model.config().activation, Activation::Silu);
}

/// The file under another architecture's name, with no key for the activation or this one.
fn renamed(source: &Path, name: &str, activation: Option<&str>, to: &Path) {
    let gguf = Gguf::open(source).unwrap();
    let mut header = Header::new();
    header.set("general.architecture", name).unwrap();
    for (key, value) in gguf.metadata().iter() {
        match key.strip_prefix("bitnet-b1.58.") {
            Some("hidden_activation") => {}
            Some(rest) => header.set(&format!("{name}.{rest}"), value).unwrap(),
            None if key == "general.architecture" => {}
            None => header.set(key, value).unwrap(),
        }
    }
    if let Some(activation) = activation {
        header
            .set(&format!("{name}.hidden_activation"), activation)
            .unwrap();
    }
    for tensor in gguf.tensors() {
        header
            .tensor(tensor.name(), tensor.dims(), tensor.kind())
            .unwrap();
    }
    let mut writer = header.begin(Vec::new()).unwrap();
    for tensor in gguf.tensors() {
        writer.put(tensor.name(), tensor.data()).unwrap();
    }
    fs::write(to, writer.finish().unwrap()).unwrap();
}

#[test]
fn what_cannot_be_run_is_refused_by_name() {
    let bench = Bench::new("llama-bitnet-tiny");
    let own = || Change::default();
    bench.refusal(
        &Change {
            text: &[("general.architecture", "gemma3")],
            ..own()
        },
        &["architecture \"gemma3\"", "not supported", "bitnet-b1.58"],
    );
    bench.refusal(
        &Change {
            drop: &["general.architecture"],
            ..own()
        },
        &["general.architecture"],
    );
    bench.refusal(
        &Change {
            drop: &["llama.block_count"],
            ..own()
        },
        &["llama.block_count", "missing"],
    );
    bench.refusal(
        &Change {
            number: &[("llama.block_count", 0)],
            ..own()
        },
        &["llama.block_count", "0", "1 to 4096"],
    );
    bench.refusal(
        &Change {
            drop: &["tern.weight_divisors"],
            number: &[("llama.block_count", 9)],
            ..own()
        },
        &["blk.4."],
    );
    bench.refusal(
        &Change {
            number: &[("llama.attention.head_count_kv", 3)],
            ..own()
        },
        &["head_count_kv", "divisor"],
    );
    bench.refusal(
        &Change {
            number: &[("llama.embedding_length", 128)],
            ..own()
        },
        &["embedding_length", "token_embd.weight"],
    );
    bench.refusal(
        &Change {
            number: &[("llama.rope.dimension_count", 16)],
            ..own()
        },
        &["rope.dimension_count", "32"],
    );
    bench.refusal(
        &Change {
            number: &[("llama.attention.key_length", 7)],
            ..own()
        },
        &["key_length", "even"],
    );
    bench.refusal(
        &Change {
            number: &[("llama.expert_count", 8)],
            ..own()
        },
        &["expert_count", "experts"],
    );
    bench.refusal(
        &Change {
            number: &[("llama.feed_forward_length", 512)],
            ..own()
        },
        &["ffn_", "512"],
    );
    bench.refusal(
        &Change {
            float: &[("llama.attention.layer_norm_rms_epsilon", 0.0)],
            ..own()
        },
        &["layer_norm_rms_epsilon"],
    );
    bench.refusal(
        &Change {
            text: &[("llama.hidden_activation", "gelu")],
            ..own()
        },
        &["hidden_activation", "gelu", "relu2"],
    );
    bench.refusal(
        &Change {
            text: &[("llama.rope.scaling.type", "longrope")],
            float: &[("llama.rope.scaling.factor", 2.0)],
            ..own()
        },
        &["rope.scaling.type", "longrope", "yarn"],
    );
    bench.refusal(
        &Change {
            number: &[("prism.hadamard.version", 1)],
            ..own()
        },
        &["prism.hadamard.version", "rotated"],
    );
    bench.refusal(
        &Change {
            text: &[("tern.activation_scales", "rows")],
            ..own()
        },
        &["tern.activation_scales", "token"],
    );
    bench.refusal(
        &Change {
            drop_tensor: "blk.1.ffn_up.weight",
            ..own()
        },
        &["blk.1.ffn_up.weight", "missing"],
    );
    bench.refusal(
        &Change {
            drop_tensor: "token_embd.weight",
            ..own()
        },
        &["token_embd.weight"],
    );
    let tensor = |name| Change {
        tensor: Some((name, vec![1.0; 256])),
        ..own()
    };
    bench.refusal(
        &tensor("blk.0.attn_q.bias"),
        &["blk.0.attn_q.bias", "without bias"],
    );
    bench.refusal(
        &tensor("blk.0.attn_q_norm.weight"),
        &["attn_q_norm", "no such norm"],
    );
    bench.refusal(
        &tensor("blk.0.attn_v_norm_in.weight"),
        &["attn_v_norm_in", "does not know"],
    );
    bench.refusal(
        &tensor("rope_freqs.weight"),
        &["rope_freqs.weight", "16 floats"],
    );
    bench.refusal(
        &Change {
            damage: Some(("blk.2.ffn_up.weight", 5, 0xff)),
            ..own()
        },
        &["blk.2.ffn_up.weight", "--i2s-layout", "row 0"],
    );
    let end = 640 * 256 / 4;
    bench.refusal(
        &Change {
            damage: Some(("blk.2.ffn_up.weight", end + 3, 0x7f)),
            ..own()
        },
        &["blk.2.ffn_up.weight", "scale"],
    );
}

/// Whatever could change the result, in any layer and outside of them.
#[test]
fn tensors_that_are_not_read_are_refused() {
    let bench = Bench::new("llama-bitnet-tiny");
    let tensor = |name| Change {
        tensor: Some((name, vec![1.0; 256])),
        ..Change::default()
    };
    for (name, reason) in [
        ("blk.0.attn_norm.bias", "norms without bias"),
        ("blk.3.ffn_norm.bias", "norms without bias"),
        ("blk.3.attn_output.bias", "linear layers without bias"),
        ("blk.1.attn_sub_norm.weight", "no such norm"),
        ("blk.2.attn_k_norm.weight", "no such norm"),
        ("blk.1.ffn_gate.input_scale", "does not know"),
        ("blk.00.attn_q.weight", "does not know"),
        ("blk.4.attn_q.weight", "beyond"),
        ("output.bias", "without bias"),
        ("output_norm.bias", "without bias"),
        ("token_embd_norm.weight", "does not know"),
        ("rope_factors_short.weight", "rope_freqs.weight alone"),
        ("cls.weight", "does not know"),
    ] {
        bench.refusal(&tensor(name), &[name, "not supported", reason]);
    }
    // A divisor takes the scale's place, so this one would not be read.
    bench.refusal(&tensor("blk.0.attn_q.scale"), &["blk.0.attn_q.scale"]);
    // What reads images does no harm to texts.
    let seeing = bench.changed(&tensor("v.patch_embd.weight"));
    assert_eq!(load(&seeing).unwrap().config().layers, 4);
    says(&notes(&seeing), &["v.patch_embd.weight", "not loaded"]);
    let bench = Bench::new("bitnet-tiny-packed");
    bench.refusal(
        &tensor("blk.1.attn_sub_norm.bias"),
        &["blk.1.attn_sub_norm.bias", "norms without bias"],
    );
}

/// What `fixtures/gguf/models.py` wrote, the folder with transformers' logits, the prompt of these, and how many positions have an activation so
/// close to a rounding boundary of int8 that float noise decides it: the factors of rotary frequencies differ from transformers' formula in the
/// last bit. All other positions are within 1e-5.
const FOREIGN: [(&str, &str, &str, usize); 4] = [
    ("bitnet-25", "bitnet-tiny-bf16", "p33", 0),
    ("bitnet", "architectures/bitnet-first", "", 0),
    ("llama", "architectures/llama-scaled", "", 1),
    ("qwen3", "architectures/qwen3-packed", "", 0),
];

fn foreign(name: &str) -> PathBuf {
    folder("gguf").join(format!("{name}.gguf"))
}

/// The tokens of an architecture's fixture, or of a prompt.
fn tokens(fixture: &str, prompt: &str) -> Vec<u32> {
    if !prompt.is_empty() {
        let found = prompts(fixture)
            .into_iter()
            .find(|known| known.name == prompt);
        return found.unwrap().tokens;
    }
    let bytes = fs::read(folder(fixture).join("expected.safetensors")).unwrap();
    let all = SafeTensors::deserialize(&bytes).unwrap();
    let ids = all.tensor("tokens").unwrap().data().to_vec();
    ids.as_chunks::<4>()
        .0
        .iter()
        .map(|id| u32::from_le_bytes(*id))
        .collect()
}

#[test]
fn files_of_the_gguf_package_give_the_logits_of_transformers() {
    for (name, fixture, prompt, flips) in FOREIGN {
        let key = match prompt {
            "" => "logits".to_owned(),
            prompt => format!("logits.{prompt}"),
        };
        let expected = Expected::read(fixture).floats(&key);
        let found = logits(&foreign(name), &tokens(fixture, prompt));
        let width = load(&foreign(name)).unwrap().config().vocab_size;
        let rows = found.chunks(width).zip(expected.chunks(width));
        let each = rows.map(|(found, expected)| {
            let distance = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            distance.fold(0.0, f32::max)
        });
        let each: Vec<f32> = each.collect();
        let largest = each.iter().copied().fold(0.0, f32::max);
        let beyond = each.iter().filter(|&&distance| distance >= 1e-3).count();
        eprintln!("{name}: largest difference {largest:.1e}, {beyond} positions beyond 1e-3");
        assert!(
            beyond <= flips && largest < 0.05,
            "{name}: {beyond}, {largest}"
        );
        assert_eq!(found.len(), expected.len());
    }
}

#[test]
fn text_comes_from_metadata() {
    let model = load(&foreign("bitnet-25")).unwrap();
    let own = load(&folder("bitnet-tiny-bf16")).unwrap();
    let text = "The quick fox: 12345 <|eot_id|> naïve\n\n";
    let found = model.tokenizer().unwrap().encode(text, true).unwrap();
    assert_eq!(found, own.tokenizer().unwrap().encode(text, true).unwrap());
    assert_eq!(model.stop_ids(), own.stop_ids());
    assert!(model.chat_template().is_ok());
    // As a folder it has a tokenizer.json that was made of the lists.
    let temporary = tempfile::tempdir().unwrap();
    let back = temporary.path().join("back");
    to_hf(&foreign("bitnet-25"), &back).unwrap();
    let again = load(&back).unwrap();
    assert_eq!(
        found,
        again.tokenizer().unwrap().encode(text, true).unwrap()
    );
    assert_eq!(model.stop_ids(), again.stop_ids());
    assert!(again.chat_template().is_ok());
    assert_eq!(
        bits(&logits(&foreign("bitnet-25"), &TOKENS)),
        bits(&logits(&back, &TOKENS))
    );
}

#[test]
fn scales_have_the_granularity_that_they_have() {
    let model = load(&foreign("bitnet-25")).unwrap();
    // Rows and blocks that all have the same scale.
    let matrices = model.summary().matrices;
    assert!(
        matrices
            .iter()
            .all(|m| m.scales.granularity == Granularity::Matrix)
    );
    assert_eq!(
        model.config().quantization.activations,
        ActivationScales::Token
    );
    let bench = Bench::new("architectures/qwen3-groups");
    let model = load(&bench.own()).unwrap();
    assert_eq!(
        model.config().quantization.activations,
        ActivationScales::Groups
    );
    let matrices = model.summary().matrices;
    assert!(
        matrices
            .iter()
            .any(|m| m.scales.granularity == Granularity::Group)
    );
}

fn notes(path: &Path) -> String {
    let summary = inspect(path, &Setup::default().options()).unwrap();
    summary.notes.join("\n")
}

#[test]
fn inspect_explains_a_file() {
    let found = notes(&foreign("bitnet-25"));
    says(
        &found,
        &[
            "GGUF version 3",
            "10 I2_S",
            "2 IQ2_BN",
            "ik_llama.cpp",
            "128x32",
            "relu2",
            "\"bitnet-25\"",
            "one scale for the matrix",
        ],
    );
    let bench = Bench::new("llama-bitnet-tiny");
    says(&notes(&bench.own()), &["written by tern", "28 I2_S"]);
    let without = Change {
        drop: &["tern.activation_scales"],
        ..Change::default()
    };
    says(
        &notes(&bench.changed(&without)),
        &["does not say how activations are rounded"],
    );
    let vocabulary = Change {
        number: &[("llama.vocab_size", 99)],
        ..Change::default()
    };
    says(
        &notes(&bench.changed(&vocabulary)),
        &["suspicious", "vocab_size is 99", "512 rows"],
    );
    let damaged = Change {
        damage: Some(("blk.0.ffn_up.weight", 5, 0xff)),
        ..Change::default()
    };
    says(
        &notes(&bench.changed(&damaged)),
        &[
            "suspicious",
            "blk.0.ffn_up.weight",
            "code 3",
            "row 0, column 5",
        ],
    );
}

#[test]
fn rotary_keys_are_those_of_llama_cpp() {
    let bench = Bench::new("llama-bitnet-tiny");
    let yarn = Change {
        text: &[("llama.rope.scaling.type", "yarn")],
        float: &[("llama.rope.scaling.factor", 4.0)],
        number: &[("llama.rope.scaling.original_context_length", 64)],
        ..Change::default()
    };
    let found = load(&bench.changed(&yarn))
        .unwrap()
        .config()
        .rope_scaling
        .clone();
    let json = br#"{"model_type": "llama", "hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 8, "num_hidden_layers": 1,
        "vocab_size": 8, "max_position_embeddings": 8192,
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}}"#;
    let expected = Config::parse(json, "config.json").unwrap().rope_scaling;
    assert_eq!(found, expected);
    let linear = Change {
        float: &[("llama.rope.scaling.factor", 4.0)],
        ..Change::default()
    };
    let found = load(&bench.changed(&linear))
        .unwrap()
        .config()
        .rope_scaling
        .clone();
    assert_eq!(found, RopeScaling::Linear { factor: 4.0 });
    let factors = Change {
        tensor: Some(("rope_freqs.weight", vec![2.0; 16])),
        ..Change::default()
    };
    let found = load(&bench.changed(&factors))
        .unwrap()
        .config()
        .rope_scaling
        .clone();
    assert_eq!(
        found,
        RopeScaling::Factors {
            factors: vec![2.0; 16]
        }
    );
    // `inspect --json` writes it.
    assert_eq!(serde_json::json!(found)["factors"][15], 2.0);
}

/// A GGUF file packs as a folder does.
#[test]
fn a_gguf_file_can_be_packed() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("model.tern");
    for (name, ..) in FOREIGN {
        let mut file = fs::File::create(&path).unwrap();
        let options = Setup::default().options();
        let reading = ReadOptions::default();
        tern_runtime::pack(
            &foreign(name),
            reading,
            &options.planner,
            1,
            &mut file,
            &mut |_, _| true,
        )
        .unwrap();
        drop(file);
        assert_eq!(
            bits(&logits(&foreign(name), &TOKENS)),
            bits(&logits(&path, &TOKENS)),
            "{name}"
        );
    }
}
