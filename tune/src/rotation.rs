//! Weights that are cold each time they are read, as they are in a model.
//!
//! Between two uses of a matrix a model reads all its other matrices. A benchmark that multiplies with one matrix
//! again and again reads it from the cache instead and prefers kernels that lose on the real thing. So here a race
//! walks through so many copies of its matrices that two reads of the same copy lie more than twice the last-level
//! cache apart. All candidates' reads count: a race of many packings needs few copies of each, a run-off of two needs
//! many, and the memory in use is about the same in every stage. It is planned anew whenever candidates leave.
//!
//! Memory is not equally fast everywhere: which frames of the machine a mapping gets made the same kernel up to a tenth faster
//! or slower (on a virtual machine with a Zen 3, 640x2560 on small pages: 0.90 to 1.01 for the same two kernels over six
//! mappings, each ratio known to 0.005 and the same from second to second). So no packing keeps its memory: copies change
//! places each time that a race is planned, and over as many deals as there are copies each packing has had all places.
//! For two packings of as many copies, two deals are a crossover trial.

use std::collections::{HashMap, VecDeque};

use rayon::prelude::*;
use tern_kernels::{Buffer, PackedMatrix, Packing, Pages};

use crate::measure::{Clock, settle};

/// Copies in all. Each is a mapping, of which a process may have 65530 on Linux.
const COPIES_MAX: usize = 30_000;

/// Bytes that memory is read in on all CPUs of interest, or a divisor of that.
const CACHE_LINE: usize = 64;

/// Bursts that a packing has copies for beyond those that the distance asks for: every second round runs backwards, so that around
/// its ends a packing's turns lie closer together, by one on either side.
const SPARE_BURSTS: usize = 2;

/// A place serves if it is at most this many times as large as it must be. Others only take memory.
const PLACE_EXCESS: usize = 2;

/// What one packing needs in a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    pub packing: Packing,
    /// Copies that all candidates of this packing together read in one round.
    pub per_round: usize,
    /// Copies that one of them reads in one turn, at most.
    pub burst: usize,
}

/// Copies of one matrix in several packings.
pub(crate) struct Rotation {
    /// Traffic in bytes after which a copy counts as cold.
    distance: u64,
    /// Bytes that everything together may take.
    limit: usize,
    /// One matrix of each packing, which all copies are made from.
    originals: HashMap<Packing, PackedMatrix>,
    /// What races read, least recently touched first.
    copies: HashMap<Packing, VecDeque<PackedMatrix>>,
    /// How often copies were dealt out.
    deals: usize,
    /// The smallest number of bytes that a race walked through.
    walked: u64,
}

impl Rotation {
    /// An empty rotation. `distance` and `limit` are in bytes.
    pub(crate) fn new(distance: u64, limit: usize) -> Rotation {
        Rotation {
            distance,
            limit,
            originals: HashMap::new(),
            copies: HashMap::new(),
            deals: 0,
            walked: distance,
        }
    }

    pub(crate) fn contains(&self, packing: Packing) -> bool {
        self.originals.contains_key(&packing)
    }

    /// Makes sure that one more original of `bytes` bytes (`None`: more than can be counted) may be allocated, if need be
    /// by freeing all copies.
    ///
    /// # Errors
    /// It does not fit even then; the reason.
    pub(crate) fn make_room(&mut self, bytes: Option<usize>) -> Result<(), String> {
        let fits = |held: usize| {
            let sum = bytes.and_then(|bytes| held.checked_add(bytes));
            sum.is_some_and(|sum| sum <= self.limit)
        };
        let (originals, copies) = self.originals_and_copies();
        if fits(originals + copies) {
            return Ok(());
        }
        if fits(originals) {
            self.free_copies();
            return Ok(());
        }
        let wanted = bytes.map_or("too many".to_string(), |bytes| {
            format!("{}", bytes.div_ceil(1 << 20))
        });
        Err(format!(
            "its packed weights need {wanted} MiB beside the {} MiB of the others, and {} MiB may be used; \
             free memory or measure smaller shapes",
            originals >> 20,
            self.limit >> 20
        ))
    }

    /// Gives all copies back to the system; the next race makes new ones.
    pub(crate) fn free_copies(&mut self) {
        self.copies.clear();
    }

    /// Keeps the originals of these packings only, and no copies.
    pub(crate) fn keep_only(&mut self, packings: &[Packing]) {
        self.free_copies();
        self.originals
            .retain(|packing, _| packings.contains(packing));
    }

    /// Bytes of everything.
    pub(crate) fn held(&self) -> usize {
        let (originals, copies) = self.originals_and_copies();
        originals + copies
    }

    /// Bytes of the originals and of the copies.
    fn originals_and_copies(&self) -> (usize, usize) {
        let originals = self.originals.values().map(PackedMatrix::bytes).sum();
        let copies = self.copies.values().flatten().map(PackedMatrix::capacity);
        (originals, copies.sum())
    }

    /// Adds the first matrix of a packing.
    pub(crate) fn insert(&mut self, original: PackedMatrix) {
        self.originals.insert(original.packing(), original);
    }

    /// Plans a race: makes as many copies for each demand as its rounds need, frees what is not needed, and lets the packings
    /// change places.
    pub(crate) fn plan(&mut self, demands: &[Demand]) {
        let mut demands = demands.to_vec();
        demands.retain(|demand| demand.per_round > 0 && self.contains(demand.packing));
        if demands.is_empty() {
            return;
        }
        let mut targets: Vec<(Packing, usize)> = demands
            .iter()
            .map(|demand| (demand.packing, self.count(demand.packing)))
            .collect();
        let is_short = self.reached(&demands) < self.distance;
        if is_short {
            targets = self.targets(&demands);
        }
        if is_short || targets.len() > 1 {
            self.deal(&targets);
        }
        self.walked = self.walked.min(self.reached(&demands));
    }

    /// Bytes that one round reads.
    fn round_bytes(&self, demands: &[Demand]) -> usize {
        demands
            .iter()
            .map(|demand| demand.per_round * self.originals[&demand.packing].bytes())
            .sum()
    }

    /// Bytes between two reads of a copy, where they are fewest, with the copies that there are.
    fn reached(&self, demands: &[Demand]) -> u64 {
        let round = self.round_bytes(demands) as u64;
        let walks = demands.iter().map(|demand| {
            let spare = SPARE_BURSTS * demand.burst;
            let between = self.count(demand.packing).saturating_sub(spare);
            between as u64 * round / demand.per_round as u64
        });
        walks.min().unwrap_or(0)
    }

    fn count(&self, packing: Packing) -> usize {
        self.copies.get(&packing).map_or(0, VecDeque::len)
    }

    /// How many copies each packing needs, as far as memory allows.
    fn targets(&self, demands: &[Demand]) -> Vec<(Packing, usize)> {
        let room = self.limit.saturating_sub(self.originals_and_copies().0);
        let copies: usize = demands.iter().map(|demand| demand.per_round).sum();
        let rounds = self.distance as f64 / self.round_bytes(demands) as f64;
        let rounds = rounds.min(COPIES_MAX as f64 / copies as f64);
        let wanted: Vec<(Packing, usize)> = demands
            .iter()
            .map(|demand| {
                let between = (demand.per_round as f64 * rounds).ceil() as usize;
                (demand.packing, between + SPARE_BURSTS * demand.burst)
            })
            .collect();
        // Each copy may come to lie in any place, so all places are as large as the largest.
        let bytes = self.place(&wanted) as f64;
        let count: usize = wanted.iter().map(|(_, target)| target).sum();
        let share = room as f64 / (count as f64 * bytes);
        if share >= 1.0 {
            return wanted;
        }
        let less =
            |(packing, target): (Packing, usize)| (packing, (target as f64 * share) as usize);
        wanted.into_iter().map(less).collect()
    }

    /// Bytes of the largest matrix among `targets`.
    fn place(&self, targets: &[(Packing, usize)]) -> usize {
        let bytes = |(packing, _): &(Packing, usize)| self.originals[packing].bytes();
        targets.iter().map(bytes).max().unwrap_or(0)
    }

    /// Takes up to `count` copies to be read once each, in this order; fewer if there are not so many, but one.
    pub(crate) fn take(&mut self, packing: Packing, count: usize) -> Vec<PackedMatrix> {
        let copies = self.copies.entry(packing).or_default();
        match copies.len().min(count) {
            0 => self.take_warm(packing).into_iter().collect(),
            count => copies.drain(..count).collect(),
        }
    }

    /// Takes the original: for checks and calibration, where it may be warm.
    pub(crate) fn take_warm(&mut self, packing: Packing) -> Option<PackedMatrix> {
        self.originals.remove(&packing)
    }

    /// Takes matrices back that were just read.
    pub(crate) fn put_back(&mut self, matrices: Vec<PackedMatrix>) {
        for matrix in matrices {
            let packing = matrix.packing();
            if self.contains(packing) {
                self.copies.entry(packing).or_default().push_back(matrix);
            } else {
                self.insert(matrix);
            }
        }
    }

    /// Bytes between two reads of a copy, in the race where they were fewest: the distance asked for, or less if
    /// memory did not allow it.
    pub(crate) fn reuse_distance(&self) -> u64 {
        self.walked
    }

    /// Deals the places out to the packings in turn, the order in which rounds will read them. Each deal begins one place further on
    /// than the one before. The copies are read once before a race reads them, in the race's order, so that the first to be read
    /// have been out of the caches for longest.
    fn deal(&mut self, targets: &[(Packing, usize)]) {
        let owners = in_turn(targets);
        let (mut places, are_new) = self.places(self.place(targets), owners.len());
        // Fewer if the system gave less memory than was asked for.
        let count = places.len().max(1);
        places.rotate_left(self.deals % count);
        self.deals += 1;
        let dealt: Vec<(Packing, Buffer)> = owners.into_iter().zip(places).collect();
        let originals = &self.originals;
        let copies: Vec<PackedMatrix> = dealt
            .into_par_iter()
            .map(|(packing, place)| originals[&packing].duplicate_in(place))
            .collect();
        if are_new {
            settle(|| {
                let clock = Clock::start();
                std::hint::black_box(copies.par_iter().map(touch).reduce(|| 0, |a, b| a ^ b));
                clock.us()
            });
        }
        for copy in copies {
            std::hint::black_box(touch(&copy));
            let copies = self.copies.entry(copy.packing()).or_default();
            copies.push_back(copy);
        }
    }

    /// `count` places of at least `bytes` bytes each, in the order of their addresses. Those that there are come back from the copies;
    /// also says whether there are new ones.
    fn places(&mut self, bytes: usize, count: usize) -> (Vec<Buffer>, bool) {
        let copies = std::mem::take(&mut self.copies);
        let mut places: Vec<Buffer> = copies
            .into_values()
            .flatten()
            .filter_map(PackedMatrix::into_buffer)
            .filter(|place| (bytes..=PLACE_EXCESS * bytes).contains(&place.capacity()))
            .collect();
        places.sort_by_key(|place| place.as_ptr());
        places.truncate(count);
        let pages = self.originals.values().next().map(PackedMatrix::pages);
        let fresh = fresh(bytes, count - places.len(), pages.unwrap_or_default());
        let are_new = !fresh.is_empty();
        places.extend(fresh);
        places.sort_by_key(|place| place.as_ptr());
        (places, are_new)
    }
}

/// Each packing as often as its target says, evenly mixed.
fn in_turn(targets: &[(Packing, usize)]) -> Vec<Packing> {
    let mut turns: Vec<(f64, Packing)> = Vec::new();
    for &(packing, target) in targets {
        turns.extend((0..target).map(|turn| ((turn as f64 + 0.5) / target as f64, packing)));
    }
    // A stable sort: who has the same turn keeps the order of the targets.
    turns.sort_by(|a, b| a.0.total_cmp(&b.0));
    turns.into_iter().map(|(_, packing)| packing).collect()
}

/// Up to `count` new places, as many as the system gives memory for.
fn fresh(bytes: usize, count: usize, pages: Pages) -> Vec<Buffer> {
    (0..count)
        .map_while(|_| Buffer::zeroed(bytes, pages).ok())
        .collect()
}

/// Reads a copy.
fn touch(copy: &PackedMatrix) -> u8 {
    let lines = copy.data().iter().step_by(CACHE_LINE);
    lines.fold(0, |mix, byte| mix ^ byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::in_round;
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

    /// So many copies a round, one in each turn.
    fn demand(packing: Packing, per_round: usize) -> Demand {
        Demand {
            packing,
            per_round,
            burst: 1,
        }
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
    fn there_is_room_after_copies_are_freed_or_a_reason() {
        let mut rotation = rotation(100, 5);
        rotation.put_back(vec![matrix(packings()[0]), matrix(packings()[0])]);
        assert_eq!(rotation.originals_and_copies(), (2 * BYTES, 2 * BYTES));
        rotation.make_room(Some(BYTES)).unwrap();
        assert_eq!(rotation.originals_and_copies(), (2 * BYTES, 2 * BYTES));
        rotation.make_room(Some(2 * BYTES)).unwrap();
        assert_eq!(rotation.originals_and_copies(), (2 * BYTES, 0));
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
        let three_at_once = Demand {
            burst: 3,
            ..demand(a, 3)
        };
        rotation.plan(&[three_at_once, demand(b, 1)]);
        let mut reader = Reader::default();
        for round in 0..200 {
            let turns = [(a, 3), (b, 1)];
            for turn in in_round(round, turns.len()) {
                let (packing, count) = turns[turn];
                reader.read(&mut rotation, packing, count);
            }
        }
        assert!(reader.shortest.unwrap() >= 100, "{:?}", reader.shortest);
        assert_eq!(rotation.reuse_distance(), (100 * BYTES) as u64);

        // One of the two leaves: the other one gets the copies.
        rotation.plan(&[demand(b, 2)]);
        let mut reader = Reader::default();
        for _ in 0..200 {
            reader.read(&mut rotation, b, 2);
        }
        assert!(reader.shortest.unwrap() >= 100, "{:?}", reader.shortest);
        assert_eq!(rotation.count(a), 0);
        assert!(rotation.count(b) < 130);
    }

    #[test]
    fn a_small_limit_is_kept_and_reported() {
        let [a, _] = packings();
        let mut rotation = rotation(100, 12);
        rotation.plan(&[demand(a, 2)]);
        assert_eq!(rotation.count(a), 10);
        assert_eq!(rotation.reuse_distance(), (8 * BYTES) as u64);
        // More than there is memory for: fewer, not none.
        assert_eq!(rotation.take(a, 50).len(), 10);
    }

    #[test]
    fn without_room_for_copies_the_originals_are_read() {
        let [a, b] = packings();
        let mut rotation = rotation(100, 2);
        rotation.plan(&[demand(a, 3), demand(b, 3)]);
        let taken = rotation.take(a, 3);
        assert_eq!(taken.len(), 1);
        rotation.put_back(taken);
        assert!(rotation.contains(a));
        assert_eq!(rotation.originals_and_copies(), (2 * BYTES, 0));
        assert_eq!(rotation.reuse_distance(), 0);
    }

    /// Where the copies of a packing lie.
    fn places(rotation: &Rotation, packing: Packing) -> Vec<*const u8> {
        let copies = rotation.copies[&packing].iter();
        let mut places: Vec<_> = copies.map(|copy| copy.data().as_ptr()).collect();
        places.sort();
        places
    }

    #[test]
    fn two_packings_change_places_and_keep_their_weights() {
        let [a, b] = packings();
        let mut rotation = rotation(100, usize::MAX);
        let demands = [a, b].map(|packing| demand(packing, 1));
        rotation.plan(&demands);
        let before = (places(&rotation, a), places(&rotation, b));
        rotation.plan(&demands);
        assert_eq!((places(&rotation, b), places(&rotation, a)), before);
        for packing in [a, b] {
            let original = &rotation.originals[&packing];
            for copy in &rotation.copies[&packing] {
                assert_eq!(copy.data(), original.data());
            }
        }
    }

    #[test]
    fn a_round_longer_than_the_distance_has_copies_too() {
        let [a, b] = packings();
        let mut rotation = rotation(1, usize::MAX);
        let demands = [a, b].map(|packing| demand(packing, 4));
        rotation.plan(&demands);
        let mut reader = Reader::default();
        for round in 0..20 {
            for turn in in_round(round, 8) {
                reader.read(&mut rotation, [a, b][turn % 2], 1);
            }
        }
        assert!(reader.shortest.unwrap() > 1, "{:?}", reader.shortest);
    }

    #[test]
    fn turns_are_mixed_evenly() {
        let [a, b] = packings();
        assert_eq!(in_turn(&[(a, 2), (b, 2)]), [a, b, a, b]);
        assert_eq!(in_turn(&[(a, 3), (b, 1)]), [a, a, b, a]);
        assert_eq!(in_turn(&[(a, 0), (b, 1)]), [b]);
    }

    #[test]
    fn an_unknown_packing_gives_nothing() {
        let mut rotation = Rotation::new(1000, usize::MAX);
        rotation.plan(&[demand(Packing::TRITS, 1)]);
        assert!(rotation.take(Packing::TRITS, 2).is_empty());
        assert!(rotation.take_warm(Packing::TRITS).is_none());
        assert!(!rotation.contains(Packing::TRITS));
    }
}
