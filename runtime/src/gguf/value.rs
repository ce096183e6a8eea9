//! Values of the metadata: thirteen types by id, and what they convert to.
//!
//! Writers disagree on the width of integers (the format's text says 64 bits where files have 32), so any width converts to any other that
//! holds the number; other conversions are refused with both types named.

use std::fmt;

use crate::error::shorten;

/// The type of a value, by its id in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// 8 bits without sign.
    U8,
    /// 8 bits.
    I8,
    /// 16 bits without sign.
    U16,
    /// 16 bits.
    I16,
    /// 32 bits without sign.
    U32,
    /// 32 bits.
    I32,
    /// A 32-bit float.
    F32,
    /// 0 or 1 in a byte.
    Bool,
    /// A length and so many bytes.
    String,
    /// Values of one other type.
    Array,
    /// 64 bits without sign.
    U64,
    /// 64 bits.
    I64,
    /// A 64-bit float.
    F64,
}

impl ValueKind {
    /// In the order of their ids, from 0.
    pub(super) const ALL: [ValueKind; 13] = [
        ValueKind::U8,
        ValueKind::I8,
        ValueKind::U16,
        ValueKind::I16,
        ValueKind::U32,
        ValueKind::I32,
        ValueKind::F32,
        ValueKind::Bool,
        ValueKind::String,
        ValueKind::Array,
        ValueKind::U64,
        ValueKind::I64,
        ValueKind::F64,
    ];
    const NAMES: [&str; 13] = [
        "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64",
        "f64",
    ];

    pub(super) const fn id(self) -> u32 {
        self as u32
    }

    const fn name(self) -> &'static str {
        ValueKind::NAMES[self as usize]
    }

    /// Bytes of a value; of a string those of its length.
    pub(super) const fn size(self) -> usize {
        match self {
            ValueKind::U8 | ValueKind::I8 | ValueKind::Bool => 1,
            ValueKind::U16 | ValueKind::I16 => 2,
            ValueKind::U32 | ValueKind::I32 | ValueKind::F32 => 4,
            ValueKind::U64 | ValueKind::I64 | ValueKind::F64 | ValueKind::String => 8,
            ValueKind::Array => 12,
        }
    }
}

/// A value of the metadata. Strings are bytes here; [`super::Metadata::get`] checks that they are UTF-8.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// 8 bits without sign.
    U8(u8),
    /// 8 bits.
    I8(i8),
    /// 16 bits without sign.
    U16(u16),
    /// 16 bits.
    I16(i16),
    /// 32 bits without sign.
    U32(u32),
    /// 32 bits.
    I32(i32),
    /// A 32-bit float.
    F32(f32),
    /// True or false.
    Bool(bool),
    /// A string.
    String(&'a [u8]),
    /// Values of one type.
    Array(Array<'a>),
    /// 64 bits without sign.
    U64(u64),
    /// 64 bits.
    I64(i64),
    /// A 64-bit float.
    F64(f64),
}

impl<'a> Value<'a> {
    /// The first value of a type in `bytes`, and the rest. Nothing where the bytes end before it.
    pub(super) fn split(kind: ValueKind, bytes: &'a [u8]) -> Option<(Value<'a>, &'a [u8])> {
        let (own, rest) = bytes.split_at_checked(kind.size())?;
        let unsigned = || {
            let mut eight = [0; 8];
            eight[..own.len()].copy_from_slice(own);
            u64::from_le_bytes(eight)
        };
        let value = match kind {
            ValueKind::U8 => Value::U8(unsigned() as u8),
            ValueKind::I8 => Value::I8(unsigned() as i8),
            ValueKind::U16 => Value::U16(unsigned() as u16),
            ValueKind::I16 => Value::I16(unsigned() as i16),
            ValueKind::U32 => Value::U32(unsigned() as u32),
            ValueKind::I32 => Value::I32(unsigned() as i32),
            ValueKind::F32 => Value::F32(f32::from_bits(unsigned() as u32)),
            ValueKind::Bool => Value::Bool(unsigned() != 0),
            ValueKind::U64 => Value::U64(unsigned()),
            ValueKind::I64 => Value::I64(unsigned() as i64),
            ValueKind::F64 => Value::F64(f64::from_bits(unsigned())),
            ValueKind::String => {
                let len = usize::try_from(unsigned()).ok()?;
                let (text, rest) = rest.split_at_checked(len)?;
                return Some((Value::String(text), rest));
            }
            ValueKind::Array => return None,
        };
        Some((value, rest))
    }

    /// Its type.
    pub(super) fn kind(&self) -> ValueKind {
        match self {
            Value::U8(_) => ValueKind::U8,
            Value::I8(_) => ValueKind::I8,
            Value::U16(_) => ValueKind::U16,
            Value::I16(_) => ValueKind::I16,
            Value::U32(_) => ValueKind::U32,
            Value::I32(_) => ValueKind::I32,
            Value::U64(_) => ValueKind::U64,
            Value::I64(_) => ValueKind::I64,
            Value::F32(_) => ValueKind::F32,
            Value::F64(_) => ValueKind::F64,
            Value::Bool(_) => ValueKind::Bool,
            Value::String(_) => ValueKind::String,
            Value::Array(_) => ValueKind::Array,
        }
    }

    /// An integer of any width.
    pub fn integer(self) -> Option<i128> {
        Some(match self {
            Value::U8(x) => x.into(),
            Value::I8(x) => x.into(),
            Value::U16(x) => x.into(),
            Value::I16(x) => x.into(),
            Value::U32(x) => x.into(),
            Value::I32(x) => x.into(),
            Value::U64(x) => x.into(),
            Value::I64(x) => x.into(),
            _ => return None,
        })
    }
}

/// The value and its type, for messages: shortened.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::F32(x) => write!(f, "{x} (f32)"),
            Value::F64(x) => write!(f, "{x} (f64)"),
            Value::Bool(x) => write!(f, "{x} (bool)"),
            Value::String(text) => {
                let start = &text[..text.len().min(256)];
                let text = shorten(String::from_utf8_lossy(start));
                write!(f, "\"{text}\" (string)")
            }
            Value::Array(array) => write!(f, "an array of {} {}", array.len, array.kind.name()),
            _ => write!(
                f,
                "{} ({})",
                self.integer().unwrap_or(0),
                self.kind().name()
            ),
        }
    }
}

/// An array of the metadata.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    pub(super) kind: ValueKind,
    pub(super) len: usize,
    pub(super) bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// Number of its values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its values in order.
    pub fn iter(self) -> impl Iterator<Item = Value<'a>> {
        let mut rest = self.bytes;
        (0..self.len).map_while(move |_| {
            let (value, after) = Value::split(self.kind, rest)?;
            rest = after;
            Some(value)
        })
    }
}

/// A type that metadata values convert to.
pub trait FromValue<'a>: Sized {
    /// What a message says that it expected.
    const EXPECTED: &'static str;

    /// The value, or nothing where it is another.
    fn from_value(value: Value<'a>) -> Option<Self>;
}

macro_rules! from_integer {
    ($($type:ty, $expected:literal;)*) => {$(
        impl FromValue<'_> for $type {
            const EXPECTED: &'static str = $expected;

            fn from_value(value: Value<'_>) -> Option<$type> {
                <$type>::try_from(value.integer()?).ok()
            }
        }
    )*};
}

from_integer! {
    u32, "an integer from 0 to 4294967295";
    i32, "an integer from -2147483648 to 2147483647";
    u64, "an integer from 0 to 18446744073709551615";
    usize, "an integer from 0";
}

impl FromValue<'_> for f32 {
    const EXPECTED: &'static str = "a number";

    fn from_value(value: Value<'_>) -> Option<f32> {
        match value {
            Value::F32(x) => Some(x),
            Value::F64(x) => Some(x as f32),
            // Some writers store a whole number as an integer.
            other => other.integer().map(|x| x as f32),
        }
    }
}

impl FromValue<'_> for bool {
    const EXPECTED: &'static str = "true or false (bool)";

    fn from_value(value: Value<'_>) -> Option<bool> {
        match value {
            Value::Bool(x) => Some(x),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a string of UTF-8";

    fn from_value(value: Value<'a>) -> Option<&'a str> {
        match value {
            Value::String(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for Array<'a> {
    const EXPECTED: &'static str = "an array";

    fn from_value(value: Value<'a>) -> Option<Array<'a>> {
        match value {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }
}

macro_rules! from_array {
    ($($type:ty, $expected:literal;)*) => {$(
        impl<'a> FromValue<'a> for Vec<$type> {
            const EXPECTED: &'static str = $expected;

            fn from_value(value: Value<'a>) -> Option<Vec<$type>> {
                match value {
                    Value::Array(array) => array.iter().map(<$type>::from_value).collect(),
                    _ => None,
                }
            }
        }
    )*};
}

from_array! {
    u32, "an array of integers from 0 to 4294967295";
    i32, "an array of integers from -2147483648 to 2147483647";
    f32, "an array of numbers";
    bool, "an array of true and false (bool)";
    &'a str, "an array of UTF-8 strings";
}
