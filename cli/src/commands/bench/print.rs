//! Results as a table, or for machines. Each is printed as soon as it is there.

use clap::ValueEnum;

use super::Measured;
use super::times::TokenTime;
use crate::output::{bytes, plural, print, print_json};

/// `--output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table that reads well on a terminal and in Markdown
    Md,
    /// A line with commas for each result, after one with names
    Csv,
    /// One list of results
    Json,
    /// A line of JSON for each result
    Jsonl,
}

/// Prints results one by one.
pub(crate) struct Printer {
    format: Format,
    results: Vec<Measured>,
    printed: usize,
}

/// The table's columns: name, and width at least.
const COLUMNS: [(&str, usize); 13] = [
    ("model", 20),
    ("size", 10),
    ("params", 8),
    ("threads", 7),
    ("test", 12),
    ("t/s", 22),
    ("per token", 9),
    ("GB/s", 6),
    ("of streaming", 12),
    ("of dot product", 14),
    ("core-s/token", 12),
    ("J/token", 7),
    ("peak memory", 11),
];

impl Printer {
    pub fn new(format: Format) -> Printer {
        Printer {
            format,
            results: Vec::new(),
            printed: 0,
        }
    }

    /// Prints a result.
    pub fn add(&mut self, measured: Measured) -> anyhow::Result<()> {
        match self.format {
            Format::Md => {
                if self.printed == 0 {
                    let rule = |(_, width): &(&str, usize)| "-".repeat(*width);
                    print(format_args!(
                        "{}{}",
                        row(COLUMNS.iter().map(|(name, _)| (*name).to_owned())),
                        row(COLUMNS.iter().map(rule))
                    ))?;
                }
                print(row(cells(&measured).into_iter()))?;
                self.results.push(measured);
            }
            Format::Csv => {
                let fields = fields(&measured)?;
                if self.printed == 0 {
                    let names = fields.iter().map(|(name, _)| name.as_str());
                    print(format_args!("{}\n", names.collect::<Vec<_>>().join(",")))?;
                }
                let values = fields.iter().map(|(_, value)| value.as_str());
                print(format_args!("{}\n", values.collect::<Vec<_>>().join(",")))?;
            }
            Format::Jsonl => print(format_args!("{}\n", serde_json::to_string(&measured)?))?,
            Format::Json => self.results.push(measured),
        }
        self.printed += 1;
        Ok(())
    }

    /// Prints what waits for the end.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        match self.format {
            Format::Json => print_json(&self.results)?,
            Format::Md => {
                for measured in &self.results {
                    print(time_table(measured))?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Where a token's time goes, if that was asked for.
fn time_table(measured: &Measured) -> String {
    let of_time = |time: &TokenTime| {
        let (test, threads) = (&measured.test, plural(measured.n_threads, "thread"));
        let (table, sentence) = (time.to_markdown(), time.to_sentence());
        format!("\n{test}, {threads}: {sentence}\n\n{table}")
    };
    measured
        .token_time
        .as_ref()
        .map_or_else(String::new, of_time)
}

/// A line of the table; numbers to the right.
fn row(cells: impl Iterator<Item = String>) -> String {
    let cells = cells.zip(COLUMNS).enumerate();
    let cells = cells.map(|(index, (cell, (_, width)))| match index {
        0 => format!("{cell:<width$}"),
        _ => format!("{cell:>width$}"),
    });
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

fn cells(measured: &Measured) -> [String; COLUMNS.len()] {
    let model = measured.model_filename.trim_end_matches('/');
    let name = model.rsplit('/').next().unwrap_or(model);
    let or_dash =
        |number: Option<f64>, text: fn(f64) -> String| number.map_or_else(|| "-".to_owned(), text);
    [
        // A bar would end the cell.
        name.replace('|', "/"),
        bytes(measured.model_size),
        format!("{:.2} B", measured.model_n_params as f64 / 1e9),
        measured.n_threads.to_string(),
        measured.test.clone(),
        format!("{:.2} ± {:.2}", measured.avg_ts, measured.stddev_ts),
        or_dash(
            measured.bytes_per_token.map(|bytes| bytes as f64),
            |bytes| format!("{:.0} MB", bytes / 1e6),
        ),
        or_dash(measured.gb_per_s, |gb| format!("{gb:.1}")),
        or_dash(measured.bandwidth_share, |share| {
            format!("{:.0} %", 100.0 * share)
        }),
        or_dash(measured.dot_share, |share| {
            format!("{:.0} %", 100.0 * share)
        }),
        or_dash(measured.core_seconds_per_token, |seconds| {
            format!("{seconds:.4}")
        }),
        // The system tells energy to few users, and virtual machines have no counter.
        measured
            .joules_per_token
            .map_or_else(|| "n/a".to_owned(), |joules| format!("{joules:.3}")),
        measured.peak_bytes.map_or_else(|| "-".to_owned(), bytes),
    ]
}

/// A result's names, in the order of the columns.
const NAMES: [&str; 33] = [
    "model_filename",
    "model_size",
    "model_n_params",
    "cpu_info",
    "engine",
    "n_threads",
    "n_prompt",
    "n_gen",
    "n_depth",
    "type_k",
    "type_v",
    "test",
    "avg_ns",
    "stddev_ns",
    "avg_ts",
    "stddev_ts",
    "bytes_per_token",
    "gb_per_s",
    "stream_gb_per_s",
    "bandwidth_share",
    "dot_g_per_s",
    "dot_share",
    "head_rows_per_token",
    "head_bytes_per_token",
    "core_seconds_per_token",
    "peak_bytes",
    "major_faults_per_token",
    "joules_per_token",
    "samples_ns",
    "samples_ts",
    "stream_samples",
    "dot_samples",
    "token_time",
];

/// Names and values of a result, lists in quotes, as a spreadsheet reads them.
fn fields(measured: &Measured) -> anyhow::Result<Vec<(String, String)>> {
    let value = serde_json::to_value(measured)?;
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::Number(number) => number.to_string(),
        serde_json::Value::String(text) => quoted(text),
        other => quoted(&other.to_string()),
    };
    let of_name = |name: &str| (name.to_owned(), text(&value[name]));
    Ok(NAMES.into_iter().map(of_name).collect())
}

/// RFC 4180's quotes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_a_column() {
        let value = serde_json::to_value(Measured::default()).unwrap();
        let mut fields: Vec<&str> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut names = NAMES.to_vec();
        names.sort_unstable();
        fields.sort_unstable();
        assert_eq!(names, fields);
    }
}
