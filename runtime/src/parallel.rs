//! Splitting the work of one region over the team.
//!
//! Regions hand out disjoint `&mut` slices, so the compiler proves that workers never share what
//! they write. A region costs about a microsecond, so what concerns a single position (one row to
//! normalise) is done by the calling thread.

use tern_kernels::{Columns, Strips};

use crate::clock::{Activity, Clock};
use crate::forward::Pass;

/// What one worker has in a region beside its part.
pub(crate) struct Worker<'r, 'm> {
    /// Its number; 0 is the calling thread.
    pub index: usize,
    /// Which piece of the work it has: its number, where nothing is cut into pieces.
    pub place: usize,
    /// Its columns of the region's matrices.
    pub strips: &'r mut Strips<'m>,
    /// Its clock.
    pub clock: Clock<'r>,
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

impl Pass<'_, '_> {
    /// One region: calls `f` on the worker of each part, which writes its columns of `matrices`.
    pub fn region<P: Send>(
        &mut self,
        parts: &mut [P],
        matrices: &mut [Columns<'_>],
        f: impl Fn(&mut Worker<'_, '_>, &mut P) + Sync,
    ) {
        let region = self.clock.order();
        self.session
            .run_columns(parts, matrices, |index, part, strips| {
                let mut worker = Worker {
                    index,
                    place: index,
                    strips,
                    clock: region.begin(index),
                };
                f(&mut worker, part);
                region.end(&worker.clock);
            });
        self.clock.join();
    }

    /// One region over the pieces of each worker's part, which workers share: calls `f` for each piece, with the part of the worker
    /// that has it (see [`Session::run_pieces`](tern_kernels::Session::run_pieces)).
    pub fn pieces<P: Send>(
        &mut self,
        parts: &mut [P],
        pieces: usize,
        matrices: &mut [Columns<'_>],
        f: impl Fn(&mut Worker<'_, '_>, &mut P) + Sync,
    ) {
        let region = self.clock.order();
        self.session
            .run_pieces(parts, pieces, matrices, |index, place, part, strips| {
                let mut worker = Worker {
                    index,
                    place,
                    strips,
                    clock: region.begin(index),
                };
                f(&mut worker, part);
                region.end(&worker.clock);
            });
        self.clock.join();
    }

    /// Runs `f` on every item: on the calling thread if there is one, else split over the team.
    pub fn for_each<T: Send>(
        &mut self,
        activity: Activity,
        items: impl ExactSizeIterator<Item = T>,
        f: impl Fn(T) + Sync,
    ) {
        let threads = self.session.threads();
        if items.len() <= 1 || threads == 1 {
            items.for_each(f);
            return self.clock.lap(activity);
        }
        let size = items.len().div_ceil(threads);
        let mut items: Vec<Option<T>> = items.map(Some).collect();
        let mut parts: Vec<&mut [Option<T>]> = items.chunks_mut(size).collect();
        self.region(&mut parts, &mut [], |worker, part| {
            part.iter_mut().filter_map(Option::take).for_each(&f);
            worker.clock.lap(activity);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::HeadUse;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tern_kernels::Team;

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
                let mut pass = Pass {
                    session,
                    rows: &[],
                    observer: None,
                    head_use: &mut HeadUse::default(),
                    clock: Clock::new(None),
                };
                pass.for_each(Activity::Other, visits.iter(), |visit| {
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
}
