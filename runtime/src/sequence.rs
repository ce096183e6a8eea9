//! A text in progress: the keys and values of the positions seen so far.
//!
//! The cache grows in blocks of 64 positions, each one allocation for all layers, so a sequence
//! takes memory for what it holds rather than for the model's whole context. In a block every
//! key-value head of every layer has a *record*: its keys, transposed as `ops/attention.rs` wants
//! them, its values, and for [`KvType::I8`] the scales of both.

use std::fmt;
use std::ops::Range;

use serde::Serialize;
use tern_kernels::{Buffer, Pages, fetch};

use crate::config::Config;
use crate::error::StepError;
use crate::ops::attention::{BLOCK, HeadBlock, Query, Scales, attend};
use crate::ops::half;

/// How the cache holds keys and values. Arithmetic is in `f32` for all of them.
///
/// For each type a text's logits have the same bits however they are computed; between types they
/// differ by the rounding of what is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KvType {
    /// As they were computed.
    #[default]
    F32,
    /// IEEE 754 binary16, rounded to nearest: 11 significant bits, infinite from 65520 on.
    F16,
    /// Integers from -127 to 127, and for the key and the value of each head at each position an
    /// `f32` factor, a 127th of the largest magnitude: an error of at most half that factor.
    I8,
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::I8 => "i8",
        })
    }
}

impl KvType {
    /// Bytes of a number.
    fn size(self) -> usize {
        match self {
            KvType::F32 => 4,
            KvType::F16 => 2,
            KvType::I8 => 1,
        }
    }

    /// Bytes of the factors of a head's key and value at one position.
    fn scale_bytes(self) -> usize {
        match self {
            KvType::F32 | KvType::F16 => 0,
            KvType::I8 => 2 * size_of::<f32>(),
        }
    }
}

/// Keys and values of one text. Made by [`Model::sequence`](crate::Model::sequence).
#[derive(Clone)]
pub struct Sequence {
    dimensions: Dimensions,
    length: usize,
    /// `[layer][kv_head]` records, one block for each 64 positions.
    blocks: Vec<Block>,
}

/// The memory of 64 positions.
struct Block(Buffer);

impl Clone for Block {
    /// # Panics
    ///
    /// If there is no memory, as for every collection.
    fn clone(&self) -> Block {
        let mut copy = Buffer::zeroed(self.0.len(), self.0.pages()).expect("memory for a copy");
        copy.copy_from_slice(&self.0);
        Block(copy)
    }
}

/// What a sequence must share with a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dimensions {
    layers: usize,
    kv_heads: usize,
    head_dim: usize,
    kv: KvType,
}

impl Dimensions {
    /// The dimensions of a model.
    pub fn of(config: &Config, kv: KvType) -> Dimensions {
        let Config {
            layers,
            kv_heads,
            head_dim,
            ..
        } = *config;
        Dimensions {
            layers,
            kv_heads,
            head_dim,
            kv,
        }
    }

    /// Bytes of all keys and values of one position.
    pub fn position_bytes(self) -> usize {
        let head = 2 * self.head_dim * self.kv.size() + self.kv.scale_bytes();
        self.layers * self.kv_heads * head
    }

    /// Bytes of a block.
    fn block_bytes(self) -> usize {
        self.position_bytes() * BLOCK
    }

    /// Bytes of a record.
    fn record_bytes(self) -> usize {
        self.block_bytes() / (self.layers * self.kv_heads)
    }

    /// Bytes of a record's keys, or values.
    fn part_bytes(self) -> usize {
        self.head_dim * BLOCK * self.kv.size()
    }

    /// Where a record lies in a block.
    fn record(self, layer: usize, head: usize) -> Range<usize> {
        let len = self.record_bytes();
        let start = (layer * self.kv_heads + head) * len;
        start..start + len
    }
}

/// One key-value head of one layer in a block, to be written.
pub(crate) struct RecordMut<'a> {
    dimensions: Dimensions,
    bytes: &'a mut [u8],
}

impl RecordMut<'_> {
    /// Asks for the cache lines that [`RecordMut::write`] will write a key to: one for each of its numbers, since keys are transposed.
    ///
    /// The weights of a token push them out of the caches, and stores wait for them in order, while requests do not wait for each other.
    pub fn fetch(&self, slot: usize) {
        let size = self.dimensions.kv.size();
        let keys = &self.bytes[..self.dimensions.part_bytes()];
        for row in keys.chunks_exact(BLOCK * size) {
            fetch(&row[slot * size..][..size]);
        }
    }

    /// Stores a position's key and value, `head_dim` numbers each; `slot` is its place in the block.
    pub fn write(&mut self, slot: usize, key: &[f32], value: &[f32]) {
        let part = self.dimensions.part_bytes();
        let (keys, rest) = self.bytes.split_at_mut(part);
        let (values, scales) = rest.split_at_mut(part);
        match self.dimensions.kv {
            KvType::F32 => store(keys, values, slot, key, value, |x| x),
            KvType::F16 => store(keys, values, slot, key, value, half::narrow),
            KvType::I8 => {
                let scales = bytemuck::cast_slice_mut::<u8, f32>(scales);
                let (key_scale, value_scale) = (I8Scale::of(key), I8Scale::of(value));
                (scales[slot], scales[BLOCK + slot]) = (key_scale.factor, value_scale.factor);
                put_column(keys, slot, key, |x| key_scale.narrow(x));
                put_row(values, slot, value, |x| value_scale.narrow(x));
            }
        }
    }
}

fn store<T: bytemuck::Pod>(
    keys: &mut [u8],
    values: &mut [u8],
    slot: usize,
    key: &[f32],
    value: &[f32],
    narrow: impl Fn(f32) -> T,
) {
    put_column(keys, slot, key, &narrow);
    put_row(values, slot, value, narrow);
}

/// Writes a key to a column of `[head_dim][64]`.
fn put_column<T: bytemuck::Pod>(
    keys: &mut [u8],
    slot: usize,
    key: &[f32],
    narrow: impl Fn(f32) -> T,
) {
    let rows = bytemuck::cast_slice_mut::<u8, T>(keys).chunks_exact_mut(BLOCK);
    for (row, &x) in rows.zip(key) {
        row[slot] = narrow(x);
    }
}

/// Writes a value to a row of `[64][head_dim]`.
fn put_row<T: bytemuck::Pod>(
    values: &mut [u8],
    slot: usize,
    value: &[f32],
    narrow: impl Fn(f32) -> T,
) {
    let row = &mut bytemuck::cast_slice_mut::<u8, T>(values)[slot * value.len()..][..value.len()];
    for (stored, &x) in row.iter_mut().zip(value) {
        *stored = narrow(x);
    }
}

/// How numbers of at most some magnitude are held in eight bits.
struct I8Scale {
    /// What the integers are multiplied by.
    factor: f32,
    inverse: f32,
}

impl I8Scale {
    fn of(numbers: &[f32]) -> I8Scale {
        let largest = numbers
            .iter()
            .fold(0.0, |largest: f32, x| largest.max(x.abs()));
        match largest / 127.0 {
            // Numbers this small are lost in any sum; their inverse would not be finite.
            factor if factor < f32::MIN_POSITIVE => I8Scale {
                factor: 0.0,
                inverse: 0.0,
            },
            factor => I8Scale {
                factor,
                inverse: 127.0 / largest,
            },
        }
    }

    fn narrow(&self, x: f32) -> i8 {
        (x * self.inverse).round_ties_even() as i8
    }
}

impl Sequence {
    /// An empty sequence.
    pub(crate) fn new(dimensions: Dimensions) -> Sequence {
        Sequence {
            dimensions,
            length: 0,
            blocks: Vec::new(),
        }
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Forgets all positions from `length` on, and frees blocks that hold none.
    ///
    /// What is kept stays valid: a position never depends on later ones.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
        self.blocks.truncate(self.length.div_ceil(BLOCK));
    }

    /// Bytes of the cache.
    pub fn bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.0.len()).sum()
    }

    pub(crate) fn dimensions(&self) -> Dimensions {
        self.dimensions
    }

    /// Makes room for positions up to `length`. If that fails, the sequence is as it was.
    pub(crate) fn reserve(&mut self, length: usize) -> Result<(), StepError> {
        let held = self.blocks.len();
        let blocks = length.div_ceil(BLOCK).max(held);
        let len = self.dimensions.block_bytes();
        if self.blocks.try_reserve(blocks - held).is_err() {
            return Err(self.refusal(blocks));
        }
        for _ in held..blocks {
            // Zeroed by the system, so no page is touched before a position needs it.
            let Ok(block) = Buffer::zeroed(len, Pages::Huge) else {
                self.blocks.truncate(held);
                return Err(self.refusal(blocks));
            };
            self.blocks.push(Block(block));
        }
        Ok(())
    }

    /// Frees what [`reserve`](Self::reserve) made room for and no position uses.
    pub(crate) fn release_unused(&mut self) {
        self.truncate(self.length);
    }

    /// "No memory for a cache of that many blocks".
    fn refusal(&self, blocks: usize) -> StepError {
        let bytes = (blocks as u64).saturating_mul(self.dimensions.block_bytes() as u64);
        StepError::Memory(format!(
            "cannot allocate the {bytes} bytes that the keys and values of {} positions take; use a \
             shorter context, free memory or raise the limit (`ulimit -v`)",
            blocks.saturating_mul(BLOCK)
        ))
    }

    /// Declares the first `length` positions complete.
    pub(crate) fn advance_to(&mut self, length: usize) {
        debug_assert!(length >= self.length && length <= self.blocks.len() * BLOCK);
        self.length = length;
    }

    /// The records of one layer in some blocks: for each block those of all heads.
    pub(crate) fn records_mut(
        &mut self,
        layer: usize,
        blocks: Range<usize>,
    ) -> impl Iterator<Item = impl Iterator<Item = RecordMut<'_>>> {
        let dimensions = self.dimensions;
        let layer = dimensions.record(layer, 0).start..dimensions.record(layer + 1, 0).start;
        self.blocks[blocks].iter_mut().map(move |block| {
            let records = block.0[layer.clone()].chunks_exact_mut(dimensions.record_bytes());
            records.map(move |bytes| RecordMut { dimensions, bytes })
        })
    }

    /// Attention of a tile of queries over one key-value head of a layer: see [`attend`].
    pub(crate) fn attend(&self, layer: usize, head: usize, queries: &mut [Query<'_>]) {
        match self.dimensions.kv {
            KvType::F32 => attend(queries, self.head::<f32>(layer, head)),
            KvType::F16 => attend(queries, self.head::<u16>(layer, head)),
            KvType::I8 => attend(queries, self.head::<i8>(layer, head)),
        }
    }

    /// The blocks of one key-value head of a layer, in order of position, as numbers of type `T`.
    fn head<T: bytemuck::Pod>(
        &self,
        layer: usize,
        head: usize,
    ) -> impl Iterator<Item = HeadBlock<'_, T>> {
        let part = self.dimensions.part_bytes();
        let record = self.dimensions.record(layer, head);
        self.blocks.iter().map(move |block| {
            let (keys, rest) = block.0[record.clone()].split_at(part);
            let (values, scales) = rest.split_at(part);
            let scales = bytemuck::cast_slice::<u8, f32>(scales)
                .as_chunks::<BLOCK>()
                .0;
            HeadBlock {
                keys: bytemuck::cast_slice(keys),
                values: bytemuck::cast_slice(values),
                scales: match scales {
                    [keys, values] => Some(Scales { keys, values }),
                    _ => None,
                },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [KvType; 3] = [KvType::F32, KvType::F16, KvType::I8];

    fn dimensions(layers: usize, kv_heads: usize, head_dim: usize, kv: KvType) -> Dimensions {
        Dimensions {
            layers,
            kv_heads,
            head_dim,
            kv,
        }
    }

    /// One head's key and value at a position, as the cache gives them back.
    fn read<T: bytemuck::Pod>(
        sequence: &Sequence,
        (layer, head, position): (usize, usize, usize),
        widen: impl Fn(T) -> f32,
    ) -> [Vec<f32>; 2] {
        let block = sequence
            .head::<T>(layer, head)
            .nth(position / BLOCK)
            .unwrap();
        let (slot, head_dim) = (position % BLOCK, sequence.dimensions.head_dim);
        let [key_scale, value_scale] = block
            .scales
            .map_or([1.0; 2], |scales| [scales.keys[slot], scales.values[slot]]);
        let key = (0..head_dim).map(|d| widen(block.keys[d * BLOCK + slot]) * key_scale);
        let value = &block.values[slot * head_dim..][..head_dim];
        let value = value.iter().map(|&x| widen(x) * value_scale);
        [key.collect(), value.collect()]
    }

    fn write(sequence: &mut Sequence, layer: usize, position: usize, heads: &[[Vec<f32>; 2]]) {
        let block = position / BLOCK;
        let records = sequence
            .records_mut(layer, block..block + 1)
            .next()
            .unwrap();
        for (mut record, [key, value]) in records.zip(heads) {
            record.write(position % BLOCK, key, value);
        }
    }

    #[test]
    fn what_is_written_is_found_by_head_and_position() {
        for kv in TYPES {
            let mut sequence = Sequence::new(dimensions(2, 3, 4, kv));
            sequence.reserve(70).unwrap();
            let row =
                |head: usize, salt: f32| (0..4).map(|d| (4 * head + d) as f32 + salt).collect();
            let heads = [0, 1, 2].map(|head| [row(head, 100.0), row(head, 200.0)]);
            write(&mut sequence, 1, 66, &heads);
            sequence.advance_to(67);
            for (head, expected) in heads.iter().enumerate() {
                let place = (1, head, 66);
                let found = match kv {
                    KvType::F32 => read::<f32>(&sequence, place, |x| x),
                    KvType::F16 => read::<u16>(&sequence, place, half::widen),
                    KvType::I8 => read::<i8>(&sequence, place, f32::from),
                };
                let bound = if kv == KvType::I8 { 211.0 / 254.0 } else { 0.0 };
                let pairs = found.iter().flatten().zip(expected.iter().flatten());
                for (found, expected) in pairs {
                    assert!(
                        (found - expected).abs() <= bound,
                        "{kv:?} {found} {expected}"
                    );
                }
            }
            let written = sequence.blocks.iter().flat_map(|block| block.0.iter());
            let written = written.filter(|&&byte| byte != 0).count();
            let most = 24 * kv.size() + 3 * kv.scale_bytes();
            assert!(
                (25..=most).contains(&written) || kv == KvType::F32,
                "{written} bytes"
            );
        }
    }

    /// Zero, the largest magnitude, halves between two integers, and what is no number.
    #[test]
    fn eight_bits_are_within_half_a_step() {
        let numbers = [0.0, 127.0, -127.0, 0.5, 1.5, -2.5, 126.4];
        let scale = I8Scale::of(&numbers);
        assert_eq!(scale.factor, 1.0);
        assert_eq!(
            numbers.map(|x| scale.narrow(x)),
            [0, 127, -127, 0, 2, -2, 126]
        );
        for exponent in [-130, -20, 0, 100] {
            let numbers: Vec<f32> = (0..999)
                .map(|i| ((i * 7919 % 1999) as f32 - 999.0) * 2f32.powi(exponent))
                .collect();
            let scale = I8Scale::of(&numbers);
            for &x in &numbers {
                let error = (f32::from(scale.narrow(x)) * scale.factor - x).abs();
                assert!(error <= scale.factor * 0.5001, "{x} {error}");
            }
        }
        let tiny = I8Scale::of(&[f32::from_bits(1), 0.0]);
        assert_eq!((tiny.factor, tiny.narrow(f32::from_bits(1))), (0.0, 0));
        assert!(I8Scale::of(&[f32::INFINITY, 1.0]).factor.is_infinite());
    }

    #[test]
    fn truncation_frees_blocks() {
        let mut sequence = Sequence::new(dimensions(1, 1, 2, KvType::F32));
        sequence.reserve(130).unwrap();
        sequence.advance_to(130);
        assert_eq!(sequence.bytes(), 3 * 2 * 2 * 64 * 4);
        sequence.truncate(64);
        assert_eq!((sequence.len(), sequence.bytes()), (64, 2 * 2 * 64 * 4));
        sequence.truncate(100);
        assert_eq!(sequence.len(), 64);
        sequence.truncate(0);
        assert!(sequence.is_empty() && sequence.bytes() == 0);
    }

    #[test]
    fn memory_that_cannot_be_had_is_an_error() {
        let mut sequence = Sequence::new(dimensions(4096, 1 << 17, 1 << 17, KvType::F32));
        let message = sequence.reserve(100).unwrap_err().to_string();
        let bytes = (4u64 * 4096 * 2 * 128) << 34;
        assert!(message.contains(&bytes.to_string()), "{message}");
        assert!(message.contains("128 positions"), "{message}");
        assert_eq!((sequence.len(), sequence.bytes()), (0, 0));
    }
}
