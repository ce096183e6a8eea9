//! Tern's own tokenizers give the ids of public ones: tiktoken, Hugging Face's tokenizers and SentencePiece.

#[path = "common/mixed.rs"]
mod mixed;

use std::fs;
use std::path::Path;

use serde_json::Value;
use tern_runtime::{Tokenizer, Vocabulary};

use mixed::{checksum, folder, text};

fn json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder().join(name)).unwrap()).unwrap()
}

/// A vocabulary of a fixture: its lists are those of GGUF metadata.
fn vocabulary(name: &str) -> Vocabulary {
    let mut all = json(name);
    let defaults = serde_json::to_value(Vocabulary::default()).unwrap();
    for (key, value) in defaults.as_object().unwrap() {
        all.as_object_mut()
            .unwrap()
            .entry(key)
            .or_insert(value.clone());
    }
    serde_json::from_value(all).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The generated text of a fixture, and that its ids are those expected.
fn assert_big(text: &str, expected: &Value, found: &[u32], what: &str) {
    assert_eq!(text.len() as u64, expected["bytes"].as_u64().unwrap());
    assert_eq!(
        checksum(text.bytes().map(u64::from)),
        expected["text"],
        "the text is another one than the script's"
    );
    let first = ids(&expected["first"]);
    assert_eq!(found[..first.len()], first, "{what}");
    assert_eq!(
        found.len() as u64,
        expected["count"].as_u64().unwrap(),
        "{what}"
    );
    assert_eq!(
        checksum(found.iter().map(|&id| u64::from(id))),
        expected["ids"],
        "{what}"
    );
}

fn assert_tiktoken(path: &Path, expected: &Value) {
    let file = path.display().to_string();
    let tokenizer = Tokenizer::from_tiktoken(&fs::read(path).unwrap(), &file).unwrap();
    for case in expected["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let plain = tokenizer.encode_plain(text).unwrap();
        assert_eq!(plain, ids(&case["plain"]), "{text:?}");
        assert_eq!(
            tokenizer.encode(text, false).unwrap(),
            ids(&case["special"]),
            "{text:?}"
        );
        assert_eq!(tokenizer.decode(&plain, true).unwrap(), text);
    }
    let size = expected["size"].as_u64().unwrap() as usize;
    let text = text(expected["seed"].as_u64().unwrap(), size, true);
    let plain = tokenizer.encode_plain(&text).unwrap();
    assert_big(&text, &expected["plain"], &plain, "plain");
    let special = tokenizer.encode(&text, false).unwrap();
    assert_big(&text, &expected["special"], &special, "special");
    assert_eq!(tokenizer.decode(&plain, true).unwrap(), text);
    let bos = tokenizer.id("<|begin_of_text|>").unwrap();
    assert_eq!(tokenizer.encode("x", true).unwrap()[0], bos);
}

#[test]
fn a_small_vocabulary_gives_the_ids_of_tiktoken() {
    assert_tiktoken(&folder().join("tiny.tiktoken"), &json("tiny.tiktoken.json"));
}

/// GGUF files have merges, which tiktoken's do not: with those that were found again the ids are the same.
#[test]
fn tiktoken_files_become_lists_with_the_same_ids() {
    let file = fs::read(folder().join("tiny.tiktoken")).unwrap();
    let own = Tokenizer::from_tiktoken(&file, "tiny").unwrap();
    let lists = Vocabulary::from_tiktoken(&file, "tiny").unwrap();
    let made = Tokenizer::from_vocabulary(lists, "tiny").unwrap();
    assert_eq!(made.notes(), [""; 0]);
    assert_eq!(made.vocab_size(), own.vocab_size());
    let long = format!("{}{}", "a".repeat(999), " ".repeat(99));
    let cases = json("tiny.tiktoken.json")["cases"].clone();
    let cases = cases.as_array().unwrap().iter();
    let cases = cases.map(|case| case["text"].as_str().unwrap().to_owned());
    for text in cases.chain([text(2, 200_000, true), text(12, 200_000, false), long]) {
        let (found, expected) = (made.encode(&text, true), own.encode(&text, true));
        let (found, expected) = (found.unwrap(), expected.unwrap());
        assert_eq!(found, expected);
        assert_eq!(
            made.decode(&found, true).unwrap(),
            own.decode(&expected, true).unwrap()
        );
    }
}

/// Llama 3's real vocabulary, whose licence keeps it out of the repository.
#[test]
fn llama3_gives_the_ids_of_tiktoken() {
    let Some(path) = std::env::var_os("TERN_LLAMA3_TOKENIZER") else {
        eprintln!(
            "SKIPPED: Llama 3's vocabulary is not here; set TERN_LLAMA3_TOKENIZER to its tokenizer.model to compare a megabyte of text with \
             tiktoken"
        );
        return;
    };
    assert_tiktoken(Path::new(&path), &json("llama3.json"));
}

#[test]
fn byte_level_vocabularies_give_the_ids_of_tokenizers() {
    let expected = json("tiny.bpe.expected.json");
    for (pre, expected) in expected.as_object().unwrap() {
        let vocabulary = Vocabulary {
            pre: Some(pre.clone()),
            ..vocabulary("tiny.bpe.json")
        };
        let tokenizer = Tokenizer::from_vocabulary(vocabulary, "tiny").unwrap();
        for case in expected["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let found = tokenizer.encode(text, false).unwrap();
            assert_eq!(found, ids(&case["ids"]), "{pre} {text:?}");
            assert_eq!(
                tokenizer.decode(&found, true).unwrap(),
                case["decoded"],
                "{pre} {text:?}"
            );
        }
        let size = expected["size"].as_u64().unwrap() as usize;
        let text = text(expected["seed"].as_u64().unwrap(), size, true);
        let found = tokenizer.encode(&text, false).unwrap();
        assert_big(&text, &expected["big"], &found, pre);
    }
}

#[test]
fn sentence_piece_vocabularies_give_its_ids() {
    for name in ["tiny.spm", "strict.spm"] {
        let vocabulary = vocabulary(&format!("{name}.json"));
        let tokenizer = Tokenizer::from_vocabulary(vocabulary, name).unwrap();
        let expected = json(&format!("{name}.expected.json"));
        for case in expected["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let found = tokenizer.encode_plain(text).unwrap();
            assert_eq!(found, ids(&case["ids"]), "{name} {text:?}");
            if name == "tiny.spm" {
                assert_eq!(
                    tokenizer.decode(&found, true).unwrap(),
                    case["decoded"],
                    "{text:?}"
                );
            }
        }
        let size = expected["size"].as_u64().unwrap() as usize;
        let text = text(expected["seed"].as_u64().unwrap(), size, false);
        let found = tokenizer.encode_plain(&text).unwrap();
        assert_big(&text, &expected["big"], &found, name);
    }
}

fn sentencepiece(name: &str) -> Vec<u8> {
    fs::read(folder().join(format!("{name}.model"))).unwrap()
}

#[test]
fn sentence_piece_files_give_its_ids_and_texts() {
    let expected = json("sentencepiece.expected.json");
    for (name, expected) in expected.as_object().unwrap() {
        let vocabulary = Vocabulary::from_sentencepiece(&sentencepiece(name), name).unwrap();
        let id = |key: &str| u32::try_from(expected[key].as_i64().unwrap()).ok();
        assert_eq!(
            [
                vocabulary.bos_id,
                vocabulary.eos_id,
                vocabulary.padding_id,
                vocabulary.unknown_id
            ],
            ["bos", "eos", "pad", "unk"].map(id)
        );
        let written = vocabulary.to_sentencepiece().unwrap();
        assert_eq!(
            Vocabulary::from_sentencepiece(&written, name).unwrap(),
            vocabulary
        );
        let unknown = vocabulary.unknown_id.unwrap();
        let tokenizer = Tokenizer::from_vocabulary(vocabulary, name).unwrap();
        for case in expected["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let found = tokenizer.encode_plain(text).unwrap();
            assert_eq!(found, ids(&case["ids"]), "{name} {text:?}");
            // SentencePiece shows the unknown token as " \u{2047} ", here it is hidden as any token that is no text.
            if !found.contains(&unknown) {
                let decoded = tokenizer.decode(&found, true).unwrap();
                assert_eq!(decoded, case["decoded"], "{name} {text:?}");
            }
        }
        for case in expected["decodes"].as_array().unwrap() {
            let ids = ids(&case["ids"]);
            let decoded = tokenizer.decode(&ids, true).unwrap();
            assert_eq!(decoded, case["text"], "{name} {ids:?}");
            let mut stream = tokenizer.stream();
            let pieces = ids.iter().map(|&id| stream.push(id).unwrap());
            let pieces: String = pieces.collect();
            assert_eq!(pieces + &stream.finish().unwrap(), decoded, "{ids:?}");
        }
        let size = expected["size"].as_u64().unwrap() as usize;
        let text = text(expected["seed"].as_u64().unwrap(), size, false);
        let found = tokenizer.encode_plain(&text).unwrap();
        assert_big(&text, &expected["big"], &found, name);
    }
}

/// Fields of the same message behind a file count instead of the earlier ones.
#[test]
fn sentence_piece_files_that_would_give_wrong_tokens_are_refused() {
    let refusal = |more: &[u8]| {
        let file = [&sentencepiece("bare")[..], more].concat();
        let error = Vocabulary::from_sentencepiece(&file, "folder/tokenizer.model").unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("folder/tokenizer.model: "), "{message}");
        assert!(
            message.contains("let transformers make a tokenizer.json"),
            "{message}"
        );
        message
    };
    let cases: [(&[u8], &str); 11] = [
        (b"\x12\x02\x18\x01", "it is a Unigram model (model_type 1)"),
        (b"\x12\x02\x18\x09", "it is a strange model (model_type 9)"),
        (
            b"\x1a\x09\x0a\x04nfkc\x12\x01x",
            "\"nfkc\", rewrites characters by a table of 1 bytes",
        ),
        (b"\x2a\x03\x12\x01x", "denormalizer"),
        (b"\x1a\x02\x28\x00", "escape_whitespaces is false"),
        (b"\x12\x03\xc0\x01\x01", "treat_whitespace_as_suffix"),
        (b"\x12\x03\x98\x02\x01", "it has 0 pieces of bytes, not 256"),
        (b"\x0a\x04\x0a\x02\xc3\x28", "piece 360: it is not UTF-8"),
        (b"\x0a\x03\x0a\x01e", "the piece \"e\" is in it twice"),
        (
            b"\x0a\x50abc",
            "a value of 80 bytes begins where 3 are left",
        ),
        (b"\x0b", "field 1 is of the wire type 3"),
    ];
    for (more, part) in cases {
        let message = refusal(more);
        assert!(message.contains(part), "{message}");
    }
    let error = |file: &[u8]| {
        Vocabulary::from_sentencepiece(file, "x")
            .unwrap_err()
            .to_string()
    };
    assert!(error(b"").contains("no pieces"));
    assert!(error(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
    // Wherever the file ends, it is a shorter file or damaged, but no panic.
    let whole = sentencepiece("bare");
    for end in 0..whole.len() {
        let _ = Vocabulary::from_sentencepiece(&whole[..end], "x");
    }
}

/// llama.cpp's rule: a space before what follows a control token, too. SentencePiece never sees control tokens.
#[test]
fn text_after_a_control_token_begins_anew() {
    let tokenizer = Tokenizer::from_vocabulary(vocabulary("tiny.spm.json"), "tiny").unwrap();
    let end = tokenizer.id("<|im_end|>").unwrap();
    let word = tokenizer.encode("river", false).unwrap();
    let both = tokenizer.encode("river<|im_end|>river", false).unwrap();
    assert_eq!(both, [&word[..], &[end], &word].concat());
    assert_eq!(
        tokenizer.encode("river", true).unwrap()[0],
        1,
        "begin of text"
    );
    assert_eq!(
        tokenizer
            .encode("<s>river", true)
            .unwrap()
            .iter()
            .filter(|&&id| id == 1)
            .count(),
        1
    );
}

fn notes(vocabulary: Vocabulary) -> String {
    Tokenizer::from_vocabulary(vocabulary, "x")
        .unwrap()
        .notes()
        .join("; ")
}

#[test]
fn a_missing_rule_is_inferred_from_the_vocabulary() {
    let tiny = vocabulary("tiny.bpe.json");
    let of_size = |size: usize, first: &str, pre: Option<&str>| {
        let mut vocabulary = tiny.clone();
        vocabulary.pre = pre.map(str::to_owned);
        vocabulary.tokens.push(first.to_owned());
        vocabulary.types.push(3);
        for id in vocabulary.tokens.len()..size {
            vocabulary.tokens.push(format!("[PAD{id}]"));
            vocabulary.types.push(5);
        }
        vocabulary
    };
    for pre in [None, Some("default")] {
        assert!(notes(of_size(128_256, "<|x|>", pre)).contains("inferred llama-bpe"));
        assert!(notes(of_size(151_936, "<|im_start|>", pre)).contains("inferred qwen2"));
    }
    assert!(notes(of_size(151_936, "<|x|>", None)).contains("assumed gpt-2"));
    assert!(notes(tiny.clone()).contains("assumed gpt-2"));
    assert_eq!(notes(of_size(128_256, "<|x|>", Some("qwen2"))), "");
    // As BitNet 2B4T's published file: three digits together, and a begin-of-text token.
    let inferred = Tokenizer::from_vocabulary(of_size(128_256, "<|x|>", None), "x").unwrap();
    let named = Vocabulary {
        pre: Some("llama-bpe".to_owned()),
        ..tiny
    };
    let named = Tokenizer::from_vocabulary(named, "x").unwrap();
    let text = "12345 don't";
    assert_eq!(
        inferred.encode(text, true).unwrap(),
        named.encode(text, true).unwrap()
    );
}

fn refusal(change: impl FnOnce(&mut Vocabulary), name: &str) -> String {
    let mut vocabulary = vocabulary(name);
    change(&mut vocabulary);
    match Tokenizer::from_vocabulary(vocabulary, "model.gguf") {
        Ok(_) => panic!("this should be refused"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_would_give_wrong_tokens_is_refused() {
    let bpe = "tiny.bpe.json";
    let cases = [
        (
            refusal(|v| v.pre = Some("gpt-4o".to_owned()), bpe),
            "\"gpt-4o\"",
        ),
        (
            refusal(|v| v.pre = Some("gpt-4o".to_owned()), bpe),
            "Known are llama-bpe",
        ),
        (refusal(|v| v.model = "bert".to_owned(), bpe), "\"bert\""),
        (refusal(|v| v.merges.clear(), bpe), "merges is missing"),
        (refusal(|v| v.tokens.clear(), bpe), "0 entries"),
        (
            refusal(|v| v.types.truncate(5), bpe),
            "token_type has 5 entries",
        ),
        (
            refusal(|v| v.tokens[0] = "x".repeat(9000), bpe),
            "token 0 has 9000 bytes",
        ),
        (
            refusal(|v| v.tokens[0] = "again".to_owned(), bpe),
            "has no token",
        ),
        (
            refusal(|v| v.scores.clear(), "tiny.spm.json"),
            "scores is missing",
        ),
        (
            refusal(|v| v.scores.truncate(9), "tiny.spm.json"),
            "scores has 9 entries",
        ),
        (
            refusal(
                |v| {
                    v.unknown_id = None;
                    v.types.iter_mut().for_each(|kind| *kind = 1);
                },
                "strict.spm.json",
            ),
            "nor an unknown token",
        ),
    ];
    for (message, part) in cases {
        assert!(message.contains(part), "{message}");
        assert!(message.starts_with("model.gguf: "), "{message}");
    }
}

/// Ids out of range, duplicates and merges of unknown tokens do no harm, and are told.
#[test]
fn small_damage_is_told() {
    let mut damaged = vocabulary("tiny.bpe.json");
    damaged.pre = Some("gpt-2".to_owned());
    damaged.eos_id = Some(1 << 30);
    let last = damaged
        .tokens
        .iter()
        .rposition(|token| token.starts_with('Ġ'))
        .unwrap();
    damaged.tokens[last] = damaged.tokens[last - 1].clone();
    damaged.merges.push("nothing known".to_owned());
    damaged.merges.push(" x".to_owned());
    let tokenizer = Tokenizer::from_vocabulary(damaged, "x").unwrap();
    let notes = tokenizer.notes().join("; ");
    for part in ["eos_token_id is 1073741824", "twice", "merges name tokens"] {
        assert!(notes.contains(part), "{notes}");
    }
    let text = "the river 123";
    let ids = tokenizer.encode(text, false).unwrap();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
}

#[test]
fn damaged_tiktoken_files_are_refused_with_the_line() {
    let good = fs::read_to_string(folder().join("tiny.tiktoken")).unwrap();
    let error = |text: &str| match Tokenizer::from_tiktoken(text.as_bytes(), "tokenizer.model") {
        Ok(_) => panic!("this should be refused"),
        Err(error) => error.to_string(),
    };
    assert!(error(&good.replacen(" 7\n", " 8\n", 1)).contains("line 8"));
    assert!(error(&good.replacen(" 7\n", " 7 7\n", 1)).contains("line 8"));
    assert!(error(&good.replacen("IQ==", "IQ=", 1)).contains("line 1 is not base64"));
    assert!(error("IQ== 0\nIQ== 1\n").contains("line 2 has a token that is in the file already"));
    assert!(error("IQ== 0\n").contains("has no token"));
    assert!(error("\n\u{e}\n\u{5}<unk>").contains("line 2 is not base64"));
    assert!(error("").contains("has no token"));
}

/// What a long word of one letter costs: a heap, not a search for every merge.
#[test]
fn a_long_word_is_encoded_in_time() {
    let long = "a".repeat(1 << 20);
    for (name, pre) in [("tiny.bpe.json", Some("gpt-2")), ("tiny.spm.json", None)] {
        let vocabulary = Vocabulary {
            pre: pre.map(str::to_owned),
            ..vocabulary(name)
        };
        let tokenizer = Tokenizer::from_vocabulary(vocabulary, name).unwrap();
        let ids = tokenizer.encode(&long, false).unwrap();
        assert_eq!(tokenizer.decode(&ids, true).unwrap().len(), long.len());
    }
}
