//! A GGUF file as a model: everything that a command does with one, from hyper-parameters to logits.
//!
//! The container's reader proves that tensors are where they are said to be; that they fit each other and the hyper-parameters is proven
//! here, by running what would read beyond its buffers if they did not. Only models that are small are run: a fuzzer looks at thousands a second.

use std::sync::{Arc, OnceLock};

use tern_kernels::{Cpu, Pages, Planner};

use crate::chat::Message;
use crate::config::Config;
use crate::engine::{Engine, Logits, Work};
use crate::error::LoadError;
use crate::gguf::{self, I2sLayout};
use crate::inspect::inspect_files;
use crate::model::{Files, LoadOptions, Model};
use crate::read_options::ReadOptions;
use crate::weights::{self, layer_shapes};

/// Weights of the largest model that is run.
const MAX_WEIGHTS: usize = 1 << 17;
/// Longest text that is encoded, in bytes: a longer one is only slow.
const MAX_TEXT: usize = 1 << 14;

/// Reads a model as loading does: hyper-parameters, names, scales, tokenizer and template; and if it is small runs it.
///
/// # Errors
///
/// What loading says.
///
/// # Panics
///
/// What loads gives logits of another number than its vocabulary has.
pub fn gguf_model(bytes: &[u8], i2s_layout: I2sLayout) -> Result<(), LoadError> {
    let files = Files::gguf_in_memory("fuzzed", bytes, i2s_layout)?;
    let config = files.configuration()?;
    // Before weights are looked at: few inputs have all of them right.
    let text = read_text(&files, &config);
    weights::check(&files.checkpoint()?, &config)?;
    if weights_of(&config).is_none_or(|weights| weights > MAX_WEIGHTS) {
        return text;
    }
    let options = options(i2s_layout);
    let summary = inspect_files(&files, &options);
    let model = files.load(&options)?;
    text?;
    summary?;
    run(model);
    Ok(())
}

/// Changes the front of a GGUF file, keys and the list of tensors, by `mutate`, and moves the tensors' bytes along: a change of a length
/// anywhere else makes all weights others. Returns the new length, at most `max`; `None` for what is no GGUF file, or leaves no room.
///
/// `mutate` gets the buffer, the length of what it may change and the most that this may become, and returns what it became.
pub fn mutate_gguf_front(
    data: &mut [u8],
    size: usize,
    max: usize,
    mutate: impl FnOnce(&mut [u8], usize, usize) -> usize,
) -> Option<usize> {
    let (len, start) = gguf::front(data.get(..size)?)?;
    let tensors = data[start..size].to_vec();
    let room = max.min(data.len()).checked_sub(tensors.len())?;
    if room < start {
        return None;
    }
    let len = mutate(data, len, room).min(room);
    // Whatever alignment the key asks for, most files have the usual one.
    let start = len.next_multiple_of(32).min(room);
    data[len..start].fill(0);
    let end = start + tensors.len();
    data[start..end].copy_from_slice(&tensors);
    Some(end)
}

/// One thread, on small pages.
fn options(i2s_layout: I2sLayout) -> LoadOptions<'static> {
    static CPU: OnceLock<Cpu> = OnceLock::new();
    let cpu = CPU.get_or_init(Cpu::detect).clone();
    let planner = Planner::new(cpu, None, None).expect("nothing is asked of this planner");
    LoadOptions {
        threads: 1,
        pages: Pages::Small,
        reading: ReadOptions {
            i2s_layout,
            ..ReadOptions::default()
        },
        ..LoadOptions::new(planner)
    }
}

/// Weights of all matrices; `None` for more than can be counted.
fn weights_of(config: &Config) -> Option<usize> {
    let matrices = layer_shapes(config).into_iter();
    let mut layer = matrices.map(|(_, shape)| shape.rows.checked_mul(shape.cols));
    let layer = layer.try_fold(0usize, |sum, weights| sum.checked_add(weights?))?;
    let dense = config.vocab_size.checked_mul(config.hidden_size)?;
    layer.checked_mul(config.layers)?.checked_add(dense)
}

/// Tokenizer, template and tokens that end a text.
fn read_text(files: &Files<'_>, config: &Config) -> Result<(), LoadError> {
    let text = files.text();
    let tokenizer = text.tokenizer(config.vocab_size)?;
    text.stop_ids(&config.eos_token_ids, None, tokenizer.as_ref())?;
    let (Some(tokenizer), Ok(template)) = (tokenizer, text.template.template("fuzzed")) else {
        return Ok(());
    };
    for id in tokenizer.encode(super::TEXT, true).unwrap_or_default() {
        assert!((id as usize) < config.vocab_size, "no row for token {id}");
    }
    let messages = [Message::new("user", super::TEXT)];
    if let Ok(prompt) = template.render(&tokenizer, &messages, true)
        && prompt.text().len() <= MAX_TEXT
    {
        let _ = tokenizer.encode_prompt(&prompt);
    }
    Ok(())
}

/// A prompt of a few tokens and one behind it.
fn run(model: Model) {
    let rows = model.config().vocab_size;
    let Ok(mut engine) = Engine::new(Arc::new(model)) else {
        return;
    };
    let mut sequence = engine.model().sequence();
    let last = rows as u32 - 1;
    for tokens in [&[0, last / 2, last][..], &[last]] {
        let work = Work {
            sequence: &mut sequence,
            tokens,
            logits: Logits::All,
        };
        if let Ok(output) = engine.step(&mut [work]) {
            assert_eq!(output.rows(0).len(), tokens.len() * rows);
        }
    }
}
