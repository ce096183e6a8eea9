//! Splitting the work of one region over the team.
//!
//! Regions hand out disjoint `&mut` slices, so the compiler proves that workers never share what
//! they write. A region costs about a microsecond, so what concerns a single position (one row to
//! normalise) is done by the calling thread.

use std::ops::Range;

use tern_kernels::Session;

/// The share of worker `part` when `len` things are split over `parts` workers as evenly as
/// possible, in order.
pub(crate) fn share(len: usize, parts: usize, part: usize) -> Range<usize> {
    len * part / parts..len * (part + 1) / parts
}

/// Cuts `items` into at most `parts` runs, in order, whose costs are as even as whole items allow.
pub(crate) fn balanced<T>(
    items: &mut [T],
    parts: usize,
    cost: impl Fn(&T) -> usize,
) -> Vec<&mut [T]> {
    let total: u128 = items.iter().map(|item| cost(item) as u128).sum();
    let mut runs = Vec::with_capacity(parts);
    let (mut rest, mut before) = (items, 0);
    for part in 1..=parts as u128 {
        let end = total * part;
        let count = rest
            .iter()
            .take_while(|item| {
                let cost = cost(item) as u128;
                // An item belongs where its middle lies.
                let within =
                    part == parts as u128 || (2 * before + cost) * parts as u128 <= 2 * end;
                if within {
                    before += cost;
                }
                within
            })
            .count();
        let (run, after) = rest.split_at_mut(count);
        runs.push(run);
        rest = after;
    }
    runs
}

/// Runs `f` on every item: on the calling thread if there is one, else split over the team.
pub(crate) fn for_each<T: Send>(
    session: &mut Session<'_>,
    items: impl ExactSizeIterator<Item = T>,
    f: impl Fn(T) + Sync,
) {
    if items.len() <= 1 || session.threads() == 1 {
        return items.for_each(f);
    }
    let size = items.len().div_ceil(session.threads());
    let mut items: Vec<Option<T>> = items.map(Some).collect();
    let mut parts: Vec<&mut [Option<T>]> = items.chunks_mut(size).collect();
    session.run_parts(&mut parts, |_, part| {
        part.iter_mut().filter_map(Option::take).for_each(&f);
    });
}

/// Cuts a row-major matrix of `width` columns into vertical strips, one for each range of columns.
///
/// The ranges are ordered, disjoint and cover the width. Strip `s` holds its piece of every row.
pub(crate) fn columns(
    matrix: &mut [f32],
    width: usize,
    ranges: impl Iterator<Item = Range<usize>> + Clone,
) -> Vec<Vec<&mut [f32]>> {
    let rows = matrix.len() / width;
    let mut strips: Vec<Vec<_>> = ranges.clone().map(|_| Vec::with_capacity(rows)).collect();
    for mut row in matrix.chunks_exact_mut(width) {
        for (strip, range) in strips.iter_mut().zip(ranges.clone()) {
            let (piece, rest) = row.split_at_mut(range.len());
            strip.push(piece);
            row = rest;
        }
        assert!(row.is_empty(), "the ranges cover the row");
    }
    strips
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tern_kernels::Team;

    #[test]
    fn shares_cover_everything_once() {
        for (len, parts) in [(0, 3), (1, 3), (20, 3), (64, 7)] {
            let all: Vec<usize> = (0..parts)
                .flat_map(|part| share(len, parts, part))
                .collect();
            assert_eq!(all, (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn runs_are_even_by_cost() {
        for threads in [1, 2, 3, 7, 64, 256] {
            for len in [1, 2, 20, 500] {
                let mut items: Vec<usize> = (1..=len).collect();
                let (total, largest) = (len * (len + 1) / 2, len);
                let runs = balanced(&mut items, threads, |&item| item);
                assert_eq!(runs.len(), threads);
                for run in &runs {
                    let cost: usize = run.iter().sum();
                    assert!(
                        cost <= total / threads + largest + 1,
                        "{threads} {len} {cost}"
                    );
                }
                assert!(runs.concat().into_iter().eq(1..=len), "{threads} {len}");
            }
        }
        let mut free = [(); 5];
        let runs = balanced(&mut free, 2, |()| 0);
        assert_eq!(runs.iter().map(|run| run.len()).sum::<usize>(), 5);
        assert!(
            balanced(&mut [0u8; 0], 3, |_| 1)
                .iter()
                .all(|run| run.is_empty())
        );
    }

    #[test]
    fn every_item_is_visited_once() {
        for (threads, len) in [(1, 5), (3, 1), (3, 2), (3, 10)] {
            let visits: Vec<AtomicUsize> = (0..len).map(|_| AtomicUsize::new(0)).collect();
            Team::new(threads).session(|session| {
                for_each(session, visits.iter(), |visit| {
                    visit.fetch_add(1, Ordering::Relaxed);
                });
            });
            assert!(
                visits
                    .iter()
                    .all(|visit| visit.load(Ordering::Relaxed) == 1)
            );
        }
    }

    #[test]
    fn strips_hold_their_columns_of_every_row() {
        let mut matrix: Vec<f32> = (0..15).map(|i| i as f32).collect();
        let strips = columns(&mut matrix, 5, [0..2, 2..2, 2..5].into_iter());
        assert_eq!(strips[0], [&[0.0, 1.0][..], &[5.0, 6.0], &[10.0, 11.0]]);
        assert!(strips[1].iter().all(|piece| piece.is_empty()));
        assert_eq!(strips[2][2], [12.0, 13.0, 14.0]);
    }
}
