//! `tokenizer.model` as Meta publishes Llama 3 with: tiktoken's format, a line for each token with its bytes in base64 and its rank.
//!
//! The file holds the ordinary tokens only. The 256 special ones, and how texts are cut into words, are in the code that came with the
//! model; here they stand in [`special_token`] and [`Split::Llama3`].

use std::collections::HashMap;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

use super::bpe::{Bpe, Merges, alphabet};
use super::own::{Encoder, Own};
use super::special::SpecialTokens;
use super::split::Split;
use super::vocabulary::{MAX_TOKEN, Vocabulary, kind};
use crate::error::{TokenizerError, shorten};

/// Longest token of which merges are made, in bytes.
const MAX_MERGED: usize = 256;

/// Special tokens after the ordinary ones.
const SPECIAL: u32 = 256;
/// Of them: begin of text, end of text, end of turn.
const BEGIN_OF_TEXT: u32 = 0;
const END_OF_TEXT: u32 = 1;
const END_OF_TURN: u32 = 9;

/// The spelling of a special token, counted from the first. The places in between were reserved; later models of the family renamed
/// some of them.
fn special_token(index: u32) -> String {
    let named = match index {
        BEGIN_OF_TEXT => "<|begin_of_text|>",
        END_OF_TEXT => "<|end_of_text|>",
        6 => "<|start_header_id|>",
        7 => "<|end_header_id|>",
        END_OF_TURN => "<|eot_id|>",
        _ => "",
    };
    let reserved = match index {
        ..6 => index.wrapping_sub(2),
        8 => 4,
        _ => index.wrapping_sub(5),
    };
    match named {
        "" => format!("<|reserved_special_token_{reserved}|>"),
        named => named.to_owned(),
    }
}

/// Reads the file. `file` is the name used in messages.
pub(super) fn parse(bytes: &[u8], file: &str) -> Result<Own, TokenizerError> {
    let refuse = |reason: String| TokenizerError::Lists {
        file: file.to_owned(),
        reason,
    };
    let surfaces = lines(bytes).map_err(refuse)?;
    let mut ids = HashMap::with_capacity(surfaces.len());
    for (id, token) in (0..).zip(&surfaces) {
        if ids.insert(token.clone(), id).is_some() {
            return Err(refuse(format!(
                "line {} has a token that is in the file already; download it again",
                id + 1
            )));
        }
    }
    let byte_ids = Bpe::byte_ids(&ids).map_err(|byte| {
        refuse(format!(
            "the byte 0x{byte:02x} has no token, so the file is incomplete; download it again"
        ))
    })?;
    let ordinary = ids.len() as u32;
    let special: Vec<_> = (0..SPECIAL)
        .map(|index| (special_token(index), ordinary + index))
        .collect();
    let mut surface = surfaces;
    surface.extend(special.iter().map(|(text, _)| text.as_bytes().into()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = surface.len();
    Ok(Own {
        tokens: surface.iter().map(|bytes| text(bytes)).collect(),
        hidden: (0..all).map(|id| id >= ids.len()).collect(),
        surface,
        used: all,
        special: SpecialTokens::new(special, Vec::new()).map_err(refuse)?,
        encoder: Encoder::Bpe(Bpe {
            composes: false,
            split: Split::Llama3,
            merges: Merges::ById,
            ids,
            ignore_merges: true,
            bytes: byte_ids,
        }),
        ends: vec![ordinary + END_OF_TEXT, ordinary + END_OF_TURN],
        bos: Some(ordinary + BEGIN_OF_TEXT),
        eos: Some(ordinary + END_OF_TEXT),
        add_bos: true,
        notes: Vec::new(),
    })
}

/// The lists that GGUF metadata has of such a file. It has no merges, so they are found again: every way to cut a token into two others may have
/// been one, with the token's own rank; of several the one whose parts have lower ranks stands first.
///
/// # Errors
///
/// As [`parse`].
pub(super) fn vocabulary(bytes: &[u8], file: &str) -> Result<Vocabulary, TokenizerError> {
    let own = parse(bytes, file)?;
    let count = own.surface.len() - SPECIAL as usize;
    let ordinary = &own.surface[..count];
    let ids: HashMap<&[u8], u32> = ordinary.iter().map(AsRef::as_ref).zip(0..).collect();
    let alphabet = alphabet();
    let spelled = |bytes: &[u8]| -> String {
        let characters = bytes.iter().map(|&byte| alphabet[usize::from(byte)]);
        characters.collect()
    };
    let mut merges = Vec::new();
    for token in ordinary {
        // Published ones have 128 bytes at most; each way to cut one makes a merge.
        if token.len() > MAX_MERGED {
            return Err(TokenizerError::Lists {
                file: file.to_owned(),
                reason: format!(
                    "it has a token of {} bytes, and those of more than {MAX_MERGED} are not taken apart into merges",
                    token.len()
                ),
            });
        }
        let cut = |at| {
            let (left, right) = token.split_at(at);
            Some((*ids.get(left)?, *ids.get(right)?, at))
        };
        let mut cuts: Vec<_> = (1..token.len()).filter_map(cut).collect();
        cuts.sort_unstable();
        merges.extend(cuts.into_iter().map(|(_, _, at)| {
            let (left, right) = token.split_at(at);
            format!("{} {}", spelled(left), spelled(right))
        }));
    }
    let tokens = ordinary.iter().map(|bytes| spelled(bytes));
    let tokens = tokens.chain(own.tokens[count..].iter().cloned());
    let types = own.hidden.iter().map(|&hidden| match hidden {
        true => kind::CONTROL,
        false => kind::NORMAL,
    });
    Ok(Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some("llama-bpe".to_owned()),
        tokens: tokens.collect(),
        types: types.collect(),
        merges,
        bos_id: own.bos,
        eos_id: own.eos,
        eot_id: own.bos.map(|first| first - BEGIN_OF_TEXT + END_OF_TURN),
        add_bos: Some(true),
        ..Vocabulary::default()
    })
}

/// The bytes of each token. Ranks must count up from 0, so that they are ids.
fn lines(bytes: &[u8]) -> Result<Vec<Box<[u8]>>, String> {
    let mut tokens: Vec<Box<[u8]>> = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let number = index + 1;
        let malformed = |what: &str| {
            format!(
                "line {number} {what}; expected tiktoken's format: a token in base64, a space, its rank, counting up from 0"
            )
        };
        let mut fields = line.split(|&byte| byte == b' ');
        let (token, rank) = (fields.next().unwrap_or_default(), fields.next());
        let token = BASE64
            .decode(token)
            .map_err(|_| malformed("is not base64"))?;
        if token.is_empty() || token.len() > MAX_TOKEN {
            return Err(malformed(&format!("has a token of {} bytes", token.len())));
        }
        let rank = rank.and_then(|rank| std::str::from_utf8(rank).ok());
        let rank: Option<usize> = rank.and_then(|rank| rank.parse().ok());
        if rank != Some(tokens.len()) || fields.next().is_some() {
            let line = String::from_utf8_lossy(line);
            return Err(malformed(&format!("is \"{}\"", shorten(line))));
        }
        tokens.push(token.into());
    }
    Ok(tokens)
}

/// Standard base64 with padding. What is left over in the last digit is passed over.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_tokens_are_at_their_places() {
        assert_eq!(special_token(0), "<|begin_of_text|>");
        assert_eq!(special_token(2), "<|reserved_special_token_0|>");
        assert_eq!(special_token(5), "<|reserved_special_token_3|>");
        assert_eq!(special_token(8), "<|reserved_special_token_4|>");
        assert_eq!(special_token(9), "<|eot_id|>");
        assert_eq!(special_token(10), "<|reserved_special_token_5|>");
        assert_eq!(special_token(255), "<|reserved_special_token_250|>");
    }

    #[test]
    fn base64_is_decoded_strictly() {
        let decode = |text: &[u8]| BASE64.decode(text).ok();
        assert_eq!(decode(b"IQ=="), Some(b"!".to_vec()));
        assert_eq!(decode(b"IHRoZQ=="), Some(b" the".to_vec()));
        assert_eq!(decode(b"/+8h"), Some(vec![0xff, 0xef, 0x21]));
        for bad in ["I", "IQ=", "=Q==", "IQ==IQ==", "I!==", "===="] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }
}
