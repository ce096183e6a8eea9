//! Text to token ids and back: a thin wrapper around Hugging Face's `tokenizers`.
//!
//! It pins down what the wrapped crate leaves open: truncation and padding that a `tokenizer.json`
//! may carry are switched off (they belong to training), and decoding token by token never splits a
//! character.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{TokenizerError, shorten};
use crate::expansion;

/// Tokens that end a turn or a text in the models tern runs. Some models name one of them in no
/// configuration file.
const END_OF_TURN: [&str; 5] = [
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|endoftext|>",
    "</s>",
];

/// A model's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The file's name, for messages.
    file: String,
}

impl Tokenizer {
    /// Reads `tokenizer.json`. `file` is the name used in messages.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Parse`], [`TokenizerError::Contradiction`].
    pub fn parse(json: &[u8], file: &str) -> Result<Tokenizer, TokenizerError> {
        let error = |reason: String| TokenizerError::Parse {
            file: file.to_owned(),
            reason,
        };
        expansion::check(json).map_err(error)?;
        let mut inner = contain(file, || tokenizers::Tokenizer::from_bytes(json))?
            .map_err(|source| error(shorten(source)))?;
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|source| error(shorten(source)))?;
        Ok(Tokenizer {
            inner,
            file: file.to_owned(),
        })
    }

    /// Refuses a tokenizer that can produce ids beyond the embedding's `rows`. Fewer ids than rows
    /// are usual: embeddings are padded.
    pub(crate) fn check_vocabulary(&self, rows: usize, file: &str) -> Result<(), TokenizerError> {
        let highest = self
            .inner
            .get_vocab(true)
            .into_iter()
            .max_by_key(|&(_, id)| id);
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

    /// The ids of a text. With `special`, the tokenizer adds what its model expects around a text,
    /// such as a begin-of-text token.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Failed`] where the tokenizer has no token for some input.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoding = contain(&self.file, || self.inner.encode_fast(text, special))?
            .map_err(|error| TokenizerError::Failed(shorten(error)))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of some ids; with `skip_special`, without special tokens. Bytes that are not UTF-8
    /// become U+FFFD.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Failed`].
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        contain(&self.file, || self.inner.decode(ids, skip_special))?
            .map_err(|error| TokenizerError::Failed(shorten(error)))
    }

    /// Number of tokens, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token as it is spelled in `tokenizer.json`.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Starts decoding token by token, without special tokens.
    pub fn stream(&self) -> DecodeStream<'_> {
        DecodeStream {
            tokenizer: self,
            ids: Vec::new(),
            read: 0,
            emitted: 0,
        }
    }

    pub(crate) fn end_of_turn_ids(&self) -> impl Iterator<Item = u32> + '_ {
        END_OF_TURN.iter().filter_map(|token| self.id(token))
    }
}

thread_local! {
    /// Whether this thread runs the wrapped crate.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread, now, would become a [`TokenizerError`].
///
/// A panic hook runs before the panic is caught. A program that asks here can keep its hook silent
/// about what is soon reported as an error.
pub fn tokenizer_panic_is_contained() -> bool {
    CONTAINED.get()
}

/// Runs the wrapped crate. It indexes by what `tokenizer.json` says in places (a template that names an
/// unknown token), so a damaged file can make it panic; that must not end the program.
fn contain<T>(file: &str, f: impl FnOnce() -> T) -> Result<T, TokenizerError> {
    CONTAINED.set(true);
    // The tokenizer is only read, so a panic leaves nothing half-changed.
    let result = catch_unwind(AssertUnwindSafe(f));
    CONTAINED.set(false);
    result.map_err(|_| TokenizerError::Contradiction {
        file: file.to_owned(),
    })
}

/// Decodes a growing list of ids into pieces of text that are whole characters.
///
/// A byte-level token may end inside a character. The decoder shows the unfinished bytes as U+FFFD,
/// so up to three of those at the end are held back until a later token completes them or shows that
/// they are really invalid. Each step decodes only the ids since the last complete piece, after the
/// piece before it, which some decoders need to know where a word begins.
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    /// The ids of the last complete piece and those after it.
    ids: Vec<u32>,
    /// How many of them the last complete piece has.
    read: usize,
    /// Bytes of the decoded `ids` that were returned.
    emitted: usize,
}

/// Bytes of an unfinished character: at most three of four.
const UNFINISHED: usize = 3;
/// Ids after the last complete piece that are decoded together. Those of one character are fewer.
const MAX_PENDING: usize = 8;
/// Of these, the ids that stay: more than an unfinished character has bytes.
const KEPT: usize = 4;

/// Characters at the end of a text that may be bytes of an unfinished one.
fn invalid_tail(text: &str) -> usize {
    let backwards = text.chars().rev().take(UNFINISHED);
    backwards.take_while(|&c| c == '\u{fffd}').count()
}

impl DecodeStream<'_> {
    /// Adds an id and returns the text that became complete, which may be empty.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Failed`].
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids, true)?;
        let held = invalid_tail(&text);
        let complete = text.len() - held * '\u{fffd}'.len_utf8();
        let piece = text
            .get(self.emitted..complete)
            .unwrap_or_default()
            .to_owned();
        self.emitted = self.emitted.max(complete);
        if held == 0 {
            self.ids.drain(..self.read);
            self.read = self.ids.len();
            self.emitted = self.tokenizer.decode(&self.ids, true)?.len();
            return Ok(piece);
        }
        if self.ids.len() - self.read > MAX_PENDING {
            return Ok(piece + &self.forget(held)?);
        }
        Ok(piece)
    }

    /// Keeps only the newest ids, of which `held` characters are to be held back; returns those that
    /// they no longer show. Without this, each id of an endless run of invalid bytes would decode the
    /// whole run again.
    fn forget(&mut self, held: usize) -> Result<String, TokenizerError> {
        self.ids.drain(..self.ids.len() - KEPT);
        self.read = 0;
        let text = self.tokenizer.decode(&self.ids, true)?;
        let still = invalid_tail(&text).min(held);
        self.emitted = text.len() - still * '\u{fffd}'.len_utf8();
        Ok("\u{fffd}".repeat(held - still))
    }

    /// Returns what was held back: the bytes of a character that was never completed.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Failed`].
    pub fn finish(self) -> Result<String, TokenizerError> {
        let text = self.tokenizer.decode(&self.ids, true)?;
        Ok(text.get(self.emitted..).unwrap_or_default().to_owned())
    }
}
