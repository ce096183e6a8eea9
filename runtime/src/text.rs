//! What a model's files say about text: tokenizer, chat template, tokens that end a text.
//!
//! Kept apart from weights and configuration, for the same three questions have other answers in a folder, in a packed file and in GGUF
//! metadata.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::chat::TemplateSource;
use crate::checkpoint::read_file;
use crate::error::{ConfigError, LoadError, TokenizerError, shorten};
use crate::json::Object;
use crate::tokenizer::{Beside, Tokenizer, Vocabulary};

/// Longest tokenizer accepted; the largest published ones have about 30 MB.
const MAX_TOKENIZER: u64 = 256 << 20;
/// Longest of the files beside a tokenizer accepted.
const MAX_BESIDE: u64 = 16 << 20;
/// Where SentencePiece's or tiktoken's tokenizer is in a folder. The second is the place of Meta's own files beside a converted model.
const TOKENIZER_MODEL: [&str; 2] = ["tokenizer.model", "original/tokenizer.model"];
/// Parts of a packed model.
const PART_JSON: &str = crate::packed::TOKENIZER;
const PART_TIKTOKEN: &str = "tern.tokenizer.model";
const PART_VOCABULARY: &str = "tern.vocabulary.json";
const PART_TEMPLATE: &str = "tern.chat_template.json";

/// The files, or what stands for them.
#[derive(Clone, Default)]
pub(crate) struct TextFiles {
    /// The tokenizer, and what messages call its file.
    pub tokenizer: Option<(TokenizerFile, String)>,
    /// The chat template, with what the files call begin and end of text.
    pub template: TemplateSource,
}

/// A tokenizer in one of its forms.
#[derive(Clone)]
pub(crate) enum TokenizerFile {
    /// `tokenizer.json`.
    Json(Vec<u8>),
    /// tiktoken's `tokenizer.model`.
    Tiktoken(Vec<u8>),
    /// GGUF metadata, or SentencePiece's `tokenizer.model`.
    Vocabulary(Box<Vocabulary>),
}

impl TextFiles {
    /// Of a folder as published on Hugging Face. `tokenizer.json` counts where there is one; else `tokenizer.model`, of tiktoken or SentencePiece.
    pub fn in_folder(folder: &Path) -> Result<TextFiles, LoadError> {
        let mut files = TextFiles {
            tokenizer: None,
            template: TemplateSource::in_folder(folder)?,
        };
        let expected = "the model's tokenizer";
        let json = folder.join("tokenizer.json");
        if json.exists() {
            let bytes = read_file(&json, expected, MAX_TOKENIZER)?;
            files.tokenizer = Some((TokenizerFile::Json(bytes), json.display().to_string()));
            return Ok(files);
        }
        let mut paths = TOKENIZER_MODEL.iter().map(|name| folder.join(name));
        if let Some(path) = paths.find(|path| path.is_file()) {
            let bytes = read_file(&path, expected, MAX_TOKENIZER)?;
            let file = path.display().to_string();
            if is_tiktoken(&bytes) {
                files.tokenizer = Some((TokenizerFile::Tiktoken(bytes), file));
            } else {
                files.take_sentencepiece(&bytes, file, folder)?;
            }
        }
        Ok(files)
    }

    /// Takes SentencePiece's file, and what the files beside it in `folder` say.
    fn take_sentencepiece(
        &mut self,
        bytes: &[u8],
        file: String,
        folder: &Path,
    ) -> Result<(), LoadError> {
        let mut vocabulary = Vocabulary::from_sentencepiece(bytes, &file)?;
        let beside = Beside {
            config: object(&folder.join("tokenizer_config.json"))?,
            special: object(&folder.join("special_tokens_map.json"))?,
            added: object(&folder.join("added_tokens.json"))?,
        };
        let added = beside.add_to(&mut vocabulary);
        added.map_err(|reason| TokenizerError::Lists {
            file: file.clone(),
            reason,
        })?;
        let token = |id: Option<u32>| vocabulary.tokens.get(id? as usize).cloned();
        let (bos, eos) = (token(vocabulary.bos_id), token(vocabulary.eos_id));
        self.template.bos = bos.or(self.template.bos.take());
        self.template.eos = eos.or(self.template.eos.take());
        self.tokenizer = Some((TokenizerFile::Vocabulary(Box::new(vocabulary)), file));
        Ok(())
    }

    /// Of a model in memory: only `tokenizer.json`.
    pub fn in_memory(json: Option<&[u8]>) -> TextFiles {
        let json = json.map(|json| {
            (
                TokenizerFile::Json(json.to_vec()),
                "tokenizer.json".to_owned(),
            )
        });
        TextFiles {
            tokenizer: json,
            template: TemplateSource::default(),
        }
    }

    /// Of a packed model: what [`TextFiles::parts`] wrote. `part` gives a part's bytes, `model` is the file's name.
    pub fn in_packed<'a>(
        model: &str,
        part: impl Fn(&str) -> Result<Option<&'a [u8]>, LoadError>,
    ) -> Result<TextFiles, LoadError> {
        let named = |name: &str| format!("{model}: {name}");
        let damaged = |name: &str| LoadError::Packed {
            file: model.to_owned(),
            reason: format!(
                "is damaged: {name} in it is not what was written; pack the model again with `tern pack`"
            ),
        };
        let mut tokenizer = None;
        if let Some(bytes) = part(PART_JSON)? {
            tokenizer = Some((TokenizerFile::Json(bytes.to_vec()), named(PART_JSON)));
        } else if let Some(bytes) = part(PART_TIKTOKEN)? {
            tokenizer = Some((
                TokenizerFile::Tiktoken(bytes.to_vec()),
                named(PART_TIKTOKEN),
            ));
        } else if let Some(bytes) = part(PART_VOCABULARY)? {
            let vocabulary = serde_json::from_slice(bytes).map_err(|_| damaged(PART_VOCABULARY))?;
            tokenizer = Some((
                TokenizerFile::Vocabulary(vocabulary),
                named(PART_VOCABULARY),
            ));
        }
        let template = match part(PART_TEMPLATE)? {
            Some(bytes) => TemplateSource::of_config(bytes, &named(PART_TEMPLATE)),
            None => TemplateSource::default(),
        };
        Ok(TextFiles {
            tokenizer,
            template,
        })
    }

    /// Parts of a packed model that hold all this: names and bytes.
    pub fn parts(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut parts = Vec::new();
        match &self.tokenizer {
            Some((TokenizerFile::Json(bytes), _)) => parts.push((PART_JSON, bytes.clone())),
            Some((TokenizerFile::Tiktoken(bytes), _)) => parts.push((PART_TIKTOKEN, bytes.clone())),
            Some((TokenizerFile::Vocabulary(vocabulary), _)) => {
                parts.push((PART_VOCABULARY, json!(vocabulary).to_string().into_bytes()));
            }
            None => (),
        }
        let TemplateSource { text, bos, eos, .. } = &self.template;
        if text.is_some() || bos.is_some() || eos.is_some() {
            let object = json!({ "chat_template": text, "bos_token": bos, "eos_token": eos });
            parts.push((PART_TEMPLATE, object.to_string().into_bytes()));
        }
        parts
    }

    /// What kind of tokenizer it is, and its file.
    pub fn described(&self) -> Option<String> {
        let (tokenizer, file) = self.tokenizer.as_ref()?;
        let kind = match tokenizer {
            TokenizerFile::Json(_) => "as Hugging Face's tokenizers have it",
            TokenizerFile::Tiktoken(_) => "tiktoken's",
            TokenizerFile::Vocabulary(lists) if lists.model == "llama" => "SentencePiece's BPE",
            TokenizerFile::Vocabulary(_) => "byte-level BPE",
        };
        Some(format!("{kind}, {file}"))
    }

    /// Makes the tokenizer, for a model with so many rows in its embedding.
    pub fn tokenizer(&self, rows: usize) -> Result<Option<Tokenizer>, TokenizerError> {
        let Some((tokenizer, file)) = &self.tokenizer else {
            return Ok(None);
        };
        let tokenizer = match tokenizer {
            TokenizerFile::Json(bytes) => Tokenizer::parse(bytes, file)?,
            TokenizerFile::Tiktoken(bytes) => Tokenizer::from_tiktoken(bytes, file)?,
            TokenizerFile::Vocabulary(vocabulary) => {
                Tokenizer::from_vocabulary(Vocabulary::clone(vocabulary), file)?
            }
        };
        tokenizer.check_vocabulary(rows, file)?;
        Ok(Some(tokenizer))
    }

    /// Every token that ends a text or a turn, sorted: those of `config.json`, of `generation_config.json` (its bytes and name), what
    /// `tokenizer_config.json` calls the end, what the vocabulary's metadata names, and known names.
    pub fn stop_ids(
        &self,
        config: &[u32],
        generation: Option<(&[u8], &str)>,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Vec<u32>, ConfigError> {
        let mut ids = config.to_vec();
        if let Some((json, file)) = generation {
            ids.extend(Object::parse(json, file)?.ids("eos_token_id")?);
        }
        if let Some(tokenizer) = tokenizer {
            ids.extend(tokenizer.end_of_turn_ids());
            let end = self.template.eos.as_deref();
            ids.extend(end.and_then(|token| tokenizer.id(token)));
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}

/// The JSON object in a file, empty where there is no file.
fn object(path: &Path) -> Result<Map<String, Value>, LoadError> {
    if !path.is_file() {
        return Ok(Map::new());
    }
    let bytes = read_file(path, "what the model's tokenizer needs to know", MAX_BESIDE)?;
    let parsed = serde_json::from_slice(&bytes);
    Ok(parsed.map_err(|error| TokenizerError::Lists {
        file: path.display().to_string(),
        reason: format!("not a JSON object ({}); download it again", shorten(error)),
    })?)
}

/// Whether a file is tiktoken's: a first line of a token in base64 and the rank 0.
fn is_tiktoken(bytes: &[u8]) -> bool {
    let line = bytes
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let token = line.trim_ascii().strip_suffix(b" 0").unwrap_or_default();
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    !token.is_empty() && token.len() < 1 << 10 && token.iter().all(is_base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_tokenizer_model_are_told_apart() {
        assert!(is_tiktoken(b"IQ== 0\nIg== 1\n"));
        assert!(!is_tiktoken(b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02"));
        assert!(!is_tiktoken(b"") && !is_tiktoken(b" 0\n") && !is_tiktoken(b"IQ== 1\n"));
    }

    /// What a packed model keeps of each form is the form itself.
    #[test]
    fn parts_are_read_as_they_were_written() {
        let vocabulary = Vocabulary {
            model: "llama".to_owned(),
            tokens: vec!["▁a".to_owned()],
            scores: vec![-1.5, f32::MIN],
            eos_id: Some(2),
            ..Vocabulary::default()
        };
        let template = TemplateSource {
            text: Some("{{ messages }}".to_owned()),
            eos: Some("</s>".to_owned()),
            ..TemplateSource::default()
        };
        let forms = [
            TokenizerFile::Json(b"{}".to_vec()),
            TokenizerFile::Tiktoken(b"IQ== 0".to_vec()),
            TokenizerFile::Vocabulary(Box::new(vocabulary)),
        ];
        for form in forms {
            let files = TextFiles {
                tokenizer: Some((form, String::new())),
                template: template.clone(),
            };
            let parts = files.parts();
            let part = |name: &str| {
                let found = parts.iter().find(|(part, _)| *part == name);
                Ok(found.map(|(_, bytes)| &bytes[..]))
            };
            let again = TextFiles::in_packed("model", part).unwrap();
            assert_eq!(again.parts(), parts);
            assert_eq!(again.template.text, template.text);
            assert_eq!(
                (again.template.bos, again.template.eos),
                (None, template.eos.clone())
            );
        }
    }
}
