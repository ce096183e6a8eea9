//! Replays the inputs of `corpus`, among them every shape of damage that was thought of, through the functions that fuzzers call.

use std::fs;
use std::path::Path;
use std::time::Instant;

use tern_runtime::fuzzing;

fn replay(folder: &str, least: usize, target: fn(&[u8])) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(folder);
    let mut files: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= least, "{folder}");
    for file in files {
        let bytes = fs::read(&file).unwrap();
        let start = Instant::now();
        target(&bytes);
        // Cut short and with a byte changed, so that the replay sees damage too.
        target(&bytes[..bytes.len() / 2]);
        let mut changed = bytes;
        if let Some(byte) = changed.last_mut() {
            *byte ^= 0x20;
        }
        target(&changed);
        assert!(
            start.elapsed().as_secs() < 60,
            "{} takes too long",
            file.display()
        );
    }
}

#[test]
fn tokenizers() {
    replay("tokenizer", 20, fuzzing::tokenizer);
}

#[test]
fn templates() {
    replay("template", 17, fuzzing::template);
}
