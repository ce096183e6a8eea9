//! The forward pass, top to bottom, for any mix of positions of any sequences.
//!
//! A *row* is one position of one sequence. All buffers are row-major, one row for each. Whether a
//! row belongs to a prompt, to a text being decoded or to one of several texts makes no difference
//! to its arithmetic; rows only meet in the cache of their own sequence.
//!
//! The model is BitNet b1.58 (arXiv:2402.17764, arXiv:2504.12285), or Llama with ternary linear
//! layers, which is the same without sub-norms and with SiLU for squared ReLU, or Qwen3, which is Llama with a norm of each head's queries
//! and keys.

use smallvec::SmallVec;
use tern_kernels::{Columns, MemoryError, Session, Split};

use crate::clock::{Activity, Clock};
use crate::config::Config;
use crate::engine::{HeadUse, Work};
use crate::error::StepError;
use crate::head::{self, HeadSpace};
use crate::linear::{Epilogue, Workspace};
use crate::model::Model;
use crate::ops::attention::{BLOCK, Query, TILE};
use crate::ops::rms_norm::{rms_norm, rms_norm_in_place};
use crate::ops::rope::rotate;
use crate::ops::screen::Keep;
use crate::parallel::balanced;
use crate::sequence::RecordMut;
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
    head: HeadSpace,
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
        head,
    } = buffers;
    let [for_qkv, for_output, for_gate_up, for_down] = workspaces;
    embed(pass, model, x, turns);

    for (index, layer) in model.weights.layers.iter().enumerate() {
        let (qkv, output) = (&layer.qkv, &layer.output);
        let (gate_up, down) = (&layer.gate_up, &layer.down);

        // Attention: normalise, project, rotate and remember, rotate and attend, project back.
        norm(pass, x, &layer.attention_norm, eps, normed);
        qkv.apply(pass, for_qkv, normed, [q, k, v], Epilogue::Store)?;
        if let Some([query, key]) = &layer.head_norms {
            norm_heads(pass, q, query, eps);
            norm_heads(pass, k, key, eps);
        }
        match pass.rows.len() {
            1 => {
                remember_one(pass, work, config, index, (k, v), turns);
                attend_one(pass, work, config, index, (q, attended), turns);
            }
            _ => {
                remember(pass, work, config, index, (k, v), turns);
                attend_rows(pass, work, config, index, (q, attended), turns);
            }
        }
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
    head::run(pass, model, head, normed, out);
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

/// `x = norm(x)`, head by head. A single row's heads are too short to share.
fn norm_heads(pass: &mut Pass<'_, '_>, x: &mut [f32], weight: &[f32], eps: f32) {
    if pass.rows.len() > 1 {
        return norm_in_place(pass, x, weight, eps);
    }
    for head in x.chunks_exact_mut(weight.len()) {
        rms_norm_in_place(head, weight, eps);
    }
    pass.clock.lap(Activity::Norm);
}

/// Turns every row's keys by its position, and writes them and the values to its sequence's cache.
///
/// A prompt's work is split by key-value heads, since rows share the vectors of transposed keys.
fn remember(
    pass: &mut Pass<'_, '_>,
    work: &mut [Work<'_>],
    config: &Config,
    layer: usize,
    (k, v): (&mut [f32], &[f32]),
    turns: &[(f32, f32)],
) {
    /// A head of consecutive rows of one sequence.
    struct Unit<'a> {
        rows: &'a [Row],
        /// Index of the first row.
        first: usize,
        head: usize,
        /// From that of the first row on.
        records: Vec<RecordMut<'a>>,
        keys: Vec<&'a mut [f32]>,
    }
    let (heads, head_dim, pairs) = (config.kv_heads, config.head_dim, config.head_dim / 2);
    let mut units = Vec::new();
    let mut keys = k.chunks_exact_mut(head_dim);
    let runs = pass.rows.chunk_by(|a, b| a.work == b.work);
    let mut first = 0;
    for (rows, work) in runs.zip(work) {
        let start = units.len();
        units.extend((0..heads).map(|head| Unit {
            rows,
            first,
            head,
            records: Vec::new(),
            keys: Vec::with_capacity(rows.len()),
        }));
        let units = &mut units[start..];
        let blocks = rows[0].position / BLOCK..rows[rows.len() - 1].position / BLOCK + 1;
        for records in work.sequence.records_mut(layer, blocks) {
            for (unit, record) in units.iter_mut().zip(records) {
                unit.records.push(record);
            }
        }
        for _ in rows {
            for (unit, key) in units.iter_mut().zip(&mut keys) {
                unit.keys.push(key);
            }
        }
        first += rows.len();
    }
    let write = |unit: Unit<'_>| {
        let Unit { first, head, .. } = unit;
        let block = unit.rows[0].position / BLOCK;
        let mut records = unit.records;
        for (index, (row, key)) in unit.rows.iter().zip(unit.keys).enumerate() {
            rotate(key, &turns[(first + index) * pairs..][..pairs]);
            let value = &v[((first + index) * heads + head) * head_dim..][..head_dim];
            records[row.position / BLOCK - block].write(row.position % BLOCK, key, value);
        }
    };
    pass.for_each(Activity::Remember, units.into_iter(), write);
}

/// The same for a pass of one row: it is written sooner than others are called, and without lists.
fn remember_one(
    pass: &mut Pass<'_, '_>,
    work: &mut [Work<'_>],
    config: &Config,
    layer: usize,
    (k, v): (&mut [f32], &[f32]),
    turns: &[(f32, f32)],
) {
    let row = pass.rows[0];
    let block = row.position / BLOCK;
    let sequence = &mut *work[row.work].sequence;
    let slot = row.position % BLOCK;
    for record in sequence.records_mut(layer, block..block + 1).flatten() {
        record.fetch(slot);
    }
    let records = sequence.records_mut(layer, block..block + 1);
    let keys = k.chunks_exact_mut(config.head_dim);
    let heads = keys.zip(v.chunks_exact(config.head_dim));
    for (mut record, (key, value)) in records.flatten().zip(heads) {
        rotate(key, turns);
        record.write(slot, key, value);
    }
    pass.clock.lap(Activity::Remember);
}

/// Attention of every head of a pass of one row: see [`attend_rows`], whose lists it does without.
fn attend_one(
    pass: &mut Pass<'_, '_>,
    work: &[Work<'_>],
    config: &Config,
    layer: usize,
    (q, out): (&mut [f32], &mut [f32]),
    turns: &[(f32, f32)],
) {
    let (head_dim, group) = (config.head_dim, config.heads / config.kv_heads);
    let row = pass.rows[0];
    let sequence = &work[row.work].sequence;
    let threads = pass.session.threads();
    let split = Split::even(out.len(), head_dim, threads);
    let mut matrices = [Columns::new(q, &split), Columns::new(out, &split)];
    pass.region(&mut vec![(); threads], &mut matrices, |worker, ()| {
        let mut head = split.range(worker.index).start / head_dim;
        let [mut q, mut out] = worker.strips.pair([0, 1], 0);
        while !q.is_empty() {
            // All heads of this part that share a key-value head.
            let count = (group - head % group).min(q.len() / head_dim).min(TILE);
            let (queries, outs);
            (queries, q) = q.split_at_mut(count * head_dim);
            (outs, out) = out.split_at_mut(count * head_dim);
            let heads = queries.chunks_exact_mut(head_dim);
            let heads = heads.zip(outs.chunks_exact_mut(head_dim));
            let mut tile: SmallVec<[Query<'_>; TILE]> = heads
                .map(|(query, out)| {
                    rotate(query, turns);
                    Query {
                        positions: row.position + 1,
                        query,
                        out,
                    }
                })
                .collect();
            sequence.attend(layer, head / group, &mut tile);
            head += count;
        }
        worker.clock.lap(Activity::Attention);
    });
}

/// A query head of a row.
struct Unit<'a> {
    row: usize,
    kv_head: usize,
    query: &'a mut [f32],
    out: &'a mut [f32],
}

/// Turns every row's queries by its position; then attention of every head of every row over its
/// sequence up to its own position. Query head `h` reads key-value head `h / (heads / kv_heads)`.
///
/// Units lie in the order of sequence, key-value head, position, so that a worker's share falls
/// into tiles with the same keys and values. Shares are even by positions attended to, not by rows:
/// later rows of a prompt see more.
fn attend_rows(
    pass: &mut Pass<'_, '_>,
    work: &[Work<'_>],
    config: &Config,
    layer: usize,
    (q, out): (&mut [f32], &mut [f32]),
    turns: &[(f32, f32)],
) {
    let rows = pass.rows;
    let mut units = units(rows, config, q, out);
    let cost = |unit: &Unit<'_>| rows[unit.row].position + 1;
    let mut parts = balanced(&mut units, pass.session.threads(), cost);
    let pairs = config.head_dim / 2;
    pass.region(&mut parts, &mut [], |worker, units| {
        let same = |a: &Unit<'_>, b: &Unit<'_>| {
            rows[a.row].work == rows[b.row].work && a.kv_head == b.kv_head
        };
        for units in units.chunk_by_mut(same) {
            let sequence = &work[rows[units[0].row].work].sequence;
            let kv_head = units[0].kv_head;
            for tile in units.chunks_mut(TILE) {
                let queries = tile.iter_mut().map(|unit| {
                    rotate(unit.query, &turns[unit.row * pairs..][..pairs]);
                    Query {
                        positions: rows[unit.row].position + 1,
                        query: unit.query,
                        out: unit.out,
                    }
                });
                let mut queries: Vec<_> = queries.collect();
                sequence.attend(layer, kv_head, &mut queries);
            }
        }
        worker.clock.lap(Activity::Attention);
    });
}

/// All query heads of all rows, in the order of [`attend_rows`].
fn units<'a>(rows: &[Row], config: &Config, q: &'a mut [f32], out: &'a mut [f32]) -> Vec<Unit<'a>> {
    let group = config.heads / config.kv_heads;
    let heads = q.chunks_exact_mut(config.head_dim);
    let heads = heads.zip(out.chunks_exact_mut(config.head_dim)).enumerate();
    let mut units: Vec<Unit<'_>> = heads
        .map(|(index, (query, out))| Unit {
            row: index / config.heads,
            kv_head: index % config.heads / group,
            query,
            out,
        })
        .collect();
    if rows.len() > 1 {
        // Stable: rows of a sequence, and heads of a row, stay in order.
        units.sort_by_key(|unit| (rows[unit.row].work, unit.kv_head));
    }
    units
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
