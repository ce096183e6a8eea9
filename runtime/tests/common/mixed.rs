//! Mixed text for tokenizers, as `fixtures/tokenizers/make.py` writes it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers")
}

#[derive(Deserialize)]
struct Pieces {
    words: Vec<String>,
    contractions: Vec<String>,
    code: Vec<String>,
    punctuation: Vec<String>,
    emoji: Vec<String>,
    marks: Vec<String>,
    spaces: Vec<String>,
    special: Vec<String>,
    ranges: Vec<[u32; 2]>,
}

/// Knuth's multiplier; the upper bits, for the lower ones repeat.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

/// At least `size` bytes of mixed text.
pub fn text(seed: u64, size: usize, special: bool) -> String {
    let pieces: Pieces =
        serde_json::from_slice(&fs::read(folder().join("pieces.json")).unwrap()).unwrap();
    let words = &pieces.words;
    let kinds = [
        words,
        words,
        words,
        &pieces.contractions,
        &pieces.code,
        &pieces.punctuation,
        &pieces.emoji,
        &pieces.marks,
        &pieces.spaces,
        &pieces.special,
    ];
    let (mut random, mut text) = (Random(seed), String::new());
    while text.len() < size {
        match random.below(14) as usize {
            kind @ 0..10 => {
                let piece = random.of(kinds[kind]);
                if kind != 9 || special {
                    text.push_str(piece);
                }
                if kind < 4 {
                    text.push(' ');
                }
            }
            10 | 11 => {
                let &[low, high] = random.of(&pieces.ranges);
                for _ in 0..1 + random.below(12) {
                    let code = low + random.below(u64::from(high - low + 1)) as u32;
                    text.push(char::from_u32(code).unwrap());
                }
            }
            12 => {
                for _ in 0..1 + random.below(15) {
                    text.push(char::from(b'0' + random.below(10) as u8));
                }
            }
            _ => {
                let space = random.of(&pieces.spaces).clone();
                text.push_str(&space.repeat(1 + random.below(20) as usize));
            }
        }
    }
    text
}

/// FNV-1a over numbers.
pub fn checksum(values: impl Iterator<Item = u64>) -> String {
    let sum = values.fold(0xcbf2_9ce4_8422_2325, |state: u64, value| {
        (state ^ value).wrapping_mul(0x100_0000_01b3)
    });
    format!("{sum:016x}")
}
