//! The ruler for kernels that read from memory: how fast this machine can read at all.
//!
//! Streaming bandwidth is the median over interleaved rounds of reads with the widest loads, on huge pages, from a
//! buffer of at least eight times the last-level cache in which each thread has a part of its own; of 1, 2 and 4 read
//! streams a thread the best counts, because which of them is best differs between CPUs. The clock rate comes from a
//! chain of dependent additions, one cycle each, timed in the same rounds.

use serde::Serialize;
use tern_kernels::{Buffer, Cpu, MemoryError, Pages, Shape, Team, stream};

use crate::error::TuneError;
use crate::host;
use crate::measure::{Clock, settle};
use crate::spread::Spread;

/// The buffer is this many times the last-level cache.
const CACHES: usize = 8;

/// Buffer size at the least.
const BUFFER_MIN: usize = 64 << 20;

/// Taken for the last-level cache where its size is unknown.
const UNKNOWN_L3: usize = 64 << 20;

/// What each thread reads in one sample. Some hundred microseconds, as long as a kernel's sample: on a busy machine
/// longer ones are interrupted more often, and the shares of bandwidth would come out too high.
const WINDOW: usize = 4 << 20;

/// Read streams of each thread that are tried.
const STREAMS: [usize; 3] = [1, 2, 4];

/// Additions in the chain: some tens of microseconds.
const CHAIN: u64 = 1 << 17;

/// Streaming bandwidth and clock rate, with the samples.
#[derive(Clone, Debug, Serialize)]
pub struct Bandwidth {
    /// Threads that read side by side.
    pub threads: usize,
    /// Size of the buffer in bytes.
    pub bytes: usize,
    /// The pages that were asked for.
    pub huge_pages: bool,
    /// Whether memory allowed less than eight times the last-level cache.
    pub capped: bool,
    /// The number of streams a thread that was fastest.
    pub streams: usize,
    /// GB/s (10^9 bytes a second) with that number of streams.
    pub gb_per_s: Spread,
    /// GB/s for each number of streams.
    pub by_streams: Vec<(usize, Spread)>,
    /// Clock rate in GHz.
    pub ghz: Spread,
}

impl Bandwidth {
    /// What the reader should know about the measurement, if anything.
    pub fn note(&self) -> Option<String> {
        self.capped.then(|| {
            format!(
                "the bandwidth was read from {} MiB, less than {CACHES} times the last-level cache, because more \
                 memory was not free: it may be too high",
                self.bytes >> 20
            )
        })
    }
}

impl std::fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.1} GB/s ±{:.1} with {} thread{} (best of {} read streams a thread), {:.2} GHz",
            self.gb_per_s.median,
            self.gb_per_s.mad,
            self.threads,
            if self.threads == 1 { "" } else { "s" },
            STREAMS.map(|streams| streams.to_string()).join(", "),
            self.ghz.median
        )
    }
}

/// Measures the streaming bandwidth of `threads` threads in `rounds` rounds (15 take well under a second).
///
/// # Errors
/// No memory, or the system refuses the threads.
pub fn bandwidth(
    cpu: &Cpu,
    threads: usize,
    pages: Pages,
    rounds: usize,
) -> Result<Bandwidth, TuneError> {
    let mut team = Team::try_new(threads).map_err(|source| TuneError::Team { threads, source })?;
    let mut ruler = Ruler::new(cpu, &mut team, pages, host::memory_allowance())?;
    let mut samples = RulerSamples::default();
    for _ in 0..rounds.max(1) {
        ruler.round(cpu, &mut team, &mut samples);
    }
    ruler.bandwidth(samples)
}

/// A buffer to stream from.
pub(crate) struct Ruler {
    parts: Vec<Part>,
    bytes: usize,
    capped: bool,
    pages: Pages,
}

/// A worker's part of the buffer and where its next window starts.
struct Part {
    buffer: Buffer,
    next: usize,
    window: usize,
    /// Keeps the reads from being optimised away.
    mix: u64,
}

/// The rounds so far: GB/s for each of [`STREAMS`], and GHz.
#[derive(Clone, Debug, Default)]
pub(crate) struct RulerSamples {
    gb_per_s: [Vec<f64>; STREAMS.len()],
    ghz: Vec<f64>,
}

/// The rounds beside one shape of a comparison: every sample of the ruler, by round.
#[derive(Clone, Debug, Serialize)]
pub struct RulerRounds {
    /// The shape that was measured in the same rounds.
    #[serde(serialize_with = "crate::report::as_text")]
    pub shape: Shape,
    /// GB/s (10^9 bytes a second) for each number of streams.
    pub by_streams: Vec<(usize, Vec<f64>)>,
    /// Clock rate in GHz.
    pub ghz: Vec<f64>,
}

impl Ruler {
    /// Allocates the buffer, at most `limit` bytes of it; each worker first touches its own part.
    pub(crate) fn new(
        cpu: &Cpu,
        team: &mut Team,
        pages: Pages,
        limit: usize,
    ) -> Result<Ruler, MemoryError> {
        let threads = team.threads();
        let l3 = if cpu.caches.l3 > 0 {
            cpu.caches.l3
        } else {
            UNKNOWN_L3
        };
        let wanted = l3.saturating_mul(CACHES).max(BUFFER_MIN);
        let bytes = wanted.min(limit);
        let window = WINDOW.min(bytes / threads).max(1 << 12);
        // Whole windows, so that no sample is cut short at the end of the buffer.
        let part_bytes = (bytes / threads / window).max(1) * window;
        let mut parts = Vec::with_capacity(threads);
        for _ in 0..threads {
            let buffer = Buffer::zeroed(part_bytes, pages)?;
            parts.push(Part {
                buffer,
                next: 0,
                window,
                mix: 0,
            });
        }
        // Untouched pages would all be the system's one page of zeros, which is always cached.
        team.session(|session| {
            session.run_parts(&mut parts, |worker, part| {
                part.buffer.fill(worker as u8 | 1)
            });
            settle(|| {
                let clock = Clock::start();
                let read = |_, part: &mut Part| part.mix ^= stream::read(cpu, &part.buffer, 1);
                session.run_parts(&mut parts, read);
                clock.us()
            });
        });
        let capped = bytes < l3.saturating_mul(CACHES);
        Ok(Ruler {
            parts,
            bytes: part_bytes * threads,
            capped,
            pages,
        })
    }

    /// Takes another buffer of the same size, in other memory: the old one is given back only afterwards.
    pub(crate) fn redraw(&mut self, cpu: &Cpu, team: &mut Team) -> Result<(), MemoryError> {
        *self = Ruler::new(cpu, team, self.pages, self.bytes)?;
        Ok(())
    }

    /// Samples every number of streams and the clock once.
    pub(crate) fn round(&mut self, cpu: &Cpu, team: &mut Team, samples: &mut RulerSamples) {
        for (streams, samples) in STREAMS.into_iter().zip(&mut samples.gb_per_s) {
            let bytes: usize = self.parts.iter().map(|part| part.window).sum();
            samples.push(bytes as f64 / 1e3 / self.stream(cpu, team, streams));
        }
        let clock = Clock::start();
        std::hint::black_box(stream::dependent_adds(CHAIN));
        samples.ghz.push(CHAIN as f64 / 1e3 / clock.us());
    }

    /// Reads the next window of every part; microseconds.
    fn stream(&mut self, cpu: &Cpu, team: &mut Team, streams: usize) -> f64 {
        team.session(|session| {
            session.run(|_| {});
            let clock = Clock::start();
            session.run_parts(&mut self.parts, |_, part| {
                let window = &part.buffer[part.next..part.next + part.window];
                part.mix ^= stream::read(cpu, window, streams);
                part.next = (part.next + part.window) % part.buffer.len();
            });
            clock.us()
        })
    }

    /// Summarises some rounds.
    pub(crate) fn bandwidth(&self, samples: RulerSamples) -> Result<Bandwidth, TuneError> {
        std::hint::black_box(self.parts.iter().fold(0, |mix, part| mix ^ part.mix));
        let by_streams: Vec<(usize, Spread)> = STREAMS
            .into_iter()
            .zip(samples.gb_per_s)
            .filter_map(|(streams, samples)| Some((streams, Spread::of(samples)?)))
            .collect();
        let best = by_streams
            .iter()
            .max_by(|a, b| a.1.median.total_cmp(&b.1.median));
        let (streams, gb_per_s) = best.cloned().ok_or(TuneError::Nothing)?;
        let ghz = Spread::of(samples.ghz).ok_or(TuneError::Nothing)?;
        Ok(Bandwidth {
            threads: self.parts.len(),
            bytes: self.bytes,
            huge_pages: self.pages == Pages::Huge,
            capped: self.capped,
            streams,
            gb_per_s,
            by_streams,
            ghz,
        })
    }
}

impl RulerSamples {
    /// Median GB/s of the best number of streams so far.
    pub(crate) fn best_gb_per_s(&self) -> Option<f64> {
        let medians = self
            .gb_per_s
            .iter()
            .filter_map(|samples| Spread::of(samples.clone()));
        medians.map(|spread| spread.median).max_by(f64::total_cmp)
    }

    /// These rounds, for the record of the shape that they belong to.
    pub(crate) fn rounds(&self, shape: Shape) -> RulerRounds {
        RulerRounds {
            shape,
            by_streams: STREAMS.into_iter().zip(self.gb_per_s.clone()).collect(),
            ghz: self.ghz.clone(),
        }
    }

    /// Adds the rounds of `other`.
    pub(crate) fn append(&mut self, mut other: RulerSamples) {
        for (all, new) in self.gb_per_s.iter_mut().zip(&mut other.gb_per_s) {
            all.append(new);
        }
        self.ghz.append(&mut other.ghz);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_ruler_gives_plausible_numbers_and_says_that_it_is_small() {
        let mut cpu = Cpu::detect();
        cpu.caches.l3 = 2 << 20;
        let mut team = Team::new(2);
        let mut ruler = Ruler::new(&cpu, &mut team, Pages::Small, 8 << 20).unwrap();
        let mut samples = RulerSamples::default();
        for _ in 0..5 {
            ruler.round(&cpu, &mut team, &mut samples);
        }
        let bandwidth = ruler.bandwidth(samples).unwrap();
        assert!(
            (0.01..10_000.0).contains(&bandwidth.gb_per_s.median),
            "{bandwidth}"
        );
        assert!((0.05..10.0).contains(&bandwidth.ghz.median), "{bandwidth}");
        assert_eq!((bandwidth.bytes, bandwidth.by_streams.len()), (8 << 20, 3));
        assert!(bandwidth.note().unwrap().contains("8 MiB"));
    }
}
