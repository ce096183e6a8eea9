//! A tensor of a GGUF file: its bytes, and rows of it as numbers or as trits.

use std::ops::Range;

use super::blocks::{dense, ternary};
use super::error::GgufError;
use super::types::{Scales, TensorType};
use crate::element::Element;
use crate::error::shorten;

/// What is known of a tensor.
#[derive(Clone)]
pub(super) struct Info {
    pub name: String,
    pub kind: TensorType,
    /// The contiguous dimension first.
    pub dims: Vec<u64>,
    pub rows: usize,
    pub cols: usize,
    /// The file of a split model.
    pub part: usize,
    /// Its bytes there.
    pub data: Range<usize>,
}

/// One tensor as it lies in its file.
#[derive(Clone, Copy)]
pub struct Tensor<'a> {
    pub(super) file: &'a str,
    pub(super) info: &'a Info,
    pub(super) data: &'a [u8],
}

/// What a tensor is, without its bytes: for whoever keeps those elsewhere.
#[derive(Clone)]
pub(crate) struct Description {
    file: String,
    info: Info,
}

impl Description {
    /// The tensor, over bytes that are a copy of its own.
    ///
    /// # Panics
    ///
    /// They are of another length.
    pub fn over<'a>(&'a self, data: &'a [u8]) -> Tensor<'a> {
        assert_eq!(data.len(), self.info.data.len());
        Tensor {
            file: &self.file,
            info: &self.info,
            data,
        }
    }
}

/// What all of a tensor's bytes say, for reports.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Survey {
    /// How many weights have code 3, which is no trit. Always 0 for types without trits.
    pub code_3: u64,
    /// Row and column of the first of them.
    pub first_code_3: Option<(usize, usize)>,
    /// Scales, or for types without trits weights, that are infinite or not a number.
    pub not_finite: u64,
    /// The scale, where all are the same: such a matrix could have one for all of it.
    pub one_scale: Option<f32>,
    /// Zeros among the weights.
    pub zeros: u64,
}

impl<'a> Tensor<'a> {
    /// Its name in the file.
    pub fn name(&self) -> &'a str {
        &self.info.name
    }

    /// Its type.
    pub fn kind(&self) -> TensorType {
        self.info.kind
    }

    /// All dimensions as the file has them, the contiguous one first; 1 to 4.
    pub fn dims(&self) -> &'a [u64] {
        &self.info.dims
    }

    /// Rows: the product of all dimensions but the first, 1 for a vector.
    pub fn rows(&self) -> usize {
        self.info.rows
    }

    /// Columns: the contiguous dimension.
    pub fn cols(&self) -> usize {
        self.info.cols
    }

    /// Its bytes, exactly as many as shape and type need, borrowed from the file.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The file that it lies in: a part of a split model.
    pub fn file(&self) -> &'a str {
        self.file
    }

    /// What it is, without its bytes.
    pub(crate) fn describe(&self) -> Description {
        Description {
            file: self.file.to_owned(),
            info: self.info.clone(),
        }
    }

    /// Reads one row of any type as numbers, `cols` of them. Where a code 3 is legal it is twice the scale.
    ///
    /// # Errors
    ///
    /// [`GgufError::Code3`] where a code 3 is not legal, [`GgufError::Scale`] for a scale of a ternary type that is not finite; the row is
    /// not to be used then.
    ///
    /// # Panics
    ///
    /// If there is no such row or `out` has another length.
    pub fn read_row_f32(&self, row: usize, out: &mut [f32]) -> Result<(), GgufError> {
        assert!(row < self.rows() && out.len() == self.cols());
        let bytes = match self.kind().scales() {
            Some(_) => return self.read_ternary_f32(row, out),
            None => {
                let bytes = self.kind().row_bytes(self.cols());
                &self.data[row * bytes..][..bytes]
            }
        };
        match self.kind() {
            TensorType::F32 => Element::F32.widen(bytes, out),
            TensorType::F16 => Element::F16.widen(bytes, out),
            TensorType::Bf16 => Element::Bf16.widen(bytes, out),
            TensorType::Q8_0 => dense::q8_0(bytes, out),
            TensorType::Q4_0 => dense::q4_0(bytes, out),
            TensorType::Q4K => dense::q4_k(bytes, out),
            TensorType::Q6K => dense::q6_k(bytes, out),
            ternary => unreachable!("{ternary} has scales for its trits"),
        }
        Ok(())
    }

    fn read_ternary_f32(&self, row: usize, out: &mut [f32]) -> Result<(), GgufError> {
        let ternary = self.ternary()?;
        let (mut trits, mut scales) = ternary.buffers();
        match ternary.read_row(row, &mut trits, &mut scales) {
            Err(GgufError::Code3 { .. }) if self.kind().allows_code_3() => {
                ternary.check_scales(row, &scales)?;
            }
            read => read?,
        }
        let group = self.cols().div_ceil(scales.len());
        let groups = out.chunks_mut(group).zip(trits.chunks(group));
        for ((out, trits), scale) in groups.zip(scales) {
            for (out, &trit) in out.iter_mut().zip(trits) {
                *out = scale * f32::from(trit);
            }
        }
        Ok(())
    }

    /// The tensor as trits with scales.
    ///
    /// # Errors
    ///
    /// [`GgufError::NotTernary`] for a type that holds other numbers, [`GgufError::Scale`] where one scale stands for the whole matrix and
    /// is not finite.
    pub fn ternary(&self) -> Result<Ternary<'a>, GgufError> {
        let Some(scales) = self.kind().scales() else {
            return Err(GgufError::NotTernary {
                file: self.file.to_owned(),
                tensor: shorten(self.name()),
                kind: self.kind(),
            });
        };
        let ternary = Ternary {
            tensor: *self,
            scales,
        };
        if scales == Scales::Matrix {
            ternary.check_scales(0, &[ternary.matrix_scale()])?;
        }
        Ok(ternary)
    }

    /// Looks at every weight.
    pub fn survey(&self) -> Survey {
        self.survey_rows(1)
    }

    /// Looks at one row in `step`, the first among them.
    ///
    /// # Panics
    ///
    /// If `step` is 0.
    pub fn survey_rows(&self, step: usize) -> Survey {
        let mut survey = Survey::default();
        match self.ternary() {
            Ok(ternary) => ternary.survey(step, &mut survey),
            // The scale of the whole matrix: its trits say nothing without it.
            Err(GgufError::Scale { .. }) => survey.not_finite = 1,
            Err(_) => self.survey_dense(step, &mut survey),
        }
        survey
    }

    fn survey_dense(&self, step: usize, survey: &mut Survey) {
        let mut values = vec![0.0; self.cols()];
        for row in (0..self.rows()).step_by(step) {
            if self.read_row_f32(row, &mut values).is_err() {
                continue;
            }
            survey.zeros += values.iter().filter(|&&x| x == 0.0).count() as u64;
            survey.not_finite += values.iter().filter(|x| !x.is_finite()).count() as u64;
        }
    }
}

/// A tensor of a ternary type.
#[derive(Clone, Copy)]
pub struct Ternary<'a> {
    tensor: Tensor<'a>,
    scales: Scales,
}

impl<'a> Ternary<'a> {
    /// The tensor.
    pub fn tensor(&self) -> Tensor<'a> {
        self.tensor
    }

    /// For what a scale stands. A weight is its trit times its scale, for all types.
    pub fn scales(&self) -> Scales {
        self.scales
    }

    /// Scales that [`Ternary::read_row`] gives for a row: one, or one for each group of columns.
    pub fn scales_in_row(&self) -> usize {
        match self.scales {
            Scales::Matrix | Scales::Row => 1,
            Scales::Group(group) => self.tensor.cols() / group,
        }
    }

    /// Buffers for a row's trits and scales.
    pub fn buffers(&self) -> (Vec<i8>, Vec<f32>) {
        (vec![0; self.tensor.cols()], vec![0.0; self.scales_in_row()])
    }

    /// The one scale of I2_S, behind its trits.
    pub(crate) fn matrix_scale(&self) -> f32 {
        let data = self.tensor.data;
        let at = data.len() - 32;
        f32::from_le_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
    }

    /// Reads one row: trits, and its scales as [`Ternary::scales`] says (that of the matrix is given for every row).
    ///
    /// # Errors
    ///
    /// [`GgufError::Code3`] and [`GgufError::Scale`]. The row is complete all the same: a code 3 is the trit 2, which is its value in the
    /// types that allow it and which packings refuse.
    ///
    /// # Panics
    ///
    /// If there is no such row or a buffer has another length.
    pub fn read_row(
        &self,
        row: usize,
        trits: &mut [i8],
        scales: &mut [f32],
    ) -> Result<(), GgufError> {
        self.read_unchecked(row, trits, scales);
        if let Some(column) = first_code_3(trits) {
            return Err(GgufError::Code3 {
                file: self.tensor.file.to_owned(),
                tensor: shorten(self.tensor.name()),
                row,
                column,
                meaning: match self.tensor.kind().allows_code_3() {
                    true => {
                        "there it stands for twice the scale, so the weights are not ternary: read the tensor as numbers, or use a model \
                         of another type"
                    }
                    false => {
                        "the file is damaged, or its bytes are in an order other than the published one: download it again, or for I2_S say which with --i2s-layout"
                    }
                },
            });
        }
        self.check_scales(row, scales)
    }

    fn check_scales(&self, row: usize, scales: &[f32]) -> Result<(), GgufError> {
        match scales.iter().find(|scale| !scale.is_finite()) {
            None => Ok(()),
            Some(&found) => Err(GgufError::Scale {
                file: self.tensor.file.to_owned(),
                tensor: shorten(self.tensor.name()),
                row,
                found,
            }),
        }
    }

    fn read_unchecked(&self, row: usize, trits: &mut [i8], scales: &mut [f32]) {
        let Tensor { data, info, .. } = self.tensor;
        let (kind, cols) = (info.kind, info.cols);
        assert!(row < info.rows && trits.len() == cols && scales.len() == self.scales_in_row());
        if let TensorType::I2s(layout) = kind {
            scales[0] = self.matrix_scale();
            return ternary::i2_s(&data[..data.len() - 32], layout, row * cols, trits);
        }
        let bytes = kind.row_bytes(cols);
        if kind == TensorType::Iq2BnR4 {
            let four = &data[row / 4 * 4 * bytes..][..4 * bytes];
            return ternary::iq2_bn_r4(four, row % 4, trits, scales);
        }
        let bytes = &data[row * bytes..][..bytes];
        match kind {
            TensorType::Tq1_0 => ternary::tq1_0(bytes, trits, scales),
            TensorType::Tq2_0 => ternary::tq2_0(bytes, trits, scales),
            TensorType::Ptq1_0 => ternary::ptq1_0(bytes, trits, scales),
            TensorType::Q2_0 => ternary::q2_0(bytes, 64, trits, scales),
            TensorType::Q2_0Group128 | TensorType::Pq2_0 => {
                ternary::q2_0(bytes, 128, trits, scales);
            }
            TensorType::Iq1Bn => ternary::iq1_bn(bytes, trits, scales),
            TensorType::Iq2Bn => ternary::iq2_bn(bytes, trits, scales),
            dense => unreachable!("{dense} has no trits"),
        }
    }

    fn survey(&self, step: usize, survey: &mut Survey) {
        let (mut trits, mut scales) = self.buffers();
        let (mut least, mut largest) = (f32::INFINITY, f32::NEG_INFINITY);
        for row in (0..self.tensor.rows()).step_by(step) {
            self.read_unchecked(row, &mut trits, &mut scales);
            survey.zeros += trits.iter().filter(|&&trit| trit == 0).count() as u64;
            if let Some(column) = first_code_3(&trits) {
                survey.first_code_3.get_or_insert((row, column));
                survey.code_3 += trits.iter().filter(|&&trit| trit > 1).count() as u64;
            }
            for &scale in &scales {
                survey.not_finite += u64::from(!scale.is_finite());
                (least, largest) = (least.min(scale), largest.max(scale));
            }
        }
        let is_one = survey.not_finite == 0 && least == largest;
        survey.one_scale = is_one.then_some(least);
    }
}

fn first_code_3(trits: &[i8]) -> Option<usize> {
    // Without the early exit this is a few instructions for a vector of trits.
    let any = trits.iter().fold(false, |any, &trit| any | (trit > 1));
    any.then(|| trits.iter().position(|&trit| trit > 1))
        .flatten()
}
