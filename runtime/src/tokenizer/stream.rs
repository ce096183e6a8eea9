//! Decoding token by token.

use super::Tokenizer;
use crate::error::TokenizerError;

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

impl<'a> DecodeStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> DecodeStream<'a> {
        DecodeStream {
            tokenizer,
            ids: Vec::new(),
            read: 0,
            emitted: 0,
        }
    }

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
            let alone = self.tokenizer.decode(&self.ids[self.read..], true)?.len();
            // What alone shows nothing, such as a space at the beginning, does not tell that something is before it.
            if alone > 0 || self.ids.len() > MAX_PENDING {
                self.ids.drain(..self.read);
                self.emitted = alone;
            }
            self.read = self.ids.len();
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
