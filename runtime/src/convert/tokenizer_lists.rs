//! The lists of GGUF metadata for a `tokenizer.json`.
//!
//! Other programs know a tokenizer by these lists alone, so they are written only where they are the same tokenizer, which is tried
//! (`same_ids.rs`). A regular expression has a name only as a whole, and SentencePiece's scores are made of the order of merges.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::Source;
use super::same_ids::Lists;
use crate::error::shorten;
use crate::json::Object;
use crate::tokenizer::SPACE;
use crate::tokenizer::kind::{BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED};
use crate::tokenizer::{Tokenizer, Vocabulary, name_of_split};

/// The lists, and notes.
///
/// # Errors
///
/// What the lists cannot say, as the end of a sentence that begins with the file's name.
pub(super) fn read(source: &Source<'_>, json: &[u8]) -> Result<(Vocabulary, Vec<String>), String> {
    let root: Value = serde_json::from_slice(json).map_err(|_| "is not JSON".to_owned())?;
    let model = &root["model"];
    if model["type"].as_str().is_some_and(|kind| kind != "BPE") || !model["vocab"].is_object() {
        return Err("is no byte pair encoding".to_owned());
    }
    let spaces = Spaces::of(&root);
    let is_pieces = spaces.is_some() || model["byte_fallback"].as_bool() == Some(true);
    let (tokens, types) = tokens(&root, is_pieces, source.config.vocab_size)?;
    let mut vocabulary = Vocabulary {
        tokens,
        types,
        ..Vocabulary::default()
    };
    let merges = merges(model)?;
    let mut notes = Vec::new();
    let mut plain = root.clone();
    if is_pieces {
        let spaces = spaces.unwrap_or_default();
        vocabulary.model = "llama".to_owned();
        vocabulary.scores = scores(&vocabulary, &merges);
        let unknown = vocabulary.types.iter().position(|&kind| kind == UNKNOWN);
        vocabulary.unknown_id = unknown.and_then(|id| u32::try_from(id).ok());
        vocabulary.add_space_prefix = Some(spaces.has_prefix);
        vocabulary.remove_extra_whitespaces = Some(spaces.are_single);
    } else {
        vocabulary.model = "gpt2".to_owned();
        let pre = pre(&root).ok_or("cuts texts into words in a way that has no name")?;
        vocabulary.pre = Some(pre.to_owned());
        vocabulary.merges = merges;
        if composes(&root)? {
            notes.push(
                "other programs will not compose characters (NFC) before they look for tokens, as tokenizer.json does: the lists cannot say so"
                    .to_owned(),
            );
        }
        // As tern reads the lists.
        plain["normalizer"] = match vocabulary.composes() {
            true => json!({ "type": "NFC" }),
            false => Value::Null,
        };
    }
    set_ids(source, &root, &mut vocabulary);
    let other = Tokenizer::parse(plain.to_string().as_bytes(), "it");
    let other = other.map_err(|error| error.to_string())?;
    let same = Lists::new(&vocabulary).and_then(|lists| lists.compare(&other));
    let more = same.map_err(|reason| format!("has no equal as lists: {reason}"))?;
    notes.extend(more);
    Ok((vocabulary, notes))
}

/// Tokens and their types, for each row of the embedding: llama.cpp wants a token for each.
fn tokens(root: &Value, is_pieces: bool, rows: usize) -> Result<(Vec<String>, Vec<i32>), String> {
    let model = &root["model"];
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
    let last = tokens.last_key_value();
    if last.is_some_and(|(&last, _)| last >= rows as u64) {
        return Err("has more tokens than the embedding rows".to_owned());
    }
    let each = (0..rows as u64).map(|id| {
        let padding = || (format!("[PAD{id}]"), UNUSED);
        tokens.remove(&id).unwrap_or_else(padding)
    });
    Ok(each.unzip())
}

/// The ids that have keys, and whether texts begin with one.
fn set_ids(source: &Source<'_>, root: &Value, vocabulary: &mut Vocabulary) {
    let tokens = &vocabulary.tokens;
    let id = |token: &Option<String>| {
        let token = token.as_ref()?;
        let found = tokens.iter().position(|known| known == token)?;
        u32::try_from(found).ok()
    };
    let template = &source.files.text().template;
    let bos_id = id(&template.bos).or(source.config_id("bos_token_id"));
    let eos_id = id(&template.eos).or(source.config.eos_token_ids.first().copied());
    let eot_id = id(&Some("<|eot_id|>".to_owned())).filter(|&id| Some(id) != eos_id);
    let bos = bos_id.and_then(|id| tokens.get(id as usize));
    let starts_with_bos = bos.is_some_and(|bos| {
        let processor = root["post_processor"].to_string();
        processor.contains("TemplateProcessing") && processor.contains(&json!(bos).to_string())
    });
    vocabulary.bos_id = bos_id;
    vocabulary.eos_id = eos_id;
    vocabulary.eot_id = eot_id;
    vocabulary.add_bos = Some(starts_with_bos);
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

/// Scores as SentencePiece numbers them: minus the place in the order of merging, and behind it what is never merged.
fn scores(vocabulary: &Vocabulary, merges: &[String]) -> Vec<f32> {
    let mut places: HashMap<String, usize> = HashMap::new();
    for merge in merges {
        let next = places.len();
        places.entry(merge.replacen(' ', "", 1)).or_insert(next);
    }
    let mut next = places.len();
    let tokens = vocabulary.tokens.iter().zip(&vocabulary.types);
    let score = |(token, &kind): (&String, &i32)| {
        if kind != NORMAL {
            return 0.0;
        }
        let place = places.get(token).copied().unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        -(place as f32)
    };
    tokens.map(score).collect()
}

/// The steps of a part of `tokenizer.json`, which is one step, a sequence of them, or nothing.
fn steps<'v>(part: &'v Value, list: &str) -> Vec<&'v Value> {
    match (part[list].as_array(), part) {
        (Some(steps), _) => steps.iter().collect(),
        (None, Value::Null) => Vec::new(),
        (None, step) => vec![step],
    }
}

/// What SentencePiece's texts become before they are merged.
#[derive(Default)]
struct Spaces {
    has_prefix: bool,
    are_single: bool,
}

impl Spaces {
    /// `None` where spaces do not become "▁".
    fn of(root: &Value) -> Option<Spaces> {
        let normalizers = steps(&root["normalizer"], "normalizers");
        let cuts = steps(&root["pre_tokenizer"], "pretokenizers");
        let all = || normalizers.iter().chain(&cuts);
        let metaspace = all().find(|step| step["type"] == "Metaspace");
        let replaces = |from: Value, to: &str| {
            all().any(|step| step["pattern"] == from && step["content"] == to)
        };
        let space = SPACE.to_string();
        let is_replaced = replaces(json!({ "String": " " }), &space);
        (is_replaced || metaspace.is_some()).then(|| Spaces {
            has_prefix: all().any(|step| step["type"] == "Prepend" && step["prepend"] == space)
                || metaspace.is_some_and(|step| {
                    let scheme = step["prepend_scheme"].as_str();
                    let is_never = scheme == Some("never");
                    !is_never && (scheme.is_some() || step["add_prefix_space"] != false)
                }),
            are_single: replaces(json!({ "Regex": " {2,}" }), " "),
        })
    }
}

/// Whether a byte-level tokenizer composes characters before it cuts texts.
fn composes(root: &Value) -> Result<bool, String> {
    let all = steps(&root["normalizer"], "normalizers");
    match all.iter().find(|step| step["type"] != "NFC") {
        None => Ok(!all.is_empty()),
        Some(other) => Err(format!(
            "changes texts in a way that lists cannot say ({})",
            shorten(&other["type"])
        )),
    }
}

/// The name of a way to cut texts into words.
fn pre(root: &Value) -> Option<&'static str> {
    let ignore_merges = root["model"]["ignore_merges"].as_bool() == Some(true);
    let has_prefix = |step: &Value| step["add_prefix_space"] == true;
    match steps(&root["pre_tokenizer"], "pretokenizers")[..] {
        [split, bytes] => {
            let is_plain = split["type"] == "Split"
                && split["behavior"] == "Isolated"
                && split["invert"] != true
                && bytes["type"] == "ByteLevel"
                && bytes["use_regex"] == false
                && !has_prefix(bytes);
            let pattern = split["pattern"]["Regex"].as_str().filter(|_| is_plain)?;
            name_of_split(pattern, ignore_merges)
        }
        // ByteLevel's own expression is GPT-2's.
        [bytes] => {
            let is_plain = bytes["type"] == "ByteLevel" && bytes["use_regex"] != false;
            (is_plain && !has_prefix(bytes) && !ignore_merges).then_some("gpt-2")
        }
        _ => None,
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
