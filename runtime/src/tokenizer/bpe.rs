//! Byte-level byte pair encoding, as GGUF metadata or tiktoken's files describe it.
//!
//! A word is a chain of bytes, each of them a token, and pairs are merged as the vocabulary ranks them. GPT-2's lineage ranks by a list of
//! merges and spells tokens in an alphabet of printable characters, one for each byte; tiktoken has no merges: a pair may be merged if the
//! whole is a token, and its rank is its id.

use std::collections::HashMap;

use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use super::merge::{Rank, Symbol, merge};
use super::split::Split;

/// Which pairs may be merged.
pub(super) enum Merges {
    /// Of two ids: the rank and the id of the whole.
    Pairs(HashMap<(u32, u32), (u32, u32)>),
    /// Those whose bytes together are a token; its id is the rank.
    ById,
}

/// The encoder.
pub(super) struct Bpe {
    pub split: Split,
    pub merges: Merges,
    /// Ordinary tokens by their bytes.
    pub ids: HashMap<Box<[u8]>, u32>,
    /// Whether a word that is a token is taken without merging.
    pub ignore_merges: bool,
    /// Whether characters are composed (NFC) before texts are cut.
    pub composes: bool,
    /// The token of each byte.
    pub bytes: Box<[u32; 256]>,
}

impl Bpe {
    /// The token of each byte, if every byte has one.
    ///
    /// # Errors
    ///
    /// The first byte that has none.
    pub fn byte_ids(ids: &HashMap<Box<[u8]>, u32>) -> Result<Box<[u32; 256]>, u8> {
        let mut found = Box::new([0; 256]);
        for byte in 0..=u8::MAX {
            found[usize::from(byte)] = *ids.get(&[byte][..]).ok_or(byte)?;
        }
        Ok(found)
    }

    /// Appends the ids of a text without special tokens.
    pub fn encode(&self, text: &str, out: &mut Vec<u32>) {
        let composed: String;
        let text = match self.composes && !is_nfc(text) {
            true => {
                composed = text.nfc().collect();
                &composed
            }
            false => text,
        };
        self.split
            .split(text, &mut |word| self.encode_word(word.as_bytes(), out));
    }

    fn encode_word(&self, word: &[u8], out: &mut Vec<u32>) {
        if let Some(&id) = self.ids.get(word).filter(|_| self.ignore_merges) {
            out.push(id);
            return;
        }
        let id = |&byte: &u8| self.bytes[usize::from(byte)];
        let symbols = word.iter().map(|byte| (1, Some(id(byte))));
        for symbol in merge(word, symbols, self) {
            // Every symbol is a byte, or a merge that has an id.
            out.extend(symbol.id);
        }
    }
}

impl Rank for Bpe {
    fn rank(&self, word: &[u8], left: &Symbol, right: &Symbol) -> Option<(u32, Option<u32>)> {
        match &self.merges {
            Merges::Pairs(pairs) => {
                let &(rank, id) = pairs.get(&(left.id?, right.id?))?;
                Some((rank, Some(id)))
            }
            Merges::ById => {
                let &id = self.ids.get(&word[left.start..right.end()])?;
                Some((id, Some(id)))
            }
        }
    }
}

/// The byte that a character of GPT-2's alphabet stands for. Printable ASCII and Latin-1 stand for themselves; the other 68 bytes, in order, for
/// what follows U+0100.
pub(super) fn byte_of(character: char) -> Option<u8> {
    let is_printable = |code: u32| matches!(code, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let code = u32::from(character);
    if is_printable(code) {
        return u8::try_from(code).ok();
    }
    let index = code.checked_sub(0x100)?;
    let mut others = (0..=u8::MAX).filter(|&byte| !is_printable(u32::from(byte)));
    others.nth(usize::try_from(index).ok()?)
}

/// The character of each byte.
pub(super) fn alphabet() -> [char; 256] {
    let mut alphabet = ['\0'; 256];
    for character in '!'..='\u{143}' {
        if let Some(byte) = byte_of(character) {
            alphabet[usize::from(byte)] = character;
        }
    }
    alphabet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_has_a_character_for_each_byte() {
        let mut bytes: Vec<u8> = (0..0x200)
            .filter_map(char::from_u32)
            .filter_map(byte_of)
            .collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert!((0..=255).all(|byte| byte_of(alphabet()[usize::from(byte)]) == Some(byte)));
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
        assert_eq!(byte_of('▁'), None);
        assert_eq!(byte_of(' '), None);
    }
}
