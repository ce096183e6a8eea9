//! Writing GGUF files, front to back.
//!
//! All sizes follow from shapes and types, so the header is written first and the tensors are streamed behind it: no more than a piece of a
//! tensor needs to be in memory. The writer does not touch files; whoever opens one gives it a temporary name and renames it at the end,
//! as for packed models. The bytes are those that the `gguf` package of Python writes for the same keys and tensors.

use std::collections::HashSet;
use std::io::Write;

use super::error::WriteError;
use super::types::TensorType;
use super::value::{Array, Value, ValueKind};

const VERSION: u32 = 3;
const ALIGNMENT: u64 = 32;
/// llama.cpp has room for so many bytes of a tensor's name.
const MAX_NAME: usize = 63;
const MAX_KEY: usize = 65_535;

/// What a file will hold: keys and values, and its tensors' names, shapes and types in the order of their bytes.
#[derive(Default)]
pub struct Header {
    entries: Vec<u8>,
    n_entries: u64,
    keys: HashSet<String>,
    names: HashSet<String>,
    tensors: Vec<Spec>,
}

struct Spec {
    name: String,
    dims: Vec<u64>,
    kind: TensorType,
    bytes: u64,
}

/// A type that can be the value of a key.
pub trait SetValue {
    /// The type's id.
    fn kind(&self) -> ValueKind;
    /// Appends the value as the file has it, without its type.
    fn push(&self, out: &mut Vec<u8>);
}

macro_rules! set_number {
    ($($type:ty => $kind:ident),*) => {$(
        impl SetValue for $type {
            fn kind(&self) -> ValueKind {
                ValueKind::$kind
            }

            fn push(&self, out: &mut Vec<u8>) {
                out.extend(self.to_le_bytes());
            }
        }
    )*};
}

set_number!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64, f32 => F32, f64 => F64);

impl SetValue for bool {
    fn kind(&self) -> ValueKind {
        ValueKind::Bool
    }

    fn push(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

fn push_string(text: &[u8], out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}

impl SetValue for &str {
    fn kind(&self) -> ValueKind {
        ValueKind::String
    }

    fn push(&self, out: &mut Vec<u8>) {
        push_string(self.as_bytes(), out);
    }
}

impl SetValue for String {
    fn kind(&self) -> ValueKind {
        ValueKind::String
    }

    fn push(&self, out: &mut Vec<u8>) {
        push_string(self.as_bytes(), out);
    }
}

/// An array. Empty ones have the type of their would-be values too.
impl<T: SetValue + Default> SetValue for &[T] {
    fn kind(&self) -> ValueKind {
        ValueKind::Array
    }

    fn push(&self, out: &mut Vec<u8>) {
        out.extend(T::default().kind().id().to_le_bytes());
        out.extend((self.len() as u64).to_le_bytes());
        for item in *self {
            item.push(out);
        }
    }
}

/// A value of another file.
impl SetValue for Value<'_> {
    fn kind(&self) -> ValueKind {
        Value::kind(self)
    }

    fn push(&self, out: &mut Vec<u8>) {
        match self {
            Value::U8(x) => x.push(out),
            Value::I8(x) => x.push(out),
            Value::U16(x) => x.push(out),
            Value::I16(x) => x.push(out),
            Value::U32(x) => x.push(out),
            Value::I32(x) => x.push(out),
            Value::F32(x) => x.push(out),
            Value::Bool(x) => x.push(out),
            Value::String(text) => push_string(text, out),
            Value::Array(Array { kind, len, bytes }) => {
                out.extend(kind.id().to_le_bytes());
                out.extend((*len as u64).to_le_bytes());
                out.extend(*bytes);
            }
            Value::U64(x) => x.push(out),
            Value::I64(x) => x.push(out),
            Value::F64(x) => x.push(out),
        }
    }
}

impl Header {
    /// Nothing yet. By custom the first key is `general.architecture`.
    pub fn new() -> Header {
        Header::default()
    }

    /// Adds a key: a number, `bool`, `&str`, a slice of one of them (`&[String]` for strings), or a [`Value`] of another file. The type
    /// in the file is that of the value.
    ///
    /// # Errors
    ///
    /// [`WriteError::Entry`] for a key that is there already, empty or too long, and for `general.alignment`, which is always 32.
    pub fn set(&mut self, key: &str, value: impl SetValue) -> Result<(), WriteError> {
        let wrong = |reason: &str| {
            Err(WriteError::Entry {
                what: "metadata key",
                name: key.to_owned(),
                reason: reason.to_owned(),
            })
        };
        if key.is_empty() || key.len() > MAX_KEY {
            return wrong("a key has 1 to 65535 bytes");
        }
        if key == "general.alignment" {
            return wrong("files are written with the usual alignment of 32, without this key");
        }
        if !self.keys.insert(key.to_owned()) {
            return wrong("the key is set already");
        }
        push_string(key.as_bytes(), &mut self.entries);
        self.entries.extend(value.kind().id().to_le_bytes());
        value.push(&mut self.entries);
        self.n_entries += 1;
        Ok(())
    }

    /// Adds a tensor: its name, its dimensions with the contiguous one first (`[cols, rows]`), its type.
    ///
    /// # Errors
    ///
    /// [`WriteError::Entry`] for a name that is there already or too long for llama.cpp, and a shape that the type cannot have.
    pub fn tensor(&mut self, name: &str, dims: &[u64], kind: TensorType) -> Result<(), WriteError> {
        let wrong = |reason: String| WriteError::Entry {
            what: "tensor",
            name: name.to_owned(),
            reason,
        };
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(wrong(format!(
                "the name has {} bytes; expected 1 to {MAX_NAME}",
                name.len()
            )));
        }
        if !(1..=4).contains(&dims.len()) || dims.contains(&0) {
            return Err(wrong(format!(
                "shape {dims:?}; expected 1 to 4 dimensions of 1 or more"
            )));
        }
        let bytes = kind.bytes(dims).map_err(wrong)?;
        if !self.names.insert(name.to_owned()) {
            return Err(wrong("the tensor is there already".to_owned()));
        }
        self.tensors.push(Spec {
            name: name.to_owned(),
            dims: dims.to_vec(),
            kind,
            bytes,
        });
        Ok(())
    }

    /// Bytes that the file will have.
    pub fn file_bytes(&self) -> u64 {
        let front = (self.bytes().len() as u64).next_multiple_of(ALIGNMENT);
        let padded = |spec: &Spec| spec.bytes.next_multiple_of(ALIGNMENT);
        self.tensors
            .iter()
            .map(padded)
            .fold(front, u64::saturating_add)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend(self.n_entries.to_le_bytes());
        bytes.extend(&self.entries);
        let mut offset = 0u64;
        for spec in &self.tensors {
            push_string(spec.name.as_bytes(), &mut bytes);
            bytes.extend((spec.dims.len() as u32).to_le_bytes());
            bytes.extend(spec.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            bytes.extend(spec.kind.id().to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            offset = offset.saturating_add(spec.bytes.next_multiple_of(ALIGNMENT));
        }
        bytes
    }

    /// Writes the header. The tensors' bytes follow.
    ///
    /// # Errors
    ///
    /// [`WriteError::Write`].
    pub fn begin<W: Write>(self, mut out: W) -> Result<Writer<W>, WriteError> {
        let bytes = self.bytes();
        out.write_all(&bytes)?;
        let mut writer = Writer {
            out,
            tensors: self.tensors,
            current: 0,
            done: 0,
        };
        writer.pad(bytes.len() as u64)?;
        Ok(writer)
    }
}

/// A file whose header is written.
pub struct Writer<W: Write> {
    out: W,
    tensors: Vec<Spec>,
    /// The tensor that is being written.
    current: usize,
    /// Bytes of it that are.
    done: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the next bytes of a tensor, all of them or a piece.
    ///
    /// # Errors
    ///
    /// [`WriteError::Order`] for a tensor that is not due, or more bytes than it has; [`WriteError::Write`].
    pub fn put(&mut self, tensor: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let Some(spec) = self.tensors.get(self.current) else {
            return Err(order(&format!("\"{tensor}\""), "the end of the file"));
        };
        let left = spec.bytes - self.done;
        if spec.name != tensor || bytes.len() as u64 > left {
            let expected = format!("\"{}\" with {left} bytes", spec.name);
            let found = format!("\"{tensor}\" with {} bytes", bytes.len());
            return Err(order(&found, &expected));
        }
        let whole = spec.bytes;
        self.out.write_all(bytes)?;
        self.done += bytes.len() as u64;
        if self.done == whole {
            self.pad(whole)?;
            (self.current, self.done) = (self.current + 1, 0);
        }
        Ok(())
    }

    /// Ends the file, flushes the output and returns it.
    ///
    /// # Errors
    ///
    /// [`WriteError::Order`] where a tensor's bytes are missing; [`WriteError::Write`].
    pub fn finish(mut self) -> Result<W, WriteError> {
        if let Some(spec) = self.tensors.get(self.current) {
            let left = spec.bytes - self.done;
            let expected = format!("\"{}\" with {left} bytes", spec.name);
            return Err(order("the end of the file", &expected));
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn pad(&mut self, written: u64) -> Result<(), WriteError> {
        let gap = written.next_multiple_of(ALIGNMENT) - written;
        self.out
            .write_all(&[0; ALIGNMENT as usize][..gap as usize])?;
        Ok(())
    }
}

fn order(found: &str, expected: &str) -> WriteError {
    WriteError::Order {
        found: found.to_owned(),
        expected: expected.to_owned(),
    }
}
