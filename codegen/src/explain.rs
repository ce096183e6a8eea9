//! What there is to know of one kernel before it runs: what it computes, what a step costs, why its window is as long as it is, and
//! what the models of [`ports`](crate::ports) make of it.

mod batched;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::isa::{Operation, count, instructions};
use crate::ports::{Bound, MODELS};
use crate::spec::KernelSpec;
use crate::{budget, skeleton};

pub use batched::{BatchedExplanation, explain_gemm, explain_unpack};

/// One kernel, explained. A *step* is one of a whole strip: all panels side by side.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Its id.
    pub id: String,
    /// What it does, in a few words.
    pub title: String,
    /// The algorithm.
    pub family: &'static str,
    /// The ISA.
    pub isa: &'static str,
    /// The CPU features that it needs.
    pub features: &'static [&'static str],
    /// The x86-64 instructions that it exists for; see [`instructions`].
    pub instructions: &'static [&'static str],
    /// The bytes it reads.
    pub packing: String,
    /// How many weights may share a scale: all of the matrix, a row, a group of columns.
    pub scales: &'static [&'static str],
    /// Rows that one panel covers.
    pub lanes: usize,
    /// Panels in a strip.
    pub panels: usize,
    /// Tokens that share a step's weights.
    pub batch: usize,
    /// Columns in a step.
    pub step_cols: usize,
    /// Weights in a step.
    pub weights_per_step: usize,
    /// Packed bits of a weight.
    pub bits_per_weight: f64,
    /// Packed bytes that are read for a weight.
    pub weight_bytes_per_weight: f64,
    /// Bytes of tables or activations that are read for a weight, from cache.
    pub operand_bytes_per_weight: f64,
    /// Steps before narrow sums are widened.
    pub window: usize,
    /// The most that `window` could be.
    pub window_max: usize,
    /// Why; absent where no sum is narrow.
    pub window_reason: Option<String>,
    /// Steps in a K block.
    pub block: usize,
    /// The most that `block` could be.
    pub block_max: usize,
    /// Vector registers that a step needs at once.
    pub registers: usize,
    /// Vector registers of the ISA.
    pub isa_registers: usize,
    /// Vector operations by kind; empty where the compiler chooses them.
    pub operations: Vec<Counted>,
    /// What the models say; empty where there is nothing to count.
    pub predictions: Vec<Prediction>,
}

/// Operations of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Counted {
    /// The kind.
    pub operation: Operation,
    /// The class of pipes that run it.
    pub class: &'static str,
    /// How many in a step.
    pub per_step: usize,
    /// How many at the end of a window.
    pub per_window: usize,
}

/// What a model says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The CPUs.
    pub cpu: &'static str,
    /// Where the model comes from.
    pub source: &'static str,
    /// Weights in a cycle at best, a window's share of its end included. A weight counts once for each token that it is for.
    pub weights_per_cycle: f64,
    /// The cycles of a step, and the pipes that are busy all the time.
    pub step: Bound,
}

/// Explains a kernel.
///
/// # Errors
///
/// The kernel speaks an x86 intrinsic of unknown kind; the message says what to do.
pub fn explain(spec: &KernelSpec) -> Result<Explanation, String> {
    let weights_per_step = spec.panels * spec.lanes() * spec.code.step_cols();
    let operations = operations(spec)?;
    let operand_bytes = skeleton::operand_step_bytes(spec);
    let bits_per_weight = spec.code.bits_per_weight();
    Ok(Explanation {
        id: spec.id(),
        title: skeleton::title(spec),
        family: spec.family.name(),
        isa: spec.isa.name(),
        features: spec.isa.features(),
        instructions: instructions(spec),
        packing: spec.packing(),
        scales: spec.scales.granularities(),
        lanes: spec.lanes(),
        panels: spec.panels,
        batch: spec.batch,
        step_cols: spec.code.step_cols(),
        weights_per_step,
        bits_per_weight,
        weight_bytes_per_weight: bits_per_weight / 8.0,
        operand_bytes_per_weight: operand_bytes as f64 / weights_per_step as f64,
        window: spec.window,
        window_max: budget::window_max(spec)?,
        window_reason: budget::window_reason(spec),
        block: spec.block,
        block_max: budget::block_max(spec),
        registers: budget::registers(spec),
        isa_registers: spec.isa.registers(),
        predictions: predictions(spec, &operations, spec.batch * weights_per_step),
        operations,
    })
}

/// The operations of a strip, counted from the statements that are emitted; none for plain Rust and for other architectures, whose
/// intrinsics are not known here.
fn operations(spec: &KernelSpec) -> Result<Vec<Counted>, String> {
    let statements = skeleton::statements(spec).filter(|_| spec.isa.arch() == Some("x86_64"));
    let Some(statements) = statements else {
        return Ok(Vec::new());
    };
    counted(statements)
}

/// The operations of some statements of x86-64.
fn counted(statements: skeleton::Statements) -> Result<Vec<Counted>, String> {
    let (step, window) = (count(statements.step)?, count(statements.window)?);
    let kinds: BTreeMap<Operation, ()> =
        step.keys().chain(window.keys()).map(|&o| (o, ())).collect();
    let counted = kinds.into_keys().map(|operation| Counted {
        operation,
        class: operation.class(),
        per_step: step.get(&operation).copied().unwrap_or(0),
        per_window: window.get(&operation).copied().unwrap_or(0),
    });
    Ok(counted.collect())
}

fn predictions(spec: &KernelSpec, operations: &[Counted], weights: usize) -> Vec<Prediction> {
    let share = |c: &Counted| c.per_step as f64 + c.per_window as f64 / spec.window as f64;
    let counts: BTreeMap<Operation, f64> =
        operations.iter().map(|c| (c.operation, share(c))).collect();
    if counts.is_empty() {
        return Vec::new();
    }
    let predict = |model: &'static crate::ports::Model| {
        let step = model.bound(&counts, spec.isa.vector_bytes());
        Prediction {
            cpu: model.name,
            source: model.source,
            weights_per_cycle: weights as f64 / step.cycles,
            step,
        }
    };
    MODELS.iter().map(predict).collect()
}
