//! Loads ternary language models and turns prompts into tokens.
//!
//! A [`Model`] is immutable: configuration, packed weights, tokenizer. A [`Sequence`] is one text in
//! progress and holds its keys and values. An [`Engine`] owns the threads and advances sequences;
//! everything is one call, [`Engine::step`], with one or more tokens of one or more sequences: a
//! prompt, a decoded token, a batch.
//!
//! Models are read as published on Hugging Face: BitNet (packed or master weights), Llama and Qwen3 with `quant_method` bitnet, and
//! Llama and Qwen3 whose floats are ternary. Logits are those of `transformers` in `f32` (the last kind's within the rounding of int8
//! activations by groups), and their bits do not depend
//! on the kernel, the threads, the instruction set, the batch or how a prompt is cut: integer sums
//! are exact, and every float operation has a fixed order (module `ops`).
//!
//! # Example
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//! use std::sync::atomic::AtomicBool;
//!
//! use tern_kernels::{Cpu, Planner};
//! use tern_runtime::{Engine, GenerateOptions, LoadOptions, Logits, Model, Work, generate};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/bitnet-tiny-packed");
//! // The planner chooses a kernel for every matrix; without a profile by a closed form.
//! let planner = Planner::new(Cpu::detect(), None, None)?;
//! let model = Arc::new(Model::load(Path::new(folder), &LoadOptions::new(planner))?);
//! let mut engine = Engine::new(Arc::clone(&model))?;
//!
//! // Text in, text out.
//! let prompt = model.tokenizer()?.encode("Once upon a time", true)?;
//! let options = GenerateOptions { max_tokens: 8, ..GenerateOptions::default() };
//! let mut sequence = model.sequence();
//! let cancel = AtomicBool::new(false);
//! let output = generate(&mut engine, &mut sequence, &prompt, &options, &cancel, &mut |piece| {
//!     print!("{piece}");
//! })?;
//! println!("\n{} tokens, {:.0} a second", output.tokens.len(), output.stats.generate_rate());
//!
//! // Or token by token: two texts advance in one step.
//! let (mut one, mut two) = (model.sequence(), model.sequence());
//! let step = engine.step(&mut [
//!     Work { sequence: &mut one, tokens: &[24, 42], logits: Logits::Last },
//!     Work { sequence: &mut two, tokens: &[7], logits: Logits::All },
//! ])?;
//! assert_eq!(step.last(0).len(), model.config().vocab_size);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Inside
//!
//! `forward` reads like the paper; `linear` is the ternary product with its scales; `ops` holds the
//! float operations, one per file; `weights` packs a `checkpoint`'s tensors as `config` and the
//! planner say.

pub mod chat;
mod checkpoint;
mod clock;
pub mod config;
pub mod convert;
mod dense;
mod element;
mod engine;
pub mod error;
mod exact;
mod forward;
#[doc(hidden)]
pub mod fuzzing;
mod generate;
#[doc(hidden)]
pub mod gguf;
mod gguf_model;
mod head;
mod header;
mod inspect;
mod json;
mod linear;
mod model;
mod note;
mod ops;
pub mod packed;
mod parallel;
mod perplexity;
mod product;
mod random;
mod read_options;
mod sample;
mod sequence;
pub mod synth;
mod tensors;
mod ternary;
mod text;
mod tokenizer;
mod trace;
mod trits;
mod weights;

#[doc(hidden)]
pub use checkpoint::walk_safetensors;
pub use clock::{Activity, Times};
pub use config::Config;
pub use engine::{Engine, HeadUse, Logits, StepOutput, Work};
pub use error::{
    ChatError, EngineError, GenerateError, LoadError, PerplexityError, SamplingError, StepError,
    TokenizerError,
};
pub use generate::{Finish, GenerateOptions, Generated, Stats, generate};
pub use gguf::I2sLayout;
pub use inspect::{Bytes, Matrix, PackedSummary, Parameters, Summary, inspect};
pub use linear::ScalesFound;
pub use model::{HeadMode, LayerMatrix, LoadOptions, Model, ModelBytes, Progress, Residence};
pub use packed::{PackFileError, pack};
pub use perplexity::{Perplexity, perplexity};
pub use read_options::ReadOptions;
pub use sample::{Sampler, Sampling};
pub use sequence::{KvType, Sequence};
pub use tokenizer::{DecodeStream, Tokenizer, Vocabulary, tokenizer_panic_is_contained};
pub use trace::{Event, Observer};
