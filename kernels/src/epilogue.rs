//! From exact sums to outputs: what the scale of a token's activations and the weight scales of a matrix make of them.
//!
//! A kernel's sums are integers, the same for every kernel, tile and number of threads. Here each becomes an `f32` by the operations
//! of the Hugging Face implementation, in its order, each rounded once and none fused. An output depends on its own sum and scales
//! alone, so the bits cannot depend on how rows were split either. The loops have no calls and no order to keep: the compiler makes
//! vectors of them.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What a weight scale does to a sum. Checkpoints store either a scale or its inverse, and the two round differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScaleRule {
    /// `sum / s * weight_scale`: BitNet b1.58 2B4T (`autobitlinear`).
    Multiply,
    /// `sum / (weight_scale * s)`: checkpoints of `bitlinear`, whose scale is the inverse one.
    Divide,
}

/// How many weights share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// All of the matrix.
    Matrix,
    /// A row.
    Row,
    /// A group of neighbouring columns of a row.
    Group,
}

impl Granularity {
    /// The name for people, and in `tern codegen explain`.
    pub const fn name(self) -> &'static str {
        match self {
            Granularity::Matrix => "matrix",
            Granularity::Row => "row",
            Granularity::Group => "group",
        }
    }
}

/// The weight scales of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub enum WeightScales {
    /// One for the whole matrix.
    Matrix(f32),
    /// One for each row.
    Rows(Vec<f32>),
    /// One for each row and each group of `group` columns, row by row. They multiply: their kernels add `sum * scale`
    /// ([`GroupGemv`](crate::GroupGemv)), and [`scale_grouped`] finishes.
    Groups {
        /// Columns in a group.
        group: usize,
        /// The scales.
        scales: Vec<f32>,
    },
}

/// Scales that do not fit their matrix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found} weight scales for a matrix of {rows} rows and {cols} columns; expected {expected}, {what}"
)]
pub struct ScalesError {
    /// Scales given.
    found: usize,
    /// Scales that the matrix has.
    expected: usize,
    /// What each of them is for.
    what: String,
    /// Rows of the matrix.
    rows: usize,
    /// Its columns.
    cols: usize,
}

impl WeightScales {
    /// How many weights share a scale.
    pub const fn granularity(&self) -> Granularity {
        match self {
            WeightScales::Matrix(_) => Granularity::Matrix,
            WeightScales::Rows(_) => Granularity::Row,
            WeightScales::Groups { .. } => Granularity::Group,
        }
    }

    /// The same with each scale replaced.
    #[must_use]
    pub fn map(self, each: impl FnMut(f32) -> f32) -> WeightScales {
        let (mut each, mut scales) = (each, self);
        match &mut scales {
            WeightScales::Matrix(scale) => *scale = each(*scale),
            WeightScales::Rows(scales) | WeightScales::Groups { scales, .. } => {
                scales.iter_mut().for_each(|scale| *scale = each(*scale));
            }
        }
        scales
    }

    /// Checks that there are as many scales as a matrix of `rows` and `cols` has.
    ///
    /// # Errors
    ///
    /// There are more or fewer; the message gives both numbers.
    pub fn check(&self, rows: usize, cols: usize) -> Result<(), ScalesError> {
        let (found, expected, what) = match self {
            WeightScales::Matrix(_) => (1, 1, String::new()),
            WeightScales::Rows(scales) => (scales.len(), rows, "one for each row".into()),
            WeightScales::Groups { group, scales } => {
                let groups = cols.div_ceil((*group).max(1));
                let what = format!("one for each row and group of {group} columns");
                (scales.len(), rows.saturating_mul(groups), what)
            }
        };
        match found == expected {
            true => Ok(()),
            false => Err(ScalesError {
                found,
                expected,
                what,
                rows,
                cols,
            }),
        }
    }

    /// Makes outputs of a token's exact sums of `rows`, a worker's part of the matrix, where `s` is the token's activation scale
    /// ([`quantize_row`](crate::quantize::quantize_row)); `store` writes each.
    ///
    /// `sums` may be longer than the part, as [`Gemv::run_part`](crate::Gemv::run_part) pads it.
    ///
    /// # Panics
    ///
    /// When `out` is not as long as `rows`, `sums` is shorter, or a row has no scale. Scales by groups are not for exact sums of
    /// whole rows: those of their kernels go to [`scale_grouped`].
    #[inline(always)]
    pub fn apply(
        &self,
        rule: ScaleRule,
        rows: Range<usize>,
        sums: &[i32],
        s: f32,
        out: &mut [f32],
        store: impl Fn(&mut f32, f32),
    ) {
        assert_eq!(out.len(), rows.len(), "one output for each row");
        let sums = &sums[..rows.len()];
        match (self, rule) {
            (&WeightScales::Matrix(scale), ScaleRule::Multiply) => {
                for (out, &sum) in out.iter_mut().zip(sums) {
                    store(out, sum as f32 / s * scale);
                }
            }
            (&WeightScales::Matrix(scale), ScaleRule::Divide) => {
                let divisor = scale * s;
                for (out, &sum) in out.iter_mut().zip(sums) {
                    store(out, sum as f32 / divisor);
                }
            }
            (WeightScales::Rows(scales), ScaleRule::Multiply) => {
                for ((out, &sum), &scale) in out.iter_mut().zip(sums).zip(&scales[rows]) {
                    store(out, sum as f32 / s * scale);
                }
            }
            (WeightScales::Rows(scales), ScaleRule::Divide) => {
                for ((out, &sum), &scale) in out.iter_mut().zip(sums).zip(&scales[rows]) {
                    store(out, sum as f32 / (scale * s));
                }
            }
            (WeightScales::Groups { .. }, _) => {
                panic!("scales by groups are applied group by group, inside the kernel")
            }
        }
    }
}

/// Makes outputs of a token's sums of scaled groups ([`GroupGemv::run_part`](crate::GroupGemv::run_part)), where `s` is its
/// activation scale: `sum / s`; `store` writes each. `sums` may be longer than `out`, as a worker's part is padded.
///
/// # Panics
///
/// When `sums` is shorter than `out`.
#[inline(always)]
pub fn scale_grouped(sums: &[f32], s: f32, out: &mut [f32], store: impl Fn(&mut f32, f32)) {
    let sums = &sums[..out.len()];
    for (out, &sum) in out.iter_mut().zip(sums) {
        store(out, sum / s);
    }
}
