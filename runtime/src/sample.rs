//! Choosing the next token from its logits.
//!
//! The filters are applied in the order of Hugging Face's `generate`: temperature, top-k, top-p,
//! min-p. Every tie is broken towards the lower token id, weights come from our own `exp` and are
//! summed in `f64` in a fixed order, and the random generator is value-stable, so a seed names a
//! text.

use std::cmp::Ordering;

use serde::Serialize;

use crate::engine::Logits;
use crate::error::SamplingError;
use crate::ops::exp::exp;
use crate::random::Xoshiro256PlusPlus;

/// How to choose a token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sampling {
    /// Divides the logits; 0 always takes the most likely token and ignores the rest.
    pub temperature: f32,
    /// Keep this many of the most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the most likely tokens that together reach this probability; 1 keeps all.
    pub top_p: f32,
    /// Drop tokens less likely than this times the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Seed of the random generator.
    pub seed: u64,
}

impl Default for Sampling {
    /// Greedy.
    fn default() -> Self {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Checks that every option is in its range.
    ///
    /// # Errors
    ///
    /// [`SamplingError`] names the option, its value and the range.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let check = |option, found: f32, valid: bool, expected| match valid {
            true => Ok(()),
            false => Err(SamplingError {
                option,
                found,
                expected,
            }),
        };
        let Sampling {
            temperature,
            top_p,
            min_p,
            ..
        } = *self;
        let warm = temperature >= 0.0 && temperature.is_finite();
        check(
            "temperature",
            temperature,
            warm,
            "a number from 0 (greedy) up",
        )?;
        check(
            "top_p",
            top_p,
            top_p > 0.0 && top_p <= 1.0,
            "above 0 and at most 1 (off)",
        )?;
        check(
            "min_p",
            min_p,
            (0.0..=1.0).contains(&min_p),
            "from 0 (off) to 1",
        )
    }
}

/// Below it `min_p` keeps what [`exp`] cannot tell from nothing.
const MIN_P_LEAST: f32 = 1e-30;

impl Sampling {
    /// The logits that [`Sampler::sample`] needs to choose the token that it would choose from all of them.
    ///
    /// `top_p` without `top_k` needs all, since it asks for the weight of all tokens together.
    pub fn logits(&self) -> Logits {
        let Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            ..
        } = *self;
        if temperature == 0.0 {
            return Logits::Best;
        }
        if top_k > 0 {
            // One more, so that the sampler sees that it leaves something out, and sorts.
            return Logits::Top(top_k.saturating_add(1));
        }
        // What is kept has (logit - highest) / temperature of ln(min_p) at least; a thousandth more is far above the rounding of that.
        let distance = f64::from(temperature) * (1e-3 - f64::from(min_p).ln());
        let distance = (distance as f32).max(f32::MIN_POSITIVE);
        match top_p >= 1.0 && min_p >= MIN_P_LEAST && distance.is_finite() {
            true => Logits::Within(distance),
            false => Logits::Last,
        }
    }
}

/// Chooses tokens, one after another.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: Xoshiro256PlusPlus,
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    id: u32,
    logit: f32,
    /// `e^((logit − highest) / temperature)`: its probability but for normalisation.
    weight: f32,
}

/// Most likely first, then lower id first: a total order, since ids differ.
fn more_likely(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

impl Sampler {
    /// A sampler at the start of its random sequence.
    ///
    /// # Errors
    ///
    /// [`SamplingError`] for an option out of range.
    pub fn new(sampling: Sampling) -> Result<Sampler, SamplingError> {
        sampling.validate()?;
        let random = Xoshiro256PlusPlus::new(sampling.seed);
        Ok(Sampler {
            sampling,
            random,
            candidates: Vec::new(),
        })
    }

    /// The next token's id, or `None` if no logit is a finite number (the weights are damaged).
    pub fn sample(&mut self, logits: &[f32]) -> Option<u32> {
        let greedy = argmax(logits)?;
        if self.sampling.temperature == 0.0 {
            return Some(greedy);
        }
        self.gather(logits, logits[greedy as usize]);
        let Sampling {
            top_k,
            top_p,
            min_p,
            ..
        } = self.sampling;
        if top_k > 0 && top_k < self.candidates.len() {
            sort_first(&mut self.candidates, top_k);
            self.candidates.truncate(top_k);
        }
        if top_p < 1.0 {
            keep_top_p(&mut self.candidates, f64::from(top_p));
        }
        if min_p > 0.0 {
            // The most likely token's weight is 1.
            self.candidates
                .retain(|candidate| candidate.weight >= min_p);
        }
        Some(self.draw())
    }

    fn gather(&mut self, logits: &[f32], highest: f32) {
        let temperature = self.sampling.temperature;
        self.candidates.clear();
        self.candidates.extend(
            logits
                .iter()
                .enumerate()
                .filter(|(_, l)| l.is_finite())
                .map(|(id, &logit)| {
                    let weight = exp((logit - highest) / temperature);
                    Candidate {
                        id: id as u32,
                        logit,
                        weight,
                    }
                }),
        );
    }

    /// Draws from the candidates by weight, in their present order.
    fn draw(&mut self) -> u32 {
        let mut left = self.random.next_unit() * total(&self.candidates);
        for candidate in &self.candidates {
            left -= f64::from(candidate.weight);
            if left < 0.0 {
                return candidate.id;
            }
        }
        // Only rounding leads here.
        self.candidates
            .last()
            .expect("the most likely token is never dropped")
            .id
    }
}

/// The lowest id with the highest finite logit.
pub(crate) fn argmax(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(usize, f32)> = None;
    for (id, &logit) in logits.iter().enumerate() {
        if logit.is_finite() && best.is_none_or(|(_, highest)| logit > highest) {
            best = Some((id, logit));
        }
    }
    best.map(|(id, _)| id as u32)
}

fn total(candidates: &[Candidate]) -> f64 {
    candidates
        .iter()
        .map(|candidate| f64::from(candidate.weight))
        .sum()
}

/// Moves the `n` most likely candidates to the front, in order.
fn sort_first(candidates: &mut [Candidate], n: usize) {
    if n < candidates.len() {
        candidates.select_nth_unstable_by(n, more_likely);
    }
    let n = n.min(candidates.len());
    candidates[..n].sort_unstable_by(more_likely);
}

/// Keeps the shortest run of most likely candidates whose probabilities reach `top_p`.
fn keep_top_p(candidates: &mut Vec<Candidate>, top_p: f64) {
    let wanted = top_p * total(candidates);
    // Usually a few dozen of a hundred thousand suffice, so sort a front that grows as needed.
    let mut sorted = 0;
    let mut sum = 0.0;
    while sorted < candidates.len() {
        let n = (sorted.max(32) * 4).min(candidates.len());
        sort_first(&mut candidates[sorted..], n - sorted);
        for index in sorted..n {
            sum += f64::from(candidates[index].weight);
            if sum >= wanted {
                return candidates.truncate(index + 1);
            }
        }
        sorted = n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(seed: u64) -> Sampling {
        Sampling {
            temperature: 1.0,
            seed,
            ..Sampling::default()
        }
    }

    fn draws(sampling: Sampling, logits: &[f32], n: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(sampling).unwrap();
        (0..n).map(|_| sampler.sample(logits).unwrap()).collect()
    }

    #[test]
    fn greedy_takes_the_lowest_id_of_a_tie_and_passes_over_nan() {
        let logits = [f32::NAN, 1.0, 3.0, 3.0, f32::INFINITY];
        assert_eq!(draws(Sampling::default(), &logits, 1), [2]);
        let mut sampler = Sampler::new(Sampling::default()).unwrap();
        assert_eq!(sampler.sample(&[f32::NAN, f32::NEG_INFINITY]), None);
        assert_eq!(sampler.sample(&[]), None);
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let logits = [0.0, std::f32::consts::LN_2, f32::NEG_INFINITY];
        let ones = draws(sampling(3), &logits, 30_000)
            .iter()
            .filter(|&&id| id == 1)
            .count();
        assert!((ones as f64 / 30_000.0 - 2.0 / 3.0).abs() < 0.01, "{ones}");
    }

    #[test]
    fn a_seed_names_a_sequence() {
        let logits: Vec<f32> = (0..1000).map(|i| (i * 37 % 101) as f32 * 0.05).collect();
        assert_eq!(
            draws(sampling(1), &logits, 50),
            draws(sampling(1), &logits, 50)
        );
        assert_ne!(
            draws(sampling(1), &logits, 50),
            draws(sampling(2), &logits, 50)
        );
        // These values may never change.
        assert_eq!(draws(sampling(42), &logits, 6), PINNED);
    }

    const PINNED: [u32; 6] = [816, 322, 986, 702, 796, 589];

    #[test]
    fn filters_keep_what_they_say() {
        // Probabilities 0.4, 0.3, 0.2, 0.1 for ids 3, 1, 0, 2.
        let logits = [0.2f32, 0.3, 0.1, 0.4].map(f32::ln);
        let kept = |change: fn(&mut Sampling)| {
            let mut options = sampling(5);
            change(&mut options);
            let mut ids = draws(options, &logits, 500);
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        assert_eq!(kept(|s| s.top_k = 2), [1, 3]);
        assert_eq!(kept(|s| s.top_p = 0.65), [1, 3]);
        assert_eq!(kept(|s| s.top_p = 0.71), [0, 1, 3]);
        assert_eq!(kept(|s| s.top_p = 1e-6), [3]);
        assert_eq!(kept(|s| s.min_p = 0.45), [0, 1, 3]);
        assert_eq!(kept(|s| s.min_p = 1.0), [3]);
        assert_eq!(kept(|s| s.temperature = 1e-6), [3]);
        assert_eq!(kept(|_| ()), [0, 1, 2, 3]);
    }

    #[test]
    fn a_growing_sorted_front_equals_a_full_sort() {
        let candidate = |i: u32| {
            let logit = (i * 7919 % 1009) as f32 * -0.01;
            Candidate {
                id: i,
                logit,
                weight: exp(logit),
            }
        };
        let mut kept: Vec<Candidate> = (0..2000).map(candidate).collect();
        let mut sorted = kept.clone();
        sorted.sort_by(more_likely);
        keep_top_p(&mut kept, 0.97);
        assert!(kept.len() > 300 && kept.len() < 2000);
        assert!(kept.iter().zip(&sorted).all(|(a, b)| a.id == b.id));
    }

    #[test]
    fn options_out_of_range_are_named() {
        let bad = Sampling {
            top_p: 1.5,
            ..Sampling::default()
        };
        let error = Sampler::new(bad).unwrap_err().to_string();
        assert_eq!(error, "top_p is 1.5; expected above 0 and at most 1 (off)");
        for bad in [
            Sampling {
                temperature: f32::NAN,
                ..Sampling::default()
            },
            Sampling {
                temperature: -1.0,
                ..Sampling::default()
            },
            Sampling {
                min_p: 2.0,
                ..Sampling::default()
            },
            Sampling {
                top_p: 0.0,
                ..Sampling::default()
            },
        ] {
            assert!(bad.validate().is_err(), "{bad:?}");
        }
    }
}
