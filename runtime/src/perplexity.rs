//! Perplexity: how well a model predicts a text.
//!
//! The text's tokens (without special tokens) are cut into windows that do not overlap. Within a
//! window every token but the first is predicted from those before it; the perplexity is `e` to the
//! mean negative log-likelihood of all predicted tokens. Log-softmax is taken in `f64`.

use std::time::Instant;

use serde::Serialize;

use crate::engine::{Engine, Logits, Work};
use crate::error::PerplexityError;

/// The score of a text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Perplexity {
    /// `e^(nll / scored)`.
    pub perplexity: f64,
    /// Negative log-likelihood of all predicted tokens, in nats.
    pub nll: f64,
    /// Predicted tokens.
    pub scored: usize,
    /// Tokens of the text.
    pub tokens: usize,
    /// Windows scored.
    pub windows: usize,
    /// Tokens in a full window.
    pub context: usize,
    /// Seconds taken.
    pub seconds: f64,
}

/// Scores `tokens` in windows of `context`. `progress(done, total)` is called with token counts after
/// every pass.
///
/// # Errors
///
/// [`PerplexityError`] for a window outside 2 to the model's context, fewer than two tokens, weights
/// that give no finite prediction, or what the engine reports.
pub fn perplexity(
    engine: &mut Engine,
    tokens: &[u32],
    context: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Perplexity, PerplexityError> {
    let limit = engine.model().config().context;
    if context < 2 || context > limit {
        return Err(PerplexityError::Context { context, limit });
    }
    if tokens.len() < 2 {
        return Err(PerplexityError::TooShort {
            tokens: tokens.len(),
        });
    }
    let start = Instant::now();
    let (mut nll, mut scored, mut windows, mut done) = (0.0, 0, 0, 0);
    // A last window of one token predicts nothing.
    for window in tokens.chunks(context).filter(|window| window.len() >= 2) {
        nll += score_window(engine, window, &mut |count| {
            progress(done + count, tokens.len())
        })?;
        scored += window.len() - 1;
        windows += 1;
        done += window.len();
    }
    progress(tokens.len(), tokens.len());
    let perplexity = libm::exp(nll / scored as f64);
    let seconds = start.elapsed().as_secs_f64();
    let tokens = tokens.len();
    Ok(Perplexity {
        perplexity,
        nll,
        scored,
        tokens,
        windows,
        context,
        seconds,
    })
}

/// The negative log-likelihood of a window's tokens after the first.
fn score_window(
    engine: &mut Engine,
    window: &[u32],
    progress: &mut dyn FnMut(usize),
) -> Result<f64, PerplexityError> {
    let vocab_size = engine.model().config().vocab_size;
    let mut sequence = engine.model().sequence();
    let (inputs, targets) = (&window[..window.len() - 1], &window[1..]);
    let pass = engine.pass();
    let (mut nll, mut done) = (0.0, 0);
    // Targets are inputs too, all but the last one: check that one before it is used as an index.
    engine.check_tokens(window)?;
    for (inputs, targets) in inputs.chunks(pass).zip(targets.chunks(pass)) {
        let work = Work {
            sequence: &mut sequence,
            tokens: inputs,
            logits: Logits::All,
        };
        let output = engine.step(&mut [work])?;
        for (logits, &target) in output.rows(0).chunks_exact(vocab_size).zip(targets) {
            nll -= log_probability(logits, target as usize);
        }
        if !nll.is_finite() {
            return Err(PerplexityError::NotFinite);
        }
        done += inputs.len();
        progress(done);
    }
    Ok(nll)
}

/// `ln softmax(logits)[target]`.
fn log_probability(logits: &[f32], target: usize) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let difference = |&logit: &f32| f64::from(logit) - f64::from(highest);
    let sum: f64 = logits
        .iter()
        .map(|logit| libm::exp(difference(logit)))
        .sum();
    difference(&logits[target]) - libm::log(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_are_normalised() {
        let logits = [1.0, -2.0, 700.0, 699.0];
        let sum: f64 = (0..4)
            .map(|target| libm::exp(log_probability(&logits, target)))
            .sum();
        assert!((sum - 1.0).abs() < 1e-12);
        let difference = log_probability(&logits, 2) - log_probability(&logits, 3);
        assert!((difference - 1.0).abs() < 1e-12);
    }
}
