//! Tokenizer and chat template: from a folder's files to the lists that GGUF has, and back.
//!
//! `tokenizer.json` says more than the lists, so it is kept in a key of its own, `tokenizer.huggingface.json`, and given back as it was. The
//! lists are for other programs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{ConvertError, Source, tokenizer_json};
use crate::gguf::{Header, WriteError};
use crate::gguf_model::text::{HUGGINGFACE, TEMPLATE};
use crate::json::Object;
use crate::text::TokenizerFile;
use crate::tokenizer::Vocabulary;

/// The numbers of `tokenizer.ggml.token_type`.
pub(super) const NORMAL: i32 = 1;
pub(super) const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;
pub(super) const BYTE: i32 = 6;

/// Ways to cut texts into words, by what only they have in their regular expression.
const SPLITS: [(&str, &str); 3] = [
    ("\\p{N}{1,3}", "llama-bpe"),
    ("[\\p{L}\\p{M}]+", "qwen35"),
    ("|\\p{N}|", "qwen2"),
];

/// Sets the keys of text; returns notes.
pub(super) fn keys(source: &Source<'_>, header: &mut Header) -> Result<Vec<String>, ConvertError> {
    let mut notes = Vec::new();
    let text = source.files.text();
    if let Some(template) = &text.template.text {
        header.set(TEMPLATE, &template[..])?;
    }
    match &text.tokenizer {
        None => notes.push("the model has no tokenizer".to_owned()),
        Some((TokenizerFile::Tiktoken(_), file)) => notes.push(format!(
            "the tokenizer, {file}, is not carried over: put the model's tokenizer.json beside it and convert again"
        )),
        Some((TokenizerFile::Vocabulary(vocabulary), _)) => lists(vocabulary, header)?,
        Some((TokenizerFile::Json(json), file)) => {
            match of_json(source, json) {
                Ok(vocabulary) => lists(&vocabulary, header)?,
                Err(reason) => notes.push(format!(
                    "other programs will find no tokenizer in the file, tern will: {file} {reason}"
                )),
            }
            header.set(HUGGINGFACE, &*String::from_utf8_lossy(json))?;
        }
    }
    Ok(notes)
}

fn lists(vocabulary: &Vocabulary, header: &mut Header) -> Result<(), WriteError> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    header.set(&key("model"), &vocabulary.model[..])?;
    if let Some(pre) = &vocabulary.pre {
        header.set(&key("pre"), &pre[..])?;
    }
    header.set(&key("tokens"), &vocabulary.tokens[..])?;
    if !vocabulary.types.is_empty() {
        header.set(&key("token_type"), &vocabulary.types[..])?;
    }
    if !vocabulary.scores.is_empty() {
        header.set(&key("scores"), &vocabulary.scores[..])?;
    }
    if !vocabulary.merges.is_empty() {
        header.set(&key("merges"), &vocabulary.merges[..])?;
    }
    let ids = [
        ("bos_token_id", vocabulary.bos_id),
        ("eos_token_id", vocabulary.eos_id),
        ("eot_token_id", vocabulary.eot_id),
        ("eom_token_id", vocabulary.eom_id),
        ("unknown_token_id", vocabulary.unknown_id),
        ("padding_token_id", vocabulary.padding_id),
    ];
    for (name, id) in ids {
        if let Some(id) = id {
            header.set(&key(name), id)?;
        }
    }
    let flags = [
        ("add_bos_token", vocabulary.add_bos),
        ("add_space_prefix", vocabulary.add_space_prefix),
        (
            "remove_extra_whitespaces",
            vocabulary.remove_extra_whitespaces,
        ),
    ];
    for (name, flag) in flags {
        if let Some(flag) = flag {
            header.set(&key(name), flag)?;
        }
    }
    Ok(())
}

/// The lists of a `tokenizer.json`.
fn of_json(source: &Source<'_>, json: &[u8]) -> Result<Vocabulary, String> {
    let root: Value = serde_json::from_slice(json).map_err(|_| "is not JSON".to_owned())?;
    let model = &root["model"];
    if model["type"].as_str().is_some_and(|kind| kind != "BPE") || !model["vocab"].is_object() {
        return Err("is no byte pair encoding".to_owned());
    }
    let is_pieces = model["byte_fallback"].as_bool() == Some(true);
    let mut tokens: BTreeMap<u64, (String, i32)> = BTreeMap::new();
    for (token, id) in model["vocab"].as_object().into_iter().flatten() {
        let id = id.as_u64().ok_or("has a token without id")?;
        let is_byte = is_pieces && token.starts_with("<0x") && token.len() == 6;
        tokens.insert(id, (token.clone(), if is_byte { BYTE } else { NORMAL }));
    }
    for added in root["added_tokens"].as_array().into_iter().flatten() {
        let (Some(id), Some(token)) = (added["id"].as_u64(), added["content"].as_str()) else {
            return Err("has an added token without id or content".to_owned());
        };
        let kind = match added["special"].as_bool() {
            Some(true) => CONTROL,
            _ => USER_DEFINED,
        };
        tokens.insert(id, (token.to_owned(), kind));
    }
    if let Some(unknown) = model["unk_token"].as_str() {
        let found = tokens.values_mut().find(|(token, _)| token == unknown);
        found.into_iter().for_each(|(_, kind)| *kind = UNKNOWN);
    }
    let rows = source.config.vocab_size as u64;
    if tokens
        .last_key_value()
        .is_some_and(|(&last, _)| last >= rows)
    {
        return Err("has more tokens than the embedding rows".to_owned());
    }
    // llama.cpp wants a token for each row.
    let each = (0..rows).map(|id| {
        let padding = || (format!("[PAD{id}]"), UNUSED);
        tokens.remove(&id).unwrap_or_else(padding)
    });
    let (tokens, types): (Vec<String>, Vec<i32>) = each.unzip();
    let id = |token: &Option<String>| {
        let token = token.as_ref()?;
        let found = tokens.iter().position(|known| known == token)?;
        u32::try_from(found).ok()
    };
    let template = &source.files.text().template;
    let bos_id = id(&template.bos).or(source.config_id("bos_token_id"));
    let eos_id = id(&template.eos).or(source.config.eos_token_ids.first().copied());
    let starts_with_bos = bos_id
        .and_then(|id| tokens.get(id as usize))
        .is_some_and(|bos| {
            let processor = root["post_processor"].to_string();
            processor.contains("TemplateProcessing") && processor.contains(&json!(bos).to_string())
        });
    let eot_id = id(&Some("<|eot_id|>".to_owned()));
    let vocabulary = Vocabulary {
        bos_id,
        eos_id,
        eot_id,
        add_bos: Some(starts_with_bos),
        ..Vocabulary::default()
    };
    if is_pieces {
        // SentencePiece numbers its pieces in the order of merging, which its scores are.
        let scores = (0..tokens.len()).map(|id| -(id as f32)).collect();
        let unknown_id = types.iter().position(|&kind| kind == UNKNOWN);
        return Ok(Vocabulary {
            model: "llama".to_owned(),
            scores,
            unknown_id: unknown_id.map(|id| id as u32),
            tokens,
            types,
            ..vocabulary
        });
    }
    Ok(Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some(
            pre(&root)
                .ok_or("cuts texts into words in a way that has no name")?
                .to_owned(),
        ),
        merges: merges(model)?,
        tokens,
        types,
        ..vocabulary
    })
}

fn merges(model: &Value) -> Result<Vec<String>, String> {
    let list = model["merges"].as_array().ok_or("has no merges")?;
    let text = |merge: &Value| match merge {
        Value::String(text) => Some(text.clone()),
        Value::Array(pair) => Some(format!(
            "{} {}",
            pair.first()?.as_str()?,
            pair.get(1)?.as_str()?
        )),
        _ => None,
    };
    let all: Option<Vec<String>> = list.iter().map(text).collect();
    all.ok_or_else(|| "has a merge that is no pair".to_owned())
}

/// The name of a way to cut texts into words.
fn pre(root: &Value) -> Option<&'static str> {
    let pre = &root["pre_tokenizer"];
    let steps = match pre["pretokenizers"].as_array() {
        Some(steps) => steps.iter().collect(),
        None => vec![pre],
    };
    let pattern = steps
        .iter()
        .find_map(|step| step["pattern"]["Regex"].as_str());
    match pattern {
        Some(pattern) => {
            let found = SPLITS.iter().find(|(part, _)| pattern.contains(part));
            found.map(|(_, name)| *name)
        }
        // ByteLevel's own expression is GPT-2's.
        None => steps
            .iter()
            .any(|step| step["type"] == "ByteLevel" && step["use_regex"].as_bool() != Some(false))
            .then_some("gpt-2"),
    }
}

impl Source<'_> {
    /// An id that only `config.json` has.
    fn config_id(&self, key: &str) -> Option<u32> {
        let json = self.files.config();
        let ids = Object::parse(&json, "config.json").ok()?.ids(key).ok()?;
        ids.first().copied()
    }
}

/// A file of the folder: its name and contents.
type File = (&'static str, Vec<u8>);

/// The files of text in a folder, and notes.
pub(super) fn files(source: &Source<'_>) -> (Vec<File>, Vec<String>) {
    let (mut files, mut notes) = (Vec::new(), Vec::new());
    let text = source.files.text();
    match &text.tokenizer {
        None => notes.push("the model has no tokenizer".to_owned()),
        Some((TokenizerFile::Json(json), _)) => files.push(("tokenizer.json", json.clone())),
        Some((TokenizerFile::Tiktoken(bytes), _)) => files.push(("tokenizer.model", bytes.clone())),
        Some((TokenizerFile::Vocabulary(vocabulary), _)) => match tokenizer_json::write(vocabulary) {
            Ok((json, more)) => {
                files.push(("tokenizer.json", json));
                notes.extend(more);
            }
            Err(reason) => notes.push(format!(
                "the tokenizer is not carried over: {reason}; take tokenizer.json from the model that this one was made of"
            )),
        },
    }
    let template = &text.template;
    let mut config = Map::new();
    let mut set = |key: &str, value: &Option<String>| {
        if let Some(value) = value {
            config.insert(key.to_owned(), json!(value));
        }
    };
    set("bos_token", &template.bos);
    set("eos_token", &template.eos);
    set("chat_template", &template.text);
    if !config.is_empty() {
        let json = format!("{:#}\n", Value::Object(config));
        files.push(("tokenizer_config.json", json.into_bytes()));
    }
    (files, notes)
}
