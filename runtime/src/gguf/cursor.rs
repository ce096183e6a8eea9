//! Reading numbers and strings from bytes, never beyond their end.

use super::error::GgufError;

/// A place in a file.
pub(super) struct Cursor<'a> {
    /// What messages call the file.
    pub file: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(file: &'a str, bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { file, bytes, at: 0 }
    }

    /// Bytes from the file's beginning.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes that follow.
    pub fn remaining(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// The next `len` bytes; `what` says in messages what they were to be.
    pub fn take(&mut self, len: u64, what: &str) -> Result<&'a [u8], GgufError> {
        if len > self.remaining() {
            return Err(GgufError::Truncated {
                file: self.file.to_owned(),
                found: self.bytes.len() as u64,
                expected: (self.at as u64).saturating_add(len),
                what: what.to_owned(),
            });
        }
        // No longer than the bytes that remain, so a usize.
        let end = self.at + len as usize;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    pub fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A number of things of at least `least` bytes each, refused where the rest of the file cannot hold so many.
    pub fn count(&mut self, least: u64, what: &str) -> Result<u64, GgufError> {
        let found = self.u64(what)?;
        let limit = self.remaining() / least;
        self.at_most(found, limit, || what.to_owned())
    }

    /// A string of at most `longest` bytes, after its length.
    pub fn string(&mut self, longest: u64, what: &str) -> Result<&'a [u8], GgufError> {
        let len = self.u64(what)?;
        let limit = self.remaining().min(longest);
        self.at_most(len, limit, || format!("the length of {what}"))?;
        self.take(len, what)
    }

    /// The words are made only for a message: a vocabulary has 300,000 strings.
    fn at_most(
        &self,
        found: u64,
        limit: u64,
        what: impl FnOnce() -> String,
    ) -> Result<u64, GgufError> {
        if found <= limit {
            return Ok(found);
        }
        Err(GgufError::Count {
            file: self.file.to_owned(),
            what: what(),
            found,
            limit,
        })
    }
}
