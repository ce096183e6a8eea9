//! What the JSON files beside a `tokenizer.model` add to it: tokens that came later, the names of those at both ends, and where spaces go.
//!
//! Files and keys are those of Hugging Face transformers' `LlamaTokenizer`, and so is which of them counts: `tokenizer_config.json`, and where
//! that has no `added_tokens_decoder`, first `special_tokens_map.json` and also `added_tokens.json`.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

use super::vocabulary::{Vocabulary, kind};
use crate::error::shorten;

/// Most ids that may be left out before added tokens. Real files leave out none, or a few that round a size up.
const MAX_GAP: usize = 1 << 12;

/// The files' objects; empty where there is no file.
#[derive(Default)]
pub(crate) struct Beside {
    /// `tokenizer_config.json`.
    pub config: Map<String, Value>,
    /// `special_tokens_map.json`.
    pub special: Map<String, Value>,
    /// `added_tokens.json`.
    pub added: Map<String, Value>,
}

impl Beside {
    /// The token that one of the files calls `bos_token`, `eos_token` and so on.
    pub fn token(&self, key: &str) -> Option<&str> {
        let config = self.config.get(key).and_then(content);
        match self.decoder() {
            Some(_) => config,
            None => self.special.get(key).and_then(content).or(config),
        }
    }

    fn decoder(&self) -> Option<&Map<String, Value>> {
        self.config.get("added_tokens_decoder")?.as_object()
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.config.get(key)?.as_bool()
    }

    /// Whatever the files call a special token.
    fn special(&self) -> impl Iterator<Item = &str> {
        let keys = ["bos", "eos", "unk", "pad", "cls", "sep", "mask"];
        let named = keys.map(|key| self.token(&format!("{key}_token")));
        let lists = [&self.config, &self.special].map(|map| map.get("additional_special_tokens"));
        let listed = lists.into_iter().flatten().filter_map(Value::as_array);
        let listed = listed.flatten().filter_map(content);
        named.into_iter().flatten().chain(listed)
    }

    /// Added tokens by id, and whether each is special.
    fn tokens(&self) -> Result<BTreeMap<usize, (&str, bool)>, String> {
        let wrong = |file: &str, key: &str, value: &Value| {
            let found = shorten(format!("\"{key}\": {value}"));
            format!(
                "{file} beside it has the added token {found}, which is no token with an id; download it again"
            )
        };
        let mut tokens = BTreeMap::new();
        let Some(decoder) = self.decoder() else {
            let special: HashSet<_> = self.special().collect();
            for (token, id) in &self.added {
                let number = id.as_u64().and_then(|id| usize::try_from(id).ok());
                let number = number.ok_or_else(|| wrong("added_tokens.json", token, id))?;
                tokens.insert(number, (token.as_str(), special.contains(token.as_str())));
            }
            return Ok(tokens);
        };
        for (id, token) in decoder {
            let wrong = || wrong("tokenizer_config.json", id, token);
            let flag = |key: &str| token.get(key).and_then(Value::as_bool) == Some(true);
            let number = id.parse().map_err(|_| wrong())?;
            let text = content(token).ok_or_else(wrong)?;
            if let Some(key) = ["lstrip", "rstrip", "single_word"]
                .into_iter()
                .find(|key| flag(key))
            {
                return Err(format!(
                    "its added token \"{}\" is \"{key}\" in tokenizer_config.json, by which it would take the characters beside it into account, \
                     and tern does not: {}",
                    shorten(text),
                    super::sentencepiece::ADVICE
                ));
            }
            tokens.insert(number, (text, flag("special")));
        }
        Ok(tokens)
    }

    /// Adds what the files say to the vocabulary of `tokenizer.model`.
    ///
    /// # Errors
    ///
    /// What cannot be, and what to do.
    pub fn add_to(&self, vocabulary: &mut Vocabulary) -> Result<(), String> {
        let added = self.tokens()?;
        // For all gaps together: else each token could bring some more.
        let known = vocabulary.tokens.len() + added.len();
        for (id, (token, is_special)) in added {
            let count = vocabulary.tokens.len();
            if id > known + MAX_GAP {
                return Err(format!(
                    "its added token \"{}\" has the id {id}, but there are only {known} tokens; the files beside it belong to another \
                     model",
                    shorten(token)
                ));
            }
            for padding in count..=id {
                vocabulary.tokens.push(format!("[PAD{padding}]"));
                vocabulary.types.push(kind::UNUSED);
                vocabulary.scores.push(0.0);
            }
            let (text, kind) = (&mut vocabulary.tokens[id], &mut vocabulary.types[id]);
            let is_new = *text != token || matches!(*kind, kind::NORMAL | kind::UNUSED);
            *kind = match *kind {
                kind::UNKNOWN => kind::UNKNOWN,
                _ if is_special => kind::CONTROL,
                _ if is_new => kind::USER_DEFINED,
                known => known,
            };
            token.clone_into(text);
        }
        let Vocabulary { tokens, types, .. } = vocabulary;
        let mut ids = HashMap::new();
        for (token, id) in tokens.iter().zip(0..) {
            ids.entry(token.as_str()).or_insert(id);
        }
        for id in self.special().filter_map(|token| ids.get(token)) {
            let kind = &mut types[*id as usize];
            if *kind != kind::UNKNOWN {
                *kind = kind::CONTROL;
            }
        }
        let id = |key: &str| ids.get(self.token(key)?).copied();
        let [bos, eos, padding] = ["bos_token", "eos_token", "pad_token"].map(id);
        vocabulary.bos_id = bos.or(vocabulary.bos_id);
        vocabulary.eos_id = eos.or(vocabulary.eos_id);
        vocabulary.padding_id = padding.or(vocabulary.padding_id);
        // Without a word on it texts begin with the token, if there is one.
        let add_bos = self.flag("add_bos_token").unwrap_or(true);
        vocabulary.add_bos = Some(add_bos && vocabulary.bos_id.is_some());
        if self.flag("legacy") == Some(false) {
            vocabulary.space_after_control = Some(false);
            let prefix = self.flag("add_prefix_space");
            vocabulary.add_space_prefix = prefix.or(vocabulary.add_space_prefix);
        }
        Ok(())
    }
}

/// A token as these files write one: a text, or an object with it.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}
