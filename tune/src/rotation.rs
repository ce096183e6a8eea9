//! Weights that are cold each time they are read, as they are in a model.
//!
//! Between two uses of a matrix a model reads all its other matrices. A benchmark that multiplies with one matrix again
//! and again reads it from the cache instead and prefers kernels that lose on the real thing. So here a product never
//! reads a copy of a matrix that was touched within the last `distance` bytes of traffic, where `distance` is twice the
//! last-level cache. Every candidate's reads count as traffic, so a race of many packings needs few copies of each,
//! and the run-off of two, where only their own reads are left, gets more copies when it needs them.

use std::collections::{HashMap, VecDeque};

use rayon::prelude::*;
use tern_kernels::{MemoryError, PackedMatrix, Packing};

/// Copies of one matrix in one packing. Thousands of small mappings cost more than they say: by then the copies are
/// beyond any L2 anyway.
const COPIES_MAX: usize = 2048;

/// Spare traffic in the first fill, so that the first laps need no more copies.
const FILL_SPARE: f64 = 1.1;

/// A copy and when it was last touched, in bytes of traffic.
struct Copy {
    matrix: PackedMatrix,
    touched: u64,
}

/// Copies of one matrix in several packings.
pub(crate) struct Rotation {
    /// Traffic in bytes after which a copy counts as cold.
    distance: u64,
    /// Bytes that all copies together may take.
    limit: usize,
    resident: usize,
    traffic: u64,
    /// Least recently touched first.
    copies: HashMap<Packing, VecDeque<Copy>>,
    /// The smallest reuse distance that occurred because memory or the number of copies was exhausted.
    shortfall: Option<u64>,
    filled: bool,
}

impl Rotation {
    /// An empty rotation. `distance` and `limit` are in bytes.
    pub(crate) fn new(distance: u64, limit: usize) -> Rotation {
        Rotation {
            distance,
            limit,
            resident: 0,
            traffic: 0,
            copies: HashMap::new(),
            shortfall: None,
            filled: false,
        }
    }

    pub(crate) fn contains(&self, packing: Packing) -> bool {
        self.copies
            .get(&packing)
            .is_some_and(|copies| !copies.is_empty())
    }

    /// Adds the first copy of a packing.
    pub(crate) fn insert(&mut self, matrix: PackedMatrix) {
        self.resident += matrix.bytes();
        self.filled = false;
        self.push(matrix);
    }

    /// The copy that was touched last: for checks and calibration, where it may be warm.
    pub(crate) fn take_warm(&mut self, packing: Packing) -> Option<PackedMatrix> {
        self.copies
            .get_mut(&packing)?
            .pop_back()
            .map(|copy| copy.matrix)
    }

    /// Takes `count` copies (fewer if memory does not allow so many) to be read once each, in this order.
    pub(crate) fn take_cold(&mut self, packing: Packing, count: usize) -> Vec<PackedMatrix> {
        if !self.filled {
            self.fill();
        }
        let mut taken: Vec<PackedMatrix> = Vec::with_capacity(count);
        // What the copies before this one in the sample will have read by then.
        let mut ahead = 0;
        while taken.len() < count {
            let copies = self.copies.entry(packing).or_default();
            let age = copies
                .front()
                .map(|copy| self.traffic + ahead - copy.touched);
            if age.is_none_or(|age| age < self.distance) {
                let (missing, source) =
                    match (age, copies.back().map(|copy| &copy.matrix).or(taken.last())) {
                        (_, None) => break,
                        (Some(age), Some(source)) => (self.distance - age, source),
                        (None, Some(source)) => (self.distance, source),
                    };
                let room = COPIES_MAX.saturating_sub(copies.len() + taken.len());
                let room = room.min(self.limit.saturating_sub(self.resident) / source.bytes());
                let wanted = usize::try_from(missing.div_ceil(source.bytes() as u64));
                let batch = duplicate(source, wanted.unwrap_or(usize::MAX).min(room));
                if !batch.is_empty() {
                    self.add(batch);
                    continue;
                }
                self.shortfall = Some(age.unwrap_or(0).min(self.shortfall.unwrap_or(u64::MAX)));
            }
            match self.copies.get_mut(&packing).and_then(VecDeque::pop_front) {
                Some(copy) => {
                    ahead += copy.matrix.bytes() as u64;
                    taken.push(copy.matrix);
                }
                None => break,
            }
        }
        taken
    }

    /// Takes copies back that were just read.
    pub(crate) fn put_back(&mut self, matrices: Vec<PackedMatrix>) {
        for matrix in matrices {
            self.push(matrix);
        }
    }

    /// Counts bytes that something else pulled through the caches.
    pub(crate) fn note_traffic(&mut self, bytes: usize) {
        self.traffic += bytes as u64;
    }

    /// Frees all but one copy of every packing that is not in `packings`, if memory is short.
    pub(crate) fn keep(&mut self, packings: &[Packing]) {
        if self.resident < self.limit / 2 {
            return;
        }
        for (packing, copies) in &mut self.copies {
            while !packings.contains(packing) && copies.len() > 1 {
                if let Some(copy) = copies.pop_front() {
                    self.resident -= copy.matrix.bytes();
                }
            }
        }
    }

    /// Bytes of traffic between two reads of a copy: the distance asked for, or less if memory did not allow it.
    pub(crate) fn reuse_distance(&self) -> u64 {
        self.shortfall.unwrap_or(self.distance).min(self.distance)
    }

    /// Copies all packings in turn, until together they are as many bytes as make a copy cold. The turns leave the
    /// copies in the order in which rounds over the packings will read them.
    fn fill(&mut self) {
        self.filled = true;
        let mut packings: Vec<Packing> = self.copies.keys().copied().collect();
        packings.sort_unstable();
        let turn: usize = packings
            .iter()
            .filter_map(|packing| self.copies[packing].back())
            .map(|copy| copy.matrix.bytes())
            .sum();
        let target = (self.distance as f64 * FILL_SPARE) as usize;
        let target = target.min(self.limit).saturating_sub(self.resident);
        let turns = target.div_ceil(turn.max(1)).min(COPIES_MAX - 1);
        let batches: Vec<Vec<PackedMatrix>> = packings
            .iter()
            .filter_map(|packing| self.copies[packing].back())
            .map(|copy| duplicate(&copy.matrix, turns))
            .collect();
        let mut batches: Vec<_> = batches.into_iter().map(Vec::into_iter).collect();
        for _ in 0..turns {
            let one_each: Vec<PackedMatrix> =
                batches.iter_mut().filter_map(Iterator::next).collect();
            self.add(one_each);
        }
    }

    /// Adds fresh copies; being written is being touched.
    fn add(&mut self, matrices: Vec<PackedMatrix>) {
        for matrix in matrices {
            self.resident += matrix.bytes();
            self.push(matrix);
        }
    }

    fn push(&mut self, matrix: PackedMatrix) {
        self.traffic += matrix.bytes() as u64;
        let copy = Copy {
            touched: self.traffic,
            matrix,
        };
        self.copies
            .entry(copy.matrix.packing())
            .or_default()
            .push_back(copy);
    }
}

/// Up to `count` copies of `matrix`, as many as the system gives memory for.
fn duplicate(matrix: &PackedMatrix, count: usize) -> Vec<PackedMatrix> {
    let copies: Vec<Result<PackedMatrix, MemoryError>> = (0..count)
        .into_par_iter()
        .map(|_| matrix.duplicate())
        .collect();
    copies.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tern_kernels::Pages;

    /// One row of 64 columns as plain trits: 64 bytes.
    fn matrix(packing: Packing) -> PackedMatrix {
        PackedMatrix::pack(packing, 64, 64, Pages::Small, &|_, trits| trits.fill(1)).unwrap()
    }

    /// Reads `count` copies and returns where each of them lies.
    fn read(rotation: &mut Rotation, packing: Packing, count: usize) -> Vec<*const u8> {
        let taken = rotation.take_cold(packing, count);
        let places = taken.iter().map(|matrix| matrix.data().as_ptr()).collect();
        rotation.put_back(taken);
        places
    }

    #[test]
    fn no_copy_is_read_again_before_the_distance() {
        let bytes = matrix(Packing::TRITS).bytes() as u64;
        let mut rotation = Rotation::new(10 * bytes, usize::MAX);
        rotation.insert(matrix(Packing::TRITS));
        let mut last_read: HashMap<*const u8, usize> = HashMap::new();
        let mut reads = 0;
        for count in [1, 3, 1, 7, 2, 5, 4, 4, 9, 1] {
            for place in read(&mut rotation, Packing::TRITS, count) {
                if let Some(before) = last_read.insert(place, reads) {
                    assert!(
                        reads - before >= 10,
                        "read again after {} others",
                        reads - before
                    );
                }
                reads += 1;
            }
        }
        assert_eq!(rotation.reuse_distance(), 10 * bytes);
        assert!(
            rotation.resident <= 24 * bytes as usize,
            "{}",
            rotation.resident
        );
    }

    #[test]
    fn a_small_limit_is_kept_and_reported() {
        let bytes = matrix(Packing::TRITS).bytes();
        let mut rotation = Rotation::new(100 * bytes as u64, 4 * bytes);
        rotation.insert(matrix(Packing::TRITS));
        for _ in 0..10 {
            assert_eq!(read(&mut rotation, Packing::TRITS, 3).len(), 3);
        }
        assert!(rotation.resident <= 4 * bytes);
        assert!(rotation.reuse_distance() < 5 * bytes as u64);
        // More than there is memory for: fewer, not none.
        assert_eq!(read(&mut rotation, Packing::TRITS, 9).len(), 4);
    }

    #[test]
    fn other_traffic_makes_copies_cold_too() {
        let bytes = matrix(Packing::TRITS).bytes();
        let mut rotation = Rotation::new(10 * bytes as u64, usize::MAX);
        rotation.insert(matrix(Packing::TRITS));
        let first = read(&mut rotation, Packing::TRITS, 1);
        let resident = rotation.resident;
        for _ in 0..20 {
            rotation.note_traffic(10 * bytes);
            read(&mut rotation, Packing::TRITS, 1);
        }
        assert_eq!(rotation.resident, resident);
        assert_eq!(first.len(), 1);
    }

    #[test]
    fn an_unknown_packing_gives_nothing() {
        let mut rotation = Rotation::new(1000, usize::MAX);
        assert!(rotation.take_cold(Packing::TRITS, 2).is_empty());
        assert!(rotation.take_warm(Packing::TRITS).is_none());
        assert!(!rotation.contains(Packing::TRITS));
    }
}
