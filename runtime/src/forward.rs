//! The forward pass, top to bottom, for any mix of positions of any sequences.
//!
//! A *row* is one position of one sequence. All buffers are row-major, one row for each. Whether a
//! row belongs to a prompt, to a text being decoded or to one of several texts makes no difference
//! to its arithmetic; rows only meet in the cache of their own sequence.
//!
//! The model is BitNet b1.58 (arXiv:2402.17764, arXiv:2504.12285), or Llama with ternary linear
//! layers, which is the same without sub-norms and with SiLU for squared ReLU.

use tern_kernels::{MemoryError, Session};

use crate::config::Config;
use crate::engine::{HeadUse, Work};
use crate::error::StepError;
use crate::head;
use crate::linear::{Epilogue, Workspace};
use crate::model::Model;
use crate::ops::attention::{GROUP, attend};
use crate::ops::rms_norm::{rms_norm, rms_norm_in_place};
use crate::ops::rope::rotate;
use crate::ops::screen::Keep;
use crate::parallel::{for_each, share};
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
    /// Which of them, if not all.
    pub keep: Option<Keep>,
}

/// What every operation of a pass needs.
pub(crate) struct Pass<'p, 't> {
    pub session: &'p mut Session<'t>,
    pub rows: &'p [Row],
    pub observer: Option<&'p mut Observer>,
    pub head_use: &'p mut HeadUse,
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
        qkv.apply(pass, for_qkv, normed, &mut [q, k, v], Epilogue::Store)?;
        rotate_rows(pass, q, turns);
        rotate_rows(pass, k, turns);
        remember(pass, work, index, k, v);
        attend_rows(pass, work, config, index, q, attended);
        if let Some(weight) = &layer.attention_sub_norm {
            norm_in_place(pass, attended, weight, eps);
        }
        output.apply(pass, for_output, attended, &mut [x], Epilogue::Add)?;

        // Feed-forward: normalise, project to gate and up, gate, project back.
        norm(pass, x, &layer.ffn_norm, eps, normed);
        let gated = Epilogue::Gate(config.activation);
        gate_up.apply(pass, for_gate_up, normed, &mut [gate, up], gated)?;
        if let Some(weight) = &layer.ffn_sub_norm {
            norm_in_place(pass, gate, weight, eps);
        }
        down.apply(pass, for_down, gate, &mut [x], Epilogue::Add)?;
        show_residual(pass, index, x);
    }

    final_norm(pass, model, x, normed);
    head::run(pass, model, normed, out);
    Ok(())
}

/// Every row's token as its embedding, and the turns of its position.
fn embed(pass: &mut Pass<'_, '_>, model: &Model, x: &mut [f32], turns: &mut Vec<(f32, f32)>) {
    let rows = pass
        .rows
        .iter()
        .zip(x.chunks_exact_mut(model.config.hidden_size));
    for_each(pass.session, rows, |(row, x)| {
        model.weights.embedding.read_row(row.token as usize, x);
    });
    turns.clear();
    for row in pass.rows {
        model.rope.push_turns(row.position, turns);
    }
}

/// Gathers the rows whose logits are wanted, normalised.
fn final_norm(pass: &Pass<'_, '_>, model: &Model, x: &[f32], out: &mut Vec<f32>) {
    let weight = &model.weights.final_norm;
    out.clear();
    let rows = pass.rows.iter().zip(x.chunks_exact(weight.len()));
    for (_, x) in rows.filter(|(row, _)| row.logits) {
        let start = out.len();
        out.resize(start + x.len(), 0.0);
        rms_norm(x, weight, model.config.rms_norm_eps, &mut out[start..]);
    }
}

/// `out = norm(x)`, row by row.
fn norm(pass: &mut Pass<'_, '_>, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let rows = x
        .chunks_exact(weight.len())
        .zip(out.chunks_exact_mut(weight.len()));
    for_each(pass.session, rows, |(x, out)| rms_norm(x, weight, eps, out));
}

/// `x = norm(x)`, row by row.
fn norm_in_place(pass: &mut Pass<'_, '_>, x: &mut [f32], weight: &[f32], eps: f32) {
    let rows = x.chunks_exact_mut(weight.len());
    for_each(pass.session, rows, |x| rms_norm_in_place(x, weight, eps));
}

/// Turns every head of every row by the row's position.
fn rotate_rows(pass: &mut Pass<'_, '_>, heads: &mut [f32], turns: &[(f32, f32)]) {
    let rows = pass.rows.len();
    let (width, pairs) = (heads.len() / rows, turns.len() / rows);
    let rows = heads.chunks_exact_mut(width).zip(turns.chunks_exact(pairs));
    for_each(pass.session, rows, |(heads, turns)| rotate(heads, turns));
}

/// Writes every row's keys and values to its sequence's cache.
fn remember(pass: &Pass<'_, '_>, work: &mut [Work<'_>], layer: usize, k: &[f32], v: &[f32]) {
    let width = k.len() / pass.rows.len();
    for (row, (k, v)) in pass
        .rows
        .iter()
        .zip(k.chunks_exact(width).zip(v.chunks_exact(width)))
    {
        work[row.work].sequence.write(layer, row.position, k, v);
    }
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
    let (units, threads) = (pass.rows.len() * heads, pass.session.threads());
    let mut parts = Vec::with_capacity(threads);
    let mut rest = out;
    for worker in 0..threads {
        let units = share(units, threads, worker);
        let (part, after) = rest.split_at_mut(units.len() * head_dim);
        parts.push((units.start, part));
        rest = after;
    }
    let rows = pass.rows;
    let group = heads / config.kv_heads;
    pass.session.run_parts(&mut parts, |_, (first, out)| {
        let (mut unit, mut rest) = (*first, &mut **out);
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
    });
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
