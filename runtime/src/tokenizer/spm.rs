//! SentencePiece's BPE, as models of Llama 2's time use it (`tokenizer.ggml.model` llama).
//!
//! Spaces become "▁"; then characters are merged, the pair with the highest score first. What is no piece in the end is spelled in byte
//! tokens `<0xXX>`, or becomes the unknown token. Pieces of type *unused* take part in merging but not in the result: they are taken apart
//! again as they were put together. llama.cpp and the SentencePiece library agree on all of this.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::merge::{Rank, Symbol, merge};

/// The character that stands for a space.
pub(super) const SPACE: char = '\u{2581}';

/// The encoder.
pub(super) struct Spm {
    /// Pieces that may be merged, by their text: id, rank and whether it may be in the result.
    pub pieces: HashMap<Box<[u8]>, Piece>,
    /// The token of each byte, where there is one.
    pub bytes: Box<[Option<u32>; 256]>,
    /// For what has neither piece nor bytes.
    pub unknown: Option<u32>,
    /// Whether a space is put before a text, and before what follows a control token.
    pub add_space_prefix: bool,
    /// Whether runs of spaces become one, and those at both ends none.
    pub remove_extra_whitespaces: bool,
}

/// A whole text with single spaces for runs of them, and none at its ends, where a "▁" of the text itself counts as one behind it.
pub(super) fn without_extra_spaces(text: &str) -> String {
    let text = text.trim_start_matches(' ').trim_end_matches([' ', SPACE]);
    let mut short = String::with_capacity(text.len());
    let mut was_space = false;
    for character in text.chars() {
        let is_space = character == ' ';
        if !(is_space && was_space) {
            short.push(character);
        }
        was_space = is_space;
    }
    short
}

/// A piece of the vocabulary.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub id: u32,
    /// Lower for higher scores.
    pub rank: u32,
    pub is_unused: bool,
}

/// Ranks for scores: lower for higher ones; equal scores have equal ranks.
pub(super) fn ranks(scores: &[f32]) -> Vec<u32> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by_key(|&index| Reverse(sortable(scores[index])));
    let mut ranks = vec![0; scores.len()];
    let mut rank = 0;
    for pair in 0..order.len() {
        if pair > 0 && sortable(scores[order[pair]]) != sortable(scores[order[pair - 1]]) {
            rank += 1;
        }
        ranks[order[pair]] = rank;
    }
    ranks
}

/// A number in the order of the floats; both zeros are equal.
fn sortable(score: f32) -> i32 {
    let bits = (score + 0.0).to_bits().cast_signed();
    bits ^ (((bits >> 31).cast_unsigned() >> 1).cast_signed())
}

impl Spm {
    /// Appends the ids of a text without special tokens. `is_first`: at the beginning or after a control token.
    pub fn encode(&self, text: &str, is_first: bool, out: &mut Vec<u32>) {
        let text = self.normalize(text, is_first);
        let symbols = text.chars().map(|character| (character.len_utf8(), None));
        let word = text.as_bytes();
        for symbol in merge(word, symbols, self) {
            self.emit(&word[symbol.start..symbol.end()], out);
        }
    }

    /// Appends the ids of the space before a text that begins with a user-defined token.
    pub fn encode_prefix(&self, out: &mut Vec<u32>) {
        if self.add_space_prefix {
            self.emit(SPACE.encode_utf8(&mut [0; 4]).as_bytes(), out);
        }
    }

    fn normalize(&self, text: &str, is_first: bool) -> String {
        let mut normal = String::with_capacity(text.len() + 8);
        if self.add_space_prefix && is_first {
            normal.push(SPACE);
        }
        let spaced = |character| if character == ' ' { SPACE } else { character };
        normal.extend(text.chars().map(spaced));
        normal
    }

    /// Appends what a symbol becomes.
    fn emit(&self, symbol: &[u8], out: &mut Vec<u32>) {
        match self.pieces.get(symbol) {
            Some(piece) if !piece.is_unused => out.push(piece.id),
            Some(_) => self.take_apart(symbol, out),
            None => self.spell(symbol, out),
        }
    }

    /// Merges an unused piece's characters again, without unused pieces.
    fn take_apart(&self, symbol: &[u8], out: &mut Vec<u32>) {
        let text = String::from_utf8_lossy(symbol);
        let lengths = text.chars().map(|character| (character.len_utf8(), None));
        for part in merge(symbol, lengths, &Used(self)) {
            let part = &symbol[part.start..part.end()];
            match self.pieces.get(part) {
                Some(piece) if !piece.is_unused => out.push(piece.id),
                _ => self.spell(part, out),
            }
        }
    }

    /// Appends byte tokens, or the unknown token, once for several in a row.
    fn spell(&self, symbol: &[u8], out: &mut Vec<u32>) {
        let ids: Option<Vec<u32>> = symbol
            .iter()
            .map(|&byte| self.bytes[usize::from(byte)])
            .collect();
        match ids {
            Some(ids) => out.extend(ids),
            None if self.unknown == out.last().copied() => (),
            None => out.extend(self.unknown),
        }
    }

    fn piece(&self, word: &[u8], left: &Symbol, right: &Symbol) -> Option<&Piece> {
        self.pieces.get(&word[left.start..right.end()])
    }
}

impl Rank for Spm {
    fn rank(&self, word: &[u8], left: &Symbol, right: &Symbol) -> Option<(u32, Option<u32>)> {
        let piece = self.piece(word, left, right)?;
        Some((piece.rank, Some(piece.id)))
    }
}

/// The vocabulary without unused pieces.
struct Used<'a>(&'a Spm);

impl Rank for Used<'_> {
    fn rank(&self, word: &[u8], left: &Symbol, right: &Symbol) -> Option<(u32, Option<u32>)> {
        let piece = self.0.piece(word, left, right)?;
        (!piece.is_unused).then_some((piece.rank, Some(piece.id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_scores_have_lower_ranks() {
        assert_eq!(
            ranks(&[-1.0, 0.0, -0.0, -2.5, 3.0, f32::NEG_INFINITY]),
            [2, 1, 1, 3, 0, 4]
        );
        assert_eq!(ranks(&[]), [0; 0]);
    }
}
