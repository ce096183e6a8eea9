//! A tokenizer of tern's own, made from lists of tokens: what both encoders share.

use super::bpe::Bpe;
use super::special::{Part, SpecialTokens};
use super::spm::{SPACE, Spm};

/// How text between special tokens is encoded.
pub(super) enum Encoder {
    Bpe(Bpe),
    Spm(Spm),
}

/// The tokenizer.
pub(super) struct Own {
    pub encoder: Encoder,
    pub special: SpecialTokens,
    /// Tokens as the file spells them.
    pub tokens: Vec<String>,
    /// What each adds to a text.
    pub surface: Vec<Box<[u8]>>,
    /// Whether each is left out of texts: control tokens and the unknown one.
    pub hidden: Vec<bool>,
    /// Tokens without the padding at the end.
    pub used: usize,
    /// Tokens that end a text or a turn.
    pub ends: Vec<u32>,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    /// Whether texts begin with `bos`.
    pub add_bos: bool,
    /// What was inferred or left out.
    pub notes: Vec<String>,
}

impl Own {
    /// The ids of a text; control tokens are found if `control`, and none that reaches over one of `breaks`.
    pub fn encode(&self, text: &str, control: bool, breaks: &[usize]) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        let mut is_first = true;
        self.special.split(text, control, breaks, &mut |part| {
            match (part, &self.encoder) {
                (Part::Text(text), Encoder::Bpe(bpe)) => bpe.encode(text, &mut ids),
                (Part::Text(text), Encoder::Spm(spm)) => spm.encode(text, is_first, &mut ids),
                (Part::Token(id), _) => ids.push(id),
            }
            is_first = false;
        });
        ids
    }

    /// The text of some ids. Unknown ids add nothing, bytes that are not UTF-8 become U+FFFD: as in their libraries, each of them with
    /// SentencePiece, else several that begin a character together.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let spm = match &self.encoder {
            Encoder::Spm(spm) => Some(spm),
            Encoder::Bpe(_) => None,
        };
        let removes = spm.is_some_and(|spm| spm.remove_extra_whitespaces);
        // Whether the space before the first word, which is not part of the text, can still come.
        let mut is_first = spm.is_some_and(|spm| spm.add_space_prefix || removes);
        let (mut text, mut bytes) = (String::new(), Vec::new());
        for &id in ids {
            let index = id as usize;
            let Some(surface) = self.surface.get(index) else {
                continue;
            };
            if self.hidden[index] {
                // With SentencePiece no character reaches over another token.
                if spm.is_some() {
                    append(&mut text, &mut bytes, true);
                }
                if !skip_special {
                    bytes.extend_from_slice(surface);
                }
                continue;
            }
            // Not a space that is spelled as a byte.
            let has_space = is_first && self.tokens[index].starts_with([SPACE, ' ']);
            let surface = match surface.strip_prefix(b" ") {
                Some(rest) if has_space => rest,
                _ => surface,
            };
            bytes.extend_from_slice(surface);
            is_first &= removes && surface.is_empty();
        }
        append(&mut text, &mut bytes, spm.is_some());
        text
    }

    /// The id of a token as the file spells it.
    pub fn id(&self, token: &str) -> Option<u32> {
        let position = self.tokens.iter().position(|text| text == token)?;
        u32::try_from(position).ok()
    }

    /// Spellings of all control tokens.
    pub fn control(&self) -> impl Iterator<Item = &str> {
        let hidden = self.tokens.iter().zip(&self.hidden);
        hidden
            .filter(|&(_, &hidden)| hidden)
            .map(|(token, _)| token.as_str())
    }
}

/// Moves bytes to a text. What is not UTF-8 becomes U+FFFD: each byte, or each beginning of a character.
fn append(text: &mut String, bytes: &mut Vec<u8>, is_each: bool) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let invalid = chunk.invalid().len();
        let signs = if is_each { invalid } else { invalid.min(1) };
        text.extend(std::iter::repeat_n('\u{fffd}', signs));
    }
    bytes.clear();
}
