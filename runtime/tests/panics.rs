//! A panic inside the tokenizer's own crate is an error, and a program can keep quiet about it.

mod common;

use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::Files;
use tern_runtime::{Tokenizer, TokenizerError, tokenizer_panic_is_contained};

static CONTAINED: AtomicUsize = AtomicUsize::new(0);
static LOOSE: AtomicUsize = AtomicUsize::new(0);

/// The only test of this program: hooks belong to the whole process.
#[test]
fn contained_panics_are_marked_and_name_the_file() {
    panic::set_hook(Box::new(|_| {
        let count = if tokenizer_panic_is_contained() {
            &CONTAINED
        } else {
            &LOOSE
        };
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let json = String::from_utf8(Files::read("bitnet-odd-packed").tokenizer).unwrap();
    // The template names a special token that is no longer described.
    let (before, described) = json.split_once("\"special_tokens\": {").unwrap();
    let described = described.replacen("<|end_of_text|>", "other", 1);
    let json = format!("{before}\"special_tokens\": {{{described}");
    let failed = Tokenizer::parse(json.as_bytes(), "folder/tokenizer.json")
        .and_then(|tokenizer| tokenizer.encode("Hello world", true))
        .unwrap_err();
    let _ = panic::take_hook();
    let message = failed.to_string();
    assert!(
        matches!(failed, TokenizerError::Contradiction { .. }),
        "{message}"
    );
    assert!(message.contains("folder/tokenizer.json"), "{message}");
    assert!(message.contains("download it again"), "{message}");
    assert_eq!(CONTAINED.load(Ordering::Relaxed), 1);
    assert_eq!(LOOSE.load(Ordering::Relaxed), 0);
    assert!(!tokenizer_panic_is_contained());
}
