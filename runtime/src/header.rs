//! A first look at a safetensors header, for messages that help; and the header of a file to be written.
//!
//! The format's own reader says of most damage only that the header is invalid. This finds what
//! really happens: an interrupted download, an HTML error page, a Git LFS pointer, a file of another
//! format.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use crate::error::{CheckpointError, shorten};

/// Longest header accepted, as in the format's own reader.
const MAX_HEADER: u64 = 100_000_000;

/// How the file begins that Git has in place of one that Git LFS keeps.
const LFS_POINTER: &[u8] = b"version https";

/// Finds truncation and foreign files with messages that say so. What it accepts may still be
/// inconsistent; the format's own reader finds that.
pub(crate) fn check(name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
    let file = || name.to_owned();
    let len = bytes.len() as u64;
    let truncated = |what: String, expected: u64| {
        Err(CheckpointError::Truncated {
            file: file(),
            found: len,
            expected,
            what,
        })
    };
    if bytes.is_empty() {
        return Err(CheckpointError::Empty { file: file() });
    }
    if bytes.starts_with(b"GGUF") {
        return Err(CheckpointError::Gguf { file: file() });
    }
    if bytes.starts_with(LFS_POINTER) {
        return Err(CheckpointError::LfsPointer { file: file() });
    }
    let Some((prefix, rest)) = bytes.split_first_chunk::<8>() else {
        return truncated("the header length".to_owned(), 8);
    };
    if rest.first().is_some_and(|&first| first != b'{') {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(24)]).into_owned();
        return Err(CheckpointError::Magic {
            file: file(),
            found: format!("it begins with \"{}\"", shorten(text)),
            expected: "an 8-byte header length and then \"{\" (an error page?)",
        });
    }
    let header_len = u64::from_le_bytes(*prefix);
    if header_len > MAX_HEADER {
        let (found, limit) = (header_len, MAX_HEADER);
        return Err(CheckpointError::HeaderTooLarge {
            file: file(),
            found,
            limit,
        });
    }
    if header_len > len - 8 {
        return truncated("its header".to_owned(), header_len + 8);
    }
    let header = &rest[..header_len as usize];
    let damaged = |reason| CheckpointError::Header {
        file: file(),
        reason,
    };
    let mut scan = Scan {
        data: len - 8 - header_len,
        ..Scan::default()
    };
    let mut reader = serde_json::Deserializer::from_slice(header);
    let scanned = scan.deserialize(&mut reader).and_then(|()| reader.end());
    if let Err(source) = scanned {
        let reason = shorten(source);
        return Err(damaged(match scan.damaged {
            Some(tensor) => format!("tensor \"{tensor}\": {reason}"),
            None => reason,
        }));
    }
    match scan.beyond {
        Some((tensor, end)) => truncated(
            format!("tensor \"{tensor}\""),
            end.saturating_add(8 + header_len),
        ),
        None => Ok(()),
    }
}

/// A tensor of a file to be written: name, dtype, shape, and its bytes.
pub(crate) type Described<'a> = (&'a str, &'static str, &'a [usize], u64);

/// The header of a file with these tensors one behind the other: its length, then the header, so long that the data begins at a multiple of
/// `align` bytes.
pub(crate) fn write<'a>(
    metadata: Map<String, Value>,
    tensors: impl Iterator<Item = Described<'a>>,
    align: usize,
) -> Vec<u8> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), Value::Object(metadata));
    let mut offset = 0;
    for (name, dtype, shape, bytes) in tensors {
        let end = offset + bytes;
        header.insert(
            name.to_owned(),
            json!({ "dtype": dtype, "shape": shape, "data_offsets": [offset, end] }),
        );
        offset = end;
    }
    let mut json = Value::Object(header).to_string().into_bytes();
    json.resize((8 + json.len()).next_multiple_of(align) - 8, b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    bytes
}

/// Looks at every entry of a header and keeps none, so that a header costs no more than its bytes.
#[derive(Default)]
struct Scan {
    /// Bytes that follow the header.
    data: u64,
    /// The first tensor that ends beyond them, shortened, and its end.
    beyond: Option<(String, u64)>,
    /// The tensor whose entry cannot be understood, shortened.
    damaged: Option<String>,
}

impl<'de> DeserializeSeed<'de> for &mut Scan {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Scan {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        #[derive(Deserialize)]
        struct Entry {
            #[serde(rename = "dtype")]
            _dtype: IgnoredAny,
            #[serde(rename = "shape")]
            _shape: IgnoredAny,
            data_offsets: [u64; 2],
        }
        while let Some(tensor) = map.next_key::<String>()? {
            if tensor == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let entry: Entry = map
                .next_value()
                .inspect_err(|_| self.damaged = Some(shorten(&tensor)))?;
            let end = entry.data_offsets[1];
            if end > self.data && self.beyond.is_none() {
                self.beyond = Some((shorten(&tensor), end));
            }
        }
        Ok(())
    }
}
