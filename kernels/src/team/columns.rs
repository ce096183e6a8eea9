//! What the workers of a region write side by side: matrices whose columns are split over them.
//!
//! Handing each worker a `&mut` of its own would need a list of them for every region, made by one thread while the others wait, and
//! longer with every thread. Here a worker finds its columns itself, from a split that is known to be disjoint.

use std::marker::PhantomData;
use std::ops::Range;
use std::slice;

use super::Session;

/// How a row of things is split over workers, or over pieces of their work: ranges that are ordered, disjoint, and cover all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    ranges: Ranges,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ranges {
    /// Worker `w` has `bounds[w]..bounds[w + 1]`.
    At(Box<[usize]>),
    /// `len` things, as evenly as whole units of `size` allow.
    Even {
        len: usize,
        size: usize,
        workers: usize,
    },
}

impl Split {
    /// `len` things in units of `size` neighbours (the last unit may be smaller) over `workers` workers: each gets as many units as any
    /// other, or one more.
    ///
    /// # Panics
    ///
    /// If there is no worker, or units have no size.
    pub fn even(len: usize, size: usize, workers: usize) -> Split {
        assert!(
            workers > 0 && size > 0,
            "a split needs a worker and units a size"
        );
        Split {
            ranges: Ranges::Even { len, size, workers },
        }
    }

    /// Worker `w` gets `bounds[w]..bounds[w + 1]`.
    ///
    /// # Panics
    ///
    /// If the bounds are fewer than two, do not start at 0 or descend.
    pub fn at(bounds: impl Into<Box<[usize]>>) -> Split {
        let bounds = bounds.into();
        assert!(bounds.len() > 1 && bounds[0] == 0 && bounds.is_sorted());
        Split {
            ranges: Ranges::At(bounds),
        }
    }

    /// Workers that it is for.
    pub fn workers(&self) -> usize {
        match &self.ranges {
            Ranges::At(bounds) => bounds.len() - 1,
            Ranges::Even { workers, .. } => *workers,
        }
    }

    /// What worker `worker` has; nothing for workers beyond the last.
    pub fn range(&self, worker: usize) -> Range<usize> {
        match &self.ranges {
            Ranges::At(bounds) => {
                let bound = |worker: usize| bounds[worker.min(bounds.len() - 1)];
                bound(worker)..bound(worker.saturating_add(1))
            }
            &Ranges::Even { len, size, workers } => {
                let units = len.div_ceil(size);
                // The first `more` workers have one unit more.
                let (each, more) = (units / workers, units % workers);
                let bound = |worker: usize| {
                    let worker = worker.min(workers);
                    let unit = worker * each + worker.min(more);
                    unit.saturating_mul(size).min(len)
                };
                bound(worker)..bound(worker.saturating_add(1))
            }
        }
    }

    /// All that is split.
    pub fn len(&self) -> usize {
        match &self.ranges {
            Ranges::At(bounds) => bounds[bounds.len() - 1],
            Ranges::Even { len, .. } => *len,
        }
    }

    /// Whether there is nothing to split.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A row-major matrix that the workers of a region write, each its own columns of every row.
pub struct Columns<'a> {
    first: *mut f32,
    rows: usize,
    split: &'a Split,
    matrix: PhantomData<&'a mut [f32]>,
}

// SAFETY: elements are reached through `Strips` only, of which a region makes one for each worker (`Session::run_columns`), and those
// of two workers never reach the same element.
unsafe impl Sync for Columns<'_> {}

// SAFETY: it is a `&mut [f32]` and a shared reference.
unsafe impl Send for Columns<'_> {}

impl<'a> Columns<'a> {
    /// `matrix`, whose rows are as long as what `split` splits.
    ///
    /// # Panics
    ///
    /// If it does not consist of whole rows.
    pub fn new(matrix: &'a mut [f32], split: &'a Split) -> Columns<'a> {
        let width = split.len();
        assert!(
            width > 0 && matrix.len().is_multiple_of(width),
            "whole rows"
        );
        Columns {
            rows: matrix.len() / width,
            first: matrix.as_mut_ptr(),
            split,
            matrix: PhantomData,
        }
    }

    /// Asserts that no split has more than `places` ranges.
    pub(super) fn check(matrices: &[Columns<'_>], places: usize) {
        let ranges = matrices.iter().map(|matrix| matrix.split.workers());
        assert!(
            ranges.max().unwrap_or(0) <= places,
            "a place for each range of a split"
        );
    }

    /// The columns of `place` in row `row`.
    ///
    /// # Safety
    ///
    /// Nobody else has a reference to them.
    #[expect(
        clippy::mut_from_ref,
        reason = "each worker takes other columns of the matrix"
    )]
    unsafe fn piece(&self, place: usize, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let Range { start, end } = self.split.range(place);
        // SAFETY: a `Split` never leaves its `len`, which is the width, and there are so many rows; the caller vouches for the borrow.
        unsafe {
            let first = self.first.add(row * self.split.len() + start);
            slice::from_raw_parts_mut(first, end - start)
        }
    }
}

/// One worker's columns of a region's matrices, or one piece's.
pub struct Strips<'r> {
    /// Which range of the splits.
    place: usize,
    matrices: &'r [Columns<'r>],
}

impl<'r> Strips<'r> {
    /// A region makes one for each place.
    pub(super) fn new(place: usize, matrices: &'r [Columns<'r>]) -> Strips<'r> {
        Strips { place, matrices }
    }
}

impl Strips<'_> {
    /// Its columns of row `row` of the matrix `matrix`.
    ///
    /// # Panics
    ///
    /// If there is no such matrix or row.
    pub fn row(&mut self, matrix: usize, row: usize) -> &mut [f32] {
        // SAFETY: `&mut self`, and these are the place's only `Strips`.
        unsafe { self.matrices[matrix].piece(self.place, row) }
    }

    /// Its columns of all rows of a matrix.
    ///
    /// # Panics
    ///
    /// If there is no such matrix.
    pub fn rows(&mut self, matrix: usize) -> impl ExactSizeIterator<Item = &mut [f32]> {
        let (matrix, place) = (&self.matrices[matrix], self.place);
        // SAFETY: as in `row`; rows do not overlap, and each is returned once.
        (0..matrix.rows).map(move |row| unsafe { matrix.piece(place, row) })
    }

    /// Its columns of row `row` of two matrices.
    ///
    /// # Panics
    ///
    /// If both are the same, or there is no such matrix or row.
    pub fn pair(&mut self, matrices: [usize; 2], row: usize) -> [&mut [f32]; 2] {
        assert_ne!(matrices[0], matrices[1], "two matrices");
        // SAFETY: as in `row`; each `Columns` borrows its matrix alone, so two of them do not overlap.
        matrices.map(|matrix| unsafe { self.matrices[matrix].piece(self.place, row) })
    }
}

impl Session<'_> {
    /// One region over parts, as [`Session::run_parts`], and over columns of matrices: each worker gets its own of all of them.
    ///
    /// # Panics
    ///
    /// As [`Session::run_parts`], and if a split is for more workers than there are parts.
    pub fn run_columns<P: Send>(
        &mut self,
        parts: &mut [P],
        matrices: &mut [Columns<'_>],
        f: impl Fn(usize, &mut P, &mut Strips<'_>) + Sync,
    ) {
        // Borrowed alone until the region ends, so that no other team's workers have strips of them.
        let matrices = &*matrices;
        Columns::check(matrices, parts.len());
        self.run_parts(parts, |worker, part| {
            // A region passes each worker number once, so there are no two `Strips` of a worker: this is what their safety rests on.
            f(worker, part, &mut Strips::new(worker, matrices));
        });
    }
}
