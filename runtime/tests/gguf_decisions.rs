//! What GGUF files do not say: the activation, how activations are rounded, which way scales work. What tern takes for it, that it says so, and that
//! the user has the last word.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Expected, Setup, all_logits, bits, folder, prompts};
use tern_runtime::config::{Activation, ActivationScales, ScaleRule};
use tern_runtime::convert::{Converted, TernaryType, to_folder, to_gguf};
use tern_runtime::gguf::{Gguf, Header, Tensor, TensorType, quantize};
use tern_runtime::{Engine, Model, ReadOptions, inspect, pack};

/// Keys that only tern writes.
const OWN: &str = "tern.";

/// A type for a matrix.
type KindOf = fn(&Tensor<'_>) -> TensorType;

/// How a file is another one.
#[derive(Clone, Copy, Default)]
struct Change<'a> {
    /// The architecture's name.
    name: Option<&'a str>,
    /// Keys that begin so are left out.
    drop: &'a [&'a str],
    text: &'a [(&'a str, &'a str)],
    /// The list of tokens.
    tokens: &'a [&'a str],
    id: &'a [(&'a str, i32)],
    /// Rows of the embedding, which are zeros then.
    rows: Option<usize>,
    /// Matrices in this type.
    kind: Option<KindOf>,
    /// What the numbers of a matrix are multiplied by, by name and row.
    factor: Option<fn(&str, usize) -> f32>,
    /// All scales are their inverse.
    is_inverse: bool,
    /// A tensor, where its bytes are overwritten, and with what.
    damage: Option<(&'a str, usize, &'a [u8])>,
}

fn is_matrix(name: &str) -> bool {
    let of_layer = name.strip_prefix("blk.").unwrap_or_default();
    of_layer.ends_with(".weight") && !of_layer.contains("norm")
}

/// A file that tern wrote of a fixture.
fn converted(fixture: &str, to: &Path) -> PathBuf {
    let mut bytes = Vec::new();
    let kind = TernaryType::Exact;
    let reading = ReadOptions::default();
    to_gguf(&folder(fixture), reading, kind, &mut bytes, &mut |_, _| {
        true
    })
    .unwrap();
    let file = to.join("own.gguf");
    fs::write(&file, bytes).unwrap();
    file
}

fn changed(source: &Path, change: Change<'_>) -> PathBuf {
    let gguf = Gguf::open(source).unwrap();
    let old: &str = gguf.metadata().require("general.architecture").unwrap();
    let name = change.name.unwrap_or(old);
    let mut header = Header::new();
    for (key, value) in gguf.metadata().iter() {
        if change.drop.iter().any(|drop| key.starts_with(drop)) {
            continue;
        }
        match key.strip_prefix(old) {
            Some(rest) => header.set(&format!("{name}{rest}"), value).unwrap(),
            None if key == "general.architecture" => header.set(key, name).unwrap(),
            None => header.set(key, value).unwrap(),
        }
    }
    for (key, value) in change.text {
        header.set(key, *value).unwrap();
    }
    for (key, value) in change.id {
        header.set(key, *value).unwrap();
    }
    if !change.tokens.is_empty() {
        header.set("tokenizer.ggml.tokens", change.tokens).unwrap();
    }
    let kind_of = |tensor: &Tensor<'_>| match change.kind {
        Some(kind) if is_matrix(tensor.name()) => kind(tensor),
        _ => tensor.kind(),
    };
    let rows_of = |tensor: &Tensor<'_>| match change.rows {
        Some(rows) if tensor.name() == "token_embd.weight" => rows,
        _ => tensor.rows(),
    };
    for tensor in gguf.tensors() {
        let dims = match tensor.dims() {
            [cols, _] => vec![*cols, rows_of(&tensor) as u64],
            dims => dims.to_vec(),
        };
        header
            .tensor(tensor.name(), &dims, kind_of(&tensor))
            .unwrap();
    }
    let mut writer = header.begin(Vec::new()).unwrap();
    for tensor in gguf.tensors() {
        let mut data = tensor.data().to_vec();
        if rows_of(&tensor) != tensor.rows() {
            data.resize(data.len() / tensor.rows() * rows_of(&tensor), 0);
        }
        if is_matrix(tensor.name()) && change.kind.is_some() {
            data = matrix(&tensor, kind_of(&tensor), change);
        }
        if let Some((name, at, bytes)) = change.damage
            && name == tensor.name()
        {
            data[at..][..bytes.len()].copy_from_slice(bytes);
        }
        writer.put(tensor.name(), &data).unwrap();
    }
    let to = source.with_file_name("changed.gguf");
    fs::write(&to, writer.finish().unwrap()).unwrap();
    to
}

/// The bytes of a matrix in another type.
fn matrix(tensor: &Tensor<'_>, kind: TensorType, change: Change<'_>) -> Vec<u8> {
    let (mut values, mut bytes) = (vec![0.0; tensor.cols()], Vec::new());
    for row in 0..tensor.rows() {
        tensor.read_row_f32(row, &mut values).unwrap();
        let factor = change.factor.map_or(1.0, |of| of(tensor.name(), row));
        for value in &mut values {
            *value *= factor;
            if change.is_inverse && *value != 0.0 {
                *value = 1.0 / *value;
            }
        }
        quantize::row(kind, &values, &mut bytes).unwrap();
    }
    bytes
}

fn model(path: &Path, setup: Setup) -> Model {
    Model::load(path, &setup.options()).unwrap()
}

fn logits(path: &Path, setup: Setup, tokens: &[u32]) -> Vec<f32> {
    all_logits(
        &mut Engine::new(Arc::new(model(path, setup))).unwrap(),
        tokens,
    )
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn by(scales: ActivationScales) -> Setup {
    Setup {
        activation_scales: Some(scales),
        ..Setup::default()
    }
}

/// Configuration and notes of a file that is not loaded.
fn look(path: &Path) -> (tern_runtime::Config, String) {
    let summary = inspect(path, &Setup::default().options()).unwrap();
    (summary.config, summary.notes.join("\n"))
}

fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "\"{part}\" is not in: {message}");
    }
}

/// Matrices of 256 and 640 columns, so that one scale for a position and one for each 128 columns are not the same.
#[test]
fn how_activations_are_rounded_is_found_in_the_scales() {
    let temporary = tempfile::tempdir().unwrap();
    let own = converted("llama-bitnet-tiny", temporary.path());
    let foreign = Change {
        drop: &[OWN],
        kind: Some(|_| TensorType::F32),
        ..Change::default()
    };
    let prompts = prompts("llama-bitnet-tiny");
    let prompt = prompts.iter().find(|prompt| prompt.name == "p33").unwrap();
    let expected = Expected::read("llama-bitnet-tiny").floats("logits.p33");
    let file = changed(&own, foreign);
    let found = logits(&file, Setup::default(), &prompt.tokens);
    let (right, wrong) = (
        distance(&found, &expected),
        distance(
            &logits(&file, by(ActivationScales::Groups), &prompt.tokens),
            &expected,
        ),
    );
    eprintln!("logits by token are off by {right:.1e}, by groups by {wrong:.1e}");
    assert!(right < 1e-3 && wrong > 0.05, "{right} {wrong}");
    let warnings = model(&file, Setup::default()).warnings().join("\n");
    says(
        &warnings,
        &[
            "a guess",
            "does not say how activations are rounded",
            "--act-scales groups",
        ],
    );
    // What the user says is no guess.
    for scales in [ActivationScales::Token, ActivationScales::Groups] {
        let model = model(&file, by(scales));
        assert_eq!(model.config().quantization.activations, scales);
        assert!(model.warnings().is_empty(), "{:?}", model.warnings());
    }
    let in_blocks = Change {
        kind: Some(|tensor| match tensor.cols() {
            256 => TensorType::Tq2_0,
            _ => TensorType::Q4_0,
        }),
        ..foreign
    };
    let (config, notes) = look(&changed(&own, in_blocks));
    assert_eq!(config.quantization.activations, ActivationScales::Token);
    says(&notes, &["a guess", "--act-scales groups"]);
    let sharded = Change {
        factor: Some(|name, row| match (name, row) {
            ("blk.3.ffn_down.weight", 128..) => 2.0,
            _ => 1.0,
        }),
        ..foreign
    };
    let (config, notes) = look(&changed(&own, sharded));
    assert_eq!(config.quantization.activations, ActivationScales::Groups);
    says(&notes, &["a guess", "--act-scales token"]);
    let i2_s = Change {
        drop: &[OWN],
        ..Change::default()
    };
    let model = model(&changed(&own, i2_s), Setup::default());
    let activations = model.config().quantization.activations;
    assert_eq!(activations, ActivationScales::Token);
    assert!(model.warnings().is_empty(), "{:?}", model.warnings());
}

fn pack_file(source: &Path, reading: ReadOptions, to: &Path) -> Result<u64, String> {
    let mut file = fs::File::create(to).unwrap();
    let planner = Setup::default().options().planner;
    let packed = pack(source, reading, &planner, 1, &mut file, &mut |_, _| true);
    packed.map_err(|error| error.to_string())
}

/// Folders and packed models too, whatever their scales are.
#[test]
fn activations_are_rounded_as_the_user_says() {
    let temporary = tempfile::tempdir().unwrap();
    let packed = temporary.path().join("model.tern");
    let tokens = [1, 5, 2, 80, 3, 13, 4, 77, 42];
    // Scales that divide, scales that multiply, scales by groups.
    for fixture in [
        "llama-bitnet-tiny",
        "bitnet-tiny-packed",
        "architectures/qwen3-groups",
    ] {
        pack_file(&folder(fixture), ReadOptions::default(), &packed).unwrap();
        let both = [ActivationScales::Token, ActivationScales::Groups].map(|scales| {
            let found = logits(&folder(fixture), by(scales), &tokens);
            let of_packed = logits(&packed, by(scales), &tokens);
            assert_eq!(bits(&found), bits(&of_packed), "{fixture} {scales:?}");
            found
        });
        let distance = distance(&both[0], &both[1]);
        assert!(distance > 1e-3 && distance < 2.0, "{fixture}: {distance}");
    }
}

#[test]
fn divisors_go_with_one_scale_for_a_position() {
    let temporary = tempfile::tempdir().unwrap();
    let own = converted("llama-bitnet-tiny", temporary.path());
    let both = Change {
        drop: &["tern.activation_scales"],
        text: &[("tern.activation_scales", "groups")],
        ..Change::default()
    };
    let error = Model::load(&changed(&own, both), &Setup::default().options());
    let error = error.err().unwrap().to_string();
    says(
        &error,
        &["tern.weight_divisors", "tern.activation_scales", "groups"],
    );
}

/// The vocabulary tells the published models apart, whatever a converter calls their architecture.
#[test]
fn the_activation_follows_the_vocabulary() {
    let temporary = tempfile::tempdir().unwrap();
    let own = converted("architectures/bitnet-first", temporary.path());
    let found = |name, rows, text: &[(&str, &str)]| {
        let change = Change {
            name: Some(name),
            drop: &[OWN, "bitnet.hidden_activation", "bitnet.vocab_size"],
            rows: Some(rows),
            text,
            ..Change::default()
        };
        let (config, notes) = look(&changed(&own, change));
        (config.activation, notes)
    };
    for name in ["bitnet", "bitnet-25", "bitnet-b1.58"] {
        let (activation, notes) = found(name, 128_256, &[]);
        assert_eq!(activation, Activation::Relu2, "{name}");
        assert!(!notes.contains("a guess"), "{notes}");
        let (activation, notes) = found(name, 32_002, &[]);
        assert_eq!(activation, Activation::Silu, "{name}");
        assert!(!notes.contains("a guess"), "{notes}");
        let (activation, notes) = found(name, 97, &[("tokenizer.ggml.model", "llama")]);
        assert_eq!(activation, Activation::Silu, "{name}");
        says(&notes, &["a guess", "--ffn-act relu2"]);
        // Another vocabulary: the name is all there is, and may be wrong.
        let (activation, notes) = found(name, 97, &[]);
        let (expected, other) = match name {
            "bitnet" => (Activation::Silu, "--ffn-act relu2"),
            _ => (Activation::Relu2, "--ffn-act silu"),
        };
        assert_eq!(activation, expected, "{name}");
        says(&notes, &["a guess", name, other]);
    }
}

#[test]
fn scales_that_may_be_inverted_are_warned_of() {
    let temporary = tempfile::tempdir().unwrap();
    let own = converted("architectures/bitnet-first", temporary.path());
    let notes = |name, drop: &[&str]| {
        let change = Change {
            name: Some(name),
            drop,
            rows: Some(128_256),
            ..Change::default()
        };
        look(&changed(&own, change)).1
    };
    let doubt = "suspicious: BitNet b1.58 2B4T as \"bitnet\"";
    says(&notes("bitnet", &[OWN]), &[doubt, "--weight-scales divide"]);
    assert!(!notes("bitnet", &[]).contains(doubt));
    assert!(!notes("bitnet-b1.58", &[OWN]).contains(doubt));
    // Converted it is as doubtful as before, until the user says something.
    let doubtful = Change {
        name: Some("bitnet"),
        drop: &[OWN],
        rows: Some(128_256),
        ..Change::default()
    };
    let (source, to) = (changed(&own, doubtful), temporary.path().join("to.gguf"));
    to_file(&source, ReadOptions::default(), &to);
    says(&look(&to).1, &[doubt, "--weight-scales divide"]);
    let said = ReadOptions {
        weight_scales: Some(ScaleRule::Multiply),
        ..ReadOptions::default()
    };
    to_file(&source, said, &to);
    assert!(!look(&to).1.contains(doubt));
}

/// The scales that divide stand beside those of the file's types, which multiply.
#[test]
fn scales_multiply_where_the_user_says_so() {
    let temporary = tempfile::tempdir().unwrap();
    let own = converted("architectures/llama-scaled", temporary.path());
    assert!(keys(&own).iter().any(|key| key == "tern.weight_divisors"));
    let tokens = [1, 5, 2, 80, 3, 13, 4, 77, 42];
    let multiply = Setup {
        weight_scales: Some(ScaleRule::Multiply),
        ..Setup::default()
    };
    let expected = logits(&own, Setup::default(), &tokens);
    let found = distance(&logits(&own, multiply, &tokens), &expected);
    assert!(found < 1e-3, "{found}");
}

/// TriLM was trained with float activations in all sizes, also those with one scale for a matrix.
#[test]
fn the_vocabulary_of_trilm_says_how_activations_are_rounded() {
    let temporary = tempfile::tempdir().unwrap();
    let own = converted("llama-bitnet-tiny", temporary.path());
    let foreign = Change {
        drop: &[OWN, "tokenizer."],
        text: &[("tokenizer.ggml.model", "gpt2")],
        tokens: &["<|endoftext|>", "<|padding|>", "!"],
        ..Change::default()
    };
    let (config, notes) = look(&changed(&own, foreign));
    assert_eq!(config.quantization.activations, ActivationScales::Groups);
    says(&notes, &["TriLM"]);
    assert!(!notes.contains("a guess: the file"), "{notes}");
}

#[test]
fn inverted_scales_divide_where_the_user_says_so() {
    let temporary = tempfile::tempdir().unwrap();
    let own = converted("bitnet-tiny-packed", temporary.path());
    let tokens = [1, 5, 2, 80, 3, 13, 4, 77, 42];
    let expected = logits(&folder("bitnet-tiny-packed"), Setup::default(), &tokens);
    let inverted = Change {
        drop: &[OWN],
        kind: Some(|_| TensorType::F32),
        is_inverse: true,
        ..Change::default()
    };
    let file = changed(&own, inverted);
    let divide = || Setup {
        weight_scales: Some(ScaleRule::Divide),
        ..Setup::default()
    };
    let right = distance(&logits(&file, divide(), &tokens), &expected);
    let wrong = distance(&logits(&file, Setup::default(), &tokens), &expected);
    eprintln!(
        "logits of dividing scales are off by {right:.1e}, of multiplying ones by {wrong:.1e}"
    );
    assert!(right < 1e-3 && wrong > 0.1, "{right} {wrong}");
}

/// What was guessed stands in config.json as a fact.
#[test]
fn convert_says_what_it_guessed() {
    let temporary = tempfile::tempdir().unwrap();
    let to = temporary.path().join("folder");
    fs::create_dir(&to).unwrap();
    let source = folder("gguf").join("bitnet-25.gguf");
    let reading = ReadOptions::default();
    let converted = to_folder(&source, reading, &to, &mut |_, _| true).unwrap();
    let notes = converted.notes.join("\n");
    says(&notes, &["a guess", "relu2", "--ffn-act silu"]);
}

fn to_file(source: &Path, reading: ReadOptions, to: &Path) -> Converted {
    let (mut bytes, kind) = (Vec::new(), TernaryType::Exact);
    let converted = to_gguf(source, reading, kind, &mut bytes, &mut |_, _| true).unwrap();
    fs::write(to, bytes).unwrap();
    converted
}

fn keys(path: &Path) -> Vec<String> {
    let gguf = Gguf::open(path).unwrap();
    let metadata = gguf.metadata();
    let keys = metadata.iter().map(|(key, _)| key.to_owned());
    keys.collect()
}

/// Each file has one guess. It is one again in the file that is made of it, or a fact where the user says so.
#[test]
fn convert_keeps_guesses_open_and_states_what_the_user_says() {
    let temporary = tempfile::tempdir().unwrap();
    let to = temporary.path().join("new.gguf");
    let tokens = [1, 5, 2, 80, 3, 13, 4, 77, 42];
    let silu = ReadOptions {
        activation: Some(Activation::Silu),
        ..ReadOptions::default()
    };
    let groups = ReadOptions {
        activation_scales: Some(ActivationScales::Groups),
        ..ReadOptions::default()
    };
    for (file, key, said) in [
        ("bitnet-25.gguf", "hidden_activation", silu),
        ("qwen3.gguf", "tern.activation_scales", groups),
    ] {
        let source = folder("gguf").join(file);
        let has_key = || keys(&to).iter().any(|found| found.ends_with(key));
        let guess = model(&source, Setup::default()).warnings().to_vec();
        let converted = to_file(&source, ReadOptions::default(), &to);
        assert_eq!(converted.notes[..1], guess, "{file}");
        assert!(!has_key(), "{file}");
        let again = model(&to, Setup::default());
        assert_eq!(again.warnings().len(), 1, "{file}");
        says(&again.warnings()[0], &["a guess"]);
        let guessed = logits(&source, Setup::default(), &tokens);
        let found = logits(&to, Setup::default(), &tokens);
        assert_eq!(bits(&found), bits(&guessed), "{file}");

        let setup = || Setup {
            activation: said.activation,
            activation_scales: said.activation_scales,
            ..Setup::default()
        };
        let converted = to_file(&source, said, &to);
        let notes = converted.notes.join("\n");
        assert!(!notes.contains("a guess"), "{file}: {notes}");
        assert!(has_key(), "{file}");
        let stated = model(&to, Setup::default());
        assert!(stated.warnings().is_empty(), "{:?}", stated.warnings());
        let expected = logits(&source, setup(), &tokens);
        let found = logits(&to, Setup::default(), &tokens);
        assert_eq!(bits(&found), bits(&expected), "{file}");
        assert_ne!(bits(&found), bits(&guessed), "{file}");

        let packed = temporary.path().join("model.tern");
        pack_file(&source, said, &packed).unwrap();
        let found = logits(&packed, Setup::default(), &tokens);
        assert_eq!(bits(&found), bits(&expected), "{file}, packed");
    }
}

/// The user's word about weight scales goes into every kind of file.
#[test]
fn dividing_scales_are_written_as_the_user_says() {
    let temporary = tempfile::tempdir().unwrap();
    let own = converted("bitnet-tiny-packed", temporary.path());
    let tokens = [1, 5, 2, 80, 3, 13, 4, 77, 42];
    let change = Change {
        drop: &[OWN],
        kind: Some(|_| TensorType::F32),
        is_inverse: true,
        ..Change::default()
    };
    let source = changed(&own, change);
    let reading = ReadOptions {
        weight_scales: Some(ScaleRule::Divide),
        ..ReadOptions::default()
    };
    let divide = Setup {
        weight_scales: reading.weight_scales,
        ..Setup::default()
    };
    let expected = bits(&logits(&source, divide, &tokens));
    let [file, packed, to] =
        ["new.gguf", "model.tern", "folder"].map(|name| temporary.path().join(name));
    to_file(&source, reading, &file);
    pack_file(&source, reading, &packed).unwrap();
    fs::create_dir(&to).unwrap();
    to_folder(&source, reading, &to, &mut |_, _| true).unwrap();
    for path in [file, packed, to] {
        let found = logits(&path, Setup::default(), &tokens);
        assert_eq!(bits(&found), expected, "{}", path.display());
    }
}

/// A configuration that cannot say it would be another model.
#[test]
fn scales_that_no_configuration_says_are_not_packed() {
    let temporary = tempfile::tempdir().unwrap();
    let reading = ReadOptions {
        activation_scales: Some(ActivationScales::Groups),
        ..ReadOptions::default()
    };
    for fixture in ["bitnet-tiny-packed", "llama-bitnet-tiny"] {
        let packed = temporary.path().join("model.tern");
        let error = pack_file(&folder(fixture), reading, &packed).unwrap_err();
        says(&error, &[fixture, "--act-scales"]);
    }
    let source = folder("bitnet-tiny-packed");
    let error = to_folder(&source, reading, temporary.path(), &mut |_, _| true);
    says(&error.unwrap_err().to_string(), &["--act-scales"]);
}

/// Where scales divide and matrices are floats the divisors are in the file, and where they cannot be the report says what is rounded.
#[test]
fn scales_that_divide_stay_as_they_are_in_floats_too() {
    let temporary = tempfile::tempdir().unwrap();
    let to = temporary.path().join("new.gguf");
    let tokens = [1, 5, 2, 80, 3, 13, 4, 77, 42];
    for fixture in ["architectures/llama-scaled", "architectures/qwen3-packed"] {
        let converted = to_file(&folder(fixture), ReadOptions::default(), &to);
        assert!(
            converted.matrices.iter().any(|(kind, _)| kind == "F32"),
            "{fixture}: {:?}",
            converted.matrices
        );
        assert_eq!(converted.largest_scale_error, 0.0, "{fixture}");
        let expected = logits(&folder(fixture), Setup::default(), &tokens);
        let found = logits(&to, Setup::default(), &tokens);
        assert_eq!(bits(&found), bits(&expected), "{fixture}");
    }
    // By groups nothing divides, and tern inverts the scales of a folder, too.
    let groups = ReadOptions {
        activation_scales: Some(ActivationScales::Groups),
        ..ReadOptions::default()
    };
    let source = folder("architectures/llama-scaled");
    let converted = to_file(&source, groups, &to);
    let error = converted.largest_scale_error;
    assert!(error > 0.0 && error < 1e-7, "{error}");
    says(
        &converted.notes.join("\n"),
        &["scales that divide", "inverse", &format!("{error:.1e}")],
    );
    let expected = logits(&source, by(ActivationScales::Groups), &tokens);
    let found = logits(&to, Setup::default(), &tokens);
    assert_eq!(bits(&found), bits(&expected));
}

/// In any layer, in norms and in the embedding.
#[test]
fn inspect_finds_damage_everywhere() {
    let temporary = tempfile::tempdir().unwrap();
    let own = converted("llama-bitnet-tiny", temporary.path());
    let nan = f32::NAN.to_le_bytes();
    let notes = |tensor, at, bytes: &[u8]| {
        let change = Change {
            damage: Some((tensor, at, bytes)),
            ..Change::default()
        };
        look(&changed(&own, change)).1
    };
    let found = notes("blk.1.ffn_up.weight", 256 / 4 * 130 + 7, &[0xff]);
    says(
        &found,
        &[
            "suspicious: blk.1.ffn_up.weight",
            "4 weights with code 3",
            "row 130, column 7",
        ],
    );
    for (tensor, at) in [("blk.3.ffn_norm.weight", 8), ("output_norm.weight", 0)] {
        let found = notes(tensor, at, &nan);
        says(
            &found,
            &[&format!(
                "suspicious: {tensor} has 1 numbers that are not finite"
            )],
        );
    }
    // bf16, whose NaN has the upper bytes.
    let found = notes("token_embd.weight", 2 * 256 * 80, &nan[2..]);
    says(&found, &["suspicious: token_embd.weight has 1 numbers"]);
    let in_blocks = Change {
        kind: Some(|tensor| match tensor.cols() {
            256 => TensorType::Tq2_0,
            _ => TensorType::Q4_0,
        }),
        damage: Some(("blk.2.attn_v.weight", 64, &[0, 0x7e])),
        drop: &[OWN],
        ..Change::default()
    };
    let found = look(&changed(&own, in_blocks)).1;
    says(
        &found,
        &["suspicious: blk.2.attn_v.weight (TQ2_0) has 1 scales"],
    );
    let healthy = look(&changed(&own, Change::default())).1;
    assert!(!healthy.contains("suspicious"), "{healthy}");
}

/// A folder refuses a scale of 0, too.
#[test]
fn a_scale_of_zero_is_refused_where_weights_are_not_zero() {
    let temporary = tempfile::tempdir().unwrap();
    let own = converted("bitnet-tiny-packed", temporary.path());
    let scale = Gguf::open(&own)
        .unwrap()
        .tensor("blk.2.attn_v.weight")
        .unwrap()
        .data()
        .len()
        - 32;
    let zero = Change {
        drop: &[OWN],
        damage: Some(("blk.2.attn_v.weight", scale, &[0; 4])),
        ..Change::default()
    };
    let error = Model::load(&changed(&own, zero), &Setup::default().options());
    let error = error.err().unwrap().to_string();
    says(&error, &["blk.2.attn_v.weight", "scale 0"]);
}

#[test]
fn messages_about_text_speak_of_metadata() {
    let temporary = tempfile::tempdir().unwrap();
    let own = converted("llama-bitnet-tiny", temporary.path());
    let without = Change {
        drop: &["tokenizer."],
        ..Change::default()
    };
    let found = model(&changed(&own, without), Setup::default());
    let error = found.tokenizer().err().unwrap().to_string();
    says(&error, &["no tokenizer.ggml.tokens", "token ids"]);
    let fewer = Change {
        drop: &["llama.vocab_size"],
        rows: Some(500),
        ..Change::default()
    };
    // The head is a matrix of its own here, so a tied model's file.
    let own = converted("bitnet-tiny-packed", temporary.path());
    let error = Model::load(&changed(&own, fewer), &Setup::default().options());
    let error = error.err().unwrap().to_string();
    says(&error, &["500 rows", "token_embd.weight", "another model"]);
}

/// As llama.cpp writes it where a model has no such token.
#[test]
fn an_id_below_zero_is_no_token() {
    let temporary = tempfile::tempdir().unwrap();
    let own = converted("bitnet-tiny-packed", temporary.path());
    let none = Change {
        drop: &[
            "tokenizer.ggml.eos_token_id",
            "tokenizer.ggml.eot_token_id",
            "tokenizer.ggml.padding_token_id",
        ],
        id: &[
            ("tokenizer.ggml.eos_token_id", -1),
            ("tokenizer.ggml.eot_token_id", -1),
            ("tokenizer.ggml.padding_token_id", -1),
        ],
        ..Change::default()
    };
    let found = model(&changed(&own, none), Setup::default());
    assert!(found.config().eos_token_ids.is_empty());
    says(
        &found.warnings().join("\n"),
        &[
            "tokenizer.ggml.eos_token_id is -1",
            "padding_token_id is -1",
            "ignored",
        ],
    );
}
