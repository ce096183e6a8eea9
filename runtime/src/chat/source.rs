//! Where a model folder keeps its template, and what its tokenizer calls begin and end of text.

use std::path::Path;

use serde_json::{Map, Value};

use super::builtin;
use super::template::{ChatTemplate, TemplateError};
use crate::checkpoint::read_file;
use crate::error::{LoadError, shorten};

/// Longest file accepted; those with every added token described have some hundred kilobytes.
const MAX_FILE: u64 = 16 << 20;

/// A template as text, before it is known whether anyone needs it.
#[derive(Clone, Debug, Default)]
pub(crate) struct TemplateSource {
    /// The template.
    pub text: Option<String>,
    /// The file that it comes from.
    pub file: String,
    /// The begin-of-text token, where a file names it.
    pub bos: Option<String>,
    /// The end-of-text token.
    pub eos: Option<String>,
    /// Why there is none, although there is a file.
    pub failure: Option<TemplateError>,
}

impl TemplateSource {
    /// Looks through a folder: `chat_template.jinja`, `chat_template.json`, `tokenizer_config.json`. A damaged file is no reason not to load
    /// the model: it is remembered for whoever asks for the template.
    ///
    /// # Errors
    ///
    /// A file cannot be read or is too large.
    pub fn in_folder(folder: &Path) -> Result<TemplateSource, LoadError> {
        let read = |name: &str| match folder.join(name) {
            path if path.is_file() => {
                let bytes = read_file(&path, "the model's chat template", MAX_FILE)?;
                Ok::<_, LoadError>(Some((path.display().to_string(), bytes)))
            }
            _ => Ok(None),
        };
        let mut source = TemplateSource::default();
        if let Some((file, bytes)) = read("tokenizer_config.json")? {
            source.take(&file, config(&bytes));
        }
        if let Some((file, bytes)) = read("chat_template.json")? {
            source.take(&file, config(&bytes));
        }
        if let Some((file, bytes)) = read("chat_template.jinja")? {
            let text = String::from_utf8(bytes);
            let text = text.map_err(|_| "not UTF-8 text; download it again".to_owned());
            source.take(&file, text.map(|text| (Some(text), None, None)));
        }
        Ok(source)
    }

    /// Of one file like `tokenizer_config.json`.
    pub fn of_config(bytes: &[u8], file: &str) -> TemplateSource {
        let mut source = TemplateSource::default();
        source.take(file, config(bytes));
        source
    }

    /// Takes what a later file says instead of an earlier one.
    fn take(&mut self, file: &str, found: Result<Config, String>) {
        match found {
            Ok((text, bos, eos)) => {
                if text.is_some() {
                    (self.text, self.failure) = (text, None);
                    file.clone_into(&mut self.file);
                }
                self.bos = bos.or(self.bos.take());
                self.eos = eos.or(self.eos.take());
            }
            Err(reason) => {
                let file = file.to_owned();
                self.failure = Some(TemplateError::Source { file, reason });
            }
        }
    }

    /// Compiles it.
    ///
    /// # Errors
    ///
    /// There is none, or it is wrong.
    pub fn template(&self, model: &str) -> Result<ChatTemplate, TemplateError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        match &self.text {
            Some(text) => Ok(self.prepare(ChatTemplate::parse(text, &self.file)?)),
            None => Err(TemplateError::Absent {
                model: model.to_owned(),
            }),
        }
    }

    /// The template's text for other programs: where it is known to be wrong the right one, and a note.
    pub fn corrected(&self) -> (Option<&str>, Option<String>) {
        let text = self.text.as_deref();
        match text.and_then(builtin::corrected) {
            Some((name, right)) => (
                Some(right),
                Some(format!(
                    "{}: the chat template in it is known to be wrong (its answers do not end); the built-in `{name}` is written",
                    self.file
                )),
            ),
            None => (text, None),
        }
    }

    /// Tells a template of another origin what this model calls begin and end of text.
    pub fn prepare(&self, template: ChatTemplate) -> ChatTemplate {
        template.with_tokens(self.bos.as_deref(), self.eos.as_deref())
    }
}

/// A template, and the texts of the begin-of-text and end-of-text tokens.
type Config = (Option<String>, Option<String>, Option<String>);

/// What `tokenizer_config.json`, or `chat_template.json`, says.
fn config(bytes: &[u8]) -> Result<Config, String> {
    let map: Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|error| format!("not a JSON object ({}); download it again", shorten(error)))?;
    let token = |key: &str| match map.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Object(token) => Some(token.get("content")?.as_str()?.to_owned()),
        _ => None,
    };
    Ok((template(&map)?, token("bos_token"), token("eos_token")))
}

/// The template itself: a text, or a list of named ones, of which `default` is for chatting.
fn template(map: &Map<String, Value>) -> Result<Option<String>, String> {
    match map.get("chat_template") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Array(named)) => {
            let text = |entry: &Value| Some(entry.get("template")?.as_str()?.to_owned());
            let is_default =
                |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some("default");
            Ok(named
                .iter()
                .find(is_default)
                .or(named.first())
                .and_then(text))
        }
        Some(other) => Err(format!(
            "\"chat_template\" is {}; expected a text, or a list of objects with \"name\" and \"template\"",
            shorten(other)
        )),
    }
}
