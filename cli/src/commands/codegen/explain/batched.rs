//! The same for the kernels of batched products. The tuner does not time them, so nothing measured stands beside the models.

use std::fmt::Write as _;

use tern_codegen::KernelSet;
use tern_codegen::explain::{BatchedExplanation, explain_gemm, explain_unpack};

use super::{NOT_COUNTED, alternatives, features, operations, table_of_facts, what_bounds_are};
use crate::output::{BOLD, paint};

/// The explanation of the kernel called `id`, if it is one of a batched product.
pub fn explain(kernels: &KernelSet, id: &str) -> Option<Result<BatchedExplanation, String>> {
    let unpack = kernels.unpacks().iter().find(|spec| spec.id() == id);
    let gemm = kernels.gemms().iter().find(|spec| spec.id() == id);
    unpack.map(explain_unpack).or(gemm.map(explain_gemm))
}

/// Facts, operations and bounds.
pub fn text(kernel: &BatchedExplanation) -> String {
    let mut text = facts(kernel);
    if kernel.operations.is_empty() {
        text.push_str(NOT_COUNTED);
        return text;
    }
    let _ = write!(text, "\n{}\n", operations(&kernel.operations));
    for prediction in &kernel.predictions {
        let _ = writeln!(
            text,
            "{} {:.1} {} a cycle on {}: {:.2} cycles a step, {} always busy",
            paint(BOLD, "at best"),
            prediction.per_cycle,
            kernel.unit,
            prediction.cpu,
            prediction.bound.cycles,
            prediction.bound.pipes.join(", "),
        );
    }
    text.push_str(&what_bounds_are());
    text
}

/// The lines before the table.
fn facts(kernel: &BatchedExplanation) -> String {
    let window = match (kernel.operation, kernel.window, &kernel.window_reason) {
        ("gemm", Some(window), Some(reason)) => format!("{window} quads of columns; {reason}"),
        ("gemm", ..) => "none: sums are 32 bits wide throughout".to_owned(),
        _ => String::new(),
    };
    let registers = kernel.registers.map_or_else(String::new, |registers| {
        format!("{registers} of {} at once", kernel.isa_registers)
    });
    let needs = format!("{} ({})", kernel.isa, features(kernel.features));
    let step = format!("{} = {} {}", kernel.step, kernel.per_step, kernel.unit);
    let lines = [
        ("kernel", kernel.id.clone()),
        ("computes", kernel.title.clone()),
        ("needs", needs),
        ("exists for", alternatives(kernel.instructions)),
        ("packing", kernel.packing.clone().unwrap_or_default()),
        ("a step", step),
        ("window", window),
        ("registers", registers),
    ];
    table_of_facts(lines.iter())
}
