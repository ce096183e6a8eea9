//! Packed models: all that loading makes of a model's files, in one file that is read as fast as memory.
//!
//! Packing gigabytes of ternary weights and quantizing the head takes seconds each time a model is loaded. `tern pack` does it once. Its
//! file is a cache and not a way to pass models on: which byte orders are in it depends on the CPU and its profile.
//!
//! The container is that of safetensors, so its reader's checks of offsets and sizes are the ones here too, and other programs can
//! list what is in a file. Tensors are, in the order of the file:
//!
//! * `tern.config.json`, `tern.generation_config.json`, `tern.tokenizer.json`: the model's files as they were, where it has them; in place of
//!   the last one `tern.tokenizer.model` or `tern.vocabulary.json`, and `tern.chat_template.json` (`text.rs`);
//! * norms and scales by the names of the checkpoint, as `f32`;
//! * embedding and head, as bf16, f16 or `f32` (blocks of GGUF's types as `f32`), and `tern.head_copy.*`, the copy of the head that bounds its logits;
//! * ternary matrices by the names of the checkpoint, as bytes in the packing that the metadata names for each;
//! * `tern.checksums`: of the header, and of each tensor in order.
//!
//! Large tensors begin at multiples of 4 KiB, so that they can be used where the file is mapped; what lies between is called
//! `tern.pad.*`. Numbers are little-endian.
//!
//! A checksum is XXH3 (64 bits) over those of all mebibytes, so that many threads share the work. What is copied to memory is
//! checked on the way, in the copy. What stays in a mapped file is not, for that would read all of it; [`check`] does.

mod write;

use std::collections::HashMap;
use std::io;
use std::path::Path;

use rayon::prelude::*;
use safetensors::SafeTensors;
use tern_kernels::{Buffer, PackedMatrix, Packing, Pages, Shared, Storage};
use xxhash_rust::xxh3::xxh3_64;

use crate::checkpoint::WeightFile;
use crate::error::{CheckpointError, LoadError, shorten};
use crate::header;

pub use write::{PackFileError, pack};

/// The metadata's word for the format.
const FORMAT: &str = "tern-packed";
/// The version of what is described above. Another one is refused.
const VERSION: &str = "1";
/// What the user is asked for in place of a file that is none.
const EXPECTED: &str = "a packed model, as `tern pack` writes it";
/// The format's word is among the first bytes of the header, before the tensors: metadata comes first there, by its keys.
const BEGINNING: usize = 256;
/// Metadata keys: the format, its version, and before a tensor's name its packing.
const FORMAT_KEY: &str = "format";
const VERSION_KEY: &str = "version";
const PACKING_KEY: &str = "packing:";
/// The model's own files.
pub(crate) const CONFIG: &str = "tern.config.json";
pub(crate) const GENERATION: &str = "tern.generation_config.json";
pub(crate) const TOKENIZER: &str = "tern.tokenizer.json";
/// Begin the names of the parts of the head's copy, and of padding.
const HEAD_COPY: &str = "tern.head_copy.";
const PAD: &str = "tern.pad.";
const CHECKSUMS: &str = "tern.checksums";
/// Where large tensors begin.
const PAGE: usize = 4096;
/// What is copied and summed at a time: fits a second-level cache.
const CHUNK: usize = 1 << 20;

/// The checksum of some bytes.
fn checksum(bytes: &[u8]) -> u64 {
    let sums: Vec<u64> = bytes.par_chunks(CHUNK).map(xxh3_64).collect();
    of_chunks(&sums)
}

/// The checksum of bytes whose mebibytes have these.
fn of_chunks(sums: &[u64]) -> u64 {
    let bytes: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
    xxh3_64(&bytes)
}

/// A packed model's file, its header understood and checked.
pub(crate) struct Packed<'a> {
    file: &'a WeightFile<'a>,
    tensors: SafeTensors<'a>,
    packings: HashMap<String, Packing>,
    sums: HashMap<String, u64>,
    /// Whether weights stay in the file.
    is_mapped: bool,
}

impl<'a> Packed<'a> {
    /// Reads the header. Weights are to stay in the file if `is_mapped`, where it is one.
    ///
    /// # Errors
    ///
    /// [`LoadError`] if it is not a packed model of this version, or is damaged.
    pub fn open(file: &'a WeightFile<'a>, is_mapped: bool) -> Result<Packed<'a>, LoadError> {
        let (name, bytes) = (file.name(), file.bytes());
        header::check(name, bytes).map_err(|error| remade(error, bytes))?;
        let damaged = |error: safetensors::SafeTensorError| CheckpointError::Header {
            file: name.to_owned(),
            reason: shorten(error),
        };
        let damaged = |error| remade(damaged(error), bytes);
        let (len, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let none = HashMap::new();
        let facts = metadata.metadata().as_ref().unwrap_or(&none);
        let fact = |key: &str| facts.get(key).map_or("", String::as_str);
        let refused = |reason: String| LoadError::Packed {
            file: name.to_owned(),
            reason,
        };
        if fact(FORMAT_KEY) != FORMAT {
            return Err(refused(
                "is a safetensors file, but not a packed model; name the model's folder".to_owned(),
            ));
        }
        if fact(VERSION_KEY) != VERSION {
            return Err(refused(format!(
                "is a packed model of format {}, this program reads {VERSION}; pack the model again with `tern pack`",
                shorten(fact(VERSION_KEY))
            )));
        }
        if cfg!(target_endian = "big") {
            return Err(refused(
                "has little-endian numbers, this machine big-endian ones; load the model's folder"
                    .to_owned(),
            ));
        }
        let mut packings = HashMap::new();
        for (key, value) in facts {
            let Some(tensor) = key.strip_prefix(PACKING_KEY) else {
                continue;
            };
            let packing = value.parse().map_err(|_| {
                refused(format!(
                    "has a matrix in the packing {}, which this program does not know; pack the model again with `tern pack`",
                    shorten(value)
                ))
            })?;
            packings.insert(tensor.to_owned(), packing);
        }
        let mut packed = Packed {
            file,
            tensors,
            packings,
            sums: HashMap::new(),
            is_mapped,
        };
        packed.read_sums(&metadata.offset_keys(), &bytes[..8 + len])?;
        Ok(packed)
    }

    /// Reads the checksums of all tensors but the last, which holds them, and compares the header's.
    fn read_sums(&mut self, names: &[String], header: &[u8]) -> Result<(), LoadError> {
        let bytes = self.find(CHECKSUMS)?;
        let (sums, rest) = bytes.as_chunks::<8>();
        let fits = names.last().is_some_and(|last| last == CHECKSUMS)
            && rest.is_empty()
            && sums.len() == names.len();
        if !fits {
            return Err(self.damaged("its checksums are not those of its tensors"));
        }
        let mut sums = sums.iter().map(|sum| u64::from_le_bytes(*sum));
        if sums.next() != Some(checksum(header)) {
            return Err(self.damaged("its header is not what was written"));
        }
        self.sums = names.iter().cloned().zip(sums).collect();
        Ok(())
    }

    fn damaged(&self, what: &str) -> LoadError {
        LoadError::Packed {
            file: self.file.name().to_owned(),
            reason: format!("is damaged: {what}; pack the model again with `tern pack`"),
        }
    }

    /// A tensor's bytes, not compared with its checksum.
    fn find(&self, name: &str) -> Result<&'a [u8], LoadError> {
        match self.tensors.tensor(name) {
            Ok(view) => Ok(view.data()),
            Err(_) => Err(self.damaged(&format!("it has no {name}"))),
        }
    }

    fn compare(&self, name: &str, found: u64) -> Result<(), LoadError> {
        match self.sums.get(name) == Some(&found) {
            true => Ok(()),
            false => Err(self.damaged(&format!("{} is not what was written", shorten(name)))),
        }
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// A small part, compared with its checksum; `None` if there is none of this name.
    ///
    /// # Errors
    ///
    /// It is damaged.
    pub fn part(&self, name: &str) -> Result<Option<&'a [u8]>, LoadError> {
        let Ok(view) = self.tensors.tensor(name) else {
            return Ok(None);
        };
        self.compare(name, checksum(view.data()))?;
        Ok(Some(view.data()))
    }

    /// The bytes of a large tensor: copied to memory and compared with their checksum there, or where the file is mapped.
    ///
    /// # Errors
    ///
    /// There is none of this name, it is damaged, or there is no memory.
    pub fn storage(&self, name: &str, pages: Pages) -> Result<Storage, LoadError> {
        let source = self.find(name)?;
        if self.is_mapped
            && let Some((map, range)) = self.file.shared(source)
            && let Some(shared) = Shared::new(map, range)
        {
            return Ok(Storage::Shared(shared));
        }
        self.buffer(name, pages).map(Storage::Own)
    }

    /// The same in memory, wherever the weights are.
    ///
    /// # Errors
    ///
    /// As [`Packed::storage`].
    pub fn buffer(&self, name: &str, pages: Pages) -> Result<Buffer, LoadError> {
        let source = self.find(name)?;
        let mut buffer = Buffer::zeroed(source.len(), pages).map_err(|error| LoadError::Pack {
            matrix: name.to_owned(),
            reason: error.to_string(),
        })?;
        let bytes: &mut [u8] = &mut buffer;
        let chunks = bytes.par_chunks_mut(CHUNK).zip(source.par_chunks(CHUNK));
        let sums = chunks.map(|(out, source)| {
            self.file.copy(source, out)?;
            // Of the copy: the file may change meanwhile.
            Ok(xxh3_64(out))
        });
        let sums: io::Result<Vec<u64>> = sums.collect();
        let sums = sums.map_err(|source| LoadError::Read {
            file: self.file.name().to_owned(),
            expected: "a packed model that nobody shortens meanwhile",
            source,
        })?;
        self.compare(name, of_chunks(&sums))?;
        Ok(buffer)
    }

    /// A ternary matrix in the packing that it has in the file.
    ///
    /// # Errors
    ///
    /// As [`Packed::storage`]; or it is not as long as the matrix, or in a packing that a model cannot have.
    pub fn matrix(
        &self,
        name: &str,
        rows: usize,
        cols: usize,
        pages: Pages,
    ) -> Result<PackedMatrix, LoadError> {
        let Some(&packing) = self.packings.get(name) else {
            return Err(self.damaged(&format!("{} has no packing", shorten(name))));
        };
        let bytes = self.storage(name, pages)?;
        PackedMatrix::from_bytes(packing, rows, cols, bytes)
            .map_err(|error| self.damaged(&format!("{}: {error}", shorten(name))))
    }

    /// The packing of a matrix, if it has one.
    pub fn packing(&self, name: &str) -> Option<Packing> {
        self.packings.get(name).copied()
    }

    /// Whether weights stay in the file.
    pub fn is_mapped(&self) -> bool {
        self.is_mapped
    }
}

/// What is wrong with the container of a file with these bytes: nobody can download a packed model again.
fn remade(error: CheckpointError, bytes: &[u8]) -> LoadError {
    let beginning = &bytes[..bytes.len().min(BEGINNING)];
    let is_packed = beginning
        .windows(FORMAT.len())
        .any(|word| word == FORMAT.as_bytes());
    let (file, reason) = match error {
        CheckpointError::Truncated {
            file,
            found,
            expected,
            what,
        } if is_packed => (
            file,
            format!("is truncated: it has {found} bytes, {what} needs {expected}"),
        ),
        CheckpointError::Header { file, reason } if is_packed => {
            (file, format!("is damaged: its header: {reason}"))
        }
        error => return error.into(),
    };
    let reason = format!("{reason}; pack the model again with `tern pack`");
    LoadError::Packed { file, reason }
}

/// Maps a file that should be a packed model.
fn map(path: &Path) -> Result<WeightFile<'static>, LoadError> {
    let name = || path.display().to_string();
    let file = WeightFile::map_any(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => LoadError::NotThere {
            path: name(),
            expected: EXPECTED,
        },
        _ => LoadError::Read {
            file: name(),
            expected: EXPECTED,
            source,
        },
    })?;
    match file.bytes().starts_with(b"GGUF") {
        false => Ok(file),
        true => Err(LoadError::Packed {
            file: name(),
            reason: format!("is a GGUF file; expected {EXPECTED}"),
        }),
    }
}

/// What the parts of the head's copy mean: another name for each other way to make one.
const HEAD_COPY_LAYOUT: &str = "planes_4_2";

/// The tensor that holds part `part` of the head's copy.
pub(crate) fn head_copy_part(part: usize) -> String {
    format!("{HEAD_COPY}{HEAD_COPY_LAYOUT}.{part}")
}

/// Compares everything in a packed model with its checksums, and looks at the code of every ternary weight. Loading checks
/// only what it copies to memory, and no codes: they cannot do harm, only be wrong weights.
///
/// `progress` is told how many bytes have been checked and how many there are; it returns false to stop.
///
/// # Errors
///
/// [`LoadError`] names the first damage.
pub fn check(path: &Path, progress: &mut dyn FnMut(u64, u64) -> bool) -> Result<bool, LoadError> {
    let file = map(path)?;
    let packed = Packed::open(&file, true)?;
    let config = packed.part(CONFIG)?.unwrap_or_default();
    let config = crate::config::Config::parse(config, &format!("{}: {CONFIG}", file.name()))?;
    let total = file.bytes().len() as u64;
    let (mut done, mut names) = (0, packed.tensors.names());
    names.sort_unstable();
    for name in names.into_iter().filter(|name| *name != CHECKSUMS) {
        let bytes = packed.find(name)?;
        packed.compare(name, checksum(bytes))?;
        done += bytes.len() as u64;
        if !progress(done, total) {
            return Ok(false);
        }
    }
    for layer in 0..config.layers {
        for (name, shape) in crate::weights::layer_shapes(&config) {
            let name = format!("model.layers.{layer}.{name}.weight");
            let matrix = packed.matrix(&name, shape.rows, shape.cols, Pages::Small)?;
            matrix
                .check_codes()
                .map_err(|error| packed.damaged(&format!("{name}: {error}")))?;
            if !progress(total, total) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
