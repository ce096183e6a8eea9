//! The one dense matrix of a ternary model: the token embedding, and the head (often the same).
//!
//! It is kept as it lies in the file, bf16 (2 bytes) for all published models, because the head is
//! read whole for every token: at 128256 x 2560 it is 656 MB, more than all ternary weights
//! together. `f16` files are widened to `f32`, for exactness rather than speed.

use rayon::prelude::*;
use tern_kernels::{Buffer, MemoryError, Pages, Storage};

use crate::checkpoint::Floats;
use crate::element::{Element, bf16_to_f32};

/// A `rows x cols` matrix of bf16 or f32.
pub(crate) struct DenseMatrix {
    rows: usize,
    cols: usize,
    element: Element,
    data: Storage,
}

/// The rows of a [`DenseMatrix`], by element type.
pub(crate) enum Rows<'a> {
    /// bf16 bit patterns.
    Bf16(&'a [u16]),
    /// Plain `f32`.
    F32(&'a [f32]),
}

/// An element that widens to `f32` in registers.
pub(crate) trait Widen: Copy + Sync {
    /// The value.
    fn widen(self) -> f32;
}

impl Widen for u16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        bf16_to_f32(self)
    }
}

impl Widen for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl DenseMatrix {
    /// Copies a tensor of `rows x cols` out of the file, in parallel.
    pub fn copy(
        tensor: Floats<'_>,
        rows: usize,
        cols: usize,
        pages: Pages,
    ) -> Result<DenseMatrix, MemoryError> {
        assert_eq!(tensor.data.len(), rows * cols * tensor.element.size());
        let element = match tensor.element {
            Element::Bf16 => Element::Bf16,
            Element::F16 | Element::F32 => Element::F32,
        };
        let mut data = Buffer::zeroed(rows * cols * element.size(), pages)?;
        let bytes: &mut [u8] = &mut data;
        bytes
            .par_chunks_mut(cols * element.size())
            .enumerate()
            .for_each(|(row, out)| match element {
                Element::Bf16 => {
                    let source = &tensor.data[row * out.len()..][..out.len()];
                    let values = bytemuck::cast_slice_mut::<u8, u16>(out);
                    for (value, pair) in values.iter_mut().zip(source.as_chunks::<2>().0) {
                        *value = u16::from_le_bytes(*pair);
                    }
                }
                _ => tensor.read(row * cols, bytemuck::cast_slice_mut(out)),
            });
        Ok(DenseMatrix {
            rows,
            cols,
            element,
            data: Storage::Own(data),
        })
    }

    /// A matrix of `f32` whose rows `fill` writes, in parallel: for types that no other holds without loss.
    pub fn fill<E: Send>(
        rows: usize,
        cols: usize,
        pages: Pages,
        fill: impl Fn(usize, &mut [f32]) -> Result<(), E> + Sync,
    ) -> Result<Result<DenseMatrix, E>, MemoryError> {
        let element = Element::F32;
        let mut data = Buffer::zeroed(rows * cols * element.size(), pages)?;
        let values: &mut [f32] = bytemuck::cast_slice_mut(&mut data);
        let filled = values
            .par_chunks_mut(cols)
            .enumerate()
            .try_for_each(|(row, out)| fill(row, out));
        Ok(filled.map(|()| DenseMatrix {
            rows,
            cols,
            element,
            data: Storage::Own(data),
        }))
    }

    /// A matrix whose bytes are as they lie in memory: bf16 or f32 of this machine. `None` if they are of another length, or do not lie at
    /// a multiple of an element.
    pub fn from_bytes(
        element: Element,
        rows: usize,
        cols: usize,
        data: Storage,
    ) -> Option<DenseMatrix> {
        let size = element.size();
        let expected = rows.checked_mul(cols)?.checked_mul(size)?;
        let is_sound = element != Element::F16 && data.len() == expected;
        let is_aligned = data.as_ptr().addr().is_multiple_of(size);
        (is_sound && is_aligned).then_some(DenseMatrix {
            rows,
            cols,
            element,
            data,
        })
    }

    /// What its elements are.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Its bytes, row after row.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// All rows, one after another.
    pub fn values(&self) -> Rows<'_> {
        match self.element {
            Element::Bf16 => Rows::Bf16(bytemuck::cast_slice(&self.data)),
            _ => Rows::F32(bytemuck::cast_slice(&self.data)),
        }
    }

    /// Widens one row.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        fn widen(values: &[impl Widen], out: &mut [f32]) {
            for (out, value) in out.iter_mut().zip(values) {
                *out = value.widen();
            }
        }
        assert!(row < self.rows && out.len() == self.cols);
        let range = row * self.cols..(row + 1) * self.cols;
        match self.values() {
            Rows::Bf16(values) => widen(&values[range], out),
            Rows::F32(values) => widen(&values[range], out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were() {
        let values = [1.0f32, -2.0, 0.5, 3.0, 0.0, -0.25];
        let bf16: Vec<u8> = values
            .iter()
            .flat_map(|v| v.to_le_bytes()[2..].to_vec())
            .collect();
        let f32s: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        for (element, data) in [(Element::Bf16, &bf16), (Element::F32, &f32s)] {
            let tensor = Floats {
                element,
                data,
                order: None,
            };
            let matrix = DenseMatrix::copy(tensor, 3, 2, Pages::Small).unwrap();
            let mut row = [0.0; 2];
            matrix.read_row(1, &mut row);
            assert_eq!(row, [0.5, 3.0]);
            assert_eq!(matrix.bytes(), data.len());
        }
    }
}
