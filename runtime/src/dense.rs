//! The dense matrices of a ternary model: the token embedding, and the head (often the same).
//!
//! They are kept as they lie in the file, for the head is read whole for every token whose logits are all wanted: at 128256 x 2560 it is 656 MB in
//! two bytes a weight, more than all ternary weights together. bf16, f16 and `f32` are widened in registers. Blocks of a GGUF file's other types
//! (Q6_K, Q8_0, …) become numbers a row at a time, where one is looked up or scored: nothing is held in `f32` that a file holds in less.
//! Whatever the form, a row's numbers are the same `f32`, and sums of them are taken in the same order.

use rayon::prelude::*;
use tern_kernels::{Buffer, MemoryError, Pages, Storage};

use crate::checkpoint::Floats;
use crate::element::{Element, bf16_to_f32};
use crate::gguf::{self, GgufError};
use crate::ops::half;

/// A `rows x cols` matrix of numbers.
pub(crate) struct DenseMatrix {
    rows: usize,
    cols: usize,
    form: Form,
    data: Storage,
}

/// What the bytes of a matrix are.
enum Form {
    Elements(Element),
    /// Blocks of a GGUF tensor, all of whose rows have been read once without an error.
    Blocks(gguf::Description),
}

/// The rows of a [`DenseMatrix`], by their form.
pub(crate) enum Rows<'a> {
    /// bf16 bit patterns.
    Bf16(&'a [u16]),
    /// f16 bit patterns.
    F16(&'a [u16]),
    /// Plain `f32`.
    F32(&'a [f32]),
    /// What becomes numbers by the row.
    Blocks(BlockRows<'a>),
}

/// Rows that become numbers when they are read.
#[derive(Clone, Copy)]
pub(crate) struct BlockRows<'a>(gguf::Tensor<'a>);

impl BlockRows<'_> {
    /// Writes one row's numbers.
    pub fn read(self, row: usize, out: &mut [f32]) {
        let read = self.0.read_row_f32(row, out);
        // The same bytes were read when the matrix was made.
        read.expect("a row that was read without an error before");
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
        let element = tensor.element;
        assert_eq!(tensor.data.len(), rows * cols * element.size());
        let mut data = Buffer::zeroed(rows * cols * element.size(), pages)?;
        let bytes: &mut [u8] = &mut data;
        bytes
            .par_chunks_mut(cols * element.size())
            .enumerate()
            .for_each(|(row, out)| match element {
                Element::Bf16 | Element::F16 => {
                    let source = &tensor.data[row * out.len()..][..out.len()];
                    let values = bytemuck::cast_slice_mut::<u8, u16>(out);
                    for (value, pair) in values.iter_mut().zip(source.as_chunks::<2>().0) {
                        *value = u16::from_le_bytes(*pair);
                    }
                }
                Element::F32 => tensor.read(row * cols, bytemuck::cast_slice_mut(out)),
            });
        Ok(DenseMatrix {
            rows,
            cols,
            form: Form::Elements(element),
            data: Storage::Own(data),
        })
    }

    /// Copies a matrix of blocks out of a GGUF file, in parallel, and reads each row once: [`GgufError`] says which cannot be.
    pub fn copy_blocks(
        tensor: gguf::Tensor<'_>,
        pages: Pages,
    ) -> Result<Result<DenseMatrix, GgufError>, MemoryError> {
        let mut data = Buffer::zeroed(tensor.data().len(), pages)?;
        let bytes: &mut [u8] = &mut data;
        let chunks = bytes.par_chunks_mut(1 << 20);
        chunks
            .zip(tensor.data().par_chunks(1 << 20))
            .for_each(|(out, source)| out.copy_from_slice(source));
        let matrix = DenseMatrix {
            rows: tensor.rows(),
            cols: tensor.cols(),
            form: Form::Blocks(tensor.describe()),
            data: Storage::Own(data),
        };
        // Of the copy: the file may change meanwhile.
        let read = match matrix.values() {
            Rows::Blocks(BlockRows(tensor)) => (0..matrix.rows).into_par_iter().try_for_each_init(
                || vec![0.0; matrix.cols],
                |out, row| tensor.read_row_f32(row, out),
            ),
            _ => Ok(()),
        };
        Ok(read.map(|()| matrix))
    }

    /// The same numbers as `f32`, for where blocks cannot be kept.
    ///
    /// # Errors
    ///
    /// No memory.
    pub fn widened(self, pages: Pages) -> Result<DenseMatrix, MemoryError> {
        let mut data = Buffer::zeroed(self.rows * self.cols * size_of::<f32>(), pages)?;
        let values: &mut [f32] = bytemuck::cast_slice_mut(&mut data);
        let rows = values.par_chunks_mut(self.cols).enumerate();
        rows.for_each(|(row, out)| self.read_row(row, out));
        Ok(DenseMatrix {
            form: Form::Elements(Element::F32),
            data: Storage::Own(data),
            ..self
        })
    }

    /// A matrix whose bytes are as they lie in memory: elements of this machine. `None` if they are of another length, or do not lie at
    /// a multiple of an element.
    pub fn from_bytes(
        element: Element,
        rows: usize,
        cols: usize,
        data: Storage,
    ) -> Option<DenseMatrix> {
        let size = element.size();
        let expected = rows.checked_mul(cols)?.checked_mul(size)?;
        let is_aligned = data.as_ptr().addr().is_multiple_of(size);
        (data.len() == expected && is_aligned).then_some(DenseMatrix {
            rows,
            cols,
            form: Form::Elements(element),
            data,
        })
    }

    /// What its elements are; `None` for blocks.
    pub fn element(&self) -> Option<Element> {
        match &self.form {
            Form::Elements(element) => Some(*element),
            Form::Blocks(_) => None,
        }
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
        match &self.form {
            Form::Elements(Element::Bf16) => Rows::Bf16(bytemuck::cast_slice(&self.data)),
            Form::Elements(Element::F16) => Rows::F16(bytemuck::cast_slice(&self.data)),
            Form::Elements(Element::F32) => Rows::F32(bytemuck::cast_slice(&self.data)),
            Form::Blocks(description) => Rows::Blocks(BlockRows(description.over(&self.data))),
        }
    }

    /// Widens one row.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        fn widen<T: Copy>(values: &[T], out: &mut [f32], one: impl Fn(T) -> f32) {
            for (out, &value) in out.iter_mut().zip(values) {
                *out = one(value);
            }
        }
        assert!(row < self.rows && out.len() == self.cols);
        let range = row * self.cols..(row + 1) * self.cols;
        match self.values() {
            Rows::Bf16(values) => widen(&values[range], out, bf16_to_f32),
            Rows::F16(values) => widen(&values[range], out, half::widen),
            Rows::F32(values) => out.copy_from_slice(&values[range]),
            Rows::Blocks(rows) => rows.read(row, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{Gguf, Header, TensorType, quantize};

    const VALUES: [f32; 6] = [1.0, -2.0, 0.5, 3.0, 0.0, -0.25];

    #[test]
    fn rows_come_back_as_they_were() {
        let bytes = |element: Element| -> Vec<u8> {
            let each = VALUES.iter().map(|v| match element {
                Element::Bf16 => v.to_le_bytes()[2..].to_vec(),
                Element::F16 => half::narrow(*v).to_le_bytes().to_vec(),
                Element::F32 => v.to_le_bytes().to_vec(),
            });
            each.flatten().collect()
        };
        for element in [Element::Bf16, Element::F16, Element::F32] {
            let data = bytes(element);
            let tensor = Floats {
                element,
                data: &data,
                order: None,
            };
            let matrix = DenseMatrix::copy(tensor, 3, 2, Pages::Small).unwrap();
            let mut row = [0.0; 2];
            matrix.read_row(1, &mut row);
            assert_eq!(row, [0.5, 3.0]);
            assert_eq!(matrix.bytes(), data.len());
            assert_eq!(matrix.data(), data);
            assert_eq!(matrix.element(), Some(element));
            let wide = matrix.widened(Pages::Small).unwrap();
            assert_eq!(bytemuck::cast_slice::<u8, f32>(wide.data()), VALUES);
        }
    }

    /// Every type with blocks of 32 to 256 weights takes as much memory as in the file, and its rows are the tensor's.
    #[test]
    fn blocks_stay_blocks() {
        for kind in [
            TensorType::Q8_0,
            TensorType::Q4_0,
            TensorType::Q4K,
            TensorType::Q6K,
            TensorType::Tq2_0,
        ] {
            let file = file(kind, 5);
            let gguf = Gguf::from_bytes("f", &file).unwrap();
            let tensor = gguf.tensor("w").unwrap();
            let matrix = DenseMatrix::copy_blocks(tensor, Pages::Small)
                .unwrap()
                .unwrap();
            assert_eq!(matrix.bytes(), tensor.data().len());
            assert_eq!(matrix.element(), None);
            let (mut found, mut expected) = ([0.0; 512], [0.0; 512]);
            for row in 0..5 {
                matrix.read_row(row, &mut found);
                tensor.read_row_f32(row, &mut expected).unwrap();
                assert_eq!(found, expected);
            }
        }
    }

    /// A scale that is not finite is found when the matrix is made, not when the row is looked up.
    #[test]
    fn rows_that_cannot_be_read_are_refused() {
        // Eight rows of two blocks of 66 bytes need no padding behind them.
        let mut file = file(TensorType::Tq2_0, 8);
        let end = file.len();
        file[end - 2..].copy_from_slice(&[0, 0x7c]);
        let gguf = Gguf::from_bytes("f", &file).unwrap();
        let made = DenseMatrix::copy_blocks(gguf.tensor("w").unwrap(), Pages::Small);
        let error = made.unwrap().err().unwrap();
        assert!(matches!(error, GgufError::Scale { row: 7, .. }), "{error}");
    }

    /// A file with a matrix of 512 columns.
    fn file(kind: TensorType, rows: u64) -> Vec<u8> {
        let mut header = Header::new();
        header.tensor("w", &[512, rows], kind).unwrap();
        let mut writer = header.begin(Vec::new()).unwrap();
        for row in 0..rows {
            let values: Vec<f32> = (0..512)
                .map(|i| ((i * 37 + row * 11) % 101) as f32 / 50.0 - 1.0)
                .collect();
            let mut bytes = Vec::new();
            quantize::row(kind, &values, &mut bytes).unwrap();
            writer.put("w", &bytes).unwrap();
        }
        writer.finish().unwrap()
    }
}
