//! What was measured of a kernel: by the tuner for this CPU, and in records of any CPU.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use tern_kernels::Profile;
use tern_tune::{Recorded, RecordsError, records_of};

use crate::output::{BOLD, paint, plural, remark};

/// Where records lie in a checkout of tern.
const RECORDS: &str = "bench-results";

/// What the tuner measured.
#[derive(Serialize)]
pub struct Tuned {
    rows: usize,
    cols: usize,
    threads: usize,
    median_us: f64,
    weights_per_s: f64,
}

/// The shapes that kernel `id` won.
pub fn tuned(profile: Option<&Profile>, id: &str) -> Vec<Tuned> {
    let entries = profile.iter().flat_map(|profile| &profile.entries);
    let of_kernel = entries.filter(|entry| entry.kernel == id && entry.median_us > 0.0);
    let tuned = of_kernel.map(|entry| Tuned {
        rows: entry.rows,
        cols: entry.cols,
        threads: entry.threads,
        median_us: entry.median_us,
        weights_per_s: (entry.rows * entry.cols) as f64 / entry.median_us * 1e6,
    });
    tuned.collect()
}

/// What the records in `dir` say of kernel `id`; without a name those of a checkout, if this is one. Nobody asked for those, so what is
/// wrong with them is said and no error.
pub fn recorded(dir: Option<&Path>, id: &str) -> Result<Vec<Recorded>, RecordsError> {
    if let Some(dir) = dir {
        return records_of(dir, id);
    }
    if !Path::new(RECORDS).is_dir() {
        return Ok(Vec::new());
    }
    Ok(records_of(RECORDS.as_ref(), id).unwrap_or_else(|error| {
        remark(format_args!("no records are shown: {error}"));
        Vec::new()
    }))
}

/// A line for each measurement, those of a record under its name.
pub fn text(tuned: &[Tuned], recorded: &[Recorded]) -> String {
    let mut text = String::new();
    for each in tuned {
        let Tuned {
            rows,
            cols,
            threads,
            median_us,
            weights_per_s,
        } = each;
        let _ = writeln!(
            text,
            "{} {:.1} Gw/s: {rows}x{cols} in {median_us:.1} us with {}",
            paint(BOLD, "measured"),
            weights_per_s / 1e9,
            plural(*threads, "thread"),
        );
    }
    for record in recorded.chunk_by(|a, b| a.record == b.record) {
        let name = record[0].record.display();
        let _ = writeln!(text, "{} in {name}:", paint(BOLD, "measured"));
        for line in record {
            let per_cycle = match line.weights_per_cycle {
                Some(weights) => format!(" ({weights:.1} weights a cycle and core)"),
                None => String::new(),
            };
            let _ = writeln!(
                text,
                "  {:.1} Gw/s{per_cycle}: {}x{} from {} in {:.1} us with {}",
                line.weights_per_s / 1e9,
                line.rows,
                line.cols,
                line.residence,
                line.time_us,
                plural(line.threads, "thread"),
            );
        }
    }
    text
}
