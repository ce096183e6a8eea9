//! Models from one kind of file to another: Hugging Face folders and GGUF.
//!
//! Ternary weights are exact in every direction: trits are trits, and a scale is stored in a type that has it, but for TQ1_0 and TQ2_0, whose
//! scales are f16: then the largest difference is part of the report. Output is written front to back from the mapped input, a few rows at a
//! time, so that no more memory is needed for a large model than for a small one.
//!
//! What only tern reads of a GGUF file that it wrote has keys that begin with `tern.`; other programs ignore them.

mod folder;
mod gguf;
mod metadata;
mod plan;
mod same_ids;
mod tokenizer_json;
mod tokenizer_lists;
mod vocabulary;

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::checkpoint::{Checkpoint, Tensor};
use crate::config::Config;
use crate::element::Element;
use crate::error::LoadError;
use crate::gguf::{I2sLayout, QuantizeError, TensorType, WriteError, quantize};
use crate::model::Files;
use crate::note::Setting;
use crate::read_options::ReadOptions;
use crate::weights;

/// The type of ternary matrices in a GGUF file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TernaryType {
    /// For each matrix a type that holds it exactly: I2_S, IQ2_BN where rows are not a multiple of 128, or TQ2_0, or floats that are trits times a
    /// scale.
    #[default]
    Exact,
    /// I2_S: one scale for the matrix, exactly. bitnet.cpp and ik_llama.cpp read it where rows are a multiple of 128.
    I2s,
    /// TQ1_0: a scale in f16 for each 256 columns; 1.69 bits a weight. llama.cpp reads it.
    Tq1_0,
    /// TQ2_0: the same with 2.06 bits a weight.
    Tq2_0,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Converted {
    /// Bytes of the file, or of all files.
    pub bytes: u64,
    /// Ternary matrices by the type that they have now.
    pub matrices: Vec<(String, usize)>,
    /// The largest difference between a scale and what is stored for it, as a part of the scale. 0 where all are exact.
    pub largest_scale_error: f64,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl Converted {
    /// With what was guessed of the input, or looks wrong in it. A folder says it as a fact, in a GGUF file it is a guess again.
    fn with_guesses(mut self, source: &Source<'_>) -> Converted {
        let open = source.files.open_warnings(&source.config, source.reading);
        self.notes.splice(0..0, open);
        self
    }
}

/// Why a model was not converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The output cannot hold this model.
    #[error("{what} cannot be written: {reason}")]
    Unsupported {
        /// The tensor, or what the model has.
        what: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A GGUF file refuses a key or a tensor.
    #[error(transparent)]
    Gguf(#[from] WriteError),
    /// The output cannot be written.
    #[error("the model cannot be written: {0}")]
    Write(#[from] io::Error),
    /// The caller stopped it.
    #[error("stopped")]
    Stopped,
}

impl ConvertError {
    fn unsupported(what: impl Into<String>, reason: impl Into<String>) -> ConvertError {
        ConvertError::Unsupported {
            what: what.into(),
            reason: reason.into(),
        }
    }

    /// A matrix whose bytes could not be made.
    fn matrix(name: &str, error: &QuantizeError) -> ConvertError {
        ConvertError::unsupported(name, error.to_string())
    }
}

/// How far it has come: bytes written, and bytes that will be; returns false to stop.
pub type OnProgress<'a> = &'a mut dyn FnMut(u64, u64) -> bool;

/// Writes the model in `path`, a folder or a GGUF file, as a GGUF file. What `reading` says of it the new file states; what is a guess it leaves
/// open, so that it is one again. Whoever calls makes sure that an incomplete file is not left behind.
///
/// # Errors
///
/// [`ConvertError`] names what the type cannot hold, and which can.
pub fn to_gguf(
    path: &Path,
    reading: ReadOptions,
    kind: TernaryType,
    out: &mut dyn Write,
    progress: OnProgress<'_>,
) -> Result<Converted, ConvertError> {
    let files = open(path, reading.i2s_layout)?;
    let source = Source::new(&files, reading)?;
    let converted = gguf::write(&source, kind, out, progress)?;
    Ok(converted.with_guesses(&source))
}

/// Writes the model in `path`, a GGUF file or a folder, into `folder`, which exists, as Hugging Face publishes models. `config.json`
/// states what `reading` says of it, and what is guessed too, which the notes tell. Whoever calls makes sure that an incomplete folder is not left
/// behind.
///
/// # Errors
///
/// [`ConvertError`].
pub fn to_folder(
    path: &Path,
    reading: ReadOptions,
    folder: &Path,
    progress: OnProgress<'_>,
) -> Result<Converted, ConvertError> {
    let files = open(path, reading.i2s_layout)?;
    let source = Source::new(&files, reading)?;
    let converted = folder::write(&source, folder, progress)?;
    Ok(converted.with_guesses(&source))
}

fn open(path: &Path, layout: I2sLayout) -> Result<Files<'static>, LoadError> {
    let files = Files::open(path, layout)?;
    match files.is_packed() {
        false => Ok(files),
        true => Err(LoadError::Packed {
            file: files.names().model.clone(),
            reason:
                "is a packed model, for this machine alone; convert the folder or file that it was made of"
                    .to_owned(),
        }),
    }
}

/// A model that is converted.
struct Source<'a> {
    files: &'a Files<'a>,
    checkpoint: Checkpoint<'a>,
    /// As the user has it.
    config: Config,
    reading: ReadOptions,
}

impl<'a> Source<'a> {
    fn new(files: &'a Files<'a>, reading: ReadOptions) -> Result<Source<'a>, LoadError> {
        let source = Source {
            files,
            checkpoint: files.checkpoint()?,
            config: reading.applied(files.configuration()?),
            reading,
        };
        weights::check(&source.checkpoint, &source.config)?;
        Ok(source)
    }

    /// Whether something was taken for want of a word in the files, and the user has not said it either.
    fn is_guess(&self, setting: Setting) -> bool {
        let mut open = self.files.warnings(&self.config);
        open.any(|note| note.settled_by == Some(setting) && !self.reading.settles(&note))
    }
}

/// The type of an embedding: that of the file.
fn dense_kind(tensor: &Tensor<'_>) -> TensorType {
    match (tensor.blocks, Element::of(tensor.dtype)) {
        (Some(blocks), _) => blocks.kind(),
        (None, Some(Element::Bf16)) => TensorType::Bf16,
        (None, Some(Element::F16)) => TensorType::F16,
        (None, _) => TensorType::F32,
    }
}

/// Whether a number is stored exactly as f16.
fn is_f16(value: f32) -> bool {
    quantize::stored_scale(value).to_bits() == value.to_bits()
}

/// The smallest of these types that has all of the values exactly: bf16 or f16, or else f32.
fn exact_float(values: impl Iterator<Item = f32> + Clone, first: TensorType) -> TensorType {
    let second = match first {
        TensorType::F16 => TensorType::Bf16,
        _ => TensorType::F16,
    };
    let holds = |kind: TensorType| {
        values.clone().all(|value| match kind {
            TensorType::F16 => is_f16(value),
            _ => value.to_bits() & 0xffff == 0,
        })
    };
    [first, second]
        .into_iter()
        .find(|&kind| holds(kind))
        .unwrap_or(TensorType::F32)
}
