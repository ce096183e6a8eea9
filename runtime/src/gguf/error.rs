//! What can be wrong with a GGUF file, one variant for each check.
//!
//! Type ids of this format are claimed by several programs at once, and each refuses the files of the others with a number. So every
//! message here names the tensor, what was found, who writes such a thing, and what to do.

use thiserror::Error;

use super::types::TensorType;

/// Why a GGUF file, or something in it, cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file is missing or unreadable.
    #[error("{file}: cannot be read ({source}); expected a GGUF file")]
    Read {
        /// The path as given.
        file: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is sound but describes a model that tern does not run.
    #[error("{file}: {what} is not supported: {reason}")]
    Unsupported {
        /// The file.
        file: String,
        /// Key or tensor.
        what: String,
        /// Why, and what is supported.
        reason: String,
    },
    /// Zero bytes.
    #[error("{file}: the file is empty; download it again")]
    Empty {
        /// The file.
        file: String,
    },
    /// The first four bytes are not `GGUF`.
    #[error("{file}: not a GGUF file: it begins with {found}{hint}; expected \"GGUF\"")]
    Magic {
        /// The file.
        file: String,
        /// What stands there.
        found: String,
        /// What such a file is and what to do, in parentheses, or nothing.
        hint: &'static str,
    },
    /// All numbers are the other way round.
    #[error(
        "{file}: a big-endian GGUF file (its version reads {version:#010x}), written for another kind of machine; \
         tern reads little-endian files: download the usual one, or convert the model again without --bigendian"
    )]
    BigEndian {
        /// The file.
        file: String,
        /// The version as little endian.
        version: u32,
    },
    /// Another version of the format.
    #[error("{file}: GGUF version {version}; tern reads versions 2 and 3: {advice}")]
    Version {
        /// The file.
        file: String,
        /// The version found.
        version: u32,
        /// What to do.
        advice: &'static str,
    },
    /// The file ends too early.
    #[error(
        "{file}: truncated: it has {found} bytes, {what} needs {expected}; download the file again"
    )]
    Truncated {
        /// The file.
        file: String,
        /// Its length.
        found: u64,
        /// The length it would need.
        expected: u64,
        /// What does not fit.
        what: String,
    },
    /// A count or length that the rest of the file cannot hold.
    #[error(
        "{file}: {what} is {found}, the file has room for {limit} at most; it is damaged, download it again"
    )]
    Count {
        /// The file.
        file: String,
        /// What is counted.
        what: String,
        /// The number claimed.
        found: u64,
        /// The most that can be.
        limit: u64,
    },
    /// A metadata entry that cannot be understood.
    #[error("{file}: metadata key \"{key}\": {reason}; the file is damaged, download it again")]
    Entry {
        /// The file.
        file: String,
        /// The key, shortened.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A key that is needed is absent.
    #[error("{file}: metadata key \"{key}\" is missing; expected {expected}")]
    Missing {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// What should stand there.
        expected: String,
    },
    /// A key holds something else.
    #[error("{file}: metadata key \"{key}\" is {found}; expected {expected}")]
    Value {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// Value and type, shortened.
        found: String,
        /// What would have been accepted.
        expected: String,
    },
    /// A tensor's description is impossible.
    #[error("{file}: tensor \"{tensor}\": {reason}")]
    Tensor {
        /// The file.
        file: String,
        /// The tensor's name, shortened.
        tensor: String,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// A tensor type that tern does not read.
    #[error("{file}: tensor \"{tensor}\" has type {id}, {found}; {advice}")]
    ForeignType {
        /// The file.
        file: String,
        /// The tensor's name, shortened.
        tensor: String,
        /// The type id.
        id: u32,
        /// The name of the type and who writes it.
        found: String,
        /// Why it is refused, and what to do.
        advice: &'static str,
    },
    /// Tensors do not follow each other as their types and shapes say.
    #[error("{file}: tensor \"{tensor}\" has offset {found}, expected {expected}: {diagnosis}")]
    Offset {
        /// The file.
        file: String,
        /// The tensor's name, shortened.
        tensor: String,
        /// The offset in the file.
        found: u64,
        /// Where the tensors before it end.
        expected: u64,
        /// What that probably means.
        diagnosis: String,
    },
    /// Two tensors or two keys of one name.
    #[error("{file}: {what} \"{name}\" is there twice; the file is damaged, download it again")]
    Duplicate {
        /// The file.
        file: String,
        /// Tensor or key.
        what: &'static str,
        /// The name, shortened.
        name: String,
    },
    /// Type 42 stands for several layouts, and the offsets fit none or several of them.
    #[error(
        "{file}: tensor \"{tensor}\" has type 42, which stands for two layouts: {reason}; download the file again, or one of another type"
    )]
    Q2Layout {
        /// The file.
        file: String,
        /// The first tensor of that type.
        tensor: String,
        /// Why neither is sure.
        reason: String,
    },
    /// The weights are rotated.
    #[error(
        "{file}: metadata key \"{key}\": the weights are rotated by a Hadamard transform (PrismML's Bonsai-2), and activations would have \
         to be rotated too, which tern does not do yet; without it the text would be garbage: use a model without rotation"
    )]
    Hadamard {
        /// The file.
        file: String,
        /// The key that says so.
        key: String,
    },
    /// A model in several files that do not belong together, or are not all there.
    #[error("{file}: {reason}")]
    Split {
        /// The file.
        file: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// No tensor of that name.
    #[error("{file}: tensor \"{tensor}\" is missing; the model's architecture calls for it")]
    MissingTensor {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
    },
    /// A tensor that was to be read as trits has numbers of another kind.
    #[error(
        "{file}: tensor \"{tensor}\" is of type {kind}, which does not hold trits; expected a ternary type"
    )]
    NotTernary {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// Its type.
        kind: TensorType,
    },
    /// A code that is no trit.
    #[error("{file}: tensor \"{tensor}\" has code 3 in row {row}, column {column}: {meaning}")]
    Code3 {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// Row of the first such code.
        row: usize,
        /// Its column.
        column: usize,
        /// Whether the type allows it, and what to do.
        meaning: &'static str,
    },
    /// A scale that is infinite or not a number, or 0 where it stands for a whole matrix that has other weights than zeros.
    #[error(
        "{file}: tensor \"{tensor}\" has the scale {found} in row {row}; expected a finite number, not 0 for a whole matrix: the file is damaged, \
         download it again"
    )]
    Scale {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The row.
        row: usize,
        /// The scale.
        found: f32,
    },
}

/// Why numbers cannot be stored as a tensor type.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// tern only reads this type.
    #[error("tern does not write the type {kind}; expected one of {expected}")]
    Type {
        /// The type asked for.
        kind: TensorType,
        /// The types that it writes.
        expected: &'static str,
    },
    /// Blocks do not divide the row.
    #[error("{kind} stores blocks of {block} weights, a row of {found} is not a multiple of that")]
    Columns {
        /// The type.
        kind: TensorType,
        /// The row's length.
        found: usize,
        /// Weights of a block.
        block: usize,
    },
    /// A number that the type cannot hold, or cannot find a scale for.
    #[error("the weight {found} in column {column} is not finite, or too large for {kind}")]
    Range {
        /// The type.
        kind: TensorType,
        /// The number.
        found: f32,
        /// Its column.
        column: usize,
    },
    /// A value that is none of −1, 0 and 1.
    #[error("{found} in column {column} is no trit; expected -1, 0 or 1")]
    Trit {
        /// The value.
        found: i8,
        /// Its column.
        column: usize,
    },
}

/// Why a GGUF file could not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The system refused.
    #[error("the GGUF file cannot be written: {0}")]
    Write(#[from] std::io::Error),
    /// A name, shape or value that the format, or llama.cpp's reader of it, cannot hold.
    #[error("{what} \"{name}\": {reason}")]
    Entry {
        /// Key or tensor.
        what: &'static str,
        /// Its name.
        name: String,
        /// Why it cannot be written.
        reason: String,
    },
    /// Tensors must be written in the order of the header, each with all its bytes.
    #[error("{found} was given when {expected} was due")]
    Order {
        /// What was given.
        found: String,
        /// What the header announces.
        expected: String,
    },
}
