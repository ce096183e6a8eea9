//! Weights as they lie in safetensors files: one file, or shards with an index.
//!
//! The `safetensors` crate checks that offsets, shapes and sizes agree. Before it sees a byte,
//! [`header::check`] looks for the damage that really happens (an interrupted download, an HTML
//! error page, a Git LFS pointer), so that the message can name the tensor and the byte counts.
//! Nothing is allocated from a size that a header merely claims.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::element::Element;
use crate::error::{CheckpointError, LoadError, shorten};
use crate::gguf;
use crate::gguf_model::names::in_gguf;
use crate::gguf_model::{GgufModel, HeadRows};
use crate::header;

/// Longest index accepted: a thousand layers need about a megabyte.
const MAX_INDEX: u64 = 64 << 20;
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A weight file in memory: mapped, or bytes of the caller.
pub(crate) struct WeightFile<'a> {
    name: String,
    bytes: Bytes<'a>,
}

enum Bytes<'a> {
    /// The mapping, and the file to read from.
    Mapped(Arc<Mmap>, File),
    Borrowed(&'a [u8]),
}

impl<'a> WeightFile<'a> {
    /// Weights that are already in memory.
    pub fn borrowed(name: &str, bytes: &'a [u8]) -> WeightFile<'a> {
        WeightFile {
            name: name.to_owned(),
            bytes: Bytes::Borrowed(bytes),
        }
    }

    /// Maps a safetensors file.
    pub fn map(path: &Path) -> Result<WeightFile<'static>, LoadError> {
        let file = WeightFile::map_any(path).map_err(|source| LoadError::Read {
            file: path.display().to_string(),
            expected: "a safetensors file with the model's weights",
            source,
        })?;
        match file.bytes().is_empty() {
            true => Err(CheckpointError::Empty { file: file.name }.into()),
            false => Ok(file),
        }
    }

    /// Maps a file of any format. One without bytes has none to map.
    pub fn map_any(path: &Path) -> io::Result<WeightFile<'static>> {
        let name = path.display().to_string();
        let file = open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(WeightFile::borrowed(&name, &[]));
        }
        // SAFETY: the mapping is read-only and private to this process. As with every mapped file,
        // another process that shortens the file meanwhile can crash us. The mapping lives only for the
        // time of loading, after which all weights are in memory of our own, unless the user wants a
        // packed model to stay in its file.
        let map = unsafe { Mmap::map(&file) }?;
        Ok(WeightFile {
            name,
            bytes: Bytes::Mapped(Arc::new(map), file),
        })
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The mapping, and which of its bytes `part` is, a part of [`WeightFile::bytes`]; `None` for bytes of the caller.
    pub fn shared(&self, part: &[u8]) -> Option<(Arc<Mmap>, Range<usize>)> {
        let Bytes::Mapped(map, _) = &self.bytes else {
            return None;
        };
        let start = part.as_ptr().addr().checked_sub(map.as_ptr().addr())?;
        let end = start.checked_add(part.len())?;
        (end <= map.len()).then(|| (Arc::clone(map), start..end))
    }

    /// Copies `part`, a part of [`WeightFile::bytes`]. Reading a file costs less than touching a mapping's pages one by one.
    pub fn copy(&self, part: &[u8], out: &mut [u8]) -> io::Result<()> {
        #[cfg(unix)]
        if let (Bytes::Mapped(_, file), Some((_, range))) = (&self.bytes, self.shared(part)) {
            use std::os::unix::fs::FileExt as _;
            return file.read_exact_at(out, range.start as u64);
        }
        out.copy_from_slice(part);
        Ok(())
    }

    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(map, _) => map,
            Bytes::Borrowed(bytes) => bytes,
        }
    }
}

/// Maps the weights of a model folder: `model.safetensors`, or the shards its index names.
pub(crate) fn map_folder(folder: &Path) -> Result<Vec<WeightFile<'static>>, LoadError> {
    let index = folder.join(INDEX);
    let single = folder.join(SINGLE);
    if single.exists() || !index.exists() {
        return Ok(vec![WeightFile::map(&single)?]);
    }
    shard_names(&index)?
        .iter()
        .map(|shard| WeightFile::map(&folder.join(shard)))
        .collect()
}

/// The distinct shards of an index, sorted.
fn shard_names(index: &Path) -> Result<Vec<PathBuf>, LoadError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: HashMap<String, String>,
    }
    let file = index.display().to_string();
    let wrong = |reason: String| CheckpointError::Index {
        file: file.clone(),
        reason,
    };
    let json = read_file(index, "the list of the model's weight files", MAX_INDEX)?;
    let index: Index = serde_json::from_slice(&json).map_err(|source| {
        wrong(format!(
            "expected {{\"weight_map\": {{tensor: file, …}}}} ({})",
            shorten(source)
        ))
    })?;
    let mut names: Vec<&String> = index.weight_map.values().collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Err(wrong("weight_map is empty; expected the model's tensors".to_owned()).into());
    }
    let plain = |name: &&String| {
        // A name that leads out of the folder could make us read any file.
        Path::new(name)
            .file_name()
            .is_some_and(|last| last == name.as_str())
    };
    if let Some(name) = names.iter().find(|name| !plain(name)) {
        let name = shorten(name);
        return Err(wrong(format!("shard \"{name}\" is not a plain file name")).into());
    }
    Ok(names.into_iter().map(PathBuf::from).collect())
}

/// Opens a file, and nothing else that a name can stand for: opening a pipe waits for a writer, and a
/// device may never end.
fn open(path: &Path) -> io::Result<File> {
    let plain = |metadata: fs::Metadata| match metadata.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("a folder, pipe or device, not a file")),
    };
    plain(fs::metadata(path)?)?;
    let file = File::open(path)?;
    // Asked again: the name may stand for something else by now.
    plain(file.metadata()?)?;
    Ok(file)
}

/// Reads a small file whole, refusing one of absurd size before reading it.
pub(crate) fn read_file(
    path: &Path,
    expected: &'static str,
    limit: u64,
) -> Result<Vec<u8>, LoadError> {
    let file = path.display().to_string();
    let read = |source| LoadError::Read {
        file: file.clone(),
        expected,
        source,
    };
    let opened = open(path).map_err(read)?;
    let mut bytes = Vec::new();
    // `take` bounds files that grow, which metadata does not.
    opened
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(read)?;
    if bytes.len() as u64 > limit {
        let found = fs::metadata(path).map_or(bytes.len() as u64, |metadata| metadata.len());
        return Err(LoadError::TooLarge {
            file,
            bytes: found,
            limit,
        });
    }
    Ok(bytes)
}

/// All tensors of a model, by the names of Hugging Face's checkpoints.
pub(crate) struct Checkpoint<'a> {
    place: String,
    contents: Contents<'a>,
}

enum Contents<'a> {
    /// Of one file, or of shards.
    SafeTensors(Vec<(&'a str, SafeTensors<'a>)>),
    /// Of a GGUF file, whose names are translated.
    Gguf(&'a GgufModel<'a>),
}

impl<'a> Checkpoint<'a> {
    /// Reads the headers. `place` names the whole in messages about missing tensors.
    pub fn parse(files: &'a [WeightFile<'a>], place: &str) -> Result<Self, CheckpointError> {
        let mut shards = Vec::with_capacity(files.len());
        for file in files {
            header::check(&file.name, file.bytes())?;
            let tensors = SafeTensors::deserialize(file.bytes()).map_err(|error| {
                let reason = shorten(error);
                CheckpointError::Header {
                    file: file.name.clone(),
                    reason,
                }
            })?;
            shards.push((file.name.as_str(), tensors));
        }
        Ok(Checkpoint {
            place: place.to_owned(),
            contents: Contents::SafeTensors(shards),
        })
    }

    /// The tensors of a GGUF file.
    pub fn of_gguf(model: &'a GgufModel<'a>, place: &str) -> Self {
        Checkpoint {
            place: place.to_owned(),
            contents: Contents::Gguf(model),
        }
    }

    /// What the sums of a linear layer are divided by, where that is not stored as a tensor.
    pub fn divisor(&self, linear: &str) -> Option<f32> {
        match &self.contents {
            Contents::SafeTensors(_) => None,
            Contents::Gguf(model) => model.divisor(linear),
        }
    }

    fn find(&self, name: &str) -> Option<Tensor<'_>> {
        let shards = match &self.contents {
            Contents::SafeTensors(shards) => shards,
            Contents::Gguf(model) => return model.tensor(name),
        };
        shards.iter().find_map(|(file, tensors)| {
            let view = tensors.tensor(name).ok()?;
            Some(Tensor {
                file,
                name: name.to_owned(),
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                data: view.data(),
                blocks: None,
                order: None,
            })
        })
    }

    /// A tensor by name; `expected` describes it in the message if it is missing.
    pub fn tensor(&self, name: &str, expected: &str) -> Result<Tensor<'_>, CheckpointError> {
        self.find(name).ok_or_else(|| CheckpointError::Missing {
            file: self.place.clone(),
            tensor: self.name_in_file(name).unwrap_or_else(|| name.to_owned()),
            expected: expected.to_owned(),
        })
    }

    /// A floating-point tensor of a given shape.
    pub fn floats(&self, name: &str, shape: &[usize]) -> Result<Floats<'_>, CheckpointError> {
        let tensor = self.tensor(name, &format!("bf16, f16 or f32 of shape {shape:?}"))?;
        tensor.floats(shape)
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Whether this is a GGUF file.
    pub fn is_gguf(&self) -> bool {
        matches!(self.contents, Contents::Gguf(_))
    }

    /// File and name of every tensor, as the files have them.
    pub fn names(&self) -> Vec<(&str, &str)> {
        match &self.contents {
            Contents::SafeTensors(shards) => {
                let mut names: Vec<(&str, &str)> = Vec::new();
                for (file, tensors) in shards {
                    names.extend(tensors.names().into_iter().map(|name| (*file, name)));
                }
                names.sort_unstable();
                names
            }
            Contents::Gguf(model) => {
                let tensors = model.gguf.tensors();
                tensors
                    .map(|tensor| (tensor.file(), tensor.name()))
                    .collect()
            }
        }
    }

    /// What the files call a tensor; `None` for one that they have no name for.
    pub fn name_in_file(&self, name: &str) -> Option<String> {
        match &self.contents {
            Contents::SafeTensors(_) => Some(name.to_owned()),
            Contents::Gguf(_) => in_gguf(name),
        }
    }

    /// Whether two tensors are the same, to the byte.
    pub fn are_equal(&self, one: &str, other: &str) -> bool {
        let (Some(one), Some(other)) = (self.find(one), self.find(other)) else {
            return false;
        };
        one.dtype == other.dtype && one.shape == other.shape && one.data == other.data
    }

    /// Refuses a tensor that would change the result if it were ignored.
    pub fn refuse(&self, name: &str, reason: &'static str) -> Result<(), CheckpointError> {
        match self.tensor(name, "") {
            Ok(found) => Err(CheckpointError::Unsupported {
                file: found.file.to_owned(),
                tensor: found.name,
                reason,
            }),
            Err(_) => Ok(()),
        }
    }
}

/// Reads a safetensors file's header and every tensor that it describes, for fuzzing (`fuzz/`): any bytes give a result or an error.
///
/// # Errors
///
/// [`CheckpointError`].
#[doc(hidden)]
pub fn walk_safetensors(bytes: &[u8]) -> Result<(), CheckpointError> {
    let files = [WeightFile::borrowed("fuzzed", bytes)];
    let checkpoint = Checkpoint::parse(&files, "fuzzed")?;
    let Contents::SafeTensors(shards) = &checkpoint.contents else {
        return Ok(());
    };
    for (_, tensors) in shards {
        for name in tensors.names() {
            let tensor = checkpoint.tensor(name, "what its header says")?;
            if Element::of(tensor.dtype).is_some() {
                let floats = tensor.floats(&tensor.shape)?;
                std::hint::black_box(floats.to_vec());
            }
        }
    }
    Ok(())
}

/// One tensor as it lies in the file. `data` has exactly the bytes of `shape` and `dtype`.
pub(crate) struct Tensor<'a> {
    pub file: &'a str,
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub data: &'a [u8],
    /// The tensor of a GGUF file whose type is not one of plain numbers; `dtype` then says nothing.
    pub blocks: Option<gguf::Tensor<'a>>,
    /// The order of its rows, where it is not that of the model's heads.
    pub order: Option<HeadRows>,
}

impl<'a> Tensor<'a> {
    /// The tensor as numbers, if it has this shape.
    pub fn floats(&self, shape: &[usize]) -> Result<Floats<'a>, CheckpointError> {
        let element = Element::of(self.dtype).filter(|_| self.blocks.is_none());
        let Some(element) = element else {
            return Err(self.wrong_dtype("bf16, f16 or f32"));
        };
        self.check_shape(shape)?;
        Ok(Floats {
            element,
            data: self.data,
            order: self.order,
        })
    }

    /// Compares the shape with the one the configuration implies.
    pub fn check_shape(&self, expected: &[usize]) -> Result<(), CheckpointError> {
        if self.shape == expected {
            return Ok(());
        }
        let found = self.shape.iter().copied().take(8).collect();
        let (file, tensor) = (self.file.to_owned(), self.name.clone());
        Err(CheckpointError::Shape {
            file,
            tensor,
            found,
            expected: expected.to_vec(),
        })
    }

    /// "Has dtype …".
    pub fn wrong_dtype(&self, expected: &'static str) -> CheckpointError {
        let (file, tensor) = (self.file.to_owned(), self.name.clone());
        CheckpointError::Dtype {
            file,
            tensor,
            found: match &self.blocks {
                Some(blocks) => blocks.kind().to_string(),
                None => format!("{:?}", self.dtype),
            },
            expected,
        }
    }

    /// "Holds …".
    pub fn wrong_value(&self, found: String, expected: &'static str) -> CheckpointError {
        let (file, tensor) = (self.file.to_owned(), self.name.clone());
        CheckpointError::Value {
            file,
            tensor,
            found,
            expected,
        }
    }
}

/// The bytes of a floating-point tensor.
#[derive(Clone, Copy)]
pub(crate) struct Floats<'a> {
    pub element: Element,
    pub data: &'a [u8],
    /// The order of the rows in `data`.
    pub order: Option<HeadRows>,
}

impl Floats<'_> {
    /// Elements `start .. start + out.len()`, widened. Where rows have another order, whole rows.
    pub fn read(&self, start: usize, out: &mut [f32]) {
        let Some(order) = self.order else {
            return self.read_stored(start, out);
        };
        assert!(start.is_multiple_of(order.cols));
        for (index, out) in out.chunks_mut(order.cols).enumerate() {
            let row = order.in_file(start / order.cols + index);
            self.read_stored(row * order.cols, out);
        }
    }

    fn read_stored(&self, start: usize, out: &mut [f32]) {
        let size = self.element.size();
        self.element
            .widen(&self.data[start * size..(start + out.len()) * size], out);
    }

    /// All elements, widened.
    pub fn to_vec(self) -> Vec<f32> {
        let mut out = vec![0.0; self.data.len() / self.element.size()];
        self.read(0, &mut out);
        out
    }
}
