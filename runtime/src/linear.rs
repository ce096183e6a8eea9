//! Ternary linear layers: int8 activations times trits, exact in integers, scaled back to `f32`.
//!
//! Layers that read the same input (q, k and v; gate and up) are one [`Projection`], so that the
//! input is quantized once, prepared once for each packing in use, and multiplied in one parallel
//! region in which every worker scales its own rows.
//!
//! The arithmetic is that of `transformers`' `BitLinear` and `AutoBitLinear` in `f32`:
//! `tern_kernels::epilogue` makes outputs of the exact sums.

use tern_kernels::quantize::quantize_row;
use tern_kernels::{
    BlockOperand, Gemv, Kernel, MemoryError, Operand, OperandPart, ScaleRule, Session, Tables,
    WeightScales,
};

use crate::config::Activation;
use crate::forward::Pass;
use crate::ops::activation::gate;
use crate::ops::rms_norm::rms_norm;
use crate::parallel::{columns, for_each};
use crate::trace::Event;

/// One ternary matrix with its scale.
pub(crate) struct Linear {
    /// The layer's tensor name without `.weight`.
    pub name: String,
    /// The matrix, its kernel and its split over the team.
    pub gemv: Gemv,
    /// The checkpoint's `weight_scale`.
    pub scales: WeightScales,
    /// What it does.
    pub rule: ScaleRule,
    /// A learned norm before the quantization, where the checkpoint has one.
    pub norm: Option<Norm>,
}

/// A learned root-mean-square norm.
pub(crate) struct Norm {
    /// One factor for each input.
    pub weight: Vec<f32>,
    /// Epsilon.
    pub eps: f32,
}

/// What becomes of the products.
#[derive(Clone, Copy)]
pub(crate) enum Epilogue {
    /// They replace the outputs.
    Store,
    /// They are added to the outputs: the residual connection.
    Add,
    /// They replace the outputs, and then the first output becomes `f(first) · second`.
    Gate(Activation),
}

/// Linear layers of the same input width that are applied to the same input.
pub(crate) struct Projection {
    linears: Vec<Linear>,
    /// Prepared forms of the input: of which linear layer's input, and for which kernel's packing.
    forms: Vec<(usize, Kernel)>,
    /// For each linear layer, the form that it reads.
    form_of: Vec<usize>,
}

/// Buffers of a [`Projection`], kept between tokens.
#[derive(Default)]
pub(crate) struct Workspace {
    /// `[input][position]`.
    inputs: Vec<Vec<Quantized>>,
    /// `[form][position]`.
    operands: Vec<Vec<Operand>>,
    /// For each worker, `[form]`: room for a K block of its own, where no operand is shared.
    own: Vec<Vec<BlockOperand>>,
    /// Integer sums, one buffer for each worker.
    sums: Vec<Vec<i32>>,
}

/// One position's activations as int8.
#[derive(Clone, Default)]
struct Quantized {
    /// After the linear layer's own norm, if it has one.
    normed: Vec<f32>,
    values: Vec<i8>,
    /// 127 / max|x|.
    scale: f32,
}

impl Projection {
    /// Groups linear layers.
    ///
    /// # Panics
    ///
    /// If their input widths differ.
    pub fn new(linears: Vec<Linear>) -> Projection {
        let cols = linears[0].gemv.matrix().cols();
        assert!(
            linears
                .iter()
                .all(|linear| linear.gemv.matrix().cols() == cols)
        );
        let mut forms: Vec<(usize, Kernel)> = Vec::new();
        let mut form_of = Vec::new();
        for (index, linear) in linears.iter().enumerate() {
            let input = if linear.norm.is_some() { index } else { 0 };
            let kernel = linear.gemv.choice().kernel;
            let same = |form: &(usize, Kernel)| form.0 == input && form.1.packing == kernel.packing;
            form_of.push(forms.iter().position(same).unwrap_or_else(|| {
                forms.push((input, kernel));
                forms.len() - 1
            }));
        }
        Projection {
            linears,
            forms,
            form_of,
        }
    }

    /// The linear layers.
    pub fn linears(&self) -> &[Linear] {
        &self.linears
    }

    /// Width of the input.
    pub fn cols(&self) -> usize {
        self.linears[0].gemv.matrix().cols()
    }

    /// Applies every linear layer to each row of `x` (`[positions][cols]`).
    ///
    /// `outputs` are `[positions][rows]` of each linear layer.
    pub fn apply(
        &self,
        pass: &mut Pass<'_, '_>,
        work: &mut Workspace,
        x: &[f32],
        outputs: &mut [&mut [f32]],
        epilogue: Epilogue,
    ) -> Result<(), MemoryError> {
        let positions = pass.rows.len();
        assert_eq!(x.len(), positions * self.cols());
        self.quantize(pass.session, work, x);
        self.show_inputs(pass, work, x);
        if self.workers_prepare(positions) {
            self.make_room(pass.session, work)?;
        } else {
            self.prepare(pass.session, work, positions)?;
        }
        self.multiply(pass.session, work, positions, outputs, epilogue);
        Ok(())
    }

    /// Whether each worker prepares the input for itself. The plan says so for a single position; several are always prepared once
    /// for all workers, and so is an input that any of the linear layers shares.
    fn workers_prepare(&self, positions: usize) -> bool {
        let own = |linear: &Linear| linear.gemv.choice().tile.tables == Tables::Own;
        positions == 1 && self.linears.iter().all(own)
    }

    /// Room for what workers prepare for themselves.
    fn make_room(&self, session: &Session<'_>, work: &mut Workspace) -> Result<(), MemoryError> {
        work.own.resize_with(session.threads(), Vec::new);
        for own in &mut work.own {
            for &(_, kernel) in &self.forms[own.len()..] {
                own.push(BlockOperand::new(kernel, self.cols())?);
            }
        }
        Ok(())
    }

    /// Shows the quantized inputs to the observer, if there is one.
    fn show_inputs(&self, pass: &mut Pass<'_, '_>, work: &Workspace, x: &[f32]) {
        let Some(observer) = &mut pass.observer else {
            return;
        };
        for (linear, &form) in self.linears.iter().zip(&self.form_of) {
            let inputs = &work.inputs[self.forms[form].0];
            for ((row, input), x) in pass.rows.iter().zip(inputs).zip(x.chunks(self.cols())) {
                observer(Event::Quantized {
                    work: row.work,
                    position: row.position,
                    linear: &linear.name,
                    input: if linear.norm.is_some() {
                        &input.normed
                    } else {
                        x
                    },
                    values: &input.values,
                    scale: input.scale,
                });
            }
        }
    }

    /// Activations to int8, once, or once for each linear layer where each has its own norm.
    fn quantize(&self, session: &mut Session<'_>, work: &mut Workspace, x: &[f32]) {
        let cols = self.cols();
        let rows = x.len() / cols;
        work.inputs.resize_with(self.linears.len(), Vec::new);
        for (index, linear) in self.linears.iter().enumerate() {
            if index > 0 && linear.norm.is_none() {
                break; // All share the first input.
            }
            let inputs = &mut work.inputs[index];
            if inputs.len() < rows {
                inputs.resize(
                    rows,
                    Quantized {
                        values: vec![0; cols],
                        ..Quantized::default()
                    },
                );
            }
            for_each(
                session,
                x.chunks_exact(cols).zip(inputs.iter_mut()),
                |(x, input)| {
                    input.scale = match &linear.norm {
                        None => quantize_row(x, &mut input.values),
                        Some(norm) => {
                            input.normed.resize(cols, 0.0);
                            rms_norm(x, &norm.weight, norm.eps, &mut input.normed);
                            quantize_row(&input.normed, &mut input.values)
                        }
                    };
                },
            );
        }
    }

    /// Int8 activations to the forms that the kernels read.
    fn prepare(
        &self,
        session: &mut Session<'_>,
        work: &mut Workspace,
        positions: usize,
    ) -> Result<(), MemoryError> {
        work.operands.resize_with(self.forms.len(), Vec::new);
        for (operands, &(_, kernel)) in work.operands.iter_mut().zip(&self.forms) {
            while operands.len() < positions {
                operands.push(Operand::new(kernel, self.cols())?);
            }
        }
        let threads = session.threads();
        // Few positions are split inside, so that all workers have something to do.
        let pieces = if positions < threads { threads } else { 1 };
        let mut parts: Vec<Vec<(OperandPart<'_>, &[i8])>> =
            (0..threads).map(|_| Vec::new()).collect();
        for (operands, &(input, _)) in work.operands.iter_mut().zip(&self.forms) {
            for (position, operand) in operands[..positions].iter_mut().enumerate() {
                let values = &work.inputs[input][position].values;
                for (piece, part) in operand.parts(pieces).enumerate() {
                    parts[(position + piece) % threads].push((part, values));
                }
            }
        }
        session.run_parts(&mut parts, |_, parts| {
            for (part, values) in parts {
                part.build(values);
            }
        });
        Ok(())
    }

    /// The products: one region, each worker on its own rows of every matrix.
    fn multiply(
        &self,
        session: &mut Session<'_>,
        work: &mut Workspace,
        positions: usize,
        outputs: &mut [&mut [f32]],
        epilogue: Epilogue,
    ) {
        /// What one worker writes: its sums, its rows of `[linear][position]`, and what it prepares for itself.
        struct Part<'a> {
            sums: &'a mut Vec<i32>,
            own: &'a mut [BlockOperand],
            rows: Vec<Vec<&'a mut [f32]>>,
        }
        assert_eq!(outputs.len(), self.linears.len());
        let threads = session.threads();
        work.sums.resize_with(threads, Vec::new);
        let workers_prepare = self.workers_prepare(positions);
        work.own.resize_with(threads, Vec::new);
        let shared = if workers_prepare { 0 } else { positions };
        let operands: Vec<Vec<&Operand>> = work
            .operands
            .iter()
            .map(|form| form[..shared].iter().collect())
            .collect();
        let mut parts: Vec<Part<'_>> = work
            .sums
            .iter_mut()
            .zip(&mut work.own)
            .map(|(sums, own)| Part {
                sums,
                own,
                rows: Vec::new(),
            })
            .collect();
        for (linear, output) in self.linears.iter().zip(outputs) {
            let gemv = &linear.gemv;
            let ranges = (0..threads).map(|worker| gemv.part_rows(worker));
            for (part, rows) in parts
                .iter_mut()
                .zip(columns(output, gemv.matrix().rows(), ranges))
            {
                part.rows.push(rows);
            }
        }
        let inputs = &work.inputs;
        session.run_parts(&mut parts, |worker, part| {
            for (index, linear) in self.linears.iter().enumerate() {
                let form = self.form_of[index];
                let len = linear.gemv.part_len(worker);
                part.sums.resize(positions * len, 0);
                let inputs = &inputs[self.forms[form].0];
                if workers_prepare {
                    let (own, values) = (&mut part.own[form], &inputs[0].values);
                    linear.gemv.run_part_own(worker, values, own, part.sums);
                } else {
                    linear.gemv.run_part(worker, &operands[form], part.sums);
                }
                let (scales, rule) = (&linear.scales, linear.rule);
                for (position, out) in part.rows[index].iter_mut().enumerate() {
                    let sums = &part.sums[position * len..][..len];
                    let s = inputs[position].scale;
                    let rows = linear.gemv.part_rows(worker);
                    match epilogue {
                        Epilogue::Add => {
                            scales.apply(rule, rows, sums, s, out, |out, y| *out += y);
                        }
                        _ => scales.apply(rule, rows, sums, s, out, |out, y| *out = y),
                    }
                }
            }
            if let (Epilogue::Gate(activation), [first, second]) = (epilogue, &mut part.rows[..]) {
                for (first, second) in first.iter_mut().zip(second) {
                    gate(activation, first, second);
                }
            }
        });
    }
}
