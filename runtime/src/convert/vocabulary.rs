//! Tokenizer and chat template: from a folder's files to the lists that GGUF has, and back.
//!
//! `tokenizer.json` says more than the lists, so it is kept in a key of its own, `tokenizer.huggingface.json`, and given back as it was. The
//! lists are for other programs.

use serde_json::{Map, Value, json};

use super::{ConvertError, Source, tokenizer_json, tokenizer_lists};
use crate::error::LoadError;
use crate::gguf::{Header, WriteError};
use crate::gguf_model::text::{ENDS, HUGGINGFACE, SPACE_AFTER_CONTROL, TEMPLATE};
use crate::text::TokenizerFile;
use crate::tokenizer::kind::UNUSED;
use crate::tokenizer::{END_OF_TURN, Vocabulary};

/// Sets the keys of text; returns notes.
pub(super) fn keys(source: &Source<'_>, header: &mut Header) -> Result<Vec<String>, ConvertError> {
    let mut notes = Vec::new();
    let text = source.files.text();
    let (template, note) = text.template.corrected();
    notes.extend(note);
    if let Some(template) = template {
        header.set(TEMPLATE, template)?;
    }
    let ends = source.ends();
    let mut named = Vec::new();
    match &text.tokenizer {
        None => notes.push("the model has no tokenizer".to_owned()),
        Some((TokenizerFile::Tiktoken(bytes), file)) => {
            let vocabulary = Vocabulary::from_tiktoken(bytes, file).map_err(LoadError::from)?;
            let mut vocabulary = padded(&vocabulary, source.config.vocab_size);
            named = name_ends(&mut vocabulary, &ends);
            lists(&vocabulary, header)?;
        }
        Some((TokenizerFile::Vocabulary(vocabulary), _)) => {
            let mut vocabulary = padded(vocabulary, source.config.vocab_size);
            named = name_ends(&mut vocabulary, &ends);
            lists(&vocabulary, header)?;
        }
        Some((TokenizerFile::Json(json), file)) => {
            match tokenizer_lists::read(source, json) {
                Ok((mut vocabulary, more)) => {
                    notes.extend(more);
                    named = name_ends(&mut vocabulary, &ends);
                    lists(&vocabulary, header)?;
                }
                Err(reason) => notes.push(format!(
                    "other programs will find no tokenizer in the file, tern will: {file} {reason}"
                )),
            }
            header.set(HUGGINGFACE, &*String::from_utf8_lossy(json))?;
        }
    }
    if ends.iter().any(|id| !named.contains(id)) {
        header.set(ENDS, &ends[..])?;
    }
    Ok(notes)
}

/// Gives ids that end a text or a turn the keys that other programs read, as far as there are some; returns those that have one.
fn name_ends(vocabulary: &mut Vocabulary, ends: &[u32]) -> Vec<u32> {
    let is_known = |id: u32| {
        let token = vocabulary.tokens.get(id as usize);
        token.is_some_and(|token| END_OF_TURN.contains(&&token[..]))
    };
    // Other programs find those with known names without a key.
    let (known, unknown): (Vec<u32>, Vec<u32>) = ends.iter().partition(|&&id| is_known(id));
    let mut named = Vec::new();
    let Vocabulary {
        eos_id,
        eot_id,
        eom_id,
        ..
    } = vocabulary;
    for place in [&*eos_id, &*eot_id, &*eom_id] {
        named.extend(*place);
    }
    for place in [eos_id, eot_id, eom_id] {
        if place.is_none() {
            let next = unknown.iter().chain(&known).find(|id| !named.contains(id));
            *place = next.copied();
            named.extend(*place);
        }
    }
    named
}

/// The lists with a token for each row of the embedding, as llama.cpp wants them.
fn padded(vocabulary: &Vocabulary, rows: usize) -> Vocabulary {
    let mut padded = vocabulary.clone();
    for id in padded.tokens.len()..rows {
        padded.tokens.push(format!("[PAD{id}]"));
        let lists = (padded.types.is_empty(), padded.scores.is_empty());
        if !lists.0 {
            padded.types.push(UNUSED);
        }
        if !lists.1 {
            padded.scores.push(0.0);
        }
    }
    padded
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
    if let Some(flag) = vocabulary.space_after_control {
        header.set(SPACE_AFTER_CONTROL, flag)?;
    }
    Ok(())
}

impl Source<'_> {
    /// Every token that ends a text or a turn, as whoever runs the source knows it.
    pub(super) fn ends(&self) -> Vec<u32> {
        let text = self.files.text();
        // A tokenizer that cannot be made names none.
        let tokenizer = text.tokenizer(self.config.vocab_size).ok().flatten();
        let generation = self.files.generation();
        let generation = generation.map(|json| (json, "generation_config.json"));
        let config = &self.config.eos_token_ids;
        let ends = text.stop_ids(config, generation, tokenizer.as_ref());
        let mut ends = ends.unwrap_or_else(|_| config.clone());
        ends.retain(|&id| (id as usize) < self.config.vocab_size);
        ends
    }
}

/// A file of the folder: its name and contents.
type File = (&'static str, Vec<u8>);

/// The files of text in a folder, and notes.
pub(super) fn files(source: &Source<'_>) -> (Vec<File>, Vec<String>) {
    let (mut files, mut notes) = (Vec::new(), Vec::new());
    let text = source.files.text();
    let mut config = Map::new();
    match &text.tokenizer {
        None => notes.push("the model has no tokenizer".to_owned()),
        Some((TokenizerFile::Json(json), _)) => files.push(("tokenizer.json", json.clone())),
        Some((TokenizerFile::Tiktoken(bytes), _)) => files.push(("tokenizer.model", bytes.clone())),
        Some((TokenizerFile::Vocabulary(vocabulary), _)) => {
            // Not what its reader would refuse.
            let model = vocabulary.to_sentencepiece();
            let model = model.filter(|bytes| Vocabulary::from_sentencepiece(bytes, "it").is_ok());
            match (tokenizer_json::write(vocabulary), model.is_some()) {
                // Where tokenizer.model says all of it, a tokenizer.json that says less is not needed.
                (Ok((_, more)), true) if !more.is_empty() => {
                    notes.push(format!(
                        "the tokenizer is written as tokenizer.model alone: {}",
                        more.join("; ")
                    ));
                }
                (Ok((json, more)), _) => {
                    files.push(("tokenizer.json", json));
                    notes.extend(more);
                }
                (Err(reason), true) => notes.push(format!(
                    "the tokenizer is written as tokenizer.model alone: {reason}"
                )),
                (Err(reason), false) => notes.push(format!(
                    "the tokenizer is not carried over: {reason}; take tokenizer.json from the model that this one was made of"
                )),
            }
            if let Some(bytes) = model {
                config = sentencepiece_config(vocabulary);
                files.push(("tokenizer.model", bytes));
            }
        }
    }
    let template = &text.template;
    let (corrected, note) = template.corrected();
    notes.extend(note);
    let mut set = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            config.insert(key.to_owned(), json!(value));
        }
    };
    set("bos_token", template.bos.as_deref());
    set("eos_token", template.eos.as_deref());
    set("chat_template", corrected);
    if files.iter().any(|(name, _)| *name == "tokenizer.json") {
        // The class that takes tokenizer.json as it is; those of architectures put tokens of their own around texts.
        set("tokenizer_class", Some("PreTrainedTokenizerFast"));
    }
    if !config.is_empty() {
        let json = format!("{:#}\n", Value::Object(config));
        files.push(("tokenizer_config.json", json.into_bytes()));
    }
    (files, notes)
}

/// What `tokenizer_config.json` says beside a `tokenizer.model`: all that its format has no field for.
fn sentencepiece_config(vocabulary: &Vocabulary) -> Map<String, Value> {
    let mut config = Map::new();
    let mut set = |key: &str, value: Value| config.insert(key.to_owned(), value);
    set("tokenizer_class", json!("LlamaTokenizer"));
    set("add_bos_token", json!(vocabulary.add_bos.unwrap_or(true)));
    let is_legacy = vocabulary.space_after_control.unwrap_or(true);
    set("legacy", json!(is_legacy));
    if !is_legacy {
        let prefix = vocabulary.add_space_prefix.unwrap_or(true);
        set("add_prefix_space", json!(prefix));
    }
    config
}
