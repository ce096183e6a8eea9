//! SentencePiece's BPE, as models of Llama 2's time use it (`tokenizer.ggml.model` llama).
//!
//! Spaces become "▁"; user-defined pieces are found; then the other characters are merged, the pair with the highest score first. What is no
//! piece in the end is spelled in byte tokens `<0xXX>`, or becomes the unknown token. Pieces of type *unused* take part in merging but not in
//! the result: they are taken apart again as they were put together. All of this is as the SentencePiece library does it; llama.cpp agrees
//! but for unused pieces, which it has in results.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::HashMap;

use super::merge::{Rank, Symbol, merge};
use super::special::SpecialTokens;

/// The character that stands for a space.
pub(crate) const SPACE: char = '\u{2581}';

/// The encoder.
pub(super) struct Spm {
    /// Pieces that may be merged, by their text: id, rank and whether it may be in the result.
    pub pieces: HashMap<Box<[u8]>, Piece>,
    /// The token of each byte, where there is one.
    pub bytes: Box<[Option<u32>; 256]>,
    /// For what has neither piece nor bytes.
    pub unknown: Option<u32>,
    /// Tokens that are never taken apart nor merged, spelled as in a text whose spaces are replaced.
    pub user_defined: SpecialTokens,
    /// Whether a space is put before a text.
    pub add_space_prefix: bool,
    /// Whether it is also put before what follows a control token.
    pub space_after_control: bool,
    /// Whether runs of spaces become one, and those at both ends none.
    pub remove_extra_whitespaces: bool,
}

/// A whole text with single spaces for runs of them, and none at its ends, where a "▁" of the text itself counts as one behind it.
fn without_extra_spaces(text: &str) -> String {
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
    /// Appends the ids of a text without control tokens. `is_first`: it is the beginning, not what follows a control token.
    pub fn encode(&self, text: &str, is_first: bool, out: &mut Vec<u32>) {
        let text = self.normalize(text, is_first);
        let symbols_of = |text: &str| {
            let lengths = text.chars().map(|character| (character.len_utf8(), None));
            lengths.collect::<Vec<_>>()
        };
        let (mut symbols, mut at) = (Vec::new(), 0);
        for (place, id) in self.user_defined.user_defined(&text) {
            symbols.extend(symbols_of(&text[at..place.start]));
            symbols.push((place.len(), Some(id)));
            at = place.end;
        }
        symbols.extend(symbols_of(&text[at..]));
        let merging = Merging {
            spm: self,
            halves: RefCell::default(),
        };
        let word = text.as_bytes();
        let merged = merge(word, symbols.into_iter(), &merging);
        let halves = merging.halves.into_inner();
        for symbol in merged {
            match symbol.id {
                Some(id) => out.push(id),
                None => self.emit(&word[symbol.start..symbol.end()], &halves, out),
            }
        }
    }

    fn normalize(&self, text: &str, is_first: bool) -> String {
        let short = match self.remove_extra_whitespaces {
            true => Some(without_extra_spaces(text)),
            false => None,
        };
        let text = short.as_deref().unwrap_or(text);
        let mut normal = String::with_capacity(text.len() + 8);
        if self.add_space_prefix && (is_first || self.space_after_control) && !text.is_empty() {
            normal.push(SPACE);
        }
        let spaced = |character| if character == ' ' { SPACE } else { character };
        normal.extend(text.chars().map(spaced));
        normal
    }

    /// Appends what a symbol becomes; unused pieces are taken apart.
    fn emit(&self, symbol: &[u8], halves: &HashMap<u32, usize>, out: &mut Vec<u32>) {
        let mut parts = vec![symbol];
        while let Some(part) = parts.pop() {
            let Some(piece) = self.pieces.get(part) else {
                self.spell(part, out);
                continue;
            };
            match halves.get(&piece.id).filter(|_| piece.is_unused) {
                Some(&half) => {
                    let (left, right) = part.split_at(half);
                    parts.extend([right, left]);
                }
                // One character that is unused stays, too.
                None => out.push(piece.id),
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
}

/// Merges of one text.
struct Merging<'a> {
    spm: &'a Spm,
    /// For each unused piece that could be put together the bytes of its left part, as it was seen last.
    halves: RefCell<HashMap<u32, usize>>,
}

impl Rank for Merging<'_> {
    /// No pair has an id: what has one is user-defined.
    fn rank(&self, word: &[u8], left: &Symbol, right: &Symbol) -> Option<(u32, Option<u32>)> {
        if left.id.is_some() || right.id.is_some() {
            return None;
        }
        let piece = self.spm.pieces.get(&word[left.start..right.end()])?;
        if piece.is_unused {
            self.halves.borrow_mut().insert(piece.id, left.len);
        }
        Some((piece.rank, None))
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
