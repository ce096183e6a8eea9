//! A tokenizer as GGUF metadata describes it: lists of tokens, types, scores and merges, and a few ids.
//!
//! The lists come from a stranger's file. Everything that a real file has is used as llama.cpp uses it; what is missing is inferred where
//! the vocabulary tells what it is, with a note; what would give wrong tokens is refused.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::END_OF_TURN;
use super::bpe::{Bpe, Merges, byte_of};
use super::own::{Encoder, Own};
use super::special::SpecialTokens;
use super::split::{KNOWN, Pre, Split};
use super::spm::{Piece, SPACE, Spm, ranks};
use crate::error::{TokenizerError, shorten};

/// Most tokens of a vocabulary; the largest published ones have 262144.
const MAX_TOKENS: usize = 1 << 22;
/// Longest token in bytes; the longest published ones are runs of some hundred spaces.
pub(super) const MAX_TOKEN: usize = 1 << 13;

/// What a token is for: the numbers of `tokenizer.ggml.token_type`.
/// SentencePiece's numbers are the same.
pub(crate) mod kind {
    pub const NORMAL: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const CONTROL: i32 = 3;
    pub const USER_DEFINED: i32 = 4;
    pub const UNUSED: i32 = 5;
    pub const BYTE: i32 = 6;
}

/// Whether tokens are those of GPT-NeoX, which TriLM has too.
pub(crate) fn is_neox<'t>(tokens: impl Iterator<Item = &'t str>) -> bool {
    tokens.take(2).eq(["<|endoftext|>", "<|padding|>"])
}

/// The keys `tokenizer.ggml.*` of a GGUF file, without the prefix. What a file does not have stays empty or `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vocabulary {
    /// `model`: gpt2 (byte-level byte pair encoding) or llama (SentencePiece's BPE).
    pub model: String,
    /// `pre`: how texts are cut into words.
    pub pre: Option<String>,
    /// `tokens`; a token's place is its id.
    pub tokens: Vec<String>,
    /// `token_type`, one for each token, or none at all.
    pub types: Vec<i32>,
    /// `scores`, one for each token, or none at all. Needed for llama.
    pub scores: Vec<f32>,
    /// `merges`: two tokens with a space between. Needed for gpt2.
    pub merges: Vec<String>,
    /// `bos_token_id`.
    pub bos_id: Option<u32>,
    /// `eos_token_id`.
    pub eos_id: Option<u32>,
    /// `eot_token_id`: ends a turn.
    pub eot_id: Option<u32>,
    /// `eom_token_id`: ends a message.
    pub eom_id: Option<u32>,
    /// `unknown_token_id`.
    pub unknown_id: Option<u32>,
    /// `padding_token_id`.
    pub padding_id: Option<u32>,
    /// `add_bos_token`.
    pub add_bos: Option<bool>,
    /// `add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `remove_extra_whitespaces`.
    pub remove_extra_whitespaces: Option<bool>,
    /// `tern.space_after_control`: whether llama's space before a text is also put before what follows a control token. Where the file is
    /// silent it is, as in llama.cpp.
    pub space_after_control: Option<bool>,
}

impl Vocabulary {
    /// Makes the tokenizer. `file` is the name used in messages.
    pub(super) fn build(mut self, file: &str) -> Result<Own, TokenizerError> {
        let refuse = |reason: String| TokenizerError::Lists {
            file: file.to_owned(),
            reason,
        };
        self.check_lists().map_err(refuse)?;
        self.mark_control();
        let mut notes = Vec::new();
        self.check_ids(&mut notes);
        let (encoder, add_bos) = match self.model.as_str() {
            "gpt2" => {
                let (bpe, add_bos) = self.byte_level(&mut notes).map_err(refuse)?;
                (Encoder::Bpe(bpe), add_bos)
            }
            "llama" => {
                let spm = self.sentence_piece(&mut notes).map_err(refuse)?;
                (Encoder::Spm(spm), true)
            }
            other => {
                return Err(refuse(format!(
                    "tokenizer.ggml.model is \"{}\"; tern reads gpt2 (byte-level BPE) and llama (SentencePiece): use a model folder with \
                     tokenizer.json instead",
                    shorten(other)
                )));
            }
        };
        let special = self.special_tokens().map_err(refuse)?;
        let is_llama = self.model == "llama";
        let or = |id: Option<u32>, default: u32| match is_llama {
            // What llama.cpp assumes where the file is silent.
            true => id.or(Some(default).filter(|&id| self.may_be_control(id))),
            false => id,
        };
        let (bos, eos) = (or(self.bos_id, 1), or(self.eos_id, 2));
        let ends = [eos, self.eot_id, self.eom_id];
        let kinds = self.types.iter();
        let hidden = kinds.map(|&kind| matches!(kind, kind::UNKNOWN | kind::CONTROL));
        Ok(Own {
            encoder,
            special,
            hidden: hidden.collect(),
            used: self.used(),
            ends: ends.into_iter().flatten().collect(),
            bos,
            eos,
            add_bos: self.add_bos.unwrap_or(add_bos) && bos.is_some(),
            notes,
            surface: self.surfaces(),
            tokens: self.tokens,
        })
    }

    /// Lengths of lists and of tokens. Afterwards there is a type for each token.
    fn check_lists(&mut self) -> Result<(), String> {
        let count = self.tokens.len();
        if count == 0 || count > MAX_TOKENS {
            return Err(format!(
                "tokenizer.ggml.tokens has {count} entries; expected 1 to {MAX_TOKENS}"
            ));
        }
        let lists = [
            ("token_type", self.types.len()),
            ("scores", self.scores.len()),
        ];
        for (name, length) in lists {
            if length != 0 && length < count {
                return Err(format!(
                    "tokenizer.ggml.{name} has {length} entries for {count} tokens; the file is damaged: download it again"
                ));
            }
        }
        if let Some(long) = self.tokens.iter().position(|token| token.len() > MAX_TOKEN) {
            return Err(format!(
                "token {long} has {} bytes; at most {MAX_TOKEN} are accepted, which is more than any real one has",
                self.tokens[long].len()
            ));
        }
        self.types.resize(count, kind::NORMAL);
        Ok(())
    }

    /// Tokens that are known to end a turn steer the model, whatever the file says.
    fn mark_control(&mut self) {
        for (token, kind) in self.tokens.iter().zip(&mut self.types) {
            if END_OF_TURN.contains(&token.as_str()) {
                *kind = kind::CONTROL;
            }
        }
    }

    /// Whether a token could be one, for all that the types say.
    fn may_be_control(&self, id: u32) -> bool {
        let is_silent = self.types.iter().all(|&kind| kind == kind::NORMAL);
        let kind = self.types.get(id as usize);
        kind.is_some_and(|&kind| is_silent || kind == kind::CONTROL)
    }

    /// Forgets ids beyond the vocabulary.
    fn check_ids(&mut self, notes: &mut Vec<String>) {
        let count = self.tokens.len();
        let ids = [
            ("bos", &mut self.bos_id),
            ("eos", &mut self.eos_id),
            ("eot", &mut self.eot_id),
            ("eom", &mut self.eom_id),
            ("unknown", &mut self.unknown_id),
            ("padding", &mut self.padding_id),
        ];
        for (name, id) in ids {
            if let Some(beyond) = id.filter(|&id| id as usize >= count) {
                notes.push(format!(
                    "tokenizer.ggml.{name}_token_id is {beyond}, but there are only {count} tokens: ignored"
                ));
                *id = None;
            }
        }
    }

    /// The rule that cuts texts: as named, or inferred.
    fn pre(&self, notes: &mut Vec<String>) -> Result<Pre, String> {
        let inferred = match self.tokens.len() {
            128_256 => Some("llama-bpe"),
            151_000..=151_999 if self.tokens.iter().any(|token| token == "<|im_start|>") => {
                Some("qwen2")
            }
            _ => None,
        };
        let named = self.pre.as_deref().filter(|name| !name.is_empty());
        let name = match (named, inferred) {
            // Converters that know nothing better write this.
            (None | Some("default"), Some(inferred)) => {
                notes.push(format!(
                    "the file {}: inferred {inferred} from its {} tokens",
                    match named {
                        None => "does not say how texts are cut into words (tokenizer.ggml.pre)",
                        Some(_) => "names no rule by which texts are cut into words (tokenizer.ggml.pre is default)",
                    },
                    self.tokens.len()
                ));
                inferred
            }
            (None, None) => {
                notes.push(
                    "the file does not say how texts are cut into words (tokenizer.ggml.pre), and its vocabulary is not a known one: assumed \
                     gpt-2. If the model's texts are poor, use its folder with tokenizer.json"
                        .to_owned(),
                );
                "gpt-2"
            }
            (Some(name), _) => name,
        };
        Pre::named(name).ok_or_else(|| {
            format!(
                "tokenizer.ggml.pre is \"{}\", a way to cut texts into words that tern does not know, and another one would give wrong tokens. \
                 Known are {KNOWN}. Use the model's folder with tokenizer.json, or ask for this one to be added",
                shorten(name)
            )
        })
    }

    /// Reads the vocabulary of SentencePiece's `tokenizer.model`. `file` is the name used in messages.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Lists`]: it is damaged, or needs what tern does not do as SentencePiece does.
    pub fn from_sentencepiece(bytes: &[u8], file: &str) -> Result<Vocabulary, TokenizerError> {
        super::sentencepiece::read(bytes).map_err(|reason| TokenizerError::Lists {
            file: file.to_owned(),
            reason,
        })
    }

    /// The lists of tiktoken's `tokenizer.model` of the Llama 3 family. `file` is the name used in messages.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Lists`].
    pub fn from_tiktoken(bytes: &[u8], file: &str) -> Result<Vocabulary, TokenizerError> {
        super::tiktoken::vocabulary(bytes, file)
    }

    /// SentencePiece's `tokenizer.model` of these lists, or `None` where they are not of the kind llama with scores.
    pub fn to_sentencepiece(&self) -> Option<Vec<u8>> {
        let is_llama = self.model == "llama" && self.scores.len() >= self.tokens.len();
        is_llama.then(|| super::sentencepiece::write(self))
    }

    /// The regular expression that cuts texts, as Hugging Face's tokenizers spell it, and whether words that are tokens are not merged.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub(crate) fn huggingface_split(&self) -> Result<(String, bool), String> {
        let pre = self.pre(&mut Vec::new())?;
        let pattern = pre
            .split
            .huggingface()
            .ok_or("the rule \"default\" is of several expressions")?;
        Ok((pattern, pre.ignore_merges))
    }

    /// Whether characters are composed (NFC) before texts are cut, as the published tokenizers of Qwen 2, its heirs and GPT-NeoX do. GGUF files
    /// cannot say so.
    pub(crate) fn composes(&self) -> bool {
        let is_neox = is_neox(self.tokens.iter().map(String::as_str));
        let named = self.pre.as_deref().unwrap_or_default();
        let is_named = matches!(named, "qwen2" | "qwen35");
        let is_silent = matches!(named, "" | "default");
        let inferred = || self.pre(&mut Vec::new());
        let is_inferred = is_silent && inferred().is_ok_and(|pre| pre.split == Split::Qwen2);
        self.model == "gpt2" && (is_neox || is_named || is_inferred)
    }

    /// The encoder of gpt2, and whether texts begin with a token unless the file says otherwise.
    fn byte_level(&self, notes: &mut Vec<String>) -> Result<(Bpe, bool), String> {
        let pre = self.pre(notes)?;
        if self.merges.is_empty() {
            return Err(
                "tokenizer.ggml.merges is missing, without which texts cannot be encoded; convert the model again, or use its folder"
                    .to_owned(),
            );
        }
        let mut ids = HashMap::new();
        let mut duplicates = 0;
        for (id, token) in (0..).zip(&self.tokens) {
            let is_ordinary = !matches!(
                self.types[id as usize],
                kind::CONTROL | kind::USER_DEFINED | kind::UNUSED | kind::UNKNOWN
            );
            if let Some(bytes) = alphabet_bytes(token).filter(|_| is_ordinary) {
                match ids.entry(bytes) {
                    std::collections::hash_map::Entry::Vacant(entry) => {
                        entry.insert(id);
                    }
                    std::collections::hash_map::Entry::Occupied(_) => duplicates += 1,
                }
            }
        }
        if duplicates > 0 {
            notes.push(format!(
                "{duplicates} tokens are in the vocabulary twice; the first of each is used"
            ));
        }
        let bytes = Bpe::byte_ids(&ids).map_err(|byte| {
            format!("the byte 0x{byte:02x} has no token, so not every text can be encoded; the vocabulary is damaged: download it again")
        })?;
        let merges = self.merge_ranks(&ids, notes);
        let bpe = Bpe {
            split: pre.split,
            merges: Merges::Pairs(merges),
            ids,
            ignore_merges: pre.ignore_merges,
            composes: self.composes(),
            bytes,
        };
        Ok((bpe, pre.add_bos))
    }

    /// Rank and result of each merge; those of unknown tokens are left out.
    fn merge_ranks(
        &self,
        ids: &HashMap<Box<[u8]>, u32>,
        notes: &mut Vec<String>,
    ) -> HashMap<(u32, u32), (u32, u32)> {
        let mut ranks = HashMap::new();
        let mut dropped = 0;
        for (rank, merge) in (0..).zip(&self.merges) {
            let parts = merge_parts(merge);
            let found = parts.and_then(|[left, right]| {
                let whole = [left.as_ref(), right.as_ref()].concat();
                Some(((*ids.get(&left)?, *ids.get(&right)?), *ids.get(&whole[..])?))
            });
            match found {
                Some((pair, id)) => {
                    ranks.entry(pair).or_insert((rank, id));
                }
                None => dropped += 1,
            }
        }
        if dropped > 0 {
            notes.push(format!(
                "{dropped} of {} merges name tokens that are not in the vocabulary: left out",
                self.merges.len()
            ));
        }
        ranks
    }

    /// The encoder of llama.
    fn sentence_piece(&self, notes: &mut Vec<String>) -> Result<Spm, String> {
        if self.scores.is_empty() {
            return Err(
                "tokenizer.ggml.scores is missing, without which texts cannot be encoded; convert the model again, or use its folder"
                    .to_owned(),
            );
        }
        let ranks = ranks(&self.scores[..self.tokens.len()]);
        let (mut pieces, mut bytes) = (HashMap::new(), Box::new([None; 256]));
        for (id, token) in (0..).zip(&self.tokens) {
            match self.types[id as usize] {
                kind::UNKNOWN | kind::CONTROL | kind::USER_DEFINED => (),
                kind::BYTE => {
                    if let Some(byte) = byte_token(token) {
                        bytes[usize::from(byte)].get_or_insert(id);
                    }
                }
                kind => {
                    let piece = Piece {
                        id,
                        rank: ranks[id as usize],
                        is_unused: kind == kind::UNUSED,
                    };
                    pieces.entry(token.as_bytes().into()).or_insert(piece);
                }
            }
        }
        let unknown = self.unknown_id.or_else(|| {
            let position = self.types.iter().position(|&kind| kind == kind::UNKNOWN)?;
            u32::try_from(position).ok()
        });
        if unknown.is_none() && bytes.iter().any(Option::is_none) {
            return Err("it has neither a token for each byte nor an unknown token, so not every text can be encoded; the vocabulary is \
                 damaged: download it again"
                .to_owned());
        }
        if bytes.iter().any(Option::is_none) {
            notes.push("not every byte has a token: what is not in the vocabulary becomes the unknown token".to_owned());
        }
        Ok(Spm {
            pieces,
            bytes,
            unknown,
            user_defined: SpecialTokens::new(Vec::new(), self.user_defined())?,
            space_after_control: self.space_after_control.unwrap_or(true),
            add_space_prefix: self.add_space_prefix.unwrap_or(true),
            remove_extra_whitespaces: self.remove_extra_whitespaces.unwrap_or(false),
        })
    }

    fn special_tokens(&self) -> Result<SpecialTokens, String> {
        let control = self.of_kind(kind::CONTROL);
        let control = control.map(|(token, id)| (self.spelled(token), id));
        // SentencePiece finds them after it has replaced the spaces.
        let user_defined = match self.model.as_str() {
            "llama" => Vec::new(),
            _ => self.user_defined(),
        };
        SpecialTokens::new(control.collect(), user_defined)
    }

    /// User-defined tokens and their ids, of llama with "▁" for each space.
    fn user_defined(&self) -> Vec<(String, u32)> {
        let is_llama = self.model == "llama";
        let spaced = |token: &str| match is_llama {
            true => token.replace(' ', SPACE.encode_utf8(&mut [0; 4])),
            false => token.to_owned(),
        };
        let tokens = self.of_kind(kind::USER_DEFINED);
        tokens.map(|(token, id)| (spaced(token), id)).collect()
    }

    fn of_kind(&self, wanted: i32) -> impl Iterator<Item = (&str, u32)> {
        let tokens = self.tokens.iter().zip(&self.types).zip(0..);
        let tokens = tokens.filter(move |&((_, &kind), _)| kind == wanted);
        tokens.map(|((token, _), id)| (token.as_str(), id))
    }

    /// An added token as it stands in a text: SentencePiece's have "▁" for a space.
    fn spelled(&self, token: &str) -> String {
        match self.model.as_str() {
            "llama" => token.replace(SPACE, " "),
            _ => token.to_owned(),
        }
    }

    /// What each token adds to a text.
    fn surfaces(&self) -> Vec<Box<[u8]>> {
        let is_byte_level = self.model == "gpt2";
        let surface = |(token, &kind): (&String, &i32)| -> Box<[u8]> {
            let is_added = matches!(kind, kind::CONTROL | kind::USER_DEFINED | kind::UNKNOWN);
            let bytes = match (is_byte_level, kind) {
                (true, _) if !is_added => alphabet_bytes(token),
                (false, kind::BYTE) => byte_token(token).map(|byte| Box::from([byte])),
                (false, _) => Some(self.spelled(token).into_bytes().into()),
                _ => None,
            };
            bytes.unwrap_or_else(|| token.as_bytes().into())
        };
        self.tokens.iter().zip(&self.types).map(surface).collect()
    }

    /// Tokens without the padding at the end that only rounds their number up.
    fn used(&self) -> usize {
        let used = self.types.iter().rposition(|&kind| kind != kind::UNUSED);
        used.map_or(0, |last| last + 1)
    }
}

/// The bytes of a token in GPT-2's alphabet.
fn alphabet_bytes(token: &str) -> Option<Box<[u8]>> {
    let bytes: Option<Vec<u8>> = token.chars().map(byte_of).collect();
    bytes.filter(|bytes| !bytes.is_empty()).map(Into::into)
}

/// The byte of `<0xXX>`.
pub(super) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    match digits.len() {
        2 => u8::from_str_radix(digits, 16).ok(),
        _ => None,
    }
}

/// The bytes of both halves of a merge. A token may begin with a space, but not the whole line.
fn merge_parts(merge: &str) -> Option<[Box<[u8]>; 2]> {
    let first = merge.chars().next()?.len_utf8();
    let space = first + merge[first..].find(' ')?;
    let (left, right) = (&merge[..space], &merge[space + 1..]);
    Some([alphabet_bytes(left)?, alphabet_bytes(right)?])
}
