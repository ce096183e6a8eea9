//! What fuzzers call: a few bytes in, and nothing may panic, overflow a stack or fill memory.
//!
//! The functions are part of the library so that one copy serves both the fuzzer, which looks for new inputs, and the tests, which replay the
//! ones in `tests/corpus`.

mod model;

use std::sync::OnceLock;

use crate::chat::{ChatTemplate, Message};
use crate::error::TokenizerError;
use crate::tokenizer::{Tokenizer, Vocabulary};

pub use model::{gguf_model, mutate_gguf_front};

/// A text with what tokenizers cut at: digits, cases, marks, spaces, bytes in several kinds of characters.
const TEXT: &str = "It's 12345 tests!  \n\n\tnaïve 東京 🙂 <|eot_id|></s> ▁x e\u{301}\r\n ";

/// A tokenizer from a stranger's file, by the first byte in one of its forms. What can be made of it encodes and decodes.
///
/// * `j`: `tokenizer.json`. The crate that reads it panics for some; a fuzzer's panic hook must let pass what
///   [`tokenizer_panic_is_contained`](crate::tokenizer_panic_is_contained) says is caught.
/// * `s`: SentencePiece's `tokenizer.model`. What is read is written and read again.
/// * `t`: tiktoken's `tokenizer.model`.
/// * `v`: metadata, in lines. The first is the model's name and the rule that cuts texts, with a space between. Then a line for each token: the
///   digit of its type, a signed byte as its score, the token; or `m` and a merge. Behind a line `+` one token for each byte follows.
pub fn tokenizer(bytes: &[u8]) {
    let Some((&form, rest)) = bytes.split_first() else {
        return;
    };
    let made = match form {
        b'j' => Tokenizer::parse(rest, "fuzz"),
        b's' => sentencepiece(rest),
        b't' => Tokenizer::from_tiktoken(rest, "fuzz"),
        _ => Tokenizer::from_vocabulary(vocabulary(rest), "fuzz"),
    };
    let Ok(tokenizer) = made else {
        return;
    };
    // A file that is made to be slow may be slow: a fuzzer looks at what is short.
    let own = String::from_utf8_lossy(&rest[..rest.len().min(4096)]);
    for text in [TEXT, &own] {
        for ids in [tokenizer.encode(text, true), tokenizer.encode_plain(text)] {
            let ids = ids.unwrap_or_default();
            let _ = tokenizer.decode(&ids, false);
            let mut stream = tokenizer.stream();
            for &id in &ids {
                let _ = stream.push(id);
            }
            let _ = stream.finish();
        }
    }
    let _ = tokenizer.decode(&[0, 1, u32::MAX], true);
    let _ = tokenizer.end_of_turn_ids();
    let _ = tokenizer.check_vocabulary(10, "fuzz");
}

/// SentencePiece's file.
///
/// # Panics
///
/// The file is another one when it is written.
fn sentencepiece(bytes: &[u8]) -> Result<Tokenizer, TokenizerError> {
    let vocabulary = Vocabulary::from_sentencepiece(bytes, "fuzz")?;
    if let Some(written) = vocabulary.to_sentencepiece() {
        // A name that no piece has is not written.
        let again = Vocabulary {
            bos_id: vocabulary.bos_id,
            eos_id: vocabulary.eos_id,
            padding_id: vocabulary.padding_id,
            add_bos: vocabulary.add_bos,
            ..Vocabulary::from_sentencepiece(&written, "written")?
        };
        assert_eq!(again, vocabulary);
    }
    Tokenizer::from_vocabulary(vocabulary, "fuzz")
}

/// Metadata out of lines.
fn vocabulary(bytes: &[u8]) -> Vocabulary {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let header = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (model, pre) = header.split_once(' ').unwrap_or((&header, ""));
    let mut vocabulary = Vocabulary {
        model: model.to_owned(),
        pre: Some(pre.to_owned()).filter(|pre| !pre.is_empty()),
        ..Vocabulary::default()
    };
    let mut add = |kind: i32, score: f32, token: String| {
        vocabulary.types.push(kind);
        vocabulary.scores.push(score);
        vocabulary.tokens.push(token);
    };
    let mut merges = Vec::new();
    for line in lines {
        let text = |from: usize| {
            let rest = line.get(from..).unwrap_or_default();
            String::from_utf8_lossy(rest).into_owned()
        };
        match line.first() {
            Some(b'm') => merges.push(text(1)),
            Some(b'+') if model == "gpt2" => {
                for character in (0x21..0x7f).chain(0xa1..0xad).chain(0xae..0x144) {
                    add(1, 0.0, char::from_u32(character).into_iter().collect());
                }
            }
            Some(b'+') => (0..256).for_each(|byte| add(6, 0.0, format!("<0x{byte:02X}>"))),
            Some(kind) => {
                let score = line
                    .get(1)
                    .map_or(0.0, |score| f32::from(score.cast_signed()));
                add(i32::from(kind.wrapping_sub(b'0')), score, text(2));
            }
            None => (),
        }
    }
    let id = |index: usize| bytes.get(index).map(|&byte| u32::from(byte));
    vocabulary.bos_id = id(1);
    vocabulary.eos_id = id(2);
    vocabulary.merges = merges;
    vocabulary
}

/// A chat template from a stranger's file, with the messages behind a NUL. What it renders is encoded, and no message becomes a control
/// token.
///
/// # Panics
///
/// A control token came out of a message.
pub fn template(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (source, message) = text.split_once('\0').unwrap_or((&text, "<|eot_id|>"));
    let Ok(template) = ChatTemplate::parse(source, "fuzz") else {
        return;
    };
    static BYTES: OnceLock<Option<Tokenizer>> = OnceLock::new();
    let tokenizer = BYTES.get_or_init(|| {
        let bytes = vocabulary(b"gpt2 gpt-2\n+\n30<|eot_id|>\nmx y\n");
        Tokenizer::from_vocabulary(bytes, "fuzz").ok()
    });
    let Some(tokenizer) = tokenizer else {
        return;
    };
    let messages = [
        Message::new("system", message),
        Message::new("user", message),
        Message::new("assistant", message),
    ];
    for answer in [true, false] {
        let Ok(prompt) = template.render(tokenizer, &messages, answer) else {
            continue;
        };
        if prompt.text().len() > 1 << 16 {
            // Only slow.
            continue;
        }
        let ids = tokenizer.encode_prompt(&prompt).unwrap_or_default();
        let end = tokenizer.id("<|eot_id|>");
        let found = ids.iter().filter(|&&id| Some(id) == end).count();
        // A template that neither spells the token, nor makes texts of parts, nor was replaced has none to give.
        let is_own = template.notes().is_empty() && !source.contains(['|', '%', '~', '+', '<']);
        assert!(
            !is_own || found == 0,
            "{found} control tokens came out of messages"
        );
    }
}
