//! The front of a GGUF file: magic, version, metadata and the list of tensors.

use super::cursor::Cursor;
use super::error::GgufError;
use super::metadata::{Entries, MIN_ENTRY, Metadata};
use crate::error::shorten;

/// Longest tensor name accepted; llama.cpp's own limit is 63.
const MAX_NAME: u64 = 1024;
/// Bytes of the shortest description of a tensor: lengths, type and offset, without name and dimensions.
const MIN_TENSOR: u64 = 24;
/// Largest alignment accepted: a page of the largest size in use.
const MAX_ALIGNMENT: u64 = 1 << 20;
const DEFAULT_ALIGNMENT: u64 = 32;
/// Dimensions of a tensor at most.
pub(super) const MAX_DIMS: usize = 4;

/// A tensor as the file describes it.
pub(super) struct RawTensor {
    pub name: String,
    dims: [u64; MAX_DIMS],
    n_dims: usize,
    pub id: u32,
    /// From the beginning of the data.
    pub offset: u64,
}

impl RawTensor {
    /// Its dimensions, the contiguous one first.
    pub fn dims(&self) -> &[u64] {
        &self.dims[..self.n_dims]
    }
}

/// The front of one file.
pub(super) struct Header {
    pub version: u32,
    pub alignment: u64,
    pub entries: Entries,
    pub tensors: Vec<RawTensor>,
    /// Bytes of all that, without the padding behind it.
    pub len: usize,
    /// Where the tensors' bytes begin.
    pub data_start: u64,
}

impl Header {
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Header, GgufError> {
        check_magic(file, bytes)?;
        let mut cursor = Cursor::new(file, bytes);
        cursor.take(4, "the magic")?;
        let version = check_version(file, cursor.u32("the version")?)?;
        let n_tensors = cursor.u64("the number of tensors")?;
        let n_entries = cursor.count(MIN_ENTRY, "the number of metadata keys")?;
        bound(&cursor, n_tensors)?;
        let entries = Entries::parse(&mut cursor, bytes, n_entries)?;
        let metadata = Metadata {
            file,
            bytes,
            entries: &entries,
        };
        let alignment = alignment(metadata)?;
        if let Some((key, _)) = metadata.iter().find(|(key, _)| key.contains("hadamard")) {
            return Err(GgufError::Hadamard {
                file: file.to_owned(),
                key: shorten(key),
            });
        }
        // Again, now that the metadata is read.
        bound(&cursor, n_tensors)?;
        let mut tensors = Vec::new();
        for index in 0..n_tensors {
            tensors.push(parse_tensor(&mut cursor, index)?);
        }
        Ok(Header {
            version,
            alignment,
            entries,
            tensors,
            len: cursor.position(),
            // A position in memory, and a power of two of at most 2^20.
            data_start: (cursor.position() as u64).next_multiple_of(alignment),
        })
    }
}

/// Refuses a number of tensors that the rest of the file cannot describe.
fn bound(cursor: &Cursor<'_>, n_tensors: u64) -> Result<(), GgufError> {
    let limit = cursor.remaining() / MIN_TENSOR;
    if n_tensors <= limit {
        return Ok(());
    }
    Err(GgufError::Count {
        file: cursor.file.to_owned(),
        what: "the number of tensors".to_owned(),
        found: n_tensors,
        limit,
    })
}

/// Foreign files by their beginning.
const FOREIGN: &[(&[u8], &str)] = &[
    (
        b"tjgg",
        "a GGJT file of early 2023: convert the model again",
    ),
    (
        b"lmgg",
        "a GGML file of early 2023: convert the model again",
    ),
    (
        b"fmgg",
        "a GGMF file of early 2023: convert the model again",
    ),
    (
        b"version https",
        "a Git LFS pointer, not the file itself: download it with `git lfs pull`",
    ),
    (
        b"<",
        "an HTML page, probably an error message: download the file again",
    ),
    (
        b"PK\x03\x04",
        "a ZIP archive, perhaps a PyTorch checkpoint: download the GGUF file, or a folder with model.safetensors",
    ),
];

fn check_magic(file: &str, bytes: &[u8]) -> Result<(), GgufError> {
    if bytes.starts_with(b"GGUF") {
        return Ok(());
    }
    if bytes.is_empty() {
        let file = file.to_owned();
        return Err(GgufError::Empty { file });
    }
    let known = FOREIGN.iter().find(|(start, _)| bytes.starts_with(start));
    let hint = match known {
        Some((_, hint)) => *hint,
        None if bytes.get(8) == Some(&b'{') => {
            "a safetensors file: name the folder that it lies in"
        }
        None => "download it again",
    };
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).into_owned();
    Err(GgufError::Magic {
        file: file.to_owned(),
        found: format!("\"{}\"", shorten(start)),
        hint,
    })
}

fn check_version(file: &str, version: u32) -> Result<u32, GgufError> {
    let file = || file.to_owned();
    match version {
        2 | 3 => Ok(version),
        // Of a big-endian file the low half is what should be the high one.
        1.. if version & 0xffff == 0 => Err(GgufError::BigEndian {
            file: file(),
            version,
        }),
        0 | 1 => Err(GgufError::Version {
            file: file(),
            version,
            advice: "convert the model again, with a program of 2024 or later",
        }),
        _ => Err(GgufError::Version {
            file: file(),
            version,
            advice: "use a newer tern, or download the file again if it is damaged",
        }),
    }
}

fn alignment(metadata: Metadata<'_>) -> Result<u64, GgufError> {
    const KEY: &str = "general.alignment";
    let alignment = metadata.get::<u64>(KEY)?.unwrap_or(DEFAULT_ALIGNMENT);
    if alignment.is_power_of_two() && (8..=MAX_ALIGNMENT).contains(&alignment) {
        return Ok(alignment);
    }
    Err(metadata.wrong(KEY, format!("a power of two from 8 to {MAX_ALIGNMENT}")))
}

fn parse_tensor(cursor: &mut Cursor<'_>, index: u64) -> Result<RawTensor, GgufError> {
    let name = cursor.string(MAX_NAME, &format!("the name of tensor {index}"))?;
    let shown = shorten(String::from_utf8_lossy(name));
    let wrong = |cursor: &Cursor<'_>, reason: String| GgufError::Tensor {
        file: cursor.file.to_owned(),
        tensor: shown.clone(),
        reason: format!("{reason}; the file is damaged, download it again"),
    };
    let text = match std::str::from_utf8(name) {
        Ok(text) if !text.is_empty() => text,
        _ => {
            let reason = format!("the name of tensor {index} is empty or not UTF-8");
            return Err(wrong(cursor, reason));
        }
    };
    let what = format!("the description of tensor \"{shown}\"");
    let n_dims = cursor.u32(&what)?;
    if !(1..=MAX_DIMS as u32).contains(&n_dims) {
        return Err(wrong(
            cursor,
            format!("{n_dims} dimensions; expected 1 to {MAX_DIMS}"),
        ));
    }
    let n_dims = n_dims as usize;
    let mut dims = [1; MAX_DIMS];
    for dim in &mut dims[..n_dims] {
        *dim = cursor.u64(&what)?;
    }
    if let Some(dim) = dims.iter().find(|&&dim| dim == 0 || dim > i64::MAX as u64) {
        return Err(wrong(
            cursor,
            format!("a dimension of {}; expected 1 or more", *dim as i64),
        ));
    }
    Ok(RawTensor {
        name: text.to_owned(),
        dims,
        n_dims,
        id: cursor.u32(&what)?,
        offset: cursor.u64(&what)?,
    })
}
