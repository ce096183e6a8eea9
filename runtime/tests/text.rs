//! Tokenizer, generation and perplexity, on the fixture models and on the demo model.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{FIXTURES, Files, Setup, all_logits, engine, folder, greedy, prompts};
use serde_json::Value;
use tern_runtime::{
    Engine, Finish, GenerateError, GenerateOptions, Generated, Model, PerplexityError, Sampling,
    StepError, Tokenizer, generate, perplexity,
};

fn tokenizer(fixture: &str) -> Tokenizer {
    let file = folder(fixture).join("tokenizer.json");
    Tokenizer::parse(&fs::read(&file).unwrap(), "tokenizer.json").unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

#[test]
fn tokenizers_match() {
    for fixture in FIXTURES {
        let tokenizer = tokenizer(fixture);
        let cases = json(&folder(fixture).join("expected_tokenizer.json"));
        let cases = cases["cases"].as_array().unwrap();
        assert!(cases.len() >= 16);
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let plain = ids(&case["ids"]);
            assert_eq!(
                tokenizer.encode(text, false).unwrap(),
                plain,
                "{fixture} {text:?}"
            );
            let special = ids(&case["ids_with_bos"]);
            assert_eq!(
                tokenizer.encode(text, true).unwrap(),
                special,
                "{fixture} {text:?}"
            );
            let decoded = case["decoded"].as_str().unwrap();
            assert_eq!(
                tokenizer.decode(&plain, false).unwrap(),
                decoded,
                "{fixture} {text:?}"
            );
            let decoded = case["decoded_skip_special"].as_str().unwrap();
            assert_eq!(
                tokenizer.decode(&plain, true).unwrap(),
                decoded,
                "{fixture} {text:?}"
            );
        }
    }
}

/// Pieces are whole characters and add up to the text, although nearly every token of these texts
/// ends inside a character.
#[test]
fn streams_never_split_a_character() {
    let tokenizer = tokenizer("bitnet-odd-packed");
    for text in [
        "über naïve 東京 🙂",
        "🙂🙂",
        "a",
        "",
        "é\u{fffd}é",
        "\u{fffd}\u{fffd}\u{fffd}\u{fffd}x",
    ] {
        let ids = tokenizer.encode(text, false).unwrap();
        let mut stream = tokenizer.stream();
        let mut pieces: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        if !text.contains('\u{fffd}') {
            assert!(
                pieces.iter().all(|piece| !piece.contains('\u{fffd}')),
                "{pieces:?}"
            );
        }
        pieces.push(stream.finish().unwrap());
        assert_eq!(pieces.concat(), text);
    }
}

/// Bytes that never become a character come out as U+FFFD, not much later and not twice.
#[test]
fn streams_show_invalid_bytes() {
    let tokenizer = tokenizer("bitnet-odd-packed");
    let smiley = tokenizer.encode("🙂", false).unwrap();
    assert_eq!(smiley.len(), 4);
    let letter = tokenizer.encode("a", false).unwrap()[0];
    let broken = [
        smiley[0], smiley[1], letter, smiley[0], letter, letter, smiley[0], smiley[1],
    ];
    let mut stream = tokenizer.stream();
    let mut text: String = broken.iter().map(|&id| stream.push(id).unwrap()).collect();
    assert!(text.ends_with("aa"), "{text:?}");
    text += &stream.finish().unwrap();
    assert_eq!(text, tokenizer.decode(&broken, true).unwrap());
    // An endless run of them flows, with at most three held back.
    let mut stream = tokenizer.stream();
    let shown: String = (0..100).map(|_| stream.push(smiley[1]).unwrap()).collect();
    assert_eq!(shown.chars().count(), 97);
}

fn run(engine: &mut Engine, prompt: &[u32], options: &GenerateOptions) -> Generated {
    let mut pieces = String::new();
    let mut sequence = engine.model().sequence();
    let cancel = AtomicBool::new(false);
    let mut on_text = |piece: &str| pieces.push_str(piece);
    let output = generate(
        engine,
        &mut sequence,
        prompt,
        options,
        &cancel,
        &mut on_text,
    )
    .unwrap();
    assert_eq!(output.text, pieces);
    assert_eq!(output.stats.generated_tokens, output.tokens.len());
    assert_eq!(output.stats.prompt_tokens, prompt.len());
    output
}

#[test]
fn generation_gives_the_greedy_tokens() {
    for fixture in FIXTURES {
        let mut engine = Setup {
            threads: 2,
            ..Setup::default()
        }
        .engine(fixture);
        for prompt in prompts(fixture) {
            let options = GenerateOptions {
                max_tokens: 32,
                ignore_stop_ids: true,
                ..GenerateOptions::default()
            };
            let output = run(&mut engine, &prompt.tokens, &options);
            assert_eq!(output.tokens, prompt.greedy, "{fixture} {}", prompt.name);
            assert_eq!(output.finish, Finish::MaxTokens);
            assert_eq!(output.stats.decode_steps, 31);
            let text = engine
                .model()
                .tokenizer()
                .unwrap()
                .decode(&output.tokens, true)
                .unwrap();
            assert_eq!(output.text, text);
        }
    }
}

/// The fixture's p33 runs into its end-of-text token 256.
#[test]
fn a_stop_id_ends_the_text() {
    let mut engine = engine("bitnet-odd-packed");
    assert_eq!(engine.model().stop_ids(), [256]);
    let p33 = prompts("bitnet-odd-packed").pop().unwrap();
    let end = p33.greedy.iter().position(|&id| id == 256).unwrap();
    let output = run(&mut engine, &p33.tokens, &GenerateOptions::default());
    assert_eq!(output.tokens, p33.greedy[..end]);
    assert_eq!(output.finish, Finish::StopId(256));
}

#[test]
fn stop_ids_come_from_configuration_and_known_names() {
    // config.json and generation_config.json say 503, the tokenizer also has <|eot_id|>, 511.
    let engine = engine("bitnet-tiny-packed");
    assert_eq!(engine.model().stop_ids(), [503, 511]);
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    let mut engine = engine("bitnet-tiny-packed");
    let prompt = &prompts("bitnet-tiny-packed")[1].tokens;
    let options = GenerateOptions {
        max_tokens: 24,
        ignore_stop_ids: true,
        ..GenerateOptions::default()
    };
    let whole = run(&mut engine, prompt, &options).text;
    let middle: Vec<char> = whole.chars().skip(8).take(3).collect();
    let stop: String = middle.into_iter().collect();
    let cut = whole.find(&stop).unwrap();
    let options = GenerateOptions {
        stop: vec!["never".to_owned(), stop.clone()],
        ..options
    };
    let output = run(&mut engine, prompt, &options);
    assert_eq!(output.text, whole[..cut]);
    assert_eq!(output.finish, Finish::StopString(stop));
}

#[test]
fn generation_ends_with_the_context_or_on_request() {
    let short = Files::read("bitnet-odd-packed").set("max_position_embeddings", 70.into());
    let mut engine = Engine::new(Arc::new(short.load().unwrap())).unwrap();
    let prompt: Vec<u32> = (0..68).collect();
    let options = GenerateOptions {
        ignore_stop_ids: true,
        ..GenerateOptions::default()
    };
    let output = run(&mut engine, &prompt, &options);
    assert_eq!(
        (output.finish, output.tokens.len()),
        (Finish::ContextFull, 3)
    );

    let cancel = AtomicBool::new(false);
    let mut pieces = 0;
    let mut on_text = |_: &str| {
        pieces += 1;
        cancel.store(pieces == 3, Ordering::Relaxed);
    };
    let mut sequence = engine.model().sequence();
    let output = generate(
        &mut engine,
        &mut sequence,
        &[1, 2],
        &options,
        &cancel,
        &mut on_text,
    )
    .unwrap();
    assert_eq!(output.finish, Finish::Cancelled);
    cancel.store(true, Ordering::Relaxed);
    let mut sequence = engine.model().sequence();
    let output = generate(
        &mut engine,
        &mut sequence,
        &[1, 2],
        &options,
        &cancel,
        &mut |_| (),
    )
    .unwrap();
    assert_eq!((output.finish, output.tokens.len()), (Finish::Cancelled, 0));
    assert!(sequence.is_empty());
}

#[test]
fn a_seed_names_a_text() {
    let mut engine = engine("bitnet-tiny-packed");
    let mut text = |seed| {
        let sampling = Sampling {
            temperature: 1.5,
            top_p: 0.95,
            seed,
            ..Sampling::default()
        };
        let options = GenerateOptions {
            max_tokens: 20,
            sampling,
            ..GenerateOptions::default()
        };
        run(&mut engine, &[24], &options).tokens
    };
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn unusable_requests_are_refused() {
    let mut engine = engine("bitnet-odd-packed");
    let context = engine.model().config().context;
    let mut error = |prompt: &[u32], options: GenerateOptions| {
        let cancel = AtomicBool::new(false);
        let mut sequence = engine.model().sequence();
        generate(
            &mut engine,
            &mut sequence,
            prompt,
            &options,
            &cancel,
            &mut |_| (),
        )
        .unwrap_err()
    };
    let defaults = GenerateOptions::default;
    assert!(matches!(error(&[], defaults()), GenerateError::EmptyPrompt));
    let long = vec![1; context + 1];
    let message = error(&long, defaults()).to_string();
    assert!(
        message.contains("4097 tokens") && message.contains("4096"),
        "{message}"
    );
    let message = error(&[1, 257], defaults()).to_string();
    assert!(
        message.contains("token id 257") && message.contains("257 ids"),
        "{message}"
    );
    let options = GenerateOptions {
        stop: vec![String::new()],
        ..defaults()
    };
    assert!(matches!(error(&[1], options), GenerateError::EmptyStop));
    let sampling = Sampling {
        min_p: -1.0,
        ..Sampling::default()
    };
    let options = GenerateOptions {
        sampling,
        ..defaults()
    };
    assert!(matches!(error(&[1], options), GenerateError::Sampling(_)));
}

/// Against log-softmax of the logits, in windows with a short last one.
#[test]
fn perplexity_is_the_mean_over_predicted_tokens() {
    let mut engine = engine("bitnet-tiny-packed").with_pass(5);
    let tokens: Vec<u32> = (0..31).map(|i| i * 67 % 512).collect();
    let (mut nll, mut scored) = (0.0, 0);
    for window in tokens.chunks(10).filter(|window| window.len() > 1) {
        let logits = all_logits(&mut engine, window);
        for (row, &target) in logits.chunks(512).zip(&window[1..]) {
            let sum: f64 = row.iter().map(|&l| f64::from(l).exp()).sum();
            nll += sum.ln() - f64::from(row[target as usize]);
            scored += 1;
        }
    }
    let mut last = (0, 0);
    let found = perplexity(&mut engine, &tokens, 10, &mut |done, total| {
        last = (done, total)
    });
    let found = found.unwrap();
    assert!((found.nll - nll).abs() < 1e-9, "{} {nll}", found.nll);
    assert!((found.perplexity - (nll / f64::from(scored)).exp()).abs() < 1e-6);
    assert_eq!((found.scored, found.windows, found.tokens), (27, 3, 31));
    assert_eq!(last, (31, 31));
}

#[test]
fn unusable_texts_are_refused() {
    let mut engine = engine("bitnet-tiny-packed");
    let mut error = |tokens: &[u32], context| {
        perplexity(&mut engine, tokens, context, &mut |_, _| ()).unwrap_err()
    };
    assert!(matches!(
        error(&[1, 2], 1),
        PerplexityError::Context {
            context: 1,
            limit: 4096
        }
    ));
    assert!(matches!(
        error(&[1, 2], 5000),
        PerplexityError::Context { .. }
    ));
    assert!(matches!(
        error(&[1], 10),
        PerplexityError::TooShort { tokens: 1 }
    ));
    let range = StepError::TokenOutOfRange {
        token: 512,
        vocab_size: 512,
    };
    assert!(matches!(error(&[1, 512], 10), PerplexityError::Step(e) if e == range));
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo")
}

/// The bundled model, trained with PyTorch: the perplexity of a page it has not seen and the
/// continuation of a prompt are what PyTorch found.
#[test]
fn the_demo_model_does_what_pytorch_found() {
    let expected = json(&demo().join("expected.json"));
    let options = Setup {
        threads: 2,
        ..Setup::default()
    }
    .options();
    let model = Arc::new(Model::load(&demo().join("model"), &options).unwrap());
    let mut engine = Engine::new(Arc::clone(&model)).unwrap();

    let page = fs::read_to_string(demo().join("page.txt")).unwrap();
    let tokens = model.tokenizer().unwrap().encode(&page, false).unwrap();
    assert_eq!(
        tokens.len() as u64,
        expected["page"]["tokens"].as_u64().unwrap()
    );
    let context = expected["context"].as_u64().unwrap() as usize;
    let found = perplexity(&mut engine, &tokens, context, &mut |_, _| ()).unwrap();
    assert_eq!(
        found.scored as u64,
        expected["page"]["scored_tokens"].as_u64().unwrap()
    );
    let truth = expected["page"]["perplexity"].as_f64().unwrap();
    eprintln!("perplexity {} (PyTorch {truth})", found.perplexity);
    assert!(
        (found.perplexity / truth - 1.0).abs() < 0.005,
        "{} {truth}",
        found.perplexity
    );

    let prompt = expected["greedy"]["prompt"].as_str().unwrap();
    let prompt = model.tokenizer().unwrap().encode(prompt, false).unwrap();
    assert_eq!(prompt, ids(&expected["greedy"]["prompt_ids"]));
    let truth = ids(&expected["greedy"]["tokens"]);
    assert_eq!(greedy(&mut engine, &prompt, truth.len()), truth);
}
