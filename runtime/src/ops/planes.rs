//! A dense matrix in few bits: planes, each of which holds what those before it leave.
//!
//! A plane has four or two bits for each weight. A row of a plane is a scale and, for each weight, one of the levels of a
//! codebook; the levels are those with the least error for numbers that are normally distributed (S. Lloyd, J. Max) and, in the later
//! planes, for what is left of them. With each row stands how long the vector is that all planes up to this one leave out: what is
//! said of a row by its planes is off by at most that length times the other vector's.
//!
//! Of rows whose weights are normally distributed a first plane of four bits leaves out 0.098 of the length, a second of two bits 0.04. A
//! third leaves 0.027, three times what whole numbers of eight bits would: the few levels of later planes do not reach the largest
//! weights. A first plane of two bits leaves out 0.34, a second 0.14.

use std::ops::Range;

use multiversion::multiversion;
use rayon::prelude::*;
use tern_kernels::codebook::{COLS_MAX, LINE, PANEL, SHORT_MAX, VALUE_MAX, pack_row};
use tern_kernels::{Buffer, CodeBits, Codebook, Cpu, DigitVector, MemoryError, Pages};

use super::lanes::LANES;
use crate::dense::DenseMatrix;

/// The levels of a plane.
#[derive(Clone, Copy)]
struct Levels {
    levels: &'static [i8],
    /// Where a row's scale starts: the outermost level, in root mean squares of a row.
    outer: f32,
}

impl Levels {
    /// Of the first plane, and of those after it.
    fn of(bits: CodeBits, is_first: bool) -> Levels {
        match (bits, is_first) {
            (CodeBits::Four, _) => Levels {
                levels: &[
                    -63, -48, -37, -29, -22, -15, -9, -3, 3, 9, 15, 22, 29, 37, 48, 63,
                ],
                outer: 2.73,
            },
            (CodeBits::Two, true) => Levels {
                levels: &[-63, -19, 19, 63],
                outer: 1.51,
            },
            (CodeBits::Two, false) => Levels {
                levels: &[-63, -20, 20, 63],
                outer: 1.6,
            },
        }
    }

    /// Those above zero; the others are the same below.
    fn upper(self) -> &'static [i8] {
        &self.levels[self.levels.len() / 2..]
    }
}

/// Rows whose products are taken at a time: their sums stay in the first-level cache.
pub(crate) const CHUNK: usize = 256;

/// Times that a row's scale is fitted to its codes, and its codes to the scale.
const FITS: usize = 3;

/// Lengths are widened by this share, which is far above the rounding of some thousand `f64` operations.
pub(crate) const WIDEN: f64 = 1.0 + 1e-6;

/// One plane of a matrix.
struct Plane {
    codebook: Codebook,
    levels: Levels,
    /// Rows interleaved in panels where `is_interleaved`, else one after another.
    codes: Buffer,
    is_interleaved: bool,
    row_bytes: usize,
    /// `[rows]` of `f32`: what a row's levels are multiplied with.
    scales: Buffer,
    /// `[rows]` of `f32`: the length of what all planes up to this one leave out of a row, at most.
    errors: Buffer,
}

/// A matrix in planes.
pub(crate) struct Planes {
    rows: usize,
    cols: usize,
    planes: Vec<Plane>,
    /// `[rows]` of `f32`: the length of a row, at most; infinite where it holds a number that is not finite.
    norms: Buffer,
}

/// A vector, ready to be multiplied with planes.
pub(crate) struct Query {
    digits: DigitVector,
    /// What its integers are multiplied with.
    step: f64,
    /// Its length, at most.
    pub norm: f64,
    /// The length of what its integers leave out, at most.
    pub rest: f64,
}

/// Where eight bits of a vector leave out no more than this share of its length, they are enough to bound products with planes: it widens
/// bounds by a sixth of what a first plane of four bits does, at most, and products take two thirds of the time.
const COARSE_REST: f64 = 1.0 / 64.0;

impl Query {
    /// Makes a vector ready, in 14 bits; `None` if it holds a number that is not finite, or its length is none.
    pub fn new(x: &[f32]) -> Option<Query> {
        Query::of_size(x, VALUE_MAX)
    }

    /// The same in eight bits, where that is nearly as good for bounds: where no number is much larger than the others.
    pub fn coarse(x: &[f32]) -> Option<Query> {
        let coarse = Query::of_size(x, SHORT_MAX)?;
        match coarse.rest <= COARSE_REST * coarse.norm {
            true => Some(coarse),
            false => Query::new(x),
        }
    }

    /// Makes a vector ready, as whole numbers of at most `max`.
    fn of_size(x: &[f32], max: i16) -> Option<Query> {
        let largest = x.iter().fold(0.0, |a: f32, x| a.max(x.abs()));
        // `max` passes over NaN, the length does not.
        let norm = length(x.iter().map(|&x| f64::from(x)));
        if !norm.is_finite() || norm > f64::from(f32::MAX) {
            return None;
        }
        let step = f64::from(largest) / f64::from(max);
        let by = if step > 0.0 { 1.0 / step } else { 0.0 };
        let integer = |&x: &f32| (f64::from(x) * by).round_ties_even() as i16;
        let values: Vec<i16> = x.iter().map(integer).collect();
        let values_max = values.iter().fold(0, |a: i16, x| a.max(x.saturating_abs()));
        if values_max > max {
            return None;
        }
        let rest = x.iter().zip(&values);
        let rest = length(rest.map(|(&x, &p)| f64::from(x) - step * f64::from(p)));
        Some(Query {
            digits: DigitVector::new(&values),
            step,
            norm,
            rest,
        })
    }
}

impl Planes {
    /// Bytes of planes of so many bits each of a matrix.
    pub fn bytes_for(rows: usize, cols: usize, planes: &[CodeBits]) -> u64 {
        let codes =
            |bits: &CodeBits| rows.next_multiple_of(PANEL) as u64 * bits.row_bytes(cols) as u64;
        let numbers = 4 * rows as u64 * (2 * planes.len() as u64 + 1);
        planes.iter().map(codes).sum::<u64>() + numbers
    }

    /// Whether rows of `cols` columns can be multiplied without leaving 32 bits.
    pub fn can_hold(cols: usize) -> bool {
        cols <= COLS_MAX
    }

    /// Makes planes of `matrix`, of so many bits each, in parallel, with kernels for `cpu`.
    ///
    /// # Errors
    ///
    /// No memory.
    ///
    /// # Panics
    ///
    /// If it [cannot hold](Planes::can_hold) the columns.
    pub fn new(
        matrix: &DenseMatrix,
        bits: &[CodeBits],
        cpu: &Cpu,
        pages: Pages,
    ) -> Result<Planes, MemoryError> {
        let (rows, cols) = (matrix.rows(), matrix.cols());
        assert!(Planes::can_hold(cols), "{cols} columns");
        let lengths = Planes::part_lengths(rows, cols, bits);
        let parts = lengths.iter().map(|&len| Buffer::zeroed(len, pages));
        let parts = parts.collect::<Result<Vec<Buffer>, MemoryError>>()?;
        let mut planes = Planes::assemble(rows, cols, bits, cpu, parts);
        planes.fill(matrix);
        Ok(planes)
    }

    /// Bytes of each part of planes: the rows' lengths, then of each plane codes, scales and errors.
    fn part_lengths(rows: usize, cols: usize, planes: &[CodeBits]) -> Vec<usize> {
        let plane = |bits: &CodeBits| {
            let codes = rows.next_multiple_of(PANEL) * bits.row_bytes(cols);
            [codes, 4 * rows, 4 * rows]
        };
        let planes = planes.iter().flat_map(plane);
        std::iter::once(4 * rows).chain(planes).collect()
    }

    /// The parts, the rows' lengths and then of each plane codes, scales and errors: all that [`Planes::from_parts`] needs to make the same again.
    pub fn parts(&self) -> Vec<&[u8]> {
        let mut parts: Vec<&[u8]> = vec![&self.norms];
        for plane in &self.planes {
            parts.extend([&*plane.codes, &*plane.scales, &*plane.errors]);
        }
        parts
    }

    /// Planes of parts that were stored; `None` if their number or lengths are not those of such a matrix. What they hold is taken on trust.
    pub fn from_parts(
        (rows, cols): (usize, usize),
        bits: &[CodeBits],
        cpu: &Cpu,
        parts: Vec<Buffer>,
    ) -> Option<Planes> {
        let lengths = parts.iter().map(|part| part.len());
        let is_whole = Planes::can_hold(cols) && lengths.eq(Planes::part_lengths(rows, cols, bits));
        is_whole.then(|| Planes::assemble(rows, cols, bits, cpu, parts))
    }

    fn assemble(
        rows: usize,
        cols: usize,
        bits: &[CodeBits],
        cpu: &Cpu,
        parts: Vec<Buffer>,
    ) -> Planes {
        let mut parts = parts.into_iter();
        let norms = parts.next().expect("the rows' lengths");
        let mut planes = Vec::new();
        for (index, &bits) in bits.iter().enumerate() {
            let mut part = || parts.next().expect("three parts of each plane");
            let (codes, scales, errors) = (part(), part(), part());
            let levels = Levels::of(bits, index == 0);
            planes.push(Plane {
                codebook: Codebook::new(cpu, bits, levels.levels),
                levels,
                codes,
                // Rows of later planes are asked for one by one.
                is_interleaved: index == 0,
                row_bytes: bits.row_bytes(cols),
                scales,
                errors,
            });
        }
        Planes {
            rows,
            cols,
            planes,
            norms,
        }
    }

    /// Fills everything from `matrix`.
    fn fill(&mut self, matrix: &DenseMatrix) {
        let cols = self.cols;
        let mut chunks: Vec<Chunk<'_>> = numbers_mut(&mut self.norms)
            .chunks_mut(CHUNK)
            .map(|norms| Chunk {
                norms,
                planes: Vec::new(),
            })
            .collect();
        for plane in &mut self.planes {
            let (row_bytes, is_interleaved) = (plane.row_bytes, plane.is_interleaved);
            let codes: &mut [u8] = &mut plane.codes;
            let codes = codes.chunks_mut(CHUNK * row_bytes);
            let scales = numbers_mut(&mut plane.scales).chunks_mut(CHUNK);
            let errors = numbers_mut(&mut plane.errors).chunks_mut(CHUNK);
            let parts = codes.zip(scales).zip(errors);
            for (chunk, ((codes, scales), errors)) in chunks.iter_mut().zip(parts) {
                chunk.planes.push(ChunkPlane {
                    bits: plane.codebook.bits(),
                    levels: plane.levels,
                    is_interleaved,
                    row_bytes,
                    codes,
                    scales,
                    errors,
                });
            }
        }
        chunks.par_iter_mut().enumerate().for_each_init(
            || Scratch::new(cols),
            |scratch, (index, chunk)| {
                for row in 0..chunk.norms.len() {
                    matrix.read_row(index * CHUNK + row, &mut scratch.row[..cols]);
                    chunk.fill(row, cols, scratch);
                }
            },
        );
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes that are read where a first plane is multiplied and bounds are made of it.
    pub fn first_bytes(&self) -> u64 {
        let bits = [self.planes[0].codebook.bits()];
        Planes::bytes_for(self.rows, self.cols, &bits)
    }

    /// Number of planes.
    pub fn count(&self) -> usize {
        self.planes.len()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// Bytes of a row's codes in plane `index`.
    pub fn row_bytes(&self, index: usize) -> usize {
        self.planes[index].row_bytes
    }

    /// The length of each row, at most.
    pub fn norms(&self) -> &[f32] {
        bytemuck::cast_slice(&self.norms)
    }

    /// The length of what the planes up to `index` leave out of each row, at most.
    pub fn errors(&self, index: usize) -> &[f32] {
        bytemuck::cast_slice(&self.planes[index].errors)
    }

    /// Asks for a row of plane `index`, whose rows are not interleaved, so that it is near when it is multiplied.
    pub fn fetch(&self, index: usize, row: usize) {
        let plane = &self.planes[index];
        let parts = [
            (&plane.codes, plane.row_bytes),
            (&plane.scales, 4),
            (&plane.errors, 4),
        ];
        for (part, len) in parts {
            tern_kernels::fetch(&part[row * len..][..len]);
        }
    }

    /// Adds the products of the rows of plane `index` with the query, at most [`CHUNK`] of them. Rows of the first plane start at a multiple of
    /// [`PANEL`].
    pub fn add_products(&self, index: usize, rows: Range<usize>, query: &Query, out: &mut [f64]) {
        assert!(rows.end <= self.rows && rows.len() == out.len() && out.len() <= CHUNK);
        let plane = &self.planes[index];
        let len = match plane.is_interleaved {
            true => {
                assert_eq!(rows.start % PANEL, 0, "whole panels");
                rows.len().next_multiple_of(PANEL)
            }
            false => rows.len(),
        };
        let mut sums = [[0; 2]; CHUNK];
        let sums = &mut sums[..len];
        let codes = &plane.codes[rows.start * plane.row_bytes..][..len * plane.row_bytes];
        plane
            .codebook
            .dot(plane.is_interleaved, codes, &query.digits, sums);
        let scales: &[f32] = bytemuck::cast_slice(&plane.scales);
        scale(sums, query.step, &scales[rows], out);
    }

    /// The product of one row of plane `index`, whose rows are not interleaved, with the query.
    pub fn product(&self, index: usize, row: usize, query: &Query) -> f64 {
        let plane = &self.planes[index];
        let codes = &plane.codes[row * plane.row_bytes..][..plane.row_bytes];
        let (mut sums, mut product) = ([[0; 2]], [0.0]);
        plane.codebook.dot(false, codes, &query.digits, &mut sums);
        let scales: &[f32] = bytemuck::cast_slice(&plane.scales);
        scale(&sums, query.step, &scales[row..=row], &mut product);
        product[0]
    }

    /// What all planes say of the logits of the rows of `range`: of each query to its slice of `out`, NaN where there is none.
    ///
    /// The rows of a chunk are read from memory once for all queries.
    pub fn logits(&self, range: Range<usize>, queries: &[Option<Query>], out: &mut [&mut [f32]]) {
        for first in range.clone().step_by(CHUNK) {
            let rows = first..(first + CHUNK).min(range.end);
            for (query, out) in queries.iter().zip(&mut *out) {
                let out = &mut out[rows.start - range.start..][..rows.len()];
                let Some(query) = query else {
                    out.fill(f32::NAN);
                    continue;
                };
                let mut products = [0.0; CHUNK];
                let products = &mut products[..rows.len()];
                for index in 0..self.count() {
                    self.add_products(index, rows.clone(), query, products);
                }
                for (out, product) in out.iter_mut().zip(products) {
                    *out = *product as f32;
                }
            }
        }
    }
}

/// `out += sums * step * scales`, each sum of two digits.
#[multiversion(targets("x86_64+avx2"))]
fn scale(sums: &[[i32; 2]], step: f64, scales: &[f32], out: &mut [f64]) {
    for ((out, &[high, low]), &scale) in out.iter_mut().zip(sums).zip(scales) {
        *out += (128.0 * f64::from(high) + f64::from(low)) * (step * f64::from(scale));
    }
}

/// Some rows that are made together.
struct Chunk<'a> {
    norms: &'a mut [f32],
    planes: Vec<ChunkPlane<'a>>,
}

/// A plane's part of a [`Chunk`].
struct ChunkPlane<'a> {
    bits: CodeBits,
    levels: Levels,
    is_interleaved: bool,
    row_bytes: usize,
    codes: &'a mut [u8],
    scales: &'a mut [f32],
    errors: &'a mut [f32],
}

/// What making a row needs, padded to whole [`LANES`].
struct Scratch {
    row: Vec<f32>,
    /// What the planes so far leave out.
    rest: Vec<f64>,
    codes: Vec<u8>,
}

impl Scratch {
    fn new(cols: usize) -> Scratch {
        let padded = cols.next_multiple_of(LANES);
        Scratch {
            row: vec![0.0; padded],
            rest: vec![0.0; padded],
            codes: vec![0; padded],
        }
    }
}

impl Chunk<'_> {
    /// Makes row `row` of the chunk of the one in `scratch`.
    fn fill(&mut self, row: usize, cols: usize, scratch: &mut Scratch) {
        let Scratch {
            row: values,
            rest,
            codes,
        } = scratch;
        for (rest, &x) in rest.iter_mut().zip(&*values) {
            *rest = f64::from(x);
        }
        let norm = length(rest.iter().copied());
        // Nothing is known of a row that is not finite: its error is infinite.
        let is_known = norm * WIDEN <= f64::from(f32::MAX);
        self.norms[row] = if is_known { above(norm) } else { f32::INFINITY };
        for plane in &mut self.planes {
            if !is_known {
                (plane.scales[row], plane.errors[row]) = (0.0, f32::INFINITY);
                continue;
            }
            let (scale, error) = quantize(rest, values, cols, plane.levels, codes);
            (plane.scales[row], plane.errors[row]) = (scale, above(error));
            let (first, stride) = match plane.is_interleaved {
                true => (
                    row / PANEL * PANEL * plane.row_bytes + row % PANEL * LINE,
                    PANEL,
                ),
                false => (row * plane.row_bytes, 1),
            };
            pack_row(
                plane.bits,
                &codes[..cols],
                stride,
                &mut plane.codes[first..],
            );
        }
    }
}

/// Finds codes and a scale for `rest`, and subtracts what they say from it. Returns the scale and the length that is left.
///
/// The scale and the codes are fitted to each other in turn, by least squares: each fit makes the error smaller. `values` is scratch.
#[multiversion(targets("x86_64+avx2"))]
fn quantize(
    rest: &mut [f64],
    values: &mut [f32],
    cols: usize,
    levels: Levels,
    codes: &mut [u8],
) -> (f32, f64) {
    let upper = levels.upper();
    let mut squares = [0.0f64; LANES];
    let chunks = values.as_chunks_mut::<LANES>().0.iter_mut();
    for (values, rest) in chunks.zip(rest.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            values[lane] = rest[lane] as f32;
            squares[lane] += rest[lane] * rest[lane];
        }
    }
    let mean = squares.iter().sum::<f64>() / cols as f64;
    let mut scale = mean.sqrt() as f32 * levels.outer / f32::from(upper[upper.len() - 1]);
    for _ in 0..FITS {
        let (by, _) = inverse(scale);
        let (mut products, mut squares) = ([0.0f32; LANES], [0.0f32; LANES]);
        for values in values.as_chunks::<LANES>().0 {
            let sizes = values.map(|x| x.abs() * by);
            let (found, _) = nearest(&sizes, upper);
            for lane in 0..LANES {
                products[lane] += sizes[lane] * found[lane];
                squares[lane] += found[lane] * found[lane];
            }
        }
        scale *= products.iter().sum::<f32>() / squares.iter().sum::<f32>();
    }
    let (by, scale) = inverse(scale);
    let zero = upper.len() as u8;
    let mut squares = [0.0f64; LANES];
    let chunks = values.as_chunks::<LANES>().0.iter();
    let chunks = chunks.zip(rest.as_chunks_mut::<LANES>().0);
    for ((values, rest), codes) in chunks.zip(codes.as_chunks_mut::<LANES>().0) {
        let sizes = values.map(|x| x.abs() * by);
        let (found, index) = nearest(&sizes, upper);
        for lane in 0..LANES {
            let is_negative = values[lane] < 0.0;
            codes[lane] = if is_negative {
                zero - 1 - index[lane]
            } else {
                zero + index[lane]
            };
            let level = if is_negative {
                -found[lane]
            } else {
                found[lane]
            };
            rest[lane] -= f64::from(scale) * f64::from(level);
        }
    }
    // Beyond the last column is nothing.
    rest[cols..].fill(0.0);
    for rest in rest.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            squares[lane] += rest[lane] * rest[lane];
        }
    }
    (scale, squares.iter().sum::<f64>().sqrt() * WIDEN)
}

/// The levels next to `sizes`, and their places among the upper levels.
#[inline(always)]
fn nearest(sizes: &[f32; LANES], upper: &[i8]) -> ([f32; LANES], [u8; LANES]) {
    let mut found = [f32::from(upper[0]); LANES];
    let mut index = [0; LANES];
    for pair in upper.windows(2) {
        let (low, high) = (f32::from(pair[0]), f32::from(pair[1]));
        for lane in 0..LANES {
            let is_above = sizes[lane] > (low + high) / 2.0;
            found[lane] = if is_above { high } else { found[lane] };
            index[lane] += u8::from(is_above);
        }
    }
    (found, index)
}

/// One over a scale, and the scale; both 0 where the inverse is not finite, as of zero and of subnormal numbers.
#[inline(always)]
fn inverse(scale: f32) -> (f32, f32) {
    match (1.0 / scale).is_finite() {
        true => (1.0 / scale, scale),
        false => (0.0, 0.0),
    }
}

fn numbers_mut(buffer: &mut Buffer) -> &mut [f32] {
    bytemuck::cast_slice_mut(buffer)
}

/// An `f32` that is no smaller.
fn above(x: f64) -> f32 {
    ((x * WIDEN) as f32).next_up()
}

/// Euclidean length, widened by more than its rounding.
fn length(x: impl Iterator<Item = f64>) -> f64 {
    let mut squares = [0.0; LANES];
    for (index, x) in x.enumerate() {
        squares[index % LANES] += x * x;
    }
    squares.iter().sum::<f64>().sqrt() * WIDEN
}
