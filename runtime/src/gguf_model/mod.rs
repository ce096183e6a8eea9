//! A model in a GGUF file: configuration, text and tensors by the names of Hugging Face's checkpoints.
//!
//! [`gguf`](crate::gguf) reads the container and believes nothing; here its keys and names get their meaning, so that the rest of tern need not
//! know which kind of file a model came from. Weights stay where they lie in the mapped file until they are packed.

mod config;
pub(crate) mod names;
mod scales;
pub(crate) mod text;

use std::path::Path;

use safetensors::Dtype;

use crate::checkpoint::Tensor;
use crate::config::{ActivationScales, Architecture, Config, ScaleRule};
use crate::error::shorten;
use crate::gguf::{Gguf, GgufError, GgufOptions, I2sLayout, TensorType};
use crate::note::Note;
use crate::text::TextFiles;

pub(crate) use config::VOCABULARY_OF_2B4T;
pub(crate) use scales::{Q4_CODES, find_scales};

/// tern's own key: whether activations are rounded with one scale for a position ("token"), or by groups.
pub(crate) const ACTIVATIONS_KEY: &str = "tern.activation_scales";
/// tern's own key: for each ternary matrix, layer by layer, what its sums are divided by. Models of `linear_class` "bitlinear" store that, and its
/// inverse, which is all that other programs read, is rounded.
pub(crate) const DIVISORS_KEY: &str = "tern.weight_divisors";

/// tern's own key: its scales may be the inverse ones, as in the file that it was converted from.
pub(crate) const DOUBT_KEY: &str = "tern.weight_scales_in_doubt";

/// tern's own key: the rotary scaling as `config.json` spells it, where other keys and tensors say only what comes of it.
pub(crate) const ROPE_KEY: &str = "tern.rope_scaling";
/// tern's own key: the version that wrote the file.
pub(crate) const VERSION_KEY: &str = "tern.version";

/// A sound file whose model tern runs.
pub(crate) struct GgufModel<'a> {
    pub gguf: Gguf<'a>,
    pub config: Config,
    pub text: TextFiles,
    /// What was decided for want of a word in the file, and what looks wrong.
    pub notes: Vec<Note>,
    divisors: Option<Vec<f32>>,
}

impl GgufModel<'static> {
    /// Opens a file, or the first of a split model.
    ///
    /// # Errors
    ///
    /// Damage, or a model that tern does not run, as far as that can be known without looking at weights.
    pub fn open(path: &Path, layout: I2sLayout) -> Result<GgufModel<'static>, GgufError> {
        let options = GgufOptions { i2s_layout: layout };
        GgufModel::new(Gguf::open_with(path, options)?, &path.display().to_string())
    }
}

impl<'a> GgufModel<'a> {
    /// [`GgufModel::open`] of a file that is in memory. `name` is for messages.
    ///
    /// # Errors
    ///
    /// As [`GgufModel::open`]; one of several files of a model is refused.
    pub fn from_bytes(
        name: &str,
        bytes: &'a [u8],
        layout: I2sLayout,
    ) -> Result<GgufModel<'a>, GgufError> {
        let options = GgufOptions { i2s_layout: layout };
        GgufModel::new(Gguf::from_bytes_with(name, bytes, options)?, name)
    }

    fn new(gguf: Gguf<'a>, file: &str) -> Result<GgufModel<'a>, GgufError> {
        let mut notes = Vec::new();
        let mut config = config::config(&gguf, &mut notes)?;
        notes.extend(text::id_notes(gguf.metadata()));
        let divisors = divisors(&gguf, &config)?;
        if divisors.is_some() {
            config.quantization.scale = ScaleRule::Divide;
        }
        let text = text::text(gguf.metadata(), file)?;
        for id in text::ends(gguf.metadata())? {
            if (id as usize) < config.vocab_size && !config.eos_token_ids.contains(&id) {
                config.eos_token_ids.push(id);
            }
        }
        notes.extend(odd_i2_s(&gguf));
        notes.splice(0..0, gguf.notes().iter().map(Note::fact));
        notes.insert(0, Note::fact(provenance(&gguf)));
        Ok(GgufModel {
            gguf,
            config,
            text,
            notes,
            divisors,
        })
    }

    /// A tensor by the name of Hugging Face's checkpoint.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let found = self.gguf.find(&names::in_gguf(name)?)?;
        let (dtype, blocks) = match found.kind() {
            TensorType::F32 => (Dtype::F32, None),
            TensorType::F16 => (Dtype::F16, None),
            TensorType::Bf16 => (Dtype::BF16, None),
            _ => (Dtype::U8, Some(found)),
        };
        let linear = name.strip_suffix(".weight").unwrap_or_default();
        Some(Tensor {
            file: found.file(),
            name: found.name().to_owned(),
            dtype,
            shape: found.dims().iter().rev().map(|&dim| dim as usize).collect(),
            data: found.data(),
            blocks,
            order: HeadRows::of(&self.config, linear, found.cols()),
        })
    }

    /// What the sums of a linear layer are divided by, if the file was written so.
    pub fn divisor(&self, linear: &str) -> Option<f32> {
        let divisors = self.divisors.as_ref()?;
        let (layer, part) = linear.strip_prefix("model.layers.")?.split_once('.')?;
        let shapes = crate::weights::layer_shapes(&self.config);
        let index = shapes.iter().position(|(name, _)| *name == part)?;
        let layer: usize = layer.parse().ok()?;
        divisors.get(layer * shapes.len() + index).copied()
    }
}

/// How llama.cpp's converter orders the rows of queries and keys in Llama models: it turns neighbours where transformers turns the halves of a
/// head, so rows `i` and `i + head_dim / 2` of a head stand at `2 i` and `2 i + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadRows {
    pub head_dim: usize,
    /// Columns of the matrix.
    pub cols: usize,
}

impl HeadRows {
    /// That of a linear layer, by its name, with so many columns; `None` where rows are in transformers' order.
    pub fn of(config: &Config, linear: &str, cols: usize) -> Option<HeadRows> {
        let is_turned = linear.ends_with(".q_proj") || linear.ends_with(".k_proj");
        let is_permuted = is_turned && config.architecture == Architecture::Llama;
        is_permuted.then_some(HeadRows {
            head_dim: config.head_dim,
            cols,
        })
    }

    /// Where row `row` of transformers' order stands in the file.
    pub fn in_file(self, row: usize) -> usize {
        let (head, i, half) = (row / self.head_dim, row % self.head_dim, self.head_dim / 2);
        let at = if i < half { 2 * i } else { 2 * (i - half) + 1 };
        head * self.head_dim + at
    }

    /// Which row of transformers' order stands at `row` of the file.
    pub fn of_file(self, row: usize) -> usize {
        let (head, at, half) = (row / self.head_dim, row % self.head_dim, self.head_dim / 2);
        head * self.head_dim + at / 2 + at % 2 * half
    }
}

fn divisors(gguf: &Gguf<'_>, config: &Config) -> Result<Option<Vec<f32>>, GgufError> {
    let metadata = gguf.metadata();
    let Some(divisors) = metadata.get::<Vec<f32>>(DIVISORS_KEY)? else {
        return Ok(None);
    };
    if config.quantization.activations == ActivationScales::Groups {
        let what = format!("\"{DIVISORS_KEY}\" together with \"groups\" in \"{ACTIVATIONS_KEY}\"");
        let reason = "only scales of models with one activation scale for a position divide: leave one of the keys out";
        return Err(metadata.unsupported(what, reason));
    }
    let count = config.layers * crate::weights::layer_shapes(config).len();
    let is_sound = |divisor: &f32| divisor.is_finite() && *divisor > 0.0;
    if divisors.len() != count || !divisors.iter().all(is_sound) {
        let expected = format!("{count} finite numbers above zero, one for each ternary matrix");
        return Err(metadata.wrong(DIVISORS_KEY, expected));
    }
    Ok(Some(divisors))
}

/// A note on I2_S whose rows are not whole blocks: it is one run of weights, and other programs look for rows where none begin.
fn odd_i2_s(gguf: &Gguf<'_>) -> Option<Note> {
    let is_i2_s = |kind| matches!(kind, TensorType::I2s(_));
    let tensors = gguf.tensors();
    let mut odd =
        tensors.filter(|tensor| is_i2_s(tensor.kind()) && !tensor.cols().is_multiple_of(128));
    let first = odd.next()?;
    let what = format!(
        "{} tensors in I2_S, such as {} with {} columns, have rows that are not a multiple of 128, which tern reads as one run of weights",
        1 + odd.count(),
        shorten(first.name()),
        first.cols()
    );
    let is_own = gguf.metadata().iter().any(|(key, _)| key == VERSION_KEY);
    Some(match is_own {
        true => Note::fact(format!(
            "{what}; bitnet.cpp and ik_llama.cpp read them wrongly"
        )),
        false => Note::suspicious(format!("{what}; bitnet.cpp drops the ends of such rows")),
    })
}

/// How many of each kind, in the order in which they come.
pub(crate) fn count<T: PartialEq>(kinds: impl Iterator<Item = T>) -> Vec<(T, usize)> {
    let mut counts: Vec<(T, usize)> = Vec::new();
    for kind in kinds {
        match counts.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => counts.push((kind, 1)),
        }
    }
    counts
}

/// `GGUF version 3, 332 tensors (210 I2_S, …), written by …`.
fn provenance(gguf: &Gguf<'_>) -> String {
    let kinds: Vec<String> = count(gguf.tensors().map(|tensor| tensor.kind()))
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let metadata = gguf.metadata();
    let text = |key: &str| metadata.get::<&str>(key).ok().flatten();
    let parts = match gguf.parts() {
        1 => String::new(),
        parts => format!(" in {parts} files"),
    };
    format!(
        "GGUF version {}{parts}, {} tensors ({}), written by {}",
        gguf.version(),
        gguf.tensors().len(),
        kinds.join(", "),
        writer(gguf, text(VERSION_KEY))
    )
}

/// The program that wrote a file, as far as its types tell: nothing in the format names it.
fn writer(gguf: &Gguf<'_>, tern: Option<&str>) -> String {
    if let Some(version) = tern {
        return format!("tern {}", shorten(version));
    }
    let has = |wanted: fn(TensorType) -> bool| gguf.tensors().any(|tensor| wanted(tensor.kind()));
    let name = if has(|kind| {
        matches!(
            kind,
            TensorType::Iq1Bn | TensorType::Iq2Bn | TensorType::Iq2BnR4
        )
    }) {
        "ik_llama.cpp, as its types tell"
    } else if has(|kind| {
        matches!(
            kind,
            TensorType::Pq2_0 | TensorType::Ptq1_0 | TensorType::Q2_0Group128
        )
    }) {
        "PrismML's fork of llama.cpp, as its types tell"
    } else if has(|kind| matches!(kind, TensorType::I2s(_))) {
        "bitnet.cpp or a converter for it, as its types tell"
    } else {
        "llama.cpp or a converter for it, as far as one can tell"
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_head_are_found_where_the_converter_put_them() {
        let order = HeadRows {
            head_dim: 6,
            cols: 1,
        };
        let found: Vec<usize> = (0..12).map(|row| order.in_file(row)).collect();
        assert_eq!(found, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
        assert!((0..12).all(|row| order.of_file(order.in_file(row)) == row));
    }
}
