//! A `tokenizer.json` of the lists in GGUF metadata.
//!
//! Byte-level vocabularies have all that the file needs but the regular expression, which is known by its name. SentencePiece's have scores in
//! place of merges: of every piece each way to put it together from two others becomes a merge, best scores first, which is the same as long as
//! no two pieces have one score. What is written is read again and compared (`same_ids.rs`): the ids of all tokens, and those of texts.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::same_ids::{Lists, is_added};
use crate::error::shorten;
use crate::tokenizer::SPACE;
use crate::tokenizer::kind::{BYTE, CONTROL, UNKNOWN};
use crate::tokenizer::{Tokenizer, Vocabulary};

/// Longest piece that is taken apart, in bytes; the longest published ones have some 50.
const MAX_PIECE: usize = 256;

/// The file, and notes.
///
/// # Errors
///
/// Why no such file would give the ids of the lists.
pub(super) fn write(vocabulary: &Vocabulary) -> Result<(Vec<u8>, Vec<String>), String> {
    let lists = Lists::new(vocabulary)?;
    let root = lists.root()?;
    let other = Tokenizer::parse(root.to_string().as_bytes(), "the new tokenizer.json");
    let other = other.map_err(|error| error.to_string())?;
    let notes = lists.compare(&other)?;
    Ok((root.to_string().into_bytes(), notes))
}

impl Lists<'_> {
    fn root(&self) -> Result<Value, String> {
        let (mut vocab, mut added) = (Map::new(), Vec::new());
        for (id, kind) in self.used() {
            let token = &self.spelled[id as usize];
            // Added tokens too: else the reader numbers them by how many tokens there are, whatever their id says.
            if vocab.insert(token.clone(), json!(id)).is_some() {
                return Err(format!(
                    "two of its tokens are spelled {}, and tokenizer.json has one id for a spelling",
                    shorten(format!("{token:?}"))
                ));
            }
            if is_added(kind) && !token.is_empty() {
                added.push(json!({
                    "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": kind == CONTROL,
                }));
            }
        }
        let mut root = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": null,
            "post_processor": self.processor()?,
        });
        let model = match self.is_pieces {
            true => self.pieces(&mut root)?,
            false => self.byte_level(&mut root)?,
        };
        root["model"] = model;
        root["model"]["vocab"] = Value::Object(vocab);
        Ok(root)
    }

    /// What puts the begin-of-text token before texts, if there is to be one.
    fn processor(&self) -> Result<Value, String> {
        let prefix = self.own.encode("", true);
        let prefix = prefix.map_err(|error| error.to_string())?;
        let Some(&id) = prefix.first() else {
            return Ok(Value::Null);
        };
        let token = &self.spelled[id as usize];
        let mut special = Map::new();
        special.insert(
            token.clone(),
            json!({ "id": token, "ids": [id], "tokens": [token] }),
        );
        let first = json!({ "SpecialToken": { "id": token, "type_id": 0 } });
        let text = |name: &str, kind: u8| json!({ "Sequence": { "id": name, "type_id": kind } });
        Ok(json!({
            "type": "TemplateProcessing",
            "single": [first, text("A", 0)],
            "pair": [first, text("A", 0), text("B", 1)],
            "special_tokens": special,
        }))
    }

    /// Sets what belongs to byte-level encoding; returns the model without its tokens.
    fn byte_level(&self, root: &mut Value) -> Result<Value, String> {
        if self.vocabulary.composes() {
            root["normalizer"] = json!({ "type": "NFC" });
        }
        let (pattern, ignore_merges) = self.vocabulary.huggingface_split()?;
        root["pre_tokenizer"] = json!({
            "type": "Sequence",
            "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false },
                { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
            ],
        });
        root["decoder"] = json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true });
        let ordinary = self.ordinary();
        // Those of other tokens are never made, and the reader refuses them.
        let is_known = |merge: &&String| {
            let mut parts = merge.split(' ');
            match (parts.next(), parts.next(), parts.next()) {
                (Some(left), Some(right), None) => [left, right, &[left, right].concat()]
                    .iter()
                    .all(|token| ordinary.contains_key(*token)),
                _ => false,
            }
        };
        let merges: Vec<&String> = self.vocabulary.merges.iter().filter(is_known).collect();
        Ok(model(
            &json!({ "ignore_merges": ignore_merges, "merges": merges }),
        ))
    }

    /// Sets what belongs to SentencePiece's encoding; returns the model without its tokens.
    fn pieces(&self, root: &mut Value) -> Result<Value, String> {
        let vocabulary = self.vocabulary;
        let has_prefix = self.has_prefix();
        let replace = |pattern: Value, content: &str| json!({ "type": "Replace", "pattern": pattern, "content": content });
        let space = SPACE.to_string();
        let mut normalizers = Vec::new();
        if vocabulary.remove_extra_whitespaces == Some(true) {
            normalizers.push(replace(json!({ "Regex": r"\A +" }), ""));
            normalizers.push(replace(json!({ "Regex": format!(r"[ {SPACE}]+\z") }), ""));
            normalizers.push(replace(json!({ "Regex": " {2,}" }), " "));
        }
        if has_prefix {
            normalizers.push(json!({ "type": "Prepend", "prepend": space }));
        }
        normalizers.push(replace(json!({ "String": " " }), &space));
        root["normalizer"] = json!({ "type": "Sequence", "normalizers": normalizers });
        let mut decoders = vec![
            replace(json!({ "String": space }), " "),
            json!({ "type": "ByteFallback" }),
            json!({ "type": "Fuse" }),
        ];
        if has_prefix {
            decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        root["decoder"] = json!({ "type": "Sequence", "decoders": decoders });
        let merges: Vec<String> = self.merges()?.iter().map(|pair| pair.join(" ")).collect();
        Ok(model(&json!({
            "unk_token": self.unknown(), "fuse_unk": true, "byte_fallback": self.kinds.contains(&BYTE), "merges": merges,
        })))
    }

    /// The ways to put pieces together, best scores first.
    fn merges(&self) -> Result<Vec<[&str; 2]>, String> {
        let known = self.ordinary();
        let mut ranked: Vec<(&str, f32)> = known
            .iter()
            .filter(|(piece, _)| piece.chars().nth(1).is_some() && !piece.contains(' '))
            .map(|(&piece, &id)| (piece, self.vocabulary.scores[id as usize] + 0.0))
            .collect();
        ranked.sort_unstable_by(|(a, x), (b, y)| y.total_cmp(x).then(a.cmp(b)));
        let mut merges = Vec::new();
        let mut last: Option<(&str, f32)> = None;
        for (piece, score) in ranked {
            if piece.len() > MAX_PIECE {
                return Err(format!("a piece of it has {} bytes", piece.len()));
            }
            let splits = splits(piece, &known);
            if splits.is_empty() {
                continue;
            }
            if let Some((other, _)) = last.filter(|&(_, before)| before.total_cmp(&score).is_eq()) {
                return Err(format!(
                    "its pieces {} and {} have the same score, so where both fit the leftmost goes first, which tokenizer.json cannot say",
                    shorten(format!("{other:?}")),
                    shorten(format!("{piece:?}"))
                ));
            }
            last = Some((piece, score));
            merges.extend(splits);
        }
        Ok(merges)
    }

    /// Tokens that texts are made of, by their spelling.
    fn ordinary(&self) -> HashMap<&str, u32> {
        let is_ordinary =
            |kind| !is_added(kind) && kind != UNKNOWN && (kind != BYTE || !self.is_pieces);
        let used = self.used().filter(|&(_, kind)| is_ordinary(kind));
        used.map(|(id, _)| (&self.spelled[id as usize][..], id))
            .collect()
    }

    /// The token for what has no other.
    fn unknown(&self) -> Option<&str> {
        let id = self.vocabulary.unknown_id.map(|id| id as usize);
        let id = id.filter(|&id| id < self.kinds.len());
        let id = id.or_else(|| self.kinds.iter().position(|&kind| kind == UNKNOWN))?;
        Some(&self.spelled[id])
    }
}

/// A model with the fields that all have, and these.
fn model(fields: &Value) -> Value {
    let mut model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
        "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
    });
    for (key, value) in fields.as_object().into_iter().flatten() {
        model[key] = value.clone();
    }
    model
}

/// All ways to put a piece together from two others, such that of two that overlap in a text the left one goes first, as all ways of one piece
/// have one score. Two overlap where the piece, cut at one place, ends as it begins, cut at the mirrored place.
fn splits<'t>(piece: &'t str, known: &HashMap<&'t str, u32>) -> Vec<[&'t str; 2]> {
    let places = piece.char_indices().map(|(at, _)| at).skip(1);
    let mut places: Vec<usize> = places
        .filter(|&at| known.contains_key(&piece[..at]) && known.contains_key(&piece[at..]))
        .collect();
    let overlaps = |at: usize| piece.as_bytes()[at..] == piece.as_bytes()[..piece.len() - at];
    places.sort_by_key(|&at| {
        let mirrored = piece.len() - at;
        let goes_first = overlaps(at) && (at < mirrored || !overlaps(mirrored));
        (at.min(mirrored), !goes_first)
    });
    places
        .iter()
        .map(|&at| [&piece[..at], &piece[at..]])
        .collect()
}
