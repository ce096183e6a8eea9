//! A text in progress: the keys and values of the positions seen so far.
//!
//! The cache grows in blocks of 64 positions, each one allocation for all layers, so a sequence
//! takes memory for what it holds rather than for the model's whole context. Values are `f32`.
//! Inside a block keys lie transposed; `ops/attention.rs` says why.

use crate::config::Config;
use crate::error::StepError;
use crate::ops::attention::{BLOCK, HeadBlock};

/// Keys and values of one text. Made by [`Model::sequence`](crate::Model::sequence).
#[derive(Clone)]
pub struct Sequence {
    dimensions: Dimensions,
    length: usize,
    /// `[layer][keys, values][kv_head][head_dim · 64]`, one for each 64 positions.
    blocks: Vec<Box<[f32]>>,
}

/// What a sequence must share with a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dimensions {
    layers: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Dimensions {
    /// The dimensions of a model.
    pub fn of(config: &Config) -> Dimensions {
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
        }
    }

    /// Elements of one head's keys (or values) in a block.
    fn head_len(self) -> usize {
        self.head_dim * BLOCK
    }

    /// Elements of a block.
    fn block_len(self) -> usize {
        self.layers * 2 * self.kv_heads * self.head_len()
    }

    /// Where a head's keys start in a block; its layer's values lie `kv_heads` heads further on.
    fn keys_at(self, layer: usize, head: usize) -> usize {
        (layer * 2 * self.kv_heads + head) * self.head_len()
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
        self.blocks.iter().map(|block| size_of_val(&**block)).sum()
    }

    pub(crate) fn dimensions(&self) -> Dimensions {
        self.dimensions
    }

    /// Makes room for positions up to `length`. If that fails, the sequence is as it was.
    pub(crate) fn reserve(&mut self, length: usize) -> Result<(), StepError> {
        let held = self.blocks.len();
        let blocks = length.div_ceil(BLOCK).max(held);
        let len = self.dimensions.block_len();
        if self.blocks.try_reserve(blocks - held).is_err() {
            return Err(self.refusal(blocks));
        }
        for _ in held..blocks {
            // Zeroed by the system, so no page is touched before a position needs it.
            let Ok(block) = bytemuck::allocation::try_zeroed_slice_box(len) else {
                self.blocks.truncate(held);
                return Err(self.refusal(blocks));
            };
            self.blocks.push(block);
        }
        Ok(())
    }

    /// Frees what [`reserve`](Self::reserve) made room for and no position uses.
    pub(crate) fn release_unused(&mut self) {
        self.truncate(self.length);
    }

    /// "No memory for a cache of that many blocks".
    fn refusal(&self, blocks: usize) -> StepError {
        let bytes = (blocks as u64).saturating_mul(4 * self.dimensions.block_len() as u64);
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

    /// Stores the keys and values (`kv_heads · head_dim` each) of one layer at `position`.
    pub(crate) fn write(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let dimensions = self.dimensions;
        let (len, slot) = (dimensions.head_len(), position % BLOCK);
        let block = &mut self.blocks[position / BLOCK];
        let heads = keys
            .chunks_exact(dimensions.head_dim)
            .zip(values.chunks_exact(dimensions.head_dim))
            .enumerate();
        for (head, (key, value)) in heads {
            let at = dimensions.keys_at(layer, head);
            for (column, &key) in block[at..at + len].chunks_exact_mut(BLOCK).zip(key) {
                column[slot] = key;
            }
            let at = at + dimensions.kv_heads * len + slot * dimensions.head_dim;
            block[at..at + dimensions.head_dim].copy_from_slice(value);
        }
    }

    /// The blocks of one key-value head of a layer, in order of position.
    pub(crate) fn head(&self, layer: usize, head: usize) -> impl Iterator<Item = HeadBlock<'_>> {
        let len = self.dimensions.head_len();
        let keys = self.dimensions.keys_at(layer, head);
        let values = keys + self.dimensions.kv_heads * len;
        self.blocks.iter().map(move |block| HeadBlock {
            keys: &block[keys..keys + len],
            values: &block[values..values + len],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_by_head_and_position() {
        let dimensions = Dimensions {
            layers: 2,
            kv_heads: 3,
            head_dim: 4,
        };
        let mut sequence = Sequence::new(dimensions);
        sequence.reserve(70).unwrap();
        let row = |salt: f32| (0..12).map(|i| i as f32 + salt).collect::<Vec<_>>();
        sequence.write(1, 66, &row(100.0), &row(200.0));
        sequence.advance_to(67);
        let block = sequence.head(1, 2).nth(1).unwrap();
        let keys: Vec<f32> = (0..4).map(|d| block.keys[d * BLOCK + 2]).collect();
        assert_eq!(keys, [108.0, 109.0, 110.0, 111.0]);
        assert_eq!(block.values[2 * 4..3 * 4], [208.0, 209.0, 210.0, 211.0]);
        let written = sequence
            .blocks
            .iter()
            .flat_map(|block| block.iter())
            .filter(|&&x| x != 0.0)
            .count();
        assert_eq!(written, 24);
    }

    #[test]
    fn truncation_frees_blocks() {
        let mut sequence = Sequence::new(Dimensions {
            layers: 1,
            kv_heads: 1,
            head_dim: 2,
        });
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
        let mut sequence = Sequence::new(Dimensions {
            layers: 4096,
            kv_heads: 1 << 17,
            head_dim: 1 << 17,
        });
        let message = sequence.reserve(100).unwrap_err().to_string();
        let bytes = (4u64 * 4096 * 2 * 128) << 34;
        assert!(message.contains(&bytes.to_string()), "{message}");
        assert!(message.contains("128 positions"), "{message}");
        assert_eq!((sequence.len(), sequence.bytes()), (0, 0));
    }
}
