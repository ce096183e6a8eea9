//! Tokenizers and templates from one kind of file to the other: the ids stay the same, or the report says what does not.

mod common;
#[path = "common/mixed.rs"]
mod mixed;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Setup, folder};
use serde_json::{Value, json};
use tern_runtime::convert::{TernaryType, to_folder, to_gguf};
use tern_runtime::gguf::{Gguf, Header};
use tern_runtime::{Model, ReadOptions, Tokenizer, Vocabulary};

const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

fn fixture(name: &str) -> Value {
    serde_json::from_slice(&fs::read(mixed::folder().join(name)).unwrap()).unwrap()
}

/// A vocabulary of a fixture: its lists are those of GGUF metadata.
fn vocabulary(name: &str) -> Vocabulary {
    let mut all = json!(Vocabulary::default());
    for (key, value) in fixture(name).as_object().unwrap() {
        all[key] = value.clone();
    }
    serde_json::from_value(all).unwrap()
}

/// A model with this vocabulary in a temporary folder, and what else its metadata is to say.
struct File {
    temporary: tempfile::TempDir,
}

impl File {
    fn new(vocabulary: &Vocabulary, more: impl Fn(&mut Header)) -> File {
        let temporary = tempfile::tempdir().unwrap();
        let gguf = Gguf::open(&folder("gguf/bitnet-25.gguf")).unwrap();
        let mut header = Header::new();
        for (key, value) in gguf.metadata().iter() {
            let is_text = key.starts_with("tokenizer.") || key.ends_with(".vocab_size");
            if !is_text {
                header.set(key, value).unwrap();
            }
        }
        set_lists(vocabulary, &mut header);
        more(&mut header);
        let rows = vocabulary.tokens.len() as u64;
        for tensor in gguf.tensors() {
            let dims = match tensor.name() {
                "token_embd.weight" => vec![tensor.dims()[0], rows],
                _ => tensor.dims().to_vec(),
            };
            header.tensor(tensor.name(), &dims, tensor.kind()).unwrap();
        }
        let mut writer = header.begin(Vec::new()).unwrap();
        for tensor in gguf.tensors() {
            match tensor.name() {
                "token_embd.weight" => {
                    let row = tensor.data().len() / tensor.rows();
                    let rows = rows as usize;
                    let data = tensor.data().iter().copied().cycle().take(rows * row);
                    writer
                        .put(tensor.name(), &data.collect::<Vec<u8>>())
                        .unwrap();
                }
                name => writer.put(name, tensor.data()).unwrap(),
            }
        }
        let path = temporary.path().join("model.gguf");
        fs::write(path, writer.finish().unwrap()).unwrap();
        File { temporary }
    }

    fn path(&self) -> PathBuf {
        self.temporary.path().join("model.gguf")
    }

    /// The folder that `tern convert --to hf` makes of it.
    fn into_hf(self) -> Folder {
        let to = self.temporary.path().join("folder");
        fs::create_dir(&to).unwrap();
        let converted = to_folder(&self.path(), ReadOptions::default(), &to, &mut |_, _| true);
        // That the activation is a guess is known of these files.
        let mut notes = converted.unwrap().notes;
        notes.retain(|note| !note.starts_with("a guess: the feed-forward activation"));
        Folder {
            notes,
            temporary: self.temporary,
        }
    }
}

/// A folder that was written.
struct Folder {
    temporary: tempfile::TempDir,
    notes: Vec<String>,
}

impl Folder {
    fn path(&self) -> PathBuf {
        self.temporary.path().join("folder")
    }

    fn tokenizer(&self) -> Tokenizer {
        let json = fs::read(self.path().join("tokenizer.json"));
        let json = json.unwrap_or_else(|_| panic!("no tokenizer: {:?}", self.notes));
        Tokenizer::parse(&json, "tokenizer.json").unwrap()
    }
}

fn set_lists(vocabulary: &Vocabulary, header: &mut Header) {
    let lists = json!(vocabulary);
    let mut set = |name: &str, value: &Value| {
        let key = format!("tokenizer.ggml.{name}");
        match value {
            Value::String(text) => header.set(&key, &text[..]),
            Value::Bool(flag) => header.set(&key, *flag),
            Value::Number(id) => header.set(&key, u32::try_from(id.as_u64().unwrap()).unwrap()),
            _ => Ok(()),
        }
        .unwrap();
    };
    for (field, key) in [
        ("model", "model"),
        ("pre", "pre"),
        ("bos_id", "bos_token_id"),
        ("eos_id", "eos_token_id"),
        ("eot_id", "eot_token_id"),
        ("eom_id", "eom_token_id"),
        ("unknown_id", "unknown_token_id"),
        ("add_bos", "add_bos_token"),
        ("add_space_prefix", "add_space_prefix"),
        ("remove_extra_whitespaces", "remove_extra_whitespaces"),
    ] {
        set(key, &lists[field]);
    }
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    header.set(&key("tokens"), &vocabulary.tokens[..]).unwrap();
    header
        .set(&key("token_type"), &vocabulary.types[..])
        .unwrap();
    if !vocabulary.scores.is_empty() {
        header.set(&key("scores"), &vocabulary.scores[..]).unwrap();
    }
    if !vocabulary.merges.is_empty() {
        header.set(&key("merges"), &vocabulary.merges[..]).unwrap();
    }
}

fn own(vocabulary: &Vocabulary) -> Tokenizer {
    Tokenizer::from_vocabulary(vocabulary.clone(), "lists").unwrap()
}

/// The ids of texts, with special tokens in them where `special`.
fn assert_same(own: &Tokenizer, other: &Tokenizer, special: bool, what: &str) {
    let mut texts: Vec<String> = [
        "The <|eot_id|> quick",
        "",
        " ",
        "  a  b ",
        "▁a ▁",
        "\u{0}\u{1}🙂",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.extend((0..40).map(|seed| mixed::text(seed, 60, special)));
    texts.push(mixed::text(9, 8_000, special));
    for text in texts.iter().filter(|text| special || !text.contains('<')) {
        let (expected, found) = (own.encode(text, false), other.encode(text, false));
        assert_eq!(expected.unwrap(), found.unwrap(), "{what}: {text:?}");
        let (expected, found) = (own.encode_plain(text), other.encode_plain(text));
        assert_eq!(expected.unwrap(), found.unwrap(), "{what}, plain: {text:?}");
    }
    let (expected, found) = (own.encode("The fox", true), other.encode("The fox", true));
    assert_eq!(expected.unwrap(), found.unwrap(), "{what}");
}

/// The same vocabulary with its special tokens, and two that are not used, at this place.
fn with_specials_at(place: usize) -> Vocabulary {
    let mut vocabulary = Vocabulary {
        pre: Some("llama-bpe".to_owned()),
        ..vocabulary("tiny.bpe.json")
    };
    let all: Vec<(String, i32)> = vocabulary
        .tokens
        .drain(..)
        .zip(vocabulary.types.drain(..))
        .collect();
    let (mut tokens, mut specials): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(_, kind)| *kind == NORMAL);
    specials.sort_by_key(|(_, kind)| *kind != UNUSED);
    assert_eq!(specials.len(), 6);
    tokens.splice(place..place, specials);
    let id = |token: &str| tokens.iter().position(|(known, _)| known == token);
    vocabulary.bos_id = id("<|begin_of_text|>").map(|id| id as u32);
    vocabulary.eos_id = id("<|endoftext|>").map(|id| id as u32);
    (vocabulary.tokens, vocabulary.types) = tokens.into_iter().unzip();
    vocabulary
}

#[test]
fn tokens_keep_their_ids_in_a_folder_wherever_special_ones_stand() {
    for place in [0, 400, 800] {
        let vocabulary = with_specials_at(place);
        let folder = File::new(&vocabulary, |_| ()).into_hf();
        let found = folder.tokenizer();
        for (id, token) in (0..).zip(&vocabulary.tokens) {
            if vocabulary.types[id as usize] != UNUSED {
                assert_eq!(found.id(token), Some(id), "{place}: {token:?}");
            }
        }
        assert_same(
            &own(&vocabulary),
            &found,
            true,
            &format!("specials at {place}"),
        );
    }
}

#[test]
fn byte_level_lists_give_the_same_ids_as_tokenizer_json() {
    for pre in ["llama-bpe", "dbrx", "gpt-2"] {
        let vocabulary = Vocabulary {
            pre: Some(pre.to_owned()),
            ..vocabulary("tiny.bpe.json")
        };
        let folder = File::new(&vocabulary, |_| ()).into_hf();
        assert_eq!(folder.notes, [""; 0]);
        assert_same(&own(&vocabulary), &folder.tokenizer(), true, pre);
    }
    // Published tokenizers of these compose characters.
    for pre in ["qwen2", "qwen35"] {
        let vocabulary = Vocabulary {
            pre: Some(pre.to_owned()),
            ..vocabulary("tiny.bpe.json")
        };
        let folder = File::new(&vocabulary, |_| ()).into_hf();
        assert_eq!(folder.notes, [""; 0]);
        let (own, found) = (own(&vocabulary), folder.tokenizer());
        assert_same(&own, &found, true, pre);
        let ids = |tokenizer: &Tokenizer, text| tokenizer.encode(text, false).unwrap();
        for tokenizer in [&own, &found] {
            let composed = ids(tokenizer, "caf\u{e9} \u{1e9b}\u{323}");
            assert_eq!(
                ids(tokenizer, "cafe\u{301} \u{17f}\u{323}\u{307}"),
                composed
            );
        }
    }
    let vocabulary = Vocabulary {
        pre: Some("default".to_owned()),
        ..vocabulary("tiny.bpe.json")
    };
    let folder = File::new(&vocabulary, |_| ()).into_hf();
    assert!(folder.notes[0].contains("several expressions"));
    assert!(!folder.path().join("tokenizer.json").exists());
}

/// SentencePiece's own ids, and tern's for texts with control tokens in them.
#[test]
fn pieces_give_the_same_ids_as_tokenizer_json() {
    // Where they would not in each text, tokenizer.model says it alone.
    for (name, reason) in [
        ("tiny", "user-defined tokens, such as \"<sep>\""),
        ("strict", "extra spaces"),
    ] {
        let folder = File::new(&vocabulary(&format!("{name}.spm.json")), |_| ()).into_hf();
        assert!(folder.notes.join("").contains(reason), "{:?}", folder.notes);
        assert!(folder.path().join("tokenizer.model").exists());
        assert!(!folder.path().join("tokenizer.json").exists());
    }
    let control = |kind: &i32| {
        if *kind == USER_DEFINED {
            CONTROL
        } else {
            *kind
        }
    };
    let lists = vocabulary("tiny.spm.json");
    let types = lists.types.iter().map(control).collect();
    let no_prefix = Vocabulary {
        add_space_prefix: Some(false),
        ..lists.clone()
    };
    let all_control = Vocabulary { types, ..lists };
    let expected = fixture("tiny.spm.expected.json");
    for (lists, what) in [(all_control, "all control"), (no_prefix, "no prefix")] {
        let folder = File::new(&lists, |_| ()).into_hf();
        assert_eq!(folder.notes, [""; 0], "{what}");
        assert!(folder.path().join("tokenizer.model").exists());
        let found = folder.tokenizer();
        assert_same(&own(&lists), &found, true, what);
        if what == "no prefix" {
            continue;
        }
        let cases = expected["cases"].as_array().unwrap().iter();
        // The other library's tokens for tools are not control tokens.
        for case in cases.filter(|case| !case["text"].as_str().unwrap().contains('<')) {
            let text = case["text"].as_str().unwrap();
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            assert_eq!(found.encode_plain(text).unwrap(), ids, "{text:?}");
            let decoded = found.decode(&ids, true).unwrap();
            assert_eq!(decoded, case["decoded"].as_str().unwrap());
        }
        let size = expected["size"].as_u64().unwrap() as usize;
        let text = mixed::text(expected["seed"].as_u64().unwrap(), size, false);
        let ids = found.encode_plain(&text).unwrap();
        let sum = mixed::checksum(ids.iter().map(|&id| u64::from(id)));
        assert_eq!(sum, expected["big"]["ids"]);
    }
}

#[test]
fn lists_that_tokenizer_json_cannot_say_are_left_out_with_the_reason() {
    let left_out = |vocabulary: &Vocabulary, reason: &str| {
        let folder = File::new(vocabulary, |_| ()).into_hf();
        let notes = folder.notes.join("\n");
        let is_alone =
            notes.contains("is not carried over") || notes.contains("tokenizer.model alone");
        assert!(is_alone && notes.contains(reason), "{notes}");
        assert!(!folder.path().join("tokenizer.json").exists());
    };
    let lists = vocabulary;
    let vocabulary = |name: &str| {
        let mut lists = lists(name);
        // Of user-defined tokens alone there would be a note.
        for kind in &mut lists.types {
            *kind = if *kind == USER_DEFINED {
                CONTROL
            } else {
                *kind
            };
        }
        lists
    };
    let mut lists = vocabulary("tiny.spm.json");
    lists.scores.fill(-1000.0);
    left_out(&lists, "the same score");
    let mut lists = vocabulary("tiny.spm.json");
    // A character that pieces are made of is none itself any more.
    let place = lists.tokens.iter().position(|token| token == "e").unwrap();
    lists.types[place] = UNUSED;
    left_out(&lists, "has the tokens");
    let mut lists = vocabulary("tiny.bpe.json");
    lists.tokens[700] = lists.tokens[500].clone();
    left_out(&lists, "two of its tokens");
    let mut lists = vocabulary("tiny.bpe.json");
    lists.merges.clear();
    left_out(&lists, "merges is missing");
}

fn load(path: &Path) -> Model {
    Model::load(path, &Setup::default().options()).unwrap()
}

/// A model of `source` with another `tokenizer.json`, and other files beside it, as a GGUF file; and the notes.
fn gguf_with(source: &Path, json: &Value, files: &[(&str, Value)], to: &Path) -> String {
    let folder = to.with_extension("source");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(source.join(name), folder.join(name)).unwrap();
    }
    fs::write(folder.join("tokenizer.json"), json.to_string()).unwrap();
    for (name, json) in files {
        fs::write(folder.join(name), json.to_string()).unwrap();
    }
    let mut bytes = Vec::new();
    let reading = ReadOptions::default();
    let converted = to_gguf(
        &folder,
        reading,
        TernaryType::Exact,
        &mut bytes,
        &mut |_, _| true,
    );
    fs::write(to, bytes).unwrap();
    converted.unwrap().notes.join("\n")
}

/// The lists of a file, as a program that knows only them reads them.
fn lists_of(path: &Path) -> Option<Vocabulary> {
    let gguf = Gguf::open(path).unwrap();
    let metadata = gguf.metadata();
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let texts = |name: &str| -> Vec<String> {
        let texts = metadata.get::<Vec<&str>>(&key(name)).unwrap();
        texts
            .unwrap_or_default()
            .into_iter()
            .map(str::to_owned)
            .collect()
    };
    let id = |name: &str| metadata.get::<u32>(&key(name)).unwrap();
    let flag = |name: &str| metadata.get::<bool>(&key(name)).unwrap();
    let text = |name: &str| metadata.get::<&str>(&key(name)).unwrap().map(str::to_owned);
    Some(Vocabulary {
        model: text("model")?,
        pre: text("pre"),
        tokens: texts("tokens"),
        types: metadata
            .get(&key("token_type"))
            .unwrap()
            .unwrap_or_default(),
        scores: metadata.get(&key("scores")).unwrap().unwrap_or_default(),
        merges: texts("merges"),
        bos_id: id("bos_token_id"),
        eos_id: id("eos_token_id"),
        eot_id: id("eot_token_id"),
        eom_id: id("eom_token_id"),
        unknown_id: id("unknown_token_id"),
        add_bos: flag("add_bos_token"),
        add_space_prefix: flag("add_space_prefix"),
        remove_extra_whitespaces: flag("remove_extra_whitespaces"),
        ..Vocabulary::default()
    })
}

/// The way that cuts texts is named by the whole expression, or not at all.
#[test]
fn a_regular_expression_has_a_name_only_where_all_of_it_is_known() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("model.gguf");
    let source = folder("bitnet-tiny-packed");
    let json: Value =
        serde_json::from_slice(&fs::read(source.join("tokenizer.json")).unwrap()).unwrap();
    let pre = |json: &Value| {
        let notes = gguf_with(&source, json, &[], &file);
        let lists = lists_of(&file);
        if let Some(lists) = &lists {
            let other = Tokenizer::parse(json.to_string().as_bytes(), "json").unwrap();
            let (own, text) = (own(lists), "The quick 12345 fox's <|eot_id|> x\n\n  y");
            assert_eq!(
                own.encode(text, true).unwrap(),
                other.encode(text, true).unwrap()
            );
        }
        (lists.and_then(|lists| lists.pre), notes)
    };
    assert_eq!(pre(&json), (Some("llama-bpe".to_owned()), String::new()));
    let mut merging = json.clone();
    merging["model"]["ignore_merges"] = json!(false);
    assert_eq!(pre(&merging).0.as_deref(), Some("dbrx"));
    // Of one more step others know nothing, and what contains a known expression is another one.
    let steps = &json["pre_tokenizer"]["pretokenizers"];
    let mut digits = json.clone();
    digits["pre_tokenizer"]["pretokenizers"] =
        json!([{ "type": "Digits", "individual_digits": true }, steps[0], steps[1]]);
    let mut longer = json.clone();
    let pattern = steps[0]["pattern"]["Regex"].as_str().unwrap();
    longer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] =
        json!(format!("_+|{pattern}"));
    for other in [digits, longer] {
        let (pre, notes) = pre(&other);
        assert_eq!(pre, None);
        assert!(notes.contains("has no name"), "{notes}");
        // tern itself has all of it.
        let encode = |tokenizer: &Tokenizer| tokenizer.encode("a__b 1234", true).unwrap();
        let expected = Tokenizer::parse(other.to_string().as_bytes(), "json").unwrap();
        assert_eq!(encode(load(&file).tokenizer().unwrap()), encode(&expected));
    }
    let mut composed = json.clone();
    composed["normalizer"] = json!({ "type": "NFC" });
    let (name, notes) = pre(&composed);
    assert_eq!(name.as_deref(), Some("llama-bpe"));
    assert!(notes.contains("NFC"), "{notes}");
    let mut lower = json;
    lower["normalizer"] = json!({ "type": "Lowercase" });
    let (name, notes) = pre(&lower);
    assert!(name.is_none() && notes.contains("Lowercase"), "{notes}");
}

/// SentencePiece's lists, with pieces in another order than that of merging, through a folder and back.
#[test]
fn scores_are_made_of_the_order_of_merges() {
    for prefix in [false, true] {
        let mut lists = vocabulary("tiny.spm.json");
        lists.add_space_prefix = Some(prefix);
        for kind in lists.types.iter_mut().filter(|kind| **kind == USER_DEFINED) {
            *kind = CONTROL;
        }
        let pieces = lists.types.iter().position(|&kind| kind == NORMAL).unwrap();
        lists.tokens[pieces..].reverse();
        lists.scores[pieces..].reverse();
        lists.types[pieces..].reverse();
        let folder = File::new(&lists, |_| ()).into_hf();
        let json = fs::read(folder.path().join("tokenizer.json")).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        let file = folder.path().join("again.gguf");
        gguf_with(&folder.path(), &json, &[], &file);
        let again = lists_of(&file).unwrap();
        assert_eq!((&again.tokens, &again.types), (&lists.tokens, &lists.types));
        assert_eq!(again.add_space_prefix, Some(prefix));
        assert_same(&own(&lists), &own(&again), true, "again");
    }
}

/// A folder with five ids that end a text, of which no key but tern's own has room.
#[test]
fn every_id_that_ends_a_turn_is_carried_along() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("model.gguf");
    let source = folder("bitnet-tiny-packed");
    let json: Value =
        serde_json::from_slice(&fs::read(source.join("tokenizer.json")).unwrap()).unwrap();
    let ends = [7, 300, 301, 302, 303];
    let generation = ("generation_config.json", json!({ "eos_token_id": ends }));
    gguf_with(&source, &json, &[generation], &file);
    let model = load(&file);
    let expected = load(&file.with_extension("source")).stop_ids().to_vec();
    assert!(ends.iter().all(|id| expected.contains(id)));
    assert_eq!(model.stop_ids(), expected);
    let back = temporary.path().join("back");
    fs::create_dir(&back).unwrap();
    to_folder(&file, ReadOptions::default(), &back, &mut |_, _| true).unwrap();
    assert_eq!(load(&back).stop_ids(), expected);
    // Without tern's key, and without the whole tokenizer, three are left for others, and known names.
    let lists = lists_of(&file).unwrap();
    assert!(
        [lists.eos_id, lists.eot_id, lists.eom_id]
            .iter()
            .all(Option::is_some)
    );
}

/// With a `tokenizer.json` in the metadata, the ids beside it count as well; and as a folder they are in files that others read.
#[test]
fn ids_that_end_a_turn_do_not_depend_on_the_form_of_the_tokenizer() {
    let lists = Vocabulary {
        pre: Some("llama-bpe".to_owned()),
        eot_id: Some(300),
        eom_id: Some(301),
        ..vocabulary("tiny.bpe.json")
    };
    let folder = File::new(&lists, |_| ()).into_hf();
    let json = fs::read_to_string(folder.path().join("tokenizer.json")).unwrap();
    let whole = |header: &mut Header| header.set("tokenizer.huggingface.json", &json[..]).unwrap();
    for file in [File::new(&lists, |_| ()), File::new(&lists, whole)] {
        let stop = load(&file.path()).stop_ids().to_vec();
        assert!(stop.contains(&300) && stop.contains(&301), "{stop:?}");
        let folder = file.into_hf();
        assert_eq!(load(&folder.path()).stop_ids(), stop);
        for name in ["config.json", "generation_config.json"] {
            let json = fs::read(folder.path().join(name)).unwrap();
            let json: Value = serde_json::from_slice(&json).unwrap();
            let ids: Vec<u32> = serde_json::from_value(json["eos_token_id"].clone()).unwrap();
            assert_eq!(ids, stop, "{name}");
        }
    }
}

/// `tokenizer.chat_template.NAME`, where there is no other.
#[test]
fn named_chat_templates_are_found() {
    let lists = vocabulary("tiny.bpe.json");
    let file_of = |path: &Path| load(path).chat_template().unwrap().file().to_owned();
    let key = |name: &str| format!("tokenizer.chat_template{name}");
    let set = |header: &mut Header, name: &str| header.set(&key(name), "{{ messages }}").unwrap();
    let tools = File::new(&lists, |header| set(header, ".tool_use"));
    assert!(file_of(&tools.path()).ends_with(&key(".tool_use")));
    let both = File::new(&lists, |header| {
        set(header, ".a");
        set(header, ".default");
    });
    assert!(file_of(&both.path()).ends_with(&key(".default")));
    let all = File::new(&lists, |header| {
        set(header, ".default");
        set(header, "");
    });
    assert!(file_of(&all.path()).ends_with(&key("")));
}

/// That of the first GGUF files of BitNet 2B4T.
#[test]
fn a_template_that_is_known_to_be_wrong_is_not_handed_on() {
    let wrong = "{% for m in messages %}Human: {{ m.content }}BITNETAssistant: {% endfor %}";
    let file = File::new(&vocabulary("tiny.bpe.json"), |header| {
        header.set("tokenizer.chat_template", wrong).unwrap();
    });
    let to = file.path().with_file_name("again.gguf");
    let mut bytes = Vec::new();
    let reading = ReadOptions::default();
    let again = to_gguf(
        &file.path(),
        reading,
        TernaryType::Exact,
        &mut bytes,
        &mut |_, _| true,
    );
    fs::write(&to, bytes).unwrap();
    assert!(again.unwrap().notes.join("").contains("known to be wrong"));
    let gguf = Gguf::open(&to).unwrap();
    let template: &str = gguf
        .metadata()
        .get("tokenizer.chat_template")
        .unwrap()
        .unwrap();
    assert!(template.contains("capitalize") && !template.contains("BITNET"));
    let folder = file.into_hf();
    assert!(
        folder.notes.join("").contains("known to be wrong"),
        "{:?}",
        folder.notes
    );
    let config = fs::read_to_string(folder.path().join("tokenizer_config.json")).unwrap();
    assert!(config.contains("capitalize") && !config.contains("BITNETAssistant"));
    assert!(config.contains("PreTrainedTokenizerFast"));
}
