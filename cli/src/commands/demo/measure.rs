//! Steps 1 and 2 of the demo: tuning and comparing.

use std::fmt::Write as _;

use tern_kernels::{Entry, Family};
use tern_tune::{
    CompareOptions, Comparison, ComparisonRow, TuneOptions, Tuning, Work, compare, tune,
};

use super::{Demo, heading};
use crate::load::ModelName;
use crate::output::{BOLD, DIM, GOOD, paint, plural};
use crate::progress::Measuring;
use crate::table::{Align, Table};
use crate::worklist::worklist;

/// The model of the large shape.
const LARGE_MODEL: &str = "bitnet-2b4t";

/// The part of the time that goes to tuning; the rest goes to the comparison.
const TUNING_SHARE: f64 = 0.4;

impl Demo<'_> {
    /// Step 1.
    pub(super) fn tune(&self) -> anyhow::Result<Tuning> {
        self.say(heading(
            1,
            "Tuning: the fastest kernel for each matrix of the bundled model",
        ))?;
        let work = worklist(&[ModelName::Demo], &[])?.work;
        let options = TuneOptions {
            threads: vec![self.threads],
            budget: self.args.seconds.duration().mul_f64(TUNING_SHARE),
            force: self.args.engine.kernel.force.clone(),
            store_noisy: true,
            ..TuneOptions::new(&self.cpu)
        };
        let mut progress = Measuring::new();
        let mut step = |step: &tern_tune::Progress| progress.step(step);
        let tuning = tune(&self.cpu, &work, &options, &mut step, self.watch.flag())?;
        drop(progress);
        if !self.watch.stopped() {
            self.say(format_args!("{}\n", winners(&tuning.profile.entries)))?;
        }
        Ok(tuning)
    }

    /// Step 2.
    pub(super) fn compare(&self) -> anyhow::Result<Comparison> {
        self.say(heading(
            2,
            "Lookup tables against multiply-add and add/sub, each at its best",
        ))?;
        let large = worklist(&[], &[LARGE_MODEL.to_owned()])?.work;
        let work: Vec<Work> = large.into_iter().take(1).collect();
        let options = CompareOptions {
            threads: self.threads,
            budget: self.args.seconds.duration().mul_f64(1.0 - TUNING_SHARE),
            ..CompareOptions::new(&self.cpu)
        };
        let mut progress = Measuring::new();
        let mut step = |step: &tern_tune::Progress| progress.step(step);
        let found = compare(&self.cpu, &work, &options, &mut step, self.watch.flag())?;
        drop(progress);
        if !self.watch.stopped() {
            self.say(in_plain_words(&found))?;
        }
        Ok(found)
    }
}

/// Who won, and by how much.
fn winners(found: &[Entry]) -> String {
    let mut table = Table::new(&[
        ("matrix", Align::Left),
        ("fastest kernel", Align::Left),
        ("us", Align::Right),
        ("best other kernel", Align::Left),
        ("takes", Align::Right),
    ]);
    for entry in found {
        let (other, ratio) = match &entry.runner_up {
            Some(other) => (other.kernel.clone(), format!("{:.2}x", 1.0 + other.margin)),
            None => Default::default(),
        };
        table.row([
            format!("{}x{}", entry.rows, entry.cols),
            entry.kernel.clone(),
            format!("{:.2}", entry.median_us),
            other,
            ratio,
        ]);
    }
    table.to_string()
}

/// The comparison in few columns: the fastest of each family.
fn in_plain_words(found: &Comparison) -> String {
    let mut table = Table::new(&[
        ("family", Align::Left),
        ("its best kernel", Align::Left),
        ("us", Align::Right),
        ("GB/s", Align::Right),
        ("of bandwidth", Align::Right),
        ("bits/weight", Align::Right),
        ("speed", Align::Right),
    ]);
    let best = |family| found.rows.iter().find(|row| row.family == family);
    let best = Family::ALL.map(best);
    let fastest = found.rows.first().map(|row| row.kernel);
    for row in best.into_iter().flatten() {
        let style = match fastest == Some(row.kernel) {
            true => GOOD,
            false => anstyle::Style::new(),
        };
        table.styled_row(style, cells(row));
    }
    let shape = found
        .rows
        .first()
        .map_or(String::new(), |row| row.shape.to_string());
    let threads = plural(found.threads, "thread");
    let mut text =
        format!("a {shape} matrix of {LARGE_MODEL}, read from memory, {threads}\n{table}");
    if let Some(bandwidth) = &found.bandwidth {
        let _ = writeln!(text, "memory streams {bandwidth}");
    }
    for line in found.verdict().lines() {
        let _ = writeln!(text, "{}", paint(BOLD, line));
    }
    for note in &found.notes {
        let _ = writeln!(text, "{}", paint(DIM, format_args!("note: {note}")));
    }
    text.push('\n');
    text
}

fn cells(row: &ComparisonRow) -> [String; 7] {
    let ratio = row
        .vs_addsub
        .as_ref()
        .map(|ratio| format!("{:.2}x add/sub", ratio.median));
    let share = row
        .bandwidth_share
        .map(|share| format!("{:.0} %", 100.0 * share));
    [
        row.family.to_string(),
        row.kernel.to_owned(),
        format!("{:.1}", row.time_us.median),
        format!("{:.1}", row.bytes_per_s / 1e9),
        share.unwrap_or_default(),
        format!("{:.2}", row.bits_per_weight),
        ratio.unwrap_or_default(),
    ]
}
