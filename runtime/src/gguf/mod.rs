//! GGUF files, the format of llama.cpp and its forks, with every ternary type that public models have.
//!
//! No published crate reads those types, and no two programs agree on what their ids mean, so this reader is tern's own. It believes
//! nothing that it can compute: counts are bounded by the bytes that follow, offsets must be the sums of the sizes before them, and sizes
//! come from shapes by checked arithmetic. What it opens is sound; what it does not read it refuses by name, with what to do.
//!
//! # Reading
//!
//! [`Gguf::open`] maps a file, or all files of a split model, and copies nothing. [`Gguf::metadata`] has the keys:
//! `metadata.get::<u32>(key)?` for one that may be absent, `metadata.require::<&str>(key)?` for one that must be there,
//! `metadata.per_layer(key, layers)?` for those that are a number or an array. Integers convert from any width.
//!
//! [`Gguf::tensors`] and [`Gguf::tensor`] give a [`Tensor`]: name, [`TensorType`], `rows x cols` (outputs x inputs, columns are contiguous,
//! as everywhere in tern), and its bytes in the mapping. Any type is read as numbers by [`Tensor::read_row_f32`]. Ternary types are read as
//! trits by [`Tensor::ternary`]: [`Ternary::scales`] says whether a scale stands for the matrix, a row or a group of columns, and
//! [`Ternary::read_row`] writes a row's trits and its scales. **A weight is trit times scale for every type**: scales of GGUF files
//! multiply. A code 3 is an error with its place; the buffer then holds the trit 2, which packings refuse.
//!
//! What the reader had to decide is in [`Gguf::notes`], in words for a report; [`Tensor::survey`] looks at all weights of a tensor.
//!
//! What it does not do: interpret keys, map names, rotate or permute rows. Llama-style files have the rows of `attn_q` and `attn_k`
//! permuted for interleaved RoPE; `blk.N.*.scale` tensors (old ik_llama.cpp files) are tensors like any other.
//!
//! # Writing
//!
//! [`Header`] collects keys and tensors, [`Header::begin`] writes them, and the [`Writer`] takes the tensors' bytes in their order, as they
//! are made. Whoever opens the output writes to a temporary name and renames it, as for packed models. [`quantize`] makes the bytes:
//! [`quantize::row`] from numbers, [`quantize::trits`] and [`quantize::I2sEncoder`] from trits.
//!
//! ```
//! use tern_runtime::gguf::{Gguf, Header, TensorType, quantize};
//!
//! // A matrix of 2 rows and 256 columns.
//! let mut header = Header::new();
//! header.set("general.architecture", "llama")?;
//! header.tensor("blk.0.ffn_up.weight", &[256, 2], TensorType::Tq2_0)?;
//! let mut writer = header.begin(Vec::new())?;
//! for row in [[1i8; 256], [-1i8; 256]] {
//!     let mut bytes = Vec::new();
//!     quantize::trits(TensorType::Tq2_0, &row, &[0.5], &mut bytes)?;
//!     writer.put("blk.0.ffn_up.weight", &bytes)?;
//! }
//! let file = writer.finish()?;
//!
//! let model = Gguf::from_bytes("up.gguf", &file)?;
//! assert_eq!(model.metadata().require::<&str>("general.architecture")?, "llama");
//! let ternary = model.tensor("blk.0.ffn_up.weight")?.ternary()?;
//! let (mut trits, mut scales) = ternary.buffers();
//! ternary.read_row(1, &mut trits, &mut scales)?;
//! assert_eq!((trits[0], scales[0]), (-1, 0.5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blocks;
mod cursor;
mod error;
mod foreign;
mod header;
mod metadata;
mod place;
pub mod quantize;
mod split;
mod tensor;
mod types;
mod value;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use crate::checkpoint::WeightFile;
use crate::error::shorten;

pub use error::{GgufError, QuantizeError, WriteError};
pub use metadata::Metadata;
pub(crate) use tensor::Description;
pub use tensor::{Survey, Tensor, Ternary};
pub use types::{I2sLayout, Scales, TensorType};
pub use value::{Array, FromValue, Value, ValueKind};
pub use write::{Header, SetValue, Writer};

use metadata::Entries;
use place::Layout;
use tensor::Info;

/// What a file does not say.
#[derive(Clone, Copy, Debug, Default)]
pub struct GgufOptions {
    /// How the trits of I2_S lie. The default is right for all published files.
    pub i2s_layout: I2sLayout,
}

/// A model's GGUF file, or files, mapped into memory.
pub struct Gguf<'a> {
    files: Vec<WeightFile<'a>>,
    version: u32,
    entries: Entries,
    tensors: Vec<Info>,
    by_name: HashMap<String, usize>,
    notes: Vec<String>,
}

impl Gguf<'static> {
    /// Opens a file, and the others of a split model, of which `path` must be the first.
    ///
    /// # Errors
    ///
    /// [`GgufError`]: everything that can be known without looking at weights.
    pub fn open(path: &Path) -> Result<Gguf<'static>, GgufError> {
        Gguf::open_with(path, GgufOptions::default())
    }

    /// [`Gguf::open`] for files that are not as all others are.
    ///
    /// # Errors
    ///
    /// As [`Gguf::open`].
    pub fn open_with(path: &Path, options: GgufOptions) -> Result<Gguf<'static>, GgufError> {
        let first = map(path)?;
        let header = header::Header::parse(first.name(), first.bytes())?;
        let (mut files, mut headers) = (vec![first], vec![header]);
        let paths = {
            let metadata = metadata_of(&files[0], &headers[0]);
            split::others(path, metadata)?
        };
        for path in &paths {
            let file = map(path)?;
            headers.push(header::Header::parse(file.name(), file.bytes())?);
            files.push(file);
        }
        Gguf::of_parts(files, headers, options)
    }
}

impl<'a> Gguf<'a> {
    /// Reads a file that is in memory. `name` is for messages.
    ///
    /// # Errors
    ///
    /// As [`Gguf::open`]; split models are refused.
    pub fn from_bytes(name: &str, bytes: &'a [u8]) -> Result<Gguf<'a>, GgufError> {
        Gguf::from_bytes_with(name, bytes, GgufOptions::default())
    }

    /// [`Gguf::from_bytes`] for files that are not as all others are.
    ///
    /// # Errors
    ///
    /// As [`Gguf::from_bytes`].
    pub fn from_bytes_with(
        name: &str,
        bytes: &'a [u8],
        options: GgufOptions,
    ) -> Result<Gguf<'a>, GgufError> {
        let file = WeightFile::borrowed(name, bytes);
        let header = header::Header::parse(name, bytes)?;
        split::refuse(metadata_of(&file, &header))?;
        Gguf::of_parts(vec![file], vec![header], options)
    }

    fn of_parts(
        files: Vec<WeightFile<'a>>,
        headers: Vec<header::Header>,
        options: GgufOptions,
    ) -> Result<Gguf<'a>, GgufError> {
        let (mut tensors, mut notes) = (Vec::new(), Vec::new());
        for (part, (file, header)) in files.iter().zip(&headers).enumerate() {
            let layout = Layout {
                file: file.name(),
                header,
                len: file.bytes().len() as u64,
                i2s: options.i2s_layout,
            };
            let (placed, note) = layout.place()?;
            for (raw, placed) in header.tensors.iter().zip(placed) {
                tensors.push(info(file.name(), raw, placed, part)?);
            }
            notes.extend(note.filter(|note| !notes.contains(note)));
        }
        let mut by_name = HashMap::with_capacity(tensors.len());
        for (index, info) in tensors.iter().enumerate() {
            if by_name.insert(info.name.clone(), index).is_some() {
                return Err(GgufError::Duplicate {
                    file: files[info.part].name().to_owned(),
                    what: "tensor",
                    name: shorten(&info.name),
                });
            }
        }
        split::check(&files, &headers, tensors.len())?;
        if tensors
            .iter()
            .any(|info| matches!(info.kind, TensorType::I2s(_)))
        {
            notes.push(format!(
                "I2_S is read in the layout {}, which the file does not tell; all published files have 128x32",
                options.i2s_layout
            ));
        }
        let mut headers = headers.into_iter();
        let first = headers.next().expect("a model has at least one file");
        Ok(Gguf {
            files,
            version: first.version,
            entries: first.entries,
            tensors,
            by_name,
            notes,
        })
    }

    /// The format's version, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// How many files the model consists of.
    pub fn parts(&self) -> usize {
        self.files.len()
    }

    /// Keys and values, of a split model those of its first file.
    pub fn metadata(&self) -> Metadata<'_> {
        Metadata {
            file: self.files[0].name(),
            bytes: self.files[0].bytes(),
            entries: &self.entries,
        }
    }

    /// All tensors in the order of the file.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        self.tensors.iter().map(|info| self.view(info))
    }

    /// A tensor that may be absent.
    pub fn find(&self, name: &str) -> Option<Tensor<'_>> {
        let &index = self.by_name.get(name)?;
        Some(self.view(&self.tensors[index]))
    }

    /// A tensor that must be there.
    ///
    /// # Errors
    ///
    /// [`GgufError::MissingTensor`].
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>, GgufError> {
        self.find(name).ok_or_else(|| GgufError::MissingTensor {
            file: self.files[0].name().to_owned(),
            tensor: name.to_owned(),
        })
    }

    /// What had to be decided to read the file, and why, in words for a report.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn view<'b>(&'b self, info: &'b Info) -> Tensor<'b> {
        let file = &self.files[info.part];
        Tensor {
            file: file.name(),
            info,
            data: &file.bytes()[info.data.clone()],
        }
    }
}

impl fmt::Debug for Gguf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gguf")
            .field("file", &self.files[0].name())
            .field("parts", &self.files.len())
            .field("tensors", &self.tensors.len())
            .finish()
    }
}

fn map(path: &Path) -> Result<WeightFile<'static>, GgufError> {
    WeightFile::map_any(path).map_err(|source| GgufError::Read {
        file: path.display().to_string(),
        source,
    })
}

/// How long the front of a file is, keys and the list of tensors, and where the first tensor begins; `None` for what has no sound front. For
/// fuzzers, which would else spend their time on weights.
pub(crate) fn front(bytes: &[u8]) -> Option<(usize, usize)> {
    let header = header::Header::parse("", bytes).ok()?;
    let start = usize::try_from(header.data_start).ok()?;
    (start <= bytes.len()).then_some((header.len, start))
}

fn metadata_of<'b>(file: &'b WeightFile<'_>, header: &'b header::Header) -> Metadata<'b> {
    Metadata {
        file: file.name(),
        bytes: file.bytes(),
        entries: &header.entries,
    }
}

/// What a placed tensor is for its readers. Its bytes are within the file, so that all sizes of it are sizes in memory; its weights
/// might be more than that, where many share a byte and pointers are short.
fn info(
    file: &str,
    raw: &header::RawTensor,
    placed: place::Placed,
    part: usize,
) -> Result<Info, GgufError> {
    let dims = raw.dims();
    let size = |dims: &[u64]| {
        let product = dims
            .iter()
            .try_fold(1usize, |product, &dim| {
                product.checked_mul(usize::try_from(dim).ok()?)
            })
            .filter(|&product| product <= isize::MAX as usize);
        product.ok_or_else(|| GgufError::Tensor {
            file: file.to_owned(),
            tensor: shorten(&raw.name),
            reason: format!("shape {dims:?} is too large for this machine"),
        })
    };
    size(dims)?;
    Ok(Info {
        name: raw.name.clone(),
        kind: placed.kind,
        dims: dims.to_vec(),
        rows: size(&dims[1..])?,
        cols: size(&dims[..1])?,
        part,
        data: placed.start as usize..placed.end as usize,
    })
}
