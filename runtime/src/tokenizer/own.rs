//! A tokenizer of tern's own, made from lists of tokens: what both encoders share.

use super::bpe::Bpe;
use super::special::{Part, SpecialTokens};
use super::spm::{Spm, without_extra_spaces};

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
    /// Whether the space before a text's first word is not part of it.
    pub strip_space: bool,
    /// What was inferred or left out.
    pub notes: Vec<String>,
}

impl Own {
    /// The ids of a text; control tokens are found if `control`, and none that reaches over one of `breaks`.
    pub fn encode(&self, text: &str, control: bool, breaks: &[usize]) -> Vec<u32> {
        let short = match &self.encoder {
            // Breaks are places in the text as it is; a conversation's text stays so too.
            Encoder::Spm(spm) if spm.remove_extra_whitespaces && breaks.is_empty() => {
                Some(without_extra_spaces(text))
            }
            _ => None,
        };
        let text = short.as_deref().unwrap_or(text);
        let mut ids = Vec::with_capacity(text.len() / 3);
        // At the beginning and after a control token.
        let mut is_first = true;
        self.special.split(
            text,
            control,
            breaks,
            &mut |part| match (part, &self.encoder) {
                (Part::Text(text), Encoder::Bpe(bpe)) => bpe.encode(text, &mut ids),
                (Part::Text(text), Encoder::Spm(spm)) => {
                    spm.encode(text, is_first, &mut ids);
                    is_first = false;
                }
                (Part::Token(id), encoder) => {
                    let is_control = self.hidden.get(id as usize) == Some(&true);
                    if let (Encoder::Spm(spm), true, false) = (encoder, is_first, is_control) {
                        spm.encode_prefix(&mut ids);
                    }
                    is_first = is_control;
                    ids.push(id);
                }
            },
        );
        ids
    }

    /// The text of some ids. Unknown ids add nothing, bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut bytes = Vec::new();
        let mut is_first = true;
        for &id in ids {
            let index = id as usize;
            let Some(surface) = self.surface.get(index) else {
                continue;
            };
            if self.hidden[index] {
                if !skip_special {
                    bytes.extend_from_slice(surface);
                }
                continue;
            }
            let strip = is_first && self.strip_space;
            bytes.extend_from_slice(match surface.strip_prefix(b" ") {
                Some(rest) if strip => rest,
                _ => surface,
            });
            is_first = false;
        }
        String::from_utf8_lossy(&bytes).into_owned()
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
