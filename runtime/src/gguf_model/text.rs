//! Tokenizer and chat template of a GGUF file's metadata.

use crate::chat::TemplateSource;
use crate::gguf::{GgufError, Metadata, Value};
use crate::note::Note;
use crate::text::{TextFiles, TokenizerFile};
use crate::tokenizer::Vocabulary;

/// The key with a whole `tokenizer.json`, which says more than the lists.
pub(crate) const HUGGINGFACE: &str = "tokenizer.huggingface.json";
/// The key with the chat template.
pub(crate) const TEMPLATE: &str = "tokenizer.chat_template";

/// Whether llama's space before a text is also put before what follows a control token.
pub(crate) const SPACE_AFTER_CONTROL: &str = "tern.space_after_control";

/// tern's own key: all tokens that end a text or a turn, where they are more than the file has other keys for.
pub(crate) const ENDS: &str = "tern.eos_token_ids";

/// What the metadata says of text. `file` is the model's name.
pub(super) fn text(metadata: Metadata<'_>, file: &str) -> Result<TextFiles, GgufError> {
    let vocabulary = vocabulary(metadata)?;
    let token = |id: Option<u32>| {
        let tokens = &vocabulary.as_ref()?.tokens;
        tokens.get(id? as usize).cloned()
    };
    let ids = vocabulary
        .as_ref()
        .map(|found| (found.bos_id, found.eos_id));
    let (bos, eos) = ids.unwrap_or_default();
    let (key, text) = template(metadata)?;
    let template = TemplateSource {
        text: text.map(str::to_owned),
        file: format!("{file}: {key}"),
        bos: token(bos),
        eos: token(eos),
        failure: None,
    };
    let tokenizer = match metadata.get::<&str>(HUGGINGFACE)? {
        Some(json) => Some((
            TokenizerFile::Json(json.as_bytes().to_vec()),
            format!("{file}: {HUGGINGFACE}"),
        )),
        None => {
            vocabulary.map(|found| (TokenizerFile::Vocabulary(Box::new(found)), file.to_owned()))
        }
    };
    Ok(TextFiles {
        tokenizer,
        template,
    })
}

/// The chat template and its key. Of several, which have names of their own, `default` is for chatting, as in folders; else the first.
fn template(metadata: Metadata<'_>) -> Result<(String, Option<&str>), GgufError> {
    let prefix = format!("{TEMPLATE}.");
    let mut named: Vec<&str> = metadata
        .iter()
        .map(|(key, _)| key)
        .filter(|key| key.starts_with(&prefix))
        .collect();
    named.sort_by_key(|key| key[prefix.len()..] != *"default");
    for key in std::iter::once(TEMPLATE).chain(named) {
        if let Some(text) = metadata.get::<&str>(key)? {
            return Ok((key.to_owned(), Some(text)));
        }
    }
    Ok((TEMPLATE.to_owned(), None))
}

/// Tokens that end a text or a turn besides `eos_token_id`, whatever the tokenizer is made of.
pub(super) fn ends(metadata: Metadata<'_>) -> Result<Vec<u32>, GgufError> {
    let mut ends = Vec::new();
    for name in ["eot_token_id", "eom_token_id"] {
        ends.extend(token_id(metadata, &format!("tokenizer.ggml.{name}"))?);
    }
    ends.extend(metadata.get::<Vec<u32>>(ENDS)?.unwrap_or_default());
    Ok(ends)
}

/// The lists, or `None` where there are no tokens.
fn vocabulary(metadata: Metadata<'_>) -> Result<Option<Vocabulary>, GgufError> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let Some(tokens) = metadata.get::<Vec<&str>>(&key("tokens"))? else {
        return Ok(None);
    };
    let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let text =
        |name: &str| Ok::<_, GgufError>(metadata.get::<&str>(&key(name))?.map(str::to_owned));
    let id = |name: &str| token_id(metadata, &key(name));
    let flag = |name: &str| metadata.get::<bool>(&key(name));
    Ok(Some(Vocabulary {
        model: metadata.require::<&str>(&key("model"))?.to_owned(),
        pre: text("pre")?,
        tokens: owned(tokens),
        types: metadata.get(&key("token_type"))?.unwrap_or_default(),
        scores: metadata.get(&key("scores"))?.unwrap_or_default(),
        merges: owned(metadata.get(&key("merges"))?.unwrap_or_default()),
        bos_id: id("bos_token_id")?,
        eos_id: id("eos_token_id")?,
        eot_id: id("eot_token_id")?,
        eom_id: id("eom_token_id")?,
        unknown_id: id("unknown_token_id")?,
        padding_id: id("padding_token_id")?,
        add_bos: flag("add_bos_token")?,
        add_space_prefix: flag("add_space_prefix")?,
        remove_extra_whitespaces: flag("remove_extra_whitespaces")?,
        space_after_control: metadata.get::<bool>(SPACE_AFTER_CONTROL)?,
    }))
}

/// Keys of ids that some programs set to -1 where there is no such token.
const IDS: [&str; 6] = ["bos", "eos", "eot", "eom", "unknown", "padding"];

/// The id that a key names; one below zero is none.
pub(super) fn token_id(metadata: Metadata<'_>, key: &str) -> Result<Option<u32>, GgufError> {
    match metadata.value(key).and_then(Value::integer) {
        Some(..0) => Ok(None),
        _ => metadata.get(key),
    }
}

/// What is to be said of ids that are none.
pub(super) fn id_notes(metadata: Metadata<'_>) -> impl Iterator<Item = Note> {
    IDS.into_iter().filter_map(move |name| {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let id = metadata.value(&key)?.integer().filter(|&id| id < 0)?;
        Some(Note::suspicious(format!(
            "{key} is {id}, which is no token; it is ignored"
        )))
    })
}
