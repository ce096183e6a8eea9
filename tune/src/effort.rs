//! What a rigor means: time, thread counts, and which tiles.

use std::time::Duration;

use tern_kernels::{Rigor, Tables};

/// Thread counts of an exhaustive tuning that are all tried, beyond powers of two.
const ALL_THREADS_MAX: usize = 16;

/// Time for everything together unless the user says otherwise.
pub fn default_budget(rigor: Rigor) -> Duration {
    Duration::from_secs(match rigor {
        Rigor::Estimate => 0,
        Rigor::Measure => 27,
        Rigor::Patient => 120,
        Rigor::Exhaustive => 900,
    })
}

/// Thread counts unless the user says otherwise, on a machine with so many usable `cores`: one and all, with more rigor also the powers of
/// two between them, and with the most every count of a small machine.
pub fn default_threads(rigor: Rigor, cores: usize) -> Vec<usize> {
    let cores = cores.max(1);
    let mut threads = vec![1, cores];
    if rigor >= Rigor::Patient {
        let powers = std::iter::successors(Some(2usize), |count| count.checked_mul(2));
        threads.extend(powers.take_while(|&count| count < cores));
    }
    if rigor >= Rigor::Exhaustive {
        threads.extend(1..=cores.min(ALL_THREADS_MAX));
    }
    threads.sort_unstable();
    threads.dedup();
    threads
}

/// Ways of having tables that are tried.
pub(crate) fn tables(rigor: Rigor) -> &'static [Tables] {
    match rigor {
        Rigor::Estimate | Rigor::Measure => &[Tables::Shared],
        Rigor::Patient | Rigor::Exhaustive => &[Tables::Shared, Tables::Own],
    }
}

/// Whether winners are timed on small pages too.
pub(crate) fn tries_small_pages(rigor: Rigor) -> bool {
    rigor >= Rigor::Patient
}

/// Whether kernels that are clearly slower in cache and read no fewer bytes are left out before the races.
pub(crate) fn screens(rigor: Rigor) -> bool {
    rigor < Rigor::Exhaustive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_rigor_is_more_of_everything() {
        for pair in Rigor::ALL.windows(2) {
            assert!(default_budget(pair[0]) < default_budget(pair[1]));
            for cores in [1, 2, 6, 128] {
                let few = default_threads(pair[0], cores);
                let many = default_threads(pair[1], cores);
                assert!(few.iter().all(|count| many.contains(count)), "{cores}");
                assert!(many.is_sorted() && many.contains(&cores));
            }
        }
        assert_eq!(default_threads(Rigor::Measure, 6), [1, 6]);
        assert_eq!(default_threads(Rigor::Patient, 6), [1, 2, 4, 6]);
        assert_eq!(default_threads(Rigor::Exhaustive, 3), [1, 2, 3]);
    }
}
