//! Keys and values of a GGUF file, as they lie in it.
//!
//! A vocabulary is most of the metadata (300,000 strings), so nothing is copied: an entry is the place of its key and of its value, every
//! length is checked once while the file is opened, and numbers and strings are read when they are asked for.

use std::ops::Range;

use super::cursor::Cursor;
use super::error::GgufError;
use super::value::{Array, FromValue, Value, ValueKind};
use crate::error::shorten;

/// Longest key accepted, the format's own limit.
const MAX_KEY: u64 = 65_535;
/// Bytes of the shortest entry: an empty key's length, a type and one byte.
pub(super) const MIN_ENTRY: u64 = 13;

/// Where an entry stands in its file.
struct Entry {
    key: Range<usize>,
    kind: ValueKind,
    /// The value's bytes; of an array its type, length and values.
    value: Range<usize>,
}

/// The places of all entries of a file.
#[derive(Default)]
pub(super) struct Entries {
    /// In the order of the file.
    entries: Vec<Entry>,
    /// Their indices in the order of their keys.
    by_key: Vec<usize>,
}

impl Entries {
    /// Reads `count` entries, a number that [`Cursor::count`] has bounded.
    pub fn parse(cursor: &mut Cursor<'_>, bytes: &[u8], count: u64) -> Result<Entries, GgufError> {
        let file = cursor.file;
        let mut entries = Vec::new();
        for index in 0..count {
            entries.push(parse_entry(cursor, index)?);
        }
        let mut by_key: Vec<usize> = (0..entries.len()).collect();
        let key = |index: usize| &bytes[entries[index].key.clone()];
        by_key.sort_by(|&a, &b| key(a).cmp(key(b)));
        if let Some(pair) = by_key.windows(2).find(|pair| key(pair[0]) == key(pair[1])) {
            return Err(GgufError::Duplicate {
                file: file.to_owned(),
                what: "metadata key",
                name: shorten(String::from_utf8_lossy(key(pair[0]))),
            });
        }
        Ok(Entries { entries, by_key })
    }
}

fn parse_entry(cursor: &mut Cursor<'_>, index: u64) -> Result<Entry, GgufError> {
    let file = cursor.file;
    let key = cursor.string(MAX_KEY, &format!("metadata key {index}"))?;
    let key_end = cursor.position();
    let damaged = |reason: String| GgufError::Entry {
        file: file.to_owned(),
        key: shorten(String::from_utf8_lossy(&key[..key.len().min(256)])),
        reason,
    };
    if key.is_empty() || std::str::from_utf8(key).is_err() {
        return Err(damaged(format!(
            "key {index} is empty or not UTF-8; expected a name such as general.architecture"
        )));
    }
    let what = format!("metadata key \"{}\"", shorten(String::from_utf8_lossy(key)));
    let kind_of = |id: u32, what: &str| {
        let known = ValueKind::ALL.get(id as usize).copied();
        known.ok_or_else(|| damaged(format!("{what} {id}; expected 0 to 12")))
    };
    let kind = kind_of(cursor.u32(&what)?, "value type")?;
    let start = cursor.position();
    match kind {
        ValueKind::String => {
            cursor.string(u64::MAX, &what)?;
        }
        ValueKind::Array => {
            let item = kind_of(cursor.u32(&what)?, "array of value type")?;
            if item == ValueKind::Array {
                return Err(damaged(
                    "an array of arrays, which no reader accepts".to_owned(),
                ));
            }
            let len = cursor.count(item.size() as u64, &format!("the length of {what}"))?;
            if item == ValueKind::String {
                for _ in 0..len {
                    cursor.string(u64::MAX, &what)?;
                }
            } else {
                // The count is bounded by the bytes that remain.
                let items = cursor.take(len * item.size() as u64, &what)?;
                if item == ValueKind::Bool && items.iter().any(|&byte| byte > 1) {
                    return Err(damaged("a bool that is neither 0 nor 1".to_owned()));
                }
            }
        }
        kind => {
            let value = cursor.take(kind.size() as u64, &what)?;
            if kind == ValueKind::Bool && value[0] > 1 {
                return Err(damaged(format!("the bool {}; expected 0 or 1", value[0])));
            }
        }
    }
    Ok(Entry {
        key: key_end - key.len()..key_end,
        kind,
        value: start..cursor.position(),
    })
}

/// The metadata of a model.
#[derive(Clone, Copy)]
pub struct Metadata<'a> {
    pub(super) file: &'a str,
    pub(super) bytes: &'a [u8],
    pub(super) entries: &'a Entries,
}

impl<'a> Metadata<'a> {
    /// The value of a key as it stands in the file.
    pub fn value(&self, key: &str) -> Option<Value<'a>> {
        let Entries { entries, by_key } = self.entries;
        let found = by_key
            .binary_search_by(|&index| self.bytes[entries[index].key.clone()].cmp(key.as_bytes()))
            .ok()?;
        self.at(&entries[by_key[found]])
    }

    fn at(&self, entry: &Entry) -> Option<Value<'a>> {
        let bytes = &self.bytes[entry.value.clone()];
        if entry.kind != ValueKind::Array {
            return Value::split(entry.kind, bytes).map(|(value, _)| value);
        }
        let (kind, rest) = Value::split(ValueKind::U32, bytes)?;
        let (len, bytes) = Value::split(ValueKind::U64, rest)?;
        Some(Value::Array(Array {
            kind: *ValueKind::ALL.get(usize::from_value(kind)?)?,
            len: usize::from_value(len)?,
            bytes,
        }))
    }

    /// All keys and values in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        let all = *self;
        self.entries.entries.iter().filter_map(move |entry| {
            let key = std::str::from_utf8(&all.bytes[entry.key.clone()]).ok()?;
            Some((key, all.at(entry)?))
        })
    }

    /// The value of a key as a `T`: `u32`, `i32`, `u64`, `usize` (from integers of any width), `f32`, `bool`, `&str`, [`Array`], or a `Vec`
    /// of `u32`, `i32`, `f32`, `bool` or `&str`. `None` where the key is absent.
    ///
    /// # Errors
    ///
    /// [`GgufError::Value`], with key, value, type and what was expected, where the value is another.
    pub fn get<T: FromValue<'a>>(&self, key: &str) -> Result<Option<T>, GgufError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        match T::from_value(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(self.wrong(key, T::EXPECTED)),
        }
    }

    /// The value of a key that must be there.
    ///
    /// # Errors
    ///
    /// [`GgufError::Missing`], or as [`Metadata::get`].
    pub fn require<T: FromValue<'a>>(&self, key: &str) -> Result<T, GgufError> {
        self.get(key)?.ok_or_else(|| GgufError::Missing {
            file: self.file.to_owned(),
            key: key.to_owned(),
            expected: T::EXPECTED.to_owned(),
        })
    }

    /// A value for each of `layers` layers: one integer that holds for all, or an array of so many. `None` where the key is absent.
    ///
    /// # Errors
    ///
    /// [`GgufError::Value`] where it is something else, or an array of another length.
    pub fn per_layer(&self, key: &str, layers: usize) -> Result<Option<Vec<u32>>, GgufError> {
        let expected = || format!("an integer from 0, or an array of {layers} of them");
        match self.value(key) {
            None => Ok(None),
            Some(Value::Array(array)) if array.len() == layers => {
                let values = Vec::from_value(Value::Array(array));
                values.map(Some).ok_or_else(|| self.wrong(key, expected()))
            }
            Some(value) => match u32::from_value(value) {
                Some(one) => Ok(Some(vec![one; layers])),
                None => Err(self.wrong(key, expected())),
            },
        }
    }

    /// "Key … is missing", for whoever needs another value than one type.
    pub(crate) fn missing(&self, key: &str, expected: &str) -> GgufError {
        GgufError::Missing {
            file: self.file.to_owned(),
            key: key.to_owned(),
            expected: expected.to_owned(),
        }
    }

    /// "… is not supported", for whoever runs the model.
    pub(crate) fn unsupported(&self, what: String, reason: impl Into<String>) -> GgufError {
        GgufError::Unsupported {
            file: self.file.to_owned(),
            what,
            reason: reason.into(),
        }
    }

    /// "Key … is …; expected …", for whoever finds a value out of range.
    pub fn wrong(&self, key: &str, expected: impl Into<String>) -> GgufError {
        GgufError::Value {
            file: self.file.to_owned(),
            key: key.to_owned(),
            found: self
                .value(key)
                .map_or_else(|| "missing".to_owned(), |value| value.to_string()),
            expected: expected.into(),
        }
    }
}
