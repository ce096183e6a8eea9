//! What the winners make of a model: time for a token and for a prompt's token, and memory.

use serde::Serialize;
use tern_kernels::{Cpu, Profile};

use crate::shapes::Work;

/// All ternary products of a token, with one number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Total {
    /// The threads.
    pub threads: usize,
    /// Microseconds of all products for a token, with their part of preparing the activations.
    pub token_us: f64,
    /// The same for a token of a long prompt, where all shapes were measured with many tokens.
    pub prompt_us: Option<f64>,
    /// Bytes of all weights in the packings of the winners: each is held once.
    pub bytes: usize,
}

/// The totals of `work` for every number of threads for which `profile` has all its shapes.
pub fn totals(cpu: &Cpu, work: &[Work], profile: &Profile) -> Vec<Total> {
    let mut threads: Vec<usize> = profile.entries.iter().map(|e| e.threads).collect();
    threads.sort_unstable();
    threads.dedup();
    let total = |threads| {
        let mut total = Total {
            threads,
            token_us: 0.0,
            prompt_us: Some(0.0),
            bytes: 0,
        };
        for work in work {
            let mut entries = profile.entries.iter();
            let entry = entries.find(|e| (e.shape(), e.threads) == (work.shape, threads))?;
            let packing = cpu.kernel(&entry.kernel)?.packing;
            let bytes = packing.matrix_bytes(work.shape.rows, work.shape.cols)?;
            let count = work.count as f64;
            total.token_us += count * entry.median_us;
            total.bytes = total.bytes.checked_add(bytes.checked_mul(work.count)?)?;
            let name = packing.to_string();
            let of_shape = profile.batches.iter().filter(|e| {
                (e.rows, e.cols) == (work.shape.rows, work.shape.cols)
                    && (e.threads, &e.packing) == (threads, &name)
            });
            let prompt = of_shape.max_by_key(|e| e.tokens).map(|e| e.median_us);
            total.prompt_us = total
                .prompt_us
                .zip(prompt)
                .map(|(sum, us)| sum + count * us);
        }
        Some(total)
    };
    threads.into_iter().filter_map(total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tern_kernels::{BatchEntry, Entry, Rigor, Shape};

    #[test]
    fn totals_are_over_all_products_and_only_where_all_are_known() {
        let cpu = Cpu::detect();
        let kernel = cpu.kernels().find(|k| k.batch == 1).unwrap();
        let [a, b] = [64, 128].map(|rows| Shape { rows, cols: 320 });
        let work = [Work::alone(a, 3), Work::alone(b, 2)];
        let entry = |shape, threads, median_us| Entry {
            median_us,
            ..Entry::of(shape, threads, &kernel)
        };
        let batch = |shape: Shape, tokens, median_us| BatchEntry {
            rows: shape.rows,
            cols: shape.cols,
            threads: 1,
            tokens,
            packing: kernel.packing.to_string(),
            kernel: BatchEntry::GEMV.to_string(),
            fingerprint: String::new(),
            rigor: Rigor::Measure,
            date: String::new(),
            median_us,
            mad_us: 0.0,
        };
        let entries = vec![entry(a, 1, 10.0), entry(b, 1, 100.0), entry(a, 2, 7.0)];
        let mut profile = Profile::new(&cpu, "2026-01-01T00:00:00Z", entries);
        profile.batches = vec![batch(a, 2, 9.0), batch(a, 65, 1.0)];
        let found = totals(&cpu, &work, &profile);
        assert_eq!(found.len(), 1, "two threads lack a shape");
        assert_eq!((found[0].threads, found[0].token_us), (1, 230.0));
        assert_eq!(found[0].prompt_us, None, "one shape has no prompt");
        profile.batches.push(batch(b, 65, 5.0));
        assert_eq!(totals(&cpu, &work, &profile)[0].prompt_us, Some(13.0));
        let bytes = |shape: Shape| kernel.packing.matrix_bytes(shape.rows, shape.cols).unwrap();
        assert_eq!(found[0].bytes, 3 * bytes(a) + 2 * bytes(b));
    }
}
