//! Where each tensor's bytes are, and how that tells two layouts of one type id apart.
//!
//! Tensors follow each other in the order of the list, each padded to the alignment, so offsets are sums of sizes: an offset that is not
//! such a sum proves that a type has another size here than there. Offsets are therefore never merely believed. For id 42 both
//! sizes in use are tried (llama.cpp's 18 bytes for 64 weights, PrismML's earlier 34 for 128), and the one that fits all offsets is right.

use super::error::GgufError;
use super::foreign;
use super::header::{Header, RawTensor};
use super::types::{I2sLayout, TensorType};
use crate::error::shorten;

/// A tensor's type and its bytes in the file, from `start` to `end`.
pub(super) struct Placed {
    pub kind: TensorType,
    pub start: u64,
    pub end: u64,
}

/// What stands behind id 42 in one attempt.
const Q2_LAYOUTS: [TensorType; 2] = [TensorType::Q2_0, TensorType::Q2_0Group128];

/// One file's tensors and how to read them.
pub(super) struct Layout<'a> {
    pub file: &'a str,
    pub header: &'a Header,
    /// Bytes of the file.
    pub len: u64,
    pub i2s: I2sLayout,
}

impl Layout<'_> {
    /// Places all tensors. The note says which layout of id 42 was taken and why, where there was a choice.
    pub fn place(&self) -> Result<(Vec<Placed>, Option<String>), GgufError> {
        let tensors = &self.header.tensors;
        let Some(first) = tensors.iter().find(|raw| raw.id == TensorType::Q2_0.id()) else {
            let placed = self.attempt(TensorType::Q2_0)?;
            self.check_end(&placed)?;
            return Ok((placed, None));
        };
        let wrong = |reason: String| GgufError::Q2Layout {
            file: self.file.to_owned(),
            tensor: shorten(&first.name),
            reason,
        };
        let (placed, reason) = match Q2_LAYOUTS.map(|layout| self.attempt(layout)) {
            [Ok(placed), Err(_)] | [Err(_), Ok(placed)] => (placed, "all offsets fit that alone"),
            [Ok(small), Ok(large)] => {
                // Only the last tensor is of this type, so only the end of the file can tell.
                let fits = [self.ends_file(&small), self.ends_file(&large)];
                match fits {
                    [true, false] => (small, "the file ends where that ends"),
                    [false, true] => (large, "the file ends where that ends"),
                    _ => {
                        return Err(wrong(
                            "the offsets fit both, and the file's length does not tell them apart"
                                .to_owned(),
                        ));
                    }
                }
            }
            [Err(small), Err(large)] => return Err(self.neither(&wrong, small, large)),
        };
        self.check_end(&placed)?;
        let kind = placed.iter().map(|placed| placed.kind);
        let kind = kind.into_iter().find(|kind| kind.id() == first.id);
        let note = kind.map(|kind| {
            format!(
                "type 42 is read as blocks of {} weights: {reason}",
                kind.block()
            )
        });
        Ok((placed, note))
    }

    /// Both attempts failed: with the same message where the reason is not type 42.
    fn neither(
        &self,
        wrong: &dyn Fn(String) -> GgufError,
        small: GgufError,
        large: GgufError,
    ) -> GgufError {
        match (small, large) {
            (
                GgufError::Offset {
                    tensor,
                    found,
                    expected: small,
                    ..
                },
                GgufError::Offset {
                    tensor: second,
                    expected: large,
                    ..
                },
            ) if small != large || tensor != second => {
                let namesakes = foreign::namesake(42).unwrap_or_default();
                wrong(format!(
                    "offsets fit neither blocks of 64 weights in 18 bytes nor of 128 in 34 (tensor \"{tensor}\" begins at {found}, not at \
                     {small} or {large}); {namesakes}"
                ))
            }
            (small, _) => small,
        }
    }

    fn ends_file(&self, placed: &[Placed]) -> bool {
        let Some(last) = placed.last() else {
            return false;
        };
        // A sound end is within the file.
        last.end == self.len
            || last.end <= self.len && last.end.next_multiple_of(self.header.alignment) == self.len
    }

    fn attempt(&self, q2: TensorType) -> Result<Vec<Placed>, GgufError> {
        let Header {
            tensors,
            alignment,
            data_start,
            ..
        } = self.header;
        let mut placed: Vec<Placed> = Vec::new();
        let mut offset = 0u64;
        for (index, raw) in tensors.iter().enumerate() {
            let kind = self.kind(raw, q2)?;
            let wrong = |reason: String| GgufError::Tensor {
                file: self.file.to_owned(),
                tensor: shorten(&raw.name),
                reason,
            };
            if raw.offset != offset {
                let before = index.checked_sub(1).map(|before| &tensors[before]);
                let kind_before = placed.last().map(|placed| placed.kind);
                return Err(self.misplaced(raw, offset, before.zip(kind_before)));
            }
            let bytes = kind.bytes(raw.dims()).map_err(wrong)?;
            let too_large = || {
                wrong(format!(
                    "{bytes} bytes from offset {offset} are more than can be; the file is damaged, download it again"
                ))
            };
            let start = data_start.checked_add(offset).ok_or_else(too_large)?;
            let end = start.checked_add(bytes).ok_or_else(too_large)?;
            placed.push(Placed { kind, start, end });
            offset = offset
                .checked_add(bytes)
                .and_then(|end| end.checked_next_multiple_of(*alignment))
                .ok_or_else(too_large)?;
        }
        Ok(placed)
    }

    fn kind(&self, raw: &RawTensor, q2: TensorType) -> Result<TensorType, GgufError> {
        match TensorType::of_id(raw.id) {
            Some(TensorType::I2s(_)) => Ok(TensorType::I2s(self.i2s)),
            Some(TensorType::Q2_0) => Ok(q2),
            Some(kind) => Ok(kind),
            None => {
                let foreign = foreign::describe(raw.id);
                Err(GgufError::ForeignType {
                    file: self.file.to_owned(),
                    tensor: shorten(&raw.name),
                    // As the file's own signed number where it is negative, the id says little.
                    id: raw.id,
                    found: foreign.found,
                    advice: foreign.advice,
                })
            }
        }
    }

    fn misplaced(
        &self,
        raw: &RawTensor,
        expected: u64,
        before: Option<(&RawTensor, TensorType)>,
    ) -> GgufError {
        let diagnosis = match before {
            None => {
                "it is the first, and must begin the data; the file is damaged, download it again"
                    .to_owned()
            }
            Some((before, kind)) => {
                let name = shorten(&before.name);
                let relation = match raw.offset < expected {
                    true => format!("it lies over \"{name}\""),
                    false => format!("bytes are left over behind \"{name}\""),
                };
                match foreign::namesake(kind.id()) {
                    Some(namesake) => {
                        format!("{relation}, whose type has another size here: type {namesake}")
                    }
                    None => format!(
                        "{relation} of type {kind}; the file is damaged, or its writer gives that type another size: download it again"
                    ),
                }
            }
        };
        GgufError::Offset {
            file: self.file.to_owned(),
            tensor: shorten(&raw.name),
            found: raw.offset,
            expected,
            diagnosis,
        }
    }

    fn check_end(&self, placed: &[Placed]) -> Result<(), GgufError> {
        let beyond = placed.iter().position(|placed| placed.end > self.len);
        let Some(index) = beyond else {
            return Ok(());
        };
        Err(GgufError::Truncated {
            file: self.file.to_owned(),
            found: self.len,
            expected: placed[index].end,
            what: format!("tensor \"{}\"", shorten(&self.header.tensors[index].name)),
        })
    }
}
