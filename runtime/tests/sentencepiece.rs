//! Model folders whose only tokenizer is SentencePiece's `tokenizer.model`: their ids are those of transformers' `LlamaTokenizer`, also as GGUF
//! files and as folders that were made of those.

mod common;

use std::fs;
use std::path::Path;

use common::{Setup, folder};
use serde_json::{Value, json};
use tern_runtime::convert::{TernaryType, to_folder, to_gguf};
use tern_runtime::{Model, ReadOptions, inspect};

/// A model with rows enough.
const FIXTURE: &str = "llama-bitnet-tiny";

fn tokenizers() -> std::path::PathBuf {
    folder("tokenizers")
}

/// The folder of the fixture with the tokenizer, and these files beside it.
fn make(files: &Value) -> tempfile::TempDir {
    let temporary = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(folder(FIXTURE).join(name), temporary.path().join(name)).unwrap();
    }
    let model = tokenizers().join("fallback.model");
    fs::copy(model, temporary.path().join("tokenizer.model")).unwrap();
    for (name, contents) in files.as_object().unwrap() {
        fs::write(temporary.path().join(name), contents.to_string()).unwrap();
    }
    temporary
}

fn load(path: &Path) -> Result<Model, String> {
    Model::load(path, &Setup::default().options()).map_err(|error| error.to_string())
}

fn ids(model: &Model, text: &str) -> Vec<u32> {
    model.tokenizer().unwrap().encode(text, true).unwrap()
}

#[test]
fn folders_give_the_ids_of_transformers() {
    let expected = fs::read(tokenizers().join("llama.expected.json")).unwrap();
    let expected: Vec<Value> = serde_json::from_slice(&expected).unwrap();
    for case in &expected {
        let made = make(&case["files"]);
        let gguf = made.path().join("model.gguf");
        let mut bytes = Vec::new();
        let reading = ReadOptions::default();
        let converted = to_gguf(
            made.path(),
            reading,
            TernaryType::Exact,
            &mut bytes,
            &mut |_, _| true,
        );
        assert_eq!(converted.unwrap().notes, [""; 0]);
        fs::write(&gguf, bytes).unwrap();
        let again = made.path().join("again");
        fs::create_dir(&again).unwrap();
        to_folder(&gguf, reading, &again, &mut |_, _| true).unwrap();
        for path in [made.path(), &gguf, &again] {
            let model = load(path).unwrap();
            for case in case["cases"].as_array().unwrap() {
                let text = case["text"].as_str().unwrap();
                assert_eq!(json!(ids(&model, text)), case["ids"], "{path:?} {text:?}");
            }
            let end = case["bos_eos"][1].as_u64().unwrap() as u32;
            assert!(model.stop_ids().contains(&end), "{path:?}");
            let summary = inspect(path, &Setup::default().options()).unwrap();
            let described = summary.tokenizer.unwrap();
            assert!(
                described.starts_with("SentencePiece's BPE, "),
                "{described}"
            );
            assert_eq!(model.summary().tokenizer, Some(described));
        }
    }
}

#[test]
fn a_tokenizer_json_counts_first() {
    let made = make(&json!({}));
    let json = folder(FIXTURE).join("tokenizer.json");
    fs::copy(json, made.path().join("tokenizer.json")).unwrap();
    let (model, own) = (load(made.path()).unwrap(), load(&folder(FIXTURE)).unwrap());
    let text = "the river 123";
    assert_eq!(ids(&model, text), ids(&own, text));
}

/// An added token that is no special one is text; one that ends a turn is special whatever the files say.
#[test]
fn added_tokens_are_text_unless_they_are_special() {
    let made = make(&json!({ "added_tokens.json": { "<more>": 480, "<|eot_id|>": 481 } }));
    let model = load(made.path()).unwrap();
    let tokenizer = model.tokenizer().unwrap();
    let plain = tokenizer.encode_plain("the<more>river<|eot_id|>").unwrap();
    assert!(plain.contains(&480) && !plain.contains(&481));
    assert_eq!(
        tokenizer.decode(&plain, true).unwrap(),
        "the<more>river<|eot_id|>"
    );
    assert!(ids(&model, "the<|eot_id|>").contains(&481));
    assert!(model.stop_ids().contains(&481));
}

#[test]
fn files_that_do_not_fit_are_refused_by_name() {
    let refusal = |files: Value| load(make(&files).path()).err().unwrap();
    let added = |token: Value| json!({ "tokenizer_config.json": { "added_tokens_decoder": { "480": token } } });
    let cases = [
        (
            json!({ "added_tokens.json": [1] }),
            "added_tokens.json: no usable tokenizer: not a JSON object",
        ),
        (
            json!({ "added_tokens.json": { "<x>": "1" } }),
            "has the added token \"<x>\": \"1\"",
        ),
        (
            json!({ "added_tokens.json": { "<x>": 4_000_000_000_u32 } }),
            "has the id 4000000000, but there are only 481",
        ),
        // Each of them leaves out no more than may be, all together do.
        (
            json!({ "added_tokens.json": { "<x>": 4_000, "<y>": 8_000, "<z>": 12_000 } }),
            "has the id 8000, but there are only 483",
        ),
        (
            json!({ "added_tokens.json": { "<x>": 512 } }),
            "\"<x>\" has id 512, but the model's embedding has only 512 rows",
        ),
        (added(json!(3)), "has the added token \"480\": 3"),
        (
            added(json!({ "content": "<x>", "rstrip": true })),
            "its added token \"<x>\" is \"rstrip\"",
        ),
    ];
    for (files, part) in cases {
        let message = refusal(files);
        assert!(message.contains(part), "{message}");
    }
    let made = make(&json!({}));
    let file = made.path().join("tokenizer.model");
    let unigram = [&fs::read(&file).unwrap()[..], b"\x12\x02\x18\x01"].concat();
    fs::write(&file, unigram).unwrap();
    let message = load(made.path()).err().unwrap();
    assert!(
        message.contains("tokenizer.model: no usable tokenizer: it is a Unigram model"),
        "{message}"
    );
}
