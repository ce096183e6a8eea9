//! Text to token ids and back.
//!
//! A [`Tokenizer`] comes from one of four kinds of file: Hugging Face's `tokenizer.json`, run by their own crate; the lists in GGUF metadata
//! ([`Vocabulary`]); SentencePiece's `tokenizer.model`, which becomes such lists; tiktoken's, as Llama 3 was published. All but the first are run
//! by tern's own encoders, for their rules of merging are not quite what the crate can be told: of pairs of equal rank the leftmost goes first.
//!
//! What all have in common is pinned down here: decoding token by token never splits a character ([`DecodeStream`]), and text that users
//! wrote never becomes a control token ([`Tokenizer::encode_prompt`]).

mod beside;
mod bpe;
mod expansion;
mod huggingface;
mod merge;
mod own;
mod protobuf;
mod sentencepiece;
pub(crate) mod special;
mod split;
mod spm;
mod stream;
mod tiktoken;
mod vocabulary;

use self::huggingface::HuggingFace;
use self::own::Own;
use crate::chat::Prompt;
use crate::error::{TokenizerError, shorten};

pub(crate) use beside::Beside;
pub use huggingface::tokenizer_panic_is_contained;
pub(crate) use spm::SPACE;
pub use stream::DecodeStream;
pub use vocabulary::Vocabulary;
pub(crate) use vocabulary::{is_neox, kind};

/// Tokens that end a turn or a text in the models tern runs. Some models name one of them in no
/// configuration file.
pub(crate) const END_OF_TURN: [&str; 13] = [
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|endoftext|>",
    "</s>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|eom_id|>",
    "<EOT>",
    "<end_of_utterance>",
    "<eos>",
];

/// The name for `tokenizer.ggml.pre` of a regular expression that cuts texts, and of whether words that are tokens are not merged.
pub(crate) fn name_of_split(pattern: &str, ignore_merges: bool) -> Option<&'static str> {
    split::Split::name(pattern, ignore_merges)
}

/// A model's tokenizer.
pub struct Tokenizer(Kind);

enum Kind {
    HuggingFace(Box<HuggingFace>),
    Own(Box<Own>),
}

impl Tokenizer {
    /// Reads `tokenizer.json`. `file` is the name used in messages.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Parse`], [`TokenizerError::Contradiction`].
    pub fn parse(json: &[u8], file: &str) -> Result<Tokenizer, TokenizerError> {
        let inner = HuggingFace::parse(json, file)?;
        Ok(Tokenizer(Kind::HuggingFace(Box::new(inner))))
    }

    /// Reads tiktoken's `tokenizer.model` of the Llama 3 family. `file` is the name used in messages.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Lists`].
    pub fn from_tiktoken(bytes: &[u8], file: &str) -> Result<Tokenizer, TokenizerError> {
        Ok(Tokenizer(Kind::Own(Box::new(tiktoken::parse(
            bytes, file,
        )?))))
    }

    /// Makes a tokenizer of GGUF metadata. `file` is the name used in messages.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Lists`].
    pub fn from_vocabulary(
        vocabulary: Vocabulary,
        file: &str,
    ) -> Result<Tokenizer, TokenizerError> {
        Ok(Tokenizer(Kind::Own(Box::new(vocabulary.build(file)?))))
    }

    /// Refuses a tokenizer that can produce ids beyond the embedding's `rows`. Fewer ids than rows
    /// are usual: embeddings are padded.
    pub(crate) fn check_vocabulary(&self, rows: usize, file: &str) -> Result<(), TokenizerError> {
        let highest = match &self.0 {
            Kind::HuggingFace(inner) => inner.highest(),
            Kind::Own(own) => own
                .used
                .checked_sub(1)
                .and_then(|id| Some((own.tokens.get(id)?.clone(), u32::try_from(id).ok()?))),
        };
        match highest {
            Some((token, id)) if id as usize >= rows => Err(TokenizerError::Vocabulary {
                file: file.to_owned(),
                token: shorten(token),
                id,
                rows,
            }),
            _ => Ok(()),
        }
    }

    /// The ids of a text. Control tokens that are spelled out in it are found. With `special`, the tokenizer adds what its model expects
    /// around a text, such as a begin-of-text token.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Failed`] where the tokenizer has no token for some input.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        match &self.0 {
            Kind::HuggingFace(inner) => inner.encode(text, special),
            Kind::Own(own) => {
                let mut ids = own.encode(text, true, &[]);
                if special {
                    self.add_prefix(&mut ids);
                }
                Ok(ids)
            }
        }
    }

    /// The ids of a text in which nothing is a control token, with nothing around it.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match &self.0 {
            // A break inside of every character that could begin one.
            Kind::HuggingFace(inner) => inner.encode_broken(text, &every_boundary(text)),
            Kind::Own(own) => Ok(own.encode(text, false, &[])),
        }
    }

    /// The ids of a conversation: control tokens are what its template wrote, not what stands in messages. Where the tokenizer puts a
    /// begin-of-text token before texts and the template did not, it is added.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn encode_prompt(&self, prompt: &Prompt) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = match &self.0 {
            Kind::HuggingFace(inner) => inner.encode_broken(prompt.text(), prompt.breaks())?,
            Kind::Own(own) => own.encode(prompt.text(), true, prompt.breaks()),
        };
        self.add_prefix(&mut ids);
        Ok(ids)
    }

    /// Puts the begin-of-text token before `ids`, if there are to be one and none is there.
    fn add_prefix(&self, ids: &mut Vec<u32>) {
        let own;
        let prefix = match &self.0 {
            Kind::HuggingFace(inner) => inner.prefix(),
            Kind::Own(inner) => {
                own = inner.bos.filter(|_| inner.add_bos);
                own.as_slice()
            }
        };
        if !ids.starts_with(prefix) {
            ids.splice(0..0, prefix.iter().copied());
        }
    }

    /// The text of some ids; with `skip_special`, without special tokens. Bytes that are not UTF-8
    /// become U+FFFD.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Failed`].
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        match &self.0 {
            Kind::HuggingFace(inner) => inner.decode(ids, skip_special),
            Kind::Own(own) => Ok(own.decode(ids, skip_special)),
        }
    }

    /// Number of tokens, special ones included.
    pub fn vocab_size(&self) -> usize {
        match &self.0 {
            Kind::HuggingFace(inner) => inner.vocab_size(),
            Kind::Own(own) => own.tokens.len(),
        }
    }

    /// The id of a token as the file spells it.
    pub fn id(&self, token: &str) -> Option<u32> {
        match &self.0 {
            Kind::HuggingFace(inner) => inner.id(token),
            Kind::Own(own) => own.id(token),
        }
    }

    /// Whether a token as the file spells it is found in prompts as one, and not as the text that its letters are.
    pub(crate) fn is_control(&self, token: &str) -> bool {
        let ids = self.encode(token, false).unwrap_or_default();
        self.id(token).is_some_and(|id| ids.contains(&id))
    }

    /// Starts decoding token by token, without special tokens.
    pub fn stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self)
    }

    /// What was inferred about the vocabulary, or left out of it: for a person, who may know better.
    pub fn notes(&self) -> &[String] {
        match &self.0 {
            Kind::HuggingFace(_) => &[],
            Kind::Own(own) => &own.notes,
        }
    }

    /// Tokens that end a turn: those the file names, and known names.
    pub(crate) fn end_of_turn_ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = END_OF_TURN
            .iter()
            .filter_map(|token| self.id(token))
            .collect();
        if let Kind::Own(own) = &self.0 {
            ids.extend(&own.ends);
        }
        ids
    }

    /// The begin-of-text and end-of-text tokens as texts, where the file names them.
    pub(crate) fn ends_of_text(&self) -> [Option<String>; 2] {
        match &self.0 {
            Kind::HuggingFace(_) => [None, None],
            Kind::Own(own) => [own.bos, own.eos]
                .map(|id| Some(own.decode(&[id?], false)).filter(|text| !text.is_empty())),
        }
    }

    /// Where control tokens could begin.
    pub(crate) fn beginnings(&self) -> special::Beginnings {
        match &self.0 {
            Kind::HuggingFace(inner) => special::Beginnings::new(inner.control()),
            Kind::Own(own) => special::Beginnings::new(own.control()),
        }
    }
}

/// The byte offsets between all characters of a text.
fn every_boundary(text: &str) -> Vec<usize> {
    text.char_indices().map(|(at, _)| at).skip(1).collect()
}
