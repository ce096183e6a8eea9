//! Damaged, foreign and malicious files: each check of the reader has one here, and its message.
//!
//! The same files lie in `tests/corpus/gguf`, where the fuzzer begins and where its findings are kept; `TERN_BLESS=1` writes them. Names
//! that begin with `cve`, or with another project's name and a number, have the shapes of known holes in other readers. Whole models are in `models.rs`.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::raw::{Raw, string};
use crate::{models, walk};

pub struct Case {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    /// Words of the message; none for a file that opens.
    pub says: &'static [&'static str],
}

pub fn case(name: &'static str, bytes: Vec<u8>, says: &'static [&'static str]) -> Case {
    Case { name, bytes, says }
}

fn raw(name: &'static str, raw: Raw, says: &'static [&'static str]) -> Case {
    case(name, raw.bytes(), says)
}

/// A sound file with one vector.
fn sound() -> Raw {
    Raw::new()
        .key("general.architecture", 8, &string("llama"))
        .tensor("x", &[8], 0, 0)
        .zeros(32)
}

fn array(kind: u32, len: u64, bytes: &[u8]) -> Vec<u8> {
    let mut array = kind.to_le_bytes().to_vec();
    array.extend(len.to_le_bytes());
    array.extend(bytes);
    array
}

/// What is not a GGUF file at all, or one of another version.
fn foreign_files() -> Vec<Case> {
    let version = |version| Raw { version, ..sound() };
    vec![
        case("empty", vec![], &["the file is empty"]),
        case("magic-cut", b"GG".to_vec(), &["not a GGUF file", "\"GG\""]),
        case("html", b"<html>404</html>".to_vec(), &["HTML page"]),
        case(
            "lfs-pointer",
            b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
            &["Git LFS pointer", "git lfs pull"],
        ),
        case("ggjt", b"tjgg\x03\0\0\0".to_vec(), &["GGJT", "2023"]),
        case("ggml", b"lmgg\x03\0\0\0".to_vec(), &["GGML", "2023"]),
        case("zip", b"PK\x03\x04....".to_vec(), &["ZIP archive"]),
        case(
            "safetensors",
            b"\x02\0\0\0\0\0\0\0{}".to_vec(),
            &["safetensors", "folder"],
        ),
        case(
            "header-cut",
            b"GGUF\x03\0\0\0\0".to_vec(),
            &["truncated", "number of tensors"],
        ),
        raw("version-0", version(0), &["GGUF version 0"]),
        raw(
            "version-1",
            version(1),
            &["GGUF version 1", "convert the model again"],
        ),
        raw("version-2", version(2), &[]),
        raw("version-4", version(4), &["GGUF version 4", "newer tern"]),
        raw(
            "big-endian",
            version(0x0300_0000),
            &["big-endian", "0x03000000"],
        ),
    ]
}

/// Damage to metadata.
fn metadata() -> Vec<Case> {
    let long = "k".repeat(65_536);
    vec![
        raw("sound", sound(), &[]),
        raw("no-tensors", Raw::new().u32("a", 1), &[]),
        raw(
            "cve-2024-21802-key-count",
            Raw {
                n_keys: Some(u64::MAX),
                ..sound()
            },
            &["number of metadata keys is 18446744073709551615", "at most"],
        ),
        raw(
            "key-count-one-too-many",
            Raw {
                n_keys: Some(2),
                ..sound()
            },
            // The tensor's name is read as a key, and its number of dimensions as the type of the value; the next tensor has no name.
            &["name of tensor 0 is empty"],
        ),
        raw(
            "cve-2024-23496-key-length",
            Raw::new().key_bytes(&u64::MAX.to_le_bytes()).u32("a", 1),
            &["length of metadata key 0", "18446744073709551615"],
        ),
        raw("key-empty", Raw::new().u32("", 1), &["key 0 is empty"]),
        raw(
            "key-too-long",
            Raw::new().u32(&long, 1),
            &["length of metadata key 0 is 65536", "65535"],
        ),
        raw(
            "key-not-utf8",
            Raw::new().key_bytes(b"\x02\0\0\0\0\0\0\0\xff\xfe\0\0\0\0\x01"),
            &["key 0 is empty or not UTF-8"],
        ),
        // Keys that were never read are freed with those that were.
        raw(
            "cve-2024-32878-keys-not-read",
            Raw {
                n_keys: Some(40),
                ..Raw::new()
                    .key("general.architecture", 8, &string("llama"))
                    .key("a", 8, &(1u64 << 40).to_le_bytes())
            }
            .zeros(1024),
            &["length of metadata key \"a\" is 1099511627776"],
        ),
        // A length that is negative where it is an offset to skip by.
        raw(
            "gguf-parser-go-20-seek-back",
            Raw::new()
                .key("a", 9, &array(0, 0u64.wrapping_sub(37), &[0; 8]))
                .u32("b", 1),
            &["length of metadata key \"a\" is 18446744073709551579"],
        ),
        raw(
            "key-twice",
            Raw::new().u32("a.b", 1).u32("c", 2).u32("a.b", 3),
            &["metadata key \"a.b\" is there twice"],
        ),
        raw(
            "value-type-13",
            Raw::new().key("a", 13, &[0; 8]),
            &["metadata key \"a\"", "value type 13", "0 to 12"],
        ),
        raw(
            "value-type-negative",
            Raw::new().key("a", u32::MAX, &[0; 8]),
            &["value type 4294967295"],
        ),
        raw(
            "value-cut",
            Raw::new().key("a", 10, &[0; 4]),
            &["truncated", "metadata key \"a\""],
        )
        .cut_to(41),
        raw(
            "bool-2",
            Raw::new().key("a", 7, &[2]),
            &["metadata key \"a\"", "the bool 2", "0 or 1"],
        ),
        raw(
            "array-of-bool-2",
            Raw::new().key("a", 9, &array(7, 2, &[1, 2])),
            &["metadata key \"a\"", "neither 0 nor 1"],
        ),
        raw(
            "cve-2024-23605-string-length",
            Raw::new().key("a", 8, &u64::MAX.to_le_bytes()),
            &["length of metadata key \"a\" is 18446744073709551615"],
        ),
        raw(
            "string-length-beyond-file",
            Raw::new().key("a", 8, &1_000_000u64.to_le_bytes()),
            &["length of metadata key \"a\" is 1000000"],
        ),
        raw(
            "cve-2024-21825-array-count",
            Raw::new().key("a", 9, &array(4, 1 << 62, &[0; 8])),
            &["length of metadata key \"a\" is 4611686018427387904"],
        ),
        raw(
            "cve-2025-0315-array-of-strings",
            Raw::new().key("a", 9, &array(8, 1 << 40, &[0; 16])),
            &["length of metadata key \"a\" is 1099511627776"],
        ),
        raw(
            "array-of-arrays",
            Raw::new().key("a", 9, &array(9, 1, &array(4, 1, &[0; 4]))),
            &["metadata key \"a\"", "an array of arrays"],
        ),
        raw(
            "array-of-type-13",
            Raw::new().key("a", 9, &array(13, 1, &[0; 8])),
            &["metadata key \"a\"", "array of value type 13"],
        ),
        raw(
            "string-not-utf8",
            Raw::new().key("a", 8, b"\x02\0\0\0\0\0\0\0\xff\xfe"),
            // It opens, and only who asks for text is refused.
            &[],
        ),
        raw(
            "cve-2025-0317-alignment-0",
            sound().u32("general.alignment", 0),
            &["general.alignment", "is 0 (u32)", "power of two"],
        ),
        raw(
            "alignment-3",
            sound().u32("general.alignment", 3),
            &["is 3 (u32)", "power of two"],
        ),
        raw(
            "alignment-4",
            sound().u32("general.alignment", 4),
            &["is 4 (u32)", "from 8"],
        ),
        raw(
            "alignment-2-31",
            sound().u32("general.alignment", 1 << 31),
            &["is 2147483648", "1048576"],
        ),
        raw(
            "alignment-text",
            sound().key("general.alignment", 8, &string("32")),
            &["is \"32\" (string)", "integer"],
        ),
        raw(
            "alignment-64",
            Raw {
                alignment: 64,
                ..sound()
            }
            .u32("general.alignment", 64)
            .zeros(32),
            &[],
        ),
        raw(
            "hadamard",
            sound().u32("prism.hadamard.version", 1),
            &["prism.hadamard.version", "rotated", "Bonsai-2"],
        ),
        raw(
            "split-in-memory",
            sound().key("split.count", 2, &3u16.to_le_bytes()).key(
                "split.no",
                2,
                &0u16.to_le_bytes(),
            ),
            &["3 files", "name the first file"],
        ),
    ]
}

/// Damage to the list of tensors.
fn tensors() -> Vec<Case> {
    let one = |dims: &[u64], id| Raw::new().tensor("x", dims, id, 0).zeros(32);
    let mut dims_9 = string("x");
    dims_9.extend(9u32.to_le_bytes());
    dims_9.extend([1; 90]);
    let name = "n".repeat(1025);
    vec![
        raw(
            "cve-2024-21836-tensor-count",
            Raw {
                n_tensors: Some(u64::MAX),
                ..sound()
            },
            &["number of tensors is 18446744073709551615"],
        ),
        raw(
            "cve-2024-39720-tensor-count-only",
            Raw {
                n_tensors: Some(1),
                ..Raw::new()
            },
            &["number of tensors is 1", "at most"],
        ),
        raw(
            "gguf-tools-25-dims-9",
            Raw::new().tensor_bytes(&dims_9),
            &["tensor \"x\"", "9 dimensions", "1 to 4"],
        ),
        raw("dims-none", one(&[], 0), &["0 dimensions"]),
        raw("dim-zero", one(&[8, 0], 0), &["a dimension of 0"]),
        raw("dim-negative", one(&[u64::MAX], 0), &["a dimension of -1"]),
        raw(
            "tensor-name-empty",
            Raw::new().tensor("", &[8], 0, 0).zeros(32),
            &["name of tensor 0 is empty"],
        ),
        raw(
            "tensor-name-long",
            Raw::new().tensor(&name, &[8], 0, 0).zeros(32),
            &["length of the name of tensor 0 is 1025"],
        ),
        raw(
            "tensor-twice",
            Raw::new()
                .tensor("x", &[8], 0, 0)
                .tensor("x", &[8], 0, 32)
                .zeros(64),
            &["tensor \"x\" is there twice"],
        ),
        raw(
            "cve-2026-33298-weights-overflow",
            one(&[1 << 32, 1 << 31, 2, 2], 0),
            &["more weights than can be"],
        ),
        raw(
            "cve-2026-33298-bytes-overflow",
            one(&[1 << 62], 0),
            &["more bytes than can be"],
        ),
        // 2^64 - 4 bytes, which padding would carry to zero.
        raw(
            "pr-24759-pad-overflow",
            one(&[(1 << 62) - 1], 0),
            &["18446744073709551612 bytes", "more than can be"],
        ),
        raw(
            "cve-2025-53630-sum-overflow",
            Raw::new()
                .tensor("x", &[1 << 61], 0, 0)
                .tensor("y", &[1 << 61], 0, 1 << 63)
                .zeros(32),
            &["more than can be"],
        ),
        // No sum of sizes overflows, but the sum of all and of what describes the tensors.
        raw(
            "cve-2026-27940-sum-of-all",
            Raw::new()
                .tensor("x", &[(1 << 62) - 64], 0, 0)
                .tensor("y", &[8], 0, 0u64.wrapping_sub(256))
                .zeros(64),
            &["truncated", "tensor \"x\"", "18446744073709551456"],
        ),
        raw(
            "cve-2026-27940-sum-of-two",
            Raw::new()
                .tensor("x", &[(1 << 61) - 64], 0, 0)
                .tensor("y", &[(1 << 61) - 64], 0, (1 << 63) - 256)
                .zeros(64),
            &["truncated", "tensor \"x\"", "92233720368547"],
        ),
        // 2^64 + 8 weights.
        raw(
            "gguf-parser-go-20-weights-wrap",
            one(&[3, 0x5555_5555_5555_5558], 0),
            &["more weights than can be"],
        ),
        raw(
            "cve-2026-7482-dims-beyond-data",
            one(&[1 << 20, 1 << 10], 0),
            &["truncated", "tensor \"x\"", "4294967"],
        ),
        raw("tensor-cut", sound(), &["truncated", "tensor \"x\""]).cut_by(1),
        raw(
            "row-not-blocks",
            one(&[33], 2),
            &["rows of 33 weights", "Q4_0's block of 32"],
        ),
        raw(
            "row-not-blocks-k",
            one(&[128, 2], 12),
            &["rows of 128 weights", "Q4_K's block of 256"],
        ),
        raw(
            "iq2-bn-r4-rows",
            one(&[64, 6], 335),
            &["6 rows", "interleaves"],
        ),
        raw("i2-s-weights", one(&[100, 1], 36), &["100 weights", "128"]),
        raw(
            "i2-s-dimensions",
            one(&[128, 2, 2], 36),
            &["I2_S has one scale for a matrix", "3 dimensions"],
        ),
        raw(
            "i2-s-scale-infinite",
            Raw::new()
                .tensor("x", &[128], 36, 0)
                .data([vec![0x55; 32], vec![0, 0, 0x80, 0x7f], vec![0; 28]].concat()),
            &[],
        ),
        raw(
            "offset-first",
            Raw::new().tensor("x", &[8], 0, 32).zeros(64),
            &["offset 32, expected 0", "first"],
        ),
        raw(
            "offset-overlap",
            Raw::new()
                .tensor("x", &[16], 0, 0)
                .tensor("y", &[8], 0, 32)
                .zeros(64),
            &["tensor \"y\" has offset 32, expected 64", "lies over \"x\""],
        ),
        raw(
            "offset-gap",
            Raw::new()
                .tensor("x", &[8], 0, 0)
                .tensor("y", &[8], 0, 64)
                .zeros(96),
            &[
                "tensor \"y\" has offset 64, expected 32",
                "left over behind \"x\"",
            ],
        ),
        raw(
            "offset-unaligned",
            Raw::new()
                .tensor("x", &[8], 0, 0)
                .tensor("y", &[8], 0, 33)
                .zeros(96),
            &["offset 33, expected 32"],
        ),
        raw(
            "offset-beyond",
            Raw::new()
                .tensor("x", &[8], 0, 0)
                .tensor("y", &[8], 0, u64::MAX - 3)
                .zeros(96),
            &["offset 18446744073709551612, expected 32"],
        ),
    ]
}

/// Types that are refused, and the two layouts of type 42.
fn types() -> Vec<Case> {
    let typed = |id| Raw::new().tensor("w", &[256, 4], id, 0).zeros(2048);
    let two = |id, bytes: u64| {
        Raw::new()
            .tensor("w", &[256, 4], id, 0)
            .tensor("v", &[8], 0, bytes)
            .zeros(bytes as usize + 32)
    };
    let last = |bytes| Raw::new().tensor("w", &[256, 16], 42, 0).zeros(bytes);
    vec![
        raw(
            "type-tl1",
            typed(38),
            &["type 38, TL1", "bitnet.cpp", "I2_S"],
        ),
        raw(
            "type-tl2",
            typed(39),
            &["type 39, TL2", "bitnet.cpp", "MXFP4", "I2_S"],
        ),
        raw(
            "type-i8-s",
            typed(37),
            &["type 37, I8_S of bitnet.cpp", "activations"],
        ),
        raw(
            "type-t-mac",
            typed(31),
            &["type 31", "T-MAC", "order of its bytes"],
        ),
        raw(
            "type-q5-k",
            typed(13),
            &["type 13, Q5_K of llama.cpp", "Q4_K, Q6_K"],
        ),
        raw("type-q1-0", typed(41), &["type 41, Q1_0", "one bit"]),
        raw(
            "type-iq4-k",
            typed(139),
            &["type 139, IQ4_K of ik_llama.cpp"],
        ),
        raw(
            "type-repacked",
            typed(208),
            &["type 208", "interleaved", "ik_llama.cpp"],
        ),
        raw(
            "type-5000",
            typed(5000),
            &["type 5000, which tern does not know"],
        ),
        raw(
            "type-negative",
            typed(u32::MAX),
            &["type 4294967295", "damaged"],
        ),
        raw(
            "bf16-of-t-mac",
            two(30, 288),
            &["expected 2048", "30 is BF16", "T-MAC"],
        ),
        raw(
            "iq2-tn-as-pq2-0",
            two(142, 272 + 32),
            &["142 is PQ2_0", "IQ2_TN"],
        ),
        raw("q2-0-of-64", q2(1152), &[]),
        raw(
            "q2-0-of-either",
            two(42, 288),
            &["type 42", "the offsets fit both"],
        ),
        raw("q2-0-of-128", q2(1088), &[]),
        raw(
            "q2-0-neither",
            q2(1120),
            &["type 42", "begins at 1120, not at 1152 or 1088", "TL2"],
        ),
        raw("q2-0-last-64", last(1152), &[]),
        raw("q2-0-last-128", last(1088), &[]),
        raw(
            "q2-0-last-unclear",
            last(4096),
            &["type 42", "the offsets fit both"],
        ),
        raw("pq2-0", two(142, 288), &[]),
    ]
}

/// A matrix of type 42 of so many bytes: 16 rows of 256 are 1152 in blocks of 64 weights, and 1088 in blocks of 128.
fn q2(bytes: u64) -> Raw {
    Raw::new()
        .tensor("w", &[256, 16], 42, 0)
        .tensor("v", &[8], 0, bytes)
        .zeros(bytes as usize + 32)
}

impl Case {
    fn cut_to(mut self, len: usize) -> Case {
        self.bytes.truncate(len);
        self
    }

    fn cut_by(mut self, len: usize) -> Case {
        self.bytes.truncate(self.bytes.len() - len);
        self
    }
}

fn cases() -> Vec<Case> {
    let mut cases = foreign_files();
    cases.extend(metadata());
    cases.extend(tensors());
    cases.extend(types());
    cases
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/gguf")
}

#[test]
fn every_check_has_its_message() {
    for Case { name, bytes, says } in cases() {
        match (walk::gguf(&bytes), says) {
            (Ok(()), []) => {}
            (Ok(()), says) => panic!("{name}: opens; expected {says:?}"),
            (Err(error), []) => panic!("{name}: {error}"),
            (Err(error), says) => {
                let message = error.to_string();
                for word in says {
                    assert!(
                        message.contains(word),
                        "{name}: {word:?} is not in: {message}"
                    );
                }
                assert!(message.starts_with("fuzzed: "), "{name}: {message}");
                assert!(
                    message.lines().count() == 1 && message.len() < 500,
                    "{name}: {message}"
                );
            }
        }
    }
}

/// The files are those that are made here, and no other one makes the reader panic.
#[test]
fn the_corpus_is_replayed() {
    for Case { name, bytes, .. } in cases().into_iter().chain(models::cases()) {
        let path = folder().join(format!("{name}.gguf"));
        if std::env::var_os("TERN_BLESS").is_some() {
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let found = fs::read(&path);
        assert!(
            found.is_ok_and(|found| found == bytes),
            "{} is not what the tests make; TERN_BLESS=1 writes it",
            path.display()
        );
    }
    let mut replayed = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let walked = catch_unwind(AssertUnwindSafe(|| {
            walk::gguf(&bytes).is_ok() && walk::model(&bytes).is_ok()
        }));
        assert!(walked.is_ok(), "{}", path.display());
        replayed += 1;
    }
    assert!(replayed >= cases().len() + models::cases().len());
}

/// Every prefix of a sound file, and every byte of it changed in a few ways: errors or files, never a panic.
#[test]
fn damage_anywhere_is_no_panic() {
    let sound = crate::formats::fixture("written.gguf");
    assert!(walk::gguf(&sound).is_ok());
    for len in 0..sound.len() {
        let error = walk::gguf(&sound[..len]);
        // The last tensor needs no padding behind it.
        assert!(error.is_err() || len + 32 > sound.len(), "{len} bytes");
    }
    // Numbers that matter are in the front; the rest is weights.
    for at in 0..sound.len().min(1400) {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = sound.clone();
            damaged[at] ^= flip;
            let _ = walk::gguf(&damaged);
        }
    }
}
