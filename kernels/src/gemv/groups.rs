//! Products of [`GroupGemv`] whose activations have scales by groups, too, and matrices whose scales are coarser than their groups.
//!
//! A model that was trained with float activations is run with int8 ones, each group of columns with a step of its own, so that one
//! large activation costs its group precision and not its token. Then a K block's sums are to be multiplied with a number that
//! differs from token to token, which the kernels do not take. So they write the products of a block to a few rows of scratch memory, and a
//! second loop adds those to the outputs. That costs a load, a store and two operations for a row and block, beside some
//! hundred for the 128 weights.

use std::borrow::Borrow;

use multiversion::multiversion;

use super::{BATCH, Call, GroupError, GroupGemv, PackingMismatch, Parts, Run};
use crate::epilogue::WeightScales;
use crate::operand::Operand;
use crate::pack::PackedMatrix;
use crate::plan::Choice;
use crate::registry::Scales;
use crate::team::Split;

/// Rows of a block whose products wait, for a few tokens: those of one are 4 KiB, a part of the first-level cache.
const ROWS: usize = 1024;
/// The same for more tokens.
const ROWS_OF_MANY: usize = 256;
/// What few tokens are.
const FEW: usize = 4;

impl GroupGemv {
    /// Joins a matrix that was packed with a group and scales of any granularity. Scales for the matrix or for rows are held once and
    /// not for each group.
    ///
    /// # Errors
    ///
    /// The kernel does not read the matrix, the number of scales is off, or a group of the packing has several of them.
    pub fn with_scales(
        matrix: PackedMatrix,
        scales: &WeightScales,
        choice: Choice,
        threads: usize,
    ) -> Result<Self, GroupError> {
        let (rows, packing) = (matrix.rows(), matrix.packing());
        scales.check(rows, matrix.cols())?;
        let padded = matrix.layout().panels() * packing.lanes;
        let of_rows = |scales: &mut dyn Iterator<Item = f32>| {
            let mut by_row: Vec<f32> = scales.collect();
            by_row.resize(padded, 0.0);
            by_row
        };
        let by_row = match scales {
            WeightScales::Matrix(scale) => of_rows(&mut std::iter::repeat_n(*scale, rows)),
            WeightScales::Rows(scales) => of_rows(&mut scales.iter().copied()),
            WeightScales::Groups { group, scales } => {
                let (group, packed) = (*group, packing.group);
                if packed == 0 || !group.is_multiple_of(packed) {
                    return Err(GroupError::Group { group, packed });
                }
                let blocks = packing.blocks(matrix.cols());
                let of_row = |scales: &[f32]| {
                    let each = (0..blocks).map(|block| scales[block * packed / group]);
                    each.collect::<Vec<f32>>()
                };
                let each = scales.chunks_exact(matrix.cols().div_ceil(group));
                let expanded: Vec<f32> = each.flat_map(of_row).collect();
                return GroupGemv::new(matrix, &expanded, choice, threads);
            }
        };
        GroupGemv::join(matrix, by_row, choice, threads)
    }

    /// Joins a matrix with scales in the order of the kernels.
    pub(super) fn join(
        matrix: PackedMatrix,
        scales: Vec<f32>,
        choice: Choice,
        threads: usize,
    ) -> Result<Self, GroupError> {
        let packing = matrix.packing();
        if choice.kernel.scales != Scales::Groups || !choice.kernel.reads(packing) {
            Err(PackingMismatch {
                matrix: packing,
                kernel: choice.kernel.id,
                expected: choice.kernel.packing,
            })?;
        }
        Ok(GroupGemv {
            parts: Parts::new(matrix.layout(), threads, 1),
            wider: choice.kernel.wider(packing),
            matrix,
            choice,
            scales,
        })
    }

    /// The split of the rows over the workers.
    pub fn split(&self) -> &Split {
        &self.parts.rows
    }

    /// What a product needs.
    pub(super) fn call(&self) -> Call<'_> {
        Call {
            choice: &self.choice,
            wider: &self.wider,
            matrix: &self.matrix,
            layout: self.parts.layout,
            scales: Some(&self.scales),
        }
    }

    /// As [`GroupGemv::run_part`], each K block's products times `step(token, block)`: what an activation of one stands for in this group
    /// of this token. `room` is scratch memory.
    ///
    /// `y[m] = sum over groups g of (scale(m, g) * sum) * step(g)`, in ascending order, a product, a product and a sum, never fused: the
    /// same bits for every kernel, tile, number of threads and of tokens.
    ///
    /// # Panics
    ///
    /// As [`GroupGemv::run_part`].
    pub fn run_part_stepped(
        &self,
        worker: usize,
        operands: &[impl Borrow<Operand>],
        step: impl Fn(usize, usize) -> f32,
        room: &mut Vec<f32>,
        out: &mut [f32],
    ) {
        let len = self.part_len(worker);
        assert_eq!(out.len(), operands.len() * len, "outputs of the worker");
        out.fill(0.0);
        if out.is_empty() {
            return;
        }
        let call = self.call();
        call.check(operands);
        let layout = call.layout;
        let rows = if operands.len() > FEW {
            ROWS_OF_MANY
        } else {
            ROWS
        };
        let unit_rows = layout.packing.panels * layout.packing.lanes;
        let units_at_once = (rows / unit_rows).max(1);
        room.resize(operands.len().min(BATCH) * units_at_once * unit_rows, 0.0);
        for Run { block, units, rows } in call.runs(self.parts.units(worker)) {
            for first in units.clone().step_by(units_at_once) {
                let part = first..(first + units_at_once).min(units.end);
                let before = layout.first_row(first) - layout.first_row(units.start);
                let start = rows.start + before;
                let height = layout.first_row(part.end) - layout.first_row(first);
                let batches = operands.chunks(BATCH).zip(out.chunks_mut(BATCH * len));
                for (batch, (operands, outs)) in batches.enumerate() {
                    let room = &mut room[..operands.len() * height];
                    room.fill(0.0);
                    let prepared = operands.iter().map(|operand| operand.borrow().block(block));
                    let products = room.chunks_exact_mut(height);
                    call.block(block, part.clone(), prepared.zip(products));
                    let products = room.chunks_exact(height).zip(outs.chunks_exact_mut(len));
                    for (token, (products, out)) in products.enumerate() {
                        let step = step(batch * BATCH + token, block);
                        add_stepped(&mut out[start..start + height], products, step);
                    }
                }
            }
        }
    }
}

/// `out += products * step`.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn add_stepped(out: &mut [f32], products: &[f32], step: f32) {
    for (out, &product) in out.iter_mut().zip(products) {
        *out += product * step;
    }
}
