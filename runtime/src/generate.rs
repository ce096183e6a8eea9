//! Text generation: prompt in, pieces of text out, until something says stop.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::Serialize;

use crate::engine::{Engine, Logits, Work};
use crate::error::GenerateError;
use crate::sample::{Sampler, Sampling};
use crate::sequence::Sequence;

/// How to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// How each token is chosen.
    pub sampling: Sampling,
    /// Texts that end generation; none of their text is emitted. Not empty strings.
    pub stop: Vec<String>,
    /// Go on past the model's stop ids (for benchmarks and comparisons).
    pub ignore_stop_ids: bool,
}

impl Default for GenerateOptions {
    /// 256 tokens, greedy.
    fn default() -> Self {
        GenerateOptions {
            max_tokens: 256,
            sampling: Sampling::default(),
            stop: Vec::new(),
            ignore_stop_ids: false,
        }
    }
}

/// Why generation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model chose this end-of-text token.
    StopId(u32),
    /// The text reached this stop string.
    StopString(String),
    /// The number of tokens asked for.
    MaxTokens,
    /// The model's context is full.
    ContextFull,
    /// The caller cancelled.
    Cancelled,
}

impl fmt::Display for Finish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finish::StopId(id) => write!(f, "end-of-text token {id}"),
            Finish::StopString(stop) => write!(f, "stop string {stop:?}"),
            Finish::MaxTokens => f.write_str("token limit"),
            Finish::ContextFull => f.write_str("context full"),
            Finish::Cancelled => f.write_str("cancelled"),
        }
    }
}

/// What was generated.
#[derive(Clone, Debug, Serialize)]
pub struct Generated {
    /// The tokens, without a stop id.
    pub tokens: Vec<u32>,
    /// The text that was emitted.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Counts and times.
    pub stats: Stats,
}

/// Counts and times of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Seconds until the first token could be chosen.
    pub prompt_seconds: f64,
    /// Tokens generated.
    pub generated_tokens: usize,
    /// Steps of one token; the first generated token needs none, it follows from the prompt.
    pub decode_steps: usize,
    /// Seconds for the steps, with sampling and decoding of text.
    pub generate_seconds: f64,
}

impl Stats {
    /// Prompt tokens a second; 0 if there were none.
    pub fn prompt_rate(&self) -> f64 {
        rate(self.prompt_tokens, self.prompt_seconds)
    }

    /// Decode steps a second; 0 if there were none.
    pub fn generate_rate(&self) -> f64 {
        rate(self.decode_steps, self.generate_seconds)
    }
}

fn rate(count: usize, seconds: f64) -> f64 {
    if count > 0 && seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}

/// Appends `prompt` to the sequence and generates from there, calling `on_text` with each piece of
/// text as it becomes certain.
///
/// The sequence may already hold text. Afterwards it holds the prompt and the generated tokens,
/// except the last one if a limit or a stop string ended generation right after it. `cancel` is read
/// before every pass; raise it from another thread or from `on_text`.
///
/// # Errors
///
/// [`GenerateError`] for an empty prompt, one that does not fit the context, options out of range,
/// or what the engine or the tokenizer report.
pub fn generate(
    engine: &mut Engine,
    sequence: &mut Sequence,
    prompt: &[u32],
    options: &GenerateOptions,
    cancel: &AtomicBool,
    on_text: &mut dyn FnMut(&str),
) -> Result<Generated, GenerateError> {
    check(engine, sequence, prompt, options)?;
    let model = engine.model().clone();
    let mut output = Output::new(&options.stop, on_text);
    let mut stream = model.tokenizer()?.stream();
    let mut sampler = Sampler::new(options.sampling.clone())?;
    let mut stats = Stats::default();
    let mut tokens = Vec::new();

    let start = Instant::now();
    let wanted = options.sampling.logits();
    let mut logits = process_prompt(engine, sequence, prompt, wanted, cancel)?;
    stats.prompt_tokens = prompt.len();
    stats.prompt_seconds = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let finish = loop {
        let Some(row) = logits.as_mut() else {
            break Finish::Cancelled;
        };
        if tokens.len() == options.max_tokens {
            break Finish::MaxTokens;
        }
        let token = sampler.sample(row).ok_or(GenerateError::NotFinite)?;
        if !options.ignore_stop_ids && model.stop_ids().binary_search(&token).is_ok() {
            break Finish::StopId(token);
        }
        tokens.push(token);
        if let Some(stop) = output.push(&stream.push(token)?) {
            break Finish::StopString(stop);
        }
        if tokens.len() == options.max_tokens {
            break Finish::MaxTokens;
        }
        if sequence.len() == model.config().context {
            break Finish::ContextFull;
        }
        if cancel.load(Ordering::Relaxed) {
            break Finish::Cancelled;
        }
        let work = Work {
            sequence,
            tokens: &[token],
            logits: wanted,
        };
        row.copy_from_slice(engine.step(&mut [work])?.last(0));
        stats.decode_steps += 1;
    };
    stats.generated_tokens = tokens.len();
    stats.generate_seconds = start.elapsed().as_secs_f64();
    let finish = output.finish(finish, &stream.finish()?);
    Ok(Generated {
        tokens,
        text: output.text,
        finish,
        stats,
    })
}

/// Appends the prompt in passes. Returns the last position's logits, or `None` if cancelled.
fn process_prompt(
    engine: &mut Engine,
    sequence: &mut Sequence,
    prompt: &[u32],
    wanted: Logits,
    cancel: &AtomicBool,
) -> Result<Option<Vec<f32>>, GenerateError> {
    let mut last = None;
    let passes = prompt.chunks(engine.pass());
    let count = passes.len();
    for (index, tokens) in passes.enumerate() {
        if cancel.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let is_last = index + 1 == count;
        let logits = if is_last { wanted } else { Logits::None };
        let output = engine.step(&mut [Work {
            sequence,
            tokens,
            logits,
        }])?;
        last = is_last.then(|| output.last(0).to_vec());
    }
    Ok(last)
}

fn check(
    engine: &Engine,
    sequence: &Sequence,
    prompt: &[u32],
    options: &GenerateOptions,
) -> Result<(), GenerateError> {
    let (length, context) = (sequence.len(), engine.model().config().context);
    if prompt.is_empty() {
        return Err(GenerateError::EmptyPrompt);
    }
    if prompt.len() > context.saturating_sub(length) {
        return Err(GenerateError::PromptTooLong {
            prompt: prompt.len(),
            length,
            context,
        });
    }
    match options.stop.iter().any(String::is_empty) {
        true => Err(GenerateError::EmptyStop),
        false => Ok(()),
    }
}

/// The text on its way out: what might be the beginning of a stop string waits.
struct Output<'a> {
    stop: &'a [String],
    on_text: &'a mut dyn FnMut(&str),
    /// All text that was emitted.
    text: String,
    held: String,
}

impl<'a> Output<'a> {
    fn new(stop: &'a [String], on_text: &'a mut dyn FnMut(&str)) -> Output<'a> {
        Output {
            stop,
            on_text,
            text: String::new(),
            held: String::new(),
        }
    }

    /// Adds text, emits what is certain, and returns the stop string if one is complete.
    fn push(&mut self, piece: &str) -> Option<String> {
        self.held.push_str(piece);
        let found = self
            .stop
            .iter()
            .filter_map(|stop| Some((self.held.find(stop)?, stop)));
        if let Some((at, stop)) = found.min_by_key(|&(at, _)| at) {
            let stop = stop.clone();
            self.emit(at);
            self.held.clear();
            return Some(stop);
        }
        let waiting = self
            .stop
            .iter()
            .map(|stop| overlap(&self.held, stop))
            .max()
            .unwrap_or(0);
        self.emit(self.held.len() - waiting);
        None
    }

    /// Adds the last text and emits what still waits, which may complete a stop string.
    fn finish(&mut self, finish: Finish, rest: &str) -> Finish {
        if let Finish::StopString(_) = finish {
            return finish;
        }
        if let Some(stop) = self.push(rest) {
            return Finish::StopString(stop);
        }
        self.emit(self.held.len());
        finish
    }

    fn emit(&mut self, bytes: usize) {
        if bytes > 0 {
            let piece: String = self.held.drain(..bytes).collect();
            (self.on_text)(&piece);
            self.text.push_str(&piece);
        }
    }
}

/// Bytes of the longest end of `text` with which `stop` begins.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = stop.len().min(text.len());
    let fits = |&n: &usize| stop.is_char_boundary(n) && text.ends_with(&stop[..n]);
    (1..=longest).rev().find(fits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stop: &[&str], pieces: &[&str]) -> (Vec<String>, Option<String>, String) {
        let stop: Vec<String> = stop.iter().map(|&s| s.to_owned()).collect();
        let mut emitted = Vec::new();
        let mut on_text = |piece: &str| emitted.push(piece.to_owned());
        let mut output = Output::new(&stop, &mut on_text);
        let found = pieces.iter().find_map(|piece| output.push(piece));
        if found.is_none() {
            output.finish(Finish::MaxTokens, "");
        }
        let text = output.text;
        (emitted, found, text)
    }

    #[test]
    fn a_stop_string_is_never_emitted_even_in_parts() {
        let (emitted, found, _) = run(&["\nUser:"], &["Hi", "\n", "Us", "er", ": more"]);
        assert_eq!(
            (emitted, found.as_deref()),
            (vec!["Hi".to_owned()], Some("\nUser:"))
        );
    }

    #[test]
    fn what_only_looked_like_a_stop_string_is_emitted() {
        let (emitted, found, text) = run(&["abc", "bd"], &["xa", "b", "a", "bé", "b"]);
        assert_eq!(found, None);
        assert_eq!(text, "xababéb");
        assert_eq!(emitted, ["x", "ab", "abé", "b"]);
    }

    #[test]
    fn the_first_of_several_stop_strings_counts() {
        let (_, found, text) = run(&["late", "ate"], &["too late now"]);
        assert_eq!((found.as_deref(), text.as_str()), (Some("late"), "too "));
        let (_, found, text) = run(&["éé"], &["aé", "é"]);
        assert_eq!((found.as_deref(), text.as_str()), (Some("éé"), "a"));
    }

    #[test]
    fn without_stop_strings_text_flows_through() {
        let (emitted, _, _) = run(&[], &["a", "", "b"]);
        assert_eq!(emitted, ["a", "b"]);
    }
}
