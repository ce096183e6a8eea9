//! The most weights a second that kernels which multiply could reach: dot products without anything around them.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tern_kernels::{Buffer, Cpu, MemoryError, Pages, Team, stream};

use crate::error::TuneError;
use crate::measure::Clock;
use crate::spread::Spread;

/// Bytes that each thread multiplies again and again: they fit any first-level cache.
const BYTES: usize = 8 * stream::DOT_BYTES;

/// Laps over them in one sample: some hundred microseconds, as long as a kernel's sample.
const LAPS: usize = 1 << 13;

/// Additions in the chain that gives the clock rate.
const CHAIN: u64 = 1 << 17;

/// The dot product's peak.
#[derive(Clone, Debug, Serialize)]
pub struct DotPeak {
    /// The ISA whose dot product it is.
    pub isa: &'static str,
    /// 10^9 products of bytes a second, of all threads together. Each could be a weight's, if weights were bytes.
    pub g_per_s: Spread,
    /// Clock rate in GHz in the same rounds.
    pub ghz: Spread,
}

/// The dot product's peak with `threads` threads in so many rounds, which take some hundred microseconds each; `None` where the CPU has
/// no dot product.
///
/// # Errors
/// The system refuses the threads or their memory.
pub fn dot_peak(cpu: &Cpu, threads: usize, rounds: usize) -> Result<Option<DotPeak>, TuneError> {
    dot_peak_until(cpu, threads, rounds, &AtomicBool::new(false))
}

/// The same, ended early by `cancel`.
pub(crate) fn dot_peak_until(
    cpu: &Cpu,
    threads: usize,
    rounds: usize,
    cancel: &AtomicBool,
) -> Result<Option<DotPeak>, TuneError> {
    let Some(isa) = stream::dot_isa(cpu) else {
        return Ok(None);
    };
    let mut team = Team::try_new(threads).map_err(|source| TuneError::Team { threads, source })?;
    // Each worker has bytes of its own, from the start of a cache line on, and a mix that keeps the products from being optimised away.
    let part = |_| Ok((Buffer::zeroed(BYTES, Pages::Small)?, 0));
    let mut parts: Vec<(Buffer, u64)> =
        (0..threads).map(part).collect::<Result<_, MemoryError>>()?;
    for (bytes, _) in &mut parts {
        bytes
            .iter_mut()
            .enumerate()
            .for_each(|(i, byte)| *byte = i as u8);
    }
    let (mut rates, mut ghz) = (Vec::new(), Vec::new());
    // The first round only warms up.
    for round in 0..=rounds {
        let us = team.session(|session| {
            session.run(|_| {});
            let clock = Clock::start();
            session.run_parts(&mut parts, |_, (bytes, mix)| {
                *mix ^= stream::dot(cpu, bytes, LAPS)
            });
            clock.us()
        });
        let clock = Clock::start();
        std::hint::black_box(stream::dependent_adds(CHAIN));
        if round > 0 {
            rates.push((stream::DOT_PRODUCTS * BYTES * LAPS * threads) as f64 / 1e3 / us);
            ghz.push(CHAIN as f64 / 1e3 / clock.us());
        }
        if cancel.load(Ordering::Relaxed) {
            break;
        }
    }
    std::hint::black_box(parts.iter().fold(0, |mix, (_, part)| mix ^ part));
    let peak = Spread::of(rates).zip(Spread::of(ghz));
    Ok(peak.map(|(g_per_s, ghz)| DotPeak {
        isa: isa.name(),
        g_per_s,
        ghz,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tern_kernels::Isa;

    #[test]
    fn a_peak_is_plausible_and_plain_code_has_none() {
        let (cpu, never) = (Cpu::detect(), AtomicBool::new(false));
        if let Some(peak) = dot_peak_until(&cpu, 2, 3, &never).unwrap() {
            assert!((0.5..100_000.0).contains(&peak.g_per_s.median), "{peak:?}");
            assert_eq!((peak.g_per_s.samples.len(), peak.ghz.samples.len()), (3, 3));
        }
        assert!(dot_peak(&cpu.capped(Isa::Scalar), 1, 3).unwrap().is_none());
    }
}
