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
    Batch, BatchKernel, BatchRow, BlockOperand, Gemm, Gemv, Kernel, MemoryError, Operand,
    OperandPart, Planner, ScaleRule, Scratch, Session, Shape, Tables, WeightScales,
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
    /// How several positions are multiplied at once.
    pub batched: Batched,
    /// The checkpoint's `weight_scale`.
    pub scales: WeightScales,
    /// What it does.
    pub rule: ScaleRule,
    /// A learned norm before the quantization, where the checkpoint has one.
    pub norm: Option<Norm>,
}

/// How several positions are multiplied with one matrix, by their number.
pub(crate) struct Batched {
    /// From so many positions on, up to the next: a batched product, or the kernel for one position and its forms.
    steps: Vec<(usize, Option<Gemm>)>,
}

impl Batched {
    /// As the plan says.
    pub fn plan(planner: &Planner, gemv: &Gemv, threads: usize) -> Batched {
        let matrix = gemv.matrix();
        let shape = Shape {
            rows: matrix.rows(),
            cols: matrix.cols(),
        };
        let steps = planner.batches(shape, threads, matrix.packing());
        let steps = steps.into_iter().map(|(positions, choice)| {
            let gemm = match choice.kernel {
                BatchKernel::Gemv => None,
                BatchKernel::Gemm(choice) => Some(Gemm::new(gemv, choice)),
            };
            (positions, gemm)
        });
        Batched {
            steps: steps.collect(),
        }
    }

    /// The batched product for `positions` positions; `None` where it does not pay.
    fn at(&self, positions: usize) -> Option<&Gemm> {
        let mut steps = self.steps.iter().rev();
        let (_, gemm) = steps.find(|(from, _)| *from <= positions)?;
        gemm.as_ref()
    }
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
    /// `[form]`: all positions for batched products, where those are used.
    batches: Vec<Option<Batch>>,
    /// For each worker, room for the weights that it unpacks for batched products.
    scratch: Vec<Option<Scratch>>,
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

    /// Which forms of the input are needed for so many positions, for each: whether by kernels for one position, and whether by batched
    /// products.
    fn needs(&self, positions: usize) -> Vec<(bool, bool)> {
        let mut needs = vec![(false, false); self.forms.len()];
        for (linear, &form) in self.linears.iter().zip(&self.form_of) {
            match linear.batched.at(positions) {
                None => needs[form].0 = true,
                Some(_) => needs[form].1 = true,
            }
        }
        needs
    }

    /// Int8 activations to the forms that the kernels read.
    fn prepare(
        &self,
        session: &mut Session<'_>,
        work: &mut Workspace,
        positions: usize,
    ) -> Result<(), MemoryError> {
        /// One piece of work, and the activations that it is for.
        enum Piece<'a> {
            Operand(OperandPart<'a>, &'a [i8]),
            Row(BatchRow<'a>, &'a [i8]),
        }
        let needs = self.needs(positions);
        work.operands.resize_with(self.forms.len(), Vec::new);
        work.batches.resize_with(self.forms.len(), || None);
        for (form, &(_, kernel)) in self.forms.iter().enumerate() {
            let (for_one, for_many) = needs[form];
            let operands = &mut work.operands[form];
            while for_one && operands.len() < positions {
                operands.push(Operand::new(kernel, self.cols())?);
            }
            let batch = &mut work.batches[form];
            if for_many && batch.as_ref().is_none_or(|b| b.tokens() < positions) {
                *batch = Some(Batch::new(kernel.packing, self.cols(), positions)?);
            }
        }
        self.make_room_to_unpack(session, work, positions)?;
        let threads = session.threads();
        // Few positions are split inside, so that all workers have something to do.
        let pieces = if positions < threads { threads } else { 1 };
        let mut parts: Vec<Vec<Piece<'_>>> = (0..threads).map(|_| Vec::new()).collect();
        let forms = work.operands.iter_mut().zip(&mut work.batches);
        for ((form, &(input, _)), (operands, batch)) in self.forms.iter().enumerate().zip(forms) {
            let (for_one, for_many) = needs[form];
            let inputs = &work.inputs[input][..positions];
            if for_one {
                for (position, (operand, input)) in operands.iter_mut().zip(inputs).enumerate() {
                    for (piece, part) in operand.parts(pieces).enumerate() {
                        let piece = (position + piece) % threads;
                        parts[piece].push(Piece::Operand(part, &input.values));
                    }
                }
            }
            let rows = batch.iter_mut().filter(|_| for_many).flat_map(Batch::rows);
            for (position, (row, input)) in rows.zip(inputs).enumerate() {
                parts[position % threads].push(Piece::Row(row, &input.values));
            }
        }
        session.run_parts(&mut parts, |_, parts| {
            for piece in parts {
                match piece {
                    Piece::Operand(part, values) => part.build(values),
                    Piece::Row(row, values) => row.fill(values),
                }
            }
        });
        Ok(())
    }

    /// Room for each worker to unpack weights in, if batched products are used.
    fn make_room_to_unpack(
        &self,
        session: &Session<'_>,
        work: &mut Workspace,
        positions: usize,
    ) -> Result<(), MemoryError> {
        work.scratch.resize_with(session.threads(), || None);
        for scratch in work.scratch.iter_mut().filter(|scratch| scratch.is_none()) {
            // All that any number of positions may need, so that this is done once.
            let gemms = self.linears.iter().flat_map(|linear| &linear.batched.steps);
            let mut gemms = gemms.filter_map(|(_, gemm)| gemm.as_ref()).peekable();
            let is_used = self
                .linears
                .iter()
                .any(|l| l.batched.at(positions).is_some());
            if is_used && gemms.peek().is_some() {
                *scratch = Some(Scratch::new(gemms)?);
            }
        }
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
        /// What one worker writes: its sums, its rows of `[linear][position]`, and what it prepares or unpacks for itself.
        struct Part<'a> {
            sums: &'a mut Vec<i32>,
            own: &'a mut [BlockOperand],
            scratch: &'a mut Option<Scratch>,
            rows: Vec<Vec<&'a mut [f32]>>,
        }
        assert_eq!(outputs.len(), self.linears.len());
        let threads = session.threads();
        work.sums.resize_with(threads, Vec::new);
        let workers_prepare = self.workers_prepare(positions);
        work.own.resize_with(threads, Vec::new);
        work.scratch.resize_with(threads, || None);
        let shared = if workers_prepare { 0 } else { positions };
        // A form that only batched products read has no operands.
        let operands: Vec<Vec<&Operand>> = work
            .operands
            .iter()
            .map(|form| form.iter().take(shared).collect())
            .collect();
        let batches = &work.batches;
        let mut parts: Vec<Part<'_>> = work
            .sums
            .iter_mut()
            .zip(&mut work.own)
            .zip(&mut work.scratch)
            .map(|((sums, own), scratch)| Part {
                sums,
                own,
                scratch,
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
                let gemm = linear.batched.at(positions);
                let len = match gemm {
                    Some(gemm) => gemm.part_len(worker),
                    None => linear.gemv.part_len(worker),
                };
                part.sums.resize(positions * len, 0);
                let inputs = &inputs[self.forms[form].0];
                if let Some(gemm) = gemm {
                    let (batch, scratch) = (batches[form].as_ref(), part.scratch.as_mut());
                    let (batch, scratch) = batch.zip(scratch).expect("made room before");
                    let matrix = linear.gemv.matrix();
                    gemm.run_part(matrix, worker, batch, positions, scratch, part.sums);
                } else if workers_prepare {
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
