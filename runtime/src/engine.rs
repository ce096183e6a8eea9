//! The engine: the threads and buffers that advance sequences.
//!
//! Everything is one call, [`Engine::step`]: a prompt is a step of many tokens, decoding a step of
//! one, a batch a step of several sequences. Steps of many tokens are done in passes of at most 128
//! positions, which bounds the buffers without changing a bit of the result.

use std::ops::{AddAssign, Range};
use std::sync::Arc;
use std::time::Instant;

use tern_kernels::{MemoryError, Team};

use crate::clock::{Clock, Recorder, Times};
use crate::error::{EngineError, StepError};
use crate::forward::{Buffers, Pass, Row, forward};
use crate::model::Model;
use crate::ops::screen::Keep;
use crate::sequence::Sequence;
use crate::trace::Observer;

/// Positions in a pass: enough that unpacking the weights of batched products is shared by many (with 64, a prompt took 1.3 to 1.6 times as
/// long on Zen 3), few enough that a user who stops a prompt does not wait for long, since a pass is not interrupted. (With 256, 0.87 to 0.95
/// times as long.)
const PASS: usize = 128;

/// Which of a work's positions need logits, and which logits.
///
/// Where only the largest are wanted, others may be negative infinity, and what is there is exact: they are found without reading all of the
/// head (see [`HeadMode`](crate::HeadMode)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Logits {
    /// None: fill the cache only.
    None,
    /// The last one, to continue the text.
    Last,
    /// The last one, of which only the largest logit is wanted: to continue the text greedily.
    Best,
    /// The last one, of which only so many of the largest logits are wanted, ties among them included; 0 wants all.
    Top(usize),
    /// The last one, of which only the logits are wanted that are at most so far below the largest.
    Within(f32),
    /// Every one, to score the tokens.
    All,
}

impl Logits {
    fn keep(self) -> Option<Keep> {
        match self {
            Logits::None | Logits::Last | Logits::All | Logits::Top(0) => None,
            Logits::Best => Some(Keep::Top(1)),
            Logits::Top(count) => Some(Keep::Top(count)),
            Logits::Within(distance) => Some(Keep::Within(distance)),
        }
    }
}

/// Tokens to append to one sequence.
pub struct Work<'a> {
    /// The sequence; it has as many positions more after the step.
    pub sequence: &'a mut Sequence,
    /// At least one token.
    pub tokens: &'a [u32],
    /// Which of the tokens' positions need logits.
    pub logits: Logits,
}

/// Advances sequences of one model. Owns the thread team, so one engine is one user of the machine.
pub struct Engine {
    model: Arc<Model>,
    team: Team,
    buffers: Buffers,
    /// The newest step's, kept for their memory.
    rows: Vec<Row>,
    pass: usize,
    observer: Option<Observer>,
    recorder: Option<Recorder>,
    /// `[rows][vocab_size]` of the newest step.
    logits: Vec<f32>,
    /// Each work's rows in `logits`.
    ranges: Vec<Range<usize>>,
    head_use: HeadUse,
}

/// How the head was used and what it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadUse {
    /// Positions whose largest logits were found by bounds.
    pub screened: u64,
    /// Rows of the head that were scored for them.
    pub rows: u64,
    /// Positions for which the whole head was read.
    pub full: u64,
    /// Positions whose logits come from a quantized head.
    pub quantized: u64,
    /// Bytes of the head and its copy that were read; those of a pass count once for all of its positions that share them.
    pub bytes: u64,
}

impl AddAssign for HeadUse {
    fn add_assign(&mut self, other: HeadUse) {
        self.screened += other.screened;
        self.rows += other.rows;
        self.full += other.full;
        self.quantized += other.quantized;
        self.bytes += other.bytes;
    }
}

impl Engine {
    /// Starts the threads that the model was loaded for.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the system refuses to start them.
    pub fn new(model: Arc<Model>) -> Result<Engine, EngineError> {
        let threads = model.threads();
        let team = Team::try_new(threads).map_err(|source| EngineError { threads, source })?;
        Ok(Engine {
            model,
            team,
            buffers: Buffers::default(),
            rows: Vec::new(),
            pass: PASS,
            observer: None,
            recorder: None,
            logits: Vec::new(),
            ranges: Vec::new(),
            head_use: HeadUse::default(),
        })
    }

    /// Sets the positions computed together (128 at first). Results do not depend on it.
    ///
    /// # Panics
    ///
    /// If `positions` is 0.
    #[must_use]
    pub fn with_pass(mut self, positions: usize) -> Engine {
        assert!(positions > 0, "a pass needs at least one position");
        self.pass = positions;
        self
    }

    /// Calls `observer` for what later steps compute, or no longer.
    pub fn observe(&mut self, observer: Option<Observer>) {
        self.observer = observer;
    }

    /// Records where the time of later steps goes, from nothing on, or no longer. Recording takes about a hundredth of a step's time.
    pub fn record_times(&mut self, is_on: bool) {
        self.recorder = is_on.then(|| Recorder::new(self.team.threads()));
    }

    /// Where the time went of all steps since recording began; `None` if nothing is recorded.
    pub fn times(&self) -> Option<Times> {
        self.recorder.as_ref().map(Recorder::times)
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What the head has cost so far.
    pub fn head_use(&self) -> HeadUse {
        self.head_use
    }

    /// Positions computed together.
    pub fn pass(&self) -> usize {
        self.pass
    }

    /// Appends each work's tokens to its sequence and computes the logits asked for.
    ///
    /// # Errors
    ///
    /// [`StepError`] if a token, a length or a sequence is unfit for the model, or memory runs out;
    /// then no sequence has changed.
    pub fn step(&mut self, work: &mut [Work<'_>]) -> Result<StepOutput<'_>, StepError> {
        let start = self.recorder.is_some().then(Instant::now);
        self.check(work)?;
        self.plan(work);
        self.reserve(work)?;
        let vocab_size = self.model.config.vocab_size;
        let mut out = self.logits.as_mut_slice();
        for rows in self.rows.chunks(self.pass) {
            let wanted = rows.iter().filter(|row| row.logits).count();
            let (part, rest) = out.split_at_mut(wanted * vocab_size);
            out = rest;
            let (model, buffers) = (&self.model, &mut self.buffers);
            let head_use = &mut self.head_use;
            let observer = self.observer.as_mut();
            let clock = Clock::new(self.recorder.as_ref());
            self.team
                .session(|session| {
                    let mut pass = Pass {
                        session,
                        rows,
                        observer,
                        head_use,
                        clock,
                    };
                    forward(model, &mut pass, work, buffers, part)?;
                    pass.clock.finish();
                    Ok(())
                })
                .map_err(|error: MemoryError| StepError::Memory(error.to_string()))?;
        }
        for work in work {
            let length = work.sequence.len() + work.tokens.len();
            work.sequence.advance_to(length);
        }
        if let (Some(recorder), Some(start)) = (&self.recorder, start) {
            recorder.count_step(start);
        }
        Ok(StepOutput {
            logits: &self.logits,
            ranges: &self.ranges,
            vocab_size,
        })
    }

    fn check(&self, work: &[Work<'_>]) -> Result<(), StepError> {
        let config = &self.model.config;
        for Work {
            sequence, tokens, ..
        } in work
        {
            if sequence.dimensions() != self.model.dimensions() {
                return Err(StepError::ForeignSequence);
            }
            if tokens.is_empty() {
                return Err(StepError::NoTokens);
            }
            if tokens.len() > config.context.saturating_sub(sequence.len()) {
                return Err(StepError::ContextFull {
                    length: sequence.len(),
                    tokens: tokens.len(),
                    context: config.context,
                });
            }
            self.check_tokens(tokens)?;
        }
        Ok(())
    }

    /// Checks that every token has an embedding.
    pub(crate) fn check_tokens(&self, tokens: &[u32]) -> Result<(), StepError> {
        let vocab_size = self.model.config.vocab_size;
        match tokens.iter().find(|&&token| token as usize >= vocab_size) {
            Some(&token) => Err(StepError::TokenOutOfRange { token, vocab_size }),
            None => Ok(()),
        }
    }

    /// Lists all rows in order, and notes where each work's logits will lie.
    fn plan(&mut self, work: &[Work<'_>]) {
        self.ranges.clear();
        self.rows.clear();
        let mut wanted = 0;
        for (index, work) in work.iter().enumerate() {
            let last = work.tokens.len() - 1;
            for (offset, &token) in work.tokens.iter().enumerate() {
                let logits = match work.logits {
                    Logits::None => false,
                    Logits::All => true,
                    _ => offset == last,
                };
                let keep = work.logits.keep();
                let position = work.sequence.len() + offset;
                self.rows.push(Row {
                    work: index,
                    position,
                    token,
                    logits,
                    keep,
                });
            }
            let count = match work.logits {
                Logits::None => 0,
                Logits::All => work.tokens.len(),
                _ => 1,
            };
            self.ranges.push(wanted..wanted + count);
            wanted += count;
        }
    }

    /// Takes all memory whose size the model decides, before anything is computed.
    fn reserve(&mut self, work: &mut [Work<'_>]) -> Result<(), StepError> {
        self.reserve_logits()?;
        self.buffers
            .reserve(&self.model.config, self.rows.len().min(self.pass))?;
        let room = work.iter_mut().try_for_each(|work| {
            let length = work.sequence.len() + work.tokens.len();
            work.sequence.reserve(length)
        });
        if room.is_err() {
            for work in work {
                work.sequence.release_unused();
            }
        }
        room
    }

    fn reserve_logits(&mut self) -> Result<(), StepError> {
        let wanted = self.rows.iter().filter(|row| row.logits).count();
        let memory = |_| {
            let bytes = 4 * wanted as u64 * self.model.config.vocab_size as u64;
            StepError::Memory(format!(
                "cannot allocate {bytes} bytes for the logits of {wanted} positions; use a shorter \
                 context or ask for the logits of fewer positions"
            ))
        };
        let len = wanted.saturating_mul(self.model.config.vocab_size);
        self.logits
            .try_reserve(len.saturating_sub(self.logits.len()))
            .map_err(memory)?;
        self.logits.resize(len, 0.0);
        Ok(())
    }
}

/// The logits of a step.
pub struct StepOutput<'a> {
    logits: &'a [f32],
    ranges: &'a [Range<usize>],
    vocab_size: usize,
}

impl<'a> StepOutput<'a> {
    /// The logits of work `work`: a row of `vocab_size` for each position that asked for them.
    ///
    /// # Panics
    ///
    /// If the step had no such work.
    pub fn rows(&self, work: usize) -> &'a [f32] {
        let Range { start, end } = self.ranges[work];
        &self.logits[start * self.vocab_size..end * self.vocab_size]
    }

    /// The last row of work `work`.
    ///
    /// # Panics
    ///
    /// If the step had no such work, or it asked for no logits.
    pub fn last(&self, work: usize) -> &'a [f32] {
        let rows = self.rows(work);
        assert!(!rows.is_empty(), "the work asked for no logits");
        &rows[rows.len() - self.vocab_size..]
    }
}
