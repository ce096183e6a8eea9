//! SentencePiece's own file, `tokenizer.model`: a protocol buffers message with the pieces and what becomes of a text before they are found.
//!
//! What tern does not do as the SentencePiece library does is refused, for it would give wrong tokens: other models than BPE, and
//! normalizers that rewrite characters. The fields are those of `src/sentencepiece_model.proto` in
//! <https://github.com/google/sentencepiece>; all others have to do with training and are skipped.

use std::collections::HashSet;

use super::protobuf::{Fields, Value, put};
use super::vocabulary::{Vocabulary, kind};
use crate::error::shorten;

/// Fields of `ModelProto`.
mod model {
    pub const PIECES: u32 = 1;
    pub const TRAINER: u32 = 2;
    pub const NORMALIZER: u32 = 3;
    pub const DENORMALIZER: u32 = 5;
}
/// Fields of `SentencePiece`.
mod piece {
    pub const TEXT: u32 = 1;
    pub const SCORE: u32 = 2;
    pub const KIND: u32 = 3;
}
/// Fields of `TrainerSpec`.
mod trainer {
    pub const MODEL_TYPE: u32 = 3;
    pub const WHITESPACE_AS_SUFFIX: u32 = 24;
    pub const BYTE_FALLBACK: u32 = 35;
    pub const BOS: u32 = 46;
    pub const EOS: u32 = 47;
    pub const PAD: u32 = 48;
}
/// Fields of `NormalizerSpec`.
mod normalizer {
    pub const NAME: u32 = 1;
    pub const CHARACTERS: u32 = 2;
    pub const ADD_DUMMY_PREFIX: u32 = 3;
    pub const REMOVE_EXTRA_WHITESPACES: u32 = 4;
    pub const ESCAPE_WHITESPACES: u32 = 5;
}

/// `TrainerSpec.model_type`.
const MODEL_TYPES: [&str; 5] = ["", "Unigram", "BPE", "word", "character"];
const BPE: u64 = 2;

pub(super) const ADVICE: &str = "let transformers make a tokenizer.json beside it (AutoTokenizer.from_pretrained(folder).save_pretrained(folder)), or move the \
                      file out of the folder to run the model from token ids";

/// What the file says; what it does not say is as the format's defaults are.
struct Spec<'a> {
    model_type: u64,
    byte_fallback: bool,
    whitespace_as_suffix: bool,
    /// The names of the begin-of-text, end-of-text and padding tokens.
    names: [&'a [u8]; 3],
    normalizer: &'a [u8],
    characters: &'a [u8],
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
    /// A table that rewrites what was decoded.
    denormalizer: &'a [u8],
}

impl Default for Spec<'_> {
    fn default() -> Self {
        Spec {
            model_type: 1,
            byte_fallback: false,
            whitespace_as_suffix: false,
            names: [b"<s>", b"</s>", b"<pad>"],
            normalizer: b"",
            characters: b"",
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
            denormalizer: b"",
        }
    }
}

impl<'a> Spec<'a> {
    fn trainer(&mut self, message: &'a [u8]) -> Result<(), String> {
        for field in Fields::of(message) {
            match field? {
                (trainer::MODEL_TYPE, Value::Varint(number)) => self.model_type = number,
                (trainer::WHITESPACE_AS_SUFFIX, Value::Varint(flag)) => {
                    self.whitespace_as_suffix = flag != 0;
                }
                (trainer::BYTE_FALLBACK, Value::Varint(flag)) => self.byte_fallback = flag != 0,
                (number @ trainer::BOS..=trainer::PAD, Value::Bytes(name)) => {
                    let index = (number - trainer::BOS) as usize;
                    self.names[index] = match name {
                        b"" => Spec::default().names[index],
                        name => name,
                    };
                }
                _ => (),
            }
        }
        Ok(())
    }

    fn normalizer(&mut self, message: &'a [u8]) -> Result<(), String> {
        for field in Fields::of(message) {
            match field? {
                (normalizer::NAME, Value::Bytes(name)) => self.normalizer = name,
                (normalizer::CHARACTERS, Value::Bytes(table)) => self.characters = table,
                (normalizer::ADD_DUMMY_PREFIX, Value::Varint(flag)) => {
                    self.add_dummy_prefix = flag != 0;
                }
                (normalizer::REMOVE_EXTRA_WHITESPACES, Value::Varint(flag)) => {
                    self.remove_extra_whitespaces = flag != 0;
                }
                (normalizer::ESCAPE_WHITESPACES, Value::Varint(flag)) => {
                    self.escape_whitespaces = flag != 0;
                }
                _ => (),
            }
        }
        Ok(())
    }

    fn denormalizer(&mut self, message: &'a [u8]) -> Result<(), String> {
        for field in Fields::of(message) {
            if let (normalizer::CHARACTERS, Value::Bytes(table)) = field? {
                self.denormalizer = table;
            }
        }
        Ok(())
    }

    /// Why tern would give other tokens, or texts, than SentencePiece.
    fn check(&self) -> Result<(), String> {
        let quoted = || shorten(String::from_utf8_lossy(self.normalizer));
        let reason = if self.model_type != BPE {
            let name = usize::try_from(self.model_type).ok();
            let name = name.and_then(|index| MODEL_TYPES.get(index).copied());
            format!(
                "it is a {} model (model_type {})",
                name.unwrap_or("strange"),
                self.model_type
            )
        } else if !self.characters.is_empty() {
            format!(
                "its normalizer, \"{}\", rewrites characters by a table of {} bytes (precompiled_charsmap)",
                quoted(),
                self.characters.len()
            )
        } else if !self.denormalizer.is_empty() {
            format!(
                "its denormalizer rewrites decoded texts by a table of {} bytes",
                self.denormalizer.len()
            )
        } else if !self.escape_whitespaces {
            "its pieces have spaces as they are (escape_whitespaces is false)".to_owned()
        } else if self.whitespace_as_suffix {
            "its pieces have spaces behind words (treat_whitespace_as_suffix)".to_owned()
        } else {
            return Ok(());
        };
        Err(format!(
            "{reason}; tern runs SentencePiece's BPE with spaces before words and no other change of the text: {ADVICE}"
        ))
    }
}

/// The vocabulary of a file.
///
/// # Errors
///
/// Why it cannot be used, and what to do.
pub(super) fn read(bytes: &[u8]) -> Result<Vocabulary, String> {
    let damaged = |what: String| {
        format!(
            "{what}; expected SentencePiece's format or, in base64, tiktoken's. The file is damaged or of another kind: download it again, or \
             {ADVICE}"
        )
    };
    if bytes.starts_with(b"version https://git-lfs") {
        return Err(
            "it is a Git LFS pointer, not the file itself: download it with `git lfs pull`"
                .to_owned(),
        );
    }
    let mut vocabulary = Vocabulary {
        model: "llama".to_owned(),
        ..Vocabulary::default()
    };
    let mut spec = Spec::default();
    for field in Fields::of(bytes) {
        let read = field.and_then(|field| match field {
            (model::PIECES, Value::Bytes(message)) => add(&mut vocabulary, message)
                .map_err(|what| format!("piece {}: {what}", vocabulary.tokens.len())),
            (model::TRAINER, Value::Bytes(message)) => spec.trainer(message),
            (model::NORMALIZER, Value::Bytes(message)) => spec.normalizer(message),
            (model::DENORMALIZER, Value::Bytes(message)) => spec.denormalizer(message),
            _ => Ok(()),
        });
        read.map_err(damaged)?;
    }
    if vocabulary.tokens.is_empty() {
        return Err(damaged("it has no pieces".to_owned()));
    }
    spec.check()?;
    check(&vocabulary, &spec).map_err(damaged)?;
    let of_kind = |wanted, name: Option<&[u8]>| {
        let all = vocabulary.tokens.iter().zip(&vocabulary.types);
        let found = all.into_iter().position(|(token, &kind)| {
            kind == wanted && name.is_none_or(|name| token.as_bytes() == name)
        });
        found.and_then(|id| u32::try_from(id).ok())
    };
    // As the library finds them: by name. The numbers that the file also has are those of the training.
    let [bos_id, eos_id, padding_id] = spec.names.map(|name| of_kind(kind::CONTROL, Some(name)));
    Ok(Vocabulary {
        bos_id,
        eos_id,
        padding_id,
        unknown_id: of_kind(kind::UNKNOWN, None),
        add_bos: bos_id.is_none().then_some(false),
        add_space_prefix: Some(spec.add_dummy_prefix),
        remove_extra_whitespaces: Some(spec.remove_extra_whitespaces),
        ..vocabulary
    })
}

/// Appends a piece.
fn add(vocabulary: &mut Vocabulary, message: &[u8]) -> Result<(), String> {
    let (mut text, mut score, mut kind) = (&b""[..], 0.0, kind::NORMAL);
    for field in Fields::of(message) {
        match field? {
            (piece::TEXT, Value::Bytes(found)) => text = found,
            (piece::SCORE, Value::Fixed32(bits)) => score = f32::from_bits(bits),
            (piece::KIND, Value::Varint(number)) => {
                let known = i32::try_from(number).ok();
                kind = known
                    .filter(|kind| (kind::NORMAL..=kind::BYTE).contains(kind))
                    .ok_or_else(|| format!("it is of type {number}"))?;
            }
            _ => (),
        }
    }
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8")?;
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if score.is_nan() {
        return Err("its score is no number".to_owned());
    }
    vocabulary.tokens.push(text.to_owned());
    vocabulary.scores.push(score);
    vocabulary.types.push(kind);
    Ok(())
}

/// What the SentencePiece library refuses too.
fn check(vocabulary: &Vocabulary, spec: &Spec<'_>) -> Result<(), String> {
    let mut known = HashSet::new();
    let (mut unknown, mut bytes) = (0, 0);
    for (token, &kind) in vocabulary.tokens.iter().zip(&vocabulary.types) {
        let is_text = matches!(kind, kind::NORMAL | kind::USER_DEFINED | kind::UNUSED);
        if !known.insert((is_text, token)) {
            return Err(format!("the piece \"{}\" is in it twice", shorten(token)));
        }
        if kind == kind::BYTE && super::vocabulary::byte_token(token).is_none() {
            return Err(format!("the piece \"{}\" is no byte", shorten(token)));
        }
        unknown += usize::from(kind == kind::UNKNOWN);
        bytes += usize::from(kind == kind::BYTE);
    }
    if unknown != 1 {
        return Err(format!("it has {unknown} unknown pieces, not one"));
    }
    let expected = if spec.byte_fallback { 256 } else { 0 };
    match bytes == expected {
        true => Ok(()),
        false => Err(format!("it has {bytes} pieces of bytes, not {expected}")),
    }
}

/// The file of a vocabulary of the kind llama.
pub(super) fn write(vocabulary: &Vocabulary) -> Vec<u8> {
    let mut file = Vec::new();
    let types = vocabulary.types.iter().copied();
    let types = types.chain(std::iter::repeat(kind::NORMAL));
    let scores = vocabulary.scores.iter().copied();
    let scores = scores.chain(std::iter::repeat(0.0));
    for ((token, kind), score) in vocabulary.tokens.iter().zip(types).zip(scores) {
        let mut message = Vec::new();
        put(&mut message, piece::TEXT, Value::Bytes(token.as_bytes()));
        put(&mut message, piece::SCORE, Value::Fixed32(score.to_bits()));
        let number = u64::try_from(kind).unwrap_or(1);
        put(&mut message, piece::KIND, Value::Varint(number));
        put(&mut file, model::PIECES, Value::Bytes(&message));
    }
    let flag = |flag: bool| Value::Varint(u64::from(flag));
    let mut spec = Vec::new();
    put(&mut spec, trainer::MODEL_TYPE, Value::Varint(BPE));
    let has_bytes = vocabulary.types.contains(&kind::BYTE);
    put(&mut spec, trainer::BYTE_FALLBACK, flag(has_bytes));
    let names = [
        (trainer::BOS, vocabulary.bos_id),
        (trainer::EOS, vocabulary.eos_id),
        (trainer::PAD, vocabulary.padding_id),
    ];
    for (number, id) in names {
        if let Some(name) = id.and_then(|id| vocabulary.tokens.get(id as usize)) {
            put(&mut spec, number, Value::Bytes(name.as_bytes()));
        }
    }
    put(&mut file, model::TRAINER, Value::Bytes(&spec));
    spec.clear();
    put(&mut spec, normalizer::NAME, Value::Bytes(b"identity"));
    let prefix = vocabulary.add_space_prefix.unwrap_or(true);
    put(&mut spec, normalizer::ADD_DUMMY_PREFIX, flag(prefix));
    let removes = vocabulary.remove_extra_whitespaces.unwrap_or(false);
    put(
        &mut spec,
        normalizer::REMOVE_EXTRA_WHITESPACES,
        flag(removes),
    );
    put(&mut file, model::NORMALIZER, Value::Bytes(&spec));
    file
}
