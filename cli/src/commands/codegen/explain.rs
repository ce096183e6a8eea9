//! `tern codegen explain`: one kernel's numbers, what models of CPUs make of them, and what was measured.

mod batched;
mod measured;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::anyhow;
use serde::Serialize;
use tern_codegen::explain::{Counted, Explanation, explain};
use tern_codegen::{KernelSet, ports};
use tern_kernels::Cpu;
use tern_tune::Recorded;

use crate::args::ProfileArg;
use crate::output::{BOLD, paint, plural, print, print_json, remark};
use crate::plan::find_profile;
use crate::table::{Align, Table};

use measured::Tuned;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    kernel: Explanation,
    /// From the profile, one for each shape that this kernel won.
    measured: Vec<Tuned>,
    /// From records of comparisons.
    recorded: Vec<Recorded>,
}

/// Runs the command.
pub fn run(
    kernels: &KernelSet,
    id: &str,
    profile: &ProfileArg,
    records: Option<&Path>,
    json: bool,
) -> anyhow::Result<()> {
    if let Some(explained) = batched::explain(kernels, id) {
        let explained = explained.map_err(|reason| anyhow!("{id}: {reason}"))?;
        return match json {
            true => print_json(&explained),
            false => print(batched::text(&explained)),
        };
    }
    let kernel = explain(kernels.spec(id)?).map_err(|reason| anyhow!("{id}: {reason}"))?;
    let (profile, used) = find_profile(&profile.choice(), &Cpu::detect())?;
    let report = Report {
        kernel,
        measured: measured::tuned(profile.as_ref(), id),
        recorded: measured::recorded(records, id)?,
    };
    if json {
        return print_json(&report);
    }
    print(text(&report))?;
    if report.measured.is_empty() && report.recorded.is_empty() {
        remark(format_args!("no measurement of this kernel; {used}"));
    }
    Ok(())
}

/// What stands in place of the tables.
const NOT_COUNTED: &str = "\nOperations are counted for the vector kernels of x86-64 only.\n";

fn text(report: &Report) -> String {
    let mut text = facts(&report.kernel);
    let kernel = &report.kernel;
    if kernel.operations.is_empty() {
        text.push_str(NOT_COUNTED);
    } else {
        let operations = operations(&kernel.operations);
        let _ = write!(text, "\n{operations}\n{}", predictions(kernel));
    }
    text.push_str(&measured::text(&report.measured, &report.recorded));
    text
}

/// The lines before the tables.
fn facts(kernel: &Explanation) -> String {
    let (features, instructions) = (features(kernel.features), alternatives(kernel.instructions));
    let window = match &kernel.window_reason {
        Some(reason) => {
            format!(
                "{} of at most {}; {reason}",
                plural(kernel.window, "step"),
                kernel.window_max
            )
        }
        None => "none: sums are 32 bits wide throughout".to_owned(),
    };
    let tokens = match kernel.batch {
        1 => "one after another".to_owned(),
        batch => format!("{batch} at once, from one reading of the weights"),
    };
    let lines = [
        ("kernel", kernel.id.clone()),
        (
            "computes",
            format!("{} (family {})", kernel.title, kernel.family),
        ),
        ("needs", format!("{} ({features})", kernel.isa)),
        ("exists for", instructions),
        (
            "packing",
            format!(
                "{}: {:.3} bits a weight",
                kernel.packing, kernel.bits_per_weight
            ),
        ),
        ("scales", format!("by {}", kernel.scales.join(" or "))),
        (
            "a step",
            format!(
                "{} x {} rows x {} = {} weights",
                plural(kernel.panels, "panel"),
                kernel.lanes,
                plural(kernel.step_cols, "column"),
                kernel.weights_per_step,
            ),
        ),
        (
            "bytes",
            format!(
                "{:.3} of weights and {:.3} of prepared activations for each weight{}",
                kernel.weight_bytes_per_weight,
                kernel.operand_bytes_per_weight,
                match kernel.batch {
                    1 => "",
                    _ => ", those of activations for each token",
                }
            ),
        ),
        ("tokens", tokens),
        ("window", window),
        (
            "K block",
            format!(
                "{} of at most {}",
                plural(kernel.block, "step"),
                kernel.block_max
            ),
        ),
        (
            "registers",
            format!("{} of {} at once", kernel.registers, kernel.isa_registers),
        ),
    ];
    let shown = lines
        .iter()
        .filter(|(name, _)| *name != "registers" || kernel.isa_registers > 0);
    table_of_facts(shown)
}

/// Features for people.
fn features(features: &[&str]) -> String {
    match features {
        [] => "none: plain Rust".to_owned(),
        features => features.join(", "),
    }
}

/// Instructions for people.
fn alternatives(instructions: &[&str]) -> String {
    let each: Vec<String> = instructions
        .iter()
        .map(|each| each.replace('|', " or "))
        .collect();
    each.join(", ")
}

/// Names and values, those without a value left out.
fn table_of_facts<'a>(lines: impl Iterator<Item = &'a (&'static str, String)>) -> String {
    let shown = lines.filter(|(_, value)| !value.is_empty());
    shown.fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{} {value}", paint(BOLD, format_args!("{name:<10}")));
        text
    })
}

fn operations(operations: &[Counted]) -> Table {
    let mut table = Table::new(&[
        ("operation", Align::Left),
        ("pipes", Align::Left),
        ("a step", Align::Right),
        ("a window", Align::Right),
    ]);
    for counted in operations {
        table.row([
            counted.operation.name().to_owned(),
            counted.class.to_owned(),
            counted.per_step.to_string(),
            counted.per_window.to_string(),
        ]);
    }
    table
}

/// The models' bounds: a clock turns weights a cycle into weights a second.
fn predictions(kernel: &Explanation) -> String {
    let mut text = String::new();
    for prediction in &kernel.predictions {
        let _ = writeln!(
            text,
            "{} {:.1} weights a cycle on {}: {:.2} cycles a step, {} always busy",
            paint(BOLD, "at best"),
            prediction.weights_per_cycle,
            prediction.cpu,
            prediction.step.cycles,
            prediction.step.pipes.join(", "),
        );
    }
    text.push_str(&what_bounds_are());
    text
}

/// The line under the models' bounds.
fn what_bounds_are() -> String {
    let sources: Vec<&str> = ports::MODELS.iter().map(|model| model.source).collect();
    format!(
        "These are bounds of a model ({}) for loads that hit the first cache; at 4 GHz 50 weights a cycle are 200 Gw/s.\n",
        sources.join("; ")
    )
}
