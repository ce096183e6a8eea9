//! `tokenizer.json`: a thin wrapper around Hugging Face's `tokenizers`.
//!
//! It pins down what the wrapped crate leaves open: truncation and padding that a `tokenizer.json`
//! may carry are switched off (they belong to training), and tokens that are known to end a turn are control tokens, whatever the file
//! calls them.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use tokenizers::AddedToken;

use super::END_OF_TURN;
use super::expansion;
use super::special::{Part, SpecialTokens};
use crate::error::{TokenizerError, shorten};

/// The wrapped tokenizer.
pub(super) struct HuggingFace {
    inner: tokenizers::Tokenizer,
    /// The same, blind for control tokens. Made when a text needs it: only texts that spell one do.
    plain: OnceLock<tokenizers::Tokenizer>,
    /// Its control tokens.
    special: SpecialTokens,
    control: Vec<(String, u32)>,
    /// What it puts before a text. Found when it is needed.
    prefix: OnceLock<Vec<u32>>,
    /// The file's name, for messages.
    file: String,
}

impl HuggingFace {
    pub fn parse(json: &[u8], file: &str) -> Result<HuggingFace, TokenizerError> {
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
        mark_control(&mut inner);
        let added = inner.get_added_tokens_decoder().into_iter();
        let mut control: Vec<_> = added
            .filter(|(_, token)| token.special)
            .map(|(id, token)| (token.content, id))
            .collect();
        control.sort_unstable_by_key(|&(_, id)| id);
        let special = SpecialTokens::new(control.clone(), Vec::new()).map_err(error)?;
        Ok(HuggingFace {
            inner,
            plain: OnceLock::new(),
            special,
            control,
            prefix: OnceLock::new(),
            file: file.to_owned(),
        })
    }

    /// What is put before a text when special tokens are asked for.
    fn find_prefix(&self) -> Option<Vec<u32>> {
        let with = self.encode("a", true).ok()?;
        let without = self.encode("a", false).ok()?;
        let begins = |&at: &usize| with[at..].starts_with(&without);
        let at = (0..with.len()).find(begins)?;
        Some(with[..at].to_vec())
    }

    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        self.encode_by(&self.inner, text, special)
    }

    fn encode_by(
        &self,
        inner: &tokenizers::Tokenizer,
        text: &str,
        special: bool,
    ) -> Result<Vec<u32>, TokenizerError> {
        let encoding = contain(&self.file, || inner.encode_fast(text, special))?
            .map_err(|error| TokenizerError::Failed(shorten(error)))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Encodes a text in which no control token reaches over one of `breaks`.
    pub fn encode_broken(&self, text: &str, breaks: &[usize]) -> Result<Vec<u32>, TokenizerError> {
        if breaks.is_empty() {
            return self.encode(text, false);
        }
        let plain = self.plain.get_or_init(|| {
            let mut plain = self.inner.clone();
            plain.set_encode_special_tokens(true);
            plain
        });
        let mut ids = Ok(Vec::new());
        self.special.split(text, true, breaks, &mut |part| {
            let Ok(all) = &mut ids else {
                return;
            };
            match part {
                Part::Token(id) => all.push(id),
                Part::Text(text) => match self.encode_by(plain, text, false) {
                    Ok(more) => all.extend(more),
                    Err(error) => ids = Err(error),
                },
            }
        });
        ids
    }

    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        contain(&self.file, || self.inner.decode(ids, skip_special))?
            .map_err(|error| TokenizerError::Failed(shorten(error)))
    }

    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token with the highest id.
    pub fn highest(&self) -> Option<(String, u32)> {
        let vocabulary = self.inner.get_vocab(true).into_iter();
        vocabulary.max_by_key(|&(_, id)| id)
    }

    /// What is put before a text.
    pub fn prefix(&self) -> &[u32] {
        // A file that fails here fails, with a message, when a text is encoded.
        self.prefix
            .get_or_init(|| self.find_prefix().unwrap_or_default())
    }

    /// Spellings of all control tokens.
    pub fn control(&self) -> impl Iterator<Item = &str> {
        self.control.iter().map(|(text, _)| text.as_str())
    }
}

/// Makes control tokens of added tokens that end a turn, where the file calls them ordinary.
fn mark_control(inner: &mut tokenizers::Tokenizer) {
    let added = inner.get_added_tokens_decoder();
    let ends = added
        .into_values()
        .filter(|token| !token.special && END_OF_TURN.contains(&token.content.as_str()));
    let ends: Vec<AddedToken> = ends
        .map(|token| AddedToken {
            special: true,
            ..token
        })
        .collect();
    if !ends.is_empty() {
        // Ids stay as they are. A failure would leave the tokens as the file has them.
        let _ = inner.add_special_tokens(ends);
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
