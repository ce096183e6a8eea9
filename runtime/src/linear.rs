//! Ternary linear layers: int8 activations times trits, exact in integers, scaled back to `f32`.
//!
//! Layers that read the same input (q, k and v; gate and up) are one [`Projection`], so that the
//! input is quantized once, prepared once for each packing in use, and multiplied in one parallel
//! region in which every worker scales its own rows.
//!
//! The arithmetic is that of `transformers`' `BitLinear` and `AutoBitLinear` in `f32`:
//! `tern_kernels::epilogue` makes outputs of the exact sums.
//!
//! Models that were trained with float activations get an int8 scale for each group of columns instead of one for a position, and some
//! have weight scales by groups. Then sums are of groups, exact too, and added as floats in ascending order ([`GroupGemv`]).

use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use tern_kernels::{
    Batch, BatchKernel, BatchRow, BlockOperand, Columns, Gemm, Granularity, GroupGemv, Kernel,
    MemoryError, Operand, OperandPart, PREPARED_ALONE, Packing, Planner, ScaleRule, Scratch, Shape,
    Split, Stage, Tables, WeightScales,
};

use crate::clock::{self, Clock};
use crate::config::Activation;
use crate::forward::Pass;
use crate::ops::activation::gate;
use crate::ops::quantize::{
    add_grouped, add_scaled, quantize, quantize_groups, store_grouped, store_scaled,
};
use crate::ops::rms_norm::rms_norm;
use crate::parallel::Worker;
use crate::product::Product;
use crate::trace::Event;

/// One ternary matrix with its scale.
pub(crate) struct Linear {
    /// The layer's tensor name without `.weight`.
    pub name: String,
    /// The matrix, its kernel and its split over the team.
    pub gemv: Product,
    /// How several positions are multiplied at once.
    pub batched: Batched,
    /// The checkpoint's `weight_scale`. Those by groups, and all where activations have groups, are part of the product.
    pub scales: WeightScales,
    /// How many weights have one, as the model has them.
    pub granularity: ScalesFound,
    /// What it does.
    pub rule: ScaleRule,
    /// A learned norm before the quantization, where the checkpoint has one.
    pub norm: Option<Norm>,
}

/// How many weights of a matrix share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ScalesFound {
    /// The piece that has one.
    pub granularity: Granularity,
    /// Columns of a group; 0 for a whole row.
    pub group: usize,
}

impl ScalesFound {
    pub(crate) fn of(scales: &WeightScales) -> ScalesFound {
        ScalesFound {
            granularity: scales.granularity(),
            group: match scales {
                WeightScales::Groups { group, .. } => *group,
                _ => 0,
            },
        }
    }
}

/// How several positions are multiplied with one matrix, by their number.
pub(crate) struct Batched {
    /// From so many positions on, up to the next: a batched product, or the kernel for one position and its forms.
    steps: Vec<(usize, Option<Gemm>)>,
}

impl Batched {
    /// As the plan says.
    pub fn plan(planner: &Planner, product: &Product, threads: usize) -> Batched {
        let Product::Whole(gemv) = product else {
            // Batched products sum over all of K.
            return Batched { steps: Vec::new() };
        };
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
    /// Activations that share a scale; 0 where all of a position's do.
    group: usize,
    /// Prepared forms of the input: of which linear layer's input, for which kernel, and for which of its packings.
    forms: Vec<(usize, Kernel, Packing)>,
    /// For each linear layer, the form that it reads.
    form_of: Vec<usize>,
    /// For each linear layer, what its time is recorded as.
    activities: Vec<clock::Activity>,
    /// Pieces of each worker's part of the outputs.
    pieces: usize,
    /// Of each linear layer's outputs over all workers' pieces. A layer whose own parts have fewer pieces is all in the first ones.
    splits: Vec<Split>,
    /// Sums that the longest piece of any of them needs for a position.
    longest: usize,
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
    /// What each worker has for itself.
    rooms: Vec<Room>,
}

/// One worker's memory.
#[derive(Default)]
struct Room {
    /// For the weights that it unpacks for batched products.
    scratch: Option<Scratch>,
    /// `[form]`: for a K block of its own, where no operand is shared.
    own: Vec<BlockOperand>,
    /// Integer sums.
    sums: Vec<i32>,
    /// Sums of scaled groups.
    products: Vec<f32>,
    /// For one group's products of some rows.
    block: Vec<f32>,
}

/// One position's activations as int8.
#[derive(Clone, Default)]
struct Quantized {
    /// After the linear layer's own norm, if it has one.
    normed: Vec<f32>,
    values: Vec<i8>,
    /// 127 / max|x|; 1 where groups have steps.
    scale: f32,
    /// What an activation of one stands for in each group; none where a position has one scale.
    steps: Vec<f32>,
}

impl Projection {
    /// Groups linear layers, whose activations have a scale for each `group` columns, or for each position where that is 0.
    ///
    /// # Panics
    ///
    /// If their input widths differ, or a matrix is not packed in such groups.
    pub fn new(linears: Vec<Linear>, group: usize) -> Projection {
        let packing = |linear: &Linear| linear.gemv.matrix().packing();
        assert!(group == 0 || linears.iter().all(|linear| packing(linear).group == group));
        let cols = linears[0].gemv.matrix().cols();
        assert!(
            linears
                .iter()
                .all(|linear| linear.gemv.matrix().cols() == cols)
        );
        let mut forms: Vec<(usize, Kernel, Packing)> = Vec::new();
        let mut form_of = Vec::new();
        for (index, linear) in linears.iter().enumerate() {
            let input = if linear.norm.is_some() { index } else { 0 };
            let kernel = linear.gemv.choice().kernel;
            let form = (input, packing(linear));
            let same = |of: &(usize, Kernel, Packing)| (of.0, of.2) == form;
            form_of.push(forms.iter().position(same).unwrap_or_else(|| {
                forms.push((input, kernel, form.1));
                forms.len() - 1
            }));
        }
        let activity = |linear: &Linear| clock::Activity::of_linear(&linear.name);
        let pieces = linears.iter().map(|linear| linear.gemv.pieces());
        let pieces = pieces.max().unwrap_or(1);
        let longest = linears.iter().map(|linear| linear.gemv.longest());
        let split = |linear: &Linear| {
            let (gemv, workers) = (&linear.gemv, linear.gemv.workers());
            let ends = (0..workers * pieces).map(|place| {
                let (worker, piece) = (place / pieces, place % pieces);
                let piece = piece.min(gemv.pieces() - 1);
                gemv.split().range(worker * gemv.pieces() + piece).end
            });
            Split::at(std::iter::once(0).chain(ends).collect::<Vec<_>>())
        };
        Projection {
            pieces,
            longest: longest.max().unwrap_or(0),
            splits: linears.iter().map(split).collect(),
            activities: linears.iter().map(activity).collect(),
            linears,
            group,
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
    pub fn apply<const N: usize>(
        &self,
        pass: &mut Pass<'_, '_>,
        work: &mut Workspace,
        x: &[f32],
        outputs: [&mut [f32]; N],
        epilogue: Epilogue,
    ) -> Result<(), MemoryError> {
        let positions = pass.rows.len();
        assert_eq!(x.len(), positions * self.cols());
        self.quantize(pass, work, x);
        self.show_inputs(pass, work, x);
        self.make_room(pass.session.threads(), work, positions)?;
        if !self.workers_prepare(positions) {
            self.prepare(pass, work, positions);
        }
        self.multiply(pass, work, positions, outputs, epilogue);
        Ok(())
    }

    /// Whether each worker prepares the input for itself. The plan says so for a single position; several are always prepared once
    /// for all workers, and so is an input that any of the linear layers shares.
    fn workers_prepare(&self, positions: usize) -> bool {
        let own = |linear: &Linear| linear.gemv.choice().tile.tables == Tables::Own;
        positions == 1 && self.linears.iter().all(own)
    }

    /// The linear layers that read a form of the input.
    fn readers(&self, form: usize) -> impl Iterator<Item = &Linear> {
        let linears = self.linears.iter().zip(&self.form_of);
        let of_form = linears.filter(move |&(_, &of)| of == form);
        of_form.map(|(linear, _)| linear)
    }

    /// Whether so many positions of a form are read by kernels for one position or a few.
    fn is_for_few(&self, form: usize, positions: usize) -> bool {
        self.readers(form)
            .any(|linear| linear.batched.at(positions).is_none())
    }

    /// Whether so many positions of a form are read by batched products.
    fn is_for_many(&self, form: usize, positions: usize) -> bool {
        self.readers(form)
            .any(|linear| linear.batched.at(positions).is_some())
    }

    /// Room for all forms of the input, and for what workers have for themselves. What was there is kept.
    fn make_room(
        &self,
        threads: usize,
        work: &mut Workspace,
        positions: usize,
    ) -> Result<(), MemoryError> {
        let forms = self.forms.len();
        let workers_prepare = self.workers_prepare(positions);
        work.operands.resize_with(forms, Vec::new);
        work.batches.resize_with(forms, || None);
        work.rooms.resize_with(threads, Room::default);
        for (form, &(_, kernel, packing)) in self.forms.iter().enumerate() {
            let operands = &mut work.operands[form];
            let needed = self.is_for_few(form, positions) && !workers_prepare;
            while needed && operands.len() < positions {
                operands.push(Operand::of_packing(kernel, packing, self.cols())?);
            }
            let batch = &mut work.batches[form];
            let has_room = batch.as_ref().is_some_and(|b| b.tokens() >= positions);
            if self.is_for_many(form, positions) && !has_room {
                *batch = Some(Batch::new(packing, self.cols(), positions)?);
            }
            for room in &mut work.rooms {
                if workers_prepare && room.own.len() <= form {
                    room.own.push(BlockOperand::new(kernel, self.cols())?);
                }
            }
        }
        // Who takes which piece is not known, so each worker has room for any of them from the start.
        let needed = positions * self.longest;
        for Room { sums, products, .. } in &mut work.rooms {
            sums.reserve(needed.saturating_sub(sums.len()));
            if self
                .linears
                .iter()
                .any(|linear| matches!(linear.gemv, Product::Groups(_)))
            {
                products.reserve(needed.saturating_sub(products.len()));
            }
        }
        let is_batched = (0..forms).any(|form| self.is_for_many(form, positions));
        for room in &mut work.rooms {
            if is_batched && room.scratch.is_none() {
                // All that any number of positions may need, so that this is done once.
                let gemms = self.linears.iter().flat_map(|linear| &linear.batched.steps);
                let gemms = gemms.filter_map(|(_, gemm)| gemm.as_ref());
                room.scratch = Some(Scratch::new(gemms)?);
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
                    steps: &input.steps,
                });
            }
        }
    }

    /// Activations to int8, once, or once for each linear layer where each has its own norm.
    fn quantize(&self, pass: &mut Pass<'_, '_>, work: &mut Workspace, x: &[f32]) {
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
            pass.for_each(
                clock::Activity::Quantize,
                x.chunks_exact(cols).zip(inputs.iter_mut()),
                |(x, input)| {
                    let x = match &linear.norm {
                        None => x,
                        Some(norm) => {
                            input.normed.resize(cols, 0.0);
                            rms_norm(x, &norm.weight, norm.eps, &mut input.normed);
                            &input.normed
                        }
                    };
                    if self.group == 0 {
                        input.scale = quantize(x, &mut input.values);
                    } else {
                        input.scale = 1.0;
                        input.steps.resize(cols.div_ceil(self.group), 0.0);
                        let (values, steps) = (&mut input.values, &mut input.steps);
                        quantize_groups(x, self.group, values, steps);
                    }
                },
            );
        }
    }

    /// Int8 activations to the forms that the kernels read.
    fn prepare(&self, pass: &mut Pass<'_, '_>, work: &mut Workspace, positions: usize) {
        /// One piece of work, and the activations that it is for.
        enum Piece<'a> {
            Operand(OperandPart<'a>, &'a [i8]),
            Row(BatchRow<'a>, &'a [i8]),
        }
        let threads = pass.session.threads();
        let firsts = work.operands.iter().filter_map(|form| form.first());
        let bytes: usize = firsts.map(Operand::bytes).sum();
        let is_small = positions == 1 && bytes <= PREPARED_ALONE;
        let all_inputs = &work.inputs;
        let operands = (self.forms.iter().enumerate()).zip(&mut work.operands);
        let operands = operands.filter(|((form, _), _)| self.is_for_few(*form, positions));
        // Few positions are split inside, so that all workers have something to do.
        let pieces = if positions < threads { threads } else { 1 };
        let operands = operands.flat_map(|((_, &(input, ..)), operands)| {
            let each = operands.iter_mut().zip(&all_inputs[input][..positions]);
            each.flat_map(move |(operand, input)| {
                let parts = operand.parts(pieces);
                parts.map(|part| Piece::Operand(part, &input.values))
            })
        });
        let batches = (self.forms.iter().enumerate()).zip(&mut work.batches);
        let batches = batches.filter(|((form, _), _)| self.is_for_many(*form, positions));
        let batches = batches.flat_map(|((_, &(input, ..)), batch)| {
            let rows = batch.iter_mut().flat_map(Batch::rows);
            let each = rows.zip(&all_inputs[input][..positions]);
            each.map(|(row, input)| Piece::Row(row, &input.values))
        });
        // Whoever is free takes the next.
        let pieces = Mutex::new(operands.chain(batches));
        let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
        let build = || {
            while let Some(piece) = next() {
                match piece {
                    Piece::Operand(mut part, values) => part.build(values),
                    Piece::Row(mut row, values) => row.fill(values),
                }
            }
        };
        if is_small {
            build();
            return pass.clock.lap(clock::Activity::Tables);
        }
        pass.region(&mut vec![(); threads], &mut [], |worker, ()| {
            build();
            worker.clock.lap(clock::Activity::Tables);
        });
    }

    /// The piece of a linear layer's matrix at a place of the region; `None` where it has fewer pieces than another.
    fn piece(&self, linear: &Linear, place: usize) -> Option<usize> {
        let (worker, piece) = (place / self.pieces, place % self.pieces);
        let own = linear.gemv.pieces();
        (piece < own).then_some(worker * own + piece)
    }

    /// The products: one region, in which workers share the pieces of every matrix.
    fn multiply<const N: usize>(
        &self,
        pass: &mut Pass<'_, '_>,
        work: &mut Workspace,
        positions: usize,
        mut outputs: [&mut [f32]; N],
        epilogue: Epilogue,
    ) {
        assert_eq!(N, self.linears.len());
        let activation = match epilogue {
            Epilogue::Gate(activation) if N == 2 => Some(activation),
            _ => None,
        };
        // Matrices of one shape in two packings may be cut differently.
        let alike = self.splits.windows(2).all(|pair| pair[0] == pair[1]);
        let mut splits = self.splits.iter();
        let mut matrices = outputs.each_mut().map(|output| {
            let split = splits.next().expect("as many outputs as linear layers");
            Columns::new(output, split)
        });
        let input = Input {
            positions,
            inputs: &work.inputs,
            operands: &work.operands,
            batches: &work.batches,
        };
        pass.pieces(
            &mut work.rooms,
            self.pieces,
            &mut matrices,
            |worker, room| {
                for index in 0..N {
                    let piece = self.piece(&self.linears[index], worker.place);
                    if let Some(piece) = piece {
                        self.multiply_piece(index, &input, piece, room, &mut worker.clock);
                        self.scale(index, &input, worker, room, epilogue);
                    }
                }
                if let (Some(activation), true) = (activation, alike) {
                    for position in 0..positions {
                        let [first, second] = worker.strips.pair([0, 1], position);
                        gate(activation, first, second);
                    }
                    worker.clock.lap(clock::Activity::Activate);
                }
            },
        );
        if let (Some(activation), false, [first, second, ..]) =
            (activation, alike, &mut outputs[..])
        {
            gate(activation, first, second);
            pass.clock.lap(clock::Activity::Activate);
        }
    }

    /// The exact sums of the rows of a piece of linear layer `index`, for all positions.
    fn multiply_piece(
        &self,
        index: usize,
        input: &Input<'_>,
        piece: usize,
        room: &mut Room,
        clock: &mut Clock<'_>,
    ) {
        let (linear, form, positions) =
            (&self.linears[index], self.form_of[index], input.positions);
        let Linear { gemv, batched, .. } = linear;
        let gemv = match gemv {
            Product::Whole(gemv) => gemv,
            Product::Groups(gemv) => {
                // Such a matrix has one piece for each worker.
                self.multiply_groups(gemv, form, input, piece, room);
                return clock.lap(self.activities[index]);
            }
        };
        let gemm = batched.at(positions);
        let len = match gemm {
            Some(gemm) => gemm.piece_len(piece),
            None => gemv.piece_len(piece),
        };
        let Room {
            scratch, own, sums, ..
        } = room;
        sums.resize(positions * len, 0);
        if let Some(gemm) = gemm {
            let (batch, scratch) = (input.batches[form].as_ref(), scratch.as_mut());
            let (batch, scratch) = batch.zip(scratch).expect("made room before");
            gemm.run_piece(gemv.matrix(), piece, batch, positions, scratch, sums);
        } else if self.workers_prepare(positions) {
            let values = &input.inputs[self.forms[form].0][0].values;
            // Such a matrix has one piece for each worker.
            gemv.run_part_own(piece, values, &mut own[form], sums, |stage| {
                clock.lap(match stage {
                    Stage::Prepared => clock::Activity::Tables,
                    Stage::Multiplied => self.activities[index],
                });
            });
        } else {
            gemv.run_piece(piece, &input.operands[form][..positions], sums);
        }
        clock.lap(self.activities[index]);
    }

    /// The same for a matrix with scales by groups: its rows' sums of scaled groups.
    fn multiply_groups(
        &self,
        gemv: &GroupGemv,
        form: usize,
        input: &Input<'_>,
        worker: usize,
        room: &mut Room,
    ) {
        let operands = &input.operands[form][..input.positions];
        let Room {
            products, block, ..
        } = room;
        products.resize(input.positions * gemv.part_len(worker), 0.0);
        if self.group == 0 {
            return gemv.run_part(worker, operands, products);
        }
        let inputs = &input.inputs[self.forms[form].0];
        let step = |position: usize, group: usize| inputs[position].steps[group];
        gemv.run_part_stepped(worker, operands, step, block, products);
    }

    /// What becomes of a piece's sums of linear layer `index`.
    fn scale(
        &self,
        index: usize,
        input: &Input<'_>,
        worker: &mut Worker<'_, '_>,
        room: &Room,
        epilogue: Epilogue,
    ) {
        let linear = &self.linears[index];
        if let Product::Groups(_) = linear.gemv {
            return self.scale_groups(index, input, worker, &room.products, epilogue);
        }
        let (scales, rule, sums) = (&linear.scales, linear.rule, &room.sums);
        let rows = self.splits[index].range(worker.place);
        let len = sums.len() / input.positions;
        let inputs = &input.inputs[self.forms[self.form_of[index]].0];
        for (position, out) in worker.strips.rows(index).enumerate() {
            let sums = &sums[position * len..][..len];
            let (s, rows) = (inputs[position].scale, rows.clone());
            match epilogue {
                Epilogue::Add => add_scaled(scales, rule, rows, sums, s, out),
                _ => store_scaled(scales, rule, rows, sums, s, out),
            }
        }
        worker.clock.lap(clock::Activity::Scale);
    }

    /// The same for sums of scaled groups, of which only a position's own scale is left.
    fn scale_groups(
        &self,
        index: usize,
        input: &Input<'_>,
        worker: &mut Worker<'_, '_>,
        products: &[f32],
        epilogue: Epilogue,
    ) {
        let len = products.len() / input.positions;
        let inputs = &input.inputs[self.forms[self.form_of[index]].0];
        for (position, out) in worker.strips.rows(index).enumerate() {
            let (products, s) = (&products[position * len..][..len], inputs[position].scale);
            match epilogue {
                Epilogue::Add => add_grouped(products, s, out),
                _ => store_grouped(products, s, out),
            }
        }
        worker.clock.lap(clock::Activity::Scale);
    }
}

/// What all workers of a product read.
struct Input<'a> {
    positions: usize,
    /// `[input][position]`.
    inputs: &'a [Vec<Quantized>],
    /// `[form][position]`.
    operands: &'a [Vec<Operand>],
    /// `[form]`.
    batches: &'a [Option<Batch>],
}
