//! How many threads are fastest, by the times of a profile.
//!
//! More threads are not always faster: memory that two cores saturate gains nothing from four, the second hardware threads of cores take
//! from the first, and the slow cores of a hybrid CPU make the fast ones wait. The tuner has timed the same products with several counts, so
//! the profile knows.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::Shape;
use crate::profile::Profile;

/// By what part of the least time more threads must be faster to be taken: below it, they are only busy.
const GAIN: f64 = 0.03;

/// Median times in microseconds, by thread count and shape.
type Times = BTreeMap<usize, BTreeMap<Shape, f64>>;

impl Profile {
    /// The thread count, at most `cores`, with the least sum of median times over the shapes that were timed with every count; of counts
    /// within 3 % of the least, the smallest.
    ///
    /// Counts that lack a shape are left out if at least two have all; else what all counts have in common is compared. `None` where that
    /// leaves nothing to compare, and where the times do not tell:
    ///
    /// * the profile was tuned on a machine with fewer hardware threads than `cores`, whose second thread may be no core of its own;
    /// * the largest count wins, and it is less than `cores`: more may be faster still.
    pub fn team_size(&self, cores: usize) -> Option<usize> {
        if cores > self.host.cores {
            return None;
        }
        let times = self.times(cores);
        let all = times.values().flat_map(BTreeMap::keys);
        let all: BTreeSet<Shape> = all.copied().collect();
        let is_full = |count: &usize| times[count].len() == all.len();
        let full: Vec<usize> = times.keys().copied().filter(is_full).collect();
        let (counts, shapes) = match full.len() {
            0 | 1 => (times.keys().copied().collect(), common(&times)),
            _ => (full, all),
        };
        if counts.len() < 2 || shapes.is_empty() {
            return None;
        }
        let sum = |count: &usize| shapes.iter().map(|shape| times[count][shape]).sum::<f64>();
        let least = counts.iter().map(sum).fold(f64::INFINITY, f64::min);
        // They are in order, the smallest first.
        let best = counts
            .iter()
            .copied()
            .find(|count| sum(count) <= least * (1.0 + GAIN))?;
        let is_open = Some(&best) == counts.last() && best < cores;
        (!is_open).then_some(best)
    }

    fn times(&self, cores: usize) -> Times {
        let mut times = Times::new();
        // Entries written by hand have no times.
        let timed = |us: f64| us.is_finite() && us > 0.0;
        for entry in &self.entries {
            if (1..=cores).contains(&entry.threads) && timed(entry.median_us) {
                let of_count = times.entry(entry.threads).or_default();
                of_count.insert(entry.shape(), entry.median_us);
            }
        }
        times
    }
}

/// The shapes that every count has.
fn common(times: &Times) -> BTreeSet<Shape> {
    let Some(first) = times.values().next() else {
        return BTreeSet::new();
    };
    let has_all = |shape: &&Shape| times.values().all(|of_count| of_count.contains_key(shape));
    first.keys().filter(has_all).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Cpu;

    /// A profile, through its text, of a machine with 8 hardware threads and of products `(rows, threads, median_us)` of 2560 columns.
    fn profile(products: &[(usize, usize, f64)]) -> Profile {
        let mut empty = Profile::new(&Cpu::detect(), "2026-11-20T00:00:00Z", Vec::new());
        empty.host.cores = 8;
        let entries = products.iter().map(|(rows, threads, us)| {
            format!(
                "[[gemv]]\nrows = {rows}\ncols = 2560\nthreads = {threads}\nkernel = \"any\"\nmedian_us = {us:?}\n"
            )
        });
        let text = entries.fold(empty.to_toml() + "\n", |text, entry| text + &entry);
        Profile::of_any_cpu(&text).unwrap()
    }

    #[test]
    fn the_least_sum_of_times_wins() {
        let slower = profile(&[
            (640, 1, 10.0),
            (640, 4, 4.0),
            (640, 8, 3.0),
            (2560, 1, 40.0),
            (2560, 4, 12.0),
            (2560, 8, 20.0),
        ]);
        assert_eq!(slower.team_size(8), Some(4));
        let faster = profile(&[(640, 1, 10.0), (640, 8, 2.0)]);
        assert_eq!(faster.team_size(8), Some(8));
    }

    #[test]
    fn within_three_percent_fewer_threads_win() {
        let tie = |us| profile(&[(640, 1, 90.0), (640, 4, us), (640, 8, 50.0)]).team_size(8);
        assert_eq!(tie(50.0), Some(4));
        assert_eq!(tie(51.4), Some(4));
        assert_eq!(tie(51.6), Some(8));
    }

    #[test]
    fn one_count_or_no_times_tell_nothing() {
        assert_eq!(profile(&[]).team_size(8), None);
        assert_eq!(profile(&[(640, 8, 1.0), (2560, 8, 2.0)]).team_size(8), None);
        assert_eq!(profile(&[(640, 1, 0.0), (640, 8, 2.0)]).team_size(8), None);
    }

    #[test]
    fn only_the_same_shapes_are_compared() {
        // One shape was tried with 2 threads too, and took no time at all there.
        let stray = profile(&[
            (640, 1, 5.0),
            (640, 2, 0.1),
            (640, 8, 6.0),
            (2560, 1, 9.0),
            (2560, 8, 9.5),
        ]);
        assert_eq!(stray.team_size(8), Some(1));
        // A second model was tuned with all threads only.
        let second = profile(&[(640, 1, 9.0), (640, 8, 2.0), (2560, 8, 70.0)]);
        assert_eq!(second.team_size(8), Some(8));
        let disjoint = profile(&[(640, 1, 9.0), (2560, 8, 2.0)]);
        assert_eq!(disjoint.team_size(8), None);
    }

    #[test]
    fn what_was_not_tried_is_not_ruled_out() {
        let few = profile(&[(640, 1, 9.0), (640, 2, 5.0)]);
        assert_eq!(few.team_size(8), None, "8 threads may be faster than 2");
        assert_eq!(few.team_size(2), Some(2));
        let flat = profile(&[(640, 1, 9.0), (640, 2, 9.0)]);
        assert_eq!(flat.team_size(8), Some(1));
        assert_eq!(flat.team_size(16), None, "of a smaller machine");
        let many = profile(&[(640, 1, 9.0), (640, 2, 5.0), (640, 8, 2.0)]);
        assert_eq!(many.team_size(2), Some(2), "no more than may be used");
        assert_eq!(many.team_size(1), None);
    }
}
