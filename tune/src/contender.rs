//! Contenders of a comparison: families, or variants of one, each with its own best kernel and tile.

use tern_kernels::{Family, Kernel};

use crate::bench::{Bench as _, GemvBench, Index, ROUNDS_PER_DEAL, in_round};
use crate::candidates::Field;
use crate::screen::{CacheTime, verdicts};
use crate::search::{Outcome, Tiles, search};

use std::time::Duration;

/// A family, or a variant of one, with its kernels in a field.
pub(crate) struct Contender {
    pub family: Family,
    pub variant: &'static str,
    pub kernels: Vec<Tiles>,
}

impl Contender {
    /// How many candidates it has.
    pub(crate) fn len(&self) -> usize {
        self.kernels.iter().map(|tiles| tiles.all().count()).sum()
    }
}

/// The contenders of a field, in the order of their first kernels.
pub(crate) fn contenders(field: &Field) -> Vec<Contender> {
    let mut contenders: Vec<Contender> = Vec::new();
    for tiles in &field.kernels {
        let Some(&first) = tiles.plain.first() else {
            continue;
        };
        let kernel = field.candidates[first].kernel;
        let (family, variant) = (kernel.family, kernel.variant);
        match contenders
            .iter_mut()
            .find(|c| (c.family, c.variant) == (family, variant))
        {
            Some(contender) => contender.kernels.push(tiles.clone()),
            None => contenders.push(Contender {
                family,
                variant,
                kernels: vec![tiles.clone()],
            }),
        }
    }
    contenders
}

/// A variant whose best kernel is this many times as slow as the best of its family is no contender of its own: on a
/// CPU with vectors nobody asks how the scalar form compares.
const STRAGGLER: f64 = 3.0;

/// Those of `kernels` that may be the best of their contender, by their times in cache.
pub(crate) fn promising(kernels: &[Kernel], times: &[CacheTime]) -> Vec<Kernel> {
    let measured = kernels
        .iter()
        .zip(times)
        .filter_map(|(kernel, time)| match time {
            Some(Ok(us)) => Some((kernel, *us)),
            _ => None,
        });
    let fastest = |of: &dyn Fn(&Kernel) -> bool| {
        measured
            .clone()
            .filter(|(kernel, _)| of(kernel))
            .map(|(_, us)| us)
            .fold(f64::INFINITY, f64::min)
    };
    let may_win = |kernel: &Kernel| {
        let same =
            |other: &Kernel| (other.family, other.variant) == (kernel.family, kernel.variant);
        let in_family = fastest(&|other| other.family == kernel.family);
        let own = fastest(&same);
        if own.is_finite() && own > STRAGGLER * in_family {
            return false;
        }
        let (rivals, times): (Vec<Kernel>, Vec<CacheTime>) = kernels
            .iter()
            .copied()
            .zip(times.iter().cloned())
            .filter(|(k, _)| same(k))
            .unzip();
        let out = verdicts(&rivals, &times);
        rivals
            .iter()
            .zip(out)
            .any(|(rival, out)| rival == kernel && out.is_none())
    };
    kernels.iter().copied().filter(may_win).collect()
}

/// Finds a contender's best kernel and tile. The reason if it has none that is exact.
pub(crate) fn best_of(
    bench: &mut GemvBench<'_>,
    contender: &Contender,
    budget: Duration,
) -> Result<Index, String> {
    bench.restart();
    let ranking = search(bench, &contender.kernels, budget);
    let invalid = ranking.rows.iter().find_map(|row| match &row.outcome {
        Outcome::Invalid(reason) => Some(reason.clone()),
        _ => None,
    });
    let reason = invalid.unwrap_or_else(|| "there was no time".to_string());
    ranking.winner.ok_or(reason)
}

/// Times candidates in `rounds` interleaved rounds; a list of microseconds for each. `after` is called at the end of each round.
/// When the user stops, the first round is the last.
pub(crate) fn side_by_side(
    bench: &mut GemvBench<'_>,
    indices: &[Index],
    rounds: usize,
    after: &mut dyn FnMut(&mut GemvBench<'_>),
) -> Vec<Vec<f64>> {
    let mut times = vec![Vec::new(); indices.len()];
    bench.enter(indices);
    // The first round only warms up.
    for &index in indices {
        bench.sample(index);
    }
    for round in 0..rounds.max(1) {
        if round > 0 && bench.cancelled() {
            break;
        }
        if round > 0 && round % ROUNDS_PER_DEAL == 0 {
            bench.enter(indices);
        }
        for position in in_round(round, indices.len()) {
            times[position].push(bench.sample(indices[position]));
        }
        after(bench);
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use tern_kernels::{Cpu, Shape};

    fn kernels() -> Vec<Kernel> {
        Cpu::detect()
            .kernels()
            .filter(|kernel| kernel.family != Family::Reference)
            .collect()
    }

    #[test]
    fn contenders_are_families_and_their_variants() {
        let field = Field::new(
            kernels(),
            Shape {
                rows: 640,
                cols: 2560,
            },
            1,
        );
        let contenders = contenders(&field);
        let count: usize = contenders
            .iter()
            .map(|contender| contender.kernels.len())
            .sum();
        assert_eq!(count, field.kernels.len());
        let mut names: Vec<_> = contenders.iter().map(|c| (c.family, c.variant)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), contenders.len());
    }

    #[test]
    fn a_slow_family_keeps_its_best_kernel() {
        let kernels = kernels();
        // Everything but `lut` is a hundred times as slow; within a family all are equal.
        let time = |kernel: &Kernel| {
            if kernel.family == Family::Lut {
                1.0
            } else {
                100.0
            }
        };
        let times: Vec<CacheTime> = kernels
            .iter()
            .map(|kernel| Some(Ok(time(kernel))))
            .collect();
        assert_eq!(promising(&kernels, &times).len(), kernels.len());
        let times: Vec<CacheTime> = (0..kernels.len())
            .map(|index| Some(Ok(2f64.powi(index as i32))))
            .collect();
        let left = promising(&kernels, &times);
        assert!(left.len() < kernels.len());
        for family in [Family::Lut, Family::Mad, Family::Addsub] {
            assert!(
                left.iter().any(|kernel| kernel.family == family),
                "{family}"
            );
        }
    }
}
