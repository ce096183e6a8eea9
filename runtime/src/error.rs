//! Everything that can go wrong, one enum per stage.
//!
//! Model files come from strangers, so every check has its own variant, and every message names
//! the file, what was found, what was expected and what to do. Mistakes of the calling program
//! (a buffer of the wrong length) are assertions instead.

use std::fmt;

use thiserror::Error;

/// Why a model could not be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file is missing or unreadable.
    #[error("{file}: cannot be read ({source}); expected {expected}")]
    Read {
        /// The path as given.
        file: String,
        /// What the file should have been.
        expected: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// There is nothing of this name.
    #[error("{path}: no such file or folder; expected {expected}")]
    NotThere {
        /// The path as given.
        path: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A folder without `config.json` that holds GGUF files.
    #[error("{folder}: no config.json, but a GGUF file: name the file itself as the model, {file}")]
    GgufInFolder {
        /// The folder.
        folder: String,
        /// The first of its files, by name.
        file: String,
    },
    /// A file is larger than any real file of its kind.
    #[error("{file}: {bytes} bytes, more than the {limit} expected of such a file; check the path")]
    TooLarge {
        /// The path as given.
        file: String,
        /// Its size.
        bytes: u64,
        /// The largest size accepted.
        limit: u64,
    },
    /// `config.json` or `generation_config.json` is wrong or asks for something tern cannot do.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights are damaged or do not fit the configuration.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// `tokenizer.json` is damaged or does not fit the model.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A GGUF file is damaged, or its model is not one that tern runs.
    #[error(transparent)]
    Gguf(#[from] crate::gguf::GgufError),
    /// The file of a packed model is of another kind or version, or damaged.
    #[error("{file}: {reason}")]
    Packed {
        /// The path as given.
        file: String,
        /// What it is, and what to do.
        reason: String,
    },
    /// The memory for a packed matrix could not be had, or its packing refused it.
    #[error("{matrix}: {reason}")]
    Pack {
        /// The tensor's name.
        matrix: String,
        /// What the kernels said.
        reason: String,
    },
}

/// What is wrong with a JSON configuration file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not JSON, or not a JSON object.
    #[error("{file}: not a JSON object ({reason}); download the file again")]
    Json {
        /// The file.
        file: String,
        /// The parser's message, with line and column.
        reason: String,
    },
    /// A required key is absent.
    #[error("{file}: key \"{key}\" is missing; expected {expected}")]
    Missing {
        /// The file.
        file: String,
        /// The key, with dots between levels.
        key: String,
        /// What should stand there.
        expected: String,
    },
    /// A key holds something impossible.
    #[error("{file}: \"{key}\" is {found}; expected {expected}")]
    Value {
        /// The file.
        file: String,
        /// The key, with dots between levels.
        key: String,
        /// The value as it stands in the file, shortened.
        found: String,
        /// What would have been accepted.
        expected: String,
    },
    /// The file is sound but describes a model that tern does not run.
    #[error("{file}: {what} is not supported: {reason}")]
    Unsupported {
        /// The file.
        file: String,
        /// Key and value.
        what: String,
        /// Why, and what is supported.
        reason: String,
    },
}

/// What is wrong with a safetensors file or with a tensor in it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Zero bytes.
    #[error("{file}: the file is empty; download it again")]
    Empty {
        /// The file.
        file: String,
    },
    /// The file is of another format, which tern does not read.
    #[error("{file}: this is a GGUF file under another's name; name the file itself as the model")]
    Gguf {
        /// The file.
        file: String,
    },
    /// The few lines that stand for a large file in a Git repository.
    #[error("{file}: a Git LFS pointer, not the file itself: download it with `git lfs pull`")]
    LfsPointer {
        /// The file.
        file: String,
    },
    /// The file ends before its header or its last tensor.
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
        /// The header or a tensor's name.
        what: String,
    },
    /// The first bytes are not those of a safetensors file.
    #[error("{file}: not a safetensors file: {found}; expected {expected}")]
    Magic {
        /// The file.
        file: String,
        /// What stands there.
        found: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// The header length is beyond what any real file has.
    #[error(
        "{file}: header of {found} bytes, at most {limit} are accepted; this is not a sound safetensors file"
    )]
    HeaderTooLarge {
        /// The file.
        file: String,
        /// The claimed length.
        found: u64,
        /// The largest length accepted.
        limit: u64,
    },
    /// The header is inconsistent.
    #[error("{file}: damaged safetensors header: {reason}; download the file again")]
    Header {
        /// The file.
        file: String,
        /// What is inconsistent.
        reason: String,
    },
    /// `model.safetensors.index.json` is wrong.
    #[error("{file}: {reason}")]
    Index {
        /// The index file.
        file: String,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A tensor that the configuration calls for is not there.
    #[error("{file}: tensor \"{tensor}\" is missing; the configuration calls for {expected}")]
    Missing {
        /// The file or folder searched.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// Its dtype and shape.
        expected: String,
    },
    /// A tensor's shape contradicts the configuration.
    #[error(
        "{file}: tensor \"{tensor}\" has shape {found:?}, the configuration calls for {expected:?}"
    )]
    Shape {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that config.json implies.
        expected: Vec<usize>,
    },
    /// A tensor's element type is not usable here.
    #[error("{file}: tensor \"{tensor}\" has dtype {found}; expected {expected}")]
    Dtype {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The dtype in the file.
        found: String,
        /// The dtypes accepted.
        expected: &'static str,
    },
    /// A tensor holds a value that cannot be.
    #[error("{file}: tensor \"{tensor}\" holds {found}; expected {expected}")]
    Value {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The value, and where it stands.
        found: String,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// A tensor is there that the model would ignore although it changes the result.
    #[error("{file}: tensor \"{tensor}\" is not supported: {reason}")]
    Unsupported {
        /// The file.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// Why.
        reason: &'static str,
    },
}

/// What is wrong with the tokenizer or with a text given to it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// `tokenizer.json` could not be understood.
    #[error("{file}: not a usable tokenizer.json ({reason}); download the file again")]
    Parse {
        /// The file.
        file: String,
        /// The parser's message.
        reason: String,
    },
    /// The lists of a vocabulary are damaged, or it is of a kind that tern does not run.
    #[error("{file}: no usable tokenizer: {reason}")]
    Lists {
        /// The file.
        file: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The tokenizer can produce ids that have no embedding.
    #[error(
        "{file}: token \"{token}\" has id {id}, but the model's embedding has only {rows} rows \
         (vocab_size in config.json, or the rows of token_embd.weight in a GGUF file); the tokenizer belongs to another model"
    )]
    Vocabulary {
        /// The file.
        file: String,
        /// The token with the highest id.
        token: String,
        /// Its id.
        id: u32,
        /// Rows of the embedding.
        rows: usize,
    },
    /// The model has no tokenizer.
    #[error(
        "{model}: no tokenizer.json (nor tokenizer.model), so text cannot be read or written; give token ids instead"
    )]
    Absent {
        /// The model's name.
        model: String,
    },
    /// Parts of `tokenizer.json` refer to each other wrongly.
    #[error("{file}: the tokenizer contradicts itself, so the file is damaged; download it again")]
    Contradiction {
        /// The file.
        file: String,
    },
    /// A text could not be encoded or ids could not be decoded.
    #[error("the tokenizer failed: {0}")]
    Failed(String),
    /// The model is a GGUF file without one.
    #[error(
        "{model}: no tokenizer.ggml.tokens in its metadata, so text cannot be read or written; give token ids instead"
    )]
    AbsentInGguf {
        /// The model's name.
        model: String,
    },
}

/// The system refused to start the engine's threads.
#[derive(Debug, Error)]
#[error("cannot start {threads} threads: {source}; use fewer")]
pub struct EngineError {
    /// Threads asked for.
    pub threads: usize,
    /// The system's reason.
    pub source: std::io::Error,
}

/// Why [`Engine::step`](crate::Engine::step) refused its work. No sequence has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StepError {
    /// A token id without an embedding.
    #[error("token id {token} is out of range; the model's vocabulary has {vocab_size} ids, 0 to {}", vocab_size - 1)]
    TokenOutOfRange {
        /// The id.
        token: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// The sequence would outgrow the model's context.
    #[error(
        "{tokens} more tokens after {length} do not fit the model's context of {context}; shorten the prompt"
    )]
    ContextFull {
        /// Positions already held.
        length: usize,
        /// Tokens to add.
        tokens: usize,
        /// The model's context length.
        context: usize,
    },
    /// A work without tokens.
    #[error("no tokens to process; a step needs at least one for each sequence")]
    NoTokens,
    /// Memory for buffers could not be had.
    #[error("{0}")]
    Memory(String),
    /// The sequence was made for a model of other dimensions, or keeps keys and values in another type.
    #[error(
        "the sequence was made for a model of other dimensions or another type of cache; use Model::sequence of this engine's model"
    )]
    ForeignSequence,
}

/// Why generation stopped with an error.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The model needs at least one token to predict from.
    #[error("the prompt is empty: no tokens to continue from; give some text or a token id")]
    EmptyPrompt,
    /// The prompt alone fills the context.
    #[error(
        "the prompt has {prompt} tokens and {length} are already in the sequence, but the model's \
         context is {context}; shorten the prompt"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt: usize,
        /// Positions already held.
        length: usize,
        /// The model's context length.
        context: usize,
    },
    /// An empty stop string would stop everything.
    #[error("a stop string is empty; leave it out")]
    EmptyStop,
    /// Every logit is infinite or not a number.
    #[error(
        "the model predicts nothing finite; keep keys and values in f32 (`--kv f32`), and if that does not help, its weights are damaged: \
         download them again"
    )]
    NotFinite,
    /// A sampling option is out of range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The engine refused a step.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// A sampling option out of its range.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{option} is {found}; expected {expected}")]
pub struct SamplingError {
    /// The option's name.
    pub option: &'static str,
    /// The value given.
    pub found: f32,
    /// The values accepted.
    pub expected: &'static str,
}

/// Why a text could not be scored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PerplexityError {
    /// A window must hold a token to predict and one to predict it from.
    #[error(
        "a window of {context} tokens is out of range; expected 2 to {limit} (the model's context)"
    )]
    Context {
        /// The window length asked for.
        context: usize,
        /// The model's context length.
        limit: usize,
    },
    /// The text is too short.
    #[error("the text has {tokens} tokens; at least 2 are needed to predict one from another")]
    TooShort {
        /// Tokens of the text.
        tokens: usize,
    },
    /// A logit is infinite or not a number.
    #[error(
        "the model predicts nothing finite; keep keys and values in f32 (`--kv f32`), and if that does not help, its weights are damaged: \
         download them again"
    )]
    NotFinite,
    /// The engine refused a step.
    #[error(transparent)]
    Step(#[from] StepError),
}

/// Why a conversation could not go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The messages no longer fit the model.
    #[error(
        "the conversation has {tokens} tokens, but the model's context is {context}, and the answer needs room too; begin anew, or shorten the \
         message"
    )]
    TooLong {
        /// Tokens of the conversation up to the answer.
        tokens: usize,
        /// The model's context length.
        context: usize,
    },
    /// The template writes nothing at all.
    #[error(
        "the chat template makes an empty prompt of this conversation; name another one with --template"
    )]
    Empty,
    /// The template failed.
    #[error(transparent)]
    Template(#[from] crate::chat::TemplateError),
    /// The tokenizer failed, or there is none.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// Generation failed.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

/// Shortens a value from a file so that a hostile one cannot flood the terminal.
pub(crate) fn shorten(value: impl fmt::Display) -> String {
    const LIMIT: usize = 60;
    let text = value.to_string();
    // Control characters would let a file move the reader's cursor.
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    match clean.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}
