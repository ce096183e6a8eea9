//! Work that is shared unevenly where the cores are uneven: pieces of a region's work that go to whoever is free.
//!
//! Every worker has a part of its own, in memory that it touched first, cut into pieces of which each is half as large as the one before. It
//! takes them in order; a worker that has no more takes those that its neighbours have left. So a worker that was kept waiting, by the memory or by
//! the system, loses what it has not begun, and the others wait at most for the piece that it holds. (Guided self-scheduling, C. Polychronopoulos
//! and D. Kuck, with a queue for each worker as in work stealing.) Who takes a piece never changes what is written.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::columns::{Columns, Strips};
use super::{Padded, Session};

/// The smallest piece that pays, in bytes of weights: a few microseconds, several times what the barrier costs.
const PIECE_BYTES: usize = 64 << 10;

/// The shortest run of neighbouring bytes that a piece is made of: on a Zen 4, runs of 3 KiB were read at two thirds of the speed.
const RUN_BYTES: usize = 16 << 10;

/// The most pieces of a part.
const PIECES_MAX: usize = 10;

/// Neighbours whose pieces a worker takes: looking at the queues of all would take longer with every thread.
const REACH: usize = 8;

/// Bits of a queue's number that count pieces; the others hold the region.
const COUNT_BITS: u32 = 16;

/// Into how many pieces a worker's part of `bytes` bytes is cut. Without other workers there is nobody to share with.
pub fn pieces(bytes: usize, workers: usize) -> usize {
    let halves = (bytes / PIECE_BYTES).checked_ilog2().unwrap_or(0) as usize;
    match workers {
        0 | 1 => 1,
        _ => (1 + halves).min(PIECES_MAX),
    }
}

/// The most pieces of a part that is read in runs of `bytes` neighbouring bytes, one for each K block.
pub(crate) fn runs(bytes: usize) -> usize {
    1 + (bytes / RUN_BYTES).checked_ilog2().unwrap_or(0) as usize
}

/// The ends of the pieces of all workers' equal shares of `len` things: the whole shares are `workers` times `pieces`, of which each is half as
/// long as the one before, but for the last, which is as long as that. Returned in units of `1 / (workers << (pieces - 1))` of `len`.
fn ends(workers: usize, pieces: usize) -> impl Iterator<Item = usize> {
    let share = 1_usize << (pieces - 1);
    (0..workers).flat_map(move |worker| {
        (0..pieces).map(move |piece| {
            let rest = if piece + 1 == pieces {
                0
            } else {
                share >> (piece + 1)
            };
            (worker + 1) * share - rest
        })
    })
}

/// Bounds of `workers * pieces` pieces of things with `units` bounds of their own, `unit(0..=units)`, ascending: each bound is the one
/// that is nearest to an even share.
///
/// # Panics
///
/// If there is no worker or piece.
pub fn bounds(
    workers: usize,
    pieces: usize,
    units: usize,
    unit: impl Fn(usize) -> usize,
) -> Vec<usize> {
    assert!(workers > 0 && pieces > 0, "a piece for a worker");
    let (all, whole) = (unit(units), workers << (pieces - 1));
    let mut bounds = vec![0];
    for end in ends(workers, pieces) {
        let from = bounds[bounds.len() - 1];
        // The first that is not below, and the one before it.
        let (mut low, mut high) = (from, units);
        while low < high {
            let middle = low + (high - low) / 2;
            match whole * unit(middle) < all * end {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let far = |&bound: &usize| (whole * unit(bound)).abs_diff(all * end);
        let near = low.saturating_sub(1).max(from)..=low;
        bounds.push(near.min_by_key(far).unwrap_or(units));
    }
    bounds
}

/// How many pieces each worker's part has lost, by region: an old region's count is none.
pub(super) struct Queues(Box<[Padded<AtomicU64>]>);

impl Queues {
    pub fn new(workers: usize) -> Queues {
        Queues((0..workers).map(|_| Padded(AtomicU64::new(0))).collect())
    }

    /// The next piece of `owner`'s part in region `generation`, of `pieces`. Each is returned once.
    fn take(&self, owner: usize, generation: usize, pieces: usize) -> Option<usize> {
        let Padded(queue) = &self.0[owner];
        let region = (generation as u64) << COUNT_BITS;
        let count = |now: u64| match now >> COUNT_BITS == region >> COUNT_BITS {
            true => now - region,
            false => 0,
        };
        let next = |now| (count(now) < pieces as u64).then(|| region + count(now) + 1);
        // What the pieces are made of was published with the region's order, so the count orders nothing.
        let before = queue.fetch_update(Relaxed, Relaxed, next).ok()?;
        Some(count(before) as usize)
    }
}

impl Session<'_> {
    /// One region over the pieces of each worker's part: calls `f(worker, piece, &mut parts[worker], strips)` for every piece of
    /// `0..parts.len() * pieces` once, those of a part on its own worker first, and gives it the piece's columns of the matrices, whose splits
    /// have a range for each piece.
    ///
    /// # Panics
    ///
    /// As [`Session::run_parts`], if a split has more ranges than there are pieces, and if a part has no piece or more than 65535.
    pub fn run_pieces<P: Send>(
        &mut self,
        parts: &mut [P],
        pieces: usize,
        matrices: &mut [Columns<'_>],
        f: impl Fn(usize, usize, &mut P, &mut Strips<'_>) + Sync,
    ) {
        assert!((1..1 << COUNT_BITS).contains(&pieces), "{pieces} pieces");
        // Borrowed alone until the region ends, so that no other team's workers have strips of them.
        let matrices = &*matrices;
        let workers = parts.len();
        Columns::check(matrices, workers * pieces);
        let shared = std::sync::Arc::clone(&self.team.shared);
        let generation = self.team.next_generation();
        self.run_parts(parts, |worker, part| {
            for owner in (worker..worker + workers.min(1 + REACH)).map(|owner| owner % workers) {
                while let Some(piece) = shared.queues.take(owner, generation, pieces) {
                    let place = owner * pieces + piece;
                    // No piece of a region is taken twice, so there are no two `Strips` of a place: this is what their safety rests on.
                    f(worker, place, part, &mut Strips::new(place, matrices));
                }
            }
        });
    }
}
