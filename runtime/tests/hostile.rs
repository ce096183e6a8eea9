//! Damaged, foreign and malicious files: each gives one clear error, never a panic.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use common::{Files, Setup, all_logits, bits, engine, folder, prompts};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize};
use serde_json::{Value, json};
use tern_runtime::{
    Engine, KvType, Logits, Model, ModelBytes, StepError, Tokenizer, Work, inspect,
};

/// The smallest model.
const FIXTURE: &str = "bitnet-odd-packed";

fn files() -> Files {
    Files::read(FIXTURE)
}

/// Asserts that a message holds every one of some words.
#[track_caller]
fn says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
    assert!(
        message.lines().count() == 1 && message.len() < 500,
        "{message}"
    );
}

#[test]
fn undamaged_files_load() {
    assert!(files().load().is_ok());
}

#[test]
fn config_values_out_of_range_are_named() {
    let cases: &[(&str, Value, &[&str])] = &[
        (
            "hidden_size",
            json!(null),
            &["\"hidden_size\" is missing", "integer"],
        ),
        ("hidden_size", json!(0), &["\"hidden_size\" is 0", "from 1"]),
        ("hidden_size", json!(-4), &["\"hidden_size\" is -4"]),
        ("hidden_size", json!("320"), &["\"hidden_size\" is \"320\""]),
        (
            "hidden_size",
            json!(1e18),
            &["\"hidden_size\" is 1e+18", "131071"],
        ),
        ("hidden_size", json!(322), &["divisor of hidden_size, 322"]),
        (
            "intermediate_size",
            json!(0),
            &["\"intermediate_size\" is 0"],
        ),
        (
            "intermediate_size",
            json!(866),
            &["866 rows", "multiple of 4"],
        ),
        (
            "num_hidden_layers",
            json!(0),
            &["\"num_hidden_layers\" is 0"],
        ),
        (
            "num_hidden_layers",
            json!(99_999_999_u64),
            &["99999999", "from 1 to 4096"],
        ),
        (
            "num_attention_heads",
            json!(0),
            &["\"num_attention_heads\" is 0"],
        ),
        (
            "num_key_value_heads",
            json!(2),
            &["\"num_key_value_heads\" is 2", "divisor", "5"],
        ),
        (
            "num_key_value_heads",
            json!(0),
            &["\"num_key_value_heads\" is 0"],
        ),
        ("head_dim", json!(63), &["\"head_dim\" is 63", "even"]),
        ("vocab_size", json!(0), &["\"vocab_size\" is 0"]),
        (
            "max_position_embeddings",
            json!(0),
            &["\"max_position_embeddings\" is 0"],
        ),
        ("rms_norm_eps", json!(-1), &["\"rms_norm_eps\" is -1"]),
        ("rms_norm_eps", json!(0), &["\"rms_norm_eps\" is 0"]),
        (
            "rope_parameters.rope_theta",
            json!(0.5),
            &["\"rope_parameters.rope_theta\" is 0.5"],
        ),
        (
            "eos_token_id",
            json!("x"),
            &["\"eos_token_id\" is \"x\"", "list of token ids"],
        ),
        (
            "tie_word_embeddings",
            json!(1),
            &["\"tie_word_embeddings\" is 1", "true or false"],
        ),
        (
            "quantization_config",
            json!(7),
            &["\"quantization_config\" is 7", "an object"],
        ),
    ];
    for (key, value, words) in cases {
        says(
            &files().set(key, value.clone()).error(),
            &[*words, &["config.json"]].concat(),
        );
    }
}

#[test]
fn models_that_tern_does_not_run_are_refused_by_name() {
    let cases: &[(&str, Value, &[&str])] = &[
        (
            "model_type",
            json!("mistral"),
            &["\"mistral\"", "\"llama\""],
        ),
        ("model_type", json!(null), &["\"model_type\" is missing"]),
        (
            "architectures",
            json!(["BitNetForTokens"]),
            &["BitNetForTokens", "BitNetForCausalLM"],
        ),
        ("architectures", json!([]), &["\"architectures\""]),
        (
            "hidden_act",
            json!("gelu"),
            &["hidden_act \"gelu\"", "relu2"],
        ),
        (
            "attention_bias",
            json!(true),
            &["attention_bias true", "without bias"],
        ),
        ("mlp_bias", json!(true), &["mlp_bias true"]),
        (
            "rope_parameters.rope_type",
            json!("longrope"),
            &["longrope", "default"],
        ),
        (
            "rope_scaling",
            json!({"type": "dynamic", "factor": 2}),
            &["dynamic", "default"],
        ),
        (
            "partial_rotary_factor",
            json!(0.5),
            &["partial_rotary_factor"],
        ),
        (
            "quantization_config",
            json!(null),
            &["\"quantization_config\" is missing", "ternary"],
        ),
        (
            "quantization_config.quant_method",
            json!("gptq"),
            &["gptq", "bitnet"],
        ),
        (
            "quantization_config.quant_method",
            json!(null),
            &["quant_method\" is missing"],
        ),
        (
            "quantization_config.linear_class",
            json!("other"),
            &["linear_class", "autobitlinear"],
        ),
        (
            "quantization_config.quantization_mode",
            json!("x"),
            &["quantization_mode", "offline"],
        ),
        (
            "quantization_config.modules_to_not_convert",
            json!(["mlp"]),
            &["\"mlp\"", "ternary"],
        ),
        (
            "quantization_config.modules_to_not_convert",
            json!([]),
            &["without \"lm_head\""],
        ),
        (
            "quantization_config.modules_to_not_convert",
            json!(5),
            &["is 5", "list"],
        ),
    ];
    for (key, value, words) in cases {
        says(
            &files().set(key, value.clone()).error(),
            &[*words, &["config.json"]].concat(),
        );
    }
    let harmless = json!(["lm_head", "model.embed_tokens"]);
    assert!(
        files()
            .set("quantization_config.modules_to_not_convert", harmless)
            .load()
            .is_ok()
    );
}

#[test]
fn files_that_are_not_json_are_named() {
    for (config, word) in [
        ("", "EOF"),
        ("[1]", "found [1]"),
        ("{\"a\":", "EOF"),
        ("\u{1}", "line 1"),
    ] {
        let files = Files {
            config: config.as_bytes().to_vec(),
            ..files()
        };
        says(&files.error(), &["config.json", "not a JSON object", word]);
    }
    let files = Files {
        generation_config: b"{\"eos_token_id\": {}}".to_vec(),
        ..files()
    };
    says(&files.error(), &["generation_config.json", "eos_token_id"]);
    let files = Files {
        tokenizer: b"{}".to_vec(),
        ..self::files()
    };
    says(
        &files.error(),
        &["tokenizer.json", "not a usable tokenizer"],
    );
}

/// A terminal shows messages, so a file must not be able to put control characters into them.
#[test]
fn messages_hold_no_control_characters() {
    let message = files()
        .set("model_type", json!("\u{1b}[2Jx\n".repeat(100)))
        .error();
    assert!(
        !message.contains(char::is_control) && message.len() < 300,
        "{message:?}"
    );
}

#[test]
fn truncated_weights_are_named_wherever_they_end() {
    let whole = files().weights;
    let header = 8 + u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let mut ends: Vec<usize> = (0..40).map(|i| i * whole.len() / 40).collect();
    ends.extend([1, 7, 8, 9, header - 1, header, header + 1, whole.len() - 1]);
    for end in ends {
        let message = Files {
            weights: whole[..end].to_vec(),
            ..files()
        }
        .error();
        let expected = if end == 0 {
            "the file is empty"
        } else {
            "truncated: it has"
        };
        says(&message, &["model.safetensors", expected, "download"]);
    }
    let longer = [whole.as_slice(), &[0; 5]].concat();
    says(
        &Files {
            weights: longer,
            ..files()
        }
        .error(),
        &["model.safetensors", "damaged"],
    );
}

#[test]
fn foreign_weights_are_named() {
    let replace = |weights: &[u8]| {
        Files {
            weights: weights.to_vec(),
            ..files()
        }
        .error()
    };
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    says(
        &replace(pointer),
        &["model.safetensors", "Git LFS pointer", "git lfs pull"],
    );
    says(&replace(b"<!DOCTYPE html><html></html>"), &["<!DOCTYPE"]);
    let gguf = b"GGUF\x03\0\0\0\x02\0\0\0\0\0\0\0{";
    says(&replace(gguf), &["GGUF file", "name the file itself"]);
    let mut huge = files().weights;
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    says(
        &replace(&huge),
        &["header of 18446744073709551615 bytes", "100000000"],
    );
    huge[..8].copy_from_slice(&90_000_000_u64.to_le_bytes());
    says(&replace(&huge), &["truncated", "header", "90000008"]);
    let header = |json: &str| [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat();
    says(&replace(&header("{\"a\": 1}")), &["damaged", "\"a\""]);
    says(&replace(&header("{oops")), &["damaged"]);
    says(
        &replace(&header("{}")),
        &["model.embed_tokens.weight", "missing"],
    );
    // Sizes whose products and sums overflow.
    let entry = |shape: &str, offsets: &str| {
        replace(&header(&format!(
            "{{\"a\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}"
        )))
    };
    let huge = "[18446744073709551615,18446744073709551615]";
    says(&entry(huge, "[0,0]"), &["damaged"]);
    says(
        &entry("[4611686018427387903]", "[0,18446744073709551612]"),
        &["truncated", "\"a\""],
    );
    says(&entry("[1]", "[4,0]"), &["damaged"]);
    says(&entry("[1]", "[-1,3]"), &["damaged", "\"a\""]);
}

/// A tensor that a test may change.
#[derive(Clone)]
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

fn read_tensors(weights: &[u8]) -> HashMap<String, Tensor> {
    let tensors = SafeTensors::deserialize(weights).unwrap();
    let tensor = |(name, view): (String, TensorView<'_>)| {
        let (dtype, shape, data) = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        (name, Tensor { dtype, shape, data })
    };
    tensors.tensors().into_iter().map(tensor).collect()
}

fn write_tensors(tensors: &HashMap<String, Tensor>) -> Vec<u8> {
    let view = |(name, tensor): (&String, &'_ Tensor)| {
        let Tensor { dtype, shape, .. } = tensor.clone();
        (name.clone(), (dtype, shape, tensor.data.clone()))
    };
    let owned: Vec<_> = tensors.iter().map(view).collect();
    let views = owned.iter().map(|(name, (dtype, shape, data))| {
        (
            name.as_str(),
            TensorView::new(*dtype, shape.clone(), data).unwrap(),
        )
    });
    serialize(views, None).unwrap()
}

fn changed(change: impl FnOnce(&mut HashMap<String, Tensor>)) -> Files {
    let mut files = files();
    let mut tensors = read_tensors(&files.weights);
    change(&mut tensors);
    files.weights = write_tensors(&tensors);
    files
}

#[test]
fn missing_and_misshapen_tensors_are_named() {
    const Q: &str = "model.layers.1.self_attn.q_proj.weight";
    let files = files().set("num_hidden_layers", json!(4));
    says(
        &files.error(),
        &[
            "\"model.layers.3.self_attn.q_proj.weight\" is missing",
            "320x320",
        ],
    );
    for name in read_tensors(&self::files().weights).keys() {
        let files = changed(|tensors| drop(tensors.remove(name)));
        says(
            &files.error(),
            &[&format!("\"{name}\" is missing"), "configuration"],
        );
    }
    let files = changed(|tensors| tensors.get_mut(Q).unwrap().shape = vec![160, 160]);
    says(&files.error(), &[Q, "[160, 160]", "[80, 320]"]);
    let files = changed(|tensors| tensors.get_mut(Q).unwrap().dtype = Dtype::I8);
    says(&files.error(), &[Q, "I8", "u8"]);
    let files = changed(|tensors| {
        tensors.get_mut("model.norm.weight").unwrap().dtype = Dtype::I16;
    });
    says(&files.error(), &["model.norm.weight", "I16", "bf16"]);
    let files = changed(|tensors| {
        let bias = Tensor {
            dtype: Dtype::F32,
            shape: vec![1],
            data: vec![0; 4],
        };
        tensors.insert(Q.replace("weight", "bias"), bias);
    });
    says(&files.error(), &["q_proj.bias", "without bias"]);
}

/// What is not read and could change the result is refused in every layer and outside of them; what is known to change nothing is not.
#[test]
fn tensors_that_the_model_does_not_read_are_named() {
    let with = |name: &str, tensor: Option<&str>| {
        changed(|tensors| {
            let tensor = match tensor {
                Some(same) => tensors[same].clone(),
                None => Tensor {
                    dtype: Dtype::F32,
                    shape: vec![1],
                    data: vec![0; 4],
                },
            };
            tensors.insert(name.to_owned(), tensor);
        })
    };
    for (name, reason) in [
        ("model.layers.1.self_attn.q_norm.weight", "no such norm"),
        ("model.layers.1.input_layernorm.bias", "norms without bias"),
        ("model.layers.2.mlp.up_proj.bias", "layers without bias"),
        ("model.layers.1.mlp.up_proj.norm.weight", "not run"),
        ("model.layers.1.mlp.up_proj.rms_norm.weight", "not run"),
        ("model.layers.99.mlp.up_proj.weight", "beyond"),
        ("model.layers.1.self_attn.sinks", "does not know"),
        ("model.norm.bias", "without bias"),
        ("model.embed_positions.weight", "does not know"),
        ("lm_head.bias", "without bias"),
        ("lm_head.weight", "tie_word_embeddings"),
        ("score.weight", "does not know"),
    ] {
        says(&with(name, None).error(), &[name, "not supported", reason]);
    }
    for name in [
        "model.rotary_emb.inv_freq",
        "model.layers.1.self_attn.rotary_emb.inv_freq",
    ] {
        drop(with(name, None).load().unwrap());
    }
    let twice = with("lm_head.weight", Some("model.embed_tokens.weight"));
    drop(twice.load().unwrap());
}

#[test]
fn impossible_values_are_named() {
    const DOWN: &str = "model.layers.2.mlp.down_proj.weight";
    let files = changed(|tensors| tensors.get_mut(DOWN).unwrap().data[864 * 3] |= 0b11_00_00);
    says(&files.error(), &[DOWN, "row 163", "0, 1 and 2"]);
    for scale in [f32::NAN, f32::INFINITY, 0.0, -1.0] {
        let files = changed(|tensors| {
            let name = DOWN.replace("weight", "weight_scale");
            let data = scale.to_le_bytes().to_vec();
            tensors.insert(
                name,
                Tensor {
                    dtype: Dtype::F32,
                    shape: vec![1],
                    data,
                },
            );
        });
        says(
            &files.error(),
            &["down_proj.weight_scale", &scale.to_string(), "above zero"],
        );
    }
    let mut masters = Files::read("bitnet-tiny-bf16");
    let mut tensors = read_tensors(&masters.weights);
    let q = tensors
        .get_mut("model.layers.0.self_attn.q_proj.weight")
        .unwrap();
    q.data[..2].copy_from_slice(&[0xc0, 0x7f]);
    masters.weights = write_tensors(&tensors);
    says(
        &masters.error(),
        &["layers.0.self_attn.q_proj.weight", "finite"],
    );
}

/// The same trits as floats: what an unpacked offline checkpoint holds.
#[test]
fn unpacked_trits_are_read_and_checked() {
    const O: &str = "model.layers.0.self_attn.o_proj.weight";
    let unpack = |odd: f32| {
        changed(|tensors| {
            let packed = &tensors[O].data;
            let trit = |row: usize, col: usize| {
                f32::from(packed[row % 80 * 320 + col] >> (2 * (row / 80)) & 3) - 1.0
            };
            let mut values: Vec<f32> = (0..320 * 320).map(|i| trit(i / 320, i % 320)).collect();
            values[321] += odd;
            let data = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            tensors.insert(
                O.to_owned(),
                Tensor {
                    dtype: Dtype::F32,
                    shape: vec![320, 320],
                    data,
                },
            );
        })
    };
    let tokens = &prompts(FIXTURE)[1].tokens;
    let mut unpacked = Engine::new(std::sync::Arc::new(unpack(0.0).load().unwrap())).unwrap();
    let found = bits(&all_logits(&mut unpacked, tokens));
    assert_eq!(found, bits(&all_logits(&mut engine(FIXTURE), tokens)));
    says(&unpack(0.25).error(), &[O, "row 1", "-1, 0 or 1"]);
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let files = Files {
        tokenizer: Files::read("bitnet-tiny-packed").tokenizer,
        ..files()
    };
    says(
        &files.error(),
        &["tokenizer.json", "id 511", "257 rows", "another model"],
    );
}

#[test]
fn tokens_and_sequences_that_do_not_fit_are_refused() {
    let mut engine = engine(FIXTURE);
    let mut step = |mut sequence, tokens: &[u32]| {
        let work = Work {
            sequence: &mut sequence,
            tokens,
            logits: Logits::Last,
        };
        let error = engine.step(&mut [work]).map(drop).unwrap_err();
        assert!(sequence.is_empty());
        error
    };
    let model = files().load().unwrap();
    let range = StepError::TokenOutOfRange {
        token: 257,
        vocab_size: 257,
    };
    assert_eq!(step(model.sequence(), &[1, 257]), range);
    assert_eq!(step(model.sequence(), &[]), StepError::NoTokens);
    let full = StepError::ContextFull {
        length: 0,
        tokens: 4097,
        context: 4096,
    };
    assert_eq!(step(model.sequence(), &[0; 4097]), full);
    let other = Files::read("bitnet-tiny-packed").load().unwrap();
    assert_eq!(step(other.sequence(), &[1]), StepError::ForeignSequence);
    // One whose keys and values are kept in another way.
    let setup = Setup {
        kv: KvType::F16,
        ..Setup::default()
    };
    let other = setup.engine(FIXTURE).model().sequence();
    assert_eq!(step(other, &[1]), StepError::ForeignSequence);
}

fn load_error(folder: &Path) -> String {
    let options = Setup::default().options();
    let inspected = inspect(folder, &options).unwrap_err().to_string();
    let loaded = Model::load(folder, &options)
        .map(drop)
        .unwrap_err()
        .to_string();
    assert_eq!(inspected, loaded);
    loaded
}

#[test]
fn folders_with_missing_files_are_named() {
    let temp = tempfile::tempdir().unwrap();
    let copy = |name: &str| fs::copy(folder(FIXTURE).join(name), temp.path().join(name)).unwrap();
    says(
        &load_error(&temp.path().join("nowhere")),
        &["nowhere: no such file or folder", "model folder"],
    );
    says(
        &load_error(temp.path()),
        &["config.json", "Hugging Face model folder"],
    );
    for name in ["b.gguf", "a-00001-of-00002.gguf", "a-00002-of-00002.gguf"] {
        fs::write(temp.path().join(name), b"GGUF").unwrap();
    }
    says(
        &load_error(temp.path()),
        &["no config.json", "a-00001-of-00002.gguf", "file itself"],
    );
    copy("config.json");
    says(
        &load_error(temp.path()),
        &["model.safetensors", "safetensors file"],
    );
    let weights = temp.path().join("model.safetensors");
    fs::write(&weights, b"").unwrap();
    says(&load_error(temp.path()), &["model.safetensors", "empty"]);
    fs::remove_file(&weights).unwrap();
    fs::create_dir(&weights).unwrap();
    says(&load_error(temp.path()), &["model.safetensors"]);
    fs::remove_dir(&weights).unwrap();
    fs::write(&weights, b"GGUF\x03\0\0\0").unwrap();
    // A GGUF file under any name is one, here cut off.
    says(&load_error(&weights), &["model.safetensors", "truncated"]);
    fs::remove_file(&weights).unwrap();
    copy("model.safetensors");
    // A model without tokenizer runs on token ids.
    let model = Model::load(temp.path(), &Setup::default().options()).unwrap();
    let message = model.tokenizer().map(drop).unwrap_err().to_string();
    says(&message, &["no tokenizer.json", "token ids"]);
    let config = fs::File::create(temp.path().join("config.json")).unwrap();
    config.set_len(1 << 40).unwrap();
    says(
        &load_error(temp.path()),
        &["config.json", "1099511627776 bytes"],
    );
}

/// MLX writes its bits and groups into one key, or into both.
#[test]
fn weights_for_mlx_are_refused_by_name() {
    let mlx = serde_json::json!({"group_size": 128, "bits": 2});
    for key in ["quantization", "quantization_config"] {
        says(
            &files().set(key, mlx.clone()).error(),
            &[key, "Apple's MLX", "unpacked repository", "GGUF"],
        );
    }
}

/// Tensors that only later layers need are missed without loading.
#[test]
fn inspection_looks_at_every_tensor() {
    let temp = tempfile::tempdir().unwrap();
    let config = temp.path().join("config.json");
    fs::copy(folder(FIXTURE).join("config.json"), config).unwrap();
    for name in read_tensors(&files().weights).keys() {
        let files = changed(|tensors| drop(tensors.remove(name)));
        fs::write(temp.path().join("model.safetensors"), files.weights).unwrap();
        says(&load_error(temp.path()), &[name, "missing"]);
    }
}

/// Opening a pipe would wait for a writer forever.
#[cfg(unix)]
#[test]
fn pipes_and_devices_are_refused() {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let temp = tempfile::tempdir().unwrap();
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            fs::copy(folder(FIXTURE).join(file), temp.path().join(file)).unwrap();
        }
        let path = temp.path().join(name);
        for device in [false, true] {
            fs::remove_file(&path).unwrap();
            if device {
                std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
            } else {
                let made = std::process::Command::new("mkfifo").arg(&path).status();
                assert!(made.unwrap().success());
            }
            let options = Setup::default().options();
            let refused = Model::load(temp.path(), &options).map(drop).unwrap_err();
            says(&refused.to_string(), &[name, "pipe or device"]);
        }
    }
}

#[test]
fn shards_are_joined_and_checked() {
    let temp = tempfile::tempdir().unwrap();
    let tensors = read_tensors(&files().weights);
    fs::copy(
        folder(FIXTURE).join("config.json"),
        temp.path().join("config.json"),
    )
    .unwrap();
    let mut map = HashMap::new();
    for shard in ["a.safetensors", "b.safetensors"] {
        let mine = |name: &str| name.contains("mlp") == (shard == "a.safetensors");
        let part: HashMap<String, Tensor> = tensors
            .clone()
            .into_iter()
            .filter(|(name, _)| mine(name))
            .collect();
        map.extend(part.keys().map(|name| (name.clone(), shard)));
        fs::write(temp.path().join(shard), write_tensors(&part)).unwrap();
    }
    let index = temp.path().join("model.safetensors.index.json");
    fs::write(&index, json!({ "weight_map": map }).to_string()).unwrap();
    let model = Model::load(temp.path(), &Setup::default().options()).unwrap();
    let mut sharded = Engine::new(std::sync::Arc::new(model)).unwrap();
    let tokens = &prompts(FIXTURE)[1].tokens;
    let found = bits(&all_logits(&mut sharded, tokens));
    assert_eq!(found, bits(&all_logits(&mut engine(FIXTURE), tokens)));

    fs::remove_file(temp.path().join("a.safetensors")).unwrap();
    says(&load_error(temp.path()), &["a.safetensors"]);
    for (text, word) in [
        (
            json!({ "weight_map": { "a": "../b.safetensors" } }),
            "plain file name",
        ),
        (
            json!({ "weight_map": { "a": "/etc/passwd" } }),
            "plain file name",
        ),
        (json!({ "weight_map": { "a": ".." } }), "plain file name"),
        (json!({ "weight_map": {} }), "empty"),
        (json!({ "weights": 1 }), "expected"),
    ] {
        fs::write(&index, text.to_string()).unwrap();
        says(&load_error(temp.path()), &["index.json", word]);
    }
}

/// Every byte of `config.json` and of the weights' header, changed. Without the tokenizer, which
/// takes most of the time to load.
#[test]
fn changed_bytes_never_panic() {
    let original = files();
    let options = Setup::default().options();
    let mut outcomes = [0, 0];
    let mut load = |config: &[u8], weights: &[u8]| {
        let bytes = ModelBytes {
            config,
            weights,
            tokenizer: None,
            generation_config: None,
        };
        outcomes[usize::from(Model::from_bytes(&bytes, &options).is_ok())] += 1;
    };
    for at in 0..original.config.len() {
        let mut config = original.config.clone();
        config[at] = b"09\"}\xff"[at % 5];
        load(&config, &original.weights);
    }
    let header = 8 + u64::from_le_bytes(*original.weights.first_chunk().unwrap()) as usize;
    let mut weights = original.weights.clone();
    for at in 0..header {
        let byte = weights[at];
        weights[at] = b"09\"\xff"[at % 4];
        load(&original.config, &weights);
        weights[at] = byte;
    }
    eprintln!("{} refused, {} loaded", outcomes[0], outcomes[1]);
    assert!(outcomes[0] > 1000);
}

/// The tokenizer is parsed by another crate, which panics on some damage (that shows on stderr);
/// we must not.
#[test]
fn changed_tokenizers_never_panic() {
    let original = files().tokenizer;
    for at in (0..original.len()).step_by(11) {
        let mut json = original.clone();
        json[at] = b"09\"}{"[at % 5];
        if let Ok(tokenizer) = Tokenizer::parse(&json, "tokenizer.json") {
            drop(
                tokenizer
                    .encode("Hello world", true)
                    .map(|ids| tokenizer.decode(&ids, true)),
            );
        }
    }
}
