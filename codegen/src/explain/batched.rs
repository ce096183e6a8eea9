//! The same for the two halves of batched products, whose steps are a period of a panel's steps and a quad of a register tile.

use serde::Serialize;

use super::{Counted, counted};
use crate::budget;
use crate::isa::{Isa, gemm_instructions, unpack_instructions};
use crate::ports::{Bound, MODELS};
use crate::skeleton::{Statements, gemm_statements, unpack_statements};
use crate::{GemmSpec, UnpackSpec};

/// One kernel of a batched product, explained.
#[derive(Clone, Debug, Serialize)]
pub struct BatchedExplanation {
    /// Its id.
    pub id: String,
    /// `unpack` or `gemm`.
    pub operation: &'static str,
    /// What it does, in a few words.
    pub title: String,
    /// The ISA.
    pub isa: &'static str,
    /// The CPU features that it needs.
    pub features: &'static [&'static str],
    /// The x86-64 instructions that it exists for.
    pub instructions: &'static [&'static str],
    /// The packings that it reads, whatever their panels and blocks; absent for `gemm`, which reads the dot-product layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packing: Option<String>,
    /// What a step is.
    pub step: String,
    /// What is counted in a step: `weights` that are unpacked, or `products`.
    pub unit: &'static str,
    /// How many of them a step has.
    pub per_step: usize,
    /// Quads before 16-bit sums are widened; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Why it is not longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_reason: Option<String>,
    /// Vector registers that a step needs at once; absent for `unpack`, which holds nothing from step to step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registers: Option<usize>,
    /// Vector registers of the ISA.
    pub isa_registers: usize,
    /// Vector operations by kind; empty where the compiler chooses them, and for other architectures than x86-64.
    pub operations: Vec<Counted>,
    /// What the models say; empty where there is nothing to count.
    pub predictions: Vec<BatchedPrediction>,
}

/// What a model says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BatchedPrediction {
    /// The CPUs.
    pub cpu: &'static str,
    /// Where the model comes from.
    pub source: &'static str,
    /// Weights or products in a cycle at best, a window's share of its end included.
    pub per_cycle: f64,
    /// The cycles of a step, and the pipes that are busy all the time.
    pub bound: Bound,
}

/// Explains a kernel that unpacks a code.
///
/// # Errors
///
/// The kernel speaks an x86 intrinsic of unknown kind; the message says what to do.
pub fn explain_unpack(spec: &UnpackSpec) -> Result<BatchedExplanation, String> {
    let (steps, cols) = (spec.period(), spec.code.step_cols());
    let statements = unpack_statements(spec).map(|step| Statements {
        step,
        window: Default::default(),
    });
    let operations = operations(spec.isa, statements)?;
    let per_step = steps * cols * spec.lanes();
    Ok(BatchedExplanation {
        id: spec.id(),
        operation: "unpack",
        title: format!("code {} into the dot-product layout", spec.code.name()),
        isa: spec.isa.name(),
        features: spec.isa.features(),
        instructions: unpack_instructions(spec),
        packing: Some(format!("{}_l{}", spec.code.name(), spec.lanes())),
        step: format!("{steps} x {cols} columns of {} rows", spec.lanes()),
        unit: "weights",
        per_step,
        window: None,
        window_reason: None,
        registers: None,
        isa_registers: spec.isa.registers(),
        predictions: predictions(spec.isa, &operations, per_step, None),
        operations,
    })
}

/// Explains a kernel that multiplies the dot-product layout with many tokens.
///
/// # Errors
///
/// The kernel speaks an x86 intrinsic of unknown kind; the message says what to do.
pub fn explain_gemm(spec: &GemmSpec) -> Result<BatchedExplanation, String> {
    let operations = operations(spec.isa, gemm_statements(spec))?;
    let (vectors, tokens, lanes) = (spec.vectors, spec.tokens, spec.lanes());
    let per_step = vectors * lanes * tokens * 4;
    Ok(BatchedExplanation {
        id: spec.id(),
        operation: "gemm",
        title: "the dot-product layout times many tokens".to_owned(),
        isa: spec.isa.name(),
        features: spec.isa.features(),
        instructions: gemm_instructions(spec),
        packing: None,
        step: format!("{vectors} x {lanes} rows x {tokens} tokens x 4 columns"),
        unit: "products",
        per_step,
        window: spec.window,
        window_reason: budget::gemm_window_reason(spec.isa),
        registers: (spec.isa != Isa::Scalar).then(|| budget::gemm_registers(spec)),
        isa_registers: spec.isa.registers(),
        predictions: predictions(spec.isa, &operations, per_step, spec.window),
        operations,
    })
}

/// The operations of `statements`, where intrinsics are known here.
fn operations(isa: Isa, statements: Option<Statements>) -> Result<Vec<Counted>, String> {
    let statements = statements.filter(|_| isa.arch() == Some("x86_64"));
    statements.map_or(Ok(Vec::new()), counted)
}

/// What the models make of a step and its share of a window's end. Where there is no window the sums are added to memory once for
/// a run, which is left out.
fn predictions(
    isa: Isa,
    operations: &[Counted],
    per_step: usize,
    window: Option<usize>,
) -> Vec<BatchedPrediction> {
    if operations.is_empty() {
        return Vec::new();
    }
    let share = |c: &Counted| {
        let end = window.map_or(0.0, |window| c.per_window as f64 / window as f64);
        (c.operation, c.per_step as f64 + end)
    };
    let counts = operations.iter().map(share).collect();
    let predict = |model: &'static crate::ports::Model| {
        let bound = model.bound(&counts, isa.vector_bytes());
        BatchedPrediction {
            cpu: model.name,
            source: model.source,
            per_cycle: per_step as f64 / bound.cycles,
            bound,
        }
    };
    MODELS.iter().map(predict).collect()
}
