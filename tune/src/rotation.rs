//! Weights that are cold each time they are read, as they are in a model.
//!
//! Between two uses of a matrix a model reads all its other matrices. A benchmark that multiplies with one matrix
//! again and again reads it from the cache instead and prefers kernels that lose on the real thing. So here a race
//! walks through so many copies of its matrices that two reads of the same copy lie more than twice the last-level
//! cache apart. All candidates' reads count: a race of many packings needs few copies of each, a run-off of two needs
//! many, and the memory in use is about the same in every stage. It is planned anew whenever candidates leave.

use std::collections::{HashMap, VecDeque};

use rayon::prelude::*;
use tern_kernels::{MemoryError, PackedMatrix, Packing};

use crate::measure::settle;

/// Copies in all. Each is a mapping, of which a process may have 65530 on Linux.
const COPIES_MAX: usize = 30_000;

/// Bytes that memory is read in on all CPUs of interest, or a divisor of that.
const CACHE_LINE: usize = 64;

/// Spare distance: a race does not visit its packings at exactly even intervals.
const SPARE: f64 = 1.1;

/// What one packing needs in a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    pub packing: Packing,
    /// Copies that all candidates of this packing together read in one round.
    pub per_round: usize,
}

/// Copies of one matrix in several packings.
pub(crate) struct Rotation {
    /// Traffic in bytes after which a copy counts as cold.
    distance: u64,
    /// Bytes that all copies together may take.
    limit: usize,
    /// Least recently touched first.
    copies: HashMap<Packing, VecDeque<PackedMatrix>>,
    /// The smallest number of bytes that a race walked through.
    walked: u64,
}

impl Rotation {
    /// An empty rotation. `distance` and `limit` are in bytes.
    pub(crate) fn new(distance: u64, limit: usize) -> Rotation {
        Rotation {
            distance,
            limit,
            copies: HashMap::new(),
            walked: distance,
        }
    }

    pub(crate) fn contains(&self, packing: Packing) -> bool {
        self.copies
            .get(&packing)
            .is_some_and(|copies| !copies.is_empty())
    }

    /// Makes sure that one more copy of `bytes` bytes (`None`: more than can be counted) may be allocated, if need be
    /// by freeing all but one copy of each packing.
    ///
    /// # Errors
    /// It does not fit even then; the reason.
    pub(crate) fn make_room(&mut self, bytes: Option<usize>) -> Result<(), String> {
        let fits = |held: usize| {
            let sum = bytes.and_then(|bytes| held.checked_add(bytes));
            sum.is_some_and(|sum| sum <= self.limit)
        };
        if fits(self.held()) {
            return Ok(());
        }
        let single: usize = self
            .copies
            .keys()
            .map(|&packing| self.matrix_bytes(packing))
            .sum();
        if fits(single) {
            self.shrink(&[]);
            return Ok(());
        }
        let wanted = bytes.map_or("too many".to_string(), |bytes| {
            format!("{}", bytes.div_ceil(1 << 20))
        });
        Err(format!(
            "its packed weights need {wanted} MiB beside the {} MiB of the others, and {} MiB may be used; \
             free memory or measure smaller shapes",
            single >> 20,
            self.limit >> 20
        ))
    }

    /// Bytes of all copies.
    fn held(&self) -> usize {
        self.copies
            .values()
            .flatten()
            .map(PackedMatrix::bytes)
            .sum()
    }

    /// Adds a copy that was just written or read: it will be read again last.
    pub(crate) fn insert(&mut self, matrix: PackedMatrix) {
        self.copies
            .entry(matrix.packing())
            .or_default()
            .push_back(matrix);
    }

    /// Plans a race: makes as many copies for each demand as its rounds need, and frees what is not needed, except
    /// one copy of each packing.
    pub(crate) fn plan(&mut self, demands: &[Demand]) {
        let mut demands = demands.to_vec();
        demands.retain(|demand| demand.per_round > 0 && self.contains(demand.packing));
        if demands.is_empty() {
            return;
        }
        if self.reached(&demands) < self.distance {
            let targets = self.targets(&demands);
            self.shrink(&targets);
            self.grow(&targets);
        }
        self.walked = self.walked.min(self.reached(&demands));
    }

    /// Bytes that one round reads.
    fn round_bytes(&self, demands: &[Demand]) -> usize {
        demands
            .iter()
            .map(|demand| demand.per_round * self.matrix_bytes(demand.packing))
            .sum()
    }

    /// Bytes between two reads of a copy, where they are fewest, with the copies that there are.
    fn reached(&self, demands: &[Demand]) -> u64 {
        let round = self.round_bytes(demands) as u64;
        let walks = demands.iter().map(|demand| {
            self.copies[&demand.packing].len() as u64 * round / demand.per_round as u64
        });
        walks.min().unwrap_or(0)
    }

    /// How many copies each packing needs, as far as memory allows.
    fn targets(&self, demands: &[Demand]) -> Vec<(Packing, usize)> {
        let idle: usize = self
            .copies
            .keys()
            .map(|&packing| self.matrix_bytes(packing))
            .sum();
        let room = self.limit.saturating_sub(idle) as f64;
        let bytes = (self.distance as f64 * SPARE).min(room);
        let copies: usize = demands.iter().map(|demand| demand.per_round).sum();
        let rounds = bytes / self.round_bytes(demands) as f64;
        let rounds = rounds.min(COPIES_MAX as f64 / copies as f64);
        let target = |demand: &Demand| (demand.per_round as f64 * rounds).ceil() as usize;
        demands
            .iter()
            .map(|demand| (demand.packing, target(demand)))
            .collect()
    }

    /// Takes up to `count` copies to be read once each, in this order; fewer if there are not so many.
    pub(crate) fn take(&mut self, packing: Packing, count: usize) -> Vec<PackedMatrix> {
        let copies = self.copies.entry(packing).or_default();
        copies.drain(..count.min(copies.len())).collect()
    }

    /// Takes the copy that was touched last: for checks and calibration, where it may be warm.
    pub(crate) fn take_warm(&mut self, packing: Packing) -> Option<PackedMatrix> {
        self.copies.get_mut(&packing)?.pop_back()
    }

    /// Takes copies back that were just read.
    pub(crate) fn put_back(&mut self, matrices: Vec<PackedMatrix>) {
        for matrix in matrices {
            self.insert(matrix);
        }
    }

    /// Bytes between two reads of a copy, in the race where they were fewest: the distance asked for, or less if
    /// memory did not allow it.
    pub(crate) fn reuse_distance(&self) -> u64 {
        self.walked
    }

    /// Bytes of one copy in a packing.
    fn matrix_bytes(&self, packing: Packing) -> usize {
        self.copies
            .get(&packing)
            .and_then(VecDeque::back)
            .map_or(0, PackedMatrix::bytes)
    }

    /// Frees copies beyond the targets, and all but one of the packings without a target.
    fn shrink(&mut self, targets: &[(Packing, usize)]) {
        for (packing, copies) in &mut self.copies {
            let target = targets.iter().find(|(other, _)| other == packing);
            copies.truncate(target.map_or(1, |&(_, target)| target.max(1)));
        }
    }

    /// Adds copies up to the targets, all packings in turn: the order in which rounds will read them, so that the
    /// first to be read again are the first to have been written.
    fn grow(&mut self, targets: &[(Packing, usize)]) {
        let mut batches = Vec::new();
        for (packing, target) in targets {
            let copies = &self.copies[packing];
            if let Some(matrix) = copies.back() {
                let missing = target.saturating_sub(copies.len());
                batches.push(duplicate(matrix, missing));
            }
        }
        settle_copies(&batches);
        let mut batches: Vec<_> = batches.into_iter().map(Vec::into_iter).collect();
        let longest = batches
            .iter()
            .map(ExactSizeIterator::len)
            .max()
            .unwrap_or(0);
        for turn in 0..longest {
            for batch in &mut batches {
                // Spread shorter batches evenly over the turns.
                let left = longest - turn;
                for matrix in batch.take(batch.len().div_ceil(left)).collect::<Vec<_>>() {
                    self.insert(matrix);
                }
            }
        }
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

/// Reads fresh copies until they are read as fast as old ones: in a race nobody is to be slower for having got new memory.
fn settle_copies(batches: &[Vec<PackedMatrix>]) {
    let copies: Vec<&PackedMatrix> = batches.iter().flatten().collect();
    if copies.is_empty() {
        return;
    }
    let touch = |matrix: &&PackedMatrix| {
        let lines = matrix.data().iter().step_by(CACHE_LINE);
        lines.fold(0u8, |mix, byte| mix ^ byte)
    };
    settle(|| {
        std::hint::black_box(copies.par_iter().map(touch).reduce(|| 0, |a, b| a ^ b));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use tern_kernels::Pages;

    const BYTES: usize = 64 * 64;

    /// Packings of equal size, so that the tests can count in matrices.
    fn packings() -> [Packing; 2] {
        let other = Packing {
            lanes: 2,
            ..Packing::TRITS
        };
        [Packing::TRITS, other]
    }

    fn matrix(packing: Packing) -> PackedMatrix {
        let matrix = PackedMatrix::pack(packing, 64, 64, Pages::Small, &|_, t| t.fill(1)).unwrap();
        assert_eq!(matrix.bytes(), BYTES);
        matrix
    }

    fn rotation(distance: usize, limit: usize) -> Rotation {
        let mut rotation = Rotation::new((distance * BYTES) as u64, limit.saturating_mul(BYTES));
        for packing in packings() {
            rotation.insert(matrix(packing));
        }
        rotation
    }

    #[test]
    fn there_is_room_after_spare_copies_are_freed_or_a_reason() {
        let mut rotation = rotation(100, 5);
        rotation.insert(matrix(packings()[0]));
        rotation.insert(matrix(packings()[0]));
        assert_eq!(rotation.held(), 4 * BYTES);
        rotation.make_room(Some(BYTES)).unwrap();
        assert_eq!(rotation.held(), 4 * BYTES);
        rotation.make_room(Some(2 * BYTES)).unwrap();
        assert_eq!(rotation.held(), 2 * BYTES);
        for bytes in [Some(4 * BYTES), Some(usize::MAX), None] {
            let reason = rotation.make_room(bytes).unwrap_err();
            assert!(reason.contains("MiB may be used"), "{reason}");
        }
    }

    /// Reads copies as a race would, and remembers when each was read.
    #[derive(Default)]
    struct Reader {
        reads: usize,
        last: HashMap<*const u8, usize>,
        shortest: Option<usize>,
    }

    impl Reader {
        fn read(&mut self, rotation: &mut Rotation, packing: Packing, count: usize) {
            let taken = rotation.take(packing, count);
            assert_eq!(taken.len(), count);
            for matrix in &taken {
                if let Some(before) = self.last.insert(matrix.data().as_ptr(), self.reads) {
                    let gap = self.reads - before;
                    self.shortest = Some(self.shortest.map_or(gap, |shortest| shortest.min(gap)));
                }
                self.reads += 1;
            }
            rotation.put_back(taken);
        }
    }

    #[test]
    fn no_copy_is_read_again_before_the_distance() {
        let [a, b] = packings();
        let mut rotation = rotation(100, usize::MAX);
        rotation.plan(&[
            Demand {
                packing: a,
                per_round: 3,
            },
            Demand {
                packing: b,
                per_round: 1,
            },
        ]);
        let mut reader = Reader::default();
        for _ in 0..200 {
            reader.read(&mut rotation, a, 3);
            reader.read(&mut rotation, b, 1);
        }
        assert!(reader.shortest.unwrap() >= 100, "{:?}", reader.shortest);
        assert_eq!(rotation.reuse_distance(), (100 * BYTES) as u64);

        // One of the two leaves: the other one gets the copies.
        rotation.plan(&[Demand {
            packing: b,
            per_round: 2,
        }]);
        let mut reader = Reader::default();
        for _ in 0..200 {
            reader.read(&mut rotation, b, 2);
        }
        assert!(reader.shortest.unwrap() >= 100, "{:?}", reader.shortest);
        assert_eq!(rotation.copies[&a].len(), 1);
        assert!(rotation.copies[&b].len() < 130);
    }

    #[test]
    fn a_small_limit_is_kept_and_reported() {
        let [a, _] = packings();
        let mut rotation = rotation(100, 12);
        rotation.plan(&[Demand {
            packing: a,
            per_round: 2,
        }]);
        assert_eq!(rotation.copies[&a].len(), 10);
        assert_eq!(rotation.reuse_distance(), (10 * BYTES) as u64);
        // More than there is memory for: fewer, not none.
        assert_eq!(rotation.take(a, 50).len(), 10);
    }

    #[test]
    fn an_unknown_packing_gives_nothing() {
        let mut rotation = Rotation::new(1000, usize::MAX);
        rotation.plan(&[Demand {
            packing: Packing::TRITS,
            per_round: 1,
        }]);
        assert!(rotation.take(Packing::TRITS, 2).is_empty());
        assert!(rotation.take_warm(Packing::TRITS).is_none());
        assert!(!rotation.contains(Packing::TRITS));
    }
}
