//! The corpus of safetensors headers (`tests/corpus/safetensors`), from which its fuzz target begins.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use tern_runtime::walk_safetensors;

/// A file with this header and so many bytes of data, and words of its message.
const CASES: &[(&str, &str, usize, &[&str])] = &[
    (
        "sound",
        r#"{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[16,20]}}"#,
        20,
        &[],
    ),
    ("no-tensors", "{}", 0, &[]),
    (
        "metadata",
        r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}"#,
        3,
        &[],
    ),
    ("not-json", "{]", 0, &["damaged safetensors header"]),
    (
        "nested",
        r#"{"a":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}"#,
        0,
        &["tensor \"a\""],
    ),
    (
        "shape-overflow",
        r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,16]}}"#,
        16,
        &["damaged safetensors header"],
    ),
    (
        "size-wrong",
        r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,16]}}"#,
        16,
        &["damaged safetensors header"],
    ),
    (
        "offsets-reversed",
        r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[8,4]}}"#,
        8,
        &["damaged safetensors header"],
    ),
    (
        "overlap",
        r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#,
        8,
        &["damaged safetensors header"],
    ),
    (
        "beyond",
        r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,18446744073709551615]}}"#,
        4,
        &["truncated", "tensor \"a\""],
    ),
];

#[test]
fn the_corpus_of_headers_is_replayed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/safetensors");
    let mut files = vec![
        (
            "length-only".to_owned(),
            u64::MAX.to_le_bytes().to_vec(),
            &["header of 18446744073709551615"][..],
        ),
        (
            "length-beyond".to_owned(),
            [&9u64.to_le_bytes()[..], b"{}"].concat(),
            &["truncated", "its header"],
        ),
    ];
    for (name, header, data, says) in CASES {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        files.push(((*name).to_owned(), bytes, says));
    }
    for (name, bytes, says) in &files {
        let path = folder.join(format!("{name}.safetensors"));
        if std::env::var_os("TERN_BLESS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, bytes).unwrap();
        }
        let found = fs::read(&path);
        assert!(
            found.is_ok_and(|found| found == *bytes),
            "{} is not what the tests make; TERN_BLESS=1 writes it",
            path.display()
        );
        let message =
            walk_safetensors(bytes).map_or_else(|error| error.to_string(), |()| String::new());
        assert_eq!(message.is_empty(), says.is_empty(), "{name}: {message}");
        for word in *says {
            assert!(
                message.contains(word),
                "{name}: {word:?} is not in: {message}"
            );
        }
    }
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let walked = catch_unwind(|| walk_safetensors(&bytes).is_ok());
        assert!(walked.is_ok(), "{}", path.display());
    }
}
