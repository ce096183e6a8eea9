//! The wire format of protocol buffers: fields of a message one after the other, each a number, a kind and a value.
//!
//! Messages come from strangers' files. So nothing is copied or reserved by what a length claims, a length is at most what is left, and a
//! message inside of another one is only bytes until its reader asks for its fields: there is nothing here that calls itself.
//! The format: <https://protobuf.dev/programming-guides/encoding/>.

/// Longest encoding of a 64-bit number, at seven bits a byte.
const VARINT: usize = 10;

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Integers, booleans and enumerations.
    Varint(u64),
    /// `float` and `fixed32`, as bits.
    Fixed32(u32),
    /// `double` and `fixed64`, as bits.
    Fixed64(u64),
    /// Strings, bytes and messages.
    Bytes(&'a [u8]),
}

/// Walks through the fields of a message.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Of a message.
    pub fn of(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }

    fn bytes(&mut self, len: u64) -> Result<&'a [u8], String> {
        let left = self.rest.len();
        let at = usize::try_from(len).ok();
        let split = at.and_then(|len| self.rest.split_at_checked(len));
        let (value, rest) =
            split.ok_or_else(|| format!("a value of {len} bytes begins where {left} are left"))?;
        self.rest = rest;
        Ok(value)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N as u64)?);
        Ok(array)
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut number = 0;
        for index in 0..VARINT {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if index == VARINT - 1 && byte > 1 {
                break;
            }
            number |= bits << (7 * index);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number is longer than 64 bits".to_owned())
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), String> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).unwrap_or(0);
        if number == 0 || number >= 1 << 29 {
            return Err(format!("a field has the number {}", tag >> 3));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.bytes(len)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            kind => return Err(format!("field {number} is of the wire type {kind}")),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), String>;

    /// The next field. After an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Appends a field to a message.
pub(super) fn put(message: &mut Vec<u8>, number: u32, value: Value<'_>) {
    let kind = match value {
        Value::Varint(_) => 0,
        Value::Fixed64(_) => 1,
        Value::Bytes(_) => 2,
        Value::Fixed32(_) => 5,
    };
    put_varint(message, u64::from(number) << 3 | kind);
    match value {
        Value::Varint(number) => put_varint(message, number),
        Value::Fixed32(bits) => message.extend(bits.to_le_bytes()),
        Value::Fixed64(bits) => message.extend(bits.to_le_bytes()),
        Value::Bytes(bytes) => {
            put_varint(message, bytes.len() as u64);
            message.extend(bytes);
        }
    }
}

fn put_varint(message: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        message.push(number as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(message: &[u8]) -> String {
        Fields::of(message).find_map(Result::err).unwrap()
    }

    #[test]
    fn fields_are_read_as_they_were_written() {
        let values = [
            (1, Value::Varint(0)),
            (15, Value::Varint(300)),
            (16, Value::Varint(u64::MAX)),
            (2, Value::Fixed32(0x0102_0304)),
            (3, Value::Fixed64(u64::MAX - 1)),
            ((1 << 29) - 1, Value::Bytes(b"")),
            (4, Value::Bytes(&[7; 200])),
        ];
        let mut message = Vec::new();
        for (number, value) in values {
            put(&mut message, number, value);
        }
        let read: Result<Vec<_>, _> = Fields::of(&message).collect();
        assert_eq!(read.unwrap(), values);
        assert_eq!(Fields::of(b"").count(), 0);
    }

    #[test]
    fn what_is_no_message_is_refused_once() {
        assert!(error(b"\x0a\x05abcd").contains("5 bytes begins where 4 are left"));
        assert!(
            error(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").contains("18446744073709551615")
        );
        assert!(error(b"\x0a\x80\x80").contains("1 bytes begins where 0"));
        assert!(
            error(&[b"\x08".as_slice(), &[0xff; 9], b"\x02"].concat()).contains("64 bits"),
            "a bit beyond the 64th"
        );
        assert!(error(&[b"\x08".as_slice(), &[0x80; 10], b"\x00"].concat()).contains("64 bits"));
        assert!(error(b"\x0d\x00\x00\x00").contains("4 bytes begins where 3"));
        assert!(error(b"\x02\x00").contains("number 0"));
        assert!(error(b"\x80\x80\x80\x80\x10\x00").contains("number 536870912"));
        for (group, kind) in [(b"\x0b", 3), (b"\x0c", 4), (b"\x0e", 6), (b"\x0f", 7)] {
            assert!(error(group).contains(&format!("wire type {kind}")));
        }
        assert_eq!(Fields::of(b"\x0b\x0b\x0b").count(), 1);
    }
}
