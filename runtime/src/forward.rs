//! The forward pass, top to bottom, for any mix of positions of any sequences.
//!
//! A *row* is one position of one sequence. All buffers are row-major, one row for each. Whether a
//! row belongs to a prompt, to a text being decoded or to one of several texts makes no difference
//! to its arithmetic; rows only meet in the cache of their own sequence.
//!
//! The model is BitNet b1.58 (arXiv:2402.17764, arXiv:2504.12285), or Llama with ternary linear
//! layers, which is the same without sub-norms and with SiLU for squared ReLU.

use std::ops::Range;

use tern_kernels::{Columns, MemoryError, Session, Split};

use crate::clock::{Activity, Clock};
use crate::config::Config;
use crate::dense::DenseMatrix;
use crate::engine::{HeadUse, Work};
use crate::error::StepError;
use crate::linear::{Epilogue, Workspace};
use crate::model::Model;
use crate::ops::attention::{GROUP, attend};
use crate::ops::head::{ROWS, logits};
use crate::ops::rms_norm::{rms_norm, rms_norm_in_place};
use crate::ops::rope::rotate;
use crate::trace::{Event, Observer};

/// One position to compute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// Whose position: index into the step's work.
    pub work: usize,
    /// Position in the sequence.
    pub position: usize,
    /// The token there.
    pub token: u32,
    /// Whether its logits are wanted.
    pub logits: bool,
    /// Whether only the best of them are.
    pub best: bool,
}

/// What every operation of a pass needs.
pub(crate) struct Pass<'p, 't> {
    pub session: &'p mut Session<'t>,
    pub rows: &'p [Row],
    pub observer: Option<&'p mut Observer>,
    pub head_use: &'p mut HeadUse,
    /// The calling thread's clock.
    pub clock: Clock<'p>,
}

/// Activations of all rows, and the workspaces of the projections. Grows to the largest pass.
#[derive(Default)]
pub(crate) struct Buffers {
    /// The residual stream.
    x: Vec<f32>,
    /// Normalised input of a block.
    normed: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    attended: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// Cosine and sine of every row's position.
    turns: Vec<(f32, f32)>,
    /// Of a layer's four projections, in order.
    workspaces: [Workspace; 4],
}

impl Buffers {
    /// The buffers of one row for each position, and their widths.
    fn rows(&mut self, config: &Config) -> [(&mut Vec<f32>, usize); 8] {
        [
            (&mut self.x, config.hidden_size),
            (&mut self.normed, config.hidden_size),
            (&mut self.q, config.query_width()),
            (&mut self.k, config.kv_width()),
            (&mut self.v, config.kv_width()),
            (&mut self.attended, config.query_width()),
            (&mut self.gate, config.intermediate_size),
            (&mut self.up, config.intermediate_size),
        ]
    }

    /// Takes the memory for passes of `rows` rows, or says that there is none.
    pub fn reserve(&mut self, config: &Config, rows: usize) -> Result<(), StepError> {
        for (buffer, width) in self.rows(config) {
            let len = rows.saturating_mul(width);
            let more = len.saturating_sub(buffer.len());
            buffer.try_reserve(more).map_err(|_| {
                let bytes = (len as u64).saturating_mul(4);
                StepError::Memory(format!(
                    "cannot allocate {bytes} bytes for the activations of {rows} positions; free \
                     memory or raise the limit (`ulimit -v`)"
                ))
            })?;
        }
        Ok(())
    }

    fn resize(&mut self, config: &Config, rows: usize) {
        for (buffer, width) in self.rows(config) {
            buffer.resize(rows * width, 0.0);
        }
    }
}

/// Computes all rows, writes their keys and values to the sequences' caches, and the wanted logits
/// (`[wanted rows][vocab_size]`) to `out`.
pub(crate) fn forward(
    model: &Model,
    pass: &mut Pass<'_, '_>,
    work: &mut [Work<'_>],
    buffers: &mut Buffers,
    out: &mut [f32],
) -> Result<(), MemoryError> {
    let config = &model.config;
    let eps = config.rms_norm_eps;
    pass.clock.lap(Activity::Other);
    buffers.resize(config, pass.rows.len());
    let Buffers {
        x,
        normed,
        q,
        k,
        v,
        attended,
        gate,
        up,
        turns,
        workspaces,
    } = buffers;
    let [for_qkv, for_output, for_gate_up, for_down] = workspaces;
    embed(pass, model, x, turns);

    for (index, layer) in model.weights.layers.iter().enumerate() {
        let (qkv, output) = (&layer.qkv, &layer.output);
        let (gate_up, down) = (&layer.gate_up, &layer.down);

        // Attention: normalise, project, rotate, remember, attend, project back.
        norm(pass, x, &layer.attention_norm, eps, normed);
        qkv.apply(pass, for_qkv, normed, [q, k, v], Epilogue::Store)?;
        rotate_rows(pass, q, turns);
        rotate_rows(pass, k, turns);
        remember(pass, work, index, k, v);
        attend_rows(pass, work, config, index, q, attended);
        if let Some(weight) = &layer.attention_sub_norm {
            norm_in_place(pass, attended, weight, eps);
        }
        output.apply(pass, for_output, attended, [x], Epilogue::Add)?;

        // Feed-forward: normalise, project to gate and up, gate, project back.
        norm(pass, x, &layer.ffn_norm, eps, normed);
        let gated = Epilogue::Gate(config.activation);
        gate_up.apply(pass, for_gate_up, normed, [gate, up], gated)?;
        if let Some(weight) = &layer.ffn_sub_norm {
            norm_in_place(pass, gate, weight, eps);
        }
        down.apply(pass, for_down, gate, [x], Epilogue::Add)?;
        show_residual(pass, index, x);
    }

    final_norm(pass, model, x, normed);
    head(pass, model, normed, out);
    Ok(())
}

/// Every row's token as its embedding, and the turns of its position.
fn embed(pass: &mut Pass<'_, '_>, model: &Model, x: &mut [f32], turns: &mut Vec<(f32, f32)>) {
    let rows = pass
        .rows
        .iter()
        .zip(x.chunks_exact_mut(model.config.hidden_size));
    pass.for_each(Activity::Embedding, rows, |(row, x)| {
        model.weights.embedding.read_row(row.token as usize, x);
    });
    turns.clear();
    for row in pass.rows {
        model.rope.push_turns(row.position, turns);
    }
    pass.clock.lap(Activity::Embedding);
}

/// Gathers the rows whose logits are wanted, normalised.
fn final_norm(pass: &mut Pass<'_, '_>, model: &Model, x: &[f32], out: &mut Vec<f32>) {
    let weight = &model.weights.final_norm;
    out.clear();
    let rows = pass.rows.iter().zip(x.chunks_exact(weight.len()));
    for (_, x) in rows.filter(|(row, _)| row.logits) {
        let start = out.len();
        out.resize(start + x.len(), 0.0);
        rms_norm(x, weight, model.config.rms_norm_eps, &mut out[start..]);
    }
    pass.clock.lap(Activity::Norm);
}

/// `out = norm(x)`, row by row.
fn norm(pass: &mut Pass<'_, '_>, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let rows = x
        .chunks_exact(weight.len())
        .zip(out.chunks_exact_mut(weight.len()));
    pass.for_each(Activity::Norm, rows, |(x, out)| {
        rms_norm(x, weight, eps, out);
    });
}

/// `x = norm(x)`, row by row.
fn norm_in_place(pass: &mut Pass<'_, '_>, x: &mut [f32], weight: &[f32], eps: f32) {
    let rows = x.chunks_exact_mut(weight.len());
    pass.for_each(Activity::Norm, rows, |x| {
        rms_norm_in_place(x, weight, eps);
    });
}

/// Turns every head of every row by the row's position.
fn rotate_rows(pass: &mut Pass<'_, '_>, heads: &mut [f32], turns: &[(f32, f32)]) {
    let rows = pass.rows.len();
    let (width, pairs) = (heads.len() / rows, turns.len() / rows);
    let rows = heads.chunks_exact_mut(width).zip(turns.chunks_exact(pairs));
    pass.for_each(Activity::Rope, rows, |(heads, turns)| rotate(heads, turns));
}

/// Writes every row's keys and values to its sequence's cache.
fn remember(pass: &mut Pass<'_, '_>, work: &mut [Work<'_>], layer: usize, k: &[f32], v: &[f32]) {
    let width = k.len() / pass.rows.len();
    for (row, (k, v)) in pass
        .rows
        .iter()
        .zip(k.chunks_exact(width).zip(v.chunks_exact(width)))
    {
        work[row.work].sequence.write(layer, row.position, k, v);
    }
    pass.clock.lap(Activity::Remember);
}

/// Attention of every head of every row over its sequence up to its own position.
///
/// The work is split by query heads of all rows; query head `h` reads key-value head
/// `h / (heads / kv_heads)`.
fn attend_rows(
    pass: &mut Pass<'_, '_>,
    work: &[Work<'_>],
    config: &Config,
    layer: usize,
    q: &[f32],
    out: &mut [f32],
) {
    let (heads, head_dim) = (config.heads, config.head_dim);
    let threads = pass.session.threads();
    let split = Split::even(out.len(), head_dim, threads);
    let rows = pass.rows;
    let group = heads / config.kv_heads;
    let mut parts = vec![(); threads];
    let mut matrices = [Columns::new(out, &split)];
    pass.region(&mut parts, &mut matrices, |worker, ()| {
        let mut unit = split.range(worker.index).start / head_dim;
        let mut rest = worker.strips.row(0, 0);
        while !rest.is_empty() {
            let (row, head) = (rows[unit / heads], unit % heads);
            // All heads of this part that share the row's key-value head.
            let count = (group - head % group).min(rest.len() / head_dim).min(GROUP);
            let (out, after) = rest.split_at_mut(count * head_dim);
            let queries = &q[unit * head_dim..][..out.len()];
            let blocks = work[row.work].sequence.head(layer, head / group);
            attend(queries, head_dim, blocks, row.position + 1, out);
            (unit, rest) = (unit + count, after);
        }
        worker.clock.lap(Activity::Attention);
    });
}

/// Logits of the normalised rows `hidden`, the head's rows split over the team.
fn head(pass: &mut Pass<'_, '_>, model: &Model, hidden: &[f32], out: &mut [f32]) {
    let head = model.weights.head();
    if hidden.is_empty() {
        return;
    }
    let split = Split::even(head.rows(), ROWS, pass.session.threads());
    if pass.rows.iter().all(|row| row.best || !row.logits) {
        let positions = hidden.chunks_exact(head.cols());
        let each = positions.zip(out.chunks_exact_mut(head.rows()));
        for (hidden, out) in each {
            let ranges = (0..split.workers()).map(|worker| split.range(worker));
            match best_logits(pass, model, hidden, out, ranges) {
                Some(rows) => {
                    pass.head_use.screened += 1;
                    pass.head_use.rows += rows;
                }
                None => {
                    pass.head_use.full += 1;
                    all_logits(pass, head, hidden, out, &split);
                }
            }
        }
    } else {
        all_logits(pass, head, hidden, out, &split);
    }
}

/// The logits of all rows of the head, for any number of positions.
fn all_logits(
    pass: &mut Pass<'_, '_>,
    head: &DenseMatrix,
    hidden: &[f32],
    out: &mut [f32],
    split: &Split,
) {
    let mut parts = vec![(); split.workers()];
    let mut matrices = [Columns::new(out, split)];
    pass.region(&mut parts, &mut matrices, |worker, ()| {
        let range = split.range(worker.index);
        match hidden.len() == head.cols() {
            true => logits(head, range, hidden, &mut [worker.strips.row(0, 0)]),
            false => {
                let mut out: Vec<_> = worker.strips.rows(0).collect();
                logits(head, range, hidden, &mut out);
            }
        }
        worker.clock.lap(Activity::Head);
    });
}

/// The largest logit of one position and those that might have been it; returns how many rows were scored, or `None` if bounds do not help.
fn best_logits(
    pass: &mut Pass<'_, '_>,
    model: &Model,
    hidden: &[f32],
    out: &mut [f32],
    ranges: impl Iterator<Item = Range<usize>>,
) -> Option<u64> {
    struct Part<'a> {
        range: Range<usize>,
        out: &'a mut [f32],
        best: f64,
        rows: usize,
    }
    let screen = model.weights.screen.as_ref()?;
    let query = screen.query(hidden)?;
    pass.clock.lap(Activity::Screen);
    let head = model.weights.head();
    let mut parts = Vec::new();
    let mut rest = out;
    for range in ranges {
        let (out, after) = rest.split_at_mut(range.len());
        rest = after;
        parts.push(Part {
            range,
            out,
            best: f64::NEG_INFINITY,
            rows: 0,
        });
    }
    pass.region(&mut parts, &mut [], |worker, part| {
        part.best = screen.estimate(part.range.clone(), &query, part.out);
        worker.clock.lap(Activity::Screen);
    });
    let best = parts
        .iter()
        .fold(f64::NEG_INFINITY, |a, part| a.max(part.best));
    pass.region(&mut parts, &mut [], |worker, part| {
        let range = part.range.clone();
        part.rows = screen.score(head, range, (hidden, &query), best, part.out);
        worker.clock.lap(Activity::Head);
    });
    Some(parts.iter().map(|part| part.rows as u64).sum())
}

/// Shows the residual stream to the observer, if there is one.
fn show_residual(pass: &mut Pass<'_, '_>, layer: usize, x: &[f32]) {
    let Some(observer) = &mut pass.observer else {
        return;
    };
    let width = x.len() / pass.rows.len();
    for (row, values) in pass.rows.iter().zip(x.chunks_exact(width)) {
        let Row { work, position, .. } = *row;
        observer(Event::Residual {
            work,
            position,
            layer,
            values,
        });
    }
}
